/* SPDX-License-Identifier: MIT */
/*
 * histogram.h: durations in nanoseconds, counted in buckets that grow with the value: 64 to each
 * power of two, so that a percentile is right to 1.6 % whatever its size, and counting one takes a
 * few instructions.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 59 * HISTOGRAM_STEPS };

typedef struct histogram {
    uint64_t count;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} histogram;

/* Values below 64 have a bucket each; then 64 + sub-step of the value's power of two. */
static inline void histogram_add(histogram *self, uint64_t value)
{
    size_t index = (size_t)value;

    if (value >= HISTOGRAM_STEPS) {
        unsigned power = 63u - (unsigned)__builtin_clzll(value);
        index = (power - 5) * HISTOGRAM_STEPS + ((value >> (power - 6)) & (HISTOGRAM_STEPS - 1));
    }
    self->buckets[index]++;
    self->count++;
}

/* The middle of a bucket. */
static inline double histogram_value(size_t index)
{
    if (index < HISTOGRAM_STEPS) {
        return (double)index;
    }
    unsigned shift = (unsigned)(index / HISTOGRAM_STEPS) - 1;
    uint64_t least = (HISTOGRAM_STEPS + index % HISTOGRAM_STEPS) << shift;
    return (double)least + (double)((uint64_t)1 << shift) / 2;
}

/* The value that `share` (0 to 1) of all values do not exceed; 0 if there are none. */
static inline double histogram_percentile(const histogram *self, double share)
{
    uint64_t rank = (uint64_t)(share * (double)self->count);
    uint64_t seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += self->buckets[i];
        if (seen > rank || (seen == self->count && seen != 0)) {
            return histogram_value(i);
        }
    }
    return 0;
}

#endif
