/* SPDX-License-Identifier: MIT */
/*
 * pairs.c: connections whose both ends are the library's: an opening has connected to a server of
 * the same program, or there was a pair of sockets. What leaves the one arrives at the other when a
 * verb carries it.
 */
#include "swarm.h"

void link_up(conn *client, conn *other)
{
    client->linked = other;
    other->linked = client;
    other->old = client->old;
    if (client->causes != 0) {
        cause(other, PCO_ECERT); /* it will hear of it */
        cause(other, PCO_ETLS);
    }
}

void pair_up(world *at, conn *client, served *server)
{
    conn *other = connect_to(at, server);
    say(at, "connection %u is the other end of %u, of server %u", other->id, client->id,
        server->id);
    link_up(client, other);
}

/* Whether an end has gone as TLS has it: after its close_notify. */
static bool has_left_politely(const conn *of)
{
    return of->is_tls && of->state == LOST_CONN && of->lost == 0 && of->closed && !of->cut &&
           of->causes == 0;
}

/* The end of the one is told to the other. */
static void relay_end(world *at, conn *of)
{
    conn *to = of->linked;
    to->fed_eof = true;
    peer_has_closed(at, to);
    if (of->socket->reset && to->carrier != OVER_PIPE) {
        cause(to, PCO_ECONNRESET);
        fake_feed_error(to->socket, PCO_ECONNRESET, 104);
    } else {
        fake_feed_eof(to->socket);
    }
    if (to->is_tls && !has_left_politely(of)) {
        cause(to, PCO_ETRUNCATED);
        cause(to, PCO_ECONNRESET);
        cause(to, PCO_ETLS);
    }
}

bool relay(world *at, conn *of, size_t most)
{
    conn *to = of->linked;
    if (of->socket == NULL || to->socket == NULL) {
        return false;
    }
    look_after_gates(at);
    look_at_sent(at, of);
    size_t length = of->socket->sent_length - of->relayed;
    length = length < most ? length : most;
    bool hears = !to->fed_eof && !to->socket->closed;
    if (hears && length != 0) {
        fake_feed(to->socket, of->socket->sent + of->relayed, length);
        to->fed += to->is_tls ? 0 : length;
    }
    of->relayed += length;
    bool ends = hears && of->relayed == of->socket->sent_length &&
                (of->socket->shut_down || of->socket->closed || of->socket->dropped);
    if (ends) {
        relay_end(at, of);
    }
    return length != 0 || ends;
}

bool peer_works(world *at, conn *of, size_t most)
{
    return of->linked != NULL ? relay(at, of, most) : tls_pump(at, of, most);
}

/* Both ends are well, and nothing is on its way: each has what the other has written. */
void check_pair_at_rest(world *at, const conn *of)
{
    const conn *to = of->linked;
    if (to == NULL || to->state != MADE_CONN || of->closed || to->closed || of->causes != 0 ||
        to->causes != 0 || pco_transport_is_closing(of->transport) ||
        pco_transport_is_closing(to->transport) || memory_was_short(at)) {
        return;
    }
    if (to->received != of->written) {
        broken(at, "connection %u has %" PRIu64 " of %" PRIu64 " bytes that %u has written", to->id,
               to->received, of->written, of->id);
    }
    if (of->write_eof && !to->eof) {
        broken(at, "connection %u has ended, and %u was not told", of->id, to->id);
    }
}

/* ---- Verbs ---- */

static bool has_pair(const world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->linked != NULL) {
            return true;
        }
    }
    return false;
}

static void carry(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += at->conns[i]->linked != NULL;
    }
    unsigned nth = pick(at, count);
    size_t most = pick_rarely(at, 3) ? SIZE_MAX : pick_length(at);
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->linked != NULL && nth-- == 0) {
            say(at, "at most %zu bytes of %u arrive at %u", most, i, at->conns[i]->linked->id);
            relay(at, at->conns[i], most);
            return;
        }
    }
}

const verb verbs_pair[] = {
    {"carry", 40, ANYWHERE, has_pair, carry},
    {.name = NULL},
};
