/* SPDX-License-Identifier: MIT */
/*
 * fake_backend.c: see fake_backend.h. Its own memory is malloc's and not the library's, so that a
 * test which counts or refuses the library's allocations meets those alone.
 *
 * The one hard idea is that done() may do anything: submit, cancel, and close any socket. So poll()
 * keeps no pointer to an operation across a done(), and records of sockets are only freed at the
 * end. What was submitted or decided after poll() began has a higher order, and waits for the next;
 * what was canceled meanwhile does not.
 */
#include "fake_backend.h"

#include "fake_changes.h"

#include "system/complete.h"
#include "support/error.h"
#include "support/memory.h"
#include "loop/loop.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The backend that was made last: named pipes are no backend's. */
static fake_backend *newest;

/* Who binds to any port is given this one and those that follow. */
#define FIRST_PORT 49152

static fake_backend *of(pco__backend *backend)
{
    return (fake_backend *)backend;
}

/* ---- Broken rules ---- */

static const char *const kind_names[] = {"ACCEPT", "CONNECT",  "RECV",    "WATCH",
                                         "SEND",   "READABLE", "WRITABLE"};

#define KINDS (sizeof kind_names / sizeof kind_names[0])

static void die(const char *format, ...) PCO__PRINTF(1, 2);

static void die(const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    fputs("fake backend: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("\n", stderr);
    abort();
}

static void *allocate(size_t size)
{
    void *memory = malloc(size != 0 ? size : 1);

    if (memory == NULL) {
        die("no memory");
    }
    return memory;
}

/* The room of an array that has so many bytes: a power of two. */
static size_t room_for(size_t length)
{
    size_t room = 64;

    while (room < length) {
        room *= 2;
    }
    return room;
}

/* Appends to an array of bytes, whose room follows from its length. */
static void append(unsigned char **to, size_t *length, const void *data, size_t more)
{
    if (*to == NULL || room_for(*length + more) != room_for(*length)) {
        unsigned char *grown = realloc(*to, room_for(*length + more));
        if (grown == NULL) {
            die("no memory");
        }
        *to = grown;
    }
    if (more != 0) {
        memcpy(*to + *length, data, more);
    }
    *length += more;
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* `limit` of 0 is no limit. */
static size_t cut(size_t length, size_t limit)
{
    return limit != 0 ? least(length, limit) : length;
}

/* ---- Operations in flight ---- */

static bool goes_out(unsigned kind)
{
    return kind == PCO__OP_CONNECT || kind == PCO__OP_SEND || kind == PCO__OP_WRITABLE;
}

static size_t chain_length(const pco__segment *segment)
{
    size_t length = 0;

    for (; segment != NULL; segment = segment->next) {
        if (segment->length == 0) {
            die("a segment is empty");
        }
        length += segment->length;
    }
    return length;
}

static unsigned char *copy_chain(const pco__segment *segment, size_t length)
{
    unsigned char *copy = allocate(length);

    for (size_t at = 0; segment != NULL; segment = segment->next) {
        memcpy(copy + at, segment->data, segment->length);
        at += segment->length;
    }
    return copy;
}

/* Rule Lent: what the backend was given is as it was. A chain may have grown behind its end. */
static void check_unchanged(const fake_flight *flight)
{
    const pco__op *op = flight->op;
    const pco__op *given = &flight->given;
    const char *name = kind_names[given->kind];

    if (!op->in_flight || op->kind != given->kind || op->io != given->io ||
        op->done != given->done || op->with.chain != given->with.chain) {
        die("rule Lent: a %s was changed in flight", name);
    }
    if (op->kind == PCO__OP_SEND) {
        size_t length = chain_length(op->with.chain);
        unsigned char *now = copy_chain(op->with.chain, length);
        if (length < flight->length || memcmp(now, flight->bytes, flight->length) != 0) {
            die("rule Lent: the memory of a SEND was changed in flight");
        }
        free(now);
    }
}

static fake_flight *flight_of(fake_socket *sock, const pco__op *op)
{
    for (size_t i = 0; i < FAKE_ACCEPTS; i++) {
        if (sock->in[i].op == op) {
            return &sock->in[i];
        }
    }
    return sock->out.op == op ? &sock->out : NULL;
}

/* Any flight of the kind; one that is not decided yet, if there is one. */
static fake_flight *find_flight(const fake_socket *sock, unsigned kind)
{
    fake_flight *found = NULL;

    for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
        const fake_flight *flight = i < FAKE_ACCEPTS ? &sock->in[i] : &sock->out;
        if (flight->op != NULL && flight->op->kind == kind && (found == NULL || found->decided)) {
            found = (fake_flight *)(uintptr_t)flight;
        }
    }
    return found;
}

static size_t flights_of(const fake_socket *sock)
{
    size_t count = sock->out.op != NULL;

    for (size_t i = 0; i < FAKE_ACCEPTS; i++) {
        count += sock->in[i].op != NULL;
    }
    return count;
}

/* An error is news for both directions. */
static bool has_failed(const fake_socket *sock)
{
    return sock->input_error != 0 || sock->send_error != 0;
}

/* Whether the world as it is lets the operation end. */
static bool can_end(const fake_socket *sock, const fake_flight *flight)
{
    switch ((pco__op_kind)flight->op->kind) {
    case PCO__OP_ACCEPT:
        return sock->clients != NULL;
    case PCO__OP_CONNECT:
        return !sock->silent;
    case PCO__OP_RECV:
        return sock->input_length != 0 || sock->input_eof || sock->input_error != 0;
    case PCO__OP_WATCH:
        return sock->input_error != 0;
    case PCO__OP_SEND:
        return sock->send_error != 0 || sock->room != 0;
    case PCO__OP_READABLE:
        return sock->input_length != 0 || sock->input_eof || has_failed(sock);
    case PCO__OP_WRITABLE:
        return sock->room != 0 || has_failed(sock);
    }
    return false;
}

/* ---- How operations end ---- */

static void submit(pco__backend *backend, pco__op *op);
static fake_socket *find_socket(const fake_backend *fake, pco_socket number);

/* Instances that were not accepted go with the listener. */
static void drop_instances(const fake_socket *listener)
{
    for (const fake_client *each = listener->clients; each != NULL; each = each->next) {
        if (listener->role == PCO__IO_PIPE_LISTENER && each->error == 0) {
            find_socket(listener->backend, each->socket)->dropped = true;
        }
    }
}

/* Takes the flight away, and tells the library. */
static void finish(fake_socket *sock, fake_flight *flight, const pco__result *result)
{
    pco__op *op = flight->op;

    check_unchanged(flight);
    free(flight->bytes);
    memset(flight, 0, sizeof *flight);
    if (sock->closed && flights_of(sock) == 0) {
        sock->io = NULL;
        drop_instances(sock);
    }
    pco__complete(&sock->backend->base, op, result, submit);
}

static void fail(fake_socket *sock, fake_flight *flight, int error, int system_code)
{
    pco__result result = {.error = error, .system_code = system_code, .socket = PCO_NO_SOCKET};

    finish(sock, flight, &result);
}

static void take_input(fake_socket *sock, void *to, size_t length)
{
    memcpy(to, sock->input, length);
    sock->received += length;
    sock->input_length -= length;
    memmove(sock->input, sock->input + length, sock->input_length);
}

/* Reads once into `memory`, or into memory that is lent and gone afterwards if that is NULL. */
static void receive(fake_socket *sock, fake_flight *flight, void *memory, size_t size)
{
    size_t length = cut(least(sock->input_length, size), sock->input_cut);
    pco__result result = {.length = length, .socket = PCO_NO_SOCKET};
    unsigned char *lent = NULL;

    if (length == 0 && sock->input_error != 0) {
        fail(sock, flight, sock->input_error, sock->input_system_code);
        return;
    }
    if (length == 0 && !sock->input_eof) {
        die("a RECV ends for which there is no input");
    }
    if (memory == NULL) {
        lent = allocate(length);
        memory = lent;
    }
    if (length != 0) {
        take_input(sock, memory, length);
    }
    result.data = memory;
    finish(sock, flight, &result);
    free(lent);
}

/* An operation that was canceled is not asked for its buffer, as on real backends. */
static void end_receive(fake_socket *sock, fake_flight *flight, size_t limit)
{
    pco__op *op = flight->op;
    void *memory = NULL;
    size_t size = 0;

    if (op->with.get_buffer == NULL) {
        receive(sock, flight, NULL, pco__most_of(op, limit));
        return;
    }
    flight->decided = false;
    if (!op->canceled) {
        op->with.get_buffer(op, &memory, &size);
    }
    if (op->canceled && (size == 0 || !sock->backend->receive_on_cancel)) {
        return; /* to where canceled operations end */
    }
    if (size == 0) {
        fail(sock, flight, PCO_ENOBUFS, 0);
    } else if (memory == NULL) {
        die("a RECV asked for memory and was given NULL");
    } else {
        receive(sock, flight, memory, least(size, limit));
    }
}

/* Takes `length` bytes to the peer. */
static void carry(fake_socket *sock, const void *data, size_t length)
{
    append(&sock->sent, &sock->sent_length, data, length);
    if (sock->room != SIZE_MAX) {
        sock->room -= length;
    }
}

static void end_send(fake_socket *sock, fake_flight *flight, size_t limit)
{
    pco__result result = {.socket = PCO_NO_SOCKET};
    size_t length = flight->length;
    unsigned char *bytes;

    if (sock->send_error != 0) {
        int error = sock->send_error;
        sock->send_error = 0;
        fail(sock, flight, error, sock->send_system_code);
        return;
    }
    flight->decided = false;
    check_unchanged(flight);
    if (sock->backend->sends_what_came_later) {
        length = chain_length(flight->op->with.chain);
    }
    result.length = cut(least(least(length, sock->room), limit), sock->send_cut);
    if (result.length == 0) {
        return;
    }
    bytes = copy_chain(flight->op->with.chain, chain_length(flight->op->with.chain));
    carry(sock, bytes, result.length);
    free(bytes);
    sock->sends++;
    finish(sock, flight, &result);
}

/* What an instance is made of: there as long as somebody accepts. */
struct pco__pipe {
    char name[FAKE_PIPE_NAME];
};

static void check_pipe(const fake_socket *sock, const pco__op *op)
{
    if (sock->role == PCO__IO_PIPE_LISTENER && strcmp(op->with.pipe->name, sock->pipe_name) != 0) {
        die("an ACCEPT of another pipe than its listener's");
    }
}

static void end_accept(fake_socket *sock, fake_flight *flight)
{
    fake_client *client = sock->clients;
    pco__result result = {.socket = PCO_NO_SOCKET};

    if (client == NULL) { /* another ACCEPT has it */
        flight->decided = false;
        return;
    }
    sock->clients = client->next;
    result.error = client->error;
    result.system_code = client->system_code;
    result.length = client->turned_away;
    if (client->error == 0) {
        result.socket = client->socket;
        result.peer = &client->peer;
        fake_socket *its = find_socket(sock->backend, client->socket);
        its->accepted = true;
        its->opened = true;
    }
    check_pipe(sock, flight->op);
    finish(sock, flight, &result);
    free(client);
}

/* Ends an operation as the world has it. */
static void end(fake_socket *sock, fake_flight *flight, size_t limit)
{
    pco__result result = {.socket = PCO_NO_SOCKET};

    switch ((pco__op_kind)flight->op->kind) {
    case PCO__OP_ACCEPT:
        end_accept(sock, flight);
        break;
    case PCO__OP_CONNECT:
        result.error = sock->send_error;
        result.system_code = sock->send_system_code;
        finish(sock, flight, &result);
        break;
    case PCO__OP_RECV:
        end_receive(sock, flight, limit);
        break;
    case PCO__OP_WATCH:
        fail(sock, flight, sock->input_error, sock->input_system_code);
        break;
    case PCO__OP_SEND:
        end_send(sock, flight, limit);
        break;
    case PCO__OP_READABLE:
    case PCO__OP_WRITABLE:
        finish(sock, flight, &result);
        break;
    }
}

/* ---- poll() ---- */

static fake_flight *nth_flight(fake_socket *sock, size_t i)
{
    return i < FAKE_ACCEPTS ? &sock->in[i] : &sock->out;
}

/* The first decided flight in the order of decisions, up to `until`; NULL if there is none. */
static fake_flight *first_decided(fake_backend *fake, unsigned long until, fake_socket **owner)
{
    fake_flight *first = NULL;

    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
            fake_flight *flight = nth_flight(sock, i);
            if (flight->op != NULL && flight->decided && flight->order <= until &&
                (first == NULL || flight->order < first->order)) {
                first = flight;
                *owner = sock;
            }
        }
    }
    return first;
}

