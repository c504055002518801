/* SPDX-License-Identifier: MIT */
/*
 * pipe.c: a server of a named pipe: like any other, with one listener, which holds the name. What
 * is accepted are the instances of the pipe.
 */
#include <portico/pipe.h>

#include "connection/check.h"
#include "server/server.h"
#include "support/error.h"
#include "support/options.h"
#include "system/network.h"

static const pco__field option_fields[] = {PCO__FIELD(pco_pipe_options, sddl)};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_pipe_options, sizeof(pco_pipe_options), option_fields);

/* What is about sockets. A backlog, and to linger, are nothing that a pipe would need. */
static int check_place(const pco_server_options *options, pco_error *error)
{
    const pco__given given[] = {{pco__has_sock(options), "sock"},
                                {options->prepare_socket != NULL, "prepare_socket"}};
    int code = pco__server_check_no_tcp(options, error);
    return code == 0 ? pco__check_none_given(given, 2, "sockets", error) : code;
}

/* The place first: what no pipe has is PCO_EINVAL, though this system may lack it everywhere. */
static int check(const pco_loop *loop, const pco_server_options *given,
                 const pco_pipe_options *given_pipe, pco_server_options *options,
                 pco_pipe_options *pipe, pco_error *error)
{
    pco_server_options whole;
    int code = pco__server_options_read(given, &whole, error);
    if (code == 0) {
        code = check_place(&whole, error);
    }
    if (code == 0) {
        code = pco__server_check(loop->backend->class_->network, &whole, options, error);
    }
    *pipe = (pco_pipe_options){.size = sizeof *pipe};
    return code == 0 && given_pipe != NULL
               ? pco__options_read(&option_layout, given_pipe, pipe, error)
               : code;
}

static int serve(pco_loop *loop, const char *name, const char *sddl,
                 const pco_server_options *options, pco_server **server, pco_error *error)
{
    const pco__pipes_class *pipes = loop->backend->class_->network->pipes;
    pco_server *made = pco__server_new(loop, options, 1);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "serve pipe %s", name);
    }
    made->owner.streams.role = PCO__IO_PIPE;
    made->owner.streams.linger = false;
    pco_socket holder;
    int code = pipes->bind(name, sddl, &made->pipe, &holder, error);
    if (code == 0) {
        pco__server_add_listener(made, holder);
    }
    if (code == 0 && options->start_serving != PCO_OFF) {
        code = pco__server_start(made, error);
    }
    if (code != 0) {
        pco__server_discard(made, PCO_NO_SOCKET);
        return code;
    }
    *server = made;
    return 0;
}

int pco_loop_start_serving_pipe(pco_loop *loop, const char *name, const pco_server_options *options,
                                const pco_pipe_options *pipe_options, pco_server **server,
                                pco_error *error)
{
    pco__loop_check_thread(loop);
    if (loop->backend->class_->network->pipes == NULL) {
        return pco__error_set(error, PCO_ENOTSUP, 0, "this system has no named pipes");
    }
    if (loop->freeing) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the loop is being freed");
    }
    pco_server_options checked;
    pco_pipe_options pipe;
    int code = check(loop, options, pipe_options, &checked, &pipe, error);
    if (code == 0) {
        code = pco__check_pipe_name(name, &name, error);
    }
    return code == 0 ? serve(loop, name, pipe.sddl, &checked, server, error) : code;
}
