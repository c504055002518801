/* SPDX-License-Identifier: MIT */
/*
 * session.c: sessions of clients, which the user takes from one connection and gives to the next.
 *
 * What a session is for, and until when, is noted inside OpenSSL's SSL_SESSION, in the place that
 * it has for such data: so the tickets that a resumed connection is given inherit it. Under which
 * context it was made is the "session id context" there, which OpenSSL compares, too, before it
 * resumes.
 *
 * OpenSSL changes an SSL_SESSION that a connection uses; it is spoiled, for instance, when the
 * connection ends without close_notify. Hence those that are kept here are copies that nothing
 * uses, and each connection is given a copy of its own.
 */
#include "tls/session.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <time.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"
#include "tls/connection.h"

struct pco_ssl_session {
    pco__mutex *mutex; /* guards the count */
    unsigned references;
    SSL_SESSION *session; /* never changed */
};

/* A host name, or an address as text, and a NUL. */
#define NAME_SIZE 256

/* ---- What is noted ---- */

/* The note begins with these, and the time; the name follows. */
#define MARK "PCO1"
#define MARK_SIZE (sizeof MARK - 1)
#define NOTE_LEAST (MARK_SIZE + 8)

typedef struct note {
    int64_t until; /* the end of the first certificate that ends; seconds since 1970 */
    char name[NAME_SIZE];
} note;

static bool read_note(SSL_SESSION *session, note *said)
{
    void *given = NULL;
    size_t length = 0;
    if (SSL_SESSION_get0_ticket_appdata(session, &given, &length) != 1 || length < NOTE_LEAST ||
        length - NOTE_LEAST >= NAME_SIZE || memcmp(given, MARK, MARK_SIZE) != 0) {
        return false;
    }
    const unsigned char *data = given;
    uint64_t until = 0;
    for (size_t i = 0; i < 8; i++) {
        until = until << 8 | data[MARK_SIZE + i];
    }
    said->until = (int64_t)until;
    memset(said->name, 0, sizeof said->name);
    memcpy(said->name, data + NOTE_LEAST, length - NOTE_LEAST);
    return true;
}

static bool write_note(SSL_SESSION *session, const note *said)
{
    unsigned char data[NOTE_LEAST + NAME_SIZE];
    size_t length = strlen(said->name);
    memcpy(data, MARK, MARK_SIZE);
    for (size_t i = 0; i < 8; i++) {
        data[MARK_SIZE + i] = (unsigned char)((uint64_t)said->until >> (8 * (7 - i)));
    }
    memcpy(data + NOTE_LEAST, said->name, length);
    return SSL_SESSION_set1_ticket_appdata(session, data, NOTE_LEAST + length) == 1;
}

/*
 * The name of a server in the one form that is compared: an address as the library writes it,
 * without its scope; or a name in lower case, without a dot at its end. "": there is none, or it is
 * too long for one. False: out of memory.
 */
static bool get_plain_name(const char *given, char *name)
{
    pco_address address;
    int code = pco_address_parse(given, 0, &address);
    name[0] = '\0';
    if (code == 0) {
        pco_address_host(&address, name, NAME_SIZE);
        name[strcspn(name, "%")] = '\0';
        return true;
    }
    size_t length = strlen(given);
    if (length != 0 && given[length - 1] == '.') {
        length--;
    }
    if (length < NAME_SIZE) {
        for (size_t i = 0; i < length; i++) {
            char c = given[i];
            name[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        }
        name[length] = '\0';
    }
    return code != PCO_ENOMEM;
}

/* The name that the engine has checked: see set_server_name in engine.c. */
static bool get_name_of_engine(SSL *engine, char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(engine);
    const char *host = X509_VERIFY_PARAM_get0_host(param, 0);
    if (host != NULL) {
        return get_plain_name(host, name);
    }
    char *address = X509_VERIFY_PARAM_get1_ip_asc(param);
    bool done = get_plain_name(address != NULL ? address : "", name);
    OPENSSL_free(address);
    return done;
}

/* When the first of the certificates ends that were verified; where none was, that is never. */
static int64_t get_end_of_certificates(const SSL *engine)
{
    int64_t end = INT64_MAX;
    if (!pco__ssl_is_verified(engine)) {
        return end;
    }
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(engine);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t one = pco__ssl_seconds(X509_get0_notAfter(sk_X509_value(chain, i)), INT64_MIN);
        end = one < end ? one : end;
    }
    const X509 *own = SSL_get0_peer_certificate(engine);
    return chain != NULL ? end : pco__ssl_seconds(X509_get0_notAfter(own), INT64_MIN);
}

/* ---- Taking ---- */

