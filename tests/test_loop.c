/* SPDX-License-Identifier: MIT */
/*
 * Goal: the loop runs what it is given in the documented order, stops when it is told to, refuses
 * what makes no sense, reports trouble, and gives everything back when it is freed.
 * Method: the fake backend, whose time stands still unless somebody waits.
 */
#include "support.h"

#include "support/error.h"

static pco_loop *loop;
static char story[128];
static connection a;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    loop = fake_loop_new();
    connection_init(&a, false);
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    connection_free(&a);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void tell(void *context)
{
    strncat(story, context, sizeof story - strlen(story) - 1);
}

static void soon(const char *text)
{
    assert_int_equal(pco_loop_call_soon(loop, tell, (void *)(uintptr_t)text, NULL), 0);
}

/* ---- The order of a turn ---- */

static void callbacks_run_in_the_order_of_the_calls_each_once(void **state)
{
    (void)state;
    soon("a");
    soon("b");
    assert_int_equal(pco_loop_call_soon_threadsafe(loop, tell, "c", NULL), 0);
    assert_int_equal(pco_loop_call_soon_threadsafe(loop, tell, "d", NULL), 0);
    assert_string_equal(story, "");
    run_turns(loop, 1);
    assert_string_equal(story, "abcd");
    run_turns(loop, 3);
    assert_string_equal(story, "abcd");
}

static void tell_and_call(void *context)
{
    tell(context);
    pco_loop_call_soon(loop, tell, "n", NULL);
    pco_loop_call_soon_threadsafe(loop, tell, "t", NULL);
    pco_loop_call_later(loop, 0, tell, "l", NULL);
}

static void what_a_callback_schedules_runs_in_the_next_turn(void **state)
{
    (void)state;
    pco_loop_call_soon(loop, tell_and_call, "1", NULL);
    soon("2");
    run_turns(loop, 1);
    assert_string_equal(story, "12");
    run_turns(loop, 1);
    assert_int_equal(strlen(story), 5);
    assert_non_null(strchr(story, 'n'));
    assert_non_null(strchr(story, 't'));
    assert_non_null(strchr(story, 'l'));
}

static void tell_of_data(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    tell("i");
}

static void input_and_output_come_before_callbacks_and_timers(void **state)
{
    (void)state;
    a.protocol.at[DATA] = tell_of_data;
    connection_open(&a, loop);
    pco_loop_call_later(loop, 0, tell, "t", NULL);
    soon("s");
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_string_equal(story, "ist");
}

static void what_waited_while_the_clock_jumped_comes_before_the_timers(void **state)
{
    static connection others[4];

    (void)state;
    fake_of(loop)->batch = 1; /* of the news of five sockets */
    a.protocol.at[DATA] = tell_of_data;
    connection_open(&a, loop);
    for (size_t i = 0; i < 4; i++) {
        connection_init(&others[i], false);
        others[i].protocol.at[DATA] = tell_of_data;
        connection_open(&others[i], loop);
    }
    pco_loop_call_later(loop, 1, tell, "t", NULL);
    fake_feed(a.socket, "x", 1);
    for (size_t i = 0; i < 4; i++) {
        fake_feed(others[i].socket, "x", 1);
    }
    fake_advance(loop, 5);
    run_turns(loop, 1);
    assert_string_equal(story, "iiiiit");
    for (size_t i = 0; i < 4; i++) {
        pco_transport_abort(others[i].transport);
        run_turns(loop, 2);
        connection_free(&others[i]);
    }
}

static void dawdle_and_feed(recorder *self, pco_transport *transport)
{
    connection *other = self->context;

    (void)transport;
    tell("d");
    fake_advance(loop, 5);
    fake_feed(other->socket, "x", 1);
}

static void what_arrives_during_a_long_callback_comes_before_the_timers(void **state)
{
    connection other;

    (void)state;
    connection_init(&other, false);
    a.protocol.at[DATA] = dawdle_and_feed;
    a.protocol.context = &other;
    other.protocol.at[DATA] = tell_of_data;
    connection_open(&a, loop);
    connection_open(&other, loop);
    fake_of(loop)->batch = 1; /* so that its news cannot come with those of the first */
    pco_loop_call_later(loop, 1, tell, "t", NULL);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_string_equal(story, "dit");
    pco_transport_abort(other.transport);
    run_turns(loop, 2);
    connection_free(&other);
}

