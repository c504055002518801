/* SPDX-License-Identifier: MIT */
/*
 * signal.c (POSIX): who watches signals, and the one handler that tells them.
 *
 * The hard idea is the end. The handler may run on any thread at any moment, takes no lock, and
 * goes through lists whose members others want to free. So it counts itself in and out, and whoever
 * has taken a watch off its list waits until it has seen nobody inside: who comes in later does not
 * meet that watch any more. A handler calls raised() of a few watches, each a system call: one
 * waits for microseconds.
 *
 * The other one is fork. The child has the handler and the lists, but nobody in it watches: the
 * lists belong to the process whose number they carry. Where a signal comes and nobody here
 * watches it, the handler steps aside: it puts back what was there before, and raises the signal
 * again. The child of a server ends by SIGTERM as it would have without the library. Memory is
 * written to only by the process that owns it, since a child of vfork shares it.
 */
#define _GNU_SOURCE 1

#include "system/signals.h"

#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* No system has a signal above (FreeBSD); NSIG does not always count those of real time. */
#define HIGHEST 128

/* How long to wait for another thread that is at it, in nanoseconds. */
#define MOMENT 50000

static struct {
    /*
     * Guards all that follows, but for what the handler looks at. It is the number of the process
     * that holds the lock, so that a lock that another thread held during a fork is nobody's lock
     * in the child.
     */
    pid_t holder;

    pid_t process;                        /* whose watches these are */
    int inside;                           /* handlers that run */
    pco__watch *watches[HIGHEST + 1];     /* by signal, in the order in which they began */
    struct sigaction before[HIGHEST + 1]; /* while our handler is in place: what was */
} table;

static void handle(int number);

/* ---- The lock ---- */

static void wait_a_moment(void)
{
    const struct timespec moment = {.tv_nsec = MOMENT};

    nanosleep(&moment, NULL);
}

/* Nobody in this process watches yet; its parent may have. */
static void take_over(pid_t process)
{
    for (int number = 0; number <= HIGHEST; number++) {
        __atomic_store_n(&table.watches[number], NULL, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&table.inside, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&table.process, process, __ATOMIC_SEQ_CST);
}

static void lock(void)
{
    pid_t self = getpid();
    pid_t holder = __atomic_load_n(&table.holder, __ATOMIC_RELAXED);

    while (holder == self || !__atomic_compare_exchange_n(&table.holder, &holder, self, false,
                                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        if (holder == self) {
            wait_a_moment();
            holder = __atomic_load_n(&table.holder, __ATOMIC_RELAXED);
        }
    }
    if (table.process != self) {
        take_over(self);
    }
}

static void unlock(void)
{
    __atomic_store_n(&table.holder, 0, __ATOMIC_RELEASE);
}

/* ---- Dispositions ---- */

static bool is_in_place(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
           now.sa_handler == handle;
}

/*
 * SA_RESTART: system calls of the program's other threads go on. SA_ONSTACK: where a thread has a
 * stack for handlers, as those of some languages need, it is used. Nothing interrupts the handler.
 */
static int put_in_place(int number)
{
    struct sigaction ours;

    if (is_in_place(number)) {
        return 0;
    }
    memset(&ours, 0, sizeof ours);
    ours.sa_handler = handle;
    ours.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&ours.sa_mask);
    return sigaction(number, NULL, &table.before[number]) == 0 ? sigaction(number, &ours, NULL)
                                                               : -1;
}

/* Where the program has put another handler into the place of ours meanwhile, that one stays. */
static bool put_back(int number)
{
    return is_in_place(number) && sigaction(number, &table.before[number], NULL) == 0;
}

/* ---- The handler ---- */

bool pco__watch_tell(int number)
{
    pco__watch *watch = __atomic_load_n(&table.watches[number], __ATOMIC_SEQ_CST);
    bool any = watch != NULL;

    for (; watch != NULL; watch = __atomic_load_n(&watch->next, __ATOMIC_SEQ_CST)) {
        watch->raised(watch);
    }
    return any;
}

static void handle(int number)
{
    int saved = errno;
    bool own = __atomic_load_n(&table.process, __ATOMIC_SEQ_CST) == getpid();

    if (own) {
        __atomic_add_fetch(&table.inside, 1, __ATOMIC_SEQ_CST);
    }
    if (!(own && pco__watch_tell(number)) && put_back(number)) {
        raise(number); /* comes when this returns */
    }
    if (own) {
        __atomic_sub_fetch(&table.inside, 1, __ATOMIC_SEQ_CST);
    }
    errno = saved;
}

/* ---- Watching ---- */

/* Where `watch` is linked from; for NULL, where the next one will be. NULL: it is not there. */
static pco__watch **find(int number, const pco__watch *watch)
{
    pco__watch **place = &table.watches[number];

    while (*place != watch && *place != NULL) {
        place = &(*place)->next;
    }
    return *place == watch ? place : NULL;
}

static bool is_a_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

static int check(int number, pco_error *error)
{
    struct sigaction unused;

    if (number == SIGKILL || number == SIGSTOP) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "signal %d ends or stops a program: it cannot be handled", number);
    }
    if (number >= 1 && number <= HIGHEST && is_a_fault(number)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "signal %d is a fault of the program itself, which cannot go on to "
                              "where the loop would handle it",
                              number);
    }
    if (number < 1 || number > HIGHEST || sigaction(number, NULL, &unused) != 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "%d is no signal that can be handled here",
                              number);
    }
    return 0;
}

/* Takes it off its list, and the handler out of its place after the last one. */
static void drop(pco__watch *watch)
{
    pco__watch **place = find(watch->number, watch);

    if (place == NULL) {
        return; /* of the parent's, in a forked child */
    }
    __atomic_store_n(place, watch->next, __ATOMIC_SEQ_CST);
    if (table.watches[watch->number] == NULL) {
        put_back(watch->number);
    }
    while (__atomic_load_n(&table.inside, __ATOMIC_SEQ_CST) != 0) {
        wait_a_moment();
    }
}

static int renew(const pco__watch *watch, pco_error *error)
{
    if (put_in_place(watch->number) == 0) {
        return 0;
    }
    int code = errno;
    return pco__error_describe(error, pco__error_from_system(code), code, "handle signal %d",
                               watch->number);
}

int pco__watch_begin(pco__watch *watch, pco_error *error)
{
    int code = check(watch->number, error);

    if (code != 0) {
        return code;
    }
    lock();
    watch->next = NULL;
    __atomic_store_n(find(watch->number, NULL), watch, __ATOMIC_SEQ_CST);
    code = renew(watch, error);
    if (code != 0) {
        drop(watch);
    }
    unlock();
    return code;
}

int pco__watch_renew(pco__watch *watch, pco_error *error)
{
    lock();
    int code = renew(watch, error);
    unlock();
    return code;
}

void pco__watch_end(pco__watch *watch)
{
    lock();
    drop(watch);
    unlock();
}

const int pco__ending_signals[] = {SIGINT, SIGTERM, 0};
