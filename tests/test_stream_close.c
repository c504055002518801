/* SPDX-License-Identifier: MIT */
/*
 * Goal: every connection ends exactly once, with the error it deserves, after what was written has
 * left or its time is over; whatever is called, from whichever callback, in whichever order the
 * last operations end; and with any allocation failing.
 * Method: streams on the fake backend in virtual time. The last tests go through all callbacks and
 * calls, and through all allocations of one course of events.
 */
#include "support.h"

static pco_loop *loop;
static connection a;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    connection_init(&a, false);
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    bool right;

    (void)state;
    if (loop != NULL) {
        fake_of(loop)->hold_cancels = false;
        pco_loop_free(loop);
    }
    right = connection_kept_the_rules(&a);
    connection_free(&a);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

static unsigned released;

static void count_release(const void *data, void *context)
{
    (void)data;
    (void)context;
    released++;
}

/* ---- Close ---- */

static void closing_an_idle_connection_ends_it_in_a_turn_of_its_own(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_close(a.transport);
    assert_string_equal(a.protocol.log, "made");
    assert_true(pco_transport_is_closing(a.transport));
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_true(a.socket->closed);
    assert_false(a.socket->reset);
}

static void closing_flushes_what_was_written(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 3;
    pco_transport_write(a.transport, "0123456789", 10);
    pco_transport_close(a.transport);
    pco_transport_close(a.transport);
    run_turns(loop, 5);
    assert_string_equal(a.protocol.log, "made");
    assert_false(fake_is_in_flight(a.socket, PCO__OP_RECV));
    a.socket->room = 6;
    run_turns(loop, 5);
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, 10);
    assert_memory_equal(a.socket->sent, "0123456789", 10);
}

static void write_and_close(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "bye", 3);
    pco_transport_close(transport);
}

static void what_was_written_just_before_close_leaves(void **state)
{
    (void)state;
    a.protocol.at[DATA] = write_and_close;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made data:1 lost");
    assert_int_equal(a.socket->sent_length, 3);
}

static void nothing_is_delivered_after_close(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool cancels_first = (i & 1) != 0;
        bool data_came_first = (i & 2) != 0;
        bool buffered = (i & 4) != 0;
        connection_init(&a, buffered);
        fake_of(loop)->cancels_first = cancels_first;
        connection_open(&a, loop);
        a.socket->room = 0;
        pco_transport_write(a.transport, "x", 1);
        fake_feed(a.socket, "never delivered", 15);
        fake_feed_eof(a.socket);
        if (data_came_first) {
            assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
        }
        pco_transport_close(a.transport);
        run_turns(loop, 4);
        a.socket->room = 1;
        run_turns(loop, 4);
        assert_string_equal(a.protocol.log, "made lost");
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void what_was_kept_is_dropped_by_close(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    pco_transport_resume_reading(a.transport);
    pco_transport_close(a.transport);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made lost");
}

static void a_send_that_fails_while_closing_is_told(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    a.socket->send_error = PCO_EPIPE;
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made lost:PCO_EPIPE");
}

static void a_send_that_fails_inside_close_is_told(void **state)
{
    (void)state;
    a.options.close_timeout = 30;
    a.protocol.at[DATA] = write_and_close;
    connection_open(&a, loop);
    a.socket->send_error = PCO_ECONNRESET;
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 4);
    fake_advance(loop, 100);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1 lost:PCO_ECONNRESET");
}

static void eof_received_that_returns_false_flushes_and_closes(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "answer", 6);
    fake_feed_eof(a.socket);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made end");
    assert_true(pco_transport_is_closing(a.transport));
    a.socket->room = 6;
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made end lost");
}

static void the_end_of_writing_and_close_follow_each_other(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_write_eof(a.transport);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, 1);
}

/* ---- The time limit ---- */

static void a_flush_that_takes_too_long_is_aborted(void **state)
{
    (void)state;
    released = 0;
    a.options.close_timeout = 30;
    connection_open(&a, loop);
    a.socket->room = 100;
    pco_transport_write_owned(a.transport, a.protocol.buffer, 200, count_release, NULL);
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    pco_loop_run_once(loop, 0);
    pco_loop_run_once(loop, 29.9);
    assert_string_equal(a.protocol.log, "made");
    pco_loop_run_once(loop, 0.2);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_ETIMEDOUT");
    assert_non_null(strstr(a.protocol.error.message, "close_timeout"));
    assert_int_equal(released, 1);
}

