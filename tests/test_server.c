/* SPDX-License-Identifier: MIT */
/*
 * Goal: the server object: serving, closing, waiting for its end, and being freed in any state and
 * from any callback; and what is left of it when its loop has gone.
 * Method: real sockets, on the best backend of the system. What takes time or needs failures of the
 * system is in test_server_accept.c, on the fake backend.
 */
#include "behaviour.h"

#include <math.h>
#include <stddef.h>

/* ---- Little helpers ---- */

static unsigned calls; /* of the callbacks below */

static void stop_the_loop(void *context)
{
    (void)context;
    calls++;
    pco_loop_stop(at.loop);
}

static void close_the_server(void *context)
{
    (void)context;
    calls++;
    enter_call();
    pco_server_close(at.server);
    leave_call();
}

static void free_the_server(void *context)
{
    (void)context;
    calls++;
    enter_call();
    pco_server_free(at.server);
    leave_call();
    at.server = NULL;
}

static void abort_the_clients(void *context)
{
    (void)context;
    calls++;
    enter_call();
    pco_server_abort_clients(at.server);
    leave_call();
}

static void soon(pco_callback callback)
{
    assert_int_equal(pco_loop_call_soon(at.loop, callback, NULL, NULL), 0);
}

static int begin(void **state)
{
    calls = 0;
    int code = world_begin(state);
    at.small_buffers = true;
    return code;
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

/* ---- Serving ---- */

static void start_serving_twice_does_nothing(void **state)
{
    (void)state;
    serve();
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    assert_true(pco_server_is_serving(at.server));
    join_and_wait();
}

static void start_serving_of_a_closed_server_is_an_error(void **state)
{
    (void)state;
    pco_error error = {0};
    serve();
    pco_server_close(at.server);
    assert_int_equal(pco_server_start_serving(at.server, &error), PCO_ECLOSED);
    assert_int_equal(error.code, PCO_ECLOSED);
    assert_true(error.message[0] != '\0');
    let_pass(5);
    assert_int_equal(pco_server_start_serving(at.server, NULL), PCO_ECLOSED);
    assert_int_equal(pco_server_serve_forever(at.server, &error), PCO_ECLOSED);
    assert_false(pco_server_is_serving(at.server));
}

static void a_server_that_never_served_can_be_closed(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(pco_server_start_serving(at.server, NULL), PCO_ECLOSED);
}

static void serve_forever_ends_when_the_server_is_closed(void **state)
{
    (void)state;
    serve();
    soon(close_the_server);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_int_equal(calls, 1);
    assert_false(pco_server_is_serving(at.server));
}

static void serve_forever_waits_for_the_last_connection(void **state)
{
    (void)state;
    serve();
    join_and_wait();
    join_and_wait();
    soon(close_the_server);
    pco_handle *later = NULL;
    assert_int_equal(pco_loop_call_later(at.loop, 0.02, abort_the_clients, NULL, &later), 0);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    pco_handle_release(later);
    assert_int_equal(calls, 2);
    assert_int_equal(at.lost, 2);
    assert_int_equal(counters_of(at.server).active, 0);
}

static void serve_forever_ends_by_stop_and_leaves_the_server_serving(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    soon(stop_the_loop);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_true(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    join_and_wait();
    soon(stop_the_loop);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_true(pco_server_is_serving(at.server));
    assert_int_equal(at.lost, 0);
}

static int code_inside;
static pco_error error_inside;

static void serve_forever_inside(void *context)
{
    (void)context;
    calls++;
    code_inside = pco_server_serve_forever(at.server, &error_inside);
}

static void serve_forever_inside_the_loop_is_busy(void **state)
{
    (void)state;
    serve();
    soon(serve_forever_inside);
    assert_true(reaches(&calls, 1));
    assert_int_equal(code_inside, PCO_EBUSY);
    assert_int_equal(error_inside.code, PCO_EBUSY);
    assert_true(error_inside.message[0] != '\0');
    assert_true(pco_server_is_serving(at.server));
}

static void serve_forever_twice_at_once_is_busy(void **state)
{
    (void)state;
    serve();
    soon(serve_forever_inside);
    soon(close_the_server);
    code_inside = 0;
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_int_equal(code_inside, PCO_EBUSY);
}

static void serve_forever_ends_when_the_server_is_freed(void **state)
{
    (void)state;
    serve();
    soon(free_the_server);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_int_equal(calls, 1);
}

static void abort_newest(void *context)
{
    (void)context;
    calls++;
    enter_call();
    pco_transport_abort(at.records->transport);
    leave_call();
}

static void serve_forever_of_a_freed_server_waits_for_the_last_connection(void **state)
{
    (void)state;
    serve();
    join_and_wait();
    soon(free_the_server);
    assert_int_equal(pco_loop_call_later(at.loop, 0.02, abort_newest, NULL, NULL), 0);
    assert_int_equal(pco_server_serve_forever(at.server, NULL), 0);
    assert_int_equal(calls, 2);
    assert_int_equal(at.lost, 1);
}

static void serve_forever_with_the_loop_freed_behind_it_is_closed(void **state)
{
    (void)state;
    serve();
    world_free_loop();
    assert_int_equal(pco_server_serve_forever(at.server, NULL), PCO_ECLOSED);
}

/* ---- Closing ---- */

static void close_frees_the_port_and_refuses_clients(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    unsigned sockets = count_sockets();
    pco_server_close(at.server);
    assert_false(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_get_socket_count(at.server), 0);
    assert_int_equal(pco_server_get_socket(at.server, 0), PCO_NO_SOCKET);
    pco_address unknown;
    assert_int_equal(pco_server_get_sockname(at.server, 0, &unknown), PCO_EINVAL);
    assert_int_equal(count_sockets(), sockets - 1); /* before the loop has turned */
    let_pass(3);
    assert_int_equal(count_sockets(), sockets - 1);
    peer *client = join_at(&address);
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(client->error, PCO_ECONNREFUSED);
    assert_int_equal(at.factory_calls, 0);
}

static int code_of_successor;

/* Frees the server and serves at the same address. */
static void free_and_serve_again(void *context)
{
    pco_server_options options = server_options();
    (void)context;
    calls++;
    pco_address address = address_of(at.server, 0);
    options.port = pco_address_port(&address);
    pco_server_free(at.server);
    code_of_successor = pco_loop_create_server(at.loop, &options, &at.server, NULL);
}

static void the_port_of_a_freed_server_serves_the_next_at_once(void **state)
{
    (void)state;
    serve();
    join_and_wait();
    free_and_serve_again(NULL);
    assert_int_equal(code_of_successor, 0);
    join_and_wait();
    soon(free_and_serve_again);
    assert_true(reaches(&calls, 2));
    assert_int_equal(code_of_successor, 0);
    join_and_wait();
}

static void close_twice_is_as_once(void **state)
{
    (void)state;
    serve();
    pco_server_close(at.server);
    pco_server_close(at.server);
    let_pass(3);
    pco_server_close(at.server);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_true(reaches(&at.closed_calls, 1));
    pco_server_close(at.server);
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
}

static void connections_go_on_when_the_server_is_closed(void **state)
{
    (void)state;
    at.echoes = true;
    serve();
    peer *client = join_and_wait();
    pco_server_close(at.server);
    let_pass(5);
    peer_send(client, "after the end", 13);
    assert_true(grows_to(&client->length, 13));
    assert_memory_equal(client->received, "after the end", 13);
    assert_int_equal(counters_of(at.server).active, 1);
}

static void who_was_in_the_queue_when_the_server_closed_never_reaches_the_factory(void **state)
{
    (void)state;
    peer *clients[3];
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    serve();
    for (size_t i = 0; i < 3; i++) {
        clients[i] = join();
    }
    /* Their loop runs, the server's does not: the system has accepted them, the server not yet. */
    for (unsigned i = 0; i < 200 && clients[2]->connected == 0; i++) {
        pco_loop_run_once(at.outside, 0.01);
    }
    assert_int_equal(clients[2]->connected, 1);
    pco_server_close(at.server);
    for (size_t i = 0; i < 3; i++) {
        assert_true(reaches(&clients[i]->ended, 1));
    }
    assert_int_equal(at.factory_calls, 0);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, counters.refused);
    assert_int_equal(counters.active, 0);
}

static void close_clients_is_polite_and_the_server_goes_on(void **state)
{
    (void)state;
    peer *clients[3];
    serve();
    for (size_t i = 0; i < 3; i++) {
        clients[i] = join_and_wait();
        pco_transport_write(newest()->transport, "farewell", 8);
    }
    pco_server_close_clients(at.server);
    assert_int_equal(at.lost, 0);
    assert_true(reaches(&at.lost, 3));
    for (size_t i = 0; i < 3; i++) {
        assert_true(reaches(&clients[i]->ended, 1));
        assert_true(clients[i]->clean);
        assert_int_equal(clients[i]->length, 8);
        assert_memory_equal(clients[i]->received, "farewell", 8);
    }
    for (record *one = at.records; one != NULL; one = one->next) {
        assert_int_equal(lost_with(one), 0);
    }
    assert_true(pco_server_is_serving(at.server));
    join_and_wait();
    assert_int_equal(counters_of(at.server).active, 1);
}

static void abort_clients_ends_all_and_the_server_goes_on(void **state)
{
    (void)state;
    serve();
    for (size_t i = 0; i < 3; i++) {
        join_and_wait();
    }
    pco_server_abort_clients(at.server);
    assert_int_equal(at.lost, 0);
    assert_true(reaches(&at.lost, 3));
    for (record *one = at.records; one != NULL; one = one->next) {
        assert_int_equal(lost_with(one), 0);
    }
    assert_true(pco_server_is_serving(at.server));
    join_and_wait();
}

static void without_clients_there_is_nobody_to_close(void **state)
{
    (void)state;
    serve();
    pco_server_close_clients(at.server);
    pco_server_abort_clients(at.server);
    pco_server_close(at.server);
    pco_server_close_clients(at.server);
    pco_server_abort_clients(at.server);
    let_pass(3);
    assert_int_equal(at.made, 0);
}

/* ---- wait_closed ---- */

static char order[16];

static void note_letter(pco_server *server, void *context)
{
    size_t length = strlen(order);
    if (server != at.server || length + 1 >= sizeof order) {
        violate("wait_closed's callback has another server, or comes too often");
        return;
    }
    order[length] = *(const char *)context;
    order[length + 1] = '\0';
}

static void many_may_wait_and_are_told_in_their_order(void **state)
{
    (void)state;
    order[0] = '\0';
    serve();
    assert_int_equal(pco_server_wait_closed(at.server, note_letter, "a"), 0);
    assert_int_equal(pco_server_wait_closed(at.server, note_letter, "b"), 0);
    pco_server_close(at.server);
    assert_int_equal(pco_server_wait_closed(at.server, note_letter, "c"), 0);
    assert_string_equal(order, ""); /* never inside of a call */
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_true(reaches(&at.closed_calls, 1));
    assert_string_equal(order, "abc");
    let_pass(10);
    assert_string_equal(order, "abc");
}

static void waiting_for_what_is_closed_already_ends_in_a_turn_of_its_own(void **state)
{
    (void)state;
    serve();
    pco_server_close(at.server);
    let_pass(5);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(at.closed_calls, 0);
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_true(reaches(&at.closed_calls, 2));
}

static void waiting_lasts_until_the_last_connection_has_ended(void **state)
{
    (void)state;
    serve();
    join_and_wait();
    record *first = newest();
    join_and_wait();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_transport_abort(first->transport);
    assert_true(reaches(&at.lost, 1));
    pco_server_close(at.server);
    let_pass(20);
    assert_int_equal(at.closed_calls, 0);
    pco_transport_abort(newest()->transport);
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(at.lost, 2);
}

/* Semantics 15: the server counts a connection until its connection_lost has returned. */
static void count_in_lost(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    if (counters_of(at.server).active != 1 || at.closed_calls != 0) {
        violate("the connection was not counted until connection_lost returned");
    }
}

static void a_connection_counts_until_connection_lost_has_returned(void **state)
{
    (void)state;
    at.at[AT_LOST] = count_in_lost;
    serve();
    join_and_wait();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    pco_server_close_clients(at.server);
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(counters_of(at.server).active, 0);
}

static void wait_closed_needs_a_callback(void **state)
{
    (void)state;
    serve();
    assert_int_equal(pco_server_wait_closed(at.server, NULL, NULL), PCO_EINVAL);
}

static void nobody_is_told_of_a_freed_server(void **state)
{
    (void)state;
    serve();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    }
    pco_server_close(at.server);
    free_the_server(NULL);
    let_pass(10);
    assert_int_equal(at.closed_calls, 0);
}

