/* SPDX-License-Identifier: MIT */
/*
 * server.c: the server object: accepting, counting, and closing. create_server.c makes servers.
 *
 * The one hard idea is who may end when. The struct stays as long as anything refers to it: an
 * accept in flight, a connection, or the user, who may free it at any time. settle() is the one
 * place that moves a closing server on, and it runs as a task, when no callback is on the stack.
 */
#include "server/server.h"

#include <assert.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"
#include "support/options.h"
#include "system/local.h"
#include "system/network.h"

/* Seconds to wait after accepting failed (asyncio: ACCEPT_RETRY_DELAY). */
#define BACK_OFF 1.0

static bool accepted(pco__op *op, const pco__result *result);

static void set_state(pco_server *server, pco__server_state state)
{
    assert(state > server->state);
    server->state = state;
}

static const pco__network *network_of(const pco_server *server)
{
    return server->loop->backend->class_->network;
}

/* Closes a socket, or a pipe's end, that is not attached. */
static void close_socket(const pco_server *server, pco_socket sock)
{
    if (server->pipe != NULL) {
        network_of(server)->pipes->close(sock);
    } else {
        network_of(server)->close(server->loop->backend, sock, false);
    }
}

/* ---- Connections ---- */

static pco_server *of_owner(pco__connection_owner *owner)
{
    return PCO__CONTAINER(owner, pco_server, owner);
}

static pco_protocol *make_protocol(pco__connection_owner *owner)
{
    pco_server *server = of_owner(owner);
    if (server->freed) {
        return NULL;
    }
    pco_protocol *protocol = server->options.protocol_factory(server->options.context);
    if (protocol != NULL && !pco__protocol_is_valid(protocol)) {
        pco_error error;
        pco__error_set(&error, PCO_EINVAL, 0,
                       "protocol_factory returned a protocol without a table of methods, or whose "
                       "size is not sizeof(pco_protocol_methods)");
        pco__loop_report(server->loop, "a connection was refused", &error, NULL, NULL, server);
        protocol = NULL;
    }
    if (protocol == NULL) {
        server->counters.refused++;
    }
    return protocol;
}

static void handshake_done(pco__connection_owner *owner, pco_transport *transport,
                           const pco_error *error)
{
    pco_server *server = of_owner(owner);
    server->counters.handshaking--;
    if (error == NULL || error->code == PCO_ECANCELED) {
        return;
    }
    server->counters.handshake_failures++;
    if (server->options.handshake_failed != NULL && !server->freed) {
        pco_address peer;
        if (pco_transport_get_peername(transport, &peer) != 0) {
            memset(&peer, 0, sizeof peer);
        }
        server->options.handshake_failed(server, &peer, error, server->options.context);
    }
}

/* It counts as refused. */
static void report_refused(pco_server *server, const pco_error *error)
{
    server->counters.refused++;
    pco__loop_report(server->loop, "a connection was refused", error, NULL, NULL, server);
}

static void start_connection(pco_server *server, pco_socket sock, const pco_address *peer)
{
    pco__stream *stream;
    pco_error error;
    if (server->pipe == NULL) {
        network_of(server)->prepare_connected(server->loop->backend, sock, &server->socket_options,
                                              server->adopted);
    }
    if (pco__stream_new(server->loop, sock, peer, &server->owner.streams, &stream, &error) != 0) {
        close_socket(server, sock);
        report_refused(server, &error);
        return;
    }
    server->counters.active++;
    if (server->owner.ssl != NULL) {
        server->counters.handshaking++;
    }
    if (pco__connection_begin(&server->owner, stream, &error) != 0) {
        server->counters.handshaking -= server->owner.ssl != NULL;
        report_refused(server, &error);
    }
}

/* ---- Accepting ---- */

static bool is_full(const pco_server *server)
{
    return server->options.max_connections != 0 &&
           server->counters.active >= server->options.max_connections;
}

