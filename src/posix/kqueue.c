/* SPDX-License-Identifier: MIT */
/*
 * kqueue.c: the poller of macOS and the BSDs. Each socket is registered once, for reading and for
 * writing, with EV_CLEAR; nothing is changed or asked again while it lives.
 *
 * The hard idea: an event tells what no later question brings back: how many bytes there were, and
 * in fflags which error. Both are left with the socket for the reactor. To forget a socket costs
 * nothing: close() takes a descriptor's registrations along, whoever else holds the same socket
 * open (kqueue(2), RETURN VALUES), and events fetched before carry its generation.
 *
 * Foreign descriptors are in a kqueue of their own, which the first one watches: events go by
 * number and filter, and the number of a foreign one that was closed may be a connection's already.
 *
 * A process that was forked has no kqueue, and must not use the loop.
 */
#define _GNU_SOURCE 1

#include "posix/receive.h"
#include "posix/socket.h"

#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/types.h>
/* in this order: some systems' event.h needs types.h */
#include <sys/event.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/*
 * On Linux kevent() is no system call but a library's function (libkqueue): it takes locks, which a
 * signal handler must not, sees no close(), and may keep the end of a stream from us if it comes
 * with data (its EPOLLRDHUP is lost when the second filter is added). Whoever brings a kevent()
 * that behaves as the systems' own can say so by defining this.
 */
#if !defined(__linux__) || defined(PCO_KQUEUE_IS_SYSTEM_CALL)
#define IS_SYSTEM_CALL true
#else
#define IS_SYSTEM_CALL false
#endif

/* How many events one poll() takes over; what is left comes with the next. */
#define BATCH 256

/* The longest wait, in seconds: systems refuse what is too long for them. */
#define LONGEST_WAIT (24 * 60 * 60)

/* The same of poll(), in nanoseconds. */
#define LONGEST_POLL ((uint64_t)30 * 60 * 1000000000)

/* The two user events, by number: registered with EV_CLEAR, so that each is reported once. */
enum { EVENT_WAKE, EVENT_STOP };

/* Where there are no user events, the same as bytes in a pipe. */
static const unsigned char wake_bytes[] = {'w', 's'};

typedef struct kqueue_poller {
    pco__reactor reactor;
    int queue;
    int foreign; /* the kqueue of foreign descriptors; -1: there is none yet */
    int pipe[2]; /* -1: there are user events */
} kqueue_poller;

static kqueue_poller *poller_of(pco__reactor *reactor)
{
    return (kqueue_poller *)reactor;
}

/*
 * Makes changes, up to the first that fails. There is no room for events, so that kevent() returns
 * at once, and an error is its own (kqueue(2)) and no event, whose place it would have taken.
 */
static int change_in(int queue, const struct kevent *changes, int count)
{
    return kevent(queue, changes, count, NULL, 0, NULL);
}

static int change(const kqueue_poller *self, const struct kevent *changes, int count)
{
    return change_in(self->queue, changes, count);
}

/* ---- Waking ---- */

