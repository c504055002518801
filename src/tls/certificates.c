/* SPDX-License-Identifier: MIT */
/* certificates.c: the certificates that a context shows, and their keys. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "support/options.h"
#include "tls/contexts.h"
#include "tls/material.h"

/* The options' own, or an element of `certificates`, whose names begin with this. */
#define PREFIX_SIZE 48

typedef struct taking {
    SSL_CTX *ctx;
    bool is_doubled;
} taking;

/* Whether there is a certificate with a key of the same kind, in whose place it would come. */
static bool has_kind(SSL_CTX *ctx, const X509 *certificate)
{
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    const char *kind = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
    bool has = false;
    long which = SSL_CERT_SET_FIRST;
    while (kind != NULL && !has && SSL_CTX_set_current_cert(ctx, which) == 1) {
        has = EVP_PKEY_is_a(X509_get0_pubkey(SSL_CTX_get0_certificate(ctx)), kind) == 1;
        which = SSL_CERT_SET_NEXT;
    }
    return has;
}

static bool take_chain(X509 *certificate, size_t index, void *context)
{
    taking *self = context;
    if (index != 0) {
        return SSL_CTX_add1_chain_cert(self->ctx, certificate) == 1;
    }
    self->is_doubled = has_kind(self->ctx, certificate);
    return !self->is_doubled && SSL_CTX_use_certificate(self->ctx, certificate) == 1;
}

static int use_chain(SSL_CTX *ctx, const pco__material *thing, pco_error *error)
{
    taking self = {.ctx = ctx};
    int code = pco__material_each_certificate(thing, take_chain, &self, error);
    if (self.is_doubled) {
        code = pco__error_set(error, PCO_EINVAL, 0,
                              "%s: there is a certificate with a key of the same kind already",
                              thing->name);
    }
    return code;
}

/*
 * No key could be read, for which OpenSSL has one word. Looks at the PEM alone: whether there is a
 * key in it, and whether it can be decoded.
 */
static int diagnose_key(const pco__material *thing, pco_error *error)
{
    ERR_clear_error();
    BIO *bio = BIO_new_mem_buf(thing->data, (int)thing->length);
    bool more = bio != NULL;
    bool found = false;
    while (more && !found) {
        char *name = NULL;
        char *header = NULL;
        unsigned char *data = NULL;
        long length = 0;
        more = PEM_read_bio(bio, &name, &header, &data, &length) == 1;
        found = more && strstr(name, "PRIVATE KEY") != NULL;
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)length);
    }
    BIO_free(bio);
    if (found) {
        return pco__error_set(error, PCO_ECERT, 0,
                              "%s: the private key is garbled, or of a kind that OpenSSL does not "
                              "support",
                              thing->name);
    }
    if (pco__is_end_of_pem()) {
        ERR_clear_error();
        return pco__error_set(error, PCO_ECERT, PEM_R_NO_START_LINE, "%s: no PEM private key found",
                              thing->name);
    }
    return pco__ssl_error(error, PCO_ECERT, "%s: the private key is garbled", thing->name);
}

static int read_key(const pco__material *thing, EVP_PKEY **key, pco_error *error)
{
    pco__password secret = {thing->password, false, false};
    if (thing->uri != NULL) {
        return pco__uri_read_key(thing, key, error);
    }
    BIO *bio = BIO_new_mem_buf(thing->data, (int)thing->length);
    if (bio == NULL) {
        return pco__ssl_error(error, PCO_ENOMEM, "%s", thing->name);
    }
    *key = PEM_read_bio_PrivateKey(bio, NULL, pco__password_give, &secret);
    BIO_free(bio);
    if (*key != NULL) {
        ERR_clear_error();
        return 0;
    }
    if (secret.asked) {
        return pco__password_refused(&secret, thing->name, error);
    }
    return diagnose_key(thing, error);
}

static int use_key(SSL_CTX *ctx, const pco__material *thing, const char *certificate,
                   pco_error *error)
{
    EVP_PKEY *key;
    int code = read_key(thing, &key, error);
    if (code != 0) {
        return code;
    }
    if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1) {
        code = pco__ssl_error(error, PCO_ECERT, "%s does not match %s", thing->name, certificate);
    } else if (SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        code = pco__ssl_error(error, PCO_ECERT, "%s is refused", thing->name);
    }
    EVP_PKEY_free(key);
    return code;
}

/* Gets both of them, of which one may be missing. */
static int get_both(const pco_ssl_certificate *given, const char *prefix,
                    pco__material *certificate, pco__material *key, pco_error *error)
{
    char kind[PREFIX_SIZE + sizeof "certificate"];
    pco__source from = {.kind = kind,
                        .memory = "pem",
                        .most = PCO__MATERIAL_OWN,
                        .file = given->certificate_file,
                        .data = given->certificate_pem,
                        .length = given->certificate_pem_length,
                        .uri = given->certificate_uri,
                        .password = given->key_password};
    snprintf(kind, sizeof kind, "%scertificate", prefix);
    int code = pco__material_get(certificate, &from, error);
    if (code != 0) {
        return code;
    }
    snprintf(kind, sizeof kind, "%skey", prefix);
    from.file = given->key_file;
    from.data = given->key_pem;
    from.length = given->key_pem_length;
    from.uri = given->key_uri;
    return pco__material_get(key, &from, error);
}

