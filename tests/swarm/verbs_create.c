/* SPDX-License-Identifier: MIT */
/*
 * verbs_create.c: servers come about: at once, or when a look-up on another thread has ended; at
 * addresses, or of a socket that is there already.
 */
#include "swarm.h"

/* ---- The options ---- */

static void choose_options(world *at, pco_server_options *options)
{
    static const double timeouts[] = {0, 0, 2, INFINITY};
    options->max_connections = pick_rarely(at, 4) ? 1 + pick(at, 3) : 0;
    options->start_serving = pick_rarely(at, 8) ? PCO_OFF : PCO_DEFAULT;
    options->close_timeout = timeouts[pick(at, sizeof timeouts / sizeof timeouts[0])];
    options->lingering_close = pick_rarely(at, 3) ? PCO_ON : PCO_DEFAULT;
}

/* ---- Sockets are prepared ---- */

static void check_prepared(world *at, const served *of, pco_socket sock, int family)
{
    const fake_socket *socket = fake_socket_of(at->loop, sock);
    if (!of->prepares || of->prepare_code != 0 || of->prepared == of->sockets) {
        broken(at, "a server's socket is prepared, and nobody asked, or it has failed before");
    }
    int expected = of->carrier == OVER_UNIX ? PCO_AF_UNIX : PCO_AF_INET;
    if (socket->closed || socket->io != NULL || socket->name.length != 0 || family != expected) {
        broken(at, "a server's socket is prepared too late, or of another family");
    }
}

/* Inside the call, or later, when names have been looked up. */
int server_prepare_socket(pco_socket sock, int family, void *context)
{
    static const int codes[] = {0, 0, 0, 0, 0, 0, PCO_EACCES, PCO_EADDRNOTAVAIL};
    served *of = context;
    world *at = of->at;
    if (!of->creating && (at->calls != 0 || at->depth != 0)) {
        broken(at, "a server's socket is prepared inside another call");
    }
    inner outside = enter_inner(at, at->current, "prepare_socket", of->prepared);
    check_prepared(at, of, sock, family);
    of->prepared++;
    of->prepare_code = codes[pick(at, sizeof codes / sizeof codes[0])];
    act_in_callback(at);
    leave_inner(at, outside);
    return of->prepare_code;
}

/* Whether it may have ended so: a server, if the code is 0. */
void check_prepares(world *at, const served *of, int code)
{
    if (of->prepare_code != 0 ? code != of->prepare_code
                              : code == 0 && of->prepares && of->prepared != of->sockets) {
        broken(at, "of %zu sockets %u were prepared, with %d; and then: %s", of->sockets,
               of->prepared, of->prepare_code, code != 0 ? pco_error_name(code) : "0");
    }
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
        fake_socket_of(at->loop, sock)->opened = false; /* by the library, that is */
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
    made->prepares = pick(at, 3) == 1;
    options->prepare_socket = made->prepares ? server_prepare_socket : NULL;
}

/* What is no TCP has no such wishes. */
static int refusal_of(carrier by, const wish *wished)
{
    bool is_asked = pco__socket_options_ask(&wished->options);
    return by == OVER_TCP || !is_asked ? wished->refusal : PCO_EINVAL;
}

served *server_new(world *at, carrier by, pco_server_options *options, int *refusal)
{
    served *made = calloc(1, sizeof *made);
    wish wished = choose_wish(at);
    *options = (pco_server_options){.size = sizeof *options, .protocol_factory = proto_factory};
    made->at = at;
    made->carrier = by;
    made->sock = PCO_NO_SOCKET;
    made->sockets = 1;
    made->tls = swarm_has_tls && pick(at, 2) == 1;
    options->context = made;
    choose_options(at, options);
    GIVE_WISH(options, wished);
    made->wanted = wished.options;
    *refusal = refusal_of(by, &wished);
    made->lingers = options->lingering_close == PCO_ON;
    made->max = options->max_connections;
    made->serving = options->start_serving != PCO_OFF;
    if (made->tls) {
        options->ssl = tls_context_of(at);
        options->handshake_failed = handshake_failed;
        made->tls = options->ssl != NULL;
        made->halves = made->tls && pick(at, 2) == 1;
        options->ssl_half_close = made->halves ? PCO_ON : PCO_DEFAULT;
    }
    return made;
}

static served *prepare(world *at, pco_server_options *options, bool may_adopt, int *refusal)
{
    served *made = server_new(at, OVER_TCP, options, refusal);
    choose_place(at, made, options, may_adopt);
    return made;
}

/* ---- At once ---- */

void server_welcome(world *at, served *made, pco_server *server)
{
    made->server = server;
    made->id = at->servers_count;
    at->servers[at->servers_count++] = made;
}

bool may_create(const world *at)
{
    return at->servers_count + at->lookups + at->creating < SERVERS_MOST;
}

