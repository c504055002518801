/* SPDX-License-Identifier: MIT */
/*
 * Goal: the library that runs says which one it is, as the headers and the build do.
 * Method: it is asked.
 */
#include "support.h"

static void the_version_is_that_of_the_headers(void **state)
{
    char text[64];

    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", PCO_VERSION_MAJOR, PCO_VERSION_MINOR,
             PCO_VERSION_PATCH);
    assert_string_equal(pco_version(), text);
}

static void the_version_is_that_of_the_build(void **state)
{
    (void)state;
    assert_string_equal(pco_version(), PROJECT_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_that_of_the_headers),
        cmocka_unit_test(the_version_is_that_of_the_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
