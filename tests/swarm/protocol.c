/* SPDX-License-Identifier: MIT */
/*
 * protocol.c: the callbacks of connections, and their grammar:
 *
 *     connection_made [data_received]* [eof_received]? connection_lost
 *
 * A protocol object may be replaced and freed inside any of its callbacks, so these keep no pointer
 * to it across what they do.
 */
#include "swarm.h"

/* ---- What all callbacks have in common ---- */

static conn *enter(pco_protocol *self, const pco_transport *transport, const char *name,
                   uint64_t number)
{
    proto *called = (proto *)self;
    world *at = called->at;
    conn *of = called->of;
    enter_callback(at, of, name, number);
    if (of == NULL || of->state != MADE_CONN) {
        broken(at, "%s was called outside of connection_made and connection_lost", name);
    }
    bool may_be =
        of->upgrade == NULL || (of->upgrade->told && strcmp(name, "connection_lost") == 0);
    if (!may_be) {
        broken(at, "%s was called while TLS is being started", name);
    }
    if (of->proto != called || of->transport != transport) {
        broken(at, "%s was called for another protocol or transport than the connection's", name);
    }
    return of;
}

/* Callbacks that bring input. */
static conn *enter_input(pco_protocol *self, const pco_transport *transport, const char *name,
                         uint64_t number)
{
    world *at = ((proto *)self)->at;
    conn *of = enter(self, transport, name, number);
    if (of->eof) {
        broken(at, "%s was called after eof_received", name);
    }
    if (of->closed || pco_transport_is_closing(transport)) {
        broken(at, "%s was called on a closing transport", name);
    }
    if (of->paused || !pco_transport_is_reading(transport)) {
        broken(at, "%s was called while reading is paused", name);
    }
    return of;
}

/* Of TLS between two of ours, the plaintext; what the one failed to write may have left in part. */
uint64_t fed_to(const conn *of)
{
    return of->linked != NULL && of->is_tls ? of->linked->written + of->linked->excess : of->fed;
}

static void take_input(world *at, conn *of, const void *data, size_t length)
{
    if (length == 0) {
        broken(at, "no bytes were delivered");
    }
    check_bytes(at, of, false, of->received, data, length);
    of->received += length;
    if (of->received > fed_to(of)) {
        broken(at, "more was received than was sent");
    }
}

/* ---- The callbacks ---- */

static void connection_made(pco_protocol *self, pco_transport *transport)
{
    proto *called = (proto *)self;
    world *at = called->at;
    conn *of = find_conn(at, pco_transport_get_socket(transport));
    if (of == NULL && called->opening != NULL) {
        of = opening_made(at, called, pco_transport_get_socket(transport));
    }
    opening *owed = called->opening;
    enter_callback(at, of, "connection_made", of != NULL ? of->id : 0);
    if (called != at->promised && (owed == NULL || owed->given != called)) {
        broken(at, "connection_made of a protocol that the factory did not just make");
    }
    if (of == NULL || of->state != COMING || of->failed_handshake || at->freeing) {
        broken(at, "connection_made of a connection that cannot begin");
    }
    if (of->is_impostor) {
        broken(at, "connection_made of connection %u, which is an impostor's", of->id);
    }
    if (awaits_choice(at, of)) {
        broken(at, "connection_made of connection %u, whose question has no answer", of->id);
    }
    if (of->server != NULL && !at->wish_failed &&
        !is_granted(&of->server->wanted, &of->socket->options)) {
        broken(at, "the socket of connection %u has other options than its server's", of->id);
    }
    at->promised = NULL;
    called->of = of;
    of->proto = called;
    of->state = MADE_CONN;
    of->transport = transport;
    pco_transport_get_write_buffer_limits(transport, &of->high, &of->low);
    if (pco_transport_get_protocol(transport) != self) {
        broken(at, "the transport has another protocol than connection_made");
    }
    if (owed != NULL) {
        owed->decided = true;
        owed->given = NULL;
    }
    act_in_callback(at);
    leave_callback(at, NULL);
    at->owed = owed;
}

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    world *at = ((proto *)self)->at;
    conn *of = enter_input(self, transport, "data_received", length);
    take_input(at, of, data, length);
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void get_buffer(pco_protocol *self, pco_transport *transport, size_t size_hint,
                       void **buffer, size_t *length)
{
    world *at = ((proto *)self)->at;
    conn *of = enter_input(self, transport, "get_buffer", 0);
    (void)size_hint;
    of->asked = true;
    act_in_callback(at);
    free(of->buffer);
    of->buffer = NULL;
    of->buffer_length = 0;
    if (pick_rarely(at, 100)) {
        cause(of, PCO_EINVAL);
    } else {
        of->buffer_length = at->calm ? 1000 : pick_length(at);
        of->buffer = malloc(of->buffer_length);
    }
    *buffer = of->buffer;
    *length = of->buffer_length;
    leave_callback(at, NULL);
}

