/* SPDX-License-Identifier: MIT */
/*
 * Goal: a stream that is made where another one ended is as a new one, and what is kept for that is
 * bounded, never anybody's who still has it, and not kept at all where somebody looks after memory.
 * Method: streams on the fake backend with the allocator of the C library, unlike the other tests,
 * whose allocator keeps none. What is kept is filled with bits of each kind before it is used
 * again. A build with sanitizers keeps none either: there the streams' memory is what malloc gives.
 */
#include "support.h"

#include "support/memory.h"

static pco_loop *loop;
static pco__transports *home;
static connection a;

static int set_up(void **state)
{
    (void)state;
    loop = fake_loop_new();
    home = loop != NULL ? pco__transports_of(loop, pco__stream_send_corks) : NULL;
    connection_init(&a, false);
    return home != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    bool right = connection_kept_the_rules(&a);
    connection_free(&a);
    return right ? 0 : -1;
}

/* How many of `count` pieces are kept. */
static unsigned kept(unsigned count)
{
    unsigned most = pco__memory_may_be_kept() ? PCO__SPARES : 0;
    return count < most ? count : most;
}

static void end(connection *of)
{
    pco_transport_abort(of->transport);
    run_turns(loop, 3);
    assert_true(connection_is_lost(of));
}

static void fill_what_is_kept(int byte)
{
    for (unsigned i = 0; i < home->spares; i++) {
        memset(home->spare[i], byte, sizeof *home->spare[i]);
    }
}

/* ---- As new ---- */

static void pause_writing_soon(connection *of)
{
    assert_int_equal(pco_transport_set_write_buffer_limits(of->transport, 3, 1), 0);
    of->socket->room = 0;
    assert_int_equal(pco_transport_write(of->transport, "much", 4), 0);
    run_turns(loop, 2);
    assert_int_equal(of->protocol.counts[PAUSE], 1);
}

/* Sets all that a user can. */
static void live_eventfully(void)
{
    pco_address peer;
    assert_int_equal(pco_address_parse("192.0.2.7", 777, &peer), 0);
    connection_init(&a, true);
    a.options = (pco__stream_options){.close_timeout = 7, .linger = true};
    a.peer = &peer;
    connection_open(&a, loop);
    pause_writing_soon(&a);
    a.protocol.buffer_size = 2;
    fake_feed(a.socket, "kept", 4);
    run_turns(loop, 3);
    assert_int_equal(pco_transport_pause_reading(a.transport), 0);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    pco_transport_close(a.transport);
    run_turns(loop, 2);
    pco_transport_abort_reset(a.transport);
    run_turns(loop, 3);
    assert_true(connection_is_lost(&a));
    assert_true(a.socket->reset);
    connection_free(&a);
}

static void assert_is_new(const connection *of)
{
    size_t high = 0;
    size_t low = 0;
    pco_transport_get_write_buffer_limits(of->transport, &high, &low);
    assert_int_equal(high, 64 * 1024);
    assert_int_equal(low, 16 * 1024);
    assert_int_equal(pco_transport_get_write_buffer_size(of->transport), 0);
    assert_true(pco_transport_is_reading(of->transport));
    assert_false(pco_transport_is_closing(of->transport));
    assert_ptr_equal(pco_transport_get_protocol(of->transport), &of->protocol.protocol);
    assert_string_equal(of->protocol.log, "made");
}

/* Reads, pauses, writes what waits and what does not, ends both ways. */
static void live_plainly(void)
{
    connection_init(&a, false);
    a.protocol.keep_open = true;
    connection_open(&a, loop);
    assert_is_new(&a);
    fake_feed(a.socket, "one", 3);
    run_turns(loop, 2);
    assert_int_equal(pco_transport_write(a.transport, "small", 5), 0);
    run_turns(loop, 1);
    assert_int_equal(a.socket->sent_length, 5);
    assert_int_equal(pco_transport_pause_reading(a.transport), 0);
    fake_feed(a.socket, "two", 3);
    run_turns(loop, 2);
    connection_assert_data(&a, "one");
    assert_int_equal(pco_transport_resume_reading(a.transport), 0);
    run_turns(loop, 2);
    a.socket->room = 0;
    assert_int_equal(pco_transport_write(a.transport, "waits", 5), 0);
    run_turns(loop, 2);
    assert_int_equal(pco_transport_get_write_buffer_size(a.transport), 5);
    a.socket->room = SIZE_MAX;
    run_turns(loop, 2);
    fake_feed_eof(a.socket);
    run_turns(loop, 2);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:3 data:3 end lost");
    connection_assert_data(&a, "onetwo");
    assert_int_equal(a.socket->sent_length, 10);
    assert_false(a.socket->reset);
    connection_free(&a);
}

/* Ends its side, and is closed at once, though the peer's end has not come. */
static void live_briefly(void)
{
    connection_init(&a, false);
    connection_open(&a, loop);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    assert_true(a.socket->shut_down);
    pco_transport_close(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made lost");
    assert_true(a.socket->closed);
    connection_free(&a);
}

/* Is aborted before it is given a protocol. */
static void live_not_at_all(void)
{
    pco_socket sock = fake_socket_new(loop);
    fake_socket *socket = fake_socket_of(loop, sock);
    connection_init(&a, false);
    assert_int_equal(pco__stream_new(loop, sock, a.peer, &a.options, &a.stream, NULL), 0);
    pco__stream_abort(a.stream, false);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "");
    assert_true(socket->closed);
}

