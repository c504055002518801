/* SPDX-License-Identifier: MIT */
/*
 * turns.h: how much of a turn of the loop TLS may take. OpenSSL's work is by far the longest that
 * a peer can cause: a step of a handshake takes up to 1.5 ms, and records without data, or a large
 * write, as long as there are any. So each of two kinds, handshakes and all else, has half a
 * millisecond of a turn, but at least one step; whoever finds it used up waits in the kind's line,
 * and is served in one of the next turns, first come, first served. In the same line waits who has
 * to go on without anything having come: reading was resumed, an answer is there.
 */
#ifndef PCO_TLS_TURNS_H
#define PCO_TLS_TURNS_H

#include "tls/bio.h"

struct pco__ssl;

/* The clock, before a step. */
uint64_t pco__ssl_step_begins(const pco__ssl_loop *shared);

/* After it: what it has taken counts. */
void pco__ssl_step_ends(pco__ssl_loop *shared, size_t line, uint64_t began);

/* Instead of both, for a step not worth two looks at the clock: it counts as so much. */
void pco__ssl_step_counts(pco__ssl_loop *shared, size_t line, uint64_t nanoseconds);

/* Whether one more step may be made in this turn. */
bool pco__ssl_may_go_on(const pco__ssl_loop *shared, size_t line);

/* The connection waits: it is served (pco__ssl_serve) when it is its turn. Once is enough. */
void pco__ssl_wait_in_line(struct pco__ssl *ssl, size_t line);

/* It waits no more, and counts as busy. */
void pco__ssl_leave_line(struct pco__ssl *ssl);

/* The task of pco__ssl_loop. */
void pco__ssl_turn(pco__task *task);

#endif
