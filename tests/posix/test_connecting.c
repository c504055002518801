/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_connection copes with what real networks do: peers that never answer, families that
 * do not work, names that take long, and signals that come meanwhile.
 * Method: a listener whose backlog is full answers nobody; a namespace without a way out has a
 * family that is broken (Linux); a resolver on a thread answers when the test says so.
 */
#define _GNU_SOURCE 1

#include "behaviour_create.h"

#include "system/network.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#endif

#define SHORTLY 0.05

typedef struct outcome {
    unsigned calls;
    pco_transport *transport;
    pco_error error;
    unsigned begun;  /* addresses that were tried */
    unsigned failed; /* and of which this was told */
    int failure;     /* the last one's code */
} outcome;

static outcome told;

static void note_connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                           void *context)
{
    (void)protocol;
    (void)context;
    told.calls++;
    told.transport = transport;
    if (error != NULL) {
        told.error = *error;
    }
}

static void note_progress(int stage, const pco_address *address, const pco_error *error,
                          void *context)
{
    (void)address;
    (void)context;
    told.begun += stage == PCO_CONNECTION_CONNECTING;
    told.failed += stage == PCO_CONNECTION_FAILED;
    if (error != NULL) {
        told.failure = error->code;
    }
}

static pco_connection_options options_of(const pco_address *addresses, size_t count)
{
    return (pco_connection_options){.size = sizeof(pco_connection_options),
                                    .protocol_factory = make_record,
                                    .addresses = addresses,
                                    .addresses_count = count,
                                    .progress = note_progress};
}

static void begin(const pco_connection_options *options, pco_request **request)
{
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_create_connection(at.loop, options, note_connected, NULL, request, NULL), 0);
}

/* ---- Nobody answers ---- */

#define CALLERS 8

/* A listener that accepts nothing and has as many clients waiting as it lets wait. */
typedef struct silence {
    int listener;
    int callers[CALLERS];
    pco_address address;
} silence;

static void silence_begin(silence *self)
{
    pco_address any;
    socklen_t length = sizeof self->address.storage;
    assert_int_equal(pco_address_parse("127.0.0.1", 0, &any), 0);
    memset(&self->address, 0, sizeof self->address);
    self->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(self->listener >= 0);
    assert_int_equal(bind(self->listener, (const struct sockaddr *)any.storage, any.length), 0);
    assert_int_equal(listen(self->listener, 1), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)self->address.storage, &length),
                     0);
    self->address.length = length;
    for (unsigned i = 0; i < CALLERS; i++) {
        self->callers[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(self->callers[i] >= 0);
        assert_int_equal(fcntl(self->callers[i], F_SETFL, O_NONBLOCK), 0);
        int code = connect(self->callers[i], (const struct sockaddr *)self->address.storage,
                           self->address.length);
        assert_true(code == 0 || errno == EINPROGRESS);
    }
}

static void silence_end(silence *self)
{
    for (unsigned i = 0; i < CALLERS; i++) {
        close(self->callers[i]);
    }
    close(self->listener);
}

/* The first address is silent, the second serves. */
static void serve_beside(silence *nobody, pco_address addresses[2])
{
    serve();
    silence_begin(nobody);
    addresses[0] = nobody->address;
    addresses[1] = address_of(at.server, 0);
}

