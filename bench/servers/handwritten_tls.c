/* SPDX-License-Identifier: MIT */
/*
 * handwritten_tls.c: the limit for TLS: OpenSSL straight on the socket, as its manual shows it,
 * with epoll and nothing else.
 *
 * Level-triggered for input, so that no SSL_read is needed whose only answer is "no more". Buffers
 * are released when they are empty: without that an idle connection would hold 34 KB more.
 * Reading ahead is off, OpenSSL's default: a record takes two reads.
 */
#define _GNU_SOURCE 1

#include "common.h"

#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

enum { BATCH = 512, BUFFER_SIZE = 16 * 1024 };

typedef struct connection {
    int descriptor;
    unsigned interest;
    SSL *ssl;
    size_t offset; /* of what could not be sent, and its length; while there is some, no reading */
    size_t length;
    unsigned char *rest;
} connection;

static unsigned char buffer[BUFFER_SIZE];
static SSL_CTX *context;
static int epoll;

static void watch(connection *self, unsigned interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = self};

    if (self->interest != interest) {
        self->interest = interest;
        epoll_ctl(epoll, EPOLL_CTL_MOD, self->descriptor, &event);
    }
}

static void end_connection(connection *self)
{
    SSL_free(self->ssl);
    close(self->descriptor);
    free(self->rest);
    free(self);
}

/* What OpenSSL did not do at once. Returns false when the connection has ended. */
static bool wait_or_end(connection *self, int returned)
{
    switch (SSL_get_error(self->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        watch(self, EPOLLIN);
        return true;
    case SSL_ERROR_WANT_WRITE:
        watch(self, EPOLLOUT);
        return true;
    case SSL_ERROR_ZERO_RETURN:
        SSL_shutdown(self->ssl);
        break;
    default:
        ERR_clear_error();
        break;
    }
    end_connection(self);
    return false;
}

/* Returns whether all of it has left, and the connection is still there. */
static bool send_rest(connection *self)
{
    while (self->offset < self->length) {
        int sent =
            SSL_write(self->ssl, self->rest + self->offset, (int)(self->length - self->offset));
        if (sent <= 0) {
            wait_or_end(self, sent);
            return false;
        }
        self->offset += (size_t)sent;
    }
    free(self->rest);
    self->rest = NULL;
    self->offset = self->length = 0;
    watch(self, EPOLLIN);
    return true;
}

static bool keep_rest(connection *self, int returned, int length)
{
    if (!wait_or_end(self, returned)) {
        return false;
    }
    self->rest = malloc((size_t)length);
    if (self->rest == NULL) {
        end_connection(self);
        return false;
    }
    memcpy(self->rest, buffer, (size_t)length);
    self->length = (size_t)length;
    return false;
}

/* One record. Returns whether there may be another inside OpenSSL, which epoll cannot know. */
static bool echo(connection *self)
{
    int length = SSL_read(self->ssl, buffer, BUFFER_SIZE);

    if (length <= 0) {
        wait_or_end(self, length);
        return false;
    }
    int sent = SSL_write(self->ssl, buffer, length);
    if (sent <= 0) {
        return keep_rest(self, sent, length);
    }
    return SSL_has_pending(self->ssl);
}

static void handle(connection *self)
{
    if (!SSL_is_init_finished(self->ssl)) {
        int returned = SSL_do_handshake(self->ssl);
        if (returned != 1) {
            wait_or_end(self, returned);
            return;
        }
        watch(self, EPOLLIN);
        return;
    }
    if (self->rest != NULL && !send_rest(self)) {
        return;
    }
    while (echo(self)) {
    }
}

static void add_connection(int descriptor)
{
    connection *self = calloc(1, sizeof *self);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = self};

    if (self == NULL) {
        close(descriptor);
        return;
    }
    self->descriptor = descriptor;
    self->interest = EPOLLIN;
    self->ssl = SSL_new(context);
    if (self->ssl == NULL || SSL_set_fd(self->ssl, descriptor) != 1) {
        end_connection(self);
        return;
    }
    SSL_set_accept_state(self->ssl);
    epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static void accept_all(int listener)
{
    int descriptor;

    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        add_connection(descriptor);
    }
}

static void make_context(const settings *set)
{
    context = SSL_CTX_new(TLS_server_method());
    if (set->certificate == NULL || context == NULL ||
        SSL_CTX_use_certificate_chain_file(context, set->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, set->key, SSL_FILETYPE_PEM) != 1) {
        give_up("needs --tls CERT KEY");
    }
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

int main(int argc, char **argv)
{
    settings set;
    struct epoll_event events[BATCH];

    (void)argc;
    read_settings(&set, argv);
    make_context(&set);
    int listener = listen_on(set.port, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]);
    announce(port_of(listener));
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(listener);
            } else {
                handle(events[i].data.ptr);
            }
        }
    }
}
