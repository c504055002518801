/* SPDX-License-Identifier: MIT */
/*
 * Goal: named pipes are what portico/pipe.h says: the same transport and callbacks as with sockets,
 * whoever is at the other end and whatever it does; a name that nobody takes away; and only those
 * may open a pipe who are meant to.
 * Method: both ends of the library on one loop, or one of them and a plain program's calls, which
 * never wait here: the loop runs between them. Wine behaves as Windows is documented to, but where
 * something else is said. What a pipe's owner and DACL are is asked of the system.
 */
#include "win32/win32.h"

#include <sddl.h>

#include "behaviour.h"
#ifdef PORTICO_TEST_TLS
#include "make_certificates.h"
#endif

#include <portico/pipe.h>
#include <portico/ssl_context.h>

#define MANY 1000

/* ---- Names: each test has one of its own, and each run ---- */

static char name[64];

static DWORD count_handles(void)
{
    DWORD count = 0;
    assert_true(GetProcessHandleCount(GetCurrentProcess(), &count));
    return count;
}

static int begin(void **state)
{
    static unsigned number;
    snprintf(name, sizeof name, "portico-test-%lu-%u", GetCurrentProcessId(), ++number);
    return world_begin(state);
}

static const char *whole_name(void)
{
    static char whole[sizeof name + sizeof "\\\\.\\pipe\\"];
    snprintf(whole, sizeof whole, "\\\\.\\pipe\\%s", name);
    return whole;
}

/* ---- Both ends of the library's ---- */

typedef struct outcome {
    unsigned calls;
    int code;
    char message[sizeof((pco_error *)NULL)->message];
    pco_transport *transport;
    record *protocol;
    pco_request *request;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    told->calls++;
    told->code = error != NULL ? error->code : 0;
    snprintf(told->message, sizeof told->message, "%s", error != NULL ? error->message : "");
    told->transport = transport;
    told->protocol = (record *)protocol;
}

static pco_server_options pipe_server_options(void)
{
    pco_server_options options = server_options();
    options.host = NULL;
    return options;
}

static void serve_pipe_with(const pco_server_options *options)
{
    pco_error error = {0};
    int code = pco_loop_start_serving_pipe(at.loop, name, options, NULL, &at.server, &error);
    if (code != 0) {
        fail_msg("%s", error.message);
    }
}

static void serve_pipe(void)
{
    pco_server_options options = pipe_server_options();
    serve_pipe_with(&options);
}

