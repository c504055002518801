/* SPDX-License-Identifier: MIT */
/*
 * class.c: what both classes of transports have in common: how they begin and end, which protocols
 * they take, and how bytes are given to one.
 */
#include "transport/class.h"

#include <assert.h>
#include <string.h>

#include "support/options.h"

void pco__transport_end(pco_transport *transport)
{
    pco__list_remove(&transport->link);
    transport->stream = NULL;
    transport->protocol = NULL;
    transport->covered = false;
    if (--transport->references == 0) {
        transport->class_->destroy(transport);
    } else {
        pco__list_append(&transport->home->shells, &transport->link);
    }
}

void pco__transport_check_thread(const pco_transport *transport)
{
    if (transport->home != NULL) {
        pco__loop_check_thread(transport->home->loop);
    }
}

pco_transport *pco_transport_retain(pco_transport *transport)
{
    pco__transport_check_thread(transport);
    transport->references++;
    return transport;
}

void pco_transport_release(pco_transport *transport)
{
    pco__transport_check_thread(transport);
    assert(transport->references != 0);
    if (--transport->references == 0) {
        assert(transport->stream == NULL);
        pco__list_remove(&transport->link);
        transport->class_->destroy(transport);
    }
}

/* ---- Layers ---- */

void pco__transport_cover(pco_transport *transport, pco_protocol *protocol)
{
    const pco__transport_class *class_ = transport->class_;
    transport->covered = true;
    transport->stream = NULL;
    transport->protocol = protocol;
    transport->replaced = true;
    if (class_->protocol_changed != NULL) {
        class_->protocol_changed(transport);
    }
    class_->set_limits(transport, PCO__HIGH_WATER, PCO__LOW_WATER);
    pco__transport_set_reading_paused(transport, true);
}

void pco__transport_uncover(pco_transport *transport, pco_protocol *protocol, pco__stream *stream)
{
    transport->covered = false;
    transport->stream = stream;
    transport->protocol = protocol;
}

int pco__transport_set_reading_paused(pco_transport *transport, bool paused)
{
    if (transport->class_->is_closing(transport)) {
        return PCO_ECLOSED;
    }
    if (transport->reading_paused != paused) {
        transport->reading_paused = paused;
        transport->class_->reading_changed(transport);
    }
    return 0;
}

/* ---- Protocols ---- */

/* These callbacks every table has, and they are called without asking for its size. */
#define METHODS_LEAST (offsetof(pco_protocol_methods, buffer_updated) + sizeof(void (*)(void)))

static const pco__field method_fields[] = {
    PCO__FIELD(pco_protocol_methods, connection_made),
    PCO__FIELD(pco_protocol_methods, data_received),
    PCO__FIELD(pco_protocol_methods, eof_received),
    PCO__FIELD(pco_protocol_methods, connection_lost),
    PCO__FIELD(pco_protocol_methods, pause_writing),
    PCO__FIELD(pco_protocol_methods, resume_writing),
    PCO__FIELD(pco_protocol_methods, get_buffer),
    PCO__FIELD(pco_protocol_methods, buffer_updated),
    PCO__FIELD(pco_protocol_methods, shutting_down),
};
static const pco__layout method_layout =
    PCO__LAYOUT(pco_protocol_methods, METHODS_LEAST, method_fields);

bool pco__methods_are_valid(const pco_protocol_methods *methods)
{
    return pco__size_check(&method_layout, methods->size, NULL) == 0;
}

bool pco__protocol_hears_of_shutdown(const pco_protocol *protocol)
{
    const pco_protocol_methods *methods = protocol->methods;
    return methods->size > offsetof(pco_protocol_methods, shutting_down) &&
           methods->shutting_down != NULL;
}

/* Copies into a buffered protocol's own memory. Returns how many bytes were used. */
static size_t deliver_to_buffer(pco_transport *transport, const unsigned char *data, size_t length,
                                bool *broken)
{
    pco_protocol *protocol = transport->protocol;
    void *memory = NULL;
    size_t size = 0;
    transport->replaced = false;
    transport->has_more = true;
    protocol->methods->get_buffer(protocol, transport, length, &memory, &size);
    transport->has_more = false;
    if (pco_transport_is_closing(transport) || transport->reading_paused || transport->replaced) {
        return 0;
    }
    if (memory == NULL || size == 0) {
        *broken = true;
        return 0;
    }
    if (size > length) {
        size = length;
    }
    memcpy(memory, data, size);
    transport->has_more = size < length;
    if (protocol->methods->buffer_updated != NULL) {
        protocol->methods->buffer_updated(protocol, transport, size);
    }
    transport->has_more = false;
    return size;
}

size_t pco__transport_deliver(pco_transport *transport, const unsigned char *data, size_t length,
                              bool (*may_deliver)(const pco_transport *transport), bool *broken)
{
    size_t used = 0;
    do {
        pco_protocol *protocol = transport->protocol;
        if (protocol->methods->get_buffer != NULL) {
            used += deliver_to_buffer(transport, data + used, length - used, broken);
        } else {
            size_t rest = length - used;
            const unsigned char *from = data + used;
            used = length;
            if (protocol->methods->data_received != NULL) {
                protocol->methods->data_received(protocol, transport, from, rest);
            }
        }
    } while (used < length && !*broken && may_deliver(transport));
    return used;
}
