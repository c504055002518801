/* SPDX-License-Identifier: MIT */
/*
 * address.h (POSIX): addresses as the system has them, and as a sentence names them.
 */
#ifndef PCO_POSIX_ADDRESS_H
#define PCO_POSIX_ADDRESS_H

#include <portico/address.h>

#include <sys/socket.h>

/* The address's AF_*; AF_UNSPEC if it is too short to have one. */
sa_family_t pco__sockaddr_family(const pco_address *address);

/*
 * Takes over the length that getsockname or accept has reported with the storage; some systems
 * report more than they wrote.
 */
static inline void pco__address_set_length(pco_address *address, socklen_t length)
{
    address->length =
        length < sizeof address->storage ? (uint32_t)length : (uint32_t)sizeof address->storage;
}

/* As pco__network.sockname. */
int pco__socket_sockname(pco_socket sock, pco_address *address);

/* Where something happened, for a sentence: "127.0.0.1 port 80", or a path. */
typedef struct pco__place_text {
    char text[PCO_ADDRESS_TEXT_SIZE + sizeof " port 65535"];
} pco__place_text;

pco__place_text pco__place_of(const pco_address *address);

#endif
