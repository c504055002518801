/* SPDX-License-Identifier: MIT */
/*
 * stream.h: a connection over a socket, and whom it belongs to. stream.c is its life and closing;
 * stream_read.c and stream_write.c are its ways in and out; stream_detach.c gives its socket away.
 */
#ifndef PCO_STREAM_H
#define PCO_STREAM_H

#include "transport/class.h"

#include <assert.h>
#include <string.h>

#include "support/memory.h"

/*
 * CONNECTING -> OPEN -> CLOSING -> DRAINING -> CLOSED; abort and failures go to DRAINING. Or OPEN
 * -> DETACHING -> CLOSED, which is taken back to OPEN by all else that happens meanwhile.
 */
typedef enum pco__stream_state {
    PCO__STREAM_CONNECTING, /* CONNECT is in flight, and the owner waits for it */
    PCO__STREAM_OPEN,       /* reading and writing */
    PCO__STREAM_DETACHING,  /* detach() was called: flushing, and no operation shall be left */
    PCO__STREAM_CLOSING,    /* close() was called: flushing, then perhaps lingering */
    PCO__STREAM_DRAINING,   /* operations are canceled, waiting for each one's done() */
    PCO__STREAM_CLOSED      /* the socket is given away, or connection_lost called and it closed */
} pco__stream_state;

/* What a kept piece of input is: bytes that arrived while reading was paused. */
typedef struct pco__kept {
    size_t offset;
    size_t length;
    unsigned char data[];
} pco__kept;

typedef struct pco__detaching pco__detaching;

/*
 * Whom a stream belongs to: a server, for instance. It is asked for its functions on the stream's
 * thread; an owner that lives on another has them post what they have to tell.
 */
typedef struct pco__owner pco__owner;

