/* SPDX-License-Identifier: MIT */
/*
 * connection.h: one TLS connection, for the files that make it up:
 *
 *   engine.c         OpenSSL's part: encrypting, decrypting, what it says when it fails
 *   handshake.c      the handshake: its steps, its suspension, how it ends
 *   hello.c          in it, a client's hello that is read before the engine is made
 *   choice.c         in it, the choice of a certificate by the user
 *   verify.c         in it, whether the peer's certificate is good: see verdict.h
 *   protocol.c       the protocol to the lower end: reading, the end
 *   tls_write.c      the way out: plaintext that waits, and encrypting it
 *   tls_transport.c  the transport to the protocol above: closing, making
 *   peer.c           what was agreed on, and with whom
 *   turns.c          when it has to wait for another turn of the loop
 *
 * The one hard idea is that OpenSSL is never waited for and never waits. What the lower end has
 * received is decrypted until it is used up, and what OpenSSL writes is appended to the lower end's
 * output at once. No callback of the user that may call the library runs inside OpenSSL, and
 * after each one everything is looked at anew: it may have closed or paused the transport, or set
 * another protocol.
 */
#ifndef PCO_SSL_CONNECTION_H
#define PCO_SSL_CONNECTION_H

#include <limits.h>

#include "tls/choices.h"
#include "tls/hellos.h"
#include "tls/parsed.h"
#include "tls/verdict.h"

/*
 *     HANDSHAKING -> OPEN           the peer has proved what it had to
 *                 -> FLUSHING       closing: plaintext waits still to be encrypted
 *                 -> SHUTTING_DOWN  close_notify is sent, the peer's is waited for
 *                 -> CLOSED         the lower end is closing, OpenSSL is through
 *
 * Any may be skipped. BROKEN follows OPEN: OpenSSL has failed, while what it had decrypted before
 * is being delivered; it looks open to the user. connection_lost of the lower end ends everything.
 */
typedef enum pco__ssl_state {
    PCO__SSL_HANDSHAKING,
    PCO__SSL_OPEN,
    PCO__SSL_BROKEN,
    PCO__SSL_FLUSHING,
    PCO__SSL_SHUTTING_DOWN,
    PCO__SSL_CLOSED
} pco__ssl_state;

/*
 * What only the handshake needs.
 *
 * It is suspended while OpenSSL waits for an answer that its callback could not give at once: which
 * certificate to show, whether the peer's is to be trusted. Nothing is asked of OpenSSL meanwhile,
 * and what comes waits in `kept`, with which the lower end rests; the time limit goes on. An end by
 * any other hand, the peer's included, needs no answer.
 */
typedef struct pco__ssl_handshake {
    pco_ssl_context *context;
    pco__ssl_setup *setup;
    pco__ssl_hello *hello; /* a server's that has names, or asks; otherwise NULL */
    pco__ssl_choice choice;
    double timeout;
    pco_protocol *(*make_protocol)(void *context);
    void (*made)(pco_transport *transport, void *context);
    void (*done)(pco_transport *transport, const pco_error *error, void *context);
    void *context_of_calls;
    bool suspended;
    pco__ssl_verdict verdict;
} pco__ssl_handshake;

/* What is lent of that which was agreed on, made when first asked for. */
typedef struct pco__ssl_details {
    pco__ssl_parsed *parsed; /* certificates that were asked for */
    char alpn[UCHAR_MAX + 1];
    size_t certificate_length;
    unsigned char certificate[];
} pco__ssl_details;

/* Ciphertext that waits: reading is paused, or another turn is needed. */
typedef struct pco__ssl_kept {
    size_t used;
    size_t length;
    unsigned char data[];
} pco__ssl_kept;

