/* SPDX-License-Identifier: MIT */
/*
 * Goal: the portable half of named pipes: names and options, a server that accepts instances, a
 * client that waits for a free one, for as long as was promised; and that elsewhere than on Windows
 * both calls say so.
 * Method: the fake backend, which has pipes, and where time is a number; once with one ACCEPT in
 * flight and once with several. windows/test_pipes.c has the real ones.
 */
#include "behaviour.h"

#include "fake_backend.h"

#include <portico/pipe.h>

#include <math.h>

/* ---- Servers ---- */

static pco_server_options pipe_server_options(void)
{
    pco_server_options options = server_options();
    options.host = NULL;
    return options;
}

static int serve_as(const char *name, const pco_server_options *options, pco_error *error)
{
    memset(error, 0, sizeof *error);
    return pco_loop_start_serving_pipe(at.loop, name, options, NULL, &at.server, error);
}

static void serve_pipe_with(const pco_server_options *options)
{
    pco_error error;
    if (serve_as("test", options, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

static void serve_pipe(void)
{
    pco_server_options options = pipe_server_options();
    serve_pipe_with(&options);
}

/* A client comes to the pipe: the server's end. */
static fake_socket *come(void)
{
    pco_socket sock = fake_connect(at.loop, pco_server_get_socket(at.server, 0), NULL);
    let_pass(1);
    return fake_socket_of(at.loop, sock);
}

static void clients_are_served(void **state)
{
    (void)state;
    at.echoes = true;
    serve_pipe();
    fake_socket *sock = come();
    assert_int_equal(at.made, 1);
    fake_feed(sock, "hello", 5);
    let_pass(2);
    assert_int_equal(sock->sent_length, 5);
    assert_memory_equal(sock->sent, "hello", 5);
    fake_feed_eof(sock);
    let_pass(2);
    assert_string_equal(newest()->story, "MDEL");
    assert_true(sock->closed);
}

static void a_pipe_has_no_half(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    options.lingering_close = PCO_ON; /* and needs none */
    serve_pipe_with(&options);
    fake_socket *sock = come();
    pco_transport *transport = newest()->transport;
    assert_false(pco_transport_can_write_eof(transport));
    assert_int_equal(pco_transport_write_eof(transport), PCO_ENOTSUP);
    pco_transport_write(transport, "goes on", 7);
    let_pass(1);
    assert_int_equal(sock->sent_length, 7);
    pco_transport_close(transport);
    let_pass(2);
    assert_true(sock->closed);
    assert_true(newest()->lost_cleanly);
}

static void a_full_server_parks_who_comes_and_rests(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    options.max_connections = 1;
    serve_pipe_with(&options);
    fake_socket *first = come();
    fake_socket *second = come();
    assert_int_equal(at.made, 1);
    fake_feed_eof(first);
    let_pass(3);
    assert_int_equal(at.made, 2);
    assert_false(second->closed);
}

static void who_is_parked_is_closed_with_the_server(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    options.max_connections = 1;
    serve_pipe_with(&options);
    come();
    fake_socket *parked = come();
    assert_int_equal(at.made, 1);
    pco_server_close(at.server);
    bool is_parked = at.loop->backend->class_->accepts > 1; /* or it was not accepted at all */
    assert_int_equal(parked->closed, is_parked);
    assert_int_equal(counters_of(at.server).refused, is_parked);
}

static void an_instance_that_comes_after_the_close_is_closed(void **state)
{
    (void)state;
    serve_pipe();
    pco_socket listener = pco_server_get_socket(at.server, 0);
    fake_of(at.loop)->manual = true;
    pco_socket late = fake_connect(at.loop, listener, NULL);
    assert_true(fake_decide(fake_socket_of(at.loop, listener), PCO__OP_ACCEPT, 0, 1));
    pco_server_close(at.server);
    assert_true(fake_socket_of(at.loop, listener)->closed);
    let_pass(3);
    assert_true(fake_socket_of(at.loop, late)->closed);
    assert_int_equal(at.made, 0);
}

static void an_accept_that_fails_is_tried_again(void **state)
{
    (void)state;
    serve_pipe();
    fake_accept_error(at.loop, pco_server_get_socket(at.server, 0), PCO_ENOMEM, 8, 0);
    let_pass(2);
    assert_int_equal(at.reports, 1);
    fake_advance(at.loop, 1.0);
    let_pass(3);
    come();
    assert_int_equal(at.made, 1);
}

static void a_server_that_does_not_serve_accepts_nobody(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    options.start_serving = PCO_OFF;
    serve_pipe_with(&options);
    assert_int_equal(fake_in_flight(at.loop), 0);
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    come();
    assert_int_equal(at.made, 1);
}

static void a_name_that_the_system_refuses_leaves_nothing(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_error error;
    fake_of(at.loop)->pipe_error = PCO_EADDRINUSE;
    assert_int_equal(serve_as("test", &options, &error), PCO_EADDRINUSE);
    assert_null(at.server);
    fake_of(at.loop)->pipe_error = 0;
    fake_of(at.loop)->attach_error = PCO_ENOMEM;
    assert_int_equal(serve_as("test", &options, &error), PCO_ENOMEM);
    assert_null(at.server);
}

static void want_of_memory_leaves_no_server(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    size_t nth = 0;
    int code;
    do {
        pco_error error;
        memory_fail(++nth, false);
        code = serve_as("test", &options, &error);
        memory_fail(0, false);
        assert_true(code == 0 || code == PCO_ENOMEM);
    } while (code != 0);
    assert_in_range(nth, 4, 12);
}

/* ---- Clients ---- */

typedef struct outcome {
    unsigned calls;
    int code;
    char message[sizeof((pco_error *)NULL)->message];
    pco_transport *transport;
    pco_request *request;
} outcome;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    outcome *told = context;
    (void)protocol;
    told->calls++;
    told->code = error != NULL ? error->code : 0;
    snprintf(told->message, sizeof told->message, "%s", error != NULL ? error->message : "");
    told->transport = transport;
}

static pco_connection_options client_options(void)
{
    return (pco_connection_options){
        .size = sizeof(pco_connection_options), .protocol_factory = make_record, .context = &at};
}

static void begin_to_connect(outcome *told, double timeout)
{
    pco_connection_options options = client_options();
    memset(told, 0, sizeof *told);
    options.connect_timeout = timeout;
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, "test", &options, note_connected,
                                                     told, &told->request, NULL),
                     0);
    assert_int_equal(told->calls, 0);
}

