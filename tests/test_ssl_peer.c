/* SPDX-License-Identifier: MIT */
/*
 * Goal: what a certificate says is told whole, whatever somebody has written into it; a connection
 * tells with whom it is; and both ends compute the same secrets.
 * Method: certificates made for the test, parsed as such; and connections on the fake backend.
 */
#include "openssl_memory.h"
#include "ssl_world.h"

#include "tls/parsed.h"

#include <time.h>

#include <openssl/x509v3.h>

static pco_loop *loop;
static tls_end server;
static tls_end client;
static tls_peer peer;
static X509 *made;
static pco__ssl_parsed *parsed;

static int begin(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    tls_end_init(&client, false);
    memset(&peer, 0, sizeof peer);
    made = NULL;
    parsed = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    pco_loop_free(loop);
    tls_end_free(&server);
    tls_end_free(&client);
    tls_peer_free(&peer);
    pco__free(parsed);
    X509_free(made);
    return memory_unwatch() == 0 ? 0 : 1;
}

/* ---- Certificates for the test ---- */

/* A certificate of nobody in particular, signed by the test's authority; to be changed first. */
static X509 *new_certificate(void)
{
    made = X509_new();
    assert_non_null(made);
    assert_int_equal(X509_set_version(made, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(made), 0x0a3f), 1);
    time_t now = time(NULL);
    assert_non_null(X509_time_adj(X509_getm_notBefore(made), -60, &now));
    assert_non_null(X509_time_adj(X509_getm_notAfter(made), 3600, &now));
    assert_int_equal(X509_set_pubkey(made, certificates_get()->server.key), 1);
    return made;
}

static void add_to_subject(const char *field, int type, const void *text, int length)
{
    assert_int_equal(
        X509_NAME_add_entry_by_txt(X509_get_subject_name(made), field, type, text, length, -1, 0),
        1);
}

static GENERAL_NAMES *names_of_made;

static void add_name(int kind, const void *text, int length)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *string =
        ASN1_STRING_type_new(kind == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    assert_int_equal(ASN1_STRING_set(string, text, length), 1);
    GENERAL_NAME_set0_value(name, kind, string);
    if (names_of_made == NULL) {
        names_of_made = sk_GENERAL_NAME_new_null();
    }
    assert_true(sk_GENERAL_NAME_push(names_of_made, name) > 0);
}

static void sign_with(EVP_PKEY *key, const EVP_MD *digest)
{
    if (names_of_made != NULL) {
        assert_int_equal(X509_add1_ext_i2d(made, NID_subject_alt_name, names_of_made, 0, 0), 1);
        GENERAL_NAMES_free(names_of_made);
        names_of_made = NULL;
    }
    X509_NAME *issuer = X509_get_subject_name(certificates_get()->ca.x509);
    assert_int_equal(X509_set_issuer_name(made, issuer), 1);
    assert_true(X509_sign(made, key, digest) > 0);
}

/* Parses it. */
static const pco_ssl_certificate_info *parse(void)
{
    sign_with(certificates_get()->ca.key, EVP_sha256());
    parsed = pco__ssl_parse(made);
    assert_non_null(parsed);
    return &parsed->info;
}

static void assert_name(const pco_ssl_certificate_info *info, size_t index, int type,
                        const char *text)
{
    assert_true(index < info->names_count);
    assert_int_equal(info->names[index].type, type);
    assert_string_equal(info->names[index].text, text);
}

/* ---- What a certificate says ---- */

static void a_certificate_that_says_little_is_told_as_that(void **state)
{
    (void)state;
    new_certificate();
    const pco_ssl_certificate_info *info = parse();
    assert_int_equal(info->size, sizeof *info);
    assert_string_equal(info->subject, "");
    assert_string_equal(info->issuer, "CN=Portico test CA");
    assert_null(info->common_name);
    assert_null(info->names);
    assert_int_equal(info->names_count, 0);
    assert_string_equal(info->serial_number, "0A3F");
    assert_true(info->not_after - info->not_before == 3660);
}

