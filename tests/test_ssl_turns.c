/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_turns.c: many handshakes at once. Goal: a loop makes steps of handshakes for half a
 * millisecond per turn (docs/create_server.md), first come, first served; established connections
 * have theirs in between; and whoever waits may go at any time, and disturbs nobody.
 * Method: the fake backend, OpenSSL with memory BIOs as clients; turns are counted, never time.
 */
#include "ssl_world.h"

/*
 * Nanoseconds of a turn for handshakes. Each step asks for the time twice, and takes as long as it
 * takes the fake clock to answer: a part of that.
 */
#define BUDGET 500000
#define STEPS 8

#define MOST 40

/* More than a handshake may take in at once: a record, its overhead and its header. */
#define ARRIVED_MOST 18500

static pco_loop *loop;
static pco_ssl_context *context;
static SSL_CTX *ctx;
static size_t clients;
static tls_end ends[MOST];
static tls_peer peers[MOST];
static size_t steps_seen[MOST];

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    fake_of(loop)->tick = BUDGET / STEPS;
    context = tls_server_context();
    ctx = tls_peer_ctx(TLS1_3_VERSION);
    clients = 0;
    memset(steps_seen, 0, sizeof steps_seen);
    return 0;
}

static int tear_down(void **state)
{
    const char *violation = NULL;
    (void)state;
    pco_loop_free(loop);
    for (size_t i = 0; i < clients; i++) {
        violation = ends[i].protocol.violation != NULL ? ends[i].protocol.violation : violation;
        tls_end_free(&ends[i]);
        tls_peer_free(&peers[i]);
    }
    pco_ssl_context_release(context);
    SSL_CTX_free(ctx);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* ---- Clients ---- */

/* `count` more clients come, and have not said anything yet. */
static void come(size_t count)
{
    for (size_t i = 0; i < count; i++, clients++) {
        assert_true(clients < MOST);
        tls_end_init(&ends[clients], false);
        tls_end_start(&ends[clients], loop, context);
        tls_peer_init(&peers[clients], ctx, "localhost");
    }
}

/* Takes to these clients what is for them, and to the server what they say. */
static void speak(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        tls_move_to_peer(&peers[i], &ends[i]);
        tls_peer_work(&peers[i]);
        tls_move_to_end(&peers[i], &ends[i]);
    }
}

/* How many steps a server's end has made: it has answered the first flight; and the last. */
static size_t steps_of(size_t index)
{
    return (ends[index].socket->sent_length != 0 ? 1u : 0u) + ends[index].protocol.counts[MADE];
}

/* How many of these clients' ends have made a step since they were last asked. */
static size_t count_steps(size_t first, size_t end)
{
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        count += steps_of(i) - steps_seen[i];
        steps_seen[i] = steps_of(i);
    }
    return count;
}

/* The first client whose ClientHello waits. */
static size_t find_waiting(void)
{
    size_t index = 0;
    while (index < clients && steps_of(index) != 0) {
        index++;
    }
    assert_true(index < clients && ends[index].done == 0);
    return index;
}

/* Runs until all has been said, and looks at how many steps each turn makes. */
static void run_to_the_end(void)
{
    count_steps(0, clients);
    for (unsigned turns = 0; turns < 10 * MOST; turns++) {
        speak(0, clients);
        run_turns(loop, 1);
        assert_true(count_steps(0, clients) <= STEPS);
    }
}

static void assert_opened(size_t index)
{
    assert_int_equal(ends[index].done, 1);
    assert_int_equal(ends[index].handshake_error.code, 0);
    assert_int_equal(ends[index].protocol.counts[MADE], 1);
}

static void assert_all_opened_but(size_t index)
{
    for (size_t i = 0; i < clients; i++) {
        if (i != index) {
            assert_opened(i);
        }
    }
}

static void assert_failed(size_t index, int code)
{
    assert_int_equal(ends[index].done, 1);
    assert_int_equal(ends[index].handshake_error.code, code);
    assert_string_equal(ends[index].protocol.log, "");
    assert_true(tls_end_is_over(&ends[index]));
}

/* 20 clients say hello at once; a turn later 12 of them wait. Returns one of these. */
static size_t make_some_wait(void)
{
    come(20);
    speak(0, 20);
    run_turns(loop, 1);
    assert_int_equal(count_steps(0, 20), STEPS);
    return find_waiting();
}

/* ---- The limit ---- */

