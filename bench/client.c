/* SPDX-License-Identifier: MIT */
/* client.c: see client.h. Level-triggered: nothing is read only to learn that it is over. */
#define _GNU_SOURCE 1

#include "client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

/* A ticket has come: TLS 1.3 sends them after the handshake. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    client *self = SSL_get_app_data(ssl);

    SSL_SESSION_free(self->session);
    self->session = session;
    return 1;
}

SSL_CTX *client_context_new(bool resume)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1) {
        return NULL;
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    }
    return context;
}

void client_watch(client *self, int epoll, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = self};

    if (self->interest != interest) {
        epoll_ctl(epoll, EPOLL_CTL_MOD, self->descriptor, &event);
        self->interest = interest;
    }
}

static bool prepare_ssl(client *self, SSL_CTX *context)
{
    self->ssl = SSL_new(context);
    if (self->ssl == NULL || SSL_set_fd(self->ssl, self->descriptor) != 1) {
        return false;
    }
    SSL_set_app_data(self->ssl, self);
    if (self->session != NULL) {
        SSL_set_session(self->ssl, self->session);
    }
    SSL_set_connect_state(self->ssl);
    return true;
}

bool client_connect(client *self, int epoll, int port, SSL_CTX *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = self};
    int on = 1;

    self->state = CLIENT_CONNECTING;
    self->interest = EPOLLOUT;
    self->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (self->descriptor < 0) {
        return false;
    }
    setsockopt(self->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context != NULL && !prepare_ssl(self, context)) {
        return false;
    }
    if (connect(self->descriptor, (struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        return false;
    }
    return epoll_ctl(epoll, EPOLL_CTL_ADD, self->descriptor, &event) == 0;
}

/* What OpenSSL's answer means, and what has to be waited for. */
static int translate(client *self, int returned)
{
    switch (SSL_get_error(self->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return CLIENT_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return CLIENT_END;
    default:
        ERR_clear_error();
        return CLIENT_FAILED;
    }
}

static int shake(client *self, int epoll)
{
    int returned = SSL_do_handshake(self->ssl);

    if (returned == 1) {
        self->state = CLIENT_OPEN;
        return 0;
    }
    int code = translate(self, returned);
    if (code == CLIENT_WAIT) {
        client_watch(self, epoll, SSL_want_write(self->ssl) ? EPOLLOUT : EPOLLIN);
    }
    return code;
}

int client_proceed(client *self, int epoll)
{
    int code = 0;
    socklen_t length = sizeof code;

    if (self->state == CLIENT_CONNECTING) {
        if (getsockopt(self->descriptor, SOL_SOCKET, SO_ERROR, &code, &length) != 0 || code != 0) {
            return CLIENT_FAILED;
        }
        self->state = self->ssl != NULL ? CLIENT_SHAKING : CLIENT_OPEN;
    }
    return self->state == CLIENT_SHAKING ? shake(self, epoll) : 0;
}

int client_read(client *self, void *memory, size_t size)
{
    ssize_t length;

    if (self->ssl != NULL) {
        int returned = SSL_read(self->ssl, memory, (int)size);
        return returned > 0 ? returned : translate(self, returned);
    }
    length = recv(self->descriptor, memory, size, 0);
    if (length < 0) {
        return errno == EAGAIN || errno == EINTR ? CLIENT_WAIT : CLIENT_FAILED;
    }
    return length > 0 ? (int)length : CLIENT_END;
}

int client_write(client *self, const void *data, size_t length)
{
    ssize_t written;

    if (self->ssl != NULL) {
        int returned = SSL_write(self->ssl, data, (int)length);
        return returned > 0 ? returned : translate(self, returned);
    }
    written = send(self->descriptor, data, length, MSG_NOSIGNAL);
    if (written < 0) {
        return errno == EAGAIN || errno == EINTR ? CLIENT_WAIT : CLIENT_FAILED;
    }
    return (int)written;
}

bool client_has_more(const client *self)
{
    return self->ssl != NULL && SSL_has_pending(self->ssl);
}

bool client_end(client *self, int epoll)
{
    if (self->ssl == NULL) {
        client_close(self);
        return true;
    }
    SSL_shutdown(self->ssl);
    ERR_clear_error();
    shutdown(self->descriptor, SHUT_WR);
    self->state = CLIENT_ENDING;
    client_watch(self, epoll, EPOLLIN);
    return false;
}

void client_close(client *self)
{
    SSL_free(self->ssl);
    if (self->descriptor >= 0) {
        close(self->descriptor);
    }
    self->ssl = NULL;
    self->descriptor = -1;
    self->state = CLIENT_NONE;
}
