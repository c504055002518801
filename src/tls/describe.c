/* SPDX-License-Identifier: MIT */
/*
 * describe.c: what the user sees of the other end before anything is agreed on: pco_ssl_hello.
 * Each is made in one piece: the struct, then its arrays, then the bytes that these point to.
 */
#include "tls/choices.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "support/memory.h"

/* ---- A client ---- */

/* The length of the next entry that can be shown, or 0 behind the last; moves *place to it. */
static size_t next_protocol(const unsigned char *alpn, size_t alpn_length, size_t *place)
{
    while (*place < alpn_length) {
        size_t length = alpn[*place];
        if (length > alpn_length - *place - 1) {
            break;
        }
        if (length != 0 && memchr(alpn + *place + 1, 0, length) == NULL) {
            return length;
        }
        *place += 1 + length;
    }
    return 0;
}

const unsigned char *pco__ssl_described_protocol(const unsigned char *alpn, size_t alpn_length,
                                                 size_t index)
{
    size_t place = 0;
    size_t length;
    while ((length = next_protocol(alpn, alpn_length, &place)) != 0 && index != 0) {
        place += 1 + length;
        index--;
    }
    return length != 0 ? alpn + place : NULL;
}

/* Values that mean nothing and are there so that nobody gets used to their absence (RFC 8701). */
static bool is_grease(unsigned version)
{
    return (version & 0x0f0f) == 0x0a0a && version >> 8 == (version & 0xff);
}

typedef struct client_parts {
    pco_ssl_hello hello;
    char server_name[256];
} client_parts;

pco_ssl_hello *pco__ssl_describe_client(const char *server_name, const unsigned char *alpn,
                                        size_t alpn_length, const unsigned char *versions,
                                        size_t versions_length)
{
    size_t count = 0;
    size_t place = 0;
    size_t length;
    while ((length = next_protocol(alpn, alpn_length, &place)) != 0) {
        place += 1 + length;
        count++;
    }
    client_parts *made = pco__calloc(sizeof *made + count * sizeof(char *) +
                                     versions_length / 2 * sizeof(uint16_t) + alpn_length);
    if (made == NULL) {
        return NULL;
    }
    const char **names = (const char **)(made + 1);
    uint16_t *numbers = (uint16_t *)(names + count);
    char *text = (char *)(numbers + versions_length / 2);
    place = 0;
    for (size_t i = 0; i < count; i++) {
        length = next_protocol(alpn, alpn_length, &place);
        memcpy(text, alpn + place + 1, length);
        names[i] = text;
        text += length + 1;
        place += 1 + length;
    }
    pco_ssl_hello *hello = &made->hello;
    for (size_t i = 0; i + 2 <= versions_length; i += 2) {
        unsigned version = (unsigned)versions[i] << 8 | versions[i + 1];
        if (!is_grease(version)) {
            numbers[hello->versions_count++] = (uint16_t)version;
        }
    }
    hello->size = sizeof *hello;
    if (server_name != NULL) {
        snprintf(made->server_name, sizeof made->server_name, "%s", server_name);
        hello->server_name = made->server_name;
    }
    hello->alpn = names;
    hello->alpn_count = count;
    hello->versions = numbers;
    return hello;
}

/* ---- A server ---- */

/* The name as RFC 2253 has it, in UTF-8. Returns how many bytes, or -1. */
static int print_name(BIO *bio, const X509_NAME *name)
{
    (void)BIO_reset(bio);
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (X509_NAME_print_ex(bio, name, 0, flags) < 0) {
        return -1;
    }
    char *text;
    return (int)BIO_get_mem_data(bio, &text);
}

/* The bytes that the names take in both forms. False: out of memory. */
static bool measure(BIO *bio, const STACK_OF(X509_NAME) * names, size_t *total)
{
    *total = 0;
    for (int i = 0; i < sk_X509_NAME_num(names); i++) {
        int der = i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);
        int text = print_name(bio, sk_X509_NAME_value(names, i));
        if (der < 0 || text < 0) {
            return false;
        }
        *total += (size_t)der + (size_t)text + 1;
    }
    return true;
}

typedef struct server_parts {
    pco_ssl_hello hello;
    char server_name[256];
} server_parts;

/* Fills in the arrays and what they point to. False: out of memory. */
static bool fill(server_parts *made, BIO *bio, const STACK_OF(X509_NAME) * names, size_t count)
{
    pco_buffer *encoded = (pco_buffer *)(made + 1);
    const char **texts = (const char **)(encoded + count);
    unsigned char *to = (unsigned char *)(texts + count);
    for (size_t i = 0; i < count; i++) {
        const X509_NAME *name = sk_X509_NAME_value(names, (int)i);
        char *printed;
        encoded[i].data = to;
        encoded[i].length = (size_t)i2d_X509_NAME(name, &to);
        int length = print_name(bio, name);
        if (length < 0) {
            return false;
        }
        BIO_get_mem_data(bio, &printed);
        if (length != 0) { /* a name may have no parts */
            memcpy(to, printed, (size_t)length);
        }
        texts[i] = (const char *)to;
        to += length + 1;
    }
    made->hello.authorities = encoded;
    made->hello.authority_names = texts;
    made->hello.authorities_count = count;
    return true;
}

pco_ssl_hello *pco__ssl_describe_server(const SSL *engine)
{
    const STACK_OF(X509_NAME) *names = SSL_get_client_CA_list(engine);
    size_t count = names != NULL ? (size_t)sk_X509_NAME_num(names) : 0;
    size_t total = 0;
    server_parts *made = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || (count != 0 && !measure(bio, names, &total))) {
        goto done;
    }
    made = pco__calloc(sizeof *made + count * (sizeof(pco_buffer) + sizeof(char *)) + total);
    if (made == NULL) {
        goto done;
    }
    if (count != 0 && !fill(made, bio, names, count)) {
        pco__free(made);
        made = NULL;
        goto done;
    }
    const char *name = SSL_get_servername(engine, TLSEXT_NAMETYPE_host_name);
    if (name != NULL) {
        snprintf(made->server_name, sizeof made->server_name, "%s", name);
        made->hello.server_name = made->server_name;
    }
    made->hello.size = sizeof made->hello;
done:
    BIO_free(bio);
    return made != NULL ? &made->hello : NULL;
}