static void buffer_updated(pco_protocol *self, pco_transport *transport, size_t length)
{
    world *at = ((proto *)self)->at;
    conn *of = enter_input(self, transport, "buffer_updated", length);
    if (!of->asked || length > of->buffer_length) {
        broken(at, "buffer_updated without a get_buffer for so much");
    }
    of->asked = false;
    take_input(at, of, of->buffer, length);
    free(of->buffer);
    of->buffer = NULL;
    of->buffer_length = 0;
    act_in_callback(at);
    leave_callback(at, NULL);
}

static bool eof_received(pco_protocol *self, pco_transport *transport)
{
    world *at = ((proto *)self)->at;
    conn *of = enter_input(self, transport, "eof_received", 0);
    bool by_other = of->linked != NULL && of->is_tls;
    bool ended = by_other ? of->linked->closed || of->linked->doomed || of->linked->write_eof
                          : (of->is_tls ? of->notified : of->fed_eof);
    if (!ended) {
        broken(at, "eof_received, and the peer has not ended");
    }
    if (of->received > fed_to(of) || of->received < (by_other ? of->linked->written : of->fed)) {
        broken(at, "eof_received before all input: connection %u has %" PRIu64 " of %" PRIu64,
               of->id, of->received, fed_to(of));
    }
    of->eof = true;
    bool keep_open = pick(at, 2) == 1;
    act_in_callback(at);
    if (!keep_open || !may_stay_open(of)) {
        mark_closed(of, false);
    }
    leave_callback(at, NULL);
    return keep_open;
}

/* Whether the other end is in trouble: where TLS lies in TLS, the outer one still ends politely. */
static bool is_by_other_end(const conn *of, int error)
{
    bool fits = error == PCO_ETRUNCATED || error == PCO_ECONNRESET || error == PCO_ETLS;
    return fits && of->is_tls && of->linked != NULL && (of->linked->causes != 0 || of->linked->cut);
}

/* Whether somebody has caused the error that connection_lost tells. */
bool is_justified(const world *at, const conn *of, int error)
{
    bool by_memory = error == PCO_ENOMEM || (error == PCO_ETLS && of->is_tls);
    return (of->causes >> -error & 1) != 0 || is_by_other_end(of, error) ||
           (by_memory && memory_was_short(at)) ||
           (error == PCO_ETIMEDOUT && (of->closed || of->doomed));
}

/* Its half is kept open, and the TLS or the stream below, which may have no halves, has ended. */
static bool is_ended_by_other(const conn *of)
{
    bool has_ended = of->linked != NULL ? of->linked->closed || of->linked->causes != 0
                                        : of->carrier == OVER_PIPE && of->fed_eof;
    return of->is_tls && of->eof && has_ended;
}

