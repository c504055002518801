/* SPDX-License-Identifier: MIT */
/*
 * session.h: a session of TLS kept in a file, so that the next run begins with a shorter handshake.
 *
 * The file is as secret as a private key: who can read it can be this client, and who can write it
 * can be the server, for the server is not verified again. So it is made for its owner alone.
 */
#ifndef HTTPS_GET_SESSION_H
#define HTTPS_GET_SESSION_H

#include <portico.h>

/* What the file holds, for connections with this context; NULL: nothing, or nothing of use. */
pco_ssl_session *session_read(const char *name, pco_ssl_context *context);

/* Puts the newest session of a connection into the file, if there is one: whether that worked. */
bool session_write(const char *name, pco_transport *transport);

#endif
