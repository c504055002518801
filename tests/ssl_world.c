/* SPDX-License-Identifier: MIT */
/* ssl_world.c: see ssl_world.h. */
#include "ssl_world.h"

#include <openssl/err.h>

/* Turns in which nothing has moved, after which nothing will. */
#define QUIET_TURNS 4
#define TURNS_MOST 100000

/* ---- The library's end ---- */

static pco_protocol *make_protocol(void *context)
{
    tls_end *self = context;
    self->factory_calls++;
    self->transport = pco_transport_retain(self->stream->top);
    if (self->at_make != NULL) {
        self->at_make(self);
    }
    return self->refuses ? NULL : &self->protocol.protocol;
}

static void handshake_done(pco_transport *transport, const pco_error *error, void *context)
{
    tls_end *self = context;
    (void)transport;
    self->done++;
    if (error != NULL) {
        self->handshake_error = *error;
    }
    if (self->at_done != NULL) {
        self->at_done(self);
    }
}

void tls_end_init(tls_end *self, bool buffered)
{
    memset(self, 0, sizeof *self);
    recorder_init(&self->protocol, buffered);
}

typedef struct start {
    tls_end *end;
    pco__ssl_options options;
    int code;
} start;

int tls_start(pco__stream *stream, const pco__ssl_options *options, pco_error *error)
{
    pco__ssl *ssl;
    int code = pco__ssl_put_on(&stream->base, options, &ssl, error);
    if (code == 0) {
        pco__ssl_begin(ssl);
    }
    return code;
}

static void run_start(void *context)
{
    start *what = context;
    what->code = tls_start(what->end->stream, &what->options, NULL);
}

void tls_end_options(tls_end *self, pco__ssl_options *options)
{
    *options = (pco__ssl_options){.handshake_timeout = TLS_HANDSHAKE_TIMEOUT,
                                  .shutdown_timeout = TLS_SHUTDOWN_TIMEOUT,
                                  .half_close = self->half_close,
                                  .make_protocol = make_protocol,
                                  .handshake_done = handshake_done,
                                  .context_of_calls = self};
}

static void start_end(tls_end *self, pco_loop *loop, pco_ssl_context *context, bool is_client,
                      const char *server_name)
{
    pco__stream_options stream_options = {.close_timeout = INFINITY};
    pco_socket sock = fake_socket_new(loop);
    start what = {.end = self};
    tls_end_options(self, &what.options);
    what.options.context = context;
    what.options.client = is_client;
    what.options.server_name = server_name;
    what.options.session = self->session;
    self->loop = loop;
    self->socket = fake_socket_of(loop, sock);
    assert_int_equal(pco__stream_new(loop, sock, NULL, &stream_options, &self->stream, NULL), 0);
    assert_int_equal(pco_loop_call_soon(loop, run_start, &what, NULL), 0);
    assert_int_equal(pco_loop_run_once(loop, 0), 0);
    assert_int_equal(what.code, 0);
}

void tls_end_start(tls_end *self, pco_loop *loop, pco_ssl_context *context)
{
    start_end(self, loop, context, false, NULL);
}

void tls_end_start_client(tls_end *self, pco_loop *loop, pco_ssl_context *context,
                          const char *server_name)
{
    start_end(self, loop, context, true, server_name);
}

void tls_end_free(tls_end *self)
{
    if (self->transport != NULL) {
        pco_transport_release(self->transport);
        self->transport = NULL;
    }
    recorder_free(&self->protocol);
}

bool tls_end_is_over(const tls_end *self)
{
    return self->socket->closed;
}

/* ---- Contexts ---- */

pco_ssl_context_options tls_options(const certificate *own)
{
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .certificate_pem = own->pem,
                                     .certificate_pem_length = own->pem_length,
                                     .key_pem = own->key_pem,
                                     .key_pem_length = own->key_pem_length};
}

pco_ssl_context *tls_context(const pco_ssl_context_options *options)
{
    pco_ssl_context *context = NULL;
    pco_error error;
    if (pco_ssl_context_new(options, &context, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return context;
}

pco_ssl_context *tls_server_context(void)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    return tls_context(&options);
}

int tls_context_new(bool client, const pco_ssl_context_options *options, pco_ssl_context **context,
                    pco_error *error)
{
    return client ? pco_ssl_context_new_client(options, context, error)
                  : pco_ssl_context_new(options, context, error);
}

void tls_assert_refused(bool client, const pco_ssl_context_options *options, int code,
                        const char *words)
{
    pco_error error = {.code = 0};
    pco_ssl_context *context = NULL;
    int result = tls_context_new(client, options, &context, &error);
    if (result != code || error.code != code || strstr(error.message, words) == NULL) {
        fail_msg("%s: \"%s\", not %s: \"%s\"", pco_error_name(result), error.message,
                 pco_error_name(code), words);
    }
    assert_null(context);
    assert_int_equal(tls_context_new(client, options, &context, NULL), code);
    assert_int_equal(ERR_peek_error(), 0);
}

void tls_write_file(const char *name, const void *data, size_t length)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

pco_ssl_context *tls_client_context(void)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = ca->pem, .ca_pem_length = ca->pem_length};
    pco_ssl_context *context;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    return context;
}

/* ---- The peer ---- */

SSL_CTX *tls_peer_ctx(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificates_get()->ca.x509);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

