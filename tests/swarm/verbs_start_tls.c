/* SPDX-License-Identifier: MIT */
/*
 * verbs_start_tls.c: TLS begins on connections that stand: at both ends of those whose peer is the
 * library's, too, and again where it is TLS already; canceled, and ended meanwhile.
 */
#include "tls_parts.h"

/* ---- The completion ---- */

static void check_failure(world *at, const upgrade *of, const pco_error *error)
{
    const conn *its = of->of;
    bool is_ended = of->canceled || its->closed || its->doomed || at->freeing;
    int code = error->code;
    if (code == 0 || error->message[0] == '\0') {
        broken(at, "TLS does not begin on connection %u, without an error", its->id);
    }
    if (code == PCO_ECANCELED ? !is_ended : code != PCO_ETIMEDOUT && !is_justified(at, its, code)) {
        broken(at, "TLS does not begin on connection %u: %s, which nobody caused: %s", its->id,
               pco_error_name(code), error->message);
    }
}

static void check_success(world *at, const upgrade *of, const pco_transport *transport)
{
    const conn *its = of->of;
    const pco_protocol *expected = of->given != NULL ? &of->given->base : &its->proto->base;
    size_t high;
    size_t low;
    if (of->must_fail || of->canceled || its->closed || at->freeing || awaits_choice(at, its)) {
        broken(at, "TLS stands on connection %u, which must not be", its->id);
    }
    if (transport == its->transport || pco_transport_get_protocol(transport) != expected ||
        pco_transport_is_closing(transport)) {
        broken(at, "the new transport of connection %u is the old one, or closes, or another's",
               its->id);
    }
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    if (high != its->high || low != its->low) {
        broken(at, "the new transport of connection %u has other water marks", its->id);
    }
}

/* The protocol stays, or the new one follows it. */
static void take_over(upgrade *of, pco_transport *transport)
{
    conn *its = of->of;
    if (of->given != NULL) {
        free(its->proto);
        its->proto = of->given;
        its->proto->of = its;
        its->writing_paused = false;
        of->given = NULL;
    }
    its->transport = transport;
    its->paused = false;
}

static void started(pco_transport *transport, const pco_error *error, void *context)
{
    upgrade *of = context;
    world *at = of->at;
    conn *its = of->of;
    enter_callback(at, its, "the completion of start_tls", its->id);
    if (of->told || its->state != MADE_CONN || (transport != NULL) != (error == NULL)) {
        broken(at, "start_tls was completed twice, too late, or with both or neither");
    }
    of->told = true;
    gate_leave(at, of->verdict);
    if (error != NULL) {
        say(at, "it failed: %s", error->message);
        check_failure(at, of, error);
        free(of->given);
        mark_closed(its, true); /* connection_lost follows */
        cause(its, error->code == PCO_ECANCELED ? PCO_ECONNRESET : error->code);
    } else {
        check_success(at, of, transport);
        its->upgrade = NULL;
        take_over(of, transport);
    }
    act_in_callback(at);
    leave_callback(at, NULL);
}

/* ---- The call ---- */

/* What it may be refused with, a bit each; 0: nothing but memory. */
static uint64_t refusals_of(const world *at, const conn *of, bool was_closing)
{
    uint64_t bits = was_closing || at->freeing ? cause_bit(PCO_ECLOSED) : 0;
    bits |= of->upgrade != NULL || of->leaving != NULL ? cause_bit(PCO_EBUSY) : 0;
    bits |= of->write_eof ? cause_bit(PCO_EPIPE) : 0;
    bits |= of->eof ? cause_bit(PCO_ECONNRESET) : 0;
    return bits;
}

/* Whether input may be lying about that TLS would have to take, or refuse, for its own. */
static bool has_input_left(const conn *of)
{
    return of->received != fed_to(of) || of->asked || of->socket->input_length != 0;
}

static void check_refusal(world *at, const conn *of, int code, uint64_t refusals)
{
    bool by_memory = (code == PCO_ENOMEM || code == PCO_ETLS) && memory_was_short(at);
    bool by_input = code == PCO_EINVAL && has_input_left(of);
    if ((refusals & cause_bit(code)) == 0 && !by_memory && !by_input) {
        broken(at, "start_tls on connection %u returned %s", of->id, pco_error_name(code));
    }
}

