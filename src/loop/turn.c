/* SPDX-License-Identifier: MIT */
/*
 * turn.c: a turn of the loop, and running it.
 *
 * The one hard idea is order. A turn has three parts: poll() runs the callbacks of input and
 * output; then the timers that are due join the queue of tasks; then exactly the tasks that are in
 * the queue at that moment run. What they queue waits for the next turn.
 *
 * There is one queue, so tasks run in the order in which they were queued. What other threads post,
 * and signal handlers, waits in an inbox without a lock, and joins the queue before anything else
 * does.
 */
#include "loop/loop.h"

#include <portico/host.h>

#include <math.h>

#define NANOSECONDS 1e9

/* What pco_loop_run_once may take by default where the loop has a host, in nanoseconds. */
#define HOSTED_BUDGET ((uint64_t)4 * 1000000)

/* With a budget, so many news are taken over before the clock is looked at. */
#define NEWS_AT_ONCE 8

/* ---- Time ---- */

uint64_t pco__loop_now(pco_loop *loop)
{
    if (loop->now == 0) {
        loop->now = loop->backend->class_->now(loop->backend);
    }
    return loop->now;
}

uint64_t pco__nanoseconds(double seconds)
{
    double nanoseconds = ceil(seconds * NANOSECONDS);
    if (nanoseconds >= (double)(UINT64_MAX / 4)) {
        return UINT64_MAX / 4;
    }
    return nanoseconds <= 0 ? 0 : (uint64_t)nanoseconds;
}

double pco_loop_time(pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return (double)loop->backend->class_->now(loop->backend) / NANOSECONDS;
}

/*
 * Counts from the time it is, not from the turn's: a callback that took long must not use up the
 * limits of connections that had their turn after it.
 */
void pco__loop_start_timer(pco_loop *loop, pco__timer *timer, double seconds)
{
    if (!isinf(seconds)) {
        uint64_t now = loop->backend->class_->now(loop->backend);
        pco__timers_pass(&loop->timers, now);
        pco__loop_start_timer_at(loop, timer, now + pco__nanoseconds(seconds));
    }
}

void pco__loop_start_timer_at(pco_loop *loop, pco__timer *timer, uint64_t when)
{
    pco__timer_start(&loop->timers, timer, when);
    if (loop->timers.first == timer) {
        pco__backend_news(loop->backend);
    }
}

void pco__loop_stop_timer(pco_loop *loop, pco__timer *timer)
{
    pco__timer_stop(&loop->timers, timer);
}

/* ---- Tasks ---- */

static PCO__COLD void take_posted(pco_loop *loop)
{
    pco__inbox_take(&loop->posted, &loop->ready);
}

/* What other threads have posted before this moment comes before what is queued after it. */
static inline void let_posted_in(pco_loop *loop)
{
    if (!pco__inbox_is_empty(&loop->posted)) {
        take_posted(loop);
    }
}

void pco__loop_schedule(pco_loop *loop, pco__task *task)
{
    let_posted_in(loop);
    if (!pco__task_is_queued(task)) {
        pco__list_append(&loop->ready, &task->link);
        pco__backend_news(loop->backend);
    }
}

void pco__loop_schedule_last(pco_loop *loop, pco__task *task)
{
    let_posted_in(loop);
    pco__list_remove(&task->link);
    pco__list_append(&loop->ready, &task->link);
    pco__backend_news(loop->backend);
}

void pco__loop_unschedule(pco_loop *loop, pco__task *task)
{
    let_posted_in(loop);
    pco__list_remove(&task->link);
}

void pco__loop_post(pco_loop *loop, pco__task *task)
{
    if (pco__inbox_add(&loop->posted, &task->link)) {
        loop->backend->class_->wake(loop->backend, false);
    }
}

/* ---- Callbacks ---- */

/* In debug mode: when a callback begins. */
static uint64_t debug_begin(pco_loop *loop)
{
    return loop->debug ? loop->backend->class_->now(loop->backend) : 0;
}

static void callback_ended(pco_loop *loop, uint64_t began)
{
    pco__loop_after_callback(loop);
    if (loop->debug) {
        pco__loop_report_slow(loop, began);
    }
}

