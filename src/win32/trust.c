/* SPDX-License-Identifier: MIT */
/*
 * trust.c (Windows): the verdict of the certificate chain engine.
 *
 * The engine builds the chain, and may fetch for it what the server has not sent, roots that it
 * trusts on demand, and what was revoked. The policy for SSL then says whether the chain will do
 * for that name: its answer is in dwError, and not in what the function returns.
 */
#include "win32/win32.h"

#define CERT_CHAIN_PARA_HAS_EXTRA_FIELDS 1 /* the time limit of the network */
#include <limits.h>
#include <string.h>
#include <wincrypt.h>

#include <portico/error.h>

#include "support/buffers.h"
#include "support/memory.h"
#include "system/trust.h"

/* Between the beginning of 1601, from which Windows counts, and that of 1970. */
#define SECONDS_FROM_1601 11644473600

/*
 * The end certificate is kept in the engine's cache, since the next connection is likely to go to
 * the same server. Whether it was revoked is asked, of the staple first.
 */
#define CHAIN_FLAGS CERT_CHAIN_CACHE_END_CERT
#define REVOCATION_FLAGS                                                                           \
    (CERT_CHAIN_REVOCATION_CHECK_END_CERT | CERT_CHAIN_REVOCATION_ACCUMULATIVE_TIMEOUT)

/* All that a verdict holds; what is not there is NULL. */
typedef struct court {
    const pco__trust_question *question;
    HCERTSTORE sent;
    PCCERT_CONTEXT own;
    WCHAR *host;
    HCERTSTORE anchors;
    HCERTCHAINENGINE engine; /* which trusts the anchors alone */
    PCCERT_CHAIN_CONTEXT chain;
} court;

static bool fail(pco__trust_verdict *verdict, pco__trust_kind kind, DWORD code)
{
    bool no_memory = code == ERROR_OUTOFMEMORY || code == (DWORD)E_OUTOFMEMORY ||
                     code == ERROR_NOT_ENOUGH_MEMORY;
    verdict->kind = no_memory ? PCO__TRUST_NO_MEMORY : kind;
    verdict->system_code = (int)code;
    return false;
}

/* ---- What was sent, and what is trusted besides ---- */

static HCERTSTORE new_store(void)
{
    return CertOpenStore(CERT_STORE_PROV_MEMORY, 0, 0, CERT_STORE_DEFER_CLOSE_UNTIL_LAST_FREE_FLAG,
                         NULL);
}

static bool add(HCERTSTORE store, const pco_buffer *certificate, PCCERT_CONTEXT *added)
{
    return certificate->length <= MAXDWORD &&
           CertAddEncodedCertificateToStore(store, X509_ASN_ENCODING, certificate->data,
                                            (DWORD)certificate->length, CERT_STORE_ADD_ALWAYS,
                                            added);
}

/* What else the server has sent may be anything: what cannot be read is not needed. */
static bool take_sent(court *self, pco__trust_verdict *verdict)
{
    const pco__trust_question *question = self->question;
    self->sent = new_store();
    if (self->sent == NULL) {
        return fail(verdict, PCO__TRUST_FAILED, GetLastError());
    }
    if (!add(self->sent, &question->chain[0], &self->own)) {
        return fail(verdict, PCO__TRUST_GARBLED, GetLastError());
    }
    for (size_t i = 1; i < question->chain_count; i++) {
        add(self->sent, &question->chain[i], NULL);
    }
    return true;
}

/* A staple that the system does not take is as none: the system asks by itself. */
static void take_staple(court *self)
{
    const pco_buffer *staple = &self->question->staple;
    if (staple->length != 0 && staple->length <= MAXDWORD) {
        CRYPT_DATA_BLOB blob = {.cbData = (DWORD)staple->length,
                                .pbData = (BYTE *)(uintptr_t)staple->data};
        CertSetCertificateContextProperty(self->own, CERT_OCSP_RESPONSE_PROP_ID,
                                          CERT_SET_PROPERTY_IGNORE_PERSIST_ERROR_FLAG, &blob);
    }
}

/*
 * What Windows makes of an address is not documented, and differs between its versions: there it is
 * asked about the chain alone. OpenSSL checks names and addresses in any case.
 */
static bool take_host(court *self, pco__trust_verdict *verdict)
{
    if (self->question->host == NULL || self->question->is_address) {
        return true;
    }
    int code = pco__widen(self->question->host, &self->host);
    return code == 0 ||
           fail(verdict, code == PCO_ENOMEM ? PCO__TRUST_NO_MEMORY : PCO__TRUST_WRONG_NAME, 0);
}