/* Whether the operation, which rests, may wait for the next client. It counts as in flight then. */
static bool may_accept(pco_server *server, pco__accept *accept)
{
    assert(!accept->op.in_flight);
    if (server->state != PCO__SERVER_SERVING) {
        return false;
    }
    if (accept->parked != PCO_NO_SOCKET || is_full(server) ||
        pco__timer_is_running(&server->back_off)) {
        server->held_back = true;
        return false;
    }
    accept->listener->in_flight++;
    return true;
}

static void submit_accept(pco_server *server, pco__accept *accept)
{
    pco__backend *backend = server->loop->backend;
    if (!accept->op.in_flight && may_accept(server, accept)) {
        backend->class_->submit(backend, &accept->op);
    }
}

/* Starts parked connections as far as there is room, and accepts again. */
static void resume_accepting(pco_server *server)
{
    size_t accepts = server->loop->backend->class_->accepts;
    server->held_back = false;
    for (size_t i = 0; i < server->listeners_count; i++) {
        for (size_t j = 0; j < accepts && server->state == PCO__SERVER_SERVING; j++) {
            pco__accept *accept = &server->listeners[i].accepts[j];
            if (accept->parked != PCO_NO_SOCKET && !is_full(server)) {
                pco_socket sock = accept->parked;
                accept->parked = PCO_NO_SOCKET;
                start_connection(server, sock, &accept->parked_peer);
            }
            submit_accept(server, accept);
        }
    }
}

/* The users' callbacks run as tasks, not as timers: what they schedule has its turn in order. */
static void back_off_is_over(pco__timer *timer)
{
    pco_server *server = PCO__CONTAINER(timer, pco_server, back_off);
    pco__loop_schedule(server->loop, &server->task);
}

static void accepting_failed(pco_server *server, const pco__result *result)
{
    server->counters.accept_errors++;
    server->counters.refused += result->length;
    server->held_back = true;
    if (!pco__timer_is_running(&server->back_off)) {
        pco__loop_start_timer(server->loop, &server->back_off, BACK_OFF);
    }
    if (!server->in_trouble) {
        pco_error error;
        server->in_trouble = true;
        pco__error_describe(&error, result->error, result->system_code,
                            "accept a connection (trying again every second)");
        pco__loop_report(server->loop, "accepting connections fails", &error, NULL, NULL, server);
    }
}

/* Whether any listener has an accept in flight. */
static bool is_accepting(const pco_server *server)
{
    for (size_t i = 0; i < server->listeners_count; i++) {
        if (server->listeners[i].in_flight != 0) {
            return true;
        }
    }
    return false;
}

/* A failure, or a client that came too late. */
static PCO__COLD void accepted_nobody(pco_server *server, const pco__result *result)
{
    if (server->state == PCO__SERVER_SERVING) {
        accepting_failed(server, result);
        return;
    }
    if (result->error == 0) {
        server->counters.accepted++;
        server->counters.refused++;
        close_socket(server, result->socket);
    }
    pco__loop_schedule(server->loop, &server->task);
}

static bool accepted(pco__op *op, const pco__result *result)
{
    pco__accept *accept = PCO__CONTAINER(op, pco__accept, op);
    pco_server *server = accept->listener->server;
    accept->listener->in_flight--;
    if (result->error != 0 || server->state != PCO__SERVER_SERVING) {
        accepted_nobody(server, result);
        return false;
    }
    server->counters.accepted++;
    server->in_trouble = false;
    if (is_full(server)) {
        accept->parked = result->socket;
        accept->parked_peer = *result->peer;
    } else {
        start_connection(server, result->socket, result->peer);
    }
    return may_accept(server, accept);
}

/* ---- Serving ---- */

