/* SPDX-License-Identifier: MIT */
/* check.c: options that servers and outgoing connections have in common. */
#include "connection/check.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <portico/address.h>
#include <portico/resolver.h>

#include "support/error.h"
#include "support/options.h"
#include "tls/tls.h"

#define HANDSHAKE_TIMEOUT 60.0
#define SHUTDOWN_TIMEOUT 30.0
#define CLOSE_TIMEOUT 30.0

/* What every system takes: Linux's limits, and those of an int of milliseconds. */
#define KEEP_ALIVE_SECONDS 32767
#define KEEP_ALIVE_PROBES 127
#define USER_TIMEOUT_SECONDS 2147483

int pco__check_sock(pco_socket sock, int has_sock, pco_error *error)
{
    int code = pco__check_switch(has_sock, "has_sock", error);
    if (code == 0 && has_sock == PCO_OFF && sock != 0 && sock != PCO_NO_SOCKET) {
        code = pco__error_set(error, PCO_EINVAL, 0, "sock is given, and has_sock is PCO_OFF");
    }
    return code;
}

int pco__check_context(pco_ssl_context *ssl, bool is_client, pco_error *error)
{
    if (ssl == NULL || pco__ssl_context_fits(ssl, is_client)) {
        return 0;
    }
    return pco__error_set(error, PCO_EINVAL, 0, "the ssl context is one for %s",
                          is_client ? "servers" : "clients");
}

/* A number that is not 0: NaN is one. */
static bool is_number(double seconds)
{
    return !(seconds >= 0 && seconds <= 0);
}

/* Checks a time limit of TLS and puts its default in place. */
static int check_ssl_time(bool has_tls, double *seconds, double default_, const char *name,
                          pco_error *error)
{
    bool given = is_number(*seconds);
    if (given && !has_tls) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is only meaningful with ssl", name);
    }
    int code = pco__check_seconds(*seconds, false, name, error);
    if (code == 0 && !given) {
        *seconds = default_;
    }
    return code;
}

int pco__check_times(bool has_tls, double *handshake, double *shutdown, double *close,
                     pco_error *error)
{
    int code =
        check_ssl_time(has_tls, handshake, HANDSHAKE_TIMEOUT, "ssl_handshake_timeout", error);
    if (code == 0) {
        code = check_ssl_time(has_tls, shutdown, SHUTDOWN_TIMEOUT, "ssl_shutdown_timeout", error);
    }
    if (code == 0) {
        code = pco__check_seconds(*close, true, "close_timeout", error);
    }
    if (code == 0 && *close <= 0) {
        *close = CLOSE_TIMEOUT;
    }
    return code;
}

int pco__check_protocol(const pco_protocol *protocol, pco_error *error)
{
    if (protocol != NULL && !pco__protocol_is_valid(protocol)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "protocol has no table of methods, or one whose size is not "
                              "sizeof(pco_protocol_methods)");
    }
    return 0;
}

int pco__check_half_close(bool has_tls, int half_close, pco_error *error)
{
    if (half_close != PCO_DEFAULT && !has_tls) {
        return pco__error_set(error, PCO_EINVAL, 0, "ssl_half_close is only meaningful with TLS");
    }
    return pco__check_switch(half_close, "ssl_half_close", error);
}

static int check_limit(double seconds, int most, const char *name, pco_error *error)
{
    int code = pco__check_seconds(seconds, false, name, error);
    if (code == 0 && seconds > most) {
        code = pco__error_set(error, PCO_EINVAL, 0, "%s is %g, more than %d seconds", name, seconds,
                              most);
    }
    return code;
}

/* Those that say how keep-alive is done are nothing without it. */
static int check_keep_alive(const pco__socket_options *options, pco_error *error)
{
    const char *given = options->keep_alive_idle > 0       ? "keep_alive_idle"
                        : options->keep_alive_interval > 0 ? "keep_alive_interval"
                        : options->keep_alive_count > 0    ? "keep_alive_count"
                                                           : NULL;
    if (given == NULL || options->keep_alive == PCO_ON) {
        return 0;
    }
    return pco__error_set(error, PCO_EINVAL, 0, "%s is only meaningful where keep_alive is PCO_ON",
                          given);
}

/* Whether nothing is said at all. */
static bool are_defaults(const pco__socket_options *options)
{
    return options->keep_alive == PCO_DEFAULT && options->keep_alive_idle == 0 &&
           options->keep_alive_interval == 0 && options->keep_alive_count == 0 &&
           options->user_timeout == 0;
}

