/* SPDX-License-Identifier: MIT */
/* openssl_memory.c: see openssl_memory.h. The size of each piece is kept before it. */
#include "openssl_memory.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define HEAD (2 * sizeof(long double))

static size_t bytes;
static size_t requests;
static size_t fails_at; /* 0: never */

static size_t *head_of(void *memory)
{
    return (void *)((char *)memory - HEAD);
}

static void *take(size_t size, const char *file, int line)
{
    size_t *memory = NULL;
    (void)file;
    (void)line;
    if (++requests != fails_at) {
        memory = malloc(HEAD + size);
    }
    if (memory == NULL) {
        return NULL;
    }
    *memory = size;
    bytes += size;
    return (char *)memory + HEAD;
}

static void give_back(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    if (memory != NULL) {
        bytes -= *head_of(memory);
        free(head_of(memory));
    }
}

static void *take_instead(void *memory, size_t size, const char *file, int line)
{
    void *moved = take(size, file, line);
    if (moved != NULL && memory != NULL) {
        size_t old = *head_of(memory);
        memcpy(moved, memory, old < size ? old : size);
        give_back(memory, file, line);
    }
    return moved;
}

bool openssl_memory_watch(void)
{
    return CRYPTO_set_mem_functions(take, take_instead, give_back) == 1;
}

void openssl_memory_fail(size_t nth)
{
    fails_at = nth;
    if (nth != 0) {
        requests = 0;
    }
}

size_t openssl_memory_requests(void)
{
    return requests;
}

size_t openssl_memory_bytes(void)
{
    return bytes;
}