/* The polite end: everything that was written has reached the peer. */
static void check_complete(world *at, conn *of)
{
    if (of->is_tls) {
        tls_pump(at, of, SIZE_MAX);
    } else {
        look_at_sent(at, of);
    }
    bool understands = !of->is_tls || (of->tls != NULL && of->causes == 0);
    if (!of->cut && understands && of->arrived != of->written) {
        broken(at,
               "output: connection_lost without an error, after %" PRIu64 " of %" PRIu64
               " bytes written",
               of->arrived, of->written);
    }
}

static void connection_lost(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    proto *called = (proto *)self;
    world *at = called->at;
    int code = error != NULL ? error->code : 0;
    conn *of = enter(self, transport, "connection_lost", (uint64_t)-code);
    if (code != 0 && !is_justified(at, of, code)) {
        broken(at, "connection_lost with %s, which nobody caused: %s", pco_error_name(code),
               error->message);
    }
    if (error != NULL && (code == 0 || error->message[0] == '\0')) {
        broken(at, "connection_lost with an empty error");
    }
    if (code == 0 && !of->closed && !of->doomed && !of->detached && !is_ended_by_other(of)) {
        broken(at, "connection_lost without an error, and nobody has closed the connection");
    }
    if (!pco_transport_is_closing(transport) || pco_transport_write(transport, "x", 1) == 0) {
        broken(at, "the transport is open in connection_lost");
    }
    if (code == 0) {
        check_complete(at, of);
    }
    of->state = LOST_CONN;
    of->lost = code;
    of->proto = NULL;
    free(called);
    act_in_callback(at);
    if (of->retained == 0) {
        of->transport = NULL;
    }
    leave_callback(at, NULL);
}

/*
 * The one callback that runs inside a call of ours: the write, or the new limits, to its own. What
 * TLS adds by itself brings it at other times as well, and the marks of one that is not detached
 * after all are looked at when that has been told.
 */
static void pause_writing(pco_protocol *self, pco_transport *transport)
{
    proto *called = (proto *)self;
    world *at = called->at;
    conn *of = called->of;
    inner outside = enter_inner(at, of, "pause_writing", of->id);
    if (of->state != MADE_CONN || of->proto != called || of->transport != transport) {
        broken(at, "pause_writing of a connection that is not there, or of another protocol");
    }
    bool may_come_alone = (of->is_tls || at->settles == of) && at->depth == 1;
    if (outside.calls == 0 ? !may_come_alone : at->writing != of) {
        broken(at, "pause_writing was not called inside the write that caused it");
    }
    if (of->writing_paused) {
        broken(at, "pause_writing was called twice");
    }
    if (pco_transport_get_write_buffer_size(transport) <= of->high) {
        broken(at, "pause_writing was called under the high-water mark");
    }
    of->writing_paused = true;
    act_in_callback(at);
    leave_inner(at, outside);
}

static void resume_writing(pco_protocol *self, pco_transport *transport)
{
    world *at = ((proto *)self)->at;
    conn *of = enter(self, transport, "resume_writing", 0);
    if (!of->writing_paused || of->leaving != NULL) {
        broken(at, "resume_writing was called without pause_writing, or while detaching");
    }
    if (pco_transport_get_write_buffer_size(transport) > of->low) {
        broken(at, "resume_writing was called over the low-water mark");
    }
    of->writing_paused = false;
    act_in_callback(at);
    leave_callback(at, NULL);
}

static void shutting_down(pco_protocol *self, pco_transport *transport)
{
    world *at = ((proto *)self)->at;
    conn *of = enter(self, transport, "shutting_down", 0);
    if (!of->doomed || of->told) {
        broken(at, "shutting_down without a shutdown, or twice");
    }
    if (of->closed || (pco_transport_is_closing(transport) && of->leaving == NULL)) {
        broken(at, "shutting_down was called on a closing transport");
    }
    of->told = true;
    bool closes = pick(at, 2) == 0;
    act_in_callback(at);
    if (closes) {
        mark_closed(of, false);
        enter_library(at, NULL);
        pco_transport_close(transport);
        leave_library(at);
    }
    leave_callback(at, NULL);
}

