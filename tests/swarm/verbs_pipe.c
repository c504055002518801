/* SPDX-License-Identifier: MIT */
/*
 * verbs_pipe.c: named pipes: servers of them, under names that others have; and clients, of these
 * servers and of pipes served elsewhere, whose instances may all be in use, for a while or for
 * ever.
 *
 * Of a server's name it can be seen whether it speaks TLS: another may have it by the time when a
 * client gets an instance.
 */
#include "swarm.h"

#include "client/opening.h"

/* Seconds in which an instance has to be free where nobody has said. */
#define PATIENCE 30

/* ---- Servers ---- */

static void choose_name(world *at, served *made)
{
    static const char *const names[] = {"a", "b", "com.example"};
    snprintf(made->place, sizeof made->place, "%s%s", made->tls ? "tls." : "",
             names[pick(at, sizeof names / sizeof names[0])]);
}

/* With its prefix, or without. */
static void spell(world *at, const char *name, char *text, size_t size)
{
    snprintf(text, size, "%s%s", pick(at, 2) == 1 ? "\\\\.\\pipe\\" : "", name);
}

static void check_answer(world *at, const served *of, int code, int refusal, bool is_taken)
{
    if (code == 0
            ? refusal != 0 || is_taken || at->freeing
            : !(code == PCO_EADDRINUSE && is_taken) && !(code == PCO_EMFILE && at->pipes_failed) &&
                  !may_fail_to_create(at, of, code, refusal)) {
        broken(at, "serving a pipe returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

static void serve(world *at)
{
    pco_server_options options;
    pco_pipe_options pipe = {.size = sizeof pipe, .sddl = "D:(A;;GA;;;SY)"};
    pco_server *server = NULL;
    char spelt[2 * PLACE_SIZE];
    int refusal;
    served *made = server_new(at, OVER_PIPE, &options, &refusal);
    made->lingers = false;
    choose_name(at, made);
    spell(at, made->place, spelt, sizeof spelt);
    bool is_taken = fake_pipe_is_served(at->loop, made->place);
    bool has_sddl = pick(at, 2) == 1;
    enter_library(at, NULL);
    int code = pco_loop_start_serving_pipe(at->loop, spelt, &options, has_sddl ? &pipe : NULL,
                                           &server, NULL);
    leave_library(at);
    memset(spelt, 'x', sizeof spelt); /* it was copied */
    say(at, "serve pipe %s%s: %s", made->place, is_taken ? ", taken" : "",
        code != 0 ? pco_error_name(code) : "0");
    check_answer(at, made, code, refusal, is_taken);
    if (code == 0) {
        server_welcome(at, made, server);
        made->listeners[0] = fake_socket_of(at->loop, pco_server_get_socket(server, 0));
    } else {
        free(made);
    }
}

/* ---- What becomes of an attempt ---- */

/* Whose it is: the backend is given the name that the opening has. */
static opening *opening_of(const char *name)
{
    for (opening *each = running->openings; each != NULL; each = each->next) {
        if (each->internal != NULL && each->internal->pipe.name == name) {
            return each;
        }
    }
    broken(running, "a pipe is opened, and no opening wants it");
    return NULL;
}

static served *server_of(const world *at, const char *name)
{
    for (unsigned i = 0; i < at->servers_count; i++) {
        served *each = at->servers[i];
        if (each->carrier == OVER_PIPE && !each->listeners[0]->closed &&
            strcmp(each->place, name) == 0) {
            return each;
        }
    }
    return NULL;
}

/* Nobody serves it here, or no longer. */
static int becomes(const char *name)
{
    opening *of = opening_of(name);
    target *to = &of->targets[0];
    running->events++;
    if (to->server != NULL) {
        of->causes |= cause_bit(told_as(of, PCO_ENOENT));
        return PCO_ENOENT;
    }
    if (to->full != 0 && !running->calm) {
        to->full -= to->fate != IS_FULL_FOR_EVER;
        return PCO_EAGAIN;
    }
    if (to->fate == REFUSES) {
        of->causes |= cause_bit(to->error) | cause_bit(told_as(of, to->error));
        return to->error;
    }
    return 0;
}

static void opened(const char *name, fake_socket *sock, fake_socket *instance)
{
    opening *of = opening_of(name);
    if (of->told || of->canceled || of->decided || of->has_instance) {
        broken(running, "opening %u opens its pipe after its end, or twice", of->id);
    }
    sock->user = of;
    sock->credentials = of->peer;
    of->has_instance = true;
    if (instance != NULL) {
        conn *client = opening_conn_new(running, of, sock);
        conn *other = conn_of_server(running, server_of(running, name), instance);
        say(running, "connection %u is the other end of %u, of a pipe", other->id, client->id);
        link_up(client, other);
    }
}

void pipes_begin(void)
{
    fake_asking_for_pipe = becomes;
    fake_pipe_opened = opened;
}

bool waits_for_instance(const world *at, const opening *of)
{
    const char *name = of->internal != NULL ? of->internal->pipe.name : NULL;
    if (name == NULL || of->conn != NULL || !fake_pipe_is_served(at->loop, name)) {
        return false;
    }
    const served *server = server_of(at, name);
    return server == NULL || fake_free_instances(at->loop, server->listeners[0]->number) == 0;
}

/* ---- Clients ---- */

static void choose_target(world *at, opening *of, option_texts *with)
{
    static const fate fates[] = {ANSWERS, ANSWERS, REFUSES, IS_FULL, IS_FULL, IS_FULL_FOR_EVER};
    static const int errors[] = {PCO_ENOENT, PCO_EACCES, PCO_EINVAL};
    served *server = pick(at, 3) != 2 ? pick_open_server(at, OVER_PIPE) : NULL;
    target *to = &of->targets[0];
    char name[PLACE_SIZE / 2];
    to->fate = fates[pick(at, sizeof fates / sizeof fates[0])];
    to->error = errors[pick(at, sizeof errors / sizeof errors[0])];
    to->full = to->fate == IS_FULL || to->fate == IS_FULL_FOR_EVER ? 1 + pick(at, 40) : 0;
    to->server = server;
    of->is_tls = server != NULL ? server->tls : swarm_has_tls && pick(at, 2) == 1;
    snprintf(name, sizeof name, "elsewhere%u", of->id);
    spell(at, server != NULL ? server->place : name, with->place, sizeof with->place);
    of->place = with->place;
}

static void open_connection(world *at)
{
    static const double limits[] = {0, 0, 0.2, 3, INFINITY};
    option_texts with = {.host = ""};
    pco_connection_options options = {.size = sizeof options};
    opening *made = opening_new(at, BY_PLACE);
    made->carrier = OVER_PIPE;
    choose_target(at, made, &with);
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

static void pipes_fail(world *at)
{
    say(at, "no pipe can be opened");
    fake_of(at->loop)->pipe_error = PCO_EMFILE;
    at->pipes_failed = true;
}

static void pipes_work(world *at)
{
    say(at, "pipes can be opened again");
    fake_of(at->loop)->pipe_error = 0;
}

static bool has_loop(const world *at)
{
    return !at->freeing;
}

const verb verbs_pipe[] = {
    {"serve a pipe", 8, ANYWHERE, may_create, serve},
    {"open a pipe", 14, ANYWHERE, may_open, open_connection},
    {"pipes fail", 1, ANYWHERE, has_loop, pipes_fail},
    {"pipes work", 4, ANYWHERE, has_loop, pipes_work},
    {.name = NULL},
};
