/* SPDX-License-Identifier: MIT */
/*
 * Goal: the place of a name is this user's alone: which folder it is, and that one is refused which
 * is a link, a file, somebody else's or open to others; and of those who want a name exactly one
 * has it.
 * Method: folders of the test's own. What needs another user is skipped where the test is not
 * root's.
 */
#define _GNU_SOURCE 1

#include "support.h"

#include "posix/local.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRANGER 65534 /* nobody, by custom */

static char top[64]; /* a folder for each test */

static int begin(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/portico-test-XXXXXX");
    return mkdtemp(top) != NULL ? setenv("XDG_RUNTIME_DIR", top, 1) : -1;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

/* "TOP/name"; a few may be in use at once. */
static const char *in_top(const char *name)
{
    static char paths[4][96];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", top, name);
    return path;
}

static void skip_unless_root(void)
{
    if (geteuid() != 0) {
        print_message("needs root, to be another user\n");
        skip();
    }
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & 07777;
}

static void touch(const char *path)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    close(descriptor);
}

static void assert_refused(const char *folder, int audience, const char *sentence)
{
    for (int make = 0; make < 2; make++) {
        pco_error error = {0};
        assert_int_equal(pco__local_folder(folder, audience, make, &error), PCO_EACCES);
        if (strstr(error.message, folder) == NULL || strstr(error.message, sentence) == NULL) {
            fail_msg("%s: %s is not said of %s", error.message, sentence, folder);
        }
    }
}

/* ---- One folder ---- */

static void a_folder_is_made_for_its_user_alone_whatever_the_umask(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        mode_t before = umask(i == 0 ? 0 : 0777);
        const char *folder = in_top(i == 0 ? "wide" : "narrow");
        int code = pco__local_folder(folder, PCO_LOCAL_USER, true, NULL);
        umask(before);
        assert_int_equal(code, 0);
        assert_int_equal(mode_of(folder), 0700);
        assert_int_equal(pco__local_folder(folder, PCO_LOCAL_USER, true, NULL), 0);
    }
}

static void who_only_looks_makes_no_folder(void **state)
{
    (void)state;
    assert_int_equal(pco__local_folder(in_top("none"), PCO_LOCAL_USER, false, NULL), 0);
    assert_int_equal(access(in_top("none"), F_OK), -1);
}

static void a_link_is_refused_even_to_a_good_folder(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_top("good"), 0700), 0);
    assert_int_equal(symlink(in_top("good"), in_top("link")), 0);
    assert_refused(in_top("link"), PCO_LOCAL_USER, "is a link");
}

static void a_link_to_nothing_is_refused(void **state)
{
    (void)state;
    assert_int_equal(symlink(in_top("nothing"), in_top("link")), 0);
    assert_refused(in_top("link"), PCO_LOCAL_USER, "is a link");
    assert_int_equal(access(in_top("nothing"), F_OK), -1);
}

static void a_file_is_refused(void **state)
{
    (void)state;
    touch(in_top("file"));
    assert_refused(in_top("file"), PCO_LOCAL_USER, "is not a folder");
}

static void a_folder_that_is_open_to_others_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0701, 0702, 0704, 0710, 0720, 0740, 0777, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char said[32];
        snprintf(said, sizeof said, "open to others (mode %o)", (unsigned)modes[i]);
        assert_int_equal(mkdir(in_top("open"), 0700), 0);
        assert_int_equal(chmod(in_top("open"), modes[i]), 0);
        assert_refused(in_top("open"), PCO_LOCAL_USER, said);
        assert_int_equal(rmdir(in_top("open")), 0);
    }
}

static void a_folder_of_somebody_else_is_refused(void **state)
{
    (void)state;
    skip_unless_root();
    assert_int_equal(mkdir(in_top("theirs"), 0700), 0);
    assert_int_equal(chown(in_top("theirs"), STRANGER, (gid_t)-1), 0);
    assert_refused(in_top("theirs"), PCO_LOCAL_USER, "is user 65534's, not 0's");
}

static void where_nothing_can_be_made_the_system_says_why(void **state)
{
    (void)state;
    pco_error error = {0};
    assert_int_equal(pco__local_folder(in_top("no/such"), PCO_LOCAL_USER, true, &error),
                     PCO_ENOENT);
    assert_non_null(strstr(error.message, "make the folder"));
    assert_int_equal(error.system_code, ENOENT);
}

static void a_folder_for_the_group_is_open_to_it_alone(void **state)
{
    (void)state;
    mode_t before = umask(0077);
    int code = pco__local_folder(in_top("group"), PCO_LOCAL_GROUP, true, NULL);
    umask(before);
    assert_int_equal(code, 0);
    assert_int_equal(mode_of(in_top("group")), 0770);
    assert_int_equal(chmod(in_top("group"), 0775), 0);
    assert_refused(in_top("group"), PCO_LOCAL_GROUP, "open to others");
}

