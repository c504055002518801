/* SPDX-License-Identifier: MIT */
/*
 * tls_write.c: the way out of a TLS connection.
 *
 * Encryption follows the socket. What is written is encrypted at once as long as the lower end has
 * less waiting than ENCRYPT_AHEAD; the rest waits as plaintext, in memory that was handed over or
 * copied, and pump() goes on with it when the lower end has room and the turn has time. So a write
 * costs no turn more than a few records, and memory holds the data once. The water marks watch
 * both, plaintext and ciphertext.
 */
#include <string.h>

#include "tls/connection.h"
#include "tls/turns.h"

/* Ciphertext that may wait in the lower end before plaintext does. */
#define ENCRYPT_AHEAD ((size_t)128 * 1024)

/* A write of up to so much is encrypted in the call, whatever else the turn has done. */
#define WRITE_AT_ONCE ((size_t)64 * 1024)

/* Records of a step of pump(). */
#define STEP_RECORDS 4

static pco__ssl *of(const pco_transport *transport)
{
    return (pco__ssl *)(uintptr_t)transport;
}

static size_t pending_below(const pco__ssl *ssl)
{
    return ssl->lower->class_->pending(ssl->lower);
}

/* ---- Encrypting ---- */

/* Moves small chunks of the queue's front together. Returns a piece of at most a record. */
static size_t front(const pco__ssl *ssl, const unsigned char **data)
{
    const pco__segment *segment = &ssl->queue.head->segment;
    if (segment->length >= PCO__SSL_RECORD_SIZE || segment->next == NULL) {
        *data = segment->data;
        return segment->length < PCO__SSL_RECORD_SIZE ? segment->length : PCO__SSL_RECORD_SIZE;
    }
    unsigned char *memory = ssl->shared->gathered;
    size_t filled = 0;
    for (; segment != NULL && filled < PCO__SSL_RECORD_SIZE; segment = segment->next) {
        size_t room = PCO__SSL_RECORD_SIZE - filled;
        size_t piece = segment->length < room ? segment->length : room;
        memcpy(memory + filled, segment->data, piece);
        filled += piece;
    }
    *data = memory;
    return filled;
}

/* Encrypts a few records of the queue. Returns the last outcome of the engine. */
static int encrypt_some(pco__ssl *ssl)
{
    int outcome = 1;
    uint64_t began = pco__ssl_step_begins(ssl->shared);
    for (unsigned i = 0; i < STEP_RECORDS && outcome > 0 && pco__queue_size(&ssl->queue) != 0;
         i++) {
        const unsigned char *data;
        size_t length = front(ssl, &data);
        outcome = pco__ssl_engine_write(ssl, data, length, length == pco__queue_size(&ssl->queue));
        if (outcome > 0) {
            pco__queue_take(&ssl->queue, (size_t)outcome);
        }
    }
    pco__ssl_step_ends(ssl->shared, PCO__SSL_DATA, began);
    return outcome;
}

/* Whether the lower end takes more; if not, resume_writing will tell when it does. */
static bool has_room(pco__ssl *ssl)
{
    return pending_below(ssl) < ENCRYPT_AHEAD ||
           !ssl->lower->class_->await_room(ssl->lower, ENCRYPT_AHEAD / 2);
}

static bool may_encrypt(const pco__ssl *ssl)
{
    return (ssl->state == PCO__SSL_OPEN || ssl->state == PCO__SSL_FLUSHING) &&
           !ssl->lower->class_->is_closing(ssl->lower);
}

/* Returns whether the queue is empty. */
static bool encrypt_queue(pco__ssl *ssl)
{
    while (pco__queue_size(&ssl->queue) != 0 && may_encrypt(ssl) && has_room(ssl) &&
           may_encrypt(ssl)) {
        if (!pco__ssl_may_go_on(ssl->shared, PCO__SSL_DATA)) {
            pco__ssl_wait_in_line(ssl, PCO__SSL_DATA);
            return false;
        }
        int outcome = encrypt_some(ssl);
        if (outcome == PCO__SSL_MORE) {
            return false; /* the peer's next message goes on with it */
        }
        if (outcome == PCO__SSL_FAILED) {
            pco__ssl_end_at_once(ssl, false);
            return false;
        }
    }
    return pco__queue_size(&ssl->queue) == 0;
}

/* ---- Water marks ---- */

size_t pco__ssl_pending(const pco_transport *transport)
{
    const pco__ssl *ssl = of(transport);
    return pco__queue_size(&ssl->queue) + pending_below(ssl);
}

