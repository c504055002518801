/* SPDX-License-Identifier: MIT */
/*
 * helper.c: a program and its helper, a process of its own that may be slow, or crash, without harm
 * to the first. Each asks the other, whenever it likes: the program has numbers taken apart, and
 * the helper asks from time to time whether it is still to go on.
 *
 *     helper 91 97 1000000007
 *     helper --most 1 1000000007       no longer than one question takes
 *
 * The hard idea: requests in both directions over one connection. Each end numbers its own; an
 * answer says which question it is for. So there is no order to keep, nobody waits for anybody, and
 * when the connection ends every question that is still open has an answer all the same: that there
 * will be none. That part, the "conversation", is what a program may take as it is.
 *
 * A line is "? 7 words" (question 7 of the one who sends it) or "! 7 words" (its answer).
 *
 * The helper is this program, started again with the name by which it finds the first one; that
 * both are the same user's the library has seen to.
 */
#include <portico.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <process.h>
#else
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
#endif

#define USAGE                                                                                      \
    "usage: helper [flag]... NUMBER...\n"                                                          \
    "  NUMBER         what is taken apart, below 2^63\n"                                           \
    "  --most N       how often a number's work may ask to go on (no limit)\n"                     \
    "  --help         prints this\n"                                                               \
    "exit code: 0; 1, there is trouble; 2, a mistake on the command line\n"

enum { LINE_SIZE = 512, OPEN_QUESTIONS = 64, USAGE_ERROR = 2 };

/* ---- Processes, which each system starts in its own way ---- */

#ifdef _WIN32
typedef intptr_t process;

static bool start_process(const char *path, const char *name, process *started)
{
    const char *const arguments[] = {"helper", "--worker", name, NULL};

    *started = _spawnv(_P_NOWAIT, path, arguments);
    return *started != -1;
}

static void wait_for_process(process started)
{
    _cwait(NULL, started, 0);
}

static int own_number(void)
{
    return _getpid();
}
#else
typedef pid_t process;

static bool start_process(const char *path, const char *name, process *started)
{
    char worker[] = "--worker";
    char own[] = "helper";
    char copy[LINE_SIZE];

    snprintf(copy, sizeof copy, "%s", name);
    char *arguments[] = {own, worker, copy, NULL};
    return posix_spawnp(started, path, NULL, NULL, arguments, environ) == 0;
}

static void wait_for_process(process started)
{
    waitpid(started, NULL, 0);
}

static int own_number(void)
{
    return (int)getpid();
}
#endif

/* ---- A conversation ---- */

typedef struct conversation conversation;

/* An answer has come; NULL: the other end has gone, and there will be none. */
typedef void (*answered)(const char *answer, void *context);

struct conversation {
    pco_protocol protocol;
    pco_transport *transport; /* NULL before and after */
    struct {
        answered callback; /* NULL: free */
        void *context;
    } open[OPEN_QUESTIONS]; /* the number of a question is its place */
    char line[LINE_SIZE];
    size_t length;

    /* Yours: it begins; the other end asks, which `reply` answers now or later; it has ended. */
    void (*begun)(conversation *self);
    void (*asked)(conversation *self, unsigned number, const char *question);
    void (*ended)(conversation *self, const pco_error *error);
};

/* Sends "? 7 words". */
static bool send_line(conversation *self, char kind, unsigned number, const char *words)
{
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof line, "%c %u %s\n", kind, number, words);

    return self->transport != NULL && length > 0 && (size_t)length < sizeof line &&
           pco_transport_write(self->transport, line, (size_t)length) == 0;
}

/* `callback` is called once, if this returns true. */
static bool ask(conversation *self, const char *question, answered callback, void *context)
{
    for (unsigned number = 0; number < OPEN_QUESTIONS; number++) {
        if (self->open[number].callback == NULL) {
            if (!send_line(self, '?', number, question)) {
                return false;
            }
            self->open[number].callback = callback;
            self->open[number].context = context;
            return true;
        }
    }
    return false;
}

static void reply(conversation *self, unsigned number, const char *answer)
{
    send_line(self, '!', number, answer); /* if the other end has gone nobody waits for it */
}

static void close_question(conversation *self, unsigned number, const char *answer)
{
    answered callback = self->open[number].callback;

    self->open[number].callback = NULL;
    callback(answer, self->open[number].context);
}

/* Returns whether it is a line of ours. */
static bool understand(conversation *self, const char *line)
{
    char kind;
    unsigned number;
    int words = 0;

    if (sscanf(line, "%c %u %n", &kind, &number, &words) != 2 || words == 0) {
        return false;
    }
    if (kind == '?') {
        self->asked(self, number, line + words);
        return true;
    }
    if (kind != '!' || number >= OPEN_QUESTIONS || self->open[number].callback == NULL) {
        return false;
    }
    close_question(self, number, line + words);
    return true;
}

static void conversation_made(pco_protocol *protocol, pco_transport *transport)
{
    conversation *self = (conversation *)protocol;

    self->transport = transport;
    if (self->begun != NULL) {
        self->begun(self);
    }
}

