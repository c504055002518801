/* SPDX-License-Identifier: MIT */
/*
 * local.c (POSIX): where the socket of a name is, who may serve it, and who the other end is.
 *
 * The hard part is trust. Of a folder that is not ours alone nothing is believed; of /tmp only that
 * its sticky bit keeps others from taking away what is ours. Who is first is decided by a lock that
 * is held for life and whose file stays: a socket that refuses may belong to a server that is about
 * to listen, and who unlinked it would take the name from under that one.
 */
#define _GNU_SOURCE 1

#include "posix/local.h"

#include "posix/socket.h"
#include "posix/unix.h"
#include "support/error.h"
#include "support/local_name.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

#define SOCKET_SUFFIX ".socket"
#define LOCK_SUFFIX ".lock"

/* What a path may have without its NUL. */
#define PATH_MOST (sizeof((struct sockaddr_un *)NULL)->sun_path - 1)

_Static_assert(PATH_MOST < sizeof((pco__local_place *)NULL)->where, "a path fits");

static int report(pco_error *error, int system_code, const char *what, const char *path)
{
    return pco__error_describe(error, pco__error_from_system(system_code), system_code, "%s %s",
                               what, path);
}

/* ---- Folders ---- */

static int check_folder(const char *path, const struct stat *status, int audience, pco_error *error)
{
    mode_t others = audience == PCO_LOCAL_GROUP ? S_IRWXO : S_IRWXG | S_IRWXO;
    if (S_ISLNK(status->st_mode)) {
        return pco__error_set(error, PCO_EACCES, 0,
                              "%s is a link, where a folder of our own was expected", path);
    }
    if (!S_ISDIR(status->st_mode)) {
        return pco__error_set(error, PCO_EACCES, 0, "%s is not a folder", path);
    }
    if (audience == PCO_LOCAL_GROUP && status->st_gid != getegid()) {
        return pco__error_set(error, PCO_EACCES, 0, "the folder %s is group %lu's, not %lu's", path,
                              (unsigned long)status->st_gid, (unsigned long)getegid());
    }
    if (audience == PCO_LOCAL_USER && status->st_uid != geteuid()) {
        return pco__error_set(error, PCO_EACCES, 0, "the folder %s is user %lu's, not %lu's", path,
                              (unsigned long)status->st_uid, (unsigned long)geteuid());
    }
    if ((status->st_mode & others) != 0) {
        return pco__error_set(error, PCO_EACCES, 0, "the folder %s is open to others (mode %o)",
                              path, (unsigned)(status->st_mode & 07777));
    }
    return 0;
}

/* The group is the process's, whatever the folder around it says; the mode whatever the umask. */
static int make_folder(const char *path, int audience, pco_error *error)
{
    if (mkdir(path, S_IRWXU) != 0) {
        return errno == EEXIST ? 0 : report(error, errno, "make the folder", path);
    }
    mode_t mode = audience == PCO_LOCAL_GROUP ? S_IRWXU | S_IRWXG : S_IRWXU;
    if ((audience == PCO_LOCAL_GROUP && chown(path, (uid_t)-1, getegid()) != 0) ||
        chmod(path, mode) != 0) {
        return report(error, errno, "open the folder", path);
    }
    return 0;
}

int pco__local_folder(const char *path, int audience, bool make, pco_error *error)
{
    struct stat status;
    int code = make ? make_folder(path, audience, error) : 0;
    if (code != 0) {
        return code;
    }
    if (lstat(path, &status) != 0) {
        return errno == ENOENT && !make ? 0 : report(error, errno, "look at", path);
    }
    return check_folder(path, &status, audience, error);
}

bool pco__local_has_room(const char *folder)
{
    return strlen(folder) + sizeof "/" SOCKET_SUFFIX - 1 + PCO__LOCAL_NAME_LEAST_ROOM <= PATH_MOST;
}

