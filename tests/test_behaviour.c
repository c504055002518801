/* SPDX-License-Identifier: MIT */
/*
 * Goal: a connection behaves as its headers promise: what is delivered and when, flow control both
 * ways, closing, failing peers, switching protocols, and what is known of it.
 * Method: the same tests on every backend of the system, without and with TLS. The server is the
 * library's; the client is not (behaviour_peer.h). Each callback checks the grammar by itself.
 */
#include "behaviour.h"

#include "system/network.h"
#include "system/platform.h"

/* More than the system's buffers hold, here. */
#define LARGE ((size_t)1 << 20)

static unsigned acted; /* how often a deed was done */

static int begin(void **state)
{
    acted = 0;
    int code = world_begin(state);
    at.small_buffers = true;
    return code;
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

/* What connection_lost hears when the peer has gone without a word: to TLS that is a truncation. */
static int gone(void)
{
    return at.tls ? PCO_ETRUNCATED : 0;
}

static void only_without_tls(void)
{
    if (at.tls) {
        print_message("skipped: not with TLS\n");
        skip();
    }
}

static void only_where_a_reset_is_noticed_behind_unread_data(void)
{
    if (strcmp(tested->name, "iocp") == 0) {
        print_message("skipped: this system cannot tell\n");
        skip();
    }
}

/* Runs another loop for a while, so that the peers act and the server does not see it yet. */
static void let_peers_act(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        pco_loop_run_once(at.outside, 0.001);
    }
}

static void put_peers_outside(void)
{
    assert_int_equal(pco__loop_new(NULL, tested, &at.outside, NULL), 0);
}

/* ---- Receiving and sending ---- */

static void a_message_is_echoed(void **state)
{
    (void)state;
    at.echoes = true;
    serve();
    peer *client = join();
    peer_send(client, "hello", 5);
    assert_true(grows_to(&client->length, 5));
    assert_memory_equal(client->received, "hello", 5);
    assert_int_equal(newest()->length, 5);
}

static void echo(size_t length)
{
    at.echoes = true;
    serve();
    peer *client = join();
    peer_send(client, pattern(length), length);
    assert_true(grows_to(&client->length, length));
    assert_int_equal(client->length, length);
    assert_memory_equal(client->received, pattern(length), length);
    peer_finish(client);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), 0);
    assert_int_equal(client->length, length);
}

static void much_is_echoed(void **state)
{
    (void)state;
    echo(LARGE);
}

static void much_is_echoed_by_a_buffered_protocol(void **state)
{
    (void)state;
    at.buffered = true;
    echo(LARGE / 16);
    assert_int_equal(newest()->counts[AT_DATA], 0);
    assert_true(newest()->counts[AT_UPDATED] > 0);
    assert_true(newest()->counts[AT_GET_BUFFER] >= newest()->counts[AT_UPDATED]);
}

static void single_bytes_are_echoed(void **state)
{
    const size_t length = 3000;
    (void)state;
    at.echoes = true;
    serve();
    peer *client = join();
    client->says_little = true;
    peer_send(client, pattern(length), length);
    assert_true(grows_to(&client->length, length));
    assert_memory_equal(client->received, pattern(length), length);
}

static void single_bytes_are_echoed_by_a_buffered_protocol(void **state)
{
    (void)state;
    at.buffered = true;
    single_bytes_are_echoed(state);
}

static void write_in_made(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    if (pco_transport_write(transport, "wel", 3) != 0 ||
        pco_transport_write(transport, "", 0) != 0 ||
        pco_transport_write(transport, NULL, 0) != 0 ||
        pco_transport_write(transport, "come", 4) != 0) {
        violate("writing in connection_made failed");
    }
    leave_call();
}

static void what_is_written_in_connection_made_arrives_in_order(void **state)
{
    (void)state;
    at.at[AT_MADE] = write_in_made;
    serve();
    peer *client = join();
    assert_true(grows_to(&client->length, 7));
    assert_memory_equal(client->received, "welcome", 7);
}

static void null_with_a_length_is_refused(void **state)
{
    (void)state;
    const pco_buffer bad[] = {{.data = "x", .length = 1}, {.data = NULL, .length = 1}};
    serve();
    peer *client = join_and_wait();
    pco_transport *transport = newest()->transport;
    assert_int_equal(pco_transport_write(transport, NULL, 1), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(transport, bad, 2), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(transport, NULL, 1), PCO_EINVAL);
    assert_int_equal(pco_transport_write_owned(transport, NULL, 1, NULL, NULL), PCO_EINVAL);
    assert_int_equal(pco_transport_writelines(transport, NULL, 0), 0);
    assert_int_equal(pco_transport_write(transport, "y", 1), 0);
    assert_true(grows_to(&client->length, 1));
    assert_memory_equal(client->received, "y", 1);
}

static void writelines_writes_all_in_order(void **state)
{
    enum { PIECES = 500 };
    static pco_buffer pieces[PIECES];
    size_t total = 0;
    (void)state;
    for (size_t i = 0; i < PIECES; i++) { /* some of them empty, some large */
        pieces[i].data = pattern(LARGE) + total;
        pieces[i].length = i % 7 == 0 ? 0 : i % 50 == 1 ? 20000 : i;
        total += pieces[i].length;
    }
    serve();
    peer *client = join_and_wait();
    assert_int_equal(pco_transport_writelines(newest()->transport, pieces, PIECES), 0);
    assert_true(grows_to(&client->length, total));
    assert_memory_equal(client->received, pattern(LARGE), total);
    assert_int_equal(client->length, total);
}

/* ---- write_owned ---- */

static const void *released_data;
static unsigned released;

static void release(const void *data, void *context)
{
    released_data = data;
    released += context == &released;
}

