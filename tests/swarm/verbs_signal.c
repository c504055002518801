/* SPDX-License-Identifier: MIT */
/* verbs_signal.c: handlers of signals, which come and go, and signals that come. */
#include "swarm.h"

#include "system/signals.h"

static const int numbers[SIGNALS] = {PCO_SIGHUP, PCO_SIGTERM};

static handled *pick_signal(world *at, int *number)
{
    unsigned which = pick(at, SIGNALS);
    *number = numbers[which];
    return &at->signals[which];
}

/* A loop that is being freed has none any more. */
static bool is_handled(const world *at, const handled *of)
{
    return of->by != NULL && !at->freeing;
}

static void told(int number, void *context)
{
    const handler *by = context;
    world *at = by->at;
    handled *of = &at->signals[by->which];
    enter_callback(at, NULL, "signal", (uint64_t)number);
    if (!is_handled(at, of) || by != of->by || number != numbers[by->which]) {
        broken(at, "a signal was told to a handler that is not there any more");
    }
    if (of->untold == 0) {
        broken(at, "a signal was told more often than it came");
    }
    of->untold--;
    of->since = fake_of(at->loop)->turns;
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void add_handler(world *at)
{
    int number;
    handled *of = pick_signal(at, &number);
    handler *by = &of->handlers[pick(at, 2)];
    bool replaces = of->by != NULL;
    say(at, "handle signal %d", number);
    *by = (handler){.at = at, .which = (unsigned)(of - at->signals)};
    enter_library(at, NULL);
    int code = pco_loop_add_signal_handler(at->loop, number, told, by, NULL);
    leave_library(at);
    if (code == 0 && !at->freeing) {
        of->by = by;
    } else if (!(code == PCO_ENOMEM && memory_was_short(at) && !replaces) &&
               !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "add_signal_handler returned %d", code);
    }
}

static void remove_handler(world *at)
{
    int number;
    handled *of = pick_signal(at, &number);
    say(at, "do not handle signal %d any more", number);
    enter_library(at, NULL);
    bool there = pco_loop_remove_signal_handler(at->loop, number);
    leave_library(at);
    if (there != is_handled(at, of)) {
        broken(at, "remove_signal_handler does not know whether there was one");
    }
    of->by = NULL;
    of->untold = 0;
}

/*
 * Whether a signal may come to who serves until one does: it closes the server, and its connections
 * in a turn of its own, when there may be others than now; so there must be none.
 */
static bool may_end(const world *at)
{
    const served *of = at->serving;
    if (of->server == NULL) {
        return false;
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        const conn *each = at->conns[i];
        if (each->server == of && (is_attached(each) || each->state == COMING)) {
            return false;
        }
    }
    return true;
}

static bool ends_server(world *at, int number)
{
    if (at->serving == NULL || number != PCO_SIGTERM || at->freeing) {
        return false;
    }
    at->is_asked_to_end = true;
    at->serving->closed = true;
    return true;
}

static void come(world *at)
{
    int number;
    handled *of = pick_signal(at, &number);
    if (at->serving != NULL && number == PCO_SIGTERM && !may_end(at)) {
        return;
    }
    bool ends = ends_server(at, number);
    unsigned times = 1 + pick(at, 3);
    say(at, "signal %d comes, %u times", number, times);
    for (unsigned i = 0; i < times; i++) {
        enter_library(at, NULL);
        bool heard = pco__watch_tell(number);
        leave_library(at);
        if (heard != (is_handled(at, of) || ends)) {
            broken(at, "a signal was heard by nobody, or by who does not handle it");
        }
        if (is_handled(at, of) && of->untold++ == 0) {
            of->since = fake_of(at->loop)->turns;
        }
    }
}

bool has_untold_signal(const world *at)
{
    for (unsigned i = 0; i < SIGNALS; i++) {
        if (at->signals[i].untold != 0) {
            return true;
        }
    }
    return at->is_asked_to_end;
}

void check_signals(world *at)
{
    for (unsigned i = 0; i < SIGNALS; i++) {
        const handled *of = &at->signals[i];
        if (of->untold != 0 && fake_of(at->loop)->turns > of->since + 2) {
            broken(at, "a signal was not told in the next turn");
        }
    }
}

const verb verbs_signal[] = {
    {"handle signal", 4, ANYWHERE, NULL, add_handler},
    {"remove handler", 3, ANYWHERE, NULL, remove_handler},
    {"signal", 6, ANYWHERE, NULL, come},
    {.name = NULL},
};
