/* SPDX-License-Identifier: MIT */
/*
 * common.h: the command line that all echo servers have, and the line by which they say where they
 * listen. Also C++.
 */
#ifndef BENCH_SERVERS_COMMON_H
#define BENCH_SERVERS_COMMON_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How many clients may wait to be accepted, the same for all servers. */
enum { BACKLOG = 1024 };

typedef struct settings {
    int port;
    const char *certificate; /* NULL: plain */
    const char *key;
} settings;

static inline void give_up(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(EXIT_FAILURE);
}

static inline void read_settings(settings *set, char **argv)
{
    char **next = argv + 1;

    memset(set, 0, sizeof *set);
    while (*next != NULL) {
        if (strcmp(next[0], "--port") == 0 && next[1] != NULL) {
            set->port = atoi(next[1]);
            next += 2;
        } else if (strcmp(next[0], "--tls") == 0 && next[1] != NULL && next[2] != NULL) {
            set->certificate = next[1];
            set->key = next[2];
            next += 3;
        } else {
            give_up("usage: [--port N] [--tls CERT KEY]");
        }
    }
    signal(SIGPIPE, SIG_IGN);
}

static inline void announce(int port)
{
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);
}

static inline struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* The port of a listening socket. */
static inline int port_of(int descriptor)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) {
        give_up("getsockname failed");
    }
    return ntohs(address.sin_port);
}

/* A listening socket whose connections inherit TCP_NODELAY, as Linux has it. */
static inline int listen_on(int port, int type)
{
    struct sockaddr_in address = loopback(port);
    int descriptor = socket(AF_INET, type, 0);
    int on = 1;

    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(descriptor, BACKLOG) != 0) {
        give_up("cannot listen");
    }
    return descriptor;
}

#endif
