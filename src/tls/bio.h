/* SPDX-License-Identifier: MIT */
/*
 * bio.h: what the TLS connections of a loop share: the BIO through which OpenSSL reads and
 * writes ciphertext, and the memory for plaintext on its way to the user. So a connection has none
 * of its own.
 *
 * Three memories are never the same: the ciphertext that is being read (the backend's receive
 * buffer, lent to data_received; in a handshake `arrived`), the plaintext that is being delivered,
 * and what is written (the cork). Hence a callback may write as much as it likes while input is
 * waiting to be read.
 */
#ifndef PCO_SSL_BIO_H
#define PCO_SSL_BIO_H

#include "tls/internal.h"

/* Plaintext that one data_received may bring. */
#define PCO__SSL_PLAINTEXT_SIZE ((size_t)64 * 1024)

/* The most that one TLS record carries (RFC 8446, 5.1). */
#define PCO__SSL_RECORD_SIZE ((size_t)16 * 1024)

/* What a handshake receives at once: a record with what TLS 1.2 may add to it (RFC 5246, 6.2.3). */
#define PCO__SSL_ARRIVED_SIZE (PCO__SSL_RECORD_SIZE + 2048 + 5)

/* Ciphertext that has arrived; shrinks at the front as OpenSSL reads. */
typedef struct pco__ssl_input {
    const unsigned char *data;
    size_t length;
} pco__ssl_input;

typedef struct pco__ssl_loop {
    pco__resident resident;
    pco_loop *loop;
    BIO_METHOD *method;
    BIO *bio;
    unsigned char *plaintext; /* PCO__SSL_PLAINTEXT_SIZE, being delivered */
    unsigned char *gathered;  /* PCO__SSL_RECORD_SIZE, small buffers that become one record */
    unsigned char *arrived;   /* PCO__SSL_ARRIVED_SIZE, lent to the stream of a handshake */

    /* What is true while a function of OpenSSL runs. */
    pco__stream *stream;      /* whose it is */
    pco__ssl_input *input;    /* what it may read; NULL: nothing */
    size_t output;            /* how much it has written */
    int error;                /* why its output could not be taken, 0: it could */
    bool dry;                 /* it wanted to read more than there is */
    bool ends;                /* nothing follows its next record for now: it may leave at once */
    bool warned;              /* the last alert that it read was no clean end */
    pco_ssl_context *context; /* in a handshake: what the callbacks look at */
    const pco__ssl_setup *setup;

    /* The connections used of late, which hold buffers of OpenSSL's, and their sweeping. */
    pco__link busy;
    pco__timer sweep;

    /* How many handshakes may go on in a turn: see tls/protocol.c. */
    unsigned steps;    /* of this turn, made or promised; not 0: `turn` is queued */
    pco__link waiting; /* pco__ssl.waiting, first to last; somebody waits: `steps` is used up */
    pco__task turn;    /* begins the next turn's count */
} pco__ssl_loop;

/* The loop's part, made when first asked for. NULL: out of memory. */
pco__ssl_loop *pco__ssl_loop_get(pco_loop *loop, void (*sweep)(pco__timer *timer),
                                 void (*turn)(pco__task *task));

/* The loop's part of the connection that runs inside OpenSSL. */
pco__ssl_loop *pco__ssl_loop_of(const SSL *engine);

#endif
