/* SPDX-License-Identifier: MIT */
/*
 * Goal: TLS begins on a connection that stands, at both ends: bytes from before and after never
 * mix, the old transport is closed to its user and the new one takes its place, the completion
 * comes exactly once, and before connection_lost where it brings an error.
 * Method: both ends are the library's, on the fake backend; bytes move when the test says so.
 */
#include "ssl_world.h"

#include "system/trust.h"

typedef struct side {
    connection plain;
    tls_end wire; /* what moves its bytes: its loop and socket */
    recorder successor;
    pco_start_tls_options options;
    int code; /* of the last call */
    pco_error refused;
    bool calling; /* pco_loop_start_tls, or a cancel, is on the stack */
    pco_request *request;
    void (*at_told)(struct side *self);

    /* What it was told. */
    unsigned told;
    pco_transport *transport;
    pco_error error;
    unsigned lost_before; /* how often connection_lost had come by then */
} side;

static pco_loop *loop;
static pco_ssl_context *server_context;
static pco_ssl_context *client_context;
static side server;
static side client;

static void note_started(pco_transport *transport, const pco_error *error, void *context)
{
    side *self = context;
    if (self->calling || (transport == NULL) == (error == NULL)) {
        self->plain.protocol.violation = "the completion came inside a call, or with both";
    }
    self->told++;
    self->transport = transport;
    self->lost_before = self->plain.protocol.counts[LOST];
    if (error != NULL) {
        self->error = *error;
    }
    if (self->at_told != NULL) {
        self->at_told(self);
    }
}

static int begin(side *self, pco_transport *transport)
{
    self->calling = true;
    self->code = pco_loop_start_tls(loop, transport, &self->options, note_started, self,
                                    &self->request, &self->refused);
    self->calling = false;
    if (self->code == 0) {
        self->plain.protocol.at[DATA] = NULL;
        self->plain.protocol.at[UPDATED] = NULL;
    }
    return self->code;
}

/* Inside a callback of the recorder's. */
static void begin_here(recorder *protocol, pco_transport *transport)
{
    begin(protocol->context, transport);
}

static void give_up(side *self)
{
    self->calling = true;
    pco_request_cancel(self->request);
    self->calling = false;
}

static void open_side(side *self, bool is_server, bool buffered)
{
    memset(self, 0, sizeof *self);
    connection_init(&self->plain, buffered);
    recorder_init(&self->successor, false);
    self->successor.counts[MADE] = 1; /* so it is, for its book */
    self->plain.protocol.context = self;
    self->options = (pco_start_tls_options){.size = sizeof self->options,
                                            .ssl = is_server ? server_context : client_context,
                                            .server_side = is_server ? PCO_ON : PCO_DEFAULT,
                                            .server_hostname = is_server ? NULL : "localhost"};
    connection_open(&self->plain, loop);
    pco_transport_retain(self->plain.transport);
    self->wire.loop = loop;
    self->wire.socket = self->plain.socket;
}

static void close_side(side *self)
{
    pco_transport_release(self->plain.transport);
    pco_request_release(self->request);
    connection_free(&self->plain);
    recorder_free(&self->successor);
}

static void open_world(bool buffered)
{
    loop = fake_loop_new();
    assert_non_null(loop);
    open_side(&server, true, buffered);
    open_side(&client, false, false);
}

static void close_world(void)
{
    pco_loop_free(loop);
    loop = NULL;
    close_side(&server);
    close_side(&client);
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    server_context = tls_server_context();
    client_context = tls_client_context();
    open_world(false);
    return 0;
}

