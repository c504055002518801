/* SPDX-License-Identifier: MIT */
/*
 * parsed.c: what a certificate says.
 *
 * Whoever made it may have written anything into it. A text is never cut where it has a zero in it,
 * which is how one name has been taken for another: what cannot be printed is escaped. All of it
 * lies in one piece of memory, so it is written twice, the first time to see how long it becomes.
 */
#include "tls/parsed.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <portico/address.h>
#include <stdio.h>
#include <string.h>

#include "support/memory.h"
#include "tls/contexts.h"

/* ---- Times ---- */

/* Days from the beginning of 1970 to a day of the calendar that is in use (proleptic). */
static int64_t days_until(int64_t year, int month, int day)
{
    int64_t shifted = month <= 2 ? year - 1 : year; /* years begin in March: leap days come last */
    int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
    int64_t of_era = shifted - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t pco__ssl_seconds(const ASN1_TIME *time, int64_t garbled)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1) {
        return garbled;
    }
    int64_t days = days_until((int64_t)parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
    return ((days * 24 + parts.tm_hour) * 60 + parts.tm_min) * 60 + parts.tm_sec;
}

/* ---- Text ---- */

/* Where text goes; with `to` NULL it is only measured. */
typedef struct writer {
    char *to;
    size_t used;
    bool failed; /* out of memory */
} writer;

static void put(writer *out, const void *text, size_t length)
{
    if (out->to != NULL && length != 0) {
        memcpy(out->to + out->used, text, length);
    }
    out->used += length;
}

static const char *end_text(writer *out, size_t start)
{
    put(out, "", 1);
    return out->to != NULL ? out->to + start : "";
}

/* As RFC 4514 has it, a backslash and two digits for each byte that is not to be printed. */
static void put_escaped(writer *out, const unsigned char *text, size_t length, bool is_utf8)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < length; i++) {
        unsigned char c = text[i];
        if (c < 0x20 || c == 0x7f || c == '\\' || (c >= 0x80 && !is_utf8)) {
            char escaped[] = {'\\', digits[c >> 4], digits[c & 15]};
            put(out, escaped, sizeof escaped);
        } else {
            put(out, &text[i], 1);
        }
    }
}

/* ---- Names ---- */

/* What has to be known before anything is written. */
typedef struct pieces {
    BIO *subject;
    BIO *issuer;
    unsigned char *common_name; /* NULL: none */
    size_t common_name_length;
    bool common_name_is_utf8;
    GENERAL_NAMES *names; /* NULL: none */
    char *serial_number;
    size_t der_length;
} pieces;

static void drop(pieces *got)
{
    BIO_free(got->subject);
    BIO_free(got->issuer);
    OPENSSL_free(got->common_name);
    GENERAL_NAMES_free(got->names);
    OPENSSL_free(got->serial_number);
}

/*
 * OpenSSL did not do it; whether that was for want of memory, and not because it is garbled. From
 * 3.2 on a list that cannot grow is told by the library alone in which that was; of what is garbled
 * the first that is said is what is wrong.
 */
static bool is_out_of_memory(void)
{
    pco__ssl_reason reason = pco__ssl_take_reason();
    return reason.code == PCO_ENOMEM || (reason.system_code & ERR_RFLAG_COMMON) != 0;
}

/* OpenSSL has decoded the name, so all that can fail is memory. */
static BIO *print_name(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL &&
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) <
            0) {
        BIO_free(bio);
        bio = NULL;
    }
    return bio;
}

/* Of a string that is no text: its bytes. */
static unsigned char *copy_bytes(const ASN1_STRING *text)
{
    size_t length = (size_t)ASN1_STRING_length(text);
    unsigned char *copy = OPENSSL_malloc(length + 1);
    if (copy != NULL && length != 0) {
        memcpy(copy, ASN1_STRING_get0_data(text), length);
    }
    return copy;
}

/* The last of several counts: it is the most specific one. False: out of memory. */
static bool get_common_name(const X509_NAME *subject, pieces *got)
{
    int place = -1;
    int next = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    while (next >= 0) {
        place = next;
        next = X509_NAME_get_index_by_NID(subject, NID_commonName, place);
    }
    if (place < 0) {
        return true;
    }
    const ASN1_STRING *text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place));
    int length = ASN1_STRING_to_UTF8(&got->common_name, text);
    got->common_name_is_utf8 = length >= 0;
    if (length < 0 && !is_out_of_memory()) {
        length = ASN1_STRING_length(text);
        got->common_name = copy_bytes(text);
    }
    got->common_name_length = (size_t)length;
    return got->common_name != NULL;
}

static bool get_serial_number(const X509 *certificate, pieces *got)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    got->serial_number = number != NULL ? BN_bn2hex(number) : NULL;
    BN_free(number);
    return got->serial_number != NULL;
}

/* False: out of memory, since everything else that can fail is shown as what it is. */
static bool get_pieces(X509 *certificate, pieces *got)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int der_length = i2d_X509(certificate, NULL);
    got->subject = print_name(subject);
    got->issuer = print_name(X509_get_issuer_name(certificate));
    got->der_length = (size_t)der_length;
    got->names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (got->names == NULL && is_out_of_memory()) {
        return false;
    }
    return der_length > 0 && got->subject != NULL && got->issuer != NULL &&
           get_common_name(subject, got) && get_serial_number(certificate, got);
}

