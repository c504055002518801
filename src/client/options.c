/* SPDX-License-Identifier: MIT */
/* options.c: what create_connection and connect_accepted_socket are asked: checks, defaults. */
#include "client/client.h"
#include "client/options.h"

#include <math.h>
#include <string.h>

#include "connection/check.h"
#include "support/error.h"
#include "support/options.h"

#define HAPPY_EYEBALLS_DELAY 0.25

/* Seconds in which a named pipe has to have a free instance. */
#define PIPE_PATIENCE 30.0

static const pco__field option_fields[] = {
    PCO__FIELD(pco_connection_options, protocol_factory),
    PCO__FIELD(pco_connection_options, context),
    PCO__FIELD(pco_connection_options, protocol),
    PCO__FIELD(pco_connection_options, host),
    PCO__FIELD(pco_connection_options, port),
    PCO__FIELD(pco_connection_options, service),
    PCO__FIELD(pco_connection_options, addresses),
    PCO__FIELD(pco_connection_options, addresses_count),
    PCO__FIELD(pco_connection_options, family),
    PCO__FIELD(pco_connection_options, proto),
    PCO__FIELD(pco_connection_options, flags),
    PCO__FIELD(pco_connection_options, sock),
    PCO__FIELD(pco_connection_options, has_sock),
    PCO__FIELD(pco_connection_options, local_host),
    PCO__FIELD(pco_connection_options, local_port),
    PCO__FIELD(pco_connection_options, ssl),
    PCO__FIELD(pco_connection_options, server_hostname),
    PCO__FIELD(pco_connection_options, ssl_handshake_timeout),
    PCO__FIELD(pco_connection_options, ssl_shutdown_timeout),
    PCO__FIELD(pco_connection_options, happy_eyeballs_delay),
    PCO__FIELD(pco_connection_options, interleave),
    PCO__FIELD(pco_connection_options, all_errors),
    PCO__FIELD(pco_connection_options, connect_timeout),
    PCO__FIELD(pco_connection_options, close_timeout),
    PCO__FIELD(pco_connection_options, keep_alive),
    PCO__FIELD(pco_connection_options, progress),
    PCO__FIELD(pco_connection_options, prepare_socket),
    PCO__FIELD(pco_connection_options, keep_alive_idle),
    PCO__FIELD(pco_connection_options, keep_alive_interval),
    PCO__FIELD(pco_connection_options, keep_alive_count),
    PCO__FIELD(pco_connection_options, user_timeout),
    PCO__FIELD(pco_connection_options, tls),
    PCO__FIELD(pco_connection_options, ssl_session),
    PCO__FIELD(pco_connection_options, ssl_half_close),
};
static const pco__layout option_layout =
    PCO__LAYOUT(pco_connection_options, sizeof(size_t), option_fields);

static int check_protocol(const pco_connection_options *options, pco_error *error)
{
    if ((options->protocol_factory != NULL) == (options->protocol != NULL)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "one of protocol_factory and protocol is required, and not both");
    }
    return pco__check_protocol(options->protocol, error);
}

/* Whether something says to which host. */
static bool has_host(const pco_connection_options *options)
{
    return options->host != NULL || options->port != 0 || options->service != NULL;
}

static int check_addresses(const pco_connection_options *options, pco_error *error)
{
    if ((options->addresses != NULL) != (options->addresses_count != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "addresses and addresses_count must be given together");
    }
    for (size_t i = 0; i < options->addresses_count; i++) {
        int family = pco_address_family(&options->addresses[i]);
        if (family != PCO_AF_INET && family != PCO_AF_INET6) {
            return pco__error_set(error, PCO_EINVAL, 0, "addresses[%zu] is none of IPv4 or IPv6",
                                  i);
        }
        if (options->family != PCO_AF_UNSPEC && family != options->family) {
            return pco__error_set(error, PCO_EINVAL, 0, "addresses[%zu] is of another family", i);
        }
        if (pco_address_port(&options->addresses[i]) == 0) {
            return pco__error_set(error, PCO_EINVAL, 0, "addresses[%zu] has no port", i);
        }
    }
    return 0;
}

