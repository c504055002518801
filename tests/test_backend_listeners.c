/* SPDX-License-Identifier: MIT */
/*
 * Goal: on every backend connections are made and accepted as the operations promise, and a
 * listener may be closed at any time, its accepts in flight.
 * Method: as test_backend.c.
 */
#include "backend_probe.h"

/* ---- Connecting and accepting ---- */

static void a_connection_is_accepted_with_its_peers_address(void **state)
{
    listener from;
    end client;
    end server;
    pco_address name;
    pco_address peer;

    (void)state;
    open_listener(&from);
    attach_accepted(&server, connect_one(&from, &client));
    assert_int_equal(tested->network->sockname(at.backend, client.io.socket, &name), 0);
    assert_true(pco_address_equal(&name, &from.accept.peer));
    assert_int_equal(tested->network->peername(at.backend, client.io.socket, &peer), 0);
    assert_true(pco_address_equal(&peer, &from.address));
    close_end(&client);
    close_end(&server);
    close_listener(&from);
}

static void a_refused_connect_says_so(void **state)
{
    pco_address address;
    pco_socket silent = bound_socket(&address);
    end client;

    (void)state;
    start_connecting(&client, &address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    tested->network->close(at.backend, silent, false);
}

/* An address of this machine of which the port was free a moment ago. */
static pco_address free_address(void)
{
    pco_address address;

    tested->network->close(at.backend, bound_socket(&address), false);
    return address;
}

static void start_connecting_from(end *client, const pco_address *local, const pco_address *address)
{
    const pco__network *network = tested->network;

    memset(client, 0, sizeof *client);
    assert_int_equal(network->open(at.backend, PCO_AF_INET, 0, &client->io.socket, NULL), 0);
    assert_int_equal(network->bind_local(at.backend, client->io.socket, local, NULL), 0);
    attach(&client->io, PCO__IO_UNCONNECTED);
    client->out.op.with.address = address;
    submit(&client->out, &client->io, PCO__OP_CONNECT);
}

static void a_connect_comes_from_the_address_that_was_bound(void **state)
{
    listener from;
    end clients[2];
    pco_address any_port = loopback();
    pco_address local = free_address();

    (void)state;
    open_listener(&from);
    for (unsigned i = 0; i < 2; i++) {
        pco_address name;

        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
        start_connecting_from(&clients[i], i == 0 ? &local : &any_port, &from.address);
        assert_true(completes(&clients[i].out));
        assert_int_equal(clients[i].out.error, 0);
        assert_true(reaches(&from.accept.count, i + 1));
        assert_int_equal(tested->network->sockname(at.backend, clients[i].io.socket, &name), 0);
        assert_true(pco_address_equal(&from.accept.peer, &name));
        assert_int_not_equal(pco_address_port(&name), 0);
        assert_true(i != 0 || pco_address_equal(&name, &local));
        tested->network->close(at.backend, from.accept.socket, false);
        close_end(&clients[i]);
    }
    close_listener(&from);
}

static void a_local_address_that_is_taken_is_an_error(void **state)
{
    listener from;
    pco_socket sock = PCO_NO_SOCKET;
    pco_error error;

    (void)state;
    open_listener(&from);
    assert_int_equal(tested->network->open(at.backend, PCO_AF_INET, 0, &sock, NULL), 0);
    assert_int_equal(tested->network->bind_local(at.backend, sock, &from.address, &error),
                     PCO_EADDRINUSE);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    tested->network->close(at.backend, sock, false);
    close_listener(&from);
}

/* Each system has its own name for it: nothing connects to many at once. */
static void an_address_that_cannot_be_reached_is_told(void **state)
{
    pco_address *many = NULL;
    size_t count = 0;
    end client;

    (void)state;
    assert_int_equal(tested->network->resolve("224.0.0.1", 9, PCO_AF_INET, 0, &many, &count, NULL),
                     0);
    start_connecting(&client, many);
    assert_true(completes(&client.out));
    assert_int_not_equal(client.out.error, 0);
    assert_int_not_equal(client.out.error, PCO_EUNKNOWN);
    close_end(&client);
    pco__free(many);
}

static void a_socket_that_is_connected_to_itself_is_known_by_its_names(void **state)
{
    pco_address address = free_address();
    pco_address name;
    pco_address peer;
    end client;

    (void)state;
    start_connecting_from(&client, &address, &address);
    assert_true(completes(&client.out));
    assert_int_not_equal(client.out.error, PCO_EUNKNOWN);
    if (client.out.error == 0) { /* some systems refuse */
        assert_int_equal(tested->network->sockname(at.backend, client.io.socket, &name), 0);
        assert_int_equal(tested->network->peername(at.backend, client.io.socket, &peer), 0);
        assert_true(pco_address_equal(&name, &peer));
    }
    close_end(&client);
}

#define BURST 40

typedef struct burst {
    pco_socket sockets[BURST];
    unsigned count;
    unsigned failures;
} burst;

static void accept_on(probe *self, const pco__result *result)
{
    burst *all = self->context;

    if (result->error == 0 && all->count < BURST) {
        all->sockets[all->count++] = result->socket;
    } else {
        all->failures++;
    }
    if (all->count < BURST && all->failures == 0) {
        submit(self, self->op.io, PCO__OP_ACCEPT);
    }
}

static void a_burst_of_clients_is_accepted(void **state)
{
    static end clients[BURST];
    burst all = {.count = 0};
    listener from;
    probe more[4];
    size_t count = tested->accepts < 5 ? tested->accepts - 1 : 4;

    (void)state;
    open_listener(&from);
    memset(more, 0, sizeof more);
    from.accept.then = accept_on;
    from.accept.context = &all;
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    for (size_t i = 0; i < count; i++) {
        more[i].then = accept_on;
        more[i].context = &all;
        submit(&more[i], &from.io, PCO__OP_ACCEPT);
    }
    for (size_t i = 0; i < BURST; i++) {
        start_connecting(&clients[i], &from.address);
    }
    assert_true(reaches(&all.count, BURST));
    assert_int_equal(all.failures, 0);
    for (size_t i = 0; i < BURST; i++) {
        assert_true(completes(&clients[i].out));
        assert_int_equal(clients[i].out.error, 0);
        close_end(&clients[i]);
        tested->network->close(at.backend, all.sockets[i], false);
    }
    for (size_t i = 0; i < count; i++) {
        drain(&more[i]);
    }
    close_listener(&from);
}

static void clients_that_wait_are_accepted_by_a_later_operation(void **state)
{
    listener from;
    end clients[2];

    (void)state;
    open_listener(&from);
    start_connecting(&clients[0], &from.address);
    start_connecting(&clients[1], &from.address);
    assert_true(completes(&clients[0].out));
    assert_true(completes(&clients[1].out));
    for (unsigned i = 0; i < 2; i++) {
        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
        assert_true(reaches(&from.accept.count, i + 1));
        assert_int_equal(from.accept.error, 0);
        tested->network->close(at.backend, from.accept.socket, false);
        close_end(&clients[i]);
    }
    close_listener(&from);
}

/* Closes who has come, and wants the next. */
static bool turn_away(pco__op *op, const pco__result *result)
{
    done(op, result);
    if (result->error == 0) {
        tested->network->close(at.backend, result->socket, false);
    }
    return result->error == 0;
}

static void an_accept_goes_on_as_long_as_its_done_says_so(void **state)
{
    listener from;
    end clients[6];
    enum { CLIENTS = sizeof clients / sizeof clients[0] };

    (void)state;
    open_listener(&from);
    from.accept.op = (pco__op){.io = &from.io, .kind = PCO__OP_ACCEPT, .done = turn_away};
    at.backend->class_->submit(at.backend, &from.accept.op);
    for (unsigned i = 0; i < CLIENTS; i++) { /* one by one, and then several */
        start_connecting(&clients[i], &from.address);
        assert_true(i > 2 || reaches(&from.accept.count, i + 1));
    }
    assert_true(reaches(&from.accept.count, CLIENTS));
    assert_int_equal(from.accept.error, 0);
    assert_true(from.accept.op.in_flight);
    cancel(&from.accept);
    assert_true(reaches(&from.accept.count, CLIENTS + 1));
    assert_int_equal(from.accept.error, PCO_ECANCELED);
    assert_false(from.accept.op.in_flight);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_true(completes(&clients[i].out));
        close_end(&clients[i]);
    }
    close_listener(&from);
}

