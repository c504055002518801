/* SPDX-License-Identifier: MIT */
/*
 * behaviour_trust.h: what the tests of the system's trust have in common: connections of clients
 * that leave it to the system whom they trust, and, where the system judges, its verdict.
 */
#ifndef BEHAVIOUR_TRUST_H
#define BEHAVIOUR_TRUST_H

#include "behaviour_create.h"
#include "make_certificates.h"

#include "system/trust.h"

/* ---- Whole connections ---- */

/* What the last one came to. */
typedef struct told_of_trust {
    unsigned calls;
    pco_transport *transport;
    pco_error error;
} told_of_trust;

extern told_of_trust told;

/* Connects to at.server by its address, with `tls = PCO_ON`. Returns how that ended. */
int connect_by_tls(const char *server_hostname);

/* The same with a context of the test's. */
int connect_with(pco_ssl_context *context, const char *server_hostname);

/* ---- The verdict ---- */

extern certificate made; /* the test's own, by make_server */
extern pco__trust_verdict verdict;

/* In the tear-down. */
void forget_verdict(void);

pco_buffer der_of(X509 *one);
void free_der(pco_buffer *der);

/* A name, an address, and one of IPv6. */
#define TRUST_HOSTS 3

/* A server of that host, signed by `issuer`. */
void make_server(size_t host, const char *usage, const certificate *issuer);

/*
 * Asks the system about a certificate at a time, `days` from now; `behind` comes with it, `anchor`
 * is trusted besides, and both may be NULL.
 */
void ask(const certificate *own, const certificate *behind, const certificate *anchor,
         const char *host, bool is_address, int days);

/* About the one that make_server has made, now. */
void ask_about(size_t host, const certificate *behind, const certificate *anchor);

void assert_verdict(pco__trust_kind kind);

#endif