static int attach_listener(pco_server *server, pco__listener *listener, pco_error *error)
{
    const pco__backend_class *class_ = server->loop->backend->class_;
    if (listener->attached) {
        return 0;
    }
    if (listener->accepts == NULL) {
        listener->accepts = pco__calloc(class_->accepts * sizeof *listener->accepts);
        if (listener->accepts == NULL) {
            return pco__error_describe(error, PCO_ENOMEM, 0, "start serving");
        }
    }
    for (size_t i = 0; i < class_->accepts; i++) {
        pco__accept *accept = &listener->accepts[i];
        accept->listener = listener;
        accept->parked = PCO_NO_SOCKET;
        accept->op.kind = PCO__OP_ACCEPT;
        accept->op.io = &listener->io;
        accept->op.done = accepted;
        accept->op.with.pipe = server->pipe;
    }
    pco__io_role role = server->pipe != NULL ? PCO__IO_PIPE_LISTENER : PCO__IO_LISTENER;
    int code = class_->attach(server->loop->backend, &listener->io, role, error);
    listener->attached = code == 0;
    return code;
}

/* Nothing that can fail comes after the last listen(), which cannot be taken back. */
int pco__server_start(pco_server *server, pco_error *error)
{
    if (server->state == PCO__SERVER_SERVING) {
        return 0;
    }
    int code = 0;
    for (size_t i = 0; i < server->listeners_count && code == 0; i++) {
        code = attach_listener(server, &server->listeners[i], error);
    }
    for (size_t i = 0; i < server->listeners_count && code == 0 && server->pipe == NULL; i++) {
        code = network_of(server)->listen(server->loop->backend, server->listeners[i].io.socket,
                                          server->options.backlog, error);
        server->listens = server->listens || code == 0;
    }
    if (code == 0) {
        set_state(server, PCO__SERVER_SERVING);
        resume_accepting(server);
    }
    return code;
}

/* In debug mode. A server whose loop is gone belongs to no thread. */
static void check_thread(const pco_server *server)
{
    if (server->loop != NULL) {
        pco__loop_check_thread(server->loop);
    }
}

/* In debug mode checks the thread. Returns whether the loop is still there. */
static bool is_alive(const pco_server *server)
{
    check_thread(server);
    return server->loop != NULL;
}

/* Some of its addresses listen, and clients come to them, although starting has failed. */
static void close_half_open(pco_server *server, pco_error *error)
{
    if (error != NULL) {
        pco_error why = *error;
        pco__error_set(error, why.code, why.system_code,
                       "the server is closed, since it could not %s", why.message);
    }
    pco_server_close(server);
}

int pco_server_start_serving(pco_server *server, pco_error *error)
{
    if (!is_alive(server) || server->state >= PCO__SERVER_CLOSING) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the server is closed");
    }
    if (server->loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    int code = pco__server_start(server, error);
    if (code != 0 && server->listens) {
        close_half_open(server, error);
    }
    return code;
}

bool pco_server_is_serving(const pco_server *server)
{
    check_thread(server);
    return server->state == PCO__SERVER_SERVING;
}

/* ---- Closing ---- */

static void close_listener(pco_server *server, pco__listener *listener, pco_socket kept)
{
    pco__backend *backend = server->loop->backend;
    bool is_kept = listener->io.socket == kept;
    if (listener->attached && is_kept) {
        backend->class_->detach(backend, &listener->io);
    } else if (listener->attached) {
        backend->class_->close(backend, &listener->io, false);
    } else if (!is_kept) {
        close_socket(server, listener->io.socket);
    }
    listener->io.socket = PCO_NO_SOCKET;
}

static void close_listeners(pco_server *server, pco_socket kept)
{
    for (size_t i = 0; i < server->listeners_count; i++) {
        close_listener(server, &server->listeners[i], kept);
    }
}

/*
 * Before the socket is closed: then nobody finds the file stale, and no other has its number.
 */
static void remove_file(pco_server *server)
{
    if (server->file != NULL) {
        network_of(server)->remove_file(server->loop->backend, server->file);
    }
}

static void free_listeners(pco_server *server)
{
    for (size_t i = 0; i < server->listeners_count; i++) {
        pco__free(server->listeners[i].accepts);
    }
    pco__free(server->listeners);
    pco__free(server->pipe);
    server->listeners = NULL;
    server->listeners_count = 0;
    server->pipe = NULL;
}

