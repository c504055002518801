/* SPDX-License-Identifier: MIT */
/*
 * error.h: one list of errors for every system.
 *
 * The operating systems' own codes (errno, Winsock's, NTSTATUS) are mapped to these in one table
 * each; the original is kept in pco_error.system_code. The numbers are part of the ABI.
 */
#ifndef PORTICO_ERROR_H
#define PORTICO_ERROR_H

#include <portico/base.h>

/* X(name, number, sentence) for every error. */
#define PCO_ERROR_MAP(X)                                                                           \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(ENOTSUP, -3, "not supported")                                                                \
    X(EBUSY, -4, "already in use or running")                                                      \
    X(ECLOSED, -5, "already closed")                                                               \
    X(ECANCELED, -6, "operation canceled")                                                         \
    X(ETIMEDOUT, -7, "timed out")                                                                  \
    X(EAGAIN, -8, "temporarily unavailable")                                                       \
    X(EACCES, -9, "permission denied")                                                             \
    X(ENOENT, -10, "no such file or directory")                                                    \
    X(EIO, -11, "input/output error")                                                              \
    X(EMFILE, -12, "too many open files or sockets")                                               \
    X(ENOBUFS, -13, "no buffer space available")                                                   \
    X(ENOTSOCK, -14, "not a socket")                                                               \
    X(EADDRINUSE, -15, "address already in use")                                                   \
    X(EADDRNOTAVAIL, -16, "address not available on this machine")                                 \
    X(EAFNOSUPPORT, -17, "address family not supported")                                           \
    X(ECONNREFUSED, -18, "connection refused")                                                     \
    X(ECONNRESET, -19, "connection reset by peer")                                                 \
    X(ECONNABORTED, -20, "connection aborted")                                                     \
    X(EPIPE, -21, "the write side is closed")                                                      \
    X(ENOTCONN, -22, "not connected")                                                              \
    X(EISCONN, -23, "already connected")                                                           \
    X(ENETDOWN, -24, "network is down")                                                            \
    X(ENETUNREACH, -25, "network unreachable")                                                     \
    X(EHOSTUNREACH, -26, "host unreachable")                                                       \
    X(EMSGSIZE, -27, "message too long")                                                           \
    X(ENONAME, -28, "the name does not resolve")                                                   \
    X(ERESOLVE, -29, "name resolution failed")                                                     \
    X(ETLS, -30, "TLS protocol error")                                                             \
    X(ECERT, -31, "bad certificate or key")                                                        \
    X(ETRUNCATED, -32, "the TLS stream ended without close_notify")                                \
    X(EUNKNOWN, -33, "unknown error")

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PCO_OK = 0,
#define PCO_ERROR_ENUM(name, number, sentence) PCO_##name = (number),
    PCO_ERROR_MAP(PCO_ERROR_ENUM)
#undef PCO_ERROR_ENUM
};

/*
 * What went wrong. `message` is a full sentence without a final stop, such as
 * "bind 127.0.0.1 port 80: permission denied". It is one line, fit for a log, whatever was in the
 * names that it quotes: their control characters are written as \x0A. It always ends in a NUL.
 */
struct pco_error {
    int code;        /* PCO_E*, or PCO_OK */
    int system_code; /* errno, the Win32 or Winsock code, or OpenSSL's reason; 0 if there is none */
    char message[248];
};

/* The name of a code, "PCO_EINVAL" or "PCO_OK"; "PCO_EUNKNOWN" for another number. Any thread. */
PCO_API const char *pco_error_name(int code);

/* The sentence of a code, "invalid argument"; "success" for 0. Any thread. */
PCO_API const char *pco_strerror(int code);

/*
 * Whether a code that connection_lost was told means just that the peer, or the way to it, has
 * gone: what happens to every server all day, and needs no line in its log. True of
 *
 *   PCO_ECONNRESET     the peer has broken off, or vanished while it was sent something
 *   PCO_ECONNABORTED   the connection has broken
 *   PCO_ETIMEDOUT      the peer answers no more, or took nothing within a time limit
 *   PCO_ETRUNCATED     the peer has gone without ending TLS: what it sent may lack its end
 *   PCO_EHOSTUNREACH, PCO_ENETUNREACH   there is no way to it any more
 *
 * and of no other; not of PCO_OK, a clean end, nor of PCO_EPIPE, which only tells a writer that it
 * has ended its own side before. Any thread.
 */
PCO_API bool pco_error_is_disconnect(int code);

#ifdef __cplusplus
}
#endif

#endif