static PCO__COLD void complete_watched(pco__backend *backend, pco__op *op,
                                       const pco__result *result, pco__submit *submit)
{
    uint64_t began = debug_begin(backend->loop);
    if (op->done(op, result)) {
        submit(backend, op);
    }
    callback_ended(backend->loop, began);
}

void pco__loop_watch_callbacks(pco_loop *loop)
{
    loop->backend->complete = loop->debug ? complete_watched : NULL;
}

/* ---- The turn ---- */

/*
 * What arrived before a limit had passed is in time, though it still waits in the system, because
 * there was more than one poll() takes over, or a callback took long: so it is looked at first. The
 * number of polls is that in which all sockets have their turn, or busy ones could keep timers from
 * running.
 */
static void catch_up(pco_loop *loop)
{
    pco__backend *backend = loop->backend;
    size_t batch = backend->class_->batch;
    size_t polls = (size_t)backend->reported < batch ? 1 : backend->attached / batch + 1;
    for (; polls != 0 && backend->reported > 0; polls--) {
        backend->class_->poll(backend, 0, &loop->stopped);
    }
    let_posted_in(loop);
}

static void fire(pco_loop *loop, pco__timer *timer)
{
    uint64_t began = debug_begin(loop);
    timer->fire(timer);
    callback_ended(loop, began);
}

/* There is a timer. */
static PCO__COLD void run_due_timers(pco_loop *loop)
{
    uint64_t now = pco__loop_now(loop);
    pco__timer *timer;
    if (loop->backend->reported > 0 && loop->timers.first->when <= now) {
        catch_up(loop);
    }
    while ((timer = pco__timers_take_due(&loop->timers, now)) != NULL) {
        fire(loop, timer);
    }
}

static PCO__COLD void run_watched(pco_loop *loop, pco__task *task)
{
    uint64_t began = debug_begin(loop);
    task->run(task);
    callback_ended(loop, began);
}

/* There is one. */
static inline void run_first_task(pco_loop *loop)
{
    pco__task *task = PCO__CONTAINER(loop->running.next, pco__task, link);
    pco__list_remove(&task->link);
    if (loop->debug) {
        run_watched(loop, task);
    } else {
        task->run(task);
        pco__loop_after_callback(loop);
    }
}

static PCO__NOINLINE void run_tasks(pco_loop *loop)
{
    pco__list_move(&loop->ready, &loop->running);
    while (!pco__list_is_empty(&loop->running)) {
        run_first_task(loop);
    }
}

/* Neither a task nor a timer waits. */
static inline bool is_idle(const pco_loop *loop)
{
    return loop->timers.first == NULL && pco__list_is_empty(&loop->ready);
}

/* How long poll() may wait when the caller would wait for `limit`. */
static PCO__NOINLINE uint64_t poll_timeout(pco_loop *loop, uint64_t limit)
{
    if (!pco__list_is_empty(&loop->ready)) {
        return 0;
    }
    if (loop->timers.first == NULL || limit == 0) {
        return limit;
    }
    uint64_t now = pco__loop_now(loop);
    uint64_t when = loop->timers.first->when;
    uint64_t wait = when > now ? when - now : 0;
    loop->now = 0;
    return wait < limit ? wait : limit;
}

static void run_timers_and_tasks(pco_loop *loop)
{
    if (loop->timers.first != NULL) {
        run_due_timers(loop);
    }
    run_tasks(loop);
}

/*
 * Runs one turn. Returns whether a stop was asked for before it began; only the first is then a
 * whole one. *idle: nothing but poll() was to be done, nor is at the next.
 */
static inline bool turn(pco_loop *loop, uint64_t timeout, bool first, bool *idle)
{
    loop->backend->class_->poll(loop->backend, timeout, &loop->stopped);
    let_posted_in(loop);
    *idle = is_idle(loop);
    if (!*idle && (!loop->stopped || first)) {
        run_timers_and_tasks(loop);
    }
    loop->now = 0;
    if (loop->stopped) {
        loop->stopped = false;
        return true;
    }
    return false;
}

