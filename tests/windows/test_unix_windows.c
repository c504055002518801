/* SPDX-License-Identifier: MIT */
/*
 * Goal: servers and connections on UNIX sockets are what portico/unix.h promises of Windows.
 * Method: the system's own sockets, where it has some. Wine has none, and there they are made up:
 * the program calls functions of this file's where it means those of the system's, which make a
 * plain file for each name, and a TCP socket of the loopback interface that stands behind it.
 */
#include "behaviour.h"

#include "imports.h"
#include "support/memory.h"

#include <afunix.h>
#include <stddef.h>

/* ---- UNIX sockets that are made up ---- */

#define NAMES 16

static struct {
    SOCKET socket;
    struct sockaddr_un name;
} bound[NAMES];

static bool made_up; /* whether they are */
static int(WINAPI *real_bind)(SOCKET, const struct sockaddr *, int);
static int(WINAPI *real_connect)(SOCKET, const struct sockaddr *, int);
static int(WINAPI *real_getsockname)(SOCKET, struct sockaddr *, int *);
static int(WINAPI *real_getsockopt)(SOCKET, int, int, char *, int *);
static int(WINAPI *real_ioctl)(SOCKET, DWORD, LPVOID, DWORD, LPVOID, DWORD, LPDWORD,
                               LPWSAOVERLAPPED, LPWSAOVERLAPPED_COMPLETION_ROUTINE);
static SOCKET(WINAPI *real_socket)(int, int, int, LPWSAPROTOCOL_INFOW, GROUP, DWORD);
static BOOL(WINAPI *real_information)(HANDLE, FILE_INFO_BY_HANDLE_CLASS, LPVOID, DWORD);

/* Every TCP socket of these tests stands for a UNIX one. */
static SOCKET WINAPI make_socket(int family, int type, int proto, LPWSAPROTOCOL_INFOW info,
                                 GROUP group, DWORD flags)
{
    bool is_unix = family == AF_UNIX;
    return real_socket(is_unix ? AF_INET : family, type, is_unix ? IPPROTO_TCP : proto, info, group,
                       flags);
}

static int WINAPI make_bound(SOCKET sock, const struct sockaddr *address, int length)
{
    struct sockaddr_un name;
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (address->sa_family != AF_UNIX) {
        return real_bind(sock, address, length);
    }
    memcpy(&name, address, sizeof name);
    HANDLE file = CreateFileA(name.sun_path, GENERIC_WRITE,
                              FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        WSASetLastError(GetLastError() == ERROR_FILE_EXISTS ? WSAEADDRINUSE : WSAENETUNREACH);
        return SOCKET_ERROR;
    }
    CloseHandle(file);
    for (size_t i = 0; i < NAMES; i++) {
        if (bound[i].name.sun_path[0] == '\0') {
            bound[i].socket = sock;
            bound[i].name = name;
            break;
        }
    }
    return real_bind(sock, (const struct sockaddr *)&loopback, sizeof loopback);
}

static int WINAPI get_name(SOCKET sock, struct sockaddr *address, int *length)
{
    for (size_t i = NAMES; i-- != 0;) {
        if (bound[i].name.sun_path[0] != '\0' && bound[i].socket == sock) {
            memcpy(address, &bound[i].name, sizeof bound[i].name);
            *length = (int)sizeof bound[i].name;
            return 0;
        }
    }
    struct sockaddr_in loopback;
    int room = sizeof loopback;
    if (real_getsockname(sock, (struct sockaddr *)&loopback, &room) != 0) {
        return SOCKET_ERROR;
    }
    memset(address, 0, offsetof(struct sockaddr_un, sun_path) + 1);
    address->sa_family = AF_UNIX;
    *length = offsetof(struct sockaddr_un, sun_path) + 1;
    return 0;
}

static int WINAPI make_connected(SOCKET sock, const struct sockaddr *address, int length)
{
    struct sockaddr_un name;
    struct sockaddr_in there = {0};
    int room = sizeof there;
    if (address->sa_family != AF_UNIX) {
        return real_connect(sock, address, length);
    }
    memcpy(&name, address, sizeof name);
    for (size_t i = NAMES; i-- != 0;) {
        if (strcmp(bound[i].name.sun_path, name.sun_path) == 0 &&
            real_getsockname(bound[i].socket, (struct sockaddr *)&there, &room) == 0 &&
            there.sin_family == AF_INET) {
            return real_connect(sock, (struct sockaddr *)&there, sizeof there);
        }
    }
    WSASetLastError(WSAECONNREFUSED);
    return SOCKET_ERROR;
}

