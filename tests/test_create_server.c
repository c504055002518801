/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_server answers every bad input with the right code and a sentence that names the
 * culprit, and loses nothing: no memory, no socket, and not the caller's own one.
 * Method: real sockets of 127.0.0.1 and ::1. After each refusal the open sockets are counted. What
 * only the system's own calls can show is in posix/.
 */
#include "behaviour_create.h"
#include "fake_backend.h"

#include "system/network.h"
#include "system/platform.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

/* ---- Refusals ---- */

static void the_options_cannot_be_left_out(void **state)
{
    (void)state;
    assert_refused(NULL, PCO_EINVAL, "options");
}

static void a_size_of_zero_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.size = 0;
    assert_refused(&options, PCO_EINVAL, "size");
}

static void a_size_larger_than_known_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.size = sizeof options + 1;
    assert_refused(&options, PCO_EINVAL, "size");
}

static void of_a_shorter_struct_only_what_it_has_is_read(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.size = offsetof(pco_server_options, close_timeout);
    options.close_timeout = NAN;
    options.lingering_close = 77;
    serve_with(&options);
}

static void a_protocol_factory_is_required(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.protocol_factory = NULL;
    assert_refused(&options, PCO_EINVAL, "protocol_factory");
}

static void times_of_tls_without_tls_are_refused(void **state)
{
    (void)state;
    const double times[] = {1.0, -1.0, NAN, INFINITY};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        pco_server_options options = server_options();
        options.ssl_handshake_timeout = times[i];
        assert_refused(&options, PCO_EINVAL, "ssl_handshake_timeout");
        options.ssl_handshake_timeout = 0;
        options.ssl_shutdown_timeout = times[i];
        assert_refused(&options, PCO_EINVAL, "ssl_shutdown_timeout");
    }
    pco_server_options options = server_options();
    options.ssl_half_close = PCO_ON;
    assert_refused(&options, PCO_EINVAL, "ssl_half_close is only meaningful with TLS");
}

static void times_of_tls_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    if (!peer_has_tls()) {
        print_message("skipped: this library has no TLS\n");
        skip();
    }
    const double times[] = {-0.001, NAN, INFINITY, -INFINITY};
    pco_ssl_context *context = peer_server_context();
    assert_non_null(context);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        pco_server_options options = server_options();
        options.ssl = context;
        options.ssl_handshake_timeout = times[i];
        assert_refused(&options, PCO_EINVAL, "ssl_handshake_timeout");
        options.ssl_handshake_timeout = 0;
        options.ssl_shutdown_timeout = times[i];
        assert_refused(&options, PCO_EINVAL, "ssl_shutdown_timeout");
    }
}

static void a_close_timeout_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    const double times[] = {-1.0, NAN, -INFINITY};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        pco_server_options options = server_options();
        options.close_timeout = times[i];
        assert_refused(&options, PCO_EINVAL, "close_timeout");
    }
}

static void a_close_timeout_may_be_infinite(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.close_timeout = INFINITY;
    serve_with(&options);
}

static void a_switch_must_be_one(void **state)
{
    (void)state;
    const struct {
        size_t offset;
        const char *name;
    } switches[] = {
        {offsetof(pco_server_options, same_port), "same_port"},
        {offsetof(pco_server_options, reuse_address), "reuse_address"},
        {offsetof(pco_server_options, reuse_port), "reuse_port"},
        {offsetof(pco_server_options, keep_alive), "keep_alive"},
        {offsetof(pco_server_options, start_serving), "start_serving"},
        {offsetof(pco_server_options, lingering_close), "lingering_close"},
    };
    const int wrong[] = {3, -1, 256};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
            pco_server_options options = server_options();
            memcpy((char *)&options + switches[i].offset, &wrong[j], sizeof wrong[j]);
            assert_refused(&options, PCO_EINVAL, switches[i].name);
        }
    }
}

static void what_keeps_connections_alive_must_make_sense(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.keep_alive_idle = 60;
    assert_refused(&options, PCO_EINVAL, "keep_alive_idle is only meaningful where keep_alive");
    options = server_options();
    options.keep_alive = PCO_OFF;
    options.keep_alive_count = 2;
    assert_refused(&options, PCO_EINVAL, "keep_alive_count");
    const double wrong[] = {-1.0, NAN, INFINITY, 1e10};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        options = server_options();
        options.keep_alive = PCO_ON;
        options.keep_alive_idle = wrong[i];
        assert_refused(&options, PCO_EINVAL, "keep_alive_idle");
        options.keep_alive_idle = 0;
        options.keep_alive_interval = wrong[i];
        assert_refused(&options, PCO_EINVAL, "keep_alive_interval");
        options = server_options();
        options.user_timeout = wrong[i];
        assert_refused(&options, PCO_EINVAL, "user_timeout");
    }
    const int counts[] = {-1, 128, INT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        options = server_options();
        options.keep_alive = PCO_ON;
        options.keep_alive_count = counts[i];
        assert_refused(&options, PCO_EINVAL, "keep_alive_count");
    }
}

