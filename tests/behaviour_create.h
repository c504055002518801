/* SPDX-License-Identifier: MIT */
/* behaviour_create.h: what the tests of create_server have in common. They fail the test. */
#ifndef BEHAVIOUR_CREATE_H
#define BEHAVIOUR_CREATE_H

#include "behaviour.h"

/* Of a documentation network (RFC 5737): no machine has it. */
#define FOREIGN_ADDRESS "203.0.113.77"

/*
 * The options are refused with the code, and a sentence in which `word` is found. Nothing is left.
 */
void assert_refused(const pco_server_options *options, int code, const char *word);

/* The host that the socket is bound to. */
void assert_host(const pco_server *server, size_t index, const char *host);

/* All interfaces: one socket for IPv4 and, where there is IPv6, one for that. */
void assert_everywhere(const pco_server *server);

/* A client connects there, gets a protocol, and goes. */
void assert_client_comes_through(const pco_address *address);

int port_of(const pco_server *server, size_t index);

/*
 * A host, a port of it that was free a moment ago, and whether a server can be made there. Other
 * tests run beside this one and take ports of 127.0.0.1 by the hundred; so it is ::1, if possible.
 */
const char *quiet_host(void);
int find_free_port(void);
bool can_be_bound(int port);

/* A client comes: its connection's socket, the server's end. */
pco_socket accepted_socket(void);

/* A socket of the caller's, bound to 127.0.0.1. */
pco_socket bound_socket(void);
bool is_open(pco_socket sock);

#endif
