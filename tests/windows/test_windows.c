/* SPDX-License-Identifier: MIT */
/*
 * Goal: what Windows does in its own way and the portable tests cannot see: which options sockets
 * have, that no child process inherits them, which sockets the completion port takes, how the
 * system's many error codes are told, and paths that are not ASCII.
 * Method: Winsock itself is asked about sockets that the library has made. Expected values are
 * those of Microsoft's documentation; Wine behaves alike wherever nothing else is said.
 */
#include "win32/win32.h"

#include "backend_probe.h"

#include <portico/connection.h>
#include <portico/descriptor.h>

/* Some of them Windows tells in one byte, others in four. */
static bool option_of(pco_socket sock, int name)
{
    int value = 0;
    int length = sizeof value;
    assert_int_equal(getsockopt((SOCKET)sock, SOL_SOCKET, name, (char *)&value, &length), 0);
    return value != 0;
}

static bool no_delay_of(pco_socket sock)
{
    DWORD value = 2; /* one byte of it may be written */
    int length = sizeof value;
    assert_int_equal(getsockopt((SOCKET)sock, IPPROTO_TCP, TCP_NODELAY, (char *)&value, &length),
                     0);
    return (value & 0xFF) == 1;
}

static bool is_inheritable(pco_socket sock)
{
    DWORD flags = 0;
    assert_true(GetHandleInformation((HANDLE)sock, &flags));
    return (flags & HANDLE_FLAG_INHERIT) != 0;
}

static pco_socket bind_with(int reuse_address)
{
    pco__listener_options options = {.reuse_address = reuse_address};
    pco_address address = loopback();
    pco_socket sock = PCO_NO_SOCKET;
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, &sock, NULL), 0);
    return sock;
}

/* ---- Options of listeners ---- */

static void reuse_port_is_refused_by_a_sentence_that_names_windows(void **state)
{
    (void)state;
    pco__listener_options options = {.reuse_port = true};
    pco_address address = loopback();
    pco_socket sock = PCO_NO_SOCKET;
    pco_error error = {0};

    assert_int_equal(pco__system_network.reuse_port_supported(&error), PCO_ENOTSUP);
    assert_int_equal(error.code, PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "reuse_port"));
    assert_non_null(strstr(error.message, "Windows"));

    memset(&error, 0, sizeof error);
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, &sock, &error),
                     PCO_ENOTSUP);
    assert_int_equal(sock, PCO_NO_SOCKET);
    assert_non_null(strstr(error.message, "Windows"));
}

static void by_default_an_address_is_neither_shared_nor_exclusive(void **state)
{
    (void)state;
    pco_socket sock = bind_with(PCO_DEFAULT);
    assert_false(option_of(sock, SO_REUSEADDR));
    assert_false(option_of(sock, SO_EXCLUSIVEADDRUSE));
    pco__system_network.close(NULL, sock, false);
}

static void reuse_address_on_shares_and_off_excludes(void **state)
{
    (void)state;
    pco_socket on = bind_with(PCO_ON);
    pco_socket off = bind_with(PCO_OFF);
    assert_true(option_of(on, SO_REUSEADDR));
    assert_false(option_of(on, SO_EXCLUSIVEADDRUSE));
    assert_false(option_of(off, SO_REUSEADDR));
    assert_true(option_of(off, SO_EXCLUSIVEADDRUSE));
    pco__system_network.close(NULL, on, false);
    pco__system_network.close(NULL, off, false);
}

static void an_address_in_use_is_refused_when_it_is_bound(void **state)
{
    (void)state;
    pco__listener_options options = {0};
    pco_address address;
    pco_socket first = bound_socket(&address);
    pco_socket second = PCO_NO_SOCKET;
    pco_error error = {0};
    assert_int_equal(pco__system_network.listen(NULL, first, 1, NULL), 0);
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, &second, &error),
                     PCO_EADDRINUSE);
    assert_int_equal(second, PCO_NO_SOCKET);
    assert_int_equal(error.system_code, WSAEADDRINUSE);
    pco__system_network.close(NULL, first, false);
}

