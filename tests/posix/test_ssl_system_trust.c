/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_system_trust.c: whom a client trusts that is told nothing. Goal: whom the system trusts,
 * wherever it says so; and where it says nothing, a sentence and not a client that trusts nobody.
 * Method: files and folders of the test's in the place of the system's, and the environment. Who is
 * trusted is asked of OpenSSL, with a certificate that one of them has signed.
 */
#define _GNU_SOURCE 1

#include "ssl_world.h"
#include "system/trust.h"
#include "tls/contexts.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 128

/* A folder of the test's with places for all that trust can be in. */
typedef struct place {
    char folder[PATH_SIZE];
    char file[PATH_SIZE];   /* in it, none yet */
    char bundle[PATH_SIZE]; /* likewise */
    char hashed[PATH_SIZE]; /* a folder in it, empty */
    char link[PATH_SIZE];   /* in `hashed`: the authority, none yet */
    const char *bundles[3];
    pco__ssl_places places;
} place;

static place at;

static int begin(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    (void)state;
    at = (place){.folder = "/tmp/portico-trust-XXXXXX"};
    if (mkdtemp(at.folder) == NULL) {
        return -1;
    }
    snprintf(at.file, sizeof at.file, "%.64s/cert.pem", at.folder);
    snprintf(at.bundle, sizeof at.bundle, "%.64s/bundle.pem", at.folder);
    snprintf(at.hashed, sizeof at.hashed, "%.64s/certs", at.folder);
    snprintf(at.link, sizeof at.link, "%.64s/certs/%08lx.0", at.folder,
             X509_NAME_hash_ex(X509_get_subject_name(ca->x509), NULL, NULL, NULL));
    at.bundles[0] = "/no/such/bundle.pem";
    at.bundles[1] = at.bundle;
    at.places = (pco__ssl_places){.file = at.file, .folders = at.hashed, .bundles = at.bundles};
    return unsetenv("SSL_CERT_FILE") | unsetenv("SSL_CERT_DIR") | mkdir(at.hashed, 0700);
}

static int end(void **state)
{
    (void)state;
    unlink(at.link);
    unlink(at.file);
    unlink(at.bundle);
    return rmdir(at.hashed) | rmdir(at.folder);
}

static void put(const char *path, const certificate *what)
{
    tls_write_file(path, what->pem, what->pem_length);
}

static bool trusts(SSL_CTX *ctx, const certificate *leaf)
{
    X509_STORE_CTX *asked = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_CTX_init(asked, SSL_CTX_get_cert_store(ctx), leaf->x509, NULL), 1);
    bool is_trusted = X509_verify_cert(asked) == 1;
    X509_STORE_CTX_free(asked);
    return is_trusted;
}

/* Whether the test's authority, and nobody else, is trusted by what is in the places. */
static bool found(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_error error;
    if (pco__ssl_trust_places(ctx, &at.places, &error) != 0) {
        fail_msg("%s", error.message);
    }
    bool is_trusted = trusts(ctx, &certificates_get()->server);
    assert_false(trusts(ctx, &certificates_get()->stranger));
    SSL_CTX_free(ctx);
    return is_trusted;
}

