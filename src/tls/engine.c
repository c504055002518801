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

#include "tls/session.h"

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
 * Records that bring no data (key updates, attempts to renegotiate), in a row within a second.
 * (Go's and BoringSSL's limits are 16 and 32, without a time.)
 */
#define IDLE_RECORDS_MOST 32
#define IDLE_TIME ((uint64_t)1000 * 1000 * 1000)

/* Records that a step of a handshake takes in: a flight, but not a flood of tiny ones. */
#define HANDSHAKE_RECORDS 16

/* ---- Idle connections ---- */

/* OpenSSL is between two records, and nothing that it has decrypted waits to be read. */
static bool holds_nothing(const pco__ssl *ssl)
{
    return SSL_is_init_finished(ssl->engine) && SSL_has_pending(ssl->engine) == 0 &&
           strcmp(SSL_rstate_string(ssl->engine), "RH") == 0;
}

/* It is in the list of the busy, unless it waits in a line. */
static void leave_busy(pco__ssl *ssl)
{
    if (!ssl->waits) {
        pco__list_remove(&ssl->base.link);
    }
}

/*
 * Ends the connection's use of the 33 KiB of buffers that OpenSSL keeps for each, if it can now; if
 * not, it is asked again after its next use. Early versions of OpenSSL 3.0 do not refuse when they
 * should (CVE-2024-4741); hence holds_nothing.
 */
static void rest(pco__ssl *ssl)
{
    leave_busy(ssl);
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
        pco__ssl *ssl = PCO__CONTAINER(link, pco__ssl, base.link);
        next = link->next;
        if (!ssl->used) {
            rest(ssl);
        }
        ssl->used = false;
    }
    pco__ssl_sweep_soon(shared);
}

void pco__ssl_sweep_soon(pco__ssl_loop *shared)
{
    if (!pco__list_is_empty(&shared->busy) && !pco__timer_is_running(&shared->sweep)) {
        pco__loop_start_timer(shared->loop, &shared->sweep, SWEEP_INTERVAL);
    }
}

static void mark_used(pco__ssl *ssl, pco__ssl_loop *shared)
{
    ssl->used = true;
    if (ssl->base.link.next == NULL) {
        pco__list_append(&shared->busy, &ssl->base.link);
        pco__loop_schedule(shared->loop, &shared->turn);
    }
}

/* ---- Going in and out ---- */

static void enter(pco__ssl *ssl, pco__ssl_call *call, pco__ssl_input *input)
{
    assert(ssl->state != PCO__SSL_BROKEN && ssl->engine != NULL);
    mark_used(ssl, ssl->shared);
    *call = (pco__ssl_call){.outer = ssl->shared->call,
                            .ssl = ssl,
                            .lower = ssl->lower,
                            .bounds = &ssl->bounds,
                            .input = input,
                            .records_most = 1};
    ssl->shared->call = call;
}

static void leave(pco__ssl *ssl, const pco__ssl_call *call)
{
    ssl->shared->call = call->outer;
}

void pco__ssl_set_error(pco__ssl *ssl, int code, int system_code, const char *sentence)
{
    if (ssl->state == PCO__SSL_OPEN) {
        pco__ssl_set_state(ssl, PCO__SSL_BROKEN);
    }
    if (ssl->error == 0) {
        ssl->error = (int16_t)code;
        ssl->system_code = system_code;
        ssl->sentence = sentence;
    }
}

/* A call has failed. If that is because the lower end has ended, that says why: 0 is noted. */
static int note_failure(pco__ssl *ssl, const pco__ssl_call *call)
{
    pco__ssl_reason reason = pco__ssl_take_reason();
    if (call->error == PCO_ECLOSED) {
        pco__ssl_set_error(ssl, 0, 0, NULL);
    } else if (call->error != 0) {
        pco__ssl_set_error(ssl, call->error, 0, NULL);
    } else if (call->sentence != NULL) {
        pco__ssl_set_error(ssl, PCO_ETLS, reason.system_code, call->sentence);
    } else {
        pco__ssl_set_error(ssl, reason.code, reason.system_code, reason.sentence);
    }
    return PCO__SSL_FAILED;
}

static int refuse(pco__ssl *ssl, const char *sentence)
{
    pco__ssl_set_error(ssl, PCO_ETLS, 0, sentence);
    return PCO__SSL_FAILED;
}

/* ---- The steps ---- */

/*
 * Whether OpenSSL waits for neither input nor output, but for what a callback has put off. It says
 * so even after a failure, if it could tell the peer nothing of that.
 */
static bool waits_for_callback(const SSL *engine)
{
    int what = SSL_want(engine);
    return (what == SSL_CLIENT_HELLO_CB || what == SSL_X509_LOOKUP || what == SSL_RETRY_VERIFY) &&
           strcmp(SSL_state_string(engine), "SSLERR") != 0;
}

/* The peer has sent close_notify, and it was the last that it sent. */
static bool has_closed(const pco__ssl *ssl, const pco__ssl_call *call)
{
    return (SSL_get_shutdown(ssl->engine) & SSL_RECEIVED_SHUTDOWN) != 0 && !call->warned;
}

