/* SPDX-License-Identifier: MIT */
/*
 * Goal: pco_server_serve_until_signal serves, ends in order at the first signal and at once at the
 * second, and leaves no handler behind. (serve_forever: test_server.c.)
 * Method: the fake backend, where time is a number; signals come by pco__watch_tell, inside timers.
 */
#include "behaviour.h"

#include "fake_backend.h"
#include "system/signals.h"

/* A protocol that hears of the shutdown and stays until `stays` seconds later. */
typedef struct guest {
    pco_protocol protocol;
    pco_transport *transport;
    bool told;
    bool lost;
    bool cleanly;
} guest;

#define GUESTS 3

static guest guests[GUESTS];
static unsigned guests_count;
static double stays;
static char story[128];

static void guest_made(pco_protocol *self, pco_transport *transport)
{
    ((guest *)self)->transport = transport;
}

static void leave_at_last(void *context)
{
    guest *self = context;
    if (!self->lost) {
        pco_transport_close(self->transport);
    }
}

static void guest_told(pco_protocol *protocol, pco_transport *transport)
{
    guest *self = (guest *)protocol;
    self->told = true;
    pco_loop_call_later(pco_transport_get_loop(transport), stays, leave_at_last, self, NULL);
}

static void guest_lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    guest *self = (guest *)protocol;
    (void)transport;
    self->lost = true;
    self->cleanly = error == NULL;
}

static const pco_protocol_methods guest_methods = {.size = sizeof guest_methods,
                                                   .connection_made = guest_made,
                                                   .connection_lost = guest_lost,
                                                   .shutting_down = guest_told};

static pco_protocol *make_guest(void *context)
{
    (void)context;
    guest *made = &guests[guests_count++];
    made->protocol.methods = &guest_methods;
    return &made->protocol;
}

static void create(void)
{
    memset(guests, 0, sizeof guests);
    guests_count = 0;
    story[0] = '\0';
    pco_server_options options = server_options();
    options.protocol_factory = make_guest;
    options.start_serving = PCO_OFF;
    serve_with(&options);
}

static void let_guests_in(void)
{
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    for (unsigned i = 0; i < GUESTS; i++) {
        fake_connect(at.loop, pco_server_get_socket(at.server, 0), NULL);
        let_pass(1);
    }
    assert_int_equal(guests_count, GUESTS);
}

static const int signal_int = PCO_SIGINT;
static const int signal_term = PCO_SIGTERM;

static void come(void *context)
{
    if (!pco__watch_tell(*(const int *)context)) {
        snprintf(story, sizeof story, "nobody handles it");
    }
}

static void later(double delay, pco_callback callback, const void *context)
{
    void *plain = (void *)(uintptr_t)context;
    assert_int_equal(pco_loop_call_later(at.loop, delay, callback, plain, NULL), 0);
}

static double serve_for(double grace)
{
    pco_error error = {0};
    double began = pco_loop_time(at.loop);
    assert_int_equal(pco_server_serve_until_signal(at.server, grace, &error), 0);
    assert_int_equal(error.code, 0);
    assert_string_equal(story, "");
    for (const int *number = pco__ending_signals; *number != 0; number++) {
        assert_false(pco__watch_tell(*number));
    }
    return pco_loop_time(at.loop) - began;
}

static bool took(double seconds, double expected)
{
    return fabs(seconds - expected) < 0.001;
}

static unsigned count_lost(bool cleanly)
{
    unsigned count = 0;
    for (unsigned i = 0; i < GUESTS; i++) {
        count += guests[i].lost && guests[i].cleanly == cleanly;
    }
    return count;
}

/* ---- One signal ---- */

static void every_signal_that_ends_a_program_ends_it(void **state)
{
    (void)state;
    for (const int *number = pco__ending_signals; *number != 0; number++) {
        create();
        later(7, come, number);
        assert_true(took(serve_for(5), 7));
        assert_false(pco_server_is_serving(at.server));
        assert_int_equal(pco_server_get_socket_count(at.server), 0);
        end_server();
    }
}

static void connections_finish_what_they_are_at(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 3;
    later(10, come, &signal_term);
    assert_true(took(serve_for(5), 13));
    assert_true(guests[0].told && guests[1].told && guests[2].told);
    assert_int_equal(count_lost(true), GUESTS);
}

static void who_has_not_finished_after_the_grace_is_aborted(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 100;
    later(10, come, &signal_int);
    assert_true(took(serve_for(5), 15));
    assert_int_equal(counters_of(at.server).active, 0);
    assert_int_equal(count_lost(true) + count_lost(false), GUESTS);
}

static void without_grace_all_are_aborted_at_once(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 100;
    later(1, come, &signal_int);
    assert_true(took(serve_for(0), 1));
    assert_int_equal(counters_of(at.server).active, 0);
}

/* ---- Two signals ---- */

static void a_second_signal_does_not_wait(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 100;
    later(10, come, &signal_int);
    later(11, come, &signal_term);
    assert_true(took(serve_for(INFINITY), 11));
    assert_true(guests[0].told);
    assert_int_equal(counters_of(at.server).active, 0);
    assert_int_equal(count_lost(true) + count_lost(false), GUESTS);
}

static void come_twice(void *context)
{
    come(context);
    come(context);
}

static void two_at_once_are_two(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 100;
    later(10, come_twice, &signal_term);
    assert_true(took(serve_for(INFINITY), 10));
    assert_int_equal(counters_of(at.server).active, 0);
}

