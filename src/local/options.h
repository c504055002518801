/* SPDX-License-Identifier: MIT */
/* options.h: what servers and connections of UNIX sockets check alike. */
#ifndef PCO_LOCAL_OPTIONS_H
#define PCO_LOCAL_OPTIONS_H

#include "loop/loop.h"

/*
 * Just one of a path and a UNIX socket of the caller's, which `sock` and `has_sock` say as in other
 * options; puts the path's address, or the socket's, in *address. PCO_EINVAL, PCO_ENOTSUP;
 * PCO_ENOTSOCK.
 */
int pco__local_check_unix(pco_loop *loop, const char *path, pco_socket sock, int has_sock,
                          pco_address *address, pco_error *error);

#endif
