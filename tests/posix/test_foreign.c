/* SPDX-License-Identifier: MIT */
/*
 * Goal: descriptors that are somebody else's, as only a system with descriptors has them: pipes and
 * files, duplicates that outlive what was watched, numbers that are another's by now, none left.
 * Method: the public functions on every backend, and the system's own calls.
 */
#define _GNU_SOURCE 1

#include "behaviour.h"

#include <portico/host.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned calls;
static unsigned other_calls;

static void count(void *context)
{
    ++*(unsigned *)context;
}

static void read_from(int descriptor)
{
    assert_int_equal(pco_loop_add_reader(at.loop, descriptor, count, &calls, NULL), 0);
}

static void write_to(int descriptor)
{
    assert_int_equal(pco_loop_add_writer(at.loop, descriptor, count, &other_calls, NULL), 0);
}

static void make_pipe(int ends[2])
{
    calls = other_calls = 0;
    assert_int_equal(pipe(ends), 0);
}

/* Whether this is libkqueue's like, which sees no close() and knows sockets and pipes alone. */
static bool is_kqueue(void)
{
    return strcmp(tested->name, "kqueue") == 0;
}

static void is_over(void *context)
{
    *(bool *)context = true;
}

/* How many turns the loop has in a while: if nothing wakes it, very few. */
static unsigned turns_in_a_while(void)
{
    bool over = false;
    unsigned turns = 0;
    assert_int_equal(pco_loop_call_later(at.loop, 0.05, is_over, &over, NULL), 0);
    while (!over && turns < 100000) {
        assert_int_equal(pco_loop_run_once(at.loop, INFINITY), 0);
        turns++;
    }
    return turns;
}

/* Far more than it needs, far fewer than a loop that spins has. */
#define FEW 40

/* ---- Pipes ---- */

static void a_pipe_is_watched_at_both_ends(void **state)
{
    (void)state;
    int ends[2];
    char byte;
    make_pipe(ends);
    read_from(ends[0]);
    write_to(ends[1]);
    assert_true(reaches(&other_calls, 3));
    assert_int_equal(calls, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(reaches(&calls, 3));
    assert_int_equal(read(ends[0], &byte, 1), 1);
    let_pass(2);
    unsigned before = calls;
    let_pass(5);
    assert_int_equal(calls, before);
    assert_true(pco_loop_remove_writer(at.loop, ends[1]));
    assert_true(turns_in_a_while() < FEW);
    close(ends[1]);
    assert_true(reaches(&calls, before + 3)); /* the end */
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    close(ends[0]);
}

static void a_writer_hears_that_nobody_reads_any_more(void **state)
{
    (void)state;
    static const char much[65536];
    int ends[2];
    make_pipe(ends);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], much, sizeof much) > 0) {
    }
    write_to(ends[1]);
    let_pass(5);
    assert_int_equal(other_calls, 0);
    close(ends[0]);
    assert_true(reaches(&other_calls, 3));
    assert_true(pco_loop_remove_writer(at.loop, ends[1]));
    assert_true(turns_in_a_while() < FEW);
    close(ends[1]);
}

static void a_failure_is_told_to_both_directions(void **state)
{
    (void)state;
    int pair[2];
    calls = other_calls = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    static const char much[65536];
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    while (write(pair[0], much, sizeof much) > 0) {
    }
    read_from(pair[0]);
    write_to(pair[0]);
    let_pass(5);
    assert_int_equal(calls + other_calls, 0);
    close(pair[1]);
    assert_true(reaches(&calls, 3));
    assert_true(reaches(&other_calls, 3));
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    unsigned before = other_calls;
    assert_true(reaches(&other_calls, before + 3));
    assert_true(pco_loop_remove_writer(at.loop, pair[0]));
    assert_true(turns_in_a_while() < FEW); /* though it is still so */
    close(pair[0]);
}

/* ---- What cannot be watched ---- */

static void a_regular_file_is_refused_with_a_sentence(void **state)
{
    (void)state;
    pco_error error = {0};
    FILE *file = tmpfile();
    assert_non_null(file);
    int code = pco_loop_add_reader(at.loop, fileno(file), count, &calls, &error);
    if (code != 0) { /* the BSDs watch it, and say that there is something before its end */
        assert_int_equal(code, PCO_ENOTSUP);
        assert_non_null(strstr(error.message, "regular file"));
        assert_false(pco_loop_remove_reader(at.loop, fileno(file)));
    } else {
        assert_true(is_kqueue());
        assert_true(pco_loop_remove_reader(at.loop, fileno(file)));
    }
    fclose(file);
}

