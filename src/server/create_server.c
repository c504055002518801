/* SPDX-License-Identifier: MIT */
/*
 * create_server.c: from the options to a server that listens, in three steps: check() looks at
 * everything that needs no system (options.c), resolve() turns names into addresses and may run on
 * another thread, open_server() binds and listens. If one thing fails, all sockets are closed.
 */
#include "loop/lanes.h"
#include "loop/lookup.h"
#include "loop/request.h"
#include "server/server.h"
#include "support/error.h"
#include "support/memory.h"
#include "system/network.h"

#define BACKLOG 100

/* How often same_port looks for a port that is free on every address. */
#define SAME_PORT_TRIES 16

/* The options made complete, and where to listen. */
typedef struct plan {
    const pco__network *network;
    const pco__server_place *place; /* NULL: `hosts`, or options.sock */
    pco_server_options options;     /* zeros are replaced by the defaults */
    const char *one_host;           /* what `hosts` points to if there is no array */
    const char *const *hosts;
    size_t hosts_count; /* 0: options.sock */
} plan;

/* The addresses of one host. */
typedef struct addresses {
    pco_address *list; /* from pco__malloc */
    size_t count;
} addresses;

/* ---- Checking ---- */

static int check(plan *made, const pco__network *network, const pco_server_options *given,
                 const pco__server_place *place, pco_error *error)
{
    made->network = network;
    made->place = place;
    int code = pco__server_check(network, given, &made->options, error);
    if (code != 0) {
        return code;
    }
    pco_server_options *options = &made->options;
    options->backlog = options->backlog != 0 ? options->backlog : BACKLOG;
    options->flags = options->flags != 0 ? options->flags & ~PCO_AI_NONE : PCO_AI_PASSIVE;
    made->one_host = options->host;
    made->hosts = options->hosts;
    made->hosts_count = options->hosts_count;
    if (place != NULL || pco__has_sock(options)) {
        made->hosts_count = 0;
    } else if (options->hosts == NULL) {
        made->hosts = &made->one_host;
        made->hosts_count = 1;
    }
    return 0;
}

/* ---- Resolving ---- */

static void free_addresses(addresses *found, size_t count)
{
    for (size_t i = 0; found != NULL && i < count; i++) {
        pco__free(found[i].list);
    }
    pco__free(found);
}

/*
 * Looks up the service and every host. *found has plan->hosts_count elements, and is the caller's.
 */