/* Makes the engine that trusts the anchors, and nobody else. */
static bool take_anchors(court *self, pco__trust_verdict *verdict)
{
    self->anchors = new_store();
    if (self->anchors == NULL) {
        return fail(verdict, PCO__TRUST_FAILED, GetLastError());
    }
    for (size_t i = 0; i < self->question->anchors_count; i++) {
        if (!add(self->anchors, &self->question->anchors[i], NULL)) {
            return fail(verdict, PCO__TRUST_FAILED, GetLastError());
        }
    }
    /* As long as it was in Windows 7: its last field, of Windows 8, is not for us. */
    CERT_CHAIN_ENGINE_CONFIG config = {.cbSize =
                                           offsetof(CERT_CHAIN_ENGINE_CONFIG, dwExclusiveFlags),
                                       .hExclusiveRoot = self->anchors};
    return CertCreateCertificateChainEngine(&config, &self->engine) ||
           fail(verdict, PCO__TRUST_FAILED, GetLastError());
}

/* ---- The chain ---- */

/* NULL: now. */
static FILETIME *moment(int64_t time, FILETIME *memory)
{
    if (time == 0) {
        return NULL;
    }
    uint64_t ticks = (uint64_t)(time + SECONDS_FROM_1601) * 10000000;
    memory->dwLowDateTime = (DWORD)ticks;
    memory->dwHighDateTime = (DWORD)(ticks >> 32);
    return memory;
}

static bool build(court *self, HCERTCHAINENGINE engine, DWORD flags, pco__trust_verdict *verdict)
{
    const pco__trust_question *question = self->question;
    char server_auth[] = szOID_PKIX_KP_SERVER_AUTH;
    char *usages[] = {server_auth};
    double most = question->timeout * 1000;
    CERT_CHAIN_PARA wanted = {
        .cbSize = sizeof wanted,
        .RequestedUsage = {.dwType = USAGE_MATCH_TYPE_AND,
                           .Usage = {.cUsageIdentifier = 1, .rgpszUsageIdentifier = usages}}};
    FILETIME memory;

    /* 0 would be the system's own limit. */
    wanted.dwUrlRetrievalTimeout = most >= 1 ? (most < INT_MAX ? (DWORD)most : INT_MAX) : 1;
    return CertGetCertificateChain(engine, self->own, moment(question->time, &memory), self->sent,
                                   &wanted, flags, NULL, &self->chain) ||
           fail(verdict, PCO__TRUST_FAILED, GetLastError());
}

/* Whether it leads nowhere, or to a root that is not trusted: there the anchors may help. */
static bool leads_to_nobody(const court *self)
{
    return (self->chain->TrustStatus.dwErrorStatus &
            (CERT_TRUST_IS_PARTIAL_CHAIN | CERT_TRUST_IS_UNTRUSTED_ROOT)) != 0;
}

static void drop_chain(court *self)
{
    if (self->chain != NULL) {
        CertFreeCertificateChain(self->chain);
        self->chain = NULL;
    }
}

/* By the system's roots; and only where these do not know it, by those of the program's. */
static bool build_chain(court *self, DWORD flags, pco__trust_verdict *verdict)
{
    drop_chain(self);
    if (!build(self, NULL, flags, verdict)) {
        return false;
    }
    if (self->question->anchors_count == 0 || !leads_to_nobody(self)) {
        return true;
    }
    drop_chain(self);
    return (self->engine != NULL || take_anchors(self, verdict)) &&
           build(self, self->engine, flags, verdict);
}

/* ---- The verdict ---- */

static pco__trust_kind kind_of(DWORD code)
{
    switch (code) {
    case (DWORD)CERT_E_EXPIRED:
    case (DWORD)CERT_E_VALIDITYPERIODNESTING:
        return PCO__TRUST_EXPIRED;
    case (DWORD)CERT_E_UNTRUSTEDROOT:
    case (DWORD)CERT_E_UNTRUSTEDTESTROOT:
    case (DWORD)CERT_E_UNTRUSTEDCA:
    case (DWORD)CERT_E_CHAINING:
        return PCO__TRUST_UNKNOWN_ISSUER;
    case (DWORD)CERT_E_CN_NO_MATCH:
    case (DWORD)CERT_E_INVALID_NAME:
        return PCO__TRUST_WRONG_NAME;
    case (DWORD)CRYPT_E_REVOKED:
    case (DWORD)CERT_E_REVOKED:
        return PCO__TRUST_REVOKED;
    case (DWORD)CERT_E_WRONG_USAGE:
    case (DWORD)CERT_E_PURPOSE:
    case (DWORD)CERT_E_ROLE:
        return PCO__TRUST_WRONG_USAGE;
    case (DWORD)TRUST_E_CERT_SIGNATURE:
        return PCO__TRUST_BAD_SIGNATURE;
    default:
        return PCO__TRUST_REFUSED;
    }
}