/* ---- Sockets ---- */

static void no_socket_is_inherited_by_child_processes(void **state)
{
    (void)state;
    listener from;
    end client;
    open_listener(&from);
    pco_socket accepted = connect_one(&from, &client);
    assert_false(is_inheritable(from.io.socket));
    assert_false(is_inheritable(client.io.socket));
    assert_false(is_inheritable(accepted));
    pco__system_network.close(NULL, accepted, false);
    close_end(&client);
    close_listener(&from);
}

static void a_pair_is_blocking_and_not_inherited(void **state)
{
    (void)state;
    pco_socket pair[2];
    char byte = 0;
    pco_error error = {0};
    assert_int_equal(pco_socket_pair(pair, &error), 0);
    for (size_t i = 0; i < 2; ++i) {
        assert_false(is_inheritable(pair[i]));
        assert_true(no_delay_of(pair[i]));
    }
    assert_int_equal(send((SOCKET)pair[0], "x", 1, 0), 1);
    assert_int_equal(recv((SOCKET)pair[1], &byte, 1, MSG_WAITALL), 1);
    assert_int_equal(send((SOCKET)pair[1], "y", 1, 0), 1);
    assert_int_equal(recv((SOCKET)pair[0], &byte, 1, MSG_WAITALL), 1);
    assert_int_equal(byte, 'y');
    closesocket((SOCKET)pair[0]);
    closesocket((SOCKET)pair[1]);
}

/* Without SO_UPDATE_ACCEPT_CONTEXT and SO_UPDATE_CONNECT_CONTEXT both would not know each other. */
static void both_ends_know_their_names_and_can_be_shut_down(void **state)
{
    (void)state;
    listener from;
    end client;
    pco_address clients;
    pco_address servers;
    open_listener(&from);
    pco_socket accepted = connect_one(&from, &client);
    assert_int_equal(pco__system_network.sockname(NULL, client.io.socket, &clients), 0);
    assert_int_equal(pco__system_network.peername(NULL, accepted, &servers), 0);
    assert_true(pco_address_equal(&clients, &servers));
    assert_int_equal(pco__system_network.peername(NULL, client.io.socket, &servers), 0);
    assert_true(pco_address_equal(&servers, &from.address));
    assert_int_equal(pco__system_network.sockname(NULL, accepted, &servers), 0);
    assert_true(pco_address_equal(&servers, &from.address));
    assert_int_equal(shutdown((SOCKET)accepted, SD_SEND), 0);
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    pco__system_network.close(NULL, accepted, false);
    close_end(&client);
    close_listener(&from);
}

static void an_accepted_socket_is_non_blocking_and_sends_small_packets_at_once(void **state)
{
    (void)state;
    listener from;
    end client;
    char byte;
    pco__socket_options options = {.keep_alive = PCO_ON};
    open_listener(&from);
    pco_socket accepted = connect_one(&from, &client);
    pco__system_network.prepare_connected(NULL, accepted, &options, false);
    assert_true(no_delay_of(accepted));
    assert_true(no_delay_of(client.io.socket));
    assert_true(option_of(accepted, SO_KEEPALIVE));
    assert_int_equal(recv((SOCKET)accepted, &byte, 1, 0), SOCKET_ERROR);
    assert_int_equal(WSAGetLastError(), WSAEWOULDBLOCK);
    pco__system_network.close(NULL, accepted, false);
    close_end(&client);
    close_listener(&from);
}

/* Whether this Windows, or Wine, takes the option at all. */
static bool takes(pco_socket sock, int option, int value)
{
    return setsockopt((SOCKET)sock, IPPROTO_TCP, option, (const char *)&value, sizeof value) == 0;
}

