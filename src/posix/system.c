/* SPDX-License-Identifier: MIT */
/* system.c (POSIX): the table of errors, the clock, the environment, and files. */
#define _GNU_SOURCE 1

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- Errors ---- */

/*
 * What the calls of sockets, of queues of events and of files may answer on Linux, macOS and the
 * BSDs, by their manuals. Some names share a number on some systems, so this is a table and not a
 * switch.
 */
static const struct {
    int system;
    int ours;
} error_table[] = {
    {EINVAL, PCO_EINVAL},
    {EDESTADDRREQ, PCO_EINVAL},
    {EDOM, PCO_EINVAL},
    {EFAULT, PCO_EINVAL},
    {EFBIG, PCO_EINVAL},
    {EISDIR, PCO_EINVAL},
    {ELOOP, PCO_EINVAL},
    {ENAMETOOLONG, PCO_EINVAL},
    {EOVERFLOW, PCO_EINVAL},
#if defined(__APPLE__)
    {EPROTOTYPE, PCO_ECONNRESET}, /* send() during the peer's close */
#else
    {EPROTOTYPE, PCO_EINVAL},
#endif
    {ENOMEM, PCO_ENOMEM},
    {ENOTSUP, PCO_ENOTSUP},
    {EOPNOTSUPP, PCO_ENOTSUP},
    {ENOPROTOOPT, PCO_ENOTSUP},
    {ENOSYS, PCO_ENOTSUP},
    {ESOCKTNOSUPPORT, PCO_ENOTSUP},
    {EBUSY, PCO_EBUSY},
    {EALREADY, PCO_EBUSY},
    {EDEADLK, PCO_EBUSY},
    {EEXIST, PCO_EBUSY},
    {ETXTBSY, PCO_EBUSY},
    {ECANCELED, PCO_ECANCELED},
    {ETIMEDOUT, PCO_ETIMEDOUT},
    {EAGAIN, PCO_EAGAIN},
    {EWOULDBLOCK, PCO_EAGAIN},
    {EINPROGRESS, PCO_EAGAIN},
    {EINTR, PCO_EAGAIN},
    {EACCES, PCO_EACCES},
    {EPERM, PCO_EACCES},
    {EROFS, PCO_EACCES},
#if defined(ECAPMODE)
    {ECAPMODE, PCO_EACCES}, /* FreeBSD's capsicum(4) */
    {ENOTCAPABLE, PCO_EACCES},
#endif
    {ENOENT, PCO_ENOENT},
    {ENOTDIR, PCO_ENOENT},
    {ESRCH, PCO_ENOENT},
    {EIO, PCO_EIO},
    {ESTALE, PCO_EIO},
#if defined(EREMOTEIO)
    {EREMOTEIO, PCO_EIO},
#endif
#if defined(EINTEGRITY)
    {EINTEGRITY, PCO_EIO}, /* FreeBSD, of the file system that a socket's path is in */
#endif
    {EMFILE, PCO_EMFILE},
    {ENFILE, PCO_EMFILE},
    {ENOBUFS, PCO_ENOBUFS},
    {ENOSPC, PCO_ENOBUFS},
    {EDQUOT, PCO_ENOBUFS},
    {ENOLCK, PCO_ENOBUFS},
    {ETOOMANYREFS, PCO_ENOBUFS},
    {EUSERS, PCO_ENOBUFS},
#if defined(ENOSR)
    {ENOSR, PCO_ENOBUFS},
#endif
#if defined(EQFULL)
    {EQFULL, PCO_ENOBUFS}, /* macOS: the interface's queue */
#endif
    {ENOTSOCK, PCO_ENOTSOCK},
    {EBADF, PCO_ENOTSOCK},
    {EADDRINUSE, PCO_EADDRINUSE},
    {EADDRNOTAVAIL, PCO_EADDRNOTAVAIL},
    {ENODEV, PCO_EADDRNOTAVAIL}, /* the interface of an address: fe80::1%999 */
    {ENXIO, PCO_EADDRNOTAVAIL},
    {EAFNOSUPPORT, PCO_EAFNOSUPPORT},
    {EPFNOSUPPORT, PCO_EAFNOSUPPORT},
    {EPROTONOSUPPORT, PCO_EAFNOSUPPORT},
    {ECONNREFUSED, PCO_ECONNREFUSED},
    {ECONNRESET, PCO_ECONNRESET},
    {ENETRESET, PCO_ECONNRESET},
    {ECONNABORTED, PCO_ECONNABORTED},
    {EPROTO, PCO_ECONNABORTED},
    {EPIPE, PCO_EPIPE},
    {ESHUTDOWN, PCO_EPIPE},
    {ENOTCONN, PCO_ENOTCONN},
    {EISCONN, PCO_EISCONN},
    {ENETDOWN, PCO_ENETDOWN},
    {ENETUNREACH, PCO_ENETUNREACH},
#if defined(ENONET)
    {ENONET, PCO_ENETUNREACH}, /* what ICMP may say of a host on Linux */
#endif
    {EHOSTUNREACH, PCO_EHOSTUNREACH},
    {EHOSTDOWN, PCO_EHOSTUNREACH},
    {EMSGSIZE, PCO_EMSGSIZE},
};

