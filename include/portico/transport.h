/* SPDX-License-Identifier: MIT */
/*
 * transport.h: one connection, as your protocol sees it. The same for plain TCP and for TLS.
 *
 * The library makes transports and frees them. A transport is valid from connection_made until
 * connection_lost returns, or until pco_loop_start_tls has put another in its place;
 * pco_transport_retain keeps the shell longer, on which every call that can fail then answers
 * PCO_ECLOSED; the others say below what they answer, and to start TLS where it has been started is
 * PCO_EBUSY as long as the connection lives. Everything here may be called from every callback, on
 * the loop's thread.
 * (asyncio: transports.py.)
 */
#ifndef PORTICO_TRANSPORT_H
#define PORTICO_TRANSPORT_H

#include <portico/address.h>
#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Writing. Never blocks. Small writes of one callback to a transport leave together when it returns
 * (earlier if it writes to more than 16 transports by turns). A large one, and what is written
 * while the loop does not run, is tried at once, and what the system does not take is queued. 0
 * means that the data was taken; that the connection fails later is told by connection_lost. A
 * length of 0 does nothing.
 *
 * PCO_ECLOSED: the transport is closing, or closed: the data is dropped. PCO_EPIPE: after
 * pco_transport_write_eof. PCO_EINVAL: NULL with a length; more than SIZE_MAX / 2 bytes (writelines
 * and write_owned: together with those that wait). PCO_ENOMEM: the data was not taken; if a part of
 * it had left already, and always with TLS, the connection ends with this error. PCO_ETLS: OpenSSL
 * has failed, and the connection ends.
 */

/* Writes a copy of `data`. */
PCO_API int pco_transport_write(pco_transport *transport, const void *data, size_t length);

/* Writes the buffers in order, as one. (asyncio: writelines.) */
PCO_API int pco_transport_writelines(pco_transport *transport, const pco_buffer *buffers,
                                     size_t count);

/*
 * Writes without copying: `data` belongs to the library until it calls `release(data, context)`,
 * which it does exactly once, whatever this returns: inside the call, or later on the loop's
 * thread. `release` may be NULL for memory that lives for ever. It must not call the transport.
 */
PCO_API int pco_transport_write_owned(pco_transport *transport, const void *data, size_t length,
                                      void (*release)(const void *data, void *context),
                                      void *context);

/*
 * Closes the write side once everything written has left; reading goes on. Idempotent; nothing
 * happens on a closing transport. With TLS 1.3 it sends close_notify, if the option ssl_half_close
 * is on, and the socket stays open both ways; otherwise it is PCO_ENOTSUP with TLS (asyncio:
 * NotImplementedError), whose version 1.2 has the peer answer a close_notify by closing at once,
 * whatever it had to say; and with a named pipe (portico/pipe.h). PCO_ECLOSED.
 */
PCO_API int pco_transport_write_eof(pco_transport *transport);

/* Whether this transport has pco_transport_write_eof; the same for as long as it exists. */
PCO_API bool pco_transport_can_write_eof(const pco_transport *transport);

/*
 * Closes politely: nothing is received any more, what was written is flushed, with TLS the
 * close_notify alerts are exchanged; then connection_lost(NULL). The flush goes on for as long as
 * the peer takes it: at least 4 KiB in each period of the server's close_timeout (with TLS
 * ssl_shutdown_timeout, which covers the alerts, too). If not, the connection is aborted,
 * connection_lost hears PCO_ETIMEDOUT, and the peer of a plain connection sees a reset, so that it
 * cannot take the cut for the end. Idempotent.
 *
 * connection_lost takes its place among the callbacks of the loop when the last byte leaves: inside
 * this call, if there is nothing to flush. So it comes before what is scheduled afterwards. Where
 * the system still holds an operation (IOCP) it follows as soon as that has come back.
 */
PCO_API void pco_transport_close(pco_transport *transport);

/*
 * Closes at once; what was written and has not left is lost. connection_lost(NULL) follows: its
 * place among the callbacks of the loop is taken inside this call, as said of close.
 */
PCO_API void pco_transport_abort(pco_transport *transport);

/* As abort, and the peer sees a reset (SO_LINGER with a time of 0). */
PCO_API void pco_transport_abort_reset(pco_transport *transport);

/*
 * Detaching: the socket leaves the loop, and the connection goes on elsewhere: on another loop
 * (pco_loop_connect_accepted_socket), in another process, in code that blocks.
 *
 * `detached` is called once, on the loop's thread, never inside the call that began or canceled it.
 * Either `error` is NULL, and the socket is yours: non-blocking, not inheritable, with the options
 * it had. What was written has been handed to the system, by pco_transport_write_eof the write side
 * closed. `data`, lent, is the input that had arrived and that no protocol was given; it comes
 * before what the socket still holds (the peer's end, too: a read of 0). connection_lost(NULL)
 * follows directly; the socket's own name is PCO_ECLOSED by then. Or `sock` is PCO_NO_SOCKET,
 * `data` NULL, and the error says why nothing came of it:
 *
 *   PCO_ECANCELED   by pco_request_cancel: the transport has gone on since that call, as if nothing
 *                   had been. Or it was closed or aborted meanwhile, by you, its server or the
 *                   loop's end, and connection_lost is to come.
 *   another error   the connection has failed, and connection_lost is to come with the same error.
 */
typedef void (*pco_detached)(pco_socket sock, const void *data, size_t length,
                             const pco_error *error, void *context);

