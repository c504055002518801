/* SPDX-License-Identifier: MIT */
/*
 * transport.h (internal): what is behind a pco_transport.
 *
 * There are two classes of transports: the stream (stream.c), which moves bytes over a socket, and
 * the TLS transport (src/tls), which is a protocol to the stream below it and a transport
 * to the protocol above it. Public functions check their arguments in transport.c and go through
 * the class.
 */
#ifndef PCO_TRANSPORT_INTERNAL_H
#define PCO_TRANSPORT_INTERNAL_H

#include <portico/protocol.h>
#include <portico/ssl.h>
#include <portico/transport.h>

#include "loop/loop.h"
#include "support/list.h"
#include "system/backend.h"
#include "transport/queue.h"

#include <string.h>

typedef struct pco__stream pco__stream;
typedef struct pco__transports pco__transports;

/*
 * Small writes made during one callback to one stream, waiting to leave in one send when the
 * callback returns. There are several, so that a callback may write to streams by turns; when all
 * are used, the one that was given first is sent. See stream_write.c.
 */
typedef struct pco__cork {
    pco__stream *owner; /* NULL: it was sent before the callback's end */
    size_t length;
    unsigned char *memory; /* PCO__CORK_SIZE; NULL: never needed yet */
} pco__cork;

#define PCO__CORK_SIZE ((size_t)128 * 1024)
#define PCO__CORKS 16

/* What the transports of a loop share: a resident of the loop, made with the first of them. */
struct pco__transports {
    pco__resident resident;
    pco_loop *loop;
    pco__backend *backend; /* the loop's */
    size_t count;          /* streams alive */
    pco__hook flush;       /* the backend's after_callback while corks are used */
    unsigned more_corks;   /* the first is used, and so many more */
    unsigned oldest_cork;  /* of them, if more than these were asked for */
    pco__cork corks[PCO__CORKS];
    pco__link streams; /* pco_transport.link of streams without an owner */
    pco__link shells;  /* pco_transport.link of dead transports that somebody retains */
};

/* The loop's, made when first asked for. NULL: out of memory. */
pco__transports *pco__transports_of(pco_loop *loop);

/* What the classes do differently. The transport is not closed: its stream is not NULL. */
typedef struct pco__transport_class {
    int (*write)(pco_transport *transport, const void *data, size_t length);

    /* Writes the buffers as one; their total may be 0. */
    int (*writelines)(pco_transport *transport, const pco_buffer *buffers, size_t count);

    /* The caller does not release, whatever this returns. */
    int (*write_owned)(pco_transport *transport, const pco_buffer *buffer, pco__owned owned);

    int (*write_eof)(pco_transport *transport);
    void (*close)(pco_transport *transport);
    void (*abort)(pco_transport *transport, bool reset);
    bool (*is_closing)(const pco_transport *transport);

    /* `reading_paused` has just changed, on a transport that is not closing. */
    void (*reading_changed)(pco_transport *transport);

    /* `protocol` has just changed. NULL: it is looked at anew for each event. */
    void (*protocol_changed)(pco_transport *transport);

    /* Fills in all of *info, except its size. */
    int (*get_ssl_info)(pco_transport *transport, pco_ssl_info *info);

    struct ssl_st *(*get_ssl_object)(const pco_transport *transport);

    /*
     * ---- As the lower end of a layer above it (TLS), which is its protocol ----
     *
     * No callback is called inside any of these but set_limits, which may call pause_writing.
     */

    /*
     * Appends to what leaves when the running callback returns, whatever the water marks say. With
     * `ends` nothing follows for now: what is large is sent at once, and not copied. PCO_ECLOSED,
     * PCO_EPIPE, PCO_ENOMEM (the data was not taken).
     */
    int (*append)(pco_transport *transport, const void *data, size_t length, bool ends);

    /* Bytes taken and not handed to the system. */
    size_t (*pending)(const pco_transport *transport);

    /*
     * Sends at once what it can. True: more than `size` bytes are left, and resume_writing comes
     * when they are fewer. False: they are not, or it is closing, which connection_lost will tell.
     */
    bool (*await_room)(pco_transport *transport, size_t size);

    /* low <= high. */
    void (*set_limits)(pco_transport *transport, size_t high, size_t low);
    void (*get_limits)(const pco_transport *transport, size_t *high, size_t *low);

    /* As close(), with a time limit of its own (INFINITY: none); see lingering_close. */
    void (*close_within)(pco_transport *transport, double seconds, bool linger);

    /*
     * Limits of closing count from the last progress. Call the first when a limit begins, the
     * second when its time is over: whether the peer has taken at least 4 KiB meanwhile of what was
     * written, the bytes that wait above included, so that the limit deserves to begin anew. Each
     * layer may have a limit of its own, and keeps what was left at its last look in *left.
     */
    void (*limit_begins)(pco_transport *transport, size_t above, size_t *left);
    bool (*has_progressed)(pco_transport *transport, size_t above, size_t *left);

    /* Ends it at once because of `code`; connection_lost hears that. `sentence`: static or NULL. */
    void (*fail)(pco_transport *transport, int code, int system_code, const char *sentence);

    /* The most that one data_received may bring. */
    void (*receive_at_most)(pco_transport *transport, uint32_t size);

    /* Gives a new transport its protocol, calls connection_made, and begins to read. */
    void (*begin)(pco_transport *transport, pco_protocol *protocol);

    /* Frees the shell: the last reference is gone. */
    void (*destroy)(pco_transport *transport);

    bool can_write_eof;
} pco__transport_class;

