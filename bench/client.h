/* SPDX-License-Identifier: MIT */
/*
 * client.h: one connection of the load generator: connecting, the TLS handshake, reading, writing
 * and ending, none of which blocks. What is sent and counted is load.c's business.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

typedef enum client_state {
    CLIENT_NONE,
    CLIENT_CONNECTING,
    CLIENT_SHAKING, /* in the TLS handshake */
    CLIENT_OPEN,
    CLIENT_ENDING /* TLS: close_notify and the end are sent, waiting for the peer's end */
} client_state;

typedef struct client {
    int descriptor;
    client_state state;
    uint32_t interest; /* the events that epoll reports, level-triggered */
    SSL *ssl;          /* NULL: plain */
    SSL_SESSION *session;
} client;

/* What reading and writing return besides a number of bytes, which is never 0. */
enum { CLIENT_WAIT = -1, CLIENT_END = -2, CLIENT_FAILED = -3 };

/* A context for TLS 1.3; `resume`: clients keep the newest session and offer it. */
SSL_CTX *client_context_new(bool resume);

/* Begins to connect to a port of 127.0.0.1, watched by `epoll`. False: the system refuses. */
bool client_connect(client *self, int epoll, int port, SSL_CTX *context);

/* Goes on connecting after an event. CLIENT_WAIT, CLIENT_FAILED, or 0: open. */
int client_proceed(client *self, int epoll);

/*
 * Both move what they can at once. With TLS a read may leave data in OpenSSL of which epoll knows
 * nothing: ask client_has_more.
 */
int client_read(client *self, void *memory, size_t size);
int client_write(client *self, const void *data, size_t length);
bool client_has_more(const client *self);

/* Changes the events that are reported; nothing happens if they are the same. */
void client_watch(client *self, int epoll, uint32_t interest);

/*
 * Ends an open connection: plain by close(), TLS by close_notify, shutdown() and waiting for the
 * peer to do the same. True: it has ended; otherwise client_read will say CLIENT_END.
 */
bool client_end(client *self, int epoll);

/* Closes without ceremony. */
void client_close(client *self);

#endif
