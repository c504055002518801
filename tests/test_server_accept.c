/* SPDX-License-Identifier: MIT */
/*
 * Goal: accepting survives everything: want of descriptors and memory, clients that come while the
 * server closes, more clients than are wanted; it never spins and never dies. And the server's time
 * limits are kept to the moment.
 * Method: the fake backend, where time is a number and completions come as the test decides; once
 * with one ACCEPT per listener, as epoll has, and once with several, as completion ports have.
 */
#include "behaviour.h"

#include "fake_backend.h"

#include <math.h>

/* Half of it is too early, the whole is not. */
#define BACK_OFF 1.0

static pco_socket listener(void)
{
    return pco_server_get_socket(at.server, 0);
}

static size_t accepts(void)
{
    return at.loop->backend->class_->accepts;
}

/* How many ACCEPT operations are in flight. */
static size_t accepts_in_flight(void)
{
    const fake_socket *sock = fake_socket_of(at.loop, listener());
    size_t count = 0;
    for (size_t i = 0; i < FAKE_ACCEPTS; i++) {
        count += sock->in[i].op != NULL;
    }
    return count;
}

/* A client that gets its connection. */
static fake_socket *come(void)
{
    pco_socket sock = fake_connect(at.loop, listener(), NULL);
    let_pass(1);
    return fake_socket_of(at.loop, sock);
}

static void fail_to_accept(int error, size_t turned_away)
{
    fake_accept_error(at.loop, listener(), error, 24, turned_away);
}

/* Lets time pass, and what is due then happen. */
static void pass(double seconds)
{
    fake_advance(at.loop, seconds);
    let_pass(3);
}

/* ---- Accepting ---- */

static void as_many_accepts_as_the_backend_likes_are_in_flight(void **state)
{
    (void)state;
    serve();
    assert_int_equal(accepts_in_flight(), accepts());
    come();
    assert_int_equal(at.made, 1);
    assert_int_equal(accepts_in_flight(), accepts());
    pco_server_close(at.server);
    let_pass(3);
}

static void a_backend_without_a_system_needs_no_socket_of_it(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    serve();
    come();
    assert_int_equal(at.made, 1);
    assert_int_equal(count_sockets(), sockets);
}

static void the_peers_name_is_the_one_that_accept_told(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0); /* some address */
    fake_connect(at.loop, listener(), &address);
    let_pass(1);
    assert_int_equal(at.made, 1);
    assert_int_equal(newest()->peer_code, 0);
    assert_true(pco_address_equal(&newest()->peer, &address));
}

static void the_factory_and_connection_made_come_in_one_turn(void **state)
{
    (void)state;
    serve();
    fake_connect(at.loop, listener(), NULL);
    assert_int_equal(at.factory_calls, 0);
    pco_loop_run_once(at.loop, 0);
    assert_int_equal(at.factory_calls, 1);
    assert_int_equal(at.made, 1);
    assert_string_equal(newest()->story, "M");
}

static void who_waits_for_the_end_is_told_in_the_second_turn(void **state)
{
    (void)state;
    serve();
    come();
    come();
    pco_server_close(at.server);
    let_pass(3);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close_clients(at.server);
    for (unsigned turn = 0; turn < 2; turn++) {
        assert_int_equal(at.closed_calls, 0);
        pco_loop_run_once(at.loop, 0);
    }
    assert_int_equal(at.lost, 2);
    assert_int_equal(at.closed_calls, 1);
}

/* ---- Failures ---- */

static void a_failure_is_reported_and_tried_again_after_a_second(void **state)
{
    const int errors[] = {PCO_EMFILE, PCO_ENOBUFS, PCO_ENOMEM};
    (void)state;
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        pco_server_free(at.server);
        serve();
        let_pass(1);
        fail_to_accept(errors[i], 0);
        let_pass(3);
        assert_int_equal(at.reports, i + 1);
        assert_int_equal(at.reported, errors[i]);
        assert_int_equal(counters_of(at.server).accept_errors, 1);
        assert_true(pco_server_is_serving(at.server));
        assert_int_equal(accepts_in_flight(), accepts() - 1);
        pass(0.5 * BACK_OFF);
        assert_int_equal(accepts_in_flight(), accepts() - 1);
        pass(0.5 * BACK_OFF);
        assert_int_equal(accepts_in_flight(), accepts());
        unsigned before = at.made;
        come();
        assert_int_equal(at.made, before + 1);
        assert_int_equal(at.reports, i + 1);
    }
}

