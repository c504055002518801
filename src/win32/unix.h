/* SPDX-License-Identifier: MIT */
/*
 * unix.h (Windows): the part of the network table that is about sockets of AF_UNIX:
 * pco__network.credentials, .find_file and .remove_file.
 */
#ifndef PCO_WIN32_UNIX_H
#define PCO_WIN32_UNIX_H

#include "system/network.h"

int pco__unix_credentials(pco__backend *backend, pco_socket sock, pco_credentials *credentials);
bool pco__unix_find_file(pco__backend *backend, pco_socket sock, pco__socket_file *file);
void pco__unix_remove_file(pco__backend *backend, const pco__socket_file *file);

#endif
