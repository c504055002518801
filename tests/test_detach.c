/* SPDX-License-Identifier: MIT */
/*
 * Goal: a real connection goes on elsewhere when it was detached, with every byte in order: on a
 * loop of another thread, and in code that calls the system by itself.
 * Method: on every backend a server looks at the first line of a client, which is not the library's
 * (behaviour_peer.h), and gives the socket away.
 */
#include "behaviour.h"

#include "system/network.h"
#include "system/platform.h"

#define GREETING "go on\n"
#define SENT ((size_t)600 * 1000)

/* A socket on its way, and what comes before what is read from it. */
typedef struct parcel {
    pco_socket sock;
    unsigned char *data;
    size_t length;
    pco_error error;
} parcel;

static void pack(parcel *self, const void *data, size_t length)
{
    unsigned char *grown = realloc(self->data, self->length + length + 1);
    if (grown == NULL) {
        abort();
    }
    if (length != 0) {
        memcpy(grown + self->length, data, length);
    }
    self->data = grown;
    self->length += length;
}

/* ---- Here: a protocol that reads one line ---- */

typedef struct peeker {
    pco_protocol protocol;
    parcel parcel;
    bool has_line;
    unsigned detached;
    unsigned lost;
    bool lost_cleanly;
    void (*deliver)(struct peeker *self);
} peeker;

static peeker here;

static void note_detached(pco_socket sock, const void *data, size_t length, const pco_error *error,
                          void *context)
{
    peeker *self = context;
    self->detached++;
    self->parcel.sock = sock;
    if (error != NULL) {
        self->parcel.error = *error;
    }
    pack(&self->parcel, data, length);
    if (self->deliver != NULL) {
        self->deliver(self);
    }
}

static void peek(pco_protocol *protocol, pco_transport *transport, const void *data, size_t length)
{
    peeker *self = (peeker *)protocol;
    const unsigned char *end = memchr(data, '\n', length);
    if (self->has_line) {
        violate("data_received after detaching");
    }
    if (end == NULL) {
        return;
    }
    self->has_line = true;
    pack(&self->parcel, end + 1, length - (size_t)(end + 1 - (const unsigned char *)data));
    if (pco_transport_write(transport, GREETING, strlen(GREETING)) != 0 ||
        pco_transport_detach(transport, note_detached, self, NULL, NULL) != 0) {
        violate("it cannot be detached");
    }
}

static void note_lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    peeker *self = (peeker *)protocol;
    (void)transport;
    self->lost++;
    self->lost_cleanly = error == NULL;
}

static const pco_protocol_methods peeker_methods = {
    .size = sizeof peeker_methods, .data_received = peek, .connection_lost = note_lost};

static pco_protocol *make_peeker(void *context)
{
    (void)context;
    return &here.protocol;
}

static void serve_peeker(void (*deliver)(peeker *self))
{
    pco_server_options options = server_options();
    memset(&here, 0, sizeof here);
    here.protocol.methods = &peeker_methods;
    here.parcel.sock = PCO_NO_SOCKET;
    here.deliver = deliver;
    options.protocol_factory = make_peeker;
    serve_with(&options);
}

static void assert_handed_over(void)
{
    assert_true(reaches(&here.detached, 1));
    assert_int_equal(here.lost, 1);
    assert_true(here.lost_cleanly);
    assert_int_equal(here.parcel.error.code, 0);
    assert_int_not_equal(here.parcel.sock, PCO_NO_SOCKET);
    assert_int_equal(counters_of(at.server).active, 0);
}

/* ---- There: a loop of another thread that sends back what it receives ---- */

static struct {
    pco_loop *loop;
    pco__mutex *mutex; /* guards the next one */
    bool over;
    pco_protocol protocol;
    pco_transport *transport;
    bool cannot_move; /* the socket has not left its completion port */
    unsigned connected;
    unsigned lost;
} there;

static void echo(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)self;
    pco_transport_write(transport, data, length);
}

static void begin_echoing(pco_protocol *self, pco_transport *transport)
{
    there.connected++;
    if (here.parcel.length != 0) {
        echo(self, transport, here.parcel.data, here.parcel.length);
    }
}

static void stop_there(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)self;
    (void)transport;
    (void)error;
    there.lost++;
    pco_loop_stop(there.loop);
}

static const pco_protocol_methods echo_methods = {.size = sizeof echo_methods,
                                                  .connection_made = begin_echoing,
                                                  .data_received = echo,
                                                  .connection_lost = stop_there};

static void note_outcome(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                         void *context)
{
    (void)transport;
    (void)protocol;
    (void)context;
    if (error != NULL) {
        there.cannot_move = true;
        pco_loop_stop(there.loop);
    }
}

static void connect_there(void *context)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol = &there.protocol,
                                      .sock = here.parcel.sock,
                                      .has_sock = PCO_ON};
    (void)context;
    if (pco_loop_connect_accepted_socket(there.loop, &options, note_outcome, NULL, NULL, NULL) !=
        0) {
        there.cannot_move = true;
        pco__system_network.close(NULL, here.parcel.sock, false);
        pco_loop_stop(there.loop);
    }
}

static void run_there(void *context)
{
    (void)context;
    pco_loop_run_forever(there.loop);
    pco_loop_free(there.loop);
    pco__mutex_lock(there.mutex);
    there.over = true;
    pco__mutex_unlock(there.mutex);
}

