/* SPDX-License-Identifier: MIT */
/*
 * ssl_world.h: for tests of TLS: one end that is the library's, on the fake backend, and a peer
 * that is OpenSSL with memory BIOs, which can therefore misbehave in every way. Time is virtual,
 * and bytes move when the test says so.
 */
#ifndef SSL_WORLD_H
#define SSL_WORLD_H

#include "make_certificates.h"
#include "tls/tls.h"
#include "support.h"

#include <openssl/ssl.h>

/* ---- The library's end ---- */

typedef struct tls_end {
    recorder protocol;
    pco_loop *loop;
    pco__stream *stream; /* valid until `over` */
    fake_socket *socket;
    pco_transport
        *transport; /* the user's; retained, so it may always be asked; NULL: never made */
    size_t taken;   /* how much of socket->sent has been taken to the other side */

    /* Yours, before it is started. */
    bool half_close;
    bool refuses;                      /* make_protocol returns NULL */
    const pco_ssl_session *session;    /* a client's: to be resumed */
    void (*at_done)(struct tls_end *); /* inside handshake_done */
    void (*at_make)(struct tls_end *); /* inside make_protocol */

    /* What has happened. */
    unsigned done; /* calls of handshake_done */
    pco_error handshake_error;
    unsigned factory_calls;
} tls_end;

#define TLS_HANDSHAKE_TIMEOUT 60.0
#define TLS_SHUTDOWN_TIMEOUT 30.0

void tls_end_init(tls_end *self, bool buffered);

/* Puts TLS on a new stream, and begins. */
int tls_start(pco__stream *stream, const pco__ssl_options *options, pco_error *error);

/* Starts it in a turn of the loop, which this runs. */
void tls_end_start(tls_end *self, pco_loop *loop, pco_ssl_context *context);
void tls_end_start_client(tls_end *self, pco_loop *loop, pco_ssl_context *context,
                          const char *server_name);

/* What it is started with, but for the context and the client's part. */
void tls_end_options(tls_end *self, pco__ssl_options *options);

/* The loop must have been freed. */
void tls_end_free(tls_end *self);

/* Whether the socket is closed. */
bool tls_end_is_over(const tls_end *self);

/* ---- Contexts ---- */

/* Options for a server with a certificate of its own. */
pco_ssl_context_options tls_options(const certificate *own);
pco_ssl_context *tls_context(const pco_ssl_context_options *options);
pco_ssl_context *tls_server_context(void);

/* As pco_ssl_context_new and pco_ssl_context_new_client. */
int tls_context_new(bool client, const pco_ssl_context_options *options, pco_ssl_context **context,
                    pco_error *error);

/* The options are refused with the code, and with a sentence that contains `words`. */
void tls_assert_refused(bool client, const pco_ssl_context_options *options, int code,
                        const char *words);

void tls_write_file(const char *name, const void *data, size_t length);

/* For the library's client end; trusts the test's authority. */
pco_ssl_context *tls_client_context(void);

/* ---- The peer ---- */

typedef struct tls_peer {
    SSL *ssl;
    BIO *in;  /* to the peer */
    BIO *out; /* from it */
    bool established;
    bool ended;  /* has seen the close_notify */
    int failure; /* the reason of OpenSSL's failure, 0: none */
    unsigned char *received;
    size_t length;
} tls_peer;

/* A client that trusts the test's authority. `version`: TLS1_2_VERSION, ..., 0 for any. */
SSL_CTX *tls_peer_ctx(int version);
void tls_peer_init(tls_peer *self, SSL_CTX *ctx, const char *server_name);
void tls_peer_free(tls_peer *self);

/* Encrypts; what comes out waits to be moved. */
void tls_peer_write(tls_peer *self, const void *data, size_t length);

/* The peer does what it can with what has come. */
void tls_peer_work(tls_peer *self);

/* Moves what is on its way; both return whether there was anything. */
bool tls_move_to_peer(tls_peer *self, tls_end *end);
bool tls_move_to_end(tls_peer *self, tls_end *end);

/* Runs everything until nothing moves any more. */
void tls_run(tls_peer *self, tls_end *end);

/* The same for two ends of the library. */
void tls_run_ends(tls_end *one, tls_end *other);

/* A loop and its two ends, and their end; both return what cmocka's set-up and tear-down do. */
int tls_ends_begin(pco_loop **loop, tls_end *server, tls_end *client);
int tls_ends_end(pco_loop *loop, tls_end *server, tls_end *client);

/*
 * New ends in the place of those of before, with these contexts, as far as they come. What the
 * connections of before still have to say they hear, too.
 */
void tls_ends_shake(pco_loop *loop, tls_end *server, pco_ssl_context *of_server, tls_end *client,
                    pco_ssl_context *of_client, const char *name);

/* ---- Records ---- */

/* How many records of a type are in what the end has sent from an offset on. */
size_t tls_count_records(const fake_socket *sock, size_t from, int type);

#define TLS_RECORD_DATA 23

/* ---- Sentences ---- */

/* OpenSSL's own words for a reason (SSL_R_...): those for an alert are others since version 3.2. */
const char *tls_words(int reason);

#endif
