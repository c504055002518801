/* SPDX-License-Identifier: MIT */
/*
 * sleep.h (POSIX): whether the machine has slept, by two clocks of the system's, of which one goes
 * on meanwhile. A wall clock that is set changes neither.
 */
#ifndef PCO_POSIX_SLEEP_H
#define PCO_POSIX_SLEEP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pco__sleep {
    int64_t most; /* how far the clocks are apart at most, in nanoseconds */
} pco__sleep;

void pco__sleep_begin(pco__sleep *sleep);

/*
 * Whether it has since the last time, or since it began, for a tenth of a second or longer. Where
 * the system has no two such clocks, it has not.
 */
bool pco__sleep_ended(pco__sleep *sleep);

#endif