static bool finish_decided(fake_backend *fake, unsigned long until)
{
    bool any = false;
    fake_socket *sock = NULL;
    fake_flight *flight;

    while ((flight = first_decided(fake, until, &sock)) != NULL) {
        any = true;
        fake->base.reported++;
        if (flight->error == 0) {
            end(sock, flight, flight->limit);
        } else {
            int error = flight->error;
            fail(sock, flight, error, error == PCO_ECANCELED ? 0 : FAKE_SYSTEM_CODE(error));
        }
    }
    return any;
}

/* Of what was submitted after `after`, up to `until`. */
static bool finish_possible(fake_backend *fake, unsigned long after, unsigned long until)
{
    bool any = false;

    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
            fake_flight *flight = nth_flight(sock, i);
            if (flight->op != NULL && !flight->decided && !flight->op->canceled &&
                flight->order > after && flight->order <= until && can_end(sock, flight) &&
                fake->base.reported < fake->base.most &&
                (fake->batch == 0 || fake->base.reported < fake->batch)) {
                any = true;
                fake->base.reported++;
                end(sock, flight, SIZE_MAX);
            }
        }
    }
    return any;
}

/* What was canceled up to `until`; whether there was anything. */
static bool finish_canceled_once(fake_backend *fake, unsigned long until)
{
    bool any = false;

    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
            fake_flight *flight = nth_flight(sock, i);
            if (flight->op != NULL && flight->op->canceled && !flight->decided &&
                flight->canceled <= until && !fake->hold_cancels) {
                any = true;
                fail(sock, flight, PCO_ECANCELED, 0);
            }
        }
    }
    return any;
}