int pco__error_from_system(int system_code)
{
    for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; i++) {
        if (error_table[i].system == system_code) {
            return error_table[i].ours;
        }
    }
    return PCO_EUNKNOWN;
}

/* ---- Time, threads, the environment ---- */

/*
 * The clock that stands still while the machine sleeps, as waiting for events does. Linux's
 * CLOCK_MONOTONIC is that, and NetBSD has no other. On macOS (clock_gettime(3)) and OpenBSD
 * (clock_gettime(2)) it counts sleep; on FreeBSD it does not yet (clock_gettime(2)).
 */
#if defined(CLOCK_UPTIME_RAW)
#define CLOCK_AWAKE CLOCK_UPTIME_RAW /* macOS */
#elif defined(CLOCK_UPTIME)
#define CLOCK_AWAKE CLOCK_UPTIME /* FreeBSD, OpenBSD, DragonFly */
#else
#define CLOCK_AWAKE CLOCK_MONOTONIC
#endif

uint64_t pco__monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_AWAKE, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const char *pco__getenv(const char *name)
{
#if defined(__linux__)
    const char *value = secure_getenv(name);
#else
    const char *value = issetugid() ? NULL : getenv(name);
#endif

    return value != NULL && value[0] != '\0' ? value : NULL;
}

void pco__print(const char *sentence)
{
    fprintf(stderr, "portico: %s\n", sentence);
}

void pco__panic(const char *sentence)
{
    pco__print(sentence);
    abort();
}

/* ---- Files ---- */

/* A file may hold a private key, and memory that is given back must not; the loop is not elided. */
static void free_wiped(unsigned char *memory, size_t size)
{
    volatile unsigned char *byte = memory;

    for (size_t i = 0; memory != NULL && i < size; i++) {
        byte[i] = 0;
    }
    pco__free(memory);
}

/* What a file is read into. */
typedef struct contents {
    unsigned char *data;
    size_t length;
    size_t capacity;
} contents;

/* Makes room for at least one more byte. */
static int grow(contents *into)
{
    size_t capacity = into->capacity * 2;
    unsigned char *data = pco__malloc(capacity);

    if (data == NULL) {
        return PCO_ENOMEM;
    }
    memcpy(data, into->data, into->length);
    free_wiped(into->data, into->capacity);
    into->data = data;
    into->capacity = capacity;
    return 0;
}

/* Of files ENXIO and ENODEV mean what no file is: the socket of a path, a device that is gone. */
static int file_error(int system_code)
{
    return system_code == ENXIO || system_code == ENODEV ? PCO_EIO
                                                         : pco__error_from_system(system_code);
}

/* Reads to the end. PCO_EINVAL: more than `limit` bytes. */
static int read_all(int descriptor, size_t limit, contents *into, int *system_code)
{
    ssize_t length;

    for (;;) {
        if (into->length == into->capacity && grow(into) != 0) {
            return PCO_ENOMEM;
        }
        length = read(descriptor, into->data + into->length, into->capacity - into->length);
        if (length < 0 && errno != EINTR) {
            *system_code = errno;
            return file_error(errno);
        }
        if (length == 0) {
            return 0;
        }
        into->length += length > 0 ? (size_t)length : 0;
        if (into->length > limit) {
            return PCO_EINVAL;
        }
    }
}

int pco__read_file(const char *path, size_t limit, unsigned char **data, size_t *length,
                   pco_error *error)
{
    contents whole = {0};
    struct stat status;
    int system_code = 0;
    int code = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        system_code = errno;
        code = file_error(system_code);
        goto done;
    }
    /* One byte more than the file has, so that its end is seen without growing. */
    whole.capacity = 4096;
    if (status.st_size > 0 && (uint64_t)status.st_size <= limit) {
        whole.capacity = (size_t)status.st_size + 1;
    }
    whole.data = pco__malloc(whole.capacity);
    code = whole.data == NULL ? PCO_ENOMEM : read_all(descriptor, limit, &whole, &system_code);
done:
    if (descriptor >= 0) {
        close(descriptor);
    }
    if (code == 0) {
        *data = whole.data;
        *length = whole.length;
        return 0;
    }
    free_wiped(whole.data, whole.capacity);
    if (whole.length > limit) {
        return pco__error_set(error, code, 0, "read %s: larger than %zu bytes", path, limit);
    }
    return pco__error_describe(error, code, system_code, "read %s", path);
}

/* ---- Files that grow ---- */

/* Not to wait where nobody reads from the other end: O_NONBLOCK, of which a file knows nothing. */
int pco__log_open(const char *path, intptr_t *file, pco_error *error)
{
    int descriptor =
        open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (descriptor < 0) {
        int system_code = errno;
        return pco__error_describe(error, file_error(system_code), system_code, "write %s", path);
    }
    *file = descriptor;
    return 0;
}

void pco__log_add(intptr_t file, const void *line, size_t length)
{
    while (write((int)file, line, length) < 0 && errno == EINTR) {
    }
}

void pco__log_close(intptr_t file)
{
    close((int)file);
}
