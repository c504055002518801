/* SPDX-License-Identifier: MIT */
/*
 * lookup.h: a name becomes addresses without blocking: by the program's own resolver
 * (portico/resolver.h), or by the system's on a thread of the lane for names. Literal addresses
 * need neither.
 */
#ifndef PCO_LOOKUP_H
#define PCO_LOOKUP_H

#include <portico/resolver.h>

#include "loop/loop.h"
#include "system/network.h"

/* Where to. The strings are copied. */
typedef struct pco__place {
    const char *host;    /* NULL: loopback, or all interfaces with PCO_AI_PASSIVE */
    const char *service; /* NULL: `port` counts */
    int port;
    int family;
    int flags; /* PCO_AI_*, without PCO_AI_NONE */
} pco__place;

/*
 * How a lookup ended, in a task of the loop's: with addresses, at least one, which come from
 * pco__malloc and are the callee's from now on; or with an error, which is lent.
 */
typedef void pco__looked_up(void *context, pco_address *addresses, size_t count,
                            const pco_error *error);

/*
 * Begins a lookup; `done` follows, once, inside of this or later. So it is for tasks alone: the
 * program's resolver may be called in it, too. *lookup is set before. Errors of the lookup are told
 * to `done`: those of pco__network.resolve, and PCO_EAGAIN: no thread can be started. PCO_ENOMEM.
 */
int pco__lookup_begin(pco_loop *loop, const pco__place *place, pco__looked_up *done, void *context,
                      pco_lookup **lookup);

/*
 * As pco__network.resolve, which it asks, on any thread; the sentence about a literal address of
 * another family than is wanted says so.
 */
int pco__lookup_host(const pco__network *network, const char *host, int port, int family, int flags,
                     pco_address **addresses, size_t *count, pco_error *error);

/* Nobody wants to know any more: `done` is not called. A thread that is at it is left to itself. */
void pco__lookup_forget(pco_lookup *lookup);

#endif
