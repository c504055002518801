/* SPDX-License-Identifier: MIT */
/*
 * backend.h: THE SEAM between the portable half of Portico and a system's way of doing input and
 * output. It is completion-style: an operation is submitted, and done() tells how it ended. I/O
 * completion ports and io_uring work that way; posix/reactor.c makes epoll and kqueue work so.
 *
 * The four rules, which tests/test_backend.c holds every backend to:
 *
 *   Once.     A submitted operation reaches done() exactly once, through pco__complete: from
 *             poll(), on the loop's thread, never from inside submit() or cancel().
 *   Lent.     From submit() until done() is entered, the operation and the memory that it names
 *             belong to the backend. done() may reuse or free them, and submit again; it returns
 *             true to have the operation submitted again as it was.
 *             One thing is allowed meanwhile: a chain that is being sent may grow at its end, by
 *             segments or by bytes behind its last one; what was there does not change or move.
 *   Cancel    is a request. done() still follows, with PCO_ECANCELED, or with the real result
 *             where that came first. On epoll and kqueue what is canceled before or during a poll()
 *             has its done() before that poll() returns. Where the system still holds an operation
 *             (completion ports), it follows as soon as that has come back.
 *   Drained.  A socket is closed only when it has no operation in flight. A listener is the
 *             exception: it may be closed with ACCEPTs in flight. Its descriptor is closed at once
 *             and never used again. Each ACCEPT's done() still follows, as if canceled: with
 *             PCO_ECANCELED or, late, with a socket, which is good for nothing but to be closed by
 *             the owner. Until the last of them the pco__io stays where it is.
 *             (Where a system does not end what was canceled, its backend may take the system's
 *             socket away from under it, so that done() follows; for the owner nothing changes.)
 *
 * A socket has at most one operation of each direction in flight: one of ACCEPT (of which a
 * listener may have as many as the backend's `accepts`), RECV, WATCH and READABLE, and one of
 * CONNECT, SEND and WRITABLE. done() of one operation may do anything to other sockets of the same
 * batch, closing and freeing them included: a backend never touches an operation or a socket after
 * its done() or close() without having made sure that it is still there.
 */
#ifndef PCO_BACKEND_H
#define PCO_BACKEND_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/error.h>

/*
 * What this system's backends keep inside each operation and each socket: pco__op_private and
 * pco__io_private, unions with a member for each backend. src/posix and src/win32 have one of each;
 * the build's include path chooses. Only the backend itself looks inside. attach() makes the
 * socket's part, submit() the operation's, whatever was in them before; but the part of a FOREIGN
 * socket is zeroed before it is attached for the first time.
 */
#include "backend_private.h"
#include "support/compiler.h"

typedef struct pco__backend pco__backend;
typedef struct pco__io pco__io;
typedef struct pco__op pco__op;
typedef struct pco__network pco__network; /* network.h */

/* A socket as a backend knows it. Embedded in what owns it; it does not move while attached. */
struct pco__io {
    pco_socket socket;
    pco__io_private private_;
};

/* A piece of memory in a queue that is being sent. */
typedef struct pco__segment pco__segment;
struct pco__segment {
    pco__segment *next;
    const unsigned char *data;
    size_t length; /* never 0 */
};

