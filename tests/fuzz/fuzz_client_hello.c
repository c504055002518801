/* SPDX-License-Identifier: MIT */
/*
 * fuzz_client_hello.c: a client's first flight. The input says how a good one is changed, into how
 * many segments it falls, and what comes behind it; the names that it asks for are looked up.
 */
#include "fuzz.h"
#include "ssl_world.h"

#include <openssl/err.h>

/* A record's header; in a handshake's a message follows, with the type and length before it. */
#define RECORD_HEADER 5
#define MESSAGE_HEADER 4

static pco_ssl_context *context;

static void add_name(const char *pattern, const certificate *own)
{
    pco_ssl_context_options options = tls_options(own);
    pco_ssl_context *other = tls_context(&options);
    require(pco_ssl_context_add_server_name(context, pattern, other, NULL) == 0, "it is a name");
    pco_ssl_context_release(other);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    static const char *const protocols[] = {"h2", "http/1.1"};
    const certificates *them = certificates_get();
    pco_ssl_context_options options = tls_options(&them->server);
    (void)count;
    (void)arguments;
    memory_watch();
    options.alpn_protocols = protocols;
    options.alpn_protocols_count = 2;
    options.verify = PCO_SSL_VERIFY_OPTIONAL;
    options.ca_pem = them->ca.pem;
    options.ca_pem_length = them->ca.pem_length;
    context = tls_context(&options);
    add_name("*.example.com", &them->wildcard);
    add_name("other.example", &them->other);
    return 0;
}

/* What a client of that version says first. */
static bytes good_flight(tls_peer *peer, unsigned kind)
{
    static const char *const names[] = {"localhost", "a.example.com", "other.example", NULL};
    SSL_CTX *ctx = tls_peer_ctx(kind & 1 ? TLS1_2_VERSION : 0);
    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3);
    tls_peer_init(peer, ctx, names[kind >> 1 & 3]);
    SSL_CTX_free(ctx);
    tls_peer_work(peer);
    char *data;
    long length = BIO_get_mem_data(peer->out, &data);
    bytes flight = bytes_of(data, (size_t)length);
    BIO_reset(peer->out);
    return flight;
}

/* Puts the lengths right, so that what was changed is read to its end. */
static void mend(bytes *flight)
{
    if (flight->length < RECORD_HEADER + MESSAGE_HEADER) {
        return;
    }
    size_t record = flight->length - RECORD_HEADER;
    size_t message = record - MESSAGE_HEADER;
    flight->data[3] = (uint8_t)(record >> 8);
    flight->data[4] = (uint8_t)record;
    flight->data[6] = (uint8_t)(message >> 16);
    flight->data[7] = (uint8_t)(message >> 8);
    flight->data[8] = (uint8_t)message;
}

static void send_in_pieces(tls_end *server, const bytes *flight, size_t piece)
{
    for (size_t at = 0; at < flight->length; at += piece) {
        size_t rest = flight->length - at;
        fake_feed(server->socket, flight->data + at, rest < piece ? rest : piece);
        run_turns(server->loop, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    unsigned kind = take_byte(&from);
    size_t piece = 1 + take_byte(&from) * (size_t)16;
    tls_end server;
    tls_peer peer;
    pco_loop *loop = fake_loop_new();
    tls_end_init(&server, (kind & 8) != 0);
    tls_end_start(&server, loop, context);
    bytes flight = good_flight(&peer, kind);
    for (unsigned edits = kind >> 4 & 7; edits != 0 && from.length != 0; edits--) {
        bytes_edit(&flight, &from);
    }
    if (kind & 128) {
        mend(&flight);
    }
    bytes_replace(&flight, flight.length, 0, from.data, from.length);
    send_in_pieces(&server, &flight, piece);
    tls_run(&peer, &server);
    fake_feed_eof(server.socket);
    run_turns(loop, 2);
    pco_loop_free(loop);
    require(server.done == 1, "the end of a handshake is told once");
    require(server.protocol.violation == NULL, "the protocol's grammar is kept");
    tls_end_free(&server);
    tls_peer_free(&peer);
    free(flight.data);
    require(memory_pieces() == before, "all memory is given back");
    ERR_clear_error();
    return 0;
}
