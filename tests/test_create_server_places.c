/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_server listens where it was told, and as it was told: hosts, port, family, flags,
 * the two ways of reusing, start_serving, max_connections.
 * Method: real sockets of 127.0.0.1 and ::1, and clients in the same loop.
 */
#include "behaviour_create.h"

#include "system/network.h"
#include "system/platform.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

/* ---- Where it listens ---- */

static void one_host_is_one_socket(void **state)
{
    (void)state;
    serve();
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_host(at.server, 0, "127.0.0.1");
    assert_int_not_equal(port_of(at.server, 0), 0);
    assert_true(pco_server_get_socket(at.server, 0) != PCO_NO_SOCKET);
    assert_true(pco_server_is_serving(at.server));
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void the_port_is_the_one_that_was_asked_for(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = quiet_host();
    options.port = find_free_port();
    serve_with(&options);
    assert_int_equal(port_of(at.server, 0), options.port);
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = "localhost";
    serve_with(&options);
    assert_true(pco_server_get_socket_count(at.server) >= 1);
    for (size_t i = 0; i < pco_server_get_socket_count(at.server); i++) {
        pco_address address = address_of(at.server, i);
        assert_client_comes_through(&address);
    }
}

static void no_host_means_all_interfaces(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    serve_with(&options);
    assert_everywhere(at.server);
}

static void an_empty_host_means_all_interfaces(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = "";
    serve_with(&options);
    assert_everywhere(at.server);
}

static void among_hosts_an_empty_one_means_all_interfaces(void **state)
{
    (void)state;
    const char *const hosts[] = {"", ""};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 1;
    serve_with(&options);
    assert_everywhere(at.server);
    pco_server_free(at.server);
    at.server = NULL;
    options.hosts_count = 2;
    serve_with(&options);
    assert_everywhere(at.server); /* the second is a duplicate of the first */
}

static void the_family_chooses_among_the_interfaces(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.family = PCO_AF_INET;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_host(at.server, 0, "0.0.0.0");
    pco_server_free(at.server);
    at.server = NULL;
    need_ipv6();
    options.family = PCO_AF_INET6;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_host(at.server, 0, "::");
}

static void without_passive_no_host_means_loopback(void **state)
{
    (void)state;
    const int flags[] = {PCO_AI_NUMERICHOST, PCO_AI_NONE, PCO_AI_NONE | PCO_AI_NUMERICHOST};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        pco_server_options options = server_options();
        options.host = NULL;
        options.flags = flags[i];
        serve_with(&options);
        assert_true(pco_server_get_socket_count(at.server) >= 1);
        for (size_t j = 0; j < pco_server_get_socket_count(at.server); j++) {
            pco_address address = address_of(at.server, j);
            bool is_six = pco_address_family(&address) == PCO_AF_INET6;
            assert_host(at.server, j, is_six ? "::1" : "127.0.0.1");
        }
        pco_server_free(at.server);
        at.server = NULL;
    }
}

static void a_service_in_digits_is_a_port(void **state)
{
    (void)state;
    char digits[16];
    pco_server_options options = server_options();
    int port = find_free_port();
    snprintf(digits, sizeof digits, "%d", port);
    options.host = quiet_host();
    options.service = digits;
    serve_with(&options);
    assert_int_equal(port_of(at.server, 0), port);
    pco_server_free(at.server);
    snprintf(digits, sizeof digits, "%012d", port);
    serve_with(&options);
    assert_int_equal(port_of(at.server, 0), port);
    pco_server_free(at.server);
    options.service = "0";
    options.same_port = PCO_ON; /* which chooses one, as it does for the port of 0 */
    serve_with(&options);
    assert_true(port_of(at.server, 0) != 0);
}

static void known_flags_are_accepted(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.flags = PCO_AI_PASSIVE | PCO_AI_NUMERICHOST;
    serve_with(&options);
    assert_host(at.server, 0, "127.0.0.1");
}

static void the_sockets_are_in_the_order_of_the_hosts(void **state)
{
    (void)state;
    need_ipv6();
    const char *hosts[] = {"127.0.0.1", "::1"};
    for (int turn = 0; turn < 2; turn++) {
        pco_server_options options = server_options();
        options.host = NULL;
        options.hosts = hosts;
        options.hosts_count = 2;
        serve_with(&options);
        assert_int_equal(pco_server_get_socket_count(at.server), 2);
        assert_host(at.server, 0, hosts[0]);
        assert_host(at.server, 1, hosts[1]);
        for (size_t i = 0; i < 2; i++) {
            pco_address address = address_of(at.server, i);
            assert_client_comes_through(&address);
        }
        pco_server_free(at.server);
        at.server = NULL;
        hosts[0] = "::1";
        hosts[1] = "127.0.0.1";
    }
}

static void duplicates_among_the_hosts_are_dropped(void **state)
{
    (void)state;
    const char *const hosts[] = {quiet_host(), quiet_host(), quiet_host()};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 3;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    pco_server_free(at.server);
    at.server = NULL;
    options.port = find_free_port();
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
}

