/* SPDX-License-Identifier: MIT */
/*
 * Goal: what threads of Windows tell of interfaces, addresses, routes and sleep reaches the loop,
 * and ends when the watch ends, whatever these threads are at.
 * Method: the functions that begin and end the notifications are replaced by those of this file,
 * which call back when the test says so; one test has the system's own.
 */
#include "support.h"

#include "imports.h"

#include <iphlpapi.h>

#include "system/changes.h"

#define ADDRESSES PCO_NETWORK_ADDRESSES
#define ROUTES PCO_NETWORK_ROUTES
#define SLEPT PCO_NETWORK_SLEPT

/* ---- The system ---- */

enum { INTERFACE, ADDRESS, ROUTE, KINDS };

/* In the place of each handle: which of them it is, from 1 on. */
#define HANDLE_OF(kind) ((HANDLE)(uintptr_t)((kind) + 1))

typedef ULONG(CALLBACK *power_callback)(PVOID context, ULONG type, PVOID setting);

static struct {
    void *contexts[KINDS]; /* NULL: not begun, or canceled */
    PIPINTERFACE_CHANGE_CALLBACK on_interface;
    PUNICAST_IPADDRESS_CHANGE_CALLBACK on_address;
    PIPFORWARD_CHANGE_CALLBACK on_route;
    unsigned canceled;
    DWORD failures[KINDS]; /* what beginning it says */
    bool without_handles;  /* as Wine 8 has it */

    power_callback on_power;
    void *power_context;
    unsigned power_begun;
    unsigned power_ended;
    DWORD power_failure;
    bool has_no_power;

    HANDLE thread; /* which calls back, and is waited for where Windows waits */
} system_;

static DWORD begin_kind(int kind, void *context, BOOLEAN initial, HANDLE *handle)
{
    if (initial || system_.failures[kind] != NO_ERROR) {
        return initial ? ERROR_INVALID_PARAMETER : system_.failures[kind];
    }
    system_.contexts[kind] = context;
    *handle = system_.without_handles ? NULL : HANDLE_OF(kind);
    return NO_ERROR;
}

static DWORD WINAPI begin_interfaces(ADDRESS_FAMILY family, PIPINTERFACE_CHANGE_CALLBACK callback,
                                     PVOID context, BOOLEAN initial, HANDLE *handle)
{
    system_.on_interface = callback;
    return family != AF_UNSPEC ? ERROR_INVALID_PARAMETER
                               : begin_kind(INTERFACE, context, initial, handle);
}

static DWORD WINAPI begin_addresses(ADDRESS_FAMILY family,
                                    PUNICAST_IPADDRESS_CHANGE_CALLBACK callback, PVOID context,
                                    BOOLEAN initial, HANDLE *handle)
{
    system_.on_address = callback;
    return family != AF_UNSPEC ? ERROR_INVALID_PARAMETER
                               : begin_kind(ADDRESS, context, initial, handle);
}

static DWORD WINAPI begin_routes(ADDRESS_FAMILY family, PIPFORWARD_CHANGE_CALLBACK callback,
                                 PVOID context, BOOLEAN initial, HANDLE *handle)
{
    system_.on_route = callback;
    return family != AF_UNSPEC ? ERROR_INVALID_PARAMETER
                               : begin_kind(ROUTE, context, initial, handle);
}

static DWORD WINAPI cancel(HANDLE handle)
{
    if (system_.thread != NULL) {
        WaitForSingleObject(system_.thread, INFINITE);
        CloseHandle(system_.thread);
        system_.thread = NULL;
    }
    system_.contexts[(uintptr_t)handle - 1] = NULL;
    system_.canceled++;
    return NO_ERROR;
}

static DWORD WINAPI begin_power(DWORD flags, HANDLE recipient, HANDLE *registration)
{
    const struct {
        power_callback callback;
        void *context;
    } *parameters = recipient;
    if (flags != 2 || system_.power_failure != ERROR_SUCCESS) {
        return flags != 2 ? ERROR_INVALID_PARAMETER : system_.power_failure;
    }
    system_.on_power = parameters->callback;
    system_.power_context = parameters->context;
    system_.power_begun++;
    *registration = HANDLE_OF(KINDS);
    return ERROR_SUCCESS;
}

static DWORD WINAPI end_power(HANDLE registration)
{
    system_.power_ended += registration == HANDLE_OF(KINDS);
    return ERROR_SUCCESS;
}

typedef FARPROC(WINAPI *find_function)(HMODULE module, LPCSTR name);
static find_function real_find;

static FARPROC WINAPI find(HMODULE module, LPCSTR name)
{
    bool begins =
        (uintptr_t)name > 0xFFFF && strcmp(name, "PowerRegisterSuspendResumeNotification") == 0;
    bool ends =
        (uintptr_t)name > 0xFFFF && strcmp(name, "PowerUnregisterSuspendResumeNotification") == 0;
    if (!begins && !ends) {
        return real_find(module, name);
    }
    if (system_.has_no_power) {
        return NULL;
    }
    return begins ? (FARPROC)(void (*)(void))begin_power : (FARPROC)(void (*)(void))end_power;
}

