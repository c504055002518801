/* SPDX-License-Identifier: MIT */
/*
 * Goal: work that blocks is done on threads of the loop's, as many as its lane may have, and begun
 * in order; its owner is told exactly once, on the loop's thread; canceling it and freeing the loop
 * wait for nobody, whatever the threads are at.
 * Method: pieces of work that wait at a gate until the test opens it.
 */
#include "behaviour.h"

#include "system/platform.h"
#include "loop/lanes.h"

/* Twice as many as there are threads in the lane. */
enum { THREADS = 4, PIECES = 8 };

/* A piece of work. What both threads touch is guarded by `guard`. */
typedef struct piece {
    pco__job job;
    bool waits; /* at the gate */
    uintptr_t worked_on;
    uintptr_t told_on;
    unsigned begun;
    unsigned began_as; /* among those who began */
    unsigned worked;
    unsigned told;
    unsigned canceled;
    unsigned discarded;
    unsigned place; /* among those who were told */
} piece;

static pco__mutex *guard;
static pco__mutex *gate;
static piece pieces[PIECES];
static unsigned told; /* on the loop's thread only */
static unsigned begun;
static bool submitting;

static void count(unsigned *counter)
{
    pco__mutex_lock(guard);
    (*counter)++;
    pco__mutex_unlock(guard);
}

static unsigned value_of(const unsigned *counter)
{
    pco__mutex_lock(guard);
    unsigned value = *counter;
    pco__mutex_unlock(guard);
    return value;
}

static void work(pco__job *job)
{
    piece *self = PCO__CONTAINER(job, piece, job);
    pco__mutex_lock(guard);
    self->begun++;
    self->began_as = begun++;
    pco__mutex_unlock(guard);
    if (self->waits) {
        pco__mutex_lock(gate);
        pco__mutex_unlock(gate);
    }
    self->worked_on = pco__thread_id();
    count(&self->worked);
}

static void done(pco__job *job, bool canceled)
{
    piece *self = PCO__CONTAINER(job, piece, job);
    self->told_on = pco__thread_id();
    self->place = told++;
    self->told++;
    self->canceled += canceled;
    if (submitting || value_of(&self->discarded) != 0) {
        violate("done inside of submit, or after discard");
    }
}

static void discard(pco__job *job)
{
    piece *self = PCO__CONTAINER(job, piece, job);
    count(&self->discarded);
}

static int submit(piece *self, bool waits)
{
    self->job.work = work;
    self->job.done = done;
    self->job.discard = discard;
    self->waits = waits;
    submitting = true;
    int code = pco__lanes_submit(at.loop, PCO__LANE_NAMES, &self->job, NULL);
    submitting = false;
    return code;
}

/* Waits until the other thread has come so far. */
static bool comes(const unsigned *counter)
{
    pco_loop *clock = NULL;
    assert_int_equal(pco_loop_new(NULL, &clock, NULL), 0);
    for (unsigned i = 0; i < 3000 && value_of(counter) == 0; i++) {
        pco_loop_run_once(clock, 0.01);
    }
    pco_loop_free(clock);
    return value_of(counter) == 1;
}

