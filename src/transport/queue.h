/* SPDX-License-Identifier: MIT */
/*
 * queue.h: bytes that wait, in chunks: copies, and memory that was handed over. A chunk is a
 * segment of the seam, so that a queue's content can be sent as it lies. Appending at the end
 * neither changes nor moves what is there.
 */
#ifndef PCO_QUEUE_H
#define PCO_QUEUE_H

#include "system/backend.h"

/* Memory handed over by pco_transport_write_owned. `release` may be NULL. */
typedef struct pco__owned {
    void (*release)(const void *data, void *context);
    void *context;
} pco__owned;

typedef struct pco__chunk pco__chunk;
struct pco__chunk {
    pco__segment segment;
    size_t room; /* bytes free behind the copied data, which follows in memory */
    const void *owned_data;
    pco__owned owned;

    /* Of the first one alone: the queue's, so that one that is empty takes up a pointer. */
    pco__chunk *tail;
    size_t size; /* bytes */
};

typedef struct pco__queue {
    pco__chunk *head; /* NULL: empty */
} pco__queue;

static inline size_t pco__queue_size(const pco__queue *queue)
{
    return queue->head != NULL ? queue->head->size : 0;
}

/*
 * Appends a copy of the last `total` bytes (not 0) of the buffers, all that they hold or fewer, or
 * nothing. PCO_ENOMEM.
 */
int pco__queue_copy(pco__queue *queue, const pco_buffer *buffers, size_t count, size_t total);

/*
 * Appends memory that was handed over, but for its first `skip` bytes; it is released when the last
 * byte is taken. PCO_ENOMEM: it is still the caller's.
 */
int pco__queue_own(pco__queue *queue, const pco_buffer *buffer, pco__owned owned, size_t skip);

/* Takes `length` bytes off the front, and releases what they were in. */
void pco__queue_take(pco__queue *queue, size_t length);

static inline void pco__queue_clear(pco__queue *queue)
{
    pco__queue_take(queue, pco__queue_size(queue));
}

#endif
