/* SPDX-License-Identifier: MIT */
/*
 * standin_filters.c: what each filter says of a descriptor, from what Linux says of it. Nothing is
 * remembered here: a filter looks at the descriptor at the moment when it is asked.
 */
#define _GNU_SOURCE 1

#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
/* linux/tcp.h has TCP_INQ, and cannot be included beside netinet/tcp.h */
#include <linux/tcp.h>

typedef enum kind { LISTENER, STREAM, DATAGRAMS, PIPE } kind;

static int option_of(int descriptor, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof value;

    return getsockopt(descriptor, level, name, &value, &length) == 0 ? value : 0;
}

static kind kind_of(int descriptor)
{
    struct stat status;

    if (fstat(descriptor, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return PIPE;
    }
    if (option_of(descriptor, SOL_SOCKET, SO_ACCEPTCONN) != 0) {
        return LISTENER;
    }
    return option_of(descriptor, SOL_SOCKET, SO_TYPE) == SOCK_STREAM ? STREAM : DATAGRAMS;
}

static int condition_of(int descriptor, short wanted)
{
    struct pollfd one = {.fd = descriptor, .events = wanted};

    return poll(&one, 1, 0) > 0 ? one.revents : 0;
}

/* A stream socket before connect(): Linux counts it as ended, kqueue says nothing of it. */
static bool is_unconnected(int condition)
{
    return (condition & POLLHUP) != 0 && (condition & POLLRDHUP) == 0;
}

/* How many connections wait to be accepted; where nobody tells (emulators), at least 1. */
static intptr_t length_of_backlog(int descriptor, int condition)
{
    struct tcp_info info;
    socklen_t length = sizeof info;

    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
        length > offsetof(struct tcp_info, tcpi_unacked)) {
        return (intptr_t)info.tcpi_unacked; /* of a listener: its queue (net/ipv4/tcp.c) */
    }
    return (condition & POLLIN) != 0 ? 1 : 0;
}

/*
 * All that the socket's buffer holds. FIONREAD stops before urgent data (tcp(7)), a BSD's count
 * does not; TCP_INQ counts on, with the urgent byte, which is not in the stream.
 */
static int bytes_beyond_urgent_data(int descriptor, int bytes)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    int on = 1;
    int off = 0;
    int total = 0;

    memset(&control, 0, sizeof control);
    if (setsockopt(descriptor, IPPROTO_TCP, TCP_INQ, &on, sizeof on) != 0) {
        return bytes;
    }
    /* Not by recvmsg(), which would take the socket's error away (standin_calls.c). */
    if (syscall(SYS_recvmsg, descriptor, &message, MSG_PEEK | MSG_DONTWAIT) > 0 &&
        message.msg_controllen >= sizeof control.header && control.header.cmsg_type == TCP_CM_INQ) {
        memcpy(&total, CMSG_DATA(&control.header), sizeof total);
    }
    setsockopt(descriptor, IPPROTO_TCP, TCP_INQ, &off, sizeof off);
    return total > bytes ? total - 1 : bytes;
}

static intptr_t bytes_to_read(int descriptor, int condition)
{
    int bytes = 0;

    if (ioctl(descriptor, FIONREAD, &bytes) != 0) {
        return (condition & POLLIN) != 0 ? 1 : 0; /* a kqueue */
    }
    if (!STANDIN_LIBRARY && (condition & POLLPRI) != 0) {
        bytes = bytes_beyond_urgent_data(descriptor, bytes);
    }
    return bytes;
}

static intptr_t low_water_mark(const standin_knote *knote)
{
    return (knote->event.fflags & NOTE_LOWAT) != 0 ? knote->event.data : 1;
}

static bool evaluate_read(const standin_knote *knote, struct kevent *event)
{
    int descriptor = (int)knote->event.ident;
    int condition = condition_of(descriptor, POLLIN | POLLPRI | POLLRDHUP);
    kind what = kind_of(descriptor);

    if (what == LISTENER) {
        event->data = length_of_backlog(descriptor, condition);
        return event->data > 0;
    }
    if (what == STREAM && is_unconnected(condition)) {
        return false;
    }
    event->data = bytes_to_read(descriptor, condition);
    if (what == DATAGRAMS) {
        return (condition & POLLIN) != 0;
    }
    if ((condition & (POLLRDHUP | POLLHUP)) != 0 &&
        (!STANDIN_LIBRARY || event->data == 0 || (condition & POLLERR) != 0)) {
        event->flags |= EV_EOF;
        event->fflags = what == STREAM;
        return true;
    }
    return event->data >= low_water_mark(knote) || (condition & POLLERR) != 0;
}

/* After shutdown() Linux tells nothing, but a send of nothing fails. */
static bool is_shut_for_sending(int descriptor)
{
    return send(descriptor, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static intptr_t room_in_socket(int descriptor)
{
    int unsent = 0;
    int size = option_of(descriptor, SOL_SOCKET, SO_SNDBUF);

    if (ioctl(descriptor, SIOCOUTQ, &unsent) != 0 || unsent >= size) {
        return 1;
    }
    return size - unsent;
}

static intptr_t room_in_pipe(int descriptor)
{
    int unread = 0;
    int size = fcntl(descriptor, F_GETPIPE_SZ);

    return ioctl(descriptor, FIONREAD, &unread) == 0 && unread < size ? size - unread : 1;
}

static bool evaluate_write(const standin_knote *knote, struct kevent *event)
{
    int descriptor = (int)knote->event.ident;
    int condition = condition_of(descriptor, POLLOUT | POLLRDHUP);
    kind what = kind_of(descriptor);

    if (what == LISTENER || (what == STREAM && is_unconnected(condition))) {
        return false;
    }
    if ((condition & POLLOUT) != 0) {
        event->data = what == PIPE ? room_in_pipe(descriptor) : room_in_socket(descriptor);
    }
    if ((condition & (POLLHUP | POLLERR)) != 0) {
        event->flags |= EV_EOF;
        event->fflags = what != PIPE;
        return true;
    }
    if (what == STREAM && is_shut_for_sending(descriptor)) {
        event->flags |= EV_EOF;
        return true;
    }
    return event->data >= low_water_mark(knote);
}

void standin_show_error(struct kevent *event)
{
    if (event->filter != EVFILT_USER && event->fflags != 0) {
        event->fflags = (unsigned)standin_socket_error((int)event->ident);
    }
}

bool standin_evaluate(const standin_knote *knote, struct kevent *event)
{
    *event = knote->event;
    if (event->filter == EVFILT_USER) {
        return knote->triggered;
    }
    event->fflags = 0;
    event->data = 0;
    return event->filter == EVFILT_READ ? evaluate_read(knote, event)
                                        : evaluate_write(knote, event);
}
