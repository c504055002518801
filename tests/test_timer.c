/* SPDX-License-Identifier: MIT */
/*
 * Goal: timers fire in the order of their times, those of equal time in the order in which they
 * were made, never early, and not once they are stopped.
 * No call takes long because of timers that are not due.
 * Method: the timers of timer.h against a plain list and a sorted one, by chance; how long a call
 * takes is counted in timers that it changes; then the loop's timers in the virtual time of the
 * fake backend.
 */
#include "support.h"

#include "loop/timer.h"

/* ---- The heap ---- */

static void never_called(pco__timer *timer)
{
    (void)timer;
    abort();
}

static void prepare(pco__timer *timers, size_t count)
{
    memset(timers, 0, count * sizeof *timers);
    for (size_t i = 0; i < count; i++) {
        timers[i].fire = never_called;
    }
}

static void an_empty_heap_has_nothing_due(void **state)
{
    pco__timers heap = {0};

    (void)state;
    assert_null(pco__timers_take_due(&heap, UINT64_MAX));
}

static void timers_come_out_by_time(void **state)
{
    static const uint64_t times[] = {50, 10, 40, 20, 30};
    static const size_t order[] = {1, 3, 4, 2, 0};
    pco__timers heap = {0};
    pco__timer timers[5];

    (void)state;
    prepare(timers, 5);
    for (size_t i = 0; i < 5; i++) {
        pco__timer_start(&heap, &timers[i], times[i]);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_ptr_equal(pco__timers_take_due(&heap, 50), &timers[order[i]]);
        assert_false(pco__timer_is_running(&timers[order[i]]));
    }
    assert_null(pco__timers_take_due(&heap, 50));
}

static void a_timer_is_due_at_its_time_and_not_before(void **state)
{
    pco__timers heap = {0};
    pco__timer timer;

    (void)state;
    prepare(&timer, 1);
    pco__timer_start(&heap, &timer, 100);
    assert_null(pco__timers_take_due(&heap, 0));
    assert_null(pco__timers_take_due(&heap, 99));
    assert_true(pco__timer_is_running(&timer));
    assert_ptr_equal(pco__timers_take_due(&heap, 100), &timer);
}

static void timers_of_equal_time_come_out_in_the_order_of_starting(void **state)
{
    pco__timers heap = {0};
    pco__timer timers[100];

    (void)state;
    prepare(timers, 100);
    for (size_t i = 0; i < 100; i++) {
        pco__timer_start(&heap, &timers[i], 7);
    }
    for (size_t i = 0; i < 100; i++) {
        assert_ptr_equal(pco__timers_take_due(&heap, 7), &timers[i]);
    }
}

static void stopping_a_timer_that_does_not_run_does_nothing(void **state)
{
    pco__timers heap = {0};
    pco__timer timers[2];

    (void)state;
    prepare(timers, 2);
    pco__timer_stop(&heap, &timers[0]);
    pco__timer_start(&heap, &timers[0], 1);
    pco__timer_start(&heap, &timers[1], 2);
    pco__timer_stop(&heap, &timers[0]);
    pco__timer_stop(&heap, &timers[0]);
    assert_ptr_equal(pco__timers_take_due(&heap, 9), &timers[1]);
    assert_null(pco__timers_take_due(&heap, 9));
}

static void a_stopped_timer_can_be_started_again(void **state)
{
    pco__timers heap = {0};
    pco__timer timers[2];

    (void)state;
    prepare(timers, 2);
    pco__timer_start(&heap, &timers[0], 5);
    pco__timer_start(&heap, &timers[1], 5);
    pco__timer_stop(&heap, &timers[0]);
    pco__timer_start(&heap, &timers[0], 5);
    assert_ptr_equal(pco__timers_take_due(&heap, 5), &timers[1]);
    assert_ptr_equal(pco__timers_take_due(&heap, 5), &timers[0]);
}

/* The model: looks at every timer. `since` is when each was started, 0 if it does not run. */
static size_t first_of(const uint64_t *times, const uint64_t *since, size_t count)
{
    size_t first = count;

    for (size_t i = 0; i < count; i++) {
        if (since[i] != 0 && (first == count || times[i] < times[first] ||
                              (times[i] == times[first] && since[i] < since[first]))) {
            first = i;
        }
    }
    return first;
}

#define CROWD 60

