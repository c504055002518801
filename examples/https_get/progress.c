/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#include <io.h>
#define STDERR_IS_A_TERMINAL (_isatty(_fileno(stderr)) != 0)
#define STDOUT_IS_A_TERMINAL (_isatty(_fileno(stdout)) != 0)
#else
#include <unistd.h>
#define STDERR_IS_A_TERMINAL (isatty(STDERR_FILENO) != 0)
#define STDOUT_IS_A_TERMINAL (isatty(STDOUT_FILENO) != 0)
#endif

#define BAR_WIDTH 30

bool progress_has_place(bool body_to_stdout)
{
    return STDERR_IS_A_TERMINAL && !(body_to_stdout && STDOUT_IS_A_TERMINAL);
}

/* "12.3 MiB" */
static void format_size(double bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (bytes >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, size, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

/* "4 s", "1:05", "2:01:05" */
static void format_time(double seconds, char *text, size_t size)
{
    int s = seconds < 360000 ? (int)(seconds + 0.5) : 360000;

    if (s < 60) {
        snprintf(text, size, "%d s", s);
    } else if (s < 3600) {
        snprintf(text, size, "%d:%02d", s / 60, s % 60);
    } else {
        snprintf(text, size, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    }
}

void progress_draw(uint64_t received, int64_t total, double seconds)
{
    double part = total > 0 ? (double)received / (double)total : total == 0;
    double rate = seconds > 0 ? (double)received / seconds : 0;
    char had[32], all[32], speed[32], left[32] = "";
    char bar[BAR_WIDTH + 1];

    format_size((double)received, had, sizeof had);
    format_size(rate, speed, sizeof speed);
    if (total < 0) {
        fprintf(stderr, "\r%s, %s/s%20s", had, speed, "");
        fflush(stderr);
        return;
    }

    int filled = (int)(part * BAR_WIDTH);
    memset(bar, '-', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    format_size((double)total, all, sizeof all);
    if (rate > 0 && part < 1) {
        format_time(((double)total - (double)received) / rate, left, sizeof left);
    }
    fprintf(stderr, "\r%3.0f%% %s %s of %s, %s/s %-10s", part * 100, bar, had, all, speed, left);
    fflush(stderr);
}

void progress_end(void)
{
    fprintf(stderr, "\n");
}
