/* SPDX-License-Identifier: MIT */
/*
 * Goal: on every backend a poll() waits as long as it may and no longer, is ended by a wake-up, and
 * lets all sockets have their turn; and whoever awaits in its place is told what it has to do.
 * Method: as test_backend.c.
 */
#include "backend_probe.h"

/* ---- Turns ---- */

static void a_flood_on_one_connection_delays_neither_poll_nor_the_others(void **state)
{
    end clients[2];
    end servers[2];
    size_t flood;
    size_t before;

    (void)state;
    make_pairs(clients, servers, 2);
    flood = fill(&clients[0], 64 * RECEIVE_BUFFER);
    assert_true(flood >= 16 * RECEIVE_BUFFER);
    push(&clients[1], "x");
    exchange_a_message_elsewhere();
    start_reading(&servers[0], NULL, 0);
    submit(&servers[1].in, &servers[1].io, PCO__OP_RECV);
    poll_for(PATIENCE);
    before = servers[0].in.total;
    assert_true(before < flood);
    assert_true(completes(&servers[1].in));
    assert_true(servers[0].in.total < flood);
    assert_true(receives(&servers[0], flood));
    for (size_t i = 0; i < 2; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

static void unread_data_does_not_keep_poll_awake(void **state)
{
    uint64_t began;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "nobody reads this");
    exchange_a_message_elsewhere();
    began = now();
    for (int i = 0; i < 10; i++) {
        poll_for(20 * MILLISECOND);
    }
    /* A poll() may return early now and then, but not always. */
    assert_true(now() - began >= 100 * MILLISECOND);
    close_end(&client);
    close_end(&server);
}

static void poll_without_a_timeout_does_not_wait(void **state)
{
    uint64_t began = now();

    (void)state;
    for (int i = 0; i < 100; i++) {
        poll_for(0);
    }
    assert_true(now() - began < SECOND);
    assert_false(at.stop);
}

static void poll_waits_for_its_timeout(void **state)
{
    uint64_t began = now();
    uint64_t end_of_wait = began + 30 * MILLISECOND;
    int polls = 0;

    (void)state;
    while (now() < end_of_wait && polls < 100) {
        poll_for(end_of_wait - now());
        polls++;
    }
    assert_true(polls < 100); /* it slept, and did not spin */
    assert_true(now() - began < PATIENCE / 4);
}

/* ---- Waking ---- */

static void wake_before_poll_ends_the_next_poll(void **state)
{
    uint64_t began = now();

    (void)state;
    at.backend->class_->wake(at.backend, false);
    poll_for(PATIENCE);
    assert_true(now() - began < PATIENCE);
    assert_false(at.stop);
}

static void a_stop_among_other_wake_ups_is_reported_once(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    at.backend->class_->wake(at.backend, true);
    at.backend->class_->wake(at.backend, false);
    for (int i = 0; i < 5 && !at.stop; i++) {
        poll_for(0);
    }
    assert_true(at.stop);
    at.stop = false;
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_false(at.stop);
}

typedef struct waker {
    pco__mutex *mutex;
    pco__backend *backend;
    bool stop;
    bool finished;
} waker;

static void wake_from_here(void *context)
{
    waker *self = context;

    self->backend->class_->wake(self->backend, self->stop);
    pco__mutex_lock(self->mutex);
    self->finished = true;
    pco__mutex_unlock(self->mutex);
}

static bool is_finished(waker *self)
{
    bool finished;

    pco__mutex_lock(self->mutex);
    finished = self->finished;
    pco__mutex_unlock(self->mutex);
    return finished;
}

/* ---- Awaiting, which another thread does, and the tests here ---- */

/* Whether somebody who awaits what poll() has to do is told of it. */
static bool is_told(void)
{
    const pco__backend_class *class_ = at.backend->class_;
    uint64_t until = now() + PATIENCE;

    if (class_->due_in(at.backend) == 0) {
        return !at.backend->is_awaited;
    }
    while (now() < until) {
        if (class_->await(at.backend, until)) {
            return now() < until;
        }
    }
    return false;
}

static void whoever_awaits_is_told_of_a_wake_up(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    assert_true(is_told());
    poll_for(0);
    assert_false(at.stop);
    at.backend->class_->wake(at.backend, true);
    assert_true(is_told());
    poll_for(0);
    assert_true(at.stop);
}

/* Some kqueues ask what they have told, and is not cleared, only when they are asked themselves. */
static void whoever_awaits_is_not_told_of_a_wake_up_that_was_taken_over(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    assert_true(is_told());
    poll_for(0);
    uint64_t until = now() + 20 * MILLISECOND;
    while (now() < until) {
        assert_false(at.backend->class_->await(at.backend, until) && now() < until);
    }
}

static void whoever_awaits_is_told_of_what_comes_and_completes_nothing(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    push(&client, "x");
    assert_true(is_told());
    assert_int_equal(server.in.count, 0);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.total, 1);
    close_end(&client);
    close_end(&server);
}

