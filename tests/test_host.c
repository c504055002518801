/* SPDX-License-Identifier: MIT */
/*
 * Goal: in somebody else's loop a turn is asked for whenever one is due, once, by whatever made it
 * due; bad hosts get an error, and never a hang; hosting ends at any time; nothing is lost.
 * Method: the test is the host. wake_up counts, and the test waits for the count, without a limit:
 * a wake-up that does not come is a test that does not end. That none comes is looked at once the
 * thread has ended. Most of it runs on the fake backend and on all of this system's.
 */
#include "support.h"

#include <portico/host.h>

typedef struct host {
    pco_loop *loop;
    pco__mutex *mutex; /* guards the next six */
    pco__condition *condition;
    unsigned calls;
    unsigned heard; /* of these calls */
    bool is_hosted; /* or wake_up must not be called */
    bool at_the_gate;
    bool gate_is_open;
    unsigned violations;
    int answers[4]; /* what the library answered inside wake_up */
    unsigned ran;
    void (*at_wake_up)(struct host *self);
} host;

static const pco__backend_class *tested_class;
static host a;

/* ---- The host ---- */

static void wake_up(void *context)
{
    host *self = context;
    if (self->at_wake_up != NULL) {
        self->at_wake_up(self);
    }
    pco__mutex_lock(self->mutex);
    self->violations += !self->is_hosted;
    self->calls++;
    pco__condition_wake(self->condition);
    pco__mutex_unlock(self->mutex);
}

static unsigned calls_of(host *self)
{
    pco__mutex_lock(self->mutex);
    unsigned calls = self->calls;
    pco__mutex_unlock(self->mutex);
    return calls;
}

/* Waits until wake_up has been called since this was last waited for. */
static void wait_for_call(host *self)
{
    pco__mutex_lock(self->mutex);
    while (self->calls == self->heard) {
        pco__condition_wait(self->condition, self->mutex);
    }
    self->heard = self->calls;
    pco__mutex_unlock(self->mutex);
}

static void set_hosted(host *self, bool hosted)
{
    pco__mutex_lock(self->mutex);
    self->is_hosted = hosted;
    pco__mutex_unlock(self->mutex);
}

static void begin_hosting(host *self)
{
    set_hosted(self, true);
    assert_int_equal(pco_loop_host(self->loop, wake_up, self, NULL), 0);
}

static void end_hosting(host *self)
{
    assert_int_equal(pco_loop_unhost(self->loop), 0);
    set_hosted(self, false);
}

/* A loop. Its turns have no budget, or how fast the machine is would decide tests. */
static void new_loop(host *self)
{
    assert_int_equal(pco__loop_new(NULL, tested_class, &self->loop, NULL), 0);
    assert_int_equal(pco_loop_set_turn_budget(self->loop, INFINITY), 0);
}

static void host_init(host *self)
{
    memset(self, 0, sizeof *self);
    assert_int_equal(pco__mutex_new(&self->mutex), 0);
    assert_int_equal(pco__condition_new(&self->condition), 0);
    new_loop(self);
}

static void host_free(host *self)
{
    assert_int_equal(pco_loop_free(self->loop), 0);
    pco__condition_free(self->condition);
    pco__mutex_free(self->mutex);
    assert_int_equal(self->violations, 0);
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    host_init(&a);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_free(&a);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void note(void *context)
{
    ++*(unsigned *)context;
}

/* Does turns as it is told to, until `ran` is so much. */
static void do_turns_until(host *self, const unsigned *ran, unsigned least)
{
    while (*ran < least) {
        wait_for_call(self);
        assert_int_equal(pco_loop_run_once(self->loop, 0), 0);
    }
}

/* ---- Being told ---- */

static void a_turn_that_is_due_is_told_of_once(void **state)
{
    (void)state;
    begin_hosting(&a);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    }
    wait_for_call(&a);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
        assert_int_equal(pco_loop_call_soon_threadsafe(a.loop, note, &a.ran, NULL), 0);
    }
    assert_int_equal(a.ran, 0);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 9);
    end_hosting(&a);
    assert_int_equal(calls_of(&a), 1);
}

