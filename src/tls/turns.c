/* SPDX-License-Identifier: MIT */
/* turns.c: how much of a turn of the loop TLS may take. */
#include "tls/turns.h"

#include "tls/connection.h"

/* Nanoseconds of a turn for each line. */
#define BUDGET ((uint64_t)500 * 1000)

uint64_t pco__ssl_step_begins(const pco__ssl_loop *shared)
{
    const pco__backend *backend = shared->loop->backend;
    return backend->class_->now(shared->loop->backend);
}

void pco__ssl_step_ends(pco__ssl_loop *shared, size_t line, uint64_t began)
{
    pco__ssl_step_counts(shared, line, pco__ssl_step_begins(shared) - began);
}

void pco__ssl_step_counts(pco__ssl_loop *shared, size_t line, uint64_t nanoseconds)
{
    shared->lines[line].spent += nanoseconds;
    pco__loop_schedule(shared->loop, &shared->turn);
}

/* Nobody passes those who wait. */
bool pco__ssl_may_go_on(const pco__ssl_loop *shared, size_t which)
{
    const pco__ssl_line *line = &shared->lines[which];
    return line->spent < BUDGET && (line->is_served || pco__list_is_empty(&line->waiting));
}

void pco__ssl_wait_in_line(pco__ssl *ssl, size_t line)
{
    if (!ssl->waits) {
        ssl->waits = true;
        pco__list_remove(&ssl->base.link);
        pco__list_append(&ssl->shared->lines[line].waiting, &ssl->base.link);
        pco__loop_schedule(ssl->shared->loop, &ssl->shared->turn);
    }
}

void pco__ssl_leave_line(pco__ssl *ssl)
{
    if (ssl->waits) {
        ssl->waits = false;
        pco__list_remove(&ssl->base.link);
        if (ssl->engine != NULL) {
            pco__list_append(&ssl->shared->busy, &ssl->base.link);
        }
    }
}

/* Serves those who waited when this began, as far as there is time left of the turn. */
static void serve_line(pco__ssl_loop *shared, size_t which)
{
    pco__ssl_line *line = &shared->lines[which];
    pco__link now;
    pco__list_init(&now);
    pco__list_move(&line->waiting, &now);
    line->is_served = true;
    while (!pco__list_is_empty(&now) && line->spent < BUDGET) {
        pco__ssl *ssl = PCO__CONTAINER(now.next, pco__ssl, base.link);
        pco__ssl_leave_line(ssl);
        pco__ssl_serve(ssl);
    }
    line->is_served = false;
    pco__list_move(&line->waiting, &now);
    pco__list_move(&now, &line->waiting);
}

/* A task of each turn in which something was done or has to wait: the last of it, for TLS. */
void pco__ssl_turn(pco__task *task)
{
    pco__ssl_loop *shared = PCO__CONTAINER(task, pco__ssl_loop, turn);
    bool somebody_waits = false;
    for (size_t which = PCO__SSL_LINES; which-- != 0;) {
        serve_line(shared, which);
        shared->lines[which].spent = 0;
        somebody_waits = somebody_waits || !pco__list_is_empty(&shared->lines[which].waiting);
    }
    pco__ssl_sweep_soon(shared);
    if (somebody_waits) {
        pco__loop_schedule(shared->loop, task);
    }
}
