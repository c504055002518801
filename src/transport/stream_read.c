/* SPDX-License-Identifier: MIT */
/*
 * stream_read.c: the way into a stream: what it wants of its socket, and to whom goes what comes.
 *
 * The one hard idea is what to do with input that was not asked for any more: a callback may pause
 * reading, switch to another protocol or close while its data is on the way. An operation in flight
 * is then canceled or left, as update_reading finds, and what it still brings is kept.
 */
#include "transport/stream.h"

#include <string.h>

#include "support/memory.h"

static pco__stream *of(const pco_transport *transport)
{
    return (pco__stream *)transport;
}

static bool may_deliver(const pco_transport *transport)
{
    return of(transport)->state == PCO__STREAM_OPEN && !transport->reading_paused;
}

/*
 * The system has something to read and the protocol has memory of its own for it. Otherwise, after
 * a switch to a plain protocol or while lingering, the operation ends with PCO_ENOBUFS, and one
 * that reads into lent memory takes its place. A switch inside of get_buffer ends it so, too: the
 * buffer is the old protocol's, and the next operation asks the new one.
 *
 * This runs before the operation has completed, so it is not pco__complete that tells of a slow
 * callback. And if pausing canceled the operation at once, a protocol that pauses and resumes in
 * here would be asked again and again for operations that all end without data.
 */
static void ask_for_buffer(pco__op *op, void **buffer, size_t *length)
{
    pco__stream *stream = PCO__CONTAINER(op, pco__stream, receive);
    pco_loop *loop = stream->base.home->loop;
    pco_protocol *protocol = stream->base.protocol;
    *buffer = NULL;
    *length = 0;
    stream->bad_buffer = false;
    if (!may_deliver(&stream->base) || protocol->methods->get_buffer == NULL) {
        return;
    }
    uint64_t began = loop->debug ? loop->backend->class_->now(loop->backend) : 0;
    stream->asking = true;
    stream->base.replaced = false;
    protocol->methods->get_buffer(protocol, &stream->base, 0, buffer, length);
    stream->asking = false;
    if (stream->base.replaced) {
        *length = 0; /* the next operation asks the new one */
    } else if (*buffer == NULL || *length == 0) {
        stream->bad_buffer = true;
        *length = 0;
    }
    pco__stream_update_reading(stream);
    if (began != 0) {
        pco__loop_report_slow(loop, began);
    }
}

/* What the stream wants of its socket now: RECV, WATCH, or -1 for nothing. */
static int wanted_operation(const pco__stream *stream)
{
    if (stream->state == PCO__STREAM_CLOSING) {
        return pco__stream_is_lingering(stream) && !stream->eof_seen ? PCO__OP_RECV : -1;
    }
    if (stream->state != PCO__STREAM_OPEN || !stream->made) {
        return -1;
    }
    bool wants_input =
        !stream->eof_seen && stream->of_state.kept == NULL && !stream->base.reading_paused;
    return wants_input ? PCO__OP_RECV : PCO__OP_WATCH;
}

void pco__stream_update_reading(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    pco__op *op = &stream->receive;
    int wanted = wanted_operation(stream);
    if (op->in_flight) {
        if (wanted != op->kind && !op->canceled && !stream->asking) {
            backend->class_->cancel(backend, op);
        }
        return;
    }
    if (wanted < 0) {
        return;
    }
    op->kind = (uint8_t)wanted;
    bool asks = false;
    bool plainly = false;
    if (stream->state == PCO__STREAM_OPEN) { /* which lingers may have no protocol yet */
        const pco_protocol_methods *methods = stream->base.protocol->methods;
        asks = methods->get_buffer != NULL;
        plainly = wanted == PCO__OP_RECV && !asks && methods->data_received != NULL;
    }
    op->with.get_buffer = asks ? ask_for_buffer : NULL;
    stream->reads_plainly = plainly;
    backend->class_->submit(backend, op);
}

int pco__stream_keep(pco__stream *stream, const void *data, size_t length)
{
    if (length == 0) {
        return 0;
    }
    pco__kept **place = stream->state == PCO__STREAM_DETACHING
                            ? pco__detaching_kept(stream->of_state.detaching)
                            : &stream->of_state.kept;
    pco__kept *old = *place;
    size_t old_length = old != NULL ? old->length - old->offset : 0;
    pco__kept *kept = pco__malloc(sizeof *kept + length + old_length);
    if (kept == NULL) {
        return PCO_ENOMEM;
    }
    kept->offset = 0;
    kept->length = length + old_length;
    memcpy(kept->data, data, length);
    if (old != NULL) {
        memcpy(kept->data + length, old->data + old->offset, old_length);
        pco__free(old);
    }
    *place = kept;
    pco__stream_look_at_reading(stream);
    return 0;
}

