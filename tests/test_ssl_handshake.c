/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_handshake.c: how a TLS connection comes about, and how it does not. Goal: the protocol
 * is made only for a peer that has proved what it had to; every other end of a handshake is told
 * exactly once, with its reason, and reaches the peer as an alert where there is one.
 * Method: the fake backend, OpenSSL with memory BIOs as the peer; and both ends of the library.
 */
#include "ssl_world.h"
#include "support/options.h"
#include "tls/contexts.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

static pco_loop *loop;
static tls_end server;
static tls_end client;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
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
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* Starts the server's end with the context, whose reference it takes. */
static void start_server(pco_ssl_context *context)
{
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
}

/* A server end of `context` and a peer of `ctx` make a handshake. Takes both references. */
static void shake(pco_ssl_context *context, tls_peer *peer, SSL_CTX *ctx, const char *name)
{
    start_server(context);
    tls_peer_init(peer, ctx, name);
    SSL_CTX_free(ctx);
    tls_run(peer, &server);
}

static void assert_failed(const tls_end *end, int code, const char *words)
{
    assert_int_equal(end->done, 1);
    if (end->handshake_error.code != code || strstr(end->handshake_error.message, words) == NULL) {
        fail_msg("%s: \"%s\", not %s: \"%s\"", pco_error_name(end->handshake_error.code),
                 end->handshake_error.message, pco_error_name(code), words);
    }
    assert_int_equal(end->factory_calls, 0);
    assert_string_equal(end->protocol.log, "");
}

static void assert_opened(const tls_end *end)
{
    assert_int_equal(end->done, 1);
    assert_int_equal(end->handshake_error.code, 0);
    assert_int_equal(end->factory_calls, 1);
    assert_int_equal(end->protocol.counts[MADE], 1);
}

static pco_ssl_info info_of(const tls_end *end)
{
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(end->transport, &info), 0);
    return info;
}

/* ---- It comes about ---- */

static void check_version(int version, const char *name)
{
    tls_peer peer;
    shake(tls_server_context(), &peer, tls_peer_ctx(version), "localhost");
    assert_opened(&server);
    assert_true(peer.established);
    pco_ssl_info info = info_of(&server);
    assert_string_equal(info.version, name);
    assert_string_equal(info.cipher, SSL_get_cipher_name(peer.ssl));
    assert_int_equal(info.cipher_bits, SSL_get_cipher_bits(peer.ssl, NULL));
    assert_null(info.alpn);
    assert_string_equal(info.server_name, "localhost");
    assert_false(info.session_reused);
    assert_null(info.peer_certificate);
    assert_int_equal(info.peer_certificate_length, 0);
    assert_non_null(pco_transport_get_ssl_object(server.transport));
    assert_string_equal(server.protocol.log, "made");
    tls_peer_free(&peer);
}

static void tls_1_3_is_spoken(void **state)
{
    (void)state;
    check_version(TLS1_3_VERSION, "TLSv1.3");
}

static void tls_1_2_is_spoken(void **state)
{
    (void)state;
    check_version(TLS1_2_VERSION, "TLSv1.2");
}

/* A client of TLS 1.2 that offers one suite meets a server with these `ciphers`. */
static void meet_with_one_suite(tls_peer *peer, const char *offered, const char *ciphers)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    SSL_CTX *ctx = tls_peer_ctx(TLS1_2_VERSION);
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, offered), 1);
    options.ciphers = ciphers;
    shake(tls_context(&options), peer, ctx, "localhost");
}

static void
a_client_without_authenticated_encryption_is_served_only_if_the_server_says_so(void **state)
{
    tls_peer peer;
    (void)state;
    meet_with_one_suite(&peer, "ECDHE-ECDSA-AES128-SHA256", NULL);
    assert_failed(&server, PCO_ETLS, "TLS handshake: no shared cipher");
    assert_int_equal(peer.failure, SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
    tls_peer_free(&peer);
    run_turns(loop, 3);
    tls_end_free(&server);

    tls_end_init(&server, false);
    meet_with_one_suite(&peer, "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256");
    assert_opened(&server);
    assert_string_equal(info_of(&server).cipher, "ECDHE-ECDSA-AES128-SHA256");
    tls_peer_free(&peer);
}

/* RFC 8446 and draft-kwiatkowski-tls-ecdhe-mlkem: 0x11EC; OpenSSL knows it from 3.5 on. */
#define X25519MLKEM768 0x11EC
#define OPENSSL_3_5 0x30500000UL

static void the_hybrid_group_is_used_where_openssl_has_it(void **state)
{
    (void)state;
    if (OpenSSL_version_num() < OPENSSL_3_5) {
        print_message("skipped: X25519MLKEM768 comes with OpenSSL 3.5, this is %s\n",
                      OpenSSL_version(OPENSSL_VERSION_STRING));
        skip();
    }
    start_server(tls_server_context());
    pco_ssl_context *context = tls_client_context();
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
    assert_opened(&server);
    assert_opened(&client);
    long group = SSL_get_negotiated_group(pco_transport_get_ssl_object(server.transport));
    assert_int_equal(group, TLSEXT_nid_unknown | X25519MLKEM768);
}

static void a_shorter_info_struct_of_an_older_program_is_filled(void **state)
{
    tls_peer peer;
    pco_ssl_info info = {.size = offsetof(pco_ssl_info, alpn), .alpn = "untouched"};
    (void)state;
    shake(tls_server_context(), &peer, tls_peer_ctx(0), NULL);
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
    assert_string_equal(info.version, "TLSv1.3");
    assert_string_equal(info.alpn, "untouched");
    info.size = sizeof info + 1;
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), PCO_EINVAL);
    info.size = sizeof info;
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
    assert_null(info.server_name);
    tls_peer_free(&peer);
}

static void both_ends_of_the_library_understand_each_other(void **state)
{
    pco_ssl_context *context = tls_client_context();
    (void)state;
    start_server(tls_server_context());
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
    assert_opened(&server);
    assert_opened(&client);
    const certificate *own = &certificates_get()->server;
    pco_ssl_info info = info_of(&client);
    int length = i2d_X509(own->x509, NULL);
    assert_int_equal(info.peer_certificate_length, length);
    const unsigned char *der = info.peer_certificate;
    X509 *seen = d2i_X509(NULL, &der, length);
    assert_int_equal(X509_cmp(seen, own->x509), 0);
    X509_free(seen);
    assert_string_equal(info_of(&server).server_name, "localhost");
}

