/* SPDX-License-Identifier: MIT */
/*
 * system.c (Windows): the system's error codes, the clock, the environment and files.
 *
 * The hard part is the errors: the same failure is told as a Winsock code by a call that fails at
 * once, as a Win32 code by others, and as an NTSTATUS by an operation that fails later. The three
 * number ranges do not overlap, so one table serves all.
 */
#include "win32/win32.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

static const struct {
    int system_code;
    int error;
} error_table[] = {
    /* Winsock */
    {WSAEINTR, PCO_ECANCELED},
    {WSAEBADF, PCO_ENOTSOCK},
    {WSAEACCES, PCO_EACCES},
    {WSAEFAULT, PCO_EINVAL},
    {WSAEINVAL, PCO_EINVAL},
    {WSAEMFILE, PCO_EMFILE},
    {WSAEWOULDBLOCK, PCO_EAGAIN},
    {WSAEINPROGRESS, PCO_EBUSY},
    {WSAEALREADY, PCO_EBUSY},
    {WSAENOTSOCK, PCO_ENOTSOCK},
    {WSAEDESTADDRREQ, PCO_EINVAL},
    {WSAEMSGSIZE, PCO_EMSGSIZE},
    {WSAEPROTOTYPE, PCO_EINVAL},
    {WSAENOPROTOOPT, PCO_ENOTSUP},
    {WSAEPROTONOSUPPORT, PCO_ENOTSUP},
    {WSAESOCKTNOSUPPORT, PCO_ENOTSUP},
    {WSAEOPNOTSUPP, PCO_ENOTSUP},
    {WSAEPFNOSUPPORT, PCO_EAFNOSUPPORT},
    {WSAEAFNOSUPPORT, PCO_EAFNOSUPPORT},
    {WSAEADDRINUSE, PCO_EADDRINUSE},
    {WSAEADDRNOTAVAIL, PCO_EADDRNOTAVAIL},
    {WSAENETDOWN, PCO_ENETDOWN},
    {WSAENETUNREACH, PCO_ENETUNREACH},
    {WSAENETRESET, PCO_ECONNRESET},
    {WSAECONNABORTED, PCO_ECONNABORTED},
    {WSAECONNRESET, PCO_ECONNRESET},
    {WSAENOBUFS, PCO_ENOBUFS},
    {WSAEISCONN, PCO_EISCONN},
    {WSAENOTCONN, PCO_ENOTCONN},
    {WSAESHUTDOWN, PCO_EPIPE},
    {WSAETIMEDOUT, PCO_ETIMEDOUT},
    {WSAECONNREFUSED, PCO_ECONNREFUSED},
    {WSAEHOSTDOWN, PCO_EHOSTUNREACH},
    {WSAEHOSTUNREACH, PCO_EHOSTUNREACH},
    {WSAEPROCLIM, PCO_EMFILE},
    {WSASYSNOTREADY, PCO_ENETDOWN},
    {WSAVERNOTSUPPORTED, PCO_ENOTSUP},
    {WSAEDISCON, PCO_ECONNRESET},
    {WSAETOOMANYREFS, PCO_ENOBUFS},
    {WSAELOOP, PCO_EINVAL},
    {WSAENAMETOOLONG, PCO_EINVAL},
    {WSAEUSERS, PCO_EMFILE},
    {WSAEDQUOT, PCO_ENOBUFS},
    {WSAEREMOTE, PCO_EADDRNOTAVAIL},
    {WSANOTINITIALISED, PCO_ENETDOWN},
    {WSAENOMORE, PCO_ENONAME},
    {WSA_E_NO_MORE, PCO_ENONAME},
    {WSAEINVALIDPROCTABLE, PCO_ENETDOWN},
    {WSAEINVALIDPROVIDER, PCO_ENETDOWN},
    {WSAEPROVIDERFAILEDINIT, PCO_ENETDOWN},
    {WSASYSCALLFAILURE, PCO_ENETDOWN},
    {WSASERVICE_NOT_FOUND, PCO_ENONAME},
    {WSATYPE_NOT_FOUND, PCO_ENONAME},
    {WSAEREFUSED, PCO_ERESOLVE},
    {WSAECANCELLED, PCO_ECANCELED},
    {WSA_E_CANCELLED, PCO_ECANCELED},
    {WSAHOST_NOT_FOUND, PCO_ENONAME},
    {WSANO_DATA, PCO_ENONAME},
    {WSATRY_AGAIN, PCO_ERESOLVE},
    {WSANO_RECOVERY, PCO_ERESOLVE},

    /* Win32 */
    {ERROR_FILE_NOT_FOUND, PCO_ENOENT},
    {ERROR_PATH_NOT_FOUND, PCO_ENOENT},
    {ERROR_INVALID_DRIVE, PCO_ENOENT},
    {ERROR_BAD_NETPATH, PCO_ENOENT},
    {ERROR_BAD_NET_NAME, PCO_ENOENT},
    {ERROR_INVALID_NAME, PCO_ENOENT},
    {ERROR_BAD_PATHNAME, PCO_ENOENT},
    {ERROR_FILENAME_EXCED_RANGE, PCO_ENOENT},
    {ERROR_NOT_READY, PCO_ENOENT},
    {ERROR_ACCESS_DENIED, PCO_EACCES},
    {ERROR_SHARING_VIOLATION, PCO_EACCES},
    {ERROR_LOCK_VIOLATION, PCO_EACCES},
    {ERROR_CRC, PCO_EIO},
    {ERROR_READ_FAULT, PCO_EIO},
    {ERROR_GEN_FAILURE, PCO_EIO},
    {ERROR_IO_DEVICE, PCO_EIO},
    {ERROR_TOO_MANY_OPEN_FILES, PCO_EMFILE},
    {ERROR_INVALID_HANDLE, PCO_ENOTSOCK},
    {ERROR_NOT_ENOUGH_MEMORY, PCO_ENOMEM},
    {ERROR_OUTOFMEMORY, PCO_ENOMEM},
    {ERROR_COMMITMENT_LIMIT, PCO_ENOMEM},
    {ERROR_NO_SYSTEM_RESOURCES, PCO_ENOBUFS},
    {ERROR_WORKING_SET_QUOTA, PCO_ENOBUFS},
    {ERROR_NOT_ENOUGH_QUOTA, PCO_ENOBUFS},
    {ERROR_NOT_SUPPORTED, PCO_ENOTSUP},
    {ERROR_CALL_NOT_IMPLEMENTED, PCO_ENOTSUP},
    {ERROR_INVALID_FUNCTION, PCO_ENOTSUP},
    {ERROR_INVALID_PARAMETER, PCO_EINVAL},
    {ERROR_NO_UNICODE_TRANSLATION, PCO_EINVAL},
    {ERROR_MORE_DATA, PCO_EMSGSIZE},
    {ERROR_BUSY, PCO_EBUSY},
    {ERROR_RETRY, PCO_EAGAIN},
    {ERROR_PIPE_BUSY, PCO_EAGAIN},
    {ERROR_CONNECTION_COUNT_LIMIT, PCO_EMFILE},
    {ERROR_INCORRECT_ADDRESS, PCO_EADDRNOTAVAIL},
    {ERROR_NETWORK_ACCESS_DENIED, PCO_EACCES},
    {ERROR_NO_NETWORK, PCO_ENETDOWN},
    {ERROR_UNEXP_NET_ERR, PCO_ENETDOWN},
    {ERROR_DEV_NOT_EXIST, PCO_ENETDOWN},
    {ERROR_HOST_DOWN, PCO_EHOSTUNREACH},
    {ERROR_BROKEN_PIPE, PCO_ECONNRESET},
    {ERROR_NO_DATA, PCO_ECONNRESET},
    {ERROR_PIPE_NOT_CONNECTED, PCO_ECONNRESET},
    {ERROR_NETNAME_DELETED, PCO_ECONNRESET},
    {ERROR_GRACEFUL_DISCONNECT, PCO_ECONNRESET},
    {ERROR_SEM_TIMEOUT, PCO_ETIMEDOUT},
    {WAIT_TIMEOUT, PCO_ETIMEDOUT},
    {ERROR_OPERATION_ABORTED, PCO_ECANCELED},
    {ERROR_CONNECTION_REFUSED, PCO_ECONNREFUSED},
    {ERROR_ADDRESS_ALREADY_ASSOCIATED, PCO_EADDRINUSE},
    {ERROR_CONNECTION_INVALID, PCO_ENOTCONN},
    {ERROR_CONNECTION_ACTIVE, PCO_EISCONN},
    {ERROR_NETWORK_UNREACHABLE, PCO_ENETUNREACH},
    {ERROR_HOST_UNREACHABLE, PCO_EHOSTUNREACH},
    {ERROR_PROTOCOL_UNREACHABLE, PCO_EHOSTUNREACH},
    {ERROR_PORT_UNREACHABLE, PCO_ECONNREFUSED},
    {ERROR_REQUEST_ABORTED, PCO_ECONNABORTED},
    {ERROR_CONNECTION_ABORTED, PCO_ECONNABORTED},

    /* NTSTATUS */
    {STATUS_CANCELLED, PCO_ECANCELED},
    {STATUS_INVALID_HANDLE, PCO_ENOTSOCK},
    {STATUS_OBJECT_TYPE_MISMATCH, PCO_ENOTSOCK},
    {STATUS_INVALID_PARAMETER, PCO_EINVAL},
    {STATUS_ACCESS_VIOLATION, PCO_EINVAL},
    {STATUS_ACCESS_DENIED, PCO_EACCES},
    {STATUS_NOT_SUPPORTED, PCO_ENOTSUP},
    {STATUS_NOT_IMPLEMENTED, PCO_ENOTSUP},
    {STATUS_INVALID_DEVICE_REQUEST, PCO_ENOTSUP},
    {STATUS_PROTOCOL_NOT_SUPPORTED, PCO_ENOTSUP},
    {STATUS_DEVICE_NOT_READY, PCO_EAGAIN},
    {STATUS_CANT_WAIT, PCO_EAGAIN},
    {STATUS_DATA_NOT_ACCEPTED, PCO_EAGAIN},
    {STATUS_TOO_MANY_OPENED_FILES, PCO_EMFILE},
    {STATUS_NO_MEMORY, PCO_ENOMEM},
    {STATUS_COMMITMENT_LIMIT, PCO_ENOMEM},
    {STATUS_INSUFFICIENT_RESOURCES, PCO_ENOBUFS},
    {STATUS_WORKING_SET_QUOTA, PCO_ENOBUFS},
    {STATUS_PAGEFILE_QUOTA, PCO_ENOBUFS},
    {STATUS_QUOTA_EXCEEDED, PCO_ENOBUFS},
    {STATUS_TOO_MANY_ADDRESSES, PCO_ENOBUFS},
    {STATUS_CONNECTION_COUNT_LIMIT, PCO_EMFILE},
    {STATUS_SHARING_VIOLATION, PCO_EADDRINUSE},
    {STATUS_CONFLICTING_ADDRESSES, PCO_EADDRINUSE},
    {STATUS_INVALID_ADDRESS, PCO_EINVAL},
    {STATUS_ADDRESS_ALREADY_EXISTS, PCO_EADDRINUSE},
    {STATUS_ADDRESS_ALREADY_ASSOCIATED, PCO_EADDRINUSE},
    {STATUS_INVALID_ADDRESS_COMPONENT, PCO_EADDRNOTAVAIL},
    {STATUS_CONNECTION_REFUSED, PCO_ECONNREFUSED},
    {STATUS_REMOTE_NOT_LISTENING, PCO_ECONNREFUSED},
    {STATUS_PORT_UNREACHABLE, PCO_ECONNREFUSED},
    {STATUS_CONNECTION_RESET, PCO_ECONNRESET},
    {STATUS_CONNECTION_DISCONNECTED, PCO_ECONNRESET},
    {STATUS_REMOTE_DISCONNECT, PCO_ECONNRESET},
    {STATUS_GRACEFUL_DISCONNECT, PCO_ECONNRESET},
    {STATUS_NETWORK_NAME_DELETED, PCO_ECONNRESET},
    {STATUS_LINK_FAILED, PCO_ECONNRESET},
    {STATUS_PIPE_BROKEN, PCO_ECONNRESET},
    {STATUS_PIPE_CLOSING, PCO_ECONNRESET},
    {STATUS_NETWORK_BUSY, PCO_ENETDOWN},
    {STATUS_NO_SUCH_DEVICE, PCO_ENETDOWN},
    {STATUS_DEVICE_DOES_NOT_EXIST, PCO_ENETDOWN},
    {STATUS_DEVICE_REMOVED, PCO_ENETDOWN},
    {STATUS_INVALID_NETWORK_RESPONSE, PCO_ENETDOWN},
    {STATUS_UNEXPECTED_NETWORK_ERROR, PCO_ENETDOWN},
    {STATUS_OBJECT_NAME_NOT_FOUND, PCO_ENETDOWN},
    {STATUS_OBJECT_PATH_NOT_FOUND, PCO_ENETDOWN},
    {STATUS_CONNECTION_ABORTED, PCO_ECONNABORTED},
    {STATUS_LOCAL_DISCONNECT, PCO_ECONNABORTED},
    {STATUS_REQUEST_ABORTED, PCO_ECONNABORTED},
    {STATUS_TRANSACTION_ABORTED, PCO_ECONNABORTED},
    {STATUS_IO_TIMEOUT, PCO_ETIMEDOUT},
    {STATUS_LINK_TIMEOUT, PCO_ETIMEDOUT},
    {STATUS_TIMEOUT, PCO_ETIMEDOUT},
    {STATUS_PIPE_DISCONNECTED, PCO_EPIPE},
    {STATUS_INVALID_CONNECTION, PCO_ENOTCONN},
    {STATUS_CONNECTION_INVALID, PCO_ENOTCONN},
    {STATUS_CONNECTION_ACTIVE, PCO_EISCONN},
    {STATUS_NETWORK_UNREACHABLE, PCO_ENETUNREACH},
    {STATUS_BAD_NETWORK_PATH, PCO_ENETUNREACH},
    {STATUS_HOST_DOWN, PCO_EHOSTUNREACH},
    {STATUS_HOST_UNREACHABLE, PCO_EHOSTUNREACH},
    {STATUS_PROTOCOL_UNREACHABLE, PCO_EHOSTUNREACH},
    {STATUS_HOPLIMIT_EXCEEDED, PCO_EHOSTUNREACH},
    {STATUS_BUFFER_OVERFLOW, PCO_EMSGSIZE},
    {STATUS_INVALID_BUFFER_SIZE, PCO_EMSGSIZE},
};

