/* SPDX-License-Identifier: MIT */
/* request.c: what takes time and ends once. */
#include "loop/request.h"

#include <assert.h>

static void drop_reference(pco_request *request)
{
    if (--request->references == 0) {
        request->class_->destroy(request);
    }
}

static pco_request *of(pco__resident *resident)
{
    return PCO__CONTAINER(resident, pco_request, resident);
}

static void end(pco__resident *resident)
{
    pco_request_cancel(of(resident));
}

static bool has_ended(pco__resident *resident)
{
    (void)resident; /* one that has ended lives on no loop */
    return false;
}

/* Never called: the loop is not left before the request has ended. */
static const pco__resident_class request_class = {.end = end, .has_ended = has_ended};

void pco__request_begin(pco_loop *loop, pco_request *request, const pco__request_class *class_,
                        pco_request **wanted)
{
    request->resident.class_ = &request_class;
    request->class_ = class_;
    request->loop = loop;
    request->references = wanted != NULL ? 2 : 1;
    pco__loop_move_in(loop, &request->resident);
    if (wanted != NULL) {
        *wanted = request;
    }
}

void pco__request_complete(pco_request *request)
{
    assert(request->loop != NULL);
    request->loop = NULL;
    pco__loop_move_out(&request->resident);
    request->class_->complete(request);
    drop_reference(request);
}

/* In debug mode. A request that is complete belongs to no thread. */
static void check_thread(const pco_request *request)
{
    if (request->loop != NULL) {
        pco__loop_check_thread(request->loop);
    }
}

void pco_request_cancel(pco_request *request)
{
    if (request == NULL) {
        return;
    }
    check_thread(request);
    if (request->loop != NULL && !request->canceled) {
        request->canceled = true;
        request->class_->cancel(request);
    }
}

void pco_request_release(pco_request *request)
{
    if (request != NULL) {
        check_thread(request);
        drop_reference(request);
    }
}
