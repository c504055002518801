/* SPDX-License-Identifier: MIT */
/*
 * tls_transport.c: the side of a TLS connection that the user sees, but for writing: closing,
 * pausing; and how a connection is made and brought to its end.
 *
 * Who ends a connection moves its state to CLOSED and tells the lower end how to go; all else
 * follows from that one's connection_lost.
 */
#include "tls/connection.h"

#include <assert.h>
#include <math.h>

#include "support/memory.h"
#include "tls/turns.h"

/*
 * Seconds that a peer whose connection has failed is given to read the alert, while what it still
 * sends is read and dropped, so that no reset overtakes the alert.
 */
#define FAILURE_LINGER 2.0

/* Stands in for the user's protocol until there is one. */
static const pco_protocol_methods no_methods = {.size = sizeof no_methods};
static pco_protocol no_protocol = {.methods = &no_methods};

static pco__ssl *of(const pco_transport *transport)
{
    return (pco__ssl *)(uintptr_t)transport;
}

/* ---- The end ---- */

void pco__ssl_set_state(pco__ssl *ssl, pco__ssl_state state)
{
    assert(state > ssl->state);
    assert(ssl->state != PCO__SSL_HANDSHAKING || state == PCO__SSL_OPEN ||
           state == PCO__SSL_CLOSED);
    ssl->state = (uint8_t)state;
    if (state == PCO__SSL_CLOSED) {
        pco__ssl_leave_line(ssl);
        pco__queue_clear(&ssl->queue);
    }
}

/* The timer goes on until the lower end is closed: its limit is for all of the shutdown. */
void pco__ssl_end(pco__ssl *ssl)
{
    pco_transport *lower = ssl->lower;
    pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    if (!pco__timer_is_running(&ssl->timer)) {
        pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->shutdown_timeout);
    }
    lower->class_->close_within(lower, INFINITY, false);
}

void pco__ssl_end_failed(pco__ssl *ssl)
{
    pco_transport *lower = ssl->lower;
    pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    double seconds =
        ssl->shutdown_timeout < FAILURE_LINGER ? ssl->shutdown_timeout : FAILURE_LINGER;
    lower->class_->close_within(lower, seconds, true);
}

void pco__ssl_end_at_once(pco__ssl *ssl, bool reset)
{
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_set_state(ssl, PCO__SSL_CLOSED);
    }
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    ssl->lower->class_->abort(ssl->lower, reset);
}

void pco__ssl_close(pco__ssl *ssl)
{
    if (ssl->state == PCO__SSL_BROKEN) {
        pco__ssl_end_failed(ssl);
        return;
    }
    ssl->base.class_->limit_begins(&ssl->base, 0, &ssl->left);
    pco__loop_start_timer(ssl->base.home->loop, &ssl->timer, ssl->shutdown_timeout);
    pco__ssl_set_state(ssl, PCO__SSL_FLUSHING);
    if (pco__queue_size(&ssl->queue) == 0) {
        pco__ssl_shut_down(ssl);
    }
    if (ssl->state != PCO__SSL_CLOSED) {
        pco__ssl_update_reading(ssl);
        if (ssl->kept != NULL || pco__ssl_engine_holds_input(ssl)) {
            pco__ssl_wait_in_line(ssl, PCO__SSL_DATA);
        }
    }
}

void pco__ssl_shut_down(pco__ssl *ssl)
{
    if (ssl->state != PCO__SSL_SHUTTING_DOWN) {
        pco__ssl_set_state(ssl, PCO__SSL_SHUTTING_DOWN);
    }
    switch (pco__ssl_engine_shutdown(ssl)) {
    case PCO__SSL_DONE:
        pco__ssl_end(ssl);
        break;
    case PCO__SSL_MORE:
        if (ssl->peer_closed) {
            pco__ssl_end(ssl);
        }
        break;
    default:
        pco__ssl_end_failed(ssl);
        break;
    }
}

/* ---- Closing, pausing ---- */

void pco__ssl_say_goodbye(pco__ssl *ssl)
{
    if (!pco__ssl_engine_said_goodbye(ssl) && pco__ssl_engine_shutdown(ssl) == PCO__SSL_FAILED) {
        pco__ssl_end_at_once(ssl, false);
    }
}

static bool class_can_write_eof(const pco_transport *transport)
{
    return of(transport)->half_close;
}

static int class_write_eof(pco_transport *transport)
{
    pco__ssl *ssl = of(transport);
    if (!ssl->half_close) {
        return PCO_ENOTSUP;
    }
    if (!pco__ssl_is_open(ssl)) {
        return PCO_ECLOSED;
    }
    if (!ssl->eof_asked) {
        ssl->eof_asked = true;
        if (ssl->state == PCO__SSL_OPEN && pco__queue_size(&ssl->queue) == 0) {
            pco__ssl_say_goodbye(ssl);
            pco__ssl_pause_if_over(ssl);
        }
    }
    return 0;
}

