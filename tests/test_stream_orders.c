/* SPDX-License-Identifier: MIT */
/*
 * Goal: in whatever order a user's calls and the ends of operations come, a connection keeps its
 * promises: its callbacks follow the grammar, all bytes arrive in order in both directions, writing
 * is paused and resumed at the water marks, memory handed over is released once, and nothing leaks.
 * Method: many schedules of calls and completions, made by chance from a seed, on the fake backend.
 * A model beside the library, which knows only what the public headers promise, checks it at every
 * callback and after every step. `test_stream_orders SEED` runs one schedule and tells its story.
 */
#include "support.h"

#define SCHEDULES 20000
#define SCHEDULES_WITHOUT_MEMORY 10000
#define PER_LOOP 10
#define STEPS 40

/* All that is ever sent or received by anybody is a beginning of this. */
static unsigned char pattern[1024 * 1024];

typedef struct model {
    connection link;
    recorder other;     /* the protocol to switch to */
    struct model *peer; /* another connection of the same loop */
    size_t fed;
    bool fed_eof;
    bool fed_error; /* some error was fed, which the connection may hear of */
    bool may_lack_memory;
    bool closed;  /* close() was called */
    bool aborted; /* abort() was called */
    bool ended;   /* write_eof() was called */
    size_t accepted;
    size_t high;
    size_t low;
    bool limits_changed; /* since writing was paused */
    unsigned handed_over;
    unsigned released;
    unsigned depth;
    const char *violation;
} model;

static uint64_t luck;
static pco_loop *loop;
static model models[2];
static bool verbose;

static unsigned any(unsigned limit)
{
    return chance(&luck, limit);
}

static void tell(const model *self, const char *what, size_t number)
{
    if (verbose) {
        print_message("%d: %s %lu\n", (int)(self - models), what, (unsigned long)number);
    }
}

static void require(model *self, bool condition, const char *sentence)
{
    if (!condition && self->violation == NULL) {
        self->violation = sentence;
        tell(self, sentence, 0);
    }
}

static const recorder *book_of(const model *self)
{
    return &self->link.protocol;
}

static bool is_lost(const model *self)
{
    return book_of(self)->counts[LOST] != 0;
}

static bool is_paused(const model *self)
{
    return book_of(self)->counts[PAUSE] != book_of(self)->counts[RESUME];
}

static size_t waiting(const model *self)
{
    return self->accepted - self->link.socket->sent_length;
}

/* ---- What must hold at any time ---- */

static void check_bytes(model *self)
{
    const fake_socket *sock = self->link.socket;
    const recorder *book = book_of(self);

    require(self, book->length <= self->fed, "more was received than was sent");
    require(self, book->length == 0 || memcmp(book->data, pattern, book->length) == 0,
            "other bytes were received than were sent");
    require(self, sock->sent_length <= self->accepted, "more was sent than was written");
    require(self, sock->sent_length == 0 || memcmp(sock->sent, pattern, sock->sent_length) == 0,
            "other bytes were sent than were written");
    require(self, !sock->shut_down || sock->sent_length == self->accepted,
            "the end was sent before the last byte");
    require(self, self->released <= self->handed_over, "memory was released twice");
}

/* Between turns, on a connection that is open. */
static void check_flow(model *self)
{
    require(self, !self->closed && !self->aborted, "a closed transport says that it is open");
    require(self, pco_transport_get_write_buffer_size(self->link.transport) == waiting(self),
            "the size of the write buffer is wrong");
    require(self, is_paused(self) || waiting(self) <= self->high,
            "writing is not paused above the high mark");
    require(self, !is_paused(self) || self->limits_changed || waiting(self) > self->low,
            "writing is not resumed at the low mark");
}

static void check(model *self)
{
    check_bytes(self);
    if (!is_lost(self) && !pco_transport_is_closing(self->link.transport)) {
        check_flow(self);
    }
}

/* ---- What a user may do ---- */

static void note_release(const void *data, void *context)
{
    model *self = context;

    (void)data;
    self->released++;
}

static size_t any_length(void)
{
    static const size_t limits[] = {10, 10, 300, 300, 3000, 6000, 40000};

    return any((unsigned)limits[any(7)]);
}

static int write_lines(model *self, pco_transport *transport, const unsigned char *data,
                       size_t length)
{
    pco_buffer lines[100];
    size_t count = any(100) + 1;

    (void)self;
    for (size_t i = 0; i < count; i++) {
        size_t part = i + 1 == count ? length : length / (count - i);
        lines[i] = (pco_buffer){data, part};
        data += part;
        length -= part;
    }
    return pco_transport_writelines(transport, lines, count);
}

