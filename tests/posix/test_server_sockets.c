/* SPDX-License-Identifier: MIT */
/*
 * Goal: the sockets of a server and of its connections have the options that create_server was
 * given, and a socket that is none of the right kind is not taken.
 * Method: getsockopt and fcntl on what the server and its transports say are their sockets.
 */
#define _GNU_SOURCE 1

#include "early_client.h"

#include "system/platform.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>

static int option_of(pco_socket sock, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt((int)sock, level, name, &value, &length), 0);
    return value != 0;
}

static void accepted_sockets_are_not_delayed(void **state)
{
    (void)state;
    serve();
    assert_int_equal(option_of(accepted_socket(), IPPROTO_TCP, TCP_NODELAY), 1);
}

static void keep_alive_is_set_on_every_accepted_socket(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.keep_alive = PCO_ON;
    serve_with(&options);
    assert_int_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 1);
}

static void keep_alive_is_off_by_default(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    serve_with(&options);
    assert_int_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 0);
    pco_server_free(at.server);
    options.keep_alive = PCO_OFF;
    serve_with(&options);
    assert_int_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 0);
}

/* Of the caller's sock, too, whose options were the caller's affair until now. */
static void a_sock_passes_the_options_on(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = bound_socket();
    options.keep_alive = PCO_ON;
    serve_with(&options);
    pco_socket sock = accepted_socket();
    assert_int_equal(option_of(sock, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_not_equal(fcntl((int)sock, F_GETFL) & O_NONBLOCK, 0);
}

/* The system gives options to a connection when it is established, which may be before the call. */
static void a_client_that_was_there_before_the_server_has_its_options_too(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.keep_alive = PCO_ON;
    int client = serve_early_client(&options);
    pco_socket sock = pco_transport_get_socket(newest()->transport);
    assert_int_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(sock, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(close(client), 0);
    assert_true(all_are_lost());
}

static void nothing_is_inherited_by_a_program_that_is_started(void **state)
{
    (void)state;
    serve();
    pco_socket sock = accepted_socket();
    assert_int_equal(fcntl((int)sock, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    sock = pco_server_get_socket(at.server, 0);
    assert_int_equal(fcntl((int)sock, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

/* Those of the backend, too: every descriptor that came with the loop, the server and a client. */
static void no_descriptor_of_the_library_is_inherited(void **state)
{
    (void)state;
    bool was_open[256];
    for (int i = 0; i < 256; i++) {
        was_open[i] = fcntl(i, F_GETFD) != -1;
    }
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = server_options();
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(pco_loop_create_server(loop, &options, &server, NULL), 0);
    int found = 0;
    for (int i = 0; i < 256; i++) {
        int flags = fcntl(i, F_GETFD);
        if (!was_open[i] && flags != -1) {
            assert_int_equal(flags & FD_CLOEXEC, FD_CLOEXEC);
            found++;
        }
    }
    assert_true(found >= 1);
    pco_server_free(server);
    pco_loop_free(loop);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(fcntl(i, F_GETFD) != -1, was_open[i]);
    }
}

static void addresses_are_reused_by_default(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), SOL_SOCKET, SO_REUSEADDR), 1);
    pco_server_free(at.server);
    options.reuse_address = PCO_OFF;
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), SOL_SOCKET, SO_REUSEADDR), 0);
    pco_server_free(at.server);
    options.reuse_address = PCO_ON;
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), SOL_SOCKET, SO_REUSEADDR), 1);
}

static void ports_are_not_reused_by_default(void **state)
{
#if defined(SO_REUSEPORT) && !defined(SO_REUSEPORT_LB)
    (void)state;
    pco_server_options options = server_options();
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), SOL_SOCKET, SO_REUSEPORT), 0);
    pco_server_free(at.server);
    options.reuse_port = PCO_ON;
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), SOL_SOCKET, SO_REUSEPORT), 1);
#else
    (void)state;
    print_message("skipped: this system's option has another name\n");
    skip();
#endif
}

static void without_reuse_address_time_wait_keeps_the_port(void **state)
{
#if defined(__linux__)
    (void)state;
    pco_server_options options = server_options();
    options.reuse_address = PCO_OFF;
    serve_with(&options);
    options.port = port_of(at.server, 0);
    peer *client = join();
    assert_true(reaches(&at.made, 1));
    pco_transport_close(newest()->transport); /* whoever closes first has the TIME_WAIT */
    assert_true(all_are_lost());
    leave(client);
    pco_server_free(at.server);
    at.server = NULL;
    let_pass(3);
    assert_refused(&options, PCO_EADDRINUSE, "127.0.0.1");
#else
    (void)state;
    print_message("skipped: systems differ in what TIME_WAIT keeps\n");
    skip();
#endif
}

