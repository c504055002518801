/* SPDX-License-Identifier: MIT */
/* verbs_socket.c: connections of sockets that are connected already, alone and in pairs. */
#include "swarm.h"

#define PORT_OF_STRANGER 2000

static pco_address stranger;
static pco_address strange_path;

void sockets_begin(void)
{
    if (pco_address_parse("10.0.0.99", PORT_OF_STRANGER, &stranger) != 0 ||
        pco__address_of_path("stranger", &strange_path, NULL) != 0) {
        abort();
    }
}

/* ---- One ---- */

static bool may_open_socket(const world *at)
{
    return may_open(at) && !at->freeing;
}

/* Whether the call has taken it; if not, the socket, which is ours still, is closed. */
static bool take_socket(world *at, opening *made, fake_socket *socket,
                        pco_connection_options *options)
{
    choose_rest(at, made, options);
    options->sock = socket->number;
    if (begin_opening(at, made, options)) {
        socket->user = made;
        return true;
    }
    pco__backend *backend = at->loop->backend;
    backend->class_->network->close(backend, socket->number, false);
    return false;
}

static void choose_tls(world *at, opening *made, pco_connection_options *options,
                       option_texts *with)
{
    if (made->shape == ACCEPTED && made->is_tls) {
        options->ssl = tls_context_of(at);
        made->is_tls = options->ssl != NULL;
        if (made->is_tls) {
            choose_halves(at, made, options);
        }
    } else {
        choose_client_tls(at, made, options, with);
    }
}

static void open_socket(world *at)
{
    option_texts with = {.host = ""};
    pco_connection_options options = {.size = sizeof options};
    opening *made = opening_new(at, pick(at, 2) == 1 ? ACCEPTED : OF_SOCKET);
    fake_socket *socket = fake_socket_of(at->loop, fake_socket_new(at->loop));
    socket->peer = stranger;
    if (made->shape == OF_SOCKET && pick(at, 3) == 1) {
        made->carrier = OVER_UNIX;
        socket->name = strange_path;
        socket->peer = strange_path;
    }
    made->is_tls = swarm_has_tls && pick(at, 2) == 1;
    choose_tls(at, made, &options, &with);
    if (take_socket(at, made, socket, &options)) {
        opening_conn(at, made, socket);
    }
}

/* ---- Two ---- */

static bool may_open_pair(const world *at)
{
    return may_open_socket(at) && at->openings_count + 2 <= OPENINGS_MOST &&
           at->conns_count + 4 <= CONNS_MOST;
}

/* An end of a pair, with the name of a real one. */
typedef struct pair_end {
    opening *opening;
    fake_socket *socket;
    pco_connection_options options;
    option_texts with;
} pair_end;

static void begin_end(world *at, pair_end *of, shape how, const pco_address *own,
                      const pco_address *peer)
{
    memset(of, 0, sizeof *of);
    of->options.size = sizeof of->options;
    of->opening = opening_new(at, how);
    of->socket = fake_socket_of(at->loop, fake_socket_new(at->loop));
    of->socket->name = *own;
    of->socket->peer = *peer;
}

/* TLS at both ends, or at none. */
static void choose_tls_of_pair(world *at, pair_end *server, pair_end *client)
{
    bool is_tls = swarm_has_tls && pick(at, 2) == 1;
    server->opening->is_tls = is_tls && tls_context_of(at) != NULL;
    client->opening->is_tls = server->opening->is_tls;
    choose_tls(at, client->opening, &client->options, &client->with);
    server->opening->is_tls = client->opening->is_tls;
    choose_tls(at, server->opening, &server->options, &server->with);
}

/* If only one end was taken, its other end is a peer of the model's, or gone. */
static void open_pair(world *at)
{
    static pair_end server;
    static pair_end client;
    pco_address names[2];
    check_real_pair(at, names);
    begin_end(at, &server, ACCEPTED, &names[0], &names[1]);
    begin_end(at, &client, pick(at, 2) == 1 ? ACCEPTED : OF_SOCKET, &names[1], &names[0]);
    if (client.opening->shape == OF_SOCKET) {
        choose_tls_of_pair(at, &server, &client);
    }
    say(at, "a pair of sockets");
    bool has_server = take_socket(at, server.opening, server.socket, &server.options);
    bool has_client = take_socket(at, client.opening, client.socket, &client.options);
    if (has_server && has_client) {
        link_up(opening_conn_new(at, client.opening, client.socket),
                opening_conn_new(at, server.opening, server.socket));
    } else if (has_server) {
        opening_conn(at, server.opening, server.socket);
    } else if (has_client) {
        opening_conn(at, client.opening, client.socket);
    }
}

const verb verbs_socket[] = {
    {"open a socket", 8, ANYWHERE, may_open_socket, open_socket},
    {"open a pair", 5, ANYWHERE, may_open_pair, open_pair},
    {.name = NULL},
};
