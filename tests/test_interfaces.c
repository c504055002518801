/* SPDX-License-Identifier: MIT */
/*
 * Goal: the interfaces of this machine are listed, loopback among them, in one piece of memory.
 * Method: the system that the test runs on. What lists look like that it does not have, and those
 * of a namespace made for it, are in posix/test_getifaddrs.c, windows/test_adapters.c and
 * peers/test_interfaces.py.
 */
#include "support.h"

static pco_interface *interfaces;
static size_t count;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    return pco_interfaces(&interfaces, &count, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    pco_interfaces_free(interfaces);
    interfaces = NULL;
    return memory_unwatch() == 0 ? 0 : -1;
}

static const pco_interface *find_loopback(void)
{
    for (size_t i = 0; i < count; i++) {
        if (interfaces[i].loopback) {
            return &interfaces[i];
        }
    }
    return NULL;
}

/* The prefix length of the address in the list; -1: it is not there. */
static int find_prefix(const pco_interface *interface_, const char *host)
{
    pco_address wanted;
    assert_int_equal(pco_address_parse(host, 0, &wanted), 0);
    for (size_t i = 0; i < interface_->address_count; i++) {
        if (pco_address_equal(&interface_->addresses[i].address, &wanted)) {
            return interface_->addresses[i].prefix_length;
        }
    }
    return -1;
}

static void loopback_is_there_with_its_address(void **state)
{
    (void)state;
    const pco_interface *loopback = find_loopback();
    assert_non_null(loopback);
    assert_true(loopback->up);
    assert_int_equal(find_prefix(loopback, "127.0.0.1"), 8);
}

static void each_has_a_name_and_a_number_of_its_own(void **state)
{
    (void)state;
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++) {
        assert_true(interfaces[i].index != 0);
        assert_true(interfaces[i].name[0] != '\0');
        for (size_t other = 0; other < i; other++) {
            assert_int_not_equal(interfaces[i].index, interfaces[other].index);
            assert_string_not_equal(interfaces[i].name, interfaces[other].name);
        }
    }
}

static void addresses_are_whole_and_have_no_port(void **state)
{
    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < interfaces[i].address_count; n++) {
            const pco_interface_address *each = &interfaces[i].addresses[n];
            char text[PCO_ADDRESS_TEXT_SIZE];
            int bits = pco_address_family(&each->address) == PCO_AF_INET ? 32 : 128;
            assert_int_equal(pco_address_host(&each->address, text, sizeof text), 0);
            assert_int_not_equal(pco_address_family(&each->address), PCO_AF_UNSPEC);
            assert_int_equal(pco_address_port(&each->address), 0);
            assert_in_range(each->prefix_length, 0, bits);
        }
    }
}

static void it_is_one_piece_of_memory(void **state)
{
    (void)state;
    assert_int_equal(memory_pieces(), 1);
}

static void out_of_memory_says_so_and_leaves_nothing(void **state)
{
    (void)state;
    pco_interface *made = NULL;
    size_t pieces = memory_pieces();
    size_t nth = 1;
    for (; made == NULL; nth++) {
        pco_error error = {0};
        size_t many = 12345;
        memory_fail(nth, false);
        int code = pco_interfaces(&made, &many, &error);
        if (code != 0) {
            assert_int_equal(code, PCO_ENOMEM);
            assert_int_equal(error.code, PCO_ENOMEM);
            assert_string_equal(error.message, "list the network interfaces: out of memory");
            assert_null(made);
            assert_int_equal(many, 12345);
            assert_int_equal(memory_pieces(), pieces);
        }
    }
    memory_fail(0, false);
    assert_true(nth > 2);
    pco_interfaces_free(made);
}

static void nothing_may_be_freed(void **state)
{
    (void)state;
    pco_interfaces_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loopback_is_there_with_its_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_has_a_name_and_a_number_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_are_whole_and_have_no_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_is_one_piece_of_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_of_memory_says_so_and_leaves_nothing, set_up,
                                        tear_down),
        cmocka_unit_test(nothing_may_be_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
