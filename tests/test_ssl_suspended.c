/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_suspended.c: a handshake that waits for an answer which a callback of OpenSSL's has put
 * off. Goal: meanwhile nothing moves, nothing is lost, and the connection can come to any end; with
 * the answer it goes on as if there had been no wait.
 * Method: the fake backend, and ready SSL_CTXs whose callbacks put their answers off.
 */
#include "ssl_world.h"
#include "tls/connection.h"

static pco_loop *loop;
static tls_end server;
static tls_end client;
static int waits;       /* how often the callback puts its answer off */
static unsigned asked;  /* how often it was called */
static bool answers_no; /* what its answer is, then */

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    waits = 1;
    asked = 0;
    answers_no = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    loop = NULL;
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

/* ---- Callbacks that put it off, one for each that OpenSSL lets do so ---- */

static bool puts_off(void)
{
    asked++;
    return waits-- > 0;
}

static int hello_waits(SSL *engine, int *alert, void *unused)
{
    (void)engine;
    (void)unused;
    if (puts_off()) {
        return SSL_CLIENT_HELLO_RETRY;
    }
    *alert = SSL_AD_ACCESS_DENIED;
    return answers_no ? SSL_CLIENT_HELLO_ERROR : SSL_CLIENT_HELLO_SUCCESS;
}

static int certificate_waits(SSL *engine, void *unused)
{
    (void)engine;
    (void)unused;
    return puts_off() ? -1 : !answers_no;
}

static int verdict_waits(X509_STORE_CTX *store, void *unused)
{
    (void)unused;
    if (puts_off()) {
        return SSL_set_retry_verify(
            X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    }
    if (answers_no) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
    }
    return !answers_no;
}

typedef enum kind { HELLO, CERTIFICATE, CLIENTS_CERTIFICATE, VERDICT, KINDS } kind;

static pco_ssl_context *context_of(SSL_CTX *ctx)
{
    pco_ssl_context *context;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    SSL_CTX_free(ctx);
    return context;
}

static void start_server(kind what)
{
    const certificate *own = &certificates_get()->server;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    if (what == HELLO) {
        SSL_CTX_set_client_hello_cb(ctx, hello_waits, NULL);
    } else if (what == CERTIFICATE) {
        SSL_CTX_set_cert_cb(ctx, certificate_waits, NULL);
    } else if (what == CLIENTS_CERTIFICATE) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    pco_ssl_context *context = context_of(ctx);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
}

static void start_client(kind what, int version)
{
    SSL_CTX *ctx = tls_peer_ctx(version);
    if (what == CLIENTS_CERTIFICATE) {
        SSL_CTX_set_cert_cb(ctx, certificate_waits, NULL);
    } else if (what == VERDICT) {
        SSL_CTX_set_cert_verify_callback(ctx, verdict_waits, NULL);
    }
    pco_ssl_context *context = context_of(ctx);
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
}

/* Both ends, as far as they come. Returns the one that waits. */
static tls_end *start(kind what, int version)
{
    start_server(what);
    start_client(what, version);
    tls_run_ends(&server, &client);
    return what == HELLO || what == CERTIFICATE ? &server : &client;
}

static pco__ssl *ssl_of(const tls_end *end)
{
    return PCO__CONTAINER(end->stream->top, pco__ssl, base);
}

/* What comes first is kept; until then it hears whether the peer has gone. */
static bool is_receiving(const tls_end *end)
{
    return !end->stream->base.reading_paused;
}

static void assert_failed(const tls_end *end, int code, const char *words)
{
    assert_int_equal(end->done, 1);
    assert_int_equal(end->handshake_error.code, code);
    assert_non_null(strstr(end->handshake_error.message, words));
    assert_int_equal(end->factory_calls, 0);
    assert_string_equal(end->protocol.log, "");
}

/* ---- It goes on ---- */

static void check_goes_on(kind what, int version)
{
    tls_end *end = start(what, version);
    assert_int_equal(asked, 1);
    assert_int_equal(end->done, 0);
    assert_int_equal(is_receiving(end), ssl_of(end)->kept == NULL);
    pco__ssl_go_on(ssl_of(end));
    assert_int_equal(asked, 1); /* in a later turn */
    tls_run_ends(&server, &client);
    assert_int_equal(asked, 2);
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
    assert_true(is_receiving(&server));
    assert_true(is_receiving(&client));
}

