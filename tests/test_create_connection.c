/* SPDX-License-Identifier: MIT */
/*
 * Goal: create_connection tries addresses as RFC 8305 and its options say, tells once how it ended,
 * and leaves nothing behind, whatever the order in which things happen.
 * Method: the fake backend, where a test decides when and how each attempt ends; a resolver of the
 * test's own that answers when the test says.
 */
#include "support.h"

static pco_loop *loop;
static recorder protocol;
static pco_connection_options options;

/* ---- What has happened ---- */

static struct {
    char log[1024]; /* words: "resolving", ">1.1.1.1", "!1.1.1.1", "made", "done:OK" ... */
    unsigned completions;
    bool calling; /* inside a call of ours */
    bool inside;  /* the completion came inside of one */
    pco_transport *transport;
    pco_protocol *expected; /* with which it is told */
    pco_error error;
    pco_lookup *lookup;
    char host[64];
    int family;
    unsigned factory_calls;
    unsigned lookups_canceled;
    pco_request *request;
    int cancel_at; /* the stage at which `progress` cancels */
    int prepare_code;
    bool cancels_in_prepare;
    bool cancels_in_factory;
    bool refuses;
} seen;

static void note(const char *word, const char *detail)
{
    size_t length = strlen(seen.log);
    snprintf(seen.log + length, sizeof seen.log - length, "%s%s%s", length != 0 ? " " : "", word,
             detail);
}

static void connected(pco_transport *transport, pco_protocol *made, const pco_error *error,
                      void *context)
{
    seen.completions++;
    seen.inside = seen.inside || seen.calling;
    seen.transport = transport;
    if (error != NULL) {
        seen.error = *error;
    }
    note("done:", error != NULL ? pco_error_name(error->code) : "OK");
    if ((transport != NULL) != (error == NULL) || (made != NULL) != (error == NULL) ||
        (made != NULL && made != seen.expected) || context != &seen) {
        note("WRONG", "");
    }
}

static void progress(int stage, const pco_address *address, const pco_error *error, void *context)
{
    char host[PCO_ADDRESS_TEXT_SIZE] = "";
    (void)context;
    if (address != NULL) {
        pco_address_host(address, host, sizeof host);
    }
    note(stage == PCO_CONNECTION_RESOLVING    ? "resolving"
         : stage == PCO_CONNECTION_CONNECTING ? ">"
         : stage == PCO_CONNECTION_FAILED     ? "!"
                                              : "handshake",
         host);
    if ((error != NULL) != (stage == PCO_CONNECTION_FAILED)) {
        note("WRONG", "");
    }
    if (stage == seen.cancel_at) {
        pco_request_cancel(seen.request);
    }
}

static int prepare_socket(pco_socket sock, int family, void *context)
{
    (void)sock;
    (void)context;
    note("prepare", family == PCO_AF_INET ? "4" : "6");
    if (seen.cancels_in_prepare) {
        pco_request_cancel(seen.request);
    }
    return seen.prepare_code;
}

static pco_protocol *make_protocol(void *context)
{
    (void)context;
    seen.factory_calls++;
    if (seen.cancels_in_factory) {
        pco_request_cancel(seen.request);
    }
    return seen.refuses ? NULL : &protocol.protocol;
}

static void note_made(recorder *self, pco_transport *transport)
{
    (void)self;
    (void)transport;
    note("made", "");
}

/* ---- A resolver that waits ---- */

static void note_canceled(pco_lookup *lookup, void *context)
{
    (void)context;
    seen.lookups_canceled++;
    if (!pco_lookup_is_canceled(lookup)) {
        note("WRONG", "");
    }
    seen.lookup = NULL;
    pco_lookup_answer(lookup, NULL, 0, NULL);
}

static void keep_question(pco_loop *its, pco_lookup *lookup, const pco_lookup_question *question,
                          void *context)
{
    (void)its;
    (void)context;
    if (seen.calling) {
        note("WRONG", "");
    }
    seen.lookup = lookup;
    snprintf(seen.host, sizeof seen.host, "%s", question->host);
    seen.family = question->family;
    pco_lookup_set_canceled(lookup, note_canceled, NULL);
}

static pco_address address_at(const char *host, int port)
{
    pco_address address;
    assert_int_equal(pco_address_parse(host, port, &address), 0);
    return address;
}

/* Answers with literal addresses, apart by spaces. */
static void answer(const char *hosts)
{
    pco_address addresses[64];
    size_t count = 0;
    char text[1024];
    snprintf(text, sizeof text, "%s", hosts);
    for (char *host = strtok(text, " "); host != NULL; host = strtok(NULL, " ")) {
        addresses[count++] = address_at(host, 9);
    }
    pco_lookup *lookup = seen.lookup;
    assert_non_null(lookup);
    seen.lookup = NULL;
    pco_lookup_answer(lookup, addresses, count, NULL);
}

/* ---- The world ---- */

static int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    seen.expected = &protocol.protocol;
    memory_watch();
    loop = fake_loop_new();
    if (loop == NULL || pco_loop_set_resolver(loop, keep_question, NULL) != 0) {
        return -1;
    }
    fake_of(loop)->manual = true;
    recorder_init(&protocol, false);
    protocol.at[MADE] = note_made;
    options = (pco_connection_options){.size = sizeof options,
                                       .protocol_factory = make_protocol,
                                       .host = "example.com",
                                       .port = 80,
                                       .progress = progress};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pco_request_release(seen.request);
    if (loop != NULL) {
        pco_loop_free(loop);
    }
    bool right = protocol.violation == NULL && strstr(seen.log, "WRONG") == NULL && !seen.inside &&
                 seen.completions <= 1;
    recorder_free(&protocol);
    return memory_unwatch() == 0 && right ? 0 : -1;
}

static int begin(pco_error *error)
{
    seen.calling = true;
    int code = pco_loop_create_connection(loop, &options, connected, &seen, &seen.request, error);
    seen.calling = false;
    return code;
}

static void cancel(void)
{
    seen.calling = true;
    pco_request_cancel(seen.request);
    seen.calling = false;
}

