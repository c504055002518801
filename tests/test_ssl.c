/* SPDX-License-Identifier: MIT */
/*
 * test_ssl.c: an open TLS connection, and its end. Goal: data arrives whole and in order whatever
 * the callbacks do meanwhile; each way to end a connection is told as what it is; and a bad peer
 * harms nobody but itself.
 * Method: the fake backend, OpenSSL with memory BIOs as the peer; and both ends of the library.
 */
#include "openssl_memory.h"
#include "ssl_world.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

static pco_loop *loop;
static tls_end server;
static tls_end client;
static tls_peer peer;

static int begin(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    memset(&peer, 0, sizeof peer);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation =
        server.protocol.violation != NULL ? server.protocol.violation : client.protocol.violation;
    tls_end_free(&server);
    tls_end_free(&client);
    tls_peer_free(&peer);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* Opens a connection of the server end and the peer, over TLS of a version, 0 for any. */
static void open_to_peer(int version)
{
    pco_ssl_context *context = tls_server_context();
    SSL_CTX *ctx = tls_peer_ctx(version);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_true(peer.established);
    assert_int_equal(server.protocol.counts[MADE], 1);
}

static void open_ends(void)
{
    pco_ssl_context *context = tls_server_context();
    pco_ssl_context *client_context = tls_client_context();
    tls_end_start(&server, loop, context);
    tls_end_start_client(&client, loop, client_context, "localhost");
    pco_ssl_context_release(context);
    pco_ssl_context_release(client_context);
    tls_run_ends(&server, &client);
    assert_int_equal(server.protocol.counts[MADE], 1);
    assert_int_equal(client.protocol.counts[MADE], 1);
}

static unsigned char *pattern_of(size_t length)
{
    unsigned char *data = malloc(length);
    assert_non_null(data);
    for (size_t i = 0; i < length; i++) {
        data[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
    }
    return data;
}

static void assert_received(const unsigned char *data, size_t length, const unsigned char *expected,
                            size_t expected_length)
{
    assert_int_equal(length, expected_length);
    assert_memory_equal(data, expected, length);
}

static void assert_log(const char *expected)
{
    assert_string_equal(server.protocol.log, expected);
}

static void peer_writes(const char *text)
{
    tls_peer_write(&peer, text, strlen(text));
}

/* ---- What callbacks do ---- */

static void echo(recorder *self, pco_transport *transport)
{
    pco_transport_write(transport, self->data, self->length);
    self->length = 0;
}

static void pause_reading(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
}

static void pause_and_resume(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
    pco_transport_resume_reading(transport);
}

static void close_it(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_close(transport);
}

static void abort_it(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_abort(transport);
}

static void say_bye(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "bye", 3);
}

/* More than any memory of the loop holds. */
#define MUCH ((size_t)600 * 1024)

static void write_much(recorder *self, pco_transport *transport)
{
    static unsigned char much[MUCH];
    (void)self;
    pco_transport_write(transport, much, sizeof much);
}

/* ---- Reading ---- */

static void records_that_come_together_are_delivered_together(void **state)
{
    (void)state;
    open_to_peer(0);
    peer_writes("one");
    peer_writes("two");
    peer_writes("three");
    tls_run(&peer, &server);
    assert_log("made data:11");
    assert_memory_equal(server.protocol.data, "onetwothree", 11);
}

static void a_megabyte_is_echoed(void **state)
{
    const size_t length = 1024 * 1024;
    unsigned char *data = pattern_of(length);
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        open_to_peer(version);
        server.protocol.at[DATA] = echo;
        tls_peer_write(&peer, data, length);
        tls_run(&peer, &server);
        assert_received(peer.received, peer.length, data, length);
        pco_transport_abort(server.transport);
        run_turns(loop, 2);
        tls_peer_free(&peer);
        tls_end_free(&server);
        tls_end_init(&server, false);
    }
    memset(&peer, 0, sizeof peer);
    free(data);
}

static void segments_of_any_size_are_put_together(void **state)
{
    const size_t length = 40000;
    unsigned char *data = pattern_of(length);
    (void)state;
    open_to_peer(0);
    static const size_t cuts[] = {1, 2, 5, 7, 1000, 16413};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        server.protocol.length = 0;
        server.protocol.log[0] = '\0';
        server.socket->input_cut = cuts[i];
        tls_peer_write(&peer, data, length);
        tls_run(&peer, &server);
        assert_received(server.protocol.data, server.protocol.length, data, length);
    }
    free(data);
}

static void both_ends_stream_at_once(void **state)
{
    const size_t length = 3 * 1024 * 1024;
    unsigned char *data = pattern_of(length);
    (void)state;
    open_ends();
    server.socket->room = 100000;
    assert_int_equal(pco_transport_write(server.transport, data, length), 0);
    assert_int_equal(pco_transport_write(client.transport, data, length), 0);
    for (int i = 0; i < 100; i++) {
        tls_run_ends(&server, &client);
        server.socket->room = 100000;
    }
    assert_received(server.protocol.data, server.protocol.length, data, length);
    assert_received(client.protocol.data, client.protocol.length, data, length);
    free(data);
}

static void a_buffered_protocol_is_given_its_data_in_its_own_memory(void **state)
{
    const size_t length = 20000;
    unsigned char *data = pattern_of(length);
    (void)state;
    tls_end_init(&server, true);
    open_to_peer(0);
    tls_peer_write(&peer, data, length);
    peer_writes("end");
    tls_run(&peer, &server);
    assert_int_equal(server.protocol.length, length + 3);
    assert_memory_equal(server.protocol.data, data, length);
    assert_memory_equal(server.protocol.data + length, "end", 3);
    free(data);
}

static void an_empty_buffer_ends_the_connection(void **state)
{
    (void)state;
    tls_end_init(&server, true);
    server.protocol.buffer_size = 0;
    open_to_peer(0);
    peer_writes("x");
    tls_run(&peer, &server);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made get lost:PCO_EINVAL");
    assert_string_equal(server.protocol.error.message, "TLS: get_buffer returned an empty buffer");
}

