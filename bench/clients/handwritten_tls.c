/* SPDX-License-Identifier: MIT */
/*
 * handwritten_tls.c: the limit for clients with TLS: OpenSSL straight on the socket, as its manual
 * shows it, with epoll and nothing else; as the server of that name.
 *
 * A connection is over when the server has answered close_notify, as a client does it that wants to
 * know that all has arrived.
 */
#define _GNU_SOURCE 1

#include "tls.h"

#include <errno.h>
#include <sys/epoll.h>

enum { BATCH = 512, BUFFER_SIZE = 16 * 1024 };

typedef enum stage { HANDSHAKE, OPEN, CLOSING } stage;

typedef struct connection {
    int descriptor;
    unsigned interest;
    stage stage;
    SSL *ssl;
    SSL_SESSION *session;
    size_t sent; /* of the message that is under way, and what has come back of it */
    size_t received;
} connection;

static connection *connections;
static char buffer[BUFFER_SIZE];
static SSL_CTX *context;
static int epoll;
static bool over;

static void watch(connection *self, unsigned interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = self};

    if (self->interest != interest) {
        self->interest = interest;
        epoll_ctl(epoll, EPOLL_CTL_MOD, self->descriptor, &event);
    }
}

static void open_one(connection *self)
{
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = self};
    struct sockaddr_in address = server_address();
    int on = 1;

    self->stage = HANDSHAKE;
    self->interest = EPOLLOUT;
    self->sent = self->received = 0;
    self->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(self->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((connect(self->descriptor, (struct sockaddr *)&address, sizeof address) != 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, self->descriptor, &event) != 0) {
        give_up("cannot connect");
    }
    self->ssl = SSL_new(context);
    prepare_client(self->ssl, self->session);
    SSL_set_fd(self->ssl, self->descriptor);
}

/* OpenSSL did not do it at once. Returns whether the server has ended the connection. */
static bool wait_or_end(connection *self, int returned)
{
    switch (SSL_get_error(self->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        watch(self, EPOLLIN);
        return false;
    case SSL_ERROR_WANT_WRITE:
        watch(self, EPOLLIN | EPOLLOUT);
        return false;
    case SSL_ERROR_ZERO_RETURN:
        if (self->stage == CLOSING) {
            return true;
        }
    }
    give_up("the server has ended a connection");
    return true;
}

static void send_rest(connection *self)
{
    while (self->sent < set.size) {
        int count = SSL_write(self->ssl, payload + self->sent, (int)(set.size - self->sent));

        if (count <= 0) {
            wait_or_end(self, count);
            return;
        }
        self->sent += (size_t)count;
    }
    watch(self, EPOLLIN);
}

static void send_message(connection *self)
{
    self->sent = self->received = 0;
    send_rest(self);
}

static void shake_hands(connection *self)
{
    int returned = SSL_do_handshake(self->ssl);

    if (returned != 1) {
        wait_or_end(self, returned);
        return;
    }
    self->stage = OPEN;
    watch(self, EPOLLIN);
    if (set.connect) {
        send_message(self);
    } else {
        over = message_is_back();
    }
}

static void finish_message(connection *self)
{
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
    do {
        int count = SSL_read(self->ssl, buffer, BUFFER_SIZE);

        if (count <= 0) {
            wait_or_end(self, count);
            return;
        }
        self->received += (size_t)count;
    } while (SSL_has_pending(self->ssl));
    if (self->received < set.size) {
        return;
    }
    if (!set.connect) {
        finish_message(self);
        return;
    }
    keep_session(self->ssl, &self->session);
    SSL_shutdown(self->ssl);
    self->stage = CLOSING;
}

static void await_end(connection *self)
{
    int count = SSL_read(self->ssl, buffer, BUFFER_SIZE);

    if (count <= 0 && wait_or_end(self, count)) {
        SSL_free(self->ssl);
        close(self->descriptor);
        finish_message(self);
    }
}

static void handle(connection *self, unsigned events)
{
    if (self->stage == HANDSHAKE) {
        shake_hands(self);
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        send_rest(self);
    }
    if ((events & ~(unsigned)EPOLLOUT) == 0) {
        return;
    }
    if (self->stage == OPEN) {
        receive(self);
    } else {
        await_end(self);
    }
}

static void run(void)
{
    struct epoll_event events[BATCH];

    over = false;
    while (!over) {
        int count = epoll_wait(epoll, events, BATCH, -1);

        for (int i = 0; i < count; i++) {
            handle(events[i].data.ptr, events[i].events);
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
    if (set.authority == NULL) {
        give_up("needs --tls AUTHORITY");
    }
    context = make_client_ctx();
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    connections = calloc(set.connections, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || epoll < 0) {
        give_up("no memory, or no epoll");
    }
    return drive(&client);
}