/*
 * Detaches the transport. From now on it counts as closing: writing and reading are PCO_ECLOSED,
 * and of the protocol's callbacks only connection_lost and shutting_down come (a server that shuts
 * down closes it if there is no shutting_down). Bytes that a data_received or buffer was given are
 * the protocol's, used or not; so where the rest of such a piece belongs to the connection, pass it
 * on with what `detached` brings. The flush has no time limit: a peer that does not read is yours
 * to give up on. Any callback, connection_made included; eof_received then returns true, since
 * false closes. If `request` is not NULL it receives the request, which is yours to release
 * (portico/request.h).
 *
 * On Windows the socket leaves its completion port (Wine 8 lets none leave: there it can join no
 * other loop). An OVERLAPPED of yours needs an event of its own: the socket itself is not signaled.
 *
 * PCO_EINVAL: no `detached`. PCO_ENOTSUP: TLS, whose keys would stay behind. PCO_EBUSY: it is being
 * detached already. PCO_ECLOSED. PCO_ENOMEM.
 */
PCO_API int pco_transport_detach(pco_transport *transport, pco_detached detached, void *context,
                                 pco_request **request, pco_error *error);

/* Whether the transport is closing, closed, or being detached: true after connection_lost. */
PCO_API bool pco_transport_is_closing(const pco_transport *transport);

/*
 * Reading stops: no data_received, get_buffer or eof_received until it is resumed. What had
 * arrived meanwhile is delivered then, in order. A peer's reset is noticed all the same, where the
 * system can tell (not on Windows). Both are idempotent; PCO_ECLOSED on a closing transport, which
 * is never reading.
 */
PCO_API int pco_transport_pause_reading(pco_transport *transport);
PCO_API int pco_transport_resume_reading(pco_transport *transport);
PCO_API bool pco_transport_is_reading(const pco_transport *transport);

/*
 * The protocol whose callbacks are called. Setting takes effect with the next event; the new one's
 * connection_made is not called. The old one is the caller's and is not called any more, so it may
 * be freed at once; a buffer that its get_buffer returns after this is not used. PCO_EINVAL: NULL,
 * or a methods table with a wrong size. PCO_ECLOSED. Once connection_lost has returned, getting
 * answers NULL. Of a transport in whose place is another (portico/start_tls.h) it answers whose the
 * connection is.
 */
PCO_API pco_protocol *pco_transport_get_protocol(const pco_transport *transport);
PCO_API int pco_transport_set_protocol(pco_transport *transport, pco_protocol *protocol);

/*
 * The water marks of the write buffer, in bytes: pause_writing when it holds more than `high`,
 * resume_writing when it has shrunk to `low`. PCO_LIMIT_DEFAULT for one derives it from the other
 * (high = 4 * low, low = high / 4); for both: 64 KiB and 16 KiB. Setting may call pause_writing at
 * once; resume_writing waits for data to leave. With TLS the marks count what waits to be encrypted
 * as well as what waits to leave, TLS's own answers included.
 * PCO_EINVAL: low above high. PCO_ECLOSED. After connection_lost getting answers the defaults.
 */
#define PCO_LIMIT_DEFAULT SIZE_MAX
PCO_API int pco_transport_set_write_buffer_limits(pco_transport *transport, size_t high,
                                                  size_t low);
PCO_API void pco_transport_get_write_buffer_limits(const pco_transport *transport, size_t *high,
                                                   size_t *low);

/*
 * Bytes written that have not been handed to the system, those of the running callback included. 0
 * after connection_lost.
 */
PCO_API size_t pco_transport_get_write_buffer_size(const pco_transport *transport);

/* The loop; NULL once the transport is closed and the loop freed. */
PCO_API pco_loop *pco_transport_get_loop(const pco_transport *transport);

/*
 * Extra information (asyncio: get_extra_info). The socket is the transport's: look, do not close.
 * PCO_NO_SOCKET and PCO_ECLOSED after connection_lost, and once the transport is detached. The
 * peer's name stays known after the peer has gone, and in the connection_lost that follows
 * detaching; PCO_ENOTCONN where the system never told it.
 * What is known of TLS: portico/ssl.h.
 */
PCO_API pco_socket pco_transport_get_socket(const pco_transport *transport);
PCO_API int pco_transport_get_sockname(const pco_transport *transport, pco_address *address);
PCO_API int pco_transport_get_peername(const pco_transport *transport, pco_address *address);

/*
 * What the system has counted on a TCP connection. With TLS the bytes are those of its records. On
 * the way out bytes may still be in the library (pco_transport_get_write_buffer_size) or wait in
 * the system; on the way in they may have arrived and not been delivered.
 */
typedef struct pco_transport_counters {
    size_t size;
    uint64_t bytes_received;
    uint64_t bytes_sent; /* put onto the network, those included that were put there again */
    uint64_t bytes_retransmitted; /* of these: those that were put there again */
    double round_trip_time;       /* the smoothed estimate in seconds; 0: none yet */
} pco_transport_counters;

/*
 * Asks the system, so that counting costs a connection nothing. Fills in *counters, whose size you
 * have set. PCO_EINVAL: a wrong size. PCO_ECLOSED: after connection_lost, and once the transport is
 * detached. PCO_ENOTSUP: not a TCP connection, or a system that does not count: Linux does since
 * 4.19, macOS since 10.11, Windows 10 since 1703.
 */
PCO_API int pco_transport_get_counters(const pco_transport *transport,
                                       pco_transport_counters *counters);

/*
 * Keeps the transport's shell beyond connection_lost, until as many releases. Returns its argument.
 */
PCO_API pco_transport *pco_transport_retain(pco_transport *transport);
PCO_API void pco_transport_release(pco_transport *transport);

#ifdef __cplusplus
}
#endif

#endif
