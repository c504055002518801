/* SPDX-License-Identifier: MIT */
/*
 * behaviour_tls.c: TLS for the peers of the tests: OpenSSL's own client between two pieces of
 * memory, with nothing of the library's engine in it.
 */
#include "behaviour_peer.h"
#include "make_certificates.h"

#include <portico/ssl.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct peer_tls {
    SSL *ssl;
    BIO *from_wire; /* both belong to `ssl` */
    BIO *to_wire;
    unsigned char *waiting; /* to be sent when the handshake is done */
    size_t waiting_length;
    bool finishes; /* close_notify behind it */
};

static pco_ssl_context *server_context;
static SSL_CTX *client_context;

static void demand(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "the peer's TLS: %s failed\n", what);
        ERR_print_errors_fp(stderr);
        abort();
    }
}

bool peer_has_tls(void)
{
    return true;
}

/* ---- Contexts ---- */

pco_ssl_context *peer_server_context(void)
{
    if (server_context == NULL) {
        const certificate *shown = &certificates_get()->server;
        pco_error error = {0};
        pco_ssl_context_options options = {.size = sizeof options,
                                           .certificate_pem = shown->pem,
                                           .certificate_pem_length = shown->pem_length,
                                           .key_pem = shown->key_pem,
                                           .key_pem_length = shown->key_pem_length};

        if (pco_ssl_context_new(&options, &server_context, &error) != 0) {
            fprintf(stderr, "a TLS context could not be made: %s\n", error.message);
        }
    }
    return server_context;
}

void peer_free_server_context(void)
{
    pco_ssl_context_release(server_context);
    server_context = NULL;
    SSL_CTX_free(client_context);
    client_context = NULL;
    certificates_free();
}

static SSL_CTX *get_client_context(void)
{
    if (client_context == NULL) {
        client_context = SSL_CTX_new(TLS_client_method());
        demand(client_context != NULL, "SSL_CTX_new");
        X509_STORE *trusted = SSL_CTX_get_cert_store(client_context);
        demand(X509_STORE_add_cert(trusted, certificates_get()->ca.x509) == 1, "trusting the CA");
        SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
    }
    return client_context;
}

/* ---- One connection ---- */

peer_tls *peer_tls_new(void)
{
    peer_tls *made = calloc(1, sizeof *made);

    demand(made != NULL, "calloc");
    made->ssl = SSL_new(get_client_context());
    made->from_wire = BIO_new(BIO_s_mem());
    made->to_wire = BIO_new(BIO_s_mem());
    demand(made->ssl != NULL && made->from_wire != NULL && made->to_wire != NULL, "SSL_new");
    BIO_set_mem_eof_return(made->from_wire, -1);
    SSL_set_bio(made->ssl, made->from_wire, made->to_wire);
    demand(SSL_set1_host(made->ssl, "localhost") == 1, "SSL_set1_host");
    demand(SSL_set_tlsext_host_name(made->ssl, "localhost") == 1, "SSL_set_tlsext_host_name");
    SSL_set_connect_state(made->ssl);
    return made;
}

void peer_tls_free(peer_tls *tls)
{
    SSL_free(tls->ssl);
    free(tls->waiting);
    free(tls);
}

/* Everything that OpenSSL has written goes to the wire. */
static void flush(peer *self)
{
    char *data;
    long length = BIO_get_mem_data(self->tls->to_wire, &data);

    if (length > 0) {
        peer_send_raw(self, data, (size_t)length);
        demand(BIO_reset(self->tls->to_wire) == 1, "BIO_reset");
    }
}

static void note_failure(peer *self, int result)
{
    int why = SSL_get_error(self->tls->ssl, result);

    if (why == SSL_ERROR_ZERO_RETURN) {
        SSL_shutdown(self->tls->ssl);
        flush(self);
        peer_note_end(self, true, 0);
    } else if (why != SSL_ERROR_WANT_READ) {
        flush(self);
        peer_note_end(self, false, PCO_ETLS);
    }
    ERR_clear_error();
}

static void encrypt(peer *self, const void *data, size_t length)
{
    if (length != 0) {
        int result = SSL_write(self->tls->ssl, data, (int)length);

        if (result <= 0) {
            note_failure(self, result);
        }
        flush(self);
    }
}

static void finish(peer *self)
{
    SSL_shutdown(self->tls->ssl);
    flush(self);
    peer_finish_raw(self);
}

static void handshake_is_done(peer *self)
{
    self->established = 1;
    encrypt(self, self->tls->waiting, self->tls->waiting_length);
    if (self->tls->finishes) {
        finish(self);
    }
}

static void decrypt(peer *self)
{
    unsigned char data[16 * 1024];
    int result;

    while ((result = SSL_read(self->tls->ssl, data, sizeof data)) > 0) {
        peer_note_data(self, data, (size_t)result);
    }
    note_failure(self, result);
    flush(self);
}

void peer_tls_input(peer *self, const void *data, size_t length)
{
    if (length != 0) {
        demand(BIO_write(self->tls->from_wire, data, (int)length) == (int)length, "BIO_write");
    }
    if (self->established == 0) {
        int result = SSL_do_handshake(self->tls->ssl);

        flush(self);
        if (result != 1) {
            note_failure(self, result);
            return;
        }
        handshake_is_done(self);
    }
    decrypt(self);
}

void peer_tls_send(peer *self, const void *data, size_t length)
{
    peer_tls *tls = self->tls;

    if (self->established != 0) {
        encrypt(self, data, length);
        return;
    }
    tls->waiting = realloc(tls->waiting, tls->waiting_length + length);
    demand(tls->waiting != NULL, "realloc");
    memcpy(tls->waiting + tls->waiting_length, data, length);
    tls->waiting_length += length;
}

void peer_tls_finish(peer *self)
{
    if (self->established != 0) {
        finish(self);
    } else {
        self->tls->finishes = true;
    }
}
