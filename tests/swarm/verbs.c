/* SPDX-License-Identifier: MIT */
/* verbs.c: the tables of verbs. The very first verb is the plainest: a turn of the loop. */
#include "swarm.h"

const verb *const verb_tables[] = {
    verbs_loop,    verbs_create,   verbs_lookup,  verbs_server, verbs_connection,
    verbs_peer,    verbs_trouble,  verbs_signal,  verbs_tls,    verbs_client,
    verbs_socket,  verbs_resolver, verbs_pair,    verbs_detach, verbs_start_tls,
    verbs_session, verbs_choice,   verbs_network, verbs_host,   verbs_readers,
    verbs_verdict, verbs_unix,     verbs_pipe,    verbs_local,  NULL,
};

#define VERBS_MOST 200

static const verb *flat[VERBS_MOST];
static unsigned total;

static void flatten(void)
{
    for (const verb *const *table = verb_tables; *table != NULL; table++) {
        for (const verb *each = *table; each->name != NULL && total < VERBS_MOST; each++) {
            flat[total++] = each;
        }
    }
}

unsigned verbs_total(void)
{
    if (total == 0) {
        flatten();
    }
    return total;
}

const verb *verb_at(unsigned index)
{
    return flat[index % verbs_total()];
}