static void free_when_closed(pco_server *server, void *context)
{
    count_closed(server, context);
    free_the_server(NULL);
}

static void the_server_may_be_freed_when_it_is_closed(void **state)
{
    (void)state;
    serve();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_wait_closed(at.server, free_when_closed, NULL), 0);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0); /* not any more */
    join_and_wait();
    pco_server_close(at.server);
    pco_server_abort_clients(at.server);
    assert_true(reaches(&at.closed_calls, 2));
    let_pass(10);
    assert_int_equal(at.closed_calls, 2);
    assert_int_equal(calls, 1);
}

static unsigned turns_seen;
static unsigned turns;

static void count_turns(void *context)
{
    (void)context;
    turns++;
    if (turns < 10) {
        pco_loop_call_soon(at.loop, count_turns, NULL, NULL);
    }
}

static void wait_again(pco_server *server, void *context)
{
    (void)context;
    at.closed_calls++;
    if (at.closed_calls == 1) {
        turns_seen = turns;
        if (pco_server_wait_closed(server, wait_again, NULL) != 0) {
            violate("wait_closed inside its own callback failed");
        }
    } else if (turns == turns_seen) {
        violate("the second callback came in the same turn");
    }
}

static void who_waits_again_inside_the_callback_is_told_in_another_turn(void **state)
{
    (void)state;
    turns = 0;
    serve();
    assert_int_equal(pco_server_wait_closed(at.server, wait_again, NULL), 0);
    pco_server_close(at.server);
    soon(count_turns);
    assert_true(reaches(&at.closed_calls, 2));
    let_pass(12);
    assert_int_equal(at.closed_calls, 2);
}

