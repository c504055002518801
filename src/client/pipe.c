/* SPDX-License-Identifier: MIT */
/*
 * pipe.c: a connection to a named pipe. To open one takes no time, but every instance of it may
 * have a client already, and of a free one nobody is told: the system can only be waited for by a
 * thread (WaitNamedPipe), which nothing could call off, and when that returns others may have been
 * faster. So it is tried again, after a pause that grows.
 */
#include <math.h>

#include <portico/pipe.h>

#include "client/opening.h"
#include "client/options.h"
#include "connection/check.h"
#include "support/error.h"
#include "system/pipes.h"

/* Seconds. A server that accepts has instances again in its loop's next turn. */
#define FIRST_PAUSE 0.001
#define LONGEST_PAUSE 0.05

static const pco__pipes_class *pipes_of(const pco_loop *loop)
{
    return loop->backend->class_->network->pipes;
}

static void all_in_use(pco__opening *opening)
{
    pco__pipe_wanted *pipe = &opening->pipe;
    double waited = (double)(pco__loop_now(opening->loop) - pipe->began) / 1e9;
    double left = pipe->patience - waited;
    if (left <= 0) {
        pco_error error;
        pco__error_set(&error, PCO_ETIMEDOUT, 0,
                       "connect to pipe %s: all its instances were in use for %g seconds",
                       pipe->name, pipe->patience);
        pco__opening_fail(opening, &error);
        return;
    }
    pco__loop_start_timer(opening->loop, &opening->delay, fmin(pipe->pause, left));
    pipe->pause = fmin(2 * pipe->pause, LONGEST_PAUSE);
}

/* The pipe is connected: a stream is made of it. */
static void opened(pco__opening *opening, pco_socket sock)
{
    pco__stream *stream;
    pco_error error;
    if (pco__stream_new(opening->loop, sock, NULL, &opening->owner.streams, &stream, &error) != 0) {
        pipes_of(opening->loop)->close(sock);
        pco__opening_fail(opening, &error);
        return;
    }
    opening->streams++;
    pco__opening_won(opening, stream);
}

/* Tries to open the pipe, and sees to it that it is tried again if it has no free instance. */
static void go_on(pco__opening *opening)
{
    pco__pipe_wanted *pipe = &opening->pipe;
    if (opening->stage == PCO__OPENING_LOOKING_UP) {
        opening->stage = PCO__OPENING_CONNECTING;
        pipe->began = pco__loop_now(opening->loop);
        pco__opening_tell(opening, PCO_CONNECTION_CONNECTING, NULL, NULL);
    }
    if (opening->stage != PCO__OPENING_CONNECTING) {
        return;
    }
    pco_error error;
    pco_socket sock;
    int code = pipes_of(opening->loop)->open(pipe->name, &sock, &error);
    if (code == 0) {
        opened(opening, sock);
    } else if (code == PCO_EAGAIN) {
        all_in_use(opening);
    } else {
        pco__opening_fail(opening, &error);
    }
}

/* To open a pipe is to be connected: no stream of it ever connects. */
static const pco__opening_class opening_class = {.go_on = go_on};

int pco_loop_create_pipe_connection(pco_loop *loop, const char *name,
                                    const pco_connection_options *options, pco_connected connected,
                                    void *context, pco_request **request, pco_error *error)
{
    pco_connection_options checked;
    pco__pipe_wanted pipe = {.pause = FIRST_PAUSE};
    pco__loop_check_thread(loop);
    if (pipes_of(loop) == NULL) {
        return pco__error_set(error, PCO_ENOTSUP, 0, "this system has no named pipes");
    }
    int code = pco__check_opening(loop, connected, error);
    if (code == 0) {
        code = pco__opening_check_pipe(loop->backend->class_->network, options, &checked,
                                       &pipe.patience, error);
    }
    if (code == 0) {
        code = pco__check_pipe_name(name, &pipe.name, error);
    }
    pco__opener opener = {.class_ = &opening_class,
                          .is_client = true,
                          .pipe = &pipe,
                          .connected = connected,
                          .context = context};
    return code == 0 ? pco__open_connection(loop, &checked, &opener, request, error) : code;
}
