/* SPDX-License-Identifier: MIT */
/* hello.c: see hellos.h. */
#include "tls/connection.h"

#include <string.h>

#include "support/memory.h"

/* More than OpenSSL takes of a hello, and the headers of records that come one by one. */
#define BYTES_MOST ((size_t)1024 * 1024)

pco__ssl_hello *pco__ssl_hello_new(void)
{
    return pco__calloc(sizeof(pco__ssl_hello));
}

void pco__ssl_hello_free(pco__ssl_hello *hello)
{
    if (hello != NULL) {
        pco__free(hello->bytes);
        pco__free(hello);
    }
}

int pco__ssl_hello_keep(pco__ssl_hello *hello, const unsigned char *data, size_t length)
{
    if (length > BYTES_MOST - hello->length) {
        return PCO_ETLS;
    }
    if (length > hello->room - hello->length) {
        size_t room = 2 * hello->length + length;
        unsigned char *bytes = pco__realloc(hello->bytes, room);
        if (bytes == NULL) {
            return PCO_ENOMEM;
        }
        hello->bytes = bytes;
        hello->room = room;
    }
    if (length != 0) {
        memcpy(hello->bytes + hello->length, data, length);
        hello->length += length;
    }
    return 0;
}

void pco__ssl_hello_is_read(pco__ssl_hello *hello)
{
    hello->is_read = true;
    hello->again = (pco__ssl_input){.data = hello->bytes, .length = hello->length};
}

/* The name in the server_name extension (RFC 6066, 3). */
static void read_server_name(SSL *engine, pco__ssl_hello *hello)
{
    const unsigned char *data;
    size_t length;
    if (SSL_client_hello_get0_ext(engine, TLSEXT_TYPE_server_name, &data, &length) != 1) {
        return;
    }

    /* The list's length, and its one entry: type, length, name. */
    if (length < 5 || data[2] != TLSEXT_NAMETYPE_host_name) {
        return;
    }
    size_t name_length = ((size_t)data[3] << 8) | data[4];
    if (name_length > length - 5 ||
        !pco__ssl_normalize_name(data + 5, name_length, false, hello->server_name)) {
        hello->server_name[0] = '\0';
    }
}

/* The extension's data behind the length of its list, which takes `size` bytes. */
static size_t read_list(SSL *engine, unsigned type, size_t size, const unsigned char **list)
{
    size_t length;
    if (SSL_client_hello_get0_ext(engine, type, list, &length) != 1 || length < size) {
        return 0;
    }
    *list += size;
    return length - size;
}

/* What the user sees of it, if he is asked. NULL: out of memory. */
static pco_ssl_hello *describe(SSL *engine, const char *server_name)
{
    unsigned legacy = SSL_client_hello_get0_legacy_version(engine);
    const unsigned char version[] = {(unsigned char)(legacy >> 8), (unsigned char)legacy};
    const unsigned char *alpn = NULL;
    const unsigned char *versions = NULL;
    size_t alpn_length =
        read_list(engine, TLSEXT_TYPE_application_layer_protocol_negotiation, 2, &alpn);
    size_t versions_length = read_list(engine, TLSEXT_TYPE_supported_versions, 1, &versions);
    if (versions_length == 0) {
        versions = version;
        versions_length = sizeof version;
    }
    return pco__ssl_describe_client(server_name[0] != '\0' ? server_name : NULL, alpn, alpn_length,
                                    versions, versions_length);
}

/* OpenSSL calls it before it does anything about the hello but to take it apart. */
static int read_hello(SSL *engine, int *alert, void *unused)
{
    pco__ssl_call *call = pco__ssl_call_of(engine);
    pco__ssl_handshake *handshake = call->ssl->handshake;
    (void)unused;
    if (handshake->choice.state == PCO__SSL_REFUSED) {
        call->sentence = handshake->choice.sentence;
        *alert = handshake->choice.alert;
        return SSL_CLIENT_HELLO_ERROR;
    }
    read_server_name(engine, handshake->hello);
    call->error =
        pco__ssl_choice_prepare(call->ssl, describe(engine, handshake->hello->server_name));
    *alert = SSL_AD_INTERNAL_ERROR;
    return call->error == 0 ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_ERROR;
}

SSL_CTX *pco__ssl_hello_ctx(pco__ssl_loop *shared)
{
    if (shared->hello_ctx == NULL) {
        shared->hello_ctx = SSL_CTX_new(TLS_server_method());
        if (shared->hello_ctx != NULL) {
            SSL_CTX_set_client_hello_cb(shared->hello_ctx, read_hello, NULL);
        }
    }
    return shared->hello_ctx;
}

/* With TLS 1.2 it is said once, and the name of a session that is resumed is that session's. */
bool pco__ssl_hello_holds(const pco__ssl_hello *hello, const SSL *engine)
{
    char now[PCO__SSL_NAME_SIZE];
    const char *name = SSL_get_servername(engine, TLSEXT_NAMETYPE_host_name);
    if (SSL_version(engine) < TLS1_3_VERSION) {
        return true;
    }
    if (name == NULL ||
        !pco__ssl_normalize_name((const unsigned char *)name, strlen(name), false, now)) {
        now[0] = '\0';
    }
    return strcmp(now, hello->server_name) == 0;
}
