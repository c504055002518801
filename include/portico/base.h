/* SPDX-License-Identifier: MIT */
/*
 * base.h: what every other header needs. The export macros, the names of the objects, the
 * three-valued switch of the option structs, the version, and the allocator hook.
 *
 * The rules that hold everywhere:
 *
 *   Errors    Functions that can fail return int: 0, or a negative PCO_E* (portico/error.h).
 *             Results leave through an out-parameter, untouched on failure unless said otherwise.
 *             A last parameter `pco_error *error` (NULL if you do not care) receives the sentence.
 *   Options   are plain structs whose first field is their own size. Zero is the documented
 *             default of every field, so `{.size = sizeof options}` is a good start. A program that
 *             was compiled against an older header has fewer fields. A size of 0, one larger than
 *             this library knows, or one that cuts a field in two, is PCO_EINVAL: nothing is
 *             silently ignored.
 *   Time      is a double in seconds.
 *   Threads   A loop and all that belongs to it live on one thread. Only pco_loop_stop and
 *             pco_loop_call_soon_threadsafe may be called from others, and what makes another
 *             thread the loop's while it does not run (portico/loop.h). What outlives its loop
 *             (a server, a handle, a retained transport) may then be used on any thread, on one
 *             at a time. pco_ssl_context objects may be shared between loops of several threads.
 *   Callbacks may call everything, except freeing or running the loop that they run on.
 */
#ifndef PORTICO_BASE_H
#define PORTICO_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(PCO_BUILD_SHARED)
#define PCO_API __declspec(dllexport)
#elif defined(_WIN32) && defined(PCO_SHARED)
#define PCO_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define PCO_API __attribute__((visibility("default")))
#else
#define PCO_API
#endif

#define PCO_VERSION_MAJOR 0
#define PCO_VERSION_MINOR 2
#define PCO_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pco_loop pco_loop;
typedef struct pco_handle pco_handle;
typedef struct pco_request pco_request;
typedef struct pco_server pco_server;
typedef struct pco_transport pco_transport;
typedef struct pco_protocol pco_protocol;
typedef struct pco_protocol_methods pco_protocol_methods;
typedef struct pco_ssl_context pco_ssl_context;
typedef struct pco_ssl_session pco_ssl_session;
typedef struct pco_error pco_error;
typedef struct pco_address pco_address;

/* A socket of the operating system: a descriptor on POSIX, a SOCKET on Windows. */
typedef intptr_t pco_socket;
#define PCO_NO_SOCKET ((pco_socket)-1)

/* A piece of memory to be written. */
typedef struct pco_buffer {
    const void *data;
    size_t length;
} pco_buffer;

/* The switches of the option structs. PCO_DEFAULT is what the field's comment says. */
enum { PCO_DEFAULT = 0, PCO_ON = 1, PCO_OFF = 2 };

/* The version of the library that runs, "MAJOR.MINOR.PATCH". Any thread. */
PCO_API const char *pco_version(void);

/*
 * Replaces the functions through which Portico allocates its own memory (OpenSSL's is OpenSSL's:
 * see CRYPTO_set_mem_functions). They have the meaning of C's malloc, realloc and free, and must
 * be callable from every thread that uses the library. All three, or PCO_EINVAL; three NULLs
 * bring the standard ones back. With functions of yours, what has ended is freed at once: nothing
 * is kept for the next connection. Call it before anything else of the library, and again only when
 * nothing of the library exists. It is one of two pieces of state that the library has for the
 * whole process; the other is who handles signals (portico/signal.h), since a process has one
 * handler for each.
 */
PCO_API int pco_set_allocator(void *(*allocate)(size_t size),
                              void *(*reallocate)(void *memory, size_t size),
                              void (*deallocate)(void *memory));

#ifdef __cplusplus
}
#endif

#endif
