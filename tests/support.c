/* SPDX-License-Identifier: MIT */
/*
 * support.c: see support.h. Each piece of counted memory has a header that tells whether it is one,
 * so that what is freed twice, or was never allocated, ends the program.
 */
#include "support.h"

/* ---- Memory ---- */

#define ALIVE 0x616C6976u
#define FREED 0x66726565u

typedef union piece {
    struct {
        size_t size;
        unsigned state;
    } is;
    long double alignment;
    void *pointer;
} piece;

static struct {
    pco__mutex *mutex;
    size_t pieces;
    size_t requests;
    size_t countdown; /* to the request that fails; 0: none */
    bool forever;
    bool failed;
} memory;

/* Counts a request; false if it is to fail. The mutex is held. */
static bool may_allocate(void)
{
    memory.requests++;
    if (memory.countdown == 0 || --memory.countdown != 0) {
        return true;
    }
    memory.countdown = memory.forever ? 1 : 0;
    memory.failed = true;
    return false;
}

static void *counting_malloc(size_t size)
{
    piece *made = NULL;

    pco__mutex_lock(memory.mutex);
    if (may_allocate()) {
        made = malloc(sizeof *made + size);
        memory.pieces += made != NULL;
    }
    pco__mutex_unlock(memory.mutex);
    if (made == NULL) {
        return NULL;
    }
    made->is.size = size;
    made->is.state = ALIVE;
    memset(made + 1, 0xA5, size);
    return made + 1;
}

static void counting_free(void *data)
{
    piece *gone = data;

    if (data == NULL) {
        return;
    }
    gone--;
    if (gone->is.state != ALIVE) {
        fputs("support: memory was freed that is not allocated\n", stderr);
        abort();
    }
    gone->is.state = FREED;
    memset(data, 0xF5, gone->is.size);
    free(gone);
    pco__mutex_lock(memory.mutex);
    memory.pieces--;
    pco__mutex_unlock(memory.mutex);
}

/* Always moves, so that whoever keeps the old pointer is found out. */
static void *counting_realloc(void *data, size_t size)
{
    unsigned char *moved = counting_malloc(size);

    if (moved != NULL && data != NULL) {
        size_t old = ((piece *)data - 1)->is.size;
        memcpy(moved, data, old < size ? old : size);
        counting_free(data);
    }
    return moved;
}

void memory_watch(void)
{
    pco_set_allocator(NULL, NULL, NULL); /* a failed test may have left it */
    memset(&memory, 0, sizeof memory);
    if (pco__mutex_new(&memory.mutex) != 0 ||
        pco_set_allocator(counting_malloc, counting_realloc, counting_free) != 0) {
        fputs("support: memory cannot be watched\n", stderr);
        abort();
    }
}

size_t memory_unwatch(void)
{
    size_t pieces = memory_pieces();

    pco_set_allocator(NULL, NULL, NULL);
    pco__mutex_free(memory.mutex);
    memory.mutex = NULL;
    return pieces;
}

void memory_fail(size_t nth, bool forever)
{
    pco__mutex_lock(memory.mutex);
    memory.countdown = nth;
    memory.forever = forever;
    memory.failed = false;
    pco__mutex_unlock(memory.mutex);
}

bool memory_has_failed(void)
{
    bool failed;

    pco__mutex_lock(memory.mutex);
    failed = memory.failed;
    pco__mutex_unlock(memory.mutex);
    return failed;
}

static size_t read_counter(const size_t *counter)
{
    size_t value;

    pco__mutex_lock(memory.mutex);
    value = *counter;
    pco__mutex_unlock(memory.mutex);
    return value;
}

size_t memory_pieces(void)
{
    return read_counter(&memory.pieces);
}

size_t memory_requests(void)
{
    return read_counter(&memory.requests);
}

void grow_the_stack(void)
{
    volatile unsigned char deep[(size_t)256 * 1024];

    for (size_t i = 0; i < sizeof deep; i += 1024) {
        deep[i] = 0;
    }
}

/* ---- Protocols that record ---- */

static const char *const event_names[EVENTS] = {"made",  "data",   "end", "lost",
                                                "pause", "resume", "get", "updated"};

static void violate(recorder *book, const char *sentence)
{
    if (book->violation == NULL) {
        book->violation = sentence;
    }
}

/* connection_made [data_received]* [eof_received]? connection_lost */
static void check_order(recorder *book, event what)
{
    if (what == MADE ? book->counts[MADE] != 0 : book->counts[MADE] != 1) {
        violate(book, "connection_made is not the first callback");
    }
    if (book->counts[LOST] != 0) {
        violate(book, "connection_lost is not the last callback");
    }
    if (book->depth != 0 && what != PAUSE) {
        violate(book, "a callback runs inside another one");
    }
    if (what == PAUSE && book->counts[PAUSE] != book->counts[RESUME]) {
        violate(book, "pause_writing was called twice");
    }
    if (what == RESUME && book->counts[PAUSE] != book->counts[RESUME] + 1) {
        violate(book, "resume_writing was called without pause_writing");
    }
}

static void check_input(recorder *book, event what, const pco_transport *transport, size_t length)
{
    if (what != DATA && what != END && what != GET && what != UPDATED) {
        return;
    }
    if (!pco_transport_is_reading(transport)) {
        violate(book, "input is delivered while reading is paused, or after close");
    }
    if (book->counts[END] != 0) {
        violate(book, "input is delivered after eof_received");
    }
    if ((what == DATA || what == UPDATED) && length == 0) {
        violate(book, "no bytes are delivered");
    }
    if (what == UPDATED && book->counts[UPDATED] >= book->counts[GET]) {
        violate(book, "buffer_updated was called without get_buffer");
    }
}