static PCO__NOINLINE bool one_turn(pco_loop *loop, uint64_t limit, bool first)
{
    bool idle;
    return turn(loop, poll_timeout(loop, limit), first, &idle);
}

/* ---- A turn with a budget ---- */

/*
 * How many polls a turn has: those in which all sockets have their turn, once; and one for what
 * came meanwhile, where a timer is due: see catch_up().
 */
static size_t polls_of_turn(const pco_loop *loop)
{
    return (loop->backend->attached + NEWS_AT_ONCE - 1) / NEWS_AT_ONCE + 1;
}

static bool needs_another_poll(pco_loop *loop)
{
    pco__backend *backend = loop->backend;
    if (loop->polls > 1 &&
        (backend->reported >= NEWS_AT_ONCE || backend->class_->due_in(backend) == 0)) {
        return true;
    }
    return loop->polls != 0 && backend->reported > 0 && loop->timers.first != NULL &&
           loop->timers.first->when <= loop->due_by;
}

static void poll_once_more(pco_loop *loop, uint64_t timeout)
{
    pco__backend *backend = loop->backend;
    int usual = backend->most;
    backend->most = NEWS_AT_ONCE;
    backend->class_->poll(backend, timeout, &loop->stopped);
    backend->most = usual;
    let_posted_in(loop);
    loop->polls--;
    loop->due_by = backend->class_->now(backend);
    if (!needs_another_poll(loop)) {
        loop->phase = PCO__PHASE_TIMERS;
    }
}

/*
 * By the time at which the last poll ended, however often the turn stops in between: a timer that
 * is due since is not to come before what arrived in time while the host did other things.
 */
static void fire_one(pco_loop *loop)
{
    pco__timer *timer = pco__timers_take_due(&loop->timers, loop->due_by);
    if (timer != NULL) {
        fire(loop, timer);
    } else {
        pco__list_move(&loop->ready, &loop->running);
        loop->phase = PCO__PHASE_TASKS;
    }
}

static void run_one_task(pco_loop *loop)
{
    if (!pco__list_is_empty(&loop->running)) {
        run_first_task(loop);
    }
    if (pco__list_is_empty(&loop->running)) {
        loop->phase = PCO__PHASE_NONE;
    }
}

/* As little of a turn as can be done at a time. */
static void step(pco_loop *loop, uint64_t timeout)
{
    switch (loop->phase) {
    case PCO__PHASE_NONE:
        loop->polls = polls_of_turn(loop);
        loop->phase = PCO__PHASE_POLLS;
        poll_once_more(loop, timeout);
        return;
    case PCO__PHASE_POLLS:
        poll_once_more(loop, 0);
        return;
    case PCO__PHASE_TIMERS:
        fire_one(loop);
        return;
    case PCO__PHASE_TASKS:
        run_one_task(loop);
        return;
    }
}

/* Goes on with a turn, or begins one, until it has ended or the budget is used up. */
static PCO__COLD void part_of_turn(pco_loop *loop, uint64_t limit, uint64_t budget)
{
    pco__backend *backend = loop->backend;
    uint64_t timeout = loop->phase == PCO__PHASE_NONE ? poll_timeout(loop, limit) : 0;
    if (timeout != 0) {
        step(loop, timeout);
    }
    uint64_t end = backend->class_->now(backend) + budget;
    do {
        step(loop, 0);
    } while (loop->phase != PCO__PHASE_NONE && backend->class_->now(backend) < end);
    loop->now = 0;
    loop->stopped = false;
}

void pco__loop_drop_phase(pco_loop *loop)
{
    pco__list_move(&loop->ready, &loop->running);
    pco__list_move(&loop->running, &loop->ready);
    loop->phase = PCO__PHASE_NONE;
}

int pco_loop_set_turn_budget(pco_loop *loop, double seconds)
{
    pco__loop_check_thread(loop);
    if (pco__check_seconds(seconds, true, "seconds", NULL) != 0) {
        return PCO_EINVAL;
    }
    loop->budget = isinf(seconds) ? PCO__FOREVER : pco__nanoseconds(seconds);
    return 0;
}

