/* SPDX-License-Identifier: MIT */
/*
 * loop.c: the turn of the loop, its two queues of tasks, and handles.
 *
 * The one hard idea is the order of a turn: poll() runs the callbacks of input and output; then the
 * timers that are due join the queue of tasks; then exactly the tasks that are in the queue at that
 * moment run. What they schedule waits for the next turn.
 */
#include "loop/loop.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "system/complete.h"
#include "support/error.h"
#include "support/memory.h"
#include "support/options.h"
#include "loop/resolver.h"
#include "server/server.h"
#include "tls/tls.h"
#include "transport/transport.h"

#define NANOSECONDS 1e9
#define SLOW_CALLBACK 0.1
#define RECEIVE_BUFFER ((size_t)512 * 1024)
#define RECEIVE_BUFFER_LEAST ((size_t)4 * 1024)
#define RECEIVE_BUFFER_MOST ((size_t)16 * 1024 * 1024)

struct pco_handle {
    pco__task task;
    pco__timer timer;
    pco_loop *loop; /* NULL once the callback has run or been dropped */
    pco_callback callback;
    void *context;
    double when;
    unsigned references; /* the loop's while it is pending, and the user's */
    bool canceled;
};

/* ---- Time ---- */

uint64_t pco__loop_now(pco_loop *loop)
{
    if (loop->now == 0) {
        loop->now = loop->backend->class_->now(loop->backend);
    }
    return loop->now;
}

/* Seconds as nanoseconds, rounded up, so that nothing runs early. */
static uint64_t to_nanoseconds(double seconds)
{
    double nanoseconds = ceil(seconds * NANOSECONDS);
    if (nanoseconds >= (double)(UINT64_MAX / 4)) {
        return UINT64_MAX / 4;
    }
    return nanoseconds <= 0 ? 0 : (uint64_t)nanoseconds;
}

/* When a timer is due, so that pco_loop_time, which is rounded too, is not before `when` then. */
static uint64_t due_time(double when)
{
    uint64_t due = to_nanoseconds(when);
    while (due < UINT64_MAX / 4 && (double)due / NANOSECONDS < when) {
        due++;
    }
    return due;
}

double pco_loop_time(pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return (double)loop->backend->class_->now(loop->backend) / NANOSECONDS;
}

/*
 * Counts from the time it is, not from the turn's: a callback that took long must not use up the
 * limits of connections that had their turn after it.
 */
void pco__loop_start_timer(pco_loop *loop, pco__timer *timer, double seconds)
{
    if (!isinf(seconds)) {
        uint64_t now = loop->backend->class_->now(loop->backend);
        pco__timer_start(&loop->timers, timer, now + to_nanoseconds(seconds));
    }
}

void pco__loop_stop_timer(pco_loop *loop, pco__timer *timer)
{
    pco__timer_stop(&loop->timers, timer);
}

/* ---- Tasks ---- */

/* What stands behind the last task of a queue. */
static pco__task queue_end;

static void push(pco__task_queue *queue, pco__task *task)
{
    task->next = &queue_end;
    if (queue->tail == NULL) {
        queue->head = task;
    } else {
        queue->tail->next = task;
    }
    queue->tail = task;
}

/* The first task of a queue, taken out; NULL if there is none. */
static pco__task *pop(pco__task_queue *queue)
{
    pco__task *task = queue->head;
    if (task != NULL) {
        queue->head = task->next != &queue_end ? task->next : NULL;
        queue->tail = queue->head != NULL ? queue->tail : NULL;
        task->next = NULL;
    }
    return task;
}

void pco__loop_schedule(pco_loop *loop, pco__task *task)
{
    if (!pco__task_is_queued(task)) {
        push(&loop->ready, task);
    }
}

void pco__loop_post(pco_loop *loop, pco__task *task)
{
    pco__mutex_lock(loop->mutex);
    bool first = loop->posted.head == NULL;
    push(&loop->posted, task);
    pco__mutex_unlock(loop->mutex);
    if (first) {
        loop->backend->class_->wake(loop->backend, false);
    }
}

static void take_posted(pco_loop *loop)
{
    pco__mutex_lock(loop->mutex);
    pco__task_queue posted = loop->posted;
    loop->posted = (pco__task_queue){NULL, NULL};
    pco__mutex_unlock(loop->mutex);
    pco__task *task;
    while ((task = pop(&posted)) != NULL) {
        pco__loop_schedule(loop, task);
    }
}

