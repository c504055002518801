/* SPDX-License-Identifier: MIT */
/* check.h: options that servers and outgoing connections have in common: checks and defaults. */
#ifndef PCO_CHECK_H
#define PCO_CHECK_H

#include <portico/base.h>
#include <portico/ssl.h>

#include "system/network.h"

/* Whether `sock` of an options struct is one. */
static inline bool pco__is_sock(pco_socket sock, int has_sock)
{
    return has_sock == PCO_ON || (has_sock == PCO_DEFAULT && sock != 0 && sock != PCO_NO_SOCKET);
}

/* A sock that is given although has_sock says that there is none: PCO_EINVAL. */
int pco__check_sock(pco_socket sock, int has_sock, pco_error *error);

/* The context of TLS, which may be NULL: one that is for the other end is PCO_EINVAL. */
int pco__check_context(pco_ssl_context *ssl, bool is_client, pco_error *error);

/* The time limits of a connection; those of TLS are given with TLS only. Puts defaults in place. */
int pco__check_times(bool has_tls, double *handshake, double *shutdown, double *close,
                     pco_error *error);

/* The option `protocol`; NULL, where none is given, will do. */
int pco__check_protocol(const pco_protocol *protocol, pco_error *error);

/* Also of TLS alone: ssl_half_close. */
int pco__check_half_close(bool has_tls, int half_close, pco_error *error);

/* What an options struct, of either kind, says of each connection's socket. */
#define PCO__SOCKET_OPTIONS(options)                                                               \
    ((pco__socket_options){.keep_alive = (options)->keep_alive,                                    \
                           .keep_alive_idle = (options)->keep_alive_idle,                          \
                           .keep_alive_interval = (options)->keep_alive_interval,                  \
                           .keep_alive_count = (options)->keep_alive_count,                        \
                           .user_timeout = (options)->user_timeout})

/* Whether that makes sense; and whether this system has it: PCO_ENOTSUP. */
int pco__check_socket_options(const pco__network *network, const pco__socket_options *options,
                              pco_error *error);

/* Where there is no TCP, nothing may be said of it: PCO_EINVAL. */
int pco__check_no_socket_options(const pco__socket_options *options, pco_error *error);

/*
 * A port, 0 if none is given, or else a service; puts a service that is a number, from `least` on,
 * in the port's place.
 */
int pco__check_port(int *port, const char **service, int least, pco_error *error);

/*
 * The name of a named pipe: *bare is what is behind its prefix, if it has that. What else Windows
 * demands it says itself.
 */
int pco__check_pipe_name(const char *name, const char **bare, pco_error *error);

/* What a look-up is restricted to: a family, and PCO_AI_*. */
int pco__check_lookup(int family, int flags, pco_error *error);

#endif
