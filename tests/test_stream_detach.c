/* SPDX-License-Identifier: MIT */
/*
 * Goal: detaching gives the socket away exactly once, flushed, with every byte that had arrived and
 * was not delivered; or it tells why not, once, and the connection goes on or ends as it would have
 * otherwise; whatever else is done meanwhile, in whichever order operations end, and with any
 * allocation failing.
 * Method: streams on the fake backend in virtual time. The last tests go through all callbacks, all
 * sequences of a few actions, and all allocations of one course of events.
 */
#include "support.h"

static pco_loop *loop;
static connection a;

/* What `detached` was told. */
static struct {
    unsigned calls;
    bool calling; /* inside a call of ours */
    const char *violation;
    pco_socket sock;
    unsigned char data[256];
    size_t length;
    pco_error error;
    pco_request *request;
    void (*then)(pco_socket sock);
} seen;

static void note(const char *word, const char *detail)
{
    size_t at = strlen(a.protocol.log);
    snprintf(a.protocol.log + at, sizeof a.protocol.log - at, " %s%s", word, detail);
}

static void check(bool right, const char *violation)
{
    if (!right && seen.violation == NULL) {
        seen.violation = violation;
    }
}

static void detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                     void *context)
{
    seen.calls++;
    seen.sock = sock;
    seen.length = length;
    check(!seen.calling, "detached was called inside a call");
    check(context == &seen, "a wrong context");
    check((sock == PCO_NO_SOCKET) == (error != NULL), "a socket and an error, or neither");
    check(error == NULL || (data == NULL && length == 0), "an error with data");
    check(length <= sizeof seen.data && (data != NULL) == (length != 0), "wrong data");
    if (length != 0 && length <= sizeof seen.data) {
        memcpy(seen.data, data, length);
    }
    if (error != NULL) {
        seen.error = *error;
        check(error->message[0] != '\0', "an error without a sentence");
    }
    note("detached:", error != NULL ? pco_error_name(error->code) : "OK");
    if (seen.then != NULL) {
        seen.then(sock);
    }
}

static int detach(void)
{
    bool outer = seen.calling;
    seen.calling = true;
    int code = pco_transport_detach(a.transport, detached, &seen, NULL, NULL);
    seen.calling = outer;
    return code;
}

/* The same, and seen.request is its request. */
static void begin(void)
{
    seen.calling = true;
    assert_int_equal(pco_transport_detach(a.transport, detached, &seen, &seen.request, NULL), 0);
    seen.calling = false;
}

static void cancel(void)
{
    seen.calling = true;
    pco_request_cancel(seen.request);
    seen.calling = false;
}

static void detach_inside(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    check(detach() == 0, "a callback could not detach");
}

static int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    memory_watch();
    loop = fake_loop_new();
    connection_init(&a, false);
    return loop != NULL ? 0 : -1;
}

/* Whoever was given the socket closes it. */
static void drop_socket(void)
{
    if (seen.calls != 0 && seen.sock != PCO_NO_SOCKET) {
        const pco__backend_class *class_ = fake_of(loop)->base.class_;
        class_->network->close(&fake_of(loop)->base, seen.sock, false);
        seen.sock = PCO_NO_SOCKET;
    }
}

