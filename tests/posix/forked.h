/* SPDX-License-Identifier: MIT */
/* forked.h: for tests whose processes are forked from them. */
#ifndef FORKED_H
#define FORKED_H

/*
 * Ends a forked process with a status. Another program does that in its place: at an exit of this
 * one valgrind would look at the memory that the parent still has, and end with a status of its
 * own.
 */
void end_forked(int status);

#endif
