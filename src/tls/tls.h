/* SPDX-License-Identifier: MIT */
/*
 * tls.h: what connections ask of TLS, and all that the floors above know of it. The files of this
 * folder implement it with OpenSSL; none.c does where the library is built without.
 */
#ifndef PCO_TLS_H
#define PCO_TLS_H

#include <portico/protocol.h>
#include <portico/ssl.h>

#include "transport/class.h"

/*
 * The context of a client that has said nothing but that it wants TLS: all defaults. It is made
 * when first asked for, and stays the loop's; *context is lent. Errors as
 * pco_ssl_context_new_client.
 */
int pco__ssl_context_of_loop(pco_loop *loop, pco_ssl_context **context, pco_error *error);

/* Whether a context is made for this end; a ready SSL_CTX is, unless its method is the other's. */
bool pco__ssl_context_fits(pco_ssl_context *context, bool client);

/*
 * Whether a session may be given to a connection with this context (NULL: the loop's own) to a
 * server of this name. PCO_EINVAL: it is of another context or another name. PCO_ENOMEM.
 */
int pco__ssl_session_check(const pco_ssl_session *session, pco_ssl_context *context,
                           const char *server_name, pco_error *error);

typedef struct pco__ssl_options {
    pco_ssl_context *context; /* gains a reference until the handshake is over */
    bool client;
    const char *server_name; /* client: sent as SNI, and what the certificate must show; or NULL */
    const pco_ssl_session *session; /* client: to be resumed, if it is still of use; or NULL */
    double handshake_timeout;
    double shutdown_timeout;
    bool half_close; /* each direction ends for itself, if the version is 1.3 */

    /* Called when the handshake is done, directly before connection_made. NULL refuses. */
    pco_protocol *(*make_protocol)(void *context);

    /* connection_made has returned. May be NULL. */
    void (*made)(pco_transport *transport, void *context);

    /*
     * Called once, when the handshake has succeeded (NULL) or failed; then all of it ends. It
     * hears PCO_ECANCELED if it was this side that closed or aborted the connection meanwhile.
     */
    void (*handshake_done)(pco_transport *transport, const pco_error *error, void *context);
    void *context_of_calls;

    /* Input that comes before all that the lower end brings; copied. */
    const void *input;
    size_t input_length;
} pco__ssl_options;

typedef struct pco__ssl pco__ssl;

/*
 * Puts TLS on top of a transport, its lower end: a new stream, or one that is open, TLS included.
 * The lower end notices nothing before pco__ssl_begin. On failure nothing has changed.
 * PCO_ENOMEM, PCO_ETLS, PCO_EINVAL (a server_name that is none).
 */
int pco__ssl_put_on(pco_transport *lower, const pco__ssl_options *options, pco__ssl **ssl,
                    pco_error *error);

/*
 * Puts TLS in the place of a transport that a user has, and that can be covered (check_cover): the
 * user's calls find it closed from now on. When the handshake is done make_protocol says who goes
 * on, without connection_made; if it fails, the protocol of before hears connection_lost, with the
 * lower end, after handshake_done. No callback is called. pco__ssl_begin follows.
 */
void pco__ssl_cover(pco__ssl *ssl);

/*
 * Begins, unless it has ended already: the lower end's protocol is TLS from now on, and the
 * handshake is under way.
 */
void pco__ssl_begin(pco__ssl *ssl);

#endif
