/* SPDX-License-Identifier: MIT */
/* early_client.h: a client that has come to a socket before there is a server. */
#ifndef EARLY_CLIENT_H
#define EARLY_CLIENT_H

#include "behaviour_create.h"

#include "system/network.h"

#include <sys/socket.h>
#include <unistd.h>

/*
 * The server that `options` ask for is made of a socket to which a client has connected before; and
 * the client, which is yours to close, is a connection of it.
 */
static inline int serve_early_client(pco_server_options *options)
{
    pco_address address;
    options->host = NULL;
    options->sock = bound_socket();
    assert_int_equal(pco__system_network.listen(NULL, options->sock, 1, NULL), 0);
    assert_int_equal(pco__system_network.sockname(NULL, options->sock, &address), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(
        connect(client, (const struct sockaddr *)address.storage, (socklen_t)address.length), 0);
    serve_with(options);
    assert_true(reaches(&at.made, 1));
    return client;
}

#endif
