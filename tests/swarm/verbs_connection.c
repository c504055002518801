/* SPDX-License-Identifier: MIT */
/* verbs_connection.c: what a protocol asks of its transport. */
#include "swarm.h"

#define PIECES_MOST 100
#define MANY_LENGTH 1000 /* of each, when they are so many */

static bool has_open(const world *at)
{
    return has_conn(at, MADE_CONN);
}

/* ---- Writing ---- */

/* A write that is under way. */
typedef struct attempt {
    conn *of;
    size_t length;
    bool closing; /* the transport was, before */
    bool ended;   /* write_eof was called before */
} attempt;

/* It counts before it is known to succeed: pause_writing, inside of it, may write what follows. */
static attempt begin_write(world *at, conn *of, size_t length)
{
    attempt made = {of, length, pco_transport_is_closing(of->transport), of->write_eof};
    of->written += length;
    enter_library(at, of);
    return made;
}

static void check_refusal(world *at, const attempt *made, int code)
{
    conn *of = made->of;
    bool by_memory = code == PCO_ENOMEM || (code == PCO_ETLS && of->is_tls);
    of->written -= made->length;
    if (by_memory && !made->closing && memory_was_short(at)) {
        of->excess = made->length > of->excess ? made->length : of->excess;
    } else if (code != (made->closing ? PCO_ECLOSED : PCO_EPIPE)) {
        broken(at, "a write returned %s", pco_error_name(code));
    }
}

static void end_write(world *at, const attempt *made, int code, const char *name)
{
    conn *of = made->of;
    leave_library(at);
    say(at, "%s of %u, %zu bytes: %s", name, of->id, made->length,
        code != 0 ? pco_error_name(code) : "0");
    if (code != 0) {
        check_refusal(at, made, code);
    } else if (made->closing || made->ended) {
        broken(at, "a write was taken after close or write_eof");
    }
    bool may_wait = code != 0 && of->is_tls; /* what TLS has to say itself, until it is told */
    if (of->state == MADE_CONN && !pco_transport_is_closing(of->transport) && !may_wait &&
        pco_transport_get_write_buffer_size(of->transport) > of->high && !of->writing_paused) {
        broken(at, "more waits than the high-water mark, and pause_writing was not called");
    }
}

static void write_copy(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    size_t length = pick_length(at);
    unsigned char *data = bytes_from(of, true, of->written, length);
    attempt made = begin_write(at, of, length);
    int code = pco_transport_write(of->transport, data, length);
    free(data);
    end_write(at, &made, code, "write");
}

static void write_lines(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    pco_buffer pieces[PIECES_MOST];
    size_t count = pick_rarely(at, 8) ? PIECES_MOST : 1 + (size_t)pick(at, 5);
    size_t most = count == PIECES_MOST ? MANY_LENGTH : pick_length(at);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = pick(at, (uint32_t)most + 1);
        pieces[i].data = length != 0 ? bytes_from(of, true, of->written + total, length) : NULL;
        pieces[i].length = length;
        total += length;
    }
    attempt made = begin_write(at, of, total);
    int code = pco_transport_writelines(of->transport, pieces, count);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)pieces[i].data);
    }
    /* Of nothing at all, any of the answers will do. */
    if (total == 0 && (code == PCO_ECLOSED || code == PCO_EPIPE || code == 0)) {
        leave_library(at);
        return;
    }
    end_write(at, &made, code, "writelines");
}

static void release(const void *data, void *context)
{
    owned *of = context;
    world *at = of->at;
    say(at, "memory %u is released", of->id);
    happened(at, "released", of->id);
    of->released++;
    if (of->released != 1 || of->data != data) {
        broken(at, "memory handed over was released twice, or as another");
    }
    free(of->data);
}

static void write_owned(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    size_t length = pick_length(at);
    owned *gift = calloc(1, sizeof *gift);
    gift->at = at;
    gift->id = at->owned_count++;
    gift->data = bytes_from(of, true, of->written, length);
    gift->next = at->owned;
    at->owned = gift;
    attempt made = begin_write(at, of, length);
    int code = pco_transport_write_owned(of->transport, gift->data, length, release, gift);
    end_write(at, &made, code, "write_owned");
}

static void write_nothing(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    say(at, "write of %u, nothing and NULL", of->id);
    enter_library(at, of);
    bool closing = pco_transport_is_closing(of->transport);
    int code = pco_transport_write(of->transport, NULL, 0);
    int refused = pco_transport_write(of->transport, NULL, 1);
    leave_library(at);
    if (code != 0 && !closing && !of->write_eof) {
        broken(at, "a write of nothing returned %s", pco_error_name(code));
    }
    if (refused == 0) {
        broken(at, "a write of NULL was taken");
    }
}

