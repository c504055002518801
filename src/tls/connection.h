/* SPDX-License-Identifier: MIT */
/*
 * connection.h: one TLS connection, for the three files that make it up:
 *
 *   tls/engine.c     OpenSSL's part: encrypting, decrypting, what it says when it fails
 *   tls/protocol.c   the protocol to the stream below: handshake, reading, the end
 *   tls/tls_transport.c  the transport to the protocol above: writing, closing, what was agreed on
 *
 * The one hard idea is that OpenSSL is never waited for and never waits. What the stream has
 * received is decrypted until it is used up, and what OpenSSL writes is appended to the stream's
 * output at once. No callback of the user runs inside OpenSSL, and after each one everything is
 * looked at anew: it may have closed or paused the transport, or set another protocol.
 */
#ifndef PCO_SSL_CONNECTION_H
#define PCO_SSL_CONNECTION_H

#include <limits.h>

#include "tls/bio.h"

/*
 *     HANDSHAKING -> OPEN           the peer has proved what it had to
 *                 -> SHUTTING_DOWN  close_notify is sent, the peer's is waited for
 *                 -> CLOSED         the stream is closing, OpenSSL is through
 *
 * A failure goes straight to CLOSED. connection_lost of the stream below ends everything.
 */
typedef enum pco__ssl_state {
    PCO__SSL_HANDSHAKING,
    PCO__SSL_OPEN,
    PCO__SSL_SHUTTING_DOWN,
    PCO__SSL_CLOSED
} pco__ssl_state;

/* What only the handshake needs. */
typedef struct pco__ssl_handshake {
    pco_ssl_context *context;
    pco__ssl_setup *setup;
    double timeout;
    pco_protocol *(*make_protocol)(void *context);
    void (*done)(pco__stream *stream, const pco_error *error, void *context);
    void *context_of_calls;
} pco__ssl_handshake;

/* What pco_ssl_info lends, made when first asked for. */
typedef struct pco__ssl_details {
    char alpn[UCHAR_MAX + 1];
    size_t certificate_length;
    unsigned char certificate[];
} pco__ssl_details;

typedef struct pco__ssl {
    pco_transport base;
    pco_protocol lower; /* what the stream sees */
    pco__ssl_loop *shared;
    SSL *engine;
    pco__ssl_handshake *handshake; /* NULL: it is over */
    pco__ssl_details *details;
    pco__link busy;    /* in the loop's list of those used of late */
    pco__link waiting; /* in the loop's list of handshakes that wait for another turn */
    pco__task task;    /* delivers what OpenSSL holds when reading is resumed; holds a reference */
    pco__timer timer;  /* limits the handshake, later the shutdown */
    double shutdown_timeout;
    size_t answered;      /* bytes that reading made OpenSSL write and that have not left */
    const char *sentence; /* static; NULL: the error's own */
    int error;            /* what connection_lost is told, 0: what the stream says */
    int system_code;      /* OpenSSL's reason */
    uint8_t state;        /* pco__ssl_state */
    bool made;            /* connection_made has been called */
    bool called;          /* its handshake has waited, and what it has received is its turn */
    bool delivering;      /* callbacks run that input has caused: what they do about reading counts
                             when that is over */
    bool goes_on;         /* the callback that runs is not the last: answers leave together */
    bool broken;          /* OpenSSL has failed and must not be called any more */
    bool used;            /* since the last sweep */
} pco__ssl;

/* ---- tls/engine.c ---- */

/* Makes OpenSSL's part for the setup of the handshake. */
int pco__ssl_engine_new(pco__ssl *ssl, const pco__ssl_options *options, pco__ssl_loop *shared,
                        pco_error *error);

/* How a step went; failures are noted in `broken` and `error`. Reading gives a count instead. */
enum {
    PCO__SSL_DONE = 1,   /* the handshake is complete; both close_notify were exchanged */
    PCO__SSL_MORE = 0,   /* the input is used up; the peer's close_notify is missing */
    PCO__SSL_END = -1,   /* the peer has sent close_notify */
    PCO__SSL_FAILED = -2 /* OpenSSL must not be called any more */
};

int pco__ssl_engine_handshake(pco__ssl *ssl, pco__ssl_input *input);

/* Decrypts into `memory`. Returns how many bytes, more than 0; or MORE, END, FAILED. */
int pco__ssl_engine_read(pco__ssl *ssl, pco__ssl_input *input, void *memory, size_t length);

/* Encrypts into the stream's output. Returns 0; otherwise it has failed: ENOMEM or ECLOSED. */
int pco__ssl_engine_write(pco__ssl *ssl, const unsigned char *data, size_t length);

/* Sends close_notify. Returns DONE, MORE or FAILED. */
int pco__ssl_engine_shutdown(pco__ssl *ssl);

/* Whether OpenSSL holds records, whole or begun, or a close_notify, that were not delivered. */
bool pco__ssl_engine_holds_input(const pco__ssl *ssl);

/* Notes why the connection ends; the first reason stays. `sentence` is static or NULL. */
void pco__ssl_set_error(pco__ssl *ssl, int code, int system_code, const char *sentence);

/* The timer of pco__ssl_loop. */
void pco__ssl_sweep(pco__timer *timer);

/* ---- tls/protocol.c ---- */

/* What the stream sees until the handshake is done. */
extern const pco_protocol_methods pco__ssl_handshake_methods;

/* The task of pco__ssl_loop: calls the handshakes that may go on in the next turn. */
void pco__ssl_turn(pco__task *task);

/* Delivers what OpenSSL holds: run by pco__ssl.task. */
void pco__ssl_deliver_held(pco__task *task);

/* Fires when the handshake or the shutdown has taken too long. */
void pco__ssl_timed_out(pco__timer *timer);

/* Gives back what only the handshake needed. */
void pco__ssl_drop_handshake(pco__ssl *ssl);

/* ---- tls/tls_transport.c ---- */

void pco__ssl_set_state(pco__ssl *ssl, pco__ssl_state state);

/* Whether the user sees the transport as open. */
static inline bool pco__ssl_is_open(const pco__ssl *ssl)
{
    return ssl->state == PCO__SSL_OPEN && pco__stream_is_open(ssl->base.stream);
}

/*
 * Sends close_notify behind everything written, and waits for the peer's, unless it has come.
 * What the peer sends until then is dropped.
 */
void pco__ssl_shut_down(pco__ssl *ssl);

/* Closes the stream when what was written has left. */
void pco__ssl_end(pco__ssl *ssl);

/* As pco__ssl_end after a failure, and waits a moment for the peer to read the alert. */
void pco__ssl_end_failed(pco__ssl *ssl);

void pco__ssl_end_at_once(pco__ssl *ssl, bool reset);

#endif
