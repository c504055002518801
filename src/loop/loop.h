/* SPDX-License-Identifier: MIT */
/*
 * loop.h (internal): the loop's insides, for the objects that live on it.
 *
 *   loop.c      residents, and where trouble is reported
 *   host.c      whose it is: a thread's, which runs it, and between turns somebody else's loop
 *   turn.c      a turn of the loop, and running it
 *   lifetime.c  making and freeing
 *   handle.c    callbacks of the user's: call_soon, call_later
 */
#ifndef PCO_LOOP_INTERNAL_H
#define PCO_LOOP_INTERNAL_H

#include <portico/loop.h>

#include "loop/resident.h"
#include "loop/task.h"
#include "loop/timer.h"
#include "support/compiler.h"
#include "support/inbox.h"
#include "support/list.h"
#include "support/options.h"
#include "system/backend.h"
#include "system/platform.h"

/* Where a turn is. With a budget, it may stop anywhere, and the next one goes on from there. */
typedef enum pco__phase {
    PCO__PHASE_NONE, /* at its beginning */
    PCO__PHASE_POLLS,
    PCO__PHASE_TIMERS,
    PCO__PHASE_TASKS
} pco__phase;

typedef struct pco__host pco__host;

struct pco_loop {
    pco__backend *backend;
    pco__link ready;   /* pco__task.link, first to last */
    pco__link running; /* those that run in this turn */
    pco__timers timers;
    uint64_t now; /* of this turn; 0: not read yet */

    pco__shared runner; /* the number of the thread that runs or frees it; NULL: none does */
    pco__shared keeper; /* that of the thread whose loop hosts it; NULL: none does */
    pco__host *host;
    bool is_watched; /* its descriptor was asked for */

    uint64_t budget; /* of pco_loop_run_once, in nanoseconds; 0: the default; PCO__FOREVER: none */
    pco__phase phase;
    size_t polls;    /* in the phase of that name: how many are still to come, at most */
    uint64_t due_by; /* in the phase of the timers: those that were due then run */

    bool is_running; /* inside pco_loop_run_* */
    bool stopped;    /* poll() was told by wake() */
    bool freeing;
    bool debug;
    bool careful; /* debug, or not running: calls on transports need a second look */
    double slow_callback_duration;
    uintptr_t thread;

    pco__inbox posted; /* where other threads and signal handlers leave their tasks */
    pco__mutex *mutex; /* guards what handle.c says */

    pco_exception_handler exception_handler;
    void *exception_context;

    pco__link residents; /* pco__resident.link */
};

/*
 * Makes a loop on a given backend class; pco_loop_new chooses one and calls this. The tests call it
 * with their own.
 */
int pco__loop_new(const pco_loop_options *options, const pco__backend_class *backend_class,
                  pco_loop **loop, pco_error *error);

/* The time of this turn: read once, and only if somebody asks. */
uint64_t pco__loop_now(pco_loop *loop);

/* Seconds as nanoseconds, rounded up, so that nothing runs early. */
uint64_t pco__nanoseconds(double seconds);

/*
 * Queues a task at the end, unless it is queued already. Tasks run in the order in which they were
 * queued, whichever thread did it.
 */
void pco__loop_schedule(pco_loop *loop, pco__task *task);

/* Queues a task at the end, where it was queued already, too. */
void pco__loop_schedule_last(pco_loop *loop, pco__task *task);

/* Takes a task out of the queue; nothing happens if it is in none. */
void pco__loop_unschedule(pco_loop *loop, pco__task *task);

/* From any thread, or a signal handler: queues a task of the caller's, which is not queued. */
void pco__loop_post(pco_loop *loop, pco__task *task);

/* Starts `timer` to fire `seconds` (not NaN, not negative) from now; INFINITY does not start it. */
void pco__loop_start_timer(pco_loop *loop, pco__timer *timer, double seconds);
void pco__loop_start_timer_at(pco_loop *loop, pco__timer *timer, uint64_t when); /* nanoseconds */
void pco__loop_stop_timer(pco_loop *loop, pco__timer *timer);

/* A turn that has stopped halfway is not gone on with: what it has left comes first in the next. */
void pco__loop_drop_phase(pco_loop *loop);

/* One turn while the loop is freed; and the timers that are left, which are the users', dropped. */
void pco__loop_turn_of_freeing(pco_loop *loop);
void pco__loop_drop_timers(pco_loop *loop);

/* Called after every callback: does what it has left to do, such as sending what it wrote. */
static inline void pco__loop_after_callback(pco_loop *loop)
{
    pco__hook *hook = loop->backend->after_callback;
    if (hook != NULL) {
        hook->run(hook);
    }
}

/* The first resident of this class, or NULL. */
static inline pco__resident *pco__loop_find(pco_loop *loop, const pco__resident_class *class_)
{
    for (pco__link *link = loop->residents.next; link != &loop->residents; link = link->next) {
        if (pco__resident_of(link)->class_ == class_) {
            return pco__resident_of(link);
        }
    }
    return NULL;
}

/* Reports trouble to the exception handler. Any pointer may be NULL but the message. */
void pco__loop_report(pco_loop *loop, const char *message, const pco_error *error,
                      pco_transport *transport, pco_protocol *protocol, pco_server *server);

/* `debug` or `is_running` has changed. */
static inline void pco__loop_update_careful(pco_loop *loop)
{
    loop->careful = loop->debug || !loop->is_running;
}

/*
 * host.c: makes the loop this thread's, to be run or freed, until it is released. PCO_EBUSY: it
 * runs, is being freed, or is hosted on another thread.
 */
int pco__loop_claim(pco_loop *loop);
void pco__loop_release(pco_loop *loop);

/* host.c: makes the loop this thread's, if it can be run in the usual way. PCO_EBUSY: not so. */
int pco__loop_take_over(pco_loop *loop);

/*
 * readers.c: what the user watches cannot be a connection's or a server's, too: PCO_EBUSY. What is
 * no socket at all is left to who takes it.
 */
int pco__loop_check_unwatched(pco_loop *loop, pco_socket number, pco_error *error);

/* host.c: where there is somebody who is told of turns that are due. */
static inline bool pco__loop_has_host(const pco_loop *loop)
{
    return loop->host != NULL || loop->is_watched;
}

/* host.c: the loop is being freed: nobody hosts it any more. */
void pco__host_leave(pco_loop *loop);

/* Ends the program: a call on a thread that is not the loop's, in debug mode. */
void pco__loop_wrong_thread(void);

/* In debug mode, ends the program if this is not the loop's thread. */
void pco__loop_check_thread_now(const pco_loop *loop);

static inline void pco__loop_check_thread(const pco_loop *loop)
{
    if (loop->debug) {
        pco__loop_check_thread_now(loop);
    }
}

/* In debug mode: reports a callback that began at that time of the backend's, if it was slow. */
void pco__loop_report_slow(pco_loop *loop, uint64_t began);

/* Puts the hook of debug mode in place, or takes it away. */
void pco__loop_watch_callbacks(pco_loop *loop);

#endif