/* Whether a call may end so, but for what goes wrong with sockets. */
bool may_fail_to_create(const world *at, const served *of, int code, int refusal)
{
    return (refusal != 0 && code == refusal) || (code == PCO_ECLOSED && at->freeing) ||
           (code == PCO_ENOMEM && memory_was_short(at)) ||
           (code == PCO_EMFILE && at->attach_failed) ||
           (of->prepare_code != 0 && code == of->prepare_code);
}

static void check_call(world *at, int code, int refusal)
{
    bool may_be =
        (code == PCO_ECLOSED && at->freeing) || (code == PCO_ENOMEM && memory_was_short(at));
    if (code != refusal && !may_be) {
        broken(at, "creating a server returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

static int call_create(world *at, served *made, const pco_server_options *options,
                       pco_server **server)
{
    made->creating = true;
    at->creating++;
    enter_library(at, NULL);
    int code = pco_loop_create_server(at->loop, options, server, NULL);
    leave_library(at);
    at->creating--;
    made->creating = false;
    return code;
}

static void create(world *at)
{
    pco_server_options options;
    pco_server *server = NULL;
    int refusal;
    served *made = prepare(at, &options, true, &refusal);
    int code = call_create(at, made, &options, &server);
    say(at, "create server%s%s, %zu sockets, at most %zu connections: %s",
        made->tls ? " with TLS" : "", made->sock != PCO_NO_SOCKET ? " of a socket" : "",
        made->sockets, made->max, code != 0 ? pco_error_name(code) : "0");
    check_prepares(at, made, code);
    if (code == 0 || (code != made->prepare_code && !(code == PCO_EMFILE && at->attach_failed))) {
        check_call(at, code, refusal);
    }
    if (code == 0) {
        server_welcome(at, made, server);
    } else {
        take_back(at, made);
        free(made);
    }
}

/* ---- By a look-up ---- */

static void check_outcome(world *at, const creation *of, int code)
{
    if (at->freeing ? code != PCO_ECANCELED : code == PCO_ECANCELED && !of->canceled) {
        broken(at, "a creation ended with %s", code != 0 ? pco_error_name(code) : "a server");
    }
    bool is_caused = (code == PCO_ENOMEM && memory_was_short(at)) ||
                     (code == PCO_EMFILE && at->attach_failed) ||
                     (code == PCO_ENONAME && of->is_unknown) || code == of->made->prepare_code;
    if (code != PCO_ECANCELED) {
        check_prepares(at, of->made, code);
    }
    if (code == 0 && of->is_unknown) {
        broken(at, "a creation brings a server whose service does not exist");
    }
    if (code != 0 && code != PCO_ECANCELED && !is_caused) {
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
    gate_leave(at, of->gate);
    of->told = true;
    at->lookups--;
    if (code == 0) {
        server_welcome(at, of->made, server);
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
    return may_create(at) && has_gate_left(at, false);
}

static int begin_creation(world *at, creation *made, pco_server_options *options)
{
    char service[16] = "";
    bool wants_request = pick(at, 3) != 1;
    if (options->hosts != NULL) {
        made->gate = gate_take(at, (gate){.creation = made});
        snprintf(service, sizeof service, "%s", made->gate->service);
        options->service = service;
    }
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
    post_count before = posts_taken(at);
    made->at = at;
    made->id = at->creations_count++;
    int refusal;
    made->made = prepare(at, &options, !is_any_held(at), &refusal);
    int code = begin_creation(at, made, &options);
    say(at, "create server %u by look-up%s: %s", made->id,
        made->gate != NULL ? "" : ", of a socket", code != 0 ? pco_error_name(code) : "0");
    check_call(at, code, refusal);
    if (code != 0) {
        gate_leave(at, made->gate);
        take_back(at, made->made);
        free(made->made);
        free(made);
        return;
    }
    made->next = at->creations;
    at->creations = made;
    at->lookups++;
    if (made->gate != NULL) {
        gate_begins(at, made->gate);
    } else {
        wait_for_post(at, before);
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
    say(at, "cancel creation %u", of->id);
    of->canceled = true;
    enter_library(at, NULL);
    pco_request_cancel(of->request);
    leave_library(at);
    gate_leave(at, of->gate);
}

static void release_request(world *at)
{
    creation *of = pick_request(at);
    pco_request *gone = of->request;
    say(at, "release the request of creation %u", of->id);
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
        pco_request_cancel(of->request);
        pco_request_release(of->request);
        free(of);
    }
}

const verb verbs_create[] = {
    {"create", 14, ANYWHERE, may_create, create},
    {"create async", 6, ANYWHERE, may_look_up, create_async},
    {"cancel creation", 3, ANYWHERE, has_request, cancel_request},
    {"release request", 4, ANYWHERE, has_request, release_request},
    {.name = NULL},
};