static void what_was_due_before_it_was_hosted_is_told(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    begin_hosting(&a);
    do_turns_until(&a, &a.ran, 1);
}

static void note_and_call(void *context)
{
    note(context);
    pco_loop_call_soon(a.loop, note, context, NULL);
}

static void what_a_turn_leaves_is_told(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note_and_call, &a.ran, NULL), 0);
    wait_for_call(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 1);
    assert_true(pco_loop_next_timeout(a.loop) == 0);
    wait_for_call(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 2);
}

static void call_from_a_thread(void *context)
{
    const host *self = context;
    pco_loop_call_soon_threadsafe(self->loop, note, (void *)(uintptr_t)&self->ran, NULL);
}

static void what_another_thread_posts_is_told(void **state)
{
    pco__thread *thread = NULL;

    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco__thread_begin(call_from_a_thread, &a, &thread, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
    pco__thread_join(thread);
}

static void post(host *self)
{
    self->at_wake_up = NULL;
    pco_loop_call_soon_threadsafe(self->loop, note, &self->ran, NULL);
    pco_loop_stop(self->loop);
}

static void what_wake_up_posts_runs(void **state)
{
    (void)state;
    a.at_wake_up = post;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 2);
    end_hosting(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 2);
}

static void a_stop_is_told(void **state)
{
    (void)state;
    begin_hosting(&a);
    pco_loop_stop(a.loop);
    wait_for_call(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
}

/* Time passes, by itself or by the test's doing. */
static void let_pass(double seconds)
{
    if (tested_class == &fake_backend_class) {
        fake_advance(a.loop, seconds);
    }
}

static void a_timer_is_told_when_it_is_due(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_later(a.loop, 0.05, note, &a.ran, NULL), 0);
    wait_for_call(&a); /* it is due earlier than what was due before: nothing */
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    let_pass(0.05);
    do_turns_until(&a, &a.ran, 1);
}

static void a_timer_that_is_earlier_than_all_others_is_told(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_later(a.loop, 3600, note, &a.ran, NULL), 0);
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_later(a.loop, 0, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
    assert_int_equal(a.ran, 1);
}

static void several_loops_have_one_host(void **state)
{
    host others[3];

    (void)state;
    begin_hosting(&a);
    for (unsigned i = 0; i < 3; i++) {
        host_init(&others[i]);
        begin_hosting(&others[i]);
        assert_int_equal(pco_loop_call_soon(others[i].loop, note, &others[i].ran, NULL), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        do_turns_until(&others[i], &others[i].ran, 1);
    }
    end_hosting(&others[1]);
    for (unsigned i = 0; i < 3; i++) {
        host_free(&others[i]);
    }
    end_hosting(&a);
    assert_int_equal(calls_of(&a), 0);
}

/* ---- What the network makes due, and what is done to it between turns ---- */

static pco_server *server;
static recorder ends[2]; /* the server's, the client's */
static pco_transport *transports[2];
static unsigned completed;

static void remember(recorder *self, pco_transport *transport)
{
    transports[self - ends] = transport;
}

static pco_protocol *give_end(void *context)
{
    return &((recorder *)context)->protocol;
}

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    completed += error == NULL;
}

/* A server and a client of it, in the hosted loop, by wake-ups alone. */
static void connect_both(void)
{
    pco_server_options serving = {.size = sizeof serving,
                                  .protocol_factory = give_end,
                                  .context = &ends[0],
                                  .host = "127.0.0.1"};
    pco_connection_options connecting = {.size = sizeof connecting,
                                         .protocol_factory = give_end,
                                         .context = &ends[1],
                                         .host = "127.0.0.1"};
    pco_address address;

    completed = 0;
    for (unsigned i = 0; i < 2; i++) {
        recorder_init(&ends[i], false);
        ends[i].at[MADE] = remember;
    }
    assert_int_equal(pco_loop_create_server(a.loop, &serving, &server, NULL), 0);
    assert_int_equal(pco_server_get_sockname(server, 0, &address), 0);
    connecting.port = pco_address_port(&address);
    assert_int_equal(pco_loop_create_connection(a.loop, &connecting, connected, NULL, NULL, NULL),
                     0);
    do_turns_until(&a, &completed, 1);
    do_turns_until(&a, &ends[0].counts[MADE], 1);
}

