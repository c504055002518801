/* SPDX-License-Identifier: MIT */
/*
 * lanes.c: threads for work that blocks.
 *
 * The one hard idea is the end. What blocks cannot be interrupted, so whoever cancels a job, or
 * frees the loop, leaves the thread behind. A job therefore has two holders, the loop until done()
 * has returned and the thread while it works, and the one that lets go last discards it. So it is
 * with what both sides share, pco__lanes: whoever leaves last frees it. All of this is under one
 * mutex; `untold` alone is the loop's.
 */
#include "loop/lanes.h"

#include <assert.h>

#include "support/error.h"
#include "support/memory.h"

/* How many threads a lane has at most. */
static const unsigned limits[PCO__LANES] = {[PCO__LANE_NAMES] = 4, [PCO__LANE_VERDICTS] = 16};

typedef struct lane {
    struct pco__lanes *all;
    pco__link waiting; /* pco__job.waiting, first to last */
    unsigned threads;
    unsigned limit;
} lane;

typedef struct pco__lanes {
    pco__resident resident;
    pco_loop *loop; /* NULL once the loop has left */
    pco__mutex *mutex;
    pco__link untold; /* pco__job.untold: those whose done() is to come */
    lane each[PCO__LANES];
    unsigned threads; /* of all lanes */
} pco__lanes;

static void free_lanes(pco__lanes *lanes)
{
    pco__mutex_free(lanes->mutex);
    pco__free(lanes);
}

/* ---- On the loop's thread ---- */

/* The job's task: its work is done, or it was canceled. */
static void tell(pco__task *task)
{
    pco__job *job = PCO__CONTAINER(task, pco__job, task);
    pco__lanes *lanes = job->lanes;
    pco__list_remove(&job->untold);
    job->done(job, job->canceled);
    pco__mutex_lock(lanes->mutex);
    job->told = true;
    bool last = !job->on_thread;
    pco__mutex_unlock(lanes->mutex);
    if (last) {
        job->discard(job);
    }
}

void pco__job_cancel(pco_loop *loop, pco__job *job)
{
    if (job->canceled) {
        return;
    }
    pco__mutex_lock(job->lanes->mutex);
    job->canceled = true;
    pco__list_remove(&job->waiting);
    pco__mutex_unlock(job->lanes->mutex);
    pco__loop_schedule(loop, &job->task);
}

/* ---- The threads ---- */

/* Takes the lane's next job; NULL ends the thread. The mutex is held. */
static pco__job *next_job(lane *of)
{
    if (pco__list_is_empty(&of->waiting)) {
        return NULL;
    }
    pco__job *job = PCO__CONTAINER(of->waiting.next, pco__job, waiting);
    pco__list_remove(&job->waiting);
    job->on_thread = true;
    return job;
}

/* The work is done. The mutex is held. Returns whether the job is to be discarded here. */
static bool leave_job(pco__job *job)
{
    job->on_thread = false;
    if (!job->canceled) {
        pco__loop_post(job->lanes->loop, &job->task);
    }
    return job->told;
}

static void run_thread(void *context)
{
    lane *own = context;
    pco__lanes *lanes = own->all;
    pco__mutex_lock(lanes->mutex);
    pco__job *job;
    while ((job = next_job(own)) != NULL) {
        pco__mutex_unlock(lanes->mutex);
        job->work(job);
        pco__mutex_lock(lanes->mutex);
        if (leave_job(job)) {
            pco__mutex_unlock(lanes->mutex);
            job->discard(job);
            pco__mutex_lock(lanes->mutex);
        }
    }
    own->threads--;
    lanes->threads--;
    bool last = lanes->threads == 0 && lanes->loop == NULL;
    pco__mutex_unlock(lanes->mutex);
    if (last) {
        free_lanes(lanes);
    }
}

/* One more thread if the lane may have it. Failing does not matter where there is one already. */
static int provide_thread(lane *own, pco_error *error)
{
    if (own->threads == own->limit) {
        return 0;
    }
    own->threads++;
    own->all->threads++;
    int code = pco__thread_start(run_thread, own, error);
    if (code != 0) {
        own->threads--;
        own->all->threads--;
    }
    return own->threads != 0 ? 0 : code;
}

/* ---- As a resident ---- */

static pco__lanes *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, pco__lanes, resident);
}

static void end(pco__resident *resident)
{
    pco__lanes *lanes = of(resident);
    pco__link *link;
    for (link = lanes->untold.next; link != &lanes->untold; link = link->next) {
        pco__job_cancel(lanes->loop, PCO__CONTAINER(link, pco__job, untold));
    }
}

static bool has_ended(pco__resident *resident)
{
    return pco__list_is_empty(&of(resident)->untold);
}

static void leave(pco__resident *resident)
{
    pco__lanes *lanes = of(resident);
    pco__mutex_lock(lanes->mutex);
    lanes->loop = NULL;
    bool last = lanes->threads == 0;
    pco__mutex_unlock(lanes->mutex);
    if (last) {
        free_lanes(lanes);
    }
}

static const pco__resident_class lanes_class = {.end = end, .has_ended = has_ended, .leave = leave};

static pco__lanes *lanes_of(pco_loop *loop)
{
    pco__resident *found = pco__loop_find(loop, &lanes_class);
    if (found != NULL) {
        return of(found);
    }
    pco__lanes *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    if (pco__mutex_new(&made->mutex) != 0) {
        pco__free(made);
        return NULL;
    }
    made->loop = loop;
    pco__list_init(&made->untold);
    for (size_t i = 0; i < PCO__LANES; i++) {
        made->each[i].all = made;
        made->each[i].limit = limits[i];
        pco__list_init(&made->each[i].waiting);
    }
    made->resident.class_ = &lanes_class;
    pco__loop_move_in_first(loop, &made->resident);
    return made;
}

int pco__lanes_submit(pco_loop *loop, pco__lane which, pco__job *job, pco_error *error)
{
    pco__lanes *lanes = lanes_of(loop);
    if (lanes == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start work on a thread");
    }
    lane *own = &lanes->each[which];
    job->task = (pco__task){.run = tell};
    job->lanes = lanes;
    job->on_thread = job->told = job->canceled = false;
    pco__mutex_lock(lanes->mutex);
    int code = provide_thread(own, error);
    if (code == 0) {
        pco__list_append(&own->waiting, &job->waiting);
        pco__list_append(&lanes->untold, &job->untold);
    }
    pco__mutex_unlock(lanes->mutex);
    return code;
}
