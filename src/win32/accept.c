/* SPDX-License-Identifier: MIT */
/*
 * accept.c (Windows): AcceptEx, of which a listener has several in flight, each with a socket of
 * its own to accept on, or an instance of its own, if it is a pipe's; and when a listener is at
 * fault and not its clients.
 */
#include "win32/iocp.h"

#include <assert.h>
#include <string.h>

#include "support/memory.h"
#include "system/platform.h"

/*
 * Clients may go before they are accepted, and many may do so in a row. But a listener of which
 * nothing else is heard any more is itself at fault: one that so many calls failed on at once,
 * with none that had to wait; or so many accepts later, with no client between.
 */
#define ACCEPT_CALLS_FAILED 1024
#define ACCEPT_PACKETS_FAILED 32768

/* What AcceptEx demands for each of the two addresses. */
#define ADDRESS_ROOM (sizeof(struct sockaddr_storage) + 16)

/* What an ACCEPT needs besides: too large for every operation. */
typedef struct pco__accept_state pco__accept_state;
struct pco__accept_state {
    pco__accept_state *next; /* in the pool */
    pco__op *op;             /* whose it is; NULL: in the pool */
    SOCKET socket;
    unsigned char addresses[2 * ADDRESS_ROOM];
};

struct pco__accept_pool {
    pco__accept_state *unused;
    unsigned calls_failed; /* in a row, and so are these */
    unsigned packets_failed;
    pco__accept_state all[PCO__IOCP_ACCEPTS];
};

/*
 * A failure that is the client's, not the listener's: it went away before it was accepted. Wine
 * says PCO_ENOTCONN.
 */
static bool client_gave_up(int error)
{
    return error == PCO_ECONNRESET || error == PCO_ECONNABORTED || error == PCO_ENOTCONN ||
           error == PCO_ETIMEDOUT || error == PCO_ENETUNREACH || error == PCO_EHOSTUNREACH;
}

