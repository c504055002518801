/* SPDX-License-Identifier: MIT */
/*
 * tcp.c (Windows): keep-alive's times, the time that data may stay unacknowledged, and what TCP has
 * counted. Each version of Windows 10 has other means, and Wine has few: whether there are any is
 * found out by trying.
 */
#include "win32/tcp.h"

#include "support/error.h"
#include "system/platform.h"

/* Options of IPPROTO_TCP, which older SDKs and mingw-w64 lack. */
#define KEEP_IDLE 3            /* TCP_KEEPIDLE, seconds */
#define MAXIMUM_SECONDS 5      /* TCP_MAXRT */
#define MAXIMUM_MS 14          /* TCP_MAXRTMS */
#define KEEP_COUNT 16          /* TCP_KEEPCNT */
#define KEEP_INTERVAL 17       /* TCP_KEEPINTVL, seconds */
#define KEEP_TIMES_SINCE 16299 /* the build, version 1709, that has KEEP_IDLE and KEEP_INTERVAL */

/* What the system does unless told: "SIO_KEEPALIVE_VALS Control Code". In seconds. */
#define USUAL_IDLE 7200.0
#define USUAL_INTERVAL 1.0

static bool set_tcp(SOCKET sock, int option, int value)
{
    return setsockopt(sock, IPPROTO_TCP, option, (const char *)&value, sizeof value) == 0;
}

/* The older means sets both times, and none alone. */
static bool set_both_times(SOCKET sock, double idle, double interval)
{
    struct tcp_keepalive times = {
        .onoff = 1,
        .keepalivetime = (ULONG)pco__whole_units(idle > 0 ? idle : USUAL_IDLE, 1000),
        .keepaliveinterval =
            (ULONG)pco__whole_units(interval > 0 ? interval : USUAL_INTERVAL, 1000),
    };
    DWORD length = 0;
    return WSAIoctl(sock, SIO_KEEPALIVE_VALS, &times, sizeof times, NULL, 0, &length, NULL, NULL) ==
           0;
}

static bool set_times(SOCKET sock, double idle, double interval)
{
    bool set = pco__windows_build() >= KEEP_TIMES_SINCE &&
               (idle <= 0 || set_tcp(sock, KEEP_IDLE, pco__whole_units(idle, 1))) &&
               (interval <= 0 || set_tcp(sock, KEEP_INTERVAL, pco__whole_units(interval, 1)));
    return set || set_both_times(sock, idle, interval);
}

bool pco__tcp_set(SOCKET sock, const pco__socket_options *options)
{
    double idle = options->keep_alive_idle;
    double interval = options->keep_alive_interval;
    double most = options->user_timeout;
    BOOL on = options->keep_alive == PCO_ON;
    if (options->keep_alive != PCO_DEFAULT &&
        setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, (const char *)&on, sizeof on) != 0) {
        return false;
    }
    if ((idle > 0 || interval > 0) && !set_times(sock, idle, interval)) {
        return false;
    }
    if (options->keep_alive_count != 0 && !set_tcp(sock, KEEP_COUNT, options->keep_alive_count)) {
        return false;
    }
    return most <= 0 || set_tcp(sock, MAXIMUM_MS, pco__whole_units(most, 1000)) ||
           set_tcp(sock, MAXIMUM_SECONDS, pco__whole_units(most, 1));
}

/* One of the options alone, by its name. */
typedef struct single {
    const char *name;
    pco__socket_options options;
} single;

static int try_each(SOCKET sock, const pco__socket_options *options, pco_error *error)
{
    const single singles[] = {
        {"keep_alive_idle", {.keep_alive_idle = options->keep_alive_idle}},
        {"keep_alive_interval", {.keep_alive_interval = options->keep_alive_interval}},
        {"keep_alive_count", {.keep_alive_count = options->keep_alive_count}},
        {"user_timeout", {.user_timeout = options->user_timeout}},
    };
    for (size_t i = 0; i < sizeof singles / sizeof singles[0]; ++i) {
        if (!pco__tcp_set(sock, &singles[i].options)) {
            return pco__error_set(error, PCO_ENOTSUP, WSAGetLastError(),
                                  "%s: not supported by this version of Windows", singles[i].name);
        }
    }
    return 0;
}

int pco__tcp_supported(const pco__socket_options *options, pco_error *error)
{
    if (!pco__socket_options_are_tcps(options)) {
        return 0;
    }
    int system_code = pco__winsock_start();
    SOCKET sock = INVALID_SOCKET;
    if (system_code == 0) {
        sock = pco__winsock_open(AF_INET, IPPROTO_TCP);
        if (sock == INVALID_SOCKET) {
            sock = pco__winsock_open(AF_INET6, IPPROTO_TCP);
        }
        system_code = sock == INVALID_SOCKET ? WSAGetLastError() : 0;
    }
    if (system_code != 0) {
        return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                   "find out what TCP can do");
    }
    int code = try_each(sock, options, error);
    closesocket(sock);
    return code;
}

/* Since Windows 10 1703; not in Wine 8 ("TCP_INFO_v0 structure"). */
int pco__tcp_counters(pco__backend *backend, pco_socket sock, pco_transport_counters *counters)
{
    (void)backend;
    TCP_INFO_v0 found = {0};
    DWORD version = 0;
    DWORD length = 0;
    if (WSAIoctl((SOCKET)sock, SIO_TCP_INFO, &version, sizeof version, &found, sizeof found,
                 &length, NULL, NULL) != 0 ||
        length < sizeof found) {
        return PCO_ENOTSUP;
    }
    counters->bytes_received = found.BytesIn;
    counters->bytes_sent = found.BytesOut;
    counters->bytes_retransmitted = found.BytesRetrans;
    counters->round_trip_time = found.RttUs * 1e-6;
    return 0;
}
