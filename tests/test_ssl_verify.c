/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_verify.c: whose certificate is good. Goal: each bad certificate is refused, whatever is
 * wrong with it; the sentence says what that is, and the peer hears the alert that RFC 8446, 6.2,
 * has for it. A pin may tighten and loosen the verdict.
 * Method: the fake backend; certificates made on the spot; an OpenSSL as the peer that shows
 * whatever it is told, with no regard for the strength of keys.
 */
#include "ssl_world.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sslerr.h>

static pco_loop *loop;
static tls_end client;
static tls_end server;
static tls_peer peer;
static certificate made;   /* the test's own */
static certificate parent; /* which has signed it, maybe */

static int set_up(void **state)
{
    (void)state;
    certificates_get();
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&client, false);
    tls_end_init(&server, false);
    memset(&peer, 0, sizeof peer);
    memset(&made, 0, sizeof made);
    memset(&parent, 0, sizeof parent);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation =
        server.protocol.violation != NULL ? server.protocol.violation : client.protocol.violation;
    tls_end_free(&client);
    tls_end_free(&server);
    tls_peer_free(&peer);
    certificate_clear(&made);
    certificate_clear(&parent);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* ---- Meeting ---- */

static SSL_CTX *careless_ctx(const SSL_METHOD *method, const certificate *own)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    return ctx;
}

/* A client of `context`, whose reference it takes, that asks for `name` meets a server of `ctx`. */
static void meet_in(pco_ssl_context *context, SSL_CTX *ctx, const char *name)
{
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    SSL_set_accept_state(peer.ssl);
    tls_end_start_client(&client, loop, context, name);
    pco_ssl_context_release(context);
    tls_run(&peer, &client);
}

/* The server shows `own`, and `behind` unless it is NULL. */
static void meet(const certificate *own, const certificate *behind, const char *name)
{
    SSL_CTX *ctx = careless_ctx(TLS_server_method(), own);
    if (behind != NULL) {
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, behind->x509), 1);
    }
    meet_in(tls_client_context(), ctx, name);
}

/* The same with a certificate that the authority of the tests has signed. */
static void meet_made(recipe wanted, const char *name)
{
    if (wanted.issuer == NULL) {
        wanted.issuer = &certificates_get()->ca;
    }
    certificate_make(&made, &wanted, NULL);
    meet(&made, NULL, name);
}

/* ---- What comes of it ---- */

static void assert_opened(const tls_end *end)
{
    if (end->handshake_error.code != 0) {
        fail_msg("%s", end->handshake_error.message);
    }
    assert_int_equal(end->done, 1);
    assert_string_equal(end->protocol.log, "made");
}

/* The end has refused with a sentence in which both are found, and the peer heard the alert. */
static void assert_refused_by(const tls_end *end, int alert, const char *words, const char *detail)
{
    assert_int_equal(end->done, 1);
    if (end->handshake_error.code != PCO_ECERT ||
        strstr(end->handshake_error.message, words) == NULL ||
        strstr(end->handshake_error.message, detail) == NULL) {
        fail_msg("%s: \"%s\", not \"%s\", \"%s\"", pco_error_name(end->handshake_error.code),
                 end->handshake_error.message, words, detail);
    }
    assert_int_equal(end->factory_calls, 0);
    assert_int_equal(peer.failure - SSL_AD_REASON_OFFSET, alert);
}

static void assert_refused(int alert, const char *words, const char *detail)
{
    assert_refused_by(&client, alert, words, detail);
}

/* ---- Names ---- */

static void a_certificate_for_another_name_is_refused(void **state)
{
    (void)state;
    meet_made((recipe){.name = "x", .alternatives = "DNS:a.example", .usage = "serverAuth"},
              "b.example");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "hostname mismatch",
                   "the certificate is for 'a.example', not for 'b.example'");
}

