/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_unix_server: which paths it takes, what is in the way and what makes room, and that
 * of files only its own is ever removed.
 * Method: real sockets and files, in a folder of each test's own; a second user where root runs it.
 */
#define _GNU_SOURCE 1

#include "unix_world.h"

#include <errno.h>
#include <fcntl.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/mount.h>
#endif
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static pco_unix_options file_options(void)
{
    return (pco_unix_options){.size = sizeof(pco_unix_options)};
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 07777;
}

/* ---- Paths ---- */

static void a_server_is_found_by_its_path_and_the_file_goes_with_it(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    assert_true(exists(there.path));
    outcome client = unix_connect_well(there.path);
    unix_talk(&client);
    unix_part(&client);
    assert_false(exists(there.path));
}

static void an_empty_path_is_refused(void **state)
{
    (void)state;
    unix_assert_path_refused("", PCO_EINVAL, "path is empty");
}

static void a_path_too_long_is_refused_with_how_much_there_is_room_for(void **state)
{
    (void)state;
    char longest[400];
    size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    char sentence[60];
    snprintf(longest, sizeof longest, "%s/%0250d", there.folder, 7);
    snprintf(sentence, sizeof sentence, "path has %zu bytes, and", strlen(longest));
    unix_assert_path_refused(longest, PCO_EINVAL, sentence);
    snprintf(sentence, sizeof sentence, "room for %zu:", room);
    longest[room + 1] = '\0';
    unix_assert_path_refused(longest, PCO_EINVAL, sentence);
    longest[room] = '\0';
    unix_serve(longest, NULL);
    outcome client = unix_connect_well(longest);
    unix_part(&client);
    assert_false(exists(longest));
}

static void a_folder_that_is_missing_or_is_none_is_told(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/missing/socket", there.folder);
    unix_assert_path_refused(path, PCO_ENOENT, "missing/socket");
    leave_behind(there.path);
    snprintf(path, sizeof path, "%s/socket", there.path);
    unix_assert_path_refused(path, PCO_ENOENT, "socket/socket");
}

static void an_at_sign_within_a_path_is_a_character_like_others(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/a@b", there.folder);
    unix_serve(path, NULL);
    assert_true(exists(path));
    outcome client = unix_connect_well(path);
    unix_part(&client);
    assert_int_equal(chdir(there.folder), 0);
    unix_serve("./@x", NULL);
    assert_true(exists("./@x"));
    end_server();
    assert_false(exists("./@x"));
    assert_int_equal(chdir("/"), 0);
}

/* ---- What is in the way ---- */