static bool is_over(void *context)
{
    (void)context;
    pco__mutex_lock(there.mutex);
    bool over = there.over;
    pco__mutex_unlock(there.mutex);
    return over;
}

static void send_there(peeker *self)
{
    (void)self;
    if (pco_loop_call_soon_threadsafe(there.loop, connect_there, NULL, NULL) != 0) {
        violate("the other loop takes nothing");
    }
}

static void a_connection_moves_to_a_loop_of_another_thread(void **state)
{
    unsigned sockets = count_sockets();

    (void)state;
    memset(&there, 0, sizeof there);
    there.protocol.methods = &echo_methods;
    assert_int_equal(pco__mutex_new(&there.mutex), 0);
    assert_int_equal(pco__loop_new(NULL, tested, &there.loop, NULL), 0);
    serve_peeker(send_there);
    assert_int_equal(pco__thread_start(run_there, NULL, NULL), 0);

    peer *client = join();
    peer_send(client, "first line\n", 11);
    peer_send(client, pattern(SENT), SENT);
    peer_finish(client);
    assert_handed_over();
    for (unsigned i = 0; i < 60000 && !(is_over(NULL) && client->ended != 0); i++) {
        pco_loop_run_once(at.loop, 0.001);
    }
    assert_true(is_over(NULL));
    pco__mutex_free(there.mutex);
    free(here.parcel.data);
    peer_close(client, false);
    assert_true(reaches(&client->closed, 1));
    end_server();
    let_pass(2);
    assert_int_equal(count_sockets(), sockets);
    if (there.cannot_move && strcmp(tested->name, "iocp") == 0) {
        print_message("a socket cannot leave its completion port here (as with Wine 8)\n");
        skip();
    }
    assert_false(there.cannot_move);
    assert_int_equal(there.connected, 1);
    assert_int_equal(there.lost, 1);
    assert_int_equal(client->length, strlen(GREETING) + SENT);
    assert_memory_equal(client->received, GREETING, strlen(GREETING));
    assert_memory_equal(client->received + strlen(GREETING), pattern(SENT), SENT);
    assert_true(client->clean);
}

/* ---- Without a loop ---- */

/* The client says little, so nothing of it can fill the system's buffers. */
static void a_detached_socket_works_without_a_loop(void **state)
{
    unsigned char byte = 0;
    peer *client;

    (void)state;
    serve_peeker(NULL);
    client = join();
    peer_send(client, "line\nrest", 9);
    assert_handed_over();
    pco__system_network.make_blocking(NULL, here.parcel.sock);
    while (here.parcel.length < 4 && socket_receive(here.parcel.sock, &byte, 1) == 1) {
        pack(&here.parcel, &byte, 1);
    }
    assert_int_equal(here.parcel.length, 4);
    assert_memory_equal(here.parcel.data, "rest", 4);
    assert_int_equal(socket_send(here.parcel.sock, "answer", 6), 6);
    assert_true(grows_to(&client->length, strlen(GREETING) + 6));
    assert_memory_equal(client->received, GREETING "answer", client->length);
    peer_close(client, false);
    assert_true(reaches(&client->closed, 1));
    assert_int_equal(socket_receive(here.parcel.sock, &byte, 1), 0);
    pco__system_network.close(NULL, here.parcel.sock, false);
    free(here.parcel.data);
}

static void its_loop_hears_nothing_of_it_any_more(void **state)
{
    (void)state;
    assert_int_equal(pco__loop_new(NULL, tested, &at.outside, NULL), 0);
    serve_peeker(NULL);
    peer *client = join();
    peer_send(client, "line\n", 5);
    assert_handed_over();
    let_pass(3);
    peer_send(client, "more", 4);
    for (unsigned i = 0; i < 10; i++) { /* the peer's loop alone */
        pco_loop_run_once(at.outside, 0.001);
    }
    pco_loop_run_once(at.loop, 0);
    assert_true(at.loop->backend->reported <= 0);
    leave(client);
    pco__system_network.close(NULL, here.parcel.sock, false);
    free(here.parcel.data);
}

/* ---- Called off, with the system's own operations ---- */

static record *opened;
static pco_request *request;

static void a_canceled_detach_reads_on(void **state)
{
    (void)state;
    serve();
    peer *client = join_and_wait();
    opened = newest();
    memset(&here, 0, sizeof here);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(
            pco_transport_detach(opened->transport, note_detached, &here, &request, NULL), 0);
        pco_request_cancel(request);
        pco_request_release(request);
        peer_send(client, "word ", 5);
        assert_true(grows_to(&opened->length, (size_t)5 * i));
        assert_true(reaches(&here.detached, i));
        assert_int_equal(here.parcel.error.code, PCO_ECANCELED);
    }
    assert_memory_equal(opened->data, "word word word ", 15);
    assert_int_equal(pco_transport_write(opened->transport, "answer", 6), 0);
    assert_true(grows_to(&client->length, 6));
    free(here.parcel.data);
    leave(client);
    assert_true(reaches(&at.lost, 1));
}

static const struct CMUnitTest tests[] = {
    TEST(a_connection_moves_to_a_loop_of_another_thread),
    TEST(a_detached_socket_works_without_a_loop),
    TEST(its_loop_hears_nothing_of_it_any_more),
    TEST(a_canceled_detach_reads_on),
};

int main(void)
{
    return run_on(pco__backends, false, tests, sizeof tests / sizeof tests[0]);
}
