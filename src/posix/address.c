/* SPDX-License-Identifier: MIT */
/*
 * address.c (POSIX): what a pco_address says. The rest of portico/address.h is in
 * support/address.c.
 */
#define _GNU_SOURCE 1

#include "posix/address.h"
#include "support/address.h"
#include "system/network.h"
#include "system/platform.h"

#include <portico/error.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

_Static_assert(sizeof(struct sockaddr_un) <= sizeof((pco_address *)0)->storage,
               "a pco_address holds every sockaddr");
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof((pco_address *)0)->storage,
               "a pco_address holds every sockaddr");

/* The storage is copied, not cast: it is not declared as a sockaddr. */
sa_family_t pco__sockaddr_family(const pco_address *address)
{
    struct sockaddr header = {.sa_family = AF_UNSPEC};
    size_t needed = offsetof(struct sockaddr, sa_family) + sizeof header.sa_family;

    if (address->length < needed) {
        return AF_UNSPEC;
    }
    memcpy(&header, address->storage, needed);
    return header.sa_family;
}

int pco__socket_sockname(pco_socket sock, pco_address *address)
{
    pco_address found = {0};
    socklen_t length = sizeof found.storage;

    if (getsockname((int)sock, (struct sockaddr *)found.storage, &length) != 0) {
        return pco__error_from_system(errno);
    }
    pco__address_set_length(&found, length);
    *address = found;
    return 0;
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
    switch (pco__sockaddr_family(address)) {
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
        pco__address_path(address, offsetof(struct sockaddr_un, sun_path), host);
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

pco__place_text pco__place_of(const pco_address *address)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    pco__place_text where;
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
