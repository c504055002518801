/* SPDX-License-Identifier: MIT */
/*
 * common.h: what all echo clients share: the command line, which is the load generator's, the count
 * of messages, and the talk with bench/run. Also C++.
 *
 *   connect  a message is the life of a connection: made, 64 bytes there and back, closed
 *   echo     each connection has one message under way
 *
 * A client gives three functions to drive(), and asks begin_message() before it begins one.
 */
#ifndef BENCH_CLIENTS_COMMON_H
#define BENCH_CLIENTS_COMMON_H

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct settings {
    int port;
    bool connect; /* the mode */
    size_t size;
    size_t connections;
    uint64_t messages; /* 0: for so many seconds */
    double seconds;
    uint64_t warmup;
    const char *authority; /* with TLS: the file of who has signed the server's certificate */
    bool resume;
} settings;

static settings set;

/* What is left to do in this phase. */
static struct {
    uint64_t remaining;
    uint64_t under_way;
    uint64_t done;
    double deadline; /* begin no more after this; 0: never */
} work;

/* What is sent. */
static const char payload[64 * 1024] = "";

static inline void give_up(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(EXIT_FAILURE);
}

static inline double read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Whether there is another one to begin; it is then under way. */
static inline bool begin_message(void)
{
    if (work.remaining == 0) {
        return false;
    }
    work.remaining--;
    work.under_way++;
    return true;
}

/* Returns whether the phase is over with it. */
static inline bool message_is_back(void)
{
    work.done++;
    work.under_way--;
    if (work.deadline > 0 && work.remaining > 0 && read_clock() >= work.deadline) {
        work.remaining = 0;
    }
    return work.remaining == 0 && work.under_way == 0;
}

static inline struct sockaddr_in server_address(void)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)set.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* ---- The phases ---- */

static inline void wait_for_line(void)
{
    char line[16];

    if (read(STDIN_FILENO, line, sizeof line) < 0) {
        give_up("cannot read the line that was to come");
    }
}

/* What a client of the suite is, of the connections 0 to set.connections - 1. */
typedef struct actions {
    void (*open)(size_t index); /* begins to open it, once more in mode connect */
    void (*send)(size_t index); /* sends a message on it */
    void (*run)(void);          /* runs the loop until message_is_back() has returned true */
} actions;

/* Begins a message on every connection, or every life. */
static inline void start(const actions *client)
{
    for (size_t i = 0; i < set.connections && begin_message(); i++) {
        if (set.connect) {
            client->open(i);
        } else {
            client->send(i);
        }
    }
}

static inline void run_phase(const actions *client, uint64_t messages)
{
    work.done = 0;
    work.remaining = messages != 0 ? messages : UINT64_MAX;
    work.deadline = messages != 0 ? 0 : read_clock() + set.seconds;
    start(client);
    client->run();
}

/* In mode echo each connection that is being opened counts as a message that is under way. */
static inline int drive(const actions *client)
{
    if (!set.connect) {
        work.under_way = set.connections;
        for (size_t i = 0; i < set.connections; i++) {
            client->open(i);
        }
        client->run();
    }
    run_phase(client, set.warmup != 0 ? set.warmup : 1);
    printf("ready\n");
    fflush(stdout);
    wait_for_line();
    double began = read_clock();
    run_phase(client, set.messages);
    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"errors\": 0}\n", work.done,
           read_clock() - began);
    fflush(stdout);
    wait_for_line();
    return EXIT_SUCCESS;
}

/* ---- The command line ---- */

static inline void read_option(const char *flag, const char *value)
{
    if (strcmp(flag, "--mode") == 0) {
        set.connect = strcmp(value, "connect") == 0;
    } else if (strcmp(flag, "--port") == 0) {
        set.port = atoi(value);
    } else if (strcmp(flag, "--size") == 0) {
        set.size = strtoul(value, NULL, 10);
    } else if (strcmp(flag, "--connections") == 0) {
        set.connections = strtoul(value, NULL, 10);
    } else if (strcmp(flag, "--messages") == 0) {
        set.messages = strtoull(value, NULL, 10);
    } else if (strcmp(flag, "--seconds") == 0) {
        set.seconds = strtod(value, NULL);
    } else if (strcmp(flag, "--warmup") == 0) {
        set.warmup = strtoull(value, NULL, 10);
    } else if (strcmp(flag, "--tls") == 0) {
        set.authority = value;
    } else if (strcmp(flag, "--flight") != 0 && strcmp(flag, "--timeout") != 0) {
        give_up("usage: the options of load, but --tls AUTHORITY");
    }
}

static inline void read_settings(char **argv)
{
    char **next = argv + 1;

    set.size = 64;
    set.connections = 1;
    set.seconds = 1;
    while (*next != NULL) {
        if (strcmp(next[0], "--wait") == 0 || strcmp(next[0], "--resume") == 0) {
            set.resume = set.resume || strcmp(next[0], "--resume") == 0;
            next++;
        } else if (next[1] != NULL) {
            read_option(next[0], next[1]);
            next += 2;
        } else {
            give_up("a value is missing");
        }
    }
    if (set.port == 0 || set.connections == 0 || set.size == 0 || set.size > sizeof payload) {
        give_up("port, size and connections are needed");
    }
    signal(SIGPIPE, SIG_IGN);
}

#endif
