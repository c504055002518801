/* SPDX-License-Identifier: MIT */
/*
 * Goal: a session that was taken from a connection makes the next one short, in both versions of
 * TLS; one that is of no use any more does no harm; and one of another name, of another context, or
 * garbled, is refused with a sentence.
 * Method: both ends of the library on the fake backend; sessions out of date are made by changing
 * one as OpenSSL has it.
 */
#include "openssl_memory.h"
#include "ssl_world.h"

#include "tls/contexts.h"

#include <openssl/evp.h>
#include <time.h>

static pco_loop *loop;
static tls_end server;
static tls_end client;
static pco_ssl_context *of_server;
static pco_ssl_context *of_client;
static pco_ssl_session *session;

/* What the client's callbacks have got. */
static int code_when_made;
static int code_when_lost;
static pco_ssl_session *of_the_end;

static const int versions[] = {PCO_TLS_1_2, PCO_TLS_1_3};
#define VERSIONS (sizeof versions / sizeof versions[0])

static int begin(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    of_server = tls_server_context();
    of_client = tls_client_context();
    session = NULL;
    of_the_end = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    pco_loop_free(loop);
    tls_end_free(&server);
    tls_end_free(&client);
    pco_ssl_context_release(of_server);
    pco_ssl_context_release(of_client);
    pco_ssl_session_release(session);
    pco_ssl_session_release(of_the_end);
    return memory_unwatch() == 0 ? 0 : 1;
}

/* ---- Connections ---- */

static void restrict_server(int version)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.minimum_version = options.maximum_version = version;
    pco_ssl_context_release(of_server);
    of_server = tls_context(&options);
}

/* Opens a connection; the client offers the session, which may be NULL. */
static void open_to(const char *name, const pco_ssl_session *offered)
{
    client.session = offered;
    tls_end_start(&server, loop, of_server);
    tls_end_start_client(&client, loop, of_client, name);
    tls_run_ends(&server, &client);
    assert_int_equal(server.protocol.counts[MADE], 1);
    assert_int_equal(client.protocol.counts[MADE], 1);
}

static void open_ends(const pco_ssl_session *offered)
{
    open_to("localhost", offered);
}

static void begin_anew(void)
{
    tls_run_ends(&server, &client);
    assert_int_equal(server.protocol.counts[LOST], 1);
    assert_int_equal(client.protocol.counts[LOST], 1);
    tls_end_free(&server);
    tls_end_free(&client);
    tls_end_init(&server, false);
    tls_end_init(&client, false);
}

static void close_ends(void)
{
    pco_transport_close(client.transport);
    begin_anew();
}

static bool is_resumed(void)
{
    pco_ssl_info of_one = {.size = sizeof of_one};
    pco_ssl_info of_other = {.size = sizeof of_other};
    assert_int_equal(pco_transport_get_ssl_info(server.transport, &of_one), 0);
    assert_int_equal(pco_transport_get_ssl_info(client.transport, &of_other), 0);
    assert_int_equal(of_one.session_reused, of_other.session_reused);
    return of_other.session_reused;
}

static void take_session(void)
{
    pco_ssl_session_release(session);
    session = NULL;
    assert_int_equal(pco_transport_get_ssl_session(client.transport, &session), 0);
    assert_non_null(session);
}

/* A first connection, which leaves `session`. */
static void get_session(void)
{
    open_ends(NULL);
    assert_false(is_resumed());
    take_session();
    close_ends();
}

/* Whether a connection that is given it resumes it. */
static bool resumes(const pco_ssl_session *offered)
{
    open_ends(offered);
    bool resumed = is_resumed();
    close_ends();
    return resumed;
}

/* ---- Resuming ---- */

static void a_session_is_resumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        open_ends(session);
        assert_true(is_resumed());
        pco_ssl_info info = {.size = sizeof info};
        assert_int_equal(pco_transport_get_ssl_info(client.transport, &info), 0);
        assert_true(info.verified);
        pco_ssl_certificate_info peer = {.size = sizeof peer};
        assert_int_equal(pco_transport_get_peer_certificate(client.transport, 0, &peer), 0);
        assert_string_equal(peer.common_name, "localhost");
        close_ends();
    }
}

