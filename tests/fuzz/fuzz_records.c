/* SPDX-License-Identifier: MIT */
/*
 * fuzz_records.c: an open TLS connection. The input is a script: what the peer writes, how its
 * records are changed on their way, what is thrown in between them, and what the server does.
 * Whatever happens, the server is given nothing but what the peer wrote, from the beginning on.
 */
#include "fuzz.h"
#include "ssl_world.h"

#include <openssl/err.h>

#define STEPS_MOST 200

typedef struct world {
    pco_loop *loop;
    tls_end server;
    tls_peer peer;
    size_t written; /* by the peer */
} world;

static pco_ssl_context *context;

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    certificates_get();
    memory_watch();
    context = tls_server_context();
    return 0;
}

static uint8_t pattern_at(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7);
}

/* What the peer writes next. OpenSSL may refuse: the peer may have seen its end. */
static void peer_writes(world *self, size_t length)
{
    uint8_t text[4096];
    length = length % sizeof text;
    for (size_t i = 0; i < length; i++) {
        text[i] = pattern_at(self->written + i);
    }
    ERR_clear_error();
    if (length != 0 && SSL_write(self->peer.ssl, text, (int)length) == (int)length) {
        self->written += length;
    }
}

/* Takes what the peer has ready, changes it, and sends it on. */
static void send_changed(world *self, input *from)
{
    char *data;
    long length = BIO_get_mem_data(self->peer.out, &data);
    if (length <= 0) {
        return;
    }
    bytes flight = bytes_of(data, (size_t)length);
    BIO_reset(self->peer.out);
    bytes_edit(&flight, from);
    fake_feed(self->server.socket, flight.data, flight.length);
    free(flight.data);
}

static void server_writes(world *self, size_t length)
{
    static const uint8_t text[20000];
    if (self->server.transport != NULL) {
        pco_transport_write(self->server.transport, text, length % sizeof text);
    }
}

/* What the server's user does. Each is legal at any time. */
static void server_does(world *self, unsigned what)
{
    pco_transport *transport = self->server.transport;
    if (transport == NULL) {
        return;
    }
    switch (what % 6) {
    case 0:
        pco_transport_close(transport);
        break;
    case 1:
        pco_transport_abort(transport);
        break;
    case 2:
    case 3:
        pco_transport_pause_reading(transport);
        break;
    default:
        pco_transport_resume_reading(transport);
        break;
    }
}

static void raw_bytes(world *self, input *from)
{
    size_t length;
    const uint8_t *data = take_bytes(from, take_byte(from), &length);
    fake_feed(self->server.socket, data, length);
}

static void step(world *self, input *from)
{
    ERR_clear_error();
    switch (take_byte(from) % 12) {
    case 0:
    case 1:
        peer_writes(self, take_number(from));
        break;
    case 2:
        SSL_key_update(self->peer.ssl, SSL_KEY_UPDATE_REQUESTED);
        break;
    case 3:
        SSL_shutdown(self->peer.ssl);
        break;
    case 4:
    case 5:
        tls_move_to_end(&self->peer, &self->server);
        break;
    case 6:
        send_changed(self, from);
        break;
    case 7:
        raw_bytes(self, from);
        break;
    case 8:
        server_writes(self, take_number(from));
        break;
    case 9:
        server_does(self, take_byte(from));
        break;
    case 10:
        self->server.socket->input_cut = take_byte(from);
        run_turns(self->loop, 1);
        break;
    default:
        fake_advance(self->loop, take_byte(from));
        tls_run(&self->peer, &self->server);
        break;
    }
}

static void open_world(world *self, unsigned kind)
{
    SSL_CTX *ctx = tls_peer_ctx(kind & 1 ? TLS1_2_VERSION : TLS1_3_VERSION);
    memset(self, 0, sizeof *self);
    self->loop = fake_loop_new();
    tls_end_init(&self->server, (kind & 2) != 0);
    self->server.protocol.buffer_size = sizeof self->server.protocol.buffer;
    tls_end_start(&self->server, self->loop, context);
    tls_peer_init(&self->peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&self->peer, &self->server);
    require(self->peer.established, "a good handshake succeeds");
}

static void close_world(world *self)
{
    fake_feed_eof(self->server.socket);
    run_turns(self->loop, 4);
    pco_loop_free(self->loop);
    const recorder *seen = &self->server.protocol;
    require(seen->violation == NULL, "the protocol's grammar is kept");
    require(seen->counts[LOST] == 1, "connection_lost comes once");
    require(seen->length <= self->written, "no more is received than was sent");
    for (size_t i = 0; i < seen->length; i++) {
        require(seen->data[i] == pattern_at(i), "what is received was sent");
    }
    tls_end_free(&self->server);
    tls_peer_free(&self->peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    world it;
    open_world(&it, take_byte(&from));
    for (unsigned steps = 0; steps < STEPS_MOST && from.length != 0; steps++) {
        step(&it, &from);
    }
    close_world(&it);
    require(memory_pieces() == before, "all memory is given back");
    ERR_clear_error();
    return 0;
}
