/* SPDX-License-Identifier: MIT */
/*
 * make_certificates.h: certificates for tests, made when first asked for: none is stored in a file
 * that could expire. Unless it says otherwise keys are EC P-256, which is quick to make and to use.
 */
#ifndef MAKE_CERTIFICATES_H
#define MAKE_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

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

/* What a certificate is to be like. Zero is the default. */
typedef struct recipe {
    const char *name;          /* the common name */
    const char *alternatives;  /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const char *usage;         /* "serverAuth", "clientAuth"; NULL: an authority */
    const certificate *issuer; /* NULL: itself */
    int begins;                /* days from now; both 0: two days ago, in two days */
    int ends;
    const char *kind; /* of its key: "RSA", "ED25519"; NULL: EC P-256 */
    int rsa_bits;     /* of a key of RSA; 0: 2048 */
    bool sha1;        /* it is signed by SHA-1 */

    /* An alternative name of hosts as it is, zeros and all. */
    const char *bytes;
    size_t bytes_length;
} recipe;

/* Makes one of the test's own; `behind` follows in its PEM, or NULL. A failure ends the program. */
void certificate_make(certificate *made, const recipe *wanted, const certificate *behind);
void certificate_clear(certificate *made);

/* A list, of the issuer's, on which there is this certificate, or none. */
X509_CRL *certificate_make_crl(const certificate *issuer, const certificate *revoked);

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
