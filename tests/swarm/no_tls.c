/* SPDX-License-Identifier: MIT */
/* no_tls.c: what takes the place of tls.c in a build without OpenSSL. */
#include "swarm.h"

const bool swarm_has_tls = false;

void tls_begin(void) {}

void tls_end(void) {}

void tls_world_begin(world *at)
{
    (void)at;
}

void tls_world_end(world *at)
{
    (void)at;
}

pco_ssl_context *tls_context_of(world *at)
{
    (void)at;
    return NULL;
}

pco_ssl_context *tls_client_context_of(world *at, bool verifies, bool old)
{
    (void)at;
    (void)verifies;
    (void)old;
    return NULL;
}

void tls_peer_new(world *at, conn *of)
{
    (void)at;
    (void)of;
}

void tls_peer_drop(conn *of)
{
    (void)of;
}

bool tls_pump(world *at, conn *of, size_t most)
{
    (void)at;
    (void)of;
    (void)most;
    return false;
}

void tls_send(world *at, conn *of, size_t length)
{
    (void)at;
    (void)of;
    (void)length;
}

bool tls_has_heard_end(const conn *of)
{
    (void)of;
    return true;
}

void tls_cut_off(conn *of)
{
    (void)of;
}

void free_upgrades(world *at)
{
    (void)at;
}

void choose_tls_client(world *at, tls_client *made)
{
    (void)at;
    (void)made;
}

void verdict_give(world *at, gate *of, bool plainest)
{
    (void)at;
    (void)of;
    (void)plainest;
}

bool verdict_is_awaited(const gate *of)
{
    (void)of;
    return false;
}

bool verdict_is_given_up(const gate *of)
{
    (void)of;
    return true;
}

void verdict_look_after(gate *of)
{
    (void)of;
}

void verdict_forget(gate *of)
{
    (void)of;
}

bool answer_choices(world *at)
{
    (void)at;
    return false;
}

void check_choices(world *at)
{
    (void)at;
}

void free_sessions(world *at)
{
    (void)at;
}

const verb verbs_verdict[] = {{.name = NULL}};
const verb verbs_choice[] = {{.name = NULL}};
const verb verbs_session[] = {{.name = NULL}};
const verb verbs_tls[] = {{.name = NULL}};
const verb verbs_start_tls[] = {{.name = NULL}};
