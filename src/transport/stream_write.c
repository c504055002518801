/* SPDX-License-Identifier: MIT */
/*
 * stream_write.c: the way out of a stream.
 *
 * The one hard idea: a byte waits in one of two places, in this order. First a cork, one of a few
 * pieces of memory that the streams of a loop share: it collects the small writes that a callback
 * makes to one stream, and is sent when the callback returns. What the system does not take then
 * goes into the stream's queue, and as long as the queue holds anything, everything joins it there.
 * So a stream that keeps up has no memory of its own, and a cork is free again whenever a send has
 * been tried. send_now() is the one way out: the cork, then what is given to it.
 *
 * A cork never holds more than the high-water mark leaves room for: a write that would go over it
 * is tried at once, so that pause_writing is called inside the write that did it, and only there.
 */
#include <string.h>

#include "support/memory.h"
#include "transport/stream.h"

static void send_corked(pco__stream *stream);

/* ---- The corks ---- */

static void send_corks(pco__hook *hook);

/* Another cork than the first: a fresh one, or the one given first, when it has been sent. */
static unsigned another_cork(pco__transports *home)
{
    unsigned fresh = home->more_corks + 1;
    if (fresh < PCO__CORKS && home->corks[fresh].memory == NULL) {
        home->corks[fresh].memory = pco__malloc_pages(PCO__CORK_SIZE);
    }
    if (fresh < PCO__CORKS && home->corks[fresh].memory != NULL) {
        home->more_corks++;
        home->flush.run = send_corks;
        return fresh;
    }
    unsigned oldest = home->oldest_cork;
    home->oldest_cork = oldest < home->more_corks ? oldest + 1 : 0;
    if (home->corks[oldest].owner != NULL) {
        send_corked(home->corks[oldest].owner);
    }
    return oldest;
}

/* Gives the stream a cork, which is sent when the running callback returns. */
static pco__cork *give_cork(pco__transports *home, pco__stream *stream)
{
    unsigned index = pco__has_corks(home) ? another_cork(home) : 0;
    pco__cork *cork = &home->corks[index];
    home->backend->after_callback = &home->flush; /* to send the only one took it away */
    cork->owner = stream;
    cork->length = 0;
    stream->cork = (uint8_t)(index + 1);
    return cork;
}

/* Takes the cork away from its owner, and returns what it holds, for a send that follows. */
static pco_buffer take_cork(pco__stream *stream)
{
    pco__transports *home = stream->base.home;
    pco__cork *cork = &home->corks[stream->cork - 1];
    pco_buffer content = {.data = cork->memory, .length = cork->length};
    stream->cork = 0;
    cork->owner = NULL;
    if (home->more_corks == 0) {
        home->backend->after_callback = NULL;
    }
    return content;
}

static size_t corked_by(const pco__stream *stream)
{
    return stream->cork != 0 ? stream->base.home->corks[stream->cork - 1].length : 0;
}

/* Appends to the stream's cork, where fits_cork() is true. */
static void append_to_cork(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    pco__transports *home = stream->base.home;
    pco__cork *cork = stream->cork != 0 ? &home->corks[stream->cork - 1] : give_cork(home, stream);
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].length != 0) {
            memcpy(cork->memory + cork->length, buffers[i].data, buffers[i].length);
            cork->length += buffers[i].length;
        }
    }
}

static bool fits_cork(const pco__stream *stream, size_t length)
{
    return stream->queue.head == NULL && length <= PCO__CORK_SIZE - corked_by(stream);
}

size_t pco__stream_pending(const pco__stream *stream)
{
    return pco__queue_size(&stream->queue) + corked_by(stream);
}

/* ---- The queue ---- */

static size_t total_of(const pco_buffer *buffers, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += buffers[i].length;
    }
    return total;
}

static void send_queue(pco__stream *stream)
{
    pco__stream_look_at_writing(stream);
    if (stream->queue.head != NULL && !stream->send.in_flight &&
        stream->state < PCO__STREAM_DRAINING) {
        pco__backend *backend = stream->base.home->backend;
        stream->send.with.chain = &stream->queue.head->segment;
        backend->class_->submit(backend, &stream->send);
    }
}

/* Appends a copy of the buffers but for their first `skip` bytes, all or nothing; it is sent. */
static int enqueue(pco__stream *stream, const pco_buffer *buffers, size_t count, size_t skip)
{
    size_t rest = total_of(buffers, count) - skip;
    int code = rest != 0 ? pco__queue_copy(&stream->queue, buffers, count, rest) : 0;
    send_queue(stream);
    return code;
}

void pco__stream_drop_output(pco__stream *stream)
{
    if (stream->cork != 0) {
        take_cork(stream);
    }
    pco__queue_clear(&stream->queue);
}

