/* SPDX-License-Identifier: MIT */
#include "portico_glib.h"

#include <glib-unix.h>
#include <math.h>

typedef struct loop_source {
    GSource base; /* the first member: GLib's view of this struct */
    pco_loop *loop;
} loop_source;

/* In GLib's microseconds; a turn that is never due is due in thirty years. */
static gint64 next_turn(pco_loop *loop)
{
    return g_get_monotonic_time() + (gint64)ceil(fmin(pco_loop_next_timeout(loop), 1e9) * 1e6);
}

/*
 * While this runs GLib leaves the source alone, also in a main loop inside of this one: a modal
 * dialog that a callback of the loop's has opened.
 */
static gboolean dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    pco_loop *loop = ((loop_source *)source)->loop;

    (void)callback;
    (void)data;
    pco_loop_run_once(loop, 0);
    g_source_set_ready_time(source, next_turn(loop));
    return G_SOURCE_CONTINUE;
}

/* There is no prepare and no check: GLib looks at descriptor and ready time by itself. */
static GSourceFuncs functions = {.dispatch = dispatch};

GSource *portico_glib_source_new(pco_loop *loop)
{
    GSource *source = g_source_new(&functions, sizeof(loop_source));

    ((loop_source *)source)->loop = loop;
    g_source_set_static_name(source, "portico");
    g_source_set_priority(source, G_PRIORITY_DEFAULT_IDLE);
    g_source_add_unix_fd(source, pco_loop_get_descriptor(loop), G_IO_IN);
    g_source_set_ready_time(source, 0); /* the first turn */
    return source;
}
