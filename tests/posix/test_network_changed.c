/* SPDX-License-Identifier: MIT */
/*
 * Goal: a loop of this system's tells of a network that changes.
 * Method: a network namespace of the test's own, which ip(8) changes, and real time: no test asks
 * how long anything took. What the kernel says is in test_netlink.c, when it is told in
 * test_changes.c.
 */
#define _GNU_SOURCE 1

#include "network_namespace.h"
#include "support.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define ADDRESSES PCO_NETWORK_ADDRESSES
#define ROUTES PCO_NETWORK_ROUTES

#define PATIENCE 60
#define LONG_ENOUGH 0.6 /* for what comes after it was quiet */

static pco_loop *loop;
static unsigned heard;
static unsigned calls;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    heard = 0;
    calls = 0;
    return pco_loop_new(NULL, &loop, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    namespace_clear();
    return memory_unwatch() == 0 ? 0 : -1;
}

static void hear(pco_loop *of, unsigned what, void *context)
{
    (void)of;
    (void)context;
    heard |= what;
    calls++;
}

static void hear_and_end(pco_loop *of, unsigned what, void *context)
{
    hear(of, what, context);
    pco_loop_set_network_changed(of, NULL, NULL, NULL);
}

static void watch_by(pco_network_changed callback)
{
    assert_int_equal(pco_loop_set_network_changed(loop, callback, NULL, NULL), 0);
}

/* A program that closed it may print to what has the number now. */
static void no_descriptor_of_it_is_the_standard_output(void **state)
{
    (void)state;
    watch_by(hear); /* the loop has made what it watches descriptors by, if it needs that */
    pco_loop_set_network_changed(loop, NULL, NULL, NULL);
    int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(saved >= 0);
    close(STDOUT_FILENO);
    int code = pco_loop_set_network_changed(loop, hear, NULL, NULL);
    bool is_taken = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_int_equal(code, 0);
    assert_false(is_taken);
}

static bool has_heard(void *context)
{
    return (heard & *(const unsigned *)context) != 0;
}

static bool never(void *context)
{
    (void)context;
    return false;
}

static void wait_for(unsigned what)
{
    assert_int_equal(pco_loop_run_until(loop, has_heard, &what, PATIENCE), 0);
    heard = 0;
}

static void wait_in_vain(void)
{
    assert_int_equal(pco_loop_run_until(loop, never, NULL, LONG_ENOUGH), PCO_ETIMEDOUT);
}

/* The lowest descriptor that is free: higher, if any was left open. */
static int free_descriptor(void)
{
    int descriptor = dup(0);
    close(descriptor);
    return descriptor;
}

static void addresses_and_routes_that_come_and_go_are_told(void **state)
{
    (void)state;
    watch_by(hear);
    ip("addr add 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
    ip("route add 198.51.100.0/24 dev lo");
    wait_for(ROUTES);
    ip("route del 198.51.100.0/24 dev lo");
    wait_for(ROUTES);
    ip("addr del 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
}

static void a_thousand_changes_are_told_in_a_call_or_two(void **state)
{
    (void)state;
    watch_by(hear);
    ip_many("addr add 10.%u.%u.1/32 dev lo", 1000);
    wait_for(ADDRESSES);
    wait_in_vain();
    assert_in_range(calls, 1, 2);
}

static void what_has_ended_in_its_callback_is_told_no_more(void **state)
{
    (void)state;
    watch_by(hear_and_end);
    ip("addr add 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
    ip("addr add 192.0.2.2/24 dev lo");
    wait_in_vain();
    assert_int_equal(calls, 1);
    watch_by(hear);
    ip("addr del 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
}

static void several_loops_hear_of_it(void **state)
{
    (void)state;
    pco_loop *other;
    unsigned what = ADDRESSES;
    assert_int_equal(pco_loop_new(NULL, &other, NULL), 0);
    watch_by(hear);
    assert_int_equal(pco_loop_set_network_changed(other, hear, NULL, NULL), 0);
    ip("addr add 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
    assert_int_equal(pco_loop_run_until(other, has_heard, &what, PATIENCE), 0);
    assert_int_equal(calls, 2);
    pco_loop_free(other);
}

static void a_loop_may_be_freed_with_news_that_wait(void **state)
{
    (void)state;
    int before = free_descriptor();
    for (unsigned turns = 0; turns < 3; turns++) {
        pco_loop *other;
        assert_int_equal(pco_loop_new(NULL, &other, NULL), 0);
        assert_int_equal(pco_loop_set_network_changed(other, hear, NULL, NULL), 0);
        ip(turns % 2 == 0 ? "addr add 192.0.2.1/24 dev lo" : "addr del 192.0.2.1/24 dev lo");
        run_turns(other, turns);
        pco_loop_free(other);
        assert_int_equal(free_descriptor(), before);
    }
    assert_int_equal(calls, 0);
}

/* From none that is free to the first number that is enough. */
static void without_descriptors_it_says_so_and_leaves_none_open(void **state)
{
    (void)state;
    struct rlimit limit;
    struct rlimit few;
    pco_error error = {0};
    int before = free_descriptor();
    int code = PCO_EMFILE;
    unsigned tries = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = limit;
    for (; code == PCO_EMFILE && tries < 16; tries++) {
        few.rlim_cur = (rlim_t)before + tries;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        code = pco_loop_set_network_changed(loop, hear, NULL, &error);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (code != 0) {
            assert_int_equal(error.code, PCO_EMFILE);
            assert_int_equal(free_descriptor(), before);
        }
    }
    assert_int_equal(code, 0);
    assert_true(tries > 2);
    ip("addr add 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
    pco_loop_set_network_changed(loop, NULL, NULL, NULL);
    assert_int_equal(free_descriptor(), before);
}

static void out_of_memory_it_leaves_nothing(void **state)
{
    (void)state;
    int before = free_descriptor();
    int code = PCO_ENOMEM;
    for (size_t nth = 1; code == PCO_ENOMEM; nth++) {
        memory_fail(nth, false);
        code = pco_loop_set_network_changed(loop, hear, NULL, NULL);
        assert_true(code == 0 || free_descriptor() == before);
    }
    memory_fail(0, false);
    assert_int_equal(code, 0);
    ip("addr add 192.0.2.1/24 dev lo");
    wait_for(ADDRESSES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_and_routes_that_come_and_go_are_told),
        TEST(a_thousand_changes_are_told_in_a_call_or_two),
        TEST(what_has_ended_in_its_callback_is_told_no_more),
        TEST(several_loops_hear_of_it),
        TEST(a_loop_may_be_freed_with_news_that_wait),
        TEST(no_descriptor_of_it_is_the_standard_output),
        TEST(without_descriptors_it_says_so_and_leaves_none_open),
        TEST(out_of_memory_it_leaves_nothing),
    };
    return namespace_enter() ? cmocka_run_group_tests(tests, NULL, NULL) : NAMESPACE_SKIPPED;
}
