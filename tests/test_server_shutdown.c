/* SPDX-License-Identifier: MIT */
/*
 * Goal: pco_server_shutdown lets connections finish what they are at: those that hear of it end
 * themselves, the others are flushed and closed, and at the deadline all are aborted.
 * Method: the fake backend, where time is a number.
 */
#include "behaviour.h"

#include "fake_backend.h"

#include <stddef.h>

/* A protocol that hears of it, or one as of a program that was compiled before there was this. */
typedef struct worker {
    pco_protocol protocol;
    pco_transport *transport;
    fake_socket *socket;
    unsigned told;
    bool idle; /* has nothing to finish */
    bool ends; /* shuts the server down in connection_lost, when the protocol is no more */
    bool lost;
    bool clean;
} worker;

#define WORKERS 4

static worker workers[WORKERS];
static unsigned workers_count;
static worker *const old = &workers[WORKERS - 1]; /* hears of nothing */
static bool in_shutdown;
static unsigned told_inside;

static void worker_made(pco_protocol *self, pco_transport *transport)
{
    ((worker *)self)->transport = transport;
}

static void worker_told(pco_protocol *protocol, pco_transport *transport)
{
    worker *self = (worker *)protocol;
    self->told++;
    told_inside += in_shutdown;
    if (self->idle) {
        pco_transport_write(transport, "bye", 3);
        pco_transport_close(transport);
    }
}

static void worker_lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    worker *self = (worker *)protocol;
    (void)transport;
    self->lost = true;
    self->clean = error == NULL;
    if (self->ends) {
        self->protocol.methods = NULL;
        pco_server_shutdown(at.server, 100);
    }
}

static const pco_protocol_methods worker_methods = {.size = sizeof worker_methods,
                                                    .connection_made = worker_made,
                                                    .connection_lost = worker_lost,
                                                    .shutting_down = worker_told};

static const pco_protocol_methods old_methods = {.size =
                                                     offsetof(pco_protocol_methods, shutting_down),
                                                 .connection_made = worker_made,
                                                 .connection_lost = worker_lost,
                                                 .shutting_down = worker_told};

static pco_protocol *make_worker(void *context)
{
    (void)context;
    worker *made = &workers[workers_count++];
    made->protocol.methods = made == old ? &old_methods : &worker_methods;
    made->idle = made == &workers[1];
    return &made->protocol;
}

static void serve_workers(void)
{
    memset(workers, 0, sizeof workers);
    workers_count = 0;
    told_inside = 0;
    pco_server_options options = server_options();
    options.protocol_factory = make_worker;
    options.close_timeout = 5;
    serve_with(&options);
    for (unsigned i = 0; i < WORKERS; i++) {
        pco_socket sock = fake_connect(at.loop, pco_server_get_socket(at.server, 0), NULL);
        let_pass(1);
        workers[i].socket = fake_socket_of(at.loop, sock);
    }
    assert_int_equal(workers_count, WORKERS);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
}

static void shut_down(double timeout)
{
    in_shutdown = true;
    assert_int_equal(pco_server_shutdown(at.server, timeout), 0);
    in_shutdown = false;
}

static void pass(double seconds)
{
    fake_advance(at.loop, seconds);
    let_pass(3);
}

static void connections_finish_what_they_are_at(void **state)
{
    (void)state;
    serve_workers();
    shut_down(100);
    let_pass(4);
    assert_int_equal(told_inside, 0);
    assert_int_equal(workers[0].told, 1);
    assert_int_equal(workers[1].told, 1);
    assert_false(workers[0].lost);
    assert_true(workers[1].lost && workers[1].clean);
    assert_int_equal(workers[1].socket->sent_length, 3);
    assert_int_equal(old->told, 0);
    assert_true(old->lost && old->clean);

    shut_down(50); /* a new time, and nothing else */
    let_pass(4);
    for (unsigned i = 0; i < 3; i += 2) {
        assert_int_equal(workers[i].told, 1);
        assert_false(workers[i].lost);
        pco_transport_write(workers[i].transport, "answer", 6);
        pco_transport_close(workers[i].transport);
    }
    let_pass(4);
    assert_int_equal(workers[0].socket->sent_length, 6);
    assert_true(workers[0].clean && workers[2].clean);
    assert_int_equal(at.closed_calls, 1);
}

