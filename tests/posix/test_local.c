/* SPDX-License-Identifier: MIT */
/*
 * Goal: programs find each other by a name, and nobody else: one serves, all others are told; a
 * name is free when its server has ended in whatever way; whoever is another user is refused at
 * both ends.
 * Method: real sockets in a runtime folder of the test's own, children that are other programs.
 * What needs another user is skipped where the test is not root's.
 */
#define _GNU_SOURCE 1

#include "behaviour.h"

#include "system/local.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "com.example.editor"
#define STRANGER 65534 /* nobody, by custom */

static char top[64]; /* the runtime folder, for each test */

static int begin(void **state)
{
    snprintf(top, sizeof top, "/tmp/portico-test-XXXXXX");
    if (mkdtemp(top) == NULL || setenv("XDG_RUNTIME_DIR", top, 1) != 0) {
        return -1;
    }
    return world_begin(state);
}

static int end(void **state)
{
    char command[128];
    int code = world_end(state);
    snprintf(command, sizeof command, "rm -rf %s", top);
    return code != 0 ? code : system(command);
}

static void skip_unless_root(void)
{
    if (geteuid() != 0) {
        print_message("needs root, to be another user\n");
        skip();
    }
}

/* Where the socket of the name is. */
static const char *path_of(const char *name, int audience)
{
    static pco__local_place place;
    assert_int_equal(pco__local_find(name, audience, false, &place, NULL), 0);
    return place.where;
}

/* ---- Servers and connections ---- */

static pco_server_options of_records(void)
{
    return (pco_server_options){.size = sizeof(pco_server_options),
                                .protocol_factory = make_record};
}

static int serve_audience(const char *name, int audience, pco_server **server, pco_error *error)
{
    pco_server_options options = of_records();
    pco_local_options local = {.size = sizeof local, .audience = audience};
    return pco_loop_create_local_server(at.loop, name, &options, &local, server, error);
}

static void serve_name(void)
{
    pco_error error;
    if (serve_audience(NAME, PCO_LOCAL_USER, &at.server, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

static struct {
    unsigned calls;
    pco_transport *transport;
    pco_error error;
} told;

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)protocol;
    (void)context;
    told.calls++;
    told.transport = transport;
    if (error != NULL) {
        told.error = *error;
    }
}

static int dial(const char *name, int audience, pco_request **request, pco_error *error)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_local_options local = {.size = sizeof local, .audience = audience};
    memset(&told, 0, sizeof told);
    return pco_loop_create_local_connection(at.loop, name, &options, &local, connected, NULL,
                                            request, error);
}

/* Connects and waits for the answer, which is returned. */
static int connect_to(const char *name, int audience)
{
    pco_error error;
    if (dial(name, audience, NULL, &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    return told.error.code;
}

static void assert_comes_through(const char *name, int audience)
{
    unsigned made = at.made;
    if (connect_to(name, audience) != 0) {
        fail_msg("%s", told.error.message);
    }
    assert_true(reaches(&at.made, made + 2));
    record *other = newest();
    if (other->transport == told.transport) {
        other = other->next;
    }
    pco_transport_write(told.transport, "hello", 5);
    assert_true(grows_to(&other->length, 5));
    assert_memory_equal(other->data, "hello", 5);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
}

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

/* ---- At the same instant ---- */

/* What a child says of its start. */
enum { SERVES = 's', MET = 'm', FAILED = 'f' };

typedef struct starter {
    pco_protocol protocol;
    pco_loop *loop;
} starter;

static void greet(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "you are second\n", 15);
    pco_transport_close(transport);
}

static const pco_protocol_methods first_methods = {.size = sizeof first_methods,
                                                   .connection_made = greet};
static pco_protocol first = {&first_methods};

static pco_protocol *make_first(void *context)
{
    (void)context;
    return &first;
}

static size_t heard_by_second;

static void hear(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)self;
    (void)transport;
    (void)data;
    heard_by_second += length;
}

static void hear_no_more(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)transport;
    (void)error;
    pco_loop_stop(((starter *)self)->loop);
}

static const pco_protocol_methods second_methods = {
    .size = sizeof second_methods, .data_received = hear, .connection_lost = hear_no_more};

static void answered(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                     void *context)
{
    (void)protocol;
    (void)error;
    if (transport == NULL) {
        pco_loop_stop(((starter *)context)->loop);
    }
}

/* Asks the first again as long as nobody answers: it may be about to listen. */
static char meet(pco_loop *loop)
{
    starter second = {{&second_methods}, loop};
    pco_connection_options options = {.size = sizeof options, .protocol = &second.protocol};
    for (int tries = 0; tries < 1000 && heard_by_second == 0; tries++) {
        if (pco_loop_create_local_connection(loop, NAME, &options, NULL, answered, &second, NULL,
                                             NULL) != 0) {
            return FAILED;
        }
        pco_loop_run_forever(loop);
    }
    return heard_by_second == 15 ? MET : FAILED;
}

/* In a child: starts as an application does once `go` is closed, and says how that went. */
static void start(int go, int says, bool meets)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = {.size = sizeof options, .protocol_factory = make_first};
    char byte;
    char how = FAILED;
    if (pco_loop_new(NULL, &loop, NULL) != 0 || read(go, &byte, 1) != 0) {
        _exit(1);
    }
    int code = pco_loop_create_local_server(loop, NAME, &options, NULL, &server, NULL);
    how = code == 0 ? SERVES : code == PCO_EADDRINUSE ? MET : FAILED;
    if (how == MET && meets) {
        how = meet(loop);
    }
    if (write(says, &how, 1) == 1 && how == SERVES) {
        pco_loop_run_forever(loop); /* until it is killed */
    }
    _exit(0);
}

#define MOST_STARTS 200

static void start_at_once(unsigned count, bool meets)
{
    int go[2];
    int says[2];
    pid_t children[MOST_STARTS];
    unsigned serve_count = 0;
    unsigned met = 0;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(says), 0);
    for (unsigned i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(go[1]);
            start(go[0], says[1], meets);
        }
        assert_true(children[i] > 0);
    }
    close(go[1]);
    for (unsigned i = 0; i < count; i++) {
        char how = 0;
        assert_int_equal(read(says[0], &how, 1), 1);
        serve_count += how == SERVES;
        met += how == MET;
    }
    for (unsigned i = 0; i < count; i++) {
        kill(children[i], SIGKILL);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    }
    close(go[0]);
    close(says[0]);
    close(says[1]);
    assert_int_equal(serve_count, 1);
    assert_int_equal(met, count - 1);
}

/* Each time over what the one before has left behind. */
static void of_two_at_the_same_instant_exactly_one_serves(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        start_at_once(2, false);
    }
}

static void of_two_hundred_one_serves_and_the_others_meet_it(void **state)
{
    (void)state;
    start_at_once(MOST_STARTS, true);
}

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

#define LOCAL(name) cmocka_unit_test_setup_teardown(name, begin, end)

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
    LOCAL(of_two_at_the_same_instant_exactly_one_serves),
    LOCAL(of_two_hundred_one_serves_and_the_others_meet_it),
    LOCAL(an_impostor_is_refused_before_a_byte_is_sent),
    LOCAL(a_client_of_another_user_is_refused_and_reported),
    LOCAL(a_name_of_a_group_is_open_to_it_and_closed_to_others),
    LOCAL(what_another_of_the_group_has_left_behind_is_replaced),
    LOCAL(a_name_for_all_is_open_to_all),
    LOCAL(who_means_another_audience_does_not_meet),
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
