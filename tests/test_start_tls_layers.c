/* SPDX-License-Identifier: MIT */
/*
 * Goal: TLS in TLS, where either layer may end at any byte: what had come whole is delivered, each
 * handshake is told of once, and so is the end, as what it is.
 * Method: the library's client on the fake backend; both layers of its peer are OpenSSL's, with
 * memory BIOs.
 */
#include "ssl_world.h"

/* Of the peer's bytes, the most that get through; and what has. */
typedef struct layer {
    tls_peer peer;
    size_t most;
    size_t passed;
    unsigned told; /* the client's completion */
    pco_error error;
} layer;

static pco_loop *loop;
static pco_ssl_context *context;
static SSL_CTX *server_ctx;
static connection client;
static fake_socket *wire;
static tls_end end; /* for what moves bytes */
static layer outer;
static layer inner;
static size_t decrypted; /* of outer.peer.received, what the inner one was given */
static bool has_spoken;
static bool writes; /* much, when it is spoken to */
static bool keeps;  /* the inner one is kept open when its peer has ended */

static void note_inner(pco_transport *transport, const pco_error *error, void *unused)
{
    (void)transport;
    (void)unused;
    inner.told++;
    inner.error = error != NULL ? *error : (pco_error){0};
}

static int begin(pco_transport *transport, pco_tls_started started)
{
    pco_start_tls_options options = {
        .size = sizeof options, .ssl = context, .server_hostname = "localhost"};
    options.ssl_half_close = keeps && started == note_inner ? PCO_ON : PCO_DEFAULT;
    return pco_loop_start_tls(loop, transport, &options, started, NULL, NULL, NULL);
}

static void note_outer(pco_transport *transport, const pco_error *error, void *unused)
{
    (void)unused;
    outer.told++;
    outer.error = error != NULL ? *error : (pco_error){0};
    if (transport != NULL && begin(transport, note_inner) != 0) {
        client.protocol.violation = "the inner one cannot begin";
    }
}

static void init_layer(layer *self, size_t most)
{
    memset(self, 0, sizeof *self);
    tls_peer_init(&self->peer, server_ctx, NULL);
    SSL_set_accept_state(self->peer.ssl);
    self->most = most;
}

/* What the inner server has to say goes through the outer one. */
static void speak_inside(void)
{
    char *data;
    size_t length = outer.peer.length - decrypted;
    if (length != 0) {
        BIO_write(inner.peer.in, outer.peer.received + decrypted, (int)length);
        decrypted += length;
    }
    tls_peer_work(&inner.peer);
    if (inner.peer.established && !has_spoken) {
        has_spoken = true;
        tls_peer_write(&inner.peer, "hello", 5);
        SSL_shutdown(inner.peer.ssl);
    }
    long there = BIO_get_mem_data(inner.peer.out, &data);
    size_t piece = there > 0 ? (size_t)there : 0;
    piece = piece < inner.most - inner.passed ? piece : inner.most - inner.passed;
    if (piece != 0 && outer.peer.failure == 0) {
        tls_peer_write(&outer.peer, data, piece);
        inner.passed += piece;
    }
    BIO_reset(inner.peer.out);
}

static void move(void)
{
    char *data;
    tls_move_to_peer(&outer.peer, &end);
    tls_peer_work(&outer.peer);
    if (outer.peer.established) {
        speak_inside();
    }
    long there = BIO_get_mem_data(outer.peer.out, &data);
    size_t piece = there > 0 ? (size_t)there : 0;
    piece = piece < outer.most - outer.passed ? piece : outer.most - outer.passed;
    if (piece != 0) {
        fake_feed(wire, data, piece);
        outer.passed += piece;
    }
    BIO_reset(outer.peer.out);
    run_turns(loop, 2);
}

#define MUCH ((size_t)1024 * 1024)

/* The system takes nothing for now. */
static void write_much(recorder *self, pco_transport *transport)
{
    static const unsigned char data[MUCH];
    wire->room = 0;
    if (pco_transport_write(transport, data, sizeof data) != 0) {
        self->violation = "a write was refused";
    }
}

/* The conversation, as far as the layers let bytes through. */
static void converse(size_t outer_most, size_t inner_most)
{
    loop = fake_loop_new();
    connection_init(&client, false);
    client.protocol.at[DATA] = writes ? write_much : NULL;
    client.protocol.keep_open = keeps;
    connection_open(&client, loop);
    wire = client.socket;
    end = (tls_end){.loop = loop, .socket = wire};
    init_layer(&outer, outer_most);
    init_layer(&inner, inner_most);
    decrypted = 0;
    has_spoken = false;
    assert_int_equal(begin(client.transport, note_outer), 0);
    for (unsigned i = 0; i < 8; i++) {
        move();
    }
}

