/* SPDX-License-Identifier: MIT */
/*
 * foreign.c: descriptors that are somebody else's, which are watched and nothing more.
 *
 * The hard idea: their owner may close them at any time, and the number may be another's at once,
 * even that of a connection of ours. So they have a table of their own, and each poller a queue of
 * its own for them, which is told of level by level and is itself watched by the poller's first
 * one: what is done there by number can never hit a socket of ours, connections pay nothing for it,
 * and events that nothing can end otherwise are ended by a new queue (epoll.c).
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"

#include "support/error.h"
#include "system/platform.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>

/* ---- Attaching ---- */

static bool exists(pco_socket number)
{
    return number >= 0 && number <= INT_MAX && fcntl((int)number, F_GETFD) >= 0;
}

static pco__io *at(pco__io *const *table, size_t capacity, size_t number)
{
    return number < capacity ? table[number] : NULL;
}

static int check(pco__reactor *reactor, const pco__io *io, pco_error *error)
{
    size_t number = (size_t)io->socket;

    if (!exists(io->socket)) {
        return pco__error_set(error, PCO_ENOTSOCK, EBADF, "there is no descriptor %lld",
                              (long long)io->socket);
    }
    if (io->socket == reactor->base.class_->descriptor(&reactor->base)) {
        return pco__error_set(error, PCO_EBUSY, 0, "descriptor %zu is that of this loop", number);
    }
    const pco__io *there = at(reactor->foreign, reactor->foreign_capacity, number);
    if (at(reactor->sockets, reactor->capacity, number) != NULL || (there != NULL && there != io)) {
        return pco__error_set(error, PCO_EBUSY, 0,
                              "descriptor %zu belongs to a transport or a server of this loop",
                              number);
    }
    if (number >= reactor->foreign_capacity &&
        pco__reactor_make_room(&reactor->foreign, &reactor->foreign_capacity, number) != 0) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch descriptor %zu", number);
    }
    return 0;
}

static int explain(int descriptor, int system_code, pco_error *error)
{
    int code = pco__error_from_system(system_code);

    switch (code) {
    case PCO_ENOMEM:
    case PCO_EMFILE:
    case PCO_ENOBUFS:
        return pco__error_describe(error, code, system_code, "watch descriptor %d", descriptor);
    default:
        if (system_code == ELOOP) { /* epoll_ctl(2) */
            return pco__error_set(error, PCO_ENOTSUP, system_code,
                                  "descriptor %d is that of a loop which watches this one, or "
                                  "there are too many loops inside of each other",
                                  descriptor);
        }
        return pco__error_set(error, PCO_ENOTSUP, system_code,
                              "descriptor %d is of a kind that this system does not watch, as "
                              "regular files are",
                              descriptor);
    }
}

/* A new generation each time: what is still reported of a descriptor before is nobody's then. */
int pco__reactor_attach_foreign(pco__reactor *reactor, pco__io *io, pco_error *error)
{
    int code = check(reactor, io, error);

    if (code != 0) {
        return code;
    }
    bool is_new = reactor->foreign[io->socket] == NULL;
    if (is_new) {
        io->private_.reactor = (pco__reactor_io){.role = PCO__IO_FOREIGN & 7};
    }
    pco__reactor_io *state = &io->private_.reactor;
    uint32_t before = state->generation;
    reactor->generation += reactor->generation == UINT32_MAX ? 2 : 1;
    state->generation = reactor->generation;
    code = pco__reactor_poller(reactor)->watch(reactor, io, true);
    if (code > 0) {
        state->generation = before;
        return explain((int)io->socket, code, error);
    }
    state->told = state->wants;
    if (!is_new) {
        return code == PCO__WATCHES_ANOTHER ? PCO__ANOTHER : 0;
    }
    reactor->foreign[io->socket] = io;
    reactor->base.attached++;
    return 0;
}

void pco__reactor_detach_foreign(pco__reactor *reactor, pco__io *io)
{
    pco__reactor_poller(reactor)->unwatch(reactor, io);
    pco__list_remove(&io->private_.reactor.link);
    if (reactor->current == io) {
        reactor->current = NULL;
    }
    reactor->foreign[io->socket] = NULL;
    reactor->base.attached--;
}

/* ---- Telling ---- */

void pco__reactor_watch(pco__reactor *reactor, pco__io *io)
{
    pco__reactor_io *state = &io->private_.reactor;

    if (state->told != state->wants) {
        pco__reactor_poller(reactor)->watch(reactor, io, false);
        state->told = state->wants;
    }
    state->ready = state->lacks; /* to be tried, which fails */
}

void pco__reactor_lose(pco__reactor *reactor, pco__io *io)
{
    io->private_.reactor.lacks = io->private_.reactor.ready = PCO__READY_IN | PCO__READY_OUT;
    if (pco__ready_due(io) != 0) {
        pco__reactor_enqueue(reactor, io);
    }
}

void pco__reactor_watch_failed(pco__reactor *reactor, pco__op *op)
{
    pco__result result = {.error = PCO_ENOTSUP};

    pco__reactor_finish(reactor, op, &result);
}

static void tell(pco__reactor *reactor, pco__op *op)
{
    pco__result result = {0};

    pco__reactor_finish(reactor, op, &result);
}

bool pco__reactor_tell(pco__reactor *reactor, size_t descriptor, uint32_t generation, unsigned bits)
{
    pco__io *io = at(reactor->foreign, reactor->foreign_capacity, descriptor);

    if (io == NULL || io->private_.reactor.generation != generation) {
        return false;
    }
    reactor->current = io;
    if ((bits & io->private_.reactor.wants & PCO__READY_IN) != 0) {
        tell(reactor, io->private_.reactor.in);
    }
    if (reactor->current == io && (bits & io->private_.reactor.wants & PCO__READY_OUT) != 0) {
        tell(reactor, io->private_.reactor.out);
    }
    if (reactor->current == io) {
        pco__reactor_watch(reactor, io);
        if (pco__ready_due(io) != 0) {
            pco__reactor_enqueue(reactor, io);
        }
    }
    reactor->current = NULL;
    return true;
}
