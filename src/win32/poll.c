/* SPDX-License-Identifier: MIT */
/*
 * poll.c: READABLE and WRITABLE, the sockets that are somebody else's.
 *
 * A completion port tells what has been done, not what could be done, and a socket of another
 * library cannot join ours: it may be in a port of its own, for life. There are two ways to hear of
 * it all the same. WSAEventSelect needs an event and a wait of some thread's for each 64 sockets,
 * is told of edges, makes the socket non-blocking, and takes the place of what the other library
 * may have selected for itself: a socket has one such selection. The poll of the system's own
 * socket driver (AFD), on which select() stands, does none of that: it is an operation with an
 * OVERLAPPED that ends on the port, changes nothing of the socket, is told of levels, and several
 * may be in flight of one socket. It is in no manual, but libuv, mio and wepoll live on it, and
 * with them Node.js and most programs in Rust. So it is used here.
 *
 * The poll names the socket, and is asked of another handle of the driver's: that of a socket which
 * is used for nothing else and is in our port (libuv does so; it needs no call of the native
 * interface, and Wine 8, whose select() works so, knows it). A socket of a layered provider is no
 * handle of the driver's: SIO_BASE_HANDLE tells the one below it, and where a layer keeps that to
 * itself, SIO_BSP_HANDLE_POLL.
 *
 * The CONNECT of a UNIX socket that does not end at once is waited for in the same way.
 */
#include "win32/iocp.h"

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

/* As the driver has it: operation 9 of the network's, METHOD_BUFFERED. */
#define AFD_POLL_CODE ((DWORD)0x00012024)

enum {
    AFD_RECEIVE = 0x001,
    AFD_SEND = 0x004,
    AFD_DISCONNECT = 0x008, /* the peer sends no more */
    AFD_ABORT = 0x010,
    AFD_LOCAL_CLOSE = 0x020,
    AFD_ACCEPT = 0x080,
    AFD_CONNECT_FAIL = 0x100,

    READS =
        AFD_RECEIVE | AFD_DISCONNECT | AFD_ACCEPT | AFD_ABORT | AFD_CONNECT_FAIL | AFD_LOCAL_CLOSE,
    WRITES = AFD_SEND | AFD_ABORT | AFD_CONNECT_FAIL | AFD_LOCAL_CLOSE
};

#ifndef SIO_BASE_HANDLE
#define SIO_BASE_HANDLE 0x48000022
#endif
#ifndef SIO_BSP_HANDLE_POLL
#define SIO_BSP_HANDLE_POLL 0x4800001D
#endif

typedef struct poll_request {
    LARGE_INTEGER timeout;
    ULONG count;
    ULONG exclusive;
    struct {
        HANDLE handle;
        ULONG events;
        NTSTATUS status;
    } sockets[1];
} poll_request;

/* One direction. */
typedef struct poll {
    pco__op *op; /* in flight; NULL: none */
    bool anew;   /* it was started for what had the number before */
    poll_request answer;
} poll;

struct pco__polls {
    HANDLE base; /* what the driver knows it as */
    poll directions[2];
};

bool pco__op_is_poll(const pco__op *op)
{
    return op->kind == PCO__OP_READABLE || op->kind == PCO__OP_WRITABLE;
}

static poll *poll_of(const pco__op *op)
{
    return &op->io->private_.iocp.polls->directions[op->kind == PCO__OP_WRITABLE];
}

/* ---- Attaching ---- */

static HANDLE base_of(SOCKET sock)
{
    SOCKET base = INVALID_SOCKET;
    DWORD length = 0;
    if (WSAIoctl(sock, SIO_BASE_HANDLE, NULL, 0, &base, sizeof base, &length, NULL, NULL) == 0 ||
        WSAIoctl(sock, SIO_BSP_HANDLE_POLL, NULL, 0, &base, sizeof base, &length, NULL, NULL) ==
            0) {
        return (HANDLE)base;
    }
    return (HANDLE)sock;
}

