/* SPDX-License-Identifier: MIT */
/*
 * Goal: what has changed is told once it is quiet, or after two seconds, whatever comes meanwhile
 * and from which thread; who wants to know can begin, change and end at any moment.
 * Method: the fake backend, whose time is a number, and its network, which changes when it is told
 * to. The systems' own are in posix/test_network_changed.c and windows/test_notifications.c.
 */
#include "support.h"

#include "fake_changes.h"

#include <portico/host.h>

#include <math.h>

#define ADDRESSES PCO_NETWORK_ADDRESSES
#define ROUTES PCO_NETWORK_ROUTES
#define SLEPT PCO_NETWORK_SLEPT

static pco_loop *loop;
static char story[128]; /* such as "a1 b3 " */

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
    loop = NULL;
    return memory_unwatch() == 0 && !fake_changes_are_watched() ? 0 : -1;
}

static void note(const char *name, unsigned what)
{
    size_t used = strlen(story);
    snprintf(story + used, sizeof story - used, "%s%u ", name, what);
}

static void told(pco_loop *of, unsigned what, void *context)
{
    note(of == loop ? context : "another loop's ", what);
}

static void watch_as(const char *name)
{
    void *context = (void *)(uintptr_t)name;
    assert_int_equal(pco_loop_set_network_changed(loop, told, context, NULL), 0);
}

static void end_watch(void)
{
    assert_int_equal(pco_loop_set_network_changed(loop, NULL, NULL, NULL), 0);
}

/* A change comes, and the loop has heard of it. */
static void change(unsigned what)
{
    fake_change(what);
    run_turns(loop, 1);
}

static void check_after(double seconds, const char *expected)
{
    fake_advance(loop, seconds);
    run_turns(loop, 2);
    assert_string_equal(story, expected);
}

/* ---- Telling ---- */

static void a_change_is_told_when_it_has_been_quiet_for_a_quarter_of_a_second(void **state)
{
    (void)state;
    watch_as("a");
    change(ADDRESSES);
    check_after(0.24, "");
    check_after(0.02, "a1 ");
    check_after(100, "a1 ");
}

static void what_comes_meanwhile_is_told_together(void **state)
{
    (void)state;
    watch_as("a");
    change(ADDRESSES);
    check_after(0.2, "");
    change(ROUTES);
    check_after(0.2, "");
    change(SLEPT);
    change(ROUTES);
    check_after(0.2, "");
    check_after(0.06, "a7 ");
    check_after(100, "a7 ");
}

static void what_goes_on_is_told_every_two_seconds(void **state)
{
    (void)state;
    watch_as("a");
    for (unsigned tenths = 0; tenths < 19; tenths++) {
        change(ADDRESSES);
        check_after(0.1, "");
    }
    change(ROUTES);
    check_after(0.11, "a3 ");
    for (unsigned tenths = 0; tenths < 19; tenths++) {
        change(ROUTES);
        check_after(0.1, "a3 ");
    }
    change(ROUTES);
    check_after(0.11, "a3 a2 ");
    check_after(100, "a3 a2 ");
}

static void what_comes_after_it_was_told_is_told_again(void **state)
{
    (void)state;
    watch_as("a");
    change(SLEPT);
    check_after(0.25, "a4 ");
    change(ROUTES);
    check_after(0.25, "a4 a2 ");
}

static void a_notice_without_a_change_tells_nothing(void **state)
{
    (void)state;
    watch_as("a");
    change(0);
    check_after(100, "");
}

static void a_thousand_changes_are_one_notice_and_one_call(void **state)
{
    (void)state;
    watch_as("a");
    unsigned long wakes = fake_wakes(loop);
    for (unsigned i = 0; i < 1000; i++) {
        fake_change(1u << i % 3);
    }
    assert_int_equal(fake_wakes(loop), wakes + 1);
    run_turns(loop, 1);
    check_after(0.25, "a7 ");
}

static void what_comes_while_the_loop_takes_what_came_is_not_lost(void **state)
{
    (void)state;
    watch_as("a");
    fake_change_meanwhile(ROUTES);
    change(ADDRESSES);
    check_after(0.25, "a3 ");
    change(SLEPT);
    check_after(0.25, "a3 a4 ");
}

static void a_loop_with_nothing_else_to_do_waits_for_it(void **state)
{
    (void)state;
    watch_as("a");
    change(ROUTES);
    uint64_t before = fake_of(loop)->now;
    assert_int_equal(pco_loop_run_once(loop, INFINITY), 0);
    run_turns(loop, 1);
    assert_string_equal(story, "a2 ");
    assert_true(fake_of(loop)->now - before >= 250000000);
}

/* ---- Who hears ---- */

static void who_comes_later_replaces_who_was_there(void **state)
{
    (void)state;
    watch_as("a");
    unsigned begun = fake_changes_begun();
    change(ADDRESSES);
    watch_as("b");
    change(ROUTES);
    assert_int_equal(fake_changes_begun(), begun);
    check_after(0.25, "b3 ");
}

static void ending_drops_what_was_not_told(void **state)
{
    (void)state;
    watch_as("a");
    change(ADDRESSES);
    end_watch();
    assert_false(fake_changes_are_watched());
    check_after(100, "");
}

