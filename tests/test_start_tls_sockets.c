/* SPDX-License-Identifier: MIT */
/*
 * Goal: TLS begins on real connections, those of a server and those of create_connection, plain or
 * under TLS already; and who made a connection counts, closes and aborts it as before.
 * Method: on every backend both ends are the library's.
 */
#include "behaviour.h"
#include "make_certificates.h"

#define AMOUNT ((size_t)300 * 1000)

/* One end of the conversation. */
typedef struct speaker {
    pco_protocol protocol;
    bool is_server;
    bool is_hasty; /* TLS begins with the connection: input that is there is TLS's */
    bool waits;    /* the server does not answer: it is asked for TLS, and says nothing */
    pco_transport *transport;
    pco_request *request;
    int code;
    unsigned made;
    unsigned told;
    pco_error error;
    unsigned lost;
    bool lost_first; /* before the completion */
    bool was_told_to_shut_down;
    unsigned char *data;
    size_t length;
} speaker;

static speaker client;
static speaker server;
static pco_ssl_context *server_context;
static pco_ssl_context *client_context;

static struct {
    unsigned calls;
    pco_transport *transport;
    pco_protocol *protocol;
    int code;
} connected;

static void note_started(pco_transport *transport, const pco_error *error, void *context)
{
    speaker *self = context;
    self->told++;
    self->transport = transport;
    if (error != NULL) {
        self->error = *error;
    } else if (pco_transport_write(transport, pattern(AMOUNT), AMOUNT) != 0) {
        violate("the new transport takes nothing");
    }
}

static void start(speaker *self, pco_transport *transport)
{
    pco_start_tls_options options = {.size = sizeof options,
                                     .ssl = self->is_server ? server_context : client_context,
                                     .server_side = self->is_server ? PCO_ON : PCO_OFF,
                                     .server_hostname = self->is_server ? NULL : "localhost",
                                     .keep_input = self->is_hasty ? PCO_ON : PCO_OFF};
    self->code = pco_loop_start_tls(at.loop, transport, &options, note_started, self,
                                    &self->request, &self->error);
}

static void speaker_made(pco_protocol *protocol, pco_transport *transport)
{
    speaker *self = (speaker *)protocol;
    self->made++;
    self->transport = transport;
    if (!self->is_server) {
        pco_transport_write(transport, "starttls\n", 9);
    }
}

static void listen_for_the_word(speaker *self, pco_transport *transport)
{
    if (self->data[self->length - 1] != '\n') {
        return;
    }
    self->length = 0;
    if (self->is_server && !self->waits) {
        pco_transport_write(transport, "go on\n", 6);
    }
    start(self, transport);
}

static void speaker_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                             size_t length)
{
    speaker *self = (speaker *)protocol;
    unsigned char *grown = realloc(self->data, self->length + length);
    if (grown == NULL) {
        abort();
    }
    memcpy(grown + self->length, data, length);
    self->data = grown;
    self->length += length;
    if (transport != self->transport) {
        violate("data comes with another transport");
    }
    if (self->request == NULL) {
        listen_for_the_word(self, transport);
    }
}

static void speaker_lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    speaker *self = (speaker *)protocol;
    (void)transport;
    (void)error;
    self->lost++;
    self->lost_first = self->request != NULL && self->told == 0;
}

static void speaker_shut_down(pco_protocol *protocol, pco_transport *transport)
{
    ((speaker *)protocol)->was_told_to_shut_down = true;
    pco_transport_close(transport);
}

static const pco_protocol_methods speaker_methods = {.size = sizeof speaker_methods,
                                                     .connection_made = speaker_made,
                                                     .data_received = speaker_received,
                                                     .connection_lost = speaker_lost,
                                                     .shutting_down = speaker_shut_down};

static pco_protocol *make_server_end(void *context)
{
    (void)context;
    return &server.protocol;
}

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    (void)context;
    connected.calls++;
    connected.transport = transport;
    connected.protocol = protocol;
    connected.code = error != NULL ? error->code : 0;
}

