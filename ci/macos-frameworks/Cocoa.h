/* SPDX-License-Identifier: MIT */
/*
 * Cocoa.h: of the framework's headers what hosts/host_cocoa.m needs, as their documentation has it.
 * For ci/macos, which has no SDK of Apple's; who has one uses that.
 */
#ifndef COCOA_H
#define COCOA_H

#include <objc/NSObject.h>

typedef double CGFloat;

typedef struct NSPoint {
    CGFloat x, y;
} NSPoint;

typedef struct NSRect {
    NSPoint origin;
    struct {
        CGFloat width, height;
    } size;
} NSRect;

static const NSPoint NSZeroPoint = {0, 0};

static inline NSRect NSMakeRect(CGFloat x, CGFloat y, CGFloat width, CGFloat height)
{
    NSRect rect = {{x, y}, {width, height}};

    return rect;
}

/* ---- Foundation ---- */

@class NSNotification, NSGraphicsContext;

@interface NSString : NSObject
+ (instancetype)stringWithUTF8String:(const char *)text;
+ (instancetype)stringWithFormat:(NSString *)format, ...;
@property(readonly) const char *UTF8String;
@end

@interface NSArray : NSObject
+ (instancetype)arrayWithObject:(id)object;
@end

@interface NSObject (NSDelayedPerforming)
- (void)performSelector:(SEL)selector withObject:(id)object afterDelay:(double)seconds;
- (void)performSelector:(SEL)selector
             withObject:(id)object
             afterDelay:(double)seconds
                inModes:(NSArray *)modes;
@end

/* ---- AppKit ---- */

enum { NSEventTypeApplicationDefined = 15 };
enum { NSWindowStyleMaskTitled = 1, NSWindowStyleMaskClosable = 2 };
enum { NSBackingStoreBuffered = 2 };
enum { NSApplicationActivationPolicyRegular = 0 };

@interface NSEvent : NSObject
+ (NSEvent *)otherEventWithType:(NSUInteger)type
                       location:(NSPoint)location
                  modifierFlags:(NSUInteger)flags
                      timestamp:(double)time
                   windowNumber:(NSInteger)window
                        context:(NSGraphicsContext *)context
                        subtype:(short)subtype
                          data1:(NSInteger)data1
                          data2:(NSInteger)data2;
@end

@interface NSApplication : NSObject
+ (NSApplication *)sharedApplication;
- (BOOL)setActivationPolicy:(NSInteger)policy;
- (void)run;
- (void)stop:(id)sender;
- (void)stopModal;
- (void)postEvent:(NSEvent *)event atStart:(BOOL)first;
@end

extern NSApplication *NSApp;
extern NSString *const NSModalPanelRunLoopMode;

@interface NSView : NSObject
@property NSRect frame;
- (void)addSubview:(NSView *)view;
@end

@protocol NSWindowDelegate <NSObject>
@optional
- (void)windowWillClose:(NSNotification *)notification;
@end

@interface NSWindow : NSObject
@property(copy) NSString *title;
@property(strong) NSView *contentView;
@property(weak) id<NSWindowDelegate> delegate;
@property BOOL releasedWhenClosed;
- (instancetype)initWithContentRect:(NSRect)rect
                          styleMask:(NSUInteger)style
                            backing:(NSUInteger)store
                              defer:(BOOL)defer;
- (void)makeKeyAndOrderFront:(id)sender;
- (void)close;
@end

@interface NSTextField : NSView
@property(copy) NSString *stringValue;
+ (instancetype)textFieldWithString:(NSString *)text;
+ (instancetype)labelWithString:(NSString *)text;
+ (instancetype)wrappingLabelWithString:(NSString *)text;
@end

@interface NSButton : NSView
@property(copy) NSString *title;
@property(copy) NSString *keyEquivalent;
+ (instancetype)buttonWithTitle:(NSString *)title target:(id)target action:(SEL)action;
@end

@interface NSProgressIndicator : NSView
@property BOOL indeterminate;
@property double maxValue;
@property double doubleValue;
@end

@interface NSAlert : NSObject
@property(copy) NSString *messageText;
- (NSInteger)runModal;
@end

#endif
