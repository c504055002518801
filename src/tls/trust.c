/* SPDX-License-Identifier: MIT */
/*
 * trust.c: whose certificates are accepted, and whether the peer must show one.
 *
 * The system's trust is read as OpenSSL does it, but not by its one function, which takes a file
 * that cannot be read for an empty one.
 */
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "support/options.h"
#include "system/platform.h"
#include "system/trust.h"
#include "tls/contexts.h"
#include "tls/material.h"

/*
 * The most authorities between a certificate and whom is trusted, unless the options say otherwise.
 * In the wild there are three or four; OpenSSL's own limit, a hundred, would let a peer hold up the
 * loop by their signatures.
 */
#define DEPTH 10

static bool trust_one(X509 *certificate, size_t index, void *context)
{
    SSL_CTX *ctx = context;
    (void)index;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) == 1;
}

/* ---- The system's ---- */

/* A name by which OpenSSL finds a certificate in a folder: its subject's hash, and a number. */
static bool is_hashed(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    return strspn(name, "0123456789abcdef") == 8 && strcmp(name + 8, ".0") == 0;
}

static bool holds_certificates(const char *folder)
{
    bool found = false;
    bool more = true;
    OSSL_STORE_CTX *store = OSSL_STORE_open(folder, NULL, NULL, NULL, NULL);
    while (store != NULL && more && !found) {
        OSSL_STORE_INFO *entry = OSSL_STORE_load(store);
        const char *name = entry != NULL ? OSSL_STORE_INFO_get0_NAME(entry) : NULL;
        more = name != NULL;
        found = more && is_hashed(name);
        OSSL_STORE_INFO_free(entry);
    }
    OSSL_STORE_close(store);
    ERR_clear_error();
    return found;
}

/* Folders in which OpenSSL looks when it needs a certificate. */
static int look_into(SSL_CTX *ctx, const char *folders, pco_error *error)
{
    X509_LOOKUP *lookup =
        X509_STORE_add_lookup(SSL_CTX_get_cert_store(ctx), X509_LOOKUP_hash_dir());
    if (lookup == NULL || X509_LOOKUP_add_dir(lookup, folders, X509_FILETYPE_PEM) != 1) {
        return pco__ssl_error(error, PCO_EINVAL, "the folder of certificates '%.80s'", folders);
    }
    return 0;
}

/* The system's folders, with colons between. */
static int trust_folders(SSL_CTX *ctx, const char *folders, bool *found, pco_error *error)
{
    char folder[1024];
    for (const char *at = folders; !*found && at != NULL;) {
        const char *end = strchr(at, ':');
        size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
        if (length != 0 && length < sizeof folder) {
            memcpy(folder, at, length);
            folder[length] = '\0';
            *found = holds_certificates(folder);
        }
        at = end != NULL ? end + 1 : NULL;
    }
    return look_into(ctx, folders, error);
}

static int trust_file(SSL_CTX *ctx, const char *what, const char *path, bool *found,
                      pco_error *error)
{
    pco__material bundle;
    int code = pco__material_read(&bundle, what, path, PCO__MATERIAL_TRUST, error);
    if (code == 0) {
        code = pco__material_each_certificate(&bundle, trust_one, ctx, error);
        *found = code == 0;
    }
    pco__material_drop(&bundle);
    return code;
}

/* One that need not be there. */
static int try_file(SSL_CTX *ctx, const char *path, bool *found, pco_error *error)
{
    int code = trust_file(ctx, "the system's certificates in", path, found, error);
    return code == PCO_ENOENT ? 0 : code;
}

int pco__ssl_trust_places(SSL_CTX *ctx, const pco__ssl_places *places, pco_error *error)
{
    bool found = false;
    bool is_said = places->file_said != NULL || places->folders_said != NULL;
    const char *folders = places->folders_said != NULL ? places->folders_said : places->folders;
    int code = places->file_said != NULL
                   ? trust_file(ctx, "SSL_CERT_FILE", places->file_said, &found, error)
                   : try_file(ctx, places->file, &found, error);
    if (code == 0) {
        code = trust_folders(ctx, folders, &found, error);
    }
    for (size_t i = 0; code == 0 && !found && !is_said && places->bundles[i] != NULL; i++) {
        code = try_file(ctx, places->bundles[i], &found, error);
    }
    if (code != 0 || found) {
        return code;
    }
    return pco__error_set(error, PCO_ENOENT, 0,
                          "no certificates are found that %s trusts: there is no '%.70s', and "
                          "nothing in '%.70s'",
                          is_said ? "SSL_CERT_DIR" : "the system", places->file, folders);
}

