/* SPDX-License-Identifier: MIT */
/*
 * socket.c (POSIX): sockets before they are attached, their addresses, and looking up names. What
 * every descriptor needs (non-blocking, close-on-exec, no SIGPIPE) is set in this file only.
 */
#define _GNU_SOURCE 1

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"
#include "posix/reactor.h"

#include <portico/server.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <sys/types.h>

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(struct sockaddr_un) <= sizeof((pco_address *)0)->storage,
               "a pco_address holds every sockaddr");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof((pco_address *)0)->storage,
               "a pco_address holds every sockaddr");

/* The option by which the system spreads connections over several sockets of one port. */
#if defined(SO_REUSEPORT_LB)
#define REUSE_PORT SO_REUSEPORT_LB /* FreeBSD, where SO_REUSEPORT gives all to one of them */
#elif defined(SO_REUSEPORT)
#define REUSE_PORT SO_REUSEPORT
#endif

/* ---- Addresses ---- */

/* The storage is copied, not cast: it is not declared as a sockaddr. */
static sa_family_t system_family_of(const pco_address *address)
{
    struct sockaddr header = {.sa_family = AF_UNSPEC};
    size_t needed = offsetof(struct sockaddr, sa_family) + sizeof header.sa_family;

    if (address->length < needed) {
        return AF_UNSPEC;
    }
    memcpy(&header, address->storage, needed);
    return header.sa_family;
}

static struct sockaddr_in inet_of(const pco_address *address)
{
    struct sockaddr_in inet;

    memcpy(&inet, address->storage, sizeof inet);
    return inet;
}

static struct sockaddr_in6 inet6_of(const pco_address *address)
{
    struct sockaddr_in6 inet6;

    memcpy(&inet6, address->storage, sizeof inet6);
    return inet6;
}

int pco_address_family(const pco_address *address)
{
    switch (system_family_of(address)) {
    case AF_INET:
        return address->length >= sizeof(struct sockaddr_in) ? PCO_AF_INET : PCO_AF_UNSPEC;
    case AF_INET6:
        return address->length >= sizeof(struct sockaddr_in6) ? PCO_AF_INET6 : PCO_AF_UNSPEC;
    case AF_UNIX:
        return PCO_AF_UNIX;
    default:
        return PCO_AF_UNSPEC;
    }
}

int pco_address_port(const pco_address *address)
{
    switch (pco_address_family(address)) {
    case PCO_AF_INET:
        return ntohs(inet_of(address).sin_port);
    case PCO_AF_INET6:
        return ntohs(inet6_of(address).sin6_port);
    default:
        return 0;
    }
}

void pco__address_set_port(pco_address *address, int port)
{
    int family = pco_address_family(address);

    if (family == PCO_AF_INET) {
        struct sockaddr_in inet = inet_of(address);
        inet.sin_port = htons((uint16_t)port);
        memcpy(address->storage, &inet, sizeof inet);
    } else if (family == PCO_AF_INET6) {
        struct sockaddr_in6 inet6 = inet6_of(address);
        inet6.sin6_port = htons((uint16_t)port);
        memcpy(address->storage, &inet6, sizeof inet6);
    }
}

/* "fe80::1%eth0"; the number of an interface that has gone stands for its name. */
static void write_inet6(const struct sockaddr_in6 *inet6, char *text, size_t size)
{
    char name[IF_NAMESIZE];
    size_t length;

    inet_ntop(AF_INET6, &inet6->sin6_addr, text, (socklen_t)size);
    length = strlen(text);
    if (inet6->sin6_scope_id == 0) {
        return;
    }
    if (if_indextoname(inet6->sin6_scope_id, name) != NULL) {
        snprintf(text + length, size - length, "%%%s", name);
    } else {
        snprintf(text + length, size - length, "%%%u", (unsigned)inet6->sin6_scope_id);
    }
}

/*
 * A path ends at its NUL or with the address; an abstract name (unix(7)) begins with a NUL and may
 * contain more of them, all written as '@'.
 */
static void write_path(const pco_address *address, char *text)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    const char *path = (const char *)address->storage + start;
    size_t length = address->length > start ? address->length - start : 0;
    bool is_abstract = length != 0 && path[0] == '\0';
    size_t i;

    for (i = 0; i < length && (is_abstract || path[i] != '\0'); i++) {
        text[i] = '@';
        if (path[i] != '\0') {
            text[i] = path[i];
        }
    }
    text[i] = '\0';
}

