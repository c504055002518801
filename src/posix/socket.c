/* SPDX-License-Identifier: MIT */
/*
 * socket.c (POSIX): sockets before they are attached, and the table of what opens and names them.
 * What every descriptor needs (non-blocking, close-on-exec, no SIGPIPE) is set in this file only.
 */
#define _GNU_SOURCE 1

#include "posix/socket.h"

#include "posix/address.h"
#include "posix/names.h"
#include "posix/tcp.h"
#include "posix/unix.h"
#include "support/error.h"
#include "system/network.h"
#include "system/platform.h"

#include <portico/connection.h>
#include <portico/server.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <sys/types.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* The option by which the system spreads connections over several sockets of one port. */
#if defined(SO_REUSEPORT_LB)
#define REUSE_PORT SO_REUSEPORT_LB /* FreeBSD, where SO_REUSEPORT gives all to one of them */
#elif defined(SO_REUSEPORT)
#define REUSE_PORT SO_REUSEPORT
#endif

static pco__place_text place_of_socket(pco_socket sock)
{
    pco_address address = {0};

    pco__socket_sockname(sock, &address);
    return pco__place_of(&address);
}

static int peername(pco__backend *backend, pco_socket sock, pco_address *address)
{
    pco_address found = {0};
    socklen_t length = sizeof found.storage;

    (void)backend;
    if (getpeername((int)sock, (struct sockaddr *)found.storage, &length) != 0) {
        return pco__error_from_system(errno);
    }
    pco__address_set_length(&found, length);
    *address = found;
    return 0;
}

/* ---- Making sockets ---- */

static int report(pco_error *error, int code, const char *what, pco__place_text where)
{
    return pco__error_describe(error, pco__error_from_system(code), code, "%s %s", what,
                               where.text);
}

static int set_option(int descriptor, int level, int name, int value)
{
    return setsockopt(descriptor, level, name, &value, sizeof value);
}

static PCO__COLD int raise_now(int descriptor)
{
    int raised = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int code = errno;
    close(descriptor);
    errno = code;
    return raised;
}

int pco__descriptor_raise(int descriptor)
{
    return descriptor < 0 || descriptor > STDERR_FILENO ? descriptor : raise_now(descriptor);
}

static int set_nonblocking(int descriptor)
{
    int flags = fcntl(descriptor, F_GETFL);

    if (flags < 0 || (flags & O_NONBLOCK) != 0) {
        return flags < 0 ? -1 : 0;
    }
    return fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

#if !defined(SOCK_CLOEXEC)
/* Between the call that made it and this, a fork in another thread can inherit the descriptor. */
static int set_flags(int descriptor)
{
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 && set_nonblocking(descriptor) == 0) {
        return descriptor;
    }
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}
#endif

static void suppress_sigpipe(int descriptor)
{
#if defined(SO_NOSIGPIPE)
    set_option(descriptor, SOL_SOCKET, SO_NOSIGPIPE, 1);
#else
    (void)descriptor; /* send() is given MSG_NOSIGNAL */
#endif
}

static bool is_inet(sa_family_t family)
{
    return family == AF_INET || family == AF_INET6;
}

/* Failures are not errors: the peer may be gone. */
static void set_no_delay(int descriptor)
{
    set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
}

static int open_stream(sa_family_t family, int proto)
{
    int descriptor;

#if defined(SOCK_CLOEXEC)
    descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
#else
    descriptor = socket(family, SOCK_STREAM, proto);
    if (descriptor >= 0) {
        descriptor = set_flags(descriptor);
    }
#endif
    descriptor = pco__descriptor_raise(descriptor);
    if (descriptor < 0) {
        return -1;
    }
    suppress_sigpipe(descriptor);
    if (is_inet(family)) {
        set_no_delay(descriptor);
    }
    return descriptor;
}

static int open_pair(int ends[2])
{
#if defined(SOCK_CLOEXEC)
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
#else
    int status = socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    for (size_t i = 0; status == 0 && i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC); /* cannot fail on what is open */
    }
    return status;