int pco__error_from_system(int system_code)
{
    for (size_t i = 0; i < sizeof error_table / sizeof error_table[0]; ++i) {
        if (error_table[i].system_code == system_code) {
            return error_table[i].error;
        }
    }
    return PCO_EUNKNOWN;
}

/* ---- The clock ---- */

typedef VOID(WINAPI *read_clock)(PULONGLONG units);

/* The coarse clock: it moves with the system's tick, and every Windows has it. */
static VOID WINAPI read_ticks(PULONGLONG units)
{
    QueryUnbiasedInterruptTime(units);
}

/* The fine one of the same time: since Windows 10. Wine 8 has none. */
static BOOL CALLBACK find_clock(INIT_ONCE *once, void *parameter, void **context)
{
    (void)once;
    (void)context;
    HMODULE base = GetModuleHandleW(L"kernelbase");
    FARPROC fine = base == NULL ? NULL : GetProcAddress(base, "QueryUnbiasedInterruptTimePrecise");
    *(read_clock *)parameter = fine != NULL ? (read_clock)(void (*)(void))fine : read_ticks;
    return TRUE;
}

/*
 * What a wait counts: not the time that the machine sleeps. QueryPerformanceCounter goes on in
 * sleep, so that afterwards all timers would be due at once, or a wait be far too long.
 */
