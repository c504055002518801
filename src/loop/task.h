/* SPDX-License-Identifier: MIT */
/*
 * task.h: something to run in the task phase of a turn, embedded in what waits for it: scheduling
 * cannot fail. A task is in the queue at most once.
 */
#ifndef PCO_TASK_H
#define PCO_TASK_H

#include "support/list.h"

typedef struct pco__task pco__task;
struct pco__task {
    pco__link link; /* zeroed: in no queue */
    void (*run)(pco__task *task);
};

static inline bool pco__task_is_queued(const pco__task *task)
{
    return task->link.next != NULL;
}

#endif