void pco__stream_resume_if_under(pco__stream *stream)
{
    if (stream->base.writing_paused && pco__queue_size(&stream->queue) <= stream->low &&
        stream->state == PCO__STREAM_OPEN) {
        pco_protocol *protocol = stream->base.protocol;
        stream->base.writing_paused = false;
        if (protocol->methods->resume_writing != NULL) {
            protocol->methods->resume_writing(protocol, &stream->base);
        }
    }
}

bool pco__stream_await_room(pco__stream *stream, size_t size)
{
    pco__stream_flush_cork(stream);
    if (stream->state != PCO__STREAM_OPEN || pco__queue_size(&stream->queue) <= size) {
        return false;
    }
    stream->low = size;
    stream->base.writing_paused = true;
    return true;
}

bool pco__stream_sent(pco__op *op, const pco__result *result)
{
    pco__stream *stream = PCO__CONTAINER(op, pco__stream, send);
    if (stream->state == PCO__STREAM_DRAINING) {
        pco__stream_drop_output(stream);
        pco__stream_join(stream);
    } else if (result->error != 0) {
        pco__stream_fail(stream, result->error, result->system_code, NULL);
    } else {
        pco__queue_take(&stream->queue, result->length);
        send_queue(stream);
        if (stream->queue.head == NULL) {
            pco__stream_flushed(stream);
        }
        pco__stream_resume_if_under(stream);
    }
    return false;
}

/* ---- Sending ---- */

/* Not all of the cork's content has left: the rest goes into the queue, or the connection fails. */
static PCO__COLD void keep_corked(pco__stream *stream, const void *data, size_t length,
                                  pco__sent sent)
{
    pco_buffer corked = {.data = data, .length = length};
    if (sent.error != 0 && sent.error != PCO_EAGAIN) {
        pco__stream_fail(stream, sent.error, sent.system_code, NULL);
    } else if (enqueue(stream, &corked, 1, sent.length) != 0) {
        pco__stream_fail(stream, PCO_ENOMEM, 0, NULL);
    }
}

/* Sends the stream's cork, which may hold nothing but is there. */
static void send_corked(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    pco_buffer corked = take_cork(stream);
    pco__sent sent =
        backend->class_->try_send_one(backend, &stream->io, corked.data, corked.length);
    if (sent.length != corked.length) {
        keep_corked(stream, corked.data, corked.length, sent);
    }
}

/* The transports' hook where several corks are used: all are sent, the one given first first. */
static void send_corks(pco__hook *hook)
{
    pco__transports *home = PCO__CONTAINER(hook, pco__transports, flush);
    unsigned last = home->more_corks;
    unsigned index = home->oldest_cork;
    home->backend->after_callback = NULL;
    home->flush.run = pco__stream_send_corks;
    home->more_corks = 0;
    home->oldest_cork = 0;
    for (unsigned i = 0; i <= last; i++) {
        if (home->corks[index].owner != NULL) {
            send_corked(home->corks[index].owner);
        }
        index = index < last ? index + 1 : 0;
    }
}

/* As keep_corked, for the first cork, whose fields are what they were. */
static PCO__COLD void keep_first_cork(pco__transports *home, pco__sent sent)
{
    pco__cork *cork = &home->corks[0];
    keep_corked(cork->owner, cork->memory, cork->length, sent);
}

/* The transports' hook. Nearly always there is one cork. */
void pco__stream_send_corks(pco__hook *hook)
{
    pco__transports *home = PCO__CONTAINER(hook, pco__transports, flush);
    pco__backend *backend = home->backend;
    pco__cork *cork = &home->corks[0];
    backend->after_callback = NULL;
    cork->owner->cork = 0;
    pco__sent sent =
        backend->class_->try_send_one(backend, &cork->owner->io, cork->memory, cork->length);
    if (sent.length != cork->length) {
        keep_first_cork(home, sent);
    }
}

/*
 * The way out: tries to send, in one call, what the stream has corked and then the buffers, fewer
 * than PCO__SEND_BUFFERS. Returns how many bytes of the buffers have left: none while the queue
 * holds anything. The connection may have failed.
 */
static size_t send_now(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    pco__backend *backend = stream->base.home->backend;
    pco_buffer all[PCO__SEND_BUFFERS];
    size_t all_count = 0;
    size_t corked = 0;
    if (stream->queue.head != NULL) {
        return 0;
    }
    if (stream->cork != 0) {
        all[all_count++] = take_cork(stream);
        corked = all[0].length;
    }
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].length != 0) {
            all[all_count++] = buffers[i];
        }
    }
    if (all_count == 0) {
        return 0;
    }
    pco__sent sent = backend->class_->try_send(backend, &stream->io, all, all_count);
    bool failed = sent.error != 0 && sent.error != PCO_EAGAIN;
    if (failed || sent.length < corked) {
        keep_corked(stream, all[0].data, corked, sent);
        return 0;
    }
    return sent.length - corked;
}

