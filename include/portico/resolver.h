/* SPDX-License-Identifier: MIT */
/*
 * resolver.h: how a loop looks names up when it opens connections: by the system's getaddrinfo on
 * threads of its own, or by other means that the program brings: DNS over HTTPS, a cache, a test
 * that knows the answers.
 *
 * Literal addresses and NULL are no names and never come here. Servers resolve by the system alone.
 */
#ifndef PORTICO_RESOLVER_H
#define PORTICO_RESOLVER_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags for looking up host names, as getaddrinfo has them; to be or-ed. */
enum {
    PCO_AI_PASSIVE = 0x1,
    PCO_AI_NUMERICHOST = 0x4,
    PCO_AI_V4MAPPED = 0x8,
    PCO_AI_ALL = 0x10,
    PCO_AI_ADDRCONFIG = 0x20,
    PCO_AI_NONE = 0x100 /* none of them, where 0 is the default */
};

/* A name that is being looked up. */
typedef struct pco_lookup pco_lookup;

/* What is asked. Lent until the answer. */
typedef struct pco_lookup_question {
    size_t size;
    const char *host;
    int family; /* PCO_AF_INET, PCO_AF_INET6, or PCO_AF_UNSPEC for both */
    int flags;  /* PCO_AI_*, as the user gave them, but never PCO_AI_NONE or PCO_AI_PASSIVE */
} pco_lookup_question;

/*
 * Looks a name up. Each lookup is to be answered exactly once, by pco_lookup_answer, inside of
 * this call or at any time later, even if it is canceled meanwhile or the loop is freed. Called on
 * the loop's thread, never inside a call that the user made; it may do what every callback may.
 */
typedef void (*pco_resolver)(pco_loop *loop, pco_lookup *lookup,
                             const pco_lookup_question *question, void *context);

/*
 * From now on the loop looks names up by `resolver`; NULL: by the system again. Lookups under way
 * go on. The order of the addresses that it gives is that in which they count. Loop's thread, any
 * callback. PCO_ENOMEM. PCO_ECLOSED: the loop is being freed.
 */
PCO_API int pco_loop_set_resolver(pco_loop *loop, pco_resolver resolver, void *context);

/*
 * Answers: with addresses, which are copied, or with an error, which is copied, too, and the
 * addresses do not count; a code that is no PCO_E* is PCO_EUNKNOWN, and without a message it gets
 * one. Addresses of another family than was asked for are dropped, and the ports in them do not
 * count: a service's port is put in their place. No address at all is PCO_ENONAME. The lookup is
 * gone afterwards. What waits for it goes on in a turn of its own, never inside. Loop's thread, any
 * callback; if the loop is gone, any thread.
 */
PCO_API void pco_lookup_answer(pco_lookup *lookup, const pco_address *addresses, size_t count,
                               const pco_error *error);

/*
 * Calls `canceled` if nobody waits for the answer any more (the request was canceled, its time is
 * over, the loop is freed), on the loop's thread, inside the call that ended it, at most once. The
 * answer is still due then, and is dropped; it may be given inside. NULL takes it back. If nobody
 * waits any more already, nothing is called: see pco_lookup_is_canceled.
 */
PCO_API void pco_lookup_set_canceled(pco_lookup *lookup,
                                     void (*canceled)(pco_lookup *lookup, void *context),
                                     void *context);
PCO_API bool pco_lookup_is_canceled(const pco_lookup *lookup);

#ifdef __cplusplus
}
#endif

#endif
