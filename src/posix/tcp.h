/* SPDX-License-Identifier: MIT */
/*
 * tcp.h (POSIX): what a program may wish of the system's TCP, one socket at a time.
 */
#ifndef PCO_POSIX_TCP_H
#define PCO_POSIX_TCP_H

#include "system/network.h"

/* As pco__network.socket_options_supported. */
int pco__tcp_supported(const pco__socket_options *options, pco_error *error);

/* Sets what the options ask for. -1 and errno. */
int pco__tcp_set(int descriptor, const pco__socket_options *options);

/* As pco__network.counters. */
int pco__tcp_counters(pco__backend *backend, pco_socket sock, pco_transport_counters *counters);

#endif