static void what_a_resumed_connection_is_given_can_be_resumed_in_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        for (int times = 0; times < 3; times++) {
            open_ends(session);
            assert_true(is_resumed());
            take_session();
            close_ends();
        }
    }
}

/* Tickets of TLS 1.3 come behind the handshake. */
static void look_when_made(recorder *self, pco_transport *transport)
{
    pco_ssl_session *got = NULL;
    (void)self;
    code_when_made = pco_transport_get_ssl_session(transport, &got);
    pco_ssl_session_release(got);
}

static void look_when_lost(recorder *self, pco_transport *transport)
{
    (void)self;
    code_when_lost = pco_transport_get_ssl_session(transport, &of_the_end);
}

static void the_newest_can_be_had_until_connection_lost_returns(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        client.protocol.at[MADE] = look_when_made;
        client.protocol.at[LOST] = look_when_lost;
        open_ends(NULL);
        assert_int_equal(code_when_made, versions[i] == PCO_TLS_1_3 ? PCO_ENOENT : 0);
        pco_transport_close(client.transport);
        tls_run_ends(&server, &client);
        assert_int_equal(code_when_lost, 0);
        assert_int_equal(pco_transport_get_ssl_session(client.transport, &session), PCO_ECLOSED);
        begin_anew();
        assert_true(resumes(of_the_end));
        pco_ssl_session_release(of_the_end);
        of_the_end = NULL;
    }
}

static void a_session_outlives_a_connection_that_is_aborted(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        open_ends(NULL);
        take_session();
        pco_transport_abort(client.transport);
        begin_anew();

        /* One that resumes it may be aborted, too. */
        open_ends(session);
        assert_true(is_resumed());
        pco_transport_abort(client.transport);
        begin_anew();
        assert_true(resumes(session));
    }
}

static void several_connections_may_be_given_the_same_one(void **state)
{
    (void)state;
    get_session();
    pco_ssl_session *other = pco_ssl_session_retain(session);
    assert_ptr_equal(other, session);
    assert_true(resumes(session));
    pco_ssl_session_release(session);
    session = other;
    assert_true(resumes(session));
}

/* Tickets that name a session which the server keeps; in TLS 1.2 none at all, but its id. */
static void a_server_may_keep_the_sessions_itself(void **state)
{
    const certificate *own = &certificates_get()->server;
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        SSL_CTX_set_max_proto_version(ctx, version);
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"x", 1);
        assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
        pco_ssl_context_release(of_server);
        of_server = NULL;
        assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &of_server, NULL), 0);
        SSL_CTX_free(ctx);
        get_session();
        assert_true(resumes(session));
    }
}

static void a_server_that_has_forgotten_it_makes_a_full_handshake(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        restrict_server(versions[i]);
        assert_false(resumes(session));
    }
}

static void a_session_of_the_other_version_makes_a_full_handshake(void **state)
{
    (void)state;
    restrict_server(PCO_TLS_1_2);
    get_session();
    restrict_server(PCO_TLS_1_3);
    assert_false(resumes(session));
    get_session();
    restrict_server(PCO_TLS_1_2);
    assert_false(resumes(session));
}

static void who_does_not_want_sessions_has_none(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .ca_pem = ca->pem,
                                       .ca_pem_length = ca->pem_length,
                                       .session_resumption = PCO_OFF};
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        assert_int_equal(pco_ssl_context_reload(of_client, &options, NULL), 0);
        open_ends(session);
        assert_false(is_resumed());
        pco_ssl_session *none = NULL;
        assert_int_equal(pco_transport_get_ssl_session(client.transport, &none), PCO_ENOENT);
        close_ends();
        pco_ssl_context_release(of_client);
        of_client = tls_client_context();
    }
}

