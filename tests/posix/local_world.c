/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "local_world.h"

#include "system/local.h"

#include <unistd.h>

char top[64];

int local_world_begin(void **state)
{
    snprintf(top, sizeof top, "/tmp/portico-test-XXXXXX");
    if (mkdtemp(top) == NULL || setenv("XDG_RUNTIME_DIR", top, 1) != 0) {
        return -1;
    }
    return world_begin(state);
}

int local_world_end(void **state)
{
    char command[128];
    int code = world_end(state);
    snprintf(command, sizeof command, "rm -rf %s", top);
    return code != 0 ? code : system(command);
}

void skip_unless_root(void)
{
    if (geteuid() != 0) {
        print_message("needs root, to be another user\n");
        skip();
    }
}

const char *path_of(const char *name, int audience)
{
    static pco__local_place place;
    assert_int_equal(pco__local_find(name, audience, false, &place, NULL), 0);
    return place.where;
}

pco_server_options of_records(void)
{
    return (pco_server_options){.size = sizeof(pco_server_options),
                                .protocol_factory = make_record};
}

int serve_audience(const char *name, int audience, pco_server **server, pco_error *error)
{
    pco_server_options options = of_records();
    pco_local_options local = {.size = sizeof local, .audience = audience};
    return pco_loop_create_local_server(at.loop, name, &options, &local, server, error);
}

void serve_name(void)
{
    pco_error error;
    if (serve_audience(NAME, PCO_LOCAL_USER, &at.server, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

struct told told;

void connected(pco_transport *transport, pco_protocol *protocol, const pco_error *error,
               void *context)
{
    (void)protocol;
    (void)context;
    told.calls++;
    told.transport = transport;
    if (error != NULL) {
        told.error = *error;
    }
}

int dial(const char *name, int audience, pco_request **request, pco_error *error)
{
    pco_connection_options options = {.size = sizeof options, .protocol_factory = make_record};
    pco_local_options local = {.size = sizeof local, .audience = audience};
    memset(&told, 0, sizeof told);
    return pco_loop_create_local_connection(at.loop, name, &options, &local, connected, NULL,
                                            request, error);
}

int connect_to(const char *name, int audience)
{
    pco_error error;
    if (dial(name, audience, NULL, &error) != 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(told.calls, 0);
    assert_true(reaches(&told.calls, 1));
    return told.error.code;
}

void assert_comes_through(const char *name, int audience)
{
    unsigned made = at.made;
    if (connect_to(name, audience) != 0) {
        fail_msg("%s", told.error.message);
    }
    assert_true(reaches(&at.made, made + 2));
    record *other = newest();
    if (other->transport == told.transport) {
        other = other->next;
    }
    pco_transport_write(told.transport, "hello", 5);
    assert_true(grows_to(&other->length, 5));
    assert_memory_equal(other->data, "hello", 5);
    pco_transport_close(told.transport);
    assert_true(all_are_lost());
}