typedef enum pco__op_kind {
    /*
     * Wait for a connection. Result: `socket`, non-blocking and not inheritable, with the options
     * that the listener was prepared to pass on, and `peer`, of which what is behind its length
     * means nothing. A failure (PCO_EMFILE, PCO_ENOBUFS,
     * PCO_ENOMEM...) leaves the listener in working order; clients that gave up before they were
     * accepted are no failures and are passed over in silence, unless nothing else has come in a
     * thousand attempts or more: then the last failure is told. `length` is how many clients had
     * to be turned away for want of a descriptor.
     *
     * Of a PIPE_LISTENER `with.pipe` says what instances are made of: each ACCEPT makes one, waits
     * for its client and brings it; `peer` is empty. So many clients as there are ACCEPTs in flight
     * find an instance at once.
     */
    PCO__OP_ACCEPT,

    /*
     * Connect to `address`, from where the socket was bound to (network.h, bind_local), or else
     * from any address. After a failure, or after it was canceled, the socket is good for nothing
     * but to be closed; where the result came first, a canceled one may be connected. Nothing keeps
     * a socket from connecting to itself: its two names are the same then.
     */
    PCO__OP_CONNECT,

    /*
     * Wait for data, then read once. With `get_buffer` NULL the data is in memory that the backend
     * lends until done() returns, so that an idle connection holds none. Otherwise get_buffer is
     * asked, from poll(), when the system says that there is something to read; it may do anything
     * that done() may do, cancel included. If it sets *size to 0, the result is PCO_ENOBUFS.
     * Result: `data` and `length`; a length of 0 is the end of the stream.
     */
    PCO__OP_RECV,

    /*
     * Wait for the connection to fail (a reset, a time-out), reading nothing, while the owner does
     * not want to read. Never completes with 0. A system that cannot tell completes it only when
     * it is canceled.
     */
    PCO__OP_WATCH,

    /*
     * Send the segments from `chain` on, all or the first part of them. Result: `length`, at least
     * 1 on success. A peer that has gone is PCO_ECONNRESET, whatever the system calls it; PCO_EPIPE
     * is what who sends after shutdown_send() is told.
     */
    PCO__OP_SEND,

    /*
     * Wait until a FOREIGN descriptor can be read or written, which includes that it has failed or
     * ended: who tries will be told. Nothing is consumed, so that the next poll() ends it again,
     * and again, while that is so. Nothing comes of a descriptor that its owner has closed, until
     * it is attached again.
     */
    PCO__OP_READABLE,
    PCO__OP_WRITABLE

    /*
     * Room for more. A further kind is a value here, with its contract; a member of `with`, which
     * is a pointer, to what the owner keeps next to the operation if that is more; and a case in
     * each backend: compilers name the switches that lack it, which have no default. A backend that
     * has no such kind completes it with PCO_ENOTSUP. It belongs to one of the two directions, and
     * the four rules are its rules. Nothing else changes. So there can be:
     *
     *   datagrams    `with` points to an array, each element an address and a buffer. The result's
     *                `length` counts elements, and each has its own: 0 bytes are a datagram there,
     *                and no end.
     *   files        SEND's sibling, whose `with` points to a handle, an offset and a length.
     *                `length` as SEND's.
     */
} pco__op_kind;

/* How an operation ended. Lent until done() returns. */
typedef struct pco__result {
    int error;       /* 0 or PCO_E* */
    int system_code; /* what the system called it */
    size_t length;   /* of data: 0 after a failure */
    const void *data;
    pco_socket socket;
    const pco_address *peer;
} pco__result;

struct pco__op {
    bool (*done)(pco__op *op, const pco__result *result); /* true: submit it again */
    pco__io *io;
    union {
        const pco__segment *chain;    /* SEND */
        const pco_address *address;   /* CONNECT */
        const struct pco__pipe *pipe; /* ACCEPT of a PIPE_LISTENER: see pipes.h */
        void (*get_buffer)(pco__op *op, void **buffer, size_t *length); /* RECV */
    } with;
    uint8_t kind;   /* pco__op_kind */
    bool in_flight; /* between submit() and done() */
    bool canceled;  /* cancel() was called while it was in flight */
    pco__op_private private_;
    uint32_t most; /* RECV into lent memory: bytes at most; 0: as many as the backend likes */
};

/* How much a RECV reads into lent memory of this size. */
static inline size_t pco__most_of(const pco__op *op, size_t size)
{
    return (size_t)op->most - 1 < size ? op->most : size; /* 0 less 1 is the largest of all */
}

/* A success of attach(), and no error, which are negative: see there. */
#define PCO__ANOTHER 1