pco__accept_pool *pco__accept_pool_new(void)
{
    pco__accept_pool *pool = pco__malloc(sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->unused = NULL;
    pool->calls_failed = 0;
    pool->packets_failed = 0;
    for (size_t i = 0; i < PCO__IOCP_ACCEPTS; ++i) {
        pool->all[i].op = NULL;
        pool->all[i].next = pool->unused;
        pool->unused = &pool->all[i];
    }
    return pool;
}

static void take_accept_state(pco__op *op)
{
    pco__accept_pool *pool = op->io->private_.iocp.accepts;
    assert(pool != NULL && pool->unused != NULL);
    op->private_.iocp.accept = pool->unused;
    op->private_.iocp.accept->op = op;
    pool->unused = pool->unused->next;
}

static void drop_accept_state(pco__op *op)
{
    pco__accept_pool *pool = op->io->private_.iocp.accepts;
    op->private_.iocp.accept->op = NULL;
    op->private_.iocp.accept->next = pool->unused;
    pool->unused = op->private_.iocp.accept;
    op->private_.iocp.accept = NULL;
}

HANDLE pco__iocp_accept_handle(const pco__op *op)
{
    return (HANDLE)(pco__io_is_pipe(op->io) ? op->private_.iocp.accept->socket
                                            : pco__io_socket(op->io));
}

/* What was to be accepted, and is not; INVALID_SOCKET: it was closed with the listener. */
static void close_accepted(const pco__op *op, SOCKET sock)
{
    if (pco__io_is_pipe(op->io)) {
        if (sock != INVALID_SOCKET) {
            CloseHandle((HANDLE)sock);
        }
    } else {
        closesocket(sock);
    }
}

/* Posts one AcceptEx, on a new socket; or waits for the client of a new instance of a pipe. */
static int post_accept(pco__iocp *self, pco__op *op, int *system_code)
{
    pco__accept_state *accept = op->private_.iocp.accept;
    if (pco__io_is_pipe(op->io)) {
        return pco__pipe_post_accept(self, op, &accept->socket, system_code);
    }
    bool is_unix = op->io->private_.iocp.family == AF_UNIX;
    accept->socket = pco__winsock_open(op->io->private_.iocp.family, is_unix ? 0 : IPPROTO_TCP);
    if (accept->socket == INVALID_SOCKET) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    /* No bytes of data: or a client that says nothing would never be accepted. */
    DWORD length = 0;
    int err =
        pco__iocp_started(pco__iocp_extensions(self, op->io->private_.iocp.family)
                              ->accept(pco__io_socket(op->io), accept->socket, accept->addresses, 0,
                                       ADDRESS_ROOM, ADDRESS_ROOM, &length, pco__op_overlapped(op)),
                          system_code);
    if (err != 0) {
        closesocket(accept->socket);
    }
    return err;
}

void pco__iocp_accept_anew(pco__op *op)
{
    pco__accept_pool *pool = op->io->private_.iocp.accepts;
    if (pool->calls_failed >= ACCEPT_CALLS_FAILED) {
        pool->calls_failed = 0;
    }
}

int pco__iocp_start_accept(pco__iocp *self, pco__op *op, int *system_code)
{
    if (op->private_.iocp.accept == NULL) {
        take_accept_state(op);
    }
    /*
     * AcceptEx fails at once with WSAECONNRESET where a client has come and gone already. The next
     * turn tries again, as long as on_known_accept thinks it worth while.
     */
    pco__accept_pool *pool = op->io->private_.iocp.accepts;
    int err = post_accept(self, op, system_code);
    pool->calls_failed = client_gave_up(err) ? pool->calls_failed + 1 : 0;
    if (err != 0) {
        drop_accept_state(op);
    }
    return err;
}

/* The peer's address is in what AcceptEx left; the system forgets that of a lost connection. */
static void find_peer(pco__iocp *self, const pco__op *op, pco_address *peer)
{
    pco__accept_state *accept = op->private_.iocp.accept;
    struct sockaddr *local_address = NULL;
    struct sockaddr *remote_address = NULL;
    int local_length = 0;
    int remote_length = 0;
    pco__iocp_extensions(self, op->io->private_.iocp.family)
        ->accept_addresses(accept->addresses, 0, ADDRESS_ROOM, ADDRESS_ROOM, &local_address,
                           &local_length, &remote_address, &remote_length);
    pco__sockaddr_to(remote_address, remote_length, peer);
}

/*
 * Makes the accepted socket a usable one. It may be gone again, which is no failure of accepting.
 * That of a closed listener will be closed, too, and there is no listener to make it usable with.
 */
static bool finish_accept(pco__iocp *self, pco__op *op, pco_address *peer)
{
    if (pco__io_is_pipe(op->io)) {
        memset(peer, 0, sizeof *peer);
        return op->private_.iocp.accept->socket != INVALID_SOCKET;
    }
    SOCKET sock = op->private_.iocp.accept->socket;
    SOCKET listener = pco__io_socket(op->io);
    if (!pco__io_is_closed(op->io) && setsockopt(sock, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                                                 (const char *)&listener, sizeof listener) != 0) {
        return false;
    }
    find_peer(self, op, peer);
    /* The context brought the listener's settings along, so the mode is set after it. */
    return pco__winsock_unblock(sock);
}

void pco__iocp_on_accept(pco__iocp *self, pco__op *op, int error, int system_code)
{
    SOCKET sock = op->private_.iocp.accept->socket;
    pco__accept_pool *pool = op->io->private_.iocp.accepts;
    pco_address peer;
    if (error == 0 && !finish_accept(self, op, &peer)) {
        error = PCO_ECONNABORTED;
    }
    if (error == 0) {
        pco__result result = {.socket = (pco_socket)sock, .peer = &peer};
        pool->packets_failed = 0;
        drop_accept_state(op);
        pco__iocp_complete(self, op, &result);
        return;
    }
    close_accepted(op, sock);
    if (client_gave_up(error) && !op->canceled && pool->packets_failed < ACCEPT_PACKETS_FAILED) {
        pool->packets_failed++;
        pco__iocp_start_again(self, op);
        return;
    }
    drop_accept_state(op);
    pco__iocp_finish(self, op, op->canceled ? PCO_ECANCELED : error, system_code);
}

/* Where a client has gone, others wait behind it. */
void pco__iocp_on_known_accept(pco__iocp *self, pco__op *op)
{
    int error = op->private_.iocp.error;
    bool gave_up = client_gave_up(error);
    if (gave_up && !op->canceled && !pco__io_is_closed(op->io) &&
        op->io->private_.iocp.accepts->calls_failed < ACCEPT_CALLS_FAILED) {
        pco__iocp_start_again(self, op);
        return;
    }
    if (pco__io_is_closed(op->io) || (gave_up && op->canceled)) {
        error = PCO_ECANCELED;
    }
    pco__iocp_finish(self, op, error, op->private_.iocp.system_code);
}

/*
 * Closing ends the accepts only with the socket's last handle, and somebody may have a duplicate.
 * One by one, since the duplicate's accepts are none of ours. Of a pipe each has an instance, which
 * would be there for clients until its packet has come: so it is closed at once, which ends the
 * ACCEPT as well.
 */
void pco__iocp_cancel_accepts(pco__backend *backend, pco__accept_pool *pool)
{
    for (size_t i = 0; i < PCO__IOCP_ACCEPTS; ++i) {
        pco__accept_state *accept = &pool->all[i];
        if (accept->op == NULL) {
            continue;
        }
        pco__iocp_cancel(backend, accept->op);
        if (pco__io_is_pipe(accept->op->io) && accept->socket != INVALID_SOCKET) {
            CloseHandle((HANDLE)accept->socket);
            accept->socket = INVALID_SOCKET;
        }
    }
}
