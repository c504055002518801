/* SPDX-License-Identifier: MIT */
/*
 * Goal: what portico/local.h says of names: which are names, that the sentence says what one may
 * have, and that a long one keeps its beginning and cannot be taken for another.
 */
#include "support.h"

#include "support/local_name.h"

static void assert_is_name(const char *name)
{
    pco_error error = {0};
    if (pco__local_name_check(name, &error) != 0) {
        fail_msg("%s: %s", name, error.message);
    }
}

static void assert_is_no_name(const char *name)
{
    pco_error error = {0};
    assert_int_equal(pco__local_name_check(name, &error), PCO_EINVAL);
    assert_int_equal(error.code, PCO_EINVAL);
    assert_string_not_equal(error.message, "");
}

static void letters_digits_and_three_signs_make_a_name(void **state)
{
    (void)state;
    assert_is_name("com.example.editor");
    assert_is_name("a");
    assert_is_name("7");
    assert_is_name("Editor_2-beta.");
    assert_is_name("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
}

static void what_else_there_is_makes_none(void **state)
{
    (void)state;
    assert_is_no_name(NULL);
    assert_is_no_name("");
    assert_is_no_name(".");
    assert_is_no_name("..");
    assert_is_no_name("../editor");
    assert_is_no_name("/tmp/editor");
    assert_is_no_name("@editor");
    assert_is_no_name("-editor");
    assert_is_no_name("_editor");
    assert_is_no_name("com/example");
    assert_is_no_name("com\\example");
    assert_is_no_name("com example");
    assert_is_no_name("com:example");
    assert_is_no_name("editor\n");
    assert_is_no_name("\xc3\xa9"
                      "diteur"); /* UTF-8 */
}

static void the_sentence_says_what_a_name_may_have(void **state)
{
    (void)state;
    pco_error error;
    pco__local_name_check("a b", &error);
    assert_string_equal(error.message,
                        "the name \"a b\" is not made of letters, digits, '.', '-' and '_' with a "
                        "letter or a digit first");
}

static void a_name_has_255_bytes_at_most(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'x', sizeof name);
    name[256] = '\0';
    assert_is_no_name(name);
    name[255] = '\0';
    assert_is_name(name);
}

static void no_name_ends_in_a_dot_which_windows_leaves_off(void **state)
{
    (void)state;
    char text[PCO__LOCAL_NAME_MOST + 1];
    char other[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit("editor.", 30, text);
    pco__local_name_fit("editor..", 30, other);
    assert_memory_equal(text, "editor.-", 8);
    assert_int_equal(strlen(text), 8 + 16);
    assert_string_not_equal(text, other);
    char longest[PCO__LOCAL_NAME_MOST + 1];
    memset(longest, '.', sizeof longest);
    longest[0] = 'a';
    longest[PCO__LOCAL_NAME_MOST] = '\0';
    pco__local_name_fit(longest, PCO__LOCAL_NAME_MOST, text);
    assert_int_equal(strlen(text), PCO__LOCAL_NAME_MOST);
    assert_int_not_equal(text[PCO__LOCAL_NAME_MOST - 1], '.');
}

static void what_fits_is_left_as_it_is(void **state)
{
    (void)state;
    char text[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit("com.example.editor", 24, text);
    assert_string_equal(text, "com.example.editor");
    pco__local_name_fit("abcdefghijklmnopqrstuvwx", 24, text);
    assert_string_equal(text, "abcdefghijklmnopqrstuvwx");
}

/* The hash is FNV-1a of 64 bits, here computed by another program. */
static void what_does_not_fit_is_cut_and_has_a_hash_at_its_end(void **state)
{
    (void)state;
    char text[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit("abcdefghijklmnopqrstuvwxy", 24, text);
    assert_string_equal(text, "abcdefg-1c2ce16aeda40dac");
}

static void names_of_one_beginning_stay_apart(void **state)
{
    (void)state;
    char one[PCO__LOCAL_NAME_MOST + 1];
    char other[PCO__LOCAL_NAME_MOST + 1];
    pco__local_name_fit("com.example.editor.of.long.names.one", 30, one);
    pco__local_name_fit("com.example.editor.of.long.names.two", 30, other);
    assert_int_equal(strlen(one), 30);
    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_digits_and_three_signs_make_a_name),
        cmocka_unit_test(what_else_there_is_makes_none),
        cmocka_unit_test(the_sentence_says_what_a_name_may_have),
        cmocka_unit_test(a_name_has_255_bytes_at_most),
        cmocka_unit_test(no_name_ends_in_a_dot_which_windows_leaves_off),
        cmocka_unit_test(what_fits_is_left_as_it_is),
        cmocka_unit_test(what_does_not_fit_is_cut_and_has_a_hash_at_its_end),
        cmocka_unit_test(names_of_one_beginning_stay_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
