/* SPDX-License-Identifier: MIT */
/*
 * Goal: what is written leaves complete and in order, small writes of one callback together; the
 * water marks pause and resume as documented; what was handed over is released exactly once.
 * Method: streams on the fake backend, whose `room` says how much the system takes.
 */
#include "support.h"

static pco_loop *loop;
static connection a;
static connection b;
static unsigned char bytes[1024 * 1024];

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    }
    memory_watch();
    loop = fake_loop_new();
    connection_init(&a, false);
    connection_init(&b, false);
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    bool right;

    (void)state;
    pco_loop_free(loop);
    right = connection_kept_the_rules(&a) && connection_kept_the_rules(&b);
    connection_free(&a);
    connection_free(&b);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

/* Everything sent so far is the beginning of `bytes`, `length` bytes of it. */
static void assert_sent(const connection *self, size_t length)
{
    assert_int_equal(self->socket->sent_length, length);
    if (length != 0) {
        assert_memory_equal(self->socket->sent, bytes, length);
    }
}

static size_t pending(const connection *self)
{
    return pco_transport_get_write_buffer_size(self->transport);
}

/* ---- When it leaves ---- */

static void write_thrice(recorder *self, pco_transport *transport)
{
    pco_buffer lines[] = {{bytes + 100, 50}, {bytes + 150, 0}, {bytes + 150, 50}};

    (void)self;
    pco_transport_write(transport, bytes, 100);
    pco_transport_writelines(transport, lines, 3);
    pco_transport_write_owned(transport, bytes + 200, 100, NULL, NULL);
}

static void small_writes_of_one_callback_leave_in_one_send(void **state)
{
    static const event moments[] = {MADE, DATA, END};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        connection_init(&a, false);
        a.protocol.keep_open = true;
        a.protocol.at[moments[i]] = write_thrice;
        connection_open(&a, loop);
        fake_feed(a.socket, "x", moments[i] == DATA);
        a.socket->input_eof = moments[i] == END;
        run_turns(loop, 2);
        assert_sent(&a, 300);
        assert_int_equal(a.socket->sends, 1);
        assert_null(a.protocol.violation);
        pco_transport_abort(a.transport);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void write_to_a(void *context)
{
    (void)context;
    pco_transport_write(a.transport, bytes, 10);
    pco_transport_write(a.transport, bytes + 10, 10);
}

static void small_writes_of_a_callback_of_the_loop_leave_when_it_returns(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_loop_call_soon(loop, write_to_a, NULL, NULL);
    pco_loop_call_later(loop, 0, write_to_a, NULL, NULL);
    pco_loop_run_once(loop, 0);
    assert_int_equal(a.socket->sends, 2);
    assert_int_equal(a.socket->sent_length, 40);
}

static void what_is_written_outside_of_callbacks_leaves_at_once(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write(a.transport, bytes, 10), 0);
    assert_sent(&a, 10);
    assert_int_equal(pending(&a), 0);
    pco_buffer lines[] = {{bytes + 10, 5}, {bytes + 15, 5}};
    assert_int_equal(pco_transport_writelines(a.transport, lines, 2), 0);
    assert_sent(&a, 20);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes + 20, 10, NULL, NULL), 0);
    assert_sent(&a, 30);
    assert_int_equal(a.socket->sends, 3);
    run_turns(loop, 1);
    assert_int_equal(a.socket->sends, 3);
}

static connection others[40];

static void write_to_others(recorder *self, pco_transport *transport)
{
    unsigned count = *(unsigned *)self->context;
    (void)transport;
    for (unsigned message = 0; message < 10; message++) {
        for (unsigned i = 0; i < count; i++) {
            pco_transport_write(others[i].transport, bytes + message * 10, 10);
        }
    }
}

/* A callback writes by turns to so many; returns how many sends that took. */
static unsigned write_by_turns(unsigned count)
{
    unsigned sends = 0;
    a.protocol.at[DATA] = write_to_others;
    a.protocol.context = &count;
    connection_open(&a, loop);
    for (unsigned i = 0; i < count; i++) {
        connection_init(&others[i], false);
        connection_open(&others[i], loop);
    }
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    for (unsigned i = 0; i < count; i++) {
        assert_sent(&others[i], 100);
        sends += others[i].socket->sends;
        pco_transport_abort(others[i].transport);
    }
    run_turns(loop, 2);
    for (unsigned i = 0; i < count; i++) {
        connection_free(&others[i]);
    }
    return sends;
}