/* ---- Closing a listener ---- */

#define MOST_ACCEPTS 5

/* In memory of its own, freed in its last done(), so that a use after that is seen. */
typedef struct closed_listener {
    listener base;
    probe accepts[MOST_ACCEPTS];
    unsigned in_flight;
    unsigned canceled;
    unsigned late; /* brought a socket */
} closed_listener;

static struct {
    unsigned gone;
    unsigned canceled;
    unsigned late;
} closed_listeners;

static void accept_has_come_back(probe *self, const pco__result *result)
{
    closed_listener *all = self->context;

    if (result->error == 0) {
        closed_listeners.late++;
        tested->network->close(at.backend, result->socket, false);
    } else if (result->error == PCO_ECANCELED) {
        closed_listeners.canceled++;
    }
    if (--all->in_flight == 0) {
        free(all);
        closed_listeners.gone++;
    }
}

static closed_listener *listen_with_many_accepts(void)
{
    closed_listener *all = calloc(1, sizeof *all);

    assert_non_null(all);
    memset(&closed_listeners, 0, sizeof closed_listeners);
    open_listener(&all->base);
    all->in_flight = tested->accepts < MOST_ACCEPTS ? (unsigned)tested->accepts : MOST_ACCEPTS;
    for (unsigned i = 0; i < all->in_flight; i++) {
        all->accepts[i].then = accept_has_come_back;
        all->accepts[i].context = all;
        submit(&all->accepts[i], &all->base.io, PCO__OP_ACCEPT);
    }
    return all;
}

