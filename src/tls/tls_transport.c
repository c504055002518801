/* SPDX-License-Identifier: MIT */
/*
 * tls_transport.c: the side of a TLS connection that the user sees: writing, closing, pausing, and
 * what was agreed on; and how a connection is made and brought to its end.
 *
 * The stream below counts what is written and calls for pauses: there is no queue of plaintext.
 * Who ends a connection moves its state to CLOSED and tells the stream how to go; all else follows
 * from the stream's connection_lost.
 */
#include "tls/connection.h"

#include <assert.h>
#include <math.h>
#include <openssl/x509.h>
#include <string.h>

#include "support/memory.h"

/*
 * Seconds that a peer whose connection has failed is given to read the alert, while what it still
 * sends is read and dropped, so that no reset overtakes the alert.
 */
#define FAILURE_LINGER 2.0

/* Stands in for the user's protocol until there is one. */
static const pco_protocol_methods no_methods = {.size = sizeof no_methods};
static pco_protocol no_protocol = {.methods = &no_methods};

static pco__ssl *of(const pco_transport *transport)
{
    return (pco__ssl *)transport;
}

/* ---- The end ---- */

void pco__ssl_set_state(pco__ssl *ssl, pco__ssl_state state)
{
    assert(state > ssl->state);
    assert(state != PCO__SSL_SHUTTING_DOWN || ssl->state == PCO__SSL_OPEN);
    ssl->state = (uint8_t)state;
    pco__list_remove(&ssl->waiting);
}

/* The timer goes on until the stream is closed: its limit is for all of the shutdown. */
void pco__ssl_end(pco__ssl *ssl)
{
    pco__stream *stream = ssl->base.stream;
    pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    if (!pco__timer_is_running(&ssl->timer)) {
        pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->shutdown_timeout);
    }
    stream->linger = false;
    stream->close_timeout = INFINITY;
    pco__stream_close(stream);
}

void pco__ssl_end_failed(pco__ssl *ssl)
{
    pco__stream *stream = ssl->base.stream;
    pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    stream->linger = true;
    stream->close_timeout =
        ssl->shutdown_timeout < FAILURE_LINGER ? ssl->shutdown_timeout : FAILURE_LINGER;
    pco__stream_close(stream);
}

void pco__ssl_end_at_once(pco__ssl *ssl, bool reset)
{
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    pco__stream_abort(ssl->base.stream, reset);
}

/* OpenSSL holds input that nothing else will make anybody look at. */
static void schedule_held(pco__ssl *ssl)
{
    if (!pco__task_is_queued(&ssl->task)) {
        pco_transport_retain(&ssl->base);
        pco__loop_schedule(ssl->base.home->loop, &ssl->task);
    }
}

void pco__ssl_shut_down(pco__ssl *ssl)
{
    if (ssl->broken) {
        pco__ssl_end_failed(ssl);
        return;
    }
    pco__ssl_set_state(ssl, PCO__SSL_SHUTTING_DOWN);
    pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->shutdown_timeout);
    switch (pco__ssl_engine_shutdown(ssl)) {
    case PCO__SSL_DONE:
        pco__ssl_end(ssl);
        break;
    case PCO__SSL_MORE:
        pco_transport_resume_reading(&ssl->base.stream->base);
        if (pco__ssl_engine_holds_input(ssl)) {
            schedule_held(ssl);
        }
        break;
    default:
        pco__ssl_end_failed(ssl);
        break;
    }
}

/* ---- Writing ---- */

