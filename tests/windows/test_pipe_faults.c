/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever fails in the life of a pipe, who asked is told, nothing is left, no memory and no
 * handle, and the next life is as good as any.
 * Method: a server and a client live a whole life, from the name to its end, over and over, and
 * each time the next call of the system's, or the next allocation, fails. Life ends by what
 * happens, not by time. The last tests have something fail for ever, until it does no more. What
 * comes between two calls of the library's is made by a call of the test's own in their place.
 */
#include "win32/win32.h"

#include <sddl.h>

#include "behaviour.h"
#include "imports.h"

#include <portico/pipe.h>

/* More than a pipe's buffers hold, in several segments. */
#define MUCH ((size_t)200000)

/* More than a life has of anything. */
#define LIVES 400

/* ---- Calls of the system's that fail ---- */

static size_t countdown;    /* to the call that fails; 0: none does */
static bool fails_for_ever; /* ...and all after it */
static bool has_failed;

static bool fails_now(void)
{
    if (countdown == 0 || --countdown != 0) {
        return false;
    }
    countdown = fails_for_ever ? 1 : 0;
    has_failed = true;
    SetLastError(ERROR_NO_SYSTEM_RESOURCES);
    return true;
}

static void let_fail(size_t nth, bool for_ever)
{
    countdown = nth;
    fails_for_ever = for_ever;
    has_failed = false;
}

#define FAILING(name, result, failed, parameters, arguments)                                       \
    static result(WINAPI *real_##name) parameters;                                                 \
    static result WINAPI try_##name parameters                                                     \
    {                                                                                              \
        return fails_now() ? (failed) : real_##name arguments;                                     \
    }

FAILING(CreateNamedPipeW, HANDLE, INVALID_HANDLE_VALUE,
        (LPCWSTR name, DWORD mode, DWORD type, DWORD most, DWORD out, DWORD in, DWORD patience,
         LPSECURITY_ATTRIBUTES who),
        (name, mode, type, most, out, in, patience, who))
FAILING(ConnectNamedPipe, BOOL, FALSE, (HANDLE pipe, LPOVERLAPPED overlapped), (pipe, overlapped))
FAILING(DisconnectNamedPipe, BOOL, FALSE, (HANDLE pipe), (pipe))
FAILING(CreateFileW, HANDLE, INVALID_HANDLE_VALUE,
        (LPCWSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES who, DWORD how, DWORD flags,
         HANDLE model),
        (name, access, share, who, how, flags, model))
FAILING(CreateIoCompletionPort, HANDLE, NULL,
        (HANDLE file, HANDLE port, ULONG_PTR key, DWORD threads), (file, port, key, threads))
FAILING(CreateEventW, HANDLE, NULL,
        (LPSECURITY_ATTRIBUTES who, BOOL manual, BOOL set, LPCWSTR name), (who, manual, set, name))
FAILING(PostQueuedCompletionStatus, BOOL, FALSE,
        (HANDLE port, DWORD length, ULONG_PTR key, LPOVERLAPPED overlapped),
        (port, length, key, overlapped))
FAILING(PeekNamedPipe, BOOL, FALSE,
        (HANDLE pipe, LPVOID data, DWORD size, LPDWORD got, LPDWORD available, LPDWORD left),
        (pipe, data, size, got, available, left))
FAILING(ReadFile, BOOL, FALSE,
        (HANDLE file, LPVOID data, DWORD size, LPDWORD got, LPOVERLAPPED overlapped),
        (file, data, size, got, overlapped))
FAILING(WriteFile, BOOL, FALSE,
        (HANDLE file, LPCVOID data, DWORD size, LPDWORD written, LPOVERLAPPED overlapped),
        (file, data, size, written, overlapped))
FAILING(OpenProcessToken, BOOL, FALSE, (HANDLE process, DWORD access, PHANDLE token),
        (process, access, token))
FAILING(GetTokenInformation, BOOL, FALSE,
        (HANDLE token, TOKEN_INFORMATION_CLASS what, LPVOID data, DWORD size, PDWORD length),
        (token, what, data, size, length))
FAILING(ConvertSidToStringSidW, BOOL, FALSE, (PSID sid, LPWSTR *text), (sid, text))
FAILING(ConvertStringSecurityDescriptorToSecurityDescriptorW, BOOL, FALSE,
        (LPCWSTR text, DWORD revision, PSECURITY_DESCRIPTOR *descriptor, PULONG size),
        (text, revision, descriptor, size))

/* ---- A life ---- */

static char name[64];

typedef struct life {
    pco_request *request;
    unsigned calls;
    pco_transport *transport;
    record *client;
    int code;   /* of the client; of the server, if there was none */
    bool whole; /* everything has come back */
} life;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    life *lived = context;
    lived->calls++;
    lived->code = error != NULL ? error->code : 0;
    lived->transport = transport;
    lived->client = (record *)protocol;
}

