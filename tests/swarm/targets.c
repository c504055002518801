/* SPDX-License-Identifier: MIT */
/*
 * targets.c: where an opening may connect to: in which order, and what becomes of each attempt.
 */
#include "swarm.h"

#include "client/opening.h"

target *find_target(opening *of, const pco_address *address)
{
    for (size_t i = 0; i < of->count; i++) {
        if (pco_address_equal(&of->targets[i].address, address)) {
            return &of->targets[i];
        }
    }
    return NULL;
}

/* ---- The order of addresses ---- */

/* The first from `from` on that is of the family, or is not; of->count if there is none. */
static size_t find_family(const opening *of, const bool *taken, int family, bool wanted)
{
    size_t i = 0;
    while (i < of->count &&
           (taken[i] || (pco_address_family(&of->targets[i].address) == family) != wanted)) {
        i++;
    }
    return i;
}

/* So many of the first family, then one of the others, one of the first, and so on. */
void expect_order(opening *of, int interleave, int family)
{
    bool taken[TARGETS_MOST] = {false};
    for (size_t i = 0; i < of->count; i++) {
        int its = pco_address_family(&of->targets[i].address);
        taken[i] = family != PCO_AF_UNSPEC && its != family;
    }
    size_t first = 0;
    while (first < of->count && taken[first]) {
        first++;
    }
    int leading = first < of->count ? pco_address_family(&of->targets[first].address) : 0;
    int left = interleave == 0 ? 1 : interleave;
    for (bool own = true;;) {
        size_t next = find_family(of, taken, leading, own);
        if (interleave < 0) {
            for (next = 0; next < of->count && taken[next];) {
                next++;
            }
        } else if (next == of->count) {
            next = find_family(of, taken, leading, !own);
        }
        if (next == of->count) {
            return;
        }
        taken[next] = true;
        of->order[of->expected++] = next;
        left--;
        own = !own || left > 0;
    }
}

/* ---- What becomes of an attempt ---- */

fake_flight *attempt_of(fake_socket *sock)
{
    fake_flight *flight = &sock->out;
    return flight->op != NULL && flight->op->kind == PCO__OP_CONNECT ? flight : NULL;
}

unsigned attempts_of(const world *at, const opening *of)
{
    unsigned count = 0;
    for (fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        const fake_flight *flight = each->user == of ? attempt_of(each) : NULL;
        count += flight != NULL && !flight->op->canceled;
    }
    return count;
}

/* Of one without a request only its context is known, which is that of the call, then. */
opening *opening_of_internal(const struct pco__opening *internal)
{
    for (opening *each = running->openings; each != NULL; each = each->next) {
        if (each->internal == internal) {
            return each;
        }
    }
    return internal->context;
}

static opening *opening_of(const pco__op *op)
{
    const pco__stream *stream = PCO__CONTAINER(op, pco__stream, send);
    return opening_of_internal(PCO__CONTAINER(stream->owner, pco__opening, owner.base));
}

/* The opening's fate with this address, and the names of both ends. */
static void connect_begins(fake_socket *sock, const pco__op *op)
{
    opening *of = opening_of(op);
    world *at = of->at;
    target *to = find_target(of, op->with.address);
    if (to == NULL) {
        broken(at, "opening %u connects to an address that is none of its own", of->id);
    }
    at->events++;
    sock->user = of;
    sock->peer = to->address;
    sock->credentials = of->peer;
    if (to->fate == MEETS_ITSELF && pco_address_port(&sock->name) == 0) {
        sock->name = to->address;
        of->causes |= cause_bit(PCO_ECONNREFUSED);
    }
    if (to->full != 0 && !at->calm) {
        to->full--;
        sock->send_error = PCO_EAGAIN;
        sock->send_system_code = 11;
    }
    sock->silent = !at->calm && (to->fate == ANSWERS_LATE || to->fate == REFUSES_LATE);
    if (to->fate == REFUSES || to->fate == REFUSES_LATE) {
        sock->send_error = to->error;
        sock->send_system_code = 111;
        of->causes |= cause_bit(to->error) | cause_bit(told_as(of, to->error));
    }
}

void targets_begin(void)
{
    fake_connecting = connect_begins;
}
