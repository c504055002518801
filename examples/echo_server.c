/* SPDX-License-Identifier: MIT */
/*
 * echo_server.c: sends back whatever it receives, plain or over TLS, until Ctrl-C.
 *
 *     echo_server --port 7000
 *     echo_server --host 0.0.0.0 --host :: --port 7000 --ssl cert.pem key.pem
 *
 * Copy this file to begin a server of your own: replace the three callbacks of the echo protocol
 * by yours, and keep the rest. The flags are named after the parameters of create_server, so this
 * is also the place to try what each of them does.
 */
#include <portico.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: echo_server [flag]...\n"                                                               \
    "  --host NAME                where to listen; may be repeated\n"                              \
    "                             (127.0.0.1, or ::1 with --family inet6)\n"                       \
    "  --port N                   0: one that is free (7000)\n"                                    \
    "  --family inet|inet6        of a name's addresses only these (both)\n"                       \
    "  --backlog N                clients that may wait to be accepted (100)\n"                    \
    "  --ssl CERT KEY             TLS, with these PEM files (no TLS)\n"                            \
    "  --ssl-handshake-timeout S  seconds for a handshake (60)\n"                                  \
    "  --ssl-shutdown-timeout S   seconds for the end of TLS (30)\n"                               \
    "  --reuse-address on|off     bind where old connections linger (on; not set on Windows)\n"    \
    "  --reuse-port               share the port with others that do so (off)\n"                   \
    "  --keep-alive               let the system probe idle connections (off)\n"                   \
    "  --max-connections N        at once; 0: no limit (0)\n"                                      \
    "  --backend NAME             epoll, kqueue or iocp (the best of this system)\n"               \
    "  --help                     prints this\n"

/* ---- The protocol: what happens on a connection ---- */

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    (void)self;
    pco_transport_write(transport, data, length);
}

/*
 * Flow control. A peer that sends and never reads would make the write buffer grow without end.
 * So when the buffer is over its high-water mark we stop reading, TCP then slows the peer down,
 * and we go on when enough has left. These two lines are all that bounded memory takes.
 */
static void pause_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
}

static void resume_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_resume_reading(transport);
}