/* Trusts whom the system trusts. */
static int trust_system(SSL_CTX *ctx, pco_error *error)
{
    const pco__ssl_places places = {.file_said = pco__getenv(X509_get_default_cert_file_env()),
                                    .folders_said = pco__getenv(X509_get_default_cert_dir_env()),
                                    .file = X509_get_default_cert_file(),
                                    .folders = X509_get_default_cert_dir(),
                                    .bundles = pco__system_trust.files};
    return places.bundles != NULL ? pco__ssl_trust_places(ctx, &places, error) : 0;
}

/* ---- Who is given ---- */

/* Clients hear whose certificates a server takes. */
static bool trust_and_name_one(X509 *certificate, size_t index, void *context)
{
    return trust_one(certificate, index, context) &&
           SSL_CTX_add_client_CA(context, certificate) == 1;
}

static int trust_given_file(SSL_CTX *ctx, const pco_ssl_context_options *options, bool *given,
                            pco_error *error)
{
    /* Who is named without the others is all that clients look for. */
    bool is_all = options->ca_directory == NULL && options->trust != PCO_SSL_TRUST_SYSTEM;
    const pco__source from = {.kind = "ca",
                              .memory = "pem",
                              .most = PCO__MATERIAL_TRUST,
                              .file = options->ca_file,
                              .data = options->ca_pem,
                              .length = options->ca_pem_length};
    pco__material ca;
    int code = pco__material_get(&ca, &from, error);
    if (code == 0 && ca.length != 0) {
        *given = true;
        code = pco__material_each_certificate(&ca, is_all ? trust_and_name_one : trust_one, ctx,
                                              error);
    }
    pco__material_drop(&ca);
    return code;
}

static int trust_given(SSL_CTX *ctx, const pco_ssl_context_options *options, bool *given,
                       pco_error *error)
{
    const char *folder = options->ca_directory;
    *given = folder != NULL;
    if (folder != NULL && !holds_certificates(folder)) {
        return pco__error_set(
            error, PCO_ENOENT, 0,
            "ca_directory '%.80s': no folder with certificates under the names of "
            "their hashes, as openssl rehash makes them",
            folder);
    }
    int code = folder != NULL ? look_into(ctx, folder, error) : 0;
    return code == 0 ? trust_given_file(ctx, options, given, error) : code;
}

/* ---- Who is not ---- */

static bool take_crl(X509_CRL *crl, size_t index, void *context)
{
    SSL_CTX *ctx = context;
    (void)index;
    return X509_STORE_add_crl(SSL_CTX_get_cert_store(ctx), crl) == 1;
}

static int load_crls(SSL_CTX *ctx, const pco_ssl_context_options *options, bool *given,
                     pco_error *error)
{
    const pco__source from = {.kind = "crl",
                              .memory = "pem",
                              .most = PCO__MATERIAL_CRL,
                              .file = options->crl_file,
                              .data = options->crl_pem,
                              .length = options->crl_pem_length};
    pco__material crls;
    int code = pco__material_get(&crls, &from, error);
    *given = crls.length != 0;
    if (code == 0 && *given) {
        code = pco__material_each_crl(&crls, take_crl, ctx, error);
    }
    pco__material_drop(&crls);
    return code;
}

/* How it is checked whether the peer is trusted. */
static int set_checks(SSL_CTX *ctx, const pco_ssl_context_options *options, pco_error *error)
{
    bool has_crls;
    if (options->verify_depth < 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "verify_depth is negative");
    }
    int code = load_crls(ctx, options, &has_crls, error);
    if (code != 0) {
        return code;
    }
    unsigned long flags = options->verify_flags | (has_crls ? X509_V_FLAG_CRL_CHECK : 0);
    SSL_CTX_set_verify_depth(ctx, options->verify_depth != 0 ? options->verify_depth : DEPTH);
    return X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), flags) == 1
               ? 0
               : pco__ssl_error(error, PCO_EINVAL, "verify_flags");
}

/* ---- What is demanded ---- */

/* The first of the options that say how the peer is checked; NULL: nothing is said. */
static const char *said_of_checks(const pco_ssl_context_options *options, bool given)
{
    bool has_crls = options->crl_file != NULL || options->crl_pem != NULL;
    return given                                     ? "a ca"
           : options->trust != PCO_SSL_TRUST_DEFAULT ? "trust"
           : has_crls                                ? "a crl"
           : options->verify_depth != 0              ? "verify_depth"
           : options->verify_flags != 0              ? "verify_flags"
                                                     : NULL;
}