/* Opens what polls are asked of. 0 or the system's code. */
static int open_asker(pco__iocp *self)
{
    SOCKET sock = pco__winsock_open(AF_INET, 0);
    if (sock == INVALID_SOCKET) {
        return WSAGetLastError();
    }
    HANDLE base = base_of(sock);
    if (CreateIoCompletionPort(base, self->port, 0, 0) == NULL) {
        int system_code = (int)GetLastError();
        closesocket(sock);
        return system_code;
    }
    self->asker = sock;
    self->asker_base = base;
    return 0;
}

static bool is_socket(SOCKET sock)
{
    int type;
    int length = sizeof type;
    return getsockopt(sock, SOL_SOCKET, SO_TYPE, (char *)&type, &length) == 0;
}

static int check(pco__iocp *self, const pco__io *io, pco_error *error)
{
    if (!is_socket(pco__io_socket(io))) {
        return pco__error_set(error, PCO_ENOTSOCK, WSAGetLastError(), "%lld is no socket",
                              (long long)io->socket);
    }
    if (pco__iocp_owns(self, io->socket)) {
        return pco__error_set(error, PCO_EBUSY, 0,
                              "socket %lld belongs to a transport or a server of this loop",
                              (long long)io->socket);
    }
    int system_code = self->asker == INVALID_SOCKET ? open_asker(self) : 0;
    if (system_code != 0) {
        return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                   "watch socket %lld", (long long)io->socket);
    }
    return 0;
}

/* Whether the driver has said that the socket was closed, be it in a packet not yet taken. */
static bool saw_close(const poll *one)
{
    if (one->op == NULL || one->op->private_.iocp.state != PCO__STATE_STARTED) {
        return one->op != NULL && one->op->private_.iocp.state == PCO__STATE_HELD;
    }
    NTSTATUS status = (NTSTATUS)pco__op_overlapped(one->op)->Internal;
    return status != STATUS_PENDING && status >= 0 && one->answer.count != 0 &&
           (one->answer.sockets[0].events & AFD_LOCAL_CLOSE) != 0;
}

/* What waits for what had the number before is started anew, as soon as it comes back. */
static void start_anew(pco__iocp *self, poll *one)
{
    pco__op *op = one->op;
    if (op == NULL || op->canceled) {
        return;
    }
    if (op->private_.iocp.state == PCO__STATE_HELD) {
        pco__iocp_start_again(self, op);
    } else if (op->private_.iocp.state == PCO__STATE_STARTED) {
        one->anew = true;
        CancelIoEx(self->asker_base, pco__op_overlapped(op));
    }
}

int pco__iocp_attach_foreign(pco__iocp *self, pco__io *io, pco_error *error)
{
    int code = check(self, io, error);
    if (code != 0) {
        return code;
    }
    pco__polls *there = io->private_.iocp.polls;
    if (there != NULL) {
        bool another = saw_close(&there->directions[0]) || saw_close(&there->directions[1]);
        there->base = base_of(pco__io_socket(io));
        start_anew(self, &there->directions[0]);
        start_anew(self, &there->directions[1]);
        return another ? PCO__ANOTHER : 0;
    }
    pco__polls *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch socket %lld",
                                   (long long)io->socket);
    }
    made->base = base_of(pco__io_socket(io));
    io->private_.iocp = (pco__iocp_io){.family = PCO__FAMILY_FOREIGN, .polls = made};
    self->base.attached++;
    return 0;
}

void pco__iocp_detach_foreign(pco__iocp *self, pco__io *io)
{
    pco__free(io->private_.iocp.polls);
    io->private_.iocp = (pco__iocp_io){.family = AF_UNSPEC};
    self->base.attached--;
}

/* ---- The operation ---- */

/* The socket was closed: silent, until it is attached again. */
static void hold(pco__op *op)
{
    op->private_.iocp.state = PCO__STATE_HELD;
}