/* ---- The world ---- */

static void init(speaker *self, bool is_server, const pco_protocol_methods *methods)
{
    memset(self, 0, sizeof *self);
    self->protocol.methods = methods;
    self->is_server = is_server;
}

static int begin(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    const certificate *own = &certificates_get()->server;
    pco_ssl_context_options trusting = {
        .size = sizeof trusting, .ca_pem = ca->pem, .ca_pem_length = ca->pem_length};
    pco_ssl_context_options showing = {.size = sizeof showing,
                                       .certificate_pem = own->pem,
                                       .certificate_pem_length = own->pem_length,
                                       .key_pem = own->key_pem,
                                       .key_pem_length = own->key_pem_length};
    memset(&connected, 0, sizeof connected);
    init(&server, true, &speaker_methods);
    init(&client, false, &speaker_methods);
    if (world_begin(state) != 0 || pco_ssl_context_new(&showing, &server_context, NULL) != 0) {
        return -1;
    }
    return pco_ssl_context_new_client(&trusting, &client_context, NULL);
}

static void forget(speaker *self)
{
    pco_request_release(self->request);
    free(self->data);
}

static int end(void **state)
{
    forget(&server);
    forget(&client);
    pco_ssl_context_release(server_context);
    pco_ssl_context_release(client_context);
    return world_end(state);
}

#define STARTING(name) cmocka_unit_test_setup_teardown(name, begin, end)

static void serve_speaker(void)
{
    pco_server_options options = server_options();
    options.protocol_factory = make_server_end;
    serve_with(&options);
}

static void connect_client(void)
{
    pco_address address = address_of(at.server, 0);
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &client.protocol,
                                      .host = "127.0.0.1",
                                      .port = pco_address_port(&address),
                                      .ssl = at.tls ? client_context : NULL};
    assert_int_equal(
        pco_loop_create_connection(at.loop, &options, note_connected, NULL, NULL, NULL), 0);
}

static void open_both(void)
{
    serve_speaker();
    connect_client();
}

/* ---- Tests ---- */

static void both_ends_go_on_under_tls(void **state)
{
    pco_ssl_info info = {.size = sizeof info};
    (void)state;
    open_both();
    assert_true(grows_to(&server.length, AMOUNT));
    assert_true(grows_to(&client.length, AMOUNT));
    assert_memory_equal(server.data, pattern(AMOUNT), AMOUNT);
    assert_memory_equal(client.data, pattern(AMOUNT), AMOUNT);
    assert_int_equal(pco_transport_get_ssl_info(client.transport, &info), 0);
    assert_string_equal(info.server_name, "localhost");
    assert_int_equal(counters_of(at.server).active, 1);
    assert_int_equal(counters_of(at.server).handshaking, 0);
    pco_transport_close(client.transport);
    assert_true(reaches(&client.lost, 1));
    assert_true(reaches(&server.lost, 1));
    assert_true(server.made == 1 && client.made == 1 && server.told == 1 && client.told == 1);
    assert_int_equal(counters_of(at.server).active, 0);
}

static void the_server_closes_those_that_go_on_under_tls(void **state)
{
    (void)state;
    open_both();
    assert_true(grows_to(&server.length, AMOUNT));
    assert_true(grows_to(&client.length, AMOUNT));
    pco_server_close_clients(at.server);
    assert_true(reaches(&server.lost, 1));
    assert_true(reaches(&client.lost, 1));
    assert_int_equal(counters_of(at.server).active, 0);
}

static void check_end_of_handshake(void (*end_it)(void))
{
    server.waits = true;
    open_both();
    for (unsigned i = 0; i < 60000 && server.request == NULL; i++) {
        pco_loop_run_once(at.loop, 0.001);
    }
    assert_non_null(server.request);
    end_it();
    assert_int_equal(server.told, 0);
    assert_true(reaches(&server.lost, 1));
    assert_int_equal(server.told, 1);
    assert_int_equal(server.error.code, PCO_ECANCELED);
    assert_false(server.lost_first);
    assert_true(reaches(&client.lost, 1));
}

