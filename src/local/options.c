/* SPDX-License-Identifier: MIT */
/* options.c: where a UNIX socket is: a path, or a socket of the caller's. */
#include "local/options.h"

#include "connection/check.h"
#include "support/error.h"
#include "system/network.h"

/* Just one of the two. */
static int check_place(const char *path, bool has_sock, pco_error *error)
{
    if (path != NULL && has_sock) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "path and sock cannot be given at the same time");
    }
    return path != NULL || has_sock
               ? 0
               : pco__error_set(error, PCO_EINVAL, 0, "path or sock is required");
}

int pco__local_check_unix(pco_loop *loop, const char *path, pco_socket sock, int has_sock,
                          pco_address *address, pco_error *error)
{
    int code = pco__check_sock(sock, has_sock, error);
    if (code == 0) {
        code = check_place(path, pco__is_sock(sock, has_sock), error);
    }
    if (code != 0 || path != NULL) {
        return code == 0 ? pco__address_of_path(path, address, error) : code;
    }
    code = loop->backend->class_->network->sockname(loop->backend, sock, address);
    if (code != 0) {
        return pco__error_describe(error, code, 0, "sock");
    }
    return pco_address_family(address) == PCO_AF_UNIX
               ? 0
               : pco__error_set(error, PCO_EINVAL, 0, "sock: a UNIX socket was expected");
}