static void without_descriptors_the_first_watch_fails_and_a_later_one_works(void **state)
{
    (void)state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && strstr(preload, "vgpreload") != NULL) {
        print_message("valgrind does not run out of descriptors as the system does\n");
        skip();
    }
    int ends[2];
    int taken[256];
    size_t many = 0;
    struct rlimit before;
    pco_error error = {0};
    make_pipe(ends);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit low = before;
    low.rlim_cur = 256;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (many < 256 && (taken[many] = dup(STDERR_FILENO)) >= 0) {
        many++;
    }
    int code = pco_loop_add_reader(at.loop, ends[0], count, &calls, &error);
    while (many > 0) {
        close(taken[--many]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(code, PCO_EMFILE);
    assert_int_equal(error.code, PCO_EMFILE);
    read_from(ends[0]);
    close(ends[1]);
    assert_true(reaches(&calls, 2));
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    close(ends[0]);
}

/* ---- Duplicates and numbers ---- */

/* epoll(7), Questions and answers, 6: no call can end such a registration. */
static void
a_duplicate_of_what_was_closed_and_then_removed_does_not_keep_the_loop_awake(void **state)
{
    (void)state;
    int ends[2];
    int alive[2];
    make_pipe(ends);
    make_pipe(alive);
    int duplicate = dup(ends[0]);
    read_from(ends[0]);
    assert_int_equal(pco_loop_add_reader(at.loop, alive[0], count, &other_calls, NULL), 0);
    close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), 1);
    let_pass(5);
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    unsigned before = calls;
    assert_true(turns_in_a_while() < FEW);
    assert_int_equal(calls, before);
    assert_int_equal(write(alive[1], "x", 1), 1); /* the others are watched as before */
    assert_true(reaches(&other_calls, 3));
    assert_true(pco_loop_remove_reader(at.loop, alive[0]));
    assert_true(turns_in_a_while() < FEW);
    close(duplicate);
    close(ends[1]);
    close(alive[0]);
    close(alive[1]);
}

static void a_duplicate_with_the_old_number_is_watched_when_it_is_added(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    int duplicate = dup(ends[0]);
    read_from(ends[0]);
    close(ends[0]);
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    let_pass(2);
    assert_int_equal(dup2(duplicate, ends[0]), ends[0]);
    close(duplicate);
    read_from(ends[0]);
    unsigned before = calls;
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(reaches(&calls, before + 3));
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    assert_true(turns_in_a_while() < FEW);
    close(ends[0]);
    close(ends[1]);
}

/* The old one's duplicate goes on having something to read, and the new one has nothing. */
static void news_of_a_duplicate_are_not_told_of_what_has_the_number_now(void **state)
{
    (void)state;
    int ends[2];
    int fresh[2];
    make_pipe(ends);
    make_pipe(fresh);
    int number = ends[0];
    int duplicate = dup(number);
    read_from(number);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(reaches(&calls, 1));
    assert_int_equal(dup2(fresh[0], number), number);
    read_from(number);
    let_pass(3);
    unsigned before = calls;
    assert_true(turns_in_a_while() < FEW);
    assert_int_equal(calls, before);
    assert_int_equal(write(fresh[1], "x", 1), 1);
    assert_true(reaches(&calls, before + 3));
    assert_true(pco_loop_remove_reader(at.loop, number));
    close(duplicate);
    close(number);
    close(ends[1]);
    close(fresh[0]);
    close(fresh[1]);
}

/* A third one makes the events of a duplicate end: nothing else is watched by that. */
static void what_has_the_number_of_a_closed_one_is_not_watched(void **state)
{
    (void)state;
    int ends[2];
    int fresh[2];
    int third[2];
    make_pipe(ends);
    make_pipe(fresh);
    make_pipe(third);
    int duplicate = dup(third[0]);
    read_from(ends[0]);
    assert_int_equal(pco_loop_add_reader(at.loop, third[0], count, &other_calls, NULL), 0);
    let_pass(2);
    assert_int_equal(dup2(fresh[0], ends[0]), ends[0]);
    assert_int_equal(write(fresh[1], "x", 1), 1);
    close(third[0]);
    assert_int_equal(write(third[1], "x", 1), 1);
    let_pass(3);
    assert_true(pco_loop_remove_reader(at.loop, third[0]));
    let_pass(5);
    assert_int_equal(calls, 0);
    read_from(ends[0]);
    assert_true(reaches(&calls, 3));
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    close(duplicate);
    close(third[1]);
    close(ends[0]);
    close(ends[1]);
    close(fresh[0]);
    close(fresh[1]);
}

