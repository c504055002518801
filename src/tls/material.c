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
    size_t length = secret->text != NULL ? strlen(secret->text) : 0;
    if (length == 0 || length > (size_t)size) {
        return -1;
    }
    memcpy(buffer, secret->text, length);
    return (int)length;
}

static int read_file(pco__material *thing, const char *path, size_t most, pco_error *error)
{
    pco_error why;
    int code = pco__read_file(path, most, &thing->owned, &thing->length, &why);
    if (code == PCO_EINVAL) {
        return pco__error_set(error, code, why.system_code, "%s: not a file of at most %zu bytes",
                              thing->name, most);
    }
    if (code != 0) {
        return pco__error_describe(error, code, why.system_code, "%s", thing->name);
    }
    thing->data = thing->owned;
    if (thing->length == 0) {
        return pco__error_set(error, PCO_ECERT, 0, "%s: the file is empty", thing->name);
    }
    return 0;
}

int pco__material_read(pco__material *thing, const char *what, const char *path, size_t most,
                       pco_error *error)
{
    memset(thing, 0, sizeof *thing);
    snprintf(thing->name, sizeof thing->name, "%s '%s'", what, path);
    return read_file(thing, path, most, error);
}

int pco__material_get(pco__material *thing, const char *kind, const char *file, const void *pem,
                      size_t pem_length, size_t most, pco_error *error)
{
    memset(thing, 0, sizeof *thing);
    if (file != NULL && (pem != NULL || pem_length != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_file and %s_pem are both given", kind,
                              kind);
    }
    if (file != NULL) {
        snprintf(thing->name, sizeof thing->name, "%s file '%s'", kind, file);
        return read_file(thing, file, most, error);
    }
    snprintf(thing->name, sizeof thing->name, "%s_pem", kind);
    if ((pem == NULL) != (pem_length == 0)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s has %s", thing->name,
                              pem == NULL ? "a length but is NULL" : "a length of 0");
    }
    if (pem_length > most) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is larger than %zu bytes", thing->name,
                              most);
    }
    thing->data = pem;
    thing->length = pem_length;
    return 0;
}

void pco__material_drop(pco__material *thing)
{
    if (thing->owned != NULL) {
        OPENSSL_cleanse(thing->owned, thing->length);
        pco__free(thing->owned);
    }
}

bool pco__is_end_of_pem(void)
{
    unsigned long entry = ERR_peek_last_error();
    return ERR_GET_LIB(entry) == ERR_LIB_PEM && ERR_GET_REASON(entry) == PEM_R_NO_START_LINE;
}

int pco__material_each_certificate(const pco__material *thing, bool (*take)(X509 *, size_t, void *),
                                   void *context, pco_error *error)
{
    pco__password none = {NULL, false};
    size_t count = 0;
    BIO *bio = BIO_new_mem_buf(thing->data, (int)thing->length);
    if (bio == NULL) {
        return pco__ssl_error(error, PCO_ENOMEM, "%s", thing->name);
    }
    X509 *certificate;
    while ((certificate = PEM_read_bio_X509_AUX(bio, NULL, pco__password_give, &none)) != NULL) {
        bool taken = take(certificate, count++, context);
        X509_free(certificate);
        if (!taken) {
            BIO_free(bio);
            return pco__ssl_error(error, PCO_ECERT, "%s: certificate %zu is refused", thing->name,
                                  count);
        }
    }
    BIO_free(bio);
    if (pco__is_end_of_pem()) {
        ERR_clear_error();
        return count != 0 ? 0
                          : pco__error_set(error, PCO_ECERT, PEM_R_NO_START_LINE,
                                           "%s: no PEM certificate found", thing->name);
    }
    return pco__ssl_error(error, PCO_ECERT, "%s: certificate %zu is garbled", thing->name,
                          count + 1);
}