static void whatever_is_started_and_stopped_the_order_is_right(void **state)
{
    static pco__timer timers[CROWD];
    uint64_t times[CROWD] = {0};
    uint64_t since[CROWD] = {0};
    uint64_t luck = 4711;
    pco__timers heap = {0};

    (void)state;
    prepare(timers, CROWD);
    for (uint64_t step = 1; step <= 20000; step++) {
        size_t i = chance(&luck, CROWD);
        if (chance(&luck, 3) == 0) {
            size_t first = first_of(times, since, CROWD);
            uint64_t now = 500 + chance(&luck, 100);
            bool due = first < CROWD && times[first] <= now;
            assert_ptr_equal(pco__timers_take_due(&heap, now), due ? &timers[first] : NULL);
            since[due ? first : i] = due ? 0 : since[i];
        } else if (since[i] != 0) {
            pco__timer_stop(&heap, &timers[i]);
            since[i] = 0;
        } else {
            times[i] = 500 + chance(&luck, 40);
            since[i] = step;
            pco__timer_start(&heap, &timers[i], times[i]);
        }
    }
}

/* A time around `now`, as close to the edge of a slot as any, or that of another timer. */
static uint64_t any_time(uint64_t *luck, uint64_t now, uint64_t other)
{
    uint64_t distance = ((uint64_t)chance(luck, UINT32_MAX) << 31) >> chance(luck, 64);

    switch (chance(luck, 8)) {
    case 0:
        return other;
    case 1:
        return distance < now ? now - distance : 0;
    case 2:
        return now;
    case 3:
        return ((now + distance) & ~(uint64_t)0 << 8 * chance(luck, 8)) - chance(luck, 2);
    default:
        return now + distance;
    }
}

typedef struct model {
    pco__timers heap;
    pco__timer timers[CROWD];
    uint64_t times[CROWD];
    uint64_t since[CROWD];
    uint64_t now;
    uint64_t luck;
} model;

static void start_or_stop(model *m, uint64_t step)
{
    size_t i = chance(&m->luck, CROWD);

    if (m->since[i] != 0) {
        pco__timer_stop(&m->heap, &m->timers[i]);
        m->since[i] = 0;
    } else {
        m->times[i] = any_time(&m->luck, m->now, m->times[chance(&m->luck, CROWD)]);
        m->since[i] = step;
        pco__timer_start(&m->heap, &m->timers[i], m->times[i]);
    }
}

/* Lets time pass, often to just before or at the first timer's time, and takes what is due. */
static void pass_time(model *m)
{
    size_t first = first_of(m->times, m->since, CROWD);
    uint64_t until = m->now + chance(&m->luck, 1u << chance(&m->luck, 32));

    if (first < CROWD && m->times[first] > m->now && chance(&m->luck, 2) != 0) {
        until = m->times[first] - chance(&m->luck, 2);
    }
    m->now = until;
    while (first < CROWD && m->times[first] <= m->now) {
        assert_ptr_equal(pco__timers_take_due(&m->heap, m->now), &m->timers[first]);
        assert_false(pco__timer_is_running(&m->timers[first]));
        m->since[first] = 0;
        first = first_of(m->times, m->since, CROWD);
    }
    assert_null(pco__timers_take_due(&m->heap, m->now));
}

static void run_model(model *m, uint64_t start, uint64_t luck, unsigned liveliness)
{
    memset(m, 0, sizeof *m);
    prepare(m->timers, CROWD);
    m->now = start;
    m->luck = luck;
    for (uint64_t step = 1; step <= 4000; step++) {
        if (chance(&m->luck, liveliness) == 0) {
            pass_time(m);
        } else {
            start_or_stop(m, step);
        }
        size_t first = first_of(m->times, m->since, CROWD);
        assert_ptr_equal(m->heap.first, first < CROWD ? &m->timers[first] : NULL);
    }
}

static void whenever_time_starts_and_however_it_jumps_the_order_is_right(void **state)
{
    static const uint64_t starts[] = {0,      1,      1u << 16, (1u << 16) - 1, (uint64_t)1 << 40,
                                      123456, 999999, 1u << 24, UINT32_MAX,     UINT64_MAX / 4};
    static model m;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        run_model(&m, starts[i % 10], 1 + i, i % 2 == 0 ? 3 : 30);
    }
}

