/* SPDX-License-Identifier: MIT */
/*
 * unix.c (POSIX): sockets of AF_UNIX: their addresses, their files, who is at the other end.
 *
 * The hard idea is whether a file is stale. To connect as a client would is no way to ask: a live
 * server hears of a client that goes again, the call may have to wait, and a full backlog looks
 * like nobody (on the BSDs it is refused, too). So a socket of another type asks: that nobody is
 * bound there (ECONNREFUSED) is told before types are compared (EPROTOTYPE), on Linux as on the
 * BSDs, and whether who is bound there listens does not count.
 */
#define _GNU_SOURCE 1

#include "posix/unix.h"

#include "posix/address.h"
#include "support/error.h"
#include "system/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <sys/types.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#if defined(__FreeBSD__)
#include <sys/ucred.h>
#endif

#include <unistd.h>

/* ---- Addresses ---- */

#if defined(__linux__)
#define HAS_ABSTRACT_NAMES 1
#else
#define HAS_ABSTRACT_NAMES 0
#endif

/* Abstract names end with the address, paths with a NUL. */
int pco__address_of_path(const char *path, pco_address *address, pco_error *error)
{
    struct sockaddr_un name;
    size_t length = strlen(path);
    bool is_abstract = path[0] == '@';
    size_t most = sizeof name.sun_path - (is_abstract ? 0 : 1);

    if (length == 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "path is empty");
    }
    if (is_abstract && !HAS_ABSTRACT_NAMES) {
        return pco__error_set(error, PCO_ENOTSUP, 0,
                              "path begins with \"@\", and abstract names are Linux's alone: for a "
                              "file of that name write \"./@...\"");
    }
    if (length > most) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "path has %zu bytes, and the address of a UNIX socket has room for "
                              "%zu: %.60s...",
                              length, most, path);
    }
    memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, path, length);
    size_t used = offsetof(struct sockaddr_un, sun_path) + length + 1;
    if (is_abstract) {
        name.sun_path[0] = '\0';
        used = offsetof(struct sockaddr_un, sun_path) + (length > 1 ? length : 0);
    }
    memset(address, 0, sizeof *address);
    memcpy(address->storage, &name, used);
    address->length = (uint32_t)used;
    return 0;
}

/* The path of its file, NULL: it has none. `text` is room for it. */
static const char *path_of(const pco_address *address, char *text, size_t size)
{
    bool is_file = pco_address_family(address) == PCO_AF_UNIX &&
                   address->length > offsetof(struct sockaddr_un, sun_path) &&
                   ((const char *)address->storage)[offsetof(struct sockaddr_un, sun_path)] != 0 &&
                   pco_address_host(address, text, size) == 0;
    return is_file ? text : NULL;
}

/* ---- Files ---- */

#define ALL_BITS 07777 /* of a mode */

static bool is_same_file(const struct stat *status, const pco__socket_file *file)
{
    return S_ISSOCK(status->st_mode) && (uint64_t)status->st_dev == file->volume &&
           (uint64_t)status->st_ino == file->number;
}

/* What is at an address, if it is a socket's file. */
static bool look_at(const pco_address *address, pco__socket_file *file)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    const char *path = path_of(address, text, sizeof text);
    struct stat status;

    if (path == NULL || lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    *file = (pco__socket_file){
        .address = *address, .volume = (uint64_t)status.st_dev, .number = (uint64_t)status.st_ino};
    return true;
}

bool pco__unix_find_file(pco__backend *backend, pco_socket sock, pco__socket_file *file)
{
    pco_address name;

    (void)backend;
    return pco__socket_sockname(sock, &name) == 0 && look_at(&name, file);
}

/* 0, or errno. There is nothing to do where another has the name. */
static int remove_file(const pco__socket_file *file)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    const char *path = path_of(&file->address, text, sizeof text);
    struct stat status;

    if (path == NULL || lstat(path, &status) != 0 || !is_same_file(&status, file)) {
        return 0;
    }
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

void pco__unix_remove_file(pco__backend *backend, const pco__socket_file *file)
{
    (void)backend;
    remove_file(file);
}

/* ---- Binding ---- */

static int report(pco_error *error, int system_code, const char *what, const pco_address *address)
{
    return pco__error_describe(error, pco__error_from_system(system_code), system_code, "%s %s",
                               what, pco__place_of(address).text);
}

