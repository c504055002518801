/* SPDX-License-Identifier: MIT */
/*
 * changes_linux.c: what has changed, by netlink (rtnetlink(7)), and the end of sleep, by a timer
 * that is canceled when the wall clock jumps, as it does then (timerfd_create(2)).
 *
 * Not each message is a change. A router repeats that an address goes on to be good, a radio that
 * it has looked for others of its kind, and these would be told every few seconds for as long as
 * the program runs. When messages come faster than they are read, the kernel drops some and says
 * so: then anything may have changed.
 */
#define _GNU_SOURCE 1

#include "posix/sleep.h"
#include "posix/socket.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/changes.h"
#include "system/platform.h"

#include <errno.h>
#include <string.h>

#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ANYTHING (PCO_NETWORK_ADDRESSES | PCO_NETWORK_ROUTES)

#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)

/* What is read at once, and how often in a row: a flood must not hold up the loop. */
#define BUFFER ((size_t)16 * 1024)
#define READS 64

/* Where the parts of a message begin. */
#define ALIGNED(length) (((size_t)(length) + 3) & ~(size_t)3)

struct pco__changes {
    int netlink;
    int clock;
    pco__sleep sleep;
    unsigned char buffer[BUFFER];
};

/* ---- Messages ---- */

/* What a message says, behind its header. */
typedef struct body {
    const unsigned char *data;
    size_t length;
} body;

/* Copies its first part, which depends on the kind. False: it is too short. */
static bool read_head(const body *of, void *head, size_t size)
{
    if (of->length < size) {
        return false;
    }
    memcpy(head, of->data, size);
    return true;
}

/* The value of an attribute, which come behind the head; NULL: there is none of that size. */
static const unsigned char *find_attribute(const body *of, size_t head, unsigned type, size_t size)
{
    struct rtattr attribute;

    for (size_t at = ALIGNED(head); at + sizeof attribute <= of->length;) {
        memcpy(&attribute, of->data + at, sizeof attribute);
        if (attribute.rta_len < sizeof attribute || attribute.rta_len > of->length - at) {
            return NULL;
        }
        if ((attribute.rta_type & NLA_TYPE_MASK) == type) {
            return attribute.rta_len - sizeof attribute >= size ? of->data + at + sizeof attribute
                                                                : NULL;
        }
        at += ALIGNED(attribute.rta_len);
    }
    return NULL;
}

/* A link is what a bridge has to say of its ports, too; and radios use it for their own news. */
static unsigned what_of_link(const body *of)
{
    struct ifinfomsg head;

    if (!read_head(of, &head, sizeof head) || head.ifi_family != AF_UNSPEC ||
        find_attribute(of, sizeof head, IFLA_WIRELESS, 0) != NULL) {
        return 0;
    }
    return PCO_NETWORK_ADDRESSES;
}

/* One that is not new when it is told was given a longer life. */
static unsigned what_of_new_address(const body *of)
{
    struct ifa_cacheinfo times;
    const unsigned char *value =
        find_attribute(of, sizeof(struct ifaddrmsg), IFA_CACHEINFO, sizeof times);

    if (value == NULL) {
        return PCO_NETWORK_ADDRESSES;
    }
    memcpy(&times, value, sizeof times);
    return times.cstamp != times.tstamp ? 0 : PCO_NETWORK_ADDRESSES;
}

/* Those to this machine itself come and go with its addresses; clones are a cache. */
static unsigned what_of_route(const body *of)
{
    struct rtmsg head;

    if (!read_head(of, &head, sizeof head) || head.rtm_table == RT_TABLE_LOCAL ||
        (head.rtm_flags & RTM_F_CLONED) != 0) {
        return 0;
    }
    return PCO_NETWORK_ROUTES;
}

static unsigned what_of(unsigned type, const body *of)
{
    switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return what_of_link(of);
    case RTM_NEWADDR:
        return what_of_new_address(of);
    case RTM_DELADDR:
        return PCO_NETWORK_ADDRESSES;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return what_of_route(of);
    case NLMSG_OVERRUN:
        return ANYTHING;
    default:
        return 0;
    }
}