static int tear_down(void **state)
{
    (void)state;
    pco_request_release(seen.request);
    if (loop != NULL) {
        fake_of(loop)->hold_cancels = false;
        pco_loop_free(loop);
    }
    if (seen.violation != NULL) {
        print_error("%s: %s\n", seen.violation, a.protocol.log);
    }
    bool right = connection_kept_the_rules(&a) && seen.violation == NULL;
    connection_free(&a);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

static void assert_given(const char *data)
{
    assert_int_equal(seen.length, strlen(data));
    assert_memory_equal(seen.data, data, strlen(data));
    assert_int_equal(seen.sock, a.socket->number);
    assert_null(a.socket->io);
    assert_false(a.socket->closed);
    drop_socket();
}

/* ---- Handing over ---- */

static void an_idle_connection_is_handed_over_in_a_turn_of_its_own(void **state)
{
    (void)state;
    connection_open(&a, loop);
    assert_int_equal(detach(), 0);
    assert_string_equal(a.protocol.log, "made");
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_given("");
}

static void what_was_written_is_flushed_first_however_long_that_takes(void **state)
{
    (void)state;
    a.options.close_timeout = 30;
    connection_open(&a, loop);
    a.socket->room = 3;
    pco_transport_write(a.transport, "0123456789", 10);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_false(fake_is_in_flight(a.socket, PCO__OP_RECV));
    fake_advance(loop, 1e6);
    run_turns(loop, 3);
    a.socket->room = 6;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_int_equal(a.socket->sent_length, 10);
    assert_memory_equal(a.socket->sent, "0123456789", 10);
    assert_given("");
}

static void write_and_detach(recorder *self, pco_transport *transport)
{
    pco_transport_write(transport, "bye", 3);
    detach_inside(self, transport);
}

static void what_was_written_just_before_leaves(void **state)
{
    (void)state;
    a.protocol.at[DATA] = write_and_detach;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1 detached:OK lost");
    assert_int_equal(a.socket->sent_length, 3);
    assert_given("");
}

static void the_end_of_writing_goes_before_the_socket(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    assert_int_equal(pco_transport_write_eof(a.transport), 0);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_false(a.socket->shut_down);
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_true(a.socket->shut_down);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_given("");
}

static void input_kept_while_reading_was_paused_goes_with_the_socket(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "kept", 4);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    assert_int_equal(pco_transport_pause_reading(a.transport), 0);
    run_turns(loop, 2);
    fake_feed(a.socket, "not read", 8);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_int_equal(a.socket->input_length, 8);
    assert_given("kept");
}

static void input_that_comes_with_the_canceled_receive_goes_with_the_socket(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, i == 1);
        connection_open(&a, loop);
        fake_feed(a.socket, "late", 4);
        assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
        assert_int_equal(detach(), 0);
        fake_of(loop)->receive_on_cancel = true;
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made detached:OK lost");
        if (i == 0) {
            assert_given("late");
        } else { /* who asks for a buffer only then is not asked any more */
            assert_int_equal(a.socket->input_length, 4);
            assert_given("");
        }
        connection_free(&a);
        memset(&seen, 0, sizeof seen);
    }
    connection_init(&a, false);
}

static void bytes_that_come_into_a_buffer_after_all_are_not_lost(void **state)
{
    (void)state;
    connection_free(&a);
    connection_init(&a, true);
    a.protocol.buffer_size = 16;
    a.protocol.at[GET] = detach_inside;
    fake_of(loop)->receive_on_cancel = true;
    connection_open(&a, loop);
    fake_feed(a.socket, "into the buffer", 15);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made get detached:OK lost");
    assert_given("into the buffer");
}

/* Of a piece of kept input a buffered protocol has used a part; the rest goes with the socket. */
static void what_a_buffer_had_no_room_for_goes_with_the_socket(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "used, not used", 14);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    recorder buffered;
    recorder_init(&buffered, true);
    buffered.buffer_size = 6;
    buffered.book = &a.protocol;
    buffered.at[UPDATED] = detach_inside;
    assert_int_equal(pco_transport_set_protocol(a.transport, &buffered.protocol), 0);
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 3);
    connection_assert_data(&a, "used, ");
    assert_given("not used");
    recorder_free(&buffered);
}

static void the_end_that_had_arrived_is_left_to_the_new_owner(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "x", 1);
    fake_feed_eof(a.socket);
    a.protocol.at[DATA] = detach_inside;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1 detached:OK lost");
    assert_true(a.socket->input_eof);
    assert_given("");
}

static void an_end_that_was_kept_is_not_told(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed_eof(a.socket);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    pco_transport_pause_reading(a.transport);
    run_turns(loop, 2);
    pco_transport_resume_reading(a.transport);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_given("");
}

/* ---- Meanwhile, and afterwards ---- */

