/* SPDX-License-Identifier: MIT */
/*
 * local.h: programs of one machine that find each other by a name: an application and its second
 * start, a desktop program and its helper, a tool and its daemon. One pair of calls on every
 * system; what carries it is the system's best, a UNIX socket (portico/unix.h) or a named pipe
 * (portico/pipe.h).
 *
 * The name is the application's, such as "com.example.editor": letters, digits, '.', '-' and '_' of
 * ASCII, the first of them a letter or a digit, at most 255. Do not tell two names by the case of
 * their letters alone: some systems do not. Each user has names of their own, and each end has made
 * sure that the other is run by the same user before its connection_made is called.
 *
 * Where that is:
 *
 *   Linux, BSDs  the socket NAME.socket in the folder "portico" of XDG_RUNTIME_DIR, or of
 *                /run/user/UID if that variable is not set, or names what is not there, not
 *                absolute, not this user's, open to others, or too long for a name behind it; if
 *                that is not there either, in /tmp/portico-UID
 *   macOS        in the folder "portico" of the user's temporary folder
 *   Windows      the pipe portico-SID-NAME, where SID is the user's
 *
 * Beside a socket is NAME.lock, which stays: who deletes it lets a name be served twice.
 *
 * The folders are made with mode 0700. One that is a link, somebody else's or open to others is
 * refused with a sentence that says so. A name that is too long for the system is cut; then, and if
 * it ends in '.', it has a hash of the whole at its end. Who only uses this header need not care.
 */
#ifndef PORTICO_LOCAL_H
#define PORTICO_LOCAL_H

#include <portico/base.h>
#include <portico/connection.h>
#include <portico/server.h>

#ifdef __cplusplus
extern "C" {
#endif

/* To whom a name is open, and who the other end may be. Both ends say the same, or do not meet. */
enum {
    /* This user: the effective one of the process (Windows: that of its token, elevated or not). */
    PCO_LOCAL_USER = 0,

    /*
     * All users whose processes run with the same group: the effective one (of a service, systemd's
     * Group=; of a command, sg), not one that its user is in besides. Windows: the token's primary
     * group, which a domain chooses; a client there cannot tell who serves. In
     * /tmp/portico-group-GID, which all of the group may change.
     */
    PCO_LOCAL_GROUP = 1,

    /*
     * All users of the machine. Nothing protects the name: whoever comes first has it, and a client
     * cannot tell who that is. Ask with pco_transport_get_peer_credentials, or use TLS. On Linux an
     * abstract name, "@portico/NAME"; elsewhere in /tmp itself.
     */
    PCO_LOCAL_ALL = 2
};

typedef struct pco_local_options {
    size_t size;
    int audience; /* PCO_LOCAL_* */
} pco_local_options;

/*
 * Serves a name. Everything in `options` is as for pco_loop_create_server, but for where to listen
 * and what is TCP's alone: host, hosts, port, service, family, flags, same_port, sock,
 * reuse_address, reuse_port, keep_alive and what says how, user_timeout, and on Windows
 * prepare_socket, are PCO_EINVAL when given. `local` may be NULL. The server is yours, and is
 * closed and freed as any other. With start_serving off it has its name; who connects meanwhile is
 * refused, on Windows waits.
 *
 * A name is served once. Of servers that are started at the same instant exactly one gets it, and
 * the others are told PCO_EADDRINUSE, "already running": then connect, for the name has an owner;
 * who is refused or finds nobody asks again, since that owner may be about to begin, or to end. (In
 * the instant in which a group's folder is made, another of the group may be told PCO_EACCES.) A
 * name is free again when its server is closed, or its process has ended in whatever way: what a
 * crash has left behind is replaced. (On POSIX a process that was forked from a server's, and runs
 * no other program, keeps it until that ends, too; on Windows the server's connections keep it
 * until they have ended.)
 *
 * A client of another user, as which only root can come so far, is refused: it is closed, counted
 * as refused, and reported to the loop's exception handler with PCO_EACCES. (On Windows the system
 * lets none open the pipe.)
 *
 * PCO_EINVAL: a name with other characters, or too long; an audience that does not exist; what
 * pco_loop_create_server says of its options. PCO_EADDRINUSE. PCO_EACCES: the place is not this
 * user's alone, or cannot be written; what is there is somebody else's, a link, or no socket. (On
 * Windows that is another user's pipe of the name, an impostor's: while it is there, nobody can
 * serve the name.) PCO_ENOENT: there is no /tmp. PCO_ENOTSUP: of pco_unix_options.mode, for a
 * group. PCO_ENOMEM, PCO_EMFILE, PCO_ENOBUFS, PCO_EIO. PCO_ECLOSED: the loop is being freed. Loop's
 * thread; any callback. It blocks for no longer than files do.
 */
PCO_API int pco_loop_create_local_server(pco_loop *loop, const char *name,
                                         const pco_server_options *options,
                                         const pco_local_options *local, pco_server **server,
                                         pco_error *error);

/*
 * Connects to who serves a name. Everything in `options` is as for pco_loop_create_connection, but
 * for where to connect and what is TCP's alone, as above; with TLS, server_hostname is needed,
 * since the name is none of a host. `local` may be NULL. `connected` is called exactly once if this
 * returns 0.
 *
 * Returned: PCO_EINVAL, PCO_ENOMEM, PCO_ECLOSED, as above and as pco_loop_create_connection.
 * PCO_EACCES: the place is not this user's alone.
 *
 * Told: PCO_ECONNREFUSED: nobody serves the name. PCO_EACCES: somebody does who may not, an
 * impostor: not a byte was sent to it; or the name is not open to this user. PCO_ETIMEDOUT:
 * connect_timeout (on Windows, where a closed server's connections keep the name, 30 seconds by
 * default). PCO_ECANCELED. What TLS says.
 */
PCO_API int pco_loop_create_local_connection(pco_loop *loop, const char *name,
                                             const pco_connection_options *options,
                                             const pco_local_options *local,
                                             pco_connected connected, void *context,
                                             pco_request **request, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
