/* SPDX-License-Identifier: MIT */
/*
 * Goal: in debug mode every function that is for the loop's thread alone ends the program on
 * another one; what has outlived its loop may be used on any.
 * Method: CALLS lists the functions of the public headers but for those that any thread may call.
 * Each is called from a callback of the loop, where nothing happens, and on a thread that the
 * callback waits for, in a second process: this program, run with the name.
 */
#include "child.h"
#include "support.h"

static const char *program;
static pco_loop *room; /* where callbacks wait for another thread */

/* ---- One of each object ---- */

static pco_loop *loop;
static pco_server *server;
static pco_handle *handle;
static connection a;
static connection b;
static pco_transport *open_one;
static pco_transport *shell;

static pco_protocol *refuse(void *context)
{
    (void)context;
    return NULL;
}

static const pco_server_options server_options = {
    .size = sizeof server_options, .protocol_factory = refuse, .host = "127.0.0.1"};

static void do_nothing(void *context)
{
    (void)context;
}

static void closed(pco_server *of, void *context)
{
    (void)of;
    (void)context;
}

static void detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                     void *context)
{
    (void)sock;
    (void)data;
    (void)length;
    (void)error;
    (void)context;
}

static void signaled(int number, void *context)
{
    (void)number;
    (void)context;
}

static bool is_so(void *context)
{
    (void)context;
    return true;
}

static pco_transport *open_and_retain(connection *self)
{
    connection_init(self, false);
    connection_open(self, loop);
    return pco_transport_retain(self->transport);
}

static void make_objects(void)
{
    loop = fake_loop_new();
    assert_non_null(loop);
    pco_loop_set_debug(loop, true);
    assert_int_equal(pco_loop_create_server(loop, &server_options, &server, NULL), 0);
    assert_int_equal(pco_loop_call_later(loop, 60, do_nothing, NULL, &handle), 0);
    open_one = open_and_retain(&a);
    shell = open_and_retain(&b);
    pco_transport_abort(shell);
    run_turns(loop, 3);
    assert_true(connection_is_lost(&b));
}

/* Those that are NULL have been given up already. */
static void give_objects_up(void)
{
    pco_server_free(server);
    pco_handle_release(handle);
    if (open_one != NULL) {
        pco_transport_release(open_one);
    }
    if (shell != NULL) {
        pco_transport_release(shell);
    }
    server = NULL;
    handle = NULL;
    open_one = NULL;
    shell = NULL;
}

static void free_objects(void)
{
    give_objects_up();
    assert_int_equal(pco_loop_free(loop), 0);
    connection_free(&a);
    connection_free(&b);
}

/* ---- The calls ---- */

static pco_exception_context what = {.size = sizeof what, .message = "a mishap"};
static pco_server_counters counters = {.size = sizeof counters};
static pco_ssl_info info = {.size = sizeof info};
static pco_transport_counters moved = {.size = sizeof moved};
static pco_ssl_certificate_info certificate = {.size = sizeof certificate};
static pco_ssl_session *session;
static unsigned char secret[PCO_SSL_CHANNEL_BINDING_SIZE];
static pco_buffer buffer = {.data = "x", .length = 1};
static pco_address address;
static size_t high;
static size_t low;

