/* SPDX-License-Identifier: MIT */
/*
 * tls.c: the peers of TLS connections, which are OpenSSL with memory BIOs, and their verbs.
 *
 * A seed must repeat exactly, and lengths of records take part in that. So OpenSSL's random numbers
 * come from the seed, and the certificate has a key whose signatures are all of one length, and
 * dates that do not move.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "swarm.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

const bool swarm_has_tls = true;

/* A peer asks for so many new keys; more, one after the other, are a flood. */
#define UPDATES_MOST 20
#define UPDATES_OF_FLOOD 60

/* The certificates: the server's own, and that of the name below. */
enum { OWN, OTHER, CERTIFICATES };
static const char *const common_names[CERTIFICATES] = {"own", "other"};

/* Who asks for these is shown the other, once they are added; who asks for WRONG or none is not. */
#define NAME "swarm.example"
#define PATTERN "*.other.example"
#define NAME_OF_PATTERN "a.other.example"
#define WRONG_NAME "a.b.other.example"

typedef struct tls_peer {
    bool serves;
    SSL *ssl;
    BIO *in;  /* to it */
    BIO *out; /* from it */
    bool established;
    bool ended;  /* has seen the library's close_notify */
    bool failed; /* understands nothing any more */
    unsigned updates;
    bool asks_for_other;
    bool knows; /* which it must be shown: nothing changed since it came */
    bool other; /* that */
} tls_peer;

/* Of the peers, each of TLS 1.3, and of 1.2 at most. */
static SSL_CTX *client_contexts[2];
static SSL_CTX *server_contexts[2];

/* Of the library's clients: the same two, and two that verify. */
static SSL_CTX *own_clients[4];

/* As PEM. */
typedef struct identity {
    char *certificate;
    size_t certificate_length;
    char *key;
    size_t key_length;
} identity;

static identity identities[CERTIFICATES];

/* ---- Random numbers ---- */

static uint64_t random_state;

static int random_bytes(unsigned char *to, int count)
{
    for (int i = 0; i < count; i++) {
        to[i] = (unsigned char)chance(&random_state, 256);
    }
    return 1;
}

static int random_status(void)
{
    return 1;
}

static const RAND_METHOD random_method = {
    .bytes = random_bytes, .pseudorand = random_bytes, .status = random_status};

/* ---- Once per process ---- */

static void need(bool good)
{
    if (!good) {
        fputs("swarm: OpenSSL cannot be had\n", stderr);
        abort();
    }
}

static char *take_text(BIO *bio, size_t *length)
{
    char *data;
    *length = (size_t)BIO_get_mem_data(bio, &data);
    char *copy = malloc(*length);
    memcpy(copy, data, *length);
    BIO_free(bio);
    return copy;
}

static void make_identity(identity *of, const char *common_name)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *made = X509_new();
    BIO *text = BIO_new(BIO_s_mem());
    need(key != NULL && made != NULL && text != NULL);
    X509_NAME *name = X509_get_subject_name(made);
    need(X509_set_version(made, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(made), 1) == 1 &&
         ASN1_TIME_set_string(X509_getm_notBefore(made), "20200101000000Z") == 1 &&
         ASN1_TIME_set_string(X509_getm_notAfter(made), "20991231235959Z") == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name,
                                    -1, -1, 0) == 1 &&
         X509_set_issuer_name(made, name) == 1 && X509_set_pubkey(made, key) == 1 &&
         X509_sign(made, key, NULL) > 0 && PEM_write_bio_X509(text, made) == 1);
    of->certificate = take_text(text, &of->certificate_length);
    text = BIO_new(BIO_s_mem());
    need(PEM_write_bio_PrivateKey(text, key, NULL, NULL, 0, NULL, NULL) == 1);
    of->key = take_text(text, &of->key_length);
    X509_free(made);
    EVP_PKEY_free(key);
}

static SSL_CTX *new_ssl_ctx(const SSL_METHOD *method, bool old)
{
    SSL_CTX *made = SSL_CTX_new(method);
    need(made != NULL && SSL_CTX_set_max_proto_version(made, old ? TLS1_2_VERSION : 0) == 1);
    return made;
}

