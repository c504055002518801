/* SPDX-License-Identifier: MIT */
/*
 * Goal: nobody else: whoever is another user is refused at both ends, an impostor before a byte is
 * sent; a name of a group is open to the group, and one for all to all.
 * Method: real sockets in a runtime folder of the test's own, and children that become somebody
 * else. What needs another user is skipped where the test is not root's.
 */
#define _GNU_SOURCE 1

#include "local_world.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Others ---- */

static struct sockaddr_un sun_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

/* Listens in place of a server, as another user would who could: what counts is who listens. */
static int listen_as_stranger(const char *path)
{
    struct sockaddr_un address = sun_of(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(seteuid(STRANGER), 0);
    int code = listen(listener, 5);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(code, 0);
    return listener;
}

static void an_impostor_is_refused_before_a_byte_is_sent(void **state)
{
    (void)state;
    skip_unless_root();
    serve_name();
    end_server();
    int listener = listen_as_stranger(path_of(NAME, PCO_LOCAL_USER));
    unsigned asked = at.factory_calls;
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_EACCES);
    assert_non_null(strstr(told.error.message, "who serves it is user 65534, not 0"));
    assert_int_equal(at.factory_calls, asked);
    let_pass(3);
    char byte;
    int victim = accept(listener, NULL, NULL);
    assert_true(victim >= 0);
    assert_int_equal(read(victim, &byte, 1), 0);
    close(victim);
    close(listener);
}

/* The lock says that nobody runs: to connect, as one does then, would never do. */
static void what_a_stranger_has_put_there_is_not_running_already(void **state)
{
    pco_error error;
    (void)state;
    skip_unless_root();
    serve_name();
    end_server();
    const char *path = path_of(NAME, PCO_LOCAL_USER);
    int listener = listen_as_stranger(path);
    assert_int_equal(chown(path, STRANGER, STRANGER), 0);
    assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &at.server, &error), PCO_EACCES);
    assert_non_null(strstr(error.message, "is in the way: it is user 65534's, not 0's"));
    assert_null(at.server);
    close(listener);
}

/* Opens what is this user's alone, so that a stranger comes to the socket. */
static void open_the_doors(const char *path)
{
    char folder[128];
    assert_int_equal(chmod(top, 0755), 0);
    snprintf(folder, sizeof folder, "%s/portico", top);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(path, 0666), 0);
}

/* Connects as another user, without the library, and reads to the end; what has come of it. */
static pid_t stranger_comes(const char *path, uid_t user, gid_t group)
{
    struct sockaddr_un address = sun_of(path);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        int sock = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setegid(group) != 0 || seteuid(user) != 0 ||
            connect(sock, (struct sockaddr *)&address, sizeof address) != 0) {
            _exit(1);
        }
        _exit(read(sock, &byte, 1) == 0 ? 0 : 2);
    }
    return child;
}

/* How the child has ended; -1: it was killed, or had to be. */
static int wait_for(pid_t child)
{
    int status = -1;
    double end_of_patience = pco_loop_time(at.loop) + PATIENCE;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (pco_loop_time(at.loop) > end_of_patience) {
            kill(child, SIGKILL);
        }
        pco_loop_run_once(at.loop, 0.001);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_client_of_another_user_is_refused_and_reported(void **state)
{
    (void)state;
    skip_unless_root();
    serve_name();
    const char *path = path_of(NAME, PCO_LOCAL_USER);
    open_the_doors(path);
    assert_int_equal(wait_for(stranger_comes(path, STRANGER, STRANGER)), 0);
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_EACCES);
    assert_int_equal(counters_of(at.server).refused, 1);
    assert_int_equal(chmod(top, 0700), 0);
}

/* ---- For the group, for all ---- */

static void group_folder(char *path, size_t size)
{
    snprintf(path, size, "/tmp/portico-group-%lu", (unsigned long)getegid());
}

/* A group that nobody else on the machine has: with it the folder is the test's own. */
static void take_a_group(void)
{
    assert_int_equal(setegid((gid_t)(1000000000 + getpid())), 0);
}

static void give_the_group_back(void)
{
    char command[128];
    char path[64];
    group_folder(path, sizeof path);
    snprintf(command, sizeof command, "rm -rf %s", path);
    assert_int_equal(setegid(0), 0);
    assert_int_equal(system(command), 0);
}

