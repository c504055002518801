/* SPDX-License-Identifier: MIT */
/*
 * hellos.h: a client's hello that is read before the engine is made which will answer it.
 *
 * Who is asked for decides what is shown, demanded and spoken. An engine that has begun with one
 * SSL_CTX can be given another one, but takes from it not much more than the certificates. So where
 * the hello decides, an engine of nobody's reads it first, its bytes are kept, and the one that is
 * made of the right SSL_CTX is given them again. It is that one's from the first byte on, whatever
 * there may be in it.
 */
#ifndef PCO_SSL_HELLOS_H
#define PCO_SSL_HELLOS_H

#include "tls/bio.h"

typedef struct pco__ssl_hello {
    bool is_read;         /* all of it, and so what follows */
    unsigned char *bytes; /* what has been read */
    size_t length;
    size_t room;
    pco__ssl_input again; /* of the bytes: those that the engine was not given yet */
    char server_name[PCO__SSL_NAME_SIZE]; /* as the contexts know it; "": none */
} pco__ssl_hello;

/* NULL: out of memory. */
pco__ssl_hello *pco__ssl_hello_new(void);

/* NULL is allowed. */
void pco__ssl_hello_free(pco__ssl_hello *hello);

/* Bytes of it have been read. PCO_ENOMEM; PCO_ETLS: it is longer than any that is honest. */
int pco__ssl_hello_keep(pco__ssl_hello *hello, const unsigned char *data, size_t length);

/* It has been read whole. */
void pco__ssl_hello_is_read(pco__ssl_hello *hello);

/*
 * The SSL_CTX of the engine that reads: it fills in the hello and the choice of the handshake, and
 * puts off its answer then. If it is asked again, that is for the alert of a refusal.
 * Made when the loop first needs it; NULL: OpenSSL's queue says why.
 */
SSL_CTX *pco__ssl_hello_ctx(pco__ssl_loop *shared);

/*
 * Whether a server's engine whose handshake is complete speaks with who has said hello: in TLS 1.3
 * a client can be made to say it twice, and might ask for somebody else.
 */
bool pco__ssl_hello_holds(const pco__ssl_hello *hello, const SSL *engine);

#endif
