/* SPDX-License-Identifier: MIT */
/*
 * port_check.c: who listens where: tries ports of a host, many at once, and says what each answers.
 *
 *     port_check localhost 22,80,443
 *     port_check --at-once 500 --timeout 1 192.0.2.7 1-65535
 *
 * The hard idea: thousands of things to do, of which only so many may be under way. There is no
 * queue and no allocation: an array with one entry for each port there is says what is wanted and
 * what became of it, every completion begins the next one, and the array is sorted as it stands.
 *
 * Ctrl-C ends it: what is known by then is printed, the rest is canceled with the loop.
 */
#include <portico.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <io.h>
#define STDERR_IS_A_TERMINAL (_isatty(_fileno(stderr)) != 0)
#else
#include <unistd.h>
#define STDERR_IS_A_TERMINAL (isatty(STDERR_FILENO) != 0)
#endif

#define USAGE                                                                                      \
    "usage: port_check [flag]... HOST PORTS...\n"                                                  \
    "  PORTS          such as 22 or 80,443 or 8000-8100\n"                                         \
    "  --at-once N    connections under way at once (100)\n"                                       \
    "  --timeout S    seconds for each (3)\n"                                                      \
    "  --progress     says on stderr how far it is, though that is no terminal (no)\n"             \
    "  --help         prints this\n"                                                               \
    "exit code: 0, something is open; 1, nothing is; 2, a mistake on the command line\n"

enum { PORTS = 65536, FOUND = 0, NOTHING_FOUND = 1, USAGE_ERROR = 2 };

/* What is known of a port; besides these a PCO_E*, the reason why it is not open. */
enum { OPEN = 0, NOT_WANTED = 1, WANTED = 2, UNDER_WAY = 3 };

static struct {
    pco_loop *loop;
    pco_connection_options options;
    int states[PORTS];
    int next; /* ports below it are not WANTED any more */
    size_t wanted, done, open;
    size_t at_once, under_way;
    bool progress;
    pco_error error; /* why nothing can be said of any port */
} check = {.at_once = 100};

/* ---- Trying ---- */

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context);

/* Nothing is sent, and nothing is expected: that there is an answer is all that we want to know. */
static const pco_protocol_methods no_methods = {.size = sizeof no_methods};
static pco_protocol nobody = {&no_methods};

static void stop_with(const pco_error *error)
{
    check.error = *error;
    pco_loop_stop(check.loop);
}

/*
 * The limit of this process, or of the system, and nothing about the port: it has its turn again
 * when another one has ended, and from now on there are fewer at once.
 */
static bool try_again_later(int port, int code)
{
    bool is_ours = code == PCO_EMFILE || code == PCO_ENOBUFS || code == PCO_EAGAIN;

    if (!is_ours || check.under_way == 0) {
        return false;
    }
    check.at_once = check.under_way;
    check.states[port] = WANTED;
    if (check.next > port) {
        check.next = port;
    }
    return true;
}

static void begin(int port)
{
    pco_connection_options options = check.options;
    pco_error error;

    options.port = port;
    check.states[port] = UNDER_WAY;
    check.under_way++;
    if (pco_loop_create_connection(check.loop, &options, connected, &check.states[port], NULL,
                                   &error) != 0) {
        check.states[port] = WANTED;
        check.under_way--;
        stop_with(&error);
    }
}

static void begin_more(void)
{
    while (check.under_way < check.at_once && check.next < PORTS && check.error.code == 0) {
        int port = check.next++;

        if (check.states[port] == WANTED) {
            begin(port);
        }
    }
    if (check.under_way == 0) {
        pco_loop_stop(check.loop);
    }
}

static void note(int port, int state)
{
    check.states[port] = state;
    check.done++;
    check.open += state == OPEN;
}

/* Comes exactly once for each connection that was begun. */
static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    int port = (int)((int *)context - check.states);

    (void)protocol;
    check.under_way--;
    if (transport != NULL) {
        note(port, OPEN);
        pco_transport_close(transport);
    } else if (error->code == PCO_ECANCELED) {
        check.states[port] = WANTED; /* the loop is being freed: nothing is begun any more */
        return;
    } else if (error->code == PCO_ENONAME || error->code == PCO_ERESOLVE) {
        stop_with(error);
        return;
    } else if (!try_again_later(port, error->code)) {
        note(port, error->code);
    }
    begin_more();
}

/* ---- Saying how far it is ---- */

static void clear_progress(void)
{
    if (check.progress) {
        fprintf(stderr, "\r%60s\r", "");
    }
}

static void show_progress(void *context)
{
    (void)context;
    fprintf(stderr, "\r%zu of %zu ports, %zu open", check.done, check.wanted, check.open);
    fflush(stderr);
    pco_loop_call_later(check.loop, 0.1, show_progress, NULL, NULL);
}

/* ---- The answer ---- */

static const char *word(int state)
{
    switch (state) {
    case OPEN:
        return "open";
    case PCO_ECONNREFUSED:
        return "refused";
    default:
        return pco_strerror(state);
    }
}

static bool is_known(int state)
{
    return state == OPEN || state < 0;
}

