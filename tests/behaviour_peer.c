/* SPDX-License-Identifier: MIT */
/*
 * behaviour_peer.c: clients for tests, on the bare seam.
 *
 * The one hard idea is the end: a socket may be closed only when none of its operations is in
 * flight, so closing cancels both and the done() that comes last closes.
 */
#include "behaviour_peer.h"

#include "system/network.h"
#include "system/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pco__backend_class *class_of(const peer *self)
{
    return self->loop->backend->class_;
}

/* Memory of the tests is not the library's: its failures are not tested. */
static void *grow(void *memory, size_t size)
{
    void *grown = realloc(memory, size);

    if (grown == NULL) {
        fprintf(stderr, "the test itself is out of memory\n");
        abort();
    }
    return grown;
}

/* ---- The end ---- */

static void close_if_drained(peer *self)
{
    if (self->closing && self->closed == 0 && !self->in.in_flight && !self->out.in_flight) {
        if (self->attached) {
            class_of(self)->close(self->loop->backend, &self->io, self->resets);
        }
        self->closed = 1;
    }
}

void peer_close(peer *self, bool reset)
{
    if (self->closing) {
        return;
    }
    self->closing = true;
    self->resets = reset;
    if (self->in.in_flight) {
        class_of(self)->cancel(self->loop->backend, &self->in);
    }
    if (self->out.in_flight) {
        class_of(self)->cancel(self->loop->backend, &self->out);
    }
    close_if_drained(self);
}

void peer_note_end(peer *self, bool clean, int error)
{
    if (self->ended == 0) {
        self->ended = 1;
        self->clean = clean;
    }
    if (self->error == 0) {
        self->error = error;
    }
}

/* ---- Reading ---- */

void peer_note_data(peer *self, const void *data, size_t length)
{
    if (self->room - self->length < length) {
        self->room = 2 * (self->length + length);
        self->received = grow(self->received, self->room);
    }
    memcpy(self->received + self->length, data, length);
    self->length += length;
}

static void get_small_buffer(pco__op *op, void **buffer, size_t *length)
{
    peer *self = PCO__CONTAINER(op, peer, in);

    *buffer = self->small;
    *length = sizeof self->small;
}

static void read_on(peer *self)
{
    if (self->connected != 0 && self->reads && !self->closing && self->ended == 0 &&
        !self->in.in_flight) {
        self->in.kind = PCO__OP_RECV;
        self->in.with.get_buffer = self->says_little ? get_small_buffer : NULL;
        class_of(self)->submit(self->loop->backend, &self->in);
    }
}

static bool received(pco__op *op, const pco__result *result)
{
    peer *self = PCO__CONTAINER(op, peer, in);

    if (result->error == 0 && result->length != 0) {
        if (self->tls != NULL) {
            peer_tls_input(self, result->data, result->length);
        } else {
            peer_note_data(self, result->data, result->length);
        }
    } else if (result->error != PCO_ECANCELED) {
        peer_note_end(self, self->tls == NULL && result->error == 0, result->error);
    }
    read_on(self);
    close_if_drained(self);
    return false;
}

void peer_set_reading(peer *self, bool reads)
{
    self->reads = reads;
    if (!reads && self->in.in_flight) {
        class_of(self)->cancel(self->loop->backend, &self->in);
    }
    read_on(self);
}

/* ---- Writing ---- */

static void all_is_sent(peer *self)
{
    if (self->wants_eof) {
        self->wants_eof = false;
        class_of(self)->shutdown_send(self->loop->backend, &self->io);
    }
    if (self->wants_close) {
        peer_close(self, false);
    }
}

static void send_on(peer *self)
{
    if (self->connected == 0 || self->closing || self->out.in_flight) {
        return;
    }
    if (self->sending_offset == self->sending_length) {
        unsigned char *spent = self->sending;

        self->sending = self->queue;
        self->sending_length = self->queue_length;
        self->sending_offset = 0;
        self->queue = NULL;
        self->queue_length = 0;
        free(spent);
        if (self->sending_length == 0) {
            all_is_sent(self);
            return;
        }
    }
    size_t rest = self->sending_length - self->sending_offset;
    self->segment.next = NULL;
    self->segment.data = self->sending + self->sending_offset;
    self->segment.length = self->says_little ? 1 : rest;
    self->out.kind = PCO__OP_SEND;
    self->out.with.chain = &self->segment;
    class_of(self)->submit(self->loop->backend, &self->out);
}

void peer_send_raw(peer *self, const void *data, size_t length)
{
    if (self->closing || length == 0) {
        return;
    }
    self->queue = grow(self->queue, self->queue_length + length);
    memcpy(self->queue + self->queue_length, data, length);
    self->queue_length += length;
    send_on(self);
}

void peer_send(peer *self, const void *data, size_t length)
{
    if (self->tls != NULL) {
        peer_tls_send(self, data, length);
    } else {
        peer_send_raw(self, data, length);
    }
}

void peer_finish_raw(peer *self)
{
    self->wants_eof = true;
    send_on(self);
}

void peer_finish(peer *self)
{
    if (self->tls != NULL) {
        peer_tls_finish(self);
    } else {
        peer_finish_raw(self);
    }
}

/* ---- Connecting ---- */

static void became_connected(peer *self)
{
    self->connected = 1;
    read_on(self);
    if (self->tls != NULL) {
        peer_tls_input(self, NULL, 0);
    } else {
        self->established = 1;
    }
    send_on(self);
}

static bool wrote(pco__op *op, const pco__result *result)
{
    peer *self = PCO__CONTAINER(op, peer, out);

    if (op->kind == PCO__OP_CONNECT) {
        if (result->error == 0) {
            became_connected(self);
        } else {
            peer_note_end(self, false, result->error);
        }
    } else if (result->error == 0) {
        self->sending_offset += result->length;
        send_on(self);
    } else if (result->error != PCO_ECANCELED) {
        /* What the other side sent before it went can still be read: reading notes the end. */
        self->sending_offset = self->sending_length;
        if (self->error == 0) {
            self->error = result->error;
        }
    }
    close_if_drained(self);
    return false;
}

peer *peer_connect(pco_loop *loop, const pco_address *address, bool tls)
{
    peer *self = grow(NULL, sizeof *self);
    pco_error error = {0};

    memset(self, 0, sizeof *self);
    self->loop = loop;
    self->address = *address;
    self->reads = true;
    self->tls = tls ? peer_tls_new() : NULL;
    self->in.io = &self->io;
    self->in.done = received;
    self->out.io = &self->io;
    self->out.done = wrote;
    self->out.kind = PCO__OP_CONNECT;
    self->out.with.address = &self->address;
    self->error =
        pco__system_network.open(NULL, pco_address_family(address), 0, &self->io.socket, &error);
    if (self->error == 0) {
        self->error = class_of(self)->attach(loop->backend, &self->io, PCO__IO_UNCONNECTED, &error);
    }
    self->attached = self->error == 0;
    if (self->attached) {
        class_of(self)->submit(loop->backend, &self->out);
    } else {
        fprintf(stderr, "a peer could not be made: %s\n", error.message);
        peer_note_end(self, false, self->error);
    }
    return self;
}

void peer_free(peer *self)
{
    if (self->tls != NULL) {
        peer_tls_free(self->tls);
    }
    free(self->received);
    free(self->queue);
    free(self->sending);
    free(self);
}