static void a_protocol_without_callbacks_drops_what_comes(void **state)
{
    static const pco_protocol_methods methods = {.size = sizeof methods};
    static pco_protocol nobody = {.methods = &methods};
    (void)state;
    open_to_peer(0);
    assert_int_equal(pco_transport_set_protocol(server.transport, &nobody), 0);
    peer_writes("x");
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_true(tls_end_is_over(&server));
    assert_true(peer.ended);
    assert_log("made");
}

/* ---- Pausing ---- */

static void what_comes_while_paused_waits_and_keeps_its_order(void **state)
{
    const size_t length = 50000;
    unsigned char *data = pattern_of(length);
    (void)state;
    for (int buffered = 0; buffered <= 1; buffered++) {
        tls_end_init(&server, buffered == 1);
        open_to_peer(0);
        server.protocol.at[buffered == 1 ? UPDATED : DATA] = pause_reading;
        tls_peer_write(&peer, data, length);
        SSL_shutdown(peer.ssl);
        for (unsigned turns = 0; turns < 1000 && server.protocol.counts[END] == 0; turns++) {
            tls_run(&peer, &server);
            if (server.protocol.counts[END] == 0) {
                assert_false(pco_transport_is_reading(server.transport));
                size_t had = server.protocol.length;
                run_turns(loop, 3);
                assert_int_equal(server.protocol.length, had);
                assert_int_equal(pco_transport_resume_reading(server.transport), 0);
                assert_int_equal(server.protocol.length, had);
            }
        }
        assert_received(server.protocol.data, server.protocol.length, data, length);
        tls_run(&peer, &server);
        assert_true(peer.ended);
        assert_true(tls_end_is_over(&server));
        assert_int_equal(server.protocol.error.code, 0);
        tls_peer_free(&peer);
        tls_end_free(&server);
    }
    memset(&peer, 0, sizeof peer);
    tls_end_init(&server, false);
    free(data);
}

static void reading_may_be_paused_from_the_start(void **state)
{
    (void)state;
    server.protocol.at[MADE] = pause_reading;
    open_to_peer(0);
    peer_writes("hello");
    tls_run(&peer, &server);
    assert_log("made");
    pco_transport_resume_reading(server.transport);
    tls_run(&peer, &server);
    assert_log("made data:5");
}

static void pausing_and_resuming_inside_a_callback_changes_nothing(void **state)
{
    const size_t length = 50000;
    unsigned char *data = pattern_of(length);
    (void)state;
    for (int buffered = 0; buffered <= 1; buffered++) {
        tls_end_init(&server, buffered == 1);
        open_to_peer(0);
        server.protocol.at[buffered == 1 ? UPDATED : DATA] = pause_and_resume;
        tls_peer_write(&peer, data, length);
        tls_run(&peer, &server);
        tls_peer_write(&peer, data, length);
        tls_run(&peer, &server);
        assert_int_equal(server.protocol.length, 2 * length);
        assert_memory_equal(server.protocol.data + length, data, length);
        pco_transport_abort(server.transport);
        run_turns(loop, 2);
        tls_peer_free(&peer);
        tls_end_free(&server);
    }
    memset(&peer, 0, sizeof peer);
    tls_end_init(&server, false);
    free(data);
}

static void a_transport_may_end_while_its_held_input_waits_for_a_turn(void **state)
{
    unsigned char *data = pattern_of(5000);
    (void)state;
    tls_end_init(&server, true);
    open_to_peer(0);
    server.protocol.at[UPDATED] = pause_reading;
    tls_peer_write(&peer, data, 5000);
    tls_run(&peer, &server);
    pco_transport_resume_reading(server.transport);
    pco_transport_pause_reading(server.transport);
    pco_transport_resume_reading(server.transport);
    pco_transport_abort(server.transport);
    pco_transport_release(server.transport);
    server.transport = NULL;
    run_turns(loop, 3);
    assert_int_equal(server.protocol.counts[UPDATED], 1);
    assert_int_equal(server.protocol.counts[LOST], 1);
    free(data);
}

static void a_reset_is_noticed_while_reading_is_paused(void **state)
{
    (void)state;
    server.protocol.at[MADE] = pause_reading;
    open_to_peer(0);
    fake_feed_error(server.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_log("made lost:PCO_ECONNRESET");
    assert_int_equal(server.protocol.error.system_code, 104);
}

/* ---- Protocols ---- */

static recorder second;

static void switch_protocol(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_set_protocol(transport, &second.protocol);
}

static void another_protocol_is_given_what_comes_next(void **state)
{
    (void)state;
    tls_end_init(&server, true);
    recorder_init(&second, false);
    second.book = &server.protocol;
    server.protocol.at[UPDATED] = switch_protocol;
    open_to_peer(0);
    peer_writes("one");
    peer_writes("two");
    peer_writes("three");
    tls_run(&peer, &server);
    assert_log("made get updated:3 data:8");
    assert_memory_equal(server.protocol.data, "onetwothree", 11);
}

static void a_protocol_switched_in_get_buffer_is_asked_itself(void **state)
{
    (void)state;
    tls_end_init(&server, true);
    recorder_init(&second, false);
    second.book = &server.protocol;
    server.protocol.at[GET] = switch_protocol;
    open_to_peer(0);
    peer_writes("one");
    tls_run(&peer, &server);
    assert_log("made get data:3");
}

/* ---- Writing ---- */

static void buffers_written_together_share_a_record(void **state)
{
    static const pco_buffer buffers[] = {{"he", 2}, {NULL, 0}, {"llo ", 4}, {"world", 5}};
    (void)state;
    open_to_peer(0);
    size_t from = server.socket->sent_length;
    assert_int_equal(pco_transport_writelines(server.transport, buffers, 4), 0);
    tls_run(&peer, &server);
    assert_int_equal(tls_count_records(server.socket, from, TLS_RECORD_DATA), 1);
    assert_received(peer.received, peer.length, (const unsigned char *)"hello world", 11);
    assert_int_equal(pco_transport_writelines(server.transport, buffers + 1, 1), 0);
    assert_int_equal(pco_transport_writelines(server.transport, NULL, 0), 0);
    assert_int_equal(pco_transport_write(server.transport, NULL, 0), 0);
    tls_run(&peer, &server);
    assert_int_equal(tls_count_records(server.socket, from, TLS_RECORD_DATA), 1);
}

static void large_and_small_buffers_make_full_records(void **state)
{
    unsigned char *data = pattern_of(100000);
    const pco_buffer buffers[] = {
        {data, 40000}, {data + 40000, 100}, {data + 40100, 30000}, {data + 70100, 29900}};
    (void)state;
    open_to_peer(0);
    size_t from = server.socket->sent_length;
    assert_int_equal(pco_transport_writelines(server.transport, buffers, 4), 0);
    tls_run(&peer, &server);
    assert_int_equal(tls_count_records(server.socket, from, TLS_RECORD_DATA), 7);
    assert_received(peer.received, peer.length, data, 100000);
    free(data);
}

static unsigned releases;

static void count_release(const void *data, void *context)
{
    (void)data;
    (void)context;
    releases++;
}

static void memory_handed_over_is_released_once(void **state)
{
    (void)state;
    releases = 0;
    open_to_peer(0);
    assert_int_equal(pco_transport_write_owned(server.transport, "hello", 5, count_release, NULL),
                     0);
    assert_int_equal(releases, 1);
    assert_int_equal(pco_transport_write_owned(server.transport, "hello", 5, NULL, NULL), 0);
    tls_run(&peer, &server);
    assert_int_equal(peer.length, 10);
    pco_transport_close(server.transport);
    assert_int_equal(pco_transport_write_owned(server.transport, "hello", 5, count_release, NULL),
                     PCO_ECLOSED);
    assert_int_equal(releases, 2);
}

static void the_write_side_cannot_be_closed_alone(void **state)
{
    (void)state;
    open_to_peer(0);
    assert_false(pco_transport_can_write_eof(server.transport));
    assert_int_equal(pco_transport_write_eof(server.transport), PCO_ENOTSUP);
    peer_writes("x");
    tls_run(&peer, &server);
    assert_log("made data:1");
}

static void note_detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                          void *context)
{
    (void)sock;
    (void)data;
    (void)length;
    (void)error;
    ++*(unsigned *)context;
}