/* What Windows calls TCP_KEEPCNT, TCP_MAXRT and TCP_MAXRTMS. */
enum { KEEP_COUNT = 16, MAXIMUM_SECONDS = 5, MAXIMUM_MS = 14 };

static int tcp_option_of(pco_socket sock, int name)
{
    int value = -1;
    int length = sizeof value;
    assert_int_equal(getsockopt((SOCKET)sock, IPPROTO_TCP, name, (char *)&value, &length), 0);
    return value;
}

/* Both ways lead there: the newer options, and the older control code, which Wine has alone. */
static void keep_alives_times_can_be_set_alone_and_together(void **state)
{
    (void)state;
    static const pco__socket_options cases[] = {
        {.keep_alive = PCO_ON, .keep_alive_idle = 60},
        {.keep_alive = PCO_ON, .keep_alive_interval = 0.5},
        {.keep_alive = PCO_ON, .keep_alive_idle = 32767, .keep_alive_interval = 32767}};
    pco_error error = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        pco_socket sock;
        assert_int_equal(pco__system_network.socket_options_supported(&cases[i], &error), 0);
        assert_int_equal(pco__system_network.open(NULL, PCO_AF_INET, 0, &sock, NULL), 0);
        assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &cases[i], true), 0);
        assert_true(option_of(sock, SO_KEEPALIVE));
        pco__system_network.close(NULL, sock, false);
    }
}

static void what_this_windows_lacks_is_refused_by_its_name(void **state)
{
    (void)state;
    pco__socket_options count = {.keep_alive = PCO_ON, .keep_alive_count = 7};
    pco__socket_options most = {.user_timeout = 2.5};
    pco_error error = {0};
    pco_socket first;
    pco_socket sock;
    assert_int_equal(pco__system_network.open(NULL, PCO_AF_INET, 0, &first, NULL), 0);
    assert_int_equal(pco__system_network.open(NULL, PCO_AF_INET, 0, &sock, NULL), 0);
    if (takes(first, KEEP_COUNT, 7)) {
        assert_int_equal(pco__system_network.socket_options_supported(&count, &error), 0);
        assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &count, true), 0);
        assert_int_equal(tcp_option_of(sock, KEEP_COUNT), 7);
    } else {
        print_message("no TCP_KEEPCNT here\n");
        assert_int_equal(pco__system_network.socket_options_supported(&count, &error), PCO_ENOTSUP);
        assert_non_null(strstr(error.message, "keep_alive_count"));
    }
    bool has_ms = takes(first, MAXIMUM_MS, 2500);
    if (has_ms || takes(first, MAXIMUM_SECONDS, 3)) {
        assert_int_equal(pco__system_network.socket_options_supported(&most, &error), 0);
        assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &most, true), 0);
        assert_int_equal(tcp_option_of(sock, has_ms ? MAXIMUM_MS : MAXIMUM_SECONDS),
                         has_ms ? 2500 : 3);
    } else {
        print_message("neither TCP_MAXRTMS nor TCP_MAXRT here\n");
        assert_int_equal(pco__system_network.socket_options_supported(&most, &error), PCO_ENOTSUP);
        assert_non_null(strstr(error.message, "user_timeout"));
    }
    pco__system_network.close(NULL, first, false);
    pco__system_network.close(NULL, sock, false);
}

static void off_ends_keep_alive_of_a_socket_that_has_it(void **state)
{
    (void)state;
    static const pco__socket_options on = {.keep_alive = PCO_ON};
    static const pco__socket_options off = {.keep_alive = PCO_OFF};
    static const pco__socket_options default_ = {.keep_alive = PCO_DEFAULT};
    pco_socket sock;
    assert_int_equal(pco__system_network.open(NULL, PCO_AF_INET, 0, &sock, NULL), 0);
    assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &on, true), 0);
    assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &default_, true), 0);
    assert_true(option_of(sock, SO_KEEPALIVE));
    assert_int_equal(pco__system_network.prepare_connected(NULL, sock, &off, true), 0);
    assert_false(option_of(sock, SO_KEEPALIVE));
    pco__system_network.close(NULL, sock, false);
}

