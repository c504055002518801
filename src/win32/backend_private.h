/* SPDX-License-Identifier: MIT */
/*
 * backend_private.h (Windows): what each backend keeps inside each operation and each socket: there
 * is one, the completion port. See backend.h and iocp.c.
 *
 * No Windows header here: the portable half includes this file. The OVERLAPPED, which the system
 * writes to, stands here as the words that it consists of; iocp.c asserts that it fits.
 */
#ifndef PCO_BACKEND_PRIVATE_H
#define PCO_BACKEND_PRIVATE_H

#include <stdint.h>

#include "support/list.h"

struct pco__accept_state;
struct pco__accept_pool;
struct pco__polls;

/* Three pointers and a 64-bit offset. */
#define PCO__OVERLAPPED_WORDS ((3 * sizeof(uintptr_t) + sizeof(uint64_t)) / sizeof(uintptr_t))

typedef struct pco__iocp_io {
    uint32_t in_flight; /* how many operations, for the rule Drained */
    int family;         /* AF_*, of a listener and of a socket that is to connect */
    union {
        struct pco__accept_pool *accepts; /* of a listener */
        struct pco__polls *polls; /* of a FOREIGN socket, or a CONNECT that waits: see poll.c */
    };
} pco__iocp_io;

typedef struct pco__iocp_op {
    uintptr_t overlapped[PCO__OVERLAPPED_WORDS];
    pco__link link;                   /* in one of the backend's queues: see iocp */
    struct pco__accept_state *accept; /* what an ACCEPT needs besides, from the listener's pool */
    int error;                        /* of what is known: how it ended */
    int system_code;
    uint8_t state;
} pco__iocp_op;

/* One member for each backend of this system: see backend.h. */
typedef union pco__io_private {
    pco__iocp_io iocp;
} pco__io_private;

typedef union pco__op_private {
    pco__iocp_op iocp;
} pco__op_private;

_Static_assert(sizeof(pco__io_private) <= 16 && sizeof(pco__op_private) <= 88,
               "every connection pays for the largest member");

#endif
