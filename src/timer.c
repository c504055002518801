/* SPDX-License-Identifier: MIT */
/*
 * timer.c: the pairing heap of timer.h: a tree in which no child is due before its parent. Two
 * trees are merged by making the later root the first child of the earlier. When a node leaves, its
 * children are merged in pairs, which keeps the cost logarithmic on average over many operations.
 */
#include "timer.h"

#include <assert.h>
#include <stddef.h>

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

void pco__timer_start(pco__timers *timers, pco__timer *timer, uint64_t when)
{
    assert(!pco__timer_is_running(timer) && timer->fire != NULL);
    timer->when = when;
    timer->sequence = ++timers->sequence;
    timer->child = NULL;
    timer->sibling = NULL;
    timer->previous = NULL;
    timers->root = merge(timers->root, timer);
}

void pco__timer_stop(pco__timers *timers, pco__timer *timer)
{
    if (!pco__timer_is_running(timer)) {
        return;
    }
    timer->sequence = 0;
    if (timer == timers->root) {
        timers->root = merge_siblings(timer->child);
        return;
    }
    if (timer->previous->child == timer) {
        timer->previous->child = timer->sibling;
    } else {
        timer->previous->sibling = timer->sibling;
    }
    if (timer->sibling != NULL) {
        timer->sibling->previous = timer->previous;
    }
    timers->root = merge(timers->root, merge_siblings(timer->child));
}

pco__timer *pco__timers_take_due(pco__timers *timers, uint64_t now)
{
    pco__timer *first = timers->root;
    if (first == NULL || first->when > now) {
        return NULL;
    }
    pco__timer_stop(timers, first);
    return first;
}
