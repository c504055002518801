/* SPDX-License-Identifier: MIT */
/* verbs_tls.c: what peers of TLS connections do, and contexts that change. */
#include "tls_parts.h"

/* A peer asks for so many new keys; more, one after the other, are a flood. */
#define UPDATES_MOST 20
#define UPDATES_OF_FLOOD 60

/* ---- The peers ---- */

static bool has_client(const world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->tls != NULL) {
            return true;
        }
    }
    return false;
}

static conn *pick_client(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += at->conns[i]->tls != NULL;
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->tls != NULL && nth-- == 0) {
            return at->conns[i];
        }
    }
    return NULL;
}

static void pump(world *at)
{
    conn *of = pick_client(at);
    size_t most = pick_rarely(at, 3) ? SIZE_MAX : pick_length(at);
    say(at, "TLS of %u moves at most %zu bytes", of->id, most);
    tls_pump(at, of, most);
}

static void end_tls(world *at)
{
    conn *of = pick_client(at);
    const tls_peer *peer = of->tls;
    if (peer->established && !peer->failed && !of->notified) {
        say(at, "TLS peer %u says goodbye", of->id);
        say_goodbye(of);
    }
}

static void update_keys(world *at)
{
    conn *of = pick_client(at);
    tls_peer *peer = of->tls;
    unsigned count = pick_rarely(at, 20) ? UPDATES_OF_FLOOD : 1 + pick(at, 3);
    if (!peer->established || peer->failed || of->notified ||
        SSL_version(peer->ssl) != TLS1_3_VERSION) {
        return;
    }
    say(at, "TLS peer %u updates its keys, %u times", of->id, count);
    if (count == UPDATES_OF_FLOOD || (peer->updates += count) > UPDATES_MOST) {
        cause(of, PCO_ETLS);
    }
    while (count-- != 0) {
        int kind = pick(at, 2) == 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
        ERR_clear_error();
        if (SSL_key_update(peer->ssl, kind) != 1 || SSL_do_handshake(peer->ssl) != 1) {
            return;
        }
    }
}

static void talk_nonsense(world *at)
{
    conn *of = pick_client(at);
    unsigned char data[64];
    size_t length = 1 + pick(at, sizeof data);
    if (of->fed_eof || of->socket == NULL || of->socket->closed) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        data[i] = (unsigned char)pick(at, 256);
    }
    say(at, "TLS peer %u sends %zu bytes of nonsense", of->id, length);
    cause(of, PCO_ETLS);
    fake_feed(of->socket, data, length);
}

static void abandon(world *at)
{
    conn *of = pick_client(at);
    say(at, "TLS peer %u does nothing any more", of->id);
    tls_peer_drop(of);
}

/* ---- Contexts ---- */

static bool has_context(const world *at)
{
    return at->context != NULL;
}

/* What fails changes nothing; new certificates would be told from the old by their names alone. */
static void reload(world *at)
{
    pco_ssl_context_options options = tls_options_of(at, OWN);
    bool good = pick(at, 3) != 1;
    options.certificate_pem_length = good ? options.certificate_pem_length : 40;
    enter_library(at, NULL);
    int code = pco_ssl_context_reload(at->context, &options, NULL);
    leave_library(at);
    say(at, "reload the context%s: %s", good ? "" : " with what is garbled",
        code != 0 ? pco_error_name(code) : "0");
    if (good ? code != 0 && !memory_was_short(at) : code == 0) {
        broken(at, "ssl_context_reload returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

/* Who is in the handshake now may be shown the one or the other. */
static void forget_what_is_shown(world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        tls_peer *peer = at->conns[i]->tls;
        if (peer != NULL && peer->asks_for_other) {
            peer->knows = false;
        }
    }
}

static bool may_add_names(const world *at)
{
    return at->context != NULL && at->other == NULL;
}

/* Both names or, where there is no memory, perhaps one: nobody can then say which. */
static void add_names(world *at)
{
    enter_library(at, NULL);
    at->other = tls_new_context(at, OTHER);
    int code = 0;
    if (at->other != NULL) {
        code = pco_ssl_context_add_server_name(at->context, NAME, at->other, NULL);
        code = code == 0 ? pco_ssl_context_add_server_name(at->context, PATTERN, at->other, NULL)
                         : code;
    }
    leave_library(at);
    say(at, "add names to the context: %s", code != 0 ? pco_error_name(code) : "0");
    if (code != 0 && !(code == PCO_ENOMEM && memory_was_short(at))) {
        broken(at, "add_server_name returned %s", pco_error_name(code));
    }
    at->names_failed = code != 0;
    forget_what_is_shown(at);
}

const verb verbs_tls[] = {
    {"TLS moves", 60, ANYWHERE, has_client, pump},
    {"TLS goodbye", 5, ANYWHERE, has_client, end_tls},
    {"TLS keys", 6, ANYWHERE, has_client, update_keys},
    {"TLS nonsense", 1, ANYWHERE, has_client, talk_nonsense},
    {"TLS abandoned", 1, ANYWHERE, has_client, abandon},
    {"TLS reload", 2, ANYWHERE, has_context, reload},
    {"TLS names", 2, ANYWHERE, may_add_names, add_names},
    {.name = NULL},
};