/* Asks the driver. 0: a packet will come; or the system's code. */
static int ask(const pco__iocp *self, pco__op *op)
{
    poll *one = poll_of(op);
    poll_request question = {.count = 1};
    question.timeout.QuadPart = INT64_MAX;
    question.sockets[0].handle = op->io->private_.iocp.polls->base;
    question.sockets[0].events = op->kind == PCO__OP_READABLE ? READS : WRITES;
    one->op = op;
    one->anew = false;
    one->answer = question;
    bool success =
        DeviceIoControl(self->asker_base, AFD_POLL_CODE, &question, sizeof question, &one->answer,
                        sizeof one->answer, NULL, pco__op_overlapped(op)) != 0;
    return success || GetLastError() == ERROR_IO_PENDING ? 0 : (int)GetLastError();
}

int pco__iocp_start_poll(pco__iocp *self, pco__op *op, int *system_code)
{
    *system_code = ask(self, op);
    if (*system_code == ERROR_INVALID_HANDLE) {
        *system_code = 0;
        hold(op);
    }
    return *system_code == 0 ? 0 : pco__error_from_system(*system_code);
}

void pco__iocp_finish_poll(pco__iocp *self, pco__op *op, int error, int system_code)
{
    poll_of(op)->op = NULL;
    pco__iocp_finish(self, op, error, system_code);
}

void pco__iocp_on_poll(pco__iocp *self, pco__op *op)
{
    poll *one = poll_of(op);
    NTSTATUS status = (NTSTATUS)pco__op_overlapped(op)->Internal;
    if (op->canceled) {
        pco__iocp_finish_poll(self, op, PCO_ECANCELED, 0);
    } else if (one->anew || status == STATUS_CANCELLED || one->answer.count == 0) {
        pco__iocp_start_again(self, op);
    } else if (status < 0) {
        pco__iocp_finish_poll(self, op, pco__error_from_system(status), (int)status);
    } else if ((one->answer.sockets[0].events & AFD_LOCAL_CLOSE) != 0) {
        hold(op);
    } else {
        pco__iocp_finish_poll(self, op, 0, 0);
    }
}

void pco__iocp_cancel_poll(pco__iocp *self, pco__op *op)
{
    CancelIoEx(self->asker_base, pco__op_overlapped(op));
}

/* ---- A connect that takes its time ---- */

int pco__iocp_await_connect(pco__iocp *self, pco__op *op, int *system_code)
{
    *system_code = self->asker == INVALID_SOCKET ? open_asker(self) : 0;
    if (*system_code != 0) {
        return pco__error_from_system(*system_code);
    }
    pco__polls *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return PCO_ENOMEM;
    }
    made->base = base_of(pco__io_socket(op->io));
    op->io->private_.iocp.polls = made;
    *system_code = ask(self, op);
    if (*system_code != 0) {
        op->io->private_.iocp.polls = NULL;
        pco__free(made);
    }
    return *system_code == 0 ? 0 : pco__error_from_system(*system_code);
}

bool pco__op_awaits_connect(const pco__op *op)
{
    return op->kind == PCO__OP_CONNECT && op->io->private_.iocp.polls != NULL;
}

int pco__iocp_end_of_connect(pco__op *op, int error, int *system_code)
{
    pco__polls *polls = op->io->private_.iocp.polls;
    bool connected = (polls->directions[0].answer.sockets[0].events & AFD_SEND) != 0;
    op->io->private_.iocp.polls = NULL;
    pco__free(polls);
    if (error != 0) {
        return error;
    }
    int length = sizeof *system_code;
    *system_code = 0;
    getsockopt(pco__io_socket(op->io), SOL_SOCKET, SO_ERROR, (char *)system_code, &length);
    if (*system_code == 0 && !connected) {
        *system_code = WSAECONNREFUSED;
    }
    return *system_code == 0 ? 0 : pco__error_from_system(*system_code);
}
