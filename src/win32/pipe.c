/* SPDX-License-Identifier: MIT */
/*
 * pipe.c (Windows): named pipes before they are attached: a server's name and instances, who may
 * open them, a client's end.
 *
 * The hard idea is who holds the name. A pipe lives as long as one of its instances, and whoever
 * makes the first one owns it: so between a client and the next instance a server could lose its
 * name, and with it who may open what. Here one instance, the first, is made for nothing but to
 * hold it: it has had its client, this function itself, and is disconnected, a state in which
 * Windows gives it to nobody. It stays until the server is closed. Instances for clients come and
 * go beside it, and there may be none.
 */
#include "win32/pipe.h"

#include <sddl.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "support/error.h"
#include "support/memory.h"
#include "system/platform.h"

static const WCHAR prefix[] = L"\\\\.\\pipe\\";

/* A SID as text: "S-1-", an authority and 15 numbers of 10 digits, and the zero. */
#define SID_TEXT 192

/* The rights of who reads and writes: GENERIC_READ | GENERIC_WRITE, but to make instances. */
#define CLIENT_ACCESS ((FILE_GENERIC_READ | FILE_GENERIC_WRITE) & ~(DWORD)FILE_CREATE_PIPE_INSTANCE)

static int fail(pco_error *error, const char *action, const char *name, DWORD system_code)
{
    return pco__error_describe(error, pco__error_from_system((int)system_code), (int)system_code,
                               "%s pipe %s", action, name);
}

/* ---- Names ---- */

static int fill_in_name(const char *name, WCHAR *whole, pco_error *error)
{
    const size_t prefix_length = sizeof prefix / sizeof prefix[0] - 1;
    WCHAR *wide;
    int code = pco__widen(name, &wide);
    if (code != 0) {
        return pco__error_describe(error, code, 0, "pipe %s", name);
    }
    size_t length = wcslen(wide);
    bool fits = length <= PCO__PIPE_NAME_MOST - prefix_length;
    if (fits) {
        memcpy(whole, prefix, sizeof prefix);
        memcpy(whole + prefix_length, wide, (length + 1) * sizeof *wide);
    }
    pco__free(wide);
    return fits ? 0
                : pco__error_set(error, PCO_EINVAL, 0,
                                 "the pipe's name is too long: %zu characters, of which Windows "
                                 "takes %zu",
                                 length, PCO__PIPE_NAME_MOST - prefix_length);
}

/* Whether there is a pipe of that name, anybody's. Waits for a tick of the clock at most. */
static bool is_there(const WCHAR *name)
{
    return WaitNamedPipeW(name, 1) || GetLastError() == ERROR_SEM_TIMEOUT;
}

/* ---- Who may open a pipe ---- */

/* A user with the memory of the SID. */
typedef struct user {
    union {
        TOKEN_USER token; /* of which the SID is behind it */
        unsigned char memory[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    };
} user;

/* Finds the user that this process runs as. False: GetLastError tells. */
static bool find_user(user *found)
{
    HANDLE token;
    DWORD length = 0;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) {
        return false;
    }
    bool is_found = GetTokenInformation(token, TokenUser, found, sizeof *found, &length) != 0;
    DWORD code = GetLastError();
    CloseHandle(token);
    SetLastError(code);
    return is_found;
}

/* The descriptor that the text says. NULL: *system_code tells. LocalFree takes it back. */
static PSECURITY_DESCRIPTOR parse(const WCHAR *sddl, ULONG *size, DWORD *system_code)
{
    PSECURITY_DESCRIPTOR descriptor = NULL;
    bool parsed = ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1,
                                                                       &descriptor, size) != 0;
    *system_code = parsed ? 0 : GetLastError();
    return parsed ? descriptor : NULL;
}

/* "O:" and the user that this process runs as. 0 or the system's code. */
static DWORD write_owner(WCHAR text[SID_TEXT], const WCHAR **sid)
{
    user own;
    LPWSTR made;
    if (!find_user(&own) || !ConvertSidToStringSidW(own.token.User.Sid, &made)) {
        return GetLastError();
    }
    swprintf(text, SID_TEXT, L"O:%ls", made);
    LocalFree(made);
    *sid = text + 2;
    return 0;
}

static int refuse_sddl(pco_error *error, const char *what, DWORD system_code)
{
    return pco__error_set(error, PCO_EINVAL, (int)system_code, "sddl: %s", what);
}