static void meanwhile_the_transport_counts_as_closing(void **state)
{
    pco_error error = {0};
    pco_buffer buffer = {.data = "x", .length = 1};

    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    assert_int_equal(detach(), 0);
    assert_int_equal(pco_transport_detach(a.transport, detached, &seen, NULL, &error), PCO_EBUSY);
    assert_non_null(strstr(error.message, "already"));
    assert_true(pco_transport_is_closing(a.transport));
    assert_false(pco_transport_is_reading(a.transport));
    assert_int_equal(pco_transport_write(a.transport, "x", 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_writelines(a.transport, &buffer, 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_owned(a.transport, "x", 1, NULL, NULL), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_eof(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_pause_reading(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_resume_reading(a.transport), PCO_ECLOSED);
    assert_int_equal(pco_transport_get_socket(a.transport), a.socket->number);
    fake_feed(a.socket, "for the next", 12);
    run_turns(loop, 3);
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_int_equal(a.socket->input_length, 12);
    assert_given("");
}

static void note_names(recorder *self, pco_transport *transport)
{
    pco_address address;
    (void)self;
    check(pco_transport_get_socket(transport) == PCO_NO_SOCKET, "it has a socket still");
    check(pco_transport_get_sockname(transport, &address) == PCO_ECLOSED, "it has a name");
    check(pco_transport_get_peername(transport, &address) == PCO_ECLOSED, "it has a peer");
    check(pco_transport_write(transport, "x", 1) == PCO_ECLOSED, "it can be written to");
    check(detach() == PCO_ECLOSED, "it can be detached once more");
    pco_transport_close(transport);
    pco_transport_abort(transport);
}

static void ask_names(pco_socket sock)
{
    (void)sock;
    note_names(NULL, a.transport);
}

static void the_socket_is_gone_when_detached_and_connection_lost_are_called(void **state)
{
    (void)state;
    seen.then = ask_names;
    a.protocol.at[LOST] = note_names;
    connection_open(&a, loop);
    pco_transport_retain(a.transport);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_int_equal(detach(), PCO_ECLOSED);
    pco_transport_release(a.transport);
    assert_given("");
}

static recorder next_protocol;
static unsigned next_connected;

static void count_connected(pco_transport *transport, pco_protocol *protocol,
                            const pco_error *error, void *context)
{
    (void)protocol;
    (void)context;
    next_connected += transport != NULL && error == NULL;
}

static void connect_again(pco_socket sock)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &next_protocol.protocol,
                                      .sock = sock,
                                      .has_sock = PCO_ON};
    check(pco_loop_connect_accepted_socket(loop, &options, count_connected, NULL, NULL, NULL) == 0,
          "the socket could not be connected again");
    seen.sock = PCO_NO_SOCKET;
}

static void the_socket_can_become_a_connection_again(void **state)
{
    (void)state;
    next_connected = 0;
    recorder_init(&next_protocol, false);
    seen.then = connect_again;
    a.protocol.at[DATA] = detach_inside;
    connection_open(&a, loop);
    fake_feed(a.socket, "first", 5);
    run_turns(loop, 3);
    fake_feed(a.socket, "second", 6);
    run_turns(loop, 3);
    assert_int_equal(next_connected, 1);
    assert_string_equal(next_protocol.log, "made data:6");
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(next_protocol.log, "made data:6 end lost");
    recorder_free(&next_protocol);
}

/* ---- Failing ---- */

static void assert_failed(const char *log)
{
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, log);
    assert_int_equal(seen.sock, PCO_NO_SOCKET);
    assert_true(a.socket->closed);
}

static void a_socket_that_the_system_does_not_let_go_of_is_lost(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_of(loop)->hold_cancels = true;
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    fake_take_away(a.socket);
    fake_of(loop)->hold_cancels = false;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECONNRESET lost:PCO_ECONNRESET");
    assert_non_null(strstr(seen.error.message, "did not let go"));
    assert_true(a.socket->closed);
}

static void a_flush_that_fails_is_told_to_both(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    assert_int_equal(detach(), 0);
    run_turns(loop, 2);
    a.socket->send_error = PCO_ECONNRESET;
    a.socket->send_system_code = 104;
    assert_failed("made detached:PCO_ECONNRESET lost:PCO_ECONNRESET");
    assert_int_equal(seen.error.system_code, 104);
}

static void a_flush_that_fails_at_once_is_told_to_both(void **state)
{
    (void)state;
    a.protocol.at[DATA] = write_and_detach;
    connection_open(&a, loop);
    a.socket->send_error = PCO_ECONNRESET;
    fake_feed(a.socket, "x", 1);
    assert_failed("made data:1 detached:PCO_ECONNRESET lost:PCO_ECONNRESET");
}

static void a_reset_that_comes_with_the_canceled_receive_is_told_to_both(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed_error(a.socket, PCO_ECONNRESET, 104);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    assert_int_equal(detach(), 0);
    assert_failed("made detached:PCO_ECONNRESET lost:PCO_ECONNRESET");
}

static void input_that_cannot_be_kept_is_told_to_both(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "late", 4);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    assert_int_equal(detach(), 0);
    memory_fail(1, false);
    assert_failed("made detached:PCO_ENOMEM lost:PCO_ENOMEM");
    memory_fail(0, false);
}

