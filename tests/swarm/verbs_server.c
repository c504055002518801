/* SPDX-License-Identifier: MIT */
/* verbs_server.c: servers: serve, close, shut down, wait, free; and clients that come. */
#include "swarm.h"

bool has_server(const world *at)
{
    for (unsigned i = 0; i < at->servers_count; i++) {
        if (at->servers[i]->server != NULL) {
            return true;
        }
    }
    return false;
}

served *pick_server(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->servers_count; i++) {
        count += at->servers[i]->server != NULL;
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->servers_count; i++) {
        if (at->servers[i]->server != NULL && nth-- == 0) {
            return at->servers[i];
        }
    }
    return NULL;
}

/* ---- Serving ---- */

/* Whether a call that attaches sockets may fail so. */
static bool may_fail(const world *at, int code, int attach_error)
{
    return (code == PCO_ENOMEM && memory_was_short(at)) ||
           (attach_error != 0 && code == attach_error) || (code == PCO_ECLOSED && at->freeing);
}

static void start_serving(world *at)
{
    served *of = pick_server(at);
    if (of == at->serving && at->is_asked_to_end) {
        return; /* nobody knows whether it is closed */
    }
    int attach_error = fake_of(at->loop)->attach_error;
    enter_library(at, NULL);
    int code = pco_server_start_serving(of->server, NULL);
    leave_library(at);
    say(at, "start_serving of server %u: %d", of->id, code);
    if (of->closed ? code != PCO_ECLOSED : code != 0 && !may_fail(at, code, attach_error)) {
        broken(at, "start_serving returned %s", pco_error_name(code));
    }
    of->serving = of->serving || code == 0;
}

static bool may_serve(const world *at)
{
    return has_server(at) && may_call(at);
}

/* A timer sees to it that it ends. A server that is freed meanwhile is not looked at any more. */
static void serve(world *at)
{
    static const double graces[] = {0, 1, INFINITY};
    served *of = pick_server(at);
    bool until_signal = pick(at, 2) == 1;
    bool served_before = of->serving;
    int attach_error = fake_of(at->loop)->attach_error;
    if (at->hosted) {
        if (pco_server_serve_forever(of->server, NULL) != PCO_EBUSY) {
            broken(at, "a loop that is hosted was run to serve");
        }
        return;
    }
    if (!start_timer(at, pick(at, 5), true, false)) {
        return;
    }
    say(at, "serve%s, server %u", until_signal ? " until a signal" : "", of->id);
    bool was_closed = of->closed;
    of->serving = true;
    at->serving = until_signal ? of : NULL;
    int code = until_signal
                   ? pco_server_serve_until_signal(
                         of->server, graces[pick(at, sizeof graces / sizeof graces[0])], NULL)
                   : pco_server_serve_forever(of->server, NULL);
    of->serving = code == 0 || served_before;
    if (at->is_asked_to_end && of->server != NULL && pco_server_get_socket_count(of->server) != 0) {
        of->closed = false; /* the timer came first */
    }
    at->serving = NULL;
    at->is_asked_to_end = false;
    if (was_closed ? code != PCO_ECLOSED : code != 0 && !may_fail(at, code, attach_error)) {
        broken(at, "serving returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

/* ---- Clients ---- */

/* Each opening may need two: its own, and the other end. */
bool may_have_conn(const world *at)
{
    unsigned wanted = 1;
    for (const opening *each = at->openings; each != NULL; each = each->next) {
        wanted += each->told ? 0 : 2;
    }
    return at->conns_count + wanted <= CONNS_MOST;
}

bool is_open_to_clients(const served *of)
{
    return of->server != NULL && of->serving && !of->closed;
}

/* Who comes to a pipe finds an instance that is free, or nothing. */
static bool has_room(const world *at, const served *of)
{
    return of->carrier != OVER_PIPE ||
           fake_free_instances(at->loop, pco_server_get_socket(of->server, 0)) != 0;
}

static bool may_connect(const world *at)
{
    for (unsigned i = 0; i < at->servers_count; i++) {
        if (is_open_to_clients(at->servers[i])) {
            return may_have_conn(at) && !at->freeing;
        }
    }
    return false;
}

conn *conn_of_server(world *at, served *of, fake_socket *socket)
{
    conn *made = conn_new(at, socket, of->tls);
    made->server = of;
    made->carrier = of->carrier;
    made->wants_halves = of->halves;
    made->port = of->carrier == OVER_TCP ? pco_address_port(&socket->peer) : 0;
    socket->credentials = credentials_of(made->id);
    if (of->name[0] != '\0') {
        made->is_impostor = of->audience != PCO_LOCAL_ALL && pick(at, 6) == 1;
        socket->credentials = who_is(made->id, of->audience, made->is_impostor);
    }
    of->connects++;
    return made;
}

/* The next client's: its number is its port, or its path. A pipe's has none. */
static pco_address name_of_client(world *at, const served *of, size_t which)
{
    pco_address peer = {.length = 0};
    int code = pco_server_get_sockname(of->server, which, &peer);
    if (code != (of->carrier == OVER_PIPE ? PCO_ENOTSOCK : 0)) {
        broken(at, "a listener has no name, or a pipe has one");
    }
    if (of->carrier == OVER_UNIX) {
        char path[PLACE_SIZE];
        snprintf(path, sizeof path, "c%u", at->conns_count);
        pco__address_of_path(path, &peer, NULL);
    } else if (of->carrier == OVER_TCP) {
        pco__address_set_port(&peer, (int)(FIRST_PORT + at->conns_count));
    }
    return peer;
}

conn *connect_to(world *at, served *of)
{
    size_t which = pick(at, (uint32_t)of->sockets);
    pco_socket listener = pco_server_get_socket(of->server, which);
    pco_address peer = name_of_client(at, of, which);
    of->listeners[which] = fake_socket_of(at->loop, listener);
    pco_socket sock = fake_connect(at->loop, listener, peer.length != 0 ? &peer : NULL);
    return conn_of_server(at, of, fake_socket_of(at->loop, sock));
}

static void connect_client(world *at)
{
    served *of = pick_server(at);
    if (!is_open_to_clients(of) || !has_room(at, of)) {
        return;
    }
    conn *made = connect_to(at, of);
    say(at, "client %u comes to server %u", made->id, of->id);
    if (of->tls) {
        tls_peer_new(at, made);
    }
}

/* ---- Closing ---- */

static void mark_all_closed(world *at, const served *of, bool cut)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *each = at->conns[i];
        if (each->server == of && is_attached(each)) {
            mark_closed(each, cut || each->state == COMING || each->upgrade != NULL);
        }
    }
}

/*
 * Those that hear of it are told, soon, and close themselves; those that do not are closed at once.
 * A second shutdown tells nobody, and has another deadline.
 */
void mark_all_shut_down(world *at, served *of, bool has_deadline)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *each = at->conns[i];
        if (each->server != of || !is_attached(each)) {
            continue;
        }
        each->cut = each->cut || has_deadline;
        if (of->shut_down) {
            continue;
        }
        bool is_told = each->state == MADE_CONN && each->upgrade == NULL;
        if (is_told && each->proto->base.methods->shutting_down != NULL) {
            each->doomed = true;
        } else {
            mark_closed(each, each->state == COMING || each->upgrade != NULL);
        }
    }
    of->shut_down = true;
}

