/* SPDX-License-Identifier: MIT */
/*
 * verbs_choice.c: what the options of a context ask of the program in each handshake: the
 * certificate, answered at once, later, never, with what cannot be, refused, after the connection's
 * end and after the loop's; and of a server the application protocol. client_choice.c has what a
 * client is asked.
 *
 * A peer of the model's offers its number as a protocol, so it is known who is asked about. Of a
 * pair's end that is not known.
 */
#include "tls_parts.h"

/* ---- About whom ---- */

static conn *conn_of_protocols(const world *at, const pco_ssl_hello *hello)
{
    unsigned id;
    if (hello->alpn_count == 0 || sscanf(hello->alpn[0], "c%u", &id) != 1) {
        return NULL;
    }
    return id < at->conns_count ? at->conns[id] : NULL;
}

static conn *conn_of(const world *at, const choice *asked)
{
    return asked->is_client ? conn_of_authorities(at, asked->hello)
                            : conn_of_protocols(at, asked->hello);
}

void offer_number(SSL *of, unsigned id)
{
    char number[16];
    unsigned char list[32];
    size_t length = (size_t)snprintf(number, sizeof number, "c%u", id);
    list[0] = (unsigned char)length;
    memcpy(list + 1, number, length);
    list[1 + length] = 1;
    list[2 + length] = 'b';
    need(SSL_set_alpn_protos(of, list, (unsigned)length + 3) == 0);
}

void check_protocol(world *at, const conn *of)
{
    const tls_peer *peer = of->tls;
    const unsigned char *chosen;
    unsigned length;
    char number[16];
    SSL_get0_alpn_selected(peer->ssl, &chosen, &length);
    snprintf(number, sizeof number, "c%u", of->id);
    const char *wanted = peer->protocol == 0 ? number : "b";
    if (peer->protocol < 0 ? length != 0
                           : length != strlen(wanted) || memcmp(chosen, wanted, length) != 0) {
        broken(at, "connection %u speaks another protocol than was chosen", of->id);
    }
}

static bool may_fail(const conn *of)
{
    return of->linked != NULL && of->is_tls && (of->state == COMING || of->upgrade != NULL);
}

static void cause_failure(conn *of)
{
    cause(of, PCO_ETLS);
    cause(of, PCO_ECERT);
    cause(of, PCO_ECONNRESET);
    cause(of, PCO_ETRUNCATED);
}

/* The handshake will fail: of a pair, any. */
static void let_fail(const world *at, conn *of)
{
    if (of != NULL) {
        cause(of, PCO_ETLS);
        return;
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (may_fail(at->conns[i])) {
            cause_failure(at->conns[i]);
            cause_failure(at->conns[i]->linked);
        }
    }
}

/* ---- The answer ---- */

static bool has_ended(const world *at, const conn *of)
{
    return at->freed || of->state == LOST_CONN || of->failed_handshake || of->socket->closed ||
           (of->state == COMING && of->opening != NULL && of->opening->told) ||
           (of->upgrade != NULL && of->upgrade->told);
}

/* Whose operations do not come back may not have been told yet. */
static bool may_have_ended(const world *at, const conn *of)
{
    return has_ended(at, of) || pco_loop_time(at->loop) >= of->may_end - MOMENT || of->closed ||
           of->doomed || of->causes != 0 || (of->opening != NULL && of->opening->expires) ||
           memory_was_short(at);
}

static void check_answer(world *at, const conn *of, int code, int expected)
{
    if (code != expected && code != PCO_ECLOSED) {
        broken(at, "the answer about a certificate returned %s", pco_error_name(code));
    }
    if (at->freed && code != PCO_ECLOSED) {
        broken(at, "the answer was taken, and the loop is gone");
    }
    if (of != NULL && (code == PCO_ECLOSED ? !may_have_ended(at, of) : has_ended(at, of))) {
        broken(at, "the answer about connection %u returned %s", of->id, pco_error_name(code));
    }
}

/* The peer is shown that; NULL: that of the context that has asked. */
static void expect(const world *at, conn *of, const pco_ssl_context *shown)
{
    tls_peer *peer = of != NULL ? of->tls : NULL;
    if (peer != NULL && !peer->serves) {
        peer->knows = true;
        peer->other = shown != NULL && shown == at->other;
    } else if (of == NULL && shown != NULL && shown == at->other) {
        let_fail(at, NULL); /* who verifies */
    }
}

void give_answer(world *at, const choice *of, pco_ssl_context *shown, bool fits)
{
    enter_library(at, NULL);
    int code = pco_ssl_question_answer(of->question, shown, NULL);
    leave_library(at);
    say(at, "it is answered: %s", code != 0 ? pco_error_name(code) : "0");
    check_answer(at, of->of, code, fits ? 0 : PCO_EINVAL);
}

void refuse_choice(world *at, const choice *of)
{
    say(at, "it is refused");
    enter_library(at, NULL);
    pco_ssl_question_refuse(of->question);
    leave_library(at);
}

