/* SPDX-License-Identifier: MIT */
/*
 * connection.h (internal): how a connection is made of a socket, whether it was accepted, connected
 * or brought by the user: a stream over it, TLS on top if its owner wants that, then the protocol
 * that the owner makes, and connection_made.
 */
#ifndef PCO_CONNECTION_H
#define PCO_CONNECTION_H

#include "tls/tls.h"
#include "transport/stream.h"

/* Who makes connections, all alike: a server, or who opens one. Its streams have it as owner. */
typedef struct pco__connection_owner pco__connection_owner;

typedef struct pco__connection_class {
    pco__owner_class base;

    /* The connection stands, TLS included: its protocol. NULL refuses, and it is aborted. */
    pco_protocol *(*make_protocol)(pco__connection_owner *owner);

    /* connection_made has returned. May be NULL. */
    void (*made)(pco__connection_owner *owner, pco_transport *transport);

    /* As pco__ssl_options.handshake_done; never called without TLS. */
    void (*handshake_done)(pco__connection_owner *owner, pco_transport *transport,
                           const pco_error *error);
} pco__connection_class;

/*
 * Whether the other end of a connection may be who it is. What it answers, with a sentence, ends
 * the connection.
 */
typedef int (*pco__peer_check)(const pco__connection_owner *owner, pco_socket sock,
                               pco_error *error);

struct pco__connection_owner {
    pco__owner base;             /* its class is a pco__connection_class */
    pco__stream_options streams; /* what all of its streams have in common */
    pco__peer_check check_peer;  /* asked before anything else; NULL: anybody may */

    /* For TLS. */
    pco_ssl_context *ssl;    /* NULL: plain */
    bool is_client;          /* set without TLS, too */
    const char *server_name; /* see pco__ssl_options */
    const pco_ssl_session *session;
    double handshake_timeout;
    double shutdown_timeout;
    bool half_close;
};

void pco__connection_owner_init(pco__connection_owner *owner, const pco__connection_class *class_);

/*
 * Goes on with a stream that was made with the owner's `streams` and is open: check_peer, TLS, the
 * protocol, connection_made. On failure, of check_peer or TLS, the stream has been aborted. Not
 * from inside a call that the user made.
 */
int pco__connection_begin(pco__connection_owner *owner, pco__stream *stream, pco_error *error);

#endif
