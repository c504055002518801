/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_connection opens connections of real sockets, on every backend, and tells the truth
 * where that fails.
 * Method: servers of the library and listeners without one, in the same loop.
 */
#include "behaviour_create.h"

#include "system/network.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

/* ---- What a completion has told ---- */

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    pco_error error;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    told->calls++;
    told->transport = transport;
    told->protocol = (record *)protocol;
    if (error != NULL) {
        told->error = *error;
    }
}

/* Options of a connection to the server's first address. */
static pco_connection_options options_to(const pco_address *address)
{
    static char host[PCO_ADDRESS_TEXT_SIZE];
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    assert_int_equal(pco_address_host(address, host, sizeof host), 0);
    options.host = host;
    options.port = pco_address_port(address);
    return options;
}

static void connect_with(const pco_connection_options *options, outcome *told)
{
    pco_error error = {0};
    memset(told, 0, sizeof *told);
    if (pco_loop_create_connection(at.loop, options, note_connected, told, NULL, &error) != 0) {
        fail_msg("create_connection: %s", error.message);
    }
    assert_int_equal(told->calls, 0);
    assert_true(reaches(&told->calls, 1));
}

static void assert_fails(const pco_connection_options *options, int code)
{
    outcome told;
    connect_with(options, &told);
    assert_null(told.transport);
    assert_int_equal(told.error.code, code);
}

/* A connection to at.server, both ends of which are made. */
static outcome connect_to_server(void)
{
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    outcome told;
    unsigned made = at.made;
    connect_with(&options, &told);
    assert_int_equal(told.error.code, 0);
    assert_true(reaches(&at.made, made + 2));
    return told;
}

/* A port of 127.0.0.1 that is bound, by *sock, and where nobody listens. */
static int closed_port(pco_socket *sock)
{
    pco__listener_options options = {.reuse_address = PCO_DEFAULT};
    pco_address address;
    assert_int_equal(pco_address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, sock, NULL), 0);
    assert_int_equal(pco__system_network.sockname(NULL, *sock, &address), 0);
    return pco_address_port(&address);
}

/* ---- Connections ---- */

static void both_ends_talk(void **state)
{
    (void)state;
    serve();
    at.echoes = true;
    outcome told = connect_to_server();
    at.echoes = false;
    record *client = told.protocol;
    record *server = newest() == client ? client->next : newest();
    pco_transport_write(told.transport, pattern(100000), 100000);
    assert_true(grows_to(&server->length, 100000));
    assert_memory_equal(server->data, pattern(100000), 100000);
    pco_transport_write(server->transport, "answer", 6);
    assert_true(grows_to(&client->length, 6));
    assert_memory_equal(client->data, "answer", 6);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
    assert_true(client->lost_cleanly);
    assert_true(server->lost_cleanly);
}

static void each_end_knows_both_names(void **state)
{
    (void)state;
    serve();
    pco_address wanted = address_of(at.server, 0);
    outcome told = connect_to_server();
    record *server = newest() == told.protocol ? told.protocol->next : newest();
    pco_address name;
    pco_address other;
    assert_int_equal(pco_transport_get_peername(told.transport, &other), 0);
    assert_true(pco_address_equal(&other, &wanted));
    assert_int_equal(pco_transport_get_sockname(told.transport, &name), 0);
    assert_int_equal(pco_transport_get_peername(server->transport, &other), 0);
    assert_true(pco_address_equal(&other, &name));
}

/* Windows does, Wine 8 does not; nor do some of the BSDs, and qemu where it runs 32 bits. */
#if (defined(__linux__) && !defined(__i386__)) || defined(__APPLE__)
static const bool may_not_count = false;
#else
static const bool may_not_count = true;
#endif

