/* SPDX-License-Identifier: MIT */
/* connect.c: a connect() that does not wait, and how it ended. */
#define _GNU_SOURCE 1

#include "posix/reactor.h"

#include "system/platform.h"

#include <errno.h>
#include <sys/socket.h>

/*
 * The socket is registered behind its connect(), since an unconnected one counts as ended and ready
 * for all. The system looks at it then, so that nothing is missed.
 */
static void start_connect(pco__reactor *reactor, pco__io *io)
{
    pco__op *op = io->private_.reactor.out;
    const pco_address *address = op->with.address;
    bool is_unix = pco_address_family(address) == PCO_AF_UNIX;
    pco__result result = {0};

    io->private_.reactor.short_reads = is_unix ? PCO__SHORT_READ_PROVES_NOTHING : 0;
    bool stands = connect(pco__io_descriptor(io), (const struct sockaddr *)address->storage,
                          (socklen_t)address->length) == 0;
    if (!stands && errno != EINPROGRESS && errno != EINTR) {
        pco__reactor_fail(reactor, op, errno);
        return;
    }
    io->private_.reactor.ready = stands ? PCO__READY_OUT : 0;
    if (pco__reactor_register(reactor, io, op) && stands) {
        pco__reactor_finish(reactor, op, &result);
    }
}

void pco__reactor_connect(pco__reactor *reactor, pco__io *io)
{
    pco__result result = {0};

    if (!io->private_.reactor.registered) {
        start_connect(reactor, io);
        return;
    }
    if ((io->private_.reactor.ready & PCO__READY_ERROR) != 0 ||
        !pco__reactor_poller(reactor)->tells_failures) {
        result.system_code = pco__io_take_error(io);
    }
    if (result.system_code != 0) {
        result.error = pco__error_from_system(result.system_code);
    }
    pco__reactor_finish(reactor, io->private_.reactor.out, &result);
}
