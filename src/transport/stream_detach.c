/* SPDX-License-Identifier: MIT */
/*
 * stream_detach.c: the end of a stream whose socket lives on: it is flushed, and given away
 * together with the input that nobody was given.
 *
 * The hard idea is that it can be called off until the last moment, by a cancel, a close, or a
 * failure: so nothing of the stream is taken apart before. While DETACHING it refuses its user's
 * calls, reads nothing and flushes; when no operation is in flight any more, its task hands the
 * socket over. Whatever else happens first begins with pco__stream_recall, which makes the stream
 * OPEN again, and then takes its usual way.
 */
#include "transport/stream.h"

#include <assert.h>

#include <portico/error.h>

#include "loop/request.h"
#include "support/error.h"
#include "support/memory.h"

struct pco__detaching {
    pco_request request;
    pco__stream *stream; /* it outlives the request: its end is a task, queued after this one's */
    pco__task task;      /* it was recalled: tell why */
    pco__kept *kept;     /* the input; NULL: none */
    pco_detached detached;
    void *context;
    pco_socket socket; /* PCO_NO_SOCKET if it was recalled, because of the following */
    int code;
    int system_code;
    const char *sentence; /* static, or NULL: the code's own */
};

static pco__detaching *of(pco_request *request)
{
    return PCO__CONTAINER(request, pco__detaching, request);
}

pco__kept **pco__detaching_kept(pco__detaching *detaching)
{
    return &detaching->kept;
}

/* ---- The request ---- */

static void cancel(pco_request *request)
{
    pco__detaching *detaching = of(request);
    if (!pco__task_is_queued(&detaching->task)) {
        pco__stream_recall(detaching->stream, PCO_ECANCELED, 0, "detaching was canceled");
    }
}

static void complete(pco_request *request)
{
    pco__detaching *detaching = of(request);
    const pco__kept *kept = detaching->kept;
    pco_error error;
    if (detaching->code != 0) {
        pco__error_set(&error, detaching->code, detaching->system_code, "%s",
                       detaching->sentence != NULL ? detaching->sentence
                                                   : pco_strerror(detaching->code));
    }
    detaching->detached(detaching->socket, kept != NULL ? kept->data + kept->offset : NULL,
                        kept != NULL ? kept->length - kept->offset : 0,
                        detaching->code != 0 ? &error : NULL, detaching->context);
    pco__free(detaching->kept);
    detaching->kept = NULL;
}

static void destroy(pco_request *request)
{
    pco__free(of(request));
}

static const pco__request_class detaching_class = {
    .cancel = cancel, .complete = complete, .destroy = destroy};

/* The stream went on meanwhile: what was written may have left, the marks may have been moved. */
static void tell(pco__task *task)
{
    pco__detaching *detaching = PCO__CONTAINER(task, pco__detaching, task);
    pco__stream *stream = detaching->stream;
    pco__request_complete(&detaching->request);
    pco__stream_resume_if_under(stream);
    pco__stream_check_high_water(stream);
}

/* ---- The stream ---- */

static int check_state(const pco__stream *stream, pco_error *error)
{
    if (stream->base.home->loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    if (stream->state == PCO__STREAM_DETACHING) {
        return pco__error_set(error, PCO_EBUSY, 0, "the transport is being detached already");
    }
    if (stream->state != PCO__STREAM_OPEN) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the transport is closing");
    }
    return 0;
}

int pco__stream_detach(pco__stream *stream, pco_detached detached, void *context,
                       pco_request **request, pco_error *error)
{
    pco_loop *loop = stream->base.home->loop;
    int code = check_state(stream, error);
    if (code != 0) {
        return code;
    }
    pco__detaching *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "detach a transport");
    }
    made->stream = stream;
    made->task.run = tell;
    made->kept = stream->of_state.kept;
    made->detached = detached;
    made->context = context;
    made->socket = PCO_NO_SOCKET;
    stream->of_state.kept = NULL;
    pco__stream_set_state(stream, PCO__STREAM_DETACHING);
    stream->of_state.detaching = made;
    pco__request_begin(loop, &made->request, &detaching_class, request);
    pco__loop_schedule_last(loop, &stream->task);
    pco__stream_update_reading(stream);
    return 0;
}

void pco__stream_recall(pco__stream *stream, int code, int system_code, const char *sentence)
{
    pco_loop *loop = stream->base.home->loop;
    pco__detaching *detaching = stream->of_state.detaching;
    pco__stream_set_state(stream, PCO__STREAM_OPEN);
    stream->of_state.kept = detaching->kept;
    detaching->kept = NULL;
    detaching->code = code;
    detaching->system_code = system_code;
    detaching->sentence = sentence;
    pco__loop_schedule(loop, &detaching->task);
    pco__loop_schedule_last(loop, &stream->task);
}

void pco__stream_hand_over(pco__stream *stream)
{
    pco__backend *backend = stream->base.home->backend;
    pco__detaching *detaching = stream->of_state.detaching;
    if (stream->io.socket == PCO_NO_SOCKET) { /* see the rule Drained */
        pco__stream_fail(stream, PCO_ECONNRESET, 0, "the system did not let go of the socket");
        return;
    }
    assert(pco__stream_pending(stream) == 0); /* a cork is sent when the callback returns */
    backend->class_->detach(backend, &stream->io);
    detaching->socket = stream->io.socket;
    stream->io.socket = PCO_NO_SOCKET;
    pco__stream_set_state(stream, PCO__STREAM_CLOSED);
    pco__request_complete(&detaching->request);
    pco__stream_tell_lost(stream);
    pco__stream_leave(stream);
}