static void connecting_to_the_unspecified_address_reaches_this_machine(void **state)
{
    (void)state;
    listener from;
    end client;
    open_listener(&from);
    pco_address *any = NULL;
    size_t count = 0;
    assert_int_equal(pco__system_network.resolve("0.0.0.0", pco_address_port(&from.address),
                                                 PCO_AF_INET, 0, &any, &count, NULL),
                     0);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    start_connecting(&client, &any[0]);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, 0);
    assert_true(completes(&from.accept));
    pco__free(any);
    pco__system_network.close(NULL, from.accept.socket, false);
    close_end(&client);
    close_listener(&from);
}

/* Windows tries three times, half a second apart, unless it is told not to. Wine never does. */
static void a_refused_connect_to_this_machine_does_not_take_seconds(void **state)
{
    (void)state;
    end client;
    pco_address address;
    pco_socket nobody = bound_socket(&address);
    pco__system_network.close(NULL, nobody, false);
    uint64_t began = now();
    start_connecting(&client, &address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    assert_true(now() - began < SECOND);
    close_end(&client);
}

/* To another machine, be it one that nobody has: nothing waits for the answer. */
static void what_routers_answer_ends_a_connect_where_windows_can_do_that(void **state)
{
    (void)state;
    enum { FAIL_ON_ICMP_ERROR = 18 };
    end client;
    pco_address nobody;
    pco_socket first;
    assert_int_equal(pco_address_parse("192.0.2.1", 9, &nobody), 0);
    assert_int_equal(pco__system_network.open(NULL, PCO_AF_INET, 0, &first, NULL), 0);
    bool can = takes(first, FAIL_ON_ICMP_ERROR, 1);
    pco__system_network.close(NULL, first, false);
    start_connecting(&client, &nobody);
    if (can) {
        assert_int_equal(tcp_option_of(client.io.socket, FAIL_ON_ICMP_ERROR), 1);
    } else {
        print_message("no TCP_FAIL_CONNECT_ON_ICMP_ERROR here\n");
    }
    at.backend->class_->cancel(at.backend, &client.out.op);
    assert_true(completes(&client.out));
    assert_int_not_equal(client.out.error, 0);
    close_end(&client);
}

static void a_watch_hears_of_a_reset_while_nothing_is_unread(void **state)
{
    (void)state;
    end client;
    end server;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_WATCH);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

/* ---- What the completion port takes ---- */

static int attach_error(SOCKET sock, pco_error *error)
{
    pco__io io = {.socket = (pco_socket)sock};
    return at.backend->class_->attach(at.backend, &io, PCO__IO_LISTENER, error);
}

static void a_socket_that_is_not_overlapped_is_refused(void **state)
{
    (void)state;
    pco_error error = {0};
    SOCKET sock = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, 0);
    assert_true(sock != INVALID_SOCKET);
    assert_int_equal(attach_error(sock, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "WSA_FLAG_OVERLAPPED"));
    closesocket(sock);
}

static void a_socket_of_another_completion_port_is_refused(void **state)
{
    (void)state;
    pco_error error = {0};
    pco_address address;
    pco_socket sock = bound_socket(&address);
    HANDLE port = CreateIoCompletionPort((HANDLE)sock, NULL, 0, 1);
    assert_non_null(port);
    assert_int_equal(attach_error((SOCKET)sock, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "another completion port"));
    pco__system_network.close(NULL, sock, false);
    CloseHandle(port);
}

