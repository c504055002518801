/* SPDX-License-Identifier: MIT */
/*
 * Goal: a server outlives the want of descriptors: whoever comes is turned away and not left to
 * wait, those who are there are served, and the loop does not spin.
 * Method: the process may open no more. (Not under valgrind, which keeps the limit in its own way.)
 */
#define _GNU_SOURCE 1

#include "behaviour.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static unsigned turns;

static bool count_turns(void *context)
{
    (void)context;
    turns++;
    return false;
}

/* No descriptor is free, for the server nor for anybody. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before;
    struct rlimit tight;
    int lowest = dup(0);
    assert_true(lowest >= 0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    return before;
}

static void without_descriptors_clients_are_turned_away_and_the_server_lives_on(void **state)
{
    (void)state;
    at.echoes = true;
    serve();
    peer *first = join();
    assert_true(reaches(&at.made, 1));
    peer *unlucky[3] = {join(), join(), join()};
    struct rlimit before = use_up_descriptors();
    bool ended = true;
    for (unsigned i = 0; i < 3; i++) {
        ended = ended && reaches(&unlucky[i]->ended, 1);
    }
    turns = 0;
    int code = pco_loop_run_until(at.loop, count_turns, NULL, 0.5);
    unsigned idle_turns = turns;
    peer_send(first, "hello", 5);
    bool serves = grows_to(&first->length, 5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);

    assert_true(ended); /* and not left waiting for an answer */
    assert_int_equal(code, PCO_ETIMEDOUT);
    assert_true(idle_turns < 20);
    assert_true(serves);
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_EMFILE);
    pco_server_counters counters = counters_of(at.server);
    assert_true(counters.accept_errors >= 1);
    assert_int_equal(counters.refused, 3);
    assert_int_equal(at.made, 1);
    assert_true(pco_server_is_serving(at.server));
    peer *lucky = join();
    peer_send(lucky, "again", 5);
    assert_true(grows_to(&lucky->length, 5)); /* at the latest a second later */
}

/* The resolver needs descriptors, too, and says nothing of it. */
static void without_descriptors_a_name_does_not_count_as_unknown(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    pco_server *server = NULL;
    pco_error error = {0};
    options.host = "localhost";
    struct rlimit before = use_up_descriptors();
    int code = pco_loop_create_server(at.loop, &options, &server, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, PCO_EMFILE);
    assert_int_equal(error.system_code, EMFILE);
    assert_non_null(strstr(error.message, ": too many open files or sockets"));
    serve_with(&options);
}

/* ---- Pairs ---- */

static void a_pair_is_made_of_new_sockets(void **state)
{
    (void)state;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(pair[i] > STDERR_FILENO);
        assert_int_not_equal(fcntl((int)pair[i], F_GETFD) & FD_CLOEXEC, 0);
        assert_int_equal(fcntl((int)pair[i], F_GETFL) & O_NONBLOCK, 0);
        close((int)pair[i]);
    }
}

/* Nothing is printed while descriptor 0 is closed. */
static void a_pair_never_is_a_standard_descriptor(void **state)
{
    (void)state;
    pco_socket pair[2] = {PCO_NO_SOCKET, PCO_NO_SOCKET};
    int kept = dup(STDIN_FILENO);
    assert_true(kept > STDERR_FILENO);
    close(STDIN_FILENO);
    int code = pco_socket_pair(pair, NULL);
    bool is_free = fcntl(STDIN_FILENO, F_GETFD) == -1;
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
    assert_int_equal(code, 0);
    assert_true(is_free);
    for (size_t i = 0; i < 2; i++) {
        assert_true(pair[i] > STDERR_FILENO);
        assert_int_not_equal(fcntl((int)pair[i], F_GETFD) & FD_CLOEXEC, 0);
        close((int)pair[i]);
    }
}

static void without_descriptors_there_is_no_pair_nor_half_of_one(void **state)
{
    (void)state;
    pco_socket pair[2] = {77, 78};
    pco_error error = {0};
    unsigned sockets = count_sockets();
    struct rlimit before = use_up_descriptors();
    int code = pco_socket_pair(pair, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, PCO_EMFILE);
    assert_string_equal(error.message, "make a pair of sockets: too many open files or sockets");
    assert_int_equal(pair[0], 77);
    assert_int_equal(pair[1], 78);
    assert_int_equal(count_sockets(), sockets);
}

static const struct CMUnitTest tests[] = {
    TEST(without_descriptors_a_name_does_not_count_as_unknown),
    TEST(without_descriptors_clients_are_turned_away_and_the_server_lives_on),
    TEST(a_pair_is_made_of_new_sockets),
    TEST(a_pair_never_is_a_standard_descriptor),
    TEST(without_descriptors_there_is_no_pair_nor_half_of_one),
};

int main(void)
{
    return run_here("descriptors", tests, sizeof tests / sizeof tests[0]);
}
