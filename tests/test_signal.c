/* SPDX-License-Identifier: MIT */
/*
 * Goal: a signal is told to every loop that handles it, as a task, in the order of arrival, as
 * often as it came; handlers come and go at any moment, and nothing comes after they have gone.
 * Method: the fake backend, and pco__watch_tell, which is what the system's handler does. What the
 * system has to do with it is in posix/test_signals.c and windows/test_console.c.
 */
#include "support.h"

#include "system/signals.h"

static pco_loop *loop;
static char story[128];

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    loop = fake_loop_new();
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    bool heard = pco__watch_tell(PCO_SIGINT) || pco__watch_tell(PCO_SIGTERM);
    return memory_unwatch() == 0 && !heard ? 0 : -1;
}

static void tell(void *context)
{
    strncat(story, context, sizeof story - strlen(story) - 1);
}

static void told(int number, void *context)
{
    char text[16];
    snprintf(text, sizeof text, "%s%d ", (const char *)context, number);
    tell(text);
}

static void handle(int number, pco_signal_callback callback, const char *name)
{
    void *context = (void *)(uintptr_t)name;
    assert_int_equal(pco_loop_add_signal_handler(loop, number, callback, context, NULL), 0);
}

static void come(int number)
{
    assert_true(pco__watch_tell(number));
}

static void check_story(unsigned turns, const char *expected)
{
    run_turns(loop, turns);
    assert_string_equal(story, expected);
}

/* ---- Telling ---- */

static void a_signal_wakes_the_loop_and_is_told_as_a_task(void **state)
{
    (void)state;
    handle(PCO_SIGTERM, told, "a");
    unsigned long wakes = fake_wakes(loop);
    come(PCO_SIGTERM);
    assert_string_equal(story, "");
    assert_int_equal(fake_wakes(loop), wakes + 1);
    check_story(1, "a15 ");
    check_story(3, "a15 ");
}

static void signals_and_callbacks_run_in_the_order_in_which_they_came(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told, "");
    handle(PCO_SIGHUP, told, "");
    handle(PCO_SIGTERM, told, "");
    pco_loop_call_soon(loop, tell, "a ", NULL);
    come(PCO_SIGTERM);
    pco_loop_call_soon_threadsafe(loop, tell, "b ", NULL);
    come(PCO_SIGHUP);
    pco_loop_call_soon(loop, tell, "c ", NULL);
    come(PCO_SIGINT);
    check_story(1, "a 15 b 1 c 2 ");
}

static void a_signal_is_told_as_often_as_it_came_once_per_turn(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told, "");
    handle(PCO_SIGTERM, told, "");
    come(PCO_SIGINT);
    come(PCO_SIGINT);
    come(PCO_SIGTERM);
    come(PCO_SIGINT);
    check_story(1, "2 15 ");
    check_story(1, "2 15 2 ");
    come(PCO_SIGTERM);
    check_story(1, "2 15 2 2 15 ");
    check_story(3, "2 15 2 2 15 ");
}

static void a_flood_costs_one_wake_up_and_none_is_lost(void **state)
{
    (void)state;
    unsigned turns = 0;
    handle(PCO_SIGINT, told, "");
    unsigned long wakes = fake_wakes(loop);
    for (unsigned i = 0; i < 40; i++) {
        come(PCO_SIGINT);
    }
    assert_int_equal(fake_wakes(loop), wakes + 1);
    for (; strlen(story) < 80 && turns < 100; turns++) {
        run_turns(loop, 1);
    }
    assert_int_equal(turns, 40);
    run_turns(loop, 3);
    assert_int_equal(strlen(story), 80);
}

