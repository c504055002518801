/* SPDX-License-Identifier: MIT */
/*
 * standin.c: kqueue() and kevent(): queues of registered events, and what kevent() does with them.
 *
 * The hard idea: a kqueue learns of changes (an edge: data has come, room was made) and looks at
 * the descriptor only when kevent() is about to report it, as it is then. Two edge-triggered epoll
 * sets per queue bring the edges: one for input and one for output, since an edge of one direction
 * must not make the event of the other active. An active event stays so until it has been looked
 * at and found untrue, or reported with EV_CLEAR or its like.
 */
#define _GNU_SOURCE 1

#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

TAILQ_HEAD(knotes, standin_knote);

/* The registered events of one descriptor. */
typedef struct place {
    standin_knote *read;
    standin_knote *write;
} place;

typedef struct queue {
    LIST_ENTRY(queue) of_all;
    int descriptor; /* what kqueue() returned: an epoll set of the three others */
    int inputs;
    int outputs;
    int bell; /* an eventfd: something has become active without an edge */
    struct knotes all;
    struct knotes queued;
    place *places; /* by descriptor */
    size_t capacity;
} queue;

static LIST_HEAD(queues, queue) queues = LIST_HEAD_INITIALIZER(queues);
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sigset_t signals_before; /* of the thread that has the lock */
static bool refuses_user_events;

/* Whether this thread has the lock. */
static _Thread_local bool is_locked;

/* ---- The lock ---- */

void standin_lock(void)
{
    sigset_t all;
    sigset_t before;

    if (is_locked) {
        abort(); /* a library called by a signal handler: see standin.h */
    }
    if (STANDIN_LIBRARY) {
        is_locked = true;
        pthread_mutex_lock(&mutex);
        return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&mutex);
    is_locked = true;
    signals_before = before;
}

