/* SPDX-License-Identifier: MIT */
/* fake_changes.c: see fake_changes.h. */
#include "fake_changes.h"

#include <stddef.h>

#include "support/compiler.h"
#include "support/error.h"

#define KINDS 3

static struct {
    void (*notice)(void *context); /* NULL: nobody watches */
    void *context;
    pco__count came[KINDS]; /* how often each has changed and was not taken */
    unsigned meanwhile;     /* comes when something is taken */
    unsigned begun;
} watch;

int fake_changes_error;

void fake_change(unsigned what)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if ((what & 1u << kind) != 0) {
            pco__count_add(&watch.came[kind], 1);
        }
    }
    watch.notice(watch.context);
}

void fake_change_meanwhile(unsigned what)
{
    watch.meanwhile = what;
}

bool fake_changes_are_watched(void)
{
    return watch.notice != NULL;
}

unsigned fake_changes_begun(void)
{
    return watch.begun;
}

static pco__changes *the_only_one(void)
{
    return (pco__changes *)(void *)&watch;
}

static unsigned take(pco__changes *changes)
{
    unsigned what = 0;

    (void)changes;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        long came = pco__count_add(&watch.came[kind], 0);
        if (came != 0) {
            pco__count_add(&watch.came[kind], -came);
            what |= 1u << kind;
        }
    }
    if (watch.meanwhile != 0) {
        unsigned more = watch.meanwhile;
        watch.meanwhile = 0;
        fake_change(more);
    }
    return what;
}

static int begin(void (*notice)(void *context), void *context, pco__changes **changes,
                 pco_error *error)
{
    int failure = fake_changes_error;

    watch.begun++;
    if (failure != 0) {
        fake_changes_error = 0;
        notice(context);
        return pco__error_describe(error, failure, 0, "watch the network");
    }
    watch.notice = notice;
    watch.context = context;
    *changes = the_only_one();
    return 0;
}

static size_t descriptors(const pco__changes *changes, pco_socket *list)
{
    (void)changes;
    (void)list;
    return 0;
}

static void end(pco__changes *changes)
{
    watch.meanwhile = 0;
    take(changes);
    watch.notice = NULL;
}

const pco__changes_class fake_changes_class = {
    .begin = begin, .descriptors = descriptors, .take = take, .end = end};