int pco__ssl_engine_handshake(pco__ssl *ssl, pco__ssl_input *input)
{
    pco__ssl_call call;
    enter(ssl, &call, input);
    call.records_most = HANDSHAKE_RECORDS;
    call.setup = ssl->handshake->setup;
    ERR_clear_error();
    int result = SSL_do_handshake(ssl->engine);
    leave(ssl, &call);
    if (call.error != 0) {
        return note_failure(ssl, &call);
    }
    if (result == 1) {
        SSL_clear_mode(ssl->engine, SSL_MODE_RELEASE_BUFFERS); /* from here on it is sweeping */
        /* It may be long before the first message, and there may be many in its place. */
        rest(ssl);
        return PCO__SSL_DONE;
    }
    if (waits_for_callback(ssl->engine)) {
        return PCO__SSL_SUSPENDED;
    }
    if (has_closed(ssl, &call)) { /* OpenSSL has no reason for that */
        pco__ssl_set_error(ssl, PCO_ECONNRESET, 0, "the peer closed the connection");
        return PCO__SSL_FAILED;
    }
    if (!call.dry) {
        return note_failure(ssl, &call);
    }
    return input->length != 0 ? PCO__SSL_NO_DATA : PCO__SSL_MORE;
}

/* Reading has made OpenSSL write `length` bytes. A peer that has it write on and on must read. */
static bool may_answer(pco__ssl *ssl, size_t length)
{
    if (ssl->lower->class_->pending(ssl->lower) <= length) {
        ssl->answered = 0;
    }
    ssl->answered += (uint32_t)length;
    return ssl->answered <= UNREAD_ANSWERS_MOST;
}

/* A record has brought no data. Whether the peer may send more of them. */
static bool may_idle(pco__ssl *ssl)
{
    uint64_t now = pco__loop_now(ssl->shared->loop);
    if (ssl->idle == 0 || now - ssl->idle_since >= IDLE_TIME) {
        ssl->idle = 0;
        ssl->idle_since = now;
    }
    return ++ssl->idle <= IDLE_RECORDS_MOST;
}

int pco__ssl_engine_read(pco__ssl *ssl, pco__ssl_input *input, void *memory, size_t length)
{
    pco__ssl_call call;
    enter(ssl, &call, input);
    int count = SSL_read(ssl->engine, memory, length < INT_MAX ? (int)length : INT_MAX);
    leave(ssl, &call);
    if (call.error != 0) {
        return note_failure(ssl, &call);
    }
    if (call.output != 0 && !may_answer(ssl, call.output)) {
        return refuse(ssl, "the peer demands answers and does not read them");
    }
    if (count > 0) {
        ssl->idle = 0;
        return count;
    }
    if (has_closed(ssl, &call)) {
        return PCO__SSL_END;
    }
    if (!call.dry) {
        return note_failure(ssl, &call);
    }
    if (call.records == 0) {
        return PCO__SSL_MORE;
    }
    return may_idle(ssl) ? PCO__SSL_NO_DATA : refuse(ssl, "the peer sends records without data");
}

/*
 * Nothing keeps a healthy OpenSSL from writing, since its output is always taken, but one thing: a
 * message of the handshake's kind (a key update, a ticket) that has come in part (RFC 8446, 5.1).
 */
int pco__ssl_engine_write(pco__ssl *ssl, const unsigned char *data, size_t length, bool last)
{
    pco__ssl_call call;
    enter(ssl, &call, NULL);
    size_t piece = length < PCO__SSL_RECORD_SIZE ? length : PCO__SSL_RECORD_SIZE;
    call.ends = last && piece == length && !ssl->goes_on;
    int count = SSL_write(ssl->engine, data, (int)piece);
    leave(ssl, &call);
    if (count > 0) {
        return count;
    }
    return call.dry ? PCO__SSL_MORE : note_failure(ssl, &call);
}

/* OpenSSL does not shut down in the middle of a message of the peer's, either. */
int pco__ssl_engine_shutdown(pco__ssl *ssl)
{
    if (pco__ssl_engine_said_goodbye(ssl)) {
        bool both = (SSL_get_shutdown(ssl->engine) & SSL_RECEIVED_SHUTDOWN) != 0;
        return both ? PCO__SSL_DONE : PCO__SSL_MORE;
    }
    if (SSL_in_init(ssl->engine)) {
        return PCO__SSL_MORE;
    }
    pco__ssl_call call;
    enter(ssl, &call, NULL);
    int result = SSL_shutdown(ssl->engine);
    leave(ssl, &call);
    if (result >= 0) {
        return result == 1 ? PCO__SSL_DONE : PCO__SSL_MORE;
    }
    return note_failure(ssl, &call);
}

bool pco__ssl_engine_said_goodbye(const pco__ssl *ssl)
{
    return (SSL_get_shutdown(ssl->engine) & SSL_SENT_SHUTDOWN) != 0;
}

bool pco__ssl_engine_holds_input(const pco__ssl *ssl)
{
    return ssl->engine != NULL && (SSL_has_pending(ssl->engine) != 0 ||
                                   (SSL_get_shutdown(ssl->engine) & SSL_RECEIVED_SHUTDOWN) != 0);
}