/* Of a session, which it takes; NULL, or no memory, is PCO_ENOMEM. */
static int make(SSL_SESSION *session, pco_ssl_session **into)
{
    pco_ssl_session *made = session != NULL ? pco__calloc(sizeof *made) : NULL;
    if (made == NULL || pco__mutex_new(&made->mutex) != 0) {
        pco__free(made);
        SSL_SESSION_free(session);
        return PCO_ENOMEM;
    }
    made->references = 1;
    made->session = session;
    *into = made;
    return 0;
}

int pco_transport_get_ssl_session(pco_transport *transport, pco_ssl_session **session)
{
    pco__ssl *ssl;
    note said;
    if (session == NULL) {
        return PCO_EINVAL;
    }
    int code = pco__ssl_ask(transport, &ssl);
    if (code != 0) {
        return code;
    }
    SSL *engine = ssl->engine;
    SSL_SESSION *newest = SSL_get0_session(engine);
    if (SSL_is_server(engine)) {
        return PCO_ENOTSUP;
    }
    if (newest == NULL || SSL_SESSION_is_resumable(newest) != 1 ||
        (SSL_get_options(engine) & SSL_OP_NO_TICKET) != 0) {
        return PCO_ENOENT;
    }
    ERR_clear_error();
    SSL_SESSION *copy = SSL_SESSION_dup(newest);
    if (copy != NULL && !read_note(copy, &said)) {
        said.until = get_end_of_certificates(engine);
        if (!get_name_of_engine(engine, said.name) || !write_note(copy, &said)) {
            SSL_SESSION_free(copy);
            copy = NULL;
        }
    }
    return make(copy, session);
}

pco_ssl_session *pco_ssl_session_retain(pco_ssl_session *session)
{
    pco__mutex_lock(session->mutex);
    session->references++;
    pco__mutex_unlock(session->mutex);
    return session;
}

void pco_ssl_session_release(pco_ssl_session *session)
{
    if (session == NULL) {
        return;
    }
    pco__mutex_lock(session->mutex);
    bool last = --session->references == 0;
    pco__mutex_unlock(session->mutex);
    if (last) {
        SSL_SESSION_free(session->session);
        pco__mutex_free(session->mutex);
        pco__free(session);
    }
}

/* ---- Giving ---- */

/* As the context is at this moment. */
static void identify_now(pco_ssl_context *context, unsigned char *id)
{
    if (context == NULL) {
        pco__ssl_context_identify(NULL, NULL, id);
        return;
    }
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    pco__ssl_context_identify(context, setup, id);
    pco__ssl_setup_give(setup);
}

int pco__ssl_session_check(const pco_ssl_session *session, pco_ssl_context *context,
                           const char *server_name, pco_error *error)
{
    unsigned char id[PCO__SSL_SESSION_ID_SIZE];
    unsigned length;
    note said;
    char name[NAME_SIZE];
    const unsigned char *its = SSL_SESSION_get0_id_context(session->session, &length);
    identify_now(context, id);
    if (memcmp(its, id, PCO__SSL_ID_SIZE) != 0) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "ssl_session is of another context: what was verified there was "
                              "verified by other rules");
    }
    if (!get_plain_name(server_name, name)) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "ssl_session");
    }
    if (!read_note(session->session, &said) || strcmp(said.name, name) != 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "ssl_session is of '%.80s', not of '%.80s'",
                              said.name, server_name);
    }
    return 0;
}

static int64_t began_at(const SSL_SESSION *session)
{
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
    return (int64_t)SSL_SESSION_get_time_ex(session);
#else
    return (int64_t)SSL_SESSION_get_time(session);
#endif
}

/* How many seconds the server keeps its word; in TLS 1.2 it need not say. */
#define LIFETIME_MOST ((int64_t)7 * 24 * 3600) /* RFC 8446, 4.6.1 */

static int64_t get_lifetime(const SSL_SESSION *session)
{
    int64_t said = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);
    if (said == 0 && SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
        said = (int64_t)SSL_SESSION_get_timeout(session);
    }
    return said < LIFETIME_MOST ? said : LIFETIME_MOST;
}

/*
 * Whether it is in date. A clock that was put back makes a session that is of the future; one of
 * the next second is not: newer OpenSSL looks at the clock more precisely than time() does, which
 * some systems move on with their ticks alone.
 */
static bool is_in_date(SSL_SESSION *session)
{
    note said;
    int64_t now = (int64_t)time(NULL);
    int64_t began = began_at(session);
    return read_note(session, &said) && now <= said.until && now + 1 >= began &&
           now - began <= get_lifetime(session);
}

bool pco__ssl_session_offer(const pco_ssl_session *session, SSL *engine, const unsigned char *id)
{
    unsigned length;
    const unsigned char *its = SSL_SESSION_get0_id_context(session->session, &length);
    if (length != PCO__SSL_SESSION_ID_SIZE || memcmp(its, id, length) != 0 ||
        !is_in_date(session->session) || (SSL_get_options(engine) & SSL_OP_NO_TICKET) != 0) {
        return true;
    }
    SSL_SESSION *copy = SSL_SESSION_dup(session->session);
    bool set = copy != NULL && SSL_set_session(engine, copy) == 1;
    SSL_SESSION_free(copy);
    return set;
}

