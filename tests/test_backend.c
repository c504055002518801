/* SPDX-License-Identifier: MIT */
/*
 * Goal: every backend keeps the four rules of backend.h (Once, Lent, Cancel, Drained), and does
 * what the operations promise.
 * Method: each backend of pco__backends in turn, through backend_probe.h; the tests look at the
 * probes when poll() has returned.
 */
#include "backend_probe.h"

/* ---- Once ---- */

static void an_operation_completes_once_and_only_from_poll(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "x");
    exchange_a_message_elsewhere();
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_int_equal(server.in.count, 0);
    assert_true(server.in.op.in_flight);
    assert_true(completes(&server.in));
    assert_false(server.in.op.in_flight);
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_int_equal(server.in.count, 1);
    close_end(&client);
    close_end(&server);
    assert_int_equal(at.violations, 0);
}

/* ---- Connecting and accepting ---- */

static void a_connection_is_accepted_with_its_peers_address(void **state)
{
    listener from;
    end client;
    end server;
    pco_address name;
    pco_address peer;

    (void)state;
    open_listener(&from);
    attach_accepted(&server, connect_one(&from, &client));
    assert_int_equal(tested->network->sockname(at.backend, client.io.socket, &name), 0);
    assert_true(pco_address_equal(&name, &from.accept.peer));
    assert_int_equal(tested->network->peername(at.backend, client.io.socket, &peer), 0);
    assert_true(pco_address_equal(&peer, &from.address));
    close_end(&client);
    close_end(&server);
    close_listener(&from);
}

static void a_refused_connect_says_so(void **state)
{
    pco_address address;
    pco_socket silent = bound_socket(&address);
    end client;

    (void)state;
    start_connecting(&client, &address);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    tested->network->close(at.backend, silent, false);
}

/* An address of this machine of which the port was free a moment ago. */
static pco_address free_address(void)
{
    pco_address address;

    tested->network->close(at.backend, bound_socket(&address), false);
    return address;
}

static void start_connecting_from(end *client, const pco_address *local, const pco_address *address)
{
    const pco__network *network = tested->network;

    memset(client, 0, sizeof *client);
    assert_int_equal(network->open(at.backend, PCO_AF_INET, 0, &client->io.socket, NULL), 0);
    assert_int_equal(network->bind_local(at.backend, client->io.socket, local, NULL), 0);
    attach(&client->io, PCO__IO_UNCONNECTED);
    client->out.op.with.address = address;
    submit(&client->out, &client->io, PCO__OP_CONNECT);
}

static void a_connect_comes_from_the_address_that_was_bound(void **state)
{
    listener from;
    end clients[2];
    pco_address any_port = loopback();
    pco_address local = free_address();

    (void)state;
    open_listener(&from);
    for (unsigned i = 0; i < 2; i++) {
        pco_address name;

        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
        start_connecting_from(&clients[i], i == 0 ? &local : &any_port, &from.address);
        assert_true(completes(&clients[i].out));
        assert_int_equal(clients[i].out.error, 0);
        assert_true(reaches(&from.accept.count, i + 1));
        assert_int_equal(tested->network->sockname(at.backend, clients[i].io.socket, &name), 0);
        assert_true(pco_address_equal(&from.accept.peer, &name));
        assert_int_not_equal(pco_address_port(&name), 0);
        assert_true(i != 0 || pco_address_equal(&name, &local));
        tested->network->close(at.backend, from.accept.socket, false);
        close_end(&clients[i]);
    }
    close_listener(&from);
}

static void a_local_address_that_is_taken_is_an_error(void **state)
{
    listener from;
    pco_socket sock = PCO_NO_SOCKET;
    pco_error error;

    (void)state;
    open_listener(&from);
    assert_int_equal(tested->network->open(at.backend, PCO_AF_INET, 0, &sock, NULL), 0);
    assert_int_equal(tested->network->bind_local(at.backend, sock, &from.address, &error),
                     PCO_EADDRINUSE);
    assert_int_equal(error.code, PCO_EADDRINUSE);
    tested->network->close(at.backend, sock, false);
    close_listener(&from);
}

/* Each system has its own name for it: nothing connects to many at once. */
static void an_address_that_cannot_be_reached_is_told(void **state)
{
    pco_address *many = NULL;
    size_t count = 0;
    end client;

    (void)state;
    assert_int_equal(tested->network->resolve("224.0.0.1", 9, PCO_AF_INET, 0, &many, &count, NULL),
                     0);
    start_connecting(&client, many);
    assert_true(completes(&client.out));
    assert_int_not_equal(client.out.error, 0);
    assert_int_not_equal(client.out.error, PCO_EUNKNOWN);
    close_end(&client);
    pco__free(many);
}

static void a_socket_that_is_connected_to_itself_is_known_by_its_names(void **state)
{
    pco_address address = free_address();
    pco_address name;
    pco_address peer;
    end client;

    (void)state;
    start_connecting_from(&client, &address, &address);
    assert_true(completes(&client.out));
    assert_int_not_equal(client.out.error, PCO_EUNKNOWN);
    if (client.out.error == 0) { /* some systems refuse */
        assert_int_equal(tested->network->sockname(at.backend, client.io.socket, &name), 0);
        assert_int_equal(tested->network->peername(at.backend, client.io.socket, &peer), 0);
        assert_true(pco_address_equal(&name, &peer));
    }
    close_end(&client);
}

#define BURST 40

typedef struct burst {
    pco_socket sockets[BURST];
    unsigned count;
    unsigned failures;
} burst;

static void accept_on(probe *self, const pco__result *result)
{
    burst *all = self->context;

    if (result->error == 0 && all->count < BURST) {
        all->sockets[all->count++] = result->socket;
    } else {
        all->failures++;
    }
    if (all->count < BURST && all->failures == 0) {
        submit(self, self->op.io, PCO__OP_ACCEPT);
    }
}

static void a_burst_of_clients_is_accepted(void **state)
{
    static end clients[BURST];
    burst all = {.count = 0};
    listener from;
    probe more[4];
    size_t count = tested->accepts < 5 ? tested->accepts - 1 : 4;

    (void)state;
    open_listener(&from);
    memset(more, 0, sizeof more);
    from.accept.then = accept_on;
    from.accept.context = &all;
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    for (size_t i = 0; i < count; i++) {
        more[i].then = accept_on;
        more[i].context = &all;
        submit(&more[i], &from.io, PCO__OP_ACCEPT);
    }
    for (size_t i = 0; i < BURST; i++) {
        start_connecting(&clients[i], &from.address);
    }
    assert_true(reaches(&all.count, BURST));
    assert_int_equal(all.failures, 0);
    for (size_t i = 0; i < BURST; i++) {
        assert_true(completes(&clients[i].out));
        assert_int_equal(clients[i].out.error, 0);
        close_end(&clients[i]);
        tested->network->close(at.backend, all.sockets[i], false);
    }
    for (size_t i = 0; i < count; i++) {
        drain(&more[i]);
    }
    close_listener(&from);
}

