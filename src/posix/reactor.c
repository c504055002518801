/* SPDX-License-Identifier: MIT */
/*
 * reactor.c: readiness -> completion. What poll() finds ready it tries, and tells done() how that
 * went; an operation that the system cannot carry out yet stays until the next edge.
 *
 * The hard idea: done() may close and free any socket, that of the operation itself included. So
 * no pointer is kept across a done(). What the system reports names a socket by its descriptor and
 * a generation, and finds it in reactor->sockets, or finds that it is gone; close() takes a socket
 * out of there, out of whatever queue it is in and out of reactor->current; and after every done()
 * it is reactor->current that tells whether the socket is still there.
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"

#include "system/complete.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

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

/* What is ready and wanted. */
static unsigned due_of(const pco__io *io)
{
    return io->private_.ready & io->private_.wants;
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

    state->wants = (uint8_t)(state->wants & ~op->private_.wants);
}

/* RECV again, from inside done(): the socket is looked at when that has returned. */
static inline void receive_again(pco__backend *backend, pco__op *op)
{
    pco__io_private *state = &op->io->private_;

    (void)backend;
    op->in_flight = true;
    state->in = op;
    state->wants |= PCO__READY_IN; /* as op->private_.wants says still */
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
    pco__complete(&reactor->base, op, result, pco__reactor_submit);
}

/*
 * A peer that has gone is ECONNRESET to who reads and often EPIPE to who writes, on Linux also to
 * who reads or asks once the peer has ended its side (tcp_reset). By EPIPE we mean our own end.
 */
static int stream_error(int system_code)
{
    return system_code == EPIPE ? PCO_ECONNRESET : pco__error_from_system(system_code);
}

static int send_error(const pco__io *io, int system_code)
{
    return io->private_.shut_down ? pco__error_from_system(system_code) : stream_error(system_code);
}

static void fail(pco__reactor *reactor, pco__op *op, int system_code)
{
    pco__result result = {.error = stream_error(system_code), .system_code = system_code};

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

/* recv() gave no data. */
static PCO__COLD void received_nothing(pco__reactor *reactor, pco__io *io, ssize_t length)
{
    pco__result end = {0};

    if (length < 0 && would_block(errno)) {
        clear(io, PCO__READY_IN | PCO__READY_COUNTED);
    } else if (length < 0 && errno != EINTR) {
        fail(reactor, io->private_.in, errno);
    } else if (length == 0 && io->private_.error != 0) {
        fail(reactor, io->private_.in, io->private_.error);
    } else if (length == 0) {
        finish(reactor, io->private_.in, &end);
    }
}

/*
 * A read may have left something although it could have been more: the end of the stream, or what
 * urgent data (a read ends before it) has kept apart from what a poller has counted.
 */
static PCO__COLD void count_down(pco__io *io, size_t length, bool is_short)
{
    pco__io_private *state = &io->private_;

    if ((size_t)state->available > length) {
        state->available -= (int32_t)length;
    } else {
        clear(io, PCO__READY_COUNTED);
    }
    if (is_short && (state->ready & (PCO__READY_END | PCO__READY_COUNTED)) == 0) {
        clear(io, PCO__READY_IN);
    }
}

static inline void receive(pco__reactor *reactor, pco__io *io, void *memory, size_t size)
{
    pco__io_private *state = &io->private_;
    pco__op *op = state->in;
    ssize_t length = recv(descriptor_of(io), memory, size, 0);

    if (length <= 0) {
        received_nothing(reactor, io, length);
        return;
    }
    if ((state->ready & (PCO__READY_END | PCO__READY_COUNTED)) != 0) {
        count_down(io, (size_t)length, (size_t)length < size);
    } else if ((size_t)length < size) {
        clear(io, PCO__READY_IN);
    }
    pco__result result = {.length = (size_t)length, .data = memory};
    state->in = NULL;
    state->wants = (uint8_t)(state->wants & ~PCO__READY_IN);
    pco__complete(&reactor->base, op, &result, receive_again);
}

static PCO__COLD void receive_into_buffer(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.in;
    pco__result nothing = {.error = PCO_ENOBUFS};
    void *memory = NULL;
    size_t size = 0;

    op->with.get_buffer(op, &memory, &size);
    if (op->canceled) {
        return;
    }
    if (size == 0) {
        finish(reactor, op, &nothing);
    } else {
        receive(reactor, io, memory, size < TRANSFER_LIMIT ? size : TRANSFER_LIMIT);
    }
}

static void try_watch(pco__reactor *reactor, pco__io *io)
{
    int code = take_socket_error(io);

    clear(io, PCO__READY_ERROR);
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
    return pco__descriptor_raise(open("/dev/null", O_RDONLY | O_CLOEXEC));
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
        if (result.length == 0 && due_of(io) == 0) {
            return false;
        }
    }
    finish(reactor, op, &result);
    return false;
}

