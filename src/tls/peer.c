/* SPDX-License-Identifier: MIT */
/* peer.c: what a connection agreed on, and with whom; and secrets that only its two ends know. */
#include "tls/connection.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "support/memory.h"
#include "support/options.h"

/* ---- What is lent ---- */

static pco__ssl_details *get_details(pco__ssl *ssl)
{
    if (ssl->details != NULL) {
        return ssl->details;
    }
    X509 *certificate = SSL_get0_peer_certificate(ssl->engine);
    int length = certificate != NULL ? i2d_X509(certificate, NULL) : 0;
    pco__ssl_details *made = length >= 0 ? pco__calloc(sizeof *made + (size_t)length) : NULL;
    if (made == NULL) {
        return NULL;
    }
    if (length > 0) {
        unsigned char *to = made->certificate;
        made->certificate_length = (size_t)i2d_X509(certificate, &to);
    }
    const unsigned char *alpn;
    unsigned alpn_length;
    SSL_get0_alpn_selected(ssl->engine, &alpn, &alpn_length);
    if (alpn_length != 0) {
        memcpy(made->alpn, alpn, alpn_length);
    }
    ssl->details = made;
    return made;
}

void pco__ssl_free_details(pco__ssl_details *details)
{
    if (details == NULL) {
        return;
    }
    pco__ssl_parsed *next;
    for (pco__ssl_parsed *parsed = details->parsed; parsed != NULL; parsed = next) {
        next = parsed->next;
        pco__free(parsed);
    }
    pco__free(details);
}

/* ---- In short ---- */

bool pco__ssl_is_verified(const SSL *engine)
{
    return (SSL_get_verify_mode(engine) & SSL_VERIFY_PEER) != 0 &&
           SSL_get0_peer_certificate(engine) != NULL && SSL_get_verify_result(engine) == X509_V_OK;
}

static const char *group_of(SSL *engine)
{
    int group = (int)SSL_get_negotiated_group(engine);
    return group != NID_undef ? SSL_group_to_name(engine, group) : NULL;
}

int pco__ssl_get_info(pco_transport *transport, pco_ssl_info *info)
{
    pco__ssl *ssl = (pco__ssl *)transport;
    if (ssl->engine == NULL) {
        return PCO_ENOTCONN;
    }
    const pco__ssl_details *known = get_details(ssl);
    if (known == NULL) {
        return PCO_ENOMEM;
    }
    *info = (pco_ssl_info){
        .size = sizeof *info,
        .version = SSL_get_version(ssl->engine),
        .cipher = SSL_get_cipher_name(ssl->engine),
        .cipher_bits = SSL_get_cipher_bits(ssl->engine, NULL),
        .alpn = known->alpn[0] != '\0' ? known->alpn : NULL,
        .server_name = SSL_get_servername(ssl->engine, TLSEXT_NAMETYPE_host_name),
        .session_reused = SSL_session_reused(ssl->engine) == 1,
        .peer_certificate = known->certificate_length != 0 ? known->certificate : NULL,
        .peer_certificate_length = known->certificate_length,
        .group = group_of(ssl->engine),
        .verified = pco__ssl_is_verified(ssl->engine),
    };
    return 0;
}

/* ---- Certificates ---- */

/*
 * The chain that was verified; a resumed connection has none, since its certificates were verified
 * when the session began. Then, and without verification, what the peer has sent; of that, a
 * server's end has not the peer's own in the list.
 */
static X509 *certificate_at(const SSL *engine, size_t index)
{
    X509 *own = SSL_get0_peer_certificate(engine);
    const STACK_OF(X509) *chain =
        pco__ssl_is_verified(engine) ? SSL_get0_verified_chain(engine) : NULL;
    if (index == 0 || own == NULL) {
        return own;
    }
    if (chain == NULL) {
        chain = SSL_get_peer_cert_chain(engine);
        index -= (size_t)SSL_is_server(engine);
    }
    int count = sk_X509_num(chain);
    return count > 0 && index < (size_t)count ? sk_X509_value(chain, (int)index) : NULL;
}

