/* SPDX-License-Identifier: MIT */
/*
 * protocol.c: the side of a TLS connection that the lower end sees: reading, and the end.
 *
 * Input is used in steps, between which the turn's budget is looked at. What cannot be used now,
 * because the user has paused reading or the turn has no time left, is kept here, and the lower end
 * is paused as long as there is any: it is at most what one data_received may bring.
 *
 * A failure of OpenSSL comes behind data that was good and is delivered first. So the outcome of
 * reading is only acted on when the user's callback has returned, and with what holds then.
 */
#include <string.h>

#include "support/memory.h"
#include "tls/connection.h"
#include "tls/turns.h"

/* Records of a step: as much as fills the loop's memory, if they are full. */
#define STEP_RECORDS 16

/*
 * To read so little input is over before the clock has been asked twice: what a record of it takes
 * (nanoseconds, on a slow machine) is counted instead, with data and without, as a key update.
 */
#define SHORT_INPUT 512
#define DATA_TIME 2000
#define NO_DATA_TIME 30000

static pco__ssl *of_below(pco_protocol *below)
{
    return PCO__CONTAINER(below, pco__ssl, below);
}

/* ---- Reading ---- */

static bool may_deliver(const pco__ssl *ssl)
{
    return ssl->state == PCO__SSL_OPEN && !ssl->peer_closed && pco__ssl_is_open(ssl) &&
           !ssl->base.reading_paused;
}

/* After reading has brought something: whether there may be more. */
static bool has_more(const pco__ssl *ssl, const pco__ssl_input *input)
{
    return input->length != 0 || SSL_has_pending(ssl->engine) != 0;
}

/*
 * The peer has sent close_notify, and everything before it has been delivered. TLS above closes
 * this end itself, when what waits there has left.
 */
static void peer_closed(pco__ssl *ssl)
{
    pco_protocol *protocol = ssl->base.protocol;
    ssl->peer_closed = true;
    bool keep_open = protocol->methods->eof_received != NULL &&
                     protocol->methods->eof_received(protocol, &ssl->base);
    bool may_stay = ssl->half_close || ssl->base.covered;
    if (ssl->state == PCO__SSL_OPEN && !(keep_open && may_stay)) {
        pco__ssl_close(ssl);
    }
}

/* Acts on how reading ended. */
static void act_on(pco__ssl *ssl, int outcome)
{
    if (outcome == PCO__SSL_FAILED && ssl->state == PCO__SSL_BROKEN) {
        pco__ssl_end_failed(ssl);
    } else if (outcome == PCO__SSL_END && may_deliver(ssl)) {
        peer_closed(ssl);
    }
}

/*
 * Fills the connection's memory with what a few records bring. Returns how the last one went, and
 * counts the step.
 */
static int read_records(pco__ssl *ssl, pco__ssl_input *input, size_t *filled)
{
    bool is_short = input->length <= SHORT_INPUT;
    uint64_t began = is_short ? 0 : pco__ssl_step_begins(ssl->shared);
    uint64_t counted = 0;
    int outcome = 1;
    bool more = true;
    for (unsigned i = 0; more && i < STEP_RECORDS && *filled < PCO__SSL_PLAINTEXT_SIZE; i++) {
        outcome = pco__ssl_engine_read(ssl, input, ssl->plaintext + *filled,
                                       PCO__SSL_PLAINTEXT_SIZE - *filled);
        *filled += outcome > 0 ? (size_t)outcome : 0;
        counted += outcome == PCO__SSL_NO_DATA ? NO_DATA_TIME : DATA_TIME;
        more = (outcome > 0 || outcome == PCO__SSL_NO_DATA) && has_more(ssl, input);
    }
    if (is_short) {
        pco__ssl_step_counts(ssl->shared, PCO__SSL_DATA, counted);
    } else {
        pco__ssl_step_ends(ssl->shared, PCO__SSL_DATA, began);
    }
    ssl->goes_on = more;
    return outcome;
}