static pco_transport *made;

static void note_made(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)protocol;
    (void)error;
    (void)context;
    made = transport;
}

static bool is_made(void *context)
{
    (void)context;
    return made != NULL;
}

static void the_number_of_a_closed_one_may_be_that_of_a_connection(void **state)
{
    (void)state;
    int ends[2];
    pco_socket pair[2];
    make_pipe(ends);
    int duplicate = dup(ends[0]);
    read_from(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(reaches(&calls, 1));
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(dup2((int)pair[0], ends[0]), ends[0]);
    close((int)pair[0]);
    made = NULL;
    if (!sees_close()) {
        assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    }
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .sock = ends[0],
                                      .has_sock = PCO_ON};
    assert_int_equal(
        pco_loop_connect_accepted_socket(at.loop, &options, note_made, NULL, NULL, NULL), 0);
    assert_true(happens(is_made, NULL));
    record *own = newest();
    assert_int_equal(socket_send(pair[1], "one", 3), 3);
    assert_true(grows_to(&own->length, 3));
    assert_false(pco_loop_remove_reader(at.loop, ends[0]));
    let_pass(3);
    assert_int_equal(socket_send(pair[1], "two", 3), 3);
    assert_true(grows_to(&own->length, 6));
    assert_int_equal(pco_loop_add_reader(at.loop, ends[0], count, &calls, NULL), PCO_EBUSY);
    close((int)pair[1]);
    assert_true(becomes(&own->lost));
    close(duplicate);
    close(ends[1]);
}

static void large_numbers_are_watched(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    int large = fcntl(ends[0], F_DUPFD, 900);
    assert_true(large >= 900);
    read_from(large);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(reaches(&calls, 2));
    assert_true(pco_loop_remove_reader(at.loop, large));
    close(large);
    close(ends[0]);
    close(ends[1]);
}

static bool is_ready(int descriptor, int milliseconds)
{
    struct pollfd one = {.fd = descriptor, .events = POLLIN};
    return poll(&one, 1, milliseconds) == 1;
}

static void the_loops_own_descriptor_tells_of_them(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    int own = pco_loop_get_descriptor(at.loop);
    assert_true(own >= 0);
    read_from(ends[0]);
    let_pass(3);
    assert_false(is_ready(own, 0));
    assert_int_equal(write(ends[1], "x", 1), 1);
    for (unsigned turn = 1; turn <= 3; turn++) {
        assert_true(is_ready(own, (int)(1000 * PATIENCE)));
        assert_int_equal(pco_loop_run_once(at.loop, 0), 0);
        assert_int_equal(calls, turn);
    }
    assert_true(pco_loop_remove_reader(at.loop, ends[0]));
    let_pass(3);
    assert_false(is_ready(own, 0));
    close(ends[0]);
    close(ends[1]);
}

/* Both ends of each; more than one poll() takes over. */
#define PAIRS 350

static void more_than_one_poll_takes_over_all_have_their_turn(void **state)
{
    (void)state;
    static int ends[2 * PAIRS];
    static unsigned heard[2 * PAIRS];
    memset(heard, 0, sizeof heard);
    for (int i = 0; i < 2 * PAIRS; i += 2) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, &ends[i]), 0);
        assert_int_equal(write(ends[i], "x", 1), 1);
        assert_int_equal(write(ends[i + 1], "x", 1), 1);
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        assert_int_equal(pco_loop_add_reader(at.loop, ends[i], count, &heard[i], NULL), 0);
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        assert_true(reaches(&heard[i], 3));
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        assert_true(pco_loop_remove_reader(at.loop, ends[i]));
    }
    assert_true(turns_in_a_while() < FEW);
    for (int i = 0; i < 2 * PAIRS; i++) {
        close(ends[i]);
    }
}