static void begin_to_connect(outcome *told, double timeout)
{
    pco_error error = {0};
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .context = &at,
                                      .connect_timeout = timeout};
    memset(told, 0, sizeof *told);
    if (pco_loop_create_pipe_connection(at.loop, name, &options, note_connected, told,
                                        &told->request, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

static outcome connect_and_wait(double timeout)
{
    outcome told;
    begin_to_connect(&told, timeout);
    assert_true(reaches(&told.calls, 1));
    pco_request_release(told.request);
    return told;
}

/* A connection: both ends are made. */
typedef struct pair {
    pco_transport *client;
    record *of_client;
    pco_transport *server;
    record *of_server;
} pair;

static pair connect_pair(void)
{
    unsigned made = at.made;
    outcome told = connect_and_wait(0);
    if (told.code != 0) {
        fail_msg("%s", told.message);
    }
    assert_true(reaches(&at.made, made + 2));
    pair both = {.client = told.transport, .of_client = told.protocol};
    both.of_server = at.records != told.protocol ? at.records : at.records->next;
    both.server = both.of_server->transport;
    return both;
}

/* ---- Plain programs' calls ---- */

static WCHAR *wide_name(void)
{
    static WCHAR wide[128];
    MultiByteToWideChar(CP_UTF8, 0, whole_name(), -1, wide, 128);
    return wide;
}

static HANDLE plain_open(void)
{
    return CreateFileW(wide_name(), GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
}

/* A client whose connection is made. */
static HANDLE plain_client(void)
{
    unsigned made = at.made;
    HANDLE client = plain_open();
    assert_ptr_not_equal(client, INVALID_HANDLE_VALUE);
    assert_true(reaches(&at.made, made + 1));
    return client;
}

static HANDLE plain_server(DWORD type, DWORD instances)
{
    HANDLE instance = CreateNamedPipeW(wide_name(), PIPE_ACCESS_DUPLEX, type | PIPE_WAIT, instances,
                                       4096, 4096, 0, NULL);
    assert_ptr_not_equal(instance, INVALID_HANDLE_VALUE);
    return instance;
}

/* So little that the system takes it at once. */
static void plain_write(HANDLE pipe, const void *data, size_t length)
{
    DWORD written = 0;
    assert_true(WriteFile(pipe, data, (DWORD)length, &written, NULL));
    assert_int_equal(written, length);
}

typedef struct expected {
    HANDLE pipe;
    DWORD length;
} expected;

static bool has_come(void *context)
{
    const expected *wanted = context;
    DWORD available = 0;
    return !PeekNamedPipe(wanted->pipe, NULL, 0, NULL, &available, NULL) ||
           available >= wanted->length;
}

/* Reads so much once it is there. */
static void plain_read(HANDLE pipe, void *memory, size_t length)
{
    expected wanted = {pipe, (DWORD)length};
    DWORD got = 0;
    assert_true(happens(has_come, &wanted));
    assert_true(ReadFile(pipe, memory, (DWORD)length, &got, NULL));
    assert_int_equal(got, length);
}

static void assert_plain_end(HANDLE pipe)
{
    char byte;
    DWORD got = 0;
    assert_false(ReadFile(pipe, &byte, 1, &got, NULL));
    assert_int_equal(GetLastError(), ERROR_BROKEN_PIPE);
}

/* ---- Talking ---- */

static void both_ends_talk(void **state)
{
    (void)state;
    serve_pipe();
    pair both = connect_pair();
    pco_transport_write(both.client, "question", 8);
    assert_true(grows_to(&both.of_server->length, 8));
    assert_memory_equal(both.of_server->data, "question", 8);
    pco_transport_write(both.server, "answer", 6);
    assert_true(grows_to(&both.of_client->length, 6));
    assert_memory_equal(both.of_client->data, "answer", 6);
    pco_transport_close(both.client);
    assert_true(all_are_lost());
    assert_string_equal(both.of_server->story, "MDEL");
    assert_true(both.of_server->lost_cleanly);
    assert_true(both.of_client->lost_cleanly);
}

static void the_whole_name_in_whatever_case_is_the_same_pipe(void **state)
{
    (void)state;
    serve_pipe();
    char loud[128];
    snprintf(loud, sizeof loud, "%s", whole_name());
    for (char *letter = loud; *letter != '\0'; letter++) {
        *letter = *letter >= 'a' && *letter <= 'z' ? (char)(*letter - 'a' + 'A') : *letter;
    }
    const char *names[] = {whole_name(), loud};
    for (size_t i = 0; i < 2; i++) {
        outcome told = {0};
        pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
        assert_int_equal(pco_loop_create_pipe_connection(at.loop, names[i], &options,
                                                         note_connected, &told, NULL, NULL),
                         0);
        assert_true(reaches(&told.calls, 1));
        assert_int_equal(told.code, 0);
    }
}

/* 6 MB each way, at once: more than buffers and water marks hold. */
static void much_data_flows_both_ways_under_the_water_marks(void **state)
{
    (void)state;
    const size_t much = (size_t)6 << 20;
    serve_pipe();
    pair both = connect_pair();
    pco_transport_write(both.client, pattern(much), much);
    pco_transport_write(both.server, pattern(much), much);
    assert_int_equal(both.of_client->counts[AT_PAUSE], 1);
    assert_int_equal(both.of_server->counts[AT_PAUSE], 1);
    assert_true(grows_to(&both.of_server->length, much));
    assert_true(grows_to(&both.of_client->length, much));
    assert_memory_equal(both.of_server->data, pattern(much), much);
    assert_memory_equal(both.of_client->data, pattern(much), much);
    assert_true(reaches(&both.of_client->counts[AT_RESUME], 1));
    assert_true(reaches(&both.of_server->counts[AT_RESUME], 1));
}

static void a_buffered_protocol_reads_into_memory_of_its_own(void **state)
{
    (void)state;
    at.buffered = true;
    serve_pipe();
    pair both = connect_pair();
    pco_transport_write(both.client, pattern(100000), 100000);
    assert_true(grows_to(&both.of_server->length, 100000));
    assert_memory_equal(both.of_server->data, pattern(100000), 100000);
    pco_transport_close(both.client);
    assert_true(all_are_lost());
    assert_true(both.of_server->lost_cleanly);
}

static void who_pauses_reading_is_given_nothing_and_loses_nothing(void **state)
{
    (void)state;
    const size_t much = (size_t)1 << 20;
    serve_pipe();
    pair both = connect_pair();
    assert_int_equal(pco_transport_pause_reading(both.server), 0);
    pco_transport_write(both.client, pattern(much), much);
    let_pass(20);
    assert_int_equal(both.of_server->length, 0);
    assert_true(both.of_client->paused);
    assert_int_equal(pco_transport_resume_reading(both.server), 0);
    assert_true(grows_to(&both.of_server->length, much));
    assert_memory_equal(both.of_server->data, pattern(much), much);
    assert_true(reaches(&both.of_client->counts[AT_RESUME], 1));
}

static void the_end_that_comes_while_reading_is_paused_waits(void **state)
{
    (void)state;
    serve_pipe();
    HANDLE client = plain_client();
    pco_transport *transport = newest()->transport;
    pco_transport_pause_reading(transport);
    let_pass(3);
    plain_write(client, "last words", 10);
    CloseHandle(client);
    let_pass(20);
    assert_string_equal(newest()->story, "M");
    pco_transport_resume_reading(transport);
    assert_true(all_are_lost());
    assert_string_equal(newest()->story, "MDEL");
    assert_memory_equal(newest()->data, "last words", 10);
    assert_true(newest()->lost_cleanly);
}

static void a_pipe_has_no_half_and_no_addresses(void **state)
{
    (void)state;
    pco_address address;
    serve_pipe();
    pair both = connect_pair();
    assert_false(pco_transport_can_write_eof(both.client));
    assert_int_equal(pco_transport_write_eof(both.client), PCO_ENOTSUP);
    assert_int_equal(pco_transport_write_eof(both.server), PCO_ENOTSUP);
    /* Wine does not tell a handle that is no socket from a call that a socket does not have. */
    const int codes[] = {pco_transport_get_sockname(both.client, &address),
                         pco_transport_get_peername(both.server, &address),
                         pco_server_get_sockname(at.server, 0, &address)};
    for (size_t i = 0; i < 3; i++) {
        assert_true(codes[i] == PCO_ENOTSOCK || codes[i] == PCO_ENOTSUP);
    }
    pco_transport_counters counters = {.size = sizeof counters};
    assert_int_equal(pco_transport_get_counters(both.client, &counters), PCO_ENOTSUP);
    assert_int_equal(GetFileType((HANDLE)pco_transport_get_socket(both.client)), FILE_TYPE_PIPE);
    pco_transport_write(both.client, "still here", 10);
    assert_true(grows_to(&both.of_server->length, 10));
}

/* ---- Ending ---- */

static void close_flushes_to_a_peer_that_reads(void **state)
{
    (void)state;
    const size_t much = (size_t)1 << 20;
    serve_pipe();
    pair both = connect_pair();
    pco_transport_write(both.server, pattern(much), much);
    pco_transport_close(both.server);
    assert_true(all_are_lost());
    assert_int_equal(both.of_client->length, much);
    assert_memory_equal(both.of_client->data, pattern(much), much);
    assert_true(both.of_client->lost_cleanly);
    assert_true(both.of_server->lost_cleanly);
}

static void what_was_written_stays_readable_when_the_end_is_closed(void **state)
{
    (void)state;
    unsigned char got[30000];
    serve_pipe();
    HANDLE client = plain_client();
    pco_transport_write(newest()->transport, pattern(sizeof got), sizeof got);
    pco_transport_close(newest()->transport);
    assert_true(all_are_lost());
    plain_read(client, got, sizeof got);
    assert_memory_equal(got, pattern(sizeof got), sizeof got);
    assert_plain_end(client);
    CloseHandle(client);
}

static void a_client_of_ours_that_closes_leaves_its_words_too(void **state)
{
    (void)state;
    char got[8];
    HANDLE server = plain_server(PIPE_TYPE_BYTE, 1);
    outcome told = connect_and_wait(0);
    assert_int_equal(told.code, 0);
    pco_transport_write(told.transport, "farewell", 8);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
    plain_read(server, got, 8);
    assert_memory_equal(got, "farewell", 8);
    assert_plain_end(server);
    CloseHandle(server);
}

static void close_gives_a_peer_up_that_takes_nothing(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    options.close_timeout = 0.05;
    serve_pipe_with(&options);
    HANDLE client = plain_client();
    pco_transport_write(newest()->transport, pattern(1 << 20), 1 << 20);
    pco_transport_close(newest()->transport);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ETIMEDOUT);
    CloseHandle(client);
}

static void abort_ends_with_everything_in_flight(void **state)
{
    (void)state;
    serve_pipe();
    HANDLE client = plain_client();
    pco_transport_write(newest()->transport, pattern(1 << 20), 1 << 20);
    let_pass(3);
    pco_transport_abort(newest()->transport);
    assert_true(all_are_lost());
    assert_true(newest()->lost_cleanly);
    CloseHandle(client);
    client = plain_client();
    pco_transport_write(newest()->transport, pattern(1 << 20), 1 << 20);
    pco_transport_abort_reset(newest()->transport);
    assert_true(all_are_lost());
    CloseHandle(client);
}

static void a_peer_that_vanishes_is_the_end_and_then_a_reset(void **state)
{
    (void)state;
    at.answers = true; /* eof_received keeps it open, to no use */
    serve_pipe();
    HANDLE client = plain_client();
    CloseHandle(client);
    assert_true(reaches(&newest()->counts[AT_EOF], 1));
    pco_transport_write(newest()->transport, "hello?", 6);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ECONNRESET);
}

static void a_peer_that_vanishes_under_a_write_resets_it(void **state)
{
    (void)state;
    serve_pipe();
    HANDLE client = plain_client();
    pco_transport_pause_reading(newest()->transport);
    pco_transport_write(newest()->transport, pattern(1 << 20), 1 << 20);
    let_pass(3);
    CloseHandle(client);
    assert_true(all_are_lost());
    assert_int_equal(lost_with(newest()), PCO_ECONNRESET);
}

static void a_server_that_disconnects_resets_its_client(void **state)
{
    (void)state;
    HANDLE server = plain_server(PIPE_TYPE_BYTE, 1);
    outcome told = connect_and_wait(0);
    assert_int_equal(told.code, 0);
    plain_write(server, "lost", 4);
    assert_true(DisconnectNamedPipe(server));
    assert_true(all_are_lost());
    assert_int_equal(lost_with(told.protocol), PCO_ECONNRESET);
    CloseHandle(server);
}

/* Such a server's pipe is read as bytes; a message of no bytes is nothing. */
static void a_pipe_of_messages_is_read_as_bytes(void **state)
{
    (void)state;
    char got[2];
    HANDLE server = plain_server(PIPE_TYPE_MESSAGE, 1);
    outcome told = connect_and_wait(0);
    assert_int_equal(told.code, 0);
    plain_write(server, "one", 3);
    plain_write(server, "", 0);
    plain_write(server, pattern(2000), 2000);
    assert_true(grows_to(&told.protocol->length, 2003));
    assert_memory_equal(told.protocol->data, "one", 3);
    assert_memory_equal(told.protocol->data + 3, pattern(2000), 2000);
    pco_transport_write(told.transport, "ok", 2);
    plain_read(server, got, 2);
    assert_memory_equal(got, "ok", 2);
    CloseHandle(server);
    assert_true(all_are_lost());
    assert_true(told.protocol->lost_cleanly);
}

/* ---- Servers ---- */

static void a_silent_client_holds_nobody_up(void **state)
{
    (void)state;
    serve_pipe();
    HANDLE silent = plain_client();
    pair both = connect_pair();
    pco_transport_write(both.client, "hello", 5);
    assert_true(grows_to(&both.of_server->length, 5));
    CloseHandle(silent);
}

/* More than there are instances, each gone before the loop looks at it. */
static void clients_that_vanish_at_once_do_not_stop_a_server(void **state)
{
    (void)state;
    serve_pipe();
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 100; i++) {
            HANDLE client = plain_open();
            if (client != INVALID_HANDLE_VALUE) {
                CloseHandle(client);
            } else {
                assert_int_equal(GetLastError(), ERROR_PIPE_BUSY);
            }
        }
        let_pass(5);
    }
    pair both = connect_pair();
    pco_transport_write(both.client, "hello", 5);
    assert_true(grows_to(&both.of_server->length, 5));
    assert_int_equal(counters_of(at.server).accept_errors, 0);
}

