/* SPDX-License-Identifier: MIT */
/* memory.h: all memory of the library comes from here, through the hook of pco_set_allocator. */
#ifndef PCO_MEMORY_H
#define PCO_MEMORY_H

#include <stddef.h>

void *pco__malloc(size_t size);
void *pco__calloc(size_t size); /* zeroed */
void *pco__realloc(void *memory, size_t size);
void pco__free(void *memory); /* NULL is allowed */
char *pco__strdup(const char *text);

#endif