void standin_unlock(void)
{
    sigset_t before = signals_before;

    if (STANDIN_LIBRARY) {
        pthread_mutex_unlock(&mutex);
        is_locked = false;
        return;
    }
    is_locked = false;
    pthread_mutex_unlock(&mutex);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void standin_refuse_user_events(bool refuse)
{
    standin_lock();
    refuses_user_events = refuse;
    standin_unlock();
}

/* ---- Knotes ---- */

static void ring(const queue *self)
{
    uint64_t one = 1;
    ssize_t written = write(self->bell, &one, sizeof one);

    (void)written; /* it fails only where the bell is ringing already */
}

static void set_queued(queue *self, standin_knote *knote)
{
    bool should = knote->active && !knote->disabled;

    if (should && !knote->queued) {
        TAILQ_INSERT_TAIL(&self->queued, knote, of_queued);
    } else if (!should && knote->queued) {
        TAILQ_REMOVE(&self->queued, knote, of_queued);
    }
    knote->queued = should;
}

static void set_active(queue *self, standin_knote *knote, bool active)
{
    knote->active = active;
    set_queued(self, knote);
}

/* Where a knote of the filter is or would be; NULL: the descriptor has no place yet. */
static standin_knote **slot_of(queue *self, uintptr_t ident, short filter)
{
    if (ident >= self->capacity) {
        return NULL;
    }
    return filter == EVFILT_READ ? &self->places[ident].read : &self->places[ident].write;
}

static standin_knote *find(queue *self, uintptr_t ident, short filter)
{
    standin_knote *knote;
    standin_knote **slot;

    if (filter != EVFILT_USER) {
        slot = slot_of(self, ident, filter);
        return slot != NULL ? *slot : NULL;
    }
    TAILQ_FOREACH(knote, &self->all, of_all)
    {
        if (knote->event.filter == EVFILT_USER && knote->event.ident == ident) {
            return knote;
        }
    }
    return NULL;
}

static int set_of(const queue *self, short filter)
{
    return filter == EVFILT_READ ? self->inputs : self->outputs;
}

static void drop(queue *self, standin_knote *knote)
{
    set_active(self, knote, false);
    TAILQ_REMOVE(&self->all, knote, of_all);
    if (knote->event.filter != EVFILT_USER) {
        *slot_of(self, knote->event.ident, knote->event.filter) = NULL;
        epoll_ctl(set_of(self, knote->event.filter), EPOLL_CTL_DEL, (int)knote->event.ident, NULL);
    }
    free(knote);
}

static bool make_room(queue *self, size_t descriptor)
{
    size_t capacity = descriptor + 64;
    place *places;

    if (descriptor < self->capacity) {
        return true;
    }
    places = realloc(self->places, capacity * sizeof *places);
    if (places == NULL) {
        return false;
    }
    for (size_t i = self->capacity; i < capacity; i++) {
        places[i] = (place){NULL, NULL};
    }
    self->places = places;
    self->capacity = capacity;
    return true;
}

/* Has the edges of a descriptor reported. 0 or an errno. */
static int watch(queue *self, uintptr_t ident, short filter)
{
    struct epoll_event event = {.data.u64 = ident};

    event.events = filter == EVFILT_READ ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLOUT | EPOLLET;
    if (ident > INT32_MAX) {
        return EBADF;
    }
    if (!make_room(self, ident)) {
        return ENOMEM;
    }
    if (epoll_ctl(set_of(self, filter), EPOLL_CTL_ADD, (int)ident, &event) != 0) {
        return errno == EPERM ? EINVAL : errno; /* a file */
    }
    return 0;
}

/* A new knote for the change. 0 or an errno. */
static int create(queue *self, const struct kevent *change, standin_knote **made)
{
    standin_knote *knote = calloc(1, sizeof *knote);
    int code;

    if (knote == NULL) {
        return ENOMEM;
    }
    knote->event.ident = change->ident;
    knote->event.filter = change->filter;
    if (change->filter != EVFILT_USER) {
        code = watch(self, change->ident, change->filter);
        if (code != 0) {
            free(knote);
            return code;
        }
        *slot_of(self, change->ident, change->filter) = knote;
    }
    TAILQ_INSERT_TAIL(&self->all, knote, of_all);
    *made = knote;
    return 0;
}

/* ---- Changes ---- */

#define KEPT_FLAGS (EV_ONESHOT | EV_CLEAR | EV_RECEIPT | EV_DISPATCH)

static void change_user_event(standin_knote *knote, const struct kevent *change)
{
    unsigned flags = change->fflags & NOTE_FFLAGSMASK;

    switch (change->fflags & NOTE_FFCTRLMASK) {
    case NOTE_FFAND:
        knote->event.fflags &= flags;
        break;
    case NOTE_FFOR:
        knote->event.fflags |= flags;
        break;
    case NOTE_FFCOPY:
        knote->event.fflags = flags;
        break;
    default:
        break;
    }
    knote->event.data = change->data;
    knote->triggered |= (change->fflags & NOTE_TRIGGER) != 0;
}

/* Takes over what the change says, and looks whether there is something to report already. */
static void modify(queue *self, standin_knote *knote, const struct kevent *change, bool is_new)
{
    struct kevent unused;

    knote->event.udata = change->udata;
    if ((change->flags & EV_ADD) != 0) {
        knote->event.flags = change->flags & KEPT_FLAGS;
        knote->disabled = false;
    }
    if (knote->event.filter == EVFILT_USER) {
        if (is_new) {
            knote->event.fflags = change->fflags & NOTE_FFLAGSMASK;
        }
        change_user_event(knote, change);
    } else if ((change->flags & EV_ADD) != 0) {
        knote->event.fflags = change->fflags;
        knote->event.data = change->data;
    }
    if ((change->flags & EV_DISABLE) != 0) {
        knote->disabled = true;
    }
    if ((change->flags & EV_ENABLE) != 0) {
        knote->disabled = false;
    }
    set_active(self, knote, knote->active || standin_evaluate(knote, &unused));
    if (knote->queued) {
        ring(self);
    }
}

/* 0 or an errno. */
static int apply(queue *self, const struct kevent *change)
{
    standin_knote *knote;
    bool is_new = false;
    int code;

    if (change->filter != EVFILT_READ && change->filter != EVFILT_WRITE &&
        (change->filter != EVFILT_USER || refuses_user_events)) {
        return EINVAL;
    }
    if (change->filter != EVFILT_USER && fcntl((int)change->ident, F_GETFD) < 0) {
        return EBADF;
    }
    knote = find(self, change->ident, change->filter);
    if (knote == NULL) {
        if ((change->flags & EV_ADD) == 0) {
            return ENOENT;
        }
        code = create(self, change, &knote);
        if (code != 0) {
            return code;
        }
        is_new = true;
    }
    if ((change->flags & EV_DELETE) != 0) {
        drop(self, knote);
    } else {
        modify(self, knote, change, is_new);
    }
    return 0;
}

/*
 * Makes the changes. What goes wrong takes a place among the events, while there is one; so does
 * every change with EV_RECEIPT. Returns how many places were taken; -1 and errno.
 */
static int apply_all(queue *self, const struct kevent *changes, int count, struct kevent *events,
                     int room)
{
    int used = 0;

    for (int i = 0; i < count; i++) {
        struct kevent one = changes[i]; /* the two lists may be one array */
        int code = apply(self, &one);

        if (code == 0 && (one.flags & EV_RECEIPT) == 0) {
            continue;
        }
        if (used == room) {
            errno = code;
            return code == 0 ? 0 : -1;
        }
        one.flags = EV_ERROR;
        one.data = code;
        events[used++] = one;
    }
    return used;
}

/* ---- Events ---- */

static void take_edges(queue *self, int set, short filter)
{
    struct epoll_event edges[64];
    int count;

    do {
        count = epoll_wait(set, edges, 64, 0);
        for (int i = 0; i < count; i++) {
            standin_knote *knote = find(self, (uintptr_t)edges[i].data.u64, filter);
            if (knote != NULL) {
                set_active(self, knote, true);
            }
        }
    } while (count == 64);
}

static void after_report(queue *self, standin_knote *knote)
{
    unsigned flags = knote->event.flags;

    if ((flags & EV_ONESHOT) != 0) {
        drop(self, knote);
        return;
    }
    knote->disabled |= (flags & EV_DISPATCH) != 0;
    if ((flags & (EV_CLEAR | EV_DISPATCH)) != 0) {
        knote->triggered = false; /* the user's fflags stay, as they do in FreeBSD */
        set_active(self, knote, false);
    } else {
        set_active(self, knote, true); /* at the end of the queue: it is still so, until seen not */
    }
}

/* Reports what there is, without waiting. What is left over is there for other threads, too. */
static int collect(queue *self, struct kevent *events, int room)
{
    uint64_t rings;
    long left = 0;
    int count = 0;
    standin_knote *knote;

    if (syscall(SYS_read, self->bell, &rings, sizeof rings) < 0) {
        rings = 0; /* it has not rung */
    }
    take_edges(self, self->inputs, EVFILT_READ);
    take_edges(self, self->outputs, EVFILT_WRITE);
    TAILQ_FOREACH(knote, &self->queued, of_queued)
    {
        left++;
    }
    while (left-- > 0 && count < room) {
        knote = TAILQ_FIRST(&self->queued);
        TAILQ_REMOVE(&self->queued, knote, of_queued);
        knote->queued = false;
        if (standin_evaluate(knote, &events[count])) {
            standin_show_error(&events[count]);
            count++;
            after_report(self, knote);
        } else {
            knote->active = false;
        }
    }
    if (!TAILQ_EMPTY(&self->queued)) {
        ring(self);
    }
    return count;
}

/* ---- Queues ---- */

static queue *queue_of(int descriptor)
{
    queue *self;

    LIST_FOREACH(self, &queues, of_all)
    {
        if (self->descriptor == descriptor) {
            return self;
        }
    }
    return NULL;
}

/* All but its own descriptor. The epoll sets go whole: in a forked child they are the parent's. */
static void free_queue(queue *self)
{
    while (!TAILQ_EMPTY(&self->all)) {
        standin_knote *knote = TAILQ_FIRST(&self->all);

        TAILQ_REMOVE(&self->all, knote, of_all);
        free(knote);
    }
    LIST_REMOVE(self, of_all);
    syscall(SYS_close, self->inputs);
    syscall(SYS_close, self->outputs);
    syscall(SYS_close, self->bell);
    free(self->places);
    free(self);
}

void standin_closing(int descriptor)
{
    queue *self;

    standin_lock();
    self = queue_of(descriptor);
    if (self != NULL) {
        free_queue(self);
    }
    LIST_FOREACH(self, &queues, of_all)
    {
        if (STANDIN_LIBRARY) {
            break;
        }
        standin_knote *read = find(self, (uintptr_t)descriptor, EVFILT_READ);
        standin_knote *write = find(self, (uintptr_t)descriptor, EVFILT_WRITE);
        if (read != NULL) {
            drop(self, read);
        }
        if (write != NULL) {
            drop(self, write);
        }
    }
    standin_unlock();
}

/* A forked child has no queues. */
static void after_fork_in_child(void)
{
    while (!LIST_EMPTY(&queues)) {
        queue *self = LIST_FIRST(&queues);

        syscall(SYS_close, self->descriptor);
        free_queue(self);
    }
    standin_unlock();
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare_for_fork(void)
{
    pthread_atfork(standin_lock, standin_unlock, after_fork_in_child);
}

static int add_to(int set, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event);
}

int kqueue(void)
{
    queue *self = calloc(1, sizeof *self);
    int code;

    if (self == NULL) {
        errno = ENOMEM;
        return -1;
    }
    pthread_once(&once, prepare_for_fork);
    TAILQ_INIT(&self->all);
    TAILQ_INIT(&self->queued);
    self->descriptor = epoll_create1(0);
    self->inputs = epoll_create1(EPOLL_CLOEXEC);
    self->outputs = epoll_create1(EPOLL_CLOEXEC);
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    standin_lock();
    LIST_INSERT_HEAD(&queues, self, of_all);
    standin_unlock();
    if (self->bell >= 0 && add_to(self->descriptor, self->inputs) == 0 &&
        add_to(self->descriptor, self->outputs) == 0 && add_to(self->descriptor, self->bell) == 0) {
        return self->descriptor;
    }
    code = errno;
    int descriptor = self->descriptor;
    standin_lock();
    free_queue(self);
    standin_unlock();
    if (descriptor >= 0) {
        syscall(SYS_close, descriptor);
    }
    errno = code;
    return -1;
}

/* ---- kevent() ---- */

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Waits until there may be something to collect. Returns false and errno if a signal came. */
static bool wait_until(int descriptor, const int64_t *deadline)
{
    struct pollfd one = {.fd = descriptor, .events = POLLIN};
    struct timespec limit = {0};

    if (deadline != NULL) {
        int64_t left = *deadline - now();
        if (left > 0) {
            limit.tv_sec = (time_t)(left / 1000000000);
            limit.tv_nsec = (long)(left % 1000000000);
        }
    }
    return ppoll(&one, 1, deadline != NULL ? &limit : NULL, NULL) >= 0;
}

/* kevent() without waiting. Changes that are answered are all that is reported (EV_RECEIPT). */
static int turn(int descriptor, const struct kevent *changes, int change_count,
                struct kevent *events, int room)
{
    queue *self;
    int count = -1;

    standin_lock();
    self = queue_of(descriptor);
    if (self == NULL) {
        errno = EBADF;
    } else {
        count = apply_all(self, changes, change_count, events, room);
        if (count == 0 && room != 0) {
            count = collect(self, events, room);
        }
    }
    standin_unlock();
    return count;
}

int kevent(int descriptor, const struct kevent *changes, int change_count, struct kevent *events,
           int event_count, const struct timespec *timeout)
{
    int64_t deadline = 0;
    int count;

    if (change_count < 0 || event_count < 0 ||
        (timeout != NULL &&
         (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000))) {
        errno = EINVAL;
        return -1;
    }
    if (timeout != NULL) {
        deadline = now() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    }
    count = turn(descriptor, changes, change_count, events, event_count);
    while (count == 0 && event_count != 0 && (timeout == NULL || now() < deadline)) {
        if (!wait_until(descriptor, timeout != NULL ? &deadline : NULL)) {
            return -1;
        }
        count = turn(descriptor, NULL, 0, events, event_count);
    }
    return count;
}