/* Once all that it was sent has come; what is marked are the clients' ends. */
static void answer_clients(record *self, pco_transport *transport)
{
    if (!self->marked && self->length == sizeof(unsigned)) {
        enter_call();
        pco_transport_write(transport, self->data, self->length);
        leave_call();
    }
}

static void a_thousand_clients_come_to_one_pipe(void **state)
{
    (void)state;
    outcome *told = calloc(MANY, sizeof *told);
    unsigned served = 0;
    assert_non_null(told);
    serve_pipe();
    for (unsigned i = 0; i < MANY; i++) {
        begin_to_connect(&told[i], INFINITY); /* time decides nothing here */
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(reaches(&told[i].calls, 1));
        pco_request_release(told[i].request);
        served += told[i].code == 0;
    }
    assert_int_equal(served, MANY);
    assert_true(reaches(&at.made, 2 * MANY));
    at.at[AT_DATA] = answer_clients;
    for (unsigned i = 0; i < MANY; i++) {
        told[i].protocol->marked = true;
        pco_transport_write(told[i].transport, &i, sizeof i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(grows_to(&told[i].protocol->length, sizeof i));
        assert_memory_equal(told[i].protocol->data, &i, sizeof i);
    }
    assert_int_equal(at.lost, 0); /* all of them at the same time */
    for (unsigned i = 0; i < MANY; i++) {
        pco_transport_close(told[i].transport);
    }
    assert_true(all_are_lost());
    assert_int_equal(counters_of(at.server).accepted, MANY);
    free(told);
}

/* Half of them say nothing, and of the other half each goes without a word. */
static void a_thousand_bad_clients_hold_nobody_up(void **state)
{
    (void)state;
    HANDLE *clients = calloc(MANY, sizeof *clients);
    assert_non_null(clients);
    serve_pipe();
    for (unsigned i = 0; i < MANY; i++) {
        clients[i] = plain_client();
    }
    assert_int_equal(at.lost, 0);
    for (unsigned i = 0; i < MANY; i += 2) {
        CloseHandle(clients[i]);
    }
    assert_true(reaches(&at.lost, MANY / 2));
    pair both = connect_pair();
    pco_transport_write(both.client, "hello", 5);
    assert_true(grows_to(&both.of_server->length, 5));
    pco_transport_close(both.client);
    for (unsigned i = 1; i < MANY; i += 2) {
        CloseHandle(clients[i]);
    }
    assert_true(all_are_lost());
    free(clients);
}

static void a_name_is_served_once(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_server *second = NULL;
    pco_error error = {0};
    serve_pipe();
    assert_int_equal(pco_loop_start_serving_pipe(at.loop, name, &options, NULL, &second, &error),
                     PCO_EADDRINUSE);
    assert_non_null(strstr(error.message, name));
    assert_non_null(strstr(error.message, "in use"));
    assert_null(second);
    end_server();
    serve_pipe();
    connect_pair();
}

static void the_pipe_of_a_plain_program_is_not_joined(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    HANDLE other = plain_server(PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES);
    assert_int_equal(pco_loop_start_serving_pipe(at.loop, name, &options, NULL, &at.server, NULL),
                     PCO_EADDRINUSE);
    CloseHandle(other);
    serve_pipe();
}

/* Another's instance would take clients away. */
static void a_full_server_keeps_its_name_and_serves_who_waits(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_server *second = NULL;
    options.max_connections = 1;
    serve_pipe_with(&options);
    pair first = connect_pair();
    outcome told[40];
    for (unsigned i = 0; i < 40; i++) {
        begin_to_connect(&told[i], INFINITY); /* time decides nothing here */
    }
    let_pass(20);
    assert_int_equal(pco_loop_start_serving_pipe(at.loop, name, &options, NULL, &second, NULL),
                     PCO_EADDRINUSE);
    at.at[AT_MADE] = NULL;
    pco_transport_close(first.client);
    for (unsigned i = 0; i < 40; i++) {
        assert_true(reaches(&told[i].calls, 1));
        assert_int_equal(told[i].code, 0);
        pco_request_release(told[i].request);
        pco_transport_close(told[i].transport);
    }
    assert_true(all_are_lost());
    assert_int_equal(counters_of(at.server).accepted, 41);
}

static void before_it_serves_clients_wait(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    outcome told;
    options.start_serving = PCO_OFF;
    serve_pipe_with(&options);
    begin_to_connect(&told, INFINITY);
    let_pass(5);
    assert_int_equal(told.calls, 0);
    HANDLE plain = plain_open();
    assert_ptr_equal(plain, INVALID_HANDLE_VALUE);
    assert_int_equal(GetLastError(), ERROR_PIPE_BUSY);
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, 0);
    assert_true(reaches(&at.made, 2));
    pco_request_release(told.request);
}

