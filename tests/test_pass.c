/* SPDX-License-Identifier: MIT */
/*
 * Goal: a socket and what it is called arrive as portico/pass.h says, or not at all; bad input is
 * told by its name; what is no message is refused, and nothing stays open.
 * Method: both ends of a pair in this process, which on Windows takes what it has made for itself.
 * Other processes, and what a peer can send along, are in posix/test_passing.c.
 */
#include "behaviour.h"
#include "child.h"

#include <portico/pass.h>

#include "loop/loop.h"
#include "system/network.h"
#include "system/pass.h"

static pco_socket channel[2];
static pco_passed passed;

static int begin_channel(void **state)
{
    int code = world_begin(state);
    return code != 0 ? code : pco_socket_pair(channel, NULL);
}

/* A duplicate alone: the network's close() shuts the socket down on Windows, at both ends. */
static void close_socket(pco_socket sock)
{
    pco__pass_close(sock);
}

static int end_channel(void **state)
{
    close_socket(channel[0]);
    close_socket(channel[1]);
    return world_end(state);
}

static int pass(pco_socket sock, const char *text)
{
    return pco_socket_pass(channel[0], process_of_this_test(), sock, text, strlen(text), NULL);
}

/* The channel may take a moment to carry what was sent. */
static int take(void)
{
    int code = PCO_EAGAIN;
    for (unsigned i = 0; i < 60000 && code == PCO_EAGAIN; i++) {
        code = pco_socket_take(channel[1], &passed, NULL);
        if (code == PCO_EAGAIN) {
            let_pass(1);
        }
    }
    return code;
}

static void assert_passed(const char *text)
{
    assert_int_equal(take(), 0);
    assert_string_equal((const char *)passed.data, text);
    assert_int_equal(passed.length, strlen(text));
}

/* Whether what is written to the one comes to the other. */
static void assert_connected(pco_socket one, pco_socket other)
{
    char text[4] = "";
    assert_int_equal(socket_send(one, "abc", 3), 3);
    assert_int_equal(socket_receive(other, text, 3), 3);
    assert_string_equal(text, "abc");
}

/* ---- What arrives ---- */

static void a_socket_arrives_with_its_name_and_is_the_same(void **state)
{
    (void)state;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pass(pair[0], "http"), 0);
    assert_passed("http");
    assert_int_not_equal(passed.socket, PCO_NO_SOCKET);
    assert_int_not_equal(passed.socket, pair[0]);
    assert_connected(passed.socket, pair[1]);
    assert_connected(pair[0], pair[1]); /* it is still the sender's */
    close_socket(pair[0]);
    assert_connected(pair[1], passed.socket);
    close_socket(passed.socket);
    close_socket(pair[1]);
}

static void messages_arrive_in_order_with_a_socket_and_without(void **state)
{
    (void)state;
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    assert_int_equal(pass(PCO_NO_SOCKET, "two listeners"), 0);
    assert_int_equal(pass(pair[0], "one"), 0);
    assert_int_equal(pass(pair[1], ""), 0);
    assert_int_equal(pass(PCO_NO_SOCKET, "that was all"), 0);
    assert_passed("two listeners");
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    assert_passed("one");
    pco_socket one = passed.socket;
    assert_passed("");
    pco_socket two = passed.socket;
    assert_passed("that was all");
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    close_socket(pair[0]);
    close_socket(pair[1]);
    assert_connected(one, two);
    close_socket(one);
    close_socket(two);
}

static void the_longest_message_arrives_whole_and_may_hold_zeros(void **state)
{
    (void)state;
    const unsigned char *much = pattern(PCO_PASS_MOST);
    assert_int_equal(pco_socket_pass(channel[0], 0, PCO_NO_SOCKET, much, PCO_PASS_MOST, NULL), 0);
    assert_int_equal(take(), 0);
    assert_int_equal(passed.length, PCO_PASS_MOST);
    assert_memory_equal(passed.data, much, PCO_PASS_MOST);
    assert_int_equal(passed.data[PCO_PASS_MOST], 0);
    assert_int_equal(pco_socket_pass(channel[0], 0, PCO_NO_SOCKET, NULL, 0, NULL), 0);
    assert_passed("");
}

