/* SPDX-License-Identifier: MIT */
/*
 * engine.c: OpenSSL's part of a connection. Every call that moves data goes through here:
 * enter() says for whom it is, and what it may read; leave() takes that back.
 *
 * OpenSSL has the outcome of a call depend on its queue of errors, which must therefore be empty
 * before, and which is the thread's: whoever uses OpenSSL may leave something in it. Looking at it
 * costs 200 instructions. So the outcome is taken from what cannot be disturbed: whether the call
 * succeeded, whether the BIO ran dry, which is the one thing that can hold a call up, and what
 * alert it read. The queue is asked for the reason of a failure alone, at once.
 */
#include "tls/connection.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

/*
 * Seconds between two looks at which connections have fallen idle: seldom enough that busy ones
 * keep their buffers, often enough that a wave of new connections does not leave the heap torn.
 */
#define SWEEP_INTERVAL 0.25

/*
 * Bytes of answers that the peer may make OpenSSL write (to key updates, to attempts of
 * renegotiation) without reading any of them.
 */
#define UNREAD_ANSWERS_MOST ((size_t)64 * 1024)

/*
 * Up to so many bytes OpenSSL takes whole, and looks for records itself, which spares a call of the
 * BIO for each; larger input it takes record by record, which spares moving what is left over.
 */
#define READ_AHEAD_MOST ((size_t)4 * 1024)

/* ---- Idle connections ---- */

/* OpenSSL is between two records, and nothing that it has decrypted waits to be read. */
static bool holds_nothing(const pco__ssl *ssl)
{
    return SSL_is_init_finished(ssl->engine) && SSL_has_pending(ssl->engine) == 0 &&
           strcmp(SSL_rstate_string(ssl->engine), "RH") == 0;
}

/*
 * Ends the connection's use of the 33 KiB of buffers that OpenSSL keeps for each, if it can now; if
 * not, it is asked again after its next use. Early versions of OpenSSL 3.0 do not refuse when they
 * should (CVE-2024-4741); hence holds_nothing.
 */
static void rest(pco__ssl *ssl)
{
    pco__list_remove(&ssl->busy);
    if (holds_nothing(ssl)) {
        SSL_free_buffers(ssl->engine);
    }
}

/*
 * Takes their buffers from the connections that were idle since the last sweep. (To let OpenSSL
 * give them back after each record costs 1,300 instructions per message.)
 */
void pco__ssl_sweep(pco__timer *timer)
{
    pco__ssl_loop *shared = PCO__CONTAINER(timer, pco__ssl_loop, sweep);
    pco__link *next;
    for (pco__link *link = shared->busy.next; link != &shared->busy; link = next) {
        pco__ssl *ssl = PCO__CONTAINER(link, pco__ssl, busy);
        next = link->next;
        if (!ssl->used) {
            rest(ssl);
        }
        ssl->used = false;
    }
    if (!pco__list_is_empty(&shared->busy)) {
        pco__loop_start_timer(shared->loop, timer, SWEEP_INTERVAL);
    }
}

static void mark_used(pco__ssl *ssl, pco__ssl_loop *shared)
{
    ssl->used = true;
    if (ssl->busy.next == NULL) {
        if (pco__list_is_empty(&shared->busy) && !pco__timer_is_running(&shared->sweep)) {
            pco__loop_start_timer(shared->loop, &shared->sweep, SWEEP_INTERVAL);
        }
        pco__list_append(&shared->busy, &ssl->busy);
    }
}

/* ---- Going in and out ---- */

static pco__ssl_loop *enter(pco__ssl *ssl, pco__ssl_input *input)
{
    pco__ssl_loop *shared = ssl->shared;
    assert(shared->stream == NULL && !ssl->broken);
    mark_used(ssl, shared);
    shared->stream = ssl->base.stream;
    shared->input = input;
    shared->output = 0;
    shared->error = 0;
    shared->dry = false;
    shared->ends = false;
    shared->warned = false;
    return shared;
}