static void a_server_is_closed_with_its_accepts_in_flight(void **state)
{
    (void)state;
    serve_pipe();
    pair both = connect_pair();
    pco_server_close(at.server);
    assert_ptr_equal(plain_open(), INVALID_HANDLE_VALUE);
    pco_transport_write(both.client, "goes on", 7);
    assert_true(grows_to(&both.of_server->length, 7));
    pco_transport_close(both.client);
    assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
    assert_true(reaches(&at.closed_calls, 1));
    assert_true(all_are_lost());
    assert_int_equal(connect_and_wait(0).code, PCO_ENOENT);
}

static void clients_that_came_before_the_close_are_closed(void **state)
{
    (void)state;
    serve_pipe();
    HANDLE client = plain_open();
    assert_ptr_not_equal(client, INVALID_HANDLE_VALUE);
    end_server();
    assert_int_equal(at.made, 0);
    assert_plain_end(client);
    CloseHandle(client);
}

static void no_handle_is_left_and_none_is_inherited(void **state)
{
    (void)state;
    DWORD flags = HANDLE_FLAG_INHERIT;
    serve_pipe();
    connect_pair(); /* what is made once is there */
    DWORD before = count_handles();
    for (unsigned i = 0; i < 20; i++) {
        pair both = connect_pair();
        assert_true(GetHandleInformation((HANDLE)pco_transport_get_socket(both.client), &flags));
        assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
        assert_true(GetHandleInformation((HANDLE)pco_transport_get_socket(both.server), &flags));
        assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
        pco_transport_close(both.server);
        assert_true(reaches(&at.lost, 2 * (i + 1)));
        let_pass(2);
    }
    assert_int_equal(count_handles(), before);
}