/* `until` is when poll() began. By default what ends here may cancel more, which ends here, too. */
static bool finish_canceled(fake_backend *fake, unsigned long until)
{
    bool any = false;

    while (finish_canceled_once(fake, fake->cancels_wait ? until : ULONG_MAX)) {
        any = true;
    }
    return any;
}

static bool take_wake(fake_backend *fake, bool *stop)
{
    bool woken;

    pco__mutex_lock(fake->mutex);
    woken = fake->woken;
    *stop |= fake->stop;
    fake->woken = false;
    fake->stop = false;
    pco__mutex_unlock(fake->mutex);
    return woken;
}

static void add_time(fake_backend *fake, uint64_t nanoseconds)
{
    pco__mutex_lock(fake->mutex);
    fake->now += nanoseconds;
    pco__condition_wake(fake->condition);
    pco__mutex_unlock(fake->mutex);
}

/* Nothing has happened, so time passes. */
static void pass_time(fake_backend *fake, uint64_t timeout)
{
    if (timeout != PCO__FOREVER) {
        add_time(fake, timeout);
        return;
    }
    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
            const pco__op *op = nth_flight(sock, i)->op;
            if (op != NULL) {
                fprintf(stderr, "fake backend: in flight: %s of socket %ld%s\n",
                        kind_names[op->kind], (long)(sock->number - FAKE_FIRST_SOCKET),
                        op->canceled ? ", canceled" : "");
            }
        }
    }
    die("poll() waits for ever, and nothing will happen");
}

static void poll_fake(pco__backend *backend, uint64_t timeout, bool *stop)
{
    fake_backend *fake = of(backend);
    unsigned long until = fake->order;
    bool worked = take_wake(fake, stop);

    fake->polls++;
    fake->turns += backend->loop->now == 0;
    fake->timeout = timeout;
    fake->base.reported = 0;
    if (fake->cancels_first) {
        worked |= finish_canceled(fake, until);
    }
    worked |= finish_decided(fake, until);
    if (!fake->manual) {
        worked |= finish_possible(fake, 0, until);
    }
    if (fake->eager) {
        worked |= finish_possible(fake, until, fake->order);
    }
    worked |= finish_canceled(fake, until);
    if (!worked) {
        pass_time(fake, timeout);
    }
}

static bool can_end_now(const fake_backend *fake, const fake_socket *sock,
                        const fake_flight *flight)
{
    if (flight->op == NULL) {
        return false;
    }
    if (flight->decided) {
        return true;
    }
    return flight->op->canceled ? !fake->hold_cancels : !fake->manual && can_end(sock, flight);
}

static uint64_t due_in(const pco__backend *backend)
{
    const fake_backend *fake = (const fake_backend *)backend;

    for (const fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        for (size_t i = 0; i <= FAKE_ACCEPTS; i++) {
            const fake_flight *flight = i < FAKE_ACCEPTS ? &sock->in[i] : &sock->out;
            if (can_end_now(fake, sock, flight)) {
                return 0;
            }
        }
    }
    return PCO__FOREVER;
}

static bool await(pco__backend *backend, uint64_t until)
{
    fake_backend *fake = of(backend);

    pco__mutex_lock(fake->mutex);
    while (!fake->woken && fake->now < until) {
        pco__condition_wait(fake->condition, fake->mutex);
    }
    pco__mutex_unlock(fake->mutex);
    return true;
}

static int descriptor(const pco__backend *backend)
{
    (void)backend;
    return -1;
}

/* ---- The rest of the backend ---- */

static fake_socket *new_socket(fake_backend *fake)
{
    fake_socket *sock = allocate(sizeof *sock);
    fake_socket **last = &fake->sockets;

    memset(sock, 0, sizeof *sock);
    sock->backend = fake;
    sock->number = fake->next_socket++;
    sock->room = SIZE_MAX;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = sock;
    return sock;
}

static fake_socket *find_socket(const fake_backend *fake, pco_socket number)
{
    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        if (sock->number == number) {
            return sock;
        }
    }
    return NULL;
}

