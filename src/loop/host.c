/* SPDX-License-Identifier: MIT */
/*
 * host.c: whose the loop is: a thread's, which runs or frees it; and between its turns somebody
 * else's loop, which does a turn when one is due.
 *
 * The one hard idea is that nothing is looked at by two. While a turn runs the thread rests, and
 * before one begins it is called back from where it waits; when the turn is over it is told when
 * the next one is due at the latest. Between turns the system's news end its wait, and so does
 * whatever the host's thread does to the loop, by pco__backend_news. Once it has called wake_up it
 * rests again, until a turn has ended. So a wake-up is never lost, whatever it meets: what it stood
 * for is still there when the turn is over, and is looked for then.
 */
#include "loop/loop.h"

#include <portico/host.h>

#include <math.h>

#include "support/error.h"
#include "support/memory.h"

struct pco__host {
    pco__backend *backend;
    pco_wake_up wake_up;
    void *context;
    pco__thread *thread;

    pco__mutex *mutex; /* guards the rest */
    pco__condition *condition;
    uint64_t until; /* when a turn is due, by the backend's clock, if nothing happens before */
    bool rests;     /* a turn runs, or wake_up was called for one that has not begun */
    bool awaits;    /* the thread is inside of await() */
    bool leaves;
};

/* ---- The thread ---- */

/* Waits until a turn is due; false if not. The mutex is held, but not meanwhile. */
static bool await_turn(pco__host *host)
{
    uint64_t until = host->until;
    host->awaits = true;
    pco__mutex_unlock(host->mutex);
    bool due = host->backend->class_->await(host->backend, until);
    pco__mutex_lock(host->mutex);
    host->awaits = false;
    pco__condition_wake(host->condition);
    return due && !host->rests && !host->leaves;
}

static void run_thread(void *context)
{
    pco__host *host = context;
    pco__mutex_lock(host->mutex);
    while (!host->leaves) {
        if (host->rests) {
            pco__condition_wait(host->condition, host->mutex);
        } else if (await_turn(host)) {
            host->rests = true;
            pco__mutex_unlock(host->mutex);
            host->wake_up(host->context);
            pco__mutex_lock(host->mutex);
        }
    }
    pco__mutex_unlock(host->mutex);
}

/* ---- Turns ---- */

static void have_it_rest(pco__host *host)
{
    pco__mutex_lock(host->mutex);
    host->rests = true;
    if (host->awaits) {
        host->backend->class_->wake(host->backend, false);
    }
    while (host->awaits) {
        pco__condition_wait(host->condition, host->mutex);
    }
    pco__mutex_unlock(host->mutex);
}

static void have_it_await(pco__host *host, uint64_t until)
{
    pco__mutex_lock(host->mutex);
    host->until = until;
    host->rests = false;
    pco__condition_wake(host->condition);
    pco__mutex_unlock(host->mutex);
}

static void turn_begins(pco_loop *loop)
{
    loop->backend->is_awaited = false;
    if (loop->host != NULL) {
        have_it_rest(loop->host);
    }
}

/* In how many nanoseconds a turn is due by itself: 0 at once, PCO__FOREVER never. */
static uint64_t due_in(const pco_loop *loop)
{
    pco__backend *backend = loop->backend;
    if (loop->phase != PCO__PHASE_NONE || !pco__list_is_empty(&loop->ready) ||
        !pco__inbox_is_empty(&loop->posted)) {
        return 0;
    }
    uint64_t due = backend->class_->due_in(backend);
    if (loop->timers.first == NULL || due == 0) {
        return due;
    }
    uint64_t now = backend->class_->now(backend);
    uint64_t when = loop->timers.first->when;
    uint64_t wait = when > now ? when - now : 0;
    return wait < due ? wait : due;
}

/* From now on what becomes due wakes who waits, and what is due already does at once. */
static uint64_t begin_to_tell(pco_loop *loop)
{
    uint64_t due = due_in(loop);
    loop->backend->is_awaited = true;
    if (due == 0) {
        pco__backend_news(loop->backend);
    }
    return due;
}

static void turn_ends(pco_loop *loop)
{
    pco__backend *backend = loop->backend;
    uint64_t due = begin_to_tell(loop);
    if (loop->host != NULL) {
        have_it_await(loop->host,
                      due != PCO__FOREVER ? backend->class_->now(backend) + due : PCO__FOREVER);
    }
}

/* ---- Whose it is ---- */

/* On another thread than this. */
static bool is_hosted_elsewhere(const pco_loop *loop)
{
    void *keeper = pco__shared_get(&loop->keeper);
    return keeper != NULL && keeper != (void *)pco__thread_id();
}

