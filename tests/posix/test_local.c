/* SPDX-License-Identifier: MIT */
/*
 * Goal: programs find each other by a name: one serves, all others are told; a name is free when
 * its server has ended in whatever way.
 * Method: real sockets in a runtime folder of the test's own, children that are other programs.
 * Who else is refused is test_local_users.c.
 */
#define _GNU_SOURCE 1

#include "local_world.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void both_ends_meet_by_a_name(void **state)
{
    (void)state;
    serve_name();
    assert_comes_through(NAME, PCO_LOCAL_USER);
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void without_options_a_name_is_the_users(void **state)
{
    (void)state;
    pco_server_options options = of_records();
    pco_connection_options to = {.size = sizeof to, .protocol_factory = make_record};
    assert_int_equal(pco_loop_create_local_server(at.loop, NAME, &options, NULL, &at.server, NULL),
                     0);
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_local_connection(at.loop, NAME, &to, NULL, connected, NULL, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
    assert_true(reaches(&at.made, 2));
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void only_the_user_can_reach_what_is_there(void **state)
{
    (void)state;
    struct stat status;
    mode_t before = umask(0);
    serve_name();
    umask(before);
    assert_int_equal(lstat(path_of(NAME, PCO_LOCAL_USER), &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0600);
}

/* ---- Already running ---- */

static void a_second_server_is_told_that_there_is_one(void **state)
{
    (void)state;
    pco_server *second = NULL;
    pco_error error = {0};
    serve_name();
    assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &second, &error), PCO_EADDRINUSE);
    assert_null(second);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    assert_non_null(strstr(error.message, NAME " is already running"));
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void a_name_is_free_as_soon_as_its_server_is_closed(void **state)
{
    (void)state;
    pco_server *second = NULL;
    serve_name();
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), 0);
    pco_server_close(at.server);
    assert_int_equal(access(path_of(NAME, PCO_LOCAL_USER), F_OK), -1);
    assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &second, NULL), 0);
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), 0); /* the first's connection goes on */
    pco_server_free(second);
}

static void a_name_is_free_when_its_loop_is(void **state)
{
    (void)state;
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = of_records();
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(pco_loop_create_local_server(loop, NAME, &options, NULL, &server, NULL), 0);
    pco_loop_free(loop);
    serve_name();
    pco_server_free(server); /* much later: it has nothing to do with the second's name */
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void a_call_that_fails_gives_the_name_back(void **state)
{
    (void)state;
    pco_server_options options = of_records();
    pco_server *server = NULL;
    pco_error error = {0};
    options.port = 80;
    assert_int_equal(pco_loop_create_local_server(at.loop, NAME, &options, NULL, &server, &error),
                     PCO_EINVAL);
    assert_non_null(strstr(error.message, "port"));
    serve_name();
}

static void a_server_that_does_not_serve_yet_has_its_name(void **state)
{
    (void)state;
    pco_server_options options = of_records();
    pco_server *second = NULL;
    options.start_serving = PCO_OFF;
    assert_int_equal(pco_loop_create_local_server(at.loop, NAME, &options, NULL, &at.server, NULL),
                     0);
    assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &second, NULL), PCO_EADDRINUSE);
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_ECONNREFUSED);
    assert_int_equal(pco_server_start_serving(at.server, NULL), 0);
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void other_names_are_other_servers(void **state)
{
    (void)state;
    pco_server *other = NULL;
    serve_name();
    assert_int_equal(serve_audience("com.example.edito", PCO_LOCAL_USER, &other, NULL), 0);
    pco_server_free(other);
    assert_int_equal(connect_to("com.example.edito", PCO_LOCAL_USER), PCO_ECONNREFUSED);
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

/* ---- Nobody there, and what is left over ---- */

static void where_nobody_serves_it_is_said_so(void **state)
{
    (void)state;
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_ECONNREFUSED);
    assert_string_equal(told.error.message, "connect to " NAME ": nobody serves it");
    assert_int_equal(access(top, F_OK), 0);
    serve_name();
    end_server();
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_ECONNREFUSED);
}

