/* SPDX-License-Identifier: MIT */
/*
 * verify.c: OpenSSL's callback in which the peer's certificate is judged.
 *
 * Whose verdict counts: of a server, in a context that trusts whom the system trusts, the system's,
 * if it has one; otherwise OpenSSL's. What the system has accepted OpenSSL looks at, too, with the
 * end of the system's chain for the only one that is trusted: so names and addresses, the strength
 * of keys and signatures, and whatever else a context says are checked in one way everywhere.
 *
 * Which alert the peer is told follows from the error in the store: see error_for_alert.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "support/buffers.h"
#include "support/memory.h"
#include "tls/connection.h"

/* OpenSSL tells the peer of an error that it has no alert for by certificate_unknown. */
#define ALERT_CERTIFICATE_UNKNOWN X509_V_ERR_PERMITTED_VIOLATION

/* Room for a refusal: more than an error's message holds. */
#define REFUSAL_SIZE 512

static SSL *engine_of(X509_STORE_CTX *store)
{
    return X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
}

/*
 * The error by which OpenSSL chooses the alert that RFC 8446, 6.2, has for the real one, where it
 * would choose another.
 */
static int error_for_alert(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_NOT_YET_VALID: /* "has expired or is not currently valid" */
        return X509_V_ERR_CERT_HAS_EXPIRED;
    case X509_V_ERR_CERT_SIGNATURE_FAILURE: /* bad_certificate, not decrypt_error */
        return X509_V_ERR_CERT_REJECTED;
    case X509_V_ERR_APPLICATION_VERIFICATION:
        return ALERT_CERTIFICATE_UNKNOWN;
    default:
        return error;
    }
}

/* ---- The system's verdict ---- */

static bool is_self_signed(X509 *one)
{
    return X509_NAME_cmp(X509_get_subject_name(one), X509_get_issuer_name(one)) == 0;
}

static bool is_early(const X509 *one)
{
    return X509_cmp_current_time(X509_get0_notBefore(one)) > 0;
}

static bool is_late(const X509 *one)
{
    return X509_cmp_current_time(X509_get0_notAfter(one)) < 0;
}

/* The certificate whose time it is not; the first if none is. */
static int out_of_time(X509_STORE_CTX *store, const STACK_OF(X509) * sent)
{
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *one = sk_X509_value(sent, i);
        if (is_early(one) || is_late(one)) {
            X509_STORE_CTX_set_current_cert(store, one);
            return is_early(one) ? X509_V_ERR_CERT_NOT_YET_VALID : X509_V_ERR_CERT_HAS_EXPIRED;
        }
    }
    return X509_V_ERR_CERT_HAS_EXPIRED;
}

static int unknown_issuer(X509_STORE_CTX *store, const STACK_OF(X509) * sent)
{
    X509 *last = sk_X509_value(sent, sk_X509_num(sent) - 1);
    if (is_self_signed(sk_X509_value(sent, 0))) {
        return X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    }
    X509_STORE_CTX_set_current_cert(store, last);
    return is_self_signed(last) ? X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
                                : X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
}

/* What OpenSSL calls what the system has said. */
static int error_of_verdict(X509_STORE_CTX *store, pco__trust_kind kind)
{
    const STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    X509_STORE_CTX_set_current_cert(store, sk_X509_value(sent, 0));
    switch (kind) {
    case PCO__TRUST_EXPIRED:
        return out_of_time(store, sent);
    case PCO__TRUST_UNKNOWN_ISSUER:
        return unknown_issuer(store, sent);
    case PCO__TRUST_WRONG_NAME:
        return X509_V_ERR_HOSTNAME_MISMATCH;
    case PCO__TRUST_REVOKED:
        return X509_V_ERR_CERT_REVOKED;
    case PCO__TRUST_WRONG_USAGE:
        return X509_V_ERR_INVALID_PURPOSE;
    case PCO__TRUST_BAD_SIGNATURE:
        return X509_V_ERR_CERT_SIGNATURE_FAILURE;
    case PCO__TRUST_NO_MEMORY:
        return X509_V_ERR_OUT_OF_MEM;
    case PCO__TRUST_FAILED:
        return X509_V_ERR_UNSPECIFIED;
    default:
        return X509_V_ERR_CERT_REJECTED;
    }
}