static int begin(void **state)
{
    memset(pieces, 0, sizeof pieces);
    told = begun = 0;
    return world_begin(state);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

static void work_is_done_on_another_thread_and_told_on_the_loops(void **state)
{
    (void)state;
    assert_int_equal(submit(&pieces[0], false), 0);
    assert_int_equal(pieces[0].told, 0);
    assert_true(reaches(&told, 1));
    assert_int_equal(pieces[0].worked, 1);
    assert_true(pieces[0].worked_on != pco__thread_id());
    assert_true(pieces[0].told_on == pco__thread_id());
    assert_int_equal(pieces[0].canceled, 0);
    assert_int_equal(pieces[0].discarded, 1);
}

static void a_lane_works_on_so_many_pieces_at_once_and_begins_them_in_order(void **state)
{
    (void)state;
    pco__mutex_lock(gate);
    for (unsigned i = 0; i < PIECES; i++) {
        assert_int_equal(submit(&pieces[i], true), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_true(comes(&pieces[i].begun));
    }
    let_pass(3);
    assert_int_equal(told, 0);
    assert_int_equal(value_of(&begun), THREADS);
    pco__mutex_unlock(gate);
    assert_true(reaches(&told, PIECES));
    for (unsigned i = 0; i < PIECES; i++) {
        assert_int_equal(pieces[i].told, 1);
        assert_int_equal(pieces[i].canceled, 0);
        assert_int_equal(pieces[i].discarded, 1);
        assert_true(i < THREADS || pieces[i].began_as >= THREADS);
    }
}

static void what_waits_is_canceled_without_being_begun(void **state)
{
    (void)state;
    pco__mutex_lock(gate);
    for (unsigned i = 0; i < PIECES; i++) {
        assert_int_equal(submit(&pieces[i], true), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_true(comes(&pieces[i].begun));
    }
    pco__job_cancel(at.loop, &pieces[THREADS].job);
    pco__job_cancel(at.loop, &pieces[THREADS].job);
    assert_int_equal(told, 0);
    assert_true(reaches(&told, 1));
    assert_int_equal(pieces[THREADS].told, 1);
    assert_int_equal(pieces[THREADS].canceled, 1);
    assert_int_equal(pieces[THREADS].discarded, 1);
    pco__mutex_unlock(gate);
    assert_true(reaches(&told, PIECES));
    assert_int_equal(pieces[THREADS].begun, 0);
    assert_int_equal(pieces[THREADS].told, 1);
}

static void what_is_under_way_is_canceled_at_once_and_discarded_when_it_is_over(void **state)
{
    (void)state;
    pco__mutex_lock(gate);
    assert_int_equal(submit(&pieces[0], true), 0);
    assert_true(comes(&pieces[0].begun));
    pco__job_cancel(at.loop, &pieces[0].job);
    assert_true(reaches(&told, 1));
    assert_int_equal(pieces[0].canceled, 1);
    assert_int_equal(value_of(&pieces[0].discarded), 0);
    pco__mutex_unlock(gate);
    assert_true(comes(&pieces[0].discarded));
    let_pass(3);
    assert_int_equal(pieces[0].told, 1);
}

static void what_is_done_but_not_told_is_told_as_canceled(void **state)
{
    (void)state;
    assert_int_equal(submit(&pieces[0], false), 0);
    assert_true(comes(&pieces[0].worked));
    pco__job_cancel(at.loop, &pieces[0].job);
    assert_true(reaches(&told, 1));
    assert_int_equal(pieces[0].canceled, 1);
    assert_true(comes(&pieces[0].discarded));
    let_pass(3);
    assert_int_equal(pieces[0].told, 1);
}

/* A thread ends when there is nothing to do; there is another one for the next piece. */
static void one_piece_after_the_other_is_done(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        memset(&pieces[0], 0, sizeof pieces[0]);
        assert_int_equal(submit(&pieces[0], false), 0);
        assert_true(reaches(&told, i + 1));
        assert_int_equal(pieces[0].discarded, 1);
    }
}

static void want_of_memory_is_told_at_once_and_nobody_else_hears(void **state)
{
    (void)state;
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        assert_true(nth < 50);
        memset(&pieces[0], 0, sizeof pieces[0]);
        told = 0;
        memory_fail(nth, false);
        int code = submit(&pieces[0], false);
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(code, failed ? PCO_ENOMEM : 0);
        if (failed) {
            let_pass(3);
            assert_int_equal(told, 0);
            assert_int_equal(value_of(&pieces[0].discarded), 0);
        }
    }
    assert_true(reaches(&told, 1));
}

static void a_freed_loop_does_not_wait_for_work_that_is_under_way(void **state)
{
    (void)state;
    pco__mutex_lock(gate);
    assert_int_equal(submit(&pieces[0], true), 0);
    for (unsigned i = 1; i < PIECES; i++) {
        assert_int_equal(submit(&pieces[i], true), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_true(comes(&pieces[i].begun));
    }
    world_free_loop(); /* while the threads stand at the gate */
    for (unsigned i = 0; i < PIECES; i++) {
        assert_int_equal(pieces[i].told, 1);
        assert_int_equal(pieces[i].canceled, 1);
        assert_true(pieces[i].told_on == pco__thread_id());
        assert_int_equal(value_of(&pieces[i].discarded), i >= THREADS);
    }
    pco__mutex_unlock(gate);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_true(comes(&pieces[i].discarded));
        assert_int_equal(pieces[i].told, 1);
    }
    for (unsigned i = THREADS; i < PIECES; i++) {
        assert_int_equal(pieces[i].begun, 0);
    }
}

static void work_that_is_done_but_not_told_is_canceled_with_the_loop(void **state)
{
    (void)state;
    assert_int_equal(submit(&pieces[0], false), 0);
    assert_true(comes(&pieces[0].worked));
    world_free_loop();
    assert_int_equal(pieces[0].told, 1);
    assert_int_equal(pieces[0].canceled, 1);
    assert_true(comes(&pieces[0].discarded)); /* by whichever thread was last to hold it */
}

static void two_loops_do_not_wait_for_each_other(void **state)
{
    (void)state;
    pco__mutex_lock(gate);
    assert_int_equal(submit(&pieces[0], true), 0);
    assert_true(comes(&pieces[0].begun));
    pco_loop *first = at.loop;
    assert_int_equal(pco_loop_new(NULL, &at.loop, NULL), 0);
    assert_int_equal(submit(&pieces[1], false), 0);
    assert_true(reaches(&told, 1));
    assert_int_equal(pieces[1].told, 1);
    assert_int_equal(pieces[0].told, 0);
    pco__mutex_unlock(gate);
    pco_loop_free(at.loop);
    at.loop = first;
    assert_true(reaches(&told, 2));
    assert_int_equal(pieces[0].canceled, 0);
}

static void submit_another(pco__job *job, bool canceled)
{
    done(job, canceled);
    if (submit(&pieces[1], false) != 0) {
        violate("submitting inside of done failed");
    }
}

static void more_work_may_be_submitted_when_some_is_done(void **state)
{
    (void)state;
    assert_int_equal(submit(&pieces[0], true), 0);
    pieces[0].job.done = submit_another;
    assert_true(reaches(&told, 2));
    assert_int_equal(pieces[1].worked, 1);
    assert_int_equal(pieces[1].discarded, 1);
}

static const struct CMUnitTest tests[] = {
    TEST(work_is_done_on_another_thread_and_told_on_the_loops),
    TEST(a_lane_works_on_so_many_pieces_at_once_and_begins_them_in_order),
    TEST(what_waits_is_canceled_without_being_begun),
    TEST(what_is_under_way_is_canceled_at_once_and_discarded_when_it_is_over),
    TEST(what_is_done_but_not_told_is_told_as_canceled),
    TEST(one_piece_after_the_other_is_done),
    TEST(want_of_memory_is_told_at_once_and_nobody_else_hears),
    TEST(a_freed_loop_does_not_wait_for_work_that_is_under_way),
    TEST(work_that_is_done_but_not_told_is_canceled_with_the_loop),
    TEST(two_loops_do_not_wait_for_each_other),
    TEST(more_work_may_be_submitted_when_some_is_done),
};

int main(void)
{
    if (pco__mutex_new(&guard) != 0 || pco__mutex_new(&gate) != 0) {
        return 1;
    }
    int failures = run_here("lanes", tests, sizeof tests / sizeof tests[0]);
    pco__mutex_free(gate);
    pco__mutex_free(guard);
    return failures;
}