/* In a child: serves, with a loop of its own, until it is killed. */
static void serve_in_child(int ready)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = of_records();
    bool serves = pco_loop_new(NULL, &loop, NULL) == 0 &&
                  pco_loop_create_local_server(loop, NAME, &options, NULL, &server, NULL) == 0;
    if (write(ready, serves ? "y" : "n", 1) == 1) {
        pause();
    }
    _exit(1);
}

static void what_a_crash_has_left_behind_is_replaced(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        int ready[2];
        char byte = 0;
        pco_server *second = NULL;
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        if (child == 0) {
            serve_in_child(ready[1]);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(byte, 'y');
        assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &second, NULL), PCO_EADDRINUSE);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(ready[0]);
        close(ready[1]);
        assert_int_equal(access(path_of(NAME, PCO_LOCAL_USER), F_OK), 0);
        assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_ECONNREFUSED);
    }
    serve_name();
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

static void what_is_no_socket_stays(void **state)
{
    (void)state;
    pco_server *server = NULL;
    pco_error error = {0};
    serve_name();
    end_server();
    const char *path = path_of(NAME, PCO_LOCAL_USER);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(file, "precious", 8), 8);
    close(file);
    assert_int_not_equal(serve_audience(NAME, PCO_LOCAL_USER, &server, &error), 0);
    assert_non_null(strstr(error.message, path));
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 8);
    assert_int_equal(connect_to(NAME, PCO_LOCAL_USER), PCO_ECONNREFUSED);
}

/* ---- Bad calls ---- */

static void a_bad_name_is_refused_by_both(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "", "..", "../up", "@all", "a b", "a/b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pco_error error = {0};
        pco_server *server = NULL;
        assert_int_equal(serve_audience(names[i], PCO_LOCAL_USER, &server, &error), PCO_EINVAL);
        assert_string_not_equal(error.message, "");
        assert_null(server);
        assert_int_equal(dial(names[i], PCO_LOCAL_USER, NULL, &error), PCO_EINVAL);
    }
    let_pass(2);
    assert_int_equal(told.calls, 0);
}

static void an_audience_that_does_not_exist_is_refused_by_both(void **state)
{
    (void)state;
    pco_server *server = NULL;
    assert_int_equal(serve_audience(NAME, 3, &server, NULL), PCO_EINVAL);
    assert_int_equal(serve_audience(NAME, -1, &server, NULL), PCO_EINVAL);
    assert_int_equal(dial(NAME, 3, NULL, NULL), PCO_EINVAL);
}

static void a_connection_needs_somebody_to_tell(void **state)
{
    (void)state;
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    assert_int_equal(
        pco_loop_create_local_connection(at.loop, NAME, &options, NULL, NULL, NULL, NULL, NULL),
        PCO_EINVAL);
}

static void where_else_to_connect_is_refused(void **state)
{
    (void)state;
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_record, .host = "localhost"};
    pco_error error = {0};
    assert_int_equal(pco_loop_create_local_connection(at.loop, NAME, &options, NULL, connected,
                                                      NULL, NULL, &error),
                     PCO_EINVAL);
    assert_non_null(strstr(error.message, "host"));
}

static void a_sock_beside_the_name_is_refused_by_both(void **state)
{
    (void)state;
    static const char sentence[] = "name and sock cannot be given at the same time";
    pco_server *server = NULL;
    pco_error error = {0};
    pco_server_options serving = of_records();
    pco_connection_options connecting = {.size = sizeof connecting,
                                         .protocol_factory = make_record};
    serving.sock = 1;
    connecting.sock = 1;
    assert_int_equal(pco_loop_create_local_server(at.loop, NAME, &serving, NULL, &server, &error),
                     PCO_EINVAL);
    assert_string_equal(error.message, sentence);
    assert_int_equal(pco_loop_create_local_connection(at.loop, NAME, &connecting, NULL, connected,
                                                      NULL, NULL, &error),
                     PCO_EINVAL);
    assert_string_equal(error.message, sentence);
    serving.sock = 0;
    serving.has_sock = PCO_OFF; /* there is none */
    connecting.sock = PCO_NO_SOCKET;
    connecting.has_sock = PCO_OFF;
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_local_server(at.loop, NAME, &serving, NULL, &at.server, &error), 0);
    assert_int_equal(pco_loop_create_local_connection(at.loop, NAME, &connecting, NULL, connected,
                                                      NULL, NULL, &error),
                     0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
}