int pco__check_socket_options(const pco__network *network, const pco__socket_options *options,
                              pco_error *error)
{
    if (are_defaults(options)) {
        return 0;
    }
    int code = pco__check_switch(options->keep_alive, "keep_alive", error);
    if (code == 0) {
        code = check_limit(options->keep_alive_idle, KEEP_ALIVE_SECONDS, "keep_alive_idle", error);
    }
    if (code == 0) {
        code = check_limit(options->keep_alive_interval, KEEP_ALIVE_SECONDS, "keep_alive_interval",
                           error);
    }
    if (code == 0 &&
        (options->keep_alive_count < 0 || options->keep_alive_count > KEEP_ALIVE_PROBES)) {
        code = pco__error_set(error, PCO_EINVAL, 0, "keep_alive_count is %d, not from 0 to %d",
                              options->keep_alive_count, KEEP_ALIVE_PROBES);
    }
    if (code == 0) {
        code = check_limit(options->user_timeout, USER_TIMEOUT_SECONDS, "user_timeout", error);
    }
    if (code == 0) {
        code = check_keep_alive(options, error);
    }
    return code == 0 ? network->socket_options_supported(options, error) : code;
}

int pco__check_no_socket_options(const pco__socket_options *options, pco_error *error)
{
    const pco__given given[] = {{options->keep_alive != PCO_DEFAULT, "keep_alive"},
                                {is_number(options->keep_alive_idle), "keep_alive_idle"},
                                {is_number(options->keep_alive_interval), "keep_alive_interval"},
                                {options->keep_alive_count != 0, "keep_alive_count"},
                                {is_number(options->user_timeout), "user_timeout"}};
    return pco__check_none_given(given, sizeof given / sizeof given[0], "TCP", error);
}

int pco__check_port(int *port, const char **service, int least, pco_error *error)
{
    if (*port < 0 || *port > 65535) {
        return pco__error_set(error, PCO_EINVAL, 0, "port is %d, not from %d to 65535", *port,
                              least);
    }
    if (*service == NULL) {
        return 0;
    }
    if (*port != 0) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "port and service cannot be given at the same time");
    }
    size_t digits = strspn(*service, "0123456789");
    if ((*service)[0] == '\0' || (*service)[digits] != '\0') {
        return 0;
    }
    size_t zeros = strspn(*service, "0");
    long number = digits - zeros <= 5 ? strtol(*service + zeros, NULL, 10) : LONG_MAX;
    if (number < least || number > 65535) {
        return pco__error_set(error, PCO_EINVAL, 0, "service is %.40s, not from %d to 65535",
                              *service, least);
    }
    *port = (int)number;
    *service = NULL;
    return 0;
}

/* "\\\\.\\pipe\\", whose letters may be of either case. */
static bool has_pipe_prefix(const char *name)
{
    static const char prefix[] = "\\\\.\\pipe\\";
    size_t i = 0;
    while (prefix[i] != '\0' &&
           (name[i] == prefix[i] || (prefix[i] >= 'a' && name[i] == prefix[i] - 'a' + 'A'))) {
        i++;
    }
    return prefix[i] == '\0';
}

int pco__check_pipe_name(const char *name, const char **bare, pco_error *error)
{
    if (name == NULL || name[0] == '\0') {
        return pco__error_set(error, PCO_EINVAL, 0, "the pipe's name is NULL or empty");
    }
    *bare = name + (has_pipe_prefix(name) ? strlen("\\\\.\\pipe\\") : 0);
    size_t length = strlen(*bare);
    if (length == 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s: the pipe has no name", name);
    }
    if (strpbrk(*bare, "/\\") != NULL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s: a pipe's name has neither \\ nor / in it, but for the prefix "
                              "\\\\.\\pipe\\",
                              name);
    }
    char last = (*bare)[length - 1];
    if (last == '.' || last == ' ') {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s: a pipe's name does not end in a dot or a space, which Windows "
                              "leaves off",
                              name);
    }
    return 0;
}

int pco__check_lookup(int family, int flags, pco_error *error)
{
    if (family != PCO_AF_UNSPEC && family != PCO_AF_INET && family != PCO_AF_INET6) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "family is %d, neither PCO_AF_UNSPEC, PCO_AF_INET nor PCO_AF_INET6",
                              family);
    }
    const int known = PCO_AI_PASSIVE | PCO_AI_NUMERICHOST | PCO_AI_V4MAPPED | PCO_AI_ALL |
                      PCO_AI_ADDRCONFIG | PCO_AI_NONE;
    if ((flags & ~known) != 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "flags is %#x, which is not made of PCO_AI_*",
                              (unsigned)flags);
    }
    return 0;
}
