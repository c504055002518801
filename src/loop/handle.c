/* SPDX-License-Identifier: MIT */
/*
 * handle.c: callbacks of the user's, and the handles by which they are canceled.
 *
 * A callback is pending until it runs or is dropped: end() is the one way there. For what
 * call_soon_threadsafe made it takes the loop's mutex: the thread that made it may be setting
 * `dropped` at the same time.
 */
#include "loop/loop.h"

#include <math.h>

#include "support/memory.h"

struct pco_handle {
    pco__task task;
    pco__timer timer;
    pco_loop *loop; /* while it is pending */
    pco_callback callback;
    pco_callback dropped; /* or NULL */
    void *context;
    double when;
    unsigned references; /* the loop's while it is pending, and the user's */
    bool posted;         /* by call_soon_threadsafe */
    bool canceled;
    pco__flag over; /* not pending any more: the loop may be gone */
};

static bool is_over(const pco_handle *handle)
{
    return pco__flag_is_raised(&handle->over);
}

static void drop_reference(pco_handle *handle)
{
    if (--handle->references == 0) {
        pco__free(handle);
    }
}

/* The callback runs, or else `dropped`. The handle may be gone then. */
static void end(pco_handle *handle, bool run)
{
    pco__mutex *mutex = handle->posted ? handle->loop->mutex : NULL;
    if (mutex != NULL) {
        pco__mutex_lock(mutex);
    }
    pco__flag_set(&handle->over, true);
    pco_callback callback = run ? handle->callback : handle->dropped;
    if (mutex != NULL) {
        pco__mutex_unlock(mutex);
    }
    if (callback != NULL) {
        callback(handle->context);
    }
    drop_reference(handle);
}

static void run_handle(pco__task *task)
{
    pco_handle *handle = PCO__CONTAINER(task, pco_handle, task);
    end(handle, !handle->loop->freeing);
}

static void fire_handle(pco__timer *timer)
{
    pco_handle *handle = PCO__CONTAINER(timer, pco_handle, timer);
    pco__loop_schedule(handle->loop, &handle->task);
}

/* ---- Making ---- */

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
        made->posted = true;
        pco__loop_post(loop, &made->task);
    }
    return code;
}

/* When a timer is due, so that pco_loop_time, which is rounded too, is not before `when` then. */
static uint64_t due_time(double when)
{
    uint64_t due = pco__nanoseconds(when);
    while (due < UINT64_MAX / 4 && (double)due / 1e9 < when) {
        due++;
    }
    return due;
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
        if (loop->timers.first == NULL) {
            pco__timers_pass(&loop->timers, loop->backend->class_->now(loop->backend));
        }
        pco__loop_start_timer_at(loop, &made->timer, due_time(when));
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

/* ---- Using ---- */

/* In debug mode. What the loop is through with belongs to no thread. */
static void check_thread(const pco_handle *handle)
{
    if (!is_over(handle)) {
        pco__loop_check_thread(handle->loop);
    }
}

void pco_handle_set_dropped(pco_handle *handle, pco_callback dropped)
{
    if (is_over(handle)) {
        return;
    }
    if (!handle->posted) {
        check_thread(handle);
        handle->dropped = dropped;
        return;
    }
    pco__mutex_lock(handle->loop->mutex);
    handle->dropped = dropped;
    pco__mutex_unlock(handle->loop->mutex);
}

void pco_handle_cancel(pco_handle *handle)
{
    if (handle == NULL) {
        return;
    }
    check_thread(handle);
    handle->canceled = true;
    if (!is_over(handle)) {
        pco__timer_stop(&handle->loop->timers, &handle->timer);
        pco__loop_unschedule(handle->loop, &handle->task);
        end(handle, false);
    }
}

bool pco_handle_cancelled(const pco_handle *handle)
{
    check_thread(handle);
    return handle->canceled;
}

double pco_handle_when(const pco_handle *handle)
{
    check_thread(handle);
    return handle->when;
}

void pco_handle_release(pco_handle *handle)
{
    if (handle != NULL) {
        check_thread(handle);
        drop_reference(handle);
    }
}
