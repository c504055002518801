/* SPDX-License-Identifier: MIT */
/*
 * ssl_context.h: a pco_ssl_context: what an end of TLS shows, and what it demands.
 *
 * A context is made for one end, servers or clients, and the other refuses it.
 *
 * TLS 1.2 and 1.3 by OpenSSL 3.0 or newer. In a library built with PORTICO_TLS=OFF, the functions
 * that make one answer PCO_ENOTSUP, so there is never a context to use.
 */
#ifndef PORTICO_SSL_CONTEXT_H
#define PORTICO_SSL_CONTEXT_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* OpenSSL's own type, for those who bring it: SSL_CTX. */
struct ssl_ctx_st;

/* What is demanded of the peer's certificate. */
enum {
    PCO_SSL_VERIFY_DEFAULT = 0, /* a server: none; a client: required */
    PCO_SSL_VERIFY_NONE = 1,
    PCO_SSL_VERIFY_OPTIONAL = 2, /* asked for; checked if the peer sends one */
    PCO_SSL_VERIFY_REQUIRED = 3
};

/* Who is believed that has signed the peer's certificate. */
enum {
    PCO_SSL_TRUST_DEFAULT = 0, /* a server: who is given; a client also the system's, if none is */
    PCO_SSL_TRUST_GIVEN = 1,   /* who is given by ca_file, ca_pem, ca_directory, and nobody else */
    PCO_SSL_TRUST_SYSTEM = 2   /* whom the system trusts, and who is given besides */
};

/*
 * What has been found out about the peer's certificate: see verify_peer. All of it is lent for the
 * call.
 */
typedef struct pco_ssl_verdict {
    size_t size;
    int error;               /* 0: it is trusted; else PCO_ECERT */
    int system_code;         /* of OpenSSL's, X509_V_ERR_*; 0 */
    const char *reason;      /* what is wrong, as a sentence; NULL if it is trusted */
    const char *server_name; /* to a client: what it has to show, a name or an address; to a server:
                                the name that the client asks for; NULL: none */
    const pco_buffer *chain; /* in DER, the peer's own first: if it is trusted, up to whom is
                                trusted; else as it was sent */
    size_t chain_count;
} pco_ssl_verdict;

/* What verify_peer answers. */
enum {
    PCO_SSL_VERDICT_KEEP = 0,
    PCO_SSL_VERDICT_REFUSE = 1,
    PCO_SSL_VERDICT_DANGEROUSLY_ACCEPT = 2 /* whatever is wrong with it */
};

enum { PCO_TLS_DEFAULT = 0, PCO_TLS_1_2 = 2, PCO_TLS_1_3 = 3 };

/*
 * A certificate with its chain and its key, and what OCSP says of it. Each thing is given in one
 * way; the fields are those of pco_ssl_context_options, where they are described.
 */
typedef struct pco_ssl_certificate {
    size_t size;
    const char *certificate_file;
    const void *certificate_pem;
    size_t certificate_pem_length;
    const char *certificate_uri;
    const char *key_file;
    const void *key_pem;
    size_t key_pem_length;
    const char *key_uri;
    const char *key_password;
    const char *ocsp_file;
    const void *ocsp_response;
    size_t ocsp_response_length;
} pco_ssl_certificate;

/*
 * What is known of the other end when it is asked what to choose. The size says how much of it this
 * library has filled in. What does not apply is NULL, with a count of 0.
 *
 * A client, in choose_certificate and choose_alpn of a server:
 */
typedef struct pco_ssl_hello {
    size_t size;
    const char *server_name; /* whom it asks for (SNI), in lower case, without a dot at its end;
                                NULL: nobody, or what is no host name */
    const char *const *alpn; /* the application protocols that it offers, in its order; but not one
                                with a zero byte in it, which can then not be chosen */
    size_t alpn_count;
    const uint16_t *versions; /* of TLS that it offers, in its order: 0x0304 is 1.3, 0x0303 is 1.2;
                                 in choose_alpn the one that is spoken */
    size_t versions_count;

    /*
     * A server that demands a certificate, in choose_certificate of a client, where server_name is
     * whom it was asked for, as it was given, NULL for a literal address: the authorities one of
     * which should have signed it, in the server's order; as DER, and as text (RFC 2253, UTF-8).
     * None: the server does not say.
     */
    const pco_buffer *authorities;
    const char *const *authority_names;
    size_t authorities_count;
} pco_ssl_hello;

