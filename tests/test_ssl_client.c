/* SPDX-License-Identifier: MIT */
/*
 * Goal: the client's end of TLS: what a server may ask for later, and servers that misbehave, at
 * any byte of the handshake.
 * Method: the library's client on the fake backend; the server is OpenSSL, with memory BIOs.
 */
#include "ssl_world.h"

static pco_loop *loop;
static pco_ssl_context *context;
static SSL_CTX *server_ctx;
static tls_end client;
static tls_peer server;

static SSL_CTX *new_server_ctx(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_use_certificate(ctx, certificates_get()->server.x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, certificates_get()->server.key), 1);
    return ctx;
}

static void start(int version)
{
    server_ctx = new_server_ctx(version);
    tls_peer_init(&server, server_ctx, NULL);
    SSL_set_accept_state(server.ssl);
    tls_end_start_client(&client, loop, context, "localhost");
}

static void stop(void)
{
    tls_peer_free(&server);
    SSL_CTX_free(server_ctx);
    memset(&server, 0, sizeof server);
    server_ctx = NULL;
}

static void open_to(int version)
{
    start(version);
    tls_run(&server, &client);
    assert_string_equal(client.protocol.log, "made");
    assert_true(server.established);
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    context = tls_client_context();
    tls_end_init(&client, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation = client.protocol.violation;
    tls_end_free(&client);
    stop();
    pco_ssl_context_release(context);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
    }
    return violation == NULL && pieces == 0 ? 0 : 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* ---- What a server may ask for later ---- */

#define RECORD_ALERT 21

static void a_demand_to_renegotiate_is_refused_and_the_connection_lives(void **state)
{
    (void)state;
    open_to(TLS1_2_VERSION);
    size_t before = client.socket->sent_length;
    assert_int_equal(SSL_renegotiate(server.ssl), 1);
    assert_int_equal(SSL_do_handshake(server.ssl), 1);
    tls_peer_write(&server, "hello", 5);
    tls_move_to_end(&server, &client);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made data:5");
    assert_int_equal(tls_count_records(client.socket, before, RECORD_ALERT), 1);
    assert_int_equal(pco_transport_write(client.transport, "answer", 6), 0);
    run_turns(loop, 3);
    assert_int_equal(tls_count_records(client.socket, before, TLS_RECORD_DATA), 1);
    assert_string_equal(client.protocol.log, "made data:5");
}

static void update_keys(unsigned count, int kind)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(SSL_key_update(server.ssl, kind), 1);
        assert_int_equal(SSL_do_handshake(server.ssl), 1);
    }
}

static void a_server_s_key_updates_are_answered_while_we_write(void **state)
{
    (void)state;
    open_to(TLS1_3_VERSION);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(pco_transport_write(client.transport, "word ", 5), 0);
        update_keys(3, SSL_KEY_UPDATE_REQUESTED);
        tls_peer_write(&server, "x", 1);
        tls_run(&server, &client);
    }
    assert_int_equal(server.length, 25);
    assert_int_equal(client.protocol.length, 5);
    assert_int_equal(server.failure, 0);
}

static void a_server_s_key_updates_have_a_limit(void **state)
{
    (void)state;
    open_to(TLS1_3_VERSION);
    update_keys(40, SSL_KEY_UPDATE_NOT_REQUESTED);
    tls_run(&server, &client);
    fake_advance(loop, 3);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made lost:PCO_ETLS");
    assert_string_equal(client.protocol.error.message, "TLS: the peer sends records without data");
}

/* RFC 8446, 4.6.2: only who has offered it may be asked for a certificate after the handshake. */
static void who_has_not_offered_it_is_not_asked_for_a_certificate_later(void **state)
{
    (void)state;
    open_to(TLS1_3_VERSION);
    SSL_set_verify(server.ssl, SSL_VERIFY_PEER, NULL);
    assert_int_equal(SSL_verify_client_post_handshake(server.ssl), 0);
}

/* A ready SSL_CTX may offer it; the answer is several messages. */
static void who_has_offered_it_shows_its_certificate_later(void **state)
{
    SSL_CTX *ready = tls_peer_ctx(TLS1_3_VERSION);
    (void)state;
    SSL_CTX_set_post_handshake_auth(ready, 1);
    assert_int_equal(SSL_CTX_use_certificate(ready, certificates_get()->client.x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ready, certificates_get()->client.key), 1);
    pco_ssl_context_release(context);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ready, &context, NULL), 0);
    SSL_CTX_free(ready);
    open_to(TLS1_3_VERSION);
    assert_int_equal(pco_transport_write(client.transport, "before ", 7), 0);
    SSL_set_verify(server.ssl, SSL_VERIFY_PEER, NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(server_ctx), certificates_get()->ca.x509);
    assert_int_equal(SSL_verify_client_post_handshake(server.ssl), 1);
    assert_int_equal(SSL_do_handshake(server.ssl), 1);
    tls_move_to_end(&server, &client);
    run_turns(loop, 1);
    assert_int_equal(pco_transport_write(client.transport, "after", 5), 0);
    tls_run(&server, &client);
    assert_int_equal(server.failure, 0);
    assert_int_equal(server.length, 12);
    assert_memory_equal(server.received, "before after", 12);
    X509 *shown = SSL_get1_peer_certificate(server.ssl);
    assert_non_null(shown);
    assert_int_equal(X509_cmp(shown, certificates_get()->client.x509), 0);
    X509_free(shown);
}

