/* SPDX-License-Identifier: MIT */
/*
 * portico.c: the echo client of this library, by its public headers, with every option at its
 * default. The address is known, as it is to the others.
 */
#define _GNU_SOURCE 1 /* common.h wants clock_gettime */

#include <portico.h>

#include "common.h"

typedef struct connection {
    pco_protocol protocol;
    pco_transport *transport;
    size_t received; /* of the message that comes back */
    pco_ssl_session *session;
} connection;

static pco_loop *loop;
static pco_address address;
static pco_ssl_context *ssl; /* NULL: plain */
static connection *connections;

static void finish_message(void)
{
    if (message_is_back()) {
        pco_loop_stop(loop);
    }
}

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    if (error != NULL) {
        give_up(error->message);
    }
}

static void open_one(connection *self)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &self->protocol,
                                      .addresses = &address,
                                      .addresses_count = 1,
                                      .ssl = ssl,
                                      .ssl_session = self->session,
                                      .server_hostname = ssl != NULL ? "127.0.0.1" : NULL};
    pco_error error;

    self->received = 0;
    if (pco_loop_create_connection(loop, &options, connected, NULL, NULL, &error) != 0) {
        give_up(error.message);
    }
}

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    connection *self = (connection *)protocol;

    self->transport = transport;
    if (set.connect) {
        pco_transport_write(transport, payload, set.size);
    } else {
        finish_message();
    }
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    connection *self = (connection *)protocol;

    (void)data;
    self->received += length;
    if (self->received < set.size) {
        return;
    }
    self->received = 0;
    if (set.connect) {
        if (set.resume) {
            pco_ssl_session_release(self->session);
            self->session = NULL;
            pco_transport_get_ssl_session(transport, &self->session);
        }
        pco_transport_close(transport);
        return;
    }
    finish_message();
    if (begin_message()) {
        pco_transport_write(transport, payload, set.size);
    }
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    (void)transport;
    if (error != NULL || !set.connect) {
        give_up("the server has ended a connection");
    }
    finish_message();
    if (begin_message()) {
        open_one((connection *)protocol);
    }
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
};

static void run(void)
{
    pco_loop_run_forever(loop);
}

static void open_at(size_t index)
{
    open_one(&connections[index]);
}

static void send_at(size_t index)
{
    pco_transport_write(connections[index].transport, payload, set.size);
}

static const actions client = {.open = open_at, .send = send_at, .run = run};

static void make_context(void)
{
    pco_ssl_context_options options = {.size = sizeof options, .ca_file = set.authority};
    pco_error error;

    if (pco_ssl_context_new_client(&options, &ssl, &error) != 0) {
        give_up(error.message);
    }
}

int main(int argc, char **argv)
{
    pco_error error;

    (void)argc;
    read_settings(argv);
    connections = calloc(set.connections, sizeof *connections);
    if (connections == NULL || pco_address_parse("127.0.0.1", set.port, &address) != 0) {
        give_up("no memory");
    }
    for (size_t i = 0; i < set.connections; i++) {
        connections[i].protocol.methods = &methods;
    }
    if (pco_loop_new(NULL, &loop, &error) != 0) {
        give_up(error.message);
    }
    if (set.authority != NULL) {
        make_context();
    }
    return drive(&client);
}
