/* SPDX-License-Identifier: MIT */
/*
 * Goal: a name that stands for several addresses is served on those that this machine has; a
 * service stands for its port.
 * Method: getaddrinfo answers for one name, and one service, as the test says, and as the system
 * does for all others.
 */
#define _GNU_SOURCE 1

#include "behaviour_create.h"
#include "system/network.h"

#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define NAME "several.test" /* never a real one (RFC 6761) */

/* What NAME stands for, NULL after the last. */
static const char *const *meaning;

/* A service, and its port in digits. */
#define SERVICE "portico-test"
static char port_of_service[8];

#define MOST 3

static struct {
    struct addrinfo found;
    struct sockaddr_in address;
} answers[MOST];

/* ---- The system's calls, but for the name ---- */

typedef int (*getaddrinfo_call)(const char *, const char *, const struct addrinfo *,
                                struct addrinfo **);
typedef void (*freeaddrinfo_call)(struct addrinfo *);

/* C does not convert pointers to objects into pointers to functions; POSIX lets them be copied. */
static void find_next(const char *name, void *call, size_t size)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL) {
        abort();
    }
    memcpy(call, &found, size);
}

static int system_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                              struct addrinfo **found)
{
    getaddrinfo_call next;

    find_next("getaddrinfo", &next, sizeof next);
    return next(node, service, hints, found);
}

static void system_freeaddrinfo(struct addrinfo *found)
{
    freeaddrinfo_call next;

    find_next("freeaddrinfo", &next, sizeof next);
    next(found);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    if (service != NULL && strcmp(service, SERVICE) == 0) {
        service = port_of_service;
    }
    if (node == NULL || strcmp(node, NAME) != 0) {
        return system_getaddrinfo(node, service, hints, found);
    }
    memset(answers, 0, sizeof answers);
    for (size_t i = 0; i < MOST && meaning[i] != NULL; i++) {
        struct addrinfo *numeric = NULL;
        int status = system_getaddrinfo(meaning[i], service, hints, &numeric);
        if (status != 0) {
            return status;
        }
        memcpy(&answers[i].address, numeric->ai_addr, sizeof answers[i].address);
        answers[i].found = *numeric;
        answers[i].found.ai_addr = (struct sockaddr *)&answers[i].address;
        answers[i].found.ai_next = meaning[i + 1] != NULL ? &answers[i + 1].found : NULL;
        system_freeaddrinfo(numeric);
    }
    *found = &answers[0].found;
    return 0;
}

void freeaddrinfo(struct addrinfo *found)
{
    if (found != &answers[0].found) {
        system_freeaddrinfo(found);
    }
}

/* ---- The tests ---- */

static pco_server_options options_for(const char *const *addresses)
{
    pco_server_options options = server_options();

    meaning = addresses;
    options.host = NAME;
    options.family = PCO_AF_INET;
    return options;
}

static void assert_only_this_machine_is_served(const char *const *addresses)
{
    pco_server_options options = options_for(addresses);
    serve_with(&options);
    assert_int_equal(pco_server_get_socket_count(at.server), 1);
    assert_host(at.server, 0, "127.0.0.1");
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
    pco_server_free(at.server);
    at.server = NULL;
}

static void an_address_of_a_name_that_is_not_this_machines_is_passed_over(void **state)
{
    static const char *const first[] = {FOREIGN_ADDRESS, "127.0.0.1", NULL};
    static const char *const last[] = {"127.0.0.1", FOREIGN_ADDRESS, NULL};
    static const char *const around[] = {FOREIGN_ADDRESS, "127.0.0.1", FOREIGN_ADDRESS, NULL};

    (void)state;
    assert_only_this_machine_is_served(first);
    assert_only_this_machine_is_served(last);
    assert_only_this_machine_is_served(around);
}

static void a_name_of_which_no_address_is_this_machines_is_refused(void **state)
{
    static const char *const foreign[] = {FOREIGN_ADDRESS, "203.0.113.78", NULL};

    (void)state;
    pco_server_options options = options_for(foreign);
    assert_refused(&options, PCO_EADDRNOTAVAIL, "203.0.113.");
}

