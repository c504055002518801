/* SPDX-License-Identifier: MIT */
/*
 * resolver.c: one thread per loop, which lives as long as there is work: started by the first piece
 * and ended with the last, so that a program that resolves nothing has no thread.
 *
 * The one hard idea is the end: the system's resolver cannot be interrupted, so a loop that is
 * freed leaves the thread behind. What both sides touch is in pco__resolver, under its mutex, and
 * whoever leaves last frees it.
 */
#include "loop/resolver.h"

#include <assert.h>

#include "support/error.h"
#include "support/memory.h"

typedef struct pco__resolver {
    pco__mutex *mutex;
    pco_loop *loop; /* NULL once the loop has left */
    pco__lookup *queue;
    pco__lookup *current; /* what the thread works on */
    bool has_thread;
} pco__resolver;

static void free_resolver(pco__resolver *resolver)
{
    pco__mutex_free(resolver->mutex);
    pco__free(resolver);
}

/* On the loop's thread. */
static void finish(pco__lookup *lookup, bool canceled)
{
    assert(!lookup->told);
    lookup->told = true;
    lookup->done(lookup, canceled);
}

/* The task that the thread posts when a piece of work is done. */
static void run_task(pco__task *task)
{
    pco__lookup *lookup = PCO__CONTAINER(task, pco__lookup, task);
    finish(lookup, lookup->loop->freeing);
    lookup->discard(lookup);
}

/* Takes the next piece off the queue; NULL ends the thread. The mutex is held. */
static pco__lookup *next_lookup(pco__resolver *resolver)
{
    pco__lookup *lookup = resolver->queue;
    if (lookup != NULL) {
        resolver->queue = lookup->next;
    }
    resolver->current = lookup;
    return lookup;
}

static void run_thread(void *context)
{
    pco__resolver *resolver = context;
    pco__mutex_lock(resolver->mutex);
    pco__lookup *lookup;
    while ((lookup = next_lookup(resolver)) != NULL) {
        pco__mutex_unlock(resolver->mutex);
        lookup->work(lookup);
        pco__mutex_lock(resolver->mutex);
        resolver->current = NULL;
        if (resolver->loop != NULL) {
            pco__loop_post(resolver->loop, &lookup->task);
        } else {
            lookup->discard(lookup);
        }
    }
    resolver->has_thread = false;
    bool last = resolver->loop == NULL;
    pco__mutex_unlock(resolver->mutex);
    if (last) {
        free_resolver(resolver);
    }
}

static int get_resolver(pco_loop *loop, pco__resolver **resolver)
{
    if (loop->resolver == NULL) {
        pco__resolver *made = pco__calloc(sizeof *made);
        if (made == NULL) {
            return PCO_ENOMEM;
        }
        if (pco__mutex_new(&made->mutex) != 0) {
            pco__free(made);
            return PCO_ENOMEM;
        }
        made->loop = loop;
        loop->resolver = made;
    }
    *resolver = loop->resolver;
    return 0;
}

int pco__resolver_submit(pco_loop *loop, pco__lookup *lookup, pco_error *error)
{
    pco__resolver *resolver;
    if (get_resolver(loop, &resolver) != 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start a look-up");
    }
    int code = 0;
    lookup->task.run = run_task;
    lookup->loop = loop;
    lookup->next = NULL;
    lookup->told = false;
    pco__mutex_lock(resolver->mutex);
    if (!resolver->has_thread) {
        code = pco__thread_start(run_thread, resolver, error);
        resolver->has_thread = code == 0;
    }
    if (code == 0) {
        pco__lookup **last = &resolver->queue;
        while (*last != NULL) {
            last = &(*last)->next;
        }
        *last = lookup;
    }
    pco__mutex_unlock(resolver->mutex);
    return code;
}

void pco__resolver_free(pco_loop *loop)
{
    pco__resolver *resolver = loop->resolver;
    if (resolver == NULL) {
        return;
    }
    loop->resolver = NULL;
    pco__mutex_lock(resolver->mutex);
    pco__lookup *queue = resolver->queue;
    pco__lookup *current = resolver->current;
    bool has_thread = resolver->has_thread;
    resolver->queue = NULL;
    resolver->loop = NULL;
    if (current != NULL) {
        finish(current, true);
    }
    pco__mutex_unlock(resolver->mutex);
    while (queue != NULL) {
        pco__lookup *next = queue->next;
        finish(queue, true);
        queue->discard(queue);
        queue = next;
    }
    if (!has_thread) {
        free_resolver(resolver);
    }
}