static const pco_protocol_methods plain = {
    .size = sizeof plain,
    .connection_made = connection_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

static const pco_protocol_methods buffered = {
    .size = sizeof buffered,
    .connection_made = connection_made,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .get_buffer = get_buffer,
    .buffer_updated = buffer_updated,
};

static const pco_protocol_methods hearing_plain = {
    .size = sizeof hearing_plain,
    .connection_made = connection_made,
    .data_received = data_received,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .shutting_down = shutting_down,
};

static const pco_protocol_methods hearing_buffered = {
    .size = sizeof hearing_buffered,
    .connection_made = connection_made,
    .eof_received = eof_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .shutting_down = shutting_down,
    .get_buffer = get_buffer,
    .buffer_updated = buffer_updated,
};

/* ---- Making them ---- */

proto *proto_new(world *at)
{
    static const pco_protocol_methods *const kinds[] = {&plain, &buffered, &hearing_plain,
                                                        &hearing_buffered};
    proto *made = malloc(sizeof *made);
    made->base.methods = kinds[pick(at, sizeof kinds / sizeof kinds[0])];
    made->at = at;
    made->of = NULL;
    made->opening = NULL;
    return made;
}

pco_protocol *proto_factory(void *context)
{
    served *of = context;
    world *at = of->at;
    proto *made = NULL;
    enter_callback(at, NULL, "protocol_factory", of->id);
    if (of->freed || at->freeing) {
        broken(at, "the factory of a server that was freed was called");
    }
    if (at->promised != NULL) {
        broken(at, "the factory was called again before connection_made");
    }
    if (pick(at, 12) != 1) {
        made = proto_new(at);
    }
    act_in_callback(at);
    at->promised = made;
    leave_callback(at, NULL);
    return made != NULL ? &made->base : NULL;
}

/* Peers have their number in their port, or their path. */
static conn *conn_of_peer(const world *at, const pco_address *peer)
{
    char path[PCO_ADDRESS_TEXT_SIZE];
    unsigned id = (unsigned)(pco_address_port(peer) - FIRST_PORT);
    if (pco_address_family(peer) == PCO_AF_UNIX &&
        (pco_address_host(peer, path, sizeof path) != 0 || sscanf(path, "c%u", &id) != 1)) {
        return NULL;
    }
    return id < at->conns_count ? at->conns[id] : NULL;
}

/* A pipe's has no name: one that can have failed so. */
static conn *conn_without_name(const world *at, const served *server, int code)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *each = at->conns[i];
        if (each->server == server && each->state == COMING && !each->failed_handshake &&
            each->is_tls && (code == PCO_ETIMEDOUT || is_justified(at, each, code))) {
            return each;
        }
    }
    return NULL;
}

/* Of a pipe it is not known which one it was, and not noted. */
void handshake_failed(pco_server *server, const pco_address *peer, const pco_error *error,
                      void *context)
{
    served *of = context;
    world *at = of->at;
    bool is_nameless = of->carrier == OVER_PIPE;
    enter_callback(at, NULL, "handshake_failed", of->id);
    conn *failed = is_nameless ? conn_without_name(at, of, error->code) : conn_of_peer(at, peer);
    if (is_nameless && peer->length != 0) {
        broken(at, "handshake_failed of a pipe's client that has a name");
    }
    if (failed == NULL || failed->server != of || of->freed || server != of->server) {
        broken(at, "handshake_failed of a stranger");
    }
    if (failed->state != COMING || failed->failed_handshake || !failed->is_tls) {
        broken(at, "handshake_failed of a connection that has none");
    }
    if (!is_justified(at, failed, error->code) && error->code != PCO_ETIMEDOUT) {
        broken(at, "handshake_failed with %s, which nobody caused: %s", pco_error_name(error->code),
               error->message);
    }
    failed->failed_handshake = !is_nameless;
    act_in_callback(at);
    leave_callback(at, NULL);
}
