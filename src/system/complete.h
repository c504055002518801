/* SPDX-License-Identifier: MIT */
/* complete.h: the way into every done(). It is in a header because each message takes it. */
#ifndef PCO_COMPLETE_H
#define PCO_COMPLETE_H

#include <assert.h>

#include "loop/loop.h"

/* As pco__complete, with the clock before and after in debug mode; and without a loop, in tests. */
void pco__complete_slowly(pco__backend *backend, pco__op *op, const pco__result *result,
                          void (*submit)(pco__backend *backend, pco__op *op));

/*
 * Called by a backend when an operation has ended: clears in_flight, calls done(), submits the
 * operation again (`submit` is the backend's own) if done() says so, and sends what the callback
 * has written. The operation and its socket may be gone then.
 */
static inline void pco__complete(pco__backend *backend, pco__op *op, const pco__result *result,
                                 void (*submit)(pco__backend *backend, pco__op *op))
{
    assert(op->in_flight);
    op->in_flight = false;
    if (!backend->is_direct) {
        pco__complete_slowly(backend, op, result, submit);
        return;
    }
    if (op->done(op, result)) {
        submit(backend, op);
    }
    pco__cork_flush(backend->loop);
}

#endif