#endif
}

int pco_socket_pair(pco_socket pair[2], pco_error *error)
{
    int ends[2] = {-1, -1};
    int code = open_pair(ends) == 0 ? 0 : errno;

    for (size_t i = 0; i < 2 && code == 0; i++) {
        ends[i] = pco__descriptor_raise(ends[i]);
        code = ends[i] >= 0 ? 0 : errno;
    }
    for (size_t i = 0; i < 2; i++) {
        if (code == 0) {
            suppress_sigpipe(ends[i]);
            pair[i] = ends[i];
        } else if (ends[i] >= 0) {
            close(ends[i]);
        }
    }
    return code == 0 ? 0
                     : pco__error_describe(error, pco__error_from_system(code), code,
                                           "make a pair of sockets");
}

int pco__socket_accept(int listener, pco_address *peer)
{
    socklen_t length = sizeof peer->storage;
    int descriptor;

#if defined(SOCK_CLOEXEC)
    descriptor =
        accept4(listener, (struct sockaddr *)peer->storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    descriptor = accept(listener, (struct sockaddr *)peer->storage, &length);
    if (descriptor >= 0) {
        descriptor = set_flags(descriptor);
    }
#endif
    descriptor = pco__descriptor_raise(descriptor);
#if defined(__APPLE__)
    /* Where others say ECONNABORTED, macOS may give a socket that has no peer any more. */
    if (descriptor >= 0 && length == 0) {
        close(descriptor);
        errno = ECONNABORTED;
        return -1;
    }
#endif
    if (descriptor >= 0) {
        pco__address_set_length(peer, length);
        suppress_sigpipe(descriptor);
    }
    return descriptor;
}

static int reuse_port_supported(pco_error *error)
{
#if defined(REUSE_PORT)
    (void)error;
    return 0;
#else
    return pco__error_set(error, PCO_ENOTSUP, 0, "reuse_port: not supported on this system");
#endif
}

/* On failure, *action says what could not be done, and errno why. */
static int set_listener_options(int descriptor, sa_family_t family,
                                const pco__listener_options *options, const char **action)
{
    *action = "set IPV6_V6ONLY for";
    if (family == AF_INET6 && set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) {
        return -1;
    }
    if (!is_inet(family)) {
        return 0;
    }
    *action = "set SO_REUSEADDR for";
    if (options->reuse_address != PCO_OFF &&
        set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) != 0) {
        return -1;
    }
    *action = "set SO_REUSEPORT for";
#if defined(REUSE_PORT)
    if (options->reuse_port && set_option(descriptor, SOL_SOCKET, REUSE_PORT, 1) != 0) {
        return -1;
    }
#else
    if (options->reuse_port) {
        errno = ENOPROTOOPT;
        return -1;
    }
#endif
    *action = "set keep-alive or user_timeout for";
    return pco__tcp_set(descriptor, &options->connections);
}

/* Lets the user add to it. */
static int prepare_listener(int descriptor, const pco_address *address,
                            const pco__listener_options *options, pco_error *error)
{
    if (options->prepare == NULL) {
        return 0;
    }
    int code = pco__error_known(
        options->prepare(descriptor, pco_address_family(address), options->context));
    return code == 0 ? 0
                     : pco__error_describe(error, code, 0, "prepare_socket for %s",
                                           pco__place_of(address).text);
}