static void each_loop_is_told(void **state)
{
    (void)state;
    pco_loop *other = fake_loop_new();
    assert_non_null(other);
    handle(PCO_SIGINT, told, "a");
    assert_int_equal(pco_loop_add_signal_handler(other, PCO_SIGINT, told, "b", NULL), 0);
    come(PCO_SIGINT);
    run_turns(other, 1);
    check_story(1, "b2 a2 ");
    assert_true(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    come(PCO_SIGINT);
    run_turns(other, 1);
    check_story(1, "b2 a2 b2 ");
    handle(PCO_SIGINT, told, "c");
    come(PCO_SIGINT);
    assert_int_equal(pco_loop_free(other), 0);
    check_story(1, "b2 a2 b2 c2 ");
}

/* ---- Coming and going ---- */

static void the_last_handler_of_a_signal_counts_also_for_what_came_before(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told, "a");
    come(PCO_SIGINT);
    handle(PCO_SIGINT, told, "b");
    check_story(1, "b2 ");
    come(PCO_SIGINT);
    check_story(1, "b2 b2 ");
    assert_true(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    assert_false(pco__watch_tell(PCO_SIGINT));
}

static void what_is_removed_is_not_told_of_what_came_before(void **state)
{
    (void)state;
    assert_false(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    handle(PCO_SIGINT, told, "a");
    handle(PCO_SIGTERM, told, "a");
    come(PCO_SIGINT);
    come(PCO_SIGTERM);
    assert_true(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    assert_false(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    assert_false(pco_loop_remove_signal_handler(loop, PCO_SIGHUP));
    assert_false(pco_loop_remove_signal_handler(loop, -1));
    assert_false(pco__watch_tell(PCO_SIGINT));
    check_story(3, "a15 ");
}

static void told_and_remove(int number, void *context)
{
    told(number, context);
    tell(pco_loop_remove_signal_handler(loop, number) ? "gone " : "none ");
}

static void a_handler_may_remove_itself(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told_and_remove, "a");
    come(PCO_SIGINT);
    come(PCO_SIGINT);
    check_story(4, "a2 gone ");
    handle(PCO_SIGINT, told, "b");
    check_story(2, "a2 gone ");
    come(PCO_SIGINT);
    check_story(2, "a2 gone b2 ");
}

static void told_and_remove_the_other(int number, void *context)
{
    told(number, context);
    pco_loop_remove_signal_handler(loop, number == PCO_SIGINT ? PCO_SIGTERM : PCO_SIGINT);
}

static void a_handler_may_remove_another_whose_turn_it_is(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told_and_remove_the_other, "");
    handle(PCO_SIGTERM, told_and_remove_the_other, "");
    come(PCO_SIGTERM);
    come(PCO_SIGINT);
    check_story(3, "15 ");
}

static void told_and_add(int number, void *context)
{
    told(number, context);
    handle(PCO_SIGTERM, told, "new ");
    handle(number, told, "replaced ");
    pco__watch_tell(PCO_SIGTERM);
    pco__watch_tell(number);
}

static void a_handler_may_add_and_replace(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told_and_add, "");
    come(PCO_SIGINT);
    check_story(1, "2 ");
    check_story(1, "2 new 15 replaced 2 ");
}

static void told_and_begin_anew(int number, void *context)
{
    told(number, context);
    pco_loop_remove_signal_handler(loop, number);
    handle(number, told, "anew ");
}

static void what_begins_anew_is_told_of_what_comes_then_only(void **state)
{
    (void)state;
    handle(PCO_SIGINT, told_and_begin_anew, "");
    come(PCO_SIGINT);
    come(PCO_SIGINT);
    check_story(3, "2 ");
    come(PCO_SIGINT);
    check_story(3, "2 anew 2 ");
}

/* ---- The end of the loop ---- */

static int code_of_late_add;
static bool late_remove;

static void add_late(void *context)
{
    (void)context;
    pco_error error;
    code_of_late_add = pco_loop_add_signal_handler(loop, PCO_SIGINT, told, "", &error);
    late_remove = pco_loop_remove_signal_handler(loop, PCO_SIGTERM);
}

static void a_loop_that_is_freed_has_no_handlers_and_takes_none(void **state)
{
    (void)state;
    pco_handle *handle_of_call = NULL;
    handle(PCO_SIGINT, told, "");
    handle(PCO_SIGTERM, told, "");
    come(PCO_SIGINT);
    come(PCO_SIGTERM);
    come(PCO_SIGTERM);
    assert_int_equal(pco_loop_call_soon(loop, tell, "x", &handle_of_call), 0);
    pco_handle_set_dropped(handle_of_call, add_late);
    late_remove = true;
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    pco_handle_release(handle_of_call);
    assert_int_equal(code_of_late_add, PCO_ECLOSED);
    assert_false(late_remove);
    assert_string_equal(story, "");
    assert_false(pco__watch_tell(PCO_SIGINT));
    assert_false(pco__watch_tell(PCO_SIGTERM));
}

/* ---- What cannot be ---- */

static void what_is_no_signal_is_refused_with_a_sentence(void **state)
{
    (void)state;
    /* SIGILL, SIGFPE, SIGKILL, SIGSEGV by the numbers that they have on every system. */
    static const int bad[] = {0, -1, INT32_MIN, 129, 1000, INT32_MAX, 4, 8, 9, 11};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pco_error error = {0};
        char number[16];
        snprintf(number, sizeof number, "%d", bad[i]);
        assert_int_equal(pco_loop_add_signal_handler(loop, bad[i], told, "", &error), PCO_EINVAL);
        assert_int_equal(error.code, PCO_EINVAL);
        assert_non_null(strstr(error.message, number));
        assert_false(pco_loop_remove_signal_handler(loop, bad[i]));
        assert_int_equal(pco_loop_add_signal_handler(loop, bad[i], told, "", NULL), PCO_EINVAL);
    }
}

