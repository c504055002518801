/* SPDX-License-Identifier: MIT */
/*
 * loop.h (internal): the loop's insides, for the objects that live on it.
 */
#ifndef PCO_LOOP_INTERNAL_H
#define PCO_LOOP_INTERNAL_H

#include <portico/loop.h>

#include "system/backend.h"
#include "support/list.h"
#include "system/platform.h"
#include "loop/timer.h"

struct pco__stream;
struct pco__resolver;
struct pco__ssl_loop;

/*
 * Something to run in the task phase of a turn, embedded in what waits for it: scheduling cannot
 * fail. A task is in the queue at most once.
 */
typedef struct pco__task pco__task;
struct pco__task {
    pco__task *next; /* NULL: in no queue; of the last one: the address of something in loop.c */
    void (*run)(pco__task *task);
};

static inline bool pco__task_is_queued(const pco__task *task)
{
    return task->next != NULL;
}

typedef struct pco__task_queue {
    pco__task *head;
    pco__task *tail;
} pco__task_queue;

/*
 * Small writes made during one callback, all of one stream, waiting to leave in one send when the
 * callback returns. A write to another stream sends them first. See stream_write.c.
 */
typedef struct pco__cork {
    struct pco__stream *owner;
    size_t length; /* while there is an owner */
    unsigned char *memory;
} pco__cork;

#define PCO__CORK_SIZE ((size_t)128 * 1024)

/* Sends what the loop's cork holds, whosever it is (stream_write.c). */
void pco__cork_flush_now(pco_loop *loop);

struct pco_loop {
    pco__backend *backend;
    pco__task_queue ready;
    pco__timers timers;
    uint64_t now; /* of this turn; 0: not read yet */
    pco__cork cork;

    bool running;
    bool freeing;
    bool debug;
    double slow_callback_duration;
    uintptr_t thread;

    pco__mutex *mutex; /* guards `posted`, where other threads leave their tasks */
    pco__task_queue posted;

    pco_exception_handler exception_handler;
    void *exception_context;

    pco__link servers; /* pco_server.link */
    pco__link streams; /* pco_transport.link of streams that belong to no server */
    pco__link shells;  /* pco_transport.link of dead transports that somebody retains */
    size_t transports; /* streams alive */
    struct pco__resolver *resolver;
    struct pco__ssl_loop *ssl; /* what TLS shares among the connections of a loop */
};

/*
 * Makes a loop on a given backend class; pco_loop_new chooses one and calls this. The tests call it
 * with their own.
 */
int pco__loop_new(const pco_loop_options *options, const pco__backend_class *backend_class,
                  pco_loop **loop, pco_error *error);

/* The time of this turn: read once, and only if somebody asks. */
uint64_t pco__loop_now(pco_loop *loop);

/* Queues a task, unless it is queued already. */
void pco__loop_schedule(pco_loop *loop, pco__task *task);

/* Starts `timer` to fire `seconds` (not NaN, not negative) from now; INFINITY does not start it. */
void pco__loop_start_timer(pco_loop *loop, pco__timer *timer, double seconds);
void pco__loop_stop_timer(pco_loop *loop, pco__timer *timer);

/* Called after every callback: sends what it has written. */
static inline void pco__cork_flush(pco_loop *loop)
{
    if (loop->cork.owner != NULL) {
        pco__cork_flush_now(loop);
    }
}

/* From any thread: queues a task of the caller's. */
void pco__loop_post(pco_loop *loop, pco__task *task);

/* Reports trouble to the exception handler. Any pointer may be NULL but the message. */
void pco__loop_report(pco_loop *loop, const char *message, const pco_error *error,
                      pco_transport *transport, pco_server *server);

/* Makes the loop this thread's. PCO_EBUSY: it runs. */
int pco__loop_take_over(pco_loop *loop);

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

#endif
