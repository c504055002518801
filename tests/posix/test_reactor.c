/* SPDX-License-Identifier: MIT */
/*
 * Goal: what only a system with descriptors can do to a backend: running out of them, duplicates
 * that outlive their socket, reads that end early, signals.
 * Method: as test_backend.c, with the system's own calls on the other side.
 */
#define _GNU_SOURCE 1

#include "backend_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Running out of descriptors ---- */

/* Valgrind applies the limit itself, after it has let the system accept, and loses the client. */
static void skip_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    if (preload != NULL && strstr(preload, "vgpreload") != NULL) {
        print_message("valgrind does not run out of descriptors as the system does\n");
        skip();
    }
}

/* Takes all descriptors but `spare` of a limit that is put low for the while. */
typedef struct famine {
    struct rlimit before;
    int taken[256];
    size_t count;
} famine;

static void begin_famine(famine *self, size_t spare)
{
    struct rlimit low;

    self->count = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &self->before), 0);
    low = self->before;
    low.rlim_cur = 256;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (self->count < 256) {
        int descriptor = dup(STDERR_FILENO);
        if (descriptor < 0) {
            break;
        }
        self->taken[self->count++] = descriptor;
    }
    assert_true(self->count > spare);
    while (spare-- > 0) {
        close(self->taken[--self->count]);
    }
}

static void end_famine(famine *self)
{
    while (self->count > 0) {
        close(self->taken[--self->count]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &self->before), 0);
}

static void without_descriptors_clients_are_turned_away_and_counted(void **state)
{
    listener from;
    famine hunger;
    end clients[3];

    (void)state;
    skip_under_valgrind();
    open_listener(&from);
    for (size_t i = 0; i < 2; i++) {
        start_connecting(&clients[i], &from.address);
        assert_true(completes(&clients[i].out));
        submit(&clients[i].in, &clients[i].io, PCO__OP_RECV);
    }
    begin_famine(&hunger, 0);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    assert_true(completes(&from.accept));
    end_famine(&hunger);
    assert_int_equal(from.accept.error, PCO_EMFILE);
    assert_int_equal(from.accept.length, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(completes(&clients[i].in)); /* they hear of it, and do not wait */
        close_end(&clients[i]);
    }
    tested->network->close(at.backend, connect_one(&from, &clients[2]), false);
    close_end(&clients[2]);
    close_listener(&from);
}

static void the_reserve_serves_again_and_again(void **state)
{
    listener from;
    end client;

    (void)state;
    skip_under_valgrind();
    open_listener(&from);
    for (unsigned i = 1; i <= 3; i++) {
        famine hunger;

        start_connecting(&client, &from.address);
        assert_true(completes(&client.out));
        begin_famine(&hunger, 0);
        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
        assert_true(reaches(&from.accept.count, i));
        end_famine(&hunger);
        assert_int_equal(from.accept.error, PCO_EMFILE);
        assert_int_equal(from.accept.length, 1);
        close_end(&client);
    }
    close_listener(&from);
}

static void the_last_descriptor_going_to_a_client_is_no_failure(void **state)
{
    listener from;
    famine hunger;
    end clients[2];

    (void)state;
    skip_under_valgrind();
    open_listener(&from);
    start_connecting(&clients[0], &from.address);
    assert_true(completes(&clients[0].out));
    begin_famine(&hunger, 1);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    assert_true(completes(&from.accept));
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    end_famine(&hunger);
    assert_int_equal(from.accept.count, 1);
    assert_int_equal(from.accept.error, 0);
    tested->network->close(at.backend, from.accept.socket, false);
    start_connecting(&clients[1], &from.address);
    assert_true(reaches(&from.accept.count, 2));
    assert_int_equal(from.accept.error, 0);
    tested->network->close(at.backend, from.accept.socket, false);
    close_end(&clients[0]);
    close_end(&clients[1]);
    close_listener(&from);
}

/* ---- Duplicates that outlive their socket ---- */