struct pco_transport {
    const pco__transport_class *class_;
    pco__transports *home;  /* of the loop; NULL once that is freed */
    pco_protocol *protocol; /* the user's; NULL when closed */
    pco__stream *stream;    /* a stream: itself; TLS: the stream below; NULL when closed */
    pco__link link;         /* a stream: in its owner's list; closed: in home->shells */
    uint32_t references;
    bool reading_paused; /* by the user */

    /* The protocol was, since whoever asks cleared this: a new one may have its address. */
    bool replaced;

    /*
     * A write of at most so much needs no look at anything of the transport's own: it may wait in
     * a cork that nobody uses. 0 where it does: see pco__stream_look_at_writing.
     */
    uint16_t corkable;
};

void pco__transport_init(pco_transport *transport, const pco__transport_class *class_,
                         pco__transports *home, pco_protocol *protocol, pco__stream *stream);

/* From now on this is what its stream's owner sees, closes and aborts. */
void pco__transport_put_on_top(pco_transport *transport);

/*
 * The transport has ended, its connection_lost has returned: its stream and its protocol, which the
 * user may have freed, become NULL, and the library's reference is given up.
 */
void pco__transport_end(pco_transport *transport);

/* Whether a protocol's table of methods can be used. */
bool pco__protocol_is_valid(const pco_protocol *protocol);

/* Whether its table, which may be an older one, has shutting_down. */
bool pco__protocol_hears_of_shutdown(const pco_protocol *protocol);

/*
 * Gives `length` bytes to the protocol of `transport`, which may be a buffered one, until they are
 * used up or `may_deliver(transport)` is false after a callback (closed, paused). Returns how many
 * bytes were used. *broken is set if get_buffer returned an empty buffer.
 */
size_t pco__transport_deliver(pco_transport *transport, const unsigned char *data, size_t length,
                              bool (*may_deliver)(const pco_transport *transport), bool *broken);

/* ---- The stream ---- */

/* CONNECTING -> OPEN -> CLOSING -> DRAINING -> CLOSED; abort and failures go to DRAINING. */
typedef enum pco__stream_state {
    PCO__STREAM_CONNECTING, /* CONNECT is in flight, and the owner waits for it */
    PCO__STREAM_OPEN,       /* reading and writing */
    PCO__STREAM_CLOSING,    /* close() was called: flushing, then perhaps lingering */
    PCO__STREAM_DRAINING,   /* operations are canceled, waiting for each one's done() */
    PCO__STREAM_CLOSED      /* connection_lost has been called and the socket is closed */
} pco__stream_state;

