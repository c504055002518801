/* SPDX-License-Identifier: MIT */
/*
 * reactor.h: makes a completion-style backend (backend.h) out of a system that only tells what is
 * ready, and describes the small part that differs between such systems: the poller.
 *
 * The reactor (reactor.c) remembers for each socket what is ready and what its operations want.
 * Where the two meet it tries the operation: once when the poller reports the socket, and what is
 * then still ready waits in the ready queue for the next poll(). It relies on edges: a poller
 * reports each change once, and the reactor forgets a bit only when the system has said that the
 * socket is drained (EAGAIN, or a short read or write).
 */
#ifndef PCO_POSIX_REACTOR_H
#define PCO_POSIX_REACTOR_H

#include "system/backend.h"
#include "system/network.h"
#include "support/list.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

/*
 * What can be ready, and be waited for. A bit stays set until the reactor has used it up. The
 * numbers are those of EPOLLIN, EPOLLOUT and EPOLLERR, so that epoll.c has little to translate.
 */
enum {
    PCO__READY_IN = 0x01,    /* data, the end of the stream, a connection to accept, an error */
    PCO__READY_OUT = 0x04,   /* room to send, a connect() to be begun or that has ended, an error */
    PCO__READY_ERROR = 0x08, /* the connection has failed: SO_ERROR may say how */

    /* Of what is waited for alone: the IN is a RECV into lent memory. */
    PCO__WANTS_PLAINLY = 0x40
};

/* Why a read that did not fill its memory leaves a socket ready; mostly nothing, and it is not. */
enum {
    /*
     * The end of the stream or an error waits behind the data, and the edge that announced it will
     * not come again. Never taken back.
     */
    PCO__SHORT_READ_PROVES_NOTHING = 0x01,
    PCO__SHORT_READ_COUNTED = 0x02 /* io->private_.reactor.available counts what is left */
};

/*
 * The most that one call reads or sends: below what the system itself cuts a call to (2 GiB less a
 * page), or a transfer that was merely cut would look as if the socket were drained.
 */
#define PCO__TRANSFER_LIMIT ((size_t)1 << 30)

typedef struct pco__reactor {
    pco__backend base;
    pco__link ready;    /* the ready queue */
    pco__link batch;    /* that part of it that this poll() goes through */
    pco__link starved;  /* sockets whose data the system had no memory for... */
    uint64_t feed_at;   /* ...and when they are tried again, at the latest */
    pco__link canceled; /* sockets with canceled operations, which end before poll() returns */
    pco__io *current;   /* the socket whose operations are being tried; NULL once it is closed */
    unsigned char *scratch; /* the memory of lent reads */
    size_t scratch_size;
    pco__io **sockets; /* by descriptor, 0 at least; NULL where none is attached */
    size_t capacity;   /* of sockets */
    pco__io **foreign; /* the same of FOREIGN ones, whose numbers may be those of sockets, too */
    size_t foreign_capacity;
    uint32_t generation; /* of the socket attached last; 0 is no socket's */
    pid_t process;       /* which made it: its children share the means to wake it */
    int reserve;         /* a descriptor to give up when there are no others left; -1: none */
    int first_given;     /* the ports that the system gives to who connects: see ports.c... */
    int last_given;      /* ...0: that was not looked up yet */
    bool has_unix;       /* a listener of AF_UNIX has been attached */
    bool queued;         /* something may be in one of the lists */
} pco__reactor;

/* What watch() may return: no errno. */
#define PCO__WATCHES_ANOTHER (-1)

/*
 * A poller: the backend's class, of which it supplies `name`, `poll` and how to end and to await
 * one itself and the rest by PCO__REACTOR_CLASS, and the calls that the reactor makes. All but wake
 * and await run on the loop's thread.
 *
 * poll() waits between pco__reactor_begin and pco__reactor_end, for at most `timeout` nanoseconds,
 * never less where nothing happens (round up; 0: does not wait; PCO__FOREVER), and calls
 * pco__reactor_ready for what the system reports, up to base.most events. That runs callbacks,
 * which may close and free any socket: an event must find its socket by pco__reactor_find, each
 * time. May return early, on a signal for instance. Sets base.reported, and *stop if wake(stop) was
 * called since the last poll().
 */
