/* SPDX-License-Identifier: MIT */
/*
 * win32.h: the one place that includes the Windows headers, in the order that they need, and what
 * the files of this folder share. Include it first.
 */
#ifndef PCO_WIN32_H
#define PCO_WIN32_H

/*
 * Windows 10, and of its declarations those up to version 1809: without the second line the headers
 * show only what the first version of 2015 had. What the library needs of later versions it asks
 * for when it runs.
 */
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#undef NTDDI_VERSION
#define NTDDI_VERSION 0x0A000006
#undef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#undef NOMINMAX
#define NOMINMAX

/* windows.h has some of the status codes of ntstatus.h, and both together do not compile. */
#define WIN32_NO_STATUS
/* clang-format off */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <mstcpip.h>
#include <windows.h>
#undef WIN32_NO_STATUS
#include <winternl.h>
#include <ntstatus.h>
/* clang-format on */

#ifndef SOMAXCONN_HINT
#define SOMAXCONN_HINT(backlog) (-(backlog)) /* missing in mingw-w64's headers */
#endif

#include <stdbool.h>

#include <portico/address.h>

/* An address as Winsock has it. Copied in and out: pco_address keeps it as plain words. */
typedef union pco__sockaddr {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_storage storage;
} pco__sockaddr;

/* A copy of the address; its family is AF_UNSPEC if it is empty or too short for what it says. */
pco__sockaddr pco__sockaddr_from(const pco_address *address);

/* The address of `length` bytes at `any`; empty if it is too long. */
void pco__sockaddr_to(const struct sockaddr *any, int length, pco_address *address);

/* The text in UTF-16, from pco__malloc. 0, PCO_ENOMEM, or PCO_EINVAL where it is no UTF-8. */
int pco__widen(const char *text, WCHAR **wide);

/*
 * Loads Winsock for this process, once; it is never unloaded, so sockets and look-ups need not
 * outlive or be outlived by anything. 0 or the system's code.
 */
int pco__winsock_start(void);

/*
 * How many times this build of Windows shall repeat a SYN where nobody listens on this machine: not
 * at all, or once, which is the least that builds below 16299 understand.
 */
UCHAR pco__winsock_syn_retransmissions(DWORD build);

/* The number of this build of Windows; 0 if it cannot be told. */
DWORD pco__windows_build(void);

/*
 * Whether every provider of sockets hands out handles of files (XP1_IFS_HANDLES), so that calls
 * that are about files may be used on any socket. PCO_ENOMEM.
 */
int pco__winsock_has_file_handles(bool *all);

/* A stream socket: overlapped, non-blocking, not inheritable. INVALID_SOCKET: WSAGetLastError. */
SOCKET pco__winsock_open(int family, int proto);

/* Closes a socket, with a reset if `reset`. */
void pco__winsock_close(SOCKET sock, bool reset);

/* Makes a socket non-blocking: where no OVERLAPPED is given, calls return at once. */
bool pco__winsock_unblock(SOCKET sock);

#endif
