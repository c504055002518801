/* SPDX-License-Identifier: MIT */
/*
 * standin_calls.c: the calls that the stand-in puts itself before. close() and its like, because a
 * kqueue forgets a descriptor that is closed. And those that take a socket's error away: Linux
 * tells an error only once, so what was shown in fflags is kept here for who asks next.
 */
#define _DEFAULT_SOURCE 1 /* not _GNU_SOURCE, which declares recvfrom() with types of its own */

#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- Errors that were shown ---- */

#define DESCRIPTORS 65536

/* By descriptor. */
static int errors[DESCRIPTORS];

static bool has_place(int descriptor)
{
    return !STANDIN_LIBRARY && descriptor >= 0 && descriptor < DESCRIPTORS;
}

static int error_by_system(int descriptor, int *code)
{
    socklen_t length = sizeof *code;

    return (int)syscall(SYS_getsockopt, descriptor, SOL_SOCKET, SO_ERROR, code, &length);
}

int standin_socket_error(int descriptor)
{
    int code = 0;

    if (error_by_system(descriptor, &code) == 0 && code != 0 && has_place(descriptor)) {
        errors[descriptor] = code;
    }
    return has_place(descriptor) ? errors[descriptor] : code;
}

static int take_error(int descriptor)
{
    int code = 0;

    if (has_place(descriptor)) {
        standin_lock();
        code = errors[descriptor];
        errors[descriptor] = 0;
        standin_unlock();
    }
    return code;
}

/* A read that came to the end of a socket with an error is told of the error first. */
static ssize_t result_of_read(int descriptor, size_t size, long result)
{
    bool ended = (result == 0 && size != 0) || (result < 0 && errno == ENOTCONN);
    int code = ended ? take_error(descriptor) : 0;

    if (code != 0) {
        errno = code;
        return -1;
    }
    return (ssize_t)result;
}

int getsockopt(int descriptor, int level, int name, void *value, socklen_t *length)
{
    int status = (int)syscall(SYS_getsockopt, descriptor, level, name, value, length);

    if (status == 0 && level == SOL_SOCKET && name == SO_ERROR && *length == sizeof(int)) {
        int before = take_error(descriptor);
        if (*(int *)value == 0) {
            *(int *)value = before;
        }
    }
    return status;
}

ssize_t recv(int descriptor, void *data, size_t size, int flags)
{
    return recvfrom(descriptor, data, size, flags, NULL, NULL);
}

ssize_t recvfrom(int descriptor, void *restrict data, size_t size, int flags,
                 struct sockaddr *restrict address, socklen_t *restrict length)
{
    return result_of_read(descriptor, size,
                          syscall(SYS_recvfrom, descriptor, data, size, flags, address, length));
}

ssize_t recvmsg(int descriptor, struct msghdr *message, int flags)
{
    return result_of_read(descriptor, message->msg_iovlen,
                          syscall(SYS_recvmsg, descriptor, message, flags));
}

ssize_t read(int descriptor, void *data, size_t size)
{
    return result_of_read(descriptor, size, syscall(SYS_read, descriptor, data, size));
}

ssize_t readv(int descriptor, const struct iovec *parts, int count)
{
    return result_of_read(descriptor, (size_t)count, syscall(SYS_readv, descriptor, parts, count));
}

/* ---- Descriptors that go ---- */

static void forget(int descriptor)
{
    standin_closing(descriptor);
    take_error(descriptor);
}

int close(int descriptor)
{
    forget(descriptor);
    return (int)syscall(SYS_close, descriptor);
}

int dup3(int from, int to, int flags);

int dup3(int from, int to, int flags)
{
    if (from != to && fcntl(from, F_GETFD) >= 0) {
        forget(to);
    }
    return (int)syscall(SYS_dup3, from, to, flags);
}

int dup2(int from, int to)
{
    if (from == to) {
        return fcntl(from, F_GETFD) < 0 ? -1 : to;
    }
    return dup3(from, to, 0);
}