static void post(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    tell("d");
    pco_loop_call_soon_threadsafe(loop, tell, "p", NULL);
}

static void fire_in_silence(pco__timer *timer)
{
    (void)timer;
    tell("t");
}

static void what_is_posted_while_the_news_come_before_the_timers_runs_in_that_turn(void **state)
{
    connection other;
    pco__timer timer = {.fire = fire_in_silence};

    (void)state;
    connection_init(&other, false);
    other.protocol.at[DATA] = post;
    connection_open(&a, loop);
    connection_open(&other, loop);
    fake_of(loop)->batch = 1;
    pco__loop_start_timer(loop, &timer, 1);
    fake_feed(a.socket, "x", 1);
    fake_feed(other.socket, "x", 1);
    fake_advance(loop, 5);
    run_turns(loop, 1);
    assert_string_equal(story, "dtp");
    pco_transport_abort(other.transport);
    run_turns(loop, 2);
    connection_free(&other);
}

static void feed_again(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    tell("i");
    fake_feed(a.socket, "x", 1);
}

static void a_peer_that_sends_without_end_does_not_hold_up_timers(void **state)
{
    (void)state;
    fake_of(loop)->batch = 1;
    a.protocol.at[DATA] = feed_again;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    pco_loop_call_later(loop, 0, tell, "t", NULL);
    run_turns(loop, 1);
    assert_in_range(strlen(story), 2, 4);
    assert_int_equal(story[strlen(story) - 1], 't');
}

static void for_ever(void *context)
{
    unsigned *count = context;

    ++*count;
    pco_loop_call_soon(loop, for_ever, context, NULL);
}

static void callbacks_without_end_do_not_starve_the_network(void **state)
{
    unsigned count = 0;

    (void)state;
    connection_open(&a, loop);
    pco_loop_call_soon(loop, for_ever, &count, NULL);
    for (unsigned i = 1; i <= 10; i++) {
        fake_feed(a.socket, "x", 1);
        run_turns(loop, 1);
        assert_int_equal(count, i);
        assert_int_equal(a.protocol.counts[DATA], i);
    }
}

static void a_hundred_thousand_callbacks_and_timers_run(void **state)
{
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(pco_loop_call_soon(loop, tell, "", NULL), 0);
        assert_int_equal(pco_loop_call_later(loop, 1 + i % 7, tell, "", NULL), 0);
    }
    pco_loop_call_later(loop, 8, tell, "z", NULL);
    for (unsigned i = 0; i < 20 && strlen(story) == 0; i++) {
        count++;
        pco_loop_run_once(loop, INFINITY);
    }
    assert_string_equal(story, "z");
    assert_true(count <= 10);
}

/* ---- Handles ---- */

static pco_handle *victim;

static void cancel_victim(void *context)
{
    tell(context);
    pco_handle_cancel(victim);
}

static void a_canceled_callback_does_not_run(void **state)
{
    pco_handle *first;
    pco_handle *second;

    (void)state;
    pco_loop_call_soon(loop, tell, "a", &first);
    pco_loop_call_soon_threadsafe(loop, tell, "b", &second);
    soon("c");
    pco_handle_cancel(first);
    pco_handle_cancel(first);
    pco_handle_cancel(second);
    assert_true(pco_handle_cancelled(first));
    run_turns(loop, 2);
    assert_string_equal(story, "c");
    pco_handle_cancel(first);
    pco_handle_release(first);
    pco_handle_release(second);
}

static void a_callback_can_be_canceled_by_an_earlier_one_of_the_same_turn(void **state)
{
    (void)state;
    pco_loop_call_soon(loop, cancel_victim, "a", NULL);
    pco_loop_call_soon(loop, tell, "b", &victim);
    soon("c");
    run_turns(loop, 2);
    assert_string_equal(story, "ac");
    pco_handle_release(victim);
}

