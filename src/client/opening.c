/* SPDX-License-Identifier: MIT */
/*
 * opening.c: a connection that is being opened, to whatever place: its memory, its end, and the
 * connection that is made of the socket which the place's own file has connected.
 *
 * The one hard idea is who may end when. How it ends is decided once, in pco__opening_fail or when
 * the connection is made, and told once, by the request's completion. The memory stays until the
 * last stream of its own has ended, for instance one that lost the race. Nothing is told inside a
 * call of the user's: failures are told by a task.
 */
#include "client/opening.h"

#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "support/error.h"
#include "support/memory.h"

static pco__opening *of_owner(pco__connection_owner *owner)
{
    return PCO__CONTAINER(owner, pco__opening, owner);
}

static pco__opening *of_request(pco_request *request)
{
    return PCO__CONTAINER(request, pco__opening_request, base)->opening;
}

/* ---- The memory ---- */

static void free_opening(pco__opening *opening)
{
    pco__free((char *)(uintptr_t)opening->options.host);
    pco__free((char *)(uintptr_t)opening->options.service);
    pco__free((char *)(uintptr_t)opening->options.local_host);
    pco__free((char *)(uintptr_t)opening->options.server_hostname);
    pco__free((char *)(uintptr_t)opening->pipe.name);
    pco__free(opening->local);
    pco__free(opening->attempts);
    if (opening->options.ssl != NULL) {
        pco_ssl_context_release(opening->options.ssl);
    }
    pco_ssl_session_release(opening->options.ssl_session);
    pco__free(opening);
}

/* Frees what is over, once nothing refers to it any more. */
static void leave(pco__opening *opening)
{
    if (opening->request == NULL && opening->streams == 0) {
        free_opening(opening);
    }
}

static int copy_string(const char **text)
{
    const char *from = *text;
    *text = from != NULL ? pco__strdup(from) : NULL;
    return from == NULL || *text != NULL ? 0 : PCO_ENOMEM;
}

/* The opening's options still have the user's strings: what is not copied must not be freed. */
static int copy_strings(pco__opening *opening)
{
    pco_connection_options *options = &opening->options;
    const char **texts[] = {&options->host, &options->service, &options->local_host,
                            &options->server_hostname, &opening->pipe.name};
    int code = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (code == 0) {
            code = copy_string(texts[i]);
        } else {
            *texts[i] = NULL;
        }
    }
    return code;
}

/* ---- Sentences ---- */

pco__purpose pco__opening_purpose(const pco__opening *opening)
{
    const pco_connection_options *options = &opening->options;
    pco__purpose purpose;
    const char *host = pco__text_or_null(options->host);
    if (opening->pipe.name != NULL) {
        snprintf(purpose.text, sizeof purpose.text, "connect to pipe %.100s", opening->pipe.name);
    } else if (pco__has_own_sock(options)) {
        snprintf(purpose.text, sizeof purpose.text, "use a socket as a connection");
    } else if (options->addresses_count != 0) {
        char path[PCO_ADDRESS_TEXT_SIZE];
        bool is_unix = pco__opening_is_unix(opening) &&
                       pco_address_host(&opening->attempts[0].address, path, sizeof path) == 0;
        snprintf(purpose.text, sizeof purpose.text, "connect%s%.108s", is_unix ? " to " : "",
                 is_unix ? path : "");
    } else if (options->service != NULL) {
        snprintf(purpose.text, sizeof purpose.text, "connect to %.60s service %.30s",
                 host != NULL ? host : "this machine", options->service);
    } else {
        snprintf(purpose.text, sizeof purpose.text, "connect to %.80s port %d",
                 host != NULL ? host : "this machine", options->port);
    }
    return purpose;
}

bool pco__opening_is_obvious(const pco__opening *opening)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    if (pco__opening_is_unix(opening)) {
        return true;
    }
    return opening->count == 1 && opening->options.host != NULL &&
           pco_address_host(&opening->attempts[0].address, host, sizeof host) == 0 &&
           strcmp(host, opening->options.host) == 0;
}

static const char *stage_name(const pco__opening *opening)
{
    switch (opening->stage) {
    case PCO__OPENING_LOOKING_UP:
        return "looking up names";
    case PCO__OPENING_CONNECTING:
        return opening->pipe.name != NULL ? "all its instances were in use"
                                          : "waiting for an answer";
    default:
        return "in the TLS handshake";
    }
}

/* ---- The end ---- */

