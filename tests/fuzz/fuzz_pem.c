/* SPDX-License-Identifier: MIT */
/*
 * fuzz_pem.c: certificates, keys, authorities, CRLs, OCSP. The input says which of the good ones is
 * changed and how, or stands in the place of one.
 */
#include "fuzz.h"
#include "ssl_world.h"

#include <openssl/err.h>

static char *encrypted;
static size_t encrypted_length;
static char *crl;
static size_t crl_length;
static char *staple;
static size_t staple_length;

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    encrypted = certificates_encrypt_key(&certificates_get()->server, "portico", &encrypted_length);
    crl = certificates_revoke(&certificates_get()->ca, &certificates_get()->client, &crl_length);
    staple = certificates_ocsp(&certificates_get()->intermediate, &certificates_get()->chained,
                               &staple_length);
    memory_watch();
    return 0;
}

/* A good piece of PEM, changed; or the input alone. */
static bytes changed(const void *good, size_t length, unsigned edits, input *from)
{
    if (edits == 0) {
        return bytes_of(from->data, from->length);
    }
    bytes made = bytes_of(good, length);
    while (edits-- != 0 && from->length != 0) {
        bytes_edit(&made, from);
    }
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const passwords[] = {NULL, "portico", "porticus", ""};
    const certificates *them = certificates_get();
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    unsigned kind = take_byte(&from);
    unsigned edits = kind >> 4;
    bytes piece = {.data = NULL};
    pco_ssl_context_options options = tls_options(&them->chained);
    options.key_password = passwords[kind >> 2 & 3];
    unsigned which = take_byte(&from) % 6;
    switch (which) {
    case 0:
        piece = changed(them->chained.pem, them->chained.pem_length, edits, &from);
        options.certificate_pem = piece.data;
        options.certificate_pem_length = piece.length;
        break;
    case 1:
        piece = changed(them->chained.key_pem, them->chained.key_pem_length, edits, &from);
        options.key_pem = piece.data;
        options.key_pem_length = piece.length;
        break;
    case 2:
        options = tls_options(&them->server);
        options.key_password = passwords[kind >> 2 & 3];
        piece = changed(encrypted, encrypted_length, edits, &from);
        options.key_pem = piece.data;
        options.key_pem_length = piece.length;
        break;
    case 3:
        piece = changed(them->ca.pem, them->ca.pem_length, edits, &from);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.ca_pem = piece.data;
        options.ca_pem_length = piece.length;
        break;
    case 4:
        piece = changed(staple, staple_length, edits, &from);
        options.ocsp_response = piece.data;
        options.ocsp_response_length = piece.length;
        break;
    default:
        piece = changed(crl, crl_length, edits, &from);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.ca_pem = them->ca.pem;
        options.ca_pem_length = them->ca.pem_length;
        options.crl_pem = piece.data;
        options.crl_pem_length = piece.length;
        break;
    }
    pco_error error = {.code = 0};
    pco_ssl_context *context = NULL;
    int code = pco_ssl_context_new(&options, &context, &error);
    require((code == 0) == (context != NULL), "there is a context if and only if it succeeded");
    require(code == 0 || (error.code == code && error.message[0] != '\0'), "a failure is told");
    require(ERR_peek_error() == 0, "nothing is left in OpenSSL's queue");
    pco_ssl_context_release(context);
    require(memory_pieces() == before, "all memory is given back");
    free(piece.data);
    return 0;
}
