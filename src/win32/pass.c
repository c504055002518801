/* SPDX-License-Identifier: MIT */
/*
 * pass.c (Windows): a socket goes along as the description that WSADuplicateSocketW makes of it for
 * one process: numbers, which any channel carries.
 *
 * The duplicate is there in the other process from that call on, whether it is taken or not; so a
 * channel is asked for room first. A channel may give a message in parts: it is taken when all of
 * it is there.
 */
#include "win32/win32.h"

#include <string.h>

#include "support/error.h"
#include "system/pass.h"
#include "system/platform.h"

/* What the channel carries. Of the same size and layout in processes of 32 and of 64 bits. */
typedef struct parcel {
    unsigned char message[PCO__PASS_SIZE];
    WSAPROTOCOL_INFOW info; /* all zero: no socket */
} parcel;

#ifndef SIO_AF_UNIX_GETPEERPID
#define SIO_AF_UNIX_GETPEERPID 0x58000100
#endif

/* `action` could not be done. */
static int fail(const char *action, int system_code, pco_error *error)
{
    int code = pco__error_from_system(system_code);
    if (system_code == WSAEWOULDBLOCK) {
        code = PCO_EAGAIN;
    } else if (code == PCO_ECONNABORTED || code == PCO_EPIPE) {
        code = PCO_ECONNRESET;
    }
    return pco__error_describe(error, code, system_code, "%s", action);
}

static int check_socket(pco_socket sock, const char *what, pco_error *error)
{
    int type = 0;
    int length = sizeof type;
    if (getsockopt((SOCKET)sock, SOL_SOCKET, SO_TYPE, (char *)&type, &length) != 0) {
        return pco__error_set(error, PCO_ENOTSOCK, WSAGetLastError(), "the %s, %lld, is no socket",
                              what, (long long)sock);
    }
    return 0;
}

/* From now on it is non-blocking: no call has a flag that says so for itself. */
static int check_channel(pco_socket channel, pco_error *error)
{
    int type = 0;
    int length = sizeof type;
    int system_code = pco__winsock_start();
    if (system_code != 0) {
        return fail("start Winsock", system_code, error);
    }
    int code = check_socket(channel, "channel", error);
    if (code != 0) {
        return code;
    }
    getsockopt((SOCKET)channel, SOL_SOCKET, SO_TYPE, (char *)&type, &length);
    if (type != SOCK_STREAM) {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "sockets are passed over stream sockets alone");
    }
    return pco__winsock_unblock((SOCKET)channel) ? 0
                                                 : fail("use a channel", WSAGetLastError(), error);
}

/* What of `wanted` is so now; POLLHUP and POLLERR come unasked. */
static int condition_of(SOCKET channel, SHORT wanted)
{
    WSAPOLLFD one = {.fd = channel, .events = wanted};
    return WSAPoll(&one, 1, 0) > 0 ? one.revents : 0;
}

/* ---- Sending ---- */

/* 0: it is not known. */
static DWORD process_of(SOCKET channel, long long process)
{
    ULONG found = 0;
    DWORD length = 0;
    if (process > 0 && process <= MAXDWORD) {
        return (DWORD)process;
    }
    if (process == 0 && WSAIoctl(channel, SIO_AF_UNIX_GETPEERPID, NULL, 0, &found, sizeof found,
                                 &length, NULL, NULL) == 0) {
        return found;
    }
    return 0;
}

static int describe_for(SOCKET sock, DWORD process, WSAPROTOCOL_INFOW *info, pco_error *error)
{
    if (process == 0) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "process is required: a socket is passed to one process");
    }
    if (WSADuplicateSocketW(sock, process, info) != 0) {
        int system_code = WSAGetLastError();
        return pco__error_describe(error, pco__error_from_system(system_code), system_code,
                                   "pass a socket to process %lu", (unsigned long)process);
    }
    return 0;
}

