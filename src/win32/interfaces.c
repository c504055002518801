/* SPDX-License-Identifier: MIT */
/*
 * interfaces.c (Windows): the list of interfaces, of GetAdaptersAddresses.
 *
 * It writes into memory of the caller's and says how much it would have needed; that may not be
 * enough any more when it is asked again. So it is asked a few times, with more to spare.
 */
#include "win32/win32.h"

#include <iphlpapi.h>

#include "support/error.h"
#include "support/interfaces.h"
#include "support/memory.h"
#include "system/platform.h"

/* What Microsoft recommends to begin with, and how often to try. */
#define FIRST_SIZE 15000
#define TRIES 5

#define FLAGS (GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER)

/* ---- Asking ---- */

static int ask_failed(ULONG status, pco_error *error)
{
    if (status == ERROR_BUFFER_OVERFLOW) {
        return pco__error_set(error, PCO_EAGAIN, (int)status,
                              "list the network interfaces: their number grew all the time");
    }
    return pco__error_describe(error, pco__error_from_system((int)status), (int)status,
                               "list the network interfaces");
}

/* *adapters comes from pco__malloc, and is NULL if there are none. */
static int ask(IP_ADAPTER_ADDRESSES **adapters, pco_error *error)
{
    ULONG size = FIRST_SIZE;
    ULONG status = ERROR_BUFFER_OVERFLOW;
    IP_ADAPTER_ADDRESSES *memory = NULL;
    for (int tries = 0; status == ERROR_BUFFER_OVERFLOW && tries < TRIES; ++tries) {
        pco__free(memory);
        memory = pco__malloc(size);
        if (memory == NULL) {
            return pco__error_describe(error, PCO_ENOMEM, 0, "list the network interfaces");
        }
        status = GetAdaptersAddresses(AF_UNSPEC, FLAGS, NULL, memory, &size);
        size += size / 2;
    }
    if (status != NO_ERROR) {
        pco__free(memory);
        memory = NULL;
    }
    if (status != NO_ERROR && status != ERROR_NO_DATA) {
        return ask_failed(status, error);
    }
    *adapters = memory;
    return 0;
}

/* ---- What it says ---- */

static bool is_ip(const IP_ADAPTER_UNICAST_ADDRESS *address)
{
    const struct sockaddr *any = address->Address.lpSockaddr;
    return any != NULL && (any->sa_family == AF_INET || any->sa_family == AF_INET6);
}

/* Bytes of the name, its NUL among them. What is no UTF-16 becomes U+FFFD. */
static int name_size(const IP_ADAPTER_ADDRESSES *adapter)
{
    return WideCharToMultiByte(CP_UTF8, 0, adapter->FriendlyName, -1, NULL, 0, NULL, NULL);
}

static pco__interfaces_size size_of(const IP_ADAPTER_ADDRESSES *adapters)
{
    pco__interfaces_size size = {0};
    for (const IP_ADAPTER_ADDRESSES *one = adapters; one != NULL; one = one->Next) {
        size.interfaces++;
        size.names += (size_t)name_size(one);
        for (const IP_ADAPTER_UNICAST_ADDRESS *address = one->FirstUnicastAddress; address != NULL;
             address = address->Next) {
            size.addresses += is_ip(address);
        }
    }
    return size;
}

/* A length that says "none" is larger than the address. */
static int prefix_length(const IP_ADAPTER_UNICAST_ADDRESS *address)
{
    int most = address->Address.lpSockaddr->sa_family == AF_INET ? 32 : 128;
    return address->OnLinkPrefixLength < most ? address->OnLinkPrefixLength : most;
}

/* Fills in one, and moves on behind what it took of the list's memory. */
static void fill(const IP_ADAPTER_ADDRESSES *adapter, pco__interfaces *next)
{
    pco_interface *made = next->interfaces++;
    int size = name_size(adapter);
    WideCharToMultiByte(CP_UTF8, 0, adapter->FriendlyName, -1, next->names, size, NULL, NULL);
    made->name = next->names;
    next->names += size;
    made->index = adapter->Ipv6IfIndex != 0 ? adapter->Ipv6IfIndex : adapter->IfIndex;
    made->up = adapter->OperStatus == IfOperStatusUp;
    made->multicast = (adapter->Flags & IP_ADAPTER_NO_MULTICAST) == 0;
    made->loopback = adapter->IfType == IF_TYPE_SOFTWARE_LOOPBACK;
    made->addresses = next->addresses;
    for (const IP_ADAPTER_UNICAST_ADDRESS *address = adapter->FirstUnicastAddress; address != NULL;
         address = address->Next) {
        if (is_ip(address)) {
            pco__sockaddr_to(address->Address.lpSockaddr, address->Address.iSockaddrLength,
                             &next->addresses->address);
            next->addresses->prefix_length = prefix_length(address);
            next->addresses++;
            made->address_count++;
        }
    }
}

int pco_interfaces(pco_interface **interfaces, size_t *count, pco_error *error)
{
    IP_ADAPTER_ADDRESSES *adapters = NULL;
    int code = ask(&adapters, error);
    if (code != 0) {
        return code;
    }
    pco__interfaces_size size = size_of(adapters);
    pco__interfaces list;
    code = pco__interfaces_allocate(&size, &list);
    if (code == 0) {
        *interfaces = list.interfaces;
        *count = size.interfaces;
        for (const IP_ADAPTER_ADDRESSES *one = adapters; one != NULL; one = one->Next) {
            fill(one, &list);
        }
    } else {
        pco__error_describe(error, code, 0, "list the network interfaces");
    }
    pco__free(adapters);
    return code;
}
