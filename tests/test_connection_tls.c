/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_connection with TLS: who the server is is known before the factory is called, and a
 * handshake that fails, is silent or is given up is told as what it is.
 * Method: real sockets, servers of the library with certificates made on the spot.
 */
#include "behaviour_create.h"
#include "make_certificates.h"

#include "system/network.h"
#include "tls/tls.h"

#include <openssl/ssl.h>

#define TLS_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static struct {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    pco_error error;
    unsigned handshakes;
    pco_request *request;
    bool cancels_in_handshake;
} told;

static pco_ssl_context *context; /* a client's that trusts the test's authority */

static int begin(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = ca->pem, .ca_pem_length = ca->pem_length};
    memset(&told, 0, sizeof told);
    if (world_begin(state) != 0) {
        return -1;
    }
    at.tls = true;
    return pco_ssl_context_new_client(&options, &context, NULL);
}

static int end(void **state)
{
    pco_request_release(told.request);
    pco_ssl_context_release(context);
    return world_end(state);
}

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *its)
{
    (void)its;
    told.calls++;
    told.transport = transport;
    told.protocol = (record *)protocol;
    if (error != NULL) {
        told.error = *error;
    }
}

static void note_progress(int stage, const pco_address *address, const pco_error *error, void *its)
{
    (void)its;
    (void)error;
    if (stage == PCO_CONNECTION_HANDSHAKE) {
        told.handshakes += address != NULL;
        if (told.cancels_in_handshake) {
            pco_request_cancel(told.request);
        }
    }
}

static pco_connection_options options_to(const pco_address *address)
{
    return (pco_connection_options){.size = sizeof(pco_connection_options),
                                    .protocol_factory = make_record,
                                    .host = "127.0.0.1",
                                    .port = pco_address_port(address),
                                    .ssl = context,
                                    .progress = note_progress};
}

static void connect_with(const pco_connection_options *options)
{
    pco_error error = {0};
    if (pco_loop_create_connection(at.loop, options, note_connected, NULL, &told.request, &error) !=
        0) {
        fail_msg("create_connection: %s", error.message);
    }
}

static pco_connection_options options_to_server(void)
{
    pco_address address = address_of(at.server, 0);
    return options_to(&address);
}

static void the_server_is_verified_by_its_address(void **state)
{
    (void)state;
    serve();
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&at.made, 2));
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, 0);
    assert_int_equal(told.handshakes, 1);
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(told.transport, &info), 0);
    assert_string_equal(info.version, "TLSv1.3");
    assert_null(info.server_name);
    pco_transport_write(told.transport, pattern(50000), 50000);
    record *server = newest() == told.protocol ? told.protocol->next : newest();
    assert_true(grows_to(&server->length, 50000));
    assert_memory_equal(server->data, pattern(50000), 50000);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
}

static void the_server_is_verified_by_its_name(void **state)
{
    (void)state;
    serve();
    pco_connection_options options = options_to_server();
    options.server_hostname = "localhost";
    connect_with(&options);
    assert_true(reaches(&at.made, 2));
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(told.transport, &info), 0);
    assert_string_equal(info.server_name, "localhost");
}

/* Both ends have asked for it. */
static void one_direction_may_end_alone(void **state)
{
    (void)state;
    pco_server_options served = server_options();
    served.ssl_half_close = PCO_ON;
    serve_with(&served);
    at.answers = true;
    pco_connection_options options = options_to_server();
    options.ssl_half_close = PCO_ON;
    connect_with(&options);
    assert_true(reaches(&at.made, 2));
    record *mine = told.protocol;
    record *theirs = at.records == mine ? mine->next : at.records;
    assert_true(pco_transport_can_write_eof(mine->transport));
    assert_int_equal(pco_transport_write_eof(mine->transport), 0);
    assert_true(reaches(&theirs->counts[AT_EOF], 1));
    assert_int_equal(pco_transport_write(theirs->transport, pattern(100000), 100000), 0);
    assert_true(grows_to(&mine->length, 100000));
    pco_transport_close(theirs->transport);
    assert_true(reaches(&mine->counts[AT_EOF], 1));
    pco_transport_close(mine->transport);
    assert_true(becomes(&mine->lost));
    assert_true(becomes(&theirs->lost));
    assert_true(mine->lost_cleanly && theirs->lost_cleanly);
}

