/* SPDX-License-Identifier: MIT */
/*
 * pass.c: sockets go along with a message over a stream socket of AF_UNIX (SCM_RIGHTS, unix(7)).
 *
 * What a peer sends along is opened here by the very call that reads, asked for or not. So there is
 * room for more than one descriptor, and whatever comes is looked at: one is taken, if it is a
 * socket, and all others are closed. Of what has no room the system says that it was cut off, and
 * closes it. Who the peer is comes, too, where an option of the channel's asks for it.
 */
#define _GNU_SOURCE 1

#include "system/pass.h"

#include "posix/socket.h"
#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* SO_NOSIGPIPE instead */
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0 /* between the call and fcntl() a fork in another thread inherits it */
#endif

/* More than one, so that one too many is seen and closed; the rest is cut off. */
#define ROOM 8

/* For what SO_PASSCRED, SO_PASSPIDFD and SO_PASSSEC of Linux let come, before the descriptors. */
#define ROOM_FOR_OTHERS 512

#if defined(__linux__) && !defined(SCM_PIDFD)
#define SCM_PIDFD 4 /* since 6.5: a descriptor, too */
#endif

typedef union control {
    struct cmsghdr header; /* for its alignment */
    unsigned char space[CMSG_SPACE(ROOM * sizeof(int)) + ROOM_FOR_OTHERS];
} control;

/* The most descriptors that can come, where nothing else does. */
#define MOST (sizeof(control) / sizeof(int))

/* ---- What is what ---- */

static bool is_socket(int descriptor)
{
    struct stat status;

    return fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

static int check_socket(pco_socket sock, const char *what, pco_error *error)
{
    if (sock < 0 || sock > INT32_MAX || !is_socket((int)sock)) {
        return pco__error_set(error, PCO_ENOTSOCK, ENOTSOCK, "the %s, %lld, is no socket", what,
                              (long long)sock);
    }
    return 0;
}

/*
 * TCP would take the call, and drop the socket in silence. (A name that cannot be told, as macOS
 * has it of a channel that is closed at both sides, says nothing against it.)
 */
static int check_channel(pco_socket channel, pco_error *error)
{
    struct sockaddr_storage name = {0};
    socklen_t length = sizeof name;
    int type = 0;
    socklen_t type_length = sizeof type;
    int code = check_socket(channel, "channel", error);

    if (code != 0) {
        return code;
    }
    bool is_unix = getsockname((int)channel, (struct sockaddr *)&name, &length) != 0 ||
                   name.ss_family == AF_UNIX;
    if (getsockopt((int)channel, SOL_SOCKET, SO_TYPE, &type, &type_length) != 0 ||
        type != SOCK_STREAM || !is_unix) {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "sockets are passed over stream sockets of AF_UNIX alone");
    }
    return 0;
}

/* `action` could not be done. */
static int fail(const char *action, int system_code, pco_error *error)
{
    int code = pco__error_from_system(system_code);

    switch (system_code) {
    case EPIPE:
        code = PCO_ECONNRESET;
        break;
    case ETOOMANYREFS: /* unix(7) */
        code = PCO_EMFILE;
        break;
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        code = PCO_EAGAIN;
        break;
    default:
        break;
    }
    return pco__error_describe(error, code, system_code, "%s", action);
}

/* ---- Sending ---- */

