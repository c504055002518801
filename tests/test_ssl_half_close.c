/* SPDX-License-Identifier: MIT */
/*
 * Goal: with ssl_half_close each direction of a TLS 1.3 connection ends for itself; without it, and
 * with TLS 1.2, the end of one is the end of both.
 * Method: the library's end on the fake backend; its peer is OpenSSL, or the library's other end.
 */
#include "ssl_world.h"

static pco_loop *loop;
static pco_ssl_context *server_context;
static pco_ssl_context *client_context;
static tls_end server;
static tls_end client;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    server_context = tls_server_context();
    client_context = tls_client_context();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    server.half_close = true;
    client.half_close = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation =
        server.protocol.violation != NULL ? server.protocol.violation : client.protocol.violation;
    tls_end_free(&server);
    tls_end_free(&client);
    pco_ssl_context_release(server_context);
    pco_ssl_context_release(client_context);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
    }
    return violation == NULL && pieces == 0 ? 0 : 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void open_ends(void)
{
    tls_end_start(&server, loop, server_context);
    tls_end_start_client(&client, loop, client_context, "localhost");
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
}

static void says(tls_end *end, const char *text)
{
    assert_int_equal(pco_transport_write(end->transport, text, strlen(text)), 0);
    tls_run_ends(&server, &client);
}

static void ends(tls_end *end)
{
    assert_int_equal(pco_transport_write_eof(end->transport), 0);
    tls_run_ends(&server, &client);
}

/* ---- Two ends that can ---- */

static void one_direction_ends_and_the_other_goes_on(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    assert_true(pco_transport_can_write_eof(server.transport));
    assert_true(pco_transport_can_write_eof(client.transport));
    says(&client, "question");
    ends(&client);
    assert_string_equal(server.protocol.log, "made data:8 end");
    assert_string_equal(client.protocol.log, "made");
    says(&server, "answer");
    says(&server, "and more");
    assert_string_equal(client.protocol.log, "made data:6 data:8");
    assert_false(client.socket->shut_down); /* it is TLS that has ended, not TCP */
    pco_transport_close(server.transport);
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made data:8 end lost");
    assert_string_equal(client.protocol.log, "made data:6 data:8 end lost");
}

static void who_has_ended_writes_no_more(void **state)
{
    const pco_buffer buffer = {"x", 1};
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    ends(&client);
    assert_int_equal(pco_transport_write_eof(client.transport), 0); /* once more */
    assert_int_equal(pco_transport_write(client.transport, "x", 1), PCO_EPIPE);
    assert_int_equal(pco_transport_writelines(client.transport, &buffer, 1), PCO_EPIPE);
    assert_int_equal(pco_transport_write_owned(client.transport, "x", 1, NULL, NULL), PCO_EPIPE);
    assert_true(pco_transport_can_write_eof(client.transport));
    pco_transport_close(client.transport);
    assert_int_equal(pco_transport_write_eof(client.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_write(client.transport, "x", 1), PCO_ECLOSED);
    pco_transport_close(server.transport);
    tls_run_ends(&server, &client);
    assert_true(pco_transport_can_write_eof(client.transport));
    assert_string_equal(client.protocol.log, "made lost");
    assert_string_equal(server.protocol.log, "made end lost");
}

static void what_was_written_leaves_before_the_end(void **state)
{
    static unsigned char data[1000000];
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    client.socket->room = 0;
    assert_int_equal(pco_transport_write(client.transport, data, sizeof data), 0);
    assert_int_equal(pco_transport_write_eof(client.transport), 0);
    run_turns(loop, 3);
    client.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_int_equal(server.protocol.length, sizeof data);
    assert_int_equal(server.protocol.counts[END], 1);
    assert_int_equal(server.protocol.counts[LOST], 0);
    assert_int_equal(client.protocol.counts[RESUME], 1);
}

static void outside_of_callbacks_the_end_leaves_at_once(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    size_t sent = client.socket->sent_length;
    assert_int_equal(pco_transport_write_eof(client.transport), 0);
    assert_true(client.socket->sent_length > sent);
    assert_int_equal(pco_transport_get_write_buffer_size(client.transport), 0);
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made end");
}

static void a_close_notify_that_waits_counts_for_the_water_marks(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    assert_int_equal(pco_transport_set_write_buffer_limits(client.transport, 1, 1), 0);
    client.socket->room = 0;
    assert_int_equal(pco_transport_write_eof(client.transport), 0);
    assert_true(pco_transport_get_write_buffer_size(client.transport) > 1);
    assert_int_equal(client.protocol.counts[PAUSE], 1);
    client.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.counts[RESUME], 1);
    assert_int_equal(server.protocol.counts[END], 1);
}

/* As with TCP, both have ended, and who keeps it open has to close it. */
static void after_both_ends_it_is_closed_by_who_kept_it_open(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    client.protocol.keep_open = true;
    open_ends();
    ends(&client);
    ends(&server);
    assert_string_equal(server.protocol.log, "made end");
    assert_string_equal(client.protocol.log, "made end");
    pco_transport_close(server.transport);
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made end lost");
    assert_string_equal(client.protocol.log, "made end");
    pco_transport_close(client.transport);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made end lost");
}

static void eof_received_may_return_false_as_ever(void **state)
{
    (void)state;
    open_ends();
    ends(&client);
    assert_string_equal(server.protocol.log, "made end lost");
    assert_string_equal(client.protocol.log, "made end lost");
    assert_int_equal(server.protocol.error.code, 0);
    assert_int_equal(client.protocol.error.code, 0);
}

