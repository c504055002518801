/* SPDX-License-Identifier: MIT */
/*
 * interfaces.c (POSIX): the list of interfaces, as getifaddrs has it: an entry for each interface,
 * and one for each of its addresses, all of them by name alone.
 *
 * The hard idea is whose an address is. On Linux an IPv4 address goes by its label, which is the
 * interface's name, or "eth0:1", or what its maker liked that begins with the name (ip-address(8)
 * insists on that). So it belongs to the longest name that its label begins with.
 */
#define _GNU_SOURCE 1

#include "support/interfaces.h"

#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <sys/types.h>

#include <sys/socket.h>

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#if defined(__linux__)
#include <netpacket/packet.h>
#else
#include <net/if_dl.h>
#endif

/* What is being made. */
typedef struct making {
    pco__interfaces list;
    size_t count; /* interfaces */
    size_t names; /* bytes of their names */
    size_t last;  /* whose the last address was: the next is likely to be near */
} making;

/* ---- Entries ---- */

static bool is_ip(const struct ifaddrs *entry)
{
    return entry->ifa_addr != NULL &&
           (entry->ifa_addr->sa_family == AF_INET || entry->ifa_addr->sa_family == AF_INET6);
}

/* That of an interface alone. On Linux one without a hardware address has no address at all. */
static bool is_interface(const struct ifaddrs *entry)
{
#if defined(__linux__)
    return entry->ifa_addr == NULL || entry->ifa_addr->sa_family == AF_PACKET;
#else
    return entry->ifa_addr != NULL && entry->ifa_addr->sa_family == AF_LINK;
#endif
}

/* 0: it has gone since it was listed. */
static unsigned index_of(const struct ifaddrs *entry)
{
    unsigned index = 0;

    if (is_interface(entry) && entry->ifa_addr != NULL) {
#if defined(__linux__)
        struct sockaddr_ll link;
        memcpy(&link, entry->ifa_addr, sizeof link);
        index = (unsigned)link.sll_ifindex;
#else
        struct sockaddr_dl link;
        memcpy(&link, entry->ifa_addr, offsetof(struct sockaddr_dl, sdl_data));
        index = link.sdl_index;
#endif
    }
    return index != 0 ? index : if_nametoindex(entry->ifa_name);
}

/* ---- Interfaces ---- */

static void add_interface(making *all, const struct ifaddrs *entry)
{
    unsigned index = index_of(entry);
    size_t size = strlen(entry->ifa_name) + 1;

    if (index == 0) {
        return;
    }
    pco_interface *made = &all->list.interfaces[all->count++];
    made->name = memcpy(all->list.names + all->names, entry->ifa_name, size);
    all->names += size;
    made->index = index;
    made->up = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_RUNNING) != 0;
    made->multicast = (entry->ifa_flags & IFF_MULTICAST) != 0;
    made->loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0;
}

static pco_interface *find_name(making *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++) {
        size_t place = (all->last + i) % all->count;
        if (strcmp(all->list.interfaces[place].name, name) == 0) {
            all->last = place;
            return &all->list.interfaces[place];
        }
    }
    return NULL;
}

/* That with the longest name that the label begins with; NULL: none. */
static pco_interface *find_beginning(making *all, const char *label)
{
    pco_interface *found = NULL;
    size_t longest = 0;

    for (size_t i = 0; i < all->count; i++) {
        size_t length = strlen(all->list.interfaces[i].name);
        if (length > longest && strncmp(all->list.interfaces[i].name, label, length) == 0) {
            found = &all->list.interfaces[i];
            longest = length;
        }
    }
    return found;
}

/* Whose address this is; NULL: of none that is known. */
static pco_interface *find_owner(making *all, const struct ifaddrs *entry)
{
    pco_interface *found = find_name(all, entry->ifa_name);

    return found != NULL ? found : find_beginning(all, entry->ifa_name);
}

static void add_interfaces(making *all, const struct ifaddrs *entries)
{
    for (const struct ifaddrs *one = entries; one != NULL; one = one->ifa_next) {
        if (is_interface(one)) {
            add_interface(all, one);
        }
    }
    if (all->count != 0) {
        return;
    }
    /* Android lets programs see addresses only: there an interface is what has one. */
    for (const struct ifaddrs *one = entries; one != NULL; one = one->ifa_next) {
        if (is_ip(one) && find_name(all, one->ifa_name) == NULL) {
            add_interface(all, one);
        }
    }
}

/* ---- Addresses ---- */

