/* SPDX-License-Identifier: MIT */
/*
 * names.h (Windows): the part of the network table that needs no socket: pco__network.resolve and
 * .resolve_service.
 */
#ifndef PCO_WIN32_NAMES_H
#define PCO_WIN32_NAMES_H

#include "system/network.h"

int pco__resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                 size_t *count, pco_error *error);
int pco__resolve_service(const char *service, int *port, pco_error *error);

#endif