static void without_a_callback_what_was_there_goes_on(void **state)
{
    (void)state;
    pco_error error = {0};
    handle(PCO_SIGINT, told, "a");
    assert_int_equal(pco_loop_add_signal_handler(loop, PCO_SIGINT, NULL, "b", &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "callback"));
    come(PCO_SIGINT);
    check_story(1, "a2 ");
}

static void without_memory_nothing_is_left(void **state)
{
    (void)state;
    for (size_t nth = 1; nth <= 2; nth++) {
        pco_error error = {0};
        memory_fail(nth, false);
        assert_int_equal(pco_loop_add_signal_handler(loop, PCO_SIGINT, told, "", &error),
                         PCO_ENOMEM);
        assert_true(memory_has_failed());
        memory_fail(0, false);
        assert_non_null(strstr(error.message, "signal 2"));
        assert_false(pco__watch_tell(PCO_SIGINT));
        assert_false(pco_loop_remove_signal_handler(loop, PCO_SIGINT));
    }
    memory_fail(2, true);
    handle(PCO_SIGINT, told, "one is enough");
    assert_false(memory_has_failed());
    handle(PCO_SIGINT, told, "none ");
    memory_fail(1, true);
    come(PCO_SIGINT);
    check_story(1, "none 2 ");
    memory_fail(0, false);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_signal_wakes_the_loop_and_is_told_as_a_task),
        TEST(signals_and_callbacks_run_in_the_order_in_which_they_came),
        TEST(a_signal_is_told_as_often_as_it_came_once_per_turn),
        TEST(a_flood_costs_one_wake_up_and_none_is_lost),
        TEST(each_loop_is_told),
        TEST(the_last_handler_of_a_signal_counts_also_for_what_came_before),
        TEST(what_is_removed_is_not_told_of_what_came_before),
        TEST(a_handler_may_remove_itself),
        TEST(a_handler_may_remove_another_whose_turn_it_is),
        TEST(a_handler_may_add_and_replace),
        TEST(what_begins_anew_is_told_of_what_comes_then_only),
        TEST(a_loop_that_is_freed_has_no_handlers_and_takes_none),
        TEST(what_is_no_signal_is_refused_with_a_sentence),
        TEST(without_a_callback_what_was_there_goes_on),
        TEST(without_memory_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
