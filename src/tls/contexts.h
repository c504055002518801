/* SPDX-License-Identifier: MIT */
/*
 * contexts.h: what a pco_ssl_context is made of, for the files that make it up, and for those who
 * ask OpenSSL why it failed: setup.c makes an SSL_CTX of options, certificates.c and trust.c say in
 * it what is shown and who is believed, tickets.c has the keys that seal the tickets of its
 * sessions, alpn.c chooses the application protocol, context.c shares the whole among servers and
 * threads and knows the names of SNI, reason.c puts OpenSSL's queue of errors into a sentence.
 */
#ifndef PCO_SSL_CONTEXTS_H
#define PCO_SSL_CONTEXTS_H

#include <openssl/ssl.h>

#include "support/error.h"
#include "support/options.h"
#include "tls/tls.h"

typedef struct pco__ssl_setup pco__ssl_setup;

/* ---- tickets.c ---- */

typedef struct pco__ssl_tickets pco__ssl_tickets;

typedef struct pco__ssl_ticket_key {
    unsigned char name[16]; /* the beginning of each ticket that it has sealed */
    unsigned char cipher[32];
    unsigned char mac[32];
} pco__ssl_ticket_key;

/* NULL: out of memory, or OpenSSL's queue says why. */
pco__ssl_tickets *pco__ssl_tickets_new(void);

/* One more reference, and one fewer; the last wipes the keys. NULL is allowed. Any thread. */
pco__ssl_tickets *pco__ssl_tickets_retain(pco__ssl_tickets *tickets);
void pco__ssl_tickets_free(pco__ssl_tickets *tickets);

/* What OpenSSL wants to hear of its callback. */
enum {
    PCO__SSL_TICKET_FAILED = -1,
    PCO__SSL_TICKET_UNKNOWN = 0,
    PCO__SSL_TICKET_CURRENT = 1,
    PCO__SSL_TICKET_PREVIOUS = 2 /* it opens the ticket, and the client should get a new one */
};

/*
 * Copies the key of that name, or with NULL the one to seal with, as it is at the time `now`
 * (nanoseconds). Any thread.
 */
int pco__ssl_tickets_find(pco__ssl_tickets *tickets, uint64_t now, const unsigned char *name,
                          pco__ssl_ticket_key *key);

/* OpenSSL calls it in a handshake, to seal a ticket or to open one. */
int pco__ssl_ticket_callback(SSL *engine, unsigned char *name, unsigned char *start,
                             EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing);

/* ---- certificates.c ---- */

/* Puts the certificates, their chains, keys and staples into the setup. A client may do without. */
int pco__ssl_load_certificates(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                               bool client, pco_error *error);

/* ---- staple.c ---- */

typedef struct pco__ssl_staple pco__ssl_staple;

/* Puts what OCSP says, if it is given, to the certificate that was loaded last. KIND_file: ... */
int pco__ssl_load_staple(pco__ssl_setup *setup, const pco_ssl_certificate *given, const char *kind,
                         bool client, pco_error *error);
void pco__ssl_staples_free(pco__ssl_staple *first);

/* ---- trust.c ---- */

/* Where whom the system trusts is found, where that is in files. */
typedef struct pco__ssl_places {
    const char *file_said; /* by the environment, or NULL */
    const char *folders_said;
    const char *file; /* otherwise: OpenSSL's own */
    const char *folders;
    const char *const *bundles; /* where those hold nothing, and nothing is said; ends with NULL */
} pco__ssl_places;

/* Trusts what they hold. PCO_ENOENT: nothing. */
int pco__ssl_trust_places(SSL_CTX *ctx, const pco__ssl_places *places, pco_error *error);

/* Says in ctx who is believed, and what is demanded of the peer. */
int pco__ssl_set_verification(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                              bool client, pco_error *error);

/* ---- alpn.c ---- */

/* Keeps the options' protocols in the setup, and has OpenSSL choose among them. */
int pco__ssl_set_alpn(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                      pco_error *error);

/*
 * The handshake is complete: NULL, or what is wrong with the protocol that a server has chosen.
 * (OpenSSL before 3.0.15 does not look whether it was offered.) Static.
 */
const char *pco__ssl_check_alpn(const SSL *engine, const pco__ssl_setup *setup);

/* ---- terms.c ---- */

/* Notes on what terms sessions are made under the setup, which is otherwise complete. */
int pco__ssl_set_terms(pco__ssl_setup *setup, const pco__layout *layout,
                       const pco_ssl_context_options *options, bool client, pco_error *error);

/* The setup takes over from `before`: with the sessions of that, if its terms are the same. */
int pco__ssl_keep_sessions(pco__ssl_setup *setup, const pco__ssl_setup *before, pco_error *error);

/* ---- key_log.c ---- */

typedef struct pco__ssl_key_log pco__ssl_key_log;

/* Has OpenSSL write its keys into the file, if one is named. */
int pco__ssl_set_key_log(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                         pco_error *error);
void pco__ssl_key_log_free(pco__ssl_key_log *log);

