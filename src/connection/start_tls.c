/* SPDX-License-Identifier: MIT */
/*
 * start_tls.c: TLS takes the place of a transport that a user has.
 *
 * The one hard idea is that the call only covers the old transport, which calls nobody; TLS begins
 * in a task. From then on all that can happen is an event of the new connection, which tells how
 * the handshake ended, exactly once.
 */
#include <portico/start_tls.h>

#include "connection/check.h"
#include "loop/request.h"
#include "support/error.h"
#include "support/memory.h"
#include "support/options.h"
#include "tls/tls.h"

typedef struct starting {
    pco_request request;
    pco__task task; /* TLS begins */
    pco__ssl *ssl;
    pco_transport *old;
    pco_protocol *protocol; /* whose the connection will be */
    pco_tls_started started;
    void *context;
    pco_transport *made;    /* TLS stands; or NULL, because of: */
    const pco_error *error; /* lent */
} starting;

static starting *of(pco_request *request)
{
    return PCO__CONTAINER(request, starting, request);
}

/* ---- The options ---- */

static const pco__field option_fields[] = {
    PCO__FIELD(pco_start_tls_options, ssl),
    PCO__FIELD(pco_start_tls_options, tls),
    PCO__FIELD(pco_start_tls_options, server_side),
    PCO__FIELD(pco_start_tls_options, server_hostname),
    PCO__FIELD(pco_start_tls_options, ssl_handshake_timeout),
    PCO__FIELD(pco_start_tls_options, ssl_shutdown_timeout),
    PCO__FIELD(pco_start_tls_options, protocol),
    PCO__FIELD(pco_start_tls_options, input),
    PCO__FIELD(pco_start_tls_options, input_length),
    PCO__FIELD(pco_start_tls_options, keep_input),
    PCO__FIELD(pco_start_tls_options, ssl_half_close),
    PCO__FIELD(pco_start_tls_options, ssl_session),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_start_tls_options, sizeof(size_t), option_fields);

static int check_ssl(const pco_start_tls_options *options, pco_error *error)
{
    const char *name = options->server_hostname;
    bool is_client = options->server_side != PCO_ON;
    int code = pco__check_switch(options->server_side, "server_side", error);
    if (code == 0) {
        code = pco__check_switch(options->tls, "tls", error);
    }
    if (code != 0) {
        return code;
    }
    if ((options->ssl != NULL) == (options->tls == PCO_ON)) {
        return pco__error_set(error, PCO_EINVAL, 0, "one of ssl and tls is required, and not both");
    }
    if (!is_client && options->tls == PCO_ON) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "tls is only meaningful for the client: a server's certificate comes "
                              "with ssl");
    }
    if (is_client && (name == NULL || name[0] == '\0')) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "server_hostname is required: it is what the certificate must show");
    }
    const pco__given clients[] = {{name != NULL, "server_hostname"},
                                  {options->ssl_session != NULL, "ssl_session"}};
    if (!is_client) {
        code = pco__check_none_given(clients, 2, "the client", error);
    }
    if (code == 0) {
        code = pco__check_context(options->ssl, is_client, error);
    }
    return code == 0 && options->ssl_session != NULL
               ? pco__ssl_session_check(options->ssl_session, options->ssl, name, error)
               : code;
}

static int check_options(pco_start_tls_options *options, pco_error *error)
{
    double close_timeout = 0; /* of the socket: it has one */
    int code = check_ssl(options, error);
    if (code == 0) {
        code = pco__check_times(true, &options->ssl_handshake_timeout,
                                &options->ssl_shutdown_timeout, &close_timeout, error);
    }
    if (code == 0) {
        code = pco__check_switch(options->keep_input, "keep_input", error);
    }
    if (code == 0) {
        code = pco__check_half_close(true, options->ssl_half_close, error);
    }
    if (code == 0) {
        code = pco__check_protocol(options->protocol, error);
    }
    if (code == 0 && options->input == NULL && options->input_length != 0) {
        code = pco__error_set(error, PCO_EINVAL, 0, "input is NULL, and input_length is not 0");
    }
    return code;
}

/* ---- The transport ---- */

