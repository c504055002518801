/* SPDX-License-Identifier: MIT */
/*
 * Goal: a pair of sockets is what two loops, of two threads, can talk over, and what a test can.
 * Method: each end goes to connect_accepted_socket or create_connection. The thread signs off, and
 * the test waits for that in its own loop; the thread sanitizer watches.
 */
#include "behaviour.h"

#include "system/network.h"
#include "system/platform.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    (void)error;
    told->calls++;
    told->transport = transport;
    told->protocol = (record *)protocol;
}

/* Makes a connection of an end, on at.loop. */
static outcome take_end(pco_socket sock)
{
    outcome told = {0};
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_record, .sock = sock, .has_sock = PCO_ON};
    assert_int_equal(
        pco_loop_connect_accepted_socket(at.loop, &options, note_connected, &told, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    return told;
}

static void make_pair(pco_socket pair[2])
{
    pco_error error = {0};
    if (pco_socket_pair(pair, &error) != 0) {
        fail_msg("pco_socket_pair: %s", error.message);
    }
    assert_int_not_equal(pair[0], pair[1]);
}

static void close_end(pco_socket sock)
{
    pco__system_network.close(NULL, sock, false);
}

/* ---- One loop ---- */

static void both_ends_talk_and_half_close(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    outcome one = take_end(pair[0]);
    outcome other = take_end(pair[1]);
    at.answers = true;
    pco_transport_write(one.transport, pattern(300000), 300000);
    pco_transport_write_eof(one.transport);
    assert_true(grows_to(&other.protocol->length, 300000));
    assert_memory_equal(other.protocol->data, pattern(300000), 300000);
    assert_true(reaches(&other.protocol->counts[AT_EOF], 1));
    pco_transport_write(other.transport, "answer", 6);
    assert_true(grows_to(&one.protocol->length, 6));
    assert_memory_equal(one.protocol->data, "answer", 6);
    at.answers = false;
    pco_transport_close(other.transport);
    assert_true(reaches(&at.lost, 2));
    assert_true(one.protocol->lost_cleanly);
    assert_true(other.protocol->lost_cleanly);
}

static void create_connection_takes_an_end_too(void **state)
{
    (void)state;
    pco_socket pair[2];
    outcome told = {0};
    make_pair(pair);
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .sock = pair[0],
                                      .has_sock = PCO_ON,
                                      .keep_alive = PCO_OFF};
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, &told, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    close_end(pair[1]);
    assert_true(reaches(&at.lost, 1));
}

/* Where the ends are Unix sockets they have none; where they are TCP's each knows the other's. */
static void the_names_are_as_documented(void **state)
{
    (void)state;
    pco_socket pair[2];
    pco_address names[2];
    pco_address peers[2];
    make_pair(pair);
    outcome one = take_end(pair[0]);
    outcome other = take_end(pair[1]);
    assert_int_equal(pco_transport_get_sockname(one.transport, &names[0]), 0);
    assert_int_equal(pco_transport_get_peername(one.transport, &peers[0]), 0);
    assert_int_equal(pco_transport_get_sockname(other.transport, &names[1]), 0);
    assert_int_equal(pco_transport_get_peername(other.transport, &peers[1]), 0);
    for (size_t i = 0; i < 2; i++) {
        char host[PCO_ADDRESS_TEXT_SIZE];
        assert_int_equal(pco_address_host(&names[i], host, sizeof host), 0);
        if (pco_address_family(&names[i]) == PCO_AF_UNIX) {
            assert_string_equal(host, "");
            assert_int_equal(pco_address_family(&peers[i]), PCO_AF_UNIX);
            assert_int_equal(pco_address_host(&peers[i], host, sizeof host), 0);
            assert_string_equal(host, "");
        } else {
            assert_string_equal(host, "127.0.0.1");
            assert_true(pco_address_equal(&names[i], &peers[1 - i]));
        }
    }
}

static void writing_to_an_end_whose_peer_has_gone_raises_no_signal(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    outcome one = take_end(pair[0]);
    pco_transport_pause_reading(one.transport);
    close_end(pair[1]);
    pco_transport_write(one.transport, "x", 1);
    pco_transport_write(one.transport, "y", 1);
    assert_true(reaches(&at.lost, 1));
    assert_false(one.protocol->lost_cleanly);
}

/* ---- Two loops ---- */

static struct {
    pco__mutex *mutex;
    bool over;
} gate;

/* What the thread does: it sends back what it gets, until there is no more. */
typedef struct echo {
    pco_protocol protocol;
    pco_socket sock;
    pco_loop *loop;
    int code;
} echo;

static void echo_data(pco_protocol *protocol, pco_transport *transport, const void *data,
                      size_t length)
{
    (void)protocol;
    pco_transport_write(transport, data, length);
}

static void echo_lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    echo *self = (echo *)protocol;
    (void)transport;
    self->code = error != NULL ? error->code : 0;
    pco_loop_stop(self->loop);
}

static const pco_protocol_methods echo_methods = {
    .size = sizeof echo_methods, .data_received = echo_data, .connection_lost = echo_lost};

static void ignore(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                   void *context)
{
    (void)transport;
    (void)protocol;
    (void)error;
    (void)context;
}

static void run_echo(void *context)
{
    echo *self = context;
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &self->protocol,
                                      .sock = self->sock,
                                      .has_sock = PCO_ON};
    self->code = pco_loop_new(NULL, &self->loop, NULL);
    if (self->code == 0) {
        self->code =
            pco_loop_connect_accepted_socket(self->loop, &options, ignore, NULL, NULL, NULL);
        if (self->code == 0) {
            pco_loop_run_forever(self->loop);
        }
        pco_loop_free(self->loop);
    }
    pco__mutex_lock(gate.mutex);
    gate.over = true;
    pco__mutex_unlock(gate.mutex);
}

static bool is_over(void *context)
{
    (void)context;
    pco__mutex_lock(gate.mutex);
    bool over = gate.over;
    pco__mutex_unlock(gate.mutex);
    return over;
}

static void two_loops_on_two_threads_talk(void **state)
{
    (void)state;
    pco_socket pair[2];
    echo other = {.protocol = {.methods = &echo_methods}};
    gate.over = false;
    assert_int_equal(pco__mutex_new(&gate.mutex), 0);
    make_pair(pair);
    other.sock = pair[1];
    assert_int_equal(pco__thread_start(run_echo, &other, NULL), 0);
    outcome one = take_end(pair[0]);
    pco_transport_write(one.transport, pattern(1000000), 1000000);
    assert_true(grows_to(&one.protocol->length, 1000000));
    assert_memory_equal(one.protocol->data, pattern(1000000), 1000000);
    pco_transport_close(one.transport);
    assert_true(reaches(&at.lost, 1));
    for (unsigned i = 0; i < 60000 && !is_over(NULL); i++) {
        pco_loop_run_once(at.loop, 0.001);
    }
    assert_true(is_over(NULL));
    assert_int_equal(other.code, 0);
    pco__mutex_free(gate.mutex);
}

static const struct CMUnitTest tests[] = {
    TEST(both_ends_talk_and_half_close),
    TEST(create_connection_takes_an_end_too),
    TEST(the_names_are_as_documented),
    TEST(writing_to_an_end_whose_peer_has_gone_raises_no_signal),
    TEST(two_loops_on_two_threads_talk),
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
