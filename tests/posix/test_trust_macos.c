/* SPDX-License-Identifier: MIT */
/*
 * Goal: the verdict of macOS: whom the program trusts besides is good, at the time that counts;
 * everything else is told as what it is. And a whole connection comes of it, or none.
 * Method: certificates made on the spot, whose authority the question brings: to put it into a
 * keychain takes the user's consent.
 */
#include "behaviour_trust.h"

#define TRUST_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static int begin(void **state)
{
    certificates_get();
    if (world_begin(state) != 0) {
        return -1;
    }
    at.tls = true;
    return 0;
}

static int end(void **state)
{
    forget_verdict();
    return world_end(state);
}

/* ---- The verdict ---- */

static void a_server_whose_root_is_trusted_besides_is_good(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    for (size_t host = 0; host < TRUST_HOSTS; host++) {
        make_server(host, "serverAuth", &them->intermediate);
        ask_about(host, &them->intermediate, &them->ca);
        assert_verdict(PCO__TRUST_GOOD);
        assert_int_equal(verdict.chain_count, 3);
        pco_buffer ca = der_of(them->ca.x509);
        assert_int_equal(verdict.chain[2].length, ca.length);
        assert_memory_equal(verdict.chain[2].data, ca.data, ca.length);
        free_der(&ca);
    }
}

static void without_the_intermediate_the_issuer_is_unknown(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    make_server(0, "serverAuth", &them->intermediate);
    ask_about(0, NULL, &them->ca);
    assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
}

static void a_server_whose_root_is_not_trusted_has_an_unknown_issuer(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    make_server(0, "serverAuth", &them->ca);
    ask_about(0, &them->ca, NULL);
    assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
    ask_about(0, &them->ca, &them->stranger);
    assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
}

static void another_name_is_the_wrong_one(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    make_server(0, "serverAuth", &them->ca);
    ask(&made, NULL, &them->ca, "example.org", false, 0);
    assert_verdict(PCO__TRUST_WRONG_NAME);
}

static void a_certificate_for_clients_is_of_the_wrong_usage(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    make_server(0, "clientAuth", &them->ca);
    ask_about(0, NULL, &them->ca);
    assert_verdict(PCO__TRUST_WRONG_USAGE);
}

/* Certificates are from two days ago to in two days. */
static void the_time_that_counts_is_that_of_the_question(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    ask(&them->server, NULL, &them->ca, "localhost", false, 1);
    assert_verdict(PCO__TRUST_GOOD);
    ask(&them->server, NULL, &them->ca, "localhost", false, 10);
    assert_verdict(PCO__TRUST_EXPIRED);
    ask(&them->server, NULL, &them->ca, "localhost", false, -10);
    assert_verdict(PCO__TRUST_EXPIRED);
}

static void what_is_no_certificate_is_garbled(void **state)
{
    pco_buffer chain[1] = {{.data = "no certificate", .length = 14}};
    pco__trust_question question = {
        .chain = chain, .chain_count = 1, .host = "localhost", .timeout = 5};
    (void)state;
    pco__system_trust.judge(&question, &verdict);
    assert_verdict(PCO__TRUST_GARBLED);
}

/* ---- Whole connections ---- */

/* Of a client that trusts the system, and the authority besides. */
static int connect_trusting(const char *server_hostname)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {.size = sizeof options,
                                       .trust = PCO_SSL_TRUST_SYSTEM,
                                       .ca_pem = ca->pem,
                                       .ca_pem_length = ca->pem_length};
    pco_ssl_context *context;
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    int code = connect_with(context, server_hostname);
    pco_ssl_context_release(context);
    return code;
}

static void the_verdict_decides_over_the_connection(void **state)
{
    (void)state;
    serve();
    if (connect_trusting("localhost") != 0) {
        fail_msg("%s", told.error.message);
    }
    assert_int_equal(connect_trusting("other.example"), PCO_ECERT);
    assert_non_null(strstr(told.error.message, "the certificate is for 'localhost'"));
    assert_null(told.transport);
}

static void tls_on_is_no_connection_to_whom_the_system_does_not_trust(void **state)
{
    (void)state;
    serve();
    assert_int_equal(connect_by_tls("localhost"), PCO_ECERT);
    assert_null(told.transport);
    assert_int_equal(at.factory_calls, 0);
    assert_true(all_are_lost());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRUST_TEST(a_server_whose_root_is_trusted_besides_is_good),
        TRUST_TEST(without_the_intermediate_the_issuer_is_unknown),
        TRUST_TEST(a_server_whose_root_is_not_trusted_has_an_unknown_issuer),
        TRUST_TEST(another_name_is_the_wrong_one),
        TRUST_TEST(a_certificate_for_clients_is_of_the_wrong_usage),
        TRUST_TEST(the_time_that_counts_is_that_of_the_question),
        TRUST_TEST(what_is_no_certificate_is_garbled),
        TRUST_TEST(the_verdict_decides_over_the_connection),
        TRUST_TEST(tls_on_is_no_connection_to_whom_the_system_does_not_trust),
    };

    return run_here("the verdict of macOS", tests, sizeof tests / sizeof tests[0]);
}