static void what_is_no_socket_stays_and_is_named(void **state)
{
    (void)state;
    int file = open(there.path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a file is there that is no socket");
    assert_int_equal(unlink(there.path), 0);
    assert_int_equal(mkdir(there.path, 0700), 0);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a folder is there");
    assert_int_equal(rmdir(there.path), 0);
    assert_int_equal(mkfifo(there.path, 0600), 0);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a pipe is there");
    assert_int_equal(unlink(there.path), 0);
}

/* One that leads to a stale socket, or nowhere, makes no room either. */
static void a_link_is_not_followed(void **state)
{
    (void)state;
    char target[128];
    snprintf(target, sizeof target, "%s/target", there.folder);
    assert_int_equal(symlink(target, there.path), 0);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a symbolic link is there");
    leave_behind(target);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a symbolic link is there");
    assert_true(exists(there.path));
    assert_true(exists(target));
}

static void what_a_crash_has_left_makes_room(void **state)
{
    (void)state;
    leave_behind(there.path);
    unix_serve(there.path, NULL);
    outcome client = unix_connect_well(there.path);
    unix_part(&client);
    assert_false(exists(there.path));
}

static void what_a_crash_has_left_stays_if_asked(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_unix_options file = file_options();
    file.replace_stale = PCO_OFF;
    leave_behind(there.path);
    unix_assert_refused(there.path, &options, &file, PCO_EADDRINUSE, "a socket's file is there");
    assert_true(exists(there.path));
}

static void a_live_servers_socket_stays_and_the_server_hears_nothing(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a program has that socket open");
    let_pass(5);
    assert_int_equal(counters_of(at.server).accepted, 0);
    outcome client = unix_connect_well(there.path);
    unix_part(&client);
}

/* None of them would answer who connects. */
static void a_socket_that_is_open_stays_whatever_it_does(void **state)
{
    (void)state;
    int bound = bound_raw(there.path, SOCK_STREAM);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a program has that socket open");
    assert_int_equal(listen(bound, 1), 0);
    int clients[8];
    int count = 0;
    while (count < 8 && (clients[count] = connected_raw(there.path)) >= 0) {
        count++;
    }
    assert_in_range(count, 1, 7); /* the backlog is full */
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a program has that socket open");
    while (count > 0) {
        close(clients[--count]);
    }
    close(bound);
    unlink(there.path);
    bound = bound_raw(there.path, SOCK_DGRAM);
    unix_assert_path_refused(there.path, PCO_EADDRINUSE, "a program has that socket open");
    close(bound);
    assert_true(exists(there.path));
}

/* ---- Which file is removed ---- */

static void a_file_that_took_the_place_of_ours_stays(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    assert_int_equal(unlink(there.path), 0);
    int other = bound_raw(there.path, SOCK_STREAM);
    end_server();
    assert_true(exists(there.path));
    close(other);
    assert_int_equal(unlink(there.path), 0);
    unix_serve(there.path, NULL);
    assert_int_equal(unlink(there.path), 0);
    assert_int_equal(symlink("nowhere", there.path), 0);
    end_server();
    assert_true(exists(there.path));
}

static void a_file_that_is_gone_already_is_no_trouble(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    assert_int_equal(unlink(there.path), 0);
    end_server();
    assert_int_equal(at.reports, 0);
}

static void without_cleanup_socket_the_file_stays_and_the_next_server_takes_it(void **state)
{
    (void)state;
    pco_unix_options file = file_options();
    file.cleanup_socket = PCO_OFF;
    unix_serve(there.path, &file);
    end_server();
    assert_true(exists(there.path));
    unix_serve(there.path, NULL);
    end_server();
    assert_false(exists(there.path));
}

static void the_file_goes_when_the_loop_is_freed(void **state)
{
    (void)state;
    unix_serve(there.path, NULL);
    world_free_loop();
    assert_false(exists(there.path));
}

/* ---- The mode ---- */

static void the_mode_is_set_whatever_the_umask(void **state)
{
    (void)state;
    static const int modes[] = {0600, 0666, 0777, 0200};
    pco_unix_options file = file_options();
    mode_t before = umask(0077);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        file.mode = modes[i];
        unix_serve(there.path, &file);
        assert_int_equal(mode_of(there.path), modes[i]);
        end_server();
    }
    unix_serve(there.path, NULL);
    assert_int_equal(mode_of(there.path), 0700);
    assert_int_equal(umask(before), 0077);
}

#if defined(__linux__)

static int serve_with_mode(mode_t mask, int mode, pco_error *error)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = unix_server();
    pco_unix_options file = file_options();
    file.mode = mode;
    umask(mask);
    int code = pco_loop_new(NULL, &loop, error);
    if (code == 0) {
        code = pco_loop_create_unix_server(loop, there.path, &options, &file, &server, error);
    }
    if (code == 0 && mode_of(there.path) != (mode_t)mode) {
        code = 1;
    }
    pco_server_free(server);
    pco_loop_free(loop);
    return code;
}

#define CANNOT 77

/* 0: all well. The umask stands in the way of the last mode alone. */
static int serve_without_proc(void)
{
    static const struct {
        mode_t mask;
        int mode;
    } given[] = {{0, 0600}, {022, 0600}, {077, 0600}, {0, 0666}, {022, 0200}};
    pco_error error = {0};
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0) {
        return CANNOT;
    }
    for (int i = 0; i < (int)(sizeof given / sizeof given[0]); i++) {
        if (serve_with_mode(given[i].mask, given[i].mode, &error) != 0) {
            return i + 1;
        }
    }
    int code = serve_with_mode(022, 0660, &error);
    bool is_said = code == PCO_ENOTSUP && strstr(error.message, "/proc") != NULL;
    return (code == 0 || is_said) && !exists(there.path) ? 0 : 10;
}

/* So the file had it when it was made: what comes afterwards takes /proc (before Linux 6.6). */
static void a_mode_that_the_umask_leaves_takes_no_proc(void **state)
{
    (void)state;
    int found = as_child(serve_without_proc);
    if (found == CANNOT) {
        print_message("skipped: no namespace of mounts\n");
        skip();
    }
    assert_int_equal(found, 0);
}

#endif

