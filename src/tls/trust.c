/* SPDX-License-Identifier: MIT */
/* trust.c: whose certificates are accepted, and whether the peer must show one. */
#include "tls/contexts.h"
#include "tls/material.h"

static bool take_ca(X509 *certificate, size_t index, void *context)
{
    SSL_CTX *ctx = context;
    (void)index;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) == 1 &&
           SSL_CTX_add_client_CA(ctx, certificate) == 1;
}

static int load_ca(SSL_CTX *ctx, const pco_ssl_context_options *options, bool client, bool *given,
                   pco_error *error)
{
    pco__material ca;
    int code = pco__material_get(&ca, "ca", options->ca_file, options->ca_pem,
                                 options->ca_pem_length, error);
    *given = ca.length != 0;
    if (code == 0 && *given) {
        code = pco__material_each_certificate(&ca, take_ca, ctx, error);
    } else if (code == 0 && client && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        code = pco__ssl_error(error, PCO_ECERT, "the system's certificates");
    }
    pco__material_drop(&ca);
    return code;
}

int pco__ssl_set_verification(SSL_CTX *ctx, const pco_ssl_context_options *options, bool client,
                              pco_error *error)
{
    if (options->verify < PCO_SSL_VERIFY_DEFAULT || options->verify > PCO_SSL_VERIFY_REQUIRED) {
        return pco__error_set(error, PCO_EINVAL, 0, "verify is %d, none of PCO_SSL_VERIFY_*",
                              options->verify);
    }
    bool given;
    int code = load_ca(ctx, options, client, &given, error);
    if (code != 0) {
        return code;
    }
    int verify = options->verify;
    if (client) {
        SSL_CTX_set_verify(ctx, verify == PCO_SSL_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                           NULL);
        return 0;
    }

    /* Who names an authority and demands nothing believes that clients are being checked. */
    if (given && verify == PCO_SSL_VERIFY_DEFAULT) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "a ca is given, but verify does not say what is demanded");
    }
    if (!given && verify >= PCO_SSL_VERIFY_OPTIONAL) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "verify demands client certificates, but ca_file or ca_pem is "
                              "missing");
    }
    int mode = SSL_VERIFY_NONE;
    if (verify >= PCO_SSL_VERIFY_OPTIONAL) {
        mode = SSL_VERIFY_PEER;
    }
    if (verify == PCO_SSL_VERIFY_REQUIRED) {
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(ctx, mode, NULL);
    return 0;
}
