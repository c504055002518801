/* SPDX-License-Identifier: MIT */
/*
 * Goal: a connection's protocol may be switched at any time, for one that brings its own memory or
 * for one that does not, and no byte is lost, doubled or out of order; what get_buffer does counts.
 * Method: streams on the fake backend; two recorders that write into one book.
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
    pco_loop_free(loop);
    right = connection_kept_the_rules(&a);
    connection_free(&a);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

/* ---- Switching protocols ---- */

static recorder second;

static void switch_protocol(recorder *self, pco_transport *transport)
{
    if (self != &second) {
        pco_transport_set_protocol(transport, &second.protocol);
    }
}

static void prepare_second(bool buffered)
{
    recorder_init(&second, buffered);
    second.book = &a.protocol;
}

static void another_protocol_hears_of_the_next_event(void **state)
{
    (void)state;
    prepare_second(false);
    second.keep_open = true;
    a.protocol.at[DATA] = switch_protocol;
    connection_open(&a, loop);
    assert_ptr_equal(pco_transport_get_protocol(a.transport), &a.protocol);
    fake_feed(a.socket, "one", 3);
    run_turns(loop, 2);
    assert_ptr_equal(pco_transport_get_protocol(a.transport), &second);
    fake_feed(a.socket, "two", 3);
    fake_feed_eof(a.socket);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made data:3 data:3 end");
    connection_assert_data(&a, "onetwo");
    assert_false(pco_transport_is_closing(a.transport)); /* so says the second */
}

static void a_protocol_that_is_none_is_refused(void **state)
{
    static const pco_protocol_methods wrong = {.size = sizeof wrong - 1};
    pco_protocol bad = {.methods = &wrong};
    pco_protocol empty = {.methods = NULL};

    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_set_protocol(a.transport, NULL), PCO_EINVAL);
    assert_int_equal(pco_transport_set_protocol(a.transport, &bad), PCO_EINVAL);
    assert_int_equal(pco_transport_set_protocol(a.transport, &empty), PCO_EINVAL);
    assert_ptr_equal(pco_transport_get_protocol(a.transport), &a.protocol);
}

static void from_plain_to_buffered_while_a_receive_is_in_flight(void **state)
{
    (void)state;
    prepare_second(true);
    second.buffer_size = 4;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_set_protocol(a.transport, &second.protocol), 0);
    fake_feed(a.socket, "abcdef", 6);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made get updated:4 get updated:2");
    connection_assert_data(&a, "abcdef");
}

static void from_buffered_to_plain_while_a_receive_is_in_flight(void **state)
{
    (void)state;
    connection_init(&a, true);
    prepare_second(false);
    connection_open(&a, loop);
    assert_int_equal(pco_transport_set_protocol(a.transport, &second.protocol), 0);
    fake_feed(a.socket, "abcdef", 6);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:6");
    connection_assert_data(&a, "abcdef");
}

