/* SPDX-License-Identifier: MIT */
/*
 * pipe.h: named pipes, by which programs of one machine talk to each other on Windows. Servers,
 * transports and protocols are what they are with TCP, TLS included. Elsewhere both calls answer
 * PCO_ENOTSUP; there are UNIX sockets there.
 *
 * A name is either the whole of it, "\\.\pipe\NAME" (in C "\\\\.\\pipe\\NAME"), or NAME alone, in
 * UTF-8: at most 247 characters of UTF-16, without '/' and '\', and not ending in '.' or ' ', which
 * Windows would leave off. Upper and lower case are the same. All programs and users of the machine
 * share the names; those of other machines cannot be reached, nor can they reach ours.
 *
 * What is different from a socket:
 *
 *   - It has no half that ends alone: pco_transport_can_write_eof is false, pco_transport_write_eof
 *     PCO_ENOTSUP. When the peer has closed its end, eof_received may keep a transport open, to no
 *     use: writing ends it with PCO_ECONNRESET.
 *   - It has no reset. Whoever closes or aborts ends the pipe; what had left for the system by then
 *     can still be read at the other end, and then that sees the end. (A server of another kind may
 *     call DisconnectNamedPipe, which throws away what was not read: PCO_ECONNRESET.)
 *   - It has no addresses: pco_transport_get_sockname and _get_peername, and
 *     pco_server_get_sockname, are PCO_ENOTSOCK. pco_transport_get_socket is the HANDLE,
 *     pco_server_get_socket one that holds the server's name and that no client comes to.
 *   - pco_transport_get_peer_credentials (portico/unix.h) tells the process, which may have ended
 *     and another have its number by then.
 *   - The name is free again when the server is closed and its last connection has ended; until
 *     then clients find all instances in use, and no other server gets it.
 *   - max_connections, closing and shutting down are as with TCP, but there is no backlog: who
 *     finds no free instance has to try again, as pco_loop_create_pipe_connection does. A server
 *     that accepts always has several instances ready.
 */
#ifndef PORTICO_PIPE_H
#define PORTICO_PIPE_H

#include <portico/base.h>
#include <portico/connection.h>
#include <portico/error.h>
#include <portico/server.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pco_pipe_options {
    size_t size;

    /*
     * Who may open the pipe, as a security descriptor in SDDL, with a DACL. NULL: the user that the
     * program runs as, and the system. (The default of Windows itself has everyone read.) Without
     * an owner in it, that is this user; this program needs all rights (GA). For others 0x12019b is
     * enough, to read and write; GW would allow them to serve instances of the pipe, too:
     *
     *     "D:(A;;GA;;;SY)(A;;GA;;;OW)(A;;0x12019b;;;AU)"     every user who has logged on
     */
    const char *sddl;
} pco_pipe_options;

/*
 * Serves a named pipe. Of `options` everything counts that is not about sockets: host, hosts, port,
 * service, same_port, family, flags, sock, reuse_address, reuse_port, prepare_socket, keep_alive
 * and what says how, and user_timeout are PCO_EINVAL; backlog and lingering_close, which a pipe
 * does not need, do not count. `pipe_options` may be NULL. The server is as that of
 * pco_loop_create_server. Until it serves (start_serving), clients find all instances in use. In
 * the moment when the pipe is made, a client that is there before the program's own call has
 * returned may find its connection reset. (asyncio: ProactorEventLoop.start_serving_pipe.)
 *
 * PCO_EINVAL: a name as above, or that Windows does not take; options as above; an sddl that is
 * none, or lacks a DACL; what pco_loop_create_server says of the rest. PCO_EADDRINUSE: somebody has
 * a pipe of that name. PCO_EACCES: this program may not make it, or not by its own sddl.
 * PCO_ENOTSUP: this system has no named pipes. PCO_ENOMEM, PCO_ENOBUFS, PCO_EMFILE. PCO_ECLOSED:
 * the loop is being freed. Loop's thread; any callback.
 */
PCO_API int pco_loop_start_serving_pipe(pco_loop *loop, const char *name,
                                        const pco_server_options *options,
                                        const pco_pipe_options *pipe_options, pco_server **server,
                                        pco_error *error);

/*
 * Connects to a named pipe. Of `options` everything counts that is not about sockets: host, port,
 * service, addresses, family, proto, flags, sock, local_host, local_port,
 * happy_eyeballs_delay, interleave, all_errors, prepare_socket, keep_alive and what says how, and
 * user_timeout are PCO_EINVAL. With TLS, server_hostname is required. While every instance of the
 * pipe has its client, it is tried again, a few times in a tenth of a second, for connect_timeout
 * seconds; by default (0) for 30, and then it is PCO_ETIMEDOUT. The server may find out which user
 * this is, and no more (SECURITY_IDENTIFICATION). `progress` hears PCO_CONNECTION_CONNECTING and
 * PCO_CONNECTION_HANDSHAKE, without an address. (asyncio: create_pipe_connection.)
 *
 * Returned: PCO_EINVAL: a name or options as above; what pco_loop_create_connection says of the
 * rest. PCO_ENOTSUP: this system has no named pipes. PCO_ENOMEM. PCO_ECLOSED: the loop is being
 * freed.
 *
 * Told: PCO_ENOENT: nobody serves such a pipe. PCO_EACCES: its owner does not let this user, or it
 * has one direction alone. PCO_ETIMEDOUT. PCO_EINVAL: Windows does not take the name.
 * PCO_ECANCELED. What TLS says; PCO_ENOMEM, PCO_ENOBUFS, PCO_EMFILE.
 */
PCO_API int pco_loop_create_pipe_connection(pco_loop *loop, const char *name,
                                            const pco_connection_options *options,
                                            pco_connected connected, void *context,
                                            pco_request **request, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
