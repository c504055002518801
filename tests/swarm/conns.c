/* SPDX-License-Identifier: MIT */
/* conns.c: connections of the model: their bytes, and which of them. */
#include "swarm.h"

/* ---- Bytes ---- */

/* What one end of a pair sends is what the other receives. */
unsigned char byte_of(const conn *of, bool out, uint64_t position)
{
    if (of->linked != NULL && of->linked->id < of->id) {
        of = of->linked;
        out = !out;
    }
    uint64_t mixed = (position + of->id * 7919u + (out ? 104729u : 0)) * 2654435761u;
    return (unsigned char)(mixed >> 19);
}

unsigned char *bytes_from(const conn *of, bool out, uint64_t position, size_t length)
{
    unsigned char *data = malloc(length);
    for (size_t i = 0; i < length; i++) {
        data[i] = byte_of(of, out, position + i);
    }
    return data;
}

void check_bytes(world *at, const conn *of, bool out, uint64_t position, const unsigned char *data,
                 size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (data[i] != byte_of(of, out, position + i)) {
            broken(at,
                   "%s: a byte is wrong, or at the wrong place: connection %u, position %" PRIu64,
                   out ? "output" : "input", of->id, position + i);
        }
    }
}

/* ---- Connections ---- */

conn *conn_new(world *at, fake_socket *socket, bool is_tls)
{
    conn *made = calloc(1, sizeof *made);
    made->id = at->conns_count;
    made->socket = socket;
    made->is_tls = is_tls;
    made->began = pco_loop_time(at->loop);
    made->may_end = made->began + HANDSHAKE_TIMEOUT;
    made->ends_by = INFINITY;
    at->conns[at->conns_count++] = made;
    return made;
}

bool has_own_peer(const conn *of)
{
    return of->socket != NULL && !of->socket->closed && of->linked == NULL;
}

bool has_halves(const conn *of)
{
    return of->is_tls ? of->wants_halves && !of->old : of->carrier != OVER_PIPE;
}

bool may_stay_open(const conn *of)
{
    return has_halves(of) || (!of->is_tls && of->carrier == OVER_PIPE);
}

void peer_has_closed(world *at, conn *of)
{
    if (of->carrier == OVER_PIPE && pick(at, 2) == 1) {
        cause(of, PCO_ECONNRESET);
        of->socket->send_error = PCO_ECONNRESET;
        of->socket->send_system_code = 232;
    }
}

bool is_attached(const conn *of)
{
    return of->socket != NULL && of->socket->io != NULL;
}

bool awaits_choice(const world *at, const conn *of)
{
    for (unsigned i = 0; i < at->choices_count; i++) {
        if (at->choices[i].of == of) {
            return true;
        }
    }
    return false;
}

conn *find_conn(const world *at, pco_socket sock)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->socket != NULL && at->conns[i]->socket->number == sock) {
            return at->conns[i];
        }
    }
    return NULL;
}

bool has_conn(const world *at, conn_state state)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->state == state) {
            return true;
        }
    }
    return false;
}

conn *pick_conn(world *at, conn_state state)
{
    unsigned count = 0;
    if (at->current != NULL && at->current->state == state && pick(at, 3) != 1) {
        return at->current;
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += at->conns[i]->state == state;
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->state == state && nth-- == 0) {
            return at->conns[i];
        }
    }
    return NULL;
}

void mark_closed(conn *of, bool cut)
{
    of->closed = true;
    of->cut = of->cut || cut;
}

void cause(conn *of, int error)
{
    of->causes |= cause_bit(error);
}

void look_at_sent(world *at, conn *of)
{
    if (of->socket == NULL || of->is_tls || of->seen == of->socket->sent_length) {
        return;
    }
    check_bytes(at, of, true, of->arrived, of->socket->sent + of->seen,
                of->socket->sent_length - of->seen);
    of->arrived += of->socket->sent_length - of->seen;
    of->seen = of->socket->sent_length;
    if (of->arrived > of->written + of->excess) {
        broken(at, "more was sent than was written");
    }
}