static void clients_that_wait_are_accepted_by_a_later_operation(void **state)
{
    listener from;
    end clients[2];

    (void)state;
    open_listener(&from);
    start_connecting(&clients[0], &from.address);
    start_connecting(&clients[1], &from.address);
    assert_true(completes(&clients[0].out));
    assert_true(completes(&clients[1].out));
    for (unsigned i = 0; i < 2; i++) {
        submit(&from.accept, &from.io, PCO__OP_ACCEPT);
        assert_true(reaches(&from.accept.count, i + 1));
        assert_int_equal(from.accept.error, 0);
        tested->network->close(at.backend, from.accept.socket, false);
        close_end(&clients[i]);
    }
    close_listener(&from);
}

/* Closes who has come, and wants the next. */
static bool turn_away(pco__op *op, const pco__result *result)
{
    done(op, result);
    if (result->error == 0) {
        tested->network->close(at.backend, result->socket, false);
    }
    return result->error == 0;
}

static void an_accept_goes_on_as_long_as_its_done_says_so(void **state)
{
    listener from;
    end clients[6];
    enum { CLIENTS = sizeof clients / sizeof clients[0] };

    (void)state;
    open_listener(&from);
    from.accept.op = (pco__op){.io = &from.io, .kind = PCO__OP_ACCEPT, .done = turn_away};
    at.backend->class_->submit(at.backend, &from.accept.op);
    for (unsigned i = 0; i < CLIENTS; i++) { /* one by one, and then several */
        start_connecting(&clients[i], &from.address);
        assert_true(i > 2 || reaches(&from.accept.count, i + 1));
    }
    assert_true(reaches(&from.accept.count, CLIENTS));
    assert_int_equal(from.accept.error, 0);
    assert_true(from.accept.op.in_flight);
    cancel(&from.accept);
    assert_true(reaches(&from.accept.count, CLIENTS + 1));
    assert_int_equal(from.accept.error, PCO_ECANCELED);
    assert_false(from.accept.op.in_flight);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_true(completes(&clients[i].out));
        close_end(&clients[i]);
    }
    close_listener(&from);
}

/* ---- Reading ---- */

static void a_lent_read_brings_the_data_in_memory_of_the_backend(void **state)
{
    unsigned char kept[16];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    server.in.kept = kept;
    server.in.room = sizeof kept;
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "hello");
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 5);
    assert_memory_equal(kept, "hello", 5);
    close_end(&client);
    close_end(&server);
}

static void a_read_asks_get_buffer_only_when_there_is_data(void **state)
{
    supplier from = {.asked = 0};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    server.in.context = &from;
    server.in.op.with.get_buffer = supply;
    submit(&server.in, &server.io, PCO__OP_RECV);
    exchange_a_message_elsewhere();
    assert_int_equal(from.asked, 0);
    push(&client, "into my own memory");
    assert_true(completes(&server.in));
    assert_int_equal(from.asked, 1);
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 18);
    assert_memory_equal(from.memory, "into my own memory", 18);
    close_end(&client);
    close_end(&server);
}

static void get_buffer_may_cancel_its_own_read(void **state)
{
    supplier from = {.cancels = true};
    unsigned char kept[16];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    server.in.context = &from;
    server.in.op.with.get_buffer = supply;
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "later");
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECANCELED);
    assert_int_equal(server.in.count, 1);
    server.in.op.with.get_buffer = NULL;
    server.in.kept = kept;
    server.in.room = sizeof kept;
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_true(reaches(&server.in.count, 2));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 5);
    assert_memory_equal(kept, "later", 5);
    close_end(&client);
    close_end(&server);
}

static void get_buffer_without_room_ends_the_read_and_loses_nothing(void **state)
{
    supplier from = {.has_none = true};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    server.in.context = &from;
    server.in.op.with.get_buffer = supply;
    submit(&server.in, &server.io, PCO__OP_RECV);
    push(&client, "kept");
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ENOBUFS);
    from.has_none = false;
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_true(reaches(&server.in.count, 2));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 4);
    assert_memory_equal(from.memory, "kept", 4);
    close_end(&client);
    close_end(&server);
}

static void a_read_that_fills_the_buffer_exactly_is_followed_by_waiting(void **state)
{
    static unsigned char kept[2 * RECEIVE_BUFFER];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    assert_int_equal(fill(&client, RECEIVE_BUFFER), RECEIVE_BUFFER);
    exchange_a_message_elsewhere();
    start_reading(&server, kept, sizeof kept);
    assert_true(receives(&server, RECEIVE_BUFFER));
    exchange_a_message_elsewhere();
    assert_true(server.in.op.in_flight);
    push(&client, "more");
    assert_true(receives(&server, RECEIVE_BUFFER + 4));
    assert_int_equal(server.in.error, 0);
    assert_memory_equal(kept + RECEIVE_BUFFER, "more", 4);
    close_end(&client);
    close_end(&server);
}

static void the_end_of_the_stream_is_a_length_of_zero(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    close_end(&client);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 0);
    close_end(&server);
}

static void after_shutdown_send_the_other_direction_goes_on(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.length, 0);
    submit(&client.in, &client.io, PCO__OP_RECV);
    push(&server, "still here");
    assert_true(completes(&client.in));
    assert_int_equal(client.in.error, 0);
    assert_int_equal(client.in.length, 10);
    close_end(&client);
    close_end(&server);
}

static void what_was_sent_before_the_end_is_read_before_the_end(void **state)
{
    static unsigned char kept[16 * RECEIVE_BUFFER];
    size_t sent;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    sent = fill(&client, sizeof kept);
    assert_true(sent > RECEIVE_BUFFER);
    close_end(&client);
    exchange_a_message_elsewhere();
    start_reading(&server, kept, sizeof kept);
    assert_true(ends(&server));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 0);
    assert_int_equal(server.in.total, sent);
    for (size_t i = 0; i < sent; i++) {
        assert_int_equal(kept[i], pattern(i));
    }
    close_end(&server);
}

static void a_close_with_reset_is_a_reset_to_the_peer(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

/* ---- Watching ---- */

static void skip_if_the_system_cannot_watch(void)
{
    if (strcmp(tested->name, "iocp") == 0) {
        print_message("iocp cannot tell that an idle connection has failed\n");
        skip();
    }
}

static void a_watch_notices_a_reset_behind_unread_data(void **state)
{
    end client;
    end server;

    (void)state;
    skip_if_the_system_cannot_watch();
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_WATCH);
    push(&client, "unread");
    exchange_a_message_elsewhere();
    assert_int_equal(server.in.count, 0);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

static void a_watch_notices_a_reset_after_the_end_of_the_stream(void **state)
{
    end client;
    end server;

    (void)state;
    skip_if_the_system_cannot_watch();
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_WATCH);
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    exchange_a_message_elsewhere();
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECONNRESET);
    close_end(&server);
}