/* ---- Connecting ---- */

static void a_pipe_that_nobody_serves_is_not_there(void **state)
{
    (void)state;
    outcome told = connect_and_wait(0);
    assert_int_equal(told.code, PCO_ENOENT);
    assert_non_null(strstr(told.message, name));
    assert_int_equal(at.factory_calls, 0);
}

static void a_busy_pipe_is_waited_for(void **state)
{
    (void)state;
    outcome told;
    HANDLE server = plain_server(PIPE_TYPE_BYTE, 2);
    HANDLE client = plain_open();
    assert_int_equal(connect_and_wait(0.05).code, PCO_ETIMEDOUT);
    begin_to_connect(&told, INFINITY);
    let_pass(5);
    assert_int_equal(told.calls, 0);
    HANDLE another = plain_server(PIPE_TYPE_BYTE, 2);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, 0);
    pco_request_release(told.request);
    CloseHandle(another);
    CloseHandle(client);
    CloseHandle(server);
}

static void who_waits_for_a_busy_pipe_can_be_canceled(void **state)
{
    (void)state;
    outcome told;
    HANDLE server = plain_server(PIPE_TYPE_BYTE, 1);
    HANDLE client = plain_open();
    begin_to_connect(&told, 0);
    let_pass(5);
    pco_request_cancel(told.request);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_release(told.request);
    CloseHandle(client);
    CloseHandle(server);
}

