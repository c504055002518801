/* SPDX-License-Identifier: MIT */
/*
 * transport.c: the public functions of transports: they check the arguments, and ask the class.
 */

#include <string.h>

#include "support/error.h"
#include "support/options.h"
#include "system/network.h"
#include "transport/stream.h"

/* In debug mode checks the thread. Returns whether the transport is still there. */
static bool is_alive(const pco_transport *transport)
{
    if (transport->stream == NULL) {
        pco__transport_check_thread(transport);
        return false;
    }
    pco__loop_check_thread(transport->home->loop);
    return true;
}

bool pco__transport_is_alive(const pco_transport *transport)
{
    return is_alive(transport);
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
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    pco_loop *loop = transport->home->loop;
    int code = transport->class_->write_eof(transport);
    send_outside(loop);
    return code;
}

bool pco_transport_can_write_eof(const pco_transport *transport)
{
    pco__transport_check_thread(transport);
    return transport->class_->can_write_eof(transport);
}

/* ---- Closing ---- */

/* These act on the connection, whatever layer is in charge of it. */

void pco_transport_close(pco_transport *transport)
{
    transport = pco__transport_in_charge(transport);
    if (is_alive(transport)) {
        pco_loop *loop = transport->home->loop;
        transport->class_->close(transport);
        send_outside(loop);
    }
}

void pco_transport_abort(pco_transport *transport)
{
    transport = pco__transport_in_charge(transport);
    if (is_alive(transport)) {
        transport->class_->abort(transport, false);
    }
}

void pco_transport_abort_reset(pco_transport *transport)
{
    transport = pco__transport_in_charge(transport);
    if (is_alive(transport)) {
        transport->class_->abort(transport, true);
    }
}

bool pco_transport_is_closing(const pco_transport *transport)
{
    return !is_alive(transport) || transport->class_->is_closing(transport);
}

/* ---- Giving the socket away ---- */

int pco_transport_detach(pco_transport *transport, pco_detached detached, void *context,
                         pco_request **request, pco_error *error)
{
    bool alive = is_alive(transport);
    if (detached == NULL) {
        return pco__error_set(error, PCO_EINVAL, 0, "a callback is required");
    }
    if (transport->class_->detach == NULL) {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "a TLS transport cannot be detached: its keys would stay behind");
    }
    if (!alive) {
        return pco__error_set(error, PCO_ECLOSED, 0, "the transport is closed");
    }
    return transport->class_->detach(transport, detached, context, request, error);
}

/* ---- Reading ---- */

int pco_transport_pause_reading(pco_transport *transport)
{
    return is_alive(transport) ? pco__transport_set_reading_paused(transport, true) : PCO_ECLOSED;
}

int pco_transport_resume_reading(pco_transport *transport)
{
    return is_alive(transport) ? pco__transport_set_reading_paused(transport, false) : PCO_ECLOSED;
}

bool pco_transport_is_reading(const pco_transport *transport)
{
    return !pco_transport_is_closing(transport) && !transport->reading_paused;
}

pco_protocol *pco_transport_get_protocol(const pco_transport *transport)
{
    pco__transport_check_thread(transport);
    return pco__transport_in_charge(transport)->protocol;
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
    pco__transport_check_thread(transport);
    return transport->home != NULL ? transport->home->loop : NULL;
}

pco_socket pco_transport_get_socket(const pco_transport *transport)
{
    return is_alive(transport) ? transport->stream->io.socket : PCO_NO_SOCKET;
}

int pco_transport_get_sockname(const pco_transport *transport, pco_address *address)
{
    pco_socket sock = pco_transport_get_socket(transport);
    if (sock == PCO_NO_SOCKET) {
        return PCO_ECLOSED;
    }
    pco__backend *backend = transport->home->backend;
    return backend->class_->network->sockname(backend, sock, address);
}

int pco_transport_get_peername(const pco_transport *transport, pco_address *address)
{
    if (!is_alive(transport)) {
        return PCO_ECLOSED;
    }
    const pco__stream *stream = transport->stream;
    bool is_noted = stream->peer_length != 0 && stream->peer_length != PCO__PEER_OF_PIPE;
    if (!is_noted && stream->io.socket == PCO_NO_SOCKET) {
        return PCO_ECLOSED;
    }
    if (!is_noted) {
        pco__backend *backend = transport->home->backend;
        return backend->class_->network->peername(backend, stream->io.socket, address);
    }
    memset(address, 0, sizeof *address);
    address->length = stream->peer_length;
    memcpy(address->storage, stream->peer, stream->peer_length);
    return 0;
}

static const pco__field counter_fields[] = {
    PCO__FIELD(pco_transport_counters, bytes_received),
    PCO__FIELD(pco_transport_counters, bytes_sent),
    PCO__FIELD(pco_transport_counters, bytes_retransmitted),
    PCO__FIELD(pco_transport_counters, round_trip_time),
};
static const pco__layout counter_layout =
    PCO__LAYOUT(pco_transport_counters, sizeof(size_t), counter_fields);

int pco_transport_get_counters(const pco_transport *transport, pco_transport_counters *counters)
{
    if (counters == NULL || pco__size_check(&counter_layout, counters->size, NULL) != 0) {
        return PCO_EINVAL;
    }
    pco_socket sock = pco_transport_get_socket(transport);
    if (sock == PCO_NO_SOCKET) {
        return PCO_ECLOSED;
    }
    pco__backend *backend = transport->home->backend;
    pco_transport_counters whole = {.size = sizeof whole};
    int code = backend->class_->network->counters(backend, sock, &whole);
    return code == 0 ? pco__options_fill(&counter_layout, &whole, counters) : code;
}

static const pco__field credential_fields[] = {
    PCO__FIELD(pco_credentials, user),
    PCO__FIELD(pco_credentials, group),
    PCO__FIELD(pco_credentials, process),
};
static const pco__layout credential_layout =
    PCO__LAYOUT(pco_credentials, sizeof(size_t), credential_fields);

int pco_transport_get_peer_credentials(const pco_transport *transport, pco_credentials *credentials)
{
    if (credentials == NULL || pco__size_check(&credential_layout, credentials->size, NULL) != 0) {
        return PCO_EINVAL;
    }
    pco_socket sock = pco_transport_get_socket(transport);
    if (sock == PCO_NO_SOCKET) {
        return PCO_ECLOSED;
    }
    pco__backend *backend = transport->home->backend;
    pco_credentials whole = {.size = sizeof whole, .user = -1, .group = -1, .process = -1};
    int code = backend->class_->network->credentials(backend, sock, &whole);
    return code == 0 ? pco__options_fill(&credential_layout, &whole, credentials) : code;
}

static const pco__field info_fields[] = {
    PCO__FIELD(pco_ssl_info, version),
    PCO__FIELD(pco_ssl_info, cipher),
    PCO__FIELD(pco_ssl_info, cipher_bits),
    PCO__FIELD(pco_ssl_info, alpn),
    PCO__FIELD(pco_ssl_info, server_name),
    PCO__FIELD(pco_ssl_info, session_reused),
    PCO__FIELD(pco_ssl_info, peer_certificate),
    PCO__FIELD(pco_ssl_info, peer_certificate_length),
    PCO__FIELD(pco_ssl_info, group),
    PCO__FIELD(pco_ssl_info, verified),
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
