/* SPDX-License-Identifier: MIT */
/*
 * changes.c (Windows): what has changed, told by threads of the system's: of interfaces, addresses
 * and routes by the IP helper, of sleep by the power manager.
 *
 * The hard idea is the end. The IP helper waits for its callbacks that run, in
 * CancelMibChangeNotify2; these take no lock, so nobody waits for ever. Whether the power manager
 * waits is said nowhere. So its callback is given nothing that ends: it tells those in a list,
 * under a lock, and who has left the list is not met any more. The system is never called under
 * that lock, but under another one, which callbacks do not take.
 */
#include "win32/win32.h"

#include <iphlpapi.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/changes.h"
#include "system/platform.h"

/* Of what the IP helper tells. */
enum { INTERFACES, ADDRESSES, ROUTES, KINDS };

struct pco__changes {
    void (*notice)(void *context);
    void *context;
    LONG what; /* PCO_NETWORK_*, by any thread */
    HANDLE notifications[KINDS];
    pco__changes *next; /* in `sleepers` */
};

static void tell(pco__changes *changes, unsigned what)
{
    InterlockedOr(&changes->what, (LONG)what);
    changes->notice(changes->context);
}

/* ---- Interfaces, addresses, routes ---- */

static VOID NETIOAPI_API_ on_interface(PVOID context, PMIB_IPINTERFACE_ROW row,
                                       MIB_NOTIFICATION_TYPE type)
{
    (void)row;
    (void)type;
    tell(context, PCO_NETWORK_ADDRESSES);
}

static VOID NETIOAPI_API_ on_address(PVOID context, PMIB_UNICASTIPADDRESS_ROW row,
                                     MIB_NOTIFICATION_TYPE type)
{
    (void)row;
    (void)type;
    tell(context, PCO_NETWORK_ADDRESSES);
}

static VOID NETIOAPI_API_ on_route(PVOID context, PMIB_IPFORWARD_ROW2 row,
                                   MIB_NOTIFICATION_TYPE type)
{
    (void)row;
    (void)type;
    tell(context, PCO_NETWORK_ROUTES);
}

static DWORD begin_notifications(pco__changes *made)
{
    HANDLE *handles = made->notifications;
    DWORD code =
        NotifyIpInterfaceChange(AF_UNSPEC, on_interface, made, FALSE, &handles[INTERFACES]);
    if (code == NO_ERROR) {
        code =
            NotifyUnicastIpAddressChange(AF_UNSPEC, on_address, made, FALSE, &handles[ADDRESSES]);
    }
    if (code == NO_ERROR) {
        code = NotifyRouteChange2(AF_UNSPEC, on_route, made, FALSE, &handles[ROUTES]);
    }
    return code;
}

/* Wine 8 says that it has begun, and gives no handle. */
static void end_notifications(const pco__changes *changes)
{
    for (int i = 0; i < KINDS; ++i) {
        if (changes->notifications[i] != NULL) {
            CancelMibChangeNotify2(changes->notifications[i]);
        }
    }
}

/* ---- Sleep ---- */

/* As powrprof.h has them, which mingw-w64 lacks. */
typedef struct subscription {
    ULONG(CALLBACK *callback)(PVOID context, ULONG type, PVOID setting);
    PVOID context;
} subscription;
typedef DWORD(WINAPI *begin_sleep_call)(DWORD flags, HANDLE recipient, HANDLE *registration);
typedef DWORD(WINAPI *end_sleep_call)(HANDLE registration);
#define NOTIFY_CALLBACK 2 /* DEVICE_NOTIFY_CALLBACK */

static SRWLOCK lock = SRWLOCK_INIT;
static pco__changes *sleepers; /* who wants to know; guarded by `lock` */

static SRWLOCK changing = SRWLOCK_INIT;
static HANDLE registration; /* while there are any, if the system has it; guarded by `changing` */

