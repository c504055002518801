/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_tickets.c: the keys of session tickets. Goal: a key seals for twelve hours, opens for
 * twelve more, and is gone then; no client notices but one that stays away for longer.
 * Method: the time is an argument, or that of the fake backend. What a client holds tells by which
 * key it is sealed: a ticket begins with the key's name.
 */
#include "ssl_world.h"
#include "tls/contexts.h"

#include <openssl/err.h>

#define HOUR ((uint64_t)3600 * 1000000000)
#define START (1000 * HOUR)

static int end_all(void **state)
{
    (void)state;
    certificates_free();
    return 0;
}

/* ---- The keys alone ---- */

static void assert_found(pco__ssl_tickets *tickets, uint64_t now, const pco__ssl_ticket_key *key,
                         int expected)
{
    pco__ssl_ticket_key found;
    assert_int_equal(pco__ssl_tickets_find(tickets, now, key->name, &found), expected);
    if (expected != PCO__SSL_TICKET_UNKNOWN) {
        assert_memory_equal(&found, key, sizeof found);
    }
}

/* The key that seals at that time. */
static pco__ssl_ticket_key sealing_key(pco__ssl_tickets *tickets, uint64_t now)
{
    pco__ssl_ticket_key key;
    assert_int_equal(pco__ssl_tickets_find(tickets, now, NULL, &key), PCO__SSL_TICKET_CURRENT);
    return key;
}

static void a_key_seals_for_twelve_hours_and_opens_for_twelve_more(void **state)
{
    pco__ssl_tickets *tickets = pco__ssl_tickets_new();
    (void)state;
    assert_non_null(tickets);
    pco__ssl_ticket_key first = sealing_key(tickets, START);
    pco__ssl_ticket_key same = sealing_key(tickets, START + 12 * HOUR - 1);
    assert_memory_equal(&same, &first, sizeof same);
    assert_found(tickets, START + 12 * HOUR - 1, &first, PCO__SSL_TICKET_CURRENT);

    pco__ssl_ticket_key second = sealing_key(tickets, START + 12 * HOUR);
    assert_memory_not_equal(second.name, first.name, sizeof second.name);
    assert_memory_not_equal(second.cipher, first.cipher, sizeof second.cipher);
    assert_memory_not_equal(second.mac, first.mac, sizeof second.mac);
    assert_found(tickets, START + 12 * HOUR, &first, PCO__SSL_TICKET_PREVIOUS);
    assert_found(tickets, START + 24 * HOUR - 1, &first, PCO__SSL_TICKET_PREVIOUS);
    assert_found(tickets, START + 24 * HOUR - 1, &second, PCO__SSL_TICKET_CURRENT);
    assert_found(tickets, START + 24 * HOUR, &first, PCO__SSL_TICKET_UNKNOWN);
    assert_found(tickets, START + 24 * HOUR, &second, PCO__SSL_TICKET_PREVIOUS);
    pco__ssl_tickets_free(tickets);
}

static void a_key_lives_no_longer_where_nobody_comes_for_a_while(void **state)
{
    pco__ssl_tickets *tickets = pco__ssl_tickets_new();
    (void)state;
    assert_non_null(tickets);
    pco__ssl_ticket_key first = sealing_key(tickets, START);
    assert_found(tickets, START + 20 * HOUR, &first, PCO__SSL_TICKET_PREVIOUS);
    assert_found(tickets, START + 24 * HOUR, &first, PCO__SSL_TICKET_UNKNOWN);

    pco__ssl_ticket_key second = sealing_key(tickets, START + 24 * HOUR);
    assert_found(tickets, START + 1000 * HOUR, &second, PCO__SSL_TICKET_UNKNOWN);
    pco__ssl_tickets_free(tickets);
}