static void it_cannot_be_detached(void **state)
{
    unsigned calls = 0;
    pco_error error = {0};
    (void)state;
    open_to_peer(0);
    assert_int_equal(pco_transport_detach(server.transport, note_detached, &calls, NULL, &error),
                     PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "keys"));
    peer_writes("x");
    tls_run(&peer, &server);
    assert_log("made data:1");
    assert_int_equal(calls, 0);
}

static void the_water_marks_pause_and_resume_writing_in_turns(void **state)
{
    unsigned char *data = pattern_of(100000);
    (void)state;
    open_to_peer(0);
    server.socket->room = 0;
    assert_int_equal(pco_transport_write(server.transport, data, 60000), 0);
    assert_log("made");
    assert_int_equal(pco_transport_write(server.transport, data + 60000, 40000), 0);
    assert_log("made pause");
    assert_true(pco_transport_get_write_buffer_size(server.transport) > 100000);
    server.socket->room = 50000;
    tls_run(&peer, &server);
    assert_log("made pause");
    server.socket->room = SIZE_MAX;
    tls_run(&peer, &server);
    assert_log("made pause resume");
    assert_int_equal(pco_transport_get_write_buffer_size(server.transport), 0);
    assert_received(peer.received, peer.length, data, 100000);
    free(data);
}

/*
 * A part of it waits to be encrypted, since the turn is so short; and a little more, as of a
 * message of TLS's own, is what the stream below can send at once.
 */
static void be_over_the_mark_for_a_moment(recorder *self, pco_transport *transport)
{
    unsigned char *data = pattern_of(150000);
    (void)self;
    fake_of(loop)->tick = 100000000;
    assert_int_equal(pco_transport_write(transport, data, 150000), 0);
    size_t waits = pco_transport_get_write_buffer_size(transport);
    assert_int_equal(pco__stream_append(server.stream, data, 20, true), 0);
    assert_int_equal(pco_transport_get_write_buffer_size(transport), waits + 20);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, waits, 100), 0);
    assert_int_equal(pco_transport_get_write_buffer_size(transport), waits);
    pco_transport_abort(transport);
    free(data);
}

static void between_the_marks_nobody_is_told_to_pause(void **state)
{
    (void)state;
    open_to_peer(0);
    server.protocol.at[DATA] = be_over_the_mark_for_a_moment;
    peer_writes("x");
    tls_move_to_end(&peer, &server);
    run_turns(loop, 2);
    assert_log("made data:1 lost");
}

static void a_callback_that_writes_much_does_not_destroy_what_is_still_to_be_read(void **state)
{
    const size_t length = 150000;
    unsigned char *data = pattern_of(length);
    (void)state;
    for (int buffered = 0; buffered <= 1; buffered++) {
        tls_end_init(&server, buffered == 1);
        open_to_peer(0);
        server.socket->room = 1000;
        server.protocol.at[buffered == 1 ? GET : DATA] = write_much;
        tls_peer_write(&peer, data, buffered == 1 ? 2000 : length);
        tls_run(&peer, &server);
        assert_received(server.protocol.data, server.protocol.length, data,
                        buffered == 1 ? 2000 : length);
        size_t written = server.protocol.counts[buffered == 1 ? GET : DATA] * MUCH;
        server.socket->room = SIZE_MAX;
        tls_run(&peer, &server);
        assert_int_equal(peer.length, written);
        pco_transport_abort(server.transport);
        run_turns(loop, 2);
        tls_peer_free(&peer);
        tls_end_free(&server);
    }
    memset(&peer, 0, sizeof peer);
    tls_end_init(&server, false);
    free(data);
}

/* ---- Key updates, renegotiation, broken records ---- */

