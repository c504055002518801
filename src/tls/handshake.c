/* SPDX-License-Identifier: MIT */
/*
 * handshake.c: the handshake of a TLS connection: its steps, its suspension, and how it ends.
 */
#include <openssl/x509_vfy.h>

#include "support/memory.h"
#include "tls/connection.h"
#include "tls/turns.h"

void pco__ssl_drop_handshake(pco__ssl *ssl)
{
    pco__ssl_handshake *done = ssl->handshake;
    pco__ssl_verdict_drop(ssl);
    ssl->handshake = NULL;
    pco__ssl_setup_give(done->setup);
    pco_ssl_context_release(done->context);
    pco__ssl_hello_free(done->hello);
    pco__ssl_choice_drop(&done->choice);
    pco__free(done);
}

/* Tells how the handshake ended; the owner may do anything but free the loop. */
static void report_handshake(pco__ssl *ssl, const pco_error *error)
{
    pco__ssl_handshake done = *ssl->handshake;
    pco__ssl_drop_handshake(ssl);
    done.done(&ssl->base, error, done.context_of_calls);
}

void pco__ssl_handshake_failed(pco__ssl *ssl)
{
    pco_error error;
    const char *detail = ssl->handshake->verdict.refusal;
    if (detail == NULL && ssl->error == PCO_ECERT &&
        ssl->system_code == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        detail = X509_verify_cert_error_string(SSL_get_verify_result(ssl->engine));
    }
    const char *sentence = ssl->sentence != NULL ? ssl->sentence : pco_strerror(ssl->error);
    pco__error_set(&error, ssl->error, ssl->system_code, "TLS handshake: %s%s%s", sentence,
                   detail != NULL ? ": " : "", detail != NULL ? detail : "");
    pco__ssl_end_failed(ssl);
    report_handshake(ssl, &error);
}

/* A protocol that was there before, unless another one follows it, goes on without a word. */
static void set_protocol(pco__ssl *ssl, pco_protocol *protocol)
{
    bool is_new = ssl->base.protocol != protocol;
    ssl->base.protocol = protocol;
    ssl->made = true;
    if (!ssl->covers && protocol->methods->connection_made != NULL) {
        protocol->methods->connection_made(protocol, &ssl->base);
    } else if (ssl->covers && is_new) {
        ssl->base.writing_paused = false; /* that was told to the other one */
    }
}

/* The handshake is done: the user's protocol is made and takes over. */
static void open_connection(pco__ssl *ssl, const pco__ssl_input *input)
{
    pco__ssl_handshake done = *ssl->handshake;
    pco__loop_stop_timer(ssl->base.home->loop, &ssl->timer);
    report_handshake(ssl, NULL);
    if (ssl->state != PCO__SSL_HANDSHAKING) {
        return;
    }
    pco__ssl_set_state(ssl, PCO__SSL_OPEN);
    ssl->half_close = ssl->half_close && SSL_version(ssl->engine) >= TLS1_3_VERSION;
    ssl->goes_on = input->length != 0;
    ssl->lower->class_->receive_at_most(ssl->lower, PCO__SSL_PLAINTEXT_SIZE);
    pco_protocol *protocol = done.make_protocol(done.context_of_calls);
    if (protocol == NULL) {
        pco__ssl_end_at_once(ssl, false);
        return;
    }
    set_protocol(ssl, protocol);
    if (done.made != NULL) {
        done.made(&ssl->base, done.context_of_calls);
    }
    if (ssl->covers) {
        pco__ssl_pump(ssl); /* what was written before TLS may have left, or the handshake wait */
    }
}

/* ---- A server's engine ---- */

/* An engine is at work that reads the hello alone. */
static bool reads_hello(const pco__ssl *ssl)
{
    const pco__ssl_hello *hello = ssl->handshake->hello;
    return hello != NULL && !hello->is_read;
}

/* Whether who asks, and for whom, decides. */
static bool depends_on_hello(const pco__ssl_handshake *handshake)
{
    return handshake->setup->choose_certificate != NULL ||
           pco__ssl_context_has_names(handshake->context);
}

static int make_engine(pco__ssl *ssl, pco_error *error)
{
    pco__ssl_handshake *handshake = ssl->handshake;
    if (handshake->hello == NULL && depends_on_hello(handshake)) {
        handshake->hello = pco__ssl_hello_new();
        if (handshake->hello == NULL) {
            return pco__error_describe(error, PCO_ENOMEM, 0, "start TLS");
        }
    }
    return reads_hello(ssl) ? pco__ssl_engine_new_for_hello(ssl, error)
                            : pco__ssl_engine_new(ssl, NULL, error);
}

/* A server's engine is made when there is something for it to read. */
static bool has_engine(pco__ssl *ssl)
{
    pco_error error;
    if (ssl->engine != NULL) {
        return true;
    }
    int code = make_engine(ssl, &error);
    if (code != 0) {
        pco__ssl_set_error(ssl, code, error.system_code, NULL);
        pco__ssl_end_at_once(ssl, false);
        report_handshake(ssl, &error);
    }
    return code == 0;
}

