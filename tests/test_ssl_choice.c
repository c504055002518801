/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_choice.c: choices in a handshake that are the program's: choose_certificate, at both
 * ends, and choose_alpn. Goal: the one that is asked sees what the other end has said, may answer
 * at once, later, or when all is over, and what it answers is what happens.
 * Method: the fake backend; OpenSSL with memory BIOs as the peer, and both ends of the library.
 */
#include "ssl_world.h"
#include "tls/connection.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

typedef enum how { LATER, WITH_CONTEXT, WITH_NOTHING, REFUSE } how;

/* What the callback does, and what it has seen. */
typedef struct chooser {
    how how;
    pco_ssl_context *answer;
    int code; /* what the answer returned */
    pco_error error;
    void (*at)(struct chooser *self); /* before it */

    unsigned asked;
    pco_ssl_question *question; /* open */
    const pco_ssl_hello *hello;
} chooser;

static pco_loop *loop;
static tls_end server;
static tls_end client;
static chooser chosen;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    chosen = (chooser){.how = WITH_CONTEXT};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    loop = NULL;
    pco_ssl_context_release(chosen.answer);
    chosen.answer = NULL;
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

static void begin_anew(void **state)
{
    assert_int_equal(tear_down(state), 0);
    set_up(state);
}

static void answer_now(chooser *self, how what)
{
    pco_ssl_question *question = self->question;
    self->question = NULL;
    if (what == REFUSE) {
        pco_ssl_question_refuse(question);
    } else {
        self->code = pco_ssl_question_answer(question, what == WITH_CONTEXT ? self->answer : NULL,
                                             &self->error);
    }
}

static void choose(pco_ssl_question *question, const pco_ssl_hello *hello, void *context)
{
    chooser *self = context;
    self->asked++;
    self->question = question;
    self->hello = hello;
    if (self->at != NULL) {
        self->at(self);
    }
    if (self->how != LATER) {
        answer_now(self, self->how);
    }
}

/* ---- A server ---- */

static pco_ssl_context *asking_context(void)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.choose_certificate = choose;
    options.callback_context = &chosen;
    return tls_context(&options);
}

/* Speaks nothing but TLS 1.2, and "http/1.1". */
static pco_ssl_context *other_context(void)
{
    static const char *const protocols[] = {"http/1.1"};
    pco_ssl_context_options options = tls_options(&certificates_get()->other);
    options.maximum_version = PCO_TLS_1_2;
    options.alpn_protocols = protocols;
    options.alpn_protocols_count = 1;
    return tls_context(&options);
}

static SSL_CTX *peers_ctx(void)
{
    SSL_CTX *ctx = tls_peer_ctx(0);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION), 1);
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    return ctx;
}

/* A server that asks, and a peer, as far as they come. */
static void shake(tls_peer *peer, const char *name)
{
    SSL_CTX *ctx = peers_ctx();
    pco_ssl_context *context = asking_context();
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(peer, ctx, name);
    SSL_CTX_free(ctx);
    tls_run(peer, &server);
}

static void assert_shown(const tls_peer *peer, const certificate *own)
{
    assert_string_equal(server.protocol.log, "made");
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(peer->ssl), own->x509), 0);
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

static void the_context_that_is_answered_serves(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        pco_ssl_info info = {.size = sizeof info};
        tls_peer peer;
        chosen.how = i == 0 ? WITH_CONTEXT : LATER;
        chosen.answer = other_context();
        shake(&peer, "Some.Example");
        if (i == 1) {
            assert_int_equal(server.done, 0);
            assert_int_equal(server.socket->sent_length, 0);
            answer_now(&chosen, WITH_CONTEXT);
            pco_ssl_context_release(chosen.answer); /* it need not be kept */
            chosen.answer = NULL;
            assert_int_equal(server.socket->sent_length, 0);
            tls_run(&peer, &server);
        }
        assert_int_equal(chosen.code, 0);
        assert_int_equal(chosen.asked, 1);
        assert_shown(&peer, &certificates_get()->other);
        assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
        assert_string_equal(info.version, "TLSv1.2");
        assert_string_equal(info.alpn, "http/1.1");
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void a_ready_ssl_ctx_may_be_the_answer(void **state)
{
    const certificate *own = &certificates_get()->wildcard;
    tls_peer peer;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    (void)state;
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &chosen.answer, NULL), 0);
    SSL_CTX_free(ctx);
    shake(&peer, "a.example.com");
    assert_shown(&peer, own);
    tls_peer_free(&peer);
}

