/* SPDX-License-Identifier: MIT */
/*
 * codes.h: how https_get ends: the exit codes of curl, for whoever has scripts that know them.
 */
#ifndef HTTPS_GET_CODES_H
#define HTTPS_GET_CODES_H

enum {
    FINE = 0,
    UNKNOWN_PROTOCOL = 1,   /* neither http nor https; or https to http, which nobody has allowed */
    USAGE_ERROR = 2,        /* a mistake on the command line */
    MALFORMED_URL = 3,      /* what was given, or what a redirect named */
    NO_SUCH_HOST = 6,       /* the name does not resolve */
    CANNOT_CONNECT = 7,     /* none of its addresses can be connected to */
    STRANGE_ANSWER = 8,     /* what the server says is not HTTP, or not for certain */
    PARTIAL_BODY = 18,      /* the connection ended in the middle of the body */
    REFUSED_BY_SERVER = 22, /* a status of 400 or more, with --fail */
    CANNOT_WRITE = 23,      /* the file, or stdout */
    NO_MEMORY = 27,
    TIMED_OUT = 28,
    TLS_FAILED = 35, /* the handshake, but for the certificate */
    TOO_MANY_REDIRECTS = 47,
    NO_ANSWER = 52,       /* the server ended the connection and has said nothing */
    CONNECTION_LOST = 56, /* in the middle of the head, or by a reset */
    BAD_CERTIFICATE = 60, /* the server's: not trusted, or of another name */
    BAD_CA_FILE = 77      /* --cacert */
};

#endif
