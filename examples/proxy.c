/* SPDX-License-Identifier: MIT */
/*
 * proxy.c: passes connections on to another server, both ways, until Ctrl-C.
 *
 *     proxy --port 8080 --to example.org 80
 *     proxy --port 8080 --to-path /run/daemon.sock                    to a UNIX socket
 *     proxy --path /run/web.sock --to example.org 80                  from one
 *     proxy --port 8443 --to 127.0.0.1 8080 --ssl cert.pem key.pem    TLS ends here
 *     proxy --port 8080 --to example.org 443 --tls                    TLS begins here
 *
 * The hard idea: two connections that are to look like one. What holds for one of them has to hold
 * for the other, and neither may cost more memory because the other one is slow:
 *
 *   flow    a side is read only while the other one takes what it brings: set_reading()
 *   ends    a peer that sends no more is passed on as that, and its own answers still come back
 *           (half-close): eof_received(). A reset is passed on as a reset: connection_lost()
 *   memory  a pair is freed when the library has let go of both sides: let_go()
 *
 * SIGUSR1, where the system has it, prints the counters; so does the end of the program.
 */
#include <portico.h>

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE                                                                                      \
    "usage: proxy [flag]... --to HOST PORT | --to-path PATH\n"                                     \
    "  --to HOST PORT         where connections are passed on to\n"                                \
    "  --to-path PATH         the same, to a UNIX socket\n"                                        \
    "  --host NAME            where to listen (127.0.0.1)\n"                                       \
    "  --port N               0: one that is free (7002)\n"                                        \
    "  --path PATH            where to listen, on a UNIX socket instead\n"                         \
    "  --ssl CERT KEY         clients speak TLS, with these PEM files (no)\n"                      \
    "  --tls                  the server speaks TLS, and has to prove that it is HOST (no)\n"      \
    "  --cacert FILE          whom to trust in the place of the system's authorities, in PEM\n"    \
    "  --connect-timeout S    seconds to reach the server (10)\n"                                  \
    "  --max-connections N    clients at once, the others wait; 0: no limit (0)\n"                 \
    "  --grace S              at the end, seconds for connections to finish (5)\n"                 \
    "  --help                 prints this\n"

/*
 * The most that is read at once. A side is paused when the other one's write buffer is over its
 * high-water mark (64 KiB), so a peer that does not read costs at most the two together.
 */
enum { READ_SIZE = 64 * 1024 };

typedef struct settings {
    pco_loop_options loop;
    pco_ssl_context_options ssl;     /* without a certificate_file: no TLS */
    pco_ssl_context_options trusted; /* without a ca_file: the system's authorities */
    pco_server_options server;
    pco_connection_options connection; /* of each connection to the server behind */
    const char *path;                  /* of a UNIX socket, in the place of host and port */
    const char *to_path;
    double grace;
} settings;

typedef struct counters {
    uint64_t passed_on;   /* pairs that stood */
    uint64_t unreachable; /* clients for whom the server could not be reached */
    uint64_t broken;      /* pairs that one of the peers, or the network, broke off */
    uint64_t pairs;       /* that exist */
    uint64_t to_server;   /* bytes */
    uint64_t to_client;
} counters;

/* Asks for the counters, where the system has one to spare. On Windows all end the program. */
#ifdef SIGUSR1
static const int counters_signal = SIGUSR1;
#else
static const int counters_signal = 0;
#endif

static settings set;
static counters count;

/* One of the two connections. */
typedef struct side {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    struct pair *pair;
    struct side *other;
    pco_transport *transport; /* NULL: not yet, or not any more */
    bool full;                /* between pause_writing and resume_writing */
    bool ended;               /* in order: its peer sends no more, or we have closed it */
    uint64_t *passed;         /* counts the bytes that it brings */
} side;

typedef struct pair {
    side client;
    side server;
    pco_request *connecting;
    int sides; /* that the library knows: the pair is freed with the last */
} pair;

static void let_go(pair *both)
{
    if (--both->sides == 0) {
        count.pairs--;
        free(both);
    }
}

/* ---- What both sides do ---- */

/* A side is read while there is somebody who takes what it brings. */
static void set_reading(side *self)
{
    if (self->transport == NULL) {
        return;
    }
    if (self->other->transport != NULL && !self->other->full) {
        pco_transport_resume_reading(self->transport);
    } else {
        pco_transport_pause_reading(self->transport);
    }
}