static fake_socket *owner_of(const fake_backend *fake, const pco__io *io, const char *action)
{
    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        if (sock->io == io) {
            if (!sock->closed && !sock->taken && sock->number != io->socket) {
                die("%s: the number of an attached socket has changed", action);
            }
            return sock;
        }
    }
    die("%s: the socket is not attached", action);
    return NULL;
}

static int init(const pco__backend_class *self, const pco__backend_options *options,
                pco__backend **backend, pco_error *error)
{
    fake_backend *fake = allocate(sizeof *fake);

    (void)options;
    memset(fake, 0, sizeof *fake);
    if (pco__mutex_new(&fake->mutex) != 0) {
        free(fake);
        return pco__error_describe(error, PCO_ENOMEM, 0, "the fake backend");
    }
    if (pco__condition_new(&fake->condition) != 0) {
        pco__mutex_free(fake->mutex);
        free(fake);
        return pco__error_describe(error, PCO_ENOMEM, 0, "the fake backend");
    }
    fake->base.class_ = self;
    fake->base.most = INT_MAX;
    fake->next_socket = FAKE_FIRST_SOCKET;
    fake->next_port = FIRST_PORT;
    fake->now = (uint64_t)(FAKE_START * 1e9);
    newest = fake;
    *backend = &fake->base;
    return 0;
}

static bool has_file_left(const fake_socket *sock)
{
    return sock->has_file && !sock->file_removed && !sock->file_replaced;
}

static void free_socket(fake_socket *sock)
{
    while (sock->clients != NULL) {
        fake_client *client = sock->clients;
        sock->clients = client->next;
        free(client);
    }
    free(sock->input);
    free(sock->sent);
    free(sock);
}

static void fini(pco__backend *backend)
{
    fake_backend *fake = of(backend);

    while (fake->sockets != NULL) {
        fake_socket *sock = fake->sockets;
        fake->sockets = sock->next;
        if (sock->io != NULL) {
            die("fini: a socket is still attached");
        }
        if (sock->opened && !sock->closed) {
            die("fini: a socket that the library has opened is not closed");
        }
        if (fake->files_must_go && has_file_left(sock) && !sock->keeps_file) {
            die("fini: a socket's file is left behind");
        }
        free_socket(sock);
    }
    pco__condition_free(fake->condition);
    pco__mutex_free(fake->mutex);
    free(fake);
}

static uint64_t now(pco__backend *backend)
{
    if (of(backend)->tick != 0) {
        add_time(of(backend), of(backend)->tick);
    }
    return of(backend)->now;
}

static void wake(pco__backend *backend, bool stop)
{
    fake_backend *fake = of(backend);

    pco__mutex_lock(fake->mutex);
    fake->wakes++;
    fake->woken = true;
    fake->stop |= stop;
    pco__condition_wake(fake->condition);
    pco__mutex_unlock(fake->mutex);
}

static int attach(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error)
{
    fake_backend *fake = of(backend);
    fake_socket *sock = find_socket(fake, io->socket);

    if (fake->attach_error != 0) {
        int code = fake->attach_error;
        fake->attach_error = 0;
        return pco__error_describe(error, code, FAKE_SYSTEM_CODE(code), "attach a socket");
    }
    if (sock == NULL) {
        return pco__error_describe(error, PCO_ENOTSOCK, FAKE_SYSTEM_CODE(PCO_ENOTSOCK), "attach");
    }
    if (role == PCO__IO_FOREIGN && sock->io == io) {
        return 0;
    }
    if (role == PCO__IO_FOREIGN && sock->io != NULL) {
        return pco__error_describe(error, PCO_EBUSY, 0, "attach a foreign socket");
    }
    if (sock->io != NULL || sock->closed) {
        die("attach: the socket is attached already, or was closed");
    }
    if (sock->is_pipe != (role == PCO__IO_PIPE || role == PCO__IO_PIPE_LISTENER)) {
        die("attach: a pipe as a socket, or a socket as a pipe");
    }
    sock->io = io;
    sock->role = role;
    backend->attached++;
    return 0;
}

static void detach(pco__backend *backend, pco__io *io)
{
    fake_socket *sock = owner_of(of(backend), io, "detach");

    if (sock->closed || flights_of(sock) != 0) {
        die("rule Drained: a socket was detached with an operation in flight");
    }
    sock->io = NULL;
    backend->attached--;
}

static bool is_watched(unsigned kind)
{
    return kind == PCO__OP_READABLE || kind == PCO__OP_WRITABLE;
}

static bool is_listener(const fake_socket *sock)
{
    return sock->role == PCO__IO_LISTENER || sock->role == PCO__IO_PIPE_LISTENER;
}

static void check_submit(const fake_socket *sock, const pco__op *op)
{
    bool listens = is_listener(sock);

    if (op->kind >= KINDS) {
        die("submit: there is no kind %u", op->kind);
    }
    if (sock->closed) {
        die("submit: a %s of a listener that is closed", kind_names[op->kind]);
    }
    if (op->in_flight) {
        die("rule Once: a %s was submitted that is in flight", kind_names[op->kind]);
    }
    if (sock->role == PCO__IO_PIPE_LISTENER && op->with.pipe == NULL) {
        die("submit: an ACCEPT that does not say of which pipe");
    }
    if (op->done == NULL || listens != (op->kind == PCO__OP_ACCEPT) ||
        (sock->role == PCO__IO_FOREIGN) != is_watched(op->kind)) {
        die("submit: a %s that this socket cannot have", kind_names[op->kind]);
    }
    if (op->kind == PCO__OP_SEND && (op->with.chain == NULL || sock->shut_down)) {
        die("submit: a SEND of nothing, or after the end");
    }
}

void (*fake_connecting)(fake_socket *sock, const pco__op *op);

