/* SPDX-License-Identifier: MIT */
/* progress.h: the line on a terminal that says how much has come. */
#ifndef HTTPS_GET_PROGRESS_H
#define HTTPS_GET_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is a terminal for it that nothing else is written to. */
bool progress_has_place(bool body_to_stdout);

/* Draws it: so many bytes of `total` (-1: nobody knows) after so many seconds. */
void progress_draw(uint64_t received, int64_t total, double seconds);

/* It stays as it is, and what follows begins a new line. */
void progress_end(void);

#endif