static void keys_are_updated_in_both_directions(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    server.protocol.at[DATA] = echo;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_writes("hello");
        tls_run(&peer, &server);
        SSL *own = pco_transport_get_ssl_object(server.transport);
        assert_int_equal(SSL_key_update(own, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(pco_transport_write(server.transport, "x", 1), 0);
        tls_run(&peer, &server);
    }
    assert_received(peer.received, peer.length,
                    (const unsigned char *)"helloxhelloxhelloxhelloxhellox", 30);
}

static void a_peer_that_demands_answers_and_does_not_read_them_is_dropped(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    server.socket->room = 0;
    for (unsigned turns = 0; turns < 1000 && server.protocol.counts[LOST] == 0; turns++) {
        for (unsigned i = 0; i < 10; i++) {
            assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(peer.ssl), 1);
        }
        tls_move_to_end(&peer, &server);
        run_turns(loop, 1);
        if (server.protocol.counts[LOST] == 0) {
            assert_true(pco_transport_get_write_buffer_size(server.transport) < 70000);
            fake_advance(loop, 1);
        }
    }
    assert_log("made lost:PCO_ETLS");
    assert_string_equal(server.protocol.error.message,
                        "TLS: the peer demands answers and does not read them");
}

static void a_peer_that_reads_may_demand_answers_for_ever(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    for (unsigned turns = 0; turns < 500; turns++) {
        for (unsigned i = 0; i < 10; i++) {
            assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(peer.ssl), 1);
        }
        tls_move_to_end(&peer, &server);
        run_turns(loop, 1);
        tls_move_to_peer(&peer, &server);
        tls_peer_work(&peer);
        assert_int_equal(peer.failure, 0);
        fake_advance(loop, 1);
    }
    peer_writes("hello");
    tls_run(&peer, &server);
    assert_log("made data:5");
}

/* No write is under way, and still more waits than the marks allow. */
static void answers_that_the_peer_does_not_read_pause_writing(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    assert_int_equal(pco_transport_set_write_buffer_limits(server.transport, 40, 0), 0);
    server.socket->room = 0;
    size_t waits = 0;
    for (unsigned i = 0; i < 10 && waits <= 40; i++) {
        assert_log("made");
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer.ssl), 1);
        tls_move_to_end(&peer, &server);
        run_turns(loop, 1);
        waits = pco_transport_get_write_buffer_size(server.transport);
    }
    assert_true(waits > 40);
    assert_log("made pause");
    server.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    assert_log("made pause resume");
}

/* `count` key updates that ask for no answer, in a turn. */
static void update_keys(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(SSL_key_update(peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(peer.ssl), 1);
    }
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
}

static void more_than_32_messages_without_data_within_a_second_end_the_connection(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    update_keys(32);
    assert_log("made");
    fake_advance(loop, 1);
    update_keys(32);
    assert_log("made");
    peer_writes("hello");
    tls_run(&peer, &server);
    update_keys(32);
    assert_log("made data:5");
    update_keys(1);
    fake_advance(loop, 30);
    run_turns(loop, 3);
    assert_log("made data:5 lost:PCO_ETLS");
    assert_string_equal(server.protocol.error.message, "TLS: the peer sends records without data");
}

static void two_thousand_key_updates_with_data_between_are_nothing_unusual(void **state)
{
    (void)state;
    open_to_peer(TLS1_3_VERSION);
    for (unsigned i = 0; i < 2000; i++) {
        update_keys(1);
        peer_writes("x");
        tls_move_to_end(&peer, &server);
        run_turns(loop, 1);
    }
    assert_int_equal(server.protocol.counts[DATA], 2000);
    assert_int_equal(server.protocol.counts[LOST], 0);
}

static void renegotiation_is_refused_and_the_connection_goes_on(void **state)
{
    (void)state;
    open_to_peer(TLS1_2_VERSION);
    size_t from = server.socket->sent_length;
    assert_int_equal(SSL_renegotiate(peer.ssl), 1);
    assert_int_equal(SSL_do_handshake(peer.ssl), -1);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_int_equal(tls_count_records(server.socket, from, 21), 1);
    assert_log("made");
    assert_int_equal(pco_transport_write(server.transport, "hello", 5), 0);
    run_turns(loop, 1);
    assert_int_equal(tls_count_records(server.socket, from, TLS_RECORD_DATA), 1);
}

/* The queue belongs to the thread, and other code may leave in it what it likes. */
static void what_others_left_in_the_queue_of_errors_harms_nobody(void **state)
{
    (void)state;
    open_to_peer(0);
    server.protocol.at[DATA] = echo;
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    peer_writes("hello");
    tls_run(&peer, &server);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(pco_transport_write(server.transport, "x", 1), 0);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    assert_received(peer.received, peer.length, (const unsigned char *)"hellox", 6);
    assert_true(peer.ended);
    SSL_shutdown(peer.ssl);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_log("made data:5 lost");
    ERR_clear_error();
}

