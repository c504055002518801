/* SPDX-License-Identifier: MIT */
/*
 * growth.c: what a timer and a pending callback cost when there are many of them. Prints one line
 * of JSON: nanoseconds per operation, each the median of the repetitions, and how many operations a
 * repetition has (0: they are not to be counted in instructions).
 *
 *   growth cancel N REPEATS      a timer is set and canceled while N others are pending
 *   growth fire N REPEATS        N timers are set, time passes, and N fire
 *   growth wait N REPEATS        N timers of a minute wait: the longest turn until the first is due
 *   growth callbacks N REPEATS   N callbacks are scheduled, and N run
 *
 * Times are drawn at random, the same on every run: timers that come in order would flatter any
 * kind of queue.
 */
#define _GNU_SOURCE 1

#include <portico.h>

#include "loop/timer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How many timers are set and canceled in one go while N are pending. */
#define CANCELED 1000

/* Seconds between the timers that fire. */
#define SPACING 1e-6

#define REPEATS_LIMIT 100000

static pco_loop *loop;
static size_t ran;
static uint64_t seed = 1;

static void give_up(const char *why)
{
    fprintf(stderr, "growth: %s\n", why);
    exit(EXIT_FAILURE);
}

static double nanoseconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* From 0 to 1. (Knuth's linear congruential generator, of which the high bits are good.) */
static double draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / (double)((uint64_t)1 << 53);
}

static void count(void *context)
{
    (void)context;
    ran++;
}

static void never(void *context)
{
    (void)context;
    give_up("a timer fired that is far in the future");
}

/* ---- The median of what was measured ---- */

typedef struct series {
    const char *name;
    size_t length;
    double values[REPEATS_LIMIT];
} series;

static series first, second;

static int compare(const void *one, const void *other)
{
    double a = *(const double *)one;
    double b = *(const double *)other;

    return a < b ? -1 : a > b;
}

static void add(series *to, const char *name, double began, size_t operations)
{
    to->name = name;
    to->values[to->length++] = (nanoseconds() - began) / (double)operations;
}

static void print_median(series *of)
{
    if (of->length != 0) {
        qsort(of->values, of->length, sizeof of->values[0], compare);
        printf(", \"%s\": %.1f", of->name, of->values[of->length / 2]);
    }
}

/* ---- What is measured ---- */

static void set_timer(double when, pco_callback callback, pco_handle **handle)
{
    if (pco_loop_call_at(loop, when, callback, NULL, handle) != 0) {
        give_up("a timer could not be set");
    }
}

/* As a time limit that is never reached: set, and soon canceled, in the midst of others. */
static void set_and_cancel(double now)
{
    static pco_handle *handles[CANCELED];
    double began = nanoseconds();

    for (size_t i = 0; i < CANCELED; i++) {
        set_timer(now + 1000 + 1000 * draw(), never, &handles[i]);
    }
    for (size_t i = 0; i < CANCELED; i++) {
        pco_handle_cancel(handles[i]);
        pco_handle_release(handles[i]);
    }
    add(&first, "set_and_cancel", began, CANCELED);
}

static void run_all(size_t pending)
{
    for (size_t i = 0; ran < pending && i < 4; i++) {
        pco_loop_run_once(loop, 0);
    }
    if (ran != pending) {
        give_up("not all callbacks ran");
    }
}

static void wait_until(double when)
{
    for (double left; (left = when - pco_loop_time(loop)) > 0;) {
        struct timespec time = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        nanosleep(&time, NULL);
    }
}

/*
 * Timers in random order, one per microsecond, which is about as fast as they can fire: all are
 * set, and when the last is due, all fire. None is due before one that has fired already.
 */
static void set_and_fire(size_t pending)
{
    double span = SPACING * (double)pending;
    double now = pco_loop_time(loop);
    double began = nanoseconds();

    ran = 0;
    for (size_t i = 0; i < pending; i++) {
        set_timer(now + span * draw(), count, NULL);
    }
    add(&first, "set", began, pending);
    wait_until(now + span);
    began = nanoseconds();
    run_all(pending);
    add(&second, "fire", began, pending);
}

/* How many operations one repetition has is returned, here and below. */
static size_t measure_cancel(size_t pending, size_t repeats)
{
    pco_handle **handles = calloc(pending, sizeof(pco_handle *));
    double now = pco_loop_time(loop);

    if (handles == NULL) {
        give_up("no memory");
    }
    for (size_t i = 0; i < pending; i++) {
        set_timer(now + 1000 + 1000 * draw(), never, &handles[i]);
    }
    for (size_t i = 0; i < repeats; i++) {
        set_and_cancel(now);
    }
    for (size_t i = 0; i < pending; i++) {
        pco_handle_cancel(handles[i]);
        pco_handle_release(handles[i]);
    }
    free(handles);
    return CANCELED;
}