/* All that is still there ends, by wake-ups alone. */
static void end_both(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ends[i].counts[LOST] == 0) {
            pco_transport_abort(transports[i]);
        }
        do_turns_until(&a, &ends[i].counts[LOST], 1);
        assert_null(ends[i].violation);
        recorder_free(&ends[i]);
    }
    pco_server_free(server);
    end_hosting(&a);
}

static void connections_live_by_wake_ups_alone(void **state)
{
    (void)state;
    begin_hosting(&a);
    connect_both();
    assert_int_equal(pco_transport_write(transports[1], "hello", 5), 0);
    do_turns_until(&a, &ends[0].counts[DATA], 1);
    pco_transport_write_eof(transports[1]);
    do_turns_until(&a, &ends[0].counts[END], 1);
    end_both();
}

static void closing_between_turns_is_told(void **state)
{
    (void)state;
    begin_hosting(&a);
    connect_both();
    pco_transport_close(transports[0]);
    do_turns_until(&a, &ends[0].counts[LOST], 1);
    do_turns_until(&a, &ends[1].counts[LOST], 1);
    end_both();
}

static void resuming_between_turns_is_told(void **state)
{
    (void)state;
    begin_hosting(&a);
    connect_both();
    pco_transport_pause_reading(transports[0]);
    assert_int_equal(pco_transport_write(transports[1], "hello", 5), 0);
    assert_int_equal(ends[0].counts[DATA], 0);
    pco_transport_resume_reading(transports[0]);
    do_turns_until(&a, &ends[0].counts[DATA], 1);
    end_both();
}

static void closed(pco_server *of, void *context)
{
    (void)of;
    note(context);
}

static void closing_a_server_between_turns_is_told(void **state)
{
    unsigned calls = 0;

    (void)state;
    begin_hosting(&a);
    connect_both();
    pco_server_wait_closed(server, closed, &calls);
    pco_server_close(server);
    pco_server_close_clients(server);
    do_turns_until(&a, &calls, 1);
    end_both();
}

static void what_the_system_does_not_take_at_once_follows(void **state)
{
    static unsigned char much[4 << 20];

    (void)state;
    begin_hosting(&a);
    connect_both();
    assert_int_equal(pco_transport_write(transports[1], much, sizeof much), 0);
    while (ends[0].length < sizeof much) {
        wait_for_call(&a);
        assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    }
    end_both();
}

/* ---- Bad hosts ---- */

static void no_wake_up_is_invalid(void **state)
{
    pco_error error;

    (void)state;
    assert_int_equal(pco_loop_host(a.loop, NULL, NULL, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "wake_up"));
}

static void hosting_twice_is_busy(void **state)
{
    pco_error error;

    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_host(a.loop, wake_up, &a, &error), PCO_EBUSY);
    assert_non_null(strstr(error.message, "hosted already"));
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
}

static void host_inside(void *context)
{
    pco_error error;
    note(context);
    a.answers[0] = pco_loop_host(a.loop, wake_up, &a, &error);
    a.answers[1] = strstr(error.message, "runs") != NULL;
}

static void hosting_a_loop_that_runs_is_busy(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_soon(a.loop, host_inside, &a.ran, NULL), 0);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.answers[0], PCO_EBUSY);
    assert_true(a.answers[1]);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
}

static void host_and_count(void *context)
{
    a.answers[0] = pco_loop_host(a.loop, wake_up, &a, NULL);
    note(context);
}

static void a_loop_that_is_being_freed_is_not_hosted(void **state)
{
    pco_handle *handle = NULL;

    (void)state;
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, &handle), 0);
    pco_handle_set_dropped(handle, host_and_count);
    assert_int_equal(pco_loop_free(a.loop), 0);
    assert_int_equal(a.ran, 1);
    assert_int_equal(a.answers[0], PCO_ECLOSED);
    pco_handle_release(handle);
    new_loop(&a);
}

