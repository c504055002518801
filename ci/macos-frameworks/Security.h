/* SPDX-License-Identifier: MIT */
/*
 * Security.h: of the framework's header what posix/trust_macos.c needs, as its documentation has
 * it. For ci/macos, which has no SDK of Apple's; who has one uses that.
 */
#ifndef SECURITY_H
#define SECURITY_H

#include <CoreFoundation/CoreFoundation.h>
#include <stdbool.h>

typedef struct OpaqueSecCertificateRef *SecCertificateRef;
typedef struct OpaqueSecPolicyRef *SecPolicyRef;
typedef struct __SecTrust *SecTrustRef;

enum {
    errSecSuccess = 0,
    errSecAllocate = -108,
    errSecCreateChainFailed = -25318,
    errSecHostNameMismatch = -67602,
    errSecInvalidExtendedKeyUsage = -67609,
    errSecInvalidSignature = -67688,
    errSecCertificateExpired = -67818,
    errSecCertificateNotValidYet = -67819,
    errSecCertificateRevoked = -67820,
    errSecNotTrusted = -67843
};

enum { kSecRevocationOCSPMethod = 1, kSecRevocationCRLMethod = 2 };
enum { kSecRevocationUseAnyAvailableMethod = kSecRevocationOCSPMethod | kSecRevocationCRLMethod };

SecCertificateRef SecCertificateCreateWithData(CFAllocatorRef allocator, CFDataRef data);
CFDataRef SecCertificateCopyData(SecCertificateRef certificate);
SecPolicyRef SecPolicyCreateSSL(Boolean server, CFStringRef hostname);
SecPolicyRef SecPolicyCreateRevocation(CFOptionFlags flags);
OSStatus SecTrustCreateWithCertificates(CFTypeRef certificates, CFTypeRef policies,
                                        SecTrustRef *trust);
OSStatus SecTrustSetAnchorCertificates(SecTrustRef trust, CFArrayRef anchors);
OSStatus SecTrustSetAnchorCertificatesOnly(SecTrustRef trust, Boolean only);
OSStatus SecTrustSetOCSPResponse(SecTrustRef trust, CFTypeRef response);
OSStatus SecTrustSetVerifyDate(SecTrustRef trust, CFDateRef date);
bool SecTrustEvaluateWithError(SecTrustRef trust, CFErrorRef *error);
CFIndex SecTrustGetCertificateCount(SecTrustRef trust);
SecCertificateRef SecTrustGetCertificateAtIndex(SecTrustRef trust, CFIndex index);

#endif
