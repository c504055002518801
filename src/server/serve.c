/* SPDX-License-Identifier: MIT */
/* serve.c: running the loop for a server, until it is over or a signal asks for its end. */
#include "server/server.h"

#include <assert.h>
#include <math.h>

#include "loop/signals.h"
#include "support/error.h"
#include "support/options.h"

/* How many signals a system may have that ask a program to end. */
#define ENDING_SIGNALS_MOST 4

static int is_busy(pco_error *error)
{
    return pco__error_set(error, PCO_EBUSY, 0, "the loop is running already, or is hosted");
}

static int take_over(pco_server *server, pco_error *error)
{
    if (server->loop == NULL) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the server is closed");
    }
    if (pco__loop_take_over(server->loop) != 0) {
        return is_busy(error);
    }
    return 0;
}

static bool is_over(void *context)
{
    return pco__server_is_over(context);
}

static int serve(pco_server *server, pco_error *error)
{
    int code = pco_server_start_serving(server, error);
    if (code != 0) {
        return code;
    }
    server->holds++;
    code = pco_loop_run_until(server->loop, is_over, server, INFINITY);
    server->holds--;
    if (server->freed) {
        pco__loop_schedule(server->loop, &server->task);
    }
    return code == PCO_EBUSY ? is_busy(error) : 0;
}

int pco_server_serve_forever(pco_server *server, pco_error *error)
{
    int code = take_over(server, error);
    return code == 0 ? serve(server, error) : code;
}

/* ---- Until a signal ---- */

typedef struct serving {
    pco_server *server;
    double grace;
    bool is_ending; /* a signal has come */
} serving;

typedef struct ending_signal {
    pco__on_signal on_signal;
    serving *of;
} ending_signal;

/* The first one asks politely. */
static void end_server(pco__on_signal *on_signal)
{
    serving *of = PCO__CONTAINER(on_signal, ending_signal, on_signal)->of;
    if (of->is_ending) {
        pco_server_abort_clients(of->server);
    } else {
        of->is_ending = true;
        pco_server_shutdown(of->server, of->grace);
    }
}

static int serve_with(serving *of, pco_error *error)
{
    ending_signal signals[ENDING_SIGNALS_MOST];
    size_t count = 0;
    int code = 0;
    for (; pco__ending_signals[count] != 0; count++) {
        assert(count < ENDING_SIGNALS_MOST);
        ending_signal *signal = &signals[count];
        signal->of = of;
        signal->on_signal.told = end_server;
        code = pco__on_signal_begin(of->server->loop, pco__ending_signals[count],
                                    &signal->on_signal, error);
        if (code != 0) {
            goto done;
        }
    }
    code = serve(of->server, error);
done:
    while (count != 0) {
        pco__on_signal_end(&signals[--count].on_signal);
    }
    return code;
}

int pco_server_serve_until_signal(pco_server *server, double grace, pco_error *error)
{
    int code = pco__check_seconds(grace, true, "grace", error);
    if (code == 0) {
        code = take_over(server, error);
    }
    serving of = {.server = server, .grace = grace};
    return code == 0 ? serve_with(&of, error) : code;
}
