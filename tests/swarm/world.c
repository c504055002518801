/* SPDX-License-Identifier: MIT */
/* world.c: a program from its beginning to its end. See swarm.h. */
#include "swarm.h"

world *running;

/* ---- What is told ---- */

void happened(world *at, const char *what, uint64_t number)
{
    uint64_t hash = at->record->hash;
    for (; *what != '\0'; what++) {
        hash = (hash ^ (unsigned char)*what) * 0x100000001B3u;
    }
    at->record->hash = (hash ^ number) * 0x100000001B3u;
}

void say(world *at, const char *format, ...)
{
    va_list arguments;
    if (!at->trace) {
        return;
    }
    va_start(arguments, format);
    fprintf(stderr, "%5u  %*s", at->step, (int)(4 * at->depth), "");
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
}

/* The first line is what the runner knows the failure by. */
void broken(world *at, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fputs("broken rule: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n(seed %" PRIu64 ", step %u)\n", at->seed, at->step);
    abort();
}

/* ---- Chance ---- */

static void note(world *at, uint32_t value)
{
    record *written = at->record;
    if (written->picks_count < PICKS_MOST) {
        written->picks[written->picks_count++] = value;
    }
}

static bool is_used_up(const world *at)
{
    return at->given != NULL ? at->next_given >= at->end_given
                             : at->record->picks_count >= PICKS_MOST;
}

uint32_t pick(world *at, uint32_t limit)
{
    uint32_t value;
    if (at->calm || is_used_up(at) || limit <= 1) {
        return 0;
    }
    value =
        at->given != NULL ? at->given->picks[at->next_given++] % limit : chance(&at->chance, limit);
    note(at, value);
    return value;
}

bool pick_rarely(world *at, uint32_t limit)
{
    return pick(at, limit) == 1;
}

size_t pick_length(world *at)
{
    static const uint32_t limits[] = {16,   16,   16,   200,  200,   200,   200,
                                      5000, 5000, 5000, 5000, 20000, 20000, 70000,
                                      200,  16,   5000, 200,  20000, 200000};
    return pick(at, limits[pick(at, sizeof limits / sizeof limits[0])]) + 1;
}

bool memory_was_short(const world *at)
{
    return at->was_short || memory_has_failed();
}

void memory_recover(world *at)
{
    at->was_short = memory_was_short(at);
    memory_fail(0, false);
}

/* ---- Verbs ---- */

static bool may_act(const world *at, const verb *what, bool inside)
{
    return (!inside || what->where == ANYWHERE) && (what->can == NULL || what->can(at));
}

/* Chosen by weight, but written down by its place in the table: a list is the same for ever. */
static unsigned choose_verb(world *at, bool inside)
{
    unsigned total = verbs_total();
    uint32_t sum = 0;
    unsigned index;
    if (at->given != NULL) {
        return pick(at, total);
    }
    for (index = 0; index < total; index++) {
        sum += may_act(at, verb_at(index), inside) ? at->weights[index] : 0;
    }
    uint32_t roll = sum != 0 ? chance(&at->chance, sum) : 0;
    for (index = 0; index < total - 1; index++) {
        uint32_t weight = may_act(at, verb_at(index), inside) ? at->weights[index] : 0;
        if (roll < weight) {
            break;
        }
        roll -= weight;
    }
    note(at, index);
    return index;
}

static void do_verb(world *at, bool inside)
{
    const verb *what = verb_at(choose_verb(at, inside));
    if (may_act(at, what, inside)) {
        happened(at, what->name, 0);
        what->act(at);
    }
}

void act_in_callback(world *at)
{
    static const unsigned counts[] = {0, 0, 0, 0, 0, 1, 1, 2};
    if (at->calm || at->depth > 2) {
        return;
    }
    unsigned count = counts[pick(at, sizeof counts / sizeof counts[0])];
    while (count-- != 0) {
        do_verb(at, true);
    }
}