static void a_watch_ignores_data_and_the_end_of_the_stream(void **state)
{
    static unsigned char kept[16];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_WATCH);
    push(&client, "data");
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    exchange_a_message_elsewhere();
    assert_int_equal(server.in.count, 0);
    cancel(&server.in);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.error, PCO_ECANCELED);
    start_reading(&server, kept, sizeof kept);
    assert_true(ends(&server));
    assert_int_equal(server.in.error, 0);
    assert_int_equal(server.in.length, 0);
    assert_int_equal(server.in.total, 4);
    assert_memory_equal(kept, "data", 4);
    close_end(&client);
    close_end(&server);
}

/* ---- Sending ---- */

/* A chain that is sent to its end by operation after operation. */
typedef struct chain {
    pco__segment *segments;
    pco__segment *first;
    unsigned finished;
} chain;

static void send_on(probe *self, const pco__result *result)
{
    chain *all = self->context;
    size_t length = result->length;

    while (result->error == 0 && all->first != NULL && length >= all->first->length) {
        length -= all->first->length;
        all->first = all->first->next;
    }
    if (result->error != 0 || all->first == NULL) {
        all->finished++;
        return;
    }
    all->first->data += length;
    all->first->length -= length;
    self->op.with.chain = all->first;
    submit(self, self->op.io, PCO__OP_SEND);
}

/* Sends `length` bytes of the pattern in `parts` segments, and looks at what arrives. */
static void transfer(size_t length, size_t parts)
{
    unsigned char *data = make_pattern(length);
    unsigned char *kept = malloc(length);
    chain all = {.segments = calloc(parts, sizeof *all.segments)};
    size_t size = length / parts;
    end client;
    end server;

    assert_non_null(kept);
    assert_non_null(all.segments);
    make_pairs(&client, &server, 1);
    for (size_t i = 0; i < parts; i++) {
        all.segments[i].data = data + i * size;
        all.segments[i].length = i + 1 < parts ? size : length - i * size;
        all.segments[i].next = i + 1 < parts ? &all.segments[i + 1] : NULL;
    }
    all.first = all.segments;
    client.out.context = &all;
    client.out.then = send_on;
    client.out.op.with.chain = all.first;
    start_reading(&server, kept, length);
    submit(&client.out, &client.io, PCO__OP_SEND);
    assert_true(receives(&server, length));
    assert_true(reaches(&all.finished, 1));
    assert_int_equal(client.out.error, 0);
    assert_int_equal(server.in.total, length);
    assert_memory_equal(kept, data, length);
    close_end(&client);
    close_end(&server);
    free(all.segments);
    free(kept);
    free(data);
}

static void four_mebibytes_arrive_whole(void **state)
{
    (void)state;
    transfer((size_t)4 << 20, 1);
}

static void a_chain_longer_than_one_call_takes_arrives_in_order(void **state)
{
    (void)state;
    transfer((size_t)1 << 20, 1000);
}

static void try_send_takes_many_buffers_in_order(void **state)
{
    unsigned char *data = make_pattern(PCO__SEND_BUFFERS);
    unsigned char kept[PCO__SEND_BUFFERS];
    pco_buffer buffers[PCO__SEND_BUFFERS];
    pco__sent sent;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    for (size_t i = 0; i < PCO__SEND_BUFFERS; i++) {
        buffers[i].data = data + i;
        buffers[i].length = 1;
    }
    start_reading(&server, kept, sizeof kept);
    sent = at.backend->class_->try_send(at.backend, &client.io, buffers, PCO__SEND_BUFFERS);
    assert_int_equal(sent.error, 0);
    assert_int_equal(sent.length, PCO__SEND_BUFFERS);
    assert_true(receives(&server, sizeof kept));
    assert_memory_equal(kept, data, sizeof kept);
    close_end(&client);
    close_end(&server);
    free(data);
}

/* Sends until nothing is taken: more than any system's buffers hold. */
static size_t fill_up(end *self)
{
    size_t most = (size_t)64 << 20;
    size_t total = fill(self, most);

    assert_true(total < most);
    return total;
}

static void a_send_into_a_full_connection_completes_when_the_peer_reads(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"end", .length = 3};
    size_t total;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    total = fill_up(&client);
    client.out.op.with.chain = &segment;
    submit(&client.out, &client.io, PCO__OP_SEND);
    start_reading(&server, NULL, 0);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, 0);
    assert_in_range(client.out.length, 1, 3);
    assert_true(receives(&server, total + client.out.length));
    assert_int_equal(server.in.total, total + client.out.length);
    close_end(&client);
    close_end(&server);
}

static int64_t unsent(const end *self)
{
    return at.backend->class_->unsent(at.backend, &self->io);
}

static void unsent_counts_what_the_peer_has_not_taken(void **state)
{
    uint64_t end_of_patience = now() + PATIENCE;
    int64_t full;
    size_t total;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    total = fill_up(&client);
    full = unsent(&client);
    start_reading(&server, NULL, 0);
    assert_true(receives(&server, total));
    if (full == PCO__UNSENT_UNKNOWN) {
        print_message("%s cannot tell how much is unsent\n", tested->name);
    } else {
        assert_in_range(full, 1, total);
        while (unsent(&client) != 0 && now() < end_of_patience) {
            poll_for(MILLISECOND);
        }
        assert_int_equal(unsent(&client), 0);
    }
    close_end(&client);
    close_end(&server);
}

/* Where `unsent` is unknown, the length of a SEND is the only sign of progress. */
static void without_unsent_a_send_takes_a_bounded_part(void **state)
{
    size_t length = (size_t)4 << 20;
    unsigned char *data = make_pattern(length);
    pco__segment segment = {.data = data, .length = length};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    client.out.op.with.chain = &segment;
    start_reading(&server, NULL, 0);
    submit(&client.out, &client.io, PCO__OP_SEND);
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, 0);
    if (unsent(&client) == PCO__UNSENT_UNKNOWN) {
        assert_in_range(client.out.length, 1, (size_t)256 * 1024);
    }
    close_end(&client);
    close_end(&server);
    free(data);
}

static void sending_to_a_peer_that_has_reset_fails(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"x", .length = 1};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    close_io(&client.io, true);
    assert_true(completes(&server.in));
    server.out.op.with.chain = &segment;
    submit(&server.out, &server.io, PCO__OP_SEND);
    assert_true(completes(&server.out));
    assert_int_equal(server.out.error, PCO_ECONNRESET);
    close_end(&server);
}

/* What Linux calls EPIPE, as if we had ended our side. */
static void sending_to_a_peer_that_has_ended_and_then_reset_fails_as_after_any_reset(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"x", .length = 1};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_int_equal(at.backend->class_->shutdown_send(at.backend, &client.io), 0);
    assert_true(completes(&server.in));
    close_io(&client.io, true);
    exchange_a_message_elsewhere();
    server.out.op.with.chain = &segment;
    submit(&server.out, &server.io, PCO__OP_SEND);
    assert_true(completes(&server.out));
    assert_int_equal(server.out.error, PCO_ECONNRESET);
    close_end(&server);
}

/* ---- Closing a listener ---- */

#define MOST_ACCEPTS 5

