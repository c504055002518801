/* SPDX-License-Identifier: MIT */
/*
 * behaviour.c: the world of behaviour.h: records, waiting, and the search for what was lost.
 *
 * The one hard idea is that the records are judges: each callback checks by itself whether it may
 * come now, so that every test watches the grammar of callbacks whatever else it is about.
 */
#include "behaviour.h"

#include "support/memory.h"
#include "system/network.h"
#include "system/platform.h"

/* Sockets have small numbers, with gaps of other things; so many others mean that none follows. */
#define SOCKETS_GAP 1024

static unsigned char pattern_bytes[PATTERN_LIMIT];

world at;
const pco__backend_class *tested;
bool tested_with_tls;

static size_t pieces_before;
static record *expected; /* the factory has made it, and its connection_made comes next */

void violate(const char *what)
{
    if (at.violations++ == 0) {
        snprintf(at.violation, sizeof at.violation, "%s", what);
    }
}

void enter_call(void)
{
    at.calls++;
}

void leave_call(void)
{
    at.calls--;
    for (record *one = at.records; one != NULL; one = one->next) {
        if (one->transport != NULL && pco_transport_is_closing(one->transport)) {
            one->deaf = true;
        }
    }
}

/* ---- Records ---- */

static record *of(pco_protocol *protocol)
{
    return (record *)protocol;
}

static void tell(record *self, char letter)
{
    size_t length = strlen(self->story);

    if (length + 1 < sizeof self->story &&
        (letter != 'D' || length == 0 || self->story[length - 1] != 'D')) {
        self->story[length] = letter;
        self->story[length + 1] = '\0';
    }
}

/* What holds for every callback of a connection. */
static void judge(record *self, pco_transport *transport, moment when)
{
    self->counts[when]++;
    if (self->transport == NULL && when != AT_MADE) {
        violate("a callback before connection_made or after connection_lost");
    }
    if (self->transport != NULL && transport != self->transport) {
        violate("a callback with another transport");
    }
    if (at.calls != 0 && when != AT_PAUSE) {
        violate("a callback inside a call of the user's");
    }
    if (expected != NULL && (when != AT_MADE || expected != self)) {
        violate("something came between the factory and connection_made");
    }
}

/* What holds for callbacks that bring input. */
static void judge_input(record *self)
{
    if (self->deaf) {
        violate("input after the transport was closed");
    }
    if (self->counts[AT_EOF] != 0) {
        violate("input after eof_received");
    }
    if (self->transport != NULL && !pco_transport_is_reading(self->transport)) {
        violate("input while reading is paused");
    }
}

static void act(record *self, pco_transport *transport, moment when)
{
    if (at.at[when] != NULL) {
        at.at[when](self, transport);
    }
}

static void keep(record *self, const void *data, size_t length)
{
    if (self->room - self->length < length) {
        self->room = 2 * (self->length + length);
        self->data = realloc(self->data, self->room);
    }
    memcpy(self->data + self->length, data, length);
    self->length += length;
}

static void take(record *self, pco_transport *transport, const void *data, size_t length)
{
    if (length == 0) {
        violate("no data");
    }
    tell(self, 'D');
    keep(self, data, length);
    if (at.echoes) {
        enter_call();
        pco_transport_write(transport, data, length);
        leave_call();
    }
}

static void made(pco_protocol *protocol, pco_transport *transport)
{
    record *self = of(protocol);

    judge(self, transport, AT_MADE);
    if (self->counts[AT_MADE] != 1) {
        violate("connection_made twice");
    }
    expected = NULL;
    at.made++;
    tell(self, 'M');
    self->transport = transport;
    self->deaf = pco_transport_is_closing(transport);
    self->peer_code = pco_transport_get_peername(transport, &self->peer);
    if (at.small_buffers) {
        peer_shrink_buffers(pco_transport_get_socket(transport));
    }
    act(self, transport, AT_MADE);
}