/*
 * On a side that is ending already the rest is dropped, as it would be without a proxy. A hole in
 * the middle, for want of memory, is another matter: then nothing is passed on any more.
 */
static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    side *self = (side *)protocol;

    *self->passed += length;
    int err = pco_transport_write(self->other->transport, data, length);
    if (err != 0 && err != PCO_ECLOSED) {
        pco_transport_abort_reset(transport);
    }
}

static void pause_writing(pco_protocol *protocol, pco_transport *transport)
{
    side *self = (side *)protocol;

    (void)transport;
    self->full = true;
    set_reading(self->other);
}

static void resume_writing(pco_protocol *protocol, pco_transport *transport)
{
    side *self = (side *)protocol;

    (void)transport;
    self->full = false;
    set_reading(self->other);
}

/*
 * The peer sends no more, and the other side hears just that: what it answers still comes back.
 * When both have said so, all is over. With TLS, which ends in both directions at once (but for
 * ssl_half_close), the first word is the last.
 */
static bool eof_received(pco_protocol *protocol, pco_transport *transport)
{
    side *self = (side *)protocol, *other = self->other;

    (void)transport;
    self->ended = true;
    if (!other->ended && pco_transport_can_write_eof(other->transport)) {
        pco_transport_write_eof(other->transport);
        return true;
    }
    other->ended = true;
    pco_transport_close(other->transport); /* what was written to it still leaves */
    return false;
}

/*
 * One side is gone, and so is the reason for the other one. It is closed in order only if this one
 * was: whoever gets less than was sent must see that something broke.
 */
static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    side *self = (side *)protocol, *other = self->other;

    (void)transport;
    self->transport = NULL;
    pco_request_cancel(self->pair->connecting); /* for a client that did not wait */
    if (other->transport != NULL) {
        if (error == NULL && self->ended) {
            other->ended = true;
            pco_transport_close(other->transport);
        } else {
            count.broken++;
            pco_transport_abort_reset(other->transport);
        }
    }
    let_go(self->pair);
}

/* ---- The server's side ---- */

static void server_made(pco_protocol *protocol, pco_transport *transport)
{
    side *self = (side *)protocol;

    self->transport = transport;
    if (self->other->transport == NULL) { /* the client has gone in this very turn */
        pco_transport_abort_reset(transport);
        return;
    }
    count.passed_on++;
    set_reading(self->other);
}

static const pco_protocol_methods server_methods = {
    .size = sizeof server_methods,
    .connection_made = server_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

/* By a reset: the client would have been refused, and this is the nearest to it. */
static void unreachable(pair *both, const pco_error *error)
{
    pco_address address;
    char name[PCO_ADDRESS_TEXT_SIZE] = ""; /* as it stays for a client on a UNIX socket */

    count.unreachable++;
    if (pco_transport_get_peername(both->client.transport, &address) == 0) {
        pco_address_format(&address, name, sizeof name);
    }
    fprintf(stderr, "proxy: for %s: %s\n", name[0] != '\0' ? name : "a client", error->message);
    pco_transport_abort_reset(both->client.transport);
}

/* Called once in any case, also when the request was canceled because the client has gone. */
static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    pair *both = context;

    (void)protocol;
    pco_request_release(both->connecting);
    both->connecting = NULL;
    if (transport == NULL) {
        if (both->client.transport != NULL) {
            unreachable(both, error);
        }
        let_go(both);
    }
}

static int connect_to_server(pco_loop *loop, const pco_connection_options *options, pair *both,
                             pco_error *error)
{
    if (set.to_path != NULL) {
        return pco_loop_create_unix_connection(loop, set.to_path, options, connected, both,
                                               &both->connecting, error);
    }
    return pco_loop_create_connection(loop, options, connected, both, &both->connecting, error);
}

/* ---- The client's side ---- */

/* The client is not read until there is somebody to pass it on to. */
static void client_made(pco_protocol *protocol, pco_transport *transport)
{
    side *self = (side *)protocol;
    pair *both = self->pair;
    pco_connection_options options = set.connection;
    pco_error error;

    self->transport = transport;
    set_reading(self);

    options.protocol = &both->server.protocol;
    if (connect_to_server(pco_transport_get_loop(transport), &options, both, &error) == 0) {
        both->sides++;
    } else {
        unreachable(both, &error);
    }
}

