/* SPDX-License-Identifier: MIT */
/*
 * server.h: create_server, and the server that it makes.
 *
 * The specification is asyncio's loop.create_server: every parameter of it is here under its own
 * name, with its default and its meaning. docs/create_server.md goes through them one by one.
 */
#ifndef PORTICO_SERVER_H
#define PORTICO_SERVER_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/protocol.h>
#include <portico/resolver.h>
#include <portico/ssl.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A TLS handshake failed: the peer's address (empty if unknown) and why. Lent for the call. The
 * protocol factory was not called and will not be.
 */
typedef void (*pco_handshake_failed)(pco_server *server, const pco_address *peer,
                                     const pco_error *error, void *context);

typedef struct pco_server_options {
    size_t size;

    /* Makes the protocol of each connection. Required. */
    pco_protocol_factory protocol_factory;
    void *context; /* what the callbacks of these options are given */

    /*
     * Where to listen: one name or address, or an array of them. NULL and "" mean all interfaces;
     * inside an array that is "", and NULL is an error.
     * A name may stand for several addresses: each gets its socket, in the order given, duplicates
     * dropped; those of one name that this machine does not have are passed over while another of
     * the same name works. Not both `host` and `hosts`.
     */
    const char *host;
    const char *const *hosts;
    size_t hosts_count;

    /* 0 to 65535. 0: a free one, a different one for each socket unless same_port. */
    int port;
    int same_port; /* PCO_ON: port 0 chooses one port for all sockets. Default off. */

    /* PCO_AF_INET or PCO_AF_INET6 to use only those addresses; PCO_AF_UNSPEC: both. */
    int family;

    /*
     * PCO_AI_*, for the look-up. 0: PCO_AI_PASSIVE. PCO_AI_NONE: none (asyncio's 0), with which, as
     * with others that are not PCO_AI_PASSIVE, NULL and "" mean the loopback interface.
     */
    int flags;

    /*
     * An existing stream socket, bound, instead of host and port; the server owns it once the call
     * has succeeded, and it stays yours when the call fails. 0 and PCO_NO_SOCKET: none; to pass
     * descriptor 0, set has_sock. One that this loop watches (portico/descriptor.h) is PCO_EBUSY.
     */
    pco_socket sock;

    /* How many connections the system may queue before they are accepted. 0: 100. */
    int backlog;

    /* TLS. NULL: plain. The server keeps a reference. */
    pco_ssl_context *ssl;

    /*
     * Whether the address may be bound while old connections of it are in TIME_WAIT. Default: on
     * for POSIX. On Windows the default sets nothing, PCO_ON sets SO_REUSEADDR (which lets others
     * take the port), and PCO_OFF sets SO_EXCLUSIVEADDRUSE.
     */
    int reuse_address;

    /*
     * Whether several sockets may be bound to the same port, all with this option, with the system
     * distributing the connections. Default off. Not supported on Windows: PCO_ENOTSUP.
     */
    int reuse_port;

    /*
     * Whether the system probes idle connections (SO_KEEPALIVE). Default off, or with `sock` as
     * that has it.
     */
    int keep_alive;

    /*
     * Seconds for the TLS handshake, from accepting to its end (0: 60), and for flushing and the
     * exchange of close_notify (0: 30), which begin anew if the peer has taken at least 4 KiB
     * meanwhile. PCO_EINVAL if given without ssl.
     */
    double ssl_handshake_timeout;
    double ssl_shutdown_timeout;

    /* Default on. PCO_OFF: bound, not listening, until pco_server_start_serving. */
    int start_serving;

    /* Accept no more than so many at once; the others wait in the backlog. 0: no limit. */
    size_t max_connections;

    /*
     * close() of a plain connection flushes for as long as the peer takes at least 4 KiB of it in
     * so many seconds; if not, the peer sees a reset. 0: 30. INFINITY: no limit.
     */
    double close_timeout;

    /*
     * PCO_ON: after its last byte, close() of a plain connection says so to the peer, then reads
     * and drops what the peer still sends until the peer closes or close_timeout, so that input
     * that nobody reads cannot turn the close into a reset which destroys the answer on its way.
     * Default off, as in asyncio.
     */
    int lingering_close;

    /* Hears of every TLS handshake that failed. May be NULL. */
    pco_handshake_failed handshake_failed;

    /*
     * PCO_ON: `sock` is a socket, whatever its number: a descriptor that is passed on (by inetd, as
     * 0) cannot be taken for none. PCO_OFF: there is none, and a `sock` that is given all the same
     * is PCO_EINVAL. Default: by its number, as said there.
     */
    int has_sock;

    /*
     * Instead of `port`: a service of the system's list, such as "http", or a number in digits (as
     * asyncio's port may be). NULL: `port` counts.
     */
    const char *service;

    /*
     * How the system probes, where keep_alive is PCO_ON (otherwise PCO_EINVAL): after so many idle
     * seconds, again after so many without an answer, and how often until the connection is lost. 0
     * in each: the system's own (often two hours, and minutes). At most 32767 seconds, of which
     * fractions are rounded up, and 127 times. What a system lacks is PCO_ENOTSUP: OpenBSD all,
     * older Windows the number.
     */
    double keep_alive_idle;
    double keep_alive_interval;
    int keep_alive_count;

    /*
     * Seconds that data which was sent may stay unacknowledged before the connection is lost, with
     * PCO_ETIMEDOUT (where Windows says that it was aborted: PCO_ECONNRESET): nothing is idle
     * there, so keep-alive does not notice. On Linux those count, too, in which the peer takes
     * nothing, and so do unanswered probes. 0: the system's own, often a quarter of an hour. At
     * most 2147483; in whole milliseconds on Linux and newer Windows, else in whole seconds,
     * rounded up. Systems without (OpenBSD, NetBSD, older FreeBSD and Windows): PCO_ENOTSUP.
     */
    double user_timeout;

    /*
     * Sets what else you wish on each listening socket, before it is bound: its family is PCO_AF_*.
     * Returns 0, or a PCO_E* with which create_server fails (another number is PCO_EUNKNOWN). The
     * socket stays the library's. May be NULL. Not called for `sock`.
     */
    int (*prepare_socket)(pco_socket sock, int family, void *context);

    /*
     * PCO_ON: with TLS 1.3 each direction of a connection ends for itself, as with TCP
     * (pco_transport_write_eof, eof_received). By default the end of one is that of both, as in
     * asyncio, and as TLS 1.2 demands, which does not change. PCO_EINVAL if given without ssl.
     */
    int ssl_half_close;
} pco_server_options;