static void owned_memory_is_released_once_it_has_left(void **state)
{
    const size_t lengths[] = {0, 1, 1000, 100000, LARGE};
    size_t total = 0;
    (void)state;
    serve();
    peer *client = join_and_wait();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        released = 0;
        const unsigned char *data = pattern(LARGE);
        assert_int_equal(
            pco_transport_write_owned(newest()->transport, data, lengths[i], release, &released),
            0);
        total += lengths[i];
        assert_true(grows_to(&client->length, total));
        assert_true(reaches(&released, 1));
        assert_ptr_equal(released_data, data);
        let_pass(3);
        assert_int_equal(released, 1);
        if (lengths[i] != 0) {
            assert_memory_equal(client->received + total - lengths[i], data, lengths[i]);
        }
    }
}

static void owned_memory_is_released_by_a_transport_that_does_not_take_it(void **state)
{
    (void)state;
    released = 0;
    serve();
    join_and_wait();
    pco_transport *transport = pco_transport_retain(newest()->transport);
    pco_transport_close(transport);
    assert_int_equal(pco_transport_write_owned(transport, pattern(9), 9, release, &released),
                     PCO_ECLOSED);
    assert_int_equal(released, 1);
    assert_true(all_are_lost());
    assert_int_equal(pco_transport_write_owned(transport, pattern(9), 9, release, &released),
                     PCO_ECLOSED);
    assert_int_equal(released, 2);
    pco_transport_release(transport);
}

/* A client that reads nothing from the first moment on. */
static peer *join_but_do_not_read(void)
{
    peer *client = join_and_wait();
    peer_set_reading(client, false);
    let_pass(3);
    return client;
}

static void owned_memory_that_does_not_leave_is_released_by_abort(void **state)
{
    (void)state;
    released = 0;
    serve();
    join_but_do_not_read();
    pco_transport *transport = newest()->transport;
    unsigned writes = 0;
    while (!newest()->paused && writes < 100) {
        assert_int_equal(
            pco_transport_write_owned(transport, pattern(LARGE), LARGE, release, &released), 0);
        writes++;
    }
    assert_true(newest()->paused);
    assert_true(released < writes || at.tls); /* with TLS it has been encrypted */
    pco_transport_abort(transport);
    assert_true(all_are_lost());
    assert_int_equal(released, writes);
}

/* ---- The order of callbacks ---- */

static void the_callbacks_come_in_their_order(void **state)
{
    (void)state;
    serve();
    peer *client = join();
    peer_send(client, "data", 4);
    peer_finish(client);
    assert_true(reaches(&at.lost, 1));
    assert_string_equal(newest()->story, "MDEL");
    assert_int_equal(lost_with(newest()), 0);
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
}

static void a_connection_on_which_nothing_happens_is_made_and_lost(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    peer_finish(client);
    assert_true(all_are_lost());
    assert_string_equal(newest()->story, "MEL");
}

static void connection_lost_tells_of_a_peer_that_has_gone(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    let_pass(10); /* what it has not read would make of its close a reset */
    leave(client);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), gone());
}

/* ---- The end of the stream ---- */

static void answer_at_the_end(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    pco_transport_write(transport, pattern(LARGE), LARGE);
    leave_call();
    acted++;
}

static void what_is_written_in_eof_received_is_flushed(void **state)
{
    (void)state;
    at.at[AT_EOF] = answer_at_the_end;
    serve();
    peer *client = join();
    peer_send(client, "?", 1);
    peer_finish(client);
    assert_true(reaches(&acted, 1));
    assert_true(all_are_lost());
    assert_true(grows_to(&client->length, LARGE));
    assert_memory_equal(client->received, pattern(LARGE), LARGE);
    assert_int_equal(lost_with(newest()), 0);
}

static void a_half_closed_connection_is_kept_open_for_writing(void **state)
{
    (void)state;
    only_without_tls();
    at.answers = true;
    serve();
    peer *client = join();
    peer_send(client, "question", 8);
    peer_finish(client);
    assert_true(reaches(&at.made, 1));
    record *self = newest();
    assert_true(reaches(&self->counts[AT_EOF], 1));
    let_pass(20);
    assert_false(self->lost);
    assert_false(pco_transport_is_closing(self->transport));
    assert_int_equal(pco_transport_write(self->transport, pattern(LARGE), LARGE), 0);
    pco_transport_close(self->transport);
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
    assert_int_equal(client->length, LARGE);
    assert_true(all_are_lost());
    assert_memory_equal(self->story, "MDE", 3);
}

static void with_tls_the_end_is_the_end(void **state)
{
    (void)state;
    if (!at.tls) {
        print_message("skipped: only with TLS\n");
        skip();
    }
    at.answers = true;
    serve();
    peer *client = join_and_wait();
    peer_finish(client);
    assert_true(all_are_lost());
    assert_int_equal(newest()->counts[AT_EOF], 1);
    assert_int_equal(lost_with(newest()), 0);
}

static void write_eof_ends_one_direction(void **state)
{
    (void)state;
    only_without_tls();
    serve();
    peer *client = join_and_wait();
    record *self = newest();
    assert_true(pco_transport_can_write_eof(self->transport));
    assert_int_equal(pco_transport_write(self->transport, pattern(LARGE), LARGE), 0);
    assert_int_equal(pco_transport_write_eof(self->transport), 0);
    assert_int_equal(pco_transport_write_eof(self->transport), 0); /* idempotent */
    assert_int_equal(pco_transport_write(self->transport, "x", 1), PCO_EPIPE);
    assert_false(pco_transport_is_closing(self->transport));
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
    assert_int_equal(client->length, LARGE);
    peer_send(client, "still talking", 13);
    assert_true(grows_to(&self->length, 13));
    pco_transport_close(self->transport);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(self), 0);
}

static void write_eof_is_not_supported_with_tls(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    pco_transport *transport = newest()->transport;
    assert_int_equal(pco_transport_can_write_eof(transport), !at.tls);
    if (at.tls) {
        assert_int_equal(pco_transport_write_eof(transport), PCO_ENOTSUP);
        assert_int_equal(pco_transport_write(transport, "x", 1), 0); /* nothing has happened */
        assert_true(grows_to(&client->length, 1));
    }
}

/* ---- Pausing ---- */

