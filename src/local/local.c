/* SPDX-License-Identifier: MIT */
/*
 * local.c: servers and connections by a name: what the system's place for it is, a UNIX socket or a
 * pipe, opened by the calls for these; and at both ends the question who the other one is.
 */
#include <portico/local.h>

#include <portico/pipe.h>
#include <portico/request.h>
#include <portico/unix.h>

#include <string.h>

#include "client/client.h"
#include "connection/check.h"
#include "server/server.h"
#include "support/error.h"
#include "support/local_name.h"
#include "support/memory.h"
#include "support/options.h"
#include "system/local.h"

static const pco__field option_fields[] = {
    PCO__FIELD(pco_local_options, audience),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_local_options, sizeof(size_t), option_fields);

/* ---- Who the other end is ---- */

static int check_user(const pco__connection_owner *owner, pco_socket sock, pco_error *error)
{
    return pco__local_check_peer(sock, PCO_LOCAL_USER, owner->is_client, error);
}

static int check_group(const pco__connection_owner *owner, pco_socket sock, pco_error *error)
{
    return pco__local_check_peer(sock, PCO_LOCAL_GROUP, owner->is_client, error);
}

static pco__peer_check check_of(int audience)
{
    return audience == PCO_LOCAL_USER    ? check_user
           : audience == PCO_LOCAL_GROUP ? check_group
                                         : NULL;
}

/* ---- The place ---- */

/* Checks what is this header's, and finds the place. */
static int find(const char *name, const pco_local_options *given, bool to_serve, int *audience,
                pco__local_place *place, pco_error *error)
{
    pco_local_options options = {.audience = PCO_LOCAL_USER};
    *audience = options.audience;
    int code = pco__local_name_check(name, error);
    if (code == 0 && given != NULL) {
        code = pco__options_read(&option_layout, given, &options, error);
    }
    if (code != 0) {
        return code;
    }
    if (options.audience < PCO_LOCAL_USER || options.audience > PCO_LOCAL_ALL) {
        return pco__error_set(error, PCO_EINVAL, 0, "audience is %d, none of PCO_LOCAL_*",
                              options.audience);
    }
    *audience = options.audience;
    return pco__local_find(name, options.audience, to_serve, place, error);
}

/* A name and a socket of the caller's are two places. */
static int check_sock(pco_socket sock, int has_sock, pco_error *error)
{
    return pco__is_sock(sock, has_sock)
               ? pco__error_set(error, PCO_EINVAL, 0,
                                "name and sock cannot be given at the same time")
               : 0;
}

/* ---- Servers ---- */

static int check_server(const pco_server_options *given, pco_error *error)
{
    pco_server_options whole;
    int code = pco__server_options_read(given, &whole, error);
    return code == 0 ? check_sock(whole.sock, whole.has_sock, error) : code;
}

static int open_server(pco_loop *loop, const pco__local_place *place,
                       const pco_server_options *options, pco_server **server, pco_error *error)
{
    if (place->is_pipe) {
        pco_pipe_options pipe = {.size = sizeof pipe, .sddl = place->sddl};
        return pco_loop_start_serving_pipe(loop, place->where, options, &pipe, server, error);
    }
    pco_unix_options socket = {.size = sizeof socket, .mode = place->mode};
    return pco_loop_create_unix_server(loop, place->where, options, &socket, server, error);
}

/* With the sentence of who knows more, if there is one. */
static int already_running(const char *name, const pco_error *why, pco_error *error)
{
    return pco__error_set(error, PCO_EADDRINUSE, why->system_code, "%.100s is already running%s%s",
                          name, why->code != 0 ? ": " : "", why->code != 0 ? why->message : "");
}

/* The place is in use: of an impostor one cannot say that it is the program, running. */
static int who_is_there(const pco__local_place *place, int audience, const char *name,
                        pco_error *why)
{
    pco_error found;
    int code = pco__local_check_owner(place, audience, &found);
    return code == 0 ? PCO_EADDRINUSE
                     : pco__error_set(why, code, found.system_code, "serve %.100s: %s", name,
                                      found.message);
}

int pco_loop_create_local_server(pco_loop *loop, const char *name,
                                 const pco_server_options *options, const pco_local_options *local,
                                 pco_server **server, pco_error *error)
{
    pco__local_place place;
    int audience;
    intptr_t lock;
    pco_error why = {0};
    pco__loop_check_thread(loop);
    int code = check_server(options, error);
    if (code == 0) {
        code = find(name, local, true, &audience, &place, error);
    }
    if (code != 0) {
        return code;
    }
    code = pco__local_lock(&place, &lock, &why);
    if (code == 0) {
        code = open_server(loop, &place, options, server, &why);
        if (code == PCO_EADDRINUSE) {
            code = who_is_there(&place, audience, name, &why);
        }
        if (code != 0) {
            pco__local_unlock(lock);
        }
    }
    if (code == PCO_EADDRINUSE) {
        return already_running(name, &why, error);
    }
    if (code != 0) {
        return pco__error_set(error, code, why.system_code, "%s", why.message);
    }
    /* Nobody is accepted before the loop's next turn. */
    (*server)->lock = lock;
    (*server)->owner.check_peer = check_of(audience);
    return 0;
}

/* ---- Connections ---- */

static int check_connection(const pco_connection_options *given, pco_error *error)
{
    pco_connection_options whole;
    int code = pco__connection_options_read(given, &whole, error);
    return code == 0 ? check_sock(whole.sock, whole.has_sock, error) : code;
}

/* What the user is to be told, in this noun's words. */
typedef struct telling {
    pco_connected connected;
    void *context;
    char name[PCO__LOCAL_NAME_MOST + 1];
} telling;

static bool says_nobody(int code)
{
    return code == PCO_ECONNREFUSED || code == PCO_ENOENT || code == PCO_ENOTSOCK;
}

static void tell(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                 void *context)
{
    telling *told = context;
    pco_error nobody;
    if (error != NULL && says_nobody(error->code)) {
        pco__error_set(&nobody, PCO_ECONNREFUSED, error->system_code,
                       "connect to %.100s: nobody serves it", told->name);
        error = &nobody;
    }
    told->connected(transport, protocol, error, told->context);
    pco__free(told);
}

static int open_connection(pco_loop *loop, const pco__local_place *place,
                           const pco_connection_options *options, telling *told,
                           pco_request **request, pco_error *error)
{
    if (place->is_pipe) {
        return pco_loop_create_pipe_connection(loop, place->where, options, tell, told, request,
                                               error);
    }
    return pco_loop_create_unix_connection(loop, place->where, options, tell, told, request, error);
}

int pco_loop_create_local_connection(pco_loop *loop, const char *name,
                                     const pco_connection_options *options,
                                     const pco_local_options *local, pco_connected connected,
                                     void *context, pco_request **request, pco_error *error)
{
    pco__local_place place;
    int audience;
    pco_request *begun;
    pco__loop_check_thread(loop);
    if (connected == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a callback is required");
    }
    int code = find(name, local, false, &audience, &place, error);
    if (code == 0) {
        code = check_connection(options, error);
    }
    if (code != 0) {
        return code;
    }
    telling *told = pco__malloc(sizeof *told);
    if (told == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "open a connection");
    }
    told->connected = connected;
    told->context = context;
    memcpy(told->name, name, strlen(name) + 1);
    code = open_connection(loop, &place, options, told, &begun, error);
    if (code != 0) {
        pco__free(told);
        return code;
    }
    pco__opening_check_peer(begun, check_of(audience));
    if (request != NULL) {
        *request = begun;
    } else {
        pco_request_release(begun);
    }
    return 0;
}
