/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_settings.c: groups, signatures, keys that both ends have beforehand, and the file of
 * keys. Goal: what is said is what is spoken, and what cannot be spoken has its sentence.
 * Method: handshakes of the library's two ends. The file's rights, threads and the environment are
 * in posix/test_ssl_key_log.c.
 */
#include "ssl_world.h"
#include "tls/contexts.h"

#define FILE_NAME "test_ssl_settings.keys"
#define LINE_MOST 256

static const char key[] = "0123456789abcdef0123456789abcdef";
static const char other_key[] = "fedcba9876543210fedcba9876543210";

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

static pco_ssl_context_options client_options(void)
{
    const certificate *ca = &certificates_get()->ca;
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .ca_pem = ca->pem,
                                     .ca_pem_length = ca->pem_length};
}

/* Whether a handshake of the two succeeds. */
static bool shake(const pco_ssl_context_options *of_server,
                  const pco_ssl_context_options *of_client)
{
    pco_ssl_context *one = tls_context(of_server);
    pco_ssl_context *two = NULL;
    pco_error error;
    if (pco_ssl_context_new_client(of_client, &two, &error) != 0) {
        fail_msg("%s", error.message);
    }
    tls_ends_shake(loop, &server, one, &client, two, "localhost");
    pco_ssl_context_release(one);
    pco_ssl_context_release(two);
    return server.protocol.counts[MADE] == 1 && client.protocol.counts[MADE] == 1;
}

static SSL *engine(void)
{
    return pco_transport_get_ssl_object(client.transport);
}

static void set_version(pco_ssl_context_options *options, int version)
{
    options->minimum_version = version;
    options->maximum_version = version;
}

/* ---- Groups and signatures ---- */

static void the_groups_that_are_said_are_spoken(void **state)
{
    pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
    pco_ssl_context_options of_client = client_options();
    (void)state;
    of_server.groups = "P-384:P-256";
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(SSL_get_negotiated_group(engine()), NID_secp384r1);
    of_client.groups = "P-256";
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(SSL_get_negotiated_group(engine()), NID_X9_62_prime256v1);
    of_client.groups = "X25519";
    assert_false(shake(&of_server, &of_client));
    assert_int_equal(server.handshake_error.code, PCO_ETLS);
}

static void the_signatures_that_are_said_are_made_and_checked(void **state)
{
    pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
    pco_ssl_context_options of_client = client_options();
    int signature;
    (void)state;
    of_client.signature_algorithms = "ECDSA+SHA256:RSA-PSS+SHA256";
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(SSL_get_peer_signature_nid(engine(), &signature), 1);
    assert_int_equal(signature, NID_sha256);
    of_server.signature_algorithms = "ECDSA+SHA384";
    assert_false(shake(&of_server, &of_client));
}

static void lists_that_openssl_does_not_know_are_refused(void **state)
{
    (void)state;
    for (int of_client = 0; of_client <= 1; of_client++) {
        pco_ssl_context_options options =
            of_client ? client_options() : tls_options(&certificates_get()->server);
        options.groups = "P-256:carrier-pigeon";
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL, "groups 'P-256:carrier-pigeon': ");
        options.groups = NULL;
        options.signature_algorithms = "ECDSA+SHA256:pigeon";
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL,
                           "signature_algorithms 'ECDSA+SHA256:pigeon': ");
    }
}

/* ---- Keys that both ends have ---- */

static pco_ssl_context_options with_key(const char *identity, const char *its)
{
    return (pco_ssl_context_options){.size = sizeof(pco_ssl_context_options),
                                     .psk_identity = identity,
                                     .psk_key = its,
                                     .psk_key_length = strlen(its)};
}

static void a_key_that_both_have_replaces_certificates(void **state)
{
    static const int versions[] = {PCO_TLS_1_2, PCO_TLS_1_3};
    pco_ssl_context_options of_server = with_key("sensor 1", key);
    pco_ssl_context_options of_client = with_key("sensor 1", key);
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        set_version(&of_client, versions[i]);
        assert_true(shake(&of_server, &of_client));
        pco_ssl_info info = {.size = sizeof info};
        assert_int_equal(pco_transport_get_ssl_info(client.transport, &info), 0);
        assert_null(info.peer_certificate);
        assert_string_equal(info.version, i == 0 ? "TLSv1.2" : "TLSv1.3");
    }
}

static void another_key_or_name_is_refused(void **state)
{
    static const int versions[] = {PCO_TLS_1_2, PCO_TLS_1_3};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pco_ssl_context_options of_server = with_key("sensor 1", key);
        pco_ssl_context_options of_client = with_key("sensor 1", other_key);
        set_version(&of_client, versions[i]);
        assert_false(shake(&of_server, &of_client));
        of_client = with_key("sensor 2", key);
        set_version(&of_client, versions[i]);
        assert_false(shake(&of_server, &of_client));
        assert_int_equal(server.protocol.counts[MADE], 0);
    }
}

