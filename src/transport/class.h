/* SPDX-License-Identifier: MIT */
/*
 * class.h: what is behind a pco_transport, whichever it is.
 *
 * There are two classes of transports: the stream (stream.c), which moves bytes over a socket, and
 * the TLS transport (src/tls), which is a protocol to the transport below it and a transport to the
 * protocol above it. Public functions check their arguments in transport.c and go through the
 * class. What the transports of a loop share is a resident of it, made by transports.c.
 */
#ifndef PCO_CLASS_H
#define PCO_CLASS_H

#include <portico/protocol.h>
#include <portico/ssl.h>
#include <portico/transport.h>

#include "loop/loop.h"
#include "support/list.h"
#include "system/backend.h"
#include "transport/queue.h"

#include <stdbool.h>
#include <stddef.h>

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

/* How many pieces of memory of streams a loop keeps at most. */
#define PCO__SPARES 64

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

    /* Memory of streams that have ended, for the next ones. */
    unsigned spares;
    unsigned spares_most; /* PCO__SPARES, or 0: see pco__memory_may_be_kept */
    pco__stream *spare[PCO__SPARES];
};

/* The loop's, made when first asked for: `send_corks` is its hook. NULL: out of memory. */
pco__transports *pco__transports_of(pco_loop *loop, void (*send_corks)(pco__hook *hook));

/* Whether a cork waits for the end of the running callback. */
static inline bool pco__has_corks(const pco__transports *home)
{
    return home->backend->after_callback != NULL;
}

#define PCO__HIGH_WATER ((size_t)64 * 1024)
#define PCO__LOW_WATER (PCO__HIGH_WATER / 4)

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

    /* As pco_transport_detach, whose `detached` is not NULL. NULL: PCO_ENOTSUP. */
    int (*detach)(pco_transport *transport, pco_detached detached, void *context,
                  pco_request **request, pco_error *error);

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

    /* From now on `top`, a layer above, is what the owner of the stream sees, closes and aborts. */
    void (*set_top)(pco_transport *transport, pco_transport *top);
    pco_transport *(*get_top)(const pco_transport *transport);

    /* Whether a layer can be put on it, open as it is: 0, or what pco_loop_start_tls returns. */
    int (*check_cover)(const pco_transport *transport, pco_error *error);

    /* Whether it, or a layer below, has received what its protocol was not given. */
    bool (*holds_input)(const pco_transport *transport);

    /* Gives a new transport its protocol, calls connection_made, and begins to read. */
    void (*begin)(pco_transport *transport, pco_protocol *protocol);

    /* Frees the shell: the last reference is gone. */
    void (*destroy)(pco_transport *transport);

    bool (*can_write_eof)(const pco_transport *transport);
} pco__transport_class;

struct pco_transport {
    const pco__transport_class *class_;
    pco__transports *home;  /* of the loop; NULL once that is freed */
    pco_protocol *protocol; /* the user's; NULL when closed */
    pco__stream *stream;    /* a stream: itself; TLS: the stream below; NULL: closed, covered */
    pco__link link;         /* a stream: in its owner's list; closed: in home->shells */
    uint32_t references;
    bool reading_paused : 1; /* by the user */
    bool writing_paused : 1; /* pause_writing was called last */

    /* The protocol was, since whoever asks cleared this: a new one may have its address. */
    bool replaced : 1;

    /* The callback that runs was given a part of the input at hand: see pco__transport_deliver. */
    bool has_more : 1;

    /* A layer above has taken its place: see pco__transport_cover. */
    bool covered : 1;

    /*
     * A write of at most so much needs no look at anything of the transport's own: it may wait in
     * a cork that nobody uses. 0 where it does: see pco__stream_look_at_writing.
     */
    uint16_t corkable;
};

static inline void pco__transport_init(pco_transport *transport, const pco__transport_class *class_,
                                       pco__transports *home, pco_protocol *protocol,
                                       pco__stream *stream)
{
    *transport = (pco_transport){
        .class_ = class_, .home = home, .protocol = protocol, .stream = stream, .references = 1};
}

/*
 * The transport has ended, its connection_lost has returned: its stream and its protocol, which the
 * user may have freed, become NULL, and the library's reference is given up.
 */
void pco__transport_end(pco_transport *transport);

/*
 * A layer above takes the place of an open transport: `protocol`, the layer's, has its events from
 * now on, reading is paused until the layer resumes it, and the user's calls find it closed. Water
 * marks are those of a new one. No callback is called.
 */
void pco__transport_cover(pco_transport *transport, pco_protocol *protocol);

/* The layer above ends: what the transport answers is its own again. It is closed, or closing. */
void pco__transport_uncover(pco_transport *transport, pco_protocol *protocol, pco__stream *stream);

/* The transport, or where it is covered what has taken its place. */
static inline pco_transport *pco__transport_in_charge(const pco_transport *transport)
{
    return transport->covered ? transport->class_->get_top(transport)
                              : (pco_transport *)(uintptr_t)transport;
}

/* Pauses or resumes reading, for the user or for the layer above. PCO_ECLOSED. */
int pco__transport_set_reading_paused(pco_transport *transport, bool paused);

/* In debug mode. A shell whose loop is gone belongs to no thread. */
void pco__transport_check_thread(const pco_transport *transport);

/* Whether its connection_lost has not returned yet. In debug mode checks the thread, too. */
bool pco__transport_is_alive(const pco_transport *transport);

/* Whether a table of methods, which may be of another version's size, can be used. */
bool pco__methods_are_valid(const pco_protocol_methods *methods);

/* Whether a protocol's table of methods can be used. */
static inline bool pco__protocol_is_valid(const pco_protocol *protocol)
{
    return protocol != NULL && protocol->methods != NULL &&
           (protocol->methods->size == sizeof(pco_protocol_methods) ||
            pco__methods_are_valid(protocol->methods));
}

/* Whether its table, which may be an older one, has shutting_down. */
bool pco__protocol_hears_of_shutdown(const pco_protocol *protocol);

/*
 * Gives `length` bytes to the protocol of `transport`, which may be a buffered one, until they are
 * used up or `may_deliver(transport)` is false after a callback (closed, paused). Returns how many
 * bytes were used. *broken is set if get_buffer returned an empty buffer. `has_more` is true in
 * callbacks that are not given all of them.
 */
size_t pco__transport_deliver(pco_transport *transport, const unsigned char *data, size_t length,
                              bool (*may_deliver)(const pco_transport *transport), bool *broken);

#endif