static void each_kind_of_name_is_told_in_the_order_of_the_certificate(void **state)
{
    static const unsigned char v4[] = {192, 0, 2, 255};
    static const unsigned char v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    static const unsigned char mapped[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1};
    (void)state;
    new_certificate();
    add_name(GEN_URI, "https://example.com/a?b=c", -1);
    add_name(GEN_DNS, "*.example.com", -1);
    add_name(GEN_IPADD, v4, sizeof v4);
    add_name(GEN_IPADD, v6, sizeof v6);
    add_name(GEN_IPADD, mapped, sizeof mapped);
    add_name(GEN_EMAIL, "somebody@example.com", -1);
    const pco_ssl_certificate_info *info = parse();
    assert_int_equal(info->names_count, 6);
    assert_name(info, 0, PCO_SSL_NAME_URI, "https://example.com/a?b=c");
    assert_name(info, 1, PCO_SSL_NAME_DNS, "*.example.com");
    assert_name(info, 2, PCO_SSL_NAME_IP, "192.0.2.255");
    assert_name(info, 3, PCO_SSL_NAME_IP, "2001:db8::1");
    assert_name(info, 4, PCO_SSL_NAME_IP, "::ffff:127.0.0.1");
    assert_name(info, 5, PCO_SSL_NAME_EMAIL, "somebody@example.com");
}

static void a_zero_cuts_no_name(void **state)
{
    static const char evil[] = "good.example\0.evil.example";
    (void)state;
    new_certificate();
    add_to_subject("O", MBSTRING_UTF8, evil, sizeof evil - 1);
    add_to_subject("CN", MBSTRING_UTF8, evil, sizeof evil - 1);
    add_name(GEN_DNS, evil, sizeof evil - 1);
    add_name(GEN_URI, evil, sizeof evil - 1);
    add_name(GEN_EMAIL, "\0", 1);
    const pco_ssl_certificate_info *info = parse();
    assert_string_equal(info->subject, "CN=good.example\\00.evil.example,"
                                       "O=good.example\\00.evil.example");
    assert_string_equal(info->common_name, "good.example\\00.evil.example");
    assert_name(info, 0, PCO_SSL_NAME_DNS, "good.example\\00.evil.example");
    assert_name(info, 1, PCO_SSL_NAME_URI, "good.example\\00.evil.example");
    assert_name(info, 2, PCO_SSL_NAME_EMAIL, "\\00");
}

static void nobody_can_write_the_escape_of_another_name(void **state)
{
    (void)state;
    new_certificate();
    add_to_subject("CN", MBSTRING_UTF8, "a\\00b\n\x7f", -1);
    add_name(GEN_DNS, "a\\00b\r\n\x1b[31m\xc3\xa9", -1);
    const pco_ssl_certificate_info *info = parse();
    assert_string_equal(info->common_name, "a\\5C00b\\0A\\7F");
    assert_name(info, 0, PCO_SSL_NAME_DNS, "a\\5C00b\\0D\\0A\\1B[31m\\C3\\A9");
}

static void letters_of_every_alphabet_are_utf_8(void **state)
{
    static const unsigned char utf16[] = {0x00, 'Z', 0x00, 'o', 0x00, 0xeb};
    (void)state;
    new_certificate();
    add_to_subject("O", MBSTRING_UTF8, "\xe2\x82\xac", -1);
    add_to_subject("CN", V_ASN1_BMPSTRING, utf16, sizeof utf16);
    const pco_ssl_certificate_info *info = parse();
    assert_string_equal(info->common_name, "Zo\xc3\xab");
    assert_string_equal(info->subject, "CN=Zo\xc3\xab,O=\xe2\x82\xac");
}

/* (A name that says it is text and is not never gets so far: OpenSSL does not decode it.) */
static void what_is_no_text_is_shown_as_bytes(void **state)
{
    (void)state;
    new_certificate();
    add_to_subject("CN", V_ASN1_BIT_STRING, "a\xff", 2);
    const pco_ssl_certificate_info *info = parse();
    assert_string_equal(info->common_name, "a\\FF");
    assert_string_equal(info->subject, "CN=#03030061FF");
}