static void of_many_names_some_are_told(void **state)
{
    (void)state;
    meet_made((recipe){.name = "x",
                       .alternatives =
                           "DNS:a.example,email:me@a.example,IP:192.0.2.1,IP:2001:db8::1,"
                           "DNS:b.example,DNS:c.example",
                       .usage = "serverAuth"},
              "d.example");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "hostname mismatch",
                   "for 'a.example', '192.0.2.1', '2001:db8::1' and 2 more, not for 'd.example'");
}

static void a_name_with_a_zero_in_it_is_told_as_it_is(void **state)
{
    static const char bytes[] = "a.example\0.evil.example";
    (void)state;
    meet_made(
        (recipe){
            .name = "x", .usage = "serverAuth", .bytes = bytes, .bytes_length = sizeof bytes - 1},
        "a.example");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "hostname mismatch",
                   "the certificate is for 'a.example\\00.evil.example', not for 'a.example'");
}

static void a_partial_wildcard_stands_for_nothing(void **state)
{
    (void)state;
    meet_made((recipe){.name = "x", .alternatives = "DNS:a*.example.com", .usage = "serverAuth"},
              "ab.example.com");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "hostname mismatch",
                   "the certificate is for 'a*.example.com', not for 'ab.example.com'");
}

static void a_wildcard_stands_for_no_address(void **state)
{
    (void)state;
    meet_made((recipe){.name = "x", .alternatives = "DNS:*.0.0.1", .usage = "serverAuth"},
              "127.0.0.1");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "IP address mismatch",
                   "the certificate is for '*.0.0.1', not for '127.0.0.1'");
}

static void an_address_in_the_common_name_only_does_not_count(void **state)
{
    (void)state;
    meet_made((recipe){.name = "127.0.0.1", .usage = "serverAuth"}, "127.0.0.1");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "IP address mismatch",
                   "the certificate names no host (a common name is none), not even '127.0.0.1'");
}

static void an_address_as_a_name_does_not_count(void **state)
{
    (void)state;
    meet_made((recipe){.name = "x", .alternatives = "DNS:127.0.0.1", .usage = "serverAuth"},
              "127.0.0.1");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "IP address mismatch", "not for '127.0.0.1'");
}

static void a_name_in_the_common_name_only_does_not_count(void **state)
{
    (void)state;
    meet_made((recipe){.name = "a.example", .usage = "serverAuth"}, "a.example");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "hostname mismatch",
                   "the certificate names no host (a common name is none), not even 'a.example'");
}

/* ---- Times ---- */

static void an_expired_certificate_is_refused(void **state)
{
    char until[128];
    struct tm tm;
    (void)state;
    meet(&certificates_get()->expired, NULL, "localhost");
    assert_int_equal(ASN1_TIME_to_tm(X509_get0_notAfter(certificates_get()->expired.x509), &tm), 1);
    snprintf(until, sizeof until, "'localhost' was valid until %04d-%02d-%02d %02d:%02d:%02d UTC",
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    assert_refused(SSL_AD_CERTIFICATE_EXPIRED, "certificate has expired", until);
}

static void one_that_is_not_valid_yet_is_refused(void **state)
{
    (void)state;
    meet_made((recipe){.name = "localhost",
                       .alternatives = "DNS:localhost",
                       .usage = "serverAuth",
                       .begins = 1,
                       .ends = 2},
              "localhost");
    assert_refused(SSL_AD_CERTIFICATE_EXPIRED, "not yet valid", "'localhost' is valid from ");
}

static void an_authority_that_has_expired_is_told_by_name(void **state)
{
    (void)state;
    certificate_make(
        &parent,
        &(recipe){
            .name = "Old authority", .issuer = &certificates_get()->ca, .begins = -3, .ends = -1},
        NULL);
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = &parent},
                     NULL);
    meet(&made, &parent, "localhost");
    assert_refused(SSL_AD_CERTIFICATE_EXPIRED, "certificate has expired",
                   "'Old authority' was valid until ");
}

/* ---- Who has signed it ---- */