#if defined(EVFILT_USER)
static void trigger(const kqueue_poller *self, int number)
{
    struct kevent event;

    EV_SET(&event, (uintptr_t)number, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
    change(self, &event, 1);
}

/* Registers the user events, and tries one: sandboxes and old systems are known to refuse them. */
static bool has_user_events(const kqueue_poller *self)
{
    const struct timespec at_once = {0};
    struct kevent events[2];

    EV_SET(&events[0], EVENT_WAKE, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
    EV_SET(&events[1], EVENT_STOP, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
    if (!IS_SYSTEM_CALL || change(self, events, 2) != 0) {
        return false;
    }
    trigger(self, EVENT_WAKE);
    return kevent(self->queue, NULL, 0, events, 1, &at_once) == 1 &&
           events[0].filter == EVFILT_USER;
}

static bool is_stop(const struct kevent *event)
{
    return event->filter == EVFILT_USER && event->ident == EVENT_STOP;
}
#else
static void trigger(const kqueue_poller *self, int number)
{
    (void)self;
    (void)number;
}

static bool has_user_events(const kqueue_poller *self)
{
    (void)self;
    return false;
}

static bool is_stop(const struct kevent *event)
{
    (void)event;
    return false;
}
#endif

static int prepare_descriptor(int descriptor)
{
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
        return -1;
    }
    return fcntl(descriptor, F_SETFL, O_NONBLOCK);
}

static int open_pipe(kqueue_poller *self)
{
    struct kevent event;

    if (pipe(self->pipe) != 0) {
        self->pipe[0] = self->pipe[1] = -1;
        return -1;
    }
    self->pipe[0] = pco__descriptor_raise(self->pipe[0]);
    self->pipe[1] = pco__descriptor_raise(self->pipe[1]);
    if (prepare_descriptor(self->pipe[0]) != 0 || prepare_descriptor(self->pipe[1]) != 0) {
        return -1;
    }
    EV_SET(&event, (uintptr_t)self->pipe[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL);
    return change(self, &event, 1);
}

/* Empties the pipe, and returns whether a stop was in it. */
static bool empty_pipe(const kqueue_poller *self)
{
    unsigned char bytes[512];
    bool stop = false;
    ssize_t length;

    do {
        length = read(self->pipe[0], bytes, sizeof bytes);
        for (ssize_t i = 0; i < length; i++) {
            stop |= bytes[i] == wake_bytes[EVENT_STOP];
        }
    } while (length == (ssize_t)sizeof bytes);
    return stop;
}

/*
 * A pipe may be full, and then the loop is awake; but a stop that does not fit is not told yet, so
 * room is made for it. What is taken out says less than what is put in.
 */
static void write_to_pipe(const kqueue_poller *self, int number)
{
    while (write(self->pipe[1], &wake_bytes[number], 1) < 0 && errno == EAGAIN &&
           number == EVENT_STOP) {
        empty_pipe(self);
    }
}

static void wake(pco__backend *backend, bool stop)
{
    const kqueue_poller *self = (const kqueue_poller *)backend;
    int saved = errno; /* the caller may be a signal handler */
    int number = stop ? EVENT_STOP : EVENT_WAKE;

    if (pco__reactor_is_foreign(&self->reactor)) {
        return;
    }
    if (self->pipe[1] >= 0) {
        write_to_pipe(self, number);
    } else {
        trigger(self, number);
    }
    errno = saved;
}

/* ---- Opening and closing ---- */

static void close_kqueue(pco__reactor *reactor)
{
    kqueue_poller *self = poller_of(reactor);

    for (int i = 0; i < 2; i++) {
        if (self->pipe[i] >= 0) {
            close(self->pipe[i]);
        }
    }
    if (self->foreign >= 0) {
        close(self->foreign);
    }
    close(self->queue);
}

/* A kqueue that no child gets. -1 and errno. */
static int open_queue(void)
{
    int queue = IS_SYSTEM_CALL ? pco__descriptor_raise(kqueue()) : kqueue();

    if (queue >= 0 && fcntl(queue, F_SETFD, FD_CLOEXEC) != 0) {
        int code = errno;
        close(queue);
        errno = code;
        return -1;
    }
    return queue;
}

static int open_kqueue(pco__reactor *reactor, pco_error *error)
{
    kqueue_poller *self = poller_of(reactor);
    int code;

    reactor->base.most = BATCH;
    self->pipe[0] = self->pipe[1] = self->foreign = -1;
    self->queue = open_queue();
    if (self->queue < 0) {
        code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code, "open kqueue");
    }
    if (has_user_events(self) || open_pipe(self) == 0) {
        return 0;
    }
    code = errno;
    close_kqueue(reactor);
    return pco__error_describe(error, pco__error_from_system(code), code, "open kqueue");
}

/* ---- Sockets ---- */

/* Fills in the changes that register or remove a socket, and returns how many there are. */
static int list_changes(struct kevent changes[2], pco__io *io, bool removes)
{
    uintptr_t ident = (uintptr_t)io->socket;
    void *generation = (void *)(uintptr_t)io->private_.reactor.generation;

    if (removes) {
        EV_SET(&changes[0], ident, EVFILT_READ, EV_DELETE, 0, 0, generation);
        EV_SET(&changes[1], ident, EVFILT_WRITE, EV_DELETE, 0, 0, generation);
    } else {
        EV_SET(&changes[0], ident, EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, generation);
        EV_SET(&changes[1], ident, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, generation);
    }
    return io->private_.reactor.role == PCO__IO_LISTENER ? 1 : 2;
}

static int add(pco__reactor *reactor, pco__io *io, pco_error *error)
{
    struct kevent changes[2];

    if (change(poller_of(reactor), changes, list_changes(changes, io, false)) != 0) {
        int code = errno;
        /* The first of the two may have been made, and the socket is still the caller's. */
        change(poller_of(reactor), changes, list_changes(changes, io, true));
        return pco__error_describe(error, pco__error_from_system(code), code, "watch a socket");
    }
    return 0;
}

/* A failure means that there is nothing to remove. */
static void remove_socket(pco__reactor *reactor, pco__io *io, bool closes)
{
    struct kevent changes[2];

    if (!closes || !IS_SYSTEM_CALL) {
        change(poller_of(reactor), changes, list_changes(changes, io, true));
    }
}

/*
 * Returns what an event makes ready, and leaves with the socket what else it tells. EV_EOF with
 * EVFILT_READ may come with data before the end; with EVFILT_WRITE it may mean our own shutdown(),
 * after which there is still much to read: only an error ends both directions.
 */
static unsigned translate(pco__io *io, const struct kevent *event)
{
    pco__reactor_io *state = &io->private_.reactor;
    bool reads = event->filter == EVFILT_READ;
    bool ended = (event->flags & EV_EOF) != 0;
    bool failed = ended && event->fflags != 0;

    if (reads && event->data > 0) {
        state->available = event->data < INT32_MAX ? (int32_t)event->data : INT32_MAX;
        state->short_reads |= PCO__SHORT_READ_COUNTED;
    }
    if (failed || (reads && (ended || !IS_SYSTEM_CALL))) {
        state->short_reads |= PCO__SHORT_READ_PROVES_NOTHING;
    }
    if (failed) {
        state->error = (int16_t)event->fflags;
        return PCO__READY_IN | PCO__READY_OUT | PCO__READY_ERROR;
    }
    return reads ? PCO__READY_IN : PCO__READY_OUT;
}

/* ---- Foreign descriptors ---- */

/* Registered with generation 0, which no socket has; report() looks in `sockets` first. */
static int watch_queue(kqueue_poller *self, int queue)
{
    pco__reactor *reactor = &self->reactor;
    struct kevent event;

    if ((size_t)queue >= reactor->capacity &&
        pco__reactor_make_room(&reactor->sockets, &reactor->capacity, (size_t)queue) != 0) {
        errno = ENOMEM;
        return -1;
    }
    EV_SET(&event, (uintptr_t)queue, EVFILT_READ, EV_ADD, 0, 0, NULL);
    return change(self, &event, 1);
}

/* 0 or an errno. */
static int open_foreign(kqueue_poller *self)
{
    int queue = open_queue();

    if (queue < 0) {
        return errno;
    }
    if (watch_queue(self, queue) != 0) {
        int code = errno;
        close(queue);
        return code;
    }
    self->foreign = queue;
    return 0;
}

/* 0 or an errno. */
static int set_foreign(const kqueue_poller *self, const pco__io *io, bool reads, unsigned flags)
{
    void *generation = (void *)(uintptr_t)io->private_.reactor.generation;
    struct kevent event;

    EV_SET(&event, (uintptr_t)io->socket, reads ? EVFILT_READ : EVFILT_WRITE, (uint16_t)flags, 0, 0,
           generation);
    return change_in(self->foreign, &event, 1) == 0 ? 0 : errno;
}

/*
 * Whether a filter that was there when the descriptor was added is there no more: it has been
 * closed since, and the number is another's. What is there stays as it is.
 */
static bool is_another(const kqueue_poller *self, const pco__io *io)
{
    const pco__reactor_io *state = &io->private_.reactor;

    for (int reads = 0; reads < 2; reads++) {
        unsigned bit = reads ? PCO__READY_IN : PCO__READY_OUT;
        unsigned flags = (state->told & bit) != 0 ? EV_ENABLE : EV_DISABLE;
        if ((state->lacks & bit) == 0 && set_foreign(self, io, reads, flags) == ENOENT) {
            return true;
        }
    }
    return false;
}

/*
 * Both filters are there from the beginning, and disabled while they are not wanted: to enable what
 * is there touches nothing of another descriptor that has the number by now.
 */
static int add_foreign(kqueue_poller *self, pco__io *io)
{
    pco__reactor_io *state = &io->private_.reactor;
    bool another = is_another(self, io);
    unsigned lacks = 0;
    int code = 0;

    for (int reads = 0; reads < 2; reads++) {
        unsigned bit = reads ? PCO__READY_IN : PCO__READY_OUT;
        unsigned flags = EV_ADD | ((state->wants & bit) != 0 ? EV_ENABLE : EV_DISABLE);
        if (!IS_SYSTEM_CALL) { /* it may have what was closed, and takes that for the same */
            set_foreign(self, io, reads, EV_DELETE);
        }
        int failure = set_foreign(self, io, reads, flags);
        if (failure != 0) {
            lacks |= bit;
            code = failure;
        }
    }
    if (lacks == (PCO__READY_IN | PCO__READY_OUT)) {
        return code;
    }
    state->lacks = (uint8_t)lacks;
    return another ? PCO__WATCHES_ANOTHER : 0;
}

static int watch(pco__reactor *reactor, pco__io *io, bool anew)
{
    kqueue_poller *self = poller_of(reactor);
    const pco__reactor_io *state = &io->private_.reactor;

    if (anew) {
        int code = self->foreign < 0 ? open_foreign(self) : 0;
        return code != 0 ? code : add_foreign(self, io);
    }
    for (int reads = 0; reads < 2; reads++) {
        unsigned bit = reads ? PCO__READY_IN : PCO__READY_OUT;
        if (((state->told ^ state->wants) & bit) != 0) {
            set_foreign(self, io, reads, (state->wants & bit) != 0 ? EV_ENABLE : EV_DISABLE);
        }
    }
    return 0;
}

static void unwatch(pco__reactor *reactor, pco__io *io)
{
    set_foreign(poller_of(reactor), io, true, EV_DELETE);
    set_foreign(poller_of(reactor), io, false, EV_DELETE);
}

/* Where close() is not seen (libkqueue), the events of a number that nobody watches go on. */
static void tell_foreign(kqueue_poller *self, struct kevent *event)
{
    unsigned bit = event->filter == EVFILT_READ ? PCO__READY_IN : PCO__READY_OUT;

    if (!pco__reactor_tell(&self->reactor, (size_t)event->ident, (uint32_t)(uintptr_t)event->udata,
                           bit) &&
        self->reactor.foreign[event->ident] == NULL) {
        event->flags = EV_DELETE;
        change_in(self->foreign, event, 1);
    }
}

static void take_foreign(kqueue_poller *self)
{
    const struct timespec at_once = {0};
    struct kevent events[BATCH];
    int count = kevent(self->foreign, NULL, 0, events, self->reactor.base.most, &at_once);

    self->reactor.base.reported += count > 0 ? count : 0;
    for (int i = 0; i < count; i++) {
        tell_foreign(self, &events[i]);
    }
}

/* ---- poll() ---- */

static void report(pco__reactor *reactor, const struct kevent *event)
{
    pco__io *io =
        pco__reactor_find(reactor, (size_t)event->ident, (uint32_t)(uintptr_t)event->udata);

    if (io != NULL) {
        pco__reactor_ready(reactor, io, translate(io, event));
    } else if ((int)event->ident == poller_of(reactor)->foreign) {
        take_foreign(poller_of(reactor));
    }
}

/* NULL: no limit. */
static const struct timespec *timespec_of(uint64_t timeout, struct timespec *limit)
{
    if (timeout == PCO__FOREVER) {
        return NULL;
    }
    if (timeout > (uint64_t)LONGEST_WAIT * 1000000000) {
        timeout = (uint64_t)LONGEST_WAIT * 1000000000;
    }
    limit->tv_sec = (time_t)(timeout / 1000000000);
    limit->tv_nsec = (long)(timeout % 1000000000);
    return limit;
}

static void poll_kqueue(pco__backend *backend, uint64_t timeout, bool *stop)
{
    pco__reactor *reactor = (pco__reactor *)backend;
    kqueue_poller *self = poller_of(reactor);
    struct kevent events[BATCH];
    struct timespec limit;

    timeout = pco__reactor_begin(reactor, timeout);
    int count =
        kevent(self->queue, NULL, 0, events, reactor->base.most, timespec_of(timeout, &limit));

    reactor->base.reported = count;
    for (int i = 0; i < count; i++) {
        if (events[i].filter != EVFILT_READ && events[i].filter != EVFILT_WRITE) {
            *stop |= is_stop(&events[i]);
        } else if ((int)events[i].ident == self->pipe[0]) {
            *stop |= empty_pipe(self);
        } else {
            report(reactor, &events[i]);
        }
    }
    pco__reactor_end(reactor);
}

static int descriptor(const pco__backend *backend)
{
    return ((const kqueue_poller *)backend)->queue;
}

/* For descriptors that are too high for select(). */
static bool is_readable_by_poll(int queue, uint64_t timeout)
{
    struct pollfd event = {.fd = queue, .events = POLLIN};
    uint64_t limit = timeout < LONGEST_POLL ? timeout : LONGEST_POLL;

    return poll(&event, 1, (int)((limit + 999999) / 1000000)) > 0;
}

/*
 * A kqueue is readable while it has something to report. By select(): on macOS poll() is made of a
 * kqueue, and there one inside of another was reported as readable without end (libuv, issue 883).
 */
static bool is_readable(int queue, uint64_t timeout)
{
    struct timespec limit;
    fd_set readable;

    if (queue >= FD_SETSIZE) {
        return is_readable_by_poll(queue, timeout);
    }
    FD_ZERO(&readable);
    FD_SET(queue, &readable);
    return pselect(queue + 1, &readable, NULL, NULL, timespec_of(timeout, &limit), NULL) > 0;
}

static bool await(pco__backend *backend, uint64_t until)
{
    return is_readable(descriptor(backend), pco__reactor_time_until(backend, until)) ||
           pco__reactor_time_until(backend, until) == 0;
}

const pco__poller pco__kqueue = {
    .class_ = PCO__REACTOR_CLASS("kqueue", poll_kqueue, wake, descriptor, await,
                                 BATCH / 2) /* of two events each */,
    .size = sizeof(kqueue_poller),
    .open = open_kqueue,
    .close = close_kqueue,
    .add = add,
    .remove = remove_socket,
    .watch = watch,
    .unwatch = unwatch,
};