static void what_the_system_lacks_is_refused_at_once(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    pco_loop *loop = fake_loop_new();
    pco_server *server = NULL;
    pco_error error;
    options.user_timeout = 1;
    fake_lacks = "user_timeout";
    assert_int_equal(pco_loop_create_server(loop, &options, &server, &error), PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "user_timeout"));
    fake_lacks = NULL;
    assert_int_equal(pco_loop_create_server(loop, &options, &server, &error), 0);
    pco_server_free(server);
    pco_loop_free(loop);
}

/* ---- prepare_socket ---- */

static struct {
    unsigned calls;
    unsigned bound; /* ...of which the socket had a port already */
    unsigned mixed; /* ...with another family than the socket's, or another context */
    int code;       /* what it returns, */
    unsigned from;  /* from this call on */
} prepared;

static int prepare_socket(pco_socket sock, int family, void *context)
{
    pco_address name = {0};
    int code = pco__system_network.sockname(NULL, sock, &name);
    prepared.calls++;
    prepared.bound += code == 0 && pco_address_port(&name) != 0;
    prepared.mixed += context != &prepared || (family != PCO_AF_INET && family != PCO_AF_INET6) ||
                      (code == 0 && pco_address_family(&name) != family);
    return prepared.calls >= prepared.from ? prepared.code : 0;
}

static pco_server_options options_that_prepare(int code)
{
    pco_server_options options = server_options();
    memset(&prepared, 0, sizeof prepared);
    prepared.code = code;
    options.prepare_socket = prepare_socket;
    options.context = &prepared;
    return options;
}

static void each_socket_is_prepared_before_it_is_bound(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "::1"};
    unsigned count = has_ipv6() ? 2 : 1;
    pco_server_options options = options_that_prepare(0);
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = count;
    serve_with(&options);
    assert_int_equal(prepared.calls, count);
    assert_int_equal(prepared.bound, 0);
    assert_int_equal(prepared.mixed, 0);
    pco_address address = address_of(at.server, count - 1);
    assert_client_comes_through(&address);
}

static void what_prepare_socket_returns_is_fatal(void **state)
{
    (void)state;
    pco_server_options options = options_that_prepare(PCO_EACCES);
    assert_refused(&options, PCO_EACCES, "prepare_socket for 127.0.0.1 port 0: permission denied");
    options = options_that_prepare(77);
    assert_refused(&options, PCO_EUNKNOWN, "prepare_socket");
}

/* By codes, too, after which another address, or another port, would be tried. */
static void after_it_nothing_else_is_tried(void **state)
{
    (void)state;
    pco_server_options options = options_that_prepare(PCO_EADDRNOTAVAIL);
    pco_server *server = NULL;
    if (has_ipv6()) {
        options.host = "localhost"; /* which may have two addresses */
    }
    assert_int_equal(pco_loop_create_server(at.loop, &options, &server, NULL), PCO_EADDRNOTAVAIL);
    assert_int_equal(prepared.calls, 1);
    options.same_port = PCO_ON;
    prepared.code = PCO_EADDRINUSE;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &server, NULL), PCO_EADDRINUSE);
    assert_int_equal(prepared.calls, 2);
}

static void a_sock_is_not_prepared(void **state)
{
    (void)state;
    pco_server_options options = options_that_prepare(PCO_EACCES);
    options.host = NULL;
    options.sock = bound_socket();
    serve_with(&options);
    assert_int_equal(prepared.calls, 0);
}

static void a_port_out_of_range_is_refused(void **state)
{
    (void)state;
    const int ports[] = {-1, 65536, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        pco_server_options options = server_options();
        options.port = ports[i];
        assert_refused(&options, PCO_EINVAL, "port");
    }
}

static void a_family_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    const int families[] = {PCO_AF_UNIX, 2, 10, -1};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        pco_server_options options = server_options();
        options.family = families[i];
        assert_refused(&options, PCO_EINVAL, "family");
    }
}

static void flags_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    const int flags[] = {0x2, 0x40, 0x40000000, -1};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        pco_server_options options = server_options();
        options.flags = flags[i];
        assert_refused(&options, PCO_EINVAL, "flags");
    }
}

