/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_certificates.c: several certificates in one context, at URIs, and with what OCSP says of
 * them. Goal: the peer is shown what it can check, and whatever is wrong is told, by the name of
 * the element that has it.
 * Method: handshakes of OpenSSL's client, which says what it can check, with the library's server.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* OSSL_STORE_LOADER: what else is there is a whole provider */
#include "ssl_world.h"
#include "tls/contexts.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/store.h>
#include <openssl/ui.h>

#define FILE_NAME "test_ssl_certificates.pem"
#define KEY_NAME "test_ssl_certificates.key"
#define ENCRYPTED_NAME "test_ssl_certificates.encrypted"

static const certificates *them;
static char *staple; /* of `server` */
static size_t staple_length;

static pco_loop *loop;
static tls_end server;

static int begin(void **state)
{
    (void)state;
    loop = fake_loop_new();
    tls_end_init(&server, false);
    return loop != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    pco_loop_free(loop);
    tls_end_free(&server);
    return 0;
}

static pco_ssl_certificate further(const certificate *of)
{
    return (pco_ssl_certificate){.size = sizeof(pco_ssl_certificate),
                                 .certificate_pem = of->pem,
                                 .certificate_pem_length = of->pem_length,
                                 .key_pem = of->key_pem,
                                 .key_pem_length = of->key_pem_length};
}

/* ---- Several ---- */

/* Whether a client that can check these signatures alone is shown this certificate. */
static bool is_shown(pco_ssl_context *context, int version, const char *signatures,
                     const certificate *expected)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(version);
    assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, signatures), 1);
    tls_end_free(&server);
    tls_end_init(&server, false);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_end_start(&server, loop, context);
    tls_run(&peer, &server);
    assert_true(peer.established);
    X509 *shown = SSL_get1_peer_certificate(peer.ssl);
    bool is = X509_cmp(shown, expected->x509) == 0;
    X509_free(shown);
    tls_peer_free(&peer);
    return is;
}

static void each_client_is_shown_the_certificate_that_it_can_check(void **state)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const certificate *rsa = certificates_of_kind("RSA");
    const certificate *ed25519 = certificates_of_kind("ED25519");
    pco_ssl_certificate one = further(rsa);
    pco_ssl_certificate two = further(ed25519);
    const pco_ssl_certificate *const all[] = {&one, &two};
    pco_ssl_context_options options = tls_options(&them->server);
    (void)state;
    options.certificates = all;
    options.certificates_count = 2;
    pco_ssl_context *context = tls_context(&options);
    for (size_t i = 0; i < 2; i++) {
        assert_true(is_shown(context, versions[i], "ECDSA+SHA256", &them->server));
        assert_true(is_shown(context, versions[i], "RSA-PSS+SHA256:ECDSA+SHA256", &them->server));
        assert_true(
            is_shown(context, versions[i], "RSA-PSS+SHA256:ed25519:ECDSA+SHA256", &them->server));
    }
    pco_ssl_context_release(context);

    /* The authority's own signature is ECDSA's, which has to be among what the client checks. */
    options = (pco_ssl_context_options){
        .size = sizeof options, .certificates = all, .certificates_count = 2};
    context = tls_context(&options);
    for (size_t i = 0; i < 2; i++) {
        assert_true(is_shown(context, versions[i], "RSA-PSS+SHA256:ECDSA+SHA256", rsa));
        assert_true(is_shown(context, versions[i], "ed25519:ECDSA+SHA256", ed25519));
    }
    pco_ssl_context_release(context);
}