/* Shows a certificate, and trusts it. */
static void use_identity(SSL_CTX *to, const identity *own, bool shows)
{
    BIO *certificate_text = BIO_new_mem_buf(own->certificate, (int)own->certificate_length);
    BIO *key_text = BIO_new_mem_buf(own->key, (int)own->key_length);
    X509 *certificate = PEM_read_bio_X509(certificate_text, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);
    need(certificate != NULL && key != NULL);
    if (shows) {
        need(SSL_CTX_use_certificate(to, certificate) == 1 && SSL_CTX_use_PrivateKey(to, key) == 1);
    } else {
        need(X509_STORE_add_cert(SSL_CTX_get_cert_store(to), certificate) == 1);
        SSL_CTX_set_verify(to, SSL_VERIFY_PEER, NULL);
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(key_text);
    BIO_free(certificate_text);
}

void tls_begin(void)
{
    need(RAND_set_rand_method(&random_method) == 1);
    random_state = 1;
    for (int i = 0; i < CERTIFICATES; i++) {
        make_identity(&identities[i], common_names[i]);
    }
    for (int i = 0; i < 2; i++) {
        client_contexts[i] = new_ssl_ctx(TLS_client_method(), i == 1);
        server_contexts[i] = new_ssl_ctx(TLS_server_method(), i == 1);
        SSL_CTX_set_session_cache_mode(server_contexts[i], SSL_SESS_CACHE_OFF);
        use_identity(server_contexts[i], &identities[OWN], true);
        own_clients[i] = new_ssl_ctx(TLS_client_method(), i == 1);
        own_clients[2 + i] = new_ssl_ctx(TLS_client_method(), i == 1);
        use_identity(own_clients[2 + i], &identities[OWN], false);
    }
}

void tls_end(void)
{
    for (int i = 0; i < 2; i++) {
        SSL_CTX_free(client_contexts[i]);
        SSL_CTX_free(server_contexts[i]);
        SSL_CTX_free(own_clients[i]);
        SSL_CTX_free(own_clients[2 + i]);
    }
    for (int i = 0; i < CERTIFICATES; i++) {
        free(identities[i].certificate);
        free(identities[i].key);
    }
}

/* ---- In every program ---- */

void tls_world_begin(world *at)
{
    random_state = at->seed * 2 + 1;
    ERR_clear_error();
}

void tls_world_end(world *at)
{
    pco_ssl_context_release(at->context);
    pco_ssl_context_release(at->other);
    for (int i = 0; i < 4; i++) {
        pco_ssl_context_release(at->clients[i]);
    }
}

static pco_ssl_context_options options_of(const identity *own)
{
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .certificate_pem = own->certificate,
                                     .certificate_pem_length = own->certificate_length,
                                     .key_pem = own->key,
                                     .key_pem_length = own->key_length};
}

static pco_ssl_context *new_context(world *at, const identity *own)
{
    pco_ssl_context_options options = options_of(own);
    pco_ssl_context *made = NULL;
    int code = pco_ssl_context_new(&options, &made, NULL);
    if (code != 0 && !memory_was_short(at)) {
        broken(at, "ssl_context_new returned %s", pco_error_name(code));
    }
    return made;
}

pco_ssl_context *tls_context_of(world *at)
{
    if (at->context == NULL) {
        at->context = new_context(at, &identities[OWN]);
    }
    return at->context;
}

pco_ssl_context *tls_client_context_of(world *at, bool verifies, bool old)
{
    int which = 2 * verifies + old;
    if (at->clients[which] == NULL) {
        int code = pco_ssl_context_from_ssl_ctx(own_clients[which], &at->clients[which], NULL);
        if (code != 0 && !memory_was_short(at)) {
            broken(at, "ssl_context_from_ssl_ctx returned %s", pco_error_name(code));
        }
    }
    return at->clients[which];
}

/* ---- A peer ---- */

static void choose_name(world *at, tls_peer *peer)
{
    static const char *const names[] = {NULL, NULL, NAME, NAME_OF_PATTERN, WRONG_NAME};
    const char *name = names[pick(at, sizeof names / sizeof names[0])];
    peer->asks_for_other = name != NULL && strcmp(name, WRONG_NAME) != 0;
    peer->knows = !at->names_failed || !peer->asks_for_other;
    peer->other = peer->asks_for_other && at->other != NULL;
    need(name == NULL || SSL_set_tlsext_host_name(peer->ssl, name) == 1);
}

/* Who opens a connection has a server as its peer; a server, and who has accepted, a client. */
void tls_peer_new(world *at, conn *of)
{
    tls_peer *made = calloc(1, sizeof *made);
    made->serves = of->opening != NULL && of->opening->shape != ACCEPTED;
    made->ssl =
        SSL_new((made->serves ? server_contexts : client_contexts)[pick(at, 3) == 1 ? 1 : 0]);
    made->in = BIO_new(BIO_s_mem());
    made->out = BIO_new(BIO_s_mem());
    need(made->ssl != NULL && made->in != NULL && made->out != NULL);
    BIO_set_mem_eof_return(made->in, -1);
    SSL_set_bio(made->ssl, made->in, made->out);
    if (made->serves) {
        SSL_set_accept_state(made->ssl);
    } else {
        choose_name(at, made);
        SSL_set_connect_state(made->ssl);
    }
    of->tls = made;
}

void tls_peer_drop(conn *of)
{
    tls_peer *gone = of->tls;
    if (gone != NULL) {
        SSL_free(gone->ssl);
        free(gone);
        of->tls = NULL;
    }
}