static void the_first_of_the_duplicates_keeps_its_place(void **state)
{
    (void)state;
    need_ipv6();
    const char *const hosts[] = {"::1", "127.0.0.1", "::1", "127.0.0.1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 4;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 2);
    assert_host(at.server, 0, "::1");
    assert_host(at.server, 1, "127.0.0.1");
}

static void port_zero_is_a_free_port_for_each_socket(void **state)
{
    (void)state;
    need_ipv6();
    const char *const hosts[] = {"127.0.0.1", "::1"};
    bool differed = false;
    for (int i = 0; i < 4; i++) { /* the system may choose the same number by chance, once */
        pco_server_options options = server_options();
        options.host = NULL;
        options.hosts = hosts;
        options.hosts_count = 2;
        options.same_port = i % 2 == 0 ? PCO_DEFAULT : PCO_OFF;
        serve_with(&options);
        assert_int_not_equal(port_of(at.server, 0), 0);
        assert_int_not_equal(port_of(at.server, 1), 0);
        differed = differed || port_of(at.server, 0) != port_of(at.server, 1);
        pco_server_free(at.server);
        at.server = NULL;
    }
    assert_true(differed);
}

static void same_port_makes_it_one_for_all_sockets(void **state)
{
    (void)state;
    need_ipv6();
    const char *const hosts[] = {"127.0.0.1", "::1", "127.0.0.1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 3;
    options.same_port = PCO_ON;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 2);
    assert_int_not_equal(port_of(at.server, 0), 0);
    assert_int_equal(port_of(at.server, 0), port_of(at.server, 1));
}

static void same_port_works_for_all_interfaces(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.same_port = PCO_ON;
    serve_with(&options);
    assert_everywhere(at.server);
    size_t last = pco_server_get_socket_count(at.server) - 1;
    assert_int_equal(port_of(at.server, 0), port_of(at.server, last));
}

static void same_port_leaves_a_port_that_was_asked_for(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = quiet_host();
    options.port = find_free_port();
    options.same_port = PCO_ON;
    serve_with(&options);
    assert_int_equal(port_of(at.server, 0), options.port);
}

/* Were V6ONLY not set, "::" would want the port for IPv4, too. */
static void a_socket_of_ipv6_takes_no_port_of_ipv4(void **state)
{
    (void)state;
    need_ipv6();
    pco_server *other = NULL;
    pco_server_options options = server_options();
    options.host = "0.0.0.0";
    serve_with(&options);
    options.host = "::";
    options.port = port_of(at.server, 0);
    assert_int_equal(pco_loop_create_server(at.loop, &options, &other, NULL), 0);
    assert_host(other, 0, "::");
    assert_int_equal(port_of(other, 0), options.port);
    pco_server_free(other);
}

static void an_index_out_of_range_gives_no_socket(void **state)
{
    (void)state;
    pco_address address;
    serve();
    assert_int_equal(pco_server_get_socket(at.server, 1), PCO_NO_SOCKET);
    assert_int_equal(pco_server_get_socket(at.server, SIZE_MAX), PCO_NO_SOCKET);
    assert_int_equal(pco_server_get_sockname(at.server, 1, &address), PCO_EINVAL);
}

/* ---- reuse_address and reuse_port ---- */

/* The side that closes first keeps its address in TIME_WAIT. */
static void leave_behind_an_address_in_time_wait(void)
{
    peer *client = join();
    assert_true(reaches(&at.made, 1));
    pco_transport_close(newest()->transport);
    assert_true(all_are_lost());
    leave(client);
    pco_server_close(at.server);
    let_pass(3);
}

static void an_address_in_time_wait_can_be_bound_again(void **state)
{
    (void)state;
    serve();
    pco_server_options options = server_options();
    options.port = port_of(at.server, 0);
    leave_behind_an_address_in_time_wait();
    pco_server_free(at.server);
    at.server = NULL;
    serve_with(&options);
    assert_int_equal(port_of(at.server, 0), options.port);
}

static void reuse_address_may_be_chosen(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.reuse_address = PCO_OFF;
    serve_with(&options);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
    pco_server_free(at.server);
    at.server = NULL;
    options.reuse_address = PCO_ON;
    serve_with(&options);
    address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void two_servers_share_a_port_with_reuse_port(void **state)
{
    (void)state;
    pco_error error = {0};
    pco_server_options options = server_options();
    options.reuse_port = PCO_ON;
    if (pco__system_network.reuse_port_supported(&error) != 0) {
        options.host = "not a name"; /* it is refused before anything else is tried */
        assert_refused(&options, PCO_ENOTSUP, "reuse_port");
        print_message("skipped: this system has no reuse_port\n");
        skip();
    }
    serve_with(&options);
    options.port = port_of(at.server, 0);
    pco_server *other = NULL;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &other, &error), 0);
    assert_int_equal(port_of(other, 0), options.port);

    /* One of the two closes; the other goes on serving at the port. */
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(3);
    pco_address address = address_of(other, 0);
    assert_client_comes_through(&address);
    pco_server_free(other);
}