static void a_client_is_connected(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe = "test";
    begin_to_connect(&told, 0);
    let_pass(2);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, 0);
    assert_int_equal(at.made, 1);
    assert_false(pco_transport_can_write_eof(told.transport));
    pco_transport_close(told.transport);
    pco_request_release(told.request);
    let_pass(2);
    assert_int_equal(at.lost, 1);
}

static void nobody_serves_it(void **state)
{
    (void)state;
    outcome told;
    begin_to_connect(&told, 0);
    let_pass(2);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ENOENT);
    assert_non_null(strstr(told.message, "test"));
    assert_int_equal(at.factory_calls, 0);
    pco_request_release(told.request);
}

static bool never(void *context)
{
    (void)context;
    return false;
}

/* The fake's time passes, with whatever is due in it. */
static void pass(double seconds)
{
    pco_loop_run_until(at.loop, never, NULL, seconds);
}

static void a_busy_pipe_is_tried_again_until_it_is_free(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe = "test";
    fake_of(at.loop)->pipe_error = PCO_EAGAIN;
    begin_to_connect(&told, 0);
    pass(10);
    assert_int_equal(told.calls, 0);
    assert_in_range(fake_of(at.loop)->pipe_opens, 100, 400); /* often, and not without a pause */
    fake_of(at.loop)->pipe_error = 0;
    pass(0.1);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, 0);
    pco_request_release(told.request);
}

