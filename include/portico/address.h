/* SPDX-License-Identifier: MIT */
/*
 * address.h: the address of a socket, of whatever family.
 *
 * A pco_address holds the system's own sockaddr without showing its type. It is a plain value:
 * copy it as you like, compare two with pco_address_equal. Any thread may use any of these.
 */
#ifndef PORTICO_ADDRESS_H
#define PORTICO_ADDRESS_H

#include <portico/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Address families, as create_server's `family` takes them and pco_address_family returns them. */
enum { PCO_AF_UNSPEC = 0, PCO_AF_UNIX = 1, PCO_AF_INET = 4, PCO_AF_INET6 = 6 };

struct pco_address {
    uint32_t length;      /* bytes used in storage, 0 for "no address" */
    uint32_t reserved;    /* zero */
    uint64_t storage[16]; /* the system's sockaddr */
};

/* Long enough for what pco_address_format writes, with the final NUL. */
#define PCO_ADDRESS_TEXT_SIZE 128

/*
 * Makes an address of a literal host ("127.0.0.1", "::1", "fe80::1%eth0") and a port. No name is
 * looked up and nothing blocks. What is literal is the system's getaddrinfo's matter: "127.1" and
 * "1" are, as inet_aton has them, and a part that begins with 0 is octal. PCO_EINVAL: the host is
 * no literal address, its scope is the name of no interface of this machine or makes no sense for
 * the address (a number is taken as it is), or the port is not from 0 to 65535. PCO_ENOMEM.
 * *address is untouched then.
 */
PCO_API int pco_address_parse(const char *host, int port, pco_address *address);

/* PCO_AF_INET, PCO_AF_INET6 or PCO_AF_UNIX; PCO_AF_UNSPEC for an empty or unknown address. */
PCO_API int pco_address_family(const pco_address *address);

/* The port in host order; 0 where the family has none. */
PCO_API int pco_address_port(const pco_address *address);

/*
 * Writes the host alone, "127.0.0.1", "::1" or "fe80::1%eth0"; for PCO_AF_UNIX the path ("@name"
 * for an abstract one, "" for an unnamed one). PCO_EINVAL for an empty or unknown address, or
 * where it does not fit in `size` bytes.
 */
PCO_API int pco_address_host(const pco_address *address, char *text, size_t size);

/*
 * Writes host and port as one would type them: "127.0.0.1:7000", "[::1]:7000"; for PCO_AF_UNIX
 * the path. Errors as pco_address_host.
 */
PCO_API int pco_address_format(const pco_address *address, char *text, size_t size);

/* Whether the two are the same address: family, host, port and scope. */
PCO_API bool pco_address_equal(const pco_address *one, const pco_address *other);

#ifdef __cplusplus
}
#endif

#endif
