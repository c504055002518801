/* SPDX-License-Identifier: MIT */
/*
 * loop.h: the event loop: running, stopping, callbacks, timers, and where trouble is reported.
 *
 * One turn of the loop waits for input and output and runs the callbacks that they cause, then
 * the timers that are due and the callbacks that were there when the turn began to run them.
 * So a callback that was made by one of input and output runs later in the same turn, and one that
 * was made by a callback or a timer in the next: callbacks cannot starve the network.
 * (asyncio: BaseEventLoop._run_once.)
 */
#ifndef PORTICO_LOOP_H
#define PORTICO_LOOP_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*pco_callback)(void *context);
typedef bool (*pco_condition)(void *context);

typedef struct pco_loop_options {
    size_t size;

    /*
     * The backend: "epoll", "kqueue", "io_uring", "iocp". NULL: what the environment variable
     * PORTICO_BACKEND names, and without it the best that this system supports.
     */
    const char *backend;

    /*
     * Debug mode: slow callbacks are reported; every call from a wrong thread, of whatever belongs
     * to the loop, ends the program with a sentence on stderr; connections that are open and
     * transports that were not released are reported when the loop is freed; and what is reported
     * while no exception handler is set is printed to stderr, a line each. Default: on if the
     * environment variable PORTICO_DEBUG is set and not empty.
     */
    int debug;

    /* In debug mode, a callback that takes this long is reported. Default 0.1 s. */
    double slow_callback_duration;

    /* Bytes of the loop's receive buffer, 4 KiB to 16 MiB. Default 512 KiB. One per loop. */
    size_t receive_buffer_size;
} pco_loop_options;

/*
 * Makes a loop. It belongs to the caller, who ends it with pco_loop_free; the thread that ran it
 * last is its thread (until then, the one that made it). So pco_loop_run_*, pco_loop_host and
 * pco_loop_free are for any thread while the loop does not run and is not hosted. A process made by
 * fork() must not touch the loops of its parent, not even to free them; what its signal handlers
 * ask for, pco_loop_stop above all, is ignored on POSIX, and they hear of none of its signals
 * (portico/signal.h). It holds duplicates of their sockets until it ends or calls exec: a
 * connection that is closed here ends for the peer only then. `options` may be NULL.
 * PCO_EINVAL: an option out of range, or a backend that does not exist here. PCO_ENOTSUP: the
 * backend that was asked for exists but the system refuses it. PCO_ENOMEM, PCO_EMFILE.
 */
PCO_API int pco_loop_new(const pco_loop_options *options, pco_loop **loop, pco_error *error);

/*
 * Frees the loop. What is left is closed: servers stop listening, every connection is aborted and
 * its connection_lost is called; callbacks that have not run are dropped. Nothing new can be made
 * on it meanwhile: such calls answer PCO_ECLOSED. Objects of the loop that you still own (servers,
 * handles, retained transports) stay valid, answer PCO_ECLOSED, and are freed by you as usual. NULL
 * is allowed. What hosts it does so no more. PCO_EBUSY while the loop runs, or where another thread
 * hosts it, and nothing is done.
 */
PCO_API int pco_loop_free(pco_loop *loop);

/*
 * Runs until pco_loop_stop. PCO_EBUSY, of this and the next two: the loop runs already, on this
 * thread or another, or is being freed; or it is hosted (portico/host.h), where pco_loop_run_once
 * with a timeout of 0 alone is for its host. Otherwise 0.
 */
PCO_API int pco_loop_run_forever(pco_loop *loop);

/*
 * Runs one turn, and waits in it for at most `timeout` seconds: 0 does not wait, INFINITY waits
 * until something happens. With a budget (pco_loop_set_turn_budget) it runs a part of a turn, and
 * the next one goes on from there. PCO_EINVAL: NaN or negative. PCO_EBUSY as above.
 */
PCO_API int pco_loop_run_once(pco_loop *loop, double timeout);

/*
 * Runs until `condition` returns true: it is asked before the first turn and after every turn.
 * Ends with PCO_ETIMEDOUT after `timeout` seconds (INFINITY: no limit), with PCO_ECANCELED if
 * pco_loop_stop came first. PCO_EINVAL: NaN or negative, no condition. PCO_EBUSY as above.
 */
PCO_API int pco_loop_run_until(pco_loop *loop, pco_condition condition, void *context,
                               double timeout);

/*
 * Ends pco_loop_run_* when the current turn is over; input and output that is ready by then may be
 * served once more. Called while the loop does not run, or in the turn with which
 * pco_loop_run_once or _until ends anyway, the next run ends after one turn. Any thread; also from
 * a signal handler of your own. (To end a program by a signal there is
 * pco_server_serve_until_signal, and pco_loop_add_signal_handler.)
 */
PCO_API void pco_loop_stop(pco_loop *loop);