static void pause_deed(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    if (pco_transport_pause_reading(transport) != 0 || pco_transport_is_reading(transport) ||
        pco_transport_pause_reading(transport) != 0) {
        violate("pausing failed");
    }
    leave_call();
    acted++;
}

static void while_reading_is_paused_nothing_is_delivered_and_memory_is_bounded(void **state)
{
    (void)state;
    at.at[AT_MADE] = pause_deed;
    serve();
    peer *client = join();
    peer_send(client, pattern(LARGE), LARGE);
    peer_finish(client);
    assert_true(reaches(&client->established, 1));
    let_pass(300);
    record *self = newest();
    assert_string_equal(self->story, "M");
    assert_false(pco_transport_is_reading(self->transport));
    assert_true(client->out.in_flight); /* what the server does not read the peer cannot send */

    assert_int_equal(pco_transport_resume_reading(self->transport), 0);
    assert_int_equal(pco_transport_resume_reading(self->transport), 0);
    assert_true(pco_transport_is_reading(self->transport));
    assert_true(grows_to(&self->length, LARGE));
    assert_true(all_are_lost());
    assert_int_equal(self->length, LARGE);
    assert_memory_equal(self->data, pattern(LARGE), LARGE);
    assert_string_equal(self->story, "MDEL");
}

static pco_transport *paused_transport;

static void resume_later(void *context)
{
    (void)context;
    if (paused_transport != NULL) {
        enter_call();
        pco_transport_resume_reading(paused_transport);
        leave_call();
    }
}

static void pause_for_a_turn(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    pco_transport_pause_reading(transport);
    pco_loop_call_soon(at.loop, resume_later, NULL, NULL);
    leave_call();
    acted++;
}

static void forget_paused(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    paused_transport = NULL;
}

static void note_paused(record *self, pco_transport *transport)
{
    (void)self;
    paused_transport = transport;
}

/* Pausing with every piece, and resuming in the next turn, loses and reorders nothing. */
static void pause_and_resume_all_the_time(bool buffered)
{
    at.buffered = buffered;
    at.at[AT_MADE] = note_paused;
    at.at[buffered ? AT_UPDATED : AT_DATA] = pause_for_a_turn;
    at.at[AT_LOST] = forget_paused;
    serve();
    size_t length = buffered ? 100000 : LARGE;
    peer *client = join();
    peer_send(client, pattern(length), length);
    peer_finish(client);
    assert_true(reaches(&at.made, 1));
    assert_true(all_are_lost());
    assert_int_equal(newest()->length, length);
    assert_memory_equal(newest()->data, pattern(length), length);
    assert_string_equal(newest()->story, "MDEL");
    assert_true(acted > 1);
}

static void pausing_in_every_callback_loses_nothing(void **state)
{
    (void)state;
    pause_and_resume_all_the_time(false);
}

static void pausing_in_every_callback_of_a_buffered_protocol_loses_nothing(void **state)
{
    (void)state;
    pause_and_resume_all_the_time(true);
}

static void pause_and_resume_at_once(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    pco_transport_pause_reading(transport);
    pco_transport_resume_reading(transport);
    pco_transport_pause_reading(transport);
    pco_transport_resume_reading(transport);
    leave_call();
    acted++;
}

static void pausing_and_resuming_in_one_callback_changes_nothing(void **state)
{
    (void)state;
    at.at[AT_MADE] = pause_and_resume_at_once;
    at.at[AT_DATA] = pause_and_resume_at_once;
    echo(LARGE);
    assert_true(acted > 1);
}

static void pausing_and_resuming_in_every_get_buffer_changes_nothing(void **state)
{
    (void)state;
    at.buffered = true;
    at.at[AT_GET_BUFFER] = pause_and_resume_at_once;
    echo(LARGE / 16);
    assert_true(acted > 1);
}

static void the_end_that_came_while_paused_is_delivered_after_the_data(void **state)
{
    (void)state;
    at.at[AT_DATA] = pause_deed;
    serve();
    peer *client = join();
    peer_send(client, "first", 5);
    assert_true(reaches(&acted, 1));
    peer_send(client, "second", 6);
    peer_finish(client);
    let_pass(50);
    record *self = newest();
    assert_string_equal(self->story, "MD");
    assert_memory_equal(self->data, "first", 5);
    at.at[AT_DATA] = NULL;
    pco_transport_resume_reading(self->transport);
    assert_true(all_are_lost());
    assert_string_equal(self->story, "MDEL");
    assert_int_equal(self->length, 11);
    assert_memory_equal(self->data, "firstsecond", 11);
}

static void a_paused_connection_can_be_written_to_and_closed(void **state)
{
    (void)state;
    at.at[AT_MADE] = pause_deed;
    serve();
    peer *client = join_and_wait();
    record *self = newest();
    assert_int_equal(pco_transport_write(self->transport, pattern(LARGE), LARGE), 0);
    pco_transport_close(self->transport);
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
    assert_int_equal(client->length, LARGE);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(self), 0);
}

/* ---- Flow control of writing ---- */

/* Goes on to write until pause_writing is called, and returns how much that is in all. 0: never. */
static size_t write_until_paused(record *self, size_t piece, size_t total)
{
    while (!self->paused && total + piece <= PATTERN_LIMIT) {
        enter_call();
        int code = pco_transport_write(self->transport, pattern(PATTERN_LIMIT) + total, piece);
        leave_call();
        assert_int_equal(code, 0);
        total += piece;
    }
    return self->paused ? total : 0;
}

