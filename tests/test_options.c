/* SPDX-License-Identifier: MIT */
/*
 * Goal: of a struct that carries its size nothing is read, or written, beyond that size; a size
 * that cuts a field in two is refused; and a shorter struct of an older program is understood.
 * Method: every size from 0 to more than the whole. The struct lies in a piece of memory of exactly
 * that size, where the sanitizers and valgrind see a byte too many.
 */
#include "support.h"

/* Where a field begins and ends. */
#define BOUNDS(type, field)                                                                        \
    offsetof(type, field), offsetof(type, field) + sizeof(((type *)NULL)->field)

/* A struct of the library's. */
typedef struct sized {
    const char *name;
    size_t size;          /* of the whole */
    size_t least;         /* the smallest that is taken */
    const size_t *bounds; /* of the fields behind its size */
    size_t bounds_count;
    int (*give)(void *it); /* gives it to the library; 0: its size is right */
} sized;

#define SIZED(type, least, give)                                                                   \
    {                                                                                              \
#type, sizeof(type), (least), type##_bounds, sizeof type##_bounds / sizeof(size_t), (give) \
    }

static const size_t pco_loop_options_bounds[] = {
    BOUNDS(pco_loop_options, backend),
    BOUNDS(pco_loop_options, debug),
    BOUNDS(pco_loop_options, slow_callback_duration),
    BOUNDS(pco_loop_options, receive_buffer_size),
};

static const size_t pco_server_options_bounds[] = {
    BOUNDS(pco_server_options, protocol_factory),
    BOUNDS(pco_server_options, context),
    BOUNDS(pco_server_options, host),
    BOUNDS(pco_server_options, hosts),
    BOUNDS(pco_server_options, hosts_count),
    BOUNDS(pco_server_options, port),
    BOUNDS(pco_server_options, same_port),
    BOUNDS(pco_server_options, family),
    BOUNDS(pco_server_options, flags),
    BOUNDS(pco_server_options, sock),
    BOUNDS(pco_server_options, backlog),
    BOUNDS(pco_server_options, ssl),
    BOUNDS(pco_server_options, reuse_address),
    BOUNDS(pco_server_options, reuse_port),
    BOUNDS(pco_server_options, keep_alive),
    BOUNDS(pco_server_options, ssl_handshake_timeout),
    BOUNDS(pco_server_options, ssl_shutdown_timeout),
    BOUNDS(pco_server_options, start_serving),
    BOUNDS(pco_server_options, max_connections),
    BOUNDS(pco_server_options, close_timeout),
    BOUNDS(pco_server_options, lingering_close),
    BOUNDS(pco_server_options, handshake_failed),
    BOUNDS(pco_server_options, has_sock),
    BOUNDS(pco_server_options, service),
    BOUNDS(pco_server_options, keep_alive_idle),
    BOUNDS(pco_server_options, keep_alive_interval),
    BOUNDS(pco_server_options, keep_alive_count),
    BOUNDS(pco_server_options, user_timeout),
    BOUNDS(pco_server_options, prepare_socket),
    BOUNDS(pco_server_options, ssl_half_close),
};

static const size_t pco_unix_options_bounds[] = {
    BOUNDS(pco_unix_options, mode),
    BOUNDS(pco_unix_options, cleanup_socket),
    BOUNDS(pco_unix_options, replace_stale),
};

static const size_t pco_local_options_bounds[] = {
    BOUNDS(pco_local_options, audience),
};