static void another_s_certificate_is_refused_before_the_factory_is_called(void **state)
{
    (void)state;
    serve();
    pco_connection_options options = options_to_server();
    options.server_hostname = "example.com";
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECERT);
    assert_null(told.transport);
    assert_int_equal(at.factory_calls, 0);
    assert_non_null(strstr(told.error.message, "connect to 127.0.0.1 port "));
    assert_non_null(strstr(told.error.message, "TLS handshake"));
    assert_true(all_are_lost());
}

static void who_speaks_no_tls_is_an_error(void **state)
{
    (void)state;
    at.tls = false;
    at.echoes = true;
    serve();
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ETLS);
    assert_true(all_are_lost());
}

static void a_handshake_that_is_never_answered_times_out(void **state)
{
    (void)state;
    at.tls = false;
    serve();
    pco_connection_options options = options_to_server();
    options.ssl_handshake_timeout = 0.05;
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ETIMEDOUT);
    assert_true(all_are_lost());
}

static void the_limit_of_all_counts_in_the_handshake_too(void **state)
{
    (void)state;
    at.tls = false;
    serve();
    pco_connection_options options = options_to_server();
    options.connect_timeout = 0.05;
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ETIMEDOUT);
    assert_non_null(strstr(told.error.message, "connect_timeout"));
    assert_true(all_are_lost());
}

static void a_handshake_may_be_canceled(void **state)
{
    (void)state;
    at.tls = false;
    serve();
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&told.handshakes, 1));
    let_pass(3);
    pco_request_cancel(told.request);
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECANCELED);
    assert_true(all_are_lost());
}

static void progress_may_cancel_before_the_handshake(void **state)
{
    (void)state;
    serve();
    told.cancels_in_handshake = true;
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECANCELED);
    assert_int_equal(at.factory_calls, 0);
    assert_true(all_are_lost());
}

static void the_loop_may_be_freed_in_the_handshake(void **state)
{
    (void)state;
    at.tls = false;
    serve();
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&told.handshakes, 1));
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
}

static void a_ready_ssl_ctx_is_the_user_s(void **state)
{
    (void)state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *ready = NULL;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &ready, NULL), 0);
    SSL_CTX_free(ctx);
    serve();
    pco_connection_options options = options_to_server();
    options.ssl = ready;
    options.server_hostname = "example.com";
    connect_with(&options);
    assert_true(reaches(&at.made, 2));
    assert_int_equal(told.error.code, 0);
    pco_ssl_context_release(ready);
}

static void a_ready_ssl_ctx_of_the_other_end_is_refused(void **state)
{
    (void)state;
    SSL_CTX *servers = SSL_CTX_new(TLS_server_method());
    SSL_CTX *clients = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *of_servers = NULL;
    pco_ssl_context *of_clients = NULL;
    pco_server *server = NULL;
    pco_error error;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(servers, &of_servers, NULL), 0);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(clients, &of_clients, NULL), 0);
    serve();
    pco_connection_options options = options_to_server();
    options.ssl = of_servers;
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, NULL, NULL, &error),
        PCO_EINVAL);
    assert_string_equal(error.message, "the ssl context is one for servers");
    pco_server_options serving = server_options();
    serving.ssl = of_clients;
    assert_int_equal(pco_loop_create_server(at.loop, &serving, &server, &error), PCO_EINVAL);
    assert_string_equal(error.message, "the ssl context is one for clients");
    serving.ssl = context;
    assert_int_equal(pco_loop_create_server(at.loop, &serving, &server, &error), PCO_EINVAL);
    pco_ssl_context_release(of_servers);
    pco_ssl_context_release(of_clients);
    SSL_CTX_free(servers);
    SSL_CTX_free(clients);
}

