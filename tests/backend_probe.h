/* SPDX-License-Identifier: MIT */
/*
 * backend_probe.h: what the tests of backends have in common: a backend without a loop above it,
 * operations in probes, which count their completions and note any that come where none may, and
 * connections of which both ends are attached to that backend. Nothing here knows a system.
 */
#ifndef BACKEND_PROBE_H
#define BACKEND_PROBE_H

#include "system/backend.h"
#include "support/memory.h"
#include "system/network.h"
#include "system/platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MILLISECOND ((uint64_t)1000000)
#define SECOND (1000 * MILLISECOND)

/* How long anything may take that must happen. */
#define PATIENCE (20 * SECOND)

#define RECEIVE_BUFFER 4096

/* The backend whose turn it is. */
static const pco__backend_class *tested;

/* ---- The fixture ---- */

static struct {
    pco__backend *backend;
    bool in_poll;
    bool in_call;        /* inside submit() or cancel() */
    unsigned violations; /* completions outside poll(), or inside of a call */
    unsigned attached;
    bool stop;
} at;

/* An operation, and what became of it. */
typedef struct probe probe;
struct probe {
    pco__op op;
    void (*then)(probe *self, const pco__result *result); /* may be NULL; runs in done() */
    void *context;
    unsigned count;
    int error;
    size_t length;
    pco_socket socket;
    pco_address peer;
    unsigned char *kept; /* where received data is appended; NULL: nowhere */
    size_t room;
    size_t total;
};

static inline bool done(pco__op *op, const pco__result *result)
{
    probe *self = (probe *)op;

    if (!at.in_poll || at.in_call || op->in_flight) {
        at.violations++;
    }
    self->count++;
    self->error = result->error;
    self->length = result->length;
    self->socket = result->socket;
    if (result->peer != NULL) {
        self->peer = *result->peer;
    }
    if (result->error == 0 && op->kind == PCO__OP_RECV) {
        if (result->length != 0 && self->kept != NULL &&
            self->room - self->total >= result->length) {
            memcpy(self->kept + self->total, result->data, result->length);
        }
        self->total += result->length;
    }
    if (self->then != NULL) {
        self->then(self, result);
    }
    return false;
}

static inline void submit(probe *self, pco__io *io, pco__op_kind kind)
{
    bool before = at.in_call;

    self->op.done = done;
    self->op.io = io;
    self->op.kind = (uint8_t)kind;
    at.in_call = true;
    at.backend->class_->submit(at.backend, &self->op);
    at.in_call = before;
}

static inline void cancel(probe *self)
{
    bool before = at.in_call;

    at.in_call = true;
    at.backend->class_->cancel(at.backend, &self->op);
    at.in_call = before;
}

static inline void poll_for(uint64_t timeout)
{
    at.in_poll = true;
    at.backend->class_->poll(at.backend, timeout, &at.stop);
    at.in_poll = false;
}

static inline uint64_t now(void)
{
    return at.backend->class_->now(at.backend);
}

/* Polls until *counter has reached `goal`, and returns whether it has. */
static inline bool reaches(const unsigned *counter, unsigned goal)
{
    uint64_t end = now() + PATIENCE;

    while (*counter < goal && now() < end) {
        poll_for(100 * MILLISECOND);
    }
    return *counter >= goal;
}

static inline bool completes(probe *self)
{
    return reaches(&self->count, 1);
}

static inline int set_up(void **state)
{
    pco__backend_options options = {.receive_buffer_size = RECEIVE_BUFFER};

    (void)state;
    memset(&at, 0, sizeof at);
    return tested->init(tested, &options, &at.backend, NULL);
}

/* After a failed test, sockets are left over, and the backend may not be freed. */
static inline int tear_down(void **state)
{
    (void)state;
    if (at.attached == 0) {
        at.backend->class_->fini(at.backend);
    }
    return at.violations == 0 && at.attached == 0 ? 0 : -1;
}

