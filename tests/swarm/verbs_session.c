/* SPDX-License-Identifier: MIT */
/*
 * verbs_session.c: sessions of TLS clients: kept, written as bytes and read again, and given to the
 * connections that are opened next, also to those of another context or name.
 */
#include "tls_parts.h"

static session *pick_kept(world *at)
{
    return &at->sessions[pick(at, at->sessions_count)];
}

static bool has_kept(const world *at)
{
    return at->sessions_count != 0;
}

uint64_t choose_session(world *at, const pco_ssl_context *context, const char *name,
                        pco_ssl_session **given)
{
    if (!has_kept(at) || pick(at, 3) == 0) {
        return 0;
    }
    const session *of = pick_kept(at);
    bool fits = of->context == context && strcmp(name, "own") == 0;
    *given = of->session;
    return fits ? 0 : cause_bit(PCO_EINVAL);
}

static void add(world *at, pco_ssl_session *made, pco_ssl_context *context)
{
    at->sessions[at->sessions_count++] = (session){made, context};
}

static bool may_keep(const world *at)
{
    return at->sessions_count < SESSIONS_MOST && has_conn(at, MADE_CONN);
}

/* Of who is a client, and has one. */
static void keep(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    pco_ssl_session *made = NULL;
    enter_library(at, NULL);
    int code = pco_transport_get_ssl_session(of->transport, &made);
    leave_library(at);
    say(at, "keep the session of %u: %s", of->id, code != 0 ? pco_error_name(code) : "0");
    bool is_client = of->is_tls && of->client_context != NULL;
    bool closed = of->upgrade != NULL && code == PCO_ECLOSED;
    bool short_of = code == PCO_ENOMEM && memory_was_short(at);
    if (!closed && !short_of &&
        (is_client ? code != 0 && code != PCO_ENOENT : code != PCO_ENOTSUP)) {
        broken(at, "get_ssl_session of connection %u returned %s", of->id,
               code != 0 ? pco_error_name(code) : "0");
    }
    if (code == 0) {
        add(at, made, of->client_context);
    }
}

static bool may_copy(const world *at)
{
    return at->sessions_count < SESSIONS_MOST && has_kept(at);
}

/* Through bytes, of which there are as many as it says. */
static void copy(world *at)
{
    static unsigned char data[64 * 1024];
    const session *of = pick_kept(at);
    pco_ssl_session *made = NULL;
    size_t length = 0;
    size_t again = 0;
    enter_library(at, NULL);
    int code = pco_ssl_session_serialize(of->session, data, sizeof data, &length);
    int too_small =
        code == 0 ? pco_ssl_session_serialize(of->session, data, length - 1, &again) : 0;
    int parsed = code == 0 ? pco_ssl_session_parse(data, length, of->context, &made, NULL) : 0;
    leave_library(at);
    say(at, "a session is written and read: %d, %d", code, parsed);
    bool is_short = memory_was_short(at);
    if ((code != 0 || too_small != PCO_ENOBUFS || again != length || parsed != 0) && !is_short) {
        broken(at, "a session cannot be written or read: %d, %d, %d", code, too_small, parsed);
    }
    if (code == 0 && parsed == 0) {
        add(at, made, of->context);
    }
}

static void drop(world *at)
{
    session *of = pick_kept(at);
    say(at, "drop a session");
    enter_library(at, NULL);
    pco_ssl_session_release(of->session);
    leave_library(at);
    *of = at->sessions[--at->sessions_count];
}

void free_sessions(world *at)
{
    while (at->sessions_count != 0) {
        pco_ssl_session_release(at->sessions[--at->sessions_count].session);
    }
}

const verb verbs_session[] = {
    {"keep session", 10, ANYWHERE, may_keep, keep},
    {"copy session", 2, ANYWHERE, may_copy, copy},
    {"drop session", 2, ANYWHERE, has_kept, drop},
    {.name = NULL},
};
