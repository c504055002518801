/* SPDX-License-Identifier: MIT */
/* pass.h: what a system has to supply for portico/pass.h. */
#ifndef PCO_SYSTEM_PASS_H
#define PCO_SYSTEM_PASS_H

#include <portico/base.h>
#include <portico/error.h>

/* Every message has so many bytes: few enough that each system takes or gives them at once. */
#define PCO__PASS_SIZE ((size_t)1040)

/*
 * Sends a message, whole or not at all, and `sock` with it unless that is PCO_NO_SOCKET, without
 * waiting. Returns what pco_socket_pass does, and says the sentence.
 */
int pco__pass_send(pco_socket channel, long long process, pco_socket sock,
                   const unsigned char message[PCO__PASS_SIZE], pco_error *error);

/*
 * Takes a message, and what came with it: *sock is a socket or PCO_NO_SOCKET. Returns what
 * pco_socket_take does; then nothing stays open.
 */
int pco__pass_receive(pco_socket channel, unsigned char message[PCO__PASS_SIZE], pco_socket *sock,
                      pco_error *error);

/* Closes what was received, and not the socket that it is a duplicate of. */
void pco__pass_close(pco_socket sock);

#endif
