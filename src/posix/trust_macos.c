/* SPDX-License-Identifier: MIT */
/*
 * trust_macos.c: the verdict of macOS' Security framework, which knows what the user and the
 * administrator trust and distrust, and may use the network for what is missing or was revoked.
 */
#include <CoreFoundation/CoreFoundation.h>
#include <Security/Security.h>
#include <string.h>

#include "support/buffers.h"
#include "support/memory.h"
#include "system/trust.h"

/* All that a verdict holds; what is not there is NULL. */
typedef struct court {
    const pco__trust_question *question;
    CFMutableArrayRef chain;
    CFMutableArrayRef policies;
    CFMutableArrayRef anchors;
    SecTrustRef trust;
} court;

static bool fail(pco__trust_verdict *verdict, pco__trust_kind kind, long code)
{
    verdict->kind = code == errSecAllocate ? PCO__TRUST_NO_MEMORY : kind;
    verdict->system_code = (int)code;
    return false;
}

static void drop(CFTypeRef thing)
{
    if (thing != NULL) {
        CFRelease(thing);
    }
}

/* ---- What is asked ---- */

static CFMutableArrayRef new_list(pco__trust_verdict *verdict)
{
    CFMutableArrayRef list = CFArrayCreateMutable(NULL, 0, &kCFTypeArrayCallBacks);
    if (list == NULL) {
        fail(verdict, PCO__TRUST_NO_MEMORY, 0);
    }
    return list;
}

/* Appends a thing that was just made, and is the list's alone from now on. */
static bool append(CFMutableArrayRef list, CFTypeRef made)
{
    if (made == NULL) {
        return false;
    }
    CFArrayAppendValue(list, made);
    CFRelease(made);
    return true;
}

static CFDataRef data_of(const pco_buffer *bytes)
{
    return CFDataCreate(NULL, bytes->data, (CFIndex)bytes->length);
}

/* False: there is no memory, or it cannot be read. */
static bool append_certificate(CFMutableArrayRef list, const pco_buffer *bytes)
{
    CFDataRef data = data_of(bytes);
    SecCertificateRef made = data != NULL ? SecCertificateCreateWithData(NULL, data) : NULL;
    drop(data);
    return append(list, made);
}

/* What else the server has sent may be anything: what cannot be read is not needed. */
static bool take_chain(court *self, pco__trust_verdict *verdict)
{
    const pco__trust_question *question = self->question;
    self->chain = new_list(verdict);
    if (self->chain == NULL) {
        return false;
    }
    if (!append_certificate(self->chain, &question->chain[0])) {
        return fail(verdict, PCO__TRUST_GARBLED, 0);
    }
    for (size_t i = 1; i < question->chain_count; i++) {
        append_certificate(self->chain, &question->chain[i]);
    }
    return true;
}

/* That nobody could say whether it was revoked refuses nobody. */
static bool take_policies(court *self, pco__trust_verdict *verdict)
{
    const char *host = self->question->host;
    CFStringRef name = NULL;
    self->policies = new_list(verdict);
    if (self->policies == NULL) {
        return false;
    }
    if (host != NULL) {
        name = CFStringCreateWithCString(NULL, host, kCFStringEncodingUTF8);
        if (name == NULL) {
            return fail(verdict, PCO__TRUST_WRONG_NAME, 0);
        }
    }
    bool taken =
        append(self->policies, SecPolicyCreateSSL(true, name)) &&
        append(self->policies, SecPolicyCreateRevocation(kSecRevocationUseAnyAvailableMethod));
    drop(name);
    return taken || fail(verdict, PCO__TRUST_NO_MEMORY, 0);
}

static bool take_anchors(court *self, pco__trust_verdict *verdict)
{
    const pco__trust_question *question = self->question;
    if (question->anchors_count == 0) {
        return true;
    }
    self->anchors = new_list(verdict);
    if (self->anchors == NULL) {
        return false;
    }
    for (size_t i = 0; i < question->anchors_count; i++) {
        if (!append_certificate(self->anchors, &question->anchors[i])) {
            return fail(verdict, PCO__TRUST_FAILED, 0);
        }
    }

    /* The first call alone would have the system's own count no more. */
    OSStatus code = SecTrustSetAnchorCertificates(self->trust, self->anchors);
    if (code == errSecSuccess) {
        code = SecTrustSetAnchorCertificatesOnly(self->trust, false);
    }
    return code == errSecSuccess || fail(verdict, PCO__TRUST_FAILED, code);
}

