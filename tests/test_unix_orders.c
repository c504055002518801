/* SPDX-License-Identifier: MIT */
/*
 * Goal: what create_unix_server and create_unix_connection do in which order: when the file goes,
 * and when a server whose backlog is full is asked again.
 * Method: the fake backend, where time is a number, and which ends the program if a file is removed
 * after its socket was closed, or twice.
 */
#include "support.h"

#include "system/network.h"

static pco_loop *loop;
static recorder protocol;
static pco_server *server;

static struct {
    unsigned calls;
    pco_transport *transport;
    pco_error error;
    unsigned connecting; /* how often the user heard of it */
} told;

static pco_protocol *make_protocol(void *context)
{
    (void)context;
    return &protocol.protocol;
}

static void connected(pco_transport *transport, pco_protocol *made, const pco_error *error,
                      void *context)
{
    (void)made;
    (void)context;
    told.calls++;
    told.transport = transport;
    if (error != NULL) {
        told.error = *error;
    }
}

static void progress(int stage, const pco_address *address, const pco_error *error, void *context)
{
    (void)address;
    (void)error;
    (void)context;
    told.connecting += stage == PCO_CONNECTION_CONNECTING;
}

static int set_up(void **state)
{
    (void)state;
    memset(&told, 0, sizeof told);
    server = NULL;
    memory_watch();
    loop = fake_loop_new();
    recorder_init(&protocol, false);
    return loop != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_server_free(server);
    pco_loop_free(loop);
    bool right = protocol.violation == NULL;
    recorder_free(&protocol);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

/* ---- The file ---- */

static int serve(int start_serving, int cleanup_socket)
{
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = make_protocol, .start_serving = start_serving};
    pco_unix_options file = {.size = sizeof file, .cleanup_socket = cleanup_socket};
    return pco_loop_create_unix_server(loop, "x", &options, &file, &server, NULL);
}

static fake_socket *listener(void)
{
    return fake_socket_of(loop, pco_server_get_socket(server, 0));
}

static void the_file_goes_before_the_socket_and_once(void **state)
{
    (void)state;
    static const int starts[] = {PCO_DEFAULT, PCO_OFF};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(serve(starts[i], PCO_DEFAULT), 0);
        fake_socket *its = listener();
        pco_server_close(server);
        assert_true(its->file_removed);
        assert_true(its->closed);
        pco_server_close(server);
        pco_server_free(server);
        run_turns(loop, 2);
    }
    assert_int_equal(serve(PCO_DEFAULT, PCO_OFF), 0);
    fake_socket *its = listener();
    pco_server_close(server);
    assert_false(its->file_removed);
}

static void the_file_goes_with_the_loop(void **state)
{
    (void)state;
    assert_int_equal(serve(PCO_DEFAULT, PCO_DEFAULT), 0);
    pco_loop_free(loop); /* the fake looks after the order */
    loop = fake_loop_new();
    assert_non_null(loop);
}

/* Whatever fails after the socket was bound, of which there must be something. */
static void a_server_that_comes_to_nothing_takes_its_file_along(void **state)
{
    (void)state;
    unsigned failed_late = 0;
    for (size_t nth = 1; server == NULL; nth++) {
        assert_in_range(nth, 1, 50);
        memory_fail(nth, false);
        int code = serve(PCO_DEFAULT, nth % 2 == 0 ? PCO_OFF : PCO_ON);
        memory_fail(0, false);
        const fake_socket *newest = fake_of(loop)->sockets;
        if (code != 0 && newest != NULL) {
            failed_late++;
            assert_true(newest->closed);
            assert_true(newest->file_removed);
        }
    }
    assert_true(failed_late != 0);
}

static void a_sock_that_is_given_back_keeps_its_file(void **state)
{
    (void)state;
    pco__listener_options plain = {.replace_stale = false};
    pco_address address;
    pco_socket sock;
    assert_int_equal(pco__address_of_path("x", &address, NULL), 0);
    assert_int_equal(fake_backend_class.network->bind(loop->backend, &address, &plain, &sock, NULL),
                     0);
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = make_protocol, .sock = sock};
    fake_of(loop)->attach_error = PCO_ENOBUFS;
    assert_int_equal(pco_loop_create_unix_server(loop, NULL, &options, NULL, &server, NULL),
                     PCO_ENOBUFS);
    assert_false(fake_socket_of(loop, sock)->file_removed);
    assert_false(fake_socket_of(loop, sock)->closed);
    assert_int_equal(pco_loop_create_unix_server(loop, NULL, &options, NULL, &server, NULL), 0);
    pco_server_close(server);
    assert_true(fake_socket_of(loop, sock)->file_removed);
}

/* ---- Connecting ---- */

static void begin(double connect_timeout)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_protocol,
                                      .connect_timeout = connect_timeout,
                                      .progress = progress};
    fake_of(loop)->manual = true;
    assert_int_equal(
        pco_loop_create_unix_connection(loop, "x", &options, connected, NULL, NULL, NULL), 0);
    run_turns(loop, 2);
}