static void where_nobody_answers_the_next_address_is_tried_beside_it(void **state)
{
    silence nobody;
    pco_address addresses[2];
    (void)state;
    serve_beside(&nobody, addresses);
    unsigned before = count_sockets();
    pco_connection_options options = options_of(addresses, 2);
    begin(&options, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
    assert_int_equal(told.begun, 2);
    assert_int_equal(told.failed, 0);
    pco_address name;
    assert_int_equal(pco_transport_get_peername(told.transport, &name), 0);
    assert_true(pco_address_equal(&name, &addresses[1]));
    assert_true(reaches(&at.made, 2));
    assert_int_equal(count_sockets(), before + 2); /* both ends; the loser is closed */
    silence_end(&nobody);
}

static void without_happy_eyeballs_who_does_not_answer_is_waited_for(void **state)
{
    silence nobody;
    pco_address addresses[2];
    (void)state;
    serve_beside(&nobody, addresses);
    unsigned before = count_sockets();
    pco_connection_options options = options_of(addresses, 2);
    options.happy_eyeballs_delay = INFINITY;
    options.connect_timeout = SHORTLY;
    begin(&options, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ETIMEDOUT);
    assert_int_equal(told.begun, 1);
    let_pass(3);
    assert_int_equal(count_sockets(), before);
    silence_end(&nobody);
}

static void a_silent_attempt_can_be_canceled(void **state)
{
    silence nobody;
    pco_request *request;
    (void)state;
    silence_begin(&nobody);
    unsigned before = count_sockets();
    pco_connection_options options = options_of(&nobody.address, 1);
    begin(&options, &request);
    assert_true(reaches(&told.begun, 1));
    pco_request_cancel(request);
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECANCELED);
    let_pass(3);
    assert_int_equal(count_sockets(), before);
    pco_request_release(request);
    silence_end(&nobody);
}

static void the_loop_may_be_freed_while_nobody_answers(void **state)
{
    silence nobody;
    (void)state;
    silence_begin(&nobody);
    pco_connection_options options = options_of(&nobody.address, 1);
    begin(&options, NULL);
    assert_true(reaches(&told.begun, 1));
    world_free_loop();
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.error.code, PCO_ECANCELED);
    silence_end(&nobody);
}

/* ---- Sockets that come late ---- */

static int connected_pair(int *accepted)
{
    pco_address any;
    pco_address place;
    socklen_t length = sizeof place.storage;
    assert_int_equal(pco_address_parse("127.0.0.1", 0, &any), 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0 && client >= 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)any.storage, any.length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)place.storage, &length), 0);
    assert_int_equal(connect(client, (const struct sockaddr *)place.storage, length), 0);
    *accepted = accept(listener, NULL, NULL);
    assert_true(*accepted >= 0);
    close(listener);
    return client;
}

#if defined(__linux__)

/* Whether the system knows no peer of the socket any more. */
static bool is_over(void *context)
{
    pco_address name;
    socklen_t length = sizeof name.storage;
    return getpeername(*(const int *)context, (struct sockaddr *)name.storage, &length) != 0;
}

#endif

static void what_came_before_both_ends_had_ended_still_comes(void **state)
{
    int accepted;
    (void)state;
    int client = connected_pair(&accepted);
    assert_int_equal(send(client, "answer", 6, 0), 6);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    assert_int_equal(shutdown(accepted, SHUT_WR), 0);
#if defined(__linux__)
    assert_true(happens(is_over, &accepted));
#endif
    pco_connection_options options = {
        .size = sizeof options, .protocol_factory = make_record, .sock = accepted};
    memset(&told, 0, sizeof told);
    assert_int_equal(
        pco_loop_connect_accepted_socket(at.loop, &options, note_connected, NULL, NULL, NULL), 0);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
    record *last = newest();
    assert_true(grows_to(&last->length, 6));
    assert_memory_equal(last->data, "answer", 6);
    assert_true(becomes(&last->lost));
    assert_true(last->lost_cleanly);
    close(client);
}

/* ---- A family that does not work ---- */

#if defined(__linux__)

enum { CAME_THROUGH = 0, NO_NAMESPACE = 77 };

static bool bring_up_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    bool up = sock >= 0 && ioctl(sock, SIOCSIFFLAGS, &request) == 0;
    close(sock);
    return up;
}