static void do_write(model *self, pco_transport *transport)
{
    const unsigned char *data = pattern + self->accepted;
    bool closing = pco_transport_is_closing(transport);
    bool over = self->ended; /* before: pause_writing may do anything */
    size_t length = any_length();
    unsigned way = any(4);
    int code;

    if (self->accepted + length > sizeof pattern) {
        return;
    }
    tell(self, "write", length);
    self->accepted += length;
    if (way == 0) {
        code = write_lines(self, transport, data, length);
    } else if (way == 1) {
        self->handed_over++;
        code = pco_transport_write_owned(transport, data, length, note_release, self);
    } else {
        code = pco_transport_write(transport, data, length);
    }
    /* Without memory a part may have left: then the connection ends. */
    if (code != 0 && (closing || over || !pco_transport_is_closing(transport))) {
        self->accepted -= length;
    }
    if (closing) {
        require(self, code == PCO_ECLOSED, "a write to a closing transport is not PCO_ECLOSED");
    } else if (over) {
        require(self, code == PCO_EPIPE, "a write after the end is not PCO_EPIPE");
    } else {
        require(self, code == 0 || (code == PCO_ENOMEM && self->may_lack_memory), "a write fails");
    }
}

static void do_end(model *self, pco_transport *transport)
{
    bool closing = pco_transport_is_closing(transport);
    int code;

    tell(self, "write_eof", 0);
    self->ended |= !closing;
    code = pco_transport_write_eof(transport);
    require(self, code == (closing ? PCO_ECLOSED : 0), "write_eof answers wrongly");
}

static void do_close(model *self, pco_transport *transport)
{
    tell(self, "close", 0);
    self->closed |= !pco_transport_is_closing(transport);
    pco_transport_close(transport);
    require(self, pco_transport_is_closing(transport), "close does not close");
}

static void do_abort(model *self, pco_transport *transport)
{
    tell(self, "abort", 0);
    self->aborted = true;
    if (any(2) == 0) {
        pco_transport_abort(transport);
    } else {
        pco_transport_abort_reset(transport);
    }
    require(self, pco_transport_is_closing(transport), "abort does not close");
}

static void do_read(model *self, pco_transport *transport, bool pause)
{
    bool closing = pco_transport_is_closing(transport);
    int code;

    tell(self, pause ? "pause_reading" : "resume_reading", 0);
    code = pause ? pco_transport_pause_reading(transport) : pco_transport_resume_reading(transport);
    require(self, code == (closing ? PCO_ECLOSED : 0), "pausing or resuming answers wrongly");
    require(self, pco_transport_is_reading(transport) == (!closing && !pause),
            "is_reading answers wrongly");
}

static void do_switch(model *self, pco_transport *transport)
{
    pco_protocol *now = pco_transport_get_protocol(transport);
    pco_protocol *next =
        now == &self->other.protocol ? &self->link.protocol.protocol : &self->other.protocol;

    tell(self, "set_protocol", next == &self->other.protocol);
    require(self, pco_transport_set_protocol(transport, next) == 0, "set_protocol fails");
    require(self, pco_transport_get_protocol(transport) == next, "set_protocol does nothing");
}

static void do_limit(model *self, pco_transport *transport)
{
    static const size_t marks[] = {0, 1, 100, 1000, 5000, 65536};

    self->high = marks[any(6)];
    self->low = self->high == 0 ? 0 : any((unsigned)self->high + 1);
    self->limits_changed = true;
    tell(self, "set limits", self->high);
    require(self, pco_transport_set_write_buffer_limits(transport, self->high, self->low) == 0,
            "setting the limits fails");
}

static void act(model *self, pco_transport *transport)
{
    unsigned what = any(100);

    if (what < 50) {
        do_write(self, transport);
    } else if (what < 66) {
        do_read(self, transport, true);
    } else if (what < 82) {
        do_read(self, transport, false);
    } else if (what < 90) {
        do_switch(self, transport);
    } else if (what < 94) {
        do_limit(self, transport);
    } else if (what < 96) {
        do_end(self, transport);
    } else if (what < 98) {
        do_close(self, transport);
    } else {
        do_abort(self, transport);
    }
}

/* ---- What it is told ---- */

/* Inside any callback: perhaps calls something, of this connection or of the other one. */
static void act_inside(recorder *recorder_, pco_transport *transport)
{
    model *self = recorder_->context;
    model *peer = self->peer;

    check_bytes(self);
    if (self->depth < 2) {
        self->depth++;
        for (unsigned i = any(3); i != 0; i--) {
            act(self, transport);
        }
        if (any(6) == 0 && !is_lost(peer) && peer->link.protocol.counts[MADE] != 0) {
            act(peer, peer->link.transport);
        }
        self->depth--;
    }
}