typedef struct pco__owner_class {
    /* A stream of this list has ended: connection_lost has returned, and it has no socket. */
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

/* The stream is a named pipe: in the place of the length of an address, which is shorter. */
#define PCO__PEER_OF_PIPE 31

/* What each message needs comes first, so that it lies together. */
struct pco__stream {
    pco_transport base;
    pco__io io;
    pco__op receive;    /* RECV or WATCH */
    pco__queue queue;   /* being sent, first to last */
    uint16_t small;     /* the longest write that may wait in a cork: at most `high` */
    int16_t error;      /* what connection_lost will be told, 0: nothing */
    uint8_t state;      /* pco__stream_state */
    uint8_t cork;       /* which of home->corks is its own, from 1 on; 0: none */
    bool eof_asked : 1; /* write_eof was called; nothing may be written */
    bool made : 1;      /* connection_made has been called */
    bool eof_seen : 1;  /* the peer has closed its side */
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

    bool limited : 1;        /* CLOSING: the timer is in the task's place */
    uint8_t peer_length : 5; /* PCO__PEER_OF_PIPE: there is no address, and no half to close */
    unsigned char peer[28];  /* the peer's sockaddr, if it fits */
    float close_timeout;     /* seconds, as exact as need be */
    pco__op send;            /* SEND; while CONNECTING: CONNECT */
    size_t high;
    size_t low;
    union {
        pco__kept *kept;           /* OPEN */
        pco__detaching *detaching; /* DETACHING */
        size_t left;               /* CLOSING: not sent at the limit's last look: limit_begins */
        const char *sentence; /* DRAINING, if there is an error: static; NULL: the error's own */
    } of_state;
    pco__owner *owner;  /* NULL: none */
    pco_transport *top; /* what the user sees: this stream's base, or TLS above it */
    union {
        struct {
            pco__task task;  /* deliver what was kept, finish, or give the socket away */
            int system_code; /* with `error` */
        };
        pco__timer timer; /* limits CLOSING, where there is nothing to be done before its end */
    };
};

typedef struct pco__stream_options {
    pco__owner *owner; /* or NULL */
    pco__io_role role; /* of its socket, before CONNECT */
    bool linger;       /* not of a pipe */
    double close_timeout;
} pco__stream_options;

/*
 * Makes a stream of a connected, non-blocking socket. `peer` is at the other end (NULL: the
 * system knows who). On failure the socket is still the caller's. The stream does nothing before
 * pco__stream_start.
 */
int pco__stream_new(pco_loop *loop, pco_socket sock, const pco_address *peer,
                    const pco__stream_options *options, pco__stream **stream, pco_error *error);

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
 * It is delivered again on resume_reading, first of all; or goes with the socket, where that is
 * being given away. PCO_ENOMEM.
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

/* ---- Reading (stream_read.c) ---- */

/* done() of the stream's RECV and WATCH. */
bool pco__stream_received(pco__op *op, const pco__result *result);

/* Brings the operation in flight in line with what the stream wants. */
void pco__stream_update_reading(pco__stream *stream);

/*
 * Something about reading has changed: the state, the protocol, a pause, what is kept. The next
 * data goes the long way; pco__stream_update_reading, which follows sooner or later, finds the
 * short one.
 */
static inline void pco__stream_look_at_reading(pco__stream *stream)
{
    stream->reads_plainly = false;
}

/* The classes' functions. */
void pco__stream_reading_changed(pco_transport *transport);
void pco__stream_protocol_changed(pco_transport *transport);

/* Delivers what was kept while reading was paused, from the stream's task. */
void pco__stream_deliver_kept(pco__stream *stream);

/* Whether the last byte has left and the peer's end is waited for, see lingering_close. */
static inline bool pco__stream_is_lingering(const pco__stream *stream)
{
    return stream->state == PCO__STREAM_CLOSING && stream->linger && stream->eof_sent;
}

/* Whether input that is not delivered is kept; otherwise nobody wants it any more. */
static inline bool pco__stream_keeps_input(const pco__stream *stream)
{
    return stream->state == PCO__STREAM_OPEN || stream->state == PCO__STREAM_DETACHING;
}

/* ---- Writing (stream_write.c) ---- */

/* The transports' hook: sends what the corks hold. */
void pco__stream_send_corks(pco__hook *hook);

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

/* The state, write_eof, the queue, its limits, `covered` have changed: sets `corkable`. */
static inline void pco__stream_look_at_writing(pco__stream *stream)
{
    bool plain = stream->state == PCO__STREAM_OPEN && !stream->eof_asked &&
                 stream->queue.head == NULL && !stream->base.covered;
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

/* A single write from this size on is not copied into the cork but tried at once. */
#define PCO__LARGE_WRITE ((size_t)4 * 1024)

/* low <= high. Follow it with pco__stream_check_high_water. */
static inline void pco__stream_set_limits(pco__stream *stream, size_t high, size_t low)
{
    stream->high = high;
    stream->low = low;
    stream->small = (uint16_t)(high < PCO__LARGE_WRITE ? high : PCO__LARGE_WRITE - 1);
    pco__stream_look_at_writing(stream);
}

/* The class's await_room(). */
bool pco__stream_await_room(pco__stream *stream, size_t size);

/* Bytes accepted and not handed to the system. */
size_t pco__stream_pending(const pco__stream *stream);

/* The end of writing: drops the cork's and the queue's content, releasing what was handed over. */
void pco__stream_drop_output(pco__stream *stream);

/* done() of the stream's SEND. */
bool pco__stream_sent(pco__op *op, const pco__result *result);

/* ---- Giving the socket away (stream_detach.c) ---- */

/* The class's detach() of the stream: see there. */
int pco__stream_detach(pco__stream *stream, pco_detached detached, void *context,
                       pco_request **request, pco_error *error);

/*
 * DETACHING -> OPEN: the socket stays, as if nothing had been, and `detached` will hear why, in a
 * task of its own that comes before the stream's. `sentence`: static; NULL: the error's own.
 */
void pco__stream_recall(pco__stream *stream, int code, int system_code, const char *sentence);

/* DETACHING -> CLOSED, from the stream's task when nothing is in flight: the stream is gone. */
void pco__stream_hand_over(pco__stream *stream);

/* Where what is kept is kept while DETACHING. */
pco__kept **pco__detaching_kept(pco__detaching *detaching);

/* ---- Between the files of the stream ---- */

/* Here, since the compiler leaves out most of it where it knows the state. */
static inline void pco__stream_set_state(pco__stream *stream, pco__stream_state state)
{
    assert(state > stream->state ||
           (state == PCO__STREAM_OPEN && stream->state == PCO__STREAM_DETACHING));
    assert(state != PCO__STREAM_CLOSED || stream->state == PCO__STREAM_DRAINING ||
           stream->state == PCO__STREAM_DETACHING);
    if (stream->state == PCO__STREAM_OPEN && stream->of_state.kept != NULL) {
        pco__free(stream->of_state.kept);
    }
    stream->state = (uint8_t)state;
    pco__stream_look_at_reading(stream);
    pco__stream_look_at_writing(stream);
}

/* Everything written has left: closes the write side or ends the stream if that was asked for. */
void pco__stream_flushed(pco__stream *stream);

/* Calls resume_writing where that is due. */
void pco__stream_resume_if_under(pco__stream *stream);

/* CLOSING and others -> DRAINING: operations are canceled, and the end follows. */
void pco__stream_terminate(pco__stream *stream);

/* An operation has come back while DRAINING or DETACHING. */
void pco__stream_join(pco__stream *stream);

/* The end of a CLOSED stream: calls connection_lost; then, when it has no socket, it is gone. */
void pco__stream_tell_lost(pco__stream *stream);
void pco__stream_leave(pco__stream *stream);

#endif
