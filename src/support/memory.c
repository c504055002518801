/* SPDX-License-Identifier: MIT */
/*
 * memory.c: the allocator hook, the one piece of global state. It is set before anything else of
 * the library exists, so that no lock is needed to read it.
 */
#include "support/memory.h"

#include <portico/base.h>
#include <portico/error.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support/compiler.h"

#define PAGE_BYTES ((uintptr_t)4096)

static struct {
    void *(*allocate)(size_t size);
    void *(*reallocate)(void *memory, size_t size);
    void (*deallocate)(void *memory);
    bool given; /* by the user */
} hook = {malloc, realloc, free, false};

int pco_set_allocator(void *(*allocate)(size_t size),
                      void *(*reallocate)(void *memory, size_t size),
                      void (*deallocate)(void *memory))
{
    bool given = allocate != NULL;

    if ((reallocate != NULL) != given || (deallocate != NULL) != given) {
        return PCO_EINVAL;
    }
    hook.allocate = given ? allocate : malloc;
    hook.reallocate = given ? reallocate : realloc;
    hook.deallocate = given ? deallocate : free;
    hook.given = given;
    return 0;
}

/* A size of 0 asks for one byte, so that NULL always means that there is no memory. */
void *pco__malloc(size_t size)
{
    return hook.allocate(size != 0 ? size : 1);
}

void *pco__calloc(size_t size)
{
    void *memory = pco__malloc(size);

    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void *pco__realloc(void *memory, size_t size)
{
    return hook.reallocate(memory, size != 0 ? size : 1);
}

void pco__free(void *memory)
{
    if (memory != NULL) {
        hook.deallocate(memory);
    }
}

bool pco__memory_may_be_kept(void)
{
    return !PCO__SANITIZED && !hook.given;
}

char *pco__strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = pco__malloc(size);

    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

/* In front of the page lies the address of the whole piece. */
void *pco__malloc_pages(size_t size)
{
    unsigned char *whole = pco__malloc(sizeof(void *) + PAGE_BYTES + size);

    if (whole == NULL) {
        return NULL;
    }
    uintptr_t address = (uintptr_t)whole + sizeof(void *);
    unsigned char *memory =
        whole + sizeof(void *) + (PAGE_BYTES - address % PAGE_BYTES) % PAGE_BYTES;
    memcpy(memory - sizeof(void *), &whole, sizeof(void *));
    return memory;
}

void pco__free_pages(void *memory)
{
    if (memory != NULL) {
        void *whole;
        memcpy(&whole, (unsigned char *)memory - sizeof(void *), sizeof(void *));
        pco__free(whole);
    }
}