static bool is_so(void *context)
{
    (void)context;
    return true;
}

static void to_wait_is_the_hosts_part(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_run_forever(a.loop), PCO_EBUSY);
    assert_int_equal(pco_loop_run_once(a.loop, 0.001), PCO_EBUSY);
    assert_int_equal(pco_loop_run_once(a.loop, INFINITY), PCO_EBUSY);
    assert_int_equal(pco_loop_run_until(a.loop, is_so, NULL, 0), PCO_EBUSY);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    end_hosting(&a);
    pco_loop_stop(a.loop);
    assert_int_equal(pco_loop_run_forever(a.loop), 0);
    assert_int_equal(pco_loop_run_until(a.loop, is_so, NULL, 0), 0);
}

static void a_server_is_not_served_in_a_hosted_loop(void **state)
{
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = give_end,
                                  .host = "127.0.0.1",
                                  .start_serving = PCO_OFF};
    pco_error error;

    (void)state;
    assert_int_equal(pco_loop_create_server(a.loop, &options, &server, NULL), 0);
    begin_hosting(&a);
    assert_int_equal(pco_server_serve_forever(server, &error), PCO_EBUSY);
    assert_non_null(strstr(error.message, "hosted"));
    assert_int_equal(pco_server_serve_until_signal(server, 0, &error), PCO_EBUSY);
    assert_false(pco_server_is_serving(server));
    pco_server_free(server);
}

static void run_inside(void *context)
{
    a.answers[0] = pco_loop_run_once(a.loop, 0);
    a.answers[1] = pco_loop_free(a.loop);
    a.answers[2] = pco_loop_is_running(a.loop);
    pco_loop_call_soon_threadsafe(a.loop, note, context, NULL);
    a.answers[3] = pco_loop_run_once(a.loop, 0);
}

static void a_turn_inside_of_a_turn_is_busy_and_nothing_is_lost(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, run_inside, &a.ran, NULL), 0);
    wait_for_call(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.answers[0], PCO_EBUSY);
    assert_int_equal(a.answers[1], PCO_EBUSY);
    assert_true(a.answers[2]);
    assert_int_equal(a.answers[3], PCO_EBUSY);
    wait_for_call(&a); /* for what was posted while the inner ones were refused */
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 1);
}

static void do_what_it_must_not(host *self)
{
    self->at_wake_up = NULL;
    self->answers[0] = pco_loop_unhost(self->loop);
    self->answers[1] = pco_loop_run_once(self->loop, 0);
    self->answers[2] = pco_loop_free(self->loop);
    self->answers[3] = pco_loop_host(self->loop, wake_up, self, NULL);
}

static void inside_wake_up_all_that_ends_or_runs_it_is_busy(void **state)
{
    (void)state;
    a.at_wake_up = do_what_it_must_not;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(a.answers[i], PCO_EBUSY);
    }
}

static void a_host_that_does_not_listen_finds_all_there(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_later(a.loop, 0, note, &a.ran, NULL), 0);
    wait_for_call(&a);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(pco_loop_call_soon_threadsafe(a.loop, note, &a.ran, NULL), 0);
        let_pass(0.01);
    }
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 1001);
    end_hosting(&a);
    assert_int_equal(calls_of(&a), 1);
}

static void call_again_and_again(void *context)
{
    const host *self = context;
    for (unsigned i = 0; i < 1000; i++) {
        pco_loop_call_soon_threadsafe(self->loop, note, (void *)(uintptr_t)&self->ran, NULL);
    }
}

static void a_host_that_spins_loses_nothing(void **state)
{
    pco__thread *thread = NULL;

    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco__thread_begin(call_again_and_again, &a, &thread, NULL), 0);
    while (a.ran < 1000) {
        assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    }
    pco__thread_join(thread);
    assert_int_equal(a.ran, 1000);
}

/* ---- Coming and going ---- */

static void unhost_inside(void *context)
{
    a.answers[0] = pco_loop_unhost(a.loop);
    set_hosted(&a, false);
    pco_loop_call_soon(a.loop, note, context, NULL);
}