static void who_was_turned_away_is_counted_as_refused(void **state)
{
    (void)state;
    serve();
    fail_to_accept(PCO_EMFILE, 3);
    let_pass(3);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.refused, 3);
    assert_int_equal(counters.accept_errors, 1);
    assert_int_equal(counters.active, 0);
    assert_int_equal(at.factory_calls, 0);
}

static void failures_that_go_on_are_reported_once_and_tried_once_a_second(void **state)
{
    (void)state;
    serve();
    unsigned long polls = fake_of(at.loop)->polls;
    for (unsigned second = 0; second < 100; second++) {
        for (size_t i = 0; i < accepts(); i++) {
            fail_to_accept(PCO_EMFILE, 0);
        }
        let_pass(3);
        assert_int_equal(counters_of(at.server).accept_errors, (second + 1) * accepts());
        assert_int_equal(accepts_in_flight(), 0);
        pass(BACK_OFF);
    }
    assert_int_equal(at.reports, 1);
    assert_true(fake_of(at.loop)->polls - polls <= 100 * 6); /* those of this test */

    /* It has recovered, so that the next failure is news. */
    come();
    assert_int_equal(at.made, 1);
    fail_to_accept(PCO_EMFILE, 0);
    let_pass(3);
    assert_int_equal(at.reports, 2);
}

/* The loop sleeps until the second is over: it does not turn in vain. */
static void while_it_backs_off_the_loop_is_idle(void **state)
{
    (void)state;
    serve();
    for (size_t i = 0; i < accepts(); i++) {
        fail_to_accept(PCO_EMFILE, 0);
    }
    let_pass(3);
    double before = pco_loop_time(at.loop);
    unsigned long polls = fake_of(at.loop)->polls;
    for (unsigned i = 0; i < 10 && accepts_in_flight() == 0; i++) {
        pco_loop_run_once(at.loop, 100);
    }
    assert_int_equal(accepts_in_flight(), accepts());
    assert_true(fake_of(at.loop)->polls - polls <= 2);
    double passed = pco_loop_time(at.loop) - before;
    assert_true(passed > BACK_OFF - 0.001 && passed < BACK_OFF + 0.001);
}

static void when_a_connection_ends_it_is_tried_again_at_once(void **state)
{
    (void)state;
    serve();
    come();
    for (size_t i = 0; i < accepts(); i++) {
        fail_to_accept(PCO_EMFILE, 0);
    }
    let_pass(3);
    assert_int_equal(accepts_in_flight(), 0);
    pco_transport_abort(newest()->transport);
    let_pass(3);
    assert_int_equal(at.lost, 1);
    assert_int_equal(accepts_in_flight(), accepts());

    /* If it fails again that is the same trouble, and again there is a second of peace. */
    fail_to_accept(PCO_EMFILE, 0);
    let_pass(3);
    assert_int_equal(at.reports, 1);
    assert_int_equal(accepts_in_flight(), accepts() - 1);
    pass(0.9 * BACK_OFF);
    assert_int_equal(accepts_in_flight(), accepts() - 1);
    pass(0.1 * BACK_OFF);
    assert_int_equal(accepts_in_flight(), accepts());
}

static void connections_that_cannot_be_attached_are_refused_and_the_next_are_served(void **state)
{
    (void)state;
    serve();
    fake_of(at.loop)->attach_error = PCO_ENOBUFS;
    fake_connect(at.loop, listener(), NULL);
    let_pass(3);
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_ENOBUFS);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 1);
    assert_int_equal(counters.refused, 1);
    assert_int_equal(counters.active, 0);
    come();
    assert_int_equal(at.made, 1);
}

