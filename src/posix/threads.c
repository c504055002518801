/* SPDX-License-Identifier: MIT */
/* threads.c (POSIX): threads, and what they share: see platform.h. */
#define _GNU_SOURCE 1

#include "system/platform.h"

#include "support/error.h"
#include "support/memory.h"

#include <pthread.h>
#include <signal.h>

uintptr_t pco__thread_id(void)
{
    return (uintptr_t)pthread_self();
}

struct pco__mutex {
    pthread_mutex_t mutex;
};

int pco__mutex_new(pco__mutex **mutex)
{
    pco__mutex *made = pco__malloc(sizeof *made);

    if (made == NULL) {
        return PCO_ENOMEM;
    }
    int code = pthread_mutex_init(&made->mutex, NULL);
    if (code != 0) {
        pco__free(made);
        return pco__error_from_system(code);
    }
    *mutex = made;
    return 0;
}

void pco__mutex_free(pco__mutex *mutex)
{
    if (mutex != NULL) {
        pthread_mutex_destroy(&mutex->mutex);
        pco__free(mutex);
    }
}

void pco__mutex_lock(pco__mutex *mutex)
{
    pthread_mutex_lock(&mutex->mutex);
}

void pco__mutex_unlock(pco__mutex *mutex)
{
    pthread_mutex_unlock(&mutex->mutex);
}

struct pco__condition {
    pthread_cond_t condition;
};

int pco__condition_new(pco__condition **condition)
{
    pco__condition *made = pco__malloc(sizeof *made);

    if (made == NULL) {
        return PCO_ENOMEM;
    }
    int code = pthread_cond_init(&made->condition, NULL);
    if (code != 0) {
        pco__free(made);
        return pco__error_from_system(code);
    }
    *condition = made;
    return 0;
}

void pco__condition_free(pco__condition *condition)
{
    if (condition != NULL) {
        pthread_cond_destroy(&condition->condition);
        pco__free(condition);
    }
}

void pco__condition_wait(pco__condition *condition, pco__mutex *mutex)
{
    pthread_cond_wait(&condition->condition, &mutex->mutex);
}

void pco__condition_wake(pco__condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}

struct pco__thread {
    void (*run)(void *context);
    void *context;
    pthread_t id;
};

static void *run_detached(void *argument)
{
    pco__thread thread = *(pco__thread *)argument;

    pco__free(argument);
    thread.run(thread.context);
    return NULL;
}

static void *run_joined(void *argument)
{
    const pco__thread *thread = argument;

    thread->run(thread->context);
    return NULL;
}

/* The thread is born with all signals blocked: the program's handlers run on its own threads. */
static int start(pco__thread *thread, bool joined)
{
    pthread_attr_t attributes;
    pthread_t id;
    sigset_t all;
    sigset_t before;
    int code = pthread_attr_init(&attributes);

    if (code != 0) {
        return code;
    }
    if (!joined) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&id, &attributes, joined ? run_joined : run_detached, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (code == 0 && joined) {
        thread->id = id; /* for who joins; what is detached may be gone */
    }
    return code;
}

/* *made is of use only to who joins it. */
static int make_thread(void (*run)(void *context), void *context, bool joined, pco__thread **made,
                       pco_error *error)
{
    pco__thread *thread = pco__malloc(sizeof *thread);

    if (thread == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start a thread");
    }
    thread->run = run;
    thread->context = context;
    int code = start(thread, joined);
    if (code != 0) {
        pco__free(thread);
        return pco__error_describe(error, pco__error_from_system(code), code, "start a thread");
    }
    *made = thread;
    return 0;
}

int pco__thread_start(void (*run)(void *context), void *context, pco_error *error)
{
    pco__thread *unused;

    return make_thread(run, context, false, &unused, error);
}

int pco__thread_begin(void (*run)(void *context), void *context, pco__thread **thread,
                      pco_error *error)
{
    return make_thread(run, context, true, thread, error);
}

void pco__thread_join(pco__thread *thread)
{
    pthread_join(thread->id, NULL);
    pco__free(thread);
}
