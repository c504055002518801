/* SPDX-License-Identifier: MIT */
/*
 * Goal: what platform.h and portico/address.h promise holds on this system.
 * Method: calls on the loopback and on files of the test's own, and what they return. Names are
 * resolved only where no server has to be asked.
 */
#include "support/memory.h"
#include "system/network.h"
#include "system/platform.h"

#include <portico/server.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Addresses and names ---- */

static pco_address address_of(const char *host, int port)
{
    pco_address *found = NULL;
    pco_address first;
    size_t count = 0;

    assert_int_equal(pco__system_network.resolve(host, port, PCO_AF_UNSPEC, PCO_AI_NUMERICHOST,
                                                 &found, &count, NULL),
                     0);
    assert_int_equal(count, 1);
    first = found[0];
    pco__free(found);
    return first;
}

static void check_text(const char *host, int family, const char *whole)
{
    pco_address address = address_of(host, 7000);
    char text[PCO_ADDRESS_TEXT_SIZE];

    assert_int_equal(pco_address_family(&address), family);
    assert_int_equal(pco_address_port(&address), 7000);
    assert_int_equal(pco_address_host(&address, text, sizeof text), 0);
    assert_string_equal(text, host);
    assert_int_equal(pco_address_format(&address, text, sizeof text), 0);
    assert_string_equal(text, whole);
    assert_int_equal(pco_address_format(&address, text, strlen(whole) + 1), 0);
    assert_int_equal(pco_address_format(&address, text, strlen(whole)), PCO_EINVAL);
    assert_int_equal(pco_address_host(&address, text, strlen(host)), PCO_EINVAL);
}

static void addresses_are_written_as_one_types_them(void **state)
{
    (void)state;
    check_text("127.0.0.1", PCO_AF_INET, "127.0.0.1:7000");
    check_text("::1", PCO_AF_INET6, "[::1]:7000");
    check_text("2001:db8::42", PCO_AF_INET6, "[2001:db8::42]:7000");
}

static void no_address_is_told_from_every_address(void **state)
{
    pco_address none = {0};
    pco_address some = address_of("127.0.0.1", 1);
    char text[PCO_ADDRESS_TEXT_SIZE];

    (void)state;
    assert_int_equal(pco_address_family(&none), PCO_AF_UNSPEC);
    assert_int_equal(pco_address_port(&none), 0);
    assert_int_equal(pco_address_host(&none, text, sizeof text), PCO_EINVAL);
    assert_int_equal(pco_address_format(&none, text, sizeof text), PCO_EINVAL);
    assert_true(pco_address_equal(&none, &none));
    assert_false(pco_address_equal(&none, &some));
    assert_false(pco_address_equal(&some, &none));
}

static void addresses_are_equal_in_family_host_and_port(void **state)
{
    pco_address one = address_of("127.0.0.1", 80);
    pco_address same = address_of("127.0.0.1", 80);
    pco_address other_port = address_of("127.0.0.1", 81);
    pco_address other_host = address_of("127.0.0.2", 80);
    pco_address other_family = address_of("::1", 80);

    (void)state;
    assert_true(pco_address_equal(&one, &same));
    assert_false(pco_address_equal(&one, &other_port));
    assert_false(pco_address_equal(&one, &other_host));
    assert_false(pco_address_equal(&one, &other_family));
    pco__address_set_port(&other_port, 80);
    assert_true(pco_address_equal(&one, &other_port));
    pco__address_set_port(&other_family, 65535);
    assert_int_equal(pco_address_port(&other_family), 65535);
}

