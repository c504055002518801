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
long _InterlockedExchangeAdd(long volatile *target, long value);
long _InterlockedOr(long volatile *target, long value);
void *_InterlockedExchangePointer(void *volatile *target, void *value);
void *_InterlockedCompareExchangePointer(void *volatile *target, void *value, void *expected);
#pragma intrinsic(_InterlockedExchange, _InterlockedExchangeAdd, _InterlockedOr)
#pragma intrinsic(_InterlockedExchangePointer, _InterlockedCompareExchangePointer)
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

/* Whether a sanitizer watches over what is done with memory. */
#if defined(__has_feature)
#define PCO__HAS_FEATURE(name) __has_feature(name)
#else
#define PCO__HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    PCO__HAS_FEATURE(address_sanitizer) || PCO__HAS_FEATURE(thread_sanitizer) ||                   \
    PCO__HAS_FEATURE(memory_sanitizer)
#define PCO__SANITIZED true
#else
#define PCO__SANITIZED false
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

/* A number that several threads change without a lock, signal handlers among them. */
typedef struct pco__count {
    long value;
} pco__count;

/* Adds, and returns what it was before. Who sees the sum sees what was written before it. */
static inline long pco__count_add(pco__count *count, long difference)
{
#if defined(__GNUC__)
    return __atomic_fetch_add(&count->value, difference, __ATOMIC_ACQ_REL);
#else
    return _InterlockedExchangeAdd(&count->value, difference);
#endif
}

/* A pointer that several threads change without a lock, signal handlers among them. */
typedef struct pco__shared {
    void *pointer;
} pco__shared;

static inline void *pco__shared_get(const pco__shared *shared)
{
#if defined(__GNUC__)
    return __atomic_load_n(&shared->pointer, __ATOMIC_ACQUIRE);
#else
    void *volatile *target = (void *volatile *)(uintptr_t)&shared->pointer;
    return _InterlockedCompareExchangePointer(target, NULL, NULL);
#endif
}

/* Returns what it was before. */
static inline void *pco__shared_exchange(pco__shared *shared, void *pointer)
{
#if defined(__GNUC__)
    return __atomic_exchange_n(&shared->pointer, pointer, __ATOMIC_ACQ_REL);
#else
    return _InterlockedExchangePointer(&shared->pointer, pointer);
#endif
}

/* Changes it if it is still what is expected, and returns whether it was. */
static inline bool pco__shared_replace(pco__shared *shared, void *expected, void *pointer)
{
#if defined(__GNUC__)
    return __atomic_compare_exchange_n(&shared->pointer, &expected, pointer, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
#else
    return _InterlockedCompareExchangePointer(&shared->pointer, pointer, expected) == expected;
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