/* More input would help, or the peer has heard the end; anything else must have been caused. */
static void note_outcome(world *at, conn *of, int result)
{
    tls_peer *peer = of->tls;
    int outcome = SSL_get_error(peer->ssl, result);
    if (outcome == SSL_ERROR_ZERO_RETURN) {
        peer->ended = true;
    } else if (outcome != SSL_ERROR_WANT_READ) {
        peer->failed = true;
        if (of->causes == 0 && !memory_was_short(at)) {
            broken(at, "the TLS peer of connection %u does not understand: %s", of->id,
                   ERR_reason_error_string(ERR_peek_error()));
        }
    }
}

static void read_all(world *at, conn *of)
{
    static unsigned char data[16384];
    tls_peer *peer = of->tls;
    int count;
    do {
        ERR_clear_error();
        count = SSL_read(peer->ssl, data, sizeof data);
        if (count > 0) {
            check_bytes(at, of, true, of->arrived, data, (size_t)count);
            of->arrived += (uint64_t)count;
        } else {
            note_outcome(at, of, count);
        }
    } while (count > 0);
    if (of->arrived > of->written + of->excess) {
        broken(at, "more was sent than was written");
    }
}

static void say_goodbye(conn *of)
{
    tls_peer *peer = of->tls;
    ERR_clear_error();
    if (SSL_shutdown(peer->ssl) >= 0) {
        of->notified = true;
    }
}

static void check_certificate(world *at, const conn *of)
{
    const tls_peer *peer = of->tls;
    const char *wanted = common_names[peer->other ? OTHER : OWN];
    if (peer->serves) {
        return;
    }
    X509 *shown = SSL_get0_peer_certificate(peer->ssl);
    char name[16] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof name);
    if (peer->knows && strcmp(name, wanted) != 0) {
        broken(at, "connection %u was shown the certificate '%s', not '%s'", of->id, name, wanted);
    }
}

static void work(world *at, conn *of)
{
    tls_peer *peer = of->tls;
    if (peer->failed || peer->ended) {
        return;
    }
    if (!peer->established) {
        ERR_clear_error();
        int result = SSL_do_handshake(peer->ssl);
        if (result != 1) {
            note_outcome(at, of, result);
            return;
        }
        peer->established = true;
        check_certificate(at, of);
    }
    read_all(at, of);
    if (at->calm && peer->ended && !of->notified) {
        say_goodbye(of);
    }
}

static size_t least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* Takes out of a BIO what has been moved. */
static void drop(BIO *bio, size_t length)
{
    char data[4096];
    while (length != 0) {
        size_t piece = least(length, sizeof data);
        need(BIO_read(bio, data, (int)piece) == (int)piece);
        length -= piece;
    }
}

bool tls_pump(world *at, conn *of, size_t most)
{
    tls_peer *peer = of->tls;
    char *data;
    if (peer == NULL || of->socket == NULL) {
        return false;
    }
    size_t in = least(of->socket->sent_length - of->seen, most);
    if (in != 0) {
        BIO_write(peer->in, of->socket->sent + of->seen, (int)in);
        of->seen += in;
    }
    work(at, of);
    size_t out = least((size_t)BIO_get_mem_data(peer->out, &data), most);
    if (out != 0) {
        if (!of->fed_eof && !of->socket->closed) {
            fake_feed(of->socket, data, out);
        }
        drop(peer->out, out);
    }
    return in != 0 || out != 0;
}

void tls_send(world *at, conn *of, size_t length)
{
    tls_peer *peer = of->tls;
    if (peer == NULL || !peer->established || peer->failed) {
        return;
    }
    unsigned char *data = bytes_from(of, false, of->fed, length);
    ERR_clear_error();
    if (SSL_write(peer->ssl, data, (int)length) == (int)length) {
        of->fed += length;
    } else if (of->causes == 0 && !memory_was_short(at)) {
        broken(at, "the TLS peer cannot write");
    }
    free(data);
}

void tls_cut_off(conn *of)
{
    const tls_peer *peer = of->tls;
    if (peer == NULL || !of->notified || BIO_ctrl_pending(peer->out) != 0) {
        cause(of, PCO_ETRUNCATED);
        cause(of, PCO_ECONNRESET);
        cause(of, PCO_ETLS);
    }
}

/* ---- Verbs ---- */

static bool has_client(const world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->tls != NULL) {
            return true;
        }
    }
    return false;
}

static conn *pick_client(world *at)
{
    unsigned count = 0;
    for (unsigned i = 0; i < at->conns_count; i++) {
        count += at->conns[i]->tls != NULL;
    }
    unsigned nth = pick(at, count);
    for (unsigned i = 0; i < at->conns_count; i++) {
        if (at->conns[i]->tls != NULL && nth-- == 0) {
            return at->conns[i];
        }
    }
    return NULL;
}