/* A handshake that waits for your choice: see choose_certificate. */
typedef struct pco_ssl_question pco_ssl_question;

/* What choose_alpn returns instead of an index. */
enum {
    PCO_SSL_ALPN_NONE = -1,  /* go on without one; with alpn_required as PCO_SSL_ALPN_REFUSE */
    PCO_SSL_ALPN_REFUSE = -2 /* the handshake fails, with the alert no_application_protocol */
};

/*
 * Everything is copied or read during the call. Files and memory are PEM, in which text between the
 * pieces and pieces of another kind are passed over; a byte order mark of UTF-8 is, too. A
 * certificate comes with its chain behind it. Give each thing as a file or as memory, not both.
 */
typedef struct pco_ssl_context_options {
    size_t size;

    /*
     * The certificate chain and its private key. Required of servers: one without serves nobody.
     * A client shows it if the server demands one. PCO_EINVAL: one without the other, or a password
     * alone.
     */
    const char *certificate_file;
    const void *certificate_pem;
    size_t certificate_pem_length;
    const char *key_file;
    const void *key_pem;
    size_t key_pem_length;
    const char *key_password; /* of an encrypted key; NULL: none */

    /*
     * Whether the peer's certificate is demanded, and who may have signed it. Clients demand it
     * (REQUIRED, which is their default, and nothing less), and believe those given here, or whom
     * the system trusts if none is given. Servers that demand it have to say who is believed.
     *
     * Windows and macOS judge servers themselves, as for their own programs, and hear what was
     * revoked: they are asked on a thread, while the handshake waits (see verdict_timeout). OpenSSL
     * then looks at the chain that they have found, too: at the name, at the strength of keys, and
     * at whatever these options say. In a context that trusts who is given alone they have no say.
     *
     * Elsewhere whom the system trusts is what OpenSSL's default file and folder hold, or the file
     * and folders that the environment names in SSL_CERT_FILE and SSL_CERT_DIR; where these hold
     * nothing and the environment says nothing, the bundle of certificates of the distribution.
     * The file is read during the call, the folder when a certificate is needed.
     */
    int verify;
    const char *ca_file;
    const void *ca_pem;
    size_t ca_pem_length;

    /* PCO_TLS_*. Defaults: 1.2 at least, 1.3 at most. */
    int minimum_version;
    int maximum_version;

    /*
     * OpenSSL's lists, for TLS 1.2 and for 1.3, the best first: the server's order counts. NULL:
     * forward secrecy and authenticated encryption alone, which is ECDHE with AES-GCM or
     * ChaCha20-Poly1305. Keys and signatures below OpenSSL's security level 2 (RSA of 2048 bits)
     * are refused, however OpenSSL was built and configured; "@SECLEVEL=1" in ciphers lowers that.
     * With a psk, ECDHE-PSK-CHACHA20-POLY1305 is among them. PCO_EINVAL: a list of none.
     */
    const char *ciphers;
    const char *ciphersuites;

    /*
     * The application protocols that are spoken, best first, such as "h2", "http/1.1"; each 1 to
     * 255 bytes (RFC 7301). A client offers them; a server chooses its first that is offered. If
     * none fits, the handshake goes on without one, as in asyncio. With alpn_required PCO_ON it
     * fails: the server sends the alert no_application_protocol, also to a client that offers
     * nothing at all; the client gives up a server that has chosen none. A protocol that was not
     * offered, a client never takes.
     */
    const char *const *alpn_protocols;
    size_t alpn_protocols_count;
    int alpn_required;

    /*
     * Session resumption by tickets and cache. Default on. The key that seals tickets is random and
     * the context's own; one seals for 12 hours, opens for 12 more, and is wiped by the first
     * handshake after that, at the latest with the context. PCO_OFF: there are neither.
     */
    int session_resumption;

    /*
     * PCO_ON: a client takes whatever certificate it is shown, of whoever shows it: anybody on the
     * way can be the server, read everything and change it. For tests. PCO_EINVAL for servers, and
     * with anything that says whom to believe, or how that is checked.
     */
    int dangerously_accept_any_certificate;

    /*
     * PCO_SSL_TRUST_*. PCO_EINVAL: it needs a ca, and none is given. PCO_ENOTSUP: a server is to
     * believe whom the system trusts, on a system that judges servers alone and has no files of
     * certificates (Windows, macOS). A server tells clients the names of those in ca_file and
     * ca_pem, if these are all that it believes.
     */
    int trust;

    /*
     * A folder with a certificate per file, besides or instead of ca_file and ca_pem, each under
     * the name of its hash as `openssl rehash` makes them; CRLs likewise. OpenSSL looks into it
     * when it needs one, so what is added counts without a reload. PCO_ENOENT: none is in it.
     */
    const char *ca_directory;

    /*
     * Lists of revoked certificates (CRLs), any number of them. If they are given, the peer's own
     * certificate is refused if it is revoked, and also if there is no list of its issuer's, or
     * only one that is out of date. X509_V_FLAG_CRL_CHECK_ALL in verify_flags demands lists of the
     * whole chain. Lists are not fetched: reload the context with the next ones.
     */
    const char *crl_file;
    const void *crl_pem;
    size_t crl_pem_length;

    /*
     * How many certificates may be between the peer's own and the authority's. 0: 10, which is more
     * than there are in the wild. PCO_EINVAL: negative.
     */
    int verify_depth;

    /*
     * OpenSSL's flags of verification (X509_V_FLAG_* of <openssl/x509_vfy.h>), added to what else
     * is set: X509_V_FLAG_PARTIAL_CHAIN lets a chain end at any certificate that is given and not
     * only at one that is signed by itself, X509_V_FLAG_X509_STRICT takes the standard by its word.
     * Some of them loosen what is checked.
     */
    unsigned long verify_flags;

    /*
     * Further certificates, each with a key of another kind: RSA beside ECDSA, say. The first that
     * the peer can check is shown, by its and our signature_algorithms. If they are given, the one
     * above may be missing. PCO_EINVAL: two with keys of one kind; it names certificates[i].
     */
    const pco_ssl_certificate *const *certificates;
    size_t certificates_count;

    /*
     * The certificate, with its chain behind it, and the key at a URI, instead of a file or memory:
     * "file:/etc/server.pem", a path alone, or one that a provider of OpenSSL's understands, which
     * the program, or OpenSSL's configuration, has loaded: "pkcs11:object=server", for a key in
     * hardware. Who wants a password or a PIN gets key_password. OpenSSL asks nobody on the
     * terminal; a provider that gets none may do so by itself, pkcs11-provider does. PCO_ECERT:
     * there is nothing of the kind, or OpenSSL says why not.
     */
    const char *certificate_uri;
    const char *key_uri;

    /*
     * Servers: what OCSP says of the certificate, in DER, as `openssl ocsp -respout` writes it. It
     * is shown to the clients that ask, all of ours do, so that they need not ask the authority
     * whether the certificate is revoked. It is not fetched, and outdated at some time: reload the
     * context with the next one. PCO_ECERT: it is no response, or about another certificate.
     * PCO_EINVAL for clients.
     */
    const char *ocsp_file;
    const void *ocsp_response;
    size_t ocsp_response_length;

    /*
     * The groups for the exchange of keys, and the algorithms of signatures that this end makes and
     * checks, as OpenSSL's SSL_CTX_set1_groups_list and SSL_CTX_set1_sigalgs_list have them, best
     * first: "X25519:P-256", "ECDSA+SHA256:RSA-PSS+SHA256". NULL: OpenSSL's own, which from 3.5 on
     * begin with X25519MLKEM768. PCO_EINVAL: a name that this OpenSSL does not know.
     */
    const char *groups;
    const char *signature_algorithms;

    /*
     * A file to which the keys of all connections are added, in the format that Wireshark reads
     * (NSS's): whoever can read it can decrypt them. It is made if it is not there, for its owner
     * alone to read where the system has such rights. With key_log_environment PCO_ON it is the one
     * that the environment names in SSLKEYLOGFILE, if it does; otherwise that does not count. Lines
     * are whole, whichever threads and programs write. PCO_ENOENT, PCO_EACCES, PCO_EIO: it cannot
     * be written. PCO_EINVAL: both.
     */
    const char *key_log_file;
    int key_log_environment;

    /*
     * A key that both ends have beforehand, instead of certificates, of which a server then needs
     * none: 16 to 256 random bytes, and the name under which the server knows it, 1 to 255 bytes.
     * It is wiped with the context. TLS 1.3 uses it with the suites of SHA-256, 1.2 with those with
     * PSK in their name. It proves to a client that the server is the right one; a server that
     * shows a certificate instead is believed only if a ca or `trust` says so.
     *
     * A server of many clients finds the key by find_psk: it writes at most `size` bytes to `key`,
     * how many to *length, and returns 0, or anything else if it knows nobody of this identity. It
     * gets callback_context, and runs inside OpenSSL: it must not call the library.
     * PCO_EINVAL: a length out of range, a part that is missing, both ways at once, find_psk for a
     * client.
     */
    const char *psk_identity;
    const void *psk_key;
    size_t psk_key_length;
    int (*find_psk)(const char *identity, unsigned char *key, size_t size, size_t *length,
                    void *context);

    /*
     * A server's choice of the application protocol, instead of alpn_protocols: an index into
     * hello->alpn, or PCO_SSL_ALPN_*. It is asked only if the client offers some; hello is lent
     * until it returns. It runs inside OpenSSL: it must not call the library, nor block.
     */
    int (*choose_alpn)(const pco_ssl_hello *hello, void *context);

    /*
     * The choice of a certificate. You owe the question an answer, by pco_ssl_question_answer or
     * pco_ssl_question_refuse, now or later, and the handshake waits for it, within its time limit.
     * `hello` is lent until then. It runs outside of OpenSSL and may call all of the library.
     *
     * A server's is asked when the client's hello has come, before anything of it is answered: the
     * context that you answer with serves this client, and all that it says counts. So certificates
     * can come from a database, or be made at that moment. If the name that the client asks for has
     * a context by pco_ssl_context_add_server_name, it is that one's choose_certificate that is
     * asked, if it has any, and not this one.
     *
     * A client's is asked when the server has proved who it is and demands a certificate. The
     * context that you answer with gives its certificates, keys and chains, and nothing else.
     */
    void (*choose_certificate)(pco_ssl_question *question, const pco_ssl_hello *hello,
                               void *context);

    /*
     * What the callbacks of these options are called with: on the threads of all loops that use the
     * context, as long as there are handshakes that have begun with it.
     */
    void *callback_context;

    /*
     * Pinning: sees each certificate that is demanded of the peer with the verdict on it, before
     * the handshake goes on, and may tighten that, or loosen it. It runs inside of OpenSSL: it
     * must not call the library, and has nothing to go by but what it is given. It is not called
     * for a session that is resumed, whose certificate was judged before, nor where there is no
     * verdict because the system has not answered or memory has run out: that fails. NULL: the
     * verdict stands. PCO_EINVAL where no certificate is demanded.
     */
    int (*verify_peer)(const pco_ssl_verdict *verdict, void *context);

    /*
     * Clients whose trust is the system's: seconds that the system has for its verdict, for which
     * it may have to ask others what was revoked (Windows and macOS: see above). They count against
     * the limit of the handshake, too. 0: 10. PCO_EINVAL for servers.
     */
    double verdict_timeout;
} pco_ssl_context_options;

