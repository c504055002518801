/* SPDX-License-Identifier: MIT */
/*
 * runner.h: runs programs in processes of their own, so that a broken rule, a failed assertion, a
 * finding of a sanitizer and an endless loop all are failures and nothing more.
 */
#ifndef SWARM_RUNNER_H
#define SWARM_RUNNER_H

#include "../swarm.h"

#define SIGNATURE_SIZE 240

/* In the signature of a program that did not end by itself. */
#define ENDLESS "an endless loop"

/* Written by the process that runs programs, and read by its parent when it has died. */
typedef struct report {
    uint64_t seed; /* of the program that runs, or ran last */
    uint64_t done; /* programs that came to their end */
    record record;
} report;

extern report *runner_report;

/* Once. */
void runner_begin(void);
void runner_end(void);

/*
 * How it ended: false and the first line of what was said, without numbers; such lines are how
 * failures are told apart. With a trace, all that is said goes to stderr.
 */
bool runner_run(const program *what, bool looks_for_leaks, char *signature);

/* The programs of seeds from `first` on, one after the other, until one fails. */
bool runner_run_seeds(uint64_t first, uint64_t count, unsigned steps, char *signature);

/*
 * Finds the shortest record that fails in the same way, as far as it is patient. `what` has failed
 * last and so is in the report.
 */
void shrink(const program *what, const char *signature, record *shortest);

#endif