static void write_log(recorder *book, event what, size_t length, const char *text)
{
    size_t at = strlen(book->log);
    size_t room = sizeof book->log - at;
    const char *space = at != 0 ? " " : "";

    if (text != NULL) {
        snprintf(book->log + at, room, "%s%s:%s", space, event_names[what], text);
    } else if (length != 0) {
        snprintf(book->log + at, room, "%s%s:%lu", space, event_names[what], (unsigned long)length);
    } else {
        snprintf(book->log + at, room, "%s%s", space, event_names[what]);
    }
}

/* What every callback does. */
static void record(pco_protocol *protocol, pco_transport *transport, event what, size_t length,
                   const char *text)
{
    recorder *self = (recorder *)protocol;
    recorder *book = self->book;

    check_order(book, what);
    check_input(book, what, transport, length);
    write_log(book, what, length, text);
    book->counts[what]++;
    if (self->at[what] != NULL) {
        book->depth++;
        self->at[what](self, transport);
        book->depth--;
    }
}

static void collect(recorder *book, const void *data, size_t length)
{
    unsigned char *grown = realloc(book->data, book->length + length);

    if (grown == NULL) {
        violate(book, "the test is out of memory");
        return;
    }
    memcpy(grown + book->length, data, length);
    book->data = grown;
    book->length += length;
}

static void connection_made(pco_protocol *self, pco_transport *transport)
{
    record(self, transport, MADE, 0, NULL);
}

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    collect(((recorder *)self)->book, data, length);
    record(self, transport, DATA, length, NULL);
}

static bool eof_received(pco_protocol *self, pco_transport *transport)
{
    record(self, transport, END, 0, NULL);
    return ((recorder *)self)->keep_open;
}

static void connection_lost(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    recorder *book = ((recorder *)self)->book;

    if (error != NULL) {
        book->error = *error;
    }
    record(self, transport, LOST, 0, error != NULL ? pco_error_name(error->code) : NULL);
}

static void pause_writing(pco_protocol *self, pco_transport *transport)
{
    record(self, transport, PAUSE, 0, NULL);
}

static void resume_writing(pco_protocol *self, pco_transport *transport)
{
    record(self, transport, RESUME, 0, NULL);
}

static void get_buffer(pco_protocol *protocol, pco_transport *transport, size_t size_hint,
                       void **buffer, size_t *length)
{
    recorder *self = (recorder *)protocol;

    (void)size_hint;
    record(protocol, transport, GET, 0, NULL);
    memset(self->buffer, 0, sizeof self->buffer);
    *buffer = self->buffer;
    *length = self->buffer_size;
}

static void buffer_updated(pco_protocol *protocol, pco_transport *transport, size_t length)
{
    recorder *self = (recorder *)protocol;

    if (length > self->buffer_size) {
        violate(self->book, "more bytes than the buffer has");
    } else {
        collect(self->book, self->buffer, length);
    }
    record(protocol, transport, UPDATED, length, NULL);
}

const pco_protocol_methods recorder_plain = {
    .size = sizeof recorder_plain,
    .connection_made = connection_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

const pco_protocol_methods recorder_buffered = {
    .size = sizeof recorder_buffered,
    .connection_made = connection_made,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .get_buffer = get_buffer,
    .buffer_updated = buffer_updated,
};

void recorder_init(recorder *self, bool buffered)
{
    memset(self, 0, sizeof *self);
    self->protocol.methods = buffered ? &recorder_buffered : &recorder_plain;
    self->buffer_size = sizeof self->buffer;
    self->book = self;
}

void recorder_free(recorder *self)
{
    free(self->data);
    self->data = NULL;
}

void recorder_pause(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
}

void recorder_pause_and_resume(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
    pco_transport_resume_reading(transport);
}

void recorder_close(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_close(transport);
}

void recorder_abort(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_abort(transport);
}

/* ---- Streams on the fake backend ---- */

void connection_init(connection *self, bool buffered)
{
    memset(self, 0, sizeof *self);
    recorder_init(&self->protocol, buffered);
    self->options.close_timeout = INFINITY;
}

static void start(void *context)
{
    connection *self = context;

    pco__stream_start(self->stream, &self->protocol.protocol);
}

void connection_open(connection *self, pco_loop *loop)
{
    pco_socket sock = fake_socket_new(loop);

    self->socket = fake_socket_of(loop, sock);
    assert_int_equal(pco__stream_new(loop, sock, self->peer, &self->options, &self->stream, NULL),
                     0);
    self->transport = &self->stream->base;
    assert_int_equal(pco_loop_call_soon(loop, start, self, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
}

void connection_free(connection *self)
{
    recorder_free(&self->protocol);
}

void connection_assert_data(const connection *self, const char *text)
{
    const void *data = self->protocol.data != NULL ? (const void *)self->protocol.data : "";

    assert_int_equal(self->protocol.length, strlen(text));
    assert_memory_equal(data, text, strlen(text));
}

bool connection_kept_the_rules(const connection *self)
{
    if (self->protocol.violation != NULL) {
        print_error("%s: %s\n", self->protocol.violation, self->protocol.log);
    }
    return self->protocol.violation == NULL;
}

/* ---- Running ---- */

void run_turns(pco_loop *loop, unsigned count)
{
    while (count-- != 0) {
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
}

bool run_until_count(pco_loop *loop, const unsigned *count, unsigned least)
{
    for (unsigned turns = 0; turns < 1000 && *count < least; turns++) {
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
    return *count >= least;
}