static void a_broken_record_is_told_behind_the_good_ones_before_it(void **state)
{
    char *data;
    (void)state;
    open_to_peer(0);
    server.protocol.at[DATA] = say_bye;
    peer_writes("good");
    peer_writes("better");
    peer_writes("bad");
    long length = BIO_get_mem_data(peer.out, &data);
    data[length - 1] ^= 1;
    tls_run(&peer, &server);
    assert_int_equal(peer.failure, SSL_R_SSLV3_ALERT_BAD_RECORD_MAC);
    assert_int_equal(peer.length, 0);
    assert_true(server.socket->shut_down);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made data:10 lost:PCO_ETLS");
    assert_string_equal(server.protocol.error.message, "TLS: decryption failed or bad record mac");
    assert_int_equal(server.protocol.error.system_code, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
}

static void closing_behind_a_broken_record_is_still_that_failure(void **state)
{
    char *data;
    (void)state;
    open_to_peer(0);
    server.protocol.at[DATA] = close_it;
    peer_writes("good");
    peer_writes("bad");
    long length = BIO_get_mem_data(peer.out, &data);
    data[length - 1] ^= 1;
    tls_run(&peer, &server);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made data:4 lost:PCO_ETLS");
    assert_false(peer.ended);
}

static void a_peers_fatal_alert_is_told(void **state)
{
    tls_end_init(&client, false);
    (void)state;
    open_ends();
    unsigned char broken[] = {23, 3, 3, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                              0,  0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    fake_feed(client.socket, broken, sizeof broken);
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.error.code, PCO_ETLS);
    assert_int_equal(server.protocol.error.code, PCO_ETLS);
    char sentence[128];
    snprintf(sentence, sizeof sentence, "TLS: %s", tls_words(SSL_R_SSLV3_ALERT_BAD_RECORD_MAC));
    assert_string_equal(server.protocol.error.message, sentence);
}

/* Moves the first `records` of what the server has sent, and returns how many bytes they were. */
static size_t move_records(unsigned records)
{
    const unsigned char *from = server.socket->sent + server.taken;
    size_t length = 0;
    while (records-- != 0) {
        length += 5 + ((size_t)from[length + 3] << 8 | from[length + 4]);
    }
    fake_feed(client.socket, from, length);
    server.taken += length;
    return length;
}

/*
 * The server's tickets hold the client's certificate, and its records are small: two to a ticket.
 */
static void bring_half_a_ticket(void)
{
    const certificates *them = certificates_get();
    SSL_CTX *ready = SSL_CTX_new(TLS_server_method());
    pco_ssl_context_options options = tls_options(&them->client);
    pco_ssl_context *context;
    SSL_CTX_use_certificate(ready, them->server.x509);
    SSL_CTX_use_PrivateKey(ready, them->server.key);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ready), them->ca.x509);
    SSL_CTX_set_verify(ready, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_id_context(ready, (const unsigned char *)"x", 1);
    SSL_CTX_set_max_send_fragment(ready, 512);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ready, &context, NULL), 0);
    SSL_CTX_free(ready);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    options.ca_pem = them->ca.pem;
    options.ca_pem_length = them->ca.pem_length;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    for (unsigned i = 0; i < 20 && server.protocol.counts[MADE] == 0; i++) {
        size_t length = client.socket->sent_length - client.taken;
        fake_feed(server.socket, client.socket->sent + client.taken, length);
        client.taken += length;
        run_turns(loop, 2);
        if (server.protocol.counts[MADE] == 0) {
            fake_feed(client.socket, server.socket->sent + server.taken,
                      server.socket->sent_length - server.taken);
            server.taken = server.socket->sent_length;
            run_turns(loop, 2);
        }
    }
    assert_string_equal(client.protocol.log, "made");
    assert_true(move_records(1) > 500);
    run_turns(loop, 2);
}

/*
 * RFC 8446, 5.1: a message may be split over records, and whoever writes meanwhile does nothing
 * wrong: what is written waits for the end of it.
 */
static void what_is_written_behind_half_a_message_waits_for_the_rest(void **state)
{
    (void)state;
    bring_half_a_ticket();
    assert_int_equal(pco_transport_write(client.transport, "hello", 5), 0);
    assert_int_equal(pco_transport_get_write_buffer_size(client.transport), 5);
    run_turns(loop, 2);
    assert_string_equal(client.protocol.log, "made");
    tls_run_ends(&server, &client);
    assert_int_equal(pco_transport_get_write_buffer_size(client.transport), 0);
    assert_string_equal(server.protocol.log, "made data:5");
    assert_string_equal(client.protocol.log, "made");
}

static void closing_behind_half_a_message_waits_for_the_rest(void **state)
{
    (void)state;
    bring_half_a_ticket();
    pco_transport_close(client.transport);
    run_turns(loop, 2);
    assert_string_equal(client.protocol.log, "made");
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made end lost");
    assert_string_equal(client.protocol.log, "made lost");
}

/* ---- Idle connections ---- */

static void an_idle_connection_gives_its_buffers_back(void **state)
{
    (void)state;
    open_to_peer(0);
    size_t fresh = openssl_memory_bytes();
    server.protocol.at[DATA] = echo;
    peer_writes("hello");
    tls_run(&peer, &server);
    size_t busy = openssl_memory_bytes();
    assert_true(fresh + 30000 < busy);
    for (unsigned i = 0; i < 10; i++) {
        fake_advance(loop, 0.5);
        peer_writes("x");
        tls_run(&peer, &server);
        assert_in_range(openssl_memory_bytes(), busy - 1000, busy + 1000);
    }
    for (unsigned i = 0; i < 6; i++) {
        fake_advance(loop, 0.5);
        run_turns(loop, 2);
    }
    assert_true(openssl_memory_bytes() + 30000 < busy);

    /* The clock ticks no more, and the connection works as before. */
    assert_null(loop->timers.first);
    peer_writes("world");
    tls_run(&peer, &server);
    assert_received(peer.received, peer.length, (const unsigned char *)"helloxxxxxxxxxxworld", 20);
}

/* The first `length` bytes of a record come, the connection falls idle, and the rest comes. */
static void check_idle_within_a_record(size_t length)
{
    char *data;
    char record[100];
    peer_writes("hello");
    size_t total = (size_t)BIO_get_mem_data(peer.out, &data);
    assert_in_range(total, length + 1, sizeof record);
    memcpy(record, data, total);
    assert_int_equal(BIO_reset(peer.out), 1);
    fake_feed(server.socket, record, length);
    for (unsigned i = 0; i < 10; i++) {
        run_turns(loop, 2);
        fake_advance(loop, 0.5);
    }
    server.protocol.length = 0;
    fake_feed(server.socket, record + length, total - length);
    run_turns(loop, 2);
    assert_received(server.protocol.data, server.protocol.length, (const unsigned char *)"hello",
                    5);
}

static void a_record_may_stop_at_any_byte_for_longer_than_the_sweep(void **state)
{
    (void)state;
    open_to_peer(0);
    for (size_t i = 0; i < 27; i++) {
        check_idle_within_a_record(i);
    }
}

static void what_waits_decrypted_outlives_the_sweep(void **state)
{
    unsigned char *data = pattern_of(1000);
    (void)state;
    tls_end_init(&server, true);
    server.protocol.at[UPDATED] = pause_reading;
    open_to_peer(0);
    tls_peer_write(&peer, data, 1000);
    tls_run(&peer, &server);
    for (unsigned i = 0; i < 10; i++) {
        fake_advance(loop, 0.5);
        run_turns(loop, 2);
    }
    server.protocol.at[UPDATED] = NULL;
    pco_transport_resume_reading(server.transport);
    tls_run(&peer, &server);
    assert_received(server.protocol.data, server.protocol.length, data, 1000);
    free(data);
}

