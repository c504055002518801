/* SPDX-License-Identifier: MIT */
/*
 * default_context.c: the context of those who ask for TLS and say nothing else. There is one per
 * loop, and none per process: the library has no state that nobody owns.
 */
#include "loop/loop.h"
#include "support/error.h"
#include "support/memory.h"
#include "tls/contexts.h"

/* A resident, which only keeps it. */
typedef struct holder {
    pco__resident resident;
    pco_ssl_context *context;
} holder;

static void leave(pco__resident *resident)
{
    holder *own = PCO__CONTAINER(resident, holder, resident);
    pco_ssl_context_release(own->context);
    pco__free(own);
}

static const pco__resident_class holder_class = {.leave = leave};

static int new_holder(holder **made, pco_error *error)
{
    holder *own = pco__calloc(sizeof *own);
    if (own == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "make a TLS context");
    }
    int code = pco_ssl_context_new_client(NULL, &own->context, error);
    if (code != 0) {
        pco__free(own);
        return code;
    }
    pco__ssl_context_is_default(own->context);
    own->resident.class_ = &holder_class;
    *made = own;
    return 0;
}

int pco__ssl_context_of_loop(pco_loop *loop, pco_ssl_context **context, pco_error *error)
{
    pco__resident *found = pco__loop_find(loop, &holder_class);
    holder *own = found != NULL ? PCO__CONTAINER(found, holder, resident) : NULL;
    if (own == NULL) {
        int code = new_holder(&own, error);
        if (code != 0) {
            return code;
        }
        pco__loop_move_in_first(loop, &own->resident);
    }
    *context = own->context;
    return 0;
}