uint64_t pco__monotonic(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    static read_clock found;
    ULONGLONG units = 0; /* of 100 nanoseconds */
    InitOnceExecuteOnce(&once, find_clock, &found, NULL);
    found(&units);
    return units * 100;
}

/* Without a manifest, GetVersionEx says that this is Windows 8. */
DWORD pco__windows_build(void)
{
    typedef NTSTATUS(WINAPI * get_version)(OSVERSIONINFOW * version);
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    HMODULE system = GetModuleHandleW(L"ntdll");
    FARPROC function = system == NULL ? NULL : GetProcAddress(system, "RtlGetVersion");
    if (function == NULL || ((get_version)(void (*)(void))function)(&version) != 0) {
        return 0;
    }
    return version.dwBuildNumber;
}

/* ---- The environment and files ---- */

const char *pco__getenv(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

int pco__widen(const char *text, WCHAR **wide)
{
    int count = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    if (count <= 0) {
        return PCO_EINVAL;
    }
    WCHAR *made = pco__malloc((size_t)count * sizeof *made);
    if (made == NULL) {
        return PCO_ENOMEM;
    }
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, made, count);
    *wide = made;
    return 0;
}

/* Opens a file for reading. 0 or PCO_E*, with the system's code. */
static int open_file(const char *path, HANDLE *file, int *system_code)
{
    WCHAR *wide = NULL;
    int err = pco__widen(path, &wide);
    if (err != 0) {
        return err;
    }
    HANDLE opened =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, 0, NULL);
    if (opened == INVALID_HANDLE_VALUE) {
        *system_code = (int)GetLastError();
        err = pco__error_from_system(*system_code);
        /* A directory is told as ERROR_ACCESS_DENIED. */
        DWORD attributes = GetFileAttributesW(wide);
        if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY)) {
            err = PCO_EINVAL;
        }
    } else {
        *file = opened;
    }
    pco__free(wide);
    return err;
}

