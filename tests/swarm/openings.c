/* SPDX-License-Identifier: MIT */
/*
 * openings.c: connections that are being opened: their callbacks, and the grammar of these:
 *
 *     [RESOLVING]? [CONNECTING [FAILED]?]* [HANDSHAKE]? [factory connection_made]? completion
 */
#include "swarm.h"

#include "client/opening.h"

/* ---- Which ---- */

bool has_opening(const world *at, bool (*fits)(const opening *of))
{
    for (const opening *each = at->openings; each != NULL; each = each->next) {
        if (fits(each)) {
            return true;
        }
    }
    return false;
}

opening *pick_opening(world *at, bool (*fits)(const opening *of))
{
    unsigned count = 0;
    for (opening *each = at->openings; each != NULL; each = each->next) {
        count += fits(each);
    }
    unsigned nth = pick(at, count);
    for (opening *each = at->openings; each != NULL; each = each->next) {
        if (fits(each) && nth-- == 0) {
            return each;
        }
    }
    return NULL;
}

/* ---- The connection ---- */

/* A peer of the model's may talk, or go, at once. */
static void greet(world *at, conn *of)
{
    unsigned what = pick(at, 6);
    if (what == 1) {
        cause(of, PCO_ECONNRESET);
        fake_feed_error(of->socket, PCO_ECONNRESET, 104);
    } else if (what == 2 && !of->is_tls) {
        of->fed_eof = true;
        fake_feed_eof(of->socket);
    }
}

conn *opening_conn_new(world *at, opening *of, fake_socket *socket)
{
    conn *made = conn_new(at, socket, of->is_tls);
    made->carrier = of->carrier;
    made->is_impostor = of->has_impostor;
    socket->credentials = of->peer;
    double limit = handshake_limit(of->handshake_timeout);
    made->opening = of;
    made->client_context = of->context;
    made->may_end = of->handshake_from != 0 ? of->handshake_from + limit : 0;
    made->ends_by = made->began + limit;
    if (of->verdict != NULL) {
        of->verdict->conn = made;
    }
    made->wants_halves = of->halves;
    made->old = of->old;
    made->port = pco_address_port(&socket->peer);
    of->conn = made;
    if (of->must_fail) {
        cause(made, PCO_ECERT);
        cause(made, PCO_ETLS);
    }
    return made;
}

conn *opening_conn(world *at, opening *of, fake_socket *socket)
{
    if (of->conn != NULL) {
        return of->conn;
    }
    conn *made = opening_conn_new(at, of, socket);
    const target *to = find_target(of, &socket->peer);
    if (of->count != 0 && pco_address_equal(&socket->name, &socket->peer)) {
        broken(at, "opening %u is connected to itself", of->id);
    }
    if (to != NULL && to->server != NULL && is_open_to_clients(to->server) && may_have_conn(at) &&
        !at->freeing) {
        pair_up(at, made, to->server);
        return made;
    }
    if (made->is_tls) {
        tls_peer_new(at, made);
    }
    greet(at, made);
    return made;
}

static void check_stands(world *at, opening *of, fake_socket *socket)
{
    if (socket->user != of || socket->io == NULL || attempt_of(socket) != NULL) {
        broken(at, "opening %u makes a connection of a socket that is not connected", of->id);
    }
    if (!at->wish_failed && !is_granted(&of->wanted, &socket->options)) {
        broken(at, "the socket of opening %u has other options than its own", of->id);
    }
    if (of->tells && of->is_tls && of->stage != PCO_CONNECTION_HANDSHAKE) {
        broken(at, "opening %u has not told of its handshake", of->id);
    }
}

conn *opening_made(world *at, const proto *made, pco_socket sock)
{
    opening *of = made->opening;
    fake_socket *socket = fake_socket_of(at->loop, sock);
    if (of == NULL || of->told || of->conn != NULL) {
        broken(at, "connection_made of a socket that nobody has opened");
    }
    check_stands(at, of, socket);
    return opening_conn(at, of, socket);
}

pco_protocol *opening_factory(void *context)
{
    opening *of = context;
    world *at = of->at;
    enter_callback(at, NULL, "the factory of an opening", of->id);
    if (of->told || of->canceled || of->decided || at->freeing || at->promised != NULL) {
        broken(at, "the factory of opening %u was called twice, or after its end", of->id);
    }
    if (of->internal != NULL) {
        check_stands(at, of, fake_socket_of(at->loop, of->internal->winner->io.socket));
    }
    proto *made = pick(at, 12) != 1 ? proto_new(at) : NULL;
    if (made != NULL) {
        made->opening = of;
    }
    of->decided = true;
    of->refused = made == NULL;
    act_in_callback(at);
    at->promised = made;
    leave_callback(at, NULL);
    return made != NULL ? &made->base : NULL;
}

