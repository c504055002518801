/* SPDX-License-Identifier: MIT */
/*
 * trust.h: the system's verdict on a server's certificate. Windows and macOS have one: they know
 * whom their user and their administrator trust and distrust, fetch what is missing, and hear what
 * was revoked, none of which a list of certificates can tell. win32/trust.c and posix/trust_macos.c
 * ask them. Where the system has nothing but files, posix/trust.c, the verdict is OpenSSL's.
 */
#ifndef PCO_TRUST_H
#define PCO_TRUST_H

#include <portico/base.h>

/* What is asked. All of it is lent for the call. Certificates are in DER. */
typedef struct pco__trust_question {
    const pco_buffer *chain; /* the server's own first, then what it has sent besides */
    size_t chain_count;
    const char *host;          /* a name, or a literal address; NULL: any will do */
    bool is_address;           /* the host is one: not every system can look for it */
    pco_buffer staple;         /* the OCSP response that came with it; empty: none */
    const pco_buffer *anchors; /* trusted besides whom the system trusts */
    size_t anchors_count;
    int64_t time;   /* at which it must be valid, seconds since 1970; 0: now */
    double timeout; /* seconds that the network may take, all in all */
} pco__trust_question;

typedef enum pco__trust_kind {
    PCO__TRUST_GOOD,
    PCO__TRUST_EXPIRED, /* or not yet valid; or one that it is signed by */
    PCO__TRUST_UNKNOWN_ISSUER,
    PCO__TRUST_WRONG_NAME,
    PCO__TRUST_REVOKED,
    PCO__TRUST_WRONG_USAGE, /* it is not for servers */
    PCO__TRUST_BAD_SIGNATURE,
    PCO__TRUST_GARBLED,   /* the system cannot read it */
    PCO__TRUST_REFUSED,   /* for another reason, which the code tells */
    PCO__TRUST_NO_MEMORY, /* these two are no verdict */
    PCO__TRUST_FAILED
} pco__trust_kind;

typedef struct pco__trust_verdict {
    pco__trust_kind kind;
    int system_code;
    /*
     * Of a good one: the chain to whom is trusted, that one last; by pco__buffers_copy, and the
     * caller's. NULL otherwise.
     */
    pco_buffer *chain;
    size_t chain_count;
} pco__trust_verdict;

/* A system has one of the two; the other is NULL. */
typedef struct pco__trust {
    /* Blocks, and may use the network. Any thread. */
    void (*judge)(const pco__trust_question *question, pco__trust_verdict *verdict);

    /*
     * Files in PEM of whom the system trusts, as the distributions call them, any of which may be
     * there and each of which is enough; the last is NULL.
     */
    const char *const *files;
} pco__trust;

extern const pco__trust pco__system_trust;

#endif
