/* SPDX-License-Identifier: MIT */
/*
 * send.c: sending what the system takes now, as an operation or without one, and waiting where the
 * system has no memory left.
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"

#include "system/platform.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the socket has SO_NOSIGPIPE instead: see socket.c */
#endif

static int send_error(const pco__io *io, int system_code)
{
    return io->private_.reactor.shut_down ? pco__error_from_system(system_code)
                                          : pco__stream_error(system_code);
}

/* A list of buffers for one call to the system. */
typedef struct parcel {
    struct iovec parts[PCO__SEND_BUFFERS];
    size_t count;
    size_t total;
} parcel;

/* Adds a buffer, and returns whether another one fits. */
static bool add_part(parcel *load, const void *data, size_t length)
{
    struct iovec *part = &load->parts[load->count++];

    if (length > PCO__TRANSFER_LIMIT - load->total) {
        length = PCO__TRANSFER_LIMIT - load->total;
    }
    part->iov_base = (void *)(uintptr_t)data; /* an iovec cannot say that it is only read */
    part->iov_len = length;
    load->total += length;
    return load->count < PCO__SEND_BUFFERS && load->total < PCO__TRANSFER_LIMIT;
}

static ssize_t send_parcel(const pco__io *io, parcel *load)
{
    struct msghdr message = {.msg_iov = load->parts};
    ssize_t sent;

    message.msg_iovlen = (uint8_t)load->count; /* its type differs from system to system */
    do {
        sent = sendmsg(pco__io_descriptor(io), &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

/* What the answer of send() means, which was asked for `total` bytes. */
static pco__sent judge_send(pco__io *io, ssize_t answer, size_t total)
{
    pco__sent sent = {0};

    if (answer < 0 && !pco__would_block(errno)) {
        sent.system_code = errno;
        sent.error = errno == ENOBUFS ? PCO_EAGAIN : send_error(io, errno); /* starve() */
        return sent;
    }
    if (answer < (ssize_t)total) {
        pco__ready_clear(io, PCO__READY_OUT);
    }
    if (answer < 0) {
        sent.error = PCO_EAGAIN;
    } else {
        sent.length = (size_t)answer;
    }
    return sent;
}

/* How long poll() waits, at most, before it tries to send again what there was no memory for. */
#define STARVED_WAIT ((uint64_t)10 * 1000000)

/*
 * The system, not the socket, is out of memory, as macOS and the BSDs may say (ENOBUFS in send(2)).
 * No event will tell when that is over, so poll() tries again after a while.
 */
static void starve(pco__reactor *reactor, pco__io *io)
{
    if (pco__list_is_empty(&reactor->starved)) {
        reactor->feed_at = pco__monotonic() + STARVED_WAIT;
    }
    pco__ready_clear(io, PCO__READY_OUT);
    io->private_.reactor.starving = true;
    pco__list_remove(&io->private_.reactor.link);
    reactor->queued = true;
    pco__list_append(&reactor->starved, &io->private_.reactor.link);
}

void pco__reactor_feed(pco__io *io)
{
    io->private_.reactor.starving = false;
    io->private_.reactor.ready |= PCO__READY_OUT;
    pco__list_remove(&io->private_.reactor.link);
}

void pco__reactor_feed_all(pco__reactor *reactor)
{
    while (!pco__list_is_empty(&reactor->starved)) {
        pco__link *link = reactor->starved.next;

        pco__reactor_feed(PCO__CONTAINER(link, pco__io, private_.reactor.link));
        pco__list_append(&reactor->batch, link);
    }
}

void pco__reactor_send(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.reactor.out;
    parcel load;

    load.count = load.total = 0;
    for (const pco__segment *segment = op->with.chain; segment != NULL; segment = segment->next) {
        if (!add_part(&load, segment->data, segment->length)) {
            break;
        }
    }
    pco__sent sent = judge_send(io, send_parcel(io, &load), load.total);
    if (sent.system_code == ENOBUFS) {
        starve(reactor, io);
    } else if (sent.error != PCO_EAGAIN) {
        pco__result result = {
            .error = sent.error, .system_code = sent.system_code, .length = sent.length};
        pco__reactor_finish(reactor, op, &result);
    }
}

pco__sent pco__reactor_try_send(pco__backend *backend, pco__io *io, const pco_buffer *buffers,
                                size_t count)
{
    parcel load;

    (void)backend;
    assert(io->private_.reactor.out == NULL && count > 0 && count <= PCO__SEND_BUFFERS);
    if ((io->private_.reactor.ready & PCO__READY_OUT) == 0) {
        return (pco__sent){.error = PCO_EAGAIN};
    }
    load.count = load.total = 0;
    for (size_t i = 0; i < count; i++) {
        if (!add_part(&load, buffers[i].data, buffers[i].length)) {
            break;
        }
    }
    return judge_send(io, send_parcel(io, &load), load.total);
}

/* send() did not take the whole. Where a signal has interrupted it, a SEND tries again. */
static PCO__COLD pco__sent sent_otherwise(pco__io *io, ssize_t answer, size_t length)
{
    bool interrupted = answer < 0 && errno == EINTR;
    return interrupted ? (pco__sent){.error = PCO_EAGAIN} : judge_send(io, answer, length);
}

pco__sent pco__reactor_try_send_one(pco__backend *backend, pco__io *io, const void *data,
                                    size_t length)
{
    (void)backend;
    assert(io->private_.reactor.out == NULL && length < PCO__SEND_ONE);
    if ((io->private_.reactor.ready & PCO__READY_OUT) == 0) {
        return (pco__sent){.error = PCO_EAGAIN};
    }
    ssize_t answer = send(pco__io_descriptor(io), data, length, MSG_NOSIGNAL);
    if (answer != (ssize_t)length) {
        return sent_otherwise(io, answer, length);
    }
    return (pco__sent){.length = (size_t)answer};
}
