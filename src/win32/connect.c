/* SPDX-License-Identifier: MIT */
/* connect.c (Windows): ConnectEx, and what has to be done before and after it. */
#include "win32/iocp.h"

#include <string.h>

#include "system/platform.h"

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
static void refuse_at_once(const pco__iocp *self, SOCKET sock)
{
    TCP_INITIAL_RTO_PARAMETERS parameters = {
        .Rtt = TCP_INITIAL_RTO_UNSPECIFIED_RTT,
        .MaxSynRetransmissions = self->syn_retransmissions,
    };
    DWORD length = 0;
    WSAIoctl(sock, SIO_TCP_INITIAL_RTO, &parameters, sizeof parameters, NULL, 0, &length, NULL,
             NULL);
}

/*
 * Where a router says that there is no way, Windows goes on trying, unless it is told that the
 * answer counts: TCP_FAIL_CONNECT_ON_ICMP_ERROR, since build 19041, which older SDKs lack.
 */
#define FAIL_ON_ICMP_ERROR 18

static void believe_routers(SOCKET sock)
{
    DWORD on = 1;
    setsockopt(sock, IPPROTO_TCP, FAIL_ON_ICMP_ERROR, (const char *)&on, sizeof on);
}

/*
 * ConnectEx is documented for IP alone; given a sockaddr_un it has been seen to write over its
 * caller's stack (libuv, pull request 4636). connect() is for both. Within one machine its answer
 * is there at once, and the packet that tells of it is ours; or the server's backlog is full.
 */
static int start_unix_connect(pco__iocp *self, pco__op *op, int *system_code)
{
    pco__sockaddr remote = pco__sockaddr_from(op->with.address);
    *system_code = 0;
    if (connect(pco__io_socket(op->io), &remote.any, (int)op->with.address->length) != 0) {
        *system_code = WSAGetLastError();
        return *system_code == WSAEWOULDBLOCK ? pco__iocp_await_connect(self, op, system_code)
                                              : pco__error_from_system(*system_code);
    }
    return pco__iocp_started(
        PostQueuedCompletionStatus(self->port, 0, 0, pco__op_overlapped(op)) != 0, system_code);
}

int pco__iocp_start_connect(pco__iocp *self, pco__op *op, int *system_code)
{
    SOCKET sock = pco__io_socket(op->io);
    pco__sockaddr remote = pco__sockaddr_from(op->with.address);
    if (remote.any.sa_family == AF_UNSPEC || remote.any.sa_family != op->io->private_.iocp.family) {
        return PCO_EAFNOSUPPORT;
    }
    if (remote.any.sa_family == AF_UNIX) {
        return start_unix_connect(self, op, system_code);
    }
    bool is_ipv4 = remote.any.sa_family == AF_INET;
    int length = is_ipv4 ? (int)sizeof remote.in : (int)sizeof remote.in6;
    make_specific(&remote);
    if (is_loopback(&remote)) {
        refuse_at_once(self, sock);
    } else {
        believe_routers(sock);
    }

    /* ConnectEx wants a bound socket. WSAEINVAL: it is bound already. */
    pco__sockaddr local;
    memset(&local, 0, sizeof local);
    local.any.sa_family = remote.any.sa_family;
    if (bind(sock, &local.any, length) != 0 && WSAGetLastError() != WSAEINVAL) {
        *system_code = WSAGetLastError();
        return pco__error_from_system(*system_code);
    }
    return pco__iocp_started(
        pco__iocp_extensions(self, remote.any.sa_family)
            ->connect(sock, &remote.any, length, NULL, 0, NULL, pco__op_overlapped(op)),
        system_code);
}

void pco__iocp_on_connect(pco__iocp *self, pco__op *op, int error, int system_code)
{
    if (error == 0 && pco__io_is_closed(op->io)) {
        error = PCO_ECANCELED; /* it was taken away in the moment of its success */
    }
    if (pco__op_awaits_connect(op)) {
        error = pco__iocp_end_of_connect(op, error, &system_code);
    }
    /* Without this, after ConnectEx, the socket cannot be shut down, and does not know its peer. */
    if (error == 0 && op->io->private_.iocp.family != AF_UNIX &&
        setsockopt(pco__io_socket(op->io), SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0) != 0) {
        system_code = WSAGetLastError();
        error = pco__error_from_system(system_code);
    }
    pco__iocp_finish(self, op, error, system_code);
}