/* What is not taken ends the connection, as programs do it. */
static void say(pco_transport *transport)
{
    enter_call();
    if (pco_transport_write(transport, pattern(MUCH), MUCH) != 0) {
        pco_transport_abort(transport);
    }
    leave_call();
}

static void answer(record *self, pco_transport *transport)
{
    if (self->length == MUCH && !self->marked) {
        self->marked = true;
        say(transport);
    }
}

static bool is_over(void *context)
{
    const record *client = context;
    return client->lost || client->length == MUCH;
}

static void talk(life *lived)
{
    lived->client->marked = true;
    at.at[AT_DATA] = answer;
    say(lived->transport);
    assert_true(happens(is_over, lived->client));
    lived->whole = lived->client->length == MUCH;
    if (!lived->client->lost) {
        pco_transport_close(lived->transport);
    }
    assert_true(all_are_lost());
}

static int serve_pipe(void)
{
    pco_server_options options = server_options();
    pco_pipe_options pipe = {.size = sizeof pipe, .sddl = "D:(A;;GA;;;OW)"};
    options.host = NULL;
    return pco_loop_start_serving_pipe(at.loop, name, &options, &pipe, &at.server, NULL);
}

static int begin_to_connect(life *lived)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    return pco_loop_create_pipe_connection(at.loop, name, &options, note_connected, lived,
                                           &lived->request, NULL);
}

/* A plain program's client. */
static HANDLE plain_open(void)
{
    WCHAR wide[96];
    swprintf(wide, sizeof wide / sizeof *wide, L"\\\\.\\pipe\\%hs", name);
    return CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
}

static life live(void)
{
    life lived = {0};
    lived.code = serve_pipe();
    if (lived.code == 0) {
        lived.code = begin_to_connect(&lived);
    }
    if (lived.request != NULL) {
        assert_true(reaches(&lived.calls, 1));
        pco_request_release(lived.request);
    }
    if (lived.transport != NULL) {
        talk(&lived);
    }
    return lived;
}

static DWORD count_handles(void)
{
    DWORD count = 0;
    assert_true(GetProcessHandleCount(GetCurrentProcess(), &count));
    return count;
}

/* A loop, and a life on it in which the nth of what `let_it_fail` is about fails. */
static life live_with(void (*let_it_fail)(size_t nth, bool for_ever), size_t nth, bool *failed)
{
    static unsigned number;
    snprintf(name, sizeof name, "portico-fault-%lu-%u", GetCurrentProcessId(), ++number);
    assert_int_equal(world_begin(NULL), 0);
    let_it_fail(nth, false);
    life lived = live();
    *failed = has_failed || memory_has_failed();
    let_it_fail(0, false);
    if (lived.code == 0 && !*failed) {
        assert_true(lived.whole);
        assert_int_equal(at.reports, 0);
    }
    assert_int_equal(world_end(NULL), 0); /* no memory is left */
    return lived;
}

/* Returns how many lives were lived, until nothing failed. */
static size_t live_and_fail(void (*let_it_fail)(size_t nth, bool for_ever))
{
    bool failed = false;
    assert_int_equal(live_with(let_it_fail, 0, &failed).code, 0); /* what is made once is there */
    DWORD handles = count_handles();
    size_t nth = 0;
    do {
        life lived = live_with(let_it_fail, ++nth, &failed);
        if (!failed) {
            assert_int_equal(lived.code, 0);
        } else if (lived.code != 0 && lived.code != PCO_ENOMEM && lived.code != PCO_ENOBUFS) {
            fail_msg("the failure of number %u is told as %s", (unsigned)nth,
                     pco_strerror(lived.code));
        }
        assert_int_equal(count_handles(), handles);
    } while (failed && nth < LIVES);
    assert_false(failed);
    return nth;
}

/* ---- Between an instance and the wait for its client ---- */

static unsigned hasty_clients; /* how many are still to come */

/* A client comes, has its say and goes before its instance is waited for. */
static BOOL WINAPI connect_late(HANDLE pipe, LPOVERLAPPED overlapped)
{
    if (hasty_clients != 0) {
        DWORD written = 0;
        hasty_clients--;
        HANDLE client = plain_open();
        assert_ptr_not_equal(client, INVALID_HANDLE_VALUE);
        assert_true(WriteFile(client, "words", 5, &written, NULL));
        CloseHandle(client);
    }
    return real_ConnectNamedPipe(pipe, overlapped);
}

static void who_has_gone_before_its_instance_is_waited_for_is_heard(void **state)
{
    (void)state;
    any_function before = replace_import(NULL, "ConnectNamedPipe", (any_function)connect_late);
    memcpy(&real_ConnectNamedPipe, &before, sizeof before);
    snprintf(name, sizeof name, "portico-hasty-%lu", GetCurrentProcessId());
    assert_int_equal(world_begin(state), 0);
    hasty_clients = 3;
    assert_int_equal(serve_pipe(), 0);
    assert_true(reaches(&at.made, 3));
    assert_true(all_are_lost());
    for (record *one = at.records; one != NULL; one = one->next) {
        assert_string_equal(one->story, "MDEL");
        assert_int_equal(one->length, 5);
        assert_memory_equal(one->data, "words", 5);
        assert_true(one->lost_cleanly);
    }
    assert_int_equal(at.reports, 0);
    replace_import(NULL, "ConnectNamedPipe", before);
    assert_int_equal(world_end(state), 0);
}