/* Of all that the system says of a text only that it lacks memory is not about the text. */
static int fail_to_parse(pco_error *error, DWORD system_code)
{
    int code = pco__error_from_system((int)system_code);
    return code == PCO_ENOMEM || code == PCO_ENOBUFS
               ? pco__error_describe(error, code, (int)system_code, "sddl")
               : refuse_sddl(error, "not a security descriptor in SDDL", system_code);
}

/* What the caller has written, with this user as the owner if it names none. */
static int parse_given(const char *given, const WCHAR *owner, PSECURITY_DESCRIPTOR *descriptor,
                       ULONG *size, pco_error *error)
{
    WCHAR *wide;
    DWORD system_code;
    int code = pco__widen(given, &wide);
    if (code != 0) {
        return pco__error_describe(error, code, 0, "sddl");
    }
    size_t room = wcslen(owner) + wcslen(wide) + 1;
    WCHAR *whole = pco__malloc(room * sizeof *whole);
    *descriptor = whole != NULL ? parse(wide, size, &system_code) : NULL;
    PSID named = NULL;
    BOOL by_default;
    if (*descriptor != NULL && GetSecurityDescriptorOwner(*descriptor, &named, &by_default) &&
        named == NULL) {
        LocalFree(*descriptor);
        wcscpy(whole, owner);
        wcscat(whole, wide);
        *descriptor = parse(whole, size, &system_code);
    }
    pco__free(wide);
    if (whole == NULL) {
        return pco__error_describe(error, PCO_ENOMEM, 0, "sddl");
    }
    pco__free(whole);
    return *descriptor != NULL ? 0 : fail_to_parse(error, system_code);
}

/* By default: the owner, who is this user, and the system. P: nothing is inherited. */
static int parse_default(const WCHAR *owner, const WCHAR *sid, PSECURITY_DESCRIPTOR *descriptor,
                         ULONG *size, pco_error *error)
{
    WCHAR text[2 * SID_TEXT + 32];
    DWORD system_code;
    swprintf(text, sizeof text / sizeof text[0], L"%lsD:P(A;;GA;;;SY)(A;;GA;;;%ls)", owner, sid);
    *descriptor = parse(text, size, &system_code);
    return *descriptor != NULL
               ? 0
               : pco__error_describe(error, pco__error_from_system((int)system_code),
                                     (int)system_code, "say who may open a pipe");
}

static bool has_dacl(PSECURITY_DESCRIPTOR descriptor)
{
    BOOL present = FALSE;
    BOOL by_default;
    PACL dacl;
    return GetSecurityDescriptorDacl(descriptor, &present, &dacl, &by_default) && present;
}

/* Makes what instances are made of; the name is not filled in. */
static int new_pipe(const char *sddl, pco__pipe **pipe, pco_error *error)
{
    WCHAR owner[SID_TEXT];
    const WCHAR *sid;
    ULONG size = 0;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    DWORD system_code = write_owner(owner, &sid);
    if (system_code != 0) {
        return pco__error_describe(error, pco__error_from_system((int)system_code),
                                   (int)system_code, "find out which user this is");
    }
    int code = sddl != NULL ? parse_given(sddl, owner, &descriptor, &size, error)
                            : parse_default(owner, sid, &descriptor, &size, error);
    if (code == 0 && !has_dacl(descriptor)) {
        code = refuse_sddl(error, "it has no DACL, as D:(A;;GA;;;OW) is one", 0);
    }
    if (code == 0) {
        *pipe = pco__calloc(sizeof **pipe + size);
        code = *pipe != NULL ? 0 : pco__error_describe(error, PCO_ENOMEM, 0, "make a pipe");
    }
    if (code == 0) {
        memcpy((*pipe)->descriptor, descriptor, size);
    }
    LocalFree(descriptor); /* NULL is fine */
    return code;
}

/* ---- Serving ---- */

HANDLE pco__pipe_instance(const pco__pipe *pipe, bool first)
{
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes,
                                      .lpSecurityDescriptor = (DWORD *)(uintptr_t)pipe->descriptor};
    return CreateNamedPipeW(pipe->name,
                            PCO__PIPE_OPEN_MODE | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
                            PCO__PIPE_MODE, PIPE_UNLIMITED_INSTANCES, PCO__PIPE_BUFFER,
                            PCO__PIPE_BUFFER, 0, &attributes);
}

/*
 * Sees to it that no client gets this instance. One that was faster than we are gets a pipe that is
 * disconnected. 0 or the system's code.
 */