/* Loads one, with its key and its staple. */
static int load_one(pco__ssl_setup *setup, const pco_ssl_certificate *given, const char *prefix,
                    bool client, bool required, pco_error *error)
{
    char kind[PREFIX_SIZE + sizeof "ocsp"];
    pco__material certificate;
    pco__material key = {.owned = NULL};
    int code = get_both(given, prefix, &certificate, &key, error);
    bool has_certificate = pco__material_is_given(&certificate);
    bool has_key = pco__material_is_given(&key);
    if (code == 0 && (has_certificate != has_key || (required && !has_key))) {
        const char *missing = has_certificate ? "key" : "certificate";
        code = pco__error_set(error, PCO_EINVAL, 0, "%s%s_file or %s%s_pem is required", prefix,
                              missing, prefix, missing);
    }
    if (code == 0 && !has_key && given->key_password != NULL) {
        code =
            pco__error_set(error, PCO_EINVAL, 0, "%skey_password is given without a key", prefix);
    }
    if (code == 0 && has_certificate) {
        code = use_chain(setup->ctx, &certificate, error);
    }
    if (code == 0 && has_key) {
        code = use_key(setup->ctx, &key, certificate.name, error);
    }
    snprintf(kind, sizeof kind, "%socsp", prefix);
    if (code == 0 && has_certificate) {
        code = pco__ssl_load_staple(setup, given, kind, client, error);
    } else if (code == 0 && (given->ocsp_file != NULL || given->ocsp_response != NULL)) {
        code = pco__error_set(error, PCO_EINVAL, 0, "%s is given without a certificate", kind);
    }
    pco__material_drop(&certificate);
    pco__material_drop(&key);
    return code;
}

static const pco__field certificate_fields[] = {
    PCO__FIELD(pco_ssl_certificate, certificate_file),
    PCO__FIELD(pco_ssl_certificate, certificate_pem),
    PCO__FIELD(pco_ssl_certificate, certificate_pem_length),
    PCO__FIELD(pco_ssl_certificate, certificate_uri),
    PCO__FIELD(pco_ssl_certificate, key_file),
    PCO__FIELD(pco_ssl_certificate, key_pem),
    PCO__FIELD(pco_ssl_certificate, key_pem_length),
    PCO__FIELD(pco_ssl_certificate, key_uri),
    PCO__FIELD(pco_ssl_certificate, key_password),
    PCO__FIELD(pco_ssl_certificate, ocsp_file),
    PCO__FIELD(pco_ssl_certificate, ocsp_response),
    PCO__FIELD(pco_ssl_certificate, ocsp_response_length),
};
static const pco__layout certificate_layout =
    PCO__LAYOUT(pco_ssl_certificate, sizeof(size_t), certificate_fields);

static int load_further(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                        pco_error *error)
{
    size_t count = options->certificates_count;
    if ((count == 0) != (options->certificates == NULL)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "certificates and certificates_count must be given together");
    }
    for (size_t i = 0; i < count; i++) {
        char prefix[PREFIX_SIZE];
        pco_ssl_certificate one;
        snprintf(prefix, sizeof prefix, "certificates[%zu].", i);
        if (options->certificates[i] == NULL) {
            return pco__error_set(error, PCO_EINVAL, 0, "certificates[%zu] is NULL", i);
        }
        int code = pco__options_read(&certificate_layout, options->certificates[i], &one, error);
        if (code == 0) {
            code = load_one(setup, &one, prefix, client, true, error);
        }
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

int pco__ssl_load_certificates(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                               bool client, pco_error *error)
{
    const pco_ssl_certificate own = {.size = sizeof own,
                                     .certificate_file = options->certificate_file,
                                     .certificate_pem = options->certificate_pem,
                                     .certificate_pem_length = options->certificate_pem_length,
                                     .certificate_uri = options->certificate_uri,
                                     .key_file = options->key_file,
                                     .key_pem = options->key_pem,
                                     .key_pem_length = options->key_pem_length,
                                     .key_uri = options->key_uri,
                                     .key_password = options->key_password,
                                     .ocsp_file = options->ocsp_file,
                                     .ocsp_response = options->ocsp_response,
                                     .ocsp_response_length = options->ocsp_response_length};
    bool required = !client && options->certificates_count == 0 && !pco__ssl_has_psk(options);
    int code = load_one(setup, &own, "", client, required, error);
    if (code == 0) {
        code = load_further(setup, options, client, error);
    }

    /* A client asks a server what the authority says of its certificate. */
    if (code == 0 && client &&
        SSL_CTX_set_tlsext_status_type(setup->ctx, TLSEXT_STATUSTYPE_ocsp) != 1) {
        code = pco__ssl_error(error, PCO_ETLS, "ask for the status of certificates");
    }
    return code;
}
