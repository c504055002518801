/* SPDX-License-Identifier: MIT */
/*
 * Goal: real signals reach every loop that handles them, whichever thread they interrupt, and none
 * is lost; what the process did with a signal before is as it was afterwards; a forked child does
 * what it would have done without the library, and its parent hears nothing.
 * Method: kill, raise and sigqueue, on this system's backends; children that report by their exit.
 * Loops are waited for, with an end; the thread sanitizer watches.
 */
#define _GNU_SOURCE 1

#include "support.h"

#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 30.0

typedef struct counter {
    unsigned count;
    int last;
    unsigned wrong; /* told on another thread than the loop's */
    pthread_t thread;
} counter;

static counter counters[4];
static pco_loop *loop;
static const char *backend;

static int set_up(void **state)
{
    pco_loop_options options = {.size = sizeof options, .debug = PCO_ON, .backend = backend};

    (void)state;
    memory_watch();
    memset(counters, 0, sizeof counters);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        counters[i].thread = pthread_self();
    }
    return pco_loop_new(&options, &loop, NULL);
}

static bool is_default(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    return memory_unwatch() == 0 && is_default(SIGUSR1) && is_default(SIGUSR2) &&
                   is_default(SIGCHLD) && is_default(SIGTERM)
               ? 0
               : -1;
}

static void count(int number, void *context)
{
    counter *self = context;

    self->count++;
    self->last = number;
    self->wrong += pthread_equal(self->thread, pthread_self()) == 0;
}

static void handle(int number, counter *by)
{
    assert_int_equal(pco_loop_add_signal_handler(loop, number, count, by, NULL), 0);
}

static void let_pass(unsigned turns)
{
    run_turns(loop, turns);
}

typedef struct wish {
    const unsigned *count;
    unsigned least;
} wish;

static bool is_fulfilled(void *context)
{
    const wish *self = context;

    return *self->count >= self->least;
}

static bool reaches(pco_loop *on, const unsigned *number, unsigned least)
{
    wish wanted = {number, least};

    return pco_loop_run_until(on, is_fulfilled, &wanted, PATIENCE) == 0;
}

/* ---- Delivery ---- */

static void a_signal_is_told_and_errno_is_kept(void **state)
{
    (void)state;
    handle(SIGUSR1, &counters[0]);
    errno = 4711;
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(errno, 4711);
    assert_int_equal(counters[0].count, 0);
    assert_true(reaches(loop, &counters[0].count, 1));
    assert_int_equal(counters[0].last, SIGUSR1);
    let_pass(3);
    assert_int_equal(counters[0].count, 1);
}

static void raise_on_a_timer(void *context)
{
    raise(*(const int *)context);
}

static void a_signal_ends_a_wait(void **state)
{
    static const int number = SIGUSR1;

    (void)state;
    handle(SIGUSR1, &counters[0]);
    assert_int_equal(
        pco_loop_call_later(loop, 0.01, raise_on_a_timer, (void *)(uintptr_t)&number, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, INFINITY), 0);
    assert_true(reaches(loop, &counters[0].count, 1));
}

static void signals_of_different_kinds_are_told_in_order(void **state)
{
    (void)state;
    handle(SIGUSR1, &counters[0]);
    handle(SIGUSR2, &counters[0]);
    raise(SIGUSR2);
    raise(SIGUSR1);
    let_pass(2);
    assert_int_equal(counters[0].count, 2);
    assert_int_equal(counters[0].last, SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR2);
    let_pass(2);
    assert_int_equal(counters[0].count, 4);
    assert_int_equal(counters[0].last, SIGUSR2);
}

static void the_end_of_a_child_is_told(void **state)
{
    int status = 0;
    pid_t child;

    (void)state;
    handle(SIGCHLD, &counters[0]);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        raise(SIGKILL);
    }
    assert_true(reaches(loop, &counters[0].count, 1));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

/* The thread sanitizer keeps signals back, and of several of a kind one. */
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define WHY_NO_QUEUE "the thread sanitizer queues no signals"
#elif !defined(SIGRTMIN)
#define WHY_NO_QUEUE "this system has no signals of real time"
#endif

#if !defined(WHY_NO_QUEUE)
#define LAST_OF_REAL_TIME (SIGRTMAX - 8) /* the last are valgrind's, and qemu's */

