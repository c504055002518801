/* SPDX-License-Identifier: MIT */
/* local.h (POSIX): the parts of system/local.h that can be tried in a folder of one's own. */
#ifndef PCO_POSIX_LOCAL_H
#define PCO_POSIX_LOCAL_H

#include "system/local.h"

/*
 * A folder for this user alone, or (audience) for its group: makes it where it is not there, if
 * `make`, and sees that it is one: no link, this user's or the group's, not open to others.
 * PCO_EACCES; without `make` one that is not there is none of our business.
 */
int pco__local_folder(const char *path, int audience, bool make, pco_error *error);

/* Puts the socket of a name, and its lock, into a folder, whose path leaves room for a name. */
void pco__local_place_in(const char *folder, const char *name, pco__local_place *place);

/* Whether a folder's path leaves room for it. */
bool pco__local_has_room(const char *folder);

#endif
