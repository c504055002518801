/* SPDX-License-Identifier: MIT */
/*
 * iocp.c: the backend of Windows: one I/O completion port per loop.
 *
 * The port is completion-style by nature, so little is made up here. The hard idea is who holds an
 * operation at a time. Once a call was given its OVERLAPPED and has returned success or
 * WSA_IO_PENDING, a packet comes through the port, whatever happens, and until poll() has dequeued
 * that packet the system may write to the operation: it is STARTED. Where the call failed, no
 * packet comes: the operation is KNOWN, and waits in a queue of our own, since done() is never
 * entered from inside submit().
 *
 * What was canceled ends soon, by a packet. Where some driver keeps it all the same, a loop that is
 * to be freed would wait for ever: so such a socket is closed under its operations, with a reset,
 * and they end by that. The owner learns nothing of it: done() follows, and its own close() then
 * finds the socket gone.
 *
 * FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, which saves the packets of calls that succeed at once, is
 * not set: it is only right if every layered provider hands out real file handles, and the sends
 * for which it would matter leave through try_send, which needs no packet.
 */
#include "win32/win32.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "system/backend.h"
#include "system/complete.h"
#include "support/error.h"
#include "support/list.h"
#include "support/memory.h"
#include "system/network.h"
#include "system/platform.h"

/* Packets dequeued at once. */
#define BATCH 128

/* Enough that a burst of clients does not wait for turns of the loop. */
#define ACCEPTS 32

/*
 * Clients may go before they are accepted, and many may do so in a row. But a listener of which
 * nothing else is heard any more is itself at fault: one that so many calls failed on at once,
 * with none that had to wait; or so many accepts later, with no client between.
 */
#define ACCEPT_CALLS_FAILED 1024
#define ACCEPT_PACKETS_FAILED 32768

/* What AcceptEx demands for each of the two addresses. */
#define ADDRESS_ROOM (sizeof(struct sockaddr_storage) + 16)

/*
 * The system copies what try_send gives it, all of it if it takes any, into memory that it never
 * pages: so this is what each peer that does not read can cost. The memory of a SEND is only kept
 * from being paged; but of a peer that takes data slowly nothing is heard except the ends of SENDs:
 * see unsent in backend.h.
 */
#define TRY_SEND_LIMIT ((size_t)128 << 10)
#define SEND_LIMIT ((size_t)256 << 10)

/* How long a canceled operation may take to end, in nanoseconds; and twice that at the most. */
#define CANCEL_PATIENCE ((uint64_t)2000000000)

/* Where the port fails, the wait for it is one of so many milliseconds. */
#define FAILED_WAIT 10

/* How often wake() tries to post its packet, a millisecond apart. */
#define WAKE_ATTEMPTS 10

/* Bits of iocp.wanted. */
#define WANT_WAKE 1
#define WANT_STOP 2
#define WANT_LOOK 4 /* no packet could be posted */

/* Who holds an operation. */
enum { IDLE, STARTED, KNOWN, DELIVERING, HELD };

/* Functions that each provider must be asked for. */
typedef struct extensions {
    LPFN_ACCEPTEX accept;
    LPFN_GETACCEPTEXSOCKADDRS accept_addresses;
    LPFN_CONNECTEX connect;
} extensions;

typedef struct iocp {
    pco__backend base;
    HANDLE port;
    volatile LONG wanted;     /* by wake(), from any thread: WANT_* */
    pco__link known;          /* the KNOWN operations */
    pco__link canceled;       /* those STARTED that were canceled since `look_at` was set... */
    pco__link overdue;        /* ...and before */
    uint64_t look_at;         /* when those overdue lose their sockets */
    extensions extensions[2]; /* for IPv4 and IPv6; loaded when first needed */
    UCHAR syn_retransmissions;
    bool has_file_handles;
    size_t attached;
    size_t buffer_size;
    unsigned char *buffer; /* what a RECV lends */
} iocp;

/* What an ACCEPT needs besides: too large for every operation. */
typedef struct pco__accept_state accept_state;
struct pco__accept_state {
    accept_state *next; /* in the pool */
    pco__op *op;        /* whose it is; NULL: in the pool */
    SOCKET socket;
    unsigned char addresses[2 * ADDRESS_ROOM];
};

/* A listener has it from the beginning, so that accepting needs no memory later. */
typedef struct pco__accept_pool {
    accept_state *unused;
    unsigned calls_failed; /* in a row, and so are these */
    unsigned packets_failed;
    accept_state all[ACCEPTS];
} accept_pool;

_Static_assert(sizeof(OVERLAPPED) == PCO__OVERLAPPED_WORDS * sizeof(uintptr_t),
               "an OVERLAPPED is three pointers and an offset");
_Static_assert(sizeof(SOCKET) == sizeof(pco_socket) && (pco_socket)INVALID_SOCKET == PCO_NO_SOCKET,
               "a pco_socket is a SOCKET");

