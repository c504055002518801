/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: %s [flag]... [ADDRESS]\n"
                            "  ADDRESS   what is downloaded at once: host:port/path, or a URL;\n"
                            "            the program ends when that is done\n"
                            "  --stay    the window stays\n"
                            "  --modal   a modal box opens meanwhile\n"
                            "  --drag    Windows: the window is dragged meanwhile\n"
                            "  --help    prints this\n";

void settings_read(settings *self, char **argv)
{
    const char *program = *argv++;

    *self = (settings){.address = ""};
    for (; *argv != NULL; argv++) {
        if (strcmp(*argv, "--stay") == 0) {
            self->stay = true;
        } else if (strcmp(*argv, "--modal") == 0) {
            self->modal = true;
        } else if (strcmp(*argv, "--drag") == 0) {
            self->drag = true;
        } else if (strcmp(*argv, "--help") == 0) {
            printf(usage, program);
            exit(EXIT_SUCCESS);
        } else if (**argv == '-' || *self->address != '\0') {
            fprintf(stderr, usage, program);
            exit(EXIT_FAILURE);
        } else {
            self->address = *argv;
        }
    }
}

void report(const char *line)
{
    puts(line);
    fflush(stdout);
}

void report_half(uint64_t last, uint64_t received, int64_t length)
{
    uint64_t half = (uint64_t)(length > 0 ? length : 0) / 2;

    if (last < half && received >= half) {
        report("half");
    }
}

void report_done(const char *line, bool in_modal)
{
    printf("done%s: %s\n", in_modal ? " in modal" : "", line);
    fflush(stdout);
}
