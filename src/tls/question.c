/* SPDX-License-Identifier: MIT */
/*
 * question.c: the system's verdict on a server's certificate.
 *
 * The system may ask the network, so it is asked on a thread, and has only so much time. Meanwhile
 * the handshake is suspended; it may end for any other reason, and then leaves the thread behind.
 */
#include "tls/verdict.h"

#include <openssl/x509v3.h>
#include <stdio.h>

#include <portico/address.h>

#include "loop/lanes.h"
#include "support/buffers.h"
#include "support/memory.h"
#include "tls/connection.h"

struct pco__ssl_question {
    pco__job job;
    pco__timer limit;
    pco__ssl *ssl; /* who waits for the answer; NULL: nobody does any more */
    const pco__trust *trust;
    pco__trust_question asked; /* of copies: */
    pco_buffer *chain;
    pco_buffer *anchors;
    pco_buffer *staple;
    char *host;
    pco__trust_verdict answer;
};

static struct pco__ssl_question *of_job(pco__job *job)
{
    return PCO__CONTAINER(job, struct pco__ssl_question, job);
}

/* ---- On a thread ---- */

static void work(pco__job *job)
{
    struct pco__ssl_question *own = of_job(job);
    own->trust->judge(&own->asked, &own->answer);
}

static void free_question(struct pco__ssl_question *own)
{
    pco__free(own->answer.chain);
    pco__free(own->chain);
    pco__free(own->anchors);
    pco__free(own->staple);
    pco__free(own->host);
    pco__free(own);
}

static void discard(pco__job *job)
{
    free_question(of_job(job));
}

/* ---- On the loop's thread ---- */

/* The question is nobody's from now on. Returns who has waited. */
static pco__ssl *release(struct pco__ssl_question *own)
{
    pco__ssl *ssl = own->ssl;
    pco__loop_stop_timer(ssl->shared->loop, &own->limit);
    ssl->handshake->verdict.question = NULL;
    own->ssl = NULL;
    return ssl;
}

/* A loop that is freed cancels it before the connection has ended. */
static void answered(pco__job *job, bool canceled)
{
    struct pco__ssl_question *own = of_job(job);
    if (own->ssl == NULL) {
        return;
    }
    pco__ssl *ssl = release(own);
    if (!canceled) {
        ssl->handshake->verdict.answer = own->answer;
        ssl->handshake->verdict.state = PCO__SSL_VERDICT_GIVEN;
        own->answer.chain = NULL;
        pco__ssl_go_on(ssl);
    }
}

static void give_up(struct pco__ssl_question *own)
{
    pco__ssl *ssl = release(own);
    pco__job_cancel(ssl->shared->loop, &own->job);
}

static void limit_is_over(pco__timer *timer)
{
    struct pco__ssl_question *own = PCO__CONTAINER(timer, struct pco__ssl_question, limit);
    pco__ssl *ssl = own->ssl;
    give_up(own);
    ssl->handshake->verdict.state = PCO__SSL_VERDICT_LATE;
    pco__ssl_go_on(ssl);
}

void pco__ssl_verdict_drop(pco__ssl *ssl)
{
    pco__ssl_verdict *verdict = &ssl->handshake->verdict;
    if (verdict->question != NULL) {
        give_up(verdict->question);
    }
    pco__free(verdict->answer.chain);
    pco__free(verdict->refusal);
}

/* ---- The question ---- */

/* OpenSSL has an address in a form of its own. */
static void print_address(const char *address, char *host)
{
    pco_address parsed;
    if (pco_address_parse(address, 0, &parsed) != 0 ||
        pco_address_host(&parsed, host, PCO__SSL_HOST_SIZE) != 0) {
        snprintf(host, PCO__SSL_HOST_SIZE, "%s", address);
    }
}

bool pco__ssl_wanted_host(const SSL *engine, char *host, bool *is_address)
{
    X509_VERIFY_PARAM *param = SSL_get0_param((SSL *)(uintptr_t)engine);
    const char *name = X509_VERIFY_PARAM_get0_host(param, 0);
    char *address = name == NULL ? X509_VERIFY_PARAM_get1_ip_asc(param) : NULL;
    *is_address = address != NULL;
    if (name != NULL) {
        snprintf(host, PCO__SSL_HOST_SIZE, "%s", name);
    } else if (address != NULL) {
        print_address(address, host);
    }
    OPENSSL_free(address);
    return name != NULL || *is_address;
}