static void small_writes_to_several_by_turns_leave_together(void **state)
{
    (void)state;
    assert_int_equal(write_by_turns(PCO__CORKS), PCO__CORKS);
}

static void small_writes_to_very_many_by_turns_all_leave_in_order(void **state)
{
    (void)state;
    assert_int_equal(write_by_turns(40), 400);
}

static void without_memory_for_more_corks_one_is_enough(void **state)
{
    (void)state;
    connection_open(&a, loop);
    connection_init(&others[0], false);
    connection_open(&others[0], loop);
    unsigned count = 1;
    a.protocol.at[DATA] = write_to_others;
    a.protocol.context = &count;
    pco_loop_call_soon(loop, write_to_a, NULL, NULL);
    fake_feed(a.socket, "x", 1);
    memory_fail(1, true);
    run_turns(loop, 2);
    memory_fail(0, false);
    assert_sent(&others[0], 100);
    assert_sent(&a, 20);
    connection_free(&others[0]);
}

static void write_much_after_little(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, bytes, 10);
    pco_transport_write(transport, bytes + 10, 100000);
}

static void a_large_write_leaves_at_once_behind_the_small_ones(void **state)
{
    (void)state;
    a.protocol.at[DATA] = write_much_after_little;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_sent(&a, 100010);
    assert_int_equal(a.socket->sends, 1);
    assert_int_equal(pending(&a), 0);
}

static void append_more_than_a_cork_holds(recorder *self, pco_transport *transport)
{
    (void)self;
    size_t half = PCO__CORK_SIZE / 2 + 1;
    assert_int_equal(pco__stream_append(transport->stream, bytes, half, false), 0);
    assert_int_equal(pco__stream_append(transport->stream, bytes + half, half, false), 0);
    assert_int_equal(pco__stream_append(transport->stream, bytes + 2 * half, 10, false), 0);
}

static void what_does_not_fit_into_the_cork_keeps_its_order(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, false);
        a.protocol.at[DATA] = append_more_than_a_cork_holds;
        connection_open(&a, loop);
        a.socket->room = i == 0 ? SIZE_MAX : 1000;
        fake_feed(a.socket, "x", 1);
        run_turns(loop, 1);
        a.socket->room = SIZE_MAX;
        run_turns(loop, 3);
        assert_sent(&a, PCO__CORK_SIZE + 2 + 10);
        pco_transport_abort(a.transport);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void write_very_often(recorder *self, pco_transport *transport)
{
    (void)self;
    for (size_t i = 0; i < 500000; i += 100) {
        assert_int_equal(pco_transport_write(transport, bytes + i, 100), 0);
    }
}

static void many_small_writes_leave_in_few_sends(void **state)
{
    (void)state;
    a.protocol.at[DATA] = write_very_often;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 1);
    assert_sent(&a, 500000);
    assert_true(a.socket->sends <= 20);
    assert_string_equal(a.protocol.log, "made data:1");
}

static void many_small_writes_wait_in_order_below_a_high_mark(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 7;
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 1000000, 0), 0);
    for (size_t i = 0; i < 500000; i += 100) {
        assert_int_equal(pco_transport_write(a.transport, bytes + i, 100), 0);
        assert_int_equal(a.socket->sent_length + pending(&a), i + 100);
    }
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    assert_sent(&a, 500000);
}

static void writes_to_two_streams_keep_the_order_of_each(void **state)
{
    (void)state;
    connection_open(&a, loop);
    connection_open(&b, loop);
    for (size_t i = 0; i < 1000; i += 10) {
        pco_transport_write(a.transport, bytes + i, 10);
        pco_transport_write(b.transport, bytes + i, 3);
        pco_transport_write(b.transport, bytes + i + 3, 7);
    }
    run_turns(loop, 1);
    assert_sent(&a, 1000);
    assert_sent(&b, 1000);
}