static void close_server(world *at)
{
    served *of = pick_server(at);
    say(at, "close server %u", of->id);
    of->closed = true;
    enter_library(at, NULL);
    pco_server_close(of->server);
    leave_library(at);
}

static void close_clients(world *at)
{
    served *of = pick_server(at);
    say(at, "close_clients of server %u", of->id);
    mark_all_closed(at, of, false);
    enter_library(at, NULL);
    pco_server_close_clients(of->server);
    leave_library(at);
}

static void abort_clients(world *at)
{
    served *of = pick_server(at);
    say(at, "abort_clients of server %u", of->id);
    mark_all_closed(at, of, true);
    enter_library(at, NULL);
    pco_server_abort_clients(of->server);
    leave_library(at);
}

static void shut_down(world *at)
{
    static const double timeouts[] = {0, 1, 5, INFINITY};
    served *of = pick_server(at);
    double timeout = timeouts[pick(at, sizeof timeouts / sizeof timeouts[0])];
    say(at, "shutdown of server %u in %g s", of->id, timeout);
    of->closed = true;
    mark_all_shut_down(at, of, !isinf(timeout));
    enter_library(at, NULL);
    int code = pco_server_shutdown(of->server, timeout);
    leave_library(at);
    if (code != 0 && !(at->freeing && code == PCO_ECLOSED)) {
        broken(at, "shutdown returned %s", pco_error_name(code));
    }
}

static void closed(pco_server *server, void *context)
{
    served *of = context;
    world *at = of->at;
    pco_server_counters counters = {.size = sizeof counters};
    enter_callback(at, NULL, "wait_closed's callback", of->id);
    if (of->freed || server != of->server) {
        broken(at, "the waiter of a server that was freed was called");
    }
    if (pco_server_get_counters(server, &counters) != 0 || counters.active != 0 ||
        (!of->closed && !at->freeing)) {
        broken(at, "the waiter was called before the server's end");
    }
    of->waited++;
    if (of->waited > of->waits) {
        broken(at, "a waiter was called twice");
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void wait_closed(world *at)
{
    served *of = pick_server(at);
    enter_library(at, NULL);
    int code = pco_server_wait_closed(of->server, closed, of);
    leave_library(at);
    say(at, "wait_closed of server %u: %d", of->id, code);
    if (at->freeing ? code != PCO_ECLOSED
                    : code != 0 && !(code == PCO_ENOMEM && memory_was_short(at))) {
        broken(at, "wait_closed returned %s", pco_error_name(code));
    }
    of->waits += code == 0;
}

static void free_a_server(world *at)
{
    served *of = pick_server(at);
    pco_server *gone = of->server;
    say(at, "free server %u", of->id);
    of->freed = true;
    of->closed = true;
    of->server = NULL;
    enter_library(at, NULL);
    pco_server_free(gone);
    leave_library(at);
}

const verb verbs_server[] = {
    {"start_serving", 4, ANYWHERE, has_server, start_serving},
    {"serve", 3, OUTSIDE, may_serve, serve},
    {"connect", 40, ANYWHERE, may_connect, connect_client},
    {"close server", 2, ANYWHERE, has_server, close_server},
    {"close_clients", 2, ANYWHERE, has_server, close_clients},
    {"abort_clients", 2, ANYWHERE, has_server, abort_clients},
    {"shutdown", 2, ANYWHERE, has_server, shut_down},
    {"wait_closed", 3, ANYWHERE, has_server, wait_closed},
    {"free server", 2, ANYWHERE, has_server, free_a_server},
    {.name = NULL},
};