static unsigned what_of_messages(const unsigned char *data, size_t length)
{
    struct nlmsghdr header;
    unsigned what = 0;

    for (size_t at = 0; at + sizeof header <= length;) {
        memcpy(&header, data + at, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - at) {
            return ANYTHING;
        }
        body of = {data + at + sizeof header, header.nlmsg_len - sizeof header};
        what |= what_of(header.nlmsg_type, &of);
        at += ALIGNED(header.nlmsg_len);
    }
    return what;
}

/* Reads once. False: there is nothing more. Only the kernel is believed. */
static bool read_messages(pco__changes *changes, unsigned *what)
{
    struct sockaddr_nl sender = {0};
    struct iovec piece = {changes->buffer, sizeof changes->buffer};
    struct msghdr message = {
        .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &piece, .msg_iovlen = 1};
    ssize_t length = recvmsg(changes->netlink, &message, MSG_DONTWAIT);

    if (length < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            *what |= ANYTHING;
        }
        return errno == ENOBUFS || errno == EINTR;
    }
    if (sender.nl_pid == 0) {
        *what |= (message.msg_flags & MSG_TRUNC) != 0
                     ? ANYTHING
                     : what_of_messages(changes->buffer, (size_t)length);
    }
    return true;
}

static unsigned take(pco__changes *changes)
{
    uint64_t unused;
    unsigned what = 0;

    for (int reads = 0; reads < READS && read_messages(changes, &what); reads++) {
    }
    while (read(changes->clock, &unused, sizeof unused) < 0 && errno == EINTR) {
    }
    if (pco__sleep_ended(&changes->sleep)) {
        what |= PCO_NETWORK_SLEPT;
    }
    return what;
}

/* ---- Watching ---- */

static int open_netlink(void)
{
    const struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    int sock = pco__descriptor_raise(
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));

    if (sock >= 0 && bind(sock, (const struct sockaddr *)&groups, sizeof groups) != 0) {
        int code = errno;
        close(sock);
        errno = code;
        return -1;
    }
    return sock;
}

/* A timer of the wall clock, for a time that never comes. */
static int open_clock(void)
{
    const uint64_t last = ((uint64_t)1 << (sizeof(time_t) * 8 - 1)) - 1;
    const struct itimerspec never = {.it_value = {.tv_sec = (time_t)last}};
    int clock = pco__descriptor_raise(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));

    if (clock >= 0 &&
        timerfd_settime(clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) != 0) {
        int code = errno;
        close(clock);
        errno = code;
        return -1;
    }
    return clock;
}

static void end(pco__changes *changes)
{
    if (changes->netlink >= 0) {
        close(changes->netlink);
    }
    if (changes->clock >= 0) {
        close(changes->clock);
    }
    pco__free(changes);
}

/* What a kernel says that has no such socket or timer, as those that sandboxes make up. */
static int error_of(int system_code)
{
    int code = pco__error_from_system(system_code);

    return code == PCO_EINVAL || code == PCO_EAFNOSUPPORT ? PCO_ENOTSUP : code;
}

static int begin(void (*notice)(void *context), void *context, pco__changes **changes,
                 pco_error *error)
{
    pco__changes *made = pco__malloc(sizeof *made);

    (void)notice;
    (void)context;
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch the network");
    }
    made->clock = -1;
    made->netlink = open_netlink();
    if (made->netlink >= 0) {
        made->clock = open_clock();
    }
    if (made->clock < 0) {
        int code = errno;
        end(made);
        return pco__error_describe(error, error_of(code), code, "watch the network");
    }
    pco__sleep_begin(&made->sleep);
    *changes = made;
    return 0;
}

static size_t descriptors(const pco__changes *changes, pco_socket *list)
{
    list[0] = changes->netlink;
    list[1] = changes->clock;
    return 2;
}

const pco__changes_class pco__system_changes = {
    .begin = begin, .descriptors = descriptors, .take = take, .end = end};