static void want_of_memory_in_wait_closed_is_an_error(void **state)
{
    (void)state;
    serve();
    memory_fail(1, false);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), PCO_ENOMEM);
    memory_fail(0, false);
    pco_server_close(at.server);
    let_pass(5);
    assert_int_equal(at.closed_calls, 0);
}

/* ---- shutdown ---- */

static void shutdown_checks_its_time(void **state)
{
    (void)state;
    const double times[] = {NAN, -1.0, -INFINITY};
    serve();
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        assert_int_equal(pco_server_shutdown(at.server, times[i]), PCO_EINVAL);
    }
    assert_true(pco_server_is_serving(at.server)); /* nothing has happened */
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
}

static void shutdown_without_clients_is_over_at_once(void **state)
{
    (void)state;
    const double times[] = {0, 100, INFINITY};
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        pco_server_free(at.server);
        serve();
        assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
        assert_int_equal(pco_server_shutdown(at.server, times[i]), 0);
        assert_int_equal(at.closed_calls, i);
        assert_true(reaches(&at.closed_calls, i + 1));
    }
}

static void shutdown_closes_the_clients_politely(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    pco_transport_write(newest()->transport, pattern(100000), 100000);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_shutdown(at.server, INFINITY), 0);
    assert_false(pco_server_is_serving(at.server));
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(lost_with(newest()), 0);
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
    assert_int_equal(client->length, 100000);
    assert_memory_equal(client->received, pattern(100000), 100000);
}

