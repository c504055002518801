/* SPDX-License-Identifier: MIT */
/*
 * Goal: every code has its name and its sentence, and a message too long is cut where a reader
 * can live with it. Also the allocator hook of memory.c, which everything stands on.
 * Method: calls, and what they return.
 */
#include "support/error.h"
#include "support/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_code_has_its_name_and_sentence(void **state)
{
    (void)state;
#define CHECK(name, number, sentence)                                                              \
    assert_string_equal(pco_error_name(PCO_##name), "PCO_" #name);                                 \
    assert_string_equal(pco_strerror(number), sentence);
    PCO_ERROR_MAP(CHECK)
#undef CHECK
    assert_string_equal(pco_strerror(0), "success");
    assert_string_equal(pco_strerror(12345), "unknown error");
    assert_string_equal(pco_error_name(12345), "PCO_EUNKNOWN");
    assert_int_equal(PCO_OK, 0);
    assert_string_equal(pco_error_name(PCO_OK), "PCO_OK");
}

static void a_peer_that_went_away_is_told_from_what_is_wrong(void **state)
{
    static const int gone[] = {PCO_ECONNRESET, PCO_ECONNABORTED, PCO_ETIMEDOUT,
                               PCO_ETRUNCATED, PCO_EHOSTUNREACH, PCO_ENETUNREACH};

    (void)state;
    for (int code = -100; code <= 100; code++) {
        bool expected = false;
        for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
            expected |= gone[i] == code;
        }
        assert_int_equal(pco_error_is_disconnect(code), expected);
    }
}

/* What others have written must not look like lines of a log, nor speak to a terminal. */
static void a_message_is_one_line_whatever_it_quotes(void **state)
{
    char all[512];
    pco_error error;

    (void)state;
    pco__error_describe(&error, PCO_ENONAME, 0, "resolve %s",
                        "a\nportico: all is well\r\t\x1B[2J\x7F");
    assert_string_equal(error.message, "resolve a\\x0Aportico: all is well\\x0D\\x09\\x1B[2J\\x7F: "
                                       "the name does not resolve");
    for (size_t length = 1; length < sizeof all; length++) { /* wherever it is cut */
        memset(all, '\n', length);
        all[length] = '\0';
        pco__error_set(&error, PCO_ENONAME, 0, "%s", all);
        size_t written = strlen(error.message);
        assert_int_equal(written, 4 * length < sizeof error.message ? 4 * length : 244);
        assert_int_equal(strspn(error.message, "\\x0A"), written);
        assert_string_equal(error.message + written - 4, "\\x0A");
    }
}

static void an_error_carries_code_system_code_and_sentence(void **state)
{
    pco_error error;

    (void)state;
    assert_int_equal(pco__error_set(&error, PCO_EINVAL, 22, "port %d: out of range", 70000),
                     PCO_EINVAL);
    assert_int_equal(error.code, PCO_EINVAL);
    assert_int_equal(error.system_code, 22);
    assert_string_equal(error.message, "port 70000: out of range");
    assert_int_equal(pco__error_describe(&error, PCO_EACCES, 13, "bind %s", "::1 port 80"),
                     PCO_EACCES);
    assert_string_equal(error.message, "bind ::1 port 80: permission denied");
}

static void nobody_needs_to_want_the_error(void **state)
{
    (void)state;
    assert_int_equal(pco__error_set(NULL, PCO_EIO, 0, "%s", "x"), PCO_EIO);
    assert_int_equal(pco__error_describe(NULL, PCO_EIO, 0, "%s", "x"), PCO_EIO);
}

static void a_message_too_long_is_cut_but_keeps_the_reason(void **state)
{
    char path[1000];
    pco_error error;
    size_t room = sizeof error.message - 1;

    (void)state;
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    pco__error_set(&error, PCO_ENOENT, 0, "%s", path);
    assert_int_equal(strlen(error.message), room);
    pco__error_describe(&error, PCO_ENOENT, 0, "%s", path);
    assert_int_equal(strlen(error.message), room);
    assert_string_equal(error.message + room - strlen(": no such file or directory"),
                        ": no such file or directory");
}

/* Whether a text of this character, repeated, is cut between two of them, at every alignment. */
static void check_character(const char *character)
{
    size_t size = strlen(character);
    char text[600];
    pco_error error;

    for (size_t shift = 0; shift < size; shift++) {
        size_t length = shift;

        memset(text, 'x', shift);
        while (length + size < sizeof text) {
            memcpy(text + length, character, size);
            length += size;
        }
        text[length] = '\0';
        pco__error_set(&error, PCO_EINVAL, 0, "%s", text);
        length = strlen(error.message);
        assert_true(length + size > sizeof error.message - 1);
        assert_int_equal((length - shift) % size, 0);
    }
}

static void a_message_is_never_cut_inside_a_character(void **state)
{
    (void)state;
    check_character("a");
    check_character("\xC3\xA9");
    check_character("\xE2\x82\xAC");
    check_character("\xF0\x9F\x8F\x9B");
}

static unsigned allocations;
static unsigned releases;

static void *counted_malloc(size_t size)
{
    allocations++;
    return malloc(size);
}

static void counted_free(void *memory)
{
    releases++;
    free(memory);
}

static void the_hook_takes_three_functions_or_none(void **state)
{
    (void)state;
    assert_int_equal(pco_set_allocator(counted_malloc, NULL, NULL), PCO_EINVAL);
    assert_int_equal(pco_set_allocator(NULL, realloc, counted_free), PCO_EINVAL);
    assert_int_equal(pco_set_allocator(counted_malloc, realloc, counted_free), 0);
    allocations = releases = 0;
    char *copy = pco__strdup("text");
    assert_string_equal(copy, "text");
    pco__free(copy);
    pco__free(NULL);
    assert_int_equal(pco_set_allocator(NULL, NULL, NULL), 0);
    pco__free(pco__malloc(1));
    assert_int_equal(allocations, 1);
    assert_int_equal(releases, 1);
}

static void memory_of_pages_begins_at_a_page_and_is_given_back(void **state)
{
    (void)state;
    for (size_t size = 0; size < 3; size++) {
        unsigned char *memory = pco__malloc_pages(size * 4096);

        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 4096, 0);
        memset(memory, 1, size * 4096);
        pco__free_pages(memory);
    }
    pco__free_pages(NULL);
}

static void memory_of_no_size_is_memory(void **state)
{
    unsigned char *memory = pco__malloc(0);

    (void)state;
    assert_non_null(memory);
    memory = pco__realloc(memory, 0);
    assert_non_null(memory);
    pco__free(memory);
    memory = pco__calloc(3);
    assert_non_null(memory);
    assert_memory_equal(memory, "\0\0\0", 3);
    pco__free(memory);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_name_and_sentence),
        cmocka_unit_test(a_peer_that_went_away_is_told_from_what_is_wrong),
        cmocka_unit_test(a_message_is_one_line_whatever_it_quotes),
        cmocka_unit_test(an_error_carries_code_system_code_and_sentence),
        cmocka_unit_test(nobody_needs_to_want_the_error),
        cmocka_unit_test(a_message_too_long_is_cut_but_keeps_the_reason),
        cmocka_unit_test(a_message_is_never_cut_inside_a_character),
        cmocka_unit_test(the_hook_takes_three_functions_or_none),
        cmocka_unit_test(memory_of_no_size_is_memory),
        cmocka_unit_test(memory_of_pages_begins_at_a_page_and_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