static void free_loop(void)
{
    pco_request_release(seen.request);
    seen.request = NULL;
    assert_int_equal(pco_loop_free(loop), 0);
    loop = NULL;
}

/* Begins, and gives the addresses that the name stands for. */
static void begin_with(const char *hosts)
{
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    answer(hosts);
    run_turns(loop, 2);
}

/* The socket that is connecting to this host, or NULL. */
static fake_socket *find(const char *host)
{
    for (fake_socket *sock = fake_of(loop)->sockets; sock != NULL; sock = sock->next) {
        char text[PCO_ADDRESS_TEXT_SIZE];
        if (fake_is_in_flight(sock, PCO__OP_CONNECT) && !fake_is_canceled(sock, PCO__OP_CONNECT) &&
            pco_address_host(sock->out.given.with.address, text, sizeof text) == 0 &&
            strcmp(text, host) == 0) {
            return sock;
        }
    }
    return NULL;
}

static fake_socket *trying(const char *host)
{
    fake_socket *sock = find(host);
    assert_non_null(sock);
    return sock;
}

/* That attempt ends: with 0, it is connected. */
static void ends(const char *host, int error)
{
    assert_true(fake_decide(trying(host), PCO__OP_CONNECT, error, SIZE_MAX));
    run_turns(loop, 3);
}

static unsigned count_open(void)
{
    unsigned count = 0;
    for (const fake_socket *sock = fake_of(loop)->sockets; sock != NULL; sock = sock->next) {
        count += !sock->closed;
    }
    return count;
}

static void assert_done(int code)
{
    assert_int_equal(seen.completions, 1);
    assert_int_equal(seen.error.code, code);
    assert_int_equal(count_open(), code == 0 ? 1 : 0);
}

/* ---- The usual way ---- */

static void it_connects_and_tells_directly_after_connection_made(void **state)
{
    (void)state;
    begin_with("1.1.1.1");
    assert_string_equal(seen.host, "example.com");
    assert_string_equal(seen.log, "resolving >1.1.1.1");
    assert_int_equal(pco_address_port(trying("1.1.1.1")->out.given.with.address), 80);
    ends("1.1.1.1", 0);
    assert_string_equal(seen.log, "resolving >1.1.1.1 made done:OK");
    assert_done(0);
    fake_socket *sock = fake_of(loop)->sockets;
    fake_feed(sock, "hello", 5);
    assert_true(fake_decide(sock, PCO__OP_RECV, 0, SIZE_MAX));
    run_turns(loop, 1);
    assert_string_equal(protocol.log, "made data:5");
    pco_transport_close(seen.transport);
    run_turns(loop, 2);
    assert_string_equal(protocol.log, "made data:5 lost");
    assert_int_equal(count_open(), 0);
}

static void literal_addresses_are_not_looked_up(void **state)
{
    (void)state;
    options.host = "127.0.0.1";
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 2);
    assert_null(seen.lookup);
    ends("127.0.0.1", 0);
    assert_done(0);
}

static void no_host_is_this_machine(void **state)
{
    (void)state;
    options.host = NULL;
    options.family = PCO_AF_INET;
    options.flags = PCO_AI_PASSIVE;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 2);
    ends("127.0.0.1", 0);
    assert_done(0);
}

static void addresses_need_no_look_up_and_are_copied(void **state)
{
    (void)state;
    pco_address addresses[2] = {address_at("1.1.1.1", 7), address_at("2.2.2.2", 8)};
    options.host = NULL;
    options.port = 0;
    options.addresses = addresses;
    options.addresses_count = 2;
    assert_int_equal(begin(NULL), 0);
    memset(addresses, 0, sizeof addresses);
    run_turns(loop, 2);
    assert_string_equal(seen.log, ">1.1.1.1");
    ends("1.1.1.1", PCO_ECONNREFUSED);
    assert_int_equal(pco_address_port(trying("2.2.2.2")->out.given.with.address), 8);
    ends("2.2.2.2", 0);
    assert_done(0);
}

static void a_protocol_may_be_given_instead_of_a_factory(void **state)
{
    (void)state;
    options.protocol_factory = NULL;
    options.protocol = &protocol.protocol;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    assert_done(0);
    assert_string_equal(seen.log, "resolving >1.1.1.1 made done:OK");
}

static void close_now(recorder *self, pco_transport *transport)
{
    note_made(self, transport);
    pco_transport_abort(transport);
}

static void connection_made_may_end_the_connection(void **state)
{
    (void)state;
    protocol.at[MADE] = close_now;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    assert_string_equal(seen.log, "resolving >1.1.1.1 made done:OK");
    assert_string_equal(protocol.log, "made lost");
    assert_int_equal(count_open(), 0);
}

static recorder successor;

static void hand_over(recorder *self, pco_transport *transport)
{
    (void)self;
    assert_int_equal(pco_transport_set_protocol(transport, &successor.protocol), 0);
}

/* The one that was made may be gone. */
static void the_protocol_that_is_told_is_the_transport_s(void **state)
{
    (void)state;
    recorder_init(&successor, false);
    protocol.at[MADE] = hand_over;
    seen.expected = &successor.protocol;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    assert_done(0);
    pco_transport_abort(seen.transport);
    run_turns(loop, 2);
    assert_int_equal(successor.counts[LOST], 1);
    recorder_free(&successor);
}

static void a_factory_that_refuses_is_an_error(void **state)
{
    (void)state;
    seen.refuses = true;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    assert_done(PCO_EINVAL);
    assert_string_equal(seen.error.message, "connect to example.com port 80: protocol_factory "
                                            "returned no protocol");
}

/* ---- Order and time ---- */

static void assert_order(int interleave, const char *wanted)
{
    options.interleave = interleave;
    begin_with("::1 ::2 ::3 1.1.1.1 2.2.2.2");
    const char *const all[] = {"::1", "::2", "::3", "1.1.1.1", "2.2.2.2"};
    for (unsigned tried = 0; tried < 5; tried++) {
        for (size_t i = 0; i < 5; i++) {
            if (find(all[i]) != NULL) {
                ends(all[i], PCO_ECONNREFUSED);
                break;
            }
        }
    }
    assert_string_equal(seen.log, wanted);
    assert_done(PCO_ECONNREFUSED);
}