/* In a child: no assertions, which would end the parent's test as well. */
static int connect_in_a_namespace(void)
{
    pco_address addresses[2];
    pco_server *server = NULL;
    pco_loop *loop = NULL;
    if ((unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) ||
        !bring_up_loopback()) {
        return NO_NAMESPACE;
    }
    pco_loop_options made = {.size = sizeof made, .backend = tested->name};
    pco_server_options options = server_options();
    if (pco_loop_new(&made, &loop, NULL) != 0 ||
        pco_loop_create_server(loop, &options, &server, NULL) != 0) {
        return 1;
    }
    addresses[1] = address_of(server, 0);
    if (pco_address_parse("2001:db8::1", pco_address_port(&addresses[1]), &addresses[0]) != 0) {
        return 2;
    }
    at.loop = loop;
    pco_connection_options connecting = options_of(addresses, 2);
    connecting.happy_eyeballs_delay = INFINITY;
    memset(&told, 0, sizeof told);
    if (pco_loop_create_connection(loop, &connecting, note_connected, NULL, NULL, NULL) != 0 ||
        !reaches(&told.calls, 1)) {
        return 3;
    }
    bool right = told.error.code == 0 && told.begun == 2 && told.failed == 1;
    /* Without IPv6 in the kernel there is no such family. */
    right = right && (told.failure == PCO_ENETUNREACH || told.failure == PCO_EADDRNOTAVAIL ||
                      told.failure == PCO_EAFNOSUPPORT);
    return right ? CAME_THROUGH : 4;
}

static void a_family_without_a_route_costs_no_time(void **state)
{
    unsigned char outcome_of_child = 0;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        outcome_of_child = (unsigned char)connect_in_a_namespace();
        ssize_t written = write(ends[1], &outcome_of_child, 1);
        (void)written;
        raise(SIGKILL); /* no end in order, or valgrind would look for what it has not freed */
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &outcome_of_child, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    if (outcome_of_child == NO_NAMESPACE) {
        print_message("a namespace cannot be made here\n");
        skip();
    }
    assert_int_equal(outcome_of_child, CAME_THROUGH);
}

#endif

/* ---- Names that take long ---- */

/* One question, answered by a thread when the test allows it. */
typedef struct asked {
    pthread_t thread;
    pco_loop *loop;
    pco_lookup *lookup;
    pco_address answer;
    sem_t *may_answer;
    unsigned questions;
    unsigned answers;
} asked;

static void give_answer(void *context)
{
    asked *self = context;
    self->answers++;
    pco_lookup_answer(self->lookup, &self->answer, 1, NULL);
}

static void *wait_and_answer(void *context)
{
    asked *self = context;
    while (sem_wait(self->may_answer) != 0 && errno == EINTR) {
    }
    pco_loop_call_soon_threadsafe(self->loop, give_answer, self, NULL);
    return NULL;
}

static void ask_a_thread(pco_loop *loop, pco_lookup *lookup, const pco_lookup_question *question,
                         void *context)
{
    asked *self = context;
    (void)loop;
    (void)question;
    self->questions++;
    self->lookup = lookup;
    self->loop = at.loop;
    if (pthread_create(&self->thread, NULL, wait_and_answer, self) != 0) {
        violate("no thread");
    }
}

/* Named, because macOS has no others. */
static void asked_begin(asked *self)
{
    char name[32];
    memset(self, 0, sizeof *self);
    snprintf(name, sizeof name, "/portico-%ld", (long)getpid());
    self->may_answer = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
    assert_true(self->may_answer != SEM_FAILED);
    sem_unlink(name);
    assert_int_equal(pco_loop_set_resolver(at.loop, ask_a_thread, self), 0);
}

static void asked_end(asked *self)
{
    pthread_join(self->thread, NULL);
    sem_close(self->may_answer);
}

static pco_connection_options options_by_name(const asked *self)
{
    pco_connection_options options = options_of(NULL, 0);
    options.host = "slow.example";
    options.port = pco_address_port(&self->answer);
    return options;
}

