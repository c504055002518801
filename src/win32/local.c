/* SPDX-License-Identifier: MIT */
/*
 * local.c (Windows): the pipe of a name, who may open it, and who serves it.
 *
 * Pipes of all users share one space of names, where whoever comes first has one: so a client looks
 * at whose pipe it has opened, and a server at whose pipe is in its way. A server need not look at
 * its clients: the system has, by the pipe's list of who may. That list is for the user, whoever
 * the token would make the owner of what it creates (of an administrator's, the administrators).
 */
#include "win32/win32.h"

#include <aclapi.h>
#include <sddl.h>

#include <stdio.h>

#include "support/error.h"
#include "support/local_name.h"
#include "system/local.h"
#include "system/platform.h"
#include "win32/pipe.h"

/* What a pipe's name may have behind \\.\pipe\. */
#define PIPE_NAME_MOST (PCO__PIPE_NAME_MOST - (sizeof "\\\\.\\pipe\\" - 1))

/* The longest text of a security identifier, with its NUL. */
#define SID_TEXT_SIZE 188

/* Reading and writing, without making another instance of the pipe: that would be to serve. */
#define MAY_CONNECT "0x12019b"

/* The end of a sentence. */
#define NOT_OURS "who serves it is not this user, but another"

/* Somebody, as this process's token has them. */
typedef struct identity {
    union {
        TOKEN_USER user;
        TOKEN_PRIMARY_GROUP group;
        unsigned char room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } token;
    char text[SID_TEXT_SIZE];
} identity;

static int report(pco_error *error, const char *what)
{
    int system_code = (int)GetLastError();
    return pco__error_describe(error, pco__error_from_system(system_code), system_code, "%s", what);
}

static int read_token(TOKEN_INFORMATION_CLASS which, identity *who)
{
    HANDLE token;
    DWORD length;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) {
        return -1;
    }
    BOOL found = GetTokenInformation(token, which, &who->token, sizeof who->token, &length);
    DWORD code = GetLastError();
    CloseHandle(token);
    SetLastError(code);
    return found ? 0 : -1;
}

/* TokenUser or TokenPrimaryGroup. */
static int identify(TOKEN_INFORMATION_CLASS which, identity *who, pco_error *error)
{
    char *text;
    if (read_token(which, who) != 0) {
        return report(error, "ask who this process is");
    }
    PSID sid = which == TokenUser ? who->token.user.User.Sid : who->token.group.PrimaryGroup;
    if (!ConvertSidToStringSidA(sid, &text)) {
        return report(error, "ask who this process is");
    }
    snprintf(who->text, sizeof who->text, "%s", text);
    LocalFree(text);
    return 0;
}

/* ---- The place ---- */

/* "portico-OWNER-NAME" */
static void set_name(pco__local_place *place, const char *owner, const char *name)
{
    char fitting[PCO__LOCAL_NAME_MOST + 1];
    size_t room = PIPE_NAME_MOST - (sizeof "portico--" - 1) - strlen(owner);
    pco__local_name_fit(name, room < PCO__LOCAL_NAME_MOST ? room : PCO__LOCAL_NAME_MOST, fitting);
    snprintf(place->where, sizeof place->where, "portico-%s-%s", owner, fitting);
    snprintf(place->lock, sizeof place->lock, "Global\\%s", place->where);
}

/* The user and the system may do everything; others connect, if there are any. */
static void set_list(pco__local_place *place, const char *user, const char *others)
{
    snprintf(place->sddl, sizeof place->sddl, "O:%sD:P(A;;GA;;;%s)(A;;GA;;;SY)%s%s%s", user, user,
             others != NULL ? "(A;;" MAY_CONNECT ";;;" : "", others != NULL ? others : "",
             others != NULL ? ")" : "");
}

int pco__local_find(const char *name, int audience, bool to_serve, pco__local_place *place,
                    pco_error *error)
{
    identity user;
    identity group;
    char owner[sizeof "group-" + SID_TEXT_SIZE] = "all";
    (void)to_serve;
    memset(place, 0, sizeof *place);
    place->is_pipe = true;
    int code = identify(TokenUser, &user, error);
    if (code == 0 && audience == PCO_LOCAL_GROUP) {
        code = identify(TokenPrimaryGroup, &group, error);
    }
    if (code != 0) {
        return code;
    }
    if (audience == PCO_LOCAL_USER) {
        snprintf(owner, sizeof owner, "%s", user.text);
    } else if (audience == PCO_LOCAL_GROUP) {
        snprintf(owner, sizeof owner, "group-%s", group.text);
    }
    set_name(place, owner, name);
    set_list(place, user.text,
             audience == PCO_LOCAL_GROUP ? group.text
             : audience == PCO_LOCAL_ALL ? "WD"
                                         : NULL);
    return 0;
}