static void protocols_switch_in_every_callback_and_lose_nothing(void **state)
{
    static const event moments[] = {MADE, DATA, GET, UPDATED};

    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        event moment = moments[i / 4];
        connection_init(&a, moment != DATA && (i & 1) != 0);
        prepare_second((i & 2) != 0);
        a.protocol.buffer_size = 3;
        second.buffer_size = 2;
        a.protocol.at[moment] = switch_protocol;
        connection_open(&a, loop);
        fake_feed(a.socket, "abcdefgh", 8);
        run_turns(loop, 12);
        fake_feed(a.socket, "ij", 2);
        fake_feed_eof(a.socket);
        run_turns(loop, 8);
        assert_null(a.protocol.violation);
        connection_assert_data(&a, "abcdefghij");
        assert_int_equal(a.protocol.counts[LOST], 1);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* What the first one's get_buffer gave is not used: its memory may be gone. */
static void who_is_replaced_in_its_get_buffer_is_not_called_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        connection_init(&a, true);
        recorder_init(&second, (i & 1) != 0); /* with a book of its own */
        a.protocol.at[GET] = switch_protocol;
        connection_open(&a, loop);
        if ((i & 2) != 0) { /* from what was kept */
            pco_transport_pause_reading(a.transport);
            assert_int_equal(pco__stream_keep(a.stream, "abcdefgh", 8), 0);
        } else {
            fake_feed(a.socket, "abcdefgh", 8);
        }
        run_turns(loop, 2);
        pco_transport_resume_reading(a.transport);
        run_turns(loop, 3);
        assert_int_equal(a.protocol.counts[GET], 1);
        assert_int_equal(a.protocol.counts[UPDATED], 0);
        assert_int_equal(a.protocol.length, 0);
        assert_int_equal(second.length, 8);
        assert_memory_equal(second.data, "abcdefgh", 8);
        recorder_free(&second);
        pco_transport_abort(a.transport);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

/* ---- Buffered protocols ---- */

static void a_buffered_protocol_receives_into_its_own_memory(void **state)
{
    (void)state;
    connection_init(&a, true);
    a.protocol.buffer_size = 4;
    connection_open(&a, loop);
    assert_string_equal(a.protocol.log, "made");
    fake_feed(a.socket, "abcdefghij", 10);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get updated:4 get updated:4 get updated:2");
    connection_assert_data(&a, "abcdefghij");
}

static void an_empty_buffer_ends_the_connection(void **state)
{
    (void)state;
    connection_init(&a, true);
    a.protocol.buffer_size = 0;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get lost:PCO_EINVAL");
    assert_non_null(strstr(a.protocol.error.message, "get_buffer"));
}

static void give_nowhere(pco_protocol *self, pco_transport *transport, size_t hint, void **buffer,
                         size_t *length)
{
    (void)self;
    (void)transport;
    (void)hint;
    *buffer = NULL;
    *length = 100;
}

static void memory_that_is_nowhere_ends_the_connection(void **state)
{
    static pco_protocol_methods methods;

    (void)state;
    methods = recorder_buffered;
    methods.get_buffer = give_nowhere;
    connection_init(&a, true);
    a.protocol.protocol.methods = &methods;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made lost:PCO_EINVAL");
}

static void an_empty_buffer_for_lent_or_kept_data_ends_the_connection(void **state)
{
    (void)state;
    prepare_second(true);
    second.buffer_size = 0;
    connection_open(&a, loop);
    pco_transport_set_protocol(a.transport, &second.protocol);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get lost:PCO_EINVAL");
    assert_non_null(strstr(a.protocol.error.message, "get_buffer"));
}

/* Pausing, closing or aborting in get_buffer; the receive may bring its data all the same. */
static void what_is_called_in_get_buffer_counts_at_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        static void (*const actions[])(recorder *, pco_transport *) = {
            recorder_pause, recorder_close, recorder_abort};
        static const char *const stories[] = {"made get", "made get lost", "made get lost"};
        connection_init(&a, true);
        fake_of(loop)->receive_on_cancel = i >= 3;
        a.protocol.at[GET] = actions[i % 3];
        connection_open(&a, loop);
        fake_feed(a.socket, "abc", 3);
        run_turns(loop, 5);
        assert_string_equal(a.protocol.log, stories[i % 3]);
        if (i % 3 == 0) {
            a.protocol.at[GET] = NULL;
            pco_transport_resume_reading(a.transport);
            run_turns(loop, 5);
            connection_assert_data(&a, "abc");
            pco_transport_abort(a.transport);
            run_turns(loop, 3);
        }
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void an_empty_buffer_while_pausing_is_no_failure(void **state)
{
    (void)state;
    connection_init(&a, true);
    a.protocol.buffer_size = 0;
    a.protocol.at[GET] = recorder_pause;
    connection_open(&a, loop);
    fake_feed(a.socket, "abc", 3);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made get");
    prepare_second(false);
    pco_transport_set_protocol(a.transport, &second.protocol);
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get data:3");
}

static void kept_data_goes_through_a_small_buffer_piece_by_piece(void **state)
{
    (void)state;
    prepare_second(true);
    second.buffer_size = 3;
    second.at[UPDATED] = recorder_pause;
    connection_open(&a, loop);
    fake_feed(a.socket, "abcdefg", 7);
    fake_decide(a.socket, PCO__OP_RECV, 0, 7);
    pco_transport_pause_reading(a.transport);
    pco_transport_set_protocol(a.transport, &second.protocol);
    fake_feed(a.socket, "h", 1);
    fake_feed_eof(a.socket);
    for (unsigned i = 0; i < 4; i++) {
        run_turns(loop, 4);
        assert_int_equal(a.protocol.counts[UPDATED], i);
        pco_transport_resume_reading(a.transport);
    }
    run_turns(loop, 4);
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 4);
    connection_assert_data(&a, "abcdefgh");
    assert_int_equal(a.protocol.counts[END], 1);
    assert_int_equal(a.protocol.counts[LOST], 1);
}