static const size_t pco_ssl_context_options_bounds[] = {
    BOUNDS(pco_ssl_context_options, certificate_file),
    BOUNDS(pco_ssl_context_options, certificate_pem),
    BOUNDS(pco_ssl_context_options, certificate_pem_length),
    BOUNDS(pco_ssl_context_options, key_file),
    BOUNDS(pco_ssl_context_options, key_pem),
    BOUNDS(pco_ssl_context_options, key_pem_length),
    BOUNDS(pco_ssl_context_options, key_password),
    BOUNDS(pco_ssl_context_options, verify),
    BOUNDS(pco_ssl_context_options, ca_file),
    BOUNDS(pco_ssl_context_options, ca_pem),
    BOUNDS(pco_ssl_context_options, ca_pem_length),
    BOUNDS(pco_ssl_context_options, minimum_version),
    BOUNDS(pco_ssl_context_options, maximum_version),
    BOUNDS(pco_ssl_context_options, ciphers),
    BOUNDS(pco_ssl_context_options, ciphersuites),
    BOUNDS(pco_ssl_context_options, alpn_protocols),
    BOUNDS(pco_ssl_context_options, alpn_protocols_count),
    BOUNDS(pco_ssl_context_options, alpn_required),
    BOUNDS(pco_ssl_context_options, session_resumption),
    BOUNDS(pco_ssl_context_options, dangerously_accept_any_certificate),
    BOUNDS(pco_ssl_context_options, trust),
    BOUNDS(pco_ssl_context_options, ca_directory),
    BOUNDS(pco_ssl_context_options, crl_file),
    BOUNDS(pco_ssl_context_options, crl_pem),
    BOUNDS(pco_ssl_context_options, crl_pem_length),
    BOUNDS(pco_ssl_context_options, verify_depth),
    BOUNDS(pco_ssl_context_options, verify_flags),
    BOUNDS(pco_ssl_context_options, certificates),
    BOUNDS(pco_ssl_context_options, certificates_count),
    BOUNDS(pco_ssl_context_options, certificate_uri),
    BOUNDS(pco_ssl_context_options, key_uri),
    BOUNDS(pco_ssl_context_options, ocsp_file),
    BOUNDS(pco_ssl_context_options, ocsp_response),
    BOUNDS(pco_ssl_context_options, ocsp_response_length),
    BOUNDS(pco_ssl_context_options, groups),
    BOUNDS(pco_ssl_context_options, signature_algorithms),
    BOUNDS(pco_ssl_context_options, key_log_file),
    BOUNDS(pco_ssl_context_options, key_log_environment),
    BOUNDS(pco_ssl_context_options, psk_identity),
    BOUNDS(pco_ssl_context_options, psk_key),
    BOUNDS(pco_ssl_context_options, psk_key_length),
    BOUNDS(pco_ssl_context_options, find_psk),
    BOUNDS(pco_ssl_context_options, choose_alpn),
    BOUNDS(pco_ssl_context_options, choose_certificate),
    BOUNDS(pco_ssl_context_options, callback_context),
    BOUNDS(pco_ssl_context_options, verify_peer),
    BOUNDS(pco_ssl_context_options, verdict_timeout),
};

static const size_t pco_ssl_certificate_info_bounds[] = {
    BOUNDS(pco_ssl_certificate_info, subject),     BOUNDS(pco_ssl_certificate_info, issuer),
    BOUNDS(pco_ssl_certificate_info, common_name), BOUNDS(pco_ssl_certificate_info, names),
    BOUNDS(pco_ssl_certificate_info, names_count), BOUNDS(pco_ssl_certificate_info, serial_number),
    BOUNDS(pco_ssl_certificate_info, not_before),  BOUNDS(pco_ssl_certificate_info, not_after),
    BOUNDS(pco_ssl_certificate_info, sha256),      BOUNDS(pco_ssl_certificate_info, der),
    BOUNDS(pco_ssl_certificate_info, der_length),
};

static const size_t pco_ssl_info_bounds[] = {
    BOUNDS(pco_ssl_info, version),
    BOUNDS(pco_ssl_info, cipher),
    BOUNDS(pco_ssl_info, cipher_bits),
    BOUNDS(pco_ssl_info, alpn),
    BOUNDS(pco_ssl_info, server_name),
    BOUNDS(pco_ssl_info, session_reused),
    BOUNDS(pco_ssl_info, peer_certificate),
    BOUNDS(pco_ssl_info, peer_certificate_length),
    BOUNDS(pco_ssl_info, group),
    BOUNDS(pco_ssl_info, verified),
};

static const size_t pco_server_counters_bounds[] = {
    BOUNDS(pco_server_counters, accepted),           BOUNDS(pco_server_counters, active),
    BOUNDS(pco_server_counters, handshaking),        BOUNDS(pco_server_counters, refused),
    BOUNDS(pco_server_counters, handshake_failures), BOUNDS(pco_server_counters, accept_errors),
};

static const size_t pco_transport_counters_bounds[] = {
    BOUNDS(pco_transport_counters, bytes_received),
    BOUNDS(pco_transport_counters, bytes_sent),
    BOUNDS(pco_transport_counters, bytes_retransmitted),
    BOUNDS(pco_transport_counters, round_trip_time),
};

static const size_t pco_credentials_bounds[] = {
    BOUNDS(pco_credentials, user),
    BOUNDS(pco_credentials, group),
    BOUNDS(pco_credentials, process),
};

static const size_t pco_exception_context_bounds[] = {
    BOUNDS(pco_exception_context, message),   BOUNDS(pco_exception_context, error),
    BOUNDS(pco_exception_context, transport), BOUNDS(pco_exception_context, protocol),
    BOUNDS(pco_exception_context, server),    BOUNDS(pco_exception_context, duration),
};

static const size_t pco_protocol_methods_bounds[] = {
    BOUNDS(pco_protocol_methods, connection_made), BOUNDS(pco_protocol_methods, data_received),
    BOUNDS(pco_protocol_methods, eof_received),    BOUNDS(pco_protocol_methods, connection_lost),
    BOUNDS(pco_protocol_methods, pause_writing),   BOUNDS(pco_protocol_methods, resume_writing),
    BOUNDS(pco_protocol_methods, get_buffer),      BOUNDS(pco_protocol_methods, buffer_updated),
    BOUNDS(pco_protocol_methods, shutting_down),
};

