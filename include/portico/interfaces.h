/* SPDX-License-Identifier: MIT */
/* interfaces.h: the machine's network interfaces. */
#ifndef PORTICO_INTERFACES_H
#define PORTICO_INTERFACES_H

#include <portico/address.h>
#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pco_interface_address {
    pco_address address; /* IPv4 or IPv6, port 0; a link-local one of IPv6 has its scope */
    int prefix_length;   /* how many bits of it are the network's: 24 of 192.0.2.1/24 */
} pco_interface_address;

/* An interface, as it was when it was asked for. */
typedef struct pco_interface {
    const char *name; /* "eth0", as the system has it; Windows: the friendly name, in UTF-8 */

    /*
     * The system's number of it, by which an address has its scope, never 0. A name may be given to
     * another interface meanwhile, a number is not given again while its first owner is there.
     * Windows: the number for IPv6, and that for IPv4 where the interface has no IPv6; the two are
     * the same unless somebody has taken pains.
     */
    unsigned index;

    bool up;        /* switched on, and as far as the system knows it has a link */
    bool multicast; /* able to send to several at once */
    bool loopback;  /* this machine itself */

    const pco_interface_address *addresses;
    size_t address_count; /* may be 0 */

    void *reserved[4]; /* NULL */
} pco_interface;

/*
 * Lists every interface: those that are down or have no address are there, too; on Windows all that
 * IP is bound to, not the filters that the system counts beside them. Addresses that the system
 * still checks, or does not use for new connections any more, count. Aliases ("eth0:1") are
 * addresses of their interface. The order is the system's.
 *
 * *interfaces is one piece of memory with all that it refers to, which pco_interfaces_free gives
 * back. Any thread, without a loop; it may take milliseconds. PCO_ENOMEM. PCO_EMFILE. PCO_EAGAIN:
 * the list went on growing while it was read. PCO_EACCES and others: the system does not tell.
 */
PCO_API int pco_interfaces(pco_interface **interfaces, size_t *count, pco_error *error);

/* Any thread. NULL is allowed. */
PCO_API void pco_interfaces_free(pco_interface *interfaces);

#ifdef __cplusplus
}
#endif

#endif