/*
 * Makes a context for servers. It belongs to the caller, who gives it up with
 * pco_ssl_context_release; servers and connections keep what they need.
 * PCO_EINVAL: an option is missing, doubled, out of range, or for the other end; a file is a
 * folder, or too long. PCO_ENOENT, PCO_EACCES, PCO_EIO: a file cannot be read. PCO_ECERT: a
 * certificate or key is garbled, does not match, or the password is wrong. PCO_ENOMEM.
 * PCO_ENOTSUP: this library was built without TLS.
 */
PCO_API int pco_ssl_context_new(const pco_ssl_context_options *options, pco_ssl_context **context,
                                pco_error *error);

/*
 * Makes a context for clients. `options` may be NULL: the server is verified, TLS is 1.2 at least,
 * and no certificate of its own is shown. alpn_protocols are what the client offers.
 * Errors as pco_ssl_context_new. PCO_ENOENT: also if nobody is found whom the system trusts.
 */
PCO_API int pco_ssl_context_new_client(const pco_ssl_context_options *options,
                                       pco_ssl_context **context, pco_error *error);

/*
 * A context of a ready SSL_CTX, which gains a reference and should not be changed any more. It is
 * for servers, for clients, or for both, as its SSL_METHOD is. The library sets nothing in it: who
 * is verified is said by its verify mode, which OpenSSL leaves at nobody. Callbacks of your own in
 * it run inside OpenSSL: they must not call the library, and have to answer at once; if one of them
 * puts its answer off, the handshake waits until its time is up. PCO_EINVAL: NULL. PCO_ENOMEM,
 * PCO_ENOTSUP.
 */
