/* SPDX-License-Identifier: MIT */
/*
 * unix.h (Windows): the part of the network table that is about sockets of AF_UNIX:
 * pco__network.credentials, .find_file and .remove_file; and how one is bound.
 */
#ifndef PCO_WIN32_UNIX_H
#define PCO_WIN32_UNIX_H

#include "win32/win32.h"

#include "system/network.h"

/* Binds a socket as the options say. */
int pco__unix_bind(SOCKET sock, const pco_address *address, const pco__listener_options *options,
                   pco_error *error);

int pco__unix_credentials(pco__backend *backend, pco_socket sock, pco_credentials *credentials);
bool pco__unix_find_file(pco__backend *backend, pco_socket sock, pco__socket_file *file);
void pco__unix_remove_file(pco__backend *backend, const pco__socket_file *file);

#endif
