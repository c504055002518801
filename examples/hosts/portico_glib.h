/* SPDX-License-Identifier: MIT */
/*
 * portico_glib.h: a loop in GLib's main loop, for programs with GTK 3 or 4, or with GLib alone. To
 * be taken as it is. POSIX; on Windows see portico_win32.h, which GTK's loop there goes with.
 *
 *     GSource *source = portico_glib_source_new(loop);
 *     g_source_attach(source, NULL);
 *     ...
 *     g_source_destroy(source);
 *     g_source_unref(source);
 *     pco_loop_free(loop);
 */
#ifndef PORTICO_GLIB_H
#define PORTICO_GLIB_H

#include <portico.h>

#include <glib.h>

/*
 * A source that runs the loop's turns, for all of the loop's life: attach it to the context of the
 * loop's thread. Its priority is G_PRIORITY_DEFAULT_IDLE, which is behind input and painting.
 */
GSource *portico_glib_source_new(pco_loop *loop);

#endif
