/* SPDX-License-Identifier: MIT */
/*
 * readers.c: descriptors of other libraries, as a resident of the loop.
 *
 * What is watched is a record for each number, found by a hash table. The hard idea is when it
 * goes: an operation in flight belongs to the backend, so a record stays until both are back. If
 * its number is added again meanwhile it simply lives on: a canceled operation that comes back and
 * is wanted is submitted again.
 */
#include <portico/descriptor.h>

#include <assert.h>

#include "loop/loop.h"
#include "support/error.h"
#include "support/memory.h"

enum { READS, WRITES, DIRECTIONS };

/* The first number of places in the table; always a power of two. */
#define LEAST_PLACES 16

typedef struct watch watch;

/* One direction of a descriptor. */
typedef struct direction {
    pco__op op;
    pco__task task;
    pco_callback callback; /* NULL: nobody wants to know */
    void *context;
} direction;

struct watch {
    pco__io io;
    watch *next; /* in its place of the table */
    struct readers *owner;
    direction directions[DIRECTIONS];
};

typedef struct readers {
    pco__resident resident;
    pco_loop *loop;
    watch **places;
    size_t place_count;
    size_t count;
} readers;

/* ---- The table ---- */

static size_t place_of(const readers *self, pco_socket number)
{
    return (size_t)(((uint64_t)number * 0x9E3779B97F4A7C15U) >> 32) & (self->place_count - 1);
}

static watch *find(const readers *self, pco_socket number)
{
    watch *found = self->places[place_of(self, number)];
    while (found != NULL && found->io.socket != number) {
        found = found->next;
    }
    return found;
}

static void insert(readers *self, watch *one)
{
    watch **place = &self->places[place_of(self, one->io.socket)];
    one->next = *place;
    *place = one;
}

static void take_out(readers *self, const watch *one)
{
    watch **place = &self->places[place_of(self, one->io.socket)];
    while (*place != one) {
        place = &(*place)->next;
    }
    *place = one->next;
}

/* Twice as many places, or as few as there are where there is no memory: then it is slower. */
static void grow(readers *self)
{
    watch **before = self->places;
    size_t count = self->place_count;
    watch **larger = pco__calloc(2 * count * sizeof *larger);
    if (larger == NULL) {
        return;
    }
    self->places = larger;
    self->place_count = 2 * count;
    for (size_t i = 0; i < count; i++) {
        watch *next;
        for (watch *one = before[i]; one != NULL; one = next) {
            next = one->next;
            insert(self, one);
        }
    }
    pco__free(before);
}

/* ---- One descriptor ---- */

static watch *watch_of(direction *self)
{
    return (watch *)self->op.io; /* its first member */
}

/* Nothing of it is in flight, and nobody wants it. */
static void let_go(watch *self)
{
    readers *owner = self->owner;
    pco__backend *backend = owner->loop->backend;
    backend->class_->detach(backend, &self->io);
    take_out(owner, self);
    owner->count--;
    pco__free(self);
}

static void let_go_if_idle(watch *self)
{
    if (!self->directions[READS].op.in_flight && !self->directions[WRITES].op.in_flight) {
        let_go(self);
    }
}

static void call(pco__task *task)
{
    const direction *self = PCO__CONTAINER(task, direction, task);
    self->callback(self->context);
}

static void forget(direction *self)
{
    pco__loop_unschedule(watch_of(self)->owner->loop, &self->task);
    self->callback = NULL;
}

/* The system can tell no more of it. */
static void give_up(direction *self, const pco__result *result)
{
    watch *owner = watch_of(self);
    pco_loop *loop = owner->owner->loop;
    pco_error error;
    pco__error_describe(&error, result->error, result->system_code, "watch descriptor %lld",
                        (long long)owner->io.socket);
    forget(self);
    let_go_if_idle(owner);
    pco__loop_report(loop, "a descriptor cannot be watched any more", &error, NULL, NULL, NULL);
}

static bool done(pco__op *op, const pco__result *result)
{
    direction *self = PCO__CONTAINER(op, direction, op);
    if (self->callback == NULL) {
        let_go_if_idle(watch_of(self));
        return false;
    }
    if (result->error != 0 && result->error != PCO_ECANCELED) {
        give_up(self, result);
        return false;
    }
    if (result->error == 0) {
        pco__loop_schedule(watch_of(self)->owner->loop, &self->task);
    }
    return true;
}

static void start(watch *self, int which, pco_callback callback, void *context)
{
    direction *one = &self->directions[which];
    pco__backend *backend = self->owner->loop->backend;
    one->callback = callback;
    one->context = context;
    if (!one->op.in_flight) {
        backend->class_->submit(backend, &one->op);
    }
}

static void stop(direction *self)
{
    pco__backend *backend = watch_of(self)->owner->loop->backend;
    forget(self);
    backend->class_->cancel(backend, &self->op);
}

static void stop_if_wanted(direction *self)
{
    if (self->callback != NULL) {
        stop(self);
    }
}