static void what_cannot_be_begun_changes_nothing(void **state)
{
    pco_error error = {0};

    (void)state;
    connection_open(&a, loop);
    assert_int_equal(pco_transport_detach(a.transport, NULL, NULL, NULL, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "callback"));
    memory_fail(1, false);
    assert_int_equal(pco_transport_detach(a.transport, detached, &seen, NULL, &error), PCO_ENOMEM);
    memory_fail(0, false);
    fake_feed(a.socket, "x", 1);
    run_turns(loop, 2);
    pco_transport_close(a.transport);
    assert_int_equal(pco_transport_detach(a.transport, detached, &seen, NULL, &error), PCO_ECLOSED);
    assert_non_null(strstr(error.message, "closing"));
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made data:1 lost");
    assert_int_equal(seen.calls, 0);
}

/* ---- Calling it off ---- */

static void a_canceled_detach_leaves_all_as_it_was(void **state)
{
    (void)state;
    connection_open(&a, loop);
    begin();
    cancel();
    cancel();
    assert_false(pco_transport_is_closing(a.transport));
    assert_true(pco_transport_is_reading(a.transport));
    assert_int_equal(pco_transport_write(a.transport, "x", 1), 0);
    assert_int_equal(a.socket->sent_length, 1);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED");
    assert_non_null(strstr(seen.error.message, "canceled"));
    fake_feed(a.socket, "hello", 5);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED data:5");
    cancel();
    run_turns(loop, 3);
    assert_int_equal(seen.calls, 1);
}

static void marks_that_were_moved_while_detaching_count_when_it_is_canceled(void **state)
{
    (void)state;
    connection_open(&a, loop);
    a.socket->room = 0;
    pco_transport_write(a.transport, "01234", 5);
    begin();
    run_turns(loop, 2);
    assert_int_equal(pco_transport_set_write_buffer_limits(a.transport, 4, 2), 0);
    assert_string_equal(a.protocol.log, "made");
    cancel();
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED pause");
    a.socket->room = 3;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED pause resume");
}

static void canceled_while_flushing_it_goes_on_flushing(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_set_write_buffer_limits(a.transport, 4, 2);
    a.socket->room = 0;
    pco_transport_write(a.transport, "01234", 5);
    begin();
    run_turns(loop, 2);
    a.socket->room = 4; /* under the low mark, which nobody hears of now */
    run_turns(loop, 2);
    cancel();
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made pause detached:PCO_ECANCELED resume");
    assert_int_equal(pco_transport_write(a.transport, "56", 2), 0);
    a.socket->room = 10;
    run_turns(loop, 3);
    assert_memory_equal(a.socket->sent, "0123456", 7);
}

static void input_that_was_kept_is_delivered_after_a_cancel(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_feed(a.socket, "late", 4);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
    begin();
    run_turns(loop, 2);
    fake_feed(a.socket, "r", 1);
    cancel();
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED data:4 data:1");
    connection_assert_data(&a, "later");
}

static void reading_stays_paused_after_a_cancel_if_it_was(void **state)
{
    (void)state;
    connection_open(&a, loop);
    pco_transport_pause_reading(a.transport);
    fake_feed(a.socket, "x", 1);
    begin();
    cancel();
    run_turns(loop, 3);
    assert_false(pco_transport_is_reading(a.transport));
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED");
    pco_transport_resume_reading(a.transport);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED data:1");
}

static void canceled_while_the_system_holds_the_receive_it_reads_on(void **state)
{
    (void)state;
    connection_open(&a, loop);
    fake_of(loop)->hold_cancels = true;
    begin();
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made");
    cancel();
    run_turns(loop, 3);
    fake_of(loop)->hold_cancels = false;
    fake_feed(a.socket, "hello", 5);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED data:5");
}

static void it_can_be_detached_again_before_the_cancel_is_told(void **state)
{
    (void)state;
    connection_open(&a, loop);
    begin();
    cancel();
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED detached:OK lost");
    assert_given("");
}

static void detach_again(pco_socket sock)
{
    seen.then = NULL;
    check(sock == PCO_NO_SOCKET && detach() == 0, "detached could not detach again");
}

static void it_can_be_detached_again_when_the_cancel_is_told(void **state)
{
    (void)state;
    seen.then = detach_again;
    connection_open(&a, loop);
    begin();
    cancel();
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED detached:OK lost");
    assert_given("");
}

