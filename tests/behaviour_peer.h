/* SPDX-License-Identifier: MIT */
/*
 * behaviour_peer.h: the other side of a connection, for tests: clients that are driven by a loop
 * and made of the seam's operations alone, with no transport in them, so that a fault of the
 * transports cannot hide itself by being on both sides. With TLS they are OpenSSL's own client.
 *
 * Everything that a peer hears is noted in it, and looked at when the loop has returned.
 */
#ifndef BEHAVIOUR_PEER_H
#define BEHAVIOUR_PEER_H

#include "system/backend.h"
#include "loop/loop.h"

typedef struct peer_tls peer_tls;
typedef struct peer peer;

struct peer {
    pco__io io;
    pco__op in;
    pco__op out;
    pco_loop *loop;
    peer *next;
    pco_address address; /* where it connects to */
    peer_tls *tls;       /* NULL: plain */

    /* What has happened. */
    unsigned connected;   /* 1: connecting has succeeded */
    unsigned established; /* 1: connected and, with TLS, through with the handshake */
    unsigned ended;       /* 1: the other side sends no more, because it said so or by a failure */
    unsigned closed;      /* 1: the socket is closed */
    bool clean;           /* the end was one: FIN, and with TLS a close_notify before it */
    int error;            /* of connecting, reading or writing: the first that there was */
    unsigned char *received;
    size_t length; /* of what was received */

    /* What it is told to do. */
    bool reads;       /* default; if not, what comes waits in the system */
    bool says_little; /* sends and receives one byte with each operation */
    bool wants_eof;   /* FIN when all is sent */
    bool wants_close; /* close when all is sent */
    bool resets;      /* ...with a reset */

    /* Its own. */
    bool attached;
    bool closing;
    size_t room;
    unsigned char *queue; /* what is to be sent behind `sending` */
    size_t queue_length;
    unsigned char *sending;
    size_t sending_length;
    size_t sending_offset;
    pco__segment segment;
    unsigned char small[1]; /* where one byte is received */
};

/* Makes a peer and begins to connect it to the address. Not NULL: a failure ends the program. */
peer *peer_connect(pco_loop *loop, const pco_address *address, bool tls);

/* Sends a copy of the data, behind what is sent already. */
void peer_send(peer *self, const void *data, size_t length);

/* Begins or stops to read. */
void peer_set_reading(peer *self, bool reads);

/* Says that no more will come, once everything has been sent: close_notify with TLS, and FIN. */
void peer_finish(peer *self);

/* Closes the socket, at once, with a reset if `reset`; `closed` tells when. */
void peer_close(peer *self, bool reset);

/* Forgets the peer, which is closed. */
void peer_free(peer *self);

/*
 * Makes the system's buffers of the socket small, so that a reader who does not read is soon felt
 * by the writer; not so small that windows below a segment make everything slow.
 */
#define PEER_BUFFER_SIZE (64 * 1024)
void peer_shrink_buffers(pco_socket sock);

/*
 * The system's own calls on a socket that blocks, each once: how many bytes it took, or brought (0:
 * the end). -1: it has failed.
 */
int socket_send(pco_socket sock, const void *data, size_t length);
int socket_receive(pco_socket sock, void *memory, size_t size);

/* ---- TLS, in behaviour_tls.c ---- */

/* Whether the library and these tests have TLS. */
bool peer_has_tls(void);

/* A context for servers with a certificate made on the spot; made once, and freed by the second. */
pco_ssl_context *peer_server_context(void);
void peer_free_server_context(void);

peer_tls *peer_tls_new(void);
void peer_tls_free(peer_tls *tls);

/* Encrypted bytes have come, or the handshake is to begin (length 0). */
void peer_tls_input(peer *self, const void *data, size_t length);

/* Encrypts what is to be sent; before the handshake is done it waits. */
void peer_tls_send(peer *self, const void *data, size_t length);

/* Sends close_notify and FIN; before the handshake is done they wait. */
void peer_tls_finish(peer *self);

/* Of the peer, for behaviour_tls.c: what has come out of TLS, and what goes to the wire. */
void peer_note_data(peer *self, const void *data, size_t length);
void peer_note_end(peer *self, bool clean, int error);
void peer_send_raw(peer *self, const void *data, size_t length);
void peer_finish_raw(peer *self);

#endif
