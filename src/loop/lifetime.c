/* SPDX-License-Identifier: MIT */
/* lifetime.c: making a loop, what it is set to, and freeing it with all that lives on it. */
#include "loop/loop.h"

#include <string.h>

#include "support/error.h"
#include "support/memory.h"

#define SLOW_CALLBACK 0.1
#define RECEIVE_BUFFER ((size_t)512 * 1024)
#define RECEIVE_BUFFER_LEAST ((size_t)4 * 1024)
#define RECEIVE_BUFFER_MOST ((size_t)16 * 1024 * 1024)

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

/* ---- Settings ---- */

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

/* ---- Freeing ---- */

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
