/* SPDX-License-Identifier: MIT */
/* material.c: reading certificates and keys as they are given. */
#include "tls/material.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "support/memory.h"
#include "system/platform.h"
#include "tls/contexts.h"

int pco__password_give(char *buffer, int size, int writing, void *context)
{
    pco__password *secret = context;
    (void)writing;
    secret->asked = true;
    if (secret->text == NULL || strlen(secret->text) > (size_t)size) {
        return -1;
    }
    size_t length = strlen(secret->text);
    memcpy(buffer, secret->text, length);
    secret->given = true;
    return (int)length;
}

/* Where none was given, OpenSSL says that it was interrupted. */
int pco__password_refused(const pco__password *secret, const char *name, pco_error *error)
{
    if (secret->given) {
        return pco__ssl_error(error, PCO_ECERT, "%s: key_password is wrong", name);
    }
    if (pco__ssl_take_reason().code == PCO_ENOMEM) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", name);
    }
    return pco__error_set(error, PCO_ECERT, 0, "%s: %s", name,
                          secret->text == NULL ? "is encrypted, key_password is missing"
                                               : "key_password is longer than OpenSSL takes");
}

/*
 * Editors of Windows put a byte order mark at the beginning. With it the first line is none that
 * OpenSSL knows, and the first piece would be passed over.
 */
static int pass_mark(pco__material *thing, pco_error *error)
{
    const unsigned char *data = thing->data;
    if (thing->length >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        thing->data = data + 3;
        thing->length -= 3;
    } else if (thing->length >= 2 &&
               (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0)) {
        return pco__error_set(error, PCO_ECERT, 0, "%s: the text is UTF-16, PEM is ASCII",
                              thing->name);
    }
    return 0;
}

static int read_file(pco__material *thing, const char *path, size_t most, pco_error *error)
{
    pco_error why;
    int code = pco__read_file(path, most, &thing->owned, &thing->owned_length, &why);
    if (code == PCO_EINVAL) {
        return pco__error_set(error, code, why.system_code,
                              "%s: a folder, or not a file of at most %zu bytes", thing->name,
                              most);
    }
    if (code != 0) {
        return pco__error_describe(error, code, why.system_code, "%s", thing->name);
    }
    thing->data = thing->owned;
    thing->length = thing->owned_length;
    if (thing->length == 0) {
        return pco__error_set(error, PCO_ECERT, 0, "%s: the file is empty", thing->name);
    }
    return pass_mark(thing, error);
}

int pco__material_read(pco__material *thing, const char *what, const char *path, size_t most,
                       pco_error *error)
{
    memset(thing, 0, sizeof *thing);
    snprintf(thing->name, sizeof thing->name, "%s '%s'", what, path);
    return read_file(thing, path, most, error);
}

/* Two ways at once, or half of one. */
static int check_source(const pco__source *from, pco_error *error)
{
    bool has_data = from->data != NULL || from->length != 0;
    if (from->file != NULL && has_data) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_file and %s_%s are both given", from->kind,
                              from->kind, from->memory);
    }
    if (from->uri != NULL && (from->file != NULL || has_data)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_uri and %s_%s are both given", from->kind,
                              from->kind, from->file != NULL ? "file" : from->memory);
    }
    if ((from->data == NULL) != (from->length == 0)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_%s has %s", from->kind, from->memory,
                              from->data == NULL ? "a length but is NULL" : "a length of 0");
    }
    if (from->length > from->most) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_%s is larger than %zu bytes", from->kind,
                              from->memory, from->most);
    }
    return 0;
}

int pco__material_get(pco__material *thing, const pco__source *from, pco_error *error)
{
    *thing = (pco__material){.data = from->data, .uri = from->uri, .password = from->password};
    int code = check_source(from, error);
    if (code != 0) {
        return code;
    }
    if (from->file != NULL) {
        snprintf(thing->name, sizeof thing->name, "%s file '%s'", from->kind, from->file);
        return read_file(thing, from->file, from->most, error);
    }
    if (from->uri != NULL) {
        snprintf(thing->name, sizeof thing->name, "%s_uri '%s'", from->kind, from->uri);
        return 0;
    }
    snprintf(thing->name, sizeof thing->name, "%s_%s", from->kind, from->memory);
    thing->length = from->length;
    return pass_mark(thing, error);
}

bool pco__material_is_given(const pco__material *thing)
{
    return thing->length != 0 || thing->uri != NULL;
}

void pco__material_drop(pco__material *thing)
{
    if (thing->owned != NULL) {
        OPENSSL_cleanse(thing->owned, thing->owned_length);
        pco__free(thing->owned);
    }
}

bool pco__is_end_of_pem(void)
{
    unsigned long entry = ERR_peek_last_error();
    return ERR_GET_LIB(entry) == ERR_LIB_PEM && ERR_GET_REASON(entry) == PEM_R_NO_START_LINE;
}

/* How reading the pieces of one kind has ended, when the next one could not be read. */
static int finish(const pco__material *thing, const char *kind, size_t count, pco_error *error)
{
    if (!pco__is_end_of_pem()) {
        return pco__ssl_error(error, PCO_ECERT, "%s: %s %zu is garbled", thing->name, kind,
                              count + 1);
    }
    ERR_clear_error();
    return count != 0 ? 0
                      : pco__error_set(error, PCO_ECERT, PEM_R_NO_START_LINE, "%s: no PEM %s found",
                                       thing->name, kind);
}

int pco__material_each_certificate(const pco__material *thing, bool (*take)(X509 *, size_t, void *),
                                   void *context, pco_error *error)
{
    pco__password none = {NULL, false, false};
    size_t count = 0;
    if (thing->uri != NULL) {
        return pco__uri_each_certificate(thing, take, context, error);
    }
    BIO *bio = BIO_new_mem_buf(thing->data, (int)thing->length);
    if (bio == NULL) {
        return pco__ssl_error(error, PCO_ENOMEM, "%s", thing->name);
    }
    X509 *certificate;
    bool taken = true;
    while (taken &&
           (certificate = PEM_read_bio_X509_AUX(bio, NULL, pco__password_give, &none)) != NULL) {
        taken = take(certificate, count++, context);
        X509_free(certificate);
    }
    BIO_free(bio);
    if (!taken) {
        return pco__ssl_error(error, PCO_ECERT, "%s: certificate %zu is refused", thing->name,
                              count);
    }
    return finish(thing, "certificate", count, error);
}

int pco__material_each_crl(const pco__material *thing, bool (*take)(X509_CRL *, size_t, void *),
                           void *context, pco_error *error)
{
    pco__password none = {NULL, false, false};
    size_t count = 0;
    BIO *bio = BIO_new_mem_buf(thing->data, (int)thing->length);
    if (bio == NULL) {
        return pco__ssl_error(error, PCO_ENOMEM, "%s", thing->name);
    }
    X509_CRL *crl;
    bool taken = true;
    while (taken && (crl = PEM_read_bio_X509_CRL(bio, NULL, pco__password_give, &none)) != NULL) {
        taken = take(crl, count++, context);
        X509_CRL_free(crl);
    }
    BIO_free(bio);
    if (!taken) {
        return pco__ssl_error(error, PCO_ECERT, "%s: CRL %zu is refused", thing->name, count);
    }
    return finish(thing, "CRL", count, error);
}
