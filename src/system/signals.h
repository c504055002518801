/* SPDX-License-Identifier: MIT */
/*
 * signals.h: how a system tells a process that something has happened outside of it: by signals on
 * POSIX, by events of the console on Windows. posix/signal.c and win32/signal.c implement it.
 *
 * A process has one handler for each signal: so this is state of the process, and not of a loop.
 * While anybody watches a signal the library's handler is in place, which tells all who watch, in
 * the order in which they began to; when the last one ends, what was there before is put back. A
 * process made by fork has nobody who watches, whoever does in its parent.
 */
#ifndef PCO_SIGNALS_SYSTEM_H
#define PCO_SIGNALS_SYSTEM_H

#include <portico/error.h>
#include <portico/signal.h>

/* Who watches a signal, embedded in what wants to hear of it. It does not move meanwhile. */
typedef struct pco__watch pco__watch;
struct pco__watch {
    pco__watch *next; /* the system's */
    int number;

    /*
     * The signal has come. On any thread, inside a signal handler on POSIX: async-signal-safe, and
     * it neither begins nor ends to watch anything.
     */
    void (*raised)(pco__watch *watch);
};

/*
 * Begins: number and raised are set. Any thread, but no signal handler. PCO_EINVAL: no signal that
 * can be watched, with a sentence; PCO_ENOMEM.
 */
int pco__watch_begin(pco__watch *watch, pco_error *error);

/*
 * Puts the library's handler in place again, where the program has put one of its own there since.
 * As pco__watch_begin.
 */
int pco__watch_renew(pco__watch *watch, pco_error *error);

/*
 * Ends. When it returns, raised() is not running on any thread and will not be called any more.
 * Any thread, but no signal handler; not from raised().
 */
void pco__watch_end(pco__watch *watch);

/* What the handler does: tells all who watch this signal. Returns whether anybody does. */
bool pco__watch_tell(int number);

/* The signals by which this system asks a program to end, as a user expects it; ended by 0. */
extern const int pco__ending_signals[];

#endif
