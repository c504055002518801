/* SPDX-License-Identifier: MIT */
/*
 * reactor.c: readiness -> completion. What poll() finds ready it tries, and tells done() how that
 * went; an operation that the system cannot carry out yet stays until the next edge. How each
 * kind is tried is in files of their own.
 *
 * The hard idea: done() may close and free any socket, that of the operation itself included. So
 * no pointer is kept across a done(). What the system reports names a socket by its descriptor and
 * a generation, and finds it in reactor->sockets, or finds that it is gone; close() takes a socket
 * out of there, out of whatever queue it is in and out of reactor->current; and after every done()
 * it is reactor->current that tells whether the socket is still there.
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"
#include "posix/address.h"
#include "posix/socket.h"

#include "system/complete.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static pco__reactor *reactor_of(pco__backend *backend)
{
    return (pco__reactor *)backend;
}

/* ---- Completing ---- */

static void stop_wanting(const pco__op *op)
{
    pco__reactor_io *state = &op->io->private_.reactor;

    state->wants = (uint8_t)(state->wants & ~op->private_.reactor.wants);
}

void pco__reactor_finish(pco__reactor *reactor, pco__op *op, const pco__result *result)
{
    pco__reactor_io *state = &op->io->private_.reactor;

    stop_wanting(op);
    if (op == state->in) {
        state->in = NULL;
    } else {
        state->out = NULL;
    }
    pco__complete(&reactor->base, op, result, pco__reactor_submit);
}

int pco__stream_error(int system_code)
{
    return system_code == EPIPE ? PCO_ECONNRESET : pco__error_from_system(system_code);
}

void pco__reactor_fail(pco__reactor *reactor, pco__op *op, int system_code)
{
    pco__result result = {.error = pco__stream_error(system_code), .system_code = system_code};

    pco__reactor_finish(reactor, op, &result);
}

int pco__io_take_error(const pco__io *io)
{
    int code = 0;
    socklen_t length = sizeof code;

    if (getsockopt(pco__io_descriptor(io), SOL_SOCKET, SO_ERROR, &code, &length) != 0) {
        return errno;
    }
    return code != 0 ? code : io->private_.reactor.error;
}

/* ---- poll() ---- */

/* A canceled operation is not tried any more, so it has no result but this one. */
static void finish_if_canceled(pco__reactor *reactor, pco__op *op)
{
    pco__result result = {.error = PCO_ECANCELED, .socket = PCO_NO_SOCKET};

    if (op != NULL && op->canceled) {
        pco__reactor_finish(reactor, op, &result);
    }
}

/* The last done() of a listener that was closed is its end: nobody will close it once more. */
static void finish_canceled(pco__reactor *reactor, pco__io *io)
{
    reactor->current = io->socket != PCO_NO_SOCKET ? io : NULL;
    finish_if_canceled(reactor, io->private_.reactor.in);
    if (reactor->current == io) {
        finish_if_canceled(reactor, io->private_.reactor.out);
    }
    if (reactor->current == io && pco__ready_due(io) != 0) {
        pco__reactor_enqueue(reactor, io);
    }
    reactor->current = NULL;
}

/* Ends what was canceled before and during this poll(), and what these ends cancel. */
static void end_canceled(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->canceled)) {
        pco__link *link = reactor->canceled.next;

        pco__list_remove(link);
        finish_canceled(reactor, PCO__CONTAINER(link, pco__io, private_.reactor.link));
    }
}

uint64_t pco__reactor_due_in(const pco__backend *backend)
{
    const pco__reactor *reactor = (const pco__reactor *)backend;

    if (!pco__list_is_empty(&reactor->ready) || !pco__list_is_empty(&reactor->canceled)) {
        return 0;
    }
    if (pco__list_is_empty(&reactor->starved)) {
        return PCO__FOREVER;
    }
    uint64_t now = pco__monotonic();
    return reactor->feed_at > now ? reactor->feed_at - now : 0;
}

/* The first of those that are ready, as many as one poll() may take over. */
static void fill_batch(pco__reactor *reactor)
{
    for (int i = 0; i < reactor->base.most && !pco__list_is_empty(&reactor->ready); i++) {
        pco__link *link = reactor->ready.next;

        pco__list_remove(link);
        pco__list_append(&reactor->batch, link);
    }
}

PCO__COLD uint64_t pco__reactor_begin_batch(pco__reactor *reactor, uint64_t timeout)
{
    uint64_t due = pco__reactor_due_in(&reactor->base);

    fill_batch(reactor);
    pco__reactor_feed_all(reactor);
    return timeout < due ? timeout : due;
}

static void try_batch(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->batch)) {
        pco__link *link = reactor->batch.next;
        pco__io *io = PCO__CONTAINER(link, pco__io, private_.reactor.link);

        pco__list_remove(link);
        pco__reactor_try_queued(reactor, io);
    }
}

