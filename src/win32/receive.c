/* SPDX-License-Identifier: MIT */
/*
 * receive.c (Windows): reading, and waiting for a connection to fail. Both are a receive of no
 * bytes, which ends when there is something to read, and ties up no memory until then.
 */
#include "win32/iocp.h"

#include <limits.h>

#include "system/platform.h"

int pco__iocp_start_receive(pco__op *op, int *system_code)
{
    /* Zero bytes: it completes when there is something to read, and no memory is tied up. */
    static char nothing;
    WSABUF empty = {.len = 0, .buf = &nothing};
    DWORD flags = 0;
    return pco__iocp_started(
        WSARecv(pco__io_socket(op->io), &empty, 1, NULL, &flags, pco__op_overlapped(op), NULL) == 0,
        system_code);
}

static void receive(pco__iocp *self, pco__op *op, void *buffer, size_t size)
{
    int length = recv(pco__io_socket(op->io), buffer, size > INT_MAX ? INT_MAX : (int)size, 0);
    if (length != SOCKET_ERROR) {
        pco__result result = {.length = (size_t)length, .data = buffer, .socket = PCO_NO_SOCKET};
        pco__iocp_complete(self, op, &result);
        return;
    }
    int system_code = WSAGetLastError();
    if (system_code == WSAEWOULDBLOCK) {
        pco__iocp_start_again(self, op); /* the packet told of something that was there once */
        return;
    }
    pco__iocp_finish(self, op, pco__stream_error(pco__error_from_system(system_code)), system_code);
}

/* The zero-byte receive has taken nothing, so a canceled operation leaves all data where it is. */
void pco__iocp_on_receive(pco__iocp *self, pco__op *op, int error, int system_code)
{
    void *buffer = self->buffer;
    size_t size = pco__most_of(op, self->buffer_size);
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
    if (op->canceled || error != 0) {
        pco__iocp_finish(self, op, op->canceled ? PCO_ECANCELED : pco__stream_error(error),
                         system_code);
        return;
    }
    op->private_.iocp.state = PCO__STATE_HELD;
}