static void the_last_of_all_times_is_kept_like_any_other(void **state)
{
    pco__timers heap = {0};
    pco__timer timers[3];

    (void)state;
    prepare(timers, 3);
    pco__timer_start(&heap, &timers[0], UINT64_MAX);
    pco__timer_start(&heap, &timers[1], 0);
    pco__timer_start(&heap, &timers[2], UINT64_MAX);
    assert_ptr_equal(pco__timers_take_due(&heap, 0), &timers[1]);
    assert_null(pco__timers_take_due(&heap, UINT64_MAX - 1));
    assert_ptr_equal(pco__timers_take_due(&heap, UINT64_MAX), &timers[0]);
    assert_ptr_equal(pco__timers_take_due(&heap, UINT64_MAX), &timers[2]);
    assert_null(pco__timers_take_due(&heap, UINT64_MAX));
}

static void a_timer_far_away_is_known_exactly_from_the_start(void **state)
{
    pco__timers heap = {0};
    pco__timer timers[2];
    uint64_t day = (uint64_t)86400 * 1000000000;

    (void)state;
    prepare(timers, 2);
    pco__timer_start(&heap, &timers[0], 30 * day + 7);
    assert_ptr_equal(heap.first, &timers[0]);
    for (uint64_t i = 1; i <= 30; i++) {
        assert_null(pco__timers_take_due(&heap, i * day));
        pco__timer_start(&heap, &timers[1], i * day + 3);
        assert_ptr_equal(heap.first, &timers[1]);
        pco__timer_stop(&heap, &timers[1]);
        assert_ptr_equal(heap.first, &timers[0]);
    }
    assert_null(pco__timers_take_due(&heap, 30 * day + 6));
    assert_ptr_equal(pco__timers_take_due(&heap, 30 * day + 7), &timers[0]);
}

#define MILLION 1000000

static void a_million_timers_are_kept_in_order(void **state)
{
    pco__timer *timers = calloc(MILLION, sizeof *timers);
    pco__timers heap = {0};
    uint64_t luck = 1;
    uint64_t last = 0;
    size_t count = 0;
    size_t disorder = 0;
    pco__timer *timer;

    (void)state;
    assert_non_null(timers);
    for (size_t i = 0; i < MILLION; i++) {
        timers[i].fire = never_called;
        pco__timer_start(&heap, &timers[i], chance(&luck, 1u << 30));
    }
    for (size_t i = 0; i < MILLION; i += 2) {
        pco__timer_stop(&heap, &timers[i]);
    }
    while ((timer = pco__timers_take_due(&heap, UINT64_MAX)) != NULL) {
        disorder += timer->when < last || (timer - timers) % 2 == 0;
        last = timer->when;
        count++;
    }
    free(timers);
    assert_int_equal(count, MILLION / 2);
    assert_int_equal(disorder, 0);
}

/* ---- Many timers in few slots ---- */

#define SECOND ((uint64_t)1000000000)
#define MANY 20000

/* The second model: sorted by time, and where that is equal, in the order of starting. */
typedef struct sorted {
    pco__timers heap;
    pco__timer timers[MANY];
    pco__timer *order[MANY];
    size_t count;
    uint64_t luck;
} sorted;

static void sorted_prepare(sorted *s, uint64_t luck)
{
    memset(&s->heap, 0, sizeof s->heap);
    prepare(s->timers, MANY);
    s->count = 0;
    s->luck = luck;
}

static void sorted_start(sorted *s, pco__timer *timer, uint64_t when)
{
    size_t at = 0;

    for (size_t end = s->count; at < end;) {
        size_t middle = (at + end) / 2;
        if (s->order[middle]->when <= when) {
            at = middle + 1;
        } else {
            end = middle;
        }
    }
    memmove(&s->order[at + 1], &s->order[at], (s->count - at) * sizeof s->order[0]);
    s->order[at] = timer;
    s->count++;
    pco__timer_start(&s->heap, timer, when);
}

static void sorted_forget(sorted *s, size_t at)
{
    s->count--;
    memmove(&s->order[at], &s->order[at + 1], (s->count - at) * sizeof s->order[0]);
}

static void sorted_check(const sorted *s)
{
    assert_ptr_equal(s->heap.first, s->count != 0 ? s->order[0] : NULL);
}