static void what_is_left_of_small_writes_stays_in_front(void **state)
{
    (void)state;
    connection_open(&a, loop);
    connection_open(&b, loop);
    a.socket->room = 5;
    pco_transport_write(a.transport, bytes, 8);
    pco_transport_write(b.transport, bytes, 1); /* sends the other's */
    assert_int_equal(pending(&a), 3);
    pco_transport_write(a.transport, bytes + 8, 4);
    pco_transport_write(a.transport, bytes + 12, 10000);
    assert_int_equal(pending(&a), 3 + 10004);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    assert_sent(&a, 10012);
}

static void whatever_the_system_takes_the_rest_follows_in_order(void **state)
{
    static const size_t sizes[] = {1, 100, 4095, 4096, 5000, 70000};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        for (size_t room = 0; room <= 2; room++) {
            size_t size = sizes[i];
            connection_init(&a, false);
            connection_open(&a, loop);
            a.socket->room = room == 2 ? size - 1 : room;
            pco_transport_write(a.transport, bytes, 50);
            pco_transport_write(a.transport, bytes + 50, size);
            pco_transport_write(a.transport, bytes + 50 + size, 25);
            assert_int_equal(a.socket->sent_length + pending(&a), 75 + size);
            run_turns(loop, 2);
            a.socket->room = SIZE_MAX;
            a.socket->send_cut = 1 + size / 7;
            run_turns(loop, 100);
            assert_sent(&a, 75 + size);
            assert_int_equal(pending(&a), 0);
            assert_null(a.protocol.violation);
            pco_transport_abort(a.transport);
            run_turns(loop, 2);
            connection_free(&a);
        }
    }
    connection_init(&a, false);
}

static void what_is_written_while_a_send_is_in_flight_follows_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, false);
        fake_of(loop)->sends_what_came_later = i == 1;
        connection_open(&a, loop);
        a.socket->room = 0;
        pco_transport_write(a.transport, bytes, 10000);
        run_turns(loop, 1);
        for (size_t at = 10000; at < 20000; at += 500) {
            pco_transport_write(a.transport, bytes + at, 500);
        }
        a.socket->room = SIZE_MAX;
        run_turns(loop, 3);
        assert_sent(&a, 20000);
        pco_transport_abort(a.transport);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* ---- Arguments ---- */

static void nothing_to_write_does_nothing(void **state)
{
    pco_buffer empty[] = {{NULL, 0}, {bytes, 0}};

    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write(a.transport, NULL, 0), 0);
    assert_int_equal(pco_transport_write(a.transport, bytes, 0), 0);
    assert_int_equal(pco_transport_writelines(a.transport, NULL, 0), 0);
    assert_int_equal(pco_transport_writelines(a.transport, empty, 2), 0);
    run_turns(loop, 2);
    assert_int_equal(a.socket->sends, 0);
}

static void nowhere_to_read_from_is_refused_as_a_whole(void **state)
{
    pco_buffer buffers[] = {{bytes, 5}, {NULL, 5}};

    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write(a.transport, NULL, 5), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(a.transport, buffers, 2), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(a.transport, NULL, 2), PCO_EINVAL);
    run_turns(loop, 2);
    assert_int_equal(a.socket->sends, 0);
}

static void many_buffers_are_written_as_one(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 40, 400};
    static const size_t rooms[] = {SIZE_MAX, 0, 1, 777, 20000};
    static pco_buffer buffers[200];

    (void)state;
    for (unsigned i = 0; i < 25; i++) {
        size_t total = 0;
        connection_init(&a, false);
        for (size_t j = 0; j < 200; j++) {
            size_t length = j % 5 == 3 ? 0 : sizes[i / 5] * (j % 3);
            buffers[j] = (pco_buffer){bytes + total, length};
            total += length;
        }
        connection_open(&a, loop);
        a.socket->room = rooms[i % 5];
        assert_int_equal(pco_transport_writelines(a.transport, buffers, 200), 0);
        assert_int_equal(a.socket->sent_length + pending(&a), total);
        run_turns(loop, 2);
        a.socket->room = SIZE_MAX;
        run_turns(loop, 3);
        assert_sent(&a, total);
        assert_null(a.protocol.violation);
        pco_transport_abort(a.transport);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* ---- Water marks ---- */

static void the_marks_are_64_and_16_kib_unless_told_otherwise(void **state)
{
    size_t high = 0;
    size_t low = 0;

    (void)state;
    connection_open(&a, loop);
    pco_transport_get_write_buffer_limits(a.transport, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
}

static void one_mark_is_derived_from_the_other(void **state)
{
    static const struct {
        size_t high;
        size_t low;
        size_t expected_high;
        size_t expected_low;
    } cases[] = {
        {1000, PCO_LIMIT_DEFAULT, 1000, 250},
        {PCO_LIMIT_DEFAULT, 1000, 4000, 1000},
        {0, PCO_LIMIT_DEFAULT, 0, 0},
        {PCO_LIMIT_DEFAULT, 0, 0, 0},
        {7, 7, 7, 7},
        {PCO_LIMIT_DEFAULT, PCO_LIMIT_DEFAULT, 65536, 16384},
    };
    size_t high;
    size_t low;

    (void)state;
    connection_open(&a, loop);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(
            pco_transport_set_write_buffer_limits(a.transport, cases[i].high, cases[i].low), 0);
        pco_transport_get_write_buffer_limits(a.transport, &high, &low);
        assert_int_equal(high, cases[i].expected_high);
        assert_int_equal(low, cases[i].expected_low);
    }
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 5, 6), PCO_EINVAL);
    pco_transport_get_write_buffer_limits(a.transport, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
}

