/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_context.c: making contexts. Goal: whatever is wrong with the options is told by its own
 * sentence, and nothing is leaked, not even when memory runs out at any point.
 * Method: certificates made on the spot; each bad input is one change to options that are good.
 */
#include "openssl_memory.h"
#include "ssl_world.h"
#include "tls/contexts.h"

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#define FILE_NAME "test_ssl_context.pem"
/* The longest label that a host name may have (RFC 1035). */
#define LABEL_OF_63 "a12345678901234567890123456789012345678901234567890123456789012"

#define KEY_LOG_NAME "test_ssl_context.keys"
#define URI_FILE_NAME "test_ssl_context.key"
#define EMPTY_FILE_NAME "test_ssl_context.empty"

static pco_ssl_context_options good(void)
{
    const certificate *server = &certificates_get()->server;
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .certificate_pem = server->pem,
                                     .certificate_pem_length = server->pem_length,
                                     .key_pem = server->key_pem,
                                     .key_pem_length = server->key_pem_length};
}

static void assert_refused(const pco_ssl_context_options *options, int code, const char *words)
{
    tls_assert_refused(false, options, code, words);
}

static pco_ssl_context *make_good(void)
{
    pco_ssl_context_options options = good();
    pco_ssl_context *context = NULL;
    pco_error error;
    if (pco_ssl_context_new(&options, &context, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return context;
}

/* ---- What is good ---- */

static void a_context_is_made_of_memory(void **state)
{
    (void)state;
    pco_ssl_context_release(make_good());
}

static void a_context_is_made_of_a_file_that_holds_both_certificate_and_key(void **state)
{
    const certificate *server = &certificates_get()->server;
    char both[8192];
    int length = snprintf(both, sizeof both, "%s\nwords between\n%s", server->key_pem, server->pem);
    pco_ssl_context *context;
    pco_ssl_context_options options = {
        .size = sizeof options, .certificate_file = FILE_NAME, .key_file = FILE_NAME};
    (void)state;
    tls_write_file(FILE_NAME, both, (size_t)length);
    assert_int_equal(pco_ssl_context_new(&options, &context, NULL), 0);
    pco_ssl_context_release(context);
    remove(FILE_NAME);
}

static void an_encrypted_key_is_opened_with_its_password(void **state)
{
    pco_ssl_context_options options = good();
    pco_ssl_context *context;
    char *key =
        certificates_encrypt_key(&certificates_get()->server, "portico", &options.key_pem_length);
    (void)state;
    options.key_pem = key;
    options.key_password = "portico";
    assert_int_equal(pco_ssl_context_new(&options, &context, NULL), 0);
    pco_ssl_context_release(context);

    options.key_password = "porticus";
    assert_refused(&options, PCO_ECERT, "key_pem: key_password is wrong");
    options.key_password = "";
    assert_refused(&options, PCO_ECERT, "key_pem: key_password is wrong");
    options.key_password = NULL;
    assert_refused(&options, PCO_ECERT, "key_pem: is encrypted, key_password is missing");
    free(key);
}

/* OpenSSL's own word for it is that somebody has interrupted it. */
static void a_password_that_openssl_was_not_given_is_told_in_our_words_alone(void **state)
{
    char password[2048];
    pco_ssl_context_options options = good();
    pco_ssl_context *context;
    pco_error error;
    char *key =
        certificates_encrypt_key(&certificates_get()->server, "portico", &options.key_pem_length);
    (void)state;
    options.key_pem = key;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_ECERT);
    assert_string_equal(error.message, "key_pem: is encrypted, key_password is missing");
    memset(password, 'p', sizeof password);
    password[sizeof password - 1] = '\0';
    options.key_password = password;
    assert_int_equal(pco_ssl_context_new(&options, &context, &error), PCO_ECERT);
    assert_string_equal(error.message, "key_pem: key_password is longer than OpenSSL takes");
    free(key);
}

static void a_password_without_a_key_is_refused(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .ca_pem = ca->pem,
                                       .ca_pem_length = ca->pem_length,
                                       .key_password = "portico"};
    (void)state;
    tls_assert_refused(true, &options, PCO_EINVAL, "key_password is given without a key");
    options = good();
    options.key_pem = NULL;
    options.key_pem_length = 0;
    options.key_password = "portico";
    assert_refused(&options, PCO_EINVAL, "key_file or key_pem is required");
}

