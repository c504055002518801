/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_sockets.c: both ends of the library's TLS on real sockets and one real loop. Goal: what
 * the fake backend cannot show: the system's own segments, short writes and full buffers.
 * Method: pairs of connected TCP sockets; every byte is counted and compared.
 */
#include "make_certificates.h"
#include "ssl_world.h"
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE 60.0

/* One end: it sends `length` bytes of the pattern, and checks that it receives the same. */
typedef struct end {
    pco_protocol protocol;
    pco_transport *transport; /* NULL after connection_lost */
    size_t length;
    size_t sent;
    size_t received;
    size_t pauses; /* every so many bytes reading is paused for a turn; 0: never */
    size_t next_pause;
    bool writing_paused;
    bool wrong; /* a byte was not what it should be */
    bool made;
    bool lost;
    pco_error error;
    unsigned done;
    int handshake;
} end;

static pco_loop *loop;
static pco_ssl_context *server_context;
static pco_ssl_context *client_context;

static unsigned char byte_at(size_t place)
{
    return (unsigned char)(place * 7 + place / 251 + place / 65521);
}

static void send_more(end *self)
{
    static unsigned char data[20000];
    while (self->sent < self->length && !self->writing_paused) {
        size_t rest = self->length - self->sent;
        size_t piece = rest < sizeof data ? rest : sizeof data - self->sent % 777;
        for (size_t i = 0; i < piece; i++) {
            data[i] = byte_at(self->sent + i);
        }
        self->sent += piece;
        if (pco_transport_write(self->transport, data, piece) != 0) {
            self->wrong = true;
            return;
        }
    }
}

static void connection_made(pco_protocol *protocol, pco_transport *transport)
{
    end *self = (end *)protocol;
    self->made = true;
    self->transport = transport;
    send_more(self);
}

static void resume_reading(void *context)
{
    end *self = context;
    if (self->transport != NULL) {
        pco_transport_resume_reading(self->transport);
    }
}

static void data_received(pco_protocol *protocol, pco_transport *transport, const void *data,
                          size_t length)
{
    end *self = (end *)protocol;
    for (size_t i = 0; i < length; i++) {
        if (((const unsigned char *)data)[i] != byte_at(self->received + i)) {
            self->wrong = true;
        }
    }
    self->received += length;
    if (self->pauses != 0 && self->received >= self->next_pause) {
        self->next_pause = self->received + self->pauses;
        pco_transport_pause_reading(transport);
        if (pco_loop_call_soon(loop, resume_reading, self, NULL) != 0) {
            self->wrong = true;
        }
    }
}

static void connection_lost(pco_protocol *protocol, pco_transport *transport,
                            const pco_error *error)
{
    end *self = (end *)protocol;
    (void)transport;
    self->lost = true;
    self->transport = NULL;
    if (error != NULL) {
        self->error = *error;
    }
}

static void pause_writing(pco_protocol *protocol, pco_transport *transport)
{
    (void)transport;
    ((end *)protocol)->writing_paused = true;
}

static void resume_writing(pco_protocol *protocol, pco_transport *transport)
{
    (void)transport;
    ((end *)protocol)->writing_paused = false;
    send_more((end *)protocol);
}

static const pco_protocol_methods methods = {
    .size = sizeof methods,
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
};

static pco_protocol *make_protocol(void *context)
{
    return &((end *)context)->protocol;
}

static void handshake_done(pco_transport *transport, const pco_error *error, void *context)
{
    (void)transport;
    ((end *)context)->done++;
    ((end *)context)->handshake = error != NULL ? error->code : 0;
}

/* ---- Sockets ---- */

static void connect_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(pair[0], (struct sockaddr *)&address, length), 0);
    pair[1] = accept(listener, NULL, NULL);
    assert_true(pair[1] >= 0);
    close(listener);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fcntl(pair[i], F_SETFL, O_NONBLOCK), 0);
    }
}

static void start(end *self, pco_loop *where, int sock, bool client)
{
    pco__stream_options stream_options = {.close_timeout = PATIENCE};
    pco__ssl_options options = {.context = client ? client_context : server_context,
                                .client = client,
                                .server_name = client ? "localhost" : NULL,
                                .handshake_timeout = PATIENCE,
                                .shutdown_timeout = PATIENCE,
                                .make_protocol = make_protocol,
                                .handshake_done = handshake_done,
                                .context_of_calls = self};
    pco__stream *stream;
    self->protocol.methods = &methods;
    self->next_pause = self->pauses;
    assert_int_equal(pco__stream_new(where, sock, NULL, &stream_options, &stream, NULL), 0);
    assert_int_equal(tls_start(stream, &options, NULL), 0);
}

