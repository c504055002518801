/* SPDX-License-Identifier: MIT */
/* rules.c: what holds between turns, and what holds when nothing moves any more. */
#include "swarm.h"

/* Turns in a row, and seconds, in which nothing happened, after which nothing will. */
#define QUIET_TURNS 16
#define QUIET_SECONDS 4.0

/* The most of all. */
#define TURNS_MOST 20000

/* ---- Between turns ---- */

static size_t clients_waiting(const served *of)
{
    size_t count = 0;
    for (size_t i = 0; i < of->sockets; i++) {
        const fake_socket *listener = of->listeners[i];
        for (fake_client *each = listener != NULL ? listener->clients : NULL; each != NULL;
             each = each->next) {
            count += each->error == 0;
        }
    }
    return count;
}

static size_t connections_of(const world *at, const served *of)
{
    size_t count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += at->conns[i]->server == of && is_attached(at->conns[i]);
    }
    return count;
}

static void check_counters(world *at, served *of)
{
    pco_server_counters counters = {.size = sizeof counters};
    if (pco_server_get_counters(of->server, &counters) != 0) {
        broken(at, "the counters of a server could not be had");
    }
    if (counters.active != connections_of(at, of)) {
        broken(at, "counters.active is %" PRIu64 ", there are %zu connections", counters.active,
               connections_of(at, of));
    }
    if (of->max != 0 && counters.active > of->max) {
        broken(at, "there are %" PRIu64 " connections, more than max_connections, %zu",
               counters.active, of->max);
    }
    if (counters.handshaking > counters.active || (counters.handshaking != 0 && !of->tls)) {
        broken(at, "counters.handshaking is %" PRIu64 ", which cannot be", counters.handshaking);
    }
    if (counters.accepted != of->connects - clients_waiting(of)) {
        broken(at, "counters.accepted is %" PRIu64 ", of %" PRIu64 " clients %zu wait",
               counters.accepted, of->connects, clients_waiting(of));
    }
    if (counters.accepted < counters.active) {
        broken(at, "counters.active is more than counters.accepted");
    }
}

static void check_server(world *at, served *of)
{
    bool serves = of->serving && !of->closed;
    if (pco_server_is_serving(of->server) != serves) {
        broken(at, "is_serving is not %s", serves ? "true" : "false");
    }
    if (pco_server_get_socket_count(of->server) != (of->closed ? 0 : of->sockets)) {
        broken(at, "the number of a server's sockets is wrong");
    }
    if (pco_server_get_loop(of->server) != at->loop) {
        broken(at, "a server has lost its loop");
    }
    check_counters(at, of);
}

static void check_conn(world *at, conn *of)
{
    look_at_sent(at, of);
    if (of->state != MADE_CONN) {
        return;
    }
    pco_transport *transport = of->transport;
    bool closing = pco_transport_is_closing(transport);
    if (of->closed && !closing) {
        broken(at, "a transport that was closed is not closing");
    }
    if (pco_transport_is_reading(transport) != (!closing && !of->paused)) {
        broken(at, "is_reading is wrong");
    }
    if (pco_transport_get_protocol(transport) != &of->proto->base) {
        broken(at, "a transport has another protocol than it was given");
    }
    if (pco_transport_get_loop(transport) != at->loop) {
        broken(at, "a transport has lost its loop");
    }
    pco_socket own = of->upgrade == NULL ? of->socket->number : PCO_NO_SOCKET;
    if (pco_transport_get_socket(transport) != own) {
        broken(at, "a transport has another socket than its own");
    }
    size_t waits = pco_transport_get_write_buffer_size(transport);
    if (!closing && of->writing_paused && waits == 0) {
        broken(at, "writing is paused, and nothing waits");
    }
    if (!closing && !of->writing_paused && waits > of->high && !of->recalled) {
        broken(at, "writing is not paused, and more waits than the high-water mark");
    }
}

void check_between_turns(world *at)
{
    if (at->depth != 0 || at->calls != 0) {
        broken(at, "a callback never returned");
    }
    if (at->promised != NULL || at->owed != NULL || at->leaves != NULL) {
        broken(at, "the factory or connection_made was called, and not what follows it");
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        check_conn(at, at->conns[i]);
    }
    for (unsigned i = 0; i < at->servers_count; i++) {
        if (at->servers[i]->server != NULL) {
            check_server(at, at->servers[i]);
        }
    }
    check_files(at);
    check_locks(at);
    meet_peers(at);
    check_openings(at);
    check_calls(at);
    check_signals(at);
    check_network(at);
    check_readers(at);
    check_choices(at);
}

/* ---- At rest ---- */

/* The system has no more troubles, and all that was paused goes on. */
static void end_troubles(world *at)
{
    fake_backend *fake = fake_of(at->loop);
    at->mood_since = fake->turns;
    fake->manual = false;
    fake->hold_cancels = false;
    fake->pipe_error = 0;
    fake_local_error = 0;
    memory_recover(at);
    end_lookups(at);
    end_silence(at);
    answer_all(at);
    answer_choices(at);
    for (fake_socket *each = fake->sockets; each != NULL; each = each->next) {
        each->room = SIZE_MAX;
        each->send_cut = 0;
        each->input_cut = 0;
    }
    fake_tell(at->loop);
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *of = at->conns[i];
        if (of->state == MADE_CONN && of->paused) {
            enter_library(at, NULL);
            of->paused = pco_transport_resume_reading(of->transport) != 0;
            leave_library(at);
        }
    }
}