/* A client that reads nothing, and more written to it than the system takes. */
static record *join_and_clog(void)
{
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    peer *client = join();
    client->reads = false;
    assert_true(reaches(&at.made, 1));
    assert_true(reaches(&client->connected, 1));
    record *self = newest();
    assert_int_equal(pco_transport_write(self->transport, pattern(PATTERN_LIMIT), PATTERN_LIMIT),
                     0);
    assert_true(pco_transport_get_write_buffer_size(self->transport) > 0);
    return self;
}

static void shutdown_aborts_what_is_left_at_the_deadline(void **state)
{
    (void)state;
    serve();
    record *self = join_and_clog();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_shutdown(at.server, 3600), 0);
    let_pass(10);
    assert_false(self->lost);
    assert_int_equal(at.closed_calls, 0);
    assert_int_equal(pco_server_shutdown(at.server, 0.05), 0); /* the new deadline counts */
    assert_true(reaches(&at.closed_calls, 1));
    assert_int_equal(lost_with(self), 0); /* aborted, which is no error */
}

static void shutdown_with_no_time_aborts_in_the_next_turn(void **state)
{
    (void)state;
    serve();
    record *self = join_and_clog();
    assert_int_equal(pco_server_shutdown(at.server, 0), 0);
    assert_false(self->lost);
    let_pass(5);
    assert_true(self->lost);
    assert_true(all_are_lost());
}

static void of_two_shutdowns_the_second_time_counts(void **state)
{
    (void)state;
    serve();
    record *self = join_and_clog();
    assert_int_equal(pco_server_shutdown(at.server, 0), 0);
    assert_int_equal(pco_server_shutdown(at.server, INFINITY), 0);
    let_pass(20);
    assert_false(self->lost);
    assert_int_equal(pco_server_shutdown(at.server, 1000), 0);
    let_pass(20);
    assert_false(self->lost);
    assert_int_equal(pco_server_shutdown(at.server, 0), 0);
    let_pass(5);
    assert_true(self->lost);
}

/* ---- Refused by the factory ---- */

static void a_factory_that_returns_null_refuses_the_connection(void **state)
{
    (void)state;
    at.refuses = true;
    serve();
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_true(all_are_lost());
    assert_int_equal(at.factory_calls, 1);
    assert_int_equal(at.made, 0);
    assert_int_equal(at.reports, 0);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 1);
    assert_int_equal(counters.refused, 1);
    assert_int_equal(counters.active, 0);
    at.refuses = false;
    join_and_wait();
    assert_int_equal(counters_of(at.server).active, 1);
}

static void a_protocol_without_methods_is_refused_and_reported(void **state)
{
    (void)state;
    at.is_broken = true;
    serve();
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_true(all_are_lost());
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_EINVAL);
    assert_int_equal(counters_of(at.server).refused, 1);
    at.is_broken = false;
    join_and_wait();
}

