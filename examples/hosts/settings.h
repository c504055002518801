/* SPDX-License-Identifier: MIT */
/*
 * settings.h: what the programs of this folder are told on their command lines, and the lines that
 * they print, by which a script can follow them:
 *
 *     ready              the window is there
 *     modal              the modal box of --modal is open, or the drag of --drag has begun
 *     half               half of the answer is there, and shown
 *     done: LINE         a download has ended: LINE is what the window says
 *     done in modal: LINE    the same, while that box was open, or the window was dragged
 */
#ifndef HOSTS_SETTINGS_H
#define HOSTS_SETTINGS_H

#include "download.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct settings {
    const char *address; /* what is downloaded at once; "": the user will say */
    bool stay;           /* the window stays when that is done */
    bool modal;          /* a modal box opens meanwhile */
    bool drag;           /* Windows: the window is dragged meanwhile */
} settings;

/* Ends the program if it was asked for help, or for what it does not understand. */
void settings_read(settings *self, char **argv);

/* Prints a line, and at once. */
void report(const char *line);

/* Of progress, once for each download: `last` is what came before, 0 at first. */
void report_half(uint64_t last, uint64_t received, int64_t length);

void report_done(const char *line, bool in_modal);

#ifdef __cplusplus
}
#endif

#endif