static int resolve(plan *from, addresses **found, pco_error *error)
{
    pco_server_options *options = &from->options;
    *found = NULL;
    if (from->hosts_count == 0) {
        return 0;
    }
    if (options->service != NULL) {
        int code = from->network->resolve_service(options->service, &options->port, error);
        if (code != 0) {
            return code;
        }
    }
    addresses *made = pco__calloc(from->hosts_count * sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    for (size_t i = 0; i < from->hosts_count; i++) {
        const char *host = from->hosts[i];
        bool everywhere = host == NULL || host[0] == '\0';
        int code =
            pco__lookup_host(from->network, everywhere ? NULL : host, options->port,
                             options->family, options->flags, &made[i].list, &made[i].count, error);
        if (code != 0) {
            free_addresses(made, from->hosts_count);
            return code;
        }
    }
    *found = made;
    return 0;
}

/* ---- Binding ---- */

/* Whether a socket for this very address was made before. `seen` are the addresses asked for. */
static bool is_duplicate(const pco_address *seen, size_t count, const pco_address *address)
{
    for (size_t i = 0; i < count; i++) {
        if (pco_address_equal(&seen[i], address)) {
            return true;
        }
    }
    return false;
}

/* What has been bound so far. */
typedef struct binding {
    pco_server *server;
    const pco__server_place *place; /* as the plan's */
    pco_address *seen;              /* addresses asked for, with room for all */
    size_t seen_count;
    int same_port;   /* with the option: the port of the first socket, 0: none yet */
    bool is_refused; /* by the user's prepare_socket: nothing goes on */
} binding;

static int prepare(pco_socket sock, int family, void *context)
{
    binding *state = context;
    const pco_server_options *options = &state->server->options;
    int code = options->prepare_socket(sock, family, options->context);
    state->is_refused = code != 0;
    return code;
}

static int bind_address(binding *state, const pco_address *wanted, pco_error *error)
{
    pco_server *server = state->server;
    const pco_server_options *options = &server->options;
    pco__backend *backend = server->loop->backend;
    const pco__network *network = backend->class_->network;
    pco__listener_options listener = {.reuse_address = options->reuse_address,
                                      .reuse_port = options->reuse_port == PCO_ON,
                                      .connections = server->socket_options,
                                      .prepare = options->prepare_socket != NULL ? prepare : NULL,
                                      .context = state};
    if (state->place != NULL) {
        listener.file_mode = state->place->file_mode;
        listener.replace_stale = state->place->replace_stale;
    }
    pco_address address = *wanted;
    pco_socket sock;
    if (state->same_port != 0) {
        pco__address_set_port(&address, state->same_port);
    }
    int code = network->bind(backend, &address, &listener, &sock, error);
    if (code != 0) {
        return code;
    }
    pco__server_add_listener(server, sock);
    state->seen[state->seen_count++] = *wanted;
    if (options->same_port == PCO_ON && network->sockname(backend, sock, &address) == 0) {
        state->same_port = pco_address_port(&address);
    }
    return 0;
}

/*
 * Binds the addresses of one host. Those that this machine does not have are passed over, if the
 * host has another that works: "localhost" often stands for ::1 where there is no IPv6.
 */
static int bind_host(binding *state, const addresses *host, pco_error *error)
{
    bool bound = false;
    int code = 0;
    for (size_t i = 0; i < host->count; i++) {
        if (is_duplicate(state->seen, state->seen_count, &host->list[i])) {
            bound = true;
            continue;
        }
        int failed = bind_address(state, &host->list[i], error);
        if (failed == 0) {
            bound = true;
        } else if (!state->is_refused &&
                   (failed == PCO_EAFNOSUPPORT || failed == PCO_EADDRNOTAVAIL)) {
            code = failed;
        } else {
            return failed;
        }
    }
    return bound ? 0 : code;
}

/* *is_refused: by the user's prepare_socket. */
static int bind_hosts(pco_server *server, const plan *from, const addresses *found, size_t total,
                      bool *is_refused, pco_error *error)
{
    binding state = {.server = server};
    int code = 0;
    state.seen = pco__malloc(total * sizeof *state.seen);
    if (state.seen == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    for (size_t i = 0; i < from->hosts_count && code == 0; i++) {
        code = bind_host(&state, &found[i], error);
    }
    pco__free(state.seen);
    *is_refused = state.is_refused;
    return code;
}

/* ---- Opening ---- */

static int adopt_sock(pco_server *server, bool *was_blocking, pco_error *error)
{
    const pco_server_options *options = &server->options;
    pco__backend *backend = server->loop->backend;
    pco__listener_options listener = {.connections = server->socket_options};
    int code = pco__loop_check_unwatched(server->loop, options->sock, error);
    if (code == 0) {
        code = backend->class_->network->adopt_listener(backend, options->sock, &listener,
                                                        was_blocking, error);
    }
    if (code == 0) {
        pco__server_add_listener(server, options->sock);
    }
    return code;
}

static int bind_place(pco_server *server, const pco__server_place *place, pco_error *error)
{
    pco_address seen;
    binding state = {.server = server, .place = place, .seen = &seen};
    return bind_address(&state, place->address, error);
}

static void forget_file(pco_server *server)
{
    pco__free(server->file);
    server->file = NULL;
}

/* There is room for the file before there is one: finding it cannot fail. */
static int open_place(pco_server *server, const pco__server_place *place, bool *was_blocking,
                      pco_error *error)
{
    pco__backend *backend = server->loop->backend;
    server->file = pco__malloc(sizeof *server->file);
    if (server->file == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    int code = place->address != NULL ? bind_place(server, place, error)
                                      : adopt_sock(server, was_blocking, error);
    if (code != 0 || !backend->class_->network->find_file(backend, server->listeners[0].io.socket,
                                                          server->file)) {
        forget_file(server);
    }
    return code;
}

static int open_once(pco_loop *loop, const plan *from, const addresses *found, bool *is_refused,
                     pco_server **server, pco_error *error)
{
    const pco__server_place *place = from->place;
    bool adopts = pco__has_sock(&from->options);
    bool was_blocking = false;
    size_t total = from->hosts_count == 0 ? 1 : 0;
    for (size_t i = 0; i < from->hosts_count; i++) {
        total += found[i].count;
    }
    pco_server *made = pco__server_new(loop, &from->options, total);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    int code = place != NULL ? open_place(made, place, &was_blocking, error)
               : adopts      ? adopt_sock(made, &was_blocking, error)
                             : bind_hosts(made, from, found, total, is_refused, error);
    if (code == 0 && from->options.start_serving != PCO_OFF) {
        code = pco__server_start(made, error);
    }
    if (code == 0) {
        if (place != NULL && !place->cleanup_socket) {
            forget_file(made);
        }
        *server = made;
        return 0;
    }
    pco__server_discard(made, adopts ? from->options.sock : PCO_NO_SOCKET);
    if (was_blocking) {
        from->network->make_blocking(loop->backend, from->options.sock);
    }
    return code;
}

static int open_server(pco_loop *loop, const plan *from, const addresses *found,
                       pco_server **server, pco_error *error)
{
    bool chooses_port = from->options.same_port == PCO_ON && from->options.port == 0;
    int tries = chooses_port ? SAME_PORT_TRIES : 1;
    bool is_refused = false;
    int code;
    do {
        code = open_once(loop, from, found, &is_refused, server, error);
    } while (code == PCO_EADDRINUSE && !is_refused && --tries > 0);
    return code;
}

int pco__create_server_at(pco_loop *loop, const pco_server_options *options,
                          const pco__server_place *place, pco_server **server, pco_error *error)
{
    pco__loop_check_thread(loop);
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    plan made;
    addresses *found;
    int code = check(&made, loop->backend->class_->network, options, place, error);
    if (code == 0) {
        code = resolve(&made, &found, error);
    }
    if (code == 0) {
        code = open_server(loop, &made, found, server, error);
        free_addresses(found, made.hosts_count);
    }
    return code;
}

int pco_loop_create_server(pco_loop *loop, const pco_server_options *options, pco_server **server,
                           pco_error *error)
{
    return pco__create_server_at(loop, options, NULL, server, error);
}

/* ---- The same without blocking ---- */

/* What the thread works on: it may outlive the request, when that is canceled. */
typedef struct lookup {
    pco__job job;
    struct creation *creation; /* the loop's thread only */
    plan plan;
    char **hosts;  /* copies, plan.hosts_count of them */
    char *service; /* a copy, or NULL */
    addresses *found;
    int code;
    pco_error error;
} lookup;

typedef struct creation {
    pco_request request;
    lookup *lookup; /* while done() is to come, and in it */
    pco_loop *loop;
    pco_server_created created;
    void *context;
    bool canceled; /* then the thread may still write to the look-up */
} creation;

static void discard(pco__job *job)
{
    lookup *made = PCO__CONTAINER(job, lookup, job);
    free_addresses(made->found, made->plan.hosts_count);
    for (size_t i = 0; made->hosts != NULL && i < made->plan.hosts_count; i++) {
        pco__free(made->hosts[i]);
    }
    pco__free(made->hosts);
    pco__free(made->service);
    pco__free(made);
}

static void work(pco__job *job)
{
    lookup *made = PCO__CONTAINER(job, lookup, job);
    made->code = resolve(&made->plan, &made->found, &made->error);
}

static void done(pco__job *job, bool canceled)
{
    lookup *made = PCO__CONTAINER(job, lookup, job);
    made->creation->canceled = canceled;
    pco__request_complete(&made->creation->request);
}

static void cancel_creation(pco_request *request)
{
    creation *made = PCO__CONTAINER(request, creation, request);
    pco__job_cancel(made->loop, &made->lookup->job);
}

static void complete_creation(pco_request *request)
{
    creation *made = PCO__CONTAINER(request, creation, request);
    const lookup *from = made->lookup;
    pco_ssl_context *ssl = from->plan.options.ssl;
    pco_server *server = NULL;
    pco_error error;
    int code;
    if (made->canceled) {
        code = pco__error_set(&error, PCO_ECANCELED, 0, "create_server was canceled");
    } else if ((code = from->code) != 0) {
        error = from->error;
    } else {
        code = open_server(made->loop, &from->plan, from->found, &server, &error);
    }
    made->created(server, code == 0 ? NULL : &error, made->context);
    if (ssl != NULL) {
        pco_ssl_context_release(ssl);
    }
}

static void destroy_creation(pco_request *request)
{
    pco__free(PCO__CONTAINER(request, creation, request));
}

static const pco__request_class creation_class = {
    .cancel = cancel_creation, .complete = complete_creation, .destroy = destroy_creation};

static int copy_strings(lookup *made)
{
    plan *from = &made->plan;
    if (from->options.service != NULL) {
        made->service = pco__strdup(from->options.service);
        if (made->service == NULL) {
            return PCO_ENOMEM;
        }
        from->options.service = made->service;
    }
    if (from->hosts_count == 0) {
        return 0;
    }
    made->hosts = pco__calloc(from->hosts_count * sizeof *made->hosts);
    if (made->hosts == NULL) {
        return PCO_ENOMEM;
    }
    for (size_t i = 0; i < from->hosts_count; i++) {
        const char *host = from->hosts[i];
        if (host != NULL && (made->hosts[i] = pco__strdup(host)) == NULL) {
            return PCO_ENOMEM;
        }
    }
    from->hosts = (const char *const *)made->hosts;
    return 0;
}

/* Begins to look up, for a creation whose memory is there. */
static int begin_lookup(creation *made, lookup *wanted, const pco_server_options *options,
                        pco_error *error)
{
    wanted->job.work = work;
    wanted->job.done = done;
    wanted->job.discard = discard;
    wanted->creation = made;
    int code = check(&wanted->plan, made->loop->backend->class_->network, options, NULL, error);
    if (code == 0 && copy_strings(wanted) != 0) {
        code = pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    if (code == 0) {
        code = pco__lanes_submit(made->loop, PCO__LANE_NAMES, &wanted->job, error);
    }
    if (code == 0 && wanted->plan.options.ssl != NULL) {
        pco_ssl_context_retain(wanted->plan.options.ssl);
    }
    return code;
}

int pco_loop_create_server_async(pco_loop *loop, const pco_server_options *options,
                                 pco_server_created created, void *context, pco_request **request,
                                 pco_error *error)
{
    pco__loop_check_thread(loop);
    if (created == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a callback is required");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    creation *made = pco__calloc(sizeof *made);
    lookup *wanted = pco__calloc(sizeof *wanted);
    if (made == NULL || wanted == NULL) {
        pco__free(made);
        pco__free(wanted);
        return pco__error_describe(error, PCO_ENOMEM, 0, "create a server");
    }
    made->loop = loop;
    made->lookup = wanted;
    made->created = created;
    made->context = context;
    int code = begin_lookup(made, wanted, options, error);
    if (code != 0) {
        discard(&wanted->job);
        pco__free(made);
        return code;
    }
    pco__request_begin(loop, &made->request, &creation_class, request);
    return 0;
}
