/* SPDX-License-Identifier: MIT */
/* setup.c: from pco_ssl_context_options to an SSL_CTX. */
#include "tls/choices.h"
#include "tls/contexts.h"
#include "tls/verdict.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>

#include "support/memory.h"
#include "support/options.h"

/*
 * What is spoken unless the options say otherwise: forward secrecy and authenticated encryption
 * alone (RFC 9325, 4.2), best first. Finite-field Diffie-Hellman is not among it, which costs the
 * server much and clients of today do without.
 */
#define DEFAULT_CIPHERS                                                                            \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
#define PSK_CIPHERS ":ECDHE-PSK-CHACHA20-POLY1305"
#define DEFAULT_CIPHERSUITES                                                                       \
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"

/* Seconds that the system has for its verdict on a server, unless the options say otherwise. */
#define VERDICT_TIMEOUT 10.0

/* OpenSSL's security level: keys and signatures of at least 112 bits. */
#define SECURITY_LEVEL 2

/* ---- Versions, ciphers, sessions ---- */

static int version_of(int wanted, int otherwise)
{
    switch (wanted) {
    case PCO_TLS_DEFAULT:
        return otherwise;
    case PCO_TLS_1_2:
        return TLS1_2_VERSION;
    case PCO_TLS_1_3:
        return TLS1_3_VERSION;
    default:
        return 0;
    }
}

static int set_versions(SSL_CTX *ctx, const pco_ssl_context_options *options, pco_error *error)
{
    int minimum = version_of(options->minimum_version, TLS1_2_VERSION);
    int maximum = version_of(options->maximum_version, TLS1_3_VERSION);
    if (minimum == 0 || maximum == 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is %d, none of PCO_TLS_*",
                              minimum == 0 ? "minimum_version" : "maximum_version",
                              minimum == 0 ? options->minimum_version : options->maximum_version);
    }
    if (minimum > maximum) {
        return pco__error_set(error, PCO_EINVAL, 0, "minimum_version is above maximum_version");
    }
    if (SSL_CTX_set_min_proto_version(ctx, minimum) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, maximum) != 1) {
        return pco__ssl_error(error, PCO_EINVAL, "minimum_version, maximum_version");
    }
    return 0;
}

/* OpenSSL takes an empty list, and passes over names that it does not know. */
static bool has_suites(const SSL_CTX *ctx)
{
    const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        if (SSL_CIPHER_get_kx_nid(sk_SSL_CIPHER_value(all, i)) == NID_kx_any) {
            return true; /* those of TLS 1.3 go with any exchange of keys */
        }
    }
    return false;
}

/*
 * All is said here, and nothing left to how OpenSSL was built and configured, which differs from
 * one distribution to the next. The level comes first: an "@SECLEVEL" in the list sets it anew.
 */
static int set_ciphers(SSL_CTX *ctx, const pco_ssl_context_options *options, pco_error *error)
{
    const char *otherwise =
        pco__ssl_has_psk(options) ? DEFAULT_CIPHERS PSK_CIPHERS : DEFAULT_CIPHERS;
    const char *ciphers = options->ciphers != NULL ? options->ciphers : otherwise;
    const char *suites =
        options->ciphersuites != NULL ? options->ciphersuites : DEFAULT_CIPHERSUITES;
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1) {
        return pco__ssl_error(error, PCO_EINVAL, "ciphers '%.80s'", ciphers);
    }
    if (SSL_CTX_set_ciphersuites(ctx, suites) != 1) {
        return pco__ssl_error(error, PCO_EINVAL, "ciphersuites '%.80s'", suites);
    }
    if (!has_suites(ctx)) {
        ERR_clear_error();
        return pco__error_set(error, PCO_EINVAL, 0,
                              "ciphersuites '%.80s': none that OpenSSL knows; it is "
                              "maximum_version that rules TLS 1.3 out",
                              suites);
    }
    return 0;
}

/* OpenSSL does not always say why. */
static int refuse_list(pco_error *error, const char *name, const char *list)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    bool no_memory = pco__ssl_take_reason().code == PCO_ENOMEM;
    if (no_memory) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", name);
    }
    return pco__error_set(error, PCO_EINVAL, 0, "%s '%.80s': %s", name, list,
                          why != NULL ? why : "not a list that OpenSSL understands");
}

/* What the exchange of keys, and signatures, may be: OpenSSL's default, or what is said. */
static int set_algorithms(SSL_CTX *ctx, const pco_ssl_context_options *options, pco_error *error)
{
    const char *groups = options->groups;
    const char *signatures = options->signature_algorithms;
    if (groups != NULL && SSL_CTX_set1_groups_list(ctx, groups) != 1) {
        return refuse_list(error, "groups", groups);
    }
    if (signatures != NULL && SSL_CTX_set1_sigalgs_list(ctx, signatures) != 1) {
        return refuse_list(error, "signature_algorithms", signatures);
    }
    return 0;
}