static void families_alternate(void **state)
{
    (void)state;
    assert_order(0, "resolving >::1 !::1 >1.1.1.1 !1.1.1.1 >::2 !::2 >2.2.2.2 !2.2.2.2 >::3 !::3 "
                    "done:PCO_ECONNREFUSED");
}

static void so_many_of_the_first_family_come_first(void **state)
{
    (void)state;
    assert_order(2, "resolving >::1 !::1 >::2 !::2 >1.1.1.1 !1.1.1.1 >::3 !::3 >2.2.2.2 !2.2.2.2 "
                    "done:PCO_ECONNREFUSED");
}

static void the_system_s_order_may_be_kept(void **state)
{
    (void)state;
    assert_order(-1, "resolving >::1 !::1 >::2 !::2 >::3 !::3 >1.1.1.1 !1.1.1.1 >2.2.2.2 !2.2.2.2 "
                     "done:PCO_ECONNREFUSED");
}

static void the_next_begins_when_the_one_before_is_silent_for_a_while(void **state)
{
    (void)state;
    begin_with("1.1.1.1 2.2.2.2 3.3.3.3");
    fake_advance(loop, 0.24);
    run_turns(loop, 2);
    assert_string_equal(seen.log, "resolving >1.1.1.1");
    fake_advance(loop, 0.01);
    run_turns(loop, 2);
    assert_string_equal(seen.log, "resolving >1.1.1.1 >2.2.2.2");
    assert_non_null(find("1.1.1.1"));
    fake_advance(loop, 0.25);
    run_turns(loop, 2);
    assert_string_equal(seen.log, "resolving >1.1.1.1 >2.2.2.2 >3.3.3.3");
    ends("2.2.2.2", 0);
    assert_string_equal(seen.log, "resolving >1.1.1.1 >2.2.2.2 >3.3.3.3 made done:OK");
    assert_done(0);
    assert_int_equal(fake_in_flight(loop), 1);
}

static void a_failure_begins_the_next_at_once(void **state)
{
    (void)state;
    begin_with("1.1.1.1 2.2.2.2 3.3.3.3");
    ends("1.1.1.1", PCO_ENETUNREACH);
    assert_string_equal(seen.log, "resolving >1.1.1.1 !1.1.1.1 >2.2.2.2");
    fake_advance(loop, 0.24);
    run_turns(loop, 2);
    assert_null(find("3.3.3.3"));
    fake_advance(loop, 0.01);
    run_turns(loop, 2);
    ends("3.3.3.3", 0);
    assert_done(0);
}

static void without_happy_eyeballs_one_comes_after_the_other(void **state)
{
    (void)state;
    options.happy_eyeballs_delay = INFINITY;
    begin_with("1.1.1.1 2.2.2.2");
    fake_advance(loop, 1000);
    run_turns(loop, 2);
    assert_string_equal(seen.log, "resolving >1.1.1.1");
    ends("1.1.1.1", PCO_ETIMEDOUT);
    ends("2.2.2.2", 0);
    assert_done(0);
}

static void no_more_than_eight_are_under_way(void **state)
{
    (void)state;
    begin_with("1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9 1.1.1.10");
    for (unsigned i = 0; i < 20; i++) {
        fake_advance(loop, 0.25);
        run_turns(loop, 2);
    }
    assert_int_equal(fake_in_flight(loop), 8);
    assert_null(find("1.1.1.9"));
    fake_advance(loop, 5);
    run_turns(loop, 3);
    assert_non_null(find("1.1.1.9"));
    assert_null(find("1.1.1.1"));
    assert_non_null(find("1.1.1.2"));
    assert_int_equal(count_open(), 8);
    ends("1.1.1.9", 0);
    assert_done(0);
}

/* ---- Sentences ---- */

static void addresses_that_failed_are_named_by_reason(void **state)
{
    (void)state;
    begin_with("1.1.1.1 2.2.2.2 3.3.3.3");
    ends("1.1.1.1", PCO_ECONNREFUSED);
    ends("2.2.2.2", PCO_ETIMEDOUT);
    ends("3.3.3.3", PCO_ECONNREFUSED);
    assert_done(PCO_ECONNREFUSED);
    assert_int_equal(seen.error.system_code, FAKE_SYSTEM_CODE(PCO_ECONNREFUSED));
    assert_string_equal(seen.error.message,
                        "connect to example.com port 80: connection refused (1.1.1.1:80, "
                        "3.3.3.3:80); timed out (2.2.2.2:80)");
    assert_int_equal(seen.factory_calls, 0);
}

static void all_errors_names_one_by_one(void **state)
{
    (void)state;
    options.all_errors = PCO_ON;
    begin_with("1.1.1.1 2.2.2.2");
    ends("1.1.1.1", PCO_ECONNREFUSED);
    ends("2.2.2.2", PCO_ENETUNREACH);
    assert_done(PCO_ENETUNREACH);
    assert_string_equal(seen.error.message,
                        "connect to example.com port 80: 1.1.1.1:80: connection refused; "
                        "2.2.2.2:80: network unreachable");
}

static void a_name_that_does_not_resolve_is_told(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    answer("");
    run_turns(loop, 2);
    assert_done(PCO_ENONAME);
    assert_string_equal(seen.error.message, "resolve example.com: the name does not resolve");
}

static void a_literal_address_of_another_family_is_called_that(void **state)
{
    (void)state;
    options.host = "1.2.3.4";
    options.family = PCO_AF_INET6;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 2);
    assert_done(PCO_ENONAME);
    assert_string_equal(seen.error.message,
                        "resolve 1.2.3.4: it is an IPv4 address, and family asks for IPv6");
}