static int check_place(pco_connection_options *options, bool is_client, pco_error *error)
{
    int code = pco__check_sock(options->sock, options->has_sock, error);
    if (code != 0) {
        return code;
    }
    if (!is_client && !pco__has_own_sock(options)) {
        return pco__error_set(error, PCO_EINVAL, 0, "sock is required");
    }
    int places = has_host(options) + (options->addresses != NULL) + pco__has_own_sock(options);
    if (places > 1) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "host with port or service, addresses, and sock cannot be given at "
                              "the same time");
    }
    if (pco__has_own_sock(options) && (options->local_host != NULL || options->local_port != 0)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "local_host or local_port and sock cannot be given at the same time");
    }
    code = check_addresses(options, error);
    if (code == 0) {
        code = pco__check_port(&options->port, &options->service, 1, error);
    }
    if (code == 0 && !pco__has_own_sock(options) && options->addresses == NULL &&
        options->port == 0 && options->service == NULL) {
        code = pco__error_set(error, PCO_EINVAL, 0, "port or service is required");
    }
    if (code == 0 && (options->local_port < 0 || options->local_port > 65535)) {
        code = pco__error_set(error, PCO_EINVAL, 0, "local_port is %d, not from 0 to 65535",
                              options->local_port);
    }
    return code == 0 ? pco__check_lookup(options->family, options->flags, error) : code;
}

static int check_tls(const pco_connection_options *options, bool is_client, pco_error *error)
{
    int code = pco__check_switch(options->tls, "tls", error);
    if (code != 0 || options->tls != PCO_ON) {
        return code;
    }
    if (options->ssl != NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "tls and ssl cannot be given at the same time");
    }
    return is_client ? 0
                     : pco__error_set(error, PCO_EINVAL, 0,
                                      "tls is only meaningful for who connects: a server's "
                                      "certificate comes with ssl");
}

static int check_ssl(const pco_connection_options *options, bool is_client, pco_error *error)
{
    const char *name = options->server_hostname;
    if (name != NULL && !pco__has_tls(options)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "server_hostname is only meaningful with ssl or tls");
    }
    if (!pco__has_tls(options)) {
        return options->ssl_session == NULL
                   ? 0
                   : pco__error_set(error, PCO_EINVAL, 0,
                                    "ssl_session is only meaningful with ssl or tls");
    }
    if (name != NULL && name[0] == '\0') {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "server_hostname is empty: it is what the certificate must show");
    }
    if (is_client && name == NULL && pco__text_or_null(options->host) == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "server_hostname is required where TLS is asked for without a host");
    }
    int code = pco__check_context(options->ssl, is_client, error);
    return code == 0 && is_client && options->ssl_session != NULL
               ? pco__ssl_session_check(options->ssl_session, options->ssl,
                                        pco__server_name(options), error)
               : code;
}

static int check_numbers(pco_connection_options *options, pco_error *error)
{
    int code = pco__check_times(pco__has_tls(options), &options->ssl_handshake_timeout,
                                &options->ssl_shutdown_timeout, &options->close_timeout, error);
    if (code == 0) {
        code = pco__check_half_close(pco__has_tls(options), options->ssl_half_close, error);
    }
    if (code == 0) {
        code =
            pco__check_seconds(options->happy_eyeballs_delay, true, "happy_eyeballs_delay", error);
    }
    if (code == 0) {
        code = pco__check_seconds(options->connect_timeout, true, "connect_timeout", error);
    }
    if (code == 0 && options->interleave < -1) {
        code = pco__error_set(error, PCO_EINVAL, 0, "interleave is %d, less than -1",
                              options->interleave);
    }
    if (code == 0 && options->proto < 0) {
        code = pco__error_set(error, PCO_EINVAL, 0, "proto is negative");
    }
    if (code == 0) {
        code = pco__check_switch(options->all_errors, "all_errors", error);
    }
    return code;
}

/* What only makes sense for who connects. */
static int check_accepted(const pco_connection_options *options, pco_error *error)
{
    const pco__given connecting[] = {{options->server_hostname != NULL, "server_hostname"},
                                     {options->ssl_session != NULL, "ssl_session"},
                                     {options->family != PCO_AF_UNSPEC, "family"},
                                     {options->proto != 0, "proto"},
                                     {options->flags != 0, "flags"},
                                     {options->interleave != 0, "interleave"},
                                     {options->all_errors != PCO_DEFAULT, "all_errors"},
                                     {options->prepare_socket != NULL, "prepare_socket"},
                                     {options->connect_timeout > 0, "connect_timeout"},
                                     {options->happy_eyeballs_delay > 0, "happy_eyeballs_delay"}};
    return pco__check_none_given(connecting, sizeof connecting / sizeof connecting[0],
                                 "who connects", error);
}