static void who_writes_too_much_is_paused_and_resumed(void **state)
{
    (void)state;
    const size_t piece = 10000;
    size_t high;
    size_t low;
    serve();
    peer *client = join_but_do_not_read();
    record *self = newest();
    pco_transport_get_write_buffer_limits(self->transport, &high, &low);
    assert_int_equal(high, 64 * 1024);
    assert_int_equal(low, 16 * 1024);
    assert_int_equal(pco_transport_get_write_buffer_size(self->transport), 0);
    size_t total = 0;
    do { /* until the system, which may be busy, has taken all that it takes */
        total = write_until_paused(self, piece, total);
        assert_true(total > 0);
        size_t size = pco_transport_get_write_buffer_size(self->transport);
        assert_true(size > high);
        assert_true(size <= high + piece + 4096); /* memory is bounded; TLS adds a little */
        let_pass(20);
    } while (!self->paused);
    unsigned pauses = self->counts[AT_PAUSE];
    peer_set_reading(client, true);
    assert_true(reaches(&self->counts[AT_RESUME], pauses));
    assert_true(pco_transport_get_write_buffer_size(self->transport) <= low);
    assert_true(grows_to(&client->length, total));
    assert_memory_equal(client->received, pattern(total), total);
    assert_int_equal(self->counts[AT_PAUSE], pauses);
    assert_int_equal(self->counts[AT_RESUME], pauses);
}

static void note_size(record *self, pco_transport *transport)
{
    size_t high;
    size_t low;
    (void)self;
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    if (pco_transport_get_write_buffer_size(transport) > low) {
        violate("resume_writing above the low-water mark");
    }
}

static void note_too_little(record *self, pco_transport *transport)
{
    size_t high;
    size_t low;
    (void)self;
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    if (pco_transport_get_write_buffer_size(transport) <= high) {
        violate("pause_writing below the high-water mark");
    }
}

static void write_more(record *self, pco_transport *transport)
{
    note_size(self, transport);
    if (acted++ < 5) {
        enter_call();
        while (!self->paused) {
            pco_transport_write(transport, pattern(20000), 20000);
        }
        leave_call();
    }
}

static void pauses_and_resumes_take_turns(void **state)
{
    (void)state;
    at.at[AT_PAUSE] = note_too_little;
    at.at[AT_RESUME] = write_more; /* which pauses it again, inside of resume_writing */
    serve();
    peer *client = join_but_do_not_read();
    assert_true(write_until_paused(newest(), 20000, 0) > 0);
    peer_set_reading(client, true);
    assert_true(reaches(&newest()->counts[AT_RESUME], 6));
    assert_int_equal(newest()->counts[AT_PAUSE], 6);
}

static void the_water_marks_can_be_set(void **state)
{
    (void)state;
    size_t high = 0;
    size_t low = 0;
    serve();
    join_and_wait();
    pco_transport *transport = newest()->transport;
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, 1000, 10), 0);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 1000);
    assert_int_equal(low, 10);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, 1000, PCO_LIMIT_DEFAULT), 0);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 1000);
    assert_int_equal(low, 250);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, PCO_LIMIT_DEFAULT, 1000), 0);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 4000);
    assert_int_equal(low, 1000);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, 10, 11), PCO_EINVAL);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 4000);
    assert_int_equal(low, 1000);
    assert_int_equal(
        pco_transport_set_write_buffer_limits(transport, PCO_LIMIT_DEFAULT, PCO_LIMIT_DEFAULT), 0);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 64 * 1024);
    assert_int_equal(low, 16 * 1024);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, 0, 0), 0);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(high, 0);
    assert_int_equal(low, 0);
    assert_int_equal(newest()->counts[AT_PAUSE], 0); /* nothing is written: 0 is not more than 0 */
}

static void setting_the_water_marks_may_pause_at_once(void **state)
{
    (void)state;
    serve();
    peer *client = join_but_do_not_read();
    record *self = newest();
    assert_int_equal(
        pco_transport_set_write_buffer_limits(self->transport, PATTERN_LIMIT, PATTERN_LIMIT / 2),
        0);
    for (size_t sent = 0; pco_transport_get_write_buffer_size(self->transport) < 500000; sent++) {
        assert_true(sent < 8);
        assert_int_equal(
            pco_transport_write(self->transport, pattern((size_t)1 << 20), (size_t)1 << 20), 0);
    }
    assert_int_equal(self->counts[AT_PAUSE], 0);
    assert_int_equal(pco_transport_set_write_buffer_limits(self->transport, 1000, 100), 0);
    assert_int_equal(self->counts[AT_PAUSE], 1);
    assert_int_equal(
        pco_transport_set_write_buffer_limits(self->transport, PATTERN_LIMIT, PATTERN_LIMIT / 2),
        0);
    assert_int_equal(self->counts[AT_RESUME], 0); /* that waits until data has left */
    peer_set_reading(client, true);
    assert_true(reaches(&self->counts[AT_RESUME], 1));
    assert_int_equal(self->counts[AT_PAUSE], 1);
}

/* ---- Closing ---- */

static void write_and_close(record *self, pco_transport *transport)
{
    (void)self;
    enter_call();
    pco_transport_write(transport, pattern(LARGE), LARGE);
    pco_transport_close(transport);
    if (!pco_transport_is_closing(transport) || pco_transport_is_reading(transport) ||
        pco_transport_write(transport, "x", 1) != PCO_ECLOSED ||
        pco_transport_pause_reading(transport) != PCO_ECLOSED ||
        pco_transport_resume_reading(transport) != PCO_ECLOSED) {
        violate("a closing transport does not say so");
    }
    pco_transport_close(transport);
    leave_call();
    acted++;
}

static void close_flushes_what_was_written_and_nothing_else(void **state)
{
    (void)state;
    at.at[AT_DATA] = write_and_close;
    serve();
    peer *client = join();
    peer_send(client, "go", 2);
    assert_true(reaches(&client->ended, 1));
    assert_true(client->clean);
    assert_int_equal(client->length, LARGE);
    assert_memory_equal(client->received, pattern(LARGE), LARGE);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), 0);
    assert_int_equal(acted, 1);
}

static void after_close_nothing_is_delivered(void **state)
{
    (void)state;
    put_peers_outside();
    serve();
    peer *client = join_and_wait();
    peer_send(client, "too late", 8);
    let_peers_act(5);
    enter_call();
    pco_transport_close(newest()->transport);
    leave_call();
    assert_true(all_are_lost());
    assert_string_equal(newest()->story, "ML");
    assert_int_equal(lost_with(newest()), 0);
}