/* As many bytes as were written have come, whatever the way they were cut; TCP alone counts. */
static void what_has_moved_can_be_asked_for_at_both_ends(void **state)
{
    (void)state;
    serve();
    outcome told = connect_to_server();
    record *client = told.protocol;
    record *server = newest() == told.protocol ? told.protocol->next : newest();
    pco_transport_counters own = {.size = sizeof own};
    pco_transport_counters others = {.size = sizeof others};
    pco_transport_write(client->transport, pattern(5000), 5000);
    assert_true(grows_to(&server->length, 5000));
    int code = pco_transport_get_counters(server->transport, &others);
    if (code == PCO_ENOTSUP) {
        print_message("this system does not count\n");
        assert_true(may_not_count);
        return;
    }
    assert_int_equal(code, 0);
    assert_int_equal(others.bytes_received, 5000);
    assert_int_equal(others.bytes_sent, 0);
    assert_int_equal(pco_transport_get_counters(client->transport, &own), 0);
    assert_int_equal(own.bytes_sent - own.bytes_retransmitted, 5000);
    assert_int_equal(own.bytes_received, 0);
    pco_transport *shell = pco_transport_retain(client->transport);
    pco_transport_close(shell);
    assert_true(all_are_lost());
    assert_int_equal(pco_transport_get_counters(shell, &own), PCO_ECLOSED);
    pco_transport_release(shell);
}

static void a_name_is_looked_up_by_the_system(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    outcome told;
    options.host = "localhost";
    connect_with(&options, &told);
    assert_int_equal(told.error.code, 0);
}

static void a_name_that_does_not_exist_is_told(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .host = "no such name",
                                      .port = 80};
    assert_fails(&options, PCO_ENONAME);
}

static void a_service_is_looked_up(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .host = "127.0.0.1",
                                      .service = "no such service"};
    assert_fails(&options, PCO_ENONAME);
}

static void a_number_with_a_sign_is_no_service(void **state)
{
    (void)state;
    static const char *const services[] = {"+80", "-80", "+65617", "+0"};
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++) {
        pco_connection_options options = {.size = sizeof options,
                                          .protocol_factory = make_record,
                                          .host = "127.0.0.1",
                                          .service = services[i]};
        assert_fails(&options, PCO_ENONAME);
    }
}

static void a_hundred_at_once(void **state)
{
    (void)state;
    outcome told[100];
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    memset(told, 0, sizeof told);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(
            pco_loop_create_connection(at.loop, &options, note_connected, &told[i], NULL, NULL), 0);
    }
    assert_true(reaches(&at.made, 200));
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(told[i].calls, 1);
        pco_transport_close(told[i].transport);
    }
    assert_true(all_are_lost());
}

/* ---- Failures ---- */

static void where_nobody_listens_it_is_refused(void **state)
{
    (void)state;
    pco_socket sock;
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .host = "127.0.0.1",
                                      .port = closed_port(&sock)};
    outcome told;
    connect_with(&options, &told);
    assert_int_equal(told.error.code, PCO_ECONNREFUSED);
    assert_int_not_equal(told.error.system_code, 0);
    char sentence[128];
    snprintf(sentence, sizeof sentence, "connect to 127.0.0.1 port %d: connection refused",
             options.port);
    assert_string_equal(told.error.message, sentence);
    pco__system_network.close(NULL, sock, false);
}

static void the_second_address_serves_where_the_first_refuses(void **state)
{
    (void)state;
    pco_socket sock;
    serve();
    pco_address addresses[2];
    assert_int_equal(pco_address_parse("127.0.0.1", closed_port(&sock), &addresses[0]), 0);
    addresses[1] = address_of(at.server, 0);
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .addresses = addresses,
                                      .addresses_count = 2};
    outcome told;
    connect_with(&options, &told);
    assert_int_equal(told.error.code, 0);
    pco__system_network.close(NULL, sock, false);
}

static void abort_at_once(record *self, pco_transport *transport)
{
    (void)self;
    pco_transport_abort_reset(transport);
}

static void a_server_that_resets_at_once_ends_the_connection(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    outcome told;
    at.at[AT_MADE] = abort_at_once;
    connect_with(&options, &told);
    assert_int_equal(told.calls, 1);
    assert_true(all_are_lost());
}

