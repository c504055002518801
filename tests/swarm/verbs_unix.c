/* SPDX-License-Identifier: MIT */
/*
 * verbs_unix.c: servers of UNIX sockets, at paths that others have, or have left behind, at
 * abstract names, and of sockets that are there already; their files; and clients of theirs, of
 * paths where nobody is, and of backlogs that are full.
 */
#include "swarm.h"

/* ---- Files ---- */

/* Each is there as long as its socket, and goes with it, unless it was to stay. */
void check_files(world *at)
{
    for (const fake_socket *each = fake_of(at->loop)->sockets; each != NULL; each = each->next) {
        bool is_gone = each->file_removed || each->file_replaced;
        if (!each->has_file) {
            continue;
        }
        if (!each->closed && is_gone) {
            broken(at, "the file of a socket is gone, and that is open");
        }
        if (each->closed && !is_gone && !each->keeps_file) {
            broken(at, "a socket's file is left behind");
        }
        if (each->keeps_file && each->file_removed) {
            broken(at, "a file was removed that was to stay");
        }
    }
}

/* ---- Servers ---- */

/* A server that is asked for. */
typedef struct wanted {
    served *made;
    pco_server_options options;
    pco_unix_options file;
    pco_address address; /* of length 0: a socket */
    int refusal;
    bool is_taken;
} wanted;

static void choose_place(world *at, wanted *of)
{
    static const char *const paths[] = {"a.socket", "b.socket", "./@c", "@d", "@"};
    const char *path = paths[pick(at, sizeof paths / sizeof paths[0])];
    pco__backend *backend = at->loop->backend;
    pco__listener_options plain = {.reuse_address = PCO_DEFAULT};
    served *made = of->made;
    int code = pco__address_of_path(path, &of->address, NULL);
    bool is_sock = code == 0 && !at->freeing && pick_rarely(at, 5);
    if (is_sock &&
        backend->class_->network->bind(backend, &of->address, &plain, &made->sock, NULL) == 0) {
        of->options.sock = made->sock;
        of->options.has_sock = pick(at, 2) == 1 ? PCO_ON : PCO_DEFAULT;
        return;
    }
    snprintf(made->place, sizeof made->place, "%s", path);
    of->refusal = of->refusal != 0 ? of->refusal : code;
    made->prepares = pick(at, 3) == 1;
    of->options.prepare_socket = made->prepares ? server_prepare_socket : NULL;
}

static void choose_file(world *at, wanted *of)
{
    static const int modes[] = {0, 0, 0, 0600, 0666, 01000};
    static const int switches[] = {PCO_DEFAULT, PCO_DEFAULT, PCO_DEFAULT, PCO_ON, PCO_OFF};
    pco_unix_options *file = &of->file;
    const char *path = of->made->place;
    *file = (pco_unix_options){.size = sizeof *file};
    file->mode = modes[pick(at, sizeof modes / sizeof modes[0])];
    file->cleanup_socket = switches[pick(at, sizeof switches / sizeof switches[0])];
    file->replace_stale = switches[pick(at, sizeof switches / sizeof switches[0])];
    bool is_senseless = file->mode > 0777 ||
                        (file->mode != 0 && (path[0] == '@' || path[0] == '\0')) ||
                        (path[0] == '\0' && file->replace_stale != PCO_DEFAULT);
    of->refusal = of->refusal == 0 && is_senseless ? PCO_EINVAL : of->refusal;
    of->is_taken = path[0] != '\0' && strcmp(path, "@") != 0 &&
                   fake_path_is_taken(at->loop, &of->address, file->replace_stale != PCO_OFF);
}

/* What a callback of this call does may take the name, or give it back. */
static void check_answer(world *at, const wanted *of, int code)
{
    const served *made = of->made;
    bool is_known = !made->prepares;
    if (code == 0
            ? of->refusal != 0 || (of->is_taken && is_known) || at->freeing
            : !(code == PCO_EADDRINUSE && made->place[0] != '\0' && (of->is_taken || !is_known)) &&
                  !may_fail_to_create(at, made, code, of->refusal)) {
        broken(at, "creating a server at a path returned %s",
               code != 0 ? pco_error_name(code) : "0");
    }
    check_prepares(at, made, code);
}

static void note_listener(world *at, const wanted *of)
{
    served *made = of->made;
    fake_socket *listener = fake_socket_of(at->loop, pco_server_get_socket(made->server, 0));
    pco_address name;
    bool is_any = strcmp(made->place, "@") == 0;
    made->listeners[0] = listener;
    listener->keeps_file = of->file.cleanup_socket == PCO_OFF;
    if (listener->file_mode != of->file.mode) {
        broken(at, "a server's file has another mode than was asked for");
    }
    if (pco_server_get_sockname(made->server, 0, &name) != 0 ||
        (!is_any && made->place[0] != '\0' && !pco_address_equal(&name, &of->address))) {
        broken(at, "a server is at another path than its own");
    }
}

