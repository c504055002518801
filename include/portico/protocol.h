/* SPDX-License-Identifier: MIT */
/*
 * protocol.h: your side of a connection: a struct of yours that begins with a pco_protocol, and a
 * table of callbacks.
 *
 * The callbacks of one connection come in this order, on the loop's thread:
 *
 *     connection_made [data_received]* [eof_received]? connection_lost
 *
 * or, for a buffered protocol, with [get_buffer [buffer_updated]?]* in the place of data_received.
 * pause_writing and resume_writing come in strict turns, between connection_made and
 * connection_lost; there, too, shutting_down may come once. connection_made and connection_lost
 * never run inside a call that you made; connection_lost comes exactly once, last, if and only if
 * connection_made came.
 * (asyncio: protocols.py.)
 */
#ifndef PORTICO_PROTOCOL_H
#define PORTICO_PROTOCOL_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* `methods` stays as it is while a transport has the protocol: see pco_transport_set_protocol. */
struct pco_protocol {
    const pco_protocol_methods *methods;
};

/*
 * The callbacks. Any of them may be NULL: it is then not called (data is dropped, eof_received
 * counts as false). The table must outlive its connections; make it static const.
 */
struct pco_protocol_methods {
    size_t size; /* sizeof(pco_protocol_methods) */

    /* The connection is established; with TLS, after the handshake. All calls are legal. */
    void (*connection_made)(pco_protocol *self, pco_transport *transport);

    /*
     * `length` bytes have arrived, never 0. `data` is lent until the callback returns. How the
     * peer's writes are cut into calls means nothing.
     */
    void (*data_received)(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length);

    /*
     * The peer will send no more. Return false to close the transport (what is written is still
     * flushed), true to keep it open for writing until you close it. With TLS the end is the peer's
     * close_notify, and what is returned counts if pco_transport_can_write_eof (TLS 1.3, with the
     * option ssl_half_close); otherwise the connection is closed in both cases, as in asyncio. A
     * TLS stream that is cut off without a close_notify, or ended by a fatal alert, brings no
     * eof_received: connection_lost tells (PCO_ETRUNCATED, PCO_ETLS). Cut off behind it, it has
     * ended all the same.
     */
    bool (*eof_received)(pco_protocol *self, pco_transport *transport);

    /*
     * The connection has ended. `error` is NULL after close, abort or the peer's clean end, and
     * says what happened otherwise; it is lent. The transport is valid until this returns. This is
     * the place to free the protocol.
     */
    void (*connection_lost)(pco_protocol *self, pco_transport *transport, const pco_error *error);

    /*
     * The write buffer has grown over its high-water mark: stop writing until resume_writing. Runs
     * inside the write that did it, or the setting of the mark. With TLS it may also run outside of
     * them: what TLS answers by itself, and what encrypting adds, counts as well.
     */
    void (*pause_writing)(pco_protocol *self, pco_transport *transport);

    /* The write buffer has shrunk to its low-water mark. */
    void (*resume_writing)(pco_protocol *self, pco_transport *transport);

    /*
     * A buffered protocol has these two instead of data_received: bytes are received directly into
     * memory of its own. get_buffer sets *buffer and *length, of at least one byte, valid until
     * buffer_updated or the next get_buffer, or until connection_lost; `size_hint` is how much is
     * expected, 0 if unknown. buffer_updated says how many bytes came, never 0; it may be left out
     * after a get_buffer where it turned out that there was nothing to read. An empty buffer
     * ends the connection with PCO_EINVAL.
     */
    void (*get_buffer)(pco_protocol *self, pco_transport *transport, size_t size_hint,
                       void **buffer, size_t *length);
    void (*buffer_updated)(pco_protocol *self, pco_transport *transport, size_t length);

    /*
     * The server shuts down (pco_server_shutdown): finish what you are at, then close the
     * transport; at the deadline it is aborted. Called at most once, soon after the call and never
     * inside it, on a connection that is open or being detached. A connection whose protocol does
     * not have it is closed politely, which flushes what was written.
     */
    void (*shutting_down)(pco_protocol *self, pco_transport *transport);
};

/*
 * Returns the protocol of a new connection; called once per connection, directly before
 * connection_made, so that whatever it allocates can be freed in connection_lost. NULL refuses the
 * connection, which is closed. A protocol without state of its own may be one static object for
 * all connections.
 */
typedef pco_protocol *(*pco_protocol_factory)(void *context);

#ifdef __cplusplus
}
#endif

#endif