int opening_prepare(pco_socket sock, int family, void *context)
{
    static const int codes[] = {0, 0, 0, 0, PCO_EACCES};
    opening *of = context;
    world *at = of->at;
    enter_callback(at, NULL, "prepare_socket", of->id);
    if (of->told || of->canceled || of->decided || at->freeing) {
        broken(at, "a socket of opening %u is prepared after its end", of->id);
    }
    const fake_socket *socket = fake_socket_of(at->loop, sock);
    bool fits = of->carrier == OVER_UNIX ? family == PCO_AF_UNIX
                                         : family == PCO_AF_INET || family == PCO_AF_INET6;
    if (socket->closed || socket->io != NULL || socket->name.length != 0 || !fits) {
        broken(at, "a socket is prepared too late, or of no family");
    }
    int code = codes[pick(at, sizeof codes / sizeof codes[0])];
    of->causes |= code != 0 ? cause_bit(code) : 0;
    act_in_callback(at);
    leave_callback(at, NULL);
    return code;
}

/* ---- Progress ---- */

static bool is_caused(const world *at, const opening *of, int code)
{
    bool by_memory = code == PCO_ENOMEM || (code == PCO_ETLS && of->is_tls);
    return (of->causes & cause_bit(code)) != 0 || (by_memory && memory_was_short(at)) ||
           (code == PCO_EINVAL && of->refused) ||
           (code == PCO_EMFILE && (at->attach_failed || at->open_failed)) ||
           (code == PCO_EMFILE && at->pipes_failed && of->carrier == OVER_PIPE) ||
           (code == PCO_EADDRINUSE && at->bind_failed && of->has_local) ||
           (code == PCO_ENOBUFS && at->wish_failed) ||
           (of->conn != NULL && is_justified(at, of->conn, code)) ||
           (code == PCO_ETIMEDOUT && (of->is_tls || of->expires || of->expected > ATTEMPTS_MOST));
}

static void begins(world *at, opening *of, target *to)
{
    if (to->under_way) {
        if (to->fate != MEETS_ITSELF) {
            broken(at, "opening %u tries an address again", of->id);
        }
        to->begun++;
        return;
    }
    if (to->failed || of->next_tried == of->expected ||
        to != &of->targets[of->order[of->next_tried]]) {
        broken(at, "opening %u tries an address out of turn", of->id);
    }
    unsigned others = attempts_of(at, of);
    if (others >= ATTEMPTS_MOST) {
        broken(at, "opening %u has %u attempts under way", of->id, others);
    }
    double now = pco_loop_time(at->loop);
    if (!of->may_go_on && others != 0 && of->next_tried != 0 &&
        (of->patient || now < of->began + of->delay - 1e-6)) {
        broken(at, "opening %u tries another address before its delay is over", of->id);
    }
    of->next_tried++;
    of->began = now;
    of->may_go_on = false;
    of->ripe = 0;
    to->begun++;
    to->under_way = true;
}

static void fails(world *at, opening *of, target *to, const pco_error *error)
{
    if (!to->under_way || error->code == 0 || error->message[0] == '\0') {
        broken(at, "opening %u: an address failed that was not tried, or without an error", of->id);
    }
    if (!is_caused(at, of, error->code)) {
        broken(at, "an address of opening %u failed with %s, which nobody caused", of->id,
               pco_error_name(error->code));
    }
    to->under_way = false;
    to->failed = true;
    of->may_go_on = true;
    if (to == &of->targets[of->order[of->expected - 1]]) {
        of->last_failure = error->code;
    }
}

/* Where it is to go to and to come from, without a look-up. */
static bool is_known(const opening *of)
{
    return of->shape == BY_PLACE || (of->shape == BY_ADDRESSES && !of->has_local);
}

static bool may_tell(const opening *of, int stage)
{
    switch (stage) {
    case PCO_CONNECTION_RESOLVING:
        return of->stage == 0 && of->shape != OF_SOCKET && of->shape != ACCEPTED && !is_known(of);
    case PCO_CONNECTION_CONNECTING:
        return of->carrier == OVER_PIPE
                   ? of->stage == 0
                   : of->stage != PCO_CONNECTION_HANDSHAKE && (of->stage != 0 || is_known(of));
    case PCO_CONNECTION_FAILED:
        return of->stage != PCO_CONNECTION_HANDSHAKE && of->stage != 0;
    case PCO_CONNECTION_HANDSHAKE:
        return of->is_tls && of->stage != PCO_CONNECTION_HANDSHAKE;
    default:
        return false;
    }
}

