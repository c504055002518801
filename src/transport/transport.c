/* SPDX-License-Identifier: MIT */
/*
 * transport.c: the public functions of transports: they check the arguments, and ask the class.
 */
#include "transport/transport.h"

#include <assert.h>
#include <string.h>

#include "support/memory.h"
#include "support/options.h"
#include "system/network.h"

void pco__transport_init(pco_transport *transport, const pco__transport_class *class_,
                         pco__transports *home, pco_protocol *protocol, pco__stream *stream)
{
    transport->class_ = class_;
    transport->home = home;
    transport->protocol = protocol;
    transport->stream = stream;
    transport->references = 1;
}

void pco__transport_put_on_top(pco_transport *transport)
{
    transport->stream->top = transport;
}

void pco__transport_end(pco_transport *transport)
{
    pco__list_remove(&transport->link);
    transport->stream = NULL;
    transport->protocol = NULL;
    if (transport->references > 1) {
        pco__list_append(&transport->home->shells, &transport->link);
    }
    pco_transport_release(transport);
}

/* In debug mode. A shell whose loop is gone belongs to no thread. */
static void check_thread(const pco_transport *transport)
{
    if (transport->home != NULL) {
        pco__loop_check_thread(transport->home->loop);
    }
}

pco_transport *pco_transport_retain(pco_transport *transport)
{
    check_thread(transport);
    transport->references++;
    return transport;
}

void pco_transport_release(pco_transport *transport)
{
    check_thread(transport);
    assert(transport->references != 0);
    if (--transport->references == 0) {
        assert(transport->stream == NULL);
        pco__list_remove(&transport->link);
        transport->class_->destroy(transport);
    }
}

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

bool pco__protocol_is_valid(const pco_protocol *protocol)
{
    return protocol != NULL && protocol->methods != NULL &&
           pco__size_check(&method_layout, protocol->methods->size, NULL) == 0;
}

bool pco__protocol_hears_of_shutdown(const pco_protocol *protocol)
{
    const pco_protocol_methods *methods = protocol->methods;
    return methods->size > offsetof(pco_protocol_methods, shutting_down) &&
           methods->shutting_down != NULL;
}

/* In debug mode checks the thread. Returns whether the transport is still there. */
static bool is_alive(const pco_transport *transport)
{
    if (transport->stream == NULL) {
        check_thread(transport);
        return false;
    }
    pco__loop_check_thread(transport->home->loop);
    return true;
}

/* ---- Writing ---- */

/* No object is larger; so what waits and a copy of one more can always be counted. */
#define WAITING_MOST (SIZE_MAX / 2)

/* Whether that many bytes can wait besides those that do. The same memory may be given again. */
static bool can_wait(const pco_transport *transport, size_t length)
{
    size_t pending = pco__stream_pending(transport->stream);
    return pending <= WAITING_MOST && length <= WAITING_MOST - pending;
}

/*
 * What was written outside of callbacks leaves at once: there is no callback's end to wait for. So
 * it is while the loop is freed, too.
 */
static void send_outside(pco_loop *loop)
{
    if (!loop->is_running) {
        pco__loop_after_callback(loop);
    }
}

/* With what is unusual: no data, a transport that is closed, debug mode, outside of callbacks. */
static PCO__COLD int write_carefully(pco_transport *transport, const void *data, size_t length)
{
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    if ((data == NULL && length != 0) || length > WAITING_MOST) {
        return PCO_EINVAL;
    }
    pco_loop *loop = transport->home->loop;
    int code = transport->class_->write(transport, data, length);
    send_outside(loop);
    return code;
}

static PCO__NOINLINE int write_otherwise(pco_transport *transport, const void *data, size_t length)
{
    if (transport->stream == NULL || data == NULL || length > WAITING_MOST ||
        transport->home->loop->careful) {
        return write_carefully(transport, data, length);
    }
    return transport->class_->write(transport, data, length);
}

