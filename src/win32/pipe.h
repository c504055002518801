/* SPDX-License-Identifier: MIT */
/* pipe.h (Windows): what a server's pipe is made of; pipe.c opens pipes, pipe_io.c works them. */
#ifndef PCO_WIN32_PIPE_H
#define PCO_WIN32_PIPE_H

#include "win32/win32.h"

#include "system/pipes.h"

/* "The entire pipe name string can be up to 256 characters long" (CreateNamedPipe). */
#define PCO__PIPE_NAME_MOST 256

/* What a pipe's buffers hold in each direction, so that a write of as much need not wait. */
#define PCO__PIPE_BUFFER ((DWORD)64 << 10)

/* What all instances of a pipe have to have in common. */
#define PCO__PIPE_OPEN_MODE (PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED)
#define PCO__PIPE_MODE                                                                             \
    (PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS)

struct pco__pipe {
    WCHAR name[PCO__PIPE_NAME_MOST + 1];
    DWORD descriptor[]; /* the security descriptor, in its self-relative form */
};

/* Makes an instance; the `first` must be the only one. INVALID_HANDLE_VALUE: GetLastError tells. */
HANDLE pco__pipe_instance(const pco__pipe *pipe, bool first);

/* The process at the other end. False: it is not known, or it is no pipe. */
bool pco__pipe_process(HANDLE pipe, ULONG *process);

#endif
