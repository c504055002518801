/* SPDX-License-Identifier: MIT */
/*
 * tls.c: OpenSSL's random numbers, certificates, and contexts. The peers are in tls_peer.c.
 *
 * A seed must repeat exactly, and lengths of records take part in that. So OpenSSL's random numbers
 * come from the seed, and the certificate has a key whose signatures are all of one length, and
 * dates that do not move.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "tls_parts.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

const bool swarm_has_tls = true;

const char *const common_names[CERTIFICATES] = {"own", "other"};

SSL_CTX *client_contexts[2];
SSL_CTX *server_contexts[2];

/* Of the library's clients: the same two, and two that verify. */
static SSL_CTX *own_clients[4];

/* As PEM. */
typedef struct identity {
    char *certificate;
    size_t certificate_length;
    char *key;
    size_t key_length;
} identity;

static identity identities[CERTIFICATES];

/* ---- Random numbers ---- */

static uint64_t random_state;

static int random_bytes(unsigned char *to, int count)
{
    for (int i = 0; i < count; i++) {
        to[i] = (unsigned char)chance(&random_state, 256);
    }
    return 1;
}

static int random_status(void)
{
    return 1;
}

static const RAND_METHOD random_method = {
    .bytes = random_bytes, .pseudorand = random_bytes, .status = random_status};

/* ---- Once per process ---- */

void need(bool good)
{
    if (!good) {
        fputs("swarm: OpenSSL cannot be had\n", stderr);
        abort();
    }
}

static char *take_text(BIO *bio, size_t *length)
{
    char *data;
    *length = (size_t)BIO_get_mem_data(bio, &data);
    char *copy = malloc(*length);
    memcpy(copy, data, *length);
    BIO_free(bio);
    return copy;
}

/* Common names are for people: this is what is verified. */
static void add_name(X509 *to, const char *name)
{
    char value[80];
    snprintf(value, sizeof value, "DNS:%s, DNS:*.%s.example", name, name);
    X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    need(made != NULL && X509_add_ext(to, made, -1) == 1);
    X509_EXTENSION_free(made);
}

static void make_identity(identity *of, const char *common_name)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *made = X509_new();
    BIO *text = BIO_new(BIO_s_mem());
    need(key != NULL && made != NULL && text != NULL);
    X509_NAME *name = X509_get_subject_name(made);
    need(X509_set_version(made, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(made), 1) == 1 &&
         ASN1_TIME_set_string(X509_getm_notBefore(made), "20200101000000Z") == 1 &&
         ASN1_TIME_set_string(X509_getm_notAfter(made), "20991231235959Z") == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name,
                                    -1, -1, 0) == 1 &&
         X509_set_issuer_name(made, name) == 1 && X509_set_pubkey(made, key) == 1);
    add_name(made, common_name);
    need(X509_sign(made, key, NULL) > 0 && PEM_write_bio_X509(text, made) == 1);
    of->certificate = take_text(text, &of->certificate_length);
    text = BIO_new(BIO_s_mem());
    need(PEM_write_bio_PrivateKey(text, key, NULL, NULL, 0, NULL, NULL) == 1);
    of->key = take_text(text, &of->key_length);
    X509_free(made);
    EVP_PKEY_free(key);
}

static SSL_CTX *new_ssl_ctx(const SSL_METHOD *method, bool old)
{
    SSL_CTX *made = SSL_CTX_new(method);
    need(made != NULL && SSL_CTX_set_max_proto_version(made, old ? TLS1_2_VERSION : 0) == 1);
    return made;
}

