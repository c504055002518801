/* SPDX-License-Identifier: MIT */
/*
 * verbs_local.c: servers and clients that find each other by a name, over UNIX sockets in the one
 * program and over pipes in the other: names that are served already, or by nobody, or by an
 * impostor; and clients that are none of this user's.
 *
 * Of a name it can be seen whether it speaks TLS.
 */
#include "swarm.h"

#include "system/local.h"

#define PATIENCE 30

static carrier carrier_now(void)
{
    return fake_local_has_pipes ? OVER_PIPE : OVER_UNIX;
}

/* One of a few, or one that cannot be. */
static void choose_name(world *at, bool is_tls, char *name, size_t size)
{
    static const char *const names[] = {"editor", "editor", "com.example.x", "", "a b"};
    const char *chosen = names[pick(at, sizeof names / sizeof names[0])];
    snprintf(name, size, "%s%s", is_tls ? "tls." : "", chosen);
}

static bool is_name(const char *name)
{
    return name[0] != '\0' && strchr(name, ' ') == NULL;
}

/* ---- Who has a name ---- */

static bool is_open(const served *of)
{
    return of->name[0] != '\0' && of->listeners[0] != NULL && !of->listeners[0]->closed;
}

static served *find_server(const world *at, const char *name, int audience)
{
    for (unsigned i = 0; i < at->servers_count && !at->freed; i++) {
        served *each = at->servers[i];
        if (is_open(each) && each->audience == audience && strcmp(each->name, name) == 0) {
            return each;
        }
    }
    return NULL;
}

/* One for each socket of a name that is not everybody's, and no other. */
void check_locks(world *at)
{
    size_t count = 0;
    for (unsigned i = 0; i < at->servers_count; i++) {
        const served *each = at->servers[i];
        count +=
            is_open(each) && each->carrier == OVER_UNIX && each->audience != PCO_LOCAL_ALL ? 1 : 0;
    }
    if (fake_local_locks() != count) {
        broken(at, "%zu locks are held, of %zu names", fake_local_locks(), count);
    }
}

/* Where the name is; of one that cannot be, nowhere. */
static void place_of(const char *name, int audience, char *where, size_t size)
{
    pco__local_place found;
    pco__local_find(name, audience, false, &found, NULL);
    snprintf(where, size, "%.*s", (int)size - 1, found.where);
}

/* ---- Servers ---- */

