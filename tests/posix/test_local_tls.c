/* SPDX-License-Identifier: MIT */
/*
 * Goal: TLS over a name, where both ends demand a certificate: data goes both ways once both are
 * verified, nobody is served with less, and who is another user hears nothing of it at all.
 * Method: real sockets in a runtime folder of the test's own. What needs another user is skipped
 * where the test is not root's.
 */
#define _GNU_SOURCE 1

#include "behaviour.h"
#include "make_certificates.h"

#include "system/local.h"

#include <portico/local.h>
#include <portico/ssl.h>
#include <portico/ssl_context.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME "com.example.vault"
#define STRANGER 65534 /* nobody, by custom */

static char top[64]; /* the runtime folder, for each test */
static pco_ssl_context *servers;
static pco_ssl_context *clients;

static pco_ssl_context_options showing(const certificate *shown)
{
    const certificate *authority = &certificates_get()->ca;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .verify = PCO_SSL_VERIFY_REQUIRED,
                                       .ca_pem = authority->pem,
                                       .ca_pem_length = authority->pem_length};
    if (shown != NULL) {
        options.certificate_pem = shown->pem;
        options.certificate_pem_length = shown->pem_length;
        options.key_pem = shown->key_pem;
        options.key_pem_length = shown->key_pem_length;
    }
    return options;
}

/* What either end shows; NULL: a client that shows nothing. */
static void make_contexts(const certificate *of_server, const certificate *of_client)
{
    pco_ssl_context_options server = showing(of_server);
    pco_ssl_context_options client = showing(of_client);
    assert_int_equal(pco_ssl_context_new(&server, &servers, NULL), 0);
    assert_int_equal(pco_ssl_context_new_client(&client, &clients, NULL), 0);
}

static int begin(void **state)
{
    servers = NULL;
    clients = NULL;
    snprintf(top, sizeof top, "/tmp/portico-test-XXXXXX");
    if (mkdtemp(top) == NULL || setenv("XDG_RUNTIME_DIR", top, 1) != 0) {
        return -1;
    }
    return world_begin(state);
}

static int end(void **state)
{
    char command[128];
    pco_ssl_context_release(servers);
    pco_ssl_context_release(clients);
    int code = world_end(state);
    snprintf(command, sizeof command, "rm -rf %s", top);
    return code != 0 ? code : system(command);
}

/* ---- Both ends ---- */

static void serve_name(void)
{
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = make_record, .ssl = servers};
    pco_error error;
    if (pco_loop_create_local_server(at.loop, NAME, &options, NULL, &at.server, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

static struct {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    pco_error error;
} told;

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)context;
    told.calls++;
    told.transport = transport;
    told.protocol = (record *)protocol;
    if (error != NULL) {
        told.error = *error;
    }
}

static int dial(const char *server_hostname, pco_error *error)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .ssl = clients,
                                      .server_hostname = server_hostname};
    memset(&told, 0, sizeof told);
    return pco_loop_create_local_connection(at.loop, NAME, &options, NULL, connected, NULL, NULL,
                                            error);
}

/* Connects and waits for the answer, which is returned. */
static int connect_there(void)
{
    pco_error error;
    if (dial("localhost", &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_true(reaches(&told.calls, 1));
    return told.error.code;
}

static bool is_verified(pco_transport *transport)
{
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(transport, &info), 0);
    return info.verified && info.peer_certificate != NULL;
}

/* ---- Tests ---- */

static void both_ends_verify_each_other_and_talk(void **state)
{
    (void)state;
    pco_credentials who = {.size = sizeof who};
    make_contexts(&certificates_get()->server, &certificates_get()->client);
    serve_name();
    assert_int_equal(connect_there(), 0);
    assert_true(reaches(&at.made, 2));
    record *server = at.records != told.protocol ? at.records : at.records->next;
    assert_true(is_verified(told.transport));
    assert_true(is_verified(server->transport));
    pco_transport_write(told.transport, pattern(300000), 300000);
    assert_true(grows_to(&server->length, 300000));
    assert_memory_equal(server->data, pattern(300000), 300000);
    pco_transport_write(server->transport, "answer", 6);
    assert_true(grows_to(&told.protocol->length, 6));
    assert_memory_equal(told.protocol->data, "answer", 6);
    assert_int_equal(pco_transport_get_peer_credentials(server->transport, &who), 0);
    assert_true(who.user == (long long)geteuid());
    pco_transport_close(told.transport);
    assert_true(reaches(&at.lost, 2));
    assert_true(server->lost_cleanly && told.protocol->lost_cleanly);
}

/* In TLS 1.3 the client may think itself connected before the server has looked. */
static void a_client_without_a_certificate_is_not_served(void **state)
{
    (void)state;
    make_contexts(&certificates_get()->server, NULL);
    serve_name();
    bool is_told = connect_there() != 0;
    unsigned of_client = is_told ? 0 : 1;
    assert_true(reaches(&at.lost, of_client));
    assert_int_equal(at.made, of_client);
    assert_int_equal(is_told ? told.error.code : told.protocol->error.code, PCO_ECERT);
    assert_int_equal(counters_of(at.server).handshake_failures, 1);
    assert_int_equal(counters_of(at.server).active, 0);
}

static void a_server_that_nobody_vouches_for_is_refused(void **state)
{
    (void)state;
    make_contexts(&certificates_get()->stranger, &certificates_get()->client);
    serve_name();
    assert_int_equal(connect_there(), PCO_ECERT);
    assert_int_equal(at.made, 0);
}

static void the_certificate_must_show_the_name_that_is_asked_for(void **state)
{
    (void)state;
    pco_error error = {0};
    make_contexts(&certificates_get()->server, &certificates_get()->client);
    serve_name();
    assert_int_equal(dial(NULL, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "server_hostname"));
    assert_int_equal(dial("other.example", NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECERT);
    assert_int_equal(at.made, 0);
}

/* Listens in place of a server, as another user would who could: what counts is who listens. */
static int listen_as_stranger(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(seteuid(STRANGER), 0);
    int code = listen(listener, 5);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(code, 0);
    return listener;
}

static void an_impostor_is_not_even_greeted(void **state)
{
    (void)state;
    char byte;
    if (geteuid() != 0) {
        print_message("skipped: needs root, to be another user\n");
        skip();
    }
    pco__local_place place;
    make_contexts(&certificates_get()->server, &certificates_get()->client);
    assert_int_equal(pco__local_find(NAME, PCO_LOCAL_USER, true, &place, NULL), 0);
    int listener = listen_as_stranger(place.where);
    assert_int_equal(connect_there(), PCO_EACCES);
    int victim = accept(listener, NULL, NULL);
    assert_true(victim >= 0);
    assert_int_equal(read(victim, &byte, 1), 0); /* the end, and no handshake before it */
    close(victim);
    close(listener);
    assert_int_equal(unlink(place.where), 0);
}

#define LOCAL(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCAL(both_ends_verify_each_other_and_talk),
        LOCAL(a_client_without_a_certificate_is_not_served),
        LOCAL(a_server_that_nobody_vouches_for_is_refused),
        LOCAL(the_certificate_must_show_the_name_that_is_asked_for),
        LOCAL(an_impostor_is_not_even_greeted),
    };

    return run_here("local_tls", tests, sizeof tests / sizeof tests[0]);
}