static int bind_socket(pco__backend *backend, const pco_address *address,
                       const pco__listener_options *options, pco_socket *sock, pco_error *error)
{
    sa_family_t family = pco__sockaddr_family(address);
    const char *action = "open a socket for";
    int descriptor = open_stream(family, 0);

    (void)backend;
    if (descriptor < 0) {
        goto fail;
    }
    if (set_listener_options(descriptor, family, options, &action) != 0) {
        goto fail;
    }
    int refused = prepare_listener(descriptor, address, options, error);
    if (refused != 0) {
        close(descriptor);
        return refused;
    }
    if (family == AF_UNIX) {
        refused = pco__unix_bind(descriptor, address, options, error);
        if (refused != 0) {
            close(descriptor);
            return refused;
        }
        *sock = descriptor;
        return 0;
    }
    action = "bind";
    if (bind(descriptor, (const struct sockaddr *)address->storage, (socklen_t)address->length) !=
        0) {
        goto fail;
    }
    *sock = descriptor;
    return 0;
fail:;
    int code = errno;
    if (descriptor >= 0) {
        close(descriptor);
    }
    return report(error, code, action, pco__place_of(address));
}

/* Whether it is a socket that connects to one other. */
static int check_stream(int descriptor, pco_error *error)
{
    int type = 0;
    socklen_t length = sizeof type;

    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code, "sock");
    }
    if (type != SOCK_STREAM) {
        return pco__error_set(error, PCO_EINVAL, 0, "sock: a stream socket was expected");
    }
    return 0;
}

/* What the caller's sockets become before they are attached. */
static int adopt(int descriptor, bool *was_blocking, pco_error *error)
{
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || set_nonblocking(descriptor) != 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code,
                                   "sock: make it non-blocking");
    }
    *was_blocking = (flags & O_NONBLOCK) == 0;
    suppress_sigpipe(descriptor);
    return 0;
}

static int prepare_connected(pco__backend *backend, pco_socket sock,
                             const pco__socket_options *options, bool adopted)
{
    (void)backend;
#if defined(__linux__)
    /*
     * A connection inherits all of it from the listener (tcp(7), socket(7)), at the price of no
     * system call: from the listener as it is when the connection is established, not when it is
     * accepted.
     */
    if (!adopted) {
        return 0;
    }
#else
    (void)adopted;
#endif
    set_no_delay((int)sock);
    return pco__tcp_set((int)sock, options) == 0 ? 0 : pco__error_from_system(errno);
}

/* What the options ask for must be something that the caller's socket can have. */
static int check_options(sa_family_t family, const pco__socket_options *options, pco_error *error)
{
    return is_inet(family) || !pco__socket_options_are_tcps(options)
               ? 0
               : pco__error_set(error, PCO_ENOTSUP, 0,
                                "sock: keep-alive's times and user_timeout are for TCP");
}

static int adopt_listener(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error)
{
    pco_address name = {0};

    (void)backend;
    int code = check_stream((int)sock, error);
    if (code == 0) {
        pco__socket_sockname(sock, &name);
        code = check_options(pco__sockaddr_family(&name), &options->connections, error);
    }
    if (code == 0) {
        code = adopt((int)sock, was_blocking, error);
    }
    if (code == 0 && is_inet(pco__sockaddr_family(&name))) {
        prepare_connected(backend, sock, &options->connections, true);
    }
    return code;
}