static struct {
    const char *name;
    any_function ours;
    any_function theirs;
} replaced[] = {
    {"NotifyIpInterfaceChange", (any_function)(void (*)(void))begin_interfaces, NULL},
    {"NotifyUnicastIpAddressChange", (any_function)(void (*)(void))begin_addresses, NULL},
    {"NotifyRouteChange2", (any_function)(void (*)(void))begin_routes, NULL},
    {"CancelMibChangeNotify2", (any_function)(void (*)(void))cancel, NULL},
    {"GetProcAddress", (any_function)(void (*)(void))find, NULL},
};

#define REPLACED (sizeof replaced / sizeof replaced[0])

/* ---- Watching ---- */

static pco__changes *watch;
static unsigned notices;

static void notice(void *context)
{
    ++*(unsigned *)context;
}

static int begin(pco__changes **made, pco_error *error)
{
    return pco__system_changes.begin(notice, &notices, made, error);
}

static void end(pco__changes *made)
{
    pco__system_changes.end(made);
}

static unsigned take(pco__changes *made)
{
    return pco__system_changes.take(made);
}

static int replace_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < REPLACED; ++i) {
        replaced[i].theirs = replace_import(NULL, replaced[i].name, replaced[i].ours);
        if (replaced[i].theirs == NULL) {
            return -1;
        }
    }
    real_find = (find_function)(void (*)(void))replaced[REPLACED - 1].theirs;
    memset(&system_, 0, sizeof system_);
    notices = 0;
    memory_watch();
    return 0;
}

static int bring_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < REPLACED; ++i) {
        replace_import(NULL, replaced[i].name, replaced[i].theirs);
    }
    return memory_unwatch() == 0 ? 0 : -1;
}

static void check(unsigned what)
{
    assert_int_equal(take(watch), what);
    assert_int_equal(take(watch), 0);
}

static void power(ULONG type)
{
    assert_int_equal(system_.on_power(system_.power_context, type, NULL), ERROR_SUCCESS);
}

/* ---- Telling ---- */

static void each_kind_is_told(void **state)
{
    (void)state;
    assert_int_equal(begin(&watch, NULL), 0);
    system_.on_interface(system_.contexts[INTERFACE], NULL, MibAddInstance);
    check(ADDRESSES);
    system_.on_address(system_.contexts[ADDRESS], NULL, MibDeleteInstance);
    check(ADDRESSES);
    system_.on_route(system_.contexts[ROUTE], NULL, MibParameterNotification);
    check(ROUTES);
    power(PBT_APMRESUMEAUTOMATIC);
    check(SLEPT);
    assert_int_equal(notices, 4);
    system_.on_address(system_.contexts[ADDRESS], NULL, MibAddInstance);
    system_.on_route(system_.contexts[ROUTE], NULL, MibAddInstance);
    check(ADDRESSES | ROUTES);
    end(watch);
}

static void of_sleep_only_its_end_is_told_once(void **state)
{
    (void)state;
    assert_int_equal(begin(&watch, NULL), 0);
    power(PBT_APMSUSPEND);
    check(0);
    power(PBT_APMRESUMEAUTOMATIC);
    check(SLEPT);
    power(PBT_APMRESUMESUSPEND);
    check(0);
    assert_int_equal(notices, 1);
    end(watch);
}

static void several_watches_hear_of_one_sleep(void **state)
{
    (void)state;
    pco__changes *other;
    assert_int_equal(begin(&watch, NULL), 0);
    assert_int_equal(begin(&other, NULL), 0);
    assert_int_equal(system_.power_begun, 1);
    power(PBT_APMRESUMEAUTOMATIC);
    check(SLEPT);
    assert_int_equal(take(other), SLEPT);
    end(watch);
    assert_int_equal(system_.power_ended, 0);
    power(PBT_APMRESUMEAUTOMATIC);
    assert_int_equal(take(other), SLEPT);
    end(other);
    assert_int_equal(system_.power_ended, 1);
}

/* ---- The end ---- */

static void all_of_it_ends(void **state)
{
    (void)state;
    assert_int_equal(begin(&watch, NULL), 0);
    end(watch);
    assert_int_equal(system_.canceled, KINDS);
    assert_int_equal(system_.power_ended, 1);
    power(PBT_APMRESUMEAUTOMATIC); /* late */
    assert_int_equal(notices, 0);
    assert_int_equal(begin(&watch, NULL), 0);
    assert_int_equal(system_.power_begun, 2);
    end(watch);
}

static void where_no_handle_was_given_none_is_canceled(void **state)
{
    (void)state;
    system_.without_handles = true;
    assert_int_equal(begin(&watch, NULL), 0);
    end(watch);
    assert_int_equal(system_.canceled, 0);
}