static void class_close(pco_transport *transport)
{
    pco__ssl *ssl = of(transport);
    if (ssl->state == PCO__SSL_HANDSHAKING) {
        pco__ssl_end_at_once(ssl, false);
    } else if (ssl->state <= PCO__SSL_BROKEN) {
        pco__ssl_close(ssl);
    }
}

static void class_abort(pco_transport *transport, bool reset)
{
    pco__ssl_end_at_once(of(transport), reset);
}

static bool class_is_closing(const pco_transport *transport)
{
    return !pco__ssl_is_open(of(transport));
}

static void class_reading_changed(pco_transport *transport)
{
    pco__ssl *ssl = of(transport);
    if (!transport->reading_paused && !ssl->delivering &&
        (ssl->kept != NULL || pco__ssl_engine_holds_input(ssl))) {
        pco__ssl_wait_in_line(ssl, PCO__SSL_DATA);
    }
    pco__ssl_update_reading(ssl);
}

/* ---- As a lower end ---- */

static void class_close_within(pco_transport *transport, double seconds, bool linger)
{
    pco__ssl *ssl = of(transport);
    (void)linger; /* a close_notify of the peer's is waited for in any case */
    if (seconds < ssl->shutdown_timeout) {
        ssl->shutdown_timeout = seconds;
    }
    class_close(transport);
}

static void class_limit_begins(pco_transport *transport, size_t above, size_t *left)
{
    pco__ssl *ssl = of(transport);
    ssl->lower->class_->limit_begins(ssl->lower, above + pco__queue_size(&ssl->queue), left);
}

static bool class_has_progressed(pco_transport *transport, size_t above, size_t *left)
{
    pco__ssl *ssl = of(transport);
    return ssl->lower->class_->has_progressed(ssl->lower, above + pco__queue_size(&ssl->queue),
                                              left);
}

static void class_fail(pco_transport *transport, int code, int system_code, const char *sentence)
{
    pco__ssl *ssl = of(transport);
    pco__ssl_set_error(ssl, code, system_code, sentence);
    pco__ssl_end_at_once(ssl, false);
}

/* A data_received never brings more than the memory for plaintext holds. */
static void class_receive_at_most(pco_transport *transport, uint32_t size)
{
    (void)transport;
    (void)size;
}

static void class_set_top(pco_transport *transport, pco_transport *top)
{
    pco_transport *lower = of(transport)->lower;
    lower->class_->set_top(lower, top);
}

static pco_transport *class_get_top(const pco_transport *transport)
{
    const pco_transport *lower = of(transport)->lower;
    return lower->class_->get_top(lower);
}

static int class_check_cover(const pco_transport *transport, pco_error *error)
{
    if (class_is_closing(transport)) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the transport is closing");
    }
    if (of(transport)->eof_asked) {
        return pco__error_set(error, PCO_EPIPE, 0, "pco_transport_write_eof was called");
    }
    if (of(transport)->peer_closed) {
        return pco__error_set(error, PCO_ECONNRESET, 0, "the peer has closed its side");
    }
    return 0;
}

/*
 * Of a record that has come in part nothing can be delivered: it counts as not received. What is
 * kept stays until it has been used to its end, which its delivery knows before.
 */
static bool class_holds_input(const pco_transport *transport)
{
    const pco__ssl *ssl = of(transport);
    bool more = ssl->delivering ? ssl->goes_on : ssl->kept != NULL;
    return more || SSL_pending(ssl->engine) != 0 || ssl->lower->class_->holds_input(ssl->lower);
}

static void class_begin(pco_transport *transport, pco_protocol *protocol)
{
    transport->protocol = protocol;
    of(transport)->made = true;
    if (protocol->methods->connection_made != NULL) {
        protocol->methods->connection_made(protocol, transport);
    }
}

/* ---- What the connection agreed on ---- */

static struct ssl_st *class_get_ssl_object(const pco_transport *transport)
{
    return ((const pco__ssl *)transport)->engine;
}

static void class_destroy(pco_transport *transport)
{
    pco__free(of(transport));
}

static const pco__transport_class ssl_class = {
    .write = pco__ssl_write,
    .writelines = pco__ssl_writelines,
    .write_owned = pco__ssl_write_owned,
    .write_eof = class_write_eof,
    .close = class_close,
    .abort = class_abort,
    .is_closing = class_is_closing,
    .reading_changed = class_reading_changed,
    .get_ssl_info = pco__ssl_get_info,
    .get_ssl_object = class_get_ssl_object,
    .append = pco__ssl_append,
    .pending = pco__ssl_pending,
    .await_room = pco__ssl_await_room,
    .set_limits = pco__ssl_set_limits,
    .get_limits = pco__ssl_get_limits,
    .close_within = class_close_within,
    .limit_begins = class_limit_begins,
    .has_progressed = class_has_progressed,
    .fail = class_fail,
    .receive_at_most = class_receive_at_most,
    .set_top = class_set_top,
    .get_top = class_get_top,
    .check_cover = class_check_cover,
    .holds_input = class_holds_input,
    .begin = class_begin,
    .destroy = class_destroy,
    .can_write_eof = class_can_write_eof,
};