static iocp *iocp_of(pco__backend *backend)
{
    return (iocp *)backend;
}

static OVERLAPPED *overlapped_of(pco__op *op)
{
    return (OVERLAPPED *)op->private_.overlapped;
}

static pco__op *op_of(OVERLAPPED *overlapped)
{
    return PCO__CONTAINER(overlapped, pco__op, private_.overlapped);
}

static pco__op *op_of_link(pco__link *link)
{
    return PCO__CONTAINER(link, pco__op, private_.link);
}

static SOCKET socket_of(const pco__io *io)
{
    return (SOCKET)io->socket;
}

/*
 * There is no socket any more: the owner of a listener has closed it, with accepts in flight that
 * come back one by one; or it was taken away from its operations, see close_overdue.
 */
static bool is_closed(const pco__io *io)
{
    return io->socket == PCO_NO_SOCKET;
}

/* Moves all of a list to another, which is empty or not made yet. */
static void move_all(pco__link *from, pco__link *to)
{
    pco__list_init(to);
    if (!pco__list_is_empty(from)) {
        *to = *from;
        to->next->previous = to;
        to->previous->next = to;
        pco__list_init(from);
    }
}

/* ---- Completing ---- */

static void iocp_submit(pco__backend *backend, pco__op *op);

/* The socket is closed, and nothing of it is in flight any more. */
static void forget(iocp *self, pco__io *io)
{
    pco__free(io->private_.accepts);
    io->private_.accepts = NULL;
    self->attached--;
}

static void complete(iocp *self, pco__op *op, const pco__result *result)
{
    assert(op->io->private_.in_flight > 0);
    op->io->private_.in_flight--;
    op->private_.state = IDLE;
    if (op->kind == PCO__OP_ACCEPT && is_closed(op->io) && op->io->private_.in_flight == 0) {
        forget(self, op->io);
    }
    pco__complete(&self->base, op, result, iocp_submit);
}

/* Completes what has no result but how it ended. */
static void finish(iocp *self, pco__op *op, int error, int system_code)
{
    pco__result result = {.error = error, .system_code = system_code, .socket = PCO_NO_SOCKET};
    complete(self, op, &result);
}

/* Leaves it to the next poll() to tell how an operation ended. */
static void know(iocp *self, pco__op *op, int error, int system_code)
{
    op->private_.state = KNOWN;
    op->private_.error = error;
    op->private_.system_code = system_code;
    pco__list_append(&self->known, &op->private_.link);
}

/* ---- Starting operations. They return 0 if a packet will come, or else what went wrong. ---- */

/*
 * Judges a call that was given an OVERLAPPED. There, WSAEWOULDBLOCK does not mean "try again" but
 * that too many operations are in flight.
 */
static int started(bool success, int *system_code)
{
    *system_code = success ? 0 : WSAGetLastError();
    if (success || *system_code == WSA_IO_PENDING) {
        return 0;
    }
    return *system_code == WSAEWOULDBLOCK ? PCO_ENOBUFS : pco__error_from_system(*system_code);
}

static int start_receive(pco__op *op, int *system_code)
{
    /* Zero bytes: it completes when there is something to read, and no memory is tied up. */
    static char nothing;
    WSABUF empty = {.len = 0, .buf = &nothing};
    DWORD flags = 0;
    return started(WSARecv(socket_of(op->io), &empty, 1, NULL, &flags, overlapped_of(op), NULL) ==
                       0,
                   system_code);
}

/* A list of buffers for one call. */
typedef struct send_list {
    WSABUF parts[PCO__SEND_BUFFERS];
    DWORD count;
    size_t room;
} send_list;

/* Adds a buffer, or its first part, and returns whether there is room for another. */
static bool add_part(send_list *list, const void *data, size_t length)
{
    WSABUF *part = &list->parts[list->count++];
    if (length > list->room) {
        length = list->room;
    }
    part->buf = (CHAR *)(uintptr_t)data; /* a WSABUF cannot say that it is only read */
    part->len = (ULONG)length;
    list->room -= length;
    return list->count < PCO__SEND_BUFFERS && list->room > 0;
}

static int start_send(pco__op *op, int *system_code)
{
    send_list list;
    list.count = 0;
    list.room = SEND_LIMIT;
    for (const pco__segment *segment = op->with.chain; segment != NULL; segment = segment->next) {
        if (!add_part(&list, segment->data, segment->length)) {
            break;
        }
    }
    return started(
        WSASend(socket_of(op->io), list.parts, list.count, NULL, 0, overlapped_of(op), NULL) == 0,
        system_code);
}

static extensions *extensions_of(iocp *self, int family)
{
    return &self->extensions[family == AF_INET6];
}

/*
 * A failure that is the client's, not the listener's: it went away before it was accepted. Wine
 * says PCO_ENOTCONN.
 */