static void eof_waits_while_reading_is_paused(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    assert_int_equal(pco_transport_pause_reading(server.transport), 0);
    says(&client, "question");
    ends(&client);
    says(&server, "answer");
    assert_string_equal(server.protocol.log, "made");
    assert_int_equal(pco_transport_resume_reading(server.transport), 0);
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made data:8 end");
    for (unsigned i = 0; i < 2; i++) { /* it comes once */
        assert_int_equal(pco_transport_pause_reading(server.transport), 0);
        assert_int_equal(pco_transport_resume_reading(server.transport), 0);
        tls_run_ends(&server, &client);
    }
    assert_string_equal(server.protocol.log, "made data:8 end");
}

/* It has said that it was the end; whether TCP is reset or closed behind it cuts nothing. */
static void the_end_of_tcp_behind_it_means_nothing(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    ends(&client);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made end");
    assert_int_equal(pco_transport_write(server.transport, "answer", 6), 0);
    pco_transport_close(server.transport);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made end lost");
    assert_int_equal(server.protocol.error.code, 0);
}

static void without_a_close_notify_it_is_cut_off_as_ever(void **state)
{
    (void)state;
    client.protocol.keep_open = true;
    open_ends();
    ends(&server);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made lost:PCO_ETRUNCATED");
}

static void data_behind_a_close_notify_is_dropped(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    ends(&client);
    for (unsigned i = 0; i < 5; i++) {
        fake_feed(server.socket, "\x17\x03\x03\x00\x20nonsense", 13);
        run_turns(loop, 2);
    }
    assert_string_equal(server.protocol.log, "made end");
    says(&server, "answer");
    connection_assert_data(&(connection){.protocol = client.protocol}, "answer");
}

static void closing_after_the_end_waits_for_the_peer_s(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    open_ends();
    ends(&client);
    pco_transport_close(client.transport);
    tls_run_ends(&server, &client);
    assert_string_equal(client.protocol.log, "made");
    fake_advance(loop, TLS_SHUTDOWN_TIMEOUT + 1);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made lost:PCO_ETIMEDOUT");
}

static void write_and_end(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "answer", 6);
    pco_transport_write_eof(transport);
}

static void it_may_end_in_eof_received(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    server.protocol.at[END] = write_and_end;
    open_ends();
    ends(&client);
    assert_string_equal(server.protocol.log, "made end");
    assert_string_equal(client.protocol.log, "made data:6 end lost");
}

/* ---- What cannot ---- */

static void by_default_the_end_of_one_is_that_of_both(void **state)
{
    (void)state;
    server.half_close = false;
    server.protocol.keep_open = true;
    open_ends();
    assert_false(pco_transport_can_write_eof(server.transport));
    assert_int_equal(pco_transport_write_eof(server.transport), PCO_ENOTSUP);
    says(&server, "still");
    ends(&client); /* who can, can all the same */
    assert_string_equal(server.protocol.log, "made end lost");
    assert_string_equal(client.protocol.log, "made data:5 end lost");
}

/* RFC 5246, 7.2.1: the other one closes at once, and drops what it had to say. */
static void tls_1_2_has_no_half_close(void **state)
{
    SSL_CTX *ctx = tls_peer_ctx(TLS1_2_VERSION);
    tls_peer peer;
    (void)state;
    server.protocol.keep_open = true;
    tls_end_start(&server, loop, server_context);
    tls_peer_init(&peer, ctx, NULL);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made");
    assert_false(pco_transport_can_write_eof(server.transport));
    assert_int_equal(pco_transport_write_eof(server.transport), PCO_ENOTSUP);
    assert_int_equal(pco_transport_write(server.transport, "x", 1), 0);
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made end lost");
    assert_false(pco_transport_can_write_eof(server.transport));
    tls_peer_free(&peer);
    SSL_CTX_free(ctx);
}

/* ---- OpenSSL as the peer ---- */

static void key_updates_may_be_asked_for_in_either_half(void **state)
{
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    tls_peer peer;
    (void)state;
    server.protocol.keep_open = true;
    tls_end_start(&server, loop, server_context);
    tls_peer_init(&peer, ctx, NULL);
    tls_run(&peer, &server);
    assert_int_equal(pco_transport_write_eof(server.transport), 0);
    tls_run(&peer, &server);
    assert_true(peer.ended);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        tls_peer_write(&peer, "word", 4);
        tls_run(&peer, &server);
    }
    assert_string_equal(server.protocol.log, "made data:4 data:4 data:4");
    pco_transport_close(server.transport);
    assert_int_equal(SSL_shutdown(peer.ssl), 1);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made data:4 data:4 data:4 lost");
    tls_peer_free(&peer);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_direction_ends_and_the_other_goes_on),
        TEST(who_has_ended_writes_no_more),
        TEST(what_was_written_leaves_before_the_end),
        TEST(outside_of_callbacks_the_end_leaves_at_once),
        TEST(a_close_notify_that_waits_counts_for_the_water_marks),
        TEST(after_both_ends_it_is_closed_by_who_kept_it_open),
        TEST(eof_received_may_return_false_as_ever),
        TEST(eof_waits_while_reading_is_paused),
        TEST(the_end_of_tcp_behind_it_means_nothing),
        TEST(without_a_close_notify_it_is_cut_off_as_ever),
        TEST(data_behind_a_close_notify_is_dropped),
        TEST(closing_after_the_end_waits_for_the_peer_s),
        TEST(it_may_end_in_eof_received),
        TEST(by_default_the_end_of_one_is_that_of_both),
        TEST(tls_1_2_has_no_half_close),
        TEST(key_updates_may_be_asked_for_in_either_half),
    };
    int failures = cmocka_run_group_tests_name("ssl_half_close", tests, NULL, NULL);
    certificates_free();
    return failures;
}