/* ---- Servers that leave ---- */

/* All that the server says to a client is known before: it comes with its end behind it. */
static void close_right_after(void (*end)(fake_socket *sock))
{
    start(TLS1_3_VERSION);
    for (unsigned i = 0; i < 10 && !server.established; i++) {
        tls_move_to_peer(&server, &client);
        tls_peer_work(&server);
        tls_move_to_end(&server, &client);
        if (client.socket->input_length != 0) {
            end(client.socket);
        }
        run_turns(loop, 2);
    }
}

static void reset(fake_socket *sock)
{
    fake_feed_error(sock, PCO_ECONNRESET, 104);
}

static void a_server_that_closes_right_after_its_flight_is_told_after_connection_made(void **state)
{
    (void)state;
    close_right_after(fake_feed_eof);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made lost:PCO_ETRUNCATED");
}

static void a_server_that_resets_right_after_its_flight_is_told_after_connection_made(void **state)
{
    (void)state;
    close_right_after(reset);
    run_turns(loop, 3);
    assert_string_equal(client.protocol.log, "made lost:PCO_ECONNRESET");
}

/* The handshake, of whose bytes from the server `bend` may make others. Returns how many. */
static size_t live(size_t most, void (*bend)(unsigned char *data, size_t at, size_t length),
                   size_t where)
{
    size_t fed = 0;
    start(TLS1_3_VERSION);
    for (unsigned i = 0; i < 6; i++) {
        char *data;
        tls_move_to_peer(&server, &client);
        tls_peer_work(&server);
        long length = BIO_get_mem_data(server.out, &data);
        size_t piece = length > 0 ? (size_t)length : 0;
        if (client.protocol.counts[MADE] != 0) {
            piece = 0; /* tickets are no part of it */
        }
        piece = piece < most - fed ? piece : most - fed;
        if (piece != 0) {
            if (bend != NULL && where >= fed) {
                bend((unsigned char *)data, where - fed, piece);
            }
            fake_feed(client.socket, data, piece);
            fed += piece;
        }
        BIO_reset(server.out);
        run_turns(loop, 2);
    }
    return fed;
}

static void begin_anew(void)
{
    pco_loop_free(loop);
    assert_null(client.protocol.violation);
    assert_int_equal(client.done, 1);
    stop();
    tls_end_free(&client);
    tls_end_init(&client, false);
    loop = fake_loop_new();
}

/* (How long a signature is differs by a byte or two.) */
static void a_server_that_resets_at_any_byte_is_told(void **state)
{
    size_t most = 0;
    (void)state;
    live(most, NULL, 0);
    for (; client.protocol.counts[MADE] == 0; most++) {
        assert_int_equal(client.done, 0);
        if (most % 2 == 0) {
            reset(client.socket);
        } else {
            fake_feed_eof(client.socket);
        }
        run_turns(loop, 3);
        assert_int_equal(client.done, 1);
        assert_int_equal(client.handshake_error.code, PCO_ECONNRESET);
        assert_int_equal(client.factory_calls, 0);
        assert_true(tls_end_is_over(&client));
        begin_anew();
        live(most + 1, NULL, 0);
    }
    assert_in_range(most, 500, 5000);
}

static void flip(unsigned char *data, size_t at, size_t length)
{
    if (at < length) {
        data[at] ^= 0x40;
    }
}

/* It is refused, or more is waited for; the version in a record's header alone means nothing. */
static void a_server_s_byte_that_is_another_opens_nothing(void **state)
{
    unsigned opened = 0;
    unsigned refused = 0;
    (void)state;
    size_t whole = live(SIZE_MAX, NULL, 0);
    for (size_t where = 0; where < whole; where++) {
        begin_anew();
        live(SIZE_MAX, flip, where);
        opened += client.protocol.counts[MADE];
        refused += client.done != 0 && client.handshake_error.code == PCO_ETLS;
        fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 1);
        run_turns(loop, 3);
        assert_int_equal(client.done, 1);
    }
    assert_in_range(opened, 0, 4);
    assert_true(refused > whole / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_demand_to_renegotiate_is_refused_and_the_connection_lives),
        TEST(a_server_s_key_updates_are_answered_while_we_write),
        TEST(a_server_s_key_updates_have_a_limit),
        TEST(who_has_not_offered_it_is_not_asked_for_a_certificate_later),
        TEST(who_has_offered_it_shows_its_certificate_later),
        TEST(a_server_that_closes_right_after_its_flight_is_told_after_connection_made),
        TEST(a_server_that_resets_right_after_its_flight_is_told_after_connection_made),
        TEST(a_server_that_resets_at_any_byte_is_told),
        TEST(a_server_s_byte_that_is_another_opens_nothing),
    };
    int failures = cmocka_run_group_tests_name("ssl_client", tests, NULL, NULL);
    certificates_free();
    return failures;
}
