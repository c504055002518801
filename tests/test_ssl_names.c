/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_names.c: server names: who is asked for decides which context serves. Goal: everything
 * that this context says counts and nothing of the first one's, in whatever pieces the hello comes,
 * also where one of them is a ready SSL_CTX; and nobody gets past the demands of a name.
 * Method: the fake backend, OpenSSL with memory BIOs as the peer.
 */
#include "ssl_world.h"
#include "tls/connection.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

static pco_loop *loop;
static tls_end server;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    loop = NULL;
    const char *violation = server.protocol.violation;
    tls_end_free(&server);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* ---- What the tests have in common ---- */

/* A ready SSL_CTX that shows a certificate. */
static SSL_CTX *ready_ctx(const certificate *own)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    return ctx;
}

static pco_ssl_context *context_of(SSL_CTX *ctx)
{
    pco_ssl_context *context;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    SSL_CTX_free(ctx);
    return context;
}

/* A context with "other.example", served by `other`, whose reference it takes. */
static pco_ssl_context *named(pco_ssl_context *context, pco_ssl_context *other)
{
    assert_int_equal(pco_ssl_context_add_server_name(context, "other.example", other, NULL), 0);
    pco_ssl_context_release(other);
    return context;
}

/* Starts the server with the context, whose reference it takes, and the peer. */
static void start(pco_ssl_context *context, tls_peer *peer, SSL_CTX *ctx, const char *name)
{
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(peer, ctx, name);
    SSL_CTX_free(ctx);
}

static void assert_shown(const tls_peer *peer, const certificate *own)
{
    assert_string_equal(server.protocol.log, "made");
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(peer->ssl), own->x509), 0);
}

static void assert_refused(const char *words)
{
    assert_int_equal(server.done, 1);
    if (strstr(server.handshake_error.message, words) == NULL) {
        fail_msg("\"%s\", not \"%s\"", server.handshake_error.message, words);
    }
    assert_string_equal(server.protocol.log, "");
}

/* Both are done; the next case begins. */
static void next(tls_peer *peer, void **state)
{
    tls_peer_free(peer);
    assert_int_equal(tear_down(state), 0);
    set_up(state);
}

/* ---- All of it counts ---- */

/* The context for other.example says everything else than the first one. */
static pco_ssl_context *context_of_opposites(void)
{
    static const char *const first[] = {"h2"};
    static const char *const second[] = {"http/1.1"};
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    pco_ssl_context_options others = tls_options(&certificates_get()->other);
    options.minimum_version = PCO_TLS_1_3;
    options.alpn_protocols = first;
    options.alpn_protocols_count = 1;
    options.alpn_required = PCO_ON;
    options.ciphersuites = "TLS_AES_256_GCM_SHA384";
    others.maximum_version = PCO_TLS_1_2;
    others.alpn_protocols = second;
    others.alpn_protocols_count = 1;
    others.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    others.session_resumption = PCO_OFF;
    return named(tls_context(&options), tls_context(&others));
}

static SSL_CTX *offering(const char *wire)
{
    SSL_CTX *ctx = tls_peer_ctx(0);
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)wire, (unsigned)strlen(wire));
    return ctx;
}

static void all_that_the_names_context_says_counts(void **state)
{
    pco_ssl_info info = {.size = sizeof info};
    tls_peer peer;
    start(context_of_opposites(), &peer, offering("\x02h2\x08http/1.1"), "other.example");
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->other);
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
    assert_string_equal(info.version, "TLSv1.2");
    assert_string_equal(info.cipher, "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_string_equal(info.alpn, "http/1.1");
    assert_string_equal(info.server_name, "other.example");
    assert_false(SSL_SESSION_has_ticket(SSL_get0_session(peer.ssl)));
    next(&peer, state);

    start(context_of_opposites(), &peer, offering("\x02h2\x08http/1.1"), "localhost");
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->server);
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
    assert_string_equal(info.version, "TLSv1.3");
    assert_string_equal(info.alpn, "h2");
    assert_true(SSL_SESSION_has_ticket(SSL_get0_session(peer.ssl)));
    next(&peer, state);

    /* The first one's demand is not the other's. */
    start(context_of_opposites(), &peer, tls_peer_ctx(0), "other.example");
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->other);
    next(&peer, state);
    start(context_of_opposites(), &peer, tls_peer_ctx(0), NULL);
    tls_run(&peer, &server);
    assert_refused("the client offers no application protocol");
    next(&peer, state);
    start(context_of_opposites(), &peer, tls_peer_ctx(TLS1_3_VERSION), "other.example");
    tls_run(&peer, &server);
    assert_refused("unsupported protocol");
    tls_peer_free(&peer);
}

/* ---- The hello comes as it likes ---- */

static void a_hello_may_come_byte_by_byte(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        tls_peer peer;
        pco_ssl_context_options options = tls_options(&certificates_get()->other);
        start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(version),
              "other.example");
        server.socket->input_cut = 1;
        tls_run(&peer, &server);
        assert_shown(&peer, &certificates_get()->other);
        next(&peer, state);
    }
}