/* ---- This side closes ---- */

static void closing_flushes_says_so_and_waits_for_the_peer(void **state)
{
    unsigned char *data = pattern_of(200000);
    (void)state;
    open_to_peer(0);
    server.socket->room = 1000;
    assert_int_equal(pco_transport_write(server.transport, data, 200000), 0);
    pco_transport_close(server.transport);
    assert_true(pco_transport_is_closing(server.transport));
    assert_int_equal(pco_transport_write(server.transport, "x", 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_pause_reading(server.transport), PCO_ECLOSED);
    pco_transport_close(server.transport);
    server.socket->room = SIZE_MAX;
    tls_run(&peer, &server);
    assert_received(peer.received, peer.length, data, 200000);
    assert_true(peer.ended);
    assert_log("made pause");
    assert_false(server.socket->shut_down);

    /* What the peer still sends is dropped; its close_notify ends the connection. */
    peer_writes("too late");
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_log("made pause");
    SSL_shutdown(peer.ssl);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_log("made pause lost");
    assert_true(tls_end_is_over(&server));
    free(data);
}

static void a_fin_is_answer_enough_to_close_notify(void **state)
{
    (void)state;
    open_to_peer(0);
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    assert_true(peer.ended);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made lost");
}

static void a_peer_that_never_answers_close_notify_is_given_up(void **state)
{
    (void)state;
    open_to_peer(0);
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    fake_advance(loop, TLS_SHUTDOWN_TIMEOUT - 0.1);
    run_turns(loop, 3);
    assert_log("made");
    fake_advance(loop, 0.2);
    run_turns(loop, 3);
    assert_log("made lost:PCO_ETIMEDOUT");
    assert_string_equal(server.protocol.error.message, "TLS shutdown timed out");
    assert_true(tls_end_is_over(&server));
}

static void an_answer_that_came_while_the_clock_jumped_is_in_time(void **state)
{
    (void)state;
    open_to_peer(0);
    pco_transport_close(server.transport);
    run_turns(loop, 2);
    tls_move_to_peer(&peer, &server);
    SSL_shutdown(peer.ssl);
    tls_peer_work(&peer);
    tls_move_to_end(&peer, &server);
    fake_advance(loop, 1000 * TLS_SHUTDOWN_TIMEOUT);
    run_turns(loop, 3);
    assert_log("made lost");
}

static void the_same_limit_holds_for_a_peer_that_does_not_read(void **state)
{
    unsigned char *data = pattern_of(100000);
    (void)state;
    open_to_peer(0);
    server.socket->room = 0;
    assert_int_equal(pco_transport_write(server.transport, data, 100000), 0);
    pco_transport_close(server.transport);
    fake_advance(loop, TLS_SHUTDOWN_TIMEOUT / 2);
    run_turns(loop, 3);

    /* Its close_notify comes, but it reads no more: the limit is for both. */
    SSL_shutdown(peer.ssl);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    fake_advance(loop, TLS_SHUTDOWN_TIMEOUT / 2 - 0.1);
    run_turns(loop, 3);
    assert_log("made pause");
    fake_advance(loop, 0.2);
    run_turns(loop, 3);
    assert_log("made pause lost:PCO_ETIMEDOUT");
    free(data);
}

static void closing_while_paused_still_hears_the_answer(void **state)
{
    (void)state;
    server.protocol.at[MADE] = pause_reading;
    open_to_peer(0);
    peer_writes("never delivered");
    tls_run(&peer, &server);
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_log("made lost");
}

static void closing_with_held_plaintext_drops_it(void **state)
{
    unsigned char *data = pattern_of(1000);
    (void)state;
    tls_end_init(&server, true);
    server.protocol.at[UPDATED] = pause_reading;
    open_to_peer(0);
    tls_peer_write(&peer, data, 1000);
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_log("made get updated:256");
    pco_transport_resume_reading(server.transport);
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    assert_log("made get updated:256 lost");
    assert_true(peer.ended);
    free(data);
}

static void both_sides_may_close_at_once(void **state)
{
    (void)state;
    open_ends();
    pco_transport_close(server.transport);
    pco_transport_close(client.transport);
    tls_run_ends(&server, &client);
    assert_log("made lost");
    assert_string_equal(client.protocol.log, "made lost");
    assert_true(tls_end_is_over(&server) && tls_end_is_over(&client));
}

static void aborting_says_nothing_to_the_peer(void **state)
{
    (void)state;
    open_to_peer(0);
    size_t sent = server.socket->sent_length;
    pco_transport_abort(server.transport);
    assert_log("made");
    run_turns(loop, 3);
    assert_log("made lost");
    assert_int_equal(server.socket->sent_length, sent);
    assert_false(server.socket->reset);
    assert_int_equal(pco_transport_write(server.transport, "x", 1), PCO_ECLOSED);
    assert_null(pco_transport_get_ssl_object(server.transport));
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), PCO_ECLOSED);
}

static void aborting_with_a_reset_resets(void **state)
{
    (void)state;
    open_to_peer(0);
    pco_transport_close(server.transport);
    pco_transport_abort_reset(server.transport);
    run_turns(loop, 3);
    assert_log("made lost");
    assert_true(server.socket->reset);
}

/* ---- The peer closes ---- */

static void a_peers_close_notify_is_the_end_and_is_answered(void **state)
{
    (void)state;
    server.protocol.keep_open = true;
    server.protocol.at[END] = say_bye;
    open_to_peer(0);
    peer_writes("hello");
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_log("made data:5 end lost");
    assert_received(peer.received, peer.length, (const unsigned char *)"bye", 3);
    assert_true(peer.ended);
    assert_true(tls_end_is_over(&server));
    assert_int_equal(server.protocol.error.code, 0);
}

static void what_comes_behind_close_notify_is_ignored(void **state)
{
    (void)state;
    open_to_peer(0);
    peer_writes("hello");
    SSL_shutdown(peer.ssl);
    BIO_write(peer.out, "garbage", 7);
    tls_run(&peer, &server);
    assert_log("made data:5 end lost");
}

