/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_unix_connection, and what both ends know of each other; plain and with TLS, on every
 * backend.
 * Method: real sockets in a folder of each test's own; a second user where root runs it.
 */
#define _GNU_SOURCE 1

#include "unix_world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- Talking ---- */

static void both_ends_talk_and_end_each_direction(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    record *server = unix_other_end(&client);
    unix_talk(&client);
    if (at.tls) {
        assert_false(pco_transport_can_write_eof(client.transport));
    } else {
        at.answers = true;
        assert_int_equal(pco_transport_write_eof(client.transport), 0);
        assert_true(reaches(&server->counts[AT_EOF], 1));
        pco_transport_write(server->transport, "still", 5);
        assert_true(grows_to(&client.protocol->length, 300005));
        at.answers = false;
    }
    pco_transport_close(server->transport);
    assert_true(reaches(&at.lost, 2));
    assert_true(server->lost_cleanly);
    assert_true(client.protocol->lost_cleanly);
}

static void many_connections_talk_at_once(void **state)
{
    (void)state;
    enum { COUNT = 50 };
    outcome told[COUNT] = {{0}};
    pco_connection_options options = unix_connection();
    unix_serve(there.path, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        unix_connect_begin(there.path, &options, &told[i], NULL);
    }
    assert_true(reaches(&at.made, 2 * COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(reaches(&told[i].calls, 1));
        assert_non_null(told[i].transport);
        pco_transport_write(told[i].transport, pattern(10000), 10000);
    }
    for (record *one = at.records; one != NULL; one = one->next) {
        bool is_client = false;
        for (size_t i = 0; i < COUNT; i++) {
            is_client = is_client || told[i].protocol == one;
        }
        if (!is_client) {
            assert_true(grows_to(&one->length, 10000));
            assert_memory_equal(one->data, pattern(10000), 10000);
        }
    }
    pco_server_close_clients(at.server);
    assert_true(reaches(&at.lost, 2 * COUNT));
    end_server();
}

static void a_slow_reader_makes_its_writer_pause(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    record *server = unix_other_end(&client);
    assert_int_equal(pco_transport_pause_reading(server->transport), 0);
    pco_transport_write(client.transport, pattern(3000000), 3000000);
    assert_true(client.protocol->paused);
    assert_int_equal(pco_transport_resume_reading(server->transport), 0);
    assert_true(grows_to(&server->length, 3000000));
    assert_memory_equal(server->data, pattern(3000000), 3000000);
    assert_true(reaches(&client.protocol->counts[AT_RESUME], 1));
    unix_part(&client);
}

static void writing_to_an_end_that_is_gone_raises_no_signal(void **state)
{
    (void)state;
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    record *server = unix_other_end(&client);
    pco_transport_retain(client.transport);
    assert_int_equal(pco_transport_pause_reading(client.transport), 0);
    pco_transport_abort(server->transport);
    assert_true(reaches(&at.lost, 1));
    for (int i = 0; i < 5; i++) {
        pco_transport_write(client.transport, pattern(300000), 300000);
        let_pass(2);
    }
    pco_transport_abort(client.transport);
    assert_true(reaches(&at.lost, 2));
    pco_transport_release(client.transport);
    signal(SIGPIPE, before);
}

/* ---- Names ---- */

static void assert_host_is(const pco_address *address, const char *host)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    assert_int_equal(pco_address_family(address), PCO_AF_UNIX);
    assert_int_equal(pco_address_port(address), 0);
    assert_int_equal(pco_address_host(address, text, sizeof text), 0);
    assert_string_equal(text, host);
    assert_int_equal(pco_address_format(address, text, sizeof text), 0);
    assert_string_equal(text, host);
}

static void who_connects_has_no_name_and_the_server_its_path(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    record *server = unix_other_end(&client);
    pco_address address;
    assert_int_equal(pco_server_get_sockname(at.server, 0, &address), 0);
    assert_host_is(&address, there.path);
    assert_int_equal(pco_transport_get_peername(client.transport, &address), 0);
    assert_host_is(&address, there.path);
    assert_int_equal(pco_transport_get_sockname(server->transport, &address), 0);
    assert_host_is(&address, there.path);
    assert_int_equal(pco_transport_get_sockname(client.transport, &address), 0);
    assert_host_is(&address, "");
    assert_int_equal(pco_transport_get_peername(server->transport, &address), 0);
    assert_host_is(&address, "");
    unix_part(&client);
}

