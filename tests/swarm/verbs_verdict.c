/* SPDX-License-Identifier: MIT */
/*
 * verbs_verdict.c: a system that judges servers, as Windows and macOS do: good or not, at once or
 * late, or never, when nobody waits any more, and when there is no memory.
 *
 * It is asked on a thread of the library's, which stands at a gate. The name of the server says at
 * which.
 */
#include "tls_parts.h"

#include "support/buffers.h"
#include "tls/connection.h"
#include "tls/turns.h"

/* ---- On the library's thread ---- */

static void judge(const pco__trust_question *asked, pco__trust_verdict *verdict)
{
    int kind;
    memset(verdict, 0, sizeof *verdict);
    if (gate_wait(asked->host, &kind) == GATE_FALSE) {
        verdict->kind = PCO__TRUST_FAILED;
        return;
    }
    verdict->kind = (pco__trust_kind)kind;
    if (verdict->kind != PCO__TRUST_GOOD) {
        return;
    }
    verdict->chain = pco__buffers_copy(asked->chain, asked->chain_count);
    verdict->chain_count = asked->chain_count;
    if (verdict->chain == NULL) {
        verdict->kind = PCO__TRUST_NO_MEMORY;
    }
}

static const pco__trust court = {.judge = judge};

/* ---- Asking ---- */

static gate *gate_of(world *at, const SSL *engine)
{
    char host[PCO__SSL_HOST_SIZE];
    bool is_address;
    if (!pco__ssl_wanted_host(engine, host, &is_address)) {
        broken(at, "a server is judged that need not show anything");
    }
    unsigned number = (unsigned)strtoul(host + strlen("gate"), NULL, 10);
    return &at->gates[number];
}

/* In the place of the library's own, which it calls: here is seen in which order they are asked. */
static int verify(X509_STORE_CTX *store, void *context)
{
    world *at = context;
    SSL *engine = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    pco__ssl *ssl = pco__ssl_call_of(engine)->ssl;
    gate *of = gate_of(at, engine);
    int answer = pco__ssl_verify(store, NULL);
    if (of->ssl == NULL && ssl->handshake->verdict.question != NULL) {
        say(at, "the system is to judge the server of connection %u", of->conn->id);
        of->begun = ++at->gates_begun;
        of->ssl = pco_transport_retain(&ssl->base);
        gate_begins(at, of);
    }
    return answer;
}

static pco_ssl_context *new_context(world *at, bool old)
{
    static const double limits[] = {0, 0, 0.5};
    pco__ssl_loop *shared = pco__ssl_loop_get(at->loop, pco__ssl_sweep, pco__ssl_turn);
    pco_ssl_context_options options = tls_client_options();
    pco_ssl_context *made = NULL;
    if (shared == NULL) {
        return NULL;
    }
    shared->trust = &court;
    options.maximum_version = old ? PCO_TLS_1_2 : PCO_TLS_DEFAULT;
    options.verdict_timeout = limits[pick(at, sizeof limits / sizeof limits[0])];
    int code = pco_ssl_context_new_client(&options, &made, NULL);
    if (code != 0) {
        if (!memory_was_short(at)) {
            broken(at, "ssl_context_new_client returned %s", pco_error_name(code));
        }
        return NULL;
    }
    pco__ssl_setup *setup = pco__ssl_context_take(made);
    setup->by_system = true;
    SSL_CTX_set_cert_verify_callback(setup->ctx, verify, at);
    pco__ssl_setup_give(setup);
    return made;
}

gate *verdict_take(world *at, bool old, pco_ssl_context **context)
{
    if (at->freeing || !has_gate_left(at, true)) {
        return NULL;
    }
    if (at->judged[old] == NULL) {
        at->judged[old] = new_context(at, old);
    }
    *context = at->judged[old];
    return *context != NULL ? gate_take(at, (gate){.is_verdict = true}) : NULL;
}

/* ---- Who waits ---- */

bool verdict_is_awaited(const gate *of)
{
    const pco__ssl *ssl = of->ssl;
    return ssl != NULL && ssl->handshake != NULL && ssl->handshake->verdict.question != NULL;
}

/* One that came too late is known before the handshake has gone on, which tells why it fails. */
bool verdict_is_given_up(const gate *of)
{
    const pco__ssl *ssl = of->ssl;
    return !verdict_is_awaited(of) && (ssl == NULL || ssl->handshake == NULL || ssl->error != 0);
}

/* The handshake fails, and the other end hears of it. */
static void let_fail(conn *of)
{
    cause(of, PCO_ECERT);
    cause(of, PCO_ETLS);
    cause(of, PCO_ETIMEDOUT);
    cause(of, PCO_ENOMEM);
    if (of->linked != NULL) {
        cause(of->linked, PCO_ECERT);
        cause(of->linked, PCO_ETLS);
        cause(of->linked, PCO_ECONNRESET);
        cause(of->linked, PCO_ETRUNCATED);
    }
}

void verdict_look_after(gate *of)
{
    const pco__ssl *ssl = of->ssl;
    if (ssl != NULL && ssl->error == PCO_ETIMEDOUT) {
        let_fail(of->conn);
    }
}

void verdict_forget(gate *of)
{
    verdict_look_after(of);
    if (of->ssl != NULL) {
        pco__ssl *ssl = of->ssl;
        of->ssl = NULL;
        pco_transport_release(&ssl->base);
    }
}

/* ---- Verbs ---- */

static void must_fail(conn *of)
{
    if (of->upgrade != NULL) {
        of->upgrade->must_fail = true;
    } else {
        of->opening->must_fail = true;
    }
    let_fail(of);
}

void verdict_give(world *at, gate *of, bool plainest)
{
    bool good = plainest || pick(at, 3) != 1;
    int kind =
        good ? PCO__TRUST_GOOD : PCO__TRUST_EXPIRED + (int)pick(at, (uint32_t)PCO__TRUST_FAILED);
    say(at, "the server of connection %u is judged: %d", of->conn->id, kind);
    if (!good) {
        must_fail(of->conn);
    }
    gate_let_through(at, of, GATE_OPEN, kind);
}

static bool has_asked(const world *at)
{
    return !at->freeing && has_begun(at, true);
}

static void give(world *at)
{
    gate *of = pick_begun(at, true);
    if (of != NULL) {
        verdict_give(at, of, false);
    }
}

const verb verbs_verdict[] = {
    {"judge", 16, ANYWHERE, has_asked, give},
    {.name = NULL},
};
