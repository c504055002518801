/* SPDX-License-Identifier: MIT */
/* verbs_network.c: a network that changes, a machine that sleeps, and who wants to know of it. */
#include "swarm.h"

#include "fake_changes.h"

/* By when the loop has to tell, in nanoseconds, once it has had turns to hear of it. */
#define LONGEST 2000000000

#define ALL (PCO_NETWORK_ADDRESSES | PCO_NETWORK_ROUTES | PCO_NETWORK_SLEPT)

/* Whether the loop must have heard by now of what changed in that turn. */
static bool is_known(const world *at, unsigned long turn)
{
    return turn + 1 < fake_of(at->loop)->turns;
}

/* Whether the changes of this kind, a bit, are all known. */
static bool is_kind_known(const world *at, unsigned kind)
{
    return is_known(at, at->network.changed_in[kind]);
}

/* What was told is done with; what came just now may be part of it, or be told later. */
static void forget(world *at, unsigned what)
{
    changing *of = &at->network;
    for (unsigned kind = 0; kind < NETWORK_KINDS; kind++) {
        unsigned bit = 1u << kind;
        if ((what & bit) == 0 && (of->must & bit) != 0 && is_kind_known(at, kind)) {
            broken(at, "of several changes of the network one was not told with the others");
        }
        if ((what & bit) != 0 && is_kind_known(at, kind)) {
            of->may &= ~bit;
        }
    }
    of->must &= ~what;
    of->since = 0;
    of->late = 0;
}

static void told(pco_loop *loop, unsigned what, void *context)
{
    const watcher *by = context;
    world *at = by->at;
    changing *of = &at->network;
    enter_callback(at, NULL, "network changed", what);
    if (loop != at->loop || by != of->by || at->freeing) {
        broken(at, "a change of the network was told to who does not want to know");
    }
    if (what == 0 || (what & ~of->may) != 0) {
        broken(at, "a change of the network was told that has not come");
    }
    forget(at, what);
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void watch_network(world *at)
{
    changing *of = &at->network;
    watcher *by = &of->watchers[pick(at, 2)];
    bool refused = of->by == NULL && pick_rarely(at, 8);
    say(at, "watch the network%s", refused ? ", which the system refuses" : "");
    by->at = at;
    fake_changes_error = refused ? PCO_EMFILE : 0;
    enter_library(at, NULL);
    int code = pco_loop_set_network_changed(at->loop, told, by, NULL);
    leave_library(at);
    fake_changes_error = 0;
    if (code == 0 && !at->freeing && !refused) {
        of->by = by;
    } else if (!(code == PCO_ENOMEM && memory_was_short(at) && of->by == NULL) &&
               !(code == PCO_EMFILE && refused) && !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "set_network_changed returned %d", code);
    }
}

static void leave_network(world *at)
{
    changing *of = &at->network;
    say(at, "do not watch the network any more");
    enter_library(at, NULL);
    int code = pco_loop_set_network_changed(at->loop, NULL, NULL, NULL);
    leave_library(at);
    if (code != 0 || fake_changes_are_watched()) {
        broken(at, "the network could not be left alone");
    }
    *of = (changing){.may = 0};
}

static bool is_watched(const world *at)
{
    return at->network.by != NULL && !at->freeing;
}

static void change_network(world *at)
{
    changing *of = &at->network;
    unsigned what = 1 + pick(at, ALL);
    say(at, "the network changes: %u", what);
    for (unsigned kind = 0; kind < NETWORK_KINDS; kind++) {
        if ((what & 1u << kind) != 0) {
            of->changed_in[kind] = fake_of(at->loop)->turns;
        }
    }
    of->may |= what;
    of->must |= what;
    enter_library(at, NULL);
    fake_change(what);
    leave_library(at);
}

/* The first moment at which all is known counts, and then the first at which it is late. */
void check_network(world *at)
{
    changing *of = &at->network;
    const fake_backend *fake = fake_of(at->loop);
    if (of->must == 0) {
        return;
    }
    for (unsigned kind = 0; kind < NETWORK_KINDS; kind++) {
        if ((of->must & 1u << kind) != 0 && !is_kind_known(at, kind)) {
            return;
        }
    }
    if (of->since == 0) {
        of->since = fake->now;
    } else if (fake->now - of->since >= LONGEST && of->late == 0) {
        of->late = fake->turns;
    } else if (of->late != 0 && is_known(at, of->late + 1)) {
        broken(at, "a change of the network was not told in time");
    }
}

/* The loop is gone. */
void check_network_over(world *at)
{
    if (fake_changes_are_watched()) {
        broken(at, "the loop is gone and still watches the network");
    }
}

const verb verbs_network[] = {
    {"watch network", 3, ANYWHERE, NULL, watch_network},
    {"leave network", 2, ANYWHERE, NULL, leave_network},
    {"network changes", 4, ANYWHERE, is_watched, change_network},
    {.name = NULL},
};
