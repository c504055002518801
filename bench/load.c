/* SPDX-License-Identifier: MIT */
/*
 * load.c: the load generator: one thread, one epoll, any number of connections to an echo server
 * on the loopback. Prints one line of JSON. `load --help` lists the options.
 *
 *   echo     each connection keeps `flight` messages of `size` bytes under way
 *   stream   each connection writes as much as fits, and reads what comes back meanwhile
 *   connect  each connection is made, sends one message, waits for it, ends, and is made again
 *
 * The hard idea is that a measurement has a beginning and an end that others can see. With --wait
 * it says "ready" when all connections stand and the warm-up is over, goes on when it is sent a
 * line, and keeps its connections after the report until it is sent another: who measures the
 * server reads its clocks at these moments, while nothing is under way.
 */
#define _GNU_SOURCE 1

#include "client.h"
#include "histogram.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "load --port N [--mode echo|stream|connect] [--size BYTES] [--connections N] [--flight N]\n"
    "     [--messages N | --seconds S] [--warmup N] [--tls] [--resume] [--wait] [--timeout S]\n";

enum {
    BATCH = 512,            /* events taken from the system at once */
    OPENING = 64,           /* connections that are being made at once */
    READ_SIZE = 256 * 1024, /* the most that one read takes */
    PAYLOAD_LEAST = 128 * 1024,
    WRITES_PER_EVENT = 4, /* a stream reads again after so many */
    ERRORS_LIMIT = 100
};

enum mode { ECHO, STREAM, CONNECT };

typedef struct settings {
    enum mode mode;
    int port;
    size_t size;
    size_t connections;
    size_t flight;
    uint64_t messages; /* 0: for so many seconds */
    double seconds;
    uint64_t warmup;
    double timeout;
    bool tls;
    bool resume;
    bool wait;
} settings;

typedef struct connection {
    client client; /* the first member: what epoll's events point to */
    size_t unsent;
    size_t partial;    /* bytes of the next message that have come back */
    uint64_t *sent_at; /* of each message under way, a ring of `flight` */
    size_t first;
    size_t under_way;
} connection;

static struct {
    settings set;
    int epoll;
    SSL_CTX *context;
    connection *connections;
    size_t opened; /* connections that were begun, in the order of the array */
    size_t opening;
    unsigned char *payload; /* messages behind each other */
    size_t payload_size;
    unsigned char input[READ_SIZE];

    uint64_t now;
    uint64_t limit;     /* the time at which it has failed */
    uint64_t remaining; /* messages to begin */
    uint64_t under_way;
    uint64_t done;
    uint64_t deadline; /* begin no more after this; 0: never */
    uint64_t errors;
    uint64_t resumed;
    bool measuring;
    histogram latencies;
} load;

static void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(EXIT_FAILURE);
}

static uint64_t read_clock(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void count_error(const char *what)
{
    if (++load.errors > ERRORS_LIMIT || load.set.mode != CONNECT) {
        fail("%s", what);
    }
}

/* ---- Messages ---- */

static void push_time(connection *self, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        self->sent_at[(self->first + self->under_way++) % load.set.flight] = load.now;
    }
}

static void take_time(connection *self)
{
    if (load.measuring) {
        histogram_add(&load.latencies, load.now - self->sent_at[self->first]);
    }
    self->first = (self->first + 1) % load.set.flight;
    self->under_way--;
}

/* Begins up to `count` messages; how many depends on what is left to do. */
static void begin_messages(connection *self, uint64_t count)
{
    if (load.deadline != 0 && load.now >= load.deadline) {
        load.remaining = 0;
    }
    if (count > load.remaining) {
        count = load.remaining;
    }
    load.remaining -= count;
    load.under_way += count;
    self->unsent += (size_t)count * load.set.size;
    if (load.set.mode == ECHO) {
        push_time(self, count);
    }
}