/* ---- Debug mode ---- */

void pco__loop_check_thread_now(const pco_loop *loop)
{
    if (loop->thread != pco__thread_id()) {
        pco__panic("a loop or an object of it was used on a thread that is not the loop's "
                   "(only pco_loop_stop and pco_loop_call_soon_threadsafe may be)");
    }
}

/* In debug mode: when a callback begins. */
static uint64_t debug_begin(pco_loop *loop)
{
    return loop->debug ? loop->backend->class_->now(loop->backend) : 0;
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

/* After a callback: sends what it wrote. */
static void callback_ended(pco_loop *loop, uint64_t began)
{
    pco__cork_flush(loop);
    if (loop->debug) {
        pco__loop_report_slow(loop, began);
    }
}

PCO__COLD void pco__complete_slowly(pco__backend *backend, pco__op *op, const pco__result *result,
                                    void (*submit)(pco__backend *backend, pco__op *op))
{
    pco_loop *loop = backend->loop;
    uint64_t began = loop != NULL ? debug_begin(loop) : 0;
    if (op->done(op, result)) {
        submit(backend, op);
    }
    if (loop != NULL) {
        callback_ended(loop, began);
    }
}

/* ---- The turn ---- */

static void run_due_timers(pco_loop *loop)
{
    if (loop->timers.first == NULL) {
        return;
    }
    uint64_t now = pco__loop_now(loop);
    pco__timer *timer;
    while ((timer = pco__timers_take_due(&loop->timers, now)) != NULL) {
        uint64_t began = debug_begin(loop);
        timer->fire(timer);
        callback_ended(loop, began);
    }
}

static void run_tasks(pco_loop *loop)
{
    const pco__task *last = loop->ready.tail;
    bool more = last != NULL;
    while (more) {
        pco__task *task = pop(&loop->ready);
        more = task != last;
        uint64_t began = debug_begin(loop);
        task->run(task);
        callback_ended(loop, began);
    }
}

/* How long poll() may wait when the caller would wait for `limit`. */
static uint64_t poll_timeout(pco_loop *loop, uint64_t limit)
{
    if (loop->ready.head != NULL) {
        return 0;
    }
    if (loop->timers.first == NULL || limit == 0) {
        return limit;
    }
    uint64_t now = pco__loop_now(loop);
    uint64_t when = loop->timers.first->when;
    uint64_t wait = when > now ? when - now : 0;
    return wait < limit ? wait : limit;
}

/* Runs one turn. Returns whether a stop was asked for before it began. */
static bool turn(pco_loop *loop, uint64_t limit, bool first)
{
    bool stop = false;
    pco__cork_flush(loop);
    uint64_t timeout = poll_timeout(loop, limit);
    loop->now = 0;
    loop->backend->class_->poll(loop->backend, timeout, &stop);
    take_posted(loop);
    if (!stop || first) {
        run_due_timers(loop);
        run_tasks(loop);
    }
    loop->now = 0;
    return stop;
}

int pco__loop_take_over(pco_loop *loop)
{
    if (loop->running || loop->freeing) {
        pco__loop_check_thread(loop);
        return PCO_EBUSY;
    }
    loop->thread = pco__thread_id();
    return 0;
}

static int begin_run(pco_loop *loop)
{
    int code = pco__loop_take_over(loop);
    if (code == 0) {
        loop->running = true;
        loop->now = 0;
    }
    return code;
}

int pco_loop_run_forever(pco_loop *loop)
{
    int code = begin_run(loop);
    if (code != 0) {
        return code;
    }
    bool first = true;
    while (!turn(loop, PCO__FOREVER, first)) {
        first = false;
    }
    loop->running = false;
    return 0;
}

int pco_loop_run_once(pco_loop *loop, double timeout)
{
    if (pco__check_seconds(timeout, true, "timeout", NULL) != 0) {
        return PCO_EINVAL;
    }
    int code = begin_run(loop);
    if (code != 0) {
        return code;
    }
    turn(loop, isinf(timeout) ? PCO__FOREVER : to_nanoseconds(timeout), true);
    loop->running = false;
    return 0;
}

int pco_loop_run_until(pco_loop *loop, pco_condition condition, void *context, double timeout)
{
    if (condition == NULL || pco__check_seconds(timeout, true, "timeout", NULL) != 0) {
        return PCO_EINVAL;
    }
    int code = begin_run(loop);
    if (code != 0) {
        return code;
    }
    uint64_t start = loop->backend->class_->now(loop->backend);
    uint64_t end = isinf(timeout) ? PCO__FOREVER : start + to_nanoseconds(timeout);
    bool first = true;
    while (!condition(context)) {
        uint64_t now = end == PCO__FOREVER ? 0 : loop->backend->class_->now(loop->backend);
        if (now >= end) {
            code = PCO_ETIMEDOUT;
            break;
        }
        if (turn(loop, end == PCO__FOREVER ? PCO__FOREVER : end - now, first)) {
            code = condition(context) ? 0 : PCO_ECANCELED;
            break;
        }
        first = false;
    }
    loop->running = false;
    return code;
}

void pco_loop_stop(pco_loop *loop)
{
    loop->backend->class_->wake(loop->backend, true);
}

bool pco_loop_is_running(const pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return loop->running;
}

/* ---- Handles ---- */

static void drop_reference(pco_handle *handle)
{
    if (--handle->references == 0) {
        pco__free(handle);
    }
}

/* The loop is through with the handle: its callback runs, if it may. */
static void run_handle(pco__task *task)
{
    pco_handle *handle = PCO__CONTAINER(task, pco_handle, task);
    bool run = !handle->canceled && !handle->loop->freeing;
    handle->loop = NULL;
    if (run) {
        handle->callback(handle->context);
    }
    drop_reference(handle);
}

static void fire_handle(pco__timer *timer)
{
    pco_handle *handle = PCO__CONTAINER(timer, pco_handle, timer);
    pco__loop_schedule(handle->loop, &handle->task);
}

static int new_handle(pco_loop *loop, pco_callback callback, void *context, pco_handle **wanted,
                      pco_handle **made)
{
    if (callback == NULL) {
        return PCO_EINVAL;
    }
    if (loop->freeing) {
        return PCO_ECLOSED;
    }
    pco_handle *handle = pco__calloc(sizeof *handle);
    if (handle == NULL) {
        return PCO_ENOMEM;
    }
    handle->task.run = run_handle;
    handle->timer.fire = fire_handle;
    handle->loop = loop;
    handle->callback = callback;
    handle->context = context;
    handle->references = wanted != NULL ? 2 : 1;
    if (wanted != NULL) {
        *wanted = handle;
    }
    *made = handle;
    return 0;
}

int pco_loop_call_soon(pco_loop *loop, pco_callback callback, void *context, pco_handle **handle)
{
    pco__loop_check_thread(loop);
    pco_handle *made;
    int code = new_handle(loop, callback, context, handle, &made);
    if (code == 0) {
        pco__loop_schedule(loop, &made->task);
    }
    return code;
}

int pco_loop_call_soon_threadsafe(pco_loop *loop, pco_callback callback, void *context,
                                  pco_handle **handle)
{
    pco_handle *made;
    int code = new_handle(loop, callback, context, handle, &made);
    if (code == 0) {
        pco__loop_post(loop, &made->task);
    }
    return code;
}

int pco_loop_call_at(pco_loop *loop, double when, pco_callback callback, void *context,
                     pco_handle **handle)
{
    pco__loop_check_thread(loop);
    if (isnan(when) || isinf(when)) {
        return PCO_EINVAL;
    }
    pco_handle *made;
    int code = new_handle(loop, callback, context, handle, &made);
    if (code == 0) {
        made->when = when;
        pco__timer_start(&loop->timers, &made->timer, due_time(when));
    }
    return code;
}

int pco_loop_call_later(pco_loop *loop, double delay, pco_callback callback, void *context,
                        pco_handle **handle)
{
    if (pco__check_seconds(delay, false, "delay", NULL) != 0) {
        return PCO_EINVAL;
    }
    return pco_loop_call_at(loop, pco_loop_time(loop) + delay, callback, context, handle);
}

/* In debug mode. What the loop is through with belongs to no thread. */
static void check_thread_of_handle(const pco_handle *handle)
{
    if (handle->loop != NULL) {
        pco__loop_check_thread(handle->loop);
    }
}

void pco_handle_cancel(pco_handle *handle)
{
    if (handle == NULL) {
        return;
    }
    check_thread_of_handle(handle);
    if (handle->canceled) {
        return;
    }
    handle->canceled = true;
    if (handle->loop != NULL && pco__timer_is_running(&handle->timer)) {
        pco__timer_stop(&handle->loop->timers, &handle->timer);
        handle->loop = NULL;
        drop_reference(handle);
    }
}

bool pco_handle_cancelled(const pco_handle *handle)
{
    check_thread_of_handle(handle);
    return handle->canceled;
}

double pco_handle_when(const pco_handle *handle)
{
    check_thread_of_handle(handle);
    return handle->when;
}

void pco_handle_release(pco_handle *handle)
{
    if (handle != NULL) {
        check_thread_of_handle(handle);
        drop_reference(handle);
    }
}

/* ---- Trouble ---- */

void pco_loop_set_exception_handler(pco_loop *loop, pco_exception_handler handler, void *context)
{
    pco__loop_check_thread(loop);
    loop->exception_handler = handler;
    loop->exception_context = context;
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
    }
    return 0;
}