static void drop_waiters(pco_server *server)
{
    while (server->waiters != NULL) {
        pco__waiter *waiter = server->waiters;
        server->waiters = waiter->next;
        pco__free(waiter);
    }
}

static void destroy(pco_server *server)
{
    pco__loop_move_out(&server->resident);
    drop_waiters(server);
    free_listeners(server);
    if (server->options.ssl != NULL) {
        pco_ssl_context_release(server->options.ssl);
    }
    pco__free(server->file);
    pco__free(server);
}

/*
 * The end of waiting, one waiter after the other: each may do anything, freeing the server too. Who
 * waits again inside of it has its turn later.
 */
static void call_waiters(pco_server *server)
{
    size_t count = 0;
    for (const pco__waiter *waiter = server->waiters; waiter != NULL; waiter = waiter->next) {
        count++;
    }
    for (; count != 0 && server->waiters != NULL && !server->freed; count--) {
        pco__waiter waiter = *server->waiters;
        pco__free(server->waiters);
        server->waiters = waiter.next;
        waiter.callback(server, waiter.context);
    }
}

/* ---- Shutting down ---- */

/* Its protocol has the callback, and the connection is open, or being detached. */
static bool hears_of_shutdown(const pco__stream *stream)
{
    const pco_transport *transport = stream->top;
    return (stream->state == PCO__STREAM_DETACHING || !pco_transport_is_closing(transport)) &&
           transport->protocol != NULL && pco__protocol_hears_of_shutdown(transport->protocol);
}

/*
 * Has the connections finish what they are at. No stream leaves the list meanwhile: each ends in a
 * task of its own.
 */
static void tell_of_shutdown(pco_server *server)
{
    server->untold = false;
    for (pco__link *link = server->owner.base.streams.next; link != &server->owner.base.streams;
         link = link->next) {
        const pco__stream *stream = PCO__CONTAINER(link, pco__stream, base.link);
        pco_transport *transport = stream->top;
        if (hears_of_shutdown(stream)) {
            pco_protocol *protocol = transport->protocol;
            protocol->methods->shutting_down(protocol, transport);
            pco__loop_after_callback(server->loop);
        } else if (stream->state < PCO__STREAM_DRAINING) {
            pco_transport_close(transport); /* it has another protocol by now, or starts TLS */
        }
    }
}

/*
 * Closes politely who would not hear of it, as in a TLS handshake. Whoever is in connection_lost
 * may have freed the protocol.
 */
static void close_the_deaf(pco_server *server)
{
    for (pco__link *link = server->owner.base.streams.next; link != &server->owner.base.streams;
         link = link->next) {
        pco__stream *stream = PCO__CONTAINER(link, pco__stream, base.link);
        if (stream->state < PCO__STREAM_DRAINING && !hears_of_shutdown(stream)) {
            pco_transport_close(stream->top);
        }
    }
}

/* The server's task: goes on with accepting, or with closing, as far as it can. */
static void settle(pco__task *task)
{
    pco_server *server = PCO__CONTAINER(task, pco_server, task);
    if (server->state == PCO__SERVER_SERVING && !pco__timer_is_running(&server->back_off)) {
        resume_accepting(server);
    }
    if (server->untold) {
        tell_of_shutdown(server);
    }
    if (server->state == PCO__SERVER_CLOSING && !is_accepting(server)) {
        set_state(server, PCO__SERVER_CLOSED);
    }
    if (!pco__server_is_over(server)) {
        return;
    }
    pco__loop_stop_timer(server->loop, &server->deadline);
    free_listeners(server);
    call_waiters(server);
    if (server->freed && server->holds == 0 && !pco__task_is_queued(&server->task)) {
        destroy(server);
    }
}

/* Closes what waits for its turn. */
static void close_parked(pco_server *server, pco__listener *listener)
{
    size_t accepts = server->loop->backend->class_->accepts;
    for (size_t i = 0; listener->accepts != NULL && i < accepts; i++) {
        pco__accept *accept = &listener->accepts[i];
        if (accept->parked != PCO_NO_SOCKET) {
            close_socket(server, accept->parked);
            accept->parked = PCO_NO_SOCKET;
            server->counters.refused++;
        }
    }
}

