/* SPDX-License-Identifier: MIT */
/* buffers.c: lists of pieces of memory that are kept. */
#include "support/buffers.h"

#include <stdint.h>
#include <string.h>

#include "support/memory.h"

/* The bytes of such a copy; 0: there is no such memory. */
static size_t size_of_copy(const pco_buffer *from, size_t count)
{
    if (count >= SIZE_MAX / sizeof *from) {
        return 0;
    }
    size_t size = (count + 1) * sizeof *from;
    for (size_t i = 0; i < count; i++) {
        if (from[i].length > SIZE_MAX - size) {
            return 0;
        }
        size += from[i].length;
    }
    return size;
}

pco_buffer *pco__buffers_copy(const pco_buffer *from, size_t count)
{
    size_t size = size_of_copy(from, count);
    pco_buffer *copy = size != 0 ? pco__malloc(size) : NULL;
    if (copy == NULL) {
        return NULL;
    }
    unsigned char *to = (unsigned char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = (pco_buffer){.data = to, .length = from[i].length};
        if (from[i].length != 0) {
            memcpy(to, from[i].data, from[i].length);
        }
        to += from[i].length;
    }
    copy[count] = (pco_buffer){.data = NULL, .length = 0};
    return copy;
}