static void a_callback_can_cancel_itself_while_it_runs(void **state)
{
    (void)state;
    pco_loop_call_soon(loop, cancel_victim, "a", &victim);
    run_turns(loop, 2);
    assert_string_equal(story, "a");
    assert_true(pco_handle_cancelled(victim));
    pco_handle_release(victim);
}

static void a_handle_can_be_released_before_and_after_its_callback(void **state)
{
    pco_handle *early;
    pco_handle *late;
    pco_handle *canceled;

    (void)state;
    pco_loop_call_soon(loop, tell, "a", &early);
    pco_loop_call_soon(loop, tell, "b", &late);
    pco_loop_call_soon(loop, tell, "c", &canceled);
    pco_handle_release(early);
    pco_handle_cancel(canceled);
    pco_handle_release(canceled);
    run_turns(loop, 2);
    assert_string_equal(story, "ab");
    assert_false(pco_handle_cancelled(late));
    pco_handle_release(late);
}

/* ---- Running ---- */

static double waited(double limit)
{
    double before = pco_loop_time(loop);

    assert_int_equal(pco_loop_run_once(loop, limit), 0);
    return pco_loop_time(loop) - before;
}

static void a_turn_waits_no_longer_than_it_may(void **state)
{
    (void)state;
    assert_true(waited(0) == 0);
    assert_true(fabs(waited(1.5) - 1.5) < 1e-6);
    pco_loop_call_later(loop, 1, tell, "a", NULL);
    assert_true(fabs(waited(9) - 1) < 1e-6);
    soon("b");
    assert_true(waited(INFINITY) == 0);
    pco_loop_call_soon_threadsafe(loop, tell, "c", NULL);
    assert_true(waited(INFINITY) == 0);
    assert_string_equal(story, "abc");
}

static void a_turn_ends_when_something_happens(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    assert_true(waited(100) == 0);
    assert_int_equal(a.protocol.counts[DATA], 1);
}

static unsigned asked;

static bool never(void *context)
{
    (void)context;
    asked++;
    return false;
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const double bad[] = {NAN, -1, -INFINITY};
    pco_handle *untouched = (pco_handle *)&loop;

    (void)state;
    asked = 0;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_run_once(loop, bad[i]), PCO_EINVAL);
        assert_int_equal(pco_loop_run_until(loop, never, NULL, bad[i]), PCO_EINVAL);
    }
    assert_int_equal(asked, 0);
    assert_int_equal(pco_loop_run_until(loop, NULL, NULL, 1), PCO_EINVAL);
    assert_int_equal(pco_loop_call_soon(loop, NULL, NULL, &untouched), PCO_EINVAL);
    assert_int_equal(pco_loop_call_soon_threadsafe(loop, NULL, NULL, &untouched), PCO_EINVAL);
    assert_ptr_equal(untouched, &loop);
    assert_int_equal(fake_of(loop)->polls, 0);
}

/* Whether it is asked for the nth time. */
static bool is_asked_often(void *context)
{
    return ++asked >= *(const unsigned *)context;
}

static void a_condition_is_asked_before_the_first_turn_and_after_each(void **state)
{
    unsigned once = 1;
    unsigned thrice = 3;

    (void)state;
    asked = 0;
    assert_int_equal(pco_loop_run_until(loop, is_asked_often, &once, INFINITY), 0);
    assert_int_equal(fake_of(loop)->polls, 0);
    asked = 0;
    pco_loop_call_later(loop, 1, tell, "a", NULL);
    pco_loop_call_later(loop, 2, tell, "b", NULL);
    pco_loop_call_later(loop, 3, tell, "c", NULL);
    assert_int_equal(pco_loop_run_until(loop, is_asked_often, &thrice, INFINITY), 0);
    assert_string_equal(story, "ab");
}

static void waiting_for_a_condition_has_a_limit(void **state)
{
    double before = pco_loop_time(loop);

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", NULL);
    pco_loop_call_later(loop, 2.5, tell, "b", NULL);
    assert_int_equal(pco_loop_run_until(loop, never, NULL, 2), PCO_ETIMEDOUT);
    assert_string_equal(story, "a");
    assert_true(fabs(pco_loop_time(loop) - before - 2) < 1e-6);
    assert_int_equal(pco_loop_run_until(loop, never, NULL, 0), PCO_ETIMEDOUT);
}

