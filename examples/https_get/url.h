/* SPDX-License-Identifier: MIT */
/*
 * url.h: what a URL says, and where a redirect leads (RFC 3986).
 *
 * http and https only. Names of hosts are in ASCII: who wants others writes them as "xn--...".
 */
#ifndef HTTPS_GET_URL_H
#define HTTPS_GET_URL_H

#include <stdbool.h>
#include <stddef.h>

enum { URL_HOST_SIZE = 256, URL_TEXT_SIZE = 8192 };

typedef struct url {
    bool secure;              /* https */
    char host[URL_HOST_SIZE]; /* in small letters; an IPv6 address has lost its brackets */
    int port;
    char user[URL_HOST_SIZE];   /* "name:password" as they are, without escapes; "": none */
    char target[URL_TEXT_SIZE]; /* what the server is asked for: path and query */
} url;

/* Reads a URL; without a scheme it is https. FINE, or an exit code, and then *why says why. */
int url_parse(const char *text, url *parsed, const char **why);

/* Where `reference`, a URL or a part of one, leads from `base`. As url_parse. */
int url_resolve(const url *base, const char *reference, url *resolved, const char **why);

/* Whether both are served by the same one: what was meant for one may be told the other. */
bool url_same_origin(const url *one, const url *other);

/* Host and port as they stand in a URL, the port only where it is not the usual one. */
void url_authority(const url *self, char text[URL_HOST_SIZE + 16]);

/* All of it but the user, for messages; cut if it is too long. */
void url_format(const url *self, char *text, size_t size);

#endif
