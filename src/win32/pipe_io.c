/* SPDX-License-Identifier: MIT */
/*
 * pipe_io.c (Windows): the operations of named pipes, on the completion port as those of sockets
 * are: an instance for each ACCEPT, reads of no bytes that wait for data, and writes.
 *
 * Calls of pipes tell more at once than those of sockets: a client that was there before its
 * instance was waited for, an end that was closed. For these no packet comes, and so they post
 * their own: what follows need not know the difference.
 */
#include "win32/iocp.h"

#include "system/platform.h"
#include "win32/pipe.h"

/* The end of an operation, told as the system would have, by a packet. */
static int post_end(const pco__iocp *self, pco__op *op, NTSTATUS status, int *system_code)
{
    pco__op_overlapped(op)->Internal = (ULONG_PTR)status;
    return pco__iocp_started(
        PostQueuedCompletionStatus(self->port, 0, 0, pco__op_overlapped(op)) != 0, system_code);
}

/* ---- Attaching ---- */

/* An instance has joined the port for its ACCEPT, and ERROR_INVALID_PARAMETER says just that. */
int pco__pipe_join_port(pco__iocp *self, pco__io *io, int *system_code)
{
    *system_code = 0;
    if (self->unheard == NULL) {
        self->unheard = CreateEventW(NULL, TRUE, FALSE, NULL);
    }
    if (self->unheard == NULL ||
        (CreateIoCompletionPort((HANDLE)io->socket, self->port, 0, 0) == NULL &&
         GetLastError() != ERROR_INVALID_PARAMETER)) {
        *system_code = (int)GetLastError();
        return pco__error_from_system(*system_code);
    }
    return 0;
}

/* ---- Accepting ---- */

/* What has come is served, and so is what has gone as well (ERROR_NO_DATA): it may have written. */
static int wait_for_client(pco__iocp *self, pco__op *op, HANDLE instance, int *system_code)
{
    if (CreateIoCompletionPort(instance, self->port, 0, 0) == NULL) {
        *system_code = (int)GetLastError();
        return pco__error_from_system(*system_code);
    }
    bool success = ConnectNamedPipe(instance, pco__op_overlapped(op)) != 0;
    DWORD code = success ? 0 : GetLastError();
    if (code == ERROR_PIPE_CONNECTED || code == ERROR_NO_DATA) {
        return post_end(self, op, STATUS_SUCCESS, system_code);
    }
    return pco__iocp_started(success, system_code);
}

int pco__pipe_post_accept(pco__iocp *self, pco__op *op, SOCKET *instance, int *system_code)
{
    HANDLE made = pco__pipe_instance(op->with.pipe, false);
    if (made == INVALID_HANDLE_VALUE) {
        *system_code = (int)GetLastError();
        return pco__error_from_system(*system_code);
    }
    int err = wait_for_client(self, op, made, system_code);
    if (err != 0) {
        CloseHandle(made);
        return err;
    }
    *instance = (SOCKET)made;
    return 0;
}

/* ---- Receiving ---- */

int pco__pipe_start_receive(pco__iocp *self, pco__op *op, int *system_code)
{
    static char nothing;
    bool success = ReadFile((HANDLE)op->io->socket, &nothing, 0, NULL, pco__op_overlapped(op)) != 0;
    if (!success && GetLastError() == ERROR_BROKEN_PIPE) {
        return post_end(self, op, STATUS_PIPE_BROKEN, system_code);
    }
    return pco__iocp_started(success, system_code);
}

/*
 * Whether what ended a read of no bytes is nothing but a reason to look: data, a message of which
 * none was read, or the end, which a WATCH does not tell.
 */
bool pco__pipe_may_look(pco__op *op)
{
    NTSTATUS status = (NTSTATUS)pco__op_overlapped(op)->Internal;
    return status >= 0 || status == STATUS_PIPE_BROKEN || status == STATUS_BUFFER_OVERFLOW;
}

/*
 * Reads what was seen to be there. An event whose lowest bit is set keeps the port from being told
 * (GetQueuedCompletionStatus); that the read has to wait can only be where others read, too, and
 * then it is called off. 0 or the system's code.
 */
static DWORD read_now(const pco__iocp *self, HANDLE pipe, void *buffer, DWORD size, size_t *length)
{
    OVERLAPPED overlapped = {.hEvent = (HANDLE)((ULONG_PTR)self->unheard | 1)};
    DWORD code = ReadFile(pipe, buffer, size, NULL, &overlapped) ? 0 : GetLastError();
    if (code == ERROR_IO_PENDING) {
        DWORD got;
        CancelIoEx(pipe, &overlapped);
        code = GetOverlappedResult(pipe, &overlapped, &got, TRUE) ? 0 : GetLastError();
    }
    if (code == ERROR_MORE_DATA) { /* of a message */
        code = 0;
    }
    *length = code == 0 ? overlapped.InternalHigh : 0;
    return code;
}

int pco__pipe_receive(const pco__iocp *self, const pco__io *io, void *buffer, size_t size,
                      size_t *length, int *system_code)
{
    HANDLE pipe = (HANDLE)io->socket;
    DWORD available = 0;
    *length = 0;
    *system_code = 0;
    DWORD code = PeekNamedPipe(pipe, NULL, 0, NULL, &available, NULL) ? 0 : GetLastError();
    if (available != 0) {
        code = read_now(self, pipe, buffer, available < size ? available : (DWORD)size, length);
    }
    if (code == ERROR_BROKEN_PIPE) {
        return 0; /* the end */
    }
    if (code == ERROR_OPERATION_ABORTED || (code == 0 && *length == 0)) {
        return PCO_EAGAIN;
    }
    *system_code = (int)code;
    return code == 0 ? 0 : pco__stream_error(pco__error_from_system(*system_code));
}

/* ---- Sending ---- */

/*
 * One segment, or what the buffer takes of it. Before there is room for all of it the system tells
 * of nothing, so a larger piece would be no measure of what a slow peer has taken.
 */
int pco__pipe_start_send(pco__op *op, int *system_code)
{
    const pco__segment *segment = op->with.chain;
    DWORD length = segment->length < PCO__PIPE_BUFFER ? (DWORD)segment->length : PCO__PIPE_BUFFER;
    return pco__iocp_started(
        WriteFile((HANDLE)op->io->socket, segment->data, length, NULL, pco__op_overlapped(op)) != 0,
        system_code);
}
