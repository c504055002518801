/* SPDX-License-Identifier: MIT */
/*
 * address.c: what can be said of an address without knowing the system's sockaddr. The rest of
 * portico/address.h is in each system's address.c.
 */
#include "support/address.h"

#include <portico/error.h>

#include <stdio.h>
#include <string.h>

/* The most that the systems' resolvers take: NI_MAXHOST, its NUL not counted. */
#define LONGEST_HOST 1024

int pco_address_format(const pco_address *address, char *text, size_t size)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    char whole[PCO_ADDRESS_TEXT_SIZE + sizeof "[]:65535"];
    int family = pco_address_family(address);
    int code = pco_address_host(address, host, sizeof host);

    if (code != 0) {
        return code;
    }
    if (family == PCO_AF_INET6) {
        snprintf(whole, sizeof whole, "[%s]:%d", host, pco_address_port(address));
    } else if (family == PCO_AF_INET) {
        snprintf(whole, sizeof whole, "%s:%d", host, pco_address_port(address));
    } else {
        snprintf(whole, sizeof whole, "%s", host);
    }
    if (strlen(whole) >= size) {
        return PCO_EINVAL;
    }
    memcpy(text, whole, strlen(whole) + 1);
    return 0;
}

/* Of IP, the texts are compared: a sockaddr has fields that do not count. */
bool pco_address_equal(const pco_address *one, const pco_address *other)
{
    char first[PCO_ADDRESS_TEXT_SIZE];
    char second[PCO_ADDRESS_TEXT_SIZE];
    int family = pco_address_family(one);

    if (family != pco_address_family(other)) {
        return false;
    }
    if (family != PCO_AF_INET && family != PCO_AF_INET6) {
        return one->length == other->length &&
               memcmp(one->storage, other->storage, one->length) == 0;
    }
    return pco_address_format(one, first, sizeof first) == 0 &&
           pco_address_format(other, second, sizeof second) == 0 && strcmp(first, second) == 0;
}

void pco__address_path(const pco_address *address, size_t start, char *text)
{
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

bool pco__is_plausible_host(const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] <= ' ' || strchr("[]\x7F", name[i]) != NULL) {
            return false;
        }
    }
    return length > 0 && length <= LONGEST_HOST;
}

bool pco__is_plausible_service(const char *name)
{
    return pco__is_plausible_host(name) && name[0] != '+' && name[0] != '-';
}