/* The end that the peer of the model's is to have. */
static void turn_peer(world *at, conn *of, const upgrade *made)
{
    if (has_input_left(of)) {
        cause(of, PCO_ETLS); /* it was no TLS */
        cause(of, PCO_ECERT);
    }
    if (of->linked == NULL) {
        of->clear = of->written - of->arrived;
    }
    if (of->linked == NULL && of->tls == NULL) {
        tls_peer_begin(at, of, !made->serves);
    }
    if (of->fed_eof) {
        tls_cut_off(of);
    }
}

static void choose_options(world *at, upgrade *made, pco_start_tls_options *options,
                           tls_client *client)
{
    static const double times[] = {0, 0, 2, 70};
    if (made->serves) {
        options->ssl = tls_context_of(at);
        options->server_side = PCO_ON;
    } else {
        choose_tls_client(at, client);
        made->must_fail = client->must_fail;
        made->old = client->old;
        made->verdict = client->verdict;
        options->ssl = client->context;
        options->server_hostname = client->name;
        options->ssl_session = client->session;
    }
    options->ssl_handshake_timeout = times[pick(at, sizeof times / sizeof times[0])];
    options->ssl_shutdown_timeout = times[pick(at, sizeof times / sizeof times[0])];
    made->halves = pick(at, 2) == 1;
    options->ssl_half_close = made->halves ? PCO_ON : PCO_DEFAULT;
    options->keep_input = pick(at, 8) == 1 ? PCO_ON : PCO_DEFAULT;
    made->given = pick(at, 2) == 1 ? proto_new(at) : NULL;
    options->protocol = made->given != NULL ? &made->given->base : NULL;
}

/* The peer has begun already, and the protocol was given some of that. */
static unsigned char *begin_early(world *at, upgrade *made, pco_start_tls_options *options)
{
    conn *of = made->of;
    if (!made->serves || of->linked != NULL || of->is_tls || pick(at, 3) != 1) {
        return NULL;
    }
    of->old = false;
    unsigned char *early = tls_begin_early(at, of, &options->input_length);
    made->old = of->old;
    options->input = early;
    return early;
}

static void forget(world *at, upgrade *made)
{
    gate_leave(at, made->verdict);
    free(made->given);
    free(made);
}

/* Whether TLS is being started. */
static bool start(world *at, conn *of, bool serves)
{
    pco_start_tls_options options = {.size = sizeof options};
    upgrade *made = calloc(1, sizeof *made);
    bool was_closing = pco_transport_is_closing(of->transport);
    tls_client client = {.refusals = 0};
    made->at = at;
    made->of = of;
    made->serves = serves;
    choose_options(at, made, &options, &client);
    uint64_t refusals = refusals_of(at, of, was_closing) | client.refusals;
    bool nameless = pick(at, 4) == 1;
    if (options.ssl == NULL) {
        forget(at, made);
        return false;
    }
    unsigned char *early = begin_early(at, made, &options);
    enter_library(at, NULL);
    int code = pco_loop_start_tls(at->loop, of->transport, &options, started, made,
                                  nameless ? NULL : &made->request, NULL);
    leave_library(at);
    free(early);
    say(at, "start_tls on %u as a %s%s, %zu bytes early: %s", of->id, serves ? "server" : "client",
        made->must_fail ? " that must fail" : "", options.input_length,
        code != 0 ? pco_error_name(code) : "0");
    if (code != 0) {
        if (early != NULL) {
            tls_peer_drop(of);
        }
        check_refusal(at, of, code, refusals);
        forget(at, made);
        return false;
    }
    if (refusals != 0) {
        broken(at, "TLS begins on connection %u, where it cannot", of->id);
    }
    of->wants_halves = made->halves;
    of->old = made->old;
    of->client_context = serves ? NULL : options.ssl;
    of->ends_by = pco_loop_time(at->loop) + handshake_limit(options.ssl_handshake_timeout);
    of->may_end = of->ends_by;
    turn_peer(at, of, made);
    if (made->verdict != NULL) {
        made->verdict->conn = of;
    }
    if (made->must_fail) {
        cause(of, PCO_ECERT);
        cause(of, PCO_ETLS);
    }
    of->is_tls = true;
    of->upgrade = made;
    made->next = at->upgrades;
    at->upgrades = made;
    return true;
}

/* ---- Verbs ---- */

