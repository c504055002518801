/* SPDX-License-Identifier: MIT */
/*
 * reactor.c: readiness -> completion. What poll() finds ready it tries, and tells done() how that
 * went; an operation that the system cannot carry out yet stays until the next edge.
 *
 * The hard idea: done() may close and free any socket, that of the operation itself included. So
 * poll() works in steps that keep no pointer across a done(): the poller puts everything that the
 * system reports into the ready queue before the first operation is tried; close() takes a socket
 * out of whatever queue it is in and out of reactor->current; and after every done() it is
 * reactor->current that tells whether the socket is still there.
 */
#define _GNU_SOURCE 1

#include "reactor.h"

#include "error.h"
#include "memory.h"
#include "platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the socket has SO_NOSIGPIPE instead: see socket.c */
#endif

/* How many connections one listener accepts per turn before the other sockets have theirs. */
#define ACCEPTS_PER_TURN 64

/*
 * The most that one call reads or sends: below what the system itself cuts a call to (2 GiB less a
 * page), or a transfer that was merely cut would look as if the socket were drained.
 */
#define TRANSFER_LIMIT ((size_t)1 << 30)

/* How long poll() waits, at most, before it tries to send again what there was no memory for. */
#define STARVED_WAIT ((uint64_t)10 * 1000000)

#define WANTS_IN (PCO__READY_IN | PCO__READY_ERROR)
#define WANTS_OUT (PCO__READY_OUT | PCO__READY_START)

static pco__reactor *reactor_of(pco__backend *backend)
{
    return (pco__reactor *)backend;
}

static const pco__poller *poller_of(const pco__reactor *reactor)
{
    return (const pco__poller *)reactor->base.class_;
}

static int descriptor_of(const pco__io *io)
{
    return (int)io->socket;
}

static void clear(pco__io *io, unsigned bits)
{
    io->private_.ready = (uint8_t)(io->private_.ready & ~bits);
}

static bool is_due(const pco__io *io)
{
    return (io->private_.ready & io->private_.wants) != 0;
}

static bool would_block(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK;
}

/* Moves all of `from` to `to`, which is empty. */
static void move_queue(pco__link *from, pco__link *to)
{
    if (pco__list_is_empty(from)) {
        return;
    }
    *to = *from;
    to->next->previous = to;
    to->previous->next = to;
    pco__list_init(from);
}

/* ---- Completing ---- */

static void stop_wanting(const pco__op *op)
{
    pco__io_private *state = &op->io->private_;
    unsigned bits = op == state->in ? WANTS_IN : WANTS_OUT;

    state->wants = (uint8_t)(state->wants & ~bits);
}

static void finish(pco__reactor *reactor, pco__op *op, const pco__result *result)
{
    pco__io_private *state = &op->io->private_;

    stop_wanting(op);
    if (op == state->in) {
        state->in = NULL;
    } else {
        state->out = NULL;
    }
    pco__complete(&reactor->base, op, result);
}

static void fail(pco__reactor *reactor, pco__op *op, int system_code)
{
    pco__result result = {.error = pco__error_from_system(system_code), .system_code = system_code};

    finish(reactor, op, &result);
}

/* The error that the socket has come to; asking takes it away. */
static int take_socket_error(const pco__io *io)
{
    int code = 0;
    socklen_t length = sizeof code;

    if (getsockopt(descriptor_of(io), SOL_SOCKET, SO_ERROR, &code, &length) != 0) {
        return errno;
    }
    return code != 0 ? code : io->private_.error;
}

/* ---- Trying each kind of operation ---- */

/*
 * After a read of `length` bytes that could have been more: whether something may be left. The end
 * of the stream may; and what urgent data (a read ends before it) has kept apart from what kqueue
 * had counted.
 */
static bool may_be_more(pco__io *io, size_t length)
{
    pco__io_private *state = &io->private_;

    state->available = (size_t)state->available > length ? state->available - (int32_t)length : 0;
    return state->available != 0 || (state->ready & PCO__READY_END) != 0;
}

