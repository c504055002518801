/* SPDX-License-Identifier: MIT */
/*
 * main.c: the program `swarm`.
 *
 *     swarm [--seed N] [--seeds COUNT] [--steps N] [--trace] [--picks N,N/N...] [--as-it-is]
 *     swarm --self-test
 *
 * Runs the programs of COUNT seeds from N on, each of at most so many steps. One that fails is
 * made as short as can be, and then shown, with the decisions that --picks takes. --trace shows
 * what happens in the program of a seed, and --as-it-is does not shorten. --self-test makes one
 * byte wrong, and sees whether that is found, and shown in few steps.
 */
#include "runner.h"

#define SEEDS 1000
#define STEPS 100
#define BATCH 500
#define FAILURES_MOST 8

static const char usage[] =
    "usage: swarm [--seed N] [--seeds COUNT] [--steps N] [--trace] [--picks N,N/N...] "
    "[--as-it-is] [--self-test]\n";

typedef struct options {
    uint64_t seed;
    uint64_t seeds;
    unsigned steps;
    bool trace;
    bool as_it_is;
    bool self_test;
    record *picks; /* NULL: none are given */
} options;

/* ---- Failures ---- */

static char known[FAILURES_MOST][SIGNATURE_SIZE];
static unsigned failures;

static bool is_known(const char *signature)
{
    for (unsigned i = 0; i < failures; i++) {
        if (strcmp(known[i], signature) == 0) {
            return true;
        }
    }
    return false;
}

static void print_picks(const program *what)
{
    const record *of = what->given;
    unsigned at = 0;
    printf("decisions: --seed %" PRIu64 " --picks ", what->seed);
    for (unsigned step = 0; step <= of->steps; step++) {
        fputs(step != 0 ? "/" : "", stdout);
        for (unsigned start = at; at < record_start(of, step); at++) {
            printf("%s%u", at != start ? "," : "", of->picks[at]);
        }
    }
    printf("\n");
}

static void show(const program *what)
{
    char signature[SIGNATURE_SIZE];
    program shown = *what;
    shown.trace = true;
    if (what->given != NULL) {
        print_picks(what);
    }
    runner_run(&shown, true, signature);
}

/* The program of a seed has failed, in a process that may have run others before. */
static void explain(const program *what, const char *signature, bool as_it_is)
{
    static record shortest;
    char alone[SIGNATURE_SIZE];
    program shown = *what;
    printf("seed %" PRIu64 " fails: %s\n", what->seed, signature);
    if (is_known(signature)) {
        return;
    }
    snprintf(known[failures++], SIGNATURE_SIZE, "%s", signature);
    if (runner_run(what, true, alone)) {
        printf("by itself it does not fail\n");
        return;
    }
    if (strcmp(alone, signature) != 0) {
        printf("by itself it fails otherwise: %s\n", alone);
    }
    if (!as_it_is) {
        shrink(what, alone, &shortest);
        shown.given = &shortest;
    }
    show(&shown);
}

/* ---- Many seeds ---- */

/* The whole batch ran, and then the process failed: a leak. Each program alone tells whose. */
static void look_for_leak(const options *wanted, uint64_t first, uint64_t count)
{
    char signature[SIGNATURE_SIZE];
    for (uint64_t i = 0; i < count && failures < FAILURES_MOST; i++) {
        program each = {.seed = first + i, .steps = wanted->steps};
        if (!runner_run(&each, true, signature)) {
            explain(&each, signature, wanted->as_it_is);
            return;
        }
    }
    printf("seeds %" PRIu64 " to %" PRIu64 " fail together and not alone\n", first,
           first + count - 1);
    failures++;
}

static int run_seeds(const options *wanted)
{
    char signature[SIGNATURE_SIZE];
    uint64_t failed = 0;
    uint64_t done = 0;
    while (done < wanted->seeds && failures < FAILURES_MOST) {
        uint64_t first = wanted->seed + done;
        uint64_t rest = wanted->seeds - done;
        uint64_t count = rest < BATCH ? rest : BATCH;
        if (runner_run_seeds(first, count, wanted->steps, signature)) {
            done += count;
            continue;
        }
        failed++;
        done += runner_report->done;
        if (runner_report->done == count) {
            look_for_leak(wanted, first, count);
            continue;
        }
        program what = {.seed = runner_report->seed, .steps = wanted->steps};
        explain(&what, signature, wanted->as_it_is);
        done++;
    }
    printf("%" PRIu64 " programs from seed %" PRIu64 ", %" PRIu64 " failed\n", done, wanted->seed,
           failed);
    return failed != 0;
}