static void a_socket_of_ipv6_is_for_ipv6_only(void **state)
{
    (void)state;
    need_ipv6();
    pco_server_options options = server_options();
    options.host = "::1";
    serve_with(&options);
    assert_int_equal(option_of(pco_server_get_socket(at.server, 0), IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

static void the_backlog_is_passed_to_the_system(void **state)
{
#if defined(__linux__)
    (void)state;
    const struct {
        int given;
        unsigned expected;
    } cases[] = {{0, 100}, {1, 1}, {7, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tcp_info info;
        socklen_t length = sizeof info;
        pco_server_options options = server_options();
        options.backlog = cases[i].given;
        pco_server_free(at.server);
        serve_with(&options);
        pco_socket sock = pco_server_get_socket(at.server, 0);
        assert_int_equal(getsockopt((int)sock, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
        if (length <= sizeof(int)) { /* all that emulators of Linux say of any option of TCP */
            print_message("skipped: this emulator does not tell the backlog of a listener\n");
            skip();
        }
        assert_int_equal(info.tcpi_sacked, cases[i].expected); /* of a listener: its backlog */
    }
#else
    (void)state;
    print_message("skipped: this system does not tell the backlog of a listener\n");
    skip();
#endif
}

/* ---- Socks that are not what they should be ---- */

static void a_datagram_sock_is_refused_and_stays_the_callers(void **state)
{
    (void)state;
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(sock > 0);
    int flags = fcntl(sock, F_GETFL);
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_refused(&options, PCO_EINVAL, "stream socket");
    assert_int_equal(fcntl(sock, F_GETFL), flags); /* nothing has changed */
    assert_int_equal(close(sock), 0);
}

static void a_descriptor_that_is_no_socket_is_refused(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = ends[0];
    assert_refused(&options, PCO_ENOTSOCK, "sock");
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
}

/* As in asyncio, a stream socket of another family passes. */
static void a_unix_sock_is_served(void **state)
{
    (void)state;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(sock > 0);
    snprintf(name.sun_path, sizeof name.sun_path, "portico-test-%ld.sock", (long)getpid());
    unlink(name.sun_path);
    assert_int_equal(bind(sock, (const struct sockaddr *)&name, sizeof name), 0);
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    serve_with(&options);
    at.echoes = true;
    pco_address address = address_of(at.server, 0);
    assert_int_equal(pco_address_family(&address), PCO_AF_UNIX);
    peer *client = join_at(&address);
    peer_send(client, "hello", 5);
    assert_true(grows_to(&client->length, 5));
    assert_memory_equal(client->received, "hello", 5);
    leave(client);
    assert_true(all_are_lost());
    unlink(name.sun_path);
}

/* ---- Failures of the system ---- */

/*
 * Linux binds two sockets to one port if both have SO_REUSEADDR and none listens; who listens
 * second hears of it.
 */
static void start_serving_that_fails_leaves_the_server_as_it_was(void **state)
{
#if defined(__linux__)
    (void)state;
    pco_error error = {0};
    pco_server *other = NULL;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    options.port = port_of(at.server, 0);
    assert_int_equal(pco_loop_create_server(at.loop, &options, &other, &error), 0);
    assert_int_equal(pco_server_start_serving(other, &error), 0);
    assert_int_equal(pco_server_start_serving(at.server, &error), PCO_EADDRINUSE);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    assert_non_null(strstr(error.message, "127.0.0.1"));
    assert_false(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_int_equal(pco_server_serve_forever(at.server, &error), PCO_EADDRINUSE);

    pco_server_free(other);
    let_pass(3);
    assert_int_equal(pco_server_start_serving(at.server, &error), 0);
    assert_true(pco_server_is_serving(at.server));
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
#else
    (void)state;
    print_message("skipped: this system tells of it when it binds\n");
    skip();
#endif
}

static void want_of_descriptors_is_an_error_and_leaves_nothing_open(void **state)
{
    (void)state;
    struct rlimit before;
    struct rlimit tight;
    int lowest = dup(0);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)lowest + 1; /* room for one descriptor, and two are needed */
    const char *const hosts[] = {"127.0.0.1", quiet_host()};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    need_ipv6();
    pco_server *server = NULL;
    pco_error error = {0};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int code = pco_loop_create_server(at.loop, &options, &server, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, PCO_EMFILE);
    assert_int_equal(error.code, PCO_EMFILE);
    assert_null(server);
    assert_int_equal(dup(0), lowest);
    close(lowest);
    serve_with(&options);
}

/* ...and of two that listen after each other, the first cannot be taken back. */
static void start_serving_that_fails_half_way_closes_the_server(void **state)
{
#if defined(__linux__)
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "127.0.0.2"};
    pco_error error = {0};
    pco_server *other = NULL;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    options.same_port = PCO_ON;
    serve_with(&options);
    pco_address first = address_of(at.server, 0);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_options second = server_options();
    second.host = hosts[1];
    second.port = port_of(at.server, 0);
    assert_int_equal(pco_loop_create_server(at.loop, &second, &other, &error), 0);
    assert_int_equal(pco_server_start_serving(at.server, &error), PCO_EADDRINUSE);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    assert_non_null(strstr(error.message, "the server is closed"));
    assert_non_null(strstr(error.message, "127.0.0.2"));
    assert_false(pco_server_is_serving(at.server));
    assert_int_equal(pco_server_get_socket_count(at.server), 0);
    assert_int_equal(pco_server_start_serving(at.server, &error), PCO_ECLOSED);
    assert_true(reaches(&at.closed_calls, 1));
    peer *client = join_at(&first);
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(client->error, PCO_ECONNREFUSED);
    pco_server_free(other);
    let_pass(3);
#else
    (void)state;
    skip(); /* elsewhere the second bind fails already */
#endif
}

#if defined(__linux__)
static bool is_blocking(pco_socket sock)
{
    return (fcntl((int)sock, F_GETFL) & O_NONBLOCK) == 0;
}
#endif

/* Linux: the socket that listens first has the port. */
static void a_sock_that_cannot_listen_is_given_back_as_it_was(void **state)
{
#if defined(__linux__)
    (void)state;
    pco_socket sock = bound_socket();
    pco_address address;
    pco_server_options options = server_options();
    pco_server *other = NULL;
    assert_int_equal(pco__system_network.sockname(NULL, sock, &address), 0);
    pco__system_network.make_blocking(NULL, sock);
    options.port = pco_address_port(&address);
    assert_int_equal(pco_loop_create_server(at.loop, &options, &other, NULL), 0);
    pco_server_options mine = server_options();
    mine.host = NULL;
    mine.sock = sock;
    for (unsigned i = 0; i < 3; i++) {
        assert_refused(&mine, PCO_EADDRINUSE, "127.0.0.1");
        assert_true(is_open(sock));
        assert_true(is_blocking(sock));
        assert_int_equal(option_of(sock, SOL_SOCKET, SO_ACCEPTCONN), 0);
    }

    /* When the other has gone it can be served after all, on the same loop. */
    pco_server_free(other);
    let_pass(3);
    serve_with(&mine);
    assert_false(is_blocking(sock));
    assert_client_comes_through(&address);
#else
    (void)state;
    skip(); /* elsewhere the second bind fails already */
#endif
}

/* As inetd passes it, where 0 by itself would mean that there is none. */
static void descriptor_0_is_served(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    int before = dup(0);
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = 0;
    options.has_sock = PCO_ON;
    assert_true(before > 0);
    assert_int_equal(dup2((int)sock, 0), 0);
    close((int)sock);
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_int_equal(pco_server_get_socket(at.server, 0), 0);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
    pco_server_close(at.server);
    let_pass(3);
    assert_int_equal(dup2(before, 0), 0);
    close(before);
}

/* It may not be for good: the server goes on trying, once a second, and says so once. */
static void a_listener_that_another_process_shut_down_is_told_of_once(void **state)
{
    (void)state;
    if (strcmp(pco_loop_backend(at.loop), "kqueue") == 0) {
        print_message("a kqueue has no event for a listener that was shut down\n");
        skip();
    }
    serve();
    int duplicate = dup((int)pco_server_get_socket(at.server, 0));
    let_pass(2);
    assert_int_equal(shutdown(duplicate, SHUT_RDWR), 0);
    assert_true(reaches(&at.reports, 1));
    assert_int_not_equal(at.reported, 0);
    assert_int_equal(counters_of(at.server).accept_errors, 1);

    unsigned turns = 0;
    while (counters_of(at.server).accept_errors < 2 && turns < 100) {
        pco_loop_run_once(at.loop, 10);
        turns++;
    }
    assert_in_range(turns, 1, 20); /* the loop waits meanwhile */
    assert_int_equal(counters_of(at.server).accept_errors, 2);
    assert_int_equal(at.reports, 1);
    assert_true(pco_server_is_serving(at.server));
    assert_int_equal(counters_of(at.server).accepted, 0);
    assert_int_equal(counters_of(at.server).refused, 0);
    end_server();
    close(duplicate);
}

static const struct CMUnitTest tests[] = {
    TEST(a_listener_that_another_process_shut_down_is_told_of_once),
    TEST(start_serving_that_fails_half_way_closes_the_server),
    TEST(a_sock_that_cannot_listen_is_given_back_as_it_was),
    TEST(descriptor_0_is_served),
    TEST(accepted_sockets_are_not_delayed),
    TEST(keep_alive_is_set_on_every_accepted_socket),
    TEST(keep_alive_is_off_by_default),
    TEST(a_sock_passes_the_options_on),
    TEST(a_client_that_was_there_before_the_server_has_its_options_too),
    TEST(nothing_is_inherited_by_a_program_that_is_started),
    TEST(no_descriptor_of_the_library_is_inherited),
    TEST(addresses_are_reused_by_default),
    TEST(ports_are_not_reused_by_default),
    TEST(without_reuse_address_time_wait_keeps_the_port),
    TEST(a_socket_of_ipv6_is_for_ipv6_only),
    TEST(the_backlog_is_passed_to_the_system),
    TEST(a_datagram_sock_is_refused_and_stays_the_callers),
    TEST(a_descriptor_that_is_no_socket_is_refused),
    TEST(a_unix_sock_is_served),
    TEST(start_serving_that_fails_leaves_the_server_as_it_was),
    TEST(want_of_descriptors_is_an_error_and_leaves_nothing_open),
};

int main(void)
{
    return run_here("server_sockets", tests, sizeof tests / sizeof tests[0]);
}
