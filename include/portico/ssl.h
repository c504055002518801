/* SPDX-License-Identifier: MIT */
/*
 * ssl.h: what a TLS connection agreed on. What its ends show and demand is in ssl_context.h.
 */
#ifndef PORTICO_SSL_H
#define PORTICO_SSL_H

#include <portico/base.h>
#include <portico/error.h>
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
    const char *group; /* for the exchange of keys, "x25519" as OpenSSL names it; NULL if none */

    /*
     * The peer's certificate was demanded and checked, and is right. False where that is not
     * demanded, where there is none, and where one was accepted although it is not right.
     */
    bool verified;
} pco_ssl_info;

/*
 * Fills in *info, whose size you have set. PCO_ENOTSUP: the connection is no TLS connection.
 * PCO_EINVAL: a wrong size. PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_get_ssl_info(pco_transport *transport, pco_ssl_info *info);

/* A name that a certificate is valid for. */
enum { PCO_SSL_NAME_DNS = 1, PCO_SSL_NAME_IP = 2, PCO_SSL_NAME_URI = 3, PCO_SSL_NAME_EMAIL = 4 };

typedef struct pco_ssl_name {
    int type;         /* PCO_SSL_NAME_* */
    const char *text; /* "*.example.com"; an address as pco_address_host writes it */
} pco_ssl_name;

/*
 * What a certificate says. In all texts a control character, which includes the zero with which C
 * ends a string, is written as a backslash and two hexadecimal digits, and so is a backslash
 * ("\5C"; in subject and issuer, which RFC 4514 escapes, "\\"): so "good.example\00.evil.example"
 * is one name, and no other. They are UTF-8 otherwise; those of `names` ASCII, other bytes escaped.
 * All that the certificate has is here: names are as many, and as long, as the peer's certificates
 * may be, of which OpenSSL takes 100 KiB in all.
 */
typedef struct pco_ssl_certificate_info {
    size_t size;
    const char *subject; /* as RFC 2253 has it: "CN=example.com,O=Example,C=NO"; "": none */
    const char *issuer;
    const char *common_name;   /* of the subject; the last of several; NULL if there is none */
    const pco_ssl_name *names; /* of the extension subjectAltName, of the kinds above, in order */
    size_t names_count;
    const char *serial_number; /* hexadecimal, "0A3F" */

    /* Seconds since 1970, UTC. If a time is garbled, such that the certificate is never valid. */
    int64_t not_before;
    int64_t not_after;

    unsigned char sha256[32]; /* of the whole certificate */
    const void *der;
    size_t der_length;
} pco_ssl_certificate_info;

/*
 * Fills in *info, whose size you have set, with one of the peer's certificates: `index` 0 is its
 * own, 1 that of who has signed it, and so on: the chain that was verified, up to the authority
 * that is trusted; if nothing was verified, what the peer has sent. A connection that resumed a
 * session knows what the session does: the peer's own, and at most what was sent with it. Lent
 * until connection_lost returns; made when first asked for. PCO_ENOENT: there is no such
 * certificate. PCO_ENOTSUP: the connection is no TLS connection. PCO_EINVAL: a wrong size.
 * PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_get_peer_certificate(pco_transport *transport, size_t index,
                                               pco_ssl_certificate_info *info);

/* Room for every channel binding. */
#define PCO_SSL_CHANNEL_BINDING_SIZE 64

