/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_verdict.c: the system's verdict on a server. Goal: the handshake waits for it and goes
 * on with it, whatever it is; what is accepted is looked at by OpenSSL, too; and the connection can
 * come to any end meanwhile, with the thread left behind.
 * Method: a court of the test's in the system's place, which judges on a thread as the system
 * would, and waits at a gate if it is to be late; the fake backend, whose time is a number.
 */
#include "ssl_world.h"
#include "support/buffers.h"
#include "system/platform.h"
#include "tls/connection.h"
#include "tls/turns.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

#define PATIENCE ((uint64_t)60 * 1000 * 1000 * 1000)

static pco_loop *loop;
static tls_end client;
static tls_peer peer;
static certificate made; /* the test's own */
static pco__mutex *guard;
static pco__mutex *gate;
static bool gate_is_closed;

/* What the court says, and what it has heard; under `guard` once a thread may be in it. */
static struct {
    pco__trust_kind kind;
    const certificate *root; /* the end of the chain of a good one */
    unsigned calls;
    uintptr_t thread;
    char host[64];
    bool has_host;
    bool is_address;
    size_t chain_count;
    size_t anchors_count;
    size_t staple_length;
    double timeout;
} court;

/* ---- The court ---- */

static pco_buffer der_of(const certificate *one)
{
    unsigned char *der = NULL;
    int length = i2d_X509(one->x509, &der);
    return (pco_buffer){.data = der, .length = length > 0 ? (size_t)length : 0};
}

/* The chain that was sent, and the root behind it. */
static void give_chain(const pco__trust_question *question, pco__trust_verdict *verdict)
{
    pco_buffer chain[4];
    size_t count = question->chain_count < 3 ? question->chain_count : 3;
    pco_buffer root = der_of(court.root);
    memcpy(chain, question->chain, count * sizeof *chain);
    chain[count++] = root;
    verdict->chain = pco__buffers_copy(chain, count);
    verdict->chain_count = count;
    if (verdict->chain == NULL) {
        verdict->kind = PCO__TRUST_NO_MEMORY;
    }
    OPENSSL_free((void *)(uintptr_t)root.data);
}

static void judge(const pco__trust_question *question, pco__trust_verdict *verdict)
{
    pco__mutex_lock(guard);
    court.calls++;
    court.thread = pco__thread_id();
    court.has_host = question->host != NULL;
    snprintf(court.host, sizeof court.host, "%s", court.has_host ? question->host : "");
    court.is_address = question->is_address;
    court.chain_count = question->chain_count;
    court.anchors_count = question->anchors_count;
    court.staple_length = question->staple.length;
    court.timeout = question->timeout;
    pco__mutex_unlock(guard);
    pco__mutex_lock(gate);
    pco__mutex_unlock(gate);
    memset(verdict, 0, sizeof *verdict);
    verdict->kind = court.kind;
    verdict->system_code = 0x1234;
    if (court.kind == PCO__TRUST_GOOD) {
        give_chain(question, verdict);
    }
}

static const pco__trust trust = {.judge = judge};

static unsigned calls(void)
{
    pco__mutex_lock(guard);
    unsigned count = court.calls;
    pco__mutex_unlock(guard);
    return count;
}

static void close_gate(void)
{
    pco__mutex_lock(gate);
    gate_is_closed = true;
}

static void open_gate(void)
{
    if (gate_is_closed) {
        gate_is_closed = false;
        pco__mutex_unlock(gate);
    }
}

/* ---- The world ---- */

static int set_up(void **state)
{
    (void)state;
    certificates_get();
    memory_watch();
    loop = fake_loop_new();
    pco__ssl_loop *shared = pco__ssl_loop_get(loop, pco__ssl_sweep, pco__ssl_turn);
    if (shared == NULL || pco__mutex_new(&guard) != 0 || pco__mutex_new(&gate) != 0) {
        return -1;
    }
    shared->trust = &trust;
    memset(&court, 0, sizeof court);
    court.root = &certificates_get()->ca;
    tls_end_init(&client, false);
    memset(&peer, 0, sizeof peer);
    memset(&made, 0, sizeof made);
    return 0;
}