static void close_clients(void)
{
    pco_server_close_clients(at.server);
}

static void the_server_closes_those_in_the_handshake(void **state)
{
    (void)state;
    check_end_of_handshake(close_clients);
    assert_int_equal(counters_of(at.server).active, 0);
}

static void abort_clients(void)
{
    pco_server_abort_clients(at.server);
}

static void the_server_aborts_those_in_the_handshake(void **state)
{
    (void)state;
    check_end_of_handshake(abort_clients);
}

static void shut_down(void)
{
    pco_server_shutdown(at.server, 1000);
}

static void a_server_that_shuts_down_closes_those_in_the_handshake(void **state)
{
    (void)state;
    check_end_of_handshake(shut_down);
    assert_false(server.was_told_to_shut_down);
}

static void one_that_stands_is_told_of_the_shutdown(void **state)
{
    (void)state;
    open_both();
    assert_true(grows_to(&server.length, AMOUNT));
    assert_true(grows_to(&client.length, AMOUNT));
    pco_server_shutdown(at.server, 1000);
    assert_true(reaches(&server.lost, 1));
    assert_true(server.was_told_to_shut_down);
    assert_true(reaches(&client.lost, 1));
}

static void free_loop(void)
{
    world_free_loop();
}

static void the_loop_may_be_freed_in_the_handshake(void **state)
{
    (void)state;
    server.waits = true;
    open_both();
    for (unsigned i = 0; i < 60000 && server.request == NULL; i++) {
        pco_loop_run_once(at.loop, 0.001);
    }
    free_loop();
    assert_int_equal(server.told, 1);
    assert_int_equal(server.error.code, PCO_ECANCELED);
    assert_int_equal(server.lost, 1);
    assert_int_equal(client.lost, 1);
}

/* ---- At once ---- */

static void begin_at_once(pco_protocol *protocol, pco_transport *transport)
{
    speaker *self = (speaker *)protocol;
    self->made++;
    self->transport = transport;
    self->is_hasty = true;
    start(self, transport);
}

static const pco_protocol_methods hasty_methods = {.size = sizeof hasty_methods,
                                                   .connection_made = begin_at_once,
                                                   .data_received = speaker_received,
                                                   .connection_lost = speaker_lost};

/* create_connection's completion is told of the transport of before, and of the protocol. */
static void tls_may_begin_in_connection_made(void **state)
{
    (void)state;
    init(&server, true, &hasty_methods);
    init(&client, false, &hasty_methods);
    serve_speaker();
    pco_transport *first;
    connect_client();
    assert_true(reaches(&connected.calls, 1));
    assert_int_equal(connected.code, 0);
    assert_ptr_equal(connected.protocol, &client.protocol);
    first = connected.transport;
    assert_non_null(first);
    assert_true(grows_to(&server.length, AMOUNT));
    assert_true(grows_to(&client.length, AMOUNT));
    assert_ptr_not_equal(client.transport, first);
    pco_transport_abort(client.transport);
    assert_true(reaches(&client.lost, 1));
    assert_true(reaches(&server.lost, 1));
}

static const struct CMUnitTest tests[] = {
    STARTING(both_ends_go_on_under_tls),
    STARTING(the_server_closes_those_that_go_on_under_tls),
    STARTING(the_server_closes_those_in_the_handshake),
    STARTING(the_server_aborts_those_in_the_handshake),
    STARTING(a_server_that_shuts_down_closes_those_in_the_handshake),
    STARTING(one_that_stands_is_told_of_the_shutdown),
    STARTING(the_loop_may_be_freed_in_the_handshake),
    STARTING(tls_may_begin_in_connection_made),
};

int main(void)
{
    return run_on(pco__backends, true, tests, sizeof tests / sizeof tests[0]);
}