static void a_service_in_digits_may_begin_with_zeros(void **state)
{
    (void)state;
    options.port = 0;
    options.service = "0000000000080";
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    answer("1.1.1.1");
    run_turns(loop, 1);
    assert_non_null(find("1.1.1.1"));
    cancel();
    run_turns(loop, 2);
    assert_done(PCO_ECANCELED);
    assert_string_equal(seen.error.message, "connect to example.com port 80: it was canceled");
}

static void addresses_of_another_family_are_dropped(void **state)
{
    (void)state;
    options.family = PCO_AF_INET6;
    begin_with("1.1.1.1 ::5");
    assert_int_equal(seen.family, PCO_AF_INET6);
    assert_string_equal(seen.log, "resolving >::5");
    ends("::5", 0);
    assert_done(0);
}

static void the_resolver_s_error_is_passed_on(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    pco_error error = {.code = PCO_ERESOLVE, .system_code = 7, .message = "no server answers"};
    pco_lookup_answer(seen.lookup, NULL, 0, &error);
    seen.lookup = NULL;
    run_turns(loop, 2);
    assert_done(PCO_ERESOLVE);
    assert_int_equal(seen.error.system_code, 7);
    assert_string_equal(seen.error.message, "no server answers");
}

static void a_resolver_s_error_without_a_message_gets_one(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    pco_error error = {.code = PCO_ERESOLVE};
    pco_lookup_answer(seen.lookup, NULL, 0, &error);
    seen.lookup = NULL;
    run_turns(loop, 2);
    assert_done(PCO_ERESOLVE);
    assert_string_equal(seen.error.message, "resolve example.com: name resolution failed");
}

static void a_resolver_s_code_that_is_none_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    pco_error error = {.code = 5, .message = "five"};
    pco_lookup_answer(seen.lookup, NULL, 0, &error);
    seen.lookup = NULL;
    run_turns(loop, 2);
    assert_done(PCO_EUNKNOWN);
    assert_int_equal(seen.error.code, PCO_EUNKNOWN);
    assert_string_equal(seen.error.message, "five");
}

/* ---- Where it comes from ---- */

static void it_connects_from_the_local_address_of_the_family(void **state)
{
    (void)state;
    options.local_host = "9.9.9.9";
    options.local_port = 1234;
    begin_with("::1 1.1.1.1");
    assert_string_equal(seen.log, "resolving >::1 !::1 >1.1.1.1");
    pco_address local = address_at("9.9.9.9", 1234);
    assert_true(pco_address_equal(&trying("1.1.1.1")->name, &local));
    ends("1.1.1.1", PCO_ECONNREFUSED);
    assert_done(PCO_ECONNREFUSED);
    assert_string_equal(
        seen.error.message,
        "connect to example.com port 80: local_host has no address of this family: address not "
        "available on this machine ([::1]:80); connection refused (1.1.1.1:80)");
}

static void a_local_address_in_use_fails_the_attempt(void **state)
{
    (void)state;
    options.local_host = "9.9.9.9";
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    fake_of(loop)->bind_error = PCO_EADDRINUSE;
    answer("1.1.1.1");
    run_turns(loop, 2);
    assert_done(PCO_EADDRINUSE);
    assert_non_null(
        strstr(seen.error.message, "bind to the local address: address already in use"));
}

static void out_of_descriptors_is_told(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    fake_of(loop)->open_error = PCO_EMFILE;
    answer("1.1.1.1");
    run_turns(loop, 2);
    assert_done(PCO_EMFILE);
    assert_non_null(strstr(seen.error.message, "open a socket: too many open files"));
}

static void prepare_socket_may_end_an_attempt(void **state)
{
    (void)state;
    options.prepare_socket = prepare_socket;
    seen.prepare_code = PCO_EACCES;
    begin_with("1.1.1.1 ::1");
    assert_done(PCO_EACCES);
    assert_string_equal(seen.log, "resolving >1.1.1.1 prepare4 !1.1.1.1 >::1 prepare6 !::1 "
                                  "done:PCO_EACCES");
    assert_non_null(strstr(seen.error.message, "prepare_socket: permission denied"));
}

static void what_prepare_socket_returns_may_be_no_code_of_ours(void **state)
{
    (void)state;
    options.prepare_socket = prepare_socket;
    seen.prepare_code = 13; /* an errno, say */
    begin_with("1.1.1.1");
    assert_done(PCO_EUNKNOWN);
    assert_int_equal(seen.error.code, PCO_EUNKNOWN);
    assert_non_null(strstr(seen.error.message, "prepare_socket: unknown error"));
}

/* ---- Itself ---- */

/* The attempt is connected, and its peer has its own name. */
static void meets_itself(const char *host)
{
    fake_socket *sock = trying(host);
    sock->name = sock->peer = *sock->out.given.with.address;
    ends(host, 0);
}

static void who_meets_itself_tries_again(void **state)
{
    (void)state;
    begin_with("127.0.0.1");
    meets_itself("127.0.0.1");
    assert_int_equal(seen.completions, 0);
    ends("127.0.0.1", 0);
    assert_done(0);
}

static void who_always_meets_itself_is_refused(void **state)
{
    (void)state;
    begin_with("127.0.0.1");
    meets_itself("127.0.0.1");
    meets_itself("127.0.0.1");
    meets_itself("127.0.0.1");
    assert_done(PCO_ECONNREFUSED);
    assert_non_null(strstr(seen.error.message, "nobody but the socket itself"));
}

static void a_port_that_sockets_are_not_given_is_nobody_s_own(void **state)
{
    (void)state;
    fake_of(loop)->port_not_given = 80;
    begin_with("127.0.0.1");
    meets_itself("127.0.0.1");
    assert_done(0);
}

static int bind_as_the_user_likes(pco_socket sock, int family, void *context)
{
    (void)sock;
    (void)family;
    (void)context;
    return 0;
}

static void whoever_prepares_the_socket_may_give_it_any_port(void **state)
{
    (void)state;
    fake_of(loop)->port_not_given = 80;
    options.prepare_socket = bind_as_the_user_likes;
    begin_with("127.0.0.1");
    meets_itself("127.0.0.1");
    assert_int_equal(seen.completions, 0);
    ends("127.0.0.1", 0);
    assert_done(0);
}

