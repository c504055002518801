/* SPDX-License-Identifier: MIT */
/*
 * protocol.c: the side of a TLS connection that the stream below sees: the handshake, reading,
 * and the end.
 *
 * A step of a handshake costs as much as hundreds of messages: a private key is used. So a loop
 * makes a few of them per turn, and the established connections have theirs in between. What
 * further handshakes have received is kept by their streams, which pause; they are called first
 * come, first served.
 *
 * A failure of OpenSSL comes behind data that was good and is delivered first. So the outcome of
 * reading is only acted on when the user's callback has returned, and with what holds then.
 */
#include "tls/connection.h"

#include <openssl/x509_vfy.h>
#include <string.h>

#include "support/memory.h"

/*
 * Steps of handshakes per turn of a loop. A step takes 0.1 to 1.5 ms, by the kind of the key, and
 * a turn some microseconds: few enough that established connections do not wait for long, many
 * enough that the turns in between cost nothing to speak of.
 */
#define STEPS_PER_TURN 8

static const pco_protocol_methods lower_methods;

static pco__ssl *of_lower(pco_protocol *lower)
{
    return PCO__CONTAINER(lower, pco__ssl, lower);
}

/* ---- The handshake ---- */

void pco__ssl_drop_handshake(pco__ssl *ssl)
{
    pco__ssl_handshake *done = ssl->handshake;
    ssl->handshake = NULL;
    pco__ssl_context_give(done->context, done->setup);
    pco_ssl_context_release(done->context);
    pco__free(done);
}

/* Tells how the handshake ended; the owner may do anything but free the loop. */
static void report_handshake(pco__ssl *ssl, const pco_error *error)
{
    pco__ssl_handshake done = *ssl->handshake;
    pco__ssl_drop_handshake(ssl);
    done.done(ssl->base.stream, error, done.context_of_calls);
}

static void handshake_failed(pco__ssl *ssl)
{
    pco_error error;
    const char *detail = "";
    const char *colon = "";
    if (ssl->error == PCO_ECERT && ssl->system_code == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        colon = ": ";
        detail = X509_verify_cert_error_string(SSL_get_verify_result(ssl->engine));
    }
    const char *sentence = ssl->sentence != NULL ? ssl->sentence : pco_strerror(ssl->error);
    pco__error_set(&error, ssl->error, ssl->system_code, "TLS handshake: %s%s%s", sentence, colon,
                   detail);
    pco__ssl_end_failed(ssl);
    report_handshake(ssl, &error);
}

/* The handshake is done: the user's protocol is made and takes over. */
static void open_connection(pco__ssl *ssl)
{
    pco__ssl_handshake done = *ssl->handshake;
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    report_handshake(ssl, NULL);
    if (ssl->state != PCO__SSL_HANDSHAKING) {
        return;
    }
    pco__ssl_set_state(ssl, PCO__SSL_OPEN);
    ssl->lower.methods = &lower_methods;
    pco_protocol *protocol = done.make_protocol(done.context_of_calls);
    if (protocol == NULL) {
        pco__ssl_end_at_once(ssl, false);
        return;
    }
    ssl->base.protocol = protocol;
    ssl->made = true;
    if (protocol->methods->connection_made != NULL) {
        protocol->methods->connection_made(protocol, &ssl->base);
    }
}

static void continue_handshake(pco__ssl *ssl, pco__ssl_input *input)
{
    int outcome = pco__ssl_engine_handshake(ssl, input);
    if (outcome == PCO__SSL_DONE) {
        open_connection(ssl);
    } else if (outcome == PCO__SSL_FAILED && ssl->error != 0) {
        handshake_failed(ssl);
    }
}

void pco__ssl_timed_out(pco__timer *timer)
{
    pco__ssl *ssl = PCO__CONTAINER(timer, pco__ssl, timer);
    if (ssl->state == PCO__SSL_HANDSHAKING) {
        pco_error error;
        pco__error_set(&error, PCO_ETIMEDOUT, 0, "TLS handshake took longer than %g seconds",
                       ssl->handshake->timeout);
        pco__ssl_end_at_once(ssl, false);
        report_handshake(ssl, &error);
        return;
    }
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    pco__stream_fail(ssl->base.stream, PCO_ETIMEDOUT, 0, "TLS shutdown timed out");
}

