/* SPDX-License-Identifier: MIT */
/*
 * create_connection.c: connections to hosts and addresses: names are looked up, and the addresses
 * tried (attempts.c); and those of sockets that are connected.
 */
#include "client/attempts.h"
#include "client/client.h"
#include "client/opening.h"
#include "client/options.h"

#include "loop/lookup.h"
#include "support/error.h"
#include "support/memory.h"

/* ---- Names ---- */

static int look_up(pco__opening *opening, const char *host, const char *service, int port,
                   int flags, pco__looked_up *done)
{
    pco__place place = {.host = pco__text_or_null(host),
                        .service = service,
                        .port = port,
                        .family = opening->options.family,
                        .flags = flags};
    return pco__lookup_begin(opening->loop, &place, done, opening, &opening->lookup);
}

static void found_remote(void *context, pco_address *addresses, size_t count,
                         const pco_error *error)
{
    pco__opening *opening = context;
    opening->lookup = NULL;
    if (error != NULL) {
        pco__opening_fail(opening, error);
        return;
    }
    bool taken = pco__opening_take(opening, addresses, count);
    pco__free(addresses);
    if (taken) {
        pco__attempts_begin(opening);
    } else {
        pco__opening_fail_with(opening, PCO_ENOMEM, pco_strerror(PCO_ENOMEM));
    }
}

static void look_up_remote(pco__opening *opening)
{
    if (opening->attempts != NULL) {
        pco__attempts_begin(opening);
    } else if (look_up(opening, opening->options.host, opening->options.service,
                       opening->options.port, opening->options.flags, found_remote) != 0) {
        pco__opening_fail_with(opening, PCO_ENOMEM, pco_strerror(PCO_ENOMEM));
    }
}

static void found_local(void *context, pco_address *addresses, size_t count, const pco_error *error)
{
    pco__opening *opening = context;
    opening->lookup = NULL;
    if (error != NULL) {
        pco_error whole;
        pco__error_set(&whole, error->code, error->system_code, "local_host: %s", error->message);
        pco__opening_fail(opening, &whole);
        return;
    }
    opening->local = addresses;
    opening->local_count = count;
    look_up_remote(opening);
}

/* A port alone to connect from: on all interfaces. */
static int look_up_local(pco__opening *opening)
{
    const pco_connection_options *options = &opening->options;
    const char *host = pco__text_or_null(options->local_host);
    int flags = options->flags | (host == NULL ? PCO_AI_PASSIVE : 0);
    return look_up(opening, host, NULL, options->local_port, flags, found_local);
}

static void look_up_names(pco__opening *opening)
{
    const pco_connection_options *options = &opening->options;
    if (opening->attempts == NULL || pco__text_or_null(options->local_host) != NULL) {
        pco__opening_tell(opening, PCO_CONNECTION_RESOLVING, NULL, NULL);
    }
    if (opening->stage != PCO__OPENING_LOOKING_UP) {
        return;
    }
    if (pco__text_or_null(options->local_host) == NULL && options->local_port == 0) {
        look_up_remote(opening);
    } else if (look_up_local(opening) != 0) {
        pco__opening_fail_with(opening, PCO_ENOMEM, pco_strerror(PCO_ENOMEM));
    }
}

/* The opening's task. */
static void go_on(pco__opening *opening)
{
    if (opening->stage == PCO__OPENING_LOOKING_UP) {
        look_up_names(opening);
    } else {
        pco__attempts_go_on(opening);
    }
}

static const pco__opening_class opening_class = {.go_on = go_on, .connected = pco__attempt_ended};

/* ---- The calls ---- */

/* `place` as in pco__create_connection_to. */
static int open_to(pco_loop *loop, const pco_address *place, bool is_client,
                   const pco_connection_options *options, pco_connected connected, void *context,
                   pco_request **request, pco_error *error)
{
    pco_connection_options checked;
    pco__opener opener = {.class_ = &opening_class,
                          .is_client = is_client,
                          .connected = connected,
                          .context = context};
    int code = pco__check_opening(loop, connected, error);
    if (code == 0) {
        code = pco__opening_check(loop->backend->class_->network, options, place, is_client,
                                  &checked, error);
    }
    return code == 0 ? pco__open_connection(loop, &checked, &opener, request, error) : code;
}

int pco__create_connection_to(pco_loop *loop, const pco_address *place,
                              const pco_connection_options *options, pco_connected connected,
                              void *context, pco_request **request, pco_error *error)
{
    return open_to(loop, place, true, options, connected, context, request, error);
}

int pco_loop_create_connection(pco_loop *loop, const pco_connection_options *options,
                               pco_connected connected, void *context, pco_request **request,
                               pco_error *error)
{
    return open_to(loop, NULL, true, options, connected, context, request, error);
}

int pco_loop_connect_accepted_socket(pco_loop *loop, const pco_connection_options *options,
                                     pco_connected connected, void *context, pco_request **request,
                                     pco_error *error)
{
    return open_to(loop, NULL, false, options, connected, context, request, error);
}