static void ending_drops_what_was_not_even_looked_at(void **state)
{
    (void)state;
    watch_as("a");
    fake_change(ADDRESSES);
    end_watch();
    check_after(100, "");
}

static void end_from_callback(void *context)
{
    (void)context;
    pco_loop_set_network_changed(loop, NULL, NULL, NULL);
}

/* The timer fires before this runs, and the callback comes behind it. */
static void ending_as_it_is_to_be_told_drops_it(void **state)
{
    (void)state;
    watch_as("a");
    change(ADDRESSES);
    fake_advance(loop, 0.25);
    assert_int_equal(pco_loop_call_soon(loop, end_from_callback, NULL, NULL), 0);
    run_turns(loop, 3);
    assert_string_equal(story, "");
}

static void it_may_begin_again(void **state)
{
    (void)state;
    watch_as("a");
    change(ADDRESSES);
    end_watch();
    watch_as("b");
    check_after(1, "");
    change(ROUTES);
    check_after(0.25, "b2 ");
}

static void ending_what_has_not_begun_does_nothing(void **state)
{
    (void)state;
    end_watch();
    end_watch();
    watch_as("a");
    end_watch();
    end_watch();
}

/* ---- Inside the callback ---- */

static void ends(pco_loop *of, unsigned what, void *context)
{
    note(context, what);
    pco_loop_set_network_changed(of, NULL, NULL, NULL);
}

static void replaces(pco_loop *of, unsigned what, void *context)
{
    note(context, what);
    pco_loop_set_network_changed(of, told, (void *)(uintptr_t) "b", NULL);
}

static void begins_again(pco_loop *of, unsigned what, void *context)
{
    ends(of, what, context);
    pco_loop_set_network_changed(of, told, (void *)(uintptr_t) "b", NULL);
}

static void changes_more(pco_loop *of, unsigned what, void *context)
{
    (void)of;
    note(context, what);
    if (what != SLEPT) {
        fake_change(SLEPT);
    }
}

static void check_inside(pco_network_changed callback, const char *then, const char *later)
{
    void *context = (void *)(uintptr_t) "a";
    assert_int_equal(pco_loop_set_network_changed(loop, callback, context, NULL), 0);
    change(ADDRESSES);
    check_after(0.25, then);
    if (fake_changes_are_watched()) {
        change(ROUTES);
    }
    check_after(0.25, later);
    end_watch();
    story[0] = '\0';
}

static void the_callback_may_end_replace_and_begin_again(void **state)
{
    (void)state;
    check_inside(ends, "a1 ", "a1 ");
    check_inside(replaces, "a1 ", "a1 b2 ");
    check_inside(begins_again, "a1 ", "a1 b2 ");
}

static void what_changes_during_the_callback_is_told_later(void **state)
{
    (void)state;
    void *context = (void *)(uintptr_t) "a";
    assert_int_equal(pco_loop_set_network_changed(loop, changes_more, context, NULL), 0);
    change(ADDRESSES);
    check_after(0.25, "a1 ");
    check_after(0.25, "a1 a4 ");
    check_after(100, "a1 a4 ");
}

static void frees(pco_loop *of, unsigned what, void *context)
{
    note(context, what);
    note(pco_loop_free(of) == PCO_EBUSY ? "busy" : "freed", 0);
}

static void the_callback_cannot_free_the_loop(void **state)
{
    (void)state;
    void *context = (void *)(uintptr_t) "a";
    assert_int_equal(pco_loop_set_network_changed(loop, frees, context, NULL), 0);
    change(ADDRESSES);
    check_after(0.25, "a1 busy0 ");
}

static void watch_in_callback(void *context)
{
    assert_int_equal(pco_loop_set_network_changed(loop, told, context, NULL), 0);
}

static void it_may_begin_in_any_callback(void **state)
{
    (void)state;
    void *context = (void *)(uintptr_t) "a";
    assert_int_equal(pco_loop_call_soon(loop, watch_in_callback, context, NULL), 0);
    run_turns(loop, 1);
    change(ADDRESSES);
    check_after(0.25, "a1 ");
}

/* ---- In a host's loop ---- */

static void wake_up(void *context)
{
    (void)context;
}

/* It learns when to have the next turn, at once and after the quarter of a second. */
static void a_hosted_loop_tells_of_it_and_when(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_host(loop, wake_up, NULL, NULL), 0);
    watch_as("a");
    run_turns(loop, 2);
    assert_true(isinf(pco_loop_next_timeout(loop)));
    fake_change(ADDRESSES);
    assert_true(pco_loop_next_timeout(loop) == 0);
    run_turns(loop, 1);
    double seconds = pco_loop_next_timeout(loop);
    assert_true(seconds > 0.2 && seconds <= 0.25);
    check_after(0.25, "a1 ");
    end_watch();
    assert_int_equal(pco_loop_unhost(loop), 0);
}

/* ---- The end of the loop, and failures ---- */

