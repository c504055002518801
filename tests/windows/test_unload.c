/* SPDX-License-Identifier: MIT */
/*
 * Goal: the DLL may be unloaded when the last loop is freed, although a look-up of a name is under
 * way that cannot be interrupted; and it says which version it is.
 * Method: the DLL is loaded by hand. The look-up is the test's own function, which waits.
 */
#include "win32/win32.h"

#include <portico.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "imports.h"

#define PATIENCE 20000 /* milliseconds that anything may take that must happen */

/* ---- The library ---- */

typedef struct library {
    HMODULE module;
    const char *(*version)(void);
    int (*loop_new)(const pco_loop_options *options, pco_loop **loop, pco_error *error);
    int (*loop_free)(pco_loop *loop);
    int (*create_server_async)(pco_loop *loop, const pco_server_options *options,
                               pco_server_created created, void *context, pco_error *error);
} library;

static any_function function_of(HMODULE module, const char *name)
{
    any_function found = (any_function)GetProcAddress(module, name);
    assert_non_null(found);
    return found;
}

static library load(void)
{
    library loaded = {.module = LoadLibraryA(PORTICO_DLL)};
    assert_non_null(loaded.module);
    loaded.version = (const char *(*)(void))function_of(loaded.module, "pco_version");
    loaded.loop_new = (int (*)(const pco_loop_options *, pco_loop **, pco_error *))function_of(
        loaded.module, "pco_loop_new");
    loaded.loop_free = (int (*)(pco_loop *))function_of(loaded.module, "pco_loop_free");
    loaded.create_server_async =
        (int (*)(pco_loop *, const pco_server_options *, pco_server_created, void *,
                 pco_error *))function_of(loaded.module, "pco_loop_create_server_async");
    return loaded;
}

static bool is_loaded(void)
{
    return GetModuleHandleA(PORTICO_DLL_NAME) != NULL;
}

/* ---- A look-up that takes as long as the test wants ---- */

static HANDLE looking;    /* set when the look-up has begun */
static HANDLE go_on;      /* ends it */
static HANDLE its_thread; /* on which it is */

static INT WSAAPI look_up(const WCHAR *host, const WCHAR *service, const ADDRINFOW *hints,
                          ADDRINFOW **found)
{
    (void)host, (void)service, (void)hints, (void)found;
    DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &its_thread, 0,
                    FALSE, DUPLICATE_SAME_ACCESS);
    SetEvent(looking);
    WaitForSingleObject(go_on, PATIENCE);
    return WSAHOST_NOT_FOUND;
}

static pco_protocol *make_none(void *context)
{
    (void)context;
    return NULL;
}

static void count_completion(pco_server *server, const pco_error *error, void *context)
{
    (void)server, (void)error;
    ++*(unsigned *)context;
}

static void unloaded_during_a_look_up_it_stays_until_that_ends(void **state)
{
    (void)state;
    library portico = load();
    pco_loop *loop = NULL;
    unsigned completions = 0;
    pco_server_options options = {
        .size = sizeof options, .protocol_factory = make_none, .host = "slow.example"};
    looking = CreateEventW(NULL, TRUE, FALSE, NULL);
    go_on = CreateEventW(NULL, TRUE, FALSE, NULL);
    assert_non_null(replace_import(portico.module, "GetAddrInfoW", (any_function)look_up));

    assert_int_equal(portico.loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(
        portico.create_server_async(loop, &options, count_completion, &completions, NULL), 0);
    assert_int_equal(WaitForSingleObject(looking, PATIENCE), WAIT_OBJECT_0);
    assert_int_equal(portico.loop_free(loop), 0);
    assert_int_equal(completions, 1);
    assert_true(FreeLibrary(portico.module));

    assert_true(is_loaded());
    SetEvent(go_on);
    assert_int_equal(WaitForSingleObject(its_thread, PATIENCE), WAIT_OBJECT_0);
    assert_false(is_loaded());
    CloseHandle(its_thread);
    CloseHandle(looking);
    CloseHandle(go_on);
}

static void with_nothing_left_it_goes_at_once(void **state)
{
    (void)state;
    library portico = load();
    pco_loop *loop = NULL;
    assert_int_equal(portico.loop_new(NULL, &loop, NULL), 0);
    assert_int_equal(portico.loop_free(loop), 0);
    assert_true(FreeLibrary(portico.module));
    assert_false(is_loaded());
}

/* What the Explorer shows, and installers compare. */
static void the_dll_says_which_version_it_is(void **state)
{
    (void)state;
    library portico = load();
    VS_FIXEDFILEINFO *numbers = NULL;
    void *text = NULL;
    UINT length = 0;
    DWORD size = GetFileVersionInfoSizeA(PORTICO_DLL, NULL);
    assert_true(size > 0);
    void *information = malloc(size);
    assert_non_null(information);
    assert_true(GetFileVersionInfoA(PORTICO_DLL, 0, size, information));

    assert_true(VerQueryValueA(information, "\\", (void **)&numbers, &length));
    assert_int_equal(numbers->dwFileVersionMS, MAKELONG(PCO_VERSION_MINOR, PCO_VERSION_MAJOR));
    assert_int_equal(numbers->dwFileVersionLS, MAKELONG(0, PCO_VERSION_PATCH));
    assert_true(
        VerQueryValueA(information, "\\StringFileInfo\\040904B0\\ProductVersion", &text, &length));
    assert_string_equal(text, PROJECT_VERSION);
    assert_string_equal(portico.version(), PROJECT_VERSION);
    free(information);
    assert_true(FreeLibrary(portico.module));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(unloaded_during_a_look_up_it_stays_until_that_ends),
        cmocka_unit_test(with_nothing_left_it_goes_at_once),
        cmocka_unit_test(the_dll_says_which_version_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