static void assert_nothing_found(int code, const char *words)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_error error = {.code = 0};
    assert_int_equal(pco__ssl_trust_places(ctx, &at.places, &error), code);
    if (strstr(error.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
    SSL_CTX_free(ctx);
}

/* Where the system judges it has no files, and the environment names none. */
static void need_files(void)
{
    if (pco__system_trust.files == NULL) {
        print_message("skipped: this system judges, and has no files of whom it trusts\n");
        skip();
    }
}

static void the_default_file_is_read(void **state)
{
    (void)state;
    put(at.file, &certificates_get()->ca);
    assert_true(found());
}

static void the_default_folder_is_looked_into(void **state)
{
    (void)state;
    put(at.link, &certificates_get()->ca);
    assert_true(found());
}

static void where_both_hold_nothing_the_bundle_of_the_distribution_counts(void **state)
{
    (void)state;
    put(at.bundle, &certificates_get()->ca);
    assert_true(found());
    put(at.link, &certificates_get()->ca);
    put(at.bundle, &certificates_get()->stranger);
    assert_true(found());
}

static void where_nothing_is_found_at_all_the_sentence_says_so(void **state)
{
    (void)state;
    assert_nothing_found(PCO_ENOENT, "no certificates are found that the system trusts");
    assert_nothing_found(PCO_ENOENT, at.file);
    at.places.folders = "/no/such/folder:/nor/this";
    assert_nothing_found(PCO_ENOENT, "/no/such/folder:/nor/this");
}

static void the_environment_names_another_file(void **state)
{
    (void)state;
    put(at.file, &certificates_get()->other);
    put(at.bundle, &certificates_get()->ca);
    at.places.file_said = at.bundle;
    assert_true(found());
}

static void a_file_of_the_environments_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    put(at.link, &certificates_get()->ca);
    at.places.file_said = "/no/such/file";
    assert_nothing_found(PCO_ENOENT, "SSL_CERT_FILE '/no/such/file': no such file or directory");
    at.places.file_said = at.folder;
    assert_nothing_found(PCO_EINVAL, "not a file");
    tls_write_file(at.bundle, "", 0);
    at.places.file_said = at.bundle;
    assert_nothing_found(PCO_ECERT, "the file is empty");
    tls_write_file(at.bundle, "hello", 5);
    assert_nothing_found(PCO_ECERT, "no PEM certificate found");
}

static void the_environment_names_other_folders(void **state)
{
    char folders[2 * PATH_SIZE];
    (void)state;
    put(at.link, &certificates_get()->ca);
    snprintf(folders, sizeof folders, "/no/such/folder:%s", at.hashed);
    at.places.folders = "/no/such/folder";
    at.places.folders_said = folders;
    assert_true(found());
}

static void
a_folder_of_the_environments_without_certificates_is_not_replaced_by_a_bundle(void **state)
{
    (void)state;
    put(at.bundle, &certificates_get()->ca);
    at.places.folders_said = at.folder;
    assert_nothing_found(PCO_ENOENT, "no certificates are found that SSL_CERT_DIR trusts");
}

static void a_client_without_options_trusts_whom_the_environment_names(void **state)
{
    pco_ssl_context *context;
    pco_error error;
    (void)state;
    need_files();
    put(at.bundle, &certificates_get()->ca);
    setenv("SSL_CERT_FILE", at.bundle, 1);
    if (pco_ssl_context_new_client(NULL, &context, &error) != 0) {
        fail_msg("%s", error.message);
    }
    pco__ssl_setup *setup = pco__ssl_context_take(context);
    assert_int_equal(SSL_CTX_get_verify_mode(setup->ctx), SSL_VERIFY_PEER);
    assert_true(trusts(setup->ctx, &certificates_get()->server));
    pco__ssl_setup_give(setup);
    assert_int_equal(pco_ssl_context_reload(context, NULL, &error), 0);

    setenv("SSL_CERT_FILE", "/no/such/file", 1);
    assert_int_equal(pco_ssl_context_reload(context, NULL, &error), PCO_ENOENT);
    pco_ssl_context_release(context);
    tls_assert_refused(true, NULL, PCO_ENOENT, "SSL_CERT_FILE '/no/such/file'");
}

static void
whom_the_system_trusts_is_not_asked_where_somebody_is_given_or_nobody_is_checked(void **state)
{
    const certificate *ca = &certificates_get()->ca;
    pco_ssl_context_options options = {
        .size = sizeof options, .ca_pem = ca->pem, .ca_pem_length = ca->pem_length};
    pco_ssl_context *context;
    (void)state;
    setenv("SSL_CERT_FILE", "/no/such/file", 1);
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    pco_ssl_context_release(context);
    options = (pco_ssl_context_options){.size = sizeof options,
                                        .dangerously_accept_any_certificate = PCO_ON};
    assert_int_equal(pco_ssl_context_new_client(&options, &context, NULL), 0);
    pco_ssl_context_release(context);
}