/* A pause that is taken back before get_buffer returns is none: the receive goes on. */
static void pausing_and_resuming_in_every_get_buffer_changes_nothing(void **state)
{
    (void)state;
    connection_init(&a, true);
    a.protocol.buffer_size = 2;
    a.protocol.at[GET] = recorder_pause_and_resume;
    connection_open(&a, loop);
    fake_feed(a.socket, "abcde", 5);
    fake_feed_eof(a.socket);
    run_turns(loop, 6);
    assert_string_equal(a.protocol.log,
                        "made get updated:2 get updated:2 get updated:1 get end lost");
    connection_assert_data(&a, "abcde");
}

static void pause_resume_and_pause(recorder *self, pco_transport *transport)
{
    recorder_pause_and_resume(self, transport);
    recorder_pause(self, transport);
}

static void what_get_buffer_did_last_about_reading_counts(void **state)
{
    (void)state;
    connection_init(&a, true);
    a.protocol.at[GET] = pause_resume_and_pause;
    connection_open(&a, loop);
    fake_feed(a.socket, "abc", 3);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get");
    assert_true(fake_is_in_flight(a.socket, PCO__OP_WATCH));
    a.protocol.at[GET] = NULL;
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made get get updated:3");
}

static void pausing_and_resuming_in_the_middle_keeps_the_order(void **state)
{
    (void)state;
    prepare_second(true);
    second.buffer_size = 1;
    second.at[UPDATED] = recorder_pause_and_resume;
    second.at[GET] = recorder_pause_and_resume;
    connection_open(&a, loop);
    pco_transport_set_protocol(a.transport, &second.protocol);
    fake_feed(a.socket, "abcdefg", 7);
    fake_decide(a.socket, PCO__OP_RECV, 0, 5);
    run_turns(loop, 40);
    fake_feed(a.socket, "h", 1);
    fake_feed_eof(a.socket);
    run_turns(loop, 40);
    connection_assert_data(&a, "abcdefgh");
    assert_int_equal(a.protocol.counts[LOST], 1);
}

/* ---- Another protocol inside get_buffer ---- */

typedef struct fleeting {
    pco_protocol protocol;
    unsigned char memory[16];
} fleeting;

static fleeting *old;
static recorder fresh;

/* The old protocol is the caller's from now on, who frees it with the memory that it gave. */
static void switch_and_free(pco_protocol *self, pco_transport *transport, size_t hint,
                            void **buffer, size_t *length)
{
    (void)self;
    (void)hint;
    *buffer = old->memory;
    *length = sizeof old->memory;
    pco_transport_set_protocol(transport, &fresh.protocol);
    free(old);
    old = NULL;
}

static const pco_protocol_methods fleeting_methods = {.size = sizeof fleeting_methods,
                                                      .get_buffer = switch_and_free};