static void awaiting_ends_when_it_is_time(void **state)
{
    end client;
    end server;
    uint64_t until;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    until = now() + 20 * MILLISECOND;
    while (now() < until) {
        at.backend->class_->await(at.backend, until); /* it may return early */
    }
    assert_true(at.backend->class_->await(at.backend, until));
    assert_int_equal(server.in.count, 0);
    close_end(&client);
    close_end(&server);
}

static void whoever_awaits_is_told_of_what_is_submitted_and_canceled(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "x");
    exchange_a_message_elsewhere();
    at.backend->is_awaited = true;
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_true(is_told());
    at.backend->is_awaited = false;
    assert_true(completes(&server.in));
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    at.backend->is_awaited = true;
    cancel(&server.in);
    assert_true(is_told());
    at.backend->is_awaited = false;
    assert_true(reaches(&server.in.count, 2));
    assert_int_equal(server.in.error, PCO_ECANCELED);
    close_end(&client);
    close_end(&server);
}

static void a_poll_takes_over_no_more_than_it_may(void **state)
{
    enum { PAIRS = 12, MOST = 4 };
    end clients[PAIRS];
    end servers[PAIRS];
    int usual = at.backend->most;
    unsigned completed = 0;

    (void)state;
    make_pairs(clients, servers, PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        submit(&servers[i].in, &servers[i].io, PCO__OP_RECV);
        push(&clients[i], "x");
    }
    at.backend->most = MOST;
    for (unsigned polls = 0; completed < PAIRS && polls < 1000; polls++) {
        unsigned before = completed;
        poll_for(100 * MILLISECOND);
        completed = 0;
        for (size_t i = 0; i < PAIRS; i++) {
            completed += servers[i].in.count;
        }
        assert_true(completed - before <= MOST);
    }
    at.backend->most = usual;
    assert_int_equal(completed, PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

static void another_thread_can_wake_and_stop_poll(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        waker self = {.backend = at.backend, .stop = round == 1};
        uint64_t began = now();

        assert_int_equal(pco__mutex_new(&self.mutex), 0);
        assert_int_equal(pco__thread_start(wake_from_here, &self, NULL), 0);
        poll_for(PATIENCE);
        assert_true(now() - began < PATIENCE);
        while (!is_finished(&self) && now() - began < PATIENCE) {
            poll_for(MILLISECOND);
        }
        assert_true(is_finished(&self));
        assert_int_equal(at.stop, round == 1);
        pco__mutex_free(self.mutex);
    }
}

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(a_flood_on_one_connection_delays_neither_poll_nor_the_others),
    TEST(unread_data_does_not_keep_poll_awake),
    TEST(poll_without_a_timeout_does_not_wait),
    TEST(poll_waits_for_its_timeout),
    TEST(wake_before_poll_ends_the_next_poll),
    TEST(a_stop_among_other_wake_ups_is_reported_once),
    TEST(another_thread_can_wake_and_stop_poll),
    TEST(whoever_awaits_is_told_of_a_wake_up),
    TEST(whoever_awaits_is_not_told_of_a_wake_up_that_was_taken_over),
    TEST(whoever_awaits_is_told_of_what_comes_and_completes_nothing),
    TEST(awaiting_ends_when_it_is_time),
    TEST(whoever_awaits_is_told_of_what_is_submitted_and_canceled),
    TEST(a_poll_takes_over_no_more_than_it_may),
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
