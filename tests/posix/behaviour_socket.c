/* SPDX-License-Identifier: MIT */
/* behaviour_socket.c (POSIX): what behaviour_peer.h needs of the system itself. */
#include "behaviour_peer.h"

#include <sys/socket.h>

void peer_shrink_buffers(pco_socket sock)
{
    int size = PEER_BUFFER_SIZE;

    setsockopt((int)sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt((int)sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

int socket_send(pco_socket sock, const void *data, size_t length)
{
    return (int)send((int)sock, data, length, 0);
}

int socket_receive(pco_socket sock, void *memory, size_t size)
{
    return (int)recv((int)sock, memory, size, 0);
}
