/* SPDX-License-Identifier: MIT */
/*
 * receive.h: from what the system reports to a RECV's done(). It is in a header because each
 * message takes this way; receive.c has the turnings.
 */
#ifndef PCO_POSIX_RECEIVE_H
#define PCO_POSIX_RECEIVE_H

#include "posix/reactor.h"
#include "system/complete.h"

#include <sys/socket.h>

/* ---- The turnings (receive.c) ---- */

/* recv() has returned `length`, which is not data. */
void pco__reactor_received_nothing(pco__reactor *reactor, pco__io *io, ssize_t length);

/* A read that may have left something although it was short. */
void pco__reactor_count_down(pco__io *io, size_t length, bool is_short);

/* Tries what is in flight and no RECV into lent memory. */
void pco__reactor_try_otherwise(pco__reactor *reactor, pco__io *io);

/* Something is still due. */
void pco__reactor_try_rest(pco__reactor *reactor, pco__io *io);

/* ---- The way ---- */

/* `again`: what submits the operation if done() says so; it wants `wants`. */
static inline void pco__reactor_receive(pco__reactor *reactor, pco__io *io, void *memory,
                                        size_t size, unsigned wants, pco__submit *again)
{
    pco__reactor_io *state = &io->private_.reactor;
    ssize_t length = recv(pco__io_descriptor(io), memory, size, 0);

    if (length <= 0) {
        pco__reactor_received_nothing(reactor, io, length);
        return;
    }
    if (state->short_reads != 0) {
        pco__reactor_count_down(io, (size_t)length, (size_t)length < size);
    } else if ((size_t)length < size) {
        pco__ready_clear(io, PCO__READY_IN);
    }
    pco__result result = {.length = (size_t)length, .data = memory};
    pco__op *op = state->in;
    state->in = NULL;
    state->wants = (uint8_t)(state->wants & ~wants);
    pco__complete(&reactor->base, op, &result, again);
}

/* RECV into lent memory again, from done(): the socket is looked at when that has returned. */
static inline void pco__reactor_receive_again(pco__backend *backend, pco__op *op)
{
    pco__reactor_io *state = &op->io->private_.reactor;

    (void)backend;
    op->in_flight = true;
    state->in = op;
    state->wants |=
        PCO__READY_IN | PCO__WANTS_PLAINLY; /* as op->private_.reactor.wants says still */
}

/*
 * Tries the operations of a socket that is in no queue, each once: what they leave ready, and what
 * done() submits, has its next turn when the other sockets have had theirs. `due` is what of ready
 * is wanted. Runs callbacks.
 */
static inline void pco__reactor_try(pco__reactor *reactor, pco__io *io, unsigned due)
{
    reactor->current = io;
    if ((due & (PCO__READY_IN | PCO__READY_ERROR)) != 0) {
        if ((io->private_.reactor.wants & PCO__WANTS_PLAINLY) != 0) {
            pco__reactor_receive(reactor, io, reactor->scratch,
                                 pco__most_of(io->private_.reactor.in, reactor->scratch_size),
                                 PCO__READY_IN | PCO__WANTS_PLAINLY, pco__reactor_receive_again);
        } else {
            pco__reactor_try_otherwise(reactor, io);
        }
    }
    if (reactor->current == io && pco__ready_due(io) != 0) {
        pco__reactor_try_rest(reactor, io);
    }
    reactor->current = NULL;
}

/*
 * For a poller's poll(): the system says that `bits` (PCO__READY_*) of the socket are ready. An
 * error and the end of both directions are IN and OUT as well: trying brings them to light. Runs
 * callbacks.
 */
static inline void pco__reactor_ready(pco__reactor *reactor, pco__io *io, unsigned bits)
{
    pco__reactor_io *state = &io->private_.reactor;
    unsigned due;

    state->ready = (uint8_t)(state->ready | bits);
    due = state->ready & state->wants;
    if (due != 0 && state->link.next == NULL) {
        pco__reactor_try(reactor, io, due);
    }
}

#endif
