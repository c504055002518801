/* SPDX-License-Identifier: MIT */
/*
 * Goal: a stream that connects tells its owner once how that ended, before anything else, and then
 * is a stream like any other; it may be aborted at any moment, and its loop freed.
 * Method: streams on the fake backend; and one over real sockets, to a server of the library.
 */
#include "support.h"

#include "system/network.h"

static pco_loop *loop;
static pco__stream *stream;
static fake_socket *sock;
static recorder protocol;
static pco_address address;

/* ---- An owner ---- */

static struct {
    pco__owner owner;
    pco__resident resident;
    char story[32]; /* C connected, c not connected, E ended */
    int code;
    int system_code;
    bool starts;
    bool aborts;
} they;

static void tell(char what)
{
    size_t length = strlen(they.story);
    assert_true(length + 1 < sizeof they.story);
    they.story[length] = what;
    they.story[length + 1] = '\0';
}

static void note_connected(pco__owner *owner, pco__stream *made, const pco__result *result)
{
    (void)owner;
    tell(result->error == 0 ? 'C' : 'c');
    they.code = result->error;
    they.system_code = result->system_code;
    if (result->error == 0 && they.starts) {
        pco__stream_start(made, &protocol.protocol);
    }
    if (they.aborts) {
        pco__stream_abort(made, false);
    }
}

static void note_ended(pco__owner *owner)
{
    (void)owner;
    tell('E');
}

static const pco__owner_class owner_class = {.ended = note_ended, .connected = note_connected};

/* When the loop is freed, an owner ends its streams. */
static void end(pco__resident *resident)
{
    (void)resident;
    if (!pco__list_is_empty(&they.owner.streams)) {
        pco__stream_abort(PCO__CONTAINER(they.owner.streams.next, pco__stream, base.link), false);
    }
}

static void leave(pco__resident *resident)
{
    (void)resident;
}

static bool has_ended(pco__resident *resident)
{
    (void)resident;
    return pco__list_is_empty(&they.owner.streams);
}

static const pco__resident_class resident_class = {
    .end = end, .has_ended = has_ended, .leave = leave};

static void move_in(void)
{
    memset(&they, 0, sizeof they);
    they.owner.class_ = &owner_class;
    they.starts = true;
    pco__list_init(&they.owner.streams);
    they.resident.class_ = &resident_class;
    pco__loop_move_in(loop, &they.resident);
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    recorder_init(&protocol, false);
    move_in();
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    bool right = protocol.violation == NULL;
    recorder_free(&protocol);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

static void begin_to_connect(void)
{
    pco__stream_options options = {
        .owner = &they.owner, .role = PCO__IO_UNCONNECTED, .close_timeout = INFINITY};
    pco_socket number = fake_socket_new(loop);
    assert_int_equal(pco__stream_connect(loop, number, &address, &options, &stream, NULL), 0);
    sock = fake_socket_of(loop, number);
    assert_int_equal(sock->role, PCO__IO_UNCONNECTED);
    assert_string_equal(they.story, "");
}

/* ---- On the fake ---- */

static void a_connected_stream_is_a_stream_like_any_other(void **state)
{
    (void)state;
    begin_to_connect();
    run_turns(loop, 2);
    assert_string_equal(they.story, "C");
    assert_string_equal(protocol.log, "made");
    fake_feed(sock, "hello", 5);
    run_turns(loop, 1);
    assert_string_equal(protocol.log, "made data:5");
    pco_transport_write(&stream->base, "answer", 6);
    sock->room = 0;
    pco_transport_write(&stream->base, "more", 4);
    run_turns(loop, 1);
    sock->room = SIZE_MAX;
    pco_transport_close(&stream->base);
    run_turns(loop, 3);
    assert_int_equal(sock->sent_length, 10);
    assert_string_equal(protocol.log, "made data:5 lost");
    assert_string_equal(they.story, "CE");
}

static void a_failure_is_told_with_what_the_system_said(void **state)
{
    (void)state;
    begin_to_connect();
    assert_true(fake_decide(sock, PCO__OP_CONNECT, PCO_ECONNREFUSED, 0));
    run_turns(loop, 3);
    assert_string_equal(they.story, "cE");
    assert_int_equal(they.code, PCO_ECONNREFUSED);
    assert_int_equal(they.system_code, FAKE_SYSTEM_CODE(PCO_ECONNREFUSED));
    assert_string_equal(protocol.log, "");
    assert_true(sock->closed);
}

static void what_is_aborted_or_closed_meanwhile_is_canceled(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        bool came_first = (i & 2) != 0; /* it is connected, but too late */
        they.story[0] = '\0';
        begin_to_connect();
        if (came_first) {
            assert_true(fake_decide(sock, PCO__OP_CONNECT, 0, SIZE_MAX));
        }
        if ((i & 1) != 0) {
            pco_transport_close(&stream->base);
        } else {
            pco_transport_abort(&stream->base);
        }
        assert_string_equal(they.story, "");
        run_turns(loop, 3);
        assert_string_equal(they.story, "cE");
        assert_int_equal(they.code, PCO_ECANCELED);
        assert_true(sock->closed);
    }
}