/* X(name, function, its arguments) */
#define CALLS(X)                                                                                   \
    X(free, pco_loop_free, (loop))                                                                 \
    X(run_forever, pco_loop_run_forever, (loop))                                                   \
    X(run_once, pco_loop_run_once, (loop, 0))                                                      \
    X(run_until, pco_loop_run_until, (loop, is_so, NULL, 0))                                       \
    X(is_running, pco_loop_is_running, (loop))                                                     \
    X(host, pco_loop_host, (loop, do_nothing, NULL, NULL))                                         \
    X(get_descriptor, pco_loop_get_descriptor, (loop))                                             \
    X(next_timeout, pco_loop_next_timeout, (loop))                                                 \
    X(set_turn_budget, pco_loop_set_turn_budget, (loop, 0))                                        \
    X(time, pco_loop_time, (loop))                                                                 \
    X(backend, pco_loop_backend, (loop))                                                           \
    X(call_soon, pco_loop_call_soon, (loop, do_nothing, NULL, NULL))                               \
    X(call_later, pco_loop_call_later, (loop, 0, do_nothing, NULL, NULL))                          \
    X(call_at, pco_loop_call_at, (loop, 0, do_nothing, NULL, NULL))                                \
    X(set_exception_handler, pco_loop_set_exception_handler, (loop, NULL, NULL))                   \
    X(call_exception_handler, pco_loop_call_exception_handler, (loop, &what))                      \
    X(get_debug, pco_loop_get_debug, (loop))                                                       \
    X(set_debug, pco_loop_set_debug, (loop, false))                                                \
    X(add_signal_handler, pco_loop_add_signal_handler, (loop, PCO_SIGINT, signaled, NULL, NULL))   \
    X(remove_signal_handler, pco_loop_remove_signal_handler, (loop, PCO_SIGINT))                   \
    X(add_reader, pco_loop_add_reader, (loop, 0, do_nothing, NULL, NULL))                          \
    X(add_writer, pco_loop_add_writer, (loop, 0, do_nothing, NULL, NULL))                          \
    X(remove_reader, pco_loop_remove_reader, (loop, 0))                                            \
    X(remove_writer, pco_loop_remove_writer, (loop, 0))                                            \
    X(set_network_changed, pco_loop_set_network_changed, (loop, NULL, NULL, NULL))                 \
    X(handle_cancel, pco_handle_cancel, (handle))                                                  \
    X(handle_cancelled, pco_handle_cancelled, (handle))                                            \
    X(handle_when, pco_handle_when, (handle))                                                      \
    X(handle_release, pco_handle_release, (handle))                                                \
    X(create_server, pco_loop_create_server, (loop, NULL, &server, NULL))                          \
    X(create_server_async, pco_loop_create_server_async, (loop, NULL, NULL, NULL, NULL, NULL))     \
    X(server_get_socket_count, pco_server_get_socket_count, (server))                              \
    X(server_get_socket, pco_server_get_socket, (server, 0))                                       \
    X(server_get_sockname, pco_server_get_sockname, (server, 0, &address))                         \
    X(server_start_serving, pco_server_start_serving, (server, NULL))                              \
    X(server_serve_forever, pco_server_serve_forever, (server, NULL))                              \
    X(server_serve_until_signal, pco_server_serve_until_signal, (server, 0, NULL))                 \
    X(server_is_serving, pco_server_is_serving, (server))                                          \
    X(server_close, pco_server_close, (server))                                                    \
    X(server_close_clients, pco_server_close_clients, (server))                                    \
    X(server_abort_clients, pco_server_abort_clients, (server))                                    \
    X(server_wait_closed, pco_server_wait_closed, (server, closed, NULL))                          \
    X(server_shutdown, pco_server_shutdown, (server, 0))                                           \
    X(server_get_loop, pco_server_get_loop, (server))                                              \
    X(server_get_counters, pco_server_get_counters, (server, &counters))                           \
    X(server_free, pco_server_free, (server))                                                      \
    X(write, pco_transport_write, (open_one, "x", 1))                                              \
    X(writelines, pco_transport_writelines, (open_one, &buffer, 1))                                \
    X(write_owned, pco_transport_write_owned, (open_one, "x", 1, NULL, NULL))                      \
    X(write_eof, pco_transport_write_eof, (open_one))                                              \
    X(can_write_eof, pco_transport_can_write_eof, (open_one))                                      \
    X(close, pco_transport_close, (open_one))                                                      \
    X(detach, pco_transport_detach, (open_one, detached, NULL, NULL, NULL))                        \
    X(abort, pco_transport_abort, (open_one))                                                      \
    X(abort_reset, pco_transport_abort_reset, (open_one))                                          \
    X(is_closing, pco_transport_is_closing, (open_one))                                            \
    X(pause_reading, pco_transport_pause_reading, (open_one))                                      \
    X(resume_reading, pco_transport_resume_reading, (open_one))                                    \
    X(is_reading, pco_transport_is_reading, (open_one))                                            \
    X(get_protocol, pco_transport_get_protocol, (open_one))                                        \
    X(set_protocol, pco_transport_set_protocol, (open_one, &a.protocol.protocol))                  \
    X(set_limits, pco_transport_set_write_buffer_limits, (open_one, 2, 1))                         \
    X(get_limits, pco_transport_get_write_buffer_limits, (open_one, &high, &low))                  \
    X(get_write_buffer_size, pco_transport_get_write_buffer_size, (open_one))                      \
    X(get_loop, pco_transport_get_loop, (open_one))                                                \
    X(get_socket, pco_transport_get_socket, (open_one))                                            \
    X(get_sockname, pco_transport_get_sockname, (open_one, &address))                              \
    X(get_peername, pco_transport_get_peername, (open_one, &address))                              \
    X(get_transport_counters, pco_transport_get_counters, (open_one, &moved))                      \
    X(get_ssl_info, pco_transport_get_ssl_info, (open_one, &info))                                 \
    X(get_ssl_object, pco_transport_get_ssl_object, (open_one))                                    \
    X(get_ssl_session, pco_transport_get_ssl_session, (open_one, &session))                        \
    X(get_peer_certificate, pco_transport_get_peer_certificate, (open_one, 0, &certificate))       \
    X(get_channel_binding, pco_transport_get_channel_binding,                                      \
      (open_one, "tls-exporter", secret, sizeof secret, &high))                                    \
    X(export_keying_material, pco_transport_export_keying_material,                                \
      (open_one, "EXPORTER-test", NULL, 0, secret, sizeof secret))                                 \
    X(retain, pco_transport_retain, (open_one))                                                    \
    X(release, pco_transport_release, (open_one))                                                  \
    X(shell_write, pco_transport_write, (shell, "x", 1))                                           \
    X(shell_is_closing, pco_transport_is_closing, (shell))                                         \
    X(shell_get_loop, pco_transport_get_loop, (shell))                                             \
    X(shell_retain, pco_transport_retain, (shell))                                                 \
    X(shell_release, pco_transport_release, (shell))

