/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever a call of the system may answer has a code that says what happened.
 * Method: every errno that the manuals of Linux, macOS and the BSDs name for socket, bind, listen,
 * accept, connect, send, recv, shutdown, getsockopt, setsockopt, getsockname, getpeername, fcntl,
 * epoll_create1, epoll_ctl, epoll_wait, eventfd, kqueue, kevent and pipe, and for getaddrinfo where
 * that passes errno on (EAI_SYSTEM: the calls of files, too).
 */
#include "system/platform.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const int documented[] = {
    EACCES,       EADDRINUSE,   EADDRNOTAVAIL, EAFNOSUPPORT,    EAGAIN,      EALREADY,
    EBADF,        EBUSY,        ECONNABORTED,  ECONNREFUSED,    ECONNRESET,  EDEADLK,
    EDESTADDRREQ, EDOM,         EDQUOT,        EEXIST,          EFAULT,      EFBIG,
    EHOSTDOWN,    EHOSTUNREACH, EINPROGRESS,   EINTR,           EINVAL,      EIO,
    EISCONN,      EISDIR,       ELOOP,         EMFILE,          EMSGSIZE,    ENAMETOOLONG,
    ENETDOWN,     ENETRESET,    ENETUNREACH,   ENFILE,          ENOBUFS,     ENODEV,
    ENOENT,       ENOLCK,       ENOMEM,        ENOPROTOOPT,     ENOSPC,      ENOSYS,
    ENOTCONN,     ENOTDIR,      ENOTSOCK,      ENOTSUP,         ENXIO,       EOPNOTSUPP,
    EOVERFLOW,    EPERM,        EPFNOSUPPORT,  EPIPE,           EPROTO,      EPROTONOSUPPORT,
    EPROTOTYPE,   EROFS,        ESHUTDOWN,     ESOCKTNOSUPPORT, ESRCH,       ESTALE,
    ETIMEDOUT,    ETOOMANYREFS, ETXTBSY,       EUSERS,          EWOULDBLOCK, ECANCELED,
#ifdef ENONET
    ENONET,
#endif
#ifdef ENOSR
    ENOSR,
#endif
#ifdef EREMOTEIO
    EREMOTEIO,
#endif
#ifdef ECAPMODE
    ECAPMODE,     ENOTCAPABLE,
#endif
#ifdef EINTEGRITY
    EINTEGRITY,
#endif
#ifdef EQFULL
    EQFULL,
#endif
};

static void whatever_a_call_may_answer_has_a_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof documented / sizeof documented[0]; i++) {
        if (pco__error_from_system(documented[i]) == PCO_EUNKNOWN) {
            fail_msg("errno %d is PCO_EUNKNOWN", documented[i]);
        }
    }
    assert_int_equal(pco__error_from_system(0), PCO_EUNKNOWN);
    assert_int_equal(pco__error_from_system(99999), PCO_EUNKNOWN);
}

static void the_code_says_what_happened(void **state)
{
    static const struct {
        int system;
        int ours;
    } rows[] = {
        {EACCES, PCO_EACCES},
        {EPERM, PCO_EACCES},
        {EADDRINUSE, PCO_EADDRINUSE},
        {EADDRNOTAVAIL, PCO_EADDRNOTAVAIL},
        {ENODEV, PCO_EADDRNOTAVAIL},
        {ENXIO, PCO_EADDRNOTAVAIL},
        {EAFNOSUPPORT, PCO_EAFNOSUPPORT},
        {EPFNOSUPPORT, PCO_EAFNOSUPPORT},
        {ESOCKTNOSUPPORT, PCO_ENOTSUP},
        {EOVERFLOW, PCO_EINVAL},
        {ESHUTDOWN, PCO_EPIPE},
        {EPIPE, PCO_EPIPE},
        {ECONNABORTED, PCO_ECONNABORTED},
        {ECONNREFUSED, PCO_ECONNREFUSED},
        {ECONNRESET, PCO_ECONNRESET},
        {ETIMEDOUT, PCO_ETIMEDOUT},
        {EHOSTUNREACH, PCO_EHOSTUNREACH},
        {ENETUNREACH, PCO_ENETUNREACH},
        {ENETDOWN, PCO_ENETDOWN},
        {EMFILE, PCO_EMFILE},
        {ENFILE, PCO_EMFILE},
        {ENOBUFS, PCO_ENOBUFS},
        {ENOSPC, PCO_ENOBUFS},
        {ENOMEM, PCO_ENOMEM},
        {EBADF, PCO_ENOTSOCK},
        {ENOTSOCK, PCO_ENOTSOCK},
        {ENOTCONN, PCO_ENOTCONN},
        {EISCONN, PCO_EISCONN},
        {EMSGSIZE, PCO_EMSGSIZE},
        {EAGAIN, PCO_EAGAIN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(pco__error_from_system(rows[i].system), rows[i].ours);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_a_call_may_answer_has_a_code),
        cmocka_unit_test(the_code_says_what_happened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