/* ---- A socket of the user's ---- */

static void begin_with_sock(void)
{
    options.host = NULL;
    options.port = 0;
    options.sock = fake_socket_new(loop);
    assert_int_equal(begin(NULL), 0);
}

static void a_socket_becomes_a_connection_in_a_turn_of_its_own(void **state)
{
    (void)state;
    begin_with_sock();
    assert_string_equal(seen.log, "");
    run_turns(loop, 1);
    assert_string_equal(seen.log, "made done:OK");
    assert_done(0);
}

static void a_socket_is_closed_if_it_is_canceled_first(void **state)
{
    (void)state;
    begin_with_sock();
    cancel();
    run_turns(loop, 2);
    assert_done(PCO_ECANCELED);
    assert_int_equal(seen.factory_calls, 0);
}

static void a_socket_that_cannot_be_attached_stays_the_caller_s(void **state)
{
    (void)state;
    options.host = NULL;
    options.port = 0;
    options.sock = fake_socket_new(loop);
    fake_of(loop)->attach_error = PCO_ENOMEM;
    assert_int_equal(begin(NULL), PCO_ENOMEM);
    run_turns(loop, 2);
    assert_int_equal(seen.completions, 0);
    assert_int_equal(count_open(), 1);
}

static void an_accepted_socket_becomes_a_connection(void **state)
{
    (void)state;
    options.host = NULL;
    options.port = 0;
    assert_int_equal(pco_loop_connect_accepted_socket(loop, &options, connected, &seen, NULL, NULL),
                     PCO_EINVAL);
    options.sock = fake_socket_new(loop);
    options.interleave = 1;
    assert_int_equal(pco_loop_connect_accepted_socket(loop, &options, connected, &seen, NULL, NULL),
                     PCO_EINVAL);
    options.interleave = 0;
    assert_int_equal(pco_loop_connect_accepted_socket(loop, &options, connected, &seen, NULL, NULL),
                     0);
    run_turns(loop, 1);
    assert_string_equal(seen.log, "made done:OK");
}

/* ---- Canceling ---- */

static void canceled_while_looking_up_the_resolver_hears_of_it(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    assert_non_null(seen.lookup);
    cancel();
    assert_int_equal(seen.lookups_canceled, 1);
    run_turns(loop, 1);
    assert_done(PCO_ECANCELED);
}

static void canceled_before_the_first_turn(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    cancel();
    run_turns(loop, 1);
    assert_done(PCO_ECANCELED);
    assert_string_equal(seen.log, "done:PCO_ECANCELED");
}

static void canceled_while_connecting_every_socket_is_closed(void **state)
{
    (void)state;
    begin_with("1.1.1.1 2.2.2.2");
    fake_advance(loop, 0.25);
    run_turns(loop, 2);
    cancel();
    run_turns(loop, 2);
    assert_done(PCO_ECANCELED);
    cancel();
    run_turns(loop, 2);
}

static void where_the_system_is_slow_to_cancel_the_completion_does_not_wait(void **state)
{
    (void)state;
    fake_of(loop)->hold_cancels = true;
    begin_with("1.1.1.1");
    cancel();
    run_turns(loop, 2);
    assert_int_equal(seen.completions, 1);
    assert_int_equal(count_open(), 1);
    fake_of(loop)->hold_cancels = false;
    run_turns(loop, 3);
    assert_int_equal(count_open(), 0);
}

static void the_loser_may_connect_late_and_is_closed(void **state)
{
    (void)state;
    begin_with("1.1.1.1 2.2.2.2");
    fake_advance(loop, 0.25);
    run_turns(loop, 2);
    assert_true(fake_decide(trying("1.1.1.1"), PCO__OP_CONNECT, 0, SIZE_MAX));
    assert_true(fake_decide(trying("2.2.2.2"), PCO__OP_CONNECT, 0, SIZE_MAX));
    run_turns(loop, 3);
    assert_done(0);
    assert_int_equal(protocol.counts[MADE], 1);
}

static void progress_may_cancel(void **state)
{
    (void)state;
    static const int stages[] = {PCO_CONNECTION_RESOLVING, PCO_CONNECTION_CONNECTING,
                                 PCO_CONNECTION_FAILED};
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        pco_request_release(seen.request);
        memset(&seen, 0, sizeof seen);
        seen.expected = &protocol.protocol;
        seen.cancel_at = stages[i];
        assert_int_equal(begin(NULL), 0);
        run_turns(loop, 1);
        if (seen.lookup != NULL) {
            answer("1.1.1.1 2.2.2.2");
            run_turns(loop, 2);
        }
        if (find("1.1.1.1") != NULL) {
            ends("1.1.1.1", PCO_ECONNREFUSED);
        }
        run_turns(loop, 1);
        assert_done(PCO_ECANCELED);
    }
}

static void prepare_socket_may_cancel(void **state)
{
    (void)state;
    options.prepare_socket = prepare_socket;
    seen.cancels_in_prepare = true;
    begin_with("1.1.1.1 2.2.2.2");
    run_turns(loop, 1);
    assert_done(PCO_ECANCELED);
}

static void what_is_canceled_in_the_factory_comes_true_all_the_same(void **state)
{
    (void)state;
    seen.cancels_in_factory = true;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    assert_done(0);
}

/* ---- Time ---- */

static void the_time_limit_is_for_all_of_it(void **state)
{
    (void)state;
    options.connect_timeout = 5;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    fake_advance(loop, 3);
    answer("1.1.1.1");
    run_turns(loop, 2);
    fake_advance(loop, 1.9);
    run_turns(loop, 2);
    assert_int_equal(seen.completions, 0);
    fake_advance(loop, 0.1);
    run_turns(loop, 3);
    assert_done(PCO_ETIMEDOUT);
    assert_string_equal(seen.error.message, "connect to example.com port 80: timed out after 5 "
                                            "seconds (connect_timeout), waiting for an answer");
}

