/* SPDX-License-Identifier: MIT */
/*
 * timer.h: timers embedded in what waits for them.
 *
 * Starting and stopping allocate nothing and cannot fail, so that a time limit can always be set.
 * They take constant time, and so does firing, however many timers there are; but for a logarithm
 * of those that are due within the same 256 nanoseconds, or before one that has fired already, and
 * for a stop of the very timer that is the first of its slot. Timers of equal time fire in the
 * order in which they were started.
 */
#ifndef PCO_TIMER_H
#define PCO_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pco__timer pco__timer;

struct pco__timer {
    uint64_t when;     /* nanoseconds */
    uint64_t sequence; /* breaks ties; 0 when the timer is not running */
    pco__timer *child;
    pco__timer *sibling;
    pco__timer *previous; /* the sibling before, or the parent of a first child */
    void (*fire)(pco__timer *timer);
};

#define PCO__TIMER_LEVELS 7
#define PCO__TIMER_SLOTS ((size_t)PCO__TIMER_LEVELS * 256)

/* All zero when there is none. */
typedef struct pco__timers {
    pco__timer *first; /* the next that is due, or NULL */
    uint64_t sequence;
    uint64_t horizon;                       /* passed; see timer.c */
    uint64_t filled[PCO__TIMER_SLOTS / 64]; /* a bit per slot: something is in it */
    uint64_t filled_words;                  /* a bit per word of `filled`: it is not 0 */
    pco__timer *slots[PCO__TIMER_SLOTS];
} pco__timers;

/* Starts a timer, whose `fire` is set. It must not be running. */
void pco__timer_start(pco__timers *timers, pco__timer *timer, uint64_t when);

/* Stops it; nothing happens if it is not running. */
void pco__timer_stop(pco__timers *timers, pco__timer *timer);

/* Takes out the first timer if it is due at `now`, otherwise returns NULL. Does not fire it. */
pco__timer *pco__timers_take_due(pco__timers *timers, uint64_t now);

static inline bool pco__timer_is_running(const pco__timer *timer)
{
    return timer->sequence != 0;
}

#endif