static void only_a_client_s_end_has_a_session(void **state)
{
    connection plain;
    (void)state;
    open_ends(NULL);
    assert_int_equal(pco_transport_get_ssl_session(server.transport, &session), PCO_ENOTSUP);
    assert_int_equal(pco_transport_get_ssl_session(client.transport, NULL), PCO_EINVAL);
    connection_init(&plain, false);
    connection_open(&plain, loop);
    assert_int_equal(pco_transport_get_ssl_session(plain.transport, &session), PCO_ENOTSUP);
    pco_transport_abort(plain.transport);
    run_turns(loop, 4);
    connection_free(&plain);
}

/* ---- Whose it is ---- */

static int check(const char *name, pco_ssl_context *context, pco_error *error)
{
    memset(error, 0, sizeof *error);
    return pco__ssl_session_check(session, context, name, error);
}

static void a_session_is_of_one_name_however_that_is_written(void **state)
{
    pco_error error;
    (void)state;
    get_session();
    assert_int_equal(check("localhost", of_client, &error), 0);
    assert_int_equal(check("LocalHost.", of_client, &error), 0);
    assert_int_equal(check("localhost.example", of_client, &error), PCO_EINVAL);
    assert_string_equal(error.message, "ssl_session is of 'localhost', not of 'localhost.example'");
    assert_int_equal(check("127.0.0.1", of_client, &error), PCO_EINVAL);
    open_to("127.1", NULL);
    take_session();
    close_ends();
    assert_int_equal(check("127.0.0.1", of_client, &error), 0);
    assert_int_equal(check("127.0.0.2", of_client, &error), PCO_EINVAL);
    assert_int_equal(check("localhost", of_client, &error), PCO_EINVAL);
    open_to("::1", NULL);
    take_session();
    close_ends();
    assert_int_equal(check("0:0::1", of_client, &error), 0);
    assert_int_equal(check("::2", of_client, &error), PCO_EINVAL);
}

static void a_session_is_of_one_context(void **state)
{
    pco_error error;
    pco_ssl_context *other = tls_client_context();
    (void)state;
    get_session();
    assert_int_equal(check("localhost", other, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "ssl_session is of another context"));
    assert_int_equal(check("localhost", NULL, &error), PCO_EINVAL);
    pco_ssl_context_release(other);
}

/* No context is as good as the loop's own, of whichever loop. */
static void the_contexts_of_those_who_say_only_tls_are_one(void **state)
{
    pco_loop *other = fake_loop_new();
    unsigned char nobody[PCO__SSL_SESSION_ID_SIZE];
    (void)state;
    pco_loop *const loops[] = {loop, other};
    pco__ssl_context_identify(NULL, NULL, nobody);
    for (size_t i = 0; i < 2; i++) {
        pco_ssl_context *context = NULL;
        unsigned char id[PCO__SSL_SESSION_ID_SIZE];
        int code = pco__ssl_context_of_loop(loops[i], &context, NULL);
        if (code == PCO_ENOENT) {
            print_message("skipped: this system has no certificates of whom it trusts\n");
            pco_loop_free(other);
            skip();
        }
        assert_int_equal(code, 0);
        pco__ssl_setup *setup = pco__ssl_context_take(context);
        pco__ssl_context_identify(context, setup, id);
        pco__ssl_setup_give(setup);
        assert_memory_equal(id, nobody, sizeof id);
    }
    pco_loop_free(other);
}

static void assert_refused(const pco_connection_options *options, const char *sentence)
{
    pco_error error = {0};
    assert_int_equal(pco_loop_create_connection(loop, options, (pco_connected)(void (*)(void))abort,
                                                NULL, NULL, &error),
                     PCO_EINVAL);
    assert_string_equal(error.message, sentence);
}

