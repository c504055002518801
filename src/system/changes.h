/* SPDX-License-Identifier: MIT */
/*
 * changes.h: how a system tells that its network has changed, or that the machine has slept. A
 * table that comes with the network (network.h), so that the tests have one of their own.
 * posix/changes_linux.c, posix/changes_bsd.c and win32/changes.c supply that of their system.
 *
 * There are two ways to hear of news: descriptors that become readable, and notice(), which a
 * thread of the system's calls. After either of them, take() says what it is.
 */
#ifndef PCO_CHANGES_H
#define PCO_CHANGES_H

#include <portico/error.h>
#include <portico/interfaces.h>

/* The most descriptors that a watch has. */
#define PCO__CHANGES_DESCRIPTORS 2

/* Who watches: the system's. */
typedef struct pco__changes pco__changes;

typedef struct pco__changes_class {
    /* Something happens of which nobody tells: take() has to look so often, in seconds. 0: no. */
    double look_every;

    /*
     * Begins to watch. There may be news by the time that it returns. `notice` is called on any
     * thread of the system's: it does not block and begins and ends no watch. The loop's thread, as
     * for all of these. PCO_ENOMEM, PCO_EMFILE, PCO_ENOTSUP, PCO_EACCES.
     */
    int (*begin)(void (*notice)(void *context), void *context, pco__changes **changes,
                 pco_error *error);

    /* Writes down the descriptors, readable while there is news, and returns how many. */
    size_t (*descriptors)(const pco__changes *changes, pco_socket *descriptors);

    /*
     * What has happened since the last time: PCO_NETWORK_*, or 0. Of a flood not all is taken at
     * once; descriptors stay readable then.
     */
    unsigned (*take)(pco__changes *changes);

    /*
     * Ends. Nobody waits for the descriptors any more. When it returns, notice() is not running on
     * any thread and will not be called any more.
     */
    void (*end)(pco__changes *changes);
} pco__changes_class;

/* This system's own. */
extern const pco__changes_class pco__system_changes;

#endif
