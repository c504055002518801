/* SPDX-License-Identifier: MIT */
/* list.h: a doubly linked ring of links embedded in what is listed. A zeroed link is in no list. */
#ifndef PCO_LIST_H
#define PCO_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pco__link {
    struct pco__link *next;
    struct pco__link *previous;
} pco__link;

/* The object of type `type` whose member `member` is at `pointer`. */
#define PCO__CONTAINER(pointer, type, member)                                                      \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void pco__list_init(pco__link *list)
{
    list->next = list;
    list->previous = list;
}

static inline bool pco__list_is_empty(const pco__link *list)
{
    return list->next == list;
}

static inline void pco__list_append(pco__link *list, pco__link *link)
{
    link->next = list;
    link->previous = list->previous;
    list->previous->next = link;
    list->previous = link;
}

static inline void pco__list_prepend(pco__link *list, pco__link *link)
{
    pco__list_append(list->next, link);
}

/* Puts all of one list behind what is in the other. */
static inline void pco__list_move(pco__link *from, pco__link *to)
{
    if (pco__list_is_empty(from)) {
        return;
    }
    from->next->previous = to->previous;
    from->previous->next = to;
    to->previous->next = from->next;
    to->previous = from->previous;
    pco__list_init(from);
}

/* Takes the link out of its list; nothing happens if it is in none. */
static inline void pco__list_remove(pco__link *link)
{
    if (link->next == NULL) {
        return;
    }
    link->next->previous = link->previous;
    link->previous->next = link->next;
    link->next = NULL;
    link->previous = NULL;
}

#endif
