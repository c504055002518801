/* SPDX-License-Identifier: MIT */
/*
 * Goal: everything may be done in every callback. What the library promises still holds: the order
 * of callbacks, connection_lost exactly once, nothing delivered after close, nothing leaked, and a
 * server that comes to its end.
 * Method: a table of deeds times a table of moments; each cell is a life of its own, with a client
 * that speaks, is spoken to and goes. Plain and buffered protocols, without and with TLS.
 */
#include "behaviour.h"

#include <math.h>

static unsigned acted; /* in this cell */
static deed what;

/* ---- Deeds. The transport is NULL in the factory. ---- */

static void close_it(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_close(transport);
    }
}

static void abort_it(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_abort(transport);
    }
}

static void reset_it(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_abort_reset(transport);
    }
}

static void close_and_abort(record *self, pco_transport *transport)
{
    close_it(self, transport);
    abort_it(self, transport);
}

static void pause(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_pause_reading(transport);
    }
}

static void pause_and_resume(record *self, pco_transport *transport)
{
    pause(self, transport);
    if (transport != NULL) {
        pco_transport_resume_reading(transport);
    }
}

static void pause_and_close(record *self, pco_transport *transport)
{
    pause(self, transport);
    close_it(self, transport);
}

static void write_little(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_write(transport, "little", 6);
    }
}

static void write_much(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_write(transport, pattern(300000), 300000);
    }
}

static void write_much_and_close(record *self, pco_transport *transport)
{
    write_much(self, transport);
    close_it(self, transport);
}

static void write_and_abort(record *self, pco_transport *transport)
{
    write_little(self, transport);
    abort_it(self, transport);
}

static unsigned lent;

static void take_back(const void *data, void *context)
{
    (void)data;
    (void)context;
    lent--;
}

static void write_owned(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        lent += 2;
        pco_transport_write_owned(transport, pattern(300000), 300000, take_back, NULL);
        pco_transport_write_owned(transport, "small", 5, take_back, NULL);
    }
}

static void write_lines(record *self, pco_transport *transport)
{
    static const pco_buffer lines[] = {{"one", 3}, {"", 0}, {"two", 3}};
    (void)self;
    if (transport != NULL) {
        pco_transport_writelines(transport, lines, 3);
    }
}

static void write_eof(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_write_eof(transport);
        pco_transport_write(transport, "x", 1);
    }
}

static void change_the_kind_of_protocol(record *self, pco_transport *transport)
{
    if (transport != NULL) {
        const pco_protocol_methods *now = self->protocol.methods;
        self->protocol.methods =
            now == record_methods(false) ? record_methods(true) : record_methods(false);
        pco_transport_set_protocol(transport, &self->protocol);
    }
}

static void forbid_buffering(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_set_write_buffer_limits(transport, 0, 0);
        pco_transport_write(transport, "tight", 5);
    }
}

static void hold_for_a_moment(record *self, pco_transport *transport)
{
    (void)self;
    if (transport != NULL) {
        pco_transport_retain(transport);
        pco_transport_release(transport);
    }
}

static void close_server(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_close(at.server);
}

static void free_server(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_free(at.server);
    at.server = NULL;
}

static void free_server_and_close(record *self, pco_transport *transport)
{
    free_server(self, transport);
    close_it(self, transport);
}

static void shut_down_now(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_shutdown(at.server, 0);
}

static void shut_down_patiently(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_shutdown(at.server, INFINITY);
}

static void close_clients(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_close_clients(at.server);
}

static void abort_clients(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_abort_clients(at.server);
}

static void make_another_server(record *self, pco_transport *transport)
{
    pco_server *made = NULL;
    pco_server_options options = server_options();
    (void)self;
    (void)transport;
    if (pco_loop_create_server(at.loop, &options, &made, NULL) != 0) {
        violate("a server could not be made inside a callback");
    }
    pco_server_free(made);
}

static void wait_for_the_end(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    pco_server_wait_closed(at.server, count_closed, NULL);
}

static void nothing_to_do(void *context)
{
    (void)context;
}

