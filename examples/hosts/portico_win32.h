/* SPDX-License-Identifier: MIT */
/*
 * portico_win32.h: a loop in the message loop of a thread with windows, whoever runs that: your own
 * GetMessage, MFC's, Qt's, GTK's, or the system's while a message box is open or a window is
 * dragged. To be taken as it is.
 *
 *     HWND host = portico_win32_host(loop, &error);
 *     ...
 *     DestroyWindow(host);
 *     pco_loop_free(loop);
 */
#ifndef PORTICO_WIN32_H
#define PORTICO_WIN32_H

/* It includes <winsock2.h> nowhere, but says that <windows.h> must not bring the old one. */
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <portico.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a hidden window, of this thread, whose messages run the loop's turns. Destroying it, before
 * the loop is freed, ends that. NULL: it cannot be made, or the loop cannot be hosted.
 */
HWND portico_win32_host(pco_loop *loop, pco_error *error);

#ifdef __cplusplus
}
#endif

#endif
