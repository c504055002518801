/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_trust.c: who is believed and who is not. Goal: each option of it does what its name says
 * at both ends, and what makes no sense has its sentence.
 * Method: OpenSSL is asked as it asks itself in a handshake, with certificates of each kind; what a
 * handshake adds to that is in the last part. Whom the system trusts is in
 * posix/test_ssl_system_trust.c.
 */
#include "ssl_world.h"
#include "tls/contexts.h"

#include <openssl/pem.h>

#define FILE_NAME "test_ssl_trust.pem"

static const certificates *them;
static char *ca_crl; /* of the authority: the intermediate and `server` are not revoked */
static size_t ca_crl_length;
static char *revoking; /* `server` is */
static size_t revoking_length;

/* Options of the end, a client's or a server's, that believes the authority. */
static pco_ssl_context_options trusting(bool client)
{
    pco_ssl_context_options options = tls_options(&them->server);
    if (client) {
        options = (pco_ssl_context_options){.size = sizeof options};
    }
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    options.ca_pem = them->ca.pem;
    options.ca_pem_length = them->ca.pem_length;
    return options;
}

static pco__ssl_setup *make(bool client, const pco_ssl_context_options *options)
{
    pco__ssl_setup *setup = NULL;
    pco_error error;
    if (pco__ssl_setup_new(options, client, &setup, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return setup;
}

/* X509_V_OK, or why a context of these options does not trust the certificate, with its chain. */
static int judge(const pco_ssl_context_options *options, const certificate *leaf,
                 const certificate *between)
{
    pco__ssl_setup *setup = make(true, options);
    STACK_OF(X509) *chain = sk_X509_new_null();
    X509_STORE_CTX *asked = X509_STORE_CTX_new();
    if (between != NULL) {
        sk_X509_push(chain, between->x509);
    }
    assert_int_equal(
        X509_STORE_CTX_init(asked, SSL_CTX_get_cert_store(setup->ctx), leaf->x509, chain), 1);
    assert_int_equal(X509_STORE_CTX_set_default(asked, "ssl_server"), 1);
    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(asked), SSL_CTX_get0_param(setup->ctx));
    X509_verify_cert(asked);
    int why = X509_STORE_CTX_get_error(asked);
    X509_STORE_CTX_free(asked);
    sk_X509_free(chain);
    pco__ssl_setup_free(setup);
    return why;
}

static void give_crl(pco_ssl_context_options *options, const char *pem, size_t length)
{
    options->crl_pem = pem;
    options->crl_pem_length = length;
}

/* ---- Whom ---- */

static void trust_that_needs_somebody_given_says_so(void **state)
{
    pco_ssl_context_options options = {.size = sizeof options, .trust = PCO_SSL_TRUST_GIVEN};
    (void)state;
    tls_assert_refused(true, &options, PCO_EINVAL,
                       "trust is PCO_SSL_TRUST_GIVEN, but ca_file, ca_pem or ca_directory");
    options = tls_options(&them->server);
    options.trust = PCO_SSL_TRUST_GIVEN;
    tls_assert_refused(false, &options, PCO_EINVAL, "trust is given, but verify does not say");
    options.verify = PCO_SSL_VERIFY_REQUIRED;
    tls_assert_refused(false, &options, PCO_EINVAL, "ca_file or ca_pem is missing");
    for (int client = 0; client <= 1; client++) {
        options = trusting(client != 0);
        options.trust = 3;
        tls_assert_refused(client != 0, &options, PCO_EINVAL,
                           "trust is 3, none of PCO_SSL_TRUST_*");
        options.trust = -1;
        tls_assert_refused(client != 0, &options, PCO_EINVAL, "trust is -1");
        options.trust = PCO_SSL_TRUST_GIVEN;
        pco__ssl_setup_free(make(client != 0, &options));
    }
}

static void a_folder_without_certificates_is_refused(void **state)
{
    (void)state;
    for (int client = 0; client <= 1; client++) {
        pco_ssl_context_options options = trusting(client != 0);
        options.ca_directory = "no such folder";
        tls_assert_refused(client != 0, &options, PCO_ENOENT, "ca_directory 'no such folder': ");
        options.ca_directory = "";
        tls_assert_refused(client != 0, &options, PCO_ENOENT, "ca_directory ''");
        tls_write_file(FILE_NAME, them->ca.pem, them->ca.pem_length);
        options.ca_directory = FILE_NAME;
        tls_assert_refused(client != 0, &options, PCO_ENOENT, "as openssl rehash makes them");
        remove(FILE_NAME);
    }
}

static void flags_and_depth_reach_openssl(void **state)
{
    pco_ssl_context_options options = trusting(true);
    (void)state;
    assert_int_equal(judge(&options, &them->chained, &them->intermediate), X509_V_OK);
    assert_int_equal(judge(&options, &them->chained, NULL),
                     X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
    options.verify_depth = 1;
    assert_int_equal(judge(&options, &them->chained, &them->intermediate), X509_V_OK);
    options.verify_depth = -1;
    tls_assert_refused(true, &options, PCO_EINVAL, "verify_depth is negative");

    options = trusting(true);
    options.ca_pem = them->intermediate.pem;
    options.ca_pem_length = them->intermediate.pem_length;
    assert_int_not_equal(judge(&options, &them->chained, NULL), X509_V_OK);
    options.verify_flags = X509_V_FLAG_PARTIAL_CHAIN;
    assert_int_equal(judge(&options, &them->chained, NULL), X509_V_OK);
}

static void what_a_server_checks_without_demanding_anything_is_refused(void **state)
{
    pco_ssl_context_options options = tls_options(&them->server);
    (void)state;
    options.verify_depth = 1;
    tls_assert_refused(false, &options, PCO_EINVAL, "verify_depth is given, but verify does not");
    options = tls_options(&them->server);
    options.verify_flags = X509_V_FLAG_CRL_CHECK;
    tls_assert_refused(false, &options, PCO_EINVAL, "verify_flags is given, but verify does not");
    options = tls_options(&them->server);
    give_crl(&options, ca_crl, ca_crl_length);
    tls_assert_refused(false, &options, PCO_EINVAL, "a crl is given, but verify does not");
}

static void a_server_names_those_whom_it_believes_if_that_is_all_of_them(void **state)
{
    pco_ssl_context_options options = trusting(false);
    (void)state;
    pco__ssl_setup *setup = make(false, &options);
    assert_int_equal(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(setup->ctx)), 1);
    pco__ssl_setup_free(setup);
}

/* ---- Revoked ---- */

static void lists_of_revoked_certificates_refuse_them(void **state)
{
    pco_ssl_context_options options = trusting(true);
    (void)state;
    give_crl(&options, ca_crl, ca_crl_length);
    assert_int_equal(judge(&options, &them->server, NULL), X509_V_OK);
    give_crl(&options, revoking, revoking_length);
    assert_int_equal(judge(&options, &them->server, NULL), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(judge(&options, &them->other, NULL), X509_V_OK);

    tls_write_file(FILE_NAME, revoking, revoking_length);
    give_crl(&options, NULL, 0);
    options.crl_file = FILE_NAME;
    assert_int_equal(judge(&options, &them->server, NULL), X509_V_ERR_CERT_REVOKED);
    remove(FILE_NAME);
}

static void several_lists_count_together(void **state)
{
    pco_ssl_context_options options = trusting(true);
    size_t length;
    (void)state;
    char *second = certificates_revoke(&them->intermediate, &them->chained, &length);
    char *both = malloc(length + ca_crl_length);
    assert_non_null(both);
    memcpy(both, ca_crl, ca_crl_length);
    memcpy(both + ca_crl_length, second, length);
    give_crl(&options, both, length + ca_crl_length);
    options.verify_flags = X509_V_FLAG_CRL_CHECK_ALL;
    assert_int_equal(judge(&options, &them->server, NULL), X509_V_OK);
    assert_int_equal(judge(&options, &them->chained, &them->intermediate), X509_V_ERR_CERT_REVOKED);
    free(both);
    free(second);
}

static void without_a_list_of_its_issuer_a_certificate_is_refused(void **state)
{
    pco_ssl_context_options options = trusting(true);
    size_t length;
    (void)state;
    give_crl(&options, ca_crl, ca_crl_length);
    assert_int_equal(judge(&options, &them->chained, &them->intermediate),
                     X509_V_ERR_UNABLE_TO_GET_CRL);

    /* The whole chain is checked only if that is said. */
    char *of_intermediate = certificates_revoke(&them->intermediate, NULL, &length);
    give_crl(&options, of_intermediate, length);
    assert_int_equal(judge(&options, &them->chained, &them->intermediate), X509_V_OK);
    options.verify_flags = X509_V_FLAG_CRL_CHECK_ALL;
    assert_int_equal(judge(&options, &them->chained, &them->intermediate),
                     X509_V_ERR_UNABLE_TO_GET_CRL);
    free(of_intermediate);
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    for (int client = 0; client <= 1; client++) {
        pco_ssl_context_options options = trusting(client != 0);
        char *copy = malloc(ca_crl_length);
        assert_non_null(copy);
        options.crl_file = FILE_NAME;
        give_crl(&options, ca_crl, ca_crl_length);
        tls_assert_refused(client != 0, &options, PCO_EINVAL,
                           "crl_file and crl_pem are both given");
        give_crl(&options, NULL, 0);
        options.crl_file = "no such file.pem";
        tls_assert_refused(client != 0, &options, PCO_ENOENT, "crl file 'no such file.pem': ");
        options.crl_file = NULL;
        give_crl(&options, NULL, 1);
        tls_assert_refused(client != 0, &options, PCO_EINVAL, "crl_pem has a length but is NULL");
        give_crl(&options, them->ca.pem, them->ca.pem_length);
        tls_assert_refused(client != 0, &options, PCO_ECERT, "crl_pem: no PEM CRL found");
        memcpy(copy, ca_crl, ca_crl_length);
        copy[ca_crl_length / 2] = '!';
        give_crl(&options, copy, ca_crl_length);
        tls_assert_refused(client != 0, &options, PCO_ECERT, "crl_pem: CRL 1 is garbled: ");
        free(copy);
    }
}

/* ---- How PEM comes ---- */

/* Whether the authority is believed if this stands before and behind its certificate. */
static bool is_read(const char *before, const char *line_end, const char *behind)
{
    char text[8192];
    size_t length = (size_t)snprintf(text, sizeof text, "%s", before);
    pco_ssl_context_options options = trusting(true);
    for (const char *at = them->ca.pem; *at != '\0'; at++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%s",
                                   *at == '\n' ? line_end : (char[]){*at, '\0'});
    }
    length += (size_t)snprintf(text + length, sizeof text - length, "%s", behind);
    options.ca_pem = text;
    options.ca_pem_length = length;
    return judge(&options, &them->server, NULL) == X509_V_OK;
}

static void comments_line_ends_and_a_byte_order_mark_do_not_matter(void **state)
{
    (void)state;
    assert_true(is_read("# Authority of the test\nsubject=CN\n", "\n", ""));
    assert_true(is_read("", "\r\n", "\r\n# the end"));
    assert_true(is_read("\xef\xbb\xbf", "\n", ""));
    assert_true(is_read("\xef\xbb\xbf", "\r\n", ""));
    assert_true(is_read(them->server.key_pem, "\n", ca_crl));
    assert_true(is_read(them->other.pem, "\n", them->other.pem));
}

static void certificates_with_trust_of_their_own_are_read_and_it_counts(void **state)
{
    pco_ssl_context_options options = trusting(true);
    (void)state;
    for (int rejects = 0; rejects <= 1; rejects++) {
        X509 *copy = X509_dup(them->ca.x509);
        ASN1_OBJECT *use = OBJ_nid2obj(NID_server_auth);
        BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        assert_int_equal(
            rejects ? X509_add1_reject_object(copy, use) : X509_add1_trust_object(copy, use), 1);
        assert_int_equal(PEM_write_bio_X509_AUX(bio, copy), 1);
        options.ca_pem_length = (size_t)BIO_get_mem_data(bio, &text);
        options.ca_pem = text;
        assert_int_equal(strncmp(text, "-----BEGIN TRUSTED CERTIFICATE", 30), 0);
        assert_int_equal(judge(&options, &them->server, NULL),
                         rejects ? X509_V_ERR_CERT_REJECTED : X509_V_OK);
        BIO_free(bio);
        X509_free(copy);
    }
}

static void text_of_16_bits_is_told(void **state)
{
    static const char little[] = "\xff\xfe-\0-\0";
    static const char big[] = "\xfe\xff\0-\0-";
    pco_ssl_context_options options = trusting(true);
    (void)state;
    options.ca_pem = little;
    options.ca_pem_length = sizeof little;
    tls_assert_refused(true, &options, PCO_ECERT, "ca_pem: the text is UTF-16, PEM is ASCII");
    options.ca_pem = big;
    tls_assert_refused(true, &options, PCO_ECERT, "ca_pem: the text is UTF-16");
}

/* ---- In a handshake ---- */

static pco_loop *loop;
static tls_end server;
static tls_end client;

static int begin(void **state)
{
    (void)state;
    return tls_ends_begin(&loop, &server, &client);
}

static int end(void **state)
{
    (void)state;
    return tls_ends_end(loop, &server, &client);
}

/* A handshake of a client that shows `own` with a server of this context. */
static void shake(pco_ssl_context *context, const certificate *own, const char *name)
{
    pco_ssl_context_options options = tls_options(own);
    pco_ssl_context *of_client;
    options.ca_pem = them->ca.pem;
    options.ca_pem_length = them->ca.pem_length;
    assert_int_equal(pco_ssl_context_new_client(&options, &of_client, NULL), 0);
    tls_ends_shake(loop, &server, context, &client, of_client, name);
    pco_ssl_context_release(of_client);
}

static void a_reloaded_list_revokes_the_next_client(void **state)
{
    pco_ssl_context_options options = trusting(false);
    (void)state;
    give_crl(&options, ca_crl, ca_crl_length);
    pco_ssl_context *context = tls_context(&options);
    shake(context, &them->client, "localhost");
    assert_int_equal(server.protocol.counts[MADE], 1);

    size_t length;
    char *next = certificates_revoke(&them->ca, &them->client, &length);
    give_crl(&options, next, length);
    assert_int_equal(pco_ssl_context_reload(context, &options, NULL), 0);
    free(next);
    shake(context, &them->client, "localhost");
    assert_int_equal(server.protocol.counts[MADE], 0);
    assert_int_equal(server.handshake_error.code, PCO_ECERT);
    assert_non_null(strstr(server.handshake_error.message, "certificate revoked"));
    pco_ssl_context_release(context);
}

static void what_one_context_checks_does_not_bind_that_of_another_name(void **state)
{
    pco_ssl_context_options options = trusting(false);
    pco_ssl_context_options others = trusting(false);
    (void)state;
    give_crl(&options, ca_crl, ca_crl_length);
    options.verify_flags = X509_V_FLAG_CRL_CHECK_ALL;
    others.certificate_pem = them->other.pem;
    others.certificate_pem_length = them->other.pem_length;
    others.key_pem = them->other.key_pem;
    others.key_pem_length = them->other.key_pem_length;
    pco_ssl_context *context = tls_context(&options);
    pco_ssl_context *other = tls_context(&others);
    assert_int_equal(pco_ssl_context_add_server_name(context, "other.example", other, NULL), 0);
    shake(context, &them->client, "other.example");
    assert_int_equal(server.protocol.counts[MADE], 1);
    pco_ssl_context_release(other);
    pco_ssl_context_release(context);
}

static int begin_all(void **state)
{
    (void)state;
    them = certificates_get();
    ca_crl = certificates_revoke(&them->ca, NULL, &ca_crl_length);
    revoking = certificates_revoke(&them->ca, &them->server, &revoking_length);
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    free(ca_crl);
    free(revoking);
    certificates_free();
    return 0;
}

#define HANDSHAKE_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trust_that_needs_somebody_given_says_so),
        cmocka_unit_test(a_folder_without_certificates_is_refused),
        cmocka_unit_test(flags_and_depth_reach_openssl),
        cmocka_unit_test(what_a_server_checks_without_demanding_anything_is_refused),
        cmocka_unit_test(a_server_names_those_whom_it_believes_if_that_is_all_of_them),
        cmocka_unit_test(lists_of_revoked_certificates_refuse_them),
        cmocka_unit_test(several_lists_count_together),
        cmocka_unit_test(without_a_list_of_its_issuer_a_certificate_is_refused),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(comments_line_ends_and_a_byte_order_mark_do_not_matter),
        cmocka_unit_test(certificates_with_trust_of_their_own_are_read_and_it_counts),
        cmocka_unit_test(text_of_16_bits_is_told),
        HANDSHAKE_TEST(a_reloaded_list_revokes_the_next_client),
        HANDSHAKE_TEST(what_one_context_checks_does_not_bind_that_of_another_name),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, begin_all, end_all);
    return memory_unwatch() != 0 ? 1 : failed;
}