static void a_client_with_a_key_does_not_believe_a_certificate_unless_it_says_whose(void **state)
{
    pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
    pco_ssl_context_options of_client = with_key("sensor 1", key);
    (void)state;
    assert_false(shake(&of_server, &of_client));
    assert_int_equal(client.handshake_error.code, PCO_ECERT);
    of_client.ca_pem = certificates_get()->ca.pem;
    of_client.ca_pem_length = certificates_get()->ca.pem_length;
    assert_true(shake(&of_server, &of_client));
}

static unsigned found;
static size_t claimed; /* instead of the right length; 0: the right one */

static int find(const char *identity, unsigned char *its, size_t size, size_t *length,
                void *context)
{
    assert_ptr_equal(context, &found);
    assert_true(size >= sizeof key - 1);
    if (strcmp(identity, "sensor 7") != 0) {
        return -1;
    }
    found++;
    memcpy(its, key, sizeof key - 1);
    *length = claimed != 0 ? claimed : sizeof key - 1;
    return 0;
}

static void a_server_of_many_clients_finds_their_keys(void **state)
{
    static const int versions[] = {PCO_TLS_1_2, PCO_TLS_1_3};
    static const size_t bad[] = {15, 100000};
    pco_ssl_context_options of_server = {
        .size = sizeof of_server, .find_psk = find, .callback_context = &found};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pco_ssl_context_options of_client = with_key("sensor 7", key);
        set_version(&of_client, versions[i]);
        found = 0;
        assert_true(shake(&of_server, &of_client));
        assert_int_equal(found, 1);
        for (size_t j = 0; j < 2; j++) {
            claimed = bad[j];
            assert_false(shake(&of_server, &of_client));
        }
        claimed = 0;
        of_client.psk_identity = "sensor 8";
        assert_false(shake(&of_server, &of_client));
    }
}

static void what_is_wrong_with_a_key_is_told(void **state)
{
    char long_name[257];
    char long_key[257];
    (void)state;
    memset(long_name, 'a', sizeof long_name);
    long_name[256] = '\0';
    memset(long_key, 'k', sizeof long_key);
    for (int of_client = 0; of_client <= 1; of_client++) {
        pco_ssl_context_options options = with_key("a", key);
        options.psk_key_length = 15;
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL,
                           "psk_key has 15 bytes, not 16 to 256");
        options.psk_key = long_key;
        options.psk_key_length = 257;
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL, "psk_key has 257 bytes");
        options.psk_key_length = 0;
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL, "must be given together");
        options = with_key(long_name, key);
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL,
                           "psk_identity has not 1 to 255 bytes");
        options.psk_identity = "";
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL, "psk_identity has not 1");
        options.psk_identity = NULL;
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL,
                           "psk_identity, psk_key and psk_key_length must be given together");
        options = (pco_ssl_context_options){.size = sizeof options, .psk_identity = "a"};
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL, "must be given together");
        options = with_key("a", key);
        options.find_psk = find;
        tls_assert_refused(of_client != 0, &options, PCO_EINVAL,
                           of_client ? "find_psk is for servers"
                                     : "find_psk and psk_identity are both given");
    }
}

static void reloading_changes_the_key(void **state)
{
    pco_ssl_context_options of_server = with_key("a", key);
    pco_ssl_context_options of_client = with_key("a", other_key);
    pco_ssl_context *one = tls_context(&of_server);
    pco_ssl_context *two;
    (void)state;
    of_server = with_key("a", other_key);
    assert_int_equal(pco_ssl_context_reload(one, &of_server, NULL), 0);
    assert_int_equal(pco_ssl_context_new_client(&of_client, &two, NULL), 0);
    tls_end_start(&server, loop, one);
    tls_end_start_client(&client, loop, two, "localhost");
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.counts[MADE], 1);
    pco_ssl_context_release(one);
    pco_ssl_context_release(two);
}

/* ---- The file of keys ---- */

/* How many lines of the file begin so and end with a line's end. */
static unsigned lines_with(const char *beginning)
{
    char line[LINE_MOST];
    unsigned count = 0;
    FILE *file = fopen(FILE_NAME, "rb");
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        count += strncmp(line, beginning, strlen(beginning)) == 0 && strchr(line, '\n') != NULL;
    }
    fclose(file);
    return count;
}