static void a_shorter_struct_of_an_older_program_is_understood(void **state)
{
    pco_ssl_context_options options = good();
    pco_ssl_context *context;
    (void)state;
    options.size = offsetof(pco_ssl_context_options, verify);
    options.verify = 77;
    assert_int_equal(pco_ssl_context_new(&options, &context, NULL), 0);
    pco_ssl_context_release(context);
}

static void a_chain_is_sent_as_it_is_given(void **state)
{
    const certificate *chained = &certificates_get()->chained;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .certificate_pem = chained->pem,
                                       .certificate_pem_length = chained->pem_length,
                                       .key_pem = chained->key_pem,
                                       .key_pem_length = chained->key_pem_length};
    pco__ssl_setup *setup;
    STACK_OF(X509) *chain = NULL;
    (void)state;
    assert_int_equal(pco__ssl_setup_new(&options, false, &setup, NULL), 0);
    assert_int_equal(SSL_CTX_get0_chain_certs(setup->ctx, &chain), 1);
    assert_int_equal(sk_X509_num(chain), 1);
    assert_int_equal(X509_cmp(sk_X509_value(chain, 0), certificates_get()->intermediate.x509), 0);
    pco__ssl_setup_free(setup);
}

/* ---- What is not said ---- */

/* Makes a setup with these lists and the good options otherwise. */
static pco__ssl_setup *setup_with(const char *ciphers, const char *ciphersuites, bool client)
{
    pco_ssl_context_options options = good();
    pco__ssl_setup *setup = NULL;
    pco_error error;
    options.ciphers = ciphers;
    options.ciphersuites = ciphersuites;
    options.dangerously_accept_any_certificate = client ? PCO_ON : PCO_DEFAULT;
    if (pco__ssl_setup_new(&options, client, &setup, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return setup;
}

/* Ephemeral keys and authenticated encryption; of TLS 1.3 and of 1.2, three suites and six. */
static void assert_modern(const pco__ssl_setup *setup)
{
    STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(setup->ctx);
    unsigned of_1_3 = 0;
    unsigned of_1_2 = 0;
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *one = sk_SSL_CIPHER_value(all, i);
        int exchange = SSL_CIPHER_get_kx_nid(one);
        bool any = exchange == NID_kx_any;
        if (!SSL_CIPHER_is_aead(one) || !(any || exchange == NID_kx_ecdhe) ||
            SSL_CIPHER_get_bits(one, NULL) < 128) {
            fail_msg("%s is offered", SSL_CIPHER_get_name(one));
        }
        of_1_3 += any;
        of_1_2 += !any;
    }
    assert_int_equal(of_1_3, 3);
    assert_int_equal(of_1_2, 6);
    assert_int_equal(SSL_CTX_get_security_level(setup->ctx), 2);
}

static void by_default_there_is_forward_secrecy_and_authenticated_encryption_alone(void **state)
{
    (void)state;
    for (int client = 0; client <= 1; client++) {
        pco__ssl_setup *setup = setup_with(NULL, NULL, client != 0);
        assert_modern(setup);
        pco__ssl_setup_free(setup);
    }
}

static void the_defaults_do_not_depend_on_how_openssl_is_configured(void **state)
{
    static const char lax[] = "openssl_conf = all\n[all]\nssl_conf = tls\n"
                              "[tls]\nsystem_default = lax\n"
                              "[lax]\nCipherString = ALL:@SECLEVEL=0\nMinProtocol = TLSv1\n"
                              "Ciphersuites = TLS_AES_128_CCM_8_SHA256\n";
    (void)state;
    tls_write_file(FILE_NAME, lax, sizeof lax - 1);
    assert_int_equal(CONF_modules_load_file(FILE_NAME, NULL, 0), 1);
    remove(FILE_NAME);

    SSL_CTX *plain = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_get_security_level(plain), 0);
    SSL_CTX_free(plain);
    pco__ssl_setup *setup = setup_with(NULL, NULL, false);
    assert_modern(setup);
    assert_int_equal(SSL_CTX_get_min_proto_version(setup->ctx), TLS1_2_VERSION);
    pco__ssl_setup_free(setup);
    CONF_modules_finish();
}

