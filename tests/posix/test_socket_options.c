/* SPDX-License-Identifier: MIT */
/*
 * Goal: what is asked for by keep_alive and its times, and by user_timeout, is what each
 * connection's socket has, wherever it comes from; and it does what it says.
 * Method: getsockopt. A filter that drops all that comes to a peer makes data stay unacknowledged
 * (Linux).
 */
#define _GNU_SOURCE 1

#include "early_client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#if defined(__linux__)
#include <linux/filter.h>
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

#if defined(TCP_KEEPIDLE)
#define KEEP_IDLE TCP_KEEPIDLE
#elif defined(TCP_KEEPALIVE)
#define KEEP_IDLE TCP_KEEPALIVE
#endif

#if defined(TCP_USER_TIMEOUT)
#define USER_TIMEOUT TCP_USER_TIMEOUT
#define USER_TIMEOUT_OF_A_SECOND_AND_A_BIT 1001
#elif defined(TCP_RXT_CONNDROPTIME)
#define USER_TIMEOUT TCP_RXT_CONNDROPTIME
#define USER_TIMEOUT_OF_A_SECOND_AND_A_BIT 2
#elif defined(TCP_MAXUNACKTIME)
#define USER_TIMEOUT TCP_MAXUNACKTIME
#define USER_TIMEOUT_OF_A_SECOND_AND_A_BIT 2
#endif

static int option_of(pco_socket sock, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt((int)sock, level, name, &value, &length), 0);
    return value;
}

static void set_on(pco_socket sock)
{
    int on = 1;
    assert_int_equal(setsockopt((int)sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
}

/* Fills in what this system has of it all. */
#define ASK(options)                                                                               \
    do {                                                                                           \
        (options)->keep_alive = PCO_ON;                                                            \
        ASK_FOR_TIMES(options);                                                                    \
        ASK_FOR_USER_TIMEOUT(options);                                                             \
    } while (0)

#if defined(KEEP_IDLE)
#define ASK_FOR_TIMES(options)                                                                     \
    do {                                                                                           \
        (options)->keep_alive_idle = 61.5;                                                         \
        (options)->keep_alive_interval = 0.25;                                                     \
        (options)->keep_alive_count = 5;                                                           \
    } while (0)
#else
#define ASK_FOR_TIMES(options) ((void)0)
#endif

#if defined(USER_TIMEOUT)
#define ASK_FOR_USER_TIMEOUT(options) ((options)->user_timeout = 1.0001)
#else
#define ASK_FOR_USER_TIMEOUT(options) ((void)0)
#endif

static void assert_has_it_all(pco_socket sock)
{
    assert_int_not_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_not_equal(option_of(sock, IPPROTO_TCP, TCP_NODELAY), 0);
#if defined(KEEP_IDLE)
    assert_int_equal(option_of(sock, IPPROTO_TCP, KEEP_IDLE), 62); /* rounded up */
    assert_int_equal(option_of(sock, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    assert_int_equal(option_of(sock, IPPROTO_TCP, TCP_KEEPCNT), 5);
#endif
#if defined(USER_TIMEOUT)
    assert_int_equal(option_of(sock, IPPROTO_TCP, USER_TIMEOUT),
                     USER_TIMEOUT_OF_A_SECOND_AND_A_BIT);
#endif
}

/* ---- Servers ---- */

static void each_accepted_connection_has_it_all(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    ASK(&options);
    serve_with(&options);
    assert_has_it_all(accepted_socket());
    assert_has_it_all(accepted_socket());
}

static void of_a_sock_too_even_who_came_before_the_server(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    ASK(&options);
    int client = serve_early_client(&options);
    assert_has_it_all(pco_transport_get_socket(newest()->transport));
    assert_has_it_all(accepted_socket());
    close(client);
    assert_true(reaches(&at.lost, 1));
}

static void what_is_not_asked_for_is_the_systems(void **state)
{
    (void)state;
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    pco_server_options options = server_options();
    options.keep_alive = PCO_ON;
    serve_with(&options);
    pco_socket accepted = accepted_socket();
    (void)accepted;
#if defined(KEEP_IDLE)
    assert_int_equal(option_of(accepted, IPPROTO_TCP, KEEP_IDLE),
                     option_of(sock, IPPROTO_TCP, KEEP_IDLE));
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_KEEPINTVL),
                     option_of(sock, IPPROTO_TCP, TCP_KEEPINTVL));
    assert_int_equal(option_of(accepted, IPPROTO_TCP, TCP_KEEPCNT),
                     option_of(sock, IPPROTO_TCP, TCP_KEEPCNT));
#endif
#if defined(USER_TIMEOUT)
    assert_int_equal(option_of(accepted, IPPROTO_TCP, USER_TIMEOUT), 0);
#endif
    close(sock);
}

static void off_ends_keep_alive_of_a_sock_and_of_its_connections(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = bound_socket();
    options.keep_alive = PCO_OFF;
    set_on(options.sock);
    serve_with(&options);
    assert_int_equal(option_of(options.sock, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 0);
}

static void by_default_a_sock_keeps_it(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = bound_socket();
    set_on(options.sock);
    serve_with(&options);
    assert_int_not_equal(option_of(options.sock, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_not_equal(option_of(accepted_socket(), SOL_SOCKET, SO_KEEPALIVE), 0);
}

/* The system's lists of options, at the call, by name. */
static void what_the_system_lacks_is_refused(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    (void)options;
#if !defined(KEEP_IDLE)
    options.keep_alive = PCO_ON;
    options.keep_alive_idle = 1;
    assert_refused(&options, PCO_ENOTSUP, "keep_alive_idle");
    options.keep_alive_idle = 0;
    options.keep_alive_count = 1;
    assert_refused(&options, PCO_ENOTSUP, "keep_alive_count");
    options.keep_alive_count = 0;
#endif
#if !defined(USER_TIMEOUT)
    options.user_timeout = 1;
    assert_refused(&options, PCO_ENOTSUP, "user_timeout");
#endif
}

/* ---- Connections ---- */

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    (void)protocol;
    (void)error;
    told->calls++;
    told->transport = transport;
}

/* The transport of a connection with these options to at.server, both ends of which are made. */
static pco_transport *connect_with(const pco_connection_options *given)
{
    outcome told = {0};
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = *given;
    unsigned made = at.made;
    if (options.has_sock != PCO_ON) {
        options.addresses = &address;
        options.addresses_count = 1;
    }
    options.protocol_factory = make_record;
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    assert_true(reaches(&at.made, made + 2));
    return told.transport;
}

/* A socket of the caller's that is connected to at.server. */
static int connected_socket(void)
{
    pco_address address = address_of(at.server, 0);
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(
        connect(sock, (const struct sockaddr *)address.storage, (socklen_t)address.length), 0);
    return sock;
}

static void a_connection_that_is_opened_has_it_all(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options};
    serve();
    ASK(&options);
    assert_has_it_all(pco_transport_get_socket(connect_with(&options)));
}

static void so_has_one_of_a_connected_sock(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options, .has_sock = PCO_ON};
    serve();
    options.sock = connected_socket();
    ASK(&options);
    assert_has_it_all(pco_transport_get_socket(connect_with(&options)));
}

static void off_ends_keep_alive_of_a_connected_sock_and_the_default_does_not(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options, .has_sock = PCO_ON};
    serve();
    options.sock = connected_socket();
    set_on(options.sock);
    options.keep_alive = PCO_OFF;
    pco_socket sock = pco_transport_get_socket(connect_with(&options));
    assert_int_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 0);
    options.sock = connected_socket();
    set_on(options.sock);
    options.keep_alive = PCO_DEFAULT;
    sock = pco_transport_get_socket(connect_with(&options));
    assert_int_not_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 0);
}