void pco__opening_schedule(pco__opening *opening)
{
    pco__loop_schedule(opening->loop, &opening->task);
}

void pco__opening_tell(pco__opening *opening, int stage, const pco_address *address,
                       const pco_error *error)
{
    if (opening->options.progress != NULL) {
        opening->options.progress(stage, address, error, opening->options.context);
    }
}

/* Gives up the streams that are connecting, but `kept`. */
static void abort_attempts(pco__opening *opening, const pco__stream *kept)
{
    for (size_t i = 0; i < opening->next; i++) {
        pco__stream *stream = opening->attempts[i].stream;
        if (stream != NULL && stream != kept) {
            pco__stream_abort(stream, false);
        }
    }
}

/* Nothing waits any more. */
static void settle_down(pco__opening *opening)
{
    pco__loop_stop_timer(opening->loop, &opening->delay);
    pco__loop_stop_timer(opening->loop, &opening->limit);
    pco__loop_unschedule(opening->loop, &opening->task);
    if (opening->lookup != NULL) {
        pco__lookup_forget(opening->lookup);
        opening->lookup = NULL;
    }
}

void pco__opening_fail(pco__opening *opening, const pco_error *error)
{
    if (opening->stage >= PCO__OPENING_DECIDED) {
        return;
    }
    opening->stage = PCO__OPENING_OVER;
    opening->error = *error;
    settle_down(opening);
    abort_attempts(opening, NULL);
    if (opening->winner != NULL) {
        pco_transport_abort(opening->winner->top);
    }
    pco__opening_schedule(opening);
}

void pco__opening_fail_with(pco__opening *opening, int code, const char *sentence)
{
    pco_error error;
    pco__purpose purpose = pco__opening_purpose(opening);
    pco__error_set(&error, code, 0, "%s: %s", purpose.text, sentence);
    pco__opening_fail(opening, &error);
}

static void cancel(pco_request *request)
{
    pco__opening_fail_with(of_request(request), PCO_ECANCELED, "it was canceled");
}

static void complete(pco_request *request)
{
    pco__opening *opening = of_request(request);
    const pco_error *error = opening->error.code != 0 ? &opening->error : NULL;
    opening->request->opening = NULL;
    opening->request = NULL;
    pco_transport *transport = opening->transport;
    pco_protocol *protocol = transport != NULL ? pco_transport_get_protocol(transport) : NULL;
    opening->connected(transport, protocol, error, opening->context);
    leave(opening);
}

static void destroy(pco_request *request)
{
    pco__free(PCO__CONTAINER(request, pco__opening_request, base));
}

static const pco__request_class request_class = {
    .cancel = cancel, .complete = complete, .destroy = destroy};

static void delay_is_over(pco__timer *timer)
{
    pco__opening *opening = PCO__CONTAINER(timer, pco__opening, delay);
    opening->may_go_on = true;
    pco__opening_schedule(opening);
}

/* The user is told by a task, where nothing more can come between. */
static void limit_is_over(pco__timer *timer)
{
    pco__opening *opening = PCO__CONTAINER(timer, pco__opening, limit);
    char sentence[96];
    snprintf(sentence, sizeof sentence, "timed out after %g seconds (connect_timeout), %s",
             opening->options.connect_timeout, stage_name(opening));
    pco__opening_fail_with(opening, PCO_ETIMEDOUT, sentence);
}

/* ---- The connection is made ---- */

static pco_protocol *make_protocol(pco__connection_owner *owner)
{
    pco__opening *opening = of_owner(owner);
    if (opening->stage != PCO__OPENING_MAKING) {
        return NULL;
    }
    opening->stage = PCO__OPENING_DECIDED;
    settle_down(opening);
    pco_protocol *protocol = opening->options.protocol;
    if (protocol == NULL) {
        protocol = opening->options.protocol_factory(opening->options.context);
    }
    if (protocol == NULL || !pco__protocol_is_valid(protocol)) {
        const char *sentence = protocol == NULL
                                   ? "protocol_factory returned no protocol"
                                   : "protocol_factory returned a protocol without a table of "
                                     "methods, or whose size is not sizeof(pco_protocol_methods)";
        opening->stage = PCO__OPENING_MAKING;
        pco__opening_fail_with(opening, PCO_EINVAL, sentence);
        return NULL;
    }
    return protocol;
}

