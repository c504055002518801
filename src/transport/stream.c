/* SPDX-License-Identifier: MIT */
/*
 * stream.c: a connection over a socket: its life, and closing. Reading is in stream_read.c, writing
 * in stream_write.c, giving the socket away in stream_detach.c.
 *
 * The one hard idea is the end of a connection. Its state only moves forward, as
 * pco__stream_set_state asserts:
 *
 *     CONNECTING         if it was not made of a connected socket
 *          -> OPEN
 *          -> CLOSING    close(): what was written is flushed, within a time limit
 *          -> DRAINING   terminate(): operations are canceled; join() waits for each one's done()
 *          -> CLOSED     finish(), a task of its own: connection_lost, the socket is closed
 *
 * abort and failures skip CLOSING, and so does the close of what is not connected. Only finish()
 * ends a stream, and no callback is running then. (Where the socket is given away it is
 * pco__stream_hand_over, a task as well: OPEN -> DETACHING -> CLOSED. Anything else that happens
 * while DETACHING finds the stream OPEN again.)
 * terminate() queues it at once, so that connection_lost has its place before what the user
 * schedules later. Where an operation is not back by then, it is the last done() that queues it.
 */
#include "transport/stream.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"

static const pco__transport_class stream_class;
static void run_task(pco__task *task);

static pco__stream *of(const pco_transport *transport)
{
    return (pco__stream *)transport;
}

/* It has no half that could be closed alone. */
static bool is_pipe(const pco__stream *stream)
{
    return stream->peer_length == PCO__PEER_OF_PIPE;
}

/* ---- The end ---- */

/* What connection_lost is told. */
static const pco_error *reason(const pco__stream *stream, pco_error *error)
{
    if (stream->error == 0) {
        return NULL;
    }
    pco__error_set(error, stream->error, stream->system_code, "%s",
                   stream->of_state.sentence != NULL ? stream->of_state.sentence
                                                     : pco_strerror(stream->error));
    return error;
}

static PCO__NOINLINE void tell_lost(pco__stream *stream)
{
    pco_protocol *protocol = stream->base.protocol;
    pco_error error;
    protocol->methods->connection_lost(protocol, &stream->base, reason(stream, &error));
}

void pco__stream_tell_lost(pco__stream *stream)
{
    if (stream->made && stream->base.protocol->methods->connection_lost != NULL) {
        tell_lost(stream);
    }
}

void pco__stream_leave(pco__stream *stream)
{
    pco__owner *owner = stream->owner;
    stream->base.home->count--;
    stream->owner = NULL;
    pco__transport_end(&stream->base);
    if (owner != NULL) {
        owner->class_->ended(owner);
    }
}

static void finish(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    pco__stream_set_state(stream, PCO__STREAM_CLOSED);
    pco__stream_tell_lost(stream);
    backend->class_->close(backend, &stream->io, stream->reset);
    stream->io.socket = PCO_NO_SOCKET;
    pco__stream_leave(stream);
}

static bool is_drained(const pco__stream *stream)
{
    return !stream->receive.in_flight && !stream->send.in_flight;
}

/* Queues the end where the operations were not all back when its turn had come. */
void pco__stream_join(pco__stream *stream)
{
    assert(stream->state == PCO__STREAM_DRAINING || stream->state == PCO__STREAM_DETACHING);
    if (is_drained(stream)) {
        pco__loop_schedule(stream->base.home->loop, &stream->task);
    }
}

static PCO__NOINLINE void end_limit(pco__stream *stream)
{
    pco__loop_stop_timer(stream->base.home->loop, &stream->timer);
    stream->limited = false;
    stream->task = (pco__task){.run = run_task};
}

void pco__stream_terminate(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    pco__stream_set_state(stream, PCO__STREAM_DRAINING);
    if (stream->limited) {
        end_limit(stream);
    }
    if (stream->receive.in_flight) {
        backend->class_->cancel(backend, &stream->receive);
    }
    if (stream->send.in_flight) {
        backend->class_->cancel(backend, &stream->send);
    } else if (stream->cork != 0 || stream->queue.head != NULL) {
        pco__stream_drop_output(stream);
    }
    pco__loop_schedule_last(stream->base.home->loop, &stream->task);
}

