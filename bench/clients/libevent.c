/* SPDX-License-Identifier: MIT */
/* libevent.c: an echo client by libevent's bufferevents, with TLS if asked. */
#define _GNU_SOURCE 1 /* common.h wants clock_gettime */

#include "tls.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>

typedef struct connection {
    struct bufferevent *event;
    size_t received; /* of the message that comes back */
    SSL_SESSION *session;
} connection;

static SSL_CTX *ctx; /* NULL: plain */
static struct event_base *base;
static connection *connections;

static void finish_message(void)
{
    if (message_is_back()) {
        event_base_loopbreak(base);
    }
}

static void open_one(connection *self);

/* Says good-bye, and does not wait for the answer, as libevent's users do. */
static void end_tls(connection *self)
{
    SSL *ssl = bufferevent_openssl_get_ssl(self->event);

    keep_session(ssl, &self->session);
    SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);
    SSL_shutdown(ssl);
}

static struct bufferevent *new_event(connection *self)
{
    if (ctx == NULL) {
        return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    }
    SSL *ssl = SSL_new(ctx);
    prepare_client(ssl, self->session);
    return bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                          BEV_OPT_CLOSE_ON_FREE);
}

static void readable(struct bufferevent *event, void *context)
{
    connection *self = context;
    struct evbuffer *input = bufferevent_get_input(event);
    size_t length = evbuffer_get_length(input);

    evbuffer_drain(input, length);
    self->received += length;
    if (self->received < set.size) {
        return;
    }
    self->received = 0;
    if (set.connect) {
        if (ctx != NULL) {
            end_tls(self);
        }
        bufferevent_free(event);
    }
    finish_message();
    if (!begin_message()) {
        return;
    }
    if (set.connect) {
        open_one(self);
    } else {
        bufferevent_write(event, payload, set.size);
    }
}

static void happened(struct bufferevent *event, short what, void *context)
{
    int on = 1;

    (void)context;
    if ((what & BEV_EVENT_CONNECTED) == 0) {
        give_up("a connection has ended, or was not made");
    }
    setsockopt(bufferevent_getfd(event), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (set.connect) {
        bufferevent_write(event, payload, set.size);
    } else {
        finish_message();
    }
}

static void open_one(connection *self)
{
    struct sockaddr_in address = server_address();

    self->received = 0;
    self->event = new_event(self);
    if (self->event == NULL) {
        give_up("no memory");
    }
    bufferevent_setcb(self->event, readable, NULL, happened, self);
    bufferevent_enable(self->event, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(self->event, (struct sockaddr *)&address, sizeof address) != 0) {
        give_up("cannot connect");
    }
}

static void run(void)
{
    event_base_dispatch(base);
}

static void open_at(size_t index)
{
    open_one(&connections[index]);
}

static void send_at(size_t index)
{
    bufferevent_write(connections[index].event, payload, set.size);
}

static const actions client = {.open = open_at, .send = send_at, .run = run};

int main(int argc, char **argv)
{
    (void)argc;
    read_settings(argv);
    ctx = set.authority != NULL ? make_client_ctx() : NULL;
    base = event_base_new();
    connections = calloc(set.connections, sizeof *connections);
    if (base == NULL || connections == NULL) {
        give_up("no memory");
    }
    return drive(&client);
}