/*
 * What binds an authentication above to this very connection, as SCRAM's -PLUS mechanisms want it.
 * Types: "tls-exporter" (RFC 9266); "tls-server-end-point" (RFC 5929: a hash of the server's
 * certificate); "tls-unique" (RFC 5929, TLS 1.2 only). *length is how many of the `size` bytes of
 * `buffer` were used.
 * PCO_ENOTSUP: the connection is no TLS connection, or has no such binding: "tls-unique" in TLS
 * 1.3; "tls-exporter" and "tls-unique" in TLS 1.2 without extended master secret (RFC 7627), where
 * they would bind nothing; "tls-server-end-point" of a certificate whose signature has no hash
 * (Ed25519). PCO_ENOENT: "tls-server-end-point" on a server's end that has resumed a session, and
 * so has shown no certificate. PCO_ENOBUFS: `size` is too small. PCO_EINVAL: another type, NULL.
 * PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_get_channel_binding(pco_transport *transport, const char *type,
                                              void *buffer, size_t size, size_t *length);

/*
 * Fills `out` with `length` bytes that both ends of this connection can compute, and nobody else
 * (RFC 5705; RFC 8446, 7.5). `label` says what for. `context` may be NULL, which TLS 1.2 tells from
 * an empty one. PCO_ENOTSUP: the connection is no TLS connection, or one of TLS 1.2 without
 * extended master secret. PCO_EINVAL: NULL, an empty label, or a length of 0; a label that begins
 * with one that TLS uses itself; more than TLS can give; with TLS 1.2 more label and context than
 * OpenSSL takes there (3.0: 958 bytes). PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_export_keying_material(pco_transport *transport, const char *label,
                                                 const void *context, size_t context_length,
                                                 void *out, size_t length);

/* ---- Sessions of clients ---- */

/*
 * What a client keeps of a connection so that the next one to the same server begins with a shorter
 * handshake: its keys are fresh, but neither end shows a certificate. A session is counted and
 * never changes: any thread may use it, several connections may be given the same one.
 *
 * It carries the verdict of its time: who resumes it is not checked again. Hence it is used only
 * with the name and the context that it was made with; not after the end of the first certificate
 * that was verified then; not longer than the server has said, and never for more than 7 days; and
 * not once the context has been reloaded with something else (see pco_ssl_context_reload). Where it
 * is of no use any more, there is a full handshake instead, and no error: session_reused in
 * pco_ssl_info tells. No early data (0-RTT) is ever sent.
 *
 * With TLS 1.3 the server sends sessions after the handshake, often several, and means each to be
 * used once, so that nobody can tell that two connections are of the same client: ask when the
 * connection has been of use, or in connection_lost, and give the next connection the newest.
 */

/*
 * The newest session of a client's end, as one reference that is yours: pco_ssl_session_release.
 * One that was resumed is its own newest until the server sends another. PCO_ENOENT: there is none
 * (yet), or the context has session_resumption off. PCO_ENOTSUP: the connection is no TLS
 * connection, or a server's end. PCO_EINVAL: NULL. PCO_ENOMEM. PCO_ECLOSED: after connection_lost.
 */
PCO_API int pco_transport_get_ssl_session(pco_transport *transport, pco_ssl_session **session);

/* One more reference (returns its argument), and one fewer (NULL is allowed). Any thread. */
PCO_API pco_ssl_session *pco_ssl_session_retain(pco_ssl_session *session);
PCO_API void pco_ssl_session_release(pco_ssl_session *session);

/*
 * Writes a session as bytes, some kilobytes, for a file that outlives the program. They hold its
 * secrets, and what the server has proved: who can read them can be this client, who can write them
 * can be the server. Keep them as you would a private key. *length is how many there are; with a
 * `size` too small PCO_ENOBUFS, and nothing is written. PCO_EINVAL: NULL. PCO_ENOMEM. PCO_ENOTSUP:
 * this library was built without TLS. Any thread.
 */
PCO_API int pco_ssl_session_serialize(const pco_ssl_session *session, void *buffer, size_t size,
                                      size_t *length);

/*
 * Makes a session of such bytes, for connections with `context` (NULL: with `tls`). That this one
 * believes whom the context believed with which the session was made, and shows the certificate
 * that it showed, is your word: what was verified then is not verified again. *session is yours, as
 * above. PCO_EINVAL: they are none, or garbled, or of an OpenSSL that this one does not understand;
 * the context is one for servers. PCO_ENOMEM. PCO_ENOTSUP: this library was built without TLS. Any
 * thread.
 */
PCO_API int pco_ssl_session_parse(const void *data, size_t length, pco_ssl_context *context,
                                  pco_ssl_session **session, pco_error *error);

/*
 * The connection's SSL, for questions that pco_ssl_info does not answer; look, do not read, write
 * or free. NULL without TLS and after connection_lost.
 */
PCO_API struct ssl_st *pco_transport_get_ssl_object(const pco_transport *transport);

#ifdef __cplusplus
}
#endif

#endif