/* ---- Reading ---- */

static bool may_deliver(const pco__ssl *ssl)
{
    return pco__ssl_is_open(ssl) && !ssl->broken && !ssl->base.reading_paused;
}

/* After reading has brought something: whether there may be more. */
static bool has_more(const pco__ssl *ssl, const pco__ssl_input *input)
{
    return input->length != 0 || SSL_has_pending(ssl->engine) != 0;
}

/* The peer has sent close_notify, and everything before it has been delivered. */
static void peer_closed(pco__ssl *ssl)
{
    pco_protocol *protocol = ssl->base.protocol;
    if (protocol->methods->eof_received != NULL) {
        protocol->methods->eof_received(protocol, &ssl->base);
    }
    if (ssl->state == PCO__SSL_OPEN) {
        pco__ssl_shut_down(ssl);
    }
}

/* Acts on how reading ended. */
static void act_on(pco__ssl *ssl, int outcome)
{
    if (outcome == PCO__SSL_FAILED && ssl->state == PCO__SSL_OPEN) {
        pco__ssl_end_failed(ssl);
    } else if (outcome == PCO__SSL_END && may_deliver(ssl)) {
        peer_closed(ssl);
    }
}

/*
 * Fills the loop's memory with as many records as there are, and delivers them as one. Returns
 * whether there is more.
 */