/* Without this callback clients would be closed at once: they have the grace to finish instead. */
static void shutting_down(pco_protocol *protocol, pco_transport *transport)
{
    (void)protocol;
    (void)transport;
}

static const pco_protocol_methods client_methods = {
    .size = sizeof client_methods,
    .connection_made = client_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .shutting_down = shutting_down,
};

static void init_side(side *self, const pco_protocol_methods *methods, pair *both, side *other,
                      uint64_t *passed)
{
    self->protocol.methods = methods;
    self->pair = both;
    self->other = other;
    self->passed = passed;
}

/* Without memory for it the client is refused, and the others go on. */
static pco_protocol *make_pair(void *context)
{
    pair *both = calloc(1, sizeof *both);

    (void)context;
    if (both == NULL) {
        return NULL;
    }
    init_side(&both->client, &client_methods, both, &both->server, &count.to_server);
    init_side(&both->server, &server_methods, both, &both->client, &count.to_client);
    both->sides = 1; /* the server's begins when it is connected to */
    count.pairs++;
    return &both->client.protocol;
}

/* ---- The counters ---- */

static void print_counters(const pco_server *server)
{
    pco_server_counters clients = {.size = sizeof clients};

    if (pco_server_get_counters(server, &clients) == 0) {
        printf("%" PRIu64 " clients, %" PRIu64 " now, %" PRIu64 " refused, %" PRIu64
               " failed in the TLS handshake\n",
               clients.accepted, clients.active, clients.refused, clients.handshake_failures);
    }
    printf("%" PRIu64 " passed on, %" PRIu64 " not, as the server could not be reached, %" PRIu64
           " broken off\n",
           count.passed_on, count.unreachable, count.broken);
    printf("%" PRIu64 " bytes to the server, %" PRIu64 " bytes to clients\n", count.to_server,
           count.to_client);
    fflush(stdout);
}

/* On the loop, not in a signal handler of the system's: everything is allowed here. */
static void counters_asked(int signal_number, void *context)
{
    (void)signal_number;
    print_counters(context);
}

/* ---- The command line, read into the options that the library takes ---- */

static void refuse(const char *flag, const char *why)
{
    fprintf(stderr, "proxy: %s %s\n%s", flag, why, USAGE);
    exit(2);
}

/* What follows the flag; `next` moves along argv, which ends in NULL. */
static const char *text(char ***next, const char *flag)
{
    if (**next == NULL) {
        refuse(flag, "needs a value");
    }
    return *(*next)++;
}

static double number(char ***next, const char *flag, double most)
{
    const char *digits = text(next, flag);
    char *end = NULL;
    double value = strtod(digits, &end);

    if (end == digits || *end != '\0' || !(value >= 0 && value <= most)) {
        refuse(flag, "needs a number, not below 0, and not so large a one");
    }
    return value;
}

static int integer(char ***next, const char *flag, int most)
{
    double value = number(next, flag, most);

    if (value != (int)value) {
        refuse(flag, "needs a whole number");
    }
    return (int)value;
}

static void read_flag(const char *flag, char ***next)
{
    if (strcmp(flag, "--help") == 0) {
        printf("%s", USAGE);
        exit(EXIT_SUCCESS);
    } else if (strcmp(flag, "--to") == 0) {
        set.connection.host = text(next, flag);
        set.connection.service = text(next, flag);
    } else if (strcmp(flag, "--to-path") == 0) {
        set.to_path = text(next, flag);
    } else if (strcmp(flag, "--path") == 0) {
        set.path = text(next, flag);
    } else if (strcmp(flag, "--host") == 0) {
        set.server.host = text(next, flag);
    } else if (strcmp(flag, "--port") == 0) {
        set.server.port = integer(next, flag, 65535);
    } else if (strcmp(flag, "--ssl") == 0) {
        set.ssl.certificate_file = text(next, flag);
        set.ssl.key_file = text(next, flag);
    } else if (strcmp(flag, "--tls") == 0) {
        set.connection.tls = PCO_ON;
    } else if (strcmp(flag, "--cacert") == 0) {
        set.trusted.ca_file = text(next, flag);
    } else if (strcmp(flag, "--connect-timeout") == 0) {
        set.connection.connect_timeout = number(next, flag, 1e6);
    } else if (strcmp(flag, "--max-connections") == 0) {
        set.server.max_connections = (size_t)integer(next, flag, 1000000);
    } else if (strcmp(flag, "--grace") == 0) {
        set.grace = number(next, flag, 1e6);
    } else {
        refuse(flag, "is unknown");
    }
}

