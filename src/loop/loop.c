/* SPDX-License-Identifier: MIT */
/*
 * loop.c: the loop itself: making and freeing it, what lives on it, and where trouble is reported.
 */
#include "loop/loop.h"

#include <stdio.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"

#define NANOSECONDS 1e9
#define SLOW_CALLBACK 0.1
#define RECEIVE_BUFFER ((size_t)512 * 1024)
#define RECEIVE_BUFFER_LEAST ((size_t)4 * 1024)
#define RECEIVE_BUFFER_MOST ((size_t)16 * 1024 * 1024)

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

bool pco_loop_get_debug(const pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return loop->debug;
}

void pco_loop_set_debug(pco_loop *loop, bool debug)
{
    pco__loop_check_thread(loop);
    loop->debug = debug;
    pco__loop_update_careful(loop);
    pco__loop_watch_callbacks(loop);
}

const char *pco_loop_backend(const pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return loop->backend->class_->name;
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

/* Has all of them begin to end, whatever moves out meanwhile. */
static void end_residents(pco_loop *loop)
{
    pco__link ending;
    pco__list_init(&ending);
    while (!pco__list_is_empty(&loop->residents)) {
        pco__resident *resident = pco__resident_of(loop->residents.next);
        pco__list_remove(&resident->link);
        pco__list_append(&ending, &resident->link);
        if (resident->class_->end != NULL) {
            resident->class_->end(resident);
        }
    }
    pco__list_move(&ending, &loop->residents);
}

static bool residents_have_ended(const pco_loop *loop)
{
    for (pco__link *link = loop->residents.next; link != &loop->residents; link = link->next) {
        pco__resident *resident = pco__resident_of(link);
        if (resident->class_->has_ended != NULL && !resident->class_->has_ended(resident)) {
            return false;
        }
    }
    return true;
}

static void let_residents_leave(pco_loop *loop)
{
    while (!pco__list_is_empty(&loop->residents)) {
        pco__resident *resident = pco__resident_of(loop->residents.previous);
        pco__list_remove(&resident->link);
        resident->class_->leave(resident);
    }
}

/* ---- Making ---- */

static const pco__field option_fields[] = {
    PCO__FIELD(pco_loop_options, backend),
    PCO__FIELD(pco_loop_options, debug),
    PCO__FIELD(pco_loop_options, slow_callback_duration),
    PCO__FIELD(pco_loop_options, receive_buffer_size),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_loop_options, sizeof(size_t), option_fields);

static int check_options(const pco_loop_options *given, pco_loop_options *options, pco_error *error)
{
    static const pco_loop_options defaults = {.size = sizeof defaults};
    int code = pco__options_read(&option_layout, given != NULL ? given : &defaults, options, error);
    if (code != 0) {
        return code;
    }
    code = pco__check_switch(options->debug, "debug", error);
    if (code == 0) {
        code = pco__check_seconds(options->slow_callback_duration, true, "slow_callback_duration",
                                  error);
    }
    if (code != 0) {
        return code;
    }
    size_t buffer = options->receive_buffer_size;
    if (buffer != 0 && (buffer < RECEIVE_BUFFER_LEAST || buffer > RECEIVE_BUFFER_MOST)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "receive_buffer_size is %zu, not from 4 KiB to 16 MiB", buffer);
    }
    if (options->receive_buffer_size == 0) {
        options->receive_buffer_size = RECEIVE_BUFFER;
    }
    if (options->slow_callback_duration <= 0) {
        options->slow_callback_duration = SLOW_CALLBACK;
    }
    return 0;
}

static void free_parts(pco_loop *loop)
{
    if (loop->backend != NULL) {
        loop->backend->class_->fini(loop->backend);
    }
    if (loop->mutex != NULL) {
        pco__mutex_free(loop->mutex);
    }
    pco__free(loop);
}

int pco__loop_new(const pco_loop_options *given, const pco__backend_class *backend_class,
                  pco_loop **loop, pco_error *error)
{
    pco_loop_options options;
    int code = check_options(given, &options, error);
    if (code != 0) {
        return code;
    }
    pco_loop *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "make a loop");
    }
    if (pco__mutex_new(&made->mutex) != 0) {
        code = pco__error_describe(error, PCO_ENOMEM, 0, "make a loop");
        goto fail;
    }
    pco__backend_options backend_options = {.receive_buffer_size = options.receive_buffer_size};
    code = backend_class->init(backend_class, &backend_options, &made->backend, error);
    if (code != 0) {
        made->backend = NULL;
        goto fail;
    }
    made->backend->loop = made;
    made->debug = options.debug == PCO_ON ||
                  (options.debug == PCO_DEFAULT && pco__getenv("PORTICO_DEBUG") != NULL);
    pco__loop_update_careful(made);
    pco__loop_watch_callbacks(made);
    made->slow_callback_duration = options.slow_callback_duration;
    made->thread = pco__thread_id();
    pco__list_init(&made->ready);
    pco__list_init(&made->running);
    pco__list_init(&made->residents);
    *loop = made;
    return 0;
fail:
    free_parts(made);
    return code;
}

int pco_loop_new(const pco_loop_options *given, pco_loop **loop, pco_error *error)
{
    pco_loop_options options;
    int code = check_options(given, &options, error);
    if (code != 0) {
        return code;
    }
    /* What the user names must work; where nothing is named the library may choose. */
    const char *wanted = options.backend != NULL ? options.backend : pco__getenv("PORTICO_BACKEND");
    code = PCO_ENOTSUP;
    if (wanted != NULL) {
        code =
            pco__error_set(error, PCO_EINVAL, 0, "there is no backend '%s' on this system", wanted);
    }
    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        if (wanted != NULL && strcmp(pco__backends[i]->name, wanted) != 0) {
            continue;
        }
        code = pco__loop_new(&options, pco__backends[i], loop, error);
        if (code != PCO_ENOTSUP) {
            return code;
        }
    }
    return code;
}

/* ---- Freeing ---- */

/* While the loop is freed: whether no turn is needed any more. */
static bool is_at_rest(const pco_loop *loop)
{
    return residents_have_ended(loop) && pco__list_is_empty(&loop->ready) &&
           pco__inbox_is_empty(&loop->posted);
}

int pco_loop_free(pco_loop *loop)
{
    if (loop == NULL) {
        return 0;
    }
    int code = pco__loop_claim(loop);
    if (code != 0) {
        return code;
    }
    pco__host_leave(loop);
    pco__loop_drop_phase(loop);
    loop->freeing = true;
    end_residents(loop);
    do { /* who hears that a timer is dropped may free a server, whose end is a task */
        while (!is_at_rest(loop)) {
            pco__loop_turn_of_freeing(loop);
        }
        pco__loop_drop_timers(loop);
    } while (!is_at_rest(loop));
    let_residents_leave(loop);
    free_parts(loop);
    return 0;
}
