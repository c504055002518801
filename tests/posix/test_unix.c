/* SPDX-License-Identifier: MIT */
/*
 * Goal: servers and connections on UNIX sockets are what portico/unix.h promises, files included.
 * Method: real sockets, in a folder of each test's own; what is in the way there is made by hand.
 */
#define _GNU_SOURCE 1

#include "behaviour.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNIX_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static char folder[64];
static char path[100]; /* of a socket in it */

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    record *protocol;
    pco_error error;
} outcome;

static int begin(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/portico-unix-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/socket", folder);
    return world_begin(state);
}

static int end(void **state)
{
    char command[100];
    int code = world_end(state);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? code : -1;
}

/* ---- Both ends ---- */

static pco_server_options unix_server(void)
{
    pco_server_options options = server_options();
    options.host = NULL;
    return options;
}

static void serve_at(const char *where, const pco_unix_options *file)
{
    pco_server_options options = unix_server();
    pco_error error = {0};
    if (pco_loop_create_unix_server(at.loop, where, &options, file, &at.server, &error) != 0) {
        fail_msg("create_unix_server: %s", error.message);
    }
}

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
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

static pco_connection_options unix_connection(void)
{
    return (pco_connection_options){.size = sizeof(pco_connection_options),
                                    .protocol_factory = make_record};
}

static outcome connect_at(const char *where)
{
    outcome told = {0};
    pco_connection_options options = unix_connection();
    pco_error error = {0};
    if (pco_loop_create_unix_connection(at.loop, where, &options, note_connected, &told, NULL,
                                        &error) != 0) {
        fail_msg("create_unix_connection: %s", error.message);
    }
    assert_true(reaches(&told.calls, 1));
    return told;
}

static outcome connect_well(const char *where)
{
    outcome told = connect_at(where);
    if (told.transport == NULL) {
        fail_msg("create_unix_connection told: %s", told.error.message);
    }
    assert_true(reaches(&at.made, 2));
    return told;
}

static bool exists(const char *where)
{
    struct stat status;
    return lstat(where, &status) == 0;
}

/* The record of the server's end: there are two. */
static record *other_than(const record *client)
{
    record *one = at.records;
    while (one == client) {
        one = one->next;
    }
    return one;
}

static void talk(outcome client)
{
    record *server = other_than(client.protocol);
    pco_transport_write(client.transport, "question", 8);
    assert_true(grows_to(&server->length, 8));
    assert_memory_equal(server->data, "question", 8);
    pco_transport_write(server->transport, pattern(300000), 300000);
    assert_true(grows_to(&client.protocol->length, 300000));
    assert_memory_equal(client.protocol->data, pattern(300000), 300000);
}

static void part(outcome client)
{
    pco_transport_close(client.transport);
    assert_true(reaches(&at.lost, 2));
    end_server();
}

static void assert_host_is(const pco_address *address, const char *host)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    assert_int_equal(pco_address_family(address), PCO_AF_UNIX);
    assert_int_equal(pco_address_host(address, text, sizeof text), 0);
    assert_string_equal(text, host);
}

/* The server is refused with the code, and a sentence in which `word` is found. */
static void assert_server_refused(const char *where, const pco_server_options *options,
                                  const pco_unix_options *file, int code, const char *word)
{
    pco_server *made = NULL;
    pco_error error = {0};
    unsigned sockets = count_sockets();
    assert_int_equal(pco_loop_create_unix_server(at.loop, where, options, file, &made, &error),
                     code);
    assert_int_equal(error.code, code);
    if (strstr(error.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error.message, word);
    }
    assert_null(made);
    assert_int_equal(count_sockets(), sockets);
}

static void assert_path_refused(const char *where, int code, const char *word)
{
    pco_server_options options = unix_server();
    assert_server_refused(where, &options, NULL, code, word);
}

/* ---- Serving and connecting ---- */

static void both_ends_talk_and_the_file_goes_with_the_server(void **state)
{
    (void)state;
    serve_at(path, NULL);
    assert_true(exists(path));
    outcome client = connect_well(path);
    talk(client);
    part(client);
    assert_false(exists(path));
}

static void who_connects_has_no_name_and_the_server_its_path(void **state)
{
    (void)state;
    serve_at(path, NULL);
    outcome client = connect_well(path);
    record *server = other_than(client.protocol);
    pco_address address;
    assert_int_equal(pco_server_get_sockname(at.server, 0, &address), 0);
    assert_host_is(&address, path);
    assert_int_equal(pco_transport_get_peername(client.transport, &address), 0);
    assert_host_is(&address, path);
    assert_int_equal(pco_transport_get_sockname(server->transport, &address), 0);
    assert_host_is(&address, path);
    assert_int_equal(pco_transport_get_sockname(client.transport, &address), 0);
    assert_host_is(&address, "");
    assert_int_equal(pco_transport_get_peername(server->transport, &address), 0);
    assert_host_is(&address, "");
    part(client);
}

static void an_empty_path_is_refused(void **state)
{
    (void)state;
    assert_path_refused("", PCO_EINVAL, "path is empty");
}

static void a_path_too_long_is_refused_with_how_much_there_is_room_for(void **state)
{
    (void)state;
    char longest[400];
    size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    char sentence[60];
    snprintf(longest, sizeof longest, "%s/%0250d", folder, 7);
    snprintf(sentence, sizeof sentence, "path has %zu bytes, and", strlen(longest));
    assert_path_refused(longest, PCO_EINVAL, sentence);
    snprintf(sentence, sizeof sentence, "room for %zu:", room);
    longest[room + 1] = '\0';
    assert_path_refused(longest, PCO_EINVAL, sentence);
    longest[room] = '\0';
    serve_at(longest, NULL);
    part(connect_well(longest));
    assert_false(exists(longest));
}

static void what_is_in_the_way_stays_and_is_named(void **state)
{
    (void)state;
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    assert_path_refused(path, PCO_EADDRINUSE, "no socket");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_path_refused(path, PCO_EADDRINUSE, "a folder is there");
    rmdir(path);
    assert_int_equal(symlink("nowhere", path), 0);
    assert_path_refused(path, PCO_EADDRINUSE, "a symbolic link is there");
    assert_true(exists(path));
}

static void a_live_servers_socket_stays(void **state)
{
    (void)state;
    serve_at(path, NULL);
    assert_path_refused(path, PCO_EADDRINUSE, "a program has that socket open");
    part(connect_well(path));
}

/* Binds a socket there, and closes it, as a program does that crashes. */
static void leave_behind(const char *where)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(strlen(where) < sizeof name.sun_path);
    memcpy(name.sun_path, where, strlen(where));
    assert_int_equal(bind(sock, (const struct sockaddr *)&name, sizeof name), 0);
    close(sock);
    assert_true(exists(where));
}

static void what_a_crash_has_left_makes_room(void **state)
{
    (void)state;
    leave_behind(path);
    serve_at(path, NULL);
    part(connect_well(path));
    assert_false(exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIX_TEST(both_ends_talk_and_the_file_goes_with_the_server),
        UNIX_TEST(who_connects_has_no_name_and_the_server_its_path),
        UNIX_TEST(an_empty_path_is_refused),
        UNIX_TEST(a_path_too_long_is_refused_with_how_much_there_is_room_for),
        UNIX_TEST(what_is_in_the_way_stays_and_is_named),
        UNIX_TEST(a_live_servers_socket_stays),
        UNIX_TEST(what_a_crash_has_left_makes_room),
    };

    return run_here("unix", tests, sizeof tests / sizeof tests[0]);
}
