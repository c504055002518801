/* SPDX-License-Identifier: MIT */
/*
 * host_win32.c: a window of Windows' own that downloads over a loop which its message loop runs,
 * while message boxes are open and the window is dragged, too.
 *
 *     host_win32                                   the user types an address
 *     host_win32 --stay 127.0.0.1:8080/a.iso       it begins with this one
 *     host_win32 --modal 127.0.0.1:8080/a.iso      with a message box meanwhile
 *     host_win32 --drag 127.0.0.1:8080/a.iso       as if the user dragged the window meanwhile
 *
 * All about the network is in download.c, all about the loop in portico_win32.c. What the user does
 * comes by messages, what the network does by the listener's callbacks, all of it on this one
 * thread: so neither needs a lock, and each may call the other.
 */
#include "download.h"
#include "portico_win32.h"
#include "settings.h"

#include <commctrl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 480, HEIGHT = 320, ADDRESS_SIZE = 1024 };

/* The controls, by the numbers of their messages: Return is IDOK, and presses the button. */
enum { BUTTON = IDOK, ADDRESS = 100, BAR, LINE, ANSWER };

/* Messages of our own: what follows happens outside of the callback that asks for it. */
enum { OPEN_BOX = WM_APP, MODAL_BEGUN, DRAG };

static struct {
    settings settings;
    pco_loop *loop;
    download *download; /* NULL: none is under way */
    uint64_t received;
    HWND window;
    bool in_modal; /* the box of --modal is open, or the window is being dragged */
} program;

/* ---- Text: UTF-8 with us, UTF-16 with the system ---- */

static void set_text(int control, const char *text)
{
    wchar_t wide[DOWNLOAD_START_SIZE * 2];

    if (MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, DOWNLOAD_START_SIZE * 2) != 0) {
        SetDlgItemTextW(program.window, control, wide);
    }
}

/* Of whom a line ends by two characters. */
static void show_answer(const char *start)
{
    char lines[DOWNLOAD_START_SIZE * 2];
    size_t length = 0;

    for (; *start != '\0'; start++) {
        if (*start == '\n') {
            lines[length++] = '\r';
        }
        lines[length++] = *start;
    }
    lines[length] = '\0';
    set_text(ANSWER, lines);
}

static void get_address(char address[ADDRESS_SIZE])
{
    wchar_t wide[ADDRESS_SIZE / 3];

    GetDlgItemTextW(program.window, ADDRESS, wide, ADDRESS_SIZE / 3);
    if (WideCharToMultiByte(CP_UTF8, 0, wide, -1, address, ADDRESS_SIZE, NULL, NULL) == 0) {
        address[0] = '\0';
    }
}

/* ---- The download ---- */

static void progressed(uint64_t received, int64_t length, void *context)
{
    char line[64];

    (void)context;
    snprintf(line, sizeof line, "%.1f kB", (double)received / 1000);
    set_text(LINE, line);
    if (length > 0) {
        SendDlgItemMessageW(program.window, BAR, PBM_SETPOS,
                            (WPARAM)(received * 1000 / (uint64_t)length), 0);
    }
    report_half(program.received, received, length);
    program.received = received;
}

/* Ends the system's own message loop, of the box or of the drag: its user is this program. */
static void end_modal(void)
{
    if (program.settings.modal) {
        HWND box = GetLastActivePopup(program.window);

        PostMessageW(box, WM_COMMAND, IDOK, 0);
    } else {
        PostMessageW(program.window, WM_KEYDOWN, VK_RETURN, 1);
    }
}

static void ended(const download_end *end, void *context)
{
    char line[DOWNLOAD_LINE_SIZE];

    (void)context;
    program.download = NULL;
    download_describe(end, line);
    set_text(LINE, line);
    show_answer(end->start);
    set_text(BUTTON, "Download");
    report_done(line, program.in_modal);
    if (program.settings.address[0] != '\0' && !program.settings.stay) {
        if (program.in_modal) {
            end_modal();
        }
        PostMessageW(program.window, WM_CLOSE, 0, 0);
    }
}

static void begin(void)
{
    static const download_listener listener = {.progressed = progressed, .ended = ended};
    char address[ADDRESS_SIZE];
    pco_error error;

    get_address(address);
    program.received = 0;
    SendDlgItemMessageW(program.window, BAR, PBM_SETPOS, 0, 0);
    set_text(ANSWER, "");
    program.download = download_begin(program.loop, address, &listener, &error);
    if (program.download == NULL) {
        set_text(LINE, error.message);
        report_done(error.message, false);
        return;
    }
    set_text(BUTTON, "Cancel");
    set_text(LINE, "asking");
    if (program.settings.modal) {
        PostMessageW(program.window, OPEN_BOX, 0, 0);
    } else if (program.settings.drag) {
        PostMessageW(program.window, DRAG, 0, 0);
    }
}

/* ---- The window ---- */

static void begin_or_cancel(void)
{
    if (program.download == NULL) {
        begin();
    } else {
        download_cancel(program.download);
    }
}

/*
 * MessageBox returns when the box is closed; until then it runs a message loop of its own, in which
 * the posted message arrives.
 */