/* ---- Who it is ---- */

static void both_ends_know_who_the_other_is(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    record *server = unix_other_end(&client);
    pco_transport *ends[2] = {client.transport, server->transport};
    for (size_t i = 0; i < 2; i++) {
        pco_credentials found = {.size = sizeof found};
        assert_int_equal(pco_transport_get_peer_credentials(ends[i], &found), 0);
        assert_true(found.user == (long long)geteuid());
        assert_true(found.group == (long long)getegid());
        assert_true(found.process == (long long)getpid() || found.process == -1);
#if defined(__linux__) || defined(__APPLE__)
        assert_true(found.process == (long long)getpid());
#endif
    }
    assert_int_equal(pco_transport_get_peer_credentials(ends[0], NULL), PCO_EINVAL);
    pco_transport_retain(ends[0]);
    unix_part(&client);
    pco_credentials found = {.size = sizeof found, .user = 7, .group = 8, .process = 9};
    assert_int_equal(pco_transport_get_peer_credentials(ends[0], &found), PCO_ECLOSED);
    assert_true(found.user == 7 && found.group == 8 && found.process == 9);
    pco_transport_release(ends[0]);
}

static void over_tcp_there_are_no_credentials(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    pco_credentials found = {.size = sizeof found, .user = 7};
    assert_int_equal(pco_transport_get_peer_credentials(newest()->transport, &found), PCO_ENOTSUP);
    assert_true(found.user == 7);
    leave(client);
}

/* Connects as somebody else, and stays until the server goes. */
static int connect_and_wait(void)
{
    char byte;
    int sock = connected_raw(there.path);
    if (sock < 0) {
        return errno == EACCES ? 1 : 2;
    }
    fcntl(sock, F_SETFL, 0);
    return recv(sock, &byte, 1, 0) < 0 ? 3 : 0;
}

static pco_credentials seen = {.size = sizeof seen};

static void note_who(record *self, pco_transport *transport)
{
    (void)self;
    if (pco_transport_get_peer_credentials(transport, &seen) != 0) {
        violate("no credentials");
    }
    pco_transport_close(transport);
}

static void another_user_is_told_as_such_and_kept_out_by_the_mode(void **state)
{
    (void)state;
    need_root();
    pco_unix_options file = {.size = sizeof file, .mode = 0600};
    assert_int_equal(chmod(there.folder, 0755), 0);
    unix_serve(there.path, &file);
    assert_int_equal(as_nobody(connect_and_wait), 1);
    end_server();
    if (at.tls) {
        return; /* the raw socket speaks none */
    }
    file.mode = 0666;
    unix_serve(there.path, &file);
    at.at[AT_MADE] = note_who;
    pid_t child = as_nobody_begin(connect_and_wait);
    assert_true(reaches(&at.made, 1));
    assert_int_equal(child_end(child), 0);
    assert_true(seen.user == NOBODY);
    assert_true(seen.group == NOBODY);
    assert_true(reaches(&at.lost, 1));
}

/* ---- Failures ---- */

/* The sentence names the path, once. */
static void assert_told(const outcome *told, int code)
{
    assert_int_equal(told->calls, 1);
    assert_null(told->transport);
    assert_null(told->protocol);
    assert_int_equal(told->error.code, code);
    const char *found = strstr(told->error.message, there.path);
    assert_non_null(found);
    assert_null(strstr(found + 1, there.path));
}

static void where_nobody_listens_the_reason_is_told(void **state)
{
    (void)state;
    outcome told = unix_connect(there.path);
    assert_told(&told, PCO_ENOENT);
    leave_behind(there.path);
    told = unix_connect(there.path);
    assert_told(&told, PCO_ECONNREFUSED);
    unlink(there.path);
    close(open(there.path, O_CREAT | O_WRONLY, 0600));
    told = unix_connect(there.path);
#if defined(__linux__)
    assert_told(&told, PCO_ECONNREFUSED);
#else
    assert_told(&told, PCO_ENOTSOCK);
#endif
    unlink(there.path);
    close(bound_raw(there.path, SOCK_DGRAM));
    told = unix_connect(there.path);
    assert_told(&told, PCO_ECONNREFUSED);
    unlink(there.path);
    int datagrams = bound_raw(there.path, SOCK_DGRAM);
    told = unix_connect(there.path);
    assert_told(&told, PCO_EINVAL);
    close(datagrams);
    assert_int_equal(at.factory_calls, 0);
}