/* The socket that connects now; NULL: none does. */
static fake_socket *connecting(void)
{
    fake_socket *sock = fake_of(loop)->sockets;
    while (sock != NULL && !fake_is_in_flight(sock, PCO__OP_CONNECT)) {
        sock = sock->next;
    }
    return sock;
}

static void ends(int error)
{
    assert_non_null(connecting());
    assert_true(fake_decide(connecting(), PCO__OP_CONNECT, error, SIZE_MAX));
    run_turns(loop, 3);
}

static unsigned count_open(void)
{
    unsigned count = 0;
    for (const fake_socket *sock = fake_of(loop)->sockets; sock != NULL; sock = sock->next) {
        count += !sock->closed;
    }
    return count;
}

static void a_full_backlog_is_asked_again_ever_more_rarely(void **state)
{
    (void)state;
    static const double pauses[] = {0.001, 0.002, 0.004, 0.008, 0.016,
                                    0.032, 0.064, 0.128, 0.128, 0.128};
    begin(0);
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        ends(PCO_EAGAIN);
        assert_int_equal(count_open(), 0);
        fake_advance(loop, pauses[i] * 0.9);
        run_turns(loop, 3);
        assert_null(connecting());
        fake_advance(loop, pauses[i] * 0.1 + 1e-6);
        run_turns(loop, 3);
        assert_non_null(connecting());
    }
    assert_int_equal(told.calls, 0);
    ends(0);
    assert_int_equal(told.calls, 1);
    assert_non_null(told.transport);
    assert_int_equal(told.connecting, 1);
    assert_int_equal(count_open(), 1);
}

typedef struct prepared {
    pco_socket sockets[4];
    unsigned count;
} prepared;

static int prepare(pco_socket sock, int family, void *context)
{
    prepared *all = context;
    assert_int_equal(family, PCO_AF_UNIX);
    assert_in_range(all->count, 0, 3);
    all->sockets[all->count++] = sock;
    return 0;
}

static void each_try_has_a_socket_of_its_own_which_is_prepared(void **state)
{
    (void)state;
    prepared all = {.count = 0};
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_protocol,
                                      .prepare_socket = prepare,
                                      .context = &all};
    fake_of(loop)->manual = true;
    assert_int_equal(
        pco_loop_create_unix_connection(loop, "x", &options, connected, NULL, NULL, NULL), 0);
    run_turns(loop, 2);
    ends(PCO_EAGAIN);
    fake_advance(loop, 0.0011);
    run_turns(loop, 3);
    assert_int_equal(all.count, 2);
    assert_true(all.sockets[0] != all.sockets[1]);
    assert_true(fake_socket_of(loop, all.sockets[0])->closed);
    ends(0);
    assert_int_equal(told.calls, 1);
    assert_non_null(told.transport);
    assert_int_equal(all.count, 2);
}

static void the_pause_ends_with_the_time_limit(void **state)
{
    (void)state;
    begin(0.01);
    ends(PCO_EAGAIN);
    fake_advance(loop, 0.0011);
    run_turns(loop, 3);
    ends(PCO_EAGAIN);
    fake_advance(loop, 0.01);
    run_turns(loop, 3);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ETIMEDOUT);
    assert_int_equal(count_open(), 0);
    fake_advance(loop, 10);
    run_turns(loop, 3);
    assert_null(connecting());
}

static void a_loop_that_is_freed_in_the_pause_cancels(void **state)
{
    (void)state;
    begin(0);
    ends(PCO_EAGAIN);
    pco_loop_free(loop);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
    loop = fake_loop_new();
    assert_non_null(loop);
}

/* ---- Who it is ---- */

static void credentials_are_those_that_the_system_tells(void **state)
{
    (void)state;
    pco_credentials found = {.size = sizeof found};
    begin(0);
    fake_socket *sock = connecting();
    assert_int_equal(pco__address_of_path("x", &sock->peer, NULL), 0);
    sock->credentials = (pco_credentials){.user = 4294967294LL, .group = 5, .process = -1};
    ends(0);
    assert_int_equal(pco_transport_get_peer_credentials(told.transport, &found), 0);
    assert_true(found.user == 4294967294LL && found.group == 5 && found.process == -1);
}

#define UNIX_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIX_TEST(the_file_goes_before_the_socket_and_once),
        UNIX_TEST(the_file_goes_with_the_loop),
        UNIX_TEST(a_server_that_comes_to_nothing_takes_its_file_along),
        UNIX_TEST(a_sock_that_is_given_back_keeps_its_file),
        UNIX_TEST(a_full_backlog_is_asked_again_ever_more_rarely),
        UNIX_TEST(each_try_has_a_socket_of_its_own_which_is_prepared),
        UNIX_TEST(the_pause_ends_with_the_time_limit),
        UNIX_TEST(a_loop_that_is_freed_in_the_pause_cancels),
        UNIX_TEST(credentials_are_those_that_the_system_tells),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