/* ---- As bytes ---- */

/*
 * The mark, the length of what OpenSSL writes (four bytes, the highest first), that, and the
 * SHA-256 of all before: so nothing is decoded that was not written here, unless somebody meant it.
 */
#define FILE_MARK "PCOSESS1"
#define FILE_MARK_SIZE (sizeof FILE_MARK - 1)
#define HEAD_SIZE (FILE_MARK_SIZE + 4)
#define HASH_SIZE 32
#define FRAME_SIZE (HEAD_SIZE + HASH_SIZE)

/* A ticket is at most 64 KiB long, a server's certificate 100 KiB. */
#define BYTES_MOST ((size_t)256 * 1024)

static bool get_hash(const unsigned char *data, size_t length, unsigned char *hash)
{
    return EVP_Digest(data, length, hash, NULL, EVP_sha256(), NULL) == 1;
}

int pco_ssl_session_serialize(const pco_ssl_session *session, void *buffer, size_t size,
                              size_t *length)
{
    if (session == NULL || length == NULL || (buffer == NULL && size != 0)) {
        return PCO_EINVAL;
    }
    ERR_clear_error();
    int inner = i2d_SSL_SESSION(session->session, NULL);
    if (inner <= 0) {
        return PCO_ENOMEM;
    }
    *length = FRAME_SIZE + (size_t)inner;
    if (size < *length) {
        return PCO_ENOBUFS;
    }
    unsigned char *to = buffer;
    memcpy(to, FILE_MARK, FILE_MARK_SIZE);
    for (size_t i = 0; i < 4; i++) {
        to[FILE_MARK_SIZE + i] = (unsigned char)((unsigned)inner >> (8 * (3 - i)));
    }
    unsigned char *body = to + HEAD_SIZE;
    unsigned char *end = body;
    if (i2d_SSL_SESSION(session->session, &end) != inner ||
        !get_hash(to, HEAD_SIZE + (size_t)inner, body + inner)) {
        return PCO_ENOMEM;
    }
    return 0;
}

static int refuse(pco_error *error, const char *why)
{
    return pco__error_set(error, PCO_EINVAL, 0, "parse a session: %s", why);
}

/* Whether it is framed as it should be; and where the inside is. */
static bool is_framed(const unsigned char *data, size_t length, size_t *inner)
{
    unsigned char hash[HASH_SIZE];
    if (length <= FRAME_SIZE || length > BYTES_MOST ||
        memcmp(data, FILE_MARK, FILE_MARK_SIZE) != 0) {
        return false;
    }
    *inner = 0;
    for (size_t i = 0; i < 4; i++) {
        *inner = *inner << 8 | data[FILE_MARK_SIZE + i];
    }
    return *inner == length - FRAME_SIZE && get_hash(data, length - HASH_SIZE, hash) &&
           memcmp(data + length - HASH_SIZE, hash, HASH_SIZE) == 0;
}

static SSL_SESSION *decode(const unsigned char *data, size_t length)
{
    const unsigned char *end = data;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &end, (long)length);
    note said;
    if (session == NULL) {
        return NULL;
    }
    int version = SSL_SESSION_get_protocol_version(session);
    if (end != data + length || (version != TLS1_2_VERSION && version != TLS1_3_VERSION) ||
        SSL_SESSION_is_resumable(session) != 1 || !read_note(session, &said)) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

int pco_ssl_session_parse(const void *data, size_t length, pco_ssl_context *context,
                          pco_ssl_session **session, pco_error *error)
{
    unsigned char id[PCO__SSL_SESSION_ID_SIZE];
    size_t inner;
    if (data == NULL || session == NULL) {
        return refuse(error, data == NULL ? "data is NULL" : "session is NULL");
    }
    if (context != NULL && !pco__ssl_context_fits(context, true)) {
        return refuse(error, "the ssl context is one for servers");
    }
    if (!is_framed(data, length, &inner)) {
        return refuse(error, "it is none, or garbled");
    }
    ERR_clear_error();
    SSL_SESSION *decoded = decode((const unsigned char *)data + HEAD_SIZE, inner);
    if (decoded == NULL) {
        return pco__ssl_take_reason().code == PCO_ENOMEM
                   ? pco__error_describe(error, PCO_ENOMEM, 0, "parse a session")
                   : refuse(error, "OpenSSL cannot read it");
    }
    identify_now(context, id);
    if (SSL_SESSION_set1_id_context(decoded, id, sizeof id) != 1) {
        SSL_SESSION_free(decoded);
        decoded = NULL;
    }
    int code = make(decoded, session);
    return code != 0 ? pco__error_describe(error, code, 0, "parse a session") : 0;
}
