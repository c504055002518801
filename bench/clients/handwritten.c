/* SPDX-License-Identifier: MIT */
/*
 * handwritten.c: the limit: what a plain echo client costs that does nothing else.
 *
 * Edge-triggered, registered once. That the connection stands is told by the event alone: if it
 * does not, sending says so. No timeouts, no checks that a library has to make.
 */
#define _GNU_SOURCE 1

#include "common.h"

#include <errno.h>
#include <sys/epoll.h>

enum { BATCH = 512 };

typedef struct connection {
    int descriptor;
    bool stands;
    size_t received; /* of the message that comes back */
} connection;

static connection *connections;
static char buffer[64 * 1024];
static int epoll;
static bool over;

static void open_one(connection *self)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = self};
    struct sockaddr_in address = server_address();
    int on = 1;

    self->stands = false;
    self->received = 0;
    self->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(self->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((connect(self->descriptor, (struct sockaddr *)&address, sizeof address) != 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, self->descriptor, &event) != 0) {
        give_up("cannot connect");
    }
}

static void send_message(connection *self)
{
    if (send(self->descriptor, payload, set.size, MSG_NOSIGNAL) != (ssize_t)set.size) {
        give_up("cannot send");
    }
}

static void stand(connection *self)
{
    self->stands = true;
    if (set.connect) {
        send_message(self);
    } else {
        over = message_is_back();
    }
}

static void finish_message(connection *self)
{
    self->received = 0;
    if (set.connect) {
        close(self->descriptor);
    }
    over = message_is_back();
    if (begin_message()) {
        if (set.connect) {
            open_one(self);
        } else {
            send_message(self);
        }
    }
}

static void receive(connection *self)
{
    ssize_t length = recv(self->descriptor, buffer, sizeof buffer, 0);

    if (length <= 0) {
        give_up("the server has ended a connection");
    }
    self->received += (size_t)length;
    if (self->received >= set.size) {
        finish_message(self);
    }
}

static void run(void)
{
    struct epoll_event events[BATCH];

    over = false;
    while (!over) {
        int count = epoll_wait(epoll, events, BATCH, -1);

        for (int i = 0; i < count; i++) {
            connection *self = events[i].data.ptr;

            if (!self->stands) {
                stand(self);
            }
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                receive(self);
            }
        }
    }
}

static void open_at(size_t index)
{
    open_one(&connections[index]);
}

static void send_at(size_t index)
{
    send_message(&connections[index]);
}

static const actions client = {.open = open_at, .send = send_at, .run = run};

int main(int argc, char **argv)
{
    (void)argc;
    read_settings(argv);
    connections = calloc(set.connections, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || epoll < 0) {
        give_up("no memory, or no epoll");
    }
    return drive(&client);
}