static void create_connection_takes_no_session_that_is_not_its_own(void **state)
{
    recorder protocol;
    (void)state;
    get_session();
    recorder_init(&protocol, false);
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &protocol.protocol,
                                      .host = "127.0.0.1",
                                      .port = 1,
                                      .ssl = of_client,
                                      .ssl_session = session};
    assert_refused(&options, "ssl_session is of 'localhost', not of '127.0.0.1'");
    options.ssl = NULL;
    assert_refused(&options, "ssl_session is only meaningful with ssl or tls");
    options.tls = PCO_ON;
    options.server_hostname = "localhost";
    assert_refused(&options, "ssl_session is of another context: what was verified there was "
                             "verified by other rules");
    recorder_free(&protocol);
}

static void a_context_that_was_reloaded_makes_a_full_handshake(void **state)
{
    const certificates *all = certificates_get();
    pco_error error;
    (void)state;
    get_session();
    pco_ssl_context_options options = {.size = sizeof options,
                                       .ca_pem = all->ca.pem,
                                       .ca_pem_length = all->ca.pem_length,
                                       .minimum_version = PCO_TLS_1_3,
                                       .certificate_pem = all->client.pem,
                                       .certificate_pem_length = all->client.pem_length,
                                       .key_pem = all->client.key_pem,
                                       .key_pem_length = all->client.key_pem_length};
    assert_int_equal(pco_ssl_context_reload(of_client, &options, NULL), 0);
    assert_int_equal(check("localhost", of_client, &error), 0);
    assert_false(resumes(session));
}

/* ---- As bytes ---- */

#define MOST 16384

typedef struct bytes {
    unsigned char data[MOST];
    size_t length;
} bytes;

static bytes written;

/* Where OpenSSL's part begins, and what is behind it. */
#define HEAD 12
#define HASH 32

static const bytes *write_session(void)
{
    assert_int_equal(pco_ssl_session_serialize(session, written.data, MOST, &written.length), 0);
    return &written;
}

static int read_bytes(const void *data, size_t length, pco_ssl_context *context,
                      pco_ssl_session **into)
{
    pco_error error = {0};
    *into = NULL;
    int code = pco_ssl_session_parse(data, length, context, into, &error);
    assert_true((code == 0) == (error.message[0] == '\0'));
    assert_true((code == 0) == (*into != NULL));
    return code;
}

static void read_session(const bytes *from)
{
    pco_ssl_session *got;
    assert_int_equal(read_bytes(from->data, from->length, of_client, &got), 0);
    pco_ssl_session_release(session);
    session = got;
}

static void a_session_outlives_the_program(void **state)
{
    pco_error error;
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        write_session();
        pco_ssl_context_release(of_client);
        of_client = tls_client_context();
        assert_int_equal(check("localhost", of_client, &error), PCO_EINVAL);
        read_session(&written);
        assert_int_equal(check("localhost", of_client, &error), 0);
        assert_true(resumes(session));
        assert_int_equal(check("example.com", of_client, &error), PCO_EINVAL);
    }
}

static void writing_wants_room_and_says_how_much(void **state)
{
    static unsigned char data[MOST];
    size_t length = 0;
    (void)state;
    get_session();
    assert_int_equal(pco_ssl_session_serialize(session, NULL, 0, &length), PCO_ENOBUFS);
    assert_in_range(length, HEAD + HASH + 1, MOST);
    size_t needed = length;
    memset(data, 0x5a, sizeof data);
    assert_int_equal(pco_ssl_session_serialize(session, data, needed - 1, &length), PCO_ENOBUFS);
    assert_int_equal(data[0], 0x5a);
    assert_int_equal(length, needed);
    assert_int_equal(pco_ssl_session_serialize(session, data, needed, &length), 0);
    assert_int_equal(data[needed], 0x5a);
    assert_int_equal(pco_ssl_session_serialize(session, NULL, 1, &length), PCO_EINVAL);
    assert_int_equal(pco_ssl_session_serialize(session, data, MOST, NULL), PCO_EINVAL);
    assert_int_equal(pco_ssl_session_serialize(NULL, data, MOST, &length), PCO_EINVAL);
}