static bool wait_until(bool (*condition)(void))
{
    uint64_t began = pco__monotonic();
    while (!condition() && pco__monotonic() - began < PATIENCE) {
        if (loop != NULL) {
            tls_run(&peer, &client);
        }
    }
    return condition();
}

/* The mutexes of this test are all that is left: no thread has anything any more. */
static bool threads_are_gone(void)
{
    return memory_pieces() <= 2;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    loop = NULL;
    open_gate();
    const char *violation = client.protocol.violation;
    tls_end_free(&client);
    tls_peer_free(&peer);
    certificate_clear(&made);
    wait_until(threads_are_gone);
    pco__mutex_free(guard);
    pco__mutex_free(gate);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* A context that asks the system, and trusts the test's authority besides. */
static pco_ssl_context *asking_context(pco_ssl_context_options options)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context *context;
    options.size = sizeof options;
    options.ca_pem = ca->pem;
    options.ca_pem_length = ca->pem_length;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    setup->by_system = true;
    pco__ssl_setup_give(setup);
    return context;
}

/* A server that shows `own`, and `behind` unless it is NULL. `version`: 0 for any. */
static void start_peer(const certificate *own, const certificate *behind, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    if (behind != NULL) {
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, behind->x509), 1);
    }
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    SSL_set_accept_state(peer.ssl);
}

/* A client of `context`, whose reference it takes, begins, and comes as far as it can. */
static void begin(pco_ssl_context *context, const char *name)
{
    tls_end_start_client(&client, loop, context, name);
    pco_ssl_context_release(context);
    tls_run(&peer, &client);
}

static bool is_done(void)
{
    return client.done != 0;
}

static bool is_asked(void)
{
    return calls() != 0;
}

static void meet(const certificate *own, const certificate *behind, const char *name)
{
    start_peer(own, behind, 0);
    begin(asking_context((pco_ssl_context_options){.size = 0}), name);
    assert_true(wait_until(is_done));
    tls_run(&peer, &client);
}

static void assert_opened(void)
{
    if (client.handshake_error.code != 0) {
        fail_msg("%s", client.handshake_error.message);
    }
    assert_int_equal(client.done, 1);
    assert_string_equal(client.protocol.log, "made");
}

static void assert_failed(int code, const char *words)
{
    assert_int_equal(client.done, 1);
    if (client.handshake_error.code != code ||
        strstr(client.handshake_error.message, words) == NULL) {
        fail_msg("%s: \"%s\", not %s: \"%s\"", pco_error_name(client.handshake_error.code),
                 client.handshake_error.message, pco_error_name(code), words);
    }
    assert_int_equal(client.factory_calls, 0);
}

static int alert(void)
{
    return peer.failure - SSL_AD_REASON_OFFSET;
}

/* ---- It goes on ---- */

