/* SPDX-License-Identifier: MIT */
/* unix_connection.c: create_unix_connection: one address, and then create_connection. */
#include <string.h>

#include <portico/unix.h>

#include "client/client.h"
#include "connection/check.h"
#include "local/options.h"
#include "support/error.h"

/* A free name is for who binds. */
static int check_name(const char *path, pco_error *error)
{
    return path == NULL || strcmp(path, "@") != 0
               ? 0
               : pco__error_set(error, PCO_EINVAL, 0, "path is \"@\", an abstract name of nothing");
}

int pco_loop_create_unix_connection(pco_loop *loop, const char *path,
                                    const pco_connection_options *options, pco_connected connected,
                                    void *context, pco_request **request, pco_error *error)
{
    pco_connection_options whole;
    pco_address address;
    pco__loop_check_thread(loop);
    int code = pco__connection_options_read(options, &whole, error);
    if (code == 0) {
        code = pco__connection_check_no_tcp(&whole, error);
    }
    if (code == 0) {
        code = check_name(path, error);
    }
    if (code == 0) {
        code = pco__local_check_unix(loop, path, whole.sock, whole.has_sock, &address, error);
    }
    if (code != 0) {
        return code;
    }
    return pco__create_connection_to(loop, path != NULL ? &address : NULL, &whole, connected,
                                     context, request, error);
}