static ssize_t send_message(int channel, struct msghdr *message)
{
    ssize_t sent;

#if defined(SO_NOSIGPIPE)
    int on = 1;
    setsockopt(channel, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    do {
        sent = sendmsg(channel, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

static void send_along(struct msghdr *message, control *space, int descriptor)
{
    memset(space, 0, sizeof *space);
    message->msg_control = space;
    message->msg_controllen = CMSG_SPACE(sizeof descriptor);
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
}

/* A part of a message, which no system is known to send, would leave the channel out of step. */
int pco__pass_send(pco_socket channel, long long process, pco_socket sock,
                   const unsigned char bytes[PCO__PASS_SIZE], pco_error *error)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = PCO__PASS_SIZE};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    control space;
    int code = check_channel(channel, error);

    (void)process;
    if (code == 0 && sock != PCO_NO_SOCKET) {
        code = check_socket(sock, "sock", error);
    }
    if (code != 0) {
        return code;
    }
    if (sock != PCO_NO_SOCKET) {
        send_along(&message, &space, (int)sock);
    }
    ssize_t sent = send_message((int)channel, &message);
    if (sent < 0) {
        return fail("pass a socket", errno, error);
    }
    if ((size_t)sent < PCO__PASS_SIZE) {
        shutdown((int)channel, SHUT_RDWR);
        return fail("pass a socket", ECONNRESET, error);
    }
    return 0;
}

/* ---- Receiving ---- */

static bool holds_descriptors(const struct cmsghdr *one)
{
#if defined(SCM_PIDFD)
    if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_PIDFD) {
        return true;
    }
#endif
    return one->cmsg_level == SOL_SOCKET && one->cmsg_type == SCM_RIGHTS;
}

/* All that was sent along, of whatever kind it is. Returns how many. Others are closed. */
static size_t collect(struct msghdr *message, int descriptors[MOST])
{
    size_t count = 0;

    for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one != NULL;
         one = CMSG_NXTHDR(message, one)) {
        size_t bytes = holds_descriptors(one) ? (size_t)one->cmsg_len - CMSG_LEN(0) : 0;
        for (size_t at = 0; at + sizeof(int) <= bytes && count < MOST; at += sizeof(int)) {
            memcpy(&descriptors[count], CMSG_DATA(one) + at, sizeof(int));
            if (one->cmsg_type == SCM_RIGHTS) {
                count++;
            } else if (descriptors[count] >= 0) {
                close(descriptors[count]);
            }
        }
    }
    return count;
}

/* The one socket that may come; false if anything else has, all of which is closed. */
static bool take_one(struct msghdr *message, pco_socket *sock)
{
    int descriptors[MOST];
    size_t count = collect(message, descriptors);
    int taken = -1;

    if (count == 1 && (message->msg_flags & MSG_CTRUNC) == 0 && is_socket(descriptors[0])) {
        taken = pco__descriptor_raise(descriptors[0]);
        descriptors[0] = -1; /* that has closed it if it failed */
    }
    for (size_t i = 0; i < count; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    if (taken >= 0) {
        fcntl(taken, F_SETFD, FD_CLOEXEC); /* cannot fail on what is open */
        *sock = taken;
        return true;
    }
    return count == 0 && (message->msg_flags & MSG_CTRUNC) == 0;
}

/* Whether there is a descriptor for what comes; or it would be lost. 0 or an errno. */
static int probe_descriptor(int channel)
{
    int probe = fcntl(channel, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (probe < 0) {
        return errno;
    }
    close(probe);
    return 0;
}

static int not_a_message(pco_error *error)
{
    return pco__error_set(error, PCO_EINVAL, 0,
                          "what came over the channel is no message of pco_socket_pass, or its "
                          "socket was lost on the way");
}

int pco__pass_receive(pco_socket channel, unsigned char bytes[PCO__PASS_SIZE], pco_socket *sock,
                      pco_error *error)
{
    struct iovec part = {.iov_base = bytes, .iov_len = PCO__PASS_SIZE};
    control space;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    ssize_t length;
    int code = check_channel(channel, error);

    if (code != 0) {
        return code;
    }
    code = probe_descriptor((int)channel);
    if (code != 0) {
        return fail("take a socket", code, error);
    }
    do {
        length = recvmsg((int)channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        /* Of a channel that is not connected Linux says EINVAL, as nowhere else. */
        return fail("take a socket", errno == EINVAL ? ENOTCONN : errno, error);
    }
    bool good = take_one(&message, sock);
    if (good && (size_t)length == PCO__PASS_SIZE) {
        return 0;
    }
    if (*sock != PCO_NO_SOCKET) {
        pco__pass_close(*sock);
        *sock = PCO_NO_SOCKET;
    }
    return length != 0
               ? not_a_message(error)
               : pco__error_set(error, PCO_ECLOSED, 0, "the other process has closed the channel");
}

void pco__pass_close(pco_socket sock)
{
    close((int)sock);
}