static void the_last_common_name_counts(void **state)
{
    (void)state;
    new_certificate();
    add_to_subject("CN", MBSTRING_ASC, "first", -1);
    add_to_subject("CN", MBSTRING_ASC, "last", -1);
    const pco_ssl_certificate_info *info = parse();
    assert_string_equal(info->common_name, "last");
    assert_string_equal(info->subject, "CN=last,CN=first");
}

static void an_address_of_a_strange_length_is_none(void **state)
{
    (void)state;
    new_certificate();
    add_name(GEN_IPADD, "\x7f\0\0\1\1", 5);
    add_name(GEN_IPADD, "", 0);
    add_name(GEN_DNS, "example.com", -1);
    const pco_ssl_certificate_info *info = parse();
    assert_int_equal(info->names_count, 1);
    assert_name(info, 0, PCO_SSL_NAME_DNS, "example.com");
}

static void thousands_of_names_and_huge_ones_are_told(void **state)
{
    enum { NAMES = 5000, LENGTH = 60000 };
    static char huge[LENGTH];
    char text[32];
    (void)state;
    new_certificate();
    memset(huge, '\n', sizeof huge);
    add_name(GEN_DNS, huge, sizeof huge);
    for (int i = 0; i < NAMES; i++) {
        snprintf(text, sizeof text, "%d.example", i);
        add_name(GEN_DNS, text, -1);
    }
    const pco_ssl_certificate_info *info = parse();
    assert_int_equal(info->names_count, NAMES + 1);
    assert_int_equal(strlen(info->names[0].text), 3 * LENGTH);
    for (size_t i = 0; i < NAMES; i++) {
        snprintf(text, sizeof text, "%d.example", (int)i);
        assert_name(info, i + 1, PCO_SSL_NAME_DNS, text);
    }
}

static void a_garbled_list_of_names_is_none(void **state)
{
    ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();
    (void)state;
    new_certificate();
    assert_int_equal(ASN1_OCTET_STRING_set(bytes, (const unsigned char *)"\x30\x7f\x82", 3), 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, bytes);
    assert_int_equal(X509_add_ext(made, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(bytes);
    assert_int_equal(parse()->names_count, 0);
}

static void times_are_seconds_since_1970(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } times[] = {{"19700101000000Z", 0},
                 {"20000229120000Z", 951825600},
                 {"20380119031408Z", 2147483648},
                 {"21000301000000Z", 4107542400},
                 {"99991231235959Z", 253402300799},
                 {"00010101000000Z", -62135596800},
                 {"500101000000Z", -631152000},  /* UTCTime: from 1950... */
                 {"491231235959Z", 2524607999}}; /* ...to 2049 */
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        ASN1_TIME *time = ASN1_STRING_type_new(
            strlen(times[i].text) == 13 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
        assert_int_equal(ASN1_STRING_set(time, times[i].text, -1), 1);
        assert_true(pco__ssl_seconds(time, 1) == times[i].seconds);
        ASN1_TIME_free(time);
    }
}

static void a_garbled_time_makes_a_certificate_that_is_never_valid(void **state)
{
    (void)state;
    new_certificate();
    assert_int_equal(ASN1_STRING_set(X509_getm_notBefore(made), "yesterday", -1), 1);
    assert_int_equal(ASN1_STRING_set(X509_getm_notAfter(made), "991399999999Z", -1), 1);
    const pco_ssl_certificate_info *info = parse();
    assert_true(info->not_before == INT64_MAX);
    assert_true(info->not_after == INT64_MIN);
}

static void memory_may_fail_while_a_certificate_is_parsed(void **state)
{
    (void)state;
    new_certificate();
    add_to_subject("CN", V_ASN1_BIT_STRING, "a\xff", 2);
    add_to_subject("O", MBSTRING_UTF8, "\xe2\x82\xac", -1);
    add_name(GEN_DNS, "example.com", -1);
    add_name(GEN_IPADD, "\x7f\0\0\1", 4);
    sign_with(certificates_get()->ca.key, EVP_sha256());
    for (size_t nth = 1; parsed == NULL; nth++) {
        assert_true(nth < 100);
        memory_fail(nth, false);
        parsed = pco__ssl_parse(made);
        assert_true((parsed == NULL) == memory_has_failed());
        memory_fail(0, false);
    }
    assert_name(&parsed->info, 1, PCO_SSL_NAME_IP, "127.0.0.1");

    pco__ssl_parsed *again = NULL;
    for (size_t nth = 1; again == NULL; nth++) {
        assert_true(nth < 1000);
        openssl_memory_fail(nth);
        again = pco__ssl_parse(made);
        openssl_memory_fail(0);

        /* Either nothing, or all as it is. */
        assert_true(again == NULL || strcmp(again->info.subject, parsed->info.subject) == 0);
        assert_true(again == NULL || strcmp(again->info.common_name, "a\\FF") == 0);
        assert_true(again == NULL || again->info.names_count == 2);
        if (again != NULL &&
            openssl_memory_requests() >= nth) { /* one that OpenSSL could do without */
            pco__free(again);
            again = NULL;
        }
    }
    pco__free(again);
}

/* ---- Connections ---- */

static void open_ends(pco_ssl_context *of_server, pco_ssl_context *of_client)
{
    tls_end_start(&server, loop, of_server);
    tls_end_start_client(&client, loop, of_client, "localhost");
    pco_ssl_context_release(of_server);
    pco_ssl_context_release(of_client);
    tls_run_ends(&server, &client);
    assert_int_equal(server.protocol.counts[MADE], 1);
    assert_int_equal(client.protocol.counts[MADE], 1);
}

static pco_ssl_context *client_context_of(const pco_ssl_context_options *options)
{
    pco_ssl_context *context = NULL;
    assert_int_equal(pco_ssl_context_new_client(options, &context, NULL), 0);
    return context;
}

static pco_ssl_certificate_info certificate_of(const tls_end *of, size_t index)
{
    pco_ssl_certificate_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_peer_certificate(of->transport, index, &info), 0);
    return info;
}

