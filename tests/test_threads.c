/* SPDX-License-Identifier: MIT */
/*
 * Goal: other threads, and signal handlers, can wake, feed and stop a loop; nothing that they post
 * is lost or runs out of order; loops of several threads do not disturb each other.
 * Method: threads of platform.h on this system's backends. Each thread ends by signing off, and
 * the test waits for that in a loop of its own, so that nothing is freed under a thread's feet.
 * The thread sanitizer watches.
 */
#include "support.h"

#include <signal.h>

#define WORKERS 4

/* ---- Threads ---- */

static struct {
    pco__mutex *mutex;
    pco_loop *room; /* where the test waits */
    unsigned at_work;
} gate;

typedef struct worker {
    void (*work)(struct worker *self);
    unsigned number;
    pco_loop *loop;
    unsigned failures;
} worker;

static worker workers[WORKERS];

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    memset(&gate, 0, sizeof gate);
    memset(workers, 0, sizeof workers);
    return pco__mutex_new(&gate.mutex) == 0 && pco_loop_new(NULL, &gate.room, NULL) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(gate.room);
    pco__mutex_free(gate.mutex);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void run_worker(void *context)
{
    worker *self = context;

    self->work(self);
    pco__mutex_lock(gate.mutex);
    gate.at_work--;
    pco__mutex_unlock(gate.mutex);
}

static void begin(unsigned number, void (*work)(worker *self), pco_loop *loop)
{
    workers[number] = (worker){.work = work, .number = number, .loop = loop};
    pco__mutex_lock(gate.mutex);
    gate.at_work++;
    pco__mutex_unlock(gate.mutex);
    assert_int_equal(pco__thread_start(run_worker, &workers[number], NULL), 0);
}

static bool all_have_signed_off(void *context)
{
    bool all;

    (void)context;
    pco__mutex_lock(gate.mutex);
    all = gate.at_work == 0;
    pco__mutex_unlock(gate.mutex);
    return all;
}

/* Waits until every thread is through. */
static void join(void)
{
    for (unsigned i = 0; i < 60000 && !all_have_signed_off(NULL); i++) {
        pco_loop_run_once(gate.room, 0.001);
    }
    assert_true(all_have_signed_off(NULL));
    for (size_t i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].failures, 0);
    }
}

/* Calls a test for each backend of this system. */
static void with_each_backend(void (*test)(pco_loop *loop))
{
    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        pco_loop_options options = {.size = sizeof options, .debug = PCO_ON};
        pco_loop *loop = NULL;
        options.backend = pco__backends[i]->name;
        assert_int_equal(pco_loop_new(&options, &loop, NULL), 0);
        test(loop);
        join();
        assert_int_equal(pco_loop_free(loop), 0);
    }
}

/* ---- Calls from other threads ---- */

#define CALLS 2000

typedef struct call {
    unsigned worker;
    unsigned number;
} call;

static call calls[WORKERS][CALLS];
static unsigned next_call[WORKERS];
static unsigned calls_run;
static unsigned disorder;

static void run_call(void *context)
{
    const call *self = context;

    disorder += self->number != next_call[self->worker];
    next_call[self->worker] = self->number + 1;
    calls_run++;
}

static void post_calls(worker *self)
{
    for (unsigned i = 0; i < CALLS; i++) {
        call *mine = &calls[self->number][i];
        *mine = (call){.worker = self->number, .number = i};
        self->failures += pco_loop_call_soon_threadsafe(self->loop, run_call, mine, NULL) != 0;
    }
}

static bool all_calls_have_run(void *context)
{
    (void)context;
    return calls_run == WORKERS * CALLS;
}

static void begin_posting(pco_loop *loop)
{
    calls_run = 0;
    disorder = 0;
    memset(next_call, 0, sizeof next_call);
    for (unsigned i = 0; i < WORKERS; i++) {
        begin(i, post_calls, loop);
    }
}