static void lists_of_the_users_are_taken_and_their_level_wins(void **state)
{
    (void)state;
    pco__ssl_setup *setup = setup_with("AES128-SHA:@SECLEVEL=0", "TLS_AES_128_CCM_8_SHA256", false);
    STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(setup->ctx);
    assert_int_equal(SSL_CTX_get_security_level(setup->ctx), 0);
    assert_int_equal(sk_SSL_CIPHER_num(all), 2);
    assert_string_equal(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, 0)),
                        "TLS_AES_128_CCM_8_SHA256");
    assert_string_equal(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, 1)), "AES128-SHA");
    pco__ssl_setup_free(setup);

    setup = setup_with("AES128-SHA", NULL, false);
    assert_int_equal(SSL_CTX_get_security_level(setup->ctx), 2);
    pco__ssl_setup_free(setup);
}

static void nothing_is_set_in_a_ready_ssl_ctx(void **state)
{
    pco__ssl_setup *setup;
    SSL_CTX *ready = SSL_CTX_new(TLS_server_method());
    (void)state;
    SSL_CTX_set_security_level(ready, 1);
    assert_int_equal(SSL_CTX_set_cipher_list(ready, "AES128-SHA"), 1);
    int suites = sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(ready));
    assert_int_equal(pco__ssl_setup_from_ssl_ctx(ready, &setup, NULL), 0);
    assert_int_equal(SSL_CTX_get_security_level(ready), 1);
    assert_int_equal(sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(ready)), suites);
    pco__ssl_setup_free(setup);
    SSL_CTX_free(ready);
}

/* ---- What is bad ---- */

static void missing_options_are_refused(void **state)
{
    pco_ssl_context_options options = good();
    (void)state;
    assert_refused(NULL, PCO_EINVAL, "missing");
    options.size = 0;
    assert_refused(&options, PCO_EINVAL, "size is 0");
    options.size = sizeof options + 1;
    assert_refused(&options, PCO_EINVAL, "pco_ssl_context_options.size");

    options = good();
    options.certificate_pem = NULL;
    options.certificate_pem_length = 0;
    assert_refused(&options, PCO_EINVAL, "certificate_file or certificate_pem is required");
    options = good();
    options.key_pem = NULL;
    options.key_pem_length = 0;
    assert_refused(&options, PCO_EINVAL, "key_file or key_pem is required");
}

static void doubled_and_half_given_material_is_refused(void **state)
{
    pco_ssl_context_options options = good();
    (void)state;
    options.certificate_file = FILE_NAME;
    assert_refused(&options, PCO_EINVAL, "certificate_file and certificate_pem are both given");
    options = good();
    options.key_file = FILE_NAME;
    assert_refused(&options, PCO_EINVAL, "key_file and key_pem are both given");
    options = good();
    options.ca_file = FILE_NAME;
    options.ca_pem_length = 1;
    assert_refused(&options, PCO_EINVAL, "ca_file and ca_pem are both given");
    options = good();
    options.certificate_pem = NULL;
    assert_refused(&options, PCO_EINVAL, "certificate_pem has a length but is NULL");
    options = good();
    options.key_pem_length = 0;
    assert_refused(&options, PCO_EINVAL, "key_pem has a length of 0");
    options = good();
    options.certificate_pem_length = (size_t)1024 * 1024 + 1;
    assert_refused(&options, PCO_EINVAL, "certificate_pem is larger than");
}

static void unreadable_files_are_told_by_name(void **state)
{
    pco_ssl_context_options options = good();
    (void)state;
    options.certificate_pem = NULL;
    options.certificate_pem_length = 0;
    options.certificate_file = "no such file.pem";
    assert_refused(&options, PCO_ENOENT,
                   "certificate file 'no such file.pem': no such file or directory");
    options = good();
    options.key_pem = NULL;
    options.key_pem_length = 0;
    options.key_file = "";
    assert_refused(&options, PCO_ENOENT, "key file ''");
    options.key_file = EMPTY_FILE_NAME;
    tls_write_file(EMPTY_FILE_NAME, "", 0);
    assert_refused(&options, PCO_ECERT, "key file '" EMPTY_FILE_NAME "': the file is empty");
    remove(EMPTY_FILE_NAME);
    options = good();
    options.ca_file = ".";
    pco_ssl_context *context;
    assert_int_not_equal(pco_ssl_context_new(&options, &context, NULL), 0);
}

