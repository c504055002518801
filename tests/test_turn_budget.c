/* SPDX-License-Identifier: MIT */
/*
 * Goal: a turn with a budget ends when that is used up, however much there is to do, and goes on
 * where it stopped: all in its order, nothing twice, nothing starved, nothing lost.
 * Method: the fake backend, whose time passes only as callbacks say.
 */
#include "support.h"

#include <portico/host.h>

enum { SOCKETS = 40 };

static pco_loop *loop;
static char story[256];
static connection connections[SOCKETS];
static unsigned opened;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    opened = 0;
    loop = fake_loop_new();
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    while (opened != 0) {
        connection_free(&connections[--opened]);
    }
    return memory_unwatch() == 0 ? 0 : -1;
}

static void tell(const char *text)
{
    strncat(story, text, sizeof story - strlen(story) - 1);
}

static void tell_in_no_time(void *context)
{
    tell(context);
}

/* A millisecond's work. */
static void work(void *context)
{
    tell(context);
    fake_advance(loop, 0.001);
}

static void soon(const char *text)
{
    assert_int_equal(pco_loop_call_soon(loop, work, (void *)(uintptr_t)text, NULL), 0);
}

/* Runs a turn, and looks at what has happened in it. */
static void expect(const char *text)
{
    story[0] = '\0';
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_string_equal(story, text);
}

static void set_budget(double seconds)
{
    assert_int_equal(pco_loop_set_turn_budget(loop, seconds), 0);
}

static void call_many(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};

    for (unsigned i = 0; i < 6; i++) {
        soon(names[i]);
    }
}

/* ---- Callbacks ---- */

static void without_one_a_turn_does_all(void **state)
{
    (void)state;
    call_many();
    expect("abcdef");
    set_budget(0.002);
    set_budget(INFINITY);
    call_many();
    expect("abcdef");
    set_budget(0);
    call_many();
    expect("abcdef");
}

static void what_is_left_is_due_at_once_and_in_its_order(void **state)
{
    (void)state;
    set_budget(0.002);
    call_many();
    expect("ab");
    assert_true(pco_loop_next_timeout(loop) == 0);
    soon("g");
    expect("cd");
    expect("ef");
    expect("g");
    assert_true(isinf(pco_loop_next_timeout(loop)));
}

static void wake_nobody(void *context)
{
    (void)context;
}

static void in_a_host_it_is_four_milliseconds(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_host(loop, wake_nobody, NULL, NULL), 0);
    call_many();
    expect("abcd");
    expect("ef");
    set_budget(INFINITY);
    call_many();
    expect("abcdef");
    set_budget(0);
    call_many();
    expect("abcd");
    assert_int_equal(pco_loop_unhost(loop), 0);
    soon("g");
    expect("efg");
}

static void a_budget_of_nearly_nothing_still_does_something(void **state)
{
    (void)state;
    set_budget(1e-9);
    soon("a");
    soon("b");
    for (unsigned turns = 0; strcmp(story, "ab") != 0; turns++) {
        assert_true(turns < 20);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
}

static void bad_budgets_are_refused(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_set_turn_budget(loop, -1), PCO_EINVAL);
    assert_int_equal(pco_loop_set_turn_budget(loop, NAN), PCO_EINVAL);
}

static void what_is_left_may_be_canceled(void **state)
{
    pco_handle *handle = NULL;

    (void)state;
    set_budget(0.001);
    soon("a");
    assert_int_equal(pco_loop_call_soon(loop, work, "b", &handle), 0);
    soon("c");
    expect("a");
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    expect("c");
}

static void what_is_left_comes_first_in_a_turn_without_a_budget(void **state)
{
    (void)state;
    set_budget(0.001);
    call_many();
    expect("a");
    soon("g");
    set_budget(INFINITY);
    expect("bcdefg");
    set_budget(0.001);
    call_many();
    expect("a");
    story[0] = '\0';
    pco_loop_stop(loop);
    assert_int_equal(pco_loop_run_forever(loop), 0);
    assert_string_equal(story, "bcdef");
}

static unsigned dropped;

static void drop(void *context)
{
    (void)context;
    dropped++;
}

static void what_is_left_is_dropped_with_the_loop(void **state)
{
    pco_handle *handle = NULL;

    (void)state;
    dropped = 0;
    set_budget(0.001);
    soon("a");
    assert_int_equal(pco_loop_call_soon(loop, work, "b", &handle), 0);
    pco_handle_set_dropped(handle, drop);
    pco_handle_release(handle);
    expect("a");
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_int_equal(dropped, 1);
}

static void work_again(void *context)
{
    work(context);
    pco_loop_call_soon(loop, work_again, context, NULL);
}

/* ---- The network ---- */

static void work_with_data(recorder *self, pco_transport *transport)
{
    (void)transport;
    work(self->context);
}

static void open_connections(unsigned count)
{
    for (; opened < count; opened++) {
        connection_init(&connections[opened], false);
        connections[opened].protocol.at[DATA] = work_with_data;
        connections[opened].protocol.context = "n";
        connection_open(&connections[opened], loop);
    }
}

static void feed_all(void)
{
    for (unsigned i = 0; i < opened; i++) {
        fake_feed(connections[i].socket, "x", 1);
    }
}

