/* SPDX-License-Identifier: MIT */
/*
 * chat.c: a room in which everyone hears what the others say, line by line.
 *
 *     chat --port 7001           and then, several times:   nc 127.0.0.1 7001
 *     chat --port 7001 --ssl cert.pem key.pem               openssl s_client -quiet -connect ...
 *
 * The hard idea: one guest must not be able to harm the others by reading slowly. What is said to
 * a guest whose write buffer is over its high-water mark is dropped for that guest alone, who
 * hears afterwards how many lines were missed. So each guest costs at most the buffer (64 KiB),
 * and nobody waits for anybody. (The other two answers to a slow reader are to disconnect it, or,
 * as in echo_server.c, to stop reading from those who talk; a room is no place for the latter.)
 */
#include <portico.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: chat [flag]...\n"                                                                      \
    "  --host NAME      where to listen (127.0.0.1)\n"                                             \
    "  --port N         0: one that is free (7001)\n"                                              \
    "  --ssl CERT KEY   TLS, with these PEM files (no TLS)\n"                                      \
    "  --help           prints this\n"

enum { LINE_LIMIT = 512 }; /* bytes of a line; who sends a longer one has to leave */

typedef struct guest {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    pco_transport *transport;
    struct guest *next; /* the room is a ring of guests, closed by `room` itself */
    struct guest *previous;
    unsigned number;
    bool behind;     /* between pause_writing and resume_writing */
    unsigned missed; /* lines that were dropped meanwhile */
    size_t length;   /* of the line that has not ended yet */
    char line[LINE_LIMIT];
} guest;

static guest room = {.next = &room, .previous = &room};
static unsigned last_number;

/* ---- Talking ---- */

static void tell(guest *to, const char *text, size_t length)
{
    if (to->behind) {
        to->missed++;
    } else {
        pco_transport_write(to->transport, text, length);
    }
}

/*
 * To all but one. It is safe to walk the ring while writing: connection_lost never runs inside a
 * call that we make, so nobody leaves the ring meanwhile.
 */
static void tell_others(const guest *from, const char *text, size_t length)
{
    for (guest *to = room.next; to != &room; to = to->next) {
        if (to != from) {
            tell(to, text, length);
        }
    }
}

static void announce(const guest *from, const char *format, ...)
{
    char text[LINE_LIMIT + 64];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof text) {
        tell_others(from, text, (size_t)length);
    }
}

/* What one guest says appears on the terminals of others: no control characters, no tricks. */
static void say(guest *self)
{
    char clean[LINE_LIMIT];
    int length = 0;

    for (size_t i = 0; i < self->length; i++) {
        if ((unsigned char)self->line[i] >= ' ' && self->line[i] != 127) {
            clean[length++] = self->line[i];
        }
    }
    self->length = 0;
    if (length > 0) {
        announce(self, "guest %u: %.*s\n", self->number, length, clean);
    }
}

/* ---- The protocol ---- */

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    guest *self = (guest *)protocol;
    char welcome[64];

    self->transport = transport;
    self->number = ++last_number;
    int length = snprintf(welcome, sizeof welcome, "* welcome, you are guest %u\n", self->number);
    tell(self, welcome, (size_t)length);

    self->next = &room;
    self->previous = room.previous;
    room.previous->next = self;
    room.previous = self;
    announce(self, "* guest %u has come\n", self->number);
}

/* Data comes in pieces of any size: a line may take several, and a piece may hold many lines. */
static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    guest *self = (guest *)protocol;
    const char *bytes = data;

    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            say(self);
        } else if (self->length < sizeof self->line) {
            self->line[self->length++] = bytes[i];
        } else {
            static const char sorry[] = "* that line was too long\n";
            pco_transport_write(transport, sorry, sizeof sorry - 1);
            pco_transport_close(transport);
            return;
        }
    }
}

static void pause_writing(pco_protocol *protocol, pco_transport *transport)
{
    (void)transport;
    ((guest *)protocol)->behind = true;
}