static void without_memory_connections_are_refused_and_the_next_are_served(void **state)
{
    (void)state;
    serve();
    fake_connect(at.loop, listener(), NULL);
    memory_fail(1, false);
    let_pass(3);
    memory_fail(0, false);
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.reported, PCO_ENOMEM);
    assert_int_equal(counters_of(at.server).refused, 1);
    assert_int_equal(counters_of(at.server).active, 0);
    come();
    assert_int_equal(at.made, 1);
}

static void serving_that_cannot_begin_leaves_nothing(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    pco_error error = {0};
    pco_server_options options = server_options();
    fake_of(at.loop)->attach_error = PCO_EMFILE;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &at.server, &error), PCO_EMFILE);
    assert_int_equal(error.code, PCO_EMFILE);
    assert_null(at.server);
    assert_int_equal(count_sockets(), sockets);
    options.start_serving = PCO_OFF;
    serve_with(&options);
    fake_of(at.loop)->attach_error = PCO_EMFILE;
    assert_int_equal(pco_server_start_serving(at.server, &error), PCO_EMFILE);
    assert_false(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_start_serving(at.server, &error), 0);
    come();
    assert_int_equal(at.made, 1);
}

/* ---- The end, while it backs off ---- */

static void back_off(void)
{
    serve();
    fail_to_accept(PCO_EMFILE, 0);
    let_pass(3);
    assert_int_equal(at.reports, 1);
}

static void a_server_that_backs_off_may_be_closed(void **state)
{
    (void)state;
    back_off();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
    pass(2 * BACK_OFF);
    assert_int_equal(fake_in_flight(at.loop), 0);
}

static void a_server_that_backs_off_may_be_freed(void **state)
{
    (void)state;
    back_off();
    pco_server_free(at.server);
    at.server = NULL;
    pass(2 * BACK_OFF);
    assert_int_equal(fake_in_flight(at.loop), 0);
}

static void the_loop_of_a_server_that_backs_off_may_be_freed(void **state)
{
    (void)state;
    back_off();
    world_free_loop();
    assert_false(pco_server_is_serving(at.server));
}

static void free_in_report(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)what;
    (void)context;
    at.reports++;
    enter_call();
    pco_server_free(at.server);
    leave_call();
    at.server = NULL;
}

static void the_server_may_be_freed_when_trouble_is_reported(void **state)
{
    (void)state;
    pco_loop_set_exception_handler(at.loop, free_in_report, NULL);
    serve();
    fail_to_accept(PCO_EMFILE, 0);
    let_pass(5);
    assert_int_equal(at.reports, 1);
    assert_int_equal(fake_in_flight(at.loop), 0);
    serve();
    fake_of(at.loop)->attach_error = PCO_ENOBUFS;
    fake_connect(at.loop, listener(), NULL);
    let_pass(5);
    assert_int_equal(at.reports, 2);
    assert_int_equal(fake_in_flight(at.loop), 0);
}

/* ---- Closing while things are under way ---- */

/* The accept was canceled, but its result came first: the client is there, and unwanted. */
static void what_is_accepted_while_the_server_closes_is_refused(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake->manual = true;
    fake_socket *sock = fake_socket_of(at.loop, listener());
    fake_connect(at.loop, listener(), NULL);
    assert_true(fake_decide(sock, PCO__OP_ACCEPT, 0, 1));
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    fake->manual = false;
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
    assert_int_equal(at.factory_calls, 0);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 1);
    assert_int_equal(counters.refused, 1);
    assert_int_equal(counters.active, 0);
    assert_true(sock->closed);
}

static void a_failure_while_the_server_closes_is_nobodys_business(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake->manual = true;
    fake_socket *sock = fake_socket_of(at.loop, listener());
    assert_true(fake_decide(sock, PCO__OP_ACCEPT, PCO_EMFILE, 1));
    pco_server_close(at.server);
    fake->manual = false;
    let_pass(5);
    assert_int_equal(at.reports, 0);
    assert_true(sock->closed);
}

static void
the_listener_is_closed_at_once_and_the_server_when_its_accepts_have_come_back(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake_socket *sock = fake_socket_of(at.loop, listener());
    fake->hold_cancels = true;
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    assert_true(sock->closed);
    let_pass(5);
    assert_true(fake_is_canceled(sock, PCO__OP_ACCEPT));
    assert_int_equal(at.closed_calls, 0);
    assert_false(pco_server_is_serving(at.server));
    fake->hold_cancels = false;
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
}