static void hosting_ends_inside_a_callback(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, unhost_inside, &a.ran, NULL), 0);
    wait_for_call(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.answers[0], 0);
    assert_int_equal(pco_loop_run_once(a.loop, 0.001), 0);
    assert_int_equal(a.ran, 1);
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 2);
}

static void a_loop_that_is_not_hosted_may_be_unhosted(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_unhost(a.loop), 0);
    begin_hosting(&a);
    assert_int_equal(pco_loop_unhost(a.loop), 0);
    assert_int_equal(pco_loop_unhost(a.loop), 0);
}

static void a_hosted_loop_may_be_freed(void **state)
{
    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    assert_int_equal(pco_loop_free(a.loop), 0);
    set_hosted(&a, false);
    assert_int_equal(a.ran, 0);
    new_loop(&a);
}

static void a_wake_up_that_races_with_the_end_does_not_come_after_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        pco__thread *thread = NULL;
        begin_hosting(&a);
        assert_int_equal(pco__thread_begin(call_from_a_thread, &a, &thread, NULL), 0);
        if (i % 3 == 1) {
            assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
        }
        end_hosting(&a);
        pco__thread_join(thread);
    }
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 300);
}

static void wait_at_the_gate(host *self)
{
    pco__mutex_lock(self->mutex);
    self->at_the_gate = true;
    pco__condition_wake(self->condition);
    while (!self->gate_is_open) {
        pco__condition_wait(self->condition, self->mutex);
    }
    pco__mutex_unlock(self->mutex);
}

static void wait_until_it_is_at_the_gate(host *self)
{
    pco__mutex_lock(self->mutex);
    while (!self->at_the_gate) {
        pco__condition_wait(self->condition, self->mutex);
    }
    pco__mutex_unlock(self->mutex);
}

static void open_the_gate(void *context)
{
    host *self = context;
    pco__mutex_lock(self->mutex);
    self->gate_is_open = true;
    pco__condition_wake(self->condition);
    pco__mutex_unlock(self->mutex);
}

static void turns_do_not_wait_for_wake_up_and_the_end_does(void **state)
{
    pco__thread *thread = NULL;

    (void)state;
    a.at_wake_up = wait_at_the_gate;
    begin_hosting(&a);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    wait_until_it_is_at_the_gate(&a);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.ran, 1);
    assert_int_equal(calls_of(&a), 0);
    assert_int_equal(pco__thread_begin(open_the_gate, &a, &thread, NULL), 0);
    end_hosting(&a); /* the call that was inside counts before this is set */
    assert_int_equal(calls_of(&a), 1);
    pco__thread_join(thread);
}

/* ---- Other threads ---- */

static void try_all(void *context)
{
    host *self = context;
    self->answers[0] = pco_loop_run_once(self->loop, 0);
    self->answers[1] = pco_loop_host(self->loop, wake_up, self, NULL);
    self->answers[2] = pco_loop_unhost(self->loop);
    self->answers[3] = pco_loop_free(self->loop);
}

static void on_another_thread_a_hosted_loop_is_busy(void **state)
{
    pco__thread *thread = NULL;

    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco__thread_begin(try_all, &a, &thread, NULL), 0);
    pco__thread_join(thread);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(a.answers[i], PCO_EBUSY);
    }
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
}

static void try_all_on_a_thread(void *context)
{
    pco__thread *thread = NULL;
    note(context);
    if (pco__thread_begin(try_all, &a, &thread, NULL) == 0) {
        pco__thread_join(thread);
    }
}

static void on_another_thread_a_loop_that_runs_is_busy(void **state)
{
    (void)state;
    pco_loop_set_debug(a.loop, false); /* or it ends the program */
    assert_int_equal(pco_loop_call_soon(a.loop, try_all_on_a_thread, &a.ran, NULL), 0);
    assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    assert_int_equal(a.answers[0], PCO_EBUSY);
    assert_int_equal(a.answers[1], PCO_EBUSY);
    assert_int_equal(a.answers[2], 0); /* nobody hosts it */
    assert_int_equal(a.answers[3], PCO_EBUSY);
}

