/* SPDX-License-Identifier: MIT */
/*
 * connection.h: create_connection: opening connections to others; and connections of sockets that
 * were connected or accepted elsewhere.
 *
 * The specification is asyncio's loop.create_connection: every parameter of it is here under its
 * own name. docs/create_connection.md goes through them one by one.
 */
#ifndef PORTICO_CONNECTION_H
#define PORTICO_CONNECTION_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/error.h>
#include <portico/protocol.h>
#include <portico/resolver.h>
#include <portico/ssl.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What create_connection calls when it is done, exactly once, on the loop's thread, never inside
 * the call that began or canceled it: directly after connection_made with the transport and the
 * protocol that it has now (connection_made may have closed it: connection_lost is then still to
 * come); or, if there is no connection, with NULL, NULL and the error, which is lent. Sockets of
 * attempts that failed, or lost, are closed by then or in the loop's next turn; where the system
 * still holds one (completion ports), as soon as that lets go; after a failed TLS handshake, when
 * the peer has had up to 2 s to read the alert.
 */
typedef void (*pco_connected)(pco_transport *transport, pco_protocol *protocol,
                              const pco_error *error, void *context);

/* How far a connection has come; for a status line, for instance. */
enum {
    PCO_CONNECTION_RESOLVING = 1,  /* the host is looked up; a literal address is, too */
    PCO_CONNECTION_CONNECTING = 2, /* to this address; others may be under way */
    PCO_CONNECTION_FAILED = 3,     /* with this address, because of the error; others may go on */
    PCO_CONNECTION_HANDSHAKE = 4   /* TLS, with this address; no other is tried any more */
};

/* `address` and `error` are lent, and NULL where the stage has none. */
typedef void (*pco_connection_progress)(int stage, const pco_address *address,
                                        const pco_error *error, void *context);