static void submit(pco__backend *backend, pco__op *op)
{
    fake_backend *fake = of(backend);
    fake_socket *sock = owner_of(fake, op->io, "submit");
    fake_flight *flight = &sock->out;

    check_submit(sock, op);
    if (!goes_out(op->kind)) {
        size_t limit = op->kind == PCO__OP_ACCEPT ? backend->class_->accepts : 1;
        size_t i = 0;
        while (i < limit && sock->in[i].op != NULL) {
            i++;
        }
        flight = i < limit ? &sock->in[i] : NULL;
    }
    if (flight == NULL || flight->op != NULL) {
        die("submit: a second operation of the same direction");
    }
    op->in_flight = true;
    op->canceled = false;
    flight->op = op;
    flight->given = *op;
    flight->order = ++fake->order;
    if (op->kind == PCO__OP_SEND) {
        flight->length = chain_length(op->with.chain);
        flight->bytes = copy_chain(op->with.chain, flight->length);
    }
    if (op->kind == PCO__OP_CONNECT && fake_connecting != NULL) {
        fake_connecting(sock, op);
    }
    pco__backend_news(backend);
}

static void cancel(pco__backend *backend, pco__op *op)
{
    fake_socket *sock = owner_of(of(backend), op->io, "cancel");
    fake_flight *flight = flight_of(sock, op);

    if (!op->in_flight || flight == NULL) {
        die("cancel: the operation is not in flight");
    }
    if (!op->canceled) {
        op->canceled = true;
        flight->canceled = ++of(backend)->order;
        pco__backend_news(backend);
    }
}

static pco__sent try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                          size_t count)
{
    fake_socket *sock = owner_of(of(backend), io, "try_send");
    size_t left = cut(sock->room, sock->send_cut);
    pco__sent sent = {0};

    if (sock->out.op != NULL || sock->shut_down) {
        die("try_send: a SEND is in flight, or the end was sent");
    }
    if (count == 0 || count > PCO__SEND_BUFFERS) {
        die("try_send: %lu buffers", (unsigned long)count);
    }
    if (sock->send_error != 0) {
        sent.error = sock->send_error;
        sent.system_code = sock->send_system_code;
        sock->send_error = 0;
        return sent;
    }
    for (size_t i = 0; i < count && left != 0; i++) {
        size_t length = least(buffers[i].length, left);
        carry(sock, buffers[i].data, length);
        left -= length;
        sent.length += length;
    }
    if (sent.length == 0) {
        sent.error = PCO_EAGAIN;
    } else {
        sock->sends++;
    }
    return sent;
}

static pco__sent try_send_one(pco__backend *backend, pco__io *io, const void *data, size_t length)
{
    pco_buffer buffer = {.data = data, .length = length};

    if (length >= PCO__SEND_ONE) {
        die("try_send_one: %lu bytes", (unsigned long)length);
    }
    return try_send(backend, io, &buffer, 1);
}

static int64_t unsent(pco__backend *backend, const pco__io *io)
{
    return owner_of(of(backend), io, "unsent")->unsent;
}

static int shutdown_send(pco__backend *backend, pco__io *io)
{
    fake_socket *sock = owner_of(of(backend), io, "shutdown_send");

    if (sock->out.op != NULL || sock->shut_down) {
        die("shutdown_send: a SEND is in flight, or the end was sent before");
    }
    if (sock->is_pipe) {
        die("shutdown_send: a pipe has no half");
    }
    sock->shut_down = true;
    return 0;
}

static void close_socket(pco__backend *backend, pco__io *io, bool reset)
{
    fake_socket *sock = owner_of(of(backend), io, "close");

    if (sock->role == PCO__IO_FOREIGN) {
        die("close: the socket is somebody else's");
    }
    if (flights_of(sock) != 0 && !is_listener(sock)) {
        die("rule Drained: a socket was closed with an operation in flight");
    }
    if (sock->closed) {
        die("close: the listener is closed already");
    }
    backend->attached--;
    for (size_t i = 0; i < FAKE_ACCEPTS; i++) {
        if (sock->in[i].op != NULL) {
            cancel(backend, sock->in[i].op);
        }
    }
    if (flights_of(sock) == 0) {
        sock->io = NULL;
        drop_instances(sock);
    }
    sock->closed = true;
    sock->reset = reset;
    io->socket = PCO_NO_SOCKET;
}

/* ---- The network ---- */

const char *fake_lacks;

bool fake_misses(const pco__socket_options *options)
{
    const char *lacked = fake_lacks != NULL ? fake_lacks : "";

    return (strcmp(lacked, "keep_alive_idle") == 0 && options->keep_alive_idle > 0) ||
           (strcmp(lacked, "keep_alive_interval") == 0 && options->keep_alive_interval > 0) ||
           (strcmp(lacked, "keep_alive_count") == 0 && options->keep_alive_count > 0) ||
           (strcmp(lacked, "user_timeout") == 0 && options->user_timeout > 0);
}

static int socket_options_supported(const pco__socket_options *options, pco_error *error)
{
    return fake_misses(options)
               ? pco__error_set(error, PCO_ENOTSUP, 0, "%s: not supported by the fake", fake_lacks)
               : 0;
}

static int reuse_port_supported(pco_error *error)
{
    (void)error;
    return 0;
}

static int resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                   size_t *count, pco_error *error)
{
    return pco__system_network.resolve(host, port, family, flags, addresses, count, error);
}

int (*fake_resolve_service)(const char *service, int *port, pco_error *error);

static int resolve_service(const char *service, int *port, pco_error *error)
{
    return fake_resolve_service != NULL ? fake_resolve_service(service, port, error)
                                        : pco__system_network.resolve_service(service, port, error);
}

/* A socket that is not attached. */
static fake_socket *loose_socket(const pco__backend *backend, pco_socket number, const char *action)
{
    fake_socket *sock = find_socket((const fake_backend *)backend, number);

    if (sock == NULL || sock->closed || sock->io != NULL || sock->is_pipe) {
        die("%s: no such socket, or it is attached", action);
    }
    return sock;
}

static int open_socket(pco__backend *backend, int family, int proto, pco_socket *sock,
                       pco_error *error)
{
    fake_backend *fake = of(backend);
    int failure = fake->open_error;

    (void)family;
    (void)proto;
    fake->open_error = 0;
    if (failure != 0) {
        return pco__error_describe(error, failure, FAKE_SYSTEM_CODE(failure), "open a socket");
    }
    fake_socket *made = new_socket(fake);
    made->opened = true;
    *sock = made->number;
    return 0;
}

