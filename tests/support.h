/* SPDX-License-Identifier: MIT */
/*
 * support.h: what tests have in common: an allocator that counts and refuses, protocols that record
 * what they are told, and streams on the fake backend.
 *
 * Callbacks record and tests assert afterwards: a failed assertion is a longjmp, which must not
 * cross the loop. What cannot wait, such as a callback that comes when it must not, is noted in
 * recorder.violation, which every test looks at in the end.
 */
#ifndef SUPPORT_H
#define SUPPORT_H

#include <portico.h>

#include "fake_backend.h"
#include "loop/loop.h"
#include "support/memory.h"
#include "transport/stream.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Chance ---- */

/* A number below `limit`; the same for the same seed, everywhere. The state must not be 0. */
static inline uint32_t chance(uint64_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32) % limit;
}

/* ---- Memory ---- */

/* From here on the library's memory is counted. Nothing of the library may exist. Any thread. */
void memory_watch(void);

/* The end of it. Returns how many pieces of memory were not given back. */
size_t memory_unwatch(void);

/* Makes the nth allocation from now on fail, and if `forever` all after it; 0: none does. */
void memory_fail(size_t nth, bool forever);

/* Whether an allocation has failed since memory_fail. */
bool memory_has_failed(void);

/* How many pieces there are, and how many have been asked for, ever. */
size_t memory_pieces(void);
size_t memory_requests(void);

/* valgrind does not grow the stack where a signal needs more of it: call this in main, before. */
void grow_the_stack(void);

/* ---- Protocols that record ---- */

typedef enum event {
    MADE,
    DATA,
    END, /* eof_received */
    LOST,
    PAUSE,
    RESUME,
    GET,
    UPDATED,
    EVENTS
} event;

typedef struct recorder recorder;
struct recorder {
    pco_protocol protocol;

    /* Yours: what happens inside a callback, once it is recorded. */
    void (*at[EVENTS])(recorder *self, pco_transport *transport);
    void *context;
    bool keep_open;     /* what eof_received returns */
    size_t buffer_size; /* of a buffered protocol: what get_buffer gives; 0: an empty buffer */

    /* Where it is recorded: itself, unless several protocols share one connection. */
    recorder *book;

    /* What has happened. */
    unsigned counts[EVENTS];
    char log[512]; /* such as "made data:5 end lost:PCO_ECONNRESET" */
    unsigned char *data;
    size_t length;
    pco_error error;       /* connection_lost's; the code is 0 for NULL */
    const char *violation; /* the first breach of the protocol's grammar; NULL: none */
    unsigned depth;        /* callbacks on the stack */
    unsigned char buffer[256];
};

/* A fresh recorder; a buffered protocol or a plain one. */
void recorder_init(recorder *self, bool buffered);
void recorder_free(recorder *self);

/* What may happen inside a callback, for recorder.at. */
void recorder_pause(recorder *self, pco_transport *transport);
void recorder_pause_and_resume(recorder *self, pco_transport *transport);
void recorder_close(recorder *self, pco_transport *transport);
void recorder_abort(recorder *self, pco_transport *transport);

/* The methods that recorder_init chooses from. */
extern const pco_protocol_methods recorder_plain;
extern const pco_protocol_methods recorder_buffered;

/* ---- Streams on the fake backend ---- */

typedef struct connection {
    recorder protocol;
    pco__stream_options options;
    const pco_address *peer;
    pco__stream *stream;
    pco_transport *transport; /* not retained: valid until connection_lost */
    fake_socket *socket;
} connection;

/* A recorder, no time limit on closing, no server. */
void connection_init(connection *self, bool buffered);

/* Makes the stream. connection_made is called in the loop's next turn, which this runs. */
void connection_open(connection *self, pco_loop *loop);
void connection_free(connection *self);

/* Fails the test unless this is all that its protocol has been given. */
void connection_assert_data(const connection *self, const char *text);

/* Whether its callbacks kept to the grammar; if not, says what happened. */
bool connection_kept_the_rules(const connection *self);

static inline bool connection_is_lost(const connection *self)
{
    return self->protocol.counts[LOST] != 0;
}

/* ---- Running ---- */

/* Turns that do not wait. */
void run_turns(pco_loop *loop, unsigned count);

/* Runs until a count is at least `least`, for a number of turns that is ample; false if not. */
bool run_until_count(pco_loop *loop, const unsigned *count, unsigned least);

#endif
