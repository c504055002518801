/* SPDX-License-Identifier: MIT */
/*
 * Goal: listeners and connections go on in another process, where nobody is refused and no byte is
 * lost; and whatever a peer sends along, nothing of it stays open here.
 * Method: a forked process with a loop of its own; and messages of the test's own making, with the
 * write end of a pipe along, whose read end ends when the last duplicate is closed.
 */
#define _GNU_SOURCE 1

#include "behaviour.h"
#include "child.h"
#include "forked.h"
#include "passing_child.h"

#include "system/pass.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static pco_socket channel[2];
static pco_passed passed;

static int begin_channel(void **state)
{
    int code = world_begin(state);
    return code != 0 ? code : pco_socket_pair(channel, NULL);
}

static int end_channel(void **state)
{
    close((int)channel[0]);
    close((int)channel[1]);
    return world_end(state);
}

static bool is_readable(pco_socket sock)
{
    struct pollfd one = {.fd = (int)sock, .events = POLLIN};
    return poll(&one, 1, (int)(PATIENCE * 1000)) == 1;
}

/* ---- The other process ---- */

static pid_t begin_child(void)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        child_ends_without_a_word();
        alarm((unsigned)PATIENCE);
        close((int)channel[0]);
        end_forked(live_as_child(channel[1]));
    }
    return child;
}

static void assert_ends_well(pid_t child)
{
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_child_serves(void)
{
    assert_int_equal(take_on(at.loop, channel[0], &passed), 0);
    assert_string_equal((const char *)passed.data, "served");
}

/* ---- Going on elsewhere ---- */

static void a_listener_is_handed_over_and_nobody_is_refused(void **state)
{
    (void)state;
    pid_t child = begin_child();
    serve();
    pco_address address = address_of(at.server, 0);
    peer *before = join_and_wait();
    assert_int_equal(pco_socket_pass(channel[0], child, pco_server_get_socket(at.server, 0),
                                     "listener", 8, NULL),
                     0);
    assert_child_serves();
    pco_server_close(at.server);
    peer *after = join_at(&address);
    assert_true(grows_to(&after->length, 5));
    assert_memory_equal(after->received, "child", 5);
    assert_int_equal(at.made, 1); /* of those here, which goes on */
    peer_send(before, "hello", 5);
    assert_true(grows_to(&newest()->length, 5));
    leave(after);
    assert_ends_well(child);
    leave(before);
}

static struct {
    pco_socket sock;
    char input[16];
    size_t length;
} detached;

static void keep_detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                          void *context)
{
    (void)error;
    (void)context;
    detached.sock = sock;
    detached.length = length < sizeof detached.input ? length : sizeof detached.input;
    if (length != 0) {
        memcpy(detached.input, data, detached.length);
    }
}

static bool is_detached(void *context)
{
    (void)context;
    return detached.sock != PCO_NO_SOCKET;
}

static void a_connection_goes_on_in_another_process(void **state)
{
    (void)state;
    detached.sock = PCO_NO_SOCKET;
    pid_t child = begin_child();
    serve();
    peer *client = join_and_wait();
    peer_send(client, "one", 3);
    assert_true(grows_to(&newest()->length, 3));
    assert_int_equal(pco_transport_detach(newest()->transport, keep_detached, NULL, NULL, NULL), 0);
    assert_true(happens(is_detached, NULL));
    peer_send(client, "two", 3); /* waits in the socket, or comes later */
    assert_int_equal(pco_socket_pass(channel[0], child, detached.sock, "connection", 10, NULL), 0);
    close((int)detached.sock);
    assert_child_serves();
    assert_true(grows_to(&client->length, 8));
    assert_memory_equal(client->received, "childtwo", 8);
    leave(client);
    assert_ends_well(child);
}

/* ---- What is taken ---- */

