/* SPDX-License-Identifier: MIT */
/*
 * Goal: what the backend does where the system fails or does not do what it should: a port that
 * cannot be waited for, a packet that cannot be posted, an operation that does not end when it is
 * canceled, accepts that always fail, a stranger who comes to where a pair of sockets is made.
 * Method: the program calls functions of the test's where it means those of the system's. They
 * fail, or tell a time that the test sets, so nothing here waits for time to pass.
 */
#include "win32/win32.h"

#include "backend_probe.h"
#include "imports.h"

#include <portico/connection.h>

/* ---- Functions in the place of the system's ---- */

static struct {
    const char *name;
    any_function before;
} replaced[6];

static size_t replaced_count;

static unsigned calls;    /* of the function that is replaced */
static unsigned failures; /* how many of those calls fail */
static any_function real; /* what it replaces */

static any_function replace(const char *name, any_function function)
{
    any_function before = replace_import(NULL, name, function);
    assert_non_null(before);
    assert_true(replaced_count < sizeof replaced / sizeof replaced[0]);
    replaced[replaced_count].name = name;
    replaced[replaced_count++].before = before;
    calls = 0;
    return before;
}

static void put_back(void)
{
    while (replaced_count != 0) {
        replaced_count--;
        replace_import(NULL, replaced[replaced_count].name, replaced[replaced_count].before);
    }
}

static int put_back_and_tear_down(void **state)
{
    put_back();
    return tear_down(state);
}

/* ---- Waiting and waking ---- */

static unsigned sleeps;
static DWORD slept; /* by the last of them, in milliseconds */

static void WINAPI count_sleep(DWORD milliseconds)
{
    slept = milliseconds;
    sleeps++;
}

static BOOL WINAPI wait_fails(HANDLE port, OVERLAPPED_ENTRY *entries, ULONG room, ULONG *count,
                              DWORD milliseconds, BOOL alertable)
{
    (void)port, (void)entries, (void)room, (void)count, (void)milliseconds, (void)alertable;
    calls++;
    SetLastError(ERROR_INVALID_HANDLE);
    return FALSE;
}

static void where_the_port_cannot_be_waited_for_poll_does_not_spin(void **state)
{
    (void)state;
    replace("Sleep", (any_function)count_sleep);
    replace("GetQueuedCompletionStatusEx", (any_function)wait_fails);
    sleeps = 0;
    for (unsigned turn = 1; turn <= 3; ++turn) {
        poll_for(PCO__FOREVER);
        assert_int_equal(calls, turn);
        assert_int_equal(sleeps, turn);
        assert_int_equal(slept, 10);
    }
    poll_for(3 * MILLISECOND); /* a timer is not late by it */
    assert_int_equal(slept, 3);
    poll_for(0);
    assert_int_equal(slept, 0);
}

typedef BOOL(WINAPI *post_function)(HANDLE port, DWORD length, ULONG_PTR key, OVERLAPPED *of);

static BOOL WINAPI post_fails(HANDLE port, DWORD length, ULONG_PTR key, OVERLAPPED *overlapped)
{
    calls++;
    if (failures != 0) {
        failures--;
        SetLastError(ERROR_NO_SYSTEM_RESOURCES);
        return FALSE;
    }
    return ((post_function)real)(port, length, key, overlapped);
}

static void a_stop_whose_packet_cannot_be_posted_is_seen(void **state)
{
    (void)state;
    replace("Sleep", (any_function)count_sleep);
    real = replace("PostQueuedCompletionStatus", (any_function)post_fails);
    failures = 1000;
    at.backend->class_->wake(at.backend, true);
    assert_in_range(calls, 1, 100);
    poll_for(PCO__FOREVER);
    assert_true(at.stop);

    at.stop = false; /* seen once, and the next one is posted */
    failures = 0;
    at.backend->class_->wake(at.backend, false);
    poll_for(PCO__FOREVER);
    assert_false(at.stop);
    at.backend->class_->wake(at.backend, true);
    poll_for(PCO__FOREVER);
    assert_true(at.stop);
}

static void a_packet_that_could_not_be_posted_is_tried_again(void **state)
{
    (void)state;
    replace("Sleep", (any_function)count_sleep);
    real = replace("PostQueuedCompletionStatus", (any_function)post_fails);
    failures = 3;
    at.backend->class_->wake(at.backend, true);
    assert_int_equal(calls, 4);
    poll_for(PCO__FOREVER);
    assert_true(at.stop);
}

/* ---- Operations that do not end when they are canceled ---- */