static int ask_for_certificate(const tls_end *of, size_t index)
{
    pco_ssl_certificate_info info = {.size = sizeof info};
    return pco_transport_get_peer_certificate(of->transport, index, &info);
}

static pco_ssl_info info_of(const tls_end *of)
{
    pco_ssl_info info = {.size = sizeof info};
    assert_int_equal(pco_transport_get_ssl_info(of->transport, &info), 0);
    return info;
}

static void the_chain_that_was_verified_is_told(void **state)
{
    const certificates *all = certificates_get();
    pco_ssl_context_options options = tls_options(&all->chained);
    unsigned char hash[32];
    (void)state;
    open_ends(tls_context(&options), tls_client_context());
    pco_ssl_info info = info_of(&client);
    assert_true(info.verified);
    pco_ssl_certificate_info own = certificate_of(&client, 0);
    assert_string_equal(own.subject, "CN=localhost");
    assert_string_equal(own.issuer, "CN=Portico test CA 2");
    assert_string_equal(own.common_name, "localhost");
    assert_int_equal(own.names_count, 3);
    assert_name(&own, 0, PCO_SSL_NAME_DNS, "localhost");
    assert_name(&own, 1, PCO_SSL_NAME_IP, "127.0.0.1");
    assert_name(&own, 2, PCO_SSL_NAME_IP, "::1");
    assert_int_equal(own.der_length, info.peer_certificate_length);
    assert_memory_equal(own.der, info.peer_certificate, own.der_length);
    assert_int_equal(EVP_Digest(own.der, own.der_length, hash, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(own.sha256, hash, sizeof hash);
    assert_string_equal(certificate_of(&client, 1).subject, "CN=Portico test CA 2");
    assert_string_equal(certificate_of(&client, 2).subject, "CN=Portico test CA");
    assert_int_equal(ask_for_certificate(&client, 3), PCO_ENOENT);
    assert_int_equal(ask_for_certificate(&client, SIZE_MAX), PCO_ENOENT);
}

static void a_client_without_a_certificate_is_nobody(void **state)
{
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    assert_false(info_of(&server).verified);
    assert_int_equal(ask_for_certificate(&server, 0), PCO_ENOENT);
    assert_int_equal(ask_for_certificate(&server, 1), PCO_ENOENT);
}

static void a_client_is_told_with_its_authority(void **state)
{
    const certificates *all = certificates_get();
    pco_ssl_context_options of_server = tls_options(&all->server);
    pco_ssl_context_options of_client = tls_options(&all->client);
    (void)state;
    of_server.verify = PCO_SSL_VERIFY_REQUIRED;
    of_server.ca_pem = of_client.ca_pem = all->ca.pem;
    of_server.ca_pem_length = of_client.ca_pem_length = all->ca.pem_length;
    open_ends(tls_context(&of_server), client_context_of(&of_client));
    assert_true(info_of(&server).verified);
    assert_string_equal(certificate_of(&server, 0).common_name, "client");
    assert_string_equal(certificate_of(&server, 1).common_name, "Portico test CA");
    assert_int_equal(ask_for_certificate(&server, 2), PCO_ENOENT);
}

/* The peer is a client of OpenSSL, which verifies; here it is the library's end that does not. */
static void what_was_not_verified_is_told_as_it_was_sent(void **state)
{
    const certificates *all = certificates_get();
    pco_ssl_context_options options = tls_options(&all->chained);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *ready;
    (void)state;
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &ready, NULL), 0);
    SSL_CTX_free(ctx);
    open_ends(tls_context(&options), ready);
    assert_false(info_of(&client).verified);
    assert_string_equal(certificate_of(&client, 0).common_name, "localhost");
    assert_string_equal(certificate_of(&client, 1).common_name, "Portico test CA 2");
    assert_int_equal(ask_for_certificate(&client, 2), PCO_ENOENT);
}

