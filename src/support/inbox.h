/* SPDX-License-Identifier: MIT */
/*
 * inbox.h: a list to which any thread adds without a lock, from inside a signal handler too, and
 * from which its owner takes all. What is in it is a chain from the newest to the oldest: taking
 * turns it round. Zeroed, it is empty.
 */
#ifndef PCO_INBOX_H
#define PCO_INBOX_H

#include "support/compiler.h"
#include "support/list.h"

typedef struct pco__inbox {
    pco__shared newest;
} pco__inbox;

static inline bool pco__inbox_is_empty(const pco__inbox *inbox)
{
    return pco__shared_get(&inbox->newest) == NULL;
}

/* Adds a link that is in no list; nobody else touches it until it is taken. Was it the first? */
static inline bool pco__inbox_add(pco__inbox *inbox, pco__link *link)
{
    void *newest;
    do {
        newest = pco__shared_get(&inbox->newest);
        link->next = newest;
    } while (!pco__shared_replace(&inbox->newest, newest, link));
    return newest == NULL;
}

/* Puts all that is in it at the end of the list, in the order in which it was added. */
static inline void pco__inbox_take(pco__inbox *inbox, pco__link *list)
{
    pco__link *newer = list;
    pco__link *link = pco__shared_exchange(&inbox->newest, NULL);
    while (link != NULL) {
        pco__link *older = link->next;
        pco__list_append(newer, link); /* before the one that is newer */
        newer = link;
        link = older;
    }
}

#endif