void pco__local_place_in(const char *folder, const char *name, pco__local_place *place)
{
    size_t room = PATH_MOST - strlen(folder) - (sizeof "/" SOCKET_SUFFIX - 1);
    char fitting[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit(name, room < PCO__LOCAL_NAME_MOST ? room : PCO__LOCAL_NAME_MOST, fitting);
    snprintf(place->where, sizeof place->where, "%s/%s" SOCKET_SUFFIX, folder, fitting);
    snprintf(place->lock, sizeof place->lock, "%s/%s" LOCK_SUFFIX, folder, fitting);
}

/* ---- This user's ---- */

/* A folder of the system's for this user; a link to it will do. */
static bool is_private(const char *folder)
{
    struct stat status;
    pco_error error;
    return folder[0] == '/' && stat(folder, &status) == 0 &&
           check_folder(folder, &status, PCO_LOCAL_USER, &error) == 0;
}

/* "FOLDER/portico", if FOLDER is such a one and the path is not too long. */
static bool use(const char *folder, char *path, size_t size)
{
    size_t length = folder != NULL ? strlen(folder) : 0;
    while (length > 1 && folder[length - 1] == '/') {
        length--;
    }
    return folder != NULL && is_private(folder) && length + sizeof "/portico" <= size &&
           snprintf(path, size, "%.*s/portico", (int)length, folder) > 0 &&
           pco__local_has_room(path);
}

static void find_users_folder(char *path, size_t size)
{
    unsigned long user = (unsigned long)geteuid();
#if defined(__APPLE__)
    char own[PATH_MOST];
    size_t length = confstr(_CS_DARWIN_USER_TEMP_DIR, own, sizeof own);
    if (length > 0 && length <= sizeof own && use(own, path, size)) { /* or it was cut off */
        return;
    }
#else
    char own[64];
    snprintf(own, sizeof own, "/run/user/%lu", user);
    if (use(pco__getenv("XDG_RUNTIME_DIR"), path, size) || use(own, path, size)) {
        return;
    }
#endif
    snprintf(path, size, "/tmp/portico-%lu", user);
}

/* ---- Everybody's ---- */

/* In the abstract space of names there is no file, and no second one: the lock is not needed. */
static void find_open_place(const char *name, pco__local_place *place)
{
#if defined(__linux__)
    char fitting[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit(name, PATH_MOST - (sizeof "@portico/" - 1), fitting);
    snprintf(place->where, sizeof place->where, "@portico/%s", fitting);
#else
    char whole[sizeof "portico-all-" + PCO__LOCAL_NAME_MOST];
    snprintf(whole, sizeof whole, "portico-all-%s", name);
    pco__local_place_in("/tmp", whole, place);
    place->mode = 0666;
#endif
}

int pco__local_find(const char *name, int audience, bool to_serve, pco__local_place *place,
                    pco_error *error)
{
    char folder[PATH_MOST];
    memset(place, 0, sizeof *place);
    if (audience == PCO_LOCAL_ALL) {
        find_open_place(name, place);
        return 0;
    }
    if (audience == PCO_LOCAL_GROUP) {
        snprintf(folder, sizeof folder, "/tmp/portico-group-%lu", (unsigned long)getegid());
    } else {
        find_users_folder(folder, sizeof folder);
    }
    place->mode = audience == PCO_LOCAL_GROUP ? 0660 : 0600;
    pco__local_place_in(folder, name, place);
    return pco__local_folder(folder, audience, to_serve, error);
}

/* ---- Who is first ---- */

/*
 * What was there already keeps its mode: where others may write in the folder, the name may be one
 * more of a file that is ours and nobody else's to read (link(2)), and who opened that for all
 * would give it away. The sticky bit of a file keeps those away who clean up what is old (the
 * specification of XDG_RUNTIME_DIR); not every system lets a user set it.
 */
static int open_lock(const char *path, mode_t mode)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int descriptor = open(path, flags | O_CREAT | O_EXCL, mode);
    if (descriptor < 0 && errno == EEXIST) {
        descriptor = open(path, flags);
    } else if (descriptor >= 0 && fchmod(descriptor, mode | S_ISVTX) != 0) {
        (void)fchmod(descriptor, mode);
    }
    return pco__descriptor_raise(descriptor);
}

/*
 * A server could only say that the address is in use. But whoever has the lock knows that nobody
 * runs, and who would be told to connect then would ask for ever.
 */
static int check_way(const pco__local_place *place, pco_error *error)
{
    struct stat status;
    if (lstat(place->where, &status) != 0 || S_ISSOCK(status.st_mode)) {
        return 0;
    }
    return pco__error_set(error, PCO_EACCES, 0, "%s is in the way: it is no socket", place->where);
}

int pco__local_lock(const pco__local_place *place, intptr_t *lock, pco_error *error)
{
    *lock = PCO__NO_LOCK;
    if (place->lock[0] == '\0') {
        return 0;
    }
    int descriptor = open_lock(place->lock, (mode_t)place->mode);
    if (descriptor < 0 && errno == ELOOP) {
        return pco__error_set(error, PCO_EACCES, ELOOP, "%s is in the way: it is a link",
                              place->lock);
    }
    if (descriptor < 0) {
        return report(error, errno, "open", place->lock);
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        close(descriptor);
        return code == EWOULDBLOCK ? PCO_EADDRINUSE : report(error, code, "lock", place->lock);
    }
    int code = check_way(place, error);
    if (code != 0) {
        close(descriptor);
        return code;
    }
    *lock = descriptor;
    return 0;
}

void pco__local_unlock(intptr_t lock)
{
    if (lock != PCO__NO_LOCK) {
        close((int)lock);
    }
}

/* In a folder of the group's, or anybody's, a socket may be that of another who serves. */
int pco__local_check_owner(const pco__local_place *place, int audience, pco_error *error)
{
    struct stat status;
    if (audience != PCO_LOCAL_USER || lstat(place->where, &status) != 0 ||
        status.st_uid == geteuid()) {
        return 0;
    }
    return pco__error_set(error, PCO_EACCES, 0, "%s is in the way: it is user %lu's, not %lu's",
                          place->where, (unsigned long)status.st_uid, (unsigned long)geteuid());
}

/* ---- Who the other end is ---- */

int pco__local_check_peer(pco_socket sock, int audience, bool is_client, pco_error *error)
{
    pco_credentials peer;
    const char *other = is_client ? "who serves it" : "the client";
    long long user = (long long)geteuid();
    long long group = (long long)getegid();
    if (audience == PCO_LOCAL_ALL) {
        return 0;
    }
    int code = pco__unix_credentials(NULL, sock, &peer);
    if (code != 0) {
        return pco__error_set(error, PCO_EACCES, 0, "it is not known who %s is: %s", other,
                              pco_strerror(code));
    }
    if (audience == PCO_LOCAL_USER && peer.user != user) {
        return pco__error_set(error, PCO_EACCES, 0, "%s is user %lld, not %lld", other, peer.user,
                              user);
    }
    if (audience == PCO_LOCAL_GROUP && peer.group != group) {
        return pco__error_set(error, PCO_EACCES, 0, "%s is of group %lld, not %lld", other,
                              peer.group, group);
    }
    return 0;
}
