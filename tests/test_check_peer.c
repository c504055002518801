/* SPDX-License-Identifier: MIT */
/*
 * Goal: an owner of connections that asks who the other end is (pco__connection_owner.check_peer)
 * asks it of every connection, at either end, before anything else; and whoever may not is gone
 * without a protocol, with the sentence told to whom it concerns.
 * Method: the fake backend, and an answer of the test's own.
 */
#include "behaviour.h"

#include "client/client.h"
#include "fake_backend.h"
#include "server/server.h"
#include "support/error.h"

static struct {
    unsigned asked;
    bool was_client;
    pco_socket sock;
    int code; /* the answer */
} question;

static int answer(const pco__connection_owner *owner, pco_socket sock, pco_error *error)
{
    question.asked++;
    question.was_client = owner->is_client;
    question.sock = sock;
    return question.code == 0 ? 0
                              : pco__error_set(error, question.code, 0, "somebody that we fear");
}

static void ask(int code)
{
    memset(&question, 0, sizeof question);
    question.code = code;
}

/* A client comes to the server, which asks. */
static fake_socket *come(void)
{
    at.server->owner.check_peer = answer;
    pco_socket sock = fake_connect(at.loop, pco_server_get_socket(at.server, 0), NULL);
    let_pass(3);
    return fake_socket_of(at.loop, sock);
}

static void a_server_asks_of_each_client(void **state)
{
    (void)state;
    serve();
    ask(0);
    const fake_socket *client = come();
    assert_int_equal(question.asked, 1);
    assert_false(question.was_client);
    assert_true(question.sock == client->number);
    assert_false(client->closed);
    assert_int_equal(at.made, at.tls ? 0 : 1);
    come();
    assert_int_equal(question.asked, 2);
    assert_int_equal(at.reports, 0);
    pco_server_abort_clients(at.server);
}

static void a_client_that_may_not_is_refused_and_reported(void **state)
{
    (void)state;
    serve();
    ask(PCO_EACCES);
    const fake_socket *client = come();
    assert_true(client->closed);
    assert_int_equal(client->sent_length, 0);
    assert_int_equal(client->received, 0);
    assert_int_equal(at.factory_calls, 0);
    assert_int_equal(at.reports, 1);
    assert_int_equal(at.reported, PCO_EACCES);
    pco_server_counters counters = counters_of(at.server);
    assert_int_equal(counters.accepted, 1);
    assert_int_equal(counters.refused, 1);
    assert_int_equal(counters.active, 0);
    assert_int_equal(counters.handshaking, 0);
    assert_int_equal(counters.handshake_failures, 0);
}

static void whoever_comes_next_is_asked_again(void **state)
{
    (void)state;
    serve();
    ask(PCO_EACCES);
    come();
    ask(0);
    assert_false(come()->closed);
    assert_int_equal(question.asked, 1);
    pco_server_abort_clients(at.server);
}

/* ---- Who connects ---- */

static struct {
    unsigned calls;
    bool stands;
    pco_error error;
} told;

static void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
                      void *context)
{
    (void)protocol;
    (void)context;
    told.calls++;
    told.stands = transport != NULL;
    if (error != NULL) {
        told.error = *error;
    }
    if (transport != NULL) {
        pco_transport_abort(transport);
    }
}

static void dial(void)
{
    pco_connection_options options = {.size = sizeof options,
                                      .protocol_factory = make_record,
                                      .host = "203.0.113.7",
                                      .port = 7000};
    pco_request *request = NULL;
    memset(&told, 0, sizeof told);
    assert_int_equal(pco_loop_create_connection(at.loop, &options, connected, NULL, &request, NULL),
                     0);
    pco__opening_check_peer(request, answer);
    pco_request_release(request);
    assert_true(reaches(&told.calls, 1));
}

static void who_connects_asks_who_serves(void **state)
{
    (void)state;
    ask(0);
    dial();
    assert_int_equal(question.asked, 1);
    assert_true(question.was_client);
    assert_true(told.stands);
    assert_int_equal(at.factory_calls, 1);
}

static void an_impostor_is_sent_nothing_and_told_of(void **state)
{
    (void)state;
    ask(PCO_EACCES);
    dial();
    assert_false(told.stands);
    assert_int_equal(told.error.code, PCO_EACCES);
    assert_string_equal(told.error.message,
                        "connect to 203.0.113.7 port 7000: somebody that we fear");
    assert_int_equal(at.factory_calls, 0);
    let_pass(3);
    const fake_socket *sock = fake_socket_of(at.loop, question.sock);
    assert_true(sock->closed);
    assert_int_equal(sock->sent_length, 0);
}

static const struct CMUnitTest tests[] = {
    TEST(a_server_asks_of_each_client),
    TEST(a_client_that_may_not_is_refused_and_reported),
    TEST(whoever_comes_next_is_asked_again),
    TEST(who_connects_asks_who_serves),
    TEST(an_impostor_is_sent_nothing_and_told_of),
};

int main(void)
{
    const pco__backend_class *const classes[] = {&fake_backend_class, &fake_backend_wide_class,
                                                 NULL};
    return run_on(classes, true, tests, sizeof tests / sizeof tests[0]);
}