/* ---- Other ends ---- */

static void close_the_server(void *context)
{
    (void)context;
    pco_server_close(at.server);
}

static void it_ends_without_a_signal_when_the_server_is_closed(void **state)
{
    (void)state;
    create();
    later(2, close_the_server, NULL);
    assert_true(took(serve_for(5), 2));
}

static void stop(void *context)
{
    (void)context;
    pco_loop_stop(at.loop);
}

static void stop_leaves_the_server_serving(void **state)
{
    (void)state;
    create();
    later(2, stop, NULL);
    assert_true(took(serve_for(5), 2));
    assert_true(pco_server_is_serving(at.server));
    later(1, come, &signal_int);
    assert_true(took(serve_for(5), 1));
    assert_false(pco_server_is_serving(at.server));
}

static void stop_does_not_wait_for_the_grace(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 100;
    later(1, come, &signal_int);
    later(3, stop, NULL);
    assert_true(took(serve_for(50), 3));
    assert_int_equal(counters_of(at.server).active, GUESTS);
    end_server();
}

static void free_the_server(void *context)
{
    (void)context;
    pco_server_free(at.server);
}

static void a_server_that_was_freed_still_ends_by_a_signal(void **state)
{
    (void)state;
    create();
    let_guests_in();
    stays = 1;
    later(1, free_the_server, NULL);
    later(5, come, &signal_int);
    assert_true(took(serve_for(50), 6));
    at.server = NULL;
    assert_int_equal(count_lost(true), GUESTS);
}

/* ---- With the user's own handlers ---- */

static void note(int number, void *context)
{
    (void)context;
    snprintf(story, sizeof story, "signal %d", number);
}

static void handlers_of_the_users_own_are_called_too(void **state)
{
    (void)state;
    create();
    assert_int_equal(pco_loop_add_signal_handler(at.loop, PCO_SIGINT, note, NULL, NULL), 0);
    later(4, come, &signal_int);
    assert_int_equal(pco_server_serve_until_signal(at.server, 5, NULL), 0);
    assert_string_equal(story, "signal 2");
    story[0] = '\0';
    assert_true(pco__watch_tell(PCO_SIGINT));
    let_pass(1);
    assert_string_equal(story, "signal 2");
    assert_true(pco_loop_remove_signal_handler(at.loop, PCO_SIGINT));
}

/* ---- What cannot be ---- */

static void a_grace_that_is_no_time_is_refused(void **state)
{
    (void)state;
    pco_error error = {0};
    create();
    assert_int_equal(pco_server_serve_until_signal(at.server, NAN, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "grace"));
    assert_int_equal(pco_server_serve_until_signal(at.server, -1, NULL), PCO_EINVAL);
    assert_false(pco_server_is_serving(at.server));
}

static int code_inside;
static pco_error error_inside;

static void serve_inside(void *context)
{
    (void)context;
    code_inside = pco_server_serve_until_signal(at.server, 5, &error_inside);
    pco_server_close(at.server);
}

static void inside_the_loop_it_is_busy(void **state)
{
    (void)state;
    create();
    later(1, serve_inside, NULL);
    serve_for(5);
    assert_int_equal(code_inside, PCO_EBUSY);
    assert_non_null(strstr(error_inside.message, "running"));
}

static void a_closed_server_is_not_served(void **state)
{
    (void)state;
    pco_error error = {0};
    create();
    pco_server_close(at.server);
    assert_int_equal(pco_server_serve_until_signal(at.server, 5, &error), PCO_ECLOSED);
    assert_false(pco__watch_tell(PCO_SIGINT));
    let_pass(2);
    assert_int_equal(pco_loop_free(at.loop), 0);
    at.loop = NULL;
    assert_int_equal(pco_server_serve_until_signal(at.server, 5, &error), PCO_ECLOSED);
    assert_non_null(strstr(error.message, "closed"));
    pco_server_free(at.server);
    at.server = NULL;
}

static void without_memory_nobody_handles_a_signal_any_more(void **state)
{
    (void)state;
    create();
    memory_fail(1, true);
    int code = pco_server_serve_until_signal(at.server, 5, NULL);
    memory_fail(0, false);
    assert_int_equal(code, PCO_ENOMEM);
    assert_false(pco__watch_tell(PCO_SIGINT));
    later(1, come, &signal_int);
    assert_true(took(serve_for(5), 1));
}

static const struct CMUnitTest tests[] = {
    TEST(every_signal_that_ends_a_program_ends_it),
    TEST(connections_finish_what_they_are_at),
    TEST(who_has_not_finished_after_the_grace_is_aborted),
    TEST(without_grace_all_are_aborted_at_once),
    TEST(a_second_signal_does_not_wait),
    TEST(two_at_once_are_two),
    TEST(it_ends_without_a_signal_when_the_server_is_closed),
    TEST(stop_leaves_the_server_serving),
    TEST(stop_does_not_wait_for_the_grace),
    TEST(a_server_that_was_freed_still_ends_by_a_signal),
    TEST(handlers_of_the_users_own_are_called_too),
    TEST(a_grace_that_is_no_time_is_refused),
    TEST(inside_the_loop_it_is_busy),
    TEST(a_closed_server_is_not_served),
    TEST(without_memory_nobody_handles_a_signal_any_more),
};

int main(void)
{
    const pco__backend_class *const classes[] = {&fake_backend_class, &fake_backend_wide_class,
                                                 NULL};
    return run_on(classes, false, tests, sizeof tests / sizeof tests[0]);
}