static void eight_handshakes_go_on_in_a_turn(void **state)
{
    (void)state;
    come(MOST);
    speak(0, MOST);
    for (size_t made = 0; made < MOST; made += STEPS) {
        run_turns(loop, 1);
        assert_int_equal(count_steps(0, MOST), STEPS);
    }
    run_turns(loop, 2);
    assert_int_equal(count_steps(0, MOST), 0);
    run_to_the_end();
    assert_all_opened_but(MOST);
}

static void eight_are_not_made_to_wait(void **state)
{
    (void)state;
    for (size_t wave = 0; wave < 3; wave++) {
        come(STEPS);
        speak(wave * STEPS, clients);
        run_turns(loop, 1);
        assert_int_equal(count_steps(0, clients), STEPS);
    }
}

static void those_who_come_first_are_served_first(void **state)
{
    (void)state;
    come(30);
    speak(0, 20);
    run_turns(loop, 1);
    assert_int_equal(count_steps(0, 20), 8);
    speak(24, 28);
    run_turns(loop, 1);
    assert_int_equal(count_steps(0, 20), 8);
    assert_int_equal(count_steps(20, 30), 0);
    speak(20, 24);
    speak(28, 30);
    run_turns(loop, 1);
    assert_int_equal(count_steps(0, 20), 4);
    assert_int_equal(count_steps(24, 28), 4);
    assert_int_equal(count_steps(20, 30), 0);
    run_turns(loop, 1);
    assert_int_equal(count_steps(20, 24), 4);
    assert_int_equal(count_steps(28, 30), 2);
}

static void answer(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "!", 1);
}

static void established_connections_have_their_turn_in_between(void **state)
{
    (void)state;
    come(1);
    ends[0].protocol.at[DATA] = answer;
    tls_run(&peers[0], &ends[0]);
    assert_opened(0);
    come(MOST - 1);
    speak(1, MOST);
    for (unsigned turns = 1; turns <= MOST / STEPS; turns++) {
        tls_peer_write(&peers[0], "?", 1);
        speak(0, 1);
        run_turns(loop, 1);
        assert_in_range(count_steps(1, MOST), 1, STEPS);
        speak(0, 1);
        assert_int_equal(peers[0].length, turns);
    }
}

/* The clock stands still: a short record counts as 2 microseconds, one without data as 30. */
static void records_too_short_to_be_timed_use_the_turn_up_as_well(void **state)
{
    size_t served = 0;
    (void)state;
    come(20);
    run_to_the_end();
    assert_all_opened_but(MOST);
    fake_of(loop)->tick = 0;
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(SSL_key_update(peers[i].ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        tls_peer_write(&peers[i], "?", 1);
    }
    speak(0, 20);
    run_turns(loop, 1);
    for (size_t i = 0; i < 20; i++) {
        served += ends[i].protocol.length;
    }
    assert_int_equal(served, 16); /* 16 * 32 microseconds */
    run_turns(loop, 1);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(ends[i].protocol.length, 1);
    }
}

static void the_loop_does_not_wait_while_a_handshake_does(void **state)
{
    (void)state;
    come(20);
    speak(0, 20);
    double before = pco_loop_time(loop);
    for (unsigned turns = 0; turns < 3; turns++) {
        assert_int_equal(pco_loop_run_once(loop, 5), 0);
    }
    assert_int_equal(count_steps(0, 20), 20);
    assert_true(pco_loop_time(loop) < before + 1);
}

static void the_loop_waits_again_when_no_handshake_does(void **state)
{
    (void)state;
    make_some_wait();
    run_to_the_end();
    double before = pco_loop_time(loop);
    assert_int_equal(pco_loop_run_once(loop, 5), 0);
    assert_int_equal(pco_loop_run_once(loop, 5), 0);
    assert_true(pco_loop_time(loop) >= before + 5);
}

/* ---- What they say ---- */

static void say_hello_and_more(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        tls_move_to_peer(&peers[i], &ends[i]);
        tls_peer_work(&peers[i]);
        assert_true(peers[i].established);
        tls_peer_write(&peers[i], "hello", 5);
        tls_move_to_end(&peers[i], &ends[i]);
    }
}

