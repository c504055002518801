/* SPDX-License-Identifier: MIT */
/* send.c (Windows): sending, as an operation or without one. */
#include "win32/iocp.h"

#include <assert.h>

#include "system/platform.h"

/*
 * The system copies what try_send gives it, all of it if it takes any, into memory that it never
 * pages: so this is what each peer that does not read can cost. The memory of a SEND is only kept
 * from being paged; but of a peer that takes data slowly nothing is heard except the ends of SENDs:
 * see unsent in backend.h.
 */
#define TRY_SEND_LIMIT ((size_t)128 << 10)
#define SEND_LIMIT ((size_t)256 << 10)

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

int pco__iocp_start_send(pco__op *op, int *system_code)
{
    if (pco__io_is_pipe(op->io)) {
        return pco__pipe_start_send(op, system_code);
    }
    send_list list;
    list.count = 0;
    list.room = SEND_LIMIT;
    for (const pco__segment *segment = op->with.chain; segment != NULL; segment = segment->next) {
        if (!add_part(&list, segment->data, segment->length)) {
            break;
        }
    }
    return pco__iocp_started(WSASend(pco__io_socket(op->io), list.parts, list.count, NULL, 0,
                                     pco__op_overlapped(op), NULL) == 0,
                             system_code);
}

void pco__iocp_on_send(pco__iocp *self, pco__op *op, int error, int system_code)
{
    pco__result result = {
        .error = pco__stream_error(error), .system_code = system_code, .socket = PCO_NO_SOCKET};
    if (error == 0) {
        result.length = pco__op_overlapped(op)->InternalHigh;
    }
    pco__iocp_complete(self, op, &result);
}

pco__sent pco__iocp_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                             size_t count)
{
    (void)backend;
    assert(count > 0 && count <= PCO__SEND_BUFFERS);
    if (pco__io_is_closed(io)) {
        return (pco__sent){.error = PCO_ECONNRESET};
    }
    /* A pipe takes all of a write or keeps it waiting, so only an operation can say how much. */
    if (pco__io_is_pipe(io)) {
        return (pco__sent){.error = PCO_EAGAIN};
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
    if (WSASend(pco__io_socket(io), list.parts, list.count, &length, 0, NULL, NULL) != 0) {
        pco__sent sent = {.system_code = WSAGetLastError()};
        sent.error = pco__stream_error(pco__error_from_system(sent.system_code));
        /* Without memory to copy to, a SEND may still do: it sends from where the data is. */
        if (sent.error == PCO_ENOBUFS) {
            sent.error = PCO_EAGAIN;
        }
        return sent;
    }
    return (pco__sent){.length = length};
}

pco__sent pco__iocp_try_send_one(pco__backend *backend, pco__io *io, const void *data,
                                 size_t length)
{
    return pco__iocp_try_send(backend, io, &(pco_buffer){.data = data, .length = length}, 1);
}

int64_t pco__iocp_unsent(pco__backend *backend, const pco__io *io)
{
    (void)backend;
    (void)io;
    return PCO__UNSENT_UNKNOWN;
}