/* Writes small buffers together, in records as full as can be. */
static int write_gathered(pco__ssl *ssl, const pco_buffer *buffers, size_t count)
{
    unsigned char *memory = ssl->shared->gathered;
    size_t filled = 0;
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++) {
        const unsigned char *data = buffers[i].data;
        size_t length = buffers[i].length;
        while (length != 0 && code == 0) {
            if (filled == 0 && length >= PCO__SSL_RECORD_SIZE) {
                size_t whole = length - length % PCO__SSL_RECORD_SIZE;
                code = pco__ssl_engine_write(ssl, data, whole);
                data += whole;
                length -= whole;
                continue;
            }
            size_t room = PCO__SSL_RECORD_SIZE - filled;
            size_t piece = length < room ? length : room;
            memcpy(memory + filled, data, piece);
            filled += piece;
            data += piece;
            length -= piece;
            if (filled == PCO__SSL_RECORD_SIZE) {
                code = pco__ssl_engine_write(ssl, memory, filled);
                filled = 0;
            }
        }
    }
    return code == 0 && filled != 0 ? pco__ssl_engine_write(ssl, memory, filled) : code;
}

static int class_writelines(pco_transport *transport, const pco_buffer *buffers, size_t count)
{
    pco__ssl *ssl = of(transport);
    if (!pco__ssl_is_open(ssl)) {
        return PCO_ECLOSED;
    }

    /* Good data is being delivered from before a failure, which connection_lost will tell. */
    if (ssl->broken) {
        return 0;
    }
    int code = count == 1 ? pco__ssl_engine_write(ssl, buffers[0].data, buffers[0].length)
                          : write_gathered(ssl, buffers, count);
    if (code == 0) {
        pco__stream_check_high_water(transport->stream);
        return 0;
    }
    /* That the connection failed while this was sent, connection_lost will tell. */
    bool sending_failed = code == PCO_ECLOSED && !pco__stream_is_open(transport->stream);
    pco__ssl_end_at_once(ssl, false);
    return sending_failed ? 0 : code;
}

static int class_write(pco_transport *transport, const void *data, size_t length)
{
    pco_buffer buffer = {.data = data, .length = length};
    return class_writelines(transport, &buffer, 1);
}

static int class_write_owned(pco_transport *transport, const pco_buffer *buffer, pco__owned owned)
{
    int code = class_writelines(transport, buffer, 1);
    if (owned.release != NULL) {
        owned.release(buffer->data, owned.context);
    }
    return code;
}

static int class_write_eof(pco_transport *transport)
{
    (void)transport;
    return PCO_ENOTSUP;
}

/* ---- Closing, pausing ---- */

static void class_close(pco_transport *transport)
{
    pco__ssl *ssl = of(transport);
    if (ssl->state == PCO__SSL_HANDSHAKING) {
        pco__ssl_end_at_once(ssl, false);
    } else if (ssl->state == PCO__SSL_OPEN) {
        pco__ssl_shut_down(ssl);
    }
}

static void class_abort(pco_transport *transport, bool reset)
{
    pco__ssl_end_at_once(of(transport), reset);
}

static bool class_is_closing(const pco_transport *transport)
{
    return !pco__ssl_is_open(of(transport));
}

static void class_reading_changed(pco_transport *transport)
{
    pco__ssl *ssl = of(transport);
    pco_transport *lower = &transport->stream->base;
    if (ssl->delivering) {
        return;
    }
    if (transport->reading_paused) {
        pco_transport_pause_reading(lower);
    } else if (pco__ssl_engine_holds_input(ssl)) {
        schedule_held(ssl);
    } else {
        pco_transport_resume_reading(lower);
    }
}

/* ---- What the connection agreed on ---- */

static pco__ssl_details *get_details(pco__ssl *ssl)
{
    if (ssl->details != NULL) {
        return ssl->details;
    }
    X509 *certificate = SSL_get0_peer_certificate(ssl->engine);
    int length = certificate != NULL ? i2d_X509(certificate, NULL) : 0;
    pco__ssl_details *made = length >= 0 ? pco__calloc(sizeof *made + (size_t)length) : NULL;
    if (made == NULL) {
        return NULL;
    }
    if (length > 0) {
        unsigned char *to = made->certificate;
        made->certificate_length = (size_t)i2d_X509(certificate, &to);
    }
    const unsigned char *alpn;
    unsigned alpn_length;
    SSL_get0_alpn_selected(ssl->engine, &alpn, &alpn_length);
    if (alpn_length != 0) {
        memcpy(made->alpn, alpn, alpn_length);
    }
    ssl->details = made;
    return made;
}