/* A byte that has left in part cannot be told from TLS; nor can who keeps the shell of before. */
static bool may_begin(const conn *of)
{
    return of->state == MADE_CONN && of->excess == 0 && of->retained == 0 && !of->detached &&
           (!of->doomed || of->told);
}

static bool is_alone(const conn *of)
{
    return may_begin(of) && of->linked == NULL && (!of->is_tls || of->upgrade != NULL);
}

/* Nothing is on its way from this end to the other. */
static bool has_said_all(const conn *of)
{
    return of->relayed == of->socket->sent_length && of->linked->received == of->written &&
           pco_transport_get_write_buffer_size(of->transport) == 0 && !of->write_eof &&
           of->causes == 0 && !pco_transport_is_closing(of->transport) && !of->fed_eof;
}

static bool is_quiet_pair(const conn *of)
{
    return of->linked != NULL && of->id < of->linked->id && may_begin(of) &&
           may_begin(of->linked) && has_said_all(of) && has_said_all(of->linked);
}

static bool has_one(const world *at, bool (*fits)(const conn *of))
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (fits(at->conns[i])) {
            return true;
        }
    }
    return false;
}

static conn *pick_one(world *at, bool (*fits)(const conn *of))
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += fits(at->conns[i]);
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (fits(at->conns[i]) && nth-- == 0) {
            return at->conns[i];
        }
    }
    return NULL;
}

static bool has_alone(const world *at)
{
    return has_one(at, is_alone);
}

static void start_one(world *at)
{
    conn *of = pick_one(at, is_alone);
    start(at, of, pick(at, 2) == 1);
}

static bool has_quiet_pair(const world *at)
{
    return !at->freeing && has_one(at, is_quiet_pair);
}

static void pass_causes(conn *from, conn *to)
{
    if (from->causes != 0) {
        cause(to, PCO_ECERT);
        cause(to, PCO_ETLS);
        cause(to, PCO_ECONNRESET);
        cause(to, PCO_ETRUNCATED);
    }
}

/* One after the other; if the second cannot, it goes, and the first hears of that. */
static void start_pair(world *at)
{
    conn *of = pick_one(at, is_quiet_pair);
    bool turned = pick(at, 2) == 1;
    conn *first = turned ? of->linked : of;
    conn *second = first->linked;
    bool serves = pick(at, 2) == 1;
    if (!start(at, first, serves)) {
        return;
    }
    if (start(at, second, !serves)) {
        first->old = first->old || second->old;
        second->old = first->old;
        pass_causes(first, second);
        pass_causes(second, first);
        return;
    }
    mark_closed(second, true);
    cause(first, PCO_ECONNRESET);
    cause(first, PCO_ETRUNCATED);
    cause(first, PCO_ETLS);
    enter_library(at, NULL);
    pco_transport_abort(second->transport);
    leave_library(at);
}

static upgrade *find_held(const world *at)
{
    for (upgrade *each = at->upgrades; each != NULL; each = each->next) {
        if (each->request != NULL) {
            return each;
        }
    }
    return NULL;
}

static bool has_held(const world *at)
{
    return find_held(at) != NULL;
}

static void cancel(world *at)
{
    upgrade *of = find_held(at);
    say(at, "cancel start_tls on %u", of->of->id);
    if (!of->told) {
        of->canceled = true;
        mark_closed(of->of, true);
    }
    enter_library(at, NULL);
    pco_request_cancel(of->request);
    leave_library(at);
}

static void release(world *at)
{
    upgrade *of = find_held(at);
    pco_request *gone = of->request;
    of->request = NULL;
    say(at, "release the request of start_tls on %u", of->of->id);
    enter_library(at, NULL);
    pco_request_release(gone);
    leave_library(at);
}

void free_upgrades(world *at)
{
    while (at->upgrades != NULL) {
        upgrade *of = at->upgrades;
        at->upgrades = of->next;
        if (!of->told) {
            broken(at, "start_tls was never completed");
        }
        pco_request_cancel(of->request);
        pco_request_release(of->request);
        free(of);
    }
}

const verb verbs_start_tls[] = {
    {"start TLS", 10, ANYWHERE, has_alone, start_one},
    {"start TLS at both ends", 16, ANYWHERE, has_quiet_pair, start_pair},
    {"cancel start TLS", 2, ANYWHERE, has_held, cancel},
    {"release start TLS", 4, ANYWHERE, has_held, release},
    {.name = NULL},
};
