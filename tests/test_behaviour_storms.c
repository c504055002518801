/* SPDX-License-Identifier: MIT */
/*
 * Goal: a server outlives crowds: many connections at once, clients that come and go without a
 * word, clients that reset at once, by the thousand. Nobody is lost or counted twice, and whoever
 * behaves is served throughout.
 * Method: all in one process; the clients are driven by a loop of their own, so that they may act
 * several times before the server looks.
 */
#include "behaviour.h"

/* Of the same client, in a row: nothing may slip into another's hands. */
#define MESSAGE 100

static int begin(void **state)
{
    if (world_begin(state) != 0) {
        return -1;
    }
    return pco__loop_new(NULL, tested, &at.outside, NULL);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

static bool all_have_heard(void *context)
{
    const size_t *length = context;
    for (peer *one = at.peers; one != NULL; one = one->next) {
        if (one->length < *length) {
            return false;
        }
    }
    return true;
}

static bool all_peers_have_ended(void *context)
{
    (void)context;
    for (peer *one = at.peers; one != NULL; one = one->next) {
        if (one->ended == 0) {
            return false;
        }
    }
    return true;
}

static bool all_peers_are_closed(void *context)
{
    (void)context;
    for (peer *one = at.peers; one != NULL; one = one->next) {
        if (one->closed == 0) {
            return false;
        }
    }
    return true;
}

/* Forgets peers that are closed, so that the next thousand find room. */
static void forget_peers(void)
{
    assert_true(happens(all_peers_are_closed, NULL));
    while (at.peers != NULL) {
        peer *next = at.peers->next;
        peer_free(at.peers);
        at.peers = next;
    }
}

static void forget_records(void)
{
    assert_true(all_are_lost());
    while (at.records != NULL) {
        record *next = at.records->next;
        free(at.records->data);
        free(at.records);
        at.records = next;
    }
}

static void five_hundred_connections_at_once_are_served(void **state)
{
    enum { CLIENTS = 500, ROUNDS = 4 };
    (void)state;
    at.echoes = true;
    pco_server_options options = server_options();
    options.backlog = CLIENTS;
    serve_with(&options);
    for (unsigned i = 0; i < CLIENTS; i++) {
        peer_send(join(), pattern(2 * CLIENTS) + i, MESSAGE);
    }
    for (size_t round = 1; round <= ROUNDS; round++) {
        size_t length = round * MESSAGE;
        assert_true(happens(all_have_heard, &length));
        unsigned i = CLIENTS;
        for (peer *one = at.peers; one != NULL; one = one->next) { /* the newest first */
            i--;
            assert_memory_equal(one->received + length - MESSAGE, pattern(2 * CLIENTS) + i,
                                MESSAGE);
            if (round < ROUNDS) {
                peer_send(one, pattern(2 * CLIENTS) + i, MESSAGE);
            }
        }
    }
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, CLIENTS);
    assert_int_equal(counters.active, CLIENTS);
    assert_int_equal(counters.refused, 0);
    assert_int_equal(counters.accept_errors, 0);
    for (peer *one = at.peers; one != NULL; one = one->next) {
        peer_finish(one);
    }
    assert_true(happens(all_peers_have_ended, NULL));
    assert_true(all_are_lost());
    for (record *one = at.records; one != NULL; one = one->next) {
        assert_int_equal(lost_with(one), 0);
    }
    assert_int_equal(at.lost, CLIENTS);
}

static void all_of_five_hundred_are_closed_with_the_server(void **state)
{
    enum { CLIENTS = 500 };
    (void)state;
    serve();
    for (unsigned i = 0; i < CLIENTS; i++) {
        join();
        if (i % 50 == 49) { /* a full backlog would make some wait for seconds */
            assert_true(reaches(&at.made, i + 1));
        }
    }
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_int_equal(pco_server_shutdown(at.server, 20), 0);
    assert_true(reaches(&at.closed_calls, 1));
    assert_true(happens(all_peers_have_ended, NULL));
    for (peer *one = at.peers; one != NULL; one = one->next) {
        assert_true(one->clean);
    }
}