static void try_receive(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.in;
    void *memory = reactor->scratch;
    size_t size = reactor->scratch_size;
    pco__result result = {0};
    ssize_t length;

    if (op->with.get_buffer != NULL) {
        size = 0;
        op->with.get_buffer(op, &memory, &size);
        if (op->canceled) {
            return;
        }
        if (size == 0) {
            result.error = PCO_ENOBUFS;
            finish(reactor, op, &result);
            return;
        }
        if (size > TRANSFER_LIMIT) {
            size = TRANSFER_LIMIT;
        }
    }
    do {
        length = recv(descriptor_of(io), memory, size, 0);
    } while (length < 0 && errno == EINTR);
    if (length < 0) {
        if (would_block(errno)) {
            io->private_.available = 0;
            clear(io, PCO__READY_IN);
        } else {
            fail(reactor, op, errno);
        }
        return;
    }
    if (length == 0 && io->private_.error != 0) {
        fail(reactor, op, io->private_.error);
        return;
    }
    if (length != 0 && !may_be_more(io, (size_t)length) && (size_t)length < size) {
        clear(io, PCO__READY_IN);
    }
    result.length = (size_t)length;
    result.data = memory;
    finish(reactor, op, &result);
}

static void try_watch(pco__reactor *reactor, pco__io *io)
{
    int code = take_socket_error(io);

    clear(io, PCO__READY_ERROR);
    /* Linux calls a reset EPIPE once the peer has ended its side. It is a reset all the same. */
    if (code == EPIPE) {
        code = ECONNRESET;
    }
    if (code != 0) {
        fail(reactor, io->private_.in, code);
    }
}

/*
 * Errors of accept() that belong to the one connection and not to the listener: the client has
 * gone, or a firewall forbids it (accept(2), "Error handling").
 */
static bool is_clients_error(int code)
{
    static const int codes[] = {
        ECONNABORTED, EINTR,    EPROTO,      EPERM,        ENOPROTOOPT,
        EOPNOTSUPP,   ENETDOWN, ENETUNREACH, EHOSTUNREACH, EHOSTDOWN,
#ifdef ENONET
        ENONET,
#endif
    };

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (code == codes[i]) {
            return true;
        }
    }
    return false;
}

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/*
 * There are no descriptors left. Clients would wait in the backlog for an answer that does not
 * come, so the reserve is given up for a moment, to accept and close them. Another thread may be
 * faster and take the descriptor; then there is no reserve until some descriptor is free again.
 * Returns how many there were.
 */
static size_t turn_clients_away(pco__reactor *reactor, pco__io *io)
{
    size_t count = 0;

    if (reactor->reserve < 0) {
        return 0;
    }
    close(reactor->reserve);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        pco_address peer;
        int client = pco__socket_accept(descriptor_of(io), &peer);

        if (client >= 0) {
            close(client);
            count++;
        } else if (would_block(errno)) {
            clear(io, PCO__READY_IN);
            break;
        } else if (!is_clients_error(errno)) {
            break;
        }
    }
    reactor->reserve = open_reserve();
    return count;
}

/* Accepts one connection, and returns whether the listener wants another at once. */
static bool try_accept_one(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.in;
    pco__result result = {0};
    pco_address peer;
    int client = pco__socket_accept(descriptor_of(io), &peer);

    if (client >= 0) {
        result.socket = client;
        result.peer = &peer;
        finish(reactor, op, &result);
        return reactor->current == io && (io->private_.wants & PCO__READY_IN) != 0;
    }
    if (would_block(errno)) {
        clear(io, PCO__READY_IN);
        return false;
    }
    if (is_clients_error(errno)) {
        return true;
    }
    result.system_code = errno;
    result.error = pco__error_from_system(result.system_code);
    result.socket = PCO_NO_SOCKET;
    if (result.error == PCO_EMFILE) {
        result.length = turn_clients_away(reactor, io);
        /* Linux wants a descriptor before it looks for a client: this time there is none. */
        if (result.length == 0 && !is_due(io)) {
            return false;
        }
    }
    finish(reactor, op, &result);
    return false;
}

static void try_accept(pco__reactor *reactor, pco__io *io)
{
    int left = ACCEPTS_PER_TURN;

    if (reactor->reserve < 0) {
        reactor->reserve = open_reserve();
    }
    while (left > 0 && try_accept_one(reactor, io)) {
        left--;
    }
}

/*
 * What was reported of a socket before its connect() means nothing: an unconnected one counts as
 * ended and ready for all. What is reported afterwards is true, since the system looks at the
 * socket when it is asked, not when the edge came.
 */