static STACK_OF(X509) * decode(const pco__trust_verdict *answer)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    bool whole = chain != NULL;
    for (size_t i = 0; whole && i < answer->chain_count; i++) {
        const unsigned char *at = answer->chain[i].data;
        X509 *one = d2i_X509(NULL, &at, (long)answer->chain[i].length);
        whole = one != NULL && sk_X509_push(chain, one) > 0;
        if (one != NULL && !whole) {
            X509_free(one);
        }
    }
    if (!whole) {
        sk_X509_pop_free(chain, X509_free);
        return NULL;
    }
    return chain;
}

/* OpenSSL's own look at what the system has accepted. As X509_verify_cert. */
static int verify_again(X509_STORE_CTX *store, const pco__trust_verdict *answer)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    STACK_OF(X509) *chain = decode(answer);
    STACK_OF(X509) *trusted = sk_X509_new_null();
    int good = -1;
    if (chain != NULL && trusted != NULL &&
        sk_X509_push(trusted, sk_X509_value(chain, sk_X509_num(chain) - 1)) > 0) {
        X509_STORE_CTX_set0_untrusted(store, chain);
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        X509_STORE_CTX_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
        good = X509_verify_cert(store);
        X509_STORE_CTX_set0_untrusted(store, sent);
    } else {
        X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
    }
    sk_X509_free(trusted);
    sk_X509_pop_free(chain, X509_free);
    return good;
}

/* ---- What is wrong ---- */

/* Notes it for handshake_failed; where there is no memory, OpenSSL's own words will do. */
static void note_refusal(pco__ssl *ssl, const char *text)
{
    pco__ssl_verdict *verdict = &ssl->handshake->verdict;
    pco__free(verdict->refusal);
    verdict->refusal = pco__strdup(text);
}

/* The certificate with which something is wrong. */
static X509 *culprit(X509_STORE_CTX *store)
{
    X509 *current = X509_STORE_CTX_get_current_cert(store);
    return current != NULL ? current : X509_STORE_CTX_get0_cert(store);
}

static void describe(X509_STORE_CTX *store, SSL *engine, char *text, size_t size)
{
    char host[PCO__SSL_HOST_SIZE];
    bool is_address;
    pco__ssl_describe_refusal(X509_STORE_CTX_get_error(store), culprit(store),
                              pco__ssl_wanted_host(engine, host, &is_address) ? host : NULL,
                              !SSL_is_server(engine), text, size);
}

/* ---- The program's pin ---- */

/* The chain to whom is trusted, or of a bad one what was sent. */
static const STACK_OF(X509) * chain_of(X509_STORE_CTX *store, bool good)
{
    return good ? X509_STORE_CTX_get0_chain(store) : X509_STORE_CTX_get0_untrusted(store);
}

static int ask_pin(X509_STORE_CTX *store, SSL *engine, const pco__ssl_setup *setup, bool good,
                   const char *refusal)
{
    char host[PCO__SSL_HOST_SIZE];
    bool is_address;
    const STACK_OF(X509) *chain = chain_of(store, good);
    pco_buffer *encoded = pco__ssl_encode(chain);
    if (encoded == NULL) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
        return PCO_SSL_VERDICT_REFUSE;
    }
    pco_ssl_verdict verdict = {
        .size = sizeof verdict,
        .error = good ? 0 : PCO_ECERT,
        .system_code = good ? 0 : X509_STORE_CTX_get_error(store),
        .reason = good ? NULL : refusal,
        .server_name = SSL_is_server(engine) ? SSL_get_servername(engine, TLSEXT_NAMETYPE_host_name)
                       : pco__ssl_wanted_host(engine, host, &is_address) ? host
                                                                         : NULL,
        .chain = encoded,
        .chain_count = (size_t)sk_X509_num(chain),
    };
    int answer = setup->verify_peer(&verdict, setup->callback_context);
    pco__free(encoded);
    return answer;
}

