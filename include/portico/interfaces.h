/* SPDX-License-Identifier: MIT */
/*
 * interfaces.h: the machine's network interfaces, and when they, its routes, or the time that it
 * was awake have changed.
 */
#ifndef PORTICO_INTERFACES_H
#define PORTICO_INTERFACES_H

#include <portico/address.h>
#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Interfaces ---- */

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

/* ---- Changes ---- */

/* What has happened. More may be added: look at the bits that you know. */
enum {
    PCO_NETWORK_ADDRESSES = 1, /* an address or an interface came, went, or has changed */
    PCO_NETWORK_ROUTES = 2,    /* the same of a route, such as the one to the internet */
    PCO_NETWORK_SLEPT = 4      /* the machine has slept, and is awake again */
};

/* `what`: one or more of PCO_NETWORK_*. */
typedef void (*pco_network_changed)(pco_loop *loop, unsigned what, void *context);

/*
 * Calls `callback` when the network of this machine has changed, or the machine has slept: what is
 * connected may be dead without knowing it, and what could not be reached may be reachable now. It
 * says to look again, not what has changed nor that it concerns you; now and then all is as before.
 *
 * Changes come in swarms, so they are told together: once nothing has come for a quarter of a
 * second, or two seconds after the first of them. The callback runs on the loop's thread, as a
 * callback of its own; it may call whatever callbacks may, this function too. Called again it
 * replaces callback and context, also for what was not told yet; NULL ends it, and what was not
 * told is dropped. A loop has one. When it is freed, that ends.
 *
 * Sleep counts from a tenth of a second on; a wall clock that is set is no sleep. Linux and Windows
 * tell at once of all (servers of Windows without a power manager not of sleep). macOS and the BSDs
 * tell of sleep up to ten seconds after it, and sooner where the network has changed with it;
 * NetBSD, and FreeBSD before 15, never, since their clocks do not show it. In a network namespace,
 * or a jail, it is its own network that counts.
 *
 * The loop's thread. PCO_ENOTSUP, PCO_EACCES: the system does not tell, as in some sandboxes.
 * PCO_ENOMEM; PCO_EMFILE, PCO_ENOBUFS: a limit of the process or of the system. PCO_ECLOSED: the
 * loop is being freed. On failure what there was before goes on. Ending it cannot fail. (asyncio
 * has no such thing.)
 */
PCO_API int pco_loop_set_network_changed(pco_loop *loop, pco_network_changed callback,
                                         void *context, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