static void garbled_certificates_are_refused(void **state)
{
    const certificate *server = &certificates_get()->server;
    pco_ssl_context_options options = good();
    char *copy = malloc(2 * server->pem_length + 1);
    (void)state;
    assert_non_null(copy);

    options.certificate_pem = "hello";
    options.certificate_pem_length = 5;
    assert_refused(&options, PCO_ECERT, "certificate_pem: no PEM certificate found");
    options.certificate_pem = server->key_pem;
    options.certificate_pem_length = server->key_pem_length;
    assert_refused(&options, PCO_ECERT, "certificate_pem: no PEM certificate found");

    memcpy(copy, server->pem, server->pem_length);
    copy[server->pem_length / 2] = '!';
    options.certificate_pem = copy;
    options.certificate_pem_length = server->pem_length;
    assert_refused(&options, PCO_ECERT, "certificate_pem: certificate 1 is garbled: ");
    options.certificate_pem_length = server->pem_length / 2;
    assert_refused(&options, PCO_ECERT, "certificate_pem: certificate 1 is garbled: ");

    memcpy(copy, server->pem, server->pem_length);
    memcpy(copy + server->pem_length, server->pem, server->pem_length);
    copy[server->pem_length + server->pem_length / 2] = '!';
    options.certificate_pem_length = 2 * server->pem_length;
    assert_refused(&options, PCO_ECERT, "certificate_pem: certificate 2 is garbled: ");
    free(copy);
}

static void an_encrypted_certificate_asks_nobody_for_a_password(void **state)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
                              "Proc-Type: 4,ENCRYPTED\n"
                              "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n"
                              "\n"
                              "AAAAAAAAAAAAAAAAAAAAAA==\n"
                              "-----END CERTIFICATE-----\n";
    pco_ssl_context_options options = good();
    (void)state;
    options.certificate_pem = pem;
    options.certificate_pem_length = sizeof pem - 1;
    assert_refused(&options, PCO_ECERT, "certificate_pem: certificate 1 is garbled: ");
}

static void garbled_and_mismatching_keys_are_refused(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options options = good();
    (void)state;
    options.key_pem = "hello";
    options.key_pem_length = 5;
    assert_refused(&options, PCO_ECERT, "key_pem: no PEM private key found");
    options.key_pem = them->server.pem;
    options.key_pem_length = them->server.pem_length;
    assert_refused(&options, PCO_ECERT, "key_pem: no PEM private key found");

    options.key_pem = them->client.key_pem;
    options.key_pem_length = them->client.key_pem_length;
    assert_refused(&options, PCO_ECERT, "key_pem does not match certificate_pem: ");

    char *copy = malloc(them->server.key_pem_length);
    assert_non_null(copy);
    memcpy(copy, them->server.key_pem, them->server.key_pem_length);
    copy[them->server.key_pem_length / 2] = '!';
    options.key_pem = copy;
    options.key_pem_length = them->server.key_pem_length;
    assert_refused(&options, PCO_ECERT, "key_pem: the private key is garbled: bad base64");
    options.key_pem_length /= 2;
    assert_refused(&options, PCO_ECERT, "key_pem: the private key is garbled: ");
    options.key_pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    options.key_pem_length = strlen(options.key_pem);
    assert_refused(&options, PCO_ECERT, "key_pem: the private key is garbled, or of a kind");
    free(copy);
}