static void a_pipe_that_stays_busy_is_given_up_after_30_seconds(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe_error = PCO_EAGAIN;
    begin_to_connect(&told, 0);
    pass(29.9);
    assert_int_equal(told.calls, 0);
    pass(0.2);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ETIMEDOUT);
    assert_non_null(strstr(told.message, "in use"));
    pco_request_release(told.request);
}

static void connect_timeout_is_the_limit_where_it_is_given(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe_error = PCO_EAGAIN;
    begin_to_connect(&told, 2.5);
    pass(2.4);
    assert_int_equal(told.calls, 0);
    pass(0.2);
    assert_int_equal(told.code, PCO_ETIMEDOUT);
    assert_non_null(strstr(told.message, "connect_timeout"));
    assert_non_null(strstr(told.message, "in use"));
    pco_request_release(told.request);
    begin_to_connect(&told, INFINITY);
    pass(1000);
    assert_int_equal(told.calls, 0);
    pco_request_cancel(told.request);
    let_pass(2);
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_release(told.request);
}

static void a_loop_that_is_freed_ends_the_wait(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe_error = PCO_EAGAIN;
    begin_to_connect(&told, 0);
    pass(1);
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_release(told.request);
}

static pco_request *to_be_canceled;
static unsigned progress_calls;

static void cancel_at_progress(int stage, const pco_address *address, const pco_error *error,
                               void *context)
{
    (void)context;
    progress_calls++;
    if (stage != PCO_CONNECTION_CONNECTING || address != NULL || error != NULL) {
        violate("progress of a pipe");
    }
    pco_request_cancel(to_be_canceled);
}

static void progress_may_cancel(void **state)
{
    (void)state;
    outcome told = {0};
    pco_connection_options options = client_options();
    options.progress = cancel_at_progress;
    progress_calls = 0;
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, "test", &options, note_connected,
                                                     &told, &to_be_canceled, NULL),
                     0);
    let_pass(3);
    assert_int_equal(progress_calls, 1);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ECANCELED);
    assert_int_equal(fake_of(at.loop)->pipe_opens, 0);
    pco_request_release(to_be_canceled);
}

static void want_of_memory_leaves_no_client(void **state)
{
    (void)state;
    outcome told;
    fake_of(at.loop)->pipe = "test";
    size_t nth = 0;
    int code;
    do {
        pco_connection_options options = client_options();
        memset(&told, 0, sizeof told);
        memory_fail(++nth, false);
        code = pco_loop_create_pipe_connection(at.loop, "test", &options, note_connected, &told,
                                               NULL, NULL);
        if (code == 0) {
            let_pass(3);
            assert_int_equal(told.calls, 1);
            code = told.code;
        }
        memory_fail(0, false);
        assert_true(code == 0 || code == PCO_ENOMEM);
    } while (code != 0);
    assert_in_range(nth, 4, 20);
    fake_of(at.loop)->attach_error = PCO_ENOBUFS; /* fini() finds handles that are not closed */
    begin_to_connect(&told, 0);
    let_pass(3);
    assert_int_equal(told.code, PCO_ENOBUFS);
    pco_request_release(told.request);
}

/* ---- Names and options ---- */

static void names_are_checked(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_connection_options of_client = client_options();
    const char *bad[] = {
        NULL, "",     "\\\\.\\pipe\\", "a\\b", "a/b", "\\\\server\\pipe\\name", "\\\\.\\pipe\\a\\b",
        "..", "dot.", "space "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        outcome told = {0};
        pco_error error;
        assert_int_equal(serve_as(bad[i], &options, &error), PCO_EINVAL);
        assert_non_null(strstr(error.message, "pipe"));
        memset(&error, 0, sizeof error);
        assert_int_equal(pco_loop_create_pipe_connection(at.loop, bad[i], &of_client,
                                                         note_connected, &told, NULL, &error),
                         PCO_EINVAL);
        assert_non_null(strstr(error.message, "pipe"));
    }
}