/* Takes what is due, and sometimes starts or stops others in between, as its callbacks would. */
static void sorted_take(sorted *s, uint64_t now, unsigned liveliness, uint64_t span)
{
    while (s->count != 0 && s->order[0]->when <= now) {
        pco__timer *timer = s->order[0];
        assert_ptr_equal(pco__timers_take_due(&s->heap, now), timer);
        sorted_forget(s, 0);
        sorted_check(s);
        if (chance(&s->luck, liveliness) == 0) {
            sorted_start(s, timer, now + 1 + chance(&s->luck, (uint32_t)span));
        }
        if (s->count != 0 && chance(&s->luck, liveliness) == 0) {
            size_t at = chance(&s->luck, (uint32_t)s->count);
            pco__timer_stop(&s->heap, s->order[at]);
            sorted_forget(s, at);
        }
        sorted_check(s);
    }
    assert_null(pco__timers_take_due(&s->heap, now));
}

/*
 * Time comes to slots that hold thousands, in steps so long that many are due before they can have
 * been filed anew, or so short that many are when the first is due.
 */
static void however_crowded_the_slots_are_the_order_is_right(void **state)
{
    static const uint32_t spans[] = {200, 60000, 10000000, UINT32_MAX};
    static sorted s;

    (void)state;
    for (unsigned run = 0; run < 16; run++) {
        uint64_t now = 123456789 * (uint64_t)run;
        uint32_t span = spans[run % 4];
        sorted_prepare(&s, 1 + run);
        for (size_t i = 0; i < 2000; i++) {
            sorted_start(&s, &s.timers[i], now + 10 * SECOND + chance(&s.luck, span));
            sorted_check(&s);
        }
        now += 10 * SECOND - span / 4;
        while (s.count != 0) {
            sorted_take(&s, now, 4 + run, span);
            now += 1 + chance(&s.luck, run < 8 ? span / 4 : span / 200 + 1);
        }
    }
}

static pco__timer snapshot[MANY];

/* How many timers are not as they were when `snapshot` was taken. */
static size_t changed_since(const sorted *s)
{
    size_t changed = 0;

    for (size_t i = 0; i < MANY; i++) {
        changed += memcmp(&snapshot[i], &s->timers[i], sizeof snapshot[i]) != 0;
    }
    return changed;
}

/* Ways of giving the timer with this number a time: all are of one slot, the same or another. */
static uint64_t all_at_once(sorted *s, size_t i)
{
    (void)s, (void)i;
    return 60 * SECOND;
}

static uint64_t one_after_the_other(sorted *s, size_t i)
{
    (void)s;
    return 60 * SECOND + i * (4 * SECOND / MANY);
}

static uint64_t the_last_first(sorted *s, size_t i)
{
    (void)s;
    return 64 * SECOND - i * (4 * SECOND / MANY);
}

static uint64_t without_order(sorted *s, size_t i)
{
    (void)i;
    return 60 * SECOND + chance(&s->luck, UINT32_MAX);
}

static uint64_t (*const arrangements[])(sorted *s, size_t i) = {all_at_once, one_after_the_other,
                                                                the_last_first, without_order};

static void fill(sorted *s, uint64_t (*arrangement)(sorted *s, size_t i))
{
    sorted_prepare(s, 5);
    for (size_t i = 0; i < MANY; i++) {
        pco__timer_start(&s->heap, &s->timers[i], arrangement(s, i));
    }
}

static void time_that_passes_moves_few_timers_at_once(void **state)
{
    static sorted s;

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        fill(&s, arrangements[k]);
        for (uint64_t now = 0; now < 60 * SECOND; now += SECOND / 2) {
            memcpy(snapshot, s.timers, sizeof snapshot);
            assert_null(pco__timers_take_due(&s.heap, now));
            assert_true(changed_since(&s) < MANY / 50);
        }
    }
}

static void starting_and_stopping_change_few_others(void **state)
{
    static sorted s;

    (void)state;
    for (size_t k = 0; k < 4; k++) {
        fill(&s, arrangements[k]);
        for (size_t i = 0; i < 100; i++) {
            pco__timer *timer = i % 2 == 0 ? s.heap.first : &s.timers[chance(&s.luck, MANY)];
            uint64_t when = timer->when + i;
            memcpy(snapshot, s.timers, sizeof snapshot);
            pco__timer_stop(&s.heap, timer);
            assert_true(changed_since(&s) < 100);
            memcpy(snapshot, s.timers, sizeof snapshot);
            pco__timer_start(&s.heap, timer, when);
            assert_true(changed_since(&s) < 100);
        }
    }
}