void pco__ssl_pause_if_over(pco__ssl *ssl)
{
    if (!pco__ssl_is_open(ssl) || ssl->base.writing_paused ||
        pco__ssl_pending(&ssl->base) <= ssl->high) {
        return;
    }
    /* Perhaps all that is below can leave at once. */
    ssl->lower->class_->await_room(ssl->lower, ssl->low);
    if (!pco__ssl_is_open(ssl) || pco__ssl_pending(&ssl->base) <= ssl->high) {
        return;
    }
    ssl->base.writing_paused = true;
    pco_protocol *protocol = ssl->base.protocol;
    if (protocol->methods->pause_writing != NULL) {
        protocol->methods->pause_writing(protocol, &ssl->base);
    }
}

static void resume_if_under(pco__ssl *ssl)
{
    if (!ssl->base.writing_paused || ssl->state != PCO__SSL_OPEN) {
        return;
    }
    if (pco__ssl_pending(&ssl->base) > ssl->low) {
        if (pco__queue_size(&ssl->queue) > ssl->low ||
            ssl->lower->class_->await_room(ssl->lower, ssl->low)) {
            return;
        }
        if (!pco__ssl_is_open(ssl) || pco__ssl_pending(&ssl->base) > ssl->low) {
            return;
        }
    }
    ssl->base.writing_paused = false;
    pco_protocol *protocol = ssl->base.protocol;
    if (protocol->methods->resume_writing != NULL) {
        protocol->methods->resume_writing(protocol, &ssl->base);
    }
}

void pco__ssl_set_limits(pco_transport *transport, size_t high, size_t low)
{
    pco__ssl *ssl = of(transport);
    ssl->high = high;
    ssl->low = low;
    pco__ssl_pause_if_over(ssl);
}

void pco__ssl_get_limits(const pco_transport *transport, size_t *high, size_t *low)
{
    *high = of(transport)->high;
    *low = of(transport)->low;
}

void pco__ssl_pump(pco__ssl *ssl)
{
    bool is_empty = encrypt_queue(ssl);
    if (is_empty && ssl->state == PCO__SSL_FLUSHING) {
        pco__ssl_shut_down(ssl);
    } else if (is_empty && ssl->state == PCO__SSL_OPEN && ssl->eof_asked) {
        pco__ssl_say_goodbye(ssl);
    }
    resume_if_under(ssl);
    pco__ssl_pause_if_over(ssl);
}

/* ---- Writing ---- */

/*
 * Encrypts what it may of the buffer at once: nothing waits before it, and it is not long. Returns
 * how many bytes, or FAILED.
 */
static int write_at_once(pco__ssl *ssl, const unsigned char *data, size_t length, bool ends)
{
    size_t done = 0;
    int outcome = 1;
    if (pco__queue_size(&ssl->queue) != 0 || pending_below(ssl) >= ENCRYPT_AHEAD) {
        return 0;
    }
    size_t most = length < WRITE_AT_ONCE ? length : WRITE_AT_ONCE;
    while (done < most && outcome > 0) {
        outcome = pco__ssl_engine_write(ssl, data + done, length - done, ends);
        done += outcome > 0 ? (size_t)outcome : 0;
    }
    return outcome != PCO__SSL_FAILED ? (int)done : PCO__SSL_FAILED;
}

/* OpenSSL has failed, or there is no memory: the connection ends. Returns what the caller hears. */
static int give_up(pco__ssl *ssl, int code)
{
    /* That the connection failed while this was sent, connection_lost will tell. */
    bool sending_failed = code == PCO_ECLOSED && ssl->lower->class_->is_closing(ssl->lower);
    pco__ssl_end_at_once(ssl, false);
    return sending_failed ? 0 : code;
}

static int code_of_failure(const pco__ssl *ssl)
{
    return ssl->error == PCO_ENOMEM ? PCO_ENOMEM : PCO_ECLOSED;
}

/* Whether writes are taken: 0, or else what they return. *dropped: they have no effect. */
static int check_writable(const pco__ssl *ssl, bool *dropped)
{
    /* Good data is being delivered from before a failure, which connection_lost will tell. */
    *dropped = ssl->state == PCO__SSL_BROKEN;
    if (!pco__ssl_is_open(ssl)) {
        return PCO_ECLOSED;
    }
    return ssl->eof_asked ? PCO_EPIPE : 0;
}

/* What is left waits; then goes on as far as it can. */
static void go_on(pco__ssl *ssl)
{
    if (pco__queue_size(&ssl->queue) != 0) {
        encrypt_queue(ssl);
    }
    pco__ssl_pause_if_over(ssl);
}