static void abort_ends_at_once_and_is_no_error(void **state)
{
    (void)state;
    serve();
    peer *client = join_but_do_not_read();
    record *self = newest();
    assert_true(write_until_paused(self, 100000, 0) > 0);
    pco_transport_abort(self->transport);
    assert_false(self->lost); /* connection_lost never comes inside of a call */
    pco_transport_abort(self->transport);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(self), 0);
    assert_int_equal(self->counts[AT_RESUME], 0);
    peer_set_reading(client, true);
    assert_true(reaches(&client->ended, 1));
}

static void abort_after_close_wins(void **state)
{
    (void)state;
    serve();
    join_but_do_not_read();
    record *self = newest();
    assert_true(write_until_paused(self, 100000, 0) > 0);
    enter_call();
    pco_transport_close(self->transport);
    leave_call();
    let_pass(20);
    assert_false(self->lost);
    pco_transport_abort(self->transport);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(self), 0);
}

static void abort_reset_is_a_reset_to_the_peer(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    pco_transport_abort_reset(newest()->transport);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), 0);
    assert_true(reaches(&client->ended, 1));
    assert_false(client->clean);
    assert_int_equal(client->error, PCO_ECONNRESET);
}

/* ---- Peers that fail ---- */

static void a_reset_is_told_by_connection_lost(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ECONNRESET);
    assert_int_equal(newest()->counts[AT_EOF], 0);
}

static void a_reset_is_noticed_while_reading_is_paused(void **state)
{
    (void)state;
    at.at[AT_MADE] = pause_deed;
    serve();
    peer *client = join_and_wait();
    let_pass(5);
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ECONNRESET);
    assert_string_equal(newest()->story, "ML");
}

static void a_reset_behind_unread_data_is_noticed_while_reading_is_paused(void **state)
{
    (void)state;
    only_where_a_reset_is_noticed_behind_unread_data();
    put_peers_outside();
    at.at[AT_MADE] = pause_deed;
    serve();
    peer *client = join_and_wait();
    let_pass(5);
    peer_send(client, "unread", 6);
    let_peers_act(5);
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ECONNRESET);
    assert_string_equal(newest()->story, "ML");
}

static void a_reset_while_much_is_to_be_sent_ends_the_connection(void **state)
{
    (void)state;
    serve();
    peer *client = join_but_do_not_read();
    record *self = newest();
    assert_true(write_until_paused(self, 100000, 0) > 0);
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(self), PCO_ECONNRESET);
}

static void a_reset_while_closing_ends_the_connection(void **state)
{
    (void)state;
    serve();
    peer *client = join_but_do_not_read();
    record *self = newest();
    assert_true(write_until_paused(self, 100000, 0) > 0);
    enter_call();
    pco_transport_close(self->transport);
    leave_call();
    peer_close(client, true);
    assert_true(all_are_lost());
}

static void clients_that_reset_before_they_are_accepted_disturb_nobody(void **state)
{
    (void)state;
    put_peers_outside();
    serve();
    for (unsigned i = 0; i < 20; i++) {
        peer *client = join();
        for (unsigned j = 0; j < 1000 && client->connected == 0; j++) {
            pco_loop_run_once(at.outside, 0.001);
        }
        assert_int_equal(client->connected, 1);
        peer_close(client, i % 2 == 0);
    }
    let_peers_act(5);
    at.echoes = true;
    peer *good = join();
    peer_send(good, "hello", 5);
    assert_true(grows_to(&good->length, 5));
    assert_int_equal(at.reports, 0);
    assert_true(pco_server_is_serving(at.server));
    assert_int_equal(counters_of(at.server).accept_errors, 0);
}

static void a_write_to_a_peer_that_has_gone_is_no_crash(void **state)
{
    (void)state;
    at.answers = true;
    serve();
    peer *client = join_and_wait();
    record *self = newest();
    peer_close(client, false);
    for (unsigned i = 0; i < 200 && !self->lost; i++) {
        if (self->transport != NULL && !pco_transport_is_closing(self->transport)) {
            pco_transport_write(self->transport, pattern(10000), 10000);
        }
        let_pass(5);
    }
    assert_true(all_are_lost());
}

/* ---- Protocols ---- */

static record second; /* a protocol that is switched to */
static unsigned second_heard;
static unsigned second_lost;

static void hear(pco_protocol *protocol, pco_transport *transport, const void *data, size_t length)
{
    (void)protocol;
    (void)transport;
    memcpy(second.memory + second.length, data, length);
    second.length += length;
    second_heard++;
}

static void lose(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    (void)transport;
    second_lost += protocol == &second.protocol && error == NULL;
}

static void never_made(pco_protocol *protocol, pco_transport *transport)
{
    (void)protocol;
    (void)transport;
    violate("connection_made of a protocol that was switched to");
}

static void give_buffer(pco_protocol *protocol, pco_transport *transport, size_t size_hint,
                        void **buffer, size_t *length)
{
    (void)protocol;
    (void)transport;
    (void)size_hint;
    *buffer = second.memory + second.length;
    *length = sizeof second.memory - second.length;
}

static void hear_update(pco_protocol *protocol, pco_transport *transport, size_t length)
{
    (void)protocol;
    (void)transport;
    second.length += length;
    second_heard++;
}

static const pco_protocol_methods second_plain = {.size = sizeof second_plain,
                                                  .connection_made = never_made,
                                                  .data_received = hear,
                                                  .connection_lost = lose};

static const pco_protocol_methods second_buffered = {.size = sizeof second_buffered,
                                                     .connection_made = never_made,
                                                     .get_buffer = give_buffer,
                                                     .buffer_updated = hear_update,
                                                     .connection_lost = lose};

static void switch_protocol(record *self, pco_transport *transport)
{
    enter_call();
    if (pco_transport_get_protocol(transport) != &self->protocol ||
        pco_transport_set_protocol(transport, &second.protocol) != 0 ||
        pco_transport_get_protocol(transport) != &second.protocol) {
        violate("the protocol could not be switched");
    }
    leave_call();
    at.lost++; /* the first will not hear of the end */
    self->transport = NULL;
    acted++;
}