static void a_prefix_is_taken_off(void **state)
{
    (void)state;
    const char *names[] = {"\\\\.\\pipe\\com.example", "\\\\.\\PIPE\\com.example", "com.example"};
    fake_of(at.loop)->pipe = "com.example";
    for (size_t i = 0; i < 3; i++) {
        outcome told = {0};
        pco_connection_options options = client_options();
        assert_int_equal(pco_loop_create_pipe_connection(at.loop, names[i], &options,
                                                         note_connected, &told, NULL, NULL),
                         0);
        let_pass(2);
        assert_int_equal(told.calls, 1);
        assert_int_equal(told.code, 0);
    }
}

static void refuse_server(const pco_server_options *options, const char *word)
{
    pco_error error;
    assert_int_equal(serve_as("test", options, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, word));
    assert_null(at.server);
}

static int prepare(pco_socket sock, int family, void *context)
{
    (void)sock, (void)family, (void)context;
    return 0;
}

static void a_server_is_told_nothing_about_sockets(void **state)
{
    (void)state;
    const char *hosts[] = {"localhost"};
#define REFUSE(field, value)                                                                       \
    do {                                                                                           \
        pco_server_options options = pipe_server_options();                                        \
        options.field = (value);                                                                   \
        refuse_server(&options, #field);                                                           \
    } while (0)
    REFUSE(host, "localhost");
    REFUSE(port, 80);
    REFUSE(service, "http");
    REFUSE(same_port, PCO_ON);
    REFUSE(family, PCO_AF_INET);
    REFUSE(flags, PCO_AI_PASSIVE);
    REFUSE(sock, 77);
    REFUSE(has_sock, 7);
    REFUSE(reuse_address, PCO_ON);
    REFUSE(reuse_port, PCO_OFF);
    REFUSE(reuse_port, PCO_ON); /* also where no server has it, which is PCO_ENOTSUP elsewhere */
    REFUSE(prepare_socket, prepare);
    REFUSE(keep_alive, PCO_ON);
    REFUSE(keep_alive_idle, 1.0);
    REFUSE(keep_alive_interval, NAN);
    REFUSE(keep_alive_count, 1);
    REFUSE(user_timeout, 3.0);
    REFUSE(close_timeout, -1.0);
    REFUSE(protocol_factory, NULL);
#undef REFUSE
    pco_server_options options = pipe_server_options();
    options.hosts = hosts;
    options.hosts_count = 1;
    refuse_server(&options, "hosts");
    pco_error error;
    assert_int_equal(serve_as("test", NULL, &error), PCO_EINVAL);
    pco_pipe_options pipe = {.size = 1};
    options = pipe_server_options();
    assert_int_equal(
        pco_loop_start_serving_pipe(at.loop, "test", &options, &pipe, &at.server, &error),
        PCO_EINVAL);
}

static void a_client_is_told_nothing_about_sockets(void **state)
{
    (void)state;
    const pco_address address = {.length = 0};
#define REFUSE(field, value)                                                                       \
    do {                                                                                           \
        outcome told = {0};                                                                        \
        pco_error error = {0};                                                                     \
        pco_connection_options options = client_options();                                         \
        options.field = (value);                                                                   \
        assert_int_equal(pco_loop_create_pipe_connection(at.loop, "test", &options,                \
                                                         note_connected, &told, NULL, &error),     \
                         PCO_EINVAL);                                                              \
        assert_non_null(strstr(error.message, #field));                                            \
    } while (0)
    REFUSE(host, "localhost");
    REFUSE(port, 80);
    REFUSE(service, "http");
    REFUSE(addresses, &address);
    REFUSE(family, PCO_AF_INET);
    REFUSE(proto, 6);
    REFUSE(flags, PCO_AI_NONE);
    REFUSE(sock, 77);
    REFUSE(has_sock, 7);
    REFUSE(local_host, "localhost");
    REFUSE(local_port, 80);
    REFUSE(happy_eyeballs_delay, 1.0);
    REFUSE(interleave, 1);
    REFUSE(all_errors, PCO_ON);
    REFUSE(prepare_socket, prepare);
    REFUSE(keep_alive, PCO_ON);
    REFUSE(keep_alive_idle, 1.0);
    REFUSE(keep_alive_interval, NAN);
    REFUSE(keep_alive_count, 1);
    REFUSE(user_timeout, 3.0);
    REFUSE(connect_timeout, -1.0);
    REFUSE(protocol_factory, NULL);
    REFUSE(server_hostname, "localhost");
#undef REFUSE
    pco_connection_options options = client_options();
    outcome told = {0};
    assert_int_equal(
        pco_loop_create_pipe_connection(at.loop, "test", &options, NULL, NULL, NULL, NULL),
        PCO_EINVAL);
    assert_int_equal(
        pco_loop_create_pipe_connection(at.loop, "test", NULL, note_connected, &told, NULL, NULL),
        PCO_EINVAL);
}

static void to_say_that_there_is_no_sock_is_nothing_about_sockets(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_connection_options of_client = client_options();
    outcome told = {0};
    pco_error error;
    options.has_sock = PCO_OFF;
    of_client.has_sock = PCO_OFF;
    fake_of(at.loop)->pipe = "there";
    serve_pipe_with(&options);
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, "there", &of_client, note_connected,
                                                     &told, NULL, NULL),
                     0);
    let_pass(2);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, 0);
    of_client.sock = 77;
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, "there", &of_client, note_connected,
                                                     &told, NULL, &error),
                     PCO_EINVAL);
    assert_non_null(strstr(error.message, "has_sock is PCO_OFF"));
}