static bool client_gave_up(int error)
{
    return error == PCO_ECONNRESET || error == PCO_ECONNABORTED || error == PCO_ENOTCONN ||
           error == PCO_ETIMEDOUT || error == PCO_ENETUNREACH || error == PCO_EHOSTUNREACH;
}

static accept_pool *new_accept_pool(void)
{
    accept_pool *pool = pco__malloc(sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->unused = NULL;
    pool->calls_failed = 0;
    pool->packets_failed = 0;
    for (size_t i = 0; i < ACCEPTS; ++i) {
        pool->all[i].op = NULL;
        pool->all[i].next = pool->unused;
        pool->unused = &pool->all[i];
    }
    return pool;
}

static void take_accept_state(pco__op *op)
{
    accept_pool *pool = op->io->private_.accepts;
    assert(pool != NULL && pool->unused != NULL);
    op->private_.accept = pool->unused;
    op->private_.accept->op = op;
    pool->unused = pool->unused->next;
}

static void drop_accept_state(pco__op *op)
{
    accept_pool *pool = op->io->private_.accepts;
    op->private_.accept->op = NULL;
    op->private_.accept->next = pool->unused;
    pool->unused = op->private_.accept;
    op->private_.accept = NULL;
}

/* Posts one AcceptEx, on a new socket. */
static int post_accept(iocp *self, pco__op *op, int *system_code)
{
    accept_state *accept = op->private_.accept;
    accept->socket = pco__winsock_open(op->io->private_.family, IPPROTO_TCP);
    if (accept->socket == INVALID_SOCKET) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    /* No bytes of data: or a client that says nothing would never be accepted. */
    DWORD length = 0;
    int err = started(extensions_of(self, op->io->private_.family)
                          ->accept(socket_of(op->io), accept->socket, accept->addresses, 0,
                                   ADDRESS_ROOM, ADDRESS_ROOM, &length, overlapped_of(op)),
                      system_code);
    if (err != 0) {
        closesocket(accept->socket);
    }
    return err;
}

static int start_accept(iocp *self, pco__op *op, int *system_code)
{
    if (op->private_.accept == NULL) {
        take_accept_state(op);
    }
    /*
     * AcceptEx fails at once with WSAECONNRESET where a client has come and gone already. The next
     * turn tries again, as long as on_known thinks it worth while.
     */
    accept_pool *pool = op->io->private_.accepts;
    int err = post_accept(self, op, system_code);
    pool->calls_failed = client_gave_up(err) ? pool->calls_failed + 1 : 0;
    if (err != 0) {
        drop_accept_state(op);
    }
    return err;
}

/* Windows does not connect to the unspecified address; elsewhere that means this machine. */
static void make_specific(pco__sockaddr *address)
{
    static const struct in6_addr any = IN6ADDR_ANY_INIT;
    static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    if (address->any.sa_family == AF_INET) {
        if (address->in.sin_addr.s_addr == htonl(INADDR_ANY)) {
            address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        }
    } else if (memcmp(&address->in6.sin6_addr, &any, sizeof any) == 0) {
        address->in6.sin6_addr = loopback;
    }
}

static bool is_loopback(const pco__sockaddr *address)
{
    static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    if (address->any.sa_family == AF_INET) {
        return ntohl(address->in.sin_addr.s_addr) >> 24 == 127;
    }
    return memcmp(&address->in6.sin6_addr, &loopback, sizeof loopback) == 0;
}

/*
 * Windows answers a refused SYN with another one, so that a connection to a port where nobody
 * listens takes two seconds to fail, on the loopback too. Where this is not known it stays so.
 */
static void refuse_at_once(const iocp *self, SOCKET sock)
{
    TCP_INITIAL_RTO_PARAMETERS parameters = {
        .Rtt = TCP_INITIAL_RTO_UNSPECIFIED_RTT,
        .MaxSynRetransmissions = self->syn_retransmissions,
    };
    DWORD length = 0;
    WSAIoctl(sock, SIO_TCP_INITIAL_RTO, &parameters, sizeof parameters, NULL, 0, &length, NULL,
             NULL);
}

static int start_connect(iocp *self, pco__op *op, int *system_code)
{
    SOCKET sock = socket_of(op->io);
    pco__sockaddr remote = pco__sockaddr_from(op->with.address);
    if (remote.any.sa_family == AF_UNSPEC || remote.any.sa_family != op->io->private_.family) {
        return PCO_EAFNOSUPPORT;
    }
    bool is_ipv4 = remote.any.sa_family == AF_INET;
    int length = is_ipv4 ? (int)sizeof remote.in : (int)sizeof remote.in6;
    make_specific(&remote);
    if (is_loopback(&remote)) {
        refuse_at_once(self, sock);
    }

    /* ConnectEx wants a bound socket. WSAEINVAL: it is bound already. */
    pco__sockaddr local;
    memset(&local, 0, sizeof local);
    local.any.sa_family = remote.any.sa_family;
    if (bind(sock, &local.any, length) != 0 && WSAGetLastError() != WSAEINVAL) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    return started(extensions_of(self, remote.any.sa_family)
                       ->connect(sock, &remote.any, length, NULL, 0, NULL, overlapped_of(op)),
                   system_code);
}

static int start(iocp *self, pco__op *op, int *system_code)
{
    *system_code = 0;
    memset(op->private_.overlapped, 0, sizeof op->private_.overlapped);
    op->private_.state = STARTED;
    if (is_closed(op->io)) {
        return PCO_ECONNRESET;
    }
    switch (op->kind) {
    case PCO__OP_ACCEPT:
        return start_accept(self, op, system_code);
    case PCO__OP_CONNECT:
        return start_connect(self, op, system_code);
    case PCO__OP_SEND:
        return start_send(op, system_code);
    default:
        return start_receive(op, system_code);
    }
}

/* Starts an operation that has turned out to have no result yet once more. */
static void start_again(iocp *self, pco__op *op)
{
    int system_code;
    int err = start(self, op, &system_code);
    if (err != 0) {
        know(self, op, err, system_code);
    }
}

/* The end of what is KNOWN. Where clients have gone, others wait behind them. */
static void on_known(iocp *self, pco__op *op)
{
    int error = op->private_.error;
    if (op->kind == PCO__OP_ACCEPT && is_closed(op->io)) {
        error = PCO_ECANCELED;
    } else if (op->kind == PCO__OP_ACCEPT && client_gave_up(error)) {
        if (op->canceled) {
            error = PCO_ECANCELED;
        } else if (op->io->private_.accepts->calls_failed < ACCEPT_CALLS_FAILED) {
            start_again(self, op);
            return;
        }
    }
    finish(self, op, error, op->private_.system_code);
}

/* ---- Packets ---- */

/* The peer's address is in what AcceptEx left; the system forgets that of a lost connection. */
static void find_peer(iocp *self, const pco__op *op, pco_address *peer)
{
    accept_state *accept = op->private_.accept;
    struct sockaddr *local_address = NULL;
    struct sockaddr *remote_address = NULL;
    int local_length = 0;
    int remote_length = 0;
    extensions_of(self, op->io->private_.family)
        ->accept_addresses(accept->addresses, 0, ADDRESS_ROOM, ADDRESS_ROOM, &local_address,
                           &local_length, &remote_address, &remote_length);
    pco__sockaddr_to(remote_address, remote_length, peer);
}

/*
 * Makes the accepted socket a usable one. It may be gone again, which is no failure of accepting.
 * That of a closed listener will be closed, too, and there is no listener to make it usable with.
 */
static bool finish_accept(iocp *self, pco__op *op, pco_address *peer)
{
    SOCKET sock = op->private_.accept->socket;
    SOCKET listener = socket_of(op->io);
    if (!is_closed(op->io) && setsockopt(sock, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                                         (const char *)&listener, sizeof listener) != 0) {
        return false;
    }
    find_peer(self, op, peer);
    /* The context brought the listener's settings along, so the mode is set after it. */
    return pco__winsock_unblock(sock);
}

static void on_accept(iocp *self, pco__op *op, int error, int system_code)
{
    SOCKET sock = op->private_.accept->socket;
    accept_pool *pool = op->io->private_.accepts;
    pco_address peer;
    if (error == 0 && !finish_accept(self, op, &peer)) {
        error = PCO_ECONNABORTED;
    }
    if (error == 0) {
        pco__result result = {.socket = (pco_socket)sock, .peer = &peer};
        pool->packets_failed = 0;
        drop_accept_state(op);
        complete(self, op, &result);
        return;
    }
    closesocket(sock);
    if (client_gave_up(error) && !op->canceled && pool->packets_failed < ACCEPT_PACKETS_FAILED) {
        pool->packets_failed++;
        start_again(self, op);
        return;
    }
    drop_accept_state(op);
    finish(self, op, op->canceled ? PCO_ECANCELED : error, system_code);
}

static void on_connect(iocp *self, pco__op *op, int error, int system_code)
{
    /* Without this the socket cannot be shut down, and does not know its peer. */
    if (error == 0 &&
        setsockopt(socket_of(op->io), SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0) != 0) {
        system_code = WSAGetLastError();
        error = pco__error_from_system(system_code);
    }
    finish(self, op, error, system_code);
}

/*
 * On a connection, Windows tells by WSAECONNABORTED that its own side has given up, because what it
 * sent was never acknowledged, say. Elsewhere a lost connection has one name.
 */
static int stream_error(int error)
{
    return error == PCO_ECONNABORTED ? PCO_ECONNRESET : error;
}

static void receive(iocp *self, pco__op *op, void *buffer, size_t size)
{
    int length = recv(socket_of(op->io), buffer, size > INT_MAX ? INT_MAX : (int)size, 0);
    if (length != SOCKET_ERROR) {
        pco__result result = {.length = (size_t)length, .data = buffer, .socket = PCO_NO_SOCKET};
        complete(self, op, &result);
        return;
    }
    int system_code = WSAGetLastError();
    if (system_code == WSAEWOULDBLOCK) {
        start_again(self, op); /* the packet told of something that was there once */
        return;
    }
    finish(self, op, stream_error(pco__error_from_system(system_code)), system_code);
}

/* The zero-byte receive has taken nothing, so a canceled operation leaves all data where it is. */
static void on_receive(iocp *self, pco__op *op, int error, int system_code)
{
    void *buffer = self->buffer;
    size_t size = pco__most_of(op, self->buffer_size);
    if (op->canceled || error != 0) {
        finish(self, op, op->canceled ? PCO_ECANCELED : stream_error(error), system_code);
        return;
    }
    if (op->with.get_buffer != NULL) {
        op->private_.state = DELIVERING;
        size = 0;
        op->with.get_buffer(op, &buffer, &size);
        if (op->canceled || size == 0) {
            finish(self, op, op->canceled ? PCO_ECANCELED : PCO_ENOBUFS, 0);
            return;
        }
    }
    receive(self, op, buffer, size);
}

/*
 * A WATCH is a zero-byte receive as well. It hears of a failure as long as there is nothing to
 * read; once there is, it has ended without telling how the connection goes on, and starting it
 * again would end it at once. So it is held until it is canceled.
 */
static void on_watch(iocp *self, pco__op *op, int error, int system_code)
{
    if (op->canceled || error != 0) {
        finish(self, op, op->canceled ? PCO_ECANCELED : stream_error(error), system_code);
        return;
    }
    op->private_.state = HELD;
}

static void on_send(iocp *self, pco__op *op, int error, int system_code)
{
    pco__result result = {
        .error = stream_error(error), .system_code = system_code, .socket = PCO_NO_SOCKET};
    if (error == 0) {
        result.length = overlapped_of(op)->InternalHigh;
    }
    complete(self, op, &result);
}

/* How the operation of a packet ended. WSAGetLastError has nothing to do with that. */
static int packet_error(pco__op *op, int *system_code)
{
    int status = (int)overlapped_of(op)->Internal; /* an NTSTATUS: negative is an error */
    *system_code = 0;
    if (status >= 0) {
        return 0;
    }
    if (is_closed(op->io)) {
        return op->kind == PCO__OP_ACCEPT || op->canceled ? PCO_ECANCELED : PCO_ECONNRESET;
    }
    /* Users know Winsock's codes, not NTSTATUS; the table knows both. */
    DWORD length = 0;
    DWORD flags = 0;
    if (!WSAGetOverlappedResult(socket_of(op->io), overlapped_of(op), &length, FALSE, &flags)) {
        *system_code = WSAGetLastError();
    }
    int error = pco__error_from_system(status);
    return error != PCO_EUNKNOWN ? error : pco__error_from_system(*system_code);
}

static void on_packet(iocp *self, pco__op *op)
{
    /*
     * Wine 8 was seen to deliver a packet whose OVERLAPPED still reads PENDING, ahead of the one
     * that counts. On Windows the status is written before the packet is queued.
     */
    if (overlapped_of(op)->Internal == (ULONG_PTR)STATUS_PENDING) {
        return;
    }
    assert(op->in_flight && op->private_.state == STARTED);
    pco__list_remove(&op->private_.link); /* if it was canceled */
    int system_code;
    int error = packet_error(op, &system_code);
    switch (op->kind) {
    case PCO__OP_ACCEPT:
        on_accept(self, op, error, system_code);
        break;
    case PCO__OP_CONNECT:
        on_connect(self, op, error, system_code);
        break;
    case PCO__OP_RECV:
        on_receive(self, op, error, system_code);
        break;
    case PCO__OP_WATCH:
        on_watch(self, op, error, system_code);
        break;
    default:
        on_send(self, op, error, system_code);
        break;
    }
}

/* ---- What was canceled and does not end ---- */

/* An operation that was canceled, and whose packet is still to come. */
static void expect_end(iocp *self, pco__op *op)
{
    if (pco__list_is_empty(&self->canceled) && pco__list_is_empty(&self->overdue)) {
        self->look_at = pco__monotonic() + CANCEL_PATIENCE;
    }
    pco__list_append(&self->canceled, &op->private_.link);
}

/* How long poll() may wait, so as to look at what was canceled in time. */
static uint64_t limit_wait(const iocp *self, uint64_t timeout)
{
    if (pco__list_is_empty(&self->canceled) && pco__list_is_empty(&self->overdue)) {
        return timeout;
    }
    uint64_t now = pco__monotonic();
    uint64_t left = now < self->look_at ? self->look_at - now : 0;
    return left < timeout ? left : timeout;
}

/*
 * Closes the sockets of what is overdue; those canceled since are the next. Called where the port
 * has been emptied: however long the program did not call poll(), what had ended was heard.
 */
static void close_overdue(iocp *self)
{
    bool is_idle = pco__list_is_empty(&self->canceled) && pco__list_is_empty(&self->overdue);
    if (is_idle || pco__monotonic() < self->look_at) {
        return;
    }
    while (!pco__list_is_empty(&self->overdue)) {
        pco__op *op = op_of_link(self->overdue.next);
        pco__list_remove(&op->private_.link);
        if (!is_closed(op->io)) {
            pco__winsock_close(socket_of(op->io), true);
            op->io->socket = PCO_NO_SOCKET;
        }
    }
    move_all(&self->canceled, &self->overdue);
    self->look_at = pco__monotonic() + CANCEL_PATIENCE;
}

/* ---- poll() and wake() ---- */

/* Rounded up, or a timer would be polled for again and again in its last millisecond. */
static DWORD milliseconds_of(uint64_t nanoseconds)
{
    if (nanoseconds == PCO__FOREVER) {
        return INFINITE;
    }
    uint64_t milliseconds = nanoseconds / 1000000 + (nanoseconds % 1000000 != 0);
    return milliseconds < INFINITE - 1 ? (DWORD)milliseconds : INFINITE - 1;
}

/*
 * Takes packets off the port, and returns how many. If the port fails, which it must not, timers
 * and callbacks go on, and the loop does not spin.
 */
static ULONG take_packets(iocp *self, OVERLAPPED_ENTRY *entries, DWORD milliseconds)
{
    ULONG count = 0;
    if (GetQueuedCompletionStatusEx(self->port, entries, BATCH, &count, milliseconds, FALSE)) {
        return count;
    }
    if (GetLastError() != WAIT_TIMEOUT) {
        Sleep(milliseconds < FAILED_WAIT ? milliseconds : FAILED_WAIT);
    }
    return 0;
}

/* Takes what wake() has asked for, and returns whether that was a stop. */
static bool take_wanted(iocp *self)
{
    return (InterlockedExchange(&self->wanted, 0) & WANT_STOP) != 0;
}

/*
 * No operation of the batch can be freed by another's done(): they are all in flight. It may return
 * with fewer packets than there are, or early and with none; both are allowed.
 */
static void iocp_poll(pco__backend *backend, uint64_t timeout, bool *stop)
{
    iocp *self = iocp_of(backend);
    OVERLAPPED_ENTRY entries[BATCH];
    pco__link known;
    move_all(&self->known, &known);
    if ((self->wanted & WANT_LOOK) != 0) {
        *stop |= take_wanted(self);
        timeout = 0;
    }
    timeout = pco__list_is_empty(&known) ? limit_wait(self, timeout) : 0;

    ULONG count = take_packets(self, entries, milliseconds_of(timeout));
    for (ULONG i = 0; i < count; ++i) {
        if (entries[i].lpOverlapped != NULL) {
            on_packet(self, op_of(entries[i].lpOverlapped));
        } else {
            *stop |= take_wanted(self);
        }
    }
    while (!pco__list_is_empty(&known)) {
        pco__op *op = op_of_link(known.next);
        pco__list_remove(&op->private_.link);
        on_known(self, op);
    }
    if (count < BATCH) {
        close_overdue(self);
    }
}

/*
 * One packet for all who ask before it is dequeued. Posting one takes memory of the system's, and
 * where that has run out poll() looks at what is wanted by itself, the next time it is called.
 */
static void iocp_wake(pco__backend *backend, bool stop)
{
    iocp *self = iocp_of(backend);
    LONG before = InterlockedOr(&self->wanted, stop ? WANT_WAKE | WANT_STOP : WANT_WAKE);
    if ((before & WANT_WAKE) != 0) {
        return;
    }
    for (int i = 0; i < WAKE_ATTEMPTS; ++i) {
        if (PostQueuedCompletionStatus(self->port, 0, 0, NULL)) {
            return;
        }
        Sleep(1);
    }
    InterlockedOr(&self->wanted, WANT_LOOK);
    InterlockedAnd(&self->wanted, ~WANT_WAKE); /* so that the next one tries again */
}

/* ---- Sockets ---- */

static bool load_extension(SOCKET sock, GUID id, void *function, DWORD size)
{
    DWORD length = 0;
    return WSAIoctl(sock, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, function, size,
                    &length, NULL, NULL) == 0;
}

/* Finds the socket's family, and what its provider needs to accept and to connect. */
static int prepare(iocp *self, pco__io *io, int *system_code)
{
    static const GUID accept = WSAID_ACCEPTEX;
    static const GUID accept_addresses = WSAID_GETACCEPTEXSOCKADDRS;
    static const GUID connect = WSAID_CONNECTEX;
    SOCKET sock = socket_of(io);
    WSAPROTOCOL_INFOW info;
    int length = sizeof info;
    *system_code = 0;
    if (getsockopt(sock, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &length) != 0) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    if (info.iAddressFamily != AF_INET && info.iAddressFamily != AF_INET6) {
        return PCO_EAFNOSUPPORT;
    }
    io->private_.family = info.iAddressFamily;
    extensions *found = extensions_of(self, io->private_.family);
    if (found->connect != NULL) {
        return 0;
    }
    if (!load_extension(sock, accept, &found->accept, sizeof found->accept) ||
        !load_extension(sock, accept_addresses, &found->accept_addresses,
                        sizeof found->accept_addresses) ||
        !load_extension(sock, connect, &found->connect, sizeof found->connect)) {
        *system_code = WSAGetLastError();
        return PCO_ENOTSUP;
    }
    return 0;
}

static int join_port(iocp *self, pco__io *io, pco_error *error)
{
    HANDLE handle = (HANDLE)io->socket;
    if (CreateIoCompletionPort(handle, self->port, 0, 0) == NULL) {
        int system_code = (int)GetLastError();
        if (system_code == ERROR_INVALID_PARAMETER) {
            return pco__error_set(error, PCO_EINVAL, system_code,
                                  "the socket was made without WSA_FLAG_OVERLAPPED, or belongs to "
                                  "another completion port");
        }
        return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                   "attach a socket to the completion port");
    }
    /* Spares the system a needless step per operation; nothing depends on it. */
    if (self->has_file_handles) {
        SetFileCompletionNotificationModes(handle, FILE_SKIP_SET_EVENT_ON_HANDLE);
    }
    return 0;
}