/* ---- Connections ---- */

/* One end of a connection, and its two directions. */
typedef struct end {
    pco__io io;
    probe in;
    probe out;
} end;

typedef struct listener {
    pco__io io;
    probe accept;
    pco_address address;
} listener;

static inline pco_address loopback(void)
{
    pco_address *found = NULL;
    pco_address first;
    size_t count = 0;

    assert_int_equal(tested->network->resolve("127.0.0.1", 0, PCO_AF_INET, 0, &found, &count, NULL),
                     0);
    assert_true(count >= 1);
    first = found[0];
    pco__free(found);
    return first;
}

static inline pco_socket bound_socket(pco_address *address)
{
    pco__listener_options options = {0};
    pco_address any_port = loopback();
    pco_socket sock = PCO_NO_SOCKET;

    assert_int_equal(tested->network->bind(at.backend, &any_port, &options, &sock, NULL), 0);
    assert_int_equal(tested->network->sockname(at.backend, sock, address), 0);
    return sock;
}

static inline void attach(pco__io *io, pco__io_role role)
{
    assert_int_equal(at.backend->class_->attach(at.backend, io, role, NULL), 0);
    at.attached++;
}

static inline void open_listener(listener *self)
{
    memset(self, 0, sizeof *self);
    self->io.socket = bound_socket(&self->address);
    assert_int_equal(tested->network->listen(at.backend, self->io.socket, 100, NULL), 0);
    attach(&self->io, PCO__IO_LISTENER);
}

static inline void start_connecting(end *client, const pco_address *address)
{
    memset(client, 0, sizeof *client);
    assert_int_equal(
        tested->network->open(at.backend, pco_address_family(address), 0, &client->io.socket, NULL),
        0);
    attach(&client->io, PCO__IO_UNCONNECTED);
    client->out.op.with.address = address;
    submit(&client->out, &client->io, PCO__OP_CONNECT);
}

static inline void attach_accepted(end *server, pco_socket sock)
{
    memset(server, 0, sizeof *server);
    server->io.socket = sock;
    const pco__socket_options plain = {.keep_alive = PCO_DEFAULT};
    tested->network->prepare_connected(at.backend, sock, &plain, false);
    attach(&server->io, PCO__IO_CONNECTED);
}

static inline void close_io(pco__io *io, bool reset)
{
    at.backend->class_->close(at.backend, io, reset);
    at.attached--;
}

/* Ends an operation that is still in flight, as Drained demands before close(). */
static inline void drain(probe *self)
{
    if (self->op.in_flight) {
        unsigned goal = self->count + 1;

        self->then = NULL;
        cancel(self);
        assert_true(reaches(&self->count, goal));
    }
}

static inline void close_listener(listener *self)
{
    drain(&self->accept);
    close_io(&self->io, false);
}

static inline void close_end(end *self)
{
    drain(&self->in);
    drain(&self->out);
    close_io(&self->io, false);
}

/* Connects `client`, and returns the accepted socket, not yet attached. */
static inline pco_socket connect_one(listener *from, end *client)
{
    unsigned goal = from->accept.count + 1;

    submit(&from->accept, &from->io, PCO__OP_ACCEPT);
    start_connecting(client, &from->address);
    assert_true(reaches(&from->accept.count, goal));
    assert_true(completes(&client->out));
    assert_int_equal(from->accept.error, 0);
    assert_int_equal(client->out.error, 0);
    client->out.count = 0;
    return from->accept.socket;
}

static inline void make_pairs(end *clients, end *servers, size_t count)
{
    listener from;

    open_listener(&from);
    for (size_t i = 0; i < count; i++) {
        attach_accepted(&servers[i], connect_one(&from, &clients[i]));
    }
    close_listener(&from);
}

/* ---- Data ---- */

static inline pco__sent try_send(end *self, const void *data, size_t length)
{
    pco_buffer buffer = {data, length};

    return at.backend->class_->try_send(at.backend, &self->io, &buffer, 1);
}