static void garbled_bytes_are_no_session(void **state)
{
    pco_ssl_session *got;
    (void)state;
    get_session();
    write_session();
    for (size_t i = 0; i < written.length; i++) {
        written.data[i] ^= 0x20;
        assert_int_equal(read_bytes(written.data, written.length, of_client, &got), PCO_EINVAL);
        written.data[i] ^= 0x20;
    }
    for (size_t length = 0; length < written.length; length++) {
        assert_int_equal(read_bytes(written.data, length, of_client, &got), PCO_EINVAL);
    }
    assert_int_equal(read_bytes(written.data, written.length + 1, of_client, &got), PCO_EINVAL);
    assert_int_equal(read_bytes(NULL, 10, of_client, &got), PCO_EINVAL);
    assert_int_equal(read_bytes(written.data, written.length, of_server, &got), PCO_EINVAL);
    assert_int_equal(read_bytes(written.data, written.length, of_client, &got), 0);
    pco_ssl_session_release(got);
}

/* Frames what OpenSSL has written, or has not, as the library does. */
static void frame(const unsigned char *inner, size_t length)
{
    memcpy(written.data, "PCOSESS1", 8);
    for (size_t i = 0; i < 4; i++) {
        written.data[8 + i] = (unsigned char)(length >> (8 * (3 - i)));
    }
    memmove(written.data + HEAD, inner, length);
    written.length = HEAD + length + HASH;
    assert_int_equal(EVP_Digest(written.data, HEAD + length, written.data + HEAD + length, NULL,
                                EVP_sha256(), NULL),
                     1);
}

static void bytes_that_were_garbled_with_care_are_no_session_either(void **state)
{
    static unsigned char inner[MOST];
    pco_ssl_session *got;
    (void)state;
    get_session();
    size_t length = write_session()->length - HEAD - HASH;
    memcpy(inner, written.data + HEAD, length);
    for (size_t cut = 0; cut < length; cut++) {
        frame(inner, cut);
        assert_int_equal(read_bytes(written.data, written.length, of_client, &got), PCO_EINVAL);
    }
    for (size_t i = 0; i < length; i++) {
        inner[i] ^= 0x81;
        frame(inner, length);
        int code = read_bytes(written.data, written.length, of_client, &got);
        assert_true(code == 0 || code == PCO_EINVAL); /* it may have been a byte of the key */
        pco_ssl_session_release(got);
        inner[i] ^= 0x81;
    }
    memset(inner + length, 0, 8);
    frame(inner, length + 8);
    assert_int_equal(read_bytes(written.data, written.length, of_client, &got), PCO_EINVAL);
}

/* ---- Its time ---- */

static SSL_SESSION *open_up(void)
{
    const unsigned char *inner = write_session()->data + HEAD;
    SSL_SESSION *opened = d2i_SSL_SESSION(NULL, &inner, (long)(written.length - HEAD - HASH));
    assert_non_null(opened);
    return opened;
}

static void close_up(SSL_SESSION *opened)
{
    static unsigned char inner[MOST];
    unsigned char *to = inner;
    int length = i2d_SSL_SESSION(opened, &to);
    assert_true(length > 0);
    SSL_SESSION_free(opened);
    frame(inner, (size_t)length);
    read_session(&written);
}

/* The time that is noted, behind four bytes. */
static int64_t end_of(SSL_SESSION *opened)
{
    void *note;
    size_t length;
    uint64_t end_time = 0;
    assert_int_equal(SSL_SESSION_get0_ticket_appdata(opened, &note, &length), 1);
    assert_int_equal(length, 4 + 8 + strlen("localhost"));
    for (size_t i = 0; i < 8; i++) {
        end_time = end_time << 8 | ((unsigned char *)note)[4 + i];
    }
    return (int64_t)end_time;
}

