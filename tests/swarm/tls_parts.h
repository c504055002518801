/* SPDX-License-Identifier: MIT */
/* tls_parts.h: what the files about TLS share, which are the only ones that know OpenSSL. */
#ifndef SWARM_TLS_PARTS_H
#define SWARM_TLS_PARTS_H

#include "swarm.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

/* The certificates: the server's own, and that of the names below. */
enum { OWN, OTHER, CERTIFICATES };
extern const char *const common_names[CERTIFICATES];

/* Who asks for these is shown the other, once they are added; who asks for WRONG or none is not. */
#define NAME "swarm.example"
#define PATTERN "*.other.example"
#define NAME_OF_PATTERN "a.other.example"
#define WRONG_NAME "a.b.other.example"

typedef struct tls_peer {
    bool serves;
    SSL *ssl;
    BIO *in;  /* to it */
    BIO *out; /* from it */
    bool established;
    bool ended;  /* has seen the library's close_notify */
    bool failed; /* understands nothing any more */
    unsigned updates;
    bool asks_for_other;
    bool knows;        /* which it must be shown: nothing changed since it came */
    bool other;        /* that */
    int protocol;      /* which of those that it offers was chosen; -1: none */
    bool asks;         /* a server: for a certificate */
    bool insists;      /* and is content with nothing less */
    const char *shows; /* the name of the client's that it must be shown; "": none */
} tls_peer;

/* Of the peers, each of TLS 1.3, and of 1.2 at most. */
extern SSL_CTX *client_contexts[2];
extern SSL_CTX *server_contexts[2];

/* What OpenSSL must be able to do, or there is no program. */
void need(bool good);

/*
 * The peer, a client, is there before TLS begins: some of what it says first, of malloc's, which
 * the protocol has been given; the rest will arrive.
 */
unsigned char *tls_begin_early(world *at, conn *of, size_t *length);

/*
 * May give a session to a client with that context and name. A bit for what the call must then be
 * refused with, or 0.
 */
uint64_t choose_session(world *at, const pco_ssl_context *context, const char *name,
                        pco_ssl_session **given);

/*
 * A gate for the system's verdict on the server of a client's that is about to begin, and a context
 * with which the system is asked. NULL: neither can be had.
 */
gate *verdict_take(world *at, bool old, pco_ssl_context **context);

/* The peer sends its close_notify. */
void say_goodbye(conn *of);

/* Options of a server's context, with that certificate; and the context. NULL: no memory. */
pco_ssl_context_options tls_options_of(world *at, int certificate);
pco_ssl_context *tls_new_context(world *at, int certificate);

/* A client's that trusts OWN. */
pco_ssl_context_options tls_client_options(void);

/* What the context with the certificate OWN asks the program (verbs_choice.c). */
void choose_choices(world *at, pco_ssl_context_options *options);

/* A client's context that asks what to show, and one that shows it. NULL: no memory. */
pco_ssl_context *chooser_of(world *at, bool old);
pco_ssl_context *client_that_shows(world *at, int certificate);

/* A certificate with its key goes into the options. */
void show_certificate(pco_ssl_context_options *options, int certificate);

/* A peer, a server, may ask for a certificate; and has been shown the right one. */
void ask_client(world *at, const conn *of, tls_peer *peer);
void check_client(world *at, const conn *of);

/* The common name of the certificate of the other end; "": there is none. */
void name_shown(const SSL *to, char *name, size_t size);

/* A question is asked, and answered: what both ends have in common (verbs_choice.c)... */
void ask_choice(world *at, choice asked);
void give_answer(world *at, const choice *of, pco_ssl_context *shown, bool fits);
void refuse_choice(world *at, const choice *of);

/* ...and what a client has to itself (client_choice.c). NULL: nobody that is known. */
conn *conn_of_authorities(const world *at, const pco_ssl_hello *hello);
void check_client_question(world *at, const choice *asked);
void answer_client(world *at, const choice *of, unsigned how);

/* A peer offers protocols, by which it is known; and is told the one that was chosen. */
void offer_number(SSL *of, unsigned id);
void check_protocol(world *at, const conn *of);

#endif