/*
 * Creates a server: resolves, binds, and (unless start_serving is PCO_OFF) listens, all within the
 * call, so that an address in use is known at once; if one address fails, all sockets are closed
 * again. A name that needs DNS blocks; pco_loop_create_server_async does not.
 *
 * The server belongs to the caller, who frees it with pco_server_free. The strings in `options`
 * are needed only during the call. Loop's thread; any callback.
 *
 * PCO_EINVAL: no factory; host, port or service together with sock; host together with hosts; port
 * together with service; NULL among hosts; a sock that is no stream socket; TLS times without ssl;
 * times or number of keep-alive without it; a number out of range or NaN. PCO_ENOTSUP: reuse_port,
 * a time or number of keep-alive, or user_timeout, where the system, or the kind of `sock`, lacks
 * it. PCO_ENONAME, PCO_ERESOLVE: a name or a service does not resolve, or could not be looked up.
 * PCO_EADDRINUSE, PCO_EADDRNOTAVAIL, PCO_EACCES, PCO_EAFNOSUPPORT, PCO_EMFILE, PCO_ENOTSOCK,
 * PCO_ENOMEM. What prepare_socket has returned.
 */
PCO_API int pco_loop_create_server(pco_loop *loop, const pco_server_options *options,
                                   pco_server **server, pco_error *error);

/*
 * What pco_loop_create_server_async calls when it is done: a server, which is now yours, or NULL
 * and the error, which is lent.
 */
typedef void (*pco_server_created)(pco_server *server, const pco_error *error, void *context);

/*
 * The same without blocking: names are looked up on a thread of the loop's. Arguments are checked,
 * and their errors returned, at once; then `created` is called exactly once, never inside this
 * call, on the loop's thread (with PCO_ECANCELED if the request is canceled or the loop freed
 * first). `options` and its strings are copied; options->sock stays the caller's until `created`
 * brings the server. If `request` is not NULL it receives the request, which is yours to release
 * (portico/request.h). PCO_EAGAIN: no thread can be started. PCO_ECLOSED: the loop is being freed.
 */
PCO_API int pco_loop_create_server_async(pco_loop *loop, const pco_server_options *options,
                                         pco_server_created created, void *context,
                                         pco_request **request, pco_error *error);

/*
 * The listening sockets, in the order of the addresses given. Count is 0 once the server is
 * closed; an index out of range gives PCO_NO_SOCKET and PCO_EINVAL. They are the server's.
 */
PCO_API size_t pco_server_get_socket_count(const pco_server *server);
PCO_API pco_socket pco_server_get_socket(const pco_server *server, size_t index);
PCO_API int pco_server_get_sockname(const pco_server *server, size_t index, pco_address *address);

/*
 * Listens and accepts; nothing happens if it does already. PCO_ECLOSED: the server is closed, or
 * its loop is being freed. PCO_EADDRINUSE and what else listen() has: the server is then as it was,
 * and may be started again; but if some of its addresses listened already, which cannot be undone,
 * it is closed, and the sentence says so.
 */