void pco__stream_fail(pco__stream *stream, int code, int system_code, const char *sentence)
{
    if (stream->state >= PCO__STREAM_DRAINING) {
        return;
    }
    if (stream->state == PCO__STREAM_DETACHING) {
        pco__stream_recall(stream, code, system_code, sentence);
    }
    pco__stream_terminate(stream);
    stream->error = (int16_t)code;
    stream->system_code = system_code;
    stream->of_state.sentence = sentence;
}

/* What is closed is not given away. */
static void recall_for_close(pco__stream *stream)
{
    if (stream->state == PCO__STREAM_DETACHING) {
        pco__stream_recall(stream, PCO_ECANCELED, 0, "detaching ended with the connection");
    }
}

void pco__stream_abort(pco__stream *stream, bool reset)
{
    if (stream->state >= PCO__STREAM_DRAINING) {
        return;
    }
    recall_for_close(stream);
    stream->reset = reset;
    pco__stream_terminate(stream);
}

/* The stream's task: it is over, or its socket is, or it has something kept to deliver. */
static void run_task(pco__task *task)
{
    pco__stream *stream = PCO__CONTAINER(task, pco__stream, task);
    if (stream->state == PCO__STREAM_DRAINING) {
        if (is_drained(stream)) {
            finish(stream);
        }
    } else if (stream->state == PCO__STREAM_DETACHING) {
        if (is_drained(stream)) {
            pco__stream_hand_over(stream);
        }
    } else if (stream->state == PCO__STREAM_OPEN) {
        pco__stream_deliver_kept(stream);
    }
}

/* ---- Closing politely ---- */

/* What a peer has to take within a limit to count as alive. */
#define PROGRESS_LEAST ((size_t)4 * 1024)

/* Bytes written that the peer has not taken, as far as the system can tell. */
static size_t bytes_left(const pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    int64_t unsent = backend->class_->unsent(backend, &stream->io);
    return pco__stream_pending(stream) + (unsent > 0 ? (size_t)unsent : 0);
}

/* Where everything has left, what the system holds is asked for only if the limit runs out. */
static void limit_begins(pco_transport *transport, size_t above, size_t *left)
{
    const pco__stream *stream = of(transport);
    bool has_left = above == 0 && pco__stream_pending(stream) == 0;
    *left = has_left ? SIZE_MAX : above + bytes_left(stream);
}

static bool has_progressed(pco_transport *transport, size_t above, size_t *left)
{
    size_t before = *left;
    *left = above + bytes_left(of(transport));
    return *left != 0 && *left < before && before - *left >= PROGRESS_LEAST;
}

static void close_timed_out(pco__timer *timer)
{
    pco__stream *stream = PCO__CONTAINER(timer, pco__stream, timer);
    if (has_progressed(&stream->base, 0, &stream->of_state.left)) {
        pco__loop_start_timer(stream->base.home->loop, timer, stream->close_timeout);
    } else if (pco__stream_is_lingering(stream)) {
        pco__stream_terminate(stream);
    } else {
        stream->reset = true; /* or the peer takes the cut for the end */
        pco__stream_fail(stream, PCO_ETIMEDOUT, 0,
                         "the peer takes nothing of what was written (close_timeout)");
    }
}

static void send_eof(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    if (!stream->eof_sent) {
        stream->eof_sent = true;
        backend->class_->shutdown_send(backend, &stream->io);
    }
}

void pco__stream_flushed(pco__stream *stream)
{
    if (pco__stream_keeps_input(stream)) {
        if (stream->eof_asked) {
            send_eof(stream);
        }
        if (stream->state == PCO__STREAM_DETACHING) {
            pco__stream_join(stream);
        }
        return;
    }
    if (stream->state != PCO__STREAM_CLOSING) {
        return;
    }
    if (stream->linger && !stream->eof_seen) {
        send_eof(stream);
        pco__stream_update_reading(stream);
    } else {
        pco__stream_terminate(stream);
    }
}