static void a_stream_cut_off_is_told_apart_from_a_clean_end(void **state)
{
    (void)state;
    server.protocol.at[DATA] = say_bye;
    open_to_peer(0);
    peer_writes("hello");
    tls_move_to_end(&peer, &server);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made data:5 lost:PCO_ETRUNCATED");
    assert_string_equal(server.protocol.error.message,
                        "TLS: the TLS stream ended without close_notify");

    /* What was written is still sent, and no close_notify that would make it seem complete. */
    tls_move_to_peer(&peer, &server);
    tls_peer_work(&peer);
    assert_int_equal(peer.length, 3);
    assert_false(peer.ended);
}

static void a_stream_cut_off_within_a_record_is_truncated_too(void **state)
{
    char *data;
    (void)state;
    open_to_peer(0);
    peer_writes("hello");
    BIO_get_mem_data(peer.out, &data);
    fake_feed(server.socket, data, 10);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_log("made lost:PCO_ETRUNCATED");
}

static void a_write_that_meets_the_end_is_taken_and_connection_lost_tells(void **state)
{
    static const size_t lengths[] = {100, 5000, 16384, 50000};
    unsigned char *data = pattern_of(50000);
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        tls_end_init(&server, false);
        open_to_peer(0);
        server.socket->send_error = PCO_ECONNRESET;
        assert_int_equal(pco_transport_write(server.transport, data, lengths[i]), 0);
        run_turns(loop, 3);
        assert_log("made lost:PCO_ECONNRESET");
        tls_peer_free(&peer);
        tls_end_free(&server);
    }
    memset(&peer, 0, sizeof peer);
    tls_end_init(&server, false);
    free(data);
}