typedef struct pco__poller {
    pco__backend_class class_;

    /* The size of the poller's own structure, whose first member is the pco__reactor. */
    size_t size;

    /*
     * Whether a socket that failed is never reported without PCO__READY_ERROR, so that a connect()
     * that is reported without has succeeded, and need not be asked. (Not so on FreeBSD, where
     * filt_sowrite reports an error that came before the socket has ended as room to send.)
     */
    bool tells_failures;

    /*
     * Opens the system's queue and the means to wake it, and sets base.most. The structure is
     * zeroed but for the reactor's part. On failure nothing stays open; PCO_ENOTSUP: not on this
     * system.
     */
    int (*open)(pco__reactor *reactor, pco_error *error);
    void (*close)(pco__reactor *reactor);

    /*
     * Registers io->socket, once for its whole life: input and output of connections, input of
     * listeners (its role), which listen by then, each change to be reported once (EPOLLET,
     * EV_CLEAR), together with the generation of io's private part. What is ready already is
     * reported too.
     */
    int (*add)(pco__reactor *reactor, pco__io *io, pco_error *error);

    /*
     * Nothing shall be reported of the socket any more. `closes`: it will be closed directly after
     * this, which may be enough; otherwise it lives on, with an owner of its own.
     */
    void (*remove)(pco__reactor *reactor, pco__io *io, bool closes);

    /*
     * From now on tells what is wanted of a FOREIGN descriptor (io's private part: `wants`,
     * PCO__READY_IN and _OUT), and nothing else: in every poll(), as long as it is so, by
     * pco__reactor_tell. `anew`: with the generation that io has now, of what has its number now;
     * sets `lacks` to what cannot be told. 0, an errno, or PCO__WATCHES_ANOTHER: what was watched
     * before under this number is gone. Otherwise the number may be another's already, which is
     * left alone, and nothing can fail.
     */
    int (*watch)(pco__reactor *reactor, pco__io *io, bool anew);

    /* Tells nothing of it any more. */
    void (*unwatch)(pco__reactor *reactor, pco__io *io);
} pco__poller;

/*
 * The class of a poller. `wake_`, `descriptor_`, `await_`, `batch_`: as in pco__backend_class;
 * wake() is async-signal-safe and keeps errno.
 */
#define PCO__REACTOR_CLASS(name_, poll_, wake_, descriptor_, await_, batch_)                       \
    {                                                                                              \
        .name = (name_), .network = &pco__system_network, .accepts = 1, .batch = (batch_),         \
        .init = pco__reactor_init, .fini = pco__reactor_fini, .now = pco__reactor_now,             \
        .poll = (poll_), .wake = (wake_), .descriptor = (descriptor_),                             \
        .due_in = pco__reactor_due_in, .await = (await_), .attach = pco__reactor_attach,           \
        .detach = pco__reactor_detach, .submit = pco__reactor_submit,                              \
        .cancel = pco__reactor_cancel, .try_send = pco__reactor_try_send,                          \
        .try_send_one = pco__reactor_try_send_one, .unsent = pco__reactor_unsent,                  \
        .shutdown_send = pco__reactor_shutdown_send, .close = pco__reactor_close                   \
    }

/* reactor.c: the backend's functions, for PCO__REACTOR_CLASS. `self` is the pco__poller's. */
int pco__reactor_init(const pco__backend_class *self, const pco__backend_options *options,
                      pco__backend **backend, pco_error *error);
void pco__reactor_fini(pco__backend *backend);
uint64_t pco__reactor_now(pco__backend *backend);
uint64_t pco__reactor_due_in(const pco__backend *backend);
int pco__reactor_attach(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error);
void pco__reactor_detach(pco__backend *backend, pco__io *io);
void pco__reactor_submit(pco__backend *backend, pco__op *op);
void pco__reactor_cancel(pco__backend *backend, pco__op *op);
pco__sent pco__reactor_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                                size_t count);
pco__sent pco__reactor_try_send_one(pco__backend *backend, pco__io *io, const void *data,
                                    size_t length);
int64_t pco__reactor_unsent(pco__backend *backend, const pco__io *io);
int pco__reactor_shutdown_send(pco__backend *backend, pco__io *io);
void pco__reactor_close(pco__backend *backend, pco__io *io, bool reset);

/*
 * Has the poller know a socket that was attached before it is what it will be: one that is to
 * listen, or to be connected. Where that fails it is the end of `op`, and this returns false.
 */
bool pco__reactor_register(pco__reactor *reactor, pco__io *io, pco__op *op);

/* Puts the socket at the end of the ready queue, unless it is in a queue already. */
static inline void pco__reactor_enqueue(pco__reactor *reactor, pco__io *io)
{
    if (io->private_.reactor.link.next == NULL) {
        reactor->queued = true;
        pco__list_append(&reactor->ready, &io->private_.reactor.link);
        pco__backend_news(&reactor->base);
    }
}

/*
 * The socket of this descriptor, if `generation` is the one that it was attached with; NULL: it
 * was closed, and perhaps there is another of its number.
 */
static inline pco__io *pco__reactor_find(const pco__reactor *reactor, size_t descriptor,
                                         uint32_t generation)
{
    pco__io *io = reactor->sockets[descriptor];
    return io != NULL && io->private_.reactor.generation == generation ? io : NULL;
}