static bool deliver_lent(pco__ssl *ssl, pco__ssl_input *input)
{
    unsigned char *memory = ssl->shared->plaintext;
    size_t filled = 0;
    bool more = true;
    int outcome = 1;
    while (more && filled < PCO__SSL_PLAINTEXT_SIZE) {
        outcome =
            pco__ssl_engine_read(ssl, input, memory + filled, PCO__SSL_PLAINTEXT_SIZE - filled);
        filled += outcome > 0 ? (size_t)outcome : 0;
        more = outcome > 0 && has_more(ssl, input);
    }

    ssl->goes_on = more;
    pco_protocol *protocol = ssl->base.protocol;
    if (filled != 0 && protocol->methods->data_received != NULL) {
        protocol->methods->data_received(protocol, &ssl->base, memory, filled);
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
    protocol->methods->get_buffer(protocol, &ssl->base, hint != 0 ? hint : input->length, &memory,
                                  &length);
    if (!may_deliver(ssl) || ssl->base.protocol != protocol) {
        return true;
    }
    if (memory == NULL || length == 0) {
        pco__ssl_set_error(ssl, PCO_EINVAL, 0, "get_buffer returned an empty buffer");
        act_on(ssl, PCO__SSL_FAILED);
        return false;
    }
    int outcome = pco__ssl_engine_read(ssl, input, memory, length);
    bool more = outcome > 0 && has_more(ssl, input);
    ssl->goes_on = more;
    if (outcome > 0 && protocol->methods->buffer_updated != NULL) {
        protocol->methods->buffer_updated(protocol, &ssl->base, (size_t)outcome);
    }
    act_on(ssl, outcome);
    return more;
}

static void deliver(pco__ssl *ssl, pco__ssl_input *input)
{
    bool more = input->length != 0 || pco__ssl_engine_holds_input(ssl);
    while (more && may_deliver(ssl)) {
        bool buffered = ssl->base.protocol->methods->get_buffer != NULL;
        more = buffered ? deliver_buffered(ssl, input) : deliver_lent(ssl, input);
    }
}

/* While shutting down: reads to the peer's close_notify, and drops what comes before it. */
static void discard(pco__ssl *ssl, pco__ssl_input *input)
{
    unsigned char *memory = ssl->shared->plaintext;
    int outcome;
    do {
        outcome = pco__ssl_engine_read(ssl, input, memory, PCO__SSL_PLAINTEXT_SIZE);
    } while (outcome > 0);
    if (outcome == PCO__SSL_END) {
        pco__ssl_end(ssl);
    } else if (outcome == PCO__SSL_FAILED) {
        pco__ssl_end_failed(ssl);
    }
}

/* Does what input makes possible, until it is used up or reading is paused. */
static void use_input(pco__ssl *ssl, pco__ssl_input *input)
{
    ssl->delivering = true;
    if (ssl->state == PCO__SSL_HANDSHAKING) {
        continue_handshake(ssl, input);
    }
    if (ssl->state == PCO__SSL_OPEN) {
        deliver(ssl, input);
    }
    if (ssl->state == PCO__SSL_SHUTTING_DOWN) {
        discard(ssl, input);
    }
    ssl->delivering = false;
    ssl->goes_on = false;
    pco_transport *lower = &ssl->base.stream->base;
    if (pco__ssl_is_open(ssl) && lower->reading_paused != ssl->base.reading_paused) {
        if (ssl->base.reading_paused) {
            pco_transport_pause_reading(lower);
        } else {
            pco_transport_resume_reading(lower);
        }
    }
}

static void lower_data_received(pco_protocol *self, pco_transport *lower, const void *data,
                                size_t length)
{
    pco__ssl *ssl = of_lower(self);
    pco__ssl_input input = {.data = data, .length = length};
    (void)lower;
    use_input(ssl, &input);
    if (pco__ssl_is_open(ssl) &&
        pco__stream_keep(ssl->base.stream, input.data, input.length) != 0) {
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        pco__ssl_end_at_once(ssl, false);
    }
}

/* ---- A few handshakes per turn ---- */

/* The memory is the loop's: it is asked for when there is something to read, which is used next. */
static void lower_get_buffer(pco_protocol *self, pco_transport *lower, size_t hint, void **buffer,
                             size_t *length)
{
    (void)lower;
    (void)hint;
    *buffer = of_lower(self)->shared->arrived;
    *length = PCO__SSL_ARRIVED_SIZE;
}

/* Whether the handshake may make a step. Those that wait are called by pco__ssl_turn alone. */
static bool take_step(pco__ssl *ssl, pco__ssl_loop *shared)
{
    if (ssl->called) {
        ssl->called = false;
        return true;
    }
    if (shared->steps == STEPS_PER_TURN) {
        return false;
    }
    shared->steps++;
    pco__loop_schedule(shared->loop, &shared->turn);
    return true;
}

/*
 * The stream keeps what came, at most PCO__SSL_ARRIVED_SIZE, and reads no more: half of what
 * OpenSSL would keep for the connection if its handshake had begun.
 */
static void wait_for_turn(pco__ssl *ssl, pco__ssl_loop *shared, size_t length)
{
    pco__stream *stream = ssl->base.stream;
    pco_transport_pause_reading(&stream->base);
    if (pco__stream_keep(stream, shared->arrived, length) != 0) {
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        pco__ssl_end_at_once(ssl, false);
        return;
    }
    pco__list_append(&shared->waiting, &ssl->waiting);
}

static void lower_buffer_updated(pco_protocol *self, pco_transport *lower, size_t length)
{
    pco__ssl *ssl = of_lower(self);
    pco__ssl_loop *shared = ssl->shared;
    if (ssl->state == PCO__SSL_HANDSHAKING && !take_step(ssl, shared)) {
        wait_for_turn(ssl, shared, length);
        return;
    }
    lower_data_received(self, lower, shared->arrived, length);
}

/* Run at the end of a turn in which handshakes went on: those called go on in the next one. */
void pco__ssl_turn(pco__task *task)
{
    pco__ssl_loop *shared = PCO__CONTAINER(task, pco__ssl_loop, turn);
    shared->steps = 0;
    while (shared->steps < STEPS_PER_TURN && !pco__list_is_empty(&shared->waiting)) {
        pco__ssl *ssl = PCO__CONTAINER(shared->waiting.next, pco__ssl, waiting);
        pco__list_remove(&ssl->waiting);
        ssl->called = true;
        shared->steps++;
        pco_transport_resume_reading(&ssl->base.stream->base);
    }
    if (shared->steps != 0) {
        pco__loop_schedule(shared->loop, task);
    }
}

/* ---- After the handshake ---- */

/*
 * Reading was resumed, or the connection is closed: what OpenSSL holds is delivered, or dropped,
 * before the stream may bring more.
 */
void pco__ssl_deliver_held(pco__task *task)
{
    pco__ssl *ssl = PCO__CONTAINER(task, pco__ssl, task);
    pco__ssl_input nothing = {.data = NULL, .length = 0};
    if (ssl->base.stream != NULL) {
        use_input(ssl, &nothing);
    }
    pco_transport_release(&ssl->base);
}

/* ---- The protocol below ---- */

static void lower_connection_made(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_lower(self);
    (void)lower;
    pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->handshake->timeout);
    if (!SSL_is_server(ssl->engine)) {
        pco__ssl_input nothing = {.data = NULL, .length = 0};
        continue_handshake(ssl, &nothing);
    }
}