/* A staple that the system does not take is as none: the system asks by itself. */
static void take_staple(court *self)
{
    const pco_buffer *staple = &self->question->staple;
    CFDataRef data = staple->length != 0 ? data_of(staple) : NULL;
    if (data != NULL) {
        SecTrustSetOCSPResponse(self->trust, data);
        CFRelease(data);
    }
}

static bool take_time(court *self, pco__trust_verdict *verdict)
{
    if (self->question->time == 0) {
        return true;
    }
    CFDateRef date =
        CFDateCreate(NULL, (CFAbsoluteTime)self->question->time - kCFAbsoluteTimeIntervalSince1970);
    if (date == NULL) {
        return fail(verdict, PCO__TRUST_NO_MEMORY, 0);
    }
    OSStatus code = SecTrustSetVerifyDate(self->trust, date);
    CFRelease(date);
    return code == errSecSuccess || fail(verdict, PCO__TRUST_FAILED, code);
}

static bool open_court(court *self, pco__trust_verdict *verdict)
{
    if (!take_chain(self, verdict) || !take_policies(self, verdict)) {
        return false;
    }
    OSStatus code = SecTrustCreateWithCertificates(self->chain, self->policies, &self->trust);
    if (code != errSecSuccess) {
        return fail(verdict, PCO__TRUST_FAILED, code);
    }
    take_staple(self);
    return take_anchors(self, verdict) && take_time(self, verdict);
}

/* ---- The verdict ---- */

static pco__trust_kind kind_of(long code)
{
    switch (code) {
    case errSecCertificateExpired:
    case errSecCertificateNotValidYet:
        return PCO__TRUST_EXPIRED;
    case errSecNotTrusted:
    case errSecCreateChainFailed:
        return PCO__TRUST_UNKNOWN_ISSUER;
    case errSecHostNameMismatch:
        return PCO__TRUST_WRONG_NAME;
    case errSecCertificateRevoked:
        return PCO__TRUST_REVOKED;
    case errSecInvalidExtendedKeyUsage:
        return PCO__TRUST_WRONG_USAGE;
    case errSecInvalidSignature:
        return PCO__TRUST_BAD_SIGNATURE;
    default:
        return PCO__TRUST_REFUSED;
    }
}

static bool evaluate(const court *self, pco__trust_verdict *verdict)
{
    CFErrorRef error = NULL;
    if (SecTrustEvaluateWithError(self->trust, &error)) {
        return true;
    }
    long code = error != NULL ? CFErrorGetCode(error) : 0;
    drop(error);
    return fail(verdict, kind_of(code), code);
}

/* Its successor copies the whole chain, but is of macOS 12. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
static SecCertificateRef certificate_at(SecTrustRef trust, CFIndex index)
{
    return SecTrustGetCertificateAtIndex(trust, index);
}
#pragma clang diagnostic pop

/* Hands the chain over as it was built. */
static void give_chain(const court *self, pco__trust_verdict *verdict)
{
    size_t count = (size_t)SecTrustGetCertificateCount(self->trust);
    CFDataRef *data = pco__calloc((count + 1) * sizeof *data);
    pco_buffer *lent = pco__calloc((count + 1) * sizeof *lent);
    bool whole = data != NULL && lent != NULL;
    for (size_t i = 0; whole && i < count; i++) {
        data[i] = SecCertificateCopyData(certificate_at(self->trust, (CFIndex)i));
        whole = data[i] != NULL;
        if (whole) {
            lent[i] = (pco_buffer){.data = CFDataGetBytePtr(data[i]),
                                   .length = (size_t)CFDataGetLength(data[i])};
        }
    }
    verdict->chain = whole ? pco__buffers_copy(lent, count) : NULL;
    verdict->chain_count = count;
    verdict->kind = verdict->chain != NULL ? PCO__TRUST_GOOD : PCO__TRUST_NO_MEMORY;
    for (size_t i = 0; data != NULL && i < count; i++) {
        drop(data[i]);
    }
    pco__free(data);
    pco__free(lent);
}

static void judge(const pco__trust_question *question, pco__trust_verdict *verdict)
{
    court self = {.question = question};
    memset(verdict, 0, sizeof *verdict);
    if (open_court(&self, verdict) && evaluate(&self, verdict)) {
        give_chain(&self, verdict);
    }
    drop(self.trust);
    drop(self.anchors);
    drop(self.policies);
    drop(self.chain);
}

const pco__trust pco__system_trust = {.judge = judge};
