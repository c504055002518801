/* SPDX-License-Identifier: MIT */
/*
 * fuzz_options.c: the structs of options, as long as the input says and not a byte longer, with
 * every number in them as it likes; pointers are good ones or NULL. Names of the servers of a
 * context are here, too.
 */
#include "fuzz.h"
#include "ssl_world.h"

#include <openssl/err.h>

/* Larger than any struct of options by more than a field. */
#define SIZE_MOST 1024

static pco_ssl_context *shared_context;
static recorder protocol;

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    certificates_get();
    memory_watch();
    shared_context = tls_server_context();
    recorder_init(&protocol, false);
    return 0;
}

/* A struct in memory of exactly so many bytes as it claims to have, but for claims of none. */
static void *cut(const void *whole, size_t known, size_t claimed)
{
    size_t held = claimed < sizeof claimed ? sizeof claimed : claimed;
    unsigned char *made = calloc(1, held);
    require(made != NULL, "there is memory");
    memcpy(made, whole, held < known ? held : known);
    memcpy(made, &claimed, sizeof claimed);
    return made;
}

static size_t take_size(input *from, size_t known)
{
    size_t claimed = take_number(from) % SIZE_MOST;
    return take_byte(from) % 4 != 0 ? known : claimed;
}

/* Small and large, negative, and what is usual. */
static int take_int(input *from)
{
    int small = (int)(take_byte(from) % 5) - 1;
    unsigned kind = take_byte(from) % 8;
    return kind < 6 ? small : kind == 6 ? INT32_MIN : INT32_MAX;
}

static double take_double(input *from)
{
    static const double usual[] = {0, 1, 30, INFINITY, -INFINITY, NAN, -1, 1e-300, 1e300};
    return usual[take_byte(from) % (sizeof usual / sizeof usual[0])];
}

static void check_told(int code, bool made, const pco_error *error)
{
    require((code == 0) == made, "it is made if and only if it succeeded");
    require(code == 0 || (error->code == code && error->message[0] != '\0'), "a failure is told");
}

static void make_loop(input *from)
{
    static const char *const backends[] = {NULL, "epoll", "", "best", "carrier-pigeon"};
    pco_loop_options whole = {.backend = backends[take_byte(from) % 5],
                              .debug = take_int(from),
                              .slow_callback_duration = take_double(from),
                              .receive_buffer_size = (size_t)take_int(from)};
    pco_loop_options *given = cut(&whole, sizeof whole, take_size(from, sizeof whole));
    pco_loop *loop = NULL;
    pco_error error = {.code = 0};
    int code = pco_loop_new(given, &loop, &error);
    check_told(code, loop != NULL, &error);
    pco_loop_free(loop);
    free(given);
}

static pco_protocol *make_protocol(void *context)
{
    (void)context;
    return &protocol.protocol;
}

static void make_server(input *from)
{
    static const char *const hosts[] = {"127.0.0.1", "::1", NULL, "", "127.0.0.1"};
    unsigned kind = take_byte(from);
    pco_server_options whole = {.protocol_factory = kind & 1 ? make_protocol : NULL};
    whole.host = kind & 2 ? "127.0.0.1" : NULL;
    whole.hosts = kind & 4 ? hosts : NULL;
    whole.hosts_count = take_byte(from) % 6;
    whole.port = take_byte(from) % 8 != 0 ? 0 : take_int(from);
    whole.same_port = take_int(from);
    whole.family = take_int(from);
    whole.flags = PCO_AI_NUMERICHOST | take_int(from);
    whole.sock = kind & 8 ? PCO_NO_SOCKET : 0;
    whole.backlog = take_int(from);
    whole.ssl = kind & 16 ? shared_context : NULL;
    whole.reuse_address = take_int(from);
    whole.reuse_port = take_int(from);
    whole.keep_alive = take_int(from);
    whole.ssl_handshake_timeout = take_double(from);
    whole.ssl_shutdown_timeout = take_double(from);
    whole.start_serving = take_int(from);
    whole.max_connections = (size_t)take_int(from);
    whole.close_timeout = take_double(from);
    whole.lingering_close = take_int(from);
    whole.keep_alive_idle = take_double(from);
    whole.keep_alive_interval = take_double(from);
    whole.keep_alive_count = take_int(from);
    whole.user_timeout = take_double(from);
    pco_server_options *given = cut(&whole, sizeof whole, take_size(from, sizeof whole));
    pco_loop *loop = fake_loop_new();
    pco_server *server = NULL;
    pco_error error = {.code = 0};
    int code = pco_loop_create_server(loop, given, &server, &error);
    check_told(code, server != NULL, &error);
    pco_server_free(server);
    pco_loop_free(loop);
    free(given);
}

/* A text of the input's, or NULL. */
static char *take_text(input *from)
{
    size_t length;
    if (take_byte(from) % 4 != 0) {
        return NULL;
    }
    const uint8_t *data = take_bytes(from, take_byte(from), &length);
    bytes made = bytes_of(data, length);
    made.data[length] = '\0';
    return (char *)made.data;
}

static void make_context(input *from)
{
    pco_ssl_context_options whole = tls_options(&certificates_get()->server);
    char *ciphers = take_text(from);
    char *suites = take_text(from);
    char *name = take_text(from);
    const char *protocols[] = {"h2", name, NULL};
    whole.verify = take_int(from);
    whole.minimum_version = take_int(from);
    whole.maximum_version = take_int(from);
    whole.ciphers = ciphers;
    whole.ciphersuites = suites;
    whole.alpn_protocols = take_byte(from) % 2 != 0 ? protocols : NULL;
    whole.alpn_protocols_count = take_byte(from) % 4;
    whole.alpn_required = take_int(from);
    whole.session_resumption = take_int(from);
    whole.dangerously_accept_any_certificate = take_int(from);
    whole.trust = take_int(from);
    whole.groups = take_byte(from) % 4 == 0 ? suites : NULL;
    whole.signature_algorithms = take_byte(from) % 4 == 0 ? ciphers : NULL;
    whole.key_log_environment = take_int(from) == PCO_ON ? PCO_OFF : PCO_DEFAULT;
    whole.psk_identity = take_byte(from) % 4 == 0 ? name : NULL;
    whole.psk_key = take_byte(from) % 4 == 0 ? "0123456789abcdef" : NULL;
    whole.psk_key_length = take_byte(from) % 17;
    whole.certificates_count = take_byte(from) % 2;
    whole.ca_directory = take_byte(from) % 4 == 0 ? name : NULL;
    whole.verify_depth = take_int(from);
    whole.verify_flags = (unsigned long)take_number(from);
    pco_ssl_context_options *given = cut(&whole, sizeof whole, take_size(from, sizeof whole));
    pco_ssl_context *context = NULL;
    pco_error error = {.code = 0};
    bool client = take_byte(from) % 2 != 0;
    int code = tls_context_new(client, given, &context, &error);
    check_told(code, context != NULL, &error);
    if (code == 0) {
        code = pco_ssl_context_add_server_name(context, name, shared_context, &error);
        check_told(code, code == 0, &error);
    }
    require(ERR_peek_error() == 0, "nothing is left in OpenSSL's queue");
    pco_ssl_context_release(context);
    free(given);
    free(ciphers);
    free(suites);
    free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    switch (take_byte(&from) % 3) {
    case 0:
        make_loop(&from);
        break;
    case 1:
        make_server(&from);
        break;
    default:
        make_context(&from);
        break;
    }
    require(memory_pieces() == before, "all memory is given back");
    return 0;
}
