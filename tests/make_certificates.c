/* SPDX-License-Identifier: MIT */
/* make_certificates.c: see make_certificates.h. */
#include "make_certificates.h"

#include <openssl/ec.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR (60L * 60)
#define DAY (24 * HOUR)

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

static void add_bytes(X509 *x509, const char *bytes, size_t length)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();
    need(names != NULL && name != NULL && string != NULL &&
             ASN1_STRING_set(string, bytes, (int)length) == 1,
         "make a name");
    GENERAL_NAME_set0_value(name, GEN_DNS, string);
    need(sk_GENERAL_NAME_push(names, name) > 0 &&
             X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0) == 1,
         "add a name");
    GENERAL_NAMES_free(names);
}

static void add_extensions(X509 *x509, X509 *issuer, const recipe *wanted)
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
    if (wanted->bytes != NULL) {
        add_bytes(x509, wanted->bytes, wanted->bytes_length);
    }
}

static EVP_PKEY *make_key(const recipe *wanted)
{
    if (wanted->rsa_bits != 0) {
        return EVP_RSA_gen((unsigned)wanted->rsa_bits);
    }
    if (wanted->kind == NULL) {
        return EVP_EC_gen("P-256");
    }
    return strcmp(wanted->kind, "RSA") == 0 ? EVP_RSA_gen(2048)
                                            : EVP_PKEY_Q_keygen(NULL, NULL, wanted->kind);
}

/*
 * Wine's crypt32 lays the halves of an ECDSA signature side by side, as long as each is. Where one
 * begins with a byte of 0 (at P-256 in one signature of 128) it takes it for wrong.
 */
static bool has_short_half(const X509 *x509, const EVP_PKEY *key)
{
    const ASN1_BIT_STRING *signature;
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
        return false;
    }
    X509_get0_signature(&signature, NULL, x509);
    const unsigned char *bytes = ASN1_STRING_get0_data(signature);
    ECDSA_SIG *halves = d2i_ECDSA_SIG(NULL, &bytes, ASN1_STRING_length(signature));
    need(halves != NULL, "read a signature");
    int whole = (EVP_PKEY_get_bits(key) + 7) / 8;
    bool is_short = BN_num_bytes(ECDSA_SIG_get0_r(halves)) < whole ||
                    BN_num_bytes(ECDSA_SIG_get0_s(halves)) < whole;
    ECDSA_SIG_free(halves);
    return is_short;
}

static void sign(X509 *x509, EVP_PKEY *key, const EVP_MD *digest)
{
    do {
        need(X509_sign(x509, key, digest) > 0, "sign a certificate");
    } while (has_short_half(x509, key));
}

static void make(certificate *made, const recipe *wanted)
{
    static long serial;
    const certificate *issuer = wanted->issuer != NULL ? wanted->issuer : made;
    bool timed = wanted->begins != 0 || wanted->ends != 0;
    int begins = timed ? wanted->begins : -2;
    int ends = timed ? wanted->ends : 2;
    made->key = make_key(wanted);
    made->x509 = X509_new();
    need(made->key != NULL && made->x509 != NULL, "make a key");
    X509 *x509 = made->x509;
    need(X509_set_version(x509, X509_VERSION_3) == 1 &&
             ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial) == 1 &&
             X509_gmtime_adj(X509_getm_notBefore(x509), begins * DAY) != NULL &&
             X509_gmtime_adj(X509_getm_notAfter(x509), ends * DAY) != NULL &&
             X509_set_pubkey(x509, made->key) == 1,
         "fill in a certificate");
    X509_NAME *name = X509_get_subject_name(x509);
    need(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)wanted->name,
                                    -1, -1, 0) == 1 &&
             X509_set_issuer_name(x509, X509_get_subject_name(issuer->x509)) == 1,
         "name a certificate");
    add_extensions(x509, issuer->x509, wanted);
    sign(x509, issuer->key, wanted->sha1 ? EVP_sha1() : EVP_sha256());
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

void certificate_make(certificate *made, const recipe *wanted, const certificate *behind)
{
    make(made, wanted);
    write_pem(made, behind);
}

X509_CRL *certificate_make_crl(const certificate *issuer, const certificate *revoked)
{
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -HOUR);
    ASN1_TIME *later = X509_gmtime_adj(NULL, DAY);
    X509_REVOKED *entry = X509_REVOKED_new();
    need(list != NULL && now != NULL && later != NULL && entry != NULL &&
             X509_CRL_set_version(list, X509_CRL_VERSION_2) == 1 &&
             X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer->x509)) == 1 &&
             X509_CRL_set1_lastUpdate(list, now) == 1 && X509_CRL_set1_nextUpdate(list, later) == 1,
         "make a list of what is revoked");
    if (revoked != NULL) {
        need(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->x509)) == 1 &&
                 X509_REVOKED_set_revocationDate(entry, now) == 1 &&
                 X509_CRL_add0_revoked(list, entry) == 1,
             "revoke a certificate");
    } else {
        X509_REVOKED_free(entry);
    }
    need(X509_CRL_sign(list, issuer->key, EVP_sha256()) > 0, "sign a list of what is revoked");
    ASN1_TIME_free(now);
    ASN1_TIME_free(later);
    return list;
}

const certificates *certificates_get(void)
{
    static const char localhost[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    if (all != NULL) {
        return all;
    }
    all = calloc(1, sizeof *all);
    need(all != NULL, "allocate memory");
    certificate_make(&all->ca, &(recipe){.name = "Portico test CA"}, NULL);
    certificate_make(
        &all->stranger,
        &(recipe){.name = "localhost", .alternatives = localhost, .usage = "serverAuth"}, NULL);
    certificate_make(&all->server,
                     &(recipe){.name = "localhost",
                               .alternatives = localhost,
                               .usage = "serverAuth",
                               .issuer = &all->ca},
                     NULL);
    certificate_make(&all->client,
                     &(recipe){.name = "client", .usage = "clientAuth", .issuer = &all->ca}, NULL);
    certificate_make(&all->wildcard,
                     &(recipe){.name = "wildcard",
                               .alternatives = "DNS:*.example.com",
                               .usage = "serverAuth",
                               .issuer = &all->ca},
                     NULL);
    certificate_make(&all->other,
                     &(recipe){.name = "other.example",
                               .alternatives = "DNS:other.example",
                               .usage = "serverAuth",
                               .issuer = &all->ca},
                     NULL);
    certificate_make(&all->expired,
                     &(recipe){.name = "localhost",
                               .alternatives = localhost,
                               .usage = "serverAuth",
                               .issuer = &all->ca,
                               .begins = -2,
                               .ends = -1},
                     NULL);
    certificate_make(&all->intermediate, &(recipe){.name = "Portico test CA 2", .issuer = &all->ca},
                     NULL);
    certificate_make(&all->chained,
                     &(recipe){.name = "localhost",
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
        certificate_make(made,
                         &(recipe){.name = "localhost",
                                   .alternatives = "DNS:localhost,IP:127.0.0.1,IP:::1",
                                   .usage = "serverAuth",
                                   .issuer = &certificates_get()->ca,
                                   .kind = kind},
                         NULL);
    }
    return made;
}

void certificate_clear(certificate *made)
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
    certificate_clear(&all->ca);
    certificate_clear(&all->stranger);
    certificate_clear(&all->server);
    certificate_clear(&all->client);
    certificate_clear(&all->wildcard);
    certificate_clear(&all->other);
    certificate_clear(&all->expired);
    certificate_clear(&all->intermediate);
    certificate_clear(&all->chained);
    certificate_clear(&of_rsa);
    certificate_clear(&of_ed25519);
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