static void a_thread_may_answer(void **state)
{
    asked thread;
    (void)state;
    serve();
    asked_begin(&thread);
    thread.answer = address_of(at.server, 0);
    pco_connection_options options = options_by_name(&thread);
    begin(&options, NULL);
    sem_post(thread.may_answer);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, 0);
    assert_int_equal(thread.questions, 1);
    asked_end(&thread);
}

static void a_name_that_takes_long_can_be_canceled(void **state)
{
    asked thread;
    pco_request *request;
    (void)state;
    serve();
    asked_begin(&thread);
    thread.answer = address_of(at.server, 0);
    pco_connection_options options = options_by_name(&thread);
    begin(&options, &request);
    assert_true(reaches(&thread.questions, 1));
    pco_request_cancel(request);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ECANCELED);
    assert_true(pco_lookup_is_canceled(thread.lookup));
    sem_post(thread.may_answer);
    assert_true(reaches(&thread.answers, 1));
    let_pass(3);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.begun, 0);
    pco_request_release(request);
    asked_end(&thread);
}

static void a_name_that_takes_too_long_times_out(void **state)
{
    asked thread;
    (void)state;
    serve();
    asked_begin(&thread);
    thread.answer = address_of(at.server, 0);
    pco_connection_options options = options_by_name(&thread);
    options.connect_timeout = SHORTLY;
    begin(&options, NULL);
    assert_true(reaches(&told.calls, 1));
    assert_int_equal(told.error.code, PCO_ETIMEDOUT);
    assert_non_null(strstr(told.error.message, "looking up names"));
    sem_post(thread.may_answer);
    assert_true(reaches(&thread.answers, 1));
    asked_end(&thread);
}

/* ---- Signals ---- */

static atomic_bool flooding;

static void count_signal(int number, void *context)
{
    unsigned *count = context;
    (void)number;
    ++*count;
}

static void *flood(void *context)
{
    (void)context;
    for (unsigned i = 0; atomic_load(&flooding) && i < 1000 * 1000; i++) {
        kill(getpid(), SIGUSR1);
    }
    return NULL;
}

#define BYTES ((size_t)1 << 20)
#define SIGNALS 100

static void a_flood_of_signals_disturbs_no_connection(void **state)
{
    pthread_t thread;
    unsigned signals = 0;
    (void)state;
    serve();
    pco_address address = address_of(at.server, 0);
    assert_int_equal(pco_loop_add_signal_handler(at.loop, SIGUSR1, count_signal, &signals, NULL),
                     0);
    atomic_store(&flooding, true);
    assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
    pco_connection_options options = options_of(&address, 1);
    begin(&options, NULL);
    bool connected = reaches(&told.calls, 1) && told.error.code == 0 && reaches(&at.made, 2);
    bool complete = false;
    if (connected) {
        record *server = newest()->transport == told.transport ? newest()->next : newest();
        complete = pco_transport_write(told.transport, pattern(BYTES), BYTES) == 0 &&
                   grows_to(&server->length, BYTES) &&
                   memcmp(server->data, pattern(BYTES), BYTES) == 0;
    }
    bool heard = reaches(&signals, SIGNALS);
    atomic_store(&flooding, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(connected);
    assert_true(complete);
    assert_true(heard);
}

static const struct CMUnitTest tests[] = {
    TEST(where_nobody_answers_the_next_address_is_tried_beside_it),
    TEST(without_happy_eyeballs_who_does_not_answer_is_waited_for),
    TEST(a_silent_attempt_can_be_canceled),
    TEST(the_loop_may_be_freed_while_nobody_answers),
    TEST(what_came_before_both_ends_had_ended_still_comes),
#if defined(__linux__)
    TEST(a_family_without_a_route_costs_no_time),
#endif
    TEST(a_thread_may_answer),
    TEST(a_name_that_takes_long_can_be_canceled),
    TEST(a_name_that_takes_too_long_times_out),
    TEST(a_flood_of_signals_disturbs_no_connection),
};

int main(void)
{
    grow_the_stack();
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