static void a_loop_whose_time_is_a_little_behind_is_served(void **state)
{
    pco__ssl_tickets *tickets = pco__ssl_tickets_new();
    (void)state;
    assert_non_null(tickets);
    pco__ssl_ticket_key first = sealing_key(tickets, START);
    assert_found(tickets, START - 1, &first, PCO__SSL_TICKET_CURRENT);
    pco__ssl_ticket_key second = sealing_key(tickets, START + 12 * HOUR);
    pco__ssl_ticket_key same = sealing_key(tickets, START + 12 * HOUR - 1);
    assert_memory_equal(&same, &second, sizeof same);
    assert_found(tickets, START + 12 * HOUR - 1, &first, PCO__SSL_TICKET_PREVIOUS);
    pco__ssl_tickets_free(tickets);
}

static void what_no_key_is_called_is_unknown(void **state)
{
    pco__ssl_tickets *tickets = pco__ssl_tickets_new();
    pco__ssl_ticket_key nobody = {.name = {0}};
    (void)state;
    assert_non_null(tickets);
    assert_found(tickets, START, &nobody, PCO__SSL_TICKET_UNKNOWN);
    pco__ssl_tickets_free(tickets);
}

/* ---- Wiping ---- */

/* Memory that remembers its size, to be looked through when it is given back. */
typedef union header {
    size_t size;
    long double alignment;
} header;

static const pco__ssl_ticket_key *secret;
static unsigned looked_through;
static unsigned left_behind;

static void *sized_malloc(size_t size)
{
    header *made = calloc(1, sizeof *made + size);
    if (made == NULL) {
        return NULL;
    }
    made->size = size;
    return made + 1;
}

static void *sized_realloc(void *memory, size_t size)
{
    header *made = realloc(memory != NULL ? (header *)memory - 1 : NULL, sizeof *made + size);
    if (made == NULL) {
        return NULL;
    }
    made->size = size;
    return made + 1;
}

static bool holds(const unsigned char *memory, size_t size, const unsigned char *part)
{
    for (size_t i = 0; i + 32 <= size; i++) {
        if (memcmp(memory + i, part, 32) == 0) {
            return true;
        }
    }
    return false;
}

static void sized_free(void *memory)
{
    header *made = memory != NULL ? (header *)memory - 1 : NULL;
    if (made != NULL && secret != NULL) {
        looked_through++;
        left_behind += holds(memory, made->size, secret->cipher);
        left_behind += holds(memory, made->size, secret->mac);
    }
    free(made);
}

static void keys_are_wiped_when_they_are_freed(void **state)
{
    (void)state;
    assert_int_equal(pco_set_allocator(sized_malloc, sized_realloc, sized_free), 0);
    pco__ssl_tickets *tickets = pco__ssl_tickets_new();
    assert_non_null(tickets);
    pco__ssl_ticket_key first = sealing_key(tickets, START);
    secret = &first;
    looked_through = 0;
    left_behind = 0;
    pco__ssl_tickets_free(tickets);
    secret = NULL;
    pco_set_allocator(NULL, NULL, NULL);
    assert_int_not_equal(looked_through, 0);
    assert_int_equal(left_behind, 0);
}

/* ---- Threads ---- */

#define WORKERS 4
#define ROUNDS 2000

static struct {
    pco__mutex *mutex;
    pco__ssl_tickets *tickets;
    unsigned at_work;
    unsigned failures;
} shared;

/* Every round is an hour, for all of them; each has another's time before and behind it. */
static void seal_and_open(void *context)
{
    unsigned failures = 0;
    (void)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        pco__ssl_ticket_key sealed;
        pco__ssl_ticket_key opened;
        uint64_t now = START + i * HOUR;
        if (pco__ssl_tickets_find(shared.tickets, now, NULL, &sealed) != PCO__SSL_TICKET_CURRENT) {
            failures++;
            continue;
        }
        int found = pco__ssl_tickets_find(shared.tickets, now, sealed.name, &opened);
        failures += found == PCO__SSL_TICKET_FAILED;
        failures += found > 0 && memcmp(&opened, &sealed, sizeof opened) != 0;
    }
    pco__mutex_lock(shared.mutex);
    shared.failures += failures;
    shared.at_work--;
    pco__mutex_unlock(shared.mutex);
}

static bool is_over(void)
{
    pco__mutex_lock(shared.mutex);
    bool over = shared.at_work == 0;
    pco__mutex_unlock(shared.mutex);
    return over;
}

