/* SPDX-License-Identifier: MIT */
/* compiler.h: what not every compiler knows. */
#ifndef PCO_COMPILER_H
#define PCO_COMPILER_H

#include <stddef.h>
#include <stdint.h>

/*
 * For a function that is seldom called from one that is called for every message: it stays out of
 * line, so that the usual way saves no registers for it.
 */
#if defined(__GNUC__)
#define PCO__COLD __attribute__((noinline, cold))
#else
#define PCO__COLD
#endif

/* The number of the lowest bit that is set; one is. */
static inline size_t pco__lowest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return (size_t)__builtin_ctzll(bits);
#else
    size_t bit = 0;
    while ((bits >> bit & 1) == 0) {
        bit++;
    }
    return bit;
#endif
}

#endif