int pco_address_host(const pco_address *address, char *text, size_t size)
{
    char host[sizeof address->storage + 1] = "";
    struct sockaddr_in inet;
    struct sockaddr_in6 inet6;

    switch (pco_address_family(address)) {
    case PCO_AF_INET:
        inet = inet_of(address);
        inet_ntop(AF_INET, &inet.sin_addr, host, sizeof host);
        break;
    case PCO_AF_INET6:
        inet6 = inet6_of(address);
        write_inet6(&inet6, host, sizeof host);
        break;
    case PCO_AF_UNIX:
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

/* Where something happened, for a sentence: "127.0.0.1 port 80", or a path. */
typedef struct place {
    char text[PCO_ADDRESS_TEXT_SIZE + sizeof " port 65535"];
} place;

static place place_of(const pco_address *address)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    place where;
    int family = pco_address_family(address);

    if (pco_address_host(address, host, sizeof host) != 0) {
        snprintf(where.text, sizeof where.text, "an unknown address");
    } else if (family == PCO_AF_UNIX) {
        snprintf(where.text, sizeof where.text, "%s", host);
    } else {
        snprintf(where.text, sizeof where.text, "%s port %d", host, pco_address_port(address));
    }
    return where;
}

static place place_of_socket(pco_socket sock)
{
    pco_address address = {0};

    pco__socket_sockname(sock, &address);
    return place_of(&address);
}

/* Takes over what getsockname and accept have written; some systems report more than they wrote. */
static void set_length(pco_address *address, socklen_t length)
{
    address->length =
        length < sizeof address->storage ? (uint32_t)length : (uint32_t)sizeof address->storage;
}

int pco__socket_sockname(pco_socket sock, pco_address *address)
{
    pco_address found = {0};
    socklen_t length = sizeof found.storage;

    if (getsockname((int)sock, (struct sockaddr *)found.storage, &length) != 0) {
        return pco__error_from_system(errno);
    }
    set_length(&found, length);
    *address = found;
    return 0;
}

static int peername(pco__backend *backend, pco_socket sock, pco_address *address)
{
    pco_address found = {0};
    socklen_t length = sizeof found.storage;

    (void)backend;
    if (getpeername((int)sock, (struct sockaddr *)found.storage, &length) != 0) {
        return pco__error_from_system(errno);
    }
    set_length(&found, length);
    *address = found;
    return 0;
}

/* ---- Making sockets ---- */

static int report(pco_error *error, int code, const char *what, place where)
{
    return pco__error_describe(error, pco__error_from_system(code), code, "%s %s", what,
                               where.text);
}

static int set_option(int descriptor, int level, int name, int value)
{
    return setsockopt(descriptor, level, name, &value, sizeof value);
}

int pco__descriptor_raise(int descriptor)
{
    if (descriptor < 0 || descriptor > STDERR_FILENO) {
        return descriptor;
    }
    int raised = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int code = errno;
    close(descriptor);
    errno = code;
    return raised;
}

static int set_nonblocking(int descriptor)
{
    int flags = fcntl(descriptor, F_GETFL);

    if (flags < 0 || (flags & O_NONBLOCK) != 0) {
        return flags < 0 ? -1 : 0;
    }
    return fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

#if !defined(SOCK_CLOEXEC)
/* Between the call that made it and this, a fork in another thread can inherit the descriptor. */
static int set_flags(int descriptor)
{
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 && set_nonblocking(descriptor) == 0) {
        return descriptor;
    }
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}
#endif

static void suppress_sigpipe(int descriptor)
{
#if defined(SO_NOSIGPIPE)
    set_option(descriptor, SOL_SOCKET, SO_NOSIGPIPE, 1);
#else
    (void)descriptor; /* send() is given MSG_NOSIGNAL */
#endif
}

static bool is_inet(sa_family_t family)
{
    return family == AF_INET || family == AF_INET6;
}

/* Failures are not errors: the peer may be gone. */
static void set_stream_options(int descriptor, bool keep_alive)
{
    set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keep_alive) {
        set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
}

static int open_stream(sa_family_t family, int proto)
{
    int descriptor;

#if defined(SOCK_CLOEXEC)
    descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
#else
    descriptor = socket(family, SOCK_STREAM, proto);
    if (descriptor >= 0) {
        descriptor = set_flags(descriptor);
    }
#endif
    descriptor = pco__descriptor_raise(descriptor);
    if (descriptor < 0) {
        return -1;
    }
    suppress_sigpipe(descriptor);
    if (is_inet(family)) {
        set_stream_options(descriptor, false);
    }
    return descriptor;
}

int pco__socket_accept(int listener, pco_address *peer)
{
    socklen_t length = sizeof peer->storage;
    int descriptor;

    memset(peer, 0, sizeof *peer);
#if defined(SOCK_CLOEXEC)
    descriptor =
        accept4(listener, (struct sockaddr *)peer->storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    descriptor = accept(listener, (struct sockaddr *)peer->storage, &length);
    if (descriptor >= 0) {
        descriptor = set_flags(descriptor);
    }
#endif
    descriptor = pco__descriptor_raise(descriptor);
#if defined(__APPLE__)
    /* Where others say ECONNABORTED, macOS may give a socket that has no peer any more. */
    if (descriptor >= 0 && length == 0) {
        close(descriptor);
        errno = ECONNABORTED;
        return -1;
    }
#endif
    if (descriptor >= 0) {
        set_length(peer, length);
        suppress_sigpipe(descriptor);
    }
    return descriptor;
}

static int reuse_port_supported(pco_error *error)
{
#if defined(REUSE_PORT)
    (void)error;
    return 0;
#else
    return pco__error_set(error, PCO_ENOTSUP, 0, "reuse_port: not supported on this system");
#endif
}

/* On failure, *action says what could not be done, and errno why. */
static int set_listener_options(int descriptor, sa_family_t family,
                                const pco__listener_options *options, const char **action)
{
    *action = "set IPV6_V6ONLY for";
    if (family == AF_INET6 && set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1) != 0) {
        return -1;
    }
    if (!is_inet(family)) {
        return 0;
    }
    *action = "set SO_REUSEADDR for";
    if (options->reuse_address != PCO_OFF &&
        set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) != 0) {
        return -1;
    }
    *action = "set SO_REUSEPORT for";
#if defined(REUSE_PORT)
    if (options->reuse_port && set_option(descriptor, SOL_SOCKET, REUSE_PORT, 1) != 0) {
        return -1;
    }
#else
    if (options->reuse_port) {
        errno = ENOPROTOOPT;
        return -1;
    }
#endif
    if (options->keep_alive) {
        set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    return 0;
}

static int bind_socket(pco__backend *backend, const pco_address *address,
                       const pco__listener_options *options, pco_socket *sock, pco_error *error)
{
    sa_family_t family = system_family_of(address);
    const char *action = "open a socket for";
    int descriptor = open_stream(family, 0);

    (void)backend;
    if (descriptor < 0) {
        goto fail;
    }
    if (set_listener_options(descriptor, family, options, &action) != 0) {
        goto fail;
    }
    action = "bind";
    if (bind(descriptor, (const struct sockaddr *)address->storage, (socklen_t)address->length) !=
        0) {
        goto fail;
    }
    *sock = descriptor;
    return 0;
fail:;
    int code = errno;
    if (descriptor >= 0) {
        close(descriptor);
    }
    return report(error, code, action, place_of(address));
}

/* Whether it is a socket that connects to one other. */
static int check_stream(int descriptor, pco_error *error)
{
    int type = 0;
    socklen_t length = sizeof type;

    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) != 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code, "sock");
    }
    if (type != SOCK_STREAM) {
        return pco__error_set(error, PCO_EINVAL, 0, "sock: a stream socket was expected");
    }
    return 0;
}