static void until_the_server_listens_clients_are_refused(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_unix_options file = file_options();
    file.mode = 0600;
    options.start_serving = PCO_OFF;
    assert_int_equal(
        pco_loop_create_unix_server(at.loop, there.path, &options, &file, &at.server, NULL), 0);
    assert_int_equal(mode_of(there.path), 0600);
    assert_int_equal(unix_connect(there.path).error.code, PCO_ECONNREFUSED);
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    outcome client = unix_connect_well(there.path);
    unix_part(&client);
}

/* ---- Abstract names ---- */

static void an_abstract_name_leaves_no_file(void **state)
{
    (void)state;
#if defined(__linux__)
    char name[100];
    pco_address address;
    char text[PCO_ADDRESS_TEXT_SIZE];
    snprintf(name, sizeof name, "@%s", there.folder);
    unix_serve(name, NULL);
    assert_int_equal(pco_server_get_sockname(at.server, 0, &address), 0);
    assert_int_equal(pco_address_host(&address, text, sizeof text), 0);
    assert_string_equal(text, name);
    unix_assert_path_refused(name, PCO_EADDRINUSE, name);
    assert_false(exists(name));
    outcome client = unix_connect_well(name);
    unix_talk(&client);
    unix_part(&client);
    assert_int_equal(unix_connect(name).error.code, PCO_ECONNREFUSED);
#else
    unix_assert_path_refused("@name", PCO_ENOTSUP, "Linux's alone");
#endif
}

#if defined(__linux__)
static void an_at_sign_alone_is_a_free_name(void **state)
{
    (void)state;
    pco_address address;
    char text[PCO_ADDRESS_TEXT_SIZE];
    unix_serve("@", NULL);
    assert_int_equal(pco_server_get_sockname(at.server, 0, &address), 0);
    assert_int_equal(pco_address_host(&address, text, sizeof text), 0);
    assert_true(text[0] == '@' && strlen(text) > 1);
    outcome client = unix_connect_well(text);
    unix_part(&client);
}

static void an_abstract_name_may_be_a_byte_longer_than_a_path(void **state)
{
    (void)state;
    char name[110];
    memset(name, 'x', sizeof name);
    memcpy(name, "@", 1);
    memcpy(name + 1, there.folder, strlen(there.folder));
    name[109] = '\0';
    unix_assert_path_refused(name, PCO_EINVAL, "room for 108");
    name[108] = '\0';
    unix_serve(name, NULL);
    outcome client = unix_connect_well(name);
    unix_part(&client);
}
#endif

/* ---- A socket of the caller's ---- */

static void a_sock_is_served_and_its_file_removed(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    options.sock = bound_raw(there.path, SOCK_STREAM);
    assert_int_equal(pco_loop_create_unix_server(at.loop, NULL, &options, NULL, &at.server, NULL),
                     0);
    outcome client = unix_connect_well(there.path);
    unix_talk(&client);
    unix_part(&client);
    assert_false(exists(there.path));
}

static void the_file_of_a_sock_stays_without_cleanup_socket_and_with_create_server(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_unix_options file = file_options();
    file.cleanup_socket = PCO_OFF;
    options.sock = bound_raw(there.path, SOCK_STREAM);
    assert_int_equal(pco_loop_create_unix_server(at.loop, NULL, &options, &file, &at.server, NULL),
                     0);
    end_server();
    assert_true(exists(there.path));
    unlink(there.path);
    options.sock = bound_raw(there.path, SOCK_STREAM);
    assert_int_equal(pco_loop_create_server(at.loop, &options, &at.server, NULL), 0);
    outcome client = unix_connect_well(there.path);
    unix_part(&client);
    assert_true(exists(there.path));
}

static void a_sock_that_is_refused_stays_the_callers_with_its_file(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    int bound = bound_raw(there.path, SOCK_STREAM);
    options.sock = bound;
    options.backlog = -1;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "backlog");
    options.backlog = 0;
    unix_assert_refused(there.path, &options, NULL, PCO_EINVAL,
                        "path and sock cannot be given at the same time");
    assert_int_equal(listen(bound, 1), 0);
    assert_true(exists(there.path));
    close(bound);
}

static void a_sock_of_another_kind_is_refused(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    options.sock = sock;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "a UNIX socket was expected");
    close(sock);
    unix_assert_refused(NULL, &options, NULL, PCO_ENOTSOCK, "sock");
    sock = bound_raw(there.path, SOCK_DGRAM);
    options.sock = sock;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "a stream socket was expected");
    assert_true(exists(there.path));
    close(sock);
}