static void what_the_client_says_is_seen_until_the_answer(void **state)
{
    tls_peer peer;
    (void)state;
    chosen.how = LATER;
    shake(&peer, "Some.Example");
    const pco_ssl_hello *hello = chosen.hello;
    assert_int_equal(hello->size, sizeof *hello);
    assert_string_equal(hello->server_name, "some.example");
    assert_int_equal(hello->alpn_count, 2);
    assert_string_equal(hello->alpn[0], "h2");
    assert_string_equal(hello->alpn[1], "http/1.1");
    assert_int_equal(hello->versions_count, 2);
    assert_int_equal(hello->versions[0], TLS1_3_VERSION);
    assert_int_equal(hello->versions[1], TLS1_2_VERSION);
    assert_int_equal(hello->authorities_count, 0);
    answer_now(&chosen, WITH_NOTHING);
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->server);
    tls_peer_free(&peer);
}

static void a_client_may_say_next_to_nothing(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(TLS1_2_VERSION);
    pco_ssl_context *context = asking_context();
    (void)state;
    chosen.how = LATER;
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_null(chosen.hello->server_name);
    assert_int_equal(chosen.hello->alpn_count, 0);
    assert_int_equal(chosen.hello->versions_count, 1);
    assert_int_equal(chosen.hello->versions[0], TLS1_2_VERSION);
    answer_now(&chosen, WITH_NOTHING);
    tls_run(&peer, &server);
    assert_shown(&peer, &certificates_get()->server);
    tls_peer_free(&peer);
}

