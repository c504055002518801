/* SPDX-License-Identifier: MIT */
/*
 * attempts.c: happy eyeballs (RFC 8305): addresses are tried one after the other, each a moment
 * after the one before, and the first that answers wins.
 */
#include "client/attempts.h"
#include "client/opening.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/network.h"

/* How many are under way at once; and how long one may be silent, in seconds, if another waits. */
#define MOST 8
#define PATIENCE 10.0

/* How often a connection that met itself is tried again. */
#define SELVES 3

/*
 * Linux does not wait for room in the backlog of a UNIX socket (connect(2), EAGAIN), nor tell when
 * there is some. It is tried again after so many seconds, at first, and in the long run.
 */
#define FULL_AT_FIRST 0.001
#define FULL_AT_LAST 0.128

/* ---- The order ---- */

static int family_of(const pco__attempt *attempt)
{
    return pco_address_family(&attempt->address);
}

/* The first from `from` on whose family is not `family`; `count` if there is none. */
static size_t find_other(const pco__attempt *attempts, size_t from, size_t count, int family)
{
    while (from < count && family_of(&attempts[from]) == family) {
        from++;
    }
    return from;
}

/* Moves one forward, and those that it passes back. */
static void move(pco__attempt *attempts, size_t from, size_t to)
{
    pco__attempt moved = attempts[from];
    memmove(&attempts[to + 1], &attempts[to], (from - to) * sizeof *attempts);
    attempts[to] = moved;
}

static void put_in_order(pco__attempt *attempts, size_t count, int interleave)
{
    if (interleave < 0 || count <= 1) {
        return;
    }
    int family = family_of(&attempts[0]);
    size_t wanted = (size_t)interleave; /* of this family, in a row */
    for (size_t at = 0; at < count; at++) {
        if (wanted == 0) {
            size_t other = find_other(attempts, at, count, family);
            if (other == count) {
                return;
            }
            family = family_of(&attempts[other]);
            move(attempts, other, at);
            continue;
        }
        wanted--;
        size_t same = at;
        while (same < count && family_of(&attempts[same]) != family) {
            same++;
        }
        if (same == count) {
            return;
        }
        move(attempts, same, at);
    }
}

/* ---- Failures ---- */

static void describe(const pco__attempt *attempt, pco_error *error)
{
    pco__error_set(error, attempt->error, attempt->system_code, "%s%s%s",
                   attempt->action != NULL ? attempt->action : "",
                   attempt->action != NULL ? ": " : "", pco_strerror(attempt->error));
}

static void note_failure(pco__opening *opening, pco__attempt *attempt, int code, int system_code,
                         const char *action)
{
    attempt->error = code;
    attempt->system_code = system_code;
    attempt->action = action;
    opening->may_go_on = true;
    pco__opening_schedule(opening);
    pco_error error;
    describe(attempt, &error);
    pco__opening_tell(opening, PCO_CONNECTION_FAILED, &attempt->address, &error);
}

/* A sentence that grows. */
typedef struct text {
    char content[sizeof((pco_error *)NULL)->message];
    size_t length;
} text;

static void add(text *to, const char *what)
{
    size_t room = sizeof to->content - 1 - to->length;
    size_t length = strlen(what);
    length = length < room ? length : room;
    memcpy(to->content + to->length, what, length);
    to->length += length;
    to->content[to->length] = '\0';
}

static void add_address(text *to, const pco_address *address)
{
    char name[PCO_ADDRESS_TEXT_SIZE + sizeof "[]:65535"];
    add(to, pco_address_format(address, name, sizeof name) == 0 ? name : "an unknown address");
}

static void add_reason(text *to, const pco__attempt *attempt)
{
    pco_error error;
    describe(attempt, &error);
    add(to, error.message);
}

static bool are_alike(const pco__attempt *one, const pco__attempt *other)
{
    return one->error == other->error && one->action == other->action;
}

/* Whether an address before failed for the same reason. */
static bool was_named(const pco__opening *opening, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (are_alike(&opening->attempts[i], &opening->attempts[index])) {
            return true;
        }
    }
    return false;
}

/* "connection refused (127.0.0.1:80, [::1]:80); timed out (10.0.0.1:80)" */
static void add_by_reason(text *to, const pco__opening *opening)
{
    for (size_t i = 0; i < opening->count; i++) {
        if (was_named(opening, i)) {
            continue;
        }
        add(to, i == 0 ? "" : "; ");
        add_reason(to, &opening->attempts[i]);
        const char *between = " (";
        for (size_t j = i; j < opening->count; j++) {
            if (are_alike(&opening->attempts[i], &opening->attempts[j])) {
                add(to, between);
                add_address(to, &opening->attempts[j].address);
                between = ", ";
            }
        }
        add(to, ")");
    }
}