/* The pin has the last word. Returns whether the handshake goes on. */
static bool conclude(X509_STORE_CTX *store, pco__ssl *ssl, const pco__ssl_setup *setup, bool good)
{
    SSL *engine = ssl->engine;
    char refusal[REFUSAL_SIZE] = "";
    if (!good) {
        describe(store, engine, refusal, sizeof refusal);
    }
    if (setup->verify_peer != NULL) {
        int answer = ask_pin(store, engine, setup, good, refusal);
        if (answer == PCO_SSL_VERDICT_DANGEROUSLY_ACCEPT) {
            return true;
        }
        if (good && answer != PCO_SSL_VERDICT_KEEP) {
            good = false;
            if (X509_STORE_CTX_get_error(store) == X509_V_OK) {
                X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
            }
            snprintf(refusal, sizeof refusal, "refused by verify_peer");
        }
    }
    if (!good) {
        note_refusal(ssl, refusal);
        X509_STORE_CTX_set_error(store, error_for_alert(X509_STORE_CTX_get_error(store)));
    }
    return good;
}

/* ---- The callback ---- */

/* There is no verdict. The handshake fails, whatever the pin would say. */
static int no_verdict(X509_STORE_CTX *store, pco__ssl *ssl, int code, const char *text)
{
    X509_STORE_CTX_set_error(store,
                             code == PCO_ENOMEM ? X509_V_ERR_OUT_OF_MEM : X509_V_ERR_UNSPECIFIED);
    pco__ssl_set_error(ssl, code, 0, NULL);
    note_refusal(ssl, text);
    return 0;
}

static int unanswered(X509_STORE_CTX *store, pco__ssl *ssl)
{
    char text[120];
    snprintf(text, sizeof text,
             "the system's verdict on the certificate took longer than %g seconds",
             ssl->handshake->setup->verdict_timeout);
    return no_verdict(store, ssl, PCO_ETIMEDOUT, text);
}

static int answered(X509_STORE_CTX *store, pco__ssl *ssl)
{
    const pco__ssl_handshake *handshake = ssl->handshake;
    const pco__trust_verdict *answer = &handshake->verdict.answer;
    char text[120];
    if (answer->kind == PCO__TRUST_NO_MEMORY) {
        return no_verdict(store, ssl, PCO_ENOMEM, pco_strerror(PCO_ENOMEM));
    }
    if (answer->kind == PCO__TRUST_FAILED) {
        snprintf(text, sizeof text, "the system passes no verdict on the certificate (%#x)",
                 (unsigned)answer->system_code);
        return no_verdict(store, ssl, PCO_ECERT, text);
    }
    bool good = answer->kind == PCO__TRUST_GOOD && verify_again(store, answer) == 1;
    if (answer->kind != PCO__TRUST_GOOD) {
        X509_STORE_CTX_set_error(store, error_of_verdict(store, answer->kind));
    }
    return conclude(store, ssl, handshake->setup, good);
}

/*
 * Clients alone may be suspended here: what a server's callback returns for that would be taken for
 * a yes.
 */
static int ask_system(X509_STORE_CTX *store, pco__ssl *ssl)
{
    switch (ssl->handshake->verdict.state) {
    case PCO__SSL_VERDICT_NONE: {
        int code = pco__ssl_verdict_ask(ssl, store);
        if (code != 0) {
            return no_verdict(store, ssl, code, "the system cannot be asked for its verdict");
        }
        return SSL_set_retry_verify(ssl->engine);
    }
    case PCO__SSL_VERDICT_ASKED:
        return SSL_set_retry_verify(ssl->engine);
    case PCO__SSL_VERDICT_GIVEN:
        return answered(store, ssl);
    default:
        return unanswered(store, ssl);
    }
}

int pco__ssl_verify(X509_STORE_CTX *store, void *unused)
{
    SSL *engine = engine_of(store);
    pco__ssl *ssl = pco__ssl_call_of(engine)->ssl;
    (void)unused;
    if (ssl->handshake == NULL || SSL_get_verify_mode(engine) == SSL_VERIFY_NONE) {
        return X509_verify_cert(store);
    }
    if (!SSL_is_server(engine) && pco__ssl_asks_system(ssl)) {
        return ask_system(store, ssl);
    }
    return conclude(store, ssl, ssl->handshake->setup, X509_verify_cert(store) == 1);
}
