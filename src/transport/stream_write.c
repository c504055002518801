/* SPDX-License-Identifier: MIT */
/*
 * stream_write.c: the way out of a stream.
 *
 * The one hard idea: a byte waits in one of two places, in this order. First the loop's cork, one
 * piece of memory which collects the small writes that a callback makes to one stream, and which is
 * sent when the callback returns. What the system does not take then goes into the stream's queue,
 * and as long as the queue holds anything, everything joins it there. So a stream that keeps up has
 * no memory of its own, and the cork is free again whenever a send has been tried.
 *
 * The cork never holds more than the high-water mark leaves room for: a write that would go over it
 * is tried at once, so that pause_writing is called inside the write that did it, and only there.
 */
#include <assert.h>
#include <string.h>

#include "support/memory.h"
#include "transport/transport.h"

/* A single write from this size on is not copied into the cork but tried at once. */
#define LARGE_WRITE ((size_t)4 * 1024)

/* ---- The cork ---- */

/* Gives the cork to the stream: it is sent when the running callback returns. */
static inline void give_cork(pco__transports *home, pco__stream *stream)
{
    home->cork.owner = stream;
    home->cork.length = 0;
    home->backend->after_callback = &home->flush;
}

static inline void free_cork(pco__transports *home)
{
    home->cork.owner = NULL;
    home->backend->after_callback = NULL;
}

size_t pco__stream_pending(const pco__stream *stream)
{
    const pco__cork *cork = &stream->base.home->cork;
    return stream->queue.size + (cork->owner == stream ? cork->length : 0);
}

/* ---- The queue ---- */

void pco__stream_drop_output(pco__stream *stream)
{
    pco__transports *home = stream->base.home;
    if (home->cork.owner == stream) {
        free_cork(home);
    }
    pco__queue_clear(&stream->queue);
}

static void send_queue(pco__stream *stream)
{
    if (stream->queue.head != NULL && !stream->send.in_flight &&
        stream->state < PCO__STREAM_DRAINING) {
        pco__backend *backend = stream->base.home->backend;
        stream->send.with.chain = &stream->queue.head->segment;
        backend->class_->submit(backend, &stream->send);
    }
}

static void resume_if_under(pco__stream *stream)
{
    if (stream->writing_paused && stream->queue.size <= stream->low &&
        stream->state == PCO__STREAM_OPEN) {
        pco_protocol *protocol = stream->base.protocol;
        stream->writing_paused = false;
        if (protocol->methods->resume_writing != NULL) {
            protocol->methods->resume_writing(protocol, &stream->base);
        }
    }
}

bool pco__stream_await_room(pco__stream *stream, size_t size)
{
    if (stream->base.home->cork.owner == stream) {
        pco__cork_flush_now(stream->base.home);
    }
    if (stream->state != PCO__STREAM_OPEN || stream->queue.size <= size) {
        return false;
    }
    stream->low = size;
    stream->writing_paused = true;
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
        resume_if_under(stream);
    }
    return false;
}

/* ---- Sending at once ---- */

/* Copies what is left of `all` after its first `skip` bytes into the queue. */
static int enqueue_rest(pco__stream *stream, pco_buffer *all, size_t count, size_t skip)
{
    size_t first = 0;
    size_t rest = 0;
    while (first < count && skip >= all[first].length) {
        skip -= all[first++].length;
    }
    if (first == count) {
        return 0;
    }
    all[first].data = (const unsigned char *)all[first].data + skip;
    all[first].length -= skip;
    for (size_t i = first; i < count; i++) {
        rest += all[i].length;
    }
    int code = pco__queue_copy(&stream->queue, all + first, count - first, rest);
    send_queue(stream);
    return code;
}

/*
 * Not all of the cork's content, the first of what was tried, has left: the rest goes into the
 * queue, or the connection fails.
 */
static PCO__COLD void keep_corked(pco__stream *stream, pco_buffer *corked, pco__sent sent)
{
    if (sent.error != 0 && sent.error != PCO_EAGAIN) {
        pco__stream_fail(stream, sent.error, sent.system_code, NULL);
    } else if (enqueue_rest(stream, corked, 1, sent.length) != 0) {
        pco__stream_fail(stream, PCO_ENOMEM, 0, NULL);
    }
}

/*
 * Tries to send, in one call, buffers of which the first `corked` bytes come from the cork. The
 * queue is empty. What is left of the cork goes into the queue. Returns how many bytes of the other
 * buffers have left. The connection may have failed.
 */
