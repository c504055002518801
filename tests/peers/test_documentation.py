# SPDX-License-Identifier: MIT
"""The programs of the documentation do what the documentation says of them.

PORTICO_DOCUMENTATION is the folder of these programs, PORTICO_GUIDE the page docs/guide.md.
"""

import asyncio
import itertools
import os
import pathlib
import re
import shlex
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

import support
from support import PATIENCE, PeerTest, Server, needs_openssl, needs_signals, needs_tls, pattern
from support import receive, receive_all, reset


def setUpModule():
    support.BIN = os.environ["PORTICO_DOCUMENTATION"]


def guide():
    return pathlib.Path(os.environ["PORTICO_GUIDE"]).read_text(encoding="utf-8")


class ProgramTest(PeerTest):
    def run_program(self, name, *arguments, **options):
        try:
            support.program(name)
        except FileNotFoundError:
            self.skipTest(f"{name} is not for this system or compiler")
        server = Server(name, *arguments, **options)
        self.addCleanup(server.stderr.close)
        self.addCleanup(self.end, server)
        return server

    def end(self, server):
        """Ends by a signal what has no end of its own, unless it has died already."""
        if server.process.returncode is None:
            self.assertIsNone(server.process.poll(), f"it has died: {server.errors()}")
            server.stop()

    def assert_answers(self, sock, question, answer):
        sock.sendall(question)
        self.assertEqual(receive(sock, len(answer)), answer)


class Programs(ProgramTest):
    def test_readme(self):
        server = self.run_program("readme_portico")
        self.assert_echoes(self.dial(server.address))

    def test_first_server(self):
        server = self.run_program("guide_your_first_server")
        self.assert_echoes(self.dial(server.address))

    def test_state_per_connection(self):
        server = self.run_program("guide_state_per_connection")
        one, two = self.dial(server.address), self.dial(server.address)
        self.assert_answers(one, b"12345", b"5 bytes so far\n")
        self.assert_answers(two, b"1", b"1 bytes so far\n")
        self.assert_answers(one, b"67", b"7 bytes so far\n")
        reset(one)
        self.assert_answers(two, b"2", b"2 bytes so far\n")

    @needs_tls
    @needs_openssl
    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            command = re.search(r"^    (openssl req (?:.*\\\n)*.*)$", guide(), re.MULTILINE)[1]
            subprocess.run(shlex.split(command.replace("\\\n", " ")), cwd=folder, check=True,
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
            server = self.run_program("guide_tls", cwd=folder)
            context = ssl.create_default_context(cafile=os.path.join(folder, "server.pem"))

        with context.wrap_socket(self.dial(server.address), server_hostname="localhost") as sock:
            self.assertEqual(receive(sock, 8), sock.version().encode() + b"\n")
            self.assert_echoes(sock)
        plain = self.dial(server.address)
        plain.sendall(b"no ClientHello, whatever else this is\n")
        receive_all(plain)
        with context.wrap_socket(self.dial(server.address), server_hostname="localhost") as sock:
            self.assertEqual(len(receive(sock, 8)), 8)
        server.says(r"^127\.0\.0\.1:\d+: ")

    def test_flow_control(self):
        server = self.run_program("guide_flow_control")
        pump = support.Pump(self.dial(server.address))
        pump.fill(64 << 20)
        self.assert_echoes(self.dial(server.address))
        pump.finish()

    @needs_signals
    def test_ending_a_program(self):
        server = self.run_program("guide_ending_a_program")
        sock = self.dial(server.address)
        server.signal()
        self.assertEqual(server.wait(), 0)
        self.assertEqual(receive_all(sock), b"")

    def test_a_loop_of_your_own(self):
        server = self.run_program("graphical_a_loop_of_your_own")
        self.assert_echoes(self.dial(server.address))
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)

    def test_a_game(self):
        server = self.run_program("graphical_a_game")
        player = self.dial(server.address)
        places = [float(line) for line in itertools.islice(player.makefile(), 100)]
        self.assertTrue(all(0 <= place <= 1 for place in places), places)
        steps = [abs(now - before) for before, now in zip(places, places[1:])]
        self.assertLess(max(steps), 0.02)
        self.assertEqual(receive_all(self.dial(server.address)), b"")  # one plays already
        player.sendall(b"!")
        self.assertEqual(server.wait(), 0)

    def test_timers(self):
        server = self.run_program("guide_timers_and_callbacks")
        sock = self.dial(server.address)
        self.assert_echoes(sock)
        self.assertEqual(receive_all(sock), b"")  # it is closed while nobody says anything