PCO__COLD void pco__reactor_end_batch(pco__reactor *reactor)
{
    try_batch(reactor);
    end_canceled(reactor);
    reactor->queued =
        !pco__list_is_empty(&reactor->ready) || !pco__list_is_empty(&reactor->starved);
}

/* ---- The rest of the backend ---- */

PCO__COLD int pco__reactor_make_room(pco__io ***table, size_t *capacity, size_t descriptor)
{
    size_t more = *capacity != 0 ? *capacity : 64;

    while (more <= descriptor) {
        more *= 2;
    }
    pco__io **larger = pco__realloc(*table, more * sizeof *larger);
    if (larger == NULL) {
        return PCO_ENOMEM;
    }
    for (size_t i = *capacity; i < more; i++) {
        larger[i] = NULL;
    }
    *table = larger;
    *capacity = more;
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
    if (reactor->scratch == NULL ||
        pco__reactor_make_room(&reactor->sockets, &reactor->capacity, 0) != 0) {
        code = pco__error_describe(error, PCO_ENOMEM, 0, "the receive buffer");
        goto fail;
    }
    code = poller->open(reactor, error);
    if (code != 0) {
        goto fail;
    }
    reactor->reserve = pco__reserve_open();
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

    assert(reactor->base.attached == 0);
    assert(pco__list_is_empty(&reactor->ready) && pco__list_is_empty(&reactor->starved) &&
           pco__list_is_empty(&reactor->canceled));
    pco__reactor_poller(reactor)->close(reactor);
    if (reactor->reserve >= 0) {
        close(reactor->reserve);
    }
    pco__free_pages(reactor->scratch);
    pco__free(reactor->foreign);
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
 * a short one does not mean that nothing is left. Accepted sockets are asked for their family only
 * where a listener of AF_UNIX exists from which they could come.
 */
static PCO__COLD void look_for_unix(pco__reactor *reactor, pco__io *io)
{
    pco_address address;

    if (pco__socket_sockname(io->socket, &address) != 0 ||
        pco_address_family(&address) != PCO_AF_UNIX) {
        return;
    }
    io->private_.reactor.short_reads = PCO__SHORT_READ_PROVES_NOTHING;
    if (io->private_.reactor.role == PCO__IO_LISTENER) {
        reactor->has_unix = true;
    }
}

/*
 * What is taken for ready before the system has said so: the first ACCEPT and CONNECT, which
 * register the socket; and that a connection has room to send, or the first attempt will tell.
 */
static uint8_t ready_at_first(pco__io_role role)
{
    static const uint8_t ready[] = {[PCO__IO_LISTENER] = PCO__READY_IN,
                                    [PCO__IO_CONNECTED] = PCO__READY_OUT,
                                    [PCO__IO_GIVEN] = PCO__READY_OUT,
                                    [PCO__IO_UNCONNECTED] = PCO__READY_OUT};

    return ready[role];
}

/* Whether it is what it will be, so that it can be registered. */
static bool is_complete(pco__io_role role)
{
    return role != PCO__IO_LISTENER && role != PCO__IO_UNCONNECTED;
}

static int check_descriptor(pco__reactor *reactor, int descriptor, pco_error *error)
{
    if (descriptor < 0) {
        return pco__error_describe(error, PCO_ENOTSOCK, EBADF, "watch a socket");
    }
    if ((size_t)descriptor >= reactor->capacity &&
        pco__reactor_make_room(&reactor->sockets, &reactor->capacity, (size_t)descriptor) != 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch a socket");
    }
    return 0;
}

int pco__reactor_attach(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error)
{
    pco__reactor *reactor = reactor_of(backend);

    if (role == PCO__IO_FOREIGN) {
        return pco__reactor_attach_foreign(reactor, io, error);
    }
    int code = check_descriptor(reactor, pco__io_descriptor(io), error);
    if (code != 0) {
        return code;
    }
    reactor->generation += reactor->generation == UINT32_MAX ? 2 : 1;
    io->private_.reactor = (pco__reactor_io){
        .generation = reactor->generation, .ready = ready_at_first(role), .role = role & 7};
    if (role == PCO__IO_CONNECTED ? reactor->has_unix : role != PCO__IO_UNCONNECTED) {
        look_for_unix(reactor, io);
    }
    if (is_complete(role)) {
        code = pco__reactor_poller(reactor)->add(reactor, io, error);
    }
    if (code == 0) {
        reactor->sockets[io->socket] = io;
        reactor->base.attached++;
    }
    return code;
}

bool pco__reactor_register(pco__reactor *reactor, pco__io *io, pco__op *op)
{
    pco_error error;
    pco__result result = {.error = pco__reactor_poller(reactor)->add(reactor, io, &error),
                          .socket = PCO_NO_SOCKET};

    io->private_.reactor.registered = result.error == 0;
    if (result.error != 0) {
        result.system_code = error.system_code;
        pco__reactor_finish(reactor, op, &result);
    }
    return result.error == 0; /* or the socket may be gone */
}

/* The socket is not the reactor's any more. */
static void forget(pco__reactor *reactor, pco__io *io)
{
    if (reactor->current == io) {
        reactor->current = NULL;
    }
    reactor->sockets[io->socket] = NULL;
    reactor->base.attached--;
}

void pco__reactor_detach(pco__backend *backend, pco__io *io)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(io->private_.reactor.in == NULL && io->private_.reactor.out == NULL);
    if (io->private_.reactor.role == PCO__IO_FOREIGN) {
        pco__reactor_detach_foreign(reactor, io);
        return;
    }
    assert(io->private_.reactor.role != PCO__IO_LISTENER || !io->private_.reactor.registered);
    if (is_complete(io->private_.reactor.role) || io->private_.reactor.registered) {
        pco__reactor_poller(reactor)->remove(reactor, io, false);
    }
    pco__list_remove(&io->private_.reactor.link);
    forget(reactor, io);
}

