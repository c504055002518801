/* SPDX-License-Identifier: MIT */
/*
 * address.h (internal): what the systems' halves of addresses and names have in common.
 */
#ifndef PCO_ADDRESS_INTERNAL_H
#define PCO_ADDRESS_INTERNAL_H

#include <portico/address.h>

#include <stdbool.h>
#include <stddef.h>

/*
 * The path of a local socket's address, which begins at `start` of the storage, as text. It ends at
 * its NUL or with the address; an abstract name (unix(7)) begins with a NUL and may contain more of
 * them, all written as '@'. `text` has room for the storage and a NUL.
 */
void pco__address_path(const pco_address *address, size_t start, char *text);

/*
 * No host's name has blanks, control characters or brackets. Some resolvers ignore what follows the
 * first two, and Windows takes [::1] for ::1.
 */
bool pco__is_plausible_host(const char *name);

/* Of names only: some resolvers take "+65617" for a number, and its low bits for a port. */
bool pco__is_plausible_service(const char *name);

#endif