static void data_in_the_last_flight_is_delivered_after_the_wait(void **state)
{
    (void)state;
    come(20);
    speak(0, 20);
    run_turns(loop, 3);
    say_hello_and_more(0, 20);
    count_steps(0, 20);
    for (size_t made = 0; made < 20;) {
        run_turns(loop, 1);
        size_t steps = count_steps(0, 20);
        /* The time of a ticket is asked for in the first of them. */
        assert_in_range(steps, 20 - made < STEPS - 1 ? 20 - made : STEPS - 1, STEPS);
        made += steps;
    }
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(ends[i].protocol.log, "made data:5");
        assert_memory_equal(ends[i].protocol.data, "hello", 5);
    }
}

static void pause(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_pause_reading(transport);
}

static void data_in_the_last_flight_waits_for_a_protocol_that_pauses(void **state)
{
    (void)state;
    come(20);
    for (size_t i = 0; i < 20; i++) {
        ends[i].protocol.at[MADE] = pause;
    }
    speak(0, 20);
    run_turns(loop, 3);
    say_hello_and_more(0, 20);
    run_turns(loop, 6);
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(ends[i].protocol.log, "made");
        assert_int_equal(pco_transport_resume_reading(ends[i].transport), 0);
    }
    run_turns(loop, 6);
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(ends[i].protocol.log, "made data:5");
    }
}

static void much_data_behind_the_last_flight_arrives_whole(void **state)
{
    static unsigned char data[100000];
    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 7 + i / 251);
    }
    come(20);
    speak(0, 20);
    run_turns(loop, 3);
    for (size_t i = 0; i < 20; i++) {
        tls_move_to_peer(&peers[i], &ends[i]);
        tls_peer_work(&peers[i]);
        tls_peer_write(&peers[i], data, sizeof data);
        tls_move_to_end(&peers[i], &ends[i]);
    }
    run_turns(loop, 30);
    for (size_t i = 0; i < 20; i++) {
        assert_opened(i);
        assert_int_equal(ends[i].protocol.length, sizeof data);
        assert_memory_equal(ends[i].protocol.data, data, sizeof data);
    }
}

static void what_a_waiting_client_sends_stays_in_the_system(void **state)
{
    static const unsigned char much[1000000];
    (void)state;
    come(20);
    for (size_t i = 0; i < 20; i++) {
        tls_peer_work(&peers[i]);
        tls_move_to_end(&peers[i], &ends[i]);
        fake_feed(ends[i].socket, much, sizeof much);
    }
    run_turns(loop, 1);
    fake_socket *sock = ends[find_waiting()].socket;
    assert_true(sock->input_length >= sizeof much - ARRIVED_MOST);
    assert_false(fake_is_in_flight(sock, PCO__OP_RECV));
}

static void segments_of_one_byte_wait_as_well(void **state)
{
    (void)state;
    come(20);
    for (size_t i = 0; i < 20; i++) {
        ends[i].socket->input_cut = 1;
    }
    for (unsigned turns = 0; turns < 20000; turns++) {
        speak(0, 20);
        run_turns(loop, 1);
        assert_true(count_steps(0, 20) <= STEPS);
    }
    assert_all_opened_but(20);
}

/* ---- Who waits may go ---- */

static void the_time_limit_goes_on_while_a_handshake_waits(void **state)
{
    (void)state;
    come(20);
    fake_advance(loop, TLS_HANDSHAKE_TIMEOUT - 1);
    come(20);
    speak(0, 20);
    run_turns(loop, 1);
    speak(20, 40);
    fake_advance(loop, 2);
    run_turns(loop, 3);
    for (size_t i = 0; i < 20; i++) {
        assert_failed(i, PCO_ETIMEDOUT);
    }
    for (unsigned turns = 0; turns < 40; turns++) {
        speak(20, 40);
        run_turns(loop, 1);
    }
    for (size_t i = 20; i < 40; i++) {
        assert_opened(i);
    }
}

/*
 * The process was stopped, or the clock counts what it should not: when the loop turns again every
 * limit has passed. What has arrived by then is looked at first.
 */
static void a_clock_that_jumps_ends_only_handshakes_of_which_nothing_has_come(void **state)
{
    (void)state;
    come(STEPS);
    speak(0, STEPS);
    run_turns(loop, 1);
    speak(0, STEPS / 2);
    fake_advance(loop, 1000 * TLS_HANDSHAKE_TIMEOUT);
    run_turns(loop, 1);
    speak(0, STEPS);
    run_turns(loop, 2);
    for (size_t i = 0; i < STEPS; i++) {
        if (i < STEPS / 2) {
            assert_opened(i);
        } else {
            assert_failed(i, PCO_ETIMEDOUT);
        }
    }
}

