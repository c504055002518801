/* SPDX-License-Identifier: MIT */
/*
 * fetch.h: one file, from its URL and wherever that leads: a connection for each request, and the
 * body of the last answer to a stream.
 */
#ifndef HTTPS_GET_FETCH_H
#define HTTPS_GET_FETCH_H

#include "url.h"

#include <portico.h>
#include <stdio.h>

typedef struct fetch_settings {
    url where;
    const char *const *fields; /* of the request; they are told to the origin of `where` alone */
    size_t fields_count;
    pco_ssl_context *ssl; /* NULL: the usual one, which trusts whom the system trusts */
    const char *session;  /* the file of a session; NULL: none */
    const char *output;   /* NULL: stdout */
    bool fail;            /* a status of 400 or more is an error */
    bool plain_redirects; /* from https to http, which tells everybody on the way */
    bool timing;
    double max_redirects;
    double connect_timeout;
    double max_time; /* 0: for ever */
} fetch_settings;

/* Runs `loop` until all is there, or nothing can come of it: then it says on stderr why. A code. */
int fetch(pco_loop *loop, const fetch_settings *settings);

#endif