struct pco__ssl {
    pco_transport base;   /* its link: in a line of the loop's, or in its list of the busy */
    pco_protocol below;   /* what the lower end sees */
    pco_transport *lower; /* NULL when closed */
    pco__ssl_loop *shared;
    SSL *engine;                   /* NULL: a server's before its first byte, and when closed */
    pco__ssl_handshake *handshake; /* NULL: it is over */
    pco__ssl_details *details;
    pco__ssl_kept *kept;
    unsigned char *plaintext; /* PCO__SSL_PLAINTEXT_SIZE: the loop's, or its own upon another TLS */
    pco__queue queue;         /* plaintext that waits to be encrypted */
    size_t high;
    size_t low;
    pco__timer timer; /* limits the handshake, later the shutdown */
    double shutdown_timeout;
    pco__ssl_records bounds;
    uint64_t idle_since;  /* when the first of the messages came that brought no data... */
    size_t left;          /* to be sent at the last look of the shutdown's limit */
    const char *sentence; /* static; NULL: the error's own */
    uint32_t answered;    /* bytes that reading made OpenSSL write and that have not left */
    int system_code;      /* OpenSSL's reason */
    int16_t error;        /* what connection_lost is told, 0: what the lower end says */
    uint8_t idle;         /* ...and how many they are */
    uint8_t state;        /* pco__ssl_state */
    bool made : 1;        /* its protocol is the user's, which hears connection_lost */
    bool covers : 1;      /* the lower end was the user's before */
    bool delivering : 1;  /* callbacks run that input has caused: what they do about reading counts
                             when that is over */
    bool goes_on : 1;     /* the callback that runs is not the last of the input at hand: answers
                             leave together */
    bool half_close : 1;  /* each direction ends for itself */
    bool eof_asked : 1;   /* write_eof was called; nothing may be written */
    bool peer_closed : 1; /* its close_notify, or the end of the stream, has come */
    bool used : 1;        /* since the last sweep */
    bool waits : 1;       /* in a line of the loop's */
};

/* Of a client in its handshake: whether the system is asked about the server's certificate. */
static inline bool pco__ssl_asks_system(const pco__ssl *ssl)
{
    return ssl->handshake->setup->by_system && ssl->shared->trust->judge != NULL;
}

/* ---- engine.c ---- */

/* Makes OpenSSL's part for the setup of the handshake. `server_name`: see pco__ssl_options. */
int pco__ssl_engine_new(pco__ssl *ssl, const pco__ssl_options *client, pco_error *error);

/* Makes, for a server, the engine that reads the hello alone. */
int pco__ssl_engine_new_for_hello(pco__ssl *ssl, pco_error *error);

/* Another may be made, for input from its first byte on. */
void pco__ssl_engine_free(pco__ssl *ssl);

/* How a step went; failures are noted. Reading and writing give a count instead of DONE. */
enum {
    PCO__SSL_DONE = 1,      /* the handshake is complete; both close_notify were exchanged */
    PCO__SSL_MORE = 0,      /* more input is needed; the peer's close_notify is missing */
    PCO__SSL_END = -1,      /* the peer has sent close_notify */
    PCO__SSL_NO_DATA = -2,  /* a record, or some of a handshake, brought nothing; ask again */
    PCO__SSL_FAILED = -3,   /* OpenSSL must not be called any more */
    PCO__SSL_SUSPENDED = -4 /* a callback of the handshake owes the answer */
};

int pco__ssl_engine_handshake(pco__ssl *ssl, pco__ssl_input *input);

/* Decrypts a record into `memory`. Returns how many bytes, more than 0; or how it went. */
int pco__ssl_engine_read(pco__ssl *ssl, pco__ssl_input *input, void *memory, size_t length);

/*
 * Encrypts one record into the lower end's output. Returns how many bytes, more than 0; MORE: the
 * peer has begun a message whose end must come first; or FAILED. `last`: nothing follows for now.
 */
int pco__ssl_engine_write(pco__ssl *ssl, const unsigned char *data, size_t length, bool last);

/*
 * Sends close_notify, once. Returns DONE, FAILED, or MORE: it has not been sent, either, if
 * pco__ssl_engine_said_goodbye says so.
 */
int pco__ssl_engine_shutdown(pco__ssl *ssl);
bool pco__ssl_engine_said_goodbye(const pco__ssl *ssl);

/* Whether OpenSSL holds plaintext, or a close_notify, that was not delivered. */
bool pco__ssl_engine_holds_input(const pco__ssl *ssl);

/* Notes why the connection ends; the first reason stays. `sentence` is static or NULL. */
void pco__ssl_set_error(pco__ssl *ssl, int code, int system_code, const char *sentence);

/* The timer of pco__ssl_loop; and starts it, if there is something to sweep. */
void pco__ssl_sweep(pco__timer *timer);
void pco__ssl_sweep_soon(pco__ssl_loop *shared);

/* ---- handshake.c ---- */

/* Makes a step, which may open the connection. Returns whether another may follow at once. */
bool pco__ssl_step_of_handshake(pco__ssl *ssl, pco__ssl_input *input);

/* A step, or the lower end, has failed: ends the connection, and tells the owner why. */
void pco__ssl_handshake_failed(pco__ssl *ssl);

