/* SPDX-License-Identifier: MIT */
#include "download.h"

#include "../https_get/codes.h"
#include "../https_get/request.h"
#include "../https_get/response.h"
#include "../https_get/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIME 30 /* seconds */

struct download {
    pco_protocol protocol; /* the first member: the library's view of this struct */
    download_listener listener;
    url where;
    pco_request *connecting;
    pco_transport *transport;
    response response;

    bool over;               /* how it ends is known: what comes after is of no interest */
    char why[URL_HOST_SIZE]; /* and why; "": all is there */
    uint64_t received;
    size_t start_length;
    char start[DOWNLOAD_START_SIZE];
};

/* ---- How it ends ---- */

/* The first one counts: what goes wrong after that is its consequence. */
static void end(download *self, const char *why)
{
    if (self->over) {
        return;
    }
    self->over = true;
    snprintf(self->why, sizeof self->why, "%s", why);
    pco_request_cancel(self->connecting);
    if (self->transport != NULL && *why == '\0') {
        pco_transport_close(self->transport);
    } else if (self->transport != NULL) {
        pco_transport_abort(self->transport);
    }
}

/* When there is neither a request nor a connection any more. */
static void tell_end(download *self)
{
    download_end told = {
        .error = *self->why != '\0' ? self->why : NULL,
        .status = self->response.status,
        .received = self->received,
        .start = self->start,
    };

    self->listener.ended(&told, self->listener.context);
    free(self);
}

void download_cancel(download *self)
{
    end(self, "canceled");
}

void download_describe(const download_end *told, char line[DOWNLOAD_LINE_SIZE])
{
    if (told->error == NULL) {
        snprintf(line, DOWNLOAD_LINE_SIZE, "%d: %" PRIu64 " bytes", told->status, told->received);
    } else if (told->status != 0) {
        snprintf(line, DOWNLOAD_LINE_SIZE, "%d: %s after %" PRIu64 " bytes", told->status,
                 told->error, told->received);
    } else {
        snprintf(line, DOWNLOAD_LINE_SIZE, "%s", told->error);
    }
}

/* ---- The answer ---- */

/* Ends at the first byte that is no character of a text in ASCII: a window may show it as it is. */
static void keep_start(download *self, const char *data, size_t length)
{
    bool is_kept_so_far = self->start_length == self->received;

    for (size_t i = 0; is_kept_so_far && i < length; i++) {
        bool is_text = (data[i] >= ' ' && data[i] <= '~') || data[i] == '\n' || data[i] == '\t';

        if (!is_text || self->start_length + 1 == sizeof self->start) {
            return;
        }
        self->start[self->start_length++] = data[i];
    }
}

static void body_received(download *self, const char *data, size_t length)
{
    keep_start(self, data, length);
    self->received += length;
    self->listener.progressed(self->received, self->response.length, self->listener.context);
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    download *self = (download *)protocol;
    const char *rest = data, *body = NULL;
    size_t body_length = 0;

    (void)transport;
    while (!self->over) {
        switch (response_read(&self->response, &rest, &length, &body, &body_length)) {
        case RESPONSE_HEAD:
            self->listener.progressed(0, self->response.length, self->listener.context);
            break;
        case RESPONSE_BODY:
            body_received(self, body, body_length);
            break;
        case RESPONSE_END:
            end(self, "");
            break;
        case RESPONSE_BAD:
            end(self, self->response.why);
            break;
        default:
            return;
        }
    }
}

/* ---- The connection ---- */

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    download *self = (download *)protocol;

    self->transport = transport;
    request_write(transport, &self->where, self->where.user, NULL, 0);
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    download *self = (download *)protocol;

    (void)transport;
    self->transport = NULL;
    if (error != NULL) {
        end(self, error->message);
    } else {
        end(self, response_may_end(&self->response) ? "" : "the answer is cut short");
    }
    tell_end(self);
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
};

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    download *self = context;

    (void)protocol;
    pco_request_release(self->connecting);
    self->connecting = NULL;
    if (transport == NULL) {
        end(self, error->message);
        tell_end(self);
    }
}

static int read_address(download *self, const char *address, pco_error *error)
{
    char with_scheme[DOWNLOAD_START_SIZE];
    const char *why = NULL;

    if (strstr(address, "://") == NULL) {
        snprintf(with_scheme, sizeof with_scheme, "http://%s", address);
        address = with_scheme;
    }
    if (url_parse(address, &self->where, &why) == FINE) {
        return 0;
    }
    *error = (pco_error){.code = PCO_EINVAL};
    snprintf(error->message, sizeof error->message, "%.100s: %s", address, why);
    return error->code;
}

static int connect_to_server(download *self, pco_loop *loop, pco_error *error)
{
    pco_connection_options options = {
        .size = sizeof options,
        .protocol = &self->protocol,
        .host = self->where.host,
        .port = self->where.port,
        .tls = self->where.secure ? PCO_ON : PCO_DEFAULT,
        .connect_timeout = CONNECT_TIME,
    };

    return pco_loop_create_connection(loop, &options, connected, self, &self->connecting, error);
}

download *download_begin(pco_loop *loop, const char *address, const download_listener *listener,
                         pco_error *error)
{
    download *self = calloc(1, sizeof *self);

    if (self == NULL) {
        *error = (pco_error){.code = PCO_ENOMEM, .message = "out of memory"};
        return NULL;
    }
    self->protocol.methods = &methods;
    self->listener = *listener;
    response_init(&self->response);
    if (read_address(self, address, error) != 0 || connect_to_server(self, loop, error) != 0) {
        free(self);
        return NULL;
    }
    return self;
}