static int accept_all(int good, X509_STORE_CTX *ctx)
{
    (void)good;
    (void)ctx;
    return 1;
}

static void what_was_accepted_although_it_is_wrong_is_not_verified(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->stranger);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *ready;
    (void)state;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_all);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &ready, NULL), 0);
    SSL_CTX_free(ctx);
    open_ends(tls_context(&options), ready);
    assert_false(info_of(&client).verified);
}

static const void *seen_before;
static bool is_the_same_at_the_end;

static void look_once_more(recorder *self, pco_transport *transport)
{
    pco_ssl_certificate_info info = {.size = sizeof info};
    (void)self;
    is_the_same_at_the_end =
        pco_transport_get_peer_certificate(transport, 0, &info) == 0 && info.der == seen_before;
}

static void what_is_told_is_lent_until_connection_lost_returns(void **state)
{
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    pco_ssl_certificate_info info = certificate_of(&client, 0);
    char subject[64];
    snprintf(subject, sizeof subject, "%s", info.subject);
    seen_before = info.der;
    client.protocol.at[LOST] = look_once_more;
    pco_transport_close(client.transport);
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.counts[LOST], 1);
    assert_true(is_the_same_at_the_end);
    assert_int_equal(ask_for_certificate(&client, 0), PCO_ECLOSED);
    char binding[PCO_SSL_CHANNEL_BINDING_SIZE];
    size_t length;
    assert_int_equal(pco_transport_get_channel_binding(client.transport, "tls-exporter", binding,
                                                       sizeof binding, &length),
                     PCO_ECLOSED);
    assert_int_equal(pco_transport_export_keying_material(client.transport, "EXPORTER-test", NULL,
                                                          0, binding, sizeof binding),
                     PCO_ECLOSED);
}

static void who_asks_at_the_end_first_is_answered(void **state)
{
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    seen_before = NULL;
    is_the_same_at_the_end = true;
    client.protocol.at[LOST] = look_once_more;
    pco_transport_abort(client.transport);
    tls_run_ends(&server, &client);
    assert_int_equal(client.protocol.counts[LOST], 1);
    assert_false(is_the_same_at_the_end); /* it was made now */
}