/* Fewer at a time, but as many in a turn. */
static void with_a_budget_all_have_their_turn(void **state)
{
    (void)state;
    static int ends[2 * 20];
    static unsigned heard[2 * 20];
    unsigned turns = 0;
    memset(heard, 0, sizeof heard);
    assert_int_equal(pco_loop_set_turn_budget(at.loop, 3600), 0);
    for (int i = 0; i < 2 * 20; i += 2) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, &ends[i]), 0);
        assert_int_equal(write(ends[i], "x", 1), 1);
        assert_int_equal(write(ends[i + 1], "x", 1), 1);
        for (int j = i; j < i + 2; j++) {
            assert_int_equal(pco_loop_add_reader(at.loop, ends[j], count, &heard[j], NULL), 0);
        }
    }
    for (int i = 0; i < 2 * 20; i++) {
        while (heard[i] == 0) {
            assert_true(turns++ < 3);
            assert_int_equal(pco_loop_run_once(at.loop, 0), 0);
        }
    }
    for (int i = 0; i < 2 * 20; i++) {
        assert_true(pco_loop_remove_reader(at.loop, ends[i]));
        close(ends[i]);
    }
    assert_int_equal(pco_loop_set_turn_budget(at.loop, 0), 0);
}

/* ---- Loops in loops ---- */

static void a_loop_does_not_watch_itself(void **state)
{
    (void)state;
    pco_error error = {0};
    int own = pco_loop_get_descriptor(at.loop);
    assert_int_equal(pco_loop_add_reader(at.loop, own, count, &calls, &error), PCO_EBUSY);
    assert_non_null(strstr(error.message, "this loop"));
    assert_false(pco_loop_remove_reader(at.loop, own));
}

static void run_the_other(void *context)
{
    pco_loop_run_once(context, 0);
}

static void a_loop_lives_in_another_and_not_both_in_each_other(void **state)
{
    (void)state;
    pco_loop *other;
    pco_error error = {0};
    int own = pco_loop_get_descriptor(at.loop);
    assert_int_equal(pco__loop_new(NULL, tested, &other, NULL), 0);
    int its = pco_loop_get_descriptor(other);
    calls = 0;
    int code = pco_loop_add_reader(at.loop, its, run_the_other, other, &error);
    if (code != 0 && is_kqueue() && error.system_code == ELOOP) {
        pco_loop_free(other);
        skip(); /* the stand-in's queues are made of epoll's, which may not be that deep */
    }
    assert_int_equal(code, 0);
    assert_int_equal(pco_loop_call_soon(other, count, &calls, NULL), 0);
    assert_true(reaches(&calls, 1));
    code = pco_loop_add_reader(other, own, count, &calls, &error);
    if (code != 0) {
        assert_int_equal(code, PCO_ENOTSUP);
        assert_non_null(strstr(error.message, "loop"));
    } else {
        assert_true(is_kqueue()); /* which does not look for that */
        assert_true(pco_loop_remove_reader(other, own));
    }
    assert_true(pco_loop_remove_reader(at.loop, its));
    let_pass(2);
    pco_loop_free(other);
}

static const struct CMUnitTest tests[] = {
    TEST(a_pipe_is_watched_at_both_ends),
    TEST(a_writer_hears_that_nobody_reads_any_more),
    TEST(a_failure_is_told_to_both_directions),
    TEST(a_regular_file_is_refused_with_a_sentence),
    TEST(without_descriptors_the_first_watch_fails_and_a_later_one_works),
    TEST(a_duplicate_of_what_was_closed_and_then_removed_does_not_keep_the_loop_awake),
    TEST(a_duplicate_with_the_old_number_is_watched_when_it_is_added),
    TEST(news_of_a_duplicate_are_not_told_of_what_has_the_number_now),
    TEST(what_has_the_number_of_a_closed_one_is_not_watched),
    TEST(the_number_of_a_closed_one_may_be_that_of_a_connection),
    TEST(large_numbers_are_watched),
    TEST(the_loops_own_descriptor_tells_of_them),
    TEST(more_than_one_poll_takes_over_all_have_their_turn),
    TEST(with_a_budget_all_have_their_turn),
    TEST(a_loop_does_not_watch_itself),
    TEST(a_loop_lives_in_another_and_not_both_in_each_other),
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