static void data_behind_the_clients_last_flight_comes_after_connection_made(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    (void)state;
    start_server(tls_server_context());
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_peer_work(&peer);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 2);
    tls_move_to_peer(&peer, &server);
    tls_peer_work(&peer);
    assert_true(peer.established);
    tls_peer_write(&peer, "hello", 5);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 1);
    assert_string_equal(server.protocol.log, "made data:5");
    tls_peer_free(&peer);
}

/* The tickets of TLS 1.3 leave behind the handshake, perhaps to nobody (openssl issue 6342). */
static void
what_a_client_said_before_it_went_is_heard_though_its_tickets_cannot_be_sent(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    (void)state;
    start_server(tls_server_context());
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_peer_work(&peer);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 2);
    tls_move_to_peer(&peer, &server);
    tls_peer_work(&peer);
    tls_peer_write(&peer, "hello", 5);
    server.socket->send_error = PCO_EPIPE;
    server.socket->send_system_code = 32;
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made data:5 lost:PCO_EPIPE");
    tls_peer_free(&peer);
}

static void segments_of_one_byte_make_a_handshake(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(0);
    (void)state;
    start_server(tls_server_context());
    server.socket->input_cut = 1;
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_opened(&server);
    tls_peer_write(&peer, "hello", 5);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made data:5");
    tls_peer_free(&peer);
}

static void the_library_asks_for_a_retry_when_the_key_share_does_not_fit(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    SSL_CTX *own = SSL_CTX_new(TLS_server_method());
    const certificate *used = &certificates_get()->server;
    pco_ssl_context *context;
    (void)state;
    SSL_CTX_use_certificate(own, used->x509);
    SSL_CTX_use_PrivateKey(own, used->key);
    assert_int_equal(SSL_CTX_set1_groups_list(own, "P-384"), 1);
    assert_int_equal(SSL_CTX_set1_groups_list(ctx, "P-256:P-384"), 1);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(own, &context, NULL), 0);
    SSL_CTX_free(own);
    shake(context, &peer, ctx, "localhost");
    assert_opened(&server);
    tls_peer_free(&peer);
}

/* ---- It does not ---- */

static void something_else_than_tls_is_refused(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    (void)state;
    start_server(tls_server_context());
    fake_feed(server.socket, request, sizeof request - 1);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ETLS, "TLS handshake: http request");
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_true(tls_end_is_over(&server));
}

static void garbage_is_answered_with_an_alert_that_no_reset_overtakes(void **state)
{
    unsigned char garbage[4096];
    (void)state;
    memset(garbage, 0x16, sizeof garbage);
    memcpy(garbage, "\x16\x03\x01\x0f\xfb", 5);
    start_server(tls_server_context());
    fake_feed(server.socket, garbage, sizeof garbage);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ETLS, "TLS handshake: ");
    assert_int_equal(tls_count_records(server.socket, 0, 21), 1);

    /* Then FIN, and what still comes is read, for a while. */
    assert_true(server.socket->shut_down);
    fake_feed(server.socket, garbage, sizeof garbage);
    run_turns(loop, 3);
    assert_int_equal(server.socket->input_length, 0);
    assert_false(tls_end_is_over(&server));
    fake_advance(loop, 2.0);
    run_turns(loop, 3);
    assert_true(tls_end_is_over(&server));
    assert_int_equal(server.done, 1);
}

static void a_failures_alert_reaches_the_peer(void **state)
{
    tls_peer peer;
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)state;
    options.minimum_version = PCO_TLS_1_3;
    shake(tls_context(&options), &peer, tls_peer_ctx(TLS1_2_VERSION), NULL);
    assert_failed(&server, PCO_ETLS, "TLS handshake: unsupported protocol");
    assert_int_equal(server.handshake_error.system_code, SSL_R_UNSUPPORTED_PROTOCOL);
    assert_int_equal(peer.failure, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    tls_peer_free(&peer);
}

static void a_handshake_that_takes_too_long_is_ended(void **state)
{
    (void)state;
    start_server(tls_server_context());
    fake_advance(loop, TLS_HANDSHAKE_TIMEOUT - 0.1);
    run_turns(loop, 2);
    assert_int_equal(server.done, 0);
    fake_advance(loop, 0.2);
    run_turns(loop, 2);
    assert_failed(&server, PCO_ETIMEDOUT, "TLS handshake took longer than 60 seconds");
    assert_true(tls_end_is_over(&server));
}

static unsigned lost_before;

static void note_lost(void *context)
{
    (void)context;
    lost_before = client.protocol.counts[LOST];
}

static void abort_the_other_and_schedule(tls_end *self)
{
    (void)self;
    pco_transport_abort(client.transport);
    assert_int_equal(pco_loop_call_soon(loop, note_lost, NULL, NULL), 0);
}

/* The order of what a callback closes and schedules is the same in this one. */
static void who_hears_of_the_time_limit_may_close_another_connection(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(0);
    pco_ssl_context *context = tls_server_context();
    (void)state;
    tls_end_start(&client, loop, context);
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_run(&peer, &client);
    assert_opened(&client);
    start_server(context);
    server.at_done = abort_the_other_and_schedule;
    lost_before = 99;
    fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 1);
    run_turns(loop, 4);
    assert_failed(&server, PCO_ETIMEDOUT, "TLS handshake took longer than 60 seconds");
    assert_int_equal(lost_before, 1);
    tls_peer_free(&peer);
}

static void the_time_limit_ends_with_the_handshake(void **state)
{
    tls_peer peer;
    (void)state;
    shake(tls_server_context(), &peer, tls_peer_ctx(0), NULL);
    fake_advance(loop, 10 * TLS_HANDSHAKE_TIMEOUT);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made");
    tls_peer_free(&peer);
}

/* A whole first flight of a client. */
static size_t first_flight(unsigned char *to, size_t room)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(0);
    char *data;
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_peer_work(&peer);
    size_t length = (size_t)BIO_get_mem_data(peer.out, &data);
    assert_in_range(length, 1, room);
    memcpy(to, data, length);
    tls_peer_free(&peer);
    return length;
}

