/* SPDX-License-Identifier: MIT */
/*
 * header.cpp: the public headers are good C++, from C++11 on. To compile without a warning is the
 * test. C++11 has no designated initializers, so this is also how options are filled in there.
 */
#include <portico.h>

static_assert(sizeof(pco_socket) == sizeof(void *), "a socket is as large as a pointer");

int header_listen(pco_loop *loop, pco_protocol_factory factory, pco_server **server);

int header_listen(pco_loop *loop, pco_protocol_factory factory, pco_server **server)
{
    pco_server_options options{};
    options.size = sizeof options;
    options.protocol_factory = factory;
    return pco_loop_create_server(loop, &options, server, nullptr);
}