/* The peer has closed its side of the socket: with close_notify before, or as a truncation. */
static bool lower_eof_received(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_lower(self);
    (void)lower;
    switch (ssl->state) {
    case PCO__SSL_HANDSHAKING:
        pco__ssl_set_error(ssl, PCO_ECONNRESET, 0, "the peer closed the connection");
        handshake_failed(ssl);
        break;
    case PCO__SSL_OPEN:
        pco__ssl_set_error(ssl, PCO_ETRUNCATED, 0, NULL);
        pco__ssl_end(ssl);
        break;
    case PCO__SSL_SHUTTING_DOWN:
        pco__ssl_end(ssl);
        break;
    default:
        break;
    }
    return true;
}

/* What connection_lost is told: what happened here, or else to the stream. */
static const pco_error *reason(const pco__ssl *ssl, const pco_error *of_stream, pco_error *error)
{
    if (ssl->error == 0) {
        return of_stream;
    }
    const char *sentence = ssl->sentence != NULL ? ssl->sentence : pco_strerror(ssl->error);
    pco__error_set(error, ssl->error, ssl->system_code, "TLS: %s", sentence);
    return error;
}

/* The connection ended before the handshake did. */
static void handshake_lost(pco__ssl *ssl, const pco_error *why)
{
    pco_error error;
    if (why != NULL) {
        pco__error_set(&error, why->code, why->system_code, "TLS handshake: %s", why->message);
    } else {
        pco__error_set(&error, PCO_ECANCELED, 0, "TLS handshake: the connection was closed here");
    }
    report_handshake(ssl, &error);
}

static void lower_connection_lost(pco_protocol *self, pco_transport *lower, const pco_error *error)
{
    pco__ssl *ssl = of_lower(self);
    pco_error own;
    const pco_error *why = reason(ssl, error, &own);
    (void)lower;
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    if (ssl->handshake != NULL) {
        handshake_lost(ssl, why);
    }
    pco_protocol *protocol = ssl->base.protocol;
    if (ssl->made && protocol->methods->connection_lost != NULL) {
        protocol->methods->connection_lost(protocol, &ssl->base, why);
    }
    pco__list_remove(&ssl->busy);
    SSL_free(ssl->engine);
    ssl->engine = NULL;
    pco__free(ssl->details);
    ssl->details = NULL;
    pco__transport_end(&ssl->base);
}

static void lower_pause_writing(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_lower(self);
    pco_protocol *protocol = ssl->base.protocol;
    (void)lower;
    if (ssl->state == PCO__SSL_OPEN && protocol->methods->pause_writing != NULL) {
        protocol->methods->pause_writing(protocol, &ssl->base);
    }
}

static void lower_resume_writing(pco_protocol *self, pco_transport *lower)
{
    pco__ssl *ssl = of_lower(self);
    pco_protocol *protocol = ssl->base.protocol;
    (void)lower;
    if (ssl->state == PCO__SSL_OPEN && protocol->methods->resume_writing != NULL) {
        protocol->methods->resume_writing(protocol, &ssl->base);
    }
}

const pco_protocol_methods pco__ssl_handshake_methods = {
    .size = sizeof pco__ssl_handshake_methods,
    .connection_made = lower_connection_made,
    .eof_received = lower_eof_received,
    .connection_lost = lower_connection_lost,
    .get_buffer = lower_get_buffer,
    .buffer_updated = lower_buffer_updated,
};

static const pco_protocol_methods lower_methods = {
    .size = sizeof lower_methods,
    .data_received = lower_data_received,
    .eof_received = lower_eof_received,
    .connection_lost = lower_connection_lost,
    .pause_writing = lower_pause_writing,
    .resume_writing = lower_resume_writing,
};
