/* SPDX-License-Identifier: MIT */
/*
 * signal.h: signals as callbacks of a loop, and the end of a server program.
 *
 * On POSIX these are the system's signals, SIGCHLD and those of real time included. Windows has
 * events of the console instead, which are told as signals:
 *
 *   SIGINT     Ctrl-C
 *   SIGBREAK   Ctrl-Break
 *   SIGHUP     the console is being closed
 *   SIGTERM    the system shuts down, or the user logs off (not where the program is a service)
 *
 * After the last two Windows ends the process in a few seconds, 5 for most of them, and at once
 * when the program's own handler has returned: so the library's does not return, and the time is
 * the program's. `raise` and `signal` of the C library there have nothing to do with any of this.
 *
 * A process has one handler for each signal, so this is state of the process (portico/base.h).
 * While some loop handles a signal, the library's handler is in place, unless the program itself
 * puts another there; it only wakes the loops, and whatever interrupted system calls may go on does
 * so (SA_RESTART). When the last one ends, what was there before is put back, be it SIG_IGN or a
 * function of yours, but not where the program has changed it meanwhile: then that stays. No other
 * signal is touched, and no thread's mask.
 *
 * A process made by fork handles no signal, whatever its parent does. If one comes that the parent
 * handles, it does what it would have done without the library, and the parent hears nothing. Of a
 * loop of its own it can have its own handlers.
 */
#ifndef PORTICO_SIGNAL_H
#define PORTICO_SIGNAL_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The numbers of <signal.h> for what both kinds of systems have; they are the same everywhere.
 * Windows' SIGBREAK, and what only POSIX has, is in <signal.h>.
 */
enum { PCO_SIGHUP = 1, PCO_SIGINT = 2, PCO_SIGTERM = 15 };

typedef void (*pco_signal_callback)(int signal_number, void *context);

/*
 * Calls `callback` for each time that the process gets the signal, on the loop's thread, as
 * pco_loop_call_soon would: it may call whatever callbacks may. Any number of loops, on any
 * threads, may handle the same signal: each is told. Called again for the same loop and signal, it
 * replaces the callback and the context, also for what has come and was not told yet; and puts the
 * library's handler in place again, if the program has put one of its own there meanwhile.
 *
 * Signals are told in the order in which they came; of one that came several times before the first
 * was told, one is told per turn of the loop. How often a process gets a signal is the system's
 * matter: of an ordinary signal that is sent several times at once it may make one. Those of real
 * time are all told.
 *
 * The loop's thread. PCO_EINVAL: no callback; SIGKILL or SIGSTOP; a signal by which the system
 * tells of a fault in the program (SIGSEGV, SIGBUS, SIGFPE, SIGILL); a number that is no signal, or
 * on Windows none of those above. PCO_ENOMEM. PCO_ECLOSED: the loop is being freed. On failure what
 * there was before goes on. (asyncio: loop.add_signal_handler; any thread, and Windows too.)
 */
PCO_API int pco_loop_add_signal_handler(pco_loop *loop, int signal_number,
                                        pco_signal_callback callback, void *context,
                                        pco_error *error);

/*
 * Ends that: when it returns, the callback will not be called any more, also not for what has come
 * already. Returns whether there was a handler. A loop that is freed removes all that it has. Legal
 * in the callback itself. The loop's thread. (asyncio: loop.remove_signal_handler.)
 */
PCO_API bool pco_loop_remove_signal_handler(pco_loop *loop, int signal_number);

#ifdef __cplusplus
}
#endif

#endif
