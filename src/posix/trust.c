/* SPDX-License-Identifier: MIT */
/* trust.c: a system that has files of whom it trusts, and leaves the verdict to OpenSSL. */
#include "system/trust.h"

static const char *const files[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Arch, Gentoo, NixOS */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* those of before */
    "/etc/ssl/ca-bundle.pem",                            /* SUSE */
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem", /* Alpine, OpenBSD, FreeBSD */
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/openssl/certs/ca-certificates.crt", /* NetBSD */
    NULL,
};

const pco__trust pco__system_trust = {.files = files};
