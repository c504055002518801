/* SPDX-License-Identifier: MIT */
/*
 * options.h: what this floor's servers and connections check alike: options that say where another
 * kind is, or how TCP is to be, make no sense here. Each is PCO_EINVAL, and the sentence names it.
 */
#ifndef PCO_LOCAL_OPTIONS_H
#define PCO_LOCAL_OPTIONS_H

#include <portico/connection.h>
#include <portico/server.h>

#include "loop/loop.h"

int pco__local_check_server(const pco_server_options *options, pco_error *error);
int pco__local_check_connection(const pco_connection_options *options, pco_error *error);

/* Just one of an address and a socket of the caller's. */
int pco__local_check_place(const char *what, bool has_address, bool has_sock, pco_error *error);

/*
 * The same of a path and a UNIX socket; puts the path's address, or the socket's, in *address.
 * PCO_EINVAL, PCO_ENOTSUP; PCO_ENOTSOCK.
 */
int pco__local_check_unix(pco_loop *loop, const char *path, bool has_sock, pco_socket sock,
                          pco_address *address, pco_error *error);

#endif