static pco_protocol *make_of_wrong_size(void *context)
{
    static const pco_protocol_methods methods = {.size = sizeof methods - 1};
    static pco_protocol protocol = {&methods};
    (void)context;
    return &protocol;
}

static void a_protocol_with_methods_of_a_wrong_size_is_refused_and_reported(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.protocol_factory = make_of_wrong_size;
    serve_with(&options);
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_true(reaches(&at.reports, 1));
    assert_int_equal(at.reported, PCO_EINVAL);
}

static pco_protocol *make_static(void *context)
{
    static const pco_protocol_methods methods = {.size = sizeof methods};
    static pco_protocol protocol = {&methods};
    (void)context;
    at.factory_calls++;
    return &protocol;
}

static void one_static_protocol_without_callbacks_may_serve_all(void **state)
{
    (void)state;
    peer *clients[3];
    pco_server_options options = server_options();
    options.protocol_factory = make_static;
    serve_with(&options);
    for (size_t i = 0; i < 3; i++) {
        clients[i] = join();
        peer_send(clients[i], "ignored", 7);
        peer_finish(clients[i]);
    }
    for (size_t i = 0; i < 3; i++) { /* no eof_received counts as false: it is closed */
        assert_true(reaches(&clients[i]->ended, 1));
        assert_true(clients[i]->clean);
    }
    assert_true(all_are_lost());
    assert_int_equal(at.factory_calls, 3);
}

static void *context_seen;

static pco_protocol *note_context(void *context)
{
    context_seen = context;
    return NULL;
}

static void the_factory_is_given_its_context(void **state)
{
    (void)state;
    int something;
    pco_server_options options = server_options();
    options.protocol_factory = note_context;
    options.context = &something;
    serve_with(&options);
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_ptr_equal(context_seen, &something);
}

/* ---- Counters ---- */

static void the_counters_count(void **state)
{
    (void)state;
    serve();
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 0);
    assert_int_equal(counters.active, 0);
    assert_int_equal(counters.refused, 0);
    peer *clients[3];
    for (size_t i = 0; i < 3; i++) {
        clients[i] = join_and_wait();
    }
    counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 3);
    assert_int_equal(counters.active, 3);
    assert_int_equal(counters.handshaking, 0);
    leave(clients[1]);
    assert_true(reaches(&at.lost, 1));
    counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 3);
    assert_int_equal(counters.active, 2);
    assert_int_equal(counters.refused, 0);
    assert_int_equal(counters.accept_errors, 0);
    assert_int_equal(counters.handshake_failures, 0);
}

static void the_size_of_the_counters_is_checked(void **state)
{
    (void)state;
    pco_server_counters counters;
    memset(&counters, 0x5a, sizeof counters);
    serve();
    counters.size = 0;
    assert_int_equal(pco_server_get_counters(at.server, &counters), PCO_EINVAL);
    counters.size = sizeof counters + 1;
    assert_int_equal(pco_server_get_counters(at.server, &counters), PCO_EINVAL);

    /* A program that knows fewer of them gets those. */
    counters.size = offsetof(pco_server_counters, refused);
    assert_int_equal(pco_server_get_counters(at.server, &counters), 0);
    assert_int_equal(counters.size, offsetof(pco_server_counters, refused));
    assert_int_equal(counters.accepted, 0);
    assert_int_equal(counters.active, 0);
    assert_true(counters.refused == 0x5a5a5a5a5a5a5a5a);
}

/* ---- Freeing, in any state, from any callback ---- */

static void free_of_nothing_does_nothing(void **state)
{
    (void)state;
    pco_server_free(NULL);
}

static void connections_go_on_when_the_server_is_freed(void **state)
{
    (void)state;
    at.echoes = true;
    serve();
    pco_address address = address_of(at.server, 0);
    peer *client = join_and_wait();
    free_the_server(NULL);
    let_pass(5);
    peer_send(client, "orphan", 6);
    assert_true(grows_to(&client->length, 6));
    peer *late = join_at(&address);
    assert_true(reaches(&late->ended, 1));
    assert_int_equal(late->error, PCO_ECONNREFUSED);
    leave(client);
    assert_true(all_are_lost());
}

static void a_server_is_freed_before_its_loop_has_turned(void **state)
{
    (void)state;
    serve();
    free_the_server(NULL);
    world_free_loop();
}

static void free_in_deed(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    if (at.server != NULL) {
        free_the_server(NULL);
    }
}

static void close_in_deed(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    enter_call();
    pco_server_close(at.server);
    leave_call();
}

static void shutdown_in_deed(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    enter_call();
    pco_server_shutdown(at.server, 0);
    leave_call();
}

