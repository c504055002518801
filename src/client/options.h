/* SPDX-License-Identifier: MIT */
/* options.h: what who opens a connection is asked: checks, defaults. */
#ifndef PCO_CLIENT_OPTIONS_H
#define PCO_CLIENT_OPTIONS_H

#include <portico/connection.h>

#include "connection/check.h"
#include "system/network.h"

/*
 * Reads the options that were given, checks them for who connects, or for a socket that was
 * accepted, and puts defaults in place. `place`, which may be NULL, is an address of no IP, which
 * they then say nothing of. Strings are still the caller's. Its errors are those of
 * portico/connection.h.
 */
int pco__opening_check(const pco__network *network, const pco_connection_options *given,
                       const pco_address *place, bool is_client, pco_connection_options *options,
                       pco_error *error);

/* The same of who connects to a named pipe. *patience: how long its instances may be in use. */
int pco__opening_check_pipe(const pco__network *network, const pco_connection_options *given,
                            pco_connection_options *options, double *patience, pco_error *error);

static inline bool pco__has_own_sock(const pco_connection_options *options)
{
    return pco__is_sock(options->sock, options->has_sock);
}

static inline bool pco__has_tls(const pco_connection_options *options)
{
    return options->ssl != NULL || options->tls == PCO_ON;
}

/* The text of an option that is one, or NULL. */
static inline const char *pco__text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* With TLS: who the server must be; NULL: nobody has said. */
static inline const char *pco__server_name(const pco_connection_options *options)
{
    return options->server_hostname != NULL ? options->server_hostname
                                            : pco__text_or_null(options->host);
}

#endif