static size_t send_at_once(pco__stream *stream, pco_buffer *buffers, size_t count, size_t corked)
{
    pco__backend *backend = stream->base.home->backend;
    pco__sent sent = backend->class_->try_send(backend, &stream->io, buffers, count);
    bool failed = sent.error != 0 && sent.error != PCO_EAGAIN;
    if (!failed && sent.length >= corked) {
        return sent.length - corked;
    }
    keep_corked(stream, buffers, sent);
    return 0;
}

/* Takes the cork's content for a send that follows at once. */
static pco_buffer take_cork(pco__transports *home)
{
    pco_buffer content = {.data = home->cork.memory, .length = home->cork.length};
    free_cork(home);
    return content;
}

void pco__cork_run_hook(pco__hook *hook)
{
    pco__cork_flush_now(PCO__CONTAINER(hook, pco__transports, flush));
}

void pco__cork_flush_now(pco__transports *home)
{
    pco__backend *backend = home->backend;
    pco__stream *stream = home->cork.owner;
    pco_buffer corked = take_cork(home);
    pco__sent sent = backend->class_->try_send(backend, &stream->io, &corked, 1);
    if (sent.length != corked.length) {
        keep_corked(stream, &corked, sent);
    }
}

/* Sends the cork's content, if it is the stream's, and the buffers, fewer than SEND_BUFFERS. */
static size_t try_send(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    pco__cork *cork = &stream->base.home->cork;
    pco_buffer all[PCO__SEND_BUFFERS];
    size_t all_count = 0;
    size_t corked = 0;
    if (cork->owner == stream) {
        all[all_count++] = take_cork(stream->base.home);
        corked = all[0].length;
    }
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].length != 0) {
            all[all_count++] = buffers[i];
        }
    }
    return all_count != 0 ? send_at_once(stream, all, all_count, corked) : 0;
}

/* Makes room in the cork for `length` bytes of the stream. False: the bytes cannot be corked. */
static bool reserve_cork(pco__stream *stream, size_t length)
{
    pco__cork *cork = &stream->base.home->cork;
    if (length > PCO__CORK_SIZE) {
        return false;
    }
    if (cork->owner != NULL && (cork->owner != stream || cork->length + length > PCO__CORK_SIZE)) {
        pco__cork_flush_now(stream->base.home);
    }
    if (stream->queue.head != NULL || stream->state >= PCO__STREAM_DRAINING) {
        return false;
    }
    if (cork->owner == NULL) {
        give_cork(stream->base.home, stream);
    }
    return true;
}

static void append_to_cork(pco__cork *cork, const pco_buffer *buffers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].length != 0) {
            memcpy(cork->memory + cork->length, buffers[i].data, buffers[i].length);
            cork->length += buffers[i].length;
        }
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

static void pause_if_over(pco__stream *stream)
{
    if (stream->queue.size > stream->high && !stream->writing_paused &&
        stream->state == PCO__STREAM_OPEN) {
        pco_protocol *protocol = stream->base.protocol;
        stream->writing_paused = true;
        if (protocol->methods->pause_writing != NULL) {
            protocol->methods->pause_writing(protocol, &stream->base);
        }
    }
}

void pco__stream_set_limits(pco__stream *stream, size_t high, size_t low)
{
    stream->high = high;
    stream->low = low;
    stream->corkable = (uint16_t)(high < LARGE_WRITE ? high : LARGE_WRITE - 1);
}

void pco__stream_check_high_water(pco__stream *stream)
{
    if (stream->state == PCO__STREAM_OPEN && pco__stream_pending(stream) > stream->high) {
        if (stream->base.home->cork.owner == stream) {
            pco__cork_flush_now(stream->base.home);
        }
        pause_if_over(stream);
    }
}

/* Tries a group of buffers at once and queues the rest. *begun: some bytes have left for good. */
static int write_group(pco__stream *stream, const pco_buffer *buffers, size_t count, bool *begun)
{
    pco_buffer rest[PCO__SEND_BUFFERS];
    size_t sent = 0;
    memcpy(rest, buffers, count * sizeof *buffers);
    if (stream->queue.head == NULL) {
        sent = try_send(stream, buffers, count);
        if (stream->state != PCO__STREAM_OPEN) {
            return 0;
        }
    }
    int code = enqueue_rest(stream, rest, count, sent);
    if (code != 0 && (*begun || sent != 0)) {
        pco__stream_fail(stream, code, 0, NULL);
    }
    *begun = true;
    return code;
}