typedef struct pco_connection_options {
    size_t size;

    /*
     * Whose connection it will be: a factory, called when the connection stands (with TLS after the
     * handshake), directly before connection_made; or a protocol. One of the two. If there is no
     * connection, the factory is not called, and `protocol` stays yours as it was.
     */
    pco_protocol_factory protocol_factory;
    void *context; /* what the callbacks of these options are given */
    pco_protocol *protocol;

    /*
     * Where to connect: a name or an address, and a port (1 to 65535), or a service of the system's
     * list, such as "https", or a number in digits. NULL and "": this machine (loopback).
     */
    const char *host;
    int port;
    const char *service;

    /* Or addresses with ports (1 to 65535), resolved already; tried in the order of interleave. */
    const pco_address *addresses;
    size_t addresses_count;

    /*
     * PCO_AF_INET or PCO_AF_INET6 to use only those of a name's addresses; PCO_AF_UNSPEC: both.
     * `addresses` that are given must be of it.
     */
    int family;

    /* The sockets' protocol, as in socket(); 0: TCP. (Linux has 262, MPTCP.) */
    int proto;

    /* PCO_AI_*, for looking names up; PCO_AI_PASSIVE does not count. 0 and PCO_AI_NONE: none. */
    int flags;

    /*
     * Or an existing stream socket, connected already. It is the library's once the call has
     * returned 0, whatever comes of the connection; if the call fails it is yours still. 0 and
     * PCO_NO_SOCKET: none; to pass descriptor 0, set has_sock to PCO_ON (as in pco_server_options).
     * One whose write side was shut down before ends with PCO_ECONNRESET if it is written to. One
     * that this loop watches (portico/descriptor.h) is PCO_EBUSY.
     */
    pco_socket sock;
    int has_sock;

    /*
     * Where to connect from: a name or an address (NULL and "": any), and a port (0: any). Each
     * attempt takes the first of its family that can be bound.
     */
    const char *local_host;
    int local_port;

    /* TLS with a context of pco_ssl_context_new_client. NULL: plain, but for `tls`, below. */
    pco_ssl_context *ssl;

    /*
     * The name that the server's certificate must show, sent as SNI unless it is a literal address,
     * which the certificate must show as such, without its scope ("127.1" is 127.0.0.1, as it is
     * for `host`). It counts among the certificate's alternative names alone: a common name is for
     * people to read. NULL: `host`. Required with `addresses` or `sock` and TLS. "" is PCO_EINVAL:
     * asyncio takes it for "do not check". What else is no host name, one that is not written in
     * ASCII (xn--) included, is PCO_EINVAL, too, told by the completion. With a context of a ready
     * SSL_CTX it is set on the connection's SSL alone, and whether anything is verified is the
     * SSL_CTX's matter: without SSL_VERIFY_PEER, as OpenSSL makes one, whatever the server shows is
     * accepted.
     */
    const char *server_hostname;

    /*
     * Seconds for the TLS handshake (0: 60), and for flushing and the exchange of close_notify (0:
     * 30); as in pco_server_options. PCO_EINVAL if given without TLS.
     */
    double ssl_handshake_timeout;
    double ssl_shutdown_timeout;

    /*
     * "Happy eyeballs" (RFC 8305): after so many seconds without an answer the next address is
     * tried beside the one before; the first that answers wins, the others are closed. 0: 0.25.
     * INFINITY: one after the other. A failure starts the next at once in any case. No more than 8
     * are under way at once; one that has had no answer for 10 s then makes room.
     */
    double happy_eyeballs_delay;

    /*
     * The order of the addresses: the families alternate, after so many of the first one's. 0: 1.
     * -1: as the system, which knows best what works (RFC 6724), has ordered them.
     */
    int interleave;

    /*
     * If all addresses fail, the sentence names each with its reason. Default: those that failed
     * for the same reason together. PCO_ON: one by one, in the order in which they were tried. A
     * sentence too long is cut: `progress` hears of each address.
     */
    int all_errors;

    /* Seconds for all of it: names, connecting, handshake. 0 and INFINITY: no limit of ours. */
    double connect_timeout;

    /* As in pco_server_options. 0: 30. */
    double close_timeout;

    /*
     * Whether the system probes idle connections (SO_KEEPALIVE). By default that stays as it is,
     * which is off for a new socket; PCO_OFF ends it on a `sock` that has it.
     */
    int keep_alive;

    /* Hears how far it is. May be NULL; may do what every callback may, and cancel the request. */
    pco_connection_progress progress;

    /*
     * Sets what else you wish on each socket, before it is bound and connected: its family is
     * PCO_AF_*. Returns 0, or a PCO_E* that ends this attempt (another number is PCO_EUNKNOWN). The
     * socket stays the library's. May be NULL. Not called for `sock`.
     */
    int (*prepare_socket)(pco_socket sock, int family, void *context);

    /* As in pco_server_options. On some systems user_timeout ends attempts to connect, too. */
    double keep_alive_idle;
    double keep_alive_interval;
    int keep_alive_count;
    double user_timeout;

    /*
     * PCO_ON: TLS, and nothing else need be said. The server's certificate is verified before the
     * factory is called: it must come from whom this system trusts, and be for `server_hostname`,
     * or else `host`. This takes a client's context with all its defaults, which is made once per
     * loop, by the first call that needs it; on Linux and the BSDs it reads the certificates that
     * the system trusts, some milliseconds' work. PCO_EINVAL with `ssl`, which is a context of your
     * own, and for sockets that were accepted: a server shows a certificate, which only a context
     * has. PCO_OFF, as the default: `ssl` alone counts.
     */
    int tls;

    /*
     * A session to resume, which a connection to the same server had before: see
     * pco_transport_get_ssl_session in ssl.h. NULL: none. It gains a reference. PCO_EINVAL: it is
     * of another name than this connection's, or of another context (those of connections with
     * `tls` are one, be it on several loops); for sockets that were accepted. One that is of no
     * use any more, or that the server does not want, makes a full handshake, and no noise.
     */
    pco_ssl_session *ssl_session;

    /* As in pco_server_options. PCO_EINVAL if given without TLS. */
    int ssl_half_close;
} pco_connection_options;