/* In memory of its own, freed in its last done(), so that a use after that is seen. */
typedef struct closed_listener {
    listener base;
    probe accepts[MOST_ACCEPTS];
    unsigned in_flight;
    unsigned canceled;
    unsigned late; /* brought a socket */
} closed_listener;

static struct {
    unsigned gone;
    unsigned canceled;
    unsigned late;
} closed_listeners;

static void accept_has_come_back(probe *self, const pco__result *result)
{
    closed_listener *all = self->context;

    if (result->error == 0) {
        closed_listeners.late++;
        tested->network->close(at.backend, result->socket, false);
    } else if (result->error == PCO_ECANCELED) {
        closed_listeners.canceled++;
    }
    if (--all->in_flight == 0) {
        free(all);
        closed_listeners.gone++;
    }
}

static closed_listener *listen_with_many_accepts(void)
{
    closed_listener *all = calloc(1, sizeof *all);

    assert_non_null(all);
    memset(&closed_listeners, 0, sizeof closed_listeners);
    open_listener(&all->base);
    all->in_flight = tested->accepts < MOST_ACCEPTS ? (unsigned)tested->accepts : MOST_ACCEPTS;
    for (unsigned i = 0; i < all->in_flight; i++) {
        all->accepts[i].then = accept_has_come_back;
        all->accepts[i].context = all;
        submit(&all->accepts[i], &all->base.io, PCO__OP_ACCEPT);
    }
    return all;
}

static void a_listener_may_be_closed_with_its_accepts_in_flight(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        closed_listener *all = listen_with_many_accepts();
        unsigned accepts = all->in_flight;

        if (round >= 1) {
            poll_for(0);
        }
        if (round == 2) {
            cancel(&all->accepts[0]);
        }
        at.in_call = true;
        close_io(&all->base.io, false);
        at.in_call = false;
        assert_int_equal(all->base.io.socket, PCO_NO_SOCKET);
        assert_int_equal(all->in_flight, accepts);
        cancel(&all->accepts[0]); /* does nothing */
        assert_true(reaches(&closed_listeners.gone, 1));
        poll_for(0);
        assert_int_equal(closed_listeners.canceled, accepts);
    }
}

static void a_closed_listener_gives_its_port_back_before_its_accepts_come_back(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    pco_address address = all->base.address;
    pco__listener_options options = {0};
    listener next;
    end client;

    (void)state;
    poll_for(0);
    close_io(&all->base.io, false);
    memset(&next, 0, sizeof next);
    assert_int_equal(tested->network->bind(at.backend, &address, &options, &next.io.socket, NULL),
                     0);
    start_connecting(&client, &address); /* nobody listens */
    assert_true(completes(&client.out));
    assert_int_equal(client.out.error, PCO_ECONNREFUSED);
    close_end(&client);
    assert_int_equal(tested->network->listen(at.backend, next.io.socket, 100, NULL), 0);
    attach(&next.io, PCO__IO_LISTENER);
    next.address = address;
    tested->network->close(at.backend, connect_one(&next, &client), false);
    close_end(&client);
    close_listener(&next);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.canceled, accepts);
}

static void a_client_that_has_come_when_the_listener_is_closed_is_let_go(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    end client;

    (void)state;
    start_connecting(&client, &all->base.address);
    close_io(&all->base.io, false);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.canceled + closed_listeners.late, accepts);
    assert_true(completes(&client.out));
    if (client.out.error == 0) {
        submit(&client.in, &client.io, PCO__OP_RECV);
        assert_true(completes(&client.in));
        assert_true(client.in.error == PCO_ECONNRESET || client.in.length == 0);
    }
    close_end(&client);
}

/* The first accept to end closes the listener with the others in flight. */
static void close_my_listener(probe *self, const pco__result *result)
{
    closed_listener *all = self->context;

    if (all->base.io.socket != PCO_NO_SOCKET) {
        close_io(&all->base.io, false);
    }
    accept_has_come_back(self, result);
}

static void an_accepts_done_may_close_its_listener(void **state)
{
    closed_listener *all = listen_with_many_accepts();
    unsigned accepts = all->in_flight;
    end client;

    (void)state;
    for (unsigned i = 0; i < accepts; i++) {
        all->accepts[i].then = close_my_listener;
    }
    start_connecting(&client, &all->base.address);
    assert_true(reaches(&closed_listeners.gone, 1));
    assert_int_equal(closed_listeners.late, 1);
    assert_int_equal(closed_listeners.canceled, accepts - 1);
    assert_true(completes(&client.out));
    close_end(&client);
}

/* A bound socket is given back, as if nothing had been: it can be attached again, and listen. */
static void a_listener_that_was_detached_is_as_it_was(void **state)
{
    listener from;
    end client;
    end server;

    (void)state;
    memset(&from, 0, sizeof from);
    from.io.socket = bound_socket(&from.address);
    for (unsigned i = 0; i < 3; i++) {
        int code = at.backend->class_->attach(at.backend, &from.io, PCO__IO_LISTENER, NULL);
        if (i != 0 && code != 0 && strcmp(tested->name, "iocp") == 0) {
            pco__system_network.close(NULL, from.io.socket, false);
            print_message("a socket cannot leave its completion port here (as with Wine 8)\n");
            skip();
        }
        assert_int_equal(code, 0);
        at.attached++;
        poll_for(0);
        at.backend->class_->detach(at.backend, &from.io);
        at.attached--;
        poll_for(0);
    }
    attach(&from.io, PCO__IO_LISTENER);
    assert_int_equal(pco__system_network.listen(NULL, from.io.socket, 100, NULL), 0);
    attach_accepted(&server, connect_one(&from, &client));
    close_end(&client);
    close_end(&server);
    close_listener(&from);
}

/* ---- Canceling ---- */

static void operations_that_wait_end_when_they_are_canceled(void **state)
{
    listener from;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    open_listener(&from);
    submit(&from.accept, &from.io, PCO__OP_ACCEPT);
    submit(&client.in, &client.io, PCO__OP_RECV);
    submit(&server.in, &server.io, PCO__OP_WATCH);
    poll_for(0);
    cancel(&from.accept);
    cancel(&client.in);
    cancel(&server.in);
    assert_int_equal(from.accept.count + client.in.count + server.in.count, 0);
    assert_true(completes(&from.accept));
    assert_true(completes(&client.in));
    assert_true(completes(&server.in));
    assert_int_equal(from.accept.error, PCO_ECANCELED);
    assert_int_equal(client.in.error, PCO_ECANCELED);
    assert_int_equal(server.in.error, PCO_ECANCELED);
    close_listener(&from);
    close_end(&client);
    close_end(&server);
}

static void a_send_that_waits_ends_when_it_is_canceled(void **state)
{
    pco__segment segment = {.data = (const unsigned char *)"x", .length = 1};
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    fill_up(&client);
    client.out.op.with.chain = &segment;
    submit(&client.out, &client.io, PCO__OP_SEND);
    cancel(&client.out);
    assert_true(completes(&client.out));
    /* A system with room of its own may have taken it already. */
    assert_true(client.out.error == PCO_ECANCELED ||
                (client.out.error == 0 && client.out.length == 1));
    close_end(&client);
    close_end(&server);
}

