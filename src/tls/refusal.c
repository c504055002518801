/* SPDX-License-Identifier: MIT */
/*
 * refusal.c: what is wrong with a certificate, as a sentence. It says what the certificate has, and
 * what was wanted. All of that is the peer's, and written so that nothing in it can look like more
 * than it is: what is no text is escaped.
 */
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <portico/address.h>

#include "support/error.h"
#include "tls/verdict.h"

/* Names of a certificate that are told; of each so much. */
#define NAMES_MOST 3
#define NAME_SIZE 65

typedef struct sentence {
    char *text;
    size_t size;
    size_t length;
} sentence;

static void add(sentence *self, const char *format, ...) PCO__PRINTF(2, 3);

static void add(sentence *self, const char *format, ...)
{
    size_t room = self->size - self->length;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(self->text + self->length, room, format, arguments);
    va_end(arguments);
    if (length > 0) {
        self->length += (size_t)length < room ? (size_t)length : room - 1;
    }
}

/* ---- What is in a certificate ---- */

/* A string, with all that is not to be printed, a zero too, as \XX. */
static void print_string(const ASN1_STRING *string, char *text, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int length = 0;
    if (bio != NULL &&
        ASN1_STRING_print_ex(bio, string, ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_MSB) >= 0) {
        length = BIO_read(bio, text, (int)size - 1);
    }
    text[length > 0 ? length : 0] = '\0';
    BIO_free(bio);
}

/* The common name, or else all of it. */
static void print_name(const X509_NAME *name, char *text, size_t size)
{
    int place = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (place >= 0) {
        print_string(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place)), text, size);
    } else {
        X509_NAME_oneline(name, text, (int)size);
    }
}

static void print_address(const ASN1_OCTET_STRING *octets, char *text, size_t size)
{
    const unsigned char *at = ASN1_STRING_get0_data(octets);
    int length = ASN1_STRING_length(octets);
    char plain[PCO_ADDRESS_TEXT_SIZE] = "";
    size_t used = 0;
    pco_address address;
    if (length == 4) {
        snprintf(plain, sizeof plain, "%d.%d.%d.%d", at[0], at[1], at[2], at[3]);
    } else if (length == 16) {
        for (int i = 0; i < 16; i += 2) {
            used += (size_t)snprintf(plain + used, sizeof plain - used, i == 0 ? "%x" : ":%x",
                                     (unsigned)at[i] << 8 | at[i + 1]);
        }
    }
    if (pco_address_parse(plain, 0, &address) != 0 || pco_address_host(&address, text, size) != 0) {
        snprintf(text, size, "?");
    }
}

/* A name by which hosts are meant; false: it is of another kind. */
static bool print_host(const GENERAL_NAME *name, char *text, size_t size)
{
    if (name->type == GEN_DNS) {
        print_string(name->d.dNSName, text, size);
    } else if (name->type == GEN_IPADD) {
        print_address(name->d.iPAddress, text, size);
    }
    return name->type == GEN_DNS || name->type == GEN_IPADD;
}

static void print_time(const ASN1_TIME *time, char *text, size_t size)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) == 1) {
        snprintf(text, size, "%04d-%02d-%02d %02d:%02d:%02d UTC", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    } else {
        snprintf(text, size, "?");
    }
}

/* ---- What is said about it ---- */

static void add_hosts(sentence *self, X509 *one, const char *host)
{
    char text[NAME_SIZE];
    GENERAL_NAMES *names = X509_get_ext_d2i(one, NID_subject_alt_name, NULL, NULL);
    int count = sk_GENERAL_NAME_num(names);
    int told = 0;
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (!print_host(sk_GENERAL_NAME_value(names, i), text, sizeof text)) {
            continue;
        }
        if (told < NAMES_MOST) {
            add(self, "%s'%s'", told == 0 ? "the certificate is for " : ", ", text);
            told++;
        } else {
            left++;
        }
    }
    GENERAL_NAMES_free(names);
    if (told == 0) {
        add(self, "the certificate names no host (a common name is none)");
    }
    if (left != 0) {
        add(self, " and %d more", left);
    }
    if (host != NULL) {
        add(self, ", not %s'%s'", told == 0 ? "even " : "for ", host);
    }
}

static void add_key(sentence *self, X509 *one, const char *name)
{
    EVP_PKEY *key = X509_get0_pubkey(one);
    const char *kind = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;
    add(self, "'%s' has a key of %s, %d bits", name, kind != NULL ? kind : "an unknown kind",
        key != NULL ? EVP_PKEY_get_bits(key) : 0);
}

static void add_detail(sentence *self, int error, X509 *one, const char *host, bool of_server)
{
    char name[NAME_SIZE];
    char other[NAME_SIZE];
    print_name(X509_get_subject_name(one), name, sizeof name);
    print_name(X509_get_issuer_name(one), other, sizeof other);
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        add_hosts(self, one, host);
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        print_time(X509_get0_notAfter(one), other, sizeof other);
        add(self, "'%s' was valid until %s", name, other);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        print_time(X509_get0_notBefore(one), other, sizeof other);
        add(self, "'%s' is valid from %s on", name, other);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        add(self, "'%s' is not among those that are trusted", name);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        add(self, "'%s', which has signed '%s', is not trusted, and was not sent", other, name);
        break;
    case X509_V_ERR_INVALID_PURPOSE:
        add(self, "'%s' is not for %s", name, of_server ? "servers" : "clients");
        break;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
        add_key(self, one, name);
        break;
    case X509_V_ERR_CA_MD_TOO_WEAK:
        add(self, "'%s' is signed by %s", name, OBJ_nid2ln(X509_get_signature_nid(one)));
        break;
    default:
        add(self, "'%s'", name);
        break;
    }
}

void pco__ssl_describe_refusal(int error, X509 *one, const char *host, bool of_server, char *text,
                               size_t size)
{
    sentence self = {.text = text, .size = size};
    add(&self, "%s", X509_verify_cert_error_string(error));
    if (one != NULL) {
        add(&self, ": ");
        add_detail(&self, error, one, host, of_server);
    }
}