/* ---- From where ---- */

/* A port that was free a moment ago may be taken by a test that runs beside this one. */
static void it_connects_from_where_it_was_told(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    outcome told = {.error = {.code = PCO_EADDRINUSE}};
    options.local_host = "127.0.0.1";
    for (unsigned tries = 0; tries < 50 && told.error.code == PCO_EADDRINUSE; tries++) {
        pco_socket sock;
        options.local_port = closed_port(&sock);
        pco__system_network.close(NULL, sock, false);
        connect_with(&options, &told);
    }
    assert_int_equal(told.error.code, 0);
    pco_address name;
    assert_int_equal(pco_transport_get_sockname(told.transport, &name), 0);
    assert_int_equal(pco_address_port(&name), options.local_port);
}

static void a_local_port_in_use_is_told(void **state)
{
    (void)state;
    pco_socket sock;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    options.local_host = "127.0.0.1";
    options.local_port = closed_port(&sock);
    assert_fails(&options, PCO_EADDRINUSE);
    pco__system_network.close(NULL, sock, false);
}

static void a_local_address_of_another_machine_is_told(void **state)
{
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    options.local_host = "192.0.2.1";
    assert_fails(&options, PCO_EADDRNOTAVAIL);
}

/* ---- Sockets of the user's ---- */

static void a_socket_that_is_not_connected_is_refused(void **state)
{
    (void)state;
    pco_socket sock;
    closed_port(&sock);
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_record, .sock = sock, .has_sock = PCO_ON};
    pco_error error;
    outcome told;
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, &error),
        PCO_ENOTCONN);
    pco__system_network.close(NULL, sock, false);
    options.sock = 0x3fff0;
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, &error),
        PCO_ENOTSOCK);
}

/* ---- The end ---- */

static void the_loop_may_be_freed_while_it_connects(void **state)
{
    (void)state;
    outcome told = {0};
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, NULL), 0);
    pco_loop_run_once(at.loop, 0);
    world_free_loop();
    assert_int_equal(told.calls, 1);
}

static void the_loop_may_be_freed_while_it_looks_a_name_up(void **state)
{
    (void)state;
    outcome told = {0};
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_record, .host = "localhost", .port = 1};
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, NULL), 0);
    pco_loop_run_once(at.loop, 0);
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
}

static void a_cancel_while_it_connects_leaves_no_socket(void **state)
{
    (void)state;
    outcome told = {0};
    pco_request *request = NULL;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    unsigned before = count_sockets();
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, &request, NULL), 0);
    pco_loop_run_once(at.loop, 0);
    pco_request_cancel(request);
    assert_true(reaches(&told.calls, 1));
    pco_request_release(request);
    if (told.transport == NULL) {
        assert_int_equal(told.error.code, PCO_ECANCELED);
        let_pass(50);
        assert_true(all_are_lost());
        assert_int_equal(count_sockets(), before);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(both_ends_talk),
    TEST(each_end_knows_both_names),
    TEST(what_has_moved_can_be_asked_for_at_both_ends),
    TEST(a_name_is_looked_up_by_the_system),
    TEST(a_name_that_does_not_exist_is_told),
    TEST(a_service_is_looked_up),
    TEST(a_number_with_a_sign_is_no_service),
    TEST(a_hundred_at_once),
    TEST(where_nobody_listens_it_is_refused),
    TEST(the_second_address_serves_where_the_first_refuses),
    TEST(a_server_that_resets_at_once_ends_the_connection),
    TEST(it_connects_from_where_it_was_told),
    TEST(a_local_port_in_use_is_told),
    TEST(a_local_address_of_another_machine_is_told),
    TEST(a_socket_that_is_not_connected_is_refused),
    TEST(the_loop_may_be_freed_while_it_connects),
    TEST(the_loop_may_be_freed_while_it_looks_a_name_up),
    TEST(a_cancel_while_it_connects_leaves_no_socket),
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
