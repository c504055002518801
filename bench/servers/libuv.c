/* SPDX-License-Identifier: MIT */
/*
 * libuv.c: an echo server by libuv. One receive buffer for all connections, which is legal since
 * what cannot be sent at once by uv_try_write is copied; reading stops until it has left.
 */
#define _GNU_SOURCE 1 /* uv.h wants pthread_rwlock_t */

#include "common.h"

#include <uv.h>

enum { BUFFER_SIZE = 256 * 1024 };

typedef struct rest {
    uv_write_t request;
    unsigned char data[];
} rest;

static char buffer[BUFFER_SIZE];

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *into)
{
    (void)handle;
    (void)suggested;
    *into = uv_buf_init(buffer, sizeof buffer);
}

static void closed(uv_handle_t *handle)
{
    free(handle);
}

static void end_connection(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, closed);
    }
}

static void received(uv_stream_t *stream, ssize_t length, const uv_buf_t *from);

static void rest_sent(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;

    free(request);
    if (status != 0) {
        end_connection(stream);
    } else if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_read_start(stream, lend_buffer, received);
    }
}

static void send_later(uv_stream_t *stream, const char *data, size_t length)
{
    rest *kept = malloc(sizeof *kept + length);
    uv_buf_t part;

    if (kept == NULL) {
        end_connection(stream);
        return;
    }
    memcpy(kept->data, data, length);
    part = uv_buf_init((char *)kept->data, (unsigned)length);
    uv_read_stop(stream);
    if (uv_write(&kept->request, stream, &part, 1, rest_sent) != 0) {
        free(kept);
        end_connection(stream);
    }
}

static void received(uv_stream_t *stream, ssize_t length, const uv_buf_t *from)
{
    uv_buf_t part;

    if (length <= 0) {
        if (length < 0) {
            end_connection(stream);
        }
        return;
    }
    part = uv_buf_init(from->base, (unsigned)length);
    int sent = uv_try_write(stream, &part, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        end_connection(stream);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < length) {
        send_later(stream, from->base + sent, (size_t)(length - sent));
    }
}

static void connected(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);

    if (status != 0 || client == NULL) {
        free(client);
        return;
    }
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) != 0) {
        end_connection((uv_stream_t *)client);
        return;
    }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, lend_buffer, received);
}

int main(int argc, char **argv)
{
    settings set;
    uv_tcp_t listener;
    uv_os_fd_t descriptor = -1;

    (void)argc;
    read_settings(&set, argv);
    if (set.certificate != NULL) {
        give_up("libuv has no TLS");
    }
    struct sockaddr_in address = loopback(set.port);
    uv_tcp_init(uv_default_loop(), &listener);
    if (uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, BACKLOG, connected) != 0 ||
        uv_fileno((uv_handle_t *)&listener, &descriptor) != 0) {
        give_up("cannot listen");
    }
    announce(port_of(descriptor));
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
