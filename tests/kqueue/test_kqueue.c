/* SPDX-License-Identifier: MIT */
/*
 * Goal: what macOS and the BSDs do differently reaches nobody above the backend: errors that an
 * event tells and the socket does not, sends that fail for want of the system's memory, wake-ups
 * without user events.
 * Method: as test_backend.c, with some of the system's calls replaced by ones that answer as the
 * test wants. Runs on the system's own kqueue, on libkqueue, and on the stand-in.
 */
#define _GNU_SOURCE 1

#include "backend_probe.h"

#include "posix/reactor.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

/* ---- Calls that answer as told ---- */

static struct {
    int send_error;    /* 0: as the system */
    unsigned failures; /* that many sends fail */
    unsigned attempts; /* while they were to fail */
    bool is_forgetful; /* sockets do not know their errors any more */
    int accept_error;  /* each accept fails with it; 0: as the system */
    unsigned accepts;  /* those that did */
} told;

/* The next definition of a function after this program's. */
static void *next_definition(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL) {
        abort();
    }
    return found;
}

/* C does not convert pointers to objects into pointers to functions; POSIX lets them be copied. */
#define CALL_NEXT(type, name, ...)                                                                 \
    do {                                                                                           \
        void *found_ = next_definition(name);                                                      \
        type call_;                                                                                \
        memcpy(&call_, &found_, sizeof call_);                                                     \
        return call_(__VA_ARGS__);                                                                 \
    } while (0)

static bool send_fails(void)
{
    if (told.send_error == 0) {
        return false;
    }
    told.attempts++;
    if (told.failures == 0) {
        return false;
    }
    told.failures--;
    errno = told.send_error;
    return true;
}

typedef ssize_t (*send_call)(int, const void *, size_t, int);
typedef ssize_t (*sendmsg_call)(int, const struct msghdr *, int);
typedef ssize_t (*recv_call)(int, void *, size_t, int);
typedef int (*getsockopt_call)(int, int, int, void *, socklen_t *);

static ssize_t system_recv(int sock, void *data, size_t length, int flags)
{
    CALL_NEXT(recv_call, "recv", sock, data, length, flags);
}

static int system_getsockopt(int sock, int level, int name, void *value, socklen_t *length)
{
    CALL_NEXT(getsockopt_call, "getsockopt", sock, level, name, value, length);
}

ssize_t send(int sock, const void *data, size_t length, int flags)
{
    if (send_fails()) {
        return -1;
    }
    CALL_NEXT(send_call, "send", sock, data, length, flags);
}

ssize_t sendmsg(int sock, const struct msghdr *message, int flags)
{
    if (send_fails()) {
        return -1;
    }
    CALL_NEXT(sendmsg_call, "sendmsg", sock, message, flags);
}

/* With the error taken away by somebody else, a failed connection seems to have ended. */
ssize_t recv(int sock, void *data, size_t length, int flags)
{
    ssize_t received = system_recv(sock, data, length, flags);

    return told.is_forgetful && received < 0 && errno == ECONNRESET ? 0 : received;
}

int getsockopt(int sock, int level, int name, void *value, socklen_t *length)
{
    int status = system_getsockopt(sock, level, name, value, length);

    if (told.is_forgetful && status == 0 && level == SOL_SOCKET && name == SO_ERROR) {
        *(int *)value = 0;
    }
    return status;
}

static bool accept_fails(void)
{
    if (told.accept_error == 0) {
        return false;
    }
    told.accepts++;
    errno = told.accept_error;
    return true;
}

#if defined(SOCK_CLOEXEC)
typedef int (*accept4_call)(int, struct sockaddr *, socklen_t *, int);

/* By another name, since glibc declares accept4() with a type of its own. */
int told_accept4(int sock, struct sockaddr *peer, socklen_t *length, int flags) __asm__("accept4");

int told_accept4(int sock, struct sockaddr *peer, socklen_t *length, int flags)
{
    if (accept_fails()) {
        return -1;
    }
    CALL_NEXT(accept4_call, "accept4", sock, peer, length, flags);
}
#else
typedef int (*accept_call)(int, struct sockaddr *, socklen_t *);