/* "127.0.0.1:80: connection refused; [::1]:80: connection refused" */
static void add_one_by_one(text *to, const pco__opening *opening)
{
    for (size_t i = 0; i < opening->count; i++) {
        add(to, i == 0 ? "" : "; ");
        add_address(to, &opening->attempts[i].address);
        add(to, ": ");
        add_reason(to, &opening->attempts[i]);
    }
}

static void all_failed(pco__opening *opening)
{
    const pco__attempt *last = &opening->attempts[opening->count - 1];
    pco__purpose purpose = pco__opening_purpose(opening);
    text reasons = {.length = 0};
    if (pco__opening_is_obvious(opening)) {
        add_reason(&reasons, last);
    } else if (opening->options.all_errors == PCO_ON) {
        add_one_by_one(&reasons, opening);
    } else {
        add_by_reason(&reasons, opening);
    }
    pco_error error;
    pco__error_set(&error, last->error, last->system_code, "%s: %s", purpose.text, reasons.content);
    pco__opening_fail(opening, &error);
}

/* ---- One attempt ---- */

/* Binds the socket to the first local address of its family that works, if one is wanted. */
static int bind_locally(pco__opening *opening, pco_socket sock, int family, const char **action,
                        pco_error *error)
{
    int code = PCO_EADDRNOTAVAIL;
    if (opening->local_count == 0) {
        return 0;
    }
    *action = "local_host has no address of this family";
    error->system_code = 0;
    for (size_t i = 0; i < opening->local_count; i++) {
        if (pco_address_family(&opening->local[i]) != family) {
            continue;
        }
        *action = "bind to the local address";
        code = pco__opening_network(opening)->bind_local(opening->loop->backend, sock,
                                                         &opening->local[i], error);
        if (code == 0) {
            break;
        }
    }
    return code;
}

/* Makes a socket and connects it. *action says what has failed, if not connecting. */
static int connect_to(pco__opening *opening, const pco_address *address, pco__stream **stream,
                      const char **action, pco_error *error)
{
    const pco__network *network = pco__opening_network(opening);
    const pco_connection_options *options = &opening->options;
    pco__backend *backend = opening->loop->backend;
    int family = pco_address_family(address);
    pco_socket sock;
    *action = "open a socket";
    int code = network->open(backend, family, options->proto, &sock, error);
    if (code != 0) {
        return code;
    }
    error->system_code = 0;
    pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
    if (pco__socket_options_ask(&wanted)) {
        *action = "set keep-alive or user_timeout";
        code = network->prepare_connected(backend, sock, &wanted, true);
    }
    if (code == 0 && options->prepare_socket != NULL) {
        *action = "prepare_socket";
        code = pco__error_known(options->prepare_socket(sock, family, options->context));
    }
    if (code == 0) {
        code = bind_locally(opening, sock, family, action, error);
    }
    if (code == 0) {
        *action = "make a transport";
        code = pco__stream_connect(opening->loop, sock, address, &opening->owner.streams, stream,
                                   error);
    }
    if (code != 0) {
        network->close(backend, sock, false);
    }
    return code;
}

/* Tries one address. The user's callbacks in it may end it all. */
static void begin(pco__opening *opening, size_t index)
{
    pco__attempt *attempt = &opening->attempts[index];
    const pco_address *address = &attempt->address;
    pco_error error;
    const char *action;
    pco__stream *stream;
    if (attempt->refills == 0) {
        pco__opening_tell(opening, PCO_CONNECTION_CONNECTING, address, NULL);
    }
    if (opening->stage != PCO__OPENING_CONNECTING) {
        return;
    }
    int code = connect_to(opening, address, &stream, &action, &error);
    if (code != 0 && opening->stage == PCO__OPENING_CONNECTING) {
        note_failure(opening, attempt, code, error.system_code, action);
    }
    if (code != 0) {
        return;
    }
    opening->streams++;
    opening->in_flight++;
    attempt->stream = stream;
    attempt->began = pco__loop_now(opening->loop);
    if (opening->stage != PCO__OPENING_CONNECTING) { /* prepare_socket has canceled it */
        pco__stream_abort(stream, false);
    }
}

/* The port that the socket was given may be the very one that it connects to. */
static bool may_have_met_itself(const pco__opening *opening, int port)
{
    const pco__network *network = pco__opening_network(opening);
    if (opening->options.local_port != 0 || pco__opening_is_unix(opening)) {
        return false;
    }
    return opening->options.prepare_socket != NULL || network->gives_port == NULL ||
           network->gives_port(opening->loop->backend, port);
}

static bool has_met_itself(const pco__opening *opening, const pco__stream *stream,
                           const pco_address *address)
{
    pco__backend *backend = opening->loop->backend;
    pco_address own;
    pco_address peer;
    return may_have_met_itself(opening, pco_address_port(address)) &&
           pco__opening_network(opening)->sockname(backend, stream->io.socket, &own) == 0 &&
           pco_address_port(&own) == pco_address_port(address) &&
           pco__opening_network(opening)->peername(backend, stream->io.socket, &peer) == 0 &&
           pco_address_equal(&own, &peer);
}