static int iocp_attach(pco__backend *backend, pco__io *io, pco__io_role role, pco_error *error)
{
    iocp *self = iocp_of(backend);
    io->private_ = (pco__io_private){.family = AF_UNSPEC};
    if (role != PCO__IO_CONNECTED) {
        int system_code;
        int err = prepare(self, io, &system_code);
        if (err != 0) {
            return pco__error_describe(error, err, system_code, "prepare a socket");
        }
    }
    if (role == PCO__IO_LISTENER) {
        io->private_.accepts = new_accept_pool();
        if (io->private_.accepts == NULL) {
            return pco__error_describe(error, PCO_ENOMEM, 0, "prepare to accept");
        }
    }
    int err = join_port(self, io, error);
    if (err != 0) {
        pco__free(io->private_.accepts);
        io->private_.accepts = NULL;
        return err;
    }
    self->attached++;
    return 0;
}

/* The headers have neither the class of this information nor, all of them, the call. */
static void leave_port(HANDLE handle)
{
    typedef NTSTATUS(NTAPI * set_information)(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, int);
    const int replace_completion = 61; /* FileReplaceCompletionInformation, since Windows 8.1 */
    FARPROC found = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtSetInformationFile");
    if (found != NULL) {
        IO_STATUS_BLOCK status;
        struct {
            HANDLE port;
            PVOID key;
        } none = {NULL, NULL};
        ((set_information)(void (*)(void))found)(handle, &status, &none, sizeof none,
                                                 replace_completion);
    }
}

