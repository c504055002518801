/* SPDX-License-Identifier: MIT */
/*
 * tls.h: what the clients have in common that bring OpenSSL themselves: each believes the authority
 * that --tls names, checks the address, and with --resume resumes its last session. Also C++.
 */
#ifndef BENCH_CLIENTS_TLS_H
#define BENCH_CLIENTS_TLS_H

#include "common.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static inline SSL_CTX *make_client_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL || SSL_CTX_load_verify_file(ctx, set.authority) != 1) {
        give_up("cannot read the authority of --tls");
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

/* What the SSL of a new connection has to know; `session` may be NULL. */
static inline void prepare_client(SSL *ssl, SSL_SESSION *session)
{
    if (ssl == NULL || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1") != 1 ||
        (session != NULL && SSL_set_session(ssl, session) != 1)) {
        give_up("no memory");
    }
    SSL_set_connect_state(ssl);
}

/* Puts its newest session in the place of *session, if that is wanted. */
static inline void keep_session(SSL *ssl, SSL_SESSION **session)
{
    if (set.resume) {
        SSL_SESSION_free(*session);
        *session = SSL_get1_session(ssl);
    }
}

#endif