void pco_server_close(pco_server *server)
{
    if (!is_alive(server) || server->state >= PCO__SERVER_CLOSING) {
        return;
    }
    set_state(server, PCO__SERVER_CLOSING);
    pco__loop_stop_timer(server->loop, &server->back_off);
    for (size_t i = 0; i < server->listeners_count; i++) {
        close_parked(server, &server->listeners[i]);
    }
    remove_file(server);
    close_listeners(server, PCO_NO_SOCKET);
    pco__local_unlock(server->lock);
    if (!is_accepting(server)) {
        set_state(server, PCO__SERVER_CLOSED);
    }
    pco__loop_schedule(server->loop, &server->task);
}

/* A connection of the server has ended. */
static void connection_ended(pco__owner *owner)
{
    pco_server *server = PCO__CONTAINER(owner, pco_server, owner.base);
    assert(server->counters.active != 0);
    server->counters.active--;
    if (server->held_back && server->state == PCO__SERVER_SERVING) {
        pco__loop_stop_timer(server->loop, &server->back_off);
        resume_accepting(server);
    }
    if (pco__server_is_over(server)) {
        pco__loop_schedule(server->loop, &server->task);
    }
}

void pco_server_close_clients(pco_server *server)
{
    check_thread(server);
    pco__link *next;
    for (pco__link *link = server->owner.base.streams.next; link != &server->owner.base.streams;
         link = next) {
        next = link->next;
        pco_transport_close(PCO__CONTAINER(link, pco__stream, base.link)->top);
    }
}

void pco_server_abort_clients(pco_server *server)
{
    check_thread(server);
    pco__link *next;
    for (pco__link *link = server->owner.base.streams.next; link != &server->owner.base.streams;
         link = next) {
        next = link->next;
        pco_transport_abort(PCO__CONTAINER(link, pco__stream, base.link)->top);
    }
}

int pco_server_wait_closed(pco_server *server, pco_server_callback callback, void *context)
{
    if (callback == NULL) {
        return PCO_EINVAL;
    }
    if (!is_alive(server) || server->loop->freeing) {
        return PCO_ECLOSED;
    }
    pco__waiter *waiter = pco__malloc(sizeof *waiter);
    if (waiter == NULL) {
        return PCO_ENOMEM;
    }
    *waiter = (pco__waiter){.callback = callback, .context = context};
    pco__waiter **last = &server->waiters;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = waiter;
    if (pco__server_is_over(server)) {
        pco__loop_schedule(server->loop, &server->task);
    }
    return 0;
}

static void deadline_has_come(pco__timer *timer)
{
    pco_server_abort_clients(PCO__CONTAINER(timer, pco_server, deadline));
}

int pco_server_shutdown(pco_server *server, double timeout)
{
    if (pco__check_seconds(timeout, true, "timeout", NULL) != 0) {
        return PCO_EINVAL;
    }
    if (!is_alive(server)) {
        return PCO_ECLOSED;
    }
    pco_server_close(server);
    if (!server->shut_down) {
        server->shut_down = true;
        server->untold = true;
        close_the_deaf(server);
        pco__loop_schedule(server->loop, &server->task);
    }
    pco__loop_stop_timer(server->loop, &server->deadline);
    if (!pco__server_is_over(server)) {
        pco__loop_start_timer(server->loop, &server->deadline, timeout);
    }
    return 0;
}

void pco_server_free(pco_server *server)
{
    if (server == NULL) {
        return;
    }
    check_thread(server);
    server->freed = true;
    drop_waiters(server);
    if (server->loop == NULL) {
        destroy(server);
        return;
    }
    pco_server_close(server);
    pco__loop_schedule(server->loop, &server->task);
}

/* ---- Questions ---- */

pco_loop *pco_server_get_loop(const pco_server *server)
{
    check_thread(server);
    return server->loop;
}

