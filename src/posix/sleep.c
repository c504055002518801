/* SPDX-License-Identifier: MIT */
/* sleep.c (POSIX): whether the machine has slept. */
#define _GNU_SOURCE 1

#include "posix/sleep.h"

#include <time.h>

/*
 * The clock that stands still and the one that goes on. On FreeBSD before 15 they are the same
 * (clock_gettime(2)), and NetBSD has one only.
 */
#if defined(CLOCK_BOOTTIME) && defined(__linux__)
#define CLOCK_AWAKE CLOCK_MONOTONIC
#define CLOCK_ALWAYS CLOCK_BOOTTIME
#elif defined(CLOCK_UPTIME_RAW)
#define CLOCK_AWAKE CLOCK_UPTIME_RAW /* macOS: mach_absolute_time, mach_continuous_time */
#define CLOCK_ALWAYS CLOCK_MONOTONIC_RAW
#elif defined(CLOCK_UPTIME)
#define CLOCK_AWAKE CLOCK_UPTIME
#define CLOCK_ALWAYS CLOCK_MONOTONIC
#else
#define CLOCK_AWAKE CLOCK_MONOTONIC
#define CLOCK_ALWAYS CLOCK_MONOTONIC
#endif

/* What counts as sleep, in nanoseconds. */
#define SLEEP_LEAST ((int64_t)100 * 1000 * 1000)

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * This thread may have to wait between two clocks; so they are as far apart as one of these says.
 */
static void compare_clocks(int64_t *least, int64_t *most)
{
    int64_t before = read_clock(CLOCK_AWAKE);
    int64_t always = read_clock(CLOCK_ALWAYS);
    int64_t after = read_clock(CLOCK_AWAKE);

    *least = always - after;
    *most = always - before;
}

void pco__sleep_begin(pco__sleep *sleep)
{
    int64_t least;

    compare_clocks(&least, &sleep->most);
}

bool pco__sleep_ended(pco__sleep *sleep)
{
    int64_t least;
    int64_t most;

    compare_clocks(&least, &most);
    bool has_slept = least - sleep->most >= SLEEP_LEAST;
    if (has_slept || most < sleep->most) {
        sleep->most = most;
    }
    return has_slept;
}
