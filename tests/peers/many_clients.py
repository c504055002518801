# SPDX-License-Identifier: MIT
"""Very many clients of an echo server, in a process of their own: they need its descriptors.

    many_clients.py COUNT CERT HOST:PORT...

Opens COUNT connections, spread over the addresses, so that none runs out of ports to connect from;
with TLS, if CERT, a certificate to trust, is not empty. When all are open, each echoes two lines of
its own. Ends with 0 if all echoes were right.
"""

import asyncio
import resource
import ssl
import sys

AT_ONCE = 200  # connections that are being established at the same time


async def main(count, cert, addresses):
    options = {}
    if cert:
        options = {"ssl": ssl.create_default_context(cafile=cert), "server_hostname": "localhost"}
    door = asyncio.Semaphore(AT_ONCE)
    streams = []

    async def enter(number):
        host, port = addresses[number % len(addresses)].split(":")
        async with door:
            streams.append(await asyncio.open_connection(host, int(port), **options))

    async def echo(number, word):
        reader, writer = streams[number]
        message = b"%s from client %d\n" % (word, number)
        writer.write(message)
        answer = await reader.readexactly(len(message))
        assert answer == message, f"{answer} instead of {message}"

    await asyncio.gather(*(enter(i) for i in range(count)))
    for word in (b"hello", b"hello again"):
        await asyncio.gather(*(echo(i, word) for i in range(count)))
    print(f"{count} connections, all right", flush=True)

    for _, writer in streams:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in streams))


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    raise_limit()
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
