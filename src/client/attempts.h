/* SPDX-License-Identifier: MIT */
/* attempts.h: the addresses of an opening, tried: which one when, and which one wins. */
#ifndef PCO_ATTEMPTS_H
#define PCO_ATTEMPTS_H

#include "client/opening.h"

/* Begins to try the addresses that the opening has, in an order that `interleave` says. */
void pco__attempts_begin(pco__opening *opening);

/* Goes on: begins what may begin, or fails if there is nothing left. */
void pco__attempts_go_on(pco__opening *opening);

/* As pco__opening_class.connected. */
void pco__attempt_ended(pco__opening *opening, pco__stream *stream, const pco__result *result);

#endif
