/* SPDX-License-Identifier: MIT */
/*
 * pair.c: pairs of real sockets. On the fake backend invented sockets take their place, so here is
 * seen whether they are what was promised.
 */
#include "../swarm.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static void check_end(world *at, pco_socket sock)
{
    if (sock <= STDERR_FILENO || (fcntl((int)sock, F_GETFD) & FD_CLOEXEC) == 0 ||
        (fcntl((int)sock, F_GETFL) & O_NONBLOCK) != 0) {
        broken(at, "an end of a pair is a low descriptor, inherited, or does not block");
    }
}

static void check_way(world *at, pco_socket from, pco_socket to)
{
    char byte = 0;
    if (write((int)from, "p", 1) != 1 || read((int)to, &byte, 1) != 1 || byte != 'p') {
        broken(at, "the ends of a pair are not connected");
    }
}

static pco_address name_of(pco_socket sock)
{
    pco_address name = {.length = 0};
    socklen_t length = sizeof name.storage;
    getsockname((int)sock, (struct sockaddr *)name.storage, &length);
    name.length = (uint32_t)length;
    return name;
}

typedef struct pair_call {
    pco_socket pair[2];
    int code;
} pair_call;

static void make_pair(void *context)
{
    pair_call *now = context;
    now->code = pco_socket_pair(now->pair, NULL);
}

/* On any thread, and whatever becomes of the memory: it needs none. */
void check_real_pair(world *at, pco_address names[2])
{
    pair_call now;
    enter_library(at, NULL);
    if (pick(at, 2) == 1) {
        thread_run(make_pair, &now);
    } else {
        make_pair(&now);
    }
    leave_library(at);
    if (now.code != 0 || now.pair[0] == now.pair[1]) {
        broken(at, "there is no pair of sockets: %s", pco_error_name(now.code));
    }
    check_way(at, now.pair[0], now.pair[1]);
    check_way(at, now.pair[1], now.pair[0]);
    for (size_t i = 0; i < 2; i++) {
        check_end(at, now.pair[i]);
        names[i] = name_of(now.pair[i]);
        close((int)now.pair[i]);
    }
}