class OpeningConnections(ProgramTest):
    """The program ends by itself, and its exit code says how."""

    NAME = "guide_opening_connections"

    def serve_once(self, listener, asked):
        sock, _ = listener.accept()
        with sock:
            asked.append(receive_all(sock))
            sock.sendall(b"good day")

    def test_it_prints_what_the_server_answers(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            asked = []
            server = threading.Thread(target=self.serve_once, args=(listener, asked))
            server.start()
            code, said = support.output(self.NAME, "127.0.0.1", str(listener.getsockname()[1]))
            server.join()
        self.assertEqual((code, said, asked), (0, "good day", [b"hello\n"]))

    def test_a_server_of_asyncio_found_by_its_name(self):
        asked = []

        async def answer(reader, writer):
            asked.append(await reader.read())
            writer.write(b"good day")
            await writer.drain()
            writer.close()

        async def ask():
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(None, support.output, self.NAME, "localhost",
                                                  str(port))

        code, said = asyncio.run(asyncio.wait_for(ask(), PATIENCE))
        self.assertEqual((code, said, asked), (0, "good day", [b"hello\n"]))

    def test_it_says_why_there_is_no_connection(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            code, said = support.run(self.NAME, "127.0.0.1", str(port))
        self.assertEqual(code, 1)
        self.assertIn(f"connect to 127.0.0.1 port {port}: connection refused", said)


class SendingAFile(ProgramTest):
    def setUp(self):
        super().setUp()
        self.content = pattern(24 << 20)
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(self.content)
        self.addCleanup(os.unlink, file.name)
        self.server = self.run_program("guide_sending_a_file", file.name)
        self.addCleanup(self.end, self.server)  # before the file is deleted

    def test_the_file_arrives_whatever_the_others_do(self):
        slow, leaver = self.dial(self.server.address), self.dial(self.server.address)
        receive(leaver, 100)
        reset(leaver)
        self.assertEqual(receive_all(self.dial(self.server.address)), self.content)
        self.assertEqual(receive_all(slow), self.content)


@needs_signals
class Worker(ProgramTest):
    def setUp(self):
        super().setUp()
        self.server = self.run_program("guide_threads")

    def test_answers_come_back_in_order(self):
        sock = self.dial(self.server.address)
        self.assert_answers(sock, b"97\n91\n0\n10",
                            b"97 is prime\n91 is not prime\n0 is not prime\n")
        self.assert_answers(sock, b"03\n", b"1003 is not prime\n")
        self.server.signal()
        self.assertEqual(self.server.wait(), 0)

    def test_whoever_left_is_missed_by_nobody(self):
        for _ in range(20):
            sock = self.dial(self.server.address)
            sock.sendall(b"1000000007\n" * 50)
            reset(sock)
        sock = self.dial(self.server.address)
        self.assert_answers(sock, b"2\n", b"2 is prime\n")
        sock.sendall(b"1000000007\n" * 50)
        self.server.signal()  # with answers under way
        self.assertEqual(self.server.wait(), 0, self.server.errors())


class Local(ProgramTest):
    """The programs of docs/local.md, which find their place in a folder of the test's own."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def begin(self, name, *arguments):
        process = subprocess.Popen(support.program(name) + list(arguments), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   env={**os.environ, "XDG_RUNTIME_DIR": self.folder})
        lines = support.Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.send_signal, support.END_SIGNALS[0])
        return process, lines

    def test_the_second_says_its_words_to_the_first(self):
        _, lines = self.begin("local_by_a_name")
        self.assertEqual(lines.next(), "the first one")
        for words in ("good day", "and good bye"):
            second, _ = self.begin("local_by_a_name", words)
            self.assertEqual(second.wait(PATIENCE), 0)
            self.assertEqual(lines.next(), words)

    @support.linux_only
    def test_who_connects_by_a_path_is_told_who_it_is(self):
        path = os.path.join(self.folder, "who.socket")
        server, _ = self.begin("local_by_a_path", path)
        deadline = support.Deadline("it listens")
        while True:
            deadline.check()
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path)
                break
            except OSError:
                sock.close()
        with sock:
            self.assertEqual(receive_all(sock).decode(),
                             f"you are process {os.getpid()} of user {os.getuid()}\n")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertFalse(os.path.exists(path))


class Descriptors(ProgramTest):
    def start(self, stdin):
        try:
            command = support.program("descriptors_a_program")
        except FileNotFoundError:
            self.skipTest("descriptors_a_program is not for this system")
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        lines = support.Lines(process.stdout)
        self.addCleanup(lines.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, lines

    def test_it_answers_what_is_typed_until_the_end(self):
        process, lines = self.start(subprocess.PIPE)
        self.assertEqual(lines.next(), "still here")
        for word in ("hello", "again"):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            self.assertEqual(lines.next(), f"you said: {word}")
        process.stdin.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertIsNone(lines.next())

    @support.linux_only
    def test_it_says_that_a_file_is_not_watched(self):
        with open(os.environ["PORTICO_GUIDE"], "rb") as file:
            process, lines = self.start(file)
        self.assertEqual(process.wait(PATIENCE), 1)
        self.assertIsNone(lines.next())
        self.assertRegex(process.stderr.read(), "^descriptor 0 is of a kind .* regular files")


class Cpp(ProgramTest):
    def setUp(self):
        super().setUp()
        self.server = self.run_program("cpp_a_program")

    def test_reminders_come_in_time_and_not_before(self):
        sock = self.dial(self.server.address)
        self.assert_answers(sock, b"0.2 tea\n0 cof", b" tea\n")
        self.assert_answers(sock, b"fee\n", b" coffee\n")

    def test_an_exception_ends_the_one_connection(self):
        sock, other = self.dial(self.server.address), self.dial(self.server.address)
        sock.sendall(b"soon tea\n")
        self.assertEqual(receive_all(sock), b"")
        self.assert_answers(other, b"0 tea\n", b" tea\n")
        self.server.says("stod")

    @needs_signals
    def test_what_is_under_way_ends_with_the_program(self):
        left, stays = self.dial(self.server.address), self.dial(self.server.address)
        left.sendall(b"0.1 tea\n1000 tea\n")
        reset(left)
        self.assert_answers(stays, b"1000 tea\n0.2 coffee\n", b" coffee\n")
        self.server.signal()
        self.assertEqual(self.server.wait(), 0, self.server.errors())


if __name__ == "__main__":
    unittest.main()