static void switch_to(const pco_protocol_methods *methods, bool from_buffered, moment when)
{
    memset(&second, 0, sizeof second);
    second.protocol.methods = methods;
    second_heard = second_lost = 0;
    at.buffered = from_buffered;
    at.at[when] = switch_protocol;
    serve();
    peer *client = join();
    bool in_data = when != AT_MADE;
    if (in_data) {
        peer_send(client, "one", 3);
    }
    assert_true(reaches(&acted, 1));
    let_pass(3);
    peer_send(client, "two", 3);
    assert_true(grows_to(&second.length, 3));
    assert_memory_equal(second.memory, "two", 3);
    assert_int_equal(newest()->length, in_data ? 3 : 0);
    peer_finish(client);
    assert_true(reaches(&second_lost, 1));
    assert_int_equal(acted, 1);
}

static void a_protocol_is_switched_from_the_next_event_on(void **state)
{
    (void)state;
    switch_to(&second_plain, false, AT_DATA);
}

static void a_protocol_is_switched_in_connection_made(void **state)
{
    (void)state;
    switch_to(&second_plain, false, AT_MADE);
}

static void a_plain_protocol_is_switched_to_a_buffered_one(void **state)
{
    (void)state;
    switch_to(&second_buffered, false, AT_DATA);
}

static void a_buffered_protocol_is_switched_to_a_plain_one(void **state)
{
    (void)state;
    switch_to(&second_plain, true, AT_UPDATED);
}

static void what_is_no_protocol_is_not_switched_to(void **state)
{
    (void)state;
    static const pco_protocol_methods wrong = {.size = 1};
    pco_protocol none = {NULL};
    pco_protocol bad = {&wrong};
    serve();
    join_and_wait();
    record *self = newest();
    assert_int_equal(pco_transport_set_protocol(self->transport, NULL), PCO_EINVAL);
    assert_int_equal(pco_transport_set_protocol(self->transport, &none), PCO_EINVAL);
    assert_int_equal(pco_transport_set_protocol(self->transport, &bad), PCO_EINVAL);
    assert_ptr_equal(pco_transport_get_protocol(self->transport), &self->protocol);
}

static void give_no_buffer(pco_protocol *protocol, pco_transport *transport, size_t size_hint,
                           void **buffer, size_t *length)
{
    (void)protocol;
    (void)transport;
    (void)size_hint;
    *buffer = second.memory;
    *length = 0;
}

static unsigned refused_with;

static void note_refusal(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    (void)protocol;
    (void)transport;
    refused_with = error != NULL && error->code == PCO_EINVAL ? 1 : 2;
}

static pco_protocol *make_without_buffer(void *context)
{
    static const pco_protocol_methods methods = {
        .size = sizeof methods, .get_buffer = give_no_buffer, .connection_lost = note_refusal};
    static pco_protocol protocol = {&methods};
    (void)context;
    return &protocol;
}

static void an_empty_buffer_ends_the_connection(void **state)
{
    (void)state;
    refused_with = 0;
    pco_server_options options = server_options();
    options.protocol_factory = make_without_buffer;
    serve_with(&options);
    peer *client = join();
    peer_send(client, "data", 4);
    assert_true(reaches(&refused_with, 1));
    assert_int_equal(refused_with, 1);
    assert_true(reaches(&client->ended, 1));
}

/* ---- What is known of a connection ---- */

static pco_address name_in_lost;
static int code_in_lost;

static void ask_in_lost(record *self, pco_transport *transport)
{
    pco_address address;
    (void)self;
    enter_call();
    code_in_lost = pco_transport_get_peername(transport, &name_in_lost);
    if (pco_transport_get_socket(transport) == PCO_NO_SOCKET ||
        pco_transport_get_loop(transport) != at.loop ||
        pco_transport_write(transport, "x", 1) != PCO_ECLOSED ||
        pco_transport_pause_reading(transport) != PCO_ECLOSED ||
        pco_transport_resume_reading(transport) != PCO_ECLOSED ||
        pco_transport_get_sockname(transport, &address) != 0) {
        violate("connection_lost's transport is not what it should be");
    }
    leave_call();
}

static void the_names_of_both_ends_are_known(void **state)
{
    (void)state;
    pco_address address;
    pco_address peer_name;
    at.at[AT_LOST] = ask_in_lost;
    serve();
    pco_address served = address_of(at.server, 0);
    peer *client = join_and_wait();
    pco_transport *transport = newest()->transport;
    assert_true(pco_transport_get_socket(transport) != PCO_NO_SOCKET);
    assert_ptr_equal(pco_transport_get_loop(transport), at.loop);
    assert_int_equal(pco_transport_get_sockname(transport, &address), 0);
    assert_true(pco_address_equal(&address, &served));
    assert_int_equal(pco__system_network.sockname(NULL, client->io.socket, &peer_name), 0);
    assert_int_equal(pco_transport_get_peername(transport, &address), 0);
    assert_true(pco_address_equal(&address, &peer_name));
    assert_int_equal(newest()->peer_code, 0);
    assert_true(pco_address_equal(&newest()->peer, &peer_name));

    /* The peer has gone with a reset, and yet it has a name. */
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(code_in_lost, 0);
    assert_true(pco_address_equal(&name_in_lost, &peer_name));
}

