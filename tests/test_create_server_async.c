/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_server_async does what create_server does, later; and in both every allocation may
 * fail, without anything getting lost.
 * Method: the resolver's thread looks names up while the loop runs, or is freed; the counting
 * allocator fails the first allocation, then the second, until there is none left to fail.
 */
#include "behaviour_create.h"

#include "system/network.h"
#include "system/platform.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

/* ---- create_server_async ---- */

static struct {
    unsigned calls;
    pco_server *server; /* the last of these */
    pco_server *servers[20];
    int code;
    char message[248];
    bool has_error;
    bool inside; /* a call was inside of create_server_async */
    bool calling;
} told;

static void note_created(pco_server *server, const pco_error *error, void *context)
{
    (void)context;
    told.servers[told.calls++ % 20] = server;
    told.inside = told.inside || told.calling;
    told.server = server;
    told.has_error = error != NULL;
    if (error != NULL) {
        told.code = error->code;
        snprintf(told.message, sizeof told.message, "%s", error->message);
    }
}

static int create_async(const pco_server_options *options, pco_error *error)
{
    memset(&told, 0, sizeof told);
    told.calling = true;
    int code = pco_loop_create_server_async(at.loop, options, note_created, NULL, NULL, error);
    told.calling = false;
    return code;
}

static void async_brings_a_server_later(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    assert_int_equal(create_async(&options, NULL), 0);
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    assert_false(told.inside);
    assert_false(told.has_error);
    assert_non_null(told.server);
    at.server = told.server;
    assert_true(pco_server_is_serving(at.server));
    assert_ptr_equal(pco_server_get_loop(at.server), at.loop);
    assert_host(at.server, 0, "127.0.0.1");
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
    assert_int_equal(told.calls, 1);
}

static void async_copies_what_it_is_given(void **state)
{
    (void)state;
    char first[] = "127.0.0.1";
    char second[] = "127.0.0.1";
    const char *hosts[] = {first, second, NULL};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    assert_int_equal(create_async(&options, NULL), 0);
    memset(first, 'x', sizeof first - 1);
    memset(second, 'y', sizeof second - 1);
    memset(hosts, 0, sizeof hosts);
    memset(&options, 0xff, sizeof options);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.server);
    at.server = told.server;
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_host(at.server, 0, "127.0.0.1");
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void async_copies_the_only_host(void **state)
{
    (void)state;
    char host[] = "127.0.0.1";
    pco_server_options options = server_options();
    options.host = host;
    options.start_serving = PCO_OFF;
    assert_int_equal(create_async(&options, NULL), 0);
    memset(host, 'x', sizeof host - 1);
    assert_true(reaches(&told.calls, 1));
    assert_non_null(told.server);
    at.server = told.server;
    assert_host(at.server, 0, "127.0.0.1");
    assert_false(pco_server_is_serving(at.server));
}

