/* SPDX-License-Identifier: MIT */
/*
 * verbs_peer.c: what the peers do: they send, end, reset, stop reading, read slowly. What they send
 * is TLS where the connection is.
 */
#include "swarm.h"

static bool has_socket(const conn *of)
{
    return of->socket != NULL && !of->socket->closed;
}

/* A connection whose peer may still act; NULL: none. */
static conn *pick_peer(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += has_socket(at->conns[i]);
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *each = at->conns[i];
        if (has_socket(each) && nth-- == 0) {
            return each;
        }
    }
    return NULL;
}

static bool has_peer(const world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (has_socket(at->conns[i])) {
            return true;
        }
    }
    return false;
}

/* Where a peer of a program that is mistaken sends a wrong byte. */
#define MISTAKE 1000

static void send_bytes(world *at)
{
    conn *of = pick_peer(at);
    size_t length = pick_length(at);
    if (of->fed_eof || of->notified || !has_own_peer(of)) {
        return;
    }
    say(at, "peer %u sends %zu bytes", of->id, length);
    if (of->is_tls) {
        tls_send(at, of, length);
        return;
    }
    unsigned char *data = bytes_from(of, false, of->fed, length);
    if (at->mistaken && of->fed <= MISTAKE && MISTAKE < of->fed + length) {
        data[MISTAKE - of->fed] ^= 1;
    }
    fake_feed(of->socket, data, length);
    free(data);
    of->fed += length;
}

static void send_eof(world *at)
{
    conn *of = pick_peer(at);
    if (of->fed_eof || !has_own_peer(of)) {
        return;
    }
    say(at, "peer %u ends its side", of->id);
    of->fed_eof = true;
    peer_has_closed(at, of);
    fake_feed_eof(of->socket);
    if (of->is_tls) {
        /* Before its close_notify, or a part of it, this cuts TLS off. */
        tls_cut_off(of);
    }
}

static void reset(world *at)
{
    static const int errors[] = {PCO_ECONNRESET, PCO_ETIMEDOUT, PCO_EHOSTUNREACH};
    conn *of = pick_peer(at);
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    say(at, "peer %u fails with %s", of->id, pco_error_name(error));
    cause(of, error);
    fake_feed_error(of->socket, error, 104);
}

static void refuse_sends(world *at)
{
    static const int errors[] = {PCO_ECONNRESET, PCO_ENOBUFS, PCO_ETIMEDOUT};
    conn *of = pick_peer(at);
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    say(at, "the next send of %u fails with %s", of->id, pco_error_name(error));
    cause(of, error);
    of->socket->send_error = error;
    of->socket->send_system_code = 105;
    fake_tell(at->loop);
}

static void read_slowly(world *at)
{
    static const size_t rooms[] = {SIZE_MAX, 0, 1, 100, 5000, 100000};
    conn *of = pick_peer(at);
    of->socket->room = rooms[pick(at, sizeof rooms / sizeof rooms[0])];
    fake_tell(at->loop);
    say(at, "peer %u takes %zu bytes", of->id, of->socket->room);
}

static void cut_calls(world *at)
{
    static const size_t out[] = {0, 1000, 5000, 20000};
    static const size_t in[] = {0, 3, 50, 5000};
    conn *of = pick_peer(at);
    of->socket->send_cut = out[pick(at, sizeof out / sizeof out[0])];
    of->socket->input_cut = in[pick(at, sizeof in / sizeof in[0])];
    say(at, "calls of %u move at most %zu out and %zu in", of->id, of->socket->send_cut,
        of->socket->input_cut);
}

const verb verbs_peer[] = {
    {"peer sends", 60, ANYWHERE, has_peer, send_bytes},
    {"peer ends", 8, ANYWHERE, has_peer, send_eof},
    {"peer resets", 3, ANYWHERE, has_peer, reset},
    {"send fails", 2, ANYWHERE, has_peer, refuse_sends},
    {"peer takes", 14, ANYWHERE, has_peer, read_slowly},
    {"cut calls", 6, ANYWHERE, has_peer, cut_calls},
    {.name = NULL},
};