static void all_who_share_a_port_must_have_said_so(void **state)
{
    (void)state;
    if (pco__system_network.reuse_port_supported(NULL) != 0) {
        print_message("skipped: this system has no reuse_port\n");
        skip();
    }
    serve();
    pco_server_options options = server_options();
    options.port = port_of(at.server, 0);
    options.reuse_port = PCO_ON;
    assert_refused(&options, PCO_EADDRINUSE, "127.0.0.1");
}

/* ---- start_serving ---- */

static void without_start_serving_clients_are_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    assert_false(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_int_not_equal(port_of(at.server, 0), 0);
    peer *client = join();
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(client->error, PCO_ECONNREFUSED);

    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    assert_true(pco_server_is_serving(at.server));
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void a_server_that_does_not_serve_keeps_its_port(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    options.reuse_address = PCO_OFF;
    serve_with(&options);
    options.port = port_of(at.server, 0);
    assert_refused(&options, PCO_EADDRINUSE, "127.0.0.1");
}

/* ---- max_connections ---- */

static void no_more_than_max_connections_are_served_at_once(void **state)
{
    (void)state;
    peer *clients[5];
    pco_server_options options = server_options();
    options.max_connections = 2;
    serve_with(&options);
    for (size_t i = 0; i < 5; i++) {
        clients[i] = join();
        assert_true(reaches(&clients[i]->connected, 1));
    }
    assert_true(reaches(&at.made, 2));
    let_pass(20);
    assert_int_equal(at.made, 2);
    assert_int_equal(counters_of(at.server).active, 2);
    for (unsigned gone = 1; gone <= 3; gone++) {
        /* Whichever ends makes room for exactly one. */
        pco_transport_abort(at.records->transport);
        assert_true(reaches(&at.made, 2 + gone));
        let_pass(20);
        assert_int_equal(at.made, 2 + gone);
        assert_int_equal(at.lost, gone);
        assert_int_equal(counters_of(at.server).active, 2);
    }
    assert_int_equal(counters_of(at.server).refused, 0);
}

static void one_connection_at_a_time_is_kept_over_two_listeners(void **state)
{
    (void)state;
    need_ipv6();
    const char *const hosts[] = {"127.0.0.1", "::1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    options.max_connections = 1;
    serve_with(&options);
    pco_address address[2] = {address_of(at.server, 0), address_of(at.server, 1)};
    for (unsigned i = 0; i < 6; i++) {
        join_at(&address[i % 2]);
    }
    for (unsigned served = 1; served <= 6; served++) {
        assert_true(reaches(&at.made, served));
        let_pass(20);
        assert_int_equal(at.made, served);
        assert_int_equal(counters_of(at.server).active, 1);
        pco_transport_close(newest()->transport);
    }
    assert_true(all_are_lost());
    assert_int_equal(counters_of(at.server).accepted, 6);
    assert_int_equal(counters_of(at.server).refused, 0);
}

static void who_waits_for_room_is_refused_when_the_server_closes(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.max_connections = 1;
    serve_with(&options);
    peer *first = join();
    assert_true(reaches(&at.made, 1));
    peer *second = join();
    assert_true(reaches(&second->connected, 1));
    let_pass(20);
    pco_server_close(at.server);
    assert_true(reaches(&second->ended, 1));
    assert_int_equal(at.made, 1);
    assert_int_equal(first->ended, 0);
    peer_send(first, "still here", 10);
    assert_true(grows_to(&newest()->length, 10));
}

static const struct CMUnitTest tests[] = {
    TEST(one_host_is_one_socket),
    TEST(the_port_is_the_one_that_was_asked_for),
    TEST(a_name_is_looked_up),
    TEST(no_host_means_all_interfaces),
    TEST(an_empty_host_means_all_interfaces),
    TEST(among_hosts_an_empty_one_means_all_interfaces),
    TEST(the_family_chooses_among_the_interfaces),
    TEST(a_service_in_digits_is_a_port),
    TEST(without_passive_no_host_means_loopback),
    TEST(known_flags_are_accepted),
    TEST(the_sockets_are_in_the_order_of_the_hosts),
    TEST(duplicates_among_the_hosts_are_dropped),
    TEST(the_first_of_the_duplicates_keeps_its_place),
    TEST(port_zero_is_a_free_port_for_each_socket),
    TEST(same_port_makes_it_one_for_all_sockets),
    TEST(same_port_works_for_all_interfaces),
    TEST(same_port_leaves_a_port_that_was_asked_for),
    TEST(a_socket_of_ipv6_takes_no_port_of_ipv4),
    TEST(an_index_out_of_range_gives_no_socket),
    TEST(an_address_in_time_wait_can_be_bound_again),
    TEST(reuse_address_may_be_chosen),
    TEST(two_servers_share_a_port_with_reuse_port),
    TEST(all_who_share_a_port_must_have_said_so),
    TEST(without_start_serving_clients_are_refused),
    TEST(a_server_that_does_not_serve_keeps_its_port),
    TEST(no_more_than_max_connections_are_served_at_once),
    TEST(one_connection_at_a_time_is_kept_over_two_listeners),
    TEST(who_waits_for_room_is_refused_when_the_server_closes),
};

int main(void)
{
    return run_here("create_server_places", tests, sizeof tests / sizeof tests[0]);
}