/* What the caller's sockets become before they are attached. */
static int adopt(int descriptor, bool *was_blocking, pco_error *error)
{
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || set_nonblocking(descriptor) != 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code,
                                   "sock: make it non-blocking");
    }
    *was_blocking = (flags & O_NONBLOCK) == 0;
    suppress_sigpipe(descriptor);
    return 0;
}

static int adopt_listener(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error)
{
    pco_address name = {0};

    (void)backend;
    int code = check_stream((int)sock, error);
    if (code == 0) {
        code = adopt((int)sock, was_blocking, error);
    }
    if (code == 0 && pco__socket_sockname(sock, &name) == 0 && is_inet(system_family_of(&name))) {
        set_stream_options((int)sock, options->keep_alive);
    }
    return code;
}

static int adopt_connected(pco__backend *backend, pco_socket sock, bool *was_blocking,
                           pco_error *error)
{
    pco_address peer;

    int code = check_stream((int)sock, error);
    if (code != 0) {
        return code;
    }
    code = peername(backend, sock, &peer);
    if (code != 0) {
        return pco__error_describe(error, code, 0, "sock");
    }
    return adopt((int)sock, was_blocking, error);
}

static void make_blocking(pco__backend *backend, pco_socket sock)
{
    (void)backend;
    int flags = fcntl((int)sock, F_GETFL);

    if (flags >= 0) {
        fcntl((int)sock, F_SETFL, flags & ~O_NONBLOCK);
    }
}

