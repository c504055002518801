/* SPDX-License-Identifier: MIT */
/*
 * epoll.c: the poller of Linux. Each socket is registered once, edge-triggered, for everything;
 * nothing is changed or asked again while it lives.
 *
 * The hard idea: closing a descriptor does not end its registration while a duplicate of it is
 * open (epoll(7), Questions and answers, 6): one that the user made, or that a process forked by
 * another thread holds until it execs. Its events go on. To remove every connection explicitly
 * costs a system call each, and is not needed: events carry the descriptor and the generation,
 * and what belongs to an earlier socket of that number is dropped. Since edges come only when a
 * socket changes, such events cannot make the loop spin. Listeners are removed explicitly: one that
 * is shared with other processes lives on, and would wake this loop for every client of theirs.
 *
 * Foreign descriptors are another matter, since what is true of them is to be told as long as it is
 * true: there such events would never end, and no call can end them, the descriptor being gone. So
 * these are in a set of their own, which is in the first one. An event of what nobody watches any
 * more is the sign to make that set anew.
 *
 * A process that was forked shares the whole epoll set with its parent, and must not use the loop.
 */
#define _GNU_SOURCE 1

#include "posix/receive.h"
#include "posix/socket.h"

#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How many events one poll() takes over; what is left comes with the next. */
#define BATCH 256

/* The longest wait, in milliseconds: old kernels overflow beyond 35 minutes. */
#define LONGEST_WAIT (30 * 60 * 1000)

/*
 * wake() adds 1 to the eventfd's counter, or this to ask for a stop: one number carries both, with
 * no memory shared between threads and nothing that a signal handler may not do.
 */
#define WAKE_STOP ((uint64_t)1 << 32)

/* The eventfd's key among the events: of generation 0, which no socket has. */
#define WAKE_KEY ((uint64_t)0)

/* That of the set of foreign descriptors, likewise. */
#define FOREIGN_KEY ((uint64_t)1)

typedef struct epoll {
    pco__reactor reactor;
    int set;
    int wake;
    int foreign; /* the set of foreign descriptors; -1: there is none yet */
    bool *stop;  /* poll()'s */
} epoll;

static epoll *epoll_of(pco__reactor *reactor)
{
    return (epoll *)reactor;
}

static int open_epoll(pco__reactor *reactor, pco_error *error)
{
    epoll *self = epoll_of(reactor);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_KEY};
    int code;

    reactor->base.most = BATCH;
    self->wake = self->foreign = -1;
    self->set = pco__descriptor_raise(epoll_create1(EPOLL_CLOEXEC));
    if (self->set < 0) {
        goto fail;
    }
    self->wake = pco__descriptor_raise(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (self->wake < 0 || epoll_ctl(self->set, EPOLL_CTL_ADD, self->wake, &event) != 0) {
        goto fail;
    }
    return 0;
fail:
    code = errno;
    if (self->wake >= 0) {
        close(self->wake);
    }
    if (self->set >= 0) {
        close(self->set);
    }
    return pco__error_describe(error, pco__error_from_system(code), code, "open epoll");
}

static void close_epoll(pco__reactor *reactor)
{
    epoll *self = epoll_of(reactor);

    if (self->foreign >= 0) {
        close(self->foreign);
    }
    close(self->wake);
    close(self->set);
}

/* A failure, or a registration that outlived its socket, whose duplicate has the number again. */
static PCO__COLD int add_otherwise(const epoll *self, int descriptor, struct epoll_event *event,
                                   pco_error *error)
{
    if (errno == EEXIST && epoll_ctl(self->set, EPOLL_CTL_MOD, descriptor, event) == 0) {
        return 0;
    }
    int code = errno;
    return pco__error_describe(error, pco__error_from_system(code), code, "watch a socket");
}

static int add(pco__reactor *reactor, pco__io *io, pco_error *error)
{
    const epoll *self = epoll_of(reactor);
    int descriptor = (int)io->socket;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};

    if (io->private_.reactor.role != PCO__IO_LISTENER) {
        event.events |= EPOLLOUT | EPOLLRDHUP | EPOLLPRI;
    }
    event.data.u64 = (uint64_t)io->private_.reactor.generation << 32 | (uint32_t)descriptor;
    if (epoll_ctl(self->set, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        return add_otherwise(self, descriptor, &event, error);
    }
    return 0;
}