static void a_duplicate_of_a_freed_socket_does_no_harm(void **state)
{
    end *old = malloc(sizeof *old);
    supplier ours = {.asked = 0};
    end clients[2];
    end fresh;
    listener from;
    int number;
    int duplicate;

    (void)state;
    assert_non_null(old);
    open_listener(&from);
    attach_accepted(old, connect_one(&from, &clients[0]));
    number = (int)old->io.socket;
    duplicate = dup(number);
    assert_true(duplicate >= 0);
    close_end(old);
    free(old);
    push(&clients[0], "to nobody");
    poll_for(0);
    /* The old number was the lowest one free, so the next socket has it now. */
    attach_accepted(&fresh, connect_one(&from, &clients[1]));
    assert_int_equal(clients[1].io.socket, number);
    clients[1].in.op.with.get_buffer = supply;
    clients[1].in.context = &ours;
    submit(&clients[1].in, &clients[1].io, PCO__OP_RECV);
    push(&clients[0], "to the duplicate");
    exchange_a_message_elsewhere();
    assert_int_equal(ours.asked, 0);
    push(&fresh, "hello");
    assert_true(completes(&clients[1].in));
    assert_memory_equal(ours.memory, "hello", 5);
    close(duplicate);
    close_end(&clients[0]);
    close_end(&clients[1]);
    close_end(&fresh);
    close_listener(&from);
}

static void a_duplicate_can_be_attached_under_the_old_number(void **state)
{
    end client;
    end server;
    int number;
    int duplicate;

    (void)state;
    make_pairs(&client, &server, 1);
    number = (int)server.io.socket;
    duplicate = dup(number);
    assert_true(duplicate >= 0);
    close_end(&server);
    assert_int_equal(dup2(duplicate, number), number);
    close(duplicate);
    attach_accepted(&server, number);
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "hello");
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 5);
    close_end(&client);
    close_end(&server);
}

/* A process that shares the listener goes on with it, and its clients are no news here. */
static void a_duplicate_of_a_closed_listener_wakes_nobody(void **state)
{
    uint64_t began;
    listener from;
    int duplicate;

    (void)state;
    open_listener(&from);
    duplicate = dup((int)from.io.socket);
    assert_true(duplicate >= 0);
    close_listener(&from);
    began = now();
    for (int i = 0; i < 5; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(client, (const struct sockaddr *)from.address.storage,
                                 (socklen_t)from.address.length),
                         0);
        poll_for(20 * MILLISECOND);
        close(client);
    }
    /* A poll() may return early now and then, but not always. */
    assert_true(now() - began >= 50 * MILLISECOND);
    close(duplicate);
}

static void a_duplicate_of_a_closed_listener_goes_on_accepting(void **state)
{
    listener from;
    listener duplicate = {.io = {.socket = PCO_NO_SOCKET}};
    end client;

    (void)state;
    open_listener(&from);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    poll_for(0);
    duplicate.io.socket = dup((int)from.io.socket);
    duplicate.address = from.address;
    close_io(&from.io, false);
    assert_true(completes(&from.accept));
    assert_int_equal(from.accept.error, PCO_ECANCELED);
    attach(&duplicate.io, PCO__IO_LISTENER);
    tested->network->close(at.backend, connect_one(&duplicate, &client), false);
    close_end(&client);
    close_listener(&duplicate);
}

/* As another process may do that has the listener, too: it is ready for ever, and never accepts. */
static void a_listener_that_was_shut_down_fails_once_for_each_accept(void **state)
{
    uint64_t began;
    listener from;
    int duplicate;

    (void)state;
    if (strcmp(tested->name, "kqueue") == 0) {
        print_message("a kqueue has no event for a listener that was shut down\n");
        skip();
    }
    open_listener(&from);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    poll_for(0);
    assert_int_equal(from.accept.count, 0);
    duplicate = dup((int)from.io.socket);
    assert_int_equal(shutdown(duplicate, SHUT_RDWR), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(reaches(&from.accept.count, i));
        assert_int_not_equal(from.accept.error, 0);
        assert_int_equal(from.accept.socket, PCO_NO_SOCKET);
        assert_int_equal(from.accept.length, 0);
        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    }
    assert_true(reaches(&from.accept.count, 4));
    began = now();
    for (int i = 0; i < 5; i++) {
        poll_for(20 * MILLISECOND); /* nobody asks, and so there is no news */
    }
    assert_true(now() - began >= 50 * MILLISECOND);
    assert_int_equal(from.accept.count, 4);

    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    close_io(&from.io, false);
    assert_true(reaches(&from.accept.count, 5));
    assert_int_equal(from.accept.error, PCO_ECANCELED);
    close(duplicate);
}

