/* SPDX-License-Identifier: MIT */
#include "portico_win32.h"

#include <stdio.h>

enum { TURN_DUE = WM_APP, PAUSE = 1, PAUSE_MS = USER_TIMER_MINIMUM };

/*
 * On a thread of the library's. A queue takes 10,000 messages; one that is sent needs no place in
 * it. Should both fail the window is gone, and the loop not hosted any more.
 */
static void wake_up(void *window)
{
    if (!PostMessageW(window, TURN_DUE, 0, 0)) {
        SendNotifyMessageW(window, TURN_DUE, 0, 0);
    }
}

/*
 * Posted messages come before the user's input and before painting, timers after both: with a flood
 * on the network, the turn makes way for what waits, by coming as a timer.
 */
static void turn_due(HWND window, pco_loop *loop)
{
    if (HIWORD(GetQueueStatus(QS_INPUT | QS_PAINT)) == 0 ||
        SetTimer(window, PAUSE, PAUSE_MS, NULL) == 0) {
        pco_loop_run_once(loop, 0);
    }
}

static LRESULT CALLBACK window_procedure(HWND window, UINT message, WPARAM wparam, LPARAM lparam)
{
    pco_loop *loop = (pco_loop *)GetWindowLongPtrW(window, GWLP_USERDATA);

    switch (message) {
    case TURN_DUE:
        turn_due(window, loop);
        return 0;
    case WM_TIMER:
        KillTimer(window, PAUSE);
        pco_loop_run_once(loop, 0);
        return 0;
    case WM_NCDESTROY:
        pco_loop_unhost(loop);
        break;
    default:
        break;
    }
    return DefWindowProcW(window, message, wparam, lparam);
}

/* A window of a class that every system has, so that there is none to register. */
HWND portico_win32_host(pco_loop *loop, pco_error *error)
{
    HWND window = CreateWindowExW(0, L"STATIC", NULL, 0, 0, 0, 0, 0, HWND_MESSAGE, NULL,
                                  GetModuleHandleW(NULL), NULL);

    if (window == NULL) {
        *error = (pco_error){.code = PCO_EUNKNOWN, .system_code = (int)GetLastError()};
        snprintf(error->message, sizeof error->message, "no window can be made: error %d",
                 error->system_code);
        return NULL;
    }
    if (pco_loop_host(loop, wake_up, window, error) != 0) {
        DestroyWindow(window);
        return NULL;
    }
    SetWindowLongPtrW(window, GWLP_USERDATA, (LONG_PTR)loop);
    SetWindowLongPtrW(window, GWLP_WNDPROC, (LONG_PTR)window_procedure);
    return window;
}
