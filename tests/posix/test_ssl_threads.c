/* SPDX-License-Identifier: MIT */
/*
 * Goal: TLS contexts may be shared between the loops of several threads, and changed by yet another
 * one, while handshakes are under way.
 * Method: each worker has a loop of its own, on which it connects both ends of the library over a
 * pair of sockets, again and again; the test reloads the shared context and gives it names
 * meanwhile. The thread sanitizer watches.
 */
#include "ssl_world.h"

#include <fcntl.h>
#include <sys/socket.h>

#define WORKERS 3
#define CONNECTIONS 12

/* Room for the library's own waiting: a handshake takes milliseconds. */
#define PATIENCE 20.0

static struct {
    pco__mutex *mutex;
    unsigned at_work;
    pco_ssl_context *server;
    pco_ssl_context *client;
} shared;

/* One end of a connection. */
typedef struct end {
    pco_protocol base;
    pco_transport *transport; /* NULL: not made, or lost */
    unsigned made;
    unsigned lost;
    int error; /* of the handshake or of connection_lost */
    size_t received;
} end;

typedef struct worker {
    unsigned number;
    unsigned failures;
    end ends[2];
} worker;

static worker workers[WORKERS];

static int set_up(void **state)
{
    (void)state;
    certificates_get();
    memory_watch();
    memset(&shared, 0, sizeof shared);
    memset(workers, 0, sizeof workers);
    shared.server = tls_server_context();
    shared.client = tls_client_context();
    return pco__mutex_new(&shared.mutex);
}

static int tear_down(void **state)
{
    (void)state;
    pco_ssl_context_release(shared.server);
    pco_ssl_context_release(shared.client);
    pco__mutex_free(shared.mutex);
    return memory_unwatch() == 0 ? 0 : -1;
}

/* ---- A connection ---- */

static void made(pco_protocol *self, pco_transport *transport)
{
    ((end *)self)->made++;
    ((end *)self)->transport = transport;
    pco_transport_write(transport, "hello", 5);
}

static void received(pco_protocol *self, pco_transport *transport, const void *data, size_t length)
{
    (void)transport;
    (void)data;
    ((end *)self)->received += length;
}

static void lost(pco_protocol *self, pco_transport *transport, const pco_error *error)
{
    (void)transport;
    ((end *)self)->lost++;
    ((end *)self)->transport = NULL;
    ((end *)self)->error = error != NULL ? error->code : 0;
}

static const pco_protocol_methods methods = {.size = sizeof methods,
                                             .connection_made = made,
                                             .data_received = received,
                                             .connection_lost = lost};

static pco_protocol *make_protocol(void *context)
{
    end *self = context;
    self->base.methods = &methods;
    return &self->base;
}

static void handshake_done(pco_transport *transport, const pco_error *error, void *context)
{
    (void)transport;
    if (error != NULL) {
        ((end *)context)->error = error->code;
    }
}

static bool start_end(pco_loop *loop, int descriptor, end *self, bool client)
{
    pco__stream_options stream_options = {.close_timeout = PATIENCE};
    pco__ssl_options options = {.context = client ? shared.client : shared.server,
                                .client = client,
                                .server_name = client ? "localhost" : NULL,
                                .handshake_timeout = PATIENCE,
                                .shutdown_timeout = PATIENCE,
                                .make_protocol = make_protocol,
                                .handshake_done = handshake_done,
                                .context_of_calls = self};
    pco__stream *stream;
    memset(self, 0, sizeof *self);
    if (fcntl(descriptor, F_SETFL, O_NONBLOCK) != 0 ||
        pco__stream_new(loop, descriptor, NULL, &stream_options, &stream, NULL) != 0) {
        return false;
    }
    return tls_start(stream, &options, NULL) == 0;
}

static bool both_have_received(void *context)
{
    const worker *self = context;
    return (self->ends[0].received == 5 && self->ends[1].received == 5) ||
           self->ends[0].error != 0 || self->ends[1].error != 0;
}

static bool both_are_lost(void *context)
{
    const worker *self = context;
    return self->ends[0].lost != 0 && self->ends[1].lost != 0;
}

static bool connect_once(worker *self, pco_loop *loop)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 ||
        !start_end(loop, pair[0], &self->ends[0], false) ||
        !start_end(loop, pair[1], &self->ends[1], true)) {
        return false;
    }
    if (pco_loop_run_until(loop, both_have_received, self, PATIENCE) != 0 ||
        self->ends[0].error != 0 || self->ends[1].error != 0) {
        return false;
    }
    pco_transport_close(self->ends[self->number % 2].transport);
    return pco_loop_run_until(loop, both_are_lost, self, PATIENCE) == 0 &&
           self->ends[0].error == 0 && self->ends[1].error == 0;
}

static void connect_often(worker *self, unsigned times)
{
    pco_loop *loop = NULL;

    self->failures = pco_loop_new(NULL, &loop, NULL) != 0;
    for (unsigned i = 0; i < times && self->failures == 0; i++) {
        self->failures += !connect_once(self, loop);
    }
    pco_loop_free(loop);
}

static void run_worker(void *context)
{
    connect_often(context, CONNECTIONS);
    pco__mutex_lock(shared.mutex);
    shared.at_work--;
    pco__mutex_unlock(shared.mutex);
}

/* ---- The test ---- */

static bool is_over(void)
{
    pco__mutex_lock(shared.mutex);
    bool over = shared.at_work == 0;
    pco__mutex_unlock(shared.mutex);
    return over;
}

/* What may be done to a context while others use it. */
static int disturb(unsigned round, pco_ssl_context *other)
{
    pco_ssl_context_options options =
        tls_options(round % 2 == 0 ? &certificates_get()->server : &certificates_get()->chained);
    pco_ssl_context *one = round % 2 == 0 ? shared.server : other;
    int code = pco_ssl_context_reload(one, &options, NULL);
    pco_ssl_context_retain(shared.server);
    pco_ssl_context_release(shared.server);
    if (code == 0) {
        const char *name = round % 3 == 0 ? "localhost" : "*.example.com";
        code = pco_ssl_context_add_server_name(shared.server, name, other, NULL);
    }
    return code;
}

static void contexts_are_shared_and_changed_while_threads_use_them(void **state)
{
    pco_ssl_context *other = tls_server_context();
    unsigned refused = 0;
    unsigned rounds = 0;

    (void)state;

    /*
     * OpenSSL works out what a certificate says when it first verifies with it, and publishes that
     * by an atomic which the sanitizer, that has not seen OpenSSL compiled, takes for a race.
     */
    connect_often(&workers[0], 1);
    assert_int_equal(workers[0].failures, 0);
    pco__mutex_lock(shared.mutex);
    shared.at_work = WORKERS;
    pco__mutex_unlock(shared.mutex);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].number = i;
        assert_int_equal(pco__thread_start(run_worker, &workers[i], NULL), 0);
    }
    while (!is_over()) {
        refused += disturb(rounds++, other) != 0;
    }
    pco_ssl_context_release(other);
    assert_int_equal(refused, 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].failures, 0);
    }
}

static int free_certificates(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(contexts_are_shared_and_changed_while_threads_use_them, set_up,
                                    tear_down),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, free_certificates);
}