static void names_that_take_too_long_are_given_up(void **state)
{
    (void)state;
    options.connect_timeout = 5;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    fake_advance(loop, 5);
    run_turns(loop, 2);
    assert_int_equal(seen.lookups_canceled, 1);
    assert_done(PCO_ETIMEDOUT);
    assert_non_null(strstr(seen.error.message, "looking up names"));
}

static void a_connection_that_is_made_has_no_limit_any_more(void **state)
{
    (void)state;
    options.connect_timeout = 5;
    begin_with("1.1.1.1");
    ends("1.1.1.1", 0);
    fake_advance(loop, 100);
    run_turns(loop, 2);
    assert_done(0);
    assert_string_equal(protocol.log, "made");
}

/* ---- The loop's end ---- */

static void the_loop_may_be_freed_at_each_step(void **state)
{
    (void)state;
    for (unsigned step = 0; step < 5; step++) {
        if (loop == NULL) {
            memset(&seen, 0, sizeof seen);
            seen.expected = &protocol.protocol;
            loop = fake_loop_new();
            assert_non_null(loop);
            fake_of(loop)->manual = true;
            assert_int_equal(pco_loop_set_resolver(loop, keep_question, NULL), 0);
        }
        assert_int_equal(begin(NULL), 0);
        if (step > 0) {
            run_turns(loop, 1);
        }
        if (step > 1) {
            answer("1.1.1.1 2.2.2.2");
        }
        if (step > 2) {
            run_turns(loop, 2);
        }
        if (step > 3) {
            fake_advance(loop, 0.25);
            run_turns(loop, 2);
        }
        free_loop();
        assert_int_equal(seen.completions, 1);
        assert_int_equal(seen.error.code, PCO_ECANCELED);
    }
}

static void a_resolver_may_answer_when_the_loop_is_gone(void **state)
{
    (void)state;
    assert_int_equal(begin(NULL), 0);
    run_turns(loop, 1);
    pco_lookup_set_canceled(seen.lookup, NULL, NULL);
    free_loop();
    assert_int_equal(seen.error.code, PCO_ECANCELED);
    assert_true(pco_lookup_is_canceled(seen.lookup));
    answer("1.1.1.1");
}

static void nothing_is_begun_while_the_loop_is_freed(void **state)
{
    (void)state;
    loop->freeing = true;
    assert_int_equal(begin(NULL), PCO_ECLOSED);
    assert_int_equal(pco_loop_set_resolver(loop, NULL, NULL), PCO_ECLOSED);
    loop->freeing = false;
}

/* ---- Memory ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    pco_address address = address_at("1.1.1.1", 1);
    options.local_host = "9.9.9.9";
    for (size_t nth = 1; seen.transport == NULL; nth++) {
        assert_true(nth < 100);
        pco_request_release(seen.request);
        memset(&seen, 0, sizeof seen);
        seen.expected = &protocol.protocol;
        memory_fail(nth, false);
        int code = begin(NULL);
        for (unsigned turn = 0; code == 0 && turn < 5; turn++) {
            run_turns(loop, 1);
            pco_lookup *lookup = seen.lookup;
            if (lookup != NULL) {
                seen.lookup = NULL;
                pco_lookup_answer(lookup, &address, 1, NULL);
            }
            if (find("1.1.1.1") != NULL) {
                assert_true(fake_decide(find("1.1.1.1"), PCO__OP_CONNECT, 0, SIZE_MAX));
            }
        }
        assert_int_equal(memory_has_failed(), seen.transport == NULL);
        memory_fail(0, false);
        assert_true(code == 0 || code == PCO_ENOMEM);
        assert_int_equal(seen.completions, code == 0);
        assert_int_equal(seen.error.code, code == 0 && seen.transport == NULL ? PCO_ENOMEM : 0);
        assert_int_equal(count_open(), seen.transport != NULL);
    }
}

/* ---- Options ---- */

