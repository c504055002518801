#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# asyncio_server.py: an echo server by Python's asyncio, on its default loop. A BufferedProtocol with
# one buffer for all: a plain Protocol is given new memory of 256 KiB by every read, which costs
# three system calls more. What is written is copied, since write() may keep a view of it. Reading
# stops while the write buffer is over its high-water mark.

import argparse
import asyncio
import ssl

BACKLOG = 1024


buffer = memoryview(bytearray(256 * 1024))


class Echo(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, size_hint):
        return buffer

    def buffer_updated(self, length):
        self.transport.write(bytes(buffer[:length]))

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


def context_of(files):
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    arguments = parser.parse_args()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        Echo,
        "127.0.0.1",
        arguments.port,
        ssl=context_of(arguments.tls),
        backlog=BACKLOG,
    )
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