static void a_self_signed_certificate_is_refused(void **state)
{
    (void)state;
    meet(&certificates_get()->stranger, NULL, "localhost");
    assert_refused(SSL_AD_UNKNOWN_CA, "self-signed certificate",
                   "'localhost' is not among those that are trusted");
}

static void an_unknown_authority_is_told_by_name(void **state)
{
    (void)state;
    certificate_make(&parent, &(recipe){.name = "Nobody's authority"}, NULL);
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = &parent},
                     NULL);
    meet(&made, &parent, "localhost");
    assert_refused(SSL_AD_UNKNOWN_CA, "self-signed certificate in certificate chain",
                   "'Nobody's authority' is not among those that are trusted");
}

static void a_missing_intermediate_is_told_by_name(void **state)
{
    (void)state;
    meet(&certificates_get()->chained, NULL, "localhost");
    assert_refused(
        SSL_AD_UNKNOWN_CA, "unable to get local issuer certificate",
        "'Portico test CA 2', which has signed 'localhost', is not trusted, and was not sent");
}

static void a_forged_signature_is_refused(void **state)
{
    (void)state;
    certificate_make(&parent, &(recipe){.name = "Portico test CA"}, NULL);
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = &parent},
                     NULL);
    X509_EXTENSION *keyid = X509_delete_ext(
        made.x509, X509_get_ext_by_NID(made.x509, NID_authority_key_identifier, -1));
    X509_EXTENSION_free(keyid);
    assert_true(X509_sign(made.x509, parent.key, EVP_sha256()) > 0);
    meet(&made, NULL, "localhost");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "certificate signature failure", "'localhost'");
}

static void a_certificate_for_another_use_is_refused(void **state)
{
    (void)state;
    meet_made((recipe){.name = "localhost", .alternatives = "DNS:localhost", .usage = "clientAuth"},
              "localhost");
    assert_refused(SSL_AD_UNSUPPORTED_CERTIFICATE, "purpose", "'localhost' is not for servers");
}

static void a_server_s_certificate_signs_no_other(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    certificate_make(&made,
                     &(recipe){.name = "a.example",
                               .alternatives = "DNS:a.example",
                               .usage = "serverAuth",
                               .issuer = &them->server},
                     NULL);
    meet(&made, &them->server, "a.example");
    assert_int_equal(client.handshake_error.code, PCO_ECERT);
    assert_int_equal(client.factory_calls, 0);
    assert_int_equal(peer.failure - SSL_AD_REASON_OFFSET, SSL_AD_UNKNOWN_CA);
}

/* A context of an SSL_CTX that looks into lists of what is revoked. */
static pco_ssl_context *looking_up_in(X509_CRL *list)
{
    SSL_CTX *ctx = tls_peer_ctx(0);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    pco_ssl_context *context;
    assert_int_equal(X509_STORE_add_crl(store, list), 1);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    X509_CRL_free(list);
    SSL_CTX_free(ctx);
    return context;
}

static void a_revoked_certificate_is_refused(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    meet_in(looking_up_in(certificate_make_crl(&them->ca, &them->server)),
            careless_ctx(TLS_server_method(), &them->server), "localhost");
    assert_refused(SSL_AD_CERTIFICATE_REVOKED, "certificate revoked", "");
}

static void one_on_a_list_of_the_context_s_is_told_by_name(void **state)
{
    const certificates *them = certificates_get();
    X509_CRL *list = certificate_make_crl(&them->ca, &them->server);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    pco_ssl_context *context;
    (void)state;
    assert_int_equal(PEM_write_bio_X509_CRL(bio, list), 1);
    X509_CRL_free(list);
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = them->ca.pem, .ca_pem_length = them->ca.pem_length};
    options.crl_pem_length = (size_t)BIO_get_mem_data(bio, &text);
    options.crl_pem = text;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    BIO_free(bio);
    meet_in(context, careless_ctx(TLS_server_method(), &them->server), "localhost");
    assert_refused(SSL_AD_CERTIFICATE_REVOKED, "certificate revoked", "'localhost'");
}