static void a_server_freed_while_it_closes_stays_until_its_accepts_have_come_back(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake_socket *sock = fake_socket_of(at.loop, listener());
    fake->hold_cancels = true;
    pco_server_close(at.server);
    let_pass(2);
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(5);
    assert_true(fake_is_in_flight(sock, PCO__OP_ACCEPT));
    fake->hold_cancels = false;
    let_pass(5);
    assert_false(fake_is_in_flight(sock, PCO__OP_ACCEPT));
}

static void a_client_that_comes_late_to_a_closed_listener_is_refused(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake_socket *sock = fake_socket_of(at.loop, listener());
    fake->hold_cancels = true;
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    fake_socket *late = fake_socket_of(at.loop, fake_connect(at.loop, sock->number, NULL));
    assert_true(fake_decide(sock, PCO__OP_ACCEPT, 0, SIZE_MAX));
    fake->hold_cancels = false;
    let_pass(5);
    assert_true(late->closed);
    assert_int_equal(counters_of(at.server).accepted, 1);
    assert_int_equal(counters_of(at.server).refused, 1);
    assert_int_equal(at.made, 0);
    assert_int_equal(at.closed_calls, 1);
}

static void nobody_waits_for_a_listener_whose_connections_have_ended_first(void **state)
{
    (void)state;
    fake_backend *fake = fake_of(at.loop);
    serve();
    come();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    fake->hold_cancels = true;
    pco_server_close(at.server);
    let_pass(3);
    assert_int_equal(at.closed_calls, 0);
    fake->hold_cancels = false;
    let_pass(3);
    assert_int_equal(at.closed_calls, 0); /* there is still a connection */
    pco_transport_abort(newest()->transport);
    let_pass(3);
    assert_int_equal(at.closed_calls, 1);
}

/* ---- More clients than are wanted ---- */

static void serve_at_most(size_t most)
{
    pco_server_options options = server_options();
    options.max_connections = most;
    serve_with(&options);
}

static void who_is_too_many_is_served_when_another_has_ended(void **state)
{
    (void)state;
    serve_at_most(2);
    for (unsigned i = 0; i < 8; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(10);
    assert_int_equal(at.made, 2);
    assert_int_equal(counters_of(at.server).active, 2);
    for (unsigned ended = 1; ended <= 8; ended++) {
        for (record *one = at.records; one != NULL; one = one->next) {
            if (!one->lost) {
                pco_transport_abort(one->transport);
                break;
            }
        }
        let_pass(10);
        assert_int_equal(at.lost, ended);
        assert_int_equal(at.made, ended + 2 < 8 ? ended + 2 : 8);
    }
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 8);
    assert_int_equal(counters.refused, 0);
    assert_int_equal(counters.active, 0);
    assert_int_equal(accepts_in_flight(), accepts());
}

