/* SPDX-License-Identifier: MIT */
/*
 * Goal: `tls = PCO_ON` and nothing else is a connection to a server that this system trusts, and to
 * no other. Method: real sockets; SSL_CERT_FILE, which stands for the system's certificates where
 * OpenSSL has the verdict, names a file of the test's. (Where the system judges: test_trust_macos.c
 * and windows/test_trust.c.)
 */
#define _GNU_SOURCE 1 /* mkstemp, setenv */

#include "behaviour_trust.h"

#include <stdlib.h>
#include <unistd.h>

#define TRUST_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static char path[64];

static void trust(const certificate *authority)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(authority->pem, 1, authority->pem_length, file), authority->pem_length);
    assert_int_equal(fclose(file), 0);
}

static int begin(void **state)
{
    snprintf(path, sizeof path, "/tmp/portico-trust-XXXXXX");
    int file = mkstemp(path);
    if (file < 0 || close(file) != 0 || setenv("SSL_CERT_FILE", path, 1) != 0 ||
        setenv("SSL_CERT_DIR", "/nowhere", 1) != 0 || world_begin(state) != 0) {
        return -1;
    }
    at.tls = true;
    return 0;
}

static int end(void **state)
{
    unlink(path);
    unsetenv("SSL_CERT_FILE");
    unsetenv("SSL_CERT_DIR");
    return world_end(state);
}

static void tls_on_is_a_connection_to_whom_the_system_trusts(void **state)
{
    (void)state;
    pco_ssl_info info = {.size = sizeof info};
    trust(&certificates_get()->ca);
    serve();
    assert_int_equal(connect_by_tls(NULL), 0);
    assert_int_equal(pco_transport_get_ssl_info(told.transport, &info), 0);
    assert_null(info.server_name); /* no SNI for an address */
    assert_int_equal(connect_by_tls("localhost"), 0);
    assert_int_equal(pco_transport_get_ssl_info(told.transport, &info), 0);
    assert_string_equal(info.server_name, "localhost");
}

static void the_name_is_checked_before_the_factory_is_called(void **state)
{
    (void)state;
    trust(&certificates_get()->ca);
    serve();
    assert_int_equal(connect_by_tls("other.example"), PCO_ECERT);
    assert_null(told.transport);
    assert_int_equal(at.factory_calls, 0);
    assert_true(all_are_lost());
}

static void whom_the_system_does_not_trust_is_refused(void **state)
{
    (void)state;
    trust(&certificates_get()->stranger);
    serve();
    assert_int_equal(connect_by_tls(NULL), PCO_ECERT);
    assert_null(told.transport);
    assert_int_equal(at.factory_calls, 0);
    assert_true(all_are_lost());
}

static void the_context_is_made_once_per_loop(void **state)
{
    (void)state;
    trust(&certificates_get()->ca);
    serve();
    assert_int_equal(connect_by_tls(NULL), 0);
    trust(&certificates_get()->stranger);
    assert_int_equal(connect_by_tls(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRUST_TEST(tls_on_is_a_connection_to_whom_the_system_trusts),
        TRUST_TEST(the_name_is_checked_before_the_factory_is_called),
        TRUST_TEST(whom_the_system_does_not_trust_is_refused),
        TRUST_TEST(the_context_is_made_once_per_loop),
    };

    return run_here("the system's trust", tests, sizeof tests / sizeof tests[0]);
}