static void a_negative_backlog_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.backlog = -1;
    assert_refused(&options, PCO_EINVAL, "backlog");
}

static void host_and_hosts_together_are_refused(void **state)
{
    (void)state;
    const char *hosts[] = {"127.0.0.1"};
    pco_server_options options = server_options();
    options.hosts = hosts;
    options.hosts_count = 1;
    assert_refused(&options, PCO_EINVAL, "hosts");
}

static void hosts_without_a_single_one_are_refused(void **state)
{
    (void)state;
    const char *hosts[] = {"127.0.0.1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    assert_refused(&options, PCO_EINVAL, "hosts");
    options.hosts = NULL;
    options.hosts_count = 1;
    assert_refused(&options, PCO_EINVAL, "hosts");
}

/* ---- Names and addresses that are not to be had ---- */

static void a_name_that_does_not_resolve_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    pco_server *server = NULL;
    pco_error error = {0};
    options.host = "portico-test.invalid"; /* RFC 6761: never a name */
    unsigned sockets = count_sockets();
    int code = pco_loop_create_server(at.loop, &options, &server, &error);
    assert_true(code == PCO_ENONAME || code == PCO_ERESOLVE); /* ...unless nobody can be asked */
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.message, "portico-test.invalid"));
    assert_null(server);
    assert_int_equal(count_sockets(), sockets);
}

static void what_can_be_no_name_is_refused(void **state)
{
    (void)state;
    const char *const names[] = {"not a name", "127.0.0.1 ", " ", "256.256.256.256.256", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pco_server_options options = server_options();
        options.host = names[i];
        options.flags = PCO_AI_NUMERICHOST; /* nobody is asked */
        assert_refused(&options, PCO_ENONAME, names[i]);
    }
}

static void a_name_of_any_length_is_refused_with_a_whole_sentence(void **state)
{
    (void)state;
    char name[4000];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    pco_server_options options = server_options();
    options.host = name;
    assert_refused(&options, PCO_ENONAME, "aaaa");
}

static void numerichost_asks_for_no_name(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.flags = PCO_AI_NUMERICHOST;
    options.host = "localhost";
    assert_refused(&options, PCO_ENONAME, "localhost");
    options.host = "127.0.0.1";
    serve_with(&options);
}

static void an_address_of_another_family_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.family = PCO_AF_INET6;
    assert_refused(&options, PCO_ENONAME,
                   "resolve 127.0.0.1: it is an IPv4 address, and family asks for IPv6");
    options.host = "::1";
    options.family = PCO_AF_INET;
    assert_refused(&options, PCO_ENONAME,
                   "resolve ::1: it is an IPv6 address, and family asks for IPv4");
}

static void an_address_not_of_this_machine_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = FOREIGN_ADDRESS;
    assert_refused(&options, PCO_EADDRNOTAVAIL, FOREIGN_ADDRESS);
}

static void an_address_of_no_interface_is_refused(void **state)
{
    (void)state;
    need_ipv6();
    pco_server_options options = server_options();
    options.host = "fe80::1%999999"; /* the number of no interface */
    assert_refused(&options, PCO_EADDRNOTAVAIL, "fe80::1%999999");
}

static void a_port_in_use_is_refused_and_named(void **state)
{
    (void)state;
    char place[64];
    serve();
    pco_server_options options = server_options();
    options.port = port_of(at.server, 0);
    snprintf(place, sizeof place, "bind 127.0.0.1 port %d", options.port);
    assert_refused(&options, PCO_EADDRINUSE, place);
    assert_true(pco_server_is_serving(at.server));
}

static void if_one_host_fails_the_good_ones_are_closed_again(void **state)
{
    (void)state;
    const char *hosts[] = {quiet_host(), FOREIGN_ADDRESS};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    options.port = find_free_port();
    assert_refused(&options, PCO_EADDRNOTAVAIL, FOREIGN_ADDRESS);
    assert_true(can_be_bound(options.port));
    hosts[1] = "not a name";
    assert_refused(&options, PCO_ENONAME, "not a name");
    assert_true(can_be_bound(options.port));
}

static void if_one_port_is_in_use_the_good_ones_are_closed_again(void **state)
{
    (void)state;
    need_ipv6();
    const char *hosts[] = {"::1", "127.0.0.1"};
    serve();
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    options.port = port_of(at.server, 0);
    assert_refused(&options, PCO_EADDRINUSE, "127.0.0.1");
    options.hosts_count = 1;
    pco_server *server = NULL;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &server, NULL), 0);
    pco_server_free(server);
}

