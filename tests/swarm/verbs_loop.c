/* SPDX-License-Identifier: MIT */
/* verbs_loop.c: turns, callbacks and timers, stopping, and the end of the loop. */
#include "swarm.h"

/* ---- Turns ---- */

void turn(world *at, double timeout)
{
    bool may_bring = is_due(at, timeout + MOMENT);
    unsigned events = at->events;
    if (at->hosted) {
        host_turn(at, timeout);
    } else if (pco_loop_run_once(at->loop, timeout) != 0) {
        broken(at, "a turn of the loop was refused");
    }
    if (!may_bring && at->events != events) {
        broken(at, "a turn has brought something, and was not due");
    }
}

static void run_a_turn(world *at)
{
    static const double timeouts[] = {0, 0, 0, 0.001, 0.3, 2, 40};
    double timeout = timeouts[pick(at, sizeof timeouts / sizeof timeouts[0])];
    say(at, "turn of %g s", timeout);
    turn(at, timeout);
}

/* Peers and loop work hand in hand for a while. */
static void run_on(world *at)
{
    unsigned turns = 1 + pick(at, 12);
    say(at, "%u turns, all peers work", turns);
    for (unsigned i = 0; i < turns; i++) {
        meet_peers(at);
        for (unsigned j = 0; j < at->conns_count; j++) {
            peer_works(at, at->conns[j], SIZE_MAX);
        }
        turn(at, 0);
    }
}

typedef struct countdown {
    world *at;
    unsigned turns;
} countdown;

static bool is_over(void *context)
{
    countdown *left = context;
    return left->turns-- == 0;
}

static void run_until(world *at)
{
    countdown left = {at, pick(at, 8)};
    double timeout = pick(at, 3);
    say(at, "run_until %u turns or %g s", left.turns, timeout);
    int code = pco_loop_run_until(at->loop, is_over, &left, timeout);
    if (at->hosted ? code != PCO_EBUSY
                   : code != 0 && code != PCO_ETIMEDOUT && code != PCO_ECANCELED) {
        broken(at, "run_until returned %s", pco_error_name(code));
    }
}

/* ---- Callbacks ---- */

/* Callbacks of equal rank run in the order in which they were made. */
static void check_order(world *at, const call *now)
{
    unsigned long turns = fake_of(at->loop)->turns;
    for (const call *each = at->scheduled; each != NULL; each = each->next) {
        bool waits = !each->ran && !each->canceled;
        if (!waits || each->timed != now->timed || each->id >= now->id) {
            continue;
        }
        if (!now->timed) {
            broken(at, "callback %u ran before %u, which was made before", now->id, each->id);
        }
        if (each->when <= now->when && each->made < turns && now->made < turns) {
            broken(at, "timer %u of %g ran before %u of %g", now->id, now->when, each->id,
                   each->when);
        }
    }
}