static void after_an_eventful_life_comes_a_plain_one(void **state)
{
    (void)state;
    live_eventfully();
    assert_int_equal(home->spares, kept(1));
    live_plainly();
    assert_int_equal(home->spares, kept(1));
}

static void whatever_bits_are_left_a_stream_is_as_new(void **state)
{
    static const int bytes[] = {0x00, 0xFF, 0x5A, 0xA5};

    (void)state;
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        fill_what_is_kept(bytes[i]);
        live_plainly();
        fill_what_is_kept(bytes[i]);
        live_eventfully();
        fill_what_is_kept(bytes[i]);
        live_briefly();
        fill_what_is_kept(bytes[i]);
        live_not_at_all();
    }
}

static void an_address_of_the_peers_is_not_left(void **state)
{
    pco_address peer;
    pco_address next;

    (void)state;
    assert_int_equal(pco_address_parse("192.0.2.7", 777, &peer), 0);
    a.peer = &peer;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_get_peername(a.transport, &next), 0);
    assert_true(pco_address_equal(&next, &peer));
    end(&a);
    connection_free(&a);
    connection_init(&a, false);
    connection_open(&a, loop);
    assert_false(pco_transport_get_peername(a.transport, &next) == 0 &&
                 pco_address_equal(&next, &peer));
}

/* ---- What is kept ---- */

static void what_is_kept_is_bounded_and_used_again(void **state)
{
    enum { MANY = PCO__SPARES + 6 };
    static connection many[MANY];

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        connection_init(&many[i], false);
        connection_open(&many[i], loop);
    }
    for (unsigned i = 0; i < MANY; i++) {
        pco_transport_abort(many[i].transport);
    }
    run_turns(loop, 3);
    assert_int_equal(home->spares, kept(MANY));
    connection_open(&a, loop);
    assert_int_equal(home->spares, kept(MANY) != 0 ? PCO__SPARES - 1 : 0);
    end(&a);
    assert_int_equal(home->spares, kept(MANY));
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(connection_is_lost(&many[i]));
        connection_free(&many[i]);
    }
}

static void what_somebody_retains_is_not_used_again(void **state)
{
    connection b;

    (void)state;
    connection_open(&a, loop);
    pco_transport *shell = pco_transport_retain(a.transport);
    end(&a);
    assert_int_equal(home->spares, 0);
    connection_init(&b, false);
    connection_open(&b, loop);
    assert_ptr_not_equal(b.transport, shell);
    assert_true(pco_transport_is_closing(shell));
    assert_int_equal(pco_transport_write(shell, "x", 1), PCO_ECLOSED);
    pco_transport_release(shell);
    assert_int_equal(home->spares, kept(1));
    assert_false(pco_transport_is_closing(b.transport));
    end(&b);
    assert_int_equal(home->spares, kept(2));
    connection_free(&b);
}

static void what_is_retained_longer_than_the_loop_is_freed_alone(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport *shell = pco_transport_retain(a.transport);
    assert_int_equal(pco_loop_free(loop), 0);
    assert_true(connection_is_lost(&a));
    assert_int_equal(pco_transport_write(shell, "x", 1), PCO_ECLOSED);
    pco_transport_release(shell);
    loop = NULL;
}

static void where_a_socket_cannot_be_attached_the_memory_is_kept_all_the_same(void **state)
{
    pco__stream *stream = NULL;

    (void)state;
    connection_open(&a, loop);
    end(&a);
    fake_of(loop)->attach_error = PCO_EMFILE;
    pco_socket sock = fake_socket_new(loop);
    assert_int_equal(pco__stream_new(loop, sock, a.peer, &a.options, &stream, NULL), PCO_EMFILE);
    assert_null(stream);
    assert_int_equal(home->spares, kept(1));
}

static void in_debug_mode_nothing_is_kept(void **state)
{
    (void)state;
    pco_loop_set_debug(loop, true);
    connection_open(&a, loop);
    end(&a);
    assert_int_equal(home->spares, 0);
}

static void with_an_allocator_of_the_users_nothing_is_kept(void **state)
{
    (void)state;
    assert_int_equal(pco_loop_free(loop), 0);
    memory_watch();
    loop = fake_loop_new();
    assert_non_null(loop);
    connection_open(&a, loop);
    size_t pieces = memory_pieces();
    end(&a);
    assert_true(memory_pieces() < pieces);
    pco_loop_free(loop);
    loop = NULL;
    assert_int_equal(memory_unwatch(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_an_eventful_life_comes_a_plain_one),
        TEST(whatever_bits_are_left_a_stream_is_as_new),
        TEST(an_address_of_the_peers_is_not_left),
        TEST(what_is_kept_is_bounded_and_used_again),
        TEST(what_somebody_retains_is_not_used_again),
        TEST(what_is_retained_longer_than_the_loop_is_freed_alone),
        TEST(where_a_socket_cannot_be_attached_the_memory_is_kept_all_the_same),
        TEST(in_debug_mode_nothing_is_kept),
        TEST(with_an_allocator_of_the_users_nothing_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