/* The call has failed: its file is gone, and a socket is the user's still, with its own. */
static void take_back(world *at, served *of)
{
    pco__backend *backend = at->loop->backend;
    const pco__network *network = backend->class_->network;
    pco__socket_file file;
    if (of->sock == PCO_NO_SOCKET) {
        return;
    }
    if (network->find_file(backend, of->sock, &file)) {
        network->remove_file(backend, &file);
    }
    network->close(backend, of->sock, false);
}

static int call_create(world *at, wanted *of, pco_server **server)
{
    served *made = of->made;
    bool are_defaults = of->file.mode == 0 && of->file.cleanup_socket == PCO_DEFAULT &&
                        of->file.replace_stale == PCO_DEFAULT;
    made->creating = true;
    at->creating++;
    enter_library(at, NULL);
    int code =
        pco_loop_create_unix_server(at->loop, made->place[0] != '\0' ? made->place : NULL,
                                    &of->options, are_defaults ? NULL : &of->file, server, NULL);
    leave_library(at);
    at->creating--;
    made->creating = false;
    return code;
}

static void create(world *at)
{
    wanted its = {.refusal = 0};
    pco_server *server = NULL;
    served *made = server_new(at, OVER_UNIX, &its.options, &its.refusal);
    its.made = made;
    choose_place(at, &its);
    choose_file(at, &its);
    int code = call_create(at, &its, &server);
    say(at, "create server%s at %s%s: %s", made->tls ? " with TLS" : "",
        made->place[0] != '\0' ? made->place : "a socket's path", its.is_taken ? ", taken" : "",
        code != 0 ? pco_error_name(code) : "0");
    check_answer(at, &its, code);
    if (code == 0) {
        server_welcome(at, made, server);
        note_listener(at, &its);
    } else {
        take_back(at, made);
        free(made);
    }
}

/* ---- Clients ---- */

/* A server of ours, or a path where somebody else is, or nobody. */
static void choose_target(world *at, opening *of, option_texts *with)
{
    static const fate fates[] = {ANSWERS, ANSWERS, REFUSES, ANSWERS_LATE, REFUSES_LATE};
    static const int errors[] = {PCO_ECONNREFUSED, PCO_ENOENT, PCO_EACCES};
    served *server = pick(at, 2) == 0 ? pick_open_server(at, OVER_UNIX) : NULL;
    target *to = &of->targets[0];
    to->fate = fates[pick(at, sizeof fates / sizeof fates[0])];
    to->error = errors[pick(at, sizeof errors / sizeof errors[0])];
    to->full = pick_rarely(at, 4) ? 1 + pick(at, 12) : 0;
    to->server = server;
    of->is_tls = server != NULL ? server->tls : swarm_has_tls && pick(at, 2) == 1;
    snprintf(with->place, sizeof with->place, "s%u", of->id);
    if (server == NULL) {
        pco__address_of_path(with->place, &to->address, NULL);
    } else if (pco_server_get_sockname(server->server, 0, &to->address) != 0 ||
               pco_address_host(&to->address, with->place, sizeof with->place) != 0) {
        broken(at, "a server has no path");
    }
    of->place = with->place;
    of->count = 1;
    expect_order(of, 0, PCO_AF_UNSPEC);
}

static void open_connection(world *at)
{
    static const double limits[] = {0, 0, 0.01, 3, INFINITY};
    option_texts with = {.host = ""};
    pco_connection_options options = {.size = sizeof options};
    opening *made = opening_new(at, BY_PLACE);
    made->carrier = OVER_UNIX;
    choose_target(at, made, &with);
    options.connect_timeout = limits[pick(at, sizeof limits / sizeof limits[0])];
    made->expires = options.connect_timeout > 0 && !isinf(options.connect_timeout);
    options.prepare_socket = pick(at, 4) == 1 ? opening_prepare : NULL;
    choose_client_tls(at, made, &options, &with);
    choose_rest(at, made, &options);
    begin_opening(at, made, &options);
    memset(&with, 'x', sizeof with); /* it was copied */
}

const verb verbs_unix[] = {
    {"create at a path", 8, ANYWHERE, may_create, create},
    {"open a path", 14, ANYWHERE, may_open, open_connection},
    {.name = NULL},
};