static void each_has_its_own_chain(void **state)
{
    const certificate *rsa = certificates_of_kind("RSA");
    pco_ssl_certificate one = further(rsa);
    const pco_ssl_certificate *const all[] = {&one};
    pco_ssl_context_options options = tls_options(&them->chained);
    pco__ssl_setup *setup;
    STACK_OF(X509) *chain = NULL;
    (void)state;
    options.certificates = all;
    options.certificates_count = 1;
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    assert_int_equal(SSL_CTX_set_current_cert(setup->ctx, SSL_CERT_SET_FIRST), 1);
    do {
        X509 *own = SSL_CTX_get0_certificate(setup->ctx);
        assert_int_equal(SSL_CTX_get0_chain_certs(setup->ctx, &chain), 1);
        assert_int_equal(chain != NULL ? sk_X509_num(chain) : 0,
                         X509_cmp(own, rsa->x509) == 0 ? 0 : 1);
    } while (SSL_CTX_set_current_cert(setup->ctx, SSL_CERT_SET_NEXT) == 1);
    pco__ssl_setup_free(setup);
}

static void what_is_wrong_with_one_of_them_is_told_by_its_name(void **state)
{
    pco_ssl_certificate one = further(certificates_of_kind("ED25519"));
    pco_ssl_certificate two = further(&them->other);
    const pco_ssl_certificate *all[] = {&one, &two, NULL};
    pco_ssl_context_options options = tls_options(&them->server);
    (void)state;
    options.certificates_count = 1;
    tls_assert_refused(false, &options, PCO_EINVAL,
                       "certificates and certificates_count must be given together");
    options.certificates = all;
    options.certificates_count = 0;
    tls_assert_refused(false, &options, PCO_EINVAL, "must be given together");
    options.certificates_count = 2;
    tls_assert_refused(false, &options, PCO_EINVAL,
                       "certificates[1].certificate_pem: there is a certificate with a key of the "
                       "same kind already");
    all[1] = NULL;
    tls_assert_refused(false, &options, PCO_EINVAL, "certificates[1] is NULL");
    all[1] = &two;
    two = (pco_ssl_certificate){.size = sizeof two};
    tls_assert_refused(false, &options, PCO_EINVAL,
                       "certificates[1].certificate_file or certificates[1].certificate_pem is");
    two.size = 3;
    tls_assert_refused(false, &options, PCO_EINVAL, "pco_ssl_certificate.size is 3");
    options.certificates_count = 1;
    one.key_pem = them->other.key_pem;
    one.key_pem_length = them->other.key_pem_length;
    tls_assert_refused(false, &options, PCO_ECERT,
                       "certificates[0].key_pem does not match certificates[0].certificate_pem: ");
    one.certificate_file = FILE_NAME;
    tls_assert_refused(false, &options, PCO_EINVAL,
                       "certificates[0].certificate_file and certificates[0].certificate_pem are");
    one = (pco_ssl_certificate){
        .size = sizeof one, .certificate_file = "no such file", .key_file = "nor this"};
    tls_assert_refused(false, &options, PCO_ENOENT,
                       "certificates[0].certificate file 'no such file': ");
}

/* ---- URIs ---- */

static void a_certificate_and_its_key_may_be_at_uris(void **state)
{
    pco_ssl_context_options options = {
        .size = sizeof options, .certificate_uri = FILE_NAME, .key_uri = KEY_NAME};
    pco__ssl_setup *setup;
    STACK_OF(X509) *chain = NULL;
    (void)state;
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    assert_int_equal(X509_cmp(SSL_CTX_get0_certificate(setup->ctx), them->chained.x509), 0);
    assert_int_equal(SSL_CTX_get0_chain_certs(setup->ctx, &chain), 1);
    assert_int_equal(sk_X509_num(chain), 1);
    pco__ssl_setup_free(setup);

    pco_ssl_certificate one = {
        .size = sizeof one, .certificate_uri = FILE_NAME, .key_uri = KEY_NAME};
    const pco_ssl_certificate *const all[] = {&one};
    options = (pco_ssl_context_options){
        .size = sizeof options, .certificates = all, .certificates_count = 1};
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    pco__ssl_setup_free(setup);
}