static void close_and_abort_call_it_off(void **state)
{
    void (*const ends[])(pco_transport *) = {pco_transport_close, pco_transport_abort,
                                             pco_transport_abort_reset};
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        connection_init(&a, false);
        connection_open(&a, loop);
        a.socket->room = i < 3 ? 0 : SIZE_MAX;
        pco_transport_write(a.transport, "x", 1);
        assert_int_equal(detach(), 0);
        ends[i % 3](a.transport);
        run_turns(loop, 3);
        bool flushing = i == 0;
        assert_string_equal(a.protocol.log, flushing ? "made detached:PCO_ECANCELED"
                                                     : "made detached:PCO_ECANCELED lost");
        a.socket->room = SIZE_MAX;
        run_turns(loop, 3);
        assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED lost");
        assert_true(a.socket->closed);
        assert_int_equal(a.socket->reset, i % 3 == 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void eof_received_that_returns_false_calls_it_off(void **state)
{
    (void)state;
    a.protocol.at[END] = detach_inside;
    connection_open(&a, loop);
    fake_feed_eof(a.socket);
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made end detached:PCO_ECANCELED lost");
}

static void freeing_the_loop_calls_it_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, false);
        connection_open(&a, loop);
        a.socket->room = 0;
        pco_transport_write(a.transport, "x", 1);
        begin();
        run_turns(loop, i);
        pco_loop_free(loop);
        loop = NULL;
        assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED lost");
        pco_request_cancel(seen.request);
        pco_request_release(seen.request);
        seen.request = NULL;
        connection_free(&a);
        loop = fake_loop_new();
    }
    connection_init(&a, false);
}

/* ---- Its server ---- */

static pco_protocol *give_protocol(void *context)
{
    (void)context;
    return a.protocol.counts[MADE] == 0 ? &a.protocol.protocol : &next_protocol.protocol;
}

static unsigned told;

static void note_told(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    told++;
}

static pco_server *server;

/* Opens the connection as a server's, which takes no other. */
static void serve(void)
{
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = give_protocol,
                                  .host = "127.0.0.1",
                                  .max_connections = 1};
    assert_int_equal(pco_loop_create_server(loop, &options, &server, NULL), 0);
    pco_socket sock = fake_connect(loop, pco_server_get_socket(server, 0), NULL);
    run_turns(loop, 2);
    a.socket = fake_socket_of(loop, sock);
    a.stream = PCO__CONTAINER(a.socket->io, pco__stream, io);
    a.transport = &a.stream->base;
    a.socket->room = 0;
    pco_transport_write(a.transport, "x", 1);
}

static size_t active(void)
{
    pco_server_counters counters = {.size = sizeof counters};
    pco_server_get_counters(server, &counters);
    return (size_t)counters.active;
}

static unsigned servers_closed;

static void count_closed(pco_server *its, void *context)
{
    (void)its;
    (void)context;
    servers_closed++;
}

static void a_server_counts_it_until_it_was_handed_over(void **state)
{
    (void)state;
    servers_closed = 0;
    serve();
    assert_int_equal(detach(), 0);
    run_turns(loop, 2);
    assert_int_equal(active(), 1);
    pco_server_close(server);
    assert_int_equal(pco_server_wait_closed(server, count_closed, NULL), 0);
    run_turns(loop, 3);
    assert_int_equal(servers_closed, 0);
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_int_equal(active(), 0);
    assert_int_equal(servers_closed, 1);
    assert_given("");
    pco_server_free(server);
}

static void a_server_that_is_full_takes_the_next_one_then(void **state)
{
    (void)state;
    recorder_init(&next_protocol, false);
    serve();
    fake_connect(loop, pco_server_get_socket(server, 0), NULL);
    assert_int_equal(detach(), 0);
    run_turns(loop, 3);
    assert_int_equal(active(), 1);
    a.socket->room = 1;
    run_turns(loop, 3);
    assert_string_equal(a.protocol.log, "made detached:OK lost");
    assert_string_equal(next_protocol.log, "made");
    assert_given("");
    pco_server_abort_clients(server);
    pco_server_free(server);
    run_turns(loop, 3);
    recorder_free(&next_protocol);
}