/* A listener is registered when it listens: some kqueues never tell what a socket became later. */
static bool register_listener(pco__reactor *reactor, pco__io *io)
{
    pco_error error;
    pco__result result = {.error = poller_of(reactor)->add(reactor, io, &error),
                          .socket = PCO_NO_SOCKET};

    io->private_.registered = result.error == 0;
    if (result.error != 0) {
        result.system_code = error.system_code;
        finish(reactor, io->private_.in, &result);
    }
    return io->private_.registered;
}

static void try_accept(pco__reactor *reactor, pco__io *io)
{
    int left = ACCEPTS_PER_TURN;

    if (!io->private_.registered && !register_listener(reactor, io)) {
        return;
    }
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
        stop_wanting(op);
        op->private_.wants = PCO__READY_OUT;
        io->private_.wants |= PCO__READY_OUT;
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

/* What the answer of send() means, which was asked for `total` bytes. */
static pco__sent judge_send(pco__io *io, ssize_t answer, size_t total)
{
    pco__sent sent = {0};

    if (answer < 0 && !would_block(errno)) {
        sent.system_code = errno;
        sent.error = errno == ENOBUFS ? PCO_EAGAIN : send_error(io, errno); /* starve() */
        return sent;
    }
    if (answer < (ssize_t)total) {
        clear(io, PCO__READY_OUT);
    }
    if (answer < 0) {
        sent.error = PCO_EAGAIN;
    } else {
        sent.length = (size_t)answer;
    }
    return sent;
}

/*
 * The system, not the socket, is out of memory, as macOS and the BSDs may say (ENOBUFS in send(2)).
 * No event will tell when that is over, so poll() tries again after a while.
 */
static void starve(pco__reactor *reactor, pco__io *io)
{
    clear(io, PCO__READY_OUT);
    io->private_.ready |= PCO__READY_STARVED;
    pco__list_remove(&io->private_.link);
    pco__list_append(&reactor->starved, &io->private_.link);
}

static void feed(pco__io *io)
{
    clear(io, PCO__READY_STARVED);
    io->private_.ready |= PCO__READY_OUT;
    pco__list_remove(&io->private_.link);
}

/* Lets those that starve be tried at the end of this poll(). */
static void feed_starved(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->starved)) {
        pco__link *link = reactor->starved.next;

        feed(PCO__CONTAINER(link, pco__io, private_.link));
        pco__list_append(&reactor->batch, link);
    }
}

static void try_send_operation(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.out;
    parcel load;

    load.count = load.total = 0;
    for (const pco__segment *segment = op->with.chain; segment != NULL; segment = segment->next) {
        if (!add_part(&load, segment->data, segment->length)) {
            break;
        }
    }
    pco__sent sent = judge_send(io, send_parcel(io, &load), load.total);
    if (sent.system_code == ENOBUFS) {
        starve(reactor, io);
    } else if (sent.error != PCO_EAGAIN) {
        pco__result result = {
            .error = sent.error, .system_code = sent.system_code, .length = sent.length};
        finish(reactor, op, &result);
    }
}

/* ---- poll() ---- */

static PCO__COLD void try_otherwise(pco__reactor *reactor, pco__io *io)
{
    switch (io->private_.in->kind) {
    case PCO__OP_ACCEPT:
        try_accept(reactor, io);
        break;
    case PCO__OP_WATCH:
        try_watch(reactor, io);
        break;
    default:
        receive_into_buffer(reactor, io);
        break;
    }
}

static inline void try_in(pco__reactor *reactor, pco__io *io)
{
    const pco__op *op = io->private_.in;

    if (op->kind == PCO__OP_RECV && op->with.get_buffer == NULL) {
        receive(reactor, io, reactor->scratch, pco__most_of(op, reactor->scratch_size));
    } else {
        try_otherwise(reactor, io);
    }
}

static PCO__COLD void try_out(pco__reactor *reactor, pco__io *io)
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
void pco__reactor_try(pco__reactor *reactor, pco__io *io, unsigned due)
{
    reactor->current = io;
    if ((due & WANTS_IN) != 0) {
        try_in(reactor, io);
    }
    if (reactor->current == io && (due_of(io) & WANTS_OUT) != 0) {
        try_out(reactor, io);
    }
    if (reactor->current == io && due_of(io) != 0) {
        pco__reactor_enqueue(reactor, io);
    }
    reactor->current = NULL;
}

