/* SPDX-License-Identifier: MIT */
/*
 * iocp.h: what the files of the completion port share. iocp.c has the port itself, its packets and
 * its sockets; accept.c, connect.c, poll.c, receive.c and send.c have each kind of operation:
 * start_X begins it, on_X judges the packet that tells of its end. What named pipes do otherwise is
 * in pipe_io.c.
 */
#ifndef PCO_WIN32_IOCP_H
#define PCO_WIN32_IOCP_H

#include "win32/win32.h"

#include "system/backend.h"
#include "support/list.h"

/* How many ACCEPTs a listener has: enough that a burst of clients does not wait for the loop. */
#define PCO__IOCP_ACCEPTS 32

/* Packets dequeued at once. */
#define PCO__IOCP_BATCH 128

/* Who holds an operation. */
enum {
    PCO__STATE_IDLE,
    PCO__STATE_STARTED,
    PCO__STATE_KNOWN,
    PCO__STATE_DELIVERING, /* get_buffer() is running */
    PCO__STATE_HELD        /* it can hear nothing more, until it is canceled: a WATCH, a poll */
};

/* What stands in the place of the family of a FOREIGN socket, which has polls. */
#define PCO__FAMILY_FOREIGN (-1)

/* The same of a named pipe's end, and of what accepts them: their numbers are handles. */
#define PCO__FAMILY_PIPE (-2)

/* Functions that each provider must be asked for. */
typedef struct pco__extensions {
    LPFN_ACCEPTEX accept;
    LPFN_GETACCEPTEXSOCKADDRS accept_addresses;
    LPFN_CONNECTEX connect; /* not for UNIX: see connect.c */
    bool is_loaded;
} pco__extensions;

typedef struct pco__iocp {
    pco__backend base;
    HANDLE port;
    volatile LONG wanted;          /* by wake(), from any thread: WANT_* of iocp.c */
    pco__link known;               /* the KNOWN operations */
    pco__link canceled;            /* those STARTED that were canceled since `look_at` was set... */
    pco__link overdue;             /* ...and before */
    uint64_t look_at;              /* when those overdue lose their sockets */
    pco__extensions extensions[3]; /* for IPv4, IPv6 and UNIX; loaded when first needed */
    UCHAR syn_retransmissions;
    OVERLAPPED_ENTRY packets[PCO__IOCP_BATCH]; /* taken off the port: by poll(), or by await() */
    ULONG taken;                               /* how many of them there are... */
    ULONG told;                                /* ...and of how many poll() has told */
    volatile LONG holds; /* there are such of which it has not: for who looks while one awaits */
    bool has_file_handles;
    size_t buffer_size;
    unsigned char *buffer; /* what a RECV lends */
    SOCKET asker;          /* of which polls are asked; INVALID_SOCKET: there is none yet */
    HANDLE asker_base;     /* what the driver knows it as */
    uint32_t *own;         /* a bit for each socket that is attached and not FOREIGN: see own() */
    size_t own_words;
    HANDLE unheard; /* an event that nobody waits for, once there are pipes: see pipe_io.c */
} pco__iocp;

static inline pco__iocp *pco__iocp_of(pco__backend *backend)
{
    return (pco__iocp *)backend;
}

static inline pco__extensions *pco__iocp_extensions(pco__iocp *self, int family)
{
    return &self->extensions[family == AF_INET ? 0 : family == AF_INET6 ? 1 : 2];
}

static inline OVERLAPPED *pco__op_overlapped(pco__op *op)
{
    return (OVERLAPPED *)op->private_.iocp.overlapped;
}

static inline SOCKET pco__io_socket(const pco__io *io)
{
    return (SOCKET)io->socket;
}

/*
 * There is no socket any more: the owner of a listener has closed it, with accepts in flight that
 * come back one by one; or it was taken away from its operations, see close_overdue in iocp.c.
 */
static inline bool pco__io_is_closed(const pco__io *io)
{
    return io->socket == PCO_NO_SOCKET;
}

static inline bool pco__io_is_pipe(const pco__io *io)
{
    return io->private_.iocp.family == PCO__FAMILY_PIPE;
}

/*
 * On a connection, Windows tells by WSAECONNABORTED that its own side has given up, because what it
 * sent was never acknowledged, say. Elsewhere a lost connection has one name.
 */
static inline int pco__stream_error(int error)
{
    return error == PCO_ECONNABORTED ? PCO_ECONNRESET : error;
}

/* ---- iocp.c ---- */

/* Ends an operation; finish: what has no result but how it ended. Run done(). */
void pco__iocp_complete(pco__iocp *self, pco__op *op, const pco__result *result);
void pco__iocp_finish(pco__iocp *self, pco__op *op, int error, int system_code);

