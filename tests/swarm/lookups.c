/* SPDX-License-Identifier: MIT */
/*
 * lookups.c: work on threads of the library's: look-ups of services, for servers that come about
 * and for connections that are opened, and the system's verdicts. Each stands at its gate until the
 * program opens that.
 */
#include "swarm.h"

#include "client/opening.h"

/* So many threads there are: none has to wait for another, unless there was no memory for it. */
#define LOOKUPS_MOST 4
#define VERDICTS_MOST 8

unsigned gate_number(const world *at, const gate *of)
{
    return (unsigned)(of - at->gates);
}

static unsigned count_held(const world *at, bool verdicts)
{
    unsigned held = 0;
    for (unsigned i = 0; i < at->gates_count; i++) {
        held += at->gates[i].held && at->gates[i].is_verdict == verdicts;
    }
    return held;
}

bool has_gate_left(const world *at, bool for_verdict)
{
    return count_held(at, for_verdict) < (for_verdict ? VERDICTS_MOST : LOOKUPS_MOST) &&
           at->gates_count < GATES;
}

bool is_any_held(const world *at)
{
    return count_held(at, false) != 0;
}

void gate_leave(world *at, gate *of)
{
    if (of == NULL) {
        return;
    }
    verdict_forget(of);
    if (of->held) {
        of->held = false;
        of->opening = NULL;
        of->creation = NULL;
        gate_set(gate_number(at, of), GATE_FALSE, 0);
        gates_settle(at, GATES);
    }
}

/* While the loop is freed it is left to chance whether a thread has taken it before the end. */
void gate_begins(world *at, const gate *of)
{
    bool is_certain = of != NULL && !memory_was_short(at) && !at->freeing;
    gates_settle(at, is_certain ? gate_number(at, of) : GATES);
}

/* An opening's look-up begins in a task of the loop's, a verdict is asked for in a handshake. */
static bool is_under_way(const gate *of)
{
    if (!of->held || of->is_verdict) {
        return of->held && verdict_is_awaited(of);
    }
    if (of->opening == NULL) {
        return true;
    }
    const pco__opening *internal = of->opening->internal;
    return internal != NULL && internal->lookup != NULL;
}

static bool is_given_up(const gate *of)
{
    const opening *its = of->held ? of->opening : NULL;
    if (of->held && of->is_verdict) {
        return of->begun != 0 && verdict_is_given_up(of);
    }
    return its != NULL && its->internal != NULL && its->internal->stage == PCO__OPENING_OVER;
}

/* Those that were given up meanwhile go home. */
void look_after_gates(world *at)
{
    for (unsigned i = 0; i < at->gates_count; i++) {
        gate *of = &at->gates[i];
        verdict_look_after(of);
        if (is_given_up(of)) {
            gate_leave(at, of);
        }
    }
}

/* And in which order the others have begun. */
static void note_begun(world *at)
{
    look_after_gates(at);
    for (unsigned i = 0; i < at->gates_count; i++) {
        gate *of = &at->gates[i];
        if (of->begun == 0 && is_under_way(of)) {
            of->begun = ++at->gates_begun;
            gate_begins(at, of->creation == NULL && !of->is_verdict ? of : NULL);
        }
    }
}

gate *gate_take(world *at, gate wanted)
{
    note_begun(at);
    gate *made = &at->gates[at->gates_count++];
    *made = wanted;
    made->held = true;
    gate_set(gate_number(at, made), GATE_CLOSED, 0);
    gate_service(gate_number(at, made), made->service, sizeof made->service);
    note_begun(at);
    return made;
}

static unsigned count_begun(const world *at, bool verdicts)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->gates_count; i++) {
        count += at->gates[i].is_verdict == verdicts && is_under_way(&at->gates[i]);
    }
    return count;
}

bool has_begun(const world *at, bool verdict)
{
    return count_begun(at, verdict) != 0;
}

gate *pick_begun(world *at, bool verdict)
{
    gate *first = NULL;
    note_begun(at);
    unsigned nth = pick(at, count_begun(at, verdict));
    for (unsigned i = 0; i < at->gates_count; i++) {
        gate *of = &at->gates[i];
        if (of->is_verdict != verdict || !is_under_way(of)) {
            continue;
        }
        if (!memory_was_short(at) && nth-- == 0) {
            return of;
        }
        first = first == NULL || of->begun < first->begun ? of : first;
    }
    return memory_was_short(at) ? first : NULL;
}

void gate_let_through(world *at, gate *of, gate_state state, int port)
{
    post_count before = posts_now(at);
    of->held = false;
    gate_set(gate_number(at, of), state, port);
    wait_for_post(at, before);
    gates_settle(at, GATES);
}

bool end_lookups(world *at)
{
    bool any = false;
    for (gate *of; (of = pick_begun(at, false)) != NULL; any = true) {
        gate_let_through(at, of, GATE_OPEN, of->port);
    }
    for (gate *of; (of = pick_begun(at, true)) != NULL; any = true) {
        verdict_give(at, of, true);
    }
    return any;
}

/* ---- Verbs ---- */

static bool has_lookup(const world *at)
{
    return !at->freeing && has_begun(at, false); /* or else it has been canceled */
}

static void end_lookup(world *at)
{
    gate *of = pick_begun(at, false);
    if (of != NULL) {
        say(at, "look-up %u ends", gate_number(at, of));
        gate_let_through(at, of, GATE_OPEN, of->port);
    }
}

/* There is no such service. */
static void fail_lookup(world *at)
{
    gate *of = pick_begun(at, false);
    if (of == NULL) {
        return;
    }
    say(at, "look-up %u fails", gate_number(at, of));
    if (of->opening != NULL) {
        of->opening->causes |= cause_bit(PCO_ENONAME);
    } else {
        of->creation->is_unknown = true;
    }
    gate_let_through(at, of, GATE_FALSE, of->port);
}

const verb verbs_lookup[] = {
    {"look-up ends", 16, ANYWHERE, has_lookup, end_lookup},
    {"look-up fails", 2, ANYWHERE, has_lookup, fail_lookup},
    {.name = NULL},
};