static void a_listener_of_the_users_must_be_a_stream_socket(void **state)
{
    (void)state;
    pco__listener_options options = {0};
    bool was_blocking;
    pco_error error = {0};
    SOCKET datagram = WSASocketW(AF_INET, SOCK_DGRAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
    assert_true(datagram != INVALID_SOCKET);
    assert_int_equal(pco__system_network.adopt_listener(NULL, (pco_socket)datagram, &options,
                                                        &was_blocking, &error),
                     PCO_EINVAL);
    closesocket(datagram);
    assert_int_equal(pco__system_network.adopt_listener(NULL, (pco_socket)datagram, &options,
                                                        &was_blocking, &error),
                     PCO_ENOTSOCK);
}

/* ---- Clients that go away ---- */

/* Each client has reset before the listener accepts anything; the last one has not. */
static void clients_that_have_reset_are_passed_over_in_silence(void **state)
{
    (void)state;
    enum { CLIENTS = 20 };
    listener from;
    end client;
    open_listener(&from);
    for (int i = 0; i < CLIENTS; ++i) {
        start_connecting(&client, &from.address);
        assert_true(completes(&client.out));
        assert_int_equal(client.out.error, 0);
        close_io(&client.io, true);
    }
    pco_socket accepted = connect_one(&from, &client);
    pco_address mine;
    assert_int_equal(pco__system_network.sockname(NULL, client.io.socket, &mine), 0);
    assert_true(pco_address_equal(&mine, &from.accept.peer));
    pco__system_network.close(NULL, accepted, false);
    close_end(&client);
    close_listener(&from);
}

/* ---- The system ---- */

/* A SYN is not repeated at all where the build understands that; otherwise once. */
static void refusing_at_once_is_asked_for_in_the_builds_own_way(void **state)
{
    (void)state;
    assert_int_equal(pco__winsock_syn_retransmissions(10240), 1);
    assert_int_equal(pco__winsock_syn_retransmissions(16298), 1);
    assert_int_equal(pco__winsock_syn_retransmissions(16299), (UCHAR)-2);
    assert_int_equal(pco__winsock_syn_retransmissions(26100), (UCHAR)-2);
    assert_true(pco__windows_build() >= 7601); /* Wine 8 is Windows 7 unless it is told otherwise */
}

/* The time that waits are reckoned in, which stands still while the machine sleeps. */
static void the_clock_is_that_of_interrupts_without_sleep(void **state)
{
    (void)state;
    ULONGLONG before = 0;
    ULONGLONG after = 0;
    QueryUnbiasedInterruptTime(&before);
    uint64_t told = pco__monotonic();
    QueryUnbiasedInterruptTime(&after);
    assert_true(told >= before * 100);
    assert_true(told <= after * 100 + 100 * MILLISECOND); /* those two move by the tick */
}

/* ---- Errors and files ---- */

static void every_kind_of_code_is_told_as_the_same_error(void **state)
{
    (void)state;
    static const struct {
        int error;
        int codes[16];
    } rows[] = {
        {PCO_ECONNRESET,
         {WSAECONNRESET, WSAENETRESET, WSAEDISCON, ERROR_NETNAME_DELETED, ERROR_BROKEN_PIPE,
          ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED, STATUS_CONNECTION_RESET, STATUS_PIPE_BROKEN,
          STATUS_PIPE_CLOSING, STATUS_REMOTE_DISCONNECT}},
        {PCO_ECONNABORTED, {WSAECONNABORTED, ERROR_CONNECTION_ABORTED, STATUS_CONNECTION_ABORTED}},
        {PCO_ECONNREFUSED, {WSAECONNREFUSED, ERROR_CONNECTION_REFUSED, STATUS_CONNECTION_REFUSED}},
        {PCO_EPIPE, {WSAESHUTDOWN, STATUS_PIPE_DISCONNECTED}},
        {PCO_ENOTCONN, {WSAENOTCONN, ERROR_CONNECTION_INVALID, STATUS_CONNECTION_INVALID}},
        {PCO_EISCONN, {WSAEISCONN, ERROR_CONNECTION_ACTIVE, STATUS_CONNECTION_ACTIVE}},
        {PCO_ETIMEDOUT, {WSAETIMEDOUT, ERROR_SEM_TIMEOUT, STATUS_IO_TIMEOUT}},
        {PCO_ECANCELED, {ERROR_OPERATION_ABORTED, STATUS_CANCELLED, WSA_E_CANCELLED, WSAEINTR}},
        {PCO_EMFILE,
         {WSAEMFILE, WSAEUSERS, WSAEPROCLIM, ERROR_TOO_MANY_OPEN_FILES,
          ERROR_CONNECTION_COUNT_LIMIT, STATUS_TOO_MANY_OPENED_FILES,
          STATUS_CONNECTION_COUNT_LIMIT}},
        {PCO_ENOMEM, {ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, STATUS_NO_MEMORY}},
        {PCO_ENOBUFS,
         {WSAENOBUFS, WSAEDQUOT, WSAETOOMANYREFS, ERROR_NO_SYSTEM_RESOURCES,
          STATUS_INSUFFICIENT_RESOURCES, STATUS_TOO_MANY_ADDRESSES}},
        {PCO_EADDRINUSE,
         {WSAEADDRINUSE, STATUS_ADDRESS_ALREADY_EXISTS, STATUS_SHARING_VIOLATION,
          STATUS_CONFLICTING_ADDRESSES}},
        {PCO_EADDRNOTAVAIL,
         {WSAEADDRNOTAVAIL, WSAEREMOTE, ERROR_INCORRECT_ADDRESS, STATUS_INVALID_ADDRESS_COMPONENT}},
        {PCO_EACCES,
         {WSAEACCES, ERROR_ACCESS_DENIED, ERROR_NETWORK_ACCESS_DENIED, STATUS_ACCESS_DENIED}},
        {PCO_EHOSTUNREACH,
         {WSAEHOSTUNREACH, WSAEHOSTDOWN, ERROR_HOST_UNREACHABLE, ERROR_HOST_DOWN,
          STATUS_HOST_UNREACHABLE, STATUS_HOST_DOWN}},
        {PCO_ENETUNREACH, {WSAENETUNREACH, ERROR_NETWORK_UNREACHABLE, STATUS_NETWORK_UNREACHABLE}},
        {PCO_ENETDOWN,
         {WSAENETDOWN, WSASYSNOTREADY, WSANOTINITIALISED, WSAEINVALIDPROCTABLE, WSAEINVALIDPROVIDER,
          WSAEPROVIDERFAILEDINIT, WSASYSCALLFAILURE, ERROR_NO_NETWORK, ERROR_UNEXP_NET_ERR,
          ERROR_DEV_NOT_EXIST, STATUS_NO_SUCH_DEVICE, STATUS_NETWORK_BUSY, STATUS_DEVICE_REMOVED,
          STATUS_OBJECT_NAME_NOT_FOUND}},
        {PCO_EAGAIN,
         {WSAEWOULDBLOCK, ERROR_RETRY, STATUS_DEVICE_NOT_READY, STATUS_CANT_WAIT,
          STATUS_DATA_NOT_ACCEPTED}},
        {PCO_EBUSY, {WSAEINPROGRESS, WSAEALREADY, ERROR_BUSY}},
        {PCO_EMSGSIZE, {WSAEMSGSIZE, ERROR_MORE_DATA, STATUS_BUFFER_OVERFLOW}},
        {PCO_ENOTSOCK, {WSAENOTSOCK, WSAEBADF, ERROR_INVALID_HANDLE, STATUS_INVALID_HANDLE}},
        {PCO_EAFNOSUPPORT, {WSAEAFNOSUPPORT, WSAEPFNOSUPPORT}},
        {PCO_ENOTSUP,
         {WSAEOPNOTSUPP, WSAENOPROTOOPT, WSAEPROTONOSUPPORT, WSAESOCKTNOSUPPORT, WSAVERNOTSUPPORTED,
          ERROR_NOT_SUPPORTED, ERROR_INVALID_FUNCTION, ERROR_CALL_NOT_IMPLEMENTED,
          STATUS_NOT_SUPPORTED, STATUS_NOT_IMPLEMENTED, STATUS_INVALID_DEVICE_REQUEST,
          STATUS_PROTOCOL_NOT_SUPPORTED}},
        {PCO_EINVAL,
         {WSAEINVAL, WSAEFAULT, WSAEDESTADDRREQ, WSAEPROTOTYPE, WSAELOOP, WSAENAMETOOLONG,
          ERROR_INVALID_PARAMETER, STATUS_INVALID_PARAMETER, STATUS_INVALID_ADDRESS}},
        {PCO_ENONAME,
         {WSAHOST_NOT_FOUND, WSANO_DATA, WSASERVICE_NOT_FOUND, WSATYPE_NOT_FOUND, WSAENOMORE,
          WSA_E_NO_MORE}},
        {PCO_ERESOLVE, {WSATRY_AGAIN, WSANO_RECOVERY, WSAEREFUSED}},
        {PCO_ENOENT, {ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND}},
        {PCO_EUNKNOWN, {123456}},
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; ++row) {
        for (size_t i = 0; i < 16 && rows[row].codes[i] != 0; ++i) {
            assert_int_equal(pco__error_from_system(rows[row].codes[i]), rows[row].error);
        }
    }
}

static void a_path_is_read_as_utf8(void **state)
{
    (void)state;
    static const WCHAR name[] = {0x00E9, 0x03C3, 0x6F22, '.', 't', 'x', 't', 0};
    static const char utf8[] = "\xC3\xA9\xCF\x83\xE6\xBC\xA2.txt";
    unsigned char *data = NULL;
    size_t length = 0;
    pco_error error = {0};
    WCHAR path[MAX_PATH + 16];
    char text[4 * (MAX_PATH + 16)];
    DWORD folder = GetTempPathW(MAX_PATH, path);
    assert_in_range(folder, 1, MAX_PATH);
    int used = WideCharToMultiByte(CP_UTF8, 0, path, (int)folder, text, MAX_PATH * 3, NULL, NULL);
    memcpy(path + folder, name, sizeof name);
    memcpy(text + used, utf8, sizeof utf8);

    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    DWORD written = 0;
    assert_true(WriteFile(file, "portico", 7, &written, NULL));
    CloseHandle(file);

    int code = pco__read_file(text, 7, &data, &length, &error);
    int too_long = pco__read_file(text, 6, &data, &length, NULL);
    DeleteFileW(path);
    assert_int_equal(code, 0);
    assert_int_equal(length, 7);
    assert_memory_equal(data, "portico", 7);
    pco__free(data);
    assert_int_equal(too_long, PCO_EINVAL);
    assert_int_equal(pco__read_file(text, 7, &data, &length, &error), PCO_ENOENT);
    assert_non_null(strstr(error.message, utf8));
    text[used] = (char)0xFF; /* no UTF-8 any more */
    assert_int_equal(pco__read_file(text, 7, &data, &length, &error), PCO_EINVAL);
}

static void a_folder_and_a_missing_file_are_told_apart(void **state)
{
    (void)state;
    unsigned char *data = NULL;
    size_t length = 0;
    assert_int_equal(pco__read_file(".", 100, &data, &length, NULL), PCO_EINVAL);
    assert_int_equal(pco__read_file("no such file", 100, &data, &length, NULL), PCO_ENOENT);
    assert_int_equal(pco__read_file("no such folder\\x", 100, &data, &length, NULL), PCO_ENOENT);
    assert_null(data);
}

/* ---- Sockets of other libraries ---- */

static void count_call(void *context)
{
    ++*(unsigned *)context;
}

static bool is_called(pco_loop *loop, const unsigned *calls, unsigned goal)
{
    for (unsigned turn = 0; turn < 1000 && *calls < goal; turn++) {
        pco_loop_run_once(loop, 1);
    }
    return *calls >= goal;
}

/* What its owner has done with it stays: its port, its events, and that it blocks. */
static void a_socket_is_watched_whatever_its_owner_does_with_it(void **state)
{
    (void)state;
    pco_loop *loop = NULL;
    pco_socket pair[2];
    WSANETWORKEVENTS news;
    u_long many = 0;
    char byte;
    unsigned calls = 0;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    HANDLE port = CreateIoCompletionPort((HANDLE)pair[0], NULL, 0, 1);
    WSAEVENT event = WSACreateEvent();
    assert_non_null(port);
    assert_int_equal(WSAEventSelect((SOCKET)pair[0], event, FD_READ), 0);
    assert_int_equal(pco_loop_add_reader(loop, pair[0], count_call, &calls, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_int_equal(calls, 0);
    assert_int_equal(send((SOCKET)pair[1], "x", 1, 0), 1);
    assert_true(is_called(loop, &calls, 3));
    assert_int_equal(WaitForSingleObject(event, 10000), WAIT_OBJECT_0);
    assert_int_equal(WSAEnumNetworkEvents((SOCKET)pair[0], event, &news), 0);
    assert_true((news.lNetworkEvents & FD_READ) != 0);
    assert_int_equal(ioctlsocket((SOCKET)pair[0], (long)FIONREAD, &many), 0);
    assert_int_equal(many, 1);
    assert_int_equal(recv((SOCKET)pair[0], &byte, 1, 0), 1);
    assert_int_equal(pco_loop_add_reader(loop, pair[1], count_call, &calls, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_true(pco_loop_remove_reader(loop, pair[0]));
    assert_int_equal(pco_loop_free(loop), 0);
    closesocket((SOCKET)pair[0]);
    closesocket((SOCKET)pair[1]);
    WSACloseEvent(event);
    CloseHandle(port);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(reuse_port_is_refused_by_a_sentence_that_names_windows),
        TEST(by_default_an_address_is_neither_shared_nor_exclusive),
        TEST(reuse_address_on_shares_and_off_excludes),
        TEST(an_address_in_use_is_refused_when_it_is_bound),
        TEST(no_socket_is_inherited_by_child_processes),
        TEST(a_pair_is_blocking_and_not_inherited),
        TEST(both_ends_know_their_names_and_can_be_shut_down),
        TEST(an_accepted_socket_is_non_blocking_and_sends_small_packets_at_once),
        TEST(keep_alives_times_can_be_set_alone_and_together),
        TEST(what_this_windows_lacks_is_refused_by_its_name),
        TEST(off_ends_keep_alive_of_a_socket_that_has_it),
        TEST(connecting_to_the_unspecified_address_reaches_this_machine),
        TEST(a_refused_connect_to_this_machine_does_not_take_seconds),
        TEST(what_routers_answer_ends_a_connect_where_windows_can_do_that),
        TEST(a_watch_hears_of_a_reset_while_nothing_is_unread),
        TEST(a_socket_that_is_not_overlapped_is_refused),
        TEST(a_socket_of_another_completion_port_is_refused),
        TEST(a_listener_of_the_users_must_be_a_stream_socket),
        TEST(clients_that_have_reset_are_passed_over_in_silence),
        TEST(refusing_at_once_is_asked_for_in_the_builds_own_way),
        TEST(the_clock_is_that_of_interrupts_without_sleep),
        TEST(every_kind_of_code_is_told_as_the_same_error),
        TEST(a_path_is_read_as_utf8),
        TEST(a_folder_and_a_missing_file_are_told_apart),
        TEST(a_socket_is_watched_whatever_its_owner_does_with_it),
    };
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
