/* SPDX-License-Identifier: MIT */
/* memory.h: all memory of the library comes from here, through the hook of pco_set_allocator. */
#ifndef PCO_MEMORY_H
#define PCO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

void *pco__malloc(size_t size);
void *pco__calloc(size_t size); /* zeroed */
void *pco__realloc(void *memory, size_t size);
void pco__free(void *memory); /* NULL is allowed */
char *pco__strdup(const char *text);

/*
 * Whether pieces that were freed may be kept for the next of their kind. Not where somebody looks
 * after the memory: a sanitizer, or an allocator of the user's. What is used after its end, or has
 * something left of the life before, would go unnoticed there.
 */
bool pco__memory_may_be_kept(void);

/*
 * Memory that begins at a page of 4 KiB, for what the system copies much into and out of: it copies
 * large pieces faster there. pco__free_pages gives it back.
 */
void *pco__malloc_pages(size_t size);
void pco__free_pages(void *memory); /* NULL is allowed */

#endif
