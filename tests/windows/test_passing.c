/* SPDX-License-Identifier: MIT */
/*
 * Goal: a listener and a connection that are passed to another process go on there.
 * Method: this program, started a second time, whose channel is a connection over the loopback
 * interface. What is passed has been in no loop here: a socket belongs to one completion port.
 */
#include "win32/win32.h"

#include "behaviour.h"
#include "child.h"
#include "passing_child.h"

#include "system/network.h"

#include <stdio.h>
#include <stdlib.h>

static PROCESS_INFORMATION child;
static pco_socket channel;

/* A listener at a port of the system's choice. */
static pco_socket listen_anywhere(pco_address *address)
{
    const pco__network *network = &pco__system_network;
    pco__listener_options options = {0};
    pco_socket sock = PCO_NO_SOCKET;
    assert_int_equal(pco_address_parse("127.0.0.1", 0, address), 0);
    assert_int_equal(network->bind(NULL, address, &options, &sock, NULL), 0);
    assert_int_equal(network->listen(NULL, sock, 10, NULL), 0);
    assert_int_equal(network->sockname(NULL, sock, address), 0);
    return sock;
}

/* A blocking connection to a port of this machine; INVALID_SOCKET. */
static SOCKET connect_to(int port)
{
    SOCKET sock = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((u_short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(sock, (const struct sockaddr *)&address, sizeof address) != 0) {
        closesocket(sock);
        return INVALID_SOCKET;
    }
    return sock;
}

/* Waits for the first client of a listener. */
static pco_socket accept_one(pco_socket listener)
{
    WSAPOLLFD until = {.fd = (SOCKET)listener, .events = POLLRDNORM};
    assert_int_equal(WSAPoll(&until, 1, 60000), 1);
    SOCKET sock = accept((SOCKET)listener, NULL, NULL);
    assert_true(sock != INVALID_SOCKET);
    return (pco_socket)sock;
}

static int begin_child(void **state)
{
    WCHAR program[MAX_PATH];
    WCHAR command[MAX_PATH + 32];
    STARTUPINFOW startup = {.cb = sizeof startup};
    pco_address address;
    int code = world_begin(state);
    if (code != 0 || GetModuleFileNameW(NULL, program, MAX_PATH) == 0) {
        return -1;
    }
    pco_socket listener = listen_anywhere(&address);
    swprintf(command, sizeof command / sizeof command[0], L"\"%ls\" %d", program,
             pco_address_port(&address));
    if (!CreateProcessW(program, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &child)) {
        return -1;
    }
    channel = accept_one(listener);
    closesocket((SOCKET)listener);
    return 0;
}

static int end_child(void **state)
{
    closesocket((SOCKET)channel);
    CloseHandle(child.hThread);
    CloseHandle(child.hProcess);
    return world_end(state);
}

static void assert_child_serves(void)
{
    pco_passed passed;
    assert_int_equal(take_on(at.loop, channel, &passed), 0);
    assert_string_equal((const char *)passed.data, "served");
}

static void assert_child_ends_well(void)
{
    DWORD code = 99;
    assert_int_equal(WaitForSingleObject(child.hProcess, 60000), WAIT_OBJECT_0);
    assert_true(GetExitCodeProcess(child.hProcess, &code));
    assert_int_equal(code, 0);
}

/* The child's greeting, and what it sends back. */
static void assert_talks(SOCKET sock)
{
    char text[16] = "";
    int length = 0;
    assert_int_equal(send(sock, "hello", 5, 0), 5);
    while (length < 10) {
        int more = recv(sock, text + length, 10 - length, 0);
        assert_true(more > 0);
        length += more;
    }
    assert_string_equal(text, "childhello");
}

static void a_connection_goes_on_in_another_process(void **state)
{
    (void)state;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pco_socket_pass(channel, child.dwProcessId, pair[0], "connection", 10, NULL),
                     0);
    assert_child_serves();
    closesocket((SOCKET)pair[0]);
    assert_talks((SOCKET)pair[1]);
    closesocket((SOCKET)pair[1]);
    assert_child_ends_well();
}

static void a_listener_goes_on_in_another_process(void **state)
{
    (void)state;
    pco_address address;
    pco_socket listener = listen_anywhere(&address);
    assert_int_equal(pco_socket_pass(channel, child.dwProcessId, listener, "listener", 8, NULL), 0);
    assert_child_serves();
    closesocket((SOCKET)listener);
    SOCKET client = connect_to(pco_address_port(&address));
    assert_true(client != INVALID_SOCKET);
    assert_talks(client);
    closesocket(client);
    assert_child_ends_well();
}

static void a_socket_for_nobody_is_refused(void **state)
{
    (void)state;
    pco_socket pair[2];
    pco_error error;
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pco_socket_pass(channel, 0, pair[0], NULL, 0, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "process is required"));
    assert_int_equal(pco_socket_pass(channel, -1, pair[0], NULL, 0, NULL), PCO_EINVAL);
    assert_true(pco_socket_pass(channel, 0x7FFFFFF1, pair[0], NULL, 0, &error) < 0);
    assert_non_null(strstr(error.message, "process 2147483633"));
    closesocket((SOCKET)pair[0]);
    closesocket((SOCKET)pair[1]);
    TerminateProcess(child.hProcess, 0);
}

#define PASSING(name) cmocka_unit_test_setup_teardown(name, begin_child, end_child)

static const struct CMUnitTest tests[] = {
    PASSING(a_connection_goes_on_in_another_process),
    PASSING(a_listener_goes_on_in_another_process),
    PASSING(a_socket_for_nobody_is_refused),
};

int main(int count, char **arguments)
{
    if (count > 1) {
        child_ends_without_a_word();
        return pco__winsock_start() != 0
                   ? 9
                   : live_as_child((pco_socket)connect_to(atoi(arguments[1])));
    }
    return run_here("passing", tests, sizeof tests / sizeof tests[0]);
}