static void a_plain_connection_has_none_of_it(void **state)
{
    connection plain;
    char binding[PCO_SSL_CHANNEL_BINDING_SIZE];
    size_t length;
    pco_ssl_certificate_info info = {.size = sizeof info};
    (void)state;
    connection_init(&plain, false);
    connection_open(&plain, loop);
    assert_int_equal(pco_transport_get_peer_certificate(plain.transport, 0, &info), PCO_ENOTSUP);
    assert_int_equal(pco_transport_get_channel_binding(plain.transport, "tls-exporter", binding,
                                                       sizeof binding, &length),
                     PCO_ENOTSUP);
    assert_int_equal(pco_transport_export_keying_material(plain.transport, "EXPORTER-test", NULL, 0,
                                                          binding, sizeof binding),
                     PCO_ENOTSUP);
    pco_transport_abort(plain.transport);
    run_turns(loop, 4);
    connection_free(&plain);
}

static void memory_may_fail_when_a_certificate_is_asked_for(void **state)
{
    int code = PCO_ENOMEM;
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    for (size_t nth = 1; code == PCO_ENOMEM; nth++) {
        assert_true(nth < 100);
        memory_fail(nth, false);
        code = ask_for_certificate(&client, 0);
        assert_true(code == 0 || memory_has_failed());
        memory_fail(0, false);
    }
    assert_int_equal(code, 0);
    assert_string_equal(certificate_of(&client, 1).common_name, "Portico test CA");
}

/* ---- Secrets ---- */

typedef struct binding {
    int code;
    unsigned char data[PCO_SSL_CHANNEL_BINDING_SIZE];
    size_t length;
} binding;

static binding bind_of(const tls_end *of, const char *type)
{
    binding got = {.length = 0};
    got.code = pco_transport_get_channel_binding(of->transport, type, got.data, sizeof got.data,
                                                 &got.length);
    return got;
}

static void assert_same_binding(const char *type, size_t length)
{
    binding one = bind_of(&server, type);
    binding other = bind_of(&client, type);
    assert_int_equal(one.code, 0);
    assert_int_equal(other.code, 0);
    assert_int_equal(one.length, length);
    assert_int_equal(other.length, length);
    assert_memory_equal(one.data, other.data, length);
}

static void assert_no_binding(const char *type, int code)
{
    assert_int_equal(bind_of(&server, type).code, code);
    assert_int_equal(bind_of(&client, type).code, code);
}

static pco_ssl_context *server_of_version(int version)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    options.maximum_version = version;
    return tls_context(&options);
}

static void both_ends_of_tls_1_3_have_the_same_bindings(void **state)
{
    unsigned char hash[32];
    (void)state;
    open_ends(server_of_version(PCO_TLS_1_3), tls_client_context());
    assert_same_binding("tls-exporter", 32);
    assert_same_binding("tls-server-end-point", 32);
    assert_int_equal(X509_digest(certificates_get()->server.x509, EVP_sha256(), hash, NULL), 1);
    assert_memory_equal(bind_of(&client, "tls-server-end-point").data, hash, sizeof hash);
    assert_no_binding("tls-unique", PCO_ENOTSUP);
    assert_no_binding("tls-something", PCO_EINVAL);
}

static void both_ends_of_tls_1_2_have_the_same_bindings(void **state)
{
    (void)state;
    open_ends(server_of_version(PCO_TLS_1_2), tls_client_context());
    assert_same_binding("tls-exporter", 32);
    assert_same_binding("tls-server-end-point", 32);
    assert_same_binding("tls-unique", 12);
    binding unique = bind_of(&client, "tls-unique");
    unsigned char first[64];
    SSL *engine = pco_transport_get_ssl_object(client.transport);
    assert_int_equal(SSL_get_finished(engine, first, sizeof first), 12);
    assert_memory_equal(unique.data, first,
                        12); /* the client's is the first of a whole handshake */
}

/* A client of OpenSSL, for the server's end. */
static void open_to_peer(SSL_CTX *ctx)
{
    pco_ssl_context *context = tls_server_context();
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_true(peer.established);
}