static void a_reset_is_told_with_the_systems_code(void **state)
{
    (void)state;
    open_to_peer(0);
    fake_feed_error(server.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_log("made lost:PCO_ECONNRESET");
    assert_int_equal(server.protocol.error.system_code, 104);
    assert_true(tls_end_is_over(&server));
}

static void a_failing_send_is_told(void **state)
{
    (void)state;
    open_to_peer(0);
    server.socket->send_error = PCO_EPIPE;
    server.socket->send_system_code = 32;
    assert_int_equal(pco_transport_write(server.transport, "hello", 5), 0);
    run_turns(loop, 3);
    assert_log("made lost:PCO_EPIPE");
}

static void the_loop_may_be_freed_with_open_connections(void **state)
{
    (void)state;
    open_to_peer(0);
    pco_loop_free(loop);
    loop = NULL;
    assert_log("made lost");
}

/* ---- From inside callbacks ---- */

static void every_callback_may_close_or_abort(void **state)
{
    static const event moments[] = {MADE, DATA, END, PAUSE, RESUME, GET, UPDATED};
    (void)state;
    for (size_t i = 0; i < 4 * sizeof moments / sizeof moments[0]; i++) {
        event moment = moments[i / 4];
        bool closes = i % 2 == 0;
        tls_end_init(&server, i / 2 % 2 == 1);
        server.protocol.at[moment] = closes ? close_it : abort_it;
        open_to_peer(0);
        peer_writes("hello");
        tls_run(&peer, &server);
        if (server.protocol.counts[LOST] == 0) {
            server.socket->room = 0;
            write_much(NULL, server.transport);
            run_turns(loop, 2);
            server.socket->room = SIZE_MAX;
            tls_run(&peer, &server);
        }
        SSL_shutdown(peer.ssl);
        tls_run(&peer, &server);
        assert_true(tls_end_is_over(&server));
        assert_int_equal(server.protocol.counts[LOST], 1);
        assert_int_equal(server.protocol.error.code, 0);
        assert_null(server.protocol.violation);
        tls_peer_free(&peer);
        tls_end_free(&server);
    }
    memset(&peer, 0, sizeof peer);
    tls_end_init(&server, false);
}

static void one_connection_may_close_another_from_its_callback(void **state)
{
    (void)state;
    open_ends();
    server.protocol.context = client.transport;
    pco_transport_write(client.transport, "x", 1);
    tls_run_ends(&server, &client);
    pco_transport_write(server.protocol.context, "y", 1);
    pco_transport_abort(server.protocol.context);
    tls_run_ends(&server, &client);
    assert_string_equal(client.protocol.log, "made lost");
    assert_log("made data:1 data:1 lost:PCO_ETRUNCATED");
}

/* ---- Out of memory ---- */

/* A whole life between two ends of the library; false if something was missing in the end. */
static bool live(pco_ssl_context *context, pco_ssl_context *client_context)
{
    static unsigned char data[30000];
    pco__stream_options stream_options = {.close_timeout = INFINITY};
    pco_loop *own = fake_loop_new();
    bool whole = false;
    if (own == NULL) {
        return false;
    }
    tls_end *const ends[] = {&server, &client};
    unsigned started = 0;
    for (unsigned i = 0; i < 2; i++) {
        pco_socket sock = fake_socket_new(own);
        ends[i]->loop = own;
        ends[i]->socket = fake_socket_of(own, sock);
        if (pco__stream_new(own, sock, NULL, &stream_options, &ends[i]->stream, NULL) != 0) {
            break;
        }
        pco__ssl_options options;
        tls_end_options(ends[i], &options);
        options.context = i == 0 ? context : client_context;
        options.client = i == 1;
        options.server_name = i == 1 ? "localhost" : NULL;
        if (tls_start(ends[i]->stream, &options, NULL) != 0) {
            pco__stream_abort(ends[i]->stream, false);
            break;
        }
        started++;
    }
    if (started == 2) {
        server.protocol.at[DATA] = echo;
        tls_run_ends(&server, &client);
        if (client.transport != NULL) {
            pco_transport_write(client.transport, data, sizeof data);
            tls_run_ends(&server, &client);
            whole = client.protocol.length == sizeof data;
            pco_transport_close(client.transport);
            tls_run_ends(&server, &client);
        }
    }
    pco_loop_free(own);
    return whole;
}

/* After a life that may have been cut short: everything was told once. */
static void assert_settled(void)
{
    tls_end *const ends[] = {&server, &client};
    for (unsigned i = 0; i < 2; i++) {
        assert_null(ends[i]->protocol.violation);
        assert_in_range(ends[i]->done, 0, 1);
        assert_int_equal(ends[i]->protocol.counts[MADE], ends[i]->protocol.counts[LOST]);
        tls_end_free(ends[i]);
        tls_end_init(ends[i], false);
    }
}

static void every_allocation_of_ours_may_fail(void **state)
{
    pco_ssl_context *context = tls_server_context();
    pco_ssl_context *client_context = tls_client_context();
    size_t pieces = memory_pieces();
    bool whole = false;
    (void)state;
    for (size_t nth = 1; !whole && nth < 1000; nth++) {
        memory_fail(nth, false);
        whole = live(context, client_context);
        bool failed = memory_has_failed();
        memory_fail(0, false);
        assert_true(whole || failed);
        whole = whole && !failed;
        assert_settled();
        assert_int_equal(memory_pieces(), pieces);
    }
    assert_true(whole);
    pco_ssl_context_release(context);
    pco_ssl_context_release(client_context);
}

/* OpenSSL asks for memory some thousands of times; so many, evenly spread, are made to fail. */
#define OPENSSL_FAILURES 150

static void openssl_may_run_out_of_memory_anywhere(void **state)
{
    pco_ssl_context *context = tls_server_context();
    pco_ssl_context *client_context = tls_client_context();
    unsigned failures = 0;
    (void)state;
    assert_true(live(context, client_context));
    assert_settled();
    openssl_memory_fail(SIZE_MAX);
    assert_true(live(context, client_context));
    assert_settled();
    size_t last = openssl_memory_requests();
    size_t pieces = memory_pieces();
    for (size_t nth = 1; nth <= last; nth += 1 + last / OPENSSL_FAILURES) {
        openssl_memory_fail(nth);
        failures += !live(context, client_context);
        openssl_memory_fail(0);
        assert_settled();
        assert_int_equal(memory_pieces(), pieces);
    }
    assert_int_not_equal(failures, 0);
    pco_ssl_context_release(context);
    pco_ssl_context_release(client_context);
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_that_come_together_are_delivered_together),
        TEST(a_megabyte_is_echoed),
        TEST(segments_of_any_size_are_put_together),
        TEST(both_ends_stream_at_once),
        TEST(a_buffered_protocol_is_given_its_data_in_its_own_memory),
        TEST(an_empty_buffer_ends_the_connection),
        TEST(a_protocol_without_callbacks_drops_what_comes),
        TEST(what_comes_while_paused_waits_and_keeps_its_order),
        TEST(reading_may_be_paused_from_the_start),
        TEST(pausing_and_resuming_inside_a_callback_changes_nothing),
        TEST(a_transport_may_end_while_its_held_input_waits_for_a_turn),
        TEST(a_reset_is_noticed_while_reading_is_paused),
        TEST(another_protocol_is_given_what_comes_next),
        TEST(a_protocol_switched_in_get_buffer_is_asked_itself),
        TEST(buffers_written_together_share_a_record),
        TEST(large_and_small_buffers_make_full_records),
        TEST(memory_handed_over_is_released_once),
        TEST(the_write_side_cannot_be_closed_alone),
        TEST(it_cannot_be_detached),
        TEST(the_water_marks_pause_and_resume_writing_in_turns),
        TEST(between_the_marks_nobody_is_told_to_pause),
        TEST(a_callback_that_writes_much_does_not_destroy_what_is_still_to_be_read),
        TEST(keys_are_updated_in_both_directions),
        TEST(a_peer_that_demands_answers_and_does_not_read_them_is_dropped),
        TEST(a_peer_that_reads_may_demand_answers_for_ever),
        TEST(more_than_32_messages_without_data_within_a_second_end_the_connection),
        TEST(answers_that_the_peer_does_not_read_pause_writing),
        TEST(two_thousand_key_updates_with_data_between_are_nothing_unusual),
        TEST(renegotiation_is_refused_and_the_connection_goes_on),
        TEST(what_others_left_in_the_queue_of_errors_harms_nobody),
        TEST(a_broken_record_is_told_behind_the_good_ones_before_it),
        TEST(closing_behind_a_broken_record_is_still_that_failure),
        TEST(a_peers_fatal_alert_is_told),
        TEST(what_is_written_behind_half_a_message_waits_for_the_rest),
        TEST(closing_behind_half_a_message_waits_for_the_rest),
        TEST(an_idle_connection_gives_its_buffers_back),
        TEST(a_record_may_stop_at_any_byte_for_longer_than_the_sweep),
        TEST(what_waits_decrypted_outlives_the_sweep),
        TEST(closing_flushes_says_so_and_waits_for_the_peer),
        TEST(a_fin_is_answer_enough_to_close_notify),
        TEST(a_peer_that_never_answers_close_notify_is_given_up),
        TEST(an_answer_that_came_while_the_clock_jumped_is_in_time),
        TEST(the_same_limit_holds_for_a_peer_that_does_not_read),
        TEST(closing_while_paused_still_hears_the_answer),
        TEST(closing_with_held_plaintext_drops_it),
        TEST(both_sides_may_close_at_once),
        TEST(aborting_says_nothing_to_the_peer),
        TEST(aborting_with_a_reset_resets),
        TEST(a_peers_close_notify_is_the_end_and_is_answered),
        TEST(what_comes_behind_close_notify_is_ignored),
        TEST(a_stream_cut_off_is_told_apart_from_a_clean_end),
        TEST(a_stream_cut_off_within_a_record_is_truncated_too),
        TEST(a_write_that_meets_the_end_is_taken_and_connection_lost_tells),
        TEST(a_reset_is_told_with_the_systems_code),
        TEST(a_failing_send_is_told),
        TEST(the_loop_may_be_freed_with_open_connections),
        TEST(every_callback_may_close_or_abort),
        TEST(one_connection_may_close_another_from_its_callback),
        TEST(every_allocation_of_ours_may_fail),
        TEST(openssl_may_run_out_of_memory_anywhere),
    };
    if (!openssl_memory_watch()) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, end_all);
}