/* The peer has taken everything while the clock jumped: that is looked at before the limit. */
static void a_clock_that_jumps_does_not_cut_off_a_peer_that_took_everything(void **state)
{
    (void)state;
    a.options.close_timeout = 30;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    a.socket->room = 100;
    fake_advance(loop, 100000);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, 1);
}

static void fire_never(pco__timer *timer)
{
    (void)timer;
}

static pco__timer earlier = {.fire = fire_never};

/* Another timer of this turn is started, much time passes, and then comes the close. */
static void dawdle_and_close(recorder *self, pco_transport *transport)
{
    (void)self;
    pco__loop_start_timer(loop, &earlier, 1000);
    fake_advance(loop, 20);
    pco_transport_write(transport, "x", 1);
    pco_transport_close(transport);
}

static void what_took_long_before_close_does_not_count_for_its_limit(void **state)
{
    (void)state;
    a.options.close_timeout = 10;
    a.protocol.at[DATA] = dawdle_and_close;
    connection_open(&a, loop);
    a.socket->room = 0;
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1");
    pco_loop_run_once(loop, 9.9);
    run_turns(loop, 1);
    assert_string_equal(a.protocol.log, "made data:1");
    pco_loop_run_once(loop, 0.2);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1 lost:PCO_ETIMEDOUT");
    pco__loop_stop_timer(loop, &earlier);
}

static unsigned char much[60000];

/* Writes all of it to a peer that takes nothing yet, and closes. */
static void write_much_and_close(void)
{
    a.options.close_timeout = 10;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, much, sizeof much);
    pco_transport_close(a.transport);
}

static void pass_limit(void)
{
    fake_advance(loop, 10.1);
    run_turns(loop, 3);
}

static void a_peer_that_reads_slowly_gets_everything(void **state)
{
    (void)state;
    write_much_and_close();
    for (unsigned i = 0; i < sizeof much / 5000; i++) {
        assert_string_equal(a.protocol.log, "made");
        a.socket->room = 5000;
        run_turns(loop, 1);
        pass_limit();
    }
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, sizeof much);
    assert_false(a.socket->reset);
}

static void a_peer_that_takes_next_to_nothing_is_cut_off_by_a_reset(void **state)
{
    (void)state;
    write_much_and_close();
    a.socket->room = 4096;
    run_turns(loop, 1);
    pass_limit();
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 4095;
    run_turns(loop, 1);
    pass_limit();
    assert_string_equal(a.protocol.log, "made lost:PCO_ETIMEDOUT");
    assert_true(a.socket->reset);
}

/* It takes a while until a socket with much in it is writable again. */
static void what_the_system_holds_less_is_progress(void **state)
{
    (void)state;
    a.options.close_timeout = 10;
    connection_open(&a, loop);
    a.socket->room = 0;
    a.socket->unsent = 100000;
    pco_transport_write(a.transport, much, sizeof much);
    pco_transport_close(a.transport);
    for (unsigned i = 0; i < 5; i++) {
        a.socket->unsent -= 10000;
        pass_limit();
        assert_string_equal(a.protocol.log, "made");
    }
    pass_limit();
    assert_string_equal(a.protocol.log, "made lost:PCO_ETIMEDOUT");
    assert_true(a.socket->reset);
}

static void who_lingers_waits_for_what_the_system_still_sends(void **state)
{
    (void)state;
    a.options.close_timeout = 10;
    a.options.linger = true;
    connection_open(&a, loop);
    a.socket->unsent = 20000;
    pco_transport_write(a.transport, much, 20000);
    pco_transport_close(a.transport);
    pass_limit();
    assert_string_equal(a.protocol.log, "made");
    a.socket->unsent = 10000;
    pass_limit();
    assert_string_equal(a.protocol.log, "made");
    a.socket->unsent = 0;
    pass_limit();
    assert_string_equal(a.protocol.log, "made lost");
    assert_false(a.socket->reset);
}

static void the_time_limit_counts_from_close(void **state)
{
    (void)state;
    a.options.close_timeout = 10;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    fake_advance(loop, 100);
    run_turns(loop, 2);
    pco_transport_close(a.transport);
    pco_loop_run_once(loop, 0);
    fake_advance(loop, 9);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    fake_advance(loop, 1.1);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_ETIMEDOUT");
}

