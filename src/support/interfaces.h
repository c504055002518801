/* SPDX-License-Identifier: MIT */
/* interfaces.h (internal): the one piece of memory that a list of interfaces is. */
#ifndef PCO_INTERFACES_H
#define PCO_INTERFACES_H

#include <portico/interfaces.h>

/* How much there is of everything; `names` in bytes, with their final NULs. */
typedef struct pco__interfaces_size {
    size_t interfaces;
    size_t addresses;
    size_t names;
} pco__interfaces_size;

/* Where it goes, all zero at first. The first is what pco_interfaces_free takes. */
typedef struct pco__interfaces {
    pco_interface *interfaces;
    pco_interface_address *addresses;
    char *names;
} pco__interfaces;

/* Makes room. PCO_ENOMEM. */
int pco__interfaces_allocate(const pco__interfaces_size *size, pco__interfaces *list);

#endif