/* The task may be queued for input that was kept, which nobody waits for any more. */
static PCO__NOINLINE void begin_limit(pco__stream *stream)
{
    pco_loop *loop = stream->base.home->loop;
    pco__loop_unschedule(loop, &stream->task);
    stream->limited = true;
    stream->timer = (pco__timer){.fire = close_timed_out};
    limit_begins(&stream->base, 0, &stream->of_state.left);
    pco__loop_start_timer(loop, &stream->timer, stream->close_timeout);
}

void pco__stream_close(pco__stream *stream)
{
    if (stream->state == PCO__STREAM_CONNECTING) {
        pco__stream_terminate(stream);
    }
    recall_for_close(stream);
    if (stream->state != PCO__STREAM_OPEN) {
        return;
    }
    pco__stream_set_state(stream, PCO__STREAM_CLOSING);
    if (stream->cork != 0) {
        pco__stream_flush_cork(stream);
    }
    if (stream->state != PCO__STREAM_CLOSING) {
        return;
    }
    if (stream->queue.head == NULL) {
        pco__stream_flushed(stream);
    } else {
        pco__stream_update_reading(stream);
    }
    if (stream->state == PCO__STREAM_CLOSING && !isinf(stream->close_timeout)) {
        begin_limit(stream);
    }
}

static int write_eof(pco_transport *transport)
{
    pco__stream *stream = of(transport);
    if (is_pipe(stream)) {
        return PCO_ENOTSUP;
    }
    if (stream->state != PCO__STREAM_OPEN) {
        return PCO_ECLOSED;
    }
    if (!stream->eof_asked) {
        stream->eof_asked = true;
        pco__stream_look_at_writing(stream);
        pco__stream_flush_cork(stream);
        if (stream->queue.head == NULL) {
            pco__stream_flushed(stream);
        }
    }
    return 0;
}

/* ---- Making ---- */

/*
 * Memory for a stream: that of the one that ended last, if it was kept. In debug mode none is, so
 * that valgrind, for instance, sees who uses a connection after its end.
 */
static pco__stream *take_memory(pco__transports *home)
{
    return home->spares != 0 ? home->spare[--home->spares] : pco__malloc(sizeof(pco__stream));
}

static void give_memory_back(pco__transports *home, pco__stream *stream)
{
    if (home != NULL && home->spares < home->spares_most && !home->loop->debug) {
        home->spare[home->spares++] = stream;
    } else {
        pco__free(stream);
    }
}

/*
 * Sets every field of a stream, one by one, since its memory may hold what another one has left:
 * but for what attach(), submit() and whoever reads set, and what no flag says is there.
 */
static void init(pco__stream *stream, pco__transports *home, const pco_address *peer,
                 const pco__stream_options *options)
{
    bool fits = peer != NULL && peer->length <= sizeof stream->peer;
    unsigned length = fits ? peer->length : 0;
    if (options->role == PCO__IO_PIPE) {
        length = PCO__PEER_OF_PIPE;
    }
    pco__transport_init(&stream->base, &stream_class, home, NULL, stream);
    stream->receive = (pco__op){.io = &stream->io, .done = pco__stream_received};
    stream->send = (pco__op){.io = &stream->io, .kind = PCO__OP_SEND, .done = pco__stream_sent};
    stream->queue = (pco__queue){.head = NULL};
    stream->state =
        options->role != PCO__IO_UNCONNECTED ? PCO__STREAM_OPEN : PCO__STREAM_CONNECTING;
    stream->eof_asked = false;
    stream->made = false;
    stream->eof_seen = false;
    stream->eof_delivered = false;
    stream->eof_sent = false;
    stream->linger = options->linger;
    stream->reset = false;
    stream->bad_buffer = false;
    stream->asking = false;
    stream->reads_plainly = false;
    stream->limited = false;
    stream->peer_length = length & 0x1f;
    stream->cork = 0;
    stream->error = 0;
    if (fits) {
        memcpy(stream->peer, peer->storage, sizeof stream->peer);
    }
    stream->of_state.kept = NULL;
    stream->owner = options->owner;
    stream->top = &stream->base;
    stream->task = (pco__task){.run = run_task};
    stream->close_timeout = (float)options->close_timeout;
    pco__stream_set_limits(stream, PCO__HIGH_WATER, PCO__LOW_WATER);
}