/* What a kept piece of input is: bytes that arrived while reading was paused. */
typedef struct pco__kept {
    size_t offset;
    size_t length;
    unsigned char data[];
} pco__kept;

/*
 * Whom a stream belongs to: a server, for instance. It is asked for its functions on the stream's
 * thread; an owner that lives on another has them post what they have to tell.
 */
typedef struct pco__owner pco__owner;

typedef struct pco__owner_class {
    /* A stream of this list has ended: connection_lost has returned and its socket is closed. */
    void (*ended)(pco__owner *owner);

    /*
     * Of a stream made by pco__stream_connect, once, before anything else: it is connected (the
     * result's error is 0), and open, to be started or put under TLS now or later; or it is not,
     * PCO_ECANCELED if it was aborted meanwhile, and ended() follows. The result is lent. NULL
     * where nobody connects.
     */
    void (*connected)(pco__owner *owner, pco__stream *stream, const pco__result *result);
} pco__owner_class;

struct pco__owner {
    const pco__owner_class *class_;
    pco__link streams; /* pco_transport.link */
};

/* What each message needs comes first, so that it lies together. */
struct pco__stream {
    pco_transport base;
    pco__io io;
    pco__op receive;         /* RECV or WATCH */
    pco__queue queue;        /* being sent, first to last */
    uint16_t small;          /* the longest write that may wait in a cork: at most `high` */
    uint8_t state;           /* pco__stream_state */
    bool eof_asked : 1;      /* write_eof was called; nothing may be written */
    bool made : 1;           /* connection_made has been called */
    bool writing_paused : 1; /* pause_writing was called last */
    bool eof_seen : 1;       /* the peer has closed its side */
    bool eof_delivered : 1;
    bool eof_sent : 1;
    bool linger : 1;     /* read on after the last byte, see lingering_close */
    bool reset : 1;      /* close with a reset */
    bool bad_buffer : 1; /* get_buffer gave an empty buffer */
    bool asking : 1;     /* get_buffer runs: what it does about reading counts when it returns */

    /*
     * Open, and reads for a plain protocol, and nothing about reading has changed since its RECV
     * was submitted: all that data needs is data_received, and the same RECV again.
     */
    bool reads_plainly : 1;

    uint8_t peer_length : 5;
    uint8_t cork;  /* which of home->corks is its own, from 1 on; 0: none */
    int16_t error; /* what connection_lost will be told, 0: nothing */
    int system_code;
    unsigned char peer[28]; /* the peer's sockaddr, if it fits */
    pco__op send;           /* SEND; while CONNECTING: CONNECT */
    size_t high;
    size_t low;
    union {
        pco__kept *kept;      /* OPEN */
        size_t left;          /* CLOSING: not sent at the last look of the limit: limit_begins */
        const char *sentence; /* DRAINING, if there is an error: static; NULL: the error's own */
    } of_state;
    pco__owner *owner;  /* NULL: none */
    pco_transport *top; /* what the user sees: this stream's base, or TLS above it */
    pco__task task;     /* deliver what was kept, or finish */
    pco__timer timer;   /* limits CLOSING */
    double close_timeout;
};

typedef struct pco__stream_options {
    pco__owner *owner;       /* or NULL */
    const pco_address *peer; /* or NULL */
    double close_timeout;
    bool linger;
} pco__stream_options;

/*
 * Makes a stream of a connected socket, which is non-blocking. On failure the socket is still the
 * caller's. The stream does nothing before pco__stream_start.
 */
int pco__stream_new(pco_loop *loop, pco_socket sock, const pco__stream_options *options,
                    pco__stream **stream, pco_error *error);

/*
 * Makes a stream of a socket that is not connected, and connects it to `address`, which stays where
 * it is until the owner, whom it must have, hears of the end: see connected() above, which is not
 * called inside. On failure the socket is still the caller's.
 */
int pco__stream_connect(pco_loop *loop, pco_socket sock, const pco_address *address,
                        const pco__stream_options *options, pco__stream **stream, pco_error *error);

