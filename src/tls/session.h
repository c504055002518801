/* SPDX-License-Identifier: MIT */
/* session.h: a session that a client wants to resume, on its way into OpenSSL. */
#ifndef PCO_TLS_SESSION_H
#define PCO_TLS_SESSION_H

#include "tls/contexts.h"

/*
 * Has the engine, which is a client's, offer the session, if it is still of use: it is in date, and
 * was made under `id`, as pco__ssl_context_identify has it. If it is not, nothing happens: there
 * will be a full handshake. False: out of memory.
 */
bool pco__ssl_session_offer(const pco_ssl_session *session, SSL *engine, const unsigned char *id);

#endif