/* What a socket, or what stands in its place, is when it is attached. */
typedef enum pco__io_role {
    PCO__IO_GIVEN, /* connected elsewhere: of whatever family */
    PCO__IO_LISTENER,
    PCO__IO_CONNECTED,   /* accepted from such a listener */
    PCO__IO_UNCONNECTED, /* its CONNECT is to come */
    PCO__IO_FOREIGN,     /* somebody else's, of whatever kind: only to be watched */

    /*
     * Windows alone: a handle that is no socket, of a named pipe: see pipes.h. RECV, WATCH and SEND
     * are what they are of a connection, but that a pipe has no half that ends alone:
     * shutdown_send() is PCO_ENOTSUP, and once the peer's end is closed, a SEND is PCO_ECONNRESET.
     * A reset is unknown to it, too: close() leaves what was sent readable in any case.
     */
    PCO__IO_PIPE_LISTENER,
    PCO__IO_PIPE /* accepted from such a listener, or opened */
} pco__io_role;

/* What try_send() has done; small enough to be returned in registers. */
typedef struct pco__sent {
    size_t length;   /* 0 unless error is 0 */
    int error;       /* 0 or PCO_E*; PCO_EAGAIN: the system takes nothing now */
    int system_code; /* as in pco__result */
} pco__sent;

typedef struct pco__backend_options {
    size_t receive_buffer_size;
} pco__backend_options;

typedef struct pco__backend_class {
    const char *name;

    /* What opens and names the sockets that this backend takes. */
    const pco__network *network;

    /* How many ACCEPT operations a listener should have in flight. */
    size_t accepts;

    /*
     * Of so many sockets at least one poll() takes over the news that wait in the system, unless
     * `most` of the backend says less.
     */
    size_t batch;

    /*
     * Makes a backend. PCO_ENOTSUP: not on this system, or it refuses; the next backend is tried.
     */
    int (*init)(const struct pco__backend_class *self, const pco__backend_options *options,
                pco__backend **backend, pco_error *error);

    /* Frees it. No socket is attached any more, and no operation in flight. */
    void (*fini)(pco__backend *backend);

    /* The monotonic clock, in nanoseconds: the one by which poll() waits. */
    uint64_t (*now)(pco__backend *backend);

    /*
     * Waits until something completes, wake() is called, or `timeout` nanoseconds have passed
     * (0: does not wait; PCO__FOREVER), and calls done() for what completed. Operations submitted
     * or canceled meanwhile may complete in the same call, but a busy socket cannot keep poll()
     * from returning. May return early. *stop is set to true if wake(stop) was called.
     */
    void (*poll)(pco__backend *backend, uint64_t timeout, bool *stop);

    /*
     * Ends a poll(), or the next one. Any thread; async-signal-safe on POSIX: it only tells the
     * system. With `stop`, poll() reports that.
     */
    void (*wake)(pco__backend *backend, bool stop);

    /* A descriptor that is readable when the system has news for poll(), or wake(); -1: none. */
    int (*descriptor)(const pco__backend *backend);

    /*
     * In how many nanoseconds poll() has something to do by itself, which the descriptor does not
     * tell: 0 at once, PCO__FOREVER never.
     */
    uint64_t (*due_in)(const pco__backend *backend);

    /*
     * Waits on another thread than the loop's, which stays out of poll() meanwhile: until the
     * system has news for poll(), wake() is called, or it is `until` by now() (PCO__FOREVER).
     * Returns whether one of them has come about; may return early, with false.
     */
    bool (*await)(pco__backend *backend, uint64_t until);

    /*
     * Takes io->socket, which is non-blocking, into the backend's care. On failure the socket is
     * still the caller's.
     *
     * A FOREIGN one stays the caller's in any case, blocking or not, and is detached in the end,
     * never closed; only READABLE and WRITABLE are submitted of it. Its owner may close it at any
     * time, and its number may become another's, also that of a socket of this backend. Attached
     * again while it is attached, it means what has that number now, which is PCO__ANOTHER if that
     * is not what had it before (libkqueue, which sees no close(), cannot tell); where that fails,
     * nothing has changed. PCO_EBUSY: this backend has attached the number as a socket.
     * PCO_ENOTSUP: it is nothing that this system can watch.
     */
    int (*attach)(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error);

    /*
     * Gives a socket back that has nothing in flight, a listener only if nothing was ever submitted
     * of it: it is the caller's, as if it had not been attached (but that Wine 8 lets none leave a
     * completion port). What a done() was not given waits in it still.
     */
    void (*detach)(pco__backend *backend, pco__io *io);

    /* Starts the operation: its kind, io, done and `with` are set. Never fails: done() tells. */
    void (*submit)(pco__backend *backend, pco__op *op);

    /* Asks for the end of an operation in flight. Once is enough; more do nothing. */
    void (*cancel)(pco__backend *backend, pco__op *op);

    /*
     * Sends what the system takes at once, without an operation: allowed while no SEND is in
     * flight. The memory is free again when it returns.
     */
    pco__sent (*try_send)(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                          size_t count);

    /* The same with a single piece of memory, of less than PCO__SEND_ONE bytes. */
    pco__sent (*try_send_one)(pco__backend *backend, pco__io *io, const void *data, size_t length);

    /*
     * How many sent bytes the system still holds, because the peer has not taken them; each byte
     * fewer is progress of a peer that is alive. PCO__UNSENT_UNKNOWN: it cannot tell. There SEND is
     * the measure: an operation takes 256 KiB at most, so that each completion is progress.
     */
    int64_t (*unsent)(pco__backend *backend, const pco__io *io);

    /* Says to the peer that no more will be sent (FIN). */
    int (*shutdown_send)(pco__backend *backend, pco__io *io);

    /*
     * Closes the socket, with a reset if `reset`; io->socket is PCO_NO_SOCKET then. No operation is
     * in flight, but perhaps ACCEPTs of a listener (rule Drained). A socket is closed, never shut
     * down: a duplicate of a listener's descriptor goes on accepting.
     */
    void (*close)(pco__backend *backend, pco__io *io, bool reset);
} pco__backend_class;