static void a_folder_of_another_group_is_refused(void **state)
{
    (void)state;
    skip_unless_root();
    assert_int_equal(mkdir(in_top("theirs"), 0770), 0);
    assert_int_equal(chown(in_top("theirs"), (uid_t)-1, STRANGER), 0);
    assert_refused(in_top("theirs"), PCO_LOCAL_GROUP, "is group 65534's, not 0's");
}

/* ---- Which one ---- */

#if !defined(__APPLE__) /* there the system says it, and no variable */

/* The folder in which the socket of a name is. */
static const char *folder_found(void)
{
    static pco__local_place place;
    assert_int_equal(pco__local_find("editor", PCO_LOCAL_USER, false, &place, NULL), 0);
    assert_int_equal(place.mode, 0600);
    assert_false(place.is_pipe);
    char *slash = strrchr(place.where, '/');
    assert_non_null(slash);
    assert_string_equal(slash, "/editor.socket");
    *slash = '\0';
    return place.where;
}

/* What is found where the variable helps not. */
static const char *elsewhere(void)
{
    static char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/run/user/%lu", (unsigned long)geteuid());
    if (stat(path, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 0077) == 0) {
        snprintf(path, sizeof path, "/run/user/%lu/portico", (unsigned long)geteuid());
    } else {
        snprintf(path, sizeof path, "/tmp/portico-%lu", (unsigned long)geteuid());
    }
    return path;
}

static void the_place_is_in_the_runtime_folder(void **state)
{
    (void)state;
    assert_string_equal(folder_found(), in_top("portico"));
    setenv("XDG_RUNTIME_DIR", in_top("/"), 1);
    assert_string_equal(folder_found(), in_top("portico"));
}

static void without_a_runtime_folder_it_is_elsewhere(void **state)
{
    (void)state;
    unsetenv("XDG_RUNTIME_DIR");
    assert_string_equal(folder_found(), elsewhere());
    setenv("XDG_RUNTIME_DIR", "", 1);
    assert_string_equal(folder_found(), elsewhere());
}

static void a_runtime_folder_that_is_not_absolute_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(chdir(top), 0);
    assert_int_equal(mkdir("here", 0700), 0);
    setenv("XDG_RUNTIME_DIR", "here", 1);
    assert_string_equal(folder_found(), elsewhere());
    assert_int_equal(chdir("/"), 0);
}

static void a_runtime_folder_that_is_missing_or_a_file_does_not_count(void **state)
{
    (void)state;
    setenv("XDG_RUNTIME_DIR", in_top("missing"), 1);
    assert_string_equal(folder_found(), elsewhere());
    touch(in_top("file"));
    setenv("XDG_RUNTIME_DIR", in_top("file"), 1);
    assert_string_equal(folder_found(), elsewhere());
}

static void a_runtime_folder_that_is_open_to_others_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(chmod(top, 0755), 0);
    assert_string_equal(folder_found(), elsewhere());
}

/* As after su, which leaves the variable as it is. */
static void a_runtime_folder_of_somebody_else_does_not_count(void **state)
{
    (void)state;
    skip_unless_root();
    assert_int_equal(chown(top, STRANGER, (gid_t)-1), 0);
    assert_string_equal(folder_found(), elsewhere());
}

static void a_runtime_folder_whose_name_leaves_no_room_does_not_count(void **state)
{
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/%080d", top, 0);
    assert_int_equal(mkdir(path, 0700), 0);
    setenv("XDG_RUNTIME_DIR", path, 1);
    assert_string_equal(folder_found(), elsewhere());
}

static void in_the_runtime_folder_nothing_bad_is_passed_over(void **state)
{
    (void)state;
    pco__local_place place;
    pco_error error = {0};
    touch(in_top("portico"));
    assert_int_equal(pco__local_find("editor", PCO_LOCAL_USER, true, &place, &error), PCO_EACCES);
    assert_non_null(strstr(error.message, "is not a folder"));
}

static void who_serves_finds_the_folder_made(void **state)
{
    (void)state;
    pco__local_place place;
    assert_int_equal(pco__local_find("editor", PCO_LOCAL_USER, true, &place, NULL), 0);
    assert_int_equal(mode_of(in_top("portico")), 0700);
}

#endif

static void a_long_name_fits_into_the_longest_folder(void **state)
{
    (void)state;
    char name[256];
    char folder[128] = "/f";
    size_t length = 1;
    pco__local_place place;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    while (pco__local_has_room(folder)) {
        pco__local_place_in(folder, name, &place);
        assert_true(strlen(place.where) <= 107);
        assert_int_equal(strncmp(place.where, folder, strlen(folder)), 0);
        assert_non_null(strstr(place.where, ".socket"));
        assert_non_null(strstr(place.lock, ".lock"));
        folder[++length] = 'f';
        folder[length + 1] = '\0';
    }
    assert_true(length > 60);
}

/* ---- Who is first ---- */

static void place_in_top(const char *name, pco__local_place *place)
{
    memset(place, 0, sizeof *place);
    place->mode = 0600;
    pco__local_place_in(top, name, place);
}

