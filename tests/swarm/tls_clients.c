/* SPDX-License-Identifier: MIT */
/* tls_clients.c: what a client of TLS has: whom it trusts, the name of its server, a session. */
#include "tls_parts.h"

/* Of those that verify, some leave it to the system. */
void choose_tls_client(world *at, tls_client *made)
{
    bool verifies = pick(at, 2) == 1;
    bool by_system = verifies && pick(at, 2) == 1;
    made->must_fail = verifies && pick(at, 3) == 1;
    made->old = pick(at, 3) == 1;
    made->verdict = by_system ? verdict_take(at, made->old, &made->context) : NULL;
    if (made->verdict != NULL) {
        snprintf(made->name, sizeof made->name, "%s.%s.example", made->verdict->service,
                 made->must_fail ? "stranger" : "own");
        return; /* no session is of that name */
    }
    made->context = tls_client_context_of(at, verifies, made->old);
    snprintf(made->name, sizeof made->name, "%s", made->must_fail ? "stranger.example" : "own");
    made->refusals = choose_session(at, made->context, made->name, &made->session);
}