/* What is in the way, for a sentence. */
static int report_in_use(pco_error *error, const pco_address *address, const char *why)
{
    return pco__error_set(error, PCO_EADDRINUSE, EADDRINUSE, "bind %s: address already in use%s%s",
                          pco__place_of(address).text, why[0] != '\0' ? ": " : "", why);
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder is there"
           : S_ISLNK(mode)  ? "a symbolic link is there"
           : S_ISREG(mode)  ? "a file is there that is no socket"
           : S_ISFIFO(mode) ? "a pipe is there"
                            : "something is there that is no socket";
}

/* Asks whether a socket is bound to it. 0: one is; or errno, ECONNREFUSED: none. Never waits. */
static int ask(const pco_address *address)
{
    int code = 0;
#if defined(SOCK_CLOEXEC)
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
    int descriptor = socket(AF_UNIX, SOCK_DGRAM, 0);
#endif

    if (descriptor < 0) {
        return errno;
    }
    if (connect(descriptor, (const struct sockaddr *)address->storage,
                (socklen_t)address->length) != 0 &&
        errno != EPROTOTYPE) {
        code = errno;
    }
    close(descriptor);
    return code;
}

/*
 * Removes what nobody is bound to, unless that is not what has the name any more. A number alone
 * does not tell: many file systems give the one that was freed last to the next file. 0 or errno.
 */
static int remove_stale(const char *path, const struct stat *stale)
{
    struct stat status;

    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? 0 : errno;
    }
    if (status.st_dev != stale->st_dev || status.st_ino != stale->st_ino ||
        status.st_ctime != stale->st_ctime || !S_ISSOCK(status.st_mode)) {
        return 0;
    }
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

/* The name is taken. Returns 0 if it is free by now, or another's. */
static int make_room(const pco_address *address, bool replace_stale, pco_error *error)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    const char *path = path_of(address, text, sizeof text);
    struct stat status;

    if (path == NULL) {
        return report_in_use(error, address, "");
    }
    if (lstat(path, &status) != 0) {
        return errno == ENOENT ? 0 : report(error, errno, "look at", address);
    }
    if (!S_ISSOCK(status.st_mode)) {
        return report_in_use(error, address, kind_of(status.st_mode));
    }
    if (!replace_stale) {
        return report_in_use(error, address, "a socket's file is there");
    }
    int code = ask(address);
    if (code == 0) {
        return report_in_use(error, address, "a program has that socket open");
    }
    if (code == EACCES || code == EPERM) {
        return report_in_use(error, address,
                             "a socket's file is there, and there is no permission to ask whether "
                             "it is still in use");
    }
    if (code == ECONNREFUSED) {
        code = remove_stale(path, &status);
    } else if (code == ENOENT) {
        code = 0;
    }
    return code == 0 ? 0 : report(error, code, "remove what was left behind at", address);
}

static int bind_name(int descriptor, const pco_address *address)
{
    int status =
        bind(descriptor, (const struct sockaddr *)address->storage, (socklen_t)address->length);
    return status == 0 ? 0 : errno;
}

/* ---- The mode ---- */

#if defined(__linux__)