static void another_s_revocation_does_not_matter(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    meet_in(looking_up_in(certificate_make_crl(&them->ca, &them->other)),
            careless_ctx(TLS_server_method(), &them->server), "localhost");
    assert_opened(&client);
}

/* ---- How it is signed ---- */

static void a_signature_by_sha_1_is_too_weak(void **state)
{
    (void)state;
    meet_made((recipe){.name = "localhost",
                       .alternatives = "DNS:localhost",
                       .usage = "serverAuth",
                       .sha1 = true},
              "localhost");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "CA signature digest algorithm too weak",
                   "'localhost' is signed by ecdsa-with-SHA1");
}

static void a_short_rsa_key_is_too_weak(void **state)
{
    (void)state;
    meet_made((recipe){.name = "localhost",
                       .alternatives = "DNS:localhost",
                       .usage = "serverAuth",
                       .rsa_bits = 1024},
              "localhost");
    assert_refused(SSL_AD_BAD_CERTIFICATE, "EE certificate key too weak",
                   "'localhost' has a key of RSA, 1024 bits");
}

/* ---- Chains ---- */

/* A server's certificate at the end of a chain of authorities, so many of them below the root. */
static SSL_CTX *chained_ctx(certificate *chain, int count)
{
    const certificate *above = &certificates_get()->ca;
    for (int i = 0; i < count; i++) {
        certificate_make(&chain[i], &(recipe){.name = "One of many", .issuer = above}, NULL);
        above = &chain[i];
    }
    certificate_make(&made,
                     &(recipe){.name = "localhost",
                               .alternatives = "DNS:localhost",
                               .usage = "serverAuth",
                               .issuer = above},
                     NULL);
    SSL_CTX *ctx = careless_ctx(TLS_server_method(), &made);
    for (int i = count; i-- > 0;) {
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, chain[i].x509), 1);
    }
    return ctx;
}

static void meet_chain(int count)
{
    static certificate chain[100];
    meet_in(tls_client_context(), chained_ctx(chain, count), "localhost");
    for (int i = 0; i < count; i++) {
        certificate_clear(&chain[i]);
    }
}

static void a_chain_of_ten_authorities_is_good(void **state)
{
    (void)state;
    meet_chain(10);
    assert_opened(&client);
}

static void a_chain_of_a_hundred_is_too_long(void **state)
{
    (void)state;
    meet_chain(99);
    assert_refused(SSL_AD_UNKNOWN_CA, "certificate chain too long", "");
}

/* ---- Good and bad, by name and by address ---- */

/*
 * A server below an intermediate: as it should be; without the intermediate; for another host; for
 * clients. For a name and for addresses of both kinds.
 */
