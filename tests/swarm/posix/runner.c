/* SPDX-License-Identifier: MIT */
/* runner.c: see runner.h. */
#define _GNU_SOURCE 1 /* for MAP_ANON */

#include "runner.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the processor's time, for one program: endless loops end here. */
#define SECONDS_MOST 30

/* One program in so many runs twice, and must do the same twice. */
#define TWICE_EVERY 64

report *runner_report;
static FILE *said; /* what the last process wrote to stderr */

static void need(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(2);
    }
}

void runner_begin(void)
{
    void *shared =
        mmap(NULL, sizeof *runner_report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    need(shared != MAP_FAILED, "mmap");
    runner_report = shared;
    said = tmpfile();
    need(said != NULL, "tmpfile");
    swarm_begin();
}

void runner_end(void)
{
    swarm_end();
    fclose(said);
    munmap(runner_report, sizeof *runner_report);
}

/*
 * What the address sanitizer asks for. Programs are short and many: little of what they freed needs
 * to be kept, and new memory is what costs most.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8:malloc_context_size=12";
}

/* ---- In the process that runs programs ---- */

static int lowest_free_descriptor(void)
{
    int lowest = dup(STDERR_FILENO);
    close(lowest);
    return lowest;
}

static void give_up(const program *what, const char *sentence)
{
    fprintf(stderr, "broken rule: %s\n(seed %" PRIu64 ")\n", sentence, what->seed);
    abort();
}

static void limit_time(void)
{
    struct itimerval limit = {.it_value = {.tv_sec = SECONDS_MOST}};
    setitimer(ITIMER_PROF, &limit, NULL);
}

static void run_here(const program *what)
{
    int before = lowest_free_descriptor();
    limit_time();
    runner_report->seed = what->seed;
    swarm_run(what, &runner_report->record);
    if (lowest_free_descriptor() != before) {
        give_up(what, "a descriptor was not closed");
    }
}

static void run_twice(const program *what)
{
    run_here(what);
    uint64_t hash = runner_report->record.hash;
    run_here(what);
    if (runner_report->record.hash != hash) {
        give_up(what, "a seed does not repeat");
    }
}

/* ---- Processes ---- */

/* Numbers and addresses differ from run to run; those of lines of code, behind a colon, do not. */
static size_t copy_without_numbers(const char *line, char *to)
{
    size_t length = 0;
    bool in_number = false;
    for (const char *c = line; *c != '\0' && *c != '\n' && length < SIGNATURE_SIZE - 1; c++) {
        bool joins = isxdigit((unsigned char)*c) || *c == 'x';
        bool of_code = c != line && (c[-1] == ':' || (!in_number && isdigit((unsigned char)c[-1])));
        in_number = (isdigit((unsigned char)*c) && !of_code) || (in_number && joins);
        if (!in_number && *c != '=') {
            to[length++] = *c;
        }
    }
    to[length] = '\0';
    return length;
}

static void read_signature(int status, char *signature)
{
    char line[400];
    size_t length = 0;
    signature[0] = '\0';
    rewind(said);
    while (length == 0 && fgets(line, sizeof line, said) != NULL) {
        length = copy_without_numbers(line, signature);
    }
    if (length == 0) {
        int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        snprintf(signature, SIGNATURE_SIZE, "%s by signal %d",
                 number == SIGPROF ? ENDLESS ", ended" : "ended", number);
    }
}

/* Becomes the process that runs programs; false in the parent. */
static bool begin_process(bool trace, pid_t *process)
{
    fflush(NULL);
    need(ftruncate(fileno(said), 0) == 0, "ftruncate");
    rewind(said);
    *process = fork();
    need(*process >= 0, "fork");
    if (*process == 0 && !trace) {
        dup2(fileno(said), STDERR_FILENO);
    }
    return *process == 0;
}

static bool end_process(pid_t process, char *signature)
{
    int status = 0;
    need(waitpid(process, &status, 0) == process, "waitpid");
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!good) {
        read_signature(status, signature);
    }
    return good;
}

/* So that the leak sanitizer has its say, which takes longer than most programs. */
static void leave(void)
{
    swarm_end();
    exit(0);
}

bool runner_run(const program *what, bool looks_for_leaks, char *signature)
{
    pid_t process;
    if (begin_process(what->trace, &process)) {
        run_here(what);
        if (!looks_for_leaks) {
            _exit(0);
        }
        leave();
    }
    return end_process(process, signature);
}

bool runner_run_seeds(uint64_t first, uint64_t count, unsigned steps, char *signature)
{
    pid_t process;
    runner_report->done = 0;
    if (begin_process(false, &process)) {
        for (uint64_t i = 0; i < count; i++) {
            program each = {.seed = first + i, .steps = steps};
            if (each.seed % TWICE_EVERY == 0) {
                run_twice(&each);
            } else {
                run_here(&each);
            }
            runner_report->done++;
        }
        leave();
    }
    return end_process(process, signature);
}
