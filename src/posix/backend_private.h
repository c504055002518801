/* SPDX-License-Identifier: MIT */
/*
 * backend_private.h (POSIX): what each backend keeps inside each operation and each socket, so that
 * nothing is allocated on the hot path. See backend.h. The reactor's part is that of epoll and of
 * kqueue: see reactor.h.
 */
#ifndef PCO_BACKEND_PRIVATE_H
#define PCO_BACKEND_PRIVATE_H

#include "support/list.h"

#include <stdbool.h>
#include <stdint.h>

struct pco__op;

typedef struct pco__reactor_io {
    pco__link link;      /* in one of the reactor's queues */
    struct pco__op *in;  /* ACCEPT, RECV or WATCH in flight */
    struct pco__op *out; /* CONNECT or SEND in flight */
    uint32_t generation; /* tells this socket from an earlier one of its number (epoll.c) */
    int32_t available;   /* bytes that a poller has counted, less what was read since */
    int16_t error;       /* what a poller was told and SO_ERROR may not tell again; 0: nothing */
    union {
        uint16_t accepts_failed; /* in a row, on account of the clients: see accept.c */
        struct {
            uint8_t told;  /* of a FOREIGN one: the PCO__READY_* that the poller tells of */
            uint8_t lacks; /* and those that it cannot tell of */
        };
    };
    uint8_t ready;       /* PCO__READY_*: what the system said and has not been used up */
    uint8_t wants;       /* PCO__READY_*: what the operations in flight wait for */
    uint8_t short_reads; /* PCO__SHORT_READ_*: why a short read leaves `ready` as it is */
    uint8_t role : 3;    /* pco__io_role */
    bool registered : 1; /* what listens or connects: the poller knows it */
    bool starving : 1;   /* the link is in the list of those that starve */
    bool shut_down : 1;  /* we have ended our side: EPIPE is the answer to that */
} pco__reactor_io;

typedef struct pco__reactor_op {
    uint8_t wants; /* PCO__READY_*: what the operation waits for */
} pco__reactor_op;

typedef union pco__io_private {
    pco__reactor_io reactor;
} pco__io_private;

typedef union pco__op_private {
    pco__reactor_op reactor;
} pco__op_private;

_Static_assert(sizeof(pco__io_private) <= 4 * sizeof(void *) + 16 && sizeof(pco__op_private) <= 1,
               "every connection pays for the largest member");

#endif