static void after_a_time_without_timers_none_is_moved(void **state)
{
    static sorted s;

    (void)state;
    sorted_prepare(&s, 3);
    pco__timers_pass(&s.heap, 86400 * SECOND);
    for (size_t i = 0; i < MANY; i++) {
        pco__timer_start(&s.heap, &s.timers[i], 86460 * SECOND + i);
    }
    memcpy(snapshot, s.timers, sizeof snapshot);
    assert_null(pco__timers_take_due(&s.heap, 86400 * SECOND + 50000));
    assert_int_equal(changed_since(&s), 0);
    assert_ptr_equal(pco__timers_take_due(&s.heap, 86460 * SECOND), &s.timers[0]);
}

/* ---- The loop's timers ---- */

static pco_loop *loop;
static char story[64];
static double fired_at;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    fired_at = 0;
    loop = fake_loop_new();
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void tell(void *context)
{
    strncat(story, context, sizeof story - strlen(story) - 1);
    fired_at = pco_loop_time(loop);
}

static void a_timer_fires_after_its_delay(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_later(loop, 2.5, tell, "a", NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, INFINITY), 0);
    assert_string_equal(story, "a");
    assert_true(fabs(fired_at - (FAKE_START + 2.5)) < 1e-6);
}

static void a_turn_ends_at_its_limit_though_a_timer_waits(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 5, tell, "a", NULL);
    pco_loop_run_once(loop, 2);
    assert_string_equal(story, "");
    assert_true(fabs(pco_loop_time(loop) - (FAKE_START + 2)) < 1e-6);
    pco_loop_run_once(loop, 2);
    assert_string_equal(story, "");
    pco_loop_run_once(loop, 2);
    assert_string_equal(story, "a");
    assert_true(fabs(fired_at - (FAKE_START + 5)) < 1e-6);
}

static void timers_fire_by_time_and_not_by_the_order_of_the_calls(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 3, tell, "c", NULL);
    pco_loop_call_later(loop, 1, tell, "a", NULL);
    pco_loop_call_later(loop, 2, tell, "b", NULL);
    fake_advance(loop, 10);
    pco_loop_run_once(loop, 0);
    assert_string_equal(story, "abc");
}

static void timers_of_equal_time_fire_in_the_order_of_the_calls(void **state)
{
    double when = pco_loop_time(loop) + 1;

    (void)state;
    pco_loop_call_at(loop, when, tell, "a", NULL);
    pco_loop_call_at(loop, when, tell, "b", NULL);
    pco_loop_call_at(loop, when - 0.5, tell, "0", NULL);
    pco_loop_call_at(loop, when, tell, "c", NULL);
    pco_loop_call_at(loop, when, tell, "d", NULL);
    fake_advance(loop, 1);
    pco_loop_run_once(loop, 0);
    assert_string_equal(story, "0abcd");
}

/* The timers know the time again before the first is started: they need not be filed anew. */
static void an_idle_loop_keeps_the_next_timers_by_the_time_it_is(void **state)
{
    (void)state;
    for (unsigned day = 1; day <= 3; day++) {
        fake_advance(loop, 86400);
        assert_true(loop->timers.horizon + 0x10000 <= fake_of(loop)->now);
        pco_loop_call_at(loop, pco_loop_time(loop) + 1, tell, "a", NULL);
        assert_true(loop->timers.horizon + 0x10000 > fake_of(loop)->now);
        pco_loop_run_once(loop, INFINITY);
        assert_int_equal(strlen(story), day);
    }
}

static void a_time_that_has_passed_fires_in_the_next_turn(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_at(loop, pco_loop_time(loop) - 100, tell, "a", NULL), 0);
    assert_int_equal(pco_loop_call_at(loop, -1, tell, "b", NULL), 0);
    assert_int_equal(pco_loop_call_later(loop, 0, tell, "c", NULL), 0);
    assert_string_equal(story, "");
    pco_loop_run_once(loop, INFINITY);
    assert_string_equal(story, "bac");
    assert_true(fired_at <= FAKE_START + 1e-6);
}

