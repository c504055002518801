/* SPDX-License-Identifier: MIT */
/*
 * tickets.c: the keys that seal the tickets of sessions.
 *
 * A ticket is the session itself, which the client keeps, sealed by a key of the server's (RFC
 * 5077, RFC 8446 4.6.1): who learns that key can open every ticket it has sealed. OpenSSL seals
 * with one key for as long as there is an SSL_CTX, which in a server may be months. Here a key
 * seals for KEY_PERIOD, and opens for as long again, so that no client notices; then it is gone. It
 * is the next handshake that sees to that.
 *
 * The contexts of several threads' loops are one and the same, hence the mutex. Loops on a system
 * have one clock, but each reads it once in a turn: another's time may be a little behind.
 */
#include "tls/bio.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "loop/loop.h"
#include "support/memory.h"
#include "system/platform.h"

/* Nanoseconds for which a key seals. */
#define KEY_PERIOD ((uint64_t)12 * 3600 * 1000000000)

typedef struct held_key {
    pco__ssl_ticket_key key;
    uint64_t made;
    bool exists;
} held_key;

struct pco__ssl_tickets {
    EVP_CIPHER *cipher;
    pco__mutex *mutex; /* guards what follows */
    unsigned references;
    held_key current;
    held_key previous;
};

pco__ssl_tickets *pco__ssl_tickets_new(void)
{
    pco__ssl_tickets *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    made->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (made->cipher == NULL || pco__mutex_new(&made->mutex) != 0) {
        EVP_CIPHER_free(made->cipher);
        pco__free(made);
        return NULL;
    }
    made->references = 1;
    return made;
}

pco__ssl_tickets *pco__ssl_tickets_retain(pco__ssl_tickets *tickets)
{
    if (tickets != NULL) {
        pco__mutex_lock(tickets->mutex);
        tickets->references++;
        pco__mutex_unlock(tickets->mutex);
    }
    return tickets;
}

static bool gives_up(pco__ssl_tickets *tickets)
{
    pco__mutex_lock(tickets->mutex);
    bool last = --tickets->references == 0;
    pco__mutex_unlock(tickets->mutex);
    return last;
}

void pco__ssl_tickets_free(pco__ssl_tickets *tickets)
{
    if (tickets != NULL && gives_up(tickets)) {
        EVP_CIPHER_free(tickets->cipher);
        pco__mutex_free(tickets->mutex);
        OPENSSL_cleanse(tickets, sizeof *tickets);
        pco__free(tickets);
    }
}

static bool is_younger(const held_key *held, uint64_t now, unsigned periods)
{
    return held->exists && now < held->made + periods * KEY_PERIOD;
}

/* Sees to it that the keys are those of this time. False: there is no chance to be had. */
static bool renew(pco__ssl_tickets *tickets, uint64_t now)
{
    if (!is_younger(&tickets->current, now, 1)) {
        held_key fresh = {.made = now, .exists = true};
        if (RAND_priv_bytes((unsigned char *)&fresh.key, sizeof fresh.key) != 1) {
            return false;
        }
        tickets->previous = tickets->current;
        tickets->current = fresh;
        OPENSSL_cleanse(&fresh, sizeof fresh);
    }
    if (!is_younger(&tickets->previous, now, 2)) {
        OPENSSL_cleanse(&tickets->previous, sizeof tickets->previous);
    }
    return true;
}

static bool is_called(const held_key *held, const unsigned char *name)
{
    return held->exists && memcmp(held->key.name, name, sizeof held->key.name) == 0;
}

int pco__ssl_tickets_find(pco__ssl_tickets *tickets, uint64_t now, const unsigned char *name,
                          pco__ssl_ticket_key *key)
{
    int found = PCO__SSL_TICKET_UNKNOWN;
    pco__mutex_lock(tickets->mutex);
    if (!renew(tickets, now)) {
        found = PCO__SSL_TICKET_FAILED;
    } else if (name == NULL || is_called(&tickets->current, name)) {
        *key = tickets->current.key;
        found = PCO__SSL_TICKET_CURRENT;
    } else if (is_called(&tickets->previous, name)) {
        *key = tickets->previous.key;
        found = PCO__SSL_TICKET_PREVIOUS;
    }
    pco__mutex_unlock(tickets->mutex);
    return found;
}

static bool set_mac(EVP_MAC_CTX *mac, pco__ssl_ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/* Prepares for sealing, and writes the ticket's head: the key's name and what begins the chain. */
static bool seal(const pco__ssl_tickets *tickets, pco__ssl_ticket_key *key, unsigned char *name,
                 unsigned char *start, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    memcpy(name, key->name, sizeof key->name);
    return RAND_bytes(start, EVP_CIPHER_get_iv_length(tickets->cipher)) == 1 &&
           EVP_EncryptInit_ex2(cipher, tickets->cipher, key->cipher, start, NULL) == 1 &&
           set_mac(mac, key);
}

static bool open_with(const pco__ssl_tickets *tickets, pco__ssl_ticket_key *key,
                      const unsigned char *start, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    return EVP_DecryptInit_ex2(cipher, tickets->cipher, key->cipher, start, NULL) == 1 &&
           set_mac(mac, key);
}

int pco__ssl_ticket_callback(SSL *engine, unsigned char *name, unsigned char *start,
                             EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    const pco__ssl_call *call = pco__ssl_call_of(engine);
    pco__ssl_ticket_key key;
    if (call->setup == NULL) {
        return PCO__SSL_TICKET_FAILED;
    }
    pco__ssl_tickets *tickets = call->setup->tickets;
    uint64_t now = pco__loop_now(call->lower->home->loop);
    int found = pco__ssl_tickets_find(tickets, now, sealing ? NULL : name, &key);
    if (found <= 0) {
        return found;
    }
    bool done = sealing ? seal(tickets, &key, name, start, cipher, mac)
                        : open_with(tickets, &key, start, cipher, mac);
    OPENSSL_cleanse(&key, sizeof key);
    return done ? found : PCO__SSL_TICKET_FAILED;
}