static void received(pco_protocol *protocol, pco_transport *transport, const void *data,
                     size_t length)
{
    record *self = of(protocol);

    judge(self, transport, AT_DATA);
    judge_input(self);
    take(self, transport, data, length);
    act(self, transport, AT_DATA);
}

static void get_buffer(pco_protocol *protocol, pco_transport *transport, size_t size_hint,
                       void **buffer, size_t *length)
{
    record *self = of(protocol);

    (void)size_hint;
    judge(self, transport, AT_GET_BUFFER);
    judge_input(self);
    *buffer = self->memory;
    *length = sizeof self->memory;
    act(self, transport, AT_GET_BUFFER);
}

static void updated(pco_protocol *protocol, pco_transport *transport, size_t length)
{
    record *self = of(protocol);

    judge(self, transport, AT_UPDATED);
    judge_input(self);
    if (self->counts[AT_UPDATED] > self->counts[AT_GET_BUFFER]) {
        violate("buffer_updated without get_buffer");
    }
    take(self, transport, self->memory, length);
    act(self, transport, AT_UPDATED);
}

static bool ended(pco_protocol *protocol, pco_transport *transport)
{
    record *self = of(protocol);

    judge(self, transport, AT_EOF);
    if (self->counts[AT_EOF] != 1 || self->deaf) {
        violate("eof_received twice, or after the transport was closed");
    }
    tell(self, 'E');
    act(self, transport, AT_EOF);
    return at.answers;
}

static void lost(pco_protocol *protocol, pco_transport *transport, const pco_error *error)
{
    record *self = of(protocol);

    judge(self, transport, AT_LOST);
    if (!pco_transport_is_closing(transport)) {
        violate("connection_lost of a transport that is not closing");
    }
    at.lost++;
    tell(self, 'L');
    self->lost = true;
    self->lost_cleanly = error == NULL;
    if (error != NULL) {
        self->error = *error;
        if (error->code >= 0 || error->message[0] == '\0') {
            violate("connection_lost with an error that says nothing");
        }
    }
    act(self, transport, AT_LOST);
    self->transport = NULL;
}

static void paused(pco_protocol *protocol, pco_transport *transport)
{
    record *self = of(protocol);

    judge(self, transport, AT_PAUSE);
    if (self->paused) {
        violate("pause_writing twice");
    }
    self->paused = true;
    tell(self, 'P');
    act(self, transport, AT_PAUSE);
}

static void resumed(pco_protocol *protocol, pco_transport *transport)
{
    record *self = of(protocol);

    judge(self, transport, AT_RESUME);
    if (!self->paused) {
        violate("resume_writing without pause_writing");
    }
    self->paused = false;
    tell(self, 'R');
    act(self, transport, AT_RESUME);
}

static const pco_protocol_methods plain_methods = {
    .size = sizeof plain_methods,
    .connection_made = made,
    .data_received = received,
    .eof_received = ended,
    .connection_lost = lost,
    .pause_writing = paused,
    .resume_writing = resumed,
};

static const pco_protocol_methods buffered_methods = {
    .size = sizeof buffered_methods,
    .connection_made = made,
    .eof_received = ended,
    .connection_lost = lost,
    .pause_writing = paused,
    .resume_writing = resumed,
    .get_buffer = get_buffer,
    .buffer_updated = updated,
};

const pco_protocol_methods *record_methods(bool buffered)
{
    return buffered ? &buffered_methods : &plain_methods;
}

pco_protocol *make_record(void *context)
{
    static pco_protocol nonsense;

    (void)context;
    at.factory_calls++;
    if (at.calls != 0) {
        violate("the factory was called inside a call of the user's");
    }
    if (at.at[AT_FACTORY] != NULL) {
        at.at[AT_FACTORY](NULL, NULL);
    }
    if (at.refuses || at.is_broken) {
        return at.refuses ? NULL : &nonsense;
    }
    record *self = calloc(1, sizeof *self);
    self->protocol.methods = record_methods(at.buffered);
    self->next = at.records;
    at.records = self;
    expected = self;
    return &self->protocol;
}