/* Whoever waits for something does so no longer. */
static void let_it_end(void)
{
    for (unsigned i = 0; i < 3; i++) {
        move();
        fake_advance(loop, 40);
        run_turns(loop, 3);
    }
}

/* Returns what connection_lost was told. */
static int assert_ended(void)
{
    assert_int_equal(client.protocol.counts[LOST], 1);
    assert_int_equal(outer.told, 1);
    assert_int_equal(inner.told, outer.error.code == 0 ? 1 : 0);
    assert_true(client.protocol.length == 0 || client.protocol.length == 5);
    assert_true(wire->closed);
    return client.protocol.error.code;
}

static void clean_up(void)
{
    pco_loop_free(loop);
    assert_true(connection_kept_the_rules(&client));
    connection_free(&client);
    tls_peer_free(&outer.peer);
    tls_peer_free(&inner.peer);
}

static void both_layers_carry_the_whole_of_it(void **state)
{
    (void)state;
    converse(SIZE_MAX, SIZE_MAX);
    SSL_shutdown(outer.peer.ssl); /* its answer */
    let_it_end();
    assert_int_equal(assert_ended(), 0);
    connection_assert_data(&client, "hello");
    assert_int_equal(client.protocol.counts[END], 1);
    clean_up();
}

/* Nothing behind the inner one's close_notify is missed. */
static void the_connection_may_be_cut_at_any_byte(void **state)
{
    bool whole = false;
    (void)state;
    for (size_t most = 0; !whole; most++) {
        assert_true(most < 10000);
        converse(most, SIZE_MAX);
        whole = client.protocol.counts[END] == 1;
        if (most % 2 == 0) {
            fake_feed_eof(wire);
        } else {
            fake_feed_error(wire, PCO_ECONNRESET, 104);
        }
        let_it_end();
        int code = assert_ended();
        bool stood = inner.told == 1 && inner.error.code == 0;
        if (!stood) {
            assert_int_equal(outer.error.code != 0 ? outer.error.code : inner.error.code,
                             code != 0 ? code : PCO_ECONNRESET);
        } else if (!whole) {
            assert_true(code == PCO_ETRUNCATED || code == PCO_ECONNRESET);
        }
        clean_up();
    }
}

/* The outer one ends politely, in the middle of a record of the inner one's. */
static void the_inner_layer_may_be_cut_at_any_byte(void **state)
{
    bool whole = false;
    (void)state;
    for (size_t most = 0; !whole; most++) {
        assert_true(most < 10000);
        converse(SIZE_MAX, most);
        whole = client.protocol.counts[END] == 1;
        assert_int_equal(outer.error.code, 0);
        SSL_shutdown(outer.peer.ssl);
        let_it_end();
        int code = assert_ended();
        bool stood = inner.told == 1 && inner.error.code == 0;
        if (!stood) {
            assert_int_equal(inner.error.code, PCO_ECONNRESET);
        } else {
            assert_int_equal(code, whole ? 0 : PCO_ETRUNCATED);
        }
        clean_up();
    }
}

/* The outer one knows no halves: whoever ends it has to wait for the inner one. */
static void write_and_let_both_end(bool keep_open)
{
    writes = true;
    keeps = keep_open;
    converse(SIZE_MAX, SIZE_MAX);
    writes = false;
    keeps = false;
    SSL_shutdown(outer.peer.ssl);
    move();
    assert_int_equal(client.protocol.counts[END], 1);
    assert_int_equal(client.protocol.counts[LOST], 0);
    wire->room = SIZE_MAX;
    for (unsigned i = 0; i < 100 && client.protocol.counts[LOST] == 0; i++) {
        move();
    }
    move();
    assert_int_equal(inner.peer.length, MUCH);
    let_it_end();
    assert_int_equal(assert_ended(), 0);
    clean_up();
}

static void what_waits_inside_leaves_though_the_peer_ends_both_layers(void **state)
{
    (void)state;
    write_and_let_both_end(false);
    write_and_let_both_end(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_layers_carry_the_whole_of_it),
        cmocka_unit_test(the_connection_may_be_cut_at_any_byte),
        cmocka_unit_test(the_inner_layer_may_be_cut_at_any_byte),
        cmocka_unit_test(what_waits_inside_leaves_though_the_peer_ends_both_layers),
    };
    memory_watch();
    context = tls_client_context();
    server_ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(server_ctx, certificates_get()->server.x509);
    SSL_CTX_use_PrivateKey(server_ctx, certificates_get()->server.key);
    int failures = cmocka_run_group_tests_name("start_tls, layers", tests, NULL, NULL);
    SSL_CTX_free(server_ctx);
    pco_ssl_context_release(context);
    certificates_free();
    return memory_unwatch() == 0 ? failures : 1;
}