static void writing_is_paused_above_the_high_mark_inside_the_write(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 65536);
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made");
    pco_transport_write(a.transport, bytes + 65536, 1);
    assert_string_equal(a.protocol.log, "made pause");
    pco_transport_write(a.transport, bytes + 65537, 100000);
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made pause");
}

static void writing_is_resumed_at_the_low_mark(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 70000);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = 70000 - 16385;
    run_turns(loop, 3);
    assert_int_equal(pending(&a), 16385);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause resume");
    a.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause resume");
    assert_sent(&a, 70000);
}

static void what_the_system_takes_at_once_does_not_pause(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_write(a.transport, bytes, 500000);
    a.socket->room = 500000 - 65536;
    pco_transport_write(a.transport, bytes + 500000, 500000);
    assert_string_equal(a.protocol.log, "made");
    assert_int_equal(pending(&a), 65536);
}

static void small_writes_pause_as_large_ones_do(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_set_write_buffer_limits(a.transport, 1000, 500);
    for (size_t i = 0; i < 10; i++) {
        pco_transport_write(a.transport, bytes + i * 100, 100);
        assert_string_equal(a.protocol.log, "made");
    }
    pco_transport_write(a.transport, bytes + 1000, 1);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = 501;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause resume");
}

static void with_marks_of_zero_any_byte_left_pauses(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 0, 0), 0);
    pco_transport_write(a.transport, bytes, 10);
    assert_sent(&a, 10);
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 4;
    pco_transport_write(a.transport, bytes + 10, 5);
    assert_string_equal(a.protocol.log, "made pause");
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = 1;
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made pause resume");
    assert_sent(&a, 15);
}

static void lowering_the_high_mark_pauses_at_once(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 3000);
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 3000, 0), 0);
    assert_string_equal(a.protocol.log, "made");
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 2999, 0), 0);
    assert_string_equal(a.protocol.log, "made pause");
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 100, 100), 0);
    assert_string_equal(a.protocol.log, "made pause");
}

static void raising_the_marks_resumes_only_when_data_leaves(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 70000);
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 200000, 100000), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause resume");
}

static void write_much(recorder *self, pco_transport *transport)
{
    if (self->book->counts[RESUME] + self->book->counts[PAUSE] < 6) {
        pco_transport_write(transport, bytes, 100000);
    }
}

static void writing_in_resume_writing_may_pause_again(void **state)
{
    (void)state;
    a.protocol.at[RESUME] = write_much;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 100000);
    for (unsigned i = 0; i < 3; i++) {
        a.socket->room = 100000;
        run_turns(loop, 2);
    }
    assert_string_equal(a.protocol.log, "made pause resume pause resume pause resume");
    assert_int_equal(pending(&a), 0);
}

static void writing_in_pause_writing_does_not_pause_twice(void **state)
{
    (void)state;
    a.protocol.at[PAUSE] = write_much;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 100000);
    assert_string_equal(a.protocol.log, "made pause");
    assert_int_equal(pending(&a), 200000);
}

