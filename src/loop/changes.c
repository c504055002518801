/* SPDX-License-Identifier: MIT */
/*
 * changes.c: the network has changed, or the machine has slept, as a callback of the loop.
 *
 * News come in swarms: an interface that comes up brings addresses, and each of them routes. So
 * they are collected until nothing has come for a while, or some have waited for long enough. Where
 * they come from threads of the system's, these count, and whoever counts the first posts a task,
 * as signals do: it is in one queue at most, and needs no memory.
 */
#include "loop/loop.h"

#include <portico/descriptor.h>
#include <portico/interfaces.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/changes.h"
#include "system/network.h"

/*
 * How long it has to be quiet before what has changed is told, and how long that may take at most.
 */
#define QUIET 0.25
#define LONGEST 2.0

typedef struct changes {
    pco__resident resident;
    pco_loop *loop;
    pco_network_changed callback;
    void *context;

    pco__changes *watch; /* NULL: nobody wants to know */
    pco_socket descriptors[PCO__CHANGES_DESCRIPTORS];
    size_t descriptor_count;
    pco__count noticed; /* how often, and not looked after; the task is queued if not 0 */
    pco__task look;
    pco__timer look_again; /* where nobody tells */

    unsigned what; /* has changed, and is not told yet */
    double latest; /* when it has to be, in the loop's time; while `what` is not 0 */
    pco__timer quiet;
    pco__task tell;
} changes;

static const pco__changes_class *class_of(const changes *self)
{
    return self->loop->backend->class_->network->changes;
}

/* ---- What the system says ---- */

static void take(changes *self)
{
    unsigned news = class_of(self)->take(self->watch);
    if (news == 0) {
        return;
    }
    double now = pco_loop_time(self->loop);
    if (self->what == 0) {
        self->latest = now + LONGEST;
    }
    self->what |= news;
    double left = self->latest > now ? self->latest - now : 0;
    pco__loop_stop_timer(self->loop, &self->quiet);
    pco__loop_start_timer(self->loop, &self->quiet, left < QUIET ? left : QUIET);
}

/* On any thread. */
static void notice(void *context)
{
    changes *self = context;
    if (pco__count_add(&self->noticed, 1) == 0) {
        pco__loop_post(self->loop, &self->look);
    }
}

/* What comes meanwhile finds the count above 0, and so is the task's. */
static void look(pco__task *task)
{
    changes *self = PCO__CONTAINER(task, changes, look);
    long noticed = pco__count_add(&self->noticed, 0);
    take(self);
    if (pco__count_add(&self->noticed, -noticed) != noticed) {
        pco__loop_schedule(self->loop, task);
    }
}

static void became_readable(void *context)
{
    take(context);
}

static void look_again(pco__timer *timer)
{
    changes *self = PCO__CONTAINER(timer, changes, look_again);
    take(self);
    pco__loop_start_timer(self->loop, timer, class_of(self)->look_every);
}

/* ---- What the user hears ---- */

static void quiet_at_last(pco__timer *timer)
{
    changes *self = PCO__CONTAINER(timer, changes, quiet);
    pco__loop_schedule(self->loop, &self->tell);
}

static void tell(pco__task *task)
{
    changes *self = PCO__CONTAINER(task, changes, tell);
    unsigned what = self->what;
    self->what = 0;
    pco__loop_stop_timer(self->loop, &self->quiet);
    self->callback(self->loop, what, self->context);
}

/* ---- Watching ---- */

/* Nobody gives notice any more. */
static void forget_news(changes *self)
{
    pco__loop_unschedule(self->loop, &self->look);
    self->noticed = (pco__count){0};
    pco__loop_unschedule(self->loop, &self->tell);
    self->what = 0;
    pco__loop_stop_timer(self->loop, &self->look_again);
    pco__loop_stop_timer(self->loop, &self->quiet);
}

static void end_watch(changes *self)
{
    if (self->watch == NULL) {
        return;
    }
    for (size_t i = 0; i < self->descriptor_count; i++) {
        pco_loop_remove_reader(self->loop, self->descriptors[i]);
    }
    class_of(self)->end(self->watch);
    self->watch = NULL;
    forget_news(self);
}

static int begin_watch(changes *self, pco_error *error)
{
    int code = class_of(self)->begin(notice, self, &self->watch, error);
    if (code != 0) {
        self->watch = NULL;
        forget_news(self);
        return code;
    }
    self->descriptor_count = class_of(self)->descriptors(self->watch, self->descriptors);
    for (size_t i = 0; i < self->descriptor_count; i++) {
        code = pco_loop_add_reader(self->loop, self->descriptors[i], became_readable, self, error);
        if (code != 0) {
            end_watch(self);
            return code;
        }
    }
    if (class_of(self)->look_every > 0) {
        pco__loop_start_timer(self->loop, &self->look_again, class_of(self)->look_every);
    }
    return 0;
}

static changes *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, changes, resident);
}

static void end(pco__resident *resident)
{
    end_watch(of(resident));
}

static void leave(pco__resident *resident)
{
    pco__free(of(resident));
}

static const pco__resident_class changes_class = {.end = end, .leave = leave};

static changes *find_changes(pco_loop *loop)
{
    pco__resident *found = pco__loop_find(loop, &changes_class);
    return found != NULL ? of(found) : NULL;
}

/* NULL: no memory. */
static changes *find_or_make_changes(pco_loop *loop)
{
    changes *own = find_changes(loop);
    if (own == NULL) {
        own = pco__calloc(sizeof *own);
        if (own != NULL) {
            own->resident.class_ = &changes_class;
            own->loop = loop;
            own->look.run = look;
            own->look_again.fire = look_again;
            own->quiet.fire = quiet_at_last;
            own->tell.run = tell;
            pco__loop_move_in_first(loop, &own->resident);
        }
    }
    return own;
}

static int set(pco_loop *loop, pco_network_changed callback, void *context, pco_error *error)
{
    changes *self = find_or_make_changes(loop);
    if (self == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch the network");
    }
    int code = self->watch == NULL ? begin_watch(self, error) : 0;
    if (code == 0) {
        self->callback = callback;
        self->context = context;
    }
    return code;
}

int pco_loop_set_network_changed(pco_loop *loop, pco_network_changed callback, void *context,
                                 pco_error *error)
{
    pco__loop_check_thread(loop);
    if (callback == NULL) {
        changes *self = find_changes(loop);
        if (self != NULL) {
            end_watch(self);
        }
        return 0;
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    return set(loop, callback, context, error);
}