static void a_server_that_closes_its_clients_calls_it_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, false);
        serve();
        assert_int_equal(detach(), 0);
        run_turns(loop, 2);
        if (i == 0) {
            pco_server_close_clients(server);
        } else {
            pco_server_abort_clients(server);
        }
        a.socket->room = 1;
        run_turns(loop, 4);
        assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED lost");
        assert_int_equal(active(), 0);
        pco_server_free(server);
        run_turns(loop, 2);
        connection_free(&a);
    }
    connection_init(&a, false);
}

static void a_server_that_shuts_down_tells_or_closes(void **state)
{
    pco_protocol_methods telling = recorder_plain;

    (void)state;
    telling.shutting_down = note_told;
    for (unsigned i = 0; i < 2; i++) {
        connection_init(&a, false);
        told = 0;
        a.protocol.protocol.methods = i == 0 ? &telling : &recorder_plain;
        serve();
        assert_int_equal(detach(), 0);
        run_turns(loop, 2);
        assert_int_equal(pco_server_shutdown(server, 10), 0);
        run_turns(loop, 2);
        assert_int_equal(told, i == 0);
        a.socket->room = 1;
        run_turns(loop, 4);
        if (i == 0) {
            assert_string_equal(a.protocol.log, "made detached:OK lost");
            assert_given("");
        } else {
            assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED lost");
        }
        pco_server_free(server);
        run_turns(loop, 2);
        connection_free(&a);
        memset(&seen, 0, sizeof seen);
    }
    connection_init(&a, false);
}

static void the_deadline_of_a_shutdown_calls_it_off(void **state)
{
    pco_protocol_methods telling = recorder_plain;

    (void)state;
    telling.shutting_down = note_told;
    a.protocol.protocol.methods = &telling;
    serve();
    assert_int_equal(detach(), 0);
    assert_int_equal(pco_server_shutdown(server, 10), 0);
    run_turns(loop, 2);
    fake_advance(loop, 11);
    run_turns(loop, 4);
    assert_string_equal(a.protocol.log, "made detached:PCO_ECANCELED lost");
    pco_server_free(server);
}

/* ---- Everywhere, in every order ---- */

static void set_manner(unsigned manner)
{
    fake_backend *fake = fake_of(loop);
    fake->cancels_first = (manner & 1) != 0;
    fake->cancels_wait = (manner & 2) != 0;
    fake->receive_on_cancel = (manner & 4) != 0;
}

static void any_callback_may_detach(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8 * 2 * LOST; i++) {
        unsigned manner = i % 8;
        bool buffered = i / 8 % 2 != 0;
        event where = (event)(i / 16);
        connection_init(&a, buffered);
        set_manner(manner);
        a.protocol.keep_open = true;
        a.protocol.buffer_size = 8;
        a.protocol.at[where] = detach_inside;
        connection_open(&a, loop);
        fake_feed(a.socket, "input", 5);
        run_turns(loop, 4);
        fake_feed_eof(a.socket);
        run_turns(loop, 4);
        bool comes = where != DATA || !buffered;
        assert_int_equal(seen.calls, comes);
        assert_int_equal(connection_is_lost(&a), comes);
        assert_int_equal(a.protocol.length + seen.length + a.socket->input_length, 5);
        if (comes) {
            assert_int_equal(seen.error.code, 0);
            drop_socket();
        } else {
            pco_transport_abort(a.transport);
            run_turns(loop, 4);
        }
        assert_null(a.protocol.violation);
        connection_free(&a);
        memset(&seen, 0, sizeof seen);
    }
    set_manner(0);
    connection_init(&a, false);
}

static void callbacks_about_memory_and_room_may_detach(void **state)
{
    const event where[] = {PAUSE, RESUME, GET, UPDATED};
    (void)state;
    for (unsigned i = 0; i < 8 * 4; i++) {
        connection_init(&a, true);
        set_manner(i % 8);
        a.protocol.buffer_size = 8;
        a.protocol.at[where[i / 8]] = detach_inside;
        connection_open(&a, loop);
        pco_transport_set_write_buffer_limits(a.transport, 1, 0);
        a.socket->room = 0;
        pco_transport_write(a.transport, "xyz", 3);
        fake_feed(a.socket, "input", 5);
        run_turns(loop, 4);
        a.socket->room = SIZE_MAX;
        run_turns(loop, 4);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error.code, 0);
        assert_int_equal(a.socket->sent_length, 3);
        assert_int_equal(a.protocol.length + seen.length + a.socket->input_length, 5);
        assert_null(a.protocol.violation);
        drop_socket();
        connection_free(&a);
        memset(&seen, 0, sizeof seen);
    }
    set_manner(0);
    connection_init(&a, false);
}