static void check_answer(world *at, const served *of, int code, int refusal, bool is_taken)
{
    bool has_lock = of->carrier == OVER_UNIX && of->audience != PCO_LOCAL_ALL;
    int taken = fake_local_impostor && !has_lock ? PCO_EACCES : PCO_EADDRINUSE;
    if (code == 0 ? refusal != 0 || is_taken || at->freeing || fake_local_error != 0
                  : !(code == taken && is_taken) && !(code == PCO_EMFILE && at->pipes_failed) &&
                        !(fake_local_error != 0 && code == fake_local_error) &&
                        !may_fail_to_create(at, of, code, refusal)) {
        broken(at, "serving a name returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

static bool is_taken_now(const world *at, const served *of)
{
    bool by_pipe = of->carrier == OVER_PIPE && fake_pipe_is_served(at->loop, of->place);
    return by_pipe || find_server(at, of->name, of->audience) != NULL;
}

static int call_serve(world *at, const served *made, const pco_server_options *options,
                      pco_server **server)
{
    pco_local_options local = {.size = sizeof local, .audience = made->audience};
    pco_error error = {.code = 0};
    enter_library(at, NULL);
    int code = pco_loop_create_local_server(at->loop, made->name, options,
                                            made->audience != 0 ? &local : NULL, server, &error);
    leave_library(at);
    if (code == PCO_EADDRINUSE && strstr(error.message, "already running") == NULL) {
        broken(at, "a name is taken, and it is not said so: %s", error.message);
    }
    return code;
}

static void serve(world *at)
{
    pco_server_options options;
    pco_server *server = NULL;
    int refusal;
    served *made = server_new(at, carrier_now(), &options, &refusal);
    made->lingers = made->lingers && made->carrier == OVER_UNIX;
    made->audience = (int)pick(at, 3);
    choose_name(at, made->tls, made->name, sizeof made->name);
    place_of(made->name, made->audience, made->place, sizeof made->place);
    refusal = is_name(made->name) ? refusal : PCO_EINVAL;
    fake_local_impostor = pick(at, 5) == 1;
    bool is_taken = is_taken_now(at, made);
    int code = call_serve(at, made, &options, &server);
    say(at, "serve the name %s for %d%s: %s", made->name, made->audience,
        is_taken ? ", which is served" : "", code != 0 ? pco_error_name(code) : "0");
    check_answer(at, made, code, refusal, is_taken);
    if (code == 0) {
        server_welcome(at, made, server);
        made->listeners[0] = fake_socket_of(at->loop, pco_server_get_socket(server, 0));
    } else {
        free(made);
    }
}

/* ---- Clients ---- */

/* Somebody else serves it, or an impostor does, or nobody. */
static void choose_stranger(world *at, opening *of, char *name, size_t size)
{
    static const fate fates[] = {ANSWERS, ANSWERS, REFUSES, ANSWERS_LATE, REFUSES_LATE};
    static const int errors[] = {PCO_ECONNREFUSED, PCO_ENOENT, PCO_EACCES};
    target *to = &of->targets[0];
    to->fate = fates[pick(at, sizeof fates / sizeof fates[0])];
    to->error = errors[pick(at, sizeof errors / sizeof errors[0])];
    to->full = pick_rarely(at, 4) ? 1 + pick(at, 12) : 0;
    of->is_tls = swarm_has_tls && pick(at, 2) == 1;
    of->has_impostor = of->audience != PCO_LOCAL_ALL && pick(at, 3) == 1;
    of->causes |= of->has_impostor ? cause_bit(PCO_EACCES) : 0;
    snprintf(name, size, "elsewhere%u", of->id);
}

/* A server of ours, if it is there. */
static void choose_own(world *at, opening *of, char *name, size_t size)
{
    target *to = &of->targets[0];
    of->is_tls = swarm_has_tls && pick(at, 2) == 1;
    choose_name(at, of->is_tls, name, size);
    to->server = find_server(at, name, of->audience);
    to->fate = to->server != NULL ? ANSWERS : REFUSES;
    to->error = pick(at, 2) == 1 ? PCO_ECONNREFUSED : PCO_ENOENT;
    of->refusals |= is_name(name) ? 0 : cause_bit(PCO_EINVAL);
}

static void choose_place(world *at, opening *of, option_texts *with)
{
    char where[sizeof with->place];
    of->audience = (int)pick(at, 3);
    if (pick(at, 2) == 1) {
        choose_stranger(at, of, with->place, sizeof with->place);
    } else {
        choose_own(at, of, with->place, sizeof with->place);
    }
    of->place = with->place;
    of->peer = who_is(of->id, of->audience, of->has_impostor);
    of->refusals |= fake_local_error != 0 ? cause_bit(fake_local_error) : 0;
    if (of->carrier == OVER_UNIX && is_name(with->place)) {
        place_of(with->place, of->audience, where, sizeof where);
        pco__address_of_path(where, &of->targets[0].address, NULL);
        of->count = 1;
        expect_order(of, 0, PCO_AF_UNSPEC);
    }
}

static void open_connection(world *at)
{
    static const double limits[] = {0, 0, 0.2, 3, INFINITY};
    option_texts with = {.host = ""};
    pco_connection_options options = {.size = sizeof options};
    opening *made = opening_new(at, BY_PLACE);
    made->is_local = true;
    made->carrier = carrier_now();
    choose_place(at, made, &with);
    options.connect_timeout = limits[pick(at, sizeof limits / sizeof limits[0])];
    made->patience = options.connect_timeout > 0 ? options.connect_timeout : PATIENCE;
    made->since = pco_loop_time(at->loop);
    made->expires = !isinf(made->patience);
    choose_client_tls(at, made, &options, &with);
    choose_rest(at, made, &options);
    begin_opening(at, made, &options);
    memset(&with, 'x', sizeof with); /* it was copied */
}

/* ---- Trouble ---- */

static void places_fail(world *at)
{
    say(at, "no name has a place");
    fake_local_error = PCO_EACCES;
}

static void places_are_there(world *at)
{
    say(at, "names have their places again");
    fake_local_error = 0;
}

const verb verbs_local[] = {
    {"serve a name", 8, ANYWHERE, may_create, serve},
    {"open a name", 14, ANYWHERE, may_open, open_connection},
    {"places fail", 1, ANYWHERE, NULL, places_fail},
    {"places are there", 4, ANYWHERE, NULL, places_are_there},
    {.name = NULL},
};