int pco__ssl_ask(const pco_transport *transport, pco__ssl **ssl)
{
    if (!pco__transport_is_alive(transport)) {
        return PCO_ECLOSED;
    }
    if (transport->class_ != &ssl_class) {
        return PCO_ENOTSUP;
    }
    *ssl = of(transport);
    return (*ssl)->engine != NULL && (*ssl)->state != PCO__SSL_HANDSHAKING ? 0 : PCO_ENOTCONN;
}

/* ---- Making ---- */

/* What one data_received of a handshake brings: a record with all that may be added to it. */
#define HANDSHAKE_AT_MOST (PCO__SSL_RECORD_SIZE + 2048 + PCO__SSL_HEADER_SIZE)

static pco__ssl_handshake *new_handshake(const pco__ssl_options *options)
{
    pco__ssl_handshake *made = pco__calloc(sizeof *made);
    if (made != NULL) {
        made->context = pco_ssl_context_retain(options->context);
        made->setup = pco__ssl_context_take(options->context);
        made->timeout = options->handshake_timeout;
        made->make_protocol = options->make_protocol;
        made->made = options->made;
        made->done = options->handshake_done;
        made->context_of_calls = options->context_of_calls;
    }
    return made;
}

/* Gives up what the connection has made for itself. */
static void drop_parts(pco__ssl *ssl)
{
    pco__ssl_engine_free(ssl);
    if (ssl->handshake != NULL) {
        pco__ssl_drop_handshake(ssl);
    }
    if (ssl->shared != NULL && ssl->plaintext != ssl->shared->plaintext) {
        pco__free(ssl->plaintext);
    }
    ssl->plaintext = NULL;
    pco__free(ssl->kept);
    ssl->kept = NULL;
    pco__ssl_free_details(ssl->details);
    ssl->details = NULL;
}

void pco__ssl_close_down(pco__ssl *ssl)
{
    drop_parts(ssl);
    ssl->lower = NULL;
    pco__transport_end(&ssl->base);
}

static bool take_input(pco__ssl *ssl, const pco__ssl_options *options)
{
    if (options->input_length != 0) {
        ssl->kept = pco__ssl_kept_new(options->input, options->input_length);
    }
    return options->input_length == 0 || ssl->kept != NULL;
}

int pco__ssl_put_on(pco_transport *lower, const pco__ssl_options *options, pco__ssl **made,
                    pco_error *error)
{
    pco__ssl *ssl = pco__calloc(sizeof *ssl);
    if (ssl == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
    }
    int code = PCO_ENOMEM;
    ssl->lower = lower;
    ssl->shared = pco__ssl_loop_get(lower->home->loop, pco__ssl_sweep, pco__ssl_turn);
    if (ssl->shared != NULL) {
        /* Plaintext of the TLS below is this one's input. */
        bool upon_tls = lower->class_ == &ssl_class;
        ssl->plaintext = upon_tls ? pco__malloc(PCO__SSL_PLAINTEXT_SIZE) : ssl->shared->plaintext;
        ssl->handshake = new_handshake(options);
    }
    if (ssl->handshake == NULL || ssl->plaintext == NULL || !take_input(ssl, options)) {
        pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
        goto fail;
    }
    if (options->client) {
        code = pco__ssl_engine_new(ssl, options, error);
        if (code != 0) {
            goto fail;
        }
    }
    pco__transport_init(&ssl->base, &ssl_class, lower->home, &no_protocol, lower->stream);
    ssl->below.methods = &pco__ssl_lower_methods;
    ssl->timer.fire = pco__ssl_timed_out;
    ssl->shutdown_timeout = options->shutdown_timeout;
    ssl->half_close = options->half_close;
    ssl->high = PCO__HIGH_WATER;
    ssl->low = PCO__LOW_WATER;
    *made = ssl;
    return 0;
fail:
    drop_parts(ssl);
    pco__free(ssl);
    return code;
}

void pco__ssl_cover(pco__ssl *ssl)
{
    pco_transport *lower = ssl->lower;
    ssl->covers = true;
    ssl->base.protocol = lower->protocol;
    ssl->base.writing_paused = lower->writing_paused;
    lower->class_->get_limits(lower, &ssl->high, &ssl->low);
    lower->class_->set_top(lower, &ssl->base);
    pco__transport_cover(lower, &ssl->below);
}

void pco__ssl_begin(pco__ssl *ssl)
{
    pco_transport *lower = ssl->lower;
    if (ssl->state != PCO__SSL_HANDSHAKING) {
        return;
    }
    lower->class_->set_top(lower, &ssl->base);
    lower->class_->receive_at_most(lower, HANDSHAKE_AT_MOST);
    lower->class_->begin(lower, &ssl->below);
}