/* Reads `size` bytes, or fewer where the file has become shorter. */
static int read_all(HANDLE file, unsigned char *memory, size_t size, size_t *length,
                    int *system_code)
{
    DWORD got = 1;
    for (*length = 0; *length < size && got != 0; *length += got) {
        size_t wanted = size - *length < INT_MAX ? size - *length : INT_MAX;
        if (!ReadFile(file, memory + *length, (DWORD)wanted, &got, NULL)) {
            *system_code = (int)GetLastError();
            return PCO_EIO;
        }
    }
    return 0;
}

/* The whole of a file that is open. */
static int read_open_file(HANDLE file, size_t limit, unsigned char **data, size_t *length,
                          int *system_code)
{
    LARGE_INTEGER size;
    if (!GetFileSizeEx(file, &size)) {
        *system_code = (int)GetLastError();
        return PCO_EINVAL; /* no file: a device */
    }
    if ((uint64_t)size.QuadPart > limit) {
        return PCO_EINVAL;
    }
    size_t room = (size_t)size.QuadPart;
    unsigned char *memory = pco__malloc(room + 1); /* of an empty file, too, something */
    if (memory == NULL) {
        return PCO_ENOMEM;
    }
    int err = read_all(file, memory, room, length, system_code);
    if (err != 0) {
        SecureZeroMemory(memory, room); /* it may hold a private key */
        pco__free(memory);
        return err;
    }
    *data = memory;
    return 0;
}