/* One of a host's addresses being in use is no reason to be content with the other. */
static void half_of_all_interfaces_is_not_enough(void **state)
{
    (void)state;
    need_ipv6();
    pco_server_options options = server_options();
    options.host = "0.0.0.0";
    serve_with(&options);
    options.host = NULL;
    options.port = port_of(at.server, 0);
    assert_refused(&options, PCO_EADDRINUSE, "0.0.0.0");
    options.host = "::";
    pco_server *server = NULL;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &server, NULL), 0);
    pco_server_free(server);
}

static void checks_come_before_the_system_is_asked(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = "not a name";
    options.lingering_close = 5;
    assert_refused(&options, PCO_EINVAL, "lingering_close");
}

/* ---- sock ---- */

static void a_sock_of_the_callers_is_taken_over(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_address address;
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_int_equal(pco__system_network.sockname(NULL, sock, &address), 0);
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_int_equal(pco_server_get_socket(at.server, 0), sock);
    pco_address served = address_of(at.server, 0);
    assert_true(pco_address_equal(&served, &address));
    assert_client_comes_through(&address);

    /* It is the server's now. */
    pco_server_close(at.server);
    let_pass(3);
    assert_false(is_open(sock));
}

static void a_sock_that_listens_already_is_taken_over(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_int_equal(pco__system_network.listen(NULL, sock, 5, NULL), 0);
    serve_with(&options);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void a_sock_that_does_not_serve_yet_is_closed_with_the_server(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    options.start_serving = PCO_OFF;
    serve_with(&options);
    assert_true(is_open(sock));
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(3);
    assert_false(is_open(sock));
}

static void with_has_sock_any_number_is_a_socket(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.has_sock = PCO_ON;
    options.sock = PCO_NO_SOCKET;
    assert_refused(&options, PCO_ENOTSOCK, "sock");
    pco_socket sock = bound_socket();
    options.sock = sock;
    serve_with(&options);
    assert_int_equal(pco_server_get_socket(at.server, 0), sock);
}

static void has_sock_and_what_contradicts_it_are_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.has_sock = PCO_ON; /* of 0, and there is a host */
    assert_refused(&options, PCO_EINVAL, "sock");
    options.host = NULL;
    options.service = "80";
    assert_refused(&options, PCO_EINVAL, "service");
    options.service = NULL;
    options.has_sock = 3;
    assert_refused(&options, PCO_EINVAL, "has_sock");
    options.has_sock = PCO_OFF;
    options.sock = 5;
    assert_refused(&options, PCO_EINVAL, "has_sock");
    options.sock = PCO_NO_SOCKET;
    options.host = "127.0.0.1";
    serve_with(&options);
}

static void null_among_the_hosts_is_refused(void **state)
{
    (void)state;
    const char *hosts[] = {"127.0.0.1", NULL};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    assert_refused(&options, PCO_EINVAL, "hosts[1]");
    hosts[0] = NULL;
    options.hosts_count = 1;
    assert_refused(&options, PCO_EINVAL, "hosts[0]");
}

static void services_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    const char *const unknown[] = {"no-such-service.test", "", "http and more", "80 ", "-1"};
    pco_server_options options = server_options();
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        options.service = unknown[i];
        assert_refused(&options, PCO_ENONAME, unknown[i]);
    }
    options.service = "65536";
    assert_refused(&options, PCO_EINVAL, "65536");
    options.service = "00000000000000000000000000000000000000000000000000000000065536";
    assert_refused(&options, PCO_EINVAL, "service");
    options.service = "80";
    options.port = 80;
    assert_refused(&options, PCO_EINVAL, "service");
}

static void no_sock_is_zero_or_minus_one(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.sock = PCO_NO_SOCKET;
    serve_with(&options);
    assert_host(at.server, 0, "127.0.0.1");
}