/* A record of each byte (RFC 8446, 5.1): OpenSSL takes what its buffer holds of them. */
static void a_hello_may_come_in_many_records(void **state)
{
    tls_peer peer;
    char *data;
    unsigned char *pieces = malloc(65536);
    size_t filled = 0;
    pco_ssl_context_options options = tls_options(&certificates_get()->other);
    (void)state;
    start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(0),
          "other.example");
    tls_peer_work(&peer);
    size_t length = (size_t)BIO_get_mem_data(peer.out, &data);
    for (size_t i = 5; i < length; i++) {
        const unsigned char record[] = {22, 3, 1, 0, 1, (unsigned char)data[i]};
        memcpy(pieces + filled, record, sizeof record);
        filled += sizeof record;
    }
    BIO_reset(peer.out);
    fake_feed(server.socket, pieces, filled);
    free(pieces);
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->other);
    tls_peer_free(&peer);
}

static void what_is_no_hello_gets_its_alert(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->other);
    tls_peer peer;
    (void)state;
    start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(0), NULL);
    fake_feed(server.socket, "GET / HTTP/1.1\r\n\r\n", 18);
    run_turns(loop, 3);
    assert_refused("TLS handshake: http request");
    tls_peer_free(&peer);
}

/* An endless hello: its length is looked at before it is kept. */
static void a_hello_without_an_end_is_refused(void **state)
{
    static const unsigned char head[] = {22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};
    unsigned char *record = calloc(1, 16384 + 5);
    pco_ssl_context_options options = tls_options(&certificates_get()->other);
    tls_peer peer;
    (void)state;
    start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(0), NULL);
    memcpy(record, head, sizeof head);
    fake_feed(server.socket, record, 16384 + 5);
    run_turns(loop, 3);
    assert_refused("TLS handshake: excessive message size");
    tls_peer_free(&peer);
    free(record);
}

static void the_end_in_the_middle_of_a_hello_is_told(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->other);
    tls_peer peer;
    (void)state;
    start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(0), NULL);
    fake_feed(server.socket, "\x16\x03\x01\x01\x00\x01", 6);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
    assert_refused("the peer closed the connection");
    tls_peer_free(&peer);
}

static void memory_may_be_gone_at_every_request(void **state)
{
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        tls_peer peer;
        pco_ssl_context_options options = tls_options(&certificates_get()->other);
        start(named(tls_server_context(), tls_context(&options)), &peer, tls_peer_ctx(0),
              "other.example");
        server.socket->input_cut = 100;
        assert_true(nth < 1000);
        memory_fail(nth, false);
        tls_run(&peer, &server);
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(server.done, 1);
        next(&peer, state);
    }
}

/* ---- A hello that is said twice ---- */

/* The server's group is one of those that the client has offered no key for. */
static pco_ssl_context *context_that_asks_again(void)
{
    const certificates *them = certificates_get();
    SSL_CTX *ctx = ready_ctx(&them->server);
    SSL_CTX *other = ready_ctx(&them->other);
    assert_int_equal(SSL_CTX_set1_groups_list(ctx, "P-384"), 1);
    assert_int_equal(SSL_CTX_set1_groups_list(other, "P-384"), 1);
    return named(context_of(ctx), context_of(other));
}

static void start_with_a_wrong_key(tls_peer *peer, const char *name)
{
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    assert_int_equal(SSL_CTX_set1_groups_list(ctx, "P-256:P-384"), 1);
    start(context_that_asks_again(), peer, ctx, name);
}

static void a_second_hello_for_the_same_name_is_answered(void **state)
{
    static const char *const names[] = {NULL, "localhost", "other.example", "OTHER.example"};
    for (size_t i = 0; i < 4; i++) {
        tls_peer peer;
        start_with_a_wrong_key(&peer, names[i]);
        tls_run(&peer, &server);
        assert_shown(&peer, i < 2 ? &certificates_get()->server : &certificates_get()->other);
        next(&peer, state);
    }
}

static void a_second_hello_for_another_name_is_refused(void **state)
{
    static const char *const cases[][2] = {{"localhost", "other.example"},
                                           {"other.example", "localhost"},
                                           {NULL, "other.example"},
                                           {"other.example", NULL}};
    for (size_t i = 0; i < 4; i++) {
        tls_peer peer;
        start_with_a_wrong_key(&peer, cases[i][0]);
        tls_peer_work(&peer);
        tls_move_to_end(&peer, &server);
        run_turns(loop, 2);
        SSL_set_tlsext_host_name(peer.ssl, cases[i][1]);
        tls_run(&peer, &server);
        assert_refused("TLS handshake: the client has asked for two names");
        next(&peer, state);
    }
}

/* ---- A ready SSL_CTX ---- */

static unsigned hellos;
static unsigned servernames;

