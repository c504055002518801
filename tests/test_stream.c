/* SPDX-License-Identifier: MIT */
/*
 * Goal: a connection's callbacks come in the order of the protocol's grammar, and its input comes
 * complete and in order, whatever is paused, resumed, switched or closed in between.
 * Method: streams on the fake backend, where each test says when which operation ends. The
 * protocols with buffers are in test_stream_buffered.c, writing is in test_stream_write.c, closing
 * in test_stream_close.c, and chance in test_stream_orders.c.
 */
#include "support.h"

static pco_loop *loop;
static connection a;
static connection b;

static int set_up(void **state)
{
    (void)state;
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
    if (loop != NULL) {
        fake_of(loop)->hold_cancels = false;
        pco_loop_free(loop);
    }
    right = connection_kept_the_rules(&a) && connection_kept_the_rules(&b);
    connection_free(&a);
    connection_free(&b);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

/* ---- The plain course ---- */

static void a_connection_is_made_hears_data_and_the_end_and_is_lost(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_string_equal(a.protocol.log, "made");
    fake_feed(a.socket, "hello", 5);
    run_turns(loop, 1);
    assert_string_equal(a.protocol.log, "made data:5");
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:5 end lost");
    connection_assert_data(&a, "hello");
    assert_int_equal(a.protocol.error.code, 0);
    assert_true(a.socket->closed);
    assert_false(a.socket->reset);
}

static void feed_early(recorder *self, pco_transport *transport)
{
    (void)self;
    fake_feed(fake_socket_of(loop, pco_transport_get_socket(transport)), "early", 5);
}

static void data_never_comes_before_connection_made_returns(void **state)
{
    (void)state;
    a.protocol.at[MADE] = feed_early;
    connection_open(&a, loop);
    assert_string_equal(a.protocol.log, "made");
    run_turns(loop, 1);
    assert_string_equal(a.protocol.log, "made data:5");
}

static void data_comes_in_order_however_it_is_cut(void **state)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog";

    (void)state;
    connection_open(&a, loop);
    for (size_t cut = 1; cut < sizeof text; cut++) {
        size_t before = a.protocol.length;
        a.socket->input_cut = cut;
        fake_feed(a.socket, text, sizeof text - 1);
        run_turns(loop, (unsigned)(sizeof text / cut) + 1);
        assert_int_equal(a.protocol.length, before + sizeof text - 1);
        assert_memory_equal(a.protocol.data + before, text, sizeof text - 1);
    }
}

static void data_and_end_are_told_apart_though_they_come_together(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "last", 4);
    fake_feed_eof(a.socket);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made data:4 end lost");
}

static void a_protocol_that_stays_open_after_the_end_can_write_on(void **state)
{
    (void)state;
    a.protocol.keep_open = true;
    connection_open(&a, loop);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made end");
    assert_false(pco_transport_is_closing(a.transport));
    assert_int_equal(pco_transport_write(a.transport, "answer", 6), 0);
    run_turns(loop, 2);
    assert_int_equal(a.socket->sent_length, 6);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made end lost");
}

static void a_reset_after_the_end_is_noticed(void **state)
{
    (void)state;
    a.protocol.keep_open = true;
    connection_open(&a, loop);
    fake_feed_eof(a.socket);
    run_turns(loop, 2);
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made end lost:PCO_ECONNRESET");
}

static void callbacks_may_be_left_out(void **state)
{
    static const pco_protocol_methods none = {.size = sizeof none};

    (void)state;
    a.protocol.protocol.methods = &none;
    connection_open(&a, loop);
    pco_transport_set_write_buffer_limits(a.transport, 0, 0);
    a.socket->room = 0;
    assert_int_equal(pco_transport_write(a.transport, "x", 1), 0);
    fake_feed(a.socket, "dropped", 7);
    run_turns(loop, 2);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    fake_feed_eof(a.socket);
    run_turns(loop, 4);
    assert_true(a.socket->closed);
    assert_int_equal(a.socket->sent_length, 1);
}

/* ---- Failures ---- */

