/* SPDX-License-Identifier: MIT */
/* rules_openings.c: what holds of connections that are being opened, between turns and at rest. */
#include "swarm.h"

#include "client/opening.h"

/* Whether another address is due: the last has failed, or its delay is over. */
static bool is_ripe(const world *at, const opening *of)
{
    bool connects = of->stage == PCO_CONNECTION_CONNECTING || of->stage == PCO_CONNECTION_FAILED;
    unsigned flights = 0;
    if (!connects || of->told || of->canceled || of->decided || of->next_tried == of->expected) {
        return false;
    }
    for (fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        flights += each->user == of && attempt_of(each) != NULL;
    }
    bool is_over = !of->patient && pco_loop_time(at->loop) >= of->began + of->delay;
    return flights < ATTEMPTS_MOST && (of->may_go_on || is_over);
}

static void check_ripe(world *at, opening *of)
{
    unsigned long now = fake_of(at->loop)->turns;
    of->ripe = !is_ripe(at, of) ? 0 : of->ripe == 0 ? now : of->ripe;
    if (of->ripe != 0 && now > of->ripe + 1) {
        broken(at, "opening %u does not go on with the next address", of->id);
    }
}

void check_openings(world *at)
{
    for (opening *each = at->openings; each != NULL; each = each->next) {
        unsigned attempts = attempts_of(at, each);
        if (attempts > ATTEMPTS_MOST) {
            broken(at, "opening %u has %u attempts under way", each->id, attempts);
        }
        if (each->told && attempts != 0) {
            broken(at, "opening %u is over, and goes on", each->id);
        }
        check_ripe(at, each);
    }
}

/* TLS is at work: its peer must be, too, before the connection is made. */
void meet_peers(world *at)
{
    for (opening *each = at->openings; each != NULL; each = each->next) {
        const pco__opening *internal = each->internal;
        if (internal != NULL && internal->stage == PCO__OPENING_MAKING && each->is_tls &&
            internal->winner != NULL) {
            opening_conn(at, each, fake_socket_of(at->loop, internal->winner->io.socket));
        }
    }
}

/* One that shakes hands may have to wait for its peer, and a pipe's for a free instance. */
static bool may_wait(const world *at, const opening *of)
{
    return waits_for_instance(at, of) ||
           (of->is_tls && of->conn != NULL &&
            (of->conn->linked != NULL || of->conn->tls == NULL || of->conn->causes != 0));
}

void check_openings_at_rest(world *at)
{
    for (const opening *each = at->openings; each != NULL; each = each->next) {
        if (!each->told && !may_wait(at, each) && !memory_was_short(at)) {
            broken(at, "opening %u does not come to its end", each->id);
        }
    }
    for (const fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        const opening *of = each->user;
        if (of != NULL && of->told && !each->closed &&
            (of->conn == NULL || of->conn->socket != each || of->conn->state != MADE_CONN)) {
            broken(at, "a socket of opening %u is not closed", of->id);
        }
    }
}

void check_openings_over(world *at)
{
    for (const opening *each = at->openings; each != NULL; each = each->next) {
        if (!each->told) {
            broken(at, "opening %u knows no end", each->id);
        }
    }
}
