/* SPDX-License-Identifier: MIT */
/*
 * timer.h: timers embedded in what waits for them, in a pairing heap.
 *
 * Starting and stopping allocate nothing and cannot fail, so that a time limit can always be set.
 * Starting takes constant time, and so does stopping a timer that never came to the top, as nearly
 * all timeouts do. Timers of equal time fire in the order in which they were started.
 */
#ifndef PCO_TIMER_H
#define PCO_TIMER_H

#include <stdbool.h>
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

typedef struct pco__timers {
    pco__timer *root;
    uint64_t sequence;
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