int accept(int sock, struct sockaddr *peer, socklen_t *length)
{
    if (accept_fails()) {
        return -1;
    }
    CALL_NEXT(accept_call, "accept", sock, peer, length);
}
#endif

static int begin(void **state)
{
    memset(&told, 0, sizeof told);
    return set_up(state);
}

static int finish(void **state)
{
    memset(&told, 0, sizeof told);
    return tear_down(state);
}

/* ---- Errors that only the event tells ---- */

static void skip_without_events_that_tell(void)
{
    if (strcmp(tested->name, "kqueue") != 0) {
        print_message("events of %s do not tell errors\n", tested->name);
        skip();
    }
}

static void a_refused_connect_is_told_by_the_event_alone(void **state)
{
    pco_address address;
    pco_socket silent = bound_socket(&address);
    end client;

    (void)state;
    skip_without_events_that_tell();
    told.is_forgetful = true;
    start_connecting(&client, &address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    tested->network->close(at.backend, silent, false);
}

static void a_reset_is_no_end_although_the_socket_has_forgotten_it(void **state)
{
    end client;
    end server;

    (void)state;
    skip_without_events_that_tell();
    make_pairs(&client, &server, 1);
    told.is_forgetful = true;
    submit(&server.in, &server.io, PCO__OP_RECV);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

static void a_watch_notices_a_reset_that_the_socket_has_forgotten(void **state)
{
    end client;
    end server;

    (void)state;
    skip_without_events_that_tell();
    make_pairs(&client, &server, 1);
    push(&client, "unread");
    exchange_a_message_elsewhere();
    told.is_forgetful = true;
    submit(&server.in, &server.io, PCO__OP_WATCH);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

/* ---- Sends that fail for want of the system's memory ---- */

static void starve_sends(unsigned failures)
{
    told.send_error = ENOBUFS;
    told.failures = failures;
}

static void want_of_the_systems_memory_is_waited_out(void **state)
{
    static unsigned char kept[8];
    pco__segment segment = {.data = (const unsigned char *)"patient", .length = 7};
    end client;
    end server;
    uint64_t began;

    (void)state;
    make_pairs(&client, &server, 1);
    start_reading(&server, kept, sizeof kept);
    starve_sends(3);
    began = now();
    client.out.op.with.chain = &segment;
    submit(&client.out, &client.io, PCO__OP_SEND);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, 0);
    assert_int_equal(told.attempts, 4);
    assert_true(now() - began >= 10 * MILLISECOND); /* it did not try again at once, and again */
    assert_true(receives(&server, 7));
    assert_memory_equal(kept, "patient", 7);
    close_end(&client);
    close_end(&server);
}

/* A host that asks between turns, however often, is told of one moment. */
static void when_it_is_tried_again_is_settled(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"patient", .length = 7};
    end client;
    end server;
    uint64_t began;
    uint64_t due;

    (void)state;
    make_pairs(&client, &server, 1);
    starve_sends(1);
    client.out.op.with.chain = &segment;
    submit(&client.out, &client.io, PCO__OP_SEND);
    for (unsigned i = 0; i < 100 && told.attempts == 0; i++) {
        poll_for(0);
    }
    began = now();
    due = at.backend->class_->due_in(at.backend);
    assert_true(due <= 10 * MILLISECOND);
    while (now() - began < due) {
    }
    assert_int_equal(at.backend->class_->due_in(at.backend), 0);
    assert_true(completes(&client.out));
    close_end(&client);
    close_end(&server);
}

static void a_send_without_an_operation_finds_no_room(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    starve_sends(1);
    assert_int_equal(try_send(&client, "x", 1).error, PCO_EAGAIN);
    push(&client, "y");
    close_end(&client);
    close_end(&server);
}

static void a_starved_socket_is_read_and_can_be_canceled_and_closed(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"x", .length = 1};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    starve_sends(1000000);
    server.out.op.with.chain = &segment;
    submit(&server.out, &server.io, PCO__OP_SEND);
    poll_for(0);
    assert_true(told.attempts >= 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_int_equal(shutdown((int)client.io.socket, SHUT_WR), 0);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.length, 0);
    poll_for(0);
    cancel(&server.out);
    assert_true(completes(&server.out));
    assert_int_equal(server.out.error, PCO_ECANCELED);
    close_end(&server);
    close_end(&client);
    poll_for(0);
}

