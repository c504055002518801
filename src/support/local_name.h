/* SPDX-License-Identifier: MIT */
/* local_name.h: the names by which programs find each other (portico/local.h), as such. */
#ifndef PCO_LOCAL_NAME_H
#define PCO_LOCAL_NAME_H

#include <portico/error.h>

/* The most bytes of one, and the least that a system must have room for. */
#define PCO__LOCAL_NAME_MOST 255
#define PCO__LOCAL_NAME_LEAST_ROOM 24

/* Whether it is one. PCO_EINVAL, with a sentence that says what it may have. */
int pco__local_name_check(const char *name, pco_error *error);

/*
 * Writes it into `text`, which has room for so many bytes and a NUL: as it is, or its beginning and
 * a hash of the whole.
 */
void pco__local_name_fit(const char *name, size_t room, char *text);

#endif