static void abort_in_deed(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    enter_call();
    pco_server_abort_clients(at.server);
    leave_call();
}

/* Two clients speak and go, and something is done to the server in one of the callbacks. */
static void live_through(moment when, deed what)
{
    unsigned lost_before = at.lost;
    memset(at.at, 0, sizeof at.at);
    at.at[when] = what;
    at.answers = false;
    serve();
    peer *one = join();
    peer *other = join();
    peer_send(one, "something", 9);
    peer_finish(one);
    peer_send(other, "something", 9);
    peer_finish(other);
    assert_true(reaches(&one->ended, 1));
    assert_true(reaches(&other->ended, 1));
    assert_true(all_are_lost());
    assert_true(at.lost > lost_before || when == AT_FACTORY);
    end_server();
}

static const moment common_moments[] = {AT_FACTORY, AT_MADE, AT_DATA, AT_EOF, AT_LOST};

static void do_everywhere(deed what)
{
    for (size_t i = 0; i < sizeof common_moments / sizeof common_moments[0]; i++) {
        live_through(common_moments[i], what);
    }
}

static void the_server_may_be_freed_in_every_callback(void **state)
{
    (void)state;
    do_everywhere(free_in_deed);
}

static void the_server_may_be_closed_in_every_callback(void **state)
{
    (void)state;
    do_everywhere(close_in_deed);
}

static void the_server_may_be_shut_down_in_every_callback(void **state)
{
    (void)state;
    do_everywhere(shutdown_in_deed);
}

static void all_clients_may_be_aborted_in_every_callback(void **state)
{
    (void)state;
    do_everywhere(abort_in_deed);
}

static void free_in_report(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)context;
    at.reports++;
    if (what->server != at.server) {
        violate("the exception handler is told of another server");
    }
    free_the_server(NULL);
}

static void the_server_may_be_freed_in_the_exception_handler(void **state)
{
    (void)state;
    at.is_broken = true;
    pco_loop_set_exception_handler(at.loop, free_in_report, NULL);
    serve();
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(at.reports, 1);
    assert_null(at.server);
}

static void replace_the_server(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_options options = server_options();
    pco_server *made = NULL;
    enter_call();
    pco_server_free(at.server);
    at.server = NULL;
    if (pco_loop_create_server(at.loop, &options, &made, NULL) != 0) {
        violate("a server could not be made inside a callback");
    }
    leave_call();
    at.server = made;
    memset(at.at, 0, sizeof at.at);
}

static void a_server_may_be_made_in_every_callback(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof common_moments / sizeof common_moments[0]; i++) {
        memset(at.at, 0, sizeof at.at);
        at.at[common_moments[i]] = replace_the_server;
        pco_server_free(at.server);
        serve();
        pco_server *first = at.server;
        peer *client = join();
        peer_send(client, "x", 1);
        peer_finish(client);
        assert_true(reaches(&client->ended, 1));
        assert_true(all_are_lost());
        (void)first;
        assert_non_null(at.server);
        leave(join_and_wait());
        assert_true(all_are_lost());
    }
}

/* ---- When the loop has gone ---- */

/* Everything that may be asked of a server without a loop. */
static void assert_is_an_orphan(pco_server *server)
{
    pco_address address;
    pco_error error = {0};
    assert_null(pco_server_get_loop(server));
    assert_false(pco_server_is_serving(server));
    assert_int_equal(pco_server_get_socket_count(server), 0);
    assert_int_equal(pco_server_get_socket(server, 0), PCO_NO_SOCKET);
    assert_int_equal(pco_server_get_sockname(server, 0, &address), PCO_EINVAL);
    assert_int_equal(pco_server_start_serving(server, &error), PCO_ECLOSED);
    assert_int_equal(error.code, PCO_ECLOSED);
    assert_int_equal(pco_server_serve_forever(server, &error), PCO_ECLOSED);
    assert_int_equal(pco_server_wait_closed(server, count_closed, NULL), PCO_ECLOSED);
    assert_int_equal(pco_server_shutdown(server, 1), PCO_ECLOSED);
    pco_server_close(server);
    pco_server_close_clients(server);
    pco_server_abort_clients(server);
    assert_int_equal(counters_of(server).active, 0);
}

static void servers_of_a_freed_loop_answer_that_they_are_closed(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    serve();
    pco_server *serving = at.server;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    pco_server *bound = at.server;
    serve();
    pco_server *closed = at.server;
    pco_server_close(closed);
    assert_ptr_equal(pco_server_get_loop(serving), at.loop);
    world_free_loop();
    assert_is_an_orphan(serving);
    assert_is_an_orphan(bound);
    assert_is_an_orphan(closed);
    assert_true(count_sockets() <= sockets);
    pco_server_free(serving);
    pco_server_free(bound);
}