static void the_loop_may_be_freed_at_any_moment(void **state)
{
    (void)state;
    for (unsigned moment = 0; moment < 4; moment++) {
        watch_as("a");
        if (moment >= 1) {
            fake_change(ADDRESSES);
        }
        if (moment >= 2) {
            run_turns(loop, 1);
        }
        if (moment >= 3) {
            fake_advance(loop, 0.25);
        }
        pco_loop_free(loop);
        assert_false(fake_changes_are_watched());
        loop = fake_loop_new();
    }
    assert_string_equal(story, "");
}

static struct {
    int code;
    int end_code;
    pco_error error;
} while_freeing;

static void dropped(void *context)
{
    while_freeing.code = pco_loop_set_network_changed(context, told, NULL, &while_freeing.error);
    while_freeing.end_code = pco_loop_set_network_changed(context, NULL, NULL, NULL);
}

static void never(void *context)
{
    (void)context;
}

static void a_loop_that_is_freed_watches_nothing_new(void **state)
{
    (void)state;
    pco_handle *handle = NULL;
    assert_int_equal(pco_loop_call_later(loop, 1000, never, loop, &handle), 0);
    pco_handle_set_dropped(handle, dropped);
    pco_loop_free(loop);
    pco_handle_release(handle);
    assert_int_equal(while_freeing.code, PCO_ECLOSED);
    assert_string_equal(while_freeing.error.message, "the loop is being freed");
    assert_int_equal(while_freeing.end_code, 0);
    loop = fake_loop_new();
}

static void out_of_memory_it_does_not_begin(void **state)
{
    (void)state;
    pco_error error;
    memory_fail(1, false);
    assert_int_equal(pco_loop_set_network_changed(loop, told, NULL, &error), PCO_ENOMEM);
    assert_string_equal(error.message, "watch the network: out of memory");
    assert_false(fake_changes_are_watched());
    watch_as("a");
}

static void what_the_system_refuses_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    pco_error error;
    fake_changes_error = PCO_EMFILE;
    assert_int_equal(pco_loop_set_network_changed(loop, told, NULL, &error), PCO_EMFILE);
    assert_string_equal(error.message, "watch the network: too many open files or sockets");
    check_after(1, "");
    watch_as("a");
    change(ROUTES);
    check_after(0.25, "a2 ");
}

/* ---- Threads ---- */

#define THREADS 3
#define TIMES 2000

static pco__count at_it;
static unsigned heard;

static void hear(pco_loop *of, unsigned what, void *context)
{
    (void)of;
    (void)context;
    heard |= what;
}

static void change_much(void *context)
{
    for (unsigned i = 0; i < TIMES; i++) {
        fake_change(*(const unsigned *)context);
    }
    pco__count_add(&at_it, -1);
}

static void threads_change_it_all_at_once_and_nothing_is_lost(void **state)
{
    (void)state;
    static const unsigned kinds[THREADS] = {ADDRESSES, ROUTES, SLEPT};
    heard = 0;
    assert_int_equal(pco_loop_set_network_changed(loop, hear, NULL, NULL), 0);
    pco__count_add(&at_it, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pco__thread_start(change_much, (void *)(uintptr_t)&kinds[i], NULL), 0);
    }
    while (pco__count_add(&at_it, 0) != 0) {
        run_turns(loop, 1);
        fake_advance(loop, 0.001);
    }
    run_turns(loop, 2);
    fake_advance(loop, 2);
    run_turns(loop, 2);
    assert_int_equal(heard, ADDRESSES | ROUTES | SLEPT);
    heard = 0;
    fake_change(ROUTES); /* the counts are in order: another one is noticed */
    run_turns(loop, 1);
    fake_advance(loop, 0.25);
    run_turns(loop, 2);
    assert_int_equal(heard, ROUTES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_change_is_told_when_it_has_been_quiet_for_a_quarter_of_a_second),
        TEST(what_comes_meanwhile_is_told_together),
        TEST(what_goes_on_is_told_every_two_seconds),
        TEST(what_comes_after_it_was_told_is_told_again),
        TEST(a_notice_without_a_change_tells_nothing),
        TEST(a_thousand_changes_are_one_notice_and_one_call),
        TEST(what_comes_while_the_loop_takes_what_came_is_not_lost),
        TEST(a_loop_with_nothing_else_to_do_waits_for_it),
        TEST(who_comes_later_replaces_who_was_there),
        TEST(ending_drops_what_was_not_told),
        TEST(ending_drops_what_was_not_even_looked_at),
        TEST(ending_as_it_is_to_be_told_drops_it),
        TEST(it_may_begin_again),
        TEST(ending_what_has_not_begun_does_nothing),
        TEST(the_callback_may_end_replace_and_begin_again),
        TEST(what_changes_during_the_callback_is_told_later),
        TEST(the_callback_cannot_free_the_loop),
        TEST(it_may_begin_in_any_callback),
        TEST(a_hosted_loop_tells_of_it_and_when),
        TEST(the_loop_may_be_freed_at_any_moment),
        TEST(a_loop_that_is_freed_watches_nothing_new),
        TEST(out_of_memory_it_does_not_begin),
        TEST(what_the_system_refuses_is_told_and_leaves_nothing),
        TEST(threads_change_it_all_at_once_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
