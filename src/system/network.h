/* SPDX-License-Identifier: MIT */
/*
 * network.h: what opens and names sockets. It is a table that comes with a backend, so that a
 * backend without a system below it needs no real socket: everything above the seam calls
 * backend->class_->network. posix/socket.c and win32/socket.c supply the one of their system,
 * which all of its backends share.
 *
 * Functions with a pco_error fill in a full sentence ("bind 127.0.0.1 port 80: permission
 * denied") and return its code. Strings are UTF-8. All are for the loop's thread, but for
 * reuse_port_supported and resolve, which know no backend.
 */
#ifndef PCO_NETWORK_H
#define PCO_NETWORK_H

#include "system/backend.h"

typedef struct pco__listener_options {
    int reuse_address; /* PCO_DEFAULT, PCO_ON, PCO_OFF, with create_server's meaning */
    bool reuse_port;
    bool keep_alive;
} pco__listener_options;

struct pco__network {
    /* ---- Names. Any thread; they may outlive the backend. ---- */

    /* Whether reuse_port exists here; if not, `error` says so. 0 or PCO_ENOTSUP. */
    int (*reuse_port_supported)(pco_error *error);

    /*
     * Looks up `host` (NULL: all interfaces, or loopback without PCO_AI_PASSIVE) for stream
     * sockets. *addresses comes from pco__malloc and is the caller's. Blocks.
     * PCO_ENONAME, PCO_ERESOLVE, PCO_ENOMEM, PCO_EMFILE, PCO_EINVAL (a family or flag that does not
     * exist).
     */
    int (*resolve)(const char *host, int port, int family, int flags, pco_address **addresses,
                   size_t *count, pco_error *error);

    /*
     * The port that the system's list of services has for a name, with TCP. Blocks.
     * PCO_ENONAME, PCO_ERESOLVE, PCO_ENOMEM, PCO_EMFILE.
     */
    int (*resolve_service)(const char *service, int *port, pco_error *error);

    /* ---- Sockets that are not attached ---- */

    /*
     * Opens a stream socket to connect with: non-blocking, not inheritable, TCP_NODELAY, of the
     * protocol `proto`, as socket() takes it (0: TCP).
     */
    int (*open)(pco__backend *backend, int family, int proto, pco_socket *sock, pco_error *error);

    /* Binds such a socket to the address that it is to connect from; port 0: any. */
    int (*bind_local)(pco__backend *backend, pco_socket sock, const pco_address *address,
                      pco_error *error);

    /*
     * Opens a non-blocking, not inheritable stream socket, sets the options (IPV6_V6ONLY always;
     * those that accepted sockets inherit here, such as TCP_NODELAY), and binds it.
     * PCO_EAFNOSUPPORT: this system has no such family.
     */
    int (*bind)(pco__backend *backend, const pco_address *address,
                const pco__listener_options *options, pco_socket *sock, pco_error *error);

    /*
     * Makes a socket of the user's fit for listening: checks that it is a stream socket, and makes
     * it non-blocking; *was_blocking says whether it was not, where the system can tell (not on
     * Windows). PCO_ENOTSOCK; PCO_EINVAL: not a stream socket. On failure nothing has changed.
     */
    int (*adopt_listener)(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error);

    /* The same for a socket that is connected. PCO_ENOTCONN. */
    int (*adopt_connected)(pco__backend *backend, pco_socket sock, bool *was_blocking,
                           pco_error *error);

    /* Makes it blocking again: it goes back to the user. */
    void (*make_blocking)(pco__backend *backend, pco_socket sock);

    int (*listen)(pco__backend *backend, pco_socket sock, int backlog, pco_error *error);

    /*
     * Sets on a connected socket what it did not inherit from its listener: TCP_NODELAY and, if
     * asked for, SO_KEEPALIVE. `adopted`: there was no listener, or it was the caller's, and
     * clients may have come to it before it had them. Failures are not errors: the peer may be
     * gone.
     */
    void (*prepare_connected)(pco__backend *backend, pco_socket sock, bool keep_alive,
                              bool adopted);

    /* Closes the socket; with a reset if `reset`. */
    void (*close)(pco__backend *backend, pco_socket sock, bool reset);

    /* ---- Any socket ---- */

    int (*sockname)(pco__backend *backend, pco_socket sock, pco_address *address);
    int (*peername)(pco__backend *backend, pco_socket sock, pco_address *address);
};

/* This system's own. It needs no backend: NULL will do. */
extern const pco__network pco__system_network;

/* The address with another port; what has no port is unchanged. */
void pco__address_set_port(pco_address *address, int port);

#endif