/* ---- Whose a pipe or a mutex is ---- */

/* Only an administrator can make something that is another's. PCO_EACCES: it is not this user's. */
static int check_owner(HANDLE object, pco_error *error)
{
    identity user;
    PSID owner;
    PSECURITY_DESCRIPTOR descriptor;
    int code = identify(TokenUser, &user, error);
    if (code != 0) {
        return code;
    }
    DWORD failed = GetSecurityInfo(object, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION, &owner,
                                   NULL, NULL, NULL, &descriptor);
    if (failed != ERROR_SUCCESS) {
        return pco__error_set(error, PCO_EACCES, (int)failed, "it is not known who serves it");
    }
    bool is_ours = EqualSid(owner, user.token.user.User.Sid);
    LocalFree(descriptor);
    return is_ours ? 0 : pco__error_set(error, PCO_EACCES, 0, NOT_OURS);
}

/* Who may do what with what is made at the place. LocalFree takes the descriptor back. */
static bool make_attributes(const pco__local_place *place, SECURITY_ATTRIBUTES *attributes)
{
    *attributes = (SECURITY_ATTRIBUTES){.nLength = sizeof *attributes};
    return ConvertStringSecurityDescriptorToSecurityDescriptorA(
               place->sddl, SDDL_REVISION_1, &attributes->lpSecurityDescriptor, NULL) != 0;
}

/* ---- Who is first ---- */

/*
 * A mutex that nobody owns: that there is one is the lock, and with its last handle it goes. But
 * its name, too, is for whoever comes first; so one that is another user's, as far as one may look
 * at it, or no mutex, says nothing. Then the pipe alone decides, which has one first instance.
 */
int pco__local_lock(const pco__local_place *place, intptr_t *lock, pco_error *error)
{
    SECURITY_ATTRIBUTES attributes;
    *lock = PCO__NO_LOCK;
    if (!make_attributes(place, &attributes)) {
        return report(error, "say who may see a lock");
    }
    HANDLE mutex = CreateMutexExA(&attributes, place->lock, 0, READ_CONTROL);
    DWORD code = GetLastError();
    LocalFree(attributes.lpSecurityDescriptor);
    if (mutex != NULL && code == ERROR_ALREADY_EXISTS) {
        bool is_ours = check_owner(mutex, NULL) == 0;
        CloseHandle(mutex);
        return is_ours ? PCO_EADDRINUSE : 0;
    }
    if (mutex != NULL) {
        *lock = (intptr_t)mutex;
        return 0;
    }
    return code == ERROR_ACCESS_DENIED || code == ERROR_INVALID_HANDLE
               ? 0
               : pco__error_describe(error, pco__error_from_system((int)code), (int)code, "lock %s",
                                     place->where);
}

void pco__local_unlock(intptr_t lock)
{
    if (lock != PCO__NO_LOCK) {
        CloseHandle((HANDLE)lock);
    }
}

/*
 * Looks at the pipe from a server's end, another instance: to open a client's would disturb who
 * serves it, and may have to wait for an impostor. This user's servers let this user make one.
 */
int pco__local_check_owner(const pco__local_place *place, int audience, pco_error *error)
{
    char path[sizeof place->where + sizeof "\\\\.\\pipe\\"];
    SECURITY_ATTRIBUTES attributes;
    if (audience != PCO_LOCAL_USER || !make_attributes(place, &attributes)) {
        return 0;
    }
    snprintf(path, sizeof path, "\\\\.\\pipe\\%s", place->where);
    HANDLE instance = CreateNamedPipeA(path, PCO__PIPE_OPEN_MODE, PCO__PIPE_MODE,
                                       PIPE_UNLIMITED_INSTANCES, 0, 0, 0, &attributes);
    DWORD code = GetLastError();
    LocalFree(attributes.lpSecurityDescriptor);
    if (instance != INVALID_HANDLE_VALUE) {
        int checked = check_owner(instance, error);
        CloseHandle(instance);
        return checked;
    }
    return code == ERROR_ACCESS_DENIED || code == ERROR_PIPE_BUSY
               ? pco__error_set(error, PCO_EACCES, (int)code, NOT_OURS)
               : 0;
}

/* ---- Who the other end is ---- */

int pco__local_check_peer(pco_socket sock, int audience, bool is_client, pco_error *error)
{
    return is_client && audience == PCO_LOCAL_USER ? check_owner((HANDLE)sock, error) : 0;
}
