/* SPDX-License-Identifier: MIT */
/*
 * fuzz_names.c: texts that stand for places, and addresses that a system might give. No name is
 * looked up in any network: hosts are taken as literal addresses.
 */
#include "fuzz.h"

#include "system/network.h"

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    memory_watch();
    return 0;
}

/* An address can be written, and what is written stands for it again. */
static void check_address(const pco_address *address, int flags)
{
    char host[PCO_ADDRESS_TEXT_SIZE];
    char text[PCO_ADDRESS_TEXT_SIZE];
    pco_address *again = NULL;
    size_t count = 0;
    require(pco_address_equal(address, address), "an address is itself");
    require(pco_address_host(address, host, sizeof host) == 0, "an address has a host");
    require(pco_address_format(address, text, sizeof text) == 0, "an address has a text");
    require(pco__system_network.resolve(host, pco_address_port(address), PCO_AF_UNSPEC, flags,
                                        &again, &count, NULL) == 0 &&
                count != 0,
            "the host that was written can be read");
    require(pco_address_equal(address, &again[0]), "the host that was written is the same one");
    pco__free(again);
}

static void resolve(const char *host, int port, int family)
{
    pco_address *addresses = NULL;
    size_t count = 0;
    pco_error error = {.code = 0};
    int flags = PCO_AI_PASSIVE | PCO_AI_NUMERICHOST;
    int code = pco__system_network.resolve(host, port, family, flags, &addresses, &count, &error);
    require(code == 0 || (error.code == code && error.message[0] != '\0'), "a failure is told");
    require(code != 0 || count != 0, "who succeeds has an address");
    for (size_t i = 0; i < count && code == 0; i++) {
        require(pco_address_port(&addresses[i]) == port, "the port is the one asked for");
        check_address(&addresses[i], flags);
    }
    pco__free(addresses);
}

/* What a system might say of a socket, with every field as it likes. */
static void describe(const uint8_t *data, size_t length)
{
    pco_address address = {.length = 0};
    char text[PCO_ADDRESS_TEXT_SIZE];
    size_t room = length < sizeof address.storage ? length : sizeof address.storage;
    memcpy(address.storage, data, room);
    address.length = (uint32_t)room;
    pco_address_family(&address);
    pco_address_port(&address);
    for (size_t size = 0; size <= sizeof text; size += 1 + size) {
        char *exact = malloc(size + 1);
        require(exact != NULL, "there is memory");
        if (pco_address_host(&address, exact, size) == 0) {
            require(strlen(exact) < size, "the host fits");
        }
        if (pco_address_format(&address, exact, size) == 0) {
            require(strlen(exact) < size, "the text fits");
        }
        free(exact);
    }
    require(pco_address_equal(&address, &address), "an address is itself");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {.data = data, .length = size};
    size_t before = memory_pieces();
    unsigned kind = take_byte(&from);
    int port = (int)take_number(&from);
    bytes rest = bytes_of(from.data, from.length);
    rest.data[rest.length] = '\0';
    if (kind & 1) {
        static const int families[] = {PCO_AF_UNSPEC, PCO_AF_INET, PCO_AF_INET6, 99};
        resolve((const char *)rest.data, port, families[kind >> 1 & 3]);
    } else {
        describe(rest.data, rest.length);
    }
    free(rest.data);
    require(memory_pieces() == before, "all memory is given back");
    return 0;
}