static void descriptors_with_large_numbers_work(void **state)
{
    end client;
    end server;
    listener from;
    pco_socket accepted;

    (void)state;
    open_listener(&from);
    accepted = connect_one(&from, &client);
    attach_accepted(&server, fcntl((int)accepted, F_DUPFD_CLOEXEC, 777));
    assert_true(server.io.socket >= 777);
    close((int)accepted);
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "hello");
    assert_true(completes(&server.in));
    assert_int_equal(server.in.length, 5);
    close_end(&client);
    close_end(&server);
    close_listener(&from);
}

static void what_is_no_socket_cannot_be_attached(void **state)
{
    pco__io io = {.socket = PCO_NO_SOCKET};
    pco_error error;

    (void)state;
    assert_int_equal(at.backend->class_->attach(at.backend, &io, PCO__IO_CONNECTED, &error),
                     PCO_ENOTSOCK);
    assert_string_equal(error.message, "watch a socket: not a socket");
}

/* ---- Reads that end early ---- */

static void data_behind_urgent_data_is_read(void **state)
{
    static unsigned char kept[16];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "abc");
    assert_int_equal(send((int)client.io.socket, "!", 1, MSG_OOB), 1);
    push(&client, "def");
    exchange_a_message_elsewhere();
    start_reading(&server, kept, sizeof kept);
    assert_true(receives(&server, 6));
    assert_int_equal(server.in.total, 6);
    assert_memory_equal(kept, "abcdef", 6);
    close_end(&client);
    close_end(&server);
}

/* Sends "one" along with a descriptor, then "two": one read brings one of them (unix(7)). */
static void send_with_descriptor(int sock)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = "one", .iov_len = 3};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int descriptor = STDERR_FILENO;

    memset(&control, 0, sizeof control);
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    assert_int_equal(sendmsg(sock, &message, 0), 3);
    assert_int_equal(send(sock, "two", 3, 0), 3);
}

/* A listener of AF_UNIX in a directory of its own, which `remove_unix_listener` removes. */
typedef struct unix_place {
    char directory[64];
    char path[96];
} unix_place;