static void what_is_taken_is_closed_by_exec_and_no_standard_descriptor(void **state)
{
    (void)state;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pco_socket_pass(channel[0], 0, pair[0], NULL, 0, NULL), 0);
    int saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    close(STDIN_FILENO);
    int code = pco_socket_take(channel[1], &passed, NULL);
    bool is_closed = fcntl(STDIN_FILENO, F_GETFD) < 0;
    if (saved >= 0) {
        dup2(saved, STDIN_FILENO);
        close(saved);
    }
    assert_int_equal(code, 0);
    assert_true(is_closed && passed.socket > STDERR_FILENO);
    assert_int_equal(fcntl((int)passed.socket, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close((int)passed.socket);
    close((int)pair[0]);
    close((int)pair[1]);
}

static void without_a_descriptor_the_message_waits(void **state)
{
    (void)state;
    struct rlimit limit;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pco_socket_pass(channel[0], 0, pair[0], "kept", 4, NULL), 0);
    int lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = limit;
    none.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int first = pco_socket_take(channel[1], &passed, NULL);
    pco_socket nothing = passed.socket;
    int second = pco_socket_take(channel[1], &passed, NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(first, PCO_EMFILE);
    assert_int_equal(second, PCO_EMFILE);
    assert_int_equal(nothing, PCO_NO_SOCKET);
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), 0);
    assert_string_equal((const char *)passed.data, "kept");
    close((int)passed.socket);
    close((int)pair[0]);
    close((int)pair[1]);
}

static void what_nobody_takes_ends_with_the_channel(void **state)
{
    (void)state;
    pco_socket pair[2];
    char byte;
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pco_socket_pass(channel[0], 0, pair[0], NULL, 0, NULL), 0);
    close((int)pair[0]);
    assert_int_equal(recv((int)pair[1], &byte, 1, MSG_DONTWAIT), -1); /* it is open, under way */
    close((int)channel[0]);
    close((int)channel[1]);
    assert_true(is_readable(pair[1]));
    assert_int_equal(recv((int)pair[1], &byte, 1, MSG_DONTWAIT), 0);
    close((int)pair[1]);
    assert_int_equal(pco_socket_pair(channel, NULL), 0);
}

static void a_channel_of_another_kind_is_refused(void **state)
{
    (void)state;
    pco_error error = {0};
    int kinds[2] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_DGRAM, 0)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pco_socket_pass(kinds[i], 0, channel[0], "x", 1, &error), PCO_ENOTSUP);
        assert_non_null(strstr(error.message, "AF_UNIX"));
        assert_int_equal(pco_socket_take(kinds[i], &passed, NULL), PCO_ENOTSUP);
        close(kinds[i]);
    }
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(pco_socket_pass(pipes[1], 0, channel[0], "x", 1, NULL), PCO_ENOTSOCK);
    assert_int_equal(pco_socket_pass(channel[0], 0, pipes[1], "x", 1, NULL), PCO_ENOTSOCK);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_channel_that_is_not_connected_is_told_as_such(void **state)
{
    (void)state;
    pco_error error = {0};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int loose = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 2; i++) { /* a new one, and one that listens */
        assert_int_equal(pco_socket_pass(loose, 0, channel[0], "x", 1, NULL), PCO_ENOTCONN);
        assert_int_equal(pco_socket_take(loose, &passed, &error), PCO_ENOTCONN);
        assert_non_null(strstr(error.message, "not connected"));
        snprintf(name.sun_path, sizeof name.sun_path, "/tmp/portico-pass-%ld", (long)getpid());
        if (i == 0) {
            assert_int_equal(bind(loose, (const struct sockaddr *)&name, sizeof name), 0);
            assert_int_equal(unlink(name.sun_path), 0);
            assert_int_equal(listen(loose, 1), 0);
        }
    }
    close(loose);
}

/* ---- Bad peers ---- */

#define MOST_ALONG 100

/* The same descriptor, `count` times, along with these bytes. */
static void send_along(pco_socket over, int descriptor, size_t count, const void *data,
                       size_t length)
{
    union {
        struct cmsghdr header;
        unsigned char space[CMSG_SPACE(MOST_ALONG * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int))};
    memset(&control, 0, sizeof control);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
    for (size_t i = 0; i < count; i++) {
        memcpy(CMSG_DATA(header) + i * sizeof(int), &descriptor, sizeof(int));
    }
    assert_int_equal(sendmsg((int)over, &message, 0), length);
}

/* The last duplicate of the write end is closed: nothing has stayed open. */
static void assert_not_leaked(int ends[2])
{
    char byte;
    close(ends[1]);
    assert_true(is_readable(ends[0]));
    assert_int_equal(read(ends[0], &byte, 1), 0);
    close(ends[0]);
}

static const unsigned char good_message[PCO__PASS_SIZE] = {'P', 'c', 'o', 'P', 'a',
                                                           's', 's', '1', 1};

