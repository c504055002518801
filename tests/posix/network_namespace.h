/* SPDX-License-Identifier: MIT */
/*
 * network_namespace.h: a network of a test's own, which ip(8) changes. The whole program moves
 * there before it begins (Linux).
 */
#ifndef NETWORK_NAMESPACE_H
#define NETWORK_NAMESPACE_H

#include <stdbool.h>

/* What a program exits with where it cannot have one; ctest shows it as skipped. */
#define NAMESPACE_SKIPPED 77

/* Moves there, with loopback up; false, and says why, where that may not be or ip is missing. */
bool namespace_enter(void);

/* Everything in it as it was in the beginning. */
void namespace_clear(void);

bool namespace_has_inet6(void);

/* Runs ip with these arguments; a failed one ends the test. */
void ip(const char *arguments);

/* The same with `count` lines of a batch, each with two numbers below 256, the next for each. */
void ip_many(const char *format, unsigned count);

#endif
