/* SPDX-License-Identifier: MIT */
/*
 * material.h: certificates and keys as they are given: a file, memory, or a URI.
 *
 * Files are read whole and then take the same way as memory, so that both get the same checks and
 * every sentence can say which of the things that were given is wrong. OpenSSL's readers ask for
 * the password of what is encrypted on the terminal, unless told otherwise: each of them is given a
 * function that answers.
 */
#ifndef PCO_SSL_MATERIAL_H
#define PCO_SSL_MATERIAL_H

#include <openssl/x509.h>

#include "support/error.h"

/* How options give a thing: one way at most. */
typedef struct pco__source {
    const char *kind;   /* "certificate", to which the options add _file and _uri */
    const char *memory; /* and this for memory: "pem", "response" */
    size_t most;        /* bytes of a file or of memory */
    const char *file;
    const void *data;
    size_t length;
    const char *uri;
    const char *password; /* of what is found there */
} pco__source;

/* A thing that was given. */
typedef struct pco__material {
    char name[160]; /* "certificate file 'x.pem'", "certificate_pem", "certificate_uri 'file:x'" */
    const void *data;
    size_t length;
    const char *uri; /* it is there; NULL: it is in data */
    const char *password;
    unsigned char *owned;
    size_t owned_length;
} pco__material;

/* The most that a file, or memory, may hold: what is an end's own, whom it trusts, and not. */
#define PCO__MATERIAL_OWN ((size_t)1024 * 1024)
#define PCO__MATERIAL_TRUST ((size_t)16 * 1024 * 1024)
#define PCO__MATERIAL_CRL ((size_t)64 * 1024 * 1024)

/* Gets a file, which is called "WHAT 'path'"; it is dropped also after a failure. */
int pco__material_read(pco__material *thing, const char *what, const char *path, size_t most,
                       pco_error *error);

/* Gets what a file or memory holds; it is dropped also after a failure. */
int pco__material_get(pco__material *thing, const pco__source *from, pco_error *error);
void pco__material_drop(pco__material *thing);

/* Whether it was given at all. */
bool pco__material_is_given(const pco__material *thing);

/*
 * Calls `take` for each certificate in the PEM, with its index; take keeps a reference of its own
 * if it needs one, and returns false with OpenSSL's error if it fails.
 */
int pco__material_each_certificate(const pco__material *thing,
                                   bool (*take)(X509 *certificate, size_t index, void *context),
                                   void *context, pco_error *error);

/* The same for each CRL. */
int pco__material_each_crl(const pco__material *thing,
                           bool (*take)(X509_CRL *crl, size_t index, void *context), void *context,
                           pco_error *error);

/* ---- uri.c: what is at a URI, which OpenSSL's store finds ---- */

int pco__uri_each_certificate(const pco__material *thing,
                              bool (*take)(X509 *certificate, size_t index, void *context),
                              void *context, pco_error *error);

/* The first private key; the caller frees it. */
int pco__uri_read_key(const pco__material *thing, EVP_PKEY **key, pco_error *error);

/* ---- Passwords ---- */

/* The password that OpenSSL may ask for. */
typedef struct pco__password {
    const char *text; /* or NULL */
    bool asked;
    bool given;
} pco__password;

/* OpenSSL's pem_password_cb, whose context is a pco__password. */
int pco__password_give(char *buffer, int size, int writing, void *context);

/* OpenSSL has asked for it, and could not read the thing. PCO_ECERT, PCO_ENOMEM. */
int pco__password_refused(const pco__password *secret, const char *name, pco_error *error);

/* Whether OpenSSL's last error says that there is no more PEM. */
bool pco__is_end_of_pem(void);

#endif
