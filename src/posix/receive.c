/* SPDX-License-Identifier: MIT */
/*
 * receive.c: receiving, watching, and trying what a socket has in flight. The way that each message
 * takes is in receive.h.
 */
#define _GNU_SOURCE 1

#include "posix/receive.h"

#include <assert.h>
#include <errno.h>

static void stop_counting(pco__reactor_io *state)
{
    state->short_reads = (uint8_t)(state->short_reads & ~PCO__SHORT_READ_COUNTED);
}

static PCO__COLD void receive_failed(pco__reactor *reactor, pco__io *io, int system_code)
{
    if (pco__would_block(system_code)) {
        pco__ready_clear(io, PCO__READY_IN);
        stop_counting(&io->private_.reactor);
    } else if (system_code != EINTR) {
        pco__reactor_fail(reactor, io->private_.reactor.in, system_code);
    }
}

PCO__NOINLINE void pco__reactor_received_nothing(pco__reactor *reactor, pco__io *io, ssize_t length)
{
    pco__result end = {0};

    if (length < 0) {
        receive_failed(reactor, io, errno);
    } else if (io->private_.reactor.error != 0) {
        pco__reactor_fail(reactor, io->private_.reactor.in, io->private_.reactor.error);
    } else {
        pco__reactor_finish(reactor, io->private_.reactor.in, &end);
    }
}

/*
 * A read may have left something although it could have been more: the end of the stream, or what
 * urgent data (a read ends before it) has kept apart from what a poller has counted.
 */
PCO__COLD void pco__reactor_count_down(pco__io *io, size_t length, bool is_short)
{
    pco__reactor_io *state = &io->private_.reactor;

    if ((size_t)state->available > length) {
        state->available -= (int32_t)length;
    } else {
        stop_counting(state);
    }
    if (is_short && state->short_reads == 0) {
        pco__ready_clear(io, PCO__READY_IN);
    }
}

static PCO__COLD void receive_into_buffer(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.reactor.in;
    pco__result nothing = {.error = PCO_ENOBUFS};
    void *memory = NULL;
    size_t size = 0;

    op->with.get_buffer(op, &memory, &size);
    if (op->canceled) {
        return;
    }
    if (size == 0) {
        pco__reactor_finish(reactor, op, &nothing);
    } else {
        size = size < PCO__TRANSFER_LIMIT ? size : PCO__TRANSFER_LIMIT;
        pco__reactor_receive(reactor, io, memory, size, PCO__READY_IN, pco__reactor_submit);
    }
}

static void try_watch(pco__reactor *reactor, pco__io *io)
{
    int code = pco__io_take_error(io);

    pco__ready_clear(io, PCO__READY_ERROR);
    if (code != 0) {
        pco__reactor_fail(reactor, io->private_.reactor.in, code);
    }
}

/* ---- The turnings ---- */

PCO__COLD void pco__reactor_try_otherwise(pco__reactor *reactor, pco__io *io)
{
    switch ((pco__op_kind)io->private_.reactor.in->kind) {
    case PCO__OP_ACCEPT:
        pco__reactor_accept(reactor, io);
        return;
    case PCO__OP_WATCH:
        try_watch(reactor, io);
        return;
    case PCO__OP_RECV:
        receive_into_buffer(reactor, io);
        return;
    case PCO__OP_READABLE:
        pco__reactor_watch_failed(reactor, io->private_.reactor.in);
        return;
    case PCO__OP_CONNECT:
    case PCO__OP_SEND:
    case PCO__OP_WRITABLE:
        break;
    }
    assert(false && "an operation that reads");
}

static void try_out(pco__reactor *reactor, pco__io *io)
{
    switch ((pco__op_kind)io->private_.reactor.out->kind) {
    case PCO__OP_CONNECT:
        pco__reactor_connect(reactor, io);
        return;
    case PCO__OP_SEND:
        pco__reactor_send(reactor, io);
        return;
    case PCO__OP_WRITABLE:
        pco__reactor_watch_failed(reactor, io->private_.reactor.out);
        return;
    case PCO__OP_ACCEPT:
    case PCO__OP_RECV:
    case PCO__OP_WATCH:
    case PCO__OP_READABLE:
        break;
    }
    assert(false && "an operation that writes");
}

PCO__COLD void pco__reactor_try_rest(pco__reactor *reactor, pco__io *io)
{
    if ((pco__ready_due(io) & PCO__READY_OUT) != 0) {
        try_out(reactor, io);
    }
    if (reactor->current == io && pco__ready_due(io) != 0) {
        pco__reactor_enqueue(reactor, io);
    }
}

void pco__reactor_try_queued(pco__reactor *reactor, pco__io *io)
{
    pco__reactor_try(reactor, io, pco__ready_due(io));
}