size_t pco_server_get_socket_count(const pco_server *server)
{
    check_thread(server);
    return server->state < PCO__SERVER_CLOSING ? server->listeners_count : 0;
}

pco_socket pco_server_get_socket(const pco_server *server, size_t index)
{
    return index < pco_server_get_socket_count(server) ? server->listeners[index].io.socket
                                                       : PCO_NO_SOCKET;
}

int pco_server_get_sockname(const pco_server *server, size_t index, pco_address *address)
{
    pco_socket sock = pco_server_get_socket(server, index);
    return sock != PCO_NO_SOCKET
               ? network_of(server)->sockname(server->loop->backend, sock, address)
               : PCO_EINVAL;
}

static const pco__field counter_fields[] = {
    PCO__FIELD(pco_server_counters, accepted),
    PCO__FIELD(pco_server_counters, active),
    PCO__FIELD(pco_server_counters, handshaking),
    PCO__FIELD(pco_server_counters, refused),
    PCO__FIELD(pco_server_counters, handshake_failures),
    PCO__FIELD(pco_server_counters, accept_errors),
};
static const pco__layout counter_layout =
    PCO__LAYOUT(pco_server_counters, sizeof(size_t), counter_fields);

int pco_server_get_counters(const pco_server *server, pco_server_counters *counters)
{
    check_thread(server);
    return pco__options_fill(&counter_layout, &server->counters, counters);
}

/* ---- Making, and the loop's end ---- */

static pco_server *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, pco_server, resident);
}

static void end(pco__resident *resident)
{
    pco_server_close(of(resident));
    pco_server_abort_clients(of(resident));
}

static bool has_ended(pco__resident *resident)
{
    return pco__server_is_over(of(resident));
}

/* The user still has it: cuts it off from the loop. */
static void leave(pco__resident *resident)
{
    of(resident)->loop = NULL;
}

static const pco__resident_class server_class = {
    .end = end, .has_ended = has_ended, .leave = leave};

static const pco__connection_class owner_class = {.base = {.ended = connection_ended},
                                                  .make_protocol = make_protocol,
                                                  .handshake_done = handshake_done};

pco_server *pco__server_new(pco_loop *loop, const pco_server_options *options,
                            size_t listeners_limit)
{
    pco_server *server = pco__calloc(sizeof *server);
    if (server == NULL) {
        return NULL;
    }
    server->listeners = pco__calloc(listeners_limit * sizeof *server->listeners);
    if (server->listeners == NULL) {
        pco__free(server);
        return NULL;
    }
    server->loop = loop;
    server->lock = PCO__NO_LOCK;
    server->options = *options;
    server->socket_options = PCO__SOCKET_OPTIONS(options);
    server->adopted = pco__has_sock(options);
    if (options->ssl != NULL) {
        pco_ssl_context_retain(options->ssl);
    }
    server->task.run = settle;
    server->back_off.fire = back_off_is_over;
    server->deadline.fire = deadline_has_come;
    pco__connection_owner_init(&server->owner, &owner_class);
    server->owner.streams.role = PCO__IO_CONNECTED;
    server->owner.streams.close_timeout = options->close_timeout;
    server->owner.streams.linger = options->lingering_close == PCO_ON;
    server->owner.ssl = options->ssl;
    server->owner.handshake_timeout = options->ssl_handshake_timeout;
    server->owner.shutdown_timeout = options->ssl_shutdown_timeout;
    server->owner.half_close = options->ssl_half_close == PCO_ON;
    server->resident.class_ = &server_class;
    pco__loop_move_in(loop, &server->resident);
    return server;
}

void pco__server_add_listener(pco_server *server, pco_socket sock)
{
    pco__listener *listener = &server->listeners[server->listeners_count++];
    listener->server = server;
    listener->io.socket = sock;
}

void pco__server_discard(pco_server *server, pco_socket kept)
{
    assert(!is_accepting(server));
    if (kept == PCO_NO_SOCKET) {
        remove_file(server);
    }
    close_listeners(server, kept);
    destroy(server);
}
