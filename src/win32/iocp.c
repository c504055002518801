/* SPDX-License-Identifier: MIT */
/*
 * iocp.c: the backend of Windows: one I/O completion port per loop. Here are the port, its packets
 * and its sockets; each kind of operation has a file of its own.
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
#include "win32/iocp.h"

#include <assert.h>
#include <string.h>

#include "system/complete.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/network.h"
#include "system/pipes.h"
#include "system/platform.h"

/* How long a canceled operation may take to end, in nanoseconds; and twice that at the most. */
#define CANCEL_PATIENCE ((uint64_t)2000000000)

/* Where the port fails, the wait for it is one of so many milliseconds. */
#define FAILED_WAIT 10

/* How often wake() tries to post its packet, a millisecond apart. */
#define WAKE_ATTEMPTS 10

/*
 * How many threads that have taken packets off the port may be at work before the next one has to
 * wait for them, though there are packets: never as many. Who takes them takes turns anyway, and a
 * host that is painting must not hold the thread up that awaits its next turn.
 */
#define THREADS_AT_WORK 64

/* Bits of iocp.wanted. */
#define WANT_WAKE 1
#define WANT_STOP 2
#define WANT_LOOK 4 /* no packet could be posted */

_Static_assert(sizeof(OVERLAPPED) == PCO__OVERLAPPED_WORDS * sizeof(uintptr_t),
               "an OVERLAPPED is three pointers and an offset");
_Static_assert(sizeof(SOCKET) == sizeof(pco_socket) && (pco_socket)INVALID_SOCKET == PCO_NO_SOCKET,
               "a pco_socket is a SOCKET");

static pco__op *op_of(OVERLAPPED *overlapped)
{
    return PCO__CONTAINER(overlapped, pco__op, private_.iocp.overlapped);
}

