/* SPDX-License-Identifier: MIT */
/*
 * terms.c: whether sessions outlive a reload.
 *
 * A session remembers that its peer was checked, and what was agreed on, and is not asked again. So
 * it may be resumed under another setup only if that one demands the same. What is shown may be
 * another: a renewed certificate is what contexts are reloaded for.
 *
 * What an option means for this is said in the table. One that is not in it, and is given, keeps no
 * session: folders and callbacks may say something else by the next time.
 */
#include "tls/contexts.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

typedef enum meaning {
    SHOWN, /* does not matter */
    READ,  /* its content is in the SSL_CTX */
    VALUE,
    TEXT
} meaning;

static const struct {
    size_t offset;
    meaning meaning;
} table[] = {
#define FIELD(name, meaning)                                                                       \
    {                                                                                              \
        offsetof(pco_ssl_context_options, name), meaning                                           \
    }
    FIELD(certificate_file, SHOWN),
    FIELD(certificate_pem, SHOWN),
    FIELD(certificate_pem_length, SHOWN),
    FIELD(certificate_uri, SHOWN),
    FIELD(key_file, SHOWN),
    FIELD(key_pem, SHOWN),
    FIELD(key_pem_length, SHOWN),
    FIELD(key_uri, SHOWN),
    FIELD(key_password, SHOWN),
    FIELD(certificates, SHOWN),
    FIELD(certificates_count, SHOWN),
    FIELD(ocsp_file, SHOWN),
    FIELD(ocsp_response, SHOWN),
    FIELD(ocsp_response_length, SHOWN),
    FIELD(alpn_protocols, SHOWN),
    FIELD(alpn_protocols_count, SHOWN),
    FIELD(alpn_required, SHOWN),
    FIELD(choose_alpn, SHOWN),
    FIELD(choose_certificate, SHOWN),
    FIELD(callback_context, SHOWN),
    FIELD(verdict_timeout, SHOWN),
    FIELD(key_log_file, SHOWN),
    FIELD(key_log_environment, SHOWN),
    FIELD(ca_file, READ),
    FIELD(ca_pem, READ),
    FIELD(ca_pem_length, READ),
    FIELD(crl_file, READ),
    FIELD(crl_pem, READ),
    FIELD(crl_pem_length, READ),
    FIELD(verify, VALUE),
    FIELD(dangerously_accept_any_certificate, VALUE),
    FIELD(trust, VALUE),
    FIELD(verify_depth, VALUE),
    FIELD(verify_flags, VALUE),
    FIELD(minimum_version, VALUE),
    FIELD(maximum_version, VALUE),
    FIELD(session_resumption, VALUE),
    FIELD(ciphers, TEXT),
    FIELD(ciphersuites, TEXT),
    FIELD(groups, TEXT),
    FIELD(signature_algorithms, TEXT),
#undef FIELD
};

static bool is_given(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return true;
        }
    }
    return false;
}

/* NULL: it is not in the table. */
static const meaning *find(size_t offset)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].offset == offset) {
            return &table[i].meaning;
        }
    }
    return NULL;
}

static bool add_text(EVP_MD_CTX *digest, const char *text)
{
    unsigned char given = text != NULL;
    return EVP_DigestUpdate(digest, &given, 1) == 1 &&
           (text == NULL || EVP_DigestUpdate(digest, text, strlen(text) + 1) == 1);
}

/* Adds what the options say. *known: whether that is all that counts. */
static bool add_options(EVP_MD_CTX *digest, const pco__layout *layout,
                        const pco_ssl_context_options *options, bool *known)
{
    bool added = true;
    for (size_t i = 0; i < layout->fields_count && added; i++) {
        const pco__field *field = &layout->fields[i];
        const unsigned char *bytes = (const unsigned char *)options + field->offset;
        const meaning *what = find(field->offset);
        if (what == NULL) {
            *known = *known && !is_given(bytes, field->size);
        } else if (*what == VALUE) {
            added = EVP_DigestUpdate(digest, bytes, field->size) == 1;
        } else if (*what == TEXT) {
            const char *text;
            memcpy(&text, bytes, sizeof text);
            added = add_text(digest, text);
        }
    }
    return added;
}

static bool add_object(EVP_MD_CTX *digest, const X509_OBJECT *object)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    X509 *certificate = X509_OBJECT_get0_X509(object);
    X509_CRL *list = X509_OBJECT_get0_X509_CRL((X509_OBJECT *)(uintptr_t)object);
    int done = certificate != NULL ? X509_digest(certificate, EVP_sha256(), hash, &length)
                                   : X509_CRL_digest(list, EVP_sha256(), hash, &length);
    return done == 1 && EVP_DigestUpdate(digest, hash, length) == 1;
}

/* Adds who is believed, and who is not any more. */
static bool add_store(EVP_MD_CTX *digest, X509_STORE *store)
{
    const STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        if (!add_object(digest, sk_X509_OBJECT_value(objects, i))) {
            return false;
        }
    }
    return true;
}

/* A client's session is that of who it was for the server: see pco_ssl_context_reload. */
static bool has_identity(const pco__ssl_setup *setup, bool client)
{
    return client && SSL_CTX_get0_certificate(setup->ctx) != NULL;
}

/* Whether the system says who is believed: in files that were read, or when it is asked. */
static bool believes_system(const pco_ssl_context_options *options, bool client)
{
    bool given = options->ca_file != NULL || options->ca_pem != NULL;
    return options->trust == PCO_SSL_TRUST_SYSTEM ||
           (client && options->trust == PCO_SSL_TRUST_DEFAULT && !given);
}

int pco__ssl_set_terms(pco__ssl_setup *setup, const pco__layout *layout,
                       const pco_ssl_context_options *options, bool client, pco_error *error)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    setup->terms_known = !believes_system(options, client) && !has_identity(setup, client);
    bool done = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                add_options(digest, layout, options, &setup->terms_known) &&
                add_store(digest, SSL_CTX_get_cert_store(setup->ctx)) &&
                EVP_DigestFinal_ex(digest, setup->terms, NULL) == 1;
    EVP_MD_CTX_free(digest);
    return done ? 0 : pco__ssl_error(error, PCO_ETLS, "sessions");
}

int pco__ssl_keep_sessions(pco__ssl_setup *setup, const pco__ssl_setup *before, pco_error *error)
{
    if (!setup->terms_known || !before->terms_known ||
        memcmp(setup->terms, before->terms, sizeof setup->terms) != 0) {
        return 0;
    }
    memcpy(setup->id, before->id, sizeof setup->id);
    if (SSL_CTX_set_session_id_context(setup->ctx, setup->id, sizeof setup->id) != 1) {
        return pco__ssl_error(error, PCO_ETLS, "sessions");
    }
    pco__ssl_tickets_free(setup->tickets);
    setup->tickets = pco__ssl_tickets_retain(before->tickets);
    return 0;
}
