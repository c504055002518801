/* SPDX-License-Identifier: MIT */
/*
 * portico.c: the echo server of this library, by its public headers, with every option at its
 * default but the backlog. Flow control as in examples/echo_server.c.
 */
#include <portico.h>

#include "common.h"

static void data_received(pco_protocol *self, pco_transport *transport, const void *data,
                          size_t length)
{
    (void)self;
    pco_transport_write(transport, data, length);
}

static void pause_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
}

static void resume_writing(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_resume_reading(transport);
}

static const pco_protocol_methods echo_methods = {
    .size = sizeof echo_methods,
    .data_received = data_received,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

static pco_protocol *make_echo(void *context)
{
    static pco_protocol echo = {&echo_methods};

    (void)context;
    return &echo;
}

int main(int argc, char **argv)
{
    settings set;
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_address address;
    pco_error error;

    (void)argc;
    read_settings(&set, argv);

    pco_ssl_context_options ssl = {
        .size = sizeof ssl, .certificate_file = set.certificate, .key_file = set.key};
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_echo,
                                  .host = "127.0.0.1",
                                  .port = set.port,
                                  .backlog = BACKLOG};
    int code = pco_loop_new(NULL, &loop, &error);
    if (code == 0 && set.certificate != NULL) {
        code = pco_ssl_context_new(&ssl, &options.ssl, &error);
    }
    if (code == 0) {
        code = pco_loop_create_server(loop, &options, &server, &error);
    }
    if (code != 0) {
        give_up(error.message);
    }
    pco_server_get_sockname(server, 0, &address);
    announce(pco_address_port(&address));
    return pco_loop_run_forever(loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