static DWORD make_deaf(HANDLE instance, const WCHAR *name)
{
    HANDLE client =
        CreateFileW(name, FILE_READ_ATTRIBUTES, 0, NULL, OPEN_EXISTING,
                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
    DWORD code = client == INVALID_HANDLE_VALUE ? GetLastError() : 0;
    if (code != 0 && code != ERROR_PIPE_BUSY) {
        return code;
    }
    if (client != INVALID_HANDLE_VALUE) {
        CloseHandle(client);
    }
    return DisconnectNamedPipe(instance) ? 0 : GetLastError();
}

/*
 * Takes the name. That it is free is looked for first as well, since Wine 8 and 10 take no notice
 * of FILE_FLAG_FIRST_PIPE_INSTANCE.
 */
static int take_name(const pco__pipe *pipe, const char *name, HANDLE *holder, pco_error *error)
{
    if (is_there(pipe->name)) {
        return pco__error_describe(error, PCO_EADDRINUSE, 0, "serve pipe %s", name);
    }
    HANDLE instance = pco__pipe_instance(pipe, true);
    if (instance == INVALID_HANDLE_VALUE) {
        DWORD system_code = GetLastError();
        if (system_code == ERROR_INVALID_NAME) {
            return pco__error_describe(error, PCO_EINVAL, (int)system_code, "serve pipe %s", name);
        }
        /* ERROR_ACCESS_DENIED: somebody was faster. Or who may make pipes is restricted. */
        return is_there(pipe->name) ? pco__error_describe(error, PCO_EADDRINUSE, (int)system_code,
                                                          "serve pipe %s", name)
                                    : fail(error, "serve", name, system_code);
    }
    DWORD system_code = make_deaf(instance, pipe->name);
    if (system_code != 0) {
        CloseHandle(instance);
        return fail(error, "open our own", name, system_code);
    }
    *holder = instance;
    return 0;
}

static int bind_pipe(const char *name, const char *sddl, pco__pipe **pipe, pco_socket *listener,
                     pco_error *error)
{
    pco__pipe *made = NULL;
    HANDLE holder = INVALID_HANDLE_VALUE;
    int code = new_pipe(sddl, &made, error);
    if (code == 0) {
        code = fill_in_name(name, made->name, error);
    }
    if (code == 0) {
        code = take_name(made, name, &holder, error);
    }
    if (code != 0) {
        pco__free(made);
        return code;
    }
    *pipe = made;
    *listener = (pco_socket)holder;
    return 0;
}

/* ---- Connecting ---- */

static int open_pipe(const char *name, pco_socket *sock, pco_error *error)
{
    WCHAR whole[PCO__PIPE_NAME_MOST + 1];
    int code = fill_in_name(name, whole, error);
    if (code != 0) {
        return code;
    }
    HANDLE opened =
        CreateFileW(whole, CLIENT_ACCESS, 0, NULL, OPEN_EXISTING,
                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
    if (opened != INVALID_HANDLE_VALUE) {
        *sock = (pco_socket)opened;
        return 0;
    }
    DWORD system_code = GetLastError();
    switch (system_code) {
    case ERROR_PIPE_BUSY:
        code = PCO_EAGAIN;
        break;
    case ERROR_INVALID_NAME:
        code = PCO_EINVAL;
        break;
    case ERROR_FILE_NOT_FOUND:
        return pco__error_set(error, PCO_ENOENT, (int)system_code,
                              "connect to pipe %s: nobody serves it", name);
    default:
        code = pco__error_from_system((int)system_code);
        break;
    }
    return pco__error_describe(error, code, (int)system_code, "connect to pipe %s", name);
}

/* What was written stays readable, and no time is spent on waiting for that. */
static void close_pipe(pco_socket sock)
{
    CloseHandle((HANDLE)sock);
}

const pco__pipes_class pco__system_pipes = {
    .bind = bind_pipe, .open = open_pipe, .close = close_pipe};

/* ---- The other end ---- */

bool pco__pipe_process(HANDLE pipe, ULONG *process)
{
    DWORD flags = 0;
    if (!GetNamedPipeInfo(pipe, &flags, NULL, NULL, NULL)) {
        return false;
    }
    return (flags & PIPE_SERVER_END) != 0 ? GetNamedPipeClientProcessId(pipe, process) != 0
                                          : GetNamedPipeServerProcessId(pipe, process) != 0;
}