static void the_sentence_says_with_whom_the_handshake_failed(void **state)
{
    (void)state;
    char text[PCO_ADDRESS_TEXT_SIZE + sizeof ":65535"];
    char beginning[sizeof text + sizeof "connect: : TLS handshake: "];
    at.tls = false;
    at.echoes = true;
    serve();
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = options_to(&address);
    options.host = NULL;
    options.port = 0;
    options.addresses = &address;
    options.addresses_count = 1;
    options.server_hostname = "localhost";
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(pco_address_format(&address, text, sizeof text), 0);
    snprintf(beginning, sizeof beginning, "connect: %s: TLS handshake: ", text);
    assert_memory_equal(told.error.message, beginning, strlen(beginning));
    assert_true(all_are_lost());
}

static void a_factory_that_refuses_ends_it(void **state)
{
    (void)state;
    serve();
    at.refuses = true;
    pco_connection_options options = options_to_server();
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_EINVAL);
    assert_true(all_are_lost());
}

static void a_name_that_no_certificate_can_show_is_told_with_the_place(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    serve();
    pco_connection_options options = options_to_server();
    options.server_hostname = name;
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_EINVAL);
    assert_int_equal(strncmp(told.error.message, "connect to 127.0.0.1 port ", 26), 0);
    assert_non_null(strstr(told.error.message, "is no host name"));
}

static void assert_refused_with(const pco_connection_options *options, const char *words)
{
    pco_error error = {0};
    assert_int_equal(
        pco_loop_create_connection(at.loop, options, note_connected, NULL, NULL, &error),
        PCO_EINVAL);
    assert_non_null(strstr(error.message, words));
}

static void ends(pco_loop *loop, int port, int error)
{
    for (fake_socket *sock = fake_of(loop)->sockets; sock != NULL; sock = sock->next) {
        if (fake_is_in_flight(sock, PCO__OP_CONNECT) &&
            pco_address_port(sock->out.given.with.address) == port) {
            assert_true(fake_decide(sock, PCO__OP_CONNECT, error, SIZE_MAX));
        }
    }
}

/* On the fake backend, since they have to end in the same turn. */
static void one_that_fails_next_to_the_winner_begins_no_second_handshake(void **state)
{
    (void)state;
    pco_loop *loop = fake_loop_new();
    pco_address addresses[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pco_address_parse("127.0.0.1", 1 + i, &addresses[i]), 0);
    }
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .addresses = addresses,
                                      .addresses_count = 3,
                                      .ssl = context,
                                      .server_hostname = "localhost",
                                      .progress = note_progress};
    fake_of(loop)->manual = true;
    assert_int_equal(pco_loop_create_connection(loop, &options, note_connected, NULL, NULL, NULL),
                     0);
    run_turns(loop, 2);
    fake_advance(loop, 0.3);
    run_turns(loop, 2);
    ends(loop, 1, PCO_ECONNREFUSED);
    ends(loop, 2, 0);
    run_turns(loop, 3);
    assert_int_equal(told.handshakes, 1);
    assert_int_equal(pco_loop_free(loop), 0);
    assert_int_equal(told.error.code, PCO_ECANCELED);
}

static void options_of_tls_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    pco_address address;
    assert_int_equal(pco_address_parse("127.0.0.1", 1, &address), 0);
    pco_connection_options options = options_to(&address);
    options.server_hostname = "";
    assert_refused_with(&options, "server_hostname is empty");
    options = options_to(&address);
    options.host = NULL;
    assert_refused_with(&options, "server_hostname is required");
    options.port = 0;
    options.addresses = &address;
    options.addresses_count = 1;
    assert_refused_with(&options, "server_hostname is required");
    options = options_to(&address);
    options.ssl = peer_server_context();
    assert_refused_with(&options, "the ssl context is one for servers");
    options = options_to(&address);
    options.ssl_handshake_timeout = -1;
    assert_refused_with(&options, "ssl_handshake_timeout");
    options = options_to(&address);
    options.tls = PCO_ON;
    assert_refused_with(&options, "tls and ssl cannot be given at the same time");
    options = options_to(&address);
    options.ssl_half_close = 3;
    assert_refused_with(&options, "ssl_half_close is 3");
    options.ssl = NULL;
    options.ssl_half_close = PCO_ON;
    assert_refused_with(&options, "ssl_half_close is only meaningful with TLS");
    options = options_to(&address);
    options.tls = 3;
    assert_refused_with(&options, "tls is 3");
    options = options_to(&address);
    options.ssl = NULL;
    options.tls = PCO_ON;
    options.host = NULL;
    assert_refused_with(&options, "server_hostname is required");
    options = options_to(&address);
    options.ssl = NULL;
    options.tls = PCO_OFF;
    options.server_hostname = "localhost";
    assert_refused_with(&options, "server_hostname is only meaningful with ssl or tls");
}