static void without_options_nothing_is_begun(void **state)
{
    (void)state;
    pco_server *server = NULL;
    pco_error error = {0};
    assert_int_equal(pco_loop_create_local_server(at.loop, NAME, NULL, NULL, &server, &error),
                     PCO_EINVAL);
    assert_string_not_equal(error.message, "");
    assert_int_equal(
        pco_loop_create_local_connection(at.loop, NAME, NULL, NULL, connected, NULL, NULL, &error),
        PCO_EINVAL);
    assert_string_not_equal(error.message, "");
    assert_null(server);
}

static void the_longest_names_are_told_apart(void **state)
{
    (void)state;
    char one[256];
    char other[256];
    pco_server *second = NULL;
    memset(one, 'n', sizeof one - 1);
    one[sizeof one - 1] = '\0';
    memcpy(other, one, sizeof other);
    other[sizeof other - 2] = 'm';
    assert_int_equal(serve_audience(one, PCO_LOCAL_USER, &at.server, NULL), 0);
    assert_int_equal(connect_to(other, PCO_LOCAL_USER), PCO_ECONNREFUSED);
    assert_int_equal(serve_audience(other, PCO_LOCAL_USER, &second, NULL), 0);
    assert_comes_through(one, PCO_LOCAL_USER);
    pco_server_free(second);
}

/* ---- Bad places ---- */

static void a_place_that_is_not_ours_alone_is_refused_by_both(void **state)
{
    (void)state;
    char folder[128];
    pco_server *server = NULL;
    pco_error error = {0};
    snprintf(folder, sizeof folder, "%s/portico", top);
    assert_int_equal(symlink("/tmp", folder), 0);
    assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &server, &error), PCO_EACCES);
    assert_non_null(strstr(error.message, folder));
    assert_int_equal(dial(NAME, PCO_LOCAL_USER, NULL, &error), PCO_EACCES);
    let_pass(2);
    assert_int_equal(told.calls, 0);
}

static void what_is_no_socket_is_no_server_that_runs(void **state)
{
    (void)state;
    char folder[128];
    char path[160];
    struct stat status;
    pco_server *server = NULL;
    snprintf(folder, sizeof folder, "%s/portico", top);
    snprintf(path, sizeof path, "%s/%s.socket", folder, NAME);
    assert_int_equal(mkdir(folder, 0700), 0);
    for (int kind = 0; kind < 3; kind++) {
        pco_error error = {0};
        assert_int_equal(kind == 0   ? mkdir(path, 0700)
                         : kind == 1 ? symlink("nowhere", path)
                                     : mkfifo(path, 0600),
                         0);
        assert_int_equal(serve_audience(NAME, PCO_LOCAL_USER, &server, &error), PCO_EACCES);
        assert_non_null(strstr(error.message, path));
        assert_non_null(strstr(error.message, "no socket"));
        assert_int_equal(lstat(path, &status), 0);
        assert_int_equal(remove(path), 0);
    }
    serve_name();
}

static void a_place_that_cannot_be_written_is_said_so(void **state)
{
    (void)state;
    char folder[128];
    pco_server *server = NULL;
    pco_error error = {0};
    bool is_root = geteuid() == 0;
    snprintf(folder, sizeof folder, "%s/portico", top);
    assert_int_equal(mkdir(folder, 0500), 0);
    if (is_root) { /* who may write everywhere */
        assert_int_equal(chown(folder, STRANGER, (gid_t)-1), 0);
        assert_int_equal(chown(top, STRANGER, (gid_t)-1), 0);
        assert_int_equal(seteuid(STRANGER), 0);
    }
    int code = serve_audience(NAME, PCO_LOCAL_USER, &server, &error);
    if (is_root) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(code, PCO_EACCES);
    assert_non_null(strstr(error.message, folder));
    assert_int_equal(chmod(folder, 0700), 0);
}

