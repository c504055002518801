/* SPDX-License-Identifier: MIT */
/*
 * lookups.c: look-ups of services, on threads of the library's, for servers that come about and for
 * connections that are opened. Each stands at its gate until the program opens that.
 */
#include "swarm.h"

#include "client/opening.h"

/* So many threads there are: none has to wait for another, unless there was no memory for it. */
#define LOOKUPS_MOST 4

static unsigned number_of(const world *at, const gate *of)
{
    return (unsigned)(of - at->gates);
}

bool has_gate_left(const world *at)
{
    unsigned held = 0;
    for (unsigned i = 0; i < at->gates_count; i++) {
        held += at->gates[i].held;
    }
    return held < LOOKUPS_MOST && at->gates_count < GATES;
}

bool is_any_held(const world *at)
{
    for (unsigned i = 0; i < at->gates_count; i++) {
        if (at->gates[i].held) {
            return true;
        }
    }
    return false;
}

void gate_leave(world *at, gate *of)
{
    if (of != NULL && of->held) {
        of->held = false;
        of->opening = NULL;
        of->creation = NULL;
        gate_set(number_of(at, of), GATE_FALSE, 0);
    }
}

/* An opening's look-up begins in a task of the loop's. */
static bool has_begun(const gate *of)
{
    if (!of->held || of->opening == NULL) {
        return of->held;
    }
    const pco__opening *internal = of->opening->internal;
    return internal != NULL && internal->lookup != NULL;
}

static bool is_given_up(const gate *of)
{
    const opening *its = of->held ? of->opening : NULL;
    return its != NULL && its->internal != NULL && its->internal->stage == PCO__OPENING_OVER;
}

/* Notes in which order they have begun; those that were given up meanwhile go home. */
static void note_begun(world *at)
{
    for (unsigned i = 0; i < at->gates_count; i++) {
        gate *of = &at->gates[i];
        if (is_given_up(of)) {
            gate_leave(at, of);
        } else if (of->begun == 0 && has_begun(of)) {
            of->begun = ++at->gates_begun;
        }
    }
}

gate *gate_take(world *at, opening *for_opening, creation *for_creation, int port)
{
    note_begun(at);
    gate *made = &at->gates[at->gates_count++];
    *made = (gate){.held = true, .opening = for_opening, .creation = for_creation, .port = port};
    gate_set(number_of(at, made), GATE_CLOSED, 0);
    gate_service(number_of(at, made), made->service, sizeof made->service);
    note_begun(at);
    return made;
}

static unsigned count_begun(const world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->gates_count; i++) {
        count += has_begun(&at->gates[i]);
    }
    return count;
}

/* Of those that have begun; of a few that may share a thread, the first. NULL: none. */
static gate *pick_begun(world *at)
{
    gate *first = NULL;
    note_begun(at);
    unsigned nth = pick(at, count_begun(at));
    for (unsigned i = 0; i < at->gates_count; i++) {
        gate *of = &at->gates[i];
        if (!has_begun(of)) {
            continue;
        }
        if (!memory_was_short(at) && nth-- == 0) {
            return of;
        }
        first = first == NULL || of->begun < first->begun ? of : first;
    }
    return memory_was_short(at) ? first : NULL;
}

static void let_through(world *at, gate *of, gate_state state)
{
    post_count before = posts_now(at);
    of->held = false;
    gate_set(number_of(at, of), state, of->port);
    wait_for_post(at, before);
}

bool end_lookups(world *at)
{
    bool any = false;
    for (gate *of; (of = pick_begun(at)) != NULL; any = true) {
        let_through(at, of, GATE_OPEN);
    }
    return any;
}

/* ---- Verbs ---- */

static bool has_lookup(const world *at)
{
    return !at->freeing && count_begun(at) != 0; /* or else it has been canceled */
}

static void end_lookup(world *at)
{
    gate *of = pick_begun(at);
    if (of != NULL) {
        say(at, "look-up %u ends", number_of(at, of));
        let_through(at, of, GATE_OPEN);
    }
}

/* There is no such service. */
static void fail_lookup(world *at)
{
    gate *of = pick_begun(at);
    if (of == NULL) {
        return;
    }
    say(at, "look-up %u fails", number_of(at, of));
    if (of->opening != NULL) {
        of->opening->causes |= cause_bit(PCO_ENONAME);
    } else {
        of->creation->is_unknown = true;
    }
    let_through(at, of, GATE_FALSE);
}

const verb verbs_lookup[] = {
    {"look-up ends", 16, ANYWHERE, has_lookup, end_lookup},
    {"look-up fails", 2, ANYWHERE, has_lookup, fail_lookup},
    {.name = NULL},
};