static void post_and_run(pco_loop *loop)
{
    begin_posting(loop);
    assert_int_equal(pco_loop_run_until(loop, all_calls_have_run, NULL, 60), 0);
    assert_int_equal(disorder, 0);
}

static void calls_from_several_threads_all_run_each_threads_in_order(void **state)
{
    (void)state;
    with_each_backend(post_and_run);
}

static void a_burst_from_several_threads_costs_one_wake_up(void **state)
{
    pco_loop *loop = fake_loop_new();

    (void)state;
    assert_non_null(loop);
    begin_posting(loop);
    join();
    assert_int_equal(fake_wakes(loop), 1);
    run_turns(loop, 1);
    assert_true(all_calls_have_run(NULL));
    assert_int_equal(disorder, 0);
    assert_int_equal(pco_loop_free(loop), 0);
}

static void post_and_leave(pco_loop *loop)
{
    begin_posting(loop);
    join();
}

static void calls_that_have_not_run_are_dropped_with_the_loop(void **state)
{
    (void)state;
    with_each_backend(post_and_leave);
    assert_int_equal(calls_run, 0);
}

/* ---- Waking ---- */

static unsigned rounds;

static void end_round(void *context)
{
    (void)context;
    rounds++;
}

static void wake_once(worker *self)
{
    self->failures += pco_loop_call_soon_threadsafe(self->loop, end_round, NULL, NULL) != 0;
}

static void sleep_and_be_woken(pco_loop *loop)
{
    rounds = 0;
    for (unsigned i = 1; i <= 50; i++) {
        begin(0, wake_once, loop);
        for (unsigned turns = 0; turns < 5 && rounds < i; turns++) {
            assert_int_equal(pco_loop_run_once(loop, 20), 0);
        }
        assert_int_equal(rounds, i);
        join();
    }
}

static void a_waiting_loop_wakes_up_for_a_call(void **state)
{
    (void)state;
    with_each_backend(sleep_and_be_woken);
}

/* Two loops, each on its thread, which call each other in turns. */
static pco_loop *sides[2];
static unsigned hops;

static void hop(void *context)
{
    unsigned side = hops++ % 2;

    (void)context;
    if (hops <= 500) {
        pco_loop_call_soon_threadsafe(sides[1 - side], hop, NULL, NULL);
    } else {
        pco_loop_stop(sides[side]);
        pco_loop_stop(sides[1 - side]);
    }
}

static void run_a_side(worker *self)
{
    self->failures += pco_loop_run_forever(self->loop) != 0;
}

static void two_loops_call_each_other(void **state)
{
    (void)state;
    hops = 0;
    assert_int_equal(pco_loop_new(NULL, &sides[0], NULL), 0);
    assert_int_equal(pco_loop_new(NULL, &sides[1], NULL), 0);
    assert_int_equal(pco_loop_call_soon(sides[0], hop, NULL, NULL), 0);
    begin(1, run_a_side, sides[1]);
    assert_int_equal(pco_loop_run_forever(sides[0]), 0);
    join();
    assert_int_equal(hops, 501);
    assert_int_equal(pco_loop_free(sides[0]), 0);
    assert_int_equal(pco_loop_free(sides[1]), 0);
}

/* ---- Stopping ---- */

static void stop_it(worker *self)
{
    pco_loop_stop(self->loop);
}

static void run_and_be_stopped(pco_loop *loop)
{
    for (unsigned i = 0; i < 50; i++) {
        begin(0, stop_it, loop);
        assert_int_equal(pco_loop_run_forever(loop), 0);
        join();
    }
}

static void another_thread_stops_the_loop(void **state)
{
    (void)state;
    with_each_backend(run_and_be_stopped);
}

static pco_loop *to_be_stopped;

static void on_signal(int number)
{
    (void)number;
    pco_loop_stop(to_be_stopped);
}

static void raise_signal(void *context)
{
    (void)context;
    raise(SIGINT);
}

