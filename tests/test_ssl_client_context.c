/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_client_context.c: contexts for clients. Goal: a client verifies unless it says in full
 * that it does not, and no context is used at the end for which it is not made.
 * Method: as in test_ssl_context.c; whom the system trusts is in posix/test_ssl_system_trust.c.
 */
#include "ssl_world.h"
#include "tls/contexts.h"

static pco_ssl_context_options trusting(void)
{
    const certificate *ca = &certificates_get()->ca;
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .ca_pem = ca->pem,
                                     .ca_pem_length = ca->pem_length};
}

static void assert_refused(const pco_ssl_context_options *options, int code, const char *words)
{
    tls_assert_refused(true, options, code, words);
}

static void a_client_verifies_and_speaks_tls_1_2_at_least(void **state)
{
    pco_ssl_context_options options = trusting();
    (void)state;
    for (int verify = PCO_SSL_VERIFY_DEFAULT; verify <= PCO_SSL_VERIFY_REQUIRED;
         verify += PCO_SSL_VERIFY_REQUIRED) {
        pco__ssl_setup *setup;
        options.verify = verify;
        assert_int_equal(pco__ssl_setup_new(&options, true, &setup, NULL), 0);
        assert_int_equal(SSL_CTX_get_verify_mode(setup->ctx), SSL_VERIFY_PEER);
        assert_int_equal(SSL_CTX_get_min_proto_version(setup->ctx), TLS1_2_VERSION);
        assert_null(SSL_CTX_get0_certificate(setup->ctx));
        pco__ssl_setup_free(setup);
    }
}

static void a_client_that_does_not_verify_says_so_in_full(void **state)
{
    pco_ssl_context_options options = trusting();
    pco__ssl_setup *setup;
    (void)state;
    options.verify = PCO_SSL_VERIFY_NONE;
    assert_refused(&options, PCO_EINVAL, "verify is PCO_SSL_VERIFY_NONE, which is for servers");
    assert_refused(&options, PCO_EINVAL, "dangerously_accept_any_certificate");
    options.verify = PCO_SSL_VERIFY_OPTIONAL;
    assert_refused(&options, PCO_EINVAL, "verify is PCO_SSL_VERIFY_OPTIONAL");
    assert_refused(&options, PCO_EINVAL, "dangerously_accept_any_certificate");

    options = (pco_ssl_context_options){.size = sizeof options,
                                        .dangerously_accept_any_certificate = PCO_ON};
    assert_int_equal(pco__ssl_setup_new(&options, true, &setup, NULL), 0);
    assert_int_equal(SSL_CTX_get_verify_mode(setup->ctx), SSL_VERIFY_NONE);
    pco__ssl_setup_free(setup);
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    assert_refused(&options, PCO_EINVAL,
                   "verify is PCO_SSL_VERIFY_REQUIRED, and dangerously_accept_any_certificate");
    options = trusting();
    options.dangerously_accept_any_certificate = PCO_OFF;
    assert_int_equal(pco__ssl_setup_new(&options, true, &setup, NULL), 0);
    assert_int_equal(SSL_CTX_get_verify_mode(setup->ctx), SSL_VERIFY_PEER);
    pco__ssl_setup_free(setup);
    options.dangerously_accept_any_certificate = 3;
    assert_refused(&options, PCO_EINVAL, "dangerously_accept_any_certificate is 3");
}

static void a_client_that_accepts_any_certificate_says_nothing_of_whom_it_believes(void **state)
{
    const pco_ssl_context_options any = {.size = sizeof any,
                                         .dangerously_accept_any_certificate = PCO_ON};
    pco_ssl_context_options options = trusting();
    (void)state;
    options.dangerously_accept_any_certificate = PCO_ON;
    assert_refused(&options, PCO_EINVAL,
                   "a ca is given, and dangerously_accept_any_certificate is PCO_ON");
    options = any;
    options.trust = PCO_SSL_TRUST_SYSTEM;
    assert_refused(&options, PCO_EINVAL, "trust is given, and dangerously_accept_any");
    options = any;
    options.verify_depth = 3;
    assert_refused(&options, PCO_EINVAL, "verify_depth is given, and dangerously_accept_any");
    options = any;
    options.verify_flags = X509_V_FLAG_PARTIAL_CHAIN;
    assert_refused(&options, PCO_EINVAL, "verify_flags is given, and dangerously_accept_any");
    char *crl = certificates_revoke(&certificates_get()->ca, NULL, &options.crl_pem_length);
    options = (pco_ssl_context_options){.size = sizeof options,
                                        .dangerously_accept_any_certificate = PCO_ON,
                                        .crl_pem = crl,
                                        .crl_pem_length = options.crl_pem_length};
    assert_refused(&options, PCO_EINVAL, "a crl is given, and dangerously_accept_any");
    free(crl);
}