static void the_keys_of_each_connection_are_added_to_the_file(void **state)
{
    pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
    pco_ssl_context_options of_client = client_options();
    unsigned char random[32];
    char expected[LINE_MOST] = "SERVER_TRAFFIC_SECRET_0 ";
    (void)state;
    remove(FILE_NAME);
    of_client.key_log_file = FILE_NAME;
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(SSL_get_client_random(engine(), random, sizeof random), sizeof random);
    size_t length = strlen(expected);
    for (size_t i = 0; i < sizeof random; i++) {
        length += (size_t)snprintf(expected + length, sizeof expected - length, "%02x", random[i]);
    }
    assert_int_equal(lines_with(expected), 1);
    assert_int_equal(lines_with("CLIENT_TRAFFIC_SECRET_0 "), 1);

    /* The other end writes to the same file; TLS 1.2 has one line. */
    of_server.key_log_file = FILE_NAME;
    set_version(&of_server, PCO_TLS_1_2);
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(lines_with("CLIENT_RANDOM "), 2);
    assert_int_equal(lines_with(expected), 1);
    remove(FILE_NAME);
}

static pco_ssl_context *answer; /* of choose_certificate */

static void choose(pco_ssl_question *question, const pco_ssl_hello *hello, void *context)
{
    (void)hello;
    (void)context;
    assert_int_equal(pco_ssl_question_answer(question, answer, NULL), 0);
}

/* Another context gives the certificate, and neither adds to the file nor takes from it. */
static void the_file_is_that_of_the_context_that_asks_for_a_certificate(void **state)
{
    (void)state;
    for (int answer_logs = 0; answer_logs <= 1; answer_logs++) {
        for (int version = PCO_TLS_1_2; version <= PCO_TLS_1_3; version++) {
            pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
            pco_ssl_context_options of_client = client_options();
            pco_ssl_context_options of_answer = tls_options(&certificates_get()->client);
            remove(FILE_NAME);
            of_answer.trust = PCO_SSL_TRUST_GIVEN;
            of_answer.ca_pem = of_server.ca_pem = of_client.ca_pem;
            of_answer.ca_pem_length = of_server.ca_pem_length = of_client.ca_pem_length;
            of_answer.key_log_file = answer_logs ? FILE_NAME : NULL;
            of_server.verify = PCO_SSL_VERIFY_REQUIRED;
            set_version(&of_server, version);
            of_client.choose_certificate = choose;
            of_client.key_log_file = answer_logs ? NULL : FILE_NAME;
            assert_int_equal(pco_ssl_context_new_client(&of_answer, &answer, NULL), 0);
            assert_true(shake(&of_server, &of_client));
            pco_ssl_context_release(answer);
            assert_int_equal(lines_with("CLIENT_RANDOM "), !answer_logs && version == PCO_TLS_1_2);
            assert_int_equal(lines_with("CLIENT_TRAFFIC_SECRET_0 "),
                             !answer_logs && version == PCO_TLS_1_3);
        }
    }
    remove(FILE_NAME);
}

static void without_being_asked_no_key_is_written(void **state)
{
    pco_ssl_context_options of_server = tls_options(&certificates_get()->server);
    pco_ssl_context_options of_client = client_options();
    (void)state;
    remove(FILE_NAME);
    of_client.key_log_environment = PCO_OFF;
    assert_true(shake(&of_server, &of_client));
    assert_int_equal(lines_with(""), 0);
}

static void a_file_that_cannot_be_written_is_told(void **state)
{
    pco_ssl_context_options options = client_options();
    (void)state;
    options.key_log_file = "no such folder/keys";
    tls_assert_refused(true, &options, PCO_ENOENT, "key_log_file 'no such folder/keys': ");
    options.key_log_environment = PCO_ON;
    tls_assert_refused(true, &options, PCO_EINVAL,
                       "key_log_file is given, and key_log_environment is PCO_ON");
    options.key_log_file = NULL;
    options.key_log_environment = 3;
    tls_assert_refused(true, &options, PCO_EINVAL, "key_log_environment is 3");
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
        TEST(the_groups_that_are_said_are_spoken),
        TEST(the_signatures_that_are_said_are_made_and_checked),
        TEST(lists_that_openssl_does_not_know_are_refused),
        TEST(a_key_that_both_have_replaces_certificates),
        TEST(another_key_or_name_is_refused),
        TEST(a_client_with_a_key_does_not_believe_a_certificate_unless_it_says_whose),
        TEST(a_server_of_many_clients_finds_their_keys),
        TEST(what_is_wrong_with_a_key_is_told),
        TEST(reloading_changes_the_key),
        TEST(the_keys_of_each_connection_are_added_to_the_file),
        TEST(the_file_is_that_of_the_context_that_asks_for_a_certificate),
        TEST(without_being_asked_no_key_is_written),
        TEST(a_file_that_cannot_be_written_is_told),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, NULL, end_all);
    return memory_unwatch() != 0 ? 1 : failed;
}
