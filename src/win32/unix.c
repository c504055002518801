/* SPDX-License-Identifier: MIT */
/* unix.c (Windows): sockets of AF_UNIX: their addresses, their files, who is at the other end. */
#include "win32/win32.h"

#include "win32/unix.h"

#include <afunix.h>
#include <stddef.h>
#include <string.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"
#include "win32/pipe.h"

/* What a file of such a socket is tagged with: IO_REPARSE_TAG_AF_UNIX, which older SDKs lack. */
#define SOCKET_TAG 0x80000023

/* ---- Addresses ---- */

int pco__address_of_path(const char *path, pco_address *address, pco_error *error)
{
    struct sockaddr_un name;
    size_t length = strlen(path);
    if (length == 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "path is empty");
    }
    if (path[0] == '@') {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "path begins with \"@\", and abstract names are Linux's alone: for a "
                              "file of that name write \"./@...\"");
    }
    if (length >= sizeof name.sun_path) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "path has %zu bytes, and the address of a UNIX socket has room for "
                              "%zu: %.60s...",
                              length, sizeof name.sun_path - 1, path);
    }
    memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, path, length);
    memset(address, 0, sizeof *address);
    memcpy(address->storage, &name, sizeof name);
    address->length = (uint32_t)sizeof name;
    return 0;
}

/* ---- Files ---- */

/* The file itself, not what a link leads to, for `access`. INVALID_HANDLE_VALUE. */
static HANDLE open_file(const pco_address *address, DWORD access)
{
    char path[PCO_ADDRESS_TEXT_SIZE];
    WCHAR *wide;
    if (pco_address_family(address) != PCO_AF_UNIX ||
        pco_address_host(address, path, sizeof path) != 0 || path[0] == '\0' ||
        pco__widen(path, &wide) != 0) {
        SetLastError(ERROR_INVALID_NAME);
        return INVALID_HANDLE_VALUE;
    }
    HANDLE file =
        CreateFileW(wide, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS, NULL);
    DWORD code = GetLastError();
    pco__free(wide);
    SetLastError(code);
    return file;
}