/* Blocked while they are sent, so that the system queues them. */
static void every_signal_of_real_time_is_told(void **state)
{
    sigset_t both, before;
    union sigval value = {0};

    (void)state;
    handle(SIGRTMIN, &counters[0]);
    handle(LAST_OF_REAL_TIME, &counters[1]);
    sigemptyset(&both);
    sigaddset(&both, SIGRTMIN);
    sigaddset(&both, LAST_OF_REAL_TIME);
    pthread_sigmask(SIG_BLOCK, &both, &before);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(sigqueue(getpid(), SIGRTMIN, value), 0);
        assert_int_equal(sigqueue(getpid(), LAST_OF_REAL_TIME, value), 0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_true(reaches(loop, &counters[0].count, 50));
    assert_true(reaches(loop, &counters[1].count, 50));
    let_pass(3);
    assert_int_equal(counters[0].count, 50);
    assert_int_equal(counters[1].count, 50);
}
#else
static void every_signal_of_real_time_is_told(void **state)
{
    (void)state;
    print_message("skipped: " WHY_NO_QUEUE "\n");
    skip();
}
#endif

static void signals_beyond_the_systems_own_are_refused(void **state)
{
    static const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sigaction before, after;
        pco_error error = {0};
        assert_int_equal(sigaction(bad[i], NULL, &before), 0);
        assert_int_equal(pco_loop_add_signal_handler(loop, bad[i], count, NULL, &error),
                         PCO_EINVAL);
        assert_non_null(strstr(error.message, "signal"));
        assert_int_equal(sigaction(bad[i], NULL, &after), 0);
        assert_ptr_equal(before.sa_handler, after.sa_handler);
    }
}

/* ---- What was there before ---- */

static volatile sig_atomic_t own_calls;

static void own_handler(int number)
{
    (void)number;
    own_calls++;
}

static struct sigaction action_of(int number)
{
    struct sigaction now;

    assert_int_equal(sigaction(number, NULL, &now), 0);
    return now;
}

static void set_action(int number, void (*function)(int), int flags)
{
    struct sigaction wanted;

    memset(&wanted, 0, sizeof wanted);
    wanted.sa_handler = function;
    wanted.sa_flags = flags;
    sigemptyset(&wanted.sa_mask);
    sigaddset(&wanted.sa_mask, SIGUSR2);
    assert_int_equal(sigaction(number, &wanted, NULL), 0);
}

static void what_was_there_is_put_back(void **state)
{
    (void)state;
    own_calls = 0;
    set_action(SIGUSR1, own_handler, SA_NODEFER);
    set_action(SIGTERM, SIG_IGN, 0);
    handle(SIGUSR1, &counters[0]);
    handle(SIGTERM, &counters[0]);
    raise(SIGUSR1);
    raise(SIGTERM);
    let_pass(2);
    assert_int_equal(counters[0].count, 2);
    assert_int_equal(own_calls, 0);
    assert_true(pco_loop_remove_signal_handler(loop, SIGUSR1));
    raise(SIGUSR1);
    assert_int_equal(own_calls, 1);
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    raise(SIGTERM); /* ignored */
    assert_ptr_equal(action_of(SIGTERM).sa_handler, SIG_IGN);
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, own_handler);
    assert_true((action_of(SIGUSR1).sa_flags & SA_NODEFER) != 0);
    struct sigaction now = action_of(SIGUSR1);
    assert_int_equal(sigismember(&now.sa_mask, SIGUSR2), 1);
    set_action(SIGUSR1, SIG_DFL, 0);
    set_action(SIGTERM, SIG_DFL, 0);
}

static void it_is_put_back_by_the_last_loop_only(void **state)
{
    pco_loop *other = NULL;

    (void)state;
    set_action(SIGUSR1, SIG_IGN, 0);
    assert_int_equal(pco_loop_new(NULL, &other, NULL), 0);
    handle(SIGUSR1, &counters[0]);
    assert_int_equal(pco_loop_add_signal_handler(other, SIGUSR1, count, &counters[1], NULL), 0);
    assert_true(pco_loop_remove_signal_handler(loop, SIGUSR1));
    raise(SIGUSR1);
    assert_true(reaches(other, &counters[1].count, 1));
    assert_int_equal(pco_loop_free(other), 0);
    let_pass(1);
    assert_int_equal(counters[0].count, 0);
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, SIG_IGN);
    set_action(SIGUSR1, SIG_DFL, 0);
}