static void a_sock_with_a_host_or_a_port_is_refused_and_stays_the_callers(void **state)
{
    (void)state;
    const char *hosts[] = {"127.0.0.1"};
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.sock = sock;
    assert_refused(&options, PCO_EINVAL, "sock");
    options.host = "";
    assert_refused(&options, PCO_EINVAL, "sock");
    options.host = NULL;
    options.port = 1;
    assert_refused(&options, PCO_EINVAL, "sock");
    options.port = 0;
    options.hosts = hosts;
    options.hosts_count = 1;
    assert_refused(&options, PCO_EINVAL, "sock");
    assert_true(is_open(sock));

    /* Nothing has happened to it. */
    options.hosts = NULL;
    options.hosts_count = 0;
    serve_with(&options);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void the_sock_stays_the_callers_after_every_refusal(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options good = server_options();
    good.host = NULL;
    good.sock = sock;
    pco_server_options bad = good;
    bad.protocol_factory = NULL;
    assert_refused(&bad, PCO_EINVAL, "protocol_factory");
    bad = good;
    bad.backlog = -5;
    assert_refused(&bad, PCO_EINVAL, "backlog");
    bad = good;
    bad.keep_alive = 9;
    assert_refused(&bad, PCO_EINVAL, "keep_alive");
    bad = good;
    bad.ssl_handshake_timeout = 3;
    assert_refused(&bad, PCO_EINVAL, "ssl_handshake_timeout");
    bad = good;
    bad.size = 0;
    assert_refused(&bad, PCO_EINVAL, "size");
    assert_true(is_open(sock));
    pco__system_network.close(NULL, sock, false);
}

static void a_sock_that_is_no_socket_is_refused(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco__system_network.close(NULL, sock, false); /* a number that was one */
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_refused(&options, PCO_ENOTSOCK, "sock");
    options.sock = (pco_socket)0x7fffff0;
    assert_refused(&options, PCO_ENOTSOCK, "sock");
}

static void a_connected_sock_is_refused_and_stays_the_callers(void **state)
{
    (void)state;
    serve();
    peer *client = join();
    assert_true(reaches(&at.made, 1));
    assert_true(reaches(&client->connected, 1));
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = client->io.socket;
    pco_server *server = NULL;
    pco_error error = {0};
    int code = pco_loop_create_server(at.loop, &options, &server, &error);
    assert_int_not_equal(code, 0);
    assert_null(server);
    assert_int_equal(error.code, code);
    assert_true(is_open(client->io.socket));
    peer_send(client, "x", 1);
    assert_true(reaches(&newest()->counts[AT_DATA], 1));
}

static const struct CMUnitTest tests[] = {
    TEST(the_options_cannot_be_left_out),
    TEST(a_size_of_zero_is_refused),
    TEST(a_size_larger_than_known_is_refused),
    TEST(of_a_shorter_struct_only_what_it_has_is_read),
    TEST(a_protocol_factory_is_required),
    TEST(times_of_tls_without_tls_are_refused),
    TEST(times_of_tls_that_make_no_sense_are_refused),
    TEST(a_close_timeout_that_makes_no_sense_is_refused),
    TEST(a_close_timeout_may_be_infinite),
    TEST(a_switch_must_be_one),
    TEST(what_keeps_connections_alive_must_make_sense),
    TEST(what_the_system_lacks_is_refused_at_once),
    TEST(each_socket_is_prepared_before_it_is_bound),
    TEST(what_prepare_socket_returns_is_fatal),
    TEST(after_it_nothing_else_is_tried),
    TEST(a_sock_is_not_prepared),
    TEST(a_port_out_of_range_is_refused),
    TEST(a_family_that_does_not_exist_is_refused),
    TEST(flags_that_do_not_exist_are_refused),
    TEST(a_negative_backlog_is_refused),
    TEST(host_and_hosts_together_are_refused),
    TEST(hosts_without_a_single_one_are_refused),
    TEST(a_name_that_does_not_resolve_is_refused),
    TEST(what_can_be_no_name_is_refused),
    TEST(a_name_of_any_length_is_refused_with_a_whole_sentence),
    TEST(numerichost_asks_for_no_name),
    TEST(an_address_of_another_family_is_refused),
    TEST(an_address_not_of_this_machine_is_refused),
    TEST(an_address_of_no_interface_is_refused),
    TEST(a_port_in_use_is_refused_and_named),
    TEST(if_one_host_fails_the_good_ones_are_closed_again),
    TEST(if_one_port_is_in_use_the_good_ones_are_closed_again),
    TEST(half_of_all_interfaces_is_not_enough),
    TEST(checks_come_before_the_system_is_asked),
    TEST(a_sock_of_the_callers_is_taken_over),
    TEST(a_sock_that_listens_already_is_taken_over),
    TEST(a_sock_that_does_not_serve_yet_is_closed_with_the_server),
    TEST(with_has_sock_any_number_is_a_socket),
    TEST(has_sock_and_what_contradicts_it_are_refused),
    TEST(null_among_the_hosts_is_refused),
    TEST(services_that_do_not_exist_are_refused),
    TEST(no_sock_is_zero_or_minus_one),
    TEST(a_sock_with_a_host_or_a_port_is_refused_and_stays_the_callers),
    TEST(the_sock_stays_the_callers_after_every_refusal),
    TEST(a_sock_that_is_no_socket_is_refused),
    TEST(a_connected_sock_is_refused_and_stays_the_callers),
};

int main(void)
{
    return run_here("create_server", tests, sizeof tests / sizeof tests[0]);
}