static void who_is_too_many_waits_in_the_backlog_as_far_as_the_backend_allows(void **state)
{
    (void)state;
    serve_at_most(1);
    come();
    let_pass(3);
    assert_int_equal(at.made, 1);
    assert_int_equal(accepts_in_flight(), accepts() - 1); /* those that were under way */
    for (unsigned i = 0; i < 2 * FAKE_ACCEPTS; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(10);
    assert_int_equal(counters_of(at.server).accepted, accepts());
    assert_int_equal(at.made, 1);
    assert_int_equal(accepts_in_flight(), 0);
}

static void who_waits_when_the_server_closes_is_refused(void **state)
{
    (void)state;
    serve_at_most(1);
    for (unsigned i = 0; i < 8; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(10);
    assert_int_equal(at.made, 1);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    let_pass(5);
    assert_int_equal(at.closed_calls, 0);
    pco_transport_abort(newest()->transport);
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
    assert_int_equal(at.factory_calls, 1);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, counters.refused + 1);
}

static void whoever_waits_may_be_left_behind_by_the_loop(void **state)
{
    (void)state;
    serve_at_most(1);
    for (unsigned i = 0; i < 8; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(10);
    world_free_loop();
    assert_int_equal(at.made, 1);
    assert_int_equal(at.lost, 1);
}

static void close_in_factory(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    if (at.factory_calls == 2) {
        enter_call();
        pco_server_close(at.server);
        leave_call();
    }
}

static void the_server_may_be_closed_by_the_factory_of_one_that_waited(void **state)
{
    (void)state;
    at.at[AT_FACTORY] = close_in_factory;
    serve_at_most(1);
    for (unsigned i = 0; i < 8; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(10);
    pco_transport_abort(newest()->transport);
    let_pass(10);
    assert_int_equal(at.made, 2); /* it was under way */
    assert_int_equal(at.factory_calls, 2);
    assert_false(pco_server_is_serving(at.server));
}

static void refusing_makes_room_for_the_next(void **state)
{
    (void)state;
    at.refuses = true;
    serve_at_most(1);
    for (unsigned i = 0; i < 8; i++) {
        fake_connect(at.loop, listener(), NULL);
    }
    let_pass(40);
    assert_int_equal(at.factory_calls, 8);
    assert_int_equal(counters_of(at.server).refused, 8);
    assert_int_equal(counters_of(at.server).active, 0);
}

/* ---- Time limits ---- */

/* A connection to which something was written that does not leave. */
static record *get_stuck(void)
{
    fake_socket *sock = come();
    sock->room = 0;
    assert_int_equal(pco_transport_write(newest()->transport, "stuck", 5), 0);
    let_pass(1);
    assert_int_equal(pco_transport_get_write_buffer_size(newest()->transport), 5);
    return newest();
}

static void shutdown_aborts_at_the_deadline_and_not_before(void **state)
{
    (void)state;
    serve();
    record *self = get_stuck();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_shutdown(at.server, 10), 0);
    pass(9.999);
    assert_false(self->lost);
    pass(0.001);
    assert_true(self->lost);
    assert_int_equal(lost_with(self), 0);
    let_pass(3);
    assert_int_equal(at.closed_calls, 1);
}

static void shutdown_is_over_before_the_deadline_if_all_are_gone(void **state)
{
    (void)state;
    serve();
    record *self = get_stuck();
    fake_socket *sock = fake_socket_of(at.loop, pco_transport_get_socket(self->transport));
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_shutdown(at.server, 10), 0);
    pass(5);
    assert_int_equal(at.closed_calls, 0);
    sock->room = SIZE_MAX;
    let_pass(5);
    assert_int_equal(at.closed_calls, 1);
    assert_int_equal(lost_with(self), 0);
    assert_int_equal(sock->sent_length, 5);
    pass(10);
    assert_int_equal(at.closed_calls, 1);
}

static void of_two_deadlines_the_later_given_counts(void **state)
{
    (void)state;
    serve();
    record *self = get_stuck();
    assert_int_equal(pco_server_shutdown(at.server, 5), 0);
    pass(4);
    assert_int_equal(pco_server_shutdown(at.server, 5), 0);
    pass(4);
    assert_false(self->lost);
    assert_int_equal(pco_server_shutdown(at.server, 0.5), 0);
    pass(0.5);
    assert_true(self->lost);
}

static void shutdown_without_a_deadline_leaves_it_to_close_timeout(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.close_timeout = 7;
    serve_with(&options);
    record *self = get_stuck();
    assert_int_equal(pco_server_shutdown(at.server, INFINITY), 0);
    pass(6.9);
    assert_false(self->lost);
    pass(0.1);
    assert_true(self->lost);
    assert_int_equal(lost_with(self), PCO_ETIMEDOUT);
}

static void closing_takes_at_most_thirty_seconds_by_default(void **state)
{
    (void)state;
    serve();
    record *self = get_stuck();
    pco_transport_close(self->transport);
    pass(29.9);
    assert_false(self->lost);
    pass(0.1);
    assert_true(self->lost);
    assert_int_equal(lost_with(self), PCO_ETIMEDOUT);
}

static void without_a_close_timeout_closing_takes_what_it_takes(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.close_timeout = INFINITY;
    serve_with(&options);
    record *self = get_stuck();
    fake_socket *sock = fake_socket_of(at.loop, pco_transport_get_socket(self->transport));
    pco_server_shutdown(at.server, INFINITY);
    pass(1e6);
    assert_false(self->lost);
    sock->room = SIZE_MAX;
    let_pass(3);
    assert_true(self->lost);
    assert_int_equal(lost_with(self), 0);
}

/*
 * lingering_close: after the last byte the end is said, and what still comes is read and dropped.
 */
static void a_lingering_close_waits_for_the_peer_as_long_as_it_may(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.lingering_close = PCO_ON;
    options.close_timeout = 3;
    serve_with(&options);
    fake_socket *patient = come();
    record *first = newest();
    fake_socket *polite = come();
    record *second = newest();
    pco_transport_write(first->transport, "answer", 6);
    pco_transport_close(first->transport);
    pco_transport_close(second->transport);
    let_pass(3);
    assert_int_equal(patient->sent_length, 6);
    assert_true(patient->shut_down);
    assert_false(patient->closed);
    fake_feed(patient, "more", 4);
    fake_feed(polite, "more", 4);
    let_pass(3);
    fake_feed_eof(polite);
    let_pass(3);
    assert_true(second->lost);
    assert_int_equal(lost_with(second), 0);
    assert_false(first->lost);
    pass(3);
    assert_true(first->lost);
    assert_int_equal(lost_with(first), 0);
    assert_false(patient->reset);
    assert_int_equal(first->counts[AT_DATA], 0);
    assert_int_equal(second->counts[AT_DATA] + second->counts[AT_EOF], 0);
}

static void shut_the_server_down(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    assert_int_equal(pco_server_shutdown(at.server, 5), 0);
}

static void a_lingering_close_may_begin_inside_the_factory(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.lingering_close = PCO_ON;
    serve_with(&options);
    at.at[AT_FACTORY] = shut_the_server_down;
    pco_socket first = fake_connect(at.loop, listener(), NULL);
    fake_connect(at.loop, listener(), NULL);
    let_pass(1);
    fake_socket *client = fake_socket_of(at.loop, first);
    assert_int_equal(at.made, 1);
    assert_true(client->shut_down);
    fake_feed(client, "dropped", 7);
    fake_feed_eof(client);
    let_pass(3);
    assert_true(newest()->lost);
    assert_int_equal(lost_with(newest()), 0);
    assert_string_equal(newest()->story, "ML");
}

static void without_lingering_a_close_reads_no_more(void **state)
{
    (void)state;
    serve();
    fake_socket *sock = come();
    record *self = newest();
    pco_transport_write(self->transport, "answer", 6);
    pco_transport_close(self->transport);
    let_pass(3);
    assert_true(self->lost);
    assert_true(sock->closed);
    assert_int_equal(sock->sent_length, 6);
}

/* ---- Every order ---- */

/*
 * A connection's read ends, another one's write ends, a client is accepted, the server closes: the
 * completions in every order, decided one by one.
 */
static void play(const unsigned *sequence)
{
    fake_backend *fake = fake_of(at.loop);
    serve();
    fake_socket *reader = come();
    record *reading = newest();
    fake_socket *writer = come();
    record *writing = newest();
    fake_socket *door = fake_socket_of(at.loop, listener());
    writer->room = 0;
    pco_transport_write(writing->transport, "abcdef", 6);
    let_pass(1);
    fake->manual = true;
    fake_feed_eof(reader);
    writer->room = SIZE_MAX;
    fake_connect(at.loop, listener(), NULL);
    unsigned made = at.made;
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        switch (sequence[i]) {
        case 0:
            fake_decide(reader, PCO__OP_RECV, 0, 1);
            break;
        case 1:
            fake_decide(writer, PCO__OP_SEND, 0, 3);
            break;
        case 2:
            fake_decide(door, PCO__OP_ACCEPT, 0, 1);
            break;
        default:
            pco_server_close(at.server);
            pco_server_close_clients(at.server);
            break;
        }
        let_pass(1);
    }
    fake->manual = false;
    let_pass(10);
    pco_server_abort_clients(at.server);
    let_pass(10);
    assert_true(reading->lost && writing->lost);
    assert_int_equal(at.made, at.lost);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.active, 0);
    assert_int_equal(counters.accepted, at.made - made + 2 + counters.refused);
    assert_int_equal(writer->sent_length, 6);
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(3);
    assert_int_equal(fake_in_flight(at.loop), 0);
}

