/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever GetAdaptersAddresses says becomes interfaces with their addresses, also where the
 * list grows between two questions, or there is none.
 * Method: it is replaced by a function of this file, which answers as the test says.
 */
#include "support.h"

#include "imports.h"

#include <iphlpapi.h>

typedef ULONG(WINAPI *get_adapters)(ULONG family, ULONG flags, PVOID reserved,
                                    PIP_ADAPTER_ADDRESSES adapters, PULONG size);

#define ADDRESSES 4

/* What is written into the caller's memory, so that it is one piece there as well. */
typedef struct answer {
    IP_ADAPTER_ADDRESSES adapters[2];
    IP_ADAPTER_UNICAST_ADDRESS addresses[ADDRESSES];
    struct sockaddr_in6 names[ADDRESSES];
} answer;

static struct {
    answer given;
    ULONG status;    /* NO_ERROR: the answer */
    ULONG grows;     /* so many times more is needed than there was room for */
    unsigned called; /* so often */
} system_;

static get_adapters real;

static ULONG WINAPI answer_with(ULONG family, ULONG flags, PVOID reserved,
                                PIP_ADAPTER_ADDRESSES adapters, PULONG size)
{
    (void)family;
    (void)flags;
    (void)reserved;
    system_.called++;
    if (system_.grows > 0) {
        system_.grows--;
        *size *= 2;
        return ERROR_BUFFER_OVERFLOW;
    }
    if (system_.status == NO_ERROR) {
        memcpy(adapters, &system_.given, sizeof system_.given);
    }
    return system_.status;
}

static pco_interface *interfaces;
static size_t count;

static int set_up(void **state)
{
    (void)state;
    memset(&system_, 0, sizeof system_);
    any_function before =
        replace_import(NULL, "GetAdaptersAddresses", (any_function)(void (*)(void))answer_with);
    real = real != NULL ? real : (get_adapters)before;
    memory_watch();
    return real != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pco_interfaces_free(interfaces);
    interfaces = NULL;
    replace_import(NULL, "GetAdaptersAddresses", (any_function)real);
    return memory_unwatch() == 0 ? 0 : -1;
}

static IP_ADAPTER_ADDRESSES *add_adapter(size_t nth, const WCHAR *name, DWORD index)
{
    IP_ADAPTER_ADDRESSES *made = &system_.given.adapters[nth];
    made->FriendlyName = (WCHAR *)(uintptr_t)name;
    made->IfIndex = index;
    made->Ipv6IfIndex = index;
    made->OperStatus = IfOperStatusUp;
    if (nth > 0) {
        system_.given.adapters[nth - 1].Next = made;
    }
    return made;
}

static void add_address(IP_ADAPTER_ADDRESSES *adapter, size_t nth, const char *host, UINT8 bits)
{
    IP_ADAPTER_UNICAST_ADDRESS *made = &system_.given.addresses[nth];
    pco_address address;
    assert_int_equal(pco_address_parse(host, 0, &address), 0);
    memcpy(&system_.given.names[nth], address.storage, address.length);
    made->Address.lpSockaddr = (struct sockaddr *)(void *)&system_.given.names[nth];
    made->Address.iSockaddrLength = (int)address.length;
    made->OnLinkPrefixLength = bits;
    made->Next = adapter->FirstUnicastAddress;
    adapter->FirstUnicastAddress = made;
}

static void check_address(size_t nth, const char *host, int bits)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    assert_true(nth < interfaces[0].address_count);
    const pco_interface_address *each = &interfaces[0].addresses[nth];
    assert_int_equal(pco_address_host(&each->address, text, sizeof text), 0);
    assert_string_equal(text, host);
    assert_int_equal(each->prefix_length, bits);
}

static void names_are_utf_8(void **state)
{
    (void)state;
    add_adapter(0, L"B\u00fcro-Verbindung", 3);
    add_adapter(1, L"\U0001F310", 4);
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_string_equal(interfaces[0].name, "B\xC3\xBCro-Verbindung");
    assert_string_equal(interfaces[1].name, "\xF0\x9F\x8C\x90");
}

static void flags_and_numbers_are_told(void **state)
{
    (void)state;
    IP_ADAPTER_ADDRESSES *one = add_adapter(0, L"a", 3);
    one->Flags = IP_ADAPTER_NO_MULTICAST;
    one->Ipv6IfIndex = 0;
    IP_ADAPTER_ADDRESSES *other = add_adapter(1, L"b", 4);
    other->IfIndex = 0;
    other->OperStatus = IfOperStatusDown;
    other->IfType = IF_TYPE_SOFTWARE_LOOPBACK;
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_true(interfaces[0].up && !interfaces[0].multicast && !interfaces[0].loopback);
    assert_true(!interfaces[1].up && interfaces[1].multicast && interfaces[1].loopback);
    assert_int_equal(interfaces[0].index, 3);
    assert_int_equal(interfaces[1].index, 4);
}

static void addresses_have_their_scope_and_length(void **state)
{
    (void)state;
    IP_ADAPTER_ADDRESSES *one = add_adapter(0, L"a", 3);
    add_address(one, 2, "fe80::1%3", 64);
    add_address(one, 1, "10.0.0.2", 255); /* none */
    add_address(one, 0, "10.0.0.1", 8);
    add_adapter(1, L"b", 4);
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_int_equal(interfaces[0].address_count, 3);
    check_address(0, "10.0.0.1", 8);
    check_address(1, "10.0.0.2", 32);
    check_address(2, "fe80::1%3", 64);
    assert_int_equal(interfaces[1].address_count, 0);
}

static void a_list_that_has_grown_is_asked_for_again(void **state)
{
    (void)state;
    add_adapter(0, L"a", 3);
    system_.grows = 4;
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(system_.called, 5);
}

static void a_list_that_goes_on_growing_is_given_up(void **state)
{
    (void)state;
    pco_error error;
    system_.grows = 1000;
    assert_int_equal(pco_interfaces(&interfaces, &count, &error), PCO_EAGAIN);
    assert_string_equal(error.message,
                        "list the network interfaces: their number grew all the time");
    assert_int_equal(error.system_code, ERROR_BUFFER_OVERFLOW);
    assert_int_equal(system_.called, 5);
}

static void a_machine_may_have_none(void **state)
{
    (void)state;
    system_.status = ERROR_NO_DATA;
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_int_equal(count, 0);
    assert_non_null(interfaces);
}

static void a_failure_is_told(void **state)
{
    (void)state;
    pco_error error;
    system_.status = ERROR_NOT_ENOUGH_MEMORY;
    assert_int_equal(pco_interfaces(&interfaces, &count, &error), PCO_ENOMEM);
    assert_int_equal(error.system_code, ERROR_NOT_ENOUGH_MEMORY);
    assert_string_equal(error.message, "list the network interfaces: out of memory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_utf_8),
        TEST(flags_and_numbers_are_told),
        TEST(addresses_have_their_scope_and_length),
        TEST(a_list_that_has_grown_is_asked_for_again),
        TEST(a_list_that_goes_on_growing_is_given_up),
        TEST(a_machine_may_have_none),
        TEST(a_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