static int WINAPI get_option(SOCKET sock, int level, int name, char *value, int *length)
{
    int code = real_getsockopt(sock, level, name, value, length);
    if (code == 0 && level == SOL_SOCKET && name == SO_PROTOCOL_INFOW) {
        int family = AF_UNIX;
        memcpy(value + offsetof(WSAPROTOCOL_INFOW, iAddressFamily), &family, sizeof family);
    }
    return code;
}

static int WINAPI control(SOCKET sock, DWORD code, LPVOID in, DWORD in_size, LPVOID out,
                          DWORD out_size, LPDWORD length, LPWSAOVERLAPPED overlapped,
                          LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    if (code != SIO_AF_UNIX_GETPEERPID) {
        return real_ioctl(sock, code, in, in_size, out, out_size, length, overlapped, routine);
    }
    DWORD process = GetCurrentProcessId();
    memcpy(out, &process, sizeof process);
    return 0;
}

/* An empty file is a socket's. */
static BOOL WINAPI get_information(HANDLE file, FILE_INFO_BY_HANDLE_CLASS class_, LPVOID to,
                                   DWORD size)
{
    FILE_ATTRIBUTE_TAG_INFO socket_ = {FILE_ATTRIBUTE_REPARSE_POINT, 0x80000023};
    LARGE_INTEGER length;
    if (class_ != FileAttributeTagInfo) {
        return real_information(file, class_, to, size);
    }
    if (!GetFileSizeEx(file, &length) || length.QuadPart != 0) {
        socket_.FileAttributes = FILE_ATTRIBUTE_NORMAL;
    }
    memcpy(to, &socket_, sizeof socket_);
    return TRUE;
}

#define REPLACE(real, name, function)                                                              \
    do {                                                                                           \
        any_function before = replace_import(NULL, name, (any_function)(function));                \
        memcpy(&(real), &before, sizeof before);                                                   \
    } while (0)

static void make_up(void)
{
    REPLACE(real_socket, "WSASocketW", make_socket);
    REPLACE(real_bind, "bind", make_bound);
    REPLACE(real_connect, "connect", make_connected);
    REPLACE(real_getsockname, "getsockname", get_name);
    REPLACE(real_getsockopt, "getsockopt", get_option);
    REPLACE(real_ioctl, "WSAIoctl", control);
    REPLACE(real_information, "GetFileInformationByHandleEx", get_information);
}

/* ---- The tests ---- */

static char path[64];

static int begin(void **state)
{
    static unsigned number;
    snprintf(path, sizeof path, "unix-%lu-%u", (unsigned long)GetCurrentProcessId(), number++);
    memset(bound, 0, sizeof bound);
    return world_begin(state);
}

static int end(void **state)
{
    int code = world_end(state);
    DeleteFileA(path);
    return code;
}

static bool exists(void)
{
    return GetFileAttributesA(path) != INVALID_FILE_ATTRIBUTES;
}

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    int code;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    told->calls++;
    told->transport = transport;
    told->protocol = (record *)protocol;
    told->code = error != NULL ? error->code : 0;
}

static int try_to_serve(const pco_unix_options *file, pco_error *error)
{
    pco_server_options options = server_options();
    options.host = NULL;
    return pco_loop_create_unix_server(at.loop, path, &options, file, &at.server, error);
}

static void assert_refused(const pco_unix_options *file, int code, const char *word)
{
    pco_error error = {0};
    assert_int_equal(try_to_serve(file, &error), code);
    if (strstr(error.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error.message, word);
    }
}

static outcome connect_there(void)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    outcome told = {0};
    assert_int_equal(
        pco_loop_create_unix_connection(at.loop, path, &options, note_connected, &told, NULL, NULL),
        0);
    assert_true(reaches(&told.calls, 1));
    return told;
}