static void a_peer_may_close_or_reset_at_any_byte(void **state)
{
    unsigned char flight[2048];
    size_t length = first_flight(flight, sizeof flight);
    pco_ssl_context *context = tls_server_context();
    (void)state;
    for (size_t i = 0; i <= 2 * length + 1; i++) {
        tls_end_init(&server, false);
        tls_end_start(&server, loop, context);
        if (i / 2 != 0) {
            fake_feed(server.socket, flight, i / 2);
        }
        run_turns(loop, 1);
        if (i % 2 == 0) {
            fake_feed_eof(server.socket);
        } else {
            fake_feed_error(server.socket, PCO_ECONNRESET, 104);
        }
        run_turns(loop, 4);
        assert_failed(&server, PCO_ECONNRESET, "TLS handshake: ");
        assert_true(tls_end_is_over(&server));
        tls_end_free(&server);
    }
    tls_end_init(&server, false);
    pco_ssl_context_release(context);
}

static void a_first_flight_with_any_byte_changed_never_harms(void **state)
{
    unsigned char flight[2048];
    size_t length = first_flight(flight, sizeof flight);
    pco_ssl_context *context = tls_server_context();
    (void)state;
    for (size_t i = 0; i < length; i++) {
        tls_end_init(&server, false);
        tls_end_start(&server, loop, context);
        flight[i] ^= 0x55;
        fake_feed(server.socket, flight, length);
        flight[i] ^= 0x55;
        run_turns(loop, 2);
        fake_feed_eof(server.socket);
        run_turns(loop, 4);
        assert_int_equal(server.done, 1);
        assert_int_not_equal(server.handshake_error.code, 0);
        assert_true(tls_end_is_over(&server));
        tls_end_free(&server);
    }
    tls_end_init(&server, false);
    pco_ssl_context_release(context);
}

static void a_refused_protocol_aborts_and_is_told_nothing(void **state)
{
    tls_peer peer;
    (void)state;
    server.refuses = true;
    shake(tls_server_context(), &peer, tls_peer_ctx(0), NULL);
    assert_int_equal(server.done, 1);
    assert_int_equal(server.handshake_error.code, 0);
    assert_int_equal(server.factory_calls, 1);
    assert_string_equal(server.protocol.log, "");
    assert_true(tls_end_is_over(&server));
    assert_false(peer.ended);
    tls_peer_free(&peer);
}

static void close_top(tls_end *end)
{
    pco_transport_close(end->stream->top);
}

static void abort_top(tls_end *end)
{
    pco_transport_abort(end->stream->top);
}

static void closing_and_aborting_a_handshake_is_no_failure(void **state)
{
    pco_ssl_context *context = tls_server_context();
    void (*const ways[])(tls_end *) = {close_top, abort_top};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        tls_end_init(&server, false);
        tls_end_start(&server, loop, context);
        assert_false(pco_transport_is_reading(server.stream->top));
        assert_true(pco_transport_is_closing(server.stream->top));
        assert_int_equal(pco_transport_write(server.stream->top, "x", 1), PCO_ECLOSED);
        ways[i](&server);
        assert_int_equal(server.done, 0);
        run_turns(loop, 2);
        assert_failed(&server, PCO_ECANCELED, "TLS handshake: ");
        assert_true(tls_end_is_over(&server));
        assert_int_equal(server.socket->sent_length, 0);
        tls_end_free(&server);
    }
    tls_end_init(&server, false);
    pco_ssl_context_release(context);
}

static void the_loop_may_be_freed_in_a_handshake(void **state)
{
    (void)state;
    start_server(tls_server_context());
    pco_loop_free(loop);
    loop = NULL;
    assert_failed(&server, PCO_ECANCELED, "TLS handshake: ");
}

static void closing_inside_handshake_done_makes_no_protocol(void **state)
{
    tls_peer peer;
    (void)state;
    server.at_done = close_top;
    shake(tls_server_context(), &peer, tls_peer_ctx(0), NULL);
    assert_int_equal(server.done, 1);
    assert_int_equal(server.factory_calls, 0);
    assert_string_equal(server.protocol.log, "");
    assert_true(tls_end_is_over(&server));
    tls_peer_free(&peer);
}

static void a_protocol_made_while_the_connection_is_closed_hears_of_it(void **state)
{
    tls_peer peer;
    (void)state;
    server.at_make = abort_top;
    shake(tls_server_context(), &peer, tls_peer_ctx(0), NULL);
    assert_string_equal(server.protocol.log, "made lost");
    assert_true(tls_end_is_over(&server));
    tls_peer_free(&peer);
}

/* ---- The server's certificate ---- */

/* The client end, asking for `name`, meets a server with a certificate. */
static void meet(const certificate *own, const char *name)
{
    pco_ssl_context_options options = tls_options(own);
    pco_ssl_context *context = tls_client_context();
    start_server(tls_context(&options));
    tls_end_start_client(&client, loop, context, name);
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
}

static void a_certificate_of_an_unknown_authority_is_refused(void **state)
{
    (void)state;
    meet(&certificates_get()->stranger, "localhost");
    assert_failed(&client, PCO_ECERT, "TLS handshake: certificate verify failed: self");
    assert_failed(&server, PCO_ECERT, "TLS handshake: tlsv1 alert unknown ca");
}

static void an_expired_certificate_is_refused(void **state)
{
    (void)state;
    meet(&certificates_get()->expired, "localhost");
    assert_failed(&client, PCO_ECERT,
                  "TLS handshake: certificate verify failed: certificate has expired");
    char sentence[128];
    snprintf(sentence, sizeof sentence, "TLS handshake: %s",
             tls_words(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED));
    assert_failed(&server, PCO_ECERT, sentence);
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    (void)state;
    meet(&certificates_get()->other, "localhost");
    assert_failed(&client, PCO_ECERT,
                  "TLS handshake: certificate verify failed: hostname mismatch");
    assert_int_equal(server.done, 1);
    assert_int_equal(server.handshake_error.code, PCO_ECERT);
}

static void a_certificate_for_another_address_is_refused(void **state)
{
    (void)state;
    meet(&certificates_get()->server, "127.0.0.2");
    assert_failed(&client, PCO_ECERT,
                  "TLS handshake: certificate verify failed: IP address mismatch");
}

static void a_wildcard_stands_for_one_label(void **state)
{
    (void)state;
    meet(&certificates_get()->wildcard, "a.b.example.com");
    assert_failed(&client, PCO_ECERT, "hostname mismatch");
}