static int class_get_ssl_info(pco_transport *transport, pco_ssl_info *info)
{
    pco__ssl *ssl = of(transport);
    const pco__ssl_details *known = get_details(ssl);
    if (known == NULL) {
        return PCO_ENOMEM;
    }
    *info = (pco_ssl_info){
        .size = sizeof *info,
        .version = SSL_get_version(ssl->engine),
        .cipher = SSL_get_cipher_name(ssl->engine),
        .cipher_bits = SSL_get_cipher_bits(ssl->engine, NULL),
        .alpn = known->alpn[0] != '\0' ? known->alpn : NULL,
        .server_name = SSL_get_servername(ssl->engine, TLSEXT_NAMETYPE_host_name),
        .session_reused = SSL_session_reused(ssl->engine) == 1,
        .peer_certificate = known->certificate_length != 0 ? known->certificate : NULL,
        .peer_certificate_length = known->certificate_length,
    };
    return 0;
}

static struct ssl_st *class_get_ssl_object(const pco_transport *transport)
{
    return ((const pco__ssl *)transport)->engine;
}

static void class_destroy(pco_transport *transport)
{
    pco__free(of(transport));
}

static const pco__transport_class ssl_class = {
    .write = class_write,
    .writelines = class_writelines,
    .write_owned = class_write_owned,
    .write_eof = class_write_eof,
    .close = class_close,
    .abort = class_abort,
    .is_closing = class_is_closing,
    .reading_changed = class_reading_changed,
    .get_ssl_info = class_get_ssl_info,
    .get_ssl_object = class_get_ssl_object,
    .destroy = class_destroy,
    .can_write_eof = false,
};

/* ---- Making ---- */

static pco__ssl_handshake *new_handshake(const pco__ssl_options *options)
{
    pco__ssl_handshake *made = pco__calloc(sizeof *made);
    if (made != NULL) {
        made->context = pco_ssl_context_retain(options->context);
        made->setup = pco__ssl_context_take(options->context);
        made->timeout = options->handshake_timeout;
        made->make_protocol = options->make_protocol;
        made->done = options->handshake_done;
        made->context_of_calls = options->context_of_calls;
    }
    return made;
}

int pco__ssl_start(pco__stream *stream, const pco__ssl_options *options, pco_error *error)
{
    pco__ssl *ssl = pco__calloc(sizeof *ssl);
    if (ssl == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
    }
    int code = PCO_ENOMEM;
    pco__ssl_loop *shared =
        pco__ssl_loop_get(stream->base.home->loop, pco__ssl_sweep, pco__ssl_turn);
    ssl->handshake = shared != NULL ? new_handshake(options) : NULL;
    if (ssl->handshake == NULL) {
        pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
        goto fail;
    }
    code = pco__ssl_engine_new(ssl, options, shared, error);
    if (code != 0) {
        goto fail;
    }
    pco__transport_init(&ssl->base, &ssl_class, stream->base.home, &no_protocol, stream);
    ssl->shared = shared;
    ssl->lower.methods = &pco__ssl_handshake_methods;
    ssl->task.run = pco__ssl_deliver_held;
    ssl->timer.fire = pco__ssl_timed_out;
    ssl->shutdown_timeout = options->shutdown_timeout;
    stream->top = &ssl->base;
    pco__stream_start(stream, &ssl->lower);
    return 0;
fail:
    SSL_free(ssl->engine);
    if (ssl->handshake != NULL) {
        pco__ssl_drop_handshake(ssl);
    }
    pco__free(ssl);
    return code;
}