/* Parsed once. NULL: out of memory. */
static const pco__ssl_parsed *parse_once(pco__ssl *ssl, size_t index, X509 *certificate)
{
    pco__ssl_details *known = get_details(ssl);
    if (known == NULL) {
        return NULL;
    }
    for (const pco__ssl_parsed *one = known->parsed; one != NULL; one = one->next) {
        if (one->index == index) {
            return one;
        }
    }
    pco__ssl_parsed *made = pco__ssl_parse(certificate);
    if (made != NULL) {
        made->index = index;
        made->next = known->parsed;
        known->parsed = made;
    }
    return made;
}

static const pco__field certificate_fields[] = {
    PCO__FIELD(pco_ssl_certificate_info, subject),
    PCO__FIELD(pco_ssl_certificate_info, issuer),
    PCO__FIELD(pco_ssl_certificate_info, common_name),
    PCO__FIELD(pco_ssl_certificate_info, names),
    PCO__FIELD(pco_ssl_certificate_info, names_count),
    PCO__FIELD(pco_ssl_certificate_info, serial_number),
    PCO__FIELD(pco_ssl_certificate_info, not_before),
    PCO__FIELD(pco_ssl_certificate_info, not_after),
    PCO__FIELD(pco_ssl_certificate_info, sha256),
    PCO__FIELD(pco_ssl_certificate_info, der),
    PCO__FIELD(pco_ssl_certificate_info, der_length),
};
static const pco__layout certificate_layout =
    PCO__LAYOUT(pco_ssl_certificate_info, sizeof(size_t), certificate_fields);

int pco_transport_get_peer_certificate(pco_transport *transport, size_t index,
                                       pco_ssl_certificate_info *info)
{
    pco__ssl *ssl;
    if (info == NULL || pco__size_check(&certificate_layout, info->size, NULL) != 0) {
        return PCO_EINVAL;
    }
    int code = pco__ssl_ask(transport, &ssl);
    if (code != 0) {
        return code;
    }
    X509 *certificate = certificate_at(ssl->engine, index);
    if (certificate == NULL) {
        return PCO_ENOENT;
    }
    const pco__ssl_parsed *parsed = parse_once(ssl, index, certificate);
    return parsed != NULL ? pco__options_fill(&certificate_layout, &parsed->info, info)
                          : PCO_ENOMEM;
}

/* ---- Secrets of the two ends ---- */

/* Before TLS 1.3 a secret is of one connection alone if it was made of the whole handshake. */
static bool has_secrets_of_its_own(SSL *engine)
{
    return SSL_version(engine) >= TLS1_3_VERSION || SSL_get_extms_support(engine) == 1;
}

/* OpenSSL would not. */
static int tell_failure(void)
{
    return pco__ssl_take_reason().code == PCO_ENOMEM ? PCO_ENOMEM : PCO_EINVAL;
}

/*
 * What keys of TLS 1.2 itself are made with must not be told (RFC 5705, 4). OpenSSL looks at that
 * in 1.2 alone; but whether a label is good shall not depend on what was agreed on.
 */
static bool is_label_of_tls(const char *label)
{
    static const char *const labels[] = {"client finished", "server finished", "master secret",
                                         "extended master secret", "key expansion"};
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        if (strncmp(label, labels[i], strlen(labels[i])) == 0) {
            return true;
        }
    }
    return false;
}