static void iocp_detach(pco__backend *backend, pco__io *io)
{
    assert(io->private_.accepts != NULL && io->private_.in_flight == 0);
    leave_port((HANDLE)io->socket);
    forget(iocp_of(backend), io);
}

static void iocp_submit(pco__backend *backend, pco__op *op)
{
    iocp *self = iocp_of(backend);
    assert(!op->in_flight);
    op->in_flight = true;
    op->canceled = false;
    op->private_.accept = NULL;
    op->private_.link = (pco__link){NULL, NULL};
    op->io->private_.in_flight++;
    if (op->kind == PCO__OP_ACCEPT &&
        op->io->private_.accepts->calls_failed >= ACCEPT_CALLS_FAILED) {
        op->io->private_.accepts->calls_failed = 0; /* its owner tries anew */
    }
    int system_code;
    int err = start(self, op, &system_code);
    if (err != 0) {
        know(self, op, err, system_code);
    }
}

static void iocp_cancel(pco__backend *backend, pco__op *op)
{
    assert(op->in_flight);
    if (op->canceled) {
        return;
    }
    op->canceled = true;
    if (op->private_.state == STARTED && !is_closed(op->io)) {
        /* ERROR_NOT_FOUND: it has ended already. Its packet comes in either case. */
        CancelIoEx((HANDLE)op->io->socket, overlapped_of(op));
        if (op->kind != PCO__OP_ACCEPT) { /* a listener is nothing that may be closed so */
            expect_end(iocp_of(backend), op);
        }
    } else if (op->private_.state == HELD) {
        know(iocp_of(backend), op, PCO_ECANCELED, 0);
    }
}