static void the_handshake_waits_for_the_verdict(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        close_gate();
        start_peer(&certificates_get()->chained, &certificates_get()->intermediate, version);
        begin(asking_context((pco_ssl_context_options){.size = 0}), "localhost");
        assert_true(wait_until(is_asked));
        tls_run(&peer, &client);
        assert_int_equal(client.done, 0);
        open_gate();
        assert_true(wait_until(is_done));
        tls_run(&peer, &client);
        assert_opened();
        assert_true(peer.established);
        assert_int_equal(calls(), 1);
        assert_true(court.thread != pco__thread_id());
        assert_true(court.has_host);
        assert_string_equal(court.host, "localhost");
        assert_false(court.is_address);
        assert_int_equal(court.chain_count, 2);
        assert_int_equal(court.anchors_count, 1);
        assert_true(court.timeout >= 10 && court.timeout <= 10);
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

static void an_address_is_asked_about_as_one(void **state)
{
    (void)state;
    meet(&certificates_get()->server, NULL, "::1");
    assert_opened();
    assert_string_equal(court.host, "::1");
    assert_true(court.is_address);
}

static int staple(SSL *engine, void *unused)
{
    unsigned char *response = OPENSSL_malloc(5);
    (void)unused;
    memcpy(response, "12345", 5);
    SSL_set_tlsext_status_ocsp_resp(engine, response, 5);
    return SSL_TLSEXT_ERR_OK;
}

static void a_staple_is_asked_for_and_handed_over(void **state)
{
    (void)state;
    start_peer(&certificates_get()->server, NULL, TLS1_3_VERSION);
    SSL_CTX_set_tlsext_status_cb(SSL_get_SSL_CTX(peer.ssl), staple);
    begin(asking_context((pco_ssl_context_options){.size = 0}), "localhost");
    assert_true(wait_until(is_done));
    assert_opened();
    assert_int_equal(court.staple_length, 5);
}

static void the_verified_chain_is_the_system_s(void **state)
{
    (void)state;
    meet(&certificates_get()->chained, &certificates_get()->intermediate, "localhost");
    assert_opened();
    SSL *engine = pco_transport_get_ssl_object(client.transport);
    assert_int_equal(sk_X509_num(SSL_get0_verified_chain(engine)), 3);
    assert_int_equal(SSL_get_verify_result(engine), X509_V_OK);
}

/* ---- What it says ---- */

static void each_verdict_has_its_sentence_and_its_alert(void **state)
{
    const certificates *them = certificates_get();
    const struct {
        pco__trust_kind kind;
        const certificate *own;
        const char *words;
        int alert;
    } cases[] = {
        {PCO__TRUST_EXPIRED, &them->expired, "certificate has expired: 'localhost' was valid until",
         SSL_AD_CERTIFICATE_EXPIRED},
        {PCO__TRUST_UNKNOWN_ISSUER, &them->stranger, "self-signed certificate: 'localhost'",
         SSL_AD_UNKNOWN_CA},
        {PCO__TRUST_UNKNOWN_ISSUER, &them->chained,
         "'Portico test CA 2', which has signed 'localhost', is not trusted", SSL_AD_UNKNOWN_CA},
        {PCO__TRUST_WRONG_NAME, &them->other,
         "mismatch: the certificate is for 'other.example', not for 'localhost'",
         SSL_AD_BAD_CERTIFICATE},
        {PCO__TRUST_REVOKED, &them->server, "certificate revoked: 'localhost'",
         SSL_AD_CERTIFICATE_REVOKED},
        {PCO__TRUST_WRONG_USAGE, &them->client, "'client' is not for servers",
         SSL_AD_UNSUPPORTED_CERTIFICATE},
        {PCO__TRUST_BAD_SIGNATURE, &them->server, "certificate signature failure: 'localhost'",
         SSL_AD_BAD_CERTIFICATE},
        {PCO__TRUST_GARBLED, &them->server, "certificate rejected", SSL_AD_BAD_CERTIFICATE},
        {PCO__TRUST_REFUSED, &them->server, "certificate rejected", SSL_AD_BAD_CERTIFICATE},
        {PCO__TRUST_FAILED, &them->server,
         "the system passes no verdict on the certificate (0x1234)", SSL_AD_INTERNAL_ERROR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        court.kind = cases[i].kind;
        meet(cases[i].own, NULL, "localhost");
        assert_failed(PCO_ECERT, cases[i].words);
        assert_int_equal(alert(), cases[i].alert);
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

static void one_that_is_not_valid_yet_is_told_as_such(void **state)
{
    (void)state;
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = &certificates_get()->ca,
                               .begins = 1,
                               .ends = 2},
                     NULL);
    court.kind = PCO__TRUST_EXPIRED;
    meet(&made, NULL, "localhost");
    assert_failed(PCO_ECERT, "not yet valid: 'localhost' is valid from ");
    assert_int_equal(alert(), SSL_AD_CERTIFICATE_EXPIRED);
}

static void a_system_without_memory_is_no_verdict(void **state)
{
    (void)state;
    court.kind = PCO__TRUST_NO_MEMORY;
    meet(&certificates_get()->server, NULL, "localhost");
    assert_failed(PCO_ENOMEM, "");
    assert_int_equal(alert(), SSL_AD_INTERNAL_ERROR);
}

/* ---- What OpenSSL says to what the system accepts ---- */

static void the_name_is_checked_by_openssl_too(void **state)
{
    (void)state;
    meet(&certificates_get()->other, NULL, "localhost");
    assert_failed(PCO_ECERT, "the certificate is for 'other.example', not for 'localhost'");
    assert_int_equal(alert(), SSL_AD_BAD_CERTIFICATE);
}

static void an_address_is_checked_by_openssl_too(void **state)
{
    (void)state;
    meet(&certificates_get()->server, NULL, "127.0.0.2");
    assert_failed(PCO_ECERT, "not for '127.0.0.2'");
}

static void a_weak_key_is_refused_in_spite_of_the_system(void **state)
{
    (void)state;
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = &certificates_get()->ca,
                               .rsa_bits = 1024},
                     NULL);
    meet(&made, NULL, "localhost");
    assert_failed(PCO_ECERT, "EE certificate key too weak");
}

