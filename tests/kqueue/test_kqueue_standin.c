/* SPDX-License-Identifier: MIT */
/*
 * Goal: the stand-in for kqueue does what FreeBSD's kqueue(2) says, so that what passes on it has a
 * right to pass on the system.
 * Method: each sentence of the manual page that a poller may rely on, by itself, on sockets of the
 * loopback, pipes and user events. Nothing of Portico is used.
 */
#define _GNU_SOURCE 1

#include "standin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- The fixture ---- */

static int queue;
static int listener;
static struct sockaddr_in address;
static int client; /* a connection: */
static int server;

static int tcp_socket(void)
{
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(sock >= 0);
    return sock;
}

static int connect_client(void)
{
    int sock = tcp_socket();
    int status = connect(sock, (struct sockaddr *)&address, sizeof address);

    assert_true(status == 0 || errno == EINPROGRESS);
    return sock;
}

/* Accepts, waiting for the client if it is under way. */
static int accept_client(void)
{
    assert_int_equal(fcntl(listener, F_SETFL, 0), 0);
    int sock = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    assert_true(sock >= 0);
    return sock;
}

static int set_up(void **state)
{
    socklen_t length = sizeof address;

    (void)state;
    queue = kqueue();
    listener = tcp_socket();
    address = (struct sockaddr_in){.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (queue < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 10) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        return -1;
    }
    client = connect_client();
    server = accept_client();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(client);
    close(server);
    close(listener);
    return close(queue);
}

static int apply(int ident, int filter, int flags, unsigned fflags, intptr_t data)
{
    struct kevent change;

    EV_SET(&change, (uintptr_t)ident, (short)filter, (unsigned short)flags, fflags, data, NULL);
    return kevent(queue, &change, 1, NULL, 0, NULL);
}

static void add(int ident, int filter, int flags)
{
    assert_int_equal(apply(ident, filter, EV_ADD | flags, 0, 0), 0);
}

/* How many events there are, up to `room`, without waiting. */
static int collect(struct kevent *events, int room)
{
    struct timespec at_once = {0};

    return kevent(queue, NULL, 0, events, room, &at_once);
}

static int count_events(void)
{
    struct kevent events[16];

    return collect(events, 16);
}

/* The next event, which has to come. */
static struct kevent next_event(void)
{
    struct timespec patience = {.tv_sec = 20};
    struct kevent event = {0};

    assert_int_equal(kevent(queue, NULL, 0, &event, 1, &patience), 1);
    return event;
}

static void put(int descriptor, const char *text)
{
    assert_int_equal(write(descriptor, text, strlen(text)), strlen(text));
}

static void take(int descriptor, size_t length)
{
    char data[64];

    assert_true(length <= sizeof data);
    assert_int_equal(read(descriptor, data, length), length);
}

static void close_with_reset(int sock)
{
    struct linger linger = {.l_onoff = 1};

    assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(sock);
}

static int socket_error(int sock)
{
    int code = -1;
    socklen_t length = sizeof code;

    assert_int_equal(getsockopt(sock, SOL_SOCKET, SO_ERROR, &code, &length), 0);
    return code;
}

/* ---- EVFILT_READ ---- */

static void an_event_tells_how_many_bytes_there_are(void **state)
{
    struct kevent event;
    int mark;

    (void)state;
    EV_SET(&event, (uintptr_t)server, EVFILT_READ, EV_ADD, 0, 0, &mark);
    assert_int_equal(kevent(queue, &event, 1, NULL, 0, NULL), 0);
    assert_int_equal(count_events(), 0);
    put(client, "hello");
    event = next_event();
    assert_int_equal(event.ident, server);
    assert_int_equal(event.filter, EVFILT_READ);
    assert_int_equal(event.data, 5);
    assert_int_equal(event.flags & (EV_EOF | EV_ERROR), 0);
    assert_ptr_equal(event.udata, &mark);
}