static void a_timer_never_fires_early(void **state)
{
    uint64_t luck = 99;

    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        pco_handle *handle;
        double delay = (double)chance(&luck, 1000000) / (1 + chance(&luck, 1000000)) / 3;
        unsigned before = (unsigned)strlen(story);
        fake_of(loop)->now += (uint64_t)chance(&luck, 1u << 30) * 1001;
        assert_int_equal(pco_loop_call_later(loop, delay, tell, "x", &handle), 0);
        pco_loop_run_once(loop, INFINITY);
        assert_int_equal(strlen(story), before + 1);
        assert_true(fired_at >= pco_handle_when(handle));
        assert_true(fired_at < pco_handle_when(handle) + 1e-6);
        pco_handle_release(handle);
        story[0] = '\0';
    }
}

static void again(void *context)
{
    tell(context);
    if (strlen(story) < 5) {
        pco_loop_call_later(loop, 0, again, context, NULL);
    }
}

static void a_timer_made_by_a_timer_waits_for_the_next_turn(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 0, again, "x", NULL);
    for (unsigned i = 1; i <= 5; i++) {
        pco_loop_run_once(loop, 0);
        assert_int_equal(strlen(story), i);
    }
    pco_loop_run_once(loop, 0);
    assert_int_equal(strlen(story), 5);
}

static void a_handle_tells_its_time(void **state)
{
    pco_handle *timer;
    pco_handle *soon;

    (void)state;
    assert_int_equal(pco_loop_call_at(loop, FAKE_START + 1.25, tell, "a", &timer), 0);
    assert_int_equal(pco_loop_call_soon(loop, tell, "b", &soon), 0);
    assert_true(pco_handle_when(timer) == FAKE_START + 1.25);
    assert_true(pco_handle_when(soon) == 0);
    pco_handle_cancel(timer);
    assert_true(pco_handle_when(timer) == FAKE_START + 1.25);
    pco_handle_release(timer);
    pco_handle_release(soon);
}

static void times_that_make_no_sense_are_refused(void **state)
{
    static const double bad_delays[] = {NAN, -1, -1e-300, INFINITY, -INFINITY};
    static const double bad_times[] = {NAN, INFINITY, -INFINITY};
    pco_handle *handle = NULL;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(pco_loop_call_later(loop, bad_delays[i], tell, "x", &handle), PCO_EINVAL);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pco_loop_call_at(loop, bad_times[i], tell, "x", &handle), PCO_EINVAL);
    }
    assert_int_equal(pco_loop_call_later(loop, 1, NULL, NULL, &handle), PCO_EINVAL);
    assert_int_equal(pco_loop_call_at(loop, 1, NULL, NULL, &handle), PCO_EINVAL);
    assert_null(handle);
    fake_advance(loop, 1e6);
    run_turns(loop, 2);
    assert_string_equal(story, "");
}

static void a_delay_beyond_all_measure_never_fires(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_call_later(loop, 1e300, tell, "a", NULL), 0);
    assert_int_equal(pco_loop_call_at(loop, 1e300, tell, "b", NULL), 0);
    pco_loop_run_once(loop, 3600.0 * 24 * 365 * 50);
    assert_string_equal(story, "");
}

/* ---- Canceling ---- */

static void a_canceled_timer_does_not_fire(void **state)
{
    pco_handle *handle;

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", &handle);
    pco_loop_call_later(loop, 1, tell, "b", NULL);
    assert_false(pco_handle_cancelled(handle));
    pco_handle_cancel(handle);
    assert_true(pco_handle_cancelled(handle));
    pco_handle_cancel(handle);
    fake_advance(loop, 1);
    pco_loop_run_once(loop, 0);
    assert_string_equal(story, "b");
    pco_handle_release(handle);
}

static void a_loop_does_not_wait_for_a_canceled_timer(void **state)
{
    pco_handle *handle;

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", &handle);
    pco_loop_call_later(loop, 7, tell, "b", NULL);
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    pco_loop_run_once(loop, INFINITY);
    assert_string_equal(story, "b");
}

static pco_handle *victim;

static void cancel_victim(void *context)
{
    tell(context);
    pco_handle_cancel(victim);
}

static void a_timer_can_be_canceled_by_an_earlier_one_of_the_same_turn(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 1, cancel_victim, "a", NULL);
    pco_loop_call_later(loop, 1, tell, "b", &victim);
    pco_loop_call_later(loop, 1, tell, "c", NULL);
    fake_advance(loop, 1);
    pco_loop_run_once(loop, 0);
    assert_string_equal(story, "ac");
    assert_true(pco_handle_cancelled(victim));
    pco_handle_release(victim);
}