static void without_a_time_limit_a_flush_may_take_for_ever(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    fake_advance(loop, 1e9);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

static void a_connection_that_ends_in_time_hears_nothing_of_the_limit(void **state)
{
    (void)state;
    a.options.close_timeout = 10;
    connection_open(&a, loop);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    fake_advance(loop, 100);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

/* ---- Abort ---- */

static void aborting_drops_what_was_written(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "dropped", 7);
    a.socket->room = SIZE_MAX;
    pco_transport_abort(a.transport);
    assert_string_equal(a.protocol.log, "made");
    pco_transport_abort(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, 0);
    assert_false(a.socket->reset);
}

static void aborting_wins_over_closing(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    pco_transport_abort(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(a.socket->sent_length, 0);
}

static void the_peer_sees_a_reset_if_asked_for(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_abort_reset(a.transport);
    pco_transport_abort(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_true(a.socket->reset);
}

/* Two operations are in flight when the connection is aborted, and end in each way and order. */
static void connection_lost_waits_for_every_operation(void **state)
{
    static const pco__op_kind kinds[] = {PCO__OP_RECV, PCO__OP_SEND};
    static const int errors[] = {PCO_ECANCELED, 0, PCO_ECONNRESET};

    (void)state;
    for (unsigned i = 0; i < 18; i++) {
        pco__op_kind first = kinds[i % 2];
        pco__op_kind last = kinds[1 - i % 2];
        connection_init(&a, false);
        released = 0;
        connection_open(&a, loop);
        fake_of(loop)->hold_cancels = true;
        a.socket->room = 0;
        pco_transport_write_owned(a.transport, a.protocol.buffer, 250, count_release, NULL);
        pco_transport_write(a.transport, "x", 1);
        run_turns(loop, 1);
        pco_transport_abort(a.transport);
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made");
        assert_false(a.socket->closed);
        fake_feed(a.socket, "late", 4);
        a.socket->room = 5;
        assert_true(fake_decide(a.socket, first, errors[i / 2 % 3], SIZE_MAX));
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made");
        assert_true(fake_decide(a.socket, last, errors[i / 6], SIZE_MAX));
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made lost");
        assert_true(a.socket->closed);
        assert_int_equal(released, 1);
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void an_error_before_the_abort_is_told_and_one_after_it_is_not(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 1);
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_abort(a.transport);
    }
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_ECONNRESET");
    connection_free(&a);
    connection_init(&a, false);
    connection_open(&a, loop);
    pco_transport_abort(a.transport);
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

/* ---- Lingering ---- */

static void open_lingering(bool buffered)
{
    connection_init(&a, buffered);
    a.options.linger = true;
    a.options.close_timeout = 30;
    connection_open(&a, loop);
}

static void lingering_says_the_end_and_waits_for_the_peers(void **state)
{
    (void)state;
    open_lingering(false);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_true(a.socket->shut_down);
    assert_string_equal(a.protocol.log, "made");
    fake_feed(a.socket, "nobody reads this", 17);
    run_turns(loop, 3);
    assert_int_equal(a.socket->input_length, 0); /* but it was taken from the system */
    assert_string_equal(a.protocol.log, "made");
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

static void lingering_begins_after_the_last_byte(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        fake_of(loop)->cancels_first = (i & 1) != 0;
        open_lingering((i & 2) != 0);
        a.socket->room = 0;
        pco_transport_write(a.transport, "x", 1);
        run_turns(loop, 2);
        pco_transport_close(a.transport);
        a.socket->room = 1; /* it leaves before the canceled receive has ended, or after */
        run_turns(loop, 3);
        assert_true(a.socket->shut_down);
        assert_false(a.socket->closed);
        assert_string_equal(a.protocol.log, "made");
        fake_feed(a.socket, "nobody reads this", 17);
        run_turns(loop, 3);
        assert_int_equal(a.socket->input_length, 0);
        assert_string_equal(a.protocol.log, "made");
        fake_feed_eof(a.socket);
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made lost");
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void lingering_needs_no_reading_before(void **state)
{
    (void)state;
    open_lingering(false);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    pco_transport_close(a.transport);
    run_turns(loop, 4);
    assert_true(a.socket->shut_down);
    assert_false(a.socket->closed);
    fake_feed(a.socket, "nobody reads this", 17);
    run_turns(loop, 3);
    assert_int_equal(a.socket->input_length, 0);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

static void lingering_asks_a_buffered_protocol_for_nothing(void **state)
{
    (void)state;
    open_lingering(true);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    fake_feed(a.socket, "nobody reads this", 17);
    run_turns(loop, 4);
    assert_int_equal(a.socket->input_length, 0);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
}

static void lingering_has_a_limit(void **state)
{
    (void)state;
    open_lingering(false);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    for (unsigned i = 0; i < 10; i++) {
        assert_string_equal(a.protocol.log, "made");
        fake_feed(a.socket, "without end", 11);
        fake_advance(loop, 3.1);
        run_turns(loop, 3);
    }
    assert_string_equal(a.protocol.log, "made lost");
}

static void lingering_is_over_at_once_if_the_peer_has_ended(void **state)
{
    (void)state;
    open_lingering(false);
    fake_feed_eof(a.socket); /* eof_received returns false */
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made end lost");
}

static void lingering_ends_with_the_connection(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        open_lingering(false);
        pco_transport_close(a.transport);
        run_turns(loop, 2);
        if (i == 0) {
            pco_transport_abort(a.transport);
        } else {
            fake_feed_error(a.socket, PCO_ECONNRESET, 104);
        }
        run_turns(loop, 4);
        assert_int_equal(a.protocol.counts[LOST], 1);
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* ---- Every call from every callback ---- */

typedef void (*action)(recorder *self, pco_transport *transport);

static recorder second;
static unsigned char large[100000];

static void do_abort_reset(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_abort_reset(transport);
}

static void do_close_and_abort(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, large, sizeof large);
    pco_transport_close(transport);
    pco_transport_abort(transport);
}

static void do_write(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "hello", 5);
}

static void do_write_much(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, large, sizeof large);
}

static unsigned handed_over;

static void do_write_owned(recorder *self, pco_transport *transport)
{
    (void)self;
    handed_over += 2;
    pco_transport_write_owned(transport, large, 10, count_release, NULL);
    pco_transport_write_owned(transport, large, sizeof large, count_release, NULL);
}

static void do_write_eof(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, large, sizeof large);
    pco_transport_write_eof(transport);
}

static void do_switch(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_set_protocol(transport, &second.protocol);
}

static void do_set_limits(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_set_write_buffer_limits(transport, 1, 0);
}

static void do_write_and_close(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, large, sizeof large);
    pco_transport_close(transport);
}

static void do_retain_and_release(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_release(pco_transport_retain(transport));
}

static void do_run(recorder *self, pco_transport *transport)
{
    pco_loop *mine = pco_transport_get_loop(transport);

    if (pco_loop_run_once(mine, 0) != PCO_EBUSY || pco_loop_free(mine) != PCO_EBUSY) {
        self->book->violation = "the loop can be run or freed inside a callback";
    }
}

static const action actions[] = {recorder_close,
                                 recorder_abort,
                                 do_abort_reset,
                                 do_close_and_abort,
                                 recorder_pause,
                                 do_write,
                                 do_write_much,
                                 do_write_owned,
                                 do_write_eof,
                                 do_switch,
                                 do_set_limits,
                                 do_write_and_close,
                                 recorder_pause_and_resume,
                                 do_retain_and_release,
                                 do_run};

#define ACTIONS (sizeof actions / sizeof actions[0])

static void write_from_the_loop(void *context)
{
    (void)context;
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_write(a.transport, large, sizeof large);
    }
}

/* Goes through all callbacks, as long as the connection is there. */
static void live(bool buffered, event moment, action what)
{
    connection_init(&a, buffered);
    recorder_init(&second, !buffered);
    second.book = &a.protocol;
    a.protocol.keep_open = true;
    second.keep_open = true;
    a.protocol.buffer_size = 4;
    a.protocol.at[moment] = what;
    connection_open(&a, loop);
    a.socket->room = 1000;
    pco_loop_call_soon(loop, write_from_the_loop, NULL, NULL);
    run_turns(loop, 1);
    fake_feed(a.socket, "0123456789", 10);
    run_turns(loop, 6);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 6);
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_resume_reading(a.transport);
        fake_feed_eof(a.socket);
    }
    run_turns(loop, 8);
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_close(a.transport);
    }
    run_turns(loop, 6);
}