/* Shows a certificate, and trusts it. */
static void use_identity(SSL_CTX *to, const identity *own, bool shows)
{
    BIO *certificate_text = BIO_new_mem_buf(own->certificate, (int)own->certificate_length);
    BIO *key_text = BIO_new_mem_buf(own->key, (int)own->key_length);
    X509 *certificate = PEM_read_bio_X509(certificate_text, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);
    need(certificate != NULL && key != NULL);
    if (shows) {
        need(SSL_CTX_use_certificate(to, certificate) == 1 && SSL_CTX_use_PrivateKey(to, key) == 1);
    } else {
        need(X509_STORE_add_cert(SSL_CTX_get_cert_store(to), certificate) == 1);
        SSL_CTX_set_verify(to, SSL_VERIFY_PEER, NULL);
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(key_text);
    BIO_free(certificate_text);
}

void tls_begin(void)
{
    need(RAND_set_rand_method(&random_method) == 1);
    random_state = 1;
    for (int i = 0; i < CERTIFICATES; i++) {
        make_identity(&identities[i], common_names[i]);
    }
    for (int i = 0; i < 2; i++) {
        client_contexts[i] = new_ssl_ctx(TLS_client_method(), i == 1);
        server_contexts[i] = new_ssl_ctx(TLS_server_method(), i == 1);
        SSL_CTX_set_session_cache_mode(server_contexts[i], SSL_SESS_CACHE_OFF);
        use_identity(server_contexts[i], &identities[OWN], true);
        own_clients[i] = new_ssl_ctx(TLS_client_method(), i == 1);
        own_clients[2 + i] = new_ssl_ctx(TLS_client_method(), i == 1);
        use_identity(own_clients[2 + i], &identities[OWN], false);
    }
}

void tls_end(void)
{
    for (int i = 0; i < 2; i++) {
        SSL_CTX_free(client_contexts[i]);
        SSL_CTX_free(server_contexts[i]);
        SSL_CTX_free(own_clients[i]);
        SSL_CTX_free(own_clients[2 + i]);
    }
    for (int i = 0; i < CERTIFICATES; i++) {
        free(identities[i].certificate);
        free(identities[i].key);
    }
}

/* ---- In every program ---- */

void tls_world_begin(world *at)
{
    random_state = at->seed * 2 + 1;
    ERR_clear_error();
}

void tls_world_end(world *at)
{
    pco_ssl_context_release(at->context);
    pco_ssl_context_release(at->other);
    for (int i = 0; i < 4; i++) {
        pco_ssl_context_release(at->clients[i]);
    }
    for (int i = 0; i < 2; i++) {
        pco_ssl_context_release(at->judged[i]);
        pco_ssl_context_release(at->choosers[i]);
        pco_ssl_context_release(at->shown[i]);
    }
}

void show_certificate(pco_ssl_context_options *options, int certificate)
{
    const identity *own = &identities[certificate];
    options->certificate_pem = own->certificate;
    options->certificate_pem_length = own->certificate_length;
    options->key_pem = own->key;
    options->key_pem_length = own->key_length;
}

pco_ssl_context_options tls_options_of(world *at, int certificate)
{
    pco_ssl_context_options options = {.size = sizeof options};
    show_certificate(&options, certificate);
    if (certificate == OWN) {
        choose_choices(at, &options);
    }
    return options;
}

pco_ssl_context_options tls_client_options(void)
{
    const identity *own = &identities[OWN];
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .ca_pem = own->certificate,
                                     .ca_pem_length = own->certificate_length};
}

pco_ssl_context *tls_new_context(world *at, int certificate)
{
    pco_ssl_context_options options = tls_options_of(at, certificate);
    pco_ssl_context *made = NULL;
    int code = pco_ssl_context_new(&options, &made, NULL);
    if (code != 0 && !memory_was_short(at)) {
        broken(at, "ssl_context_new returned %s", pco_error_name(code));
    }
    return made;
}

pco_ssl_context *tls_context_of(world *at)
{
    if (at->context == NULL) {
        at->context = tls_new_context(at, OWN);
    }
    return at->context;
}

pco_ssl_context *tls_client_context_of(world *at, bool verifies, bool old)
{
    int which = 2 * verifies + old;
    if (at->clients[which] == NULL) {
        int code = pco_ssl_context_from_ssl_ctx(own_clients[which], &at->clients[which], NULL);
        if (code != 0 && !memory_was_short(at)) {
            broken(at, "ssl_context_from_ssl_ctx returned %s", pco_error_name(code));
        }
    }
    return at->clients[which];
}
