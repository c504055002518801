/* SPDX-License-Identifier: MIT */
/* buffers.h: lists of pieces of memory that are kept. */
#ifndef PCO_BUFFERS_H
#define PCO_BUFFERS_H

#include <portico/base.h>

/*
 * Copies the list and all that its pieces hold into one piece of memory, which pco__free gives
 * back. NULL: out of memory. A list of none is memory, too.
 */
pco_buffer *pco__buffers_copy(const pco_buffer *from, size_t count);

#endif
