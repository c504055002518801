/* SPDX-License-Identifier: MIT */
/*
 * resident.h: what lives on a loop, as the loop knows it: it has to end before the loop does, and
 * must hear when the loop is gone. So the loop knows no noun, and a new noun needs no place in it.
 *
 * pco_loop_free calls, in this order: end() of all; turns, until has_ended() of all; leave() of
 * all, the last that joined first.
 */
#ifndef PCO_RESIDENT_H
#define PCO_RESIDENT_H

#include <portico/base.h>

#include "support/list.h"

typedef struct pco__resident pco__resident;

/* `end` and `has_ended` may both be NULL: it is there for others, and ends with them. */
typedef struct pco__resident_class {
    /* The loop is being freed: begin to end. Nothing new can be made on the loop any more. */
    void (*end)(pco__resident *resident);

    /* Whether it needs no turn of the loop any more. */
    bool (*has_ended)(pco__resident *resident);

    /* The loop is about to be freed: forget it. The resident has been taken off the list. */
    void (*leave)(pco__resident *resident);
} pco__resident_class;

struct pco__resident {
    pco__link link; /* zeroed: it lives on no loop */
    const pco__resident_class *class_;
};

/* The resident, whose class is set, lives on the loop until leave(), or pco__loop_move_out. */
void pco__loop_move_in(pco_loop *loop, pco__resident *resident);
void pco__loop_move_out(pco__resident *resident);

/*
 * What there is once per loop (what all transports share, for instance) is a resident, too, made
 * when first needed. It moves in at the head of the list: found quickly, by pco__loop_find, and the
 * last to leave.
 */
void pco__loop_move_in_first(pco_loop *loop, pco__resident *resident);

static inline pco__resident *pco__resident_of(pco__link *link)
{
    return PCO__CONTAINER(link, pco__resident, link);
}

#endif