static int listen_on(pco__backend *backend, pco_socket sock, int backlog, pco_error *error)
{
    (void)backend;
    if (listen((int)sock, backlog) == 0) {
        return 0;
    }
    int code = errno;
    return report(error, code, "listen on", place_of_socket(sock));
}

static int open_socket(pco__backend *backend, int family, int proto, pco_socket *sock,
                       pco_error *error)
{
    sa_family_t own = family == PCO_AF_INET    ? AF_INET
                      : family == PCO_AF_INET6 ? AF_INET6
                      : family == PCO_AF_UNIX  ? AF_UNIX
                                               : AF_UNSPEC;
    int descriptor = open_stream(own, proto);

    (void)backend;
    if (descriptor < 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code, "open a socket");
    }
    *sock = descriptor;
    return 0;
}

static int bind_local(pco__backend *backend, pco_socket sock, const pco_address *address,
                      pco_error *error)
{
    const struct sockaddr *name = (const struct sockaddr *)(const void *)address->storage;

    (void)backend;
#if defined(IP_BIND_ADDRESS_NO_PORT)
    /* connect() chooses the port then: of those free towards that peer there are more. */
    if (pco_address_port(address) == 0) {
        set_option((int)sock, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    }
#endif
    if (bind((int)sock, name, address->length) != 0) {
        return report(error, errno, "bind", place_of(address));
    }
    return 0;
}

static void prepare_connected(pco__backend *backend, pco_socket sock, bool keep_alive, bool adopted)
{
    (void)backend;
#if defined(__linux__)
    /*
     * A connection inherits both from the listener (tcp(7), socket(7)), at the price of no system
     * call: from the listener as it is when the connection is established, not when it is accepted.
     */
    if (!adopted) {
        return;
    }
#else
    (void)adopted;
#endif
    set_stream_options((int)sock, keep_alive);
}

void pco__socket_close(pco_socket sock, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (reset) {
        setsockopt((int)sock, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close((int)sock); /* once: even where it says EINTR, Linux has released the descriptor */
}

/* Linux: SIOCOUTQ of tcp(7), by the name that the C library has for it. macOS: getsockopt(2). */
int64_t pco__socket_unsent(int descriptor)
{
    int count = 0;
    int status = -1;

#if defined(__linux__)
    status = ioctl(descriptor, TIOCOUTQ, &count);
#elif defined(SO_NWRITE)
    socklen_t length = sizeof count;
    status = getsockopt(descriptor, SOL_SOCKET, SO_NWRITE, &count, &length);
#elif defined(FIONWRITE)
    status = ioctl(descriptor, FIONWRITE, &count);
#else
    (void)descriptor;
#endif
    return status == 0 ? count : PCO__UNSENT_UNKNOWN;
}

/* ---- Names ---- */

/*
 * Who has no descriptor left for the resolver's files and sockets is told that there is no such
 * name: getaddrinfo hides the cause. Returns the errno of opening one, 0 if that can be done.
 */
static int want_of_descriptors(void)
{
    int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (descriptor >= 0) {
        close(descriptor);
        return 0;
    }
    return errno == EMFILE || errno == ENFILE ? errno : 0;
}

/* A code of getaddrinfo, as one of ours; *system_code becomes errno's where that is the cause. */
static int resolver_error(int status, int *system_code)
{
    int cause = status == EAI_SYSTEM ? errno : 0;
    int want = want_of_descriptors();

    if (want != 0) {
        *system_code = want;
        return PCO_EMFILE;
    }
    *system_code = status;
    switch (status) {
    case EAI_NONAME:
    case EAI_SERVICE:
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
    case EAI_NODATA:
#endif
#if defined(EAI_ADDRFAMILY)
    case EAI_ADDRFAMILY: /* the name exists, without an address of this family */
#endif
        return PCO_ENONAME;
    case EAI_FAMILY:
        return PCO_EAFNOSUPPORT;
    case EAI_MEMORY:
        return PCO_ENOMEM;
    case EAI_BADFLAGS:
    case EAI_SOCKTYPE:
        return PCO_EINVAL;
    case EAI_SYSTEM:
        *system_code = cause;
        cause = pco__error_from_system(cause);
        return cause == PCO_ENOMEM || cause == PCO_EMFILE ? cause : PCO_ERESOLVE;
    default:
        return PCO_ERESOLVE;
    }
}

/* Sets hints from PCO_AF_* and PCO_AI_*, and returns whether all of them exist. */
static bool set_hints(struct addrinfo *hints, int family, int flags)
{
    static const struct {
        int ours;
        int systems;
    } known[] = {
        {PCO_AI_PASSIVE, AI_PASSIVE},       {PCO_AI_NUMERICHOST, AI_NUMERICHOST},
        {PCO_AI_V4MAPPED, AI_V4MAPPED},     {PCO_AI_ALL, AI_ALL},
        {PCO_AI_ADDRCONFIG, AI_ADDRCONFIG},
    };

    hints->ai_flags = AI_NUMERICSERV;
    hints->ai_socktype = SOCK_STREAM;
    hints->ai_protocol = IPPROTO_TCP; /* or FreeBSD adds the same addresses for SCTP */
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if ((flags & known[i].ours) != 0) {
            hints->ai_flags |= known[i].systems;
            flags &= ~known[i].ours;
        }
    }
    hints->ai_family = family == PCO_AF_INET    ? AF_INET
                       : family == PCO_AF_INET6 ? AF_INET6
                                                : AF_UNSPEC;
    return flags == 0 && (family == PCO_AF_UNSPEC || hints->ai_family != AF_UNSPEC);
}

/* No name has spaces or control characters; some resolvers ignore what follows them. */
static bool is_plausible(const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7F) {
            return false;
        }
    }
    return length > 0 && length < NI_MAXHOST;
}