int pco__loop_claim(pco_loop *loop)
{
    uintptr_t thread = pco__thread_id();
    if (is_hosted_elsewhere(loop)) {
        return PCO_EBUSY;
    }
    if (!pco__shared_replace(&loop->runner, NULL, (void *)thread)) {
        void *runner = pco__shared_get(&loop->runner);
        if (loop->debug && runner != NULL && runner != (void *)thread) {
            pco__loop_wrong_thread();
        }
        return PCO_EBUSY;
    }
    if (is_hosted_elsewhere(loop)) { /* since a moment ago */
        pco__shared_exchange(&loop->runner, NULL);
        return PCO_EBUSY;
    }
    loop->thread = thread;
    if (pco__loop_has_host(loop)) {
        turn_begins(loop);
    }
    return 0;
}

void pco__loop_release(pco_loop *loop)
{
    if (pco__loop_has_host(loop)) {
        turn_ends(loop);
    }
    pco__shared_exchange(&loop->runner, NULL);
}

int pco__loop_take_over(pco_loop *loop)
{
    int code = pco__shared_get(&loop->keeper) == NULL ? pco__loop_claim(loop) : PCO_EBUSY;
    if (code == 0) {
        pco__loop_release(loop);
    }
    return code;
}

/* ---- Hosting ---- */

static void free_host(pco__host *host)
{
    pco__condition_free(host->condition);
    pco__mutex_free(host->mutex);
    pco__free(host);
}

/* Its thread rests until the first turn would have ended. */
static int new_host(pco_loop *loop, pco_wake_up wake_up, void *context, pco__host **host,
                    pco_error *error)
{
    pco__host *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "host a loop");
    }
    made->backend = loop->backend;
    made->wake_up = wake_up;
    made->context = context;
    made->rests = true;
    int code = pco__mutex_new(&made->mutex);
    if (code == 0) {
        code = pco__condition_new(&made->condition);
    }
    if (code != 0) {
        code = pco__error_describe(error, code, 0, "host a loop");
    } else {
        code = pco__thread_begin(run_thread, made, &made->thread, error);
    }
    if (code != 0) {
        free_host(made);
        return code;
    }
    *host = made;
    return 0;
}

static int is_busy(const pco_loop *loop, pco_error *error)
{
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    return pco__error_set(error, PCO_EBUSY, 0, "the loop runs, or is hosted on another thread");
}

int pco_loop_host(pco_loop *loop, pco_wake_up wake_up, void *context, pco_error *error)
{
    if (wake_up == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a host needs wake_up");
    }
    int code = pco__loop_claim(loop);
    if (code != 0) {
        return is_busy(loop, error);
    }
    if (loop->host != NULL) {
        code = pco__error_set(error, PCO_EBUSY, 0, "the loop is hosted already");
    } else {
        code = new_host(loop, wake_up, context, &loop->host, error);
    }
    if (code == 0) {
        pco__shared_exchange(&loop->keeper, (void *)loop->thread);
    }
    pco__loop_release(loop);
    return code;
}

void pco__host_leave(pco_loop *loop)
{
    pco__host *host = loop->host;
    if (host != NULL) {
        pco__mutex_lock(host->mutex);
        host->leaves = true;
        if (host->awaits) {
            host->backend->class_->wake(host->backend, false);
        }
        pco__condition_wake(host->condition);
        pco__mutex_unlock(host->mutex);
        pco__thread_join(host->thread);
        free_host(host);
        loop->host = NULL;
        pco__shared_exchange(&loop->keeper, NULL);
    }
}

int pco_loop_unhost(pco_loop *loop)
{
    void *keeper = pco__shared_get(&loop->keeper);
    if (keeper != NULL && keeper != (void *)pco__thread_id()) {
        return PCO_EBUSY;
    }
    pco__host_leave(loop);
    loop->backend->is_awaited = loop->backend->is_awaited && loop->is_watched;
    return 0;
}

/* ---- For who waits himself ---- */

int pco_loop_get_descriptor(pco_loop *loop)
{
    pco__loop_check_thread(loop);
    int descriptor = loop->backend->class_->descriptor(loop->backend);
    if (descriptor < 0) {
        return PCO_ENOTSUP;
    }
    if (!loop->is_watched) {
        loop->is_watched = true;
        if (pco__shared_get(&loop->runner) == NULL) {
            begin_to_tell(loop);
        }
    }
    return descriptor;
}

double pco_loop_next_timeout(pco_loop *loop)
{
    pco__loop_check_thread(loop);
    uint64_t due = due_in(loop);
    return due != PCO__FOREVER ? (double)due / 1e9 : INFINITY;
}