/* ---- One ---- */

static int run_one(const options *wanted)
{
    char signature[SIGNATURE_SIZE];
    program what = {
        .seed = wanted->seed, .steps = wanted->steps, .given = wanted->picks, .trace = true};
    bool good = runner_run(&what, true, signature);
    printf("seed %" PRIu64 " %s\n", wanted->seed, good ? "keeps the rules" : "fails");
    return !good;
}

/* ---- The harness itself ---- */

/*
 * A server, a client, two sends and a few turns show the wrong byte. Shortening leaves out one
 * thing at a time, and may come to rest a few steps above, where two would have to go together.
 */
#define STEPS_OF_MISTAKE 10

static int self_test(const options *wanted)
{
    char signature[SIGNATURE_SIZE];
    program what = {.seed = wanted->seed, .steps = wanted->steps, .mistaken = true};
    while (runner_run(&what, false, signature)) {
        if (++what.seed == wanted->seed + wanted->seeds) {
            printf("the wrong byte was not found\n");
            return 1;
        }
    }
    unsigned found = runner_report->record.steps;
    static record shortest;
    shrink(&what, signature, &shortest);
    what.given = &shortest;
    bool repeats = !runner_run(&what, false, signature);
    unsigned left = runner_report->record.steps;
    printf("seed %" PRIu64 ": %s; %u steps, of which %u are left\n", what.seed, signature, found,
           left);
    return !(repeats && left <= STEPS_OF_MISTAKE && strstr(signature, "a byte is wrong") != NULL);
}

/* ---- Options ---- */

static bool read_number(const char *text, uint64_t *number)
{
    char *end;
    *number = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0';
}

/* A slash begins a step. */
static bool read_picks(const char *text, options *wanted)
{
    record *made = calloc(1, sizeof *made);
    wanted->picks = made;
    while (*text != '\0') {
        char *end;
        if (*text == '/' && made->steps < STEPS_MOST) {
            made->starts[made->steps++] = made->picks_count;
            text++;
        } else if (*text == ',') {
            text++;
        } else {
            unsigned long number = strtoul(text, &end, 10);
            if (end == text || made->picks_count == PICKS_MOST) {
                return false;
            }
            made->picks[made->picks_count++] = (uint32_t)number;
            text = end;
        }
    }
    return true;
}

static bool read_option(const char *name, const char *value, options *wanted)
{
    uint64_t number = 0;
    if (strcmp(name, "--picks") == 0) {
        return read_picks(value, wanted);
    }
    if (!read_number(value, &number)) {
        return false;
    }
    if (strcmp(name, "--seed") == 0) {
        wanted->seed = number;
    } else if (strcmp(name, "--seeds") == 0) {
        wanted->seeds = number;
    } else if (strcmp(name, "--steps") == 0) {
        wanted->steps = number < STEPS_MOST ? (unsigned)number : STEPS_MOST;
    } else {
        return false;
    }
    return true;
}

static bool read_options(int count, char **texts, options *wanted)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(texts[i], "--trace") == 0) {
            wanted->trace = true;
        } else if (strcmp(texts[i], "--as-it-is") == 0) {
            wanted->as_it_is = true;
        } else if (strcmp(texts[i], "--self-test") == 0) {
            wanted->self_test = true;
        } else if (i + 1 == count || !read_option(texts[i], texts[i + 1], wanted)) {
            return false;
        } else {
            i++;
        }
    }
    return true;
}

int main(int count, char **texts)
{
    options wanted = {.seed = 1, .seeds = SEEDS, .steps = STEPS};
    if (!read_options(count, texts, &wanted)) {
        fputs(usage, stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    runner_begin();
    bool one = wanted.trace || wanted.picks != NULL;
    int status = wanted.self_test ? self_test(&wanted)
                 : one            ? run_one(&wanted)
                                  : run_seeds(&wanted);
    runner_end();
    free(wanted.picks);
    return status;
}