/*
 * A session is resumed only under the setup that it was made under, which the random id sees to,
 * or under one that has come in its place and demands the same: see terms.c. The tickets of TLS 1.3
 * leave with the server's last flight; two of them, OpenSSL's default, let a client open two
 * connections next time.
 */
static int set_sessions(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                        pco_error *error)
{
    int code = pco__check_switch(options->session_resumption, "session_resumption", error);
    if (code != 0) {
        return code;
    }
    if (SSL_CTX_set_session_id_context(setup->ctx, setup->id, sizeof setup->id) != 1) {
        return pco__ssl_error(error, PCO_ETLS, "sessions");
    }
    if (options->session_resumption == PCO_OFF) {
        SSL_CTX_set_session_cache_mode(setup->ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(setup->ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(setup->ctx, 0);
    } else if (!client) {
        setup->tickets = pco__ssl_tickets_new();
        if (setup->tickets == NULL) {
            return pco__ssl_error(error, PCO_ETLS, "sessions");
        }
        SSL_CTX_set_tlsext_ticket_key_evp_cb(setup->ctx, pco__ssl_ticket_callback);
    }
    return 0;
}

/* Tells the client that its name was heard, without which no session remembers it. */
static int acknowledge_name(SSL *engine, int *alert, void *context)
{
    (void)engine;
    (void)alert;
    (void)context;
    return SSL_TLSEXT_ERR_OK;
}

/* Who is asked in each handshake. */
static void set_choices(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client)
{
    setup->callback_context = options->callback_context;
    setup->choose_certificate = options->choose_certificate;
    if (client && options->choose_certificate != NULL) {
        SSL_CTX_set_cert_cb(setup->ctx, pco__ssl_choose_certificate, NULL);
    }
}

/* ---- The verdict on the peer's certificate ---- */

static int set_verdict(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                       pco_error *error)
{
    double seconds = options->verdict_timeout;
    int code = pco__check_seconds(seconds, true, "verdict_timeout", error);
    if (code != 0) {
        return code;
    }
    if (seconds > 0 && !client) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "verdict_timeout is for clients: those of a server are verified by "
                              "OpenSSL, at once");
    }
    if (options->verify_peer != NULL && SSL_CTX_get_verify_mode(setup->ctx) == SSL_VERIFY_NONE) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "verify_peer is given, but no certificate is demanded");
    }
    setup->verdict_timeout = seconds > 0 ? seconds : VERDICT_TIMEOUT;
    setup->verify_peer = options->verify_peer;
    SSL_CTX_set_cert_verify_callback(setup->ctx, pco__ssl_verify, NULL);
    return 0;
}

/* ---- The setup ---- */

static pco__ssl_setup *new_setup(void)
{
    pco__ssl_setup *setup = pco__calloc(sizeof *setup);
    if (setup == NULL) {
        return NULL;
    }
    setup->references = 1;
    if (RAND_bytes(setup->id, sizeof setup->id) != 1) {
        pco__free(setup);
        return NULL;
    }
    return setup;
}

static const pco__field option_fields[] = {
    PCO__FIELD(pco_ssl_context_options, certificate_file),
    PCO__FIELD(pco_ssl_context_options, certificate_pem),
    PCO__FIELD(pco_ssl_context_options, certificate_pem_length),
    PCO__FIELD(pco_ssl_context_options, key_file),
    PCO__FIELD(pco_ssl_context_options, key_pem),
    PCO__FIELD(pco_ssl_context_options, key_pem_length),
    PCO__FIELD(pco_ssl_context_options, key_password),
    PCO__FIELD(pco_ssl_context_options, verify),
    PCO__FIELD(pco_ssl_context_options, ca_file),
    PCO__FIELD(pco_ssl_context_options, ca_pem),
    PCO__FIELD(pco_ssl_context_options, ca_pem_length),
    PCO__FIELD(pco_ssl_context_options, minimum_version),
    PCO__FIELD(pco_ssl_context_options, maximum_version),
    PCO__FIELD(pco_ssl_context_options, ciphers),
    PCO__FIELD(pco_ssl_context_options, ciphersuites),
    PCO__FIELD(pco_ssl_context_options, alpn_protocols),
    PCO__FIELD(pco_ssl_context_options, alpn_protocols_count),
    PCO__FIELD(pco_ssl_context_options, alpn_required),
    PCO__FIELD(pco_ssl_context_options, session_resumption),
    PCO__FIELD(pco_ssl_context_options, dangerously_accept_any_certificate),
    PCO__FIELD(pco_ssl_context_options, trust),
    PCO__FIELD(pco_ssl_context_options, ca_directory),
    PCO__FIELD(pco_ssl_context_options, crl_file),
    PCO__FIELD(pco_ssl_context_options, crl_pem),
    PCO__FIELD(pco_ssl_context_options, crl_pem_length),
    PCO__FIELD(pco_ssl_context_options, verify_depth),
    PCO__FIELD(pco_ssl_context_options, verify_flags),
    PCO__FIELD(pco_ssl_context_options, certificates),
    PCO__FIELD(pco_ssl_context_options, certificates_count),
    PCO__FIELD(pco_ssl_context_options, certificate_uri),
    PCO__FIELD(pco_ssl_context_options, key_uri),
    PCO__FIELD(pco_ssl_context_options, ocsp_file),
    PCO__FIELD(pco_ssl_context_options, ocsp_response),
    PCO__FIELD(pco_ssl_context_options, ocsp_response_length),
    PCO__FIELD(pco_ssl_context_options, groups),
    PCO__FIELD(pco_ssl_context_options, signature_algorithms),
    PCO__FIELD(pco_ssl_context_options, key_log_file),
    PCO__FIELD(pco_ssl_context_options, key_log_environment),
    PCO__FIELD(pco_ssl_context_options, psk_identity),
    PCO__FIELD(pco_ssl_context_options, psk_key),
    PCO__FIELD(pco_ssl_context_options, psk_key_length),
    PCO__FIELD(pco_ssl_context_options, find_psk),
    PCO__FIELD(pco_ssl_context_options, choose_alpn),
    PCO__FIELD(pco_ssl_context_options, choose_certificate),
    PCO__FIELD(pco_ssl_context_options, callback_context),
    PCO__FIELD(pco_ssl_context_options, verify_peer),
    PCO__FIELD(pco_ssl_context_options, verdict_timeout),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_ssl_context_options, sizeof(size_t), option_fields);