PCO_API int pco_ssl_context_from_ssl_ctx(struct ssl_ctx_st *ssl_ctx, pco_ssl_context **context,
                                         pco_error *error);

/*
 * Reads certificate, key and all else anew, in a running server: connections from now on use it,
 * those that exist keep what they have. If it fails, nothing has changed. Names added by
 * pco_ssl_context_add_server_name stay.
 * Sessions of before are resumed by their tickets, if nothing has changed that they depend on, but
 * what is shown: certificates, keys and staples, and the application protocols. Everything else
 * must be the same, the content of ca and crl included; and where the answer may change in silence,
 * with ca_directory, the system's trust, or a callback that verifies, no session outlives a reload.
 * Nor does one of a client with a certificate, as which the server would go on to know it.
 * Any thread. Errors as those of the function that has made the context; also PCO_EINVAL: it is
 * made of a ready SSL_CTX.
 */
PCO_API int pco_ssl_context_reload(pco_ssl_context *context, const pco_ssl_context_options *options,
                                   pco_error *error);

/*
 * Clients that ask for `server_name` (SNI) are served by `other` instead: all that it says counts,
 * versions, application protocols and sessions included, and nothing of this one's; but its own
 * server names are not looked at. Either may be of a ready SSL_CTX. "*.example.com" stands for one
 * label. The exact name wins over the pattern; the case of letters does not matter. `other` gains a
 * reference, and may be reloaded on its own. The same name again replaces it.
 * Any thread; new connections see it. PCO_EINVAL: an empty or malformed name; other is NULL or
 * context; one of them is for clients. PCO_ENOMEM.
 */