int pco__read_file(const char *path, size_t limit, unsigned char **data, size_t *length,
                   pco_error *error)
{
    HANDLE file = INVALID_HANDLE_VALUE;
    int system_code = 0;
    size_t got = 0;
    int err = open_file(path, &file, &system_code);
    if (err == 0) {
        err = read_open_file(file, limit, data, &got, &system_code);
        CloseHandle(file);
        if (err == PCO_EINVAL && system_code == 0) {
            return pco__error_set(error, err, 0, "read %s: larger than %zu bytes", path, limit);
        }
    }
    if (err != 0) {
        return pco__error_describe(error, err, system_code, "read %s", path);
    }
    *length = got;
    return 0;
}

void pco__print(const char *sentence)
{
    char line[512];
    fprintf(stderr, "portico: %s\n", sentence);
    fflush(stderr);
    snprintf(line, sizeof line, "portico: %s\n", sentence);
    OutputDebugStringA(line); /* a program with windows has no stderr */
}

void pco__panic(const char *sentence)
{
    pco__print(sentence);
    abort();
}

/* ---- Files that grow ---- */

/* Who may append and not write is given the end of the file by the system, in one step. */
int pco__log_open(const char *path, intptr_t *file, pco_error *error)
{
    WCHAR *wide = NULL;
    int err = pco__widen(path, &wide);
    if (err != 0) {
        return pco__error_describe(error, err, 0, "write %s", path);
    }
    HANDLE opened = CreateFileW(wide, FILE_APPEND_DATA | SYNCHRONIZE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    DWORD system_code = GetLastError();
    pco__free(wide);
    if (opened == INVALID_HANDLE_VALUE) {
        return pco__error_describe(error, pco__error_from_system((int)system_code),
                                   (int)system_code, "write %s", path);
    }
    *file = (intptr_t)opened;
    return 0;
}

void pco__log_add(intptr_t file, const void *line, size_t length)
{
    DWORD written;
    WriteFile((HANDLE)file, line, (DWORD)length, &written, NULL);
}

void pco__log_close(intptr_t file)
{
    CloseHandle((HANDLE)file);
}