static void write_some(connection *self)
{
    int writes = 0;

    while (writes++ < WRITES_PER_EVENT) {
        if (self->unsent == 0 && load.set.mode == STREAM) {
            begin_messages(self, 1);
        }
        if (self->unsent == 0) {
            break;
        }
        size_t position = (load.set.size - self->unsent % load.set.size) % load.set.size;
        size_t length = load.payload_size - position;
        if (length > self->unsent) {
            length = self->unsent;
        }
        int written = client_write(&self->client, load.payload + position, length);
        if (written == CLIENT_WAIT) {
            break;
        }
        if (written < 0) {
            count_error("a connection failed while it was written to");
            return;
        }
        self->unsent -= (size_t)written;
    }
    bool more = self->unsent != 0 || (load.set.mode == STREAM && load.remaining != 0);
    client_watch(&self->client, load.epoll, more ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* What comes back has to be what was sent. Looked at in the warm-up only: it costs time. */
static void check_content(const connection *self, const unsigned char *data, size_t length)
{
    size_t position = self->partial;

    while (length != 0) {
        size_t part = load.payload_size - position;
        part = part < length ? part : length;
        if (memcmp(data, load.payload + position, part) != 0) {
            fail("the server sent back something else");
        }
        data += part;
        length -= part;
        position = (position + part) % load.set.size;
    }
}

static void message_is_back(connection *self)
{
    if (load.set.mode != STREAM) {
        take_time(self);
    }
    if (load.set.mode != CONNECT) {
        load.under_way--;
        load.done++;
    }
}

/* Returns how many messages have come back whole. */
static size_t take_input(connection *self, size_t length)
{
    size_t count = 0;

    if (!load.measuring) {
        check_content(self, load.input, length);
    }
    self->partial += length;
    while (self->partial >= load.set.size) {
        self->partial -= load.set.size;
        message_is_back(self);
        count++;
    }
    return count;
}

/* ---- Connections ---- */

/* In mode `connect`: the message is the life of a connection. */
static void begin_life(connection *self)
{
    self->unsent = self->partial = self->first = self->under_way = 0;
    begin_messages(self, 1);
    if (self->unsent == 0) {
        return;
    }
    load.now = read_clock();
    push_time(self, 1);
    if (!client_connect(&self->client, load.epoll, load.set.port, load.context)) {
        fail("cannot connect");
    }
}

static void end_life(connection *self)
{
    client_close(&self->client);
    load.under_way--;
    load.done++;
    begin_life(self);
}

static void life_failed(connection *self, const char *what)
{
    count_error(what);
    end_life(self);
}

/* Makes the next persistent connections. */
static void open_more(void)
{
    while (load.opening < OPENING && load.opened < load.set.connections) {
        connection *self = &load.connections[load.opened++];

        load.opening++;
        if (!client_connect(&self->client, load.epoll, load.set.port, load.context)) {
            fail("cannot connect");
        }
    }
}

static void opened(connection *self)
{
    if (load.set.mode == CONNECT) {
        if (self->client.ssl != NULL && SSL_session_reused(self->client.ssl)) {
            load.resumed++;
        } else if (load.set.resume && load.measuring) {
            count_error("a session was not resumed");
        }
        write_some(self);
        return;
    }
    client_watch(&self->client, load.epoll, EPOLLIN);
    load.opening--;
    open_more();
}

/* All that a read brought: counts it, and sends as many messages as have come back. */
static void read_some(connection *self)
{
    do {
        int length = client_read(&self->client, load.input, sizeof load.input);
        if (length == CLIENT_WAIT) {
            return;
        }
        if (length < 0) {
            if (load.set.mode != CONNECT) {
                fail("the server ended a connection");
            }
            life_failed(self, "the server ended a connection before its answer");
            return;
        }
        size_t count = take_input(self, (size_t)length);
        if (load.set.mode == CONNECT && count != 0) {
            if (client_end(&self->client, load.epoll)) {
                end_life(self);
            }
            return;
        }
        if (load.set.mode == ECHO && count != 0 && load.remaining != 0) {
            begin_messages(self, count);
            write_some(self);
        }
    } while (client_has_more(&self->client));
}

/* Waits for the end of a connection that said farewell. */
static void read_end(connection *self)
{
    int length = client_read(&self->client, load.input, sizeof load.input);

    if (length == CLIENT_END) {
        end_life(self);
    } else if (length != CLIENT_WAIT) {
        life_failed(self, "the server did not end a connection in order");
    }
}

static void handle(connection *self, uint32_t events)
{
    switch (self->client.state) {
    case CLIENT_CONNECTING:
    case CLIENT_SHAKING: {
        int code = client_proceed(&self->client, load.epoll);
        if (code == 0) {
            opened(self);
        } else if (code != CLIENT_WAIT && load.set.mode == CONNECT) {
            life_failed(self, "a connection could not be made");
        } else if (code != CLIENT_WAIT) {
            fail("a connection could not be made");
        }
        break;
    }
    case CLIENT_OPEN:
        if ((events & EPOLLOUT) != 0) {
            write_some(self);
        }
        if ((events & ~(uint32_t)EPOLLOUT) != 0) {
            read_some(self);
        }
        break;
    case CLIENT_ENDING:
        read_end(self);
        break;
    default:
        break;
    }
}

/* ---- Phases ---- */

static void turn(void)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(load.epoll, events, BATCH, 1000);

    for (int i = 0; i < count; i++) {
        load.now = read_clock();
        handle(events[i].data.ptr, events[i].events);
    }
    if (read_clock() > load.limit) {
        fail("nothing came of it within %g seconds", load.set.timeout);
    }
}

static void open_all(void)
{
    load.limit = read_clock() + (uint64_t)(load.set.timeout * 1e9);
    open_more();
    while (load.opening != 0) {
        turn();
    }
}

/* Does `messages` messages, or as many as can be begun in `seconds`. */
static void run_phase(uint64_t messages, double seconds)
{
    load.now = read_clock();
    load.limit = load.now + (uint64_t)((seconds + load.set.timeout) * 1e9);
    load.remaining = messages != 0 ? messages : UINT64_MAX;
    load.deadline = messages != 0 ? 0 : load.now + (uint64_t)(seconds * 1e9);
    load.done = 0;
    for (size_t i = 0; i < load.set.connections; i++) {
        connection *self = &load.connections[i];

        if (load.set.mode == CONNECT) {
            begin_life(self);
        } else {
            begin_messages(self, load.set.mode == ECHO ? load.set.flight : 0);
            write_some(self);
        }
    }
    while (load.remaining != 0 || load.under_way != 0) {
        turn();
    }
}

static void wait_for_line(void)
{
    char line[16];

    if (load.set.wait && read(STDIN_FILENO, line, sizeof line) < 0) {
        fail("cannot read the line that was to come");
    }
}

static void report(double seconds)
{
    const settings *set = &load.set;
    const histogram *times = &load.latencies;

    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"bytes\": %" PRIu64
           ", \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"errors\": %" PRIu64
           ", \"resumed\": %" PRIu64 "}\n",
           load.done, seconds, load.done * (uint64_t)set->size,
           histogram_percentile(times, 0.5) / 1e3, histogram_percentile(times, 0.99) / 1e3,
           histogram_percentile(times, 0.999) / 1e3, load.errors, load.resumed);
    fflush(stdout);
}