static void conversation_data(pco_protocol *protocol, pco_transport *transport, const void *data,
                              size_t length)
{
    conversation *self = (conversation *)protocol;
    const char *bytes = data;

    for (size_t i = 0; i < length && !pco_transport_is_closing(transport); i++) {
        if (bytes[i] != '\n' && self->length < sizeof self->line - 1) {
            self->line[self->length++] = bytes[i];
            continue;
        }
        self->line[self->length] = '\0';
        self->length = 0;
        if (bytes[i] != '\n' || !understand(self, self->line)) {
            pco_transport_abort(transport); /* what we do not understand we do not answer */
        }
    }
}

static void conversation_lost(pco_protocol *protocol, pco_transport *transport,
                              const pco_error *error)
{
    conversation *self = (conversation *)protocol;

    (void)transport;
    self->transport = NULL;
    for (unsigned number = 0; number < OPEN_QUESTIONS; number++) {
        if (self->open[number].callback != NULL) {
            close_question(self, number, NULL);
        }
    }
    self->ended(self, error);
}

static const pco_protocol_methods conversation_methods = {.size = sizeof conversation_methods,
                                                          .connection_made = conversation_made,
                                                          .data_received = conversation_data,
                                                          .connection_lost = conversation_lost};

/* ---- What both have ---- */

static pco_loop *loop;
static int exit_code;

static void fail(const char *what)
{
    fprintf(stderr, "helper: %s\n", what);
    exit_code = EXIT_FAILURE;
    if (loop != NULL) {
        pco_loop_stop(loop);
    }
}

/* ---- The helper ---- */

/* Divisions between two questions whether to go on. */
#define STEP 5000

/* A number that is being taken apart: by trying, which is the slow way. */
typedef struct work {
    unsigned question;
    unsigned long long number;
    unsigned long long divisor;
} work;

static void work_on(work *self);
static void may_go_on(const char *answer, void *context);

static conversation to_program;

static void end_work(work *self, const char *answer)
{
    reply(&to_program, self->question, answer);
    free(self);
}

static void may_go_on(const char *answer, void *context)
{
    work *self = context;

    if (answer != NULL && strcmp(answer, "yes") == 0) {
        work_on(self);
    } else {
        end_work(self, "given up");
    }
}

static void work_on(work *self)
{
    char words[LINE_SIZE];

    for (int i = 0; i < STEP; i++, self->divisor += self->divisor == 2 ? 1 : 2) {
        if (self->divisor > self->number / self->divisor) {
            end_work(self, self->number > 1 ? "prime" : "neither prime nor a product");
            return;
        }
        if (self->number % self->divisor == 0) {
            snprintf(words, sizeof words, "%llu times %llu", self->divisor,
                     self->number / self->divisor);
            end_work(self, words);
            return;
        }
    }
    snprintf(words, sizeof words, "go on with %llu", self->number);
    if (!ask(&to_program, words, may_go_on, self)) {
        end_work(self, "given up");
    }
}

static void program_asks(conversation *self, unsigned number, const char *question)
{
    work *begun = calloc(1, sizeof *begun);

    if (begun == NULL || sscanf(question, "take apart %llu", &begun->number) != 1) {
        free(begun);
        reply(self, number, "not understood");
        return;
    }
    begun->question = number;
    begun->divisor = 2;
    work_on(begun);
}

/* The program has ended, and so does its helper: it has nobody to work for. */
static void program_has_gone(conversation *self, const pco_error *error)
{
    (void)self;
    (void)error;
    pco_loop_stop(loop);
}

static conversation to_program = {
    .protocol = {&conversation_methods}, .asked = program_asks, .ended = program_has_gone};

static void found_program(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                          void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    if (error != NULL && error->code != PCO_ECANCELED) {
        fail(error->message);
    }
}

static int begin_as_helper(const char *name, pco_error *error)
{
    pco_connection_options options = {
        .size = sizeof options, .protocol = &to_program.protocol, .connect_timeout = 10};

    return pco_loop_create_local_connection(loop, name, &options, NULL, found_program, NULL, NULL,
                                            error);
}

/* ---- The program ---- */

/* A helper that has not come by then will not. */
#define PATIENCE 30.0

typedef struct task {
    unsigned long long number;
    unsigned long asked; /* how often it was to go on */
} task;

static struct {
    pco_server *server;
    task *tasks;
    size_t count, done;
    unsigned long most;
    bool begun;
    bool finished;
} program = {.most = ~0ul};

static void hand_out(conversation *self);

static conversation to_helper;

static void task_is_done(const char *answer, void *context)
{
    const task *self = context;

    printf("%llu: %s\n", self->number, answer != NULL ? answer : "no answer");
    program.done++;
    hand_out(&to_helper);
}

