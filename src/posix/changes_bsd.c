/* SPDX-License-Identifier: MIT */
/*
 * changes_bsd.c: what has changed, by a routing socket (route(4)), on macOS and the BSDs. Of the
 * end of sleep nobody tells, so who watches looks at the clocks now and then; and with each
 * message, since a machine that wakes up mostly has some of them.
 *
 * Not each message is a change: what other programs ask the routes for comes by here, too, and what
 * the system has learned of its neighbours. Where messages come faster than they are read some are
 * dropped, which OpenBSD tells by a message, others by an error if they are asked to; macOS does
 * not tell.
 */
#include "posix/sleep.h"
#include "posix/socket.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/changes.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include <sys/types.h>

#include <sys/socket.h>

#include <net/if.h>
#include <net/route.h>
#include <unistd.h>

#define ANYTHING (PCO_NETWORK_ADDRESSES | PCO_NETWORK_ROUTES)

/* How late the end of sleep may be told, in seconds. */
#define LOOK_EVERY 10

/* A message is shorter, and so many are read in a row: a flood must not hold up the loop. */
#define BUFFER ((size_t)2048)
#define READS 64

struct pco__changes {
    int routing;
    pco__sleep sleep;
    unsigned char buffer[BUFFER];
};

/* ---- Messages ---- */

/* Routes to a neighbour, or copied from another for one connection: a cache. */
static bool is_cached(const unsigned char *data, size_t length)
{
    struct rt_msghdr header;
    int cached = 0;

#if defined(RTF_LLINFO)
    cached |= RTF_LLINFO;
#endif
#if defined(RTF_LLDATA)
    cached |= RTF_LLDATA;
#endif
#if defined(RTF_WASCLONED)
    cached |= RTF_WASCLONED;
#endif
#if defined(RTF_CLONED)
    cached |= RTF_CLONED;
#endif
    if (length < sizeof header) {
        return false;
    }
    memcpy(&header, data, sizeof header);
    return (header.rtm_flags & cached) != 0;
}

static unsigned what_of(const unsigned char *data, size_t length)
{
    if (length <= offsetof(struct rt_msghdr, rtm_type) ||
        data[offsetof(struct rt_msghdr, rtm_version)] != RTM_VERSION) {
        return 0;
    }
    switch (data[offsetof(struct rt_msghdr, rtm_type)]) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_IFINFO:
#if defined(RTM_IFANNOUNCE)
    case RTM_IFANNOUNCE:
#endif
#if defined(RTM_CHGADDR)
    case RTM_CHGADDR:
#endif
        return PCO_NETWORK_ADDRESSES;
    case RTM_ADD:
    case RTM_DELETE:
    case RTM_CHANGE:
    case RTM_REDIRECT:
        return is_cached(data, length) ? 0 : PCO_NETWORK_ROUTES;
#if defined(RTM_DESYNC)
    case RTM_DESYNC:
        return ANYTHING;
#endif
    default:
        return 0;
    }
}

/* Reads one. False: there is nothing more. */
static bool read_message(pco__changes *changes, unsigned *what)
{
    ssize_t length = read(changes->routing, changes->buffer, sizeof changes->buffer);

    if (length < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            *what |= ANYTHING;
        }
        return errno == ENOBUFS || errno == EINTR;
    }
    *what |= what_of(changes->buffer, (size_t)length);
    return length > 0;
}

static unsigned take(pco__changes *changes)
{
    unsigned what = 0;

    for (int reads = 0; reads < READS && read_message(changes, &what); reads++) {
    }
    if (pco__sleep_ended(&changes->sleep)) {
        what |= PCO_NETWORK_SLEPT;
    }
    return what;
}

/* ---- Watching ---- */

static int set_up(int sock)
{
#if defined(SO_RERROR)
    const int on = 1;

    if (setsockopt(sock, SOL_SOCKET, SO_RERROR, &on, sizeof on) != 0) {
        return -1;
    }
#endif
    return fcntl(sock, F_SETFD, FD_CLOEXEC) == 0 && fcntl(sock, F_SETFL, O_NONBLOCK) == 0 ? 0 : -1;
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
    made->routing = pco__descriptor_raise(socket(PF_ROUTE, SOCK_RAW, AF_UNSPEC));
    if (made->routing < 0 || set_up(made->routing) != 0) {
        int code = errno;
        if (made->routing >= 0) {
            close(made->routing);
        }
        pco__free(made);
        return pco__error_describe(error, pco__error_from_system(code), code, "watch the network");
    }
    pco__sleep_begin(&made->sleep);
    *changes = made;
    return 0;
}

static size_t descriptors(const pco__changes *changes, pco_socket *list)
{
    list[0] = changes->routing;
    return 1;
}

static void end(pco__changes *changes)
{
    close(changes->routing);
    pco__free(changes);
}

const pco__changes_class pco__system_changes = {
    .look_every = LOOK_EVERY, .begin = begin, .descriptors = descriptors, .take = take, .end = end};
