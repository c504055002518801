/* SPDX-License-Identifier: MIT */
/*
 * pass.h: passing sockets to another process of your own: the listeners of a server that is
 * replaced by its next version, a connection that a helper goes on with.
 *
 * Messages go over a channel, a socket that both processes have. Each is one socket, or none, and a
 * few bytes that say what it is. The channel is nobody's but these calls': bytes of another kind
 * would be taken for messages. On POSIX it is a stream socket of AF_UNIX, such as an end of
 * pco_socket_pair that a child inherits, or what pco_transport_detach gives of a connection to a
 * UNIX socket. On Windows it is any stream socket, and the socket is told by numbers that are made
 * for one process; it must be named.
 *
 * Nothing here waits, and nothing needs a loop. Where a call says PCO_EAGAIN, watch the channel by
 * pco_loop_add_reader or _add_writer (portico/descriptor.h), and call it again. On Windows the
 * channel is non-blocking from the first call on.
 *
 * Who passes what, so that it goes on where it is taken:
 *
 *   a listener     pco_server_get_socket names it; the other process gives it to create_server as
 *                  `sock`. From then on both accept. Close the server here (pco_server_close) once
 *                  the other says that it serves: no client is refused meanwhile, none is lost. A
 *                  UNIX socket has to be made with cleanup_socket PCO_OFF for that, or its file
 *                  goes with the server that is closed; that of a name (portico/local.h) goes. On
 *                  Windows a socket belongs to the first loop that it is given to, for good: there
 *                  pass one that no server here has had.
 *   a connection   is detached first (pco_transport_detach), then passed; the other process gives
 *                  it to pco_loop_connect_accepted_socket, or to create_connection as `sock`. Input
 *                  that `detached` brings follows in messages of its own, without a socket.
 *
 * (asyncio has no such thing; Python's is socket.send_fds, socket.share.)
 */
#ifndef PORTICO_PASS_H
#define PORTICO_PASS_H

#include <portico/base.h>
#include <portico/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most bytes of a message. */
#define PCO_PASS_MOST 1024

/* A message. */
typedef struct pco_passed {
    pco_socket socket; /* yours, to be given on or closed; PCO_NO_SOCKET: none came with it */
    size_t length;
    unsigned char data[PCO_PASS_MOST + 1]; /* a 0 follows, so that text is a string */
} pco_passed;

/*
 * Sends a message over `channel`: `sock`, or none with PCO_NO_SOCKET, and `length` bytes. It leaves
 * whole or not at all. The socket stays yours, and is the same socket at both ends: bytes that one
 * reads the other does not. Close it here when the other process says that it has taken it, without
 * shutting it down. What was sent and is never taken is closed by the system with the channel; on
 * Windows with the process that it was made for.
 *
 * `process`: the number of the process that takes it. On POSIX it is not asked for; on Windows 0 is
 * enough where `channel` is of AF_UNIX.
 *
 * PCO_EAGAIN: there is no room now, and nothing was sent: try again when the channel can be
 * written. PCO_EINVAL: data without a pointer, or longer than PCO_PASS_MOST; the channel itself as
 * `sock`; on Windows no process, or none that there is. PCO_ENOTSOCK: the channel or `sock` is no
 * socket. PCO_ENOTSUP: the channel is of a kind over which no sockets go. PCO_ENOTCONN: the channel
 * is not connected. PCO_EMFILE: too many are under way and were not taken. PCO_ECONNRESET: the
 * other process has closed the channel, it has broken, or was shut down here. PCO_EACCES: Windows
 * does not let this process reach the other. PCO_ENOBUFS, PCO_ENOMEM. Any thread; one at a time for
 * a channel.
 */
PCO_API int pco_socket_pass(pco_socket channel, long long process, pco_socket sock,
                            const void *data, size_t length, pco_error *error);

/*
 * Takes the next message off `channel`. Its socket is closed by exec and not one of the standard
 * descriptors; blocking or not it is as it was there. On failure *passed holds none.
 *
 * Who can write to the channel decides what this process gets; on Windows such a one can even name
 * sockets that this process has already. It is for processes that trust each other. Whatever else
 * comes over it is closed and not leaked: sockets too many, descriptors that are no sockets.
 *
 * PCO_EAGAIN: no message is there. PCO_ECLOSED: the other process has closed the channel, and all
 * messages were taken. PCO_EMFILE: no descriptor is free for a socket, whether one comes or not; a
 * message that is there stays for another time (a reader of the channel is called until then:
 * remove it for a while). PCO_EINVAL: what came is no message of pco_socket_pass, or its socket was
 * lost on the way (out of descriptors, because another thread was faster): close the channel.
 * Or `passed` is NULL. PCO_ENOTSOCK, PCO_ENOTSUP, PCO_ENOTCONN: of the channel, as above.
 * PCO_ECONNRESET: it has broken. PCO_ENOBUFS, PCO_ENOMEM. Any thread; one at a time for a channel.
 */
PCO_API int pco_socket_take(pco_socket channel, pco_passed *passed, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