/* Writes behind what is corked, as much as the system takes, and queues the rest. */
static int write_now(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    bool begun = false; /* some bytes have left for good */
    size_t sent = 0;
    while (count != 0) {
        size_t group = count < PCO__SEND_BUFFERS ? count : PCO__SEND_BUFFERS - 1;
        sent = send_now(stream, buffers, group);
        begun = begun || sent != 0;
        if (stream->state >= PCO__STREAM_DRAINING) {
            return 0;
        }
        if (sent != total_of(buffers, group)) {
            break;
        }
        buffers += group;
        count -= group;
        sent = 0;
    }
    int code = enqueue(stream, buffers, count, sent);
    if (code != 0 && begun) {
        pco__stream_fail(stream, code, 0, NULL);
    }
    return code;
}

void pco__stream_flush_cork(pco__stream *stream)
{
    if (stream->cork != 0) {
        send_corked(stream);
    }
}

/* ---- Water marks ---- */

static void pause_if_over(pco__stream *stream)
{
    if (pco__queue_size(&stream->queue) > stream->high && !stream->base.writing_paused &&
        stream->state == PCO__STREAM_OPEN) {
        pco_protocol *protocol = stream->base.protocol;
        stream->base.writing_paused = true;
        if (protocol->methods->pause_writing != NULL) {
            protocol->methods->pause_writing(protocol, &stream->base);
        }
    }
}

void pco__stream_check_high_water(pco__stream *stream)
{
    if (stream->state == PCO__STREAM_OPEN && pco__stream_pending(stream) > stream->high) {
        pco__stream_flush_cork(stream);
        pause_if_over(stream);
    }
}

/* ---- Writing ---- */

static int check_writable(const pco__stream *stream)
{
    if (stream->state != PCO__STREAM_OPEN) {
        return PCO_ECLOSED;
    }
    return stream->eof_asked ? PCO_EPIPE : 0;
}

/* Whether a write may wait for the running callback's end, without a system call. */
static bool may_wait(const pco__stream *stream, size_t length)
{
    return length <= stream->small && fits_cork(stream, length) &&
           corked_by(stream) + length <= stream->high;
}

int pco__stream_writelines(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    int code = check_writable(stream);
    size_t total = total_of(buffers, count);
    if (code != 0 || total == 0) {
        return code;
    }
    if (may_wait(stream, total)) {
        append_to_cork(stream, buffers, count);
        return 0;
    }
    code = write_now(stream, buffers, count);
    pause_if_over(stream);
    return code;
}

/* What is small and the stream's first in this callback, though not the first of all, is corked. */
int pco__stream_write(pco_transport *transport, const void *data, size_t length)
{
    pco__stream *stream = transport->stream;
    if (length == 0 || length > transport->corkable || stream->cork != 0) {
        pco_buffer buffer = {.data = data, .length = length};
        return pco__stream_writelines(stream, &buffer, 1);
    }
    pco__cork *cork = give_cork(transport->home, stream);
    cork->length = length;
    memcpy(cork->memory, data, length);
    return 0;
}

int pco__stream_append(pco__stream *stream, const void *data, size_t length, bool ends)
{
    pco_buffer buffer = {.data = data, .length = length};
    if (stream->state >= PCO__STREAM_DRAINING) {
        return PCO_ECLOSED;
    }
    if (!(ends && length >= PCO__LARGE_WRITE) && fits_cork(stream, length)) {
        if (pco__has_corks(stream->base.home)) {
            append_to_cork(stream, &buffer, 1);
        } else {
            pco__cork_first(stream->base.home, stream, data, length);
        }
        return 0;
    }
    int code = write_now(stream, &buffer, 1);
    return stream->state < PCO__STREAM_DRAINING ? code : PCO_ECLOSED;
}

int pco__stream_write_owned(pco__stream *stream, const pco_buffer *buffer, pco__owned owned)
{
    size_t sent = 0;
    int code = check_writable(stream);
    bool queue = false;
    if (code == 0 && buffer->length < PCO__LARGE_WRITE) {
        code = pco__stream_writelines(stream, buffer, 1);
    } else if (code == 0) {
        sent = send_now(stream, buffer, 1);
        queue = stream->state == PCO__STREAM_OPEN && sent < buffer->length;
    }
    if (queue) {
        code = pco__queue_own(&stream->queue, buffer, owned, sent);
        if (code == 0) {
            send_queue(stream);
            pause_if_over(stream);
            return 0;
        }
        if (sent != 0) {
            pco__stream_fail(stream, code, 0, NULL);
        }
    }
    if (owned.release != NULL) {
        owned.release(buffer->data, owned.context);
    }
    return code;
}