/* A connection that both ends have ended has no peer's name any more, but may have input left. */
static int check_connected(pco__backend *backend, pco_socket sock, pco_error *error)
{
    pco_address peer;
    char byte;

    if (peername(backend, sock, &peer) == 0) {
        return 0;
    }
    int code = errno;
    if (recv((int)sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
        return 0;
    }
    return pco__error_describe(error, pco__error_from_system(code), code, "sock");
}

static int adopt_connected(pco__backend *backend, pco_socket sock,
                           const pco__socket_options *options, bool *was_blocking, pco_error *error)
{
    pco_address own = {0};

    int code = check_stream((int)sock, error);
    if (code == 0) {
        code = check_connected(backend, sock, error);
    }
    if (code == 0) {
        pco__socket_sockname(sock, &own);
        code = check_options(pco__sockaddr_family(&own), options, error);
    }
    if (code == 0) {
        code = adopt((int)sock, was_blocking, error);
    }
    if (code == 0) {
        prepare_connected(backend, sock, options, true);
    }
    return code;
}

static void make_blocking(pco__backend *backend, pco_socket sock)
{
    (void)backend;
    int flags = fcntl((int)sock, F_GETFL);

    if (flags >= 0) {
        fcntl((int)sock, F_SETFL, flags & ~O_NONBLOCK);
    }
}

static int listen_on(pco__backend *backend, pco_socket sock, int backlog, pco_error *error)
{
    (void)backend;
    if (listen((int)sock, backlog) == 0) {
        return 0;
    }
    int code = errno;
    pco__place_text place = place_of_socket(sock);
    if (place.text[0] == '\0') {
        return pco__error_set(error, PCO_EINVAL, code, "listen: sock is bound to nothing");
    }
    return report(error, code, "listen on", place);
}

static int open_socket(pco__backend *backend, int family, int proto, pco_socket *sock,
                       pco_error *error)
{
    sa_family_t own = family == PCO_AF_INET    ? AF_INET
                      : family == PCO_AF_INET6 ? AF_INET6
                      : family == PCO_AF_UNIX  ? AF_UNIX
                                               : AF_UNSPEC;
    int descriptor = open_stream(own, proto);

    (void)backend;
    if (descriptor < 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code, "open a socket");
    }
    *sock = descriptor;
    return 0;
}

static int bind_local(pco__backend *backend, pco_socket sock, const pco_address *address,
                      pco_error *error)
{
    const struct sockaddr *name = (const struct sockaddr *)(const void *)address->storage;

    (void)backend;
#if defined(IP_BIND_ADDRESS_NO_PORT)
    /* connect() chooses the port then: of those free towards that peer there are more. */
    if (pco_address_port(address) == 0) {
        set_option((int)sock, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    }
#endif
    if (bind((int)sock, name, address->length) != 0) {
        return report(error, errno, "bind", pco__place_of(address));
    }
    return 0;
}

void pco__socket_close(pco_socket sock, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (reset) {
        setsockopt((int)sock, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close((int)sock); /* once: even where it says EINTR, Linux has released the descriptor */
}

/* Linux: SIOCOUTQ of tcp(7), by the name that the C library has for it. macOS: getsockopt(2). */
int64_t pco__socket_unsent(int descriptor)
{
    int count = 0;
    int status = -1;

#if defined(__linux__)
    status = ioctl(descriptor, TIOCOUTQ, &count);
#elif defined(SO_NWRITE)
    socklen_t length = sizeof count;
    status = getsockopt(descriptor, SOL_SOCKET, SO_NWRITE, &count, &length);
#elif defined(FIONWRITE)
    status = ioctl(descriptor, FIONWRITE, &count);
#else
    (void)descriptor;
#endif
    return status == 0 ? count : PCO__UNSENT_UNKNOWN;
}

/* ---- The table ---- */

static void close_socket(pco__backend *backend, pco_socket sock, bool reset)
{
    (void)backend;
    pco__socket_close(sock, reset);
}

static int sockname(pco__backend *backend, pco_socket sock, pco_address *address)
{
    (void)backend;
    return pco__socket_sockname(sock, address);
}

const pco__network pco__system_network = {
    .changes = &pco__system_changes,
    .reuse_port_supported = reuse_port_supported,
    .socket_options_supported = pco__tcp_supported,
    .resolve = pco__resolve,
    .resolve_service = pco__resolve_service,
    .open = open_socket,
    .bind_local = bind_local,
    .gives_port = pco__port_is_given,
    .bind = bind_socket,
    .adopt_listener = adopt_listener,
    .adopt_connected = adopt_connected,
    .make_blocking = make_blocking,
    .listen = listen_on,
    .prepare_connected = prepare_connected,
    .close = close_socket,
    .sockname = sockname,
    .peername = peername,
    .counters = pco__tcp_counters,
    .credentials = pco__unix_credentials,
    .find_file = pco__unix_find_file,
    .remove_file = pco__unix_remove_file,
};
