/* SPDX-License-Identifier: MIT */
/*
 * Goal: the environment chooses the backend and debug mode where the options do not.
 * Method: the test runner sets PORTICO_BACKEND to a name that no backend has, and PORTICO_DEBUG.
 * Run without them, this program does nothing.
 */
#include "support.h"

#define NO_BACKEND "carrier-pigeon"
#define SKIPPED 77

static void the_environment_names_the_backend(void **state)
{
    pco_loop_options options = {.size = sizeof options};
    pco_loop *loop = NULL;
    pco_error error = {0};

    (void)state;
    assert_int_equal(pco_loop_new(NULL, &loop, &error), PCO_EINVAL);
    assert_non_null(strstr(error.message, NO_BACKEND));
    assert_int_equal(pco_loop_new(&options, &loop, &error), PCO_EINVAL);
    assert_null(loop);
}

static void the_option_counts_more_than_the_environment(void **state)
{
    pco_loop_options options = {.size = sizeof options, .backend = pco__backends[0]->name};
    pco_loop *loop = NULL;

    (void)state;
    assert_int_equal(pco_loop_new(&options, &loop, NULL), 0);
    assert_string_equal(pco_loop_backend(loop), pco__backends[0]->name);
    assert_int_equal(pco_loop_free(loop), 0);
}

static void the_environment_switches_debug_mode_on_unless_it_is_off(void **state)
{
    static const int switches[] = {PCO_DEFAULT, PCO_ON, PCO_OFF};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        pco_loop_options options = {.size = sizeof options, .debug = switches[i]};
        pco_loop *loop = NULL;
        assert_int_equal(pco__loop_new(&options, &fake_backend_class, &loop, NULL), 0);
        assert_int_equal(pco_loop_get_debug(loop), switches[i] != PCO_OFF);
        assert_int_equal(pco_loop_free(loop), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_names_the_backend),
        cmocka_unit_test(the_option_counts_more_than_the_environment),
        cmocka_unit_test(the_environment_switches_debug_mode_on_unless_it_is_off),
    };
    const char *backend = pco__getenv("PORTICO_BACKEND");

    if (backend == NULL || strcmp(backend, NO_BACKEND) != 0) {
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