static void start_pair(end *server, end *client)
{
    int pair[2];
    connect_pair(pair);
    start(server, loop, pair[0], false);
    start(client, loop, pair[1], true);
}

static bool is_done(const end *self, const end *other)
{
    return self->lost || (self->made && self->received == other->length);
}

static bool both_are_done(void *context)
{
    end *pair = context;
    return is_done(&pair[0], &pair[1]) && is_done(&pair[1], &pair[0]);
}

static bool both_are_lost(void *context)
{
    end *pair = context;
    return pair[0].lost && pair[1].lost;
}

/* Runs a pair until all has arrived, closes one end, and looks at how both ended. */
static void run_pair(end *pair)
{
    start_pair(&pair[0], &pair[1]);
    assert_int_equal(pco_loop_run_until(loop, both_are_done, pair, PATIENCE), 0);
    assert_false(pair[0].lost || pair[1].lost);
    pco_transport_close(pair[0].transport);
    assert_int_equal(pco_loop_run_until(loop, both_are_lost, pair, PATIENCE), 0);
    for (int i = 0; i < 2; i++) {
        assert_false(pair[i].wrong);
        assert_int_equal(pair[i].received, pair[1 - i].length);
        assert_int_equal(pair[i].error.code, 0);
        assert_int_equal(pair[i].done, 1);
        assert_int_equal(pair[i].handshake, 0);
    }
}

/* ---- Tests ---- */

static void a_little_is_exchanged(void **state)
{
    end pair[2] = {{.length = 5}, {.length = 1}};
    (void)state;
    run_pair(pair);
}

static void much_is_exchanged_in_both_directions_at_once(void **state)
{
    end pair[2] = {{.length = 12 * 1024 * 1024}, {.length = 9 * 1024 * 1024 + 17}};
    (void)state;
    run_pair(pair);
}

static void pausing_again_and_again_loses_nothing(void **state)
{
    end pair[2] = {{.length = 3 * 1024 * 1024, .pauses = 1},
                   {.length = 3 * 1024 * 1024, .pauses = 100000}};
    (void)state;
    run_pair(pair);
}

#define PAIRS 100

static end many[2 * PAIRS];

static bool all_are_done(void *context)
{
    (void)context;
    for (int i = 0; i < PAIRS; i++) {
        if (!both_are_done(&many[2 * i])) {
            return false;
        }
    }
    return true;
}

static bool all_are_lost(void *context)
{
    (void)context;
    for (int i = 0; i < PAIRS; i++) {
        if (!both_are_lost(&many[2 * i])) {
            return false;
        }
    }
    return true;
}

static void many_connections_share_a_loop_without_mixing_anything_up(void **state)
{
    (void)state;
    memset(many, 0, sizeof many);
    for (size_t i = 0; i < PAIRS; i++) {
        many[2 * i].length = 1 + i * 997;
        many[2 * i + 1].length = 200000 - i * 1009;
        start_pair(&many[2 * i], &many[2 * i + 1]);
    }
    assert_int_equal(pco_loop_run_until(loop, all_are_done, NULL, PATIENCE), 0);
    for (size_t i = 0; i < PAIRS; i++) {
        assert_false(many[2 * i].lost || many[2 * i + 1].lost);
        pco_transport_close(many[2 * i + i % 2].transport);
    }
    assert_int_equal(pco_loop_run_until(loop, all_are_lost, NULL, PATIENCE), 0);
    for (size_t i = 0; i < 2 * PAIRS; i++) {
        assert_false(many[i].wrong);
        assert_int_equal(many[i].received, many[i ^ 1].length);
        assert_int_equal(many[i].error.code, 0);
    }
}

static void an_aborted_end_is_a_truncation_to_the_other(void **state)
{
    end pair[2] = {{.length = 5}, {.length = 5}};
    (void)state;
    start_pair(&pair[0], &pair[1]);
    assert_int_equal(pco_loop_run_until(loop, both_are_done, pair, PATIENCE), 0);
    pco_transport_abort(pair[1].transport);
    assert_int_equal(pco_loop_run_until(loop, both_are_lost, pair, PATIENCE), 0);
    assert_int_equal(pair[0].error.code, PCO_ETRUNCATED);
    assert_int_equal(pair[1].error.code, 0);
}