typedef BOOL(WINAPI *clock_function)(ULONGLONG *units);
typedef FARPROC(WINAPI *find_function)(HMODULE module, const char *name);

static any_function real_clock;
static any_function real_find;
static ULONGLONG ahead; /* of the system's time, in units of 100 nanoseconds */

static BOOL WINAPI tell_time(ULONGLONG *units)
{
    BOOL told = ((clock_function)real_clock)(units);
    *units += ahead;
    return told;
}

/* Without the finer clock the coarse one is all that is asked. */
static FARPROC WINAPI find_no_finer_clock(HMODULE module, const char *name)
{
    if (strcmp(name, "QueryUnbiasedInterruptTimePrecise") == 0) {
        return NULL;
    }
    return ((find_function)real_find)(module, name);
}

static void pass(unsigned seconds)
{
    ahead += (ULONGLONG)seconds * 10000000;
}

static BOOL WINAPI cancel_nothing(HANDLE file, OVERLAPPED *overlapped)
{
    (void)file, (void)overlapped;
    calls++;
    return TRUE;
}

typedef BOOL(WINAPI *cancel_function)(HANDLE file, OVERLAPPED *overlapped);
typedef int(WINAPI *close_function)(SOCKET sock);

static any_function real_cancel;
static any_function real_close;

/* With a socket all end that use it. In Wine 8 they do not, so this stands for Windows. */
static int WINAPI close_as_windows_does(SOCKET sock)
{
    ((cancel_function)real_cancel)((HANDLE)sock, NULL);
    return ((close_function)real_close)(sock);
}

/* A SEND that waits for a peer which does not read. */
static void start_stuck_send(end *client, pco__segment *segment)
{
    fill(client, (size_t)64 << 20);
    client->out.op.with.chain = segment;
    submit(&client->out, &client->io, PCO__OP_SEND);
    poll_for(0);
    assert_true(client->out.op.in_flight);
}

static void a_send_that_canceling_does_not_end_ends_with_its_socket(void **state)
{
    (void)state;
    end client;
    end server;
    static unsigned char data[100000];
    pco__segment segment = {.data = data, .length = sizeof data};
    make_pairs(&client, &server, 1);
    start_stuck_send(&client, &segment);
    submit(&client.in, &client.io, PCO__OP_RECV);
    real_close = replace("closesocket", (any_function)close_as_windows_does);
    real_cancel = replace("CancelIoEx", (any_function)cancel_nothing);
    cancel(&client.out);
    assert_int_equal(calls, 1);

    poll_for(0);
    pass(1);
    poll_for(0);
    assert_true(client.out.op.in_flight); /* it may take its time */
    for (int i = 0; i < 3; ++i) {
        pass(2);
        poll_for(0);
    }
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECANCELED);
    assert_true(completes(&client.in)); /* all that was in flight on it ends */
    assert_int_equal(client.in.error, PCO_ECONNRESET);

    /* Whatever the owner does next, nobody else's socket is touched. */
    assert_int_equal(try_send(&client, "x", 1).error, PCO_ECONNRESET);
    client.in.count = 0;
    submit(&client.in, &client.io, PCO__OP_RECV);
    assert_true(completes(&client.in));
    assert_int_equal(client.in.error, PCO_ECONNRESET);
    put_back();
    close_end(&client);

    start_reading(&server, NULL, 0);
    assert_true(ends(&server)); /* by a reset, which Wine 8 loses behind unread data */
    close_end(&server);
}

static void a_program_that_was_busy_for_long_loses_no_connection(void **state)
{
    (void)state;
    end client;
    end server;
    make_pairs(&client, &server, 1);
    for (int i = 0; i < 3; ++i) {
        unsigned before = server.in.count;
        submit(&server.in, &server.io, PCO__OP_RECV);
        cancel(&server.in);
        pass(60);
        assert_true(reaches(&server.in.count, before + 1));
        assert_int_equal(server.in.error, PCO_ECANCELED);
    }
    push(&client, "still here");
    server.in.error = 0;
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_true(receives(&server, strlen("still here")));
    close_end(&client);
    close_end(&server);
}

/* ---- Accepting ---- */

