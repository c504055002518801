/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever getifaddrs says becomes interfaces with their addresses: aliases, addresses that
 * come before or far from their interface, masks that are cut short, scopes inside of addresses.
 * Method: getifaddrs answers as the test says, by entries like those of the systems' own.
 */
#define _GNU_SOURCE 1

#include "support.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#if defined(__linux__)
#include <netpacket/packet.h>
typedef struct sockaddr_ll link_address;
#else
#include <net/if_dl.h>
typedef struct sockaddr_dl link_address;
#endif

#define MOST 16

/* ---- The system's answer ---- */

typedef union any_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    link_address link;
} any_address;

static struct {
    struct ifaddrs entries[MOST];
    char names[MOST][IF_NAMESIZE];
    any_address addresses[MOST];
    any_address masks[MOST];
    size_t count;
    int failure; /* errno; 0: none */
    int lists;   /* that were not given back */
} system_;

int getifaddrs(struct ifaddrs **list)
{
    if (system_.failure != 0) {
        errno = system_.failure;
        return -1;
    }
    for (size_t i = 1; i < system_.count; i++) {
        system_.entries[i - 1].ifa_next = &system_.entries[i];
    }
    *list = system_.count != 0 ? system_.entries : NULL;
    system_.lists++;
    return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
    (void)list;
    system_.lists--;
}

static struct ifaddrs *add_entry(const char *name, unsigned flags)
{
    size_t place = system_.count++;
    struct ifaddrs *entry = &system_.entries[place];
    assert_true(place < MOST);
    snprintf(system_.names[place], sizeof system_.names[place], "%s", name);
    entry->ifa_name = system_.names[place];
    entry->ifa_flags = flags;
    return entry;
}

/* An interface's own entry. */
static void add_link(const char *name, unsigned index, unsigned flags)
{
    any_address *address = &system_.addresses[system_.count];
#if defined(__linux__)
    address->link.sll_family = AF_PACKET;
    address->link.sll_ifindex = (int)index;
#else
    address->link.sdl_family = AF_LINK;
    address->link.sdl_index = (unsigned short)index;
#endif
    add_entry(name, flags)->ifa_addr = &address->any;
}

static any_address to_system(const char *host)
{
    pco_address address;
    any_address result = {.in6 = {0}};
    assert_int_equal(pco_address_parse(host, 0, &address), 0);
    memcpy(&result, address.storage, address.length);
    return result;
}

/* An address by its label, with a mask; NULL: none. */
static void add_address(const char *label, const char *host, const char *mask)
{
    any_address *address = &system_.addresses[system_.count];
    any_address *of_mask = &system_.masks[system_.count];
    *address = to_system(host);
    struct ifaddrs *entry = add_entry(label, IFF_UP);
    entry->ifa_addr = &address->any;
    if (mask != NULL) {
        *of_mask = to_system(mask);
        entry->ifa_netmask = &of_mask->any;
    }
}

/* ---- What became of it ---- */

static pco_interface *interfaces;
static size_t count;

static int set_up(void **state)
{
    (void)state;
    memset(&system_, 0, sizeof system_);
    memory_watch();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_interfaces_free(interfaces);
    interfaces = NULL;
    return memory_unwatch() == 0 && system_.lists == 0 ? 0 : -1;
}

static void list(size_t expected)
{
    assert_int_equal(pco_interfaces(&interfaces, &count, NULL), 0);
    assert_int_equal(count, expected);
}

/* The addresses of the nth, as "10.0.0.1/8 ::1/128". */
static void check(size_t nth, const char *name, unsigned index, const char *addresses)
{
    char text[512] = "";
    assert_string_equal(interfaces[nth].name, name);
    assert_int_equal(interfaces[nth].index, index);
    for (size_t i = 0; i < interfaces[nth].address_count; i++) {
        const pco_interface_address *each = &interfaces[nth].addresses[i];
        char host[PCO_ADDRESS_TEXT_SIZE];
        assert_int_equal(pco_address_host(&each->address, host, sizeof host), 0);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s/%d", i > 0 ? " " : "", host,
                 each->prefix_length);
    }
    assert_string_equal(text, addresses);
}