static void write_eof(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    if (of->upgrade != NULL) {
        return;
    }
    bool closing = pco_transport_is_closing(of->transport);
    enter_library(at, of);
    int code = pco_transport_write_eof(of->transport);
    leave_library(at);
    say(at, "write_eof of %u: %d", of->id, code);
    if (pco_transport_can_write_eof(of->transport) != has_halves(of)) {
        broken(at, "can_write_eof is wrong");
    }
    if (has_halves(of) ? code != (closing ? PCO_ECLOSED : 0)
                       : code != PCO_ENOTSUP && code != PCO_ECLOSED) {
        broken(at, "write_eof returned %s", pco_error_name(code));
    }
    of->write_eof = of->write_eof || code == 0;
}

static void set_limits(world *at)
{
    static const size_t marks[] = {PCO_LIMIT_DEFAULT, 0, 1, 100, 5000, 100000, 1000000};
    conn *of = pick_conn(at, MADE_CONN);
    if (of->upgrade != NULL) {
        return;
    }
    size_t high = marks[pick(at, sizeof marks / sizeof marks[0])];
    size_t low = marks[pick(at, sizeof marks / sizeof marks[0])];
    size_t new_high = high != PCO_LIMIT_DEFAULT  ? high
                      : low != PCO_LIMIT_DEFAULT ? 4 * low
                                                 : (size_t)64 * 1024;
    size_t new_low = low != PCO_LIMIT_DEFAULT ? low : new_high / 4;
    bool valid = new_low <= new_high;
    if (valid) {
        of->high = new_high;
        of->low = new_low;
    }
    say(at, "set limits of %u to %zu, %zu", of->id, new_high, new_low);
    enter_library(at, of);
    int code = pco_transport_set_write_buffer_limits(of->transport, high, low);
    leave_library(at);
    if (code != (valid ? 0 : PCO_EINVAL)) {
        broken(at, "set_write_buffer_limits returned %s", pco_error_name(code));
    }
    pco_transport_get_write_buffer_limits(of->transport, &high, &low);
    if (high != of->high || low != of->low) {
        broken(at, "the limits are %zu and %zu, not %zu and %zu", high, low, of->high, of->low);
    }
}

/* ---- Reading ---- */

static void set_paused(world *at, bool paused)
{
    conn *of = pick_conn(at, MADE_CONN);
    bool closing = pco_transport_is_closing(of->transport);
    say(at, "%s reading of %u", paused ? "pause" : "resume", of->id);
    enter_library(at, NULL);
    int code = paused ? pco_transport_pause_reading(of->transport)
                      : pco_transport_resume_reading(of->transport);
    leave_library(at);
    if (code != (closing ? PCO_ECLOSED : 0)) {
        broken(at, "pausing or resuming returned %s", pco_error_name(code));
    }
    of->paused = closing ? of->paused : paused;
}

static void pause_reading(world *at)
{
    set_paused(at, true);
}

static void resume_reading(world *at)
{
    set_paused(at, false);
}

static void set_protocol(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    if (of->upgrade != NULL) {
        return;
    }
    proto *old = of->proto;
    proto *made = proto_new(at);
    say(at, "set protocol of %u, %s", of->id,
        made->base.methods->get_buffer != NULL ? "buffered" : "plain");
    made->of = of;
    enter_library(at, NULL);
    int code = pco_transport_set_protocol(of->transport, &made->base);
    if (pco_transport_set_protocol(of->transport, NULL) != PCO_EINVAL) {
        broken(at, "no protocol was taken as one");
    }
    leave_library(at);
    if (code != 0) {
        broken(at, "set_protocol returned %s", pco_error_name(code));
    }
    of->proto = made;
    of->asked = false;
    free(old);
}

/* ---- Closing ---- */

static void close_conn(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    say(at, "close %u", of->id);
    mark_closed(of, of->upgrade != NULL);
    enter_library(at, NULL);
    pco_transport_close(of->transport);
    leave_library(at);
    if (!pco_transport_is_closing(of->transport)) {
        broken(at, "a transport that was closed is not closing");
    }
}

