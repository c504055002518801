/* SPDX-License-Identifier: MIT */
/*
 * Goal: the verdict of Windows: whom the user or the machine trusts, and whom the program trusts
 * besides, is good, at the time that counts; everything else is told as what it is. And by
 * `tls = PCO_ON` a whole connection comes of it, or none.
 * Method: certificates made on the spot, whose authority is put into the store of roots and taken
 * out again: into the user's under Wine; on Windows, which asks the user by a dialog, into the
 * machine's, which takes rights. Where these are missing such a test is skipped, unless
 * PORTICO_TEST_ROOTS is "must".
 */
#include "win32/win32.h"

#include <stdlib.h>
#include <string.h>
#include <wincrypt.h>

#include "behaviour_trust.h"

#define TRUST_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* The store of roots, with the authority of the tests in it; NULL: there are no rights to it. */
static HCERTSTORE roots;
static PCCERT_CONTEXT root;
static certificate authority; /* which nobody trusts */

/* ---- The store of roots ---- */

static bool is_wine(void)
{
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;
}

/*
 * Once for all tests, since the engine that builds chains may look into the store only when it is
 * made. The store has to be told to write what was changed.
 */
static bool trust_root(void)
{
    DWORD place =
        is_wine() ? CERT_SYSTEM_STORE_CURRENT_USER : (DWORD)CERT_SYSTEM_STORE_LOCAL_MACHINE;
    pco_buffer der = der_of(certificates_get()->ca.x509);
    roots = CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, place, L"Root");
    bool added = roots != NULL &&
                 CertAddEncodedCertificateToStore(roots, X509_ASN_ENCODING, der.data,
                                                  (DWORD)der.length, CERT_STORE_ADD_ALWAYS, &root);
    DWORD code = GetLastError();
    free_der(&der);
    if (!added && roots != NULL) {
        CertCloseStore(roots, 0);
        roots = NULL;
    }
    certificate_make(&authority, &(recipe){.name = "Nobody's authority"}, NULL);
    return added ? CertControlStore(roots, 0, CERT_STORE_CTRL_COMMIT, NULL)
                 : code == ERROR_ACCESS_DENIED;
}

static bool distrust_root(void)
{
    certificate_clear(&authority);
    if (roots == NULL) {
        return true;
    }
    bool gone = CertDeleteCertificateFromStore(root) &&
                CertControlStore(roots, 0, CERT_STORE_CTRL_COMMIT, NULL);
    CertCloseStore(roots, 0);
    return gone;
}

static void need_root(void)
{
    static const char missing[] = "there are no rights to change the machine's store of roots";
    const char *wanted = getenv("PORTICO_TEST_ROOTS");
    if (roots != NULL) {
        return;
    }
    if (wanted != NULL && strcmp(wanted, "must") == 0) {
        fail_msg("%s", missing);
    }
    print_message("skipped: %s\n", missing);
    skip();
}

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

static void a_server_whose_root_is_trusted_is_good(void **state)
{
    (void)state;
    need_root();
    for (size_t host = 0; host < TRUST_HOSTS; host++) {
        make_server(host, "serverAuth", &certificates_get()->intermediate);
        ask_about(host, &certificates_get()->intermediate, NULL);
        assert_verdict(PCO__TRUST_GOOD);
        assert_int_equal(verdict.chain_count, 3);
        pco_buffer ca = der_of(certificates_get()->ca.x509);
        assert_int_equal(verdict.chain[2].length, ca.length);
        assert_memory_equal(verdict.chain[2].data, ca.data, ca.length);
        free_der(&ca);
    }
}

static void without_the_intermediate_the_issuer_is_unknown(void **state)
{
    (void)state;
    need_root();
    for (size_t host = 0; host < TRUST_HOSTS; host++) {
        make_server(host, "serverAuth", &certificates_get()->intermediate);
        ask_about(host, NULL, NULL);
        assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
    }
}

static void a_server_whose_root_is_not_trusted_has_an_unknown_issuer(void **state)
{
    (void)state;
    for (size_t host = 0; host < TRUST_HOSTS; host++) {
        make_server(host, "serverAuth", &authority);
        ask_about(host, &authority, NULL);
        assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
        ask_about(host, NULL, NULL);
        assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
    }
    ask(&certificates_get()->stranger, NULL, NULL, "localhost", false, 0);
    assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
}

static void another_name_is_the_wrong_one(void **state)
{
    (void)state;
    need_root();
    make_server(0, "serverAuth", &certificates_get()->intermediate);
    ask(&made, &certificates_get()->intermediate, NULL, "example.org", false, 0);
    assert_verdict(PCO__TRUST_WRONG_NAME);
}

static void a_certificate_for_clients_is_of_the_wrong_usage(void **state)
{
    (void)state;
    need_root();
    for (size_t host = 0; host < TRUST_HOSTS; host++) {
        make_server(host, "clientAuth", &certificates_get()->intermediate);
        ask_about(host, &certificates_get()->intermediate, NULL);
        assert_verdict(PCO__TRUST_WRONG_USAGE);
    }
}