typedef int(WINAPI *ioctl_function)(SOCKET sock, DWORD code, void *in, DWORD in_size, void *out,
                                    DWORD out_size, DWORD *length, OVERLAPPED *overlapped,
                                    LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
typedef HANDLE(WINAPI *port_function)(HANDLE file, HANDLE port, ULONG_PTR key, DWORD threads);

static LPFN_ACCEPTEX failing_accept;
static any_function real_port_function;
static HANDLE port;

static int WINAPI give_failing_accept(SOCKET sock, DWORD code, void *in, DWORD in_size, void *out,
                                      DWORD out_size, DWORD *length, OVERLAPPED *overlapped,
                                      LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    static const GUID id = WSAID_ACCEPTEX;
    if (code == SIO_GET_EXTENSION_FUNCTION_POINTER && memcmp(in, &id, sizeof id) == 0) {
        memcpy(out, &failing_accept, sizeof failing_accept);
        return 0;
    }
    return ((ioctl_function)real)(sock, code, in, in_size, out, out_size, length, overlapped,
                                  routine);
}

static HANDLE WINAPI remember_port(HANDLE file, HANDLE joined, ULONG_PTR key, DWORD threads)
{
    port = ((port_function)real_port_function)(file, joined, key, threads);
    return port;
}

/* The sockets that accept, of which there are many, are made of nothing. */
static SOCKET WINAPI make_no_socket(int family, int type, int protocol, WSAPROTOCOL_INFOW *info,
                                    GROUP group, DWORD flags)
{
    (void)family, (void)type, (void)protocol, (void)info, (void)group, (void)flags;
    return 0;
}

static int WINAPI set_nothing(SOCKET sock, long command, u_long *value)
{
    (void)sock, (void)command, (void)value;
    return 0;
}

static int WINAPI close_nothing(SOCKET sock)
{
    (void)sock;
    return 0;
}

static BOOL WINAPI accept_fails_at_once(SOCKET from, SOCKET with, void *buffer, DWORD data,
                                        DWORD local, DWORD remote, DWORD *length,
                                        OVERLAPPED *overlapped)
{
    (void)from, (void)with, (void)buffer, (void)data, (void)local, (void)remote, (void)length;
    (void)overlapped;
    calls++;
    WSASetLastError(WSAECONNRESET);
    return FALSE;
}

static BOOL WINAPI accept_fails_by_packet(SOCKET from, SOCKET with, void *buffer, DWORD data,
                                          DWORD local, DWORD remote, DWORD *length,
                                          OVERLAPPED *overlapped)
{
    (void)from, (void)with, (void)buffer, (void)data, (void)local, (void)remote, (void)length;
    calls++;
    overlapped->Internal = (ULONG_PTR)STATUS_CONNECTION_RESET;
    PostQueuedCompletionStatus(port, 0, 0, overlapped);
    WSASetLastError(WSA_IO_PENDING);
    return FALSE;
}

/* A listener of whose accepts every single one fails in this way. */
static void open_failing_listener(listener *self, LPFN_ACCEPTEX fails)
{
    real_port_function = replace("CreateIoCompletionPort", (any_function)remember_port);
    real = replace("WSAIoctl", (any_function)give_failing_accept);
    failing_accept = fails;
    open_listener(self);
    replace("WSASocketW", (any_function)make_no_socket);
    replace("ioctlsocket", (any_function)set_nothing);
    replace("closesocket", (any_function)close_nothing);
}

static void accepts_that_always_fail_at_once_are_told_in_the_end(void **state)
{
    (void)state;
    listener from;
    open_failing_listener(&from, accept_fails_at_once);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    assert_int_equal(calls, 1);
    for (unsigned turn = 1; turn < 10; ++turn) { /* and no turn makes many of them */
        poll_for(PCO__FOREVER);
        assert_int_equal(calls, 1 + turn);
    }
    assert_true(completes(&from.accept));
    assert_int_equal(from.accept.error, PCO_ECONNRESET);
    assert_in_range(calls, 100, 2000);

    calls = 0; /* its owner may try again, and hears it again */
    from.accept.count = 0;
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    assert_true(completes(&from.accept));
    assert_int_equal(from.accept.error, PCO_ECONNRESET);
    assert_in_range(calls, 1, 2000);
    put_back();
    close_listener(&from);
}

static void accepts_that_always_fail_by_packet_are_told_in_the_end(void **state)
{
    (void)state;
    listener from;
    open_failing_listener(&from, accept_fails_by_packet);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    while (from.accept.count == 0 && calls < 100000) {
        poll_for(PCO__FOREVER);
    }
    assert_int_equal(from.accept.count, 1);
    assert_int_equal(from.accept.error, PCO_ECONNRESET);
    assert_in_range(calls, 10000, 50000); /* so many clients in a row may really have gone */
    put_back();
    close_listener(&from);
}

/* ---- Providers ---- */

typedef int(WINAPI *enumerate_function)(int *protocols, WSAPROTOCOL_INFOW *list, DWORD *size);

static DWORD its_flag;
static unsigned modes_set;

static int WINAPI enumerate_protocols(int *protocols, WSAPROTOCOL_INFOW *list, DWORD *size)
{
    int count = ((enumerate_function)real)(protocols, list, size);
    for (int i = 0; i < count; ++i) {
        list[i].dwServiceFlags1 |= XP1_IFS_HANDLES;
    }
    if (count > 0) {
        list[count - 1].dwServiceFlags1 &= ~(DWORD)XP1_IFS_HANDLES;
        list[count - 1].dwServiceFlags1 |= its_flag;
    }
    return count;
}

static BOOL WINAPI count_modes(HANDLE file, UCHAR flags)
{
    (void)file, (void)flags;
    modes_set++;
    return TRUE;
}

/* One that does not give handles of files is enough for it to be left alone. */
static void notification_modes_are_set_only_if_all_sockets_are_files(void **state)
{
    pco_address address;
    real = replace("WSAEnumProtocolsW", (any_function)enumerate_protocols);
    replace("SetFileCompletionNotificationModes", (any_function)count_modes);
    for (unsigned all = 0; all <= 1; ++all) {
        its_flag = all ? XP1_IFS_HANDLES : 0;
        modes_set = 0;
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        pco__io io = {.socket = bound_socket(&address)};
        attach(&io, PCO__IO_LISTENER);
        assert_int_equal(modes_set, all);
        close_io(&io, false);
    }
}

/* ---- Misuse ---- */

static jmp_buf back;
static char heard[100];

static void WINAPI hear(const char *text)
{
    snprintf(heard, sizeof heard, "%s", text);
    longjmp(back, 1);
}

static void a_panic_is_told_to_the_debugger_too(void **state)
{
    (void)state;
    replace("OutputDebugStringA", (any_function)hear);
    if (setjmp(back) == 0) {
        pco__panic("a sentence");
    }
    assert_string_equal(heard, "portico: a sentence\n");
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, put_back_and_tear_down)

/* ---- A pair of sockets ---- */

typedef int(WINAPI *listen_function)(SOCKET, int);

static any_function real_listen;
static SOCKET stranger;

/* Somebody is faster than whom the listener is for. */
static int WINAPI listen_and_let_a_stranger_in(SOCKET sock, int backlog)
{
    struct sockaddr_in name;
    int length = sizeof name;
    int result = ((listen_function)real_listen)(sock, backlog);
    calls++;
    assert_int_equal(getsockname(sock, (struct sockaddr *)&name, &length), 0);
    stranger = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    assert_int_equal(connect(stranger, (const struct sockaddr *)&name, length), 0);
    return result;
}

static void assert_arrives(pco_socket from, pco_socket to)
{
    char byte = 0;
    assert_int_equal(send((SOCKET)from, "p", 1, 0), 1);
    assert_int_equal(recv((SOCKET)to, &byte, 1, 0), 1);
    assert_int_equal(byte, 'p');
}

static void a_stranger_who_is_faster_is_no_end_of_a_pair(void **state)
{
    (void)state;
    pco_socket pair[2];
    char byte;
    real_listen = replace("listen", (any_function)listen_and_let_a_stranger_in);
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(calls, 1);
    put_back();
    assert_arrives(pair[0], pair[1]);
    assert_arrives(pair[1], pair[0]);
    assert_true(recv(stranger, &byte, 1, 0) <= 0); /* it was sent away */
    closesocket(stranger);
    closesocket((SOCKET)pair[0]);
    closesocket((SOCKET)pair[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(where_the_port_cannot_be_waited_for_poll_does_not_spin),
        TEST(a_stop_whose_packet_cannot_be_posted_is_seen),
        TEST(a_packet_that_could_not_be_posted_is_tried_again),
        TEST(a_send_that_canceling_does_not_end_ends_with_its_socket),
        TEST(a_program_that_was_busy_for_long_loses_no_connection),
        TEST(accepts_that_always_fail_at_once_are_told_in_the_end),
        TEST(accepts_that_always_fail_by_packet_are_told_in_the_end),
        TEST(notification_modes_are_set_only_if_all_sockets_are_files),
        TEST(a_panic_is_told_to_the_debugger_too),
        TEST(a_stranger_who_is_faster_is_no_end_of_a_pair),
    };
    real_find = replace_import(NULL, "GetProcAddress", (any_function)find_no_finer_clock);
    real_clock = replace_import(NULL, "QueryUnbiasedInterruptTime", (any_function)tell_time);
    if (real_find == NULL || real_clock == NULL) {
        return 1;
    }
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
