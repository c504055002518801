/* SPDX-License-Identifier: MIT */
/* behaviour_trust.c: see behaviour_trust.h. */
#include "behaviour_trust.h"

#include <time.h>

#include "support/memory.h"

#define DAY (24 * 60 * 60)

told_of_trust told;
certificate made;
pco__trust_verdict verdict;

/* ---- Whole connections ---- */

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *its)
{
    (void)protocol;
    (void)its;
    told.calls++;
    told.transport = transport;
    if (error != NULL) {
        told.error = *error;
    }
}

int connect_with(pco_ssl_context *context, const char *server_hostname)
{
    pco_address address = address_of(at.server, 0);
    pco_error error = {0};
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .host = "127.0.0.1",
                                      .port = pco_address_port(&address),
                                      .server_hostname = server_hostname,
                                      .ssl = context,
                                      .tls = context == NULL ? PCO_ON : PCO_DEFAULT};
    memset(&told, 0, sizeof told);
    if (pco_loop_create_connection(at.loop, &options, note_connected, NULL, NULL, &error) != 0) {
        fail_msg("create_connection: %s", error.message);
    }
    assert_true(reaches(&told.calls, 1));
    return told.error.code;
}

int connect_by_tls(const char *server_hostname)
{
    return connect_with(NULL, server_hostname);
}

/* ---- The verdict ---- */

pco_buffer der_of(X509 *one)
{
    unsigned char *der = NULL;
    int length = i2d_X509(one, &der);
    assert_true(length > 0);
    return (pco_buffer){.data = der, .length = (size_t)length};
}

void free_der(pco_buffer *der)
{
    OPENSSL_free((void *)(uintptr_t)der->data);
}

void ask(const certificate *own, const certificate *behind, const certificate *anchor,
         const char *host, bool is_address, int days)
{
    pco_buffer chain[2];
    pco_buffer anchors[1];
    pco__trust_question question = {.chain = chain,
                                    .host = host,
                                    .is_address = is_address,
                                    .anchors = anchors,
                                    .time = (int64_t)time(NULL) + (int64_t)days * DAY,
                                    .timeout = 5};
    chain[question.chain_count++] = der_of(own->x509);
    if (behind != NULL) {
        chain[question.chain_count++] = der_of(behind->x509);
    }
    if (anchor != NULL) {
        anchors[question.anchors_count++] = der_of(anchor->x509);
    }
    pco__free(verdict.chain);
    pco__system_trust.judge(&question, &verdict);
    for (size_t i = 0; i < question.chain_count; i++) {
        free_der(&chain[i]);
    }
    if (anchor != NULL) {
        free_der(&anchors[0]);
    }
}

void assert_verdict(pco__trust_kind kind)
{
    if (verdict.kind != kind) {
        fail_msg("verdict %d (%#x), not %d", (int)verdict.kind, (unsigned)verdict.system_code,
                 (int)kind);
    }
    assert_true((verdict.chain != NULL) == (kind == PCO__TRUST_GOOD));
}

static const struct {
    const char *shown;
    const char *asked;
    bool is_address;
} hosts[TRUST_HOSTS] = {{"DNS:example.com", "example.com", false},
                        {"IP:127.0.0.1", "127.0.0.1", true},
                        {"IP:::1", "::1", true}};

void make_server(size_t host, const char *usage, const certificate *issuer)
{
    certificate_clear(&made);
    certificate_make(
        &made,
        &(recipe){.name = "x", .alternatives = hosts[host].shown, .usage = usage, .issuer = issuer},
        NULL);
}

void ask_about(size_t host, const certificate *behind, const certificate *anchor)
{
    ask(&made, behind, anchor, hosts[host].asked, hosts[host].is_address, 0);
}

void forget_verdict(void)
{
    certificate_clear(&made);
    pco__free(verdict.chain);
    memset(&made, 0, sizeof made);
    memset(&verdict, 0, sizeof verdict);
}