static int count_hello(SSL *engine, int *alert, void *unused)
{
    (void)engine;
    (void)alert;
    (void)unused;
    hellos++;
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int count_servername(SSL *engine, int *alert, void *unused)
{
    (void)engine;
    (void)alert;
    (void)unused;
    servernames++;
    return SSL_TLSEXT_ERR_OK;
}

/* Its user's callbacks see what they would without the names. */
static void a_ready_ssl_ctx_has_names_and_keeps_its_callbacks(void **state)
{
    const certificates *them = certificates_get();
    hellos = servernames = 0;
    for (unsigned i = 0; i < 4; i++) {
        tls_peer peer;
        SSL_CTX *ctx = ready_ctx(&them->server);
        SSL_CTX *other = ready_ctx(&them->other);
        SSL_CTX_set_client_hello_cb(i % 2 == 0 ? ctx : other, count_hello, NULL);
        SSL_CTX_set_tlsext_servername_callback(i % 2 == 0 ? ctx : other, count_servername);
        start(named(context_of(ctx), context_of(other)), &peer, tls_peer_ctx(0),
              i < 2 ? "localhost" : "other.example");
        tls_run(&peer, &server);
        assert_shown(&peer, i < 2 ? &them->server : &them->other);
        assert_int_equal(hellos, i == 3 ? 2 : 1);
        assert_int_equal(servernames, hellos);
        next(&peer, state);
    }
}

static bool waits;

static int wait_once(SSL *engine, void *unused)
{
    (void)engine;
    (void)unused;
    waits = !waits;
    return waits ? -1 : 1;
}

/* It waits for its answer alone, and for nothing that the name has brought about. */
static void a_names_own_callback_may_put_its_answer_off(void **state)
{
    const certificates *them = certificates_get();
    SSL_CTX *ctx = ready_ctx(&them->other);
    tls_peer peer;
    (void)state;
    SSL_CTX_set_cert_cb(ctx, wait_once, NULL);
    start(named(tls_server_context(), context_of(ctx)), &peer, tls_peer_ctx(0), "other.example");
    tls_run(&peer, &server);
    assert_true(waits);
    assert_int_equal(server.done, 0);
    pco__ssl_go_on(PCO__CONTAINER(server.stream->top, pco__ssl, base));
    tls_run(&peer, &server);
    assert_shown(&peer, &them->other);
    tls_peer_free(&peer);
}

static void a_ready_ssl_ctx_is_replaced_for_new_connections(void **state)
{
    const certificates *them = certificates_get();
    for (unsigned i = 0; i < 2; i++) {
        tls_peer peer;
        SSL_CTX *after = ready_ctx(&them->wildcard);
        pco_ssl_context *other = context_of(ready_ctx(&them->other));
        pco_ssl_context *context = pco_ssl_context_retain(other);
        if (i == 1) {
            pco_ssl_context_release(context);
            context = named(tls_server_context(), pco_ssl_context_retain(other));
        }
        assert_int_equal(pco_ssl_context_reload_from_ssl_ctx(other, after, NULL), 0);
        SSL_CTX_free(after);
        pco_ssl_context_release(other);
        start(context, &peer, tls_peer_ctx(0), "other.example");
        tls_run(&peer, &server);
        assert_shown(&peer, &them->wildcard);
        next(&peer, state);
    }
}

/* One that has read the hello has chosen. */
static void a_name_may_be_replaced_in_the_middle_of_a_handshake(void **state)
{
    const certificates *them = certificates_get();
    tls_peer peer;
    pco_ssl_context_options options = tls_options(&them->other);
    pco_ssl_context *context = named(tls_server_context(), tls_context(&options));
    (void)state;
    start(pco_ssl_context_retain(context), &peer, tls_peer_ctx(TLS1_2_VERSION), "other.example");
    tls_peer_work(&peer);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 2);
    options = tls_options(&them->wildcard);
    pco_ssl_context_release(named(context, tls_context(&options)));
    tls_run(&peer, &server);
    assert_shown(&peer, &them->other);
    tls_peer_free(&peer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int free_certificates(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_the_names_context_says_counts),
        TEST(a_hello_may_come_byte_by_byte),
        TEST(a_hello_may_come_in_many_records),
        TEST(what_is_no_hello_gets_its_alert),
        TEST(a_hello_without_an_end_is_refused),
        TEST(the_end_in_the_middle_of_a_hello_is_told),
        TEST(memory_may_be_gone_at_every_request),
        TEST(a_second_hello_for_the_same_name_is_answered),
        TEST(a_second_hello_for_another_name_is_refused),
        TEST(a_ready_ssl_ctx_has_names_and_keeps_its_callbacks),
        TEST(a_names_own_callback_may_put_its_answer_off),
        TEST(a_ready_ssl_ctx_is_replaced_for_new_connections),
        TEST(a_name_may_be_replaced_in_the_middle_of_a_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, free_certificates);
}