static uint64_t budget_of(const pco_loop *loop)
{
    if (loop->budget != 0) {
        return loop->budget;
    }
    return pco__loop_has_host(loop) ? HOSTED_BUDGET : PCO__FOREVER;
}

/* ---- Between turns ---- */

/* Before a turn, the user's code has run outside of callbacks, or as a condition. */
static void before_turn(pco_loop *loop)
{
    pco__loop_after_callback(loop);
    loop->now = 0;
}

void pco__loop_turn_of_freeing(pco_loop *loop)
{
    before_turn(loop);
    one_turn(loop, PCO__FOREVER, true);
}

void pco__loop_drop_timers(pco_loop *loop)
{
    pco__timer *timer;
    while ((timer = pco__timers_take_due(&loop->timers, UINT64_MAX)) != NULL) {
        timer->fire(timer);
    }
    run_tasks(loop);
}

/* ---- Running ---- */

static int begin_run(pco_loop *loop)
{
    int code = pco__loop_claim(loop);
    if (code == 0) {
        loop->is_running = true;
        pco__loop_update_careful(loop);
        before_turn(loop);
    }
    return code;
}

/* The same for who waits, which is its host's part where the loop is hosted. */
static int begin_long_run(pco_loop *loop)
{
    int code = pco__shared_get(&loop->keeper) == NULL ? begin_run(loop) : PCO_EBUSY;
    if (code == 0) {
        pco__loop_drop_phase(loop);
    }
    return code;
}

static void end_run(pco_loop *loop)
{
    loop->is_running = false;
    pco__loop_update_careful(loop);
    pco__loop_release(loop);
}

int pco_loop_run_forever(pco_loop *loop)
{
    int code = begin_long_run(loop);
    if (code != 0) {
        return code;
    }
    bool stop = one_turn(loop, PCO__FOREVER, true);
    bool idle = is_idle(loop);
    while (!stop) {
        uint64_t timeout = idle ? PCO__FOREVER : poll_timeout(loop, PCO__FOREVER);
        stop = turn(loop, timeout, false, &idle);
    }
    end_run(loop);
    return 0;
}

int pco_loop_run_once(pco_loop *loop, double timeout)
{
    if (pco__check_seconds(timeout, true, "timeout", NULL) != 0) {
        return PCO_EINVAL;
    }
    int code = timeout == 0 ? begin_run(loop) : begin_long_run(loop);
    if (code != 0) {
        return code;
    }
    uint64_t limit = isinf(timeout) ? PCO__FOREVER : pco__nanoseconds(timeout);
    uint64_t budget = budget_of(loop);
    if (budget != PCO__FOREVER) {
        part_of_turn(loop, limit, budget);
    } else {
        pco__loop_drop_phase(loop);
        one_turn(loop, limit, true);
    }
    end_run(loop);
    return 0;
}

int pco_loop_run_until(pco_loop *loop, pco_condition condition, void *context, double timeout)
{
    if (condition == NULL || pco__check_seconds(timeout, true, "timeout", NULL) != 0) {
        return PCO_EINVAL;
    }
    int code = begin_long_run(loop);
    if (code != 0) {
        return code;
    }
    uint64_t start = loop->backend->class_->now(loop->backend);
    uint64_t end = isinf(timeout) ? PCO__FOREVER : start + pco__nanoseconds(timeout);
    bool first = true;
    while (!condition(context)) {
        uint64_t now = end == PCO__FOREVER ? 0 : loop->backend->class_->now(loop->backend);
        if (now >= end) {
            code = PCO_ETIMEDOUT;
            break;
        }
        before_turn(loop);
        if (one_turn(loop, end == PCO__FOREVER ? PCO__FOREVER : end - now, first)) {
            code = condition(context) ? 0 : PCO_ECANCELED;
            break;
        }
        first = false;
    }
    end_run(loop);
    return code;
}

void pco_loop_stop(pco_loop *loop)
{
    loop->backend->class_->wake(loop->backend, true);
}

bool pco_loop_is_running(const pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return loop->is_running;
}