/* Whether the loop is inside one of the pco_loop_run_* functions. */
PCO_API bool pco_loop_is_running(const pco_loop *loop);

/*
 * The loop's clock: seconds, monotonic, with an arbitrary origin. It stands still while the machine
 * sleeps, on every system, and so do all timers and time limits: a timer of ten seconds that had
 * three left when the machine fell asleep has three left when it wakes up. Nothing expires by
 * sleeping. What shall happen at an hour of the day must look at the wall clock itself. (NetBSD has
 * one monotonic clock and does not say whether it counts sleep.)
 */
PCO_API double pco_loop_time(pco_loop *loop);

/* The name of the backend in use. */
PCO_API const char *pco_loop_backend(const pco_loop *loop);

/*
 * Runs `callback(context)` soon, never inside this call (see the top); callbacks run in the order
 * in which they were made, each once, and connection_lost among them: its place is that of the
 * close. If `handle` is not NULL it receives a handle, which is yours to release.
 * PCO_EINVAL: no callback. PCO_ENOMEM. PCO_ECLOSED: the loop is being freed.
 */
PCO_API int pco_loop_call_soon(pco_loop *loop, pco_callback callback, void *context,
                               pco_handle **handle);

/*
 * Runs `callback(context)` after `delay` seconds, or at the time `when` of pco_loop_time. Never
 * early, and later by the time that the machine sleeps; timers of equal time run in the order in
 * which they were made. PCO_EINVAL: no callback, a delay that is NaN, negative or infinite, a time
 * that is NaN or infinite. PCO_ENOMEM. PCO_ECLOSED: the loop is being freed.
 */
PCO_API int pco_loop_call_later(pco_loop *loop, double delay, pco_callback callback, void *context,
                                pco_handle **handle);
PCO_API int pco_loop_call_at(pco_loop *loop, double when, pco_callback callback, void *context,
                             pco_handle **handle);

/*
 * As pco_loop_call_soon, from any thread (but not from a signal handler): the loop wakes up. A
 * burst of calls costs one wake-up. The handle, if one is asked for, may only be used on the
 * loop's thread. The caller makes sure that the loop is not freed meanwhile.
 */
PCO_API int pco_loop_call_soon_threadsafe(pco_loop *loop, pco_callback callback, void *context,
                                          pco_handle **handle);

/*
 * Handles are for the loop's thread, until the callback has returned or was dropped: from then on
 * the loop does not know them any more, and they may be used on any thread, on one at a time.
 */

/* The callback will not run, unless it has begun. Idempotent; NULL is allowed. */
PCO_API void pco_handle_cancel(pco_handle *handle);

/*
 * From now on exactly one of the two runs: the callback, or, if it will not run any more, `dropped`
 * with the same context: inside pco_handle_cancel, or while the loop is freed. NULL: nobody is
 * told, the default. Nothing happens once one of them was called, or the callback was dropped with
 * nobody to tell. The loop's thread; also the thread that called pco_loop_call_soon_threadsafe,
 * while the loop is not freed.
 */
PCO_API void pco_handle_set_dropped(pco_handle *handle, pco_callback dropped);

/* Whether pco_handle_cancel was called on it; also when that was too late. */
PCO_API bool pco_handle_cancelled(const pco_handle *handle);

/* When a timer is due, or was, in pco_loop_time's seconds; 0 for a callback without a time. */
PCO_API double pco_handle_when(const pco_handle *handle);

/* Gives the handle back; the callback still runs unless it was canceled. NULL is allowed. */
PCO_API void pco_handle_release(pco_handle *handle);

/*
 * What the exception handler is told. All pointers may be NULL; all are lent for the call.
 */
typedef struct pco_exception_context {
    size_t size;
    const char *message;    /* what happened, a sentence; never NULL */
    const pco_error *error; /* why */
    pco_transport *transport;
    pco_protocol *protocol;
    pco_server *server;
    double duration; /* of a slow callback, in seconds */
} pco_exception_context;

typedef void (*pco_exception_handler)(pco_loop *loop, const pco_exception_context *what,
                                      void *context);

/*
 * Sets the function that hears of trouble which no caller can be told about: accepting failed, a
 * factory or a buffer was refused, a slow callback. NULL, the default: debug mode prints it to
 * stderr, as "portico: a connection was refused: ...", and otherwise nobody hears. Outside of debug
 * mode the library prints nothing.
 */
PCO_API void pco_loop_set_exception_handler(pco_loop *loop, pco_exception_handler handler,
                                            void *context);

/*
 * Calls the exception handler; without one, debug mode prints what it would hear. PCO_EINVAL: no
 * message, or a wrong size.
 */
PCO_API int pco_loop_call_exception_handler(pco_loop *loop, const pco_exception_context *what);

PCO_API bool pco_loop_get_debug(const pco_loop *loop);
PCO_API void pco_loop_set_debug(pco_loop *loop, bool debug);

#ifdef __cplusplus
}
#endif

#endif