static void names_and_addresses_are_checked_alike(void **state)
{
    static const struct {
        const char *shown;
        const char *asked;
        const char *other;
    } hosts[] = {{"DNS:example.com", "example.com", "example.org"},
                 {"IP:127.0.0.1", "127.0.0.1", "198.168.0.1"},
                 {"IP:::1", "::1", "2001:db8::1"}};
    const certificate *intermediate = &certificates_get()->intermediate;
    for (size_t i = 0; i < 3 * 4; i++) {
        size_t host = i / 4;
        size_t kind = i % 4;
        certificate_make(&made,
                         &(recipe){.name = "x",
                                   .alternatives = hosts[host].shown,
                                   .usage = kind == 3 ? "clientAuth" : "serverAuth",
                                   .issuer = intermediate},
                         NULL);
        meet(&made, kind == 1 ? NULL : intermediate,
             kind == 2 ? hosts[host].other : hosts[host].asked);
        if (kind == 0) {
            assert_opened(&client);
        } else if (kind == 1) {
            assert_refused(SSL_AD_UNKNOWN_CA, "issuer", "was not sent");
        } else if (kind == 2) {
            assert_refused(SSL_AD_BAD_CERTIFICATE, "mismatch", hosts[host].other);
        } else {
            assert_refused(SSL_AD_UNSUPPORTED_CERTIFICATE, "purpose", "not for servers");
        }
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

/* ---- Servers judge clients in the same way ---- */

static pco_ssl_context *demanding_context(const pco_ssl_context_options *more)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    const certificate *ca = &certificates_get()->ca;
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    options.ca_pem = ca->pem;
    options.ca_pem_length = ca->pem_length;
    if (more != NULL) {
        options.verify_peer = more->verify_peer;
        options.callback_context = more->callback_context;
    }
    return tls_context(&options);
}

/* A server meets a client that shows `own`. TLS 1.2, where clients hear before they go on. */
static void meet_client(pco_ssl_context *context, const certificate *own)
{
    SSL_CTX *ctx = careless_ctx(TLS_client_method(), own);
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
}

static void a_server_refuses_a_client_by_the_same_words(void **state)
{
    (void)state;
    certificate_make(&made,
                     &(recipe){.name = "Mary",
                               .usage = "clientAuth",
                               .issuer = &certificates_get()->ca,
                               .begins = -3,
                               .ends = -1},
                     NULL);
    meet_client(demanding_context(NULL), &made);
    assert_refused_by(&server, SSL_AD_CERTIFICATE_EXPIRED, "certificate has expired",
                      "'Mary' was valid until ");
}

static void a_server_takes_no_certificate_of_servers(void **state)
{
    (void)state;
    meet_client(demanding_context(NULL), &certificates_get()->server);
    assert_refused_by(&server, SSL_AD_UNSUPPORTED_CERTIFICATE, "purpose",
                      "'localhost' is not for clients");
}

static void a_server_takes_no_unknown_client(void **state)
{
    (void)state;
    certificate_make(&made, &(recipe){.name = "Mary", .usage = "clientAuth"}, NULL);
    meet_client(demanding_context(NULL), &made);
    assert_refused_by(&server, SSL_AD_UNKNOWN_CA, "self-signed certificate",
                      "'Mary' is not among those that are trusted");
}

/* ---- Pins ---- */

static struct {
    int answer;
    unsigned calls;
    int error;
    int system_code;
    bool has_reason;
    char reason[256];
    char server_name[64];
    size_t count;
    bool own_is_first;
    bool root_is_last;
} pin;

static bool is_in(const pco_buffer *bytes, X509 *one)
{
    unsigned char *der = NULL;
    int length = i2d_X509(one, &der);
    bool same = length == (int)bytes->length && memcmp(der, bytes->data, bytes->length) == 0;
    OPENSSL_free(der);
    return same;
}

static int look(const pco_ssl_verdict *verdict, void *context)
{
    pin.calls++;
    pin.error = verdict->error;
    pin.system_code = verdict->system_code;
    pin.has_reason = verdict->reason != NULL;
    snprintf(pin.reason, sizeof pin.reason, "%s", pin.has_reason ? verdict->reason : "");
    snprintf(pin.server_name, sizeof pin.server_name, "%s",
             verdict->server_name != NULL ? verdict->server_name : "");
    pin.count = verdict->chain_count;
    pin.own_is_first = verdict->size == sizeof *verdict && is_in(&verdict->chain[0], context);
    pin.root_is_last =
        is_in(&verdict->chain[verdict->chain_count - 1], certificates_get()->ca.x509);
    return pin.answer;
}

static void meet_pinned(const certificate *own, const certificate *behind, int answer)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context *context;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .ca_pem = ca->pem,
                                       .ca_pem_length = ca->pem_length,
                                       .verify_peer = look,
                                       .callback_context = own->x509};
    SSL_CTX *ctx = careless_ctx(TLS_server_method(), own);
    memset(&pin, 0, sizeof pin);
    pin.answer = answer;
    if (behind != NULL) {
        assert_int_equal(SSL_CTX_add1_chain_cert(ctx, behind->x509), 1);
    }
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    meet_in(context, ctx, "localhost");
}