static void what_the_program_puts_there_meanwhile_stays(void **state)
{
    (void)state;
    own_calls = 0;
    handle(SIGUSR1, &counters[0]);
    set_action(SIGUSR1, own_handler, 0);
    raise(SIGUSR1);
    assert_int_equal(own_calls, 1);
    assert_true(pco_loop_remove_signal_handler(loop, SIGUSR1));
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, own_handler);
    handle(SIGUSR1, &counters[0]);
    raise(SIGUSR1);
    let_pass(1);
    assert_int_equal(counters[0].count, 1);
    assert_true(pco_loop_remove_signal_handler(loop, SIGUSR1));
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, own_handler);
    set_action(SIGUSR1, SIG_DFL, 0);
}

static void who_is_added_again_is_told_again(void **state)
{
    (void)state;
    own_calls = 0;
    handle(SIGUSR1, &counters[0]);
    set_action(SIGUSR1, own_handler, 0);
    handle(SIGUSR1, &counters[1]);
    raise(SIGUSR1);
    assert_true(reaches(loop, &counters[1].count, 1));
    assert_int_equal(own_calls, 0);
    assert_int_equal(counters[0].count, 0);
    assert_true(pco_loop_remove_signal_handler(loop, SIGUSR1));
    assert_ptr_equal(action_of(SIGUSR1).sa_handler, own_handler);
    set_action(SIGUSR1, SIG_DFL, 0);
}

static void system_calls_that_can_go_on_do(void **state)
{
    char byte = 0;
    int ends[2];
    pid_t child;
    pid_t parent = getpid();

    (void)state;
    handle(SIGUSR1, &counters[0]);
    assert_true((action_of(SIGUSR1).sa_flags & SA_RESTART) != 0);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        kill(parent, SIGUSR1);
        kill(parent, SIGUSR1);
        ssize_t written = write(ends[1], "x", 1);
        (void)written;
        raise(SIGKILL);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(reaches(loop, &counters[0].count, 1));
    close(ends[0]);
    close(ends[1]);
}

/* ---- Children ---- */

/* How a child ends that does this: its status as of waitpid. */
static int status_of_child(void (*act)(void))
{
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        child_ends_without_a_word();
        act();
        raise(SIGKILL); /* no end in order, or valgrind would look for what it has not freed */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void get_sigusr1(void)
{
    raise(SIGUSR1);
}

static void get_sigterm(void)
{
    raise(SIGTERM);
}

static void get_sigchld(void)
{
    raise(SIGCHLD);
}

static void a_child_ends_by_a_signal_and_the_parent_hears_nothing(void **state)
{
    int status;

    (void)state;
    set_action(SIGTERM, SIG_IGN, 0);
    handle(SIGUSR1, &counters[0]);
    handle(SIGTERM, &counters[0]);
    handle(SIGCHLD, &counters[1]);
    status = status_of_child(get_sigusr1);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGUSR1);
    status = status_of_child(get_sigterm);
    assert_int_equal(WTERMSIG(status), SIGKILL); /* it went on to the end */
    status = status_of_child(get_sigchld);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    let_pass(5);
    assert_int_equal(counters[0].count, 0);
    raise(SIGUSR1);
    let_pass(2);
    assert_int_equal(counters[0].count, 1);
    assert_true(pco_loop_remove_signal_handler(loop, SIGTERM));
    assert_ptr_equal(action_of(SIGTERM).sa_handler, SIG_IGN);
    set_action(SIGTERM, SIG_DFL, 0);
}

/* In the child: a loop of its own, with a handler for one of the parent's signals. */
static void handle_of_its_own(void)
{
    counter own = {.thread = pthread_self()};
    pco_loop_options options = {.size = sizeof options, .backend = backend};

    if (pco_loop_new(&options, &loop, NULL) != 0 ||
        pco_loop_add_signal_handler(loop, SIGUSR1, count, &own, NULL) != 0) {
        return;
    }
    raise(SIGUSR1);
    raise(SIGUSR1);
    run_turns(loop, 4);
    if (own.count == 2 && pco_loop_remove_signal_handler(loop, SIGUSR1) && is_default(SIGUSR1)) {
        raise(SIGUSR2); /* the parent's alone: ends this process */
    }
}