/* Writes in groups that one system call takes. */
static int write_now(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    bool begun = false;
    int code = 0;
    while (count != 0 && code == 0 && stream->state == PCO__STREAM_OPEN) {
        size_t group = count < PCO__SEND_BUFFERS ? count : PCO__SEND_BUFFERS - 1;
        code = write_group(stream, buffers, group, &begun);
        buffers += group;
        count -= group;
    }
    return code;
}

/* Whether a write may wait in the cork for the running callback's end, without a system call. */
static bool may_cork(const pco__stream *stream, const pco__cork *cork, size_t length)
{
    size_t corked = cork->owner == stream ? cork->length : 0;
    return length <= stream->corkable && stream->queue.head == NULL &&
           corked + length <= stream->high;
}

int pco__stream_writelines(pco__stream *stream, const pco_buffer *buffers, size_t count)
{
    pco__cork *cork = &stream->base.home->cork;
    int code = check_writable(stream);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += buffers[i].length;
    }
    if (code != 0 || total == 0) {
        return code;
    }
    if (may_cork(stream, cork, total) && reserve_cork(stream, total)) {
        append_to_cork(cork, buffers, count);
        return 0;
    }
    code = stream->queue.head != NULL ? pco__queue_copy(&stream->queue, buffers, count, total)
                                      : write_now(stream, buffers, count);
    pause_if_over(stream);
    return code;
}

/* A large buffer with nothing before it. The stream is open. */
static int write_large(pco__stream *stream, pco_buffer *buffer)
{
    size_t sent = send_at_once(stream, buffer, 1, 0);
    if (sent == buffer->length || stream->state != PCO__STREAM_OPEN) {
        return 0;
    }
    int code = enqueue_rest(stream, buffer, 1, sent);
    if (code != 0 && sent != 0) {
        pco__stream_fail(stream, code, 0, NULL);
    }
    pause_if_over(stream);
    return code;
}

static PCO__COLD int write_otherwise(pco__stream *stream, const void *data, size_t length)
{
    pco_buffer buffer = {.data = data, .length = length};
    if (length >= LARGE_WRITE && stream->state == PCO__STREAM_OPEN && !stream->eof_asked &&
        stream->queue.head == NULL && stream->base.home->cork.owner != stream) {
        return write_large(stream, &buffer);
    }
    return pco__stream_writelines(stream, &buffer, 1);
}

/* The commonest write by far, a small one, the first of the running callback, takes no detour. */
int pco__stream_write(pco_transport *transport, const void *data, size_t length)
{
    pco__stream *stream = transport->stream;
    pco__cork *cork = &transport->home->cork;
    if (cork->owner != NULL || stream->state != PCO__STREAM_OPEN || stream->eof_asked ||
        stream->queue.head != NULL || length > stream->corkable || length == 0) {
        return write_otherwise(stream, data, length);
    }
    give_cork(transport->home, stream);
    cork->length = length;
    memcpy(cork->memory, data, length);
    return 0;
}

int pco__stream_append(pco__stream *stream, const void *data, size_t length, bool ends)
{
    pco_buffer buffer = {.data = data, .length = length};
    if (ends && length >= LARGE_WRITE && stream->queue.head == NULL &&
        stream->state == PCO__STREAM_OPEN) {
        bool begun = false;
        int code = write_group(stream, &buffer, 1, &begun);
        return stream->state == PCO__STREAM_OPEN ? code : PCO_ECLOSED;
    }
    if (reserve_cork(stream, length)) {
        append_to_cork(&stream->base.home->cork, &buffer, 1);
        return 0;
    }
    if (stream->state >= PCO__STREAM_DRAINING) {
        return PCO_ECLOSED;
    }
    int code = pco__queue_copy(&stream->queue, &buffer, 1, length);
    send_queue(stream);
    return code;
}

int pco__stream_write_owned(pco__stream *stream, const pco_buffer *buffer, pco__owned owned)
{
    size_t sent = 0;
    int code = check_writable(stream);
    bool queue = false;
    if (code == 0 && buffer->length < LARGE_WRITE) {
        code = pco__stream_writelines(stream, buffer, 1);
    } else if (code == 0) {
        if (stream->queue.head == NULL) {
            sent = try_send(stream, buffer, 1);
        }
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