static void leave(pco__ssl_loop *shared)
{
    shared->stream = NULL;
    shared->input = NULL;
}

void pco__ssl_set_error(pco__ssl *ssl, int code, int system_code, const char *sentence)
{
    ssl->broken = true;
    if (ssl->error == 0) {
        ssl->error = code;
        ssl->system_code = system_code;
        ssl->sentence = sentence;
    }
}

/* A call has failed. If that is because the stream has ended, it is the stream that says why. */
static int note_failure(pco__ssl *ssl, const pco__ssl_loop *shared)
{
    pco__ssl_reason reason = pco__ssl_take_reason();
    if (shared->error == PCO_ECLOSED) {
        ssl->broken = true;
    } else if (shared->error != 0) {
        pco__ssl_set_error(ssl, shared->error, 0, NULL);
    } else {
        pco__ssl_set_error(ssl, reason.code, reason.system_code, reason.sentence);
    }
    return PCO__SSL_FAILED;
}

/* ---- The steps ---- */

int pco__ssl_engine_handshake(pco__ssl *ssl, pco__ssl_input *input)
{
    pco__ssl_loop *shared = enter(ssl, input);
    SSL_set_read_ahead(ssl->engine, 1);
    shared->context = ssl->handshake->context;
    shared->setup = ssl->handshake->setup;
    ERR_clear_error();
    int result = SSL_do_handshake(ssl->engine);
    shared->context = NULL;
    shared->setup = NULL;
    leave(shared);
    if (shared->error != 0) {
        return note_failure(ssl, shared);
    }
    if (result == 1) {
        /* It may be long before the first message, and there may be many in its place. */
        rest(ssl);
        return PCO__SSL_DONE;
    }
    return shared->dry ? PCO__SSL_MORE : note_failure(ssl, shared);
}

/* Reading has made OpenSSL write `length` bytes. A peer that has it write on and on must read. */
static bool may_answer(pco__ssl *ssl, size_t length)
{
    if (pco__stream_pending(ssl->base.stream) <= length) {
        ssl->answered = 0;
    }
    ssl->answered += length;
    return ssl->answered <= UNREAD_ANSWERS_MOST;
}

int pco__ssl_engine_read(pco__ssl *ssl, pco__ssl_input *input, void *memory, size_t length)
{
    pco__ssl_loop *shared = enter(ssl, input);
    SSL_set_read_ahead(ssl->engine, input->length <= READ_AHEAD_MOST);
    int count = SSL_read(ssl->engine, memory, length < INT_MAX ? (int)length : INT_MAX);
    leave(shared);
    if (shared->error != 0) {
        return note_failure(ssl, shared);
    }
    if (shared->output != 0 && !may_answer(ssl, shared->output)) {
        pco__ssl_set_error(ssl, PCO_ETLS, 0, "the peer demands answers and does not read them");
        return PCO__SSL_FAILED;
    }
    if (count > 0) {
        return count;
    }
    if (shared->dry) {
        return PCO__SSL_MORE;
    }
    bool closed = (SSL_get_shutdown(ssl->engine) & SSL_RECEIVED_SHUTDOWN) != 0 && !shared->warned;
    return closed ? PCO__SSL_END : note_failure(ssl, shared);
}

/*
 * A record at a time. Nothing keeps a healthy OpenSSL from writing, since its output is always
 * taken, but one thing: a message of the handshake's kind, such as a ticket, that has come in part.
 * It is a failure, because no plaintext is kept. Only servers send messages of more than a record.
 */
int pco__ssl_engine_write(pco__ssl *ssl, const unsigned char *data, size_t length)
{
    pco__ssl_loop *shared = enter(ssl, NULL);
    int count = 1;
    while (length != 0 && count > 0) {
        size_t piece = length < PCO__SSL_RECORD_SIZE ? length : PCO__SSL_RECORD_SIZE;
        shared->ends = piece == length && !ssl->goes_on;
        count = SSL_write(ssl->engine, data, (int)piece);
        if (count > 0) {
            data += count;
            length -= (size_t)count;
        }
    }
    leave(shared);
    if (count > 0) {
        return 0;
    }
    if (shared->dry) {
        pco__ssl_set_error(ssl, PCO_ETLS, 0,
                           "a message that the peer has begun is missing its end");
    } else {
        note_failure(ssl, shared);
    }
    return ssl->error == PCO_ENOMEM ? PCO_ENOMEM : PCO_ECLOSED;
}