static void a_pin_sees_the_chain_to_whom_is_trusted(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    meet_pinned(&them->chained, &them->intermediate, PCO_SSL_VERDICT_KEEP);
    assert_opened(&client);
    assert_int_equal(pin.calls, 1);
    assert_int_equal(pin.error, 0);
    assert_int_equal(pin.system_code, 0);
    assert_false(pin.has_reason);
    assert_string_equal(pin.server_name, "localhost");
    assert_int_equal(pin.count, 3);
    assert_true(pin.own_is_first);
    assert_true(pin.root_is_last);
}

static void a_pin_refuses_what_is_trusted(void **state)
{
    (void)state;
    meet_pinned(&certificates_get()->server, NULL, PCO_SSL_VERDICT_REFUSE);
    assert_refused(SSL_AD_CERTIFICATE_UNKNOWN, "refused by verify_peer", "");
}

static void what_is_no_answer_of_a_pin_s_refuses(void **state)
{
    (void)state;
    meet_pinned(&certificates_get()->server, NULL, -1);
    assert_refused(SSL_AD_CERTIFICATE_UNKNOWN, "refused by verify_peer", "");
}

static void a_pin_that_keeps_the_verdict_accepts_nothing(void **state)
{
    (void)state;
    meet_pinned(&certificates_get()->stranger, NULL, PCO_SSL_VERDICT_KEEP);
    assert_refused(SSL_AD_UNKNOWN_CA, "self-signed certificate", "");
    assert_int_equal(pin.calls, 1);
    assert_int_equal(pin.error, PCO_ECERT);
    assert_int_equal(pin.system_code, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
    assert_non_null(strstr(pin.reason, "'localhost' is not among those that are trusted"));
    assert_int_equal(pin.count, 1);
    assert_true(pin.own_is_first);
}

static void a_pin_that_refuses_what_is_bad_leaves_the_reason(void **state)
{
    (void)state;
    meet_pinned(&certificates_get()->expired, NULL, PCO_SSL_VERDICT_REFUSE);
    assert_refused(SSL_AD_CERTIFICATE_EXPIRED, "certificate has expired", "");
}

static void a_pin_may_accept_in_spite_of_the_verdict(void **state)
{
    (void)state;
    meet_pinned(&certificates_get()->stranger, NULL, PCO_SSL_VERDICT_DANGEROUSLY_ACCEPT);
    assert_opened(&client);
    assert_true(SSL_get_verify_result(pco_transport_get_ssl_object(client.transport)) != X509_V_OK);
}

static void a_server_pins_its_clients(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options more = {.verify_peer = look, .callback_context = them->client.x509};
    (void)state;
    memset(&pin, 0, sizeof pin);
    pin.answer = PCO_SSL_VERDICT_KEEP;
    meet_client(demanding_context(&more), &them->client);
    assert_opened(&server);
    assert_int_equal(pin.calls, 1);
    assert_string_equal(pin.server_name, "localhost");
    assert_true(pin.own_is_first);
    assert_true(pin.root_is_last);
    assert_int_equal(tear_down(state), 0);
    set_up(state);
    pin.answer = PCO_SSL_VERDICT_REFUSE;
    meet_client(demanding_context(&more), &them->client);
    assert_refused_by(&server, SSL_AD_CERTIFICATE_UNKNOWN, "refused by verify_peer", "");
}

static void a_pin_is_not_asked_again_for_a_session_that_is_resumed(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options more = {.verify_peer = look, .callback_context = them->client.x509};
    pco_ssl_context *context = demanding_context(&more);
    (void)state;
    memset(&pin, 0, sizeof pin);
    meet_client(pco_ssl_context_retain(context), &them->client);
    assert_opened(&server);
    SSL_SESSION *session = SSL_get1_session(peer.ssl);
    SSL_CTX *ctx = SSL_get_SSL_CTX(peer.ssl);
    SSL_CTX_up_ref(ctx);
    SSL_set_shutdown(peer.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    tls_peer_free(&peer);
    pco_transport_abort(server.transport);
    run_turns(loop, 2);
    tls_end_free(&server);

    tls_end_init(&server, false);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    SSL_set_session(peer.ssl, session);
    tls_run(&peer, &server);
    assert_opened(&server);
    assert_int_equal(SSL_session_reused(peer.ssl), 1);
    assert_int_equal(pin.calls, 1);
    SSL_SESSION_free(session);
}

/* ---- Options ---- */

static void options_that_make_no_sense_are_refused(void **state)
{
    pco_ssl_context *context;
    pco_error error;
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)state;
    options.verify_peer = look;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_EINVAL);
    assert_string_equal(error.message, "verify_peer is given, but no certificate is demanded");
    options.verify_peer = NULL;
    options.verdict_timeout = 1;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "verdict_timeout is for clients"));
    options.verdict_timeout = -1;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "verdict_timeout is negative"));
}