static void check_bad(size_t count, const void *data, size_t length)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    send_along(channel[0], ends[1], count, data, length);
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), PCO_EINVAL);
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    assert_not_leaked(ends);
}

static void what_is_no_socket_or_too_many_is_closed(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 8, 9, MOST_ALONG};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check_bad(counts[i], good_message, sizeof good_message);
    }
    check_bad(1, "x", 1);
    check_bad(3, pattern(PCO__PASS_SIZE), PCO__PASS_SIZE);
}

static void two_good_sockets_are_one_too_many(void **state)
{
    (void)state;
    pco_socket pair[2];
    char byte;
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    send_along(channel[0], (int)pair[0], 2, good_message, sizeof good_message);
    close((int)pair[0]);
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), PCO_EINVAL);
    assert_true(is_readable(pair[1]));
    assert_int_equal(recv((int)pair[1], &byte, 1, MSG_DONTWAIT), 0);
    close((int)pair[1]);
}

#if defined(SO_PASSCRED)
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* The number that the next descriptor will have. */
static int next_descriptor(void)
{
    int next = dup(STDERR_FILENO);
    close(next);
    return next;
}

/* Options of the channel's that let more come than was sent; Linux before 6.5 has one of them. */
static void who_the_sender_is_may_come_too_and_is_let_go(void **state)
{
    (void)state;
    static const int options[] = {SO_PASSCRED, SO_PASSPIDFD};
    const int on = 1;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        int set = setsockopt((int)channel[1], SOL_SOCKET, options[i], &on, sizeof on);
        assert_true(set == 0 || errno == ENOPROTOOPT);
        int next = next_descriptor();
        for (int with_socket = 0; with_socket < 2; with_socket++) {
            pco_socket sock = with_socket ? channel[1] : PCO_NO_SOCKET;
            assert_int_equal(pco_socket_pass(channel[0], 0, sock, "x", 1, NULL), 0);
            assert_int_equal(pco_socket_take(channel[1], &passed, NULL), 0);
            assert_int_equal(passed.socket != PCO_NO_SOCKET, with_socket);
            if (with_socket) {
                close((int)passed.socket);
            }
            assert_int_equal(next_descriptor(), next);
        }
    }
}
#endif

/* A connection takes bytes, and what comes along is the system's to close. */
static void a_connection_opens_nothing_that_a_peer_sends_along(void **state)
{
    (void)state;
    for (int buffered = 0; buffered < 2; buffered++) {
        int ends[2];
        at.buffered = buffered != 0;
        unsigned made = at.made;
        pco_connection_options options = {
            .size = sizeof options, .protocol_factory = make_record, .sock = channel[1]};
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(pco_loop_connect_accepted_socket(at.loop, &options, child_is_connected,
                                                          NULL, NULL, NULL),
                         0);
        assert_true(reaches(&at.made, made + 1));
        record *own = newest();
        send_along(channel[0], ends[1], MOST_ALONG, "first", 5);
        send_along(channel[0], ends[1], 1, "second", 6);
        assert_true(grows_to(&own->length, 11));
        assert_memory_equal(own->data, "firstsecond", 11);
        assert_not_leaked(ends);
        close((int)channel[0]);
        assert_true(becomes(&own->lost));
        assert_int_equal(pco_socket_pair(channel, NULL), 0);
    }
}

#define PASSING(name) cmocka_unit_test_setup_teardown(name, begin_channel, end_channel)

static const struct CMUnitTest tests[] = {
    PASSING(a_listener_is_handed_over_and_nobody_is_refused),
    PASSING(a_connection_goes_on_in_another_process),
    PASSING(what_is_taken_is_closed_by_exec_and_no_standard_descriptor),
    PASSING(without_a_descriptor_the_message_waits),
    PASSING(what_nobody_takes_ends_with_the_channel),
    PASSING(a_channel_of_another_kind_is_refused),
    PASSING(a_channel_that_is_not_connected_is_told_as_such),
    PASSING(what_is_no_socket_or_too_many_is_closed),
    PASSING(two_good_sockets_are_one_too_many),
#if defined(SO_PASSCRED)
    PASSING(who_the_sender_is_may_come_too_and_is_let_go),
#endif
    PASSING(a_connection_opens_nothing_that_a_peer_sends_along),
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