static void open_box(void)
{
    PostMessageW(program.window, MODAL_BEGUN, 0, 0);
    MessageBoxW(program.window, L"The download goes on.", L"Modal", MB_OK | MB_ICONINFORMATION);
    program.in_modal = false;
}

/* The message loop of the system's, of a box or of a drag, has begun. */
static void modal_begun(void)
{
    if (!program.in_modal && (program.settings.modal || program.settings.drag)) {
        program.in_modal = true;
        report("modal");
    }
}

static LRESULT CALLBACK window_procedure(HWND window, UINT message, WPARAM wparam, LPARAM lparam)
{
    switch (message) {
    case WM_COMMAND:
        if (LOWORD(wparam) == BUTTON && HIWORD(wparam) == BN_CLICKED) {
            begin_or_cancel();
        }
        return 0;
    case OPEN_BOX:
        open_box();
        return 0;
    case DRAG: /* as the user does who takes the window by its title: returns when it is let go */
        SendMessageW(window, WM_SYSCOMMAND, SC_MOVE | HTCAPTION, 0);
        return 0;
    case MODAL_BEGUN:
    case WM_ENTERSIZEMOVE:
        modal_begun();
        return 0;
    case WM_EXITSIZEMOVE:
        program.in_modal = false;
        return 0;
    case WM_DESTROY:
        PostQuitMessage(0);
        return 0;
    default:
        return DefWindowProcW(window, message, wparam, lparam);
    }
}

static void add_control(int number, const wchar_t *class_name, const wchar_t *text, DWORD style,
                        int x, int y, int width, int height)
{
    HWND control =
        CreateWindowExW(0, class_name, text, WS_CHILD | WS_VISIBLE | style, x, y, width, height,
                        program.window, (HMENU)(INT_PTR)number, GetModuleHandleW(NULL), NULL);

    SendMessageW(control, WM_SETFONT, (WPARAM)GetStockObject(DEFAULT_GUI_FONT), TRUE);
}

static bool make_window(void)
{
    WNDCLASSEXW window_class = {.cbSize = sizeof window_class,
                                .lpfnWndProc = window_procedure,
                                .hInstance = GetModuleHandleW(NULL),
                                .hCursor = LoadCursorW(NULL, (const wchar_t *)IDC_ARROW),
                                .hbrBackground = (HBRUSH)(COLOR_BTNFACE + 1),
                                .lpszClassName = L"host_win32"};
    RECT area = {0, 0, WIDTH, HEIGHT};
    DWORD style = WS_OVERLAPPED | WS_CAPTION | WS_SYSMENU | WS_MINIMIZEBOX;

    InitCommonControls();
    RegisterClassExW(&window_class);
    AdjustWindowRect(&area, style, FALSE);
    program.window = CreateWindowExW(0, window_class.lpszClassName, L"Portico in Win32", style, 40,
                                     40, area.right - area.left, area.bottom - area.top, NULL, NULL,
                                     window_class.hInstance, NULL);
    if (program.window == NULL) {
        return false;
    }
    add_control(ADDRESS, L"EDIT", L"", WS_BORDER | WS_TABSTOP | ES_AUTOHSCROLL, 8, 8, 370, 24);
    add_control(BUTTON, L"BUTTON", L"Download", WS_TABSTOP | BS_DEFPUSHBUTTON, 386, 8, 86, 24);
    add_control(BAR, PROGRESS_CLASSW, L"", 0, 8, 40, 464, 16);
    add_control(LINE, L"STATIC", L"An address, such as localhost:8080/page", SS_NOPREFIX, 8, 64,
                464, 16);
    add_control(ANSWER, L"EDIT", L"", WS_BORDER | WS_VSCROLL | ES_MULTILINE | ES_READONLY, 8, 88,
                464, 224);
    SendDlgItemMessageW(program.window, BAR, PBM_SETRANGE32, 0, 1000);
    set_text(ADDRESS, program.settings.address);
    ShowWindow(program.window, SW_SHOWNORMAL);
    SetFocus(GetDlgItem(program.window, ADDRESS));
    return true;
}

/* ---- The program ---- */

static void run(void)
{
    MSG message;

    report("ready");
    if (program.settings.address[0] != '\0') {
        begin();
    }
    while (GetMessageW(&message, NULL, 0, 0) > 0) {
        if (!IsDialogMessageW(program.window, &message)) {
            TranslateMessage(&message);
            DispatchMessageW(&message);
        }
    }
}

int main(int argc, char **argv)
{
    HWND host = NULL;
    pco_error error;

    (void)argc;
    settings_read(&program.settings, argv);
    if (!make_window()) {
        fprintf(stderr, "host_win32: no window can be made\n");
        return EXIT_FAILURE;
    }
    int code = pco_loop_new(NULL, &program.loop, &error);
    if (code == 0) {
        host = portico_win32_host(program.loop, &error);
    }
    if (host != NULL) {
        run();
        DestroyWindow(host);
    } else {
        fprintf(stderr, "host_win32: %s\n", error.message);
    }
    pco_loop_free(program.loop); /* a download that is under way ends */
    return host != NULL ? EXIT_SUCCESS : EXIT_FAILURE;
}
