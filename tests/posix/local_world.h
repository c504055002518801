/* SPDX-License-Identifier: MIT */
/*
 * local_world.h: what the tests of local names have in common: a runtime folder of each test's own,
 * servers and connections in it, of the world of behaviour.h. They fail the test.
 */
#ifndef LOCAL_WORLD_H
#define LOCAL_WORLD_H

#include "behaviour.h"

#include <portico/local.h>

#define LOCAL(name) cmocka_unit_test_setup_teardown(name, local_world_begin, local_world_end)

#define NAME "com.example.editor"
#define STRANGER 65534 /* nobody, by custom */

extern char top[64]; /* the runtime folder, for each test */

int local_world_begin(void **state);
int local_world_end(void **state);

/* Only root can be another user; the others skip the test. */
void skip_unless_root(void);

/* Where the socket of the name is. */
const char *path_of(const char *name, int audience);

pco_server_options of_records(void);
int serve_audience(const char *name, int audience, pco_server **server, pco_error *error);

/* Makes at.server, of NAME and for the user. */
void serve_name(void);

/* What the completion of the last connection was told. */
extern struct told {
    unsigned calls;
    pco_transport *transport;
    pco_error error;
} told;

/* That completion. */
void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
               void *context);

int dial(const char *name, int audience, pco_request **request, pco_error *error);

/* Connects and waits for the answer, which is returned. */
int connect_to(const char *name, int audience);

/* Connects; data comes through, and both ends go. */
void assert_comes_through(const char *name, int audience);

#endif
