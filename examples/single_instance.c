/* SPDX-License-Identifier: MIT */
/*
 * single_instance.c: what a desktop program does when it is started a second time: it hands its
 * arguments to the first one, and ends.
 *
 *     single_instance letter.txt       the first: stays, and would show the letter in a window
 *     single_instance photo.jpg        the second: the photo is shown by the first
 *     single_instance --quit           the first ends, if there is one
 *
 * The hard idea: who is first is decided by pco_loop_create_local_server alone, and everything else
 * may change between two calls. The first may be about to listen, or about to end, when the second
 * wants to talk to it. So a start is tried anew, from the beginning, until it has been either: the
 * first one, or the second one whose arguments have certainly arrived.
 *
 * A message is texts with a NUL behind each: how many follow, the current folder, which relative
 * paths count from, and the arguments. The answer is one byte.
 */
#include <portico.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <direct.h>
#define get_folder _getcwd
#else
#include <unistd.h>
#define get_folder getcwd
#endif

#define USAGE                                                                                      \
    "usage: single_instance [flag]... [ARGUMENT]...\n"                                             \
    "  ARGUMENT       what the first one shows\n"                                                  \
    "  --name NAME    what it is called (com.example.single_instance)\n"                           \
    "  --quit         ends the first one\n"                                                        \
    "  --help         prints this\n"                                                               \
    "exit code: 0; 1, there is trouble; 2, a mistake on the command line\n"

enum { MESSAGE_SIZE = 65536, TRIES = 200, USAGE_ERROR = 2 };
#define PAUSE 0.05

static struct {
    const char *name;
    pco_loop *loop;
    pco_server *server; /* of the first */
    unsigned tries;
    bool quit;
    char message[MESSAGE_SIZE]; /* what this start has to say */
    size_t length;
    bool arrived; /* the first one has said so */
    int exit_code;
} app = {.name = "com.example.single_instance"};

static void fail(const char *what)
{
    fprintf(stderr, "single_instance: %s\n", what);
    app.exit_code = EXIT_FAILURE;
    pco_loop_stop(app.loop);
}

/* ---- Messages ---- */

static void add_text(const char *text)
{
    size_t size = strlen(text) + 1;

    if (size > sizeof app.message - app.length) {
        fprintf(stderr, "single_instance: so many arguments do not fit into a message\n");
        exit(USAGE_ERROR);
    }
    memcpy(app.message + app.length, text, size);
    app.length += size;
}

/* How many texts are in a message; 0 as long as it is not whole. */
static unsigned count_texts(const char *message, size_t length)
{
    size_t found = 0;

    for (size_t i = 0; i < length; i++) {
        found += message[i] == '\0';
    }
    unsigned long announced = found > 0 ? strtoul(message, NULL, 10) : 0;
    return found > 0 && found - 1 >= announced ? (unsigned)announced : 0;
}

static const char *next_text(const char *text)
{
    return text + strlen(text) + 1;
}

/* What a window would come to the front for. */
static void show(const char *message, unsigned texts)
{
    const char *folder = next_text(message);
    const char *text = folder;

    for (unsigned i = 1; i < texts; i++) {
        text = next_text(text);
        if (strcmp(text, "--quit") == 0) {
            pco_loop_stop(app.loop);
        } else {
            printf("show %s (from %s)\n", text, folder);
        }
    }
    fflush(stdout);
}

/* ---- The first one ---- */

/* Another one, which has something to say. */
typedef struct visitor {
    pco_protocol protocol;
    size_t length;
    char message[MESSAGE_SIZE];
} visitor;

static void visitor_says(pco_protocol *self, pco_transport *transport, const void *data,
                         size_t length)
{
    visitor *other = (visitor *)self;

    if (length > sizeof other->message - other->length) {
        pco_transport_abort(transport); /* no message of ours is so long */
        return;
    }
    memcpy(other->message + other->length, data, length);
    other->length += length;

    unsigned texts = count_texts(other->message, other->length);
    if (texts != 0) {
        show(other->message, texts);
        pco_transport_write(transport, ".", 1);
        pco_transport_close(transport);
    }
}

static void visitor_leaves(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)transport;
    (void)error;
    free(self);
}

static const pco_protocol_methods visitor_methods = {.size = sizeof visitor_methods,
                                                     .data_received = visitor_says,
                                                     .connection_lost = visitor_leaves};

static pco_protocol *make_visitor(void *context)
{
    visitor *made = calloc(1, sizeof *made);

    (void)context;
    if (made == NULL) {
        return NULL; /* refuses the connection */
    }
    made->protocol.methods = &visitor_methods;
    return &made->protocol;
}