/* ---- Making ---- */

/* An address as certificates have it, which know no scope. */
static int set_server_address(SSL *engine, const pco_address *address, pco_error *error)
{
    char host[PCO_ADDRESS_TEXT_SIZE] = "";
    pco_address_host(address, host, sizeof host);
    host[strcspn(host, "%")] = '\0';
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(engine), host) == 1
               ? 0
               : pco__ssl_error(error, PCO_EINVAL, "server_name '%.80s'", host);
}

/* The address that a text is, whatever its scope is called. PCO_EINVAL: it is none. */
static int parse_server_address(const char *text, pco_address *address)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    size_t length = strcspn(text, "%");
    if (length >= sizeof host) {
        return PCO_EINVAL;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    return pco_address_parse(host, 0, address);
}

/*
 * What the server must show and is asked for. A literal address is matched as such, in whatever
 * form it was written, since that is what is connected to; and it is not asked for: SNI is for
 * names (RFC 6066, 3), and those have no dot at their end there. OpenSSL takes what is no host
 * name, too: of one that begins with a dot every name below it.
 */
static int set_server_name(SSL *engine, const char *name, pco_error *error)
{
    char host[PCO__SSL_NAME_SIZE];
    pco_address address;
    int code = parse_server_address(name, &address);
    if (code == 0) {
        return set_server_address(engine, &address, error);
    }
    if (code == PCO_ENOMEM) {
        return pco__error_describe(error, code, 0, "server_hostname '%.80s'", name);
    }
    if (!pco__ssl_normalize_name((const unsigned char *)name, strlen(name), false, host)) {
        return pco__error_set(error, PCO_EINVAL, 0, "server_hostname '%.80s' is no host name",
                              name);
    }
    memcpy(host, name, strlen(host)); /* as it was written, but for a dot at the end */
    /* The common name is no name of a host (RFC 9525, 2): nobody who signs has to check it. */
    SSL_set_hostflags(engine,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
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
        pco__ssl_call_of(engine)->warned = fatal || (value & 0xff) != SSL_AD_CLOSE_NOTIFY;
    }
    if (theirs != NULL) {
        theirs(engine, where, value);
    }
}

/*
 * What is needed here is set in the SSL and not in the SSL_CTX, which may be the user's: no
 * renegotiation, no asynchronous jobs, no shutdown in silence. While the peer of a handshake is
 * waited for, OpenSSL holds no buffers.
 */
static int make_engine(pco__ssl *ssl, SSL_CTX *ctx, pco_error *error)
{
    SSL *engine = ctx != NULL ? SSL_new(ctx) : NULL;
    if (engine == NULL) {
        return pco__ssl_error(error, PCO_ETLS, "start TLS");
    }
    ssl->engine = engine;
    SSL_set_options(engine, SSL_OP_NO_RENEGOTIATION);
    SSL_set_mode(engine, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_clear_mode(engine, SSL_MODE_ASYNC);
    SSL_set_read_ahead(engine, 1);
    SSL_set_info_callback(engine, note_alert);
    SSL_set_quiet_shutdown(engine, 0);
    BIO_up_ref(ssl->shared->bio);
    SSL_set_bio(engine, ssl->shared->bio, ssl->shared->bio);
    return 0;
}

/* What the session is made under, and the one that is to be resumed. */
static int set_session(pco__ssl *ssl, const pco__ssl_options *client, pco_error *error)
{
    unsigned char id[PCO__SSL_SESSION_ID_SIZE];
    pco__ssl_context_identify(client->context, ssl->handshake->setup, id);
    bool set =
        SSL_set_session_id_context(ssl->engine, id, sizeof id) == 1 &&
        (client->session == NULL || pco__ssl_session_offer(client->session, ssl->engine, id));
    return set ? 0 : pco__ssl_error(error, PCO_ETLS, "ssl_session");
}

int pco__ssl_engine_new(pco__ssl *ssl, const pco__ssl_options *client, pco_error *error)
{
    ERR_clear_error();
    int code = make_engine(ssl, ssl->handshake->setup->ctx, error);
    if (code != 0) {
        return code;
    }
    if (client == NULL) {
        SSL_set_accept_state(ssl->engine);
        return 0;
    }
    SSL_set_connect_state(ssl->engine);
    const char *name = client->server_name;
    code = name != NULL ? set_server_name(ssl->engine, name, error) : 0;
    return code == 0 ? set_session(ssl, client, error) : code;
}

int pco__ssl_engine_new_for_hello(pco__ssl *ssl, pco_error *error)
{
    ERR_clear_error();
    int code = make_engine(ssl, pco__ssl_hello_ctx(ssl->shared), error);
    if (code == 0) {
        SSL_set_accept_state(ssl->engine);
    }
    return code;
}

void pco__ssl_engine_free(pco__ssl *ssl)
{
    leave_busy(ssl);
    SSL_free(ssl->engine);
    ssl->engine = NULL;
    ssl->bounds = (pco__ssl_records){.left = 0};
}