static void a_chain_is_verified_to_its_authority(void **state)
{
    (void)state;
    meet(&certificates_get()->chained, "localhost");
    assert_opened(&client);
}

static void names_match_in_every_spelling_and_addresses_without_sni(void **state)
{
    static const struct {
        const char *name;
        const char *sni;
    } cases[] = {{"localhost", "localhost"},
                 {"LocalHost.", "LocalHost"},
                 {"127.0.0.1", NULL},
                 {"127.1", NULL},
                 {"::1", NULL},
                 {"0:0:0:0:0:0:0:1", NULL},
                 {"::1%1", NULL},
                 {"::1%lo", NULL},
                 {NULL, NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tls_end_init(&server, false);
        tls_end_init(&client, false);
        meet(&certificates_get()->server, cases[i].name);
        assert_opened(&client);
        assert_opened(&server);
        if (cases[i].sni != NULL) {
            assert_string_equal(info_of(&server).server_name, cases[i].sni);
        } else {
            assert_null(info_of(&server).server_name);
        }
        pco_transport_abort(server.transport);
        pco_transport_abort(client.transport);
        run_turns(loop, 2);
        tls_end_free(&server);
        tls_end_free(&client);
    }
    tls_end_init(&server, false);
    tls_end_init(&client, false);
}

static void a_client_that_verifies_nothing_takes_any_certificate(void **state)
{
    pco_ssl_context_options options = {.size = sizeof options,
                                       .dangerously_accept_any_certificate = PCO_ON};
    pco_ssl_context *context;
    pco_ssl_context_options stranger = tls_options(&certificates_get()->stranger);
    (void)state;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    start_server(tls_context(&stranger));
    tls_end_start_client(&client, loop, context, "example.com");
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
    assert_opened(&client);
}

static void a_server_name_that_is_none_leaves_the_stream_untouched(void **state)
{
    pco_ssl_context *context = tls_client_context();
    pco__stream_options stream_options = {.close_timeout = INFINITY};
    pco__stream *stream;
    pco_error error;
    char name[300];
    (void)state;
    memset(name, 'a', sizeof name);
    name[299] = '\0';
    const char *const bad[] = {"",
                               ".",
                               name,
                               "..",
                               ".localhost",
                               ".example.",
                               "a..b",
                               "a b",
                               "a\nb",
                               "*.example.com",
                               "localhost:443",
                               "http://localhost",
                               "[::1]",
                               "m\xc3\xbcller.example"};
    assert_int_equal(
        pco__stream_new(loop, fake_socket_new(loop), NULL, &stream_options, &stream, &error), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pco__ssl_options options = {.context = context, .client = true, .server_name = bad[i]};
        assert_int_equal(tls_start(stream, &options, &error), PCO_EINVAL);
        assert_non_null(strstr(error.message, "is no host name"));
        assert_ptr_equal(stream->top, &stream->base);
    }
    pco__stream_abort(stream, false);
    run_turns(loop, 1);
    pco_ssl_context_release(context);
}

/* ---- The client's certificate ---- */

static pco_ssl_context *demanding_context(int verify)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.verify = verify;
    options.ca_pem = ca->pem;
    options.ca_pem_length = ca->pem_length;
    return tls_context(&options);
}

static SSL_CTX *peer_ctx_with(const certificate *own, int version)
{
    SSL_CTX *ctx = tls_peer_ctx(version);
    if (own != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    }
    return ctx;
}

static void a_required_client_certificate_is_seen(void **state)
{
    tls_peer peer;
    const certificate *own = &certificates_get()->client;
    (void)state;
    shake(demanding_context(PCO_SSL_VERIFY_REQUIRED), &peer, peer_ctx_with(own, 0), NULL);
    assert_opened(&server);
    pco_ssl_info info = info_of(&server);
    unsigned char *der = NULL;
    int length = i2d_X509(own->x509, &der);
    assert_int_equal(info.peer_certificate_length, length);
    assert_memory_equal(info.peer_certificate, der, (size_t)length);
    OPENSSL_free(der);
    tls_peer_free(&peer);
}

static void a_missing_client_certificate_is_refused_if_required(void **state)
{
    tls_peer peer;
    (void)state;
    shake(demanding_context(PCO_SSL_VERIFY_REQUIRED), &peer, peer_ctx_with(NULL, 0), NULL);
    assert_failed(&server, PCO_ECERT, "TLS handshake: peer did not return a certificate");
    assert_int_equal(peer.failure, SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    tls_peer_free(&peer);
}

static void a_missing_client_certificate_is_fine_if_optional(void **state)
{
    tls_peer peer;
    (void)state;
    shake(demanding_context(PCO_SSL_VERIFY_OPTIONAL), &peer, peer_ctx_with(NULL, 0), NULL);
    assert_opened(&server);
    tls_peer_free(&peer);
}

static void a_bad_client_certificate_is_refused_even_if_optional(void **state)
{
    tls_peer peer;
    (void)state;
    shake(demanding_context(PCO_SSL_VERIFY_OPTIONAL), &peer,
          peer_ctx_with(&certificates_get()->stranger, TLS1_2_VERSION), NULL);
    assert_failed(&server, PCO_ECERT, "TLS handshake: certificate verify failed: self");
    assert_false(peer.established);
    tls_peer_free(&peer);
}

static void a_client_refused_under_tls_1_3_hears_of_it_when_it_reads(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options options = {.size = sizeof options,
                                       .certificate_pem = them->stranger.pem,
                                       .certificate_pem_length = them->stranger.pem_length,
                                       .key_pem = them->stranger.key_pem,
                                       .key_pem_length = them->stranger.key_pem_length,
                                       .ca_pem = them->ca.pem,
                                       .ca_pem_length = them->ca.pem_length};
    pco_ssl_context *context;
    (void)state;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    start_server(demanding_context(PCO_SSL_VERIFY_REQUIRED));
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
    assert_failed(&server, PCO_ECERT, "certificate verify failed");
    assert_opened(&client);
    assert_string_equal(client.protocol.log, "made lost:PCO_ECERT");
    assert_string_equal(client.protocol.error.message, "TLS: tlsv1 alert unknown ca");
}

/* ---- Application protocols ---- */

static pco_ssl_context *alpn_context(int required)
{
    static const char *const protocols[] = {"h2", "http/1.1"};
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.alpn_protocols = protocols;
    options.alpn_protocols_count = 2;
    options.alpn_required = required;
    return tls_context(&options);
}

static SSL_CTX *offering(const char *wire)
{
    SSL_CTX *ctx = tls_peer_ctx(0);
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)wire, (unsigned)strlen(wire));
    return ctx;
}