/* Certificates are from two days ago to in two days. */
static void the_time_that_counts_is_that_of_the_question(void **state)
{
    const certificates *them = certificates_get();
    (void)state;
    need_root();
    ask(&them->server, NULL, NULL, "localhost", false, 1);
    assert_verdict(PCO__TRUST_GOOD);
    ask(&them->server, NULL, NULL, "localhost", false, 10);
    assert_verdict(PCO__TRUST_EXPIRED);
    ask(&them->server, NULL, NULL, "localhost", false, -10);
    assert_verdict(PCO__TRUST_EXPIRED);
}

static void who_is_trusted_besides_is_asked_where_the_system_knows_nobody(void **state)
{
    (void)state;
    make_server(0, "serverAuth", &authority);
    ask(&made, NULL, &authority, "example.com", false, 0);
    assert_verdict(PCO__TRUST_GOOD);
    assert_int_equal(verdict.chain_count, 2);
    ask(&made, NULL, &authority, "example.com", false, 10);
    assert_verdict(PCO__TRUST_EXPIRED);
    ask(&made, NULL, &authority, "example.org", false, 0);
    assert_verdict(PCO__TRUST_WRONG_NAME);
    ask(&made, &authority, &certificates_get()->stranger, "example.com", false, 0);
    assert_verdict(PCO__TRUST_UNKNOWN_ISSUER);
}

static void who_is_trusted_besides_does_not_matter_to_whom_the_system_knows(void **state)
{
    (void)state;
    need_root();
    ask(&certificates_get()->server, NULL, &authority, "localhost", false, 0);
    assert_verdict(PCO__TRUST_GOOD);
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

static void what_else_is_sent_may_be_anything(void **state)
{
    (void)state;
    need_root();
    pco_buffer chain[2] = {der_of(certificates_get()->server.x509),
                           {.data = "no certificate", .length = 14}};
    pco__trust_question question = {
        .chain = chain, .chain_count = 2, .host = "localhost", .timeout = 5};
    pco__system_trust.judge(&question, &verdict);
    free_der(&chain[0]);
    assert_verdict(PCO__TRUST_GOOD);
    assert_int_equal(verdict.chain_count, 2);
}

/* ---- Whole connections ---- */

static void tls_on_is_a_connection_to_whom_the_system_trusts(void **state)
{
    (void)state;
    need_root();
    serve();
    if (connect_by_tls(NULL) != 0 || connect_by_tls("localhost") != 0) {
        fail_msg("%s", told.error.message);
    }
    assert_int_equal(connect_by_tls("other.example"), PCO_ECERT);
    assert_non_null(strstr(told.error.message, "mismatch: the certificate is for 'localhost'"));
    assert_null(told.transport);
}

static void tls_on_is_no_connection_to_whom_the_system_does_not_trust(void **state)
{
    const certificate *own = &certificates_get()->stranger;
    pco_ssl_context_options shown = {.size = sizeof shown,
                                     .certificate_pem = own->pem,
                                     .certificate_pem_length = own->pem_length,
                                     .key_pem = own->key_pem,
                                     .key_pem_length = own->key_pem_length};
    pco_ssl_context *context;
    (void)state;
    assert_int_equal(pco_ssl_context_new(&shown, &context, NULL), 0);
    pco_server_options options = server_options();
    options.ssl = context;
    serve_with(&options);
    pco_ssl_context_release(context);
    assert_int_equal(connect_by_tls("localhost"), PCO_ECERT);
    assert_non_null(strstr(told.error.message, "self-signed certificate: 'localhost'"));
    assert_null(told.transport);
    assert_int_equal(at.factory_calls, 0);
    assert_true(all_are_lost());
}

static void a_server_of_another_address_is_refused(void **state)
{
    (void)state;
    need_root();
    serve();
    assert_int_equal(connect_by_tls("127.0.0.2"), PCO_ECERT);
    assert_non_null(strstr(told.error.message, "not for '127.0.0.2'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRUST_TEST(a_server_whose_root_is_trusted_is_good),
        TRUST_TEST(without_the_intermediate_the_issuer_is_unknown),
        TRUST_TEST(a_server_whose_root_is_not_trusted_has_an_unknown_issuer),
        TRUST_TEST(another_name_is_the_wrong_one),
        TRUST_TEST(a_certificate_for_clients_is_of_the_wrong_usage),
        TRUST_TEST(the_time_that_counts_is_that_of_the_question),
        TRUST_TEST(who_is_trusted_besides_is_asked_where_the_system_knows_nobody),
        TRUST_TEST(who_is_trusted_besides_does_not_matter_to_whom_the_system_knows),
        TRUST_TEST(what_is_no_certificate_is_garbled),
        TRUST_TEST(what_else_is_sent_may_be_anything),
        TRUST_TEST(tls_on_is_a_connection_to_whom_the_system_trusts),
        TRUST_TEST(tls_on_is_no_connection_to_whom_the_system_does_not_trust),
        TRUST_TEST(a_server_of_another_address_is_refused),
    };

    if (!trust_root()) {
        print_error("the store of roots does not take the authority of the tests\n");
        return 1;
    }
    int failed = run_here("the verdict of Windows", tests, sizeof tests / sizeof tests[0]);
    return distrust_root() ? failed : 1;
}
