/* SPDX-License-Identifier: MIT */
/*
 * signals.h (internal): a signal as a task of the loop, embedded in what handles it. The public
 * handlers are made of it, and whoever else wants to hear of a signal without taking it away from
 * them.
 */
#ifndef PCO_SIGNALS_H
#define PCO_SIGNALS_H

#include "loop/loop.h"
#include "system/signals.h"

typedef struct pco__on_signal pco__on_signal;
struct pco__on_signal {
    pco__watch watch;
    pco__task task;
    pco__count untold; /* how often it has come and was not told; the task is queued if not 0 */
    pco_loop *loop;

    /* On the loop's thread, as a task, once for each time that the signal came. May free it. */
    void (*told)(pco__on_signal *on_signal);
};

/* Begins to hear; `told` is set. Errors as pco__watch_begin. */
int pco__on_signal_begin(pco_loop *loop, int number, pco__on_signal *on_signal, pco_error *error);

/* Ends it, for what has come already, too. It must be before the loop is freed. */
void pco__on_signal_end(pco__on_signal *on_signal);

#endif
