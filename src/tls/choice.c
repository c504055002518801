/* SPDX-License-Identifier: MIT */
/* choice.c: see choices.h. */
#include "tls/connection.h"

#include <openssl/err.h>

#include "support/memory.h"

struct pco_ssl_question {
    pco__ssl *ssl; /* NULL: its connection has ended */
    pco_ssl_hello *hello;
};

static void free_question(pco_ssl_question *question)
{
    pco__free(question->hello);
    pco__free(question);
}

int pco__ssl_choice_prepare(pco__ssl *ssl, pco_ssl_hello *hello)
{
    pco_ssl_question *made = hello != NULL ? pco__malloc(sizeof *made) : NULL;
    if (made == NULL) {
        pco__free(hello);
        return PCO_ENOMEM;
    }
    *made = (pco_ssl_question){.ssl = ssl, .hello = hello};
    ssl->handshake->choice.question = made;
    return 0;
}

void pco__ssl_choice_ask(pco__ssl *ssl)
{
    const pco__ssl_setup *setup = ssl->handshake->setup;
    pco__ssl_choice *choice = &ssl->handshake->choice;
    choice->state = PCO__SSL_ASKED;
    setup->choose_certificate(choice->question, choice->question->hello, setup->callback_context);
}

void pco__ssl_choice_drop(pco__ssl_choice *choice)
{
    if (choice->question == NULL) {
        return;
    }
    if (choice->state == PCO__SSL_ASKED) {
        choice->question->ssl = NULL;
    } else {
        free_question(choice->question);
    }
    choice->question = NULL;
}

int pco__ssl_choose_certificate(SSL *engine, void *unused)
{
    pco__ssl_call *call = pco__ssl_call_of(engine);
    pco__ssl_choice *choice = &call->ssl->handshake->choice;
    (void)unused;
    switch (choice->state) {
    case PCO__SSL_ANSWERED:
        return 1;
    case PCO__SSL_REFUSED:
        call->sentence = choice->sentence;
        return 0;
    default:
        call->error = pco__ssl_choice_prepare(call->ssl, pco__ssl_describe_server(engine));
        return call->error == 0 ? -1 : 0;
    }
}

/* ---- Answers ---- */

/*
 * Takes the question away from the user. NULL: its connection has ended, or is about to.
 */
static pco__ssl *give_up(pco_ssl_question *question)
{
    pco__ssl *ssl = question->ssl;
    free_question(question);
    if (ssl == NULL) {
        return NULL;
    }
    pco__loop_check_thread(ssl->base.home->loop);
    ssl->handshake->choice.question = NULL;
    bool lives = ssl->state == PCO__SSL_HANDSHAKING && !ssl->lower->class_->is_closing(ssl->lower);
    return lives ? ssl : NULL;
}

static void refuse(pco__ssl *ssl, const char *sentence, int alert)
{
    pco__ssl_choice *choice = &ssl->handshake->choice;
    choice->state = PCO__SSL_REFUSED;
    choice->sentence = sentence;
    choice->alert = alert;
}

/* A server's engine is made of it when the handshake goes on. */
static void serve_with(pco__ssl *ssl, pco__ssl_setup *setup)
{
    pco__ssl_setup_give(ssl->handshake->setup);
    ssl->handshake->setup = setup;
}

/* The certificate that `from` stands at, with its key and its chain. */
static bool show_one(SSL *engine, SSL *from)
{
    STACK_OF(X509) *chain = NULL;
    SSL_get0_chain_certs(from, &chain);
    if (chain == NULL) {
        SSL_CTX_get_extra_chain_certs_only(SSL_get_SSL_CTX(from), &chain);
    }
    return SSL_use_cert_and_key(engine, SSL_get_certificate(from), SSL_get_privatekey(from), chain,
                                1) == 1;
}

/*
 * A client takes the certificates of the other SSL_CTX, and nothing else: whoever is called, and
 * what is demanded, stays as it was (SSL_set_SSL_CTX would change all that). They are asked of an
 * SSL of its own, since to go through those of an SSL_CTX changes it, and other threads use it.
 */
static int show_those_of(pco__ssl *ssl, const pco__ssl_setup *setup, pco_error *error)
{
    ERR_clear_error();
    SSL *from = SSL_new(setup->ctx);
    bool shown = from != NULL &&
                 SSL_set1_chain_cert_store(ssl->engine, SSL_CTX_get_cert_store(setup->ctx)) == 1;
    if (shown) {
        SSL_certs_clear(ssl->engine);
    }
    size_t count = 0;
    long which = SSL_CERT_SET_FIRST;
    while (shown && SSL_set_current_cert(from, which) == 1) {
        shown = show_one(ssl->engine, from);
        which = SSL_CERT_SET_NEXT;
        count++;
    }
    SSL_free(from);
    if (!shown) {
        return pco__ssl_error(error, PCO_EINVAL, "choose a certificate");
    }
    return count != 0 ? 0 : pco__error_set(error, PCO_EINVAL, 0, "the context has no certificate");
}

static int use_context(pco__ssl *ssl, pco_ssl_context *context, pco_error *error)
{
    bool client = SSL_is_server(ssl->engine) == 0;
    if (!pco__ssl_context_fits(context, client)) {
        return pco__error_set(error, PCO_EINVAL, 0, "the context is for %s",
                              client ? "servers" : "clients");
    }
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    if (client) {
        int code = show_those_of(ssl, setup, error);
        pco__ssl_setup_give(setup);
        return code;
    }
    serve_with(ssl, setup);
    return 0;
}

int pco_ssl_question_answer(pco_ssl_question *question, pco_ssl_context *context, pco_error *error)
{
    pco__ssl *ssl = give_up(question);
    if (ssl == NULL) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the connection has ended meanwhile");
    }
    int code = context != NULL ? use_context(ssl, context, error) : 0;
    if (code == 0) {
        ssl->handshake->choice.state = PCO__SSL_ANSWERED;
    } else {
        refuse(ssl, "choose_certificate was answered with no usable context",
               SSL_AD_INTERNAL_ERROR);
    }
    pco__ssl_go_on(ssl);
    return code;
}

void pco_ssl_question_refuse(pco_ssl_question *question)
{
    pco__ssl *ssl = give_up(question);
    if (ssl != NULL) {
        refuse(ssl, "choose_certificate was answered by a refusal", SSL_AD_UNRECOGNIZED_NAME);
        pco__ssl_go_on(ssl);
    }
}
