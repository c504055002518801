/* SPDX-License-Identifier: MIT */
/*
 * fuzz_session.c: sessions as bytes. The input is such bytes, or says how good ones are changed and
 * framed again, as who can write the file might. What is taken for a session is written once more,
 * and offered to a server: whatever comes of that, it is a connection or the end of one.
 */
#include "fuzz.h"
#include "ssl_world.h"

#include <openssl/err.h>
#include <openssl/evp.h>

/* What the library writes: a mark, the length of OpenSSL's part, that, and a hash of all before. */
#define MARK "PCOSESS1"
#define HEAD 12
#define HASH 32

#define SESSION_MOST 16384

static pco_ssl_context *of_server[2]; /* TLS 1.2, and 1.3 */
static pco_ssl_context *of_client;
static bytes good[2];

/* Both ends, as far as they come; what the client ends with, as bytes, if it is asked for. */
static void shake(pco_ssl_context *context, const pco_ssl_session *offered, bytes *into)
{
    tls_end server;
    tls_end client;
    pco_loop *loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    client.session = offered;
    tls_end_start(&server, loop, context);
    tls_end_start_client(&client, loop, of_client, "localhost");
    tls_run_ends(&server, &client);
    if (into != NULL) {
        pco_ssl_session *session = NULL;
        *into = (bytes){.data = malloc(SESSION_MOST)};
        require(pco_transport_get_ssl_session(client.transport, &session) == 0 &&
                    pco_ssl_session_serialize(session, into->data, SESSION_MOST, &into->length) ==
                        0,
                "there is a session");
        pco_ssl_session_release(session);
    }
    pco_loop_free(loop);
    require(server.done == 1 && client.done == 1, "the end of a handshake is told once");
    require(server.protocol.violation == NULL && client.protocol.violation == NULL,
            "the protocol's grammar is kept");
    tls_end_free(&server);
    tls_end_free(&client);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)count;
    (void)arguments;
    of_client = tls_client_context();
    for (int i = 0; i < 2; i++) {
        options.maximum_version = i == 0 ? PCO_TLS_1_2 : PCO_TLS_1_3;
        of_server[i] = tls_context(&options);
        shake(of_server[i], NULL, &good[i]);
    }
    memory_watch();
    return 0;
}

/* OpenSSL's part of a good one, changed, in a frame of its own. */
static bytes changed(const bytes *from, unsigned edits, input *rest)
{
    uint8_t head[HEAD] = MARK;
    uint8_t hash[HASH];
    bytes made = bytes_of(from->data + HEAD, from->length - HEAD - HASH);
    while (edits-- != 0 && rest->length != 0) {
        bytes_edit(&made, rest);
    }
    for (size_t i = 0; i < 4; i++) {
        head[HEAD - 1 - i] = (uint8_t)(made.length >> (8 * i));
    }
    bytes_replace(&made, 0, 0, head, HEAD);
    EVP_Digest(made.data, made.length, hash, NULL, EVP_sha256(), NULL);
    bytes_replace(&made, made.length, 0, hash, HASH);
    return made;
}

/* What was read is what is written. */
static void write_again(const pco_ssl_session *session, const bytes *from)
{
    pco_ssl_session *again = NULL;
    bytes written = {.data = malloc(from->length + SESSION_MOST)};
    require(pco_ssl_session_serialize(session, written.data, from->length + SESSION_MOST,
                                      &written.length) == 0,
            "a session can be written");
    require(pco_ssl_session_parse(written.data, written.length, of_client, &again, NULL) == 0,
            "what was written can be read");
    pco_ssl_session_release(again);
    free(written.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    unsigned kind = take_byte(&from);
    unsigned version = kind & 1;
    unsigned edits = kind >> 1 & 7;
    bytes given =
        edits != 0 ? changed(&good[version], edits, &from) : bytes_of(from.data, from.length);
    pco_ssl_session *session = NULL;
    pco_error error = {.code = 0};
    int code = pco_ssl_session_parse(given.data, given.length, of_client, &session, &error);
    require((code == 0) == (session != NULL), "there is a session if and only if it succeeded");
    require(code == 0 || (error.code == code && error.message[0] != '\0'), "a failure is told");
    if (session != NULL) {
        write_again(session, &given);
        pco__ssl_session_check(session, of_client, "localhost", &error);
        shake(of_server[version], session, NULL);
        pco_ssl_session_release(session);
    }
    free(given.data);
    require(memory_pieces() == before, "all memory is given back");
    ERR_clear_error();
    return 0;
}