static void a_reset_end_is_a_reset_to_the_other(void **state)
{
    end pair[2] = {{.length = 5}, {.length = 5}};
    (void)state;
    start_pair(&pair[0], &pair[1]);
    assert_int_equal(pco_loop_run_until(loop, both_are_done, pair, PATIENCE), 0);
    pco_transport_abort_reset(pair[1].transport);
    assert_int_equal(pco_loop_run_until(loop, both_are_lost, pair, PATIENCE), 0);
    assert_int_equal(pair[0].error.code, PCO_ECONNRESET);
}

/* ---- Many handshakes at once ---- */

#define STEPS_PER_TURN 8 /* docs/create_server.md */
#define CLIENTS 40

static unsigned keys_used;

static int count_key(SSL *engine, void *unused)
{
    (void)engine;
    (void)unused;
    keys_used++;
    return 1;
}

/* A server's context that counts how often its key is used. */
static pco_ssl_context *counting_context(void)
{
    const certificate *own = &certificates_get()->server;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    pco_ssl_context *made = NULL;
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    SSL_CTX_set_cert_cb(ctx, count_key, NULL);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &made, NULL), 0);
    SSL_CTX_free(ctx);
    return made;
}

/* The server's end on the loop, the client's on another. Bytes leave when they are written. */
static void start_apart(end *pair, pco_loop *outside)
{
    int sockets[2];
    int yes = 1;
    connect_pair(sockets);
    assert_int_equal(setsockopt(sockets[1], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
    start(&pair[0], loop, sockets[0], false);
    start(&pair[1], outside, sockets[1], true);
}

static bool are_made(const end *ends, size_t count)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        made += ends[i].made ? 1 : 0;
    }
    return made == count;
}

static void run_until_made(const end *ends, size_t count, pco_loop *outside)
{
    for (unsigned turns = 0; turns < 1000 && !are_made(ends, count); turns++) {
        assert_int_equal(pco_loop_run_once(outside, 0.001), 0);
        assert_int_equal(pco_loop_run_once(loop, 0.001), 0);
    }
    assert_true(are_made(ends, count));
}

static void many_handshakes_at_once_leave_established_connections_their_turn(void **state)
{
    end *first = many;
    end *others = many + 2;
    pco_loop *outside;
    (void)state;
    memset(many, 0, sizeof many);
    pco_ssl_context_release(server_context);
    server_context = counting_context();
    assert_int_equal(pco_loop_new(NULL, &outside, NULL), 0);
    start_apart(first, outside);
    run_until_made(first, 2, outside);
    for (size_t i = 0; i < CLIENTS; i++) {
        start_apart(&others[2 * i], outside);
    }
    keys_used = 0;
    unsigned turns = 0;
    while (keys_used < CLIENTS) {
        unsigned before = keys_used;
        unsigned char byte = byte_at(turns++);
        assert_int_equal(pco_transport_write(first[1].transport, &byte, 1), 0);
        assert_int_equal(pco_loop_run_once(outside, 0), 0);
        assert_int_equal(pco_loop_run_once(loop, 0), 0);
        assert_int_equal(first[0].received, turns);
        assert_in_range(keys_used - before, turns == 1 ? 1 : 0, STEPS_PER_TURN);
        assert_in_range(turns, 1, CLIENTS);
    }
    assert_in_range(turns, CLIENTS / STEPS_PER_TURN, CLIENTS);
    run_until_made(others, (size_t)2 * CLIENTS, outside);
    assert_false(first[0].wrong);
    pco_loop_free(outside);
}

static int set_up(void **state)
{
    const certificates *them = certificates_get();
    pco_ssl_context_options server = {.size = sizeof server,
                                      .certificate_pem = them->server.pem,
                                      .certificate_pem_length = them->server.pem_length,
                                      .key_pem = them->server.key_pem,
                                      .key_pem_length = them->server.key_pem_length};
    pco_ssl_context_options client = {
        .size = sizeof client, .ca_pem = them->ca.pem, .ca_pem_length = them->ca.pem_length};
    (void)state;
    memory_watch();
    return pco_loop_new(NULL, &loop, NULL) != 0 ||
           pco_ssl_context_new(&server, &server_context, NULL) != 0 ||
           pco_ssl_context_new_client(&client, &client_context, NULL) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    pco_ssl_context_release(server_context);
    pco_ssl_context_release(client_context);
    return memory_unwatch() != 0;
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_little_is_exchanged),
        TEST(much_is_exchanged_in_both_directions_at_once),
        TEST(pausing_again_and_again_loses_nothing),
        TEST(many_connections_share_a_loop_without_mixing_anything_up),
        TEST(an_aborted_end_is_a_truncation_to_the_other),
        TEST(a_reset_end_is_a_reset_to_the_other),
        TEST(many_handshakes_at_once_leave_established_connections_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, end_all);
}
