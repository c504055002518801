/* SPDX-License-Identifier: MIT */
/* loop.c: what everybody on the loop needs: where trouble is reported, and where one lives. */
#include "loop/loop.h"

#include <stdio.h>

#include "support/error.h"

#define NANOSECONDS 1e9

/* ---- Trouble ---- */

void pco_loop_set_exception_handler(pco_loop *loop, pco_exception_handler handler, void *context)
{
    pco__loop_check_thread(loop);
    loop->exception_handler = handler;
    loop->exception_context = context;
}

/* As one line, whatever the user's own sentences are. */
static void print_trouble(const pco_exception_context *what)
{
    char line[2 * sizeof what->error->message];
    pco_error message;
    pco_error why = {.message = ""};
    pco__error_set(&message, 0, 0, "%s", what->message);
    if (what->error != NULL) {
        pco__error_set(&why, 0, 0, ": %s", what->error->message);
    }
    snprintf(line, sizeof line, "%s%s", message.message, why.message);
    pco__print(line);
}

static const pco__field context_fields[] = {
    PCO__FIELD(pco_exception_context, message),   PCO__FIELD(pco_exception_context, error),
    PCO__FIELD(pco_exception_context, transport), PCO__FIELD(pco_exception_context, protocol),
    PCO__FIELD(pco_exception_context, server),    PCO__FIELD(pco_exception_context, duration),
};
static const pco__layout context_layout =
    PCO__LAYOUT(pco_exception_context, sizeof(size_t), context_fields);

int pco_loop_call_exception_handler(pco_loop *loop, const pco_exception_context *what)
{
    pco__loop_check_thread(loop);
    pco_exception_context whole;
    if (what == NULL || pco__options_read(&context_layout, what, &whole, NULL) != 0 ||
        whole.message == NULL) {
        return PCO_EINVAL;
    }
    if (loop->exception_handler != NULL) {
        loop->exception_handler(loop, &whole, loop->exception_context);
    } else if (loop->debug) {
        print_trouble(&whole);
    }
    return 0;
}

void pco__loop_report(pco_loop *loop, const char *message, const pco_error *error,
                      pco_transport *transport, pco_protocol *protocol, pco_server *server)
{
    pco_exception_context what = {.size = sizeof what,
                                  .message = message,
                                  .error = error,
                                  .transport = transport,
                                  .protocol = protocol,
                                  .server = server};
    pco_loop_call_exception_handler(loop, &what);
}

void pco__loop_wrong_thread(void)
{
    pco__panic("a loop or an object of it was used on a thread that is not the loop's "
               "(only pco_loop_stop and pco_loop_call_soon_threadsafe may be)");
}

void pco__loop_check_thread_now(const pco_loop *loop)
{
    if (loop->thread != pco__thread_id()) {
        pco__loop_wrong_thread();
    }
}

void pco__loop_report_slow(pco_loop *loop, uint64_t began)
{
    uint64_t now = loop->backend->class_->now(loop->backend);
    double seconds = (double)(now - began) / NANOSECONDS;
    if (began != 0 && seconds >= loop->slow_callback_duration) {
        char message[64];
        snprintf(message, sizeof message, "a callback took %.3f seconds", seconds);
        pco_exception_context what = {.size = sizeof what, .message = message, .duration = seconds};
        pco_loop_call_exception_handler(loop, &what);
    }
}

/* ---- Residents ---- */

void pco__loop_move_in(pco_loop *loop, pco__resident *resident)
{
    pco__list_append(&loop->residents, &resident->link);
}

void pco__loop_move_in_first(pco_loop *loop, pco__resident *resident)
{
    pco__list_prepend(&loop->residents, &resident->link);
}

void pco__loop_move_out(pco__resident *resident)
{
    pco__list_remove(&resident->link);
}
