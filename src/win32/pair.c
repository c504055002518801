/* SPDX-License-Identifier: MIT */
/*
 * pair.c (Windows): pco_socket_pair. There is no socketpair(), so one end connects to the other
 * over the loopback interface, where anybody may be faster: both names are compared.
 */
#include "win32/win32.h"

#include <string.h>

#include <portico/connection.h>

#include "support/error.h"
#include "system/platform.h"

/* How many strangers may come first. */
#define STRANGERS 64

/* A blocking socket; INVALID_SOCKET. */
static SOCKET open_end(void)
{
    SOCKET sock = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                             WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    BOOL on = TRUE;
    if (sock != INVALID_SOCKET) {
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
    }
    return sock;
}

/* Listens at a port that nobody else may have, which `name` becomes. */
static bool listen_for_one(SOCKET listener, struct sockaddr_in *name)
{
    BOOL on = TRUE;
    int length = sizeof *name;
    memset(name, 0, sizeof *name);
    name->sin_family = AF_INET;
    name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return setsockopt(listener, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof on) ==
               0 &&
           bind(listener, (const struct sockaddr *)name, sizeof *name) == 0 &&
           listen(listener, STRANGERS) == 0 &&
           getsockname(listener, (struct sockaddr *)name, &length) == 0;
}

static bool is_peer_of(SOCKET one, SOCKET other)
{
    struct sockaddr_in name;
    struct sockaddr_in peer;
    int name_length = sizeof name;
    int peer_length = sizeof peer;
    return getsockname(one, (struct sockaddr *)&name, &name_length) == 0 &&
           getpeername(other, (struct sockaddr *)&peer, &peer_length) == 0 &&
           name.sin_port == peer.sin_port && name.sin_addr.s_addr == peer.sin_addr.s_addr;
}

/* Accepts `client`, and closes whoever came before. INVALID_SOCKET: WSAGetLastError. */
static SOCKET accept_only(SOCKET listener, SOCKET client)
{
    for (int i = 0; i <= STRANGERS; ++i) {
        SOCKET sock = accept(listener, NULL, NULL);
        if (sock == INVALID_SOCKET && WSAGetLastError() == WSAECONNRESET) {
            continue; /* a stranger who has gone */
        }
        if (sock == INVALID_SOCKET || (is_peer_of(sock, client) && is_peer_of(client, sock))) {
            return sock;
        }
        closesocket(sock);
    }
    WSASetLastError(WSAECONNREFUSED);
    return INVALID_SOCKET;
}

/* Makes both ends. False: WSAGetLastError, and whatever has been opened is to be closed. */
static bool connect_ends(SOCKET listener, SOCKET ends[2])
{
    struct sockaddr_in name;
    BOOL on = TRUE;
    if (listener == INVALID_SOCKET || !listen_for_one(listener, &name)) {
        return false;
    }
    ends[0] = open_end();
    if (ends[0] == INVALID_SOCKET ||
        connect(ends[0], (const struct sockaddr *)&name, sizeof name) != 0) {
        return false;
    }
    ends[1] = accept_only(listener, ends[0]);
    if (ends[1] == INVALID_SOCKET) {
        return false;
    }
    setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
    return SetHandleInformation((HANDLE)ends[1], HANDLE_FLAG_INHERIT, 0) != 0;
}

int pco_socket_pair(pco_socket pair[2], pco_error *error)
{
    SOCKET ends[2] = {INVALID_SOCKET, INVALID_SOCKET};
    int system_code = pco__winsock_start();
    if (system_code == 0) {
        SOCKET listener = open_end();
        system_code = connect_ends(listener, ends) ? 0 : WSAGetLastError();
        closesocket(listener);
    }
    if (system_code == 0) {
        pair[0] = (pco_socket)ends[0];
        pair[1] = (pco_socket)ends[1];
        return 0;
    }
    closesocket(ends[0]); /* of none there is nothing to close, and it says so */
    closesocket(ends[1]);
    return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                               "make a pair of sockets");
}
