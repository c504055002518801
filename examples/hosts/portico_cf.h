/* SPDX-License-Identifier: MIT */
/*
 * portico_cf.h: a loop in a CFRunLoop, for programs with Cocoa. To be taken as it is.
 *
 *     portico_cf *host;
 *     int code = portico_cf_new(loop, &host, &error);
 *     ...
 *     portico_cf_free(host);
 *     pco_loop_free(loop);
 */
#ifndef PORTICO_CF_H
#define PORTICO_CF_H

#include <portico.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct portico_cf portico_cf;

/*
 * Runs the loop's turns in the run loop of this thread, in its common modes, which are those of
 * modal windows and of a mouse that drags, too. What pco_loop_host answers, or PCO_ENOMEM.
 */
int portico_cf_new(pco_loop *loop, portico_cf **host, pco_error *error);

/* On the same thread, before the loop is freed. NULL is allowed. */
void portico_cf_free(portico_cf *host);

#ifdef __cplusplus
}
#endif

#endif