static void what_is_there_already_is_reported_when_the_event_is_added(void **state)
{
    (void)state;
    put(client, "early");
    add(server, EVFILT_READ, EV_CLEAR);
    assert_int_equal(next_event().data, 5);
}

static void without_ev_clear_it_is_reported_until_it_is_no_longer_so(void **state)
{
    (void)state;
    add(server, EVFILT_READ, 0);
    put(client, "abc");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(next_event().data, 3);
    }
    take(server, 3);
    assert_int_equal(count_events(), 0);
}

static void with_ev_clear_each_change_is_reported_once(void **state)
{
    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    put(client, "abc");
    assert_int_equal(next_event().data, 3);
    assert_int_equal(count_events(), 0);
    put(client, "de");
    assert_int_equal(next_event().data, 5);
    take(server, 5);
    put(client, "fghij");
    assert_int_equal(next_event().data, 5);
}

static void what_has_been_read_meanwhile_is_not_reported(void **state)
{
    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    put(client, "abc");
    take(server, 3);
    assert_int_equal(count_events(), 0);
}

static void the_end_comes_with_the_data_that_is_unread(void **state)
{
    struct kevent event;

    (void)state;
    put(client, "last words");
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    add(server, EVFILT_READ, EV_CLEAR);
    event = next_event();
    assert_int_equal(event.flags & EV_EOF, EV_EOF);
    assert_int_equal(event.data, 10);
    assert_int_equal(event.fflags, 0);
    take(server, 10);
    assert_int_equal(count_events(), 0);
}

static void the_end_is_a_change_of_its_own(void **state)
{
    struct kevent event;

    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    put(client, "x");
    assert_int_equal(next_event().flags & EV_EOF, 0);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    event = next_event();
    assert_int_equal(event.flags & EV_EOF, EV_EOF);
    assert_int_equal(event.data, 1);
}