static void switch_inside_get_buffer(bool fresh_is_buffered, bool data_was_kept)
{
    connection b;
    connection_init(&b, true);
    connection_open(&b, loop);
    if (data_was_kept) {
        pco_transport_pause_reading(b.transport);
        assert_int_equal(pco__stream_keep(b.stream, "hello", 5), 0);
    } else {
        fake_feed(b.socket, "hello", 5);
    }
    old = malloc(sizeof *old);
    assert_non_null(old);
    old->protocol.methods = &fleeting_methods;
    recorder_init(&fresh, fresh_is_buffered);
    fresh.counts[MADE] = 1;
    assert_int_equal(pco_transport_set_protocol(b.transport, &old->protocol), 0);
    pco_transport_resume_reading(b.transport);
    run_turns(loop, 4);
    assert_null(old);
    assert_int_equal(fresh.length, 5);
    assert_memory_equal(fresh.data, "hello", 5);
    pco_transport_abort(b.transport);
    run_turns(loop, 2);
    assert_int_equal(fresh.counts[LOST], 1);
    recorder_free(&fresh);
    recorder_free(&b.protocol);
}

static recorder between;
static recorder reused;
static unsigned char memory_of_old[16];

/* The new protocol is where the old one was, as an allocator may have it. */
static void switch_and_reuse(pco_protocol *self, pco_transport *transport, size_t hint,
                             void **buffer, size_t *length)
{
    (void)self;
    (void)hint;
    *buffer = memory_of_old;
    *length = sizeof memory_of_old;
    pco_transport_set_protocol(transport, &between.protocol);
    recorder_init(&reused, false);
    reused.counts[MADE] = 1;
    pco_transport_set_protocol(transport, &reused.protocol);
}

static const pco_protocol_methods reusing_methods = {.size = sizeof reusing_methods,
                                                     .get_buffer = switch_and_reuse};

static void switch_to_the_same_address(bool data_was_kept)
{
    connection b;
    connection_init(&b, true);
    connection_open(&b, loop);
    if (data_was_kept) {
        pco_transport_pause_reading(b.transport);
        assert_int_equal(pco__stream_keep(b.stream, "hello", 5), 0);
    } else {
        fake_feed(b.socket, "hello", 5);
    }
    recorder_init(&between, false);
    reused.protocol.methods = &reusing_methods;
    assert_int_equal(pco_transport_set_protocol(b.transport, &reused.protocol), 0);
    pco_transport_resume_reading(b.transport);
    run_turns(loop, 4);
    assert_int_equal(reused.length, 5);
    assert_memory_equal(reused.data, "hello", 5);
    pco_transport_abort(b.transport);
    run_turns(loop, 2);
    recorder_free(&reused);
    recorder_free(&between);
    recorder_free(&b.protocol);
}

static void a_new_protocol_may_have_the_address_of_the_old_one(void **state)
{
    (void)state;
    switch_to_the_same_address(false);
    switch_to_the_same_address(true);
}

static void the_old_protocol_is_not_called_after_a_switch_in_get_buffer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        switch_inside_get_buffer((i & 1) != 0, (i & 2) != 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_protocol_hears_of_the_next_event),
        TEST(a_protocol_that_is_none_is_refused),
        TEST(from_plain_to_buffered_while_a_receive_is_in_flight),
        TEST(from_buffered_to_plain_while_a_receive_is_in_flight),
        TEST(protocols_switch_in_every_callback_and_lose_nothing),
        TEST(who_is_replaced_in_its_get_buffer_is_not_called_again),
        TEST(a_buffered_protocol_receives_into_its_own_memory),
        TEST(an_empty_buffer_ends_the_connection),
        TEST(memory_that_is_nowhere_ends_the_connection),
        TEST(an_empty_buffer_for_lent_or_kept_data_ends_the_connection),
        TEST(what_is_called_in_get_buffer_counts_at_once),
        TEST(an_empty_buffer_while_pausing_is_no_failure),
        TEST(kept_data_goes_through_a_small_buffer_piece_by_piece),
        TEST(pausing_and_resuming_in_every_get_buffer_changes_nothing),
        TEST(what_get_buffer_did_last_about_reading_counts),
        TEST(pausing_and_resuming_in_the_middle_keeps_the_order),
        TEST(a_new_protocol_may_have_the_address_of_the_old_one),
        TEST(the_old_protocol_is_not_called_after_a_switch_in_get_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