static void try_to_run_again_and_again(void *context)
{
    host *self = context;
    for (unsigned i = 0; i < 10000; i++) {
        self->answers[0] |= pco_loop_run_once(self->loop, 0) != PCO_EBUSY;
    }
    call_from_a_thread(self);
}

static void who_tries_on_another_thread_does_not_disturb_the_host(void **state)
{
    pco__thread *thread = NULL;

    (void)state;
    begin_hosting(&a);
    assert_int_equal(pco__thread_begin(try_to_run_again_and_again, &a, &thread, NULL), 0);
    while (a.ran == 0) {
        assert_int_equal(pco_loop_run_once(a.loop, 0), 0);
    }
    pco__thread_join(thread);
    assert_int_equal(a.answers[0], 0);
}

/* ---- Without memory ---- */

static void without_memory_the_loop_is_what_it_was(void **state)
{
    pco_error error;
    int code;

    (void)state;
    for (size_t nth = 1;; nth++) {
        memory_fail(nth, false);
        code = pco_loop_host(a.loop, wake_up, &a, &error);
        if (!memory_has_failed()) {
            break;
        }
        assert_int_equal(code, PCO_ENOMEM);
        assert_string_not_equal(error.message, "");
        assert_int_equal(pco_loop_run_once(a.loop, 0.0001), 0);
    }
    memory_fail(0, false);
    assert_int_equal(code, 0);
    set_hosted(&a, true);
    assert_int_equal(pco_loop_call_soon(a.loop, note, &a.ran, NULL), 0);
    do_turns_until(&a, &a.ran, 1);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest everywhere[] = {
    TEST(a_turn_that_is_due_is_told_of_once),
    TEST(what_was_due_before_it_was_hosted_is_told),
    TEST(what_a_turn_leaves_is_told),
    TEST(what_another_thread_posts_is_told),
    TEST(what_wake_up_posts_runs),
    TEST(a_stop_is_told),
    TEST(a_timer_is_told_when_it_is_due),
    TEST(a_timer_that_is_earlier_than_all_others_is_told),
    TEST(several_loops_have_one_host),
    TEST(no_wake_up_is_invalid),
    TEST(hosting_twice_is_busy),
    TEST(hosting_a_loop_that_runs_is_busy),
    TEST(a_loop_that_is_being_freed_is_not_hosted),
    TEST(to_wait_is_the_hosts_part),
    TEST(a_server_is_not_served_in_a_hosted_loop),
    TEST(a_turn_inside_of_a_turn_is_busy_and_nothing_is_lost),
    TEST(inside_wake_up_all_that_ends_or_runs_it_is_busy),
    TEST(a_host_that_does_not_listen_finds_all_there),
    TEST(a_host_that_spins_loses_nothing),
    TEST(hosting_ends_inside_a_callback),
    TEST(a_loop_that_is_not_hosted_may_be_unhosted),
    TEST(a_hosted_loop_may_be_freed),
    TEST(a_wake_up_that_races_with_the_end_does_not_come_after_it),
    TEST(turns_do_not_wait_for_wake_up_and_the_end_does),
    TEST(on_another_thread_a_hosted_loop_is_busy),
    TEST(on_another_thread_a_loop_that_runs_is_busy),
    TEST(who_tries_on_another_thread_does_not_disturb_the_host),
    TEST(without_memory_the_loop_is_what_it_was),
};

static const struct CMUnitTest with_a_network[] = {
    TEST(connections_live_by_wake_ups_alone),
    TEST(closing_between_turns_is_told),
    TEST(resuming_between_turns_is_told),
    TEST(closing_a_server_between_turns_is_told),
    TEST(what_the_system_does_not_take_at_once_follows),
};

int main(void)
{
    tested_class = &fake_backend_class;
    int failed = cmocka_run_group_tests_name("fake", everywhere, NULL, NULL);
    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        tested_class = pco__backends[i];
        failed += cmocka_run_group_tests_name(tested_class->name, everywhere, NULL, NULL);
        failed += cmocka_run_group_tests_name(tested_class->name, with_a_network, NULL, NULL);
    }
    return failed;
}