void opening_progress(int stage, const pco_address *address, const pco_error *error, void *context)
{
    opening *of = context;
    world *at = of->at;
    enter_callback(at, NULL, "progress", (uint64_t)stage);
    if (of->told || of->canceled || of->decided || at->freeing || !may_tell(of, stage)) {
        broken(at, "opening %u tells stage %d after %d, or after its end", of->id, stage,
               of->stage);
    }
    bool is_of_address = of->carrier != OVER_PIPE &&
                         (stage == PCO_CONNECTION_CONNECTING || stage == PCO_CONNECTION_FAILED);
    target *to = address != NULL ? find_target(of, address) : NULL;
    if ((error != NULL) != (stage == PCO_CONNECTION_FAILED) || (is_of_address && to == NULL) ||
        (address != NULL && (stage == PCO_CONNECTION_RESOLVING || of->carrier == OVER_PIPE))) {
        broken(at, "opening %u tells stage %d with another address or error", of->id, stage);
    }
    of->stage = stage;
    of->handshake_from = stage == PCO_CONNECTION_HANDSHAKE ? pco_loop_time(at->loop) : 0;
    if (stage == PCO_CONNECTION_CONNECTING && is_of_address) {
        begins(at, of, to);
    } else if (stage == PCO_CONNECTION_FAILED) {
        fails(at, of, to, error);
    } else if (stage == PCO_CONNECTION_HANDSHAKE && of->count != 0 &&
               (to == NULL || !to->under_way)) {
        broken(at, "opening %u shakes hands with an address that was not tried", of->id);
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

/* ---- The completion ---- */

static bool all_have_failed(const opening *of)
{
    for (size_t i = 0; i < of->expected; i++) {
        if (!of->targets[of->order[i]].failed) {
            return false;
        }
    }
    return true;
}

/* Of one whose progress we have heard: it gives up when nothing is left, and says why. */
static void check_failures(world *at, const opening *of, int code)
{
    if (!of->tells || of->next_tried == 0 || of->stage == PCO_CONNECTION_HANDSHAKE || of->refused ||
        code == PCO_ECANCELED || code == PCO_ETIMEDOUT ||
        (of->has_impostor && code == PCO_EACCES)) {
        return;
    }
    if (!all_have_failed(of)) {
        broken(at, "opening %u gives up while an address is left", of->id);
    }
    if (code != told_as(of, of->last_failure)) {
        broken(at, "opening %u ends with %s, the last address has failed with %s", of->id,
               pco_error_name(code), pco_error_name(of->last_failure));
    }
}

static void check_outcome(world *at, const opening *of, int code)
{
    if (code == PCO_ECANCELED ? !of->canceled && !at->freeing
                              : code == 0 && of->canceled && !of->late) {
        broken(at, "opening %u ended with %s", of->id,
               code != 0 ? pco_error_name(code) : "a connection");
    }
    if (of->is_local && code == PCO_ENOENT) {
        broken(at, "opening %u is told of a place, and asked for a name", of->id);
    }
    if (of->has_impostor && (code == 0 || of->decided)) {
        broken(at, "opening %u has spoken to an impostor", of->id);
    }
    if (code == 0 && of->must_fail) {
        broken(at, "opening %u trusts a certificate that is none of its server's", of->id);
    }
    if (code != 0 && of->decided && !of->refused) {
        broken(at, "opening %u failed after connection_made", of->id);
    }
    if (code != 0 && code != PCO_ECANCELED && !is_caused(at, of, code)) {
        broken(at, "opening %u ended with %s, which nobody caused", of->id, pco_error_name(code));
    }
    if (code != 0) {
        check_failures(at, of, code);
    }
}

/* Who waits for an instance of a pipe does so for as long as was said. */
static void check_patience(world *at, const opening *of, int code)
{
    if (of->carrier == OVER_PIPE && code == PCO_ETIMEDOUT && !of->has_instance &&
        pco_loop_time(at->loop) < of->since + of->patience - MOMENT) {
        broken(at, "opening %u gives up its pipe too early", of->id);
    }
}

static void check_made(world *at, const opening *of, const pco_transport *transport,
                       const pco_protocol *protocol)
{
    const conn *made = of->conn;
    if (made == NULL || made->state != MADE_CONN || made->transport != transport ||
        protocol != &made->proto->base) {
        broken(at, "opening %u brings another connection than its own", of->id);
    }
}

void opening_done(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                  void *context)
{
    opening *of = context;
    world *at = of->at;
    int code = error != NULL ? error->code : 0;
    if (code == 0 ? at->owed != of : at->owed != NULL) {
        broken(at, "opening %u is not told directly after connection_made", of->id);
    }
    at->owed = NULL;
    enter_callback(at, NULL, "the completion of an opening", of->id);
    if (of->told) {
        broken(at, "opening %u was completed twice", of->id);
    }
    if ((transport != NULL) != (code == 0) || (protocol != NULL) != (code == 0) ||
        (error != NULL && error->message[0] == '\0')) {
        broken(at, "opening %u brings a connection and an error, or neither", of->id);
    }
    if (error != NULL) {
        say(at, "it failed: %s", error->message);
    }
    check_outcome(at, of, code);
    check_patience(at, of, code);
    gate_leave(at, of->gate);
    gate_leave(at, of->verdict);
    of->told = true;
    of->internal = NULL;
    if (code == 0) {
        check_made(at, of, transport, protocol);
    } else {
        free(of->given); /* it is ours still */
        of->given = NULL;
        if (of->conn != NULL) {
            mark_closed(of->conn, true);
        }
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

/* ---- The end ---- */

void free_openings(world *at)
{
    while (at->openings != NULL) {
        opening *of = at->openings;
        at->openings = of->next;
        if (!of->told) {
            broken(at, "opening %u was never completed", of->id);
        }
        pco_request_cancel(of->request);
        pco_request_release(of->request);
        free(of);
    }
}
