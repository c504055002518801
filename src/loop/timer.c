/* SPDX-License-Identifier: MIT */
/*
 * timer.c: a wheel of slots, each of which holds a heap.
 *
 * The one hard idea: a timer is filed by the highest byte in which its time differs from the
 * horizon, a time that has passed. The place of that byte is the level, its value is the slot. So
 * near the horizon slots are narrow and far from it wide, all of one level are due before all of
 * the next, and within a level the slots are in order. When time reaches a slot the horizon moves
 * there, and the timers of this slot are filed anew, at lower levels. All others may stay: the
 * highest byte in which they differ from the horizon is still the same. So a timer moves at most
 * once per level, however many there are.
 *
 * The lowest byte of the time is left out: the narrowest slots are 256 ns wide. In the lowest
 * level timers fire straight from their slots: the horizon moves in steps of 256 of them, which is
 * a slot of the level above. A time before the horizon shares the very first slot.
 *
 * A slot is a heap and not a list because the loop must know exactly when its first timer is due,
 * and that one may be in a wide slot. The heaps are pairing heaps: trees in which no child is due
 * before its parent. Two trees are merged by making the later root the first child of the earlier.
 * When a root leaves, its children are merged in pairs, which keeps the cost logarithmic on average
 * over many operations.
 */
#include "loop/timer.h"

#include <assert.h>
#include <stddef.h>

#include "support/compiler.h"

/* ---- A heap ---- */

static bool comes_before(const pco__timer *one, const pco__timer *other)
{
    return one->when != other->when ? one->when < other->when : one->sequence < other->sequence;
}

static pco__timer *merge(pco__timer *one, pco__timer *other)
{
    if (one == NULL || other == NULL) {
        return one != NULL ? one : other;
    }
    if (comes_before(other, one)) {
        pco__timer *swap = one;
        one = other;
        other = swap;
    }
    other->previous = one;
    other->sibling = one->child;
    if (one->child != NULL) {
        one->child->previous = other;
    }
    one->child = other;
    one->sibling = NULL;
    one->previous = NULL;
    return one;
}

/* Merges a list of siblings: in pairs from left to right, then the pairs from right to left. */
static pco__timer *merge_siblings(pco__timer *first)
{
    pco__timer *pairs = NULL;
    while (first != NULL) {
        pco__timer *second = first->sibling;
        pco__timer *rest = second != NULL ? second->sibling : NULL;
        first->sibling = NULL;
        if (second != NULL) {
            second->sibling = NULL;
        }
        pco__timer *pair = merge(first, second);
        pair->sibling = pairs;
        pairs = pair;
        first = rest;
    }
    pco__timer *root = NULL;
    while (pairs != NULL) {
        pco__timer *rest = pairs->sibling;
        pairs->sibling = NULL;
        root = merge(root, pairs);
        pairs = rest;
    }
    if (root != NULL) {
        root->previous = NULL;
    }
    return root;
}

/* ---- The slots ---- */

static size_t slot_of(const pco__timers *timers, uint64_t when)
{
    if (when < timers->horizon) {
        return 0;
    }
    size_t level = 0;
    uint64_t ticks = when >> 8;
    for (uint64_t rest = (when ^ timers->horizon) >> 16; rest != 0; rest >>= 8) {
        ticks >>= 8;
        level++;
    }
    return level * 256 + ticks % 256;
}

static void set_slot(pco__timers *timers, size_t slot, pco__timer *root)
{
    uint64_t bit = (uint64_t)1 << (slot % 64);
    uint64_t *filled = &timers->filled[slot / 64];
    uint64_t word = (uint64_t)1 << (slot / 64);
    *filled = root != NULL ? *filled | bit : *filled & ~bit;
    timers->filled_words =
        *filled != 0 ? timers->filled_words | word : timers->filled_words & ~word;
    timers->slots[slot] = root;
}

static pco__timer *find_first(const pco__timers *timers)
{
    if (timers->filled_words == 0) {
        return NULL;
    }
    size_t word = pco__lowest_bit(timers->filled_words);
    return timers->slots[word * 64 + pco__lowest_bit(timers->filled[word])];
}

/* Puts a tree, all of which belongs there, into the slot of its root. */
static inline void file_tree(pco__timers *timers, pco__timer *root)
{
    size_t slot = slot_of(timers, root->when);
    if (timers->slots[slot] == NULL) {
        set_slot(timers, slot, root);
    } else {
        timers->slots[slot] = merge(timers->slots[slot], root);
    }
}

static inline void file_single(pco__timers *timers, pco__timer *timer)
{
    timer->child = NULL;
    timer->sibling = NULL;
    timer->previous = NULL;
    file_tree(timers, timer);
}

/* Files every timer of a tree. Lists of siblings still to be done are linked by `previous`. */
static void file_each(pco__timers *timers, pco__timer *root)
{
    pco__timer *waiting = root;
    while (waiting != NULL) {
        pco__timer *timer = waiting;
        waiting = timer->previous;
        while (timer != NULL) {
            pco__timer *sibling = timer->sibling;
            if (timer->child != NULL) {
                timer->child->previous = waiting;
                waiting = timer->child;
            }
            file_single(timers, timer);
            timer = sibling;
        }
    }
}

/*
 * Moves the horizon up to a time that is not after the first timer's. Only the slot of that time
 * can be concerned: those before it are empty, and those behind it stay what they are.
 */
static void move_horizon(pco__timers *timers, uint64_t when)
{
    uint64_t horizon = when & ~(uint64_t)0xffff;
    if (horizon <= timers->horizon) {
        return;
    }
    size_t slot = slot_of(timers, horizon);
    pco__timer *root = timers->slots[slot];
    set_slot(timers, slot, NULL);
    timers->horizon = horizon;
    file_each(timers, root);
}

/* ---- The timers ---- */

void pco__timer_start(pco__timers *timers, pco__timer *timer, uint64_t when)
{
    assert(!pco__timer_is_running(timer) && timer->fire != NULL);
    timer->when = when;
    timer->sequence = ++timers->sequence;
    file_single(timers, timer);
    if (timers->first == NULL || when < timers->first->when) {
        timers->first = timer;
    }
}

static void take_root(pco__timers *timers, pco__timer *timer)
{
    pco__timer *root = merge_siblings(timer->child);
    set_slot(timers, slot_of(timers, timer->when), root);
    if (timer == timers->first) {
        timers->first = root != NULL ? root : find_first(timers);
    }
}

static void take_child(pco__timers *timers, pco__timer *timer)
{
    if (timer->previous->child == timer) {
        timer->previous->child = timer->sibling;
    } else {
        timer->previous->sibling = timer->sibling;
    }
    if (timer->sibling != NULL) {
        timer->sibling->previous = timer->previous;
    }
    if (timer->child != NULL) {
        file_tree(timers, merge_siblings(timer->child));
    }
}

void pco__timer_stop(pco__timers *timers, pco__timer *timer)
{
    if (!pco__timer_is_running(timer)) {
        return;
    }
    timer->sequence = 0;
    if (timer->previous == NULL) {
        take_root(timers, timer);
    } else {
        take_child(timers, timer);
    }
}

pco__timer *pco__timers_take_due(pco__timers *timers, uint64_t now)
{
    pco__timer *first = timers->first;
    if (first == NULL) {
        return NULL;
    }
    move_horizon(timers, first->when < now ? first->when : now);
    if (first->when > now) {
        return NULL;
    }
    pco__timer_stop(timers, first);
    return first;
}
