/* SPDX-License-Identifier: MIT */
/*
 * ports.c: which ports the system gives to sockets that connect without one of their own. Linux
 * tells (ip(7), ip_local_port_range); of other systems any port counts as one of them.
 */
#define _GNU_SOURCE 1

#include "posix/reactor.h"
#include "posix/socket.h"

#include <fcntl.h>
#include <stdio.h>

#define RANGE_FILE "/proc/sys/net/ipv4/ip_local_port_range"

/*
 * Of IPv6, too. As it is when the loop first asks: reading it takes three calls, and each new
 * connection asks. A loop that has asked does not see what is changed later.
 */
static void read_range(pco__reactor *reactor)
{
    char text[64];
    int descriptor = pco__descriptor_raise(open(RANGE_FILE, O_RDONLY | O_CLOEXEC));
    ssize_t length = descriptor >= 0 ? read(descriptor, text, sizeof text - 1) : 0;

    if (descriptor >= 0) {
        close(descriptor);
    }
    text[length > 0 ? length : 0] = '\0';
    if (sscanf(text, "%d %d", &reactor->first_given, &reactor->last_given) != 2) {
        reactor->first_given = 0;
        reactor->last_given = 65535;
    }
}

bool pco__port_is_given(pco__backend *backend, int port)
{
    pco__reactor *reactor = (pco__reactor *)backend;

    if (reactor->last_given == 0) {
        read_range(reactor);
    }
    return port >= reactor->first_given && port <= reactor->last_given;
}
