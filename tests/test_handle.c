/* SPDX-License-Identifier: MIT */
/*
 * Goal: callbacks run in the order in which they were asked for, whoever asked, the end of a
 * connection among them; and of a callback and its `dropped` exactly one runs, whatever happens.
 * Method: the fake backend, whose time stands still unless somebody waits; threads of platform.h.
 */
#include "support.h"

static pco_loop *loop;
static char story[128];
static connection a;
static connection b;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    loop = fake_loop_new();
    connection_init(&a, false);
    connection_init(&b, false);
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    connection_free(&a);
    connection_free(&b);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void tell(void *context)
{
    strncat(story, context, sizeof story - strlen(story) - 1);
}

/* The same, as what `dropped` does. */
static void tell_of_drop(void *context)
{
    tell("-");
    tell(context);
}

static void free_the_loop(void)
{
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
}

/* ---- Order ---- */

static void soon(const char *text)
{
    pco_loop_call_soon(loop, tell, (void *)(uintptr_t)text, NULL);
}

static void post(const char *text)
{
    pco_loop_call_soon_threadsafe(loop, tell, (void *)(uintptr_t)text, NULL);
}

static void calls_of_both_kinds_run_in_one_order(void **state)
{
    (void)state;
    post("1");
    soon("2");
    post("3");
    soon("4");
    run_turns(loop, 1);
    assert_string_equal(story, "1234");
}

static bool has_posted;

static void post_on_a_thread(void *mutex)
{
    post("1");
    pco__mutex_lock(mutex);
    has_posted = true;
    pco__mutex_unlock(mutex);
}

static bool thread_has_posted(pco__mutex *mutex)
{
    pco__mutex_lock(mutex);
    bool posted = has_posted;
    pco__mutex_unlock(mutex);
    return posted;
}

static void what_a_thread_had_posted_before_comes_before(void **state)
{
    (void)state;
    pco__mutex *mutex;
    pco_loop *room = fake_loop_new(); /* where the test waits */
    assert_int_equal(pco__mutex_new(&mutex), 0);
    has_posted = false;
    assert_int_equal(pco__thread_start(post_on_a_thread, mutex, NULL), 0);
    while (!thread_has_posted(mutex)) {
        pco_loop_run_once(room, 0);
    }
    soon("2");
    post("3");
    soon("4");
    run_turns(loop, 1);
    assert_string_equal(story, "1234");
    pco_loop_free(room);
    pco__mutex_free(mutex);
}

static void tell_of_loss(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    tell("L");
}

static void close_and_call(recorder *self, pco_transport *transport)
{
    (void)self;
    soon("1");
    pco_transport_close(transport);
    soon("2");
}

static void abort_the_other_and_call(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    post("1");
    pco_transport_abort(b.transport);
    post("2");
}

static void connection_lost_has_its_place_when_close_is_called(void **state)
{
    (void)state;
    a.protocol.at[DATA] = close_and_call;
    a.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_string_equal(story, "1L2");
}