static void a_server_has_no_option_to_accept_any_certificate(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)state;
    for (int value = PCO_ON; value <= PCO_OFF; value++) {
        options.dangerously_accept_any_certificate = value;
        tls_assert_refused(false, &options, PCO_EINVAL,
                           "dangerously_accept_any_certificate is for clients");
    }
}

static void half_a_certificate_of_its_own_is_refused(void **state)
{
    const certificate *own = &certificates_get()->client;
    pco_ssl_context_options options = trusting();
    (void)state;
    options.certificate_pem = own->pem;
    options.certificate_pem_length = own->pem_length;
    assert_refused(&options, PCO_EINVAL, "key_file or key_pem is required");
    options = trusting();
    options.key_pem = own->key_pem;
    options.key_pem_length = own->key_pem_length;
    assert_refused(&options, PCO_EINVAL, "certificate_file or certificate_pem is required");
}

static void reloading_keeps_the_end(void **state)
{
    pco_ssl_context_options options = trusting();
    pco_ssl_context *context = tls_client_context();
    pco_error error;
    (void)state;
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), 0);
    assert_true(pco__ssl_context_fits(context, true));
    assert_false(pco__ssl_context_fits(context, false));
    options.verify = PCO_SSL_VERIFY_NONE;
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, "which is for servers"));
    pco_ssl_context_release(context);

    context = tls_server_context();
    options = trusting();
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), PCO_EINVAL);
    assert_int_equal(pco_ssl_context_reload(context, NULL, &error), PCO_EINVAL);
    assert_false(pco__ssl_context_fits(context, true));
    pco_ssl_context_release(context);
}

static void a_ready_ssl_ctx_is_not_reloaded_by_options(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    pco_ssl_context *context;
    pco_error error;
    (void)state;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    assert_int_equal(pco_ssl_context_reload(context, &options, &error), PCO_EINVAL);
    assert_string_equal(error.message, "a context of a ready SSL_CTX is not reloaded by options");
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    assert_ptr_equal(setup->ctx, ctx);
    pco__ssl_setup_give(setup);
    pco_ssl_context_release(context);
    SSL_CTX_free(ctx);
}

static void server_names_are_for_servers(void **state)
{
    pco_ssl_context *client = tls_client_context();
    pco_ssl_context *server = tls_server_context();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *ready;
    pco_error error;
    (void)state;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &ready, NULL), 0);
    assert_int_equal(pco_ssl_context_add_server_name(client, "a.example", server, &error),
                     PCO_EINVAL);
    assert_string_equal(error.message,
                        "the context is one for clients: server names are for servers");
    assert_int_equal(pco_ssl_context_add_server_name(server, "a.example", client, &error),
                     PCO_EINVAL);
    assert_string_equal(error.message,
                        "the other context is one for clients: server names are for servers");
    assert_int_equal(pco_ssl_context_add_server_name(server, "a.example", ready, &error),
                     PCO_EINVAL);
    pco_ssl_context_release(ready);
    pco_ssl_context_release(server);
    pco_ssl_context_release(client);
    SSL_CTX_free(ctx);
}

static int tear_down(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_verifies_and_speaks_tls_1_2_at_least),
        cmocka_unit_test(a_client_that_does_not_verify_says_so_in_full),
        cmocka_unit_test(a_client_that_accepts_any_certificate_says_nothing_of_whom_it_believes),
        cmocka_unit_test(a_server_has_no_option_to_accept_any_certificate),
        cmocka_unit_test(half_a_certificate_of_its_own_is_refused),
        cmocka_unit_test(reloading_keeps_the_end),
        cmocka_unit_test(a_ready_ssl_ctx_is_not_reloaded_by_options),
        cmocka_unit_test(server_names_are_for_servers),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, NULL, tear_down);
    return memory_unwatch() != 0 ? 1 : failed;
}
