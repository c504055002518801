/* SPDX-License-Identifier: MIT */
/* options.c: what servers are asked: checks, for those of every kind. */
#include <string.h>

#include "connection/check.h"
#include "server/server.h"
#include "support/error.h"
#include "support/options.h"
#include "system/network.h"

static const pco__field option_fields[] = {
    PCO__FIELD(pco_server_options, protocol_factory),
    PCO__FIELD(pco_server_options, context),
    PCO__FIELD(pco_server_options, host),
    PCO__FIELD(pco_server_options, hosts),
    PCO__FIELD(pco_server_options, hosts_count),
    PCO__FIELD(pco_server_options, port),
    PCO__FIELD(pco_server_options, same_port),
    PCO__FIELD(pco_server_options, family),
    PCO__FIELD(pco_server_options, flags),
    PCO__FIELD(pco_server_options, sock),
    PCO__FIELD(pco_server_options, backlog),
    PCO__FIELD(pco_server_options, ssl),
    PCO__FIELD(pco_server_options, reuse_address),
    PCO__FIELD(pco_server_options, reuse_port),
    PCO__FIELD(pco_server_options, keep_alive),
    PCO__FIELD(pco_server_options, ssl_handshake_timeout),
    PCO__FIELD(pco_server_options, ssl_shutdown_timeout),
    PCO__FIELD(pco_server_options, start_serving),
    PCO__FIELD(pco_server_options, max_connections),
    PCO__FIELD(pco_server_options, close_timeout),
    PCO__FIELD(pco_server_options, lingering_close),
    PCO__FIELD(pco_server_options, handshake_failed),
    PCO__FIELD(pco_server_options, has_sock),
    PCO__FIELD(pco_server_options, service),
    PCO__FIELD(pco_server_options, keep_alive_idle),
    PCO__FIELD(pco_server_options, keep_alive_interval),
    PCO__FIELD(pco_server_options, keep_alive_count),
    PCO__FIELD(pco_server_options, user_timeout),
    PCO__FIELD(pco_server_options, prepare_socket),
    PCO__FIELD(pco_server_options, ssl_half_close),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_server_options, sizeof(size_t), option_fields);

int pco__server_options_read(const pco_server_options *given, pco_server_options *options,
                             pco_error *error)
{
    memset(options, 0, sizeof *options);
    return given != NULL ? pco__options_read(&option_layout, given, options, error)
                         : pco__error_set(error, PCO_EINVAL, 0, "options is NULL");
}

static int check_switches(const pco_server_options *options, pco_error *error)
{
    const struct {
        int value;
        const char *name;
    } switches[] = {{options->same_port, "same_port"},
                    {options->reuse_address, "reuse_address"},
                    {options->reuse_port, "reuse_port"},
                    {options->start_serving, "start_serving"},
                    {options->lingering_close, "lingering_close"},
                    {options->has_sock, "has_sock"}};
    int code = 0;
    for (size_t i = 0; i < sizeof switches / sizeof switches[0] && code == 0; i++) {
        code = pco__check_switch(switches[i].value, switches[i].name, error);
    }
    return code;
}

static int check_tls(pco_server_options *options, pco_error *error)
{
    bool has_tls = options->ssl != NULL;
    int code = pco__check_context(options->ssl, false, error);
    if (code == 0) {
        code = pco__check_half_close(has_tls, options->ssl_half_close, error);
    }
    return code != 0
               ? code
               : pco__check_times(has_tls, &options->ssl_handshake_timeout,
                                  &options->ssl_shutdown_timeout, &options->close_timeout, error);
}

static int check_hosts(const pco_server_options *options, pco_error *error)
{
    if (options->host != NULL && (options->hosts != NULL || options->hosts_count != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "host and hosts cannot be given at the same time");
    }
    if ((options->hosts != NULL) != (options->hosts_count != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "hosts and hosts_count must be given together, for one host or more");
    }
    for (size_t i = 0; i < options->hosts_count; i++) {
        if (options->hosts[i] == NULL) {
            return pco__error_set(error, PCO_EINVAL, 0,
                                  "hosts[%zu] is NULL: for all interfaces give \"\"", i);
        }
    }
    return 0;
}

static int check_sock(const pco_server_options *options, pco_error *error)
{
    int code = pco__check_sock(options->sock, options->has_sock, error);
    if (code != 0) {
        return code;
    }
    if (pco__has_sock(options) &&
        (options->host != NULL || options->hosts != NULL || options->hosts_count != 0 ||
         options->port != 0 || options->service != NULL)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "host, port or service and sock cannot be given at the same time");
    }
    return 0;
}

static int check_place(pco_server_options *options, pco_error *error)
{
    int code = check_sock(options, error);
    if (code == 0) {
        code = check_hosts(options, error);
    }
    if (code == 0) {
        code = pco__check_port(&options->port, &options->service, 0, error);
    }
    if (code != 0) {
        return code;
    }
    return pco__check_lookup(options->family, options->flags, error);
}

int pco__server_check(const pco__network *network, const pco_server_options *given,
                      pco_server_options *options, pco_error *error)
{
    int code = pco__server_options_read(given, options, error);
    if (code != 0) {
        return code;
    }
    if (options->protocol_factory == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "protocol_factory is required");
    }
    code = check_tls(options, error);
    if (code == 0) {
        code = check_place(options, error);
    }
    if (code == 0) {
        code = check_switches(options, error);
    }
    if (code == 0 && options->backlog < 0) {
        code = pco__error_set(error, PCO_EINVAL, 0, "backlog is negative");
    }
    if (code == 0 && options->reuse_port == PCO_ON) {
        code = network->reuse_port_supported(error);
    }
    if (code == 0) {
        pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
        code = pco__check_socket_options(network, &wanted, error);
    }
    return code;
}

int pco__server_check_no_tcp(const pco_server_options *options, pco_error *error)
{
    const pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
    const pco__given given[] = {{options->host != NULL, "host"},
                                {options->hosts != NULL || options->hosts_count != 0, "hosts"},
                                {options->port != 0, "port"},
                                {options->service != NULL, "service"},
                                {options->same_port != PCO_DEFAULT, "same_port"},
                                {options->family != PCO_AF_UNSPEC, "family"},
                                {options->flags != 0, "flags"},
                                {options->reuse_address != PCO_DEFAULT, "reuse_address"},
                                {options->reuse_port != PCO_DEFAULT, "reuse_port"}};
    int code = pco__check_none_given(given, sizeof given / sizeof given[0], "TCP", error);
    return code == 0 ? pco__check_no_socket_options(&wanted, error) : code;
}