static void a_key_of_another_kind_does_not_match(void **state)
{
    pco_ssl_context_options options = good();
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    (void)state;
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    options.key_pem_length = (size_t)BIO_get_mem_data(bio, &pem);
    options.key_pem = pem;
    assert_refused(&options, PCO_ECERT, "key_pem does not match certificate_pem: ");
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static void verification_without_an_authority_is_refused_and_so_is_the_reverse(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = good();
    pco_ssl_context *context;
    (void)state;
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    assert_refused(&options, PCO_EINVAL, "ca_file or ca_pem is missing");
    options.verify = PCO_SSL_VERIFY_OPTIONAL;
    assert_refused(&options, PCO_EINVAL, "ca_file or ca_pem is missing");
    options.verify = 4;
    assert_refused(&options, PCO_EINVAL, "verify is 4");
    options.verify = -1;
    assert_refused(&options, PCO_EINVAL, "verify is -1");

    options = good();
    options.ca_pem = ca->pem;
    options.ca_pem_length = ca->pem_length;
    assert_refused(&options, PCO_EINVAL, "verify does not say");
    options.verify = PCO_SSL_VERIFY_NONE;
    assert_int_equal(pco_ssl_context_new(&options, &context, NULL), 0);
    pco_ssl_context_release(context);
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    options.ca_pem = ca->key_pem;
    options.ca_pem_length = ca->key_pem_length;
    assert_refused(&options, PCO_ECERT, "ca_pem: no PEM certificate found");
}

static void versions_ciphers_and_switches_are_checked(void **state)
{
    pco_ssl_context_options options = good();
    (void)state;
    options.minimum_version = 1;
    assert_refused(&options, PCO_EINVAL, "minimum_version is 1");
    options = good();
    options.maximum_version = 4;
    assert_refused(&options, PCO_EINVAL, "maximum_version is 4");
    options.minimum_version = PCO_TLS_1_3;
    options.maximum_version = PCO_TLS_1_2;
    assert_refused(&options, PCO_EINVAL, "minimum_version is above maximum_version");
    options = good();
    options.ciphers = "NONSENSE";
    assert_refused(&options, PCO_EINVAL, "ciphers 'NONSENSE': ");
    options = good();
    options.ciphersuites = "NONSENSE";
    assert_refused(&options, PCO_EINVAL, "ciphersuites 'NONSENSE': ");
    options.ciphersuites = "";
    assert_refused(&options, PCO_EINVAL, "ciphersuites '': none that OpenSSL knows");
    options.ciphersuites = ":";
    assert_refused(&options, PCO_EINVAL, "ciphersuites ':': ");
    options = good();
    options.session_resumption = 3;
    assert_refused(&options, PCO_EINVAL, "session_resumption is 3");
    options = good();
    options.alpn_required = 3;
    assert_refused(&options, PCO_EINVAL, "alpn_required is 3");
}

static void application_protocols_are_checked(void **state)
{
    static char long_name[257];
    const char *empty[] = {"h2", ""};
    const char *missing[] = {NULL};
    const char *too_long[] = {long_name};
    const char *many[256];
    pco_ssl_context_options options = good();
    (void)state;
    memset(long_name, 'x', 256);
    options.alpn_protocols_count = 1;
    assert_refused(&options, PCO_EINVAL, "alpn_protocols is NULL");
    options.alpn_protocols = empty;
    options.alpn_protocols_count = 2;
    assert_refused(&options, PCO_EINVAL, "alpn_protocols[1] has not 1 to 255 bytes");
    options.alpn_protocols = missing;
    options.alpn_protocols_count = 1;
    assert_refused(&options, PCO_EINVAL, "alpn_protocols[0] has not 1 to 255 bytes");
    options.alpn_protocols = too_long;
    assert_refused(&options, PCO_EINVAL, "alpn_protocols[0] has not 1 to 255 bytes");
    for (size_t i = 0; i < 256; i++) {
        many[i] = long_name + 1;
    }
    options.alpn_protocols = many;
    options.alpn_protocols_count = 256;
    assert_refused(&options, PCO_EINVAL, "alpn_protocols are too many");
    options = good();
    options.alpn_required = PCO_ON;
    assert_refused(&options, PCO_EINVAL, "alpn_required is on");
}

/* ---- Contexts that exist ---- */

static void a_ready_ssl_ctx_gains_a_reference_and_takes_names(void **state)
{
    pco_ssl_context *context = NULL;
    pco_ssl_context *other = make_good();
    pco_error error;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    (void)state;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(NULL, &context, &error), PCO_EINVAL);
    assert_string_equal(error.message, "ssl_ctx is NULL");
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, &error), 0);
    SSL_CTX_free(ctx);
    assert_int_equal(SSL_CTX_get_session_cache_mode(ctx), SSL_SESS_CACHE_SERVER);
    assert_int_equal(pco_ssl_context_add_server_name(context, "a.example", other, &error), 0);
    assert_int_equal(pco_ssl_context_add_server_name(other, "a.example", context, &error), 0);
    pco_ssl_context_release(context);
    pco_ssl_context_release(other);
}

