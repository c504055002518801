/* SPDX-License-Identifier: MIT */
/*
 * verbs_create.c: servers come about: at once, or when a look-up on another thread has ended; at
 * addresses, or of a socket that is there already.
 */
#include "swarm.h"

/* Look-ups under way. */
#define LOOKUPS_MOST 4

/* ---- The options ---- */

static void choose_options(world *at, pco_server_options *options)
{
    static const double timeouts[] = {0, 0, 2, INFINITY};
    options->max_connections = pick_rarely(at, 4) ? 1 + pick(at, 3) : 0;
    options->start_serving = pick_rarely(at, 8) ? PCO_OFF : PCO_DEFAULT;
    options->close_timeout = timeouts[pick(at, sizeof timeouts / sizeof timeouts[0])];
    options->lingering_close = pick_rarely(at, 3) ? PCO_ON : PCO_DEFAULT;
    options->keep_alive = pick_rarely(at, 4) ? PCO_ON : PCO_DEFAULT;
    options->keep_alive_idle = options->keep_alive == PCO_ON ? (double)pick(at, 3) : 0;
    options->user_timeout = pick_rarely(at, 4) ? 0.25 : 0;
}

/* A socket of the user's that is bound; PCO_NO_SOCKET: no memory. */
static pco_socket bind_one(world *at)
{
    pco__backend *backend = at->loop->backend;
    const pco__network *network = backend->class_->network;
    pco__listener_options plain = {.reuse_address = PCO_DEFAULT};
    pco_address *addresses;
    size_t count;
    pco_socket sock = PCO_NO_SOCKET;
    if (network->resolve("127.0.0.1", 0, PCO_AF_INET, 0, &addresses, &count, NULL) == 0) {
        network->bind(backend, addresses, &plain, &sock, NULL);
        pco__free(addresses);
    }
    return sock;
}

/* The call has failed: the socket is still the user's, open and good for anything. */
static void take_back(world *at, const served *of)
{
    pco__backend *backend = at->loop->backend;
    if (of->sock != PCO_NO_SOCKET && !at->freeing) {
        backend->class_->network->close(backend, of->sock, false);
    }
}

static void choose_place(world *at, served *made, pco_server_options *options, bool may_adopt)
{
    static const char *const addresses[] = ADDRESSES;
    may_adopt = may_adopt && !at->freeing;
    made->sock = may_adopt && pick_rarely(at, 5) ? bind_one(at) : PCO_NO_SOCKET;
    if (made->sock != PCO_NO_SOCKET) {
        options->sock = made->sock;
        options->has_sock = pick(at, 2) == 1 ? PCO_ON : PCO_DEFAULT;
        made->sockets = 1;
        return;
    }
    options->hosts = addresses;
    options->hosts_count = 1 + (size_t)pick_rarely(at, 4);
    made->sockets = options->hosts_count;
}

static served *prepare(world *at, pco_server_options *options, bool may_adopt)
{
    served *made = calloc(1, sizeof *made);
    *options = (pco_server_options){.size = sizeof *options, .protocol_factory = proto_factory};
    made->at = at;
    made->tls = swarm_has_tls && pick(at, 2) == 1;
    options->context = made;
    choose_place(at, made, options, may_adopt);
    choose_options(at, options);
    made->lingers = options->lingering_close == PCO_ON;
    made->max = options->max_connections;
    made->serving = options->start_serving != PCO_OFF;
    if (made->tls) {
        options->ssl = tls_context_of(at);
        options->handshake_failed = handshake_failed;
        made->tls = options->ssl != NULL;
    }
    return made;
}

/* ---- At once ---- */

static void welcome(world *at, served *made, pco_server *server)
{
    made->server = server;
    made->id = at->servers_count;
    at->servers[at->servers_count++] = made;
}

static bool may_create(const world *at)
{
    return at->servers_count + at->lookups < SERVERS_MOST;
}

static void create(world *at)
{
    pco_server_options options;
    pco_server *server = NULL;
    served *made = prepare(at, &options, true);
    int attach_error = fake_of(at->loop)->attach_error;
    enter_library(at, NULL);
    int code = pco_loop_create_server(at->loop, &options, &server, NULL);
    leave_library(at);
    say(at, "create server%s%s, %zu sockets, at most %zu connections: %s",
        made->tls ? " with TLS" : "", made->sock != PCO_NO_SOCKET ? " of a socket" : "",
        made->sockets, made->max, code != 0 ? pco_error_name(code) : "0");
    if (code == 0) {
        welcome(at, made, server);
        return;
    }
    take_back(at, made);
    free(made);
    if (!(code == PCO_ENOMEM && memory_was_short(at)) &&
        !(attach_error != 0 && code == attach_error) && !(code == PCO_ECLOSED && at->freeing)) {
        broken(at, "create_server returned %s", pco_error_name(code));
    }
}

/* ---- By a look-up ---- */

/* The first: the others may still wait for a thread, where there was no memory for one. */
static creation *find_held(const world *at)
{
    creation *first = NULL;
    for (creation *each = at->creations; each != NULL; each = each->next) {
        first = each->held ? each : first;
    }
    return first;
}

static void check_outcome(world *at, const creation *of, int code)
{
    if (at->freeing ? code != PCO_ECANCELED : code == PCO_ECANCELED && !of->canceled) {
        broken(at, "a creation ended with %s", code != 0 ? pco_error_name(code) : "a server");
    }
    if (code != 0 && code != PCO_ECANCELED && !(code == PCO_ENOMEM && memory_was_short(at)) &&
        !(code == PCO_EMFILE && at->attach_failed)) {
        broken(at, "a creation ended with %s, which nobody caused", pco_error_name(code));
    }
}

