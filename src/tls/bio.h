/* SPDX-License-Identifier: MIT */
/*
 * bio.h: what the TLS connections of a loop share: the BIO through which OpenSSL reads and
 * writes ciphertext, and the memory for plaintext on its way to the user. So a connection has none
 * of its own.
 *
 * Three memories are never the same: the ciphertext that is being read (the backend's receive
 * buffer, lent to data_received), the plaintext that is being delivered, and what is written (the
 * cork). Hence a callback may write as much as it likes while input is waiting to be read.
 */
#ifndef PCO_SSL_BIO_H
#define PCO_SSL_BIO_H

#include "system/trust.h"
#include "tls/contexts.h"

/* Plaintext that one data_received may bring. */
#define PCO__SSL_PLAINTEXT_SIZE ((size_t)64 * 1024)

/* The most that one TLS record carries (RFC 8446, 5.1). */
#define PCO__SSL_RECORD_SIZE ((size_t)16 * 1024)

/* The header of a record: its type, a version, and two bytes of length. */
#define PCO__SSL_HEADER_SIZE 5

/* Ciphertext that has arrived; shrinks at the front as OpenSSL reads. */
typedef struct pco__ssl_input {
    const unsigned char *data;
    size_t length;
} pco__ssl_input;

/* Where the records of a connection's input begin and end. */
typedef struct pco__ssl_records {
    unsigned char header[PCO__SSL_HEADER_SIZE];
    uint8_t header_length; /* of the header that has come in part */
    uint16_t left;         /* of the record whose header is complete */
} pco__ssl_records;

/*
 * A call into OpenSSL: for whom it is, and how it goes. One that writes into another connection's
 * lower end, as TLS in TLS does, calls OpenSSL while it runs: hence `outer`.
 */
typedef struct pco__ssl_call {
    struct pco__ssl_call *outer;
    struct pco__ssl *ssl;
    pco_transport *lower;        /* where OpenSSL's output goes */
    pco__ssl_records *bounds;    /* of the input */
    pco__ssl_input *input;       /* what it may read; NULL: nothing */
    unsigned records_most;       /* how many records it may complete */
    unsigned records;            /* how many it has */
    size_t output;               /* how much it has written */
    int error;                   /* why its output could not be taken, 0: it could */
    bool dry;                    /* it wanted to read more than it may */
    bool ends;                   /* nothing follows its next record for now: it may leave at once */
    bool warned;                 /* the last alert that it read was none of close_notify */
    const char *sentence;        /* static: what a callback has to say about its failure */
    const pco__ssl_setup *setup; /* in a handshake: what the callbacks look at */
} pco__ssl_call;

/* Connections that wait for their turn, first come, first served: see turns.h. */
typedef struct pco__ssl_line {
    pco__link waiting; /* pco__ssl.base.link */
    uint64_t spent;    /* nanoseconds of this turn */
    bool is_served;    /* it is the turn of those who wait */
} pco__ssl_line;

enum { PCO__SSL_HANDSHAKES, PCO__SSL_DATA, PCO__SSL_LINES };

typedef struct pco__ssl_loop {
    pco__resident resident;
    pco_loop *loop;
    BIO_METHOD *method;
    BIO *bio;
    SSL_CTX *hello_ctx;       /* see hellos.h; NULL: it was not needed yet */
    unsigned char *plaintext; /* PCO__SSL_PLAINTEXT_SIZE, being delivered */
    unsigned char *gathered;  /* PCO__SSL_RECORD_SIZE, small buffers that become one record */
    pco__ssl_call *call;      /* the one that runs, NULL: none */
    const pco__trust *trust;  /* who passes verdicts on servers: the system, but in tests */

    /* The connections used of late, which hold buffers of OpenSSL's, and their sweeping. */
    pco__link busy;
    pco__timer sweep;

    pco__ssl_line lines[PCO__SSL_LINES];
    pco__task turn; /* begins the next turn's count */
} pco__ssl_loop;

/* The loop's part, made when first asked for. NULL: out of memory. */
pco__ssl_loop *pco__ssl_loop_get(pco_loop *loop, void (*sweep)(pco__timer *timer),
                                 void (*turn)(pco__task *task));

/* The call that runs inside this engine. */
pco__ssl_call *pco__ssl_call_of(const SSL *engine);

#endif