static void a_listener_may_be_closed_with_its_accepts_in_flight(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        closed_listener *all = listen_with_many_accepts();
        unsigned accepts = all->in_flight;

        if (round >= 1) {
            poll_for(0);
        }
        if (round == 2) {
            cancel(&all->accepts[0]);
        }
        at.in_call = true;
        close_io(&all->base.io, false);
        at.in_call = false;
        assert_int_equal(all->base.io.socket, PCO_NO_SOCKET);
        assert_int_equal(all->in_flight, accepts);
        cancel(&all->accepts[0]); /* does nothing */
        assert_true(reaches(&closed_listeners.gone, 1));
        poll_for(0);
        assert_int_equal(closed_listeners.canceled, accepts);
    }
}

static void a_closed_listener_gives_its_port_back_before_its_accepts_come_back(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    pco_address address = all->base.address;
    pco__listener_options options = {0};
    listener next;
    end client;

    (void)state;
    poll_for(0);
    close_io(&all->base.io, false);
    memset(&next, 0, sizeof next);
    assert_int_equal(tested->network->bind(at.backend, &address, &options, &next.io.socket, NULL),
                     0);
    start_connecting(&client, &address); /* nobody listens */
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    assert_int_equal(tested->network->listen(at.backend, next.io.socket, 100, NULL), 0);
    attach(&next.io, PCO__IO_LISTENER);
    next.address = address;
    tested->network->close(at.backend, connect_one(&next, &client), false);
    close_end(&client);
    close_listener(&next);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.canceled, accepts);
}

static void a_client_that_has_come_when_the_listener_is_closed_is_let_go(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    end client;

    (void)state;
    start_connecting(&client, &all->base.address);
    close_io(&all->base.io, false);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.canceled + closed_listeners.late, accepts);
    assert_true(completes(&client.out));
    if (client.out.error == 0) {
        submit(&client.in, &client.io, PCO__OP_RECV);
        assert_true(completes(&client.in));
        assert_true(client.in.error == PCO_ECONNRESET || client.in.length == 0);
    }
    close_end(&client);
}

/* The first accept to end closes the listener with the others in flight. */
static void close_my_listener(probe *self, const pco__result *result)
{
    closed_listener *all = self->context;

    if (all->base.io.socket != PCO_NO_SOCKET) {
        close_io(&all->base.io, false);
    }
    accept_has_come_back(self, result);
}

static void an_accepts_done_may_close_its_listener(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    end client;

    (void)state;
    for (unsigned i = 0; i < accepts; i++) {
        all->accepts[i].then = close_my_listener;
    }
    start_connecting(&client, &all->base.address);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.late, 1);
    assert_int_equal(closed_listeners.canceled, accepts - 1);
    assert_true(completes(&client.out));
    close_end(&client);
}

/* A bound socket is given back, as if nothing had been: it can be attached again, and listen. */
static void a_listener_that_was_detached_is_as_it_was(void **state)
{
    listener from;
    end client;
    end server;

    (void)state;
    memset(&from, 0, sizeof from);
    from.io.socket = bound_socket(&from.address);
    for (unsigned i = 0; i < 3; i++) {
        int code = at.backend->class_->attach(at.backend, &from.io, PCO__IO_LISTENER, NULL);
        if (i != 0 && code != 0 && strcmp(tested->name, "iocp") == 0) {
            pco__system_network.close(NULL, from.io.socket, false);
            print_message("a socket cannot leave its completion port here (as with Wine 8)\n");
            skip();
        }
        assert_int_equal(code, 0);
        at.attached++;
        poll_for(0);
        at.backend->class_->detach(at.backend, &from.io);
        at.attached--;
        poll_for(0);
    }
    attach(&from.io, PCO__IO_LISTENER);
    assert_int_equal(pco__system_network.listen(NULL, from.io.socket, 100, NULL), 0);
    attach_accepted(&server, connect_one(&from, &client));
    close_end(&client);
    close_end(&server);
    close_listener(&from);
}

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(a_connection_is_accepted_with_its_peers_address),
    TEST(a_refused_connect_says_so),
    TEST(a_connect_comes_from_the_address_that_was_bound),
    TEST(a_local_address_that_is_taken_is_an_error),
    TEST(an_address_that_cannot_be_reached_is_told),
    TEST(a_socket_that_is_connected_to_itself_is_known_by_its_names),
    TEST(a_burst_of_clients_is_accepted),
    TEST(clients_that_wait_are_accepted_by_a_later_operation),
    TEST(an_accept_goes_on_as_long_as_its_done_says_so),
    TEST(a_listener_may_be_closed_with_its_accepts_in_flight),
    TEST(a_closed_listener_gives_its_port_back_before_its_accepts_come_back),
    TEST(a_client_that_has_come_when_the_listener_is_closed_is_let_go),
    TEST(an_accepts_done_may_close_its_listener),
    TEST(a_listener_that_was_detached_is_as_it_was),
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