/* What is zero becomes the default. */
static void complete_options(pco_connection_options *options)
{
    options->flags &= ~(PCO_AI_NONE | PCO_AI_PASSIVE); /* one connects to loopback, not to all */
    if (options->happy_eyeballs_delay <= 0) {
        options->happy_eyeballs_delay = HAPPY_EYEBALLS_DELAY;
    }
    if (options->interleave == 0) {
        options->interleave = 1;
    }
    if (options->connect_timeout <= 0) {
        options->connect_timeout = INFINITY;
    }
}

/* What is behind the place, wherever that is. */
static int check_rest(const pco__network *network, pco_connection_options *options, bool is_client,
                      pco_error *error)
{
    int code = check_tls(options, is_client, error);
    if (code == 0) {
        code = check_ssl(options, is_client, error);
    }
    if (code == 0) {
        code = check_numbers(options, error);
    }
    if (code == 0 && !is_client) {
        code = check_accepted(options, error);
    }
    if (code == 0) {
        pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
        code = pco__check_socket_options(network, &wanted, error);
    }
    if (code == 0) {
        complete_options(options);
    }
    return code;
}

int pco__connection_check_no_tcp(const pco_connection_options *options, pco_error *error)
{
    const pco__socket_options wanted = PCO__SOCKET_OPTIONS(options);
    const pco__given given[] = {
        {options->host != NULL, "host"},
        {options->port != 0, "port"},
        {options->service != NULL, "service"},
        {options->addresses != NULL || options->addresses_count != 0, "addresses"},
        {options->local_host != NULL, "local_host"},
        {options->local_port != 0, "local_port"},
        {options->family != PCO_AF_UNSPEC, "family"},
        {options->proto != 0, "proto"},
        {options->flags != 0, "flags"},
        {options->happy_eyeballs_delay != 0, "happy_eyeballs_delay"},
        {options->interleave != 0, "interleave"},
        {options->all_errors != PCO_DEFAULT, "all_errors"}};
    int code = pco__check_none_given(given, sizeof given / sizeof given[0], "TCP", error);
    return code == 0 ? pco__check_no_socket_options(&wanted, error) : code;
}

/* What is about sockets, and said of a pipe. */
static int check_pipe_place(const pco_connection_options *options, pco_error *error)
{
    const pco__given given[] = {{pco__has_own_sock(options), "sock"},
                                {options->prepare_socket != NULL, "prepare_socket"}};
    int code = pco__connection_check_no_tcp(options, error);
    if (code == 0) {
        code = pco__check_sock(options->sock, options->has_sock, error);
    }
    return code == 0 ? pco__check_none_given(given, 2, "sockets", error) : code;
}

int pco__connection_options_read(const pco_connection_options *given,
                                 pco_connection_options *options, pco_error *error)
{
    memset(options, 0, sizeof *options);
    return given != NULL ? pco__options_read(&option_layout, given, options, error)
                         : pco__error_set(error, PCO_EINVAL, 0, "options is NULL");
}

int pco__opening_check_pipe(const pco__network *network, const pco_connection_options *given,
                            pco_connection_options *options, double *patience, pco_error *error)
{
    int code = pco__connection_options_read(given, options, error);
    if (code == 0) {
        code = check_protocol(options, error);
    }
    if (code == 0) {
        code = check_pipe_place(options, error);
    }
    *patience =
        options->connect_timeout > 0 ? INFINITY : PIPE_PATIENCE; /* that is a limit of all */
    return code == 0 ? check_rest(network, options, true, error) : code;
}

int pco__opening_check(const pco__network *network, const pco_connection_options *given,
                       const pco_address *place, bool is_client, pco_connection_options *options,
                       pco_error *error)
{
    int code = pco__connection_options_read(given, options, error);
    if (code == 0) {
        code = check_protocol(options, error);
    }
    if (code == 0 && place == NULL) {
        code = check_place(options, is_client, error);
    } else if (code == 0) {
        code = pco__check_sock(options->sock, options->has_sock, error);
        options->addresses = place;
        options->addresses_count = 1;
    }
    return code == 0 ? check_rest(network, options, is_client, error) : code;
}