static void set_end(SSL_SESSION *opened, int64_t end_time)
{
    void *note;
    size_t length;
    unsigned char copy[64];
    assert_int_equal(SSL_SESSION_get0_ticket_appdata(opened, &note, &length), 1);
    memcpy(copy, note, length);
    for (size_t i = 0; i < 8; i++) {
        copy[4 + i] = (unsigned char)((uint64_t)end_time >> (8 * (7 - i)));
    }
    assert_int_equal(SSL_SESSION_set1_ticket_appdata(opened, copy, length), 1);
}

static void set_beginning(SSL_SESSION *opened, long seconds)
{
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
    SSL_SESSION_set_time_ex(opened, seconds);
#else
    SSL_SESSION_set_time(opened, seconds);
#endif
}

static void a_session_ends_with_the_first_of_the_certificates(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->chained);
    int64_t first = INT64_MAX;
    (void)state;
    pco_ssl_context_release(of_server);
    of_server = tls_context(&options);
    open_ends(NULL);
    take_session();
    for (size_t i = 0; i < 3; i++) {
        pco_ssl_certificate_info info = {.size = sizeof info};
        assert_int_equal(pco_transport_get_peer_certificate(client.transport, i, &info), 0);
        first = info.not_after < first ? info.not_after : first;
    }
    close_ends();
    SSL_SESSION *opened = open_up();
    assert_true(end_of(opened) == first);
    SSL_SESSION_free(opened);

    /* What is given to those that resume it ends no later. */
    opened = open_up();
    set_end(opened, first - 1000);
    close_up(opened);
    open_ends(session);
    assert_true(is_resumed());
    take_session();
    close_ends();
    opened = open_up();
    assert_true(end_of(opened) == first - 1000);
    SSL_SESSION_free(opened);
}

/* OpenSSL's clock may be ahead of time()'s by a moment; older ones have the same. */
static void a_session_of_a_clock_that_is_a_moment_ahead_is_resumed(void **state)
{
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        SSL_SESSION *opened = open_up();
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
        set_beginning(opened, (long)time(NULL) + 1);
#endif
        close_up(opened);
        assert_true(resumes(session));
    }
}

static void a_session_out_of_date_makes_a_full_handshake(void **state)
{
    const long day = 24L * 3600;
    (void)state;
    for (size_t i = 0; i < VERSIONS; i++) {
        restrict_server(versions[i]);
        get_session();
        long now = (long)time(NULL);
        SSL_SESSION *opened = open_up();
        set_end(opened, now + 1000);
        close_up(opened);
        assert_true(resumes(session));

        opened = open_up();
        set_end(opened, now - 1);
        close_up(opened);
        assert_false(resumes(session)); /* a certificate has ended */

        const long times[] = {now - 8 * day, now + day};
        for (size_t at = 0; at < 2; at++) {
            get_session();
            opened = open_up();
            set_beginning(opened, times[at]);
            close_up(opened);
            assert_false(resumes(session)); /* the ticket has ended; it is of the future */
        }
    }
}

static void where_nothing_was_verified_nothing_ends(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    (void)state;
    pco_ssl_context_release(of_client);
    of_client = NULL;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &of_client, NULL), 0);
    SSL_CTX_free(ctx);
    get_session();
    SSL_SESSION *opened = open_up();
    assert_true(end_of(opened) == INT64_MAX);
    SSL_SESSION_free(opened);
    assert_true(resumes(session));
}

/* ---- Memory ---- */

/* Does it until no allocation is left to fail, of ours or of OpenSSL's; `it` cleans up. */
static void assert_memory_may_fail(int (*it)(void))
{
    int code = PCO_ENOMEM;
    for (size_t nth = 1; code != 0; nth++) {
        assert_true(nth < 100);
        memory_fail(nth, false);
        code = it();
        assert_true(code == (memory_has_failed() ? PCO_ENOMEM : 0));
        memory_fail(0, false);
    }
    bool over = false;
    for (size_t nth = 1; !over; nth++) {
        assert_true(nth < 10000);
        openssl_memory_fail(nth);
        code = it();
        over = openssl_memory_requests() < nth;
        openssl_memory_fail(0);
        assert_true(code == 0 || (!over && (code == PCO_ENOMEM || code == PCO_EINVAL)));
    }
    assert_int_equal(code, 0);
}