static pco__attempt *attempt_of(pco__opening *opening, const pco__stream *stream)
{
    pco__attempt *attempt = opening->attempts;
    while (attempt->stream != stream) {
        attempt++;
        assert(attempt < opening->attempts + opening->count);
    }
    return attempt;
}

static void try_again(pco__opening *opening, pco__attempt *attempt)
{
    if (++attempt->selves == SELVES) {
        note_failure(opening, attempt, PCO_ECONNREFUSED, 0, "nobody but the socket itself");
    } else {
        begin(opening, (size_t)(attempt - opening->attempts));
    }
}

/* The only address has a backlog that is full: its turn comes again. */
static void try_later(pco__opening *opening, pco__attempt *attempt)
{
    double pause = FULL_AT_FIRST * (double)(1u << attempt->refills);
    if (pause < FULL_AT_LAST) {
        attempt->refills++;
    }
    opening->next--;
    pco__loop_start_timer(opening->loop, &opening->delay, pause);
}

void pco__attempt_ended(pco__opening *opening, pco__stream *stream, const pco__result *result)
{
    pco__attempt *attempt = attempt_of(opening, stream);
    attempt->stream = NULL;
    opening->in_flight--;
    if (opening->stage != PCO__OPENING_CONNECTING) {
        pco__stream_abort(stream, false);
    } else if (result->error == PCO_ECANCELED) {
        pco__opening_schedule(opening); /* it was given up, and has been told */
    } else if (result->error == PCO_EAGAIN && pco__opening_is_unix(opening)) {
        try_later(opening, attempt);
    } else if (result->error != 0) {
        note_failure(opening, attempt, result->error, result->system_code, NULL);
    } else if (has_met_itself(opening, stream, &attempt->address)) {
        pco__stream_abort(stream, true);
        try_again(opening, attempt);
    } else {
        pco__opening_won(opening, stream);
    }
}

/* ---- One after the other ---- */

/* Seconds that the oldest attempt under way has still to answer, before it must make room. */
static double patience_left(pco__opening *opening, pco__attempt **oldest)
{
    *oldest = NULL;
    for (size_t i = 0; i < opening->next; i++) {
        pco__attempt *attempt = &opening->attempts[i];
        if (attempt->stream != NULL && attempt->stream->state == PCO__STREAM_CONNECTING &&
            (*oldest == NULL || attempt->began < (*oldest)->began)) {
            *oldest = attempt;
        }
    }
    if (*oldest == NULL) {
        return INFINITY;
    }
    return PATIENCE - (double)(pco__loop_now(opening->loop) - (*oldest)->began) / 1e9;
}

/* Whether there is room for one more; who has been silent for long is given up. */
static bool has_room(pco__opening *opening)
{
    pco__attempt *oldest;
    if (opening->in_flight < MOST) {
        return true;
    }
    double left = patience_left(opening, &oldest);
    if (left > 0) {
        pco__loop_stop_timer(opening->loop, &opening->delay);
        pco__loop_start_timer(opening->loop, &opening->delay, left);
        return false;
    }
    pco__stream_abort(oldest->stream, false);
    note_failure(opening, oldest, PCO_ETIMEDOUT, 0, NULL);
    return true;
}

static bool may_begin(pco__opening *opening)
{
    return opening->stage == PCO__OPENING_CONNECTING && opening->next < opening->count &&
           (opening->may_go_on || opening->in_flight == 0) && has_room(opening) &&
           opening->stage == PCO__OPENING_CONNECTING;
}

/* Whether one of those that were tried has not failed. */
static bool is_hopeful(const pco__opening *opening)
{
    for (size_t i = 0; i < opening->next; i++) {
        if (opening->attempts[i].error == 0) {
            return true;
        }
    }
    return false;
}

void pco__attempts_go_on(pco__opening *opening)
{
    while (may_begin(opening)) {
        opening->may_go_on = false;
        pco__loop_stop_timer(opening->loop, &opening->delay);
        if (opening->next + 1 < opening->count) {
            pco__loop_start_timer(opening->loop, &opening->delay,
                                  opening->options.happy_eyeballs_delay);
        }
        begin(opening, opening->next++);
    }
    if (opening->stage == PCO__OPENING_CONNECTING && opening->next == opening->count &&
        !is_hopeful(opening)) {
        all_failed(opening);
    }
}

void pco__attempts_begin(pco__opening *opening)
{
    put_in_order(opening->attempts, opening->count, opening->options.interleave);
    opening->stage = PCO__OPENING_CONNECTING;
    pco__attempts_go_on(opening);
}