pco_buffer *pco__ssl_encode(const STACK_OF(X509) * certificates)
{
    int count = sk_X509_num(certificates);
    count = count > 0 ? count : 0;
    size_t size = ((size_t)count + 1) * sizeof(pco_buffer);
    for (int i = 0; i < count; i++) {
        int length = i2d_X509(sk_X509_value(certificates, i), NULL);
        if (length < 0) {
            return NULL;
        }
        size += (size_t)length;
    }
    pco_buffer *list = pco__calloc(size);
    if (list == NULL) {
        return NULL;
    }
    unsigned char *to = (unsigned char *)(list + count + 1);
    for (int i = 0; i < count; i++) {
        list[i].data = to;
        list[i].length = (size_t)i2d_X509(sk_X509_value(certificates, i), &to);
    }
    return list;
}

/*
 * Whom the program trusts besides is in the context's store, which other threads may be adding to:
 * that is where OpenSSL keeps what it has found in folders.
 */
static int take_anchors(struct pco__ssl_question *own, SSL *engine)
{
    X509_STORE *store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(engine));
    STACK_OF(X509) *anchors = X509_STORE_get1_all_certs(store);
    if (anchors == NULL) {
        return PCO_ENOMEM;
    }
    own->anchors = pco__ssl_encode(anchors);
    own->asked.anchors = own->anchors;
    own->asked.anchors_count = (size_t)sk_X509_num(anchors);
    sk_X509_pop_free(anchors, X509_free);
    return own->anchors != NULL ? 0 : PCO_ENOMEM;
}

static int take_staple(struct pco__ssl_question *own, SSL *engine)
{
    const unsigned char *data = NULL;
    long length = SSL_get_tlsext_status_ocsp_resp(engine, &data);
    if (length <= 0) {
        return 0;
    }
    pco_buffer staple = {.data = data, .length = (size_t)length};
    own->staple = pco__buffers_copy(&staple, 1);
    if (own->staple == NULL) {
        return PCO_ENOMEM;
    }
    own->asked.staple = own->staple[0];
    return 0;
}

static int take_host(struct pco__ssl_question *own, const SSL *engine)
{
    char host[PCO__SSL_HOST_SIZE];
    if (!pco__ssl_wanted_host(engine, host, &own->asked.is_address)) {
        return 0;
    }
    own->host = pco__strdup(host);
    own->asked.host = own->host;
    return own->host != NULL ? 0 : PCO_ENOMEM;
}

static int fill(struct pco__ssl_question *own, SSL *engine, const STACK_OF(X509) * sent)
{
    own->chain = pco__ssl_encode(sent);
    own->asked.chain = own->chain;
    own->asked.chain_count = (size_t)sk_X509_num(sent);
    int code = own->chain != NULL ? 0 : PCO_ENOMEM;
    if (code == 0) {
        code = take_anchors(own, engine);
    }
    if (code == 0) {
        code = take_staple(own, engine);
    }
    if (code == 0) {
        code = take_host(own, engine);
    }
    return code;
}

int pco__ssl_verdict_ask(pco__ssl *ssl, X509_STORE_CTX *store)
{
    pco_loop *loop = ssl->shared->loop;
    double seconds = ssl->handshake->setup->verdict_timeout;
    struct pco__ssl_question *own = pco__calloc(sizeof *own);
    if (own == NULL) {
        return PCO_ENOMEM;
    }
    own->trust = ssl->shared->trust;
    own->asked.timeout = seconds;
    own->limit.fire = limit_is_over;
    own->job.work = work;
    own->job.done = answered;
    own->job.discard = discard;
    int code = fill(own, ssl->engine, X509_STORE_CTX_get0_untrusted(store));
    if (code == 0) {
        code = pco__lanes_submit(loop, PCO__LANE_VERDICTS, &own->job, NULL);
    }
    if (code != 0) {
        free_question(own);
        return code;
    }
    own->ssl = ssl;
    ssl->handshake->verdict.question = own;
    ssl->handshake->verdict.state = PCO__SSL_VERDICT_ASKED;
    pco__loop_start_timer(loop, &own->limit, seconds);
    return 0;
}
