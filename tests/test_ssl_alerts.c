/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_alerts.c: alerts such as OpenSSL itself would never send. Goal: each is one end of the
 * connection, never two.
 * Method: the peer is OpenSSL, but its last record is sealed here, by the keys that it has agreed
 * on with the library's end: RFC 5288 for TLS 1.2, RFC 8446 (5.2, 7.3) for TLS 1.3.
 */
#include "ssl_world.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/sslerr.h>

#define WARNING 1
#define FATAL 2
#define CLOSE_NOTIFY 0

#define KEY_SIZE 16
#define NONCE_SIZE 12
#define TAG_SIZE 16
#define HEADER_SIZE 5
#define RANDOM_SIZE 32

static pco_loop *loop;
static tls_end server;
static tls_peer peer;

/* TLS 1.3: the client's traffic secret. */
static unsigned char secret[32];

static int begin(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation = server.protocol.violation;
    tls_end_free(&server);
    tls_peer_free(&peer);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* ---- Sealing ---- */

/* OpenSSL tells each secret: its name, the client's random, and the secret, in hexadecimal. */
static void take_secret(const SSL *ssl, const char *line)
{
    static const char name[] = "CLIENT_TRAFFIC_SECRET_0 ";
    (void)ssl;
    if (strncmp(line, name, sizeof name - 1) != 0) {
        return;
    }
    const char *hexadecimal = strrchr(line, ' ') + 1;
    for (size_t i = 0; i < sizeof secret; i++) {
        unsigned byte = 0;
        sscanf(hexadecimal + 2 * i, "%2x", &byte);
        secret[i] = (unsigned char)byte;
    }
}

static void derive(const char *kdf_name, OSSL_PARAM *parameters, unsigned char *out, size_t length)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, kdf_name, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    assert_int_equal(EVP_KDF_derive(ctx, out, length, parameters), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static OSSL_PARAM text(const char *key, const char *value)
{
    return OSSL_PARAM_construct_utf8_string(key, (char *)value, 0);
}

static OSSL_PARAM octets(const char *key, const void *value, size_t length)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)value, length);
}

/* The client's key and the four fixed bytes of its nonces. */
static void keys_of_1_2(unsigned char *key, unsigned char *nonce)
{
    unsigned char master[48];
    unsigned char seed[2 * RANDOM_SIZE];
    unsigned char block[2 * KEY_SIZE + 4];
    size_t length = SSL_SESSION_get_master_key(SSL_get_session(peer.ssl), master, sizeof master);
    SSL_get_server_random(peer.ssl, seed, RANDOM_SIZE);
    SSL_get_client_random(peer.ssl, seed + RANDOM_SIZE, RANDOM_SIZE);
    OSSL_PARAM parameters[] = {
        text(OSSL_KDF_PARAM_DIGEST, "SHA256"), octets(OSSL_KDF_PARAM_SECRET, master, length),
        octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
        octets(OSSL_KDF_PARAM_SEED, seed, sizeof seed), OSSL_PARAM_construct_end()};
    derive("TLS1-PRF", parameters, block, sizeof block);
    memcpy(key, block, KEY_SIZE);
    memcpy(nonce, block + (size_t)2 * KEY_SIZE, 4);
}

static void expand(const char *label, unsigned char *out, size_t length)
{
    OSSL_PARAM parameters[] = {text(OSSL_KDF_PARAM_DIGEST, "SHA256"),
                               text(OSSL_KDF_PARAM_MODE, "EXPAND_ONLY"),
                               octets(OSSL_KDF_PARAM_KEY, secret, sizeof secret),
                               octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
                               octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
                               OSSL_PARAM_construct_end()};
    derive("TLS13-KDF", parameters, out, length);
}

/* Appends the sealed text and its tag to *record, by AES-128-GCM. */
static unsigned char *seal(unsigned char *record, const unsigned char *key,
                           const unsigned char *nonce, const void *known, int known_length,
                           const void *plain, int length)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int done;
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &done, known, known_length), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, record, &done, plain, length), 1);
    assert_int_equal(EVP_EncryptFinal_ex(ctx, record + done, &done), 1);
    record += length;
    assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, record), 1);
    EVP_CIPHER_CTX_free(ctx);
    return record + TAG_SIZE;
}