int pco__ssl_write(pco_transport *transport, const void *data, size_t length)
{
    pco__ssl *ssl = of(transport);
    bool dropped;
    int code = check_writable(ssl, &dropped);
    if (code != 0 || dropped || length == 0) {
        return code;
    }
    int done = write_at_once(ssl, data, length, true);
    if (done == PCO__SSL_FAILED) {
        return give_up(ssl, code_of_failure(ssl));
    }
    if ((size_t)done < length) {
        pco_buffer rest = {.data = (const unsigned char *)data + done,
                           .length = length - (size_t)done};
        if (pco__queue_copy(&ssl->queue, &rest, 1, rest.length) != 0) {
            pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
            return give_up(ssl, PCO_ENOMEM);
        }
    }
    go_on(ssl);
    return 0;
}

/* Puts small buffers together, in records as full as can be; they are not many bytes. */
static int write_gathered(pco__ssl *ssl, const pco_buffer *buffers, size_t count, size_t total)
{
    pco__queue gathered = {NULL};
    if (pco__queue_copy(&gathered, buffers, count, total) != 0) {
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        return give_up(ssl, PCO_ENOMEM);
    }
    int code = pco__ssl_write(&ssl->base, gathered.head->segment.data, total);
    pco__queue_clear(&gathered);
    return code;
}

int pco__ssl_writelines(pco_transport *transport, const pco_buffer *buffers, size_t count)
{
    pco__ssl *ssl = of(transport);
    bool dropped;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += buffers[i].length;
    }
    int code = check_writable(ssl, &dropped);
    if (code != 0 || dropped || total == 0) {
        return code;
    }
    if (count == 1) {
        return pco__ssl_write(transport, buffers->data, total);
    }
    if (total <= PCO__SSL_RECORD_SIZE && pco__queue_size(&ssl->queue) == 0) {
        size_t filled = 0;
        for (size_t i = 0; i < count; i++) {
            if (buffers[i].length != 0) {
                memcpy(ssl->shared->gathered + filled, buffers[i].data, buffers[i].length);
                filled += buffers[i].length;
            }
        }
        return pco__ssl_write(transport, ssl->shared->gathered, total);
    }
    if (pco__queue_size(&ssl->queue) == 0) {
        return write_gathered(ssl, buffers, count, total);
    }
    if (pco__queue_copy(&ssl->queue, buffers, count, total) != 0) {
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        return give_up(ssl, PCO_ENOMEM);
    }
    go_on(ssl);
    return 0;
}

int pco__ssl_write_owned(pco_transport *transport, const pco_buffer *buffer, pco__owned owned)
{
    pco__ssl *ssl = of(transport);
    bool dropped;
    int code = check_writable(ssl, &dropped);
    int done = 0;
    if (code == 0 && !dropped) {
        done = write_at_once(ssl, buffer->data, buffer->length, true);
    }
    if (done == PCO__SSL_FAILED) {
        code = give_up(ssl, code_of_failure(ssl));
    } else if (code == 0 && !dropped && (size_t)done < buffer->length) {
        if (pco__queue_own(&ssl->queue, buffer, owned, (size_t)done) == 0) {
            go_on(ssl);
            return 0;
        }
        pco__ssl_set_error(ssl, PCO_ENOMEM, 0, NULL);
        code = give_up(ssl, PCO_ENOMEM);
    } else if (code == 0 && !dropped) {
        pco__ssl_pause_if_over(ssl);
    }
    if (owned.release != NULL) {
        owned.release(buffer->data, owned.context);
    }
    return code;
}

/* ---- As a lower end ---- */

int pco__ssl_append(pco_transport *transport, const void *data, size_t length, bool ends)
{
    pco__ssl *ssl = of(transport);
    if (ssl->state != PCO__SSL_OPEN || !pco__ssl_is_open(ssl)) {
        return PCO_ECLOSED;
    }
    int done = write_at_once(ssl, data, length, ends);
    if (done == PCO__SSL_FAILED) {
        return code_of_failure(ssl);
    }
    if ((size_t)done == length) {
        return 0;
    }
    pco_buffer rest = {.data = (const unsigned char *)data + done, .length = length - (size_t)done};
    int code = pco__queue_copy(&ssl->queue, &rest, 1, rest.length);
    if (code == 0) {
        pco__ssl_wait_in_line(ssl, PCO__SSL_DATA);
    }
    return code;
}

bool pco__ssl_await_room(pco_transport *transport, size_t size)
{
    pco__ssl *ssl = of(transport);
    encrypt_queue(ssl);
    if (!pco__ssl_is_open(ssl)) {
        return false;
    }
    ssl->lower->class_->await_room(ssl->lower, size);
    if (!pco__ssl_is_open(ssl) || pco__ssl_pending(transport) <= size) {
        return false;
    }
    ssl->low = size;
    ssl->base.writing_paused = true;
    return true;
}
