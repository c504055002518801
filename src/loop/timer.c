/* SPDX-License-Identifier: MIT */
/*
 * timer.c: a wheel of slots, each of which holds a forest.
 *
 * The first hard idea: a timer is filed by the highest byte in which its time differs from the
 * horizon, a time that has passed. The place of that byte is the level, its value is the slot. So
 * near the horizon slots are narrow and far from it wide, all of one level are due before all of
 * the next, and within a level the slots are in order. When time reaches a slot the horizon moves
 * there, and the timers of this slot are filed anew, at lower levels. All others may stay: the
 * highest byte in which they differ from the horizon is still the same. So a timer moves at most
 * once per level, however many there are.
 *
 * A slot that is reached may hold a million timers. They are filed a few at a time; the others stay
 * where they are, and the first of all timers is sought there, too. The horizon never passes a
 * timer, and so it does not leave the slot before the last of them: at most one slot per level, the
 * one that the horizon is in, holds timers that should be at lower levels.
 *
 * The lowest byte of the time is left out: the narrowest slots are 256 ns wide. In the lowest
 * level timers fire straight from their slots: the horizon moves in steps of 256 of them, which is
 * a slot of the level above. A time before the horizon shares the very first slot.
 *
 * The second hard idea: the loop must know exactly when its first timer is due, and that one may be
 * in a wide slot. So a slot is a forest: some trees in which no child is due before its parent,
 * each with a rank. Two trees of one rank make one of the next, and the trees of a slot all have
 * different ranks, from low to high: they are the ones of a binary number. One more timer is an
 * increment with its carry; taking out the root of the first tree, whose children become trees of
 * the slot, is a decrement. Where a timer leaves, its children are made one tree, which takes its
 * place and its rank. The rank then says no more how many timers there are, but what counts
 * remains: children have different ranks, all below their parent's (front to back: high to low),
 * and the highest is at most the logarithm of the number of timers that came to the slot.
 */
#include "loop/timer.h"

#include <assert.h>
#include <stddef.h>

#include "support/compiler.h"

/* How many timers are filed anew at one opportunity: each turn, and each time that one fires. */
#define FILED_AT_ONCE 64

/* ---- Trees ---- */

static bool comes_before(const pco__timer *one, const pco__timer *other)
{
    return one->when != other->when ? one->when < other->when : one->sequence < other->sequence;
}

/* Puts a tree where `link` points from, before a sibling. */
static void attach(pco__timer **link, pco__timer *tree, pco__timer *sibling)
{
    *link = tree;
    tree->link = link;
    tree->sibling = sibling;
    if (sibling != NULL) {
        sibling->link = &tree->sibling;
    }
}

/* Makes one of two trees, the higher of whose ranks is `rank`. */
static pco__timer *merge(pco__timer *one, pco__timer *other, unsigned rank)
{
    if (comes_before(other, one)) {
        pco__timer *swap = one;
        one = other;
        other = swap;
    }
    one->rank = (rank + 1) & 63;
    other->rank = rank & 63;
    attach(&one->child, other, one->child);
    return one;
}

/* Makes one tree of a timer's children; NULL if there are none. */
static pco__timer *merge_children(pco__timer *timer)
{
    pco__timer *from_low = NULL;
    pco__timer *next;
    for (pco__timer *child = timer->child; child != NULL; child = next) {
        next = child->sibling;
        child->sibling = from_low;
        from_low = child;
    }
    pco__timer *tree = NULL;
    for (pco__timer *child = from_low; child != NULL; child = next) {
        next = child->sibling;
        tree = tree != NULL ? merge(tree, child, child->rank) : child;
    }
    return tree;
}

/* Which comes first: `first`, which may be NULL, or the root of one of the trees. */
static pco__timer *first_of(pco__timer *first, pco__timer *trees)
{
    for (; trees != NULL; trees = trees->sibling) {
        if (first == NULL || comes_before(trees, first)) {
            first = trees;
        }
    }
    return first;
}

/* ---- The slots ---- */

static size_t slot_of(const pco__timers *timers, uint64_t when)
{
    if (when < timers->horizon) {
        return 0;
    }
    size_t level = pco__highest_bit((when ^ timers->horizon) >> 8 | 1) / 8;
    return level * 256 + (when >> (8 * level + 8)) % 256;
}

/* The slot of a level that the horizon is in. */
static size_t reached_slot(const pco__timers *timers, size_t level)
{
    return level * 256 + (timers->horizon >> (8 * level + 8)) % 256;
}

static void mark_filled(pco__timers *timers, size_t slot)
{
    timers->filled[slot / 64] |= (uint64_t)1 << (slot % 64);
    timers->filled_words |= (uint64_t)1 << (slot / 64);
}

