/* SPDX-License-Identifier: MIT */
/*
 * standin.h: a stand-in for kqueue() and kevent() on Linux, for tests only. It is written from the
 * manual page (FreeBSD's kqueue(2)), so that src/posix/kqueue.c can be run where no BSD is at hand.
 *
 * Filters: EVFILT_READ and EVFILT_WRITE for sockets and pipes, EVFILT_READ for another kqueue, and
 * EVFILT_USER; all flags. As on the real system a closed descriptor's events are gone, even if a
 * duplicate of it is open; an error shown in fflags stays with the socket until somebody asks for
 * it; a signal handler may call kevent(); and a forked child has no queues. To bring that about,
 * the library puts itself before close(), dup2(), dup3(), recv(), read() and their like
 * (standin_calls.c).
 *
 * Not there: other filters; files and terminals.
 *
 * Built with STANDIN_IS_LIBRARY, it has instead the weaknesses of libkqueue, as that documents
 * them or as they follow from epoll: it sees no close() but that of a queue; showing an error takes
 * it away; an end of the stream that comes with data is not shown; `data` ends at urgent data; and
 * a signal handler may not call it while it is at work: that ends the program.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>

#include <sys/event.h>
#include <sys/queue.h>

/* ---- For tests ---- */

/* From now on, EVFILT_USER is a filter that does not exist, as on systems before it. */
void standin_refuse_user_events(bool refuse);

/* ---- Between the files of the stand-in ---- */

#if defined(STANDIN_IS_LIBRARY)
#define STANDIN_LIBRARY true
#else
#define STANDIN_LIBRARY false
#endif

/* A registered event. */
typedef struct standin_knote standin_knote;
struct standin_knote {
    TAILQ_ENTRY(standin_knote) of_all;
    TAILQ_ENTRY(standin_knote) of_queued;
    struct kevent event; /* as registered; EVFILT_USER: fflags as they are now */
    bool disabled;
    bool active;    /* something has happened, and it has not been reported */
    bool queued;    /* active and not disabled: kevent() will look at it */
    bool triggered; /* EVFILT_USER */
};

/*
 * standin_filters.c: whether the event is to be reported as things are now, and as what: flags,
 * fflags and data of *event are filled in. Of a socket that may have failed, fflags is 1. Locked.
 */
bool standin_evaluate(const standin_knote *knote, struct kevent *event);

/*
 * standin_filters.c: the last step of a report: fflags becomes the socket's error. Only what is
 * reported shows it, since that takes it away in the library. Locked.
 */
void standin_show_error(struct kevent *event);

/* standin_calls.c: the socket's error, which stays with it. 0: none. Locked. */
int standin_socket_error(int descriptor);

/* standin.c: what must be told before a descriptor is closed. */
void standin_closing(int descriptor);

/* One lock for all; whoever holds it is not interrupted by a signal handler. */
void standin_lock(void);
void standin_unlock(void);

#endif
