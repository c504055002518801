/* SPDX-License-Identifier: MIT */
/*
 * verbs_client.c: connections are opened: by names, services and addresses, to peers of the model's
 * and to servers of the same program; canceled, and answered or not.
 */
#include "swarm.h"

#include "client/opening.h"

#define FIRST_TARGET_PORT 2000

/* ---- Where to ---- */

/* Parsed once, since that needs memory of the library's. */
static pco_address strangers[2][TARGETS_MOST]; /* of IPv4, and of IPv6 */
static pco_address loopback;

static void parse(const char *host, pco_address *address)
{
    if (pco_address_parse(host, FIRST_TARGET_PORT, address) != 0) {
        fprintf(stderr, "swarm: %s is no address\n", host);
        abort();
    }
}

void clients_begin(void)
{
    parse("127.0.0.1", &loopback);
    for (unsigned i = 0; i < TARGETS_MOST; i++) {
        char host[32];
        snprintf(host, sizeof host, "10.0.0.%u", i + 1);
        parse(host, &strangers[0][i]);
        snprintf(host, sizeof host, "fd00::%x", i + 1);
        parse(host, &strangers[1][i]);
    }
}

static target *add_target(world *at, opening *of, pco_address address)
{
    static const int errors[] = {PCO_ECONNREFUSED, PCO_ETIMEDOUT, PCO_EHOSTUNREACH};
    target *made = &of->targets[of->count++];
    made->fate = (fate)pick(at, FATES);
    made->error = errors[pick(at, sizeof errors / sizeof errors[0])];
    made->address = address;
    return made;
}

static void add_stranger(world *at, opening *of, int port, bool may_be_6)
{
    bool is_6 = may_be_6 && pick(at, 3) == 1;
    pco_address address = of->shape == BY_NOTHING ? loopback : strangers[is_6][of->count];
    pco__address_set_port(&address, port);
    add_target(at, of, address);
}

static pco_address address_of(world *at, const served *server)
{
    pco_address address;
    if (pco_server_get_sockname(server->server, 0, &address) != 0) {
        broken(at, "a listener has no name");
    }
    return address;
}

static void add_server(world *at, opening *of, served *server)
{
    target *made = add_target(at, of, address_of(at, server));
    made->server = server;
    made->fate = made->fate == MEETS_ITSELF ? ANSWERS : made->fate;
    if (of->shape == BY_NOTHING) {
        int port = pco_address_port(&made->address);
        made->address = loopback;
        pco__address_set_port(&made->address, port);
    }
}

served *pick_open_server(world *at, carrier by)
{
    served *found = !at->freeing && has_server(at) ? pick_server(at) : NULL;
    return found != NULL && found->carrier == by && is_open_to_clients(found) ? found : NULL;
}

static size_t pick_count(world *at)
{
    static const uint32_t most[] = {1, 1, 3, 3, 12, TARGETS_MOST};
    return 1 + (size_t)pick(at, most[pick(at, sizeof most / sizeof most[0])]);
}

/* One of them may be a server of ours; with a name, all have the port of the question. */
static void choose_targets(world *at, opening *of, pco_connection_options *options)
{
    served *server = pick(at, 2) == 0 ? pick_open_server(at, OVER_TCP) : NULL;
    size_t count = of->shape == BY_LITERAL || of->shape == BY_NOTHING ? 1 : pick_count(at);
    size_t nth = pick(at, (uint32_t)count);
    int port = FIRST_TARGET_PORT;
    of->is_tls = swarm_has_tls && pick(at, 2) == 1;
    if (server != NULL) {
        pco_address address = address_of(at, server);
        port = pco_address_port(&address);
        of->is_tls = server->tls;
    }
    bool may_be_6 = options->family == PCO_AF_UNSPEC || of->shape == BY_NAME;
    for (size_t i = 0; i < count; i++) {
        if (server != NULL && i == nth) {
            add_server(at, of, server);
        } else {
            add_stranger(at, of, port + (of->shape == BY_ADDRESSES ? (int)i : 0), may_be_6);
        }
    }
    options->port = of->shape != BY_ADDRESSES ? port : 0;
}

/* ---- The options ---- */

