/* SPDX-License-Identifier: MIT */
#include "portico_cf.h"

#include <CoreFoundation/CoreFoundation.h>
#include <stdlib.h>

struct portico_cf {
    pco_loop *loop;
    CFRunLoopRef run_loop;
    CFRunLoopSourceRef source;
};

/* On a thread of the library's. */
static void wake_up(void *context)
{
    portico_cf *self = context;

    CFRunLoopSourceSignal(self->source);
    CFRunLoopWakeUp(self->run_loop);
}

static void perform(void *context)
{
    portico_cf *self = context;

    pco_loop_run_once(self->loop, 0);
}

/* When the library does not call it any more, or does not yet. */
static void free_source(portico_cf *self)
{
    CFRunLoopSourceInvalidate(self->source);
    CFRelease(self->source);
    CFRelease(self->run_loop);
    free(self);
}

int portico_cf_new(pco_loop *loop, portico_cf **host, pco_error *error)
{
    portico_cf *self = calloc(1, sizeof *self);
    CFRunLoopSourceContext context = {.info = self, .perform = perform};

    if (self != NULL) {
        self->source = CFRunLoopSourceCreate(NULL, 0, &context);
    }
    if (self == NULL || self->source == NULL) {
        free(self);
        *error = (pco_error){.code = PCO_ENOMEM, .message = "no memory for a source of a run loop"};
        return error->code;
    }
    self->loop = loop;
    self->run_loop = (CFRunLoopRef)CFRetain(CFRunLoopGetCurrent());
    CFRunLoopAddSource(self->run_loop, self->source, kCFRunLoopCommonModes);

    int code = pco_loop_host(loop, wake_up, self, error);
    if (code == 0) {
        *host = self;
    } else {
        free_source(self);
    }
    return code;
}

void portico_cf_free(portico_cf *self)
{
    if (self != NULL) {
        pco_loop_unhost(self->loop);
        free_source(self);
    }
}