static void a_send_during_the_peers_close_is_a_reset_on_macos(void **state)
{
    (void)state;
#if defined(__APPLE__)
    assert_int_equal(pco__error_from_system(EPROTOTYPE), PCO_ECONNRESET);
#else
    print_message("only macOS says EPROTOTYPE\n");
    skip();
#endif
}

/* ---- Waking ---- */

static void a_stop_is_not_lost_among_more_wake_ups_than_the_system_keeps(void **state)
{
    (void)state;
    for (int i = 0; i < 70000; i++) { /* a pipe keeps 65536 */
        at.backend->class_->wake(at.backend, false);
    }
    at.backend->class_->wake(at.backend, true);
    for (int i = 0; i < 1000 && !at.stop; i++) {
        poll_for(0);
    }
    assert_true(at.stop);
    at.stop = false;
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_false(at.stop);
}

static void a_wait_may_be_longer_than_the_system_allows(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, true);
    poll_for(PCO__FOREVER - 1);
    assert_true(at.stop);
}

static void stop_from_a_handler(int number)
{
    (void)number;
    at.backend->class_->wake(at.backend, true);
}

typedef void (*refuse_call)(bool refuse);

/* As on systems that have no user events, or a sandbox that forbids them. */
static void without_user_events_a_pipe_wakes(void **state)
{
    void *found = dlsym(RTLD_DEFAULT, "standin_refuse_user_events");
    pco__backend_options options = {.receive_buffer_size = RECEIVE_BUFFER};
    struct sigaction action = {.sa_handler = stop_from_a_handler};
    struct sigaction before;
    refuse_call refuse;

    if (found == NULL) {
        print_message("this kqueue cannot be told to refuse user events\n");
        skip();
    }
    memcpy(&refuse, &found, sizeof refuse);
    at.backend->class_->fini(at.backend);
    refuse(true);
    assert_int_equal(tested->init(tested, &options, &at.backend, NULL), 0);
    refuse(false);
    at.backend->class_->wake(at.backend, false);
    poll_for(PATIENCE);
    assert_false(at.stop);
    a_stop_is_not_lost_among_more_wake_ups_than_the_system_keeps(state);
    at.stop = false;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    poll_for(PATIENCE);
    assert_true(at.stop);
}