static void each_callback_may_put_its_answer_off(void **state)
{
    for (kind what = HELLO; what < KINDS; what++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            check_goes_on(what, version);
            assert_int_equal(tear_down(state), 0);
            set_up(state);
        }
    }
}

static void an_answer_may_be_put_off_again(void **state)
{
    (void)state;
    waits = 3;
    tls_end *end = start(VERDICT, TLS1_3_VERSION);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(asked, i);
        assert_int_equal(end->done, 0);
        assert_int_equal(is_receiving(end), ssl_of(end)->kept == NULL);
        pco__ssl_go_on(ssl_of(end));
        pco__ssl_go_on(ssl_of(end));
        tls_run_ends(&server, &client);
    }
    assert_int_equal(asked, 4);
    assert_string_equal(client.protocol.log, "made");
}

/* It has been received together with what the callback was called for. */
static void input_that_waits_is_not_lost(void **state)
{
    (void)state;
    waits = 0;
    start_server(HELLO);
    start_client(HELLO, TLS1_3_VERSION);
    assert_true(client.socket->sent_length > 200);
    waits = 1;
    fake_feed(server.socket, client.socket->sent, client.socket->sent_length);
    fake_feed(server.socket, "\x14\x03\x03\x00\x01\x01", 6); /* a ChangeCipherSpec of middleboxes */
    client.taken = client.socket->sent_length;
    tls_run_ends(&server, &client);
    assert_non_null(ssl_of(&server)->kept);
    pco__ssl_go_on(ssl_of(&server));
    tls_run_ends(&server, &client);
    assert_null(ssl_of(&server)->kept);
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
}

static void check_fails(kind what, int code, const char *words)
{
    answers_no = true;
    tls_end *end = start(what, TLS1_3_VERSION);
    assert_int_equal(end->done, 0);
    pco__ssl_go_on(ssl_of(end));
    tls_run_ends(&server, &client);
    assert_failed(end, code, words);
}

static void the_late_answer_may_be_no(void **state)
{
    check_fails(HELLO, PCO_ETLS, "TLS handshake: callback failed");
    assert_failed(&client, PCO_ETLS, "access denied");
    assert_int_equal(tear_down(state), 0);
    set_up(state);
    check_fails(CERTIFICATE, PCO_ETLS, "TLS handshake: cert cb error");
    assert_int_equal(tear_down(state), 0);
    set_up(state);
    check_fails(VERDICT, PCO_ECERT, "certificate revoked");
}

/* ---- It ends ---- */