/* ---- The second one ---- */

static void start(void *context);

static void start_again(void)
{
    if (++app.tries == TRIES) {
        fail("another one has the name, and does not answer");
    } else if (pco_loop_call_later(app.loop, PAUSE, start, NULL, NULL) != 0) {
        fail("out of memory");
    }
}

static void say(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, app.message, app.length);
}

static void hear(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)self;
    (void)data;
    app.arrived = length > 0;
    pco_transport_close(transport);
}

static void parted(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)self;
    (void)transport;
    (void)error;
    if (app.arrived) {
        pco_loop_stop(app.loop);
    } else {
        start_again(); /* it has ended before it heard of us */
    }
}

static const pco_protocol_methods second_methods = {.size = sizeof second_methods,
                                                    .connection_made = say,
                                                    .data_received = hear,
                                                    .connection_lost = parted};
static pco_protocol second = {&second_methods};

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    if (error == NULL || error->code == PCO_ECANCELED) {
        return; /* canceled: the loop is being freed */
    }
    if (error->code != PCO_ECONNREFUSED) {
        fail(error->message); /* among others: it is not this user's */
    } else if (app.quit) {
        pco_loop_stop(app.loop); /* there is nobody to end */
    } else {
        start_again();
    }
}

static void talk_to_first(void)
{
    pco_connection_options options = {
        .size = sizeof options, .protocol = &second, .connect_timeout = 10};
    pco_error error;

    if (pco_loop_create_local_connection(app.loop, app.name, &options, NULL, connected, NULL, NULL,
                                         &error) != 0) {
        fail(error.message);
    }
}

/* ---- Who am I? ---- */

static void start(void *context)
{
    pco_server_options options = {.size = sizeof options, .protocol_factory = make_visitor};
    pco_error error;

    (void)context;
    if (app.quit) {
        talk_to_first();
        return;
    }
    int err = pco_loop_create_local_server(app.loop, app.name, &options, NULL, &app.server, &error);
    if (err == 0) {
        printf("the first one\n");
        show(app.message, count_texts(app.message, app.length));
    } else if (err == PCO_EADDRINUSE) {
        talk_to_first();
    } else {
        fail(error.message);
    }
}

static void interrupted(int signal_number, void *context)
{
    (void)signal_number;
    (void)context;
    pco_loop_stop(app.loop);
}

/* Reads the flags; returns where the arguments begin. */
static int read_flags(int argc, char **argv)
{
    int next = 1;

    while (next < argc && strncmp(argv[next], "--", 2) == 0) {
        const char *flag = argv[next++];

        if (strcmp(flag, "--help") == 0) {
            printf("%s", USAGE);
            exit(EXIT_SUCCESS);
        } else if (strcmp(flag, "--quit") == 0) {
            app.quit = true;
        } else if (strcmp(flag, "--name") == 0 && next < argc) {
            app.name = argv[next++];
        } else {
            fprintf(stderr, "single_instance: %s is unknown, or needs a name\n%s", flag, USAGE);
            exit(USAGE_ERROR);
        }
    }
    return next;
}

static void compose_message(int count, char **arguments)
{
    char folder[4096];
    char number[16];

    snprintf(number, sizeof number, "%d", 1 + count + (app.quit ? 1 : 0));
    add_text(number);
    add_text(get_folder(folder, sizeof folder) != NULL ? folder : "");
    for (int i = 0; i < count; i++) {
        add_text(arguments[i]);
    }
    if (app.quit) {
        add_text("--quit");
    }
}

int main(int argc, char **argv)
{
    static const int signals[] = {PCO_SIGINT, PCO_SIGTERM, PCO_SIGHUP};
    pco_error error;
    int first_argument = read_flags(argc, argv);

    compose_message(argc - first_argument, argv + first_argument);
    int err = pco_loop_new(NULL, &app.loop, &error);
    for (size_t i = 0; err == 0 && i < sizeof signals / sizeof *signals; i++) {
        err = pco_loop_add_signal_handler(app.loop, signals[i], interrupted, NULL, &error);
    }
    if (err == 0) {
        err = pco_loop_call_soon(app.loop, start, NULL, NULL);
    }
    if (err == 0) {
        pco_loop_run_forever(app.loop);
    } else {
        fprintf(stderr, "single_instance: %s\n", error.message);
        app.exit_code = EXIT_FAILURE;
    }
    pco_server_free(app.server);
    pco_loop_free(app.loop);
    return app.exit_code;
}