/* connection_made has returned: the stream is the opening's no longer. */
static void made(pco__connection_owner *owner, pco_transport *transport)
{
    pco__opening *opening = of_owner(owner);
    opening->stage = PCO__OPENING_OVER;
    opening->transport = transport;
    pco__stream_disown(opening->winner);
    opening->winner = NULL;
    opening->streams--;
    pco__request_complete(&opening->request->base);
}

/* Whose handshake it is, unless the purpose says so already; or "". */
static const char *peer_of_winner(const pco__opening *opening, char *text, size_t size)
{
    pco_address peer;
    bool known = opening->winner != NULL && !pco__opening_is_obvious(opening) &&
                 pco_transport_get_peername(&opening->winner->base, &peer) == 0 &&
                 pco_address_format(&peer, text, size) == 0;
    return known ? text : "";
}

/*
 * The other end may not be who it is, or TLS has failed. The stream ends by itself, once the peer
 * has read the alert if there is one.
 */
static void fail_by_peer(pco__opening *opening, const pco_error *error)
{
    pco__purpose purpose = pco__opening_purpose(opening);
    char text[PCO_ADDRESS_TEXT_SIZE + sizeof "[]:65535"];
    const char *peer = peer_of_winner(opening, text, sizeof text);
    pco_error whole;
    opening->winner = NULL;
    pco__error_set(&whole, error->code, error->system_code, "%s: %s%s%s", purpose.text, peer,
                   peer[0] != '\0' ? ": " : "", error->message);
    pco__opening_fail(opening, &whole);
}

static void handshake_done(pco__connection_owner *owner, pco_transport *transport,
                           const pco_error *error)
{
    (void)transport;
    if (error != NULL) {
        fail_by_peer(of_owner(owner), error);
    }
}

static void stream_ended(pco__owner *owner)
{
    pco__opening *opening = PCO__CONTAINER(owner, pco__opening, owner.base);
    opening->streams--;
    leave(opening);
}

static void stream_connected(pco__owner *owner, pco__stream *stream, const pco__result *result)
{
    pco__opening *opening = PCO__CONTAINER(owner, pco__opening, owner.base);
    opening->class_->connected(opening, stream, result);
}

static const pco__connection_class owner_class = {
    .base = {.ended = stream_ended, .connected = stream_connected},
    .make_protocol = make_protocol,
    .made = made,
    .handshake_done = handshake_done};

static void make_connection(pco__opening *opening)
{
    pco__stream *stream = opening->winner;
    pco_error error;
    if (opening->options.ssl != NULL) {
        pco_address peer;
        bool known = pco_transport_get_peername(&stream->base, &peer) == 0;
        pco__opening_tell(opening, PCO_CONNECTION_HANDSHAKE, known ? &peer : NULL, NULL);
    }
    if (opening->stage != PCO__OPENING_MAKING) {
        return;
    }
    if (pco__connection_begin(&opening->owner, stream, &error) != 0) {
        fail_by_peer(opening, &error);
    }
}

void pco__opening_won(pco__opening *opening, pco__stream *stream)
{
    opening->stage = PCO__OPENING_MAKING;
    opening->winner = stream;
    pco__loop_stop_timer(opening->loop, &opening->delay);
    pco__loop_unschedule(opening->loop, &opening->task); /* another may have failed just before */
    abort_attempts(opening, stream);
    make_connection(opening);
}

/* ---- The beginning ---- */

/* The opening's task: goes on with what comes next. */
static void go_on(pco__task *task)
{
    pco__opening *opening = PCO__CONTAINER(task, pco__opening, task);
    switch (opening->stage) {
    case PCO__OPENING_LOOKING_UP:
    case PCO__OPENING_CONNECTING:
        opening->class_->go_on(opening);
        break;
    case PCO__OPENING_MAKING:
        make_connection(opening);
        break;
    default:
        if (opening->request != NULL) {
            pco__request_complete(&opening->request->base);
        }
        break;
    }
}

static int adopt_sock(pco__opening *opening, pco_error *error)
{
    const pco_connection_options *options = &opening->options;
    const pco__network *network = pco__opening_network(opening);
    pco__backend *backend = opening->loop->backend;
    bool was_blocking = false;
    pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
    int code = pco__loop_check_unwatched(opening->loop, options->sock, error);
    if (code == 0) {
        code = network->adopt_connected(backend, options->sock, &wanted, &was_blocking, error);
    }
    if (code != 0) {
        return code;
    }
    code = pco__stream_new(opening->loop, options->sock, NULL, &opening->owner.streams,
                           &opening->winner, error);
    if (code != 0 && was_blocking) {
        network->make_blocking(backend, options->sock);
    }
    if (code == 0) {
        opening->streams++;
        opening->stage = PCO__OPENING_MAKING;
    }
    return code;
}