static void without_descriptors_nothing_is_left_behind(void **state)
{
    (void)state;
    struct rlimit before;
    pco_server *server = NULL;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit few = before;
    int spare[2];
    assert_int_equal(pipe(spare), 0);
    int lowest = spare[0] < spare[1] ? spare[0] : spare[1];
    close(spare[0]);
    close(spare[1]);
    int codes[3];
    for (int i = 0; i < 3; i++) {
        few.rlim_cur = (rlim_t)(lowest + i); /* none, the lock's, the socket's */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        codes[i] = serve_audience(NAME, PCO_LOCAL_USER, &server, NULL);
        if (codes[i] == 0) {
            pco_server_free(server);
        }
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    }
    assert_int_equal(codes[0], PCO_EMFILE);
    assert_int_equal(codes[1], PCO_EMFILE);
    serve_name();
    assert_comes_through(NAME, PCO_LOCAL_USER);
}

/* ---- Requests ---- */

static void a_connection_that_is_canceled_is_told_so_once(void **state)
{
    (void)state;
    pco_request *request = NULL;
    serve_name();
    assert_int_equal(dial(NAME, PCO_LOCAL_USER, &request, NULL), 0);
    pco_request_cancel(request);
    pco_request_cancel(request);
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    let_pass(3);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
    pco_request_release(request);
    assert_true(all_are_lost());
}

static void a_loop_that_is_freed_cancels_it(void **state)
{
    (void)state;
    serve_name();
    assert_int_equal(dial(NAME, PCO_LOCAL_USER, NULL, NULL), 0);
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
}

/* Whichever allocation fails, either the call fails, or the completion is told so. */
static void without_memory_it_fails_and_leaves_nothing(void **state)
{
    (void)state;
    pco_server *server = NULL;
    unsigned failures = 0;
    size_t nth = 0;
    int code;
    do {
        memory_fail(++nth, false);
        code = serve_audience(NAME, PCO_LOCAL_USER, &server, NULL);
        memory_fail(0, false);
        failures += code == PCO_ENOMEM;
    } while (code != 0 && nth < 100);
    assert_int_equal(code, 0);
    assert_true(failures > 0);
    pco_server_free(server);
    serve_name();
    failures = 0;
    nth = 0;
    do {
        memory_fail(++nth, false);
        code = dial(NAME, PCO_LOCAL_USER, NULL, NULL);
        memory_fail(0, false);
        failures += code == PCO_ENOMEM;
        if (code != 0) {
            assert_int_equal(told.calls, 0);
        }
    } while (code != 0 && nth < 100);
    assert_int_equal(code, 0);
    assert_true(failures > 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
}

static const struct CMUnitTest tests[] = {
    LOCAL(both_ends_meet_by_a_name),
    LOCAL(without_options_a_name_is_the_users),
    LOCAL(only_the_user_can_reach_what_is_there),
    LOCAL(a_second_server_is_told_that_there_is_one),
    LOCAL(a_name_is_free_as_soon_as_its_server_is_closed),
    LOCAL(a_name_is_free_when_its_loop_is),
    LOCAL(a_call_that_fails_gives_the_name_back),
    LOCAL(a_server_that_does_not_serve_yet_has_its_name),
    LOCAL(other_names_are_other_servers),
    LOCAL(where_nobody_serves_it_is_said_so),
    LOCAL(what_a_crash_has_left_behind_is_replaced),
    LOCAL(what_is_no_socket_stays),
    LOCAL(a_bad_name_is_refused_by_both),
    LOCAL(an_audience_that_does_not_exist_is_refused_by_both),
    LOCAL(a_connection_needs_somebody_to_tell),
    LOCAL(where_else_to_connect_is_refused),
    LOCAL(a_sock_beside_the_name_is_refused_by_both),
    LOCAL(without_options_nothing_is_begun),
    LOCAL(the_longest_names_are_told_apart),
    LOCAL(a_place_that_is_not_ours_alone_is_refused_by_both),
    LOCAL(what_is_no_socket_is_no_server_that_runs),
    LOCAL(a_place_that_cannot_be_written_is_said_so),
    LOCAL(without_descriptors_nothing_is_left_behind),
    LOCAL(a_connection_that_is_canceled_is_told_so_once),
    LOCAL(a_loop_that_is_freed_cancels_it),
    LOCAL(without_memory_it_fails_and_leaves_nothing),
};

int main(void)
{
    return run_here("local", tests, sizeof tests / sizeof tests[0]);
}
