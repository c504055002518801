/* SPDX-License-Identifier: MIT */
/*
 * Goal: of programs that are started at the same instant exactly one serves the name, and all
 * others meet it.
 * Method: children, which all begin when one pipe is closed.
 */
#define _GNU_SOURCE 1

#include "local_world.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child says of its start. */
enum { SERVES = 's', MET = 'm', FAILED = 'f' };

typedef struct starter {
    pco_protocol protocol;
    pco_loop *loop;
} starter;

static void greet(pco_protocol *self, pco_transport *transport)
{
    (void)self;
    pco_transport_write(transport, "you are second\n", 15);
    pco_transport_close(transport);
}

static const pco_protocol_methods first_methods = {.size = sizeof first_methods,
                                                   .connection_made = greet};
static pco_protocol first = {&first_methods};

static pco_protocol *make_first(void *context)
{
    (void)context;
    return &first;
}

static size_t heard_by_second;

static void hear(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)self;
    (void)transport;
    (void)data;
    heard_by_second += length;
}

static void hear_no_more(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)transport;
    (void)error;
    pco_loop_stop(((starter *)self)->loop);
}

static const pco_protocol_methods second_methods = {
    .size = sizeof second_methods, .data_received = hear, .connection_lost = hear_no_more};

static void answered(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                     void *context)
{
    (void)protocol;
    (void)error;
    if (transport == NULL) {
        pco_loop_stop(((starter *)context)->loop);
    }
}

/* Asks the first again as long as nobody answers: it may be about to listen. */
static char meet(pco_loop *loop)
{
    starter second = {{&second_methods}, loop};
    pco_connection_options options = {.size = sizeof options, .protocol = &second.protocol};
    for (int tries = 0; tries < 1000 && heard_by_second == 0; tries++) {
        if (pco_loop_create_local_connection(loop, NAME, &options, NULL, answered, &second, NULL,
                                             NULL) != 0) {
            return FAILED;
        }
        pco_loop_run_forever(loop);
    }
    return heard_by_second == 15 ? MET : FAILED;
}

/* In a child: starts as an application does once `go` is closed, and says how that went. */
static void start(int go, int says, bool meets)
{
    pco_loop *loop = NULL;
    pco_server *server = NULL;
    pco_server_options options = {.size = sizeof options, .protocol_factory = make_first};
    char byte;
    char how = FAILED;
    if (pco_loop_new(NULL, &loop, NULL) != 0 || read(go, &byte, 1) != 0) {
        _exit(1);
    }
    int code = pco_loop_create_local_server(loop, NAME, &options, NULL, &server, NULL);
    how = code == 0 ? SERVES : code == PCO_EADDRINUSE ? MET : FAILED;
    if (how == MET && meets) {
        how = meet(loop);
    }
    if (write(says, &how, 1) == 1 && how == SERVES) {
        pco_loop_run_forever(loop); /* until it is killed */
    }
    _exit(0);
}

#define MOST_STARTS 200

static void start_at_once(unsigned count, bool meets)
{
    int go[2];
    int says[2];
    pid_t children[MOST_STARTS];
    unsigned serve_count = 0;
    unsigned met = 0;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(says), 0);
    for (unsigned i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(go[1]);
            start(go[0], says[1], meets);
        }
        assert_true(children[i] > 0);
    }
    close(go[1]);
    for (unsigned i = 0; i < count; i++) {
        char how = 0;
        assert_int_equal(read(says[0], &how, 1), 1);
        serve_count += how == SERVES;
        met += how == MET;
    }
    for (unsigned i = 0; i < count; i++) {
        kill(children[i], SIGKILL);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
    }
    close(go[0]);
    close(says[0]);
    close(says[1]);
    assert_int_equal(serve_count, 1);
    assert_int_equal(met, count - 1);
}

/* Each time over what the one before has left behind. */
static void of_two_at_the_same_instant_exactly_one_serves(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        start_at_once(2, false);
    }
}

static void of_two_hundred_one_serves_and_the_others_meet_it(void **state)
{
    (void)state;
    start_at_once(MOST_STARTS, true);
}

static const struct CMUnitTest tests[] = {
    LOCAL(of_two_at_the_same_instant_exactly_one_serves),
    LOCAL(of_two_hundred_one_serves_and_the_others_meet_it),
};

int main(void)
{
    return run_here("local names at the same instant", tests, sizeof tests / sizeof tests[0]);
}
