/* SPDX-License-Identifier: MIT */
/*
 * Goal: events of the console are told as signals, to whoever handles them and only then; after
 * those by which Windows ends the process its thread is held back; the handler is in place while
 * somebody needs it, and afterwards not.
 * Method: the test's own function in the place of SetConsoleCtrlHandler, so that it can call the
 * handler as Windows does, on threads of its own. (A real Ctrl-C ends the examples in
 * peers/test_parameters.py.) The last test leaves a thread that is held back for ever.
 */
#include "win32/win32.h"

#include "imports.h"
#include "support.h"

#include <signal.h>

static PHANDLER_ROUTINE handler; /* in place; NULL: none */
static unsigned changes;
static bool refuses;

static BOOL WINAPI set_handler(PHANDLER_ROUTINE routine, BOOL add)
{
    if (refuses) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return FALSE;
    }
    changes++;
    if (add == (handler != NULL)) {
        fprintf(stderr, "the handler is added twice, or removed twice\n");
        abort();
    }
    handler = add ? routine : NULL;
    return TRUE;
}

static pco_loop *loop;
static unsigned told;
static int last_told;

static void note(int number, void *context)
{
    (void)context;
    told++;
    last_told = number;
}

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    told = 0;
    changes = 0;
    return pco_loop_new(NULL, &loop, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    return memory_unwatch() == 0 && handler == NULL ? 0 : -1;
}

static void handle(int number)
{
    assert_int_equal(pco_loop_add_signal_handler(loop, number, note, NULL, NULL), 0);
}

static DWORD WINAPI call_handler(void *kind)
{
    return (DWORD)handler((DWORD)(uintptr_t)kind);
}

/* As Windows calls it: on a new thread. */
static HANDLE come(DWORD kind)
{
    HANDLE thread = CreateThread(NULL, 0, call_handler, (void *)(uintptr_t)kind, 0, NULL);
    assert_non_null(thread);
    return thread;
}

static bool is_told(void *context)
{
    (void)context;
    return told != 0;
}

/* What the handler has returned. */
static DWORD result_of(DWORD kind)
{
    DWORD result = 2;
    HANDLE thread = come(kind);
    assert_int_equal(WaitForSingleObject(thread, 30000), WAIT_OBJECT_0);
    assert_true(GetExitCodeThread(thread, &result));
    CloseHandle(thread);
    return result;
}

static void an_event_wakes_the_loop_and_is_told(DWORD kind, int number)
{
    told = 0;
    assert_int_equal(result_of(kind), TRUE);
    assert_int_equal(told, 0);
    assert_int_equal(pco_loop_run_until(loop, is_told, NULL, 30), 0);
    assert_int_equal(last_told, number);
    run_turns(loop, 2);
    assert_int_equal(told, 1);
}

static void ctrl_c_and_ctrl_break_are_told_and_the_program_goes_on(void **state)
{
    (void)state;
    handle(SIGINT);
    handle(SIGBREAK);
    an_event_wakes_the_loop_and_is_told(CTRL_C_EVENT, SIGINT);
    an_event_wakes_the_loop_and_is_told(CTRL_BREAK_EVENT, SIGBREAK);
    an_event_wakes_the_loop_and_is_told(CTRL_C_EVENT, SIGINT);
}

static void what_nobody_handles_is_left_to_others(void **state)
{
    static const DWORD others[] = {
        CTRL_BREAK_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT, 3, 99};
    (void)state;
    handle(SIGINT);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; ++i) {
        assert_int_equal(result_of(others[i]), FALSE);
    }
    run_turns(loop, 2);
    assert_int_equal(told, 0);
}

static void the_handler_is_in_place_while_a_loop_needs_it(void **state)
{
    (void)state;
    pco_loop *other = NULL;
    assert_null(handler);
    assert_int_equal(pco_loop_new(NULL, &other, NULL), 0);
    handle(SIGINT);
    handle(SIGTERM);
    assert_int_equal(pco_loop_add_signal_handler(other, SIGINT, note, NULL, NULL), 0);
    assert_int_equal(changes, 1);
    assert_true(pco_loop_remove_signal_handler(loop, SIGINT));
    assert_true(pco_loop_remove_signal_handler(loop, SIGTERM));
    assert_non_null(handler);
    assert_int_equal(pco_loop_free(other), 0);
    assert_null(handler);
    handle(SIGINT);
    assert_int_equal(changes, 3);
}

static void signals_that_windows_does_not_have_are_refused(void **state)
{
    static const int bad[] = {SIGABRT, SIGSEGV, SIGFPE, SIGILL, 17, 3};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        pco_error error = {0};
        assert_int_equal(pco_loop_add_signal_handler(loop, bad[i], note, NULL, &error), PCO_EINVAL);
        assert_non_null(strstr(error.message, "SIGBREAK"));
    }
    assert_int_equal(changes, 0);
}

static void without_memory_for_the_handler_it_fails(void **state)
{
    (void)state;
    pco_error error = {0};
    refuses = true;
    assert_int_equal(pco_loop_add_signal_handler(loop, SIGINT, note, NULL, &error), PCO_ENOMEM);
    refuses = false;
    assert_non_null(strstr(error.message, "console"));
    assert_false(pco_loop_remove_signal_handler(loop, SIGINT));
    handle(SIGINT);
    an_event_wakes_the_loop_and_is_told(CTRL_C_EVENT, SIGINT);
}

/* The handler stays: it may not be taken out while Windows waits for it. */
static void what_ends_the_process_holds_its_thread_back(void **state)
{
    static const DWORD events[] = {CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT};
    static const int numbers[] = {PCO_SIGHUP, SIGTERM};
    (void)state;
    memory_watch();
    told = 0;
    assert_int_equal(pco_loop_new(NULL, &loop, NULL), 0);
    for (size_t i = 0; i < 2; ++i) {
        handle(numbers[i]);
        HANDLE thread = come(events[i]);
        assert_int_equal(pco_loop_run_until(loop, is_told, NULL, 30), 0);
        assert_int_equal(last_told, numbers[i]);
        assert_int_equal(WaitForSingleObject(thread, 100), WAIT_TIMEOUT);
        CloseHandle(thread);
        assert_true(pco_loop_remove_signal_handler(loop, numbers[i]));
        assert_non_null(handler);
        told = 0;
    }
    handle(SIGINT);
    an_event_wakes_the_loop_and_is_told(CTRL_C_EVENT, SIGINT);
    assert_int_equal(pco_loop_free(loop), 0);
    assert_non_null(handler);
    assert_int_equal(result_of(CTRL_C_EVENT), FALSE);
    assert_int_equal(memory_unwatch(), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ctrl_c_and_ctrl_break_are_told_and_the_program_goes_on),
        TEST(what_nobody_handles_is_left_to_others),
        TEST(the_handler_is_in_place_while_a_loop_needs_it),
        TEST(signals_that_windows_does_not_have_are_refused),
        TEST(without_memory_for_the_handler_it_fails),
        cmocka_unit_test(what_ends_the_process_holds_its_thread_back),
    };

    if (replace_import(NULL, "SetConsoleCtrlHandler", (any_function)set_handler) == NULL) {
        fprintf(stderr, "SetConsoleCtrlHandler is not imported\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