static pco_loop *loop;
static pco_server *server;
static connection a;

static pco_protocol *refuse(void *context)
{
    (void)context;
    return NULL;
}

static int begin(void **state)
{
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = refuse, .host = "127.0.0.1"};

    (void)state;
    loop = fake_loop_new();
    if (loop == NULL || pco_loop_create_server(loop, &options, &server, NULL) != 0) {
        return -1;
    }
    connection_init(&a, false);
    connection_open(&a, loop);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pco_server_free(server);
    pco_loop_free(loop);
    connection_free(&a);
    return 0;
}

static const size_t pco_start_tls_options_bounds[] = {
    BOUNDS(pco_start_tls_options, ssl),
    BOUNDS(pco_start_tls_options, tls),
    BOUNDS(pco_start_tls_options, server_side),
    BOUNDS(pco_start_tls_options, server_hostname),
    BOUNDS(pco_start_tls_options, ssl_handshake_timeout),
    BOUNDS(pco_start_tls_options, ssl_shutdown_timeout),
    BOUNDS(pco_start_tls_options, protocol),
    BOUNDS(pco_start_tls_options, input),
    BOUNDS(pco_start_tls_options, input_length),
    BOUNDS(pco_start_tls_options, keep_input),
    BOUNDS(pco_start_tls_options, ssl_half_close),
    BOUNDS(pco_start_tls_options, ssl_session),
};

/* ---- Who reads or fills them ---- */

/* Whether the library has found fault with the size and with nothing else. */
static bool blames_the_size(int code, const pco_error *error, const char *sentence)
{
    return code == PCO_EINVAL && error->code == PCO_EINVAL &&
           strncmp(error->message, sentence, strlen(sentence)) == 0;
}

static int give_loop_options(void *it)
{
    pco_loop *made;
    pco_error error = {0};
    int code = pco_loop_new(it, &made, &error);

    if (code == 0) {
        pco_loop_free(made);
    } else if (!blames_the_size(code, &error, "pco_loop_options.size is ")) {
        return 1;
    }
    return code;
}

/* They are all zero, so that one of the right size lacks a factory. */
static int give_server_options(void *it)
{
    pco_server *made;
    pco_error error = {0};
    int code = pco_loop_create_server(loop, it, &made, &error);

    return blames_the_size(code, &error, "pco_server_options.size is ") ? code : 0;
}

/* A path is missing. */
static int give_unix_options(void *it)
{
    pco_server *made;
    pco_error error = {0};
    pco_server_options options = {.size = sizeof options, .protocol_factory = refuse};
    int code = pco_loop_create_unix_server(loop, NULL, &options, it, &made, &error);

    return blames_the_size(code, &error, "pco_unix_options.size is ") ? code : 0;
}

static void nobody_is_told(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    (void)transport;
    (void)protocol;
    (void)error;
    (void)context;
}

/* The connection's options are missing. */
static int give_local_options(void *it)
{
    pco_error error = {0};
    int code = pco_loop_create_local_connection(loop, "name", NULL, it, nobody_is_told, NULL, NULL,
                                                &error);

    return blames_the_size(code, &error, "pco_local_options.size is ") ? code : 0;
}

/* They are all zero, so that those of the right size lack a certificate. */
static int give_ssl_context_options(void *it)
{
    pco_ssl_context *made;
    pco_error error = {0};
    int code = pco_ssl_context_new(it, &made, &error);

    return blames_the_size(code, &error, "pco_ssl_context_options.size is ") ? code : 0;
}

/* A connection on which nothing has moved has counted nothing. */
static int give_transport_counters(void *it)
{
    return pco_transport_get_counters(a.transport, it);
}

/* Of TCP it is not known who it is, once the call is content with the size. */
static int give_credentials(void *it)
{
    int code = pco_transport_get_peer_credentials(a.transport, it);

    return code == PCO_ENOTSUP ? 0 : code;
}

static void never_started(pco_transport *transport, const pco_error *error, void *context)
{
    (void)transport;
    (void)error;
    (void)context;
    abort();
}

/* They are all zero, so that those of the right size lack a context. */
static int give_start_tls_options(void *it)
{
    pco_error error = {0};
    int code = pco_loop_start_tls(loop, a.transport, it, never_started, NULL, NULL, &error);

    return blames_the_size(code, &error, "pco_start_tls_options.size is ") ? code : 0;
}

/* A plain connection says PCO_ENOTSUP, once it is content with the size. */
static int give_ssl_info(void *it)
{
    int code = pco_transport_get_ssl_info(a.transport, it);

    return code == PCO_ENOTSUP ? 0 : code;
}