/* ---- Memory ---- */

/* Each allocation fails in turn: then the handshake fails, and nothing is left behind. */
static void memory_may_run_out_while_a_certificate_is_judged(void **state)
{
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        pco_ssl_context *context = tls_client_context();
        SSL_CTX *ctx = careless_ctx(TLS_server_method(), &certificates_get()->expired);
        tls_peer_init(&peer, ctx, NULL);
        SSL_CTX_free(ctx);
        SSL_set_accept_state(peer.ssl);
        tls_end_start_client(&client, loop, context, "localhost");
        pco_ssl_context_release(context);
        memory_fail(nth, false);
        tls_run(&peer, &client);
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(client.done, 1);
        assert_int_not_equal(client.handshake_error.code, 0);
        assert_int_equal(client.factory_calls, 0);
        assert_int_equal(tear_down(state), 0);
        set_up(state);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_certificate_for_another_name_is_refused),
        TEST(of_many_names_some_are_told),
        TEST(a_name_with_a_zero_in_it_is_told_as_it_is),
        TEST(a_partial_wildcard_stands_for_nothing),
        TEST(a_wildcard_stands_for_no_address),
        TEST(an_address_in_the_common_name_only_does_not_count),
        TEST(an_address_as_a_name_does_not_count),
        TEST(a_name_in_the_common_name_only_does_not_count),
        TEST(an_expired_certificate_is_refused),
        TEST(one_that_is_not_valid_yet_is_refused),
        TEST(an_authority_that_has_expired_is_told_by_name),
        TEST(a_self_signed_certificate_is_refused),
        TEST(an_unknown_authority_is_told_by_name),
        TEST(a_missing_intermediate_is_told_by_name),
        TEST(a_forged_signature_is_refused),
        TEST(a_certificate_for_another_use_is_refused),
        TEST(a_server_s_certificate_signs_no_other),
        TEST(a_revoked_certificate_is_refused),
        TEST(one_on_a_list_of_the_context_s_is_told_by_name),
        TEST(another_s_revocation_does_not_matter),
        TEST(a_signature_by_sha_1_is_too_weak),
        TEST(a_short_rsa_key_is_too_weak),
        TEST(a_chain_of_ten_authorities_is_good),
        TEST(a_chain_of_a_hundred_is_too_long),
        TEST(names_and_addresses_are_checked_alike),
        TEST(a_server_refuses_a_client_by_the_same_words),
        TEST(a_server_takes_no_certificate_of_servers),
        TEST(a_server_takes_no_unknown_client),
        TEST(a_pin_sees_the_chain_to_whom_is_trusted),
        TEST(a_pin_refuses_what_is_trusted),
        TEST(what_is_no_answer_of_a_pin_s_refuses),
        TEST(a_pin_that_keeps_the_verdict_accepts_nothing),
        TEST(a_pin_that_refuses_what_is_bad_leaves_the_reason),
        TEST(a_pin_may_accept_in_spite_of_the_verdict),
        TEST(a_server_pins_its_clients),
        TEST(a_pin_is_not_asked_again_for_a_session_that_is_resumed),
        TEST(options_that_make_no_sense_are_refused),
        TEST(memory_may_run_out_while_a_certificate_is_judged),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    certificates_free();
    return failed;
}
