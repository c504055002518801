/* SPDX-License-Identifier: MIT */
/*
 * timer.h: timers embedded in what waits for them.
 *
 * Starting and stopping allocate nothing and cannot fail, so that a time limit can always be set.
 * Starting, stopping and firing take constant time on average, however many timers there are, and
 * the longest of them is a logarithm: no number of timers that are not due holds anybody up. Timers
 * of equal time fire in the order in which they were started.
 *
 * fire() calls nothing of the user's: what was canceled in there comes back a turn later than tasks
 * that were queued there run. It has a task do so, or ends the connection, which tells of itself.
 */
#ifndef PCO_TIMER_H
#define PCO_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pco__timer pco__timer;

struct pco__timer {
    uint64_t when;          /* nanoseconds */
    uint64_t sequence : 58; /* breaks ties; 0 when the timer is not running */
    uint64_t rank : 6;      /* of the tree that it is the root of; see timer.c */
    pco__timer *child;
    pco__timer *sibling;
    pco__timer **link; /* what points here: the sibling before, the parent, or the slot */
    void (*fire)(pco__timer *timer);
};

#define PCO__TIMER_LEVELS 7
#define PCO__TIMER_SLOTS ((size_t)PCO__TIMER_LEVELS * 256)

/* All zero when there is none. */
typedef struct pco__timers {
    pco__timer *first; /* the next that is due, or NULL */
    uint64_t sequence;
    uint64_t horizon;                       /* passed; see timer.c */
    uint64_t reached;                       /* a bit per level whose slot there may not be empty */
    uint64_t filled[PCO__TIMER_SLOTS / 64]; /* a bit per slot: something is in it */
    uint64_t filled_words;                  /* a bit per word of `filled`: it is not 0 */
    pco__timer *slots[PCO__TIMER_SLOTS];
} pco__timers;

/* Starts a timer, whose `fire` is set. It must not be running. */
void pco__timer_start(pco__timers *timers, pco__timer *timer, uint64_t when);

/* Stops it; nothing happens if it is not running. */
void pco__timer_stop(pco__timers *timers, pco__timer *timer);

/*
 * Takes out the first timer if it is due at `now`, otherwise returns NULL. Does not fire it. Also
 * files anew a few timers that time has come near to.
 */
pco__timer *pco__timers_take_due(pco__timers *timers, uint64_t now);

/*
 * Tells that it is `now` while no timer runs. Otherwise those that are started next are kept as if
 * they were further away, which costs each of them a little more time and nothing else.
 */
void pco__timers_pass(pco__timers *timers, uint64_t now);

static inline bool pco__timer_is_running(const pco__timer *timer)
{
    return timer->sequence != 0;
}

#endif
