/* SPDX-License-Identifier: MIT */
/* complete.h: the way into every done(). It is in a header because each message takes it. */
#ifndef PCO_COMPLETE_H
#define PCO_COMPLETE_H

#include <assert.h>

#include "system/backend.h"

/* In debug mode, the loop does it in its own way. */
static PCO__COLD void pco__complete_watched(pco__backend *backend, pco__op *op,
                                            const pco__result *result, pco__submit *submit)
{
    backend->complete(backend, op, result, submit);
}

/*
 * Called by a backend when an operation has ended: clears in_flight, calls done(), submits the
 * operation again (`submit` is the backend's own) if done() says so, and does what the hooks ask
 * for. The operation and its socket may be gone then.
 */
static inline void pco__complete(pco__backend *backend, pco__op *op, const pco__result *result,
                                 pco__submit *submit)
{
    assert(op->in_flight);
    op->in_flight = false;
    if (backend->complete != NULL) {
        pco__complete_watched(backend, op, result, submit);
        return;
    }
    if (op->done(op, result)) {
        submit(backend, op);
    }
    if (backend->after_callback != NULL) {
        backend->after_callback->run(backend->after_callback);
    }
}

#endif