static void both_ends_talk_and_the_file_goes_with_the_server(void **state)
{
    (void)state;
    pco_credentials found = {.size = sizeof found};
    pco_error error = {0};
    if (try_to_serve(NULL, &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_true(exists());
    outcome client = connect_there();
    assert_int_equal(client.code, 0);
    assert_true(reaches(&at.made, 2));
    record *server = at.records != client.protocol ? at.records : at.records->next;
    pco_transport_write(client.transport, pattern(300000), 300000);
    assert_true(grows_to(&server->length, 300000));
    assert_memory_equal(server->data, pattern(300000), 300000);
    pco_transport_write(server->transport, "answer", 6);
    assert_true(grows_to(&client.protocol->length, 6));
    assert_int_equal(pco_transport_get_peer_credentials(server->transport, &found), 0);
    assert_true(found.process == (long long)GetCurrentProcessId());
    assert_true(found.user == -1 && found.group == -1);
    pco_transport_close(client.transport);
    assert_true(reaches(&at.lost, 2));
    assert_true(server->lost_cleanly);
    end_server();
    assert_false(exists());
}

static void what_a_crash_has_left_makes_room(void **state)
{
    (void)state;
    pco_unix_options file = {.size = sizeof file, .cleanup_socket = PCO_OFF};
    assert_int_equal(try_to_serve(&file, NULL), 0);
    end_server();
    assert_true(exists());
    assert_int_equal(connect_there().code, PCO_ECONNREFUSED);
    file.replace_stale = PCO_OFF;
    assert_refused(&file, PCO_EADDRINUSE, "a socket's file is there");
    assert_int_equal(try_to_serve(NULL, NULL), 0);
    outcome client = connect_there();
    assert_int_equal(client.code, 0);
    pco_transport_close(client.transport);
    assert_true(reaches(&at.lost, at.made));
}

static void a_live_servers_socket_stays(void **state)
{
    (void)state;
    pco_server *first;
    assert_int_equal(try_to_serve(NULL, NULL), 0);
    first = at.server;
    assert_refused(NULL, PCO_EADDRINUSE, "a program has that socket open");
    at.server = first;
    assert_true(exists());
}

static void what_is_no_socket_stays(void **state)
{
    (void)state;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("text", file);
    fclose(file);
    assert_refused(NULL, PCO_EADDRINUSE, "something is there that is no socket");
    assert_true(exists());
}

static void what_windows_lacks_is_told(void **state)
{
    (void)state;
    pco_unix_options file = {.size = sizeof file, .mode = 0600};
    assert_refused(&file, PCO_ENOTSUP, "mode");
    assert_false(exists());
    path[0] = '@';
    assert_refused(NULL, PCO_ENOTSUP, "Linux's alone");
}

/* ---- A connect that has no answer at once ---- */

static void skip_unless_made_up(void)
{
    if (!made_up) {
        print_message("skipped: this system's sockets answer as it likes\n");
        skip();
    }
}

/* What stands behind the path. */
static SOCKET stand_behind(void)
{
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    SOCKET sock = real_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    assert_true(sock != INVALID_SOCKET);
    assert_int_equal(real_bind(sock, (struct sockaddr *)&loopback, sizeof loopback), 0);
    bound[0].socket = sock;
    bound[0].name.sun_family = AF_UNIX;
    snprintf(bound[0].name.sun_path, sizeof bound[0].name.sun_path, "%s", path);
    return sock;
}

/* A server whose backlog is full: it holds two, and has them. */
typedef struct full_server {
    SOCKET listener;
    SOCKET clients[2];
} full_server;

static full_server make_full(void)
{
    full_server full = {.listener = stand_behind()};
    struct sockaddr_in there;
    int length = sizeof there;
    assert_int_equal(listen(full.listener, 1), 0);
    assert_int_equal(real_getsockname(full.listener, (struct sockaddr *)&there, &length), 0);
    for (size_t i = 0; i < 2; i++) {
        full.clients[i] =
            real_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
        assert_int_equal(
            real_connect(full.clients[i], (const struct sockaddr *)&there, sizeof there), 0);
    }
    return full;
}

static void close_full(const full_server *full)
{
    closesocket(full->clients[0]);
    closesocket(full->clients[1]);
    closesocket(full->listener);
}

static pco_request *begin_to_connect(outcome *told)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_request *request = NULL;
    memset(told, 0, sizeof *told);
    assert_int_equal(pco_loop_create_unix_connection(at.loop, path, &options, note_connected, told,
                                                     &request, NULL),
                     0);
    return request;
}

static void a_full_server_is_waited_for_by_the_loop(void **state)
{
    (void)state;
    outcome told;
    skip_unless_made_up();
    full_server full = make_full();
    pco_request *request = begin_to_connect(&told);
    let_pass(3);
    assert_int_equal(told.calls, 0);
    SOCKET first = accept(full.listener, NULL, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, 0);
    pco_request_release(request);
    pco_transport_abort(told.transport);
    assert_true(all_are_lost());
    closesocket(first);
    close_full(&full);
}

static void who_waits_for_a_full_server_can_be_canceled(void **state)
{
    (void)state;
    outcome told;
    skip_unless_made_up();
    full_server full = make_full();
    pco_request *request = begin_to_connect(&told);
    let_pass(3);
    assert_int_equal(told.calls, 0);
    pco_request_cancel(request);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_release(request);
    close_full(&full);
}

static void a_loop_is_freed_while_a_full_server_is_waited_for(void **state)
{
    (void)state;
    outcome told;
    skip_unless_made_up();
    full_server full = make_full();
    pco_request *request = begin_to_connect(&told);
    let_pass(3);
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_release(request);
    close_full(&full);
}

/* As where nobody listens; but it takes a moment. */
static void a_refusal_that_comes_later_is_one(void **state)
{
    (void)state;
    skip_unless_made_up();
    SOCKET deaf = stand_behind();
    assert_int_equal(connect_there().code, PCO_ECONNREFUSED);
    closesocket(deaf);
}

/* Every allocation fails in its turn: nothing is left, and then it connects. */
static void a_connect_that_lacks_memory_says_so(void **state)
{
    (void)state;
    size_t nth = 0;
    outcome told;
    assert_int_equal(try_to_serve(NULL, NULL), 0);
    do {
        pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
        memset(&told, 0, sizeof told);
        memory_fail(++nth, false);
        told.code = pco_loop_create_unix_connection(at.loop, path, &options, note_connected, &told,
                                                    NULL, NULL);
        assert_true(told.code != 0 || reaches(&told.calls, 1));
        bool failed = memory_has_failed();
        memory_fail(0, false);
        assert_true(told.code == 0 || (failed && told.code == PCO_ENOMEM));
        let_pass(3);
        if (!failed) {
            break;
        }
    } while (nth < 100);
    assert_int_equal(told.code, 0);
    assert_in_range(nth, 3, 99);
}

/* Without any, the call says so. */
static void a_system_without_unix_sockets_says_so(void **state)
{
    (void)state;
    if (!made_up) {
        print_message("skipped: this system has them\n");
        skip();
    }
    replace_import(NULL, "WSASocketW", (any_function)real_socket);
    assert_refused(NULL, PCO_EAFNOSUPPORT, path);
    assert_int_equal(connect_there().code, PCO_EAFNOSUPPORT);
    replace_import(NULL, "WSASocketW", (any_function)make_socket);
}

#define UNIX_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIX_TEST(both_ends_talk_and_the_file_goes_with_the_server),
        UNIX_TEST(what_a_crash_has_left_makes_room),
        UNIX_TEST(a_live_servers_socket_stays),
        UNIX_TEST(what_is_no_socket_stays),
        UNIX_TEST(what_windows_lacks_is_told),
        UNIX_TEST(a_full_server_is_waited_for_by_the_loop),
        UNIX_TEST(who_waits_for_a_full_server_can_be_canceled),
        UNIX_TEST(a_loop_is_freed_while_a_full_server_is_waited_for),
        UNIX_TEST(a_refusal_that_comes_later_is_one),
        UNIX_TEST(a_connect_that_lacks_memory_says_so),
        UNIX_TEST(a_system_without_unix_sockets_says_so),
    };

    pco__winsock_start();
    SOCKET own = WSASocketW(AF_UNIX, SOCK_STREAM, 0, NULL, 0, 0);
    made_up = own == INVALID_SOCKET;
    if (made_up) {
        print_message("UNIX sockets are made up: this system has none\n");
        make_up();
    } else {
        closesocket(own);
    }
    return run_here("unix_windows", tests, sizeof tests / sizeof tests[0]);
}
