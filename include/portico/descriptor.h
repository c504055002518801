/* SPDX-License-Identifier: MIT */
/*
 * descriptor.h: descriptors of other libraries, watched by the loop: curl's and libpq's sockets, an
 * X11 connection, inotify. The library only tells when they can be used; reading, writing and
 * closing stay with whoever they belong to. On POSIX that is any descriptor which the system can
 * wait for, so a terminal, a pipe, a socket of whatever kind; on Windows it is any socket.
 *
 * The callbacks are tasks, as those of pco_loop_call_soon are: each is called once in a turn of the
 * loop, for as long as it is so (level-triggered). One that has failed is readable and writable:
 * whoever tries will be told. Between the moment that the loop looked and the call, another
 * callback may have taken what there was, so read and write without blocking.
 *
 * Remove a descriptor before you close it, in both directions. If it was closed first, what the
 * loop had found is still told, and nothing after that (where the system can still hear of it,
 * because a duplicate is open, it may be); a new descriptor that gets the number is not watched
 * until it is added itself, and then only in the direction in which it was. (libkqueue, which sees
 * no close(), takes the other direction's callback for the new one's. On Windows so does the loop
 * where it had found something of the old one that is not told yet.)
 *
 * What is watched cannot be given to the loop as `sock` of a connection or a server: PCO_EBUSY.
 */
#ifndef PORTICO_DESCRIPTOR_H
#define PORTICO_DESCRIPTOR_H

#include <portico/base.h>
#include <portico/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Calls `callback(context)` while the descriptor can be read: data, a connection to be accepted,
 * the end, an error. Added again, it replaces the callback and the context. The loop's thread.
 *
 * PCO_EINVAL: no callback. PCO_ENOTSOCK: there is no such descriptor; on Windows: it is no socket.
 * PCO_EBUSY: it belongs to a transport or a server of this loop, or is the loop's own. PCO_ENOTSUP:
 * the system cannot wait for what it is (with epoll a regular file, and a loop that watches this
 * one, or more than two loops inside of each other). PCO_ENOMEM, PCO_EMFILE, PCO_ENOBUFS: a limit
 * of the process or of the system. PCO_ECLOSED: the loop is being freed. On failure what there was
 * before goes on. Should the system give a descriptor up later, which is rare, the loop's exception
 * handler is told, and it is as if it had been removed. (asyncio: loop.add_reader.)
 */
PCO_API int pco_loop_add_reader(pco_loop *loop, pco_socket descriptor, pco_callback callback,
                                void *context, pco_error *error);

/*
 * The same while it can be written, or its connect() has ended. The two directions have nothing to
 * do with each other. (asyncio: loop.add_writer.)
 */
PCO_API int pco_loop_add_writer(pco_loop *loop, pco_socket descriptor, pco_callback callback,
                                void *context, pco_error *error);

/*
 * Ends that: when it returns, the callback will not be called any more. Returns whether there was
 * one. Legal everywhere, in the callback itself and after the descriptor was closed, too. A loop
 * that is freed removes all that it has, and tells nobody. The loop's thread. (asyncio:
 * loop.remove_reader, remove_writer.)
 */
PCO_API bool pco_loop_remove_reader(pco_loop *loop, pco_socket descriptor);
PCO_API bool pco_loop_remove_writer(pco_loop *loop, pco_socket descriptor);

#ifdef __cplusplus
}
#endif

#endif
