/* SPDX-License-Identifier: MIT */
/*
 * opening.h: a connection that is being opened. Each kind of place has a file above this one, which
 * has a socket connected to it, and knows no other:
 *
 *   create_connection.c   hosts and addresses, by attempts.c; and sockets of the user's
 *   pipe.c                a named pipe, whose instances may all be in use
 */
#ifndef PCO_OPENING_H
#define PCO_OPENING_H

#include <portico/connection.h>

#include "client/options.h"
#include "connection/connection.h"
#include "loop/lookup.h"
#include "loop/request.h"
#include "loop/timer.h"
#include "system/network.h"

/*
 * LOOKING_UP -> CONNECTING -> MAKING -> DECIDED -> OVER. A socket of the user's begins at MAKING. A
 * failure, a cancel and the time limit lead to OVER from everywhere but DECIDED: there the protocol
 * was asked for, and there will be a connection.
 */
typedef enum pco__opening_stage {
    PCO__OPENING_LOOKING_UP, /* local_host, then host */
    PCO__OPENING_CONNECTING, /* attempts are under way */
    PCO__OPENING_MAKING,     /* a socket is connected; TLS may be at work */
    PCO__OPENING_DECIDED,    /* the protocol is being made, and connection_made called */
    PCO__OPENING_OVER        /* how it ended is known: the completion is called, or will be soon */
} pco__opening_stage;

/* One address, tried. */
typedef struct pco__attempt {
    pco_address address;
    pco__stream *stream; /* while it is connecting */
    uint64_t began;
    unsigned selves;  /* how often it met itself */
    unsigned refills; /* how often a UNIX socket's backlog was full */
    int error;        /* why it failed; 0: it has not */
    int system_code;
    const char *action; /* what failed, if not connecting: static */
} pco__attempt;

/* The named pipe that is wanted. */
typedef struct pco__pipe_wanted {
    const char *name; /* without its prefix, a copy; NULL: none is */
    double patience;  /* seconds in which an instance has to be free */
    double pause;     /* before it is tried again */
    uint64_t began;   /* when it was tried first */
} pco__pipe_wanted;

typedef struct pco__opening pco__opening;

/* How one comes to a kind of place. */
typedef struct pco__opening_class {
    /* The task, while it is LOOKING_UP or CONNECTING: goes on with whatever comes next. */
    void (*go_on)(pco__opening *opening);

    /* As pco__owner_class.connected; never called where no stream of it connects. */
    void (*connected)(pco__opening *opening, pco__stream *stream, const pco__result *result);
} pco__opening_class;

/* What the user has of it. */
typedef struct pco__opening_request {
    pco_request base;
    pco__opening *opening; /* until it is complete */
} pco__opening_request;

struct pco__opening {
    const pco__opening_class *class_;
    pco_loop *loop;
    pco__opening_request *request;  /* NULL once it is complete */
    pco__connection_owner owner;    /* of its streams */
    pco_connection_options options; /* complete; strings and addresses are copies */
    pco__pipe_wanted pipe;
    pco_connected connected;
    void *context;
    uint8_t stage;  /* pco__opening_stage */
    bool may_go_on; /* the next address need not wait */

    pco_lookup *lookup; /* under way, or NULL */
    pco_address *local; /* the addresses of local_host */
    size_t local_count;
    pco__attempt *attempts; /* one of each address; NULL: not known yet */
    size_t count;
    size_t next;        /* the first that was not tried yet */
    unsigned in_flight; /* attempts that are connecting */
    unsigned streams;   /* its own that have not ended: until then the memory stays */
    pco__stream *winner;
    pco_transport *transport;

    pco__task task;
    pco__timer delay;
    pco__timer limit;
    pco_error error; /* how it ended; code 0: with a connection, or not yet */
};

/* Checks a call that opens a connection, but for its options. */
int pco__check_opening(pco_loop *loop, pco_connected connected, pco_error *error);

/* Who opens what: a client, a client of a pipe (else NULL), or who has accepted a socket. */
typedef struct pco__opener {
    const pco__opening_class *class_;
    bool is_client;
    const pco__pipe_wanted *pipe; /* its name is still the caller's */
    pco_connected connected;
    void *context;
} pco__opener;

/* Begins, with options that were checked. */
int pco__open_connection(pco_loop *loop, const pco_connection_options *checked,
                         const pco__opener *opener, pco_request **request, pco_error *error);

/* It ends with `error`, soon: what is under way is given up. */
void pco__opening_fail(pco__opening *opening, const pco_error *error);

void pco__opening_fail_with(pco__opening *opening, int code, const char *sentence);

/* Makes attempts of the addresses. False: out of memory. */
bool pco__opening_take(pco__opening *opening, const pco_address *addresses, size_t count);

/* Has its task run, which goes on with whatever comes next. */
void pco__opening_schedule(pco__opening *opening);

/* This stream is connected: makes the connection of it. */
void pco__opening_won(pco__opening *opening, pco__stream *stream);

/* Tells the user how far it is. The user may have canceled it afterwards. */
void pco__opening_tell(pco__opening *opening, int stage, const pco_address *address,
                       const pco_error *error);

/* A few words for sentences: "connect to example.com port 80". */
typedef struct pco__purpose {
    char text[120];
} pco__purpose;
pco__purpose pco__opening_purpose(const pco__opening *opening);

/* Whether that says already which address it is: a literal one, or a path. */
bool pco__opening_is_obvious(const pco__opening *opening);

/* Whether there is one address, of a UNIX socket. */
static inline bool pco__opening_is_unix(const pco__opening *of)
{
    return of->count == 1 && pco_address_family(&of->attempts[0].address) == PCO_AF_UNIX;
}

static inline const pco__network *pco__opening_network(const pco__opening *of)
{
    return of->loop->backend->class_->network;
}

#endif