static void freeing_the_loop_ends_everything_that_is_open(void **state)
{
    (void)state;
    peer *clients[4];
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    serve();
    for (size_t i = 0; i < 4; i++) {
        clients[i] = join_and_wait();
        assert_true(reaches(&clients[i]->connected, 1));
    }
    pco_transport_pause_reading(at.records->transport);
    pco_transport_write(at.records->next->transport, pattern(PATTERN_LIMIT), PATTERN_LIMIT);
    pco_transport_close(at.records->next->transport); /* which it does not get to */
    clients[3]->reads = false;
    pco_transport *kept = pco_transport_retain(at.records->next->next->transport);
    world_free_loop();
    assert_int_equal(at.made, 4);
    assert_int_equal(at.lost, 4);
    for (record *one = at.records; one != NULL; one = one->next) {
        assert_int_equal(lost_with(one), 0);
    }
    assert_is_an_orphan(at.server);
    assert_int_equal(pco_transport_write(kept, "x", 1), PCO_ECLOSED);
    assert_null(pco_transport_get_loop(kept));
    assert_true(pco_transport_is_closing(kept));
    pco_transport_release(kept);
    assert_true(reaches(&clients[0]->ended, 1));
}

static void who_is_still_in_the_queue_when_the_loop_is_freed_is_closed(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    serve();
    peer *client = join();
    for (unsigned i = 0; i < 200 && client->connected == 0; i++) {
        pco_loop_run_once(at.outside, 0.01);
    }
    assert_int_equal(client->connected, 1);
    world_free_loop();
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(at.factory_calls, 0);
}

static int free_code;
static int run_code;

static void try_to_free_the_loop(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    free_code = pco_loop_free(at.loop);
    run_code = pco_loop_run_once(at.loop, 0);
}

static void the_loop_is_not_freed_from_a_callback(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    free_code = run_code = 0;
    at.at[AT_MADE] = try_to_free_the_loop;
    serve();
    join_and_wait();
    assert_int_equal(free_code, PCO_EBUSY);
    assert_int_equal(run_code, PCO_EBUSY);
    at.at[AT_LOST] = try_to_free_the_loop;
    free_code = run_code = 0;
    world_free_loop();
    assert_int_equal(free_code, PCO_EBUSY);
    assert_int_equal(run_code, PCO_EBUSY);
}

static int create_code;
static int create_async_code;

static void never_created(pco_server *server, const pco_error *error, void *context)
{
    (void)server;
    (void)error;
    (void)context;
    violate("a server was created on a loop that is being freed");
}

static int wait_code;

static void do_all_in_lost(record *self, pco_transport *transport)
{
    (void)self;
    pco_server *made = NULL;
    pco_server_options options = server_options();
    enter_call();
    create_code = pco_loop_create_server(at.loop, &options, &made, NULL);
    create_async_code =
        pco_loop_create_server_async(at.loop, &options, never_created, NULL, NULL, NULL);
    pco_transport_write(transport, "x", 1);
    pco_transport_close(transport);
    pco_transport_abort(transport);
    pco_server_close_clients(at.server);
    pco_server_abort_clients(at.server);
    wait_code = pco_server_wait_closed(at.server, count_closed, NULL);
    pco_server_shutdown(at.server, 5);
    pco_server_close(at.server);
    leave_call();
}

static void while_the_loop_is_freed_callbacks_may_call_everything(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    at.at[AT_LOST] = do_all_in_lost;
    serve();
    join_and_wait();
    join_and_wait();
    world_free_loop();
    assert_int_equal(at.lost, 2);
    assert_int_equal(create_code, PCO_ECLOSED);
    assert_int_equal(create_async_code, PCO_ECLOSED);
    assert_int_equal(wait_code, PCO_ECLOSED);
    assert_int_equal(at.closed_calls, 0);
    assert_is_an_orphan(at.server);
}

static void always_wait_again(pco_server *server, void *context)
{
    (void)context;
    at.closed_calls++;
    wait_code = pco_server_wait_closed(server, always_wait_again, NULL);
}

static void who_always_waits_again_does_not_keep_the_loop(void **state)
{
    (void)state;
    serve();
    assert_int_equal(pco_server_wait_closed(at.server, always_wait_again, NULL), 0);
    world_free_loop();
    assert_int_equal(at.closed_calls, 1);
    assert_int_equal(wait_code, PCO_ECLOSED);
    assert_is_an_orphan(at.server);
}

static void the_server_may_be_freed_while_the_loop_is(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_new(NULL, &at.outside, NULL), 0);
    at.at[AT_LOST] = free_in_deed;
    serve();
    join_and_wait();
    join_and_wait();
    world_free_loop();
    assert_int_equal(at.lost, 2);
    assert_null(at.server);
}