static void open_unix_listener(unix_place *place, listener *self)
{
    pco__listener_options options = {0};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char text[PCO_ADDRESS_TEXT_SIZE];

    memset(self, 0, sizeof *self);
    snprintf(place->directory, sizeof place->directory, "portico-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->path, sizeof place->path, "%s/socket", place->directory);
    memcpy(name.sun_path, place->path, strlen(place->path));
    memcpy(self->address.storage, &name, sizeof name);
    self->address.length = sizeof name;
    assert_int_equal(pco_address_format(&self->address, text, sizeof text), 0);
    assert_string_equal(text, place->path);
    assert_int_equal(
        tested->network->bind(at.backend, &self->address, &options, &self->io.socket, NULL), 0);
    assert_int_equal(tested->network->listen(at.backend, self->io.socket, 10, NULL), 0);
    attach(&self->io, PCO__IO_LISTENER);
}

static void remove_unix_listener(const unix_place *place)
{
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(rmdir(place->directory), 0);
}

static void unix_connections_are_read_beyond_passed_descriptors(void **state)
{
    static unsigned char kept[2][16];
    unix_place place;
    listener from;
    end clients[2];
    end servers[2];
    end *readers[2] = {&servers[0], &clients[1]};
    end *writers[2] = {&clients[0], &servers[1]};

    (void)state;
    open_unix_listener(&place, &from);
    for (size_t i = 0; i < 2; i++) {
        attach_accepted(&servers[i], connect_one(&from, &clients[i]));
        send_with_descriptor((int)writers[i]->io.socket);
        exchange_a_message_elsewhere();
        start_reading(readers[i], kept[i], sizeof kept[i]);
        assert_true(receives(readers[i], 6));
        assert_memory_equal(kept[i], "onetwo", 6);
    }
    for (size_t i = 0; i < 2; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
    close_listener(&from);
    remove_unix_listener(&place);
}

/* Of a socket that was connected elsewhere nothing else tells that it is one of these. */
static void so_are_those_that_the_user_brings(void **state)
{
    static unsigned char kept[16];
    end reader;
    int pair[2];

    (void)state;
    memset(&reader, 0, sizeof reader);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    reader.io.socket = pair[0];
    attach(&reader.io, PCO__IO_GIVEN);
    send_with_descriptor(pair[1]);
    exchange_a_message_elsewhere();
    start_reading(&reader, kept, sizeof kept);
    assert_true(receives(&reader, 6));
    assert_memory_equal(kept, "onetwo", 6);
    close_end(&reader);
    close(pair[1]);
}

static void a_unix_connect_without_a_listener_is_refused(void **state)
{
    unix_place place;
    listener from;
    end client;

    (void)state;
    open_unix_listener(&place, &from);
    close_listener(&from);
    start_connecting(&client, &from.address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    remove_unix_listener(&place);
    start_connecting(&client, &from.address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ENOENT);
    close_end(&client);
}

/* ---- Signals ---- */

static void stop_from_a_handler(int number)
{
    (void)number;
    at.backend->class_->wake(at.backend, true);
}

static void a_signal_handler_may_stop_and_errno_stays(void **state)
{
    struct sigaction action = {.sa_handler = stop_from_a_handler};
    struct sigaction before;

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    errno = EDOM;
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(errno, EDOM);
    for (int i = 0; i < 5 && !at.stop; i++) {
        poll_for(PATIENCE);
    }
    assert_true(at.stop);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/*
 * A child's end: by SIGKILL if it has found all well. Not by an exit, at which valgrind would look
 * at the memory that the parent still has.
 */
static void end_child(int found)
{
    if (found == 0) {
        raise(SIGKILL);
    }
    _exit(found);
}

static void assert_all_well(pid_t child)
{
    int status = -1;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void a_stop_in_a_forked_child_is_not_the_parents(void **state)
{
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        at.backend->class_->wake(at.backend, true);
        end_child(0);
    }
    assert_all_well(child);
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_false(at.stop);
    at.backend->class_->wake(at.backend, true);
    poll_for(PATIENCE);
    assert_true(at.stop);
}

/* Which of 0 to 2 are open, a bit each. */
static unsigned standard_descriptors(void)
{
    unsigned open = 0;

    for (int i = 0; i <= STDERR_FILENO; i++) {
        open |= fcntl(i, F_GETFD) >= 0 ? 1u << i : 0;
    }
    return open;
}

/* In a child, since the tests print. Returns what it has found, 0: all is well. */
static int live_without_standard_descriptors(void)
{
    pco__backend_options options = {.receive_buffer_size = RECEIVE_BUFFER};
    listener from;
    end client;

    for (int i = 0; i <= STDERR_FILENO; i++) {
        close(i);
    }
    if (tested->init(tested, &options, &at.backend, NULL) != 0) {
        return 1;
    }
    open_listener(&from);
    pco_socket accepted = connect_one(&from, &client);
    if (standard_descriptors() != 0 || accepted <= STDERR_FILENO) {
        return 2;
    }
    tested->network->close(at.backend, accepted, false);
    close_end(&client);
    close_listener(&from);
    at.backend->class_->fini(at.backend);
    return 0;
}

static void no_descriptor_is_one_of_the_standard_ones(void **state)
{
    (void)state;
#if defined(__linux__)
    if (strcmp(tested->name, "kqueue") == 0) {
        print_message("a kqueue on Linux opens descriptors of its own\n");
        skip();
    }
#endif
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        end_child(live_without_standard_descriptors());
    }
    assert_all_well(child);
}

static void sending_to_a_closed_connection_raises_no_signal(void **state)
{
    struct sigaction before;
    pco__sent sent;
    end client;
    end server;

    (void)state;
    assert_int_equal(sigaction(SIGPIPE, NULL, &before), 0);
    assert_true(before.sa_handler == SIG_DFL); /* it would end this program */
    make_pairs(&client, &server, 1);
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    sent = try_send(&client, "x", 1);
    assert_int_equal(sent.error, PCO_EPIPE);
    assert_int_equal(sent.system_code, EPIPE);
    close_end(&client);
    close_end(&server);
}

/* ---- What every socket has ---- */

static int option_of(pco_socket sock, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    assert_int_equal(getsockopt((int)sock, level, name, &value, &length), 0);
    return value;
}

static void accepted_sockets_have_the_listeners_options(void **state)
{
    pco__listener_options options = {.connections = {.keep_alive = PCO_ON}};
    pco_address any_port = loopback();
    listener from;
    end client;
    pco_socket accepted;

    (void)state;
    memset(&from, 0, sizeof from);
    assert_int_equal(tested->network->bind(at.backend, &any_port, &options, &from.io.socket, NULL),
                     0);
    assert_int_equal(tested->network->sockname(at.backend, from.io.socket, &from.address), 0);
    assert_int_equal(tested->network->listen(at.backend, from.io.socket, 10, NULL), 0);
    attach(&from.io, PCO__IO_LISTENER);
    accepted = connect_one(&from, &client);
    tested->network->prepare_connected(at.backend, accepted, &options.connections, false);
    assert_int_not_equal(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(option_of(accepted, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_not_equal(fcntl((int)accepted, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_not_equal(fcntl((int)accepted, F_GETFL) & O_NONBLOCK, 0);
    assert_int_not_equal(option_of(client.io.socket, IPPROTO_TCP, TCP_NODELAY), 0);
    tested->network->close(at.backend, accepted, false);
    close_end(&client);
    close_listener(&from);
}

/* ---- Ports ---- */

static bool gives(int port)
{
    return tested->network->gives_port(at.backend, port);
}

/* As Linux tells; the rest gives any. */
static void ports_are_given_from_the_systems_range(void **state)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
    int first = 0;
    int last = 65535;

    (void)state;
    if (file != NULL) {
        assert_int_equal(fscanf(file, "%d %d", &first, &last), 2);
        fclose(file);
    }
    assert_true(gives(first));
    assert_true(gives(last));
    assert_false(gives(first - 1));
    assert_false(gives(last + 1));
}

static void who_connects_is_given_a_port_of_that_range(void **state)
{
    listener from;
    end client;
    pco_address name;
    pco_socket accepted;

    (void)state;
    open_listener(&from);
    accepted = connect_one(&from, &client);
    assert_int_equal(tested->network->sockname(at.backend, client.io.socket, &name), 0);
    assert_true(gives(pco_address_port(&name)));
    tested->network->close(at.backend, accepted, false);
    close_end(&client);
    close_listener(&from);
}

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(without_descriptors_clients_are_turned_away_and_counted),
    TEST(the_reserve_serves_again_and_again),
    TEST(the_last_descriptor_going_to_a_client_is_no_failure),
    TEST(a_duplicate_of_a_freed_socket_does_no_harm),
    TEST(a_duplicate_can_be_attached_under_the_old_number),
    TEST(a_duplicate_of_a_closed_listener_wakes_nobody),
    TEST(a_duplicate_of_a_closed_listener_goes_on_accepting),
    TEST(a_listener_that_was_shut_down_fails_once_for_each_accept),
    TEST(descriptors_with_large_numbers_work),
    TEST(what_is_no_socket_cannot_be_attached),
    TEST(data_behind_urgent_data_is_read),
    TEST(unix_connections_are_read_beyond_passed_descriptors),
    TEST(so_are_those_that_the_user_brings),
    TEST(a_unix_connect_without_a_listener_is_refused),
    TEST(a_signal_handler_may_stop_and_errno_stays),
    TEST(a_stop_in_a_forked_child_is_not_the_parents),
    TEST(no_descriptor_is_one_of_the_standard_ones),
    TEST(sending_to_a_closed_connection_raises_no_signal),
    TEST(accepted_sockets_have_the_listeners_options),
    TEST(ports_are_given_from_the_systems_range),
    TEST(who_connects_is_given_a_port_of_that_range),
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