/* How a client of a storm behaves. */
typedef void (*manner)(peer *client, unsigned number);

static void goes_at_once(peer *client, unsigned number)
{
    (void)number;
    peer_close(client, false);
}

static void resets_at_once(peer *client, unsigned number)
{
    (void)number;
    peer_close(client, true);
}

static void speaks_and_resets(peer *client, unsigned number)
{
    peer_send(client, pattern(PATTERN_LIMIT) + number, number % 2000);
    pco_loop_run_once(at.outside, 0);
    peer_close(client, true);
}

static bool newest_is_connected(void *context)
{
    peer *const *client = context;
    return (*client)->connected != 0 || (*client)->ended != 0;
}

/* Clients connect and behave like that; between the waves one comes that is served. */
static void storm(unsigned waves, unsigned clients, manner behave)
{
    at.echoes = true;
    serve();
    for (unsigned wave = 0; wave < waves; wave++) {
        for (unsigned i = 0; i < clients; i++) {
            peer *client = join();
            /* The backlog is 100, and fewer are on their way: the server need not look yet. */
            for (unsigned turn = 0; turn < 2000 && !newest_is_connected(&client); turn++) {
                pco_loop_run_once(at.outside, 0.001);
            }
            assert_int_equal(client->connected, 1);
            behave(client, wave * clients + i);
        }
        peer *good = join();
        peer_send(good, "hello", 5);
        assert_true(grows_to(&good->length, 5));
        assert_memory_equal(good->received, "hello", 5);
        peer_close(good, true);
        forget_peers();
        forget_records();
        assert_true(pco_server_is_serving(at.server));
    }
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.active, 0);
    assert_int_equal(counters.handshaking, 0);
    assert_int_equal(counters.accept_errors, 0);
    assert_int_equal(at.reports, 0);
    assert_int_equal(at.made, at.lost);
}

static void a_thousand_clients_that_go_at_once_disturb_nobody(void **state)
{
    (void)state;
    storm(20, 50, goes_at_once);
}

static void ten_thousand_resets_disturb_nobody(void **state)
{
    (void)state;
    storm(200, 50, resets_at_once);
}

static void a_thousand_resets_in_the_middle_of_it_disturb_nobody(void **state)
{
    (void)state;
    storm(20, 50, speaks_and_resets);
}

/* Everybody comes and goes while the server is closed, and made again at the same port. */
static void servers_that_come_and_go_lose_nobody(void **state)
{
    (void)state;
    serve();
    pco_server_options options = server_options();
    pco_address address = address_of(at.server, 0);
    options.port = pco_address_port(&address);
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned j = 0; j < 10; j++) {
            join_at(&address);
        }
        let_pass(i % 5);
        pco_server_close(at.server);
        pco_server_abort_clients(at.server);
        let_pass(i % 3);
        pco_server_free(at.server);
        at.server = NULL;
        assert_true(happens(all_peers_have_ended, NULL));
        for (peer *one = at.peers; one != NULL; one = one->next) {
            peer_close(one, true);
        }
        forget_peers();
        forget_records();
        serve_with(&options);
    }
}

static const struct CMUnitTest tests[] = {
    TEST(five_hundred_connections_at_once_are_served),
    TEST(all_of_five_hundred_are_closed_with_the_server),
    TEST(a_thousand_clients_that_go_at_once_disturb_nobody),
    TEST(ten_thousand_resets_disturb_nobody),
    TEST(a_thousand_resets_in_the_middle_of_it_disturb_nobody),
    TEST(servers_that_come_and_go_lose_nobody),
};

int main(void)
{
    return run_on(pco__backends, true, tests, sizeof tests / sizeof tests[0]);
}
