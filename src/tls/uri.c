/* SPDX-License-Identifier: MIT */
/*
 * uri.c: certificates and keys at a URI. OpenSSL has a store for each scheme: "file:" is its own,
 * and providers bring others, such as "pkcs11:" for keys in hardware. A store that wants a password
 * or a PIN gets the one of the options, and asks nobody on the terminal.
 */
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>

#include "system/platform.h"
#include "tls/contexts.h"
#include "tls/material.h"

typedef struct store {
    const pco__material *thing;
    const char *what; /* it is looked for */
    pco__password secret;
    UI_METHOD *method;
    OSSL_STORE_CTX *open;
} store;

static bool open_store(store *self)
{
    self->secret = (pco__password){self->thing->password, false, false};
    self->method = UI_UTIL_wrap_read_pem_callback(pco__password_give, 0);
    if (self->method == NULL) {
        return false;
    }
    self->open = OSSL_STORE_open(self->thing->uri, self->method, &self->secret, NULL, NULL);
    return self->open != NULL;
}

static void close_store(store *self)
{
    OSSL_STORE_close(self->open);
    UI_destroy_method(self->method);
}

/*
 * The next one of the kind. NULL: there is none, or it cannot be read, of which only the queue of
 * errors tells. (OpenSSL can look for one kind itself, but fails where another comes first.)
 */
static OSSL_STORE_INFO *load_next(store *self, int kind)
{
    while (!OSSL_STORE_eof(self->open)) {
        OSSL_STORE_INFO *found = OSSL_STORE_load(self->open);
        if (found == NULL || OSSL_STORE_INFO_get_type(found) == kind) {
            return found;
        }
        OSSL_STORE_INFO_free(found);
    }
    return NULL;
}

/*
 * Why nothing was found. The last error is about what was asked for, others about tries. Providers
 * (pkcs11-provider) say nothing of a wrong PIN, nor of a token that has no such thing.
 */
static int diagnose(const store *self, pco_error *error)
{
    const char *name = self->thing->name;
    unsigned long last = ERR_peek_last_error();
    const char *sentence = ERR_reason_error_string(last);
    if (self->secret.given && last == 0) {
        return pco__error_set(error, PCO_ECERT, 0, "%s: no %s is there, or key_password is wrong",
                              name, self->what);
    }
    if (self->secret.asked) {
        return pco__password_refused(&self->secret, name, error);
    }
    bool no_memory = pco__ssl_take_reason().code == PCO_ENOMEM;
    if (no_memory) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", name);
    }
    if (ERR_SYSTEM_ERROR(last)) {
        int code = pco__error_from_system(ERR_GET_REASON(last));
        return pco__error_describe(error, code, ERR_GET_REASON(last), "%s", name);
    }
    return pco__error_set(error, PCO_ECERT, ERR_GET_REASON(last), "%s: no %s is there%s%s", name,
                          self->what, sentence != NULL ? ": " : "",
                          sentence != NULL ? sentence : "");
}

int pco__uri_each_certificate(const pco__material *thing,
                              bool (*take)(X509 *certificate, size_t index, void *context),
                              void *context, pco_error *error)
{
    store found = {.thing = thing, .what = "certificate"};
    OSSL_STORE_INFO *one = NULL;
    size_t count = 0;
    int code = 0;
    bool more = open_store(&found);
    while (more && (one = load_next(&found, OSSL_STORE_INFO_CERT)) != NULL) {
        more = take(OSSL_STORE_INFO_get0_CERT(one), count++, context);
        OSSL_STORE_INFO_free(one);
    }
    if (count == 0) {
        code = diagnose(&found, error);
    } else if (!more) {
        code =
            pco__ssl_error(error, PCO_ECERT, "%s: certificate %zu is refused", thing->name, count);
    } else if (ERR_peek_error() != 0) {
        code = pco__ssl_error(error, PCO_ECERT, "%s: what is behind certificate %zu is garbled",
                              thing->name, count);
    }
    close_store(&found);
    ERR_clear_error();
    return code;
}

int pco__uri_read_key(const pco__material *thing, EVP_PKEY **key, pco_error *error)
{
    store found = {.thing = thing, .what = "private key"};
    OSSL_STORE_INFO *one = NULL;
    if (open_store(&found)) {
        one = load_next(&found, OSSL_STORE_INFO_PKEY);
    }
    *key = one != NULL ? OSSL_STORE_INFO_get1_PKEY(one) : NULL;
    int code = *key != NULL ? 0 : diagnose(&found, error);
    OSSL_STORE_INFO_free(one);
    close_store(&found);
    ERR_clear_error();
    return code;
}
