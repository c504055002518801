/* SPDX-License-Identifier: MIT */
/* options.c: options that only make sense for TCP, and what is there instead. */
#include "local/options.h"

#include "support/error.h"
#include "system/network.h"

typedef struct given {
    bool is_given;
    const char *name;
} given;

static int refuse(const given *options, size_t count, pco_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (options[i].is_given) {
            return pco__error_set(error, PCO_EINVAL, 0, "%s is only meaningful for TCP",
                                  options[i].name);
        }
    }
    return 0;
}

/* A number that is not 0: NaN is one. */
static bool is_number(double seconds)
{
    return !(seconds >= 0 && seconds <= 0);
}

int pco__local_check_server(const pco_server_options *options, pco_error *error)
{
    const given foreign[] = {{options->host != NULL, "host"},
                             {options->hosts != NULL || options->hosts_count != 0, "hosts"},
                             {options->port != 0, "port"},
                             {options->service != NULL, "service"},
                             {options->same_port != PCO_DEFAULT, "same_port"},
                             {options->family != PCO_AF_UNSPEC, "family"},
                             {options->flags != 0, "flags"},
                             {options->reuse_address != PCO_DEFAULT, "reuse_address"},
                             {options->reuse_port != PCO_DEFAULT, "reuse_port"},
                             {options->keep_alive != PCO_DEFAULT, "keep_alive"},
                             {is_number(options->keep_alive_idle), "keep_alive_idle"},
                             {is_number(options->keep_alive_interval), "keep_alive_interval"},
                             {options->keep_alive_count != 0, "keep_alive_count"},
                             {is_number(options->user_timeout), "user_timeout"}};
    return refuse(foreign, sizeof foreign / sizeof foreign[0], error);
}

int pco__local_check_connection(const pco_connection_options *options, pco_error *error)
{
    const given foreign[] = {
        {options->host != NULL, "host"},
        {options->port != 0, "port"},
        {options->service != NULL, "service"},
        {options->addresses != NULL || options->addresses_count != 0, "addresses"},
        {options->local_host != NULL, "local_host"},
        {options->local_port != 0, "local_port"},
        {options->family != PCO_AF_UNSPEC, "family"},
        {options->proto != 0, "proto"},
        {options->flags != 0, "flags"},
        {is_number(options->happy_eyeballs_delay), "happy_eyeballs_delay"},
        {options->interleave != 0, "interleave"},
        {options->all_errors != PCO_DEFAULT, "all_errors"},
        {options->keep_alive != PCO_DEFAULT, "keep_alive"},
        {is_number(options->keep_alive_idle), "keep_alive_idle"},
        {is_number(options->keep_alive_interval), "keep_alive_interval"},
        {options->keep_alive_count != 0, "keep_alive_count"},
        {is_number(options->user_timeout), "user_timeout"}};
    return refuse(foreign, sizeof foreign / sizeof foreign[0], error);
}

int pco__local_check_place(const char *what, bool has_address, bool has_sock, pco_error *error)
{
    if (has_address && has_sock) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s and sock cannot be given at the same time",
                              what);
    }
    return has_address || has_sock
               ? 0
               : pco__error_set(error, PCO_EINVAL, 0, "%s or sock is required", what);
}

int pco__local_check_unix(pco_loop *loop, const char *path, bool has_sock, pco_socket sock,
                          pco_address *address, pco_error *error)
{
    int code = pco__local_check_place("path", path != NULL, has_sock, error);
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