static void created(pco_server *server, const pco_error *error, void *context)
{
    creation *of = context;
    world *at = of->at;
    int code = error != NULL ? error->code : 0;
    enter_callback(at, NULL, "the completion of a creation", of->id);
    if (of->told) {
        broken(at, "a creation was completed twice");
    }
    if ((server != NULL) != (code == 0) || (error != NULL && error->message[0] == '\0')) {
        broken(at, "a creation brought a server and an error, or neither");
    }
    check_outcome(at, of, code);
    of->told = true;
    at->lookups--;
    if (code == 0) {
        welcome(at, of->made, server);
    } else {
        take_back(at, of->made);
        free(of->made);
    }
    of->made = NULL;
    act_in_callback(at);
    leave_callback(at, NULL);
}

static bool may_look_up(const world *at)
{
    return may_create(at) && at->lookups < LOOKUPS_MOST && at->creations_count < GATES;
}

static int begin_creation(world *at, creation *made, pco_server_options *options)
{
    char service[16];
    bool wants_request = pick(at, 3) != 1;
    gate_service(made->id, service, sizeof service);
    made->held = options->hosts != NULL;
    options->service = made->held ? service : NULL;
    gate_set(made->id, GATE_CLOSED);
    enter_library(at, NULL);
    int code = pco_loop_create_server_async(at->loop, options, created, made,
                                            wants_request ? &made->request : NULL, NULL);
    leave_library(at);
    memset(service, 'x', sizeof service); /* it was copied */
    return code;
}

/* One of a socket looks nothing up and stands at no gate: no other may, or it waits behind that. */
static void create_async(world *at)
{
    pco_server_options options;
    creation *made = calloc(1, sizeof *made);
    post_count before = posts_now(at);
    made->at = at;
    made->id = at->creations_count++;
    made->made = prepare(at, &options, find_held(at) == NULL);
    int code = begin_creation(at, made, &options);
    say(at, "create server by look-up %u%s: %s", made->id, made->held ? "" : ", of a socket",
        code != 0 ? pco_error_name(code) : "0");
    if (code != 0) {
        take_back(at, made->made);
        free(made->made);
        free(made);
        if (!(code == PCO_ENOMEM && memory_was_short(at)) &&
            !(code == PCO_ECLOSED && at->freeing)) {
            broken(at, "create_server_async returned %s", pco_error_name(code));
        }
        return;
    }
    made->next = at->creations;
    at->creations = made;
    at->lookups++;
    if (!made->held) {
        wait_for_post(at, before);
    }
}

static void let_through(world *at, creation *of)
{
    post_count before = posts_now(at);
    of->held = false;
    gate_set(of->id, GATE_OPEN);
    wait_for_post(at, before);
}

static bool has_held(const world *at)
{
    return !at->freeing && find_held(at) != NULL; /* or else it has been canceled */
}

static void end_lookup(world *at)
{
    creation *of = find_held(at);
    say(at, "look-up %u ends", of->id);
    let_through(at, of);
}

void end_lookups(world *at)
{
    for (creation *of; (of = find_held(at)) != NULL;) {
        let_through(at, of);
    }
}

/* ---- Requests ---- */

static creation *pick_request(world *at)
{
    unsigned count = 0;
    for (creation *each = at->creations; each != NULL; each = each->next) {
        count += each->request != NULL;
    }
    unsigned nth = pick(at, count);
    for (creation *each = at->creations; each != NULL; each = each->next) {
        if (each->request != NULL && nth-- == 0) {
            return each;
        }
    }
    return NULL;
}

static bool has_request(const world *at)
{
    for (const creation *each = at->creations; each != NULL; each = each->next) {
        if (each->request != NULL) {
            return true;
        }
    }
    return false;
}

/* Its thread, if it stands at the gate, goes home. */
static void cancel_request(world *at)
{
    creation *of = pick_request(at);
    say(at, "cancel look-up %u", of->id);
    of->canceled = true;
    enter_library(at, NULL);
    pco_request_cancel(of->request);
    leave_library(at);
    if (of->held) {
        of->held = false;
        gate_set(of->id, GATE_FALSE);
    }
}

static void release_request(world *at)
{
    creation *of = pick_request(at);
    pco_request *gone = of->request;
    say(at, "release the request of look-up %u", of->id);
    of->request = NULL;
    enter_library(at, NULL);
    pco_request_release(gone);
    leave_library(at);
}

/* The loop is gone, and with it whoever waited. */
void free_creations(world *at)
{
    while (at->creations != NULL) {
        creation *of = at->creations;
        at->creations = of->next;
        if (!of->told) {
            broken(at, "a creation was never completed");
        }
        if (of->held) {
            gate_set(of->id, GATE_FALSE);
        }
        pco_request_cancel(of->request);
        pco_request_release(of->request);
        free(of);
    }
}

const verb verbs_create[] = {
    {"create", 14, ANYWHERE, may_create, create},
    {"create async", 6, ANYWHERE, may_look_up, create_async},
    {"look-up ends", 10, ANYWHERE, has_held, end_lookup},
    {"cancel look-up", 3, ANYWHERE, has_request, cancel_request},
    {"release request", 4, ANYWHERE, has_request, release_request},
    {.name = NULL},
};