void tls_peer_init(tls_peer *self, SSL_CTX *ctx, const char *server_name)
{
    memset(self, 0, sizeof *self);
    self->ssl = SSL_new(ctx);
    self->in = BIO_new(BIO_s_mem());
    self->out = BIO_new(BIO_s_mem());
    assert_non_null(self->ssl);
    BIO_set_mem_eof_return(self->in, -1);
    SSL_set_bio(self->ssl, self->in, self->out);
    SSL_set_connect_state(self->ssl);
    if (server_name != NULL) {
        SSL_set_tlsext_host_name(self->ssl, server_name);
    }
}

void tls_peer_free(tls_peer *self)
{
    SSL_free(self->ssl);
    free(self->received);
}

void tls_peer_write(tls_peer *self, const void *data, size_t length)
{
    ERR_clear_error();
    assert_int_equal(SSL_write(self->ssl, data, (int)length), length);
}

/* Notes a failure, unless more input would help. */
static void note(tls_peer *self, int result)
{
    int outcome = SSL_get_error(self->ssl, result);
    if (outcome == SSL_ERROR_ZERO_RETURN) {
        self->ended = true;
    } else if (outcome != SSL_ERROR_WANT_READ && self->failure == 0) {
        self->failure = ERR_GET_REASON(ERR_peek_error());
    }
}

static void read_all(tls_peer *self)
{
    static char data[16384];
    int count;
    do {
        ERR_clear_error();
        count = SSL_read(self->ssl, data, sizeof data);
        if (count > 0) {
            self->received = realloc(self->received, self->length + (size_t)count);
            memcpy(self->received + self->length, data, (size_t)count);
            self->length += (size_t)count;
        } else {
            note(self, count);
        }
    } while (count > 0);
}

void tls_peer_work(tls_peer *self)
{
    if (self->failure != 0 || self->ended) {
        return;
    }
    if (!self->established) {
        ERR_clear_error();
        int result = SSL_do_handshake(self->ssl);
        if (result != 1) {
            note(self, result);
            return;
        }
        self->established = true;
    }
    read_all(self);
}

bool tls_move_to_peer(tls_peer *self, tls_end *end)
{
    size_t length = end->socket->sent_length - end->taken;
    if (length == 0) {
        return false;
    }
    assert_int_equal(BIO_write(self->in, end->socket->sent + end->taken, (int)length), length);
    end->taken += length;
    return true;
}

bool tls_move_to_end(tls_peer *self, tls_end *end)
{
    char *data;
    long length = BIO_get_mem_data(self->out, &data);
    if (length <= 0) {
        return false;
    }
    fake_feed(end->socket, data, (size_t)length);
    BIO_reset(self->out);
    return true;
}

void tls_run(tls_peer *self, tls_end *end)
{
    unsigned quiet = 0;
    for (unsigned turns = 0; quiet < QUIET_TURNS; turns++) {
        assert_true(turns < TURNS_MOST);
        bool moved = tls_move_to_peer(self, end);
        tls_peer_work(self);
        moved = tls_move_to_end(self, end) || moved;
        size_t waiting = end->socket->input_length;
        run_turns(end->loop, 1);
        moved = moved || end->socket->input_length != waiting;
        quiet = moved ? 0 : quiet + 1;
    }
}

static bool move_between(tls_end *from, tls_end *to)
{
    size_t length = from->socket->sent_length - from->taken;
    bool moved = false;
    if (length != 0) {
        fake_feed(to->socket, from->socket->sent + from->taken, length);
        from->taken += length;
        moved = true;
    }
    if ((from->socket->closed || from->socket->shut_down) && !to->socket->input_eof &&
        !to->socket->closed) {
        fake_feed_eof(to->socket);
        moved = true;
    }
    return moved;
}

void tls_run_ends(tls_end *one, tls_end *other)
{
    unsigned quiet = 0;
    for (unsigned turns = 0; quiet < QUIET_TURNS; turns++) {
        assert_true(turns < TURNS_MOST);
        bool moved = move_between(one, other);
        moved = move_between(other, one) || moved;
        size_t waiting = one->socket->input_length + other->socket->input_length;
        run_turns(one->loop, 1);
        moved = moved || one->socket->input_length + other->socket->input_length != waiting;
        quiet = moved ? 0 : quiet + 1;
    }
}

int tls_ends_begin(pco_loop **loop, tls_end *server, tls_end *client)
{
    *loop = fake_loop_new();
    tls_end_init(server, false);
    tls_end_init(client, false);
    return *loop != NULL ? 0 : -1;
}

int tls_ends_end(pco_loop *loop, tls_end *server, tls_end *client)
{
    pco_loop_free(loop);
    tls_end_free(server);
    tls_end_free(client);
    return 0;
}

void tls_ends_shake(pco_loop *loop, tls_end *server, pco_ssl_context *of_server, tls_end *client,
                    pco_ssl_context *of_client, const char *name)
{
    tls_end_free(server);
    tls_end_free(client);
    tls_end_init(server, false);
    tls_end_init(client, false);
    tls_end_start(server, loop, of_server);
    tls_end_start_client(client, loop, of_client, name);
    tls_run_ends(server, client);
}

/* ---- Records ---- */

size_t tls_count_records(const fake_socket *sock, size_t from, int type)
{
    size_t count = 0;
    while (from + 5 <= sock->sent_length) {
        count += sock->sent[from] == type;
        from += 5 + ((size_t)sock->sent[from + 3] << 8 | sock->sent[from + 4]);
    }
    return count;
}

const char *tls_words(int reason)
{
    return ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason));
}
