/* SPDX-License-Identifier: MIT */
/* threads.c (Windows): threads, and what they share: see platform.h. */
#include "win32/win32.h"

#include "system/platform.h"

#include "support/error.h"
#include "support/memory.h"

uintptr_t pco__thread_id(void)
{
    return GetCurrentThreadId();
}

struct pco__mutex {
    SRWLOCK lock;
};

int pco__mutex_new(pco__mutex **mutex)
{
    pco__mutex *made = pco__malloc(sizeof *made);
    if (made == NULL) {
        return PCO_ENOMEM;
    }
    InitializeSRWLock(&made->lock);
    *mutex = made;
    return 0;
}

void pco__mutex_free(pco__mutex *mutex)
{
    pco__free(mutex); /* an SRWLOCK needs no end of its own */
}

void pco__mutex_lock(pco__mutex *mutex)
{
    AcquireSRWLockExclusive(&mutex->lock);
}

void pco__mutex_unlock(pco__mutex *mutex)
{
    ReleaseSRWLockExclusive(&mutex->lock);
}

struct pco__condition {
    CONDITION_VARIABLE condition;
};

int pco__condition_new(pco__condition **condition)
{
    pco__condition *made = pco__malloc(sizeof *made);
    if (made == NULL) {
        return PCO_ENOMEM;
    }
    InitializeConditionVariable(&made->condition);
    *condition = made;
    return 0;
}

void pco__condition_free(pco__condition *condition)
{
    pco__free(condition); /* nor does a CONDITION_VARIABLE */
}

void pco__condition_wait(pco__condition *condition, pco__mutex *mutex)
{
    SleepConditionVariableSRW(&condition->condition, &mutex->lock, INFINITE, 0);
}

void pco__condition_wake(pco__condition *condition)
{
    WakeAllConditionVariable(&condition->condition);
}

typedef struct thread_start {
    void (*run)(void *context);
    void *context;
    HMODULE module;
} thread_start;

/*
 * A thread may outlive its loop (the system's resolver cannot be interrupted), and the program may
 * unload the library meanwhile: so each holds the module that its code is in, the DLL or the
 * program, and gives it up with its last step.
 */
static DWORD WINAPI thread_main(void *argument)
{
    thread_start start = *(thread_start *)argument;
    pco__free(argument);
    start.run(start.context);
    FreeLibraryAndExitThread(start.module, 0);
}

/* Somewhere in this module. */
static const char place;

static int start_failed(pco_error *error, int code)
{
    return pco__error_describe(error, code, (int)GetLastError(), "start a thread");
}

static int start_thread(void (*run)(void *context), void *context, HANDLE *made, pco_error *error)
{
    thread_start *start = pco__malloc(sizeof *start);
    if (start == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start a thread");
    }
    start->run = run;
    start->context = context;
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)(const void *)&place,
                            &start->module)) {
        int code = start_failed(error, PCO_EAGAIN);
        pco__free(start);
        return code;
    }
    /*
     * Not _beginthreadex: with some C libraries its threads hold the module themselves, and only
     * its own way to end a thread gives that up. A thread of the system's may use the C library.
     */
    HANDLE thread = CreateThread(NULL, 0, thread_main, start, 0, NULL);
    if (thread == NULL) {
        int code = start_failed(error, PCO_EAGAIN);
        FreeLibrary(start->module);
        pco__free(start);
        return code;
    }
    *made = thread;
    return 0;
}

int pco__thread_start(void (*run)(void *context), void *context, pco_error *error)
{
    HANDLE handle;
    int err = start_thread(run, context, &handle, error);
    if (err == 0) {
        CloseHandle(handle);
    }
    return err;
}

struct pco__thread {
    HANDLE handle;
};

int pco__thread_begin(void (*run)(void *context), void *context, pco__thread **thread,
                      pco_error *error)
{
    pco__thread *made = pco__malloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start a thread");
    }
    int err = start_thread(run, context, &made->handle, error);
    if (err != 0) {
        pco__free(made);
        return err;
    }
    *thread = made;
    return 0;
}

void pco__thread_join(pco__thread *thread)
{
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    pco__free(thread);
}
