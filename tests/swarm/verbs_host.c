/* SPDX-License-Identifier: MIT */
/*
 * verbs_host.c: the loop lives in a host's loop for a while, whose turns come when one is due; and
 * what must be known of that beforehand, hosted or not.
 */
#include "swarm.h"

#include <portico/host.h>

bool is_due(world *at, double timeout)
{
    return posts_now(at).posted != 0 || has_untold_signal(at) ||
           pco_loop_next_timeout(at->loop) <= timeout;
}

/* The host has slept until it was woken, or so long as it meant to. */
static void pass_time(world *at, double timeout)
{
    double due = pco_loop_next_timeout(at->loop);
    if (pco_loop_run_once(at->loop, timeout) != PCO_EBUSY) {
        broken(at, "a loop that is hosted has waited");
    }
    if (posts_now(at).posted == 0 && !has_untold_signal(at)) {
        fake_advance(at->loop, due < timeout ? due : timeout);
    }
}

/* One wake-up at most is under way: no more than there were turns, and this one. */
void host_turn(world *at, double timeout)
{
    if (timeout > 0) {
        pass_time(at, timeout);
    }
    if (is_due(at, 0)) {
        wait_for_host(at, at->hosted_last);
    }
    at->hosted_last = host_wakes();
    at->hosted_turns++;
    if (at->hosted_last - at->hosted_from > at->hosted_turns) {
        broken(at, "a host was woken twice for one turn");
    }
    if (pco_loop_run_once(at->loop, 0) != 0) {
        broken(at, "a turn of the loop was refused");
    }
}

/* ---- Who asks for the time alone ---- */

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

/* ---- Verbs ---- */

static bool may_host(const world *at)
{
    return !at->hosted;
}

static void host(world *at)
{
    unsigned long before = host_wakes();
    enter_library(at, NULL);
    int code = pco_loop_host(at->loop, host_wake_up, at, NULL);
    int again = code == 0 ? pco_loop_host(at->loop, host_wake_up, at, NULL) : PCO_EBUSY;
    leave_library(at);
    say(at, "host: %s", code != 0 ? pco_error_name(code) : "0");
    if (again != PCO_EBUSY || (code != 0 && !(code == PCO_ENOMEM && memory_was_short(at)))) {
        broken(at, "pco_loop_host returned %s, and %d", pco_error_name(code), again);
    }
    at->hosted = code == 0;
    at->hosted_from = before;
    at->hosted_last = before;
    at->hosted_turns = 1; /* that which the second call did not do */
}

static bool is_hosted(const world *at)
{
    return at->hosted && !at->freeing;
}

static void unhost(world *at)
{
    say(at, "unhost");
    enter_library(at, NULL);
    int code = pco_loop_unhost(at->loop);
    leave_library(at);
    if (code != 0) {
        broken(at, "pco_loop_unhost returned %s", pco_error_name(code));
    }
    at->hosted = false;
    /* Whether the thread had to be woken to leave is chance, and a wait that follows feels it. */
    at->loop->backend->class_->wake(at->loop->backend, false);
}

const verb verbs_host[] = {
    {"live in a host", 30, OUTSIDE, NULL, live_in_a_host},
    {"host", 1, OUTSIDE, may_host, host},
    {"unhost", 4, ANYWHERE, is_hosted, unhost},
    {.name = NULL},
};