/* A canceled operation is not tried any more, so it has no result but this one. */
static void finish_if_canceled(pco__reactor *reactor, pco__op *op)
{
    pco__result result = {.error = PCO_ECANCELED, .socket = PCO_NO_SOCKET};

    if (op != NULL && op->canceled) {
        finish(reactor, op, &result);
    }
}

/* The last done() of a listener that was closed is its end: nobody will close it once more. */
static void finish_canceled(pco__reactor *reactor, pco__io *io)
{
    reactor->current = io->socket != PCO_NO_SOCKET ? io : NULL;
    finish_if_canceled(reactor, io->private_.in);
    if (reactor->current == io) {
        finish_if_canceled(reactor, io->private_.out);
    }
    if (reactor->current == io && due_of(io) != 0) {
        pco__reactor_enqueue(reactor, io);
    }
    reactor->current = NULL;
}

/* Ends what was canceled before and during this poll(), and what these ends cancel. */
static PCO__COLD void end_canceled(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->canceled)) {
        pco__link *link = reactor->canceled.next;

        pco__list_remove(link);
        finish_canceled(reactor, PCO__CONTAINER(link, pco__io, private_.link));
    }
}

/* What is queued has its turn in this poll(), which therefore does not wait, or not long. */
static PCO__COLD uint64_t begin_batch(pco__reactor *reactor, uint64_t timeout)
{
    if (!pco__list_is_empty(&reactor->ready) || !pco__list_is_empty(&reactor->canceled)) {
        timeout = 0;
    } else if (timeout > STARVED_WAIT) {
        timeout = STARVED_WAIT;
    }
    move_queue(&reactor->ready, &reactor->batch);
    feed_starved(reactor);
    return timeout;
}

static PCO__COLD void try_batch(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->batch)) {
        pco__link *link = reactor->batch.next;
        pco__io *io = PCO__CONTAINER(link, pco__io, private_.link);

        pco__list_remove(link);
        pco__reactor_try(reactor, io, due_of(io));
    }
}

void pco__reactor_poll(pco__backend *backend, uint64_t timeout, bool *stop)
{
    pco__reactor *reactor = reactor_of(backend);

    if (!pco__list_is_empty(&reactor->ready) || !pco__list_is_empty(&reactor->canceled) ||
        !pco__list_is_empty(&reactor->starved)) {
        timeout = begin_batch(reactor, timeout);
    }
    poller_of(reactor)->wait(reactor, timeout, stop);
    if (!pco__list_is_empty(&reactor->batch)) {
        try_batch(reactor);
    }
    if (!pco__list_is_empty(&reactor->canceled)) {
        end_canceled(reactor);
    }
}

/* ---- The rest of the backend ---- */

/* Makes sockets[descriptor] exist. */
static int make_room(pco__reactor *reactor, size_t descriptor)
{
    size_t capacity = reactor->capacity != 0 ? reactor->capacity : 64;

    if (descriptor < reactor->capacity) {
        return 0;
    }
    while (capacity <= descriptor) {
        capacity *= 2;
    }
    pco__io **sockets = pco__realloc(reactor->sockets, capacity * sizeof *sockets);
    if (sockets == NULL) {
        return PCO_ENOMEM;
    }
    for (size_t i = reactor->capacity; i < capacity; i++) {
        sockets[i] = NULL;
    }
    reactor->sockets = sockets;
    reactor->capacity = capacity;
    return 0;
}

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
    reactor->process = getpid();
    reactor->scratch_size = options->receive_buffer_size;
    pco__list_init(&reactor->ready);
    pco__list_init(&reactor->batch);
    pco__list_init(&reactor->starved);
    pco__list_init(&reactor->canceled);
    reactor->scratch = pco__malloc_pages(reactor->scratch_size);
    if (reactor->scratch == NULL || make_room(reactor, 0) != 0) {
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
    pco__free(reactor->sockets);
    pco__free_pages(reactor->scratch);
    pco__free(reactor);
    return code;
}