/*
 * Judges a call that was given an OVERLAPPED: 0 if a packet will come. There, WSAEWOULDBLOCK does
 * not mean "try again" but that too many operations are in flight.
 */
int pco__iocp_started(bool success, int *system_code);

/* Starts an operation that has turned out to have no result yet once more. */
void pco__iocp_start_again(pco__iocp *self, pco__op *op);

void pco__iocp_cancel(pco__backend *backend, pco__op *op);

/* Whether the socket is attached, and not as a FOREIGN one. */
bool pco__iocp_owns(const pco__iocp *self, pco_socket sock);

/* ---- The operations. start_X returns 0 if a packet will come, or else what went wrong. ---- */

/* accept.c: what a listener's ACCEPTs need, from the beginning, so that none lacks memory later. */
typedef struct pco__accept_pool pco__accept_pool;
pco__accept_pool *pco__accept_pool_new(void);

/* accept.c: whoever submits an ACCEPT tries anew, whatever has failed before. */
void pco__iocp_accept_anew(pco__op *op);
int pco__iocp_start_accept(pco__iocp *self, pco__op *op, int *system_code);

/* accept.c: the end of an ACCEPT that is KNOWN. */
void pco__iocp_on_known_accept(pco__iocp *self, pco__op *op);
void pco__iocp_on_accept(pco__iocp *self, pco__op *op, int error, int system_code);

/* accept.c: the instance of a pipe that an ACCEPT waits for, or else its listener. */
HANDLE pco__iocp_accept_handle(const pco__op *op);

/* accept.c: cancels the ACCEPTs of a listener that is being closed. */
void pco__iocp_cancel_accepts(pco__backend *backend, pco__accept_pool *pool);

int pco__iocp_start_connect(pco__iocp *self, pco__op *op, int *system_code);
void pco__iocp_on_connect(pco__iocp *self, pco__op *op, int error, int system_code);

/* receive.c, RECV and WATCH. */
int pco__iocp_start_receive(pco__iocp *self, pco__op *op, int *system_code);
void pco__iocp_on_receive(pco__iocp *self, pco__op *op, int error, int system_code);
void pco__iocp_on_watch(pco__iocp *self, pco__op *op, int error, int system_code);

int pco__iocp_start_send(pco__op *op, int *system_code);
void pco__iocp_on_send(pco__iocp *self, pco__op *op, int error, int system_code);

/* poll.c: READABLE and WRITABLE, and the sockets that have no other operations. */
typedef struct pco__polls pco__polls;
bool pco__op_is_poll(const pco__op *op);
int pco__iocp_attach_foreign(pco__iocp *self, pco__io *io, pco_error *error);
void pco__iocp_detach_foreign(pco__iocp *self, pco__io *io);
int pco__iocp_start_poll(pco__iocp *self, pco__op *op, int *system_code);
void pco__iocp_on_poll(pco__iocp *self, pco__op *op);
void pco__iocp_finish_poll(pco__iocp *self, pco__op *op, int error, int system_code);
void pco__iocp_cancel_poll(pco__iocp *self, pco__op *op);

/*
 * poll.c: a CONNECT of which there was no answer at once: 0 if a packet will come. In it the end
 * finds how the connect ended, if the packet says no `error`; it must be asked for, exactly once.
 */
int pco__iocp_await_connect(pco__iocp *self, pco__op *op, int *system_code);
bool pco__op_awaits_connect(const pco__op *op);
int pco__iocp_end_of_connect(pco__op *op, int error, int *system_code);

/* pipe_io.c: the same of named pipes, called by those above. */
int pco__pipe_join_port(pco__iocp *self, pco__io *io, int *system_code);
int pco__pipe_post_accept(pco__iocp *self, pco__op *op, SOCKET *instance, int *system_code);
int pco__pipe_start_receive(pco__iocp *self, pco__op *op, int *system_code);
int pco__pipe_start_send(pco__op *op, int *system_code);

/* pipe_io.c: whether there may be something to read, now that a receive's packet has come. */
bool pco__pipe_may_look(pco__op *op);

/* pipe_io.c: reads without waiting. *length 0: the end. PCO_EAGAIN: there is nothing. */
int pco__pipe_receive(const pco__iocp *self, const pco__io *io, void *buffer, size_t size,
                      size_t *length, int *system_code);

/* send.c: as in pco__backend_class. */
pco__sent pco__iocp_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                             size_t count);
pco__sent pco__iocp_try_send_one(pco__backend *backend, pco__io *io, const void *data,
                                 size_t length);
int64_t pco__iocp_unsent(pco__backend *backend, const pco__io *io);

#endif