static void a_ready_ssl_ctx_is_replaced_by_one_for_the_same_ends_alone(void **state)
{
    const SSL_METHOD *const methods[] = {TLS_server_method(), TLS_client_method(), TLS_method()};
    const char *const ends[] = {"servers", "clients", "servers"};
    pco_ssl_context *made = make_good();
    pco_error error;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            SSL_CTX *before = SSL_CTX_new(methods[i]);
            SSL_CTX *after = SSL_CTX_new(methods[j]);
            pco_ssl_context *context;
            assert_int_equal(pco_ssl_context_from_ssl_ctx(before, &context, NULL), 0);
            int code = pco_ssl_context_reload_from_ssl_ctx(context, after, &error);
            if (i == j || j == 2) {
                assert_int_equal(code, 0);
            } else {
                assert_int_equal(code, PCO_EINVAL);
                assert_non_null(strstr(error.message, i == 2 && j == 0 ? "clients" : ends[i]));
            }
            pco__ssl_setup *now = pco__ssl_context_take(context);
            assert_ptr_equal(now->ctx, code == 0 ? after : before);
            pco__ssl_setup_give(now);
            assert_int_equal(pco_ssl_context_reload_from_ssl_ctx(context, NULL, &error),
                             PCO_EINVAL);
            assert_string_equal(error.message, "ssl_ctx is NULL");
            SSL_CTX_free(before);
            SSL_CTX_free(after);
            pco_ssl_context_release(context);
        }
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(pco_ssl_context_reload_from_ssl_ctx(made, ctx, &error), PCO_EINVAL);
    assert_string_equal(error.message, "the context is not one of a ready SSL_CTX");
    SSL_CTX_free(ctx);
    pco_ssl_context_release(made);
}

static void what_is_taken_outlives_reloading_and_the_context(void **state)
{
    pco_ssl_context *context = make_good();
    pco_ssl_context_options options = good();
    pco__ssl_setup *before = pco__ssl_context_take(context);
    (void)state;
    assert_int_equal(pco_ssl_context_reload(context, &options, NULL), 0);
    pco__ssl_setup *after = pco__ssl_context_take(context);
    pco_ssl_context_release(context);
    assert_non_null(SSL_CTX_get0_certificate(before->ctx));
    assert_non_null(SSL_CTX_get0_certificate(after->ctx));
    pco__ssl_setup_give(after);
    pco__ssl_setup_give(before);
}

static void reloading_fails_without_a_change_and_changes_only_what_comes_later(void **state)
{
    pco_ssl_context *context = make_good();
    pco__ssl_setup *before = pco__ssl_context_take(context);
    pco_ssl_context_options options = good();
    pco_error error;
    (void)state;
    options.key_pem = "x";
    options.key_pem_length = 1;
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), PCO_ECERT);
    pco__ssl_setup *same = pco__ssl_context_take(context);
    assert_ptr_equal(same, before);
    pco__ssl_setup_give(same);

    options = good();
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), 0);
    pco__ssl_setup *after = pco__ssl_context_take(context);
    assert_ptr_not_equal(after, before);
    assert_memory_equal(after->id, before->id, sizeof after->id); /* sessions stay */
    assert_non_null(SSL_CTX_get0_certificate(before->ctx));
    pco__ssl_setup_give(after);
    pco__ssl_setup_give(before);
    pco_ssl_context_release(context);
}

static void only_host_names_are_taken_as_server_names(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "a..b",
                                      ".a",
                                      "*",
                                      "*.",
                                      "a.*",
                                      "*a.b",
                                      "a*.b",
                                      "**.b",
                                      "a b",
                                      "a/b",
                                      "\xc3\xa4.example",
                                      "a.example..",
                                      LABEL_OF_63 "3.example"};
    static const char *const fine[] = {"a",         "A.Example",           "*.example.com",
                                       "*.com",     "a.example.",          "x-1_2.example",
                                       "127.0.0.1", LABEL_OF_63 ".example"};
    pco_ssl_context *context = make_good();
    pco_ssl_context *other = make_good();
    pco_error error;
    char long_name[256];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (pco_ssl_context_add_server_name(context, bad[i], other, &error) != PCO_EINVAL) {
            fail_msg("'%s' is taken", bad[i]);
        }
        assert_non_null(strstr(error.message, "is no host name"));
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        if (pco_ssl_context_add_server_name(context, fine[i], other, &error) != 0) {
            fail_msg("'%s' is refused: %s", fine[i], error.message);
        }
        assert_int_equal(pco_ssl_context_add_server_name(context, fine[i], other, &error), 0);
    }
    for (size_t i = 0; i < sizeof long_name; i++) {
        long_name[i] = i % 2 == 0 ? 'a' : '.';
    }
    long_name[255] = '\0';
    assert_int_equal(pco_ssl_context_add_server_name(context, long_name, other, &error),
                     PCO_EINVAL);
    long_name[253] = '\0';
    assert_int_equal(pco_ssl_context_add_server_name(context, long_name, other, &error), 0);
    assert_int_equal(pco_ssl_context_add_server_name(context, NULL, other, &error), PCO_EINVAL);
    assert_int_equal(pco_ssl_context_add_server_name(context, "a", context, &error), PCO_EINVAL);
    assert_int_equal(pco_ssl_context_add_server_name(context, "a", NULL, &error), PCO_EINVAL);
    pco_ssl_context_release(other);
    pco_ssl_context_release(context);
}