/* By the handle itself since Linux 6.6, or by its name where /proc is mounted. 0 or errno. */
static int set_mode_of(int handle, mode_t mode)
{
    char name[40];

    if (fchmodat(handle, "", mode, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    snprintf(name, sizeof name, "/proc/self/fd/%d", handle);
    if (chmod(name, mode) == 0) {
        return 0;
    }
    return errno == ENOENT ? EOPNOTSUPP : errno;
}

/*
 * A file is bound with the mode of its socket, less what the umask takes, so never for more than
 * asked. That is given back through a handle: who may write in the folder may have put a link in
 * the file's place, or one more name of another file of ours. 0 or errno.
 */
static int give_back(const char *path, mode_t mode)
{
    struct stat status;
    int handle = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (handle < 0) {
        return errno;
    }
    int code = fstat(handle, &status) == 0 ? 0 : errno;
    if (code == 0 && (!S_ISSOCK(status.st_mode) || status.st_nlink != 1)) {
        code = EACCES;
    }
    if (code == 0 && (status.st_mode & ALL_BITS) != mode) {
        code = set_mode_of(handle, mode);
    }
    close(handle);
    return code;
}

static void prepare_mode(int descriptor, int mode)
{
    if (mode != 0) {
        (void)fchmod(descriptor, (mode_t)mode); /* or else give_back() takes away */
    }
}

#else

/* Of the very file: who may write in the folder may have put a link in its place. 0 or errno. */
static int give_back(const char *path, mode_t mode)
{
    return fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

/* A socket that is not bound has no mode. Nobody can connect before it listens. */
static void prepare_mode(int descriptor, int mode)
{
    (void)descriptor;
    (void)mode;
}

#endif

static int set_mode(const pco_address *address, int mode, pco_error *error)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    const char *path = path_of(address, text, sizeof text);

    if (mode == 0 || path == NULL) {
        return 0;
    }
    int code = give_back(path, (mode_t)mode);
    if (code == EOPNOTSUPP) {
        return pco__error_set(error, PCO_ENOTSUP, code,
                              "set the mode of %s: what the umask takes away is given back by way "
                              "of /proc, which is not mounted",
                              pco__place_of(address).text);
    }
    return code == 0 ? 0 : report(error, code, "set the mode of", address);
}

/* ---- The whole of it ---- */

int pco__unix_bind(int descriptor, const pco_address *address, const pco__listener_options *options,
                   pco_error *error)
{
    pco__socket_file file;

    prepare_mode(descriptor, options->file_mode);
    int system_code = bind_name(descriptor, address);
    if (system_code == EADDRINUSE) {
        int code = make_room(address, options->replace_stale, error);
        if (code != 0) {
            return code;
        }
        system_code = bind_name(descriptor, address);
    }
    if (system_code != 0) {
        return report(error, system_code, "bind", address);
    }
    bool is_file = pco__unix_find_file(NULL, descriptor, &file);
    int code = set_mode(address, options->file_mode, error);
    if (code != 0 && is_file) {
        remove_file(&file);
    }
    return code;
}

/* ---- The other end ---- */

static int ask_system(int descriptor, pco_credentials *credentials)
{
#if defined(__linux__)
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
        return errno;
    }
    credentials->user = peer.uid == (uid_t)-1 ? -1 : (long long)peer.uid;
    credentials->group = peer.gid == (gid_t)-1 ? -1 : (long long)peer.gid;
    credentials->process = peer.pid > 0 ? peer.pid : -1; /* 0: of another namespace */
#else
    uid_t user;
    gid_t group;
    if (getpeereid(descriptor, &user, &group) != 0) {
        return errno;
    }
    credentials->user = (long long)user;
    credentials->group = (long long)group;
#endif
    return 0;
}

/* Where there is more to know than getpeereid says: the process. */
static void ask_process(int descriptor, pco_credentials *credentials)
{
#if defined(__APPLE__)
    pid_t process = -1;
    socklen_t length = sizeof process;
    if (getsockopt(descriptor, SOL_LOCAL, LOCAL_PEERPID, &process, &length) == 0) {
        credentials->process = process;
    }
#elif defined(__OpenBSD__)
    struct sockpeercred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
        credentials->process = peer.pid;
    }
#elif defined(__NetBSD__)
    struct unpcbid peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, 0, LOCAL_PEEREID, &peer, &length) == 0) {
        credentials->process = peer.unp_pid;
    }
#elif defined(__FreeBSD__) && __FreeBSD__ >= 13
    struct xucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(descriptor, SOL_LOCAL, LOCAL_PEERCRED, &peer, &length) == 0) {
        credentials->process = peer.cr_pid;
    }
#else
    (void)descriptor;
    (void)credentials;
#endif
}

int pco__unix_credentials(pco__backend *backend, pco_socket sock, pco_credentials *credentials)
{
    pco_address name;

    (void)backend;
    int code = pco__socket_sockname(sock, &name);
    if (code != 0) {
        return code;
    }
    if (pco_address_family(&name) != PCO_AF_UNIX) {
        return PCO_ENOTSUP;
    }
    int system_code = ask_system((int)sock, credentials);
    if (system_code != 0) {
        return pco__error_from_system(system_code);
    }
    ask_process((int)sock, credentials);
    return 0;
}
