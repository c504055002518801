/* SPDX-License-Identifier: MIT */
/*
 * verbs_detach.c: connections whose sockets leave the loop, or are called back on the way: by a
 * cancel, a close, a failure, or the loop's end.
 */
#include "swarm.h"

/* ---- The completion ---- */

/* No byte is lost: it was received, comes along, or waits in the socket. */
static void check_given(world *at, conn *of, pco_socket sock, const void *data, size_t length)
{
    const fake_socket *socket = of->socket;
    if (sock != socket->number || socket->closed || socket->io != NULL || at->freeing) {
        broken(at, "connection %u is detached, and its socket is not free", of->id);
    }
    if (of->closed || of->state != MADE_CONN || (length != 0) != (data != NULL)) {
        broken(at, "connection %u is detached after its end, or with no data", of->id);
    }
    check_bytes(at, of, false, of->received, data, length);
    of->received += length;
    if (of->received + socket->input_length != of->fed) {
        broken(at,
               "connection %u is detached with %" PRIu64
               " bytes and %zu in the socket, of %" PRIu64,
               of->id, of->received, socket->input_length, of->fed);
    }
    look_at_sent(at, of);
    if (of->arrived < of->written || (of->write_eof && !socket->shut_down)) {
        broken(at, "connection %u is detached before all was flushed", of->id);
    }
}

static void check_failure(world *at, const leaving *of, pco_socket sock, const void *data,
                          size_t length, const pco_error *error)
{
    const conn *its = of->of;
    bool is_ended = of->canceled || its->closed || its->doomed || at->freeing;
    if (sock != PCO_NO_SOCKET || data != NULL || length != 0 || error->message[0] == '\0') {
        broken(at, "detaching brought an error and a socket or data");
    }
    if (error->code == PCO_ECANCELED ? !is_ended : !is_justified(at, its, error->code)) {
        broken(at, "detaching ended with %s, which nobody caused", pco_error_name(error->code));
    }
}

static void detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                     void *context)
{
    leaving *of = context;
    world *at = of->at;
    conn *its = of->of;
    enter_callback(at, NULL, "the completion of detaching", its->id);
    if (of->told) {
        broken(at, "detaching was completed twice");
    }
    of->told = true;
    its->recalled = false;
    if (error != NULL) {
        check_failure(at, of, sock, data, length, error);
        at->settles = its;
    } else {
        check_given(at, its, sock, data, length);
        if (of->canceled) {
            broken(at, "detaching was canceled, and the socket is gone");
        }
        its->detached = true;
    }
    act_in_callback(at);
    if (error == NULL) {
        pco__backend *backend = at->loop->backend;
        if (its->carrier == OVER_PIPE) {
            backend->class_->network->pipes->close(sock);
        } else {
            backend->class_->network->close(backend, sock, false);
        }
        at->leaves = its;
    }
    if (its->leaving == of) {
        its->leaving = NULL;
    }
    leave_callback(at, NULL);
}

/* ---- Verbs ---- */

static bool may_detach(const world *at)
{
    return has_conn(at, MADE_CONN);
}

static void check_refusal(world *at, const conn *of, int code, bool was_closing)
{
    int expected = of->is_tls ? PCO_ENOTSUP : of->leaving != NULL ? PCO_EBUSY : PCO_ECLOSED;
    if (!(code == PCO_ENOMEM && memory_was_short(at)) && code != PCO_ECLOSED &&
        !(code == expected && (was_closing || of->is_tls))) {
        broken(at, "detach returned %s", pco_error_name(code));
    }
    if (code == PCO_ECLOSED && !was_closing && !at->freeing) {
        broken(at, "a transport that is open cannot be detached, it is said to be closed");
    }
}

static void detach(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    leaving *made = calloc(1, sizeof *made);
    bool was_closing = pco_transport_is_closing(of->transport);
    bool wants_request = pick(at, 4) != 1;
    made->at = at;
    made->of = of;
    enter_library(at, NULL);
    int code = pco_transport_detach(of->transport, detached, made,
                                    wants_request ? &made->request : NULL, NULL);
    leave_library(at);
    say(at, "detach %u: %s", of->id, code != 0 ? pco_error_name(code) : "0");
    if (code != 0) {
        check_refusal(at, of, code, was_closing);
        free(made);
        return;
    }
    if (was_closing || of->is_tls || !pco_transport_is_closing(of->transport)) {
        broken(at, "a transport was detached that cannot be, or it does not count as closing");
    }
    of->leaving = made;
    made->next = at->leavings;
    at->leavings = made;
}

static leaving *find_held(const world *at)
{
    for (leaving *each = at->leavings; each != NULL; each = each->next) {
        if (each->request != NULL) {
            return each;
        }
    }
    return NULL;
}

static bool has_held(const world *at)
{
    return find_held(at) != NULL;
}

/* It goes on since this call, as if nothing had been. */
static void recall(world *at)
{
    leaving *of = find_held(at);
    conn *its = of->of;
    bool goes_on = its->leaving == of && !of->told && !its->closed && !at->freeing;
    say(at, "do not detach %u", its->id);
    of->canceled = of->canceled || !of->told;
    enter_library(at, NULL);
    pco_request_cancel(of->request);
    leave_library(at);
    if (its->leaving == of) {
        its->leaving = NULL;
        its->recalled = !of->told;
    }
    if (goes_on && its->causes == 0 && !memory_was_short(at) &&
        pco_transport_is_closing(its->transport) && !its->doomed) {
        broken(at, "connection %u does not go on when detaching is canceled", its->id);
    }
}

static void release(world *at)
{
    leaving *of = find_held(at);
    pco_request *gone = of->request;
    of->request = NULL;
    say(at, "release the request to detach %u", of->of->id);
    enter_library(at, NULL);
    pco_request_release(gone);
    leave_library(at);
}

void free_leavings(world *at)
{
    while (at->leavings != NULL) {
        leaving *of = at->leavings;
        at->leavings = of->next;
        if (!of->told) {
            broken(at, "detaching was never completed");
        }
        pco_request_cancel(of->request);
        pco_request_release(of->request);
        free(of);
    }
}

const verb verbs_detach[] = {
    {"detach", 24, ANYWHERE, may_detach, detach},
    {"recall", 4, ANYWHERE, has_held, recall},
    {"release detaching", 2, ANYWHERE, has_held, release},
    {.name = NULL},
};
