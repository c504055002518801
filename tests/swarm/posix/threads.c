/* SPDX-License-Identifier: MIT */
/*
 * threads.c: other threads, in an order that a seed repeats.
 *
 * What is to run on another thread runs while this one waits. A look-up, and the system's verdict,
 * is on a thread of the library's: it stands still at a gate, before it has asked for memory, until
 * the program opens that; and the program waits until the loop's list of what was posted has grown.
 */
#include "../swarm.h"

#include <pthread.h>
#include <sched.h>

/* How long another thread may take, in nanoseconds. */
#define PATIENCE ((uint64_t)20 * 1000 * 1000 * 1000)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static gate_state gates[GATES];
static int ports[GATES];
static unsigned standing[GATES]; /* threads, at each */
static unsigned alive;           /* and all that have been at one */
static pthread_key_t known;      /* of those: is set */

/* ---- A thread of ours ---- */

typedef struct errand {
    void (*run)(void *context);
    void *context;
} errand;

static void *run_errand(void *context)
{
    const errand *what = context;
    what->run(what->context);
    return NULL;
}

void thread_run(void (*run)(void *context), void *context)
{
    errand what = {run, context};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_errand, &what) != 0 || pthread_join(thread, NULL) != 0) {
        fputs("swarm: there is no thread\n", stderr);
        abort();
    }
}

/* ---- Gates ---- */

static void thread_ends(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&mutex);
    alive--;
    pthread_mutex_unlock(&mutex);
}

/* The mutex is held. */
static void know_thread(void)
{
    if (pthread_getspecific(known) == NULL && pthread_setspecific(known, &known) == 0) {
        alive++;
    }
}

/* Whether somebody stands at that gate, and who was let through is gone, or at the next. */
static bool are_settled(unsigned number)
{
    unsigned count = 0;
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < GATES; i++) {
        count += gates[i] == GATE_CLOSED ? standing[i] : 0;
    }
    bool settled = count == alive && (number == GATES || standing[number] != 0);
    pthread_mutex_unlock(&mutex);
    return settled;
}

void gates_settle(world *at, unsigned number)
{
    uint64_t end = pco__monotonic() + PATIENCE;
    while (!are_settled(number)) {
        if (pco__monotonic() > end) {
            broken(at, "a thread does not begin its work, or does not go home");
        }
        sched_yield();
    }
}

void gate_set(unsigned number, gate_state state, int port)
{
    pthread_mutex_lock(&mutex);
    gates[number] = state;
    ports[number] = port;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

void gate_service(unsigned number, char *service, size_t size)
{
    snprintf(service, size, "gate%u", number);
}

gate_state gate_wait(const char *service, int *port)
{
    unsigned number = (unsigned)strtoul(service + strlen("gate"), NULL, 10);
    pthread_mutex_lock(&mutex);
    know_thread();
    standing[number]++;
    while (gates[number] == GATE_CLOSED) {
        pthread_cond_wait(&changed, &mutex);
    }
    standing[number]--;
    gate_state state = gates[number];
    *port = ports[number];
    pthread_mutex_unlock(&mutex);
    return state;
}

/* On the library's thread. */
static int wait_at_gate(const char *service, int *port, pco_error *error)
{
    return gate_wait(service, port) == GATE_OPEN
               ? 0
               : pco__error_set(error, PCO_ENONAME, 0, "there is no such service");
}

void gates_begin(void)
{
    fake_resolve_service = wait_at_gate;
    if (pthread_key_create(&known, thread_ends) != 0) {
        fputs("swarm: there is no key\n", stderr);
        abort();
    }
}

/* ---- A host ---- */

static unsigned long wakes;

void host_wake_up(void *context)
{
    (void)context;
    pthread_mutex_lock(&mutex);
    wakes++;
    pthread_mutex_unlock(&mutex);
}

unsigned long host_wakes(void)
{
    pthread_mutex_lock(&mutex);
    unsigned long now = wakes;
    pthread_mutex_unlock(&mutex);
    return now;
}

void wait_for_host(world *at, unsigned long before)
{
    uint64_t end = pco__monotonic() + PATIENCE;
    while (host_wakes() == before) {
        if (pco__monotonic() > end) {
            broken(at, "a turn is due, and the host is not told");
        }
        sched_yield();
    }
}

/* ---- Waiting ---- */

post_count posts_now(world *at)
{
    post_count now = {.wakes = fake_wakes(at->loop)};
    const pco__link *link = pco__shared_get(&at->loop->posted.newest);
    for (; link != NULL; link = link->next) {
        now.posted++;
    }
    return now;
}

post_count posts_taken(world *at)
{
    pco__inbox_take(&at->loop->posted, &at->loop->ready);
    return posts_now(at);
}

/* The first that is posted wakes the loop, after that. */
void wait_for_post(world *at, post_count before)
{
    uint64_t end = pco__monotonic() + PATIENCE;
    post_count now = posts_now(at);
    while (now.posted == before.posted || (before.posted == 0 && now.wakes == before.wakes)) {
        if (pco__monotonic() > end) {
            broken(at, "work on a thread was done, and that does not tell");
        }
        sched_yield();
        now = posts_now(at);
    }
}

void wait_for_threads(void)
{
    uint64_t end = pco__monotonic() + PATIENCE / 4;
    while (memory_pieces() != 0 && pco__monotonic() < end) {
        sched_yield();
    }
}