static void mark_empty(pco__timers *timers, size_t slot)
{
    timers->filled[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    if (timers->filled[slot / 64] == 0) {
        timers->filled_words &= ~((uint64_t)1 << (slot / 64));
    }
}

static pco__timer *find_first(const pco__timers *timers)
{
    if (timers->filled_words == 0) {
        return NULL;
    }
    size_t word = pco__lowest_bit(timers->filled_words);
    size_t slot = word * 64 + pco__lowest_bit(timers->filled[word]);
    pco__timer *first = first_of(NULL, timers->slots[slot]);
    for (uint64_t levels = timers->reached; levels != 0; levels &= levels - 1) {
        size_t level = pco__lowest_bit(levels);
        first = first_of(first, timers->slots[reached_slot(timers, level)]);
    }
    return first;
}

static void file_timer(pco__timers *timers, pco__timer *timer)
{
    size_t slot = slot_of(timers, timer->when);
    pco__timer *trees = timers->slots[slot];
    if (trees == NULL) {
        mark_filled(timers, slot);
    }
    pco__timer *tree = timer;
    tree->child = NULL;
    tree->rank = 0;
    while (trees != NULL && trees->rank == tree->rank) {
        pco__timer *rest = trees->sibling;
        tree = merge(tree, trees, tree->rank);
        trees = rest;
    }
    attach(&timers->slots[slot], tree, trees);
}

/* Takes the root of its first tree out of a slot that is not empty. */
static pco__timer *take_root(pco__timers *timers, size_t slot)
{
    pco__timer *root = timers->slots[slot];
    pco__timer *trees = root->sibling;
    pco__timer *next;
    for (pco__timer *child = root->child; child != NULL; child = next) {
        next = child->sibling;
        attach(&timers->slots[slot], child, trees);
        trees = child;
    }
    if (trees != NULL) {
        trees->link = &timers->slots[slot];
    } else {
        mark_empty(timers, slot);
    }
    timers->slots[slot] = trees;
    return root;
}

/* Files anew some of the timers that are in slots which the horizon has reached. */
static void file_some(pco__timers *timers)
{
    for (unsigned i = 0; i < FILED_AT_ONCE && timers->reached != 0; i++) {
        size_t slot = reached_slot(timers, pco__lowest_bit(timers->reached));
        if (timers->slots[slot] != NULL) {
            file_timer(timers, take_root(timers, slot));
        } else {
            timers->reached &= timers->reached - 1;
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
    if (horizon > timers->horizon) {
        size_t level = slot_of(timers, horizon) / 256;
        timers->horizon = horizon;
        if (level != 0) {
            timers->reached |= (uint64_t)1 << level;
        }
    }
}

/* ---- The timers ---- */

void pco__timer_start(pco__timers *timers, pco__timer *timer, uint64_t when)
{
    assert(!pco__timer_is_running(timer) && timer->fire != NULL);
    timer->when = when;
    timer->sequence = ++timers->sequence & (UINT64_MAX >> 6);
    file_timer(timers, timer);
    if (timers->first == NULL || when < timers->first->when) {
        timers->first = timer;
    }
}

/* Unlinks a timer without children. The slot that its link may be in is told by the address. */
static void detach(pco__timers *timers, pco__timer *timer)
{
    *timer->link = timer->sibling;
    if (timer->sibling != NULL) {
        timer->sibling->link = timer->link;
        return;
    }
    uintptr_t offset = (uintptr_t)timer->link - (uintptr_t)timers->slots;
    if (offset < sizeof timers->slots) {
        mark_empty(timers, offset / sizeof timers->slots[0]);
    }
}

void pco__timer_stop(pco__timers *timers, pco__timer *timer)
{
    if (!pco__timer_is_running(timer)) {
        return;
    }
    timer->sequence = 0;
    pco__timer *tree = merge_children(timer);
    if (tree != NULL) {
        tree->rank = timer->rank;
        attach(timer->link, tree, timer->sibling);
    } else {
        detach(timers, timer);
    }
    if (timer == timers->first) {
        timers->first = find_first(timers);
    }
}

pco__timer *pco__timers_take_due(pco__timers *timers, uint64_t now)
{
    pco__timer *first = timers->first;
    if (first == NULL) {
        return NULL;
    }
    move_horizon(timers, first->when < now ? first->when : now);
    file_some(timers);
    if (first->when > now) {
        return NULL;
    }
    pco__timer_stop(timers, first);
    return first;
}

void pco__timers_pass(pco__timers *timers, uint64_t now)
{
    if (timers->first == NULL) {
        move_horizon(timers, now);
    }
}