/* The commonest write by far, a small one, the first of the running callback, takes no detour. */
int pco_transport_write(pco_transport *transport, const void *data, size_t length)
{
    if (length - 1 >= transport->corkable || data == NULL || /* a length of 0 is too long so */
        transport->home->loop->careful || pco__has_corks(transport->home)) {
        return write_otherwise(transport, data, length);
    }
    pco__cork_first(transport->home, transport->stream, data, length);
    return 0;
}

int pco_transport_writelines(pco_transport *transport, const pco_buffer *buffers, size_t count)
{
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    if (buffers == NULL && count != 0) {
        return PCO_EINVAL;
    }
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = buffers[i].length;
        if ((buffers[i].data == NULL && length != 0) || length > WAITING_MOST - total) {
            return PCO_EINVAL;
        }
        total += length;
    }
    if (!can_wait(transport, total)) {
        return PCO_EINVAL;
    }
    pco_loop *loop = transport->home->loop;
    int code = transport->class_->writelines(transport, buffers, count);
    send_outside(loop);
    return code;
}

int pco_transport_write_owned(pco_transport *transport, const void *data, size_t length,
                              void (*release)(const void *data, void *context), void *context)
{
    int code = 0;
    if (!is_alive(transport)) {
        code = PCO_ECLOSED;
    } else if ((data == NULL && length != 0) || !can_wait(transport, length)) {
        code = PCO_EINVAL;
    } else if (length != 0) {
        pco_buffer buffer = {.data = data, .length = length};
        pco__owned owned = {.release = release, .context = context};
        pco_loop *loop = transport->home->loop;
        code = transport->class_->write_owned(transport, &buffer, owned);
        send_outside(loop);
        return code;
    } else {
        code = transport->class_->write(transport, data, 0);
    }
    if (release != NULL) {
        release(data, context);
    }
    return code;
}

int pco_transport_write_eof(pco_transport *transport)
{
    return is_alive(transport) ? transport->class_->write_eof(transport) : PCO_ECLOSED;
}

bool pco_transport_can_write_eof(const pco_transport *transport)
{
    check_thread(transport);
    return transport->class_->can_write_eof;
}

/* ---- Closing ---- */

void pco_transport_close(pco_transport *transport)
{
    if (is_alive(transport)) {
        pco_loop *loop = transport->home->loop;
        transport->class_->close(transport);
        send_outside(loop);
    }
}

void pco_transport_abort(pco_transport *transport)
{
    if (is_alive(transport)) {
        transport->class_->abort(transport, false);
    }
}

void pco_transport_abort_reset(pco_transport *transport)
{
    if (is_alive(transport)) {
        transport->class_->abort(transport, true);
    }
}

bool pco_transport_is_closing(const pco_transport *transport)
{
    return !is_alive(transport) || transport->class_->is_closing(transport);
}

/* ---- Reading ---- */

static int set_reading_paused(pco_transport *transport, bool paused)
{
    if (pco_transport_is_closing(transport)) {
        return PCO_ECLOSED;
    }
    if (transport->reading_paused != paused) {
        transport->reading_paused = paused;
        transport->class_->reading_changed(transport);
    }
    return 0;
}

int pco_transport_pause_reading(pco_transport *transport)
{
    return set_reading_paused(transport, true);
}

int pco_transport_resume_reading(pco_transport *transport)
{
    return set_reading_paused(transport, false);
}

bool pco_transport_is_reading(const pco_transport *transport)
{
    return !pco_transport_is_closing(transport) && !transport->reading_paused;
}

pco_protocol *pco_transport_get_protocol(const pco_transport *transport)
{
    check_thread(transport);
    return transport->protocol;
}

int pco_transport_set_protocol(pco_transport *transport, pco_protocol *protocol)
{
    if (!pco__protocol_is_valid(protocol)) {
        return PCO_EINVAL;
    }
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    transport->replaced = transport->replaced || transport->protocol != protocol;
    transport->protocol = protocol;
    if (transport->class_->protocol_changed != NULL) {
        transport->class_->protocol_changed(transport);
    }
    return 0;
}

