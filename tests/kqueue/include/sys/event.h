/* SPDX-License-Identifier: MIT */
/*
 * event.h: the interface of kqueue(2), for the stand-in on Linux. The names are the manual page's,
 * the numbers FreeBSD's. See ../../standin.h for what the stand-in can do.
 */
#ifndef STANDIN_SYS_EVENT_H
#define STANDIN_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent {
    uintptr_t ident;      /* what is watched: a descriptor, or the number of a user event */
    short filter;         /* EVFILT_* */
    unsigned short flags; /* EV_* */
    unsigned int fflags;  /* the filter's own flags */
    intptr_t data;        /* the filter's own number */
    void *udata;          /* the user's, passed through */
};

/* Fills in a struct kevent; each argument is evaluated once. */
#define EV_SET(event_, ident_, filter_, flags_, fflags_, data_, udata_)                            \
    (*(event_) = (struct kevent){(ident_), (filter_), (flags_), (fflags_), (data_), (udata_)})

/* Filters. */
#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_USER (-11)

/* What is to be done. */
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008

/* How it is to be reported. */
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080

/* What is reported. */
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

/* EVFILT_READ, EVFILT_WRITE: `data` is how much there must be. */
#define NOTE_LOWAT 0x00000001

/* EVFILT_USER: what becomes of the 24 flags that it keeps, and the trigger. */
#define NOTE_FFNOP 0x00000000U
#define NOTE_FFAND 0x40000000U
#define NOTE_FFOR 0x80000000U
#define NOTE_FFCOPY 0xc0000000U
#define NOTE_FFCTRLMASK 0xc0000000U
#define NOTE_FFLAGSMASK 0x00ffffffU
#define NOTE_TRIGGER 0x01000000U

#ifdef __cplusplus
extern "C" {
#endif

int kqueue(void);
int kevent(int queue, const struct kevent *changes, int change_count, struct kevent *events,
           int event_count, const struct timespec *timeout);

#ifdef __cplusplus
}
#endif

#endif