int pco__ssl_engine_shutdown(pco__ssl *ssl)
{
    pco__ssl_loop *shared = enter(ssl, NULL);
    int result = SSL_shutdown(ssl->engine);
    leave(shared);
    if (result >= 0) {
        return result == 1 ? PCO__SSL_DONE : PCO__SSL_MORE;
    }
    note_failure(ssl, shared);
    return PCO__SSL_FAILED;
}

bool pco__ssl_engine_holds_input(const pco__ssl *ssl)
{
    return SSL_has_pending(ssl->engine) != 0 ||
           (SSL_get_shutdown(ssl->engine) & SSL_RECEIVED_SHUTDOWN) != 0;
}

/* ---- Making ---- */

/*
 * What the server must show and is asked for. A literal address is matched as such, and not asked
 * for: SNI is for names (RFC 6066, 3), and those have no dot at their end there.
 */
static int set_server_name(SSL *engine, const char *name, pco_error *error)
{
    char host[256];
    size_t length = strlen(name);
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(engine), name) == 1) {
        return 0;
    }
    ERR_clear_error();
    if (length != 0 && name[length - 1] == '.') {
        length--;
    }
    if (length == 0 || length >= sizeof host) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_name '%.80s' is no host name", name);
    }
    memcpy(host, name, length);
    host[length] = '\0';
    SSL_set_hostflags(engine, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(engine, host) != 1 || SSL_set_tlsext_host_name(engine, host) != 1) {
        return pco__ssl_error(error, PCO_EINVAL, "server_name '%.80s'", name);
    }
    return 0;
}

/*
 * OpenSSL calls it with every alert. A close_notify that TLS 1.2 makes fatal is a failure, after
 * which OpenSSL writes no more; in 1.3 the level means nothing (RFC 8446, 6). The SSL_CTX may have
 * a callback of its user's.
 */
static void note_alert(const SSL *engine, int where, int value)
{
    void (*theirs)(const SSL *, int, int) = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(engine));
    if (where == SSL_CB_READ_ALERT) {
        bool fatal = value >> 8 == SSL3_AL_FATAL && SSL_version(engine) < TLS1_3_VERSION;
        pco__ssl_loop_of(engine)->warned = fatal || (value & 0xff) != SSL_AD_CLOSE_NOTIFY;
    }
    if (theirs != NULL) {
        theirs(engine, where, value);
    }
}

/*
 * What is needed here is set in the SSL and not in the SSL_CTX, which may be the user's: no
 * renegotiation, no asynchronous jobs, no shutdown in silence.
 */
int pco__ssl_engine_new(pco__ssl *ssl, const pco__ssl_options *options, pco__ssl_loop *shared,
                        pco_error *error)
{
    ERR_clear_error();
    SSL *engine = SSL_new(ssl->handshake->setup->ctx);
    if (engine == NULL) {
        return pco__ssl_error(error, PCO_ETLS, "start TLS");
    }
    ssl->engine = engine;
    SSL_set_options(engine, SSL_OP_NO_RENEGOTIATION);
    SSL_set_mode(engine, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_AUTO_RETRY);
    SSL_clear_mode(engine, SSL_MODE_ASYNC);
    SSL_set_info_callback(engine, note_alert);
    SSL_set_quiet_shutdown(engine, 0);
    BIO_up_ref(shared->bio);
    SSL_set_bio(engine, shared->bio, shared->bio);
    if (!options->client) {
        SSL_set_accept_state(engine);
        return 0;
    }
    SSL_set_connect_state(engine);
    return options->server_name != NULL ? set_server_name(engine, options->server_name, error) : 0;
}
