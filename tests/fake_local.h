/* SPDX-License-Identifier: MIT */
/*
 * fake_local.h: what the system knows of names (system/local.h) without a system: where they are,
 * whose locks are held, and who the other end is. A program that has fake_local.c among its own
 * files is linked with it in the place of posix/local.c. There are no files and no users: a lock is
 * a line in a table, and who somebody is is what fake_socket.credentials says.
 */
#ifndef FAKE_LOCAL_H
#define FAKE_LOCAL_H

#include "fake_backend.h"

/* The user, and the group, that the program is said to run as. */
#define FAKE_LOCAL_SELF 1000

/* Yours to set. */
extern const pco_loop *fake_local_loop; /* whose sockets are asked about */
extern bool fake_local_has_pipes;       /* as on Windows; otherwise it is a UNIX socket */
extern int fake_local_error;            /* what to find a place fails with; 0: it does not */

extern bool fake_local_impostor; /* whether what is taken is somebody else's who may not have it */

/* How many locks are held. */
size_t fake_local_locks(void);

#endif