static void remove_socket(pco__reactor *reactor, pco__io *io, bool closes)
{
    if (!closes || io->private_.reactor.role == PCO__IO_LISTENER) {
        struct epoll_event unused = {0};
        epoll_ctl(epoll_of(reactor)->set, EPOLL_CTL_DEL, (int)io->socket, &unused);
    }
}

/* ---- Foreign descriptors ---- */

/* 0 or an errno. */
static int open_foreign(epoll *self)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = FOREIGN_KEY};
    int set = pco__descriptor_raise(epoll_create1(EPOLL_CLOEXEC));

    if (set < 0) {
        return errno;
    }
    if (epoll_ctl(self->set, EPOLL_CTL_ADD, set, &event) != 0) {
        int code = errno;
        close(set);
        return code;
    }
    self->foreign = set;
    return 0;
}

/*
 * Where nothing is wanted an error would be told all the same (epoll_ctl(2), EPOLLERR): once is all
 * that it is told then.
 */
static int set_foreign(const epoll *self, int action, const pco__io *io)
{
    const pco__reactor_io *state = &io->private_.reactor;
    struct epoll_event event = {.events = state->wants != 0 ? state->wants : EPOLLONESHOT};

    event.data.u64 = (uint64_t)state->generation << 32 | (uint32_t)io->socket;
    return epoll_ctl(self->foreign, action, (int)io->socket, &event) == 0 ? 0 : errno;
}

/*
 * The set knows a descriptor by its number and by what that stands for: what is not in it is
 * another. But for what was lost when the set was made anew, of which nothing is known.
 */
static int watch_anew(epoll *self, pco__io *io)
{
    int code = self->foreign < 0 ? open_foreign(self) : 0;
    bool was_lost = io->private_.reactor.lacks != 0;

    if (code != 0) {
        return code;
    }
    code = set_foreign(self, EPOLL_CTL_ADD, io);
    bool is_another = code == 0 && !was_lost;
    if (code == EEXIST) {
        code = set_foreign(self, EPOLL_CTL_MOD, io);
    }
    if (code == 0) {
        io->private_.reactor.lacks = 0;
    }
    return is_another ? PCO__WATCHES_ANOTHER : code;
}

static int watch(pco__reactor *reactor, pco__io *io, bool anew)
{
    if (anew) {
        return watch_anew(epoll_of(reactor), io);
    }
    set_foreign(epoll_of(reactor), EPOLL_CTL_MOD, io);
    return 0;
}

static void unwatch(pco__reactor *reactor, pco__io *io)
{
    struct epoll_event unused = {0};

    epoll_ctl(epoll_of(reactor)->foreign, EPOLL_CTL_DEL, (int)io->socket, &unused);
}

/*
 * Takes each descriptor out that is still what was added; what is another's by now, or closed, has
 * no generation then. (A number is found together with what it stands for.)
 */
static PCO__COLD void empty_foreign(epoll *self)
{
    pco__reactor *reactor = &self->reactor;
    struct epoll_event unused = {0};

    for (size_t i = 0; i < reactor->foreign_capacity; i++) {
        if (reactor->foreign[i] != NULL &&
            epoll_ctl(self->foreign, EPOLL_CTL_DEL, (int)i, &unused) != 0) {
            reactor->foreign[i]->private_.reactor.generation = 0;
        }
    }
}

/* All that is still there, in a new set. The old one is removed: a forked child may hold it. */
static PCO__COLD void renew_foreign(epoll *self)
{
    pco__reactor *reactor = &self->reactor;
    struct epoll_event unused = {0};

    empty_foreign(self);
    epoll_ctl(self->set, EPOLL_CTL_DEL, self->foreign, &unused);
    close(self->foreign);
    self->foreign = -1;
    int code = open_foreign(self);
    for (size_t i = 0; i < reactor->foreign_capacity; i++) {
        pco__io *io = reactor->foreign[i];
        if (io != NULL && io->private_.reactor.generation != 0 &&
            (code != 0 || set_foreign(self, EPOLL_CTL_ADD, io) != 0)) {
            pco__reactor_lose(reactor, io);
        }
    }
}

/* Errors and ends count as both: what is tried then tells. (asyncio: EpollSelector.select.) */
static unsigned translate_foreign(uint32_t events)
{
    return (events & (EPOLLERR | EPOLLHUP)) != 0 ? PCO__READY_IN | PCO__READY_OUT : events;
}