/* ---- Names ---- */

static int serve_as(const char *wanted, pco_error *error)
{
    pco_server_options options = pipe_server_options();
    memset(error, 0, sizeof *error);
    int code = pco_loop_start_serving_pipe(at.loop, wanted, &options, NULL, &at.server, error);
    pco_server_free(at.server);
    at.server = NULL;
    return code;
}

static int connect_to(const char *wanted)
{
    outcome told = {0};
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, wanted, &options, note_connected,
                                                     &told, NULL, NULL),
                     0);
    assert_true(reaches(&told.calls, 1));
    return told.code;
}

static void a_name_of_256_characters_is_taken_and_no_longer_one(void **state)
{
    (void)state;
    char longest[249]; /* with the prefix, 256 */
    pco_error error;
    memset(longest, 'n', sizeof longest - 2);
    longest[sizeof longest - 2] = '\0';
    assert_int_equal(serve_as(longest, &error), 0);
    longest[sizeof longest - 2] = 'n';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(serve_as(longest, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "too long"));
    assert_int_equal(connect_to(longest), PCO_EINVAL);
}

static void a_name_is_utf8(void **state)
{
    (void)state;
    pco_error error;
    assert_int_equal(serve_as("portico-\xC3\xA4-test", &error), 0);
    assert_int_equal(serve_as("portico-\xC3-test", &error), PCO_EINVAL);
    assert_int_equal(connect_to("portico-\xC3-test"), PCO_EINVAL);
}

/* ---- Who may open it ---- */

static char *sddl_of(HANDLE pipe, SECURITY_INFORMATION what)
{
    static char text[512];
    unsigned char descriptor[1024];
    DWORD length = 0;
    char *made = NULL;
    assert_true(GetKernelObjectSecurity(pipe, what, descriptor, sizeof descriptor, &length));
    assert_true(ConvertSecurityDescriptorToStringSecurityDescriptorA(descriptor, SDDL_REVISION_1,
                                                                     what, &made, NULL));
    snprintf(text, sizeof text, "%s", made);
    LocalFree(made);
    return text;
}

/* This user's SID. */
static char *own_sid(void)
{
    static char text[200];
    unsigned char memory[256];
    DWORD length = 0;
    HANDLE token;
    char *made = NULL;
    assert_true(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token));
    assert_true(GetTokenInformation(token, TokenUser, memory, sizeof memory, &length));
    CloseHandle(token);
    assert_true(ConvertSidToStringSidA(((TOKEN_USER *)(void *)memory)->User.Sid, &made));
    snprintf(text, sizeof text, "%s", made);
    LocalFree(made);
    return text;
}

static void only_this_user_and_the_system_may_open_each_instance(void **state)
{
    (void)state;
    char owner[256];
    char dacl[512];
    serve_pipe();
    pair both = connect_pair();
    HANDLE ends[] = {(HANDLE)pco_transport_get_socket(both.client),
                     (HANDLE)pco_transport_get_socket(both.server),
                     (HANDLE)pco_server_get_socket(at.server, 0)};
    snprintf(owner, sizeof owner, "O:%s", own_sid());
    snprintf(dacl, sizeof dacl, "D:P(A;;GA;;;SY)(A;;GA;;;%s)", own_sid());
    for (size_t i = 0; i < 3; i++) {
        char *text = sddl_of(ends[i], DACL_SECURITY_INFORMATION);
        /* Windows writes the rights down as those of files. */
        if (strstr(text, "FA") != NULL) {
            snprintf(dacl, sizeof dacl, "D:P(A;;FA;;;SY)(A;;FA;;;%s)", own_sid());
        }
        assert_string_equal(text, dacl);
        assert_string_equal(sddl_of(ends[i], OWNER_SECURITY_INFORMATION), owner);
    }
}

static int serve_by(const char *sddl, pco_error *error)
{
    pco_server_options options = pipe_server_options();
    pco_pipe_options pipe = {.size = sizeof pipe, .sddl = sddl};
    memset(error, 0, sizeof *error);
    return pco_loop_start_serving_pipe(at.loop, name, &options, &pipe, &at.server, error);
}

static void an_sddl_of_the_programs_says_who_may(void **state)
{
    (void)state;
    pco_error error;
    assert_int_equal(serve_by("D:(A;;GA;;;OW)(A;;GA;;;SY)(A;;0x12019b;;;AU)", &error), 0);
    pair both = connect_pair();
    HANDLE end = (HANDLE)pco_transport_get_socket(both.server);
    assert_non_null(strstr(sddl_of(end, DACL_SECURITY_INFORMATION), ";AU)"));
    assert_non_null(strstr(sddl_of(end, OWNER_SECURITY_INFORMATION), own_sid()));
}

