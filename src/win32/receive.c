/* SPDX-License-Identifier: MIT */
/*
 * receive.c (Windows): reading, and waiting for a connection to fail. Both are a receive of no
 * bytes, which ends when there is something to read, and ties up no memory until then.
 */
#include "win32/iocp.h"

#include <limits.h>

#include "system/platform.h"

int pco__iocp_start_receive(pco__iocp *self, pco__op *op, int *system_code)
{
    if (pco__io_is_pipe(op->io)) {
        return pco__pipe_start_receive(self, op, system_code);
    }
    /* Zero bytes: it completes when there is something to read, and no memory is tied up. */
    static char nothing;
    WSABUF empty = {.len = 0, .buf = &nothing};
    DWORD flags = 0;
    return pco__iocp_started(
        WSARecv(pco__io_socket(op->io), &empty, 1, NULL, &flags, pco__op_overlapped(op), NULL) == 0,
        system_code);
}

/* As pco__pipe_receive. */
static int receive_from_socket(SOCKET sock, void *buffer, size_t size, size_t *length,
                               int *system_code)
{
    int got = recv(sock, buffer, size > INT_MAX ? INT_MAX : (int)size, 0);
    if (got != SOCKET_ERROR) {
        *length = (size_t)got;
        return 0;
    }
    *system_code = WSAGetLastError();
    return pco__stream_error(pco__error_from_system(*system_code));
}

static void receive(pco__iocp *self, pco__op *op, void *buffer, size_t size)
{
    size_t length = 0;
    int system_code = 0;
    int error =
        pco__io_is_pipe(op->io)
            ? pco__pipe_receive(self, op->io, buffer, size, &length, &system_code)
            : receive_from_socket(pco__io_socket(op->io), buffer, size, &length, &system_code);
    if (error == PCO_EAGAIN) {
        pco__iocp_start_again(self, op); /* the packet told of something that was there once */
    } else if (error != 0) {
        pco__iocp_finish(self, op, error, system_code);
    } else {
        pco__result result = {.length = length, .data = buffer, .socket = PCO_NO_SOCKET};
        pco__iocp_complete(self, op, &result);
    }
}

/* The zero-byte receive has taken nothing, so a canceled operation leaves all data where it is. */
void pco__iocp_on_receive(pco__iocp *self, pco__op *op, int error, int system_code)
{
    void *buffer = self->buffer;
    size_t size = pco__most_of(op, self->buffer_size);
    if (pco__io_is_pipe(op->io) && pco__pipe_may_look(op)) {
        error = 0;
    }
    if (op->canceled || error != 0) {
        pco__iocp_finish(self, op, op->canceled ? PCO_ECANCELED : pco__stream_error(error),
                         system_code);
        return;
    }
    if (op->with.get_buffer != NULL) {
        op->private_.iocp.state = PCO__STATE_DELIVERING;
        size = 0;
        op->with.get_buffer(op, &buffer, &size);
        if (op->canceled || size == 0) {
            pco__iocp_finish(self, op, op->canceled ? PCO_ECANCELED : PCO_ENOBUFS, 0);
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
void pco__iocp_on_watch(pco__iocp *self, pco__op *op, int error, int system_code)
{
    if (pco__io_is_pipe(op->io) && pco__pipe_may_look(op)) {
        error = 0;
    }
    if (op->canceled || error != 0) {
        pco__iocp_finish(self, op, op->canceled ? PCO_ECANCELED : pco__stream_error(error),
                         system_code);
        return;
    }
    op->private_.iocp.state = PCO__STATE_HELD;
}
