/* SPDX-License-Identifier: MIT */
/*
 * unix.h: UNIX sockets: servers and connections whose address is the path of a file, for programs
 * on one machine; and who the other end is.
 *
 * The specification is asyncio's create_unix_server and create_unix_connection. Everything above
 * the address is as with TCP: protocols, transports, TLS, options.
 *
 * A path is that of a file, UTF-8 on Windows; a relative one counts from the current folder. It has
 * to fit into the system's address: 107 bytes on Linux and Windows, 103 elsewhere. A path that
 * begins with "@" is a name in Linux's abstract space instead, as pco_address_format writes it, of
 * at most 107 bytes behind the "@": no file, nothing to clean up, and nothing that protects it. For
 * a file of that name write "./@name".
 *
 * A UNIX socket has no resets: where TCP's peer sees one, by pco_transport_abort_reset or a time
 * limit, this one's sees an end like any other, but where Linux tells it that input was left unread
 * (PCO_ECONNRESET).
 *
 * Windows has UNIX sockets since version 1803, without abstract names, modes, users and groups.
 * Where a system has none, PCO_EAFNOSUPPORT.
 */
#ifndef PORTICO_UNIX_H
#define PORTICO_UNIX_H

#include <portico/base.h>
#include <portico/connection.h>
#include <portico/server.h>
#include <portico/transport.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a server's file is like. Zeros are the defaults. */
typedef struct pco_unix_options {
    size_t size;

    /*
     * Who may connect: the mode of the socket's file, such as 0600, whatever the umask; to connect
     * takes the right to write. On Linux the file is never open for more than that; elsewhere the
     * mode is set before the server listens, and until then who connects is refused. The umask is
     * not changed, not even for a moment. 0: as the system makes it, by the umask. Where others may
     * write in the folder, they can put another file in its place: a folder of one's own is the
     * better protection. PCO_EINVAL: more than 0777; an abstract name, or `sock`, which is bound
     * already. PCO_ENOTSUP: Windows; and where the umask takes away some of the mode, Linux before
     * 6.6 (or with a C library of before) where /proc is not mounted.
     */
    int mode;

    /*
     * Whether the file is removed when the server is closed, if it is still the one that the socket
     * was bound to, or, of a `sock`, the one that was at its path when the server was made. Default
     * on. It is looked for by the same path, so that a relative one is lost in another folder.
     * Where the listening socket goes on in another process, or is a service manager's (systemd),
     * PCO_OFF leaves it its name.
     */
    int cleanup_socket;

    /*
     * Whether a file that a program has left behind, as one does that crashes, makes room: a socket
     * that is bound to nothing. Default on. What is not a socket, and a socket that somebody has
     * open, whether it listens or not, always stays. Of two servers that find the same file at the
     * same instant one may remove what the other has just made: where that can happen, use a lock
     * of your own, or portico/local.h. On Windows the server that is asked whether it lives sees a
     * client that goes again, and one that does not answer holds this call up for a twentieth of a
     * second. PCO_EINVAL: with `sock`.
     */
    int replace_stale;
} pco_unix_options;

/*
 * Creates a server on `path`. NULL for the path means options->sock, a socket of this kind, bound;
 * NULL for unix_options all defaults. "@" alone is a free abstract name, which
 * pco_server_get_sockname then tells. Everything else is as in pco_loop_create_server, which also
 * says whose server and sock are; prepare_socket is given PCO_AF_UNIX. If the call fails nothing is
 * left of the file that it made.
 *
 * PCO_EINVAL: neither path nor sock, or both; a path that is empty or too long; a sock of another
 * kind, or bound to nothing; an option that only makes sense for TCP (host, port, service, family,
 * flags, same_port, reuse_address, reuse_port, keep_alive and what says how, user_timeout); and
 * what create_server has. PCO_ENOTSUP: an abstract name where there are none. PCO_EADDRINUSE: there
 * is such a socket, or something else at the path, and the sentence says what. PCO_ENOENT: its
 * folder is missing. PCO_EACCES: the folder may not be written to, or a stale file not be removed.
 * Errors of create_server.
 */
PCO_API int pco_loop_create_unix_server(pco_loop *loop, const char *path,
                                        const pco_server_options *options,
                                        const pco_unix_options *unix_options, pco_server **server,
                                        pco_error *error);

/*
 * Opens a connection to `path`; NULL means options->sock, which is connected. Everything else is as
 * in pco_loop_create_connection. With TLS, server_hostname says what the certificate must show. On
 * Linux, while the server's backlog is full, it is tried again, each time with another socket, for
 * which prepare_socket is called, up to connect_timeout (the other systems refuse).
 *
 * Returned: PCO_EINVAL: neither path nor sock, or both; a path that is empty, "@" alone, or too
 * long; a sock of another kind; an option that only makes sense for TCP (host, port, service,
 * addresses, local_host, local_port, family, flags, proto, interleave, happy_eyeballs_delay,
 * all_errors, keep_alive and what says how, user_timeout); and what create_connection has.
 * PCO_ENOTSUP: an abstract name where there are none. Errors of create_connection.
 *
 * Told: PCO_ECONNREFUSED: nobody listens there, or the file is no socket (on the BSDs and macOS
 * that is PCO_ENOTSOCK). PCO_ENOENT: no such file. PCO_EACCES: it may not be written to.
 * PCO_EINVAL: it is a socket of another type. Errors of create_connection.
 */
PCO_API int pco_loop_create_unix_connection(pco_loop *loop, const char *path,
                                            const pco_connection_options *options,
                                            pco_connected connected, void *context,
                                            pco_request **request, pco_error *error);

/* Who is at the other end; -1: the system does not tell. */
typedef struct pco_credentials {
    size_t size;
    long long user; /* its effective user and group */
    long long group;
    long long process; /* as this process sees it */
} pco_credentials;

/*
 * Asks the system who has connected; of the connecting end, who listens. Fills in *credentials,
 * whose size you have set. The system has noted it when the one connected, and the other began to
 * listen: it stays true when the process changes its user, hands the socket to another process, or
 * ends, so that `process` may be that of another program by now. Use user and group to decide; a
 * process is for the log.
 *
 * Linux, macOS, OpenBSD, NetBSD, FreeBSD 13: all three. Older FreeBSD: user and group. Windows: the
 * process. PCO_ENOTSUP: neither a UNIX socket nor a named pipe. PCO_ECLOSED: after connection_lost,
 * and once the transport is detached. PCO_ENOTCONN and others: the system knows no longer, as macOS
 * when the peer has gone. PCO_EINVAL: NULL, or a wrong size. *credentials is untouched then.
 */
PCO_API int pco_transport_get_peer_credentials(const pco_transport *transport,
                                               pco_credentials *credentials);

#ifdef __cplusplus
}
#endif

#endif
