/* SPDX-License-Identifier: MIT */
/*
 * CoreFoundation.h: of the framework's header what posix/trust_macos.c and hosts/portico_cf.c need,
 * as its documentation has it. For ci/macos, which has no SDK of Apple's; who has one uses that.
 */
#ifndef COREFOUNDATION_H
#define COREFOUNDATION_H

#include <stdint.h>

typedef const void *CFTypeRef;
typedef const struct __CFAllocator *CFAllocatorRef;
typedef const struct __CFArray *CFArrayRef;
typedef struct __CFArray *CFMutableArrayRef;
typedef const struct __CFData *CFDataRef;
typedef const struct __CFDate *CFDateRef;
typedef const struct __CFString *CFStringRef;
typedef struct __CFError *CFErrorRef;

typedef unsigned char Boolean;
typedef signed long CFIndex;
typedef unsigned long CFOptionFlags;
typedef uint32_t CFStringEncoding;
typedef int32_t OSStatus;
typedef double CFTimeInterval;
typedef CFTimeInterval CFAbsoluteTime;
typedef struct CFArrayCallBacks CFArrayCallBacks;

enum { kCFStringEncodingUTF8 = 0x08000100 };

extern const CFArrayCallBacks kCFTypeArrayCallBacks;
extern const CFTimeInterval kCFAbsoluteTimeIntervalSince1970;

void CFRelease(CFTypeRef thing);
CFMutableArrayRef CFArrayCreateMutable(CFAllocatorRef allocator, CFIndex capacity,
                                       const CFArrayCallBacks *callbacks);
void CFArrayAppendValue(CFMutableArrayRef array, const void *value);
CFDataRef CFDataCreate(CFAllocatorRef allocator, const uint8_t *bytes, CFIndex length);
const uint8_t *CFDataGetBytePtr(CFDataRef data);
CFIndex CFDataGetLength(CFDataRef data);
CFDateRef CFDateCreate(CFAllocatorRef allocator, CFAbsoluteTime at);
CFStringRef CFStringCreateWithCString(CFAllocatorRef allocator, const char *text,
                                      CFStringEncoding encoding);
CFIndex CFErrorGetCode(CFErrorRef error);

/* ---- Run loops ---- */

typedef struct __CFRunLoop *CFRunLoopRef;
typedef struct __CFRunLoopSource *CFRunLoopSourceRef;
typedef unsigned long CFHashCode;

typedef struct {
    CFIndex version;
    void *info;
    const void *(*retain)(const void *info);
    void (*release)(const void *info);
    CFStringRef (*copyDescription)(const void *info);
    Boolean (*equal)(const void *one, const void *other);
    CFHashCode (*hash)(const void *info);
    void (*schedule)(void *info, CFRunLoopRef loop, CFStringRef mode);
    void (*cancel)(void *info, CFRunLoopRef loop, CFStringRef mode);
    void (*perform)(void *info);
} CFRunLoopSourceContext;

extern const CFStringRef kCFRunLoopCommonModes;

CFTypeRef CFRetain(CFTypeRef thing);
CFRunLoopRef CFRunLoopGetCurrent(void);
void CFRunLoopAddSource(CFRunLoopRef loop, CFRunLoopSourceRef source, CFStringRef mode);
void CFRunLoopWakeUp(CFRunLoopRef loop);
CFRunLoopSourceRef CFRunLoopSourceCreate(CFAllocatorRef allocator, CFIndex order,
                                         CFRunLoopSourceContext *context);
void CFRunLoopSourceInvalidate(CFRunLoopSourceRef source);
void CFRunLoopSourceSignal(CFRunLoopSourceRef source);

#endif