static void a_lock_has_one_owner_in_one_process_too(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t first;
    intptr_t second;
    place_in_top("editor", &place);
    assert_int_equal(pco__local_lock(&place, &first, NULL), 0);
    assert_int_equal(pco__local_lock(&place, &second, NULL), PCO_EADDRINUSE);
    assert_true(second == PCO__NO_LOCK);
    pco__local_unlock(first);
    assert_int_equal(pco__local_lock(&place, &second, NULL), 0);
    pco__local_unlock(second);
}

static void names_do_not_share_a_lock(void **state)
{
    (void)state;
    pco__local_place one;
    pco__local_place other;
    intptr_t locks[2];
    place_in_top("editor", &one);
    place_in_top("editor.lock", &other);
    assert_int_equal(pco__local_lock(&one, &locks[0], NULL), 0);
    assert_int_equal(pco__local_lock(&other, &locks[1], NULL), 0);
    pco__local_unlock(locks[0]);
    pco__local_unlock(locks[1]);
}

static void a_lock_is_given_back_by_a_process_that_is_killed(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t lock;
    int ready[2];
    char byte;
    place_in_top("editor", &place);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        bool locked = pco__local_lock(&place, &lock, NULL) == 0;
        if (write(ready[1], locked ? "y" : "n", 1) == 1) {
            pause();
        }
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(pco__local_lock(&place, &lock, NULL), PCO_EADDRINUSE);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(pco__local_lock(&place, &lock, NULL), 0);
    pco__local_unlock(lock);
    close(ready[0]);
    close(ready[1]);
}

static void the_file_of_a_lock_stays(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t lock;
    place_in_top("editor", &place);
    assert_int_equal(pco__local_lock(&place, &lock, NULL), 0);
    assert_int_equal(mode_of(place.lock) & 0777, 0600);
    assert_int_equal(fcntl((int)lock, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    pco__local_unlock(lock);
    assert_int_equal(access(place.lock, F_OK), 0);
}

static void a_lock_that_is_a_link_is_not_followed(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t lock;
    pco_error error = {0};
    place_in_top("editor", &place);
    assert_int_equal(symlink(in_top("elsewhere"), place.lock), 0);
    assert_int_equal(pco__local_lock(&place, &lock, &error), PCO_EACCES);
    assert_non_null(strstr(error.message, place.lock));
    assert_non_null(strstr(error.message, "it is a link"));
    assert_int_equal(access(in_top("elsewhere"), F_OK), -1);
}

/* In a folder of a group, or in /tmp: others can give any file the name, and wait for its owner. */
static void a_lock_that_was_there_keeps_its_mode(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t lock;
    place_in_top("editor", &place);
    place.mode = 0660;
    touch(in_top("secret"));
    assert_int_equal(link(in_top("secret"), place.lock), 0);
    assert_int_equal(pco__local_lock(&place, &lock, NULL), 0);
    assert_int_equal(mode_of(in_top("secret")), 0600);
    pco__local_unlock(lock);
}

static void a_new_lock_has_its_mode_whatever_the_umask(void **state)
{
    (void)state;
    pco__local_place place;
    intptr_t lock;
    place_in_top("editor", &place);
    place.mode = 0660;
    mode_t before = umask(0077);
    int code = pco__local_lock(&place, &lock, NULL);
    umask(before);
    assert_int_equal(code, 0);
    assert_int_equal(mode_of(place.lock) & 0777, 0660);
    pco__local_unlock(lock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_is_made_for_its_user_alone_whatever_the_umask),
        TEST(who_only_looks_makes_no_folder),
        TEST(a_link_is_refused_even_to_a_good_folder),
        TEST(a_link_to_nothing_is_refused),
        TEST(a_file_is_refused),
        TEST(a_folder_that_is_open_to_others_is_refused),
        TEST(a_folder_of_somebody_else_is_refused),
        TEST(where_nothing_can_be_made_the_system_says_why),
        TEST(a_folder_for_the_group_is_open_to_it_alone),
        TEST(a_folder_of_another_group_is_refused),
#if !defined(__APPLE__)
        TEST(the_place_is_in_the_runtime_folder),
        TEST(without_a_runtime_folder_it_is_elsewhere),
        TEST(a_runtime_folder_that_is_not_absolute_does_not_count),
        TEST(a_runtime_folder_that_is_missing_or_a_file_does_not_count),
        TEST(a_runtime_folder_that_is_open_to_others_does_not_count),
        TEST(a_runtime_folder_of_somebody_else_does_not_count),
        TEST(a_runtime_folder_whose_name_leaves_no_room_does_not_count),
        TEST(in_the_runtime_folder_nothing_bad_is_passed_over),
        TEST(who_serves_finds_the_folder_made),
#endif
        TEST(a_long_name_fits_into_the_longest_folder),
        TEST(a_lock_has_one_owner_in_one_process_too),
        TEST(names_do_not_share_a_lock),
        TEST(a_lock_is_given_back_by_a_process_that_is_killed),
        TEST(the_file_of_a_lock_stays),
        TEST(a_lock_that_is_a_link_is_not_followed),
        TEST(a_lock_that_was_there_keeps_its_mode),
        TEST(a_new_lock_has_its_mode_whatever_the_umask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