static void two_contexts_may_name_each_other(void **state)
{
    pco_ssl_context *one = make_good();
    pco_ssl_context *two = make_good();
    (void)state;
    assert_int_equal(pco_ssl_context_add_server_name(one, "two.example", two, NULL), 0);
    assert_int_equal(pco_ssl_context_add_server_name(two, "one.example", one, NULL), 0);
    assert_ptr_equal(pco_ssl_context_retain(one), one);
    pco_ssl_context_release(one);
    pco_ssl_context_release(one);
    pco_ssl_context_release(two);
    pco_ssl_context_release(NULL);
}

/* ---- Out of memory ---- */

static char *crl; /* of the test's authority */
static size_t crl_length;
static char *staple; /* of `chained` */
static size_t staple_length;

/*
 * Everything that a context may be made of; with names, a reload, and a key at a URI if `all`.
 * (OpenSSL's own store does not always outlive a lack of memory.)
 */
static int make_all(bool all, pco_error *error)
{
    static const char *const protocols[] = {"h2", "http/1.1"};
    const certificates *them = certificates_get();
    pco_ssl_context *context = NULL;
    pco_ssl_context *other = NULL;
    const certificate *ed25519 = certificates_of_kind("ED25519");
    const pco_ssl_certificate further = {.size = sizeof further,
                                         .certificate_pem = ed25519->pem,
                                         .certificate_pem_length = ed25519->pem_length,
                                         .key_uri = all ? URI_FILE_NAME : NULL,
                                         .key_file = all ? NULL : URI_FILE_NAME};
    const pco_ssl_certificate *const all_further[] = {&further};
    pco_ssl_context_options options = {.size = sizeof options,
                                       .certificate_pem = them->chained.pem,
                                       .certificate_pem_length = them->chained.pem_length,
                                       .key_file = FILE_NAME,
                                       .verify = PCO_SSL_VERIFY_REQUIRED,
                                       .ca_pem = them->ca.pem,
                                       .ca_pem_length = them->ca.pem_length,
                                       .alpn_protocols = protocols,
                                       .alpn_protocols_count = 2,
                                       .crl_pem = crl,
                                       .crl_pem_length = crl_length,
                                       .verify_depth = 3,
                                       .certificates = all_further,
                                       .certificates_count = 1,
                                       .groups = "P-256",
                                       .signature_algorithms = "ECDSA+SHA256:ed25519",
                                       .key_log_file = KEY_LOG_NAME,
                                       .psk_identity = "sensor",
                                       .psk_key = "0123456789abcdef",
                                       .psk_key_length = 16,
                                       .ocsp_response = staple,
                                       .ocsp_response_length = staple_length,
                                       .verify_flags = X509_V_FLAG_X509_STRICT};
    int code = pco_ssl_context_new(&options, &context, error);
    if (code == 0 && all) {
        code = pco_ssl_context_new(&options, &other, error);
    }
    for (size_t i = 0; i < 6 && code == 0 && all; i++) {
        char name[] = "0.example";
        name[0] = (char)('0' + i);
        code = pco_ssl_context_add_server_name(context, name, other, error);
    }
    if (code == 0 && all) {
        code = pco_ssl_context_reload(context, &options, error);
    }
    pco_ssl_context_release(context);
    pco_ssl_context_release(other);
    return code;
}

static void every_allocation_of_ours_may_fail(void **state)
{
    const certificate *chained = &certificates_get()->chained;
    size_t pieces = memory_pieces();
    int code = PCO_ENOMEM;
    size_t nth = 0;
    (void)state;
    tls_write_file(FILE_NAME, chained->key_pem, chained->key_pem_length);
    while (code != 0 && nth < 1000) {
        pco_error error = {.code = 0};
        memory_fail(++nth, false);
        code = make_all(true, &error);
        if (code != 0) {
            assert_int_equal(code, PCO_ENOMEM);
            assert_int_equal(error.code, PCO_ENOMEM);
        }
        assert_int_equal(memory_pieces(), pieces);
    }
    memory_fail(0, false);
    assert_int_equal(code, 0);
    assert_in_range(nth, 10, 999);
    remove(FILE_NAME);
}

