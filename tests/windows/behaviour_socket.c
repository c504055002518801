/* SPDX-License-Identifier: MIT */
/* behaviour_socket.c (Windows): what behaviour_peer.h needs of the system itself. */
#include "win32/win32.h"

#include "behaviour_peer.h"

void peer_shrink_buffers(pco_socket sock)
{
    int size = PEER_BUFFER_SIZE;

    setsockopt((SOCKET)sock, SOL_SOCKET, SO_SNDBUF, (const char *)&size, sizeof size);
    setsockopt((SOCKET)sock, SOL_SOCKET, SO_RCVBUF, (const char *)&size, sizeof size);
}

int socket_send(pco_socket sock, const void *data, size_t length)
{
    return send((SOCKET)sock, data, (int)length, 0);
}

int socket_receive(pco_socket sock, void *memory, size_t size)
{
    return recv((SOCKET)sock, memory, (int)size, 0);
}