static int bind_local(pco__backend *backend, pco_socket number, const pco_address *address,
                      pco_error *error)
{
    fake_socket *sock = loose_socket(backend, number, "bind_local");
    int failure = sock->backend->bind_error;

    sock->backend->bind_error = 0;
    if (failure != 0) {
        return pco__error_describe(error, failure, FAKE_SYSTEM_CODE(failure), "bind port %d",
                                   pco_address_port(address));
    }
    sock->name = *address;
    return 0;
}

/* Who has a name: a socket that is open, or what it has left behind. NULL: nobody. */
static fake_socket *holder_of(const fake_backend *fake, const pco_address *address)
{
    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        if ((sock->has_file ? has_file_left(sock) : !sock->closed) &&
            sock->role == PCO__IO_LISTENER && pco_address_equal(&sock->name, address)) {
            return sock;
        }
    }
    return NULL;
}

static bool is_of_unix(const pco_address *address)
{
    return pco_address_family(address) == PCO_AF_UNIX;
}

/* An abstract name is no file's. */
static bool is_path(const pco_address *address)
{
    char text[PCO_ADDRESS_TEXT_SIZE];

    return is_of_unix(address) && pco_address_host(address, text, sizeof text) == 0 &&
           text[0] != '\0' && text[0] != '@';
}

static bool is_taken(const fake_backend *fake, const pco_address *address, bool replace_stale)
{
    const fake_socket *holder = holder_of(fake, address);

    return holder != NULL && !(holder->closed && replace_stale);
}

/* Who asks for any port, or any abstract name, gets one that is free. */
static pco_address choose_name(fake_backend *fake, const pco_address *wanted)
{
    pco_address name = *wanted;
    bool any_name = is_of_unix(wanted) && !is_path(wanted) && wanted->length <= 2;
    bool any_port = !is_of_unix(wanted) && pco_address_port(wanted) == 0;

    while (any_port && (pco_address_port(&name) == 0 || holder_of(fake, &name) != NULL)) {
        pco__address_set_port(&name, fake->next_port++);
    }
    if (any_name) {
        char text[16];
        snprintf(text, sizeof text, "@%05x", (unsigned)fake->next_port++);
        pco__address_of_path(text, &name, NULL);
    }
    return name;
}

/* What is stale makes room. */
static int take_name(fake_backend *fake, const pco_address *name,
                     const pco__listener_options *options)
{
    fake_socket *holder = holder_of(fake, name);

    if (is_taken(fake, name, options->replace_stale)) {
        return options->reuse_port ? 0 : PCO_EADDRINUSE;
    }
    if (holder != NULL) {
        holder->file_replaced = true;
    }
    return 0;
}

static int prepare(fake_socket *sock, const pco_address *address,
                   const pco__listener_options *options)
{
    if (options->prepare == NULL) {
        return 0;
    }
    return pco__error_known(
        options->prepare(sock->number, pco_address_family(address), options->context));
}

static int bind_socket(pco__backend *backend, const pco_address *address,
                       const pco__listener_options *options, pco_socket *sock, pco_error *error)
{
    fake_backend *fake = of(backend);
    fake_socket *bound = new_socket(fake);
    int code = prepare(bound, address, options);

    if (code != 0) {
        bound->closed = true;
        return pco__error_describe(error, code, 0, "prepare_socket");
    }
    pco_address name = choose_name(fake, address);
    code = take_name(fake, &name, options);
    if (code != 0) {
        bound->closed = true;
        return pco__error_describe(error, code, FAKE_SYSTEM_CODE(code), "bind port %d",
                                   pco_address_port(&name));
    }
    bound->options = options->connections;
    bound->name = name;
    bound->opened = true;
    bound->role = PCO__IO_LISTENER;
    bound->has_file = is_path(&bound->name);
    bound->file_mode = options->file_mode;
    *sock = bound->number;
    return 0;
}

static int adopt_connected(pco__backend *backend, pco_socket number,
                           const pco__socket_options *options, bool *was_blocking, pco_error *error)
{
    fake_socket *sock = find_socket(of(backend), number);

    *was_blocking = false;
    if (sock == NULL) {
        return pco__error_describe(error, PCO_ENOTSOCK, FAKE_SYSTEM_CODE(PCO_ENOTSOCK), "sock");
    }
    if (pco_address_family(&sock->name) == PCO_AF_UNIX && pco__socket_options_are_tcps(options)) {
        return pco__error_set(error, PCO_ENOTSUP, 0, "sock: none of TCP's");
    }
    sock->options = *options;
    return 0;
}

static int adopt_listener(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error)
{
    return adopt_connected(backend, sock, &options->connections, was_blocking, error);
}

static void make_blocking(pco__backend *backend, pco_socket sock)
{
    loose_socket(backend, sock, "make_blocking");
}

static int listen_on(pco__backend *backend, pco_socket number, int backlog, pco_error *error)
{
    const fake_socket *sock = find_socket(of(backend), number);

    (void)error;
    if (sock == NULL || sock->closed || sock->role != PCO__IO_LISTENER || backlog <= 0) {
        die("listen: the socket is not bound, or the backlog not positive");
    }
    return 0;
}

static int prepare_connected(pco__backend *backend, pco_socket sock,
                             const pco__socket_options *options, bool adopted)
{
    fake_backend *fake = of(backend);
    fake_socket *its = loose_socket(backend, sock, "prepare_connected");
    int failure = fake->option_error;

    (void)adopted;
    fake->option_error = 0;
    if (failure == 0) {
        its->options = *options;
    }
    return failure;
}

static void close_loose_socket(pco__backend *backend, pco_socket number, bool reset)
{
    fake_socket *sock = loose_socket(backend, number, "close");

    sock->closed = true;
    sock->reset = reset;
}

/* What is known of an open socket's name. */
static int tell(const pco_address *known, int otherwise, pco_address *address)
{
    *address = *known;
    return known->length != 0 ? 0 : otherwise;
}

static bool gives_port(pco__backend *backend, int port)
{
    return port != of(backend)->port_not_given;
}