static void the_servers_first_protocol_that_is_offered_is_chosen(void **state)
{
    tls_peer peer;
    (void)state;
    shake(alpn_context(PCO_DEFAULT), &peer, offering("\x08http/1.1\x02h2"), NULL);
    assert_opened(&server);
    assert_string_equal(info_of(&server).alpn, "h2");
    tls_peer_free(&peer);
}

static void without_a_common_protocol_the_handshake_goes_on(void **state)
{
    tls_peer peer;
    (void)state;
    shake(alpn_context(PCO_DEFAULT), &peer, offering("\x03xyz"), NULL);
    assert_opened(&server);
    assert_null(info_of(&server).alpn);
    tls_peer_free(&peer);
}

static void without_a_common_protocol_the_handshake_fails_if_one_is_required(void **state)
{
    tls_peer peer;
    (void)state;
    shake(alpn_context(PCO_ON), &peer, offering("\x03xyz"), NULL);
    assert_failed(&server, PCO_ETLS, "TLS handshake: no application protocol");
    assert_int_equal(peer.failure, SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
    tls_peer_free(&peer);
}

static void a_client_that_offers_nothing_is_refused_if_one_is_required(void **state)
{
    tls_peer peer;
    (void)state;
    shake(alpn_context(PCO_ON), &peer, tls_peer_ctx(0), NULL);
    assert_failed(&server, PCO_ETLS, "TLS handshake: the client offers no application protocol");
    assert_int_equal(peer.failure, SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
    tls_peer_free(&peer);
}

/* A client that offers one protocol, or also "h2c". */
static void start_offering_client(size_t count, int required)
{
    static const char *const offered[] = {"http/1.1", "h2c"};
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .ca_pem = ca->pem,
                                       .ca_pem_length = ca->pem_length,
                                       .alpn_protocols = offered,
                                       .alpn_protocols_count = count,
                                       .alpn_required = required};
    pco_ssl_context *context;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
}

static void both_ends_agree_on_a_protocol(void **state)
{
    (void)state;
    start_server(alpn_context(PCO_ON));
    start_offering_client(1, PCO_ON);
    tls_run_ends(&server, &client);
    assert_string_equal(info_of(&client).alpn, "http/1.1");
    assert_string_equal(info_of(&server).alpn, "http/1.1");
}

static void a_client_that_requires_a_protocol_gives_up_a_server_without(void **state)
{
    (void)state;
    start_server(tls_server_context());
    start_offering_client(1, PCO_ON);
    tls_run_ends(&server, &client);
    assert_failed(&client, PCO_ETLS,
                  "TLS handshake: the server has chosen no application protocol");
    assert_string_equal(server.protocol.log, "made end lost"); /* with a close_notify */
}

/* The protocol that a server chooses whatever is offered, with its length before it. */
static const char *picked;

static int pick(SSL *engine, const unsigned char **chosen, unsigned char *length,
                const unsigned char *offered, unsigned offered_length, void *unused)
{
    (void)engine;
    (void)offered;
    (void)offered_length;
    (void)unused;
    *chosen = (const unsigned char *)picked + 1;
    *length = (unsigned char)*picked;
    return SSL_TLSEXT_ERR_OK;
}

static void a_protocol_that_was_not_offered_is_not_taken(void **state)
{
    static const char *const cases[] = {"\x08http/1.0", "\x04http", "\x0ahttp/1.1\x03h",
                                        "\x02h2",       "\x03h2c",  "\x08http/1.1"};
    const certificate *own = &certificates_get()->server;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SSL_CTX *ready = SSL_CTX_new(TLS_server_method());
        pco_ssl_context *context;
        SSL_CTX_set_alpn_select_cb(ready, pick, NULL);
        assert_int_equal(SSL_CTX_use_certificate(ready, own->x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ready, own->key), 1);
        assert_int_equal(pco_ssl_context_from_ssl_ctx(ready, &context, NULL), 0);
        SSL_CTX_free(ready);
        picked = cases[i];
        start_server(context);
        start_offering_client(2, PCO_DEFAULT); /* "http/1.1" and "h2c" */
        tls_run_ends(&server, &client);
        if (i < 4) {
            assert_failed(&client, PCO_ETLS, "TLS handshake: ");
        } else {
            assert_string_equal(info_of(&client).alpn, cases[i] + 1);
        }
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

/* OpenSSL before 3.0.15 does not look; so what it agreed on is held against another offer. */
static void what_openssl_lets_through_is_looked_at(void **state)
{
    static const char *const names[] = {"h2", "http/1.10"};
    pco_ssl_context_options options = {
        .size = sizeof options, .alpn_protocols = names, .alpn_protocols_count = 2};
    options.dangerously_accept_any_certificate = PCO_ON;
    pco__ssl_setup *others;
    (void)state;
    start_server(alpn_context(PCO_ON));
    start_offering_client(1, PCO_ON);
    tls_run_ends(&server, &client);
    const SSL *engine = pco_transport_get_ssl_object(client.transport);
    assert_int_equal(pco__ssl_setup_new(&options, true, &others, NULL), 0);
    assert_string_equal(pco__ssl_check_alpn(engine, others),
                        "the server has chosen an application protocol that was not offered");
    pco__ssl_setup_free(others);
}

/* ---- Names ---- */

/* A context for localhost, with others for *.example.com and for other.example. */
static pco_ssl_context *named_context(void)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options wildcard = tls_options(&them->wildcard);
    pco_ssl_context_options other = tls_options(&them->other);
    pco_ssl_context *context = alpn_context(PCO_DEFAULT);
    pco_ssl_context *one = tls_context(&wildcard);
    other.verify = PCO_SSL_VERIFY_REQUIRED;
    other.ca_pem = them->ca.pem;
    other.ca_pem_length = them->ca.pem_length;
    pco_ssl_context *two = tls_context(&other);
    assert_int_equal(pco_ssl_context_add_server_name(context, "*.Example.com", one, NULL), 0);
    assert_int_equal(pco_ssl_context_add_server_name(context, "exact.example.com", two, NULL), 0);
    assert_int_equal(pco_ssl_context_add_server_name(context, "exact.example.com", one, NULL), 0);
    assert_int_equal(pco_ssl_context_add_server_name(context, "other.example", two, NULL), 0);
    pco_ssl_context_release(one);
    pco_ssl_context_release(two);
    return context;
}

static void the_certificate_is_the_one_for_the_name_asked_for(void **state)
{
    const certificates *them = certificates_get();
    const struct {
        const char *name;
        const certificate *shown;
    } cases[] = {
        {NULL, &them->server},
        {"localhost", &them->server},
        {"unknown.example", &them->server},
        {"a.example.com", &them->wildcard},
        {"A.EXAMPLE.COM", &them->wildcard},
        {"exact.example.com", &them->wildcard},
        {"a.b.example.com", &them->server},
        {"example.com", &them->server},
        {"other.example", &them->other},
    };
    pco_ssl_context *context = named_context();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            tls_peer peer;
            tls_end_init(&server, false);
            tls_end_start(&server, loop, context);
            SSL_CTX *ctx = peer_ctx_with(&them->client, version);
            SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3);
            tls_peer_init(&peer, ctx, cases[i].name);
            SSL_CTX_free(ctx);
            tls_run(&peer, &server);
            assert_opened(&server);
            X509 *seen = SSL_get0_peer_certificate(peer.ssl);
            assert_int_equal(X509_cmp(seen, cases[i].shown->x509), 0);
            if (cases[i].shown == &them->server) {
                assert_string_equal(info_of(&server).alpn, "h2");
            } else {
                assert_null(info_of(&server).alpn); /* its context speaks none */
            }
            if (cases[i].name != NULL) {
                assert_string_equal(info_of(&server).server_name, cases[i].name);
            }
            pco_transport_abort(server.transport);
            run_turns(loop, 2);
            tls_end_free(&server);
            tls_peer_free(&peer);
        }
    }
    tls_end_init(&server, false);
    pco_ssl_context_release(context);
}

