/* SPDX-License-Identifier: MIT */
/*
 * unix_world.h: what the tests of UNIX sockets have in common: a folder of each test's own, servers
 * and connections in it, of the world of behaviour.h, and another user. They fail the test.
 */
#ifndef UNIX_WORLD_H
#define UNIX_WORLD_H

#include "behaviour.h"

#include <sys/types.h>

#define UNIX_TEST(name) cmocka_unit_test_setup_teardown(name, unix_world_begin, unix_world_end)

/* Nobody's user and group, for tests that root runs. */
#define NOBODY 65534

typedef struct unix_world {
    char folder[64];
    char path[100]; /* of a socket in it */
} unix_world;

extern unix_world there;

int unix_world_begin(void **state);
int unix_world_end(void **state);

/* What became of create_unix_connection. */
typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    pco_error error; /* code 0: none */
} outcome;

/* Options of both ends, with TLS if at.tls. */
pco_server_options unix_server(void);
pco_connection_options unix_connection(void);

/* Makes at.server. */
void unix_serve(const char *path, const pco_unix_options *file);

/* What create_unix_connection calls; the context is an outcome. */
void unix_note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                         void *context);

/* Begins one, and waits for what comes of it; and one that must stand, at both ends. */
void unix_connect_begin(const char *path, const pco_connection_options *options, outcome *told,
                        pco_request **request);
outcome unix_connect(const char *path);
outcome unix_connect_well(const char *path);

/* The record of the server's end, where there is one connection. */
record *unix_other_end(const outcome *client);

/* Data goes both ways; and both ends go, and the server. */
void unix_talk(const outcome *client);
void unix_part(const outcome *client);

/* The server is refused with the code and a sentence that has `word`; nothing is left open. */
void unix_assert_refused(const char *path, const pco_server_options *options,
                         const pco_unix_options *file, int code, const char *word);
void unix_assert_path_refused(const char *path, int code, const char *word);

bool exists(const char *path);

/* A raw socket that is bound there, and one whose owner has crashed. */
int bound_raw(const char *path, int type);
void leave_behind(const char *path);

/* A raw socket that has connected there, without waiting; -1 and errno. */
int connected_raw(const char *path);

/*
 * Runs `what` in a process of its own, or of nobody's, whose exit status is what it returns, from 0
 * on. Only root can be nobody; the others skip the test.
 */
int as_child(int (*what)(void));
void need_root(void);
int as_nobody(int (*what)(void));
pid_t as_nobody_begin(int (*what)(void));
int child_end(pid_t child);

#endif