static bool story_is_told(void *context)
{
    return strstr(story, context) != NULL;
}

/* ---- Stopping ---- */

static void stop(void *context)
{
    tell(context);
    pco_loop_stop(loop);
    pco_loop_call_soon(loop, tell, "n", NULL);
}

static void stopping_ends_the_run_after_the_turn(void **state)
{
    (void)state;
    pco_loop_call_soon(loop, stop, "1", NULL);
    soon("2");
    assert_int_equal(pco_loop_run_forever(loop), 0);
    assert_string_equal(story, "12");
    assert_false(pco_loop_is_running(loop));
    run_turns(loop, 1);
    assert_string_equal(story, "12n");
}

static void a_stop_counts_once(void **state)
{
    (void)state;
    pco_loop_call_soon(loop, stop, "1", NULL);
    pco_loop_call_soon(loop, stop, "2", NULL);
    pco_loop_run_forever(loop);
    assert_string_equal(story, "12");
    assert_int_equal(pco_loop_run_until(loop, story_is_told, "nn", 1), 0);
}

static void a_stop_before_the_run_lets_one_turn_happen(void **state)
{
    (void)state;
    soon("a");
    pco_loop_call_soon(loop, tell_and_call, "b", NULL);
    pco_loop_stop(loop);
    pco_loop_stop(loop);
    assert_int_equal(pco_loop_run_forever(loop), 0);
    assert_string_equal(story, "ab");
    pco_loop_stop(loop);
    asked = 0;
    assert_int_equal(pco_loop_run_until(loop, never, NULL, INFINITY), PCO_ECANCELED);
    assert_true(strlen(story) > 2);
}

static void stopping_ends_the_wait_for_a_condition(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 1, stop, "1", NULL);
    assert_int_equal(pco_loop_run_until(loop, never, NULL, INFINITY), PCO_ECANCELED);
    assert_string_equal(story, "1");
}

static void a_condition_that_holds_counts_more_than_a_stop(void **state)
{
    (void)state;
    pco_loop_stop(loop);
    soon("a");
    assert_int_equal(pco_loop_run_until(loop, story_is_told, "a", INFINITY), 0);
}

/* ---- Running inside of running ---- */

static int codes[6];

static void run_inside(void *context)
{
    (void)context;
    codes[0] = pco_loop_run_forever(loop);
    codes[1] = pco_loop_run_once(loop, 0);
    codes[2] = pco_loop_run_until(loop, never, NULL, 0);
    codes[3] = pco_loop_free(loop);
    codes[4] = pco_loop_is_running(loop);
}

static void a_loop_can_neither_run_nor_be_freed_while_it_runs(void **state)
{
    (void)state;
    asked = 0;
    pco_loop_call_soon(loop, run_inside, NULL, NULL);
    pco_loop_call_later(loop, 0, stop, "s", NULL);
    assert_false(pco_loop_is_running(loop));
    assert_int_equal(pco_loop_run_forever(loop), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(codes[i], PCO_EBUSY);
    }
    assert_true(codes[4]);
    assert_int_equal(asked, 0);
    assert_string_equal(story, "s");
}

/* ---- Wake-ups ---- */

static void a_burst_of_calls_costs_one_wake_up(void **state)
{
    (void)state;
    for (unsigned burst = 1; burst <= 3; burst++) {
        for (unsigned i = 0; i < 1000; i++) {
            assert_int_equal(pco_loop_call_soon_threadsafe(loop, tell, "", NULL), 0);
        }
        assert_int_equal(fake_wakes(loop), burst);
        run_turns(loop, 1);
    }
}

static void calls_from_the_loops_own_thread_cost_none(void **state)
{
    (void)state;
    soon("a");
    pco_loop_call_later(loop, 1, tell, "b", NULL);
    run_turns(loop, 2);
    assert_int_equal(fake_wakes(loop), 0);
}

/* ---- Trouble ---- */

static struct {
    unsigned count;
    char message[64];
    double duration;
    size_t size;
    pco_loop *loop;
    void *context;
    const pco_error *error;
} heard;