static void where_one_fails_those_before_it_end(void **state)
{
    (void)state;
    for (unsigned failing = 0; failing < KINDS; ++failing) {
        pco_error error;
        memset(&system_, 0, sizeof system_);
        system_.failures[failing] = ERROR_NOT_ENOUGH_MEMORY;
        assert_int_equal(begin(&watch, &error), PCO_ENOMEM);
        assert_int_equal(error.system_code, ERROR_NOT_ENOUGH_MEMORY);
        assert_string_equal(error.message, "watch the network: out of memory");
        assert_int_equal(system_.canceled, failing);
        assert_int_equal(system_.power_begun, 0);
    }
}

static void where_sleep_cannot_be_watched_nothing_is(void **state)
{
    (void)state;
    pco_error error;
    system_.power_failure = ERROR_ACCESS_DENIED;
    assert_int_equal(begin(&watch, &error), PCO_EACCES);
    assert_int_equal(system_.canceled, KINDS);
    system_.power_failure = ERROR_SUCCESS;
    assert_int_equal(begin(&watch, NULL), 0);
    assert_int_equal(system_.power_begun, 1);
    end(watch);
}

static void without_a_power_manager_the_network_is_watched(void **state)
{
    (void)state;
    system_.has_no_power = true;
    assert_int_equal(begin(&watch, NULL), 0);
    system_.on_route(system_.contexts[ROUTE], NULL, MibAddInstance);
    check(ROUTES);
    end(watch);
    assert_int_equal(system_.power_ended, 0);
}

static void out_of_memory_nothing_begins(void **state)
{
    (void)state;
    pco_error error;
    memory_fail(1, false);
    assert_int_equal(begin(&watch, &error), PCO_ENOMEM);
    assert_int_equal(system_.canceled, 0);
}

/* ---- With a loop ---- */

#define TIMES 1000

static unsigned heard;

static void hear(pco_loop *loop, unsigned what, void *context)
{
    (void)loop;
    (void)context;
    heard |= what;
}

static bool has_heard(void *context)
{
    return (heard & *(const unsigned *)context) != 0;
}

static DWORD WINAPI change_much(void *context)
{
    (void)context;
    for (unsigned i = 0; i < TIMES; ++i) {
        system_.on_address(system_.contexts[ADDRESS], NULL, MibAddInstance);
        system_.on_route(system_.contexts[ROUTE], NULL, MibAddInstance);
        system_.on_power(system_.power_context, PBT_APMRESUMEAUTOMATIC, NULL);
    }
    return 0;
}

static void threads_of_the_systems_tell_the_loop(void **state)
{
    (void)state;
    pco_loop *loop;
    const unsigned wanted = SLEPT;
    heard = 0;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(pco_loop_set_network_changed(loop, hear, NULL, NULL), 0);
    system_.thread = CreateThread(NULL, 0, change_much, NULL, 0, NULL);
    assert_int_equal(pco_loop_run_until(loop, has_heard, (void *)(uintptr_t)&wanted, 60), 0);
    pco_loop_free(loop);
}

static void ending_waits_for_a_thread_that_tells(void **state)
{
    (void)state;
    pco_loop *loop;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    for (unsigned i = 0; i < 20; ++i) {
        heard = 0;
        assert_int_equal(pco_loop_set_network_changed(loop, hear, NULL, NULL), 0);
        system_.thread = CreateThread(NULL, 0, change_much, NULL, 0, NULL);
        pco_loop_run_once(loop, 0);
        assert_int_equal(pco_loop_set_network_changed(loop, NULL, NULL, NULL), 0);
        pco_loop_run_once(loop, 0);
        assert_int_equal(heard, 0);
    }
    pco_loop_free(loop);
}

static void the_systems_own_begin_and_end(void **state)
{
    (void)state;
    pco_loop *loop;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(pco_loop_set_network_changed(loop, hear, NULL, NULL), 0);
    pco_loop_run_once(loop, 0);
    assert_int_equal(pco_loop_set_network_changed(loop, NULL, NULL, NULL), 0);
    assert_int_equal(pco_loop_set_network_changed(loop, hear, NULL, NULL), 0);
    pco_loop_free(loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, replace_all, bring_back)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_kind_is_told),
        TEST(of_sleep_only_its_end_is_told_once),
        TEST(several_watches_hear_of_one_sleep),
        TEST(all_of_it_ends),
        TEST(where_no_handle_was_given_none_is_canceled),
        TEST(where_one_fails_those_before_it_end),
        TEST(where_sleep_cannot_be_watched_nothing_is),
        TEST(without_a_power_manager_the_network_is_watched),
        TEST(out_of_memory_nothing_begins),
        TEST(threads_of_the_systems_tell_the_loop),
        TEST(ending_waits_for_a_thread_that_tells),
        cmocka_unit_test(the_systems_own_begin_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