static void answer_server(world *at, const choice *of, unsigned how)
{
    pco_ssl_context *clients = how == 7 ? tls_client_context_of(at, false, false) : NULL;
    if (how == 6) {
        let_fail(at, of->of);
        refuse_choice(at, of);
    } else if (clients != NULL) {
        let_fail(at, of->of);
        give_answer(at, of, clients, false);
    } else {
        pco_ssl_context *shown = how == 5 ? at->other : how == 4 ? at->context : NULL;
        expect(at, of->of, shown);
        give_answer(at, of, shown, true);
    }
}

/* Out of the list first: answers may be given inside of what this calls. */
static void settle(world *at, unsigned which, unsigned how)
{
    choice of = at->choices[which];
    at->choices[which] = at->choices[--at->choices_count];
    say(at, "the question about %s %d", of.is_client ? "client" : "connection",
        of.of != NULL ? (int)of.of->id : -1);
    if (conn_of(at, &of) != of.of) {
        broken(at, "a hello has changed before its question was answered");
    }
    if (of.is_client) {
        answer_client(at, &of, how);
    } else {
        answer_server(at, &of, how);
    }
}

#define WAYS 8

bool answer_choices(world *at)
{
    bool had_any = at->choices_count != 0;
    while (at->choices_count != 0) {
        settle(at, at->choices_count - 1, 0);
    }
    return had_any;
}

/* ---- The questions ---- */

static void check_question(world *at, conn *of)
{
    if (of == NULL) {
        return;
    }
    if (has_ended(at, of) || of->closed || (of->state != COMING && of->upgrade == NULL)) {
        broken(at, "a certificate is asked for, and connection %u has no handshake", of->id);
    }
    if (of->chosen) {
        broken(at, "a certificate is asked for twice for connection %u", of->id);
    }
    of->chosen = true;
}

void ask_choice(world *at, choice asked)
{
    conn *of = asked.of;
    enter_callback(at, of, "choose_certificate", of != NULL ? of->id : CONNS_MOST);
    if (asked.is_client) {
        check_client_question(at, &asked);
    }
    check_question(at, of);
    if (at->choices_count == CHOICES_MOST) {
        settle(at, 0, 0);
    }
    at->choices[at->choices_count++] = asked;
    act_in_callback(at);
    bool at_once = at->calm || pick(at, 3) != 1;
    unsigned how = at->calm ? 0 : pick(at, WAYS);
    for (unsigned i = 0; at_once && i < at->choices_count; i++) {
        if (at->choices[i].question == asked.question) {
            settle(at, i, how);
            break;
        }
    }
    leave_callback(at, NULL);
}

static void choose_certificate(pco_ssl_question *asked, const pco_ssl_hello *hello, void *context)
{
    world *at = context;
    ask_choice(at, (choice){asked, hello, conn_of_protocols(at, hello), false});
}

/* It runs inside of OpenSSL. */
static int choose_alpn(const pco_ssl_hello *hello, void *context)
{
    static const int answers[] = {
        0, 0, 1, 1, PCO_SSL_ALPN_NONE, PCO_SSL_ALPN_NONE, PCO_SSL_ALPN_REFUSE};
    world *at = context;
    conn *of = conn_of_protocols(at, hello);
    tls_peer *peer = of != NULL ? of->tls : NULL;
    int answer = answers[pick(at, sizeof answers / sizeof answers[0])];
    happened(at, "choose_alpn", of != NULL ? of->id : CONNS_MOST);
    if (of == NULL || hello->alpn_count != 2 || hello->versions_count != 1) {
        broken(at, "a protocol is to be chosen of a hello that nobody has said");
    }
    say(at, "the protocol of connection %u: %d", of->id, answer);
    if (answer == PCO_SSL_ALPN_REFUSE) {
        cause(of, PCO_ETLS);
    } else if (peer != NULL) {
        peer->protocol = answer;
    }
    return answer;
}

void choose_choices(world *at, pco_ssl_context_options *options)
{
    options->choose_certificate = pick(at, 2) == 1 ? choose_certificate : NULL;
    options->choose_alpn = pick(at, 2) == 1 ? choose_alpn : NULL;
    options->callback_context = at;
}

/* ---- The time limit ---- */

/* In so many turns a handshake whose time is up has ended. */
#define TURNS_ENOUGH 5

static bool is_overdue(const world *at, const conn *of)
{
    return !has_ended(at, of) && !of->closed && pco_loop_time(at->loop) > of->ends_by + MOMENT;
}

void check_choices(world *at)
{
    const fake_backend *fake = fake_of(at->loop);
    for (unsigned i = 0; i < at->choices_count; i++) {
        conn *of = at->choices[i].of;
        if (of == NULL || !is_overdue(at, of) || fake->manual || fake->hold_cancels) {
            continue;
        }
        of->overdue = of->overdue != 0 ? of->overdue : fake->turns;
        if (fake->turns > of->overdue + TURNS_ENOUGH &&
            fake->turns > at->mood_since + TURNS_ENOUGH) {
            broken(at, "the handshake of connection %u waits for an answer, and its time is up",
                   of->id);
        }
    }
}

/* ---- Verbs ---- */

static bool has_choice(const world *at)
{
    return at->choices_count != 0;
}

static void answer(world *at)
{
    unsigned which = pick(at, at->choices_count);
    settle(at, which, pick(at, WAYS));
}

const verb verbs_choice[] = {
    {"answer", 12, ANYWHERE, has_choice, answer},
    {.name = NULL},
};