/* Callbacks that are left out do what is usual: at the peer's end of file, flush and close. */
static const pco_protocol_methods echo_methods = {
    .size = sizeof echo_methods,
    .data_received = data_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

/*
 * Called once for each connection. A protocol that remembers something allocates a struct of its
 * own here, with a pco_protocol as the first member, and frees it in connection_lost; echoing
 * remembers nothing, so that one object serves all connections.
 */
static pco_protocol *make_echo(void *context)
{
    static pco_protocol echo = {&echo_methods};

    (void)context;
    return &echo;
}

/* ---- The command line, read into the options that the library takes ---- */

enum { MAX_HOSTS = 16 };

typedef struct settings {
    pco_loop_options loop;
    pco_ssl_context_options ssl; /* without a certificate_file: no TLS */
    pco_server_options server;
    const char *hosts[MAX_HOSTS];
} settings;

static void refuse(const char *flag, const char *why)
{
    fprintf(stderr, "echo_server: %s %s\n%s", flag, why, USAGE);
    exit(EXIT_FAILURE);
}

/* What follows the flag; `next` moves along argv, which ends in NULL. */
static const char *text(char ***next, const char *flag)
{
    if (**next == NULL) {
        refuse(flag, "needs a value");
    }
    return *(*next)++;
}

static double number(char ***next, const char *flag)
{
    const char *digits = text(next, flag);
    char *end = NULL;
    double value = strtod(digits, &end);

    if (end == digits || *end != '\0') {
        refuse(flag, "needs a number");
    }
    return value;
}

static int integer(char ***next, const char *flag, int least)
{
    double value = number(next, flag);

    if (!(value >= least && value <= INT_MAX) || value != (int)value) {
        refuse(flag, "needs a whole number, and not so small or large a one");
    }
    return (int)value;
}

/* One of two words: whether it is the first. */
static bool first(char ***next, const char *flag, const char *one, const char *other)
{
    const char *word = text(next, flag);

    if (strcmp(word, one) != 0 && strcmp(word, other) != 0) {
        refuse(flag, "does not know this word");
    }
    return strcmp(word, one) == 0;
}

static void read_flag(settings *set, const char *flag, char ***next)
{
    pco_server_options *server = &set->server;

    if (strcmp(flag, "--help") == 0) {
        printf("%s", USAGE);
        exit(EXIT_SUCCESS);
    } else if (strcmp(flag, "--host") == 0 && server->hosts_count < MAX_HOSTS) {
        set->hosts[server->hosts_count++] = text(next, flag);
    } else if (strcmp(flag, "--port") == 0) {
        server->port = integer(next, flag, INT_MIN);
    } else if (strcmp(flag, "--family") == 0) {
        server->family = first(next, flag, "inet", "inet6") ? PCO_AF_INET : PCO_AF_INET6;
    } else if (strcmp(flag, "--backlog") == 0) {
        server->backlog = integer(next, flag, INT_MIN);
    } else if (strcmp(flag, "--ssl") == 0) {
        set->ssl.certificate_file = text(next, flag);
        set->ssl.key_file = text(next, flag);
    } else if (strcmp(flag, "--ssl-handshake-timeout") == 0) {
        server->ssl_handshake_timeout = number(next, flag);
    } else if (strcmp(flag, "--ssl-shutdown-timeout") == 0) {
        server->ssl_shutdown_timeout = number(next, flag);
    } else if (strcmp(flag, "--reuse-address") == 0) {
        server->reuse_address = first(next, flag, "on", "off") ? PCO_ON : PCO_OFF;
    } else if (strcmp(flag, "--reuse-port") == 0) {
        server->reuse_port = PCO_ON;
    } else if (strcmp(flag, "--keep-alive") == 0) {
        server->keep_alive = PCO_ON;
    } else if (strcmp(flag, "--max-connections") == 0) {
        server->max_connections = (size_t)integer(next, flag, 0);
    } else if (strcmp(flag, "--backend") == 0) {
        set->loop.backend = text(next, flag);
    } else {
        refuse(flag, strcmp(flag, "--host") == 0 ? "is one too many" : "is unknown");
    }
}

/* An option struct begins with its own size; all that stays zero means the documented default. */
static void read_settings(settings *set, char **argv)
{
    char **next = argv + 1;

    set->loop.size = sizeof set->loop;
    set->ssl.size = sizeof set->ssl;
    set->server.size = sizeof set->server;
    set->server.protocol_factory = make_echo;
    set->server.port = 7000;

    while (*next != NULL) {
        const char *flag = *next++;
        read_flag(set, flag, &next);
    }

    if (set->server.hosts_count > 0) {
        set->server.hosts = set->hosts;
    } else {
        set->server.host = set->server.family == PCO_AF_INET6 ? "::1" : "127.0.0.1";
    }
}

/* ---- The program ---- */

/* Trouble that no call can return, such as "too many open files" while accepting. */
static void report(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)context;
    fprintf(stderr, "echo_server: %s%s%s\n", what->message, what->error != NULL ? ": " : "",
            what->error != NULL ? what->error->message : "");
}

/* With port 0 the system has chosen one: only the sockets know. */
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

int main(int argc, char **argv)
{
    settings set = {0};
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error;

    (void)argc;
    read_settings(&set, argv);

    int err = pco_loop_new(&set.loop, &loop, &error);
    if (err == 0 && set.ssl.certificate_file != NULL) {
        err = pco_ssl_context_new(&set.ssl, &set.server.ssl, &error);
    }
    if (err == 0) {
        pco_loop_set_exception_handler(loop, report, NULL);
        err = pco_loop_create_server(loop, &set.server, &server, &error);
    }
    if (err == 0) {
        /* From the loop: whoever reads them may connect, and end the program, from then on. */
        pco_loop_call_soon(loop, print_addresses, server, NULL);
        /* Until Ctrl-C, and then 5 seconds for the clients; a second Ctrl-C does not wait. */
        err = pco_server_serve_until_signal(server, 5, &error);
    }
    if (err != 0) {
        fprintf(stderr, "echo_server: %s\n", error.message);
    }

    /* All three take NULL; connections that are still there end with the loop. */
    pco_server_free(server);
    pco_ssl_context_release(set.server.ssl);
    pco_loop_free(loop);
    return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