static void a_binding_that_binds_nothing_is_not_given(void **state)
{
    SSL_CTX *ctx = tls_peer_ctx(TLS1_2_VERSION);
    unsigned char out[32];
    (void)state;
    SSL_CTX_set_options(ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    open_to_peer(ctx);
    assert_int_equal(bind_of(&server, "tls-exporter").code, PCO_ENOTSUP);
    assert_int_equal(bind_of(&server, "tls-unique").code, PCO_ENOTSUP);
    assert_int_equal(bind_of(&server, "tls-server-end-point").code, 0);
    assert_int_equal(pco_transport_export_keying_material(server.transport, "EXPORTER-test", NULL,
                                                          0, out, sizeof out),
                     PCO_ENOTSUP);
}

static void the_exporter_binding_is_that_of_the_specification(void **state)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    unsigned char expected[32];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        open_to_peer(tls_peer_ctx(versions[i]));
        assert_int_equal(SSL_export_keying_material(peer.ssl, expected, sizeof expected, label,
                                                    sizeof label - 1, (const unsigned char *)"", 0,
                                                    1),
                         1);
        binding got = bind_of(&server, "tls-exporter");
        assert_int_equal(got.code, 0);
        assert_memory_equal(got.data, expected, sizeof expected);
        pco_transport_abort(server.transport);
        run_turns(loop, 4);
        tls_end_free(&server);
        tls_end_init(&server, false);
        tls_peer_free(&peer);
        memset(&peer, 0, sizeof peer);
    }
}

static void a_binding_wants_room(void **state)
{
    unsigned char data[31];
    size_t length = 7;
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    pco_transport *transport = client.transport;
    assert_int_equal(
        pco_transport_get_channel_binding(transport, "tls-exporter", data, sizeof data, &length),
        PCO_ENOBUFS);
    assert_int_equal(length, 7);
    assert_int_equal(pco_transport_get_channel_binding(transport, NULL, data, sizeof data, &length),
                     PCO_EINVAL);
    assert_int_equal(pco_transport_get_channel_binding(transport, "tls-exporter", NULL, 0, &length),
                     PCO_EINVAL);
    assert_int_equal(
        pco_transport_get_channel_binding(transport, "tls-exporter", data, sizeof data, NULL),
        PCO_EINVAL);
}

/* A server that shows `made`, which only the library's own authority need believe. */
static pco_ssl_context *server_showing_made(EVP_PKEY *key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    pco_ssl_context *context;
    assert_int_equal(SSL_CTX_use_certificate(ctx, made), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    SSL_CTX_free(ctx);
    return context;
}

static void an_end_point_is_hashed_as_its_certificate_is_signed(void **state)
{
    const certificates *all = certificates_get();
    unsigned char hash[48];
    (void)state;
    new_certificate();
    add_name(GEN_DNS, "localhost", -1);
    sign_with(all->ca.key, EVP_sha384());
    open_ends(server_showing_made(all->server.key), tls_client_context());
    assert_int_equal(X509_digest(made, EVP_sha384(), hash, NULL), 1);
    assert_same_binding("tls-server-end-point", 48);
    assert_memory_equal(bind_of(&client, "tls-server-end-point").data, hash, sizeof hash);
}

static void an_end_point_whose_signature_has_no_hash_has_no_binding(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    pco_ssl_context *unverified;
    (void)state;
    assert_non_null(key);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &unverified, NULL), 0);
    SSL_CTX_free(ctx);
    new_certificate();
    assert_int_equal(X509_set_pubkey(made, key), 1);
    sign_with(key, NULL);
    open_ends(server_showing_made(key), unverified);
    EVP_PKEY_free(key);
    assert_no_binding("tls-server-end-point", PCO_ENOTSUP);
}

static void both_ends_export_the_same_keys(void **state)
{
    static const char label[] = "EXPORTER-test";
    unsigned char expected[80];
    unsigned char got[sizeof expected];
    (void)state;
    open_to_peer(tls_peer_ctx(TLS1_2_VERSION));
    for (int with_context = 0; with_context < 2; with_context++) {
        assert_int_equal(SSL_export_keying_material(peer.ssl, expected, sizeof expected, label,
                                                    sizeof label - 1, (const unsigned char *)"abc",
                                                    3, with_context),
                         1);
        assert_int_equal(pco_transport_export_keying_material(
                             server.transport, label, with_context != 0 ? "abc" : NULL,
                             with_context != 0 ? 3 : 0, got, sizeof got),
                         0);
        assert_memory_equal(got, expected, sizeof got);
    }
    assert_int_equal(pco_transport_export_keying_material(server.transport, "key expansion", NULL,
                                                          0, got, sizeof got),
                     PCO_EINVAL);
}

