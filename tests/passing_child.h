/* SPDX-License-Identifier: MIT */
/*
 * passing_child.h: the other process of the tests of portico/pass.h, on every system the same: it
 * takes a listener or a connection off its channel, says "served", and serves one client, which it
 * greets and whose bytes it sends back, to the end.
 */
#ifndef PASSING_CHILD_H
#define PASSING_CHILD_H

#include <portico.h>

#include <stdlib.h>
#include <string.h>

static pco_loop *child_loop;

static inline void has_news(void *context)
{
    (void)context;
}

/* The next message; the loop waits for it, and for no longer than a minute. */
static inline int take_on(pco_loop *loop, pco_socket channel, pco_passed *passed)
{
    int code = pco_loop_add_reader(loop, channel, has_news, NULL, NULL);
    if (code != 0) {
        return code;
    }
    code = pco_socket_take(channel, passed, NULL);
    for (double end = pco_loop_time(loop) + 60; code == PCO_EAGAIN && pco_loop_time(loop) < end;) {
        pco_loop_run_once(loop, 1);
        code = pco_socket_take(channel, passed, NULL);
    }
    pco_loop_remove_reader(loop, channel);
    return code;
}

static inline void child_greets(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "child", 5);
}

static inline void child_sends_back(pco_protocol *self, pco_transport *transport, const void *data,
                                    size_t length)
{
    (void)self;
    pco_transport_write(transport, data, length);
}

static inline void child_ends(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)self;
    (void)transport;
    (void)error;
    pco_loop_stop(child_loop);
}

static const pco_protocol_methods child_methods = {.size = sizeof child_methods,
                                                   .connection_made = child_greets,
                                                   .data_received = child_sends_back,
                                                   .connection_lost = child_ends};
static pco_protocol child_protocol = {.methods = &child_methods};

static inline pco_protocol *make_child_protocol(void *context)
{
    (void)context;
    return &child_protocol;
}

static inline void child_is_connected(pco_transport *transport, pco_protocol *protocol,
                                      const pco_error *error, void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    if (error != NULL) {
        abort();
    }
}

static inline int child_serves(const pco_passed *passed, pco_server **server)
{
    pco_server_options listening = {
        .size = sizeof listening, .protocol_factory = make_child_protocol, .sock = passed->socket};
    pco_connection_options connected = {
        .size = sizeof connected, .protocol = &child_protocol, .sock = passed->socket};
    if (strcmp((const char *)passed->data, "listener") == 0) {
        return pco_loop_create_server(child_loop, &listening, server, NULL);
    }
    return pco_loop_connect_accepted_socket(child_loop, &connected, child_is_connected, NULL, NULL,
                                            NULL);
}

/* Returns what the process shall end with: 0, or which step has failed. */
static inline int live_as_child(pco_socket channel)
{
    pco_server *server = NULL;
    pco_passed passed;
    if (pco_loop_new(NULL, &child_loop, NULL) != 0) {
        return 1;
    }
    if (take_on(child_loop, channel, &passed) != 0) {
        return 2;
    }
    if (child_serves(&passed, &server) != 0) {
        return 3;
    }
    if (pco_socket_pass(channel, 0, PCO_NO_SOCKET, "served", 6, NULL) != 0) {
        return 4;
    }
    pco_loop_run_forever(child_loop);
    pco_server_free(server);
    pco_loop_free(child_loop);
    return 0;
}

#endif