static void abort_conn(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    bool reset = pick(at, 2) == 1;
    say(at, "abort%s %u", reset ? "_reset" : "", of->id);
    mark_closed(of, true);
    enter_library(at, NULL);
    if (reset) {
        pco_transport_abort_reset(of->transport);
    } else {
        pco_transport_abort(of->transport);
    }
    leave_library(at);
    if (!pco_transport_is_closing(of->transport)) {
        broken(at, "a transport that was aborted is not closing");
    }
}

/* ---- References ---- */

static void retain(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    if (of->upgrade != NULL) {
        return;
    }
    say(at, "retain %u", of->id);
    enter_library(at, NULL);
    if (pco_transport_retain(of->transport) != of->transport) {
        broken(at, "retain returned another transport");
    }
    leave_library(at);
    of->retained++;
}

static conn *find_retained(const world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->retained != 0) {
            return at->conns[i];
        }
    }
    return NULL;
}

static bool has_retained(const world *at)
{
    return find_retained(at) != NULL;
}

static void give_back(world *at)
{
    conn *of = find_retained(at);
    pco_transport *shell = of->transport;
    say(at, "release %u", of->id);
    of->retained--;
    if (of->retained == 0 && of->state == LOST_CONN && at->current != of) {
        of->transport = NULL;
    }
    enter_library(at, NULL);
    pco_transport_release(shell);
    leave_library(at);
}

static void check_peername(world *at, const conn *of)
{
    pco_address peer = {.length = 0};
    int code = pco_transport_get_peername(of->transport, &peer);
    if (code != (of->carrier == OVER_PIPE ? PCO_ENOTSOCK : 0) ||
        pco_address_port(&peer) != of->port ||
        (of->carrier == OVER_UNIX && !pco_address_equal(&peer, &of->socket->peer))) {
        broken(at, "the peer's name is wrong");
    }
}

/* A pair's ends may be UNIX sockets, too. */
static void check_credentials(world *at, const conn *of)
{
    pco_credentials told = {.size = sizeof told, .user = -2, .group = -2, .process = -2};
    pco_credentials its = of->socket->credentials;
    bool is_unix = pco_address_family(&of->socket->peer) == PCO_AF_UNIX;
    int code = pco_transport_get_peer_credentials(of->transport, &told);
    if (of->carrier == OVER_PIPE) {
        its.user = -1;
        its.group = -1;
    } else if (!is_unix) {
        its = (pco_credentials){.user = -2, .group = -2, .process = -2};
    }
    if (code != (is_unix || of->carrier == OVER_PIPE ? 0 : PCO_ENOTSUP) || told.user != its.user ||
        told.group != its.group || told.process != its.process) {
        broken(at, "the credentials of the peer of connection %u are wrong", of->id);
    }
}

static void ask(world *at)
{
    conn *of = pick_conn(at, MADE_CONN);
    if (of->upgrade != NULL) {
        return;
    }
    if (of->detached) {
        return; /* it has no socket any more */
    }
    pco_ssl_info info = {.size = sizeof info};
    enter_library(at, NULL);
    check_peername(at, of);
    check_credentials(at, of);
    int code = pco_transport_get_ssl_info(of->transport, &info);
    if (of->is_tls ? code != 0 && !(code == PCO_ENOMEM && memory_was_short(at))
                   : code != PCO_ENOTSUP) {
        broken(at, "get_ssl_info returned %s", pco_error_name(code));
    }
    if (of->is_tls == (pco_transport_get_ssl_object(of->transport) == NULL)) {
        broken(at, "get_ssl_object is wrong");
    }
    leave_library(at);
}

const verb verbs_connection[] = {
    {"write", 30, ANYWHERE, has_open, write_copy},
    {"writelines", 8, ANYWHERE, has_open, write_lines},
    {"write_owned", 12, ANYWHERE, has_open, write_owned},
    {"write nothing", 1, ANYWHERE, has_open, write_nothing},
    {"write_eof", 3, ANYWHERE, has_open, write_eof},
    {"limits", 5, ANYWHERE, has_open, set_limits},
    {"pause", 8, ANYWHERE, has_open, pause_reading},
    {"resume", 12, ANYWHERE, has_open, resume_reading},
    {"set_protocol", 6, ANYWHERE, has_open, set_protocol},
    {"close", 5, ANYWHERE, has_open, close_conn},
    {"abort", 3, ANYWHERE, has_open, abort_conn},
    {"retain", 3, ANYWHERE, has_open, retain},
    {"release", 3, ANYWHERE, has_retained, give_back},
    {"ask", 3, ANYWHERE, has_open, ask},
    {.name = NULL},
};