static void pump(world *at)
{
    conn *of = pick_client(at);
    size_t most = pick_rarely(at, 3) ? SIZE_MAX : pick_length(at);
    say(at, "TLS of %u moves at most %zu bytes", of->id, most);
    tls_pump(at, of, most);
}

static void end_tls(world *at)
{
    conn *of = pick_client(at);
    const tls_peer *peer = of->tls;
    if (peer->established && !peer->failed && !of->notified) {
        say(at, "TLS peer %u says goodbye", of->id);
        say_goodbye(of);
    }
}

static void update_keys(world *at)
{
    conn *of = pick_client(at);
    tls_peer *peer = of->tls;
    unsigned count = pick_rarely(at, 20) ? UPDATES_OF_FLOOD : 1 + pick(at, 3);
    if (!peer->established || peer->failed || of->notified ||
        SSL_version(peer->ssl) != TLS1_3_VERSION) {
        return;
    }
    say(at, "TLS peer %u updates its keys, %u times", of->id, count);
    if (count == UPDATES_OF_FLOOD || (peer->updates += count) > UPDATES_MOST) {
        cause(of, PCO_ETLS);
    }
    while (count-- != 0) {
        int kind = pick(at, 2) == 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
        ERR_clear_error();
        if (SSL_key_update(peer->ssl, kind) != 1 || SSL_do_handshake(peer->ssl) != 1) {
            return;
        }
    }
}

static void talk_nonsense(world *at)
{
    conn *of = pick_client(at);
    unsigned char data[64];
    size_t length = 1 + pick(at, sizeof data);
    if (of->fed_eof || of->socket == NULL || of->socket->closed) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        data[i] = (unsigned char)pick(at, 256);
    }
    say(at, "TLS peer %u sends %zu bytes of nonsense", of->id, length);
    cause(of, PCO_ETLS);
    fake_feed(of->socket, data, length);
}

static void abandon(world *at)
{
    conn *of = pick_client(at);
    say(at, "TLS peer %u does nothing any more", of->id);
    tls_peer_drop(of);
}

/* ---- Contexts ---- */

static bool has_context(const world *at)
{
    return at->context != NULL;
}

/* What fails changes nothing; new certificates would be told from the old by their names alone. */
static void reload(world *at)
{
    identity garbled = identities[OWN];
    bool good = pick(at, 3) != 1;
    garbled.certificate_length = good ? garbled.certificate_length : 40;
    pco_ssl_context_options options = options_of(&garbled);
    enter_library(at, NULL);
    int code = pco_ssl_context_reload(at->context, &options, NULL);
    leave_library(at);
    say(at, "reload the context%s: %s", good ? "" : " with what is garbled",
        code != 0 ? pco_error_name(code) : "0");
    if (good ? code != 0 && !memory_was_short(at) : code == 0) {
        broken(at, "ssl_context_reload returned %s", code != 0 ? pco_error_name(code) : "0");
    }
}

/* Who is in the handshake now may be shown the one or the other. */
static void forget_what_is_shown(world *at)
{
    for (unsigned i = 0; i < at->conns_count; i++) {
        tls_peer *peer = at->conns[i]->tls;
        if (peer != NULL && peer->asks_for_other) {
            peer->knows = false;
        }
    }
}

static bool may_add_names(const world *at)
{
    return at->context != NULL && at->other == NULL;
}

/* Both names or, where there is no memory, perhaps one: nobody can then say which. */
static void add_names(world *at)
{
    enter_library(at, NULL);
    at->other = new_context(at, &identities[OTHER]);
    int code = 0;
    if (at->other != NULL) {
        code = pco_ssl_context_add_server_name(at->context, NAME, at->other, NULL);
        code = code == 0 ? pco_ssl_context_add_server_name(at->context, PATTERN, at->other, NULL)
                         : code;
    }
    leave_library(at);
    say(at, "add names to the context: %s", code != 0 ? pco_error_name(code) : "0");
    if (code != 0 && !(code == PCO_ENOMEM && memory_was_short(at))) {
        broken(at, "add_server_name returned %s", pco_error_name(code));
    }
    at->names_failed = code != 0;
    forget_what_is_shown(at);
}

const verb verbs_tls[] = {
    {"TLS moves", 60, ANYWHERE, has_client, pump},
    {"TLS goodbye", 5, ANYWHERE, has_client, end_tls},
    {"TLS keys", 6, ANYWHERE, has_client, update_keys},
    {"TLS nonsense", 1, ANYWHERE, has_client, talk_nonsense},
    {"TLS abandoned", 1, ANYWHERE, has_client, abandon},
    {"TLS reload", 2, ANYWHERE, has_context, reload},
    {"TLS names", 2, ANYWHERE, may_add_names, add_names},
    {.name = NULL},
};
