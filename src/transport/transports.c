/* SPDX-License-Identifier: MIT */
/* transports.c: what the transports of a loop share, as one of its residents. */
#include "transport/class.h"

#include <stdio.h>

#include "support/memory.h"

static pco__transports *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, pco__transports, resident);
}

static void end(pco__resident *resident)
{
    pco__transports *home = of(resident);
    if (home->loop->debug && home->count != 0) {
        char message[96];
        snprintf(message, sizeof message, "%zu connections are open while the loop is freed",
                 home->count);
        pco__loop_report(home->loop, message, NULL, NULL, NULL, NULL);
    }
    pco__link *next;
    for (pco__link *link = home->streams.next; link != &home->streams; link = next) {
        next = link->next;
        pco_transport *transport = PCO__CONTAINER(link, pco_transport, link);
        transport->class_->abort(transport, false);
    }
}

static bool has_ended(pco__resident *resident)
{
    return of(resident)->count == 0;
}

static void leave(pco__resident *resident)
{
    pco__transports *home = of(resident);
    size_t count = 0;
    while (!pco__list_is_empty(&home->shells)) {
        pco_transport *shell = PCO__CONTAINER(home->shells.next, pco_transport, link);
        pco__list_remove(&shell->link);
        shell->home = NULL;
        count++;
    }
    if (home->loop->debug && count != 0) {
        char message[96];
        snprintf(message, sizeof message,
                 "%zu closed transports are still retained while the loop is freed", count);
        pco__loop_report(home->loop, message, NULL, NULL, NULL, NULL);
    }
    for (unsigned i = 0; i < PCO__CORKS; i++) {
        pco__free_pages(home->corks[i].memory);
    }
    while (home->spares != 0) {
        pco__free(home->spare[--home->spares]);
    }
    pco__free(home);
}

static const pco__resident_class transports_class = {
    .end = end, .has_ended = has_ended, .leave = leave};

pco__transports *pco__transports_of(pco_loop *loop, void (*send_corks)(pco__hook *hook))
{
    pco__resident *found = pco__loop_find(loop, &transports_class);
    if (found != NULL) {
        return of(found);
    }
    pco__transports *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    made->corks[0].memory = pco__malloc_pages(PCO__CORK_SIZE);
    if (made->corks[0].memory == NULL) {
        pco__free(made);
        return NULL;
    }
    made->resident.class_ = &transports_class;
    made->loop = loop;
    made->backend = loop->backend;
    made->flush.run = send_corks;
    made->spares_most = pco__memory_may_be_kept() ? PCO__SPARES : 0;
    pco__list_init(&made->streams);
    pco__list_init(&made->shells);
    pco__loop_move_in_first(loop, &made->resident);
    return made;
}