static void async_knows_all_interfaces(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = NULL;
    assert_int_equal(create_async(&options, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    at.server = told.server;
    assert_non_null(at.server);
    assert_everywhere(at.server);
}

static void async_refuses_bad_arguments_at_once(void **state)
{
    (void)state;
    pco_error error = {0};
    pco_server_options options = server_options();
    options.protocol_factory = NULL;
    assert_int_equal(create_async(&options, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "protocol_factory"));
    options = server_options();
    options.port = 70000;
    assert_int_equal(create_async(&options, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "port"));
    options = server_options();
    options.size = 3 * sizeof options;
    assert_int_equal(create_async(&options, &error), PCO_EINVAL);
    assert_int_equal(create_async(NULL, &error), PCO_EINVAL);
    options = server_options();
    assert_int_equal(pco_loop_create_server_async(at.loop, &options, NULL, NULL, NULL, &error),
                     PCO_EINVAL);
    let_pass(20);
    assert_int_equal(told.calls, 0);
}

static void async_tells_of_an_address_that_is_not_to_be_had(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    pco_server_options options = server_options();
    options.host = FOREIGN_ADDRESS;
    assert_int_equal(create_async(&options, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_null(told.server);
    assert_true(told.has_error);
    assert_int_equal(told.code, PCO_EADDRNOTAVAIL);
    assert_non_null(strstr(told.message, FOREIGN_ADDRESS));
    assert_int_equal(count_sockets(), sockets);
    let_pass(20);
    assert_int_equal(told.calls, 1);
}

static void async_tells_of_a_name_that_does_not_resolve(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.host = "not a name";
    assert_int_equal(create_async(&options, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_null(told.server);
    assert_int_equal(told.code, PCO_ENONAME);
    assert_non_null(strstr(told.message, "not a name"));
}

static void free_at_once(pco_server *server, const pco_error *error, void *context)
{
    note_created(server, error, context);
    pco_server_free(server);
}

static void an_async_server_may_be_freed_at_once(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    pco_server_options options = server_options();
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_server_async(at.loop, &options, free_at_once, NULL, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_false(told.has_error);
    let_pass(3);
    assert_int_equal(count_sockets(), sockets);
}

static void async_takes_a_sock_over_when_it_succeeds(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_int_equal(create_async(&options, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    at.server = told.server;
    assert_non_null(at.server);
    assert_int_equal(pco_server_get_socket(at.server, 0), sock);
}

static void async_leaves_the_sock_to_the_caller_when_the_loop_is_freed(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_int_equal(create_async(&options, NULL), 0);
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_null(told.server);
    assert_int_equal(told.code, PCO_ECANCELED);
    assert_true(is_open(sock));
    pco__system_network.close(NULL, sock, false);
}

static void async_is_canceled_when_the_loop_is_freed(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    pco_server_options options = server_options();
    memset(&told, 0, sizeof told);
    for (unsigned i = 0; i < 20; i++) { /* some wait their turn, one may be done, one under way */
        assert_int_equal(
            pco_loop_create_server_async(at.loop, &options, note_created, NULL, NULL, NULL), 0);
    }
    world_free_loop();
    assert_int_equal(told.calls, 20);
    assert_null(told.server);
    assert_int_equal(told.code, PCO_ECANCELED);
    assert_true(count_sockets() < sockets + 1);
}

/* ---- The request ---- */

static pco_request *request;

static void create_with_request(void)
{
    pco_server_options options = server_options();
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_server_async(at.loop, &options, note_created, NULL, &request, NULL), 0);
    assert_non_null(request);
}

static void a_request_canceled_at_once_ends_once_and_outside_of_cancel(void **state)
{
    (void)state;
    unsigned sockets = count_sockets();
    create_with_request();
    pco_request_cancel(request);
    pco_request_cancel(request);
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    assert_null(told.server);
    assert_int_equal(told.code, PCO_ECANCELED);
    let_pass(5);
    assert_int_equal(told.calls, 1);
    assert_true(count_sockets() < sockets + 1);
    pco_request_release(request);
}

static void a_request_that_is_done_is_canceled_in_vain(void **state)
{
    (void)state;
    create_with_request();
    assert_true(reaches(&told.calls, 1));
    at.server = told.server;
    assert_non_null(at.server);
    pco_request_cancel(request);
    pco_request_cancel(request);
    let_pass(5);
    assert_int_equal(told.calls, 1);
    assert_true(pco_server_is_serving(at.server));
    pco_request_release(request);
}

static void a_request_that_is_released_early_goes_on(void **state)
{
    (void)state;
    create_with_request();
    pco_request_release(request);
    assert_true(reaches(&told.calls, 1));
    at.server = told.server;
    assert_non_null(at.server);
}

static void a_canceled_request_that_is_released_early_ends_all_the_same(void **state)
{
    (void)state;
    create_with_request();
    pco_request_cancel(request);
    pco_request_release(request);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.code, PCO_ECANCELED);
}

static void a_request_outlives_its_loop(void **state)
{
    (void)state;
    create_with_request();
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, PCO_ECANCELED);
    pco_request_cancel(request);
    assert_int_equal(told.calls, 1);
    pco_request_release(request);
}

static void no_request_is_canceled_and_released(void **state)
{
    (void)state;
    pco_request_cancel(NULL);
    pco_request_release(NULL);
}

static void cancel_and_release(pco_server *server, const pco_error *error, void *context)
{
    note_created(server, error, context);
    pco_request_cancel(request);
    pco_request_release(request);
}

static void a_request_may_be_released_in_its_completion(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_server_async(at.loop, &options, cancel_and_release, NULL, &request, NULL),
        0);
    assert_true(reaches(&told.calls, 1));
    at.server = told.server;
    assert_non_null(at.server);
    let_pass(5);
    assert_int_equal(told.calls, 1);
}

static int start_code;

static void start_the_other(pco_server *server, const pco_error *error, void *other)
{
    (void)server;
    (void)error;
    start_code = pco_server_start_serving(other, NULL);
}

static void nothing_begins_to_serve_while_the_loop_is_freed(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    options.start_serving = PCO_OFF;
    serve_with(&options);
    start_code = 1;
    assert_int_equal(
        pco_loop_create_server_async(at.loop, &options, start_the_other, at.server, NULL, NULL), 0);
    world_free_loop();
    assert_int_equal(start_code, PCO_ECLOSED);
}

static void many_at_once_are_all_made(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    memset(&told, 0, sizeof told);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(
            pco_loop_create_server_async(at.loop, &options, note_created, NULL, NULL, NULL), 0);
    }
    assert_true(reaches(&told.calls, 20));
    assert_int_equal(told.calls, 20);
    assert_false(told.has_error);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(pco_server_is_serving(told.servers[i]));
        pco_server_free(told.servers[i]);
    }
}

/* ---- Memory ---- */

/* Creates with the n-th allocation failing, for n from the first on, until none is left to fail. */
static void assert_survives_want_of_memory(const pco_server_options *options)
{
    size_t tried = 0;
    assert_true(can_be_bound(0)); /* the backend has made what it keeps */
    for (bool failed = true; failed;) {
        assert_true(++tried < 200);
        unsigned sockets = count_sockets();
        size_t before = memory_pieces();
        pco_server *server = NULL;
        pco_error error = {0};
        memory_fail(tried, false);
        int code = pco_loop_create_server(at.loop, options, &server, &error);
        failed = memory_has_failed();
        memory_fail(0, false);
        if (failed) {
            assert_int_equal(code, PCO_ENOMEM);
            assert_int_equal(error.code, PCO_ENOMEM);
            assert_true(error.message[0] != '\0');
            assert_null(server);
            assert_int_equal(memory_pieces(), before);
            assert_int_equal(count_sockets(), sockets);
        } else {
            assert_int_equal(code, 0);
            at.server = server;
        }
    }
    assert_true(tried > 1);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    pco_server_options options = server_options();
    assert_survives_want_of_memory(&options);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
}

static void every_allocation_may_fail_with_many_hosts(void **state)
{
    (void)state;
    const char *hosts[] = {"127.0.0.1", "::1", "127.0.0.1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = has_ipv6() ? 3 : 1;
    options.same_port = PCO_ON;
    assert_survives_want_of_memory(&options);
}

static void every_allocation_may_fail_and_the_sock_stays_the_callers(void **state)
{
    (void)state;
    pco_socket sock = bound_socket();
    pco_server_options options = server_options();
    options.host = NULL;
    options.sock = sock;
    assert_survives_want_of_memory(&options); /* in the end it was there to succeed with */
    assert_int_equal(pco_server_get_socket(at.server, 0), sock);
}

static void every_allocation_may_fail_when_serving_starts(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "::1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = has_ipv6() ? 2 : 1;
    options.start_serving = PCO_OFF;
    serve_with(&options);
    bool failed = true;
    for (size_t tried = 1; failed; tried++) {
        pco_error error = {0};
        assert_true(tried < 200);
        memory_fail(tried, false);
        int code = pco_server_start_serving(at.server, &error);
        failed = memory_has_failed();
        memory_fail(0, false);
        assert_int_equal(code, failed ? PCO_ENOMEM : 0);
        assert_int_equal(pco_server_is_serving(at.server), !failed);
    }
    for (size_t i = 0; i < options.hosts_count; i++) {
        pco_address address = address_of(at.server, i);
        assert_client_comes_through(&address);
    }
}

static void assert_async_survives_want_of_memory(const pco_server_options *options)
{
    bool failed = true;
    for (size_t tried = 1; failed; tried++) {
        pco_error error = {0};
        assert_true(tried < 200);
        unsigned sockets = count_sockets();
        memory_fail(tried, false);
        int code = create_async(options, &error);
        if (code == 0) {
            assert_true(reaches(&told.calls, 1));
        }
        failed = memory_has_failed();
        memory_fail(0, false);
        if (failed && code != 0) {
            assert_int_equal(code, PCO_ENOMEM);
            assert_int_equal(error.code, PCO_ENOMEM);
            let_pass(3);
            assert_int_equal(told.calls, 0);
        } else if (failed) {
            assert_null(told.server);
            assert_int_equal(told.code, PCO_ENOMEM);
        } else {
            assert_non_null(told.server);
            at.server = told.server;
        }
        if (failed) {
            assert_int_equal(count_sockets(), sockets);
        }
    }
}

static void every_allocation_may_fail_without_blocking(void **state)
{
    (void)state;
    const char *const hosts[] = {"127.0.0.1", "127.0.0.1"};
    pco_server_options options = server_options();
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    assert_async_survives_want_of_memory(&options);
}

/* The context is given back as often as it was taken: the end of the tests looks for it. */
static void every_allocation_may_fail_without_blocking_with_tls(void **state)
{
    (void)state;
    if (!peer_has_tls()) {
        print_message("skipped: this library has no TLS\n");
        skip();
    }
    pco_server_options options = server_options();
    options.ssl = peer_server_context();
    assert_async_survives_want_of_memory(&options);
    assert_int_equal(create_async(&options, NULL), 0);
    world_free_loop();
    assert_int_equal(told.code, PCO_ECANCELED);
}

static const struct CMUnitTest tests[] = {
    TEST(async_brings_a_server_later),
    TEST(async_copies_what_it_is_given),
    TEST(async_copies_the_only_host),
    TEST(async_knows_all_interfaces),
    TEST(async_refuses_bad_arguments_at_once),
    TEST(async_tells_of_an_address_that_is_not_to_be_had),
    TEST(async_tells_of_a_name_that_does_not_resolve),
    TEST(an_async_server_may_be_freed_at_once),
    TEST(async_takes_a_sock_over_when_it_succeeds),
    TEST(async_leaves_the_sock_to_the_caller_when_the_loop_is_freed),
    TEST(async_is_canceled_when_the_loop_is_freed),
    TEST(a_request_canceled_at_once_ends_once_and_outside_of_cancel),
    TEST(a_request_that_is_done_is_canceled_in_vain),
    TEST(a_request_that_is_released_early_goes_on),
    TEST(a_canceled_request_that_is_released_early_ends_all_the_same),
    TEST(a_request_outlives_its_loop),
    TEST(no_request_is_canceled_and_released),
    TEST(a_request_may_be_released_in_its_completion),
    TEST(nothing_begins_to_serve_while_the_loop_is_freed),
    TEST(many_at_once_are_all_made),
    TEST(every_allocation_may_fail),
    TEST(every_allocation_may_fail_with_many_hosts),
    TEST(every_allocation_may_fail_and_the_sock_stays_the_callers),
    TEST(every_allocation_may_fail_when_serving_starts),
    TEST(every_allocation_may_fail_without_blocking),
    TEST(every_allocation_may_fail_without_blocking_with_tls),
};

int main(void)
{
    return run_here("create_server_async", tests, sizeof tests / sizeof tests[0]);
}
