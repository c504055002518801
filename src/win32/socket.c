/* SPDX-License-Identifier: MIT */
/*
 * socket.c (Windows): sockets before they are attached, and the table of what opens and names them.
 *
 * The hard idea is what not to set. SO_REUSEADDR, which elsewhere lets a server start again at
 * once, lets any program take the port of another one here, and a port in TIME_WAIT can be bound
 * without it: so by default neither it nor its opposite is set, and SO_REUSEPORT, which has no
 * counterpart, is refused.
 */
#include "win32/win32.h"

#include "win32/names.h"
#include "win32/tcp.h"
#include "win32/unix.h"

#include <string.h>

#include <portico/server.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/network.h"
#include "system/pipes.h"
#include "system/platform.h"

/* ---- Winsock ---- */

static BOOL CALLBACK start_once(INIT_ONCE *once, void *parameter, void **context)
{
    (void)once;
    (void)context;
    WSADATA data;
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    *(int *)parameter = code;
    return code == 0;
}

int pco__winsock_start(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    int code = 0;
    InitOnceExecuteOnce(&once, start_once, &code, NULL);
    return code;
}

bool pco__winsock_unblock(SOCKET sock)
{
    u_long on = 1;
    return ioctlsocket(sock, (long)FIONBIO, &on) == 0;
}

