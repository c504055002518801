/* SPDX-License-Identifier: MIT */
/*
 * host.h: a loop inside of another one: that of a window system, a game, another library.
 *
 * The other loop, the host, does the waiting; Portico's does one turn at a time, by
 * pco_loop_run_once(loop, 0), when one is due. There are two ways to learn when that is:
 *
 *   pco_loop_host    On every system. A thread of the library's waits, and calls you when a turn is
 *                    due; you hand that over to the host's thread (a posted message, an idle
 *                    callback, a queued signal), which does the turn. All that the host has to do.
 *   a descriptor     On POSIX. The host itself waits for pco_loop_get_descriptor to become
 *                    readable, and for the time that pco_loop_next_timeout tells; then a turn is
 *                    due. No thread, but a host that can wait for descriptors.
 *
 * In both ways a turn is due, too, when something outside of one has made it so: a callback that
 * was scheduled, an earlier timer, a connection that was closed, whatever else. A turn that comes
 * without need does no harm, and takes microseconds.
 *
 * All that belongs to the loop is used on one thread, that of the host; between turns as well as in
 * callbacks. What is written between turns leaves at once.
 */
#ifndef PORTICO_HOST_H
#define PORTICO_HOST_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A turn is due. Called on a thread of the library's: it passes the word on to the host's thread
 * and returns, never waiting for that one, which may be waiting for this thread. Of the library it
 * may call pco_loop_call_soon_threadsafe and pco_loop_stop alone.
 */
typedef void (*pco_wake_up)(void *context);

/*
 * Has the loop live in a host: from now on wake_up(context) is called when a turn is due, and then
 * not again before the next turn has begun and ended. So at most one is under way, and the host may
 * take its time; it may also do a turn when it was not called. A turn that cannot be done, because
 * the host came back to its own loop inside a callback (a message box there) and pco_loop_run_once
 * says PCO_EBUSY, is not lost: the outer turn's end looks for what is due.
 *
 * The calling thread becomes the loop's, and until pco_loop_unhost no other may run the loop or
 * free it: a thread that ends has to unhost the loop, or free it, before. Meanwhile the loop runs
 * by pco_loop_run_once(loop, 0) alone: to wait is the host's part, and with another timeout, as
 * with pco_loop_run_forever, pco_loop_run_until and the functions that serve a server, it is
 * PCO_EBUSY. Each loop that is hosted has a thread; a host may have several loops.
 *
 * PCO_EINVAL: no wake_up. PCO_EBUSY: the loop is hosted already, or runs. PCO_ECLOSED: it is being
 * freed. PCO_EAGAIN, PCO_ENOMEM: no thread can be had. Then the loop is what it was.
 */
PCO_API int pco_loop_host(pco_loop *loop, pco_wake_up wake_up, void *context, pco_error *error);

/*
 * Ends that, at any time, also inside callbacks: waits for wake_up to return, if it is running, and
 * for the thread to end. From then on wake_up is not called; but a word that it has passed on may
 * still be on its way to the host, and must not meet a loop that was freed. Nothing happens to the
 * loop itself: it can be run in the usual way, or hosted again. 0 also if it was not hosted.
 * PCO_EBUSY, and nothing is done, on any thread but that which hosts it, so inside wake_up.
 * pco_loop_free does this first.
 */
PCO_API int pco_loop_unhost(pco_loop *loop);

/*
 * A descriptor that is readable (poll, epoll, select...) when a turn is due for another reason than
 * time; pco_loop_next_timeout knows about time. It belongs to the loop and stays the same until
 * that is freed: do nothing with it but wait, level-triggered. From the first call on the loop
 * reports to it what happens between turns, which costs a system call each time. With "kqueue" it
 * is a kqueue: what waits by poll or select understands it everywhere; on some versions of macOS a
 * kqueue that is put into another one is reported as readable always, and there pco_loop_host
 * is the better way.
 * PCO_ENOTSUP, which is negative, as no descriptor is: there is none on this system (Windows).
 */
PCO_API int pco_loop_get_descriptor(pco_loop *loop);

/*
 * In how many seconds a turn is due by itself: 0 at once, INFINITY never, unless something happens.
 * What that may be, news from the network and other threads, only the descriptor tells, or wake_up.
 * Ask after each turn, and after whatever else you have called: directly before you wait. A host
 * that counts in milliseconds rounds up, or it will spin through the last one.
 */
PCO_API double pco_loop_next_timeout(pco_loop *loop);

/*
 * How long pco_loop_run_once works, in seconds: when so much has been used up it ends after the
 * callback that runs, and what is left is due at once, in its order; with a timeout, what it waits
 * does not count. So the host paints and hears its user however much comes in. 0, the default: 4
 * milliseconds (of the 16 that there are at 60 frames a second) once the loop is hosted or its
 * descriptor was asked for, no limit otherwise. INFINITY: no limit. A callback of yours that takes
 * longer is not interrupted. Order is what it always is (portico/loop.h), as if one turn went on
 * where it stopped. PCO_EINVAL: negative or NaN.
 */
PCO_API int pco_loop_set_turn_budget(pco_loop *loop, double seconds);

#ifdef __cplusplus
}
#endif

#endif