static void a_child_may_have_handlers_of_its_own(void **state)
{
    int status;

    (void)state;
    handle(SIGUSR1, &counters[0]);
    handle(SIGUSR2, &counters[0]);
    status = status_of_child(handle_of_its_own);
    assert_int_equal(WTERMSIG(status), SIGUSR2);
    let_pass(3);
    assert_int_equal(counters[0].count, 0);
    raise(SIGUSR2);
    let_pass(2);
    assert_int_equal(counters[0].count, 1);
}

/* ---- Threads ---- */

#define ROUNDS 50

/*
 * What a thread does: a loop of its own, again and again with a handler. The bus is a signal that
 * no other thread's mask blocks.
 */
static void *handle_again_and_again(void *context)
{
    counter *self = context;
    pco_loop *own = NULL;

    self->thread = pthread_self();
    if (pco_loop_new(NULL, &own, NULL) != 0) {
        self->wrong++;
        return NULL;
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (pco_loop_add_signal_handler(own, SIGUSR1, count, self, NULL) != 0) {
            self->wrong++;
        }
        pthread_kill(pthread_self(), SIGUSR1);
        kill(getpid(), SIGUSR1);
        if (i % 3 != 0) {
            unsigned before = self->count;
            self->wrong += !reaches(own, &self->count, before + 1);
        }
        if (i % 5 != 0 && !pco_loop_remove_signal_handler(own, SIGUSR1)) {
            self->wrong++;
        }
        if (i % 7 == 0) {
            pco_loop_free(own);
            own = NULL;
            self->wrong += pco_loop_new(NULL, &own, NULL) != 0;
        }
    }
    pco_loop_free(own);
    return NULL;
}

static void loops_of_several_threads_come_and_go_in_a_flood(void **state)
{
    pthread_t threads[3];

    (void)state;
    handle(SIGUSR1, &counters[3]);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, handle_again_and_again, &counters[i]),
                         0);
    }
    assert_true(reaches(loop, &counters[3].count, 20));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(counters[i].wrong, 0);
    }
    assert_int_equal(counters[3].wrong, 0);
}

typedef struct listener_thread {
    pthread_t thread;
    pco_loop *loop;
    counter told;
    bool failed;
} listener_thread;

static void *run_until_told(void *context)
{
    listener_thread *self = context;

    self->told.thread = pthread_self();
    self->failed = !reaches(self->loop, &self->told.count, 1) ||
                   !pco_loop_remove_signal_handler(self->loop, SIGUSR1);
    return NULL;
}

/* The handlers are there before the threads, so that each of them must be told. */
static void one_signal_is_told_to_loops_on_several_threads(void **state)
{
    listener_thread all[3] = {0};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_new(NULL, &all[i].loop, NULL), 0);
        assert_int_equal(
            pco_loop_add_signal_handler(all[i].loop, SIGUSR1, count, &all[i].told, NULL), 0);
        assert_int_equal(pthread_create(&all[i].thread, NULL, run_until_told, &all[i]), 0);
    }
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(all[i].thread, NULL), 0);
        assert_false(all[i].failed);
        assert_int_equal(all[i].told.count, 1);
        assert_int_equal(all[i].told.wrong, 0);
        assert_int_equal(pco_loop_free(all[i].loop), 0);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    grow_the_stack();
    const struct CMUnitTest tests[] = {
        TEST(a_signal_is_told_and_errno_is_kept),
        TEST(a_signal_ends_a_wait),
        TEST(signals_of_different_kinds_are_told_in_order),
        TEST(the_end_of_a_child_is_told),
        TEST(every_signal_of_real_time_is_told),
        TEST(signals_beyond_the_systems_own_are_refused),
        TEST(what_was_there_is_put_back),
        TEST(it_is_put_back_by_the_last_loop_only),
        TEST(what_the_program_puts_there_meanwhile_stays),
        TEST(who_is_added_again_is_told_again),
        TEST(system_calls_that_can_go_on_do),
        TEST(a_child_ends_by_a_signal_and_the_parent_hears_nothing),
        TEST(a_child_may_have_handlers_of_its_own),
        TEST(loops_of_several_threads_come_and_go_in_a_flood),
        TEST(one_signal_is_told_to_loops_on_several_threads),
    };
    int failures = 0;

    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        backend = pco__backends[i]->name;
        failures +=
            _cmocka_run_group_tests(backend, tests, sizeof tests / sizeof tests[0], NULL, NULL);
    }
    return failures;
}
