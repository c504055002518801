/* SPDX-License-Identifier: MIT */
/* unix_world.c: the common part of the tests of UNIX sockets. */
#define _GNU_SOURCE 1

#include "unix_world.h"

#include "forked.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

unix_world there;

static pco_ssl_context *client_context;

int unix_world_begin(void **state)
{
    snprintf(there.folder, sizeof there.folder, "/tmp/portico-unix-XXXXXX");
    if (mkdtemp(there.folder) == NULL) {
        return -1;
    }
    snprintf(there.path, sizeof there.path, "%s/socket", there.folder);
    client_context = NULL;
    return world_begin(state);
}

int unix_world_end(void **state)
{
    char command[100];
    pco_ssl_context_release(client_context);
    int code = world_end(state);
    snprintf(command, sizeof command, "rm -rf %s", there.folder);
    return system(command) == 0 ? code : -1;
}

/* ---- Both ends ---- */

pco_server_options unix_server(void)
{
    pco_server_options options = server_options();
    options.host = NULL;
    return options;
}

pco_connection_options unix_connection(void)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_ssl_context_options trust = {.size = sizeof trust,
                                     .dangerously_accept_any_certificate = PCO_ON};
    if (!at.tls) {
        return options;
    }
    if (client_context == NULL) {
        assert_int_equal(pco_ssl_context_new_client(&trust, &client_context, NULL), 0);
    }
    options.ssl = client_context;
    options.server_hostname = "localhost";
    return options;
}

void unix_serve(const char *path, const pco_unix_options *file)
{
    pco_server_options options = unix_server();
    pco_error error = {0};
    if (pco_loop_create_unix_server(at.loop, path, &options, file, &at.server, &error) != 0) {
        fail_msg("create_unix_server: %s", error.message);
    }
}

void unix_note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                         void *context)
{
    outcome *told = context;
    told->calls++;
    told->transport = transport;
    told->protocol = (record *)protocol;
    if (error != NULL) {
        told->error = *error;
    }
}

void unix_connect_begin(const char *path, const pco_connection_options *options, outcome *told,
                        pco_request **request)
{
    pco_error error = {0};
    if (pco_loop_create_unix_connection(at.loop, path, options, unix_note_connected, told, request,
                                        &error) != 0) {
        fail_msg("create_unix_connection: %s", error.message);
    }
    assert_int_equal(told->calls, 0);
}

outcome unix_connect(const char *path)
{
    outcome told = {0};
    pco_connection_options options = unix_connection();
    unix_connect_begin(path, &options, &told, NULL);
    assert_true(reaches(&told.calls, 1));
    return told;
}

outcome unix_connect_well(const char *path)
{
    unsigned made = at.made;
    outcome told = unix_connect(path);
    if (told.transport == NULL) {
        fail_msg("create_unix_connection told: %s", told.error.message);
    }
    assert_true(reaches(&at.made, made + 2));
    return told;
}

record *unix_other_end(const outcome *client)
{
    record *one = at.records;
    while (one == client->protocol) {
        one = one->next;
    }
    return one;
}

void unix_talk(const outcome *client)
{
    record *server = unix_other_end(client);
    pco_transport_write(client->transport, "question", 8);
    assert_true(grows_to(&server->length, 8));
    assert_memory_equal(server->data, "question", 8);
    pco_transport_write(server->transport, pattern(300000), 300000);
    assert_true(grows_to(&client->protocol->length, 300000));
    assert_memory_equal(client->protocol->data, pattern(300000), 300000);
}

void unix_part(const outcome *client)
{
    pco_transport_close(client->transport);
    assert_true(reaches(&at.lost, at.made));
    end_server();
}

void unix_assert_refused(const char *path, const pco_server_options *options,
                         const pco_unix_options *file, int code, const char *word)
{
    pco_server *made = NULL;
    pco_error error = {0};
    unsigned sockets = count_sockets();
    assert_int_equal(pco_loop_create_unix_server(at.loop, path, options, file, &made, &error),
                     code);
    assert_int_equal(error.code, code);
    if (strstr(error.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error.message, word);
    }
    assert_null(made);
    assert_int_equal(count_sockets(), sockets);
}

void unix_assert_path_refused(const char *path, int code, const char *word)
{
    pco_server_options options = unix_server();
    unix_assert_refused(path, &options, NULL, code, word);
}

/* ---- Files and raw sockets ---- */

bool exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static struct sockaddr_un name_of(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof name.sun_path);
    memcpy(name.sun_path, path, strlen(path));
    return name;
}

int bound_raw(const char *path, int type)
{
    struct sockaddr_un name = name_of(path);
    int sock = socket(AF_UNIX, type, 0);
    assert_true(sock >= 0);
    assert_int_equal(bind(sock, (const struct sockaddr *)&name, sizeof name), 0);
    return sock;
}

void leave_behind(const char *path)
{
    close(bound_raw(path, SOCK_STREAM));
    assert_true(exists(path));
}

int connected_raw(const char *path)
{
    struct sockaddr_un name = name_of(path);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(sock >= 0);
    fcntl(sock, F_SETFL, O_NONBLOCK);
    if (connect(sock, (const struct sockaddr *)&name, sizeof name) == 0) {
        return sock;
    }
    int code = errno;
    close(sock);
    errno = code;
    return -1;
}

/* ---- Another process, another user ---- */

void need_root(void)
{
    if (geteuid() != 0) {
        print_message("skipped: only root can be another user\n");
        skip();
    }
}

static pid_t fork_for(int (*what)(void), bool as_nobody)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool is_ready =
            !as_nobody || (setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
        end_forked(is_ready ? what() : 98);
    }
    return child;
}

pid_t as_nobody_begin(int (*what)(void))
{
    return fork_for(what, true);
}

int child_end(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

int as_nobody(int (*what)(void))
{
    return child_end(as_nobody_begin(what));
}

int as_child(int (*what)(void))
{
    return child_end(fork_for(what, false));
}