static const char *put_bio(writer *out, BIO *bio)
{
    size_t start = out->used;
    char *text;
    long length = BIO_get_mem_data(bio, &text);
    put(out, text, (size_t)length);
    return end_text(out, start);
}

/* As the library writes addresses everywhere. Of another length it is none: nothing is written. */
static bool put_address(writer *out, const unsigned char *bytes, int length)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    pco_address address;
    if (length == 4) {
        snprintf(text, sizeof text, "%d.%d.%d.%d", bytes[0], bytes[1], bytes[2], bytes[3]);
    } else if (length == 16) {
        size_t used = 0;
        for (size_t i = 0; i < 16; i += 2) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%x", i != 0 ? ":" : "",
                                     bytes[i] << 8 | bytes[i + 1]);
        }
    } else {
        return false;
    }
    if (pco_address_parse(text, 0, &address) == 0 &&
        pco_address_host(&address, text, sizeof text) == 0) {
        put(out, text, strlen(text));
    } else {
        out->failed = true; /* writes no more than it has measured */
    }
    return true;
}

/* The kind of the name, PCO_SSL_NAME_*; 0: one that is not told. */
static int put_name(writer *out, const GENERAL_NAME *name)
{
    int kind;
    const ASN1_STRING *text = GENERAL_NAME_get0_value(name, &kind);
    switch (kind) {
    case GEN_DNS:
    case GEN_URI:
    case GEN_EMAIL:
        put_escaped(out, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text), false);
        return kind == GEN_DNS   ? PCO_SSL_NAME_DNS
               : kind == GEN_URI ? PCO_SSL_NAME_URI
                                 : PCO_SSL_NAME_EMAIL;
    case GEN_IPADD:
        return put_address(out, ASN1_STRING_get0_data(text), ASN1_STRING_length(text))
                   ? PCO_SSL_NAME_IP
                   : 0;
    default:
        return 0;
    }
}

/* Returns how many there are. `list` is NULL while they are measured. */
static size_t put_names(writer *out, const GENERAL_NAMES *names, pco_ssl_name *list)
{
    size_t count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        size_t start = out->used;
        int type = put_name(out, sk_GENERAL_NAME_value(names, i));
        if (type == 0) {
            continue;
        }
        const char *text = end_text(out, start);
        if (list != NULL) {
            list[count] = (pco_ssl_name){.type = type, .text = text};
        }
        count++;
    }
    return count;
}

/* ---- All of it ---- */

/* Fills in what is text, and the names. */
static void put_all(writer *out, const pieces *got, pco_ssl_name *list,
                    pco_ssl_certificate_info *info)
{
    info->subject = put_bio(out, got->subject);
    info->issuer = put_bio(out, got->issuer);
    if (got->common_name != NULL) {
        size_t start = out->used;
        put_escaped(out, got->common_name, got->common_name_length, got->common_name_is_utf8);
        info->common_name = end_text(out, start);
    }
    size_t start = out->used;
    put(out, got->serial_number, strlen(got->serial_number));
    info->serial_number = end_text(out, start);
    info->names_count = put_names(out, got->names, list);
    info->names = info->names_count != 0 ? list : NULL;
}

static pco__ssl_parsed *make(X509 *certificate, const pieces *got)
{
    pco_ssl_certificate_info info = {.size = sizeof info};
    writer out = {.to = NULL};
    put_all(&out, got, NULL, &info);
    size_t names_size = info.names_count * sizeof(pco_ssl_name);
    size_t size = sizeof(pco__ssl_parsed) + names_size + out.used + got->der_length;
    pco__ssl_parsed *made = out.failed ? NULL : pco__calloc(size);
    if (made == NULL) {
        return NULL;
    }
    pco_ssl_name *list = (pco_ssl_name *)(made + 1);
    out = (writer){.to = (char *)list + names_size};
    put_all(&out, got, list, &info);
    info.not_before = pco__ssl_seconds(X509_get0_notBefore(certificate), INT64_MAX);
    info.not_after = pco__ssl_seconds(X509_get0_notAfter(certificate), INT64_MIN);
    unsigned char *der = (unsigned char *)out.to + out.used;
    info.der = der;
    info.der_length = got->der_length;
    if (out.failed || i2d_X509(certificate, &der) != (int)got->der_length ||
        X509_digest(certificate, EVP_sha256(), info.sha256, NULL) != 1) {
        pco__free(made);
        return NULL;
    }
    made->info = info;
    return made;
}

pco__ssl_parsed *pco__ssl_parse(X509 *certificate)
{
    pieces got = {.subject = NULL};
    ERR_clear_error();
    pco__ssl_parsed *made = get_pieces(certificate, &got) ? make(certificate, &got) : NULL;
    drop(&got);
    ERR_clear_error(); /* what is garbled leaves something there */
    return made;
}