void pco__reactor_fini(pco__backend *backend)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(reactor->attached == 0);
    assert(pco__list_is_empty(&reactor->ready) && pco__list_is_empty(&reactor->starved) &&
           pco__list_is_empty(&reactor->canceled));
    poller_of(reactor)->close(reactor);
    if (reactor->reserve >= 0) {
        close(reactor->reserve);
    }
    pco__free_pages(reactor->scratch);
    pco__free(reactor->sockets);
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
    int descriptor = descriptor_of(io);
    int code = 0;

    if (descriptor < 0) {
        return pco__error_describe(error, PCO_ENOTSOCK, EBADF, "watch a socket");
    }
    if (make_room(reactor, (size_t)descriptor) != 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch a socket");
    }
    reactor->generation += reactor->generation == UINT32_MAX ? 2 : 1;
    io->private_ = (pco__io_private){.generation = reactor->generation, .role = (uint8_t)role};
    if (is_unix(reactor, io, role)) {
        io->private_.ready = PCO__READY_END;
    }
    if (role == PCO__IO_CONNECTED) {
        io->private_.ready |= PCO__READY_OUT; /* or the first attempt to send will tell */
    }
    if (role == PCO__IO_LISTENER) {
        io->private_.ready |= PCO__READY_IN; /* so that the first ACCEPT registers it */
    } else {
        code = poller_of(reactor)->add(reactor, io, error);
    }
    if (code == 0) {
        reactor->sockets[descriptor] = io;
        reactor->attached++;
    }
    return code;
}

void pco__reactor_detach(pco__backend *backend, pco__io *io)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(io->private_.role == PCO__IO_LISTENER && !io->private_.registered);
    reactor->sockets[io->socket] = NULL;
    reactor->attached--;
}

void pco__reactor_submit(pco__backend *backend, pco__op *op)
{
    pco__reactor *reactor = reactor_of(backend);
    pco__io *io = op->io;
    pco__io_private *state = &io->private_;
    unsigned wants = PCO__READY_IN;

    assert(!op->in_flight && io->socket != PCO_NO_SOCKET);
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
    op->private_.wants = (uint8_t)wants;
    state->wants = (uint8_t)(state->wants | wants);
    if (due_of(io) != 0 && reactor->current != io) {
        pco__reactor_enqueue(reactor, io);
    }
}

void pco__reactor_cancel(pco__backend *backend, pco__op *op)
{
    pco__reactor *reactor = reactor_of(backend);
    pco__io *io = op->io;

    assert(op->in_flight);
    if (op->canceled) {
        return;
    }
    op->canceled = true;
    stop_wanting(op);
    if ((io->private_.ready & PCO__READY_STARVED) != 0) {
        feed(io);
    }
    pco__list_remove(&io->private_.link);
    pco__list_append(&reactor->canceled, &io->private_.link);
}

static PCO__COLD pco__sent try_send_many(pco__io *io, const pco_buffer *buffers, size_t count)
{
    parcel load;

    load.count = load.total = 0;
    for (size_t i = 0; i < count; i++) {
        if (!add_part(&load, buffers[i].data, buffers[i].length)) {
            break;
        }
    }
    return judge_send(io, send_parcel(io, &load), load.total);
}

/* send() did not take the whole of a single buffer. */
static PCO__COLD pco__sent sent_otherwise(pco__io *io, ssize_t answer, const pco_buffer *buffer)
{
    bool interrupted = answer < 0 && errno == EINTR;
    return interrupted ? try_send_many(io, buffer, 1) : judge_send(io, answer, buffer->length);
}

/* A single buffer that the system takes whole, the commonest by far, needs no list. */
pco__sent pco__reactor_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                                size_t count)
{
    (void)backend;
    assert(io->private_.out == NULL && count > 0 && count <= PCO__SEND_BUFFERS);
    if ((io->private_.ready & PCO__READY_OUT) == 0) {
        return (pco__sent){.error = PCO_EAGAIN};
    }
    if (count != 1 || buffers->length > TRANSFER_LIMIT) {
        return try_send_many(io, buffers, count);
    }
    ssize_t answer = send(descriptor_of(io), buffers->data, buffers->length, MSG_NOSIGNAL);
    if (answer != (ssize_t)buffers->length) {
        return sent_otherwise(io, answer, buffers);
    }
    return (pco__sent){.length = buffers->length};
}

int64_t pco__reactor_unsent(pco__backend *backend, const pco__io *io)
{
    (void)backend;
    return pco__socket_unsent(descriptor_of(io));
}

int pco__reactor_shutdown_send(pco__backend *backend, pco__io *io)
{
    (void)backend;
    io->private_.shut_down = true;
    return shutdown(descriptor_of(io), SHUT_WR) == 0 ? 0 : pco__error_from_system(errno);
}

void pco__reactor_close(pco__backend *backend, pco__io *io, bool reset)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(io->private_.out == NULL);
    if (io->private_.in != NULL) {
        assert(io->private_.role == PCO__IO_LISTENER);
        pco__reactor_cancel(backend, io->private_.in);
    } else {
        pco__list_remove(&io->private_.link);
    }
    if (reactor->current == io) {
        reactor->current = NULL;
    }
    reactor->sockets[io->socket] = NULL;
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