static void a_chain_that_does_not_lead_to_its_end_is_refused(void **state)
{
    (void)state;
    court.root = &certificates_get()->stranger;
    meet(&certificates_get()->server, NULL, "localhost");
    assert_failed(PCO_ECERT, "'Portico test CA', which has signed 'localhost', is not trusted");
}

/* ---- Who is not asked ---- */

static void who_trusts_only_who_is_given_does_not_ask(void **state)
{
    (void)state;
    start_peer(&certificates_get()->server, NULL, 0);
    begin(tls_client_context(), "localhost");
    assert_opened();
    assert_int_equal(calls(), 0);
}

static void a_ready_ssl_ctx_does_not_ask(void **state)
{
    SSL_CTX *ctx = tls_peer_ctx(0);
    pco_ssl_context *context;
    (void)state;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    SSL_CTX_free(ctx);
    start_peer(&certificates_get()->server, NULL, 0);
    begin(context, "localhost");
    assert_opened();
    assert_int_equal(calls(), 0);
}

/* ---- Other ends ---- */

static void begin_and_wait_at_the_gate(pco_ssl_context_options options)
{
    close_gate();
    start_peer(&certificates_get()->server, NULL, 0);
    begin(asking_context(options), "localhost");
    assert_true(wait_until(is_asked));
    assert_int_equal(client.done, 0);
}

static void a_verdict_that_takes_too_long_fails_the_handshake(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.size = 0});
    fake_advance(loop, 9.9);
    tls_run(&peer, &client);
    assert_int_equal(client.done, 0);
    fake_advance(loop, 0.2);
    tls_run(&peer, &client);
    assert_failed(PCO_ETIMEDOUT,
                  "the system's verdict on the certificate took longer than 10 seconds");
    assert_int_equal(alert(), SSL_AD_INTERNAL_ERROR);
    open_gate();
}

static void the_time_for_the_verdict_is_an_option(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.verdict_timeout = 2.5});
    assert_true(court.timeout >= 2.5 && court.timeout <= 2.5);
    fake_advance(loop, 2.6);
    tls_run(&peer, &client);
    assert_failed(PCO_ETIMEDOUT, "took longer than 2.5 seconds");
}

static void the_limit_of_the_handshake_counts_too(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.verdict_timeout = 1000});
    fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 1);
    run_turns(loop, 3);
    assert_failed(PCO_ETIMEDOUT, "TLS handshake took longer than 60 seconds");
}

