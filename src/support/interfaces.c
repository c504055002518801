/* SPDX-License-Identifier: MIT */
/* interfaces.c: the memory of a list of interfaces. What fills it is the system's. */
#include "support/interfaces.h"

#include <portico/error.h>

#include "support/memory.h"

/* The addresses follow the interfaces, in the next place where their words may lie. */
#define WORD sizeof(((pco_address *)0)->storage[0])

int pco__interfaces_allocate(const pco__interfaces_size *size, pco__interfaces *list)
{
    size_t interfaces = size->interfaces * sizeof *list->interfaces;
    size_t before = (interfaces + WORD - 1) / WORD * WORD;
    size_t addresses = size->addresses * sizeof *list->addresses;
    char *memory = pco__calloc(before + addresses + size->names + 1); /* of nothing, too, a byte */
    if (memory == NULL) {
        return PCO_ENOMEM;
    }
    list->interfaces = (pco_interface *)(void *)memory;
    list->addresses = (pco_interface_address *)(void *)(memory + before);
    list->names = memory + before + addresses;
    return 0;
}

void pco_interfaces_free(pco_interface *interfaces)
{
    pco__free(interfaces);
}