/* Each program leaves out some verbs and prefers others, so that some go far in few directions. */
static void weigh_verbs(world *at)
{
    uint64_t state = at->seed * 0x9E3779B97F4A7C15u + 1;
    static const unsigned factors[] = {0, 1, 1, 1, 1, 4};
    at->weights = calloc(verbs_total(), sizeof *at->weights);
    for (unsigned i = 0; i < verbs_total(); i++) {
        unsigned factor = factors[chance(&state, sizeof factors / sizeof factors[0])];
        const verb *what = verb_at(i);
        at->weights[i] = what->weight * (what->weight >= 40 && factor == 0 ? 1 : factor);
    }
}

/* ---- Callbacks and calls ---- */

void enter_library(world *at, conn *writing)
{
    at->calls++;
    at->writing = writing;
}

void leave_library(world *at)
{
    at->calls--;
    at->writing = NULL;
    if (at->depth == 0 && !at->freed && at->loop->backend->after_callback != NULL) {
        broken(at, "what was written outside of callbacks waits for the end of one");
    }
}

void enter_callback(world *at, conn *inside, const char *name, uint64_t number)
{
    if (inside != NULL) {
        say(at, "%s of %u, %" PRIu64, name, inside->id, number);
    } else {
        say(at, "%s, %" PRIu64, name, number);
    }
    happened(at, name, number);
    at->events++;
    if (at->calls != 0 || at->depth != 0) {
        broken(at, "%s was called inside a call", name);
    }
    if (at->freed) {
        broken(at, "%s was called after the loop was freed", name);
    }
    if (at->owed != NULL) {
        broken(at, "%s came between connection_made and the completion", name);
    }
    if (at->leaves != NULL && (at->leaves != inside || strcmp(name, "connection_lost") != 0)) {
        broken(at, "%s came between detaching and connection_lost", name);
    }
    at->leaves = NULL;
    at->settles = NULL;
    at->depth++;
    at->current = inside;
}

void leave_callback(world *at, conn *outside)
{
    at->depth--;
    at->current = outside;
}

inner enter_inner(world *at, conn *inside, const char *name, uint64_t number)
{
    inner outside = {at->calls, at->current};
    say(at, "%s, %" PRIu64, name, number);
    happened(at, name, number);
    at->events++;
    at->calls = 0;
    at->depth++;
    at->current = inside;
    return outside;
}

void leave_inner(world *at, inner outside)
{
    at->depth--;
    at->calls = outside.calls;
    at->current = outside.current;
}

/* ---- The beginning ---- */

static void hear_of_trouble(pco_loop *loop, const pco_exception_context *what, void *context)
{
    world *at = context;
    say(at, "trouble: %s", what->message);
    happened(at, "trouble", 0);
    if (loop != at->loop || what->message[0] == '\0') {
        broken(at, "the exception handler was told nothing");
    }
}

/*
 * The memory of streams is used again, which it would not be with an allocator that is not the C
 * library's.
 */
static void keep_streams(world *at)
{
    pco__transports *home = pco__transports_of(at->loop, pco__stream_send_corks);
    if (home == NULL) {
        broken(at, "there is no memory for what transports share");
        return;
    }
    say(at, "streams are kept");
    home->spares_most = PCO__SPARES;
}

/* Some systems lack an option of sockets. */
static void lack_something(world *at)
{
    static const char *const options[] = {"keep_alive_idle", "keep_alive_interval",
                                          "keep_alive_count", "user_timeout"};
    bool lacks = pick_rarely(at, 5);
    fake_lacks = lacks ? options[pick(at, sizeof options / sizeof options[0])] : NULL;
}