static void a_connection_may_be_closed_while_it_is_judged(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.size = 0});
    pco_transport_abort(client.stream->top);
    run_turns(loop, 3);
    assert_failed(PCO_ECANCELED, "");
    open_gate();
    run_turns(loop, 3);
    assert_int_equal(client.done, 1);
}

static void a_connection_may_be_reset_while_it_is_judged(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.size = 0});
    fake_feed_error(client.socket, PCO_ECONNRESET, 0);
    open_gate();
    assert_true(wait_until(is_done));
    assert_int_equal(client.done, 1);
}

static void the_loop_may_be_freed_while_a_server_is_judged(void **state)
{
    (void)state;
    begin_and_wait_at_the_gate((pco_ssl_context_options){.size = 0});
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_failed(PCO_ECANCELED, "");
}

/* Each allocation on the loop's thread fails in turn, and on the court's. */
static void memory_may_run_out_while_a_server_is_judged(void **state)
{
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        start_peer(&certificates_get()->server, NULL, 0);
        pco_ssl_context *context = asking_context((pco_ssl_context_options){.size = 0});
        tls_end_start_client(&client, loop, context, "localhost");
        pco_ssl_context_release(context);
        memory_fail(nth, false);
        assert_true(wait_until(is_done));
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(client.done, 1);
        assert_true(failed || client.handshake_error.code == 0);
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

/* ---- Pins ---- */

static int dislikes(const pco_ssl_verdict *verdict, void *context)
{
    size_t *count = context;
    *count = verdict->chain_count;
    return verdict->error == 0 ? PCO_SSL_VERDICT_REFUSE : PCO_SSL_VERDICT_DANGEROUSLY_ACCEPT;
}

static void meet_pinned(pco__trust_kind kind, size_t *count)
{
    court.kind = kind;
    start_peer(&certificates_get()->server, NULL, 0);
    begin(asking_context(
              (pco_ssl_context_options){.verify_peer = dislikes, .callback_context = count}),
          "localhost");
    assert_true(wait_until(is_done));
    tls_run(&peer, &client);
}

static void a_pin_has_the_last_word(void **state)
{
    size_t count = 0;
    meet_pinned(PCO__TRUST_GOOD, &count);
    assert_failed(PCO_ECERT, "refused by verify_peer");
    assert_int_equal(count, 2);
    assert_int_equal(tear_down(state), 0);
    set_up(state);
    meet_pinned(PCO__TRUST_REVOKED, &count);
    assert_opened();
    assert_int_equal(count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_handshake_waits_for_the_verdict),
        TEST(an_address_is_asked_about_as_one),
        TEST(a_staple_is_asked_for_and_handed_over),
        TEST(the_verified_chain_is_the_system_s),
        TEST(each_verdict_has_its_sentence_and_its_alert),
        TEST(one_that_is_not_valid_yet_is_told_as_such),
        TEST(a_system_without_memory_is_no_verdict),
        TEST(the_name_is_checked_by_openssl_too),
        TEST(an_address_is_checked_by_openssl_too),
        TEST(a_weak_key_is_refused_in_spite_of_the_system),
        TEST(a_chain_that_does_not_lead_to_its_end_is_refused),
        TEST(who_trusts_only_who_is_given_does_not_ask),
        TEST(a_ready_ssl_ctx_does_not_ask),
        TEST(a_verdict_that_takes_too_long_fails_the_handshake),
        TEST(the_time_for_the_verdict_is_an_option),
        TEST(the_limit_of_the_handshake_counts_too),
        TEST(a_connection_may_be_closed_while_it_is_judged),
        TEST(a_connection_may_be_reset_while_it_is_judged),
        TEST(the_loop_may_be_freed_while_a_server_is_judged),
        TEST(memory_may_run_out_while_a_server_is_judged),
        TEST(a_pin_has_the_last_word),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    certificates_free();
    return failed;
}