static void threads_share_the_keys_and_change_them(void **state)
{
    (void)state;
    memset(&shared, 0, sizeof shared);
    assert_int_equal(pco__mutex_new(&shared.mutex), 0);
    shared.tickets = pco__ssl_tickets_new();
    assert_non_null(shared.tickets);
    shared.at_work = WORKERS;
    for (unsigned i = 1; i < WORKERS; i++) {
        assert_int_equal(pco__thread_start(seal_and_open, NULL, NULL), 0);
    }
    seal_and_open(NULL);
    while (!is_over()) {
    }
    assert_int_equal(shared.failures, 0);
    pco__ssl_tickets_free(shared.tickets);
    pco__mutex_free(shared.mutex);
}

/* ---- Clients that come back ---- */

static pco_loop *loop;
static tls_end server;

static int set_up(void **state)
{
    (void)state;
    memory_watch();
    loop = fake_loop_new();
    tls_end_init(&server, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_loop_free(loop);
    const char *violation = server.protocol.violation;
    tls_end_free(&server);
    size_t pieces = memory_unwatch();
    if (violation != NULL || pieces != 0) {
        print_error("%s, %zu pieces of memory\n", violation != NULL ? violation : "", pieces);
        return 1;
    }
    return 0;
}

/* What a client takes home. */
typedef struct visit {
    SSL_SESSION *session;
    unsigned char key_name[16]; /* which the ticket begins with */
    bool reused;
} visit;

/* A client connects, with the session of an earlier visit if there is one, which it gives up. */
static void come(visit *self, pco_ssl_context *context, int version, const char *name)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(version);
    tls_end_init(&server, false);
    tls_end_start(&server, loop, context);
    tls_peer_init(&peer, ctx, name);
    SSL_CTX_free(ctx);
    if (self->session != NULL) {
        SSL_set_session(peer.ssl, self->session);
        SSL_SESSION_free(self->session);
    }
    tls_run(&peer, &server);
    assert_int_equal(server.protocol.counts[MADE], 1);
    self->reused = SSL_session_reused(peer.ssl) == 1;
    SSL_shutdown(peer.ssl);
    tls_run(&peer, &server);
    assert_true(tls_end_is_over(&server));

    const unsigned char *ticket;
    size_t length;
    self->session = SSL_get1_session(peer.ssl);
    SSL_SESSION_get0_ticket(self->session, &ticket, &length);
    assert_true(length > sizeof self->key_name);
    memcpy(self->key_name, ticket, sizeof self->key_name);
    tls_end_free(&server);
    tls_end_init(&server, false);
    tls_peer_free(&peer);
}

/* Comes again, `hours` later. Whether the session is resumed, and the new ticket's key another. */
static void come_again(visit *self, pco_ssl_context *context, int version, double hours,
                       bool reused, bool another_key)
{
    unsigned char before[16];
    memcpy(before, self->key_name, sizeof before);
    fake_advance(loop, hours * 3600);
    come(self, context, version, "localhost");
    assert_int_equal(self->reused, reused);
    assert_int_equal(memcmp(self->key_name, before, sizeof before) != 0, another_key);
}

static void check_changes(int version)
{
    pco_ssl_context *context = tls_server_context();
    visit client = {.session = NULL};
    come(&client, context, version, "localhost");
    assert_false(client.reused);
    come_again(&client, context, version, 11.9, true, false);

    /* Sealed by the key of before, it opens, and the client gets one of the new key at once. */
    come_again(&client, context, version, 1, true, true);
    come_again(&client, context, version, 1, true, false);

    /* Two changes later it does not, and all goes on with a full handshake. */
    come_again(&client, context, version, 24, false, true);
    come_again(&client, context, version, 1, true, false);
    SSL_SESSION_free(client.session);
    pco_ssl_context_release(context);
}

static void tickets_outlive_one_change_of_the_key_and_not_two_with_tls_1_2(void **state)
{
    (void)state;
    check_changes(TLS1_2_VERSION);
}

static void tickets_outlive_one_change_of_the_key_and_not_two_with_tls_1_3(void **state)
{
    (void)state;
    check_changes(TLS1_3_VERSION);
}