static void connection_lost_has_its_place_when_another_one_aborts_it(void **state)
{
    (void)state;
    a.protocol.at[DATA] = abort_the_other_and_call;
    b.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    connection_open(&b, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_string_equal(story, "1L2");
}

static void close_between_calls(void *context)
{
    (void)context;
    soon("1");
    pco_transport_close(a.transport);
    soon("2");
}

static void connection_lost_has_its_place_after_close_in_a_callback(void **state)
{
    (void)state;
    a.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    pco_loop_call_soon(loop, close_between_calls, NULL, NULL);
    run_turns(loop, 1);
    assert_string_equal(story, "");
    run_turns(loop, 1);
    assert_string_equal(story, "1L2");
}

/* Its task was in the queue already, to deliver what was kept. */
static void a_resumed_connection_that_is_closed_takes_a_new_place(void **state)
{
    (void)state;
    a.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    pco_transport_resume_reading(a.transport);
    soon("1");
    pco_transport_close(a.transport);
    soon("2");
    run_turns(loop, 1);
    assert_string_equal(story, "1L2");
    assert_string_equal(a.protocol.log, "made lost");
}

static void connection_lost_has_its_place_when_the_last_byte_leaves(void **state)
{
    (void)state;
    a.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    soon("1");
    run_turns(loop, 1);
    a.socket->room = 1;
    soon("2");
    run_turns(loop, 1);
    assert_string_equal(story, "12L");
}

/* As on completion ports: the system still holds the operation when its turn has come. */
static void where_an_operation_is_late_connection_lost_follows_it(void **state)
{
    (void)state;
    fake_of(loop)->hold_cancels = true;
    a.protocol.at[LOST] = tell_of_loss;
    connection_open(&a, loop);
    pco_transport_close(a.transport);
    soon("1");
    run_turns(loop, 3);
    assert_string_equal(story, "1");
    soon("2");
    fake_of(loop)->hold_cancels = false;
    run_turns(loop, 1);
    assert_string_equal(story, "12L");
}

/* ---- One of the two ---- */

static pco_handle *droppable(const char *text)
{
    pco_handle *handle;
    assert_int_equal(pco_loop_call_soon(loop, tell, (void *)(uintptr_t)text, &handle), 0);
    pco_handle_set_dropped(handle, tell_of_drop);
    return handle;
}

static void a_callback_that_runs_is_not_dropped(void **state)
{
    (void)state;
    pco_handle *handle = droppable("a");
    run_turns(loop, 2);
    pco_handle_cancel(handle);
    pco_handle_set_dropped(handle, tell_of_drop);
    pco_handle_cancel(handle);
    assert_string_equal(story, "a");
    pco_handle_release(handle);
    free_the_loop();
    assert_string_equal(story, "a");
}

static void a_canceled_callback_is_dropped_inside_cancel_and_once(void **state)
{
    (void)state;
    pco_handle *handle = droppable("a");
    pco_handle_cancel(handle);
    assert_string_equal(story, "-a");
    pco_handle_cancel(handle);
    run_turns(loop, 2);
    assert_string_equal(story, "-a");
    pco_handle_release(handle);
}

static void what_is_released_is_dropped_all_the_same(void **state)
{
    (void)state;
    pco_handle_release(droppable("a"));
    free_the_loop();
    assert_string_equal(story, "-a");
}

static void dropped_may_be_set_anew_and_taken_back(void **state)
{
    (void)state;
    pco_handle *first = droppable("a");
    pco_handle *second = droppable("b");
    pco_handle_set_dropped(first, NULL);
    pco_handle_set_dropped(second, tell);
    pco_handle_cancel(first);
    pco_handle_cancel(second);
    assert_string_equal(story, "b");
    pco_handle_release(first);
    pco_handle_release(second);
}

static void of_timers_exactly_one_runs(void **state)
{
    (void)state;
    const char *const names[] = {"r", "c", "f"};
    pco_handle *handles[3];
    for (size_t i = 0; i < 3; i++) {
        void *context = (void *)(uintptr_t)names[i];
        double delay = i == 0 ? 1 : 1000;
        assert_int_equal(pco_loop_call_later(loop, delay, tell, context, &handles[i]), 0);
        pco_handle_set_dropped(handles[i], tell_of_drop);
    }
    fake_advance(loop, 2);
    run_turns(loop, 1);
    assert_string_equal(story, "r");
    pco_handle_cancel(handles[1]);
    assert_string_equal(story, "r-c");
    free_the_loop();
    assert_string_equal(story, "r-c-f");
    for (size_t i = 0; i < 3; i++) {
        pco_handle_cancel(handles[i]);
        pco_handle_release(handles[i]);
    }
    assert_string_equal(story, "r-c-f");
}

/* Due, and in the queue of the turn that frees the loop. */
static void a_timer_that_is_due_when_the_loop_is_freed_is_dropped(void **state)
{
    (void)state;
    pco_handle *handle;
    assert_int_equal(pco_loop_call_later(loop, 1, tell, "a", &handle), 0);
    pco_handle_set_dropped(handle, tell_of_drop);
    connection_open(&a, loop); /* so that freeing takes turns */
    fake_advance(loop, 2);
    free_the_loop();
    assert_string_equal(story, "-a");
    pco_handle_release(handle);
}

static void of_posted_ones_exactly_one_runs(void **state)
{
    (void)state;
    const char *const names[] = {"r", "c", "f"};
    pco_handle *handles[3];
    for (size_t i = 0; i < 3; i++) {
        void *context = (void *)(uintptr_t)names[i];
        assert_int_equal(pco_loop_call_soon_threadsafe(loop, tell, context, &handles[i]), 0);
        pco_handle_set_dropped(handles[i], tell_of_drop);
        if (i == 0) {
            run_turns(loop, 1);
        }
    }
    pco_handle_cancel(handles[1]);
    free_the_loop();
    assert_string_equal(story, "r-c-f");
    for (size_t i = 0; i < 3; i++) {
        pco_handle_release(handles[i]);
    }
}

static void dropped_may_use_what_it_is_told_of(void *context)
{
    pco_handle **handle = context;
    assert_true(pco_handle_cancelled(*handle));
    pco_handle_cancel(*handle);
    pco_handle_release(*handle);
    *handle = NULL;
}

static void dropped_may_release_its_handle(void **state)
{
    (void)state;
    pco_handle *handle;
    assert_int_equal(pco_loop_call_soon(loop, tell, &handle, &handle), 0);
    pco_handle_set_dropped(handle, dropped_may_use_what_it_is_told_of);
    pco_handle_cancel(handle);
    assert_null(handle);
    assert_string_equal(story, "");
}

/* ---- On the thread that posted ---- */

#define POSTS 500

static unsigned ran;
static unsigned dropped;
static unsigned not_posted;

static void count_run(void *context)
{
    (void)context;
    ran++;
}

static void count_dropped(void *context)
{
    (void)context;
    dropped++;
}

static pco_handle *handles_of_thread[POSTS];

/* The loop runs at the same time: a callback may be over before this comes. */
static void post_and_set_dropped(void *mutex)
{
    for (unsigned i = 0; i < POSTS; i++) {
        pco_handle **handle = &handles_of_thread[i];
        if (pco_loop_call_soon_threadsafe(loop, count_run, NULL, handle) == 0) {
            pco_handle_set_dropped(*handle, count_dropped);
        } else {
            not_posted++;
        }
    }
    pco__mutex_lock(mutex);
    has_posted = true;
    pco__mutex_unlock(mutex);
}

static void the_posting_thread_may_set_dropped_while_the_loop_runs(void **state)
{
    (void)state;
    pco__mutex *mutex;
    assert_int_equal(pco__mutex_new(&mutex), 0);
    has_posted = false;
    ran = dropped = not_posted = 0;
    assert_int_equal(pco__thread_start(post_and_set_dropped, mutex, NULL), 0);
    while (!thread_has_posted(mutex)) {
        pco_loop_run_once(loop, 0);
    }
    free_the_loop();
    assert_int_equal(not_posted, 0);
    assert_int_equal(ran + dropped, POSTS);
    for (unsigned i = 0; i < POSTS; i++) {
        pco_handle_release(handles_of_thread[i]);
    }
    pco__mutex_free(mutex);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_of_both_kinds_run_in_one_order),
        TEST(what_a_thread_had_posted_before_comes_before),
        TEST(connection_lost_has_its_place_when_close_is_called),
        TEST(connection_lost_has_its_place_when_another_one_aborts_it),
        TEST(connection_lost_has_its_place_after_close_in_a_callback),
        TEST(a_resumed_connection_that_is_closed_takes_a_new_place),
        TEST(connection_lost_has_its_place_when_the_last_byte_leaves),
        TEST(where_an_operation_is_late_connection_lost_follows_it),
        TEST(a_callback_that_runs_is_not_dropped),
        TEST(a_canceled_callback_is_dropped_inside_cancel_and_once),
        TEST(what_is_released_is_dropped_all_the_same),
        TEST(dropped_may_be_set_anew_and_taken_back),
        TEST(of_timers_exactly_one_runs),
        TEST(a_timer_that_is_due_when_the_loop_is_freed_is_dropped),
        TEST(of_posted_ones_exactly_one_runs),
        TEST(dropped_may_release_its_handle),
        TEST(the_posting_thread_may_set_dropped_while_the_loop_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
