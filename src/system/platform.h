/* SPDX-License-Identifier: MIT */
/*
 * platform.h: what each system supplies besides its backends: sockets before they are attached,
 * names and addresses, and a few primitives of threads and files. posix/socket.c and system.c,
 * and win32/socket.c and system.c, implement it; everything above them is portable.
 *
 * Functions with a pco_error fill in a full sentence ("bind 127.0.0.1 port 80: permission
 * denied") and return its code. Strings are UTF-8.
 */
#ifndef PCO_PLATFORM_H
#define PCO_PLATFORM_H

#include <portico/address.h>
#include <portico/base.h>
#include <portico/error.h>

/* ---- Errors ---- */

/* The PCO_E* of a system's code; PCO_EUNKNOWN where the table has none. */
int pco__error_from_system(int system_code);

/* ---- Sockets ---- */

typedef struct pco__listener_options {
    int reuse_address; /* PCO_DEFAULT, PCO_ON, PCO_OFF, with create_server's meaning */
    bool reuse_port;
    bool keep_alive;
} pco__listener_options;

/* Whether reuse_port exists here; if not, `error` says so. 0 or PCO_ENOTSUP. */
int pco__socket_reuse_port_supported(pco_error *error);

/*
 * Opens a non-blocking, not inheritable stream socket, sets the options (IPV6_V6ONLY always; those
 * that accepted sockets inherit here, such as TCP_NODELAY), and binds it.
 * PCO_EAFNOSUPPORT: this system has no such family.
 */
int pco__socket_bind(const pco_address *address, const pco__listener_options *options,
                     pco_socket *sock, pco_error *error);

/*
 * Makes a socket of the user's fit for listening: checks that it is a stream socket, and makes it
 * non-blocking; *was_blocking says whether it was not, where the system can tell (not on Windows).
 * PCO_ENOTSOCK; PCO_EINVAL: not a stream socket. On failure nothing has changed.
 */
int pco__socket_adopt_listener(pco_socket sock, const pco__listener_options *options,
                               bool *was_blocking, pco_error *error);

/* Makes it blocking again: it goes back to the user. */
void pco__socket_make_blocking(pco_socket sock);

int pco__socket_listen(pco_socket sock, int backlog, pco_error *error);

/*
 * Opens a socket to connect with: non-blocking, not inheritable, TCP_NODELAY.
 */
int pco__socket_open(int family, pco_socket *sock, pco_error *error);

/*
 * Sets on an accepted socket what it did not inherit from its listener: TCP_NODELAY and, if
 * asked for, SO_KEEPALIVE. `adopted`: the listener was the caller's, and clients may have come to
 * it before it had them. Failures are not errors: the peer may be gone.
 */
void pco__socket_prepare_accepted(pco_socket sock, bool keep_alive, bool adopted);

/* Closes a socket that is not attached; with a reset if `reset`. */
void pco__socket_close(pco_socket sock, bool reset);

int pco__socket_sockname(pco_socket sock, pco_address *address);
int pco__socket_peername(pco_socket sock, pco_address *address);

/* ---- Addresses and names ---- */

/* The address with another port; what has no port is unchanged. */
void pco__address_set_port(pco_address *address, int port);

/*
 * Looks up `host` (NULL: all interfaces, or loopback without PCO_AI_PASSIVE) for stream sockets.
 * *addresses comes from pco__malloc and is the caller's. Blocks. Any thread.
 * PCO_ENONAME, PCO_ERESOLVE, PCO_ENOMEM, PCO_EMFILE, PCO_EINVAL (a family or flag that does not
 * exist).
 */
int pco__resolve(const char *host, int port, int family, int flags, pco_address **addresses,
                 size_t *count, pco_error *error);

/*
 * The port that the system's list of services has for a name, with TCP. Blocks. Any thread.
 * PCO_ENONAME, PCO_ERESOLVE, PCO_ENOMEM, PCO_EMFILE.
 */
int pco__resolve_service(const char *service, int *port, pco_error *error);

/* ---- System ---- */

uint64_t pco__monotonic(void); /* nanoseconds */

/* A number for the calling thread, never 0. */
uintptr_t pco__thread_id(void);

/* A mutex, and a thread that nobody waits for. PCO_ENOMEM, PCO_EAGAIN. */
typedef struct pco__mutex pco__mutex;
int pco__mutex_new(pco__mutex **mutex);
void pco__mutex_free(pco__mutex *mutex);
void pco__mutex_lock(pco__mutex *mutex);
void pco__mutex_unlock(pco__mutex *mutex);
int pco__thread_start(void (*run)(void *context), void *context, pco_error *error);

/* An environment variable, NULL if it is not set or empty. */
const char *pco__getenv(const char *name);

/*
 * The whole of a file, of at most `limit` bytes; *data comes from pco__malloc and is the caller's.
 * PCO_ENOENT, PCO_EACCES, PCO_EIO, PCO_EINVAL (larger, or a directory), PCO_ENOMEM.
 */
int pco__read_file(const char *path, size_t limit, unsigned char **data, size_t *length,
                   pco_error *error);

/*
 * Prints a sentence, what debug mode has to say, to stderr as a line of its own; on Windows to the
 * debugger, too.
 */
void pco__print(const char *sentence);

/* Prints a sentence in the same way and ends the program: misuse in debug mode. */
void pco__panic(const char *sentence);

#endif