static void a_sock_that_is_bound_to_nothing_is_refused(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_error error = {0};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    options.sock = sock;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "sock is bound to nothing");
    assert_int_equal(pco_loop_create_server(at.loop, &options, &at.server, &error), PCO_EINVAL);
    assert_string_equal(error.message, "listen: sock is bound to nothing");
    close(sock);
}

/* ---- Another user ---- */

/* A server on the path, for a process of its own: 0, or the code as a number above 0. */
static int try_to_serve(const char *word)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_error error = {0};
    pco_server_options options = unix_server();
    if (pco_loop_new(NULL, &loop, NULL) != 0) {
        return 98;
    }
    int code = pco_loop_create_unix_server(loop, there.path, &options, NULL, &server, &error);
    pco_server_free(server);
    pco_loop_free(loop);
    return code == 0 || strstr(error.message, word) != NULL ? -code : 97;
}

static int serve_where_there_is_no_permission(void)
{
    return try_to_serve("bind ");
}

static int serve_where_asking_is_forbidden(void)
{
    return try_to_serve("no permission to ask");
}

static int serve_where_removing_is_forbidden(void)
{
    return try_to_serve("remove what was left behind at ");
}

static void a_folder_that_may_not_be_written_is_told(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(chmod(there.folder, 0755), 0);
    assert_int_equal(as_nobody(serve_where_there_is_no_permission), -PCO_EACCES);
    assert_false(exists(there.path));
}

static void a_leftover_of_another_user_stays_where_it_cannot_be_asked_or_removed(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(chmod(there.folder, 0777), 0);
    leave_behind(there.path);
    assert_int_equal(chmod(there.path, 0755), 0);
    assert_int_equal(as_nobody(serve_where_asking_is_forbidden), -PCO_EADDRINUSE);
    assert_true(exists(there.path));
    assert_int_equal(chmod(there.path, 0777), 0);
    assert_int_equal(chmod(there.folder, 01777), 0);
    assert_int_equal(as_nobody(serve_where_removing_is_forbidden), -PCO_EACCES);
    assert_true(exists(there.path));
}

/* ---- Options ---- */

static int take_any(pco_socket sock, int family, void *context)
{
    int *seen = context;
    (void)sock;
    *seen = family;
    return 0;
}

static int refuse_any(pco_socket sock, int family, void *context)
{
    (void)sock;
    (void)family;
    (void)context;
    return PCO_EACCES;
}

static void prepare_socket_is_called_before_it_is_bound(void **state)
{
    (void)state;
    int family = 0;
    pco_server_options options = unix_server();
    options.context = &family;
    options.prepare_socket = refuse_any;
    unix_assert_refused(there.path, &options, NULL, PCO_EACCES, "prepare_socket");
    assert_false(exists(there.path));
    options.prepare_socket = take_any;
    assert_int_equal(
        pco_loop_create_unix_server(at.loop, there.path, &options, NULL, &at.server, NULL), 0);
    assert_int_equal(family, PCO_AF_UNIX);
}

static void options_of_a_file_without_sense_are_refused(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_unix_options file = file_options();
    file.mode = 01777;
    unix_assert_refused(there.path, &options, &file, PCO_EINVAL, "mode is 01777");
    file.mode = -1;
    unix_assert_refused(there.path, &options, &file, PCO_EINVAL, "mode is -01,");
    file.mode = 0600;
    unix_assert_refused("@name", &options, &file, PCO_EINVAL, "nothing protects an abstract name");
    file = file_options();
    file.cleanup_socket = 7;
    unix_assert_refused(there.path, &options, &file, PCO_EINVAL, "cleanup_socket");
    file = file_options();
    file.replace_stale = 7;
    unix_assert_refused(there.path, &options, &file, PCO_EINVAL, "replace_stale");
    file = file_options();
    file.size = 3;
    unix_assert_refused(there.path, &options, &file, PCO_EINVAL, "pco_unix_options.size");
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "path or sock is required");
    options.has_sock = 7;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "has_sock is 7");
    unix_assert_refused(there.path, &options, NULL, PCO_EINVAL, "has_sock is 7");
    options.has_sock = PCO_OFF;
    options.sock = 77;
    unix_assert_refused(NULL, &options, NULL, PCO_EINVAL, "has_sock is PCO_OFF");
    options = unix_server();
    options.sock = bound_raw(there.path, SOCK_STREAM);
    file = file_options();
    file.mode = 0600;
    unix_assert_refused(NULL, &options, &file, PCO_EINVAL, "sock is bound already");
    file = file_options();
    file.replace_stale = PCO_ON;
    unix_assert_refused(NULL, &options, &file, PCO_EINVAL, "replace_stale");
    close((int)options.sock);
}