int pco_transport_export_keying_material(pco_transport *transport, const char *label,
                                         const void *context, size_t context_length, void *out,
                                         size_t length)
{
    pco__ssl *ssl;
    if (label == NULL || label[0] == '\0' || (context == NULL && context_length != 0) ||
        out == NULL || length == 0 || is_label_of_tls(label)) {
        return PCO_EINVAL;
    }
    int code = pco__ssl_ask(transport, &ssl);
    if (code != 0) {
        return code;
    }
    if (!has_secrets_of_its_own(ssl->engine)) {
        return PCO_ENOTSUP;
    }
    ERR_clear_error();
    return SSL_export_keying_material(ssl->engine, out, length, label, strlen(label), context,
                                      context_length, context != NULL) == 1
               ? 0
               : tell_failure();
}

/* What a binding is made of, before it is known whether there is room for it. */
typedef struct binding {
    unsigned char data[EVP_MAX_MD_SIZE];
    size_t length;
} binding;

/* RFC 9266. */
static int bind_by_exporter(SSL *engine, binding *made)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    static const unsigned char nothing = 0;
    if (!has_secrets_of_its_own(engine)) {
        return PCO_ENOTSUP;
    }
    made->length = 32;
    return SSL_export_keying_material(engine, made->data, made->length, label, sizeof label - 1,
                                      &nothing, 0, 1) == 1
               ? 0
               : tell_failure();
}

/*
 * RFC 5929, 4. Which certificate a server has shown is not known where a session is resumed: it may
 * have several, and have got another one since. (The client's end remembers.)
 */
static int bind_by_end_point(SSL *engine, binding *made)
{
    bool is_server = SSL_is_server(engine) == 1;
    if (is_server && SSL_session_reused(engine) == 1) {
        return PCO_ENOENT;
    }
    X509 *certificate = is_server ? SSL_get_certificate(engine) : SSL_get0_peer_certificate(engine);
    if (certificate == NULL) {
        return PCO_ENOENT;
    }
    int digest = NID_undef;
    unsigned length = 0;
    if (X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1 ||
        digest == NID_undef) {
        return PCO_ENOTSUP;
    }
    if (digest == NID_md5 || digest == NID_sha1) {
        digest = NID_sha256;
    }
    const EVP_MD *hash = EVP_get_digestbynid(digest);
    if (hash == NULL) {
        return PCO_ENOTSUP;
    }
    int done = X509_digest(certificate, hash, made->data, &length);
    made->length = length;
    return done == 1 ? 0 : tell_failure();
}

/* RFC 5929, 3: the first Finished message, which is the server's where a session is resumed. */
static int bind_by_finished(SSL *engine, binding *made)
{
    if (SSL_version(engine) >= TLS1_3_VERSION || !has_secrets_of_its_own(engine)) {
        return PCO_ENOTSUP;
    }
    bool is_server = SSL_is_server(engine) == 1;
    bool is_resumed = SSL_session_reused(engine) == 1;
    made->length = is_server == is_resumed
                       ? SSL_get_finished(engine, made->data, sizeof made->data)
                       : SSL_get_peer_finished(engine, made->data, sizeof made->data);
    return 0;
}

int pco_transport_get_channel_binding(pco_transport *transport, const char *type, void *buffer,
                                      size_t size, size_t *length)
{
    static const struct {
        const char *type;
        int (*bind)(SSL *engine, binding *made);
    } kinds[] = {{"tls-exporter", bind_by_exporter},
                 {"tls-server-end-point", bind_by_end_point},
                 {"tls-unique", bind_by_finished}};
    pco__ssl *ssl;
    if (type == NULL || buffer == NULL || length == NULL) {
        return PCO_EINVAL;
    }
    int code = pco__ssl_ask(transport, &ssl);
    if (code != 0) {
        return code;
    }
    code = PCO_EINVAL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            binding made = {.length = 0};
            ERR_clear_error();
            code = kinds[i].bind(ssl->engine, &made);
            if (code == 0 && made.length > size) {
                code = PCO_ENOBUFS;
            }
            if (code == 0) {
                memcpy(buffer, made.data, made.length);
                *length = made.length;
            }
            OPENSSL_cleanse(&made, sizeof made);
        }
    }
    return code;
}