static void a_timer_can_cancel_itself_while_it_runs(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 1, cancel_victim, "a", &victim);
    fake_advance(loop, 1);
    run_turns(loop, 3);
    assert_string_equal(story, "a");
    assert_true(pco_handle_cancelled(victim));
    pco_handle_release(victim);
}

static void release_victim(void *context)
{
    tell(context);
    pco_handle_release(victim);
}

static void a_timer_can_release_its_handle_while_it_runs(void **state)
{
    (void)state;
    pco_loop_call_later(loop, 1, release_victim, "a", &victim);
    fake_advance(loop, 1);
    run_turns(loop, 2);
    assert_string_equal(story, "a");
}

static void canceling_after_it_has_fired_does_nothing(void **state)
{
    pco_handle *handle;

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", &handle);
    fake_advance(loop, 1);
    pco_loop_run_once(loop, 0);
    pco_handle_cancel(handle);
    assert_true(pco_handle_cancelled(handle));
    run_turns(loop, 2);
    assert_string_equal(story, "a");
    pco_handle_release(handle);
}

static void a_timer_fires_though_its_handle_is_released(void **state)
{
    pco_handle *handle;

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", &handle);
    pco_handle_release(handle);
    pco_loop_run_once(loop, INFINITY);
    assert_string_equal(story, "a");
}

static void cancel_and_release_in_either_order_leak_nothing(void **state)
{
    pco_handle *handle;

    (void)state;
    pco_loop_call_later(loop, 1, tell, "a", &handle);
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    pco_handle_cancel(NULL);
    pco_handle_release(NULL);
    pco_loop_run_once(loop, 5);
    assert_string_equal(story, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_nothing_due),
        cmocka_unit_test(timers_come_out_by_time),
        cmocka_unit_test(a_timer_is_due_at_its_time_and_not_before),
        cmocka_unit_test(timers_of_equal_time_come_out_in_the_order_of_starting),
        cmocka_unit_test(stopping_a_timer_that_does_not_run_does_nothing),
        cmocka_unit_test(a_stopped_timer_can_be_started_again),
        cmocka_unit_test(whatever_is_started_and_stopped_the_order_is_right),
        cmocka_unit_test(whenever_time_starts_and_however_it_jumps_the_order_is_right),
        cmocka_unit_test(the_last_of_all_times_is_kept_like_any_other),
        cmocka_unit_test(a_timer_far_away_is_known_exactly_from_the_start),
        cmocka_unit_test(a_million_timers_are_kept_in_order),
        cmocka_unit_test(however_crowded_the_slots_are_the_order_is_right),
        cmocka_unit_test(time_that_passes_moves_few_timers_at_once),
        cmocka_unit_test(starting_and_stopping_change_few_others),
        cmocka_unit_test(after_a_time_without_timers_none_is_moved),
        TEST(a_timer_fires_after_its_delay),
        TEST(a_turn_ends_at_its_limit_though_a_timer_waits),
        TEST(timers_fire_by_time_and_not_by_the_order_of_the_calls),
        TEST(timers_of_equal_time_fire_in_the_order_of_the_calls),
        TEST(an_idle_loop_keeps_the_next_timers_by_the_time_it_is),
        TEST(a_time_that_has_passed_fires_in_the_next_turn),
        TEST(a_timer_never_fires_early),
        TEST(a_timer_made_by_a_timer_waits_for_the_next_turn),
        TEST(a_handle_tells_its_time),
        TEST(times_that_make_no_sense_are_refused),
        TEST(a_delay_beyond_all_measure_never_fires),
        TEST(a_canceled_timer_does_not_fire),
        TEST(a_loop_does_not_wait_for_a_canceled_timer),
        TEST(a_timer_can_be_canceled_by_an_earlier_one_of_the_same_turn),
        TEST(a_timer_can_cancel_itself_while_it_runs),
        TEST(a_timer_can_release_its_handle_while_it_runs),
        TEST(canceling_after_it_has_fired_does_nothing),
        TEST(a_timer_fires_though_its_handle_is_released),
        TEST(cancel_and_release_in_either_order_leak_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