/* ---- Interfaces ---- */

static void an_interface_without_addresses_is_listed(void **state)
{
    (void)state;
    add_link("down0", 7, IFF_BROADCAST);
    list(1);
    check(0, "down0", 7, "");
    assert_false(interfaces[0].up);
}

static void flags_are_told(void **state)
{
    (void)state;
    add_link("on", 1, IFF_UP | IFF_RUNNING | IFF_MULTICAST);
    add_link("without_cable", 2, IFF_UP);
    add_link("off", 3, IFF_RUNNING);
    add_link("lo", 4, IFF_UP | IFF_RUNNING | IFF_LOOPBACK);
    list(4);
    assert_true(interfaces[0].up && interfaces[0].multicast && !interfaces[0].loopback);
    assert_true(!interfaces[1].up && !interfaces[1].multicast);
    assert_false(interfaces[2].up);
    assert_true(interfaces[3].up && interfaces[3].loopback);
}

static void a_machine_may_have_none(void **state)
{
    (void)state;
    list(0);
    assert_non_null(interfaces);
}

static void a_failure_is_told(void **state)
{
    (void)state;
    pco_error error;
    system_.failure = EMFILE;
    assert_int_equal(pco_interfaces(&interfaces, &count, &error), PCO_EMFILE);
    assert_int_equal(error.system_code, EMFILE);
    assert_string_equal(error.message,
                        "list the network interfaces: too many open files or sockets");
    system_.failure = EACCES;
    assert_int_equal(pco_interfaces(&interfaces, &count, &error), PCO_EACCES);
}

#if defined(__linux__)
/* A tunnel. Its number is asked for by its name, and so is that of what has gone meanwhile. */
static void without_a_hardware_address_there_is_an_entry_without_an_address(void **state)
{
    (void)state;
    add_entry("lo", IFF_UP | IFF_RUNNING);
    add_entry("has_gone", IFF_UP | IFF_RUNNING);
    add_address("has_gone", "10.0.0.9", "255.0.0.0");
    list(1);
    check(0, "lo", if_nametoindex("lo"), "");
}
#endif

