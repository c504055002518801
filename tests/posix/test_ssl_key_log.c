/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_key_log.c: the file of keys. Goal: it is its owner's alone, its lines are whole though
 * many threads write, and the environment names it only for those who let it.
 * Method: the file's rights are looked at; threads add lines of a length of their own.
 */
#define _GNU_SOURCE 1

#include "ssl_world.h"
#include "system/platform.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "test_ssl_key_log.keys"
#define THREADS 4
#define LINES 500
#define LINE_MOST 200

static int begin(void **state)
{
    (void)state;
    unlink(FILE_NAME);
    unsetenv("SSLKEYLOGFILE");
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(FILE_NAME);
    unsetenv("SSLKEYLOGFILE");
    return 0;
}

static void the_file_is_its_owners_alone_and_what_it_held_stays(void **state)
{
    struct stat status;
    intptr_t file;
    char held[16] = "";
    (void)state;
    mode_t before = umask(0);
    assert_int_equal(pco__log_open(FILE_NAME, &file, NULL), 0);
    umask(before);
    pco__log_add(file, "one\n", 4);
    pco__log_close(file);
    assert_int_equal(stat(FILE_NAME, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(pco__log_open(FILE_NAME, &file, NULL), 0);
    pco__log_add(file, "two\n", 4);
    pco__log_close(file);
    FILE *read = fopen(FILE_NAME, "rb");
    assert_non_null(read);
    assert_int_equal(fread(held, 1, sizeof held - 1, read), 8);
    fclose(read);
    assert_string_equal(held, "one\ntwo\n");
}

static void where_nobody_reads_nothing_waits(void **state)
{
    intptr_t file;
    pco_error error;
    (void)state;
    assert_int_equal(mkfifo(FILE_NAME, 0600), 0);
    assert_int_equal(pco__log_open(FILE_NAME, &file, &error), PCO_EIO);
    assert_int_equal(pco__log_open(".", &file, &error), PCO_EINVAL);
}

/* Adds lines of one letter, the more the later the letter. */
static void *add_lines(void *context)
{
    const char *letter = context;
    char line[LINE_MOST];
    intptr_t file;
    size_t length = 40 + 37 * (size_t)(*letter - 'a');
    memset(line, *letter, length);
    line[length++] = '\n';
    if (pco__log_open(FILE_NAME, &file, NULL) != 0) {
        return NULL;
    }
    for (unsigned i = 0; i < LINES; i++) {
        pco__log_add(file, line, length);
    }
    pco__log_close(file);
    return context;
}

static void lines_of_many_threads_are_whole(void **state)
{
    static char letters[THREADS + 1] = "abcd";
    pthread_t threads[THREADS];
    char line[LINE_MOST + 2];
    unsigned counts[THREADS] = {0};
    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_lines, &letters[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *done;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_non_null(done);
    }
    FILE *file = fopen(FILE_NAME, "rb");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        size_t which = (size_t)(line[0] - 'a');
        assert_true(which < THREADS);
        assert_int_equal(strspn(line, (char[]){line[0], '\0'}), 40 + 37 * which);
        assert_int_equal(strlen(line), 41 + 37 * which);
        counts[which]++;
    }
    fclose(file);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(counts[i], LINES);
    }
}

static void the_environment_counts_only_where_it_is_let(void **state)
{
    pco_ssl_context_options options = tls_options(&certificates_get()->server);
    (void)state;
    setenv("SSLKEYLOGFILE", FILE_NAME, 1);
    pco_ssl_context_release(tls_context(&options));
    options.key_log_environment = PCO_OFF;
    pco_ssl_context_release(tls_context(&options));
    assert_int_not_equal(access(FILE_NAME, F_OK), 0);
    options.key_log_environment = PCO_ON;
    pco_ssl_context_release(tls_context(&options));
    assert_int_equal(access(FILE_NAME, F_OK), 0);

    unsetenv("SSLKEYLOGFILE");
    pco_ssl_context_release(tls_context(&options));
    setenv("SSLKEYLOGFILE", "/no/such/folder/keys", 1);
    tls_assert_refused(false, &options, PCO_ENOENT, "SSLKEYLOGFILE '/no/such/folder/keys': ");
}

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_file_is_its_owners_alone_and_what_it_held_stays),
        TEST(where_nobody_reads_nothing_waits),
        TEST(lines_of_many_threads_are_whole),
        TEST(the_environment_counts_only_where_it_is_let),
    };
    memory_watch();
    int failed = cmocka_run_group_tests(tests, NULL, end_all);
    return memory_unwatch() != 0 ? 1 : failed;
}
