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

/* ---- All of it ---- */

static const struct CMUnitTest tests[] = {
    TEST(an_operation_completes_once_and_only_from_poll),
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
    TEST(sending_to_a_peer_that_has_ended_and_then_reset_fails_as_after_any_reset),
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
};

int main(void)
{
    return test_all_backends(tests, sizeof tests / sizeof tests[0]);
}
