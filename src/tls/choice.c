/* SPDX-License-Identifier: MIT */
/* choice.c: see choices.h. */
#include "tls/connection.h"

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

/*
 * A client takes all certificates of the other SSL_CTX at once; the server has proved what it had
 * to, and sessions stay with the SSL_CTX that the engine was made of.
 */
static int show_those_of(pco__ssl *ssl, pco__ssl_setup *setup, pco_error *error)
{
    int code = 0;
    if (SSL_CTX_get0_certificate(setup->ctx) == NULL) {
        code = pco__error_set(error, PCO_EINVAL, 0, "the context has no certificate");
    } else if (SSL_set_SSL_CTX(ssl->engine, setup->ctx) == NULL) {
        code = pco__ssl_error(error, PCO_ENOMEM, "choose a certificate");
    }
    pco__ssl_setup_give(setup);
    return code;
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
        return show_those_of(ssl, setup, error);
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
