/* SPDX-License-Identifier: MIT */
/*
 * pass.c: passing sockets: what a message looks like. How a socket goes along with it is the
 * system's (system/pass.h).
 *
 * All messages are of one size, the smallest part of what a system sends in one piece or not at
 * all. So there is no state between two calls: no message is ever half sent or half taken.
 */
#include <portico/pass.h>

#include <string.h>

#include "support/error.h"
#include "system/pass.h"

/* Eight letters, the number of the format among them; whether a socket comes; the length; data. */
#define MARK "PcoPass1"
#define MARK_SIZE ((size_t)8)
#define HAS_SOCKET_AT 8
#define LENGTH_AT 10
#define DATA_AT ((size_t)16)

_Static_assert(DATA_AT + PCO_PASS_MOST == PCO__PASS_SIZE,
               "a message is what is in front, and data");

static int check(pco_socket channel, pco_socket sock, const void *data, size_t length,
                 pco_error *error)
{
    if (length > PCO_PASS_MOST) {
        return pco__error_set(error, PCO_EINVAL, 0, "a message of %zu bytes: it has %d at the most",
                              length, PCO_PASS_MOST);
    }
    if (data == NULL && length != 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "data is NULL, and length is not 0");
    }
    if (sock == channel && sock != PCO_NO_SOCKET) {
        return pco__error_set(error, PCO_EINVAL, 0, "a channel cannot be passed over itself");
    }
    return 0;
}

int pco_socket_pass(pco_socket channel, long long process, pco_socket sock, const void *data,
                    size_t length, pco_error *error)
{
    unsigned char message[PCO__PASS_SIZE] = MARK;
    int code = check(channel, sock, data, length, error);
    if (code != 0) {
        return code;
    }
    message[HAS_SOCKET_AT] = sock != PCO_NO_SOCKET;
    message[LENGTH_AT] = (unsigned char)(length >> 8);
    message[LENGTH_AT + 1] = (unsigned char)(length & 0xFF);
    if (length != 0) {
        memcpy(message + DATA_AT, data, length);
    }
    return pco__pass_send(channel, process, sock, message, error);
}

/* Whether it is a message, and the socket came that it speaks of. */
static bool is_message(const unsigned char *message, size_t length, pco_socket sock)
{
    return memcmp(message, MARK, MARK_SIZE) == 0 && length <= PCO_PASS_MOST &&
           (message[HAS_SOCKET_AT] != 0) == (sock != PCO_NO_SOCKET);
}

int pco_socket_take(pco_socket channel, pco_passed *passed, pco_error *error)
{
    unsigned char message[PCO__PASS_SIZE];
    pco_socket sock = PCO_NO_SOCKET;
    if (passed == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "passed is NULL");
    }
    passed->socket = PCO_NO_SOCKET;
    passed->length = 0;
    passed->data[0] = 0;
    int code = pco__pass_receive(channel, message, &sock, error);
    if (code != 0) {
        return code;
    }
    size_t length = (size_t)message[LENGTH_AT] << 8 | message[LENGTH_AT + 1];
    if (!is_message(message, length, sock)) {
        if (sock != PCO_NO_SOCKET) {
            pco__pass_close(sock);
        }
        return pco__error_set(error, PCO_EINVAL, 0,
                              "what came over the channel is no message of pco_socket_pass");
    }
    passed->socket = sock;
    passed->length = length;
    memcpy(passed->data, message + DATA_AT, length);
    passed->data[length] = 0;
    return 0;
}