static void a_connect_that_is_canceled_ends_once(void **state)
{
    listener from;
    end client;

    (void)state;
    open_listener(&from);
    start_connecting(&client, &from.address);
    cancel(&client.out);
    assert_true(completes(&client.out));
    assert_true(client.out.error == PCO_ECANCELED || client.out.error == 0);
    poll_for(0);
    assert_int_equal(client.out.count, 1);
    close_end(&client);
    close_listener(&from);
}

/* On the loopback it has succeeded by then, although nobody has heard. */
static void a_connect_that_is_canceled_as_it_succeeds_leaves_a_socket_to_be_closed(void **state)
{
    listener from;
    end client;
    end next;

    (void)state;
    open_listener(&from);
    for (unsigned polls = 0; polls < 3; polls++) {
        start_connecting(&client, &from.address);
        for (unsigned i = 0; i < polls && client.out.op.in_flight; i++) {
            poll_for(0);
        }
        if (client.out.op.in_flight) {
            cancel(&client.out);
        }
        assert_true(completes(&client.out));
        assert_true(client.out.error == 0 || client.out.error == PCO_ECANCELED);
        close_end(&client);
        assert_int_equal(client.out.count, 1);
    }
    start_connecting(&next, &from.address);
    assert_true(completes(&next.out));
    assert_int_equal(next.out.error, 0);
    close_end(&next);
    close_listener(&from);
}

static void canceling_twice_is_canceling_once(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    cancel(&server.in);
    cancel(&server.in);
    assert_true(completes(&server.in));
    poll_for(0);
    assert_int_equal(server.in.count, 1);
    close_end(&client);
    close_end(&server);
}

static void canceling_loses_no_data_that_has_arrived(void **state)
{
    static unsigned char kept[16];
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    server.in.kept = kept;
    server.in.room = sizeof kept;
    push(&client, "kept");
    exchange_a_message_elsewhere();
    submit(&server.in, &server.io, PCO__OP_RECV);
    cancel(&server.in);
    assert_true(completes(&server.in));
    if (server.in.error == 0) {
        assert_int_equal(server.in.total, 4);
    } else {
        assert_int_equal(server.in.error, PCO_ECANCELED);
        submit(&server.in, &server.io, PCO__OP_RECV);
        assert_true(reaches(&server.in.count, 2));
        assert_int_equal(server.in.error, 0);
    }
    assert_int_equal(server.in.total, 4);
    assert_memory_equal(kept, "kept", 4);
    close_end(&client);
    close_end(&server);
}

/* A `then` that cancels the operation in `context`. */
static void cancel_the_other(probe *self, const pco__result *result)
{
    probe *other = self->context;

    (void)result;
    if (other->op.in_flight) {
        cancel(other);
    }
}