/* Delivers input, and keeps what the protocol does not want now. */
static void deliver(pco__stream *stream, const void *data, size_t length)
{
    size_t used = 0;
    bool broken = false;
    if (may_deliver(&stream->base)) {
        used = pco__transport_deliver(&stream->base, data, length, may_deliver, &broken);
    }
    if (broken) {
        pco__stream_fail(stream, PCO_EINVAL, 0, "get_buffer returned an empty buffer");
    } else if (pco__stream_keeps_input(stream) && used < length &&
               pco__stream_keep(stream, (const unsigned char *)data + used, length - used) != 0) {
        pco__stream_fail(stream, PCO_ENOMEM, 0, NULL);
    }
}

static void deliver_eof(pco__stream *stream)
{
    if (!may_deliver(&stream->base) || stream->eof_delivered || stream->of_state.kept != NULL) {
        return;
    }
    stream->eof_delivered = true;
    pco_protocol *protocol = stream->base.protocol;
    bool keep_open = protocol->methods->eof_received != NULL &&
                     protocol->methods->eof_received(protocol, &stream->base);
    if (!keep_open) {
        pco__stream_close(stream);
    }
}

void pco__stream_deliver_kept(pco__stream *stream)
{
    pco__kept *kept = stream->of_state.kept;
    if (kept != NULL && may_deliver(&stream->base)) {
        stream->of_state.kept = NULL;
        deliver(stream, kept->data + kept->offset, kept->length - kept->offset);
        pco__free(kept);
    }
    if (stream->eof_seen) {
        deliver_eof(stream);
    }
    pco__stream_update_reading(stream);
}

/* Input that came into memory of the protocol's, for which it was asked just now. */
static void buffer_updated(pco__stream *stream, const pco__result *result)
{
    pco_protocol *protocol = stream->base.protocol;
    if (!may_deliver(&stream->base)) {
        if (pco__stream_keep(stream, result->data, result->length) != 0) {
            pco__stream_fail(stream, PCO_ENOMEM, 0, NULL);
        }
    } else if (protocol->methods->buffer_updated != NULL) {
        protocol->methods->buffer_updated(protocol, &stream->base, result->length);
    }
}

static void received_nothing(pco__stream *stream, const pco__result *result)
{
    bool no_buffer = result->error == PCO_ENOBUFS && result->system_code == 0 &&
                     stream->receive.with.get_buffer != NULL;
    if (result->error == PCO_ECANCELED) {
        return;
    }
    if (no_buffer) {
        if (stream->bad_buffer && stream->state == PCO__STREAM_OPEN) {
            pco__stream_fail(stream, PCO_EINVAL, 0, "get_buffer returned an empty buffer");
        }
    } else if (pco__stream_is_lingering(stream)) {
        pco__stream_terminate(stream);
    } else {
        pco__stream_fail(stream, result->error, result->system_code, NULL);
    }
}

static PCO__NOINLINE void received_otherwise(pco__stream *stream, const pco__result *result)
{
    if (stream->state == PCO__STREAM_DRAINING) {
        pco__stream_join(stream);
        return;
    }
    if (result->error != 0) {
        received_nothing(stream, result);
    } else if (result->length == 0) {
        stream->eof_seen = true;
        if (pco__stream_is_lingering(stream)) {
            pco__stream_terminate(stream);
        } else {
            deliver_eof(stream);
        }
    } else if (pco__stream_keeps_input(stream)) {
        if (stream->receive.with.get_buffer != NULL) {
            buffer_updated(stream, result);
        } else {
            deliver(stream, result->data, result->length);
        }
    }
    if (stream->state >= PCO__STREAM_DRAINING) {
        return;
    }
    if (stream->state == PCO__STREAM_DETACHING) {
        pco__stream_join(stream);
    }
    pco__stream_update_reading(stream);
}

bool pco__stream_received(pco__op *op, const pco__result *result)
{
    pco__stream *stream = PCO__CONTAINER(op, pco__stream, receive);
    if (!stream->reads_plainly || result->length == 0) {
        received_otherwise(stream, result);
        return false;
    }
    pco_protocol *protocol = stream->base.protocol;
    protocol->methods->data_received(protocol, &stream->base, result->data, result->length);
    if (!stream->reads_plainly) {
        pco__stream_update_reading(stream);
        return false;
    }
    return true;
}

void pco__stream_reading_changed(pco_transport *transport)
{
    pco__stream *stream = of(transport);
    pco__stream_look_at_reading(stream);
    bool waiting = may_deliver(transport) &&
                   (stream->of_state.kept != NULL || (stream->eof_seen && !stream->eof_delivered));
    if (waiting) {
        pco__loop_schedule(transport->home->loop, &stream->task);
    }
    pco__stream_update_reading(stream);
}

void pco__stream_protocol_changed(pco_transport *transport)
{
    pco__stream_look_at_reading(of(transport));
}