#define DEFINE_CALL(name, function, arguments)                                                     \
    static void call_##name(void)                                                                  \
    {                                                                                              \
        (void)function arguments;                                                                  \
    }

CALLS(DEFINE_CALL)

#define LIST_CALL(name, function, arguments) {#name, call_##name},

static const struct {
    const char *name;
    void (*make)(void);
} calls[] = {CALLS(LIST_CALL)};

#define CALLS_COUNT (sizeof calls / sizeof calls[0])

/* Evens out what the call has done about who owns what. */
static void settle(void (*made)(void))
{
    if (made == call_server_free) {
        server = NULL;
    } else if (made == call_handle_release) {
        handle = NULL;
    } else if (made == call_release) {
        open_one = NULL;
    } else if (made == call_shell_release) {
        shell = NULL;
    } else if (made == call_retain) {
        pco_transport_release(open_one);
    } else if (made == call_shell_retain) {
        pco_transport_release(shell);
    }
}

/* ---- On the loop's thread ---- */

static void make_call(void *context)
{
    calls[*(const size_t *)context].make();
}

static void on_the_loops_thread_all_may_be_called(void **state)
{
    (void)state;
    memory_watch();
    for (size_t i = 0; i < CALLS_COUNT; i++) {
        make_objects();
        assert_int_equal(pco_loop_call_soon(loop, make_call, &i, NULL), 0);
        run_turns(loop, 1);
        settle(calls[i].make);
        free_objects();
    }
    assert_int_equal(memory_unwatch(), 0);
}

/* ---- On another thread ---- */

static void make_call_elsewhere(void *context)
{
    make_call(context);
    pco_loop_stop(room);
}

static void send_elsewhere(void *context)
{
    if (pco__thread_start(make_call_elsewhere, context, NULL) == 0) {
        pco_loop_run_forever(room);
    }
}

/* If it survives the call, the process ends without an error, whatever else is left. */
static void run_misuse(const char *name)
{
    for (size_t i = 0; i < CALLS_COUNT; i++) {
        if (strcmp(name, calls[i].name) == 0) {
            make_objects();
            pco_loop_call_soon(loop, send_elsewhere, &i, NULL);
            pco_loop_run_once(loop, 0);
        }
    }
    _Exit(0);
}

/* PORTICO_RUN is what runs a program here, if the system alone cannot. */
static int run_program(const char *argument)
{
    const char *emulator = getenv("PORTICO_RUN");
    char command[1024];

    snprintf(command, sizeof command, "%s \"%s\" %s", emulator != NULL ? emulator : "", program,
             argument);
    return system(command);
}

static void on_another_thread_each_ends_the_program(void **state)
{
    (void)state;
    assert_int_equal(run_program("nothing"), 0);
    for (size_t i = 0; i < CALLS_COUNT; i++) {
        if (run_program(calls[i].name) == 0) {
            fail_msg("%s may be called on another thread", calls[i].name);
        }
    }
}

/* ---- Without a loop ---- */

static void use_what_is_left(void *context)
{
    (void)context;
    pco_handle_cancel(handle);
    pco_server_close(server);
    pco_transport_release(pco_transport_retain(shell));
    pco_transport_write(open_one, "x", 1);
    give_objects_up();
    pco_loop_stop(room);
}

static void what_has_outlived_its_loop_may_be_used_on_any_thread(void **state)
{
    (void)state;
    memory_watch();
    make_objects();
    assert_int_equal(pco_loop_free(loop), 0);
    assert_int_equal(pco__thread_start(use_what_is_left, NULL, NULL), 0);
    assert_int_equal(pco_loop_run_forever(room), 0);
    assert_null(shell);
    connection_free(&a);
    connection_free(&b);
    assert_int_equal(memory_unwatch(), 0);
}

static void release_handle(void *context)
{
    (void)context;
    pco_handle_cancel(handle);
    pco_handle_release(handle);
    pco_loop_stop(room);
}

static void a_handle_that_the_loop_is_through_with_may_be_used_on_any_thread(void **state)
{
    (void)state;
    memory_watch();
    make_objects();
    pco_handle_release(handle);
    assert_int_equal(pco_loop_call_soon(loop, do_nothing, NULL, &handle), 0);
    run_turns(loop, 1);
    assert_int_equal(pco__thread_start(release_handle, NULL, NULL), 0);
    assert_int_equal(pco_loop_run_forever(room), 0);
    handle = NULL;
    free_objects();
    assert_int_equal(memory_unwatch(), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_loops_thread_all_may_be_called),
        cmocka_unit_test(on_another_thread_each_ends_the_program),
        cmocka_unit_test(what_has_outlived_its_loop_may_be_used_on_any_thread),
        cmocka_unit_test(a_handle_that_the_loop_is_through_with_may_be_used_on_any_thread),
    };

    if (pco_loop_new(NULL, &room, NULL) != 0) {
        return 1;
    }
    if (argc > 1) {
        child_ends_without_a_word();
        run_misuse(argv[1]);
    }
    program = argv[0];
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    pco_loop_free(room);
    return failures;
}
