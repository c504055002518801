/* SPDX-License-Identifier: MIT */
/* behaviour_no_tls.c: what behaviour_tls.c offers, where the library is built without TLS. */
#include "behaviour_peer.h"

#include <stdlib.h>

bool peer_has_tls(void)
{
    return false;
}

pco_ssl_context *peer_server_context(void)
{
    return NULL;
}

void peer_free_server_context(void) {}

peer_tls *peer_tls_new(void)
{
    abort(); /* nobody asks who has asked peer_has_tls */
}

void peer_tls_free(peer_tls *tls)
{
    (void)tls;
}

void peer_tls_input(peer *self, const void *data, size_t length)
{
    (void)self;
    (void)data;
    (void)length;
}

void peer_tls_send(peer *self, const void *data, size_t length)
{
    (void)self;
    (void)data;
    (void)length;
}

void peer_tls_finish(peer *self)
{
    (void)self;
}