static void a_refusal_reaches_the_client_as_an_alert(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        tls_peer peer;
        chosen.how = i == 0 ? REFUSE : LATER;
        shake(&peer, "some.example");
        if (i == 1) {
            answer_now(&chosen, REFUSE);
            assert_int_equal(server.done, 0);
            tls_run(&peer, &server);
        }
        assert_failed(&server, PCO_ETLS,
                      "TLS handshake: choose_certificate was answered by a refusal");
        assert_int_equal(peer.failure, SSL_AD_REASON_OFFSET + SSL_AD_UNRECOGNIZED_NAME);
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void an_answer_of_no_use_fails_and_the_handshake_with_it(void **state)
{
    tls_peer peer;
    (void)state;
    chosen.answer = tls_client_context();
    shake(&peer, "some.example");
    assert_int_equal(chosen.code, PCO_EINVAL);
    assert_string_equal(chosen.error.message, "the context is for clients");
    assert_failed(&server, PCO_ETLS, "choose_certificate was answered with no usable context");
    assert_int_equal(peer.failure, SSL_AD_REASON_OFFSET + SSL_AD_INTERNAL_ERROR);
    tls_peer_free(&peer);
}

static void the_context_of_a_name_is_asked_instead(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        tls_peer peer;
        chooser names = {.how = WITH_NOTHING};
        SSL_CTX *ctx = peers_ctx();
        pco_ssl_context_options options = tls_options(&certificates_get()->wildcard);
        options.choose_certificate = i != 0 ? choose : NULL;
        options.callback_context = &names;
        pco_ssl_context *context = asking_context();
        pco_ssl_context *other = tls_context(&options);
        chosen.answer = other_context();
        assert_int_equal(pco_ssl_context_add_server_name(context, "*.example.com", other, NULL), 0);
        pco_ssl_context_release(other);
        tls_end_start(&server, loop, context);
        pco_ssl_context_release(context);
        tls_peer_init(&peer, ctx, i == 2 ? "else.where" : "a.example.com");
        SSL_CTX_free(ctx);
        tls_run(&peer, &server);
        assert_int_equal(names.asked, i == 1);
        assert_int_equal(chosen.asked, i == 2);
        assert_shown(&peer, i == 2 ? &certificates_get()->other : &certificates_get()->wildcard);
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

/* ---- The end comes before the answer ---- */

typedef enum end { TIME, ABORT, CLOSE, RESET, FREED, ENDS } end;

static void end_it(end what)
{
    pco_transport *transport = server.stream->top;
    switch (what) {
    case TIME:
        fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 0.1);
        break;
    case ABORT:
        pco_transport_abort(transport);
        break;
    case CLOSE:
        pco_transport_close(transport);
        break;
    case RESET:
        fake_feed_error(server.socket, PCO_ECONNRESET, 104);
        break;
    default:
        pco_loop_free(loop);
        loop = NULL;
        return;
    }
    run_turns(loop, 3);
}

static void a_question_outlives_its_connection(void **state)
{
    for (end what = TIME; what < ENDS; what++) {
        for (how answer = WITH_CONTEXT; answer <= REFUSE; answer++) {
            tls_peer peer;
            chosen.how = LATER;
            chosen.answer = other_context();
            shake(&peer, "some.example");
            end_it(what);
            assert_int_equal(server.done, 1);
            assert_int_equal(server.factory_calls, 0);
            assert_string_equal(chosen.hello->server_name, "some.example");
            chosen.code = PCO_ECLOSED;
            answer_now(&chosen, answer);
            assert_int_equal(chosen.code, PCO_ECLOSED);
            tls_peer_free(&peer);
            begin_anew(state);
        }
    }
}

static void abort_it(chooser *self)
{
    (void)self;
    pco_transport_abort(server.stream->top);
}

static void who_is_asked_may_end_the_connection_first(void **state)
{
    for (how answer = WITH_CONTEXT; answer <= REFUSE; answer++) {
        tls_peer peer;
        chosen.how = answer;
        chosen.at = abort_it;
        chosen.answer = other_context();
        chosen.code = PCO_ECLOSED;
        shake(&peer, "some.example");
        assert_int_equal(chosen.code, PCO_ECLOSED);
        assert_failed(&server, PCO_ECANCELED, "the connection was closed here");
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

/* The answer and the end in one turn, in this order. */
static void a_connection_may_end_right_after_the_answer(void **state)
{
    for (end what = TIME; what < ENDS; what++) {
        for (how answer = WITH_CONTEXT; answer <= REFUSE; answer++) {
            tls_peer peer;
            chosen.how = LATER;
            chosen.answer = other_context();
            shake(&peer, "some.example");
            answer_now(&chosen, answer);
            assert_int_equal(chosen.code, 0);
            end_it(what);
            assert_int_equal(server.done, 1);
            tls_peer_free(&peer);
            begin_anew(state);
        }
    }
}

static void memory_may_be_gone_at_every_request(void **state)
{
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        tls_peer peer;
        assert_true(nth < 1000);
        chosen.how = nth % 2 == 0 ? WITH_CONTEXT : LATER;
        chosen.answer = other_context();
        pco_ssl_context *context = asking_context();
        SSL_CTX *ctx = peers_ctx();
        tls_end_start(&server, loop, context);
        pco_ssl_context_release(context);
        tls_peer_init(&peer, ctx, "some.example");
        SSL_CTX_free(ctx);
        memory_fail(nth, false);
        tls_run(&peer, &server);
        if (chosen.question != NULL) {
            answer_now(&chosen, WITH_CONTEXT);
            tls_run(&peer, &server);
        }
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(server.done, 1);
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

/* ---- A client ---- */

static pco_ssl_context *client_context(const certificate *own, bool asks)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = ca->pem, .ca_pem_length = ca->pem_length};
    pco_ssl_context *context;
    if (own != NULL) {
        options.certificate_pem = own->pem;
        options.certificate_pem_length = own->pem_length;
        options.key_pem = own->key_pem;
        options.key_pem_length = own->key_pem_length;
    }
    options.choose_certificate = asks ? choose : NULL;
    options.callback_context = &chosen;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    return context;
}

/* A server that demands certificates so much, and a client that asks, as far as they come. */
static void meet(int verify, int version, const certificate *own, const char *name)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.verify = verify;
    if (verify != PCO_SSL_VERIFY_NONE) {
        options.ca_pem = ca->pem;
        options.ca_pem_length = ca->pem_length;
    }
    options.maximum_version = version;
    pco_ssl_context *context = tls_context(&options);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    context = client_context(own, true);
    tls_end_start_client(&client, loop, context, name);
    pco_ssl_context_release(context);
    tls_run_ends(&server, &client);
}

static void assert_servers_sees(const certificate *own)
{
    X509 *seen = SSL_get0_peer_certificate(pco_transport_get_ssl_object(server.transport));
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
    if (own == NULL) {
        assert_null(seen);
    } else {
        assert_int_equal(X509_cmp(seen, own->x509), 0);
    }
}

static void the_certificate_that_is_answered_is_shown(void **state)
{
    const certificates *them = certificates_get();
    for (unsigned i = 0; i < 4; i++) {
        chosen.how = i % 2 == 0 ? WITH_CONTEXT : LATER;
        chosen.answer = client_context(&them->client, i % 2 == 0);
        meet(PCO_SSL_VERIFY_REQUIRED, i < 2 ? PCO_TLS_1_2 : PCO_TLS_1_3, NULL, "localhost");
        if (i % 2 == 1) {
            assert_int_equal(client.done, 0);
            answer_now(&chosen, WITH_CONTEXT);
            tls_run_ends(&server, &client);
        }
        assert_int_equal(chosen.code, 0);
        assert_int_equal(chosen.asked, 1);
        assert_servers_sees(&them->client);
        begin_anew(state);
    }
}

static int accept_any(X509_STORE_CTX *store, void *unused)
{
    (void)store;
    (void)unused;
    return 1;
}

static void the_authorities_that_the_server_names_are_seen(void **state)
{
    (void)state;
    chosen.how = LATER;
    meet(PCO_SSL_VERIFY_REQUIRED, PCO_TLS_1_3, NULL, "localhost");
    const pco_ssl_hello *hello = chosen.hello;
    const X509_NAME *ca = X509_get_subject_name(certificates_get()->ca.x509);
    unsigned char *der = NULL;
    int length = i2d_X509_NAME(ca, &der);
    assert_string_equal(hello->server_name, "localhost");
    assert_int_equal(hello->authorities_count, 1);
    assert_int_equal(hello->authorities[0].length, length);
    assert_memory_equal(hello->authorities[0].data, der, (size_t)length);
    assert_string_equal(hello->authority_names[0], "CN=Portico test CA");
    assert_int_equal(hello->alpn_count, 0);
    assert_int_equal(hello->versions_count, 0);
    OPENSSL_free(der);
    answer_now(&chosen, WITH_NOTHING);
    tls_run_ends(&server, &client);
    assert_failed(&server, PCO_ECERT, "peer did not return a certificate");
}

/* RFC 5280 lets a name have no parts. */
static void an_authority_may_be_called_nothing(void **state)
{
    const certificate *own = &certificates_get()->server;
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    tls_peer peer;
    (void)state;
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    sk_X509_NAME_push(names, X509_NAME_new());
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    SSL_set_accept_state(peer.ssl);
    chosen.how = LATER;
    pco_ssl_context *context = client_context(NULL, true);
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    tls_run(&peer, &client);
    assert_int_equal(chosen.hello->authorities_count, 1);
    assert_int_equal(chosen.hello->authorities[0].length, 2);
    assert_string_equal(chosen.hello->authority_names[0], "");
    answer_now(&chosen, WITH_NOTHING);
    tls_run(&peer, &client);
    assert_string_equal(client.protocol.log, "made");
    tls_peer_free(&peer);
}

/* Whichever the server can check, with its chain; none of the context that asks. */
static void all_certificates_of_the_answer_may_be_shown(void **state)
{
    const certificates *them = certificates_get();
    const certificate *rsa = certificates_of_kind("RSA");
    const pco_ssl_certificate further = {.size = sizeof further,
                                         .certificate_pem = rsa->pem,
                                         .certificate_pem_length = rsa->pem_length,
                                         .key_pem = rsa->key_pem,
                                         .key_pem_length = rsa->key_pem_length};
    const pco_ssl_certificate *const all[] = {&further};
    static const char *const algorithms[] = {"ECDSA+SHA256", "RSA-PSS+SHA256"};
    for (unsigned i = 0; i < 2; i++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        tls_peer peer;
        pco_ssl_context_options options = tls_options(&them->chained);
        options.ca_pem = them->ca.pem;
        options.ca_pem_length = them->ca.pem_length;
        options.certificates = all;
        options.certificates_count = 1;
        assert_int_equal(pco_ssl_context_new_client(&options, &chosen.answer, NULL), 0);
        assert_int_equal(SSL_CTX_use_certificate(ctx, them->server.x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, them->server.key), 1);
        SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        assert_int_equal(SSL_CTX_set1_client_sigalgs_list(ctx, algorithms[i]), 1);
        tls_peer_init(&peer, ctx, NULL);
        SSL_CTX_free(ctx);
        SSL_set_accept_state(peer.ssl);
        pco_ssl_context *context = client_context(&them->client, true);
        tls_end_start_client(&client, loop, context, "localhost");
        pco_ssl_context_release(context);
        tls_run(&peer, &client);
        assert_string_equal(client.protocol.log, "made");
        assert_true(peer.established);
        const certificate *shown = i == 0 ? &them->chained : rsa;
        assert_int_equal(X509_cmp(SSL_get0_peer_certificate(peer.ssl), shown->x509), 0);

        /* Where none is given, OpenSSL makes the chain of those whom the answer trusts. */
        const STACK_OF(X509) *behind = SSL_get_peer_cert_chain(peer.ssl);
        const certificate *issuer = i == 0 ? &them->intermediate : &them->ca;
        assert_int_equal(sk_X509_num(behind), 1);
        assert_int_equal(X509_cmp(sk_X509_value(behind, 0), issuer->x509), 0);
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void with_no_answer_the_contexts_own_certificate_is_shown_or_none(void **state)
{
    const certificates *them = certificates_get();
    for (unsigned i = 0; i < 2; i++) {
        const certificate *own = i == 0 ? &them->client : NULL;
        chosen.how = WITH_NOTHING;
        meet(PCO_SSL_VERIFY_OPTIONAL, PCO_TLS_1_3, own, "localhost");
        assert_int_equal(chosen.asked, 1);
        assert_servers_sees(own);
        begin_anew(state);
    }
}

static void a_client_may_refuse_to_show_one(void **state)
{
    (void)state;
    chosen.how = LATER;
    meet(PCO_SSL_VERIFY_OPTIONAL, PCO_TLS_1_3, NULL, "localhost");
    answer_now(&chosen, REFUSE);
    tls_run_ends(&server, &client);
    assert_failed(&client, PCO_ETLS, "choose_certificate was answered by a refusal");
    assert_failed(&server, PCO_ETLS, "internal error");
}

static void a_clients_answer_must_have_a_certificate(void **state)
{
    static const char *const words[] = {"the context has no certificate",
                                        "the context is for servers"};
    for (unsigned i = 0; i < 2; i++) {
        chosen.answer = i == 0 ? client_context(NULL, false) : tls_server_context();
        meet(PCO_SSL_VERIFY_OPTIONAL, PCO_TLS_1_2, NULL, "localhost");
        assert_int_equal(chosen.code, PCO_EINVAL);
        assert_string_equal(chosen.error.message, words[i]);
        assert_failed(&client, PCO_ETLS, "choose_certificate was answered with no usable context");
        begin_anew(state);
    }
}

static void nobody_is_asked_where_none_is_demanded_or_the_server_is_a_stranger(void **state)
{
    for (int version = PCO_TLS_1_2; version <= PCO_TLS_1_3; version++) {
        meet(PCO_SSL_VERIFY_NONE, version, NULL, "localhost");
        assert_int_equal(chosen.asked, 0);
        assert_servers_sees(NULL);
        begin_anew(state);
        meet(PCO_SSL_VERIFY_REQUIRED, version, NULL, "somewhere.else");
        assert_int_equal(chosen.asked, 0);
        assert_int_equal(client.handshake_error.code, PCO_ECERT);
        begin_anew(state);
    }
}

static void a_clients_question_outlives_its_connection(void **state)
{
    for (unsigned i = 0; i < 6; i++) {
        chosen.how = LATER;
        chosen.answer = client_context(&certificates_get()->client, false);
        meet(PCO_SSL_VERIFY_REQUIRED, PCO_TLS_1_3, NULL, "localhost");
        if (i < 2) {
            pco_transport_abort(client.stream->top);
            run_turns(loop, 3);
        } else if (i < 4) {
            fake_advance(loop, TLS_HANDSHAKE_TIMEOUT + 0.1);
            run_turns(loop, 3);
        } else {
            pco_loop_free(loop);
            loop = NULL;
        }
        assert_int_equal(client.done, 1);
        chosen.code = PCO_ECLOSED;
        answer_now(&chosen, i % 2 == 0 ? WITH_CONTEXT : REFUSE);
        assert_int_equal(chosen.code, PCO_ECLOSED);
        begin_anew(state);
    }
}

static void a_client_may_be_without_memory_at_every_request(void **state)
{
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        assert_true(nth < 1000);
        chosen.answer = client_context(&certificates_get()->client, false);
        pco_ssl_context *context = client_context(NULL, true);
        tls_end_start_client(&client, loop, context, "localhost");
        pco_ssl_context_release(context);
        const certificate *ca = &certificates_get()->ca;
        pco_ssl_context_options options = tls_options(&certificates_get()->server);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.ca_pem = ca->pem;
        options.ca_pem_length = ca->pem_length;
        context = tls_context(&options);
        tls_end_start(&server, loop, context);
        pco_ssl_context_release(context);
        memory_fail(nth, false);
        tls_run_ends(&server, &client);
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(client.done, 1);
        begin_anew(state);
    }
}

/* ---- Application protocols ---- */

static int alpn_answer;
static char alpn_seen[128];

static int choose_protocol(const pco_ssl_hello *hello, void *context)
{
    (void)context;
    int length =
        snprintf(alpn_seen, sizeof alpn_seen, "%s %x", hello->server_name, hello->versions[0]);
    for (size_t i = 0; i < hello->alpn_count; i++) {
        length +=
            snprintf(alpn_seen + length, sizeof alpn_seen - (size_t)length, " %s", hello->alpn[i]);
    }
    return alpn_answer;
}

/* A peer that offers "h2", what has a zero byte in it, "http/1.1"; or nothing. */
static void offer(tls_peer *peer, int answer, int required, bool offers)
{
    static const unsigned char wire[] = "\x02h2\x03h\0x\x08http/1.1";
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.choose_alpn = choose_protocol;
    options.alpn_required = required;
    alpn_answer = answer;
    alpn_seen[0] = '\0';
    if (offers) {
        assert_int_equal(SSL_CTX_set_alpn_protos(ctx, wire, sizeof wire - 1), 0);
    }
    pco_ssl_context *context = tls_context(&options);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(peer, ctx, "LocalHost");
    SSL_CTX_free(ctx);
    tls_run(peer, &server);
}

static void a_protocol_is_chosen_by_its_index(void **state)
{
    static const char *const names[] = {"h2", "http/1.1", NULL};
    static const int answers[] = {0, 1, PCO_SSL_ALPN_NONE};
    for (size_t i = 0; i < 3; i++) {
        tls_peer peer;
        pco_ssl_info info = {.size = sizeof info};
        offer(&peer, answers[i], PCO_DEFAULT, true);
        assert_string_equal(alpn_seen, "localhost 304 h2 http/1.1");
        assert_string_equal(server.protocol.log, "made");
        assert_int_equal(pco_transport_get_ssl_info(server.transport, &info), 0);
        if (names[i] != NULL) {
            assert_string_equal(info.alpn, names[i]);
        } else {
            assert_null(info.alpn);
        }
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void a_choice_that_is_none_fails_the_handshake(void **state)
{
    const struct {
        int answer;
        int required;
        const char *words;
    } cases[] = {{PCO_SSL_ALPN_REFUSE, PCO_DEFAULT, "choose_alpn has refused"},
                 {2, PCO_DEFAULT, "choose_alpn has returned no index"},
                 {-3, PCO_DEFAULT, "choose_alpn has returned no index"},
                 {PCO_SSL_ALPN_NONE, PCO_ON, "no application protocol"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tls_peer peer;
        offer(&peer, cases[i].answer, cases[i].required, true);
        assert_failed(&server, PCO_ETLS, cases[i].words);
        assert_int_equal(peer.failure, SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void who_offers_nothing_is_not_asked_about(void **state)
{
    for (int required = 0; required < 2; required++) {
        tls_peer peer;
        offer(&peer, PCO_SSL_ALPN_REFUSE, required ? PCO_ON : PCO_OFF, false);
        assert_string_equal(alpn_seen, "");
        if (required) {
            assert_failed(&server, PCO_ETLS, "the client offers no application protocol");
        } else {
            assert_string_equal(server.protocol.log, "made");
        }
        tls_peer_free(&peer);
        begin_anew(state);
    }
}

static void the_protocols_are_a_list_or_a_choice(void **state)
{
    static const char *const names[] = {"h2"};
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    pco_ssl_context *context;
    pco_error error;
    (void)state;
    options.choose_alpn = choose_protocol;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "choose_alpn is for servers"));
    options.alpn_protocols = names;
    options.alpn_protocols_count = 1;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_EINVAL);
    assert_string_equal(error.message, "alpn_protocols and choose_alpn are both given");
}

/* ---- What is seen of a hello ---- */

static void no_description_shows_more_than_there_is(void **state)
{
    static const unsigned char alpn[] = "\x02h2\x00\x02\x00h\x01"
                                        "a\x09"
                                        "cut short";
    static const unsigned char versions[] = {0x0a, 0x0a, 3, 4, 0x1a, 0x1a, 3, 3, 0xaa, 0xba, 9};
    (void)state;
    for (size_t length = 0; length < sizeof alpn - 1; length++) {
        pco_ssl_hello *hello =
            pco__ssl_describe_client(NULL, alpn, length, versions, sizeof versions);
        size_t count = length < 3 ? 0 : length < 9 ? 1 : 2;
        assert_non_null(hello);
        assert_null(hello->server_name);
        assert_int_equal(hello->alpn_count, count);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal(hello->alpn[i], i == 0 ? "h2" : "a");
            const unsigned char *entry = pco__ssl_described_protocol(alpn, length, i);
            assert_int_equal(entry[0], strlen(hello->alpn[i]));
            assert_memory_equal(entry + 1, hello->alpn[i], entry[0]);
        }
        assert_null(pco__ssl_described_protocol(alpn, length, count));
        assert_int_equal(hello->versions_count, 3);
        assert_int_equal(hello->versions[0], 0x0304);
        assert_int_equal(hello->versions[1], 0x0303);
        assert_int_equal(hello->versions[2], 0xaaba);
        pco__free(hello);
    }
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
        TEST(the_context_that_is_answered_serves),
        TEST(a_ready_ssl_ctx_may_be_the_answer),
        TEST(what_the_client_says_is_seen_until_the_answer),
        TEST(a_client_may_say_next_to_nothing),
        TEST(a_refusal_reaches_the_client_as_an_alert),
        TEST(an_answer_of_no_use_fails_and_the_handshake_with_it),
        TEST(the_context_of_a_name_is_asked_instead),
        TEST(a_question_outlives_its_connection),
        TEST(who_is_asked_may_end_the_connection_first),
        TEST(a_connection_may_end_right_after_the_answer),
        TEST(memory_may_be_gone_at_every_request),
        TEST(the_certificate_that_is_answered_is_shown),
        TEST(the_authorities_that_the_server_names_are_seen),
        TEST(an_authority_may_be_called_nothing),
        TEST(all_certificates_of_the_answer_may_be_shown),
        TEST(with_no_answer_the_contexts_own_certificate_is_shown_or_none),
        TEST(a_client_may_refuse_to_show_one),
        TEST(a_clients_answer_must_have_a_certificate),
        TEST(nobody_is_asked_where_none_is_demanded_or_the_server_is_a_stranger),
        TEST(a_clients_question_outlives_its_connection),
        TEST(a_client_may_be_without_memory_at_every_request),
        TEST(a_protocol_is_chosen_by_its_index),
        TEST(a_choice_that_is_none_fails_the_handshake),
        TEST(who_offers_nothing_is_not_asked_about),
        TEST(the_protocols_are_a_list_or_a_choice),
        TEST(no_description_shows_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, free_certificates);
}