static bool ask_policy(const court *self, pco__trust_verdict *verdict)
{
    SSL_EXTRA_CERT_CHAIN_POLICY_PARA server = {.dwAuthType = AUTHTYPE_SERVER,
                                               .pwszServerName = self->host};
    server.cbSize = sizeof server;
    CERT_CHAIN_POLICY_PARA wanted = {.cbSize = sizeof wanted,
                                     .dwFlags = CERT_CHAIN_POLICY_IGNORE_ALL_REV_UNKNOWN_FLAGS,
                                     .pvExtraPolicyPara = &server};
    CERT_CHAIN_POLICY_STATUS status = {.cbSize = sizeof status};
    if (!CertVerifyCertificateChainPolicy(CERT_CHAIN_POLICY_SSL, self->chain, &wanted, &status)) {
        return fail(verdict, PCO__TRUST_FAILED, GetLastError());
    }
    /* Not every policy (not Wine's) looks whether the chain has an end. */
    if (status.dwError == 0 && leads_to_nobody(self)) {
        return fail(verdict, PCO__TRUST_UNKNOWN_ISSUER, (DWORD)CERT_E_CHAINING);
    }
    return status.dwError == 0 || fail(verdict, kind_of(status.dwError), status.dwError);
}

/* Nobody could say whether it was revoked. */
static bool is_undecided(const pco__trust_verdict *verdict)
{
    DWORD code = (DWORD)verdict->system_code;
    return code == (DWORD)CRYPT_E_NO_REVOCATION_CHECK ||
           code == (DWORD)CRYPT_E_REVOCATION_OFFLINE || code == (DWORD)CERT_E_REVOCATION_FAILURE;
}

/*
 * That nobody could say whether it was revoked refuses nobody: whoever can cut a server off from
 * us can cut off that, too. A policy that does not ignore it, as it is told to (Wine's), says
 * nothing of what else there may be: it is asked again, of a chain for which that is not asked.
 */
static bool is_accepted(court *self, pco__trust_verdict *verdict)
{
    bool accepted =
        build_chain(self, CHAIN_FLAGS | REVOCATION_FLAGS, verdict) && ask_policy(self, verdict);
    if (!accepted && is_undecided(verdict)) {
        accepted = build_chain(self, CHAIN_FLAGS, verdict) && ask_policy(self, verdict);
    }
    return accepted;
}

/* Hands the chain over as it was built. */
static void give_chain(const court *self, pco__trust_verdict *verdict)
{
    const CERT_SIMPLE_CHAIN *simple = self->chain->rgpChain[0];
    pco_buffer *lent = pco__calloc(simple->cElement * sizeof *lent);
    if (lent != NULL) {
        for (DWORD i = 0; i < simple->cElement; i++) {
            PCCERT_CONTEXT one = simple->rgpElement[i]->pCertContext;
            lent[i] = (pco_buffer){.data = one->pbCertEncoded, .length = one->cbCertEncoded};
        }
        verdict->chain = pco__buffers_copy(lent, simple->cElement);
        pco__free(lent);
    }
    verdict->chain_count = simple->cElement;
    verdict->system_code = 0;
    verdict->kind = verdict->chain != NULL ? PCO__TRUST_GOOD : PCO__TRUST_NO_MEMORY;
}

static void close_court(court *self)
{
    drop_chain(self);
    if (self->engine != NULL) {
        CertFreeCertificateChainEngine(self->engine);
    }
    if (self->own != NULL) {
        CertFreeCertificateContext(self->own);
    }
    if (self->anchors != NULL) {
        CertCloseStore(self->anchors, 0);
    }
    if (self->sent != NULL) {
        CertCloseStore(self->sent, 0);
    }
    pco__free(self->host);
}

static void judge(const pco__trust_question *question, pco__trust_verdict *verdict)
{
    court self = {.question = question};
    memset(verdict, 0, sizeof *verdict);
    if (take_host(&self, verdict) && take_sent(&self, verdict)) {
        take_staple(&self);
        if (is_accepted(&self, verdict)) {
            give_chain(&self, verdict);
        }
    }
    close_court(&self);
}

const pco__trust pco__system_trust = {.judge = judge};