static void every_call_is_legal_in_every_callback(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * EVENTS * ACTIONS; i++) {
        bool buffered = i % 2 != 0;
        event moment = (event)(i / 2 % EVENTS);
        released = 0;
        handed_over = 0;
        live(buffered, moment, actions[i / 2 / EVENTS]);
        if (a.protocol.violation != NULL || a.protocol.counts[LOST] != 1) {
            fail_msg("callback %u, call %u: %s (%s)", moment, i / 2 / EVENTS, a.protocol.log,
                     a.protocol.violation != NULL ? a.protocol.violation : "not lost");
        }
        assert_int_equal(released, handed_over);
        assert_true(a.socket->closed);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* ---- Every allocation failing ---- */

/* A course of events that uses all kinds of memory a stream has. False: it could not begin. */
static bool live_without_memory(void)
{
    pco_buffer lines[] = {{large, 3000}, {large, 3000}};
    pco_socket sock;

    connection_init(&a, false);
    handed_over = 0;
    released = 0;
    sock = fake_socket_new(loop);
    a.socket = fake_socket_of(loop, sock);
    if (pco__stream_new(loop, sock, a.peer, &a.options, &a.stream, NULL) != 0) {
        return false;
    }
    a.transport = &a.stream->base;
    pco__stream_start(a.stream, &a.protocol.protocol);
    a.socket->room = 100;
    pco_transport_write(a.transport, large, 200);
    pco_transport_write(a.transport, large, 5000);
    do_write_owned(&a.protocol, a.transport);
    pco_transport_writelines(a.transport, lines, 2);
    pco_transport_write(a.transport, large, 20000);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    if (a.protocol.counts[LOST] == 0) {
        recorder_init(&second, true);
        second.book = &a.protocol;
        second.buffer_size = 3;
        second.at[UPDATED] = recorder_pause;
        pco_transport_set_protocol(a.transport, &second.protocol);
        pco_transport_resume_reading(a.transport);
        a.socket->room = SIZE_MAX;
        run_turns(loop, 4);
    }
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_resume_reading(a.transport);
        fake_feed_eof(a.socket);
        run_turns(loop, 4);
    }
    if (a.protocol.counts[LOST] == 0) {
        pco_transport_close(a.transport);
        run_turns(loop, 4);
    }
    return true;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    assert_non_null(pco__transports_of(loop, pco__stream_send_corks));
    for (size_t mode = 0; mode < 2; mode++) {
        bool failed = true;
        for (size_t nth = 1; failed; nth++) {
            size_t before = memory_pieces();
            bool begun;
            assert_true(nth < 100);
            memory_fail(nth, mode == 1);
            begun = live_without_memory();
            failed = memory_has_failed();
            memory_fail(0, false);
            assert_int_equal(a.protocol.counts[LOST], begun);
            assert_int_equal(released, handed_over);
            assert_int_equal(memory_pieces(), before);
            assert_true(a.protocol.error.code == 0 ||
                        (failed && a.protocol.error.code == PCO_ENOMEM));
            assert_null(a.protocol.violation);
            assert_true(failed || nth > 4);
            connection_free(&a);
        }
    }
    connection_init(&a, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(closing_an_idle_connection_ends_it_in_a_turn_of_its_own),
        TEST(closing_flushes_what_was_written),
        TEST(what_was_written_just_before_close_leaves),
        TEST(nothing_is_delivered_after_close),
        TEST(what_was_kept_is_dropped_by_close),
        TEST(a_send_that_fails_while_closing_is_told),
        TEST(a_send_that_fails_inside_close_is_told),
        TEST(eof_received_that_returns_false_flushes_and_closes),
        TEST(the_end_of_writing_and_close_follow_each_other),
        TEST(a_flush_that_takes_too_long_is_aborted),
        TEST(a_clock_that_jumps_does_not_cut_off_a_peer_that_took_everything),
        TEST(what_took_long_before_close_does_not_count_for_its_limit),
        TEST(a_peer_that_reads_slowly_gets_everything),
        TEST(a_peer_that_takes_next_to_nothing_is_cut_off_by_a_reset),
        TEST(what_the_system_holds_less_is_progress),
        TEST(who_lingers_waits_for_what_the_system_still_sends),
        TEST(the_time_limit_counts_from_close),
        TEST(without_a_time_limit_a_flush_may_take_for_ever),
        TEST(a_connection_that_ends_in_time_hears_nothing_of_the_limit),
        TEST(aborting_drops_what_was_written),
        TEST(aborting_wins_over_closing),
        TEST(the_peer_sees_a_reset_if_asked_for),
        TEST(connection_lost_waits_for_every_operation),
        TEST(an_error_before_the_abort_is_told_and_one_after_it_is_not),
        TEST(lingering_says_the_end_and_waits_for_the_peers),
        TEST(lingering_begins_after_the_last_byte),
        TEST(lingering_needs_no_reading_before),
        TEST(lingering_asks_a_buffered_protocol_for_nothing),
        TEST(lingering_has_a_limit),
        TEST(lingering_is_over_at_once_if_the_peer_has_ended),
        TEST(lingering_ends_with_the_connection),
        TEST(every_call_is_legal_in_every_callback),
        TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