static void a_name_of_a_group_is_open_to_it_and_closed_to_others(void **state)
{
    (void)state;
    skip_unless_root();
    take_a_group();
    gid_t ours = getegid();
    int code = serve_audience(NAME, PCO_LOCAL_GROUP, &at.server, NULL);
    const char *path = path_of(NAME, PCO_LOCAL_GROUP);
    struct stat status = {0};
    lstat(path, &status);
    bool comes = connect_to(NAME, PCO_LOCAL_GROUP) == 0 && reaches(&at.made, 2);
    unsigned made = at.factory_calls;
    pid_t member = stranger_comes(path, STRANGER, ours);
    bool was_made = reaches(&at.factory_calls, made + 1);
    unsigned reports = at.reports;
    pco_server_close_clients(at.server);
    int member_met = wait_for(member);
    int stranger_met = wait_for(stranger_comes(path, STRANGER, STRANGER));
    pid_t root = stranger_comes(path, 0, 0);
    int root_met = wait_for(root);
    give_the_group_back();
    assert_int_equal(code, 0);
    assert_int_equal(status.st_mode & 0777, 0660);
    assert_int_equal(status.st_gid, ours);
    assert_true(comes);
    assert_true(was_made);
    assert_int_equal(reports, 0);
    assert_int_equal(member_met, 0);
    assert_int_equal(stranger_met, 1); /* it does not even come to the socket */
    assert_int_equal(root_met, 0);     /* nothing stops root but the server's question */
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_EACCES);
}

/* In a child: serves the group's name as another user, until it is killed. */
static void serve_as_member(int ready)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = of_records();
    pco_local_options local = {.size = sizeof local, .audience = PCO_LOCAL_GROUP};
    bool serves = seteuid(STRANGER) == 0 && pco_loop_new(NULL, &loop, NULL) == 0 &&
                  pco_loop_create_local_server(loop, NAME, &options, &local, &server, NULL) == 0;
    if (write(ready, serves ? "y" : "n", 1) == 1) {
        pause();
    }
    _exit(1);
}

/* Its socket and its lock are that user's. */
static void what_another_of_the_group_has_left_behind_is_replaced(void **state)
{
    (void)state;
    skip_unless_root();
    int ready[2];
    char byte = 0;
    struct stat status = {0};
    pco_server *second = NULL;
    assert_int_equal(pipe(ready), 0);
    take_a_group();
    pid_t child = fork();
    if (child == 0) {
        serve_as_member(ready[1]);
    }
    ssize_t length = read(ready[0], &byte, 1);
    int running = serve_audience(NAME, PCO_LOCAL_GROUP, &second, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    lstat(path_of(NAME, PCO_LOCAL_GROUP), &status);
    int code = serve_audience(NAME, PCO_LOCAL_GROUP, &at.server, NULL);
    bool comes = connect_to(NAME, PCO_LOCAL_GROUP) == 0;
    give_the_group_back();
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(length, 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(running, PCO_EADDRINUSE);
    assert_int_equal(status.st_uid, STRANGER);
    assert_int_equal(code, 0);
    assert_true(comes);
}

static void a_name_for_all_is_open_to_all(void **state)
{
    (void)state;
    skip_unless_root();
    char name[64];
    snprintf(name, sizeof name, "test.portico.%ld", (long)getpid());
    assert_int_equal(serve_audience(name, PCO_LOCAL_ALL, &at.server, NULL), 0);
    pco_server *second = NULL;
    pco_error error = {0};
    assert_int_equal(serve_audience(name, PCO_LOCAL_ALL, &second, &error), PCO_EADDRINUSE);
    assert_non_null(strstr(error.message, "is already running"));
    assert_comes_through(name, PCO_LOCAL_ALL);
    assert_int_equal(seteuid(STRANGER), 0);
    int code = connect_to(name, PCO_LOCAL_ALL);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(code, 0);
    end_server();
    assert_int_equal(connect_to(name, PCO_LOCAL_ALL), PCO_ECONNREFUSED);
}

static void who_means_another_audience_does_not_meet(void **state)
{
    (void)state;
    serve_name();
    assert_int_equal(connect_to(NAME, PCO_LOCAL_ALL), PCO_ECONNREFUSED);
}

static const struct CMUnitTest tests[] = {
    LOCAL(an_impostor_is_refused_before_a_byte_is_sent),
    LOCAL(what_a_stranger_has_put_there_is_not_running_already),
    LOCAL(a_client_of_another_user_is_refused_and_reported),
    LOCAL(a_name_of_a_group_is_open_to_it_and_closed_to_others),
    LOCAL(what_another_of_the_group_has_left_behind_is_replaced),
    LOCAL(a_name_for_all_is_open_to_all),
    LOCAL(who_means_another_audience_does_not_meet),
};

int main(void)
{
    return run_here("local names and other users", tests, sizeof tests / sizeof tests[0]);
}