static void run(void)
{
    if (load.set.mode != CONNECT) {
        open_all();
    }
    if (load.set.warmup != 0) {
        run_phase(load.set.warmup, 0);
    }
    if (load.set.wait) {
        printf("ready\n");
        fflush(stdout);
    }
    wait_for_line();
    load.measuring = true;
    load.resumed = 0;
    uint64_t began = read_clock();
    run_phase(load.set.messages, load.set.seconds);
    report((double)(read_clock() - began) / 1e9);
    wait_for_line();
}

/* ---- Options ---- */

static double number(const char *text)
{
    char *end = NULL;
    double value = text != NULL ? strtod(text, &end) : -1;

    if (text == NULL || end == text || *end != '\0' || !(value >= 0 && value < 1e15)) {
        fail("not a number: %s\n%s", text != NULL ? text : "(nothing)", usage);
    }
    return value;
}

static enum mode mode_of(const char *name)
{
    static const char *const names[] = {"echo", "stream", "connect"};

    for (int i = 0; name != NULL && i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum mode)i;
        }
    }
    fail("no such mode\n%s", usage);
    return ECHO;
}

/* Reads a flag without a value. */
static bool read_switch(settings *set, const char *flag)
{
    bool *value = strcmp(flag, "--tls") == 0      ? &set->tls
                  : strcmp(flag, "--resume") == 0 ? &set->resume
                  : strcmp(flag, "--wait") == 0   ? &set->wait
                                                  : NULL;
    if (value != NULL) {
        *value = true;
    }
    return value != NULL;
}