/* Which file it is, if it is a socket's. */
static bool identify(HANDLE file, pco__socket_file *found)
{
    FILE_ATTRIBUTE_TAG_INFO kind;
    BY_HANDLE_FILE_INFORMATION which;
    if (!GetFileInformationByHandleEx(file, FileAttributeTagInfo, &kind, sizeof kind) ||
        (kind.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0 ||
        kind.ReparseTag != SOCKET_TAG || !GetFileInformationByHandle(file, &which)) {
        return false;
    }
    found->volume = which.dwVolumeSerialNumber;
    found->number = (uint64_t)which.nFileIndexHigh << 32 | which.nFileIndexLow;
    return true;
}

bool pco__unix_find_file(pco__backend *backend, pco_socket sock, pco__socket_file *file)
{
    (void)backend;
    pco__sockaddr name;
    int length = sizeof name;
    if (getsockname((SOCKET)sock, &name.any, &length) != 0) {
        return false;
    }
    pco__sockaddr_to(&name.any, length, &file->address);
    HANDLE opened = open_file(&file->address, FILE_READ_ATTRIBUTES);
    if (opened == INVALID_HANDLE_VALUE) {
        return false;
    }
    bool found = identify(opened, file);
    CloseHandle(opened);
    return found;
}

/*
 * As DeleteFileW does it, but that the handle is that of the very file: what has its name by now
 * does not matter. 0, also where another has the name, or the system's code.
 */
static int remove_file(const pco__socket_file *file)
{
    pco__socket_file found;
    HANDLE opened = open_file(&file->address, DELETE | FILE_READ_ATTRIBUTES);
    int code = 0;
    if (opened == INVALID_HANDLE_VALUE) {
        code = (int)GetLastError();
        return code == ERROR_FILE_NOT_FOUND ? 0 : code;
    }
    if (identify(opened, &found) && found.volume == file->volume && found.number == file->number) {
        FILE_DISPOSITION_INFO gone = {.DeleteFile = TRUE};
        if (!SetFileInformationByHandle(opened, FileDispositionInfo, &gone, sizeof gone)) {
            code = (int)GetLastError();
        }
    }
    CloseHandle(opened);
    return code;
}

void pco__unix_remove_file(pco__backend *backend, const pco__socket_file *file)
{
    (void)backend;
    remove_file(file);
}

/* ---- Binding ---- */

static int report(pco_error *error, int system_code, const char *what, const pco_address *address)
{
    char path[PCO_ADDRESS_TEXT_SIZE] = "";
    pco_address_host(address, path, sizeof path);
    return pco__error_describe(error, pco__error_from_system(system_code), system_code, "%s %s",
                               what, path);
}

static int report_in_use(pco_error *error, const pco_address *address, const char *why)
{
    char path[PCO_ADDRESS_TEXT_SIZE] = "";
    pco_address_host(address, path, sizeof path);
    return pco__error_set(error, PCO_EADDRINUSE, WSAEADDRINUSE,
                          "bind %s: address already in use: %s", path, why);
}

/*
 * How long an answer is waited for, in microseconds: who has none for a client has the socket open.
 */
#define PATIENCE 50000

/* Connects a socket that does not block. 0 or the system's code; WSAEWOULDBLOCK: no answer came. */
static int connect_patiently(SOCKET sock, const pco_address *address)
{
    pco__sockaddr name = pco__sockaddr_from(address);
    int code = connect(sock, &name.any, (int)address->length) == 0 ? 0 : WSAGetLastError();
    if (code != WSAEWOULDBLOCK) {
        return code;
    }
    struct timeval patience = {.tv_usec = PATIENCE};
    fd_set connected = {.fd_count = 1, .fd_array = {sock}};
    fd_set failed = connected;
    if (select(0, NULL, &connected, &failed, &patience) <= 0) {
        return WSAEWOULDBLOCK;
    }
    return connected.fd_count != 0 ? 0 : WSAECONNREFUSED;
}

/* Asks as a client would: there are no sockets of another type here. 0: somebody is there. */
static int ask(const pco_address *address)
{
    SOCKET sock = pco__winsock_open(AF_UNIX, 0);
    if (sock == INVALID_SOCKET) {
        return WSAGetLastError();
    }
    int code = connect_patiently(sock, address);
    closesocket(sock);
    return code == WSAEWOULDBLOCK ? 0 : code;
}

/* The name is taken. Returns 0 if it is free by now. */
static int make_room(const pco_address *address, bool replace_stale, pco_error *error)
{
    pco__socket_file found = {.address = *address};
    HANDLE opened = open_file(address, FILE_READ_ATTRIBUTES);
    if (opened == INVALID_HANDLE_VALUE) {
        int system_code = (int)GetLastError();
        return system_code == ERROR_FILE_NOT_FOUND ? 0
                                                   : report(error, system_code, "look at", address);
    }
    bool is_socket = identify(opened, &found);
    CloseHandle(opened);
    if (!is_socket) {
        return report_in_use(error, address, "something is there that is no socket");
    }
    if (!replace_stale) {
        return report_in_use(error, address, "a socket's file is there");
    }
    int code = ask(address);
    if (code == 0) {
        return report_in_use(error, address, "a program has that socket open");
    }
    if (code == WSAECONNREFUSED) {
        code = remove_file(&found);
    }
    return code == 0 ? 0 : report(error, code, "remove what was left behind at", address);
}

static int bind_name(SOCKET sock, const pco_address *address)
{
    pco__sockaddr name = pco__sockaddr_from(address);
    return bind(sock, &name.any, (int)address->length) == 0 ? 0 : WSAGetLastError();
}

int pco__unix_bind(SOCKET sock, const pco_address *address, const pco__listener_options *options,
                   pco_error *error)
{
    if (options->file_mode != 0) {
        return pco__error_set(error, PCO_ENOTSUP, 0, "mode: files have none on Windows");
    }
    int system_code = bind_name(sock, address);
    if (system_code == WSAEADDRINUSE) {
        int code = make_room(address, options->replace_stale, error);
        if (code != 0) {
            return code;
        }
        system_code = bind_name(sock, address);
    }
    return system_code == 0 ? 0 : report(error, system_code, "bind", address);
}

/* ---- The other end ---- */

int pco__unix_credentials(pco__backend *backend, pco_socket sock, pco_credentials *credentials)
{
    (void)backend;
    ULONG process = 0;
    if (pco__pipe_process((HANDLE)sock, &process)) {
        credentials->process = (long long)process;
        return 0;
    }
    pco__sockaddr name;
    int length = sizeof name;
    if (getsockname((SOCKET)sock, &name.any, &length) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    if (name.any.sa_family != AF_UNIX) {
        return PCO_ENOTSUP;
    }
    DWORD got = 0;
    if (WSAIoctl((SOCKET)sock, SIO_AF_UNIX_GETPEERPID, NULL, 0, &process, sizeof process, &got,
                 NULL, NULL) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    credentials->process = (long long)process;
    return 0;
}