static void begin(world *at)
{
    const pco__backend_class *kind =
        pick(at, 3) == 1 ? &fake_backend_wide_class : &fake_backend_class;
    pco_loop_options options = {.size = sizeof options,
                                .debug = pick(at, 4) == 1 ? PCO_ON : PCO_OFF};
    if (pco__loop_new(&options, kind, &at->loop, NULL) != 0) {
        broken(at, "there is no loop");
    }
    fake_of(at->loop)->files_must_go = true;
    fake_local_loop = at->loop;
    fake_local_error = 0;
    fake_local_has_pipes = pick(at, 2) == 1;
    pco_loop_set_exception_handler(at->loop, hear_of_trouble, at);
    if (pick_rarely(at, 4)) {
        keep_streams(at);
    }
    lack_something(at);
}

/* ---- The end ---- */

/* What is left of a connection whose loop is gone, or that has ended, is a shell. */
static void check_shell(world *at, conn *of)
{
    pco_transport *shell = of->transport;
    pco_address address;
    enter_library(at, NULL);
    pco_transport_close(shell);
    pco_transport_abort(shell);
    if (pco_transport_write(shell, "x", 1) != PCO_ECLOSED ||
        pco_transport_write_eof(shell) != PCO_ECLOSED ||
        pco_transport_pause_reading(shell) != PCO_ECLOSED ||
        pco_transport_resume_reading(shell) != PCO_ECLOSED ||
        pco_transport_set_write_buffer_limits(shell, 5, 1) != PCO_ECLOSED ||
        pco_transport_get_sockname(shell, &address) != PCO_ECLOSED ||
        pco_transport_get_peername(shell, &address) != PCO_ECLOSED) {
        broken(at, "a call on a closed transport did not answer PCO_ECLOSED");
    }
    if (!pco_transport_is_closing(shell) || pco_transport_is_reading(shell) ||
        pco_transport_get_write_buffer_size(shell) != 0 ||
        pco_transport_get_protocol(shell) != NULL ||
        pco_transport_get_socket(shell) != PCO_NO_SOCKET) {
        broken(at, "a closed transport looks alive");
    }
    leave_library(at);
}

static void free_conn(world *at, conn *of)
{
    if (of->state == MADE_CONN) {
        broken(at, "connection_made was called, and connection_lost never");
    }
    if (of->transport != NULL) {
        check_shell(at, of);
        while (of->retained-- != 0) {
            pco_transport_release(of->transport);
        }
    }
    tls_peer_drop(of);
    free(of->buffer);
    free(of);
}

static void free_server(world *at, served *of)
{
    pco_server_counters counters = {.size = sizeof counters};
    if (of->server != NULL) {
        enter_library(at, NULL);
        if (pco_server_get_loop(of->server) != NULL || pco_server_is_serving(of->server) ||
            pco_server_get_socket_count(of->server) != 0 ||
            pco_server_start_serving(of->server, NULL) != PCO_ECLOSED ||
            pco_server_shutdown(of->server, 1) != PCO_ECLOSED) {
            broken(at, "a server whose loop is gone looks alive");
        }
        if (pco_server_get_counters(of->server, &counters) != 0 || counters.active != 0 ||
            counters.handshaking != 0) {
            broken(at, "a server whose loop is gone has connections");
        }
        pco_server_close(of->server);
        pco_server_free(of->server);
        leave_library(at);
    }
    free(of);
}

static void free_owned(world *at)
{
    while (at->owned != NULL) {
        owned *of = at->owned;
        at->owned = of->next;
        if (of->released != 1) {
            broken(at, "memory handed over was released %u times", of->released);
        }
        free(of);
    }
}

