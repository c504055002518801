/* SPDX-License-Identifier: MIT */
/* alpn.c: application protocols (RFC 7301): which are spoken, and which is chosen. */
#include <limits.h>
#include <string.h>

#include "support/memory.h"
#include "support/options.h"
#include "tls/connection.h"

/* The most that the extension can hold. */
#define ALPN_MOST ((size_t)65535)

/* Returns as OpenSSL wants it. */
static int choose_none(bool required)
{
    return required ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

/* The user chooses. */
static int choose_by_callback(SSL *engine, const unsigned char **chosen,
                              unsigned char *chosen_length, const unsigned char *offered,
                              size_t offered_length)
{
    pco__ssl_call *call = pco__ssl_call_of(engine);
    int version = SSL_version(engine);
    const unsigned char versions[] = {(unsigned char)(version >> 8), (unsigned char)version};
    const char *asked = SSL_get_servername(engine, TLSEXT_NAMETYPE_host_name);
    char name[PCO__SSL_NAME_SIZE];
    bool is_name = asked != NULL && pco__ssl_normalize_name((const unsigned char *)asked,
                                                            strlen(asked), false, name);
    pco_ssl_hello *hello = pco__ssl_describe_client(is_name ? name : NULL, offered, offered_length,
                                                    versions, sizeof versions);
    if (hello == NULL) {
        call->error = PCO_ENOMEM;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    int index = call->setup->choose_alpn(hello, call->setup->callback_context);
    pco__free(hello);
    if (index == PCO_SSL_ALPN_NONE) {
        return choose_none(call->setup->alpn_required);
    }
    const unsigned char *found = NULL;
    if (index >= 0) {
        found = pco__ssl_described_protocol(offered, offered_length, (size_t)index);
    }
    if (found == NULL) {
        call->sentence = index == PCO_SSL_ALPN_REFUSE
                             ? "choose_alpn has refused"
                             : "choose_alpn has returned no index of what is offered";
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = found + 1;
    *chosen_length = found[0];
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL calls it when the client offers protocols: the server's first that fits is chosen. */
static int choose_protocol(SSL *engine, const unsigned char **chosen, unsigned char *chosen_length,
                           const unsigned char *offered, unsigned int offered_length, void *context)
{
    const pco__ssl_setup *setup = pco__ssl_call_of(engine)->setup;
    (void)context;
    unsigned char *found;
    if (setup->choose_alpn != NULL) {
        return choose_by_callback(engine, chosen, chosen_length, offered, offered_length);
    }
    if (SSL_select_next_proto(&found, chosen_length, setup->alpn, (unsigned)setup->alpn_length,
                              offered, offered_length) == OPENSSL_NPN_NEGOTIATED) {
        *chosen = found;
        return SSL_TLSEXT_ERR_OK;
    }
    return choose_none(setup->alpn_required);
}

static int check_choice(const pco_ssl_context_options *options, bool client, pco_error *error)
{
    if (client) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "choose_alpn is for servers: a client offers alpn_protocols");
    }
    return options->alpn_protocols_count == 0
               ? 0
               : pco__error_set(error, PCO_EINVAL, 0,
                                "alpn_protocols and choose_alpn are both given");
}

static int measure_alpn(const pco_ssl_context_options *options, bool client, size_t *total,
                        pco_error *error)
{
    size_t count = options->alpn_protocols_count;
    *total = 0;
    if (count != 0 && options->alpn_protocols == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "alpn_protocols_count is %zu, but alpn_protocols is NULL", count);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = options->alpn_protocols[i];
        size_t length = name != NULL ? strlen(name) : 0;
        if (length == 0 || length > UCHAR_MAX) {
            return pco__error_set(error, PCO_EINVAL, 0,
                                  "alpn_protocols[%zu] has not 1 to 255 bytes", i);
        }
        *total += 1 + length;
        if (*total > ALPN_MOST) {
            return pco__error_set(error, PCO_EINVAL, 0, "alpn_protocols are too many");
        }
    }
    if (options->choose_alpn != NULL) {
        return check_choice(options, client, error);
    }
    if (options->alpn_required == PCO_ON && count == 0) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "alpn_required is on, but there are no alpn_protocols");
    }
    return 0;
}

/* OpenSSL calls it with each hello, of which choose_protocol hears only if any are offered. */
static int demand_protocols(SSL *engine, int *alert, void *unused)
{
    const unsigned char *data;
    size_t length;
    (void)unused;
    if (SSL_client_hello_get0_ext(engine, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                  &length) == 1) {
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    pco__ssl_call_of(engine)->sentence = "the client offers no application protocol";
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

static int keep_protocols(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                          bool client, size_t total, pco_error *error)
{
    setup->alpn = pco__malloc(total);
    if (setup->alpn == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "alpn_protocols");
    }
    for (size_t i = 0; i < options->alpn_protocols_count; i++) {
        size_t length = strlen(options->alpn_protocols[i]);
        setup->alpn[setup->alpn_length++] = (unsigned char)length;
        memcpy(setup->alpn + setup->alpn_length, options->alpn_protocols[i], length);
        setup->alpn_length += length;
    }

    /* This one of OpenSSL's functions returns 0 for success. */
    if (client && SSL_CTX_set_alpn_protos(setup->ctx, setup->alpn, (unsigned)total) != 0) {
        return pco__ssl_error(error, PCO_EINVAL, "alpn_protocols");
    }
    return 0;
}

int pco__ssl_set_alpn(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                      pco_error *error)
{
    size_t total;
    int code = pco__check_switch(options->alpn_required, "alpn_required", error);
    if (code == 0) {
        code = measure_alpn(options, client, &total, error);
    }
    if (code != 0 || (total == 0 && options->choose_alpn == NULL)) {
        return code;
    }
    setup->alpn_required = options->alpn_required == PCO_ON;
    setup->choose_alpn = options->choose_alpn;
    if (!client) {
        SSL_CTX_set_alpn_select_cb(setup->ctx, choose_protocol, NULL);
    }
    if (!client && setup->alpn_required) {
        SSL_CTX_set_client_hello_cb(setup->ctx, demand_protocols, NULL);
    }
    return total != 0 ? keep_protocols(setup, options, client, total, error) : 0;
}

static bool is_offered(const pco__ssl_setup *setup, const unsigned char *name, size_t length)
{
    for (size_t i = 0; i < setup->alpn_length; i += 1 + (size_t)setup->alpn[i]) {
        if (setup->alpn[i] == length && memcmp(setup->alpn + i + 1, name, length) == 0) {
            return true;
        }
    }
    return false;
}

const char *pco__ssl_check_alpn(const SSL *engine, const pco__ssl_setup *setup)
{
    const unsigned char *name;
    unsigned length;
    if (SSL_is_server(engine) == 1 || setup->ready) {
        return NULL;
    }
    SSL_get0_alpn_selected(engine, &name, &length);
    if (length == 0) {
        return setup->alpn_required ? "the server has chosen no application protocol" : NULL;
    }
    return is_offered(setup, name, length)
               ? NULL
               : "the server has chosen an application protocol that was not offered";
}
