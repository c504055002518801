/* SPDX-License-Identifier: MIT */
/* verbs_host.c: a host that does a turn only when one is due, by pco_loop_next_timeout. */
#include "swarm.h"

#include <portico/host.h>

/* What a sum of seconds may be wrong by. */
#define MOMENT 1e-6

/* The loop says that no turn is due, or none for a while: so none may be. */
static void check_sleep(world *at, double timeout)
{
    double until = pco_loop_time(at->loop) + timeout - MOMENT;
    for (const call *each = at->scheduled; each != NULL; each = each->next) {
        bool waits = !each->ran && !each->canceled && !each->dropped;
        if (waits && (!each->timed || each->when < until)) {
            broken(at, "a host would sleep through callback %u", each->id);
        }
    }
}

static void live_in_a_host(world *at)
{
    unsigned turns = 1 + pick(at, 12);
    say(at, "%u turns, those that are due", turns);
    for (unsigned i = 0; i < turns; i++) {
        double timeout = pco_loop_next_timeout(at->loop);
        if (timeout != 0) {
            check_sleep(at, timeout);
        }
        if (isinf(timeout)) {
            return;
        }
        fake_advance(at->loop, timeout);
        turn(at, 0);
    }
}

const verb verbs_host[] = {
    {"live in a host", 30, OUTSIDE, NULL, live_in_a_host},
    {.name = NULL},
};
