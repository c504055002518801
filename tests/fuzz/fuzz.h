/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h: what the fuzz_*.c have in common. Each is a target of libFuzzer: it is given bytes, made
 * up so as to reach code that no input before has reached, and takes them for what a peer, a file
 * or a caller might bring. What it finds ends the program: a sanitizer does, or require(). ci/fuzz
 * runs them all, and prints the input that has found something.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "support.h"

/* libFuzzer calls it before all else, and then the other for each input. */
int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program unless it is so. */
static inline void require(bool so, const char *sentence)
{
    if (!so) {
        fprintf(stderr, "fuzz: not so: %s\n", sentence);
        abort();
    }
}

/* ---- The input, taken piece by piece; behind its end there are zeros ---- */

typedef struct input {
    const uint8_t *data;
    size_t length;
} input;

static inline uint8_t take_byte(input *from)
{
    if (from->length == 0) {
        return 0;
    }
    from->length--;
    return *from->data++;
}

static inline unsigned take_number(input *from)
{
    unsigned high = take_byte(from);
    return high << 8 | take_byte(from);
}

/* A number below `limit`. */
static inline size_t take_below(input *from, size_t limit)
{
    return limit != 0 ? take_number(from) % limit : 0;
}

/* At most so many bytes, where they lie. */
static inline const uint8_t *take_bytes(input *from, size_t most, size_t *length)
{
    const uint8_t *bytes = from->data;
    *length = most < from->length ? most : from->length;
    from->data += *length;
    from->length -= *length;
    return bytes;
}

/* ---- Bytes that are changed ---- */

typedef struct bytes {
    uint8_t *data; /* from malloc */
    size_t length;
} bytes;

static inline bytes bytes_of(const void *data, size_t length)
{
    bytes made = {.data = malloc(length + 1), .length = length};
    require(made.data != NULL, "there is memory");
    memcpy(made.data, data, length);
    return made;
}

/* Replaces `gone` bytes at the offset by others. */
static inline void bytes_replace(bytes *self, size_t at, size_t gone, const uint8_t *others,
                                 size_t length)
{
    bytes made = {.data = malloc(self->length - gone + length + 1),
                  .length = self->length - gone + length};
    require(made.data != NULL, "there is memory");
    memcpy(made.data, self->data, at);
    if (length != 0) {
        memcpy(made.data + at, others, length);
    }
    memcpy(made.data + at + length, self->data + at + gone, self->length - at - gone);
    free(self->data);
    *self = made;
}

/* Makes one change that the input asks for. */
static inline void bytes_edit(bytes *self, input *from)
{
    unsigned kind = take_byte(from) % 3;
    size_t at = take_below(from, self->length + 1);
    size_t rest = self->length - at;
    size_t length;
    if (kind == 0 && rest != 0) {
        self->data[at] ^= take_byte(from);
    } else if (kind == 1) {
        const uint8_t *others = take_bytes(from, take_byte(from), &length);
        bytes_replace(self, at, 0, others, length);
    } else {
        bytes_replace(self, at, take_below(from, rest + 1), NULL, 0);
    }
}

#endif
