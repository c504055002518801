/* SPDX-License-Identifier: MIT */
/*
 * psk.c: keys that both ends have beforehand (RFC 4279; RFC 8446, 2.2), instead of certificates.
 *
 * In TLS 1.3 the key goes with the suites of SHA-256. A server's OpenSSL asks in one way for both
 * versions, a client's not.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "support/memory.h"
#include "tls/bio.h"

/* What OpenSSL has room for, and what is a key (128 bits) and no password. */
#define IDENTITY_MOST 255
#define KEY_LEAST 16
#define KEY_MOST 256

struct pco__ssl_psk {
    size_t length;
    unsigned char key[KEY_MOST];
    char identity[]; /* with a zero at its end */
};

/* OpenSSL calls it at a server. Returns the key's length, 0: it knows nobody by that name. */
static unsigned int find_key(SSL *engine, const char *identity, unsigned char *key,
                             unsigned int size)
{
    const pco__ssl_setup *setup = pco__ssl_call_of(engine)->setup;
    size_t length = 0;
    if (setup == NULL || identity == NULL) {
        return 0;
    }
    if (setup->find_psk != NULL) {
        int code = setup->find_psk(identity, key, size, &length, setup->callback_context);
        return code == 0 && length >= KEY_LEAST && length <= size ? (unsigned int)length : 0;
    }
    if (strcmp(identity, setup->psk->identity) != 0 || setup->psk->length > size) {
        return 0;
    }
    memcpy(key, setup->psk->key, setup->psk->length);
    return (unsigned int)setup->psk->length;
}

/* OpenSSL calls it at a client that speaks TLS 1.2. */
static unsigned int show_key(SSL *engine, const char *hint, char *identity,
                             unsigned int identity_size, unsigned char *key, unsigned int size)
{
    const pco__ssl_setup *setup = pco__ssl_call_of(engine)->setup;
    (void)hint;
    if (setup == NULL || setup->psk->length > size ||
        strlen(setup->psk->identity) >= identity_size) {
        return 0;
    }
    memcpy(identity, setup->psk->identity, strlen(setup->psk->identity) + 1);
    memcpy(key, setup->psk->key, setup->psk->length);
    return (unsigned int)setup->psk->length;
}

/*
 * The key as TLS 1.3 has it: a session, of the suite that is good for any of SHA-256, and of the
 * context that the connection's own sessions have.
 */
static SSL_SESSION *new_session(SSL *engine, const pco__ssl_psk *psk)
{
    static const unsigned char suite[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */
    const SSL_CIPHER *cipher = SSL_CIPHER_find(engine, suite);
    unsigned int id_length;
    const unsigned char *id = SSL_SESSION_get0_id_context(SSL_get_session(engine), &id_length);
    SSL_SESSION *made = SSL_SESSION_new();
    if (made == NULL || cipher == NULL || SSL_SESSION_set_cipher(made, cipher) != 1 ||
        SSL_SESSION_set1_master_key(made, psk->key, psk->length) != 1 ||
        SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION) != 1 ||
        SSL_SESSION_set1_id_context(made, id, id_length) != 1) {
        SSL_SESSION_free(made);
        return NULL;
    }
    return made;
}

/*
 * OpenSSL calls it at a client that speaks TLS 1.3. What it makes itself of the other callback's
 * answer lacks the context of our sessions, and is refused when the server has taken it.
 */
static int show_session(SSL *engine, const EVP_MD *digest, const unsigned char **identity,
                        size_t *length, SSL_SESSION **session)
{
    const pco__ssl_setup *setup = pco__ssl_call_of(engine)->setup;
    *session = NULL;
    if (setup == NULL || (digest != NULL && EVP_MD_get_type(digest) != NID_sha256)) {
        return 1;
    }
    *session = new_session(engine, setup->psk);
    *identity = (const unsigned char *)setup->psk->identity;
    *length = strlen(setup->psk->identity);
    return *session != NULL;
}

static int check_psk(const pco_ssl_context_options *options, bool client, pco_error *error)
{
    const char *identity = options->psk_identity;
    size_t length = options->psk_key_length;
    bool has_key = options->psk_key != NULL;
    if (options->find_psk != NULL && client) {
        return pco__error_set(error, PCO_EINVAL, 0, "find_psk is for servers");
    }
    if (options->find_psk != NULL && identity != NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "find_psk and psk_identity are both given");
    }
    if ((identity != NULL) != has_key || has_key != (length != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "psk_identity, psk_key and psk_key_length must be given together");
    }
    if (identity != NULL && (identity[0] == '\0' || strlen(identity) > IDENTITY_MOST)) {
        return pco__error_set(error, PCO_EINVAL, 0, "psk_identity has not 1 to %d bytes",
                              IDENTITY_MOST);
    }
    if (has_key && (length < KEY_LEAST || length > KEY_MOST)) {
        return pco__error_set(error, PCO_EINVAL, 0, "psk_key has %zu bytes, not %d to %d", length,
                              KEY_LEAST, KEY_MOST);
    }
    return 0;
}

static int keep_psk(pco__ssl_setup *setup, const pco_ssl_context_options *options, pco_error *error)
{
    size_t length = strlen(options->psk_identity);
    pco__ssl_psk *made = pco__malloc(sizeof *made + length + 1);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "psk_key");
    }
    made->length = options->psk_key_length;
    memcpy(made->key, options->psk_key, made->length);
    memcpy(made->identity, options->psk_identity, length + 1);
    setup->psk = made;
    return 0;
}

int pco__ssl_set_psk(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                     pco_error *error)
{
    int code = check_psk(options, client, error);
    if (code == 0 && options->psk_identity != NULL) {
        code = keep_psk(setup, options, error);
    }
    if (code != 0 || !pco__ssl_has_psk(options)) {
        return code;
    }
    setup->find_psk = options->find_psk;
    if (client) {
        SSL_CTX_set_psk_client_callback(setup->ctx, show_key);
        SSL_CTX_set_psk_use_session_callback(setup->ctx, show_session);
    } else {
        SSL_CTX_set_psk_server_callback(setup->ctx, find_key);
    }
    return 0;
}

bool pco__ssl_has_psk(const pco_ssl_context_options *options)
{
    return options->psk_identity != NULL || options->find_psk != NULL;
}

void pco__ssl_psk_free(pco__ssl_psk *psk)
{
    if (psk != NULL) {
        OPENSSL_cleanse(psk->key, sizeof psk->key);
        pco__free(psk);
    }
}