static pco__sent iocp_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                               size_t count)
{
    (void)backend;
    assert(count > 0 && count <= PCO__SEND_BUFFERS);
    if (is_closed(io)) {
        return (pco__sent){.error = PCO_ECONNRESET};
    }
    send_list list;
    list.count = 0;
    list.room = TRY_SEND_LIMIT;
    for (size_t i = 0; i < count; ++i) {
        if (!add_part(&list, buffers[i].data, buffers[i].length)) {
            break;
        }
    }
    DWORD length = 0;
    if (WSASend(socket_of(io), list.parts, list.count, &length, 0, NULL, NULL) != 0) {
        pco__sent sent = {.system_code = WSAGetLastError()};
        sent.error = stream_error(pco__error_from_system(sent.system_code));
        /* Without memory to copy to, a SEND may still do: it sends from where the data is. */
        if (sent.error == PCO_ENOBUFS) {
            sent.error = PCO_EAGAIN;
        }
        return sent;
    }
    return (pco__sent){.length = length};
}

static pco__sent iocp_try_send_one(pco__backend *backend, pco__io *io, const void *data,
                                   size_t length)
{
    return iocp_try_send(backend, io, &(pco_buffer){.data = data, .length = length}, 1);
}

static int64_t iocp_unsent(pco__backend *backend, const pco__io *io)
{
    (void)backend;
    (void)io;
    return PCO__UNSENT_UNKNOWN;
}