static void hear(pco_loop *of, const pco_exception_context *what, void *context)
{
    heard.count++;
    snprintf(heard.message, sizeof heard.message, "%s", what->message);
    heard.duration = what->duration;
    heard.size = what->size;
    heard.loop = of;
    heard.context = context;
    heard.error = what->error;
}

static void listen_for_trouble(void)
{
    memset(&heard, 0, sizeof heard);
    pco_loop_set_exception_handler(loop, hear, story);
}

static void the_exception_handler_hears_what_it_is_told(void **state)
{
    pco_error error = {.code = PCO_EIO};
    pco_exception_context what = {.size = sizeof what, .message = "a mishap", .error = &error};
    pco_exception_context silent = {.size = sizeof silent};

    (void)state;
    assert_int_equal(pco_loop_call_exception_handler(loop, &what), 0);
    listen_for_trouble();
    assert_int_equal(pco_loop_call_exception_handler(loop, &silent), PCO_EINVAL);
    assert_int_equal(pco_loop_call_exception_handler(loop, NULL), PCO_EINVAL);
    assert_int_equal(heard.count, 0);
    assert_int_equal(pco_loop_call_exception_handler(loop, &what), 0);
    assert_int_equal(heard.count, 1);
    assert_string_equal(heard.message, "a mishap");
    assert_ptr_equal(heard.loop, loop);
    assert_ptr_equal(heard.context, story);
    assert_ptr_equal(heard.error, &error);
    pco_loop_set_exception_handler(loop, NULL, NULL);
    assert_int_equal(pco_loop_call_exception_handler(loop, &what), 0);
    assert_int_equal(heard.count, 1);
}

static void dawdle(void *context)
{
    fake_advance(loop, *(const double *)context);
}

static void dawdle_in_a_callback(recorder *self, pco_transport *transport)
{
    (void)transport;
    dawdle(self->context);
}

static void slow_callbacks_are_reported_in_debug_mode(void **state)
{
    double little = 0.099;
    double much = 0.1;

    (void)state;
    listen_for_trouble();
    pco_loop_set_debug(loop, false);
    pco_loop_call_soon(loop, dawdle, &much, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 0);
    pco_loop_set_debug(loop, true);
    assert_true(pco_loop_get_debug(loop));
    pco_loop_call_soon(loop, dawdle, &little, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 0);
    pco_loop_call_soon(loop, dawdle, &much, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 1);
    assert_true(fabs(heard.duration - 0.1) < 1e-6);
    assert_int_equal(heard.size, sizeof(pco_exception_context));
    pco_loop_call_later(loop, 0, dawdle, &much, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 2);
    pco_loop_set_debug(loop, false);
    assert_false(pco_loop_get_debug(loop));
    pco_loop_call_soon(loop, dawdle, &much, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 2);
}

static void slow_callbacks_of_protocols_are_reported_as_well(void **state)
{
    double much = 3;

    (void)state;
    a.protocol.at[DATA] = dawdle_in_a_callback;
    a.protocol.context = &much;
    connection_open(&a, loop);
    pco_loop_set_debug(loop, true);
    listen_for_trouble();
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 1);
    assert_true(fabs(heard.duration - 3) < 1e-6);
}

/* get_buffer runs before the operation completes, so somebody else has to look at the clock. */
static void a_slow_get_buffer_is_reported_as_well(void **state)
{
    double much = 3;

    (void)state;
    connection_init(&a, true);
    a.protocol.at[GET] = dawdle_in_a_callback;
    a.protocol.context = &much;
    connection_open(&a, loop);
    listen_for_trouble();
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 0);
    pco_loop_set_debug(loop, true);
    fake_feed(a.socket, "y", 1);
    run_turns(loop, 1);
    assert_string_equal(a.protocol.log, "made get updated:1 get updated:1");
    assert_int_equal(heard.count, 1);
    assert_true(fabs(heard.duration - 3) < 1e-6);
}

static void dawdle_in_a_timer(pco__timer *timer)
{
    (void)timer;
    fake_advance(loop, 2);
}

