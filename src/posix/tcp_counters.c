/* SPDX-License-Identifier: MIT */
/*
 * tcp_counters.c (POSIX): what the system has counted on a TCP connection. Linux' structure is the
 * kernel's own, which knows more than the C library's and cannot be had beside it: hence this file.
 */
#define _GNU_SOURCE 1

#include "posix/tcp.h"

#include <sys/types.h>

#include <sys/socket.h>

#include <netinet/in.h>
#if defined(__linux__)
#include <linux/tcp.h>
#else
#include <netinet/tcp.h>
#endif

#define MICROSECONDS 1e-6
#define MILLISECONDS 1e-3

#if defined(__linux__)

typedef struct tcp_info found;
#define QUESTION TCP_INFO
#define LEAST (offsetof(found, tcpi_bytes_retrans) + sizeof(__u64)) /* Linux 4.19 */

static void read_counters(const found *from, pco_transport_counters *counters)
{
    counters->bytes_received = from->tcpi_bytes_received;
    counters->bytes_sent = from->tcpi_bytes_sent;
    counters->bytes_retransmitted = from->tcpi_bytes_retrans;
    counters->round_trip_time = from->tcpi_rtt * MICROSECONDS;
}

#elif defined(TCP_CONNECTION_INFO)

typedef struct tcp_connection_info found;
#define QUESTION TCP_CONNECTION_INFO
#define LEAST sizeof(found)

static void read_counters(const found *from, pco_transport_counters *counters)
{
    counters->bytes_received = from->tcpi_rxbytes;
    counters->bytes_sent = from->tcpi_txbytes;
    counters->bytes_retransmitted = from->tcpi_txretransmitbytes;
    counters->round_trip_time = from->tcpi_srtt * MILLISECONDS;
}

#endif

int pco__tcp_counters(pco__backend *backend, pco_socket sock, pco_transport_counters *counters)
{
    (void)backend;
#if defined(QUESTION)
    found from;
    socklen_t length = sizeof from;

    if (getsockopt((int)sock, IPPROTO_TCP, QUESTION, &from, &length) == 0 && length >= LEAST) {
        read_counters(&from, counters);
        return 0;
    }
#else
    (void)sock;
    (void)counters;
#endif
    return PCO_ENOTSUP;
}
