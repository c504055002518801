/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_lower.c: TLS and what is below it. Goal: encryption follows what the lower end takes,
 * whatever the size of a write; and the lower end may be TLS itself.
 * Method: both ends are the library's, on the fake backend.
 */
#include "ssl_world.h"

#define LARGE ((size_t)4 * 1024 * 1024)

/* Ciphertext that may wait below, with one write's at-once part and what records add. */
#define AHEAD_MOST ((size_t)256 * 1024)

static pco_loop *loop;
static pco_ssl_context *server_context;
static pco_ssl_context *client_context;
static tls_end server;
static tls_end client;
static tls_end inner_server;
static tls_end inner_client;
static unsigned char data[LARGE];
static unsigned released;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    server_context = tls_server_context();
    client_context = tls_client_context();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    tls_end_init(&inner_server, false);
    tls_end_init(&inner_client, false);
    released = 0;
    for (size_t i = 0; i < LARGE; i++) {
        data[i] = (unsigned char)(i * 7 + i / 251);
    }
    tls_end_start(&server, loop, server_context);
    tls_end_start_client(&client, loop, client_context, "localhost");
    tls_run_ends(&server, &client);
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
    return 0;
}

static int tear_down(void **state)
{
    tls_end *const ends[] = {&server, &client, &inner_server, &inner_client};
    const char *violation = NULL;
    (void)state;
    pco_loop_free(loop);
    for (size_t i = 0; i < 4; i++) {
        violation = ends[i]->protocol.violation != NULL ? ends[i]->protocol.violation : violation;
        tls_end_free(ends[i]);
    }
    pco_ssl_context_release(server_context);
    pco_ssl_context_release(client_context);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void release(const void *memory, void *context)
{
    (void)context;
    assert_ptr_equal(memory, data);
    released++;
}

static void assert_arrived(const tls_end *end)
{
    assert_int_equal(end->protocol.length, LARGE);
    assert_memory_equal(end->protocol.data, data, LARGE);
}

/* ---- Encryption follows ---- */

static void memory_handed_over_is_encrypted_as_the_peer_takes_it(void **state)
{
    (void)state;
    server.socket->room = 0;
    assert_int_equal(pco_transport_write_owned(server.transport, data, LARGE, release, NULL), 0);
    size_t waits = pco_transport_get_write_buffer_size(server.transport);
    assert_in_range(waits, LARGE, LARGE + AHEAD_MOST / 64);
    assert_in_range(server.stream->base.class_->pending(&server.stream->base), 1, AHEAD_MOST);
    assert_string_equal(server.protocol.log, "made pause");
    run_turns(loop, 5);
    assert_int_equal(released, 0);
    server.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_int_equal(released, 1);
    assert_arrived(&client);
    assert_string_equal(server.protocol.log, "made pause resume");
    assert_int_equal(pco_transport_get_write_buffer_size(server.transport), 0);
}

static void closing_flushes_what_is_not_encrypted_yet(void **state)
{
    (void)state;
    server.socket->room = 0;
    assert_int_equal(pco_transport_write(server.transport, data, LARGE), 0);
    pco_transport_close(server.transport);
    assert_int_equal(pco_transport_write(server.transport, "x", 1), PCO_ECLOSED);
    run_turns(loop, 5);
    server.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_arrived(&client);
    assert_string_equal(server.protocol.log, "made pause lost");
    assert_int_equal(client.protocol.counts[END], 1);
    assert_int_equal(client.protocol.error.code, 0);
}

static void aborting_releases_what_waits(void **state)
{
    (void)state;
    server.socket->room = 0;
    assert_int_equal(pco_transport_write_owned(server.transport, data, LARGE, release, NULL), 0);
    pco_transport_abort(server.transport);
    run_turns(loop, 3);
    assert_int_equal(released, 1);
    assert_string_equal(server.protocol.log, "made pause lost");
}

static void small_writes_behind_a_large_one_keep_their_order(void **state)
{
    (void)state;
    server.socket->room = 0;
    assert_int_equal(pco_transport_write(server.transport, data, LARGE / 2), 0);
    for (size_t at = LARGE / 2; at < LARGE; at += 8192) {
        const pco_buffer two[] = {{data + at, 1000}, {data + at + 1000, 7192}};
        assert_int_equal(pco_transport_writelines(server.transport, two, 2), 0);
    }
    server.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_arrived(&client);
}

/* With a clock that runs, a turn encrypts for so long and not more; the rest follows. */
static void a_large_write_is_spread_over_turns(void **state)
{
    (void)state;
    fake_of(loop)->tick = 250000; /* so two steps use half a millisecond up */
    assert_int_equal(pco_transport_write_owned(server.transport, data, LARGE, release, NULL), 0);
    assert_true(server.socket->sent_length < LARGE / 4);
    run_turns(loop, 1);
    assert_true(server.socket->sent_length < LARGE / 2);
    tls_run_ends(&server, &client);
    assert_int_equal(released, 1);
    assert_arrived(&client);
}

/* ---- TLS in TLS ---- */

static void begin_inner(tls_end *inner, tls_end *outer, bool is_client)
{
    pco__ssl_options options;
    pco__ssl *ssl;
    inner->loop = loop;
    inner->stream = outer->stream;
    inner->socket = outer->socket;
    tls_end_options(inner, &options);
    options.context = is_client ? client_context : server_context;
    options.client = is_client;
    options.server_name = is_client ? "localhost" : NULL;
    assert_int_equal(pco__ssl_put_on(outer->transport, &options, &ssl, NULL), 0);
    pco__ssl_begin(ssl);
}

static void open_inner(void)
{
    begin_inner(&inner_server, &server, false);
    begin_inner(&inner_client, &client, true);
    tls_run_ends(&server, &client);
    assert_string_equal(inner_server.protocol.log, "made");
    assert_string_equal(inner_client.protocol.log, "made");
}

static void tls_in_tls_carries_small_and_large(void **state)
{
    (void)state;
    open_inner();
    assert_int_equal(pco_transport_write(inner_client.transport, "hello", 5), 0);
    tls_run_ends(&server, &client);
    assert_int_equal(inner_server.protocol.length, 5);
    assert_memory_equal(inner_server.protocol.data, "hello", 5);
    assert_int_equal(pco_transport_write_owned(inner_server.transport, data, LARGE, release, NULL),
                     0);
    tls_run_ends(&server, &client);
    assert_int_equal(released, 1);
    assert_arrived(&inner_client);
    assert_string_equal(server.protocol.log, "made");
    assert_string_equal(client.protocol.log, "made");
}

static void closing_the_inner_closes_the_outer(void **state)
{
    (void)state;
    open_inner();
    pco_transport_close(inner_client.transport);
    tls_run_ends(&server, &client);
    assert_string_equal(inner_client.protocol.log, "made lost");
    assert_string_equal(inner_server.protocol.log, "made end lost");
    assert_int_equal(inner_client.protocol.error.code, 0);
    assert_int_equal(inner_server.protocol.error.code, 0);
    assert_true(server.socket->closed && client.socket->closed);
}

static void a_peer_that_does_not_read_holds_up_both(void **state)
{
    (void)state;
    open_inner();
    server.socket->room = 0;
    assert_int_equal(pco_transport_write_owned(inner_server.transport, data, LARGE, release, NULL),
                     0);
    assert_string_equal(inner_server.protocol.log, "made pause");
    assert_true(pco_transport_get_write_buffer_size(inner_server.transport) >= LARGE);
    server.socket->room = SIZE_MAX;
    tls_run_ends(&server, &client);
    assert_string_equal(inner_server.protocol.log, "made pause resume");
    assert_arrived(&inner_client);
}

/*
 * The outer's limit begins a second after the inner's. The peer takes 4 KiB and a little in each
 * period, but next to nothing between a look of the one and a look of the other.
 */
static void each_layer_has_a_limit_of_its_own(void **state)
{
    (void)state;
    open_inner();
    server.socket->room = 0;
    assert_int_equal(pco_transport_write(inner_server.transport, data, 60000), 0);
    pco_transport_close(inner_server.transport);
    run_turns(loop, 2);
    fake_advance(loop, 1);
    pco_transport_close(server.transport);
    for (unsigned i = 0; i < 5; i++) {
        fake_advance(loop, TLS_SHUTDOWN_TIMEOUT / 2);
        server.socket->room = 5000;
        run_turns(loop, 2);
        fake_advance(loop, TLS_SHUTDOWN_TIMEOUT / 2 - 0.5);
        run_turns(loop, 2);
        fake_advance(loop, 0.5);
        run_turns(loop, 2);
        assert_string_equal(inner_server.protocol.log, "made");
    }
    fake_advance(loop, TLS_SHUTDOWN_TIMEOUT);
    run_turns(loop, 2);
    assert_string_equal(inner_server.protocol.log, "made lost:PCO_ETIMEDOUT");
}

static void a_lost_connection_is_told_to_the_inner_alone(void **state)
{
    (void)state;
    open_inner();
    fake_feed_error(server.socket, PCO_ECONNRESET, 77);
    run_turns(loop, 3);
    assert_string_equal(inner_server.protocol.log, "made lost:PCO_ECONNRESET");
    assert_string_equal(server.protocol.log, "made");
}

static const struct CMUnitTest tests[] = {
    TEST(memory_handed_over_is_encrypted_as_the_peer_takes_it),
    TEST(closing_flushes_what_is_not_encrypted_yet),
    TEST(aborting_releases_what_waits),
    TEST(small_writes_behind_a_large_one_keep_their_order),
    TEST(a_large_write_is_spread_over_turns),
    TEST(tls_in_tls_carries_small_and_large),
    TEST(closing_the_inner_closes_the_outer),
    TEST(a_peer_that_does_not_read_holds_up_both),
    TEST(each_layer_has_a_limit_of_its_own),
    TEST(a_lost_connection_is_told_to_the_inner_alone),
};

int main(void)
{
    int failures = cmocka_run_group_tests_name("ssl_lower", tests, NULL, NULL);
    certificates_free();
    return failures;
}