static bool has_moved(world *at)
{
    bool moved = end_lookups(at);
    moved = answer_choices(at) || moved;
    meet_peers(at);
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *of = at->conns[i];
        size_t seen = of->seen;
        if (peer_works(at, of, SIZE_MAX)) {
            moved = true;
        }
        look_at_sent(at, of);
        moved = moved || of->seen != seen;
    }
    return moved;
}

static size_t input_waiting(const world *at)
{
    size_t waiting = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        const fake_socket *socket = at->conns[i]->socket;
        waiting += socket->io != NULL ? socket->input_length : 0;
    }
    return waiting;
}

static void run_until_quiet(world *at)
{
    unsigned quiet = 0;
    double since = pco_loop_time(at->loop);
    for (unsigned turns = 0;
         quiet < QUIET_TURNS || pco_loop_time(at->loop) < since + QUIET_SECONDS - MOMENT; turns++) {
        if (turns == TURNS_MOST) {
            broken(at, "the loop does not come to rest");
        }
        unsigned events = at->events;
        size_t waiting = input_waiting(at);
        bool moved = has_moved(at);
        turn(at, quiet != 0 ? 0.25 : 0);
        moved = moved || at->events != events || input_waiting(at) != waiting || is_due(at, 0);
        quiet = moved ? 0 : quiet + 1;
        since = moved ? pco_loop_time(at->loop) : since;
    }
}

/* Whether there is nothing that the connection would have to wait for. */
static bool is_well(const conn *of)
{
    bool understands = !of->is_tls || (of->tls != NULL && of->causes == 0);
    return of->causes == 0 && understands && !of->closed &&
           !pco_transport_is_closing(of->transport);
}

/* The other end is there, understands, and the handshake goes on: it must have come to its end. */
static void check_handshake_at_rest(world *at, const conn *of)
{
    if (is_attached(of) && of->tls != NULL && of->causes == 0 && !of->closed &&
        !memory_was_short(at)) {
        broken(at, "the handshake of connection %u does not go on", of->id);
    }
}

static void check_conn_at_rest(world *at, const conn *of)
{
    bool waits_for_peer = of->is_tls || (of->server != NULL && of->server->lingers);
    if (of->state == COMING) {
        check_handshake_at_rest(at, of);
    }
    if (of->is_impostor && is_attached(of)) {
        broken(at, "the impostor that is connection %u was not sent away", of->id);
    }
    if (of->state == COMING && !of->is_tls && is_attached(of)) {
        broken(at, "connection %u stands, and has neither a protocol nor an end", of->id);
    }
    if (of->state != MADE_CONN) {
        return;
    }
    if (of->doomed && !of->told && !pco_transport_is_closing(of->transport)) {
        broken(at, "the server shuts down, and connection %u was not told", of->id);
    }
    if (of->closed && !waits_for_peer) {
        broken(at, "connection_lost has not come for connection %u, which was closed", of->id);
    }
    if (of->upgrade != NULL && !of->upgrade->told && of->causes == 0 && !of->closed &&
        !memory_was_short(at) &&
        (of->linked != NULL ? of->linked->upgrade != NULL : of->tls != NULL)) {
        broken(at, "TLS is being started on connection %u, and does not go on", of->id);
    }
    if (of->leaving != NULL && of->causes == 0) {
        broken(at, "connection %u does not come to be detached", of->id);
    }
    check_pair_at_rest(at, of);
    if (!is_well(of)) {
        return;
    }
    if (of->received != of->fed) {
        broken(at,
               "input: %" PRIu64 " of %" PRIu64 " bytes have arrived at connection %u, and no "
               "more come",
               of->received, of->fed, of->id);
    }
    if (of->arrived != of->written || pco_transport_get_write_buffer_size(of->transport) != 0) {
        broken(at, "output: %" PRIu64 " of %" PRIu64 " bytes have left, and no more do",
               of->arrived, of->written);
    }
    if (of->writing_paused) {
        broken(at, "writing is paused, and everything has left");
    }
    bool has_ended = of->is_tls ? of->notified : of->fed_eof;
    if (has_ended && !(of->eof && may_stay_open(of))) {
        broken(at, "the peer has ended, and nobody was told");
    }
    if (!of->is_tls && of->write_eof && !of->socket->shut_down) {
        broken(at, "write_eof was called, and the write side is open");
    }
    if (of->is_tls && of->write_eof && !tls_has_heard_end(of)) {
        broken(at, "write_eof was called, and the TLS peer was not told");
    }
}

static void check_server_at_rest(world *at, const served *of)
{
    size_t active = connections_of(at, of);
    if (of->server == NULL) {
        return;
    }
    if (of->serving && !of->closed && clients_waiting(of) != 0 &&
        (of->max == 0 || active < of->max)) {
        broken(at, "a server accepts no more, though there is room");
    }
    if (of->closed && active == 0 && of->waited != of->waits) {
        broken(at, "wait_closed was called %" PRIu64 " times, and told %" PRIu64 " times",
               of->waits, of->waited);
    }
}

void come_to_rest(world *at)
{
    end_troubles(at);
    run_until_quiet(at);
    check_between_turns(at);
    if (at->lookups != 0) {
        broken(at, "all look-ups have ended, and a creation is not complete");
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        check_conn_at_rest(at, at->conns[i]);
    }
    for (unsigned i = 0; i < at->servers_count; i++) {
        check_server_at_rest(at, at->servers[i]);
    }
    check_openings_at_rest(at);
}
