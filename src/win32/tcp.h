/* SPDX-License-Identifier: MIT */
/*
 * tcp.h (Windows): what a program may wish of the system's TCP, one socket at a time.
 */
#ifndef PCO_WIN32_TCP_H
#define PCO_WIN32_TCP_H

#include "win32/win32.h"

#include "system/network.h"

/* As pco__network.socket_options_supported. */
int pco__tcp_supported(const pco__socket_options *options, pco_error *error);

/* Sets what the options ask for. False: WSAGetLastError. */
bool pco__tcp_set(SOCKET sock, const pco__socket_options *options);

/* As pco__network.counters. */
int pco__tcp_counters(pco__backend *backend, pco_socket sock, pco_transport_counters *counters);

#endif