/* Neighbours with the same answer are one line, but for those that are open. */
static int print_from(int first)
{
    int state = check.states[first];
    int last = first;
    char range[32];

    while (state != OPEN && last + 1 < PORTS && check.states[last + 1] == state) {
        last++;
    }
    if (last == first) {
        snprintf(range, sizeof range, "%d", first);
    } else {
        snprintf(range, sizeof range, "%d-%d", first, last);
    }
    printf("%-12s %s\n", range, word(state));
    return last + 1;
}

static void print_answer(void)
{
    for (int port = 1; port < PORTS;) {
        port = is_known(check.states[port]) ? print_from(port) : port + 1;
    }
}

/* ---- The command line ---- */

static void refuse(const char *what, const char *why)
{
    fprintf(stderr, "port_check: %s %s\n%s", what, why, USAGE);
    exit(USAGE_ERROR);
}

/* What follows the flag; `next` moves along argv, which ends in NULL. */
static double number(char ***next, const char *flag, double least, double most)
{
    const char *digits = **next;
    char *end = NULL;
    double value = digits != NULL ? strtod(digits, &end) : 0;

    if (digits == NULL || end == digits || *end != '\0' || !(value >= least && value <= most)) {
        refuse(flag, "needs a number, and not so small or large a one");
    }
    ++*next;
    return value;
}

/* One port of a list; leaves *digits behind it. */
static int read_port(const char **digits, const char *list)
{
    char *end = NULL;
    long port = **digits >= '0' && **digits <= '9' ? strtol(*digits, &end, 10) : 0;

    if (port < 1 || port >= PORTS) {
        refuse(list, "is no list of ports from 1 to 65535");
    }
    *digits = end;
    return (int)port;
}

/* Marks "22,80-90". */
static void read_ports(const char *list)
{
    const char *rest = list;

    do {
        int first = read_port(&rest, list);
        int last = first;

        if (*rest == '-') {
            rest++;
            last = read_port(&rest, list);
        }
        if (last < first || (*rest != ',' && *rest != '\0')) {
            refuse(list, "is no list of ports such as 22,80-90");
        }
        for (int port = first; port <= last; port++) {
            check.wanted += check.states[port] == NOT_WANTED;
            check.states[port] = WANTED;
        }
    } while (*rest++ == ',');
}

static void read_flag(const char *flag, char ***next)
{
    if (strcmp(flag, "--help") == 0) {
        printf("%s", USAGE);
        exit(EXIT_SUCCESS);
    } else if (strcmp(flag, "--at-once") == 0) {
        check.at_once = (size_t)number(next, flag, 1, PORTS);
    } else if (strcmp(flag, "--timeout") == 0) {
        check.options.connect_timeout = number(next, flag, 0.001, 1e6);
    } else if (strcmp(flag, "--progress") == 0) {
        check.progress = true;
    } else {
        refuse(flag, "is unknown");
    }
}

static void read_settings(char **argv)
{
    char **next = argv + 1;

    check.options = (pco_connection_options){
        .size = sizeof check.options, .protocol = &nobody, .connect_timeout = 3};
    check.progress = STDERR_IS_A_TERMINAL;
    for (int port = 0; port < PORTS; port++) {
        check.states[port] = NOT_WANTED;
    }
    while (*next != NULL) {
        const char *argument = *next++;

        if (argument[0] == '-') {
            read_flag(argument, &next);
        } else if (check.options.host == NULL) {
            check.options.host = argument;
        } else {
            read_ports(argument);
        }
    }
    if (check.wanted == 0) {
        refuse(check.options.host == NULL ? "HOST" : "PORTS", "is missing");
    }
}

/* ---- The program ---- */

static void interrupted(int signal_number, void *context)
{
    (void)signal_number;
    pco_loop_stop(context);
}

static void start(void *context)
{
    (void)context;
    if (check.progress) {
        show_progress(NULL);
    }
    begin_more();
}

static int run(pco_error *error)
{
    static const int signals[] = {PCO_SIGINT, PCO_SIGTERM, PCO_SIGHUP};
    int err = pco_loop_new(NULL, &check.loop, error);

    for (size_t i = 0; err == 0 && i < sizeof signals / sizeof *signals; i++) {
        err = pco_loop_add_signal_handler(check.loop, signals[i], interrupted, check.loop, error);
    }
    if (err == 0) {
        pco_loop_call_soon(check.loop, start, NULL, NULL);
        pco_loop_run_forever(check.loop);
        clear_progress();
        *error = check.error;
        err = error->code;
    }
    return err;
}

int main(int argc, char **argv)
{
    pco_error error = {0};

    (void)argc;
    read_settings(argv);

    int err = run(&error);
    print_answer();
    if (err != 0) {
        fprintf(stderr, "port_check: %s\n", error.message);
    } else if (check.done < check.wanted) {
        fprintf(stderr, "port_check: interrupted, with %zu ports to go\n",
                check.wanted - check.done);
    }
    pco_loop_free(check.loop);
    return check.open > 0 ? FOUND : NOTHING_FOUND;
}