static void a_store_that_asks_for_a_password_gets_that_of_the_options(void **state)
{
    pco_ssl_context_options options = {.size = sizeof options,
                                       .certificate_uri = FILE_NAME,
                                       .key_uri = ENCRYPTED_NAME,
                                       .key_password = "portico"};
    pco__ssl_setup *setup;
    (void)state;
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    pco__ssl_setup_free(setup);
    options.key_password = "porticus";
    tls_assert_refused(false, &options, PCO_ECERT,
                       "key_uri '" ENCRYPTED_NAME "': key_password is wrong");
    options.key_password = NULL;
    tls_assert_refused(false, &options, PCO_ECERT, "is encrypted, key_password is missing");
}

static void uris_where_nothing_is_are_told(void **state)
{
    pco_ssl_context_options options = {
        .size = sizeof options, .certificate_uri = "no-such-file.pem", .key_uri = KEY_NAME};
    (void)state;
    tls_assert_refused(false, &options, PCO_ENOENT, "certificate_uri 'no-such-file.pem': ");
    options.certificate_uri = "pigeon:x";
    tls_assert_refused(false, &options, PCO_ECERT, "certificate_uri 'pigeon:x': ");
    options.certificate_uri = KEY_NAME;
    tls_assert_refused(false, &options, PCO_ECERT, "certificate_uri '" KEY_NAME "': ");
    options.certificate_uri = FILE_NAME;
    options.key_uri = FILE_NAME;
    tls_assert_refused(false, &options, PCO_ECERT, "key_uri '" FILE_NAME "': ");
    options.key_uri = NULL;
    tls_assert_refused(false, &options, PCO_EINVAL, "key_file or key_pem is required");
}

/* A store of keys as pkcs11-provider's: it wants its PIN, and says nothing where nothing is. */
struct ossl_store_loader_ctx_st {
    char pin[16];
};

static OSSL_STORE_LOADER_CTX *open_token(const OSSL_STORE_LOADER *loader, const char *uri,
                                         const UI_METHOD *method, void *context)
{
    static OSSL_STORE_LOADER_CTX token;
    UI *ui = UI_new_method(method);
    (void)loader;
    (void)uri;
    UI_add_user_data(ui, context);
    UI_add_input_string(ui, "PIN", 0, token.pin, 0, sizeof token.pin - 1);
    UI_process(ui);
    UI_free(ui);
    ERR_clear_error();
    return &token;
}

static OSSL_STORE_INFO *load_nothing(OSSL_STORE_LOADER_CTX *token, const UI_METHOD *method,
                                     void *context)
{
    (void)token;
    (void)method;
    (void)context;
    return NULL;
}

static int has_ended(OSSL_STORE_LOADER_CTX *token)
{
    (void)token;
    return 1;
}

static int has_not_failed(OSSL_STORE_LOADER_CTX *token)
{
    (void)token;
    return 0;
}

static int close_token(OSSL_STORE_LOADER_CTX *token)
{
    (void)token;
    return 1;
}

static void a_store_that_asks_and_has_nothing_does_not_blame_the_password_alone(void **state)
{
    OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_new(NULL, "token");
    pco_ssl_context_options options = {.size = sizeof options,
                                       .certificate_uri = FILE_NAME,
                                       .key_uri = "token:object=nobody",
                                       .key_password = "1234"};
    (void)state;
    OSSL_STORE_LOADER_set_open(loader, open_token);
    OSSL_STORE_LOADER_set_load(loader, load_nothing);
    OSSL_STORE_LOADER_set_eof(loader, has_ended);
    OSSL_STORE_LOADER_set_error(loader, has_not_failed);
    OSSL_STORE_LOADER_set_close(loader, close_token);
    assert_int_equal(OSSL_STORE_register_loader(loader), 1);
    tls_assert_refused(false, &options, PCO_ECERT,
                       "key_uri 'token:object=nobody': no private key is there, or key_password "
                       "is wrong");
    options.key_password = NULL;
    tls_assert_refused(false, &options, PCO_ECERT, "key_password is missing");
    OSSL_STORE_LOADER_free(OSSL_STORE_unregister_loader("token"));
}