/* ---- psk.c ---- */

typedef struct pco__ssl_psk pco__ssl_psk;

/* Keeps the key that both ends have, if there is one. */
int pco__ssl_set_psk(pco__ssl_setup *setup, const pco_ssl_context_options *options, bool client,
                     pco_error *error);
bool pco__ssl_has_psk(const pco_ssl_context_options *options);
void pco__ssl_psk_free(pco__ssl_psk *psk);

/* ---- setup.c ---- */

#define PCO__SSL_ID_SIZE 16
#define PCO__SSL_TERMS_SIZE 32

/*
 * What a context holds at one moment, made at once and never changed: reloading makes another.
 */
struct pco__ssl_setup {
    SSL_CTX *ctx;
    struct pco__ssl_slot *slot;         /* whose it is; each reference is one to that, too */
    unsigned references;                /* guarded by the slot */
    unsigned char id[PCO__SSL_ID_SIZE]; /* random: tells its sessions from those of others */
    bool terms_known;                   /* ...and all that sessions depend on: */
    unsigned char terms[PCO__SSL_TERMS_SIZE];
    bool ready; /* the SSL_CTX is the user's */
    bool alpn_required;
    unsigned char *alpn; /* as in the ALPN extension: each with its length before it */
    size_t alpn_length;
    int (*choose_alpn)(const pco_ssl_hello *hello, void *context); /* NULL: by the list */
    void (*choose_certificate)(pco_ssl_question *question, const pco_ssl_hello *hello,
                               void *context); /* NULL: nobody is asked */
    bool by_system;                            /* a client's: whom the system trusts is trusted */
    double verdict_timeout;
    int (*verify_peer)(const pco_ssl_verdict *verdict, void *context); /* or NULL */
    void *callback_context;
    pco__ssl_tickets *tickets; /* NULL: there are none, or they are the user's */
    pco__ssl_staple *staples;
    pco__ssl_key_log *key_log; /* or NULL */
    pco__ssl_psk *psk;         /* or NULL */
    int (*find_psk)(const char *identity, unsigned char *key, size_t size, size_t *length,
                    void *context); /* or NULL */
};

/* Makes a setup, with one reference. For the client's end the options may be NULL. */
int pco__ssl_setup_new(const pco_ssl_context_options *options, bool client, pco__ssl_setup **setup,
                       pco_error *error);

/* Makes a setup of the user's SSL_CTX, which gains a reference. */
int pco__ssl_setup_from_ssl_ctx(SSL_CTX *ctx, pco__ssl_setup **setup, pco_error *error);

void pco__ssl_setup_free(pco__ssl_setup *setup);

/* ---- context.c ---- */

/* The setup of this moment, to be given back; it may outlive the context. */
pco__ssl_setup *pco__ssl_context_take(pco_ssl_context *context);
void pco__ssl_setup_give(pco__ssl_setup *setup);

/*
 * Under what a client's session is made, and may be resumed: the first half tells the context, the
 * second what it held. `context` NULL, and each loop's own of those who say nothing but that they
 * want TLS, are the same: `setup` does not count then.
 */
#define PCO__SSL_SESSION_ID_SIZE (2 * PCO__SSL_ID_SIZE)
void pco__ssl_context_identify(const pco_ssl_context *context, const pco__ssl_setup *setup,
                               unsigned char *id);

/* It is a loop's own, directly after it was made. */
void pco__ssl_context_is_default(pco_ssl_context *context);

/* Whether there are names, for which a client's hello has to be read before all else. */
bool pco__ssl_context_has_names(pco_ssl_context *context);

/* The setup for a name (a normal one, or ""), as by pco__ssl_context_take. NULL: there is none. */
pco__ssl_setup *pco__ssl_context_find(pco_ssl_context *context, const char *name);

/* A host name, with the zero at its end (RFC 1035). */
#define PCO__SSL_NAME_SIZE 254

/*
 * Writes the name in lower case, without a dot at its end, into `to`, which has PCO__SSL_NAME_SIZE
 * bytes. False: it is no host name. A first label "*" is one if `pattern`.
 */
bool pco__ssl_normalize_name(const unsigned char *name, size_t length, bool pattern, char *to);

/* ---- reason.c ---- */

/* Why OpenSSL failed. The sentence is OpenSSL's and static. */
typedef struct pco__ssl_reason {
    int code;        /* PCO_ETLS, PCO_ECERT, PCO_ENOMEM */
    int system_code; /* OpenSSL's reason */
    const char *sentence;
} pco__ssl_reason;

/* Takes the reason out of the queue of errors, which is empty afterwards. */
pco__ssl_reason pco__ssl_take_reason(void);

/*
 * Fills in *error with the formatted sentence, ": " and the reason of the queue, and empties that.
 * Returns `code`, or PCO_ENOMEM if that was the reason.
 */
int pco__ssl_error(pco_error *error, int code, const char *format, ...) PCO__PRINTF(3, 4);

#endif