/* Such as the one of a TLS handshake, which calls the server's handshake_failed. */
static void slow_timers_of_the_library_are_reported_as_well(void **state)
{
    pco__timer timer = {.fire = dawdle_in_a_timer};

    (void)state;
    pco_loop_set_debug(loop, true);
    listen_for_trouble();
    pco__loop_start_timer(loop, &timer, 0);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 1);
    assert_true(fabs(heard.duration - 2) < 1e-6);
}

static void what_is_slow_can_be_said(void **state)
{
    pco_loop_options options = {
        .size = sizeof options, .debug = PCO_ON, .slow_callback_duration = 2};
    double little = 1.9;
    double much = 2;

    (void)state;
    pco_loop_free(loop);
    assert_int_equal(pco__loop_new(&options, &fake_backend_class, &loop, NULL), 0);
    assert_true(pco_loop_get_debug(loop));
    listen_for_trouble();
    pco_loop_call_soon(loop, dawdle, &little, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 0);
    pco_loop_call_soon(loop, dawdle, &much, NULL);
    run_turns(loop, 1);
    assert_int_equal(heard.count, 1);
}

/* ---- Making ---- */

static void a_loop_is_made_with_the_best_backend(void **state)
{
    pco_loop *made = NULL;
    pco_loop_options options = {.size = sizeof options};

    (void)state;
    assert_int_equal(pco_loop_new(NULL, &made, NULL), 0);
    assert_int_equal(pco_loop_run_once(made, 0), 0);
    assert_int_equal(pco_loop_free(made), 0);
    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        options.backend = pco__backends[i]->name;
        assert_int_equal(pco_loop_new(&options, &made, NULL), 0);
        assert_string_equal(pco_loop_backend(made), pco__backends[i]->name);
        assert_int_equal(pco_loop_run_once(made, 0), 0);
        assert_int_equal(pco_loop_free(made), 0);
    }
    assert_string_equal(pco_loop_backend(loop), "fake");
}

static void a_backend_that_does_not_exist_is_refused_by_name(void **state)
{
    pco_loop_options options = {.size = sizeof options, .backend = "carrier pigeon"};
    pco_loop *untouched = loop;
    pco_error error = {0};

    (void)state;
    assert_int_equal(pco_loop_new(&options, &untouched, &error), PCO_EINVAL);
    assert_ptr_equal(untouched, loop);
    assert_int_equal(error.code, PCO_EINVAL);
    assert_non_null(strstr(error.message, "carrier pigeon"));
}

static int refuse(const pco__backend_class *self, const pco__backend_options *options,
                  pco__backend **backend, pco_error *error)
{
    (void)self;
    (void)options;
    (void)backend;
    return pco__error_set(error, PCO_ENOTSUP, 38, "the system refuses");
}

static void a_backend_that_the_system_refuses_is_an_error(void **state)
{
    pco__backend_class refusing = fake_backend_class;
    pco_loop *untouched = loop;
    pco_error error = {0};

    (void)state;
    refusing.init = refuse;
    assert_int_equal(pco__loop_new(NULL, &refusing, &untouched, &error), PCO_ENOTSUP);
    assert_ptr_equal(untouched, loop);
    assert_int_equal(error.system_code, 38);
}

static void options_out_of_range_are_refused(void **state)
{
    const pco_loop_options good = {.size = sizeof good};
    pco_loop_options bad[10];
    pco_error error;

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        bad[i] = good;
    }
    bad[0].size = 0;
    bad[1].size = sizeof good + 1;
    bad[2].debug = 3;
    bad[3].debug = -1;
    bad[4].slow_callback_duration = NAN;
    bad[5].slow_callback_duration = -1;
    bad[6].receive_buffer_size = 1;
    bad[7].receive_buffer_size = 4095;
    bad[8].receive_buffer_size = 16 * 1024 * 1024 + 1;
    bad[9].receive_buffer_size = SIZE_MAX;
    for (size_t i = 0; i < 10; i++) {
        pco_loop *untouched = loop;
        memset(&error, 0, sizeof error);
        assert_int_equal(pco_loop_new(&bad[i], &untouched, &error), PCO_EINVAL);
        assert_ptr_equal(untouched, loop);
        assert_int_equal(error.code, PCO_EINVAL);
        assert_true(strlen(error.message) > 10);
    }
}

