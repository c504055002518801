/* SPDX-License-Identifier: MIT */
/*
 * Goal: a host that waits by itself for the loop's descriptor and its next timeout sleeps through
 * nothing, whatever was done to the loop between turns; without threads hosting is an error.
 * Method: poll() that does not wait, directly after each thing that can be done, on each of this
 * system's backends.
 */
#include "support.h"

#include <portico/host.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const pco__backend_class *tested_class;
static pco_loop *loop;
static int descriptor;
static unsigned ran;
static recorder ends[2];
static pco_transport *transports[2];

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    ran = 0;
    int code = pco__loop_new(NULL, tested_class, &loop, NULL);
    /* Or how fast the machine is would decide. */
    return code == 0 ? pco_loop_set_turn_budget(loop, INFINITY) : code;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void note(void *context)
{
    ++*(unsigned *)context;
}

static bool is_readable(void)
{
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

static bool is_due(void)
{
    return pco_loop_next_timeout(loop) == 0 || is_readable();
}

/* What is due is done, until nothing is any more. */
static void do_all(void)
{
    unsigned turns = 0;
    while (is_due() && turns++ < 1000) {
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
    assert_true(turns < 1000);
}

/* The same as a host does it, waiting, until `count` is so much. */
static void live_until(const unsigned *count, unsigned least)
{
    while (*count < least) {
        double seconds = pco_loop_next_timeout(loop);
        struct pollfd entry = {.fd = descriptor, .events = POLLIN};
        poll(&entry, 1, isinf(seconds) ? -1 : (int)ceil(seconds * 1000));
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
}

static void watch(void)
{
    descriptor = pco_loop_get_descriptor(loop);
    assert_true(descriptor >= 0);
    do_all();
    assert_true(isinf(pco_loop_next_timeout(loop)));
}

/* ---- Callbacks and timers ---- */

static void it_is_the_same_each_time(void **state)
{
    (void)state;
    watch();
    assert_int_equal(pco_loop_get_descriptor(loop), descriptor);
    assert_false(is_readable());
}

static void what_was_due_when_it_was_asked_for_makes_it_readable(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_soon(loop, note, &ran, NULL), 0);
    descriptor = pco_loop_get_descriptor(loop);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ran, 1);
}

static void a_callback_makes_it_readable(void **state)
{
    (void)state;
    watch();
    assert_int_equal(pco_loop_call_soon(loop, note, &ran, NULL), 0);
    assert_true(is_readable());
    assert_true(pco_loop_next_timeout(loop) == 0);
    do_all();
    assert_int_equal(ran, 1);
    assert_int_equal(pco_loop_call_soon_threadsafe(loop, note, &ran, NULL), 0);
    assert_true(is_readable());
    assert_true(pco_loop_next_timeout(loop) == 0);
    do_all();
    assert_int_equal(ran, 2);
}

static void a_stop_makes_it_readable(void **state)
{
    (void)state;
    watch();
    pco_loop_stop(loop);
    assert_true(is_readable());
    do_all();
}

static void note_and_call(void *context)
{
    note(context);
    pco_loop_call_soon(loop, note, context, NULL);
}

static void what_a_turn_leaves_makes_it_readable(void **state)
{
    (void)state;
    watch();
    assert_int_equal(pco_loop_call_soon(loop, note_and_call, &ran, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_int_equal(ran, 1);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ran, 2);
}

static void the_first_timer_is_the_next_timeout(void **state)
{
    pco_handle *handle = NULL;

    (void)state;
    watch();
    assert_int_equal(pco_loop_call_later(loop, 3600, note, &ran, NULL), 0);
    assert_true(is_readable());
    do_all(); /* libkqueue wants a second turn */
    assert_false(is_readable());
    assert_true(pco_loop_next_timeout(loop) > 3000 && pco_loop_next_timeout(loop) <= 3600);
    assert_int_equal(pco_loop_call_later(loop, 7200, note, &ran, NULL), 0);
    assert_false(is_readable());
    assert_int_equal(pco_loop_call_later(loop, 600, note, &ran, &handle), 0);
    assert_true(is_readable());
    assert_true(pco_loop_next_timeout(loop) <= 600);
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    assert_true(pco_loop_next_timeout(loop) > 3000);
    assert_int_equal(pco_loop_call_later(loop, 0.002, note, &ran, NULL), 0);
    live_until(&ran, 1);
}

/* ---- Connections ---- */

static void remember(recorder *self, pco_transport *transport)
{
    transports[self - ends] = transport;
}

static pco_protocol *give_end(void *context)
{
    return &((recorder *)context)->protocol;
}

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    ran += error != NULL; /* which a test would notice */
}

/* Two ends of a connection, both on the loop. */
static void connect_both(void)
{
    pco_socket pair[2];

    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        pco_connection_options options = {.size = sizeof options,
                                          .protocol_factory = give_end,
                                          .context = &ends[i],
                                          .has_sock = PCO_ON,
                                          .sock = pair[i]};
        recorder_init(&ends[i], false);
        ends[i].at[MADE] = remember;
        assert_int_equal(pco_loop_create_connection(loop, &options, connected, NULL, NULL, NULL),
                         0);
        assert_true(is_due());
    }
    do_all();
    assert_int_equal(ends[0].counts[MADE] + ends[1].counts[MADE], 2);
}