record *newest(void)
{
    assert_non_null(at.records);
    return at.records;
}

int lost_with(const record *self)
{
    assert_true(self->lost);
    return self->lost_cleanly ? 0 : self->error.code;
}

/* ---- The world ---- */

static void note_trouble(pco_loop *loop, const pco_exception_context *what, void *context)
{
    (void)loop;
    (void)context;
    at.reports++;
    at.reported = what->error != NULL ? what->error->code : 0;
    snprintf(at.report, sizeof at.report, "%s", what->message);
}

static void note_failure(pco_server *server, const pco_address *peer_address,
                         const pco_error *error, void *context)
{
    (void)server;
    (void)peer_address;
    (void)context;
    at.failures++;
    at.reported = error->code;
}

static pco_loop *make_loop(void)
{
    pco_loop *loop = NULL;
    pco_error error;
    int code = tested != NULL ? pco__loop_new(NULL, tested, &loop, &error)
                              : pco_loop_new(NULL, &loop, &error);

    if (code != 0) {
        print_error("a loop could not be made: %s\n", error.message);
    }
    return loop;
}

int world_begin(void **state)
{
    (void)state;
    memset(&at, 0, sizeof at);
    expected = NULL;
    at.tls = tested_with_tls;
    if (peer_has_tls() && peer_server_context() == NULL) {
        return -1;
    }
    pieces_before = memory_pieces();
    at.loop = make_loop();
    if (at.loop == NULL) {
        return -1;
    }
    pco_loop_set_exception_handler(at.loop, note_trouble, NULL);
    return 0;
}

static bool peers_are_closed(void *context)
{
    (void)context;
    for (peer *one = at.peers; one != NULL; one = one->next) {
        if (one->closed == 0) {
            return false;
        }
    }
    return true;
}

static void free_peers(void)
{
    for (peer *one = at.peers; one != NULL; one = one->next) {
        peer_close(one, false);
    }
    happens(peers_are_closed, NULL);
    while (at.peers != NULL) {
        peer *next = at.peers->next;

        peer_free(at.peers);
        at.peers = next;
    }
}

void world_free_loop(void)
{
    pco_loop_free(at.loop);
    at.loop = NULL;
}

static void free_records(void)
{
    while (at.records != NULL) {
        record *next = at.records->next;

        free(at.records->data);
        free(at.records);
        at.records = next;
    }
}

/*
 * The library's memory that a thread of the resolver's still holds is given back in its own time.
 */
static bool gives_all_back(void)
{
    for (int i = 0; i < 1000 && memory_pieces() != pieces_before; i++) {
        pco_loop *clock = make_loop();

        pco_loop_run_once(clock, 0.01);
        pco_loop_free(clock);
    }
    return memory_pieces() == pieces_before;
}

int world_end(void **state)
{
    (void)state;
    memory_fail(0, false);
    memset(at.at, 0, sizeof at.at);
    free_peers();
    pco_server_free(at.server);
    if (at.loop != NULL) {
        pco_loop_free(at.loop);
    }
    if (at.outside != NULL) {
        pco_loop_free(at.outside);
    }
    if (at.made != at.lost) {
        violate("connection_made without connection_lost");
    }
    free_records();
    if (at.violations != 0) {
        print_error("%u times: %s\n", at.violations, at.violation);
        return -1;
    }
    if (!gives_all_back()) {
        print_error("%lu pieces of memory before, %lu after\n", (unsigned long)pieces_before,
                    (unsigned long)memory_pieces());
        return -1;
    }
    return 0;
}

pco_server_options server_options(void)
{
    pco_server_options options = {.size = sizeof options,
                                  .protocol_factory = make_record,
                                  .context = &at,
                                  .host = "127.0.0.1"};

    if (at.tls) {
        options.ssl = peer_server_context();
        options.handshake_failed = note_failure;
    }
    return options;
}