/* ---- Memory handed over ---- */

static unsigned released;
static const void *released_data;
static size_t sent_at_release;

static void note_release(const void *data, void *context)
{
    released++;
    released_data = data;
    if (context != NULL) {
        sent_at_release = ((connection *)context)->socket->sent_length;
    }
}

static void owned_memory_is_released_once_it_has_left(void **state)
{
    static const size_t sizes[] = {1, 4000, 5000, 300000};

    (void)state;
    connection_open(&a, loop);
    for (size_t i = 0; i < 4; i++) {
        released = 0;
        assert_int_equal(pco_transport_write_owned(a.transport, bytes, sizes[i], note_release, &a),
                         0);
        run_turns(loop, 2);
        assert_int_equal(released, 1);
        assert_ptr_equal(released_data, bytes);
    }
}

static void owned_memory_is_not_released_while_some_of_it_waits(void **state)
{
    (void)state;
    released = 0;
    connection_open(&a, loop);
    a.socket->room = 100;
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 50000, note_release, &a), 0);
    run_turns(loop, 2);
    assert_int_equal(released, 0);
    assert_int_equal(pending(&a), 49900);
    a.socket->room = 49899;
    run_turns(loop, 2);
    assert_int_equal(released, 0);
    a.socket->room = 1;
    run_turns(loop, 2);
    assert_int_equal(released, 1);
    assert_ptr_equal(released_data, bytes);
    assert_int_equal(sent_at_release, 50000);
    assert_sent(&a, 50000);
}

static void owned_memory_is_sent_from_where_it_is(void **state)
{
    unsigned char *mine = malloc(20000);

    (void)state;
    assert_non_null(mine);
    memset(mine, 'x', 20000);
    released = 0;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "12345", 5);
    pco_transport_write_owned(a.transport, mine, 20000, note_release, &a);
    pco_transport_write(a.transport, "67890", 5);
    assert_ptr_equal(a.socket->out.op->with.chain->next->data, mine);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    assert_int_equal(released, 1);
    assert_int_equal(a.socket->sent_length, 20010);
    assert_memory_equal(a.socket->sent + 20005, "67890", 5);
    free(mine);
}

static void owned_memory_that_cannot_be_written_is_released_inside_the_call(void **state)
{
    (void)state;
    released = 0;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write_owned(a.transport, NULL, 9, note_release, NULL),
                     PCO_EINVAL);
    assert_int_equal(released, 1);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 0, note_release, NULL), 0);
    assert_int_equal(released, 2);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 9, note_release, NULL),
                     PCO_EPIPE);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 9999, note_release, NULL),
                     PCO_EPIPE);
    assert_int_equal(released, 4);
    pco_transport_close(a.transport);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 9, note_release, NULL),
                     PCO_ECLOSED);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 0, note_release, NULL),
                     PCO_ECLOSED);
    assert_int_equal(released, 6);
}

/* The same memory may be given many times, so that the sum is more than a size can be. */
static void more_than_can_be_counted_is_refused(void **state)
{
    const size_t half = SIZE_MAX / 2;
    pco_buffer wrapping[] = {{bytes, half}, {bytes, half}, {bytes, 12}}; /* 10 */
    pco_buffer large[] = {{bytes, half - 9}, {bytes, 0}};

    (void)state;
    released = 0;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write(a.transport, bytes, half + 1), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(a.transport, wrapping, 3), PCO_EINVAL);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, half + 1, note_release, NULL),
                     PCO_EINVAL);
    assert_int_equal(released, 1);
    assert_int_equal(pending(&a), 0);

    /* What waits counts, too. */
    a.socket->room = 0;
    assert_int_equal(pco_transport_write(a.transport, bytes, 10), 0);
    assert_int_equal(pco_transport_writelines(a.transport, large, 2), PCO_EINVAL);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, half - 9, note_release, NULL),
                     PCO_EINVAL);
    assert_int_equal(released, 2);
    assert_int_equal(pending(&a), 10);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    assert_sent(&a, 10);
}

