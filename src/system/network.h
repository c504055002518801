/* SPDX-License-Identifier: MIT */
/*
 * network.h: what opens and names sockets. It is a table that comes with a backend, so that a
 * backend without a system below it needs no real socket: everything above the seam calls
 * backend->class_->network. posix/socket.c and win32/socket.c supply the one of their system,
 * which all of its backends share.
 *
 * Functions with a pco_error fill in a full sentence ("bind 127.0.0.1 port 80: permission
 * denied") and return its code. Strings are UTF-8. All are for the loop's thread, but for
 * the first group, which knows no backend.
 */
#ifndef PCO_NETWORK_H
#define PCO_NETWORK_H

#include <portico/transport.h>
#include <portico/unix.h>

#include "system/backend.h"
#include "system/changes.h"

/* What a program may wish of each connection's socket, with the public options' meaning. */
typedef struct pco__socket_options {
    int keep_alive;         /* PCO_DEFAULT: as it is */
    double keep_alive_idle; /* 0, as in those that follow: the system's own */
    double keep_alive_interval;
    int keep_alive_count;
    double user_timeout;
} pco__socket_options;

/* Whether they ask for anything that TCP alone has. */
static inline bool pco__socket_options_are_tcps(const pco__socket_options *options)
{
    return options->keep_alive_idle > 0 || options->keep_alive_interval > 0 ||
           options->keep_alive_count > 0 || options->user_timeout > 0;
}

/* Whether they ask for anything at all. */
static inline bool pco__socket_options_ask(const pco__socket_options *options)
{
    return options->keep_alive != PCO_DEFAULT || pco__socket_options_are_tcps(options);
}

/* Seconds in a system's units, so many per second, rounded up; it fits. */
static inline int pco__whole_units(double seconds, int units)
{
    int whole = (int)(seconds * units);
    return whole < seconds * units ? whole + 1 : whole;
}

typedef struct pco__listener_options {
    int reuse_address; /* PCO_DEFAULT, PCO_ON, PCO_OFF, with create_server's meaning */
    bool reuse_port;
    pco__socket_options connections; /* what those that it accepts inherit, where they do */

    /* Called before the socket is bound, NULL: nobody. What it returns, if not 0, ends it. */
    int (*prepare)(pco_socket sock, int family, void *context);
    void *context;

    /* Of PCO_AF_UNIX: the file's mode, 0: as it is made; whether a stale file makes room. */
    int file_mode;
    bool replace_stale;
} pco__listener_options;

/* The file that a socket of PCO_AF_UNIX is bound to: its name, and which one of that name it is. */
typedef struct pco__socket_file {
    pco_address address;
    uint64_t volume;
    uint64_t number;
} pco__socket_file;

struct pco__network {
    /* How the system tells that it has changed. */
    const pco__changes_class *changes;

    /* What opens named pipes; NULL: the system has none. */
    const struct pco__pipes_class *pipes;

    /* ---- Names. Any thread; they may outlive the backend. ---- */

    /* Whether reuse_port exists here; if not, `error` says so. 0 or PCO_ENOTSUP. */
    int (*reuse_port_supported)(pco_error *error);

    /* The same of each of these; `error` names the first that does not. 0, PCO_ENOTSUP. */
    int (*socket_options_supported)(const pco__socket_options *options, pco_error *error);

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

    /*
     * Whether the system may give this port to such a socket, when it connects and has none yet:
     * then it may connect to itself. By the range that the loop has found when it first asked.
     * NULL: it cannot tell.
     */
    bool (*gives_port)(pco__backend *backend, int port);

    /* Binds such a socket to the address that it is to connect from; port 0: any. */
    int (*bind_local)(pco__backend *backend, pco_socket sock, const pco_address *address,
                      pco_error *error);

    /*
     * Opens a non-blocking, not inheritable stream socket, sets the options (IPV6_V6ONLY always;
     * those that accepted sockets inherit here, such as TCP_NODELAY), and binds it. On failure no
     * file is left that it made. PCO_EAFNOSUPPORT: this system has no such family.
     */
    int (*bind)(pco__backend *backend, const pco_address *address,
                const pco__listener_options *options, pco_socket *sock, pco_error *error);

    /*
     * Makes a socket of the user's fit for listening: checks that it is a stream socket, sets the
     * options, and makes it non-blocking; *was_blocking says whether it was not, where the system
     * can tell (not on Windows). PCO_ENOTSOCK; PCO_EINVAL: not a stream socket; PCO_ENOTSUP:
     * options of TCP, and it is none of TCP's. On failure nothing has changed.
     */
    int (*adopt_listener)(pco__backend *backend, pco_socket sock,
                          const pco__listener_options *options, bool *was_blocking,
                          pco_error *error);

    /* The same for a socket that is connected. PCO_ENOTCONN. */
    int (*adopt_connected)(pco__backend *backend, pco_socket sock,
                           const pco__socket_options *options, bool *was_blocking,
                           pco_error *error);

    /* Makes it blocking again: it goes back to the user. */
    void (*make_blocking)(pco__backend *backend, pco_socket sock);

    int (*listen)(pco__backend *backend, pco_socket sock, int backlog, pco_error *error);

    /*
     * Sets on a socket what it did not inherit from its listener: TCP_NODELAY and the options.
     * `adopted`: there was no listener, or it was the caller's, and clients may have come to it
     * before it had them. Returns what has failed, which is no error where the peer may be gone.
     */
    int (*prepare_connected)(pco__backend *backend, pco_socket sock,
                             const pco__socket_options *options, bool adopted);

    /* Closes the socket; with a reset if `reset`. */
    void (*close)(pco__backend *backend, pco_socket sock, bool reset);

    /* ---- Any socket ---- */

    int (*sockname)(pco__backend *backend, pco_socket sock, pco_address *address);
    int (*peername)(pco__backend *backend, pco_socket sock, pco_address *address);

    /* What the system has counted, all of *counters but its size. PCO_ENOTSUP. */
    int (*counters)(pco__backend *backend, pco_socket sock, pco_transport_counters *counters);

    /* ---- Sockets of PCO_AF_UNIX ---- */

    /*
     * Who is at the other end; of a named pipe, too: what the system tells of *credentials, of
     * which the rest is left as it is. PCO_ENOTSUP: it is another kind of socket.
     */
    int (*credentials)(pco__backend *backend, pco_socket sock, pco_credentials *credentials);

    /* The file that it is bound to. Returns false if there is none. */
    bool (*find_file)(pco__backend *backend, pco_socket sock, pco__socket_file *file);

    /*
     * Removes it, unless another has its name by now. As long as the socket is open no other can
     * have its number.
     */
    void (*remove_file)(pco__backend *backend, const pco__socket_file *file);
};

/* This system's own. It needs no backend: NULL will do. */
extern const pco__network pco__system_network;

/*
 * The address of PCO_AF_UNIX of a path, or of an abstract name, "@name"; "@" alone is a free one,
 * for who binds. PCO_EINVAL: empty, or it does not fit. PCO_ENOTSUP: abstract, and there are none.
 */
int pco__address_of_path(const char *path, pco_address *address, pco_error *error);

/* The address with another port; what has no port is unchanged. */
void pco__address_set_port(pco_address *address, int port);

#endif
