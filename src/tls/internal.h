/* SPDX-License-Identifier: MIT */
/*
 * internal.h: what the files of the TLS layer share. Only they know OpenSSL.
 *
 *   tls/setup.c      options and PEM -> SSL_CTX
 *   tls/context.c    the context that servers and threads share, and the names of SNI
 *   tls/bio.c        what the connections of a loop share: the BIO and the buffers
 *   tls/tls_transport.c  one connection
 *   tls/reason.c      what OpenSSL's error queue says, as a pco_error
 */
#ifndef PCO_SSL_INTERNAL_FILES_H
#define PCO_SSL_INTERNAL_FILES_H

#include <openssl/ssl.h>

#include "support/error.h"
#include "tls/tls.h"

/* ---- tls/setup.c ---- */

#define PCO__SSL_ID_SIZE 16

/*
 * What a context holds at one moment, made at once and never changed: reloading makes another.
 */
typedef struct pco__ssl_setup {
    SSL_CTX *ctx;
    unsigned references;                /* guarded by the context */
    unsigned char id[PCO__SSL_ID_SIZE]; /* random: tells its sessions from those of others */
    bool ready;                         /* the SSL_CTX is the user's */
    bool alpn_required;
    unsigned char *alpn; /* as in the ALPN extension: each with its length before it */
    size_t alpn_length;
} pco__ssl_setup;

/* Makes a setup, with one reference. For the client's end the certificate may be missing. */
int pco__ssl_setup_new(const pco_ssl_context_options *options, bool client, pco__ssl_setup **setup,
                       pco_error *error);

/* Makes a setup of the user's SSL_CTX, which gains a reference. */
int pco__ssl_setup_from_ssl_ctx(SSL_CTX *ctx, pco__ssl_setup **setup, pco_error *error);

void pco__ssl_setup_free(pco__ssl_setup *setup);

/* ---- tls/context.c ---- */

/* The setup of this moment, to be given back while the context is still held. */
pco__ssl_setup *pco__ssl_context_take(pco_ssl_context *context);
void pco__ssl_context_give(pco_ssl_context *context, pco__ssl_setup *setup);

/* OpenSSL calls it with each ClientHello: shows the certificate of the name that is asked for. */
int pco__ssl_client_hello(SSL *engine, int *alert, void *unused);

/* ---- tls/reason.c ---- */

/* Why OpenSSL failed. The sentence is OpenSSL's and static. */
typedef struct pco__ssl_reason {
    int code;        /* PCO_ETLS, PCO_ECERT, PCO_ENOMEM */
    int system_code; /* OpenSSL's reason */
    const char *sentence;
} pco__ssl_reason;

/* Takes the reason out of the queue of errors, which is empty afterwards. */
pco__ssl_reason pco__ssl_take_reason(void);

/*
 * Fills in *error with the formatted sentence, ": " and the reason of the queue, and empties that.
 * Returns `code`, or PCO_ENOMEM if that was the reason.
 */
int pco__ssl_error(pco_error *error, int code, const char *format, ...) PCO__PRINTF(3, 4);

#endif
