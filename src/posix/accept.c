/* SPDX-License-Identifier: MIT */
/*
 * accept.c: accepting where the system only tells that there are clients: how many have their turn,
 * which failures are the client's own, and what becomes of clients when no descriptor is left.
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"
#include "posix/socket.h"

#include "system/complete.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* How many connections one listener accepts per turn before the other sockets have theirs. */
#define ACCEPTS_PER_TURN 64

/*
 * Clients may go before they are accepted, and many may do so in a row. But a listener of which
 * nothing else is heard any more, neither a client nor that there are none, is itself at fault: one
 * that another process has shut down is ready for ever, and on the BSDs fails as if by a client.
 */
#define ACCEPTS_FAILED 1024

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

int pco__reserve_open(void)
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
        int client = pco__socket_accept(pco__io_descriptor(io), &peer);

        if (client >= 0) {
            close(client);
            count++;
        } else if (pco__would_block(errno)) {
            pco__ready_clear(io, PCO__READY_IN);
            break;
        } else if (!is_clients_error(errno)) {
            break;
        }
    }
    reactor->reserve = pco__reserve_open();
    return count;
}

/*
 * Whether there is no more to a failure than that one client has gone. Where it is one too many it
 * becomes the listener's, and whoever tries anew has as many again.
 */
static bool is_passed_over(pco__io *io, int code)
{
    if (!is_clients_error(code)) {
        return false;
    }
    io->private_.reactor.accepts_failed++;
    if (io->private_.reactor.accepts_failed < ACCEPTS_FAILED) {
        return true;
    }
    io->private_.reactor.accepts_failed = 0;
    return false;
}

/* There was no client, errno says why. Returns whether the listener wants another try at once. */
static PCO__COLD bool accept_failed(pco__reactor *reactor, pco__io *io)
{
    pco__result result = {.socket = PCO_NO_SOCKET, .system_code = errno};

    if (pco__would_block(result.system_code)) {
        io->private_.reactor.accepts_failed = 0;
        pco__ready_clear(io, PCO__READY_IN);
        return false;
    }
    if (is_passed_over(io, result.system_code)) {
        return true;
    }
    result.error = pco__error_from_system(result.system_code);
    if (result.error == PCO_EMFILE) {
        result.length = turn_clients_away(reactor, io);
        /* Linux wants a descriptor before it looks for a client: this time there is none. */
        if (result.length == 0 && pco__ready_due(io) == 0) {
            return false;
        }
    }
    pco__reactor_finish(reactor, io->private_.reactor.in, &result);
    return false;
}

/* ACCEPT again, from done(): the next client has its turn when that has returned. */
static void accept_again(pco__backend *backend, pco__op *op)
{
    pco__reactor_io *state = &op->io->private_.reactor;

    (void)backend;
    op->in_flight = true;
    state->in = op;
    state->wants |= PCO__READY_IN;
}

/* Accepts one connection, and returns whether the listener wants another at once. */
static inline bool try_accept_one(pco__reactor *reactor, pco__io *io)
{
    pco__reactor_io *state = &io->private_.reactor;
    pco__op *op = state->in;
    pco_address peer;
    int client = pco__socket_accept(pco__io_descriptor(io), &peer);

    if (client < 0) {
        return accept_failed(reactor, io);
    }
    pco__result result = {.socket = client, .peer = &peer};
    state->accepts_failed = 0;
    state->in = NULL;
    state->wants = (uint8_t)(state->wants & ~PCO__READY_IN);
    pco__complete(&reactor->base, op, &result, accept_again);
    return reactor->current == io && (state->wants & PCO__READY_IN) != 0;
}

/* A listener is registered when it listens: some kqueues never tell what a socket became later. */
void pco__reactor_accept(pco__reactor *reactor, pco__io *io)
{
    int left = ACCEPTS_PER_TURN;

    if (!io->private_.reactor.registered &&
        !pco__reactor_register(reactor, io, io->private_.reactor.in)) {
        return;
    }
    if (reactor->reserve < 0) {
        reactor->reserve = pco__reserve_open();
    }
    while (left > 0 && try_accept_one(reactor, io)) {
        left--;
    }
}
