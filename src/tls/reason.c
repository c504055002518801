/* SPDX-License-Identifier: MIT */
/*
 * reason.c: what OpenSSL's error queue says, as a pco_error.
 *
 * A failure leaves one or more entries in the queue, the deepest first, behind those that others
 * may have left there. How many of its layers have a say differs with OpenSSL's version. What
 * happened is said by the TLS layer's newest entry that is not about a layer below it; where all of
 * them are, by the deepest entry of all.
 */
#include "tls/contexts.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdarg.h>
#include <stdio.h>

/* The peer, or this end, did not like a certificate. */
static bool is_about_certificate(int reason)
{
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* From OpenSSL 3.2 on: something failed in the layer of the records, which has said what. */
#ifndef SSL_R_RECORD_LAYER_FAILURE
#define SSL_R_RECORD_LAYER_FAILURE 313
#endif

/* Whether the entry is the TLS layer's and says more than that something below it has failed. */
static bool is_telling(unsigned long entry)
{
    int reason = ERR_GET_REASON(entry);
    return ERR_GET_LIB(entry) == ERR_LIB_SSL && (reason & ERR_RFLAG_COMMON) == 0 &&
           reason != SSL_R_RECORD_LAYER_FAILURE;
}

/* Empties the queue. Returns the entry that says best what happened, 0 if it was empty. */
static unsigned long take_entry(bool *no_memory)
{
    unsigned long best = 0;
    unsigned long entry;
    *no_memory = false;
    while ((entry = ERR_get_error()) != 0) {
        if (ERR_GET_REASON(entry) == ERR_R_MALLOC_FAILURE) {
            *no_memory = true;
        }
        if (best == 0 || is_telling(entry)) {
            best = entry;
        }
    }
    return best;
}

/* OpenSSL has no sentence for an alert that it does not expect to be fatal. */
static const char *sentence_of(unsigned long entry)
{
    const char *sentence = ERR_reason_error_string(entry);
    int reason = ERR_GET_REASON(entry);
    if (sentence == NULL && ERR_GET_LIB(entry) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET) {
        sentence = SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
    }
    return sentence != NULL ? sentence : "unknown reason";
}

pco__ssl_reason pco__ssl_take_reason(void)
{
    bool no_memory;
    unsigned long entry = take_entry(&no_memory);
    pco__ssl_reason reason = {.code = PCO_ETLS, .system_code = ERR_GET_REASON(entry)};
    if (no_memory) {
        reason.code = PCO_ENOMEM;
        reason.sentence = pco_strerror(PCO_ENOMEM);
        return reason;
    }
    if (ERR_GET_LIB(entry) == ERR_LIB_SSL && is_about_certificate(reason.system_code)) {
        reason.code = PCO_ECERT;
    }
    reason.sentence = sentence_of(entry);
    return reason;
}

int pco__ssl_error(pco_error *error, int code, const char *format, ...)
{
    char text[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    /* Where OpenSSL does not say why it failed, it was for want of memory. */
    bool no_memory;
    unsigned long entry = take_entry(&no_memory);
    if (no_memory || entry == 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", text);
    }
    return pco__error_set(error, code, ERR_GET_REASON(entry), "%s: %s", text, sentence_of(entry));
}