void serve_with(const pco_server_options *options)
{
    pco_error error = {0};
    int code = pco_loop_create_server(at.loop, options, &at.server, &error);

    if (code != 0) {
        print_error("%s\n", error.message);
    }
    assert_int_equal(code, 0);
}

void serve(void)
{
    pco_server_options options = server_options();

    serve_with(&options);
}

void end_server(void)
{
    unsigned before = at.closed_calls;

    if (at.server != NULL) {
        assert_int_equal(pco_server_wait_closed(at.server, count_closed, NULL), 0);
        pco_server_close(at.server);
        assert_true(reaches(&at.closed_calls, before + 1));
        pco_server_free(at.server);
        at.server = NULL;
    }
}

void count_closed(pco_server *server, void *context)
{
    (void)server;
    (void)context;
    at.closed_calls++;
    if (at.calls != 0) {
        violate("wait_closed's callback inside a call of the user's");
    }
}

/* ---- Peers ---- */

pco_address address_of(const pco_server *server, size_t index)
{
    pco_address address = {0};

    assert_int_equal(pco_server_get_sockname(server, index, &address), 0);
    return address;
}

peer *join_at(const pco_address *address)
{
    peer *made_now = peer_connect(at.outside != NULL ? at.outside : at.loop, address, at.tls);

    if (at.small_buffers && made_now->attached) {
        peer_shrink_buffers(made_now->io.socket);
    }
    made_now->next = at.peers;
    at.peers = made_now;
    return made_now;
}

peer *join(void)
{
    pco_address address = address_of(at.server, 0);

    return join_at(&address);
}

peer *join_and_wait(void)
{
    unsigned before = at.made;
    peer *client = join();

    assert_true(reaches(&at.made, before + 1));
    assert_true(reaches(&client->established, 1));
    return client;
}

void leave(peer *self)
{
    peer_close(self, false);
    assert_true(reaches(&self->closed, 1));
}

/* ---- Waiting ---- */

static bool happens_in_two_loops(pco_condition condition, void *context)
{
    double end = pco_loop_time(at.outside) + PATIENCE;

    while (!condition(context)) {
        if (pco_loop_time(at.outside) > end) {
            return false;
        }
        if (at.loop != NULL) {
            pco_loop_run_once(at.loop, 0.001);
        }
        pco_loop_run_once(at.outside, 0.001);
    }
    return true;
}

bool happens(pco_condition condition, void *context)
{
    if (at.outside != NULL) {
        return happens_in_two_loops(condition, context);
    }
    if (at.loop == NULL) {
        return condition(context);
    }
    return pco_loop_run_until(at.loop, condition, context, PATIENCE) == 0;
}

typedef struct goal {
    const unsigned *counter;
    const size_t *length;
    const bool *flag;
    size_t least;
    size_t most;
} goal;

static bool goal_is_reached(void *context)
{
    const goal *wanted = context;

    if (wanted->flag != NULL) {
        return *wanted->flag;
    }
    size_t value = wanted->counter != NULL ? *wanted->counter : *wanted->length;
    return value >= wanted->least && value <= wanted->most;
}

bool reaches(const unsigned *counter, unsigned least)
{
    goal wanted = {.counter = counter, .least = least, .most = SIZE_MAX};

    return happens(goal_is_reached, &wanted);
}

/* libkqueue does not. A BSD's own kqueue has no epoll beside it. */
bool sees_close(void)
{
#if defined(PCO_KQUEUE_IS_SYSTEM_CALL)
    return true;
#else
    return strcmp(tested->name, "kqueue") != 0 || pco__backends[0] == tested;
#endif
}

bool grows_to(const size_t *length, size_t least)
{
    goal wanted = {.length = length, .least = least, .most = SIZE_MAX};

    return happens(goal_is_reached, &wanted);
}

bool shrinks_to(const size_t *length, size_t most)
{
    goal wanted = {.length = length, .most = most};

    return happens(goal_is_reached, &wanted);
}

bool becomes(const bool *flag)
{
    goal wanted = {.flag = flag};

    return happens(goal_is_reached, &wanted);
}