static void make_and_cancel_callbacks(record *self, pco_transport *transport)
{
    pco_handle *handle = NULL;
    (void)self;
    (void)transport;
    pco_loop_call_soon(at.loop, nothing_to_do, NULL, NULL);
    if (pco_loop_call_later(at.loop, 1000, nothing_to_do, NULL, &handle) == 0) {
        pco_handle_cancel(handle);
        pco_handle_release(handle);
    }
}

/* The two things that a callback must not do are refused. */
static void free_or_run_the_loop(record *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    if (pco_loop_free(at.loop) != PCO_EBUSY || pco_loop_run_once(at.loop, 0) != PCO_EBUSY ||
        pco_loop_run_forever(at.loop) != PCO_EBUSY) {
        violate("the loop was freed or run inside a callback");
    }
}

static void ask_everything(record *self, pco_transport *transport)
{
    pco_address address;
    pco_ssl_info info = {.size = sizeof info};
    pco_transport_counters counters = {.size = sizeof counters};
    size_t high;
    size_t low;
    (void)self;
    counters_of(at.server);
    pco_server_is_serving(at.server);
    if (transport != NULL) {
        pco_transport_get_socket(transport);
        pco_transport_get_sockname(transport, &address);
        pco_transport_get_counters(transport, &counters);
        pco_transport_get_peername(transport, &address);
        pco_transport_get_ssl_info(transport, &info);
        pco_transport_get_ssl_object(transport);
        pco_transport_get_write_buffer_limits(transport, &high, &low);
        pco_transport_get_write_buffer_size(transport);
        pco_transport_can_write_eof(transport);
        pco_transport_get_loop(transport);
    }
}

static const struct {
    deed what;
    const char *name;
} deeds[] = {
    {close_it, "close"},
    {abort_it, "abort"},
    {reset_it, "abort_reset"},
    {close_and_abort, "close, abort"},
    {pause, "pause"},
    {pause_and_resume, "pause, resume"},
    {pause_and_close, "pause, close"},
    {write_little, "write little"},
    {write_much, "write much"},
    {write_much_and_close, "write much, close"},
    {write_and_abort, "write, abort"},
    {write_owned, "write_owned"},
    {write_lines, "writelines"},
    {write_eof, "write_eof"},
    {change_the_kind_of_protocol, "set_protocol"},
    {forbid_buffering, "set_write_buffer_limits"},
    {hold_for_a_moment, "retain, release"},
    {close_server, "close the server"},
    {free_server, "free the server"},
    {free_server_and_close, "free the server, close"},
    {shut_down_now, "shutdown(0)"},
    {shut_down_patiently, "shutdown(INFINITY)"},
    {close_clients, "close_clients"},
    {abort_clients, "abort_clients"},
    {make_another_server, "create_server"},
    {wait_for_the_end, "wait_closed"},
    {make_and_cancel_callbacks, "call_soon, call_later, cancel"},
    {free_or_run_the_loop, "free or run the loop"},
    {ask_everything, "ask everything"},
};

/* ---- Moments ---- */

/* Once in each connection: the rest of its life then shows what came of it. */
static void act(record *self, pco_transport *transport)
{
    if (at.server != NULL && (self == NULL || !self->marked)) {
        if (self != NULL) {
            self->marked = true;
        }
        acted++;
        enter_call();
        what(self, transport);
        leave_call();
    }
}