/* The hello is there: its name leads to a setup, and that may want the user to be asked. */
static void look_at_hello(pco__ssl *ssl)
{
    pco__ssl_handshake *handshake = ssl->handshake;
    pco__ssl_setup *setup =
        pco__ssl_context_find(handshake->context, handshake->hello->server_name);
    if (setup != NULL) {
        pco__ssl_setup_give(handshake->setup);
        handshake->setup = setup;
    }
    if (handshake->setup->choose_certificate != NULL) {
        pco__ssl_choice_ask(ssl);
    } else {
        handshake->choice.state = PCO__SSL_ANSWERED;
        handshake->suspended = false;
    }
}

/* Who serves is known: another engine answers the hello. */
static void answer_hello(pco__ssl *ssl)
{
    if (reads_hello(ssl) && ssl->handshake->choice.state == PCO__SSL_ANSWERED) {
        pco__ssl_engine_free(ssl);
        pco__ssl_hello_is_read(ssl->handshake->hello);
    }
}

/* ---- Steps ---- */

/* What the engine reads next: the hello again, if it has been read by another. */
static pco__ssl_input *input_of(const pco__ssl_handshake *handshake, pco__ssl_input *input)
{
    pco__ssl_hello *hello = handshake->hello;
    return hello != NULL && hello->again.length != 0 ? &hello->again : input;
}

/* One step of the engine's. Returns as pco__ssl_engine_handshake. */
static int run_engine(pco__ssl *ssl, pco__ssl_input *input)
{
    const unsigned char *from = input->data;
    uint64_t began = pco__ssl_step_begins(ssl->shared);
    int outcome = pco__ssl_engine_handshake(ssl, input);
    pco__ssl_step_ends(ssl->shared, PCO__SSL_HANDSHAKES, began);
    if (!reads_hello(ssl)) {
        return outcome;
    }
    int code = pco__ssl_hello_keep(ssl->handshake->hello, from, (size_t)(input->data - from));
    if (code != 0) {
        pco__ssl_set_error(ssl, code, 0, NULL);
        return PCO__SSL_FAILED;
    }
    return outcome;
}

/* What OpenSSL does not look at. NULL: nothing is wrong. */
static const char *complaint(const pco__ssl *ssl)
{
    const pco__ssl_handshake *handshake = ssl->handshake;
    if (handshake->hello != NULL && !pco__ssl_hello_holds(handshake->hello, ssl->engine)) {
        return "the client has asked for two names";
    }
    return pco__ssl_check_alpn(ssl->engine, handshake->setup);
}

static void complete(pco__ssl *ssl, const pco__ssl_input *received)
{
    const char *sentence = complaint(ssl);
    if (sentence == NULL) {
        open_connection(ssl, received);
        return;
    }
    pco__ssl_set_error(ssl, PCO_ETLS, 0, sentence);
    pco__ssl_engine_shutdown(ssl);
    pco__ssl_handshake_failed(ssl);
}

/* A callback has put its answer off: the one that is asked instead may have it at once. */
static void suspend(pco__ssl *ssl)
{
    ssl->handshake->suspended = true;
    if (reads_hello(ssl)) {
        look_at_hello(ssl);
    } else if (ssl->handshake->choice.question != NULL &&
               ssl->handshake->choice.state == PCO__SSL_NOT_ASKED) {
        pco__ssl_choice_ask(ssl);
    }
}

bool pco__ssl_step_of_handshake(pco__ssl *ssl, pco__ssl_input *received)
{
    if (pco__ssl_is_suspended(ssl) || ssl->lower->class_->is_closing(ssl->lower)) {
        return false;
    }
    if (!pco__ssl_may_go_on(ssl->shared, PCO__SSL_HANDSHAKES)) {
        pco__ssl_wait_in_line(ssl, PCO__SSL_HANDSHAKES);
        return false;
    }
    answer_hello(ssl);
    pco__ssl_input *input = input_of(ssl->handshake, received);
    if ((ssl->engine == NULL && input->length == 0) || !has_engine(ssl)) {
        return false;
    }
    switch (run_engine(ssl, input)) {
    case PCO__SSL_DONE:
        complete(ssl, received);
        return false;
    case PCO__SSL_FAILED:
        if (ssl->error != 0) {
            pco__ssl_handshake_failed(ssl);
        }
        return false;
    case PCO__SSL_SUSPENDED:
        suspend(ssl);
        return !pco__ssl_is_suspended(ssl);
    default:
        return input_of(ssl->handshake, received)->length != 0;
    }
}

void pco__ssl_go_on(pco__ssl *ssl)
{
    if (pco__ssl_is_suspended(ssl)) {
        ssl->handshake->suspended = false;
        pco__ssl_wait_in_line(ssl, PCO__SSL_HANDSHAKES);
    }
}

void pco__ssl_handshake_lost(pco__ssl *ssl, const pco_error *why)
{
    pco_error error;
    if (ssl->error == PCO_ETIMEDOUT) {
        pco__error_set(&error, PCO_ETIMEDOUT, 0, "TLS handshake took longer than %g seconds",
                       ssl->handshake->timeout);
    } else if (why != NULL) {
        pco__error_set(&error, why->code, why->system_code, "TLS handshake: %s", why->message);
    } else {
        pco__error_set(&error, PCO_ECANCELED, 0, "TLS handshake: the connection was closed here");
    }
    report_handshake(ssl, &error);
}