static void assert_refused(const char *words)
{
    pco_error error;
    assert_int_equal(begin(&error), PCO_EINVAL);
    if (strstr(error.message, words) == NULL) {
        fail_msg("'%s' is not in '%s'", words, error.message);
    }
    options = (pco_connection_options){.size = sizeof options,
                                       .protocol_factory = make_protocol,
                                       .host = "example.com",
                                       .port = 80};
}

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const pco_protocol_methods no_size = {.size = 0};
    pco_protocol broken = {.methods = &no_size};
    pco_address addresses[1] = {{0}};
    pco_error error;
    assert_int_equal(pco_loop_create_connection(loop, NULL, connected, NULL, NULL, &error),
                     PCO_EINVAL);
    assert_int_equal(pco_loop_create_connection(loop, &options, NULL, NULL, NULL, &error),
                     PCO_EINVAL);
    options.size = 0;
    assert_refused("size");
    options.size = sizeof options + 1;
    assert_refused("size");
    options.protocol_factory = NULL;
    assert_refused("one of protocol_factory and protocol");
    options.protocol = &protocol.protocol;
    assert_refused("one of protocol_factory and protocol");
    options.protocol_factory = NULL;
    options.protocol = &broken;
    assert_refused("no table of methods");
    options.port = 0;
    assert_refused("port or service is required");
    options.port = 65536;
    assert_refused("65536");
    options.service = "http";
    assert_refused("port and service");
    options.port = 0;
    options.service = "65536";
    assert_refused("65536");
    options.port = 0;
    options.service = "0";
    assert_refused("service is 0, not from 1 to 65535");
    options.sock = 5;
    assert_refused("at the same time");
    options.addresses = addresses;
    options.addresses_count = 1;
    assert_refused("at the same time");
    options.host = NULL;
    options.port = 0;
    options.addresses = addresses;
    assert_refused("together");
    options.host = NULL;
    options.port = 0;
    options.addresses = addresses;
    options.addresses_count = 1;
    assert_refused("none of IPv4 or IPv6");
    addresses[0] = address_at("1.1.1.1", 0);
    options.host = NULL;
    options.port = 0;
    options.addresses = addresses;
    options.addresses_count = 1;
    assert_refused("addresses[0] has no port");
    options.host = NULL;
    options.port = 0;
    options.sock = 5;
    options.local_port = 1;
    assert_refused("local_port and sock");
    options.sock = 5;
    options.has_sock = PCO_OFF;
    assert_refused("has_sock");
    options.local_port = -1;
    assert_refused("local_port");
    options.family = 99;
    assert_refused("family");
    options.flags = 0x4000;
    assert_refused("flags");
    options.proto = -1;
    assert_refused("proto");
    options.interleave = -2;
    assert_refused("interleave");
    options.happy_eyeballs_delay = -1;
    assert_refused("happy_eyeballs_delay");
    options.connect_timeout = NAN;
    assert_refused("connect_timeout");
    options.close_timeout = -1;
    assert_refused("close_timeout");
    options.all_errors = 3;
    assert_refused("all_errors");
    options.keep_alive = -1;
    assert_refused("keep_alive");
    options.keep_alive_idle = 60;
    assert_refused("keep_alive_idle is only meaningful where keep_alive is PCO_ON");
    options.keep_alive = PCO_OFF;
    options.keep_alive_interval = 5;
    assert_refused("keep_alive_interval is only meaningful");
    options.keep_alive_count = 5;
    assert_refused("keep_alive_count is only meaningful");
    options.keep_alive = PCO_ON;
    options.keep_alive_idle = NAN;
    assert_refused("keep_alive_idle");
    options.keep_alive = PCO_ON;
    options.keep_alive_idle = 32767.5;
    assert_refused("keep_alive_idle is 32767.5, more than 32767 seconds");
    options.keep_alive = PCO_ON;
    options.keep_alive_interval = -1;
    assert_refused("keep_alive_interval");
    options.keep_alive = PCO_ON;
    options.keep_alive_count = -1;
    assert_refused("keep_alive_count is -1");
    options.keep_alive = PCO_ON;
    options.keep_alive_count = 128;
    assert_refused("keep_alive_count is 128");
    options.user_timeout = INFINITY;
    assert_refused("user_timeout is infinite");
    options.user_timeout = NAN;
    assert_refused("user_timeout");
    options.user_timeout = 2147484;
    assert_refused("user_timeout");
    options.server_hostname = "example.com";
    assert_refused("server_hostname is only meaningful with ssl");
    options.ssl_handshake_timeout = 1;
    assert_refused("ssl_handshake_timeout is only meaningful with ssl");
    run_turns(loop, 2);
    assert_int_equal(seen.completions, 0);
}

static void tls_is_what_the_library_was_built_with(void **state)
{
    (void)state;
    pco_ssl_context *unused;
    pco_error error = {0};
    bool has_tls = pco_ssl_context_new(NULL, &unused, NULL) != PCO_ENOTSUP;
    options.tls = PCO_ON;
    int code = begin(&error);
    if (has_tls && code == PCO_ENOENT) {
        print_message("skipped: this system has no certificates of whom it trusts\n");
        skip();
    }
    assert_int_equal(code, has_tls ? 0 : PCO_ENOTSUP);
    assert_true(has_tls || strstr(error.message, "built without TLS") != NULL);
}

static void what_the_system_lacks_is_told_at_once(void **state)
{
    static const char *const names[] = {"keep_alive_idle", "keep_alive_interval",
                                        "keep_alive_count", "user_timeout"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pco_error error;
        fake_lacks = names[i];
        options.keep_alive = PCO_ON;
        options.keep_alive_idle = i == 0 ? 1 : 0;
        options.keep_alive_interval = i == 1 ? 1 : 0;
        options.keep_alive_count = i == 2 ? 1 : 0;
        options.user_timeout = i == 3 ? 1 : 0;
        assert_int_equal(begin(&error), PCO_ENOTSUP);
        assert_non_null(strstr(error.message, names[i]));
        pco_connection_options accepted = options;
        accepted.host = NULL;
        accepted.port = 0;
        accepted.sock = fake_socket_new(loop);
        assert_int_equal(
            pco_loop_connect_accepted_socket(loop, &accepted, connected, &seen, NULL, &error),
            PCO_ENOTSUP);
        assert_non_null(strstr(error.message, names[i]));
    }
    fake_lacks = NULL;
    run_turns(loop, 2);
    assert_int_equal(seen.completions, 0);
}

static void every_attempt_has_what_was_asked_for(void **state)
{
    (void)state;
    options.keep_alive = PCO_ON;
    options.keep_alive_idle = 32767;
    options.keep_alive_interval = 2.5;
    options.keep_alive_count = 127;
    options.user_timeout = 2147483;
    begin_with("1.1.1.1 2.2.2.2");
    ends("1.1.1.1", PCO_ECONNREFUSED);
    const pco__socket_options *asked = &trying("2.2.2.2")->options;
    assert_int_equal(asked->keep_alive, PCO_ON);
    assert_true(asked->keep_alive_idle >= 32767);
    assert_true(asked->keep_alive_interval >= 2.5);
    assert_int_equal(asked->keep_alive_count, 127);
    assert_true(asked->user_timeout >= 2147483);
    ends("2.2.2.2", 0);
    assert_done(0);
}

static void what_keeps_a_connection_alive_is_allowed_with_an_accepted_socket(void **state)
{
    (void)state;
    options.host = NULL;
    options.port = 0;
    options.sock = fake_socket_new(loop);
    options.keep_alive = PCO_ON;
    options.keep_alive_count = 3;
    options.user_timeout = 7;
    assert_int_equal(pco_loop_connect_accepted_socket(loop, &options, connected, &seen, NULL, NULL),
                     0);
    assert_int_equal(fake_socket_of(loop, options.sock)->options.keep_alive_count, 3);
    assert_true(fake_socket_of(loop, options.sock)->options.user_timeout >= 7);
    run_turns(loop, 2);
    assert_done(0);
}

/* ---- Any order ---- */

