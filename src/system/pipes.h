/* SPDX-License-Identifier: MIT */
/*
 * pipes.h: what opens named pipes. A table that comes with the network (network.h), where the
 * system has pipes; win32/pipe.c has that of Windows.
 *
 * A pipe's end is a handle and no socket, which a pco_socket holds all the same. The transport and
 * the server do not mind: what is different is in the backend, told by the role (backend.h), and
 * here.
 */
#ifndef PCO_PIPES_H
#define PCO_PIPES_H

#include <portico/base.h>
#include <portico/error.h>

#include "system/backend.h"

/*
 * What each instance of a server's pipe is made of: its name, and who may open it. One piece of
 * memory, from pco__malloc: whoever has it frees it.
 */
typedef struct pco__pipe pco__pipe;

/* Names are without the prefix \\.\pipe\, and UTF-8. */
typedef struct pco__pipes_class {
    /*
     * Makes a pipe. *listener holds its name, and is to be attached as PCO__IO_PIPE_LISTENER; no
     * client can connect to it, but to the instances that its ACCEPTs make. `sddl` says who may, in
     * the system's language; NULL: this user and the system. PCO_EADDRINUSE: there is such a pipe.
     * PCO_EINVAL: a name or an sddl that the system does not take. PCO_EACCES; PCO_ENOMEM...
     */
    int (*bind)(const char *name, const char *sddl, pco__pipe **pipe, pco_socket *listener,
                pco_error *error);

    /*
     * Opens a client's end, without waiting, to be attached as PCO__IO_PIPE. PCO_EAGAIN: every
     * instance has a client. PCO_ENOENT: there is no such pipe. PCO_EACCES; PCO_EINVAL.
     */
    int (*open)(const char *name, pco_socket *sock, pco_error *error);

    /* Closes an end that is not attached. What was written to it stays readable. */
    void (*close)(pco_socket sock);
} pco__pipes_class;

/* Windows' own. */
extern const pco__pipes_class pco__system_pipes;

#endif
