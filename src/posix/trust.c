/* SPDX-License-Identifier: MIT */
/* trust.c: a system that has a list of whom it trusts, and leaves the verdict to OpenSSL. */
#include "system/trust.h"

const pco__trust pco__system_trust = {.judge = NULL};
