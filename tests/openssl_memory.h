/* SPDX-License-Identifier: MIT */
/*
 * openssl_memory.h: OpenSSL's memory under a test's eyes: how much it has, and what it does when it
 * gets none. For one thread.
 */
#ifndef OPENSSL_MEMORY_H
#define OPENSSL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* First of all in main(). False: OpenSSL has asked for memory before. */
bool openssl_memory_watch(void);

/* The nth request from now on fails. 0: none does; the others are counted on. */
void openssl_memory_fail(size_t nth);

/* How many requests there were since the last call of that with another number than 0. */
size_t openssl_memory_requests(void);

/* Bytes in use. */
size_t openssl_memory_bytes(void);

#endif
