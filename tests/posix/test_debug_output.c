/* SPDX-License-Identifier: MIT */
/*
 * Goal: in debug mode somebody hears of trouble even where nobody has set an exception handler;
 * outside of debug mode the library prints nothing, ever.
 * Method: stderr is a file while a server refuses a client because of its protocol's table.
 */
#define _GNU_SOURCE 1

#include "support.h"

#include <unistd.h>

static const pco_protocol_methods without_size = {.data_received = NULL};
static pco_protocol protocol = {&without_size};

static pco_protocol *make(void *context)
{
    (void)context;
    return &protocol;
}

static unsigned heard;

static void hear(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)what;
    (void)context;
    heard++;
}

static FILE *file;
static int before;

static void redirect(void)
{
    file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    before = dup(2);
    assert_true(before >= 0);
    assert_int_equal(dup2(fileno(file), 2), 2);
}

/* Puts stderr back, and returns what was written. */
static const char *restore(void)
{
    static char text[1024];

    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static pco_loop *new_loop(bool debug)
{
    pco_loop *loop = fake_loop_new();

    assert_non_null(loop);
    pco_loop_set_debug(loop, debug);
    return loop;
}

/* What is printed when a client is refused. */
static const char *printed(bool debug, bool has_handler)
{
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = make, .host = "127.0.0.1"};
    pco_loop *loop = new_loop(debug);
    pco_server *server = NULL;

    heard = 0;
    if (has_handler) {
        pco_loop_set_exception_handler(loop, hear, NULL);
    }
    assert_int_equal(pco_loop_create_server(loop, &options, &server, NULL), 0);
    redirect();
    fake_connect(loop, pco_server_get_socket(server, 0), NULL);
    run_turns(loop, 3);
    const char *text = restore();
    pco_server_free(server);
    pco_loop_free(loop);
    return text;
}

static void debug_mode_prints_what_no_handler_hears(void **state)
{
    (void)state;
    assert_string_equal(printed(true, false),
                        "portico: a connection was refused: protocol_factory returned a protocol "
                        "without a table of methods, or whose size is not "
                        "sizeof(pco_protocol_methods)\n");
}

static void what_a_handler_hears_is_not_printed(void **state)
{
    (void)state;
    assert_string_equal(printed(true, true), "");
    assert_int_equal(heard, 1);
}

static void outside_of_debug_mode_nothing_is_printed(void **state)
{
    (void)state;
    assert_string_equal(printed(false, false), "");
    assert_string_equal(printed(false, true), "");
    assert_int_equal(heard, 1);
}

static void each_report_is_a_line(void **state)
{
    const pco_error error = {.code = PCO_EIO, .message = "two\nlines"};
    const pco_exception_context long_one = {
        .size = sizeof long_one, .message = "a\nb", .error = &error};
    const pco_exception_context short_one = {.size = sizeof short_one, .message = "no reason"};
    pco_loop *loop = new_loop(true);

    (void)state;
    redirect();
    pco_loop_call_exception_handler(loop, &long_one);
    pco_loop_call_exception_handler(loop, &short_one);
    const char *text = restore();
    pco_loop_free(loop);
    assert_string_equal(text, "portico: a\\x0Ab: two\\x0Alines\nportico: no reason\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debug_mode_prints_what_no_handler_hears),
        cmocka_unit_test(what_a_handler_hears_is_not_printed),
        cmocka_unit_test(outside_of_debug_mode_nothing_is_printed),
        cmocka_unit_test(each_report_is_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