/*
 * Opens a connection. Arguments are checked, and their errors returned, at once; everything else
 * `connected` is told, with PCO_ECANCELED if the request is canceled or the loop freed first.
 * `options`, its strings and addresses are copied; the context of TLS is kept. If `request` is not
 * NULL it receives the request, which is yours to release (portico/request.h). Loop's thread; any
 * callback.
 *
 * Returned: PCO_EINVAL: no `connected`; not just one of protocol_factory and protocol (whose table
 * of methods has no size); not just one of host with port or service, addresses, and sock;
 * local_host or local_port with sock; both ssl and tls, server_hostname, ssl_session or TLS times
 * without them, one of them without a name; a session of another name or context; a context for
 * servers; addresses that have no port or are of another family; a sock where has_sock is PCO_OFF;
 * times or number of keep-alive without it; a number out of range or NaN; a sock that is no stream
 * socket. PCO_ENOTSUP: a time or number of keep-alive, or user_timeout, that the system, or the
 * kind of `sock`, lacks; tls where the library was built without TLS. PCO_ENOTSOCK; PCO_ENOTCONN:
 * a sock that is not connected. PCO_ENOMEM. PCO_ECLOSED: the loop is being freed. With tls also
 * what making a client's context answers.
 *
 * Told: PCO_ENONAME, PCO_ERESOLVE, PCO_EAGAIN (no thread can be started), PCO_EMFILE: a name does
 * not resolve, or could not be looked up; or what the resolver has answered. If every address
 * failed, the error of the one that was tried last: PCO_ECONNREFUSED, PCO_ETIMEDOUT,
 * PCO_ENETUNREACH, PCO_EHOSTUNREACH, PCO_EADDRNOTAVAIL, PCO_EADDRINUSE, PCO_EACCES,
 * PCO_EAFNOSUPPORT, PCO_EMFILE, PCO_ECONNRESET, ... ; a connection to itself, three times over and
 * not by a local_port, is PCO_ECONNREFUSED: nobody listens there. PCO_ETIMEDOUT: connect_timeout,
 * or ssl_handshake_timeout. PCO_ETLS, PCO_ECERT: the handshake failed. PCO_EINVAL: the factory
 * returned no usable protocol, or no certificate can show the server's name (too long, a dot at the
 * beginning). PCO_ECANCELED. PCO_ENOMEM.
 */
PCO_API int pco_loop_create_connection(pco_loop *loop, const pco_connection_options *options,
                                       pco_connected connected, void *context,
                                       pco_request **request, pco_error *error);

/*
 * The same for a socket that was accepted elsewhere: by another process, by systemd, by another
 * loop. Required: sock, and protocol_factory or protocol; allowed: ssl (a server's context) with
 * its times, close_timeout, keep_alive and what says how, user_timeout, progress; anything else is
 * PCO_EINVAL. Errors as above. (asyncio: loop.connect_accepted_socket.)
 */
PCO_API int pco_loop_connect_accepted_socket(pco_loop *loop, const pco_connection_options *options,
                                             pco_connected connected, void *context,
                                             pco_request **request, pco_error *error);

/*
 * Makes two stream sockets that are connected to each other, for tests, and for threads: each end
 * goes to connect_accepted_socket, or to create_connection as its sock, on a loop of its own. Until
 * then they are yours: blocking, not inherited by programs that are started, and none is descriptor
 * 0, 1 or 2.
 *
 * POSIX: Unix sockets without names, so that pco_transport_get_sockname and _get_peername tell an
 * address of PCO_AF_UNIX whose host is "". Windows: TCP over the loopback interface. Any thread. On
 * failure `pair` is untouched. PCO_EMFILE, PCO_ENOBUFS, PCO_ENOMEM; on Windows also what TCP says,
 * and PCO_ECONNREFUSED: too many others connect there.
 */
PCO_API int pco_socket_pair(pco_socket pair[2], pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