static void every_order_of_completions_comes_to_an_end(void **state)
{
    (void)state;
    unsigned orders = 0;
    for (unsigned number = 0; number < 256; number++) {
        unsigned sequence[4] = {number & 3, number >> 2 & 3, number >> 4 & 3, number >> 6 & 3};
        unsigned seen = 0;
        for (unsigned i = 0; i < 4; i++) {
            seen |= 1u << sequence[i];
        }
        if (seen == 15) {
            unsigned before = at.closed_calls;
            play(sequence);
            assert_int_equal(at.closed_calls, before + 1);
            orders++;
        }
    }
    assert_int_equal(orders, 24);
}

static const struct CMUnitTest tests[] = {
    TEST(as_many_accepts_as_the_backend_likes_are_in_flight),
    TEST(a_backend_without_a_system_needs_no_socket_of_it),
    TEST(the_peers_name_is_the_one_that_accept_told),
    TEST(the_factory_and_connection_made_come_in_one_turn),
    TEST(who_waits_for_the_end_is_told_in_the_second_turn),
    TEST(a_failure_is_reported_and_tried_again_after_a_second),
    TEST(who_was_turned_away_is_counted_as_refused),
    TEST(failures_that_go_on_are_reported_once_and_tried_once_a_second),
    TEST(while_it_backs_off_the_loop_is_idle),
    TEST(when_a_connection_ends_it_is_tried_again_at_once),
    TEST(connections_that_cannot_be_attached_are_refused_and_the_next_are_served),
    TEST(without_memory_connections_are_refused_and_the_next_are_served),
    TEST(serving_that_cannot_begin_leaves_nothing),
    TEST(a_server_that_backs_off_may_be_closed),
    TEST(a_server_that_backs_off_may_be_freed),
    TEST(the_loop_of_a_server_that_backs_off_may_be_freed),
    TEST(the_server_may_be_freed_when_trouble_is_reported),
    TEST(what_is_accepted_while_the_server_closes_is_refused),
    TEST(a_failure_while_the_server_closes_is_nobodys_business),
    TEST(the_listener_is_closed_at_once_and_the_server_when_its_accepts_have_come_back),
    TEST(a_server_freed_while_it_closes_stays_until_its_accepts_have_come_back),
    TEST(a_client_that_comes_late_to_a_closed_listener_is_refused),
    TEST(nobody_waits_for_a_listener_whose_connections_have_ended_first),
    TEST(who_is_too_many_is_served_when_another_has_ended),
    TEST(who_is_too_many_waits_in_the_backlog_as_far_as_the_backend_allows),
    TEST(who_waits_when_the_server_closes_is_refused),
    TEST(whoever_waits_may_be_left_behind_by_the_loop),
    TEST(the_server_may_be_closed_by_the_factory_of_one_that_waited),
    TEST(refusing_makes_room_for_the_next),
    TEST(shutdown_aborts_at_the_deadline_and_not_before),
    TEST(shutdown_is_over_before_the_deadline_if_all_are_gone),
    TEST(of_two_deadlines_the_later_given_counts),
    TEST(shutdown_without_a_deadline_leaves_it_to_close_timeout),
    TEST(closing_takes_at_most_thirty_seconds_by_default),
    TEST(without_a_close_timeout_closing_takes_what_it_takes),
    TEST(a_lingering_close_waits_for_the_peer_as_long_as_it_may),
    TEST(a_lingering_close_may_begin_inside_the_factory),
    TEST(without_lingering_a_close_reads_no_more),
    TEST(every_order_of_completions_comes_to_an_end),
};

int main(void)
{
    const pco__backend_class *const classes[] = {&fake_backend_class, &fake_backend_wide_class,
                                                 NULL};
    return run_on(classes, false, tests, sizeof tests / sizeof tests[0]);
}
