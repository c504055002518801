/* SPDX-License-Identifier: MIT */
/*
 * platform.h: what each system supplies besides its backends and its network (network.h): a clock,
 * and a few primitives of threads and files. system.c and threads.c of posix/ and win32/ implement
 * it.
 *
 * Functions with a pco_error fill in a full sentence ("read cert.pem: no such file") and return its
 * code. Strings are UTF-8.
 */
#ifndef PCO_PLATFORM_H
#define PCO_PLATFORM_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/error.h>

/* ---- Errors ---- */

/* The PCO_E* of a system's code; PCO_EUNKNOWN where the table has none. */
int pco__error_from_system(int system_code);

/* ---- System ---- */

uint64_t pco__monotonic(void); /* nanoseconds */

/* A number for the calling thread, never 0. */
uintptr_t pco__thread_id(void);

/* A mutex. PCO_ENOMEM, PCO_EAGAIN. */
typedef struct pco__mutex pco__mutex;
int pco__mutex_new(pco__mutex **mutex);
void pco__mutex_free(pco__mutex *mutex);
void pco__mutex_lock(pco__mutex *mutex);
void pco__mutex_unlock(pco__mutex *mutex);

/*
 * What threads wait for who hold a mutex, which they do not while they wait. Waking wakes all;
 * wait() may also return without. PCO_ENOMEM, PCO_EAGAIN.
 */
typedef struct pco__condition pco__condition;
int pco__condition_new(pco__condition **condition);
void pco__condition_free(pco__condition *condition);
void pco__condition_wait(pco__condition *condition, pco__mutex *mutex);
void pco__condition_wake(pco__condition *condition);

/* A thread that nobody waits for, and one that must be joined, once. PCO_ENOMEM, PCO_EAGAIN. */
typedef struct pco__thread pco__thread;
int pco__thread_start(void (*run)(void *context), void *context, pco_error *error);
int pco__thread_begin(void (*run)(void *context), void *context, pco__thread **thread,
                      pco_error *error);
void pco__thread_join(pco__thread *thread);

/*
 * An environment variable, NULL if it is not set or empty. NULL, too, in a program with rights that
 * who has started it need not have (setuid): what somebody else says does not count there.
 */
const char *pco__getenv(const char *name);

/*
 * The whole of a file, of at most `limit` bytes; *data comes from pco__malloc and is the caller's.
 * PCO_ENOENT, PCO_EACCES, PCO_EIO, PCO_EINVAL (larger, or a directory), PCO_ENOMEM.
 */
int pco__read_file(const char *path, size_t limit, unsigned char **data, size_t *length,
                   pco_error *error);

/*
 * A file to whose end lines are added; it is made if it is not there, for its owner alone to read
 * where the system has such rights. What one call adds stays together, whichever threads and
 * programs add to the file; what does not fit on the disk is lost. PCO_ENOENT, PCO_EACCES, PCO_EIO,
 * PCO_EINVAL (a directory), PCO_ENOMEM.
 */
int pco__log_open(const char *path, intptr_t *file, pco_error *error);
void pco__log_add(intptr_t file, const void *line, size_t length);
void pco__log_close(intptr_t file);

/*
 * Prints a sentence, what debug mode has to say, to stderr as a line of its own; on Windows to the
 * debugger, too.
 */
void pco__print(const char *sentence);

/* Prints a sentence in the same way and ends the program: misuse in debug mode. */
void pco__panic(const char *sentence);

#endif
