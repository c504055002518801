/* SPDX-License-Identifier: MIT */
/*
 * lanes.h: work that blocks, done on threads of the loop's. Each kind of work has a lane with a
 * limit of its own, so that slow names never hold up files. A thread lives as long as its lane has
 * work: a program that never blocks has none.
 */
#ifndef PCO_LANES_H
#define PCO_LANES_H

#include "loop/loop.h"

typedef enum pco__lane {
    PCO__LANE_NAMES,    /* looking up names */
    PCO__LANE_VERDICTS, /* the system's on certificates */
    PCO__LANES
} pco__lane;

/* A piece of work, embedded in what it is for. The memory must stay until `discard`. */
typedef struct pco__job pco__job;
struct pco__job {
    pco__task task; /* these are the lanes' */
    pco__link waiting;
    pco__link untold;
    struct pco__lanes *lanes;
    bool on_thread; /* a thread works on it */
    bool told;
    bool canceled;

    /* On another thread: the work itself. It touches nothing of the loop's. */
    void (*work)(pco__job *job);

    /*
     * On the loop's thread, as a task, exactly once: the work is done, or was canceled. Work that
     * is canceled may still be under way: nothing that it writes may be looked at, or written.
     */
    void (*done)(pco__job *job, bool canceled);

    /* Last of all, on either thread: frees the memory. */
    void (*discard)(pco__job *job);
};

/*
 * Submits work. A lane begins its work in the order in which it came. PCO_ENOMEM; PCO_EAGAIN: no
 * thread can be started. On failure nothing is called.
 */
int pco__lanes_submit(pco_loop *loop, pco__lane lane, pco__job *job, pco_error *error);

/*
 * done(canceled) follows, unless it has been called: work that waits is not begun any more; a
 * thread that is inside the system's call is left to itself, and discards the job when it returns.
 * A loop that is freed cancels all, and waits for no thread.
 */
void pco__job_cancel(pco_loop *loop, pco__job *job);

#endif
