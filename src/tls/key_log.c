/* SPDX-License-Identifier: MIT */
/*
 * key_log.c: the keys of connections, written to a file in NSS's format, for programs that decrypt
 * what they have recorded (Wireshark). Only when asked for: who reads it can read everything.
 */
#include <openssl/crypto.h>
#include <stdio.h>

#include "support/memory.h"
#include "support/options.h"
#include "system/platform.h"
#include "tls/bio.h"

/* A line of the longest: a label, the client's random number, and a secret of 48 bytes. */
#define LINE_MOST 512

struct pco__ssl_key_log {
    intptr_t file;
};

/* OpenSSL calls it in a handshake with each secret, as a line without its end. */
static void log_key(const SSL *engine, const char *line)
{
    char whole[LINE_MOST];
    const pco__ssl_setup *setup = pco__ssl_call_of(engine)->setup;
    int length = snprintf(whole, sizeof whole, "%s\n", line);
    if (setup != NULL && length > 0 && length < LINE_MOST) {
        pco__log_add(setup->key_log->file, whole, (size_t)length);
    }
    OPENSSL_cleanse(whole, sizeof whole);
}

static int open_log(pco__ssl_setup *setup, const char *what, const char *path, pco_error *error)
{
    pco_error why;
    pco__ssl_key_log *made = pco__malloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "%s", what);
    }
    int code = pco__log_open(path, &made->file, &why);
    if (code != 0) {
        pco__free(made);
        return pco__error_describe(error, code, why.system_code, "%s '%.150s'", what, path);
    }
    setup->key_log = made;
    SSL_CTX_set_keylog_callback(setup->ctx, log_key);
    return 0;
}

int pco__ssl_set_key_log(pco__ssl_setup *setup, const pco_ssl_context_options *options,
                         pco_error *error)
{
    int code = pco__check_switch(options->key_log_environment, "key_log_environment", error);
    if (code != 0) {
        return code;
    }
    bool by_environment = options->key_log_environment == PCO_ON;
    if (options->key_log_file != NULL && by_environment) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "key_log_file is given, and key_log_environment is PCO_ON");
    }
    if (options->key_log_file != NULL) {
        return open_log(setup, "key_log_file", options->key_log_file, error);
    }
    const char *path = by_environment ? pco__getenv("SSLKEYLOGFILE") : NULL;
    return path != NULL ? open_log(setup, "SSLKEYLOGFILE", path, error) : 0;
}

void pco__ssl_key_log_free(pco__ssl_key_log *log)
{
    if (log != NULL) {
        pco__log_close(log->file);
        pco__free(log);
    }
}
