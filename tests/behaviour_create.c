/* SPDX-License-Identifier: MIT */
/* behaviour_create.c: see behaviour_create.h. */
#include "behaviour_create.h"

#include "support/memory.h"
#include "system/network.h"
#include "system/platform.h"

void assert_refused(const pco_server_options *options, int code, const char *word)
{
    pco_server *server = (pco_server *)&at; /* must not change */
    unsigned sockets = count_sockets();
    size_t before = memory_pieces();
    pco_error error = {0};
    int result = pco_loop_create_server(at.loop, options, &server, &error);

    assert_int_equal(result, code);
    assert_int_equal(error.code, code);
    if (strstr(error.message, word) == NULL) {
        fail_msg("\"%s\" does not name \"%s\"", error.message, word);
    }
    assert_ptr_equal(server, &at);
    assert_int_equal(count_sockets(), sockets);
    assert_int_equal(memory_pieces(), before);
    assert_int_equal(pco_loop_create_server(at.loop, options, &server, NULL), code);
    assert_int_equal(count_sockets(), sockets);
}

const char *quiet_host(void)
{
    return has_ipv6() ? "::1" : "127.0.0.1";
}

bool can_be_bound(int port)
{
    pco_server_options options = server_options();
    pco_server *server = NULL;
    options.host = quiet_host();
    options.port = port;
    int code = pco_loop_create_server(at.loop, &options, &server, NULL);
    pco_server_free(server);
    let_pass(3);
    return code == 0;
}

int port_of(const pco_server *server, size_t index)
{
    pco_address address = address_of(server, index);
    return pco_address_port(&address);
}

int find_free_port(void)
{
    pco_server_options options = server_options();
    pco_server *server = NULL;
    options.host = quiet_host();
    options.start_serving = PCO_OFF;
    assert_int_equal(pco_loop_create_server(at.loop, &options, &server, NULL), 0);
    int port = port_of(server, 0);
    pco_server_free(server);
    let_pass(3);
    return port;
}

void assert_host(const pco_server *server, size_t index, const char *host)
{
    char text[PCO_ADDRESS_TEXT_SIZE];
    pco_address address = address_of(server, index);
    assert_int_equal(pco_address_host(&address, text, sizeof text), 0);
    assert_string_equal(text, host);
}

void assert_client_comes_through(const pco_address *address)
{
    unsigned before = at.made;
    peer *client = join_at(address);
    assert_true(reaches(&at.made, before + 1));
    assert_int_equal(client->error, 0);
    leave(client);
    assert_true(all_are_lost());
}

void assert_everywhere(const pco_server *server)
{
    size_t count = pco_server_get_socket_count(server);
    bool inet = false;
    bool inet6 = false;
    assert_int_equal(count, has_ipv6() ? 2 : 1);
    for (size_t i = 0; i < count; i++) {
        pco_address address = address_of(server, i);
        bool is_six = pco_address_family(&address) == PCO_AF_INET6;
        assert_host(server, i, is_six ? "::" : "0.0.0.0");
        inet6 = inet6 || is_six;
        inet = inet || !is_six;
        assert_int_not_equal(pco_address_port(&address), 0);
    }
    assert_true(inet);
    assert_int_equal(inet6, has_ipv6());
}

pco_socket bound_socket(void)
{
    pco__listener_options options = {.reuse_address = PCO_DEFAULT};
    pco_address *found = NULL;
    size_t count = 0;
    pco_socket sock = PCO_NO_SOCKET;
    assert_int_equal(pco__system_network.resolve("127.0.0.1", 0, PCO_AF_INET, PCO_AI_NUMERICHOST,
                                                 &found, &count, NULL),
                     0);
    assert_int_equal(pco__system_network.bind(NULL, &found[0], &options, &sock, NULL), 0);
    pco__free(found);
    return sock;
}

bool is_open(pco_socket sock)
{
    pco_address address;
    return pco__system_network.sockname(NULL, sock, &address) == 0;
}

pco_socket accepted_socket(void)
{
    unsigned before = at.made;
    join();
    assert_true(reaches(&at.made, before + 1));
    return pco_transport_get_socket(newest()->transport);
}