static int check_transport(const pco_loop *loop, const pco_transport *transport, bool keep_input,
                           pco_error *error)
{
    if (transport == NULL || (transport->home != NULL && transport->home->loop != loop)) {
        return pco__error_set(error, PCO_EINVAL, 0, "the transport %s",
                              transport == NULL ? "is NULL" : "belongs to another loop");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    if (transport->covered) {
        return pco__error_set(error, PCO_EBUSY, 0, "TLS has been started on the transport");
    }
    if (transport->stream == NULL) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the transport is closed");
    }
    int code = transport->class_->check_cover(transport, error);
    if (code == 0 && !keep_input && transport->class_->holds_input(transport)) {
        code = pco__error_set(error, PCO_EINVAL, 0,
                              "input from before TLS waits to be delivered: close the connection, "
                              "or set keep_input if it belongs to the handshake");
    }
    return code;
}

/* ---- What TLS asks ---- */

static pco_protocol *make_protocol(void *context)
{
    starting *self = context;
    return self->protocol;
}

static void end(starting *self, pco_transport *transport, const pco_error *error)
{
    self->made = transport;
    self->error = error;
    pco__loop_unschedule(self->request.loop, &self->task);
    pco__request_complete(&self->request);
}

static void made(pco_transport *transport, void *context)
{
    end(context, transport, NULL);
}

static void handshake_done(pco_transport *transport, const pco_error *error, void *context)
{
    starting *self = context;
    pco_error canceled;
    (void)transport;
    if (error == NULL) {
        return; /* made() follows */
    }
    if (error->code == PCO_ECANCELED && self->request.canceled) {
        pco__error_set(&canceled, PCO_ECANCELED, 0, "starting TLS was canceled");
        error = &canceled;
    }
    end(self, NULL, error);
}

/* ---- The request ---- */

static void cancel(pco_request *request)
{
    pco_transport_abort(of(request)->old);
}

static void complete(pco_request *request)
{
    starting *self = of(request);
    self->started(self->made, self->error, self->context);
}

static void destroy(pco_request *request)
{
    pco__free(of(request));
}

static const pco__request_class starting_class = {
    .cancel = cancel, .complete = complete, .destroy = destroy};

static void begin(pco__task *task)
{
    pco__ssl_begin(PCO__CONTAINER(task, starting, task)->ssl);
}

static int start(pco_loop *loop, starting *self, const pco_start_tls_options *options,
                 pco_request **request, pco_error *error)
{
    pco_ssl_context *ssl = options->ssl;
    int code = ssl == NULL ? pco__ssl_context_of_loop(loop, &ssl, error) : 0;
    if (code != 0) {
        return code;
    }
    pco__ssl_options tls = {.context = ssl,
                            .client = options->server_side != PCO_ON,
                            .server_name = options->server_hostname,
                            .session = options->ssl_session,
                            .handshake_timeout = options->ssl_handshake_timeout,
                            .shutdown_timeout = options->ssl_shutdown_timeout,
                            .half_close = options->ssl_half_close == PCO_ON,
                            .make_protocol = make_protocol,
                            .made = made,
                            .handshake_done = handshake_done,
                            .context_of_calls = self,
                            .input = options->input,
                            .input_length = options->input_length};
    code = pco__ssl_put_on(self->old, &tls, &self->ssl, error);
    if (code == 0) {
        pco__ssl_cover(self->ssl);
        pco__request_begin(loop, &self->request, &starting_class, request);
        pco__loop_schedule(loop, &self->task);
    }
    return code;
}

int pco_loop_start_tls(pco_loop *loop, pco_transport *transport, const pco_start_tls_options *given,
                       pco_tls_started started, void *context, pco_request **request,
                       pco_error *error)
{
    pco_start_tls_options options;
    pco__loop_check_thread(loop);
    if (started == NULL || given == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              started == NULL ? "a callback is required" : "options is NULL");
    }
    int code = pco__options_read(&option_layout, given, &options, error);
    if (code == 0) {
        code = check_options(&options, error);
    }
    if (code == 0) {
        code = check_transport(loop, transport, options.keep_input == PCO_ON, error);
    }
    if (code != 0) {
        return code;
    }
    starting *self = pco__calloc(sizeof *self);
    if (self == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
    }
    self->task.run = begin;
    self->old = transport;
    self->protocol = options.protocol != NULL ? options.protocol : transport->protocol;
    self->started = started;
    self->context = context;
    code = start(loop, self, &options, request, error);
    if (code != 0) {
        pco__free(self);
    }
    return code;
}