static void an_sddl_that_is_none_is_refused_with_a_sentence(void **state)
{
    (void)state;
    const char *bad[] = {"everybody", "D:(A;;GA;;;", "O:SY", "", "D:(A;;GA;;;\xC3)"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pco_error error;
        assert_int_equal(serve_by(bad[i], &error), PCO_EINVAL);
        assert_non_null(strstr(error.message, "sddl"));
        assert_null(at.server);
    }
    serve_pipe(); /* the name is free */
}

static void the_process_at_the_other_end_is_told(void **state)
{
    (void)state;
    serve_pipe();
    pair both = connect_pair();
    const pco_transport *ends[] = {both.client, both.server};
    for (size_t i = 0; i < 2; i++) {
        pco_credentials found = {.size = sizeof found};
        assert_int_equal(pco_transport_get_peer_credentials(ends[i], &found), 0);
        assert_int_equal(found.process, GetCurrentProcessId());
        assert_int_equal(found.user, -1);
        assert_int_equal(found.group, -1);
    }
}

/* ---- TLS ---- */

#ifdef PORTICO_TEST_TLS
static pco_ssl_context *client_context(void)
{
    pco_ssl_context *context = NULL;
    const certificate *authority = &certificates_get()->ca;
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = authority->pem, .ca_pem_length = authority->pem_length};
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    return context;
}

static void tls_works_over_a_pipe(void **state)
{
    (void)state;
    const size_t much = (size_t)2 << 20;
    outcome told = {0};
    at.tls = true;
    pco_ssl_context *context = client_context();
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .ssl = context,
                                      .server_hostname = "localhost"};
    serve_pipe();
    assert_int_equal(
        pco_loop_create_pipe_connection(at.loop, name, &options, note_connected, &told, NULL, NULL),
        0);
    pco_ssl_context_release(context);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, 0);
    assert_true(reaches(&at.made, 2));
    record *other = at.records != told.protocol ? at.records : at.records->next;
    pco_transport_write(told.transport, pattern(much), much);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
    assert_int_equal(other->length, much);
    assert_memory_equal(other->data, pattern(much), much);
    assert_true(other->lost_cleanly);
    assert_true(told.protocol->lost_cleanly);
}

static void a_failed_handshake_is_told_at_both_ends(void **state)
{
    (void)state;
    outcome told = {0};
    at.tls = true;
    pco_ssl_context *context = client_context();
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .ssl = context,
                                      .server_hostname = "somebody.else"};
    serve_pipe();
    assert_int_equal(
        pco_loop_create_pipe_connection(at.loop, name, &options, note_connected, &told, NULL, NULL),
        0);
    pco_ssl_context_release(context);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, PCO_ECERT);
    assert_non_null(strstr(told.message, name));
    assert_true(reaches(&at.failures, 1));
    assert_int_equal(at.made, 0);
}
#endif

/* ---- Everything at once, and nothing ---- */

static void a_loop_is_freed_with_everything_in_flight(void **state)
{
    (void)state;
    outcome told[4];
    pco_server_options options = pipe_server_options();
    options.max_connections = 3;
    serve_pipe_with(&options);
    pair busy = connect_pair();
    connect_pair();
    HANDLE client = plain_client();
    pco_transport_write(newest()->transport, pattern(1 << 20), 1 << 20);
    pco_transport_pause_reading(busy.client);
    pco_transport_write(busy.server, pattern(1 << 20), 1 << 20);
    for (unsigned i = 0; i < 4; i++) {
        begin_to_connect(&told[i], 0);
    }
    let_pass(1);
    world_free_loop();
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(told[i].calls, 1);
        pco_request_release(told[i].request);
    }
    CloseHandle(client);
}

/* Every allocation fails in its turn: all is given back, and the next try is as good. */
static void want_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    serve_pipe();
    pco_transport_close(connect_pair().client); /* what is made once is there */
    end_server();
    pco_server_options options = pipe_server_options();
    pco_pipe_options pipe = {.size = sizeof pipe, .sddl = "D:(A;;GA;;;OW)"};
    size_t nth = 0;
    int code;
    do {
        memory_fail(++nth, false);
        code = pco_loop_start_serving_pipe(at.loop, name, &options, &pipe, &at.server, NULL);
        bool failed = memory_has_failed();
        memory_fail(0, false);
        assert_true(code == 0 || (failed && code == PCO_ENOMEM && at.server == NULL));
    } while (code != 0);
    assert_in_range(nth, 4, 40);
    let_pass(2);
    outcome told;
    nth = 0;
    do {
        memory_fail(++nth, false);
        memset(&told, 0, sizeof told);
        pco_connection_options of_client = {.size = sizeof of_client,
                                            .protocol_factory = make_record};
        code = pco_loop_create_pipe_connection(at.loop, name, &of_client, note_connected, &told,
                                               NULL, NULL);
        if (code == 0) {
            assert_true(reaches(&told.calls, 1));
            code = told.code;
        }
        memory_fail(0, false);
        assert_true(code == 0 || code == PCO_ENOMEM);
        let_pass(3);
    } while (code != 0 || nth < 12);
}