static void a_handler_may_stop_while_sockets_come_and_go(void **state)
{
    struct sigaction action = {.sa_handler = stop_from_a_handler};
    struct sigaction before;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    for (int i = 0; i < 20; i++) {
        end client;
        end server;

        make_pairs(&client, &server, 1);
        assert_int_equal(raise(SIGUSR1), 0);
        close_end(&client);
        close_end(&server);
    }
    poll_for(0);
    assert_true(at.stop);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* ---- Listeners ---- */

#define CROWD 100 /* more than one turn accepts */

static void close_and_accept_on(probe *self, const pco__result *result)
{
    if (result->error == 0) {
        tested->network->close(at.backend, result->socket, false);
        submit(self, self->op.io, PCO__OP_ACCEPT);
    }
}

static void a_crowd_of_clients_does_not_keep_poll_from_returning(void **state)
{
    static end clients[CROWD];
    listener from;

    (void)state;
    open_listener(&from);
    for (size_t i = 0; i < CROWD; i++) {
        start_connecting(&clients[i], &from.address);
        assert_true(completes(&clients[i].out));
        assert_int_equal(clients[i].out.error, 0);
    }
    from.accept.then = close_and_accept_on;
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    poll_for(0);
    assert_in_range(from.accept.count, 1, CROWD - 1);
    assert_true(reaches(&from.accept.count, CROWD));
    for (size_t i = 0; i < CROWD; i++) {
        close_end(&clients[i]);
    }
    close_listener(&from);
}

/* So does a listener on the BSDs that somebody has shut down: as if each time a client had gone. */
static void accepts_that_always_fail_are_told_in_the_end(void **state)
{
    listener from;
    end client;

    (void)state;
    open_listener(&from);
    start_connecting(&client, &from.address);
    told.accept_error = ECONNABORTED;
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    for (unsigned turn = 1; turn <= 2; turn++) {
        unsigned before = told.accepts;

        while (told.accepts == before) {
            poll_for(PCO__FOREVER);
        }
        assert_int_equal(told.accepts, 64 * turn); /* no turn makes more of them */
        assert_int_equal(from.accept.count, 0);
    }
    for (unsigned i = 1; i <= 2; i++) {
        assert_true(reaches(&from.accept.count, i));
        assert_int_equal(from.accept.error, PCO_ECONNABORTED);
        assert_int_equal(told.accepts, 1024 * i);
        for (int calm = 0; calm < 3; calm++) {
            poll_for(0);
        }
        assert_int_equal(told.accepts, 1024 * i); /* nor more before somebody asks */
        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    }
    told.accept_error = 0; /* and it was not the listener */
    assert_true(reaches(&from.accept.count, 3));
    assert_int_equal(from.accept.error, 0);
    tested->network->close(at.backend, from.accept.socket, false);
    close_end(&client);
    close_listener(&from);
}

static void no_socket_raises_sigpipe(void **state)
{
    (void)state;
#if defined(SO_NOSIGPIPE)
    end client;
    end server;
    pco__io *all[] = {&client.io, &server.io};

    make_pairs(&client, &server, 1);
    for (size_t i = 0; i < 2; i++) {
        int value = 0;
        socklen_t length = sizeof value;

        assert_int_equal(getsockopt((int)all[i]->socket, SOL_SOCKET, SO_NOSIGPIPE, &value, &length),
                         0);
        assert_int_not_equal(value, 0);
    }
    close_end(&client);
    close_end(&server);
#else
    print_message("this system has MSG_NOSIGNAL instead of SO_NOSIGPIPE\n");
    skip();
#endif
}

static void reuse_port_is_the_kind_that_balances(void **state)
{
    (void)state;
#if defined(SO_REUSEPORT_LB)
    pco__listener_options options = {.reuse_port = true};
    pco_address any_port = loopback();
    pco_socket sock = PCO_NO_SOCKET;
    int value = 0;
    socklen_t length = sizeof value;

    assert_int_equal(tested->network->bind(at.backend, &any_port, &options, &sock, NULL), 0);
    assert_int_equal(getsockopt((int)sock, SOL_SOCKET, SO_REUSEPORT_LB, &value, &length), 0);
    assert_int_not_equal(value, 0);
    tested->network->close(at.backend, sock, false);
#else
    print_message("this system has no SO_REUSEPORT_LB\n");
    skip();
#endif
}

/* ---- All of it ---- */

#define TEST_TOLD(name) cmocka_unit_test_setup_teardown(name, begin, finish)

static const struct CMUnitTest tests[] = {
    TEST_TOLD(a_refused_connect_is_told_by_the_event_alone),
    TEST_TOLD(a_reset_is_no_end_although_the_socket_has_forgotten_it),
    TEST_TOLD(a_watch_notices_a_reset_that_the_socket_has_forgotten),
    TEST_TOLD(want_of_the_systems_memory_is_waited_out),
    TEST_TOLD(when_it_is_tried_again_is_settled),
    TEST_TOLD(a_send_without_an_operation_finds_no_room),
    TEST_TOLD(a_starved_socket_is_read_and_can_be_canceled_and_closed),
    TEST_TOLD(a_send_during_the_peers_close_is_a_reset_on_macos),
    TEST_TOLD(a_stop_is_not_lost_among_more_wake_ups_than_the_system_keeps),
    TEST_TOLD(a_wait_may_be_longer_than_the_system_allows),
    TEST_TOLD(accepts_that_always_fail_are_told_in_the_end),
    TEST_TOLD(without_user_events_a_pipe_wakes),
    TEST_TOLD(a_handler_may_stop_while_sockets_come_and_go),
    TEST_TOLD(a_crowd_of_clients_does_not_keep_poll_from_returning),
    TEST_TOLD(no_socket_raises_sigpipe),
    TEST_TOLD(reuse_port_is_the_kind_that_balances),
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