static void resolving_no_host_gives_all_interfaces_or_the_loopback(void **state)
{
    pco_address *found = NULL;
    pco_address expected = address_of("0.0.0.0", 7);
    size_t count = 0;

    (void)state;
    assert_int_equal(
        pco__system_network.resolve(NULL, 7, PCO_AF_INET, PCO_AI_PASSIVE, &found, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_true(pco_address_equal(&found[0], &expected));
    pco__free(found);
    expected = address_of("127.0.0.1", 7);
    assert_int_equal(pco__system_network.resolve(NULL, 7, PCO_AF_INET, 0, &found, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_true(pco_address_equal(&found[0], &expected));
    pco__free(found);
}

static void check_unresolvable(const char *host, int family, int flags, int code,
                               const char *message)
{
    pco_address *found = NULL;
    size_t count = 0;
    pco_error error;

    assert_int_equal(pco__system_network.resolve(host, 0, family, flags, &found, &count, &error),
                     code);
    assert_null(found);
    assert_string_equal(error.message, message);
}

static void names_that_cannot_be_looked_up_are_errors_with_a_sentence(void **state)
{
    (void)state;
    check_unresolvable("no-number", PCO_AF_UNSPEC, PCO_AI_NUMERICHOST, PCO_ENONAME,
                       "resolve no-number: the name does not resolve");
    check_unresolvable("127.0.0.1 and more", PCO_AF_UNSPEC, 0, PCO_ENONAME,
                       "resolve 127.0.0.1 and more: the name does not resolve");
    check_unresolvable("", PCO_AF_UNSPEC, 0, PCO_ENONAME, "resolve : the name does not resolve");
    check_unresolvable("::1", PCO_AF_INET, PCO_AI_NUMERICHOST, PCO_ENONAME,
                       "resolve ::1: the name does not resolve");
    check_unresolvable("::1", 77, 0, PCO_EINVAL, "family or flags: a value that does not exist");
    check_unresolvable("::1", 0, 1 << 20, PCO_EINVAL,
                       "family or flags: a value that does not exist");
}

/* ---- Sockets ---- */

static int bind_to(const pco_address *address, int reuse_address, pco_socket *sock,
                   pco_error *error)
{
    pco__listener_options options = {.reuse_address = reuse_address};

    return pco__system_network.bind(NULL, address, &options, sock, error);
}

static void an_address_in_use_is_named_in_the_error(void **state)
{
    pco_address address = address_of("127.0.0.1", 0);
    pco_socket first = PCO_NO_SOCKET;
    pco_socket second = PCO_NO_SOCKET;
    char message[128];
    pco_error error;

    (void)state;
    assert_int_equal(bind_to(&address, PCO_DEFAULT, &first, NULL), 0);
    assert_int_equal(pco__system_network.listen(NULL, first, 1, NULL), 0);
    assert_int_equal(pco__system_network.sockname(NULL, first, &address), 0);
    assert_int_equal(bind_to(&address, PCO_DEFAULT, &second, &error), PCO_EADDRINUSE);
    snprintf(message, sizeof message, "bind 127.0.0.1 port %d: address already in use",
             pco_address_port(&address));
    assert_string_equal(error.message, message);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    assert_int_not_equal(error.system_code, 0);
    assert_true(second == PCO_NO_SOCKET);
    pco__system_network.close(NULL, first, false);
}

static void an_address_of_another_machine_cannot_be_bound(void **state)
{
    pco_address address = address_of("192.0.2.1", 0); /* kept for documentation: RFC 5737 */
    pco_socket sock = PCO_NO_SOCKET;
    pco_error error;

    (void)state;
    assert_int_equal(bind_to(&address, PCO_DEFAULT, &sock, &error), PCO_EADDRNOTAVAIL);
    assert_string_equal(error.message,
                        "bind 192.0.2.1 port 0: address not available on this machine");
}

/* Binds a free port of IPv6, and the same of IPv4. */
static int bind_both(pco_socket *first, pco_socket *second)
{
    pco_address four = address_of("0.0.0.0", 0);
    pco_address six = address_of("::", 0);
    int code = bind_to(&six, PCO_DEFAULT, first, NULL);

    if (code != 0) {
        return code;
    }
    assert_int_equal(pco__system_network.listen(NULL, *first, 1, NULL), 0);
    assert_int_equal(pco__system_network.sockname(NULL, *first, &six), 0);
    pco__address_set_port(&four, pco_address_port(&six));
    code = bind_to(&four, PCO_DEFAULT, second, NULL);
    if (code != 0) {
        pco__system_network.close(NULL, *first, false);
    }
    return code;
}

static void both_families_can_share_a_port(void **state)
{
    pco_socket first = PCO_NO_SOCKET;
    pco_socket second = PCO_NO_SOCKET;
    int code = PCO_EADDRINUSE;

    (void)state;
    /* Some other program may have the port in IPv4: there are others. */
    for (int i = 0; i < 1000 && code == PCO_EADDRINUSE; i++) {
        code = bind_both(&first, &second);
    }
    if (code == PCO_EAFNOSUPPORT) {
        print_message("this system has no IPv6\n");
        skip();
    }
    assert_int_equal(code, 0);
    assert_int_equal(pco__system_network.listen(NULL, second, 1, NULL), 0);
    pco__system_network.close(NULL, first, false);
    pco__system_network.close(NULL, second, false);
}

static void reuse_port_shares_a_port_or_says_that_it_cannot(void **state)
{
    pco__listener_options options = {.reuse_port = true};
    pco_address address = address_of("127.0.0.1", 0);
    pco_socket first = PCO_NO_SOCKET;
    pco_socket second = PCO_NO_SOCKET;
    pco_error error = {0};
    int code = pco__system_network.reuse_port_supported(&error);

    (void)state;
    if (code != 0) {
        assert_int_equal(code, PCO_ENOTSUP);
        assert_int_not_equal(strlen(error.message), 0);
        return;
    }
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, &first, NULL), 0);
    assert_int_equal(pco__system_network.listen(NULL, first, 1, NULL), 0);
    assert_int_equal(pco__system_network.sockname(NULL, first, &address), 0);
    assert_int_equal(pco__system_network.bind(NULL, &address, &options, &second, NULL), 0);
    assert_int_equal(pco__system_network.listen(NULL, second, 1, NULL), 0);
    pco__system_network.close(NULL, first, false);
    pco__system_network.close(NULL, second, false);
}

static void what_is_no_socket_is_not_adopted(void **state)
{
    pco__listener_options options = {0};
    bool was_blocking;
    pco_error error;

    (void)state;
    assert_int_equal(
        pco__system_network.adopt_listener(NULL, PCO_NO_SOCKET, &options, &was_blocking, &error),
        PCO_ENOTSOCK);
    assert_string_equal(error.message, "sock: not a socket");
}

static void an_unconnected_socket_has_no_peer(void **state)
{
    pco_address address = address_of("127.0.0.1", 0);
    pco_address untouched = address;
    pco_socket sock = PCO_NO_SOCKET;

    (void)state;
    assert_int_equal(bind_to(&address, PCO_OFF, &sock, NULL), 0);
    assert_int_equal(pco__system_network.peername(NULL, sock, &address), PCO_ENOTCONN);
    assert_true(pco_address_equal(&address, &untouched));
    pco__system_network.close(NULL, sock, false);
}

/* ---- System ---- */

static void the_clock_does_not_go_back(void **state)
{
    uint64_t last = pco__monotonic();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t next = pco__monotonic();
        assert_true(next >= last);
        last = next;
    }
}

static void what_is_not_in_the_environment_is_null(void **state)
{
    (void)state;
    assert_null(pco__getenv("PORTICO_NO_SUCH_VARIABLE"));
    assert_non_null(pco__getenv("PATH"));
}

#define THREADS 4
#define ROUNDS 1000

typedef struct crowd {
    pco__mutex *mutex;
    unsigned count;
    unsigned finished;
    uintptr_t ids[THREADS];
} crowd;

static void count_up(void *context)
{
    crowd *all = context;

    for (int i = 0; i < ROUNDS; i++) {
        pco__mutex_lock(all->mutex);
        all->count++;
        pco__mutex_unlock(all->mutex);
    }
    pco__mutex_lock(all->mutex);
    all->ids[all->finished++] = pco__thread_id();
    pco__mutex_unlock(all->mutex);
}

static unsigned finished(crowd *all)
{
    unsigned count;

    pco__mutex_lock(all->mutex);
    count = all->finished;
    pco__mutex_unlock(all->mutex);
    return count;
}

static void a_mutex_keeps_threads_apart(void **state)
{
    static crowd all;
    uint64_t end = pco__monotonic() + UINT64_C(20000000000);

    (void)state;
    memset(&all, 0, sizeof all);
    assert_int_equal(pco__mutex_new(&all.mutex), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pco__thread_start(count_up, &all, NULL), 0);
    }
    while (finished(&all) < THREADS && pco__monotonic() < end) {
    }
    assert_int_equal(finished(&all), THREADS);
    assert_int_equal(all.count, THREADS * ROUNDS);
    for (int i = 0; i < THREADS; i++) {
        assert_true(all.ids[i] != 0 && all.ids[i] != pco__thread_id());
    }
    pco__mutex_free(all.mutex);
}