/* The bits of a mask before the first that is 0. The BSDs end one where only zeros would follow. */
static int count_bits(const struct sockaddr *mask, size_t start, size_t size)
{
    unsigned char bytes[sizeof(struct in6_addr)] = {0};
    size_t length = start + size;
    int bits = 0;

#if defined(SIN6_LEN)
    length = mask->sa_len < length ? mask->sa_len : length;
#endif
    if (length > start) {
        memcpy(bytes, (const unsigned char *)mask + start, length - start);
    }
    while (bits < (int)size * 8 && (bytes[bits / 8] & 0x80 >> bits % 8) != 0) {
        bits++;
    }
    return bits;
}

/* What has no mask is a network of its own. */
static int prefix_length(const struct ifaddrs *entry)
{
    bool is_inet = entry->ifa_addr->sa_family == AF_INET;
    size_t size = is_inet ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    size_t start =
        is_inet ? offsetof(struct sockaddr_in, sin_addr) : offsetof(struct sockaddr_in6, sin6_addr);

    return entry->ifa_netmask != NULL ? count_bits(entry->ifa_netmask, start, size) : (int)size * 8;
}

/*
 * The BSDs keep the scope of a link-local address inside of it, in its second word, and not each
 * of their getifaddrs takes it out.
 */
static void set_scope(struct sockaddr_in6 *inet6, unsigned index)
{
    unsigned char *bytes = inet6->sin6_addr.s6_addr;

    if (!IN6_IS_ADDR_LINKLOCAL(&inet6->sin6_addr) || inet6->sin6_scope_id != 0) {
        return;
    }
    inet6->sin6_scope_id = index;
    if ((unsigned)bytes[2] << 8 == (index & 0xFF00) && bytes[3] == (index & 0xFF)) {
        bytes[2] = 0;
        bytes[3] = 0;
    }
}

static void add_address(const struct ifaddrs *entry, unsigned index, pco_interface_address *added)
{
    if (entry->ifa_addr->sa_family == AF_INET) {
        memcpy(added->address.storage, entry->ifa_addr, sizeof(struct sockaddr_in));
        added->address.length = sizeof(struct sockaddr_in);
    } else {
        struct sockaddr_in6 inet6;
        memcpy(&inet6, entry->ifa_addr, sizeof inet6);
        set_scope(&inet6, index);
        memcpy(added->address.storage, &inet6, sizeof inet6);
        added->address.length = sizeof inet6;
    }
    added->prefix_length = prefix_length(entry);
}

/* Counts each one's first, so that they lie side by side. */
static void add_addresses(making *all, const struct ifaddrs *entries)
{
    pco_interface_address *next = all->list.addresses;

    for (const struct ifaddrs *one = entries; one != NULL; one = one->ifa_next) {
        pco_interface *owner = is_ip(one) ? find_owner(all, one) : NULL;
        if (owner != NULL) {
            owner->address_count++;
        }
    }
    for (size_t i = 0; i < all->count; i++) {
        all->list.interfaces[i].addresses = next;
        next += all->list.interfaces[i].address_count;
        all->list.interfaces[i].address_count = 0;
    }
    for (const struct ifaddrs *one = entries; one != NULL; one = one->ifa_next) {
        pco_interface *owner = is_ip(one) ? find_owner(all, one) : NULL;
        if (owner != NULL) {
            size_t place =
                (size_t)(owner->addresses - all->list.addresses) + owner->address_count++;
            add_address(one, owner->index, &all->list.addresses[place]);
        }
    }
}

/* ---- The list ---- */

/* More than enough: an entry is that of an interface or an address, or of no interest. */
static pco__interfaces_size size_of(const struct ifaddrs *entries)
{
    pco__interfaces_size size = {0};

    for (const struct ifaddrs *one = entries; one != NULL; one = one->ifa_next) {
        size.interfaces++;
        size.addresses += is_ip(one);
        size.names += strlen(one->ifa_name) + 1;
    }
    return size;
}

int pco_interfaces(pco_interface **interfaces, size_t *count, pco_error *error)
{
    struct ifaddrs *entries = NULL;
    making all = {.count = 0};

    if (getifaddrs(&entries) != 0) {
        int code = errno;
        return pco__error_describe(error, pco__error_from_system(code), code,
                                   "list the network interfaces");
    }
    pco__interfaces_size size = size_of(entries);
    int code = pco__interfaces_allocate(&size, &all.list);
    if (code == 0) {
        add_interfaces(&all, entries);
        add_addresses(&all, entries);
        *interfaces = all.list.interfaces;
        *count = all.count;
    }
    freeifaddrs(entries);
    return code == 0 ? 0 : pco__error_describe(error, code, 0, "list the network interfaces");
}
