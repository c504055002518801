/* SPDX-License-Identifier: MIT */
/*
 * socket.h (POSIX): what the reactor needs of sockets besides the network table.
 */
#ifndef PCO_POSIX_SOCKET_H
#define PCO_POSIX_SOCKET_H

#include <portico/address.h>
#include <portico/base.h>

#include "system/backend.h"

/*
 * Keeps a descriptor clear of 0 to 2, whose numbers a program may have closed and will
 * print to all the same: returns it, or a duplicate of it that is close-on-exec, having closed it.
 * -1 and errno: there are no more. A descriptor of -1 stays so.
 */
int pco__descriptor_raise(int descriptor);

/*
 * Accepts one connection, non-blocking and close-on-exec, and its peer's address, of
 * which what is behind its length is not set. -1 and errno as accept(2).
 */
int pco__socket_accept(int listener, pco_address *peer);

/* As pco__backend_class.unsent and pco__network.close. */
int64_t pco__socket_unsent(int descriptor);
void pco__socket_close(pco_socket sock, bool reset);

/* ports.c: as pco__network.gives_port. */
bool pco__port_is_given(pco__backend *backend, int port);

#endif