/* ---- Files ---- */

#define FILE_NAME "test_platform.data"

static void write_file(const char *data, size_t length)
{
    FILE *file = fopen(FILE_NAME, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void a_file_is_read_whole_up_to_its_limit(void **state)
{
    unsigned char *data = NULL;
    size_t length = 99;
    pco_error error;

    (void)state;
    write_file("one\r\n\0two", 9);
    assert_int_equal(pco__read_file(FILE_NAME, 9, &data, &length, NULL), 0);
    assert_int_equal(length, 9);
    assert_memory_equal(data, "one\r\n\0two", 9);
    pco__free(data);
    data = NULL;
    assert_int_equal(pco__read_file(FILE_NAME, 8, &data, &length, &error), PCO_EINVAL);
    assert_null(data);
    assert_non_null(strstr(error.message, FILE_NAME));
    write_file("", 0);
    assert_int_equal(pco__read_file(FILE_NAME, 9, &data, &length, NULL), 0);
    assert_int_equal(length, 0);
    pco__free(data);
    assert_int_equal(remove(FILE_NAME), 0);
}

static void a_file_that_cannot_be_read_is_an_error_with_its_name(void **state)
{
    unsigned char *data = NULL;
    size_t length = 0;
    pco_error error;

    (void)state;
    assert_int_equal(pco__read_file("no-such-file.pem", 9, &data, &length, &error), PCO_ENOENT);
    assert_string_equal(error.message, "read no-such-file.pem: no such file or directory");
    assert_int_equal(pco__read_file(".", 9, &data, &length, &error), PCO_EINVAL);
    assert_null(data);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_written_as_one_types_them),
        cmocka_unit_test(no_address_is_told_from_every_address),
        cmocka_unit_test(addresses_are_equal_in_family_host_and_port),
        cmocka_unit_test(resolving_no_host_gives_all_interfaces_or_the_loopback),
        cmocka_unit_test(names_that_cannot_be_looked_up_are_errors_with_a_sentence),
        cmocka_unit_test(an_address_in_use_is_named_in_the_error),
        cmocka_unit_test(an_address_of_another_machine_cannot_be_bound),
        cmocka_unit_test(both_families_can_share_a_port),
        cmocka_unit_test(reuse_port_shares_a_port_or_says_that_it_cannot),
        cmocka_unit_test(what_is_no_socket_is_not_adopted),
        cmocka_unit_test(an_unconnected_socket_has_no_peer),
        cmocka_unit_test(the_clock_does_not_go_back),
        cmocka_unit_test(what_is_not_in_the_environment_is_null),
        cmocka_unit_test(a_mutex_keeps_threads_apart),
        cmocka_unit_test(a_file_is_read_whole_up_to_its_limit),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error_with_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