static PCO__COLD void take_foreign(epoll *self)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(self->foreign, events, self->reactor.base.most, 0);
    bool is_haunted = false;

    self->reactor.base.reported += count > 0 ? count : 0;
    for (int i = 0; i < count; i++) {
        uint64_t key = events[i].data.u64;
        is_haunted |= !pco__reactor_tell(&self->reactor, (uint32_t)key, (uint32_t)(key >> 32),
                                         translate_foreign(events[i].events));
    }
    if (is_haunted) {
        renew_foreign(self);
    }
}

/* ---- poll() and wake() ---- */

_Static_assert((int)PCO__READY_IN == EPOLLIN && (int)PCO__READY_OUT == EPOLLOUT &&
                   (int)PCO__READY_ERROR == EPOLLERR,
               "epoll's bits are the reactor's");

/*
 * Returns what an event's bits make ready. EPOLLPRI: a read ends before urgent data (tcp(7)), so
 * that a short one says nothing.
 */
static inline unsigned translate(pco__io *io, uint32_t events)
{
    unsigned ready = events & (EPOLLIN | EPOLLOUT | EPOLLERR);

    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) == 0) {
        return events; /* IN and OUT alone */
    }
    io->private_.reactor.short_reads |= PCO__SHORT_READ_PROVES_NOTHING;
    ready |= PCO__READY_IN;
    return (events & (EPOLLHUP | EPOLLERR)) != 0 ? ready | PCO__READY_OUT : ready;
}

/* Empties the eventfd, and tells poll()'s caller if a stop was among the wake-ups. */
static PCO__COLD void take_wake(const epoll *self)
{
    uint64_t count = 0;

    *self->stop |= read(self->wake, &count, sizeof count) == sizeof count && count >= WAKE_STOP;
}

static int milliseconds(uint64_t timeout)
{
    if (timeout == PCO__FOREVER) {
        return -1;
    }
    if (timeout > (uint64_t)LONGEST_WAIT * 1000000) {
        return LONGEST_WAIT;
    }
    return (int)((timeout + 999999) / 1000000);
}

static void poll_epoll(pco__backend *backend, uint64_t timeout, bool *stop)
{
    pco__reactor *reactor = (pco__reactor *)backend;
    epoll *self = epoll_of(reactor);
    struct epoll_event events[BATCH];
    int limit = milliseconds(pco__reactor_begin(reactor, timeout));
    int count = epoll_wait(self->set, events, reactor->base.most, limit);

    reactor->base.reported = count;
    self->stop = stop;
    for (int i = 0; i < count; i++) {
        uint64_t key = events[i].data.u64;
        pco__io *io = pco__reactor_find(reactor, (uint32_t)key, (uint32_t)(key >> 32));
        if (io != NULL) {
            pco__reactor_ready(reactor, io, translate(io, events[i].events));
        } else if (key == WAKE_KEY) {
            take_wake(self);
        } else if (key == FOREIGN_KEY) {
            take_foreign(self);
        }
    }
    pco__reactor_end(reactor);
}

static void wake(pco__backend *backend, bool stop)
{
    const epoll *self = (const epoll *)backend;
    uint64_t count = stop ? WAKE_STOP : 1;
    int saved = errno; /* the caller may be a signal handler */

    if (pco__reactor_is_foreign(&self->reactor)) {
        return;
    }
    ssize_t written = write(self->wake, &count, sizeof count);

    (void)written; /* it fails only where the counter is full, and then the loop is awake */
    errno = saved;
}

static int descriptor(const pco__backend *backend)
{
    return ((const epoll *)backend)->set;
}

/* A set is readable while it has something to report (epoll(7), Questions and answers, 3). */
static bool await(pco__backend *backend, uint64_t until)
{
    struct pollfd set = {.fd = descriptor(backend), .events = POLLIN};

    return poll(&set, 1, milliseconds(pco__reactor_time_until(backend, until))) > 0 ||
           pco__reactor_time_until(backend, until) == 0;
}

const pco__poller pco__epoll = {
    .class_ = PCO__REACTOR_CLASS("epoll", poll_epoll, wake, descriptor, await, BATCH),
    .size = sizeof(epoll),
    .tells_failures = true,
    .open = open_epoll,
    .close = close_epoll,
    .add = add,
    .remove = remove_socket,
    .watch = watch,
    .unwatch = unwatch,
};
