/* SPDX-License-Identifier: MIT */
/* parsed.h: what a certificate says, as pco_ssl_certificate_info tells it. */
#ifndef PCO_TLS_PARSED_H
#define PCO_TLS_PARSED_H

#include <openssl/x509.h>
#include <portico/ssl.h>

/* One piece of memory, for pco__free: all that `info` points to is in it. */
typedef struct pco__ssl_parsed {
    struct pco__ssl_parsed *next; /* for who keeps several */
    size_t index;
    pco_ssl_certificate_info info;
} pco__ssl_parsed;

/* NULL: out of memory. Whatever else is wrong with the certificate is shown as what it is. */
pco__ssl_parsed *pco__ssl_parse(X509 *certificate);

/* Seconds since 1970; `garbled` for a time that is none. */
int64_t pco__ssl_seconds(const ASN1_TIME *time, int64_t garbled);

#endif
