/* SPDX-License-Identifier: MIT */
/*
 * libuv.c: an echo client by libuv. One receive buffer for all connections; a message is tried at
 * once by uv_try_write, and always fits.
 */
#define _GNU_SOURCE 1 /* uv.h wants pthread_rwlock_t */

#include "common.h"

#include <uv.h>

typedef struct connection {
    uv_tcp_t handle; /* the first member */
    uv_connect_t request;
    size_t received; /* of the message that comes back */
} connection;

static uv_loop_t *loop;
static connection *connections;
static char buffer[64 * 1024];

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *into)
{
    (void)handle;
    (void)suggested;
    *into = uv_buf_init(buffer, sizeof buffer);
}

static void finish_message(void)
{
    if (message_is_back()) {
        uv_stop(loop);
    }
}

static void send_message(connection *self)
{
    uv_buf_t part = uv_buf_init((char *)payload, (unsigned)set.size);

    if (uv_try_write((uv_stream_t *)&self->handle, &part, 1) != (int)set.size) {
        give_up("cannot send");
    }
}

static void open_one(connection *self);

static void closed(uv_handle_t *handle)
{
    finish_message();
    if (begin_message()) {
        open_one((connection *)handle);
    }
}

static void received(uv_stream_t *stream, ssize_t length, const uv_buf_t *from)
{
    connection *self = (connection *)stream;

    (void)from;
    if (length < 0) {
        give_up("the server has ended a connection");
    }
    self->received += (size_t)length;
    if (self->received < set.size) {
        return;
    }
    self->received = 0;
    if (set.connect) {
        uv_close((uv_handle_t *)stream, closed);
        return;
    }
    finish_message();
    if (begin_message()) {
        send_message(self);
    }
}

static void connected(uv_connect_t *request, int status)
{
    connection *self = (connection *)request->handle;

    if (status != 0 || uv_read_start(request->handle, lend_buffer, received) != 0) {
        give_up("cannot connect");
    }
    if (set.connect) {
        send_message(self);
    } else {
        finish_message();
    }
}

static void open_one(connection *self)
{
    struct sockaddr_in address = server_address();

    self->received = 0;
    uv_tcp_init(loop, &self->handle);
    uv_tcp_nodelay(&self->handle, 1);
    if (uv_tcp_connect(&self->request, &self->handle, (struct sockaddr *)&address, connected) !=
        0) {
        give_up("cannot connect");
    }
}

static void run(void)
{
    uv_run(loop, UV_RUN_DEFAULT);
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
    loop = uv_default_loop();
    connections = calloc(set.connections, sizeof *connections);
    if (connections == NULL) {
        give_up("no memory");
    }
    return drive(&client);
}
