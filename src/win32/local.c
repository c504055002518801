/* SPDX-License-Identifier: MIT */
/*
 * local.c (Windows): the pipe of a name, who may open it, and who serves it.
 *
 * Pipes of all users share one space of names, where whoever comes first has one: so a client looks
 * at whose pipe it has opened. A server need not look at its clients: the system has, by the pipe's
 * list of who may. That list is for the user, whoever the token would make the owner of what it
 * creates (of an administrator's, the administrators).
 */
#include "win32/win32.h"

#include <aclapi.h>
#include <sddl.h>

#include <stdio.h>

#include "support/error.h"
#include "support/local_name.h"
#include "system/local.h"
#include "system/platform.h"

/* What a pipe's name may have behind \\.\pipe\. */
#define PIPE_NAME_MOST (256 - 9)

/* The longest text of a security identifier, with its NUL. */
#define SID_TEXT_SIZE 188

/* Reading and writing, without making another instance of the pipe: that would be to serve. */
#define MAY_CONNECT "0x12019b"

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

/* ---- Who is first ---- */

/*
 * A mutex that nobody owns: that there is one is the lock, and with its last handle it goes. One
 * that may not be opened is somebody's, too: another user's, or this one's with more rights.
 */
int pco__local_lock(const pco__local_place *place, intptr_t *lock, pco_error *error)
{
    HANDLE mutex = CreateMutexA(NULL, FALSE, place->lock);
    DWORD code = GetLastError();
    *lock = PCO__NO_LOCK;
    if (mutex != NULL && code != ERROR_ALREADY_EXISTS) {
        *lock = (intptr_t)mutex;
        return 0;
    }
    if (mutex != NULL) {
        CloseHandle(mutex);
    }
    if (code == ERROR_ALREADY_EXISTS || code == ERROR_ACCESS_DENIED) {
        return PCO_EADDRINUSE;
    }
    return pco__error_describe(error, pco__error_from_system((int)code), (int)code, "lock %s",
                               place->where);
}

void pco__local_unlock(intptr_t lock)
{
    if (lock != PCO__NO_LOCK) {
        CloseHandle((HANDLE)lock);
    }
}

/* ---- Who the other end is ---- */

int pco__local_check_peer(pco_socket sock, int audience, bool is_client, pco_error *error)
{
    identity user;
    PSID owner;
    PSECURITY_DESCRIPTOR descriptor;
    if (!is_client || audience != PCO_LOCAL_USER) {
        return 0;
    }
    int code = identify(TokenUser, &user, error);
    if (code != 0) {
        return code;
    }
    DWORD failed = GetSecurityInfo((HANDLE)sock, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION,
                                   &owner, NULL, NULL, NULL, &descriptor);
    if (failed != ERROR_SUCCESS) {
        return pco__error_set(error, PCO_EACCES, (int)failed, "it is not known who serves it");
    }
    bool is_ours = EqualSid(owner, user.token.user.User.Sid);
    LocalFree(descriptor);
    return is_ours ? 0
                   : pco__error_set(error, PCO_EACCES, 0,
                                    "who serves it is not this user, but another");
}
