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
        return INVALID_HANDLE_VALUE;
    }
    HANDLE file =
        CreateFileW(wide, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS, NULL);
    pco__free(wide);
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

/* The handle is that of the very file: what has its name by now does not matter. */
void pco__unix_remove_file(pco__backend *backend, const pco__socket_file *file)
{
    (void)backend;
    pco__socket_file found;
    HANDLE opened = open_file(&file->address, DELETE | FILE_READ_ATTRIBUTES);
    if (opened == INVALID_HANDLE_VALUE) {
        return;
    }
    if (identify(opened, &found) && found.volume == file->volume && found.number == file->number) {
        FILE_DISPOSITION_INFO gone = {.DeleteFile = TRUE};
        SetFileInformationByHandle(opened, FileDispositionInfo, &gone, sizeof gone);
    }
    CloseHandle(opened);
}

/* ---- The other end ---- */

int pco__unix_credentials(pco__backend *backend, pco_socket sock, pco_credentials *credentials)
{
    (void)backend;
    pco__sockaddr name;
    int length = sizeof name;
    if (getsockname((SOCKET)sock, &name.any, &length) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    if (name.any.sa_family != AF_UNIX) {
        return PCO_ENOTSUP;
    }
    ULONG process = 0;
    DWORD got = 0;
    if (WSAIoctl((SOCKET)sock, SIO_AF_UNIX_GETPEERPID, NULL, 0, &process, sizeof process, &got,
                 NULL, NULL) != 0) {
        return pco__error_from_system(WSAGetLastError());
    }
    credentials->process = (long long)process;
    return 0;
}