/*
 * Gives the stream its protocol, calls connection_made, and begins to read. Not from inside a call
 * that the user made.
 */
void pco__stream_start(pco__stream *stream, pco_protocol *protocol);

/* The stream goes on without its owner, which hears nothing of it any more. */
void pco__stream_disown(pco__stream *stream);

/*
 * Ends the connection because of `code`; nothing happens if it is ending already. No callback is
 * called inside. `sentence` is static or NULL.
 */
void pco__stream_fail(pco__stream *stream, int code, int system_code, const char *sentence);

/*
 * Keeps input of an open stream for later: what its protocol, having paused reading, could not use.
 * It is delivered again on resume_reading, first of all. PCO_ENOMEM.
 */
int pco__stream_keep(pco__stream *stream, const void *data, size_t length);

/* Whether the stream accepts writes. */
static inline bool pco__stream_is_open(const pco__stream *stream)
{
    return stream->state == PCO__STREAM_OPEN;
}

/* The classes' functions of the stream, for the layer above it. */
void pco__stream_close(pco__stream *stream);
void pco__stream_abort(pco__stream *stream, bool reset);

/* ---- Writing (stream_write.c) ---- */

/* Prepares the hook that sends what the corks hold. */
void pco__corks_init(pco__transports *home);

static inline bool pco__has_corks(const pco__transports *home)
{
    return home->backend->after_callback != NULL;
}

/* Gives the stream the first cork, while there are none, and fills it. */
static inline void pco__cork_first(pco__transports *home, pco__stream *stream, const void *data,
                                   size_t length)
{
    home->backend->after_callback = &home->flush;
    home->corks[0].owner = stream;
    home->corks[0].length = length;
    stream->cork = 1;
    memcpy(home->corks[0].memory, data, length);
}

/* The state, write_eof, the queue or its limits have changed: sets the transport's `corkable`. */
static inline void pco__stream_look_at_writing(pco__stream *stream)
{
    bool plain =
        stream->state == PCO__STREAM_OPEN && !stream->eof_asked && stream->queue.head == NULL;
    stream->base.corkable = plain ? stream->small : 0;
}

/* Sends what the stream has in a cork. */
void pco__stream_flush_cork(pco__stream *stream);

/* The class's write() of the stream. */
int pco__stream_write(pco_transport *transport, const void *data, size_t length);
int pco__stream_writelines(pco__stream *stream, const pco_buffer *buffers, size_t count);
int pco__stream_write_owned(pco__stream *stream, const pco_buffer *buffer, pco__owned owned);

/*
 * Appends to what leaves when the running callback returns, without calling pause_writing; for
 * TLS, inside whose engine no callback may run. With `ends`, what is large is sent at once, and not
 * copied. Follow it with pco__stream_check_high_water. PCO_ECLOSED, PCO_EPIPE, PCO_ENOMEM (the data
 * was not taken).
 */
int pco__stream_append(pco__stream *stream, const void *data, size_t length, bool ends);

/* Sends at once what is over the high-water mark, and calls pause_writing if too much is left. */
void pco__stream_check_high_water(pco__stream *stream);

/* low <= high. Follow it with pco__stream_check_high_water. */
void pco__stream_set_limits(pco__stream *stream, size_t high, size_t low);

/* The class's await_room(). */
bool pco__stream_await_room(pco__stream *stream, size_t size);

/* Bytes accepted and not handed to the system. */
size_t pco__stream_pending(const pco__stream *stream);

/* The end of writing: drops the cork's and the queue's content, releasing what was handed over. */
void pco__stream_drop_output(pco__stream *stream);

/* done() of the stream's SEND. */
bool pco__stream_sent(pco__op *op, const pco__result *result);

/* ---- Between the two files of the stream ---- */

#define PCO__HIGH_WATER ((size_t)64 * 1024)
#define PCO__LOW_WATER (PCO__HIGH_WATER / 4)

/* Everything written has left: closes the write side or ends the stream if that was asked for. */
void pco__stream_flushed(pco__stream *stream);

/* An operation has come back while DRAINING. */
void pco__stream_join(pco__stream *stream);

#endif