int pco__stream_new(pco_loop *loop, pco_socket sock, const pco_address *peer,
                    const pco__stream_options *options, pco__stream **stream, pco_error *error)
{
    pco__transports *home = pco__transports_of(loop, pco__stream_send_corks);
    pco__stream *made = home != NULL ? take_memory(home) : NULL;
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "make a transport");
    }
    made->io.socket = sock;
    int code = home->backend->class_->attach(home->backend, &made->io, options->role, error);
    if (code != 0) {
        give_memory_back(home, made);
        return code;
    }
    init(made, home, peer, options);
    pco__list_append(made->owner != NULL ? &made->owner->streams : &home->streams,
                     &made->base.link);
    home->count++;
    *stream = made;
    return 0;
}

static bool connected(pco__op *op, const pco__result *result)
{
    pco__stream *stream = PCO__CONTAINER(op, pco__stream, send);
    pco__result canceled = {.error = PCO_ECANCELED, .socket = PCO_NO_SOCKET};
    op->kind = PCO__OP_SEND; /* from now on */
    op->done = pco__stream_sent;
    if (stream->state == PCO__STREAM_DRAINING) {
        pco__stream_join(stream);
        result = &canceled;
    } else if (result->error != 0) {
        pco__stream_fail(stream, result->error, result->system_code, NULL);
    } else {
        pco__stream_set_state(stream, PCO__STREAM_OPEN);
    }
    stream->owner->class_->connected(stream->owner, stream, result);
    return false;
}

int pco__stream_connect(pco_loop *loop, pco_socket sock, const pco_address *address,
                        const pco__stream_options *options, pco__stream **stream, pco_error *error)
{
    assert(options->role == PCO__IO_UNCONNECTED);
    assert(options->owner != NULL && options->owner->class_->connected != NULL);
    int code = pco__stream_new(loop, sock, address, options, stream, error);
    if (code == 0) {
        pco__op *op = &(*stream)->send;
        op->kind = PCO__OP_CONNECT;
        op->done = connected;
        op->with.address = address;
        loop->backend->class_->submit(loop->backend, op);
    }
    return code;
}

void pco__stream_start(pco__stream *stream, pco_protocol *protocol)
{
    stream->base.protocol = protocol;
    stream->made = true;
    if (protocol->methods->connection_made != NULL) {
        protocol->methods->connection_made(protocol, &stream->base);
    }
    pco__stream_update_reading(stream);
}

void pco__stream_disown(pco__stream *stream)
{
    stream->owner = NULL;
    pco__list_remove(&stream->base.link);
    pco__list_append(&stream->base.home->streams, &stream->base.link);
}

/* ---- The class ---- */

static int class_writelines(pco_transport *transport, const pco_buffer *buffers, size_t count)
{
    return pco__stream_writelines(of(transport), buffers, count);
}

static int class_write_owned(pco_transport *transport, const pco_buffer *buffer, pco__owned owned)
{
    return pco__stream_write_owned(of(transport), buffer, owned);
}

static void class_close(pco_transport *transport)
{
    pco__stream_close(of(transport));
}

static void class_abort(pco_transport *transport, bool reset)
{
    pco__stream_abort(of(transport), reset);
}

static bool is_closing(const pco_transport *transport)
{
    return of(transport)->state != PCO__STREAM_OPEN;
}

static int class_append(pco_transport *transport, const void *data, size_t length, bool ends)
{
    return pco__stream_append(of(transport), data, length, ends);
}

