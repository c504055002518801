/* SPDX-License-Identifier: MIT */
/*
 * client_choice.c: what a client's context asks of the program in a handshake: which certificate to
 * show, once the server has proved who it is and demands one.
 *
 * The model's servers say that their number should have signed it, so it is known who is asked
 * about.
 */
#include "tls_parts.h"

/* ---- Contexts ---- */

static pco_ssl_context *new_client(world *at, const pco_ssl_context_options *options)
{
    pco_ssl_context *made = NULL;
    int code = pco_ssl_context_new_client(options, &made, NULL);
    if (code != 0 && !memory_was_short(at)) {
        broken(at, "ssl_context_new_client returned %s", pco_error_name(code));
    }
    return made;
}

static void choose_certificate(pco_ssl_question *asked, const pco_ssl_hello *hello, void *context)
{
    world *at = context;
    ask_choice(at, (choice){asked, hello, conn_of_authorities(at, hello), true});
}

pco_ssl_context *chooser_of(world *at, bool old)
{
    if (at->choosers[old] == NULL) {
        pco_ssl_context_options options = tls_client_options();
        at->chooser_has_own[old] = pick(at, 2) == 1;
        if (at->chooser_has_own[old]) {
            show_certificate(&options, OWN);
        }
        options.maximum_version = old ? PCO_TLS_1_2 : PCO_TLS_DEFAULT;
        options.choose_certificate = choose_certificate;
        options.callback_context = at;
        at->choosers[old] = new_client(at, &options);
    }
    return at->choosers[old];
}

static bool is_chooser(const world *at, const pco_ssl_context *context)
{
    return context != NULL && (context == at->choosers[0] || context == at->choosers[1]);
}

pco_ssl_context *client_that_shows(world *at, int certificate)
{
    if (at->shown[certificate] == NULL) {
        pco_ssl_context_options options = tls_client_options();
        show_certificate(&options, certificate);
        at->shown[certificate] = new_client(at, &options);
    }
    return at->shown[certificate];
}

/* ---- Servers that demand one ---- */

static int accept_any(int is_good, X509_STORE_CTX *store)
{
    (void)is_good;
    (void)store;
    return 1;
}

static X509_NAME *name_of(const conn *of)
{
    char number[16];
    X509_NAME *name = X509_NAME_new();
    snprintf(number, sizeof number, "c%u", of->id);
    need(name != NULL && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                    (const unsigned char *)number, -1, -1, 0) == 1);
    return name;
}

/* Who cannot answer is not pressed. */
void ask_client(world *at, const conn *of, tls_peer *peer)
{
    static const unsigned char id[] = "asks";
    peer->shows = "";
    peer->asks = pick(at, 3) != 0;
    if (!peer->asks) {
        return;
    }
    peer->insists = is_chooser(at, of->client_context) && pick(at, 2) == 1;
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    need(names != NULL && sk_X509_NAME_push(names, name_of(of)) == 1);
    SSL_set_client_CA_list(peer->ssl, names);
    SSL_set_verify(peer->ssl,
                   SSL_VERIFY_PEER | (peer->insists ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                   accept_any);
    need(SSL_set_session_id_context(peer->ssl, id, sizeof id) == 1);
}

/* A session that is resumed has nobody asked. */
void check_client(world *at, const conn *of)
{
    tls_peer *peer = of->tls;
    char name[16];
    name_shown(peer->ssl, name, sizeof name);
    if (SSL_session_reused(peer->ssl) == 1) {
        return;
    }
    if (of->chosen != (peer->asks && is_chooser(at, of->client_context))) {
        broken(at, "client %u was%s asked for a certificate", of->id, of->chosen ? "" : " not");
    }
    if (strcmp(name, peer->shows) != 0) {
        broken(at, "client %u has shown the certificate '%s', not '%s'", of->id, name, peer->shows);
    }
}

/* ---- The question ---- */

conn *conn_of_authorities(const world *at, const pco_ssl_hello *hello)
{
    unsigned id;
    if (hello->authorities_count != 1 || sscanf(hello->authority_names[0], "CN=c%u", &id) != 1) {
        return NULL;
    }
    return id < at->conns_count ? at->conns[id] : NULL;
}

static bool is_encoded(const conn *of, const pco_buffer *as)
{
    X509_NAME *name = name_of(of);
    unsigned char *encoded = NULL;
    int length = i2d_X509_NAME(name, &encoded);
    bool same = length > 0 && as->length == (size_t)length &&
                memcmp(as->data, encoded, (size_t)length) == 0;
    OPENSSL_free(encoded);
    X509_NAME_free(name);
    return same;
}

static bool must_fail(const conn *of)
{
    return of->upgrade != NULL ? of->upgrade->must_fail : of->opening->must_fail;
}

void check_client_question(world *at, const choice *asked)
{
    const conn *of = asked->of;
    const pco_ssl_hello *hello = asked->hello;
    const tls_peer *peer = of != NULL ? of->tls : NULL;
    bool is_demanded = of != NULL && (peer == NULL || peer->asks); /* it may have been given up */
    if (!is_demanded || !is_chooser(at, of->client_context)) {
        broken(at, "a client is asked for a certificate that nobody demands");
    }
    if (must_fail(of)) {
        broken(at, "client %u is asked for a certificate by a server that it does not trust",
               of->id);
    }
    if (!is_encoded(of, &hello->authorities[0]) || hello->server_name == NULL ||
        strcmp(hello->server_name, "own") != 0 || hello->alpn_count != 0 ||
        hello->versions_count != 0) {
        broken(at, "client %u is asked for a certificate by another server than its own", of->id);
    }
}

/* ---- The answer ---- */

/* Who has nothing to show fails, or is sent away when the connection stands. */
static void expect(conn *of, const char *shown)
{
    tls_peer *peer = of->tls;
    if (peer == NULL) {
        return;
    }
    peer->shows = shown;
    if (peer->insists && shown[0] == '\0') {
        cause(of, PCO_ETLS);
        cause(of, PCO_ECERT);
        cause(of, PCO_ECONNRESET);
    }
}

static void let_fail(conn *of)
{
    cause(of, PCO_ETLS);
    if (of->upgrade != NULL) {
        of->upgrade->must_fail = true;
    } else {
        of->opening->must_fail = true;
    }
}

static const char *own_of(const world *at, const conn *of)
{
    return at->chooser_has_own[of->client_context == at->choosers[1]] ? common_names[OWN] : "";
}

void answer_client(world *at, const choice *of, unsigned how)
{
    if (how == 4 || how == 5) {
        int which = how == 4 ? OWN : OTHER;
        pco_ssl_context *shown = client_that_shows(at, which);
        expect(of->of, shown != NULL ? common_names[which] : own_of(at, of->of));
        give_answer(at, of, shown, true);
    } else if (how == 6) {
        let_fail(of->of);
        refuse_choice(at, of);
    } else if (how == 7 && at->context != NULL) {
        let_fail(of->of);
        give_answer(at, of, at->context, false); /* a server's */
    } else {
        expect(of->of, own_of(at, of->of));
        give_answer(at, of, NULL, true);
    }
}