/* What a sequence of actions has come to. */
static struct {
    pco_request *requests[8];
    unsigned begun;
    size_t fed;
    size_t written;
    bool ended; /* closed, aborted or failed: what was written may be lost */
} course;

static void feed_one(void)
{
    unsigned char byte = (unsigned char)('a' + course.fed++);
    fake_feed(a.socket, &byte, 1);
}

static void act(unsigned action)
{
    bool gone = connection_is_lost(&a);
    switch (action) {
    case 0:
        run_turns(loop, 1);
        return;
    case 1:
        if (!gone && course.begun < 8) {
            seen.calling = true;
            course.begun += pco_transport_detach(a.transport, detached, &seen,
                                                 &course.requests[course.begun], NULL) == 0;
            seen.calling = false;
        }
        return;
    case 2:
        if (course.begun != 0) {
            seen.calling = true;
            pco_request_cancel(course.requests[course.begun - 1]);
            seen.calling = false;
        }
        return;
    case 3:
        feed_one();
        if (fake_is_in_flight(a.socket, PCO__OP_RECV)) {
            fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX);
        }
        return;
    case 4:
        a.socket->room = a.socket->room == 0 ? 2 : 0;
        return;
    case 5:
        if (!gone) {
            unsigned char byte = (unsigned char)('A' + course.written);
            course.written += pco_transport_write(a.transport, &byte, 1) == 0;
        }
        return;
    case 6:
        course.ended = course.ended || !gone;
        if (!gone) {
            pco_transport_close(a.transport);
        }
        return;
    case 7:
        if (!gone && pco_transport_is_reading(a.transport)) {
            pco_transport_pause_reading(a.transport);
        } else if (!gone) {
            pco_transport_resume_reading(a.transport);
        }
        return;
    case 8:
        course.ended = course.ended || !gone;
        a.socket->send_error = PCO_ECONNRESET;
        return;
    default:
        course.ended = course.ended || !gone;
        if (!gone) {
            pco_transport_abort(a.transport);
        }
        return;
    }
}

#define ACTIONS 10

static unsigned char all[64];
static size_t all_length;

static void add(const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length && all_length < sizeof all; i++) {
        all[all_length++] = data[i];
    }
}

/* No byte is lost, doubled or out of order: delivered, handed over, not read yet. */
static void check_input(void)
{
    bool handed_over = seen.calls != 0 && seen.sock != PCO_NO_SOCKET;
    all_length = 0;
    add(a.protocol.data, a.protocol.length);
    add(seen.data, seen.length);
    if (handed_over) {
        add(a.socket->input, a.socket->input_length);
        check(all_length == course.fed, "input is lost");
        check(a.socket->sent_length == course.written, "output is lost");
    }
    for (size_t i = 0; i < all_length; i++) {
        check(all[i] == 'a' + i, "input is out of order");
    }
}

static void run_course(unsigned number, unsigned length, bool frees_loop)
{
    unsigned manner = (unsigned)((uint32_t)number * 2654435761U >> 28);
    memset(&course, 0, sizeof course);
    memset(&seen, 0, sizeof seen);
    connection_init(&a, (manner & 8) != 0);
    a.protocol.buffer_size = 8;
    set_manner(manner);
    connection_open(&a, loop);
    a.socket->room = 0;
    for (unsigned i = 0, rest = number; i < length; i++, rest /= ACTIONS) {
        act(rest % ACTIONS);
    }
    if (frees_loop) {
        pco_loop_free(loop);
        loop = fake_loop_new();
    } else {
        a.socket->room = SIZE_MAX;
        run_turns(loop, 8);
        check_input();
        drop_socket();
        if (!connection_is_lost(&a)) {
            pco_transport_abort(a.transport);
            run_turns(loop, 4);
        }
    }
    check(connection_is_lost(&a), "connection_lost did not come");
    check(seen.calls == course.begun, "detached came not once for each");
    check(a.protocol.violation == NULL, "the grammar is broken");
    for (unsigned i = 0; i < course.begun; i++) {
        pco_request_release(course.requests[i]);
    }
}