static void options_at_their_bounds_are_taken(void **state)
{
    pco_loop_options good[] = {{.size = sizeof(size_t)},
                               {.size = sizeof good[0], .receive_buffer_size = 4096},
                               {.size = sizeof good[0], .receive_buffer_size = 16 * 1024 * 1024},
                               {.size = sizeof good[0], .debug = PCO_OFF},
                               {.size = sizeof good[0], .slow_callback_duration = 1e-9}};

    (void)state;
    good[0].debug = 99; /* beyond the size that is given */
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        pco_loop *made;
        assert_int_equal(pco_loop_new(&good[i], &made, NULL), 0);
        assert_int_equal(pco_loop_free(made), 0);
    }
}

static void every_allocation_of_a_loop_may_fail(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        const pco__backend_class *class_ = way == 0 ? &fake_backend_class : pco__backends[0];
        bool failed = true;
        for (size_t nth = 1; failed; nth++) {
            size_t before = memory_pieces();
            pco_loop *made = NULL;
            pco_error error = {0};
            int code;
            assert_true(nth < 50);
            memory_fail(nth, false);
            code = pco__loop_new(NULL, class_, &made, &error);
            failed = memory_has_failed();
            memory_fail(0, false);
            assert_int_equal(code, failed ? PCO_ENOMEM : 0);
            assert_int_equal(error.code, code);
            assert_true(failed == (made == NULL));
            pco_loop_free(made);
            assert_int_equal(memory_pieces(), before);
            assert_true(failed || nth > 2);
        }
    }
}

static void a_call_without_memory_is_refused(void **state)
{
    pco_handle *untouched = (pco_handle *)&loop;

    (void)state;
    memory_fail(1, true);
    assert_int_equal(pco_loop_call_soon(loop, tell, "a", &untouched), PCO_ENOMEM);
    assert_int_equal(pco_loop_call_soon_threadsafe(loop, tell, "a", &untouched), PCO_ENOMEM);
    assert_int_equal(pco_loop_call_later(loop, 0, tell, "a", &untouched), PCO_ENOMEM);
    assert_int_equal(pco_loop_call_at(loop, 0, tell, "a", &untouched), PCO_ENOMEM);
    memory_fail(0, false);
    assert_ptr_equal(untouched, &loop);
    run_turns(loop, 2);
    assert_string_equal(story, "");
}

/* ---- Freeing ---- */

static void freeing_no_loop_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_free(NULL), 0);
}

static void what_has_not_run_is_dropped_and_handles_stay_valid(void **state)
{
    pco_handle *handles[4];

    (void)state;
    pco_loop_call_soon(loop, tell, "a", &handles[0]);
    pco_loop_call_soon_threadsafe(loop, tell, "b", &handles[1]);
    pco_loop_call_later(loop, 0, tell, "c", &handles[2]);
    pco_loop_call_later(loop, 1000, tell, "d", &handles[3]);
    soon("e");
    pco_loop_call_later(loop, 5, tell, "f", NULL);
    pco_handle_cancel(handles[3]);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(story, "");
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pco_handle_cancelled(handles[i]), i == 3);
        pco_handle_cancel(handles[i]);
        assert_true(pco_handle_cancelled(handles[i]));
        pco_handle_release(handles[i]);
    }
}

static void call_while_freeing(recorder *self, pco_transport *transport)
{
    pco_loop *mine = pco_transport_get_loop(transport);

    (void)self;
    codes[0] = pco_loop_call_soon(mine, tell, "a", NULL);
    codes[1] = pco_loop_call_later(mine, 0, tell, "a", NULL);
    codes[2] = pco_loop_call_soon_threadsafe(mine, tell, "a", NULL);
    codes[3] = pco_loop_free(mine);
    codes[4] = pco_loop_run_once(mine, 0);
    codes[5] = pco_loop_call_at(mine, 0, tell, "a", NULL);
}