static int copy_addresses(const struct addrinfo *found, pco_address **addresses, size_t *count)
{
    size_t most = 0;
    size_t used = 0;

    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        most++;
    }
    pco_address *copies = pco__calloc(most * sizeof *copies);
    if (copies == NULL) {
        return PCO_ENOMEM;
    }
    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        if (one->ai_addrlen <= sizeof copies->storage) {
            memcpy(copies[used].storage, one->ai_addr, one->ai_addrlen);
            copies[used].length = (uint32_t)one->ai_addrlen;
            used++;
        }
    }
    *addresses = copies;
    *count = used;
    return 0;
}

static int resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                   size_t *count, pco_error *error)
{
    struct addrinfo hints = {0};
    struct addrinfo *found = NULL;
    char service[16];
    int system_code = 0;
    int code;

    if (!set_hints(&hints, family, flags)) {
        return pco__error_set(error, PCO_EINVAL, 0, "family or flags: a value that does not exist");
    }
    if (host != NULL && !is_plausible(host)) {
        return pco__error_describe(error, PCO_ENONAME, 0, "resolve %s", host);
    }
    snprintf(service, sizeof service, "%d", port);
    int status = getaddrinfo(host, service, &hints, &found);
    if (status != 0) {
        code = resolver_error(status, &system_code);
    } else {
        code = copy_addresses(found, addresses, count);
        freeaddrinfo(found);
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
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct addrinfo *found = NULL;
    pco_address *addresses = NULL;
    size_t count = 0;
    int system_code = 0;
    int code = PCO_ENONAME;

    if (is_plausible_service(service)) {
        int status = getaddrinfo(NULL, service, &hints, &found);
        code = status != 0 ? resolver_error(status, &system_code)
                           : copy_addresses(found, &addresses, &count);
    }
    if (code == 0) {
        *port = pco_address_port(addresses);
        freeaddrinfo(found);
        pco__free(addresses);
        return 0;
    }
    return pco__error_describe(error, code, system_code, "resolve service %s", service);
}

/* ---- The table ---- */

static void close_socket(pco__backend *backend, pco_socket sock, bool reset)
{
    (void)backend;
    pco__socket_close(sock, reset);
}

static int sockname(pco__backend *backend, pco_socket sock, pco_address *address)
{
    (void)backend;
    return pco__socket_sockname(sock, address);
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
