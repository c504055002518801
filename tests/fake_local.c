/* SPDX-License-Identifier: MIT */
/* fake_local.c: see fake_local.h. */
#include "fake_local.h"

#include "support/error.h"
#include "support/local_name.h"
#include "system/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCKS_MOST 32

const pco_loop *fake_local_loop;
bool fake_local_has_pipes;
int fake_local_error;
bool fake_local_impostor;

static char locks[LOCKS_MOST][sizeof((pco__local_place *)NULL)->lock]; /* "": free */

size_t fake_local_locks(void)
{
    size_t count = 0;

    for (size_t i = 0; i < LOCKS_MOST; i++) {
        count += locks[i][0] != '\0';
    }
    return count;
}

/* Each audience has names of its own. What is open to all has no lock, as on Linux. */
int pco__local_find(const char *name, int audience, bool to_serve, pco__local_place *place,
                    pco_error *error)
{
    char fitting[PCO__LOCAL_NAME_MOST + 1];

    (void)to_serve;
    memset(place, 0, sizeof *place);
    if (fake_local_error != 0) {
        return pco__error_describe(error, fake_local_error, FAKE_SYSTEM_CODE(fake_local_error),
                                   "find the place of %s", name);
    }
    if (name[0] != '\0') {
        pco__local_name_fit(name, PCO__LOCAL_NAME_MOST, fitting);
        name = fitting;
    }
    place->is_pipe = fake_local_has_pipes;
    if (place->is_pipe) {
        snprintf(place->where, sizeof place->where, "portico-%d-%s", audience, name);
        snprintf(place->sddl, sizeof place->sddl, "D:(A;;GA;;;SY)");
        return 0;
    }
    place->mode = audience == PCO_LOCAL_USER ? 0600 : audience == PCO_LOCAL_GROUP ? 0660 : 0666;
    snprintf(place->where, sizeof place->where, "run-%d/%s.socket", audience, name);
    if (audience != PCO_LOCAL_ALL) {
        snprintf(place->lock, sizeof place->lock, "run-%d/%s.lock", audience, name);
    }
    return 0;
}

int pco__local_lock(const pco__local_place *place, intptr_t *lock, pco_error *error)
{
    intptr_t free_one = PCO__NO_LOCK;

    (void)error;
    *lock = PCO__NO_LOCK;
    if (place->lock[0] == '\0') {
        return 0;
    }
    for (intptr_t i = 0; i < LOCKS_MOST; i++) {
        if (strcmp(locks[i], place->lock) == 0) {
            return PCO_EADDRINUSE;
        }
        free_one = locks[i][0] == '\0' ? i : free_one;
    }
    if (free_one == PCO__NO_LOCK) {
        fputs("fake local: too many locks\n", stderr);
        abort();
    }
    memcpy(locks[free_one], place->lock, sizeof locks[free_one]);
    *lock = free_one;
    return 0;
}

void pco__local_unlock(intptr_t lock)
{
    if (lock == PCO__NO_LOCK) {
        return;
    }
    if (lock < 0 || lock >= LOCKS_MOST || locks[lock][0] == '\0') {
        fputs("fake local: a lock is given back that is not held\n", stderr);
        abort();
    }
    locks[lock][0] = '\0';
}

/* Names that somebody else has taken first are told by fake_local_impostor. */
int pco__local_check_owner(const pco__local_place *place, int audience, pco_error *error)
{
    (void)audience;
    return fake_local_impostor
               ? pco__error_set(error, PCO_EACCES, 0, "%s is somebody else's", place->where)
               : 0;
}

int pco__local_check_peer(pco_socket sock, int audience, bool is_client, pco_error *error)
{
    const pco_credentials *its = &fake_socket_of(fake_local_loop, sock)->credentials;
    bool fits = audience == PCO_LOCAL_USER    ? its->user == FAKE_LOCAL_SELF
                : audience == PCO_LOCAL_GROUP ? its->group == FAKE_LOCAL_SELF
                                              : true;

    return fits ? 0
                : pco__error_set(error, PCO_EACCES, 0, "%s is somebody else",
                                 is_client ? "who serves it" : "the client");
}
