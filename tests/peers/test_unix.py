# SPDX-License-Identifier: MIT
"""UNIX sockets between the library and others: asyncio and socat, each at both ends.

The library's ends are those of proxy, which listens on a path and connects to one.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import support
from support import PATIENCE, PeerTest, TlsFiles, linux_only, pattern, posix_only, receive

needs_socat = unittest.skipUnless(shutil.which("socat"), "there is no socat program")

AMOUNT = 4 << 20


class UnixTest(PeerTest):
    """Two paths in a folder: a proxy listens on `front` and connects to `back`."""

    flags = ()

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="portico-unix-")
        self.addCleanup(folder.cleanup)
        self.front = os.path.join(folder.name, "front")
        self.back = os.path.join(folder.name, "back")

    def start_proxy(self, **options):
        proxy = self.start("proxy", "--path", self.front, "--to-path", self.back, *self.flags,
                           **options)
        self.assertEqual(proxy.address, self.front)
        return proxy

    def client_options(self):
        return {}

    async def converse(self):
        """Megabytes both ways at once, through the proxy, with an asyncio server behind it."""
        async def echo(reader, writer):
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def client():
            data = pattern(AMOUNT)
            reader, writer = await asyncio.open_unix_connection(self.front,
                                                                **self.client_options())

            async def send():
                writer.write(data)
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()

            sender = asyncio.ensure_future(send())
            self.assertTrue(await reader.readexactly(len(data)) == data)
            await sender
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_unix_server(echo, self.back)
        async with server:
            await asyncio.gather(*(client() for _ in range(3)))


@posix_only
class Plain(UnixTest):
    def test_asyncio_at_both_ends(self):
        self.start_proxy()
        asyncio.run(asyncio.wait_for(self.converse(), PATIENCE))

    def test_the_file_goes_with_the_server_and_one_that_a_crash_has_left_makes_room(self):
        proxy = self.start_proxy()
        proxy.kill()
        self.assertTrue(os.path.exists(self.front))
        proxy = self.start_proxy()
        self.assertEqual(proxy.stop(), 0)
        self.assertFalse(os.path.exists(self.front))

    def test_asyncio_takes_the_place_that_the_library_has_left(self):
        async def serve():
            server = await asyncio.start_unix_server(lambda r, w: w.close(), self.front)
            server.close()
            await server.wait_closed()

        self.start_proxy().kill()
        self.assertTrue(os.path.exists(self.front))
        asyncio.run(serve())

    def test_asyncios_live_socket_is_not_taken(self):
        async def go():
            server = await asyncio.start_unix_server(lambda r, w: w.close(), self.front)
            async with server:
                code, said = await asyncio.get_running_loop().run_in_executor(
                    None, support.run, "proxy", "--path", self.front, "--to-path", self.back)
                self.assertEqual(code, 1)
                self.assertIn("a program has that socket open", said)
                self.assertTrue(os.path.exists(self.front))

        asyncio.run(asyncio.wait_for(go(), PATIENCE))

    def test_two_servers_at_the_same_instant_of_which_one_wins(self):
        """Where no file was left behind; the other one says why it does not."""
        for _ in range(20):
            command = support.program("proxy") + ["--path", self.front, "--to-path", self.back]
            starters = [subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                        for _ in range(2)]
            lines = [starter.stdout.readline() for starter in starters]
            self.assertEqual(sorted(line != "" for line in lines), [False, True])
            for starter, line in zip(starters, lines):
                if line:
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(self.front)
                    starter.send_signal(signal.SIGTERM)
                _, said = starter.communicate(timeout=PATIENCE)
                self.assertEqual(starter.returncode, 0 if line else 1, said)
            self.assertFalse(os.path.exists(self.front))

    def test_a_path_to_tcp_and_back(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        self.start("proxy", "--path", self.front, "--to", "127.0.0.1",
                   str(listener.getsockname()[1]))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.front)
            client.sendall(b"question")
            server, _ = listener.accept()
            with server:
                server.settimeout(PATIENCE)
                self.assertEqual(receive(server, 8), b"question")
                server.sendall(b"answer")
                self.assertEqual(receive(client, 6), b"answer")

    @linux_only
    def test_an_abstract_name(self):
        name = "@portico-test-" + os.path.basename(os.path.dirname(self.front))
        proxy = self.start("proxy", "--path", name, "--to-path", self.back)
        self.assertEqual(proxy.address, name)
        self.front = "\0" + name[1:]
        asyncio.run(asyncio.wait_for(self.converse(), PATIENCE))

    @needs_socat
    def test_socat_at_both_ends(self):
        server = subprocess.Popen(["socat", f"UNIX-LISTEN:{self.back},fork", "EXEC:cat"],
                                  stdin=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        deadline = support.Deadline("socat listens")
        while not os.path.exists(self.back):
            deadline.check()
        self.start_proxy()
        done = subprocess.run(["socat", "-t", str(PATIENCE), "-", f"UNIX-CONNECT:{self.front}"],
                              input=pattern(AMOUNT), capture_output=True, timeout=PATIENCE,
                              check=True)
        self.assertTrue(done.stdout == pattern(AMOUNT))

    def test_a_client_that_sends_descriptors_along_gets_none_back_and_does_no_harm(self):
        """They are closed with what they came with: the next client's bytes are all there."""
        self.start_proxy()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.back)
            listener.listen()
            listener.settimeout(PATIENCE)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(self.front)
                server, _ = listener.accept()
                with server, open(os.devnull, "rb") as file:
                    server.settimeout(PATIENCE)
                    for _ in range(100):
                        socket.send_fds(client, [b"ten bytes!"], [file.fileno()])
                        client.sendall(b"more of it")
                    self.assertEqual(receive(server, 2000), b"ten bytes!more of it" * 100)


@posix_only
class Tls(TlsFiles, UnixTest):
    @property
    def flags(self):
        return ("--ssl", self.cert, self.key)

    def client_options(self):
        return {"ssl": self.client_context(), "server_hostname": "localhost"}

    def test_asyncio_at_both_ends(self):
        self.start_proxy()
        asyncio.run(asyncio.wait_for(self.converse(), PATIENCE))

    def test_openssl_s_client(self):
        self.start_proxy()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.back)
            listener.listen()
            listener.settimeout(PATIENCE)
            client = subprocess.Popen(["openssl", "s_client", "-quiet", "-unix", self.front],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
            self.addCleanup(client.wait)
            self.addCleanup(client.kill)
            self.addCleanup(client.stdin.close)
            self.addCleanup(client.stdout.close)
            server, _ = listener.accept()
            with server:
                server.settimeout(PATIENCE)
                client.stdin.write(b"question")
                client.stdin.flush()
                self.assertEqual(receive(server, 8), b"question")
                server.sendall(b"answer")
                self.assertEqual(client.stdout.read(6), b"answer")


if __name__ == "__main__":
    unittest.main()
