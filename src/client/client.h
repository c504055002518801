/* SPDX-License-Identifier: MIT */
/* client.h: opening connections for the floors above: to addresses that are none of IP's. */
#ifndef PCO_CLIENT_H
#define PCO_CLIENT_H

#include <portico/connection.h>

#include "connection/connection.h"

/* What was given of the options, a whole struct. PCO_EINVAL. */
int pco__connection_options_read(const pco_connection_options *given,
                                 pco_connection_options *options, pco_error *error);

/* What only TCP has must not be given, where the place is none of IP's: PCO_EINVAL. */
int pco__connection_check_no_tcp(const pco_connection_options *options, pco_error *error);

/*
 * create_connection to `place`, of which the options then say nothing; NULL: they say. Its
 * sentences name the place.
 */
int pco__create_connection_to(pco_loop *loop, const pco_address *place,
                              const pco_connection_options *options, pco_connected connected,
                              void *context, pco_request **request, pco_error *error);

/* Has the connection of a request, which has just been begun, ask who the other end is. */
void pco__opening_check_peer(pco_request *request, pco__peer_check check);

#endif