static void a_thing_at_a_uri_is_nowhere_else(void **state)
{
    pco_ssl_context_options options = tls_options(&them->server);
    (void)state;
    options.certificate_uri = FILE_NAME;
    tls_assert_refused(false, &options, PCO_EINVAL,
                       "certificate_uri and certificate_pem are both given");
    options = tls_options(&them->server);
    options.key_uri = KEY_NAME;
    options.key_pem = NULL;
    options.key_pem_length = 0;
    options.key_file = KEY_NAME;
    tls_assert_refused(false, &options, PCO_EINVAL, "key_uri and key_file are both given");
}

/* ---- What OCSP says ---- */

/* How many bytes of it a client sees that asks; -1: none. */
static long seen_by(pco_ssl_context *context, int version)
{
    const unsigned char *seen;
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(version);
    SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
    tls_end_free(&server);
    tls_end_init(&server, false);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_end_start(&server, loop, context);
    tls_run(&peer, &server);
    assert_true(peer.established);
    long length = SSL_get_tlsext_status_ocsp_resp(peer.ssl, &seen);
    if (length == (long)staple_length) {
        assert_memory_equal(seen, staple, staple_length);
    }
    tls_peer_free(&peer);
    return length;
}

static void a_client_that_asks_is_shown_what_ocsp_says(void **state)
{
    pco_ssl_context_options options = tls_options(&them->server);
    (void)state;
    options.ocsp_response = staple;
    options.ocsp_response_length = staple_length;
    pco_ssl_context *context = tls_context(&options);
    assert_int_equal(seen_by(context, TLS1_2_VERSION), staple_length);
    assert_int_equal(seen_by(context, TLS1_3_VERSION), staple_length);

    /* A reload brings the next one, or none. */
    options.ocsp_response = NULL;
    options.ocsp_response_length = 0;
    assert_int_equal(pco_ssl_context_reload(context, &options, NULL), 0);
    assert_int_equal(seen_by(context, 0), -1);
    tls_write_file(FILE_NAME ".ocsp", staple, staple_length);
    options.ocsp_file = FILE_NAME ".ocsp";
    assert_int_equal(pco_ssl_context_reload(context, &options, NULL), 0);
    assert_int_equal(seen_by(context, 0), staple_length);
    remove(FILE_NAME ".ocsp");
    pco_ssl_context_release(context);
}

static void each_certificate_has_what_ocsp_says_of_it(void **state)
{
    pco_ssl_certificate one = further(&them->server);
    pco_ssl_certificate two = further(certificates_of_kind("ED25519"));
    const pco_ssl_certificate *const all[] = {&two, &one};
    pco_ssl_context_options options = {
        .size = sizeof options, .certificates = all, .certificates_count = 2};
    (void)state;
    one.ocsp_response = staple;
    one.ocsp_response_length = staple_length;
    pco_ssl_context *context = tls_context(&options);
    assert_int_equal(seen_by(context, 0), staple_length);
    pco_ssl_context_release(context);
    one.ocsp_response = NULL;
    one.ocsp_response_length = 0;
    two.ocsp_response = staple;
    two.ocsp_response_length = staple_length;
    tls_assert_refused(false, &options, PCO_ECERT,
                       "certificates[0].ocsp_response: the response is about another certificate");
}

static void our_clients_ask(void **state)
{
    const unsigned char *seen;
    pco_ssl_context_options options = tls_options(&them->server);
    pco_ssl_context *of_client = tls_client_context();
    tls_end client;
    (void)state;
    options.ocsp_response = staple;
    options.ocsp_response_length = staple_length;
    pco_ssl_context *context = tls_context(&options);
    tls_end_init(&client, false);
    tls_end_start(&server, loop, context);
    tls_end_start_client(&client, loop, of_client, "localhost");
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.counts[MADE], 1);
    SSL *engine = pco_transport_get_ssl_object(client.transport);
    assert_int_equal(SSL_get_tlsext_status_ocsp_resp(engine, &seen), staple_length);
    pco_ssl_context_release(of_client);
    pco_ssl_context_release(context);
    pco_loop_free(loop);
    loop = NULL;
    tls_end_free(&client);
}