/* One random life of a connection with three addresses. */
static void live_once(uint64_t seed)
{
    uint64_t dice = seed;
    static const char *const hosts[] = {"1.1.1.1", "2.2.2.2", "::3"};
    static const int errors[] = {0, PCO_ECONNREFUSED, PCO_ETIMEDOUT, PCO_ECANCELED};
    memset(&seen, 0, sizeof seen);
    seen.expected = &protocol.protocol;
    fake_of(loop)->hold_cancels = chance(&dice, 2) != 0;
    fake_of(loop)->cancels_first = chance(&dice, 2) != 0;
    seen.refuses = chance(&dice, 8) == 0;
    seen.cancel_at = chance(&dice, 8) == 0 ? (int)chance(&dice, 4) : 0;
    options.connect_timeout = chance(&dice, 3) == 0 ? 1 : 0;
    options.interleave = (int)chance(&dice, 3) - 1;
    assert_int_equal(begin(NULL), 0);
    for (unsigned step = 0; step < 40 && seen.completions == 0; step++) {
        uint32_t what = chance(&dice, 12);
        const fake_socket *sock = find(hosts[chance(&dice, 3)]);
        if (what == 0) {
            cancel();
        } else if (what < 3) {
            fake_advance(loop, 0.125 * (1 + chance(&dice, 3)));
        } else if (what < 6 && seen.lookup != NULL) {
            answer(what == 3 ? "" : "1.1.1.1 2.2.2.2 ::3");
        } else if (what < 10 && sock != NULL) {
            fake_decide((fake_socket *)(uintptr_t)sock, PCO__OP_CONNECT, errors[chance(&dice, 3)],
                        SIZE_MAX);
        } else {
            run_turns(loop, 1);
        }
    }
    cancel();
    fake_of(loop)->hold_cancels = false;
    run_turns(loop, 5);
    assert_int_equal(seen.completions, 1);
    assert_int_equal(protocol.counts[MADE], seen.transport != NULL);
    if (protocol.counts[MADE] != 0) {
        pco_transport_abort(seen.transport);
        run_turns(loop, 2);
    }
    assert_int_equal(count_open(), 0);
    assert_null(strstr(seen.log, "WRONG"));
    assert_false(seen.inside);
    pco_request_release(seen.request);
    seen.request = NULL;
    if (seen.lookup != NULL) {
        fail_msg("seed %u: a look-up is left", (unsigned)seed);
    }
    recorder_free(&protocol);
    recorder_init(&protocol, false);
}

static void whatever_the_order_it_is_told_once_and_nothing_is_left(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        live_once(seed * 0x9e3779b97f4a7c15);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_connects_and_tells_directly_after_connection_made),
        TEST(literal_addresses_are_not_looked_up),
        TEST(no_host_is_this_machine),
        TEST(addresses_need_no_look_up_and_are_copied),
        TEST(a_protocol_may_be_given_instead_of_a_factory),
        TEST(connection_made_may_end_the_connection),
        TEST(the_protocol_that_is_told_is_the_transport_s),
        TEST(a_factory_that_refuses_is_an_error),
        TEST(families_alternate),
        TEST(so_many_of_the_first_family_come_first),
        TEST(the_system_s_order_may_be_kept),
        TEST(the_next_begins_when_the_one_before_is_silent_for_a_while),
        TEST(a_failure_begins_the_next_at_once),
        TEST(without_happy_eyeballs_one_comes_after_the_other),
        TEST(no_more_than_eight_are_under_way),
        TEST(addresses_that_failed_are_named_by_reason),
        TEST(all_errors_names_one_by_one),
        TEST(a_name_that_does_not_resolve_is_told),
        TEST(tls_is_what_the_library_was_built_with),
        TEST(what_the_system_lacks_is_told_at_once),
        TEST(every_attempt_has_what_was_asked_for),
        TEST(what_keeps_a_connection_alive_is_allowed_with_an_accepted_socket),
        TEST(a_literal_address_of_another_family_is_called_that),
        TEST(a_service_in_digits_may_begin_with_zeros),
        TEST(addresses_of_another_family_are_dropped),
        TEST(the_resolver_s_error_is_passed_on),
        TEST(a_resolver_s_error_without_a_message_gets_one),
        TEST(a_resolver_s_code_that_is_none_is_unknown),
        TEST(it_connects_from_the_local_address_of_the_family),
        TEST(a_local_address_in_use_fails_the_attempt),
        TEST(out_of_descriptors_is_told),
        TEST(prepare_socket_may_end_an_attempt),
        TEST(what_prepare_socket_returns_may_be_no_code_of_ours),
        TEST(who_meets_itself_tries_again),
        TEST(who_always_meets_itself_is_refused),
        TEST(a_port_that_sockets_are_not_given_is_nobody_s_own),
        TEST(whoever_prepares_the_socket_may_give_it_any_port),
        TEST(a_socket_becomes_a_connection_in_a_turn_of_its_own),
        TEST(a_socket_is_closed_if_it_is_canceled_first),
        TEST(a_socket_that_cannot_be_attached_stays_the_caller_s),
        TEST(an_accepted_socket_becomes_a_connection),
        TEST(canceled_while_looking_up_the_resolver_hears_of_it),
        TEST(canceled_before_the_first_turn),
        TEST(canceled_while_connecting_every_socket_is_closed),
        TEST(where_the_system_is_slow_to_cancel_the_completion_does_not_wait),
        TEST(the_loser_may_connect_late_and_is_closed),
        TEST(progress_may_cancel),
        TEST(prepare_socket_may_cancel),
        TEST(what_is_canceled_in_the_factory_comes_true_all_the_same),
        TEST(the_time_limit_is_for_all_of_it),
        TEST(names_that_take_too_long_are_given_up),
        TEST(a_connection_that_is_made_has_no_limit_any_more),
        TEST(the_loop_may_be_freed_at_each_step),
        TEST(a_resolver_may_answer_when_the_loop_is_gone),
        TEST(nothing_is_begun_while_the_loop_is_freed),
        TEST(every_allocation_may_fail),
        TEST(options_that_make_no_sense_are_refused),
        TEST(whatever_the_order_it_is_told_once_and_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