static void choose_times(world *at, opening *of, pco_connection_options *options)
{
    static const double delays[] = {0, 0, 0.05, 2, INFINITY};
    static const double limits[] = {0, 0, 0.2, 3, 30, INFINITY};
    static const int interleaves[] = {0, 0, 1, 2, 3, -1};
    options->happy_eyeballs_delay = delays[pick(at, sizeof delays / sizeof delays[0])];
    options->connect_timeout = limits[pick(at, sizeof limits / sizeof limits[0])];
    options->interleave = interleaves[pick(at, sizeof interleaves / sizeof interleaves[0])];
    options->all_errors = pick(at, 2) == 1 ? PCO_ON : PCO_DEFAULT;
    of->delay = options->happy_eyeballs_delay > 0 ? options->happy_eyeballs_delay : 0.25;
    of->patient = isinf(of->delay);
    of->expires = options->connect_timeout > 0 && !isinf(options->connect_timeout);
}

static void choose_local(world *at, opening *of, pco_connection_options *options,
                         option_texts *with)
{
    unsigned what = pick(at, 8);
    if (what == 1 || what == 2) {
        of->has_local = true;
        of->causes |= cause_bit(PCO_EADDRNOTAVAIL); /* of IPv6 there is none */
        snprintf(with->local_host, sizeof with->local_host, "127.0.0.1");
        options->local_host = with->local_host;
        options->local_port = what == 1 ? 0 : 700;
    }
}

/* A number, or a name, which is looked up on a thread. */
static void choose_service(world *at, opening *of, pco_connection_options *options,
                           option_texts *with)
{
    unsigned what = pick(at, 4);
    if (what == 1) {
        snprintf(with->service, sizeof with->service, "%d", options->port);
    } else if (what == 2 && !at->freeing && has_gate_left(at, false)) {
        of->gate = gate_take(at, (gate){.opening = of, .port = options->port});
        snprintf(with->service, sizeof with->service, "%s", of->gate->service);
    } else {
        return;
    }
    options->service = with->service;
    options->port = 0;
}

static void choose_place(world *at, opening *of, pco_connection_options *options,
                         option_texts *with)
{
    static const int families[] = {PCO_AF_UNSPEC, PCO_AF_UNSPEC, PCO_AF_INET};
    options->family = of->shape == BY_NOTHING
                          ? PCO_AF_INET
                          : families[pick(at, sizeof families / sizeof families[0])];
    choose_targets(at, of, options);
    choose_times(at, of, options);
    choose_local(at, of, options, with);
    expect_order(of, options->interleave, options->family);
    if (of->shape == BY_NAME) {
        snprintf(with->host, sizeof with->host, "name%u.example", of->id);
    } else if (of->shape == BY_LITERAL) {
        pco_address_host(&of->targets[0].address, with->host, sizeof with->host);
    } else if (of->shape == BY_ADDRESSES) {
        for (size_t i = 0; i < of->count; i++) {
            with->addresses[i] = of->targets[i].address;
        }
        options->addresses = with->addresses;
        options->addresses_count = of->count;
    }
    if (of->shape != BY_ADDRESSES) {
        options->host = of->shape == BY_NOTHING && pick(at, 2) == 0 ? NULL : with->host;
        choose_service(at, of, options, with);
    }
    options->prepare_socket = pick(at, 4) == 1 ? opening_prepare : NULL;
}

void choose_halves(world *at, opening *of, pco_connection_options *options)
{
    of->halves = pick(at, 2) == 1;
    options->ssl_half_close = of->halves ? PCO_ON : PCO_DEFAULT;
}

void choose_client_tls(world *at, opening *of, pco_connection_options *options, option_texts *with)
{
    static const double times[] = {0, 0, 2, 70};
    if (!of->is_tls) {
        return;
    }
    choose_tls_client(at, &with->tls);
    of->is_tls = with->tls.context != NULL;
    if (!of->is_tls) {
        return;
    }
    of->must_fail = with->tls.must_fail;
    of->old = with->tls.old;
    of->context = with->tls.context;
    of->verdict = with->tls.verdict;
    of->refusals |= with->tls.refusals;
    options->ssl = with->tls.context;
    options->server_hostname = with->tls.name;
    options->ssl_session = with->tls.session;
    choose_halves(at, of, options);
    options->ssl_handshake_timeout = times[pick(at, sizeof times / sizeof times[0])];
    of->handshake_timeout = options->ssl_handshake_timeout;
    options->ssl_shutdown_timeout = times[pick(at, sizeof times / sizeof times[0])];
}

