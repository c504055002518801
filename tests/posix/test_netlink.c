/* SPDX-License-Identifier: MIT */
/*
 * Goal: Linux tells of addresses, interfaces, routes and sleep, all of them, and of nothing else.
 * Method: a network namespace of the test's own, which ip(8) changes; messages that are hard to get
 * from a kernel are made up by recvmsg, and time, and the timer that ends when the wall clock
 * jumps, by the calls that ask for them. No loop: the seam's functions alone.
 */
#define _GNU_SOURCE 1

#include "network_namespace.h"
#include "support.h"

#include "system/changes.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define ADDRESSES PCO_NETWORK_ADDRESSES
#define ROUTES PCO_NETWORK_ROUTES
#define SLEPT PCO_NETWORK_SLEPT

#define PATIENCE 60000

/* ---- The system's calls, and what is made up ---- */

/* Seconds that are added to each. */
static long boot_time;
static long wall_clock;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);

    now->tv_sec += clock == CLOCK_BOOTTIME ? boot_time : clock == CLOCK_REALTIME ? wall_clock : 0;
    return result;
}

/* The timer is a number that the test adds to when the wall clock is set. */
static int timer = -1;
static int timer_error;
static int timer_flags;

int timerfd_create(clockid_t clock, int flags)
{
    (void)flags;
    assert_int_equal(clock, CLOCK_REALTIME);
    timer = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return timer;
}

int timerfd_settime(int descriptor, int flags, const struct itimerspec *new_value,
                    struct itimerspec *old_value)
{
    (void)old_value;
    assert_int_equal(descriptor, timer);
    assert_true(new_value->it_value.tv_sec > 0x7FFFFFFE);
    timer_flags = flags;
    errno = timer_error;
    return timer_error == 0 ? 0 : -1;
}

static void set_wall_clock(long seconds)
{
    wall_clock += seconds;
    assert_int_equal(eventfd_write(timer, 1), 0);
}

/* What recvmsg brings in the place of what there is; a length of 0: what there is. */
static struct {
    unsigned char data[256];
    size_t length;
    unsigned sender;
    int flags;
    int error;
} made_up;

ssize_t recvmsg(int sock, struct msghdr *message, int flags)
{
    size_t length = made_up.length;

    if (made_up.error != 0) {
        errno = made_up.error;
        made_up.error = 0;
        return -1;
    }
    if (length == 0) {
        return (ssize_t)syscall(SYS_recvmsg, sock, message, flags);
    }
    memcpy(message->msg_iov->iov_base, made_up.data, length);
    *(struct sockaddr_nl *)message->msg_name =
        (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_pid = made_up.sender};
    message->msg_flags = made_up.flags;
    made_up.length = 0;
    return (ssize_t)length;
}

/* ---- Watching ---- */

static pco__changes *watch;

static void notice(void *context)
{
    (void)context;
    abort(); /* there are descriptors for that */
}

static unsigned take(void)
{
    return pco__system_changes.take(watch);
}

/* How many descriptors are readable, after `timeout` milliseconds at most. */
static int readable(int timeout)
{
    pco_socket descriptors[PCO__CHANGES_DESCRIPTORS];
    struct pollfd polled[PCO__CHANGES_DESCRIPTORS] = {{0}};
    size_t count = pco__system_changes.descriptors(watch, descriptors);

    for (size_t i = 0; i < count; i++) {
        polled[i] = (struct pollfd){.fd = (int)descriptors[i], .events = POLLIN};
    }
    return poll(polled, (nfds_t)count, timeout);
}