static int fill(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                pco_error *error)
{
    int code = set_versions(setup->ctx, options, error);
    if (code == 0) {
        code = set_ciphers(setup->ctx, options, error);
    }
    if (code == 0) {
        code = set_algorithms(setup->ctx, options, error);
    }
    if (code == 0) {
        code = set_sessions(setup, options, client, error);
    }
    if (code == 0) {
        code = pco__ssl_set_alpn(setup, options, client, error);
    }
    if (code == 0) {
        code = pco__ssl_set_psk(setup, options, client, error);
    }
    if (code == 0) {
        code = pco__ssl_set_verification(setup, options, client, error);
    }
    if (code == 0) {
        code = set_verdict(setup, options, client, error);
    }
    if (code == 0) {
        code = pco__ssl_load_certificates(setup, options, client, error);
    }
    if (code == 0) {
        code = pco__ssl_set_key_log(setup, options, error);
    }
    set_choices(setup, options, client);
    if (code == 0) {
        code = pco__ssl_set_terms(setup, &option_layout, options, client, error);
    }
    return code;
}

int pco__ssl_setup_new(const pco_ssl_context_options *given, bool client, pco__ssl_setup **setup,
                       pco_error *error)
{
    const pco_ssl_context_options none = {.size = sizeof none};
    pco_ssl_context_options options;
    if (given == NULL && !client) {
        return pco__error_set(error, PCO_EINVAL, 0, "pco_ssl_context_options are missing");
    }
    int code = pco__options_read(&option_layout, given != NULL ? given : &none, &options, error);
    if (code != 0) {
        return code;
    }

    ERR_clear_error();
    pco__ssl_setup *made = new_setup();
    if (made == NULL) {
        return pco__ssl_error(error, PCO_ETLS, "make a TLS context");
    }
    made->ctx = SSL_CTX_new(client ? TLS_client_method() : TLS_server_method());
    if (made->ctx == NULL) {
        code = pco__ssl_error(error, PCO_ETLS, "make a TLS context");
        goto fail;
    }
    SSL_CTX_set_options(made->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (!client) {
        SSL_CTX_set_tlsext_servername_callback(made->ctx, acknowledge_name);
    }
    code = fill(made, &options, client, error);
    if (code != 0) {
        goto fail;
    }
    *setup = made;
    return 0;
fail:
    pco__ssl_setup_free(made);
    return code;
}

int pco__ssl_setup_from_ssl_ctx(SSL_CTX *ctx, pco__ssl_setup **setup, pco_error *error)
{
    if (ctx == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "ssl_ctx is NULL");
    }
    ERR_clear_error();
    pco__ssl_setup *made = new_setup();
    if (made == NULL) {
        return pco__ssl_error(error, PCO_ETLS, "make a TLS context");
    }
    SSL_CTX_up_ref(ctx);
    made->ctx = ctx;
    made->ready = true;
    *setup = made;
    return 0;
}

void pco__ssl_setup_free(pco__ssl_setup *setup)
{
    assert(setup->references <= 1);
    SSL_CTX_free(setup->ctx);
    pco__ssl_tickets_free(setup->tickets);
    pco__ssl_staples_free(setup->staples);
    pco__ssl_key_log_free(setup->key_log);
    pco__ssl_psk_free(setup->psk);
    pco__free(setup->alpn);
    pco__free(setup);
}