/* Copies into a buffered protocol's own memory. Returns how many bytes were used. */
static size_t deliver_to_buffer(pco_transport *transport, const unsigned char *data, size_t length,
                                bool *broken)
{
    pco_protocol *protocol = transport->protocol;
    void *memory = NULL;
    size_t size = 0;
    transport->replaced = false;
    protocol->methods->get_buffer(protocol, transport, length, &memory, &size);
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
    if (protocol->methods->buffer_updated != NULL) {
        protocol->methods->buffer_updated(protocol, transport, size);
    }
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

/* ---- Flow control ---- */

int pco_transport_set_write_buffer_limits(pco_transport *transport, size_t high, size_t low)
{
    if (high == PCO_LIMIT_DEFAULT) {
        if (low == PCO_LIMIT_DEFAULT) {
            high = PCO__HIGH_WATER;
        } else {
            high = low <= SIZE_MAX / 4 ? 4 * low : SIZE_MAX - 1;
        }
    }
    if (low == PCO_LIMIT_DEFAULT) {
        low = high / 4;
    }
    if (low > high) {
        return PCO_EINVAL;
    }
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    transport->class_->set_limits(transport, high, low);
    return 0;
}

void pco_transport_get_write_buffer_limits(const pco_transport *transport, size_t *high,
                                           size_t *low)
{
    bool alive = is_alive(transport);
    *high = PCO__HIGH_WATER;
    *low = PCO__LOW_WATER;
    if (alive) {
        transport->class_->get_limits(transport, high, low);
    }
}

size_t pco_transport_get_write_buffer_size(const pco_transport *transport)
{
    return is_alive(transport) ? transport->class_->pending(transport) : 0;
}

/* ---- Extra information ---- */

pco_loop *pco_transport_get_loop(const pco_transport *transport)
{
    check_thread(transport);
    return transport->home != NULL ? transport->home->loop : NULL;
}

pco_socket pco_transport_get_socket(const pco_transport *transport)
{
    return is_alive(transport) ? transport->stream->io.socket : PCO_NO_SOCKET;
}

int pco_transport_get_sockname(const pco_transport *transport, pco_address *address)
{
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    pco__backend *backend = transport->home->backend;
    pco_socket sock = transport->stream->io.socket;
    return backend->class_->network->sockname(backend, sock, address);
}

int pco_transport_get_peername(const pco_transport *transport, pco_address *address)
{
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    const pco__stream *stream = transport->stream;
    if (stream->peer_length == 0) {
        pco__backend *backend = transport->home->backend;
        return backend->class_->network->peername(backend, stream->io.socket, address);
    }
    memset(address, 0, sizeof *address);
    address->length = stream->peer_length;
    memcpy(address->storage, stream->peer, stream->peer_length);
    return 0;
}

static const pco__field info_fields[] = {
    PCO__FIELD(pco_ssl_info, version),          PCO__FIELD(pco_ssl_info, cipher),
    PCO__FIELD(pco_ssl_info, cipher_bits),      PCO__FIELD(pco_ssl_info, alpn),
    PCO__FIELD(pco_ssl_info, server_name),      PCO__FIELD(pco_ssl_info, session_reused),
    PCO__FIELD(pco_ssl_info, peer_certificate), PCO__FIELD(pco_ssl_info, peer_certificate_length),
};
static const pco__layout info_layout = PCO__LAYOUT(pco_ssl_info, sizeof(size_t), info_fields);

int pco_transport_get_ssl_info(pco_transport *transport, pco_ssl_info *info)
{
    if (info == NULL || pco__size_check(&info_layout, info->size, NULL) != 0) {
        return PCO_EINVAL;
    }
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    pco_ssl_info whole = {.size = sizeof whole};
    int code = transport->class_->get_ssl_info(transport, &whole);
    return code == 0 ? pco__options_fill(&info_layout, &whole, info) : code;
}

struct ssl_st *pco_transport_get_ssl_object(const pco_transport *transport)
{
    return is_alive(transport) ? transport->class_->get_ssl_object(transport) : NULL;
}