static void ended(recorder *recorder_, pco_transport *transport)
{
    model *self = recorder_->context;

    require(self, self->fed_eof && book_of(self)->length == self->fed,
            "the end came before the last byte");
    act_inside(recorder_, transport);
}

static void paused(recorder *recorder_, pco_transport *transport)
{
    model *self = recorder_->context;

    require(self, waiting(self) > self->high, "writing is paused below the high mark");
    self->limits_changed = false;
    act_inside(recorder_, transport);
}

static void resumed(recorder *recorder_, pco_transport *transport)
{
    model *self = recorder_->context;

    require(self, waiting(self) <= self->low, "writing is resumed above the low mark");
    act_inside(recorder_, transport);
}

static void check_reason(model *self)
{
    const recorder *book = book_of(self);
    int code = book->error.code;

    if (code == PCO_ETIMEDOUT) {
        require(self,
                self->link.options.close_timeout < INFINITY && waiting(self) != 0 &&
                    (self->closed || book->counts[END] != 0),
                "the end of a time that does not run");
    } else if (code == 0) {
        require(self, self->closed || self->aborted || book->counts[END] != 0,
                "the connection is lost without a reason");
        require(self, self->aborted || waiting(self) == 0, "not all was sent before the end");
    } else if (code == PCO_ENOMEM) {
        require(self, self->may_lack_memory, "there is memory");
    } else {
        require(self, code == PCO_ECONNRESET && self->fed_error, "a reason that nobody gave");
    }
    require(self, self->released == self->handed_over, "memory is not released at the end");
}

static void lost(recorder *recorder_, pco_transport *transport)
{
    model *self = recorder_->context;

    tell(self, "lost", (size_t)-book_of(self)->error.code);
    check_reason(self);
    act_inside(recorder_, transport);
    require(self, pco_transport_is_closing(transport), "a lost transport is not closing");
}

/* ---- What the world does ---- */

static void do_feed(model *self)
{
    size_t length = any_length();
    unsigned what = any(30);

    if (self->fed_eof || self->fed_error) {
        return;
    }
    if (what == 0) {
        tell(self, "peer ends", 0);
        self->fed_eof = true;
        fake_feed_eof(self->link.socket);
    } else if (what == 1) {
        tell(self, "peer resets", 0);
        self->fed_error = true;
        fake_feed_error(self->link.socket, PCO_ECONNRESET, 104);
    } else if (self->fed + length <= sizeof pattern) {
        tell(self, "peer sends", length);
        fake_feed(self->link.socket, pattern + self->fed, length);
        self->fed += length;
    }
}

static void do_room(model *self)
{
    fake_socket *sock = self->link.socket;
    static const size_t rooms[] = {0, 0, 1, 100, 4096, 50000, SIZE_MAX};

    sock->room = rooms[any(7)];
    sock->send_cut = any(3) == 0 ? any(500) + 1 : 0;
    tell(self, "room", sock->room);
    if (any(5) == 0) {
        tell(self, "time passes", 4);
        fake_advance(loop, 4);
    }
    if (any(60) == 0) {
        tell(self, "sending fails", 0);
        self->fed_error = true;
        sock->send_error = PCO_ECONNRESET;
    }
}

static void do_complete(model *self)
{
    static const pco__op_kind kinds[] = {PCO__OP_RECV, PCO__OP_SEND, PCO__OP_WATCH};
    pco__op_kind kind = kinds[any(3)];
    int error = any(3) == 0 ? PCO_ECANCELED : 0;
    size_t limit = any(3) == 0 ? any(50) + 1 : SIZE_MAX;

    if (any(100) == 0) {
        error = PCO_ECONNRESET;
    }
    if (fake_decide(self->link.socket, kind, error, limit)) {
        tell(self, error == 0 ? "decide result of" : "decide error of", (size_t)kind);
        self->fed_error |= error == PCO_ECONNRESET;
    }
}

static void act_as_task(void *context)
{
    model *self = context;

    if (!is_lost(self)) {
        act(self, self->link.transport);
    }
}

static void step(model *self)
{
    unsigned what = any(10);

    if (what < 3) {
        do_feed(self);
    } else if (what < 4) {
        do_room(self);
    } else if (what < 7) {
        do_complete(self);
    } else if (what < 9) {
        pco_loop_call_soon(loop, act_as_task, self, NULL); /* which may lack memory */
    } else {
        act_as_task(self);
    }
}

/* ---- A schedule ---- */

