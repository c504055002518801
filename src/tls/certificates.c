/* SPDX-License-Identifier: MIT */
/* certificates.c: the certificate that a context shows, and its key. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "tls/contexts.h"
#include "tls/material.h"

static bool take_chain(X509 *certificate, size_t index, void *context)
{
    SSL_CTX *ctx = context;
    return index == 0 ? SSL_CTX_use_certificate(ctx, certificate) == 1
                      : SSL_CTX_add1_chain_cert(ctx, certificate) == 1;
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

static int read_key(const pco__material *thing, const char *text, EVP_PKEY **key, pco_error *error)
{
    pco__password secret = {text, false};
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
        const char *what =
            text == NULL ? "is encrypted, key_password is missing" : "key_password is wrong";
        return pco__ssl_error(error, PCO_ECERT, "%s: %s", thing->name, what);
    }
    return diagnose_key(thing, error);
}

static int use_key(SSL_CTX *ctx, const pco__material *thing, const char *text,
                   const char *certificate, pco_error *error)
{
    EVP_PKEY *key;
    int code = read_key(thing, text, &key, error);
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

int pco__ssl_load_certificate(SSL_CTX *ctx, const pco_ssl_context_options *options, bool client,
                              pco_error *error)
{
    pco__material certificate;
    pco__material key = {.owned = NULL};
    int code = pco__material_get(&certificate, "certificate", options->certificate_file,
                                 options->certificate_pem, options->certificate_pem_length,
                                 PCO__MATERIAL_OWN, error);
    if (code == 0) {
        code = pco__material_get(&key, "key", options->key_file, options->key_pem,
                                 options->key_pem_length, PCO__MATERIAL_OWN, error);
    }
    if (code != 0 || (client && certificate.length == 0 && key.length == 0)) {
        goto done;
    }
    if (certificate.length == 0 || key.length == 0) {
        const char *kind = certificate.length == 0 ? "certificate" : "key";
        code = pco__error_set(error, PCO_EINVAL, 0, "%s_file or %s_pem is required", kind, kind);
        goto done;
    }
    code = pco__material_each_certificate(&certificate, take_chain, ctx, error);
    if (code == 0) {
        code = use_key(ctx, &key, options->key_password, certificate.name, error);
    }
done:
    pco__material_drop(&certificate);
    pco__material_drop(&key);
    return code;
}