/* Asks as many questions as may be open; the others follow as answers come. */
static void hand_out(conversation *self)
{
    static size_t next;
    char words[LINE_SIZE];

    while (next < program.count && next - program.done < OPEN_QUESTIONS) {
        task *given = &program.tasks[next];

        snprintf(words, sizeof words, "take apart %llu", given->number);
        if (!ask(self, words, task_is_done, given)) {
            return;
        }
        next++;
    }
    if (program.done == program.count && self->transport != NULL) {
        program.finished = true;
        pco_transport_close(self->transport);
    }
}

static void helper_is_here(conversation *self)
{
    program.begun = true;
    pco_server_close(program.server); /* it is the only one that we expect */
    hand_out(self);
}

static void helper_asks(conversation *self, unsigned number, const char *question)
{
    unsigned long long about = 0;
    bool yes = false;

    if (sscanf(question, "go on with %llu", &about) == 1) {
        for (size_t i = 0; i < program.count && !yes; i++) {
            if (program.tasks[i].number == about) {
                yes = program.tasks[i].asked++ < program.most;
            }
        }
    }
    reply(self, number, yes ? "yes" : "no");
}

static void helper_has_gone(conversation *self, const pco_error *error)
{
    (void)self;
    if (!program.finished) {
        fail(error != NULL ? error->message : "the helper has ended before its time");
    }
    pco_loop_stop(loop);
}

static conversation to_helper = {.protocol = {&conversation_methods},
                                 .begun = helper_is_here,
                                 .asked = helper_asks,
                                 .ended = helper_has_gone};

static pco_protocol *make_conversation(void *context)
{
    (void)context;
    return program.begun ? NULL : &to_helper.protocol; /* NULL refuses a second one */
}

static void look_for_helper(void *context)
{
    (void)context;
    if (!program.begun) {
        fail("the helper has not come");
    }
}

static int begin_as_program(const char *path, process *started, pco_error *error)
{
    pco_server_options options = {.size = sizeof options, .protocol_factory = make_conversation};
    char name[64];

    snprintf(name, sizeof name, "com.example.helper.%d", own_number());
    int err = pco_loop_create_local_server(loop, name, &options, NULL, &program.server, error);
    if (err == 0 && !start_process(path, name, started)) {
        snprintf(error->message, sizeof error->message, "%.200s cannot be started", path);
        err = PCO_ENOENT;
    }
    return err == 0 ? pco_loop_call_later(loop, PATIENCE, look_for_helper, NULL, NULL) : err;
}

/* ---- The command line ---- */

static void refuse(const char *what, const char *why)
{
    fprintf(stderr, "helper: %s %s\n%s", what, why, USAGE);
    exit(USAGE_ERROR);
}

static unsigned long long read_number(const char *digits)
{
    unsigned long long number = 0;

    if (digits == NULL || digits[0] == '\0' || strspn(digits, "0123456789") != strlen(digits) ||
        strlen(digits) > 18) {
        refuse(digits == NULL ? "a number" : digits, "is no number, or too large a one");
    }
    sscanf(digits, "%llu", &number);
    return number;
}

/* `arguments` end in NULL. */
static void read_tasks(char **arguments)
{
    for (; *arguments != NULL; arguments++) {
        if (strcmp(*arguments, "--help") == 0) {
            printf("%s", USAGE);
            exit(EXIT_SUCCESS);
        } else if (strcmp(*arguments, "--most") == 0) {
            program.most = (unsigned long)read_number(*++arguments);
        } else if ((*arguments)[0] == '-') {
            refuse(*arguments, "is unknown");
        } else {
            program.tasks[program.count++].number = read_number(*arguments);
        }
    }
    if (program.count == 0) {
        refuse("NUMBER", "is missing");
    }
}

static void interrupted(int signal_number, void *context)
{
    (void)signal_number;
    (void)context;
    fail("interrupted");
}

static int run(const char *path, const char *name, process *started, pco_error *error)
{
    int err = pco_loop_new(NULL, &loop, error);

    if (err == 0) {
        err = pco_loop_add_signal_handler(loop, PCO_SIGINT, interrupted, NULL, error);
    }
    if (err == 0) {
        err = name != NULL ? begin_as_helper(name, error) : begin_as_program(path, started, error);
    }
    if (err == 0) {
        pco_loop_run_forever(loop);
    }
    return err;
}

int main(int argc, char **argv)
{
    bool is_helper = argc == 3 && strcmp(argv[1], "--worker") == 0;
    process started = -1;
    pco_error error;

    program.tasks = calloc((size_t)argc + 1, sizeof *program.tasks);
    if (program.tasks == NULL) {
        return EXIT_FAILURE;
    }
    if (!is_helper) {
        read_tasks(argv + 1);
    }
    if (run(argv[0], is_helper ? argv[2] : NULL, &started, &error) != 0) {
        fail(error.message);
    }
    pco_server_free(program.server);
    pco_loop_free(loop);
    if (started != -1) {
        wait_for_process(started); /* it ends when it sees that we have gone */
    }
    free(program.tasks);
    return exit_code;
}