/* ---- Each in its turn ---- */

static void every_allocation_fails_once_and_nothing_is_left(void **state)
{
    (void)state;
    assert_in_range(live_and_fail(memory_fail), 10, LIVES);
}

#define FAIL_EACH(function)                                                                        \
    do {                                                                                           \
        any_function before = replace_import(NULL, #function, (any_function)try_##function);       \
        memcpy(&real_##function, &before, sizeof before);                                          \
        assert_non_null(real_##function);                                                          \
        print_message("%s:", #function);                                                           \
        print_message(" %u calls\n", (unsigned)live_and_fail(let_fail) - 1);                       \
        replace_import(NULL, #function, before);                                                   \
    } while (0)

static void every_call_of_making_a_pipe_fails_once_and_nothing_is_left(void **state)
{
    (void)state;
    FAIL_EACH(OpenProcessToken);
    FAIL_EACH(GetTokenInformation);
    FAIL_EACH(ConvertSidToStringSidW);
    FAIL_EACH(ConvertStringSecurityDescriptorToSecurityDescriptorW);
    FAIL_EACH(CreateNamedPipeW);
    FAIL_EACH(DisconnectNamedPipe);
}

static void every_call_of_using_a_pipe_fails_once_and_nothing_is_left(void **state)
{
    (void)state;
    FAIL_EACH(CreateFileW);
    FAIL_EACH(CreateIoCompletionPort);
    FAIL_EACH(CreateEventW);
    FAIL_EACH(ConnectNamedPipe);
    FAIL_EACH(PostQueuedCompletionStatus);
    FAIL_EACH(PeekNamedPipe);
    FAIL_EACH(ReadFile);
    FAIL_EACH(WriteFile);
}

/* ---- For ever, until it does no more ---- */

/* No client finds an instance, and when there are some again each is served. */
static void a_server_that_can_make_no_instances_serves_when_it_can_again(void **state)
{
    (void)state;
    any_function before =
        replace_import(NULL, "CreateNamedPipeW", (any_function)try_CreateNamedPipeW);
    memcpy(&real_CreateNamedPipeW, &before, sizeof before);
    snprintf(name, sizeof name, "portico-fault-%lu", GetCurrentProcessId());
    assert_int_equal(world_begin(state), 0);
    let_fail(2, true); /* the first one holds the name */
    assert_int_equal(serve_pipe(), 0);
    life lived = {0};
    assert_int_equal(begin_to_connect(&lived), 0);
    assert_true(reaches(&at.reports, 1));
    assert_int_equal(at.reported, PCO_ENOBUFS);
    assert_int_equal(lived.calls, 0);
    let_fail(0, false);
    assert_true(reaches(&lived.calls, 1));
    assert_int_equal(lived.code, 0);
    pco_request_release(lived.request);
    talk(&lived);
    assert_true(lived.whole);
    replace_import(NULL, "CreateNamedPipeW", before);
    assert_int_equal(world_end(state), 0);
}

/* Who comes meanwhile is let go, and the server is as good as before. */
static void a_server_without_memory_serves_when_there_is_some_again(void **state)
{
    (void)state;
    snprintf(name, sizeof name, "portico-fault-%lu", GetCurrentProcessId());
    assert_int_equal(world_begin(state), 0);
    assert_int_equal(serve_pipe(), 0);
    HANDLE client = plain_open();
    assert_ptr_not_equal(client, INVALID_HANDLE_VALUE);
    memory_fail(1, true);
    assert_true(reaches(&at.reports, 1));
    assert_int_equal(at.reported, PCO_ENOMEM);
    memory_fail(0, false);
    CloseHandle(client);
    life lived = {0};
    assert_int_equal(begin_to_connect(&lived), 0);
    assert_true(reaches(&lived.calls, 1));
    assert_int_equal(lived.code, 0);
    pco_request_release(lived.request);
    talk(&lived);
    assert_true(lived.whole);
    assert_int_equal(world_end(state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_gone_before_its_instance_is_waited_for_is_heard),
        cmocka_unit_test(every_allocation_fails_once_and_nothing_is_left),
        cmocka_unit_test(every_call_of_making_a_pipe_fails_once_and_nothing_is_left),
        cmocka_unit_test(every_call_of_using_a_pipe_fails_once_and_nothing_is_left),
        cmocka_unit_test(a_server_that_can_make_no_instances_serves_when_it_can_again),
        cmocka_unit_test(a_server_without_memory_serves_when_there_is_some_again),
    };
    return run_here("pipe_faults", tests, sizeof tests / sizeof tests[0]);
}
