/* SPDX-License-Identifier: MIT */
/*
 * fake_changes.h: a network that changes, and a machine that sleeps, when a test says so. It is
 * that of the fake backend, and tells as Windows does: from any thread. One watch at a time.
 */
#ifndef FAKE_CHANGES_H
#define FAKE_CHANGES_H

#include "system/changes.h"

/* In the fake's network. Of `look_every` it has none. */
extern const pco__changes_class fake_changes_class;

/* Yours to set: the next watch fails to begin with this error, after it has given notice. */
extern int fake_changes_error;

/* Something has changed: PCO_NETWORK_*. Any thread, while somebody watches. */
void fake_change(unsigned what);

/* The same, as from another thread, when the loop has just taken what came before. */
void fake_change_meanwhile(unsigned what);

/* Whether somebody watches, and how often somebody began to. */
bool fake_changes_are_watched(void);
unsigned fake_changes_begun(void);

#endif