/* The stages, as letters. */
static void note_stage(int stage, const pco_address *address, const pco_error *error, void *context)
{
    char *story = context;
    size_t length = strlen(story);
    if (length < 15) {
        story[length] = "?RCFH"[stage];
        story[length + 1] = '\0';
    }
    if (address == NULL || pco_address_family(address) != PCO_AF_UNIX ||
        (error != NULL) != (stage == PCO_CONNECTION_FAILED)) {
        violate("progress");
    }
}

static void progress_hears_of_the_path(void **state)
{
    (void)state;
    char story[16] = "";
    outcome told = {0};
    pco_connection_options options = unix_connection();
    options.progress = note_stage;
    options.context = story;
    unix_connect_begin(there.path, &options, &told, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_string_equal(story, "CF");
    unix_serve(there.path, NULL);
    story[0] = '\0';
    told.calls = 0;
    unix_connect_begin(there.path, &options, &told, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    assert_string_equal(story, at.tls ? "CH" : "C");
}

#if defined(__linux__)
/* Returns how many clients it took to fill the backlog. */
static size_t fill(int listener, int clients[16])
{
    size_t count = 0;
    assert_int_equal(listen(listener, 1), 0);
    while (count < 16 && (clients[count] = connected_raw(there.path)) >= 0) {
        count++;
    }
    assert_int_equal(errno, EAGAIN);
    assert_in_range(count, 1, 15);
    return count;
}

static void close_all(const int *clients, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        close(clients[i]);
    }
}

static void a_full_backlog_is_waited_for(void **state)
{
    (void)state;
    int clients[16];
    char story[16] = "";
    int listener = bound_raw(there.path, SOCK_STREAM);
    size_t count = fill(listener, clients);
    outcome told = {0};
    pco_connection_options options = unix_connection();
    options.ssl = NULL;
    options.server_hostname = NULL;
    options.progress = note_stage;
    options.context = story;
    unix_connect_begin(there.path, &options, &told, NULL);
    for (int i = 0; i < 20; i++) {
        pco_loop_run_once(at.loop, 0.002);
    }
    assert_int_equal(told.calls, 0);
    assert_string_equal(story, "C");
    close(accept(listener, NULL, NULL));
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    pco_transport_abort(told.transport);
    assert_true(reaches(&at.lost, 1));
    close_all(clients, count);
    close(listener);
}

static void waiting_for_a_full_backlog_ends_with_the_time_limit_a_cancel_or_the_server(void **state)
{
    (void)state;
    int clients[16];
    int listener = bound_raw(there.path, SOCK_STREAM);
    size_t count = fill(listener, clients);
    outcome told = {0};
    pco_request *request = NULL;
    pco_connection_options options = unix_connection();
    options.connect_timeout = 0.02;
    unix_connect_begin(there.path, &options, &told, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_told(&told, PCO_ETIMEDOUT);
    options.connect_timeout = 0;
    told = (outcome){0};
    unix_connect_begin(there.path, &options, &told, &request);
    let_pass(3);
    pco_request_cancel(request);
    pco_request_release(request);
    assert_true(reaches(&told.calls, 1));
    assert_told(&told, PCO_ECANCELED);
    told = (outcome){0};
    unix_connect_begin(there.path, &options, &told, NULL);
    let_pass(3);
    close(listener);
    assert_true(reaches(&told.calls, 1));
    assert_told(&told, PCO_ECONNREFUSED);
    close_all(clients, count);
}
#endif

/* ---- Options ---- */

static void assert_connection_refused(const char *path, const pco_connection_options *options,
                                      int code, const char *word)
{
    outcome told = {0};
    pco_request *request = NULL;
    pco_error error = {0};
    unsigned sockets = count_sockets();
    pco_loop_create_unix_connection(at.loop, path, options, unix_note_connected, &told, &request,
                                    &error);
    if (error.code != code || strstr(error.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error.message, word);
    }
    let_pass(3);
    assert_null(request);
    assert_int_equal(told.calls, 0);
    assert_int_equal(count_sockets(), sockets);
}

static void a_path_that_is_none_is_refused(void **state)
{
    (void)state;
    char longest[200];
    pco_connection_options options = unix_connection();
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_connection_refused("", &options, PCO_EINVAL, "path is empty");
    assert_connection_refused(longest, &options, PCO_EINVAL, "path has 199 bytes");
    assert_connection_refused("@", &options, PCO_EINVAL, "an abstract name of nothing");
    assert_connection_refused(NULL, &options, PCO_EINVAL, "path or sock is required");
#if !defined(__linux__)
    assert_connection_refused("@name", &options, PCO_ENOTSUP, "Linux's alone");
#endif
}

static void a_sock_that_is_connected_is_taken(void **state)
{
    (void)state;
    pco_connection_options options = unix_connection();
    outcome told = {0};
    int loose = socket(AF_UNIX, SOCK_STREAM, 0);
    options.sock = loose;
    assert_connection_refused(there.path, &options, PCO_EINVAL, "path and sock");
    close(loose);
    unix_serve(there.path, NULL);
    options.sock = connected_raw(there.path);
    unix_connect_begin(NULL, &options, &told, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.transport);
    assert_true(reaches(&at.made, 2));
    unix_talk(&told);
    unix_part(&told);
}

static void a_sock_of_another_kind_is_refused(void **state)
{
    (void)state;
    pco_connection_options options = unix_connection();
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    options.sock = sock;
    assert_connection_refused(NULL, &options, PCO_EINVAL, "a UNIX socket was expected");
    close(sock);
    assert_connection_refused(NULL, &options, PCO_ENOTSOCK, "sock");
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    options.sock = sock;
    assert_connection_refused(NULL, &options, PCO_ENOTCONN, "sock");
    close(sock);
}

static void options_of_tcp_are_refused_by_their_names(void **state)
{
    (void)state;
    pco_address address;
    assert_int_equal(pco_address_parse("127.0.0.1", 80, &address), 0);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        pco_connection_options options = unix_connection();                                        \
        options.field = value;                                                                     \
        assert_connection_refused(there.path, &options, PCO_EINVAL,                                \
                                  #field " is only meaningful for TCP");                           \
    } while (0)
    REFUSED(host, "localhost");
    REFUSED(port, 80);
    REFUSED(service, "http");
    REFUSED(addresses, &address);
    REFUSED(local_host, "127.0.0.1");
    REFUSED(local_port, 80);
    REFUSED(family, PCO_AF_INET);
    REFUSED(proto, 6);
    REFUSED(flags, PCO_AI_NONE);
    REFUSED(happy_eyeballs_delay, 1);
    REFUSED(interleave, 1);
    REFUSED(all_errors, PCO_OFF);
    REFUSED(keep_alive, PCO_ON);
    REFUSED(keep_alive_idle, 1);
    REFUSED(keep_alive_interval, 1);
    REFUSED(keep_alive_count, 1);
    REFUSED(user_timeout, 1);
#undef REFUSED
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        pco_server_options options = unix_server();                                                \
        options.field = value;                                                                     \
        unix_assert_refused(there.path, &options, NULL, PCO_EINVAL,                                \
                            #field " is only meaningful for TCP");                                 \
    } while (0)
    const char *hosts[] = {"localhost"};
    REFUSED(host, "localhost");
    REFUSED(hosts, hosts);
    REFUSED(port, 80);
    REFUSED(service, "http");
    REFUSED(same_port, PCO_ON);
    REFUSED(family, PCO_AF_INET);
    REFUSED(flags, PCO_AI_PASSIVE);
    REFUSED(reuse_address, PCO_OFF);
    REFUSED(reuse_port, PCO_ON);
    REFUSED(keep_alive, PCO_ON);
    REFUSED(keep_alive_idle, 1);
    REFUSED(keep_alive_interval, 1);
    REFUSED(keep_alive_count, 1);
    REFUSED(user_timeout, 1);
#undef REFUSED
}

static void options_that_create_connection_has_count_here_too(void **state)
{
    (void)state;
    pco_connection_options options = unix_connection();
    options.protocol_factory = NULL;
    assert_connection_refused(there.path, &options, PCO_EINVAL, "protocol_factory and protocol");
    options = unix_connection();
    options.server_hostname = at.tls ? NULL : "localhost";
    assert_connection_refused(there.path, &options, PCO_EINVAL, "server_hostname");
    options = unix_connection();
    options.connect_timeout = -1;
    assert_connection_refused(there.path, &options, PCO_EINVAL, "connect_timeout");
    options = unix_connection();
    options.has_sock = 7;
    assert_connection_refused(there.path, &options, PCO_EINVAL, "has_sock");
    assert_connection_refused(NULL, &options, PCO_EINVAL, "has_sock");
    options.has_sock = PCO_OFF;
    options.sock = 77;
    assert_connection_refused(there.path, &options, PCO_EINVAL, "has_sock is PCO_OFF");
    assert_connection_refused(NULL, &options, PCO_EINVAL, "has_sock is PCO_OFF");
    assert_connection_refused(there.path, NULL, PCO_EINVAL, "options is NULL");
}

/* ---- Trouble ---- */

static void want_of_memory_is_told_and_leaves_nothing_open(void **state)
{
    (void)state;
    pco_connection_options options = unix_connection();
    bool stands = false;
    unix_serve(there.path, NULL);
    at.at[AT_MADE] = NULL;
    for (size_t nth = 1; !stands; nth++) {
        outcome told = {0};
        assert_in_range(nth, 1, 300);
        unsigned made = at.made;
        memory_fail(nth, false);
        int code = pco_loop_create_unix_connection(at.loop, there.path, &options,
                                                   unix_note_connected, &told, NULL, NULL);
        bool is_told = code != 0 || reaches(&told.calls, 1);
        stands = told.transport != NULL && !memory_has_failed();
        memory_fail(0, false);
        assert_true(is_told);
        if (told.transport != NULL) {
            pco_transport_abort(told.transport);
        }
        assert_true(made == at.made || reaches(&at.lost, at.made));
    }
    assert_true(all_are_lost());
}

static void want_of_descriptors_is_told(void **state)
{
    (void)state;
    struct rlimit before;
    unix_serve(there.path, NULL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = dup(0);
    close(lowest);
    struct rlimit tight = {.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    outcome told = unix_connect(there.path);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_told(&told, PCO_EMFILE);
}

static const struct CMUnitTest tests[] = {
    UNIX_TEST(both_ends_talk_and_end_each_direction),
    UNIX_TEST(many_connections_talk_at_once),
    UNIX_TEST(a_slow_reader_makes_its_writer_pause),
    UNIX_TEST(writing_to_an_end_that_is_gone_raises_no_signal),
    UNIX_TEST(who_connects_has_no_name_and_the_server_its_path),
    UNIX_TEST(both_ends_know_who_the_other_is),
    UNIX_TEST(over_tcp_there_are_no_credentials),
    UNIX_TEST(another_user_is_told_as_such_and_kept_out_by_the_mode),
    UNIX_TEST(where_nobody_listens_the_reason_is_told),
    UNIX_TEST(progress_hears_of_the_path),
#if defined(__linux__)
    UNIX_TEST(a_full_backlog_is_waited_for),
    UNIX_TEST(waiting_for_a_full_backlog_ends_with_the_time_limit_a_cancel_or_the_server),
#endif
    UNIX_TEST(a_path_that_is_none_is_refused),
    UNIX_TEST(a_sock_that_is_connected_is_taken),
    UNIX_TEST(a_sock_of_another_kind_is_refused),
    UNIX_TEST(options_of_tcp_are_refused_by_their_names),
    UNIX_TEST(options_that_create_connection_has_count_here_too),
    UNIX_TEST(want_of_memory_is_told_and_leaves_nothing_open),
    UNIX_TEST(want_of_descriptors_is_told),
};

int main(void)
{
    return run_on(pco__backends, true, tests, sizeof tests / sizeof tests[0]);
}