static size_t measure_fire(size_t pending, size_t repeats)
{
    for (size_t i = 0; i < repeats; i++) {
        set_and_fire(pending);
    }
    return pending;
}

/* ---- The longest turn ---- */

#define MILLISECOND ((uint64_t)1000000)

/* In milliseconds: how long the timers run, in what time they are set, and how long they wait. */
#define LIMIT 60000
#define SETTING 4000
#define WAITING (LIMIT - SETTING)

typedef struct connection {
    pco__timer timer;
    char rest[80];
} connection;

static void fire_never(pco__timer *timer)
{
    (void)timer;
    give_up("a timer fired before its time");
}

/* What the loop asks of its timers in every turn: here each millisecond, which does not wait. */
static double one_turn(pco__timers *timers, uint64_t now)
{
    double began = nanoseconds();

    if (pco__timers_take_due(timers, now) != NULL) {
        fire_never(NULL);
    }
    return nanoseconds() - began;
}

/* Sets the timers in any order of their addresses: connections lie anywhere in memory. */
static void set_limits(pco__timers *timers, connection *all, size_t *order, size_t pending,
                       uint64_t start)
{
    for (size_t i = 0; i < pending; i++) {
        size_t k = (size_t)(draw() * (double)(i + 1));
        order[i] = order[k];
        order[k] = i;
    }
    for (size_t i = 0; i < pending; i++) {
        uint64_t now = start + SETTING * MILLISECOND * i / pending;
        connection *one = &all[order[i]];
        *one = (connection){.timer = {.fire = fire_never}};
        pco__timer_start(timers, &one->timer, now + LIMIT * MILLISECOND);
        if (i % 64 == 0) {
            one_turn(timers, now);
        }
    }
}

/*
 * In a time of its own, on the loop's timers without the loop. The same turn is measured in every
 * repetition, and its shortest time counts, so that what the machine does besides is left out.
 */
static size_t measure_wait(size_t pending, size_t repeats)
{
    static double shortest[WAITING];
    connection *all = malloc(pending * sizeof *all);
    size_t *order = malloc(pending * sizeof *order);
    uint64_t start = 1000000000 * MILLISECOND;

    if (all == NULL || order == NULL) {
        give_up("no memory");
    }
    for (size_t i = 0; i < repeats; i++) {
        static const pco__timers none;
        static pco__timers timers;
        timers = none;
        set_limits(&timers, all, order, pending, start);
        for (size_t turn = 0; turn < WAITING; turn++) {
            double took = one_turn(&timers, start + (SETTING + turn) * MILLISECOND);
            shortest[turn] = i == 0 || took < shortest[turn] ? took : shortest[turn];
        }
    }
    first = (series){.name = "longest_turn", .length = 1};
    for (size_t turn = 0; turn < WAITING; turn++) {
        first.values[0] = shortest[turn] > first.values[0] ? shortest[turn] : first.values[0];
    }
    free(order);
    free(all);
    return 0;
}

static size_t measure_callbacks(size_t pending, size_t repeats)
{
    for (size_t i = 0; i < repeats; i++) {
        double began = nanoseconds();

        ran = 0;
        for (size_t k = 0; k < pending; k++) {
            if (pco_loop_call_soon(loop, count, NULL, NULL) != 0) {
                give_up("a callback could not be scheduled");
            }
        }
        add(&first, "schedule", began, pending);
        began = nanoseconds();
        run_all(pending);
        add(&second, "run", began, pending);
    }
    return pending;
}

typedef struct kind {
    const char *name;
    size_t (*measure)(size_t pending, size_t repeats);
} kind;

static const kind kinds[] = {{"cancel", measure_cancel},
                             {"fire", measure_fire},
                             {"wait", measure_wait},
                             {"callbacks", measure_callbacks},
                             {0}};

int main(int argc, char **argv)
{
    size_t pending = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    size_t repeats = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    const kind *chosen = kinds;

    while (argc == 4 && chosen->name != NULL && strcmp(chosen->name, argv[1]) != 0) {
        chosen++;
    }
    if (pending == 0 || repeats == 0 || repeats > REPEATS_LIMIT || chosen->name == NULL) {
        give_up("usage: growth cancel|fire|wait|callbacks N REPEATS");
    }
    if (pco_loop_new(NULL, &loop, NULL) != 0) {
        give_up("no loop");
    }
    printf("{\"operations\": %zu", chosen->measure(pending, repeats));
    print_median(&first);
    print_median(&second);
    printf("}\n");
    pco_loop_free(loop);
    return EXIT_SUCCESS;
}