void pco__loop_report(pco_loop *loop, const char *message, const pco_error *error,
                      pco_transport *transport, pco_server *server)
{
    pco_exception_context what = {.size = sizeof what,
                                  .message = message,
                                  .error = error,
                                  .transport = transport,
                                  .protocol = transport != NULL ? transport->protocol : NULL,
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
    loop->backend->is_direct = !debug;
}

const char *pco_loop_backend(const pco_loop *loop)
{
    pco__loop_check_thread(loop);
    return loop->backend->class_->name;
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
    pco__free_pages(loop->cork.memory);
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
    made->cork.memory = pco__malloc_pages(PCO__CORK_SIZE);
    if (made->cork.memory == NULL || pco__mutex_new(&made->mutex) != 0) {
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
    made->backend->is_direct = !made->debug;
    made->slow_callback_duration = options.slow_callback_duration;
    made->thread = pco__thread_id();
    pco__list_init(&made->servers);
    pco__list_init(&made->streams);
    pco__list_init(&made->shells);
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

/* Closes what is left and waits until every operation has come back. */
static void close_everything(pco_loop *loop)
{
    pco__servers_close_all(loop);
    pco__link *next;
    for (pco__link *link = loop->streams.next; link != &loop->streams; link = next) {
        next = link->next;
        pco_transport *transport = PCO__CONTAINER(link, pco_transport, link);
        pco__stream_abort((pco__stream *)transport, false);
    }
    while (loop->transports != 0 || !pco__servers_are_closed(loop) || loop->ready.head != NULL) {
        turn(loop, PCO__FOREVER, true);
    }
}

/* Forgets the timers that the user still has running. */
static void drop_timers(pco_loop *loop)
{
    pco__timer *timer;
    while ((timer = pco__timers_take_due(&loop->timers, UINT64_MAX)) != NULL) {
        timer->fire(timer);
    }
    run_tasks(loop);
}

static void drop_shells(pco_loop *loop)
{
    size_t count = 0;
    while (!pco__list_is_empty(&loop->shells)) {
        pco_transport *shell = PCO__CONTAINER(loop->shells.next, pco_transport, link);
        pco__list_remove(&shell->link);
        shell->loop = NULL;
        count++;
    }
    if (loop->debug && count != 0) {
        char message[96];
        snprintf(message, sizeof message,
                 "%zu closed transports are still retained while the loop is freed", count);
        pco__loop_report(loop, message, NULL, NULL, NULL);
    }
}

int pco_loop_free(pco_loop *loop)
{
    if (loop == NULL) {
        return 0;
    }
    if (loop->running || loop->freeing) {
        pco__loop_check_thread(loop);
        return PCO_EBUSY;
    }
    loop->thread = pco__thread_id();
    loop->freeing = true;
    if (loop->debug && loop->transports != 0) {
        char message[96];
        snprintf(message, sizeof message, "%zu connections are open while the loop is freed",
                 loop->transports);
        pco__loop_report(loop, message, NULL, NULL, NULL);
    }
    pco__resolver_free(loop);
    take_posted(loop);
    close_everything(loop);
    pco__ssl_loop_free(loop);
    drop_timers(loop);
    pco__servers_orphan_all(loop);
    drop_shells(loop);
    free_parts(loop);
    return 0;
}