/* Delivers what a few records bring, as one. Returns whether there is more. */
static bool deliver_lent(pco__ssl *ssl, pco__ssl_input *input)
{
    size_t filled = 0;
    int outcome = read_records(ssl, input, &filled);
    bool more = ssl->goes_on;
    pco_protocol *protocol = ssl->base.protocol;
    if (filled != 0 && protocol->methods->data_received != NULL) {
        protocol->methods->data_received(protocol, &ssl->base, ssl->plaintext, filled);
    }
    if (outcome < 0) {
        act_on(ssl, outcome);
    }
    return more;
}

/* Decrypts into memory of the protocol's. Returns whether there is more. */
static bool deliver_buffered(pco__ssl *ssl, pco__ssl_input *input)
{
    pco_protocol *protocol = ssl->base.protocol;
    void *memory = NULL;
    size_t length = 0;
    size_t hint = (size_t)SSL_pending(ssl->engine);
    ssl->base.replaced = false;
    ssl->goes_on = true;
    protocol->methods->get_buffer(protocol, &ssl->base, hint != 0 ? hint : input->length, &memory,
                                  &length);
    if (!may_deliver(ssl) || ssl->base.replaced) {
        return true;
    }
    if (memory == NULL || length == 0) {
        pco__ssl_set_error(ssl, PCO_EINVAL, 0, "get_buffer returned an empty buffer");
        act_on(ssl, PCO__SSL_FAILED);
        return false;
    }
    uint64_t began = pco__ssl_step_begins(ssl->shared);
    int outcome = pco__ssl_engine_read(ssl, input, memory, length);
    pco__ssl_step_ends(ssl->shared, PCO__SSL_DATA, began);
    bool more = (outcome > 0 || outcome == PCO__SSL_NO_DATA) && has_more(ssl, input);
    ssl->goes_on = more;
    if (outcome > 0 && protocol->methods->buffer_updated != NULL) {
        protocol->methods->buffer_updated(protocol, &ssl->base, (size_t)outcome);
    }
    act_on(ssl, outcome);
    return more;
}

/* Whether there is time for another step; if not, the connection waits for its turn. */
static bool may_go_on(pco__ssl *ssl)
{
    if (pco__ssl_may_go_on(ssl->shared, PCO__SSL_DATA)) {
        return true;
    }
    pco__ssl_wait_in_line(ssl, PCO__SSL_DATA);
    return false;
}

static void deliver(pco__ssl *ssl, pco__ssl_input *input)
{
    bool more = input->length != 0 || pco__ssl_engine_holds_input(ssl);
    while (more && may_deliver(ssl) && may_go_on(ssl)) {
        bool buffered = ssl->base.protocol->methods->get_buffer != NULL;
        more = buffered ? deliver_buffered(ssl, input) : deliver_lent(ssl, input);
    }
}

/*
 * Closing: reads to the peer's close_notify, and drops what comes before it. Ours may have had to
 * wait for the end of a message of the peer's.
 */
static bool discard_some(pco__ssl *ssl, pco__ssl_input *input)
{
    uint64_t began = pco__ssl_step_begins(ssl->shared);
    int outcome = 1;
    for (unsigned i = 0; (outcome > 0 || outcome == PCO__SSL_NO_DATA) && i < STEP_RECORDS; i++) {
        outcome = pco__ssl_engine_read(ssl, input, ssl->plaintext, PCO__SSL_PLAINTEXT_SIZE);
    }
    pco__ssl_step_ends(ssl->shared, PCO__SSL_DATA, began);
    if (outcome == PCO__SSL_FAILED) {
        pco__ssl_end_failed(ssl);
    } else if (outcome == PCO__SSL_END && ssl->state == PCO__SSL_FLUSHING) {
        ssl->peer_closed = true;
    } else if (outcome == PCO__SSL_END) {
        pco__ssl_end(ssl);
    } else if (ssl->state == PCO__SSL_SHUTTING_DOWN && !pco__ssl_engine_said_goodbye(ssl)) {
        pco__ssl_shut_down(ssl);
    }
    return outcome > 0 || outcome == PCO__SSL_NO_DATA;
}