static void a_failed_receive_is_told_to_connection_lost(void **state)
{
    static const int errors[] = {PCO_ECONNRESET, PCO_ETIMEDOUT, PCO_ENOBUFS, PCO_EHOSTUNREACH,
                                 PCO_EUNKNOWN};

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        connection_init(&a, false);
        connection_open(&a, loop);
        fake_feed(a.socket, "before", 6);
        fake_feed_error(a.socket, errors[i], 77);
        run_turns(loop, 5);
        assert_int_equal(a.protocol.counts[DATA], 1);
        assert_int_equal(a.protocol.counts[END], 0);
        assert_int_equal(a.protocol.counts[LOST], 1);
        assert_int_equal(a.protocol.error.code, errors[i]);
        assert_int_equal(a.protocol.error.system_code, 77);
        assert_non_null(strstr(a.protocol.error.message, pco_strerror(errors[i])));
        assert_null(a.protocol.violation);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void a_socket_that_cannot_be_attached_stays_the_callers(void **state)
{
    pco_socket sock = fake_socket_new(loop);
    pco__stream *stream = NULL;
    pco_error error = {0};

    (void)state;
    assert_non_null(pco__transports_of(loop, pco__stream_send_corks));
    size_t before = memory_pieces();
    fake_of(loop)->attach_error = PCO_EMFILE;
    assert_int_equal(pco__stream_new(loop, sock, a.peer, &a.options, &stream, &error), PCO_EMFILE);
    assert_int_equal(error.code, PCO_EMFILE);
    assert_null(stream);
    assert_int_equal(memory_pieces(), before);
    assert_false(fake_socket_of(loop, sock)->closed);
}

/* ---- Pausing ---- */

static void nothing_is_delivered_while_paused_and_everything_on_resume(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_true(pco_transport_is_reading(a.transport));
    assert_int_equal(pco_transport_pause_reading(a.transport), 0);
    assert_int_equal(pco_transport_pause_reading(a.transport), 0);
    assert_false(pco_transport_is_reading(a.transport));
    fake_feed(a.socket, "one", 3);
    run_turns(loop, 5);
    fake_feed(a.socket, "two", 3);
    fake_feed_eof(a.socket);
    run_turns(loop, 5);
    assert_string_equal(a.protocol.log, "made");
    assert_int_equal(pco_transport_resume_reading(a.transport), 0);
    assert_int_equal(pco_transport_resume_reading(a.transport), 0);
    assert_true(pco_transport_is_reading(a.transport));
    assert_string_equal(a.protocol.log, "made");
    run_turns(loop, 5);
    connection_assert_data(&a, "onetwo");
    assert_string_equal(a.protocol.log, "made data:6 end lost");
}

static void pausing_in_connection_made_holds_back_the_first_data(void **state)
{
    (void)state;
    a.protocol.at[MADE] = recorder_pause;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 5);
    assert_string_equal(a.protocol.log, "made");
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1");
}

static void pausing_in_data_received_holds_back_the_rest(void **state)
{
    (void)state;
    a.protocol.at[DATA] = recorder_pause;
    connection_open(&a, loop);
    a.socket->input_cut = 2;
    fake_feed(a.socket, "abcdef", 6);
    run_turns(loop, 5);
    connection_assert_data(&a, "ab");
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 5);
    connection_assert_data(&a, "abcd");
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 5);
    connection_assert_data(&a, "abcdef");
}

/* The receive has ended before the cancel reaches it, as a completion port may have it. */
static void what_a_cancel_brings_is_kept_and_delivered_on_resume(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    pco_transport_pause_reading(a.transport);
    assert_true(fake_is_canceled(a.socket, PCO__OP_RECV));
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    fake_feed(a.socket, "later", 5);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    pco_transport_resume_reading(a.transport);
    assert_string_equal(a.protocol.log, "made");
    run_turns(loop, 6);
    connection_assert_data(&a, "keptlater");
    assert_string_equal(a.protocol.log, "made data:4 data:5 end lost");
}

static void an_end_that_a_cancel_brings_is_kept(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed_eof(a.socket);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made");
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made end lost");
}

static void resuming_before_the_cancel_has_ended_loses_nothing(void **state)
{
    (void)state;
    fake_of(loop)->hold_cancels = true;
    connection_open(&a, loop);
    pco_transport_pause_reading(a.transport);
    pco_transport_resume_reading(a.transport);
    fake_feed(a.socket, "late", 4);
    assert_true(fake_is_canceled(a.socket, PCO__OP_RECV));
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, 2));
    run_turns(loop, 1);
    connection_assert_data(&a, "la");
    run_turns(loop, 2);
    connection_assert_data(&a, "late");
}

static void resuming_when_the_cancel_ends_without_data_receives_again(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_pause_reading(a.transport);
    pco_transport_resume_reading(a.transport);
    fake_feed(a.socket, "late", 4);
    run_turns(loop, 3);
    connection_assert_data(&a, "late");
}