/* ---- Trouble ---- */

static void want_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    unsigned sockets = count_sockets();
    int code = PCO_ENOMEM;
    for (size_t nth = 1; code == PCO_ENOMEM; nth++) {
        assert_in_range(nth, 1, 100);
        memory_fail(nth, false);
        code = pco_loop_create_unix_server(at.loop, there.path, &options, NULL, &at.server, NULL);
        memory_fail(0, false);
        assert_true(code == 0 || !exists(there.path));
        assert_true(code == 0 || count_sockets() == sockets);
    }
    assert_int_equal(code, 0);
}

static void want_of_descriptors_leaves_the_leftover_as_it_is(void **state)
{
    (void)state;
    pco_server_options options = unix_server();
    pco_error error = {0};
    struct rlimit before;
    int code = PCO_EMFILE;
    leave_behind(there.path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = dup(0);
    close(lowest);
    for (int free = 0; code == PCO_EMFILE; free++) {
        struct rlimit tight = {.rlim_cur = (rlim_t)(lowest + free), .rlim_max = before.rlim_max};
        assert_in_range(free, 0, 9);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        code = pco_loop_create_unix_server(at.loop, there.path, &options, NULL, &at.server, &error);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_true(exists(there.path));
        assert_true(code == 0 || strstr(error.message, "too many open files") != NULL);
    }
    assert_int_equal(code, 0);
    outcome client = unix_connect_well(there.path);
    unix_part(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIX_TEST(a_server_is_found_by_its_path_and_the_file_goes_with_it),
        UNIX_TEST(an_empty_path_is_refused),
        UNIX_TEST(a_path_too_long_is_refused_with_how_much_there_is_room_for),
        UNIX_TEST(a_folder_that_is_missing_or_is_none_is_told),
        UNIX_TEST(an_at_sign_within_a_path_is_a_character_like_others),
        UNIX_TEST(what_is_no_socket_stays_and_is_named),
        UNIX_TEST(a_link_is_not_followed),
        UNIX_TEST(what_a_crash_has_left_makes_room),
        UNIX_TEST(what_a_crash_has_left_stays_if_asked),
        UNIX_TEST(a_live_servers_socket_stays_and_the_server_hears_nothing),
        UNIX_TEST(a_socket_that_is_open_stays_whatever_it_does),
        UNIX_TEST(a_file_that_took_the_place_of_ours_stays),
        UNIX_TEST(a_file_that_is_gone_already_is_no_trouble),
        UNIX_TEST(without_cleanup_socket_the_file_stays_and_the_next_server_takes_it),
        UNIX_TEST(the_file_goes_when_the_loop_is_freed),
        UNIX_TEST(the_mode_is_set_whatever_the_umask),
#if defined(__linux__)
        UNIX_TEST(a_mode_that_the_umask_leaves_takes_no_proc),
#endif
        UNIX_TEST(until_the_server_listens_clients_are_refused),
        UNIX_TEST(an_abstract_name_leaves_no_file),
#if defined(__linux__)
        UNIX_TEST(an_at_sign_alone_is_a_free_name),
        UNIX_TEST(an_abstract_name_may_be_a_byte_longer_than_a_path),
#endif
        UNIX_TEST(a_sock_is_served_and_its_file_removed),
        UNIX_TEST(the_file_of_a_sock_stays_without_cleanup_socket_and_with_create_server),
        UNIX_TEST(a_sock_that_is_refused_stays_the_callers_with_its_file),
        UNIX_TEST(a_sock_of_another_kind_is_refused),
        UNIX_TEST(a_sock_that_is_bound_to_nothing_is_refused),
        UNIX_TEST(a_folder_that_may_not_be_written_is_told),
        UNIX_TEST(a_leftover_of_another_user_stays_where_it_cannot_be_asked_or_removed),
        UNIX_TEST(prepare_socket_is_called_before_it_is_bound),
        UNIX_TEST(options_of_a_file_without_sense_are_refused),
        UNIX_TEST(want_of_memory_leaves_nothing_behind),
        UNIX_TEST(want_of_descriptors_leaves_the_leftover_as_it_is),
    };

    return run_here("unix", tests, sizeof tests / sizeof tests[0]);
}
