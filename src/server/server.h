/* SPDX-License-Identifier: MIT */
/*
 * server.h (internal): a server, as create_server.c makes it and server.c lives it, what serve.c
 * needs to run the loop for it, and what its connections and the loop ask of it.
 */
#ifndef PCO_SERVER_INTERNAL_H
#define PCO_SERVER_INTERNAL_H

#include <portico/server.h>

#include "connection/check.h"
#include "connection/connection.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "support/list.h"
#include "system/backend.h"
#include "system/pipes.h"
#include "transport/stream.h"

typedef struct pco__listener pco__listener;

/*
 * One accept operation of a listener. A connection that came in over max_connections is parked
 * here until another one ends; meanwhile the operation rests.
 */
typedef struct pco__accept {
    pco__op op;
    pco__listener *listener;
    pco_socket parked; /* PCO_NO_SOCKET: none */
    pco_address parked_peer;
} pco__accept;

struct pco__listener {
    pco_server *server;
    pco__io io; /* stays until its last accept has come back, though it may be closed long since */
    bool attached;
    size_t in_flight;     /* of its accepts */
    pco__accept *accepts; /* as many as the backend likes; NULL before it serves */
};

/* BOUND -> SERVING -> CLOSING -> CLOSED; a server that never served skips SERVING. */
typedef enum pco__server_state {
    PCO__SERVER_BOUND,   /* sockets are bound, nobody listens */
    PCO__SERVER_SERVING, /* accepting, unless full or backing off */
    PCO__SERVER_CLOSING, /* the listening sockets are closed; waiting for each accept's done() */
    PCO__SERVER_CLOSED   /* nothing is accepted any more; connections may go on */
} pco__server_state;

typedef struct pco__waiter pco__waiter;
struct pco__waiter {
    pco__waiter *next;
    pco_server_callback callback;
    void *context;
};

struct pco_server {
    pco_loop *loop; /* NULL once the loop is freed */
    pco__resident resident;
    pco__connection_owner owner; /* of its connections */
    pco_server_options options;  /* complete; no string in it is used any more */
    pco__socket_options socket_options;
    pco__listener *listeners;
    size_t listeners_count;
    pco__pipe *pipe; /* what it serves, if that is a named pipe; NULL: sockets */
    pco__server_state state;
    pco__task task;       /* closing and waiters go on */
    pco__timer back_off;  /* after accepting failed */
    pco__timer deadline;  /* of shutdown */
    pco__waiter *waiters; /* in the order in which they came */
    pco_server_counters counters;
    pco__socket_file *file; /* to be removed when it is closed; NULL: none */
    intptr_t lock;          /* of the name that it serves, until it is closed; or PCO__NO_LOCK */
    unsigned holds;         /* a call of serve.c is under way: the server must not vanish */
    bool listens;           /* one of its sockets, at least */
    bool adopted;           /* its socket is the user's */
    bool held_back;         /* some accept is not in flight: full, or backing off */
    bool shut_down;         /* pco_server_shutdown was called */
    bool untold;            /* and connections have not heard of it yet */
    bool in_trouble;        /* accepting fails, and that has been reported */
    bool freed;             /* by the user: it goes when its last connection has ended */
};

/* Whether it is closed and its last connection has ended. */
static inline bool pco__server_is_over(const pco_server *server)
{
    return server->state == PCO__SERVER_CLOSED && server->counters.active == 0;
}

/* Whether the server listens on a socket of the user's. */
static inline bool pco__has_sock(const pco_server_options *options)
{
    return pco__is_sock(options->sock, options->has_sock);
}

/* Where a server listens that is none of create_server's: on a UNIX socket. */
typedef struct pco__server_place {
    const pco_address *address; /* NULL: options->sock */
    int file_mode;
    bool replace_stale;
    bool cleanup_socket;
} pco__server_place;

/* What was given of the options, a whole struct. PCO_EINVAL. */
int pco__server_options_read(const pco_server_options *given, pco_server_options *options,
                             pco_error *error);

/* create_server for such a place; the options say nothing of another one. */
int pco__create_server_at(pco_loop *loop, const pco_server_options *options,
                          const pco__server_place *place, pco_server **server, pco_error *error);

/* What only TCP has must not be given, where the place is none of IP's: PCO_EINVAL. */
int pco__server_check_no_tcp(const pco_server_options *options, pco_error *error);

/* Checks the options of a server, of whatever kind, and reads them into a whole struct. */
int pco__server_check(const pco__network *network, const pco_server_options *given,
                      pco_server_options *options, pco_error *error);

/* Listens on every socket and begins to accept. */
int pco__server_start(pco_server *server, pco_error *error);

/* Makes a server without listeners, a resident of the loop. NULL: out of memory. */
pco_server *pco__server_new(pco_loop *loop, const pco_server_options *options,
                            size_t listeners_limit);

/* Gives it a listener of this socket, which is bound. */
void pco__server_add_listener(pco_server *server, pco_socket sock);

/* A server that nobody was given: frees it; its sockets are closed but for `kept`. */
void pco__server_discard(pco_server *server, pco_socket kept);

#endif