static void prepare(model *self, model *peer, bool without_memory)
{
    recorder *both[2] = {&self->link.protocol, &self->other};

    memset(self, 0, sizeof *self);
    connection_init(&self->link, any(2) == 0);
    self->link.options.linger = any(4) == 0;
    self->link.options.close_timeout = any(4) == 0 ? 10 : INFINITY;
    recorder_init(&self->other, any(2) == 0);
    self->other.book = &self->link.protocol;
    self->peer = peer;
    self->may_lack_memory = without_memory;
    self->high = 65536;
    self->low = 16384;
    for (size_t i = 0; i < 2; i++) {
        static void (*const at[EVENTS])(recorder *, pco_transport *) = {
            act_inside, act_inside, ended, lost, paused, resumed, act_inside, act_inside};
        memcpy(both[i]->at, at, sizeof at);
        both[i]->context = self;
        both[i]->keep_open = any(2) == 0;
        both[i]->buffer_size = any(200) + 1;
    }
}

/* How the backend behaves is a matter of chance as well. */
static void choose_backend(void)
{
    fake_backend *fake = fake_of(loop);

    fake->manual = any(4) != 0;
    fake->eager = any(3) == 0;
    fake->hold_cancels = any(3) == 0;
    fake->cancels_first = any(2) == 0;
    fake->cancels_wait = any(2) == 0;
    fake->receive_on_cancel = any(2) == 0;
    fake->sends_what_came_later = any(2) == 0;
}

/* Ends everything, politely or not. */
static void wind_up(void)
{
    fake_backend *fake = fake_of(loop);

    memory_fail(0, false);
    fake->manual = false;
    fake->hold_cancels = false;
    for (unsigned i = 0; i < 2; i++) {
        if (!is_lost(&models[i])) {
            models[i].fed_eof = true;
            fake_feed_eof(models[i].link.socket);
            models[i].link.socket->room = SIZE_MAX;
            models[i].link.socket->send_cut = 0;
            if (any(2) == 0) {
                do_close(&models[i], models[i].link.transport);
            } else {
                do_abort(&models[i], models[i].link.transport);
            }
        }
    }
    for (unsigned turns = 0; turns < 2000 && !(is_lost(&models[0]) && is_lost(&models[1]));
         turns++) {
        pco_loop_run_once(loop, 0);
    }
    run_turns(loop, 2);
}

/* Returns what went wrong; NULL: nothing. */
static const char *judge(model *self)
{
    const char *violation = self->violation;

    if (violation == NULL) {
        violation = book_of(self)->violation;
    }
    if (violation == NULL && (!is_lost(self) || !self->link.socket->closed)) {
        violation = "the connection does not end";
    }
    return violation;
}

static const char *run_schedule(uint64_t seed, bool without_memory)
{
    const char *violation = NULL;

    luck = seed * 0x9E3779B97F4A7C15u + 1;
    choose_backend();
    for (unsigned i = 0; i < 2; i++) {
        prepare(&models[i], &models[1 - i], without_memory);
    }
    connection_open(&models[0].link, loop);
    connection_open(&models[1].link, loop);
    if (without_memory) {
        memory_fail(any(20) + 1, any(3) == 0);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step(&models[any(2)]);
        if (any(3) != 0) {
            pco_loop_run_once(loop, 0);
        }
        check(&models[0]);
        check(&models[1]);
    }
    wind_up();
    for (unsigned i = 0; i < 2; i++) {
        check_bytes(&models[i]);
        violation = violation != NULL ? violation : judge(&models[i]);
        connection_free(&models[i].link);
    }
    return violation;
}

static void run_schedules(uint64_t first, uint64_t count, bool without_memory)
{
    for (uint64_t seed = first; seed < first + count;) {
        memory_watch();
        loop = fake_loop_new();
        assert_non_null(loop);
        for (unsigned i = 0; i < PER_LOOP && seed < first + count; i++, seed++) {
            const char *violation = run_schedule(seed, without_memory);
            if (violation != NULL) {
                fail_msg("schedule %lu: %s", (unsigned long)seed, violation);
            }
        }
        assert_int_equal(fake_in_flight(loop), 0);
        assert_int_equal(pco_loop_free(loop), 0);
        assert_int_equal(memory_unwatch(), 0);
    }
}

static void in_every_order_a_connection_keeps_its_promises(void **state)
{
    (void)state;
    run_schedules(1, SCHEDULES, false);
}

static void in_every_order_a_connection_bears_a_lack_of_memory(void **state)
{
    (void)state;
    run_schedules(1000001, SCHEDULES_WITHOUT_MEMORY, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_every_order_a_connection_keeps_its_promises),
        cmocka_unit_test(in_every_order_a_connection_bears_a_lack_of_memory),
    };

    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (unsigned char)(i * 31 + i / 256 + i / 65536 * 3);
    }
    if (argc > 1) {
        uint64_t seed = strtoull(argv[1], NULL, 10);
        verbose = true;
        run_schedules(seed, 1, seed > 1000000);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
