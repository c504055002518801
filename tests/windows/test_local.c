/* SPDX-License-Identifier: MIT */
/*
 * Goal: on Windows, too, programs find each other by a name, and nobody else: one serves, all
 * others are told; a name is free when its server has ended in whatever way; an impostor that made
 * the pipe first is refused.
 * Method: pipes of the system, under names that only this run has; this program, started again, is
 * another one.
 */
#include "win32/win32.h"

#include <sddl.h>

#include "behaviour.h"
#include "child.h"
#include "system/local.h"

static char name[64]; /* each test has one */

static int begin(void **state)
{
    static unsigned number;
    snprintf(name, sizeof name, "test.portico.%lu.%u", GetCurrentProcessId(), ++number);
    return world_begin(state);
}

static int serve_as(pco_loop *loop, int audience, pco_server **server, pco_error *error)
{
    pco_server_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_local_options local = {.size = sizeof local, .audience = audience};
    return pco_loop_create_local_server(loop, name, &options, &local, server, error);
}

static void serve_name(int audience)
{
    pco_error error;
    if (serve_as(at.loop, audience, &at.server, &error) != 0) {
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

static int connect_as(int audience)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_local_options local = {.size = sizeof local, .audience = audience};
    pco_error error;
    memset(&told, 0, sizeof told);
    if (pco_loop_create_local_connection(at.loop, name, &options, &local, connected, NULL, NULL,
                                         &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_true(reaches(&told.calls, 1));
    return told.error.code;
}

static void assert_comes_through(int audience)
{
    unsigned made = at.made;
    if (connect_as(audience) != 0) {
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
    serve_name(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
    assert_int_equal(at.reports, 0);
}

static void a_second_server_is_told_that_there_is_one(void **state)
{
    (void)state;
    pco_server *second = NULL;
    pco_error error = {0};
    serve_name(PCO_LOCAL_USER);
    assert_int_equal(serve_as(at.loop, PCO_LOCAL_USER, &second, &error), PCO_EADDRINUSE);
    assert_null(second);
    assert_non_null(strstr(error.message, "is already running"));
    assert_comes_through(PCO_LOCAL_USER);
}

static void a_name_is_free_as_soon_as_its_server_is_closed(void **state)
{
    (void)state;
    serve_name(PCO_LOCAL_USER);
    end_server();
    assert_int_equal(connect_as(PCO_LOCAL_USER), PCO_ECONNREFUSED);
    serve_name(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
}

static void names_for_the_group_and_for_all_are_others(void **state)
{
    (void)state;
    pco_server *group = NULL;
    pco_server *all = NULL;
    serve_name(PCO_LOCAL_USER);
    assert_int_equal(connect_as(PCO_LOCAL_GROUP), PCO_ECONNREFUSED);
    assert_int_equal(serve_as(at.loop, PCO_LOCAL_GROUP, &group, NULL), 0);
    assert_int_equal(serve_as(at.loop, PCO_LOCAL_ALL, &all, NULL), 0);
    assert_comes_through(PCO_LOCAL_GROUP);
    assert_comes_through(PCO_LOCAL_ALL);
    pco_server_free(group);
    pco_server_free(all);
}

static void the_longest_names_are_told_apart(void **state)
{
    (void)state;
    pco__local_place one;
    pco__local_place other;
    char text[256];
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(pco__local_find(text, PCO_LOCAL_USER, true, &one, NULL), 0);
    text[sizeof text - 2] = 'm';
    assert_int_equal(pco__local_find(text, PCO_LOCAL_USER, true, &other, NULL), 0);
    assert_true(one.is_pipe);
    assert_true(strlen("\\\\.\\pipe\\") + strlen(one.where) <= 256);
    assert_string_not_equal(one.where, other.where);
}

/* ---- An impostor ---- */

/* Descriptors of what is somebody's who is not this user: the administrators'. */
#define OPEN_TO_ALL "O:BAD:(A;;GA;;;WD)"
#define OPEN_TO_NOBODY "O:BAD:(A;;GA;;;SY)"

static SECURITY_ATTRIBUTES of_another(const char *sddl)
{
    SECURITY_ATTRIBUTES attributes = {.nLength = sizeof attributes};
    assert_true(ConvertStringSecurityDescriptorToSecurityDescriptorA(
        sddl, SDDL_REVISION_1, &attributes.lpSecurityDescriptor, NULL));
    return attributes;
}

static void skip_without_administrator(DWORD code)
{
    if (code == ERROR_INVALID_OWNER) {
        print_message("needs an administrator, who can make what is not its own\n");
        skip();
    }
}

static HANDLE make_pipe(const char *sddl, DWORD instances)
{
    pco__local_place place;
    char path[320];
    SECURITY_ATTRIBUTES attributes = of_another(sddl);
    assert_int_equal(pco__local_find(name, PCO_LOCAL_USER, true, &place, NULL), 0);
    snprintf(path, sizeof path, "\\\\.\\pipe\\%s", place.where);
    HANDLE pipe = CreateNamedPipeA(path, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE,
                                   instances, 4096, 4096, 0, &attributes);
    DWORD code = GetLastError();
    LocalFree(attributes.lpSecurityDescriptor);
    if (pipe == INVALID_HANDLE_VALUE) {
        skip_without_administrator(code);
    }
    assert_true(pipe != INVALID_HANDLE_VALUE);
    return pipe;
}

/* Makes the pipe of the name, as somebody who is not this user. */
static HANDLE make_pipe_of_another(void)
{
    return make_pipe(OPEN_TO_ALL, PIPE_UNLIMITED_INSTANCES);
}

static void an_impostor_is_refused_before_a_byte_is_sent(void **state)
{
    (void)state;
    HANDLE pipe = make_pipe_of_another();
    DWORD waiting = 0;
    assert_int_equal(connect_as(PCO_LOCAL_USER), PCO_EACCES);
    assert_non_null(strstr(told.error.message, "who serves it is not this user"));
    assert_int_equal(at.factory_calls, 0);
    let_pass(3);
    BOOL goes_on = PeekNamedPipe(pipe, NULL, 0, NULL, &waiting, NULL);
    assert_false(goes_on && waiting != 0);
    CloseHandle(pipe);
}

/* That the name is taken is no word of this user's program: it is not running. */
static void a_server_is_told_of_an_impostor(void **state)
{
    (void)state;
    const struct {
        const char *sddl;
        DWORD instances;
    } ways[] = {{OPEN_TO_ALL, PIPE_UNLIMITED_INSTANCES},
                {OPEN_TO_ALL, 1},
                {OPEN_TO_NOBODY, PIPE_UNLIMITED_INSTANCES}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        pco_error error = {0};
        HANDLE pipe = make_pipe(ways[i].sddl, ways[i].instances);
        assert_int_equal(serve_as(at.loop, PCO_LOCAL_USER, &at.server, &error), PCO_EACCES);
        assert_null(at.server);
        assert_null(strstr(error.message, "already running"));
        assert_non_null(strstr(error.message, name));
        assert_non_null(strstr(error.message, "who serves it is not this user"));
        CloseHandle(pipe);
    }
    serve_name(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
}

/* The name of the mutex is for whoever comes first, too, and keeps nobody from serving. */
static void a_mutex_of_another_does_not_count(void **state)
{
    (void)state;
    const char *ways[] = {OPEN_TO_ALL, OPEN_TO_NOBODY};
    pco_server *second = NULL;
    pco__local_place place;
    assert_int_equal(pco__local_find(name, PCO_LOCAL_USER, true, &place, NULL), 0);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        SECURITY_ATTRIBUTES attributes = of_another(ways[i]);
        HANDLE mutex = CreateMutexA(&attributes, FALSE, place.lock);
        DWORD code = GetLastError();
        LocalFree(attributes.lpSecurityDescriptor);
        skip_without_administrator(code);
        assert_non_null(mutex);
        serve_name(PCO_LOCAL_USER);
        assert_comes_through(PCO_LOCAL_USER);
        assert_int_equal(serve_as(at.loop, PCO_LOCAL_USER, &second, NULL), PCO_EADDRINUSE);
        end_server();
        CloseHandle(mutex);
    }
    HANDLE other = CreateEventA(NULL, TRUE, FALSE, place.lock);
    assert_non_null(other);
    serve_name(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
    CloseHandle(other);
}

/* ---- Other programs ---- */

/* In the second process: serves the name until it is killed; 3: it has an owner. */
static int serve_in_child(const char *wanted)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    snprintf(name, sizeof name, "%s", wanted);
    child_ends_without_a_word();
    int code = pco_loop_new(NULL, &loop, NULL);
    if (code == 0) {
        code = serve_as(loop, PCO_LOCAL_USER, &server, NULL);
    }
    if (code != 0) {
        return code == PCO_EADDRINUSE ? 3 : 1;
    }
    pco_loop_run_forever(loop);
    return 0;
}

static HANDLE start_child(void)
{
    char path[MAX_PATH];
    char command[MAX_PATH + 128];
    STARTUPINFOA how = {.cb = sizeof how};
    PROCESS_INFORMATION child;
    assert_true(GetModuleFileNameA(NULL, path, sizeof path) < sizeof path);
    snprintf(command, sizeof command, "\"%s\" --serve %s", path, name);
    assert_true(CreateProcessA(path, command, NULL, NULL, FALSE, 0, NULL, NULL, &how, &child));
    CloseHandle(child.hThread);
    return child.hProcess;
}

static void kill_child(HANDLE child)
{
    TerminateProcess(child, 9);
    assert_int_equal(WaitForSingleObject(child, (DWORD)(PATIENCE * 1000)), WAIT_OBJECT_0);
    CloseHandle(child);
}

/* Asks until somebody serves it. */
static void wait_for_server(void)
{
    double end = pco_loop_time(at.loop) + PATIENCE;
    while (connect_as(PCO_LOCAL_USER) == PCO_ECONNREFUSED) {
        assert_true(pco_loop_time(at.loop) < end);
    }
    assert_int_equal(told.error.code, 0);
    pco_transport_abort(told.transport);
    assert_true(all_are_lost());
}

static void the_name_of_a_program_that_is_killed_is_taken_over(void **state)
{
    (void)state;
    pco_server *second = NULL;
    HANDLE child = start_child();
    wait_for_server();
    assert_int_equal(serve_as(at.loop, PCO_LOCAL_USER, &second, NULL), PCO_EADDRINUSE);
    kill_child(child);
    serve_name(PCO_LOCAL_USER);
    assert_comes_through(PCO_LOCAL_USER);
}

#define STARTS 8

/* All but one end by themselves, and say why. */
static void of_several_that_start_at_once_exactly_one_serves(void **state)
{
    (void)state;
    HANDLE children[STARTS];
    unsigned told_so = 0;
    for (unsigned i = 0; i < STARTS; i++) {
        children[i] = start_child();
    }
    DWORD patience = (DWORD)(PATIENCE * 1000);
    DWORD left = STARTS;
    while (left > 1) {
        DWORD code = 0;
        DWORD which = WaitForMultipleObjects(left, children, FALSE, patience) - WAIT_OBJECT_0;
        assert_true(which < left);
        assert_true(GetExitCodeProcess(children[which], &code));
        told_so += code == 3;
        CloseHandle(children[which]);
        children[which] = children[--left];
    }
    assert_int_equal(told_so, STARTS - 1);
    wait_for_server();
    kill_child(children[0]);
}

#define LOCAL(name) cmocka_unit_test_setup_teardown(name, begin, world_end)

static const struct CMUnitTest tests[] = {
    LOCAL(both_ends_meet_by_a_name),
    LOCAL(a_second_server_is_told_that_there_is_one),
    LOCAL(a_name_is_free_as_soon_as_its_server_is_closed),
    LOCAL(names_for_the_group_and_for_all_are_others),
    LOCAL(the_longest_names_are_told_apart),
    LOCAL(an_impostor_is_refused_before_a_byte_is_sent),
    LOCAL(a_server_is_told_of_an_impostor),
    LOCAL(a_mutex_of_another_does_not_count),
    LOCAL(the_name_of_a_program_that_is_killed_is_taken_over),
    LOCAL(of_several_that_start_at_once_exactly_one_serves),
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        return serve_in_child(argv[2]);
    }
    return run_here("local", tests, sizeof tests / sizeof tests[0]);
}