static void run_and_be_interrupted(pco_loop *loop)
{
    to_be_stopped = loop;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(signal(SIGINT, on_signal) != SIG_ERR);
        assert_int_equal(pco_loop_call_soon(loop, raise_signal, NULL, NULL), 0);
        assert_int_equal(pco_loop_run_forever(loop), 0);
    }
    signal(SIGINT, SIG_DFL);
}

static void a_signal_handler_stops_the_loop(void **state)
{
    (void)state;
    with_each_backend(run_and_be_interrupted);
}

/* ---- Whose thread it is ---- */

static void run_for_a_while(worker *self)
{
    pco_handle *handle;

    rounds = 0;
    self->failures += pco_loop_run_once(self->loop, 0) != 0; /* so that it is this thread's */
    self->failures += pco_loop_call_later(self->loop, 0, end_round, NULL, NULL) != 0;
    self->failures += pco_loop_run_once(self->loop, 20) != 0;
    self->failures += pco_loop_call_soon_threadsafe(self->loop, end_round, NULL, &handle) != 0;
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    self->failures += pco_loop_run_once(self->loop, 20) != 0;
    self->failures += rounds != 1;
}

/* In debug mode, so that a mistake would end the program. */
static void run_elsewhere(pco_loop *loop)
{
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    begin(0, run_a_side, loop);
    pco_loop_stop(loop);
    join();
}

static void a_loop_belongs_to_the_thread_that_runs_it(void **state)
{
    (void)state;
    with_each_backend(run_elsewhere);
}

static pco_protocol *refuse(void *context)
{
    (void)context;
    return NULL;
}

static void stop_loop(void *context)
{
    pco_loop_stop(context);
}

static pco_server *served;

static void serve(worker *self)
{
    self->failures += pco_server_serve_forever(served, NULL) != 0;
    self->failures += !pco_server_is_serving(served);
    pco_server_free(served);
}

/* In debug mode, too. */
static void serve_elsewhere(pco_loop *loop)
{
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = refuse, .host = "127.0.0.1"};

    assert_int_equal(pco_loop_create_server(loop, &options, &served, NULL), 0);
    assert_int_equal(pco_loop_call_soon(loop, stop_loop, loop, NULL), 0);
    begin(0, serve, loop);
    join();
}

static void serving_for_ever_makes_the_loop_this_threads(void **state)
{
    (void)state;
    with_each_backend(serve_elsewhere);
}

static void stop_self(void *context)
{
    stop_it(context);
}

/* Each makes, runs and frees a loop of its own. */
static void live_alone(worker *self)
{
    for (unsigned i = 0; i < 20; i++) {
        if (pco_loop_new(NULL, &self->loop, NULL) != 0) {
            self->failures++;
            return;
        }
        pco_loop_call_soon(self->loop, stop_self, self, NULL);
        self->failures += pco_loop_run_forever(self->loop) != 0;
        self->failures += pco_loop_free(self->loop) != 0;
    }
}

static void loops_of_several_threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WORKERS; i++) {
        begin(i, live_alone, NULL);
    }
    join();
}

static void a_handle_from_a_threadsafe_call_can_be_canceled(void **state)
{
    pco_loop *loop = NULL;

    (void)state;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    begin(0, run_for_a_while, loop);
    join();
    assert_int_equal(pco_loop_free(loop), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_from_several_threads_all_run_each_threads_in_order),
        TEST(a_burst_from_several_threads_costs_one_wake_up),
        TEST(calls_that_have_not_run_are_dropped_with_the_loop),
        TEST(a_waiting_loop_wakes_up_for_a_call),
        TEST(two_loops_call_each_other),
        TEST(another_thread_stops_the_loop),
        TEST(a_signal_handler_stops_the_loop),
        TEST(a_loop_belongs_to_the_thread_that_runs_it),
        TEST(serving_for_ever_makes_the_loop_this_threads),
        TEST(loops_of_several_threads_do_not_disturb_each_other),
        TEST(a_handle_from_a_threadsafe_call_can_be_canceled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
