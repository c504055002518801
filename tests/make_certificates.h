/* SPDX-License-Identifier: MIT */
/*
 * make_certificates.h: certificates for tests, made when first asked for: none is stored in a file
 * that could expire. Unless it says otherwise keys are EC P-256, which is quick to make and to use.
 */
#ifndef MAKE_CERTIFICATES_H
#define MAKE_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/x509.h>

/* A certificate with its key, and both as PEM; `pem` has the chain behind it if there is one. */
typedef struct certificate {
    X509 *x509;
    EVP_PKEY *key;
    char *pem;
    size_t pem_length;
    char *key_pem;
    size_t key_pem_length;
} certificate;

typedef struct certificates {
    certificate ca;           /* has signed all others, but for: */
    certificate stranger;     /* signed by itself, for localhost */
    certificate server;       /* localhost, 127.0.0.1, ::1 */
    certificate client;       /* of a client named "client" */
    certificate wildcard;     /* *.example.com */
    certificate other;        /* other.example */
    certificate expired;      /* localhost, until yesterday */
    certificate intermediate; /* an authority below ca */
    certificate chained;      /* localhost, signed by it, which is behind it in the PEM */
} certificates;

/* All of them. A failure to make them ends the program. */
const certificates *certificates_get(void);

/* The one for `server` again, but with a key of another kind: "RSA", "ED25519". */
const certificate *certificates_of_kind(const char *kind);

/* What the issuer's OCSP says of a certificate, that it is good, in DER; freed with free(). */
char *certificates_ocsp(const certificate *issuer, const certificate *of, size_t *length);

/* Frees them, if they were made. */
void certificates_free(void);

/* A list (CRL) of the issuer's in PEM, with `revoked` (NULL: nobody) in it; freed with free(). */
char *certificates_revoke(const certificate *issuer, const certificate *revoked, size_t *length);

/* The key as encrypted PEM, which the caller frees with free(). */
char *certificates_encrypt_key(const certificate *of, const char *password, size_t *length);

#endif
