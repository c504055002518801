/* SPDX-License-Identifier: MIT */
/* make_certificates.c: see make_certificates.h. */
#include "make_certificates.h"

#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR (60L * 60)
#define DAY (24 * HOUR)

/* What a certificate is to be like. */
typedef struct wish {
    const char *name;
    const char *alternatives;  /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    const char *usage;         /* "serverAuth", "clientAuth"; NULL: an authority */
    const certificate *issuer; /* NULL: itself */
    bool expired;
    const char *kind; /* of the key; NULL: EC */
} wish;

static certificates *all;

/* Those of other kinds, made when first asked for. */
static certificate of_rsa;
static certificate of_ed25519;

static void need(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "make_certificates: cannot %s\n", what);
        abort();
    }
}

/* The bytes of a memory BIO, which is freed, with a NUL behind them. */
static char *take_text(BIO *bio, size_t *length)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    need(size >= 0, "read a memory BIO");
    char *copy = malloc((size_t)size + 1);
    need(copy != NULL, "allocate memory");
    memcpy(copy, data, (size_t)size);
    copy[size] = '\0';
    *length = (size_t)size;
    BIO_free(bio);
    return copy;
}

static void add_extension(X509 *x509, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    need(extension != NULL && X509_add_ext(x509, extension, -1) == 1, "add an extension");
    X509_EXTENSION_free(extension);
}

static void add_extensions(X509 *x509, X509 *issuer, const wish *wanted)
{
    bool authority = wanted->usage == NULL;
    add_extension(x509, issuer, NID_basic_constraints,
                  authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(x509, issuer, NID_key_usage,
                  authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
    add_extension(x509, issuer, NID_subject_key_identifier, "hash");
    if (wanted->issuer != NULL) {
        add_extension(x509, issuer, NID_authority_key_identifier, "keyid");
    }
    if (!authority) {
        add_extension(x509, issuer, NID_ext_key_usage, wanted->usage);
    }
    if (wanted->alternatives != NULL) {
        add_extension(x509, issuer, NID_subject_alt_name, wanted->alternatives);
    }
}

static EVP_PKEY *make_key(const char *kind)
{
    if (kind == NULL) {
        return EVP_EC_gen("P-256");
    }
    return strcmp(kind, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_PKEY_Q_keygen(NULL, NULL, kind);
}

static void make(certificate *made, const wish *wanted)
{
    static long serial;
    const certificate *issuer = wanted->issuer != NULL ? wanted->issuer : made;
    made->key = make_key(wanted->kind);
    made->x509 = X509_new();
    need(made->key != NULL && made->x509 != NULL, "make a key");
    X509 *x509 = made->x509;
    need(X509_set_version(x509, X509_VERSION_3) == 1 &&
             ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial) == 1 &&
             X509_gmtime_adj(X509_getm_notBefore(x509), -2 * DAY) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(x509), wanted->expired ? -DAY : 2 * DAY) != NULL &&
             X509_set_pubkey(x509, made->key) == 1,
         "fill in a certificate");
    X509_NAME *name = X509_get_subject_name(x509);
    need(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wanted->name,
                                    -1, -1, 0) == 1 &&
             X509_set_issuer_name(x509, X509_get_subject_name(issuer->x509)) == 1,
         "name a certificate");
    add_extensions(x509, issuer->x509, wanted);
    need(X509_sign(x509, issuer->key, EVP_sha256()) > 0, "sign a certificate");
}

/* Writes the PEM: the certificate, what is to be behind it, and the key. */
static void write_pem(certificate *made, const certificate *behind)
{
    BIO *bio = BIO_new(BIO_s_mem());
    need(bio != NULL && PEM_write_bio_X509(bio, made->x509) == 1 &&
             (behind == NULL || PEM_write_bio_X509(bio, behind->x509) == 1),
         "write a certificate");
    made->pem = take_text(bio, &made->pem_length);
    bio = BIO_new(BIO_s_mem());
    need(bio != NULL && PEM_write_bio_PrivateKey(bio, made->key, NULL, NULL, 0, NULL, NULL) == 1,
         "write a key");
    made->key_pem = take_text(bio, &made->key_pem_length);
}

static void make_one(certificate *made, const wish *wanted, const certificate *behind)
{
    make(made, wanted);
    write_pem(made, behind);
}