static void the_name_decides_whether_a_client_certificate_is_demanded(void **state)
{
    tls_peer peer;
    (void)state;
    shake(named_context(), &peer, tls_peer_ctx(0), "other.example");
    assert_failed(&server, PCO_ECERT, "peer did not return a certificate");
    tls_peer_free(&peer);
}

/* ---- Sessions ---- */

/*
 * Connects to `context`, with `session` if there is one, and returns the session that the server
 * gave. *reused: whether it was resumed; *opened: whether the handshake succeeded.
 */
static SSL_SESSION *visit(pco_ssl_context *context, int version, const certificate *own,
                          const char *name, SSL_SESSION *session, bool *reused, bool *opened)
{
    tls_peer peer;
    SSL_CTX *ctx = peer_ctx_with(own, version);
    tls_end_init(&server, false);
    tls_end_start(&server, loop, context);
    tls_peer_init(&peer, ctx, name);
    SSL_CTX_free(ctx);
    if (session != NULL) {
        SSL_set_session(peer.ssl, session);
    }
    tls_run(&peer, &server);
    *opened = server.protocol.counts[MADE] == 1;
    *reused = SSL_session_reused(peer.ssl) == 1;
    if (*opened) {
        assert_int_equal(info_of(&server).session_reused, *reused);
        if (name != NULL) {
            assert_string_equal(info_of(&server).server_name, name);
        }
        tls_peer_write(&peer, "x", 1);
        tls_run(&peer, &server);
        assert_string_equal(server.protocol.log, "made data:1");
        SSL_shutdown(peer.ssl);
        tls_run(&peer, &server);
        assert_true(tls_end_is_over(&server));
    }
    SSL_SESSION *next = SSL_get1_session(peer.ssl);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    tls_end_free(&server);
    tls_end_init(&server, false);
    tls_peer_free(&peer);
    return next;
}

static void a_session_is_resumed_also_with_client_certificates(void **state)
{
    const certificate *own = &certificates_get()->client;
    pco_ssl_context *context = demanding_context(PCO_SSL_VERIFY_REQUIRED);
    bool reused;
    bool opened;
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *one = visit(context, version, own, "localhost", NULL, &reused, &opened);
        assert_false(reused);
        assert_true(opened);
        SSL_SESSION *two = visit(context, version, own, "localhost", one, &reused, &opened);
        assert_true(reused);
        assert_true(opened);
        SSL_SESSION_free(one);
        SSL_SESSION_free(two);
    }
    pco_ssl_context_release(context);
}

static void sessions_can_be_switched_off(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    bool reused;
    bool opened;
    (void)state;
    options.session_resumption = PCO_OFF;
    pco_ssl_context *context = tls_context(&options);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *one = visit(context, version, NULL, NULL, NULL, &reused, &opened);
        SSL_SESSION *two = visit(context, version, NULL, NULL, one, &reused, &opened);
        assert_false(reused);
        assert_true(opened);
        SSL_SESSION_free(one);
        SSL_SESSION_free(two);
    }
    pco_ssl_context_release(context);
}

static void a_session_of_one_name_does_not_open_another(void **state)
{
    const certificate *own = &certificates_get()->client;
    pco_ssl_context *context = named_context();
    bool reused;
    bool opened;
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *one = visit(context, version, NULL, "localhost", NULL, &reused, &opened);
        assert_true(opened);
        SSL_SESSION_free(visit(context, version, NULL, "other.example", one, &reused, &opened));
        assert_false(reused);
        assert_false(opened);
        SSL_SESSION_free(one);

        one = visit(context, version, own, "other.example", NULL, &reused, &opened);
        assert_true(opened);
        SSL_SESSION *two = visit(context, version, own, "other.example", one, &reused, &opened);
        assert_true(reused);
        assert_true(opened);
        SSL_SESSION_free(one);
        SSL_SESSION_free(two);
    }
    pco_ssl_context_release(context);
}

/*
 * Visits the context, reloads it by the options, and visits it again with the session. Returns
 * whether that was resumed.
 */
static bool outlives(pco_ssl_context *context, const pco_ssl_context_options *options, int version,
                     const certificate *own)
{
    bool reused;
    bool opened;
    SSL_SESSION *one = visit(context, version, own, NULL, NULL, &reused, &opened);
    assert_true(opened);
    assert_int_equal(pco_ssl_context_reload(context, options, NULL), 0);
    SSL_SESSION *two = visit(context, version, own, NULL, one, &reused, &opened);
    assert_true(opened);
    SSL_SESSION_free(one);
    SSL_SESSION_free(two);
    return reused;
}

