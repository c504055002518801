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
    done.done(&ssl->base, error, done.context_of_calls);
}

void pco__ssl_handshake_failed(pco__ssl *ssl)
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
    ssl->lower->class_->receive_at_most(ssl->lower, PCO__SSL_PLAINTEXT_SIZE);
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
    if (done.made != NULL) {
        done.made(&ssl->base, done.context_of_calls);
    }
}

/* A server's engine is made when there is something for it to read. */
static bool has_engine(pco__ssl *ssl)
{
    pco_error error;
    if (ssl->engine != NULL) {
        return true;
    }
    int code = pco__ssl_engine_new(ssl, false, NULL, &error);
    if (code != 0) {
        pco__ssl_set_error(ssl, code, error.system_code, NULL);
        pco__ssl_end_at_once(ssl, false);
        report_handshake(ssl, &error);
    }
    return code == 0;
}

bool pco__ssl_step_of_handshake(pco__ssl *ssl, pco__ssl_input *input)
{
    pco__ssl_loop *shared = ssl->shared;
    if (pco__ssl_is_suspended(ssl) || ssl->lower->class_->is_closing(ssl->lower)) {
        return false;
    }
    if (!pco__ssl_may_go_on(shared, PCO__SSL_HANDSHAKES)) {
        pco__ssl_wait_in_line(ssl, PCO__SSL_HANDSHAKES);
        return false;
    }
    if ((ssl->engine == NULL && input->length == 0) || !has_engine(ssl)) {
        return false;
    }
    uint64_t began = pco__ssl_step_begins(shared);
    int outcome = pco__ssl_engine_handshake(ssl, input);
    pco__ssl_step_ends(shared, PCO__SSL_HANDSHAKES, began);
    if (outcome == PCO__SSL_DONE) {
        open_connection(ssl);
    } else if (outcome == PCO__SSL_SUSPENDED) {
        ssl->handshake->suspended = true;
    } else if (outcome == PCO__SSL_FAILED && ssl->error != 0) {
        pco__ssl_handshake_failed(ssl);
    }
    return outcome == PCO__SSL_NO_DATA;
}

void pco__ssl_go_on(pco__ssl *ssl)
{
    if (pco__ssl_is_suspended(ssl)) {
        ssl->handshake->suspended = false;
        pco__ssl_schedule(ssl);
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
