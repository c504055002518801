/* SPDX-License-Identifier: MIT */
/*
 * address.c (Windows): what a pco_address says: the rest of portico/address.h is in
 * support/address.c.
 */
#include "win32/win32.h"

#include <afunix.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <portico/error.h>

#include "support/address.h"
#include "system/network.h"

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