/* An option struct begins with its own size; all that stays zero means the documented default. */
static void read_settings(char **argv)
{
    char **next = argv + 1;

    set.loop = (pco_loop_options){.size = sizeof set.loop, .receive_buffer_size = READ_SIZE};
    set.ssl = set.trusted = (pco_ssl_context_options){.size = sizeof set.ssl};
    /* A peer that has vanished without a word would keep its pair for ever: hence keep_alive. */
    set.server = (pco_server_options){.size = sizeof set.server,
                                      .protocol_factory = make_pair,
                                      .host = "127.0.0.1",
                                      .port = 7002,
                                      .backlog = 1024,
                                      .keep_alive = PCO_ON};
    set.connection = (pco_connection_options){
        .size = sizeof set.connection, .connect_timeout = 10, .keep_alive = PCO_ON};
    set.grace = 5;

    while (*next != NULL) {
        const char *flag = *next++;
        read_flag(flag, &next);
    }
    if (set.connection.host == NULL && set.to_path == NULL) {
        refuse("--to", "is missing: where are connections to be passed on to? (--to-path: a file)");
    }
    if (set.connection.host != NULL && set.to_path != NULL) {
        refuse("--to-path", "and --to are both given");
    }
    if (set.to_path != NULL) {
        set.connection.keep_alive = PCO_DEFAULT; /* here nobody vanishes without a word */
    }
    if (set.path != NULL) {
        set.server.host = NULL;
        set.server.port = 0;
        set.server.keep_alive = PCO_DEFAULT;
    }
    if (set.connection.tls == PCO_ON && set.to_path != NULL) {
        refuse("--tls", "needs --to: a path proves nothing");
    }
    if (set.trusted.ca_file != NULL && set.connection.tls != PCO_ON) {
        refuse("--cacert", "needs --tls");
    }
}

/* ---- The program ---- */

/* Trouble that no call can return, such as "too many open files" while accepting. */
static void report(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)context;
    fprintf(stderr, "proxy: %s%s%s\n", what->message, what->error != NULL ? ": " : "",
            what->error != NULL ? what->error->message : "");
}

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

static bool no_pair_is_left(void *context)
{
    (void)context;
    return count.pairs == 0;
}

/*
 * Until Ctrl-C, and then a grace for the clients; a second Ctrl-C does not wait. The server counts
 * clients alone: what the last of them have sent may still be on its way when they have gone.
 */
static int serve(pco_loop *loop, pco_server *server, pco_error *error)
{
    pco_loop_set_exception_handler(loop, report, NULL);
    pco_loop_call_soon(loop, print_addresses, server, NULL);
    int err = 0;
    if (counters_signal != 0) {
        err = pco_loop_add_signal_handler(loop, counters_signal, counters_asked, server, error);
    }
    if (err == 0) {
        err = pco_server_serve_until_signal(server, set.grace, error);
    }
    if (err == 0) {
        pco_loop_run_until(loop, no_pair_is_left, NULL, set.grace);
        print_counters(server);
    }
    return err;
}

/* What the two sides need for TLS. To the server the word is enough, unless trust is limited. */
static int make_contexts(pco_error *error)
{
    int err = 0;

    if (set.ssl.certificate_file != NULL) {
        err = pco_ssl_context_new(&set.ssl, &set.server.ssl, error);
    }
    if (err == 0 && set.trusted.ca_file != NULL) {
        set.connection.tls = PCO_OFF;
        err = pco_ssl_context_new_client(&set.trusted, &set.connection.ssl, error);
    }
    return err;
}

int main(int argc, char **argv)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error;

    (void)argc;
    read_settings(argv);

    int err = pco_loop_new(&set.loop, &loop, &error);
    if (err == 0) {
        err = make_contexts(&error);
    }
    if (err == 0) {
        err = set.path != NULL
                  ? pco_loop_create_unix_server(loop, set.path, &set.server, NULL, &server, &error)
                  : pco_loop_create_server(loop, &set.server, &server, &error);
    }
    if (err == 0) {
        err = serve(loop, server, &error);
    }
    if (err != 0) {
        fprintf(stderr, "proxy: %s\n", error.message);
    }

    pco_server_free(server);
    pco_ssl_context_release(set.server.ssl);
    pco_ssl_context_release(set.connection.ssl);
    pco_loop_free(loop);
    return err == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