static void a_retained_transport_answers_that_it_is_closed(void **state)
{
    (void)state;
    pco_address address;
    size_t high;
    size_t low;
    serve();
    join_and_wait();
    pco_transport *transport = pco_transport_retain(newest()->transport);
    assert_ptr_equal(pco_transport_retain(transport), transport);
    pco_transport_abort(transport);
    assert_true(all_are_lost());
    let_pass(3);
    assert_true(pco_transport_is_closing(transport));
    assert_false(pco_transport_is_reading(transport));
    assert_int_equal(pco_transport_write(transport, "x", 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_writelines(transport, NULL, 0), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_eof(transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_pause_reading(transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_resume_reading(transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_set_protocol(transport, &newest()->protocol), PCO_ECLOSED);
    assert_null(pco_transport_get_protocol(transport));
    assert_int_equal(pco_transport_can_write_eof(transport), !at.tls);
    assert_int_equal(pco_transport_set_write_buffer_limits(transport, 2, 1), PCO_ECLOSED);
    pco_transport_get_write_buffer_limits(transport, &high, &low);
    assert_int_equal(pco_transport_get_write_buffer_size(transport), 0);
    assert_int_equal(pco_transport_get_socket(transport), PCO_NO_SOCKET);
    assert_int_equal(pco_transport_get_sockname(transport, &address), PCO_ECLOSED);
    assert_int_equal(pco_transport_get_peername(transport, &address), PCO_ECLOSED);
    assert_null(pco_transport_get_ssl_object(transport));
    pco_transport_close(transport);
    pco_transport_abort(transport);
    pco_transport_abort_reset(transport);
    pco_transport_release(transport);
    pco_transport_release(transport);
}

static void a_plain_connection_has_nothing_to_tell_of_tls(void **state)
{
    (void)state;
    pco_ssl_info info = {.size = sizeof info};
    serve();
    join_and_wait();
    int code = pco_transport_get_ssl_info(newest()->transport, &info);
    assert_int_equal(code, at.tls ? 0 : PCO_ENOTSUP);
    assert_int_equal(pco_transport_get_ssl_object(newest()->transport) != NULL, at.tls);
}

/* ---- Handshakes under way ---- */

/* A client in the middle of its handshake; nothing of it has reached the factory. */
static peer *join_halfway(void)
{
    put_peers_outside();
    serve();
    peer *client = join();
    for (unsigned i = 0; i < 2000 && counters_of(at.server).handshaking == 0; i++) {
        pco_loop_run_once(at.outside, 0.001);
        pco_loop_run_once(at.loop, 0.001);
    }
    assert_int_equal(counters_of(at.server).handshaking, 1);
    assert_int_equal(counters_of(at.server).active, 1);
    assert_int_equal(at.factory_calls, 0);
    return client;
}

static void only_with_tls(void)
{
    if (!at.tls) {
        print_message("skipped: only with TLS\n");
        skip();
    }
}

static void a_handshake_goes_on_when_the_server_is_closed(void **state)
{
    (void)state;
    only_with_tls();
    peer *client = join_halfway();
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    pco_server_close(at.server);
    assert_true(reaches(&at.made, 1));
    assert_int_equal(counters_of(at.server).handshaking, 0);
    assert_int_equal(at.closed_calls, 0);
    assert_true(reaches(&client->established, 1));
    peer_finish(client);
    assert_true(reaches(&at.closed_calls, 1));
}

static void a_handshake_ends_when_the_server_is_freed_since_nobody_makes_a_protocol(void **state)
{
    (void)state;
    only_with_tls();
    peer *client = join_halfway();
    pco_server_free(at.server);
    at.server = NULL;
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.failures, 0);
}

static void a_handshake_ends_when_the_clients_are_closed_or_aborted(void **state)
{
    (void)state;
    only_with_tls();
    peer *client = join_halfway();
    pco_server_close_clients(at.server);
    assert_true(reaches(&client->ended, 1));
    assert_true(all_are_lost());
    client = join();
    for (unsigned i = 0; i < 2000 && counters_of(at.server).handshaking == 0; i++) {
        pco_loop_run_once(at.outside, 0.001);
        pco_loop_run_once(at.loop, 0.001);
    }
    pco_server_abort_clients(at.server);
    assert_true(reaches(&client->ended, 1));
    assert_true(all_are_lost());
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(counters_of(at.server).handshaking, 0);
}

static void a_handshake_under_way_ends_with_the_loop(void **state)
{
    (void)state;
    only_with_tls();
    peer *client = join_halfway();
    world_free_loop();
    assert_true(reaches(&client->ended, 1));
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(counters_of(at.server).handshaking, 0);
}

static void a_client_that_resets_in_its_handshake_is_counted(void **state)
{
    (void)state;
    only_with_tls();
    peer *client = join_halfway();
    peer_close(client, true);
    assert_true(all_are_lost());
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.failures, 1);
    assert_int_equal(counters_of(at.server).handshake_failures, 1);
    assert_int_equal(counters_of(at.server).handshaking, 0);
}

/* ---- Want of memory ---- */

/*
 * The library's memory fails once, at the first allocation that a client causes, then at the
 * second: that client may be lost, the next is served.
 */
static void every_allocation_for_a_client_may_fail(void **state)
{
    (void)state;
    bool failed = true;
    at.echoes = true;
    serve();
    for (size_t nth = 1; failed; nth++) {
        assert_true(nth < 300);
        memory_fail(nth, false);
        peer *client = join();
        peer_send(client, pattern(LARGE), 30000);
        for (unsigned i = 0; i < 3000 && client->length < 30000 && client->ended == 0; i++) {
            pco_loop_run_once(at.loop, 0.001);
        }
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_true(client->ended != 0 || client->length == 30000);
        leave(client);
        assert_true(all_are_lost());
        peer *next = join();
        peer_send(next, "x", 1);
        assert_true(grows_to(&next->length, 1));
        leave(next);
        assert_true(all_are_lost());
        assert_int_equal(counters_of(at.server).active, 0);
        assert_int_equal(counters_of(at.server).handshaking, 0);
    }
}

/* ---- Several at once ---- */

static void connections_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { CLIENTS = 20, ROUNDS = 20 };
    peer *clients[CLIENTS];
    at.echoes = true;
    serve();
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = join_and_wait();
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            peer_send(clients[i], pattern(1000) + i, 500);
        }
    }
    for (unsigned i = 0; i < CLIENTS; i += 2) { /* every other goes in the middle of it */
        peer_close(clients[i], i % 4 == 0);
    }
    for (unsigned i = 1; i < CLIENTS; i += 2) {
        assert_true(grows_to(&clients[i]->length, ROUNDS * 500));
        for (unsigned round = 0; round < ROUNDS; round++) {
            assert_memory_equal(clients[i]->received + round * 500, pattern(1000) + i, 500);
        }
    }
}