static void a_reset_is_in_fflags_and_stays_with_the_socket(void **state)
{
    struct kevent event;
    char byte;

    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    close_with_reset(client);
    event = next_event();
    assert_int_equal(event.flags & EV_EOF, EV_EOF);
    assert_int_equal(event.fflags, ECONNRESET);
    assert_int_equal(recv(server, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(recv(server, &byte, 1, 0), 0);
    client = tcp_socket();
}

static void an_error_that_was_shown_is_told_by_so_error_once(void **state)
{
    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    close_with_reset(client);
    assert_int_equal(next_event().fflags, ECONNRESET);
    assert_int_equal(socket_error(server), ECONNRESET);
    assert_int_equal(socket_error(server), 0);
    client = tcp_socket();
}

/* Emulators of Linux know the options of TCP that are an int, and answer others with so much. */
static void need_tcp_info(void)
{
    struct tcp_info info;
    socklen_t length = sizeof info;

    assert_int_equal(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    if (length <= sizeof(int)) {
        print_message("skipped: this system does not tell who waits at a listener\n");
        skip();
    }
}

static void a_listener_tells_how_many_clients_wait(void **state)
{
    int clients[3];
    struct kevent event;

    (void)state;
    need_tcp_info();
    for (int i = 0; i < 3; i++) {
        clients[i] = connect_client();
    }
    add(listener, EVFILT_READ, 0);
    event = next_event();
    for (int i = 0; i < 1000 && event.data < 3; i++) {
        event = next_event();
    }
    assert_int_equal(event.data, 3);
    close(accept_client());
    assert_int_equal(next_event().data, 2);
    close(accept_client());
    close(accept_client());
    assert_int_equal(count_events(), 0);
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
    }
}

static void note_lowat_asks_for_so_much(void **state)
{
    (void)state;
    assert_int_equal(apply(server, EVFILT_READ, EV_ADD, NOTE_LOWAT, 4), 0);
    put(client, "abc");
    assert_int_equal(count_events(), 0);
    put(client, "d");
    assert_int_equal(next_event().data, 4);
}

static void data_behind_urgent_data_is_counted(void **state)
{
    (void)state;
    put(client, "abc");
    assert_int_equal(send(client, "!", 1, MSG_OOB), 1);
    put(client, "de");
    add(server, EVFILT_READ, 0);
    struct kevent event = next_event();
    for (int i = 0; i < 1000 && event.data < 5; i++) {
        event = next_event();
    }
    assert_int_equal(event.data, 5);
    take(server, 3);
    assert_int_equal(next_event().data, 2);
    take(server, 2);
    assert_int_equal(count_events(), 0);
}

static void pipes_tell_bytes_and_the_end(void **state)
{
    int ends[2];
    struct kevent event;

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    add(ends[0], EVFILT_READ, EV_CLEAR);
    put(ends[1], "abcd");
    assert_int_equal(next_event().data, 4);
    close(ends[1]);
    event = next_event();
    assert_int_equal(event.flags & EV_EOF, EV_EOF);
    assert_int_equal(event.data, 4);
    close(ends[0]);
}

/* ---- EVFILT_WRITE ---- */

static void fill(int sock)
{
    static const char zeros[65536];
    ssize_t sent;

    do {
        sent = send(sock, zeros, sizeof zeros, MSG_NOSIGNAL);
    } while (sent > 0);
    assert_int_equal(errno, EAGAIN);
}

static void empty(int sock)
{
    static char data[65536];

    while (recv(sock, data, sizeof data, 0) > 0) {
    }
    assert_int_equal(errno, EAGAIN);
}

static void room_to_send_is_reported_with_its_size(void **state)
{
    struct kevent event;

    (void)state;
    add(client, EVFILT_WRITE, EV_CLEAR);
    event = next_event();
    assert_int_equal(event.filter, EVFILT_WRITE);
    assert_true(event.data > 0);
    assert_int_equal(event.flags & EV_EOF, 0);
    assert_int_equal(count_events(), 0);
}

static void a_full_socket_is_reported_when_there_is_room_again(void **state)
{
    struct timespec brief = {.tv_nsec = 20000000};
    struct kevent event = {0};
    int count = 0;

    (void)state;
    fill(client);
    add(client, EVFILT_WRITE, EV_CLEAR);
    assert_int_equal(count_events(), 0);
    for (int i = 0; i < 1000 && count == 0; i++) {
        empty(server);
        count = kevent(queue, NULL, 0, &event, 1, &brief);
    }
    assert_int_equal(count, 1);
    assert_int_equal(event.filter, EVFILT_WRITE);
}

static void a_refused_connect_is_an_end_with_the_error(void **state)
{
    struct kevent event;
    int sock;

    (void)state;
    close(listener);
    sock = connect_client();
    add(sock, EVFILT_WRITE, EV_CLEAR);
    event = next_event();
    assert_int_equal(event.flags & EV_EOF, EV_EOF);
    assert_int_equal(event.fflags, ECONNREFUSED);
    assert_int_equal(socket_error(sock), ECONNREFUSED);
    close(sock);
    listener = tcp_socket();
}

static void a_socket_says_nothing_before_it_is_connected(void **state)
{
    int sock = tcp_socket();

    (void)state;
    add(sock, EVFILT_READ, EV_CLEAR);
    add(sock, EVFILT_WRITE, EV_CLEAR);
    assert_int_equal(count_events(), 0);
    assert_true(connect(sock, (struct sockaddr *)&address, sizeof address) == 0 ||
                errno == EINPROGRESS);
    struct kevent event = next_event();
    assert_int_equal(event.filter, EVFILT_WRITE);
    assert_int_equal(event.flags & EV_EOF, 0);
    close(sock);
}

static void our_own_shutdown_ends_writing_and_not_reading(void **state)
{
    struct kevent events[2];

    (void)state;
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    add(client, EVFILT_READ, 0);
    add(client, EVFILT_WRITE, 0);
    assert_int_equal(collect(events, 2), 1);
    assert_int_equal(events[0].filter, EVFILT_WRITE);
    assert_int_equal(events[0].flags & EV_EOF, EV_EOF);
    assert_int_equal(events[0].fflags, 0);
}

static void a_pipe_without_a_reader_is_an_end(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    add(ends[1], EVFILT_WRITE, EV_CLEAR);
    assert_true(next_event().data > 0);
    close(ends[0]);
    assert_int_equal(next_event().flags & EV_EOF, EV_EOF);
    close(ends[1]);
}

static void the_two_directions_do_not_disturb_each_other(void **state)
{
    struct kevent events[4];

    (void)state;
    add(server, EVFILT_READ, EV_CLEAR);
    add(server, EVFILT_WRITE, EV_CLEAR);
    assert_int_equal(next_event().filter, EVFILT_WRITE);
    put(client, "x");
    events[0] = next_event();
    assert_int_equal(events[0].filter, EVFILT_READ);
    assert_int_equal(count_events(), 0);
}

/* ---- EVFILT_USER ---- */

static void a_user_event_is_reported_when_it_is_triggered(void **state)
{
    (void)state;
    add(7, EVFILT_USER, EV_CLEAR);
    assert_int_equal(count_events(), 0);
    assert_int_equal(apply(7, EVFILT_USER, 0, NOTE_TRIGGER, 42), 0);
    struct kevent event = next_event();
    assert_int_equal(event.ident, 7);
    assert_int_equal(event.filter, EVFILT_USER);
    assert_int_equal(event.data, 42);
    assert_int_equal(count_events(), 0);
}

static void without_ev_clear_a_user_event_stays_triggered(void **state)
{
    (void)state;
    add(7, EVFILT_USER, 0);
    assert_int_equal(apply(7, EVFILT_USER, 0, NOTE_TRIGGER, 0), 0);
    assert_int_equal(count_events(), 1);
    assert_int_equal(count_events(), 1);
}

static unsigned flags_after(unsigned change)
{
    assert_int_equal(apply(7, EVFILT_USER, 0, change | NOTE_TRIGGER, 0), 0);
    return next_event().fflags;
}

static void the_flags_of_a_user_event_follow_the_operations(void **state)
{
    (void)state;
    assert_int_equal(apply(7, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_FFCOPY | 0x0f, 0), 0);
    assert_int_equal(flags_after(NOTE_FFNOP | 0xff), 0x0f);
    assert_int_equal(flags_after(NOTE_FFOR | 0xf0), 0xff);
    assert_int_equal(flags_after(NOTE_FFAND | 0x3c), 0x3c);
    assert_int_equal(flags_after(NOTE_FFCOPY | 0x800001), 0x800001);
}

static void a_user_event_must_exist_to_be_triggered(void **state)
{
    (void)state;
    assert_int_equal(apply(7, EVFILT_USER, 0, NOTE_TRIGGER, 0), -1);
    assert_int_equal(errno, ENOENT);
}

static void user_events_can_be_refused(void **state)
{
    (void)state;
    standin_refuse_user_events(true);
    assert_int_equal(apply(7, EVFILT_USER, EV_ADD, 0, 0), -1);
    assert_int_equal(errno, EINVAL);
    standin_refuse_user_events(false);
    add(7, EVFILT_USER, 0);
}

static void *trigger_from_here(void *unused)
{
    (void)unused;
    apply(7, EVFILT_USER, 0, NOTE_TRIGGER, 0);
    return NULL;
}

static void another_thread_ends_a_wait(void **state)
{
    pthread_t thread;

    (void)state;
    add(7, EVFILT_USER, EV_CLEAR);
    assert_int_equal(pthread_create(&thread, NULL, trigger_from_here, NULL), 0);
    assert_int_equal(next_event().filter, EVFILT_USER);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- Registering ---- */

static void ev_oneshot_reports_once_and_deletes(void **state)
{
    (void)state;
    put(client, "x");
    add(server, EVFILT_READ, EV_ONESHOT);
    assert_int_equal(next_event().data, 1);
    assert_int_equal(count_events(), 0);
    assert_int_equal(apply(server, EVFILT_READ, EV_DELETE, 0, 0), -1);
    assert_int_equal(errno, ENOENT);
}

static void ev_dispatch_reports_once_and_disables(void **state)
{
    (void)state;
    put(client, "x");
    add(server, EVFILT_READ, EV_DISPATCH);
    assert_int_equal(count_events(), 1);
    assert_int_equal(count_events(), 0);
    assert_int_equal(apply(server, EVFILT_READ, EV_ENABLE, 0, 0), 0);
    assert_int_equal(count_events(), 1);
}

static void a_disabled_event_is_kept_until_it_is_enabled(void **state)
{
    (void)state;
    add(server, EVFILT_READ, EV_CLEAR | EV_DISABLE);
    put(client, "x");
    assert_int_equal(count_events(), 0);
    assert_int_equal(apply(server, EVFILT_READ, EV_ENABLE, 0, 0), 0);
    assert_int_equal(count_events(), 1);
    assert_int_equal(apply(server, EVFILT_READ, EV_DISABLE, 0, 0), 0);
    put(client, "y");
    assert_int_equal(count_events(), 0);
    add(server, EVFILT_READ, EV_CLEAR); /* "Adding an event automatically enables it" */
    assert_int_equal(count_events(), 1);
}

static void a_deleted_event_is_gone(void **state)
{
    (void)state;
    add(server, EVFILT_READ, 0);
    put(client, "x");
    assert_int_equal(count_events(), 1);
    assert_int_equal(apply(server, EVFILT_READ, EV_DELETE, 0, 0), 0);
    assert_int_equal(count_events(), 0);
}

static void adding_again_changes_the_event_that_is_there(void **state)
{
    struct kevent event;
    struct kevent events[4];
    int marks[2];

    (void)state;
    put(client, "x");
    for (int i = 0; i < 2; i++) {
        EV_SET(&event, (uintptr_t)server, EVFILT_READ, EV_ADD, 0, 0, &marks[i]);
        assert_int_equal(kevent(queue, &event, 1, NULL, 0, NULL), 0);
    }
    assert_int_equal(collect(events, 4), 1);
    assert_ptr_equal(events[0].udata, &marks[1]);
}

static void what_cannot_be_is_an_error(void **state)
{
    struct timespec wrong = {.tv_nsec = 1000000000};
    struct kevent event;

    (void)state;
    assert_int_equal(apply(-1, EVFILT_READ, EV_ADD, 0, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(apply(server, -99, EV_ADD, 0, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(apply(server, EVFILT_READ, EV_ENABLE, 0, 0), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(kevent(queue, NULL, 0, &event, 1, &wrong), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(kevent(server, NULL, 0, &event, 1, NULL), -1);
    assert_int_equal(errno, EBADF);
}

static void an_error_in_a_change_takes_the_place_of_an_event(void **state)
{
    struct kevent changes[3];
    struct kevent events[4];

    (void)state;
    put(client, "x");
    EV_SET(&changes[0], (uintptr_t)-1, EVFILT_READ, EV_ADD, 0, 0, &changes[0]);
    EV_SET(&changes[1], (uintptr_t)server, EVFILT_READ, EV_ADD, 0, 0, NULL);
    EV_SET(&changes[2], (uintptr_t)server, EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
    assert_int_equal(kevent(queue, changes, 3, events, 4, NULL), 2);
    assert_int_equal(events[0].flags & EV_ERROR, EV_ERROR);
    assert_int_equal(events[0].data, EBADF);
    assert_ptr_equal(events[0].udata, &changes[0]);
    assert_int_equal(events[1].flags & EV_ERROR, EV_ERROR);
    assert_int_equal(events[1].data, ENOENT);
    assert_int_equal(next_event().data, 1); /* the second change was made */
}

static void an_error_without_a_place_is_kevents_own(void **state)
{
    struct kevent changes[2];
    struct kevent event;

    (void)state;
    put(client, "x");
    EV_SET(&changes[0], (uintptr_t)-1, EVFILT_READ, EV_ADD, 0, 0, NULL);
    EV_SET(&changes[1], (uintptr_t)server, EVFILT_READ, EV_DELETE, 0, 0, NULL);
    assert_int_equal(kevent(queue, changes, 2, &event, 1, NULL), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(kevent(queue, changes, 2, NULL, 0, NULL), -1);
    assert_int_equal(errno, EBADF);
}

static void ev_receipt_answers_each_change_and_reports_nothing_else(void **state)
{
    struct kevent list[4]; /* "may point to the same array" */

    (void)state;
    put(client, "x");
    EV_SET(&list[0], (uintptr_t)server, EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&list[1], (uintptr_t)server, EVFILT_WRITE, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
    assert_int_equal(kevent(queue, list, 2, list, 4, NULL), 2);
    assert_int_equal(list[0].flags & EV_ERROR, EV_ERROR);
    assert_int_equal(list[0].data, 0);
    assert_int_equal(list[1].data, ENOENT);
}

/* ---- Descriptors that go ---- */

static void close_removes_the_events_even_if_a_duplicate_is_open(void **state)
{
    int duplicate = dup(server);

    (void)state;
    assert_true(duplicate >= 0);
    add(server, EVFILT_READ, 0);
    add(server, EVFILT_WRITE, 0);
    put(client, "x");
    assert_int_equal(count_events(), 2);
    close(server);
    put(client, "y");
    assert_int_equal(count_events(), 0);
    server = duplicate;
}

static void a_new_descriptor_of_the_old_number_has_no_events(void **state)
{
    int duplicate = dup(server);
    int number = server;

    (void)state;
    put(client, "x");
    add(server, EVFILT_READ, 0);
    assert_int_equal(dup2(duplicate, number), number); /* closes it, and opens it anew */
    close(duplicate);
    assert_int_equal(count_events(), 0);
    assert_int_equal(apply(server, EVFILT_READ, EV_DELETE, 0, 0), -1);
    assert_int_equal(errno, ENOENT);
    add(server, EVFILT_READ, 0);
    assert_int_equal(count_events(), 1);
}

static void a_closed_queue_is_gone(void **state)
{
    struct kevent event;
    int other = kqueue();

    (void)state;
    assert_true(other >= 0);
    close(other);
    assert_int_equal(kevent(other, NULL, 0, &event, 1, NULL), -1);
    assert_int_equal(errno, EBADF);
}

static void a_forked_child_has_no_queue(void **state)
{
    struct kevent event;
    struct timespec at_once = {0};
    int report[2];
    int seen = 0;
    pid_t child;

    (void)state;
    add(server, EVFILT_READ, 0);
    put(client, "x");
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int code = kevent(queue, NULL, 0, &event, 1, &at_once) < 0 ? errno : 0;
        ssize_t written = write(report[1], &code, sizeof code);

        (void)written;
        raise(SIGKILL); /* or valgrind would look for what the child has not freed */
    }
    assert_int_equal(read(report[0], &seen, sizeof seen), sizeof seen);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(seen, EBADF);
    assert_int_equal(count_events(), 1);
    close(report[0]);
    close(report[1]);
}

/* ---- Waiting ---- */

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void a_wait_lasts_as_long_as_it_is_told(void **state)
{
    struct timespec brief = {.tv_nsec = 10500000};
    struct kevent event;
    int64_t began = now();

    (void)state;
    assert_int_equal(kevent(queue, NULL, 0, &event, 1, &brief), 0);
    assert_true(now() - began >= 10500000);
}

static void without_room_for_events_it_does_not_wait(void **state)
{
    struct timespec patience = {.tv_sec = 20};
    int64_t began = now();

    (void)state;
    assert_int_equal(kevent(queue, NULL, 0, NULL, 0, &patience), 0);
    assert_true(now() - began < (int64_t)10 * 1000000000);
}

static void events_beyond_the_room_come_next_and_in_turn(void **state)
{
    unsigned seen = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        add(i, EVFILT_USER, 0);
        assert_int_equal(apply(i, EVFILT_USER, 0, NOTE_TRIGGER, 0), 0);
    }
    for (int i = 0; i < 3; i++) {
        seen |= 1U << next_event().ident;
    }
    assert_int_equal(seen, 7);
}

static void trigger_in_handler(int number)
{
    (void)number;
    apply(7, EVFILT_USER, 0, NOTE_TRIGGER, 0);
}

static void do_nothing(int number)
{
    (void)number;
}

static void a_signal_handler_may_call_kevent(void **state)
{
    struct sigaction action = {.sa_handler = trigger_in_handler};
    struct sigaction before;

    (void)state;
    add(7, EVFILT_USER, EV_CLEAR);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(next_event().ident, 7);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void a_signal_ends_a_wait_with_eintr(void **state)
{
    struct sigaction action = {.sa_handler = do_nothing};
    struct sigaction before;
    struct sigevent notice = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec soon = {.it_value.tv_nsec = 5000000, .it_interval.tv_nsec = 5000000};
    struct timespec patience = {.tv_sec = 20};
    struct kevent event;
    timer_t timer;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &notice, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &soon, NULL), 0);
    assert_int_equal(kevent(queue, NULL, 0, &event, 1, &patience), -1);
    assert_int_equal(errno, EINTR);
    assert_int_equal(timer_delete(timer), 0);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* ---- All of it ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    TEST(an_event_tells_how_many_bytes_there_are),
    TEST(what_is_there_already_is_reported_when_the_event_is_added),
    TEST(without_ev_clear_it_is_reported_until_it_is_no_longer_so),
    TEST(with_ev_clear_each_change_is_reported_once),
    TEST(what_has_been_read_meanwhile_is_not_reported),
    TEST(the_end_comes_with_the_data_that_is_unread),
    TEST(the_end_is_a_change_of_its_own),
    TEST(a_reset_is_in_fflags_and_stays_with_the_socket),
    TEST(an_error_that_was_shown_is_told_by_so_error_once),
    TEST(a_listener_tells_how_many_clients_wait),
    TEST(note_lowat_asks_for_so_much),
    TEST(data_behind_urgent_data_is_counted),
    TEST(pipes_tell_bytes_and_the_end),
    TEST(room_to_send_is_reported_with_its_size),
    TEST(a_full_socket_is_reported_when_there_is_room_again),
    TEST(a_refused_connect_is_an_end_with_the_error),
    TEST(a_socket_says_nothing_before_it_is_connected),
    TEST(our_own_shutdown_ends_writing_and_not_reading),
    TEST(a_pipe_without_a_reader_is_an_end),
    TEST(the_two_directions_do_not_disturb_each_other),
    TEST(a_user_event_is_reported_when_it_is_triggered),
    TEST(without_ev_clear_a_user_event_stays_triggered),
    TEST(the_flags_of_a_user_event_follow_the_operations),
    TEST(a_user_event_must_exist_to_be_triggered),
    TEST(user_events_can_be_refused),
    TEST(another_thread_ends_a_wait),
    TEST(ev_oneshot_reports_once_and_deletes),
    TEST(ev_dispatch_reports_once_and_disables),
    TEST(a_disabled_event_is_kept_until_it_is_enabled),
    TEST(a_deleted_event_is_gone),
    TEST(adding_again_changes_the_event_that_is_there),
    TEST(what_cannot_be_is_an_error),
    TEST(an_error_in_a_change_takes_the_place_of_an_event),
    TEST(an_error_without_a_place_is_kevents_own),
    TEST(ev_receipt_answers_each_change_and_reports_nothing_else),
    TEST(close_removes_the_events_even_if_a_duplicate_is_open),
    TEST(a_new_descriptor_of_the_old_number_has_no_events),
    TEST(a_closed_queue_is_gone),
    TEST(a_forked_child_has_no_queue),
    TEST(a_wait_lasts_as_long_as_it_is_told),
    TEST(without_room_for_events_it_does_not_wait),
    TEST(events_beyond_the_room_come_next_and_in_turn),
    TEST(a_signal_handler_may_call_kevent),
    TEST(a_signal_ends_a_wait_with_eintr),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