void choose_rest(world *at, opening *of, pco_connection_options *options)
{
    static const double timeouts[] = {0, 0, 2, INFINITY};
    options->close_timeout = timeouts[pick(at, sizeof timeouts / sizeof timeouts[0])];
    wish wished = choose_wish(at);
    GIVE_WISH(options, wished);
    of->wanted = wished.options;
    of->refusals |= wished.refusal != 0 ? cause_bit(wished.refusal) : 0;
    if (of->carrier != OVER_TCP && pco__socket_options_ask(&of->wanted)) {
        of->refusals |= cause_bit(PCO_EINVAL);
    }
    options->context = of;
    of->tells = pick(at, 4) != 1;
    options->progress = of->tells ? opening_progress : NULL;
    if (pick(at, 2) == 1) {
        of->given = proto_new(at);
        of->given->opening = of;
        options->protocol = &of->given->base;
    } else {
        options->protocol_factory = opening_factory;
    }
}

/* ---- The call ---- */

opening *opening_new(world *at, shape how)
{
    opening *made = calloc(1, sizeof *made);
    made->at = at;
    made->id = at->openings_count++;
    made->shape = how;
    made->peer = credentials_of(made->id);
    return made;
}

static void check_refusal(world *at, const opening *of, int code, int attach_error)
{
    bool of_socket = of->shape == OF_SOCKET || of->shape == ACCEPTED;
    if (!(code == PCO_ENOMEM && memory_was_short(at)) && !(code == PCO_ECLOSED && at->freeing) &&
        !(of_socket && attach_error != 0 && code == attach_error) &&
        (of->refusals & cause_bit(code)) == 0 &&
        !(code == PCO_ENOTSUP && of_socket && pco__socket_options_are_tcps(&of->wanted))) {
        broken(at, "opening a connection returned %s", pco_error_name(code));
    }
}

static int call_by_carrier(world *at, opening *made, const pco_connection_options *options,
                           pco_request **request, pco_error *error)
{
    pco_loop *loop = at->loop;
    if (made->is_local) {
        pco_local_options local = {.size = sizeof local, .audience = made->audience};
        return pco_loop_create_local_connection(loop, made->place, options, &local, opening_done,
                                                made, request, error);
    }
    if (made->carrier == OVER_UNIX) {
        return pco_loop_create_unix_connection(loop, made->place, options, opening_done, made,
                                               request, error);
    }
    if (made->carrier == OVER_PIPE) {
        return pco_loop_create_pipe_connection(loop, made->place, options, opening_done, made,
                                               request, error);
    }
    return made->shape == ACCEPTED
               ? pco_loop_connect_accepted_socket(loop, options, opening_done, made, request, error)
               : pco_loop_create_connection(loop, options, opening_done, made, request, error);
}

static int call_for(world *at, opening *made, const pco_connection_options *options)
{
    bool nameless = !made->is_tls && made->gate == NULL && made->carrier != OVER_PIPE &&
                    !made->is_local && pick(at, 4) == 1;
    pco_request **request = nameless ? NULL : &made->request;
    pco_error error = {.code = 0};
    enter_library(at, NULL);
    int code = call_by_carrier(at, made, options, request, &error);
    leave_library(at);
    say(at, "opening %u, shape %d, %zu addresses%s%s: %s", made->id, (int)made->shape, made->count,
        made->is_tls ? ", TLS" : "", made->must_fail ? " that must fail" : "",
        code != 0 ? error.message : "0");
    return code;
}

bool begin_opening(world *at, opening *made, const pco_connection_options *options)
{
    int attach_error = fake_of(at->loop)->attach_error;
    int code = call_for(at, made, options);
    if (code != 0) {
        check_refusal(at, made, code, attach_error);
        gate_leave(at, made->gate);
        gate_leave(at, made->verdict);
        free(made->given);
        free(made);
        return false;
    }
    if (made->refusals != 0) {
        broken(at, "opening %u was to be refused, and was not", made->id);
    }
    made->next = at->openings;
    at->openings = made;
    if (made->request != NULL) {
        made->internal = PCO__CONTAINER(made->request, pco__opening_request, base)->opening;
    }
    return true;
}