static bool kept_the_rules(const side *self)
{
    return connection_kept_the_rules(&self->plain) && self->successor.violation == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    if (loop != NULL) {
        close_world();
    }
    bool kept = kept_the_rules(&server) && kept_the_rules(&client);
    pco_ssl_context_release(server_context);
    pco_ssl_context_release(client_context);
    size_t pieces = memory_unwatch();
    if (pieces != 0) {
        print_error("%zu pieces of memory\n", pieces);
    }
    return kept && pieces == 0 ? 0 : 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void run(void)
{
    tls_run_ends(&server.wire, &client.wire);
}

/* Both ends begin, at the word of the one above TLS. */
static void start_both(void)
{
    assert_int_equal(begin(&server, server.plain.transport), 0);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run();
}

static void assert_stands(const side *self)
{
    assert_string_equal(self->error.message, "");
    assert_int_equal(self->told, 1);
    assert_non_null(self->transport);
    assert_ptr_not_equal(self->transport, self->plain.transport);
}

static void assert_failed(const side *self, int code)
{
    assert_int_equal(self->told, 1);
    assert_null(self->transport);
    assert_int_equal(self->error.code, code);
    assert_int_equal(self->lost_before, 0);
    assert_int_equal(self->plain.protocol.counts[LOST], 1);
}

static void says(side *self, const char *text)
{
    assert_int_equal(pco_transport_write(self->transport, text, strlen(text)), 0);
    run();
}

/* Whether it was sent in the clear. */
static bool has_sent(const side *self, const char *text)
{
    size_t length = strlen(text);
    for (size_t at = 0; at + length <= self->plain.socket->sent_length; at++) {
        if (memcmp(self->plain.socket->sent + at, text, length) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- The way it goes ---- */

static void answer_and_begin(recorder *protocol, pco_transport *transport)
{
    pco_transport_write(transport, "go\n", 3);
    begin_here(protocol, transport);
}

static void a_word_and_its_answer_are_followed_by_tls(void **state)
{
    (void)state;
    server.plain.protocol.at[DATA] = answer_and_begin;
    client.plain.protocol.at[DATA] = begin_here;
    assert_int_equal(pco_transport_write(client.plain.transport, "starttls\n", 9), 0);
    run();
    assert_stands(&server);
    assert_stands(&client);
    assert_string_equal(server.plain.protocol.log, "made data:9");
    assert_string_equal(client.plain.protocol.log, "made data:3");
    says(&client, "secret");
    says(&server, "answer");
    connection_assert_data(&server.plain, "starttls\nsecret");
    connection_assert_data(&client.plain, "go\nanswer");
    assert_false(has_sent(&client, "secret"));
    pco_transport_close(client.transport);
    run();
    assert_string_equal(server.plain.protocol.log, "made data:9 data:6 end lost");
    assert_string_equal(client.plain.protocol.log, "made data:3 data:6 lost");
}

static void a_session_of_before_is_resumed(void **state)
{
    pco_ssl_session *session = NULL;
    pco_ssl_info info = {.size = sizeof info};
    (void)state;
    start_both();
    assert_int_equal(pco_transport_get_ssl_session(client.transport, &session), 0);
    close_world();
    open_world(false);
    server.options.ssl_session = session;
    server.options.server_hostname = NULL;
    assert_int_equal(begin(&server, server.plain.transport), PCO_EINVAL);
    assert_string_equal(server.refused.message, "ssl_session is only meaningful for the client");
    server.options.ssl_session = NULL;
    client.options.ssl_session = session;
    client.options.server_hostname = "example.com";
    assert_int_equal(begin(&client, client.plain.transport), PCO_EINVAL);
    assert_string_equal(client.refused.message,
                        "ssl_session is of 'localhost', not of 'example.com'");
    client.options.server_hostname = "localhost";
    start_both();
    assert_int_equal(pco_transport_get_ssl_info(client.transport, &info), 0);
    assert_true(info.session_reused);
    pco_ssl_session_release(session);
}

static void another_protocol_follows_without_connection_made(void **state)
{
    (void)state;
    server.options.protocol = &server.successor.protocol;
    start_both();
    assert_stands(&server);
    assert_ptr_equal(pco_transport_get_protocol(server.transport), &server.successor.protocol);
    says(&client, "hello");
    pco_transport_close(server.transport);
    run();
    assert_string_equal(server.plain.protocol.log, "made");
    assert_string_equal(server.successor.log, "data:5 lost");
}

static void write_in_the_completion(side *self)
{
    if (pco_transport_write(self->transport, "at once", 7) != 0 ||
        !pco_transport_is_reading(self->transport)) {
        self->plain.protocol.violation = "the new transport is not open";
    }
}

static void the_completion_can_use_the_new_transport(void **state)
{
    (void)state;
    server.at_told = write_in_the_completion;
    client.at_told = write_in_the_completion;
    start_both();
    connection_assert_data(&server.plain, "at once");
    connection_assert_data(&client.plain, "at once");
}

static void pause_in_the_completion(side *self)
{
    pco_transport_pause_reading(self->transport);
}

static void nothing_is_delivered_before_the_completion(void **state)
{
    (void)state;
    server.at_told = pause_in_the_completion;
    client.at_told = write_in_the_completion;
    start_both();
    assert_string_equal(server.plain.protocol.log, "made");
    assert_int_equal(pco_transport_resume_reading(server.transport), 0);
    run_turns(loop, 2);
    connection_assert_data(&server.plain, "at once");
}

/* ---- What is from before ---- */

static void what_was_written_leaves_first_in_the_clear(void **state)
{
    static unsigned char data[200000];
    (void)state;
    client.plain.socket->room = 0;
    assert_int_equal(pco_transport_write(client.plain.transport, data, sizeof data), 0);
    start_both();
    assert_int_equal(client.told, 0);
    client.plain.socket->room = SIZE_MAX;
    server.plain.protocol.length = 0;
    run_turns(loop, 2);
    assert_true(client.plain.socket->sent_length > sizeof data);
    assert_memory_equal(client.plain.socket->sent, data, sizeof data);
    assert_int_equal(client.plain.socket->sent[sizeof data], 22); /* a record of the handshake */
    client.wire.taken = sizeof data;
    run();
    assert_stands(&client);
    assert_stands(&server);
}

static void pipelined(recorder *protocol, pco_transport *transport)
{
    side *self = protocol->context;
    const unsigned char *rest = memchr(protocol->data, '\n', protocol->length);
    if (rest == NULL) {
        return;
    }
    self->options.input = rest + 1;
    self->options.input_length = protocol->length - (size_t)(rest + 1 - protocol->data);
    begin(self, transport);
}

static void input_that_was_delivered_can_be_handed_over(void **state)
{
    (void)state;
    server.plain.protocol.at[DATA] = pipelined;
    assert_int_equal(pco_transport_write(client.plain.transport, "starttls\n", 9), 0);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    run();
    assert_true(server.options.input_length > 100);
    assert_stands(&server);
    says(&client, "hello");
    assert_int_equal(server.plain.protocol.counts[DATA], 2);
}

static void pause_and_begin(recorder *protocol, pco_transport *transport)
{
    pco_transport_pause_reading(transport);
    (void)protocol;
}

/* The client sends more in the clear, as somebody between the two might. */
static void input_that_is_kept_is_refused(void **state)
{
    (void)state;
    server.plain.protocol.at[DATA] = pause_and_begin;
    assert_int_equal(pco_transport_write(client.plain.transport, "starttls\n", 9), 0);
    run();
    fake_feed(server.plain.socket, "evil\n", 5);
    assert_int_equal(pco__stream_keep(server.plain.stream, "evil\n", 5), 0);
    assert_int_equal(begin(&server, server.plain.transport), PCO_EINVAL);
    assert_non_null(strstr(server.refused.message, "keep_input"));
    assert_int_equal(server.told, 0);
    server.plain.protocol.at[DATA] = NULL;
    assert_int_equal(pco_transport_resume_reading(server.plain.transport), 0);
    run();
    connection_assert_data(&server.plain, "starttls\nevil\nevil\n");
}

static void input_behind_a_small_buffer_is_refused(void **state)
{
    (void)state;
    close_world();
    open_world(true);
    server.plain.protocol.buffer_size = 4;
    server.plain.protocol.at[UPDATED] = begin_here;
    assert_int_equal(pco_transport_pause_reading(server.plain.transport), 0);
    assert_int_equal(pco__stream_keep(server.plain.stream, "tls\nevil", 8), 0);
    assert_int_equal(pco_transport_resume_reading(server.plain.transport), 0);
    run_turns(loop, 1);
    assert_int_equal(server.plain.protocol.counts[UPDATED], 2);
    assert_int_equal(server.code, 0); /* the second time there is nothing more */
    assert_int_equal(server.refused.code, PCO_EINVAL);
}

static void input_that_is_kept_may_begin_the_handshake(void **state)
{
    (void)state;
    assert_int_equal(pco_transport_pause_reading(server.plain.transport), 0);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    size_t length = client.plain.socket->sent_length;
    assert_true(length > 100);
    assert_int_equal(
        pco__stream_keep(server.plain.stream, client.plain.socket->sent + 50, length - 50), 0);
    client.wire.taken = length;
    server.options.input = client.plain.socket->sent;
    server.options.input_length = 50;
    assert_int_equal(begin(&server, server.plain.transport), PCO_EINVAL);
    server.options.keep_input = PCO_ON;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run();
    assert_stands(&server);
    assert_stands(&client);
    says(&client, "hello");
    connection_assert_data(&server.plain, "hello");
}

/* It comes with the call, or the system has it still: it can only be TLS's. */
static void input_that_comes_with_the_call_is_tls_s(void **state)
{
    (void)state;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    fake_feed(server.plain.socket, client.plain.socket->sent, client.plain.socket->sent_length);
    client.wire.taken = client.plain.socket->sent_length;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run();
    assert_stands(&server);
}

/* ---- The old transport ---- */

static void released(const void *data, void *context)
{
    (void)data;
    ++*(unsigned *)context;
}

static void ignore_detached(pco_socket sock, const void *data, size_t length,
                            const pco_error *error, void *context)
{
    (void)sock;
    (void)data;
    (void)length;
    (void)error;
    (void)context;
}

static void assert_shut(pco_transport *old, pco_protocol *protocol)
{
    const pco_buffer buffer = {"x", 1};
    unsigned releases = 0;
    size_t high;
    size_t low;
    pco_address address;
    pco_error error;
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_write(old, "x", 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_writelines(old, &buffer, 1), PCO_ECLOSED);
    assert_int_equal(pco_transport_write_owned(old, "x", 1, released, &releases), PCO_ECLOSED);
    assert_int_equal(releases, 1);
    assert_int_equal(pco_transport_write_eof(old), PCO_ECLOSED);
    assert_int_equal(pco_transport_pause_reading(old), PCO_ECLOSED);
    assert_int_equal(pco_transport_resume_reading(old), PCO_ECLOSED);
    assert_int_equal(pco_transport_set_protocol(old, protocol), PCO_ECLOSED);
    assert_int_equal(pco_transport_set_write_buffer_limits(old, 10, 5), PCO_ECLOSED);
    int code = pco_transport_detach(old, ignore_detached, NULL, NULL, &error);
    assert_int_equal(code, pco_transport_can_write_eof(old) ? PCO_ECLOSED : PCO_ENOTSUP);
    assert_int_equal(pco_transport_get_sockname(old, &address), PCO_ECLOSED);
    assert_int_equal(pco_transport_get_peername(old, &address), PCO_ECLOSED);
    assert_int_equal(pco_transport_get_ssl_info(old, &info), PCO_ECLOSED);
    pco_transport_counters counters = {.size = sizeof counters};
    assert_int_equal(pco_transport_get_counters(old, &counters), PCO_ECLOSED);
    assert_null(pco_transport_get_ssl_object(old));
    assert_int_equal(pco_transport_get_socket(old), PCO_NO_SOCKET);
    assert_int_equal(pco_transport_get_write_buffer_size(old), 0);
    pco_transport_get_write_buffer_limits(old, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
    assert_true(pco_transport_is_closing(old));
    assert_false(pco_transport_is_reading(old));
    assert_ptr_equal(pco_transport_get_loop(old), loop);
    assert_ptr_equal(pco_transport_get_protocol(old), protocol);
}

static void the_old_transport_is_as_a_closed_one(void **state)
{
    pco_protocol *protocol = &server.plain.protocol.protocol;
    (void)state;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    assert_shut(server.plain.transport, protocol);
    run_turns(loop, 2);
    assert_shut(server.plain.transport, protocol);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run();
    assert_stands(&server);
    assert_shut(server.plain.transport, protocol); /* it is retained */
    assert_int_equal(begin(&server, server.plain.transport), PCO_EBUSY);
    says(&client, "hello");
    assert_shut(server.plain.transport, protocol);
    pco_transport_close(client.transport);
    run();
    assert_null(pco_transport_get_protocol(server.plain.transport));
    assert_int_equal(pco_transport_write(server.plain.transport, "x", 1), PCO_ECLOSED);
    assert_int_equal(begin(&server, server.plain.transport), PCO_ECLOSED);
}

static void check_ending(void (*end)(pco_transport *transport), bool at_once)
{
    assert_int_equal(begin(&server, server.plain.transport), 0);
    if (!at_once) {
        run_turns(loop, 3);
    }
    server.calling = true;
    end(server.plain.transport);
    server.calling = false;
    assert_int_equal(server.told, 0);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ECANCELED);
    assert_string_equal(server.plain.protocol.log, "made lost");
    assert_true(server.plain.socket->closed);
}

static void closing_the_old_one_ends_the_connection(void **state)
{
    (void)state;
    check_ending(pco_transport_close, false);
}

static void closing_it_at_once_ends_the_connection(void **state)
{
    (void)state;
    check_ending(pco_transport_close, true);
}

static void aborting_it_ends_the_connection(void **state)
{
    (void)state;
    check_ending(pco_transport_abort_reset, false);
    assert_true(server.plain.socket->reset);
}

static void a_retained_one_still_ends_the_connection(void **state)
{
    (void)state;
    start_both();
    pco_transport_close(server.plain.transport);
    run();
    assert_string_equal(server.plain.protocol.log, "made lost");
    assert_string_equal(client.plain.protocol.log, "made end lost");
}

static bool knows_its_peer;

static void look_at_peer(recorder *protocol, pco_transport *transport)
{
    pco_address address;
    side *self = protocol->context;
    knows_its_peer = transport == self->plain.transport &&
                     pco_transport_get_sockname(transport, &address) != PCO_ECLOSED;
}

static void connection_lost_comes_with_the_old_one(void **state)
{
    (void)state;
    knows_its_peer = false;
    server.plain.protocol.at[LOST] = look_at_peer;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run_turns(loop, 2);
    pco_transport_abort(server.plain.transport);
    run_turns(loop, 2);
    assert_true(knows_its_peer);
}

/* ---- What goes on with the new one ---- */

static void water_marks_go_on(void **state)
{
    size_t high;
    size_t low;
    (void)state;
    assert_int_equal(pco_transport_set_write_buffer_limits(server.plain.transport, 5000, 4000), 0);
    start_both();
    pco_transport_get_write_buffer_limits(server.transport, &high, &low);
    assert_int_equal(high, 5000);
    assert_int_equal(low, 4000);
    pco_transport_get_write_buffer_limits(client.transport, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
}

static void fill(side *self)
{
    static unsigned char data[100000];
    self->plain.socket->room = 0;
    assert_int_equal(pco_transport_write(self->plain.transport, data, sizeof data), 0);
    assert_string_equal(self->plain.protocol.log, "made pause");
}

static void open_the_way(side *self)
{
    self->plain.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    self->wire.taken = 100000;
    run();
}

static void a_pause_of_writing_goes_on_with_the_protocol(void **state)
{
    (void)state;
    fill(&client);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run_turns(loop, 3);
    open_the_way(&client);
    assert_stands(&client);
    assert_string_equal(client.plain.protocol.log, "made pause resume");
}

static void another_protocol_knows_of_no_pause(void **state)
{
    (void)state;
    fill(&client);
    client.options.protocol = &client.successor.protocol;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    assert_int_equal(begin(&server, server.plain.transport), 0);
    open_the_way(&client);
    assert_stands(&client);
    assert_string_equal(client.plain.protocol.log, "made pause");
    assert_string_equal(client.successor.log, "");
}

/* The client's last word is in its way, not in that of its completion. */
static void a_handshake_that_cannot_leave_counts_for_the_marks(void **state)
{
    (void)state;
    assert_int_equal(pco_transport_set_write_buffer_limits(client.plain.transport, 0, 0), 0);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    client.plain.socket->room = 0;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run();
    assert_stands(&client);
    assert_in_range(pco_transport_get_write_buffer_size(client.transport), 1, 1000);
    assert_string_equal(client.plain.protocol.log, "made pause");
    client.plain.socket->room = SIZE_MAX;
    run();
    assert_string_equal(client.plain.protocol.log, "made pause resume");
    assert_stands(&server);
}

static void that_reading_was_paused_does_not_go_on(void **state)
{
    (void)state;
    assert_int_equal(pco_transport_pause_reading(server.plain.transport), 0);
    assert_int_equal(pco_transport_pause_reading(client.plain.transport), 0);
    start_both();
    assert_true(pco_transport_is_reading(server.transport));
    says(&client, "hello");
    connection_assert_data(&server.plain, "hello");
}

/* ---- Giving up ---- */

static void canceling_tells_and_ends_the_connection(void **state)
{
    (void)state;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run_turns(loop, 3);
    give_up(&server);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ECANCELED);
    assert_string_equal(server.error.message, "starting TLS was canceled");
    assert_string_equal(server.plain.protocol.log, "made lost");
}

static void canceling_at_once_is_no_different(void **state)
{
    (void)state;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    give_up(&client);
    give_up(&client);
    run_turns(loop, 3);
    assert_failed(&client, PCO_ECANCELED);
    assert_string_equal(client.plain.protocol.log, "made lost");
    assert_int_equal(client.plain.socket->sent_length, 0);
}

static void cancel_told(side *self)
{
    give_up(self);
    self->calling = false;
}

static void canceling_what_is_done_does_nothing(void **state)
{
    (void)state;
    server.at_told = cancel_told;
    start_both();
    give_up(&server);
    says(&client, "hello");
    assert_string_equal(server.plain.protocol.log, "made data:5");
}

static void the_loop_may_be_freed_at_any_time(void **state)
{
    (void)state;
    for (unsigned turns = 0; turns < 6; turns++) {
        assert_int_equal(begin(&server, server.plain.transport), 0);
        run_turns(loop, turns);
        pco_loop_free(loop);
        loop = NULL;
        assert_failed(&server, PCO_ECANCELED);
        close_side(&server);
        close_side(&client);
        open_world(false);
    }
}

static void a_loop_that_is_being_freed_starts_nothing(void **state)
{
    (void)state;
    server.plain.protocol.at[LOST] = begin_here;
    client.plain.protocol.at[LOST] = begin_here;
    pco_loop_free(loop);
    loop = NULL;
    assert_int_equal(server.code, PCO_ECLOSED);
    assert_int_equal(client.code, PCO_ECLOSED);
    close_side(&server);
    close_side(&client);
}

/* ---- Bad peers ---- */

static void who_answers_in_the_clear_is_told_so(void **state)
{
    (void)state;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    fake_feed(client.plain.socket, "500 no TLS here\r\n", 17);
    run_turns(loop, 2);
    assert_int_equal(client.told, 1);
    assert_int_equal(client.error.code, PCO_ETLS);
    assert_string_equal(client.plain.protocol.log, "made"); /* the peer may read the alert */
    fake_feed_eof(client.plain.socket);
    run_turns(loop, 2);
    assert_failed(&client, PCO_ETLS);
    assert_string_equal(client.plain.protocol.log, "made lost:PCO_ETLS");
}

static void a_client_in_the_clear_is_told_so(void **state)
{
    (void)state;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    fake_feed(server.plain.socket, "MAIL FROM:<evil>\r\n", 18);
    run_turns(loop, 3);
    assert_int_equal(server.error.code, PCO_ETLS);
    fake_feed_eof(server.plain.socket);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ETLS);
}

static void a_wrong_name_is_told_before_anything_is_sent(void **state)
{
    (void)state;
    client.options.server_hostname = "another.example";
    start_both();
    assert_failed(&client, PCO_ECERT);
    assert_failed(&server, PCO_ECERT);
    assert_non_null(strstr(client.error.message, "hostname mismatch"));
}

/* The system's trust, which does not know the test's authority. */
/* Where the system itself judges, which takes real time, windows/test_trust.c has the same. */
static void tls_alone_verifies_by_what_the_system_trusts(void **state)
{
    (void)state;
    if (pco__system_trust.judge != NULL) {
        print_message("skipped: this system judges, on a thread\n");
        skip();
    }
    client.options.ssl = NULL;
    client.options.tls = PCO_ON;
    int code = begin(&client, client.plain.transport);
    if (code == PCO_ENOENT) {
        print_message("skipped: this system has no certificates of whom it trusts\n");
        skip();
    }
    assert_int_equal(code, 0);
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run();
    assert_failed(&client, PCO_ECERT);
    assert_failed(&server, PCO_ECERT);
}

static void a_peer_that_is_silent_has_a_limit(void **state)
{
    (void)state;
    client.options.ssl_handshake_timeout = 7;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    fake_advance(loop, 6.9);
    run_turns(loop, 2);
    assert_int_equal(client.told, 0);
    fake_advance(loop, 0.2);
    run_turns(loop, 3);
    assert_failed(&client, PCO_ETIMEDOUT);
    assert_non_null(strstr(client.error.message, "7 seconds"));
    assert_string_equal(client.plain.protocol.log, "made lost:PCO_ETIMEDOUT");
}

static void a_peer_that_resets_is_told(void **state)
{
    (void)state;
    assert_int_equal(begin(&client, client.plain.transport), 0);
    fake_feed_error(client.plain.socket, PCO_ECONNRESET, 104);
    run_turns(loop, 3);
    assert_failed(&client, PCO_ECONNRESET);
    assert_string_equal(client.plain.protocol.log, "made lost:PCO_ECONNRESET");
}

static void a_peer_that_closes_is_told(void **state)
{
    (void)state;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    fake_feed_eof(server.plain.socket);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ECONNRESET);
}

static void a_peer_that_closed_while_reading_was_paused_is_told(void **state)
{
    (void)state;
    assert_int_equal(pco_transport_pause_reading(server.plain.transport), 0);
    fake_feed_eof(server.plain.socket);
    run_turns(loop, 2);
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run_turns(loop, 3);
    assert_failed(&server, PCO_ECONNRESET);
}

/* A connection that is cut: its end comes after `length` bytes, cleanly or not. */
static void cut(size_t length, bool of_server, bool cleanly)
{
    side *from = of_server ? &server : &client;
    side *to = of_server ? &client : &server;
    tls_end pieces = from->wire;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    for (unsigned i = 0; i < 12; i++) {
        size_t there =
            from->plain.socket->sent_length < length ? from->plain.socket->sent_length : length;
        if (there > pieces.taken) {
            fake_feed(to->plain.socket, from->plain.socket->sent + pieces.taken,
                      there - pieces.taken);
            pieces.taken = there;
        }
        if (to->plain.socket->sent_length > to->wire.taken) {
            fake_feed(from->plain.socket, to->plain.socket->sent + to->wire.taken,
                      to->plain.socket->sent_length - to->wire.taken);
            to->wire.taken = to->plain.socket->sent_length;
        }
        run_turns(loop, 2);
    }
    if (cleanly) {
        fake_feed_eof(to->plain.socket);
    } else {
        fake_feed_error(to->plain.socket, PCO_ECONNRESET, 104);
    }
    run_turns(loop, 3);
    fake_advance(loop, 3); /* for who waits that an alert is read */
    run_turns(loop, 3);
}

static void check_cuts(bool of_server)
{
    bool whole = false;
    for (size_t length = 0; !whole; length++) {
        cut(length, of_server, length % 2 == 0);
        side *to = of_server ? &client : &server;
        whole = to->transport != NULL;
        if (!whole) {
            assert_failed(to, PCO_ECONNRESET);
        }
        assert_int_equal(to->plain.protocol.counts[LOST], 1);
        pco_loop_free(loop);
        assert_int_equal(server.told, 1);
        assert_int_equal(client.told, 1);
        assert_true(kept_the_rules(&server) && kept_the_rules(&client));
        close_side(&server);
        close_side(&client);
        open_world(false);
        assert_true(length < 10000);
    }
}

static void a_server_that_goes_at_any_byte_is_told(void **state)
{
    (void)state;
    check_cuts(true);
}

static void a_client_that_goes_at_any_byte_is_told(void **state)
{
    (void)state;
    check_cuts(false);
}

/* ---- What is refused ---- */

static void assert_refused(side *self, int code, const char *words)
{
    assert_int_equal(begin(self, self->plain.transport), code);
    assert_int_equal(self->refused.code, code);
    assert_non_null(strstr(self->refused.message, words));
    run_turns(loop, 2);
    assert_int_equal(self->told, 0);
}

static void a_state_that_cannot_be_is_refused(void **state)
{
    pco_request *request;
    (void)state;
    assert_int_equal(begin(&server, server.plain.transport), 0);
    assert_refused(&server, PCO_EBUSY, "has been started");
    give_up(&server);
    run_turns(loop, 3);
    server.told = 0;
    assert_refused(&server, PCO_ECLOSED, "is closed");
    assert_int_equal(pco_transport_write_eof(client.plain.transport), 0);
    assert_refused(&client, PCO_EPIPE, "pco_transport_write_eof");
    pco_transport_close(client.plain.transport);
    assert_int_equal(begin(&client, client.plain.transport), PCO_ECLOSED);
    run_turns(loop, 2);
    close_world();
    open_world(false);
    assert_int_equal(
        pco_transport_detach(client.plain.transport, ignore_detached, NULL, &request, NULL), 0);
    assert_int_equal(begin(&client, client.plain.transport), PCO_EBUSY);
    assert_non_null(strstr(client.refused.message, "detached"));
    pco_loop *const others = loop;
    loop = fake_loop_new();
    assert_int_equal(begin(&server, server.plain.transport), PCO_EINVAL);
    assert_non_null(strstr(server.refused.message, "another loop"));
    pco_loop_free(loop);
    loop = others;
    pco_request_release(request);
}

static void what_is_being_detached_is_busy(void **state)
{
    pco_request *request;
    (void)state;
    assert_int_equal(
        pco_transport_detach(client.plain.transport, ignore_detached, NULL, &request, NULL), 0);
    assert_int_equal(begin(&client, client.plain.transport), PCO_EBUSY);
    assert_non_null(strstr(client.refused.message, "detached"));
    pco_request_cancel(request);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    assert_int_equal(begin(&server, server.plain.transport), 0);
    run();
    assert_stands(&client);
    pco_request_release(request);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    static const pco_protocol_methods broken = {.size = 3};
    pco_protocol unusable = {.methods = &broken};
    pco_start_tls_options usual = client.options;
    (void)state;
    client.options.size = 3;
    assert_refused(&client, PCO_EINVAL, "pco_start_tls_options");
    client.options = usual;
    client.options.ssl = NULL;
    assert_refused(&client, PCO_EINVAL, "one of ssl and tls is required");
    client.options.tls = 3;
    assert_refused(&client, PCO_EINVAL, "tls is 3");
    client.options.tls = PCO_ON;
    client.options.ssl = usual.ssl;
    assert_refused(&client, PCO_EINVAL, "not both");
    client.options.ssl = NULL;
    client.options.server_side = PCO_ON;
    client.options.server_hostname = NULL;
    assert_refused(&client, PCO_EINVAL, "tls is only meaningful for the client");
    client.options = usual;
    client.options.ssl = server_context;
    assert_refused(&client, PCO_EINVAL, "the ssl context is one for servers");
    client.options = usual;
    client.options.server_side = 7;
    assert_refused(&client, PCO_EINVAL, "server_side");
    client.options.server_side = PCO_ON;
    assert_refused(&client, PCO_EINVAL, "server_hostname is only meaningful for the client");
    client.options.server_hostname = NULL;
    assert_refused(&client, PCO_EINVAL, "the ssl context is one for clients");
    client.options = usual;
    client.options.server_hostname = NULL;
    assert_refused(&client, PCO_EINVAL, "server_hostname is required");
    client.options.server_hostname = "";
    assert_refused(&client, PCO_EINVAL, "server_hostname is required");
    client.options.server_hostname = ".";
    assert_refused(&client, PCO_EINVAL, "no host name");
    client.options = usual;
    client.options.ssl_handshake_timeout = -1;
    assert_refused(&client, PCO_EINVAL, "ssl_handshake_timeout");
    client.options = usual;
    client.options.ssl_shutdown_timeout = INFINITY;
    assert_refused(&client, PCO_EINVAL, "ssl_shutdown_timeout");
    client.options = usual;
    client.options.protocol = &unusable;
    assert_refused(&client, PCO_EINVAL, "protocol");
    client.options = usual;
    client.options.input_length = 1;
    assert_refused(&client, PCO_EINVAL, "input is NULL");
    client.options = usual;
    client.options.keep_input = -9;
    assert_refused(&client, PCO_EINVAL, "keep_input");
    client.options = usual;
    client.options.ssl_half_close = -1;
    assert_refused(&client, PCO_EINVAL, "ssl_half_close");
    assert_int_equal(
        pco_loop_start_tls(loop, client.plain.transport, &usual, NULL, NULL, NULL, NULL),
        PCO_EINVAL);
    assert_int_equal(
        pco_loop_start_tls(loop, client.plain.transport, NULL, note_started, NULL, NULL, NULL),
        PCO_EINVAL);
    assert_int_equal(pco_loop_start_tls(loop, NULL, &usual, note_started, NULL, NULL, NULL),
                     PCO_EINVAL);
    client.options = usual; /* nothing has changed */
    start_both();
    assert_stands(&client);
}

/* ---- Inside callbacks ---- */

static void open_beginning_in(event what, bool buffered)
{
    close_side(&server);
    memset(&server, 0, sizeof server);
    connection_init(&server.plain, buffered);
    recorder_init(&server.successor, false);
    server.plain.protocol.context = &server;
    server.plain.protocol.at[what] = begin_here;
    server.options = (pco_start_tls_options){
        .size = sizeof server.options, .ssl = server_context, .server_side = PCO_ON};
    connection_open(&server.plain, loop);
    pco_transport_retain(server.plain.transport);
    server.wire.loop = loop;
    server.wire.socket = server.plain.socket;
}

static void assert_begins_in(event what, bool buffered)
{
    assert_int_equal(server.code, 0);
    assert_int_equal(server.plain.protocol.counts[what], 1);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    server.plain.protocol.at[what] = NULL;
    client.wire.taken = client.plain.socket->sent_length;
    run();
    assert_stands(&server);
    says(&client, "hello");
    assert_int_equal(server.plain.protocol.counts[buffered ? UPDATED : DATA],
                     what == DATA || what == UPDATED ? 2 : 1);
}

static void it_may_begin_in_connection_made(void **state)
{
    (void)state;
    pco_transport_abort(server.plain.transport);
    run_turns(loop, 2);
    open_beginning_in(MADE, false);
    assert_begins_in(MADE, false);
}

static void it_may_begin_in_buffer_updated(void **state)
{
    (void)state;
    pco_transport_abort(server.plain.transport);
    run_turns(loop, 2);
    open_beginning_in(UPDATED, true);
    fake_feed(server.plain.socket, "tls", 3);
    run_turns(loop, 2);
    assert_begins_in(UPDATED, true);
}

/* The system has something to read, and that is TLS's. */
static void it_may_begin_in_get_buffer(void **state)
{
    (void)state;
    pco_transport_abort(server.plain.transport);
    run_turns(loop, 2);
    open_beginning_in(GET, true);
    assert_int_equal(begin(&client, client.plain.transport), 0);
    run_turns(loop, 2);
    run();
    assert_int_equal(server.code, 0);
    server.plain.protocol.at[GET] = NULL;
    assert_stands(&server);
    says(&client, "hello");
    connection_assert_data(&server.plain, "hello");
}

static void it_may_begin_in_pause_and_resume_writing(void **state)
{
    (void)state;
    server.plain.protocol.at[PAUSE] = begin_here;
    client.plain.protocol.at[RESUME] = begin_here;
    fill(&server);
    fill(&client);
    assert_int_equal(server.code, 0);
    server.plain.socket->room = SIZE_MAX;
    client.plain.socket->room = SIZE_MAX;
    run_turns(loop, 3);
    assert_int_equal(client.code, 0);
    server.wire.taken = 100000;
    client.wire.taken = 100000;
    run();
    assert_stands(&server);
    assert_stands(&client);
    assert_string_equal(server.plain.protocol.log, "made pause resume");
    assert_string_equal(client.plain.protocol.log, "made pause resume");
}

static void it_cannot_begin_at_the_end(void **state)
{
    (void)state;
    server.plain.protocol.at[END] = begin_here;
    server.plain.protocol.at[LOST] = begin_here;
    server.plain.protocol.keep_open = true;
    fake_feed_eof(server.plain.socket);
    run_turns(loop, 2);
    assert_int_equal(server.code, PCO_ECONNRESET);
    assert_int_equal(begin(&server, server.plain.transport), PCO_ECONNRESET);
    pco_transport_close(server.plain.transport);
    run_turns(loop, 2);
    assert_int_equal(server.code, PCO_ECLOSED);
    assert_string_equal(server.plain.protocol.log, "made end lost");
}

/* ---- TLS in TLS ---- */

static void begin_inner(side *self, pco_transport **outer)
{
    *outer = pco_transport_retain(self->transport);
    self->told = 0;
    self->transport = NULL;
    pco_request_release(self->request);
    self->request = NULL;
    assert_int_equal(begin(self, *outer), 0);
}

static void tls_in_tls_is_started_the_same_way(void **state)
{
    pco_transport *outer_server;
    pco_transport *outer_client;
    (void)state;
    start_both();
    begin_inner(&server, &outer_server);
    begin_inner(&client, &outer_client);
    assert_shut(outer_server, &server.plain.protocol.protocol);
    run();
    assert_stands(&server);
    assert_stands(&client);
    assert_shut(outer_server, &server.plain.protocol.protocol);
    assert_shut(server.plain.transport, &server.plain.protocol.protocol);
    says(&client, "hello");
    connection_assert_data(&server.plain, "hello");
    pco_transport_close(server.plain.transport); /* the lowest: the connection ends */
    run();
    assert_string_equal(server.plain.protocol.log, "made data:5 lost");
    assert_string_equal(client.plain.protocol.log, "made end lost");
    pco_transport_release(outer_server);
    pco_transport_release(outer_client);
}

static void an_inner_handshake_that_fails_ends_all(void **state)
{
    pco_transport *outer_server;
    pco_transport *outer_client;
    (void)state;
    start_both();
    client.options.server_hostname = "another.example";
    begin_inner(&server, &outer_server);
    begin_inner(&client, &outer_client);
    run();
    assert_failed(&client, PCO_ECERT);
    assert_failed(&server, PCO_ECERT);
    assert_true(server.plain.socket->closed && client.plain.socket->closed);
    pco_transport_release(outer_server);
    pco_transport_release(outer_client);
}

static void records_that_are_there_already_are_refused(void **state)
{
    (void)state;
    close_world();
    open_world(true);
    start_both();
    server.plain.protocol.buffer_size = 4;
    server.plain.protocol.at[UPDATED] = begin_here;
    server.told = 0;
    pco_request_release(server.request);
    server.request = NULL;
    says(&client, "tls\nevil");
    assert_int_equal(server.plain.protocol.counts[UPDATED], 2);
    assert_int_equal(server.refused.code, PCO_EINVAL);
    assert_int_equal(server.code, 0); /* the second time there is nothing more */
}

/* More records than are read in a step, and too long to be counted instead of timed. */
#define WORDS ((size_t)40)

static void begin_at_the_last_word(recorder *protocol, pco_transport *transport)
{
    if (protocol->length == 4 * WORDS) {
        begin_here(protocol, transport);
    }
}

/* A step takes all the time of a turn, so that the last words wait for another. */
static void what_waited_and_is_delivered_does_not_wait_any_more(void **state)
{
    (void)state;
    start_both();
    pco_request_release(server.request);
    server.request = NULL;
    server.plain.protocol.at[DATA] = begin_at_the_last_word;
    fake_of(loop)->tick = 1000000;
    for (size_t i = 0; i < WORDS; i++) {
        pco_transport_write(client.transport, "tls\n", 4);
    }
    run();
    assert_true(server.plain.protocol.counts[DATA] > 1);
    assert_string_equal(server.refused.message, "");
    assert_non_null(server.request);
}

static void half_close_is_an_option_of_it(void **state)
{
    (void)state;
    server.options.ssl_half_close = PCO_ON;
    client.options.ssl_half_close = PCO_ON;
    server.plain.protocol.keep_open = true;
    start_both();
    assert_int_equal(pco_transport_write_eof(client.transport), 0);
    run();
    assert_string_equal(server.plain.protocol.log, "made end");
    assert_int_equal(pco_loop_start_tls(loop, client.transport, &client.options, note_started,
                                        &client, NULL, NULL),
                     PCO_EPIPE);
    assert_int_equal(pco_loop_start_tls(loop, server.transport, &server.options, note_started,
                                        &server, NULL, NULL),
                     PCO_ECONNRESET);
    says(&server, "answer");
    connection_assert_data(&client.plain, "answer");
}

/* ---- Memory ---- */

/* One life with one allocation that fails. Returns whether TLS stood at both ends. */
static bool live(void)
{
    begin(&server, server.plain.transport);
    begin(&client, client.plain.transport);
    for (unsigned i = 0; i < 2; i++) {
        run();
        fake_advance(loop, 70); /* whoever waits for one that could not even begin */
        run();
    }
    bool stands = server.transport != NULL && client.transport != NULL;
    if (stands && pco_transport_write(client.transport, "hello", 5) == 0) {
        run();
    }
    return stands && server.plain.protocol.length == 5;
}

static void check_told(const side *self)
{
    assert_int_equal(self->told, self->code == 0 ? 1 : 0);
    assert_true(kept_the_rules(self));
    assert_int_equal(self->plain.protocol.counts[LOST], 1);
}

static void every_allocation_may_fail(void **state)
{
    bool whole = false;
    (void)state;
    start_both(); /* what there is once */
    for (size_t nth = 1; !whole && nth < 1000; nth++) {
        close_world();
        open_world(false);
        server.options.input = "";
        memory_fail(nth, false);
        whole = live();
        bool failed = memory_has_failed();
        memory_fail(0, false);
        assert_true(whole || failed);
        whole = whole && !failed;
        pco_loop_free(loop);
        check_told(&server);
        check_told(&client);
        loop = fake_loop_new();
        close_side(&server);
        close_side(&client);
        open_side(&server, true, false);
        open_side(&client, false, false);
    }
    assert_true(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_word_and_its_answer_are_followed_by_tls),
        TEST(a_session_of_before_is_resumed),
        TEST(another_protocol_follows_without_connection_made),
        TEST(the_completion_can_use_the_new_transport),
        TEST(nothing_is_delivered_before_the_completion),
        TEST(what_was_written_leaves_first_in_the_clear),
        TEST(input_that_was_delivered_can_be_handed_over),
        TEST(input_that_is_kept_is_refused),
        TEST(input_behind_a_small_buffer_is_refused),
        TEST(input_that_is_kept_may_begin_the_handshake),
        TEST(input_that_comes_with_the_call_is_tls_s),
        TEST(the_old_transport_is_as_a_closed_one),
        TEST(closing_the_old_one_ends_the_connection),
        TEST(closing_it_at_once_ends_the_connection),
        TEST(aborting_it_ends_the_connection),
        TEST(a_retained_one_still_ends_the_connection),
        TEST(connection_lost_comes_with_the_old_one),
        TEST(water_marks_go_on),
        TEST(a_pause_of_writing_goes_on_with_the_protocol),
        TEST(another_protocol_knows_of_no_pause),
        TEST(a_handshake_that_cannot_leave_counts_for_the_marks),
        TEST(that_reading_was_paused_does_not_go_on),
        TEST(canceling_tells_and_ends_the_connection),
        TEST(canceling_at_once_is_no_different),
        TEST(canceling_what_is_done_does_nothing),
        TEST(the_loop_may_be_freed_at_any_time),
        TEST(a_loop_that_is_being_freed_starts_nothing),
        TEST(who_answers_in_the_clear_is_told_so),
        TEST(a_client_in_the_clear_is_told_so),
        TEST(a_wrong_name_is_told_before_anything_is_sent),
        TEST(tls_alone_verifies_by_what_the_system_trusts),
        TEST(a_peer_that_is_silent_has_a_limit),
        TEST(a_peer_that_resets_is_told),
        TEST(a_peer_that_closes_is_told),
        TEST(a_peer_that_closed_while_reading_was_paused_is_told),
        TEST(a_server_that_goes_at_any_byte_is_told),
        TEST(a_client_that_goes_at_any_byte_is_told),
        TEST(a_state_that_cannot_be_is_refused),
        TEST(what_is_being_detached_is_busy),
        TEST(options_that_make_no_sense_are_refused),
        TEST(it_may_begin_in_connection_made),
        TEST(it_may_begin_in_buffer_updated),
        TEST(it_may_begin_in_get_buffer),
        TEST(it_may_begin_in_pause_and_resume_writing),
        TEST(it_cannot_begin_at_the_end),
        TEST(tls_in_tls_is_started_the_same_way),
        TEST(an_inner_handshake_that_fails_ends_all),
        TEST(records_that_are_there_already_are_refused),
        TEST(what_waited_and_is_delivered_does_not_wait_any_more),
        TEST(half_close_is_an_option_of_it),
        TEST(every_allocation_may_fail),
    };
    int failures = cmocka_run_group_tests_name("start_tls", tests, NULL, NULL);
    certificates_free();
    return failures;
}