static void the_system_may_be_trusted_besides_who_is_given(void **state)
{
    const certificate *stranger = &certificates_get()->stranger;
    pco__ssl_setup *setup;
    (void)state;
    need_files();
    put(at.bundle, &certificates_get()->ca);
    setenv("SSL_CERT_FILE", at.bundle, 1);
    for (int client = 0; client <= 1; client++) {
        pco_ssl_context_options options = tls_options(&certificates_get()->server);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.trust = PCO_SSL_TRUST_SYSTEM;
        assert_int_equal(pco__ssl_setup_new(&options, client != 0, &setup, NULL), 0);
        assert_true(trusts(setup->ctx, &certificates_get()->server));
        assert_false(trusts(setup->ctx, stranger));
        pco__ssl_setup_free(setup);

        options.ca_pem = stranger->pem;
        options.ca_pem_length = stranger->pem_length;
        assert_int_equal(pco__ssl_setup_new(&options, client != 0, &setup, NULL), 0);
        assert_true(trusts(setup->ctx, &certificates_get()->server));
        assert_true(trusts(setup->ctx, stranger));
        assert_int_equal(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(setup->ctx)), 0);
        pco__ssl_setup_free(setup);

        options.trust = PCO_SSL_TRUST_GIVEN;
        assert_int_equal(pco__ssl_setup_new(&options, client != 0, &setup, NULL), 0);
        assert_false(trusts(setup->ctx, &certificates_get()->server));
        pco__ssl_setup_free(setup);
    }
}

static void a_server_that_trusts_the_system_hears_if_that_trusts_nobody(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)state;
    need_files();
    options.trust = PCO_SSL_TRUST_SYSTEM;
    tls_assert_refused(false, &options, PCO_EINVAL, "trust is given, but verify does not say");
    options.verify = PCO_SSL_VERIFY_OPTIONAL;
    setenv("SSL_CERT_FILE", "/no/such/file", 1);
    tls_assert_refused(false, &options, PCO_ENOENT, "SSL_CERT_FILE '/no/such/file'");
}

static void a_folder_is_looked_into_when_a_certificate_is_needed(void **state)
{
    pco__ssl_setup *setup;
    char another[PATH_SIZE];
    (void)state;
    snprintf(another, sizeof another, "%.64s/certs/00000000.0", at.folder);
    for (int client = 0; client <= 1; client++) {
        pco_ssl_context_options options = tls_options(&certificates_get()->server);
        options.verify = PCO_SSL_VERIFY_REQUIRED;
        options.ca_directory = at.hashed;
        tls_assert_refused(client != 0, &options, PCO_ENOENT, "ca_directory '");
        put(another, &certificates_get()->other);
        assert_int_equal(pco__ssl_setup_new(&options, client != 0, &setup, NULL), 0);
        assert_false(trusts(setup->ctx, &certificates_get()->server));
        put(at.link, &certificates_get()->ca);
        assert_true(trusts(setup->ctx, &certificates_get()->server));
        pco__ssl_setup_free(setup);

        options.ca_pem = certificates_get()->stranger.pem;
        options.ca_pem_length = certificates_get()->stranger.pem_length;
        assert_int_equal(pco__ssl_setup_new(&options, client != 0, &setup, NULL), 0);
        assert_true(trusts(setup->ctx, &certificates_get()->server));
        assert_true(trusts(setup->ctx, &certificates_get()->stranger));
        assert_int_equal(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(setup->ctx)), 0);
        pco__ssl_setup_free(setup);
        unlink(another);
        unlink(at.link);
    }
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_default_file_is_read),
        TEST(the_default_folder_is_looked_into),
        TEST(where_both_hold_nothing_the_bundle_of_the_distribution_counts),
        TEST(where_nothing_is_found_at_all_the_sentence_says_so),
        TEST(the_environment_names_another_file),
        TEST(a_file_of_the_environments_that_cannot_be_read_is_an_error),
        TEST(the_environment_names_other_folders),
        TEST(a_folder_of_the_environments_without_certificates_is_not_replaced_by_a_bundle),
        TEST(a_client_without_options_trusts_whom_the_environment_names),
        TEST(the_system_may_be_trusted_besides_who_is_given),
        TEST(a_server_that_trusts_the_system_hears_if_that_trusts_nobody),
        TEST(a_folder_is_looked_into_when_a_certificate_is_needed),
        TEST(whom_the_system_trusts_is_not_asked_where_somebody_is_given_or_nobody_is_checked),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, NULL, end_all);
    return memory_unwatch() != 0 ? 1 : failed;
}