/* Sends a text at once. */
static inline void push(end *self, const char *text)
{
    pco__sent sent = try_send(self, text, strlen(text));

    assert_int_equal(sent.error, 0);
    assert_int_equal(sent.length, strlen(text));
}

/* Byte number `i` of the stream that the tests send. */
static inline unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 7 + i / 251);
}

static inline unsigned char *make_pattern(size_t length)
{
    unsigned char *data = malloc(length);

    assert_non_null(data);
    for (size_t i = 0; i < length; i++) {
        data[i] = pattern(i);
    }
    return data;
}

/* Sends the pattern without an operation until the system takes no more; returns how much. */
static inline size_t fill(end *self, size_t most)
{
    unsigned char *data = make_pattern(most);
    size_t total = 0;
    pco__sent sent = {0};

    while (sent.error == 0 && total < most) {
        sent = try_send(self, data + total, most - total);
        total += sent.length;
    }
    free(data);
    assert_true(sent.error == 0 || sent.error == PCO_EAGAIN);
    return total;
}

/* A `then` of reads: reads on until the end of the stream. */
static inline void read_on(probe *self, const pco__result *result)
{
    if (result->error == 0 && result->length != 0) {
        submit(self, self->op.io, PCO__OP_RECV);
    }
}

static inline void start_reading(end *self, unsigned char *kept, size_t room)
{
    self->in.kept = kept;
    self->in.room = room;
    self->in.then = read_on;
    submit(&self->in, &self->io, PCO__OP_RECV);
}

static inline bool receives(end *self, size_t total)
{
    uint64_t end_of_patience = now() + PATIENCE;

    while (self->in.total < total && self->in.error == 0 && now() < end_of_patience) {
        poll_for(100 * MILLISECOND);
    }
    return self->in.total >= total;
}

/* Whether the reading comes to its end, of whatever kind. */
static inline bool ends(end *self)
{
    uint64_t end_of_patience = now() + PATIENCE;

    while (self->in.op.in_flight && now() < end_of_patience) {
        poll_for(100 * MILLISECOND);
    }
    return !self->in.op.in_flight;
}

/* What get_buffer does. The probe is found by its operation. */
typedef struct supplier {
    unsigned char memory[64];
    unsigned asked;
    bool cancels;
    bool has_none;
} supplier;

static inline void supply(pco__op *op, void **buffer, size_t *length)
{
    supplier *from = ((probe *)op)->context;

    from->asked++;
    if (from->cancels) {
        cancel((probe *)op);
    }
    *buffer = from->memory;
    *length = from->has_none ? 0 : sizeof from->memory;
}

/* Everything that was under way on the loopback has arrived when this has gone to and fro. */
static inline void exchange_a_message_elsewhere(void)
{
    end client;
    end server;

    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "ping");
    assert_true(completes(&server.in));
    close_end(&client);
    close_end(&server);
}

/* ---- Running the tests ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Whether this machine has the backend; it may be compiled in and yet be refused. */
static inline bool is_supported(const pco__backend_class *one)
{
    pco__backend_options options = {.receive_buffer_size = RECEIVE_BUFFER};
    pco__backend *backend = NULL;
    pco_error error;
    int code = one->init(one, &options, &backend, &error);

    if (code == PCO_ENOTSUP) {
        print_message("%s: skipped: %s\n", one->name, error.message);
        return false;
    }
    if (code == 0) {
        one->fini(backend);
    }
    return true; /* and if it failed, the tests will say so */
}

/* Runs the tests, all of them made by TEST, on every backend of this system. */
static inline int test_all_backends(const struct CMUnitTest *tests, size_t count)
{
    int failures = 0;

    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        tested = pco__backends[i];
        if (is_supported(tested)) {
            failures += _cmocka_run_group_tests(tested->name, tests, count, NULL, NULL);
        }
    }
    return failures;
}

#endif
