/* SPDX-License-Identifier: MIT */
/* tls_peer.c: the peers of TLS connections, which are OpenSSL with memory BIOs. */
#include "tls_parts.h"

static void choose_name(world *at, tls_peer *peer)
{
    static const char *const names[] = {NULL, NULL, NAME, NAME_OF_PATTERN, WRONG_NAME};
    const char *name = names[pick(at, sizeof names / sizeof names[0])];
    peer->asks_for_other = name != NULL && strcmp(name, WRONG_NAME) != 0;
    peer->knows = !at->names_failed || !peer->asks_for_other;
    peer->other = peer->asks_for_other && at->other != NULL;
    need(name == NULL || SSL_set_tlsext_host_name(peer->ssl, name) == 1);
}

void tls_peer_begin(world *at, conn *of, bool serves)
{
    tls_peer *made = calloc(1, sizeof *made);
    made->serves = serves;
    made->protocol = PCO_SSL_ALPN_NONE;
    bool old = pick(at, 3) == 1;
    of->old = of->old || old;
    made->ssl = SSL_new((made->serves ? server_contexts : client_contexts)[old]);
    made->in = BIO_new(BIO_s_mem());
    made->out = BIO_new(BIO_s_mem());
    need(made->ssl != NULL && made->in != NULL && made->out != NULL);
    BIO_set_mem_eof_return(made->in, -1);
    SSL_set_bio(made->ssl, made->in, made->out);
    if (made->serves) {
        ask_client(at, of, made);
        SSL_set_accept_state(made->ssl);
    } else {
        choose_name(at, made);
        offer_number(made->ssl, of->id);
        SSL_set_connect_state(made->ssl);
    }
    of->tls = made;
}

/* Who opens a connection has a server as its peer; a server, and who has accepted, a client. */
void tls_peer_new(world *at, conn *of)
{
    tls_peer_begin(at, of, of->opening != NULL && of->opening->shape != ACCEPTED);
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

void say_goodbye(conn *of)
{
    tls_peer *peer = of->tls;
    ERR_clear_error();
    if (SSL_shutdown(peer->ssl) >= 0) {
        of->notified = true;
    }
}

void name_shown(const SSL *to, char *name, size_t size)
{
    const X509 *shown = SSL_get0_peer_certificate(to);
    snprintf(name, size, "%s", "");
    if (shown != NULL) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, (int)size);
    }
}

static void check_certificate(world *at, const conn *of)
{
    const tls_peer *peer = of->tls;
    const char *wanted = common_names[peer->other ? OTHER : OWN];
    if (peer->serves) {
        check_client(at, of);
        return;
    }
    char name[16] = "";
    name_shown(peer->ssl, name, sizeof name);
    if (peer->knows && strcmp(name, wanted) != 0) {
        broken(at, "connection %u was shown the certificate '%s', not '%s'", of->id, name, wanted);
    }
    check_protocol(at, of);
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

/* What was written before TLS began. */
static void take_clear(world *at, conn *of)
{
    size_t length = of->socket->sent_length - of->seen;
    if (length == 0 || of->clear == 0) {
        return;
    }
    length = of->clear < length ? (size_t)of->clear : length;
    check_bytes(at, of, true, of->arrived, of->socket->sent + of->seen, length);
    of->seen += length;
    of->arrived += length;
    of->clear -= length;
}

unsigned char *tls_begin_early(world *at, conn *of, size_t *length)
{
    char *data;
    tls_peer_begin(at, of, false);
    tls_peer *peer = of->tls;
    work(at, of);
    *length = least(pick_length(at), (size_t)BIO_get_mem_data(peer->out, &data));
    unsigned char *early = malloc(*length);
    memcpy(early, data, *length);
    drop(peer->out, *length);
    return early;
}

bool tls_pump(world *at, conn *of, size_t most)
{
    tls_peer *peer = of->tls;
    char *data;
    if (peer == NULL || of->socket == NULL) {
        return false;
    }
    look_after_gates(at);
    take_clear(at, of);
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

bool tls_has_heard_end(const conn *of)
{
    const tls_peer *peer = of->tls;
    return peer == NULL || peer->failed || peer->ended;
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