static void a_loop_that_is_being_freed_takes_no_more_calls(void **state)
{
    (void)state;
    a.protocol.at[LOST] = call_while_freeing;
    connection_open(&a, loop);
    soon("x");
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(a.protocol.log, "made lost");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(codes[i], PCO_ECLOSED);
    }
    assert_int_equal(codes[3], PCO_EBUSY);
    assert_int_equal(codes[4], PCO_EBUSY);
    assert_int_equal(codes[5], PCO_ECLOSED);
    assert_string_equal(story, "");
}

static void a_stop_that_nobody_heard_does_not_disturb_the_end(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_loop_stop(loop);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(a.protocol.log, "made lost");
}

static void leaks_are_reported_in_debug_mode(void **state)
{
    pco_transport *shell;

    (void)state;
    pco_loop_set_debug(loop, true);
    listen_for_trouble();
    connection_open(&a, loop);
    shell = pco_transport_retain(a.transport);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_true(heard.count >= 1);
    assert_non_null(strstr(heard.message, "retained"));
    pco_transport_release(shell);
}

static void without_leaks_nothing_is_reported(void **state)
{
    (void)state;
    pco_loop_set_debug(loop, true);
    listen_for_trouble();
    connection_open(&a, loop);
    pco_transport_abort(a.transport);
    run_turns(loop, 3);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_int_equal(heard.count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(callbacks_run_in_the_order_of_the_calls_each_once),
        TEST(what_a_callback_schedules_runs_in_the_next_turn),
        TEST(input_and_output_come_before_callbacks_and_timers),
        TEST(what_waited_while_the_clock_jumped_comes_before_the_timers),
        TEST(what_arrives_during_a_long_callback_comes_before_the_timers),
        TEST(what_is_posted_while_the_news_come_before_the_timers_runs_in_that_turn),
        TEST(a_peer_that_sends_without_end_does_not_hold_up_timers),
        TEST(callbacks_without_end_do_not_starve_the_network),
        TEST(a_hundred_thousand_callbacks_and_timers_run),
        TEST(a_canceled_callback_does_not_run),
        TEST(a_callback_can_be_canceled_by_an_earlier_one_of_the_same_turn),
        TEST(a_callback_can_cancel_itself_while_it_runs),
        TEST(a_handle_can_be_released_before_and_after_its_callback),
        TEST(a_turn_waits_no_longer_than_it_may),
        TEST(a_turn_ends_when_something_happens),
        TEST(what_makes_no_sense_is_refused),
        TEST(a_condition_is_asked_before_the_first_turn_and_after_each),
        TEST(waiting_for_a_condition_has_a_limit),
        TEST(stopping_ends_the_run_after_the_turn),
        TEST(a_stop_counts_once),
        TEST(a_stop_before_the_run_lets_one_turn_happen),
        TEST(stopping_ends_the_wait_for_a_condition),
        TEST(a_condition_that_holds_counts_more_than_a_stop),
        TEST(a_loop_can_neither_run_nor_be_freed_while_it_runs),
        TEST(a_burst_of_calls_costs_one_wake_up),
        TEST(calls_from_the_loops_own_thread_cost_none),
        TEST(the_exception_handler_hears_what_it_is_told),
        TEST(slow_callbacks_are_reported_in_debug_mode),
        TEST(slow_callbacks_of_protocols_are_reported_as_well),
        TEST(a_slow_get_buffer_is_reported_as_well),
        TEST(slow_timers_of_the_library_are_reported_as_well),
        TEST(what_is_slow_can_be_said),
        TEST(a_loop_is_made_with_the_best_backend),
        TEST(a_backend_that_does_not_exist_is_refused_by_name),
        TEST(a_backend_that_the_system_refuses_is_an_error),
        TEST(options_out_of_range_are_refused),
        TEST(options_at_their_bounds_are_taken),
        TEST(every_allocation_of_a_loop_may_fail),
        TEST(a_call_without_memory_is_refused),
        TEST(freeing_no_loop_does_nothing),
        TEST(what_has_not_run_is_dropped_and_handles_stay_valid),
        TEST(a_loop_that_is_being_freed_takes_no_more_calls),
        TEST(a_stop_that_nobody_heard_does_not_disturb_the_end),
        TEST(leaks_are_reported_in_debug_mode),
        TEST(without_leaks_nothing_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