static void who_has_not_finished_at_the_deadline_is_aborted(void **state)
{
    (void)state;
    serve_workers();
    workers[2].socket->room = 0;
    pco_transport_write(workers[2].transport, "x", 1);
    pco_transport_close(workers[2].transport); /* is at its end already */
    shut_down(4);
    pass(3.9);
    assert_int_equal(workers[2].told, 0);
    assert_int_equal(workers[0].told, 1);
    assert_false(workers[0].lost || workers[2].lost);
    pass(0.2);
    assert_true(workers[0].lost && workers[0].clean);
    assert_true(workers[2].lost);
    assert_int_equal(at.closed_calls, 1);
}

static void who_hears_of_nothing_is_flushed_for_as_long_as_the_peer_reads(void **state)
{
    (void)state;
    static const unsigned char much[50000];
    serve_workers();
    old->socket->room = 0;
    pco_transport_write(old->transport, much, sizeof much);
    shut_down(1000);
    for (unsigned i = 0; i < 5; i++) {
        assert_false(old->lost);
        old->socket->room = 10000;
        let_pass(2);
        pass(4.9);
    }
    assert_true(old->lost && old->clean);
    assert_int_equal(old->socket->sent_length, sizeof much);
}

static void who_hears_of_nothing_and_whose_peer_does_not_read_is_cut_off(void **state)
{
    (void)state;
    serve_workers();
    old->socket->room = 0;
    pco_transport_write(old->transport, "x", 1);
    shut_down(1000);
    pass(5.1);
    assert_true(old->lost && !old->clean);
    assert_true(old->socket->reset);
}

static void who_has_another_protocol_by_then_is_closed(void **state)
{
    (void)state;
    serve_workers();
    shut_down(100);
    assert_int_equal(pco_transport_set_protocol(workers[0].transport, &old->protocol), 0);
    let_pass(4);
    assert_int_equal(workers[0].told, 0);
    assert_true(workers[0].socket->closed);
}

static void a_freed_server_still_tells(void **state)
{
    (void)state;
    serve_workers();
    shut_down(100);
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(4);
    assert_int_equal(workers[0].told, 1);
    pass(100);
    assert_true(workers[0].lost);
}

static void shutdown_in_connection_lost_leaves_its_protocol_alone(void **state)
{
    (void)state;
    serve_workers();
    workers[0].ends = true;
    pco_transport_abort(workers[0].transport);
    let_pass(4);
    assert_true(workers[0].lost && old->lost);
    assert_int_equal(workers[2].told, 1);
}

static void nobody_is_told_while_the_loop_is_freed(void **state)
{
    (void)state;
    serve_workers();
    shut_down(100);
    world_free_loop();
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].told, 0);
        assert_true(workers[i].lost);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(connections_finish_what_they_are_at),
    TEST(who_has_not_finished_at_the_deadline_is_aborted),
    TEST(who_hears_of_nothing_is_flushed_for_as_long_as_the_peer_reads),
    TEST(who_hears_of_nothing_and_whose_peer_does_not_read_is_cut_off),
    TEST(who_has_another_protocol_by_then_is_closed),
    TEST(a_freed_server_still_tells),
    TEST(shutdown_in_connection_lost_leaves_its_protocol_alone),
    TEST(nobody_is_told_while_the_loop_is_freed),
};

int main(void)
{
    const pco__backend_class *const classes[] = {&fake_backend_class, &fake_backend_wide_class,
                                                 NULL};
    return run_on(classes, false, tests, sizeof tests / sizeof tests[0]);
}