static void an_accepted_socket_needs_a_context(void **state)
{
    (void)state;
    pco_error error = {0};
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .sock = 1,
                                      .has_sock = PCO_ON,
                                      .tls = PCO_ON};
    assert_int_equal(
        pco_loop_connect_accepted_socket(at.loop, &options, note_connected, NULL, NULL, &error),
        PCO_EINVAL);
    assert_non_null(strstr(error.message, "tls is only meaningful for who connects"));
}

/* What a ready SSL_CTX says of verifying counts, and stays as it is. */
static void with_a_ready_ssl_ctx_the_name_is_set_on_the_ssl_alone(void **state)
{
    (void)state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *ready = NULL;
    assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificates_get()->ca.x509),
                     1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &ready, NULL), 0);
    serve();
    pco_connection_options options = options_to_server();
    options.ssl = ready;
    options.server_hostname = "localhost";
    connect_with(&options);
    assert_true(reaches(&at.made, 2));
    SSL *engine = pco_transport_get_ssl_object(told.transport);
    assert_string_equal(SSL_get_servername(engine, TLSEXT_NAMETYPE_host_name), "localhost");
    assert_string_equal(X509_VERIFY_PARAM_get0_host(SSL_get0_param(engine), 0), "localhost");
    assert_int_equal(SSL_get_verify_mode(engine), SSL_VERIFY_PEER);
    assert_null(X509_VERIFY_PARAM_get0_host(SSL_CTX_get0_param(ctx), 0));
    assert_int_equal(SSL_CTX_get_verify_mode(ctx), SSL_VERIFY_PEER);

    /* The same context refuses whom it should. */
    pco_request_release(told.request);
    memset(&told, 0, sizeof told);
    options.server_hostname = "example.com";
    connect_with(&options);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECERT);
    pco_ssl_context_release(ready);
    SSL_CTX_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(the_server_is_verified_by_its_address),
        TLS_TEST(the_server_is_verified_by_its_name),
        TLS_TEST(one_direction_may_end_alone),
        TLS_TEST(another_s_certificate_is_refused_before_the_factory_is_called),
        TLS_TEST(who_speaks_no_tls_is_an_error),
        TLS_TEST(a_handshake_that_is_never_answered_times_out),
        TLS_TEST(the_limit_of_all_counts_in_the_handshake_too),
        TLS_TEST(a_handshake_may_be_canceled),
        TLS_TEST(progress_may_cancel_before_the_handshake),
        TLS_TEST(the_loop_may_be_freed_in_the_handshake),
        TLS_TEST(a_ready_ssl_ctx_is_the_user_s),
        TLS_TEST(a_ready_ssl_ctx_of_the_other_end_is_refused),
        TLS_TEST(the_sentence_says_with_whom_the_handshake_failed),
        TLS_TEST(a_factory_that_refuses_ends_it),
        TLS_TEST(a_name_that_no_certificate_can_show_is_told_with_the_place),
        TLS_TEST(one_that_fails_next_to_the_winner_begins_no_second_handshake),
        TLS_TEST(options_of_tls_that_make_no_sense_are_refused),
        TLS_TEST(an_accepted_socket_needs_a_context),
        TLS_TEST(with_a_ready_ssl_ctx_the_name_is_set_on_the_ssl_alone),
    };

    return run_here("create_connection, TLS", tests, sizeof tests / sizeof tests[0]);
}
