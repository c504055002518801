/* SPDX-License-Identifier: MIT */
/*
 * names.c (POSIX): looking up names, as getaddrinfo does it, and saying why it could not.
 */
#define _GNU_SOURCE 1

#include "posix/names.h"

#include "support/address.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

#include <portico/resolver.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <sys/socket.h>

#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

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

int pco__resolve(const char *host, int port, int family, int flags, pco_address **addresses,
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
    if (host != NULL && !pco__is_plausible_host(host)) {
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

int pco__resolve_service(const char *service, int *port, pco_error *error)
{
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct addrinfo *found = NULL;
    pco_address *addresses = NULL;
    size_t count = 0;
    int system_code = 0;
    int code = PCO_ENONAME;

    if (pco__is_plausible_service(service)) {
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