/* ---- Detaching ---- */

static pco_socket detached_pipe;

static void note_detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                          void *context)
{
    unsigned *calls = context;
    (void)data, (void)length, (void)error;
    detached_pipe = sock;
    ++*calls;
}

static void a_detached_pipe_is_the_callers(void **state)
{
    (void)state;
    unsigned calls = 0;
    char got[5];
    serve_pipe();
    HANDLE client = plain_client();
    pco_transport_write(newest()->transport, "first", 5);
    assert_int_equal(pco_transport_detach(newest()->transport, note_detached, &calls, NULL, NULL),
                     0);
    assert_true(reaches(&calls, 1));
    assert_int_not_equal(detached_pipe, PCO_NO_SOCKET);
    plain_read(client, got, 5);
    assert_memory_equal(got, "first", 5);
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    overlapped.hEvent = (HANDLE)((ULONG_PTR)overlapped.hEvent | 1);
    assert_true(WriteFile((HANDLE)detached_pipe, "again", 5, NULL, &overlapped));
    plain_read(client, got, 5);
    assert_memory_equal(got, "again", 5);
    CloseHandle((HANDLE)((ULONG_PTR)overlapped.hEvent & ~(ULONG_PTR)1));
    CloseHandle((HANDLE)detached_pipe);
    CloseHandle(client);
}

#define PIPE_TEST(test) cmocka_unit_test_setup_teardown(test, begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PIPE_TEST(both_ends_talk),
        PIPE_TEST(the_whole_name_in_whatever_case_is_the_same_pipe),
        PIPE_TEST(much_data_flows_both_ways_under_the_water_marks),
        PIPE_TEST(a_buffered_protocol_reads_into_memory_of_its_own),
        PIPE_TEST(who_pauses_reading_is_given_nothing_and_loses_nothing),
        PIPE_TEST(the_end_that_comes_while_reading_is_paused_waits),
        PIPE_TEST(a_pipe_has_no_half_and_no_addresses),
        PIPE_TEST(close_flushes_to_a_peer_that_reads),
        PIPE_TEST(what_was_written_stays_readable_when_the_end_is_closed),
        PIPE_TEST(a_client_of_ours_that_closes_leaves_its_words_too),
        PIPE_TEST(close_gives_a_peer_up_that_takes_nothing),
        PIPE_TEST(abort_ends_with_everything_in_flight),
        PIPE_TEST(a_peer_that_vanishes_is_the_end_and_then_a_reset),
        PIPE_TEST(a_peer_that_vanishes_under_a_write_resets_it),
        PIPE_TEST(a_server_that_disconnects_resets_its_client),
        PIPE_TEST(a_pipe_of_messages_is_read_as_bytes),
        PIPE_TEST(a_detached_pipe_is_the_callers),
        PIPE_TEST(a_silent_client_holds_nobody_up),
        PIPE_TEST(clients_that_vanish_at_once_do_not_stop_a_server),
        PIPE_TEST(a_thousand_clients_come_to_one_pipe),
        PIPE_TEST(a_thousand_bad_clients_hold_nobody_up),
        PIPE_TEST(a_name_is_served_once),
        PIPE_TEST(the_pipe_of_a_plain_program_is_not_joined),
        PIPE_TEST(a_full_server_keeps_its_name_and_serves_who_waits),
        PIPE_TEST(before_it_serves_clients_wait),
        PIPE_TEST(a_server_is_closed_with_its_accepts_in_flight),
        PIPE_TEST(clients_that_came_before_the_close_are_closed),
        PIPE_TEST(no_handle_is_left_and_none_is_inherited),
        PIPE_TEST(a_pipe_that_nobody_serves_is_not_there),
        PIPE_TEST(a_busy_pipe_is_waited_for),
        PIPE_TEST(who_waits_for_a_busy_pipe_can_be_canceled),
        PIPE_TEST(a_name_of_256_characters_is_taken_and_no_longer_one),
        PIPE_TEST(a_name_is_utf8),
        PIPE_TEST(only_this_user_and_the_system_may_open_each_instance),
        PIPE_TEST(an_sddl_of_the_programs_says_who_may),
        PIPE_TEST(an_sddl_that_is_none_is_refused_with_a_sentence),
        PIPE_TEST(the_process_at_the_other_end_is_told),
#ifdef PORTICO_TEST_TLS
        PIPE_TEST(tls_works_over_a_pipe),
        PIPE_TEST(a_failed_handshake_is_told_at_both_ends),
#endif
        PIPE_TEST(a_loop_is_freed_with_everything_in_flight),
        PIPE_TEST(want_of_memory_leaves_nothing_behind),
    };
    return run_here("pipes", tests, sizeof tests / sizeof tests[0]);
}