static ULONG CALLBACK on_power(PVOID context, ULONG type, PVOID setting)
{
    (void)context;
    (void)setting;
    if (type == PBT_APMRESUMEAUTOMATIC) { /* each time, whether a user is there or not */
        AcquireSRWLockShared(&lock);
        for (pco__changes *one = sleepers; one != NULL; one = one->next) {
            tell(one, PCO_NETWORK_SLEPT);
        }
        ReleaseSRWLockShared(&lock);
    }
    return ERROR_SUCCESS;
}

/* NULL: this Windows has no such thing, as its smallest servers have not. */
static FARPROC find_power_function(const char *name)
{
    static HMODULE library; /* guarded by `changing`; stays */
    if (library == NULL) {
        library = LoadLibraryExW(L"powrprof.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    }
    return library != NULL ? GetProcAddress(library, name) : NULL;
}

static DWORD register_power(void)
{
    static subscription own = {.callback = on_power};
    FARPROC function = find_power_function("PowerRegisterSuspendResumeNotification");
    if (function == NULL) {
        return ERROR_SUCCESS;
    }
    return ((begin_sleep_call)(void (*)(void))function)(NOTIFY_CALLBACK, &own, &registration);
}

static void unregister_power(void)
{
    FARPROC function = find_power_function("PowerUnregisterSuspendResumeNotification");
    if (function != NULL && registration != NULL) {
        ((end_sleep_call)(void (*)(void))function)(registration);
    }
    registration = NULL;
}

/* Returns whether nobody is left. */
static bool leave_sleepers(const pco__changes *changes)
{
    AcquireSRWLockExclusive(&lock);
    pco__changes **place = &sleepers;
    while (*place != changes) {
        place = &(*place)->next;
    }
    *place = changes->next;
    bool is_last = sleepers == NULL;
    ReleaseSRWLockExclusive(&lock);
    return is_last;
}

/* Returns whether nobody was there. */
static bool join_sleepers(pco__changes *made)
{
    AcquireSRWLockExclusive(&lock);
    bool is_first = sleepers == NULL;
    made->next = sleepers;
    sleepers = made;
    ReleaseSRWLockExclusive(&lock);
    return is_first;
}

static DWORD begin_sleep(pco__changes *made)
{
    DWORD code = ERROR_SUCCESS;
    AcquireSRWLockExclusive(&changing);
    if (join_sleepers(made)) {
        code = register_power();
    }
    if (code != ERROR_SUCCESS) {
        registration = NULL;
        leave_sleepers(made);
    }
    ReleaseSRWLockExclusive(&changing);
    return code;
}

static void end_sleep(const pco__changes *changes)
{
    AcquireSRWLockExclusive(&changing);
    if (leave_sleepers(changes)) {
        unregister_power();
    }
    ReleaseSRWLockExclusive(&changing);
}

/* ---- Watching ---- */

static int begin(void (*notice)(void *context), void *context, pco__changes **changes,
                 pco_error *error)
{
    pco__changes *made = pco__calloc(sizeof *made);
    if (made == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "watch the network");
    }
    made->notice = notice;
    made->context = context;
    DWORD code = begin_notifications(made);
    if (code == NO_ERROR) {
        code = begin_sleep(made);
    }
    if (code != NO_ERROR) {
        end_notifications(made);
        pco__free(made);
        return pco__error_describe(error, pco__error_from_system((int)code), (int)code,
                                   "watch the network");
    }
    *changes = made;
    return 0;
}

static size_t descriptors(const pco__changes *changes, pco_socket *list)
{
    (void)changes;
    (void)list;
    return 0;
}

static unsigned take(pco__changes *changes)
{
    return (unsigned)InterlockedExchange(&changes->what, 0);
}

static void end(pco__changes *changes)
{
    end_notifications(changes);
    end_sleep(changes);
    pco__free(changes);
}

const pco__changes_class pco__system_changes = {
    .begin = begin, .descriptors = descriptors, .take = take, .end = end};
