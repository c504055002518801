/* SPDX-License-Identifier: MIT */
/*
 * request.h: what takes time and ends once, such as pco_loop_create_server_async.
 *
 * Whoever starts one gives a completion, which is called exactly once, on the loop's thread: with
 * the result, with an error, or, if the request was canceled or the loop is freed, with
 * PCO_ECANCELED. Never inside the call that started or canceled it. So what the completion's
 * context points to is given back there, and nowhere else.
 */
#ifndef PORTICO_REQUEST_H
#define PORTICO_REQUEST_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Asks for the end of a request. The completion follows, soon, with PCO_ECANCELED, or with what it
 * would have brought where that was there already. (pco_handle_cancel is different: a callback
 * that was canceled does not run.) Nothing happens once it is complete. Idempotent; NULL is
 * allowed. The loop's thread; any callback.
 */
PCO_API void pco_request_cancel(pco_request *request);

/*
 * Gives the request back, at any time: it goes on without. NULL is allowed. The loop's thread;
 * any thread once the completion was called.
 */
PCO_API void pco_request_release(pco_request *request);

#ifdef __cplusplus
}
#endif

#endif