static void owned_memory_is_released_when_the_connection_ends(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        connection_init(&a, false);
        released = 0;
        connection_open(&a, loop);
        a.socket->room = 10;
        pco_transport_write_owned(a.transport, bytes, 50000, note_release, &a);
        pco_transport_write_owned(a.transport, bytes, 50000, note_release, &a);
        if (i == 0) {
            pco_transport_abort(a.transport);
        } else if (i == 1) {
            fake_feed_error(a.socket, PCO_ECONNRESET, 104);
        } else if (i == 2) {
            a.socket->send_error = PCO_EPIPE;
        } else {
            a.socket->room = 60000;
            run_turns(loop, 1);
            assert_int_equal(released, 1);
            pco_transport_abort(a.transport);
        }
        run_turns(loop, 4);
        assert_int_equal(released, 2);
        assert_int_equal(a.protocol.counts[LOST], 1);
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void owned_memory_needs_no_release(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes, 9, NULL, NULL), 0);
    assert_int_equal(pco_transport_write_owned(a.transport, bytes + 9, 9991, NULL, NULL), 0);
    a.socket->room = 0;
    assert_int_equal(pco_transport_write_owned(a.transport, bytes + 10000, 9999, NULL, NULL), 0);
    assert_int_equal(pco_transport_write_owned(a.transport, NULL, 0, NULL, NULL), 0);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    assert_sent(&a, 19999);
}

static void owned_memory_counts_for_the_water_marks(void **state)
{
    (void)state;
    released = 0;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write_owned(a.transport, bytes, 65537, note_release, &a);
    assert_string_equal(a.protocol.log, "made pause");
    a.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made pause resume");
    assert_int_equal(released, 1);
}

/* ---- The end of writing ---- */

static void the_end_is_sent_after_everything_written(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_true(pco_transport_can_write_eof(a.transport));
    a.socket->room = 6;
    pco_transport_write(a.transport, bytes, 10);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    run_turns(loop, 3);
    assert_false(a.socket->shut_down);
    a.socket->room = 4;
    run_turns(loop, 3);
    assert_true(a.socket->shut_down);
    assert_sent(&a, 10);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
}

static void reading_goes_on_after_the_end_of_writing(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_write(a.transport, bytes, 3);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    run_turns(loop, 2);
    assert_true(a.socket->shut_down);
    assert_false(pco_transport_is_closing(a.transport));
    fake_feed(a.socket, "more", 4);
    run_turns(loop, 2);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:4 end lost");
}

static void nothing_can_be_written_after_the_end(void **state)
{
    pco_buffer buffer = {bytes, 5};

    (void)state;
    connection_open(&a, loop);
    pco_transport_write_eof(a.transport);
    assert_int_equal(pco_transport_write(a.transport, bytes, 5), PCO_EPIPE);
    assert_int_equal(pco_transport_write(a.transport, bytes, 50000), PCO_EPIPE);
    assert_int_equal(pco_transport_writelines(a.transport, &buffer, 1), PCO_EPIPE);
    assert_int_equal(pco_transport_write(a.transport, bytes, 0), PCO_EPIPE);
    run_turns(loop, 2);
    assert_int_equal(a.socket->sends, 0);
}

static void nothing_can_be_written_to_a_closing_transport(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, bytes, 10);
    pco_transport_close(a.transport);
    assert_int_equal(pco_transport_write(a.transport, bytes, 10), PCO_ECLOSED);
    assert_int_equal(pco_transport_write(a.transport, bytes, 0), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_eof(a.transport), PCO_ECLOSED);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 4);
    assert_sent(&a, 10);
}

/* ---- Failures ---- */

