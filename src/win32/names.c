/* SPDX-License-Identifier: MIT */
/*
 * names.c (Windows): looking up names.
 */
#include "win32/win32.h"

#include "win32/names.h"

#include <string.h>

#include <portico/resolver.h>

#include "support/address.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

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

int pco__resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                 size_t *count, pco_error *error)
{
    ADDRINFOW hints;
    ADDRINFOW *found = NULL;
    int system_code = 0;
    if (!set_hints(&hints, family, flags)) {
        return pco__error_set(error, PCO_EINVAL, 0, "family or flags: a value that does not exist");
    }
    /* Host and service cannot both be missing; the port is set afterwards. */
    int code = host != NULL && !pco__is_plausible_host(host) ? PCO_ENONAME
                                                             : look_up(host, "0", &hints, &found);
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

int pco__resolve_service(const char *service, int *port, pco_error *error)
{
    ADDRINFOW hints = {
        .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    ADDRINFOW *found = NULL;
    int system_code = 0;
    int code =
        pco__is_plausible_service(service) ? look_up(NULL, service, &hints, &found) : PCO_ENONAME;
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