static void where_no_interface_is_listed_those_with_addresses_are(void **state)
{
    (void)state;
    char loopback[IF_NAMESIZE];
    if_indextoname(1, loopback);
    add_address(loopback, "127.0.0.1", "255.0.0.0");
    add_address(loopback, "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    add_address("has_gone", "10.0.0.9", "255.0.0.0");
    list(1);
    check(0, loopback, 1, "127.0.0.1/8 ::1/128");
}

/* ---- Whose an address is ---- */

static void addresses_of_one_interface_lie_together(void **state)
{
    (void)state;
    add_link("a", 1, IFF_UP);
    add_link("b", 2, IFF_UP);
    add_address("b", "10.0.0.2", "255.0.0.0");
    add_address("a", "10.0.0.1", "255.0.0.0");
    add_address("b", "10.0.0.3", "255.255.0.0");
    add_address("a", "2001:db8::1", "ffff:ffff:ffff:ffff::");
    list(2);
    check(0, "a", 1, "10.0.0.1/8 2001:db8::1/64");
    check(1, "b", 2, "10.0.0.2/8 10.0.0.3/16");
}

static void an_address_may_come_before_its_interface(void **state)
{
    (void)state;
    add_address("eth0", "10.0.0.1", "255.0.0.0");
    add_link("eth0", 2, IFF_UP);
    list(1);
    check(0, "eth0", 2, "10.0.0.1/8");
}

static void an_alias_is_an_address_of_its_interface(void **state)
{
    (void)state;
    add_link("eth0", 2, IFF_UP);
    add_link("eth0.1", 3, IFF_UP);
    add_link("eth01", 4, IFF_UP);
    add_address("eth0:1", "10.0.0.1", "255.0.0.0");
    add_address("eth0.1:5", "10.0.0.2", "255.0.0.0");
    add_address("eth01", "10.0.0.3", "255.0.0.0");
    add_address("eth0office", "10.0.0.4", "255.0.0.0");
    list(3);
    check(0, "eth0", 2, "10.0.0.1/8 10.0.0.4/8");
    check(1, "eth0.1", 3, "10.0.0.2/8");
    check(2, "eth01", 4, "10.0.0.3/8");
}

static void the_address_of_what_has_gone_is_left_out(void **state)
{
    (void)state;
    add_link("eth0", 2, IFF_UP);
    add_address("wlan0", "10.0.0.1", "255.0.0.0");
    list(1);
    check(0, "eth0", 2, "");
}

static void addresses_of_other_families_are_passed_over(void **state)
{
    (void)state;
    add_link("eth0", 2, IFF_UP);
    add_address("eth0", "10.0.0.1", "255.0.0.0");
    system_.addresses[1].any.sa_family = AF_UNIX;
    list(1);
    check(0, "eth0", 2, "");
}

/* ---- Masks and scopes ---- */

static void masks_are_counted(void **state)
{
    (void)state;
    add_link("eth0", 2, IFF_UP);
    add_address("eth0", "10.0.0.1", "0.0.0.0");
    add_address("eth0", "10.0.0.2", "255.255.254.0");
    add_address("eth0", "10.0.0.3", "255.255.255.255");
    add_address("eth0", "10.0.0.4", NULL);
    add_address("eth0", "10.0.0.5", "255.0.255.0");
    add_address("eth0", "2001:db8::1", "::");
    add_address("eth0", "2001:db8::2", "ffff:ffff:ffff:ffff:8000::");
    add_address("eth0", "2001:db8::3", NULL);
    list(1);
    check(0, "eth0", 2,
          "10.0.0.1/0 10.0.0.2/23 10.0.0.3/32 10.0.0.4/32 10.0.0.5/8 "
          "2001:db8::1/0 2001:db8::2/65 2001:db8::3/128");
}

/* Of an interface that is not there, so the scope is written as its number. */
static void a_scope_inside_of_an_address_comes_out(void **state)
{
    (void)state;
    add_link("eth0", 0x7123, IFF_UP);
    add_address("eth0", "fe80:7123::1", "ffff:ffff:ffff:ffff::");
    add_address("eth0", "fe80::2%28963", "ffff:ffff:ffff:ffff::");
    add_address("eth0", "fe80::3", "ffff:ffff:ffff:ffff::");
    add_address("eth0", "fe80:7124::4", "ffff:ffff:ffff:ffff::");
    list(1);
    check(0, "eth0", 0x7123,
          "fe80::1%28963/64 fe80::2%28963/64 fe80::3%28963/64 fe80:7124::4%28963/64");
}

#if defined(SIN6_LEN)
static void masks_may_end_where_only_zeros_follow(void **state)
{
    (void)state;
    add_link("eth0", 2, IFF_UP);
    add_address("eth0", "10.0.0.1", "255.255.255.255");
    system_.masks[1].any.sa_len = 6;
    system_.masks[1].any.sa_family = 0;
    add_address("eth0", "10.0.0.2", "255.255.255.255");
    system_.masks[2].any.sa_len = 0;
    list(1);
    check(0, "eth0", 2, "10.0.0.1/16 10.0.0.2/0");
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_interface_without_addresses_is_listed),
        TEST(flags_are_told),
        TEST(a_machine_may_have_none),
        TEST(a_failure_is_told),
#if defined(__linux__)
        TEST(without_a_hardware_address_there_is_an_entry_without_an_address),
#endif
        TEST(where_no_interface_is_listed_those_with_addresses_are),
        TEST(addresses_of_one_interface_lie_together),
        TEST(an_address_may_come_before_its_interface),
        TEST(an_alias_is_an_address_of_its_interface),
        TEST(the_address_of_what_has_gone_is_left_out),
        TEST(addresses_of_other_families_are_passed_over),
        TEST(masks_are_counted),
        TEST(a_scope_inside_of_an_address_comes_out),
#if defined(SIN6_LEN)
        TEST(masks_may_end_where_only_zeros_follow),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
