/* SPDX-License-Identifier: MIT */
/* compiler.h: what not every compiler knows. */
#ifndef PCO_COMPILER_H
#define PCO_COMPILER_H

/*
 * For a function that is seldom called from one that is called for every message: it stays out of
 * line, so that the usual way saves no registers for it.
 */
#if defined(__GNUC__)
#define PCO__COLD __attribute__((noinline, cold))
#else
#define PCO__COLD
#endif

#endif
