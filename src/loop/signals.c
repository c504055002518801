/* SPDX-License-Identifier: MIT */
/*
 * signals.c: handlers of signals, as a resident of the loop.
 *
 * A signal handler of the system's counts, and posts the task when it counts the first: so the task
 * is in one queue at most, and what it needs is there. The task takes one from the count each time,
 * and queues itself again while something is left: a flood of signals cannot hold a turn up.
 */
#include "loop/signals.h"

#include <portico/signal.h>

#include "support/error.h"
#include "support/memory.h"

/* ---- A signal as a task ---- */

/* Inside a signal handler, or on a thread of the system's. */
static void raised(pco__watch *watch)
{
    pco__on_signal *self = PCO__CONTAINER(watch, pco__on_signal, watch);
    if (pco__count_add(&self->untold, 1) == 0) {
        pco__loop_post(self->loop, &self->task);
    }
}

static void tell(pco__task *task)
{
    pco__on_signal *self = PCO__CONTAINER(task, pco__on_signal, task);
    if (pco__count_add(&self->untold, -1) > 1) {
        pco__loop_schedule(self->loop, task);
    }
    self->told(self);
}

int pco__on_signal_begin(pco_loop *loop, int number, pco__on_signal *on_signal, pco_error *error)
{
    on_signal->watch = (pco__watch){.number = number, .raised = raised};
    on_signal->task = (pco__task){.run = tell};
    on_signal->untold = (pco__count){0};
    on_signal->loop = loop;
    return pco__watch_begin(&on_signal->watch, error);
}

void pco__on_signal_end(pco__on_signal *on_signal)
{
    pco__watch_end(&on_signal->watch);
    pco__loop_unschedule(on_signal->loop, &on_signal->task);
}

/* ---- The user's handlers ---- */

typedef struct handler {
    pco__on_signal on_signal;
    pco__link link; /* in signals.handlers */
    pco_signal_callback callback;
    void *context;
} handler;

typedef struct signals {
    pco__resident resident;
    pco__link handlers;
} signals;

static handler *of_link(pco__link *link)
{
    return PCO__CONTAINER(link, handler, link);
}

static void call(pco__on_signal *on_signal)
{
    const handler *self = PCO__CONTAINER(on_signal, handler, on_signal);
    self->callback(on_signal->watch.number, self->context);
}

static void discard(handler *self)
{
    pco__on_signal_end(&self->on_signal);
    pco__list_remove(&self->link);
    pco__free(self);
}

static signals *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, signals, resident);
}

static void end(pco__resident *resident)
{
    pco__link *handlers = &of(resident)->handlers;
    while (!pco__list_is_empty(handlers)) {
        discard(of_link(handlers->next));
    }
}

static void leave(pco__resident *resident)
{
    pco__free(of(resident));
}

static const pco__resident_class signals_class = {.end = end, .leave = leave};

/* NULL: the loop has none. */
static signals *find_signals(pco_loop *loop)
{
    pco__resident *found = pco__loop_find(loop, &signals_class);
    return found != NULL ? of(found) : NULL;
}

static handler *find_handler(pco_loop *loop, int number)
{
    const signals *own = find_signals(loop);
    if (own == NULL) {
        return NULL;
    }
    for (pco__link *link = own->handlers.next; link != &own->handlers; link = link->next) {
        if (of_link(link)->on_signal.watch.number == number) {
            return of_link(link);
        }
    }
    return NULL;
}

static signals *find_or_make_signals(pco_loop *loop)
{
    signals *own = find_signals(loop);
    if (own == NULL) {
        own = pco__calloc(sizeof *own);
        if (own != NULL) {
            own->resident.class_ = &signals_class;
            pco__list_init(&own->handlers);
            pco__loop_move_in_first(loop, &own->resident);
        }
    }
    return own;
}

static int add(pco_loop *loop, int number, pco_signal_callback callback, void *context,
               pco_error *error)
{
    signals *own = find_or_make_signals(loop);
    handler *made = own != NULL ? pco__calloc(sizeof *made) : NULL;
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "handle signal %d", number);
    }
    made->callback = callback;
    made->context = context;
    made->on_signal.told = call;
    int code = pco__on_signal_begin(loop, number, &made->on_signal, error);
    if (code != 0) {
        pco__free(made);
        return code;
    }
    pco__list_append(&own->handlers, &made->link);
    return 0;
}

int pco_loop_add_signal_handler(pco_loop *loop, int signal_number, pco_signal_callback callback,
                                void *context, pco_error *error)
{
    pco__loop_check_thread(loop);
    if (callback == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a signal handler needs a callback");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    handler *there = find_handler(loop, signal_number);
    if (there == NULL) {
        return add(loop, signal_number, callback, context, error);
    }
    int code = pco__watch_renew(&there->on_signal.watch, error);
    if (code == 0) {
        there->callback = callback;
        there->context = context;
    }
    return code;
}

bool pco_loop_remove_signal_handler(pco_loop *loop, int signal_number)
{
    pco__loop_check_thread(loop);
    handler *there = find_handler(loop, signal_number);
    if (there != NULL) {
        discard(there);
    }
    return there != NULL;
}
