/* SPDX-License-Identifier: MIT */
/*
 * Goal: what belongs to somebody else is watched as portico/descriptor.h says: called once in a
 * turn while it is so, in either direction, whatever is added, removed, replaced or closed when.
 * Method: on every backend, both ends of a pair of sockets that the test uses by the system's own
 * calls; and the fake backend, where the order of tasks and late ends of canceled operations can be
 * brought about. What only a system with descriptors can do is in posix/test_foreign.c.
 */
#include "behaviour.h"

#include "system/network.h"

/* ---- What is watched ---- */

typedef struct ear ear;
struct ear {
    pco_socket sock;
    unsigned calls;
    void (*then)(ear *self); /* may be NULL */
    ear *other;
    int code; /* of what `then` did */
    bool answer;
};

static void hear(void *context)
{
    ear *self = context;
    self->calls++;
    if (self->then != NULL) {
        self->then(self);
    }
}

static void add_reader(ear *self)
{
    pco_error error = {0};
    if (pco_loop_add_reader(at.loop, self->sock, hear, self, &error) != 0) {
        fail_msg("add_reader: %s", error.message);
    }
}

static void add_writer(ear *self)
{
    assert_int_equal(pco_loop_add_writer(at.loop, self->sock, hear, self, NULL), 0);
}

static void make_pair(pco_socket pair[2])
{
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
}

static void close_socket(pco_socket sock)
{
    pco__system_network.close(NULL, sock, false);
}

static void say(pco_socket sock)
{
    assert_int_equal(socket_send(sock, "x", 1), 1);
}

static void listen_to(pco_socket sock)
{
    char byte;
    assert_int_equal(socket_receive(sock, &byte, 1), 1);
}

/* Whether no more calls come; one that was on its way already may. */
static bool falls_silent(const ear *self)
{
    let_pass(3);
    unsigned before = self->calls;
    let_pass(5);
    return self->calls == before;
}

static void do_nothing(void *context)
{
    (void)context;
}

/* ---- While it is so ---- */

static void a_reader_is_called_once_in_a_turn_while_there_is_something(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear self = {.sock = pair[0]};
    add_reader(&self);
    let_pass(3);
    assert_int_equal(self.calls, 0);
    say(pair[1]);
    for (unsigned turn = 0; turn < 1000 && self.calls < 20; turn++) {
        unsigned before = self.calls;
        assert_int_equal(pco_loop_call_later(at.loop, 0, do_nothing, NULL, NULL), 0);
        assert_int_equal(pco_loop_run_once(at.loop, PATIENCE), 0);
        assert_in_range(self.calls - before, 0, 1);
    }
    assert_int_equal(self.calls, 20);
    listen_to(pair[0]);
    assert_true(falls_silent(&self));
    say(pair[1]);
    unsigned before = self.calls;
    assert_true(reaches(&self.calls, before + 1));
    close_socket(pair[1]);
    listen_to(pair[0]);
    before = self.calls;
    assert_true(reaches(&self.calls, before + 5)); /* the end can be read, too */
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    close_socket(pair[0]);
}

