/* SPDX-License-Identifier: MIT */
/*
 * signal.c (Windows): events of the console, told as signals, and the one handler that tells them.
 * Windows calls it on a thread of its own, a new one for each event.
 *
 * The hard idea is the end of the process. After some events Windows ends it as soon as a handler
 * has returned; so ours does not return, and the program ends by itself, or when Windows' patience
 * does. While a handler runs, SetConsoleCtrlHandler may wait for it: so it is not called any more
 * once a handler is held back. Two locks do it: `changing` for those who begin and end to watch,
 * around SetConsoleCtrlHandler too, and `lock` for the list, which alone the handler takes.
 */
#include "win32/win32.h"

#include "support/error.h"
#include "system/platform.h"
#include "system/signals.h"

#include <signal.h>

static SRWLOCK changing = SRWLOCK_INIT;
static bool is_in_place; /* the handler; guarded by `changing` */

static SRWLOCK lock = SRWLOCK_INIT;
static pco__watch *watches; /* of all signals, in the order in which they began */
static bool is_held_back;   /* a handler that Windows waits for: the process ends */

/* ---- The handler ---- */

/*
 * A service hears of the end of every user's session, which is not its own: services live in
 * session 0, where Windows' own handler lets them go on.
 */
static bool is_service(void)
{
    DWORD session = 0;
    return ProcessIdToSessionId(GetCurrentProcessId(), &session) && session == 0;
}

/* 0: none. */
static int number_of(DWORD event)
{
    switch (event) {
    case CTRL_C_EVENT:
        return SIGINT;
    case CTRL_BREAK_EVENT:
        return SIGBREAK;
    case CTRL_CLOSE_EVENT:
        return PCO_SIGHUP;
    case CTRL_LOGOFF_EVENT:
        return is_service() ? 0 : SIGTERM;
    case CTRL_SHUTDOWN_EVENT:
        return SIGTERM;
    default:
        return 0;
    }
}

/* `last`: after this event the process ends. */
static bool tell(int number, bool last)
{
    bool any = false;
    AcquireSRWLockExclusive(&lock);
    for (pco__watch *watch = watches; watch != NULL; watch = watch->next) {
        if (watch->number == number) {
            is_held_back = is_held_back || last;
            any = true;
            watch->raised(watch);
        }
    }
    ReleaseSRWLockExclusive(&lock);
    return any;
}

bool pco__watch_tell(int number)
{
    return tell(number, false);
}

static BOOL WINAPI handle(DWORD event)
{
    int number = number_of(event);
    bool last = event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT;
    if (number == 0 || !tell(number, last)) {
        return FALSE; /* the next handler's, or Windows' own, which ends the process */
    }
    if (last) {
        Sleep(INFINITE);
    }
    return TRUE;
}

/* ---- Watching ---- */

/* Takes it off the list. Returns whether the handler may be taken out of its place. */
static bool unlink_watch(const pco__watch *watch)
{
    AcquireSRWLockExclusive(&lock);
    pco__watch **place = &watches;
    while (*place != watch) {
        place = &(*place)->next;
    }
    *place = watch->next;
    bool is_idle = watches == NULL && !is_held_back;
    ReleaseSRWLockExclusive(&lock);
    return is_idle;
}

static void link_watch(pco__watch *watch)
{
    AcquireSRWLockExclusive(&lock);
    pco__watch **place = &watches;
    while (*place != NULL) {
        place = &(*place)->next;
    }
    watch->next = NULL;
    *place = watch;
    ReleaseSRWLockExclusive(&lock);
}

static int put_in_place(pco_error *error)
{
    if (!is_in_place && !SetConsoleCtrlHandler(handle, TRUE)) {
        int code = (int)GetLastError();
        return pco__error_describe(error, pco__error_from_system(code), code,
                                   "handle events of the console");
    }
    is_in_place = true;
    return 0;
}

int pco__watch_begin(pco__watch *watch, pco_error *error)
{
    int number = watch->number;
    if (number != SIGINT && number != SIGBREAK && number != PCO_SIGHUP && number != SIGTERM) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%d is no signal that can be handled here: on Windows these are "
                              "SIGINT, SIGBREAK, SIGTERM and PCO_SIGHUP",
                              number);
    }
    AcquireSRWLockExclusive(&changing);
    int code = put_in_place(error);
    if (code == 0) {
        link_watch(watch);
    }
    ReleaseSRWLockExclusive(&changing);
    return code;
}

/* A program's handlers stand beside ours, and none of them has taken its place. */
int pco__watch_renew(pco__watch *watch, pco_error *error)
{
    (void)watch;
    (void)error;
    return 0;
}

void pco__watch_end(pco__watch *watch)
{
    AcquireSRWLockExclusive(&changing);
    if (unlink_watch(watch)) {
        SetConsoleCtrlHandler(handle, FALSE);
        is_in_place = false;
    }
    ReleaseSRWLockExclusive(&changing);
}

const int pco__ending_signals[] = {SIGINT, SIGBREAK, PCO_SIGHUP, SIGTERM, 0};