static bool is_discarding(const pco__ssl *ssl)
{
    return (ssl->state == PCO__SSL_FLUSHING || ssl->state == PCO__SSL_SHUTTING_DOWN) &&
           !ssl->peer_closed;
}

/* Does what input makes possible, until it is used up, reading is paused, or there is no time. */
static void use_input(pco__ssl *ssl, pco__ssl_input *input)
{
    ssl->delivering = true;
    while (ssl->state == PCO__SSL_HANDSHAKING && pco__ssl_step_of_handshake(ssl, input)) {
    }
    if (ssl->state == PCO__SSL_OPEN) {
        deliver(ssl, input);
    }
    while (is_discarding(ssl) && may_go_on(ssl) && discard_some(ssl, input)) {
    }
    ssl->delivering = false;
    ssl->goes_on = false;
}

/* ---- What is kept ---- */

/* Whether input still counts. */
static bool wants_input(const pco__ssl *ssl)
{
    return (ssl->state <= PCO__SSL_OPEN && !ssl->peer_closed) || is_discarding(ssl);
}

static void drop_kept(pco__ssl *ssl)
{
    pco__free(ssl->kept);
    ssl->kept = NULL;
}

pco__ssl_kept *pco__ssl_kept_new(const void *data, size_t length)
{
    pco__ssl_kept *kept = pco__malloc(sizeof *kept + length);
    if (kept != NULL) {
        kept->used = 0;
        kept->length = length;
        memcpy(kept->data, data, length);
    }
    return kept;
}

static void keep(pco__ssl *ssl, const pco__ssl_input *input)
{
    ssl->kept = pco__ssl_kept_new(input->data, input->length);
    if (ssl->kept == NULL) {
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        pco__ssl_end_at_once(ssl, false);
    }
}

static void use_kept(pco__ssl *ssl)
{
    pco__ssl_kept *kept = ssl->kept;
    pco__ssl_input input = {.data = NULL, .length = 0};
    if (kept != NULL) {
        input =
            (pco__ssl_input){.data = kept->data + kept->used, .length = kept->length - kept->used};
    }
    use_input(ssl, &input);
    if (kept != NULL) {
        kept->used = kept->length - input.length;
        if (input.length == 0 || !wants_input(ssl)) {
            drop_kept(ssl);
        }
    }
}

/* Whether more input is of no use for now. */
static bool has_enough(const pco__ssl *ssl)
{
    return ssl->kept != NULL || ssl->base.reading_paused;
}

/*
 * The lower end rests while something is kept, which comes first, and while the user has paused
 * reading; closing, it is read from whatever the user wishes. So while the handshake is suspended,
 * the first that comes is kept, and the end of a peer that has nothing to say is noticed.
 */
void pco__ssl_update_reading(pco__ssl *ssl)
{
    pco_transport *lower = ssl->lower;
    bool pause = ssl->kept != NULL || (pco__ssl_is_open(ssl) && ssl->base.reading_paused);
    if (ssl->delivering || lower == NULL || lower->reading_paused == pause) {
        return;
    }
    pco__transport_set_reading_paused(lower, pause);
}

void pco__ssl_serve(pco__ssl *ssl)
{
    use_kept(ssl);
    pco__ssl_pump(ssl);
    pco__ssl_update_reading(ssl);
}

void pco__ssl_timed_out(pco__timer *timer)
{
    pco__ssl *ssl = PCO__CONTAINER(timer, pco__ssl, timer);
    if (ssl->state == PCO__SSL_HANDSHAKING) {
        pco__ssl_set_error(ssl, PCO_ETIMEDOUT, 0, NULL);
        pco__ssl_end_at_once(ssl, false); /* connection_lost tells of it */
        return;
    }
    if (ssl->base.class_->has_progressed(&ssl->base, 0, &ssl->left)) {
        pco__loop_start_timer(ssl->base.home->loop, timer, ssl->shutdown_timeout);
        return;
    }
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    ssl->lower->class_->fail(ssl->lower, PCO_ETIMEDOUT, 0, "TLS shutdown timed out");
}