static void write_to_all(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    enter_call();
    for (record *one = at.records; one != NULL; one = one->next) {
        if (one->transport != NULL) {
            pco_transport_write(one->transport, "all", 3);
        }
    }
    leave_call();
}

static void one_callback_may_write_to_all(void **state)
{
    (void)state;
    peer *clients[5];
    at.at[AT_DATA] = write_to_all;
    serve();
    for (unsigned i = 0; i < 5; i++) {
        clients[i] = join_and_wait();
    }
    peer_send(clients[2], "tell them", 9);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(grows_to(&clients[i]->length, 3));
        assert_memory_equal(clients[i]->received, "all", 3);
    }
}

static void abort_all_others(record *self, pco_transport *transport)
{
    (void)transport;
    enter_call();
    for (record *one = at.records; one != NULL; one = one->next) {
        if (one != self && one->transport != NULL) {
            pco_transport_abort(one->transport);
        }
    }
    leave_call();
    acted++;
}

/* All of them are ready in one batch, and the first to be called ends the rest. */
static void one_callback_may_end_all_others(void **state)
{
    (void)state;
    peer *clients[10];
    put_peers_outside();
    serve();
    for (unsigned i = 0; i < 10; i++) {
        clients[i] = join_and_wait();
    }
    at.at[AT_DATA] = abort_all_others;
    for (unsigned i = 0; i < 10; i++) {
        peer_send(clients[i], "x", 1);
    }
    let_peers_act(20);
    assert_true(reaches(&at.lost, 9));
    assert_int_equal(acted, 1);
    let_pass(5);
    assert_int_equal(at.lost, 9);
}

static const struct CMUnitTest tests[] = {
    TEST(a_message_is_echoed),
    TEST(much_is_echoed),
    TEST(much_is_echoed_by_a_buffered_protocol),
    TEST(single_bytes_are_echoed),
    TEST(single_bytes_are_echoed_by_a_buffered_protocol),
    TEST(what_is_written_in_connection_made_arrives_in_order),
    TEST(null_with_a_length_is_refused),
    TEST(writelines_writes_all_in_order),
    TEST(owned_memory_is_released_once_it_has_left),
    TEST(owned_memory_is_released_by_a_transport_that_does_not_take_it),
    TEST(owned_memory_that_does_not_leave_is_released_by_abort),
    TEST(the_callbacks_come_in_their_order),
    TEST(a_connection_on_which_nothing_happens_is_made_and_lost),
    TEST(connection_lost_tells_of_a_peer_that_has_gone),
    TEST(what_is_written_in_eof_received_is_flushed),
    TEST(a_half_closed_connection_is_kept_open_for_writing),
    TEST(with_tls_the_end_is_the_end),
    TEST(write_eof_ends_one_direction),
    TEST(write_eof_is_not_supported_with_tls),
    TEST(while_reading_is_paused_nothing_is_delivered_and_memory_is_bounded),
    TEST(pausing_in_every_callback_loses_nothing),
    TEST(pausing_in_every_callback_of_a_buffered_protocol_loses_nothing),
    TEST(pausing_and_resuming_in_one_callback_changes_nothing),
    TEST(pausing_and_resuming_in_every_get_buffer_changes_nothing),
    TEST(the_end_that_came_while_paused_is_delivered_after_the_data),
    TEST(a_paused_connection_can_be_written_to_and_closed),
    TEST(who_writes_too_much_is_paused_and_resumed),
    TEST(pauses_and_resumes_take_turns),
    TEST(the_water_marks_can_be_set),
    TEST(setting_the_water_marks_may_pause_at_once),
    TEST(close_flushes_what_was_written_and_nothing_else),
    TEST(after_close_nothing_is_delivered),
    TEST(abort_ends_at_once_and_is_no_error),
    TEST(abort_after_close_wins),
    TEST(abort_reset_is_a_reset_to_the_peer),
    TEST(a_reset_is_told_by_connection_lost),
    TEST(a_reset_is_noticed_while_reading_is_paused),
    TEST(a_reset_behind_unread_data_is_noticed_while_reading_is_paused),
    TEST(a_reset_while_much_is_to_be_sent_ends_the_connection),
    TEST(a_reset_while_closing_ends_the_connection),
    TEST(clients_that_reset_before_they_are_accepted_disturb_nobody),
    TEST(a_write_to_a_peer_that_has_gone_is_no_crash),
    TEST(a_protocol_is_switched_from_the_next_event_on),
    TEST(a_protocol_is_switched_in_connection_made),
    TEST(a_plain_protocol_is_switched_to_a_buffered_one),
    TEST(a_buffered_protocol_is_switched_to_a_plain_one),
    TEST(what_is_no_protocol_is_not_switched_to),
    TEST(an_empty_buffer_ends_the_connection),
    TEST(the_names_of_both_ends_are_known),
    TEST(a_retained_transport_answers_that_it_is_closed),
    TEST(a_plain_connection_has_nothing_to_tell_of_tls),
    TEST(a_handshake_goes_on_when_the_server_is_closed),
    TEST(a_handshake_ends_when_the_server_is_freed_since_nobody_makes_a_protocol),
    TEST(a_handshake_ends_when_the_clients_are_closed_or_aborted),
    TEST(a_handshake_under_way_ends_with_the_loop),
    TEST(a_client_that_resets_in_its_handshake_is_counted),
    TEST(every_allocation_for_a_client_may_fail),
    TEST(connections_do_not_disturb_each_other),
    TEST(one_callback_may_write_to_all),
    TEST(one_callback_may_end_all_others),
};

int main(void)
{
    return run_on(pco__backends, true, tests, sizeof tests / sizeof tests[0]);
}
