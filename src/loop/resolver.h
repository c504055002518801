/* SPDX-License-Identifier: MIT */
/*
 * resolver.h: work that blocks (looking up names), done on a thread of the loop's.
 */
#ifndef PCO_RESOLVER_H
#define PCO_RESOLVER_H

#include "loop/loop.h"

/*
 * A piece of work, embedded in what it is for. The memory must stay until `discard`.
 */
typedef struct pco__lookup pco__lookup;
struct pco__lookup {
    pco__task task; /* these four are the resolver's */
    pco__lookup *next;
    pco_loop *loop;
    bool told;

    /* On the resolver's thread: the work itself. It touches nothing of the loop's. */
    void (*work)(pco__lookup *lookup);

    /* On the loop's thread, exactly once: the work is done, or the loop is being freed. */
    void (*done)(pco__lookup *lookup, bool canceled);

    /* Last of all, on either thread: frees the memory. */
    void (*discard)(pco__lookup *lookup);
};

/*
 * Submits work. One piece after the other is done, in order. PCO_ENOMEM; PCO_EAGAIN: no thread can
 * be started. On failure nothing is called.
 */
int pco__resolver_submit(pco_loop *loop, pco__lookup *lookup, pco_error *error);

/*
 * The loop is being freed: done(canceled) is called for all that is not done. A thread that is
 * inside the system's resolver is left to itself and discards what it holds when it returns.
 */
void pco__resolver_free(pco_loop *loop);

#endif