static void a_session_outlives_a_reload_that_demands_the_same(void **state)
{
    static const char *const protocols[] = {"h2"};
    const certificates *them = certificates_get();
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        pco_ssl_context *context = tls_server_context();
        pco_ssl_context_options options = tls_options(&them->chained);
        options.alpn_protocols = protocols;
        options.alpn_protocols_count = 1;
        assert_true(outlives(context, &options, version, NULL));
        assert_true(outlives(context, &options, version, NULL));
        pco_ssl_context_release(context);

        context = demanding_context(PCO_SSL_VERIFY_REQUIRED);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.ca_pem = them->ca.pem;
        options.ca_pem_length = them->ca.pem_length;
        assert_true(outlives(context, &options, version, &them->client));
        pco_ssl_context_release(context);
    }
}

/* Each changes one thing, of a server that demands certificates. */
static void change_verify(pco_ssl_context_options *options)
{
    options->verify = PCO_SSL_VERIFY_OPTIONAL;
}

static void change_authorities(pco_ssl_context_options *options)
{
    static char pem[16384];
    const certificates *them = certificates_get();
    memcpy(pem, them->ca.pem, them->ca.pem_length);
    memcpy(pem + them->ca.pem_length, them->stranger.pem, them->stranger.pem_length);
    options->ca_pem = pem;
    options->ca_pem_length = them->ca.pem_length + them->stranger.pem_length;
}

static void change_depth(pco_ssl_context_options *options)
{
    options->verify_depth = 3;
}

static void change_flags(pco_ssl_context_options *options)
{
    options->verify_flags = X509_V_FLAG_X509_STRICT;
}

static void change_ciphers(pco_ssl_context_options *options)
{
    options->ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
}

static void change_suites(pco_ssl_context_options *options)
{
    options->ciphersuites = "TLS_AES_256_GCM_SHA384";
}

static void change_versions(pco_ssl_context_options *options)
{
    options->minimum_version = PCO_TLS_1_2;
}

static void change_resumption(pco_ssl_context_options *options)
{
    options->session_resumption = PCO_ON;
}

static void no_session_outlives_a_reload_that_demands_anything_else(void **state)
{
    static void (*const changes[])(pco_ssl_context_options *) = {
        change_verify,  change_authorities, change_depth,    change_flags,
        change_ciphers, change_suites,      change_versions, change_resumption};
    const certificates *them = certificates_get();
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            pco_ssl_context *context = demanding_context(PCO_SSL_VERIFY_REQUIRED);
            pco_ssl_context_options options = tls_options(&them->server);
            options.verify = PCO_SSL_VERIFY_REQUIRED;
            options.ca_pem = them->ca.pem;
            options.ca_pem_length = them->ca.pem_length;
            changes[i](&options);
            if (outlives(context, &options, version, &them->client)) {
                fail_msg("change %zu is not noticed", i);
            }
            assert_true(outlives(context, &options, version, &them->client));
            pco_ssl_context_release(context);
        }
    }
}

/* What may say something else by the next time. */
static void an_option_of_unknown_meaning_keeps_no_session(void **state)
{
    static const pco__field folder = PCO__FIELD(pco_ssl_context_options, ca_directory);
    static const pco__layout layout = {.fields = &folder, .fields_count = 1};
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    pco__ssl_setup *setup;
    (void)state;
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    assert_true(setup->terms_known);
    assert_int_equal(pco__ssl_set_terms(setup, &layout, &options, false, NULL), 0);
    assert_true(setup->terms_known);
    options.ca_directory = "certificates";
    assert_int_equal(pco__ssl_set_terms(setup, &layout, &options, false, NULL), 0);
    assert_false(setup->terms_known);
    options.ca_directory = NULL;
    options.trust = PCO_SSL_TRUST_SYSTEM;
    assert_int_equal(pco__ssl_set_terms(setup, &layout, &options, false, NULL), 0);
    assert_false(setup->terms_known);
    pco__ssl_setup_free(setup);
}

/* The server would go on to take it for who it was. */
static void a_client_with_a_certificate_keeps_no_session(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options options = tls_options(&them->client);
    pco_ssl_context_options without = {.size = sizeof without};
    pco__ssl_setup *setup;
    (void)state;
    without.ca_pem = options.ca_pem = them->ca.pem;
    without.ca_pem_length = options.ca_pem_length = them->ca.pem_length;
    assert_int_equal(pco__ssl_setup_new(&options, true, &setup, NULL), 0);
    assert_false(setup->terms_known);
    pco__ssl_setup_free(setup);
    assert_int_equal(pco__ssl_setup_new(&without, true, &setup, NULL), 0);
    assert_true(setup->terms_known);
    pco__ssl_setup_free(setup);
}

static void reloading_shows_the_new_certificate_to_new_connections_alone(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context *context = tls_server_context();
    pco_ssl_context_options options = tls_options(&them->chained);
    SSL_CTX *ctx = tls_peer_ctx(0);
    tls_peer before;
    tls_peer after;
    (void)state;
    tls_peer_init(&before, ctx, NULL);
    tls_peer_init(&after, ctx, NULL);
    SSL_CTX_free(ctx);

    /* One that has begun before stays with the old one. */
    tls_end_start(&server, loop, context);
    assert_int_equal(pco_ssl_context_reload(context, &options, NULL), 0);
    tls_end_start(&client, loop, context);
    pco_ssl_context_release(context);
    tls_run(&before, &server);
    tls_run(&after, &client);
    assert_opened(&server);
    assert_opened(&client);
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(before.ssl), them->server.x509), 0);
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(after.ssl), them->chained.x509), 0);
    tls_peer_write(&before, "still here", 10);
    tls_run(&before, &server);
    assert_string_equal(server.protocol.log, "made data:10");
    tls_peer_free(&before);
    tls_peer_free(&after);
}

/* ---- A ready SSL_CTX ---- */