/* A client that checks nobody must not look as if it did. */
static int check_any(const pco_ssl_context_options *options, bool given, pco_error *error)
{
    bool demands = options->verify == PCO_SSL_VERIFY_REQUIRED;
    const char *said = demands ? "verify" : said_of_checks(options, given);
    return said == NULL ? 0
                        : pco__error_set(error, PCO_EINVAL, 0,
                                         "%s is %s, and dangerously_accept_any_certificate is "
                                         "PCO_ON",
                                         said, demands ? "PCO_SSL_VERIFY_REQUIRED" : "given");
}

/* A client demands a certificate, unless it says in full what it does. */
static int demand_of_server(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                            bool given, pco_error *error)
{
    const char *never = options->verify == PCO_SSL_VERIFY_NONE       ? "PCO_SSL_VERIFY_NONE"
                        : options->verify == PCO_SSL_VERIFY_OPTIONAL ? "PCO_SSL_VERIFY_OPTIONAL"
                                                                     : NULL;
    bool any = options->dangerously_accept_any_certificate == PCO_ON;
    if (never != NULL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "verify is %s, which is for servers: a client that is to accept any "
                              "certificate has dangerously_accept_any_certificate",
                              never);
    }
    if (any && check_any(options, given, error) != 0) {
        return PCO_EINVAL;
    }
    if (options->trust == PCO_SSL_TRUST_GIVEN && !given) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "trust is PCO_SSL_TRUST_GIVEN, but ca_file, ca_pem or ca_directory "
                              "is missing");
    }
    SSL_CTX_set_verify(setup->ctx, any ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    setup->by_system =
        options->trust == PCO_SSL_TRUST_SYSTEM ||
        (options->trust == PCO_SSL_TRUST_DEFAULT && !given && !any && !pco__ssl_has_psk(options));
    if (setup->by_system && options->ca_directory != NULL && pco__system_trust.judge != NULL) {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "ca_directory: this system judges, and cannot look into folders: "
                              "name who is trusted besides in ca_file or ca_pem");
    }
    return setup->by_system ? trust_system(setup->ctx, error) : 0;
}

/* Who says how clients are checked and demands nothing believes that they are. */
static int check_demand(const pco_ssl_context_options *options, bool given, pco_error *error)
{
    bool demands = options->verify >= PCO_SSL_VERIFY_OPTIONAL;
    const char *said = said_of_checks(options, given);
    if (options->dangerously_accept_any_certificate != PCO_DEFAULT) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "dangerously_accept_any_certificate is for clients: a server says "
                              "what it demands by verify");
    }
    if (said != NULL && options->verify == PCO_SSL_VERIFY_DEFAULT) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s is given, but verify does not say what is demanded", said);
    }
    if (!given && demands && options->trust != PCO_SSL_TRUST_SYSTEM) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "verify demands client certificates, but ca_file or ca_pem is "
                              "missing");
    }
    return 0;
}

static int demand_of_client(SSL_CTX *ctx, const pco_ssl_context_options *options, bool given,
                            pco_error *error)
{
    int code = check_demand(options, given, error);
    if (code == 0 && options->trust == PCO_SSL_TRUST_SYSTEM) {
        code = pco__system_trust.files != NULL
                   ? trust_system(ctx, error)
                   : pco__error_set(error, PCO_ENOTSUP, 0,
                                    "trust is PCO_SSL_TRUST_SYSTEM: this system judges servers "
                                    "alone, give those who sign client certificates");
    }
    if (code != 0) {
        return code;
    }
    int mode = SSL_VERIFY_NONE;
    if (options->verify >= PCO_SSL_VERIFY_OPTIONAL) {
        mode = SSL_VERIFY_PEER;
    }
    if (options->verify == PCO_SSL_VERIFY_REQUIRED) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(ctx, mode, NULL);
    return 0;
}

int pco__ssl_set_verification(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                              bool client, pco_error *error)
{
    bool given;
    if (options->verify < PCO_SSL_VERIFY_DEFAULT || options->verify > PCO_SSL_VERIFY_REQUIRED) {
        return pco__error_set(error, PCO_EINVAL, 0, "verify is %d, none of PCO_SSL_VERIFY_*",
                              options->verify);
    }
    if (options->trust < PCO_SSL_TRUST_DEFAULT || options->trust > PCO_SSL_TRUST_SYSTEM) {
        return pco__error_set(error, PCO_EINVAL, 0, "trust is %d, none of PCO_SSL_TRUST_*",
                              options->trust);
    }
    int code = pco__check_switch(options->dangerously_accept_any_certificate,
                                 "dangerously_accept_any_certificate", error);
    if (code == 0) {
        code = trust_given(setup->ctx, options, &given, error);
    }
    if (code == 0) {
        code = set_checks(setup->ctx, options, error);
    }
    if (code != 0) {
        return code;
    }
    return client ? demand_of_server(setup, options, given, error)
                  : demand_of_client(setup->ctx, options, given, error);
}
