/* SPDX-License-Identifier: MIT */
/*
 * serve.c: what the documentation's programs meet in the place of pco_loop_create_server: the same,
 * but on a free port, lest two tests want the one that the documentation names; and it says which,
 * as the examples do, once the loop runs and so the program has done all that comes before.
 */
#include <portico.h>

#include <stdio.h>

int documentation_create_server(pco_loop *loop, const pco_server_options *options,
                                pco_server **server, pco_error *error);

static void tell_address(void *server)
{
    pco_address address;
    if (pco_server_get_sockname(server, 0, &address) == 0) {
        printf("listening on 127.0.0.1:%d\n", pco_address_port(&address));
        fflush(stdout);
    }
}

int documentation_create_server(pco_loop *loop, const pco_server_options *options,
                                pco_server **server, pco_error *error)
{
    pco_server_options changed = *options;
    changed.host = "127.0.0.1";
    changed.port = 0;
    int code = pco_loop_create_server(loop, &changed, server, error);
    return code != 0 ? code : pco_loop_call_soon(loop, tell_address, *server, NULL);
}
