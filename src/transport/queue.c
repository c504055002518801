/* SPDX-License-Identifier: MIT */
/* queue.c: bytes that wait, in chunks. */
#include "transport/queue.h"

#include <assert.h>
#include <string.h>

#include "support/memory.h"

/* A chunk of copied data has at least this much room, so that small writes share it. */
#define CHUNK_LEAST ((size_t)4 * 1024)

static void free_chunk(pco__chunk *chunk)
{
    if (chunk->owned.release != NULL) {
        chunk->owned.release(chunk->owned_data, chunk->owned.context);
    }
    pco__free(chunk);
}

static void append(pco__queue *queue, pco__chunk *chunk)
{
    if (queue->head == NULL) {
        queue->head = chunk;
    } else {
        queue->head->tail->segment.next = &chunk->segment;
    }
    queue->head->tail = chunk;
    queue->head->size += chunk->segment.length;
}

int pco__queue_copy(pco__queue *queue, const pco_buffer *buffers, size_t count, size_t total)
{
    size_t skip = 0 - total;
    for (size_t i = 0; i < count; i++) {
        skip += buffers[i].length;
    }
    pco__chunk *chunk = queue->head != NULL ? queue->head->tail : NULL;
    if (chunk == NULL || chunk->room < total) {
        size_t room = total > CHUNK_LEAST ? total : CHUNK_LEAST;
        chunk = pco__malloc(sizeof *chunk + room);
        if (chunk == NULL) {
            return PCO_ENOMEM;
        }
        memset(chunk, 0, sizeof *chunk);
        chunk->segment.data = (const unsigned char *)(chunk + 1);
        chunk->room = room;
        append(queue, chunk);
    }
    unsigned char *to = (unsigned char *)(uintptr_t)chunk->segment.data + chunk->segment.length;
    for (size_t i = 0; i < count; i++) {
        size_t length = buffers[i].length;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        memcpy(to, (const unsigned char *)buffers[i].data + skip, length - skip);
        to += length - skip;
        skip = 0;
    }
    chunk->segment.length += total;
    chunk->room -= total;
    queue->head->size += total;
    return 0;
}

int pco__queue_own(pco__queue *queue, const pco_buffer *buffer, pco__owned owned, size_t skip)
{
    pco__chunk *chunk = pco__calloc(sizeof *chunk);
    if (chunk == NULL) {
        return PCO_ENOMEM;
    }
    chunk->segment.data = (const unsigned char *)buffer->data + skip;
    chunk->segment.length = buffer->length - skip;
    chunk->owned_data = buffer->data;
    chunk->owned = owned;
    append(queue, chunk);
    return 0;
}

void pco__queue_take(pco__queue *queue, size_t length)
{
    assert(length <= pco__queue_size(queue));
    if (length != 0) {
        queue->head->size -= length;
    }
    while (length != 0) {
        pco__chunk *chunk = queue->head;
        if (length < chunk->segment.length) {
            chunk->segment.data += length;
            chunk->segment.length -= length;
            return;
        }
        length -= chunk->segment.length;
        queue->head = (pco__chunk *)(void *)chunk->segment.next;
        if (queue->head != NULL) {
            queue->head->tail = chunk->tail;
            queue->head->size = chunk->size;
        }
        free_chunk(chunk);
    }
}
