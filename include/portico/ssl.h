/* SPDX-License-Identifier: MIT */
/*
 * ssl.h: what a TLS connection agreed on. What its ends show and demand is in ssl_context.h.
 */
#ifndef PORTICO_SSL_H
#define PORTICO_SSL_H

#include <portico/base.h>
#include <portico/ssl_context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* OpenSSL's own type, for those who look into it: SSL. */
struct ssl_st;

/* What a TLS connection agreed on. The strings are lent until connection_lost returns. */
typedef struct pco_ssl_info {
    size_t size;
    const char *version;     /* "TLSv1.3" */
    const char *cipher;      /* "TLS_AES_256_GCM_SHA384" */
    int cipher_bits;         /* 256 */
    const char *alpn;        /* the application protocol, NULL if none */
    const char *server_name; /* the name that the client asked for (SNI), NULL if none */
    bool session_reused;
    const void *peer_certificate; /* the peer's certificate in DER, NULL if it showed none */
    size_t peer_certificate_length;
} pco_ssl_info;

/*
 * Fills in *info, whose size you have set. PCO_ENOTSUP: the connection is no TLS connection.
 * PCO_EINVAL: a wrong size. PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_get_ssl_info(pco_transport *transport, pco_ssl_info *info);

/*
 * The connection's SSL, for questions that pco_ssl_info does not answer; look, do not read, write
 * or free. NULL without TLS and after connection_lost.
 */
PCO_API struct ssl_st *pco_transport_get_ssl_object(const pco_transport *transport);

#ifdef __cplusplus
}
#endif

#endif