static int get_one(void)
{
    pco_ssl_session *got = NULL;
    int code = pco_transport_get_ssl_session(client.transport, &got);
    pco_ssl_session_release(got);
    return code;
}

static int parse_one(void)
{
    pco_ssl_session *got = NULL;
    int code = pco_ssl_session_parse(written.data, written.length, of_client, &got, NULL);
    pco_ssl_session_release(got);
    return code;
}

static void memory_may_fail_while_a_session_is_taken_or_read(void **state)
{
    (void)state;
    open_ends(NULL);
    assert_memory_may_fail(get_one);
    take_session();
    write_session();
    close_ends();
    assert_memory_may_fail(parse_one);
}

/* Puts TLS with the session on a stream, which ends then. */
static int offer_one(void)
{
    pco__stream_options stream_options = {.close_timeout = INFINITY};
    pco__stream *stream;
    int code = PCO_ENOMEM;
    pco_loop *own = fake_loop_new();
    if (own == NULL) {
        return code;
    }
    if (pco__stream_new(own, fake_socket_new(own), NULL, &stream_options, &stream, NULL) == 0) {
        pco__ssl_options options;
        tls_end_options(&client, &options);
        options.context = of_client;
        options.client = true;
        options.server_name = "localhost";
        options.session = session;
        code = tls_start(stream, &options, NULL);
        pco__stream_abort(stream, false);
    }
    pco_loop_free(own);
    return code;
}

static void memory_may_fail_while_a_session_is_offered(void **state)
{
    (void)state;
    get_session();
    size_t pieces = memory_pieces();
    int code = PCO_ENOMEM;
    for (size_t nth = 1; code != 0; nth++) {
        assert_true(nth < 1000);
        openssl_memory_fail(nth);
        code = offer_one();
        if (code == 0 && openssl_memory_requests() >= nth) {
            code = 1; /* one that OpenSSL could do without; go on */
        }
        openssl_memory_fail(0);
        assert_int_equal(memory_pieces(), pieces);
    }
    assert_true(resumes(session));
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_resumed),
        TEST(what_a_resumed_connection_is_given_can_be_resumed_in_turn),
        TEST(the_newest_can_be_had_until_connection_lost_returns),
        TEST(a_session_outlives_a_connection_that_is_aborted),
        TEST(several_connections_may_be_given_the_same_one),
        TEST(a_server_may_keep_the_sessions_itself),
        TEST(a_server_that_has_forgotten_it_makes_a_full_handshake),
        TEST(a_session_of_the_other_version_makes_a_full_handshake),
        TEST(who_does_not_want_sessions_has_none),
        TEST(only_a_client_s_end_has_a_session),
        TEST(a_session_is_of_one_name_however_that_is_written),
        TEST(a_session_is_of_one_context),
        TEST(the_contexts_of_those_who_say_only_tls_are_one),
        TEST(create_connection_takes_no_session_that_is_not_its_own),
        TEST(a_context_that_was_reloaded_makes_a_full_handshake),
        TEST(a_session_outlives_the_program),
        TEST(writing_wants_room_and_says_how_much),
        TEST(garbled_bytes_are_no_session),
        TEST(bytes_that_were_garbled_with_care_are_no_session_either),
        TEST(a_session_ends_with_the_first_of_the_certificates),
        TEST(a_session_of_a_clock_that_is_a_moment_ahead_is_resumed),
        TEST(a_session_out_of_date_makes_a_full_handshake),
        TEST(where_nothing_was_verified_nothing_ends),
        TEST(memory_may_fail_while_a_session_is_taken_or_read),
        TEST(memory_may_fail_while_a_session_is_offered),
    };
    if (!openssl_memory_watch()) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, end_all);
}
