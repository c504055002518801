/* SPDX-License-Identifier: MIT */
/*
 * libevent.c: an echo server by libevent's bufferevents, TLS by bufferevent_openssl. The input
 * buffer's chains are moved into the output buffer, not copied; reading stops while much is queued.
 * A turn may move 256 KiB instead of the default of 16. The filterless socket variant of TLS is
 * used, and OpenSSL releases empty buffers.
 */
#include "common.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { TURN = 256 * 1024, HIGH_WATER = 256 * 1024, LOW_WATER = 64 * 1024 };

static SSL_CTX *context;

static void readable(struct bufferevent *event, void *unused)
{
    struct evbuffer *output = bufferevent_get_output(event);

    (void)unused;
    evbuffer_add_buffer(output, bufferevent_get_input(event));
    if (evbuffer_get_length(output) > HIGH_WATER) {
        bufferevent_disable(event, EV_READ);
    }
}

/* The output has shrunk to the low-water mark. */
static void writable(struct bufferevent *event, void *unused)
{
    (void)unused;
    if ((bufferevent_get_enabled(event) & EV_READ) == 0) {
        bufferevent_enable(event, EV_READ);
    }
}

static void happened(struct bufferevent *event, short what, void *unused)
{
    (void)unused;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        SSL *ssl = context != NULL ? bufferevent_openssl_get_ssl(event) : NULL;
        if (ssl != NULL && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0) {
            SSL_shutdown(ssl);
        }
        ERR_clear_error();
        bufferevent_free(event);
    }
}

static void connected(struct evconnlistener *listener, evutil_socket_t descriptor,
                      struct sockaddr *peer, int length, void *unused)
{
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *event;
    int on = 1;

    (void)peer;
    (void)length;
    (void)unused;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context != NULL) {
        event = bufferevent_openssl_socket_new(base, descriptor, SSL_new(context),
                                               BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    } else {
        event = bufferevent_socket_new(base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    }
    if (event == NULL) {
        evutil_closesocket(descriptor);
        return;
    }
    bufferevent_set_max_single_read(event, TURN);
    bufferevent_set_max_single_write(event, TURN);
    bufferevent_setwatermark(event, EV_WRITE, LOW_WATER, 0);
    bufferevent_setcb(event, readable, writable, happened, NULL);
    bufferevent_enable(event, EV_READ | EV_WRITE);
}

static void make_context(const settings *set)
{
    context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || SSL_CTX_use_certificate_chain_file(context, set->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, set->key, SSL_FILETYPE_PEM) != 1) {
        give_up("cannot use the certificate");
    }
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

int main(int argc, char **argv)
{
    settings set;

    (void)argc;
    read_settings(&set, argv);
    if (set.certificate != NULL) {
        make_context(&set);
    }
    struct sockaddr_in address = loopback(set.port);
    struct event_base *base = event_base_new();
    struct evconnlistener *listener =
        evconnlistener_new_bind(base, connected, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE,
                                BACKLOG, (struct sockaddr *)&address, sizeof address);
    if (listener == NULL) {
        give_up("cannot listen");
    }
    announce(port_of(evconnlistener_get_fd(listener)));
    return event_base_dispatch(base);
}