static void done_may_cancel_another_operation_that_is_due(void **state)
{
    end clients[2];
    end servers[2];

    (void)state;
    make_pairs(clients, servers, 2);
    for (size_t i = 0; i < 2; i++) {
        push(&clients[i], "x");
        servers[i].in.then = cancel_the_other;
        servers[i].in.context = &servers[1 - i].in;
    }
    exchange_a_message_elsewhere();
    submit(&servers[0].in, &servers[0].io, PCO__OP_RECV);
    submit(&servers[1].in, &servers[1].io, PCO__OP_RECV);
    assert_true(completes(&servers[0].in));
    assert_true(completes(&servers[1].in));
    poll_for(0);
    assert_int_equal(servers[0].in.count, 1);
    assert_int_equal(servers[1].in.count, 1);
    for (size_t i = 0; i < 2; i++) {
        assert_true(servers[i].in.error == 0 || servers[i].in.error == PCO_ECANCELED);
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

/* Completion ports have to wait until the system has given an operation back. */
static bool cancels_come_back_in_the_same_poll(void)
{
    return strcmp(tested->name, "iocp") != 0;
}

static void what_was_canceled_before_poll_ends_in_that_poll(void **state)
{
    end clients[2];
    end servers[2];

    (void)state;
    make_pairs(clients, servers, 2);
    fill_up(&servers[0]);
    servers[0].out.op.with.chain = &(pco__segment){.data = (const void *)"x", .length = 1};
    submit(&servers[0].out, &servers[0].io, PCO__OP_SEND);
    submit(&servers[0].in, &servers[0].io, PCO__OP_RECV);
    submit(&servers[1].in, &servers[1].io, PCO__OP_WATCH);
    poll_for(0);
    cancel(&servers[0].out);
    cancel(&servers[0].in);
    cancel(&servers[1].in);
    if (cancels_come_back_in_the_same_poll()) {
        poll_for(PATIENCE);
    }
    assert_true(completes(&servers[0].in));
    assert_true(completes(&servers[0].out));
    assert_true(completes(&servers[1].in));
    if (cancels_come_back_in_the_same_poll()) {
        assert_int_equal(servers[0].in.error, PCO_ECANCELED);
        assert_int_equal(servers[0].out.error, PCO_ECANCELED);
        assert_int_equal(servers[1].in.error, PCO_ECANCELED);
    }
    for (size_t i = 0; i < 2; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

/* ---- What is somebody else's ---- */

/* A socket that is watched, and its peer. */
typedef struct watched {
    pco__io io;
    probe in;
    probe out;
    end peer;
} watched;

static void begin_to_watch(watched *self)
{
    listener from;

    memset(self, 0, sizeof *self);
    open_listener(&from);
    self->io.socket = connect_one(&from, &self->peer);
    attach(&self->io, PCO__IO_FOREIGN);
    close_listener(&from);
}

static void end_watching(watched *self)
{
    drain(&self->in);
    drain(&self->out);
    at.backend->class_->detach(at.backend, &self->io);
    at.attached--;
    tested->network->close(at.backend, self->io.socket, false);
    close_end(&self->peer);
}

static void what_can_be_read_is_told_each_time_and_stays_there(void **state)
{
    watched self;
    end owner;

    (void)state;
    begin_to_watch(&self);
    submit(&self.in, &self.io, PCO__OP_READABLE);
    exchange_a_message_elsewhere();
    assert_int_equal(self.in.count, 0);
    push(&self.peer, "x");
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(reaches(&self.in.count, i));
        assert_int_equal(self.in.error, 0);
        submit(&self.in, &self.io, PCO__OP_READABLE);
    }
    drain(&self.in);
    at.backend->class_->detach(at.backend, &self.io);
    at.attached--;
    attach_accepted(&owner, self.io.socket);
    submit(&owner.in, &owner.io, PCO__OP_RECV);
    assert_true(completes(&owner.in));
    assert_int_equal(owner.in.length, 1);
    close_end(&owner);
    close_end(&self.peer);
}

static bool count_and_go_on(pco__op *op, const pco__result *result)
{
    done(op, result);
    return result->error == 0;
}

static void what_can_be_written_is_told_as_long_as_done_says_so(void **state)
{
    watched self;

    (void)state;
    begin_to_watch(&self);
    self.out.op = (pco__op){.io = &self.io, .kind = PCO__OP_WRITABLE, .done = count_and_go_on};
    at.backend->class_->submit(at.backend, &self.out.op);
    submit(&self.in, &self.io, PCO__OP_READABLE);
    assert_true(reaches(&self.out.count, 5));
    assert_int_equal(self.in.count, 0);
    cancel(&self.out);
    while (self.out.op.in_flight) {
        poll_for(100 * MILLISECOND);
    }
    assert_int_equal(self.out.error, PCO_ECANCELED);
    close_io(&self.peer.io, true); /* a reset can be read */
    assert_true(completes(&self.in));
    memset(&self.peer, 0, sizeof self.peer);
    at.backend->class_->detach(at.backend, &self.io);
    at.attached--;
    tested->network->close(at.backend, self.io.socket, false);
}

static void what_is_attached_again_goes_on(void **state)
{
    watched self;

    (void)state;
    begin_to_watch(&self);
    submit(&self.in, &self.io, PCO__OP_READABLE);
    assert_int_equal(at.backend->class_->attach(at.backend, &self.io, PCO__IO_FOREIGN, NULL), 0);
    push(&self.peer, "x");
    assert_true(completes(&self.in));
    assert_int_equal(self.in.error, 0);
    end_watching(&self);
}

/* ---- Closing inside done() ---- */

#define CROWD 8

typedef struct crowd {
    end clients[CROWD];
    end *servers[CROWD]; /* each in memory of its own, so that a use after free is seen */
    unsigned finished;
} crowd;

static void gather(crowd *all, const char *text)
{
    listener from;

    memset(all, 0, sizeof *all);
    open_listener(&from);
    for (size_t i = 0; i < CROWD; i++) {
        all->servers[i] = malloc(sizeof *all->servers[i]);
        assert_non_null(all->servers[i]);
        attach_accepted(all->servers[i], connect_one(&from, &all->clients[i]));
        push(&all->clients[i], text);
    }
    close_listener(&from);
    exchange_a_message_elsewhere();
}

static void disperse(crowd *all)
{
    for (size_t i = 0; i < CROWD; i++) {
        close_end(&all->clients[i]);
        if (all->servers[i] != NULL) {
            close_end(all->servers[i]);
            free(all->servers[i]);
        }
    }
}

/* The first to complete cancels all others; each closes and frees its own socket when it ends. */
static void cancel_all_and_close_myself(probe *self, const pco__result *result)
{
    crowd *all = self->context;

    (void)result;
    all->finished++;
    for (size_t i = 0; i < CROWD; i++) {
        end *one = all->servers[i];
        if (one != NULL && self == &one->in) {
            close_io(&one->io, false);
            free(one);
            all->servers[i] = NULL;
        } else if (one != NULL && one->in.op.in_flight) {
            cancel(&one->in);
        }
    }
}

static void done_may_close_and_free_its_own_socket_and_end_the_others(void **state)
{
    static crowd all;

    (void)state;
    gather(&all, "x");
    for (size_t i = 0; i < CROWD; i++) {
        all.servers[i]->in.then = cancel_all_and_close_myself;
        all.servers[i]->in.context = &all;
        submit(&all.servers[i]->in, &all.servers[i]->io, PCO__OP_RECV);
    }
    assert_true(reaches(&all.finished, CROWD));
    poll_for(0);
    assert_int_equal(all.finished, CROWD);
    disperse(&all);
}

/* Cancels the next of the crowd, closes and frees my own socket. */
static void cancel_the_next_and_close_myself(probe *self, const pco__result *result)
{
    crowd *all = self->context;
    unsigned number = all->finished++;

    (void)result;
    assert_ptr_equal(self, &all->servers[number]->in);
    if (number + 1 < CROWD) {
        cancel(&all->servers[number + 1]->in);
    }
    close_io(&all->servers[number]->io, false);
    free(all->servers[number]);
    all->servers[number] = NULL;
}

static void what_is_canceled_during_poll_ends_in_that_poll(void **state)
{
    static crowd all;
    unsigned goal;

    (void)state;
    gather(&all, "x");
    for (size_t i = 0; i < CROWD; i++) {
        all.servers[i]->in.then = cancel_the_next_and_close_myself;
        all.servers[i]->in.context = &all;
        submit(&all.servers[i]->in, &all.servers[i]->io, i == 0 ? PCO__OP_RECV : PCO__OP_WATCH);
    }
    goal = cancels_come_back_in_the_same_poll() ? 1 : CROWD;
    assert_true(reaches(&all.finished, goal));
    assert_int_equal(all.finished, CROWD);
    disperse(&all);
}

/* Starts a read of every idle socket, and gives it up at once. */
static void start_and_cancel_the_others(probe *self, const pco__result *result)
{
    crowd *all = self->context;

    (void)result;
    all->finished++;
    for (size_t i = 0; i < CROWD; i++) {
        end *one = all->servers[i];
        if (one != NULL && self != &one->in) {
            one->in.then = cancel_all_and_close_myself;
            one->in.context = all;
            submit(&one->in, &one->io, PCO__OP_RECV);
            cancel(&one->in);
        }
    }
}

static void a_read_started_and_canceled_in_one_done_leaves_nothing_behind(void **state)
{
    static crowd all;

    (void)state;
    gather(&all, "x");
    all.servers[0]->in.then = start_and_cancel_the_others;
    all.servers[0]->in.context = &all;
    submit(&all.servers[0]->in, &all.servers[0]->io, PCO__OP_RECV);
    assert_true(reaches(&all.finished, CROWD));
    exchange_a_message_elsewhere();
    assert_int_equal(all.finished, CROWD);
    disperse(&all);
}

/* Closes and frees the sockets that have no operation in flight. */
static void close_the_idle(probe *self, const pco__result *result)
{
    crowd *all = self->context;

    (void)result;
    all->finished++;
    for (size_t i = 0; i < CROWD; i++) {
        end *one = all->servers[i];
        if (one != NULL && self != &one->in && !one->in.op.in_flight) {
            close_io(&one->io, false);
            free(one);
            all->servers[i] = NULL;
        }
    }
}

static void done_may_close_and_free_idle_sockets_with_news_in_the_same_batch(void **state)
{
    static crowd all;

    (void)state;
    gather(&all, "x");
    all.servers[CROWD / 2]->in.then = close_the_idle;
    all.servers[CROWD / 2]->in.context = &all;
    submit(&all.servers[CROWD / 2]->in, &all.servers[CROWD / 2]->io, PCO__OP_RECV);
    for (size_t i = 0; i < CROWD; i++) {
        push(&all.clients[i], "y");
    }
    assert_true(reaches(&all.finished, 1));
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_int_equal(all.finished, 1);
    disperse(&all);
}

typedef struct reuse {
    end *old;         /* has unread data, and no operation */
    pco_socket fresh; /* has none */
    int attached;
    unsigned finished;
} reuse;

static void replace_the_other(probe *self, const pco__result *result)
{
    reuse *plan = self->context;

    (void)result;
    plan->finished++;
    close_io(&plan->old->io, false);
    memset(plan->old, 0, sizeof *plan->old);
    plan->old->io.socket = plan->fresh;
    plan->attached =
        at.backend->class_->attach(at.backend, &plan->old->io, PCO__IO_CONNECTED, NULL);
    at.attached++;
    submit(&plan->old->in, &plan->old->io, PCO__OP_RECV);
}

static void news_of_a_closed_socket_never_reach_the_one_in_its_place(void **state)
{
    end clients[3];
    end servers[2];
    listener from;
    reuse plan = {.attached = -1};

    (void)state;
    make_pairs(clients, servers, 2);
    open_listener(&from);
    plan.fresh = connect_one(&from, &clients[2]);
    plan.old = &servers[1];
    servers[0].in.then = replace_the_other;
    servers[0].in.context = &plan;
    submit(&servers[0].in, &servers[0].io, PCO__OP_RECV);
    push(&clients[1], "for the old one");
    push(&clients[0], "go");
    assert_true(reaches(&plan.finished, 1));
    assert_int_equal(plan.attached, 0);
    exchange_a_message_elsewhere();
    assert_int_equal(servers[1].in.count, 0);
    push(&clients[2], "new");
    assert_true(completes(&servers[1].in));
    assert_int_equal(servers[1].in.error, 0);
    assert_int_equal(servers[1].in.length, 3);
    for (size_t i = 0; i < 3; i++) {
        close_end(&clients[i]);
    }
    close_end(&servers[0]);
    close_end(&servers[1]);
    close_listener(&from);
}

/* ---- Turns ---- */

static void a_flood_on_one_connection_delays_neither_poll_nor_the_others(void **state)
{
    end clients[2];
    end servers[2];
    size_t flood;
    size_t before;

    (void)state;
    make_pairs(clients, servers, 2);
    flood = fill(&clients[0], 64 * RECEIVE_BUFFER);
    assert_true(flood >= 16 * RECEIVE_BUFFER);
    push(&clients[1], "x");
    exchange_a_message_elsewhere();
    start_reading(&servers[0], NULL, 0);
    submit(&servers[1].in, &servers[1].io, PCO__OP_RECV);
    poll_for(PATIENCE);
    before = servers[0].in.total;
    assert_true(before < flood);
    assert_true(completes(&servers[1].in));
    assert_true(servers[0].in.total < flood);
    assert_true(receives(&servers[0], flood));
    for (size_t i = 0; i < 2; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

static void unread_data_does_not_keep_poll_awake(void **state)
{
    uint64_t began;
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "nobody reads this");
    exchange_a_message_elsewhere();
    began = now();
    for (int i = 0; i < 10; i++) {
        poll_for(20 * MILLISECOND);
    }
    /* A poll() may return early now and then, but not always. */
    assert_true(now() - began >= 100 * MILLISECOND);
    close_end(&client);
    close_end(&server);
}

static void poll_without_a_timeout_does_not_wait(void **state)
{
    uint64_t began = now();

    (void)state;
    for (int i = 0; i < 100; i++) {
        poll_for(0);
    }
    assert_true(now() - began < SECOND);
    assert_false(at.stop);
}

static void poll_waits_for_its_timeout(void **state)
{
    uint64_t began = now();
    uint64_t end_of_wait = began + 30 * MILLISECOND;
    int polls = 0;

    (void)state;
    while (now() < end_of_wait && polls < 100) {
        poll_for(end_of_wait - now());
        polls++;
    }
    assert_true(polls < 100); /* it slept, and did not spin */
    assert_true(now() - began < PATIENCE / 4);
}

/* ---- Waking ---- */

static void wake_before_poll_ends_the_next_poll(void **state)
{
    uint64_t began = now();

    (void)state;
    at.backend->class_->wake(at.backend, false);
    poll_for(PATIENCE);
    assert_true(now() - began < PATIENCE);
    assert_false(at.stop);
}

static void a_stop_among_other_wake_ups_is_reported_once(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    at.backend->class_->wake(at.backend, true);
    at.backend->class_->wake(at.backend, false);
    for (int i = 0; i < 5 && !at.stop; i++) {
        poll_for(0);
    }
    assert_true(at.stop);
    at.stop = false;
    for (int i = 0; i < 5; i++) {
        poll_for(0);
    }
    assert_false(at.stop);
}

typedef struct waker {
    pco__mutex *mutex;
    pco__backend *backend;
    bool stop;
    bool finished;
} waker;

static void wake_from_here(void *context)
{
    waker *self = context;

    self->backend->class_->wake(self->backend, self->stop);
    pco__mutex_lock(self->mutex);
    self->finished = true;
    pco__mutex_unlock(self->mutex);
}

static bool is_finished(waker *self)
{
    bool finished;

    pco__mutex_lock(self->mutex);
    finished = self->finished;
    pco__mutex_unlock(self->mutex);
    return finished;
}

/* ---- Awaiting, which another thread does, and the tests here ---- */

/* Whether somebody who awaits what poll() has to do is told of it. */
static bool is_told(void)
{
    const pco__backend_class *class_ = at.backend->class_;
    uint64_t until = now() + PATIENCE;

    if (class_->due_in(at.backend) == 0) {
        return !at.backend->is_awaited;
    }
    while (now() < until) {
        if (class_->await(at.backend, until)) {
            return now() < until;
        }
    }
    return false;
}

static void whoever_awaits_is_told_of_a_wake_up(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    assert_true(is_told());
    poll_for(0);
    assert_false(at.stop);
    at.backend->class_->wake(at.backend, true);
    assert_true(is_told());
    poll_for(0);
    assert_true(at.stop);
}

/* Some kqueues ask what they have told, and is not cleared, only when they are asked themselves. */
static void whoever_awaits_is_not_told_of_a_wake_up_that_was_taken_over(void **state)
{
    (void)state;
    at.backend->class_->wake(at.backend, false);
    assert_true(is_told());
    poll_for(0);
    uint64_t until = now() + 20 * MILLISECOND;
    while (now() < until) {
        assert_false(at.backend->class_->await(at.backend, until) && now() < until);
    }
}

static void whoever_awaits_is_told_of_what_comes_and_completes_nothing(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    push(&client, "x");
    assert_true(is_told());
    assert_int_equal(server.in.count, 0);
    assert_true(completes(&server.in));
    assert_int_equal(server.in.total, 1);
    close_end(&client);
    close_end(&server);
}

static void awaiting_ends_when_it_is_time(void **state)
{
    end client;
    end server;
    uint64_t until;

    (void)state;
    make_pairs(&client, &server, 1);
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    until = now() + 20 * MILLISECOND;
    while (now() < until) {
        at.backend->class_->await(at.backend, until); /* it may return early */
    }
    assert_true(at.backend->class_->await(at.backend, until));
    assert_int_equal(server.in.count, 0);
    close_end(&client);
    close_end(&server);
}

static void whoever_awaits_is_told_of_what_is_submitted_and_canceled(void **state)
{
    end client;
    end server;

    (void)state;
    make_pairs(&client, &server, 1);
    push(&client, "x");
    exchange_a_message_elsewhere();
    at.backend->is_awaited = true;
    submit(&server.in, &server.io, PCO__OP_RECV);
    assert_true(is_told());
    at.backend->is_awaited = false;
    assert_true(completes(&server.in));
    submit(&server.in, &server.io, PCO__OP_RECV);
    poll_for(0);
    at.backend->is_awaited = true;
    cancel(&server.in);
    assert_true(is_told());
    at.backend->is_awaited = false;
    assert_true(reaches(&server.in.count, 2));
    assert_int_equal(server.in.error, PCO_ECANCELED);
    close_end(&client);
    close_end(&server);
}

static void a_poll_takes_over_no_more_than_it_may(void **state)
{
    enum { PAIRS = 12, MOST = 4 };
    end clients[PAIRS];
    end servers[PAIRS];
    int usual = at.backend->most;
    unsigned completed = 0;

    (void)state;
    make_pairs(clients, servers, PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        submit(&servers[i].in, &servers[i].io, PCO__OP_RECV);
        push(&clients[i], "x");
    }
    at.backend->most = MOST;
    for (unsigned polls = 0; completed < PAIRS && polls < 1000; polls++) {
        unsigned before = completed;
        poll_for(100 * MILLISECOND);
        completed = 0;
        for (size_t i = 0; i < PAIRS; i++) {
            completed += servers[i].in.count;
        }
        assert_true(completed - before <= MOST);
    }
    at.backend->most = usual;
    assert_int_equal(completed, PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        close_end(&clients[i]);
        close_end(&servers[i]);
    }
}

static void another_thread_can_wake_and_stop_poll(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        waker self = {.backend = at.backend, .stop = round == 1};
        uint64_t began = now();

        assert_int_equal(pco__mutex_new(&self.mutex), 0);
        assert_int_equal(pco__thread_start(wake_from_here, &self, NULL), 0);
        poll_for(PATIENCE);
        assert_true(now() - began < PATIENCE);
        while (!is_finished(&self) && now() - began < PATIENCE) {
            poll_for(MILLISECOND);
        }
        assert_true(is_finished(&self));
        assert_int_equal(at.stop, round == 1);
        pco__mutex_free(self.mutex);
    }
}

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(an_operation_completes_once_and_only_from_poll),
    TEST(a_connection_is_accepted_with_its_peers_address),
    TEST(a_refused_connect_says_so),
    TEST(a_connect_comes_from_the_address_that_was_bound),
    TEST(a_local_address_that_is_taken_is_an_error),
    TEST(an_address_that_cannot_be_reached_is_told),
    TEST(a_socket_that_is_connected_to_itself_is_known_by_its_names),
    TEST(a_burst_of_clients_is_accepted),
    TEST(clients_that_wait_are_accepted_by_a_later_operation),
    TEST(an_accept_goes_on_as_long_as_its_done_says_so),
    TEST(a_lent_read_brings_the_data_in_memory_of_the_backend),
    TEST(a_read_asks_get_buffer_only_when_there_is_data),
    TEST(get_buffer_may_cancel_its_own_read),
    TEST(get_buffer_without_room_ends_the_read_and_loses_nothing),
    TEST(a_read_that_fills_the_buffer_exactly_is_followed_by_waiting),
    TEST(the_end_of_the_stream_is_a_length_of_zero),
    TEST(after_shutdown_send_the_other_direction_goes_on),
    TEST(what_was_sent_before_the_end_is_read_before_the_end),
    TEST(a_close_with_reset_is_a_reset_to_the_peer),
    TEST(a_watch_notices_a_reset_behind_unread_data),
    TEST(a_watch_notices_a_reset_after_the_end_of_the_stream),
    TEST(a_watch_ignores_data_and_the_end_of_the_stream),
    TEST(four_mebibytes_arrive_whole),
    TEST(a_chain_longer_than_one_call_takes_arrives_in_order),
    TEST(try_send_takes_many_buffers_in_order),
    TEST(a_send_into_a_full_connection_completes_when_the_peer_reads),
    TEST(unsent_counts_what_the_peer_has_not_taken),
    TEST(without_unsent_a_send_takes_a_bounded_part),
    TEST(sending_to_a_peer_that_has_reset_fails),
    TEST(a_listener_may_be_closed_with_its_accepts_in_flight),
    TEST(a_closed_listener_gives_its_port_back_before_its_accepts_come_back),
    TEST(a_client_that_has_come_when_the_listener_is_closed_is_let_go),
    TEST(an_accepts_done_may_close_its_listener),
    TEST(sending_to_a_peer_that_has_ended_and_then_reset_fails_as_after_any_reset),
    TEST(a_listener_that_was_detached_is_as_it_was),
    TEST(operations_that_wait_end_when_they_are_canceled),
    TEST(a_send_that_waits_ends_when_it_is_canceled),
    TEST(a_connect_that_is_canceled_ends_once),
    TEST(a_connect_that_is_canceled_as_it_succeeds_leaves_a_socket_to_be_closed),
    TEST(canceling_twice_is_canceling_once),
    TEST(canceling_loses_no_data_that_has_arrived),
    TEST(done_may_cancel_another_operation_that_is_due),
    TEST(what_can_be_read_is_told_each_time_and_stays_there),
    TEST(what_can_be_written_is_told_as_long_as_done_says_so),
    TEST(what_is_attached_again_goes_on),
    TEST(what_was_canceled_before_poll_ends_in_that_poll),
    TEST(what_is_canceled_during_poll_ends_in_that_poll),
    TEST(done_may_close_and_free_its_own_socket_and_end_the_others),
    TEST(a_read_started_and_canceled_in_one_done_leaves_nothing_behind),
    TEST(done_may_close_and_free_idle_sockets_with_news_in_the_same_batch),
    TEST(news_of_a_closed_socket_never_reach_the_one_in_its_place),
    TEST(a_flood_on_one_connection_delays_neither_poll_nor_the_others),
    TEST(unread_data_does_not_keep_poll_awake),
    TEST(poll_without_a_timeout_does_not_wait),
    TEST(poll_waits_for_its_timeout),
    TEST(wake_before_poll_ends_the_next_poll),
    TEST(a_stop_among_other_wake_ups_is_reported_once),
    TEST(another_thread_can_wake_and_stop_poll),
    TEST(whoever_awaits_is_told_of_a_wake_up),
    TEST(whoever_awaits_is_not_told_of_a_wake_up_that_was_taken_over),
    TEST(whoever_awaits_is_told_of_what_comes_and_completes_nothing),
    TEST(awaiting_ends_when_it_is_time),
    TEST(whoever_awaits_is_told_of_what_is_submitted_and_canceled),
    TEST(a_poll_takes_over_no_more_than_it_may),
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
