/* SPDX-License-Identifier: MIT */
/* tls_clients.c: what a client of TLS has: whom it trusts, the name of its server, a session. */
#include "tls_parts.h"

typedef enum kind { TRUSTS_ALL, VERIFIES, ASKS_SYSTEM, ASKS_WHAT_TO_SHOW } kind;

/* Of those that verify, some leave it to the system, and some are asked what to show. */
void choose_tls_client(world *at, tls_client *made)
{
    static const kind kinds[] = {TRUSTS_ALL,  TRUSTS_ALL,        VERIFIES,         ASKS_SYSTEM,
                                 ASKS_SYSTEM, ASKS_WHAT_TO_SHOW, ASKS_WHAT_TO_SHOW};
    kind its = kinds[pick(at, sizeof kinds / sizeof kinds[0])];
    made->must_fail = its != TRUSTS_ALL && pick(at, 3) == 1;
    made->old = pick(at, 3) == 1;
    made->verdict = its == ASKS_SYSTEM ? verdict_take(at, made->old, &made->context) : NULL;
    if (made->verdict != NULL) {
        snprintf(made->name, sizeof made->name, "%s.%s.example", made->verdict->service,
                 made->must_fail ? "stranger" : "own");
        return; /* no session is of that name */
    }
    made->context = its == ASKS_WHAT_TO_SHOW
                        ? chooser_of(at, made->old)
                        : tls_client_context_of(at, its != TRUSTS_ALL, made->old);
    snprintf(made->name, sizeof made->name, "%s", made->must_fail ? "stranger.example" : "own");
    made->refusals = choose_session(at, made->context, made->name, &made->session);
}