/* A context for "other.example", of options or of a ready SSL_CTX. */
static pco_ssl_context *other_context(bool ready)
{
    const certificate *own = &certificates_get()->other;
    pco_ssl_context *context;
    if (!ready) {
        pco_ssl_context_options options = tls_options(own);
        return tls_context(&options);
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, own->x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, own->key), 1);
    assert_int_equal(pco_ssl_context_from_ssl_ctx(ctx, &context, NULL), 0);
    SSL_CTX_free(ctx);
    return context;
}

static void each_name_has_the_keys_of_its_context(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int ready = 0; ready <= 1; ready++) {
            pco_ssl_context *context = tls_server_context();
            pco_ssl_context *other = other_context(ready != 0);
            visit one = {.session = NULL};
            visit two = {.session = NULL};
            visit directly = {.session = NULL};
            assert_int_equal(pco_ssl_context_add_server_name(context, "other.example", other, NULL),
                             0);
            come(&one, context, version, "localhost");
            come(&two, context, version, "other.example");
            come(&directly, other, version, "other.example");
            assert_false(two.reused);
            assert_memory_not_equal(two.key_name, one.key_name, sizeof two.key_name);
            assert_memory_equal(two.key_name, directly.key_name, sizeof two.key_name);
            come(&two, context, version, "other.example");
            assert_true(two.reused);
            SSL_SESSION_free(one.session);
            SSL_SESSION_free(two.session);
            SSL_SESSION_free(directly.session);
            pco_ssl_context_release(other);
            pco_ssl_context_release(context);
        }
    }
}

static void each_context_has_keys_of_its_own(void **state)
{
    pco_ssl_context *one = tls_server_context();
    pco_ssl_context *two = tls_server_context();
    visit client = {.session = NULL};
    unsigned char before[16];
    (void)state;
    come(&client, one, TLS1_3_VERSION, "localhost");
    memcpy(before, client.key_name, sizeof before);
    come(&client, two, TLS1_3_VERSION, "localhost");
    assert_false(client.reused);
    assert_memory_not_equal(client.key_name, before, sizeof before);
    SSL_SESSION_free(client.session);
    pco_ssl_context_release(one);
    pco_ssl_context_release(two);
}

/* The header forbids to write by the SSL itself; who does it all the same gets an error. */
static void a_ticket_ordered_behind_the_librarys_back_ends_the_connection(void **state)
{
    tls_peer peer;
    SSL_CTX *ctx = tls_peer_ctx(TLS1_3_VERSION);
    pco_ssl_context *context = tls_server_context();
    (void)state;
    tls_end_start(&server, loop, context);
    pco_ssl_context_release(context);
    tls_peer_init(&peer, ctx, "localhost");
    SSL_CTX_free(ctx);
    tls_run(&peer, &server);
    assert_int_equal(SSL_new_session_ticket(pco_transport_get_ssl_object(server.transport)), 1);
    assert_int_equal(pco_transport_write(server.transport, "x", 1), PCO_ECLOSED);
    run_turns(loop, 3);
    assert_string_equal(server.protocol.log, "made lost:PCO_ETLS");
    tls_peer_free(&peer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_seals_for_twelve_hours_and_opens_for_twelve_more),
        cmocka_unit_test(a_key_lives_no_longer_where_nobody_comes_for_a_while),
        cmocka_unit_test(a_loop_whose_time_is_a_little_behind_is_served),
        cmocka_unit_test(what_no_key_is_called_is_unknown),
        cmocka_unit_test(keys_are_wiped_when_they_are_freed),
        cmocka_unit_test(threads_share_the_keys_and_change_them),
        TEST(tickets_outlive_one_change_of_the_key_and_not_two_with_tls_1_2),
        TEST(tickets_outlive_one_change_of_the_key_and_not_two_with_tls_1_3),
        TEST(each_name_has_the_keys_of_its_context),
        TEST(each_context_has_keys_of_its_own),
        TEST(a_ticket_ordered_behind_the_librarys_back_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, end_all);
}