static bool nobody_is_left(void *context)
{
    (void)context;
    return at.made == at.lost && (at.server == NULL || counters_of(at.server).active == 0);
}

bool all_are_lost(void)
{
    return happens(nobody_is_left, NULL);
}

void let_pass(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        if (at.loop != NULL) {
            pco_loop_run_once(at.loop, 0);
        }
        if (at.outside != NULL) {
            pco_loop_run_once(at.outside, 0);
        }
    }
}

/* ---- Looking ---- */

pco_server_counters counters_of(const pco_server *server)
{
    pco_server_counters counters = {.size = sizeof counters};

    if (pco_server_get_counters(server, &counters) != 0) {
        violate("the counters could not be had");
    }
    return counters;
}

unsigned count_sockets(void)
{
    /* Windows numbers its handles in fours, and may take each of the four for the first. */
    pco_socket step = strcmp(pco__backends[0]->name, "iocp") == 0 ? 4 : 1;
    pco_socket last = 0;
    unsigned count = 0;

    for (pco_socket sock = 0; sock < last + SOCKETS_GAP; sock += step) {
        pco_address address;

        if (pco__system_network.sockname(NULL, sock, &address) == 0) {
            count++;
            last = sock;
        }
    }
    return count;
}

bool has_ipv6(void)
{
    pco__listener_options options = {.reuse_address = PCO_DEFAULT};
    pco_address *found = NULL;
    size_t count = 0;
    pco_socket sock = PCO_NO_SOCKET;
    int code = pco__system_network.resolve("::1", 0, PCO_AF_INET6, PCO_AI_NUMERICHOST, &found,
                                           &count, NULL);

    if (code == 0) {
        code = pco__system_network.bind(NULL, &found[0], &options, &sock, NULL);
        pco__free(found);
    }
    if (code == 0) {
        pco__system_network.close(NULL, sock, false);
    }
    return code == 0;
}

void need_ipv6(void)
{
    if (!has_ipv6()) {
        print_message("skipped: this machine has no IPv6\n");
        skip();
    }
}

/* ---- Running ---- */

static int end_of_tests(int failures)
{
    peer_free_server_context();
    return failures + (memory_unwatch() != 0);
}

int run_here(const char *name, const struct CMUnitTest *tests, size_t count)
{
    memory_watch();
    return end_of_tests(_cmocka_run_group_tests(name, tests, count, NULL, NULL));
}

/* Whether this machine has the backend; it may be compiled in and yet be refused. */
static bool is_supported(const pco__backend_class *one)
{
    pco_loop *loop = NULL;
    pco_error error = {0};
    int code = pco__loop_new(NULL, one, &loop, &error);

    if (code == 0) {
        pco_loop_free(loop);
    } else {
        print_message("%s: skipped: %s\n", one->name, error.message);
    }
    return code != PCO_ENOTSUP; /* and if it failed, the tests will say so */
}

int run_on(const pco__backend_class *const *backends, bool tls_too, const struct CMUnitTest *tests,
           size_t count)
{
    int failures = 0;
    int last = tls_too && peer_has_tls() ? 1 : 0;

    memory_watch();
    for (; *backends != NULL; backends++) {
        tested = *backends;
        for (int tls = 0; is_supported(tested) && tls <= last; tls++) {
            char name[64];

            tested_with_tls = tls != 0;
            snprintf(name, sizeof name, "%s%s", tested->name, tls != 0 ? ", TLS" : "");
            failures += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
        }
    }
    return end_of_tests(failures);
}

/* ---- Data ---- */

const unsigned char *pattern(size_t length)
{
    static bool filled;
    uint32_t number = 1;

    if (length > PATTERN_LIMIT) {
        abort();
    }
    for (size_t i = 0; !filled && i < PATTERN_LIMIT; i++) {
        number = number * 1664525u + 1013904223u;
        pattern_bytes[i] = (unsigned char)(number >> 24);
    }
    filled = true;
    return pattern_bytes;
}
