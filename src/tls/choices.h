/* SPDX-License-Identifier: MIT */
/*
 * choices.h: a choice in a handshake that is the user's: which context serves a client, which
 * certificate is shown to a server. The handshake is suspended until the user has answered.
 *
 * The question belongs to the user as soon as it is asked, and outlives the connection if it must:
 * then nothing is left of it but that fact.
 */
#ifndef PCO_SSL_CHOICES_H
#define PCO_SSL_CHOICES_H

#include <openssl/ssl.h>

#include "tls/tls.h"

typedef enum pco__ssl_choice_state {
    PCO__SSL_NOT_ASKED,
    PCO__SSL_ASKED,
    PCO__SSL_ANSWERED,
    PCO__SSL_REFUSED
} pco__ssl_choice_state;

typedef struct pco__ssl_choice {
    pco__ssl_choice_state state;
    pco_ssl_question *question; /* prepared or asked, NULL: neither, or it was given up */
    const char *sentence;       /* refused: what to say of it */
    int alert;
} pco__ssl_choice;

/* ---- describe.c ---- */

/*
 * Makes what the user sees of a client's hello, of its parts as they are on the wire: the list in
 * the ALPN extension, and versions of two bytes each. `server_name`: NULL for none. One piece of
 * memory of pco__malloc; NULL: there is none.
 */
pco_ssl_hello *pco__ssl_describe_client(const char *server_name, const unsigned char *alpn,
                                        size_t alpn_length, const unsigned char *versions,
                                        size_t versions_length);

/* The entry of the ALPN list that has this index in the description, behind its length. */
const unsigned char *pco__ssl_described_protocol(const unsigned char *alpn, size_t alpn_length,
                                                 size_t index);

/* Makes what the user sees of a server that demands a certificate. NULL: out of memory. */
pco_ssl_hello *pco__ssl_describe_server(const SSL *engine);

/* ---- choice.c ---- */

/* Prepares the question about `hello`, which it takes over. PCO_ENOMEM. */
int pco__ssl_choice_prepare(pco__ssl *ssl, pco_ssl_hello *hello);

/* Asks it: the handshake is suspended, and may have gone on, or have ended, when this returns. */
void pco__ssl_choice_ask(pco__ssl *ssl);

/* The handshake is over. */
void pco__ssl_choice_drop(pco__ssl_choice *choice);

/* OpenSSL calls it, for a client, when the server demands a certificate. */
int pco__ssl_choose_certificate(SSL *engine, void *unused);

#endif