/* Each name must have one that works: the other one's does not count. */
static void a_good_name_does_not_make_up_for_a_foreign_one(void **state)
{
    static const char *const foreign[] = {FOREIGN_ADDRESS, NULL};
    static const char *const hosts[] = {"127.0.0.1", NAME};

    (void)state;
    pco_server_options options = options_for(foreign);
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    assert_refused(&options, PCO_EADDRNOTAVAIL, FOREIGN_ADDRESS);
}

static void an_address_that_a_name_has_twice_is_served_once(void **state)
{
    static const char *const twice[] = {"127.0.0.1", "127.0.0.1", FOREIGN_ADDRESS, NULL};

    (void)state;
    assert_only_this_machine_is_served(twice);
}

static void take_free_port(void)
{
    snprintf(port_of_service, sizeof port_of_service, "%d", find_free_port());
}

/* Somebody else on a busy machine may take the port that was free: then it is another. */
#define ATTEMPTS 20

static int serve_at_free_port(pco_server_options *options)
{
    pco_error error = {0};
    int code = PCO_EADDRINUSE;

    for (int i = 0; i < ATTEMPTS && code == PCO_EADDRINUSE; i++) {
        take_free_port();
        code = pco_loop_create_server(at.loop, options, &at.server, &error);
    }
    if (code != 0) {
        fail_msg("%s", error.message);
    }
    return atoi(port_of_service);
}

static void a_service_stands_for_its_port(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2"};

    (void)state;
    pco_server_options options = server_options();
    options.host = quiet_host();
    options.service = SERVICE;
    int port = serve_at_free_port(&options);
    assert_int_equal(port_of(at.server, 0), port);
    pco_address address = address_of(at.server, 0);
    assert_client_comes_through(&address);
    pco_server_free(at.server);
    at.server = NULL;
    options.host = NULL;
    options.hosts = hosts;
    options.hosts_count = 2;
    options.same_port = PCO_ON; /* which has nothing to choose */
    port = serve_at_free_port(&options);
    assert_int_equal(port_of(at.server, 0), port);
    assert_int_equal(port_of(at.server, 1), port);
}

static int created_code;

static void note_created(pco_server *server, const pco_error *error, void *context)
{
    (void)context;
    at.server = server;
    at.closed_calls++;
    created_code = error != NULL ? error->code : 0;
}

static void a_service_is_copied_and_looked_up_elsewhere(void **state)
{
    char name[sizeof SERVICE];

    (void)state;
    pco_server_options options = server_options();
    options.host = quiet_host();
    options.service = name;
    created_code = PCO_EADDRINUSE;
    for (unsigned i = 1; i <= ATTEMPTS && created_code == PCO_EADDRINUSE; i++) {
        take_free_port();
        memcpy(name, SERVICE, sizeof name);
        assert_int_equal(
            pco_loop_create_server_async(at.loop, &options, note_created, NULL, NULL, NULL), 0);
        memset(name, 'x', sizeof name - 1);
        assert_true(reaches(&at.closed_calls, i));
    }
    assert_int_equal(created_code, 0);
    assert_int_equal(port_of(at.server, 0), atoi(port_of_service));
}

static void the_systems_list_of_services_counts(void **state)
{
    const struct servent *known = getservbyname("http", "tcp");
    pco_error error = {0};
    int port = -1;

    (void)state;
    assert_int_equal(pco__system_network.resolve_service("http", &port, &error),
                     known != NULL ? 0 : PCO_ENONAME);
    assert_int_equal(port, known != NULL ? 80 : -1); /* a bare machine has no list */
    assert_int_equal(pco__system_network.resolve_service("no-such-service", &port, &error),
                     PCO_ENONAME);
    assert_string_equal(error.message,
                        "resolve service no-such-service: the name does not resolve");
}

static const struct CMUnitTest tests[] = {
    TEST(an_address_of_a_name_that_is_not_this_machines_is_passed_over),
    TEST(a_name_of_which_no_address_is_this_machines_is_refused),
    TEST(a_good_name_does_not_make_up_for_a_foreign_one),
    TEST(an_address_that_a_name_has_twice_is_served_once),
    TEST(a_service_stands_for_its_port),
    TEST(a_service_is_copied_and_looked_up_elsewhere),
    TEST(the_systems_list_of_services_counts),
};

int main(void)
{
    return run_here("names", tests, sizeof tests / sizeof tests[0]);
}