static int iocp_shutdown_send(pco__backend *backend, pco__io *io)
{
    (void)backend;
    return shutdown(socket_of(io), SD_SEND) == 0 ? 0 : pco__error_from_system(WSAGetLastError());
}

/*
 * Closing ends the accepts only with the socket's last handle, and somebody may have a duplicate.
 * One by one, since the duplicate's accepts are none of ours.
 */
static void cancel_accepts(pco__backend *backend, accept_pool *pool)
{
    for (size_t i = 0; i < ACCEPTS; ++i) {
        if (pool->all[i].op != NULL) {
            iocp_cancel(backend, pool->all[i].op);
        }
    }
}

static void iocp_close(pco__backend *backend, pco__io *io, bool reset)
{
    assert(io->private_.in_flight == 0 || io->private_.accepts != NULL);
    if (io->private_.accepts != NULL) {
        cancel_accepts(backend, io->private_.accepts);
    }
    if (!is_closed(io)) {
        pco__winsock_close(socket_of(io), reset);
        io->socket = PCO_NO_SOCKET;
    }
    if (io->private_.in_flight == 0) {
        forget(iocp_of(backend), io);
    }
}

/* ---- The backend itself ---- */

static int iocp_init(const pco__backend_class *self, const pco__backend_options *options,
                     pco__backend **backend, pco_error *error)
{
    int system_code = pco__winsock_start();
    if (system_code != 0) {
        return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                   "start Winsock");
    }
    iocp *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", self->name);
    }
    int err;
    made->base.class_ = self;
    pco__list_init(&made->known);
    pco__list_init(&made->canceled);
    pco__list_init(&made->overdue);
    made->syn_retransmissions = pco__winsock_syn_retransmissions(pco__windows_build());
    made->buffer_size = options->receive_buffer_size;
    made->buffer = pco__malloc_pages(made->buffer_size);
    if (made->buffer == NULL || pco__winsock_has_file_handles(&made->has_file_handles) != 0) {
        err = pco__error_describe(error, PCO_ENOMEM, 0, "make a completion port");
        goto fail;
    }
    made->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (made->port == NULL) {
        system_code = (int)GetLastError();
        err = pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                  "create a completion port");
        goto fail;
    }
    *backend = &made->base;
    return 0;

fail:
    pco__free_pages(made->buffer);
    pco__free(made);
    return err;
}

static void iocp_fini(pco__backend *backend)
{
    iocp *self = iocp_of(backend);
    assert(self->attached == 0 && pco__list_is_empty(&self->known));
    CloseHandle(self->port);
    pco__free_pages(self->buffer);
    pco__free(self);
}

static uint64_t iocp_now(pco__backend *backend)
{
    (void)backend;
    return pco__monotonic();
}

static const pco__backend_class iocp_class = {
    .name = "iocp",
    .network = &pco__system_network,
    .accepts = ACCEPTS,
    .init = iocp_init,
    .fini = iocp_fini,
    .now = iocp_now,
    .poll = iocp_poll,
    .wake = iocp_wake,
    .attach = iocp_attach,
    .detach = iocp_detach,
    .submit = iocp_submit,
    .cancel = iocp_cancel,
    .try_send = iocp_try_send,
    .try_send_one = iocp_try_send_one,
    .unsent = iocp_unsent,
    .shutdown_send = iocp_shutdown_send,
    .close = iocp_close,
};

const pco__backend_class *const pco__backends[] = {&iocp_class, NULL};