/* The record's number is 1: the client's Finished was 0. */
static void send_alert_1_2(int level)
{
    const unsigned char alert[] = {(unsigned char)level, CLOSE_NOTIFY};
    const unsigned char known[] = {0, 0, 0, 0, 0, 0, 0, 1, 21, 3, 3, 0, sizeof alert};
    unsigned char record[64] = {21, 3, 3, 0, 8 + sizeof alert + TAG_SIZE};
    unsigned char key[KEY_SIZE];
    unsigned char nonce[NONCE_SIZE] = {0};
    keys_of_1_2(key, nonce);
    unsigned char *tail = record + HEADER_SIZE + 8; /* behind the rest of the nonce: zeros */
    tail = seal(tail, key, nonce, known, sizeof known, alert, sizeof alert);
    fake_feed(server.socket, record, (size_t)(tail - record));
}

/* The number is 0: the first with these keys. */
static void send_alert_1_3(int level)
{
    const unsigned char inner[] = {(unsigned char)level, CLOSE_NOTIFY, 21};
    unsigned char record[64] = {23, 3, 3, 0, sizeof inner + TAG_SIZE};
    unsigned char key[KEY_SIZE];
    unsigned char nonce[NONCE_SIZE];
    expand("key", key, sizeof key);
    expand("iv", nonce, sizeof nonce);
    unsigned char *tail =
        seal(record + HEADER_SIZE, key, nonce, record, HEADER_SIZE, inner, sizeof inner);
    fake_feed(server.socket, record, (size_t)(tail - record));
}

/* A close_notify of that level comes, and then the end of the stream. */
static void end_with(int version, int level)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    options.ciphersuites = "TLS_AES_128_GCM_SHA256";
    pco_ssl_context *context = tls_context(&options);
    SSL_CTX *ctx = tls_peer_ctx(version);
    SSL_CTX_set_keylog_callback(ctx, take_secret);
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_true(peer.established);
    if (version == TLS1_2_VERSION) {
        send_alert_1_2(level);
    } else {
        send_alert_1_3(level);
    }
    run_turns(loop, 3);
    fake_feed_eof(server.socket);
    run_turns(loop, 3);
}

/* ---- The tests ---- */

static void a_close_notify_is_a_clean_end(void **state)
{
    (void)state;
    end_with(TLS1_2_VERSION, WARNING);
    assert_string_equal(server.protocol.log, "made end lost");
}

static void a_fatal_close_notify_of_tls_1_2_is_a_failure_and_no_clean_end(void **state)
{
    (void)state;
    end_with(TLS1_2_VERSION, FATAL);
    assert_string_equal(server.protocol.log, "made lost:PCO_ETLS");
    assert_string_equal(server.protocol.error.message, "TLS: close notify");
}

static void the_level_of_a_close_notify_of_tls_1_3_means_nothing(void **state)
{
    (void)state;
    end_with(TLS1_3_VERSION, FATAL);
    assert_string_equal(server.protocol.log, "made end lost");
    tls_move_to_peer(&peer, &server);
    tls_peer_work(&peer);
    assert_true(peer.ended);
}

/* ---- In the handshake ---- */

static const unsigned char goodbye[] = {21, 3, 3, 0, 2, WARNING, CLOSE_NOTIFY};

static void assert_gone(const tls_end *one)
{
    assert_int_equal(one->done, 1);
    assert_int_equal(one->handshake_error.code, PCO_ECONNRESET);
    assert_string_equal(one->handshake_error.message,
                        "TLS handshake: the peer closed the connection");
}

static void a_client_may_say_goodbye_in_the_handshake(void **state)
{
    pco_ssl_context *context = tls_server_context();
    SSL_CTX *ctx = tls_peer_ctx(TLS1_2_VERSION); /* 1.3 would have to seal it */
    (void)state;
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, NULL);
    SSL_CTX_free(ctx);
    tls_peer_work(&peer);
    tls_move_to_end(&peer, &server);
    run_turns(loop, 3);
    assert_int_equal(server.done, 0);
    fake_feed(server.socket, goodbye, sizeof goodbye);
    run_turns(loop, 3);
    assert_gone(&server);
}

static void a_server_may_say_goodbye_in_the_handshake(void **state)
{
    tls_end client;
    pco_ssl_context *context = tls_client_context();
    (void)state;
    tls_end_init(&client, false);
    tls_end_start_client(&client, loop, context, "localhost");
    pco_ssl_context_release(context);
    fake_feed(client.socket, goodbye, sizeof goodbye);
    run_turns(loop, 3);
    assert_gone(&client);
    pco_loop_free(loop);
    loop = NULL;
    tls_end_free(&client);
    memset(&peer, 0, sizeof peer);
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
        TEST(a_close_notify_is_a_clean_end),
        TEST(a_fatal_close_notify_of_tls_1_2_is_a_failure_and_no_clean_end),
        TEST(the_level_of_a_close_notify_of_tls_1_3_means_nothing),
        TEST(a_client_may_say_goodbye_in_the_handshake),
        TEST(a_server_may_say_goodbye_in_the_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, end_all);
}