static int begin(void **state)
{
    int code = world_begin(state);
    at.small_buffers = true;
    return code;
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

/* Writes until pause_writing is called. */
static void flood(record *self, pco_transport *transport)
{
    size_t total = 0;
    while (!self->paused && !pco_transport_is_closing(transport) && total < PATTERN_LIMIT) {
        enter_call();
        pco_transport_write(transport, pattern(PATTERN_LIMIT), 50000);
        leave_call();
        total += 50000;
    }
}

/* Ends what the cell has left open. */
static void clean_up(peer *one, peer *other)
{
    memset(at.at, 0, sizeof at.at);
    leave(one);
    if (other != NULL) {
        leave(other);
    }
    for (record *each = at.records; each != NULL; each = each->next) {
        if (each->transport != NULL) {
            pco_transport_abort(each->transport);
        }
    }
    assert_true(all_are_lost());
    end_server();
}

/*
 * One client does not read until what is written to it no longer fits, so that writing is paused.
 */
static peer *speak_and_clog(void)
{
    peer *one = join();
    assert_true(reaches(&one->established, 1));
    peer_set_reading(one, false);
    let_pass(3);
    peer_send(one, "something", 9);
    assert_true(reaches(&at.records->counts[AT_PAUSE], 1));
    peer_set_reading(one, true);
    return one;
}

static peer *speak_and_finish(void)
{
    peer *one = join();
    peer_send(one, "something", 9);
    peer_finish(one);
    return one;
}

static void live(moment when)
{
    bool floods = when == AT_PAUSE || when == AT_RESUME;
    acted = 0;
    at.at[when] = act;
    if (floods) {
        at.at[at.buffered ? AT_UPDATED : AT_DATA] = flood;
    }
    serve();
    peer *one = floods ? speak_and_clog() : speak_and_finish();
    bool serves = at.server != NULL && pco_server_is_serving(at.server);
    peer *other = serves ? speak_and_finish() : NULL;
    assert_true(reaches(&acted, 1));
    let_pass(20);
    clean_up(one, other);
}

static const char *const moment_names[] = {
    [AT_MADE] = "connection_made",  [AT_DATA] = "data_received",     [AT_EOF] = "eof_received",
    [AT_LOST] = "connection_lost",  [AT_PAUSE] = "pause_writing",    [AT_RESUME] = "resume_writing",
    [AT_GET_BUFFER] = "get_buffer", [AT_UPDATED] = "buffer_updated", [AT_FACTORY] = "the factory",
};

static void live_with_every_deed(moment when, bool buffered)
{
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        at.buffered = buffered;
        at.answers = i % 2 == 0 && when != AT_LOST; /* which must come by itself */
        what = deeds[i].what;
        lent = 0;
        live(when);
        if (at.violations != 0 || lent != 0) {
            fail_msg("%s in %s: %s", deeds[i].name, moment_names[when],
                     lent != 0 ? "memory was not given back" : at.violation);
        }
    }
}

#define EVERYTHING_IN(name, when, buffered)                                                        \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        live_with_every_deed(when, buffered);                                                      \
    }

EVERYTHING_IN(everything_in_the_factory, AT_FACTORY, false)
EVERYTHING_IN(everything_in_connection_made, AT_MADE, false)
EVERYTHING_IN(everything_in_data_received, AT_DATA, false)
EVERYTHING_IN(everything_in_eof_received, AT_EOF, false)
EVERYTHING_IN(everything_in_connection_lost, AT_LOST, false)
EVERYTHING_IN(everything_in_pause_writing, AT_PAUSE, false)
EVERYTHING_IN(everything_in_resume_writing, AT_RESUME, false)
EVERYTHING_IN(everything_in_connection_made_buffered, AT_MADE, true)
EVERYTHING_IN(everything_in_get_buffer, AT_GET_BUFFER, true)
EVERYTHING_IN(everything_in_buffer_updated, AT_UPDATED, true)
EVERYTHING_IN(everything_in_eof_received_buffered, AT_EOF, true)
EVERYTHING_IN(everything_in_pause_writing_buffered, AT_PAUSE, true)
EVERYTHING_IN(everything_in_resume_writing_buffered, AT_RESUME, true)

static const struct CMUnitTest tests[] = {
    TEST(everything_in_the_factory),
    TEST(everything_in_connection_made),
    TEST(everything_in_data_received),
    TEST(everything_in_eof_received),
    TEST(everything_in_connection_lost),
    TEST(everything_in_pause_writing),
    TEST(everything_in_resume_writing),
    TEST(everything_in_connection_made_buffered),
    TEST(everything_in_get_buffer),
    TEST(everything_in_buffer_updated),
    TEST(everything_in_eof_received_buffered),
    TEST(everything_in_pause_writing_buffered),
    TEST(everything_in_resume_writing_buffered),
};

int main(void)
{
    return run_on(pco__backends, true, tests, sizeof tests / sizeof tests[0]);
}