static void callback_that_never_comes(void *context)
{
    (void)context;
    violate("a callback ran that was far away");
}

/* The server is freed when nothing else of the loop is left: world_end sees a leak. */
static void the_server_may_be_freed_by_who_hears_that_a_timer_is_dropped(void **state)
{
    (void)state;
    pco_handle *handle = NULL;
    serve();
    assert_int_equal(pco_loop_call_later(at.loop, 1000, callback_that_never_comes, NULL, &handle),
                     0);
    pco_handle_set_dropped(handle, free_the_server);
    pco_handle_release(handle);
    world_free_loop();
    assert_null(at.server);
}

static const struct CMUnitTest tests[] = {
    TEST(start_serving_twice_does_nothing),
    TEST(start_serving_of_a_closed_server_is_an_error),
    TEST(a_server_that_never_served_can_be_closed),
    TEST(serve_forever_ends_when_the_server_is_closed),
    TEST(serve_forever_waits_for_the_last_connection),
    TEST(serve_forever_ends_by_stop_and_leaves_the_server_serving),
    TEST(serve_forever_inside_the_loop_is_busy),
    TEST(serve_forever_twice_at_once_is_busy),
    TEST(serve_forever_ends_when_the_server_is_freed),
    TEST(serve_forever_of_a_freed_server_waits_for_the_last_connection),
    TEST(serve_forever_with_the_loop_freed_behind_it_is_closed),
    TEST(close_frees_the_port_and_refuses_clients),
    TEST(the_port_of_a_freed_server_serves_the_next_at_once),
    TEST(close_twice_is_as_once),
    TEST(connections_go_on_when_the_server_is_closed),
    TEST(who_was_in_the_queue_when_the_server_closed_never_reaches_the_factory),
    TEST(close_clients_is_polite_and_the_server_goes_on),
    TEST(abort_clients_ends_all_and_the_server_goes_on),
    TEST(without_clients_there_is_nobody_to_close),
    TEST(many_may_wait_and_are_told_in_their_order),
    TEST(waiting_for_what_is_closed_already_ends_in_a_turn_of_its_own),
    TEST(waiting_lasts_until_the_last_connection_has_ended),
    TEST(a_connection_counts_until_connection_lost_has_returned),
    TEST(wait_closed_needs_a_callback),
    TEST(nobody_is_told_of_a_freed_server),
    TEST(the_server_may_be_freed_when_it_is_closed),
    TEST(who_waits_again_inside_the_callback_is_told_in_another_turn),
    TEST(want_of_memory_in_wait_closed_is_an_error),
    TEST(shutdown_checks_its_time),
    TEST(shutdown_without_clients_is_over_at_once),
    TEST(shutdown_closes_the_clients_politely),
    TEST(shutdown_aborts_what_is_left_at_the_deadline),
    TEST(shutdown_with_no_time_aborts_in_the_next_turn),
    TEST(of_two_shutdowns_the_second_time_counts),
    TEST(a_factory_that_returns_null_refuses_the_connection),
    TEST(a_protocol_without_methods_is_refused_and_reported),
    TEST(a_protocol_with_methods_of_a_wrong_size_is_refused_and_reported),
    TEST(one_static_protocol_without_callbacks_may_serve_all),
    TEST(the_factory_is_given_its_context),
    TEST(the_counters_count),
    TEST(the_size_of_the_counters_is_checked),
    TEST(free_of_nothing_does_nothing),
    TEST(connections_go_on_when_the_server_is_freed),
    TEST(a_server_is_freed_before_its_loop_has_turned),
    TEST(the_server_may_be_freed_in_every_callback),
    TEST(the_server_may_be_closed_in_every_callback),
    TEST(the_server_may_be_shut_down_in_every_callback),
    TEST(all_clients_may_be_aborted_in_every_callback),
    TEST(the_server_may_be_freed_in_the_exception_handler),
    TEST(a_server_may_be_made_in_every_callback),
    TEST(servers_of_a_freed_loop_answer_that_they_are_closed),
    TEST(freeing_the_loop_ends_everything_that_is_open),
    TEST(who_is_still_in_the_queue_when_the_loop_is_freed_is_closed),
    TEST(the_loop_is_not_freed_from_a_callback),
    TEST(while_the_loop_is_freed_callbacks_may_call_everything),
    TEST(who_always_waits_again_does_not_keep_the_loop),
    TEST(the_server_may_be_freed_while_the_loop_is),
    TEST(the_server_may_be_freed_by_who_hears_that_a_timer_is_dropped),
};

int main(void)
{
    return run_here("server", tests, sizeof tests / sizeof tests[0]);
}