static void a_flood_ends_the_turn_a_few_news_at_a_time(void **state)
{
    unsigned turns = 0;
    unsigned heard = 0;

    (void)state;
    open_connections(SOCKETS);
    set_budget(0.002);
    feed_all();
    while (pco_loop_next_timeout(loop) == 0) {
        story[0] = '\0';
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
        assert_true(strlen(story) <= 8); /* news are taken over by eights */
        heard += (unsigned)strlen(story);
        turns++;
    }
    assert_int_equal(heard, SOCKETS);
    assert_true(turns >= SOCKETS / 8);
}

static void callbacks_without_end_do_not_starve_the_network(void **state)
{
    unsigned turns = 0;

    (void)state;
    open_connections(1);
    set_budget(0.002);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_call_soon(loop, work_again, "c", NULL), 0);
    }
    feed_all();
    while (connections[0].protocol.counts[DATA] < 3) {
        assert_true(turns++ < 12);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
        if (connections[0].socket->input_length == 0) {
            feed_all();
        }
    }
}

static void feed_again(recorder *self, pco_transport *transport)
{
    work_with_data(self, transport);
    feed_all();
}

static void a_flood_without_end_does_not_starve_callbacks_and_timers(void **state)
{
    unsigned turns = 0;

    (void)state;
    open_connections(SOCKETS);
    set_budget(0.002);
    feed_all();
    for (unsigned i = 0; i < opened; i++) {
        connections[i].protocol.at[DATA] = feed_again;
    }
    assert_int_equal(pco_loop_call_later(loop, 0, work, "t", NULL), 0);
    soon("c");
    do {
        assert_true(turns++ < 100);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
        story[0] = strchr(story, 't') != NULL && strchr(story, 'c') != NULL ? '!' : story[0];
        if (story[0] != '!' && strchr(story, 'c') == NULL && strchr(story, 't') == NULL) {
            story[0] = '\0';
        }
    } while (story[0] != '!');
    for (unsigned i = 0; i < opened; i++) {
        connections[i].protocol.at[DATA] = NULL;
    }
}

static void what_arrived_before_a_limit_is_in_time(void **state)
{
    unsigned turns = 0;

    (void)state;
    open_connections(SOCKETS);
    set_budget(0.002);
    assert_int_equal(pco_loop_call_later(loop, 1, work, "t", NULL), 0);
    feed_all();
    fake_advance(loop, 5); /* the limit passes, and all of this waits still */
    while (strchr(story, 't') == NULL) {
        assert_true(turns++ < 100);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
    assert_int_equal(strlen(story), SOCKETS + 1);
    assert_int_equal(story[SOCKETS], 't');
}

static void what_arrives_while_the_host_is_busy_is_in_time_too(void **state)
{
    unsigned turns = 0;

    (void)state;
    open_connections(1);
    set_budget(0.002);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(pco_loop_call_later(loop, 1, tell_in_no_time, "a", NULL), 0);
    }
    assert_int_equal(pco_loop_call_later(loop, 3, tell_in_no_time, "t", NULL), 0);
    fake_advance(loop, 1);
    fake_of(loop)->tick = 100000; /* so that the first timers alone use the budget up */
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_string_equal(story, "");
    feed_all();
    fake_advance(loop, 5);
    while (strchr(story, 't') == NULL || strchr(story, 'n') == NULL) {
        assert_true(turns++ < 200);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
    assert_true(strchr(story, 'n') < strchr(story, 't'));
}

/* ---- Timers ---- */

static void timers_that_are_due_do_not_hold_a_turn_up(void **state)
{
    unsigned turns = 0;

    (void)state;
    set_budget(0.002);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(pco_loop_call_later(loop, 1, work, i % 2 == 0 ? "t" : "u", NULL), 0);
    }
    fake_advance(loop, 1);
    fake_of(loop)->tick = 100000; /* so does asking for the time */
    while (strlen(story) < 100) {
        size_t before = strlen(story);
        assert_true(turns++ < 200);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
        assert_true(strlen(story) - before <= 2);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(story[i], i % 2 == 0 ? 't' : 'u');
    }
}

static void what_it_waits_does_not_count(void **state)
{
    (void)state;
    set_budget(0.002);
    assert_int_equal(pco_loop_call_later(loop, 1, work, "t", NULL), 0);
    assert_int_equal(pco_loop_call_later(loop, 1, work, "u", NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 60), 0);
    assert_string_equal(story, "tu");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_one_a_turn_does_all),
        TEST(what_is_left_is_due_at_once_and_in_its_order),
        TEST(in_a_host_it_is_four_milliseconds),
        TEST(a_budget_of_nearly_nothing_still_does_something),
        TEST(bad_budgets_are_refused),
        TEST(what_is_left_may_be_canceled),
        TEST(what_is_left_comes_first_in_a_turn_without_a_budget),
        TEST(what_is_left_is_dropped_with_the_loop),
        TEST(a_flood_ends_the_turn_a_few_news_at_a_time),
        TEST(callbacks_without_end_do_not_starve_the_network),
        TEST(a_flood_without_end_does_not_starve_callbacks_and_timers),
        TEST(what_arrived_before_a_limit_is_in_time),
        TEST(what_arrives_while_the_host_is_busy_is_in_time_too),
        TEST(timers_that_are_due_do_not_hold_a_turn_up),
        TEST(what_it_waits_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