static void the_two_directions_have_nothing_to_do_with_each_other(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear reads = {.sock = pair[0]};
    ear writes = {.sock = pair[0]};
    add_writer(&writes);
    add_reader(&reads);
    assert_true(reaches(&writes.calls, 3));
    assert_int_equal(reads.calls, 0);
    say(pair[1]);
    assert_true(reaches(&reads.calls, 3));
    assert_true(pco_loop_remove_writer(at.loop, pair[0]));
    unsigned before = writes.calls;
    unsigned reads_before = reads.calls;
    assert_true(reaches(&reads.calls, reads_before + 3));
    assert_int_equal(writes.calls, before);
    add_writer(&writes);
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    reads_before = reads.calls;
    assert_true(reaches(&writes.calls, before + 3));
    assert_int_equal(reads.calls, reads_before);
    assert_false(pco_loop_remove_reader(at.loop, pair[0]));
    assert_true(pco_loop_remove_writer(at.loop, pair[0]));
    assert_false(pco_loop_remove_writer(at.loop, pair[0]));
    before = writes.calls;
    let_pass(5);
    assert_int_equal(writes.calls, before);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void a_listener_is_readable_when_somebody_comes(void **state)
{
    (void)state;
    pco_address address;
    pco_socket sock = PCO_NO_SOCKET;
    const pco__network *network = &pco__system_network;
    pco__listener_options options = {0};
    assert_int_equal(pco_address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(network->bind(NULL, &address, &options, &sock, NULL), 0);
    assert_int_equal(network->listen(NULL, sock, 10, NULL), 0);
    assert_int_equal(network->sockname(NULL, sock, &address), 0);
    ear self = {.sock = sock};
    add_reader(&self);
    let_pass(3);
    assert_int_equal(self.calls, 0);
    peer *one = peer_connect(at.loop, &address, false);
    assert_true(reaches(&one->connected, 1));
    assert_true(reaches(&self.calls, 2));
    assert_true(pco_loop_remove_reader(at.loop, sock));
    close_socket(sock);
    peer_close(one, false);
    assert_true(reaches(&one->closed, 1));
    peer_free(one);
}

/* ---- Inside the callbacks ---- */

static void remove_myself(ear *self)
{
    self->answer = pco_loop_remove_reader(at.loop, self->sock);
}

static void remove_the_other(ear *self)
{
    if (self->other->calls == 0) {
        self->answer = pco_loop_remove_reader(at.loop, self->other->sock);
    }
}

static void replace_myself(ear *self)
{
    self->code = pco_loop_add_reader(at.loop, self->sock, hear, self->other, NULL);
}

static void come_back(ear *self)
{
    self->answer = pco_loop_remove_reader(at.loop, self->sock);
    self->code = pco_loop_add_reader(at.loop, self->sock, hear, self->other, NULL);
}

static void a_reader_may_remove_itself(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear self = {.sock = pair[0], .then = remove_myself};
    add_reader(&self);
    say(pair[1]);
    assert_true(reaches(&self.calls, 1));
    assert_true(self.answer);
    let_pass(5);
    assert_int_equal(self.calls, 1);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void a_reader_that_was_removed_by_another_is_not_called_any_more(void **state)
{
    (void)state;
    pco_socket first[2];
    pco_socket second[2];
    make_pair(first);
    make_pair(second);
    ear one = {.sock = first[0], .then = remove_the_other};
    ear other = {.sock = second[0], .then = remove_the_other};
    one.other = &other;
    other.other = &one;
    add_reader(&one);
    add_reader(&other);
    say(first[1]);
    say(second[1]);
    for (unsigned turn = 0; turn < 1000 && one.calls + other.calls < 5; turn++) {
        assert_int_equal(pco_loop_run_once(at.loop, PATIENCE), 0);
    }
    assert_int_equal(one.calls + other.calls, 5);
    assert_true(one.calls == 0 || other.calls == 0);
    assert_true(pco_loop_remove_reader(at.loop, one.calls != 0 ? first[0] : second[0]));
    for (int i = 0; i < 2; i++) {
        close_socket(first[i]);
        close_socket(second[i]);
    }
}

static void check_replacing(void (*then)(ear *self))
{
    pco_socket pair[2];
    make_pair(pair);
    ear next = {.sock = pair[0]};
    ear self = {.sock = pair[0], .then = then, .other = &next};
    add_reader(&self);
    say(pair[1]);
    assert_true(reaches(&next.calls, 3));
    assert_int_equal(self.calls, 1);
    assert_int_equal(self.code, 0);
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    assert_false(pco_loop_remove_reader(at.loop, pair[0]));
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void a_reader_may_replace_itself(void **state)
{
    (void)state;
    check_replacing(replace_myself);
}

static void a_reader_may_remove_itself_and_come_back(void **state)
{
    (void)state;
    check_replacing(come_back);
}

/* ---- Closing ---- */

/* The descriptor is closed while it is watched, as it must not be; nothing bad comes of it. */
static void what_is_closed_under_its_watch_is_silent_and_its_number_can_be_used(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear self = {.sock = pair[0]};
    add_reader(&self);
    add_writer(&self);
    assert_true(reaches(&self.calls, 3));
    close_socket(pair[0]);
    assert_true(falls_silent(&self));
    close_socket(pair[1]);
    make_pair(pair); /* most likely of the same number */
    ear fresh = {.sock = pair[0]};
    unsigned before = self.calls;
    say(pair[1]);
    let_pass(5);
    assert_int_equal(self.calls, before);
    add_reader(&fresh);
    assert_true(reaches(&fresh.calls, 3));
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    pco_loop_remove_reader(at.loop, self.sock);
    pco_loop_remove_writer(at.loop, self.sock);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void a_new_descriptor_of_the_number_has_the_direction_in_which_it_was_added(void **state)
{
    (void)state;
    pco_socket before[2];
    pco_socket pair[2];
    make_pair(before);
    ear reads = {.sock = before[0]};
    ear writes = {.sock = before[0]};
    add_reader(&reads);
    add_writer(&writes);
    assert_true(reaches(&writes.calls, 3));
    close_socket(before[0]);
    close_socket(before[1]);
    let_pass(3);
    make_pair(pair);
    say(pair[1]);
    unsigned calls = reads.calls;
    ear fresh = {.sock = pair[0]};
    add_writer(&fresh);
    assert_true(reaches(&fresh.calls, 3));
    let_pass(5);
    if (pair[0] == before[0] && sees_close()) {
        assert_int_equal(reads.calls, calls);
        assert_false(pco_loop_remove_reader(at.loop, pair[0]));
    }
    add_reader(&fresh);
    calls = fresh.calls;
    assert_true(reaches(&fresh.calls, calls + 3));
    pco_loop_remove_reader(at.loop, before[0]);
    pco_loop_remove_writer(at.loop, before[0]);
    pco_loop_remove_reader(at.loop, pair[0]);
    pco_loop_remove_writer(at.loop, pair[0]);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void a_number_that_was_removed_and_closed_is_used_again_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pco_socket pair[2];
        make_pair(pair);
        ear self = {.sock = pair[0]};
        add_reader(&self);
        say(pair[1]);
        if (round % 2 == 0) {
            assert_true(reaches(&self.calls, 1));
        }
        assert_true(pco_loop_remove_reader(at.loop, pair[0]));
        close_socket(pair[0]);
        close_socket(pair[1]);
    }
}

static void two_loops_may_watch_one_socket(void **state)
{
    (void)state;
    pco_loop *second = NULL;
    pco_socket pair[2];
    make_pair(pair);
    ear here = {.sock = pair[0]};
    ear there = {.sock = pair[0]};
    assert_int_equal(pco__loop_new(NULL, tested, &second, NULL), 0);
    add_reader(&here);
    assert_int_equal(pco_loop_add_reader(second, pair[0], hear, &there, NULL), 0);
    say(pair[1]);
    assert_true(reaches(&here.calls, 2));
    for (unsigned turn = 0; turn < 1000 && there.calls < 2; turn++) {
        assert_int_equal(pco_loop_run_once(second, PATIENCE), 0);
    }
    assert_int_equal(there.calls, 2);
    assert_int_equal(pco_loop_free(second), 0);
    unsigned before = here.calls;
    assert_true(reaches(&here.calls, before + 2));
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    close_socket(pair[0]);
    close_socket(pair[1]);
}

/* ---- In a host's loop ---- */

/* The host: a loop that is told by call_soon_threadsafe, on a thread of the library's. */
static pco_loop *host;
static unsigned wakes;

static void note_wake(void *context)
{
    (void)context;
    wakes++;
}

static void wake_up(void *context)
{
    (void)context;
    pco_loop_call_soon_threadsafe(host, note_wake, NULL, NULL);
}

static bool is_woken(unsigned goal)
{
    for (unsigned turn = 0; turn < 1000 && wakes < goal; turn++) {
        assert_int_equal(pco_loop_run_once(host, PATIENCE), 0);
    }
    return wakes >= goal;
}

static void a_host_is_woken_for_what_is_watched(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear self = {.sock = pair[0]};
    wakes = 0;
    assert_int_equal(pco__loop_new(NULL, tested, &host, NULL), 0);
    assert_int_equal(pco_loop_host(at.loop, wake_up, NULL, NULL), 0);
    add_reader(&self); /* outside of a turn, as all that follows */
    say(pair[1]);
    for (unsigned turn = 1; turn < 1000 && self.calls < 3; turn++) {
        assert_true(is_woken(wakes + 1));
        assert_int_equal(pco_loop_run_once(at.loop, 0), 0);
    }
    assert_int_equal(self.calls, 3);
    assert_true(pco_loop_remove_reader(at.loop, pair[0]));
    assert_int_equal(pco_loop_unhost(at.loop), 0);
    assert_int_equal(pco_loop_free(host), 0);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

/* ---- Many ---- */

#define MANY 200

static void many_are_watched_and_each_has_its_turn(void **state)
{
    (void)state;
    static pco_socket pairs[MANY][2];
    static ear ears[MANY];
    memset(ears, 0, sizeof ears);
    for (int i = 0; i < MANY; i++) {
        make_pair(pairs[i]);
        ears[i].sock = pairs[i][0];
        add_reader(&ears[i]);
    }
    for (int i = 0; i < MANY; i += 2) {
        say(pairs[i][1]);
    }
    for (int i = 0; i < MANY; i += 2) {
        assert_true(reaches(&ears[i].calls, 2));
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(i % 2 == 0 || ears[i].calls == 0);
        assert_true(pco_loop_remove_reader(at.loop, pairs[i][0]));
        close_socket(pairs[i][0]);
        close_socket(pairs[i][1]);
    }
}

/* ---- Bad input ---- */

static void check_refused(pco_socket sock, int code)
{
    pco_error error = {0};
    ear self = {0};
    assert_int_equal(pco_loop_add_reader(at.loop, sock, hear, &self, &error), code);
    assert_int_equal(error.code, code);
    assert_int_not_equal(error.message[0], '\0');
    assert_int_equal(pco_loop_add_writer(at.loop, sock, hear, &self, &error), code);
    assert_false(pco_loop_remove_reader(at.loop, sock));
    assert_false(pco_loop_remove_writer(at.loop, sock));
}

static void what_is_no_descriptor_is_refused(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    close_socket(pair[0]);
    close_socket(pair[1]);
    check_refused(PCO_NO_SOCKET, PCO_ENOTSOCK);
    check_refused(-7, PCO_ENOTSOCK);
    check_refused(pair[0], PCO_ENOTSOCK);
    check_refused((pco_socket)INT32_MAX - 3, PCO_ENOTSOCK);
    check_refused(INTPTR_MAX, PCO_ENOTSOCK);
    check_refused(INTPTR_MIN, PCO_ENOTSOCK);
}

static void without_a_callback_nothing_is_watched(void **state)
{
    (void)state;
    pco_socket pair[2];
    pco_error error = {0};
    make_pair(pair);
    assert_int_equal(pco_loop_add_reader(at.loop, pair[0], NULL, NULL, &error), PCO_EINVAL);
    assert_int_equal(error.code, PCO_EINVAL);
    assert_false(pco_loop_remove_reader(at.loop, pair[0]));
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void the_loops_own_sockets_are_refused(void **state)
{
    (void)state;
    serve();
    pco_transport *transport;
    peer *one = join_and_wait();
    assert_true(reaches(&at.made, 1));
    transport = newest()->transport;
    check_refused(pco_server_get_socket(at.server, 0), PCO_EBUSY);
    check_refused(pco_transport_get_socket(transport), PCO_EBUSY);
    check_refused(one->io.socket, PCO_EBUSY);
    leave(one);
    assert_true(all_are_lost());
}

/* ---- The end of the loop ---- */

static pco_protocol *make_nothing(void *context)
{
    (void)context;
    return NULL;
}

static void note_nothing(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                         void *context)
{
    (void)transport;
    (void)protocol;
    (void)error;
    (void)context;
}

/* Whoever connects or listens reads, and there is one that reads already. */
static void what_is_watched_becomes_no_connection_and_no_server(void **state)
{
    (void)state;
    pco_socket pair[2];
    pco_server *server = NULL;
    pco_error error = {0};
    make_pair(pair);
    pco_server_options serving = {
        .size = sizeof serving, .protocol_factory = make_nothing, .sock = pair[0]};
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_nothing, .sock = pair[0]};
    for (int writes = 0; writes < 2; writes++) {
        ear self = {.sock = pair[0]};
        if (writes) {
            add_writer(&self);
        } else {
            add_reader(&self);
        }
        assert_int_equal(
            pco_loop_create_connection(at.loop, &options, note_nothing, NULL, NULL, &error),
            PCO_EBUSY);
        assert_non_null(strstr(error.message, "remove its reader"));
        assert_int_equal(
            pco_loop_connect_accepted_socket(at.loop, &options, note_nothing, NULL, NULL, NULL),
            PCO_EBUSY);
        assert_int_equal(pco_loop_create_server(at.loop, &serving, &server, NULL), PCO_EBUSY);
        say(pair[1]);
        assert_true(reaches(&self.calls, 2)); /* it goes on */
        assert_true(writes ? pco_loop_remove_writer(at.loop, pair[0])
                           : pco_loop_remove_reader(at.loop, pair[0]));
    }
    assert_int_equal(pco_loop_create_connection(at.loop, &options, note_nothing, NULL, NULL, NULL),
                     0);
    let_pass(3);
    close_socket(pair[1]);
}

static void a_loop_is_freed_with_its_watches_and_nobody_is_told(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear reads = {.sock = pair[0]};
    ear writes = {.sock = pair[0]};
    ear other = {.sock = pair[1]};
    add_reader(&reads);
    add_writer(&writes);
    add_writer(&other);
    say(pair[1]);
    assert_true(reaches(&reads.calls, 1));
    unsigned before = reads.calls + writes.calls + other.calls;
    world_free_loop();
    assert_int_equal(reads.calls + writes.calls + other.calls, before);
    say(pair[0]); /* and both are as they were */
    listen_to(pair[1]);
    listen_to(pair[0]);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void add_and_remove(void *context)
{
    ear *self = context;
    self->code = pco_loop_add_reader(at.loop, self->sock, hear, self, NULL);
    self->answer = pco_loop_remove_reader(at.loop, self->sock);
}

static void nothing_is_added_while_the_loop_is_freed(void **state)
{
    (void)state;
    pco_socket pair[2];
    pco_handle *handle = NULL;
    make_pair(pair);
    ear self = {.sock = pair[0]};
    self.answer = true;
    add_reader(&self);
    assert_int_equal(pco_loop_call_later(at.loop, 3600, do_nothing, &self, &handle), 0);
    pco_handle_set_dropped(handle, add_and_remove);
    world_free_loop();
    assert_int_equal(self.code, PCO_ECLOSED);
    assert_false(self.answer);
    assert_int_equal(self.calls, 0);
    pco_handle_release(handle);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

static void without_memory_adding_fails_and_changes_nothing(void **state)
{
    (void)state;
    pco_socket pair[2];
    make_pair(pair);
    ear self = {.sock = pair[0]};
    bool failed = true;
    for (size_t nth = 1; failed && nth < 50; nth++) {
        pco_error error = {0};
        memory_fail(nth, false);
        int code = pco_loop_add_reader(at.loop, pair[0], hear, &self, &error);
        failed = memory_has_failed();
        memory_fail(0, false);
        if (code != 0) {
            assert_int_equal(code, PCO_ENOMEM);
            assert_int_equal(error.code, PCO_ENOMEM);
            assert_false(pco_loop_remove_reader(at.loop, pair[0]));
        } else {
            say(pair[1]);
            unsigned before = self.calls;
            assert_true(reaches(&self.calls, before + 1));
            listen_to(pair[0]);
            assert_true(pco_loop_remove_reader(at.loop, pair[0]));
        }
    }
    assert_false(failed);
    close_socket(pair[0]);
    close_socket(pair[1]);
}

/* ---- On the fake backend ---- */

static pco_loop *fake;
static char story[64];

static void tell(void *context)
{
    strncat(story, context, sizeof story - strlen(story) - 1);
}

static int set_up_fake(void **state)
{
    (void)state;
    memory_watch();
    story[0] = '\0';
    fake = fake_loop_new();
    return fake != NULL ? 0 : -1;
}

static int tear_down_fake(void **state)
{
    (void)state;
    pco_loop_free(fake);
    return memory_unwatch() == 0 ? 0 : -1;
}

static void watch_reading(pco_socket sock, const char *name)
{
    assert_int_equal(pco_loop_add_reader(fake, sock, tell, (void *)(uintptr_t)name, NULL), 0);
}

static void check_story(unsigned turns, const char *expected)
{
    run_turns(fake, turns);
    assert_string_equal(story, expected);
    story[0] = '\0';
}

static void callbacks_are_tasks_of_the_turn_that_saw_it(void **state)
{
    (void)state;
    pco_socket sock = fake_socket_new(fake);
    watch_reading(sock, "r");
    pco_loop_call_soon(fake, tell, "a", NULL);
    fake_feed(fake_socket_of(fake, sock), "x", 1);
    check_story(1, "ar");
    pco_loop_call_soon(fake, tell, "b", NULL);
    check_story(2, "brr");
    pco_loop_call_later(fake, 0, tell, "t", NULL); /* a turn that polls twice */
    check_story(1, "rt");
}

static void an_error_is_told_to_both_directions(void **state)
{
    (void)state;
    pco_socket sock = fake_socket_new(fake);
    watch_reading(sock, "r");
    fake_socket_of(fake, sock)->room = 0;
    assert_int_equal(pco_loop_add_writer(fake, sock, tell, "w", NULL), 0);
    check_story(2, "");
    fake_feed_error(fake_socket_of(fake, sock), PCO_ECONNRESET, 0);
    check_story(1, "rw");
}

static void what_was_removed_and_added_while_its_end_was_on_its_way_lives_on(void **state)
{
    (void)state;
    pco_socket sock = fake_socket_new(fake);
    fake_of(fake)->hold_cancels = true;
    watch_reading(sock, "a");
    fake_feed(fake_socket_of(fake, sock), "x", 1);
    check_story(1, "a");
    assert_true(pco_loop_remove_reader(fake, sock));
    check_story(2, "");
    watch_reading(sock, "b");
    check_story(2, "");
    fake_of(fake)->hold_cancels = false;
    check_story(2, "b");
    assert_true(pco_loop_remove_reader(fake, sock));
    watch_reading(sock, "c"); /* and the real result comes first */
    assert_true(fake_decide(fake_socket_of(fake, sock), PCO__OP_READABLE, 0, 1));
    check_story(1, "c");
}

static void note_report(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    *(int *)context = what->error->code;
}

static void what_the_system_gives_up_is_reported_and_removed(void **state)
{
    (void)state;
    int reported = 0;
    pco_socket sock = fake_socket_new(fake);
    pco_loop_set_exception_handler(fake, note_report, &reported);
    watch_reading(sock, "r");
    assert_int_equal(pco_loop_add_writer(fake, sock, tell, "w", NULL), 0);
    fake_socket_of(fake, sock)->room = 0;
    assert_true(fake_decide(fake_socket_of(fake, sock), PCO__OP_READABLE, PCO_ENOBUFS, 1));
    check_story(2, "");
    assert_int_equal(reported, PCO_ENOBUFS);
    assert_false(pco_loop_remove_reader(fake, sock));
    fake_socket_of(fake, sock)->room = 1;
    check_story(1, "w");
    watch_reading(sock, "r");
    fake_feed_eof(fake_socket_of(fake, sock));
    check_story(1, "rw");
}

static void a_failure_to_watch_is_the_callers(void **state)
{
    (void)state;
    pco_error error = {0};
    pco_socket sock = fake_socket_new(fake);
    fake_of(fake)->attach_error = PCO_ENOBUFS;
    assert_int_equal(pco_loop_add_reader(fake, sock, tell, "r", &error), PCO_ENOBUFS);
    assert_int_equal(error.code, PCO_ENOBUFS);
    watch_reading(sock, "r");
    fake_of(fake)->attach_error = PCO_ENOBUFS; /* of a second time: the first goes on */
    assert_int_equal(pco_loop_add_reader(fake, sock, tell, "s", &error), PCO_ENOBUFS);
    fake_feed_eof(fake_socket_of(fake, sock));
    check_story(1, "r");
}

#define CROWD 40

/* The second piece of memory that adding asks for is that of a larger table. */
static void without_memory_for_a_larger_table_all_are_found(void **state)
{
    (void)state;
    pco_socket socks[CROWD];
    bool failed = false;
    for (int i = 0; i < CROWD; i++) {
        socks[i] = fake_socket_new(fake);
        memory_fail(i == 0 ? 0 : 2, false); /* the first makes the table */
        watch_reading(socks[i], "r");
        failed |= memory_has_failed();
        memory_fail(0, false);
        fake_feed_eof(fake_socket_of(fake, socks[i]));
    }
    assert_true(failed);
    run_turns(fake, 1);
    assert_int_equal(strlen(story), CROWD);
    for (int i = 0; i < CROWD; i++) {
        assert_true(pco_loop_remove_reader(fake, socks[i]));
    }
}

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(a_reader_is_called_once_in_a_turn_while_there_is_something),
    TEST(the_two_directions_have_nothing_to_do_with_each_other),
    TEST(a_listener_is_readable_when_somebody_comes),
    TEST(a_reader_may_remove_itself),
    TEST(a_reader_that_was_removed_by_another_is_not_called_any_more),
    TEST(a_reader_may_replace_itself),
    TEST(a_reader_may_remove_itself_and_come_back),
    TEST(what_is_closed_under_its_watch_is_silent_and_its_number_can_be_used),
    TEST(a_new_descriptor_of_the_number_has_the_direction_in_which_it_was_added),
    TEST(a_number_that_was_removed_and_closed_is_used_again_at_once),
    TEST(two_loops_may_watch_one_socket),
    TEST(a_host_is_woken_for_what_is_watched),
    TEST(many_are_watched_and_each_has_its_turn),
    TEST(what_is_no_descriptor_is_refused),
    TEST(without_a_callback_nothing_is_watched),
    TEST(the_loops_own_sockets_are_refused),
    TEST(what_is_watched_becomes_no_connection_and_no_server),
    TEST(a_loop_is_freed_with_its_watches_and_nobody_is_told),
    TEST(nothing_is_added_while_the_loop_is_freed),
    TEST(without_memory_adding_fails_and_changes_nothing),
};

#define FAKE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_fake, tear_down_fake)

static const struct CMUnitTest fake_tests[] = {
    FAKE_TEST(callbacks_are_tasks_of_the_turn_that_saw_it),
    FAKE_TEST(an_error_is_told_to_both_directions),
    FAKE_TEST(what_was_removed_and_added_while_its_end_was_on_its_way_lives_on),
    FAKE_TEST(what_the_system_gives_up_is_reported_and_removed),
    FAKE_TEST(a_failure_to_watch_is_the_callers),
    FAKE_TEST(without_memory_for_a_larger_table_all_are_found),
};

int main(void)
{
    int failures = cmocka_run_group_tests_name("fake", fake_tests, NULL, NULL);
    return failures + run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