/* What an operation waits for, which also tells its direction. */
static unsigned wanted_by(const pco__op *op)
{
    switch ((pco__op_kind)op->kind) {
    case PCO__OP_RECV:
        return op->with.get_buffer == NULL ? PCO__READY_IN | PCO__WANTS_PLAINLY : PCO__READY_IN;
    case PCO__OP_ACCEPT:
    case PCO__OP_READABLE:
        return PCO__READY_IN;
    case PCO__OP_WATCH:
        return PCO__READY_ERROR;
    case PCO__OP_CONNECT:
    case PCO__OP_SEND:
    case PCO__OP_WRITABLE:
        return PCO__READY_OUT;
    }
    assert(false && "a kind of operation");
    return 0;
}

static inline void enqueue_if_due(pco__reactor *reactor, pco__io *io)
{
    if (pco__ready_due(io) != 0 && reactor->current != io) {
        pco__reactor_enqueue(reactor, io);
    }
}

static PCO__COLD void watch_foreign(pco__reactor *reactor, pco__io *io)
{
    pco__reactor_watch(reactor, io);
    enqueue_if_due(reactor, io);
}

void pco__reactor_submit(pco__backend *backend, pco__op *op)
{
    pco__reactor *reactor = reactor_of(backend);
    pco__io *io = op->io;
    pco__reactor_io *state = &io->private_.reactor;
    unsigned wants = wanted_by(op);

    assert(!op->in_flight && io->socket != PCO_NO_SOCKET);
    op->in_flight = true;
    op->canceled = false;
    if (wants == PCO__READY_OUT) {
        assert(state->out == NULL);
        state->out = op;
    } else {
        assert(state->in == NULL);
        state->in = op;
    }
    op->private_.reactor.wants = (uint8_t)wants;
    state->wants = (uint8_t)(state->wants | wants);
    if (state->role == PCO__IO_FOREIGN) {
        watch_foreign(reactor, io);
    } else {
        enqueue_if_due(reactor, io);
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
    if (io->private_.reactor.role == PCO__IO_FOREIGN) {
        pco__reactor_watch(reactor, io);
    }
    if (io->private_.reactor.starving) {
        pco__reactor_feed(io);
    }
    pco__list_remove(&io->private_.reactor.link);
    reactor->queued = true;
    pco__list_append(&reactor->canceled, &io->private_.reactor.link);
    pco__backend_news(backend);
}

int64_t pco__reactor_unsent(pco__backend *backend, const pco__io *io)
{
    (void)backend;
    return pco__socket_unsent(pco__io_descriptor(io));
}

int pco__reactor_shutdown_send(pco__backend *backend, pco__io *io)
{
    (void)backend;
    io->private_.reactor.shut_down = true;
    return shutdown(pco__io_descriptor(io), SHUT_WR) == 0 ? 0 : pco__error_from_system(errno);
}

void pco__reactor_close(pco__backend *backend, pco__io *io, bool reset)
{
    pco__reactor *reactor = reactor_of(backend);

    assert(io->private_.reactor.out == NULL);
    if (io->private_.reactor.in != NULL) {
        assert(io->private_.reactor.role == PCO__IO_LISTENER);
        pco__reactor_cancel(backend, io->private_.reactor.in);
    } else {
        pco__list_remove(&io->private_.reactor.link);
    }
    pco__reactor_poller(reactor)->remove(reactor, io, true);
    forget(reactor, io);
    pco__socket_close(io->socket, reset);
    io->socket = PCO_NO_SOCKET;
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