static size_t class_pending(const pco_transport *transport)
{
    return pco__stream_pending(of(transport));
}

static int class_detach(pco_transport *transport, pco_detached detached, void *context,
                        pco_request **request, pco_error *error)
{
    return pco__stream_detach(of(transport), detached, context, request, error);
}

static bool class_await_room(pco_transport *transport, size_t size)
{
    return pco__stream_await_room(of(transport), size);
}

static void class_set_limits(pco_transport *transport, size_t high, size_t low)
{
    pco__stream_set_limits(of(transport), high, low);
    pco__stream_check_high_water(of(transport));
}

static void class_get_limits(const pco_transport *transport, size_t *high, size_t *low)
{
    *high = of(transport)->high;
    *low = of(transport)->low;
}

static void class_close_within(pco_transport *transport, double seconds, bool linger)
{
    pco__stream *stream = of(transport);
    stream->close_timeout = (float)seconds;
    stream->linger = linger && !is_pipe(stream);
    pco__stream_close(stream);
}

static void class_fail(pco_transport *transport, int code, int system_code, const char *sentence)
{
    pco__stream_fail(of(transport), code, system_code, sentence);
}

static void class_receive_at_most(pco_transport *transport, uint32_t size)
{
    of(transport)->receive.most = size;
}

static void class_begin(pco_transport *transport, pco_protocol *protocol)
{
    pco__stream_start(of(transport), protocol);
}

static void class_set_top(pco_transport *transport, pco_transport *top)
{
    of(transport)->top = top;
}

static pco_transport *class_get_top(const pco_transport *transport)
{
    return of(transport)->top;
}

static int check_cover(const pco_transport *transport, pco_error *error)
{
    const pco__stream *stream = of(transport);
    if (stream->state == PCO__STREAM_DETACHING) {
        return pco__error_set(error, PCO_EBUSY, 0, "the transport is being detached");
    }
    if (stream->state != PCO__STREAM_OPEN) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the transport is closing");
    }
    if (stream->eof_asked) {
        return pco__error_set(error, PCO_EPIPE, 0, "pco_transport_write_eof was called");
    }
    if (stream->eof_delivered) {
        return pco__error_set(error, PCO_ECONNRESET, 0, "the peer has closed its side");
    }
    return 0;
}

static bool holds_input(const pco_transport *transport)
{
    return transport->has_more || of(transport)->of_state.kept != NULL;
}

static bool can_write_eof(const pco_transport *transport)
{
    return !is_pipe(of(transport));
}

static int no_ssl_info(pco_transport *transport, pco_ssl_info *info)
{
    (void)transport;
    (void)info;
    return PCO_ENOTSUP;
}

static struct ssl_st *no_ssl_object(const pco_transport *transport)
{
    (void)transport;
    return NULL;
}

static void destroy(pco_transport *transport)
{
    give_memory_back(transport->home, of(transport));
}

static const pco__transport_class stream_class = {
    .write = pco__stream_write,
    .writelines = class_writelines,
    .write_owned = class_write_owned,
    .write_eof = write_eof,
    .close = class_close,
    .abort = class_abort,
    .is_closing = is_closing,
    .reading_changed = pco__stream_reading_changed,
    .protocol_changed = pco__stream_protocol_changed,
    .get_ssl_info = no_ssl_info,
    .get_ssl_object = no_ssl_object,
    .detach = class_detach,
    .append = class_append,
    .pending = class_pending,
    .await_room = class_await_room,
    .set_limits = class_set_limits,
    .get_limits = class_get_limits,
    .close_within = class_close_within,
    .limit_begins = limit_begins,
    .has_progressed = has_progressed,
    .fail = class_fail,
    .receive_at_most = class_receive_at_most,
    .set_top = class_set_top,
    .get_top = class_get_top,
    .check_cover = check_cover,
    .holds_input = holds_input,
    .begin = class_begin,
    .destroy = destroy,
    .can_write_eof = can_write_eof,
};
