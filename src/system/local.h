/* SPDX-License-Identifier: MIT */
/*
 * local.h (system): where programs of one machine find each other by a name, on this system: the
 * place, who is first there, and who the other end is. posix/local.c and win32/local.c implement
 * it.
 */
#ifndef PCO_LOCAL_SYSTEM_H
#define PCO_LOCAL_SYSTEM_H

#include <portico/base.h>
#include <portico/error.h>
#include <portico/local.h>

typedef struct pco__local_place {
    bool is_pipe; /* where is a pipe's name, not a socket's path */
    int mode;     /* of a socket */
    char where[288];
    char lock[304]; /* of whoever serves; "": the system itself lets nobody be second */
    char sddl[640]; /* of a pipe: who may open it */
} pco__local_place;

/*
 * The place of a name, which has been checked. For who serves (`to_serve`) it makes the folder.
 * PCO_EACCES: a folder that is not as it must be; else what the system says of making it.
 */
int pco__local_find(const char *name, int audience, bool to_serve, pco__local_place *place,
                    pco_error *error);

/*
 * Takes the place's lock, without waiting; whatever ends the process gives it back. *lock is
 * PCO__NO_LOCK if the place has none. PCO_EADDRINUSE, without a sentence: another has it.
 * PCO_EACCES: what is at the place is no socket, and no server can be; or the lock is a link.
 */
#define PCO__NO_LOCK ((intptr_t)-1)
int pco__local_lock(const pco__local_place *place, intptr_t *lock, pco_error *error);
void pco__local_unlock(intptr_t lock);

/*
 * Somebody has what a server wanted to open there: whether that is who may. PCO_EACCES, with the
 * end of a sentence: an impostor.
 */
int pco__local_check_owner(const pco__local_place *place, int audience, pco_error *error);

/*
 * Whether the other end of a connection is who it may be; for who connects (`is_client`) and for
 * who serves. PCO_EACCES, with the end of a sentence: "it is user 1001's, ...".
 */
int pco__local_check_peer(pco_socket sock, int audience, bool is_client, pco_error *error);

#endif