static watch *make(readers *self, pco_socket number)
{
    watch *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    made->io.socket = number;
    made->owner = self;
    for (int which = 0; which < DIRECTIONS; which++) {
        direction *one = &made->directions[which];
        one->op.io = &made->io;
        one->op.done = done;
        one->op.kind = which == READS ? PCO__OP_READABLE : PCO__OP_WRITABLE;
        one->task.run = call;
    }
    return made;
}

/* ---- All of a loop ---- */

static readers *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, readers, resident);
}

static void end(pco__resident *resident)
{
    readers *self = of(resident);
    for (size_t i = 0; i < self->place_count; i++) {
        for (watch *one = self->places[i]; one != NULL; one = one->next) {
            for (int which = 0; which < DIRECTIONS; which++) {
                stop_if_wanted(&one->directions[which]);
            }
        }
    }
}

static bool has_ended(pco__resident *resident)
{
    return of(resident)->count == 0;
}

static void leave(pco__resident *resident)
{
    pco__free(of(resident)->places);
    pco__free(of(resident));
}

static const pco__resident_class readers_class = {
    .end = end, .has_ended = has_ended, .leave = leave};

/* NULL: the loop has none. */
static readers *find_readers(pco_loop *loop)
{
    pco__resident *found = pco__loop_find(loop, &readers_class);
    return found != NULL ? of(found) : NULL;
}

/* NULL: no memory. */
static readers *find_or_make_readers(pco_loop *loop)
{
    readers *self = find_readers(loop);
    if (self != NULL) {
        return self;
    }
    self = pco__calloc(sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->places = pco__calloc(LEAST_PLACES * sizeof *self->places);
    if (self->places == NULL) {
        pco__free(self);
        return NULL;
    }
    self->place_count = LEAST_PLACES;
    self->resident.class_ = &readers_class;
    self->loop = loop;
    pco__loop_move_in_first(loop, &self->resident);
    return self;
}

/* ---- Adding and removing ---- */

static int add_new(pco_loop *loop, pco_socket number, watch **added, pco_error *error)
{
    readers *self = find_or_make_readers(loop);
    watch *made = self != NULL ? make(self, number) : NULL;
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch descriptor %lld",
                                   (long long)number);
    }
    int code = loop->backend->class_->attach(loop->backend, &made->io, PCO__IO_FOREIGN, error);
    if (code != 0) {
        pco__free(made);
        return code;
    }
    if (++self->count > self->place_count) {
        grow(self);
    }
    insert(self, made);
    *added = made;
    return 0;
}

/* What had the number before was closed: nobody wants to know of it any more, in no direction. */
static int add_again(pco_loop *loop, watch *there, pco_error *error)
{
    int code = loop->backend->class_->attach(loop->backend, &there->io, PCO__IO_FOREIGN, error);
    if (code != PCO__ANOTHER) {
        return code;
    }
    stop_if_wanted(&there->directions[READS]);
    stop_if_wanted(&there->directions[WRITES]);
    return 0;
}

static int add(pco_loop *loop, int which, pco_socket number, pco_callback callback, void *context,
               pco_error *error)
{
    pco__loop_check_thread(loop);
    if (callback == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "watching a descriptor needs a callback");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    const readers *self = find_readers(loop);
    watch *there = self != NULL ? find(self, number) : NULL;
    int code = there != NULL ? add_again(loop, there, error) : add_new(loop, number, &there, error);
    if (code == 0) {
        start(there, which, callback, context);
    }
    return code;
}

static bool remove_one(pco_loop *loop, int which, pco_socket number)
{
    pco__loop_check_thread(loop);
    const readers *self = find_readers(loop);
    watch *there = self != NULL ? find(self, number) : NULL;
    if (there == NULL || there->directions[which].callback == NULL) {
        return false;
    }
    stop(&there->directions[which]);
    return true;
}

static bool is_wanted(const watch *self)
{
    return self->directions[READS].callback != NULL || self->directions[WRITES].callback != NULL;
}

/* What is watched under this number may have been closed, and be another than what has it now. */
int pco__loop_check_unwatched(pco_loop *loop, pco_socket number, pco_error *error)
{
    const readers *self = find_readers(loop);
    watch *there = self != NULL ? find(self, number) : NULL;
    if (there == NULL || !is_wanted(there) || add_again(loop, there, NULL) != 0 ||
        !is_wanted(there)) {
        return 0;
    }
    return pco__error_set(error, PCO_EBUSY, 0,
                          "sock %lld is watched by this loop: remove its reader and its writer",
                          (long long)number);
}

int pco_loop_add_reader(pco_loop *loop, pco_socket descriptor, pco_callback callback, void *context,
                        pco_error *error)
{
    return add(loop, READS, descriptor, callback, context, error);
}

int pco_loop_add_writer(pco_loop *loop, pco_socket descriptor, pco_callback callback, void *context,
                        pco_error *error)
{
    return add(loop, WRITES, descriptor, callback, context, error);
}

bool pco_loop_remove_reader(pco_loop *loop, pco_socket descriptor)
{
    return remove_one(loop, READS, descriptor);
}

bool pco_loop_remove_writer(pco_loop *loop, pco_socket descriptor)
{
    return remove_one(loop, WRITES, descriptor);
}
