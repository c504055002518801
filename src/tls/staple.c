/* SPDX-License-Identifier: MIT */
/*
 * staple.c: what the authority says of a server's certificate (OCSP), which the server shows with
 * it to clients that ask (RFC 6066, 8), so that they need not ask the authority.
 */
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <string.h>

#include "support/memory.h"
#include "tls/contexts.h"
#include "tls/material.h"

/* An answer of OCSP in DER, and of which certificate it tells. */
struct pco__ssl_staple {
    pco__ssl_staple *next;
    X509 *certificate;
    size_t length;
    unsigned char data[];
};

/* Whether one of the answers tells of this certificate. */
static bool is_about(OCSP_BASICRESP *answers, const X509 *certificate)
{
    for (int i = 0; i < OCSP_resp_count(answers); i++) {
        const OCSP_CERTID *asked = OCSP_SINGLERESP_get0_id(OCSP_resp_get0(answers, i));
        ASN1_INTEGER *serial = NULL;
        OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)asked);
        if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) == 0) {
            return true;
        }
    }
    return false;
}

static int check_response(const pco__material *thing, const X509 *certificate, pco_error *error)
{
    const unsigned char *at = thing->data;
    const unsigned char *end = at + thing->length;
    OCSP_BASICRESP *answers = NULL;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)thing->length);
    int status = response != NULL ? OCSP_response_status(response) : -1;
    if (status == OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        answers = OCSP_response_get1_basic(response);
    }
    int code = 0;
    if (response == NULL || at != end || (status == 0 && answers == NULL)) {
        code = pco__error_set(error, PCO_ECERT, 0, "%s: no OCSP response in DER", thing->name);
    } else if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        code = pco__error_set(error, PCO_ECERT, 0, "%s: the response is none but '%s'", thing->name,
                              OCSP_response_status_str(status));
    } else if (!is_about(answers, certificate)) {
        code = pco__error_set(error, PCO_ECERT, 0, "%s: the response is about another certificate",
                              thing->name);
    }
    OCSP_BASICRESP_free(answers);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return code;
}

/* OpenSSL calls it when the client asks, and the certificate has been chosen. */
static int give_staple(SSL *engine, void *context)
{
    const pco__ssl_setup *setup = context;
    const pco__ssl_staple *found = setup->staples;
    while (found != NULL && found->certificate != SSL_get_certificate(engine)) {
        found = found->next;
    }
    unsigned char *copy = found != NULL ? OPENSSL_memdup(found->data, found->length) : NULL;
    if (copy == NULL) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    SSL_set_tlsext_status_ocsp_resp(engine, copy, (long)found->length);
    return SSL_TLSEXT_ERR_OK;
}

/* Puts the response to the certificate that was loaded last. */
static int add_staple(pco__ssl_setup *setup, const pco__material *thing, pco_error *error)
{
    X509 *certificate = SSL_CTX_get0_certificate(setup->ctx);
    int code = check_response(thing, certificate, error);
    if (code != 0) {
        return code;
    }
    pco__ssl_staple *made = pco__malloc(sizeof *made + thing->length);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", thing->name);
    }
    X509_up_ref(certificate);
    *made = (pco__ssl_staple){
        .next = setup->staples, .certificate = certificate, .length = thing->length};
    memcpy(made->data, thing->data, thing->length);
    setup->staples = made;
    SSL_CTX_set_tlsext_status_cb(setup->ctx, give_staple);
    SSL_CTX_set_tlsext_status_arg(setup->ctx, setup);
    return 0;
}

int pco__ssl_load_staple(pco__ssl_setup *setup, const pco_ssl_certificate *given, const char *kind,
                         bool client, pco_error *error)
{
    const pco__source from = {.kind = kind,
                              .memory = "response",
                              .most = PCO__MATERIAL_OWN,
                              .file = given->ocsp_file,
                              .data = given->ocsp_response,
                              .length = given->ocsp_response_length};
    pco__material response;
    if (client && (from.file != NULL || from.data != NULL || from.length != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s_%s is for servers", kind,
                              from.file != NULL ? "file" : "response");
    }
    int code = pco__material_get(&response, &from, error);
    if (code == 0 && response.length != 0) {
        code = add_staple(setup, &response, error);
    }
    pco__material_drop(&response);
    return code;
}

void pco__ssl_staples_free(pco__ssl_staple *first)
{
    while (first != NULL) {
        pco__ssl_staple *next = first->next;
        X509_free(first->certificate);
        pco__free(first);
        first = next;
    }
}
