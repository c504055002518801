/* SPDX-License-Identifier: MIT */
/*
 * host_cocoa.m: a window of Cocoa that downloads over a loop which the run loop of the application
 * runs, while modal windows are open and something is dragged, too.
 *
 *     host_cocoa                                 the user types an address
 *     host_cocoa --stay 127.0.0.1:8080/a.iso     it begins with this one
 *     host_cocoa --modal 127.0.0.1:8080/a.iso    with an alert meanwhile
 *
 * All about the network is in download.c, all about the loop in portico_cf.c. What the user does
 * comes by actions, what the network does by the listener's callbacks, all of it on the main
 * thread: so neither needs a lock, and each may call the other.
 */
#include "download.h"
#include "portico_cf.h"
#include "settings.h"

#import <Cocoa/Cocoa.h>
#include <stdio.h>
#include <stdlib.h>

@interface Downloader : NSObject <NSWindowDelegate>
- (instancetype)initWithLoop:(pco_loop *)hosted settings:(settings)read;
- (void)begin;
- (void)progressed:(uint64_t)soFar of:(int64_t)length;
- (void)ended:(const download_end *)end;
@end

static void progressed(uint64_t received, int64_t length, void *context)
{
    [(__bridge Downloader *)context progressed:received of:length];
}

static void ended(const download_end *end, void *context)
{
    [(__bridge Downloader *)context ended:end];
}

/* What was asked of NSApp from outside of an event counts once there is one. */
static void post_empty_event(void)
{
    [NSApp postEvent:[NSEvent otherEventWithType:NSEventTypeApplicationDefined
                                        location:NSZeroPoint
                                   modifierFlags:0
                                       timestamp:0
                                    windowNumber:0
                                         context:nil
                                         subtype:0
                                           data1:0
                                           data2:0]
             atStart:YES];
}

@implementation Downloader {
    pco_loop *loop;
    settings told;
    download *current; /* NULL: none is under way */
    uint64_t received;
    BOOL inModal; /* the alert of --modal is open */
    NSWindow *window;
    NSTextField *address;
    NSButton *button;
    NSProgressIndicator *bar;
    NSTextField *line;
    NSTextField *answer;
}

/* ---- The window ---- */

- (void)add:(NSView *)view x:(CGFloat)x y:(CGFloat)y width:(CGFloat)width height:(CGFloat)height
{
    view.frame = NSMakeRect(x, y, width, height);
    [window.contentView addSubview:view];
}

- (instancetype)initWithLoop:(pco_loop *)hosted settings:(settings)read
{
    self = [super init];
    loop = hosted;
    told = read;
    window =
        [[NSWindow alloc] initWithContentRect:NSMakeRect(100, 100, 480, 320)
                                    styleMask:NSWindowStyleMaskTitled | NSWindowStyleMaskClosable
                                      backing:NSBackingStoreBuffered
                                        defer:NO];
    window.releasedWhenClosed = NO;
    window.title = @"Portico in Cocoa";
    window.delegate = self;

    address = [NSTextField textFieldWithString:@(told.address)];
    button = [NSButton buttonWithTitle:@"Download" target:self action:@selector(beginOrCancel:)];
    button.keyEquivalent = @"\r";
    bar = [[NSProgressIndicator alloc] init];
    bar.indeterminate = NO;
    bar.maxValue = 1;
    line = [NSTextField labelWithString:@"An address, such as localhost:8080/page"];
    answer = [NSTextField wrappingLabelWithString:@""];
    [self add:address x:8 y:284 width:352 height:24];
    [self add:button x:366 y:280 width:110 height:32];
    [self add:bar x:8 y:252 width:464 height:20];
    [self add:line x:8 y:228 width:464 height:18];
    [self add:answer x:8 y:8 width:464 height:212];
    [window makeKeyAndOrderFront:nil];
    return self;
}

- (void)beginOrCancel:(id)sender
{
    if (current == NULL) {
        [self begin];
    } else {
        download_cancel(current);
    }
}

- (void)windowWillClose:(NSNotification *)notification
{
    [NSApp stop:nil];
    post_empty_event();
}

/* Inside of runModal the run loop goes on in another mode, one of the common ones. */
- (void)openAlert
{
    NSAlert *alert = [[NSAlert alloc] init];

    alert.messageText = @"The download goes on.";
    [self performSelector:@selector(modalBegun)
               withObject:nil
               afterDelay:0
                  inModes:[NSArray arrayWithObject:NSModalPanelRunLoopMode]];
    [alert runModal];
    inModal = NO;
}

- (void)modalBegun
{
    inModal = YES;
    report("modal");
}

/* ---- The download ---- */

- (void)begin
{
    download_listener listener = {
        .progressed = progressed, .ended = ended, .context = (__bridge void *)self};
    pco_error error;

    received = 0;
    bar.doubleValue = 0;
    answer.stringValue = @"";
    current = download_begin(loop, address.stringValue.UTF8String, &listener, &error);
    if (current == NULL) {
        line.stringValue = @(error.message);
        report_done(error.message, false);
        return;
    }
    button.title = @"Cancel";
    line.stringValue = @"asking";
    if (told.modal) {
        [self performSelector:@selector(openAlert) withObject:nil afterDelay:0];
    }
}

- (void)progressed:(uint64_t)soFar of:(int64_t)length
{
    line.stringValue = [NSString stringWithFormat:@"%.1f kB", (double)soFar / 1000];
    if (length > 0) {
        bar.doubleValue = (double)soFar / (double)length;
    }
    report_half(received, soFar, length);
    received = soFar;
}

- (void)ended:(const download_end *)end
{
    char text[DOWNLOAD_LINE_SIZE];

    current = NULL;
    download_describe(end, text);
    line.stringValue = @(text);
    answer.stringValue = @(end->start);
    button.title = @"Download";
    report_done(text, inModal);
    if (*told.address != '\0' && !told.stay) {
        if (inModal) {
            [NSApp stopModal];
            post_empty_event();
        }
        [window performSelector:@selector(close) withObject:nil afterDelay:0];
    }
}

@end

/* ---- The program ---- */

static int run(pco_loop *loop, settings told)
{
    portico_cf *host = NULL;
    pco_error error;
    int code = portico_cf_new(loop, &host, &error);

    if (code != 0) {
        fprintf(stderr, "host_cocoa: %s\n", error.message);
        pco_loop_free(loop);
        return EXIT_FAILURE;
    }
    [NSApplication sharedApplication];
    [NSApp setActivationPolicy:NSApplicationActivationPolicyRegular];

    Downloader *downloader = [[Downloader alloc] initWithLoop:loop settings:told];

    report("ready");
    if (*told.address != '\0') {
        [downloader begin];
    }
    [NSApp run];

    portico_cf_free(host);
    pco_loop_free(loop); /* a download that is under way ends, and says so in the window */
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    settings told;
    pco_loop *loop = NULL;
    pco_error error;

    (void)argc;
    settings_read(&told, argv);
    if (pco_loop_new(NULL, &loop, &error) != 0) {
        fprintf(stderr, "host_cocoa: %s\n", error.message);
        return EXIT_FAILURE;
    }
    @autoreleasepool {
        return run(loop, told);
    }
}
