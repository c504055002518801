/* SPDX-License-Identifier: MIT */
/* child.h: for tests of several processes, such as those that run themselves a second time. */
#ifndef CHILD_H
#define CHILD_H

/*
 * In the second process: when the program ends by abort() or a fault, no window asks what to do,
 * and nothing is left on the disk. Each system has its own.
 */
void child_ends_without_a_word(void);

/* The number of this process. */
long long process_of_this_test(void);

#endif