static void in_every_order_nothing_is_lost_and_all_is_told(void **state)
{
    const unsigned length = 4;
    unsigned count = 1;

    (void)state;
    for (unsigned i = 0; i < length; i++) {
        count *= ACTIONS;
    }
    /* What comes before the first detach is tried by the other tests, so this begins with it. */
    for (unsigned number = 0; number < count; number++) {
        run_course(1 + ACTIONS * number, length + 1, number % 16 == 0);
        if (seen.violation != NULL) {
            fail_msg("course %u: %s: %s", number, seen.violation, a.protocol.log);
        }
        connection_free(&a);
        if (number % 256 == 255) { /* the fake remembers every socket */
            pco_loop_free(loop);
            loop = fake_loop_new();
        }
    }
    set_manner(0);
    memset(&seen, 0, sizeof seen);
    connection_init(&a, false);
}

/* Returns what detaching returned. */
static int try_without_memory(size_t nth)
{
    connection_open(&a, loop);
    fake_feed(a.socket, "in", 2);
    assert_true(fake_decide(a.socket, PCO__OP_RECV, 0, SIZE_MAX));
    memory_fail(nth, true);
    int code = detach();
    run_turns(loop, 4);
    memory_fail(0, false);
    return code;
}

static void without_memory_it_fails_or_is_told(void **state)
{
    bool has_failed = true;

    (void)state;
    for (size_t nth = 1; has_failed; nth++) {
        connection_init(&a, false);
        int code = try_without_memory(nth);
        has_failed = seen.calls == 0 || seen.error.code != 0;
        assert_int_equal(seen.calls, code == 0);
        if (code != 0) {
            assert_int_equal(code, PCO_ENOMEM);
            connection_assert_data(&a, "in");
            pco_transport_abort(a.transport);
            run_turns(loop, 3);
        } else if (has_failed) {
            assert_string_equal(a.protocol.log, "made detached:PCO_ENOMEM lost:PCO_ENOMEM");
        } else {
            assert_given("in");
        }
        connection_free(&a);
        memset(&seen, 0, sizeof seen);
    }
    connection_init(&a, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_connection_is_handed_over_in_a_turn_of_its_own),
        TEST(what_was_written_is_flushed_first_however_long_that_takes),
        TEST(what_was_written_just_before_leaves),
        TEST(the_end_of_writing_goes_before_the_socket),
        TEST(input_kept_while_reading_was_paused_goes_with_the_socket),
        TEST(input_that_comes_with_the_canceled_receive_goes_with_the_socket),
        TEST(bytes_that_come_into_a_buffer_after_all_are_not_lost),
        TEST(what_a_buffer_had_no_room_for_goes_with_the_socket),
        TEST(the_end_that_had_arrived_is_left_to_the_new_owner),
        TEST(an_end_that_was_kept_is_not_told),
        TEST(meanwhile_the_transport_counts_as_closing),
        TEST(the_socket_is_gone_when_detached_and_connection_lost_are_called),
        TEST(the_socket_can_become_a_connection_again),
        TEST(a_socket_that_the_system_does_not_let_go_of_is_lost),
        TEST(a_flush_that_fails_is_told_to_both),
        TEST(a_flush_that_fails_at_once_is_told_to_both),
        TEST(a_reset_that_comes_with_the_canceled_receive_is_told_to_both),
        TEST(input_that_cannot_be_kept_is_told_to_both),
        TEST(what_cannot_be_begun_changes_nothing),
        TEST(a_canceled_detach_leaves_all_as_it_was),
        TEST(marks_that_were_moved_while_detaching_count_when_it_is_canceled),
        TEST(canceled_while_flushing_it_goes_on_flushing),
        TEST(input_that_was_kept_is_delivered_after_a_cancel),
        TEST(reading_stays_paused_after_a_cancel_if_it_was),
        TEST(canceled_while_the_system_holds_the_receive_it_reads_on),
        TEST(it_can_be_detached_again_before_the_cancel_is_told),
        TEST(it_can_be_detached_again_when_the_cancel_is_told),
        TEST(close_and_abort_call_it_off),
        TEST(eof_received_that_returns_false_calls_it_off),
        TEST(freeing_the_loop_calls_it_off),
        TEST(a_server_counts_it_until_it_was_handed_over),
        TEST(a_server_that_is_full_takes_the_next_one_then),
        TEST(a_server_that_closes_its_clients_calls_it_off),
        TEST(a_server_that_shuts_down_tells_or_closes),
        TEST(the_deadline_of_a_shutdown_calls_it_off),
        TEST(any_callback_may_detach),
        TEST(callbacks_about_memory_and_room_may_detach),
        TEST(in_every_order_nothing_is_lost_and_all_is_told),
        TEST(without_memory_it_fails_or_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