/* Ends everything politely, within the limits that were promised. */
static void end_politely(world *at)
{
    for (unsigned i = 0; i < at->servers_count; i++) {
        served *of = at->servers[i];
        if (of->server != NULL) {
            of->closed = true;
            mark_all_shut_down(at, of, true);
            enter_library(at, NULL);
            pco_server_shutdown(of->server, 5);
            leave_library(at);
        }
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        conn *of = at->conns[i];
        if (of->state == MADE_CONN) {
            mark_closed(of, false);
            enter_library(at, NULL);
            pco_transport_close(of->transport);
            leave_library(at);
        }
    }
    come_to_rest(at);
    /* Who waits for a pipe makes turns short. */
    double until = pco_loop_time(at->loop) + 200;
    for (unsigned i = 0; i < 20 || (i < 10000 && pco_loop_time(at->loop) < until); i++) {
        turn(at, 10);
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        const conn *of = at->conns[i];
        if (is_attached(of) && of->server != NULL && of->server->server != NULL) {
            broken(at, "a connection has outlived the shutdown of its server");
        }
    }
    check_openings_over(at);
    come_to_rest(at);
}

void free_loop(world *at)
{
    fake_backend *fake = fake_of(at->loop);
    fake->manual = false;
    fake->hold_cancels = false;
    at->freeing = true;
    for (unsigned i = 0; i < at->conns_count; i++) {
        mark_closed(at->conns[i], true);
    }
    if (pco_loop_free(at->loop) != 0) {
        broken(at, "a loop that does not run could not be freed");
    }
    at->freed = true;
    check_network_over(at);
    if (fake_local_locks() != 0) {
        broken(at, "the loop is gone, and a name's lock is held");
    }
    at->hosted = false;
    for (unsigned i = 0; i < at->conns_count; i++) {
        at->conns[i]->socket = NULL;
    }
}

static void end(world *at, unsigned how)
{
    at->calm = true;
    if (!at->freed) {
        say(at, "the end");
        if (how != 0) {
            come_to_rest(at);
        }
        if (how == 2) {
            end_politely(at);
        }
        free_loop(at);
    }
    memory_recover(at);
    if (at->promised != NULL || at->owed != NULL || at->leaves != NULL) {
        broken(at, "the factory or connection_made was called, and what follows it never");
    }
    answer_choices(at); /* after the end of all they were about */
    for (unsigned i = 0; i < at->servers_count; i++) {
        free_server(at, at->servers[i]);
    }
    for (unsigned i = 0; i < at->conns_count; i++) {
        free_conn(at, at->conns[i]);
    }
    answer_all(at);
    free_openings(at);
    free_leavings(at);
    free_upgrades(at);
    free_sessions(at);
    free_creations(at);
    free_calls(at);
    free_owned(at);
}

static void step(world *at)
{
    record *written = at->record;
    if (at->given != NULL) {
        at->next_given = record_start(at->given, at->step);
        at->end_given = record_start(at->given, at->step + 1);
    }
    written->starts[written->steps++] = written->picks_count;
    at->step = written->steps;
    do_verb(at, false);
    if (!at->freed) {
        check_between_turns(at);
    }
}

void swarm_begin(void)
{
    tls_begin();
    gates_begin();
    targets_begin();
    clients_begin();
    sockets_begin();
    pipes_begin();
}

void swarm_end(void)
{
    tls_end();
}

void swarm_run(const program *what, record *written)
{
    world *at = calloc(1, sizeof *at);
    written->picks_count = 0;
    written->steps = 0;
    written->hash = 0;
    at->seed = what->seed;
    at->chance = (what->seed + 1) * 0x9E3779B97F4A7C15u;
    at->given = what->given;
    at->record = written;
    at->trace = what->trace;
    at->mistaken = what->mistaken;
    at->steps_most = what->given != NULL ? what->given->steps : what->steps;
    at->end_given = what->given != NULL ? record_start(what->given, 0) : 0;
    running = at;
    memory_watch();
    weigh_verbs(at);
    tls_world_begin(at);
    unsigned ending = pick(at, 3);
    begin(at);
    while (!at->freed && at->step < at->steps_most) {
        step(at);
    }
    end(at, ending);
    tls_world_end(at);
    wait_for_threads();
    size_t lost = memory_unwatch();
    if (lost != 0) {
        broken(at, "%zu pieces of memory were not given back", lost);
    }
    free(at->weights);
    free(at);
}