static int give_certificate_info(void *it)
{
    int code = pco_transport_get_peer_certificate(a.transport, 0, it);

    return code == PCO_ENOTSUP ? 0 : code;
}

static int give_counters(void *it)
{
    return pco_server_get_counters(server, it);
}

static int give_methods(void *it)
{
    pco_protocol protocol = {it};
    int code = pco_transport_set_protocol(a.transport, &protocol);

    pco_transport_set_protocol(a.transport, &a.protocol.protocol);
    return code;
}

/* What the handler is told is whole, whatever the caller had. */
static const char *heard;
static double duration;

static void hear(pco_loop *of, const pco_exception_context *what, void *context)
{
    (void)of;
    (void)context;
    heard = what->size == sizeof *what ? what->message : "another size";
    duration = what->duration;
}

static int give_exception_context(void *it)
{
    const char *message = "trouble";
    size_t size;

    memcpy(&size, it, sizeof size);
    if (size < offsetof(pco_exception_context, message) + sizeof message) {
        return pco_loop_call_exception_handler(loop, it);
    }
    memcpy((char *)it + offsetof(pco_exception_context, message), &message, sizeof message);
    heard = NULL;
    duration = -1;
    pco_loop_set_exception_handler(loop, hear, NULL);
    int code = pco_loop_call_exception_handler(loop, it);
    bool told = heard == message && duration >= 0 && duration <= 0;
    return code == 0 && !told ? 1 : code;
}

/* ---- Every size ---- */

static bool is_right(const sized *one, size_t size)
{
    bool right = size == sizeof(size_t) || size == one->size;

    for (size_t i = 0; i < one->bounds_count; i++) {
        right |= one->bounds[i] == size;
    }
    return right && size >= one->least && size <= one->size;
}

static void assert_sizes_are_checked(const sized *one)
{
    for (size_t size = 0; size <= one->size + 9; size++) {
        unsigned char *memory = calloc(1, size > sizeof size ? size : sizeof size);
        assert_non_null(memory);
        memcpy(memory, &size, sizeof size);
        int code = one->give(memory);
        if (code != (is_right(one, size) ? 0 : PCO_EINVAL)) {
            fail_msg("%s.size = %lu: %s", one->name, (unsigned long)size, pco_error_name(code));
        }
        assert_memory_equal(memory, &size, sizeof size);
        free(memory);
    }
}

static void of_every_struct_the_size_is_checked_and_nothing_is_read_behind_it(void **state)
{
    static const sized all[] = {
        SIZED(pco_loop_options, sizeof(size_t), give_loop_options),
        SIZED(pco_server_options, sizeof(size_t), give_server_options),
        SIZED(pco_unix_options, sizeof(size_t), give_unix_options),
        SIZED(pco_local_options, sizeof(size_t), give_local_options),
        SIZED(pco_server_counters, sizeof(size_t), give_counters),
        SIZED(pco_transport_counters, sizeof(size_t), give_transport_counters),
        SIZED(pco_credentials, sizeof(size_t), give_credentials),
        SIZED(pco_ssl_info, sizeof(size_t), give_ssl_info),
        SIZED(pco_start_tls_options, sizeof(size_t), give_start_tls_options),
        SIZED(pco_exception_context, offsetof(pco_exception_context, error),
              give_exception_context),
        SIZED(pco_protocol_methods, offsetof(pco_protocol_methods, shutting_down), give_methods),
        SIZED(pco_ssl_context_options, sizeof(size_t), give_ssl_context_options),
        SIZED(pco_ssl_certificate_info, sizeof(size_t), give_certificate_info),
    };
    pco_ssl_context *made;
    size_t count = sizeof all / sizeof all[0];

    (void)state;
    if (pco_ssl_context_new(NULL, &made, NULL) == PCO_ENOTSUP) {
        count -= 2; /* without TLS there are no contexts, and no certificates */
    }
    for (size_t i = 0; i < count; i++) {
        assert_sizes_are_checked(&all[i]);
    }
}

static void what_is_filled_in_ends_with_the_size(void **state)
{
    pco_server_counters counters;

    (void)state;
    for (size_t i = 0; i < sizeof pco_server_counters_bounds / sizeof(size_t); i++) {
        size_t size = pco_server_counters_bounds[i];
        memset(&counters, 0x5a, sizeof counters);
        counters.size = size;
        assert_int_equal(pco_server_get_counters(server, &counters), 0);
        for (size_t at = size; at < sizeof counters; at++) {
            assert_int_equal(((unsigned char *)&counters)[at], 0x5a);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            of_every_struct_the_size_is_checked_and_nothing_is_read_behind_it, begin, end),
        cmocka_unit_test_setup_teardown(what_is_filled_in_ends_with_the_size, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
