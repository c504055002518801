/* SPDX-License-Identifier: MIT */
/*
 * verdict.h: whether the peer's certificate is good, for the files that find that out:
 *
 *   verify.c    OpenSSL's callback: whose verdict counts, and what the program's pin says of it
 *   question.c  the system's verdict: a question to a thread, while the handshake is suspended
 *   refusal.c   what is wrong with a certificate, as a sentence
 */
#ifndef PCO_SSL_VERDICT_H
#define PCO_SSL_VERDICT_H

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "support/compiler.h"
#include "system/trust.h"

struct pco__ssl;

/* How far the system's verdict is. */
typedef enum pco__ssl_verdict_state {
    PCO__SSL_VERDICT_NONE,
    PCO__SSL_VERDICT_ASKED,
    PCO__SSL_VERDICT_GIVEN,
    PCO__SSL_VERDICT_LATE /* its time is over */
} pco__ssl_verdict_state;

/* What a handshake knows about the peer's certificate. Zeroed: nothing. */
typedef struct pco__ssl_verdict {
    struct pco__ssl_question *question; /* while it is asked */
    pco__trust_verdict answer;
    uint8_t state; /* pco__ssl_verdict_state */
    char *refusal; /* what is wrong, from pco__malloc; NULL: nothing, or there was no memory */
} pco__ssl_verdict;

/* ---- verify.c ---- */

/* OpenSSL calls it in place of its own verification: see SSL_CTX_set_cert_verify_callback. */
int pco__ssl_verify(X509_STORE_CTX *store, void *unused);

/* ---- question.c ---- */

/* Room for a host: see set_server_name in engine.c. */
#define PCO__SSL_HOST_SIZE 256

/* What the server has to show, as it was set in the SSL: a name, or an address. False: nothing. */
bool pco__ssl_wanted_host(const SSL *engine, char *host, bool *is_address);

/* Certificates in DER, in one piece of memory from pco__malloc. NULL: out of memory. */
pco_buffer *pco__ssl_encode(const STACK_OF(X509) * certificates);

/*
 * Asks the system about what the server has sent: pco__ssl_go_on follows when there is an answer,
 * or the time is over. PCO_ENOMEM; PCO_EAGAIN: no thread can be started.
 */
int pco__ssl_verdict_ask(struct pco__ssl *ssl, X509_STORE_CTX *store);

/* Nobody wants to know any more. */
void pco__ssl_verdict_drop(struct pco__ssl *ssl);

/* ---- refusal.c ---- */

/*
 * What is wrong with the certificate `one`, for which OpenSSL has the code `error`: its words, and
 * what the certificate says of it. `host` is the name or address that was to be shown, or NULL.
 */
void pco__ssl_describe_refusal(int error, X509 *one, const char *host, bool of_server, char *text,
                               size_t size);

#endif