static void resume_writing(pco_protocol *protocol, pco_transport *transport)
{
    guest *self = (guest *)protocol;
    char text[64];

    (void)transport;
    self->behind = false;
    if (self->missed > 0) {
        int length = snprintf(text, sizeof text, "* you missed %u lines\n", self->missed);
        self->missed = 0;
        tell(self, text, (size_t)length);
    }
}

static void shutting_down(pco_protocol *protocol, pco_transport *transport)
{
    static const char farewell[] = "* the room closes\n";

    tell((guest *)protocol, farewell, sizeof farewell - 1);
    pco_transport_close(transport);
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    guest *self = (guest *)protocol;

    (void)transport;
    self->previous->next = self->next;
    self->next->previous = self->previous;
    announce(self, "* guest %u has gone%s%s\n", self->number, error != NULL ? ": " : "",
             error != NULL ? pco_strerror(error->code) : "");
    free(self);
}

static const pco_protocol_methods chat_methods = {
    .size = sizeof chat_methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = connection_lost,
    .shutting_down = shutting_down,
};

static pco_protocol *make_guest(void *context)
{
    guest *self = calloc(1, sizeof *self);

    (void)context;
    if (self == NULL) {
        return NULL;
    }
    self->protocol.methods = &chat_methods;
    return &self->protocol;
}

/* ---- The program, as in echo_server.c ---- */

static void print_addresses(void *context)
{
    const pco_server *server = context;

    for (size_t i = 0; i < pco_server_get_socket_count(server); i++) {
        pco_address address;
        char name[PCO_ADDRESS_TEXT_SIZE];

        if (pco_server_get_sockname(server, i, &address) == 0 &&
            pco_address_format(&address, name, sizeof name) == 0) {
            printf("listening on %s\n", name);
        }
    }
    fflush(stdout);
}

/* Reads a number from 0 to `most`. */
static bool read_number(const char *digits, double most, double *number)
{
    char *end = NULL;

    *number = strtod(digits, &end);
    return end != digits && *end == '\0' && *number >= 0 && *number <= most;
}

static bool asks_for_help(char **argv)
{
    for (char **next = argv + 1; *next != NULL; next++) {
        if (strcmp(*next, "--help") == 0) {
            return true;
        }
    }
    return false;
}

/* Every other flag has one value, except --ssl, which has two. */
static bool read_flags(char **argv, pco_server_options *server, pco_ssl_context_options *ssl)
{
    char **next = argv + 1;
    double port = server->port;

    for (; next[0] != NULL && next[1] != NULL; next += 2) {
        const char *flag = next[0], *value = next[1];

        if (strcmp(flag, "--host") == 0) {
            server->host = value;
        } else if (strcmp(flag, "--port") == 0 && read_number(value, 65535, &port)) {
            server->port = (int)port;
        } else if (strcmp(flag, "--ssl") == 0 && next[2] != NULL) {
            ssl->certificate_file = value;
            ssl->key_file = next[2];
            next++;
        } else {
            return false;
        }
    }
    return *next == NULL;
}

int main(int argc, char **argv)
{
    pco_ssl_context_options ssl = {.size = sizeof ssl};
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_guest,
                                  .host = "127.0.0.1",
                                  .port = 7001,
                                  /* so that who has to leave hears why, whatever it sent us */
                                  .lingering_close = PCO_ON};
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error;

    (void)argc;
    if (asks_for_help(argv)) {
        printf("%s", USAGE);
        return EXIT_SUCCESS;
    }
    if (!read_flags(argv, &options, &ssl)) {
        fprintf(stderr, "%s", USAGE);
        return EXIT_FAILURE;
    }

    int err = pco_loop_new(NULL, &loop, &error);
    if (err == 0 && ssl.certificate_file != NULL) {
        err = pco_ssl_context_new(&ssl, &options.ssl, &error);
    }
    if (err == 0) {
        err = pco_loop_create_server(loop, &options, &server, &error);
    }
    if (err == 0) {
        pco_loop_call_soon(loop, print_addresses, server, NULL);
        err = pco_server_serve_until_signal(server, 5, &error);
    }
    if (err != 0) {
        fprintf(stderr, "chat: %s\n", error.message);
    }

    pco_server_free(server);
    pco_ssl_context_release(options.ssl);
    pco_loop_free(loop);
    return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