/* Reads away all there is. */
static unsigned take_all(void)
{
    unsigned what = 0;

    for (unsigned turns = 0; turns < 10000 && readable(0) > 0; turns++) {
        what |= take();
    }
    assert_int_equal(readable(0), 0);
    return what;
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    memset(&made_up, 0, sizeof made_up);
    timer_error = 0;
    boot_time = 0;
    wall_clock = 0;
    return pco__system_changes.begin(notice, NULL, &watch, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    pco__system_changes.end(watch);
    namespace_clear();
    return memory_unwatch() == 0 ? 0 : -1;
}

/*
 * The kernel has told by the time that ip has ended, or will soon: of an address of IPv6 only when
 * a worker of its own has found it to be good.
 */
static void check_ip(const char *arguments, unsigned what)
{
    ip(arguments);
    unsigned told = take_all();
    while ((told & what) != what && readable(PATIENCE) > 0) {
        told |= take_all();
    }
    assert_int_equal(told, what);
}

/* ---- Changes ---- */

static void addresses_and_interfaces_are_told(void **state)
{
    (void)state;
    check_ip("addr add 192.0.2.1/24 dev lo", ADDRESSES);
    check_ip("addr del 192.0.2.1/24 dev lo", ADDRESSES);
    check_ip("tuntap add mode tun name portico0", ADDRESSES);
    check_ip("link set portico0 name portico1", ADDRESSES);
    check_ip("link del portico1", ADDRESSES);
}

static void routes_are_told(void **state)
{
    (void)state;
    check_ip("route add 198.51.100.0/24 dev lo", ROUTES);
    check_ip("route change 198.51.100.0/24 dev lo metric 0 mtu 1400", ROUTES);
    check_ip("route del 198.51.100.0/24 dev lo", ROUTES);
}

static void an_interface_that_goes_up_or_down_is_told(void **state)
{
    (void)state;
    ip("link set lo down");
    assert_true((take_all() & ADDRESSES) != 0);
    ip("link set lo up");
    assert_true((take_all() & ADDRESSES) != 0);
}

/* Its times are in hundredths of a second, and the two have to differ. */
static void an_address_that_goes_on_to_be_good_is_not_told(void **state)
{
    (void)state;
    check_ip("addr add 192.0.2.1/24 dev lo valid_lft 1000 preferred_lft 1000", ADDRESSES);
    assert_int_equal(poll(NULL, 0, 30), 0);
    check_ip("addr change 192.0.2.1/24 dev lo valid_lft 2000 preferred_lft 2000", 0);
    check_ip("addr del 192.0.2.1/24 dev lo", ADDRESSES);
    if (namespace_has_inet6()) {
        check_ip(
            "addr add 2001:db8::1/64 dev lo nodad noprefixroute valid_lft 1000 preferred_lft 1000",
            ADDRESSES);
        assert_int_equal(poll(NULL, 0, 30), 0);
        check_ip("addr change 2001:db8::1/64 dev lo nodad noprefixroute valid_lft 2000 "
                 "preferred_lft 2000",
                 0);
        check_ip("addr del 2001:db8::1/64 dev lo", ADDRESSES);
    }
}

static void where_nothing_changes_nothing_is_told(void **state)
{
    (void)state;
    assert_int_equal(readable(0), 0);
    assert_int_equal(take(), 0);
}

/* More than the socket's memory holds. */
static void what_the_kernel_could_not_tell_counts_as_anything(void **state)
{
    (void)state;
    ip_many("route add 10.%u.%u.0/24 dev lo", 3000);
    assert_int_equal(take_all(), ADDRESSES | ROUTES);
    check_ip("addr add 192.0.2.1/24 dev lo", ADDRESSES);
}

static void a_flood_is_not_read_at_once(void **state)
{
    (void)state;
    ip_many("route add 10.%u.%u.0/24 dev lo", 100);
    assert_int_equal(take(), ROUTES);
    assert_int_equal(readable(0), 1);
    assert_int_equal(take_all(), ROUTES);
}

/* ---- Messages that are made up ---- */

typedef struct link_message {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct rtattr attribute;
} link_message;

static void receive(const void *message, size_t length)
{
    memcpy(made_up.data, message, length);
    made_up.length = length;
}

static void check_message(const void *message, size_t length, unsigned what)
{
    receive(message, length);
    assert_int_equal(take(), what);
}

static link_message link_with(unsigned char family, unsigned short attribute)
{
    return (link_message){
        .header = {.nlmsg_len = sizeof(link_message), .nlmsg_type = RTM_NEWLINK},
        .link = {.ifi_family = family},
        .attribute = {.rta_len = sizeof(struct rtattr), .rta_type = attribute},
    };
}

static void what_radios_and_bridges_say_is_not_told(void **state)
{
    (void)state;
    link_message plain = link_with(AF_UNSPEC, IFLA_IFNAME);
    link_message radio = link_with(AF_UNSPEC, IFLA_WIRELESS);
    link_message bridge = link_with(AF_BRIDGE, IFLA_IFNAME);
    check_message(&plain, sizeof plain, ADDRESSES);
    check_message(&radio, sizeof radio, 0);
    check_message(&bridge, sizeof bridge, 0);
}

static void copies_of_routes_are_not_told(void **state)
{
    (void)state;
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
    } message = {.header = {.nlmsg_len = sizeof message, .nlmsg_type = RTM_NEWROUTE},
                 .route = {.rtm_table = RT_TABLE_MAIN}};
    check_message(&message, sizeof message, ROUTES);
    message.route.rtm_flags = RTM_F_CLONED;
    check_message(&message, sizeof message, 0);
}