static void the_time_limit_goes_on(void **state)
{
    (void)state;
    for (kind what = HELLO; what < KINDS; what++) {
        tls_end *end = start(what, TLS1_3_VERSION);
        fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 0.1);
        run_turns(loop, 3);
        assert_failed(end, PCO_ETIMEDOUT, "TLS handshake took longer than 60 seconds");
        assert_true(tls_end_is_over(end));
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

static void it_may_be_aborted_and_closed(void **state)
{
    for (unsigned how = 0; how < 4; how++) {
        tls_end *end = start(how < 2 ? HELLO : VERDICT, TLS1_3_VERSION);
        pco_transport *transport = end->stream->top;
        if (how % 2 == 0) {
            pco_transport_abort(transport);
        } else {
            pco_transport_close(transport);
        }
        run_turns(loop, 3);
        assert_failed(end, PCO_ECANCELED, "the connection was closed here");
        assert_true(tls_end_is_over(end));
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

/* The answer comes in the moment in which the connection ends: nothing is left to be done. */
static void an_answer_may_come_with_the_end(void **state)
{
    (void)state;
    tls_end *end = start(VERDICT, TLS1_3_VERSION);
    pco_transport *transport = pco_transport_retain(end->stream->top);
    pco__ssl *ssl = ssl_of(end);
    pco__ssl_go_on(ssl);
    pco_transport_abort(transport);
    pco__ssl_go_on(ssl);
    run_turns(loop, 3);
    pco__ssl_go_on(ssl);
    run_turns(loop, 3);
    assert_int_equal(asked, 1);
    assert_failed(end, PCO_ECANCELED, "the connection was closed here");
    pco_transport_release(transport);
}

/* What is checked is in the tear-down: nothing is left. */
static void the_loop_may_be_freed(void **state)
{
    for (unsigned how = 0; how < 4; how++) {
        tls_end *end = start(how < 2 ? CERTIFICATE : VERDICT, TLS1_3_VERSION);
        if (how % 2 == 1) {
            pco__ssl_go_on(ssl_of(end));
        }
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(end->done, 1);
        assert_int_equal(asked, 1);
        set_up(state);
    }
}

static void the_peers_end_ends_it(void **state)
{
    for (unsigned how = 0; how < 3; how++) {
        tls_end *end = start(how == 1 ? CERTIFICATE : HELLO, TLS1_3_VERSION);
        if (how == 2) {
            pco__ssl_go_on(ssl_of(end)); /* in the same turn */
        }
        fake_feed_eof(end->socket);
        run_turns(loop, 3);
        assert_failed(end, PCO_ECONNRESET, "the peer closed the connection");
        fake_advance(loop, 10);
        run_turns(loop, 3);
        assert_true(tls_end_is_over(end));
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

static void an_end_behind_what_waits_is_noticed_when_it_goes_on(void **state)
{
    (void)state;
    tls_end *end = start(VERDICT, TLS1_3_VERSION);
    assert_non_null(ssl_of(end)->kept);
    fake_feed_eof(end->socket);
    run_turns(loop, 3);
    assert_int_equal(end->done, 0);
    pco__ssl_go_on(ssl_of(end));
    run_turns(loop, 3);
    assert_int_equal(end->done, 1);
    assert_string_equal(end->protocol.log, "made lost:PCO_ETRUNCATED");
}

/* As much as is asked for at once, and no more. */
static void a_flood_waits_in_the_system(void **state)
{
    static unsigned char flood[100000];
    (void)state;
    tls_end *end = start(HELLO, TLS1_3_VERSION);
    fake_feed(end->socket, flood, sizeof flood);
    run_turns(loop, 5);
    assert_non_null(ssl_of(end)->kept);
    assert_in_range(ssl_of(end)->kept->length, 1, 20000);
    assert_int_equal(ssl_of(end)->kept->length + end->socket->input_length, sizeof flood);
    pco__ssl_go_on(ssl_of(end));
    run_turns(loop, 5);
    assert_failed(end, PCO_ETLS, "TLS handshake: ");
}

static void the_peers_reset_ends_it(void **state)
{
    (void)state;
    tls_end *end = start(VERDICT, TLS1_3_VERSION);
    fake_feed_error(end->socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_int_equal(asked, 1);
    assert_failed(end, PCO_ECONNRESET, "TLS handshake: ");
    assert_true(tls_end_is_over(end));
}

static void no_memory_for_what_waits_ends_it(void **state)
{
    (void)state;
    waits = 0;
    start_server(HELLO);
    start_client(HELLO, TLS1_3_VERSION);
    waits = 1;
    fake_feed(server.socket, client.socket->sent, client.socket->sent_length);
    fake_feed(server.socket, "\x14\x03\x03\x00\x01\x01", 6);
    client.taken = client.socket->sent_length;
    memory_fail(1, true);
    run_turns(loop, 3);
    memory_fail(0, false);
    assert_failed(&server, PCO_ENOMEM, "out of memory");
    assert_true(tls_end_is_over(&server));
}

static int free_certificates(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_callback_may_put_its_answer_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_may_be_put_off_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(input_that_waits_is_not_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_late_answer_may_be_no, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_time_limit_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_may_be_aborted_and_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_may_come_with_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_loop_may_be_freed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_peers_end_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_end_behind_what_waits_is_noticed_when_it_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_flood_waits_in_the_system, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_peers_reset_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_memory_for_what_waits_ends_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, free_certificates);
}