static int sockname(pco__backend *backend, pco_socket number, pco_address *address)
{
    const fake_socket *sock = find_socket(of(backend), number);

    return sock == NULL || sock->closed || sock->is_pipe ? PCO_ENOTSOCK
                                                         : tell(&sock->name, PCO_EINVAL, address);
}

static int peername(pco__backend *backend, pco_socket number, pco_address *address)
{
    const fake_socket *sock = find_socket(of(backend), number);

    return sock == NULL || sock->closed || sock->is_pipe ? PCO_ENOTSOCK
                                                         : tell(&sock->peer, PCO_ENOTCONN, address);
}

static int counters(pco__backend *backend, pco_socket number, pco_transport_counters *counters)
{
    const fake_socket *sock = find_socket(of(backend), number);

    counters->bytes_received = sock->received;
    counters->bytes_sent = sock->sent_length;
    return 0;
}

/* Of a pipe the process is known, and no more. */
static int credentials(pco__backend *backend, pco_socket number, pco_credentials *credentials)
{
    const fake_socket *sock = find_socket(of(backend), number);

    if (sock->is_pipe) {
        credentials->process = sock->credentials.process;
        return 0;
    }
    if (!is_of_unix(&sock->name) && !is_of_unix(&sock->peer)) {
        return PCO_ENOTSUP;
    }
    *credentials = sock->credentials;
    return 0;
}

static bool find_file(pco__backend *backend, pco_socket number, pco__socket_file *file)
{
    const fake_socket *sock = find_socket(of(backend), number);

    if (sock == NULL || !is_path(&sock->name)) {
        return false;
    }
    *file = (pco__socket_file){.address = sock->name, .number = (uint64_t)number};
    return true;
}

static void remove_file(pco__backend *backend, const pco__socket_file *file)
{
    fake_socket *sock = find_socket(of(backend), (pco_socket)file->number);

    if (sock == NULL || sock->closed || sock->file_removed) {
        die("remove_file: its socket is closed, or it was removed already");
    }
    sock->file_removed = true;
}

/* ---- Named pipes ---- */

static fake_socket *new_pipe(fake_backend *fake)
{
    fake_socket *made = new_socket(fake);

    made->is_pipe = true;
    made->opened = true;
    return made;
}

/* The listener of a name, or an instance that keeps it from others; NULL: neither is there. */
static fake_socket *find_pipe(const fake_backend *fake, const char *name)
{
    fake_socket *found = NULL;

    for (fake_socket *sock = fake->sockets; sock != NULL; sock = sock->next) {
        bool listens = sock->role == PCO__IO_PIPE_LISTENER;
        if (!sock->closed && (listens || sock->accepted) && strcmp(sock->pipe_name, name) == 0 &&
            (found == NULL || listens)) {
            found = sock;
        }
    }
    return found;
}

static size_t free_instances(const fake_socket *sock)
{
    size_t count = 0;

    if (sock->role != PCO__IO_PIPE_LISTENER || sock->closed) {
        return 0;
    }
    for (size_t i = 0; i < FAKE_ACCEPTS; i++) {
        count += sock->in[i].op != NULL && !sock->in[i].op->canceled;
    }
    for (const fake_client *each = sock->clients; each != NULL; each = each->next) {
        count -= count != 0;
    }
    return count;
}

static int bind_pipe(const char *name, const char *sddl, pco__pipe **pipe, pco_socket *listener,
                     pco_error *error)
{
    int failure = newest->pipe_error;

    (void)sddl;
    if (failure == 0 && find_pipe(newest, name) != NULL) {
        failure = PCO_EADDRINUSE;
    }
    if (failure != 0) {
        return pco__error_describe(error, failure, FAKE_SYSTEM_CODE(failure), "serve pipe %s",
                                   name);
    }
    *pipe = pco__malloc(sizeof **pipe);
    if (*pipe == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "serve pipe %s", name);
    }
    fake_socket *made = new_pipe(newest);
    made->role = PCO__IO_PIPE_LISTENER;
    snprintf(made->pipe_name, sizeof made->pipe_name, "%s", name);
    snprintf((*pipe)->name, sizeof(*pipe)->name, "%s", name);
    *listener = made->number;
    return 0;
}

int (*fake_asking_for_pipe)(const char *name);
void (*fake_pipe_opened)(const char *name, fake_socket *sock, fake_socket *instance);

static int ask_for_pipe(const char *name, const fake_socket *server)
{
    if (newest->pipe_error != 0) {
        return newest->pipe_error;
    }
    if (server != NULL) {
        return free_instances(server) != 0 ? 0 : PCO_EAGAIN;
    }
    if (newest->pipe != NULL && strcmp(name, newest->pipe) == 0) {
        return 0;
    }
    return fake_asking_for_pipe != NULL ? fake_asking_for_pipe(name) : PCO_ENOENT;
}

static int open_pipe(const char *name, pco_socket *sock, pco_error *error)
{
    const fake_socket *server = find_pipe(newest, name);
    int failure = ask_for_pipe(name, server);
    fake_socket *instance = NULL;

    newest->pipe_opens++;
    if (failure != 0) {
        return pco__error_describe(error, failure, FAKE_SYSTEM_CODE(failure), "connect to pipe %s",
                                   name);
    }
    fake_socket *made = new_pipe(newest);
    if (server != NULL) {
        instance = find_socket(newest, fake_connect(newest->base.loop, server->number, NULL));
    }
    if (fake_pipe_opened != NULL) {
        fake_pipe_opened(name, made, instance);
    }
    *sock = made->number;
    return 0;
}

static void close_pipe(pco_socket number)
{
    fake_socket *sock = find_socket(newest, number);

    if (sock == NULL || sock->closed || sock->io != NULL || !sock->is_pipe) {
        die("close: no such pipe, or it is attached");
    }
    sock->closed = true;
}

static const pco__pipes_class fake_pipes = {
    .bind = bind_pipe, .open = open_pipe, .close = close_pipe};