static void start_connect(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.out;
    const pco_address *address = op->with.address;
    bool is_unix = pco_address_family(address) == PCO_AF_UNIX;
    pco__result result = {0};

    io->private_.ready = is_unix ? PCO__READY_END : 0;
    io->private_.error = 0;
    if (connect(descriptor_of(io), (const struct sockaddr *)address->storage,
                (socklen_t)address->length) == 0) {
        io->private_.ready |= PCO__READY_OUT;
        finish(reactor, op, &result);
    } else if (errno == EINPROGRESS || errno == EINTR) {
        io->private_.wants = (uint8_t)((io->private_.wants & ~WANTS_OUT) | PCO__READY_OUT);
    } else {
        fail(reactor, op, errno);
    }
}

static void try_connect(pco__reactor *reactor, pco__io *io)
{
    pco__result result = {0};

    if ((io->private_.wants & PCO__READY_START) != 0) {
        start_connect(reactor, io);
        return;
    }
    result.system_code = take_socket_error(io);
    if (result.system_code != 0) {
        result.error = pco__error_from_system(result.system_code);
    }
    finish(reactor, io->private_.out, &result);
}

/* A list of buffers for one call to the system. */
typedef struct parcel {
    struct iovec parts[PCO__SEND_BUFFERS];
    size_t count;
    size_t total;
} parcel;

/* Adds a buffer, and returns whether another one fits. */
static bool add_part(parcel *load, const void *data, size_t length)
{
    struct iovec *part = &load->parts[load->count++];

    if (length > TRANSFER_LIMIT - load->total) {
        length = TRANSFER_LIMIT - load->total;
    }
    part->iov_base = (void *)(uintptr_t)data; /* an iovec cannot say that it is only read */
    part->iov_len = length;
    load->total += length;
    return load->count < PCO__SEND_BUFFERS && load->total < TRANSFER_LIMIT;
}

