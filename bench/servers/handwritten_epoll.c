/* SPDX-License-Identifier: MIT */
/*
 * handwritten_epoll.c: the limit: what a plain echo server costs that does nothing else.
 *
 * Edge-triggered, registered once for input, output and the peer's end; a read that does not fill
 * the buffer means that the socket is drained, and so saves the one that would say so; one buffer
 * of 512 KiB for all; no memory for a connection until the peer is slow. A read that does fill the
 * buffer arms the descriptor anew, so that the others have their turn. No timeouts, no limits, no
 * checks that a library has to make.
 */
#define _GNU_SOURCE 1

#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER_SIZE = 512 * 1024, DESCRIPTORS = 32 * 1024 };

#define INTEREST (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* What could not be sent. While there is some, nothing is read. */
typedef struct rest {
    size_t offset;
    size_t length;
    unsigned char data[];
} rest;

static rest *rests[DESCRIPTORS];
static unsigned char buffer[BUFFER_SIZE];
static int epoll;

static void end_connection(int descriptor)
{
    free(rests[descriptor]);
    rests[descriptor] = NULL;
    close(descriptor);
}

static void keep_rest(int descriptor, size_t offset, size_t length)
{
    rest *kept = malloc(sizeof *kept + length - offset);

    if (kept == NULL) {
        end_connection(descriptor);
        return;
    }
    kept->offset = 0;
    kept->length = length - offset;
    memcpy(kept->data, buffer + offset, kept->length);
    rests[descriptor] = kept;
}

/* Returns whether all of it has left. */
static int send_rest(int descriptor)
{
    rest *kept = rests[descriptor];
    ssize_t sent =
        send(descriptor, kept->data + kept->offset, kept->length - kept->offset, MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN) {
        end_connection(descriptor);
        return 0;
    }
    kept->offset += sent > 0 ? (size_t)sent : 0;
    if (kept->offset < kept->length) {
        return 0;
    }
    free(kept);
    rests[descriptor] = NULL;
    return 1;
}

static void arm_again(int descriptor)
{
    struct epoll_event event = {.events = INTEREST, .data.fd = descriptor};

    epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

/* Returns whether to read again at once, since the peer's end is behind what has been read. */
static int echo_once(int descriptor, uint32_t events)
{
    ssize_t length = recv(descriptor, buffer, BUFFER_SIZE, 0);

    if (length <= 0) {
        if (length == 0 || errno != EAGAIN) {
            end_connection(descriptor);
        }
        return 0;
    }
    ssize_t sent = send(descriptor, buffer, (size_t)length, MSG_NOSIGNAL);
    if (sent != length) {
        if (sent < 0 && errno != EAGAIN) {
            end_connection(descriptor);
        } else {
            keep_rest(descriptor, sent > 0 ? (size_t)sent : 0, (size_t)length);
        }
        return 0;
    }
    if (length == BUFFER_SIZE) {
        arm_again(descriptor);
        return 0;
    }
    return (events & ~(uint32_t)(EPOLLIN | EPOLLOUT)) != 0;
}

static void echo(int descriptor, uint32_t events)
{
    if (rests[descriptor] != NULL && !send_rest(descriptor)) {
        return;
    }
    while (echo_once(descriptor, events)) {
    }
}

/* All that there are: more calls than one per client are needed only once per turn. */
static void accept_all(int listener)
{
    struct epoll_event event = {.events = INTEREST};
    int descriptor;

    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (descriptor >= DESCRIPTORS) {
            close(descriptor);
            continue;
        }
        event.data.fd = descriptor;
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    }
}

int main(int argc, char **argv)
{
    settings set;
    struct epoll_event events[BATCH];

    (void)argc;
    read_settings(&set, argv);
    int listener = listen_on(set.port, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]);
    announce(port_of(listener));
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                accept_all(listener);
            } else {
                echo(events[i].data.fd, events[i].events);
            }
        }
    }
}