#define PCO__FOREVER UINT64_MAX

#define PCO__UNSENT_UNKNOWN ((int64_t)-1)

/* The most buffers that try_send takes in one call. */
#define PCO__SEND_BUFFERS 64

/* What try_send_one takes is shorter. */
#define PCO__SEND_ONE ((size_t)1024 * 1024)

typedef void pco__submit(pco__backend *backend, pco__op *op);

/* Something to be called once, embedded in what wants it. run() takes it out of its place. */
typedef struct pco__hook pco__hook;
struct pco__hook {
    void (*run)(pco__hook *hook);
};

/* The first member of every backend. init() zeroes what it does not set. */
struct pco__backend {
    const pco__backend_class *class_;
    pco_loop *loop;  /* NULL in tests of backends alone */
    size_t attached; /* how many sockets are */
    int reported;    /* what the last poll() took over: 0 or less: there was no news */
    int most;        /* how many news a poll() may take over; init() says how many it can */
    bool is_awaited; /* somebody waits for something to do: pco__backend_news ends that */

    /* Two hooks of pco__complete. The loop's, in debug mode: calls done() in its place. */
    void (*complete)(pco__backend *backend, pco__op *op, const pco__result *result,
                     pco__submit *submit);

    /* Set by whoever has something to do when the running callback returns; NULL otherwise. */
    pco__hook *after_callback;
};

/*
 * Whatever gives the loop something to do between its turns calls this, and so does a backend of
 * which due_in() gets smaller between two calls of poll(). The first time, it wakes who waits.
 */
static inline void pco__backend_news(pco__backend *backend)
{
    if (backend->is_awaited) {
        backend->is_awaited = false;
        backend->class_->wake(backend, false);
    }
}

/* This system's backends, best first, ended by NULL. */
extern const pco__backend_class *const pco__backends[];

#endif