static void a_full_channel_takes_no_part_of_a_message(void **state)
{
    (void)state;
    unsigned sent = 0;
    pco_error error;
    int code = 0;
    peer_shrink_buffers(channel[0]);
    peer_shrink_buffers(channel[1]);
    while (sent < 100000 && code == 0) {
        code = pco_socket_pass(channel[0], 0, PCO_NO_SOCKET, &sent, sizeof sent, &error);
        sent += code == 0;
    }
    assert_int_equal(code, PCO_EAGAIN);
    assert_int_equal(error.code, PCO_EAGAIN);
    assert_true(sent > 0);
    for (unsigned i = 0; i < sent; i++) {
        unsigned number;
        assert_int_equal(take(), 0);
        assert_int_equal(passed.length, sizeof number);
        memcpy(&number, passed.data, sizeof number);
        assert_int_equal(number, i);
    }
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), PCO_EAGAIN);
    assert_int_equal(pass(PCO_NO_SOCKET, "again"), 0);
    assert_passed("again");
}

static unsigned readable;

static void note_readable(void *context)
{
    (void)context;
    readable++;
}

static void the_loop_tells_when_there_is_something_to_take(void **state)
{
    (void)state;
    readable = 0;
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), PCO_EAGAIN);
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    assert_int_equal(pco_loop_add_reader(at.loop, channel[1], note_readable, NULL, NULL), 0);
    let_pass(3);
    assert_int_equal(readable, 0);
    assert_int_equal(pass(PCO_NO_SOCKET, "now"), 0);
    assert_true(reaches(&readable, 1));
    assert_passed("now");
    assert_true(pco_loop_remove_reader(at.loop, channel[1]));
}

/* ---- The end ---- */

static void after_the_last_message_the_end_is_told(void **state)
{
    (void)state;
    assert_int_equal(pass(PCO_NO_SOCKET, "last"), 0);
    close_socket(channel[0]);
    assert_passed("last");
    assert_int_equal(take(), PCO_ECLOSED);
    assert_int_equal(take(), PCO_ECLOSED);
    assert_int_equal(pco_socket_pair(channel, NULL), 0); /* of which end_channel() closes both */
}

static void who_has_gone_is_told_to_the_sender(void **state)
{
    (void)state;
    int code = 0;
    close_socket(channel[1]);
    for (unsigned i = 0; i < 1000 && code == 0; i++) { /* TCP takes a while to know */
        code = pass(PCO_NO_SOCKET, "anybody?");
        let_pass(1);
    }
    assert_int_equal(code, PCO_ECONNRESET);
    close_socket(channel[0]);
    assert_int_equal(pco_socket_pair(channel, NULL), 0);
}

/* ---- What is wrong ---- */

static void assert_refused(pco_socket over, pco_socket sock, const void *data, size_t length,
                           int code, const char *word)
{
    pco_error error = {0};
    assert_int_equal(pco_socket_pass(over, process_of_this_test(), sock, data, length, &error),
                     code);
    assert_int_equal(error.code, code);
    if (strstr(error.message, word) == NULL) {
        fail_msg("%s", error.message);
    }
}

static void bad_input_is_refused_with_a_sentence(void **state)
{
    (void)state;
    pco_socket none = PCO_NO_SOCKET;
    pco_socket gone[2];
    pco_error error;
    assert_refused(channel[0], none, NULL, 1, PCO_EINVAL, "data is NULL");
    assert_refused(channel[0], none, "x", PCO_PASS_MOST + 1, PCO_EINVAL, "1024");
    assert_refused(channel[0], none, "x", SIZE_MAX, PCO_EINVAL, "1024");
    assert_refused(channel[0], channel[0], "x", 1, PCO_EINVAL, "itself");
    assert_int_equal(pco_socket_pair(gone, NULL), 0);
    close_socket(gone[0]);
    close_socket(gone[1]);
    assert_refused(gone[0], none, "x", 1, PCO_ENOTSOCK, "channel");
    assert_refused(none, none, "x", 1, PCO_ENOTSOCK, "channel");
    assert_refused(channel[0], gone[0], "x", 1, PCO_ENOTSOCK, "sock");
    assert_refused(channel[0], -7, "x", 1, PCO_ENOTSOCK, "sock");
    assert_int_equal(pco_socket_take(gone[0], &passed, &error), PCO_ENOTSOCK);
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    assert_int_equal(pco_socket_take(channel[1], NULL, &error), PCO_EINVAL);
    assert_string_equal(error.message, "passed is NULL");
    assert_int_equal(pco_socket_take(channel[1], &passed, NULL), PCO_EAGAIN); /* nothing was sent */
}