static void bad_responses_are_refused(void **state)
{
    static const unsigned char try_later[] = {0x30, 0x03, 0x0a, 0x01, 0x03};
    pco_ssl_context_options options = tls_options(&them->server);
    char *copy = malloc(staple_length + 1);
    (void)state;
    assert_non_null(copy);
    memcpy(copy, staple, staple_length);
    copy[staple_length] = 0;
    options.ocsp_response = copy;
    options.ocsp_response_length = staple_length + 1;
    tls_assert_refused(false, &options, PCO_ECERT, "ocsp_response: no OCSP response in DER");
    options.ocsp_response_length = staple_length - 1;
    tls_assert_refused(false, &options, PCO_ECERT, "ocsp_response: no OCSP response in DER");
    free(copy);
    options.ocsp_response = try_later;
    options.ocsp_response_length = sizeof try_later;
    tls_assert_refused(false, &options, PCO_ECERT, "the response is none but 'trylater'");
    options.ocsp_file = FILE_NAME;
    tls_assert_refused(false, &options, PCO_EINVAL, "ocsp_file and ocsp_response are both given");
    options.ocsp_response = NULL;
    tls_assert_refused(false, &options, PCO_EINVAL, "ocsp_file and ocsp_response are both given");
    options.ocsp_response_length = 0;
    options.ocsp_file = "no such file";
    tls_assert_refused(false, &options, PCO_ENOENT, "ocsp file 'no such file': ");
    options = tls_options(&them->other);
    options.ocsp_response = staple;
    options.ocsp_response_length = staple_length;
    tls_assert_refused(false, &options, PCO_ECERT, "the response is about another certificate");
    options.dangerously_accept_any_certificate = PCO_ON;
    tls_assert_refused(true, &options, PCO_EINVAL, "ocsp_response is for servers");
    options = (pco_ssl_context_options){.size = sizeof options,
                                        .ocsp_file = FILE_NAME,
                                        .dangerously_accept_any_certificate = PCO_ON};
    tls_assert_refused(true, &options, PCO_EINVAL, "ocsp is given without a certificate");
}

static int begin_all(void **state)
{
    size_t length;
    (void)state;
    them = certificates_get();
    staple = certificates_ocsp(&them->ca, &them->server, &staple_length);
    char *encrypted = certificates_encrypt_key(&them->chained, "portico", &length);
    tls_write_file(FILE_NAME, them->chained.pem, them->chained.pem_length);
    tls_write_file(KEY_NAME, them->chained.key_pem, them->chained.key_pem_length);
    tls_write_file(ENCRYPTED_NAME, encrypted, length);
    free(encrypted);
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    free(staple);
    certificates_free();
    return remove(FILE_NAME) | remove(KEY_NAME) | remove(ENCRYPTED_NAME);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_client_is_shown_the_certificate_that_it_can_check),
        TEST(each_has_its_own_chain),
        TEST(what_is_wrong_with_one_of_them_is_told_by_its_name),
        TEST(a_certificate_and_its_key_may_be_at_uris),
        TEST(a_store_that_asks_for_a_password_gets_that_of_the_options),
        TEST(uris_where_nothing_is_are_told),
        TEST(a_store_that_asks_and_has_nothing_does_not_blame_the_password_alone),
        TEST(a_thing_at_a_uri_is_nowhere_else),
        TEST(a_client_that_asks_is_shown_what_ocsp_says),
        TEST(each_certificate_has_what_ocsp_says_of_it),
        TEST(our_clients_ask),
        TEST(bad_responses_are_refused),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, begin_all, end_all);
    return memory_unwatch() != 0 ? 1 : failed;
}
