/* SPDX-License-Identifier: MIT */
/*
 * header.c: the public headers are good C, by the oldest standard that they promise (C99) and by
 * the library's own. To compile without a warning is the test; see also header.cpp.
 */
#include <portico.h>

static void received(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)self;
    pco_transport_write(transport, data, length);
}

/* What a user writes first: a table of methods, and options, by the names of their fields. */
const pco_protocol_methods header_methods = {.size = sizeof header_methods,
                                             .data_received = received};
const pco_server_options header_options = {.size = sizeof header_options, .reuse_port = PCO_OFF};