bool may_open(const world *at)
{
    return at->openings_count < OPENINGS_MOST && may_have_conn(at);
}

static void open_connection(world *at)
{
    static const shape shapes[] = {BY_ADDRESSES, BY_NAME, BY_LITERAL, BY_NOTHING};
    option_texts with = {.host = ""};
    pco_connection_options options = {.size = sizeof options};
    shape how = shapes[pick(at, sizeof shapes / sizeof shapes[0])];
    opening *made = opening_new(at, how == BY_NAME && !at->has_resolver ? BY_LITERAL : how);
    choose_place(at, made, &options, &with);
    choose_client_tls(at, made, &options, &with);
    choose_rest(at, made, &options);
    begin_opening(at, made, &options);
    memset(&with, 'x', sizeof with); /* it was copied */
}

/* ---- Requests ---- */

static bool is_held(const opening *of)
{
    return of->request != NULL;
}

static bool has_request(const world *at)
{
    return has_opening(at, is_held);
}

static void cancel(world *at)
{
    opening *of = pick_opening(at, is_held);
    say(at, "cancel opening %u", of->id);
    of->late = of->canceled ? of->late : of->decided;
    of->canceled = true;
    enter_library(at, NULL);
    pco_request_cancel(of->request);
    leave_library(at);
    gate_leave(at, of->gate);
    if (of->conn != NULL && !of->decided) {
        mark_closed(of->conn, true);
    }
}

static void release(world *at)
{
    opening *of = pick_opening(at, is_held);
    pco_request *gone = of->request;
    say(at, "release the request of opening %u", of->id);
    of->request = NULL;
    enter_library(at, NULL);
    pco_request_release(gone);
    leave_library(at);
}

/* ---- Answers ---- */

static bool is_connecting(const fake_socket *of)
{
    return of->user != NULL && fake_is_in_flight(of, PCO__OP_CONNECT);
}

static bool has_attempt(const world *at)
{
    if (at->freed) {
        return false;
    }
    for (const fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        if (is_connecting(each)) {
            return true;
        }
    }
    return false;
}

static fake_socket *pick_attempt(world *at)
{
    unsigned count = 0;
    for (fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        count += is_connecting(each);
    }
    unsigned nth = pick(at, count);
    for (fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        if (is_connecting(each) && nth-- == 0) {
            return each;
        }
    }
    return NULL;
}

static void answer(world *at)
{
    fake_socket *sock = pick_attempt(at);
    const opening *of = sock->user;
    say(at, "an attempt of opening %u is answered", of->id);
    sock->silent = false;
    fake_tell(at->loop);
}

static void decide(world *at)
{
    static const int errors[] = {0, PCO_ECANCELED, PCO_ECONNRESET, PCO_EHOSTUNREACH};
    fake_socket *sock = pick_attempt(at);
    opening *of = sock->user;
    int error = errors[pick(at, sizeof errors / sizeof errors[0])];
    if (!fake_decide(sock, PCO__OP_CONNECT, error, SIZE_MAX)) {
        return;
    }
    say(at, "an attempt of opening %u is to end with %d", of->id, error);
    if (error != 0 && error != PCO_ECANCELED) {
        of->causes |= cause_bit(error);
    }
}

void end_silence(world *at)
{
    for (fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        each->silent = false;
    }
    fake_tell(at->loop);
}

/* ---- Trouble ---- */

static void open_fails(world *at)
{
    say(at, "the next socket cannot be opened");
    fake_of(at->loop)->open_error = PCO_EMFILE;
    at->open_failed = true;
}

static void bind_fails(world *at)
{
    say(at, "the next socket cannot be bound");
    fake_of(at->loop)->bind_error = PCO_EADDRINUSE;
    at->bind_failed = true;
}

const verb verbs_client[] = {
    {"open", 26, ANYWHERE, may_open, open_connection},
    {"cancel opening", 5, ANYWHERE, has_request, cancel},
    {"release opening", 4, ANYWHERE, has_request, release},
    {"answer", 24, ANYWHERE, has_attempt, answer},
    {"decide connect", 8, ANYWHERE, has_attempt, decide},
    {"open fails", 1, ANYWHERE, NULL, open_fails},
    {"bind fails", 1, ANYWHERE, NULL, bind_fails},
    {.name = NULL},
};