static pco__op *op_of_link(pco__link *link)
{
    return PCO__CONTAINER(link, pco__op, private_.iocp.link);
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

/* ---- Whose a socket is ---- */

/* Numbers are multiples of 4, the lowest first; what is beyond this is not noted. */
#define OWN_WORDS ((size_t)1 << 20)

static size_t own_word(pco_socket sock)
{
    return (size_t)sock / 4 / 32;
}

static uint32_t own_bit(pco_socket sock)
{
    return (uint32_t)1 << ((size_t)sock / 4 % 32);
}

/* Notes that it is the loop's. False: there is no memory. */
static bool own(pco__iocp *self, pco_socket sock)
{
    size_t words = self->own_words != 0 ? self->own_words : 64;
    while (words <= own_word(sock) && words < OWN_WORDS) {
        words *= 2;
    }
    uint32_t *larger = self->own;
    if (words != self->own_words) {
        larger = pco__realloc(self->own, words * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        memset(larger + self->own_words, 0, (words - self->own_words) * sizeof *larger);
        self->own = larger;
        self->own_words = words;
    }
    if (own_word(sock) < words) {
        larger[own_word(sock)] |= own_bit(sock);
    }
    return true;
}

static void disown(pco__iocp *self, pco_socket sock)
{
    if (own_word(sock) < self->own_words) {
        self->own[own_word(sock)] &= ~own_bit(sock);
    }
}

bool pco__iocp_owns(const pco__iocp *self, pco_socket sock)
{
    return own_word(sock) < self->own_words && (self->own[own_word(sock)] & own_bit(sock)) != 0;
}

static void close_own(pco__iocp *self, pco__io *io, bool reset)
{
    disown(self, io->socket);
    if (pco__io_is_pipe(io)) {
        pco__system_pipes.close(io->socket);
    } else {
        pco__winsock_close(pco__io_socket(io), reset);
    }
    io->socket = PCO_NO_SOCKET;
}

/* ---- Completing ---- */

static void iocp_submit(pco__backend *backend, pco__op *op);

/* The socket is closed, and nothing of it is in flight any more. */
static void forget(pco__iocp *self, pco__io *io)
{
    pco__free(io->private_.iocp.accepts);
    io->private_.iocp.accepts = NULL;
    self->base.attached--;
}

void pco__iocp_complete(pco__iocp *self, pco__op *op, const pco__result *result)
{
    assert(op->io->private_.iocp.in_flight > 0);
    op->io->private_.iocp.in_flight--;
    op->private_.iocp.state = PCO__STATE_IDLE;
    if (op->kind == PCO__OP_ACCEPT && pco__io_is_closed(op->io) &&
        op->io->private_.iocp.in_flight == 0) {
        forget(self, op->io);
    }
    pco__complete(&self->base, op, result, iocp_submit);
}

void pco__iocp_finish(pco__iocp *self, pco__op *op, int error, int system_code)
{
    pco__result result = {.error = error, .system_code = system_code, .socket = PCO_NO_SOCKET};
    pco__iocp_complete(self, op, &result);
}

/* Leaves it to the next poll() to tell how an operation ended. */
static void know(pco__iocp *self, pco__op *op, int error, int system_code)
{
    op->private_.iocp.state = PCO__STATE_KNOWN;
    op->private_.iocp.error = error;
    op->private_.iocp.system_code = system_code;
    pco__list_append(&self->known, &op->private_.iocp.link);
    pco__backend_news(&self->base);
}

/* ---- Starting ---- */

int pco__iocp_started(bool success, int *system_code)
{
    *system_code = success ? 0 : WSAGetLastError();
    if (success || *system_code == WSA_IO_PENDING) {
        return 0;
    }
    return *system_code == WSAEWOULDBLOCK ? PCO_ENOBUFS : pco__error_from_system(*system_code);
}

static int start(pco__iocp *self, pco__op *op, int *system_code)
{
    *system_code = 0;
    memset(op->private_.iocp.overlapped, 0, sizeof op->private_.iocp.overlapped);
    op->private_.iocp.state = PCO__STATE_STARTED;
    if (pco__io_is_closed(op->io)) {
        return PCO_ECONNRESET;
    }
    switch ((pco__op_kind)op->kind) {
    case PCO__OP_ACCEPT:
        return pco__iocp_start_accept(self, op, system_code);
    case PCO__OP_CONNECT:
        return pco__iocp_start_connect(self, op, system_code);
    case PCO__OP_SEND:
        return pco__iocp_start_send(op, system_code);
    case PCO__OP_RECV:
    case PCO__OP_WATCH:
        return pco__iocp_start_receive(self, op, system_code);
    case PCO__OP_READABLE:
    case PCO__OP_WRITABLE:
        return pco__iocp_start_poll(self, op, system_code);
    }
    assert(false && "a kind of operation");
    return PCO_ENOTSUP;
}

void pco__iocp_start_again(pco__iocp *self, pco__op *op)
{
    int system_code;
    int err = start(self, op, &system_code);
    if (err != 0) {
        know(self, op, err, system_code);
    }
}

/* ---- Packets ---- */

/* How the operation of a packet ended. WSAGetLastError has nothing to do with that. */
static int packet_error(pco__op *op, int *system_code)
{
    int status = (int)pco__op_overlapped(op)->Internal; /* an NTSTATUS: negative is an error */
    *system_code = 0;
    if (status >= 0) {
        return 0;
    }
    if (pco__io_is_closed(op->io)) {
        return op->kind == PCO__OP_ACCEPT || op->canceled ? PCO_ECANCELED : PCO_ECONNRESET;
    }
    /* Users know Winsock's codes, not NTSTATUS; the table knows both. */
    DWORD length = 0;
    DWORD flags = 0;
    int error = pco__error_from_system(status);
    if (pco__io_is_pipe(op->io)) {
        GetOverlappedResult((HANDLE)op->io->socket, pco__op_overlapped(op), &length, FALSE);
        *system_code = (int)GetLastError();
        return error == PCO_EPIPE ? PCO_ECONNRESET : error; /* STATUS_PIPE_DISCONNECTED */
    }
    if (!WSAGetOverlappedResult(pco__io_socket(op->io), pco__op_overlapped(op), &length, FALSE,
                                &flags)) {
        *system_code = WSAGetLastError();
    }
    return error != PCO_EUNKNOWN ? error : pco__error_from_system(*system_code);
}

static void on_packet(pco__iocp *self, pco__op *op)
{
    /*
     * Wine 8 was seen to deliver a packet whose OVERLAPPED still reads PENDING, ahead of the one
     * that counts. On Windows the status is written before the packet is queued.
     */
    if (pco__op_overlapped(op)->Internal == (ULONG_PTR)STATUS_PENDING) {
        return;
    }
    assert(op->in_flight && op->private_.iocp.state == PCO__STATE_STARTED);
    pco__list_remove(&op->private_.iocp.link); /* if it was canceled */
    int system_code;
    int error = packet_error(op, &system_code);
    switch ((pco__op_kind)op->kind) {
    case PCO__OP_ACCEPT:
        pco__iocp_on_accept(self, op, error, system_code);
        return;
    case PCO__OP_CONNECT:
        pco__iocp_on_connect(self, op, error, system_code);
        return;
    case PCO__OP_RECV:
        pco__iocp_on_receive(self, op, error, system_code);
        return;
    case PCO__OP_WATCH:
        pco__iocp_on_watch(self, op, error, system_code);
        return;
    case PCO__OP_SEND:
        pco__iocp_on_send(self, op, error, system_code);
        return;
    case PCO__OP_READABLE:
    case PCO__OP_WRITABLE:
        pco__iocp_on_poll(self, op);
        return;
    }
    assert(false && "a kind of operation");
}

/* ---- What was canceled and does not end ---- */

static bool is_looking(const pco__iocp *self)
{
    return !pco__list_is_empty(&self->canceled) || !pco__list_is_empty(&self->overdue);
}

/* An operation that was canceled, and whose packet is still to come. */
static void expect_end(pco__iocp *self, pco__op *op)
{
    if (!is_looking(self)) {
        self->look_at = pco__monotonic() + CANCEL_PATIENCE;
        pco__backend_news(&self->base);
    }
    pco__list_append(&self->canceled, &op->private_.iocp.link);
}

static bool is_time_to_look(const pco__iocp *self)
{
    return is_looking(self) && pco__monotonic() >= self->look_at;
}

/*
 * Closes the sockets of what is overdue; those canceled since are the next. Called where the port
 * has been emptied since it was time: however long the program did not call poll(), what had ended
 * was heard.
 */
static void close_overdue(pco__iocp *self)
{
    while (!pco__list_is_empty(&self->overdue)) {
        pco__op *op = op_of_link(self->overdue.next);
        pco__list_remove(&op->private_.iocp.link);
        if (!pco__io_is_closed(op->io)) {
            close_own(self, op->io, true);
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
 * Takes packets off the port, after all those of before were told of. If the port fails, which it
 * must not, timers and callbacks go on, and the loop does not spin.
 */
static void take_packets(pco__iocp *self, ULONG most, DWORD milliseconds)
{
    ULONG count = 0;
    self->told = self->taken = 0;
    if (!GetQueuedCompletionStatusEx(self->port, self->packets, most, &count, milliseconds,
                                     FALSE)) {
        count = 0;
        if (GetLastError() != WAIT_TIMEOUT) {
            Sleep(milliseconds < FAILED_WAIT ? milliseconds : FAILED_WAIT);
        }
    }
    self->taken = count;
}

static void note_held(pco__iocp *self)
{
    LONG holds = self->told < self->taken;
    if (self->holds != holds) {
        InterlockedExchange(&self->holds, holds);
    }
}

/* Takes what wake() has asked for, and returns whether that was a stop. */
static bool take_wanted(pco__iocp *self)
{
    return (InterlockedExchange(&self->wanted, 0) & WANT_STOP) != 0;
}

static uint64_t iocp_due_in(const pco__backend *backend)
{
    const pco__iocp *self = (const pco__iocp *)backend;
    if (!pco__list_is_empty(&self->known) || self->holds != 0 || (self->wanted & WANT_LOOK) != 0) {
        return 0;
    }
    if (!is_looking(self)) {
        return PCO__FOREVER;
    }
    uint64_t now = pco__monotonic();
    return now < self->look_at ? self->look_at - now : 0;
}

static void tell_known(pco__iocp *self, pco__link *known)
{
    while (!pco__list_is_empty(known)) {
        pco__op *op = op_of_link(known->next);
        pco__list_remove(&op->private_.iocp.link);
        if (op->kind == PCO__OP_ACCEPT) {
            pco__iocp_on_known_accept(self, op);
        } else if (pco__op_is_poll(op)) {
            pco__iocp_finish_poll(self, op, op->private_.iocp.error, op->private_.iocp.system_code);
        } else {
            pco__iocp_finish(self, op, op->private_.iocp.error, op->private_.iocp.system_code);
        }
    }
}

/*
 * No operation of the batch can be freed by another's done(): they are all in flight. So await()
 * may leave a batch, and a poll() the rest of one, to the next poll(). It may return with fewer
 * packets than there are, or early and with none; both are allowed.
 */
static void iocp_poll(pco__backend *backend, uint64_t timeout, bool *stop)
{
    pco__iocp *self = pco__iocp_of(backend);
    ULONG most = (ULONG)self->base.most;
    uint64_t due = iocp_due_in(backend);
    bool looks = self->told == self->taken && is_time_to_look(self);
    pco__link known;
    move_all(&self->known, &known);
    if ((self->wanted & WANT_LOOK) != 0) {
        *stop |= take_wanted(self);
    }
    if (self->told == self->taken) {
        take_packets(self, most, milliseconds_of(due < timeout ? due : timeout));
    }
    ULONG end = self->taken - self->told < most ? self->taken : self->told + most;
    self->base.reported = (int)(end - self->told);
    while (self->told < end) {
        OVERLAPPED *overlapped = self->packets[self->told++].lpOverlapped;
        if (overlapped != NULL) {
            on_packet(self, op_of(overlapped));
        } else {
            *stop |= take_wanted(self);
        }
    }
    note_held(self);
    tell_known(self, &known);
    if (looks && end == self->taken && (ULONG)self->base.reported < most) {
        close_overdue(self);
    }
}

/*
 * The batch that it takes waits for poll(), so that nothing is put back, and nothing is put out of
 * order. That a port is a handle which can be waited for is nowhere promised.
 */
static bool iocp_await(pco__backend *backend, uint64_t until)
{
    pco__iocp *self = pco__iocp_of(backend);
    if (self->told < self->taken || (self->wanted & WANT_LOOK) != 0) {
        return true;
    }
    uint64_t left = until;
    if (until != PCO__FOREVER) {
        uint64_t now = pco__monotonic();
        left = until > now ? until - now : 0;
    }
    take_packets(self, PCO__IOCP_BATCH, milliseconds_of(left));
    note_held(self);
    return self->taken != 0 || (until != PCO__FOREVER && pco__monotonic() >= until);
}

static int iocp_descriptor(const pco__backend *backend)
{
    (void)backend;
    return -1;
}

/*
 * One packet for all who ask before it is dequeued. Posting one takes memory of the system's, and
 * where that has run out poll() looks at what is wanted by itself, the next time it is called. Who
 * waits inside of poll() or await() meanwhile waits on, for a packet or for his time: nothing but a
 * packet ends that, and what else could end it takes memory of the same kind.
 */
static void iocp_wake(pco__backend *backend, bool stop)
{
    pco__iocp *self = pco__iocp_of(backend);
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
static int prepare(pco__iocp *self, pco__io *io, int *system_code)
{
    static const GUID accept = WSAID_ACCEPTEX;
    static const GUID accept_addresses = WSAID_GETACCEPTEXSOCKADDRS;
    static const GUID connect = WSAID_CONNECTEX;
    SOCKET sock = pco__io_socket(io);
    WSAPROTOCOL_INFOW info;
    int length = sizeof info;
    *system_code = 0;
    if (getsockopt(sock, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &length) != 0) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    bool is_unix = info.iAddressFamily == AF_UNIX;
    if (!is_unix && info.iAddressFamily != AF_INET && info.iAddressFamily != AF_INET6) {
        return PCO_EAFNOSUPPORT;
    }
    io->private_.iocp.family = info.iAddressFamily;
    pco__extensions *found = pco__iocp_extensions(self, io->private_.iocp.family);
    if (found->is_loaded) {
        return 0;
    }
    found->is_loaded =
        load_extension(sock, accept, &found->accept, sizeof found->accept) &&
        load_extension(sock, accept_addresses, &found->accept_addresses,
                       sizeof found->accept_addresses) &&
        (is_unix || load_extension(sock, connect, &found->connect, sizeof found->connect));
    if (!found->is_loaded) {
        *system_code = WSAGetLastError();
        return PCO_ENOTSUP;
    }
    return 0;
}

/* Of a listener it is the instances that join, each for its ACCEPT. */
static int join_port_with_pipe(pco__iocp *self, pco__io *io, pco_error *error)
{
    int system_code;
    if (io->private_.iocp.accepts != NULL) {
        return 0;
    }
    int err = pco__pipe_join_port(self, io, &system_code);
    return err == 0 ? 0
                    : pco__error_describe(error, err, system_code,
                                          "attach a pipe to the completion port");
}

static int join_port(pco__iocp *self, pco__io *io, pco_error *error)
{
    HANDLE handle = (HANDLE)io->socket;
    if (pco__io_is_pipe(io)) {
        return join_port_with_pipe(self, io, error);
    }
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
    pco__iocp *self = pco__iocp_of(backend);
    if (role == PCO__IO_FOREIGN) {
        return pco__iocp_attach_foreign(self, io, error);
    }
    bool is_pipe = role == PCO__IO_PIPE_LISTENER || role == PCO__IO_PIPE;
    bool listens = role == PCO__IO_PIPE_LISTENER || role == PCO__IO_LISTENER;
    io->private_.iocp = (pco__iocp_io){.family = is_pipe ? PCO__FAMILY_PIPE : AF_UNSPEC};
    if (role == PCO__IO_LISTENER || role == PCO__IO_UNCONNECTED) {
        int system_code;
        int err = prepare(self, io, &system_code);
        if (err != 0) {
            return pco__error_describe(error, err, system_code, "prepare a socket");
        }
    }
    if (listens) {
        io->private_.iocp.accepts = pco__accept_pool_new();
        if (io->private_.iocp.accepts == NULL) {
            return pco__error_describe(error, PCO_ENOMEM, 0, "prepare to accept");
        }
    }
    int err = own(self, io->socket) ? join_port(self, io, error)
                                    : pco__error_describe(error, PCO_ENOMEM, 0, "watch a socket");
    if (err != 0) {
        disown(self, io->socket);
        pco__free(io->private_.iocp.accepts);
        io->private_.iocp.accepts = NULL;
        return err;
    }
    self->base.attached++;
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
    pco__iocp *self = pco__iocp_of(backend);
    assert(io->private_.iocp.in_flight == 0 && !pco__io_is_closed(io));
    if (io->private_.iocp.family == PCO__FAMILY_FOREIGN) {
        pco__iocp_detach_foreign(self, io);
        return;
    }
    leave_port((HANDLE)io->socket);
    disown(self, io->socket);
    forget(self, io);
}

static void iocp_submit(pco__backend *backend, pco__op *op)
{
    pco__iocp *self = pco__iocp_of(backend);
    assert(!op->in_flight);
    op->in_flight = true;
    op->canceled = false;
    op->private_.iocp.accept = NULL;
    op->private_.iocp.link = (pco__link){NULL, NULL};
    op->io->private_.iocp.in_flight++;
    if (op->kind == PCO__OP_ACCEPT) {
        pco__iocp_accept_anew(op);
    }
    int system_code;
    int err = start(self, op, &system_code);
    if (err != 0) {
        know(self, op, err, system_code);
    }
}

/* What the system was given the operation for. */
static HANDLE handle_of(const pco__iocp *self, const pco__op *op)
{
    if (pco__op_awaits_connect(op)) {
        return self->asker_base;
    }
    return op->kind == PCO__OP_ACCEPT ? pco__iocp_accept_handle(op) : (HANDLE)op->io->socket;
}

void pco__iocp_cancel(pco__backend *backend, pco__op *op)
{
    assert(op->in_flight);
    if (op->canceled) {
        return;
    }
    op->canceled = true;
    if (op->private_.iocp.state == PCO__STATE_STARTED && pco__op_is_poll(op)) {
        pco__iocp_cancel_poll(pco__iocp_of(backend), op);
    } else if (op->private_.iocp.state == PCO__STATE_STARTED && !pco__io_is_closed(op->io)) {
        /* ERROR_NOT_FOUND: it has ended already. Its packet comes in either case. */
        CancelIoEx(handle_of(pco__iocp_of(backend), op), pco__op_overlapped(op));
        if (op->kind != PCO__OP_ACCEPT) { /* a listener is nothing that may be closed so */
            expect_end(pco__iocp_of(backend), op);
        }
    } else if (op->private_.iocp.state == PCO__STATE_HELD) {
        know(pco__iocp_of(backend), op, PCO_ECANCELED, 0);
    }
}

static int iocp_shutdown_send(pco__backend *backend, pco__io *io)
{
    (void)backend;
    if (pco__io_is_pipe(io)) {
        return PCO_ENOTSUP;
    }
    return shutdown(pco__io_socket(io), SD_SEND) == 0 ? 0
                                                      : pco__error_from_system(WSAGetLastError());
}

static void iocp_close(pco__backend *backend, pco__io *io, bool reset)
{
    pco__iocp *self = pco__iocp_of(backend);
    assert(io->private_.iocp.in_flight == 0 || io->private_.iocp.accepts != NULL);
    if (io->private_.iocp.accepts != NULL) {
        pco__iocp_cancel_accepts(backend, io->private_.iocp.accepts);
    }
    if (!pco__io_is_closed(io)) {
        close_own(self, io, reset);
    }
    if (io->private_.iocp.in_flight == 0) {
        forget(self, io);
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
    pco__iocp *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", self->name);
    }
    int err;
    made->base.class_ = self;
    made->base.most = PCO__IOCP_BATCH;
    pco__list_init(&made->known);
    pco__list_init(&made->canceled);
    pco__list_init(&made->overdue);
    made->syn_retransmissions = pco__winsock_syn_retransmissions(pco__windows_build());
    made->asker = INVALID_SOCKET;
    made->buffer_size = options->receive_buffer_size;
    made->buffer = pco__malloc_pages(made->buffer_size);
    if (made->buffer == NULL || pco__winsock_has_file_handles(&made->has_file_handles) != 0) {
        err = pco__error_describe(error, PCO_ENOMEM, 0, "make a completion port");
        goto fail;
    }
    made->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, THREADS_AT_WORK);
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
    pco__iocp *self = pco__iocp_of(backend);
    assert(self->base.attached == 0 && pco__list_is_empty(&self->known));
    if (self->asker != INVALID_SOCKET) {
        closesocket(self->asker);
    }
    if (self->unheard != NULL) {
        CloseHandle(self->unheard);
    }
    CloseHandle(self->port);
    pco__free(self->own);
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
    .accepts = PCO__IOCP_ACCEPTS,
    .batch = PCO__IOCP_BATCH / 2, /* of two operations each */
    .init = iocp_init,
    .fini = iocp_fini,
    .now = iocp_now,
    .poll = iocp_poll,
    .wake = iocp_wake,
    .descriptor = iocp_descriptor,
    .due_in = iocp_due_in,
    .await = iocp_await,
    .attach = iocp_attach,
    .detach = iocp_detach,
    .submit = iocp_submit,
    .cancel = pco__iocp_cancel,
    .try_send = pco__iocp_try_send,
    .try_send_one = pco__iocp_try_send_one,
    .unsent = pco__iocp_unsent,
    .shutdown_send = iocp_shutdown_send,
    .close = iocp_close,
};

const pco__backend_class *const pco__backends[] = {&iocp_class, NULL};