/* ---- Systems without pipes ---- */

static void elsewhere_both_calls_say_that_there_are_none(void **state)
{
    (void)state;
    pco_server_options options = pipe_server_options();
    pco_connection_options of_client = client_options();
    outcome told = {0};
    pco_error error;
    if (pco__system_network.pipes != NULL) {
        skip(); /* Windows has them */
    }
    assert_int_equal(serve_as("test", &options, &error), PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "named pipes"));
    assert_null(at.server);
    memset(&error, 0, sizeof error);
    assert_int_equal(pco_loop_create_pipe_connection(at.loop, "test", &of_client, note_connected,
                                                     &told, NULL, &error),
                     PCO_ENOTSUP);
    assert_non_null(strstr(error.message, "named pipes"));
}

int main(void)
{
    const pco__backend_class *const fakes[] = {&fake_backend_class, &fake_backend_wide_class, NULL};
    const struct CMUnitTest tests[] = {
        TEST(clients_are_served),
        TEST(a_pipe_has_no_half),
        TEST(a_full_server_parks_who_comes_and_rests),
        TEST(who_is_parked_is_closed_with_the_server),
        TEST(an_instance_that_comes_after_the_close_is_closed),
        TEST(an_accept_that_fails_is_tried_again),
        TEST(a_server_that_does_not_serve_accepts_nobody),
        TEST(a_name_that_the_system_refuses_leaves_nothing),
        TEST(want_of_memory_leaves_no_server),
        TEST(a_client_is_connected),
        TEST(nobody_serves_it),
        TEST(a_busy_pipe_is_tried_again_until_it_is_free),
        TEST(a_pipe_that_stays_busy_is_given_up_after_30_seconds),
        TEST(connect_timeout_is_the_limit_where_it_is_given),
        TEST(a_loop_that_is_freed_ends_the_wait),
        TEST(progress_may_cancel),
        TEST(want_of_memory_leaves_no_client),
        TEST(names_are_checked),
        TEST(a_prefix_is_taken_off),
        TEST(a_server_is_told_nothing_about_sockets),
        TEST(a_client_is_told_nothing_about_sockets),
        TEST(to_say_that_there_is_no_sock_is_nothing_about_sockets),
    };
    const struct CMUnitTest real[] = {TEST(elsewhere_both_calls_say_that_there_are_none)};
    int failures = run_on(fakes, false, tests, sizeof tests / sizeof tests[0]);
    tested = NULL;
    return failures + run_here("pipes of the system", real, 1);
}