const certificates *certificates_get(void)
{
    static const char localhost[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    if (all != NULL) {
        return all;
    }
    all = calloc(1, sizeof *all);
    need(all != NULL, "allocate memory");
    make_one(&all->ca, &(wish){.name = "Portico test CA"}, NULL);
    make_one(&all->stranger,
             &(wish){.name = "localhost", .alternatives = localhost, .usage = "serverAuth"}, NULL);
    make_one(&all->server,
             &(wish){.name = "localhost",
                     .alternatives = localhost,
                     .usage = "serverAuth",
                     .issuer = &all->ca},
             NULL);
    make_one(&all->client, &(wish){.name = "client", .usage = "clientAuth", .issuer = &all->ca},
             NULL);
    make_one(&all->wildcard,
             &(wish){.name = "wildcard",
                     .alternatives = "DNS:*.example.com",
                     .usage = "serverAuth",
                     .issuer = &all->ca},
             NULL);
    make_one(&all->other,
             &(wish){.name = "other.example",
                     .alternatives = "DNS:other.example",
                     .usage = "serverAuth",
                     .issuer = &all->ca},
             NULL);
    make_one(&all->expired,
             &(wish){.name = "localhost",
                     .alternatives = localhost,
                     .usage = "serverAuth",
                     .issuer = &all->ca,
                     .expired = true},
             NULL);
    make_one(&all->intermediate, &(wish){.name = "Portico test CA 2", .issuer = &all->ca}, NULL);
    make_one(&all->chained,
             &(wish){.name = "localhost",
                     .alternatives = localhost,
                     .usage = "serverAuth",
                     .issuer = &all->intermediate},
             &all->intermediate);
    return all;
}

const certificate *certificates_of_kind(const char *kind)
{
    certificate *made = strcmp(kind, "RSA") == 0 ? &of_rsa : &of_ed25519;
    if (made->x509 == NULL) {
        make_one(made,
                 &(wish){.name = "localhost",
                         .alternatives = "DNS:localhost,IP:127.0.0.1,IP:::1",
                         .usage = "serverAuth",
                         .issuer = &certificates_get()->ca,
                         .kind = kind},
                 NULL);
    }
    return made;
}

static void free_one(certificate *made)
{
    X509_free(made->x509);
    EVP_PKEY_free(made->key);
    free(made->pem);
    free(made->key_pem);
    *made = (certificate){.x509 = NULL};
}

void certificates_free(void)
{
    if (all == NULL) {
        return;
    }
    free_one(&all->ca);
    free_one(&all->stranger);
    free_one(&all->server);
    free_one(&all->client);
    free_one(&all->wildcard);
    free_one(&all->other);
    free_one(&all->expired);
    free_one(&all->intermediate);
    free_one(&all->chained);
    free_one(&of_rsa);
    free_one(&of_ed25519);
    free(all);
    all = NULL;
}

char *certificates_encrypt_key(const certificate *of, const char *password, size_t *length)
{
    BIO *bio = BIO_new(BIO_s_mem());
    need(bio != NULL && PEM_write_bio_PrivateKey(bio, of->key, EVP_aes_256_cbc(),
                                                 (const unsigned char *)password,
                                                 (int)strlen(password), NULL, NULL) == 1,
         "encrypt a key");
    return take_text(bio, length);
}

char *certificates_revoke(const certificate *issuer, const certificate *revoked, size_t *length)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *then = X509_gmtime_adj(NULL, -DAY);
    ASN1_TIME *next = X509_gmtime_adj(NULL, DAY);
    BIO *bio = BIO_new(BIO_s_mem());
    need(crl != NULL && bio != NULL && X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
             X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->x509)) == 1 &&
             X509_CRL_set1_lastUpdate(crl, then) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1,
         "make a CRL");
    if (revoked != NULL) {
        X509_REVOKED *entry = X509_REVOKED_new();
        need(entry != NULL &&
                 X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->x509)) == 1 &&
                 X509_REVOKED_set_revocationDate(entry, then) == 1 &&
                 X509_CRL_add0_revoked(crl, entry) == 1,
             "revoke a certificate");
    }
    need(X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(bio, crl) == 1,
         "sign a CRL");
    ASN1_TIME_free(then);
    ASN1_TIME_free(next);
    X509_CRL_free(crl);
    return take_text(bio, length);
}

char *certificates_ocsp(const certificate *issuer, const certificate *of, size_t *length)
{
    OCSP_BASICRESP *answers = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), of->x509, issuer->x509);
    ASN1_TIME *then = X509_gmtime_adj(NULL, -DAY);
    ASN1_TIME *next = X509_gmtime_adj(NULL, DAY);
    need(answers != NULL && id != NULL &&
             OCSP_basic_add1_status(answers, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL, then, next) !=
                 NULL &&
             OCSP_basic_sign(answers, issuer->x509, issuer->key, EVP_sha256(), NULL, 0) == 1,
         "answer as OCSP does");
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, answers);
    BIO *bio = BIO_new(BIO_s_mem());
    need(response != NULL && bio != NULL && i2d_OCSP_RESPONSE_bio(bio, response) == 1,
         "write an answer of OCSP's");
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(answers);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(then);
    ASN1_TIME_free(next);
    return take_text(bio, length);
}
