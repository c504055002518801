/* SPDX-License-Identifier: MIT */
/*
 * start_tls.h: TLS on a connection that stands already, at either end: STARTTLS of mail and LDAP,
 * a server behind a proxy's CONNECT, TLS in TLS.
 * (asyncio: loop.start_tls.)
 */
#ifndef PORTICO_START_TLS_H
#define PORTICO_START_TLS_H

#include <portico/base.h>
#include <portico/error.h>
#include <portico/protocol.h>
#include <portico/ssl.h>
#include <portico/transport.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pco_start_tls_options {
    size_t size;

    /* A context for the end that this side is. It is kept as long as it is needed. */
    pco_ssl_context *ssl;

    /*
     * Or PCO_ON: the client's with all its defaults, as in pco_connection_options. One of the two.
     */
    int tls;

    /* PCO_ON: this side is the server. Default: the client. */
    int server_side;

    /*
     * For the client, required: the name or the address that the server's certificate must show, as
     * in pco_connection_options. What is verified says the context.
     */
    const char *server_hostname;

    /* Seconds, as in pco_connection_options. 0: 60 and 30. The first begins with this call. */
    double ssl_handshake_timeout;
    double ssl_shutdown_timeout;

    /*
     * Who goes on with the new transport. NULL: the protocol that is there. Its connection_made is
     * not called, as in asyncio: the completion says that TLS stands. Another protocol follows the
     * one that is there when the handshake is done, which then hears no more; if it fails,
     * `protocol` stays yours as it was.
     */
    pco_protocol *protocol;

    /*
     * Input that data_received, or a buffer, was given already and that belongs to TLS: the rest of
     * what came with the word that TLS begins. Copied. By default none: what your protocol was
     * given is its own.
     */
    const void *input;
    size_t input_length;

    /*
     * What to do with input that the library still keeps (reading was paused; a buffer was too
     * small; a TLS connection's next records were there already). By default that is PCO_EINVAL:
     * who asks for TLS in the clear must not send more in the clear behind it, as if TLS had
     * protected it (STARTTLS injection). PCO_ON: it is the beginning of the handshake, behind
     * `input`; where the peer may begin without waiting for an answer. What the system has not
     * handed over yet is TLS's in any case.
     */
    int keep_input;

    /* As in pco_server_options. */
    int ssl_half_close;

    /* For the client: a session to resume, as in pco_connection_options. */
    pco_ssl_session *ssl_session;
} pco_start_tls_options;

/*
 * What start_tls calls when it is done, exactly once, on the loop's thread, never inside the call
 * that began or canceled it. Either TLS stands: `transport` is the connection's from now on, open,
 * reading, and nothing that came through TLS has been delivered yet. Or `transport` is NULL, and
 * `error`, which is lent, says why; connection_lost follows, to the protocol that was there, with
 * the transport of before: soon, or after a failed handshake when the peer has had up to 2 s to
 * read the alert.
 */
typedef void (*pco_tls_started)(pco_transport *transport, const pco_error *error, void *context);

/*
 * Begins TLS on a transport, plain or TLS itself. What was written leaves first, in the clear.
 * Reading stops at once: of the callbacks that the protocol has, only connection_lost may come
 * until the completion, and only if it fails; a server that shuts down closes the connection
 * meanwhile.
 *
 * The transport is valid until the completion has returned; if TLS stands it is gone then
 * (pco_transport_retain keeps the shell). From this call on it is as one that is closed, and what
 * can fail answers PCO_ECLOSED, with these exceptions: closing and aborting it end the connection,
 * the completion hears PCO_ECANCELED; its protocol is still told; to start TLS on it once more is
 * PCO_EBUSY.
 *
 * The new transport takes over: its place with the server (limits, counters, close_clients, ...;
 * `handshaking` and handshake_failed are about connections that begin with TLS), the water marks,
 * and that pause_writing was called last, if the protocol stays. Not that reading was paused: pause
 * it in the completion. close_timeout is followed by ssl_shutdown_timeout.
 *
 * Arguments are checked, and their errors returned, at once; then nothing has changed. If `request`
 * is not NULL it receives the request, which is yours to release (portico/request.h); to cancel it
 * ends the connection. Loop's thread; any callback of the connection's but connection_lost and
 * eof_received.
 *
 * Returned: PCO_EINVAL: no `started`; not just one of ssl and tls, tls for a server; a context of
 * the other end; server_hostname missing, empty or no name, or given by a server; a session of
 * another name or context, or given by a server; NULL for `input` with a length; a number out of
 * range; a protocol without methods; input that is kept and not allowed; a transport of another
 * loop. PCO_EBUSY: TLS has been started on it already, or it is being detached. PCO_EPIPE: after
 * pco_transport_write_eof. PCO_ECONNRESET: eof_received was called. PCO_ECLOSED: it is closing, or
 * closed, or the loop is being freed. PCO_ETLS, PCO_ENOMEM; PCO_ENOTSUP: built without TLS. With
 * tls also what making a client's context answers.
 *
 * Told: PCO_ETLS, PCO_ECERT: the handshake failed. PCO_ETIMEDOUT: ssl_handshake_timeout.
 * PCO_ECONNRESET, and whatever else ends connections. PCO_ENOMEM. PCO_ECANCELED: by the request, by
 * closing or aborting, by the end of the loop or of the server's clients.
 */
PCO_API int pco_loop_start_tls(pco_loop *loop, pco_transport *transport,
                               const pco_start_tls_options *options, pco_tls_started started,
                               void *context, pco_request **request, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