bool pco__opening_take(pco__opening *opening, const pco_address *addresses, size_t count)
{
    opening->attempts = pco__calloc(count * sizeof *opening->attempts);
    if (opening->attempts == NULL) {
        return false;
    }
    opening->count = count;
    for (size_t i = 0; i < count; i++) {
        opening->attempts[i].address = addresses[i];
    }
    return true;
}

static pco__io_role role_of(const pco__opening *opening)
{
    if (opening->pipe.name != NULL) {
        return PCO__IO_PIPE;
    }
    return pco__has_own_sock(&opening->options) ? PCO__IO_GIVEN : PCO__IO_UNCONNECTED;
}

static void set_up(pco__opening *opening, pco_loop *loop, bool is_client)
{
    const pco_connection_options *options = &opening->options;
    pco__connection_owner *owner = &opening->owner;
    opening->loop = loop;
    opening->task.run = go_on;
    opening->delay.fire = delay_is_over;
    opening->limit.fire = limit_is_over;
    pco__connection_owner_init(owner, &owner_class);
    owner->streams.close_timeout = options->close_timeout;
    owner->streams.role = role_of(opening);
    owner->ssl = options->ssl;
    owner->is_client = is_client;
    owner->server_name = pco__server_name(options);
    owner->session = options->ssl_session;
    owner->handshake_timeout = options->ssl_handshake_timeout;
    owner->shutdown_timeout = options->ssl_shutdown_timeout;
    owner->half_close = options->ssl_half_close == PCO_ON;
}

/* Takes the context that was given, or the loop's: from here on `ssl` says whether there is TLS. */
static int take_context(pco__opening *opening, pco_loop *loop, pco_ssl_context *given,
                        pco_error *error)
{
    if (opening->options.tls == PCO_ON) {
        int code = pco__ssl_context_of_loop(loop, &given, error);
        if (code != 0) {
            return code;
        }
    }
    opening->options.ssl = given != NULL ? pco_ssl_context_retain(given) : NULL;
    return 0;
}

/* All that can fail before the request has begun. */
static int prepare(pco__opening *opening, pco_loop *loop, bool is_client, pco_error *error)
{
    pco_ssl_context *given = opening->options.ssl;
    opening->options.ssl = NULL;
    if (opening->options.ssl_session != NULL) {
        pco_ssl_session_retain(opening->options.ssl_session);
    }
    if (copy_strings(opening) != 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "open a connection");
    }
    int code = take_context(opening, loop, given, error);
    if (code != 0) {
        return code;
    }
    set_up(opening, loop, is_client);
    return pco__has_own_sock(&opening->options) ? adopt_sock(opening, error) : 0;
}

int pco__open_connection(pco_loop *loop, const pco_connection_options *checked,
                         const pco__opener *opener, pco_request **request, pco_error *error)
{
    size_t given = checked->addresses_count;
    pco__opening *opening = pco__calloc(sizeof *opening);
    pco__opening_request *begun = pco__calloc(sizeof *begun);
    if (opening == NULL || begun == NULL ||
        (given != 0 && !pco__opening_take(opening, checked->addresses, given))) {
        pco__free(opening);
        pco__free(begun);
        return pco__error_describe(error, PCO_ENOMEM, 0, "open a connection");
    }
    opening->class_ = opener->class_;
    opening->options = *checked;
    opening->options.addresses = NULL;
    if (opener->pipe != NULL) {
        opening->pipe = *opener->pipe;
    }
    opening->connected = opener->connected;
    opening->context = opener->context;
    int code = prepare(opening, loop, opener->is_client, error);
    if (code != 0) {
        free_opening(opening);
        pco__free(begun);
        return code;
    }
    opening->request = begun;
    begun->opening = opening;
    pco__request_begin(loop, &begun->base, &request_class, request);
    pco__loop_start_timer(loop, &opening->limit, opening->options.connect_timeout);
    pco__opening_schedule(opening);
    return 0;
}

int pco__check_opening(pco_loop *loop, pco_connected connected, pco_error *error)
{
    pco__loop_check_thread(loop);
    if (connected == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a callback is required");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    return 0;
}

void pco__opening_check_peer(pco_request *request, pco__peer_check check)
{
    of_request(request)->owner.check_peer = check;
}