static void several_messages_may_come_at_once(void **state)
{
    (void)state;
    struct {
        link_message link;
        struct nlmsghdr unknown;
        struct nlmsghdr overrun;
    } messages = {.link = link_with(AF_UNSPEC, IFLA_WIRELESS),
                  .unknown = {.nlmsg_len = sizeof(struct nlmsghdr), .nlmsg_type = NLMSG_DONE},
                  .overrun = {.nlmsg_len = sizeof(struct nlmsghdr), .nlmsg_type = NLMSG_OVERRUN}};
    check_message(&messages, sizeof messages - sizeof messages.overrun, 0);
    check_message(&messages, sizeof messages, ADDRESSES | ROUTES);
}

static void garbled_messages_do_no_harm(void **state)
{
    (void)state;
    link_message message = link_with(AF_UNSPEC, IFLA_IFNAME);
    for (size_t length = 1; length < sizeof message; length++) {
        receive(&message, length);
        take();
    }
    message.header.nlmsg_len = 0;
    check_message(&message, sizeof message, ADDRESSES | ROUTES);
    message.header.nlmsg_len = sizeof message + 4;
    check_message(&message, sizeof message, ADDRESSES | ROUTES);
    message = link_with(AF_UNSPEC, IFLA_WIRELESS);
    message.attribute.rta_len = 0;
    check_message(&message, sizeof message, ADDRESSES);
    message.attribute.rta_len = 200;
    check_message(&message, sizeof message, ADDRESSES);
}

static void a_message_that_was_cut_or_lost_counts_as_anything(void **state)
{
    (void)state;
    link_message message = link_with(AF_UNSPEC, IFLA_WIRELESS);
    made_up.flags = MSG_TRUNC;
    check_message(&message, sizeof message, ADDRESSES | ROUTES);
    made_up.error = ENOMEM;
    assert_int_equal(take(), ADDRESSES | ROUTES);
    made_up.error = EINTR;
    assert_int_equal(take(), 0);
}

static void another_program_is_not_believed(void **state)
{
    (void)state;
    link_message message = link_with(AF_UNSPEC, IFLA_IFNAME);
    made_up.sender = 4711;
    check_message(&message, sizeof message, 0);
}

/* ---- Sleep ---- */

static void sleep_is_told_once(void **state)
{
    (void)state;
    boot_time += 3600;
    set_wall_clock(3600);
    assert_int_equal(readable(0), 1);
    assert_int_equal(take(), SLEPT);
    assert_int_equal(readable(0), 0);
    assert_int_equal(take(), 0);
    boot_time += 1;
    set_wall_clock(1);
    assert_int_equal(take(), SLEPT);
}

static void a_wall_clock_that_is_set_is_no_sleep(void **state)
{
    (void)state;
    set_wall_clock(86400);
    assert_int_equal(readable(0), 1);
    assert_int_equal(take(), 0);
    set_wall_clock(-86400);
    assert_int_equal(take(), 0);
    assert_int_equal(readable(0), 0);
}

static void the_timer_ends_when_the_wall_clock_jumps(void **state)
{
    (void)state;
    assert_int_equal(timer_flags, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
}

static void what_has_changed_during_sleep_comes_with_it(void **state)
{
    (void)state;
    boot_time += 60;
    ip("addr add 192.0.2.1/24 dev lo");
    assert_int_equal(take_all(), ADDRESSES | SLEPT);
}

/* ---- Failures ---- */

static void a_kernel_without_such_a_timer_is_told(void **state)
{
    (void)state;
    pco__changes *other = NULL;
    pco_error error;
    timer_error = EINVAL;
    assert_int_equal(pco__system_changes.begin(notice, NULL, &other, &error), PCO_ENOTSUP);
    assert_int_equal(error.system_code, EINVAL);
    assert_string_equal(error.message, "watch the network: not supported");
    assert_null(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_and_interfaces_are_told),
        TEST(routes_are_told),
        TEST(an_interface_that_goes_up_or_down_is_told),
        TEST(an_address_that_goes_on_to_be_good_is_not_told),
        TEST(where_nothing_changes_nothing_is_told),
        TEST(what_the_kernel_could_not_tell_counts_as_anything),
        TEST(a_flood_is_not_read_at_once),
        TEST(what_radios_and_bridges_say_is_not_told),
        TEST(copies_of_routes_are_not_told),
        TEST(several_messages_may_come_at_once),
        TEST(garbled_messages_do_no_harm),
        TEST(a_message_that_was_cut_or_lost_counts_as_anything),
        TEST(another_program_is_not_believed),
        TEST(sleep_is_told_once),
        TEST(a_wall_clock_that_is_set_is_no_sleep),
        TEST(the_timer_ends_when_the_wall_clock_jumps),
        TEST(what_has_changed_during_sleep_comes_with_it),
        TEST(a_kernel_without_such_a_timer_is_told),
    };
    return namespace_enter() ? cmocka_run_group_tests(tests, NULL, NULL) : NAMESPACE_SKIPPED;
}
