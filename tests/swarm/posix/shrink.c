/* SPDX-License-Identifier: MIT */
/*
 * shrink.c: makes a failing program short: whole steps are left out, then decisions made lower,
 * then single ones left out, again and again until nothing of it helps any more. What fails in the
 * same way takes the place of the one before; it is taken from the report, which has only what was
 * decided before the failure.
 */
#include "runner.h"

#define TRIES_MOST 600
#define TRIES_OF_ENDLESS 20 /* each of which takes as long as a program may */

typedef struct shrinking {
    const program *what;
    const char *signature;
    record *best;
    record candidate;
    unsigned tries; /* left */
    bool leaks;     /* it is a leak that only the sanitizer sees */
} shrinking;

/* Whether the candidate fails in the same way; then it is the best. */
static bool try(shrinking *self)
{
    char signature[SIGNATURE_SIZE];
    program what = *self->what;
    if (self->tries == 0) {
        return false;
    }
    self->tries--;
    what.given = &self->candidate;
    what.trace = false;
    if (runner_run(&what, self->leaks, signature) || strcmp(signature, self->signature) != 0) {
        return false;
    }
    *self->best = runner_report->record;
    return true;
}

/* Takes picks out; steps keep those of theirs that are left. */
static void take_out(record *of, unsigned from, unsigned to)
{
    memmove(of->picks + from, of->picks + to, (of->picks_count - to) * sizeof of->picks[0]);
    of->picks_count -= to - from;
    for (unsigned i = 0; i < of->steps; i++) {
        unsigned start = of->starts[i];
        of->starts[i] = start <= from ? start : start >= to ? start - (to - from) : from;
    }
}

static bool try_without_steps(shrinking *self, unsigned from, unsigned to)
{
    record *made = &self->candidate;
    *made = *self->best;
    take_out(made, record_start(made, from), record_start(made, to));
    memmove(made->starts + from, made->starts + to, (made->steps - to) * sizeof made->starts[0]);
    made->steps -= to - from;
    return try(self);
}

static bool leave_out_steps(shrinking *self)
{
    bool any = false;
    for (unsigned size = (self->best->steps + 1) / 2; size != 0; size /= 2) {
        unsigned from = 0;
        while (from < self->best->steps) {
            unsigned rest = self->best->steps - from;
            if (try_without_steps(self, from, from + (size < rest ? size : rest))) {
                any = true;
            } else {
                from += size;
            }
        }
    }
    return any;
}

/* From the end, since what comes last is what the failure needs least. */
static bool leave_out_decisions(shrinking *self)
{
    bool any = false;
    for (unsigned i = self->best->picks_count; i-- != 0;) {
        if (i >= self->best->picks_count) {
            continue;
        }
        self->candidate = *self->best;
        take_out(&self->candidate, i, i + 1);
        any = try(self) || any;
    }
    return any;
}

static bool lower_to(shrinking *self, unsigned which, uint32_t value)
{
    self->candidate = *self->best;
    self->candidate.picks[which] = value;
    return try(self);
}

static bool lower_decisions(shrinking *self)
{
    bool any = false;
    for (unsigned i = 0; i < self->best->picks_count; i++) {
        uint32_t value = self->best->picks[i];
        while (value != 0 && (lower_to(self, i, 0) || lower_to(self, i, value / 2) ||
                              lower_to(self, i, value - 1))) {
            any = true;
            bool lower = i < self->best->picks_count && self->best->picks[i] < value;
            value = lower ? self->best->picks[i] : 0;
        }
    }
    return any;
}

void shrink(const program *what, const char *signature, record *shortest)
{
    shrinking *self = malloc(sizeof *self);
    *shortest = runner_report->record;
    self->what = what;
    self->signature = signature;
    self->best = shortest;
    self->tries = strstr(signature, ENDLESS) != NULL ? TRIES_OF_ENDLESS : TRIES_MOST;
    self->leaks = strstr(signature, "LeakSanitizer") != NULL;
    bool better = true;
    while (better && self->tries != 0) {
        better = leave_out_steps(self);
        better = lower_decisions(self) || better;
        better = leave_out_decisions(self) || better;
    }
    free(self);
}