/* OpenSSL asks the SSL_CTX that the name has led to; the library sets nothing in a ready one. */
static void a_name_of_a_ready_ssl_ctx_chooses_no_protocol_of_the_first_context(void **state)
{
    const certificate *own = &certificates_get()->other;
    SSL_CTX *ready = SSL_CTX_new(TLS_server_method());
    pco_ssl_context *context = alpn_context(PCO_DEFAULT);
    pco_ssl_context *named;
    tls_peer peer;
    (void)state;
    assert_int_equal(SSL_CTX_use_certificate(ready, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ready, own->key), 1);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ready, &named, NULL), 0);
    SSL_CTX_free(ready);
    assert_int_equal(pco_ssl_context_add_server_name(context, "other.example", named, NULL), 0);
    pco_ssl_context_release(named);
    shake(context, &peer, offering("\x02h2"), "other.example");
    assert_opened(&server);
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(peer.ssl), own->x509), 0);
    assert_null(info_of(&server).alpn);
    tls_peer_free(&peer);
}

static unsigned alerts;

static void count_alerts(const SSL *ssl, int where, int value)
{
    (void)ssl;
    (void)value;
    alerts += where == SSL_CB_READ_ALERT;
}

static void a_ready_ssl_ctx_is_used_as_it_is(void **state)
{
    const certificate *own = &certificates_get()->server;
    SSL_CTX *ready = SSL_CTX_new(TLS_server_method());
    pco_ssl_context *context;
    tls_peer peer;
    (void)state;
    assert_int_equal(SSL_CTX_use_certificate(ready, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ready, own->key), 1);

    /* Settings that would not do for the library are undone for its connections alone. */
    SSL_CTX_set_read_ahead(ready, 1);
    SSL_CTX_set_quiet_shutdown(ready, 1);
    SSL_CTX_set_mode(ready, SSL_MODE_ASYNC);
    SSL_CTX_set_info_callback(ready, count_alerts);
    alerts = 0;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ready, &context, NULL), 0);
    shake(context, &peer, tls_peer_ctx(0), "localhost");
    assert_opened(&server);
    assert_int_equal(SSL_CTX_get_read_ahead(ready), 1);
    assert_int_equal(SSL_CTX_get_quiet_shutdown(ready), 1);
    tls_peer_write(&peer, "one", 3);
    tls_peer_write(&peer, "two", 3);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made data:6");
    pco_transport_close(server.transport);
    tls_run(&peer, &server);
    assert_true(peer.ended);
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_string_equal(server.protocol.log, "made data:6 lost");
    assert_int_equal(alerts, 1);
    SSL_CTX_free(ready);
    tls_peer_free(&peer);
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tls_1_3_is_spoken),
        TEST(tls_1_2_is_spoken),
        TEST(a_client_without_authenticated_encryption_is_served_only_if_the_server_says_so),
        TEST(the_hybrid_group_is_used_where_openssl_has_it),
        TEST(a_shorter_info_struct_of_an_older_program_is_filled),
        TEST(both_ends_of_the_library_understand_each_other),
        TEST(data_behind_the_clients_last_flight_comes_after_connection_made),
        TEST(what_a_client_said_before_it_went_is_heard_though_its_tickets_cannot_be_sent),
        TEST(segments_of_one_byte_make_a_handshake),
        TEST(the_library_asks_for_a_retry_when_the_key_share_does_not_fit),
        TEST(something_else_than_tls_is_refused),
        TEST(garbage_is_answered_with_an_alert_that_no_reset_overtakes),
        TEST(a_failures_alert_reaches_the_peer),
        TEST(a_handshake_that_takes_too_long_is_ended),
        TEST(who_hears_of_the_time_limit_may_close_another_connection),
        TEST(the_time_limit_ends_with_the_handshake),
        TEST(a_peer_may_close_or_reset_at_any_byte),
        TEST(a_first_flight_with_any_byte_changed_never_harms),
        TEST(a_refused_protocol_aborts_and_is_told_nothing),
        TEST(closing_and_aborting_a_handshake_is_no_failure),
        TEST(the_loop_may_be_freed_in_a_handshake),
        TEST(closing_inside_handshake_done_makes_no_protocol),
        TEST(a_protocol_made_while_the_connection_is_closed_hears_of_it),
        TEST(a_certificate_of_an_unknown_authority_is_refused),
        TEST(an_expired_certificate_is_refused),
        TEST(a_certificate_for_another_name_is_refused),
        TEST(a_certificate_for_another_address_is_refused),
        TEST(a_wildcard_stands_for_one_label),
        TEST(a_chain_is_verified_to_its_authority),
        TEST(names_match_in_every_spelling_and_addresses_without_sni),
        TEST(a_client_that_verifies_nothing_takes_any_certificate),
        TEST(a_server_name_that_is_none_leaves_the_stream_untouched),
        TEST(a_required_client_certificate_is_seen),
        TEST(a_missing_client_certificate_is_refused_if_required),
        TEST(a_missing_client_certificate_is_fine_if_optional),
        TEST(a_bad_client_certificate_is_refused_even_if_optional),
        TEST(a_client_refused_under_tls_1_3_hears_of_it_when_it_reads),
        TEST(the_servers_first_protocol_that_is_offered_is_chosen),
        TEST(without_a_common_protocol_the_handshake_goes_on),
        TEST(without_a_common_protocol_the_handshake_fails_if_one_is_required),
        TEST(a_client_that_offers_nothing_is_refused_if_one_is_required),
        TEST(both_ends_agree_on_a_protocol),
        TEST(a_client_that_requires_a_protocol_gives_up_a_server_without),
        TEST(a_protocol_that_was_not_offered_is_not_taken),
        TEST(what_openssl_lets_through_is_looked_at),
        TEST(the_certificate_is_the_one_for_the_name_asked_for),
        TEST(the_name_decides_whether_a_client_certificate_is_demanded),
        TEST(a_session_is_resumed_also_with_client_certificates),
        TEST(sessions_can_be_switched_off),
        TEST(a_session_of_one_name_does_not_open_another),
        TEST(a_session_outlives_a_reload_that_demands_the_same),
        TEST(no_session_outlives_a_reload_that_demands_anything_else),
        TEST(an_option_of_unknown_meaning_keeps_no_session),
        TEST(a_client_with_a_certificate_keeps_no_session),
        TEST(reloading_shows_the_new_certificate_to_new_connections_alone),
        TEST(a_ready_ssl_ctx_is_used_as_it_is),
        TEST(a_name_of_a_ready_ssl_ctx_chooses_no_protocol_of_the_first_context),
    };
    return cmocka_run_group_tests(tests, NULL, end_all);
}