static ssize_t send_buffer(const pco__io *io, const void *data, size_t length)
{
    ssize_t sent;

    do {
        sent = send(descriptor_of(io), data, length, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

static ssize_t send_parcel(const pco__io *io, parcel *load)
{
    struct msghdr message = {.msg_iov = load->parts};
    ssize_t sent;

    message.msg_iovlen = (uint8_t)load->count; /* its type differs from system to system */
    do {
        sent = sendmsg(descriptor_of(io), &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* What send() has answered, when asked for `total` bytes. PCO_EAGAIN: it takes nothing now. */
static int judge_send(pco__io *io, ssize_t answer, size_t total, size_t *sent, int *system_code)
{
    if (answer < 0 && !would_block(errno)) {
        *system_code = errno;
        return errno == ENOBUFS ? PCO_EAGAIN : pco__error_from_system(errno); /* see starve() */
    }
    if (answer < (ssize_t)total) {
        clear(io, PCO__READY_OUT);
    }
    if (answer < 0) {
        return PCO_EAGAIN;
    }
    *sent = (size_t)answer;
    return 0;
}

/*
 * The system, not the socket, is out of memory, as macOS and the BSDs may say (ENOBUFS in send(2)).
 * No event will tell when that is over, so poll() tries again after a while.
 */
static void starve(pco__reactor *reactor, pco__io *io)
{
    clear(io, PCO__READY_OUT);
    pco__list_remove(&io->private_.link);
    pco__list_append(&reactor->starved, &io->private_.link);
}

static void feed_starved(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->starved)) {
        pco__link *link = reactor->starved.next;
        pco__io *io = PCO__CONTAINER(link, pco__io, private_.link);

        pco__list_remove(link);
        pco__reactor_ready(reactor, io, PCO__READY_OUT);
    }
}

static void try_send_operation(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.out;
    pco__result result = {0};
    parcel load;

    load.count = load.total = 0;
    for (const pco__segment *segment = op->with.chain; segment != NULL; segment = segment->next) {
        if (!add_part(&load, segment->data, segment->length)) {
            break;
        }
    }
    result.error =
        judge_send(io, send_parcel(io, &load), load.total, &result.length, &result.system_code);
    if (result.system_code == ENOBUFS) {
        starve(reactor, io);
    } else if (result.error != PCO_EAGAIN) {
        finish(reactor, op, &result);
    }
}

/* ---- poll() ---- */

static void try_in(pco__reactor *reactor, pco__io *io)
{
    switch (io->private_.in->kind) {
    case PCO__OP_ACCEPT:
        try_accept(reactor, io);
        break;
    case PCO__OP_WATCH:
        try_watch(reactor, io);
        break;
    default:
        try_receive(reactor, io);
        break;
    }
}

static void try_out(pco__reactor *reactor, pco__io *io)
{
    if (io->private_.out->kind == PCO__OP_CONNECT) {
        try_connect(reactor, io);
    } else {
        try_send_operation(reactor, io);
    }
}

/*
 * Tries the socket's operations, each once: what they leave ready, and what done() submits, has
 * its next turn when the other sockets have had theirs.
 */
static void try_socket(pco__reactor *reactor, pco__io *io)
{
    reactor->current = io;
    if ((io->private_.ready & io->private_.wants & WANTS_IN) != 0) {
        try_in(reactor, io);
    }
    if (reactor->current == io && (io->private_.ready & io->private_.wants & WANTS_OUT) != 0) {
        try_out(reactor, io);
    }
    if (reactor->current == io && is_due(io)) {
        pco__reactor_enqueue(reactor, io);
    }
    reactor->current = NULL;
}

/* Ends the operations that were canceled before this began; later ones wait for the next poll(). */
static void finish_canceled(pco__reactor *reactor)
{
    pco__op *op = reactor->canceled;

    reactor->canceled = NULL;
    reactor->canceled_end = &reactor->canceled;
    while (op != NULL) {
        pco__op *next = op->private_.next;
        pco__result result = {.error = PCO_ECANCELED, .socket = PCO_NO_SOCKET};

        finish(reactor, op, &result);
        op = next;
    }
}

void pco__reactor_poll(pco__backend *backend, uint64_t timeout, bool *stop)
{
    pco__reactor *reactor = reactor_of(backend);

    if (!pco__list_is_empty(&reactor->ready) || reactor->canceled != NULL) {
        timeout = 0;
    }
    if (!pco__list_is_empty(&reactor->starved) && timeout > STARVED_WAIT) {
        timeout = STARVED_WAIT;
    }
    poller_of(reactor)->wait(reactor, timeout, stop);
    feed_starved(reactor);
    move_queue(&reactor->ready, &reactor->batch);
    while (!pco__list_is_empty(&reactor->batch)) {
        pco__link *link = reactor->batch.next;

        pco__list_remove(link);
        try_socket(reactor, PCO__CONTAINER(link, pco__io, private_.link));
    }
    if (reactor->canceled != NULL) {
        finish_canceled(reactor);
    }
}

/* ---- The rest of the backend ---- */

int pco__reactor_init(const pco__backend_class *self, const pco__backend_options *options,
                      pco__backend **backend, pco_error *error)
{
    const pco__poller *poller = (const pco__poller *)self;
    pco__reactor *reactor = pco__calloc(poller->size);
    int code;

    if (reactor == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", self->name);
    }
    reactor->base.class_ = self;
    reactor->scratch_size = options->receive_buffer_size;
    reactor->canceled_end = &reactor->canceled;
    pco__list_init(&reactor->ready);
    pco__list_init(&reactor->batch);
    pco__list_init(&reactor->starved);
    reactor->scratch = pco__malloc_pages(reactor->scratch_size);
    if (reactor->scratch == NULL) {
        code = pco__error_describe(error, PCO_ENOMEM, 0, "the receive buffer");
        goto fail;
    }
    code = poller->open(reactor, error);
    if (code != 0) {
        goto fail;
    }
    reactor->reserve = open_reserve();
    *backend = &reactor->base;
    return 0;
fail:
    pco__free_pages(reactor->scratch);
    pco__free(reactor);
    return code;
}

void pco__reactor_fini(pco__backend *backend)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(reactor->attached == 0);
    assert(pco__list_is_empty(&reactor->ready) && pco__list_is_empty(&reactor->starved));
    assert(reactor->canceled == NULL);
    poller_of(reactor)->close(reactor);
    if (reactor->reserve >= 0) {
        close(reactor->reserve);
    }
    pco__free_pages(reactor->scratch);
    pco__free(reactor);
}

uint64_t pco__reactor_now(pco__backend *backend)
{
    (void)backend;
    return pco__monotonic();
}

/*
 * A read from a socket of AF_UNIX ends where the peer passed descriptors along (unix(7)), so that
 * a short one does not mean that nothing is left. Connected sockets are asked for their family
 * only where a listener of AF_UNIX exists from which they could come.
 */
static bool is_unix(pco__reactor *reactor, const pco__io *io, pco__io_role role)
{
    pco_address address;
    bool found;

    if (role == PCO__IO_UNCONNECTED || (role == PCO__IO_CONNECTED && !reactor->has_unix)) {
        return false;
    }
    found = pco__socket_sockname(io->socket, &address) == 0 &&
            pco_address_family(&address) == PCO_AF_UNIX;
    if (found && role == PCO__IO_LISTENER) {
        reactor->has_unix = true;
    }
    return found;
}

int pco__reactor_attach(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error)
{
    pco__reactor *reactor = reactor_of(backend);
    int code;

    io->private_ = (pco__io_private){.role = (uint8_t)role};
    if (is_unix(reactor, io, role)) {
        io->private_.ready = PCO__READY_END;
    }
    if (role == PCO__IO_CONNECTED) {
        io->private_.ready |= PCO__READY_OUT; /* or the first attempt to send will tell */
    }
    code = poller_of(reactor)->add(reactor, io, error);
    if (code == 0) {
        reactor->attached++;
    }
    return code;
}

void pco__reactor_submit(pco__backend *backend, pco__op *op)
{
    pco__reactor *reactor = reactor_of(backend);
    pco__io *io = op->io;
    pco__io_private *state = &io->private_;
    unsigned wants = PCO__READY_IN;

    assert(!op->in_flight);
    op->in_flight = true;
    op->canceled = false;
    if (op->kind == PCO__OP_SEND || op->kind == PCO__OP_CONNECT) {
        assert(state->out == NULL);
        state->out = op;
        wants = PCO__READY_OUT;
        if (op->kind == PCO__OP_CONNECT) {
            wants = PCO__READY_START;
            state->ready |= PCO__READY_START;
        }
    } else {
        assert(state->in == NULL);
        state->in = op;
        if (op->kind == PCO__OP_WATCH) {
            wants = PCO__READY_ERROR;
        }
    }
    state->wants = (uint8_t)(state->wants | wants);
    if (is_due(io) && reactor->current != io) {
        pco__reactor_enqueue(reactor, io);
    }
}

/* A canceled operation is not tried any more, so it has no result but this one. */
void pco__reactor_cancel(pco__backend *backend, pco__op *op)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(op->in_flight);
    if (op->canceled) {
        return;
    }
    op->canceled = true;
    stop_wanting(op);
    op->private_.next = NULL;
    *reactor->canceled_end = op;
    reactor->canceled_end = &op->private_.next;
}

static int try_send_many(pco__io *io, const pco_buffer *buffers, size_t count, size_t *sent,
                         int *system_code)
{
    parcel load;

    load.count = load.total = 0;
    for (size_t i = 0; i < count; i++) {
        if (!add_part(&load, buffers[i].data, buffers[i].length)) {
            break;
        }
    }
    return judge_send(io, send_parcel(io, &load), load.total, sent, system_code);
}

int pco__reactor_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                          size_t count, size_t *sent, int *system_code)
{
    (void)backend;
    assert(io->private_.out == NULL && count <= PCO__SEND_BUFFERS);
    if ((io->private_.ready & PCO__READY_OUT) == 0) {
        return PCO_EAGAIN;
    }
    if (count == 1 && buffers->length <= TRANSFER_LIMIT) {
        return judge_send(io, send_buffer(io, buffers->data, buffers->length), buffers->length,
                          sent, system_code);
    }
    return try_send_many(io, buffers, count, sent, system_code);
}

int pco__reactor_shutdown_send(pco__backend *backend, pco__io *io)
{
    (void)backend;
    return shutdown(descriptor_of(io), SHUT_WR) == 0 ? 0 : pco__error_from_system(errno);
}

void pco__reactor_close(pco__backend *backend, pco__io *io, bool reset)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(io->private_.in == NULL && io->private_.out == NULL);
    pco__list_remove(&io->private_.link);
    if (reactor->current == io) {
        reactor->current = NULL;
    }
    poller_of(reactor)->remove(reactor, io);
    pco__socket_close(io->socket, reset);
    io->socket = PCO_NO_SOCKET;
    reactor->attached--;
}

/* ---- This system's backends ---- */

const pco__backend_class *const pco__backends[] = {
#if defined(__linux__)
    &pco__epoll.class_,
#endif
#if defined(PCO_HAVE_KQUEUE)
    &pco__kqueue.class_,
#endif
    NULL,
};
