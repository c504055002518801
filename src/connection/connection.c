/* SPDX-License-Identifier: MIT */
/* connection.c: a socket becomes a connection. */
#include "connection/connection.h"

static const pco__connection_class *class_of(const pco__connection_owner *owner)
{
    return (const pco__connection_class *)owner->base.class_;
}

void pco__connection_owner_init(pco__connection_owner *owner, const pco__connection_class *class_)
{
    owner->base.class_ = &class_->base;
    pco__list_init(&owner->base.streams);
    owner->streams.owner = &owner->base;
}

/* ---- What TLS asks ---- */

static pco_protocol *make_protocol(void *context)
{
    pco__connection_owner *owner = context;
    return class_of(owner)->make_protocol(owner);
}

static void made(pco_transport *transport, void *context)
{
    pco__connection_owner *owner = context;
    if (class_of(owner)->made != NULL) {
        class_of(owner)->made(owner, transport);
    }
}

static void handshake_done(pco_transport *transport, const pco_error *error, void *context)
{
    pco__connection_owner *owner = context;
    class_of(owner)->handshake_done(owner, transport, error);
}

static int start_tls(pco__connection_owner *owner, pco__stream *stream, pco_error *error)
{
    pco__ssl_options options = {.context = owner->ssl,
                                .client = owner->is_client,
                                .server_name = owner->server_name,
                                .session = owner->session,
                                .handshake_timeout = owner->handshake_timeout,
                                .shutdown_timeout = owner->shutdown_timeout,
                                .half_close = owner->half_close,
                                .make_protocol = make_protocol,
                                .made = made,
                                .handshake_done = handshake_done,
                                .context_of_calls = owner};
    pco__ssl *ssl;
    int code = pco__ssl_put_on(&stream->base, &options, &ssl, error);
    if (code != 0) {
        pco__stream_abort(stream, false);
        return code;
    }
    pco__ssl_begin(ssl);
    return 0;
}

static inline int begin(pco__connection_owner *owner, pco__stream *stream, pco_error *error)
{
    if (owner->ssl != NULL) {
        return start_tls(owner, stream, error);
    }
    pco_protocol *protocol = make_protocol(owner);
    if (protocol == NULL) {
        pco__stream_abort(stream, false);
        return 0;
    }
    pco__stream_start(stream, protocol);
    made(&stream->base, owner);
    return 0;
}

static PCO__COLD int check_and_begin(pco__connection_owner *owner, pco__stream *stream,
                                     pco_error *error)
{
    int code = owner->check_peer(owner, stream->io.socket, error);
    if (code != 0) {
        pco__stream_abort(stream, false);
        return code;
    }
    return begin(owner, stream, error);
}

int pco__connection_begin(pco__connection_owner *owner, pco__stream *stream, pco_error *error)
{
    return owner->check_peer != NULL ? check_and_begin(owner, stream, error)
                                     : begin(owner, stream, error);
}