/* The user has the last word. */
static int turn_keep_alive_off(pco_socket sock, int family, void *context)
{
    int on = 0;
    (void)family;
    (void)context;
    return setsockopt((int)sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 ? 0 : PCO_EINVAL;
}

static void prepare_socket_comes_after_it(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options,
                                      .prepare_socket = turn_keep_alive_off};
    serve();
    ASK(&options);
    pco_socket sock = pco_transport_get_socket(connect_with(&options));
    assert_int_equal(option_of(sock, SOL_SOCKET, SO_KEEPALIVE), 0);
}

/* ---- Sockets that are not TCP's ---- */

static void options_of_tcp_are_refused_for_other_sockets(void **state)
{
    (void)state;
    int pair[2];
    pco_error error;
    outcome told = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    options.sock = pair[0];
    options.has_sock = PCO_ON;
    options.user_timeout = 1;
    assert_int_equal(
        pco_loop_connect_accepted_socket(at.loop, &options, note_connected, &told, NULL, &error),
        PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "user_timeout"));
    pco_server_options server = server_options();
    server.host = NULL;
    server.sock = socket(AF_UNIX, SOCK_STREAM, 0);
    server.user_timeout = 1;
    assert_refused(&server, PCO_ENOTSUP, "user_timeout");
    close((int)server.sock);
    close(pair[0]);
    close(pair[1]);
}

/* ---- What it does ---- */

#if defined(__linux__)

/* Whatever comes to the socket is dropped, and so never acknowledged. */
static void make_deaf(pco_socket sock)
{
    struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = 1, .filter = drop};
    assert_int_equal(setsockopt((int)sock, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program),
                     0);
}

static void data_that_nobody_acknowledges_ends_the_connection(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options, .user_timeout = 0.2};
    serve();
    pco_transport *transport = connect_with(&options);
    record *client = (record *)pco_transport_get_protocol(transport);
    record *server = newest() == client ? client->next : newest();
    make_deaf(pco_transport_get_socket(server->transport));
    pco_transport_write(transport, "hello", 5);
    assert_true(becomes(&client->lost));
    assert_int_equal(lost_with(client), PCO_ETIMEDOUT);
    pco_transport_abort(server->transport);
    assert_true(all_are_lost());
}

static void a_client_that_does_not_acknowledge_is_lost_by_the_server(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.user_timeout = 0.2;
    serve_with(&options);
    int client = connected_socket();
    assert_true(reaches(&at.made, 1));
    record *server = newest();
    make_deaf(client);
    pco_transport_write(server->transport, "hello", 5);
    assert_true(becomes(&server->lost));
    assert_int_equal(lost_with(server), PCO_ETIMEDOUT);
    close(client);
}

#endif

static const struct CMUnitTest tests[] = {
    TEST(each_accepted_connection_has_it_all),
    TEST(of_a_sock_too_even_who_came_before_the_server),
    TEST(what_is_not_asked_for_is_the_systems),
    TEST(off_ends_keep_alive_of_a_sock_and_of_its_connections),
    TEST(by_default_a_sock_keeps_it),
    TEST(what_the_system_lacks_is_refused),
    TEST(a_connection_that_is_opened_has_it_all),
    TEST(so_has_one_of_a_connected_sock),
    TEST(off_ends_keep_alive_of_a_connected_sock_and_the_default_does_not),
    TEST(prepare_socket_comes_after_it),
    TEST(options_of_tcp_are_refused_for_other_sockets),
#if defined(__linux__)
    TEST(data_that_nobody_acknowledges_ends_the_connection),
    TEST(a_client_that_does_not_acknowledge_is_lost_by_the_server),
#endif
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