static void where_the_system_is_slow_to_cancel_it_ends_later(void **state)
{
    (void)state;
    begin_to_connect();
    fake_of(loop)->hold_cancels = true;
    pco_transport_abort(&stream->base);
    run_turns(loop, 3);
    assert_string_equal(they.story, "");
    fake_of(loop)->hold_cancels = false;
    run_turns(loop, 2);
    assert_string_equal(they.story, "cE");
}

static void the_owner_may_abort_when_it_hears_of_it(void **state)
{
    (void)state;
    they.starts = false;
    they.aborts = true;
    begin_to_connect();
    run_turns(loop, 3);
    assert_string_equal(they.story, "CE");
    assert_string_equal(protocol.log, "");
}

static void the_loop_may_be_freed_meanwhile(void **state)
{
    (void)state;
    begin_to_connect();
    fake_of(loop)->manual = true;
    run_turns(loop, 2);
    fake_of(loop)->manual = false;
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
    assert_string_equal(they.story, "cE");
}

static void what_cannot_be_made_leaves_the_socket_to_the_caller(void **state)
{
    (void)state;
    pco__stream_options options = {.owner = &they.owner, .role = PCO__IO_UNCONNECTED};
    pco_socket number = fake_socket_new(loop);
    fake_of(loop)->attach_error = PCO_ENOMEM;
    assert_int_equal(pco__stream_connect(loop, number, &address, &options, &stream, NULL),
                     PCO_ENOMEM);
    run_turns(loop, 2);
    assert_string_equal(they.story, "");
    assert_true(pco__list_is_empty(&they.owner.streams));
}

/* ---- Over real sockets ---- */

static recorder served;

static pco_protocol *make_served(void *context)
{
    (void)context;
    return &served.protocol;
}

static bool both_have_ended(void *context)
{
    (void)context;
    return served.counts[LOST] != 0 && protocol.counts[LOST] != 0;
}

static void answer_and_close(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "answer", 6);
    pco_transport_close(transport);
}

static void ask(recorder *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "hello", 5);
}

static void it_connects_to_a_server(void **state)
{
    (void)state;
    pco_server *server = NULL;
    pco_server_options serving = {
        .size = sizeof serving, .protocol_factory = make_served, .host = "127.0.0.1"};
    assert_int_equal(pco_loop_free(loop), 0);
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    move_in();
    recorder_init(&served, false);
    served.at[DATA] = answer_and_close;
    protocol.at[MADE] = ask;
    assert_int_equal(pco_loop_create_server(loop, &serving, &server, NULL), 0);
    assert_int_equal(pco_server_get_sockname(server, 0, &address), 0);
    pco_socket number;
    assert_int_equal(pco__system_network.open(NULL, pco_address_family(&address), 0, &number, NULL),
                     0);
    pco__stream_options options = {
        .owner = &they.owner, .role = PCO__IO_UNCONNECTED, .close_timeout = INFINITY};
    assert_int_equal(pco__stream_connect(loop, number, &address, &options, &stream, NULL), 0);
    assert_int_equal(pco_loop_run_until(loop, both_have_ended, NULL, 60), 0);
    assert_int_equal(protocol.length, 6);
    assert_memory_equal(protocol.data, "answer", 6);
    assert_int_equal(served.length, 5);
    pco_loop_run_once(loop, 0);
    assert_string_equal(they.story, "CE");
    pco_server_free(server);
    recorder_free(&served);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connected_stream_is_a_stream_like_any_other),
        TEST(a_failure_is_told_with_what_the_system_said),
        TEST(what_is_aborted_or_closed_meanwhile_is_canceled),
        TEST(where_the_system_is_slow_to_cancel_it_ends_later),
        TEST(the_owner_may_abort_when_it_hears_of_it),
        TEST(the_loop_may_be_freed_meanwhile),
        TEST(what_cannot_be_made_leaves_the_socket_to_the_caller),
        TEST(it_connects_to_a_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