static void run_call(void *context)
{
    call *now = context;
    world *at = now->at;
    enter_callback(at, NULL, now->timed ? "timer" : "callback", now->id);
    if (now->ran || now->canceled || now->dropped || at->freeing) {
        broken(at, "a callback ran twice, or after it was canceled, or while the loop was freed");
    }
    if (now->timed && pco_loop_time(at->loop) < now->when) {
        broken(at, "a timer ran early");
    }
    check_order(at, now);
    now->ran = true;
    if (now->stops) {
        pco_loop_stop(at->loop);
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

static call *call_new(world *at, bool timed)
{
    call *made = calloc(1, sizeof *made);
    made->at = at;
    made->id = at->scheduled_count++;
    made->timed = timed;
    made->made = fake_of(at->loop)->turns;
    return made;
}

/* The library took it, or said why not. */
static bool call_taken(world *at, call *made, int code)
{
    if (code == 0) {
        made->next = at->scheduled;
        at->scheduled = made;
        if (at->freeing) {
            broken(at, "a loop that is being freed took a callback");
        }
        return true;
    }
    free(made);
    if (!(code == PCO_ENOMEM && memory_was_short(at)) && !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "a callback was refused with %s", pco_error_name(code));
    }
    return false;
}

bool may_call(const world *at)
{
    return at->scheduled_count < 200;
}

static void call_soon(world *at)
{
    call *made = call_new(at, false);
    pco_handle **handle = pick(at, 2) == 1 ? &made->handle : NULL;
    bool threadsafe = pick_rarely(at, 3);
    say(at, "call_soon%s: %u", threadsafe ? "_threadsafe" : "", made->id);
    made->stops = pick_rarely(at, 20);
    enter_library(at, NULL);
    int code = threadsafe ? pco_loop_call_soon_threadsafe(at->loop, run_call, made, handle)
                          : pco_loop_call_soon(at->loop, run_call, made, handle);
    leave_library(at);
    call_taken(at, made, code);
}

static void dropped(void *context);

/* A call of another thread's. */
typedef struct posting {
    call *made;
    pco_handle **handle;
    int code;
} posting;

static void post(void *context)
{
    posting *what = context;
    call *made = what->made;
    what->code = pco_loop_call_soon_threadsafe(made->at->loop, run_call, made, what->handle);
    if (what->code == 0 && made->wants_dropped) {
        pco_handle_set_dropped(made->handle, dropped);
    }
}

static void call_from_a_thread(world *at)
{
    call *made = call_new(at, false);
    posting what = {.made = made, .handle = pick(at, 2) == 1 ? &made->handle : NULL};
    made->wants_dropped = what.handle != NULL && pick(at, 2) == 1;
    made->stops = pick_rarely(at, 20);
    say(at, "call_soon_threadsafe of another thread: %u", made->id);
    enter_library(at, NULL);
    thread_run(post, &what);
    leave_library(at);
    call_taken(at, made, what.code);
}

bool start_timer(world *at, double delay, bool stops, bool wants_handle)
{
    call *made = call_new(at, true);
    made->when = pco_loop_time(at->loop) + delay;
    made->stops = stops;
    pco_handle **handle = wants_handle ? &made->handle : NULL;
    say(at, "call_at: %u in %g s", made->id, delay);
    enter_library(at, NULL);
    int code = pco_loop_call_at(at->loop, made->when, run_call, made, handle);
    leave_library(at);
    return call_taken(at, made, code);
}

static void call_later(world *at)
{
    static const double delays[] = {0, 0.001, 0.1, 0.1, 1, 30, 3600, -5};
    double delay = delays[pick(at, sizeof delays / sizeof delays[0])];
    start_timer(at, delay, false, pick(at, 2) == 1);
}

static call *pick_handle(world *at)
{
    unsigned count = 0;
    for (call *each = at->scheduled; each != NULL; each = each->next) {
        count += each->handle != NULL;
    }
    unsigned nth = pick(at, count);
    for (call *each = at->scheduled; each != NULL; each = each->next) {
        if (each->handle != NULL && nth-- == 0) {
            return each;
        }
    }
    return NULL;
}

static bool has_handle(const world *at)
{
    for (const call *each = at->scheduled; each != NULL; each = each->next) {
        if (each->handle != NULL) {
            return true;
        }
    }
    return false;
}

static bool is_pending(const call *of)
{
    return !of->ran && !of->canceled && !of->dropped;
}

/* Runs inside pco_handle_cancel, or while the loop is freed; and may do what it likes there. */
static void dropped(void *context)
{
    call *of = context;
    world *at = of->at;
    inner outside = enter_inner(at, at->current, "dropped", of->id);
    if (!of->wants_dropped || of->ran || of->dropped) {
        broken(at, "a callback was dropped twice, or after it ran, or nobody asked");
    }
    if (!of->dropping && !at->freeing) {
        broken(at, "a callback was dropped, and nobody canceled it");
    }
    of->dropped = true;
    act_in_callback(at);
    leave_inner(at, outside);
}

static void cancel_call(world *at)
{
    call *of = pick_handle(at);
    bool due = is_pending(of) && of->wants_dropped;
    say(at, "cancel %u", of->id);
    of->canceled = true;
    of->dropping = true;
    enter_library(at, NULL);
    pco_handle_cancel(of->handle);
    if (of->handle != NULL && !pco_handle_cancelled(of->handle)) {
        broken(at, "a canceled handle is not canceled");
    }
    leave_library(at);
    of->dropping = false;
    if (due && !of->dropped) {
        broken(at, "a callback was canceled, and nobody heard that it was dropped");
    }
}

/* A loop that is freed may have dropped it already, when nobody had asked yet. */
static bool may_set_dropped(const world *at)
{
    return has_handle(at) && !at->freeing;
}

static void set_dropped(world *at)
{
    call *of = pick_handle(at);
    bool wants = pick(at, 4) != 1;
    say(at, "%s is to hear if %u is dropped", wants ? "somebody" : "nobody", of->id);
    enter_library(at, NULL);
    pco_handle_set_dropped(of->handle, wants ? dropped : NULL);
    leave_library(at);
    if (is_pending(of) && !at->freed) {
        of->wants_dropped = wants;
    }
}

static void release_handle(world *at)
{
    call *of = pick_handle(at);
    say(at, "release the handle of %u", of->id);
    enter_library(at, NULL);
    pco_handle_release(of->handle);
    leave_library(at);
    of->handle = NULL;
}

/* What was made before the last turn began has run in it, unless that turn was the end of a run. */
void check_calls(world *at)
{
    unsigned long turns = fake_of(at->loop)->turns;
    for (const call *each = at->scheduled; each != NULL; each = each->next) {
        bool due = !each->timed && !each->ran && !each->canceled;
        if (due && turns > each->made + 2) {
            broken(at, "callback %u did not run in the next turn", each->id);
        }
    }
}

void free_calls(world *at)
{
    while (at->scheduled != NULL) {
        call *of = at->scheduled;
        at->scheduled = of->next;
        if (of->wants_dropped && of->ran + of->dropped != 1) {
            broken(at, "callback %u neither ran nor was dropped, or both", of->id);
        }
        if (of->handle != NULL) {
            pco_handle_cancel(of->handle);
            pco_handle_release(of->handle);
        }
        free(of);
    }
}

/* ---- Stopping, and the end ---- */

static void stop(world *at)
{
    say(at, "stop");
    enter_library(at, NULL);
    pco_loop_stop(at->loop);
    leave_library(at);
}

/* A timer sees to it that it ends. */
static void run_forever(world *at)
{
    if (at->hosted) {
        if (pco_loop_run_forever(at->loop) != PCO_EBUSY) {
            broken(at, "a loop that is hosted was run");
        }
    } else if (start_timer(at, pick(at, 5), true, false)) {
        say(at, "run_forever");
        if (pco_loop_run_forever(at->loop) != 0) {
            broken(at, "run_forever was refused");
        }
    }
}

static void run_inside(world *at)
{
    say(at, "run and free the loop inside a callback");
    enter_library(at, NULL);
    if (pco_loop_is_running(at->loop) &&
        (pco_loop_run_once(at->loop, 0) != PCO_EBUSY ||
         pco_loop_run_forever(at->loop) != PCO_EBUSY ||
         pco_loop_host(at->loop, host_wake_up, at, NULL) != PCO_EBUSY)) {
        broken(at, "a loop that runs was run");
    }
    if ((pco_loop_is_running(at->loop) || at->freeing) && pco_loop_free(at->loop) != PCO_EBUSY) {
        broken(at, "a loop was freed in its own callback");
    }
    leave_library(at);
}

static void set_debug(world *at)
{
    bool on = pick(at, 2) == 1;
    say(at, "debug mode: %s", on ? "on" : "off");
    pco_loop_set_debug(at->loop, on);
}

static bool is_inside(const world *at)
{
    return at->depth != 0;
}

static void free_the_loop(world *at)
{
    say(at, "free the loop");
    free_loop(at);
}

const verb verbs_loop[] = {
    {"turn", 120, OUTSIDE, NULL, run_a_turn},
    {"run on", 80, OUTSIDE, NULL, run_on},
    {"run_until", 6, OUTSIDE, NULL, run_until},
    {"run_forever", 4, OUTSIDE, may_call, run_forever},
    {"call_soon", 20, ANYWHERE, may_call, call_soon},
    {"call from a thread", 5, ANYWHERE, may_call, call_from_a_thread},
    {"call_at", 12, ANYWHERE, may_call, call_later},
    {"cancel", 8, ANYWHERE, has_handle, cancel_call},
    {"set dropped", 6, ANYWHERE, may_set_dropped, set_dropped},
    {"release handle", 6, ANYWHERE, has_handle, release_handle},
    {"stop", 2, ANYWHERE, NULL, stop},
    {"run inside", 2, ANYWHERE, is_inside, run_inside},
    {"debug", 1, ANYWHERE, NULL, set_debug},
    {"free the loop", 1, OUTSIDE, NULL, free_the_loop},
    {.name = NULL},
};