/*
 * For a poller's poll(): `bits` (PCO__READY_IN, _OUT) are so of a FOREIGN descriptor that was
 * watched with this generation. An error is both. Runs done(). Returns false where it is not
 * attached any more.
 */
bool pco__reactor_tell(pco__reactor *reactor, size_t descriptor, uint32_t generation,
                       unsigned bits);

/* For a poller: it cannot tell of a FOREIGN descriptor any more, until that is attached again. */
void pco__reactor_lose(pco__reactor *reactor, pco__io *io);

/* ---- Between reactor.c and the files of single operations ---- */

static inline const pco__poller *pco__reactor_poller(const pco__reactor *reactor)
{
    return (const pco__poller *)reactor->base.class_;
}

static inline int pco__io_descriptor(const pco__io *io)
{
    return (int)io->socket;
}

static inline bool pco__would_block(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK;
}

static inline void pco__ready_clear(pco__io *io, unsigned bits)
{
    io->private_.reactor.ready = (uint8_t)(io->private_.reactor.ready & ~bits);
}

/* What is ready and wanted. */
static inline unsigned pco__ready_due(const pco__io *io)
{
    return io->private_.reactor.ready & io->private_.reactor.wants;
}

/* reactor.c: end an operation. Run done(): only reactor->current tells what is left of the socket.
 */
void pco__reactor_finish(pco__reactor *reactor, pco__op *op, const pco__result *result);
void pco__reactor_fail(pco__reactor *reactor, pco__op *op, int system_code);

/*
 * reactor.c: a peer that has gone is ECONNRESET to who reads and often EPIPE to who writes, on
 * Linux also to who reads or asks once the peer has ended its side (tcp_reset). By EPIPE we mean
 * our own end.
 */
int pco__stream_error(int system_code);

/* reactor.c: the error that the socket has come to; asking takes it away. */
int pco__io_take_error(const pco__io *io);

/* receive.c: tries what is due of a socket that is in no queue: see pco__reactor_try there. */
void pco__reactor_try_queued(pco__reactor *reactor, pco__io *io);

/* accept.c, connect.c, send.c: try the operation in flight. Run done() if it has ended. */
void pco__reactor_accept(pco__reactor *reactor, pco__io *io);
void pco__reactor_connect(pco__reactor *reactor, pco__io *io);
void pco__reactor_send(pco__reactor *reactor, pco__io *io);

/* foreign.c: of FOREIGN descriptors, what attach, detach and submit come to. */
int pco__reactor_attach_foreign(pco__reactor *reactor, pco__io *io, pco_error *error);
void pco__reactor_detach_foreign(pco__reactor *reactor, pco__io *io);

/* foreign.c: has the poller tell what is wanted, if that is not what it tells. */
void pco__reactor_watch(pco__reactor *reactor, pco__io *io);

/* foreign.c: the end of a READABLE or WRITABLE that the poller cannot tell of. */
void pco__reactor_watch_failed(pco__reactor *reactor, pco__op *op);

/* reactor.c: makes table[descriptor] exist, which does not. 0 or PCO_ENOMEM. */
int pco__reactor_make_room(pco__io ***table, size_t *capacity, size_t descriptor);

/* accept.c: a descriptor for reactor->reserve; -1: there is none. */
int pco__reserve_open(void);

/* send.c: a socket that starves is tried again; all of them, at the end of this poll(). */
void pco__reactor_feed(pco__io *io);
void pco__reactor_feed_all(pco__reactor *reactor);

/* ---- What the pollers share ---- */

/* reactor.c: what is queued has its turn in this poll(), which waits so long then. */
uint64_t pco__reactor_begin_batch(pco__reactor *reactor, uint64_t timeout);
void pco__reactor_end_batch(pco__reactor *reactor);

static inline uint64_t pco__reactor_begin(pco__reactor *reactor, uint64_t timeout)
{
    return reactor->queued ? pco__reactor_begin_batch(reactor, timeout) : timeout;
}

static inline void pco__reactor_end(pco__reactor *reactor)
{
    if (reactor->queued) {
        pco__reactor_end_batch(reactor);
    }
}

/*
 * Whether this is a process forked from the reactor's own: what a signal handler asks for there is
 * none of the parent's business. Async-signal-safe.
 */
static inline bool pco__reactor_is_foreign(const pco__reactor *reactor)
{
    return getpid() != reactor->process;
}

/* For await(). */
static inline uint64_t pco__reactor_time_until(pco__backend *backend, uint64_t until)
{
    if (until == PCO__FOREVER) {
        return PCO__FOREVER;
    }
    uint64_t now = pco__reactor_now(backend);
    return until > now ? until - now : 0;
}

extern const pco__poller pco__epoll;
extern const pco__poller pco__kqueue;

#endif