/* OpenSSL asks for memory some 10,000 times; so many of them, evenly spread, are made to fail. */
#define OPENSSL_FAILURES 200

/*
 * OpenSSL does without some of its memory, and calls the lack of other a broken certificate; what
 * counts is that nothing breaks.
 */
static void openssl_may_run_out_of_memory_anywhere(void **state)
{
    const certificate *chained = &certificates_get()->chained;
    size_t pieces = memory_pieces();
    unsigned failures = 0;
    pco_error error;
    (void)state;
    tls_write_file(FILE_NAME, chained->key_pem, chained->key_pem_length);
    assert_int_equal(make_all(false, &error), 0);
    openssl_memory_fail(SIZE_MAX);
    assert_int_equal(make_all(false, &error), 0);
    size_t last = openssl_memory_requests();
    assert_true(last > 100);
    for (size_t nth = 1; nth <= last; nth += 1 + last / OPENSSL_FAILURES) {
        error = (pco_error){.code = 0};
        openssl_memory_fail(nth);
        int code = make_all(false, &error);
        openssl_memory_fail(0);
        if (code != 0) {
            failures++;
            assert_int_equal(error.code, code);
            assert_int_not_equal(error.message[0], '\0');
        }
        assert_int_equal(memory_pieces(), pieces);
    }
    assert_int_not_equal(failures, 0);
    remove(FILE_NAME);
}

static int set_up(void **state)
{
    (void)state;
    const certificates *them = certificates_get();
    const certificate *ed25519 = certificates_of_kind("ED25519");
    crl = certificates_revoke(&them->ca, NULL, &crl_length);
    staple = certificates_ocsp(&them->intermediate, &them->chained, &staple_length);
    tls_write_file(URI_FILE_NAME, ed25519->key_pem, ed25519->key_pem_length);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(crl);
    free(staple);
    remove(URI_FILE_NAME);
    remove(KEY_LOG_NAME);
    certificates_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_is_made_of_memory),
        cmocka_unit_test(a_context_is_made_of_a_file_that_holds_both_certificate_and_key),
        cmocka_unit_test(an_encrypted_key_is_opened_with_its_password),
        cmocka_unit_test(a_password_that_openssl_was_not_given_is_told_in_our_words_alone),
        cmocka_unit_test(a_password_without_a_key_is_refused),
        cmocka_unit_test(a_shorter_struct_of_an_older_program_is_understood),
        cmocka_unit_test(a_chain_is_sent_as_it_is_given),
        cmocka_unit_test(by_default_there_is_forward_secrecy_and_authenticated_encryption_alone),
        cmocka_unit_test(the_defaults_do_not_depend_on_how_openssl_is_configured),
        cmocka_unit_test(lists_of_the_users_are_taken_and_their_level_wins),
        cmocka_unit_test(nothing_is_set_in_a_ready_ssl_ctx),
        cmocka_unit_test(missing_options_are_refused),
        cmocka_unit_test(doubled_and_half_given_material_is_refused),
        cmocka_unit_test(unreadable_files_are_told_by_name),
        cmocka_unit_test(garbled_certificates_are_refused),
        cmocka_unit_test(an_encrypted_certificate_asks_nobody_for_a_password),
        cmocka_unit_test(garbled_and_mismatching_keys_are_refused),
        cmocka_unit_test(a_key_of_another_kind_does_not_match),
        cmocka_unit_test(verification_without_an_authority_is_refused_and_so_is_the_reverse),
        cmocka_unit_test(versions_ciphers_and_switches_are_checked),
        cmocka_unit_test(application_protocols_are_checked),
        cmocka_unit_test(a_ready_ssl_ctx_gains_a_reference_and_takes_names),
        cmocka_unit_test(a_ready_ssl_ctx_is_replaced_by_one_for_the_same_ends_alone),
        cmocka_unit_test(what_is_taken_outlives_reloading_and_the_context),
        cmocka_unit_test(reloading_fails_without_a_change_and_changes_only_what_comes_later),
        cmocka_unit_test(only_host_names_are_taken_as_server_names),
        cmocka_unit_test(two_contexts_may_name_each_other),
        cmocka_unit_test(every_allocation_of_ours_may_fail),
        cmocka_unit_test(openssl_may_run_out_of_memory_anywhere),
    };
    if (!openssl_memory_watch()) {
        return 1;
    }
    memory_watch();
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    return memory_unwatch() != 0 ? 1 : failed;
}
