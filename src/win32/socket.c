/* SPDX-License-Identifier: MIT */
/*
 * socket.c (Windows): sockets before they are attached, their addresses, and looking up names.
 *
 * The hard idea is what not to set. SO_REUSEADDR, which elsewhere lets a server start again at
 * once, lets any program take the port of another one here, and a port in TIME_WAIT can be bound
 * without it: so by default neither it nor its opposite is set, and SO_REUSEPORT, which has no
 * counterpart, is refused.
 */
#include "win32/win32.h"

#include <afunix.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <portico/server.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/network.h"
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
static int fail(pco_error *error, const char *what, const pco_address *address, int system_code)
{
    int code = pco__error_from_system(system_code);
    char host[PCO_ADDRESS_TEXT_SIZE];
    if (address == NULL || pco_address_host(address, host, sizeof host) != 0) {
        return pco__error_describe(error, code, system_code, "%s", what);
    }
    return pco__error_describe(error, code, system_code, "%s %s port %d", what, host,
                               pco_address_port(address));
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

/* What accepted sockets inherit. */
static void set_inherited(SOCKET sock, bool keep_alive)
{
    set_option(sock, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keep_alive) {
        set_option(sock, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
}

static void prepare_connected(pco__backend *backend, pco_socket sock, bool keep_alive, bool adopted)
{
    (void)backend;
    (void)adopted;
    set_inherited((SOCKET)sock, keep_alive);
}

/* ---- Opening and closing ---- */

/* A socket of the family PCO_AF_*. INVALID_SOCKET: *system_code tells. */
static SOCKET open_family(int family, int proto, int *system_code)
{
    if (family != PCO_AF_INET && family != PCO_AF_INET6) {
        *system_code = WSAEAFNOSUPPORT;
        return INVALID_SOCKET;
    }
    *system_code = pco__winsock_start();
    if (*system_code != 0) {
        return INVALID_SOCKET;
    }
    SOCKET sock = pco__winsock_open(family == PCO_AF_INET ? AF_INET : AF_INET6,
                                    proto != 0 ? proto : IPPROTO_TCP);
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
    set_inherited(opened, options->keep_alive);
    pco__sockaddr local = pco__sockaddr_from(address);
    if (!set_reuse_address(opened, options->reuse_address) ||
        bind(opened, &local.any, (int)address->length) != 0) {
        system_code = WSAGetLastError();
        closesocket(opened);
        return fail(error, "bind", address, system_code);
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

static int adopt_listener(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error)
{
    (void)backend;
    int code = check_stream((SOCKET)sock, error);
    if (code == 0) {
        code = adopt((SOCKET)sock, was_blocking, error);
    }
    if (code == 0) {
        set_inherited((SOCKET)sock, options->keep_alive);
    }
    return code;
}

static int adopt_connected(pco__backend *backend, pco_socket sock, bool *was_blocking,
                           pco_error *error)
{
    (void)backend;
    int code = check_stream((SOCKET)sock, error);
    if (code != 0) {
        return code;
    }
    pco__sockaddr peer;
    int length = sizeof peer;
    if (getpeername((SOCKET)sock, &peer.any, &length) != 0) {
        return fail(error, "sock", NULL, WSAGetLastError());
    }
    return adopt((SOCKET)sock, was_blocking, error);
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
    set_inherited(opened, false);
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

/* ---- Addresses ---- */

pco__sockaddr pco__sockaddr_from(const pco_address *address)
{
    pco__sockaddr result;
    memset(&result, 0, sizeof result);
    if (address->length > sizeof result) {
        return result;
    }
    memcpy(&result, address->storage, address->length);
    int family = result.any.sa_family;
    if ((family == AF_INET && address->length < sizeof result.in) ||
        (family == AF_INET6 && address->length < sizeof result.in6)) {
        result.any.sa_family = AF_UNSPEC;
    }
    return result;
}

void pco__sockaddr_to(const struct sockaddr *any, int length, pco_address *address)
{
    memset(address, 0, sizeof *address);
    if (any != NULL && length > 0 && (size_t)length <= sizeof address->storage) {
        memcpy(address->storage, any, (size_t)length);
        address->length = (uint32_t)length;
    }
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

void pco__address_set_port(pco_address *address, int port)
{
    pco__sockaddr changed = pco__sockaddr_from(address);
    if (changed.any.sa_family == AF_INET) {
        changed.in.sin_port = htons((u_short)port);
    } else if (changed.any.sa_family == AF_INET6) {
        changed.in6.sin6_port = htons((u_short)port);
    } else {
        return;
    }
    memcpy(address->storage, &changed, address->length);
}

int pco_address_family(const pco_address *address)
{
    switch (pco__sockaddr_from(address).any.sa_family) {
    case AF_INET:
        return PCO_AF_INET;
    case AF_INET6:
        return PCO_AF_INET6;
    case AF_UNIX:
        return PCO_AF_UNIX;
    default:
        return PCO_AF_UNSPEC;
    }
}

int pco_address_port(const pco_address *address)
{
    pco__sockaddr name = pco__sockaddr_from(address);
    switch (name.any.sa_family) {
    case AF_INET:
        return ntohs(name.in.sin_port);
    case AF_INET6:
        return ntohs(name.in6.sin6_port);
    default:
        return 0;
    }
}

/*
 * The text of an IPv6 address by RFC 5952, as inet_ntop of the other systems writes it: Windows's
 * own also writes ISATAP's addresses with dots.
 */
static void write_inet6(const struct sockaddr_in6 *name, char *text, size_t size)
{
    unsigned words[8];
    int longest = 0; /* the longest run of zeros, the first of several, of two words at least */
    int start = -1;
    for (int i = 0; i < 8; ++i) {
        words[i] = ntohs(name->sin6_addr.u.Word[i]);
    }
    for (int i = 0; i < 8; ++i) {
        int length = 0;
        while (i + length < 8 && words[i + length] == 0) {
            length++;
        }
        if (length >= 2 && length > longest) {
            longest = length;
            start = i;
        }
    }
    /* ::1.2.3.4 and ::ffff:1.2.3.4 hold IPv4 addresses; ::1 does not. */
    bool dotted = start == 0 && (longest == 6 || (longest == 5 && words[5] == 0xFFFF));
    size_t used = 0;
    for (int i = 0; i < (dotted ? 6 : 8); ++i) {
        if (i == start) {
            used += (size_t)snprintf(text + used, size - used, "::");
            i += longest - 1;
        } else {
            bool first = i == 0 || i == start + longest;
            used += (size_t)snprintf(text + used, size - used, first ? "%x" : ":%x", words[i]);
        }
    }
    if (dotted) {
        used += (size_t)snprintf(text + used, size - used, "%s%u.%u.%u.%u", longest == 6 ? "" : ":",
                                 words[6] >> 8, words[6] & 0xFF, words[7] >> 8, words[7] & 0xFF);
    }
    if (name->sin6_scope_id != 0) {
        snprintf(text + used, size - used, "%%%lu", (unsigned long)name->sin6_scope_id);
    }
}

static void write_inet(const struct sockaddr_in *name, char *text, size_t size)
{
    unsigned long host = ntohl(name->sin_addr.s_addr);
    snprintf(text, size, "%lu.%lu.%lu.%lu", host >> 24, host >> 16 & 0xFF, host >> 8 & 0xFF,
             host & 0xFF);
}

/* A path ends at its NUL or with the address; in an abstract name every NUL is written as '@'. */
static void write_path(const pco_address *address, char *text)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    const char *path = (const char *)address->storage + start;
    size_t length = address->length > start ? address->length - start : 0;
    bool is_abstract = length != 0 && path[0] == '\0';
    size_t used = 0;
    while (used < length && (is_abstract || path[used] != '\0')) {
        text[used] = path[used] != '\0' ? path[used] : '@';
        used++;
    }
    text[used] = '\0';
}

int pco_address_host(const pco_address *address, char *text, size_t size)
{
    char host[sizeof address->storage + 1] = "";
    pco__sockaddr name = pco__sockaddr_from(address);
    switch (name.any.sa_family) {
    case AF_INET:
        write_inet(&name.in, host, sizeof host);
        break;
    case AF_INET6:
        write_inet6(&name.in6, host, sizeof host);
        break;
    case AF_UNIX:
        write_path(address, host);
        break;
    default:
        return PCO_EINVAL;
    }
    if (strlen(host) >= size) {
        return PCO_EINVAL;
    }
    memcpy(text, host, strlen(host) + 1);
    return 0;
}

/* ---- Names ---- */

/* Sets hints from PCO_AF_* and PCO_AI_*, and returns whether all of them exist. */
static bool set_hints(ADDRINFOW *hints, int family, int flags)
{
    static const struct {
        int ours;
        int systems;
    } known[] = {
        {PCO_AI_PASSIVE, AI_PASSIVE},       {PCO_AI_NUMERICHOST, AI_NUMERICHOST},
        {PCO_AI_V4MAPPED, AI_V4MAPPED},     {PCO_AI_ALL, AI_ALL},
        {PCO_AI_ADDRCONFIG, AI_ADDRCONFIG},
    };
    memset(hints, 0, sizeof *hints);
    hints->ai_socktype = SOCK_STREAM;
    hints->ai_protocol = IPPROTO_TCP;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
        if ((flags & known[i].ours) != 0) {
            hints->ai_flags |= known[i].systems;
            flags &= ~known[i].ours;
        }
    }
    /* By POSIX these two mean nothing for other families; Windows would refuse them. */
    if (family != PCO_AF_INET6) {
        hints->ai_flags &= ~(AI_V4MAPPED | AI_ALL);
    }
    hints->ai_family = family == PCO_AF_INET    ? AF_INET
                       : family == PCO_AF_INET6 ? AF_INET6
                                                : AF_UNSPEC;
    return flags == 0 && (family == PCO_AF_UNSPEC || hints->ai_family != AF_UNSPEC);
}

/*
 * No host's name has blanks, control characters or brackets. Some resolvers ignore what follows the
 * first two, and Windows takes [::1] for ::1.
 */
static bool is_plausible(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; ++i) {
        if ((unsigned char)name[i] <= ' ' || strchr("[]\x7F", name[i]) != NULL) {
            return false;
        }
    }
    return length > 0 && length < NI_MAXHOST;
}

static int copy_addresses(const ADDRINFOW *found, int port, pco_address **addresses, size_t *count)
{
    size_t total = 0;
    for (const ADDRINFOW *one = found; one != NULL; one = one->ai_next) {
        total++;
    }
    pco_address *copies = pco__calloc(total * sizeof *copies);
    if (copies == NULL) {
        return PCO_ENOMEM;
    }
    size_t used = 0;
    for (const ADDRINFOW *one = found; one != NULL; one = one->ai_next) {
        pco__sockaddr_to(one->ai_addr, (int)one->ai_addrlen, &copies[used]);
        pco__address_set_port(&copies[used], port);
        used += copies[used].length != 0;
    }
    *addresses = copies;
    *count = used;
    return 0;
}

/* Asks the system. A negative code is ours, a positive one the system's. */
static int look_up(const char *host, const char *service, const ADDRINFOW *hints, ADDRINFOW **found)
{
    WCHAR *wide_host = NULL;
    WCHAR *wide_service = NULL;
    int code = pco__winsock_start();
    if (code == 0 && host != NULL) {
        code = pco__widen(host, &wide_host);
    }
    if (code == 0) {
        code = pco__widen(service, &wide_service);
    }
    bool is_asked = code == 0;
    if (is_asked) {
        code = GetAddrInfoW(wide_host, wide_service, hints, found);
    }
    pco__free(wide_host);
    pco__free(wide_service);
    if (!is_asked) {
        return code;
    }
    if (code == WSATYPE_NOT_FOUND) {
        return WSAHOST_NOT_FOUND; /* the service, a name as well */
    }
    /*
     * The families asked for all exist: this is ::1 where IPv4 is wanted, or the other way. Wine 8
     * says it by a negative number of Linux's.
     */
    return code < 0 || code == WSAEAFNOSUPPORT ? WSAHOST_NOT_FOUND : code;
}

static int resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                   size_t *count, pco_error *error)
{
    ADDRINFOW hints;
    ADDRINFOW *found = NULL;
    int system_code = 0;
    if (!set_hints(&hints, family, flags)) {
        return pco__error_set(error, PCO_EINVAL, 0, "family or flags: a value that does not exist");
    }
    /* Host and service cannot both be missing; the port is set afterwards. */
    int code =
        host != NULL && !is_plausible(host) ? PCO_ENONAME : look_up(host, "0", &hints, &found);
    if (code > 0) {
        system_code = code;
        code = pco__error_from_system(system_code);
    }
    if (code == 0) {
        code = copy_addresses(found, port, addresses, count);
        FreeAddrInfoW(found);
    }
    if (code != 0) {
        pco__error_describe(error, code, system_code, "resolve %s",
                            host != NULL ? host : "all interfaces");
    }
    return code;
}

/* Numbers do not come here: some resolvers take "+65617" for one, and its low bits for a port. */
static bool is_plausible_service(const char *name)
{
    return is_plausible(name) && name[0] != '+' && name[0] != '-';
}

static int resolve_service(const char *service, int *port, pco_error *error)
{
    ADDRINFOW hints = {
        .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    ADDRINFOW *found = NULL;
    int system_code = 0;
    int code = is_plausible_service(service) ? look_up(NULL, service, &hints, &found) : PCO_ENONAME;
    if (code > 0) {
        system_code = code;
        code = pco__error_from_system(system_code);
    }
    if (code != 0) {
        return pco__error_describe(error, code, system_code, "resolve service %s", service);
    }
    pco_address address;
    pco__sockaddr_to(found->ai_addr, (int)found->ai_addrlen, &address);
    *port = pco_address_port(&address);
    FreeAddrInfoW(found);
    return 0;
}

/* ---- The table ---- */

static void close_socket(pco__backend *backend, pco_socket sock, bool reset)
{
    (void)backend;
    pco__winsock_close((SOCKET)sock, reset);
}

const pco__network pco__system_network = {
    .reuse_port_supported = reuse_port_supported,
    .resolve = resolve,
    .resolve_service = resolve_service,
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
};