/* ---- The protocol below ---- */

static void lower_data_received(pco_protocol *self, pco_transport *lower, const void *data,
                                size_t length)
{
    pco__ssl *ssl = of_below(self);
    pco__ssl_input input = {.data = data, .length = length};
    use_input(ssl, &input);
    if (input.length != 0 && wants_input(ssl)) {
        keep(ssl, &input);
    }
    /* A message of the peer's may have held up the queue, and answers wait, too. */
    if (pco__queue_size(&ssl->queue) != 0 || ssl->answered != 0 || ssl->eof_asked) {
        pco__ssl_pump(ssl);
    }
    if (has_enough(ssl) || lower->reading_paused) {
        pco__ssl_update_reading(ssl);
    }
}

static void lower_connection_made(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_below(self);
    (void)lower;
    pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->handshake->timeout);
    if (ssl->engine != NULL || ssl->covers) {
        pco__ssl_serve(ssl); /* a client speaks first; and what was received before is there */
    }
}

/*
 * The peer has closed its side of the lower end: with close_notify before, or as a truncation. If
 * that end knows no halves, the end of both is near, whatever the user wishes.
 */
static bool lower_eof_received(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_below(self);
    switch (ssl->state) {
    case PCO__SSL_HANDSHAKING:
        pco__ssl_set_error(ssl, PCO_ECONNRESET, 0, "the peer closed the connection");
        pco__ssl_handshake_failed(ssl);
        break;
    case PCO__SSL_OPEN:
        if (!ssl->peer_closed) { /* or else it has said so before, and the user writes on */
            pco__ssl_set_error(ssl, PCO_ETRUNCATED, 0, NULL);
            pco__ssl_end(ssl);
        } else if (!lower->class_->can_write_eof(lower)) {
            pco__ssl_close(ssl);
        }
        break;
    case PCO__SSL_FLUSHING:
        ssl->peer_closed = true;
        break;
    case PCO__SSL_SHUTTING_DOWN:
        pco__ssl_end(ssl);
        break;
    default:
        break;
    }
    return true;
}

/* What connection_lost is told: what happened here, or else below. */
static const pco_error *reason(const pco__ssl *ssl, const pco_error *of_lower, pco_error *error)
{
    if (ssl->error == 0) {
        return of_lower;
    }
    const char *sentence = ssl->sentence != NULL ? ssl->sentence : pco_strerror(ssl->error);
    pco__error_set(error, ssl->error, ssl->system_code, "TLS: %s", sentence);
    return error;
}

/* A protocol that was there before TLS, which never came to be, knows the lower end. */
static void tell_lost(pco__ssl *ssl, const pco_error *why)
{
    pco_protocol *protocol = ssl->base.protocol;
    pco_transport *known = ssl->made ? &ssl->base : ssl->lower;
    if ((ssl->made || ssl->covers) && protocol->methods->connection_lost != NULL) {
        protocol->methods->connection_lost(protocol, known, why);
    }
}

static void lower_connection_lost(pco_protocol *self, pco_transport *lower, const pco_error *error)
{
    pco__ssl *ssl = of_below(self);
    pco_error own;
    const pco_error *why = reason(ssl, error, &own);
    (void)lower;
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    if (ssl->handshake != NULL) {
        pco__ssl_handshake_lost(ssl, why);
    }
    if (ssl->covers) {
        pco__transport_uncover(lower, ssl->base.protocol, ssl->base.stream);
    }
    tell_lost(ssl, why);
    pco__ssl_close_down(ssl);
}

static void lower_resume_writing(pco_protocol *self, pco_transport *lower)
{
    (void)lower;
    pco__ssl_pump(of_below(self));
}

const pco_protocol_methods pco__ssl_lower_methods = {
    .size = sizeof pco__ssl_lower_methods,
    .connection_made = lower_connection_made,
    .data_received = lower_data_received,
    .eof_received = lower_eof_received,
    .connection_lost = lower_connection_lost,
    .resume_writing = lower_resume_writing,
};