static void a_waiting_client_may_reset_its_connection(void **state)
{
    (void)state;
    size_t gone = make_some_wait();
    fake_feed_error(ends[gone].socket, PCO_ECONNRESET, 104);
    run_turns(loop, 2);
    assert_failed(gone, PCO_ECONNRESET);
    run_to_the_end();
    assert_all_opened_but(gone);
}

static void a_waiting_client_may_close_its_connection(void **state)
{
    (void)state;
    size_t gone = make_some_wait();
    fake_feed_eof(ends[gone].socket);
    run_turns(loop, 6);
    assert_failed(gone, PCO_ECONNRESET);
    run_to_the_end();
    assert_all_opened_but(gone);
}

/* Ends a waiting handshake from this side. */
static void end_one(void (*way)(pco_transport *))
{
    size_t gone = make_some_wait();
    way(ends[gone].stream->top);
    run_turns(loop, 2);
    assert_failed(gone, PCO_ECANCELED);
    run_to_the_end();
    assert_all_opened_but(gone);
}

static void a_waiting_handshake_may_be_closed(void **state)
{
    (void)state;
    end_one(pco_transport_close);
}

static void a_waiting_handshake_may_be_aborted(void **state)
{
    (void)state;
    end_one(pco_transport_abort);
}

static void all_waiting_handshakes_may_be_aborted_at_once(void **state)
{
    (void)state;
    make_some_wait();
    for (size_t i = 0; i < 20; i++) {
        if (steps_of(i) == 0) {
            pco_transport_abort(ends[i].stream->top);
        }
    }
    run_turns(loop, 2);
    size_t aborted = 0;
    for (size_t i = 0; i < 20; i++) {
        if (steps_of(i) == 0) {
            assert_failed(i, PCO_ECANCELED);
            aborted++;
        }
    }
    assert_int_equal(aborted, 12);
    come(20);
    speak(20, 40);
    run_turns(loop, 1);
    assert_int_equal(count_steps(20, 40), STEPS);
}

static void the_loop_may_be_freed_while_handshakes_wait(void **state)
{
    (void)state;
    make_some_wait();
    pco_loop_free(loop);
    loop = NULL;
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(ends[i].done, 1);
        assert_int_equal(ends[i].handshake_error.code, PCO_ECANCELED);
        assert_string_equal(ends[i].protocol.log, "");
    }
}

static void without_memory_to_wait_a_handshake_fails(void **state)
{
    (void)state;
    come(1);
    tls_run(&peers[0], &ends[0]);
    come(9);
    speak(1, 10);
    memory_fail(1, true);
    run_turns(loop, 1);
    assert_true(memory_has_failed());
    memory_fail(0, false);
    run_turns(loop, 2);
    assert_int_equal(count_steps(1, 10), STEPS);
    size_t gone = 1;
    while (steps_of(gone) != 0) {
        gone++;
    }
    assert_failed(gone, PCO_ENOMEM);
    run_to_the_end();
    assert_all_opened_but(gone);
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(eight_handshakes_go_on_in_a_turn),
        TEST(eight_are_not_made_to_wait),
        TEST(those_who_come_first_are_served_first),
        TEST(established_connections_have_their_turn_in_between),
        TEST(records_too_short_to_be_timed_use_the_turn_up_as_well),
        TEST(the_loop_does_not_wait_while_a_handshake_does),
        TEST(the_loop_waits_again_when_no_handshake_does),
        TEST(data_in_the_last_flight_is_delivered_after_the_wait),
        TEST(data_in_the_last_flight_waits_for_a_protocol_that_pauses),
        TEST(much_data_behind_the_last_flight_arrives_whole),
        TEST(what_a_waiting_client_sends_stays_in_the_system),
        TEST(segments_of_one_byte_wait_as_well),
        TEST(the_time_limit_goes_on_while_a_handshake_waits),
        TEST(a_clock_that_jumps_ends_only_handshakes_of_which_nothing_has_come),
        TEST(a_waiting_client_may_reset_its_connection),
        TEST(a_waiting_client_may_close_its_connection),
        TEST(a_waiting_handshake_may_be_closed),
        TEST(a_waiting_handshake_may_be_aborted),
        TEST(all_waiting_handshakes_may_be_aborted_at_once),
        TEST(the_loop_may_be_freed_while_handshakes_wait),
        TEST(without_memory_to_wait_a_handshake_fails),
    };
    return cmocka_run_group_tests(tests, NULL, end_all);
}
