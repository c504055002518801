/* SPDX-License-Identifier: MIT */
/* request.h: writes a request: GET, HTTP/1.1, one on each connection. */
#ifndef HTTPS_GET_REQUEST_H
#define HTTPS_GET_REQUEST_H

#include "url.h"

#include <portico.h>

/* Whether this is a field for a head, "Name: value", and nothing besides. */
bool request_is_field(const char *text);

/*
 * Asks for the target of `where`, with these fields besides. A field of the same name takes the
 * place of one that would be sent by itself.
 */
void request_write(pco_transport *transport, const url *where, const char *user,
                   const char *const *fields, size_t fields_count);

#endif