static void a_channel_that_is_not_connected_is_told_as_such(void **state)
{
    (void)state;
    pco_error error;
    pco_socket loose;
    const pco__network *network = at.loop->backend->class_->network;
    int code = network->open(at.loop->backend, PCO_AF_UNIX, 0, &loose, NULL);
    if (code == PCO_EAFNOSUPPORT) { /* only Windows may lack them, and takes others */
        code = network->open(at.loop->backend, PCO_AF_INET, 0, &loose, NULL);
    }
    assert_int_equal(code, 0);
    assert_refused(loose, PCO_NO_SOCKET, "x", 1, PCO_ENOTCONN, "not connected");
    assert_refused(loose, channel[0], "x", 1, PCO_ENOTCONN, "not connected");
    assert_int_equal(pco_socket_take(loose, &passed, &error), PCO_ENOTCONN);
    assert_non_null(strstr(error.message, "not connected"));
    close_socket(loose);
}

/* As much as any system's message has: bytes that somebody else has written. */
static void what_is_no_message_is_refused(void **state)
{
    (void)state;
    static char bytes[4096];
    pco_error error;
    int code = PCO_EAGAIN;
    memset(bytes, 'x', sizeof bytes);
    assert_int_equal(socket_send(channel[0], bytes, sizeof bytes), sizeof bytes);
    for (unsigned i = 0; i < 60000 && code == PCO_EAGAIN; i++) {
        code = pco_socket_take(channel[1], &passed, &error);
        let_pass(1);
    }
    assert_int_equal(code, PCO_EINVAL);
    assert_non_null(strstr(error.message, "no message"));
    assert_int_equal(passed.socket, PCO_NO_SOCKET);
    assert_int_equal(passed.length, 0);
}

/* Of the right beginning, and a length that no message has; or a socket that did not come. */
static void a_message_that_contradicts_itself_is_refused(void **state)
{
    (void)state;
    unsigned char message[PCO__PASS_SIZE] = "PcoPass1";
    message[10] = 0xFF;
    assert_int_equal(pco__pass_send(channel[0], 0, PCO_NO_SOCKET, message, NULL), 0);
    assert_int_equal(take(), PCO_EINVAL);
    message[10] = 0;
    message[8] = 1;
    assert_int_equal(pco__pass_send(channel[0], 0, PCO_NO_SOCKET, message, NULL), 0);
    assert_int_equal(take(), PCO_EINVAL);
    pco_socket pair[2];
    assert_int_equal(pco_socket_pair(pair, NULL), 0);
    message[8] = 0;
    assert_int_equal(pco__pass_send(channel[0], process_of_this_test(), pair[0], message, NULL), 0);
    close_socket(pair[0]);
    assert_int_equal(take(), PCO_EINVAL);
    char byte;
    assert_int_equal(socket_receive(pair[1], &byte, 1), 0); /* the end: it was not leaked */
    close_socket(pair[1]);
}

#define PASSING(name) cmocka_unit_test_setup_teardown(name, begin_channel, end_channel)

static const struct CMUnitTest tests[] = {
    PASSING(a_socket_arrives_with_its_name_and_is_the_same),
    PASSING(messages_arrive_in_order_with_a_socket_and_without),
    PASSING(the_longest_message_arrives_whole_and_may_hold_zeros),
    PASSING(a_full_channel_takes_no_part_of_a_message),
    PASSING(the_loop_tells_when_there_is_something_to_take),
    PASSING(after_the_last_message_the_end_is_told),
    PASSING(who_has_gone_is_told_to_the_sender),
    PASSING(bad_input_is_refused_with_a_sentence),
    PASSING(a_channel_that_is_not_connected_is_told_as_such),
    PASSING(what_is_no_message_is_refused),
    PASSING(a_message_that_contradicts_itself_is_refused),
};

int main(void)
{
    return run_here("pass", tests, sizeof tests / sizeof tests[0]);
}