static void a_failed_send_is_told_to_connection_lost(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        connection_init(&a, false);
        connection_open(&a, loop);
        a.socket->send_error = PCO_ECONNRESET;
        a.socket->send_system_code = 104;
        if (i == 0) { /* at once, from a small write */
            assert_int_equal(pco_transport_write(a.transport, bytes, 10), 0);
        } else if (i == 1) { /* at once, from a large one */
            assert_int_equal(pco_transport_write(a.transport, bytes, 100000), 0);
        } else if (i == 2) {
            assert_int_equal(pco_transport_write_owned(a.transport, bytes, 99999, NULL, NULL), 0);
        } else { /* of an operation */
            a.socket->send_error = 0;
            a.socket->room = 0;
            assert_int_equal(pco_transport_write(a.transport, bytes, 10), 0);
            run_turns(loop, 2);
            a.socket->send_error = PCO_ECONNRESET;
        }
        assert_string_equal(a.protocol.log, "made");
        run_turns(loop, 4);
        assert_string_equal(a.protocol.log, "made lost:PCO_ECONNRESET");
        assert_int_equal(a.protocol.error.system_code, 104);
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void writing_after_a_failed_send_is_refused(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->send_error = PCO_EPIPE;
    pco_transport_write(a.transport, bytes, 10000);
    assert_true(pco_transport_is_closing(a.transport));
    assert_int_equal(pco_transport_write(a.transport, bytes, 10), PCO_ECLOSED);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_EPIPE");
}

static void a_write_without_memory_takes_nothing_or_ends_the_connection(void **state)
{
    (void)state;
    connection_open(&a, loop);
    connection_open(&b, loop);
    a.socket->room = 0;
    memory_fail(1, false);
    assert_int_equal(pco_transport_write(a.transport, bytes, 10000), PCO_ENOMEM);
    assert_int_equal(pending(&a), 0);
    assert_int_equal(pco_transport_write(a.transport, bytes, 10000), 0);
    b.socket->room = 7;
    memory_fail(1, false);
    assert_int_equal(pco_transport_write(b.transport, bytes, 10000), PCO_ENOMEM);
    memory_fail(0, false);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 4);
    assert_sent(&a, 10000);
    assert_string_equal(a.protocol.log, "made");
    assert_string_equal(b.protocol.log, "made lost:PCO_ENOMEM");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_writes_of_one_callback_leave_in_one_send),
        TEST(small_writes_of_a_callback_of_the_loop_leave_when_it_returns),
        TEST(what_is_written_outside_of_callbacks_leaves_at_once),
        TEST(small_writes_to_several_by_turns_leave_together),
        TEST(small_writes_to_very_many_by_turns_all_leave_in_order),
        TEST(without_memory_for_more_corks_one_is_enough),
        TEST(what_does_not_fit_into_the_cork_keeps_its_order),
        TEST(a_large_write_leaves_at_once_behind_the_small_ones),
        TEST(many_small_writes_leave_in_few_sends),
        TEST(many_small_writes_wait_in_order_below_a_high_mark),
        TEST(writes_to_two_streams_keep_the_order_of_each),
        TEST(what_is_left_of_small_writes_stays_in_front),
        TEST(whatever_the_system_takes_the_rest_follows_in_order),
        TEST(what_is_written_while_a_send_is_in_flight_follows_it),
        TEST(nothing_to_write_does_nothing),
        TEST(nowhere_to_read_from_is_refused_as_a_whole),
        TEST(many_buffers_are_written_as_one),
        TEST(the_marks_are_64_and_16_kib_unless_told_otherwise),
        TEST(one_mark_is_derived_from_the_other),
        TEST(writing_is_paused_above_the_high_mark_inside_the_write),
        TEST(writing_is_resumed_at_the_low_mark),
        TEST(what_the_system_takes_at_once_does_not_pause),
        TEST(small_writes_pause_as_large_ones_do),
        TEST(with_marks_of_zero_any_byte_left_pauses),
        TEST(lowering_the_high_mark_pauses_at_once),
        TEST(raising_the_marks_resumes_only_when_data_leaves),
        TEST(writing_in_resume_writing_may_pause_again),
        TEST(writing_in_pause_writing_does_not_pause_twice),
        TEST(owned_memory_is_released_once_it_has_left),
        TEST(owned_memory_is_not_released_while_some_of_it_waits),
        TEST(owned_memory_is_sent_from_where_it_is),
        TEST(owned_memory_that_cannot_be_written_is_released_inside_the_call),
        TEST(owned_memory_is_released_when_the_connection_ends),
        TEST(owned_memory_needs_no_release),
        TEST(owned_memory_counts_for_the_water_marks),
        TEST(the_end_is_sent_after_everything_written),
        TEST(reading_goes_on_after_the_end_of_writing),
        TEST(more_than_can_be_counted_is_refused),
        TEST(nothing_can_be_written_after_the_end),
        TEST(nothing_can_be_written_to_a_closing_transport),
        TEST(a_failed_send_is_told_to_connection_lost),
        TEST(writing_after_a_failed_send_is_refused),
        TEST(a_write_without_memory_takes_nothing_or_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