/* The connection ended before the handshake did; `why` is what connection_lost would be told. */
void pco__ssl_handshake_lost(pco__ssl *ssl, const pco_error *why);

static inline bool pco__ssl_is_suspended(const pco__ssl *ssl)
{
    return ssl->handshake != NULL && ssl->handshake->suspended;
}

/*
 * The answer is there, for OpenSSL's callback to fetch: the handshake goes on when it is its turn.
 * For one that is not suspended, or over, it does nothing. The loop's thread.
 */
void pco__ssl_go_on(pco__ssl *ssl);

/* Gives back what only the handshake needed. */
void pco__ssl_drop_handshake(pco__ssl *ssl);

/* ---- protocol.c ---- */

/* What the lower end sees. */
extern const pco_protocol_methods pco__ssl_lower_methods;

/* A copy of input, to be kept. NULL: out of memory. */
pco__ssl_kept *pco__ssl_kept_new(const void *data, size_t length);

/* It is its turn: goes on with what waits, input and output. */
void pco__ssl_serve(pco__ssl *ssl);

/* Fires when the handshake or the shutdown has taken too long. */
void pco__ssl_timed_out(pco__timer *timer);

/* Pauses or resumes the lower end, as it should be now. */
void pco__ssl_update_reading(pco__ssl *ssl);

/* ---- tls_write.c ---- */

/* The class's functions. */
int pco__ssl_write(pco_transport *transport, const void *data, size_t length);
int pco__ssl_writelines(pco_transport *transport, const pco_buffer *buffers, size_t count);
int pco__ssl_write_owned(pco_transport *transport, const pco_buffer *buffer, pco__owned owned);
int pco__ssl_append(pco_transport *transport, const void *data, size_t length, bool ends);
size_t pco__ssl_pending(const pco_transport *transport);
bool pco__ssl_await_room(pco_transport *transport, size_t size);
void pco__ssl_set_limits(pco_transport *transport, size_t high, size_t low);
void pco__ssl_get_limits(const pco_transport *transport, size_t *high, size_t *low);

/*
 * Encrypts what waits, as far as the lower end has room and the turn has time; goes on with closing
 * when all of it has been, and calls resume_writing or pause_writing as the marks have it then.
 */
void pco__ssl_pump(pco__ssl *ssl);

/* Calls pause_writing if more waits than the high-water mark. */
void pco__ssl_pause_if_over(pco__ssl *ssl);

/* ---- tls_transport.c ---- */

void pco__ssl_set_state(pco__ssl *ssl, pco__ssl_state state);

/* Whether the user sees the transport as open. */
static inline bool pco__ssl_is_open(const pco__ssl *ssl)
{
    return (ssl->state == PCO__SSL_OPEN || ssl->state == PCO__SSL_BROKEN) && ssl->lower != NULL &&
           !ssl->lower->class_->is_closing(ssl->lower);
}

/*
 * The user has closed: what waits is encrypted, close_notify is sent behind it, and the peer's
 * waited for, unless it has come. What the peer sends until then is dropped.
 */
void pco__ssl_close(pco__ssl *ssl);

/* write_eof was called, and all that was written has been encrypted: close_notify, and no more. */
void pco__ssl_say_goodbye(pco__ssl *ssl);

/* Sends close_notify: all that was written has been encrypted. */
void pco__ssl_shut_down(pco__ssl *ssl);

/* Closes the lower end when what was written has left. */
void pco__ssl_end(pco__ssl *ssl);

/* As pco__ssl_end after a failure, and waits a moment for the peer to read the alert. */
void pco__ssl_end_failed(pco__ssl *ssl);

void pco__ssl_end_at_once(pco__ssl *ssl, bool reset);

/* connection_lost has returned: gives up what the connection had. */
void pco__ssl_close_down(pco__ssl *ssl);

/*
 * The connection that somebody has questions about. PCO_ECLOSED: its connection_lost has returned.
 * PCO_ENOTSUP: it is none of TLS. PCO_ENOTCONN: its handshake is not over.
 */
int pco__ssl_ask(const pco_transport *transport, pco__ssl **ssl);

/* ---- peer.c ---- */

/* The class's function. */
int pco__ssl_get_info(pco_transport *transport, pco_ssl_info *info);

/* Whether the peer was demanded to show a certificate, and it is right. */
bool pco__ssl_is_verified(const SSL *engine);

/* NULL is allowed. */
void pco__ssl_free_details(pco__ssl_details *details);

#endif