static void pausing_again_before_what_was_kept_is_delivered_keeps_it(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    for (unsigned i = 0; i < 3; i++) {
        pco_transport_resume_reading(a.transport);
        pco_transport_pause_reading(a.transport);
        run_turns(loop, 2);
        assert_string_equal(a.protocol.log, "made");
    }
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made data:4");
}

static void a_reset_is_noticed_while_reading_is_paused(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    assert_true(fake_is_in_flight(a.socket, PCO__OP_WATCH));
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_ECONNRESET");
    assert_int_equal(a.protocol.error.system_code, 104);
}

static void a_reset_is_noticed_while_something_is_kept(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost:PCO_ECONNRESET");
}

static void a_closing_transport_can_neither_pause_nor_resume(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    pco_transport_close(a.transport);
    assert_int_equal(pco_transport_pause_reading(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_resume_reading(a.transport), PCO_ECLOSED);
    assert_false(pco_transport_is_reading(a.transport));
    assert_true(pco_transport_is_closing(a.transport));
}

/* ---- Several connections ---- */

static void abort_b(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_transport_abort(b.transport);
}

static void a_connection_aborted_by_another_of_the_same_batch_hears_nothing_more(void **state)
{
    (void)state;
    a.protocol.at[DATA] = abort_b;
    connection_open(&a, loop);
    connection_open(&b, loop);
    fake_feed(a.socket, "x", 1);
    fake_feed(b.socket, "y", 1);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    assert_true(fake_decide(b.socket, PCO__OP_RECV, 0, SIZE_MAX));
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1");
    assert_string_equal(b.protocol.log, "made lost");
}

static void abort_a(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_transport_abort(a.transport);
}

static void connections_may_abort_each_other(void **state)
{
    (void)state;
    a.protocol.at[DATA] = abort_b;
    b.protocol.at[LOST] = abort_a;
    connection_open(&a, loop);
    connection_open(&b, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 5);
    assert_string_equal(a.protocol.log, "made data:1 lost");
    assert_string_equal(b.protocol.log, "made lost");
}

/* ---- The shell ---- */

static void hold(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_retain(transport);
}

static unsigned released;

static void count_release(const void *data, void *context)
{
    (void)data;
    (void)context;
    released++;
}

static void a_retained_shell_answers_closed(void **state)
{
    pco_address address;
    pco_buffer buffer = {.data = "x", .length = 1};
    size_t high = 0;
    size_t low = 0;

    (void)state;
    released = 0;
    a.protocol.at[MADE] = hold;
    connection_open(&a, loop);
    pco_transport_abort(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_int_equal(pco_transport_write(a.transport, "x", 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_writelines(a.transport, &buffer, 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_owned(a.transport, "x", 1, count_release, NULL),
                     PCO_ECLOSED);
    assert_int_equal(released, 1);
    assert_int_equal(pco_transport_write_eof(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_pause_reading(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_resume_reading(a.transport), PCO_ECLOSED);
    assert_false(pco_transport_is_reading(a.transport));
    assert_true(pco_transport_is_closing(a.transport));
    assert_int_equal(pco_transport_set_protocol(a.transport, &b.protocol.protocol), PCO_ECLOSED);
    assert_null(pco_transport_get_protocol(a.transport));
    assert_true(pco_transport_can_write_eof(a.transport));
    assert_ptr_equal(pco_transport_get_loop(a.transport), loop);
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 2, 1), PCO_ECLOSED);
    pco_transport_get_write_buffer_limits(a.transport, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
    assert_int_equal(pco_transport_get_write_buffer_size(a.transport), 0);
    assert_int_equal(pco_transport_get_socket(a.transport), PCO_NO_SOCKET);
    assert_int_equal(pco_transport_get_sockname(a.transport, &address), PCO_ECLOSED);
    assert_int_equal(pco_transport_get_peername(a.transport, &address), PCO_ECLOSED);
    pco_transport_close(a.transport);
    pco_transport_abort(a.transport);
    pco_transport_abort_reset(a.transport);
    run_turns(loop, 2);
    assert_string_equal(a.protocol.log, "made lost");
    pco_transport_release(a.transport);
}

static void a_shell_outlives_the_loop(void **state)
{
    pco_transport *shell;

    (void)state;
    connection_open(&a, loop);
    shell = pco_transport_retain(a.transport);
    assert_ptr_equal(shell, a.transport);
    assert_ptr_equal(pco_transport_get_loop(shell), loop);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(a.protocol.log, "made lost");
    assert_null(pco_transport_get_loop(shell));
    assert_null(pco_transport_get_protocol(shell));
    assert_int_equal(pco_transport_write(shell, "x", 1), PCO_ECLOSED);
    assert_true(pco_transport_is_closing(shell));
    pco_transport_close(shell);
    pco_transport_retain(shell);
    pco_transport_release(shell);
    pco_transport_release(shell);
}

static void the_peers_name_is_known_as_long_as_the_connection(void **state)
{
    pco_address peer;
    pco_address *found;
    size_t count;

    (void)state;
    assert_int_equal(pco__system_network.resolve("127.0.0.1", 1234, PCO_AF_INET, PCO_AI_NUMERICHOST,
                                                 &found, &count, NULL),
                     0);
    b.peer = found;
    connection_open(&b, loop);
    b.peer = NULL;
    assert_int_equal(pco_transport_get_peername(b.transport, &peer), 0);
    assert_true(pco_address_equal(&peer, found));
    pco__free(found);
    assert_int_not_equal(pco_transport_get_sockname(b.transport, &peer), 0); /* an invented one */
    assert_int_equal(pco_transport_get_socket(b.transport), b.socket->number);
}

static void a_plain_connection_knows_nothing_of_tls(void **state)
{
    pco_ssl_info info = {.size = sizeof info};
    pco_ssl_info wrong = {.size = 0};
    pco_address peer;

    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_get_ssl_info(a.transport, &info), PCO_ENOTSUP);
    assert_int_equal(pco_transport_get_ssl_info(a.transport, &wrong), PCO_EINVAL);
    assert_int_equal(pco_transport_get_ssl_info(a.transport, NULL), PCO_EINVAL);
    assert_null(pco_transport_get_ssl_object(a.transport));
    assert_int_not_equal(pco_transport_get_peername(a.transport, &peer), 0); /* nobody told */
}

/* ---- The end of the loop ---- */

static void a_loop_that_is_freed_aborts_its_connections(void **state)
{
    (void)state;
    b.options.close_timeout = 5;
    connection_open(&a, loop);
    connection_open(&b, loop);
    a.socket->room = 0;
    b.socket->room = 0;
    pco_transport_write(a.transport, "never sent", 10);
    pco_transport_write(b.transport, "never sent", 10);
    pco_transport_close(b.transport);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(a.protocol.log, "made lost");
    assert_string_equal(b.protocol.log, "made lost");
}

static void a_loop_is_freed_while_input_is_kept(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    pco_transport_resume_reading(a.transport);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(a.protocol.log, "made lost");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_made_hears_data_and_the_end_and_is_lost),
        TEST(data_never_comes_before_connection_made_returns),
        TEST(data_comes_in_order_however_it_is_cut),
        TEST(data_and_end_are_told_apart_though_they_come_together),
        TEST(a_protocol_that_stays_open_after_the_end_can_write_on),
        TEST(a_reset_after_the_end_is_noticed),
        TEST(callbacks_may_be_left_out),
        TEST(a_failed_receive_is_told_to_connection_lost),
        TEST(a_socket_that_cannot_be_attached_stays_the_callers),
        TEST(nothing_is_delivered_while_paused_and_everything_on_resume),
        TEST(pausing_in_connection_made_holds_back_the_first_data),
        TEST(pausing_in_data_received_holds_back_the_rest),
        TEST(what_a_cancel_brings_is_kept_and_delivered_on_resume),
        TEST(an_end_that_a_cancel_brings_is_kept),
        TEST(resuming_before_the_cancel_has_ended_loses_nothing),
        TEST(resuming_when_the_cancel_ends_without_data_receives_again),
        TEST(pausing_again_before_what_was_kept_is_delivered_keeps_it),
        TEST(a_reset_is_noticed_while_reading_is_paused),
        TEST(a_reset_is_noticed_while_something_is_kept),
        TEST(a_closing_transport_can_neither_pause_nor_resume),
        TEST(a_connection_aborted_by_another_of_the_same_batch_hears_nothing_more),
        TEST(connections_may_abort_each_other),
        TEST(a_retained_shell_answers_closed),
        TEST(a_shell_outlives_the_loop),
        TEST(the_peers_name_is_known_as_long_as_the_connection),
        TEST(a_plain_connection_knows_nothing_of_tls),
        TEST(a_loop_that_is_freed_aborts_its_connections),
        TEST(a_loop_is_freed_while_input_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