/* There is no room: for now, or because nothing is connected, which the states do not tell. */
static int no_room(SOCKET channel, pco_error *error)
{
    SOCKADDR_STORAGE name;
    int length = sizeof name;
    bool is_connected = getpeername(channel, (struct sockaddr *)&name, &length) == 0 ||
                        WSAGetLastError() != WSAENOTCONN;
    return fail("pass a socket", is_connected ? WSAEWOULDBLOCK : WSAENOTCONN, error);
}

/* A part of a message would leave the channel out of step. */
static int send_parcel(SOCKET channel, const parcel *what, pco_error *error)
{
    int sent = send(channel, (const char *)what, sizeof *what, 0);
    if (sent == SOCKET_ERROR) {
        return fail("pass a socket", WSAGetLastError(), error);
    }
    if ((size_t)sent < sizeof *what) {
        shutdown(channel, SD_BOTH);
        return fail("pass a socket", WSAECONNRESET, error);
    }
    return 0;
}

int pco__pass_send(pco_socket channel, long long process, pco_socket sock,
                   const unsigned char message[PCO__PASS_SIZE], pco_error *error)
{
    parcel what;
    memset(&what, 0, sizeof what);
    memcpy(what.message, message, PCO__PASS_SIZE);
    int code = check_channel(channel, error);
    if (code == 0 && sock != PCO_NO_SOCKET) {
        code = check_socket(sock, "sock", error);
    }
    if (code != 0) {
        return code;
    }
    if (condition_of((SOCKET)channel, POLLWRNORM) == 0) {
        return no_room((SOCKET)channel, error);
    }
    if (sock != PCO_NO_SOCKET) {
        code = describe_for((SOCKET)sock, process_of((SOCKET)channel, process), &what.info, error);
    }
    return code == 0 ? send_parcel((SOCKET)channel, &what, error) : code;
}

/* ---- Receiving ---- */

/* Not all of a message is there: there may be no more to come. */
static int not_there(SOCKET channel, u_long present, pco_error *error)
{
    char byte;
    if (present != 0) {
        bool ends = (condition_of(channel, POLLRDNORM) & POLLHUP) != 0;
        return fail("take a socket", ends ? WSAECONNRESET : WSAEWOULDBLOCK, error);
    }
    int length = recv(channel, &byte, 1, MSG_PEEK);
    if (length == 0) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the other process has closed the channel");
    }
    return fail("take a socket", length < 0 ? WSAGetLastError() : WSAEWOULDBLOCK, error);
}

static int open_described(WSAPROTOCOL_INFOW *info, pco_socket *sock, pco_error *error)
{
    if (info->iSocketType == 0) {
        return 0;
    }
    SOCKET made = WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, info, 0,
                             WSA_FLAG_OVERLAPPED);
    if (made == INVALID_SOCKET) {
        return pco__error_set(error, PCO_EINVAL, WSAGetLastError(),
                              "what came over the channel is no message of pco_socket_pass, or its "
                              "socket is for another process");
    }
    SetHandleInformation((HANDLE)made, HANDLE_FLAG_INHERIT, 0);
    *sock = (pco_socket)made;
    return 0;
}

int pco__pass_receive(pco_socket channel, unsigned char message[PCO__PASS_SIZE], pco_socket *sock,
                      pco_error *error)
{
    parcel what;
    u_long present = 0;
    int code = check_channel(channel, error);
    if (code != 0) {
        return code;
    }
    if (ioctlsocket((SOCKET)channel, FIONREAD, &present) != 0) {
        return fail("take a socket", WSAGetLastError(), error);
    }
    if (present < sizeof what) {
        return not_there((SOCKET)channel, present, error);
    }
    int length = recv((SOCKET)channel, (char *)&what, sizeof what, 0);
    if (length != (int)sizeof what) {
        return fail("take a socket", length < 0 ? WSAGetLastError() : WSAECONNRESET, error);
    }
    memcpy(message, what.message, PCO__PASS_SIZE);
    return open_described(&what.info, sock, error);
}

void pco__pass_close(pco_socket sock)
{
    closesocket((SOCKET)sock);
}