PCO_API int pco_ssl_context_add_server_name(pco_ssl_context *context, const char *server_name,
                                            pco_ssl_context *other, pco_error *error);

/*
 * As pco_ssl_context_reload, for a context of a ready SSL_CTX: another one takes its place, which
 * gains a reference. Whether sessions of before are resumed is up to what the two share.
 * Any thread. PCO_EINVAL: NULL; the context was made of options; ssl_ctx is not for an end that the
 * one before was for. PCO_ENOMEM, PCO_ENOTSUP.
 */
PCO_API int pco_ssl_context_reload_from_ssl_ctx(pco_ssl_context *context,
                                                struct ssl_ctx_st *ssl_ctx, pco_error *error);

/*
 * Answers a question of choose_certificate, with a context for this end, or with NULL: then what is
 * there is used, the certificate of the context that asks, or for a client perhaps none. The
 * handshake goes on when the running callback has returned; the context need not be kept. The
 * context's own choose_certificate and server names are not looked at.
 *
 * The question is given up by this call, whatever it returns. The loop's thread, also inside
 * choose_certificate; if the loop has been freed, any. PCO_ECLOSED: the connection has ended
 * meanwhile: its peer has closed or reset it, the time was up, it was closed here. (That a peer has
 * closed its side behind something that waits to be read, as a server may with TLS 1.3, is found
 * after the answer.) PCO_EINVAL: the context is for the other end, or a client's without a
 * certificate, or with one that is too weak for the context that asks; PCO_ENOMEM: of these the
 * handshake fails.
 */
PCO_API int pco_ssl_question_answer(pco_ssl_question *question, pco_ssl_context *context,
                                    pco_error *error);

/*
 * The handshake fails, if there still is one: a server sends the alert unrecognized_name, a client
 * internal_error. The question is given up. As pco_ssl_question_answer.
 */
PCO_API void pco_ssl_question_refuse(pco_ssl_question *question);

/* One more reference (returns its argument), and one fewer (NULL is allowed). Any thread. */
PCO_API pco_ssl_context *pco_ssl_context_retain(pco_ssl_context *context);
PCO_API void pco_ssl_context_release(pco_ssl_context *context);

#ifdef __cplusplus
}
#endif

#endif