static void end_both(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (ends[i].counts[LOST] == 0) {
            pco_transport_abort(transports[i]);
            assert_true(is_readable());
        }
        do_all();
        assert_int_equal(ends[i].counts[LOST], 1);
        assert_null(ends[i].violation);
        recorder_free(&ends[i]);
    }
}

static void what_comes_makes_it_readable(void **state)
{
    (void)state;
    watch();
    connect_both();
    assert_false(is_due());
    assert_int_equal(pco_transport_write(transports[0], "hello", 5), 0);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ends[1].length, 5);
    pco_transport_write_eof(transports[1]);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ends[0].counts[END], 1);
    end_both();
}

static void what_is_done_to_a_connection_makes_it_readable(void **state)
{
    (void)state;
    watch();
    connect_both();
    pco_transport_pause_reading(transports[1]);
    assert_int_equal(pco_transport_write(transports[0], "hello", 5), 0);
    do_all();
    assert_int_equal(ends[1].counts[DATA], 0);
    pco_transport_resume_reading(transports[1]);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ends[1].length, 5);
    pco_transport_close(transports[0]);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ends[0].counts[LOST], 1);
    end_both();
}

static void what_does_not_leave_at_once_is_due_when_it_can(void **state)
{
    static unsigned char much[4 << 20];

    (void)state;
    watch();
    connect_both();
    assert_int_equal(pco_transport_write(transports[0], much, sizeof much), 0);
    while (ends[1].length < sizeof much) {
        assert_true(is_due());
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
    }
    end_both();
}

/* ---- Both ways at once, and none ---- */

static void ignore(void *context)
{
    (void)context;
}

static void the_descriptor_outlives_hosting(void **state)
{
    (void)state;
    watch();
    assert_int_equal(pco_loop_host(loop, ignore, NULL, NULL), 0);
    assert_int_equal(pco_loop_get_descriptor(loop), descriptor);
    assert_int_equal(pco_loop_unhost(loop), 0);
    do_all();
    assert_int_equal(pco_loop_call_soon(loop, note, &ran, NULL), 0);
    assert_true(is_readable());
    do_all();
    assert_int_equal(ran, 1);
}

#define CANNOT_BE_TRIED 77

/* In a process that may start no more threads. Returns 0 if all is as it should be. */
static int host_without_threads(pco_loop *own)
{
    const struct rlimit none = {0, 0};
    pco_error error = {.message = ""};

    if (setrlimit(RLIMIT_NPROC, &none) != 0 || (getuid() == 0 && setuid(65534) != 0)) {
        return CANNOT_BE_TRIED;
    }
    int code = pco_loop_host(own, ignore, NULL, &error);
    if (code == 0) {
        return CANNOT_BE_TRIED; /* the system does not count threads */
    }
    pco_loop_call_soon(own, note, &ran, NULL);
    return code == PCO_EAGAIN && strstr(error.message, "start a thread") != NULL &&
                   pco_loop_run_once(own, INFINITY) == 0 && ran == 1
               ? 0
               : 1;
}

static void without_threads_the_loop_is_what_it_was(void **state)
{
    int answer[2];
    int result = -1;

    (void)state;
    pco_loop_free(loop); /* the child would have it, too, and lose it */
    loop = NULL;
    assert_int_equal(pipe(answer), 0);
    pid_t child = fork();
    if (child == 0) {
        pco_loop *own = NULL;
        result = pco__loop_new(NULL, tested_class, &own, NULL);
        if (result == 0) {
            result = host_without_threads(own);
            pco_loop_free(own);
        }
        while (write(answer[1], &result, sizeof result) < 0 && errno == EINTR) {
        }
        raise(SIGKILL); /* or valgrind would look for what its parent has not freed */
    }
    close(answer[1]);
    assert_int_equal(read(answer[0], &result, sizeof result), sizeof result);
    close(answer[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    if (result == CANNOT_BE_TRIED) {
        skip();
    }
    assert_int_equal(result, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_the_same_each_time),
        TEST(what_was_due_when_it_was_asked_for_makes_it_readable),
        TEST(a_callback_makes_it_readable),
        TEST(a_stop_makes_it_readable),
        TEST(what_a_turn_leaves_makes_it_readable),
        TEST(the_first_timer_is_the_next_timeout),
        TEST(what_comes_makes_it_readable),
        TEST(what_is_done_to_a_connection_makes_it_readable),
        TEST(what_does_not_leave_at_once_is_due_when_it_can),
        TEST(the_descriptor_outlives_hosting),
        TEST(without_threads_the_loop_is_what_it_was),
    };
    int failed = 0;
    for (size_t i = 0; pco__backends[i] != NULL; i++) {
        tested_class = pco__backends[i];
        failed += cmocka_run_group_tests_name(tested_class->name, tests, NULL, NULL);
    }
    return failed;
}
