/* SPDX-License-Identifier: MIT */
/* compiler.h: what not every compiler knows. */
#ifndef PCO_COMPILER_H
#define PCO_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The names that Microsoft's compiler has for what gcc and clang call __atomic. */
#if !defined(__GNUC__)
long _InterlockedExchange(long volatile *target, long value);
long _InterlockedOr(long volatile *target, long value);
#pragma intrinsic(_InterlockedExchange, _InterlockedOr)
#endif

/*
 * For a function that is seldom called from one that is called for every message: it stays out of
 * line, so that the usual way saves no registers for it.
 */
#if defined(__GNUC__)
#define PCO__COLD __attribute__((noinline, cold))
#define PCO__NOINLINE __attribute__((noinline)) /* the same for what is not that seldom */
#else
#define PCO__COLD
#define PCO__NOINLINE
#endif

/*
 * A flag that one thread raises and another looks at without a lock. Who sees it raised sees what
 * was written before that. (C11's atomics are not there with every compiler.)
 */
typedef struct pco__flag {
    long raised;
} pco__flag;

static inline bool pco__flag_is_raised(const pco__flag *flag)
{
#if defined(__GNUC__)
    return __atomic_load_n(&flag->raised, __ATOMIC_ACQUIRE) != 0;
#else
    return _InterlockedOr((volatile long *)(uintptr_t)&flag->raised, 0) != 0;
#endif
}

static inline void pco__flag_set(pco__flag *flag, bool raised)
{
#if defined(__GNUC__)
    __atomic_store_n(&flag->raised, raised, __ATOMIC_RELEASE);
#else
    _InterlockedExchange(&flag->raised, raised);
#endif
}

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

/* The number of the highest bit that is set; one is. */
static inline size_t pco__highest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return 63 - (size_t)__builtin_clzll(bits);
#else
    size_t bit = 0;
    while (bits >> 1 >> bit != 0) {
        bit++;
    }
    return bit;
#endif
}

#endif