PCO_API int pco_server_start_serving(pco_server *server, pco_error *error);

/*
 * start_serving, then runs the loop until the server is closed and its last connection has ended,
 * or until pco_loop_stop; the server is then as it was, so close or shut it down. 0 in both cases.
 * As pco_loop_run_*, it makes the loop this thread's.
 * PCO_EBUSY: the loop runs already, or is hosted. Errors of start_serving.
 */
PCO_API int pco_server_serve_forever(pco_server *server, pco_error *error);

/*
 * The life of a server program in one call: as pco_server_serve_forever, until the process is asked
 * to end by SIGINT or SIGTERM (on Windows by any event of portico/signal.h). Then the server is
 * shut down with `grace` seconds (pco_server_shutdown), and the call returns when all is over. A
 * second signal does not wait for that: it aborts every connection. The signals' handlers are those
 * of the process before the call again when it returns. Handlers that you have added for the same
 * signals are called, too; several servers, each on a loop and a thread of its own, all end.
 *
 * 0, as serve_forever, also where the server was closed or pco_loop_stop came without a signal.
 * pco_loop_stop does not wait for the grace. PCO_EINVAL: grace is NaN or negative. PCO_EBUSY: the
 * loop runs already, or is hosted. PCO_ECLOSED, PCO_ENOMEM; errors of start_serving.
 */
PCO_API int pco_server_serve_until_signal(pco_server *server, double grace, pco_error *error);

/* Whether the server accepts connections; never once it is closed or its loop freed. */
PCO_API bool pco_server_is_serving(const pco_server *server);

/*
 * Closes the listening sockets: when it returns, the port is free, whether the loop runs or not,
 * and who connects is refused. They are closed, never shut down: where another process or server
 * holds duplicates of their descriptors, it goes on listening. Connections go on. Idempotent. A
 * connection that was accepted already, but not handed over, is closed and counted as refused.
 */
PCO_API void pco_server_close(pco_server *server);

/* Closes, or aborts, every connection of the server, as pco_transport_close and _abort do. */
PCO_API void pco_server_close_clients(pco_server *server);
PCO_API void pco_server_abort_clients(pco_server *server);

typedef void (*pco_server_callback)(pco_server *server, void *context);

/*
 * Calls `callback` once the server is closed and its last connection has ended, in a turn of its
 * own; any number may wait. Not called any more once the server is freed. PCO_EINVAL: no callback.
 * PCO_ENOMEM. PCO_ECLOSED: the loop is gone, or is being freed.
 */
PCO_API int pco_server_wait_closed(pco_server *server, pco_server_callback callback, void *context);

/*
 * A graceful end: stops listening, has the connections end, and aborts what is left after `timeout`
 * seconds (INFINITY: never). A connection whose protocol has shutting_down is told, soon and not
 * inside this call, finishes what it is at, and closes itself. The others are closed at once,
 * politely: all that they have written is flushed, for as long as the peer reads, close_timeout
 * being for peers that do not. With lingering_close a connection that is closed still waits for its
 * peer to close, and the shutdown for all of them, up to the deadline. A connection that is being
 * detached is told or closed like the others.
 * pco_server_wait_closed tells when it is over. Called again, the new time counts. PCO_EINVAL: NaN
 * or negative. PCO_ECLOSED: the loop is gone.
 */
PCO_API int pco_server_shutdown(pco_server *server, double timeout);

/* The loop; NULL once it is freed. */
PCO_API pco_loop *pco_server_get_loop(const pco_server *server);

typedef struct pco_server_counters {
    size_t size;
    uint64_t accepted;           /* connections that the system handed over */
    uint64_t active;             /* of them, not yet ended; those in a handshake included */
    uint64_t handshaking;        /* of them, in the TLS handshake */
    uint64_t refused;            /* closed at once: no descriptor, protocol or memory; closing */
    uint64_t handshake_failures; /* TLS handshakes that failed or took too long */
    uint64_t accept_errors;      /* failures of accepting itself, such as PCO_EMFILE */
} pco_server_counters;

/*
 * Fills in *counters, whose size you have set; also of a server that is closed, or whose loop is
 * gone. PCO_EINVAL: a wrong size.
 */
PCO_API int pco_server_get_counters(const pco_server *server, pco_server_counters *counters);

/*
 * Frees the server, in any state, from any callback: it is closed as by pco_server_close.
 * Connections that exist go on without it; those that are still in the TLS handshake are aborted
 * when it is done, since the protocol factory is called no more. NULL is allowed.
 */
PCO_API void pco_server_free(pco_server *server);

#ifdef __cplusplus
}
#endif

#endif
