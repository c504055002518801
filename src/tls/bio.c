/* SPDX-License-Identifier: MIT */
/*
 * bio.c: one BIO for all TLS connections of a loop.
 *
 * OpenSSL knows of no sockets here. When a function of it is called, pco__ssl_call says for which
 * connection, and what that has received: reading copies from the received bytes, and writing
 * appends to what the lower end sends when the running callback returns. So one recv is good for
 * many records, and all their answers leave in one send. Writing never has to wait; it can only
 * fail.
 *
 * Reading gives one record at a time, whole if it is there: OpenSSL is told to read ahead, gets it
 * in one call, and nothing is left over to be moved. And a call can be held to so many records,
 * whatever they are: OpenSSL itself reads on and on as long as they bring no data.
 */
#include "tls/bio.h"

#include <assert.h>
#include <openssl/bio.h>
#include <string.h>

#include "support/memory.h"

/* How many of the input's bytes belong to the record that it is in, or begins. */
static size_t length_of_record(pco__ssl_records *bounds, const pco__ssl_input *input)
{
    if (bounds->left != 0) {
        return bounds->left;
    }
    size_t missing = PCO__SSL_HEADER_SIZE - bounds->header_length;
    size_t there = input->length < missing ? input->length : missing;
    memcpy(bounds->header + bounds->header_length, input->data, there);
    if (there < missing) {
        return there;
    }
    return missing + (((size_t)bounds->header[3] << 8) | bounds->header[4]);
}

/* `length` of them have been read. Returns whether that completes the record. */
static bool pass(pco__ssl_records *bounds, size_t whole, size_t length)
{
    if (bounds->left == 0) {
        size_t missing = PCO__SSL_HEADER_SIZE - (size_t)bounds->header_length;
        if (length < missing) {
            bounds->header_length = (uint8_t)(bounds->header_length + length);
            return false;
        }
        bounds->header_length = 0;
    }
    bounds->left = (uint16_t)(whole - length);
    return bounds->left == 0;
}

static size_t take(pco__ssl_input *input, char *to, size_t length)
{
    memcpy(to, input->data, length);
    input->data += length;
    input->length -= length;
    return length;
}

/* The commonest: the input begins with a record that is all there. Returns its length, or 0. */
static inline size_t whole_record(const pco__ssl_records *bounds, const pco__ssl_input *input)
{
    if (bounds->left != 0 || bounds->header_length != 0 || input->length < PCO__SSL_HEADER_SIZE) {
        return 0;
    }
    size_t whole = PCO__SSL_HEADER_SIZE + (((size_t)input->data[3] << 8) | input->data[4]);
    return whole <= input->length ? whole : 0;
}

/* A record that has come in part, or is read in parts. */
static PCO__COLD int read_part(pco__ssl_call *call, char *to, size_t length, size_t *used)
{
    size_t whole = length_of_record(call->bounds, call->input);
    length = length < whole ? length : whole;
    *used = take(call->input, to, length < call->input->length ? length : call->input->length);
    if (pass(call->bounds, whole, *used)) {
        call->records++;
    }
    return 1;
}

static int bio_read(BIO *bio, char *to, size_t length, size_t *used)
{
    pco__ssl_call *call = ((pco__ssl_loop *)BIO_get_data(bio))->call;
    pco__ssl_input *input = call->input;
    BIO_clear_retry_flags(bio);
    if (input == NULL || input->length == 0 || call->records == call->records_most) {
        *used = 0;
        call->dry = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t whole = whole_record(call->bounds, input);
    if (whole == 0 || whole > length) {
        return read_part(call, to, length, used);
    }
    *used = take(input, to, whole);
    call->records++;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t length, size_t *used)
{
    pco__ssl_call *call = ((pco__ssl_loop *)BIO_get_data(bio))->call;
    BIO_clear_retry_flags(bio);
    *used = 0;
    int code = call->lower->class_->append(call->lower, from, length, call->ends);
    if (code != 0) {
        call->error = code;
        return -1;
    }
    call->output += length;
    *used = length;
    return 1;
}

/* OpenSSL flushes after each flight; what is appended leaves by itself. */
static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static bool make_bio(pco__ssl_loop *shared)
{
    shared->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "portico");
    if (shared->method == NULL || BIO_meth_set_read_ex(shared->method, bio_read) != 1 ||
        BIO_meth_set_write_ex(shared->method, bio_write) != 1 ||
        BIO_meth_set_ctrl(shared->method, bio_control) != 1) {
        return false;
    }
    shared->bio = BIO_new(shared->method);
    if (shared->bio == NULL) {
        return false;
    }
    BIO_set_data(shared->bio, shared);
    BIO_set_init(shared->bio, 1);
    return true;
}

static void free_shared(pco__ssl_loop *shared)
{
    SSL_CTX_free(shared->hello_ctx);
    BIO_free(shared->bio);
    BIO_meth_free(shared->method);
    pco__free(shared->plaintext);
    pco__free(shared->gathered);
    pco__free(shared);
}

/* ---- As a resident: it is there for the connections, and ends when they have. ---- */

static void leave(pco__resident *resident)
{
    pco__ssl_loop *shared = PCO__CONTAINER(resident, pco__ssl_loop, resident);
    pco__loop_stop_timer(shared->loop, &shared->sweep);
    free_shared(shared);
}

static const pco__resident_class shared_class = {.leave = leave};

pco__ssl_loop *pco__ssl_loop_get(pco_loop *loop, void (*sweep)(pco__timer *timer),
                                 void (*turn)(pco__task *task))
{
    pco__resident *found = pco__loop_find(loop, &shared_class);
    if (found != NULL) {
        return PCO__CONTAINER(found, pco__ssl_loop, resident);
    }
    pco__ssl_loop *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    made->loop = loop;
    made->trust = &pco__system_trust;
    made->sweep.fire = sweep;
    made->turn.run = turn;
    pco__list_init(&made->busy);
    for (size_t i = 0; i < PCO__SSL_LINES; i++) {
        pco__list_init(&made->lines[i].waiting);
    }
    made->plaintext = pco__malloc(PCO__SSL_PLAINTEXT_SIZE);
    made->gathered = pco__malloc(PCO__SSL_RECORD_SIZE);
    if (made->plaintext == NULL || made->gathered == NULL || !make_bio(made)) {
        free_shared(made);
        return NULL;
    }
    made->resident.class_ = &shared_class;
    pco__loop_move_in_first(loop, &made->resident);
    return made;
}

pco__ssl_call *pco__ssl_call_of(const SSL *engine)
{
    return ((pco__ssl_loop *)BIO_get_data(SSL_get_rbio(engine)))->call;
}