SOCKET pco__winsock_open(int family, int proto)
{
    SOCKET sock = WSASocketW(family, SOCK_STREAM, proto, NULL, 0,
                             WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (sock != INVALID_SOCKET && !pco__winsock_unblock(sock)) {
        int code = WSAGetLastError();
        closesocket(sock);
        WSASetLastError(code);
        return INVALID_SOCKET;
    }
    return sock;
}

UCHAR pco__winsock_syn_retransmissions(DWORD build)
{
    return build >= 16299 ? TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS : 1;
}

int pco__winsock_has_file_handles(bool *all)
{
    DWORD size = 0;
    WSAEnumProtocolsW(NULL, NULL, &size); /* fails, and says how large the list is */
    WSAPROTOCOL_INFOW *list = pco__malloc(size != 0 ? size : 1);
    if (list == NULL) {
        return PCO_ENOMEM;
    }
    int count = WSAEnumProtocolsW(NULL, list, &size);
    *all = count > 0;
    for (int i = 0; i < count; ++i) {
        *all &= (list[i].dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
    }
    pco__free(list);
    return 0;
}

/* ---- Errors ---- */

/* Fills in "WHAT HOST port PORT: ..." and returns the code. */
static int fail_as(pco_error *error, int code, const char *what, const pco_address *address,
                   int system_code)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    if (address == NULL || pco_address_host(address, host, sizeof host) != 0) {
        return pco__error_describe(error, code, system_code, "%s", what);
    }
    if (pco_address_family(address) == PCO_AF_UNIX) {
        return pco__error_describe(error, code, system_code, "%s %s", what, host);
    }
    return pco__error_describe(error, code, system_code, "%s %s port %d", what, host,
                               pco_address_port(address));
}

/* The same of a system's code. */
static int fail(pco_error *error, const char *what, const pco_address *address, int system_code)
{
    return fail_as(error, pco__error_from_system(system_code), what, address, system_code);
}

/* ---- Options ---- */

static bool set_option(SOCKET sock, int level, int name, int value)
{
    return setsockopt(sock, level, name, (const char *)&value, sizeof value) == 0;
}

static int reuse_port_supported(pco_error *error)
{
    return pco__error_set(error, PCO_ENOTSUP, 0,
                          "reuse_port: Windows cannot share a port among several sockets");
}

static bool set_reuse_address(SOCKET sock, int reuse_address)
{
    if (reuse_address == PCO_ON) {
        return set_option(sock, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    if (reuse_address == PCO_OFF) {
        return set_option(sock, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
    }
    return true;
}

/* Not all of it is inherited from a listener, so every socket is given it. */
static int prepare_connected(pco__backend *backend, pco_socket sock,
                             const pco__socket_options *options, bool adopted)
{
    (void)backend;
    (void)adopted;
    set_option((SOCKET)sock, IPPROTO_TCP, TCP_NODELAY, 1);
    return pco__tcp_set((SOCKET)sock, options) ? 0 : pco__error_from_system(WSAGetLastError());
}

/* Lets the user add to a listener. */
static int prepare_listener(SOCKET sock, const pco_address *address,
                            const pco__listener_options *options, pco_error *error)
{
    if (options->prepare == NULL) {
        return 0;
    }
    int code = pco__error_known(
        options->prepare((pco_socket)sock, pco_address_family(address), options->context));
    return code == 0 ? 0 : fail_as(error, code, "prepare_socket for", address, 0);
}

/* ---- Opening and closing ---- */

/* A socket of the family PCO_AF_*. INVALID_SOCKET: *system_code tells. */
static SOCKET open_family(int family, int proto, int *system_code)
{
    int own = family == PCO_AF_INET    ? AF_INET
              : family == PCO_AF_INET6 ? AF_INET6
              : family == PCO_AF_UNIX  ? AF_UNIX
                                       : AF_UNSPEC;
    if (own == AF_UNSPEC) {
        *system_code = WSAEAFNOSUPPORT;
        return INVALID_SOCKET;
    }
    *system_code = pco__winsock_start();
    if (*system_code != 0) {
        return INVALID_SOCKET;
    }
    SOCKET sock = pco__winsock_open(own, proto != 0 || own == AF_UNIX ? proto : IPPROTO_TCP);
    if (sock == INVALID_SOCKET) {
        *system_code = WSAGetLastError();
        return INVALID_SOCKET;
    }
    if (family == PCO_AF_INET6 && !set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
        *system_code = WSAGetLastError();
        closesocket(sock);
        return INVALID_SOCKET;
    }
    return sock;
}

static int bind_to(SOCKET sock, const pco_address *address, const pco__listener_options *options,
                   pco_error *error)
{
    if (pco_address_family(address) == PCO_AF_UNIX) {
        return pco__unix_bind(sock, address, options, error);
    }
    pco__sockaddr local = pco__sockaddr_from(address);
    return bind(sock, &local.any, (int)address->length) == 0
               ? 0
               : fail(error, "bind", address, WSAGetLastError());
}

static int bind_socket(pco__backend *backend, const pco_address *address,
                       const pco__listener_options *options, pco_socket *sock, pco_error *error)
{
    (void)backend;
    if (options->reuse_port) {
        return reuse_port_supported(error);
    }
    int system_code;
    SOCKET opened = open_family(pco_address_family(address), 0, &system_code);
    if (opened == INVALID_SOCKET) {
        return fail(error, "open a socket for", address, system_code);
    }
    prepare_connected(backend, (pco_socket)opened, &options->connections, false);
    int code = set_reuse_address(opened, options->reuse_address)
                   ? prepare_listener(opened, address, options, error)
                   : fail(error, "set how to reuse", address, WSAGetLastError());
    if (code == 0) {
        code = bind_to(opened, address, options, error);
    }
    if (code != 0) {
        closesocket(opened);
        return code;
    }
    *sock = (pco_socket)opened;
    return 0;
}

/* Whether it is a socket that connects to one other. */
static int check_stream(SOCKET sock, pco_error *error)
{
    int system_code = pco__winsock_start();
    if (system_code != 0) {
        return fail(error, "start Winsock", NULL, system_code);
    }
    int type = 0;
    int length = sizeof type;
    if (getsockopt(sock, SOL_SOCKET, SO_TYPE, (char *)&type, &length) != 0) {
        return fail(error, "sock", NULL, WSAGetLastError());
    }
    if (type != SOCK_STREAM) {
        return pco__error_set(error, PCO_EINVAL, 0, "sock: not a stream socket");
    }
    return 0;
}

/* Windows does not tell whether it was blocking. */
static int adopt(SOCKET sock, bool *was_blocking, pco_error *error)
{
    *was_blocking = false;
    return pco__winsock_unblock(sock)
               ? 0
               : fail(error, "make sock non-blocking", NULL, WSAGetLastError());
}

/* What the options ask for must be something that the caller's socket can have. */
static int check_options(int family, const pco__socket_options *options, pco_error *error)
{
    return family == AF_INET || family == AF_INET6 || !pco__socket_options_are_tcps(options)
               ? 0
               : pco__error_set(error, PCO_ENOTSUP, 0,
                                "sock: keep-alive's times and user_timeout are for TCP");
}

static int adopt_listener(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error)
{
    int code = check_stream((SOCKET)sock, error);
    pco__sockaddr name = {.any.sa_family = AF_UNSPEC};
    int length = sizeof name;
    if (code == 0) {
        getsockname((SOCKET)sock, &name.any, &length);
        code = check_options(name.any.sa_family, &options->connections, error);
    }
    if (code == 0) {
        code = adopt((SOCKET)sock, was_blocking, error);
    }
    if (code == 0) {
        prepare_connected(backend, sock, &options->connections, true);
    }
    return code;
}

static int adopt_connected(pco__backend *backend, pco_socket sock,
                           const pco__socket_options *options, bool *was_blocking, pco_error *error)
{
    int code = check_stream((SOCKET)sock, error);
    if (code != 0) {
        return code;
    }
    pco__sockaddr peer;
    int length = sizeof peer;
    if (getpeername((SOCKET)sock, &peer.any, &length) != 0) {
        return fail(error, "sock", NULL, WSAGetLastError());
    }
    code = check_options(peer.any.sa_family, options, error);
    if (code == 0) {
        code = adopt((SOCKET)sock, was_blocking, error);
    }
    if (code == 0) {
        prepare_connected(backend, sock, options, true);
    }
    return code;
}

static void make_blocking(pco__backend *backend, pco_socket sock)
{
    (void)backend;
    u_long off = 0;
    ioctlsocket((SOCKET)sock, (long)FIONBIO, &off);
}

static int sockname(pco__backend *backend, pco_socket sock, pco_address *address)
{
    (void)backend;
    pco__sockaddr name;
    int length = sizeof name;
    if (getsockname((SOCKET)sock, &name.any, &length) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    pco__sockaddr_to(&name.any, length, address);
    return 0;
}

static int peername(pco__backend *backend, pco_socket sock, pco_address *address)
{
    (void)backend;
    pco__sockaddr name;
    int length = sizeof name;
    if (getpeername((SOCKET)sock, &name.any, &length) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    pco__sockaddr_to(&name.any, length, address);
    return 0;
}

static int listen_on(pco__backend *backend, pco_socket sock, int backlog, pco_error *error)
{
    /* More than 200 must be asked for as a hint, or they count as 200. */
    if (listen((SOCKET)sock, backlog > 200 ? SOMAXCONN_HINT(backlog) : backlog) == 0) {
        return 0;
    }
    int system_code = WSAGetLastError();
    pco_address address;
    bool known = sockname(backend, sock, &address) == 0;
    return fail(error, "listen on", known ? &address : NULL, system_code);
}

static int open_socket(pco__backend *backend, int family, int proto, pco_socket *sock,
                       pco_error *error)
{
    (void)backend;
    int system_code;
    SOCKET opened = open_family(family, proto, &system_code);
    if (opened == INVALID_SOCKET) {
        return fail(error, "open a socket", NULL, system_code);
    }
    set_option(opened, IPPROTO_TCP, TCP_NODELAY, 1);
    *sock = (pco_socket)opened;
    return 0;
}

static int bind_local(pco__backend *backend, pco_socket sock, const pco_address *address,
                      pco_error *error)
{
    (void)backend;
    pco__sockaddr local = pco__sockaddr_from(address);
    if (bind((SOCKET)sock, &local.any, (int)address->length) != 0) {
        return fail(error, "bind", address, WSAGetLastError());
    }
    return 0;
}

/*
 * The shutdown tells the peer a clean end even where the peer has an operation pending that
 * closesocket alone would fail with ERROR_NETNAME_DELETED. On a listener it fails, and is needless.
 */
void pco__winsock_close(SOCKET sock, bool reset)
{
    if (reset) {
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(sock, SOL_SOCKET, SO_LINGER, (const char *)&at_once, sizeof at_once);
    } else {
        shutdown(sock, SD_BOTH);
    }
    closesocket(sock);
}

/* ---- The table ---- */

static void close_socket(pco__backend *backend, pco_socket sock, bool reset)
{
    (void)backend;
    pco__winsock_close((SOCKET)sock, reset);
}

const pco__network pco__system_network = {
    .changes = &pco__system_changes,
    .pipes = &pco__system_pipes,
    .reuse_port_supported = reuse_port_supported,
    .socket_options_supported = pco__tcp_supported,
    .resolve = pco__resolve,
    .resolve_service = pco__resolve_service,
    .open = open_socket,
    .bind_local = bind_local,
    .bind = bind_socket,
    .adopt_listener = adopt_listener,
    .adopt_connected = adopt_connected,
    .make_blocking = make_blocking,
    .listen = listen_on,
    .prepare_connected = prepare_connected,
    .close = close_socket,
    .sockname = sockname,
    .peername = peername,
    .counters = pco__tcp_counters,
    .credentials = pco__unix_credentials,
    .find_file = pco__unix_find_file,
    .remove_file = pco__unix_remove_file,
};