static void what_cannot_be_exported_is_refused(void **state)
{
    static unsigned char much[70000];
    (void)state;
    open_ends(tls_server_context(), tls_client_context());
    const struct {
        const char *label;
        const void *context;
        size_t context_length;
        void *out;
        size_t length;
    } wrong[] = {{NULL, NULL, 0, much, 32},
                 {"", NULL, 0, much, 32},
                 {"EXPORTER-test", NULL, 1, much, 32},
                 {"EXPORTER-test", NULL, 0, NULL, 32},
                 {"EXPORTER-test", NULL, 0, much, 0},
                 {"EXPORTER-test", NULL, 0, much, sizeof much},
                 {"client finished", NULL, 0, much, 32},
                 {"server finished", NULL, 0, much, 32},
                 {"master secret", NULL, 0, much, 32},
                 {"extended master secret", NULL, 0, much, 32},
                 {"key expansion", NULL, 0, much, 32},
                 {"key expansion, too", NULL, 0, much, 32}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(pco_transport_export_keying_material(
                             client.transport, wrong[i].label, wrong[i].context,
                             wrong[i].context_length, wrong[i].out, wrong[i].length),
                         PCO_EINVAL);
    }
}

static void the_group_has_a_name(void **state)
{
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    (void)state;
    assert_int_equal(SSL_CTX_set1_groups_list(ctx, "P-384"), 1);
    open_to_peer(ctx);
    assert_string_equal(info_of(&server).group, "secp384r1");
}

/* ---- All of them ---- */

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
        TEST(a_certificate_that_says_little_is_told_as_that),
        TEST(each_kind_of_name_is_told_in_the_order_of_the_certificate),
        TEST(a_zero_cuts_no_name),
        TEST(nobody_can_write_the_escape_of_another_name),
        TEST(letters_of_every_alphabet_are_utf_8),
        TEST(what_is_no_text_is_shown_as_bytes),
        TEST(the_last_common_name_counts),
        TEST(an_address_of_a_strange_length_is_none),
        TEST(thousands_of_names_and_huge_ones_are_told),
        TEST(a_garbled_list_of_names_is_none),
        TEST(times_are_seconds_since_1970),
        TEST(a_garbled_time_makes_a_certificate_that_is_never_valid),
        TEST(memory_may_fail_while_a_certificate_is_parsed),
        TEST(the_chain_that_was_verified_is_told),
        TEST(a_client_without_a_certificate_is_nobody),
        TEST(a_client_is_told_with_its_authority),
        TEST(what_was_not_verified_is_told_as_it_was_sent),
        TEST(what_was_accepted_although_it_is_wrong_is_not_verified),
        TEST(what_is_told_is_lent_until_connection_lost_returns),
        TEST(who_asks_at_the_end_first_is_answered),
        TEST(a_plain_connection_has_none_of_it),
        TEST(memory_may_fail_when_a_certificate_is_asked_for),
        TEST(both_ends_of_tls_1_3_have_the_same_bindings),
        TEST(both_ends_of_tls_1_2_have_the_same_bindings),
        TEST(a_binding_that_binds_nothing_is_not_given),
        TEST(the_exporter_binding_is_that_of_the_specification),
        TEST(a_binding_wants_room),
        TEST(an_end_point_is_hashed_as_its_certificate_is_signed),
        TEST(an_end_point_whose_signature_has_no_hash_has_no_binding),
        TEST(both_ends_export_the_same_keys),
        TEST(what_cannot_be_exported_is_refused),
        TEST(the_group_has_a_name),
    };
    if (!openssl_memory_watch()) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, end_all);
}
