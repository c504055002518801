/* SPDX-License-Identifier: MIT */
/*
 * tcp.c (POSIX): the names that systems have for keep-alive's times and for the time that data may
 * stay unacknowledged: tcp(7) of Linux, tcp(4) of macOS, FreeBSD and NetBSD. OpenBSD has none.
 */
#define _GNU_SOURCE 1

#include "posix/tcp.h"

#include "support/error.h"

#include <sys/types.h>

#include <sys/socket.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

/* What is asked for, and how the system calls it. */
typedef struct setting {
    const char *name;
    int option; /* MISSING: the system has no such thing */
    int value;  /* 0: it is not asked for */
} setting;

#define MISSING (-1)
#define SETTINGS 4

#if defined(TCP_KEEPIDLE)
#define KEEP_IDLE TCP_KEEPIDLE
#elif defined(TCP_KEEPALIVE)
#define KEEP_IDLE TCP_KEEPALIVE /* macOS */
#else
#define KEEP_IDLE MISSING
#endif

#if defined(TCP_KEEPINTVL)
#define KEEP_INTERVAL TCP_KEEPINTVL
#else
#define KEEP_INTERVAL MISSING
#endif

#if defined(TCP_KEEPCNT)
#define KEEP_COUNT TCP_KEEPCNT
#else
#define KEEP_COUNT MISSING
#endif

/* Linux has milliseconds, the others seconds. */
#if defined(TCP_USER_TIMEOUT)
#define USER_TIMEOUT TCP_USER_TIMEOUT
#define USER_TIMEOUT_UNITS 1000
#elif defined(TCP_RXT_CONNDROPTIME)
#define USER_TIMEOUT TCP_RXT_CONNDROPTIME /* macOS */
#define USER_TIMEOUT_UNITS 1
#elif defined(TCP_MAXUNACKTIME)
#define USER_TIMEOUT TCP_MAXUNACKTIME /* FreeBSD 14 */
#define USER_TIMEOUT_UNITS 1
#else
#define USER_TIMEOUT MISSING
#define USER_TIMEOUT_UNITS 1
#endif

static void list_settings(const pco__socket_options *options, setting settings[SETTINGS])
{
    settings[0] =
        (setting){"keep_alive_idle", KEEP_IDLE, pco__whole_units(options->keep_alive_idle, 1)};
    settings[1] = (setting){"keep_alive_interval", KEEP_INTERVAL,
                            pco__whole_units(options->keep_alive_interval, 1)};
    settings[2] = (setting){"keep_alive_count", KEEP_COUNT, options->keep_alive_count};
    settings[3] = (setting){"user_timeout", USER_TIMEOUT,
                            pco__whole_units(options->user_timeout, USER_TIMEOUT_UNITS)};
}

int pco__tcp_supported(const pco__socket_options *options, pco_error *error)
{
    setting settings[SETTINGS];

    list_settings(options, settings);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (settings[i].value != 0 && settings[i].option == MISSING) {
            return pco__error_set(error, PCO_ENOTSUP, 0, "%s: not supported on this system",
                                  settings[i].name);
        }
    }
    return 0;
}

int pco__tcp_set(int descriptor, const pco__socket_options *options)
{
    setting settings[SETTINGS];
    int on = options->keep_alive == PCO_ON;

    if (options->keep_alive != PCO_DEFAULT &&
        setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) != 0) {
        return -1;
    }
    list_settings(options, settings);
    for (size_t i = 0; i < SETTINGS; i++) {
        int value = settings[i].value;
        if (value != 0 &&
            setsockopt(descriptor, IPPROTO_TCP, settings[i].option, &value, sizeof value) != 0) {
            return -1;
        }
    }
    return 0;
}
