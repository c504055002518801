/* SPDX-License-Identifier: MIT */
/* error.h (internal): filling in a pco_error. */
#ifndef PCO_ERROR_INTERNAL_H
#define PCO_ERROR_INTERNAL_H

#include <portico/error.h>

#if defined(__clang__)
#define PCO__PRINTF(text, first) __attribute__((format(printf, text, first)))
#elif defined(__GNUC__) /* its plain "printf" is Microsoft's of old where it builds for Windows */
#define PCO__PRINTF(text, first) __attribute__((format(gnu_printf, text, first)))
#else
#define PCO__PRINTF(text, first)
#endif

/* Fills in *error, which may be NULL, and returns `code`. A message too long is cut. */
int pco__error_set(pco_error *error, int code, int system_code, const char *format, ...)
    PCO__PRINTF(4, 5);

/* A code that the program gave: PCO_EUNKNOWN for what is none of ours, as pco_error promises. */
int pco__error_known(int code);

/* As pco__error_set, and adds ": " and the code's own sentence to the message. */
int pco__error_describe(pco_error *error, int code, int system_code, const char *format, ...)
    PCO__PRINTF(4, 5);

#endif
