# SPDX-License-Identifier: MIT
"""Python's asyncio as the client of the echo server: the model talks to what was modelled on it."""

import asyncio
import unittest

from support import PATIENCE, PeerTest, TlsFiles, needs_signals, pattern


class AsyncioEcho:
    """What asyncio's streams see, whether or not there is TLS below them."""

    def setUp(self):
        super().setUp()
        self.server = self.start("echo_server", "--backlog", "1000", *self.server_flags())

    def run_client(self, coroutine):
        asyncio.run(asyncio.wait_for(coroutine, PATIENCE))

    async def open(self):
        host, port = self.server.address
        return await asyncio.open_connection(host, port, **self.client_options())

    async def echo(self, reader, writer, message):
        writer.write(message)
        await writer.drain()
        self.assertEqual(await reader.readexactly(len(message)), message)

    async def close(self, writer):
        writer.close()
        await writer.wait_closed()

    def test_a_conversation(self):
        async def client():
            reader, writer = await self.open()
            for i in range(200):
                await self.echo(reader, writer, b"line %d\n" % i)
            await self.close(writer)

        self.run_client(client())

    def test_hundreds_of_clients_at_once(self):
        meeting = None
        present = 0

        async def client(number):
            nonlocal present
            reader, writer = await self.open()
            await self.echo(reader, writer, b"client %d\n" % number)
            present += 1
            if present == self.crowd:
                meeting.set()
            await meeting.wait()  # so that all are connected at the same time
            for i in range(10):
                await self.echo(reader, writer, b"client %d, line %d\n" % (number, i))
            await self.close(writer)

        async def clients():
            nonlocal meeting
            meeting = asyncio.Event()  # made where the loop is: Python 3.9 wants that
            await asyncio.gather(*(client(i) for i in range(self.crowd)))

        self.run_client(clients())

    def test_large_transfers_side_by_side(self):
        data = pattern(1 << 20)

        async def client():
            reader, writer = await self.open()

            async def send():
                writer.write(data)
                await writer.drain()

            sender = asyncio.ensure_future(send())
            self.assertTrue(await reader.readexactly(len(data)) == data)
            await sender
            await self.close(writer)

        async def clients():
            await asyncio.gather(*(client() for _ in range(16)))

        self.run_client(clients())

    def test_clients_that_abort_disturb_nobody(self):
        async def aborter():
            _, writer = await self.open()
            writer.write(pattern(100000))
            writer.transport.abort()

        async def clients():
            reader, writer = await self.open()
            for _ in range(5):
                await asyncio.gather(*(aborter() for _ in range(20)))
                await self.echo(reader, writer, b"undisturbed\n")
            await self.close(writer)

        self.run_client(clients())

    @needs_signals
    def test_the_server_ends_while_clients_are_connected(self):
        async def client():
            reader, writer = await self.open()
            await self.echo(reader, writer, b"hello\n")
            self.server.signal()
            self.assertEqual(await reader.read(), b"")  # the end, and no exception
            await self.close(writer)

        self.run_client(client())
        self.assertEqual(self.server.wait(), 0)


class PlainAsyncioTest(AsyncioEcho, PeerTest):
    """Plain TCP."""

    crowd = 500

    def server_flags(self):
        return ()

    def client_options(self):
        return {}

    def test_the_clients_end_of_file(self):
        async def client():
            reader, writer = await self.open()
            writer.write(b"the last words")
            writer.write_eof()
            self.assertEqual(await reader.read(), b"the last words")
            await self.close(writer)

        self.run_client(client())


class TlsAsyncioTest(AsyncioEcho, TlsFiles, PeerTest):
    """TLS 1.3."""

    crowd = 200

    def server_flags(self):
        return ("--ssl", self.cert, self.key)

    def client_options(self):
        return {"ssl": self.client_context(), "server_hostname": "localhost"}

    def test_tls_that_begins_later_on_a_connection(self):
        if not hasattr(asyncio.StreamWriter, "start_tls"):
            self.skipTest("asyncio's StreamWriter has no start_tls before Python 3.11")

        async def client():
            reader, writer = await asyncio.open_connection(*self.server.address)
            await writer.start_tls(self.client_context(), server_hostname="localhost")
            await self.echo(reader, writer, b"now in secret\n")
            await self.close(writer)

        self.run_client(client())


if __name__ == "__main__":
    unittest.main()