static void read_value(settings *set, const char *flag, const char *value)
{
    if (strcmp(flag, "--mode") == 0) {
        set->mode = mode_of(value);
    } else if (strcmp(flag, "--port") == 0) {
        set->port = (int)number(value);
    } else if (strcmp(flag, "--size") == 0) {
        set->size = (size_t)number(value);
    } else if (strcmp(flag, "--connections") == 0) {
        set->connections = (size_t)number(value);
    } else if (strcmp(flag, "--flight") == 0) {
        set->flight = (size_t)number(value);
    } else if (strcmp(flag, "--messages") == 0) {
        set->messages = (uint64_t)number(value);
    } else if (strcmp(flag, "--seconds") == 0) {
        set->seconds = number(value);
    } else if (strcmp(flag, "--warmup") == 0) {
        set->warmup = (uint64_t)number(value);
    } else if (strcmp(flag, "--timeout") == 0) {
        set->timeout = number(value);
    } else {
        fail("no such option: %s\n%s", flag, usage);
    }
}

static void read_settings(char **argv)
{
    settings *set = &load.set;

    *set = (settings){.size = 64, .connections = 1, .flight = 1, .seconds = 1, .timeout = 60};
    for (char **next = argv + 1; *next != NULL; next++) {
        if (!read_switch(set, *next)) {
            read_value(set, next[0], next[1]);
            next++;
        }
    }
    if (set->port == 0 || set->size == 0 || set->connections == 0 || set->flight == 0 ||
        set->size > 16 * 1024 * 1024) {
        fail("port, size, connections and flight are needed\n%s", usage);
    }
    if (set->mode == CONNECT) {
        set->flight = 1;
    }
}

static void prepare(void)
{
    const settings *set = &load.set;
    size_t copies = 1 + PAYLOAD_LEAST / set->size;

    load.payload_size = (copies + 1) * set->size;
    load.payload = malloc(load.payload_size);
    load.connections = calloc(set->connections, sizeof *load.connections);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.payload == NULL || load.connections == NULL || load.epoll < 0) {
        fail("no memory, or no epoll");
    }
    for (size_t i = 0; i < load.payload_size; i++) {
        load.payload[i] = (unsigned char)(i % set->size * 7 + i % set->size / 251);
    }
    for (size_t i = 0; i < set->connections; i++) {
        load.connections[i].client.descriptor = -1;
        load.connections[i].sent_at = calloc(set->flight, sizeof(uint64_t));
        if (load.connections[i].sent_at == NULL) {
            fail("no memory");
        }
    }
    if (set->tls) {
        load.context = client_context_new(set->resume);
        if (load.context == NULL) {
            fail("no TLS");
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    if (argv[1] == NULL || strcmp(argv[1], "--help") == 0) {
        printf("%s", usage);
        return EXIT_SUCCESS;
    }
    read_settings(argv);
    prepare();
    run();
    return EXIT_SUCCESS;
}
