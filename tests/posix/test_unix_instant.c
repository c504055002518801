/* SPDX-License-Identifier: MIT */
/*
 * Goal: of servers that start on one path at the same instant exactly one has it, and the others
 * are told so.
 * Method: forked processes that begin when a pipe ends, a hundred times; what each says comes back
 * over another pipe, and the one that serves is asked.
 */
#define _GNU_SOURCE 1

#include "unix_world.h"

#include "forked.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STARTERS 3

/* What a process says of its start; none waits for ever. */
enum { SERVES = 's', REFUSED = 'r', FAILED = 'f' };

static char start(pco_loop **loop)
{
    pco_server *server = NULL;
    pco_error error = {0};
    pco_server_options options = unix_server();
    if (pco_loop_new(NULL, loop, NULL) != 0) {
        return FAILED;
    }
    int code = pco_loop_create_unix_server(*loop, there.path, &options, NULL, &server, &error);
    if (code == 0) {
        return SERVES;
    }
    bool is_said = strstr(error.message, "a program has that socket open") != NULL;
    return code == PCO_EADDRINUSE && is_said ? REFUSED : FAILED;
}

/* In a process of its own, from which nothing returns. Who serves does so until it is killed. */
static void live(int go, int says)
{
    pco_loop *loop = NULL;
    char byte;
    alarm((unsigned)PATIENCE);
    if (read(go, &byte, 1) != 0) {
        end_forked(1);
    }
    char how = start(&loop);
    if (write(says, &how, 1) == 1 && how == SERVES) {
        pco_loop_run_forever(loop);
    }
    end_forked(0);
}

static void begin_all(pid_t children[STARTERS], int says)
{
    int go[2];
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < STARTERS; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            close(go[1]);
            live(go[0], says);
        }
    }
    close(go[0]);
    close(go[1]);
}

static void end_all(const pid_t children[STARTERS])
{
    for (int i = 0; i < STARTERS; i++) {
        kill(children[i], SIGKILL);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    }
}

/* The file that a killed server has left goes first: two that find one are another matter. */
static void of_those_at_the_same_instant_exactly_one_serves_a_path(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        pid_t children[STARTERS];
        int says[2];
        char how[STARTERS] = "";
        unsigned serve_count = 0;
        unsigned refused = 0;
        assert_int_equal(pipe(says), 0);
        begin_all(children, says[1]);
        for (int i = 0; i < STARTERS; i++) {
            assert_int_equal(read(says[0], &how[i], 1), 1);
            serve_count += how[i] == SERVES;
            refused += how[i] == REFUSED;
        }
        int client = connected_raw(there.path);
        end_all(children);
        close(says[0]);
        close(says[1]);
        assert_int_equal(serve_count, 1);
        assert_int_equal(refused, STARTERS - 1);
        assert_true(client >= 0); /* what the one has made is still there */
        close(client);
        assert_int_equal(unlink(there.path), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIX_TEST(of_those_at_the_same_instant_exactly_one_serves_a_path),
    };

    return run_here("unix_instant", tests, sizeof tests / sizeof tests[0]);
}
