/* SPDX-License-Identifier: MIT */
/*
 * request.h (internal): what takes time and ends once, embedded in what does it.
 *
 * A request lives on its loop from pco__request_begin until its completion has returned. Whoever
 * does the work calls pco__request_complete, exactly once, from a callback of the loop and never
 * from inside a call of the user's; a loop that is freed cancels all its requests and waits for
 * their completions.
 */
#ifndef PCO_REQUEST_INTERNAL_H
#define PCO_REQUEST_INTERNAL_H

#include <portico/request.h>

#include "loop/loop.h"

typedef struct pco__request_class {
    /* Give up what is under way, as soon as that can be; pco__request_complete follows. Once. */
    void (*cancel)(pco_request *request);

    /* Tells the user: the result, or PCO_ECANCELED. */
    void (*complete)(pco_request *request);

    /* Frees the memory: it is complete, and nobody has it any more. */
    void (*destroy)(pco_request *request);
} pco__request_class;

struct pco_request {
    pco__resident resident;
    const pco__request_class *class_;
    pco_loop *loop;      /* NULL once it is complete */
    unsigned references; /* the loop's until it is complete, and the user's */
    bool canceled;
};

/* Begins a request. *wanted, unless `wanted` is NULL, becomes the user's reference. */
void pco__request_begin(pco_loop *loop, pco_request *request, const pco__request_class *class_,
                        pco_request **wanted);

/* Its end. The request may be gone then. */
void pco__request_complete(pco_request *request);

#endif
