/* SPDX-License-Identifier: MIT */
/* child.h: for tests that run themselves a second time, to see the program end. */
#ifndef CHILD_H
#define CHILD_H

/*
 * In the second process: when the program ends by abort() or a fault, no window asks what to do,
 * and nothing is left on the disk. Each system has its own.
 */
void child_ends_without_a_word(void);

#endif