static const pco__network fake_network = {
    .changes = &fake_changes_class,
    .pipes = &fake_pipes,
    .reuse_port_supported = reuse_port_supported,
    .socket_options_supported = socket_options_supported,
    .resolve = resolve,
    .resolve_service = resolve_service,
    .open = open_socket,
    .bind_local = bind_local,
    .bind = bind_socket,
    .adopt_listener = adopt_listener,
    .adopt_connected = adopt_connected,
    .make_blocking = make_blocking,
    .listen = listen_on,
    .prepare_connected = prepare_connected,
    .close = close_loose_socket,
    .gives_port = gives_port,
    .sockname = sockname,
    .peername = peername,
    .counters = counters,
    .credentials = credentials,
    .find_file = find_file,
    .remove_file = remove_file,
};

/* ---- The classes ---- */

#define FAKE_CLASS(name_, accepts_)                                                                \
    {                                                                                              \
        .name = (name_), .network = &fake_network, .accepts = (accepts_), .batch = 1,              \
        .init = init, .fini = fini, .now = now, .poll = poll_fake, .wake = wake,                   \
        .descriptor = descriptor, .due_in = due_in, .await = await, .attach = attach,              \
        .detach = detach, .submit = submit, .cancel = cancel, .try_send = try_send,                \
        .try_send_one = try_send_one, .unsent = unsent, .shutdown_send = shutdown_send,            \
        .close = close_socket                                                                      \
    }

const pco__backend_class fake_backend_class = FAKE_CLASS("fake", 1);
const pco__backend_class fake_backend_wide_class = FAKE_CLASS("fake wide", FAKE_ACCEPTS);

/* ---- For the tests ---- */

pco_loop *fake_loop_new(void)
{
    pco_loop *loop = NULL;

    return pco__loop_new(NULL, &fake_backend_class, &loop, NULL) == 0 ? loop : NULL;
}

fake_backend *fake_of(const pco_loop *loop)
{
    return of(loop->backend);
}

void fake_advance(pco_loop *loop, double seconds)
{
    add_time(fake_of(loop), (uint64_t)(seconds * 1e9 + 0.5));
}

void fake_tell(pco_loop *loop)
{
    if (due_in(loop->backend) == 0) {
        pco__backend_news(loop->backend);
    }
}

unsigned long fake_wakes(const pco_loop *loop)
{
    fake_backend *fake = fake_of(loop);
    unsigned long wakes;

    pco__mutex_lock(fake->mutex);
    wakes = fake->wakes;
    pco__mutex_unlock(fake->mutex);
    return wakes;
}

pco_socket fake_socket_new(pco_loop *loop)
{
    fake_backend *fake = fake_of(loop);

    return new_socket(fake)->number;
}

fake_socket *fake_socket_of(const pco_loop *loop, pco_socket sock)
{
    fake_socket *found = find_socket(fake_of(loop), sock);

    if (found == NULL) {
        die("the test asks for a socket that does not exist");
    }
    return found;
}

void fake_feed(fake_socket *sock, const void *data, size_t length)
{
    append(&sock->input, &sock->input_length, data, length);
    pco__backend_news(&sock->backend->base);
}

void fake_feed_eof(fake_socket *sock)
{
    sock->input_eof = true;
    pco__backend_news(&sock->backend->base);
}

void fake_feed_error(fake_socket *sock, int error, int system_code)
{
    sock->input_error = error;
    sock->input_system_code = system_code;
    pco__backend_news(&sock->backend->base);
}

static fake_client *add_client(pco_loop *loop, pco_socket listener)
{
    fake_client *client = allocate(sizeof *client);
    fake_client **last = &fake_socket_of(loop, listener)->clients;

    memset(client, 0, sizeof *client);
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = client;
    pco__backend_news(loop->backend);
    return client;
}

size_t fake_free_instances(const pco_loop *loop, pco_socket listener)
{
    return free_instances(fake_socket_of(loop, listener));
}

bool fake_pipe_is_served(const pco_loop *loop, const char *name)
{
    return find_pipe(fake_of(loop), name) != NULL;
}

bool fake_path_is_taken(const pco_loop *loop, const pco_address *address, bool replace_stale)
{
    return is_taken(fake_of(loop), address, replace_stale);
}

pco_socket fake_connect(pco_loop *loop, pco_socket listener, const pco_address *peer)
{
    fake_client *client = add_client(loop, listener);

    client->socket = fake_socket_new(loop);
    const fake_socket *server = fake_socket_of(loop, listener);
    fake_socket *sock = fake_socket_of(loop, client->socket);
    sock->is_pipe = server->is_pipe;
    sock->name = server->name;
    memcpy(sock->pipe_name, server->pipe_name, sizeof sock->pipe_name);
    if (peer != NULL) {
        client->peer = *peer;
        sock->peer = *peer;
    }
    return client->socket;
}

void fake_accept_error(pco_loop *loop, pco_socket listener, int error, int system_code,
                       size_t turned_away)
{
    fake_client *client = add_client(loop, listener);

    client->socket = PCO_NO_SOCKET;
    client->error = error;
    client->system_code = system_code;
    client->turned_away = turned_away;
}

void fake_take_away(fake_socket *sock)
{
    sock->taken = true;
    sock->io->socket = PCO_NO_SOCKET;
}

bool fake_is_in_flight(const fake_socket *sock, pco__op_kind kind)
{
    return find_flight(sock, (unsigned)kind) != NULL;
}

bool fake_is_canceled(const fake_socket *sock, pco__op_kind kind)
{
    const fake_flight *flight = find_flight(sock, (unsigned)kind);

    return flight != NULL && flight->op->canceled;
}

bool fake_decide(fake_socket *sock, pco__op_kind kind, int error, size_t limit)
{
    fake_flight *flight = find_flight(sock, (unsigned)kind);
    bool possible = flight != NULL && !flight->decided;

    if (possible && error == 0) {
        possible = limit != 0 && can_end(sock, flight);
    } else if (possible && error == PCO_ECANCELED) {
        possible = flight->op->canceled;
    }
    if (possible) {
        flight->decided = true;
        flight->error = error;
        flight->limit = limit;
        flight->order = ++sock->backend->order;
        pco__backend_news(&sock->backend->base);
    }
    return possible;
}

size_t fake_in_flight(const pco_loop *loop)
{
    size_t count = 0;

    for (const fake_socket *sock = fake_of(loop)->sockets; sock != NULL; sock = sock->next) {
        count += flights_of(sock);
    }
    return count;
}
