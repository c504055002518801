/* SPDX-License-Identifier: MIT */
/*
 * behaviour.h: a small world for tests of servers: a loop, protocols that record what they are
 * told and do what the test wants done, peers, and waiting with an end.
 *
 * The world is one static object, made anew for each test. Whatever belongs to it and is not the
 * library's (records, peers) is freed by world_end, so tests may look at it as long as they run.
 */
#ifndef BEHAVIOUR_H
#define BEHAVIOUR_H

#include <portico.h>

#include "behaviour_peer.h"
#include "support.h"

/* ---- Records: the protocols ---- */

/* The callbacks in which something can be done. */
typedef enum moment {
    AT_MADE,
    AT_DATA,
    AT_EOF,
    AT_LOST,
    AT_PAUSE,
    AT_RESUME,
    AT_GET_BUFFER,
    AT_UPDATED,
    AT_FACTORY, /* without a record */
    MOMENTS
} moment;

typedef struct record record;
typedef void (*deed)(record *self, pco_transport *transport);

struct record {
    pco_protocol protocol;
    record *next;
    pco_transport *transport; /* NULL after connection_lost */
    char story[64];           /* a letter per callback: M D E L P R G U; D and GU once in a row */
    unsigned counts[MOMENTS];
    unsigned char *data;
    size_t length;
    size_t room; /* at `data` */
    bool lost;
    bool lost_cleanly; /* connection_lost(NULL) */
    pco_error error;
    pco_address peer; /* as connection_made saw it */
    int peer_code;
    bool deaf;   /* the test has closed the transport: nothing may be delivered any more */
    bool paused; /* pause_writing was called last */
    bool marked; /* the test's own */
    unsigned char memory[64]; /* of the buffered protocol */
};

/* ---- The world ---- */

typedef struct world {
    pco_loop *loop;
    pco_loop *outside; /* the peers' loop, if they are to outlive `loop`; NULL: `loop` */
    pco_server *server;
    bool tls;
    bool small_buffers; /* of both ends, in the system */

    /* What the records do. */
    deed at[MOMENTS];
    bool buffered;  /* protocols with get_buffer */
    bool echoes;    /* data is sent back */
    bool answers;   /* eof_received returns this */
    bool refuses;   /* the factory returns NULL */
    bool is_broken; /* the factory returns a protocol that is none */

    /* What has happened. */
    record *records; /* the newest first */
    peer *peers;
    unsigned made;
    unsigned lost;
    unsigned factory_calls;
    unsigned closed_calls; /* of wait_closed's callback */
    unsigned reports;      /* to the exception handler */
    int reported;          /* the code of the last */
    char report[128];      /* its message */
    unsigned failures;     /* handshakes */
    unsigned calls;        /* the test is inside that many calls of the library */
    unsigned violations;   /* of the grammar of callbacks */
    char violation[128];   /* the first */
} world;

extern world at;

/* What the tests run on: the backend, NULL for the best one; and whether with TLS. */
extern const pco__backend_class *tested;
extern bool tested_with_tls;

/* Makes and ends the world: set-up and tear-down of every test. The second also looks for leaks. */
int world_begin(void **state);
int world_end(void **state);

/* Frees the server and the loop before the test is over, with everything that is open. */
void world_free_loop(void);

/* Options of a server of records on 127.0.0.1 (with TLS if at.tls), to be changed and used. */
pco_server_options server_options(void);

/* Makes at.server of them; a failure fails the test. Then: of the ordinary ones. */
void serve_with(const pco_server_options *options);
void serve(void);

/* Closes the server, waits until it is closed, and frees it, unless that was done already. */
void end_server(void);

pco_protocol *make_record(void *context);
void count_closed(pco_server *server, void *context);

/* The methods of a record: of a plain protocol, or of one with get_buffer. */
const pco_protocol_methods *record_methods(bool buffered);

/* The record of the connection that was made last. */
record *newest(void);

/* To be called around what a deed does, so that callbacks inside of it are noticed. */
void enter_call(void);
void leave_call(void);

/* Notes that a rule was broken. */
void violate(const char *what);

/* ---- Peers ---- */

/* The address of the server's socket number `index`. */
pco_address address_of(const pco_server *server, size_t index);
peer *join(void);
peer *join_at(const pco_address *address);

/* A client whose connection has been made. */
peer *join_and_wait(void);

/* Closes the peer and waits until it is. */
void leave(peer *self);

/* Whether the backend notices that what it watches was closed: libkqueue does not. */
bool sees_close(void);

/* ---- Waiting: each runs the loops until it is so, and returns whether it has become so ---- */

#define PATIENCE 60.0

bool happens(pco_condition condition, void *context);
bool reaches(const unsigned *counter, unsigned goal);
bool grows_to(const size_t *length, size_t goal);
bool becomes(const bool *flag);
bool shrinks_to(const size_t *length, size_t goal);

/* Every connection that was made has been lost, and the server counts none. */
bool all_are_lost(void);

/* Lets the loops do what there is to do, for some turns without waiting. */
void let_pass(unsigned turns);

/* ---- Looking ---- */

pco_server_counters counters_of(const pco_server *server);

/* The error of `record` as a code; 0: connection_lost(NULL). */
int lost_with(const record *self);

/* How many sockets this process has open. */
unsigned count_sockets(void);

/* Whether this machine has IPv6; tests that need it skip() visibly. */
bool has_ipv6(void);
void need_ipv6(void);

/* ---- Running ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

/* What main() does: runs the tests once, on the best backend, without TLS. */
int run_here(const char *name, const struct CMUnitTest *tests, size_t count);

/* ...or on each of the backends, ended by NULL, without TLS and, if wanted and there, with. */
int run_on(const pco__backend_class *const *backends, bool tls_too, const struct CMUnitTest *tests,
           size_t count);

/* ---- Data ---- */

/* `length` bytes that can be told from those of another place. Static. */
#define PATTERN_LIMIT ((size_t)8 << 20)
const unsigned char *pattern(size_t length);

#endif
